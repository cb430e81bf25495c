/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Of reach.c: results that keep every promise, then planted ones that break
 * every one of them. TAP.
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

/* Verdicts, by their first letter. */
struct verdicts {
	unsigned yes, no, not_measured, reported;
};

static struct verdicts verdicts(void)
{
	struct verdicts counts = { 0, 0, 0, 0 };
	char *text = NULL, *line, *rest;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		exit(99);
	reach_values(out);
	fclose(out);
	line = strtok_r(text, "\n", &rest);
	while ((line = strtok_r(NULL, "\n", &rest)) != NULL) {
		const char *verdict = strrchr(line, '\t') + 1;

		printf("# %s\n", line);
		counts.yes += strcmp(verdict, "yes") == 0;
		counts.no += strcmp(verdict, "NO") == 0;
		counts.not_measured += strcmp(verdict, "not measured") == 0;
		counts.reported += strcmp(verdict, "reported") == 0;
	}
	free(text);
	return counts;
}

static int is_quire(const struct bench_case *c)
{
	return strncmp(c->adapter->name, "quire-", 6) == 0;
}

static struct bench_result kept(const struct bench_case *c)
{
	int fast = is_quire(c) || strcmp(c->adapter->name, "tls-stack") == 0;
	struct bench_result result = {
		.ns = fast ? 4 : 40,
		.phases = { 2, 2 },
		.throughput = fast ? 1e8 * (c->threads > 1 ? 2 : 1) : 1e7,
		.latencies = { 10, 20, 100, 1000 },
		.extra = 0.98,
		.overhead = 4.7e6,
		.holds = { 1000, 50000 },
		.parked = 1000,
	};

	return result;
}

/* More threads are slower, greater orders and sizes too. */
static struct bench_result broken(const struct bench_case *c)
{
	struct bench_result result = kept(c);

	if (!is_quire(c))
		return result;
	result.ns = 1e7 * (1 + c->param);
	result.throughput = 1e7 / c->threads;
	if (strcmp(c->workload->name, "random") == 0)
		result.phases[1] = 20 * c->threads;
	result.latencies[2] = 1000;
	result.extra = 0.5;
	result.overhead = 1e7;
	result.holds[0] = 10000;
	return result;
}

/* The planned cases of the short version, with n results each. */
static void plant(struct bench_result (*result_of)(const struct bench_case *c),
		  unsigned n)
{
	struct bench_case c;

	for (unsigned w = 0; (c.workload = workload_at(w)) != NULL; w++)
		for (unsigned a = 0; (c.adapter = adapter_at(a)) != NULL; a++)
			for (c.param = 0; c.param < c.workload->params;
			     c.param++)
				for (unsigned t = 0;
				     (c.threads = bench_threads(t)) != 0; t++)
					for (unsigned i = 0; i < n; i++) {
						struct bench_result result =
							result_of(&c);

						if (bench_planned(&c, 0))
							results_add(&c,
								    &result);
					}
}

static void ok(int good, const char *text)
{
	printf("%s - %s\n", good ? "ok" : "not ok", text);
}

int main(void)
{
	struct verdicts none, good, bad;

	puts("1..3");
	none = verdicts();
	ok(none.not_measured > 0 && none.yes + none.no + none.reported == 0,
	   "without results nothing is measured");

	plant(kept, 1);
	good = verdicts();
	ok(good.yes > 0 && good.no == 0 && good.not_measured == 0,
	   "planned cases measure everything, and what is kept says yes");

	/* The median is now one of these. */
	plant(broken, 3);
	bad = verdicts();
	ok(bad.no == good.yes && bad.yes == 0 && bad.not_measured == 0,
	   "what is broken says NO");
	return 0;
}
