/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What quire promises, and whether the results of this run keep it. A promise
 * is about a ratio inside one run wherever it can be: the machine's own speed
 * is in both halves.
 *
 * Promises about throughput at two numbers of threads pair the repetitions, the
 * i-th with the i-th: what the machine did in that minute is in both, and one
 * bad minute spoils one pair. That wants more repetitions than a median of ns
 * does. So does cross, where a round with both threads on one CPU is another
 * thing than one with two.
 */
#include "results.h"

#include <float.h>
#include <stdbool.h>
#include <string.h>

enum { FIGURES = 4, REPETITIONS = 9, CROWD = 32, TIB = 5 };

static const char *const mallocs[] = { "glibc",	   "jemalloc",	"mimalloc",
				       "tcmalloc", "tbbmalloc", NULL };

struct figure {
	const char *workload;
	const char *adapter; /* NULL: the best malloc */
	unsigned param, threads;
	size_t offset; /* in struct bench_result */
};

enum must { MUST_NOTHING, MUST_BE_BELOW, MUST_BE_AT_MOST, MUST_BE_AT_LEAST };
enum verdict { NOT_MEASURED, REPORTED, REACHED, MISSED };

struct measure {
	const char *text; /* * stands for the best malloc's name */
	double (*get)(const struct measure *measure); /* 0: not measured */
	struct figure figures[FIGURES];
	double most;  /* figures 2 / 3 count as no more; 0: as they are */
	double scale; /* got times this is what is shown; 0: 1 */
	const char *unit;
	enum must must;
	double limit;
	bool often; /* a few repetitions would not do */
};

/* --- figures --- */

static const struct results *results_of(const struct figure *figure,
					const char *adapter)
{
	struct bench_case c = { .param = figure->param,
				.threads = figure->threads };

	for (unsigned i = 0; (c.workload = workload_at(i)) != NULL; i++)
		if (strcmp(c.workload->name, figure->workload) == 0)
			break;
	for (unsigned i = 0; (c.adapter = adapter_at(i)) != NULL; i++)
		if (strcmp(c.adapter->name, adapter) == 0)
			break;
	return results_find(&c);
}

static double median_of(const struct figure *figure, const char *adapter)
{
	const struct results *results = results_of(figure, adapter);

	return results ? results_median(results, figure->offset) : 0;
}

/* The malloc with the most throughput, or the least of anything else. */
static const char *best_malloc(const struct figure *figure)
{
	const bool more =
		figure->offset == offsetof(struct bench_result, throughput);
	const char *best = NULL;
	double best_value = 0;

	for (unsigned i = 0; mallocs[i]; i++) {
		double value = median_of(figure, mallocs[i]);

		if (value <= 0)
			continue;
		if (!best || (more ? value > best_value : value < best_value)) {
			best = mallocs[i];
			best_value = value;
		}
	}
	return best;
}

static double figure_value(const struct figure *figure)
{
	const char *adapter =
		figure->adapter ? figure->adapter : best_malloc(figure);

	return adapter ? median_of(figure, adapter) : 0;
}

static bool is_malloc(const char *adapter)
{
	for (unsigned i = 0; mallocs[i]; i++)
		if (strcmp(mallocs[i], adapter) == 0)
			return true;
	return false;
}

static bool figure_is(const struct figure *figure, const struct bench_case *c)
{
	return figure->workload &&
	       strcmp(figure->workload, c->workload->name) == 0 &&
	       figure->param == c->param && figure->threads == c->threads &&
	       (figure->adapter ? strcmp(figure->adapter, c->adapter->name) == 0
				: is_malloc(c->adapter->name));
}

/* --- what is got --- */

static double value(const struct measure *measure)
{
	return figure_value(&measure->figures[0]);
}

/* None at all is a figure too, not one that is lacking. */
static double share(const struct measure *measure)
{
	const struct figure *figure = &measure->figures[0];
	const struct results *results = results_of(figure, figure->adapter);
	double got = figure_value(figure);

	return results && got <= 0 ? DBL_MIN : got;
}

static double longest(const struct measure *measure)
{
	const struct figure *figure = &measure->figures[0];
	const struct results *results = results_of(figure, figure->adapter);

	return results ? results_most(results, figure->offset) : 0;
}

static double ratio(const struct measure *measure)
{
	double over = figure_value(&measure->figures[0]);
	double under = figure_value(&measure->figures[1]);

	return under > 0 ? over / under : 0;
}

