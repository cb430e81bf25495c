/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One in so many, drawn at random: how faults and schedule points are armed.
 *
 * Each thread that draws has numbers of its own, begun anew each time that the
 * odds are armed: one thread's calls draw the same again from the same seed.
 */
#ifndef QUIRE_ODDS_H
#define QUIRE_ODDS_H

#include <stdatomic.h>
#include <stdint.h>

/* (a) atomic */
struct odds {
	_Atomic uint64_t seed, arms, threads; /* (a) */
	_Atomic uint32_t one_in;	      /* (a) 0: never */
};

/* A thread's. */
struct draws {
	uint64_t state, arms;
};

static inline void odds_arm(struct odds *odds, uint32_t one_in, uint64_t seed)
{
	atomic_store(&odds->seed, seed);
	atomic_store(&odds->threads, 0);
	atomic_fetch_add(&odds->arms, 1);
	atomic_store(&odds->one_in, one_in);
}

/* 64 bits if it is one in so many, else 0. splitmix64 (Steele, Lea, Flood 2014)
 */
static inline uint64_t odds_draw(struct odds *odds, struct draws *draws)
{
	uint64_t arms = atomic_load(&odds->arms), z;
	uint32_t one_in = atomic_load(&odds->one_in);

	if (draws->arms != arms) {
		draws->arms = arms;
		draws->state = atomic_load(&odds->seed) +
			       (atomic_fetch_add(&odds->threads, 1) << 32);
	}
	z = draws->state += 0x9e3779b97f4a7c15u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	z ^= z >> 31;
	return one_in && (uint32_t)z % one_in == 0 ? z | 1 : 0;
}

#endif
