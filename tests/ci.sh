#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# What .ci/run counts: results of each kind, and a skip that is not allowed as a
# failure.
top=${top_srcdir:-$(dirname "$0")/..}
if [ ! -r "$top/.ci/results.sh" ]; then
	echo '1..0 # SKIP a package has no .ci/'
	exit 0
fi
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 99
skips=$work/skips
printf 'suite\ttests/lock # SKIP test_rank\nsuite\ttests/all.sh\n' >"$skips"
printf 'tap\tneeds two\nalone\talone\n' >>"$skips"
# shellcheck source=/dev/null
. "$top/.ci/results.sh"
n=0

# The counts since the last look, and a word that the trouble must have.
expect() { # NAME PASSED FAILED SKIPPED [WORD]
	n=$((n + 1))
	if [ "$passed $failed $skipped" = "$2 $3 $4" ] &&
		echo "$trouble" | grep -q -e "${5:-^$}"; then
		echo "ok $n - $1"
	else
		echo "not ok $n - $1"
		echo "# $passed passed, $failed failed, $skipped skipped: $trouble"
	fi
	passed=0 failed=0 skipped=0 trouble=
}

suite() { # LINE...
	rm -rf build
	mkdir -p build/tests
	printf '%s\n' "$@" >build/tests/lock.log
	echo 'FAIL: a summary repeats' >build/test-suite.log
}

count 0 alone
expect 'a stage that passed' 1 0 0
count 1 alone
expect 'a stage that failed' 0 1 0 '^failed: alone'
count 77 alone
expect 'a stage that may be skipped' 0 0 1
count 77 other
expect 'a stage that may not be skipped' 0 1 0 'other: may not be skipped'

suite 'PASS: tests/lock 1 - a' 'SKIP: tests/lock 12 # SKIP test_rank' \
	'XFAIL: tests/lock 3 - c' 'SKIP: tests/all.sh - for a reason'
count_suite 0 build suite
expect 'a suite with skips that are allowed' 2 0 2
count_suite 0 build other
expect 'each of its skips elsewhere' 2 2 0 \
	'other: may not be skipped: tests/lock # SKIP test_rank'
suite 'PASS: tests/lock 1 - a' 'SKIP: tests/lock 2 # SKIP test_owner'
count_suite 0 build suite
expect 'a skip that is not allowed' 1 1 0 'test_owner'
skips=/dev/null
count_suite 0 build suite
expect 'where nothing is allowed' 1 1 0 'test_owner'
skips=$work/skips
suite 'PASS: tests/lock 1 - a' 'FAIL: tests/lock 2 - b' 'ERROR: tests/x - c'
count_suite 1 build suite
expect 'a suite that failed' 1 2 0 '^failed: suite'
suite 'PASS: tests/lock 1 - a'
count_suite 2 build suite
expect 'good results of a make that failed' 1 1 0 'did not build'
suite ''
count_suite 0 build suite
expect 'a suite without results' 0 1 0 'ran no tests'

printf 'ok 1 - a\nok 2 - needs two CPUs # SKIP one\n1..2\n' >tap
count_tap 0 tap tap
expect 'TAP with a skip that is allowed' 1 0 1
printf 'ok 1 - a\nok 2 - needs four # SKIP one\n1..2\n' >tap
count_tap 0 tap tap
expect 'TAP with one that is not' 1 1 0 'tap: may not be skipped: needs four'
printf 'ok 1 - a\nnot ok 2 - b\nBail out! c\n' >tap
count_tap 1 tap tap
expect 'TAP with failures' 1 2 0 '^failed: tap'
printf 'ok 1 - a\n1..1\n' >tap
count_tap 1 tap tap
expect 'good TAP of a program that failed' 1 1 0 'exit status 1'
: >tap
count_tap 0 tap tap
expect 'TAP without a result' 0 1 0 'tap: exit status 0'
echo '1..0 # SKIP no reason' >tap
count_tap 0 tap alone
expect 'TAP that skips all, where it may' 0 0 1
count_tap 0 tap tap
expect 'TAP that skips all, where it may not' 0 1 0 'may not be skipped'
printf '1..0 # SKIP one of them\nok 1 - a\n1..1\n' >tap
count_tap 0 tap tap
expect 'TAP of several programs, one of which skips all' 1 0 0
count_tap 77 nothing alone
expect 'a script that skips itself' 0 0 1
count_tap 0 nothing tap
expect 'TAP that is not there' 0 1 0
echo "1..$n"
