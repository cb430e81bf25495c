#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Installs into a temporary prefix; a user there has pkg-config and nothing else
# of ours. In a sanitizer's build the user's program needs its flags as well.
top=${top_srcdir:-$(dirname "$0")/..}
build=${top_builddir:-$top}
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
prefix=$work/usr
sanitizer=${SANITIZER_FLAGS:-}

result() { # STATUS TEXT
	if [ "$1" -eq 0 ]; then echo "ok - $2"; else echo "not ok - $2"; fi
}

echo "1..7"
${MAKE:-make} -C "$build" install prefix="$prefix" >"$work/log" 2>&1
status=$?
[ $status -eq 0 ] || cat "$work/log"
result $status 'make install prefix=...'

PKG_CONFIG_PATH=$(find "$prefix" -type d -name pkgconfig)
export PKG_CONFIG_PATH
LD_LIBRARY_PATH=$(dirname "$PKG_CONFIG_PATH")
export LD_LIBRARY_PATH
cd "$work" || exit 99

[ "$(pkg-config --modversion quire)" = \
  "$(sed -n 's/^PACKAGE_VERSION = //p' "$build/Makefile")" ]
result $? 'pkg-config knows the version'

hello=$(find "$prefix" -path '*/examples/hello.c')
# shellcheck disable=SC2046,SC2086
${CC:-cc} $sanitizer "$hello" -o hello $(pkg-config --cflags --libs quire) &&
	[ "$(./hello)" = 'hello from a page of my own' ]
result $? 'examples/hello.c, compiled with pkg-config alone, says hello'

ldd ./hello | grep -q "libquire.so.0 => $prefix"
result $? 'it runs with the installed library'

# Every statement of the example in the header's first comment is in hello.c.
sed -n '1,/\*\//p' "$prefix/include/quire/quire.h" |
	sed -n 's/^ \*\t//p' >example
missing=0
while IFS= read -r line; do
	line=${line%;}
	grep -qF -e "$line" "$hello" || { echo "missing: $line"; missing=1; }
done <example
[ -s example ] && [ $missing -eq 0 ]
result $? "the header's example is examples/hello.c"

# shellcheck disable=SC2046
echo '#include <quire/quire.h>' >user.c &&
	${CC:-cc} -std=c99 -pedantic -Wall -Wextra -Werror -fsyntax-only \
		$(pkg-config --cflags quire) user.c
result $? 'the header stands alone in C99'

if ! echo 'int main() { return 0; }' >user.cc ||
		! ${CXX:-c++} -fsyntax-only user.cc 2>/dev/null; then
	echo 'ok - the header stands alone in C++ # SKIP no C++ compiler'
	exit 0
fi
# shellcheck disable=SC2046
echo '#include <quire/quire.h>
int main() { return quire_version() == nullptr; }' >user.cc &&
	${CXX:-c++} -std=c++11 -pedantic -Wall -Wextra -Werror $sanitizer \
		user.cc -o user $(pkg-config --cflags --libs quire) && ./user
result $? 'the header stands alone in C++ and its names link'
