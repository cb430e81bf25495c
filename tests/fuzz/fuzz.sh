#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# The fuzz targets as plain programs: the kept inputs, then random ones for a
# few seconds, and for each expectation that the target can make wrong on
# purpose a run that must stop. QUIRE_FUZZ_SECONDS is how long the random runs
# take; the seed is that of the sources (scripts/seed) and stands in the output;
# QUIRE_FUZZ_SEED is another.

top=${top_srcdir:-$(dirname "$0")/../..}
programs=${top_builddir:-$top}/tests/fuzz
seconds=${QUIRE_FUZZ_SECONDS:-5}
seed=${QUIRE_FUZZ_SEED:-$("$top/scripts/seed")}
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
ulimit -c 0
# A target that stops on purpose is no news of a sanitizer's.
export ASAN_OPTIONS="handle_abort=0:$ASAN_OPTIONS"
n=0

result() { # STATUS NAME
	n=$((n + 1))
	[ "$1" -eq 0 ] || printf 'not '
	echo "ok $n - $2"
}

# Runs a target; keeps its status, and what it said if it failed.
run() { # TARGET ARGUMENT...
	target=$programs/fuzz_$1
	shift
	# shellcheck disable=SC2086
	$TEST_WRAPPER "$target" "$@" >"$work/out" 2>&1
	status=$?
}

tell() {
	tail -n 20 "$work/out" | sed 's/^/# /'
}

# With an expectation made wrong, the kept inputs must stop the target.
plant() { # TARGET WORD
	QUIRE_FUZZ_PLANT=$2
	export QUIRE_FUZZ_PLANT
	run "$1" "$top/tests/fuzz/corpus-$1"
	unset QUIRE_FUZZ_PLANT
	[ $status -ne 0 ] && grep -q 'does not hold' "$work/out"
	result $? "$1: a wrong expectation stops it: $2"
}

# An input that stops the target is kept, and stops it again.
keep() { # TARGET WORD
	QUIRE_FUZZ_PLANT=$2
	export QUIRE_FUZZ_PLANT
	run "$1" --seconds 30 --seed 1 --crashes "$work"
	saved=$(sed -n 's/^saved as //p' "$work/out")
	[ $status -ne 0 ] && [ -n "$saved" ] && [ -r "$saved" ] &&
		run "$1" "$saved" && [ $status -ne 0 ] &&
		grep -q 'does not hold' "$work/out"
	kept=$?
	unset QUIRE_FUZZ_PLANT
	[ $kept -eq 0 ] || tell
	result $kept "$1: a random input that stops it is saved"
}

check_target() { # TARGET WORD...
	target_name=$1
	shift
	if ! [ -x "$programs/fuzz_$target_name" ]; then
		n=$((n + 1))
		echo "ok $n - $target_name # SKIP it is not built"
		return
	fi
	run "$target_name" "$top/tests/fuzz/corpus-$target_name"
	tail -n 1 "$work/out"
	[ $status -eq 0 ] || tell
	result $status "$target_name: the kept inputs"
	run "$target_name" --seconds "$seconds" --seed "$seed" \
		--crashes "${top_builddir:-.}" \
		"$top/tests/fuzz/corpus-$target_name"
	tail -n 2 "$work/out"
	[ $status -eq 0 ] || tell
	result $status "$target_name: random inputs for $seconds s"
	keep "$target_name" "$1"
	for word; do
		plant "$target_name" "$word"
	done
}

check_target alloc runs overlap order holders flags private zero enomem \
	refused reports conservation zone node reserve kept last
check_target trace end order lines lost script
echo "1..$n"
