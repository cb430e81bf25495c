/* SPDX-License-Identifier: BSD-2-Clause */
/* See histogram.h and ticks.h. */
#include "histogram.h"

#include <stdlib.h>

#include "ticks.h"

void histogram_merge(struct histogram *to, const struct histogram *from)
{
	to->count += from->count;
	if (from->max > to->max)
		to->max = from->max;
	for (unsigned i = 0; i < HISTOGRAM_SLOTS; i++)
		to->slots[i] += from->slots[i];
}

/* The middle of what a slot holds. */
static double slot_value(unsigned slot)
{
	unsigned top, step;

	if (slot < HISTOGRAM_EXACT)
		return slot;
	top = (slot - HISTOGRAM_EXACT) / HISTOGRAM_STEPS + 6;
	step = (slot - HISTOGRAM_EXACT) % HISTOGRAM_STEPS;
	return (double)(1ull << (top - 5)) * (HISTOGRAM_STEPS + step + 0.5);
}

double histogram_quantile(const struct histogram *h, double share)
{
	double wanted = share * (double)h->count;
	double seen = 0;

	for (unsigned i = 0; i < HISTOGRAM_SLOTS; i++) {
		seen += h->slots[i];
		if (h->slots[i] && seen >= wanted)
			return slot_value(i) < (double)h->max ? slot_value(i)
							      : (double)h->max;
	}
	return (double)h->max;
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static uint64_t clock_cost(void)
{
	enum { READINGS = 1001 };
	uint64_t costs[READINGS];

	for (unsigned i = 0; i < READINGS; i++) {
		uint64_t start = ticks_now();

		costs[i] = ticks_now() - start;
	}
	qsort(costs, READINGS, sizeof(costs[0]), compare);
	return costs[READINGS / 2];
}

const struct ticks_info *ticks_info(void)
{
	static struct ticks_info info;
	const struct timespec wait = { .tv_nsec = 20000000 };
	uint64_t ns, ticks;

	if (info.clock)
		return &info;
	ns = clock_ns(CLOCK_MONOTONIC);
	ticks = ticks_now();
	nanosleep(&wait, NULL);
	ns = clock_ns(CLOCK_MONOTONIC) - ns;
	info.ns = (double)ns / (double)(ticks_now() - ticks);
	info.cost = clock_cost();
#if defined(__x86_64__)
	info.clock = "time stamp counter";
#else
	info.clock = "clock_gettime";
#endif
	return &info;
}
