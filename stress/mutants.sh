#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# mutants.sh [NAME...]: proof that the suite can fail. Each stress/mutants/
# NAME.mutant describes one mistake, which scripts/mutate plants in src/, and
# names the command that catches it; a mutant is ok if its command finds a
# violation, fails a test or crashes within LIMIT seconds; quire-stress calls
# one that hangs stuck after STUCK seconds.
# The library has its schedule points but not its assertions: it is the suite
# that must see it. First the same commands must find nothing in the library as
# it is.
#
# A mutant begins with what is wrong, and these lines:
#   caught-by: COMMAND   quire-stress, or a unit test, tests/NAME, with what
#                        they are given; env before them
#   needs-cpus: N        if threads must run at once for it to be seen
#   needs-arch: ARCH     if it is in code for one machine, named as by uname -m
#
# QUIRE_STRESS_SEED repeats a seed. QUIRE_MUTANTS_LIMIT sets LIMIT,
# QUIRE_MUTANTS_TIMES how often each mutant must be caught (it tells the worst
# time), and QUIRE_MUTANTS_CONTROL the seconds of a run that must find nothing.

top=$(cd "${top_srcdir:-.}" && pwd) || exit 99
limit=${QUIRE_MUTANTS_LIMIT:-60}
stuck=20
times=${QUIRE_MUTANTS_TIMES:-1}
control=${QUIRE_MUTANTS_CONTROL:-1}
cc=${CC:-cc}
unset QUIRE_CONF
n=0

if [ -n "$SANITIZER_FLAGS" ]; then
	echo "1..0 # SKIP with a sanitizer: it says nothing that it does not say without"
	exit 0
fi
build=$(cd "${top_builddir:-.}" && pwd) || exit 99
tmp=$(mktemp -d "$build/mutants.XXXXXX") || exit 99
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

# --- building ---

flags="-std=gnu11 ${TEST_CFLAGS:--O2 -g} -pthread -D_GNU_SOURCE"
flags="$flags -DQUIRE_SCHEDULE_POINTS=1 ${CORE_CFLAGS-}"
libs=${CORE_LIBS--lurcu-bp -lurcu-common}
echo 'int main(void) { return 0; }' >"$tmp/try.c"
for flag in -fno-plt -fno-ipa-modref -fno-ipa-pure-const; do
	$cc -Werror "$flag" -o "$tmp/try" "$tmp/try.c" 2>/dev/null &&
		flags="$flags $flag"
done

compile() { # SRC FILE... into the current folder
	from=$1
	shift
	# shellcheck disable=SC2086
	$cc $flags -I"$build" -I"$top/include" -I"$from" -fPIC -c "$@"
}

# The core of a mutant: what it shares with the library as it is, and what it
# does not. A header is everybody's.
build_core() { # SRC OBJ [CHANGED...]
	from=$1
	cd "$2" || return 1
	shift 2
	with=
	case "$* " in
	*".h "* | ' ')
		# shellcheck disable=SC2046
		set -- $(cd "$from" && find . -name '*.c')
		;;
	*)
		cp "$tmp"/core/*.o . || return 1
		# What a mutant adds may wait at a schedule point.
		with='-include base/schedule.h'
		;;
	esac
	for file; do
		shift
		set -- "$@" "$from/$file"
	done
	# shellcheck disable=SC2086
	compile "$from" $with "$@"
}

link_stress() { # FOLDER
	# shellcheck disable=SC2086
	$cc $flags -o "$1/quire-stress" "$tmp"/stress/*.o "$1"/*.o $libs
}

# A unit test sees the core's headers, so it is compiled with them.
link_test() { # FOLDER SRC tests/NAME
	# shellcheck disable=SC2086
	mkdir -p "$1/tests" &&
		$cc $flags -I"$build" -I"$top/include" -I"$2" \
			-I"$top/tests" -o "$1/$3" "$top/$3.c" "$1"/*.o \
			-lcmocka $libs
}

# --- running ---

failed=0
result() { # STATUS NAME
	n=$((n + 1))
	if [ "$1" -ne 0 ]; then
		failed=1
		printf 'not '
	fi
	echo "ok $n - $2"
}

skip() { # NAME REASON
	n=$((n + 1))
	echo "ok $n - $1 # SKIP $2"
}

field() { # MUTANT NAME
	sed -n "s/^$2: //p; /^in: /q" "$1"
}

# Runs a mutant's command with the programs of a folder; its status.
run() { # FOLDER SECONDS LIMIT COMMAND
	folder=$1 seconds=$2 at_most=$3
	# shellcheck disable=SC2086
	set -- $4
	i=$#
	while [ $i -gt 0 ]; do
		word=$1
		shift
		case $word in
		quire-stress)
			word=$folder/quire-stress
			set -- "$@" "$word" --time "$seconds" --stuck "$stuck" \
				${QUIRE_STRESS_SEED:+--seed} \
				${QUIRE_STRESS_SEED:+"$QUIRE_STRESS_SEED"}
			;;
		tests/*) set -- "$@" "$folder/$word" ;;
		*) set -- "$@" "$word" ;;
		esac
		i=$((i - 1))
	done
	# shellcheck disable=SC2086
	timeout -k 5 "$at_most" $TEST_WRAPPER "$@" >"$tmp/out" 2>"$tmp/err"
}

# The first complaint, and the seed.
say() {
	awk '/^quire-stress [0-9]/ { seed = $4; sub(/,/, "", seed); next }
	     /seed/ && /^#/ { seed = $NF }
	     !said && (/^quire-stress: / || /^not ok/) { said = $0 }
	     END { if (seed != "") print "#   seed " seed
		   if (said != "") print "#   " said }' "$tmp/out" "$tmp/err"
}

# Why a command cannot be run here, or nothing.
obstacle() { # MUTANT COMMAND
	cpus=$(field "$1" needs-cpus)
	arch=$(field "$1" needs-arch)
	case $2 in
	*"--way rseq"*) [ -n "$has_rseq" ] || echo "no rseq on this machine" ;;
	tests/*) [ -n "$has_cmocka" ] || echo "no cmocka" ;;
	esac
	case $arch in
	'' | "$(uname -m)") ;;
	*) echo "$arch only" ;;
	esac
	[ "${cpus:-1}" -le "$(nproc)" ] || echo "needs $cpus CPUs"
}

# --- the library as it is ---

if [ $# -eq 0 ]; then
	set -- "$top"/stress/mutants/*.mutant
else
	for name; do
		shift
		set -- "$@" "$top/stress/mutants/$name.mutant"
	done
fi
for mutant; do
	[ -r "$mutant" ] || {
		echo "Bail out! there is no mutant $mutant"
		exit 99
	}
done
# An object has the name of its source, without the folder.
twice=$(find "$top/src" -name '*.c' | sed 's|.*/||' | sort | uniq -d)
if [ -n "$twice" ]; then
	# shellcheck disable=SC2086
	echo "Bail out! several files of src/ are called" $twice
	exit 99
