/* SPDX-License-Identifier: BSD-2-Clause */
/* What the repetitions of each case gave, in the order in which they ran. */
#ifndef BENCH_RESULTS_H
#define BENCH_RESULTS_H

#include <stddef.h>

#include "bench.h"

struct results {
	struct bench_case c;
	struct bench_result *list;
	unsigned count;
};

/* NULL if the case was not measured. */
const struct results *results_find(const struct bench_case *c);
/* The i-th case by workload, adapter, parameter, threads; NULL after all. */
const struct results *results_at(unsigned i);

/*
 * Median and maximum of the figure at this offset in each result. Those that
 * lack it are 0 and do not count; 0 if all do.
 */
double results_median(const struct results *results, size_t offset);
double results_most(const struct results *results, size_t offset);
/*
 * The i-th result's figure divided by the i-th of the other: the median, and
 * between which two the middle half lies (of fewer than five, all).
 */
struct ratios {
	double median, low, high;
	unsigned count;
};

struct ratios results_ratios(const struct results *over,
			     const struct results *under, size_t offset);
/* The median alone. */
double results_ratio(const struct results *over, const struct results *under,
		     size_t offset);

/* A time in nine columns, or a dash. */
void report_ns(FILE *out, double ns);

#define MEDIAN(results, member)                                                \
	results_median(results, offsetof(struct bench_result, member))
#define MOST(results, member)                                                  \
	results_most(results, offsetof(struct bench_result, member))

#endif
