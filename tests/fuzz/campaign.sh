#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# campaign.sh libfuzzer|afl SECONDS: builds each fuzz target for that engine in
# fuzz-ENGINE/ of the build and runs it for SECONDS. What stops a target lies
# there in crash-TARGET/ (libfuzzer) or found-TARGET/default/crashes/ (afl), and
# the exit status is 1; 77 where the compiler is missing. Started by `make fuzz`
# and `make fuzz-afl`, which set: top_srcdir, FUZZ_CFLAGS, FUZZ_CORE and
# FUZZ_TOOLS (sources from top_srcdir), FUZZ_CORE_LIBS, FUZZ_LIBS, FUZZ_CC.
set -u
engine=$1 seconds=$2
folder=fuzz-$engine
bad=0

case $engine in
libfuzzer)
	cc=${FUZZ_CC:-clang}
	flags='-fsanitize=fuzzer,address,undefined'
	;;
afl)
	# -fsanitize=fuzzer: AFL++'s own driver for the same function.
	cc=${FUZZ_CC:-afl-clang-fast}
	flags='-fsanitize=fuzzer'
	;;
*) echo "$0: $engine: no such engine" >&2; exit 2 ;;
esac
if ! command -v "$cc" >/dev/null; then
	echo "skipped: no $cc (Debian: clang, afl++)"
	exit 77
fi
mkdir -p "$folder" || exit 2

build() { # TARGET LIBRARY...
	target=$1
	shift
	# The comparisons of a reference of many pages are half the time, and
	# lead nowhere; those of a parser lead to its words.
	quick=
	[ "$engine-$target" = libfuzzer-alloc ] &&
		quick=-fno-sanitize-coverage=trace-cmp
	files=
	for file in tests/fuzz/fuzz_$target.c $FUZZ_CORE \
			$([ "$target" = trace ] && echo "$FUZZ_TOOLS"); do
		files="$files $top_srcdir/$file"
	done
	echo "building $folder/fuzz_$target"
	# shellcheck disable=SC2086
	AFL_QUIET=1 $cc -g -O1 -fno-omit-frame-pointer $flags $quick \
		-fno-sanitize-recover=all $FUZZ_CFLAGS $files \
		$FUZZ_CORE_LIBS "$@" -o "$folder/fuzz_$target" || exit 1
}

# New inputs of libFuzzer's go to new-TARGET/; merge what is worth keeping with
# fuzz_TARGET -merge=1 CORPUS new-TARGET.
run_libfuzzer() { # TARGET
	mkdir -p "$folder/new-$1" "$folder/crash-$1"
	"$folder/fuzz_$1" -max_total_time="$seconds" -timeout=60 \
		-rss_limit_mb=4096 -max_len=2048 -print_final_stats=1 \
		-artifact_prefix="$folder/crash-$1/" \
		"$folder/new-$1" "$top_srcdir/tests/fuzz/corpus-$1" \
		2>"$folder/$1.log" || bad=1
	grep -e 'cov:' "$folder/$1.log" | tail -n 1
	grep -e '^stat::number' -e ERROR -e 'does not hold' "$folder/$1.log"
}

run_afl() { # TARGET
	AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES=1 AFL_SKIP_CPUFREQ=1 \
		AFL_NO_AFFINITY=1 AFL_NO_UI=1 AFL_BENCH_UNTIL_CRASH=1 \
		afl-fuzz -V "$seconds" -t 10000 -m none \
		-i "$top_srcdir/tests/fuzz/corpus-$1" -o "$folder/found-$1" \
		"$folder/fuzz_$1" >"$folder/$1.log" 2>&1 || bad=1
	grep -e execs_done -e edges_found -e saved_ \
		"$folder/found-$1/default/fuzzer_stats"
	for kind in crashes hangs; do
		grep -q "^saved_$kind *: 0" \
			"$folder/found-$1/default/fuzzer_stats" || bad=1
	done
}

ulimit -c 0
# shellcheck disable=SC2086
{
	build alloc
	run_$engine alloc
	if [ -n "$FUZZ_TOOLS" ]; then
		build trace $FUZZ_LIBS
		run_$engine trace
	fi
}
[ $bad -eq 0 ] || echo "a target was stopped: see $folder/" >&2
exit $bad
