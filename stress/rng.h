/* SPDX-License-Identifier: BSD-2-Clause */
/* Random numbers: splitmix64 (Steele, Lea, Flood 2014), for any seed will do.
 */
#ifndef STRESS_RNG_H
#define STRESS_RNG_H

#include <stdint.h>

struct rng {
	uint64_t state;
};

static inline uint64_t rng_next(struct rng *rng)
{
	uint64_t z = rng->state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* In [0, n); the bias of an n far below 2^64 does not matter here. */
static inline uint64_t rng_below(struct rng *rng, uint64_t n)
{
	return rng_next(rng) % n;
}

#endif