static double pairs_of(const struct figure *over, const struct figure *under)
{
	const struct results *a = results_of(over, over->adapter);
	const struct results *b = results_of(under, under->adapter);

	return a && b ? results_ratio(a, b, over->offset) : 0;
}

static double paired(const struct measure *measure)
{
	return pairs_of(&measure->figures[0], &measure->figures[1]);
}

static double paired_beside(const struct measure *measure)
{
	double own = paired(measure);
	double beside = pairs_of(&measure->figures[2], &measure->figures[3]);

	if (measure->most > 0 && beside > measure->most)
		beside = measure->most;
	return beside > 0 ? own / beside : 0;
}

/* The greatest of other orders, divided by order 0. */
static double slowest_order(const struct measure *measure)
{
	struct figure figure = measure->figures[0];
	double first = figure_value(&figure), most = 0;

	for (figure.param = 1; figure.param <= QUIRE_BENCH_MAX_ORDER;
	     figure.param++) {
		double ns = figure_value(&figure);

		if (ns <= 0)
			return 0;
		if (ns > most)
			most = ns;
	}
	return first > 0 ? most / first : 0;
}

/* --- the promises --- */

#define OF(WORKLOAD, ADAPTER, PARAM, THREADS, MEMBER)                          \
	{                                                                      \
		WORKLOAD, ADAPTER, PARAM, THREADS,                             \
			offsetof(struct bench_result, MEMBER)                  \
	}
#define QUIRE(WORKLOAD, THREADS, MEMBER)                                       \
	OF(WORKLOAD, "quire-rseq", 0, THREADS, MEMBER)
#define TRYLOCK(WORKLOAD, THREADS, MEMBER)                                     \
	OF(WORKLOAD, "quire-trylock", 0, THREADS, MEMBER)
#define FLOOR(WORKLOAD, THREADS, MEMBER)                                       \
	OF(WORKLOAD, "tls-stack", 0, THREADS, MEMBER)
#define MALLOC(WORKLOAD, THREADS, MEMBER) OF(WORKLOAD, NULL, 0, THREADS, MEMBER)
#define AT_MOST(LIMIT) .must = MUST_BE_AT_MOST, .limit = LIMIT
#define AT_LEAST(LIMIT) .must = MUST_BE_AT_LEAST, .limit = LIMIT
#define REPORT_ONLY .must = MUST_NOTHING
#define BELOW(LIMIT) .must = MUST_BE_BELOW, .limit = LIMIT

/* How the second thread's gain compares with the floor's. */
#define GAIN(WORKLOAD)                                                         \
	paired_beside,                                                         \
	{                                                                      \
		QUIRE(WORKLOAD, 2, throughput),                                \
			QUIRE(WORKLOAD, 1, throughput),                        \
			FLOOR(WORKLOAD, 2, throughput),                        \
			FLOOR(WORKLOAD, 1, throughput)                         \
	}
#define CROWDED(WORKLOAD, WAY)                                                 \
	paired,                                                                \
	{                                                                      \
		WAY(WORKLOAD, CROWD, throughput), WAY(WORKLOAD, 2, throughput) \
	}

