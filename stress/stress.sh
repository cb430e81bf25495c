#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# A short run of every mode in every way: one TAP result each. The seed is new
# every time and stands in the output; QUIRE_STRESS_SEED repeats one.

stress=${top_builddir:-.}/stress/quire-stress
seed=${QUIRE_STRESS_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
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
