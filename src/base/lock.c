/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parking lock: see lock.h. The word's three states are those of Drepper,
 * "Futexes Are Tricky" (2011), section 6: whoever sleeps leaves 2 behind, so
 * that the holder knows to wake one; a woken thread takes the lock as 2, for
 * others may sleep still.
 */
#include "base/lock.h"

#include "platform/backoff.h"
#include "platform/platform.h"

/*
 * Looks before a waiter sleeps, and turns of an empty loop between them, which
 * double up to a limit. In all six thousand turns, two microseconds: longer
 * than nearly all holds of the zone lock, shorter than to sleep and be woken.
 */
enum { SPIN_LOOKS = 16, SPIN_FIRST = 1 << 4, SPIN_MOST = 1 << 9 };

void lock_init(struct lock *lock, enum lock_rank rank)
{
	atomic_store_explicit(&lock->word, 0, memory_order_relaxed);
	atomic_store_explicit(&lock->owner, 0, memory_order_relaxed);
	lock->rank = rank;
}

void lock_acquire_slow(struct lock *lock)
{
	unsigned turns = SPIN_FIRST;

	for (int i = 0; i < SPIN_LOOKS; i++) {
		uint32_t expected = 0;

		if (atomic_load_explicit(&lock->word, memory_order_relaxed) ==
			    0 &&
		    atomic_compare_exchange_strong_explicit(
			    &lock->word, &expected, 1, memory_order_acquire,
			    memory_order_relaxed))
			return;
		backoff_spin(&turns, SPIN_MOST);
	}
	while (atomic_exchange_explicit(&lock->word, 2, memory_order_acquire) !=
	       0)
		platform_park(&lock->word, 2);
}

void lock_release_slow(struct lock *lock)
{
	platform_unpark(&lock->word, 1);
}

/* Briefly awake, then asleep between looks. */
void lock_acquire_polled_slow(struct lock *lock)
{
	unsigned turns = SPIN_FIRST;

	for (int looks = 0;; looks++) {
		uint32_t word =
			atomic_load_explicit(&lock->word, memory_order_relaxed);

		if ((word & ~(uint32_t)LOCK_WANTED) == 0) {
			if (atomic_compare_exchange_strong_explicit(
				    &lock->word, &word, LOCK_HELD,
				    memory_order_acquire, memory_order_relaxed))
				break;
		} else if (!(word & LOCK_WANTED)) {
			atomic_compare_exchange_strong_explicit(
				&lock->word, &word, word | LOCK_WANTED,
				memory_order_relaxed, memory_order_relaxed);
		}
		if (looks < SPIN_LOOKS)
			backoff_spin(&turns, SPIN_MOST);
		else
			platform_nap();
	}
	if (config_debug)
		lock_acquired(lock, false);
}

/*
 * What the thread holds, in debug builds: how many locks of each rank, and the
 * one taken last, which is the highest. A signal handler that takes and leaves
 * a lock puts back what it found.
 */
enum { NR_RANKS = LOCK_RANK_ZONE - LOCK_RANK_SHRINKERS + 1 };

static thread_local_in_handlers struct {
	unsigned nr;
	const struct lock *highest;
} held[NR_RANKS];
static thread_local_in_handlers uint32_t thread_id;

static uint32_t this_thread(void)
{
	if (thread_id == 0)
		thread_id = platform_thread_id();
	return thread_id;
}

#ifdef QUIRE_DEBUG
static void note_below(struct lock *lock, const struct lock *below)
{
	lock->below = below;
}

static const struct lock *noted_below(const struct lock *lock)
{
	return lock->below;
}
#else
static void note_below(struct lock *lock, const struct lock *below)
{
	(void)lock, (void)below;
}

static const struct lock *noted_below(const struct lock *lock)
{
	return lock;
}
#endif

void lock_waiting(const struct lock *lock)
{
	unsigned rank = (unsigned)(lock->rank - LOCK_RANK_SHRINKERS);

	for (unsigned r = rank; r < NR_RANKS; r++)
		assert_debug(held[r].nr == 0 ||
				     (r == rank && held[r].highest < lock),
			     "lock %p of rank %d taken over %p of rank %d",
			     (const void *)lock, lock->rank,
			     (const void *)held[r].highest,
			     (int)r + LOCK_RANK_SHRINKERS);
}

void lock_acquired(struct lock *lock, bool shared)
{
	unsigned rank = (unsigned)(lock->rank - LOCK_RANK_SHRINKERS);

	if (!shared)
		note_below(lock, held[rank].highest);
	held[rank].highest = lock;
	held[rank].nr++;
	if (!shared)
		atomic_store_explicit(&lock->owner, this_thread(),
				      memory_order_relaxed);
}

void lock_releasing(struct lock *lock, bool shared)
{
	unsigned rank = (unsigned)(lock->rank - LOCK_RANK_SHRINKERS);

	assert_debug(shared || lock_held(lock),
		     "lock %p released by %u, owner %u", (void *)lock,
		     this_thread(),
		     atomic_load_explicit(&lock->owner, memory_order_relaxed));
	held[rank].nr--;
	if (held[rank].highest == lock && !shared)
		held[rank].highest = noted_below(lock);
	if (!shared)
		atomic_store_explicit(&lock->owner, 0, memory_order_relaxed);
}

bool lock_held(const struct lock *lock)
{
	return !config_debug ||
	       atomic_load_explicit(&lock->owner, memory_order_relaxed) ==
		       this_thread();
}
