# SPDX-License-Identifier: BSD-2-Clause
#
# What .ci/run counts. A skip counts as one only if .ci/skips allows it: lines of
# a stage, a tab, and how the skipped test's line begins, without its number.
# Any other skip is a failure: a check that does not run checks nothing.
# shellcheck shell=sh

passed=0 failed=0 skipped=0
trouble=
skips=${skips:-.ci/skips}

fail() { # TEXT [HOW-MANY]
	failed=$((failed + ${2:-1}))
	trouble="$trouble
failed: $1"
}

# Lines of skipped tests, on standard input.
count_skips() { # STAGE
	refused=$(mktemp) || exit 99
	counted=$(awk -F '\t' -v stage="$1" -v refused="$refused" \
		-v skips="$skips" '
		BEGIN {
			while ((getline <skips) > 0)
				if ($1 == stage)
					allowed[++n] = $2
		}
		{
			for (i = 1; i <= n; i++)
				if (index($0, allowed[i]) == 1)
					break
			if (i <= n)
				good++
			else
				print >refused
		}
		END { print good + 0 }')
	skipped=$((skipped + counted))
	while read -r line; do
		fail "$1: may not be skipped: $line"
	done <"$refused"
	rm -f "$refused"
}

# One result of a stage that is one test.
count() { # STATUS STAGE
	case $1 in
	0) passed=$((passed + 1)) ;;
	77)
		count_skips "$2" <<-EOF
		$2
		EOF
		;;
	*) fail "$2" ;;
	esac
}

# Adds the results of a `make check` in BUILD. Without them, or if make failed
# though they are good, the stage itself counts as failed.
count_suite() { # STATUS BUILD STAGE
	lines=$(mktemp) || exit 99
	find "$2" -name '*.log' ! -name test-suite.log ! -path '*/mutants.*' \
		! -path '*/quire-[0-9]*' \
		-exec grep -hE '^(PASS|XFAIL|SKIP|FAIL|XPASS|ERROR): ' {} + \
		>"$lines" 2>/dev/null
	good=$(grep -cE '^(PASS|XFAIL): ' "$lines")
	bad=$(grep -cE '^(FAIL|XPASS|ERROR): ' "$lines")
	passed=$((passed + good))
	sed -n 's/^SKIP: //p' "$lines" | sed 's/^\([^ ]*\) [0-9]* /\1 /' \
		>"$lines.skips"
	none=$(grep -c . "$lines.skips")
	count_skips "$3" <"$lines.skips"
	if [ "$bad" -ne 0 ]; then
		fail "$3" "$bad"
	elif [ "$1" -ne 0 ] || [ $((good + none)) -eq 0 ]; then
		fail "$3: did not build, or ran no tests"
	fi
	rm -f "$lines" "$lines.skips"
}

# Adds the results in a file of TAP; without one the stage counts as failed.
count_tap() { # STATUS TAP STAGE
	if [ "$1" -eq 77 ] || { [ "$1" -eq 0 ] &&
		grep -q '^1\.\.0 # SKIP' "$2" 2>/dev/null &&
		! grep -qE '^((not )?ok|Bail out!)' "$2"; }; then
		count 77 "$3"
		return
	fi
	if [ ! -r "$2" ]; then
		fail "$3: no results"
		return
	fi
	good=$(grep '^ok ' "$2" | grep -vc '# SKIP')
	bad=$(grep -cE '^(not ok|Bail out!)' "$2")
	passed=$((passed + good))
	grep '^ok .*# SKIP' "$2" | sed 's/^ok *[0-9]* *-* *//' >"$2.skips"
	none=$(grep -c . "$2.skips")
	count_skips "$3" <"$2.skips"
	rm -f "$2.skips"
	if [ "$bad" -ne 0 ]; then
		fail "$3" "$bad"
	elif [ "$1" -ne 0 ] || [ $((good + none)) -eq 0 ]; then
		fail "$3: exit status $1"
	fi
}
