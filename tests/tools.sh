#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# The tools as a user has them: good traces, bad traces, bad options. A bad
# trace ends with exit status 2, nothing on the standard output, and a message
# with file, line and values.
top=${top_srcdir:-$(dirname "$0")/..}
build=${top_builddir:-$top}
replay=$build/tools/quire-replay
record=$build/tools/quire-record
fragmentation=$build/tools/quire-fragmentation
demo=$top/examples/demo.trace.zst
if ! [ -x "$replay" ]; then
	echo "1..0 # SKIP the tools are not built (no libarchive)"
	exit 0
fi
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
n=0

result() { # STATUS TEXT
	n=$((n + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $n - $2"
	else
		echo "not ok $n - $2"
		sed 's/^/# /' "$work/err"
	fi
}

skip() { # TEXT WHY
	n=$((n + 1))
	echo "ok $n - $1 # SKIP $2"
}

# Runs a command that must refuse: status 2, words on stderr, stdout empty.
refuses() { # TEXT WORDS COMMAND...
	text=$1 words=$2
	shift 2
	"$@" >"$work/out" 2>"$work/err" </dev/null
	status=$?
	[ $status -eq 2 ] && grep -Fq -e "$words" "$work/err" &&
		! [ -s "$work/out" ]
	result $? "$text (status $status)"
}

# The value of a key that holds a number.
value() { # KEY
	sed -n 's/^  "'"$1"'": \([0-9.]*\),*$/\1/p' "$work/out"
}

# Replays a text; its counts must be those given as KEY=VALUE.
counts() { # TEXT KEY=VALUE...
	text=$1
	shift
	"$replay" --json --way=trylock "$work/trace" >"$work/out" 2>"$work/err"
	status=$?
	for pair; do
		got=$(value "${pair%%=*}")
		if [ "$got" != "${pair#*=}" ]; then
			echo "# ${pair%%=*} is $got, not ${pair#*=}"
			status=1
		fi
	done
	result $status "$text"
}

alloc() { # CPU PFN ORDER
	echo "t-1 [$1] ..... 1.0: mm_page_alloc: pfn=$2 order=$3"
}
free() { # CPU PFN ORDER
	echo "t-1 [$1] ..... 1.0: mm_page_free: pfn=$2 order=$3"
}

### Good traces

for way in rseq trylock bound; do
	"$replay" --json --way=$way "$demo" >"$work/out" 2>"$work/err"
	status=$?
	if [ $way = rseq ] && grep -q 'not supported' "$work/err"; then
		skip "the demo trace, way rseq" "no rseq here"
		continue
	fi
	[ $status -eq 0 ] && [ "$(value violations)" = 0 ] &&
		[ "$(value events)" -gt 10000 ] &&
		grep -q "\"way\": \"$way\"" "$work/out"
	result $? "the demo trace, way $way: no violation"
done

"$replay" --touch "$demo" >"$work/out" 2>"$work/err" &&
	grep -q '^PASS' "$work/out" && ! [ -s "$work/err" ]
result $? "the demo trace in real memory, and a report"

keys='events allocs frees unknown_frees realloc_live split_frees peak_pages
violations failures pcp_share zone_locks free_2m_blocks ideal_2m_blocks seconds
way cpus lost_events samples order_allocs unusable'
if command -v jq >/dev/null; then
	"$replay" --json "$demo" >"$work/out" 2>"$work/err"
	status=$?
	for key in $keys; do
		jq -es "length == 1 and (.[0] | has(\"$key\"))" \
			"$work/out" >/dev/null || { status=1; echo "# $key"; }
	done
	jq -e '.events == .allocs + .failed_allocs + .frees + .unknown_frees
		and (.samples | length) > 20
		and .samples[-1].events == .events
		and (.unusable | length) == 19
		and (.order_allocs | add) == .allocs
		and .peak_pages >= .live_pages' "$work/out" >/dev/null
	result $((status + $?)) "--json is one object, its keys agree"
else
	skip "--json is one object, its keys agree" "no jq"
fi

zstd=$(command -v zstd)
if [ "$zstd" ]; then
	"$zstd" -dcq "$demo" | "$replay" --json - >"$work/out" 2>"$work/err"
	result $? "a plain trace from the standard input"
	"$zstd" -dcq "$demo" | sed 's/ \[\([0-9]*\)\] \.[^ ]*/ [\1]/
		s/: mm_page/: kmem:mm_page/' >"$work/trace"
	counts "the same as perf script prints it" violations=0
else
	skip "a plain trace from the standard input" "no zstd"
	skip "the same as perf script prints it" "no zstd"
fi

{ alloc 0 0x10 0; alloc 1 0x20 3; free 1 0x10 0; free 0 0x20 3; free 0 0x99 0
} >"$work/trace"
counts "frees across CPUs, and one from before the trace" events=5 allocs=2 \
	frees=2 unknown_frees=1 peak_pages=9 cpus=2 violations=0 live_pages=0
{ alloc 0 0x10 2; free 1 0x11 0; free 1 0x10 0; free 0 0x12 1; alloc 0 0x10 0
} >"$work/trace"
counts "a block freed in parts" allocs=2 frees=3 split_frees=3 live_pages=1 \
	realloc_live=0 violations=0
{ alloc 0 0x10 3; alloc 1 0x10 0; alloc 1 0x12 1; free 0 0x10 0
} >"$work/trace"
counts "pages allocated twice without a free" allocs=3 frees=1 realloc_live=1 \
	live_pages=2 peak_pages=8 violations=0
{ alloc 0 0x10 3; free 0 0x13 0; alloc 1 0x13 0; free 1 0x10 3; alloc 0 0x14 2
} >"$work/trace"
counts "a free of more than one block" allocs=3 frees=2 wide_frees=1 \
	live_pages=4 violations=0
{ alloc 0 0x10 1; free 0 0x10 3; free 0 0x10 1; } >"$work/trace"
counts "a free of more than was allocated" frees=1 wide_frees=1 \
	unknown_frees=1 live_pages=0 violations=0
{ echo 't-1 [7] 1.0: mm_page_alloc: page=(null) pfn=0x0 order=9'
  alloc 7 0x10 0; echo 'CPU:7 [LOST 5 EVENTS]'; free 7 0x10 0; } >"$work/trace"
counts "a failed allocation and lost events" failed_allocs=1 allocs=1 \
	lost_events=5 cpus=1 events=3 violations=0
awk 'BEGIN {
	for (i = 0; i < 6000; i++)
		printf "t-1 [%d] 1.0: mm_page_alloc: pfn=%d order=%d\n",
			i % 64, 4096 + 16 * i, i % 5
	for (i = 0; i < 6000; i++)
		printf "t-1 [%d] 2.0: mm_page_free: pfn=%d order=%d\n",
			(i * 7 + 1) % 64, 4096 + 16 * i, i % 5
}' >"$work/trace"
counts "64 CPUs that free each other's pages" allocs=6000 frees=6000 cpus=64 \
	live_pages=0 failures=0 violations=0
"$replay" --json --size=2M --way=trylock "$work/trace" >"$work/out" \
	2>"$work/err" && [ "$(value failures)" -gt 0 ] &&
	[ "$(value violations)" = 0 ]
result $? "an arena too small: failures, but no violation"

### Bad traces

refuses "a file that is missing" "$work/missing: cannot open: No such file" \
	"$replay" "$work/missing"
: >"$work/trace"
refuses "an empty file" "is empty (0 bytes)" "$replay" "$work/trace"
refuses "a folder" "is a directory" "$replay" "$work"
head -c 5000 "$demo" >"$work/trace"
refuses "a compressed file cut short" "cut short" "$replay" "$work/trace"
grep -q 'line [0-9]*: .* after [0-9]* bytes' "$work/err"
result $? "the message says where"
{ alloc 0 0x10 0; free 0 0x10 0 | tr -d '\n'; } >"$work/trace"
refuses "a last line cut short" "line 2: cut short" "$replay" "$work/trace"
{ alloc 0 0x10 0; printf 'a\0b\n'; } >"$work/trace"
refuses "binary data" "line 2: binary data: byte 0x00" "$replay" "$work/trace"
seq 100000 | gzip -nc | tail -c +100 | head -c 100000 >"$work/trace"
refuses "random bytes" "line" "$replay" "$work/trace"
echo 'just text' >"$work/trace"
refuses "no trace at all" "no mm_page_alloc or mm_page_free event in 1 lines" \
	"$replay" "$work/trace"
{ alloc 0 0x10 0; free 4096 0x10 0; } >"$work/trace"
refuses "a CPU number of 4096" "line 2: CPU 4096" "$replay" "$work/trace"
awk 'BEGIN { for (i = 0; i < 4096; i++)
	printf "t-1 [%04d] 1.0: mm_page_alloc: pfn=%d order=0\n", i, i + 1
}' >"$work/trace"
refuses "4,096 CPUs" "line 1025: CPU 1024: numbers below 1024" \
	"$replay" "$work/trace"
{ alloc 0 0x10 0; alloc 0 0x20 19; } >"$work/trace"
refuses "an order of 19" "line 2: order 19 is not in 0..18" \
	"$replay" "$work/trace"
{ alloc 0 0x10 0; free 0 0xzz 0; } >"$work/trace"
refuses "a pfn that is no number" 'line 2: "pfn=0xzz" is not a number' \
	"$replay" "$work/trace"
{ alloc 0 0x10 0; echo 'mm_page_free: pfn=0x10 order=0'; } >"$work/trace"
refuses "an event without a CPU" "line 2: a page event without" \
	"$replay" "$work/trace"