static const struct measure measures[] = {
	{ "pair, order 0: time / tls-stack's",
	  ratio,
	  { QUIRE("pair", 1, ns), FLOOR("pair", 1, ns) },
	  AT_MOST(1.7) },
	{ "pair, order 0: time / the fastest malloc's (*)",
	  ratio,
	  { QUIRE("pair", 1, ns), MALLOC("pair", 1, ns) },
	  BELOW(1) },
	{ "pair, orders 1 to 9: the slowest / order 0",
	  slowest_order,
	  { QUIRE("pair", 1, ns) },
	  AT_MOST(1.2) },
	{ "bulk: time / tls-stack's",
	  ratio,
	  { QUIRE("bulk", 1, ns), FLOOR("bulk", 1, ns) },
	  AT_MOST(2.5) },
	{ "bulk: the fastest malloc's time (*) / quire's",
	  ratio,
	  { MALLOC("bulk", 1, ns), QUIRE("bulk", 1, ns) },
	  AT_LEAST(5) },
	{ "random: time to free / that of bulk",
	  ratio,
	  { QUIRE("random", 1, phases[1]), QUIRE("bulk", 1, phases[1]) },
	  AT_MOST(2.5) },
	{ "random: time to free, 2 threads / 1",
	  ratio,
	  { QUIRE("random", 2, phases[1]), QUIRE("random", 1, phases[1]) },
	  AT_MOST(1.8) },
	{ "pair: gain of a second thread / tls-stack's", GAIN("pair"),
	  AT_LEAST(0.95) },
	{ "bulk: gain of a second thread / tls-stack's", GAIN("bulk"),
	  AT_LEAST(0.75) },
	{ "mixed: gain of a second thread / tls-stack's, or 2", GAIN("mixed"),
	  .most = 2, AT_LEAST(0.9) },
	{ "mixed, 2 threads: throughput / the best malloc's (*)",
	  ratio,
	  { QUIRE("mixed", 2, throughput), MALLOC("mixed", 2, throughput) },
	  AT_LEAST(3) },
	{ "pair: throughput, 32 threads / 2", CROWDED("pair", QUIRE),
	  AT_LEAST(0.9) },
	{ "mixed: throughput, 32 threads / 2", CROWDED("mixed", QUIRE),
	  AT_LEAST(0.9) },
	{ "pair, quire-trylock: throughput, 32 threads / 2",
	  CROWDED("pair", TRYLOCK), AT_LEAST(0.4) },
	{ "mixed, quire-trylock: throughput, 32 threads / 2",
	  CROWDED("mixed", TRYLOCK), AT_LEAST(0.4) },
	{ "cross, 2 threads: time / the fastest malloc's (*)",
	  ratio,
	  { QUIRE("cross", 2, ns), MALLOC("cross", 2, ns) },
	  AT_MOST(1),
	  .often = true },
	{ "cross, 2 threads: throughput / the best malloc's (*)",
	  ratio,
	  { QUIRE("cross", 2, throughput), MALLOC("cross", 2, throughput) },
	  AT_LEAST(1),
	  .often = true },
	{ "mixed: p99.9 / p50 of a call",
	  ratio,
	  { QUIRE("mixed", 1, latencies[2]), QUIRE("mixed", 1, latencies[0]) },
	  BELOW(20) },
	{ "mixed, 2 threads: p99.9 / p50 of a call",
	  ratio,
	  { QUIRE("mixed", 2, latencies[2]), QUIRE("mixed", 2, latencies[0]) },
	  REPORT_ONLY },
	{ "mixed: zone lock held, p99.9",
	  value,
	  { QUIRE("mixed", 1, holds[0]) },
	  .unit = " ns",
	  BELOW(5000) },
	{ "mixed: zone lock held, longest",
	  longest,
	  { QUIRE("mixed", 1, holds[1]) },
	  .unit = " ns",
	  REPORT_ONLY },
	{ "mixed, 2 threads: zone lock held, p99.9",
	  value,
	  { QUIRE("mixed", 2, holds[0]) },
	  .unit = " ns",
	  REPORT_ONLY },
	{ "mixed, 2 threads: zone lock held, longest",
	  longest,
	  { QUIRE("mixed", 2, holds[1]) },
	  .unit = " ns",
	  REPORT_ONLY },
	{ "create: 1 TiB / 1 GiB",
	  ratio,
	  { OF("create", "quire-rseq", TIB, 1, ns), QUIRE("create", 1, ns) },
	  AT_MOST(2) },
	{ "create: 1 TiB",
	  value,
	  { OF("create", "quire-rseq", TIB, 1, ns) },
	  .scale = 1e-6,
	  .unit = " ms",
	  BELOW(5) },
	{ "create, base pages: 1 TiB",
	  value,
	  { OF("create", "quire-base", TIB, 1, ns) },
	  .scale = 1e-6,
	  .unit = " ms",
	  BELOW(1) },
	{ "tables / memory managed",
	  value,
	  { QUIRE("pair", 1, overhead) },
	  .scale = 100.0 / (1u << 30),
	  .unit = " %",
	  AT_MOST(0.45) },
	{ "fragment-bursts: whole 2 MiB blocks / ideal",
	  share,
	  { QUIRE("fragment-bursts", 1, extra) },
	  AT_LEAST(0.97) },
	{ "fragment-balanced: whole 2 MiB blocks / ideal",
	  share,
	  { QUIRE("fragment-balanced", 1, extra) },
	  REPORT_ONLY },
	{ "mixed: parked pages, 32 threads / 2",
	  ratio,
	  { QUIRE("mixed", CROWD, parked), QUIRE("mixed", 2, parked) },
	  REPORT_ONLY },
};

