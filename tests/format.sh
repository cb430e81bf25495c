#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The sources are formatted, and scripts/check-format sees what is not.
top=${top_srcdir:-$(dirname "$0")/..}
if ! command -v clang-format >/dev/null; then
	echo "1..0 # SKIP clang-format is not installed"
	exit 0
fi
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT

echo "1..3"
if "$top/scripts/check-format" "$top"; then
	echo "ok 1 - the sources are formatted"
else
	echo "not ok 1 - the sources are formatted"
fi

mkdir "$work/src"
cp "$top/.clang-format" "$work"
printf 'int f(void)\n{\n\treturn 1;\n}\n' >"$work/src/f.c"
if "$top/scripts/check-format" "$work"; then
	echo "ok 2 - a formatted file passes"
else
	echo "not ok 2 - a formatted file passes"
fi
printf 'int f(void) { return 1; }\n' >"$work/src/f.c"
"$top/scripts/check-format" "$work" >"$work/out" 2>&1
if [ $? -eq 1 ] && grep -q 'src/f.c:1' "$work/out"; then
	echo "ok 3 - a file out of format is caught"
else
	echo "not ok 3 - a file out of format is caught"
fi