### Bad options

refuses "no trace" "no TRACE given" "$replay"
refuses "two traces" "one TRACE" "$replay" "$demo" "$demo"
refuses "an unknown option" "unrecognized option" "$replay" --fast "$demo"
refuses "an unknown way" "--way fast" "$replay" --way=fast "$demo"
refuses "an unknown backing" "--backing 4k" "$replay" --backing=4k "$demo"
refuses "a size of 0" "--size 0" "$replay" --size=0 "$demo"
refuses "a size that is none" "--size 12Q" "$replay" --size=12Q "$demo"
refuses "a size too large" "--size 99999999T" "$replay" --size=99999999T "$demo"
refuses "0 samples" "--samples 0" "$replay" --samples=0 "$demo"
refuses "offsets with real memory" "--offsets" \
	"$replay" --offsets --touch "$demo"
refuses "a plot that cannot be written" "cannot write $work/no/x.svg" \
	"$replay" --plot="$work/no/x.svg" "$demo"

### Fragmentation

# 1,024 single pages, every second one freed, 256 taken again; then those of the
# second half that were left are freed. First fit has filled the lower block
# and ends with one block in use, a LIFO buddy with two.
awk 'BEGIN {
	for (i = 0; i < 1024; i++)
		printf "t-1 [0] 1.0: mm_page_alloc: pfn=%d order=0\n", 4096 + i
	for (i = 0; i < 1024; i += 2)
		printf "t-1 [0] 2.0: mm_page_free: pfn=%d order=0\n", 4096 + i
	for (i = 0; i < 256; i++)
		printf "t-1 [0] 3.0: mm_page_alloc: pfn=%d order=0\n", 9999 + i
	for (i = 513; i < 1024; i += 2)
		printf "t-1 [0] 4.0: mm_page_free: pfn=%d order=0\n", 4096 + i
}' >"$work/trace"
"$fragmentation" --tsv --size=64M --way=trylock "$work/trace" >"$work/out" \
	2>"$work/err" &&
	head -n 1 "$work/out" | grep -q 'live_pages	ideal	quire	first_fit	lifo' &&
	tail -n 1 "$work/out" | grep -q '	512	31	[0-9]*	31	30$'
