#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The sources keep to their floors, and scripts/check-floors sees what does not.
top=${top_srcdir:-$(dirname "$0")/..}
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
n=0

result() { # STATUS NAME
	n=$((n + 1))
	if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; fi
}

# Plants LINE in FILE of a small house that is in order; WORD is in the report.
plant() { # NAME FILE LINE WORD
	rm -rf "$work/src"
	mkdir -p "$work/src/platform"
	cp "$top/src/FLOORS" "$work/src"
	chmod u+w "$work/src/FLOORS"
	for file in debug.h arena.h buddy.h zone.h page_alloc.h stat.h \
			platform/cc.h; do
		echo '#include <stdint.h>' >"$work/src/$file"
	done
	echo '#include "buddy.h"' >"$work/src/zone.c"
	echo '#include "page_alloc.h"' >"$work/src/stat.c"
	[ -z "$2" ] || printf '%b\n' "$3" >>"$work/src/$2"
	"$top/scripts/check-floors" "$work/src" >"$work/out" 2>&1
	status=$?
	sed 's/^/# /' "$work/out"
	if [ -z "$2" ]; then
		result $status "$1"
	else
		[ $status -eq 1 ] && grep -q -e "$4" "$work/out"
		result $? "$1"
	fi
}

"$top/scripts/check-floors" "$top/src"
result $? 'the sources keep to their floors'
plant 'a house in order passes' ''
plant 'an include upwards' buddy.h '#include "zone.h"' 'buddy.h:2: floor 3'
plant 'an include upwards from platform/' platform/cc.h \
	'#include "page_alloc.h"' 'platform/cc.h:2: floor 0'
plant 'an include of a file without a floor' zone.c '#include "attic.h"' \
	'attic.h, which has no floor'
plant 'a file without a floor' attic.c '' 'attic.c:1: has no floor'
plant 'Concurrency Kit above floor 0' zone.c '# include <ck_spinlock.h>' \
	'Concurrency Kit'
plant 'libc in the core' arena.h '#include <pthread.h>' 'pthread.h'
plant 'a condition on the CPU' zone.c '#if defined(__x86_64__)\n#endif' \
	'__x86_64__'
plant 'a condition on the OS' stat.c '#ifdef __linux__\n#endif' '__linux__'
plant 'a condition on the compiler, continued' zone.c \
	'#if 1 && \\\\\n\tdefined(__clang__)\n#endif' '__clang__'
plant 'a condition on ThreadSanitizer' zone.c '#elif QUIRE_TSAN' QUIRE_TSAN
plant 'two floors up at once count as two' zone.c \
	'#include "stat.h"\n#include "page_alloc.h"' '^2 violations'
echo "1..$n"