fi

mkdir "$tmp/core" "$tmp/stress" || exit 99
if ! (build_core "$top/src" "$tmp/core") ||
	! (cd "$tmp/stress" && compile "$top/src" "$top"/stress/*.c) ||
	! link_stress "$tmp/core"; then
	echo "Bail out! the library as it is does not build"
	exit 99
fi
case $("$tmp/core/quire-stress" --mode churn --way rseq --time 0 2>&1) in
*"cannot be had on this machine"*) has_rseq= ;;
*) has_rseq=yes ;;
esac
has_cmocka=
echo 'int main(void) { return 0; }' >"$tmp/try.c"
$cc -o "$tmp/try" "$tmp/try.c" -lcmocka 2>/dev/null && has_cmocka=yes

for mutant; do
	command=$(field "$mutant" caught-by)
	[ -n "$(obstacle "$mutant" "$command")" ] || echo "$command"
done | sort -u >"$tmp/commands"
while read -r command; do
	for word in $command; do
		case $word in
		tests/*) link_test "$tmp/core" "$top/src" "$word" ;;
		esac
	done
	run "$tmp/core" "$control" $((limit + 60)) "$command" </dev/null
	status=$?
	result $status "nothing wrong: $command"
	[ $status -eq 0 ] || say
done <"$tmp/commands"

# --- mutants ---

# Makes $tmp/mutant; says why not.
build_mutant() { # MUTANT COMMAND
	rm -rf "$tmp/mutant"
	mkdir -p "$tmp/mutant/obj" && cp -R "$top/src" "$tmp/mutant/src" &&
		chmod -R u+w "$tmp/mutant/src" || return 1
	changed=$("$top/scripts/mutate" "$tmp/mutant/src" "$1" 2>"$tmp/err") || {
		sed 's/^/#   /' "$tmp/err"
		return 1
	}
	# shellcheck disable=SC2086
	(build_core "$tmp/mutant/src" "$tmp/mutant/obj" $changed) &&
		link_stress "$tmp/mutant/obj" || return 1
	for word in $2; do
		case $word in
		tests/*) link_test "$tmp/mutant/obj" "$tmp/mutant/src" "$word" ;;
		esac
	done
}

for mutant; do
	name=$(basename "$mutant" .mutant)
	command=$(field "$mutant" caught-by)
	reason=$(obstacle "$mutant" "$command" | head -n 1)
	if [ -n "$reason" ]; then
		skip "$name" "$reason"
		continue
	fi
	if ! build_mutant "$mutant" "$command"; then
		result 1 "$name: it cannot be built"
		continue
	fi
	worst=0 time=0 problem=
	while [ $time -lt "$times" ] && [ -z "$problem" ]; do
		time=$((time + 1))
		start=$(date +%s)
		run "$tmp/mutant/obj" $((limit - 5)) "$limit" "$command"
		status=$?
		took=$(($(date +%s) - start))
		[ $took -le $worst ] || worst=$took
		case $status in
		0) problem="not caught in $took s" ;;
		125 | 126 | 127) problem="exit status $status" ;;
		2) # of a unit test: two tests failed
			case $command in
			*quire-stress*) problem="exit status $status" ;;
			esac
			;;
		124 | 137) problem="ran past $limit s" ;;
		esac
		say
	done
	if [ -n "$problem" ]; then
		result 1 "$name: $problem: $command"
	else
		result 0 "$name: caught in $worst s by $command"
	fi
done
echo "1..$n"
exit $failed
