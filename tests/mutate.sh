#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Every planted bug can be planted, and scripts/mutate refuses what it must.
top=$(cd "${top_srcdir:-$(dirname "$0")/..}" && pwd) || exit 99
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
n=0

result() { # STATUS NAME
	n=$((n + 1))
	if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; fi
}

# --- the mutants of stress/mutants ---

cp -R "$top/src" "$work/src" && chmod -R u+w "$work/src" || exit 99
bad=0
for mutant in "$top"/stress/mutants/*.mutant; do
	"$top/scripts/mutate" "$work/src" "$mutant" >"$work/out" || {
		bad=1
		continue
	}
	while read -r file; do
		cmp -s "$work/src/$file" "$top/src/$file" && {
			echo "$mutant: does not change $file"
			bad=1
		}
		cat "$top/src/$file" >"$work/src/$file"
	done <"$work/out"
	[ -s "$work/out" ] || {
		echo "$mutant: changes nothing"
		bad=1
	}
done
result $bad 'every mutant can be planted in the sources'

# Is a mutant's command one that stress/mutants.sh can run?
is_command() { # WORD...
	programs=0
	for word; do
		case $word in
		quire-stress) programs=$((programs + 1)) ;;
		tests/*)
			[ -r "$top/$word.c" ] || return 1
			programs=$((programs + 1))
			;;
		esac
	done
	[ $programs -eq 1 ]
}

bad=0
for mutant in "$top"/stress/mutants/*.mutant; do
	command=$(sed -n 's/^caught-by: //p; /^in: /q' "$mutant")
	# shellcheck disable=SC2086
	is_command $command || {
		echo "$mutant: is caught by '$command'"
		bad=1
	}
	sed '/^in: /q' "$mutant" | grep '^needs-' |
		grep -v -x -e 'needs-cpus: [0-9]*' -e 'needs-arch: [a-z0-9_]*' &&
		bad=1
done
result $bad 'every mutant names a program that catches it'

# --- scripts/mutate ---

mkdir -p "$work/was/deep/er"
cat >"$work/was/a.c" <<'END'
/* Text about both() and single(int n)
{
	first(1);
}
*/
static int both(int n);
int single(int n);

static int both(int n)
{
	return n;
}

#define NOTE(x)					\
	do {					\
		first(x);			\
	} while (0)

const char *const names[] = {
	"single(int n) /*",
};

int single(int n)
{
	if (n) {
		first(n);
		second(n);
	}
	first(n);
	both(n);
	return n;
}

int last(int n)
{
	single(n);
	return n;
}
END
cat >"$work/was/deep/er/b.h" <<'END'
int single(int n);

__attribute__((alloc_size(2))) static inline void *
wrapped(void (*hook)(int),
	int n) /* of hook() */
{
	hook(n);
	return single(n);
}

static int both(int n)
{
	return n + 1;
}
END

# Plants the mutant that is read in a copy of these sources.
mutate() {
	rm -rf "$work/is"
	cp -R "$work/was" "$work/is"
	cat >"$work/planted.mutant"
	"$top/scripts/mutate" "$work/is" "$work/planted.mutant" \
		>"$work/out" 2>&1
	status=$?
	diff -r "$work/was" "$work/is" >"$work/diff"
	sed 's/^/# /' "$work/out"
}

# It is planted in FILES, and these become the lines that differ.
planted() { # NAME FILES DIFFERENCES
	[ $status -eq 0 ] && [ "$(tr '\n' ' ' <"$work/out")" = "$2 " ] &&
		[ "$(grep '^[<>]' "$work/diff" | tr -d '\t\n')" = "$3" ]
	result $? "$1"
}

# It is refused for REASON, and nothing is changed.
refused() { # NAME REASON
	[ $status -eq 1 ] && [ ! -s "$work/diff" ] &&
		grep -q -F -e "$2" "$work/out"
	result $? "$1"
}

