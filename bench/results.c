/* SPDX-License-Identifier: BSD-2-Clause */
/* See results.h. */
#include "results.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CASES = 8192, MAX_REPETITIONS = 1024 };

static struct results cases[MAX_CASES];
static unsigned nr_cases;
static bool sorted;

const struct results *results_find(const struct bench_case *c)
{
	for (unsigned i = 0; i < nr_cases; i++) {
		const struct bench_case *e = &cases[i].c;

		if (e->workload == c->workload && e->adapter == c->adapter &&
		    e->param == c->param && e->threads == c->threads)
			return &cases[i];
	}
	return NULL;
}

static struct results *find_or_add(const struct bench_case *c)
{
	const struct results *found = results_find(c);

	if (found)
		return &cases[found - cases];
	if (nr_cases == MAX_CASES)
		return NULL;
	sorted = false;
	cases[nr_cases].c = *c;
	return &cases[nr_cases++];
}

void results_add(const struct bench_case *c, const struct bench_result *result)
{
	struct results *results = find_or_add(c);
	struct bench_result *grown;

	if (!results || results->count == MAX_REPETITIONS)
		return;
	grown = realloc(results->list, (results->count + 1) * sizeof(*grown));
	if (!grown)
		return;
	results->list = grown;
	results->list[results->count++] = *result;
}

/* --- order --- */

static unsigned rank(const struct bench_case *c)
{
	unsigned w = 0, a = 0;

	while (workload_at(w) != c->workload)
		w++;
	while (adapter_at(a) != c->adapter)
		a++;
	return ((w * 64 + a) * 64 + c->param) * 4096 + c->threads;
}

static int compare_cases(const void *a, const void *b)
{
	const struct results *x = a, *y = b;
	unsigned i = rank(&x->c), j = rank(&y->c);

	return (i > j) - (i < j);
}

const struct results *results_at(unsigned i)
{
	/* They ran in random order. */
	if (!sorted)
		qsort(cases, nr_cases, sizeof(cases[0]), compare_cases);
	sorted = true;
	return i < nr_cases ? &cases[i] : NULL;
}

/* --- figures --- */

static double figure(const struct results *results, unsigned i, size_t offset)
{
	double value;

	memcpy(&value, (const char *)&results->list[i] + offset, sizeof(value));
	return value;
}

static int compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double median(double *values, unsigned n)
{
	if (n == 0)
		return 0;
	qsort(values, n, sizeof(values[0]), compare);
	return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

double results_median(const struct results *results, size_t offset)
{
	double values[MAX_REPETITIONS];
	unsigned n = 0;

	for (unsigned i = 0; i < results->count; i++)
		if (figure(results, i, offset) > 0)
			values[n++] = figure(results, i, offset);
	return median(values, n);
}

double results_most(const struct results *results, size_t offset)
{
	double most = 0;

	for (unsigned i = 0; i < results->count; i++)
		if (figure(results, i, offset) > most)
			most = figure(results, i, offset);
	return most;
}

struct ratios results_ratios(const struct results *over,
			     const struct results *under, size_t offset)
{
	double values[MAX_REPETITIONS];
	struct ratios ratios = { 0, 0, 0, 0 };
	unsigned n = 0;

	for (unsigned i = 0; i < over->count && i < under->count; i++)
		if (figure(over, i, offset) > 0 && figure(under, i, offset) > 0)
			values[n++] = figure(over, i, offset) /
				      figure(under, i, offset);
	if (n == 0)
		return ratios;
	ratios.median = median(values, n);
	ratios.low = values[(n - 1) / 4];
	ratios.high = values[n - 1 - (n - 1) / 4];
	ratios.count = n;
	return ratios;
}

double results_ratio(const struct results *over, const struct results *under,
		     size_t offset)
{
	return results_ratios(over, under, offset).median;
}

double results_ns(const struct bench_case *c)
{
	const struct results *results = results_find(c);

	return results ? MEDIAN(results, ns) : 0;
}
