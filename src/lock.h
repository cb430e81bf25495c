/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parking lock. Floor 0.
 *
 * Spins briefly, then sleeps on a futex: holders keep it for a microsecond, so
 * a waiter normally wins by spinning, but with more threads than CPUs the
 * holder may be preempted, and spinning then burns the very CPU it needs. It is
 * not fair: handing over to a particular sleeper would add a wake-up's latency
 * to each hold.
 *
 * Ranks order locks (DESIGN, section 1): a thread takes a lock only if its rank
 * is above that of every lock it holds, or equal and its address higher.
 * Debug builds check that and the owner.
 */
#ifndef QUIRE_LOCK_H
#define QUIRE_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "debug.h"
#include "platform/cc.h"

enum lock_rank {
	LOCK_RANK_REGISTRY = -2, /* the list of allocators, for fork */
	LOCK_RANK_DRAIN = -1,	 /* one drainer at a time */
	LOCK_RANK_PCP = 0,	 /* zero-filled memory is a free pcp lock */
	LOCK_RANK_ZONE = 1,
};

struct lock {
	_Atomic uint32_t word;	/* 0 free, 1 held, 2 held and somebody sleeps */
	_Atomic uint32_t owner; /* thread id; debug builds only */
	int32_t rank;		/* (c) enum lock_rank */
};

#define LOCK_INIT(r)                                                           \
	{                                                                      \
		.rank = (r)                                                    \
	}

void lock_init(struct lock *lock, enum lock_rank rank);
void lock_acquire_slow(struct lock *lock);
void lock_release_slow(struct lock *lock);
void lock_acquired(struct lock *lock);	/* debug: rank check, owner */
void lock_releasing(struct lock *lock); /* debug */
/* Whether the calling thread holds the lock; true in builds without debug. */
bool lock_held(const struct lock *lock);

static inline bool lock_try(struct lock *lock)
{
	uint32_t expected = 0;

	/* acquire: pairs with the release below. */
	if (!atomic_compare_exchange_strong_explicit(&lock->word, &expected, 1,
						     memory_order_acquire,
						     memory_order_relaxed))
		return false;
	if (config_debug)
		lock_acquired(lock);
	return true;
}

static inline void lock_acquire(struct lock *lock)
{
	uint32_t expected = 0;

	if (unlikely(!atomic_compare_exchange_strong_explicit(
		    &lock->word, &expected, 1, memory_order_acquire,
		    memory_order_relaxed)))
		lock_acquire_slow(lock);
	if (config_debug)
		lock_acquired(lock);
}

static inline void lock_release(struct lock *lock)
{
	if (config_debug)
		lock_releasing(lock);
	/* release: what was done under the lock is seen by its next holder. */
	if (unlikely(atomic_exchange_explicit(&lock->word, 0,
					      memory_order_release) == 2))
		lock_release_slow(lock);
}

#endif
