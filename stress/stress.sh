#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# A short run of every mode in every way: one TAP result each; and bad options.
# The seed is that of the sources (scripts/seed) and stands in the output;
# QUIRE_STRESS_SEED is another.

stress=${top_builddir:-.}/stress/quire-stress
seed=${QUIRE_STRESS_SEED:-$("${top_srcdir:-.}/scripts/seed")}
seconds=${QUIRE_STRESS_SECONDS:-0.4}
modes="churn pass exhaust drain migrate signals threads fork exact create misuse faults nodes wait pressure giveback"
n=0

try() { # NAME OPTION...
	name=$1
	shift
	n=$((n + 1))
	# shellcheck disable=SC2086
	$TEST_WRAPPER "$stress" --seed "$seed" --time "$seconds" --size 64M "$@"
	status=$?
	[ $status -eq 0 ] || printf 'not '
	echo "ok $n - $name"
}

refuses() { # WORDS OPTION...
	words=$1
	shift
	n=$((n + 1))
	# shellcheck disable=SC2086
	said=$($TEST_WRAPPER "$stress" "$@" 2>&1 >/dev/null)
	status=$?
	case $status,$said in
	2,*"$words"*) ;;
	*)
		echo "# exit status $status: $said"
		printf 'not '
		;;
	esac
	echo "ok $n - refused: $words"
}

skip() { # NAME
	n=$((n + 1))
	echo "ok $n - $1 # SKIP cannot be had on this machine"
}

unset QUIRE_CONF
# shellcheck disable=SC2086
case $($TEST_WRAPPER "$stress" --mode churn --way rseq --time 0 2>&1) in
*"cannot be had on this machine"*) has_rseq= ;;
*) has_rseq=yes ;;
esac

refuses '--mode: there is no mode "walk"' --mode churn,walk
refuses '--way: there is no way "none"' --way none
refuses '--time -1: it is a number of seconds from 0 to 1e7' --time -1
refuses '--stuck 0.5: it is a number of seconds from 1 to 1e7' --stuck 0.5
refuses '--threads 0: it is a number from 1 to 1024' --threads 0
refuses '--size 1Q: it is a number of bytes' --size 1Q
refuses '--size 1048576: 4 threads need' --size 1M
refuses 'what is "churn"?' churn

for mode in $modes; do
	for way in rseq trylock bound; do
		if [ $way = rseq ] && [ -z "$has_rseq" ]; then
			skip "$mode $way"
		else
			try "$mode $way" --mode "$mode" --way $way --threads 4
			[ "$mode" = exhaust ] || continue
			try "$mode $way, renewal" --mode "$mode" --way $way \
				--threads 4 --renew 32
		fi
	done
	try "$mode bound, 64 CPUs" --mode "$mode" --way bound --threads 64 \
		--cpus 64
done
echo "1..$n"
