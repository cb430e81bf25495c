#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Under valgrind, which knows no restartable sequences: the way is trylock by
# itself, and the modes of the stress suite touch no memory they should not. (Of
# create and migrate a run would take too long.)

top=${top_builddir:-.}
modes="churn pass exhaust drain signals threads fork exact misuse faults"

if ! command -v valgrind >/dev/null; then
	echo "1..0 # SKIP valgrind cannot be had"
	exit 0
fi
if [ -n "$SANITIZER_FLAGS" ]; then
	echo "1..0 # SKIP not with a sanitizer"
	exit 0
fi

if ${CC:-cc} --version | grep -q clang; then
	echo "1..0 # SKIP valgrind 3.19 does not read clang's debug information"
	exit 0
fi

under() { # PROGRAM OPTION...
	"$top/libtool" --mode=execute valgrind -q --error-exitcode=9 "$@"
}

result() { # STATUS NAME
	n=$((n + 1))
	[ "$1" -eq 0 ] || printf 'not '
	echo "ok $n - $2"
}

n=0
under "$top/stress/quire-stress" --mode churn --way rseq --time 0 >/dev/null 2>&1
[ $? -eq 2 ]
result $? "rseq cannot be had"
said=$(under "$top/tools/quire-replay" "$top_srcdir/examples/demo.trace.zst" 2>&1)
echo "$said"
case $said in *trylock*) true ;; *) false ;; esac
result $? "trylock is chosen"
for mode in $modes; do
	under "$top/stress/quire-stress" --mode "$mode" --way trylock \
		--threads 2 --time 0.2 --size 16M
	result $? "$mode trylock"
done
echo "1..$n"
