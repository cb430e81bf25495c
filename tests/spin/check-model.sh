#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The model of the pcp protocol holds, and fails as soon as one part of the
# protocol is taken out of it: spin sees what the model is there to see.
model=${top_srcdir:-$(dirname "$0")/../..}/tests/spin/pcp.pml
limit=${QUIRE_MODEL_TIMEOUT:-200} # seconds a search may take
if ! command -v spin >/dev/null 2>&1; then
	echo "1..0 # SKIP spin cannot be had"
	exit 77
fi
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
trap 'exit 99' HUP INT TERM
cp "$model" "$work/pcp.pml" && cd "$work" || exit 99
n=0
failed=0

result() { # STATUS TEXT
	n=$((n + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $n - $2"
	else
		echo "not ok $n - $2"
		failed=1
		sed 's/^/# /' out
	fi
}

# Searches the model; what pan says is in `out`, and 1 if there is no pan.
search() { # PAN_OPTION SWITCH...
	option=$1
	shift
	rm -f pan pan.* ./*.trail
	spin -a "$@" pcp.pml >out 2>&1 &&
		${CC:-cc} -w -O1 -DSAFETY -DCOLLAPSE -DMEMLIM=2048 -o pan \
			pan.c >out 2>&1 || return 1
	# shellcheck disable=SC2086
	timeout "$limit" ./pan $option -n -m6000000 -w25 >all 2>&1
	grep -v '^Depth=' all >out
	grep -e 'states, stored' -e '^pan: elapsed' out | sed 's/^/# /'
}

# Every state is seen, and none is bad.
sound() { # TEXT SWITCH...
	text=$1
	shift
	echo "# all states of the model $*: half a minute"
	search '' "$@" && grep -q 'errors: 0' out &&
		grep -q '^pan: elapsed time' out &&
		! grep -q -e 'max search depth' -e 'Search not completed' out
	result $? "$text"
}

# Without SWITCH the PROPERTY alone is looked at, and does not hold.
removed() { # PROPERTY SWITCH TEXT MORE...
	property=$1 switch=$2 text=$3
	shift 3
	echo "# $switch"
	case $property in
	no_page_twice) only=1 ;;
	none_lost) only=2 ;;
	no_false_failure) only=3 ;;
	no_deadlock) only=4 ;;
	esac
	if [ "$only" -eq 4 ]; then
		search '' -DONLY=4 "-D$switch" "$@" &&
			grep -q '^pan:1: invalid end state' out
	else
		search -E "-DONLY=$only" "-D$switch" "$@" &&
			grep -q "^pan:1: assertion violated $property " out
	fi
	result $? "$property fails: $text"
}

sound 'no page twice, none lost, no deadlock, no false failure'
removed no_page_twice NO_FENCE_ALL 'no fence when all sets are held'
removed no_page_twice NO_FENCE_DECAY 'no fence in a decay'
removed no_page_twice FENCE_NO_RESTART 'a membarrier that restarts nothing'
removed no_page_twice FENCE_NO_BARRIER 'a fence that flushes no other CPU'
removed no_page_twice NO_RESTART 'a preempted sequence goes on'
removed no_page_twice LOW_STAYS 'pops are not closed'
removed no_false_failure HIGH_STAYS 'pushes are not closed'
# In a list of one a push that is let in finds nothing drained.
removed none_lost HIGH_STAYS 'pushes onto a longer list are not closed' \
	-DCAPACITY=2
removed no_page_twice WORD_FIRST 'a sequence reads the word before the bound'
removed no_page_twice OPEN_FIRST 'a set opens before its word is written'
removed no_page_twice NO_CPU_CHECK 'a batch goes on from another CPU'
removed no_false_failure NO_LOCK_REFILL 'a refill without the pcp lock'
removed no_false_failure NO_LOCK_TRIM 'a trim without the pcp lock'
removed no_false_failure NO_ASK 'the zone is not asked again'
removed no_false_failure ASK_AFTER 'the zone is asked after the release'
removed no_false_failure ONE_BY_ONE 'sets are held one by one'
removed no_deadlock KEEP_SHARE 'a failing refill keeps its share of the lock'
removed no_deadlock LOCK_ORDER 'no drain lock, and sets in either order'
removed none_lost FORGET_REFUSED 'blocks that a list refuses are forgotten'
echo "1..$n"
exit $failed
