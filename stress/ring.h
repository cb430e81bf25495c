/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A ring of blocks from one thread to another: ck_ring with one producer and
 * one consumer, made plain to ThreadSanitizer, which sees what CK stores into
 * slots but not CK's loads and stores of the two counters, for they are
 * assembly.
 *
 * A slot's write before its read: the producer releases before it commits; the
 * consumer acquires after it has seen that there is an entry. A slot's read
 * before it is written again: the consumer releases before each read that the
 * reads before it are done; the producer, which acquires, leaves SPARE slots
 * unused, so it only writes one that lies before the last read begun.
 */
#ifndef STRESS_RING_H
#define STRESS_RING_H

#include <ck_ring.h>
#include <stdbool.h>

#include "stamp.h"

#if defined(__SANITIZE_THREAD__)
#define RING_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RING_TSAN 1
#endif
#endif
#ifndef RING_TSAN
#define RING_TSAN 0
#endif

#if RING_TSAN
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
#define ring_acquire(addr) __tsan_acquire(addr)
#define ring_release(addr) __tsan_release(addr)
#else
#define ring_acquire(addr) ((void)(addr))
#define ring_release(addr) ((void)(addr))
#endif

CK_RING_PROTOTYPE(block, block)

enum { RING_SLOTS = 256, RING_SPARE = 2 };

struct ring {
	ck_ring_t ring;
	char filled, emptied; /* for ThreadSanitizer: their addresses */
	struct block slot[RING_SLOTS];
};

static inline void ring_init(struct ring *ring)
{
	ck_ring_init(&ring->ring, RING_SLOTS);
}

static inline bool ring_put(struct ring *ring, const struct block *block)
{
	struct block *slot;

	if (ck_ring_size(&ring->ring) + RING_SPARE >= RING_SLOTS)
		return false;
	ring_acquire(&ring->emptied);
	slot = ck_ring_enqueue_reserve_spsc_block(&ring->ring, ring->slot);
	if (!slot)
		return false;
	*slot = *block;
	ring_release(&ring->filled);
	ck_ring_enqueue_commit_spsc(&ring->ring);
	return true;
}

static inline bool ring_get(struct ring *ring, struct block *block)
{
	if (ck_ring_size(&ring->ring) == 0)
		return false;
	ring_acquire(&ring->filled);
	ring_release(&ring->emptied);
	return ck_ring_dequeue_spsc_block(&ring->ring, ring->slot, block);
}

#endif