mutate <<'END'
The second is not called.

caught-by: tests/bits

in: single
-		second(n);
END
planted 'a line is removed' a.c '< second(n);'

mutate <<'END'
in: single
 	}
-	first(n);
+	first(n + 1);
+
END
planted 'a line is changed where the lines around it say' a.c \
	'< first(n);> first(n + 1);> '

mutate <<'END'
in: wrapped
+	single(0);
 	return single(n);
END
planted 'a function is found in a folder, below its return type' \
	deep/er/b.h '> single(0);'

mutate <<'END'
in: wrapped
-int n) /* of hook() */
+int m)
END
planted 'the parameters belong to the function' deep/er/b.h \
	'< int n) /* of hook() */> int m)'

mutate <<'END'
in: single
-if (n) {
-	   first(n);
+if (n) {
END
planted 'indentation does not count' a.c '< if (n) {< first(n);> if (n) {'

mutate <<'END'
in: NOTE
-do { \
+	if (x) { \
END
planted 'a macro is found, whatever is between its words' a.c \
	"< do {\\> if (x) { \\"

mutate <<'END'
in: both
-	return n + 1;
+	return n + 2;
END
planted 'of two definitions the one that has the lines is meant' \
	deep/er/b.h '< return n + 1;> return n + 2;'

mutate <<'END'
in: last
-	single(n);

in: single
-	both(n);

in: single
+	third(n);
 	if (n) {
END
planted 'three blocks change one file' a.c '> third(n);< both(n);< single(n);'

mutate <<'END'
in: last
-	single(n);

in: wrapped
-	hook(n);
END
planted 'two blocks change two files' 'a.c deep/er/b.h' \
	'< single(n);< hook(n);'

mutate <<'END'
in: last
-	single(n);

in: attic
-	single(n);
END
refused 'a function that is not there' 'mutant:4: attic is not defined in'

mutate <<'END'
in: first
-	first(n);
END
refused 'a call is no definition' 'first is not defined in'

mutate <<'END'
in: single
-int single(int n);
END
refused 'a prototype is no part of the definition' \
	'0 times in single (a.c:23)'

mutate <<'END'
in: single
-	third(n);
END
refused 'lines that are not there' \
	'mutant:1: its lines stand 0 times in single (a.c:23)'

mutate <<'END'
in: single
-	first(n);
-	both(n);
-	return 0;
END
refused 'lines of which only the first are there' '0 times in single (a.c:23)'

mutate <<'END'
in: last
-	single(n);

in: single
-	first(n);
END
refused 'lines that are there twice' \
	'mutant:4: its lines stand 2 times in single (a.c:23)'

mutate <<'END'
in: both
 {
+	n++;
END
refused 'a function that is defined twice' \
	'2 times in both (a.c:9, deep/er/b.h:11)'

mutate <<'END'
in: single
-	second(n);

in: single
 	second(n);
-	}
END
refused 'two blocks for one line' 'mutant:4: another block has line 27 of a.c'

mutate <<'END'
in: single
-	second(n);
second(n + 1);
END
refused 'a line without a mark' 'mutant:3: malformed: second(n + 1);'

mutate <<'END'
in: single
-	second(n);

+	second(n + 1);
END
refused 'a change behind the end of a block' 'mutant:4: malformed: +'

mutate <<'END'
in: single(int n)
-	second(n);
END
refused 'a function with its parameters' 'mutant:1: malformed: in: single(int'

mutate <<'END'
Prose, and nothing else.
END
refused 'a mutant without a place' 'no `in: NAME'

mutate <<'END'
in: single
 	second(n);
END
refused 'a block that changes nothing' 'a block needs a line'

mutate <<'END'
in: single
+	third(n);
END
refused 'a block that says no place in the function' 'a block needs a line'

mutate </dev/null
refused 'an empty mutant' 'no `in: NAME'

echo "1..$n"
