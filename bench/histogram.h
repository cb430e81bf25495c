/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A distribution of durations in ticks: exact below 64, above in 32 steps per
 * power of two, so within 3 %. The maximum is exact.
 */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_EXACT = 64, HISTOGRAM_STEPS = 32 };
enum { HISTOGRAM_SLOTS = HISTOGRAM_EXACT + 58 * HISTOGRAM_STEPS };

struct histogram {
	uint64_t cost; /* of the clock, taken off each duration */
	uint64_t count, max;
	uint32_t slots[HISTOGRAM_SLOTS];
};

static inline unsigned histogram_slot(uint64_t v)
{
	unsigned top;

	if (v < HISTOGRAM_EXACT)
		return (unsigned)v;
	top = 63u - (unsigned)__builtin_clzll(v);
	return HISTOGRAM_EXACT + (top - 6) * HISTOGRAM_STEPS +
	       (unsigned)(v >> (top - 5)) % HISTOGRAM_STEPS;
}

static inline void histogram_add(struct histogram *h, uint64_t duration)
{
	uint64_t v = duration > h->cost ? duration - h->cost : 0;

	h->slots[histogram_slot(v)]++;
	h->count++;
	if (v > h->max)
		h->max = v;
}

void histogram_merge(struct histogram *to, const struct histogram *from);
/* The duration that this share of all does not exceed. */
double histogram_quantile(const struct histogram *h, double share);

#endif
