/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Of baseline.c: planted results of today's library and of a baseline, some of
 * which lack repetitions, figures or the other's half. TAP.
 */
#include "results.h"

#include <stdlib.h>
#include <string.h>

static struct quire_bench_adapter then_rseq, then_trylock, then_unknown;

static void ok(int good, const char *text)
{
	printf("%s - %s\n", good ? "ok" : "not ok", text);
}

/* What is printed, as text; the caller frees it. */
static char *printed(void (*print)(FILE *out))
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		exit(99);
	print(out);
	fclose(out);
	return text;
}

/* The values are their head and these lines. */
static int values_are(const char *lines)
{
	char *text = printed(baseline_values);
	const char *rest = strchr(text, '\n') + 1;
	int same = strcmp(rest, lines) == 0;

	if (!same)
		printf("# %s", rest);
	free(text);
	return same;
}

static int text_is_empty(void)
{
	char *text = printed(baseline_text);
	int empty = *text == '\0';

	free(text);
	return empty;
}

/* Of n lines, none wider than 80 columns. */
static int text_fits(unsigned n)
{
	char *text = printed(baseline_text), *rest;
	int fits = 1;

	for (char *line = strtok_r(text, "\n", &rest); line;
	     line = strtok_r(NULL, "\n", &rest), n--) {
		printf("# %s\n", line);
		fits &= strlen(line) <= 80;
	}
	free(text);
	return fits && n == 0;
}

static void plant_adapter(struct quire_bench_adapter *adapter, const char *name)
{
	*adapter = adapter_quire_rseq;
	adapter->name = name;
	/* Whether it is asked does not hang on what it says of itself. */
	adapter->flags = 0;
	if (adapter_add(adapter))
		exit(99);
}

static struct bench_case case_of(const char *workload,
				 const struct quire_bench_adapter *adapter,
				 unsigned param)
{
	struct bench_case c = { .adapter = adapter,
				.param = param,
				.threads = 1 };

	for (unsigned i = 0; (c.workload = workload_at(i)) != NULL; i++)
		if (strcmp(c.workload->name, workload) == 0)
			return c;
	exit(99);
}

/* A result for each ns up to a negative one. */
static void plant(const struct bench_case *c, const double *ns)
{
	for (; *ns >= 0; ns++) {
		const struct bench_result result = { .ns = *ns };

		results_add(c, &result);
	}
}

#define PLANT(WORKLOAD, ADAPTER, PARAM, ...)                                   \
	do {                                                                   \
		const struct bench_case c = case_of(WORKLOAD, ADAPTER, PARAM); \
		plant(&c, (const double[]){ __VA_ARGS__, -1 });                \
	} while (0)

static int asked_alike(const struct bench_case *a, const struct bench_case *b)
{
	return bench_planned(a, 0) == bench_planned(b, 0) &&
	       bench_planned(a, 1) == bench_planned(b, 1) &&
	       reach_repetitions(a) == reach_repetitions(b);
}

static int all_asked_alike(const struct quire_bench_adapter *now,
			   const struct quire_bench_adapter *then)
{
	struct bench_case a = { .adapter = now }, b;
	int alike = 1;

	for (unsigned w = 0; (a.workload = workload_at(w)) != NULL; w++)
		for (a.param = 0; a.param < a.workload->params; a.param++)
			for (unsigned t = 0;
			     (a.threads = bench_threads(t)) != 0; t++) {
				b = a;
				b.adapter = then;
				alike &= asked_alike(&a, &b);
			}
	return alike;
}

static void test_planning(void)
{
	const struct bench_case unknown = case_of("create", &then_unknown, 0);

	ok(all_asked_alike(&adapter_quire_rseq, &then_rseq) &&
		   all_asked_alike(&adapter_quire_trylock, &then_trylock),
	   "the baseline is asked for what today's library is");
	ok(!bench_planned(&unknown, 1),
	   "a baseline of nothing that is there today speaks for itself");
}

#define PAIR "pair\tquire-rseq\t0\t1\t4\t2.5\t1.5000\t1.0000\t2.0000\t2\n"
#define CREATE                                                                 \
	"create\tquire-trylock\t1024\t1\t6e+06\t2e+06\t3.5000\t1.5000\t6."     \
	"0000\t4\n"
#define FRAGMENT                                                               \
	"fragment-balanced\tquire-trylock\t0\t1\t50\t1\t"                      \
	"50.0000\t30.0000\t70.0000\t9\n"

static void test_report(void)
{
	PLANT("pair", &adapter_quire_rseq, 0, 2, 4, 9);
	PLANT("pair", &then_unknown, 0, 2, 4, 9);
	ok(text_is_empty() && values_are(""),
	   "without a baseline there is nothing to say");

	PLANT("bulk", &then_rseq, 0, 1, 2, 3);
	PLANT("random", &adapter_quire_rseq, 0, 1, 2, 3);
	PLANT("random", &then_rseq, 0, 0, 0, 0);
	PLANT("mixed", &adapter_quire_rseq, 0, 0);
	PLANT("mixed", &then_rseq, 0, 7);
	ok(text_is_empty() && values_are(""),
	   "a case without one half, or with zeros alone, is left out");

	PLANT("pair", &then_rseq, 0, 1, 4);
	ok(values_are(PAIR), "a repetition without a partner does not count");

	PLANT("create", &adapter_quire_trylock, 5, 3e6, 0, 12e6, 5e6, 8e6, 6e6);
	PLANT("create", &then_trylock, 5, 2e6, 2e6, 2e6, 0, 2e6, 2e6, 1e6);
	ok(values_are(PAIR CREATE), "a pair with a zero does not count");

	PLANT("fragment-balanced", &adapter_quire_trylock, 0, 10, 20, 30, 40,
	      50, 60, 70, 80, 90);
	PLANT("fragment-balanced", &then_trylock, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1);
	ok(values_are(PAIR CREATE FRAGMENT),
	   "the middle half of nine ratios is the third to the seventh");
	ok(text_fits(3 + 3), "the table fits in 80 columns");
}

int main(void)
{
	puts("1..8");
	plant_adapter(&then_rseq, "baseline-rseq");
	plant_adapter(&then_trylock, "baseline-trylock");
	plant_adapter(&then_unknown, "baseline-unknown");
	test_planning();
	test_report();
	return 0;
}
