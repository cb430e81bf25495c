#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# An adapter of one's own: the example in quire/bench.h compiles as a user would
# compile it, and quire-bench measures it; what is no adapter is named.
top=${top_srcdir:-$(dirname "$0")/..}
build=${top_builddir:-$top}
bench=$build/bench/quire-bench
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
mkdir "$work/adapters"

tests=0
result() { # STATUS TEXT
	tests=$((tests + 1))
	if [ "$1" -eq 0 ]; then echo "ok - $2"; else echo "not ok - $2"; fi
}

skip() { # TEXT WHY
	tests=$((tests + 1))
	echo "ok - $1 # SKIP $2"
}

${CC:-cc} -shared -fPIC -O2 -Wall -Wextra -Werror -I"$top/include" \
	-o "$work/adapters/example.so" "$top/bench/example-adapter.c"
result $? 'the example adapter compiles'

sed -n '/^#include/,$p' "$top/bench/example-adapter.c" >"$work/example"
sed -n '1,/\*\//s/^ \*	\{0,1\}//p' "$top/include/quire/bench.h" |
	sed -n '/^#include/,/^};/p' | diff - "$work/example"
result $? "the header's example is the example adapter"

echo '#include <quire/bench.h>' >"$work/user.c"
${CC:-cc} -std=c99 -pedantic -Wall -Wextra -Werror -fsyntax-only \
	-I"$top/include" "$work/user.c"
result $? 'the header stands alone in C99'

why=
grep -q '^BENCHMARK_LIBS = .' "$build/Makefile" || why='no Google Benchmark'
[ -z "${SANITIZER_FLAGS:-}" ] || why="a sanitizer's build"
if [ -n "$why" ]; then
	skip 'what quire-bench does with it' "$why"
	echo "1..$tests"
	exit 0
fi
${MAKE:-make} -C "$build" bench/quire-bench >"$work/log" 2>&1 ||
	cat "$work/log"
echo 'int none;' >"$work/none.c"
${CC:-cc} -shared -fPIC -o "$work/adapters/none.so" "$work/none.c"
"$bench" --adapters "$work/adapters" --out="$work/out" --repetitions=1 \
	--slice-ms=5 --filter='^(pair|mixed)/(example|quire-trylock)/' \
	>"$work/log" 2>&1
status=$?
cat "$work/log"
# 10 orders at 1 thread, and order 0 and mixed at 4 or more numbers of them.
[ $status -eq 0 ] && [ -s "$work/out/bench.json" ] &&
	[ "$(grep -c '	example	' "$work/out/bench.tsv")" -ge 17 ]
result $? 'quire-bench measures it'
grep -q '"executable": "quire-bench"' "$work/out/bench.json" &&
	! LC_ALL=C grep -q '[^ -~]' "$work/out/bench.json"
result $? 'the JSON is text'
grep -q '^none.so is skipped: ' "$work/log"
result $? 'what is no adapter is named'
# Of throughput at 32 threads only quire-trylock's was asked for.
awk -F '\t' '
	/^(pair|mixed), quire-trylock: / { judged += $4 ~ /^(yes|NO)$/ }
	/^(pair|mixed): throughput, 32 / { skipped += $4 == "not measured" }
	END { exit judged != 2 || skipped != 2 }' "$work/out/reach.tsv" &&
	grep -q '^What it must show' "$work/out/bench.txt"
result $? 'what quire promises is judged'

# EAL wants a folder for its files, of which there are none.
RUNTIME_DIRECTORY=$work "$bench" --out="$work/dpdk" --repetitions=1 \
	--slice-ms=5 --filter='^(touch|exhaust)/dpdk-mempool/threads:2$' \
	>"$work/log" 2>&1
status=$?
why=$(sed -n 's/^dpdk-mempool is skipped: //p' "$work/log")
if [ -n "$why" ]; then
	skip 'DPDK hands out all it has' "$why"
else
	cat "$work/log"
	[ $status -eq 0 ] && awk -F '\t' '
		$1 == "touch" { touched = 1 }
		$1 == "exhaust" { taken = $13 }
		END { exit !(touched && taken > 0.99) }' "$work/dpdk/bench.tsv"
	result $? 'DPDK hands out all it has'
fi
echo "1..$tests"
