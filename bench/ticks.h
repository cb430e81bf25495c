/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The clock around single calls: the time stamp counter where there is one at a
 * constant rate, else clock_gettime(). Its own cost is measured and subtracted.
 */
#ifndef BENCH_TICKS_H
#define BENCH_TICKS_H

#include <stdint.h>
#include <time.h>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

struct ticks_info {
	const char *clock;
	double ns;     /* of a tick */
	uint64_t cost; /* of two readings around nothing, in ticks */
};

/* Measured at the first call, which must be alone. */
const struct ticks_info *ticks_info(void);

static inline uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint64_t ticks_now(void)
{
#if defined(__x86_64__)
	/* The fence waits for what is measured; the counter alone would not. */
	_mm_lfence();
	return __rdtsc();
#else
	return clock_ns(CLOCK_MONOTONIC);
#endif
}

#endif