result $? "fragmentation: first fit and LIFO where the answer is known"
"$fragmentation" --over-peak=1.5 --way=trylock "$demo" >"$work/out" \
	2>"$work/err" && grep -q '^  first fit  *[0-9]' "$work/out" &&
	grep -q '1\.5[0-9]* of the peak' "$work/out" && ! grep FAIL "$work/out"
result $? "fragmentation: the demo trace, a table"
for threads in single trace; do
	for i in 1 2; do
		"$fragmentation" --json --way=trylock --threads=$threads \
			--repeat=3 --seed=5 --size=64M "$demo" \
			>"$work/out.$i" 2>"$work/err" || break
		grep '"first_fit"\|"lifo_buddy"' "$work/out.$i" >"$work/ref.$i"
	done
	cmp -s "$work/ref.1" "$work/ref.2" && [ -s "$work/ref.1" ]
	result $? "fragmentation: three passes, threads $threads, twice the same"
done
if command -v jq >/dev/null; then
	jq -es 'length == 1 and (.[0] | .violations == 0 and .repeat == 3 and
		(.policies | keys == ["first_fit", "lifo_buddy", "quire"]) and
		([.policies[] | .passes | length] == [3, 3, 3]) and
		([.policies[].share_end] | all(. >= 0 and . <= 1)) and
		([.policies[].used_average] | all(. >= 1)) and
		(.samples | length) == (.policies.quire.free_2m_blocks | length)
		and .samples[-1].events == 3 * .events)' "$work/out.1" >/dev/null
	result $? "fragmentation: --json is one object, its keys agree"
else
	skip "fragmentation: --json is one object, its keys agree" "no jq"
fi
refuses "fragmentation: no trace" "no TRACE given" "$fragmentation"
refuses "fragmentation: a file that is missing" \
	"$work/missing: cannot open: No such file" \
	"$fragmentation" "$work/missing"
refuses "fragmentation: an arena below the peak" "--over-peak 0.9" \
	"$fragmentation" --over-peak=0.9 "$demo"
refuses "fragmentation: a factor that is none" "--over-peak 1.2x" \
	"$fragmentation" --over-peak=1.2x "$demo"
refuses "fragmentation: two sizes" "--size and --over-peak" \
	"$fragmentation" --over-peak=2 --size=1G "$demo"
