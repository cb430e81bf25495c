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

# A small house that is in order; LINE is planted in FILE; WORD is in the report.
plant() { # NAME FILE LINE WORD
	rm -rf "$work/src"
	mkdir "$work/src"
	cat "$top/src/FLOORS" >"$work/src/FLOORS"
	for file in platform/cc base/report boot/arena zone/buddy zone/zone \
			alloc/page_alloc service/stat; do
		mkdir -p "$work/src/${file%/*}"
		echo '#include <stdint.h>' >"$work/src/$file.h"
	done
	echo '#include "zone/buddy.h"' >"$work/src/zone/zone.c"
	echo '#include "zone/zone.h"' >"$work/src/zone/idle.h"
	echo '#include "zone/zone.h"' >"$work/src/zone/zone_impl.h"
	echo '#include "alloc/page_alloc.h"' >"$work/src/service/stat.c"
	[ -z "$2" ] || printf '%b\n' "$3" >>"$work/src/$2"
	"$top/scripts/check-floors" "$work/src" >"$work/out" 2>&1
	status=$?
	sed 's/^/# /' "$work/out"
	if [ -z "$4" ]; then
		result $status "$1"
	else
		[ $status -eq 1 ] && grep -q -e "$4" "$work/out"
		result $? "$1"
	fi
}

"$top/scripts/check-floors" "$top/src"
result $? 'the sources keep to their floors'
plant 'a house in order passes' ''
plant 'an include upwards' zone/buddy.h '#include "alloc/page_alloc.h"' \
	'zone/buddy.h:2: zone includes alloc/page_alloc.h'
plant 'an include upwards from platform/' platform/cc.h \
	'#include "base/report.h"' 'platform/cc.h:2: platform includes'
plant 'an include of a file that is not there' zone/zone.c \
	'#include "zone/attic.h"' 'zone/attic.h, which is on no floor'
plant 'an include without its floor' zone/zone.c '#include "buddy.h"' \
	'buddy.h, which is on no floor'
plant 'a file on no floor' attic.c '' 'attic.c:1: is on no floor'
plant 'a folder that is no floor' boot/arena.c '#include "cellar/coal.h"' \
	'cellar/coal.h, which is on no floor'
plant 'a circle of two rooms' zone/buddy.h '#include "zone/zone.h"' \
	'a circle: zone/buddy -> zone/zone -> zone/buddy'
plant 'a circle of three rooms' zone/buddy.h '#include "zone/idle.h"' \
	'a circle: zone/buddy -> zone/idle -> zone/zone -> zone/buddy'
plant 'a .c that includes its own header is no circle' zone/buddy.c \
	'#include "zone/buddy.h"'
plant 'a private header belongs to its room' zone/zone.c \
	'#include "zone/zone_impl.h"'
plant 'a circle through a private header' zone/buddy.h \
	'#include "zone/zone_impl.h"' \
	'a circle: zone/buddy -> zone/zone -> zone/buddy'
plant 'a private header of another folder' service/stat.c \
	'#include "zone/zone_impl.h"' 'which is private to its folder'
plant 'Concurrency Kit above platform/' zone/zone.c '# include <ck_spinlock.h>' \
	'Concurrency Kit'
plant 'Concurrency Kit in a service' service/stat.c '#include <ck_pr.h>' \
	'Concurrency Kit'
plant 'liburcu in the core' zone/zone.c '#include <urcu/list.h>' 'liburcu is for'
plant 'liburcu in a service' service/stat.c '#include <urcu-bp.h>' \
	'liburcu is for'
plant 'liburcu in platform/' platform/rcu.c '#include <urcu-bp.h>'
plant 'libc in the core' boot/arena.h '#include <pthread.h>' 'pthread.h'
plant 'a condition on the CPU' zone/zone.c '#if defined(__x86_64__)\n#endif' \
	'__x86_64__'
plant 'a condition on the OS' service/stat.c '#ifdef __linux__\n#endif' \
	'__linux__'
plant 'a condition on the compiler, continued' zone/zone.c \
	'#if 1 && \\\\\n\tdefined(__clang__)\n#endif' '__clang__'
plant 'a condition on ThreadSanitizer' zone/zone.c '#elif QUIRE_TSAN' QUIRE_TSAN
plant 'two floors up at once count as two' zone/zone.c \
	'#include "service/stat.h"\n#include "alloc/page_alloc.h"' '^2 violations'
echo "1..$n"