enum { MEASURES = sizeof(measures) / sizeof(measures[0]) };

int reach_needs(const struct bench_case *c)
{
	for (unsigned i = 0; i < MEASURES; i++)
		for (unsigned f = 0; f < FIGURES; f++)
			if (figure_is(&measures[i].figures[f], c))
				return 1;
	return 0;
}

unsigned reach_repetitions(const struct bench_case *c)
{
	const struct bench_case today = bench_today(c);

	for (unsigned i = 0; i < MEASURES; i++) {
		const struct measure *measure = &measures[i];

		if (!measure->often && measure->get != paired &&
		    measure->get != paired_beside)
			continue;
		for (unsigned f = 0; f < FIGURES; f++)
			if (figure_is(&measure->figures[f], &today))
				return REPETITIONS;
	}
	return 0;
}

/* --- the verdict --- */

static double shown(const struct measure *measure)
{
	double got = measure->get(measure);

	return measure->scale > 0 ? got * measure->scale : got;
}

static enum verdict judge(const struct measure *measure)
{
	const double got = shown(measure), limit = measure->limit;
	bool kept = true;

	if (got <= 0)
		return NOT_MEASURED;
	switch (measure->must) {
	case MUST_NOTHING:
		return REPORTED;
	case MUST_BE_BELOW:
		kept = got < limit;
		break;
	case MUST_BE_AT_MOST:
		kept = got <= limit;
		break;
	case MUST_BE_AT_LEAST:
		kept = got >= limit;
		break;
	}
	return kept ? REACHED : MISSED;
}

/* --- text --- */

struct line {
	char text[80], got[32], must[32];
	const char *verdict;
};

static const char *malloc_name(const struct measure *measure)
{
	for (unsigned f = 0; f < FIGURES; f++)
		if (measure->figures[f].workload &&
		    !measure->figures[f].adapter)
			return best_malloc(&measure->figures[f]);
	return NULL;
}

static void put_text(const struct measure *measure, struct line *line)
{
	const char *star = strchr(measure->text, '*');
	const char *name = malloc_name(measure);

	if (star)
		snprintf(line->text, sizeof(line->text), "%.*s%s%s",
			 (int)(star - measure->text), measure->text,
			 name ? name : "-", star + 1);
	else
		snprintf(line->text, sizeof(line->text), "%s", measure->text);
}

static struct line line_of(const struct measure *measure)
{
	static const char *const musts[] = { "", "< ", "<= ", ">= " };
	static const char *const verdicts[] = { "not measured", "reported",
						"yes", "NO" };
	const char *unit = measure->unit ? measure->unit : "";
	enum verdict verdict = judge(measure);
	struct line line = { .got = "-",
			     .must = "-",
			     .verdict = verdicts[verdict] };

	put_text(measure, &line);
	if (verdict != NOT_MEASURED)
		snprintf(line.got, sizeof(line.got), "%.*f%s",
			 shown(measure) < 100 ? 3 : 0, shown(measure), unit);
	if (measure->must != MUST_NOTHING)
		snprintf(line.must, sizeof(line.must), "%s%g%s",
			 musts[measure->must], measure->limit, unit);
	return line;
}

void reach_text(FILE *out)
{
	unsigned counts[MISSED + 1] = { 0 };

	for (unsigned i = 0; i < MEASURES; i++)
		counts[judge(&measures[i])]++;
	if (counts[NOT_MEASURED] == MEASURES)
		return;
	fprintf(out,
		"\nWhat it must show: quire-rseq, 1 thread, unless named\n"
		"%-60s %12s %12s  %s\n",
		"", "got", "must be", "reached");
	for (unsigned i = 0; i < MEASURES; i++) {
		const struct line line = line_of(&measures[i]);

		fprintf(out, "%-60s %12s %12s  %s\n", line.text, line.got,
			line.must, line.verdict);
	}
	fprintf(out, "%u reached, %u missed, %u not measured\n",
		counts[REACHED], counts[MISSED], counts[NOT_MEASURED]);
}

void reach_values(FILE *out)
{
	fputs("measure\tgot\tmust\treached\n", out);
	for (unsigned i = 0; i < MEASURES; i++) {
		const struct line line = line_of(&measures[i]);

		fprintf(out, "%s\t%s\t%s\t%s\n", line.text, line.got, line.must,
			line.verdict);
	}
}
