#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# soak HOURS [FOLDER]: quire-stress for so many hours (a fraction will do), every
# mode in every way. Each minute it starts anew, with another seed, number of
# threads, size and renewal. A failure is told with the command that repeats it,
# its output is kept in FOLDER (default: soak-results), and the night goes on.
# Exit status 0 if every check held, 1 if not, 2 if it cannot be run.

stress=${top_builddir:-.}/stress/quire-stress
hours=$1
out=${2:-soak-results}
minute=${QUIRE_SOAK_MINUTE:-60}

seconds=$(awk -v h="$hours" 'BEGIN {
	if (h !~ /^[0-9]+(\.[0-9]*)?$/ || h * 3600 < 1 || h > 10000)
		exit 1
	printf "%d", h * 3600
}') || {
	echo "soak: $hours: it is a number of hours, as in make soak HOURS=8" >&2
	exit 2
}
mkdir -p "$out" || exit 2
[ -x "$stress" ] || {
	echo "soak: $stress: there is no such program" >&2
	exit 2
}

draw() { # a number below 2^32
	od -An -N4 -tu4 /dev/urandom | tr -d ' '
}

pick() { # WORD...
	shift $(($(draw) % $#))
	echo "$1"
}

start=$(date +%s)
runs=0 failures=0
while now=$(date +%s) && [ $((now - start)) -lt "$seconds" ]; do
	left=$((seconds - now + start))
	[ "$left" -lt "$minute" ] || left=$minute
	# Sixteen modes in three ways.
	each=$(awk -v s="$left" 'BEGIN { printf "%.2f", s / 48 }')
	set -- --seed "$(draw)" --time "$each" \
		--threads "$(pick 1 2 3 4 6 8 16 32 64)" \
		--size "$(pick 32M 64M 128M 512M)" --renew "$(pick 0 0 8 64)"
	printf '%s: %d of %d s, %d runs, %d failed: quire-stress %s\n' \
		"$(date +%H:%M:%S)" $((now - start)) "$seconds" "$runs" \
		"$failures" "$*"
	log=$out/$now-$runs.log
	"$stress" "$@" >"$log" 2>&1
	status=$?
	runs=$((runs + 1))
	if [ $status -eq 0 ]; then
		rm -f "$log"
		continue
	fi
	case $status in
	2 | 126 | 127)
		cat "$log"
		echo "soak: quire-stress $* cannot be run" >&2
		exit 2
		;;
	esac
	failures=$((failures + 1))
	echo "FAILED (exit status $status): quire-stress $*"
	echo "    its output is in $log"
done
echo "$runs runs in $(($(date +%s) - start)) s, $failures failed"
[ "$failures" -eq 0 ]
