#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# How many instructions an operation takes, counted by valgrind over the real
# sequences and held against what tests/instructions.tsv says for the compiler
# and CPU: a pair may not take one more, any other operation 1 % more. A planted
# slowdown is seen.
#
#	instructions.sh [--against FILE] [--extra INSTRUCTIONS] [WORKLOAD...]
#	instructions.sh --record
#
# `make record-instructions` counts anew after a change that is wanted;
# scripts/check-record then says whether a line was raised.
# --extra makes each operation that much longer.
top=${top_srcdir:-$(dirname "$0")/..}
build=${top_builddir:-$top}
program=$build/tests/instructions
record=$top/tests/instructions.tsv
limit=1 # percent
extra=0
mode=check
while :; do
	case ${1-} in
	--record) mode=record; shift ;;
	--against) mode=compare record=$2; shift 2 ;;
	--extra) extra=$2; shift 2 ;;
	*) break ;;
	esac
done

skip() { # WHY
	if [ $mode = record ]; then
		echo "$0: nothing to record: $1" >&2
		exit 1
	fi
	echo "1..0 # SKIP $1"
	exit 0
}

[ -z "${TEST_WRAPPER-}" ] || skip "run by $TEST_WRAPPER"
[ -z "${SANITIZER_FLAGS-}" ] || skip "a build with a sanitizer"
command -v valgrind >/dev/null || skip "valgrind is not installed"
valgrind -q --tool=none true 2>/dev/null || skip "valgrind does not run here"
[ -x "$program" ] || skip "tests/instructions is not built"
# Other flags make other code; those for debuggers do not.
flags=${TEST_CFLAGS-$(sed -n 's/^\(SANITIZER_\|C\)FLAGS = //p' \
	"$build/Makefile")}
for flag in $flags; do
	case $flag in
	-O2 | -g | -g[0-3] | -ggdb* | -pipe | -W*) ;;
	*) skip "compiled with $flag, and the record is for -O2" ;;
	esac
done
# The compiler and the CPU.
key=$("$program" build)
case $?:$key in
0:*"	"*) ;;
0:*) skip "${key#*SKIP }" ;;
*) skip "$key" ;;
esac
[ $mode = compare ] || unset QUIRE_CONF
if [ $mode = check ]; then
	grep -q "^$key	" "$record" ||
		skip "no record for $(echo "$key" | tr '\t' ' ')"
fi
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
n=0

result() { # STATUS TEXT
	n=$((n + 1))
	if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; fi
}

all=$("$program" list | cut -f 1)

ops() { # WORKLOAD
	"$program" list | sed -n "s/^$1	//p"
}

limit_of() { # WORKLOAD
	case $1 in
	pair*) echo 0 ;;
	*) echo $limit ;;
	esac
}

# Instructions of a whole run, from main() on: what libnuma reads when it is
# loaded is never twice the same.
run() { # ARGUMENT...
	if ! valgrind --command-line-only=yes -q --tool=callgrind \
		--toggle-collect=main \
		--callgrind-out-file="$work/counted" "$program" "$@" >"$work/log" 2>&1; then
		sed 's/^/# /' "$work/log"
		return 1
	fi >&2
	sed -n 's/^summary: //p' "$work/counted"
}

# Instructions an operation.
count() { # WORKLOAD [EXTRA]
	ops=$(ops "$1")
	without=$(run "$1" 0) && with=$(run "$1" "$ops") || return
	if [ "${2:-0}" != 0 ]; then
		planted=$(awk -v n="$ops" -v extra="$2" \
			'BEGIN { printf "%d", n * extra }')
		with=$(run "$1" "$ops" "$planted") || return
	fi
	awk -v n="$ops" -v sum=$((with - without)) \
		'BEGIN { printf "%.2f\n", sum / n }'
}

table() { # WORKLOAD...
	for workload; do
		counted=$(count "$workload") || return
		printf '%s\t%s\t%s\n' "$key" "$workload" "$counted"
	done
}

# Counted, recorded and their ratio; 1 if that is over the limit.
compare() { # COUNTED RECORDED PERCENT
	awk -v counted="$1" -v recorded="$2" -v limit="$3" 'BEGIN {
		ratio = recorded ? counted / recorded : 0
		printf "%.2f instructions, %.2f recorded, ratio %.3f", counted,
			recorded, ratio
		# Both are rounded to hundredths.
		exit !(ratio && counted < recorded * (1 + limit / 100) + 0.005)
	}'
}

check() { # WORKLOAD
	if ! counted=$(count "$1" "$extra"); then
		result 1 "$1: could not be counted"
		return
	fi
	text=$(compare "$counted" "$(sed -n "s/^$key	$1	//p" "$record")" \
		"$(limit_of "$1")")
	result $? "$1: $text"
}

# This script, against what was counted just now.
again() { # ARGUMENT...
	${SHELL:-sh} "$0" --against "$work/now.tsv" "$@" >"$work/out" 2>&1
	sed 's/^/# /' "$work/out"
}

caught() { # WORKLOAD
	grep -q "^not ok 1 - $1:" "$work/out" && ! grep -q '^ok' "$work/out"
}

# A count that is within its limit does not raise the recorded one.
lower() { # WORKLOAD COUNTED
	recorded=$(sed -n "s/^$key	$1	//p" "$record" 2>/dev/null)
	if [ -n "$recorded" ] && compare "$2" "$recorded" "$(limit_of "$1")" \
		>/dev/null; then
		printf '%s\n%s\n' "$2" "$recorded" | LC_ALL=C sort -n | head -n 1
	else
		echo "$2"
	fi
}

if [ $mode = record ]; then
	# shellcheck disable=SC2086
	table $all >"$work/table" || exit
	while read -r compiler cpu workload counted; do
		printf '%s\t%s\t%s\t%s\n' "$compiler" "$cpu" "$workload" \
			"$(lower "$workload" "$counted")"
	done <"$work/table" >"$work/now"
	{
		printf 'compiler\tcpu\tworkload\tinstructions\n'
		{
			sed 1d "$record" 2>/dev/null | grep -v "^$key	"
			cat "$work/now"
		} | LC_ALL=C sort
	} >"$work/all" && cp "$work/all" "$record" && cat "$record"
	exit
fi

# shellcheck disable=SC2048
for workload in ${*:-$all}; do
	check "$workload"
done

if [ $mode = check ]; then
	table pair mixed >"$work/now.tsv" && table pair mixed |
		diff - "$work/now.tsv" >"$work/other"
	result $? 'the same again, to the hundredth of an instruction'
	sed 's/^/# /' "$work/other"
	# A recorded operation of about 100 instructions.
	again --extra 0.9 mixed
	grep -q '^ok 1 - mixed' "$work/out"
	result $? '0.9 % more of mixed is let pass'
	again --extra 1.1 mixed
	caught mixed
	result $? '1.1 % more of mixed is caught'
	again --extra 1 pair
	caught pair
	result $? 'one instruction more of a pair is caught'
	QUIRE_CONF=race:1 again pair
	caught pair && grep -q 'ratio' "$work/out"
	result $? 'a longer path through the library is caught'
	QUIRE_CONF=way:trylock again pair
	caught pair && grep -q 'way trylock' "$work/out"
	result $? 'what is not the fast path is not counted'
fi
echo "1..$n"
