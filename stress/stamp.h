/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Stamps and the shadow map: who holds each page, kept twice outside the
 * allocator that is under test.
 *
 * Shadow: a word for each page, 0 or its holder's number + 1, changed by atomic
 * exchange only, so that of two threads that are given one page at least one
 * finds the other. The exchanges are relaxed on purpose: that one holder's
 * writes are seen by the next must follow from the allocator, and
 * ThreadSanitizer finds one that does not order them.
 *
 * Stamp: pfn, order, holder and sequence number, written by plain stores at
 * both ends of a block's memory and checked before it is freed: whoever wrote
 * into a page he does not hold is found, too. The descriptor's private word and
 * flags are used in the same way.
 */
#ifndef STRESS_STAMP_H
#define STRESS_STAMP_H

#include <stdbool.h>
#include <stdint.h>

#include <quire/quire.h>

/* What a thread holds: a block, or a run of pages that are blocks of order 0.
 */
struct block {
	struct quire_page *page; /* the first; NULL: nothing */
	uint32_t pages;
	uint32_t sequence; /* of the holder's hand-outs */
	uint16_t holder;
	uint8_t order; /* of each block */
};

static inline uint32_t block_count(const struct block *block)
{
	return block->pages >> block->order;
}

struct shadow;

/* Both NULL and errno without memory. */
struct shadow *shadow_new(struct quire *q, const struct quire_info *info);
void shadow_delete(struct shadow *shadow);
/* Pages held. Exact when no other thread is in a call. */
uint64_t shadow_held(const struct shadow *shadow);
/* Of [pfn, pfn + pages). */
uint64_t shadow_held_in(const struct shadow *shadow, uint64_t pfn,
			uint64_t pages);

/* Memory of a block just handed out with QUIRE_ZERO reads as zero wherever a
 * stamp can have been. */
void stamp_check_zero(const struct shadow *shadow, const struct block *block);
/* The block was handed out to its holder: claims it and stamps it. */
void stamp_put(struct shadow *shadow, const struct block *block);
/* The block is about to be freed, or to change hands: checks and releases. */
void stamp_remove(struct shadow *shadow, const struct block *block);

#endif
