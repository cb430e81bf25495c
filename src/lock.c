/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parking lock: see lock.h. The word's three states are those of Drepper,
 * "Futexes Are Tricky" (2011), section 6: whoever sleeps leaves 2 behind, so
 * that the holder knows to wake one; a woken thread takes the lock as 2, for
 * others may sleep still.
 */
#include "lock.h"

#include <ck_backoff.h>

#include "platform/platform.h"

/*
 * A zone-lock hold is at most a few microseconds; exponential backoff up to
 * 2^SPIN_CEILING turns of an empty loop, SPIN_TRIES looks in all, is about
 * that long.
 */
enum { SPIN_TRIES = 8, SPIN_CEILING = 1 << 9 };

void lock_init(struct lock *lock, enum lock_rank rank)
{
	atomic_store_explicit(&lock->word, 0, memory_order_relaxed);
	atomic_store_explicit(&lock->owner, 0, memory_order_relaxed);
	lock->rank = rank;
}

void lock_acquire_slow(struct lock *lock)
{
	ck_backoff_t backoff = CK_BACKOFF_INITIALIZER;

	for (int i = 0; i < SPIN_TRIES; i++) {
		uint32_t expected = 0;

		if (atomic_load_explicit(&lock->word, memory_order_relaxed) ==
			    0 &&
		    atomic_compare_exchange_strong_explicit(
			    &lock->word, &expected, 1, memory_order_acquire,
			    memory_order_relaxed))
			return;
		if (backoff < SPIN_CEILING)
			ck_backoff_eb(&backoff);
	}
	while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) !=
	       0)
		platform_park(&lock->word, 2);
}

void lock_release_slow(struct lock *lock)
{
	platform_unpark(&lock->word, 1);
}

/* Locks the thread holds, in the order taken; debug builds. */
enum { HELD_MAX = config_debug ? 4096 : 1 };

static _Thread_local const struct lock *held[HELD_MAX];
static _Thread_local unsigned nr_held;
static _Thread_local uint32_t thread_id;

static uint32_t this_thread(void)
{
	if (thread_id == 0)
		thread_id = platform_thread_id();
	return thread_id;
}

void lock_acquired(struct lock *lock)
{
	for (unsigned i = 0; i < nr_held; i++)
		assert_debug(
			held[i]->rank < lock->rank ||
				(held[i]->rank == lock->rank && held[i] < lock),
			"lock %p of rank %d taken over %p of rank %d",
			(void *)lock, lock->rank, (const void *)held[i],
			held[i]->rank);
	assert_debug(nr_held < HELD_MAX, "%u locks held", nr_held);
	held[nr_held++] = lock;
	atomic_store_explicit(&lock->owner, this_thread(),
			      memory_order_relaxed);
}

void lock_releasing(struct lock *lock)
{
	unsigned i = nr_held;

	assert_debug(lock_held(lock), "lock %p released by %u, owner %u",
		     (void *)lock, this_thread(),
		     atomic_load_explicit(&lock->owner, memory_order_relaxed));
	while (i > 0 && held[i - 1] != lock)
		i--;
	for (; i > 0 && i < nr_held; i++)
		held[i - 1] = held[i];
	nr_held--;
	atomic_store_explicit(&lock->owner, 0, memory_order_relaxed);
}

bool lock_held(const struct lock *lock)
{
	return !config_debug ||
	       atomic_load_explicit(&lock->owner, memory_order_relaxed) ==
		       this_thread();
}
