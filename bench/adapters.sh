#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# An adapter of one's own: the example in quire/bench.h compiles as a user would
# compile it, and quire-bench measures it; what is no adapter is named. Then
# bench/baseline.sh: it builds a library whose calls stay in it, or nothing.
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

mkdir "$work/top"
SANITIZER_FLAGS='' top_srcdir=$work/top sh "$top/bench/baseline.sh" \
	"$work/baseline" 2>"$work/log"
[ $? -eq 77 ] && grep -q '^the baseline is skipped: ' "$work/log" &&
	[ -z "$(find "$work" -name 'baseline*')" ]
result $? 'a baseline without a history is skipped'

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

# --- the baseline beside today's library ---

make_baseline() { # [VARIABLE=VALUE...]
	${MAKE:-make} -C "$build" baseline "$@" >"$work/log" 2>&1
}

make_baseline
status=$?
why=$(sed -n 's/^the baseline is skipped: //p' "$work/log")
if [ -n "$why" ]; then
	skip 'the baseline is measured' "$why"
	echo "1..$tests"
	exit 0
fi
cat "$work/log"
result $status 'the baseline is built'

! make_baseline CC=false BASELINE="$work/broken" &&
	grep -q '^the baseline is not built: ' "$work/log" &&
	[ -z "$(find "$work" -name 'broken*')" ]
result $? 'a baseline that cannot be built leaves nothing behind'

"$bench" --adapters "$build/bench/baseline/adapters" --out="$work/beside" \
	--repetitions=1 --slice-ms=5 \
	--filter='^pair/(quire|baseline)-.*/order:0/threads:1$' \
	>"$work/log" 2>&1
status=$?
cat "$work/log"
[ $status -eq 0 ] && [ "$(wc -l <"$work/beside/baseline.tsv")" -eq 4 ] &&
	grep -q '^Beside the baseline' "$work/beside/bench.txt"
result $? 'the baseline is measured beside the library'

# Each library calls itself, also where one public function calls another: the
# loader tells which definition it took.
calls_stay() { # [LD_PRELOAD=LIBRARY]
	rm -f "$work"/bindings.*
	env "$@" LD_DEBUG=bindings LD_DEBUG_OUTPUT="$work/bindings" "$bench" \
		--list --adapters "$build/bench/baseline/adapters" >/dev/null
	cat "$work"/bindings.* | awk '
	/binding file .* symbol `quire_/ && !/quire_bench_plugin/ {
		from = /\/(libquire-)?baseline[^\/]*\.so \[[0-9]*\] to /
		to = / to [^ ]*\/libquire-baseline\.so /
		crossed += from != to
		within += / file [^ ]*\/libquire-baseline\.so .* to /
	}
	END { exit crossed ? 1 : within ? 0 : 2 }'
}
calls_stay
result $? 'calls within the baseline stay there'

# A name without a version is taken for every version.
echo 'int quire_alloc_pages(void) { return 0; }' >"$work/other.c"
${CC:-cc} -shared -fPIC -o "$work/other.so" "$work/other.c"
calls_stay LD_PRELOAD="$work/other.so"
[ $? -eq 1 ]
result $? 'and where they do not, it is seen'
LD_PRELOAD=$work/other.so "$bench" --filter='^pair/baseline-rseq/order:0/' \
	--adapters "$build/bench/baseline/adapters" >"$work/log" 2>&1
grep -q '^baseline-rseq is skipped: ' "$work/log"
result $? 'the adapter sees it too'
echo "1..$tests"
