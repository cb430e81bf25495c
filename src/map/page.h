/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The page descriptor: its state word.
 *
 * 8 bytes a page; only the descriptor of a block's first page, its head, is
 * ever written. The state word holds all that alloc and free need, so that an
 * allocation is one store and the check before a free is one load and one
 * comparison. The owner's private word is in a table of its own: so a cache
 * line has the states of 8 pages, not of 4.
 *
 *	 0..4   order of the block
 *	 5..6   kind: PAGE_FREE, PAGE_HEAD, PAGE_PCP
 *	 7      PAGE_ZERO: its memory is known to read as zero (kind PCP only)
 *	 8..12  zone
 *	13..15  mobility type
 *	16..31  the owner's flags
 *	32..63  references besides the first: a new block has 0
 *
 * Zero-filled is PAGE_FREE: a table nobody has touched describes free pages.
 * Who owns the page's state may write the word: the holder of a live block
 * (flags and references atomically, for holders can be several), the pcp lock
 * or a restartable sequence for a page in a list, the zone lock for a free one.
 */
#ifndef QUIRE_PAGE_H
#define QUIRE_PAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "quire/quire.h"

/* Page frame number: 4 KiB units from the region's start rounded to 1 GiB. */
typedef uint32_t pfn_t;

#define PFN_NONE UINT32_MAX

/* (a) atomic */
struct quire_page {
	_Atomic uint64_t word; /* (a) */
};

_Static_assert(sizeof(struct quire_page) == 8, "8 bytes a page");

#define PAGE_ORDER_MASK UINT64_C(0x1f)
#define PAGE_FREE (UINT64_C(0) << 5)
#define PAGE_HEAD (UINT64_C(1) << 5)
#define PAGE_PCP (UINT64_C(2) << 5)
#define PAGE_KIND_MASK (UINT64_C(3) << 5)
#define PAGE_ZERO (UINT64_C(1) << 7)
#define PAGE_ZONE_SHIFT 8
#define PAGE_ZONE_MASK 0x1f
#define PAGE_TYPE_SHIFT 13
#define PAGE_TYPE_MASK 0x7
#define PAGE_FLAGS_SHIFT 16
#define PAGE_FLAGS_MASK (UINT64_C(0xffff) << PAGE_FLAGS_SHIFT)
#define PAGE_REF_SHIFT 32
#define PAGE_REF_ONE (UINT64_C(1) << PAGE_REF_SHIFT)

_Static_assert(QUIRE_MAX_ZONES - 1 <= PAGE_ZONE_MASK &&
		       QUIRE_NR_TYPES - 1 <= PAGE_TYPE_MASK,
	       "zone and type fit a state word");

static inline uint64_t page_word(const struct quire_page *page)
{
	return atomic_load_explicit(&page->word, memory_order_relaxed);
}

/* acquire: whoever frees sees what holders wrote who let go before. */
static inline uint64_t page_word_acquire(const struct quire_page *page)
{
	return atomic_load_explicit(&page->word, memory_order_acquire);
}

static inline void page_set_word(struct quire_page *page, uint64_t word)
{
	atomic_store_explicit(&page->word, word, memory_order_relaxed);
}

static inline unsigned page_order(uint64_t word)
{
	return (unsigned)(word & PAGE_ORDER_MASK);
}

static inline unsigned page_zone(uint64_t word)
{
	return (unsigned)(word >> PAGE_ZONE_SHIFT) & PAGE_ZONE_MASK;
}

static inline unsigned page_type(uint64_t word)
{
	return (unsigned)(word >> PAGE_TYPE_SHIFT) & PAGE_TYPE_MASK;
}

static inline uint64_t page_refs(uint64_t word)
{
	return word >> PAGE_REF_SHIFT;
}

static inline bool page_is_head(uint64_t word)
{
	return (word & PAGE_KIND_MASK) == PAGE_HEAD;
}

/*
 * The two changes of a block's state word between its holder and a list. Handed
 * out, nothing is known of what its memory reads as; flags stay, so who frees
 * takes them off before.
 */
static inline uint64_t page_to_head(uint64_t listed)
{
	return (listed & ~PAGE_ZERO) ^ (PAGE_HEAD ^ PAGE_PCP);
}

static inline uint64_t page_to_listed(uint64_t head)
{
	return head ^ (PAGE_HEAD ^ PAGE_PCP);
}

/* Zone and type as they stand in a state word. */
static inline uint64_t page_tag(unsigned zone, unsigned type)
{
	return (uint64_t)zone << PAGE_ZONE_SHIFT | (uint64_t)type
							   << PAGE_TYPE_SHIFT;
}

#endif
