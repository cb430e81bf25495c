#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The library exports what the header declares, and scripts/check-symbols sees
# a name too many and a name too few.
top=${top_srcdir:-$(dirname "$0")/..}
build=${top_builddir:-$top}
library=$(find "$build/.libs" -name 'libquire.so.*.*.*' | head -n 1)
header=$top/include/quire/quire.h
debug=$top/include/quire/debug.h
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT

result() { # STATUS TEXT
	if [ "$1" -eq 0 ]; then echo "ok - $2"; else echo "not ok - $2"; fi
}

echo "1..3"
"$top/scripts/check-symbols" "$library" "$header" "$debug"
result $? 'exports and declarations agree'

{ cat "$header"; echo 'QUIRE_API int quire_unborn(void);'; } >"$work/more.h"
"$top/scripts/check-symbols" "$library" "$work/more.h" "$debug" >"$work/out" 2>&1
[ $? -eq 1 ] && grep -q '^-quire_unborn@@QUIRE_1.0' "$work/out"
result $? 'a declared name that is not exported is caught'

grep -v 'quire_version(void)' "$header" >"$work/fewer.h"
"$top/scripts/check-symbols" "$library" "$work/fewer.h" "$debug" >"$work/out" 2>&1
[ $? -eq 1 ] && grep -q '^+quire_version@@QUIRE_1.0' "$work/out"
result $? 'an exported name that is not declared is caught'