refuses "fragmentation: 0 passes" "--repeat 0" \
	"$fragmentation" --repeat=0 "$demo"
refuses "fragmentation: bursts of no page" "--burst 0" \
	"$fragmentation" --burst=0 "$demo"
refuses "fragmentation: threads that are none" "--threads two" \
	"$fragmentation" --threads=two "$demo"
refuses "fragmentation: an unknown way" "--way fast" \
	"$fragmentation" --way=fast "$demo"
refuses "fragmentation: an arena of 16 TiB" "larger than first fit" \
	"$fragmentation" --size=16T "$demo"
refuses "fragmentation: a plot that cannot be written" \
	"cannot write $work/no/x.svg" \
	"$fragmentation" --plot="$work/no/x.svg" "$demo"

### Plots

mkdir "$work/bin"
for dir in /bin /usr/bin; do
	ln -s $dir/* "$work/bin" 2>/dev/null
done
rm -f "$work"/bin/gnuplot*
refuses "a plot without gnuplot" "cannot run gnuplot" \
	env PATH="$work/bin" "$replay" --plot="$work/x.svg" "$demo"
! [ -e "$work/x.svg" ] && ! [ -e "$work/x.svg.tmp" ]
result $? "nothing is left of it"
if command -v gnuplot >/dev/null; then
	"$replay" --plot="$work/it's.svg" "$demo" >"$work/out" 2>"$work/err" &&
		grep -q '<svg' "$work/it's.svg" &&
		grep -q '</svg>' "$work/it's.svg" && ! [ -s "$work/err" ]
	result $? "a plot"
else
	skip "a plot" "no gnuplot"
fi
if command -v gnuplot >/dev/null; then
	"$fragmentation" --plot="$work/f.svg" --repeat=2 "$demo" >"$work/out" \
		2>"$work/err" && grep -q '</svg>' "$work/f.svg" &&
		! [ -s "$work/err" ]
	result $? "fragmentation: a plot"
else
	skip "fragmentation: a plot" "no gnuplot"
fi

### Recording

refuses "record: an unknown option" "unrecognized option" "$record" --fast
refuses "record: a duration that is none" "--duration x" "$record" -d x
refuses "record: a buffer of 0" "--buffer-kb 0" "$record" --buffer-kb 0
if [ "$(id -u)" -ne 0 ]; then
	refuses "record: needs root" "needs root" \
		"$record" -o "$work/r.zst" -d 1
elif command -v setpriv >/dev/null &&
	setpriv --reuid=65534 --clear-groups "$record" --help \
		>/dev/null 2>&1; then
	mkdir "$work/open" && chmod 755 "$work" && chmod 777 "$work/open"
	refuses "record: needs root" "needs root" setpriv --reuid=65534 \
		--clear-groups "$record" -o "$work/open/r.zst" -d 1
else
	skip "record: needs root" "no other user can run it"
fi
"$record" -o "$work/r.zst" -- sh -c 'ls -R /etc; exit 3' >/dev/null \
	2>"$work/err"
status=$?
if [ $status -eq 2 ] && grep -q 'needs root\|no tracefs' "$work/err"; then
	for text in "a command is recorded" "its exit status is told" \
		"the recording replays" "a command that is missing" \
		"nothing is left of it" "a signal ends it well"; do
		skip "record: $text" "$(sed 's/quire-record: //' "$work/err")"
	done
else
	[ $status -eq 0 ] && [ -s "$work/r.zst" ] && ! [ -e "$work/r.zst.tmp" ]
	result $? "record: a command is recorded"
	grep -q 'sh exited with status 3' "$work/err"
	result $? "record: its exit status is told"
	"$replay" --json "$work/r.zst" >"$work/out" 2>"$work/err" &&
		[ "$(value violations)" = 0 ] && [ "$(value allocs)" -gt 0 ]
	result $? "record: the recording replays"
	refuses "record: a command that is missing" \
		"cannot run $work/nothing: No such file" \
		"$record" -o "$work/none.gz" -- "$work/nothing"
	! grep 'cannot remove' "$work/err" >/dev/null
	result $? "record: nothing is left of it"
	"$record" -o "$work/s.xz" >"$work/out" 2>"$work/err" &
	pid=$!
	sleep 1
	kill -TERM $pid
	wait $pid
	status=$?
	[ $status -eq 0 ] && [ -s "$work/s.xz" ] &&
		! [ -e "$work/none.gz" ] && ! [ -e "$work/none.gz.tmp" ] &&
		! ls -d /sys/kernel/tracing/instances/quire-$pid 2>/dev/null
	result $? "record: a signal ends it well (status $status)"
fi

echo "1..$n"
