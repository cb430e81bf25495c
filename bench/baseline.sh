#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# baseline.sh FOLDER: builds the library as it was at the baseline's commit, with
# an adapter for each way to be a CPU: quire-bench --adapters=FOLDER/adapters
# measures it beside today's. `make baseline` calls this with today's compiler
# and flags. A FOLDER that was built with the same is left alone, and FOLDER is
# there only if it is whole. Exits 77 (skipped) with the reason where the baseline
# cannot be had.
#
# The sources are compiled by themselves, in the order and with the flags of the
# baseline's own build. That makes the same code and does not need Autotools.
#
# The baseline has a SONAME of its own, or the loader would take one library for
# the other, and a symbol version of its own: both libraries export quire_*,
# today's comes first in each search, and calls between public functions of one
# library are searched for as well (-fno-plt: through the GOT). A name with another
# version is not found in today's. -Bsymbolic would do that too, but it turns
# those calls into direct ones, which today's library does not have.

commit=10d2d45b941c3a2751988b2d25e03feda985e58f
top=$(cd "${top_srcdir:-.}" && pwd) || exit 2
folder=${1:?usage: baseline.sh FOLDER}
mkdir -p "$(dirname "$folder")" || exit 2
folder=$(cd "$(dirname "$folder")" && pwd)/$(basename "$folder")
part=$folder.part
tree=$part/tree
whole=$part/whole
cc=${CC:-cc}
: "${CFLAGS=-O2 -g}" "${LDFLAGS=}" "${NUMA_CFLAGS=}" "${NUMA_LIBS=}"
urcu=${URCU_LIBS:--lurcu-bp -lurcu-common}

skip() { # WHY
	rm -rf "$folder"
	echo "the baseline is skipped: $1" >&2
	exit 77
}

fail() { # WHAT
	echo "the baseline is not built: $1" >&2
	exit 1
}

# Whatever decides what is built.
inputs() {
	echo "$commit" "$cc" "$CFLAGS" "$LDFLAGS" "${WARN_CFLAGS-}" \
		"${CK_CFLAGS-}" "$NUMA_CFLAGS" "$NUMA_LIBS" "${URCU_CFLAGS-}" \
		"$urcu"
	$cc --version
	cksum "$0" "$top/bench/adapter-baseline.c" "$top/include/quire/bench.h"
}

# --- whether ---

[ -z "${SANITIZER_FLAGS-}" ] || skip "a sanitizer's build"
[ -z "${DEBUG_CPPFLAGS-}" ] || skip 'a debug build'
inputs 2>&1 | cmp -s - "$folder/inputs" && exit
[ -e "$top/.git" ] || skip 'the sources come without their history'
command -v git >/dev/null || skip 'git is missing (Debian: git)'
git --git-dir="$top/.git" cat-file -e "$commit^{tree}" 2>/dev/null ||
	skip "this clone lacks commit $commit (git fetch --unshallow)"

# --- the library ---

rm -rf "$folder" "$part"
trap 'rm -rf "$part"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$tree" "$part/include/quire" "$part/objects" "$whole/adapters" ||
	exit 2
inputs >"$whole/inputs" 2>&1
git --git-dir="$top/.git" archive -o "$part/tree.tar" "$commit" &&
	tar -xf "$part/tree.tar" -C "$tree" || fail 'its sources'

flags="-std=gnu11 $CFLAGS -pthread -fPIC -D_GNU_SOURCE"
echo 'int main(void) { return 0; }' >"$part/try.c"
for flag in -fno-plt -fno-ipa-modref -fno-ipa-pure-const; do
	# shellcheck disable=SC2086
	$cc -Werror $flag -o "$part/try" "$part/try.c" 2>/dev/null &&
		flags="$flags $flag"
done

echo '#define PACKAGE_VERSION "0.1.0"' >"$part/include/config.h"
sources=$(sed -n '/^libquire_core_la_SOURCES/,/[^\\]$/p' "$tree/src/local.mk" |
	tr -s ' \t\\' '\n' | grep '\.c$')
# -Wall decides what gcc's passes look at, and with that a few instructions; its
# warnings about the past help nobody.
# shellcheck disable=SC2086
(cd "$part/objects" && for source in $sources; do
	echo "$tree/$source"
done | xargs -n 4 -P "$(nproc)" $cc $flags -Wall -w -fvisibility=hidden \
	-I"$part/include" -I"$tree/include" -I"$tree/src" ${CK_CFLAGS-} \
	$NUMA_CFLAGS ${URCU_CFLAGS-} -c) || fail 'its library'

sed 's/^QUIRE_1\.0 /QUIRE_BASELINE /' "$tree/src/libquire.map" >"$part/map"
grep -q '^QUIRE_BASELINE ' "$part/map" || fail 'its version script'
# shellcheck disable=SC2046,SC2086
(cd "$part/objects" && $cc $flags $LDFLAGS -shared -o \
	"$whole/libquire-baseline.so" -Wl,-soname,libquire-baseline.so \
	-Wl,--version-script="$part/map" -Wl,-z,nodelete -Wl,-z,relro \
	-Wl,-z,now $(for source in $sources; do
		basename "$source" .c
	done | sed 's/$/.o/') $NUMA_LIBS $urcu) || fail 'its library'

# --- the adapters ---

# Of the baseline's headers only its quire.h: quire/bench.h is today's.
cp "$tree/include/quire/quire.h" "$part/include/quire/" || exit 2
for way in rseq trylock bound; do
	# shellcheck disable=SC2086
	$cc $flags $LDFLAGS ${WARN_CFLAGS-} -DBASELINE_WAY=$way \
		-I"$part/include" -I"$top/include" -shared \
		-o "$whole/adapters/baseline-$way.so" \
		"$top/bench/adapter-baseline.c" -L"$whole" -lquire-baseline \
		-Wl,-rpath,'$ORIGIN/..' -ldl || fail "its adapter $way"
done
mv "$whole" "$folder"
