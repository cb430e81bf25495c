/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parking lock.
 *
 * Spins briefly, then sleeps on a futex: holders keep it for a microsecond, so
 * a waiter normally wins by spinning, but with more threads than CPUs the
 * holder may be preempted, and spinning then burns the very CPU it needs. It is
 * not fair: handing over to a particular sleeper would add a wake-up's latency
 * to each hold.
 *
 * A lock that is nearly always tried and hardly ever waited for is polled: its
 * holder leaves by a plain store and wakes nobody, who waits looks again every
 * now and then. That saves one of two atomic instructions. A polled lock can
 * also be shared, by a few at a time; who waits for it alone keeps new ones
 * out.
 *
 * Ranks order locks (docs/DESIGN.md, Floors): a thread waits for a lock only if
 * its rank is above that of every lock it holds, or equal and its address
 * higher. Who only tries cannot be part of a circle, and a signal handler may
 * try whatever it has interrupted. Debug builds check that and the owner.
 */
#ifndef QUIRE_LOCK_H
#define QUIRE_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/report.h"
#include "platform/cc.h"

enum lock_rank {
	LOCK_RANK_SHRINKERS = -8, /* shrinker.c: all lists */
	LOCK_RANK_POOLS = -7,	  /* mempool.c: the list of pools */
	LOCK_RANK_POOL = -6,	  /* mempool.c: a pool */
	LOCK_RANK_SMALL = -5,	  /* small.c: memory for services */
	LOCK_RANK_ZONELIST = -4,  /* who builds zonelists */
	LOCK_RANK_REGISTRY = -3,  /* the list of allocators, for fork */
	LOCK_RANK_WAITERS = -2,	  /* calls that wait for pages */
	LOCK_RANK_DRAIN = -1,	  /* one drainer at a time */
	LOCK_RANK_PCP = 0,	  /* zero-filled memory is a free pcp lock */
	LOCK_RANK_ZONE = 1,
};

struct lock {
	/*
	 * 0 free, 1 held, 2 held and somebody sleeps. Polled: LOCK_HELD,
	 * LOCK_WANTED, and LOCK_SHARE for each who shares it.
	 */
	_Atomic uint32_t word;
	_Atomic uint32_t owner; /* thread id; debug builds only */
	int32_t rank;		/* (c) enum lock_rank */
#ifdef QUIRE_DEBUG
	const struct lock *below; /* the holder's highest before this one */
#endif
};

#define LOCK_INIT(r)                                                           \
	{                                                                      \
		.rank = (r)                                                    \
	}

void lock_init(struct lock *lock, enum lock_rank rank);
void lock_acquire_slow(struct lock *lock);
void lock_release_slow(struct lock *lock);
void lock_acquire_polled_slow(struct lock *lock);
/* Debug: the owner if it is not shared, and before a wait the rank. */
void lock_waiting(const struct lock *lock);
void lock_acquired(struct lock *lock, bool shared);
void lock_releasing(struct lock *lock, bool shared);
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
		lock_acquired(lock, false);
	return true;
}

static inline void lock_acquire(struct lock *lock)
{
	uint32_t expected = 0;

	if (config_debug)
		lock_waiting(lock);
	if (unlikely(!atomic_compare_exchange_strong_explicit(
		    &lock->word, &expected, 1, memory_order_acquire,
		    memory_order_relaxed)))
		lock_acquire_slow(lock);
	if (config_debug)
		lock_acquired(lock, false);
}

static inline void lock_release(struct lock *lock)
{
	if (config_debug)
		lock_releasing(lock, false);
	/* release: what was done under the lock is seen by its next holder. */
	if (unlikely(atomic_exchange_explicit(&lock->word, 0,
					      memory_order_release) == 2))
		lock_release_slow(lock);
}

/* --- polled --- */

enum { LOCK_HELD = 1, LOCK_WANTED = 2, LOCK_SHARE = 4 };

static inline void lock_acquire_polled(struct lock *lock)
{
	if (config_debug)
		lock_waiting(lock);
	if (!lock_try(lock))
		lock_acquire_polled_slow(lock);
}

static inline void lock_release_polled(struct lock *lock)
{
	if (config_debug)
		lock_releasing(lock, false);
	/* release: what was done under the lock is seen by its next holder. */
	atomic_store_explicit(&lock->word, 0, memory_order_release);
}

/* False: held, wanted, or shared by `most` already. */
static inline bool lock_try_shared(struct lock *lock, uint32_t most)
{
	uint32_t word = atomic_load_explicit(&lock->word, memory_order_relaxed);

	/* acquire: pairs with the release of who held it alone. */
	do {
		if (word & (LOCK_HELD | LOCK_WANTED) ||
		    word >= most * LOCK_SHARE)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(
		&lock->word, &word, word + LOCK_SHARE, memory_order_acquire,
		memory_order_relaxed));
	if (config_debug)
		lock_acquired(lock, true);
	return true;
}

static inline void lock_release_shared(struct lock *lock)
{
	if (config_debug)
		lock_releasing(lock, true);
	/* release: pairs with the acquire of who holds it alone next; it sees
	 * what all who shared the lock did. */
	atomic_fetch_sub_explicit(&lock->word, LOCK_SHARE,
				  memory_order_release);
}

#endif
