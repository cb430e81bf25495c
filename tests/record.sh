#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# scripts/check-record sees a recorded count that was raised or dropped, in
# whichever commit, and lets pass what is allowed.
top=${top_srcdir:-$(dirname "$0")/..}
if ! command -v git >/dev/null; then
	echo '1..0 # SKIP git is not installed'
	exit 0
fi
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
export HOME="$work" GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_NAME=test GIT_AUTHOR_EMAIL=test@localhost
export GIT_COMMITTER_NAME=test GIT_COMMITTER_EMAIL=test@localhost
n=0

result() { # STATUS NAME
	n=$((n + 1))
	if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; fi
}

# A repository whose first commit records PAIR and BULK.
begin() { # PAIR BULK
	rm -rf "$work/house"
	mkdir -p "$work/house/tests"
	cd "$work/house" || exit 99
	git init -q .
	printf 'compiler\tcpu\tworkload\tinstructions\twhy\n' \
		>tests/instructions-raised.tsv
	record "$1" "$2"
	QUIRE_BASELINE=$(git rev-parse HEAD)
	export QUIRE_BASELINE
}

write() { # PAIR BULK
	printf 'compiler\tcpu\tworkload\tinstructions\n' >tests/instructions.tsv
	[ -z "$1" ] || printf 'gcc-12\tx86_64\tpair\t%s\n' "$1" \
		>>tests/instructions.tsv
	printf 'gcc-12\tx86_64\tbulk-free\t%s\n' "$2" >>tests/instructions.tsv
}

record() { # PAIR BULK
	write "$1" "$2"
	git add tests
	git commit -q --allow-empty -m 'counts'
}

allow() { # WORKLOAD COUNT WHY
	printf 'gcc-12\tx86_64\t%s\t%s\t%s\n' "$1" "$2" "$3" \
		>>tests/instructions-raised.tsv
}

# The status of the check, and a word that is in what it says.
expect() { # NAME STATUS WORD
	"$top/scripts/check-record" "$work/house" >"$work/out" 2>&1
	status=$?
	sed 's/^/# /' "$work/out"
	[ $status -eq "$2" ] && grep -q -e "$3" "$work/out"
	result $? "$1"
}

begin 88.00 67.08
expect 'nothing changed' 0 'none raised'
record 87.00 67.70
expect 'a lower pair, and 0.9 % more of another' 0 'none raised'
record 88.00 67.08
expect 'a pair raised above the lowest it had' 1 'pair: 88.00.*was 87.00'
record 87.00 67.08
expect 'a raise that a later commit takes back' 0 'none raised'

begin 88.00 67.08
record 88.00 67.70
record 88.00 68.30
expect 'a rise by small steps' 1 'bulk-free: 68.30.*was 67.08'

begin 88.00 67.08
write 88.01 67.08
expect 'a raise that is not committed' 1 'pair: 88.01'
allow pair 88.01 ''
expect 'an allowance without a reason is none' 1 'pair: 88.01'
allow pair 88.01 'issue 0 allows it'
expect 'a raise that is allowed' 0 'none raised'
write 88.02 67.08
expect 'more than what is allowed' 1 'pair: 88.02'
record 88.01 67.08
record 80.00 67.08
record 88.01 67.08
expect 'what was allowed, once it was lower again' 0 'none raised'

begin 88.00 67.08
record '' 67.08
expect 'a line that is dropped' 1 'pair: dropped'
allow pair dropped 'issue 0 allows it'
expect 'a line that may be dropped' 0 'none raised'

QUIRE_BASELINE=0123456789
expect 'a history without the baseline' 77 'not in this clone'
rm -rf .git
expect 'no history' 77 'skipped'
echo "1..$n"
