/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the zone's own files share; no file outside zone/ includes it.
 *
 *   zone.c           the theory; init, what there is, types, owned blocks
 *   zone_alloc.c     floors, taking, pfns
 *   zone_pick.c      which pageblock serves
 *   zone_free.c      the lock, frees with it and without it
 *   zone_blocks.c    entries, lists, counts, owners: all changes of a block
 *   zone_idle.c, zone_validate.c
 *
 * Calls go one way. zone.c, zone_alloc.c and zone_idle.c call zone_free.c for
 * the lock; zone_alloc.c calls zone_pick.c; each of these calls zone_blocks.c,
 * which calls buddy.c. Functions need the zone lock where their name says so.
 */
#ifndef QUIRE_ZONE_IMPL_H
#define QUIRE_ZONE_IMPL_H

#include "zone/zone.h"

/* Blocks of one order that begin in the same 64 pages; bits from base on. */
struct zone_part {
	pfn_t base;
	uint64_t starts;
	uint64_t zero; /* starts of blocks that were never handed out */
};

/* Blocks to free that lie in the same 64 pages. */
struct zone_free_word {
	pfn_t base;
	unsigned n; /* units */
	uint64_t units;
};

/* --- accessors --- */

static inline bool map_has_bit(const uint64_t *map, unsigned unit)
{
	return map[unit / WORD_BITS] >> unit % WORD_BITS & 1;
}

static inline uint32_t zone_first_gigablock(const struct zone *zone)
{
	return (uint32_t)(zone->first >> GIGABLOCK_ORDER);
}

static inline struct gigablock *gigablock_of(const struct zone *zone,
					     uint32_t pageblock)
{
	return zone->gigablocks +
	       ((pageblock >> BLOCK_ORDER) - zone_first_gigablock(zone));
}

/* Pageblock + 1 that a CPU owns; 0: none. */
static inline uint32_t *zone_owned(struct zone *zone, uint32_t cpu,
				   unsigned type)
{
	return zone->owned + (size_t)cpu * NR_CALL_TYPES + type;
}

/* The lock's holder alone writes it. */
static inline void counter_inc_locked(_Atomic uint64_t *counter)
{
	atomic_store_explicit(
		counter,
		atomic_load_explicit(counter, memory_order_relaxed) + 1,
		memory_order_relaxed);
}

/* --- zone_blocks.c --- */

/* Counts the pages of a zone that zone_init() has placed. */
void zone_blocks_init(struct zone *zone);

/* The gigablock of a pageblock, started. */
struct gigablock *zone_gigablock_locked(struct zone *zone, uint32_t pageblock);
/* A whole pageblock leaves the zone, or comes back. */
void zone_take_whole_locked(struct zone *zone, uint32_t pageblock);
void zone_give_whole_locked(struct zone *zone, uint32_t pageblock);

/* A whole pageblock becomes a broken one with all its pages free, which is on
 * no list until pages are taken from it. */
struct block *pageblock_break_locked(struct zone *zone,
				     enum quire_mobility type);
/* A whole pageblock, known by number, becomes a listed one of a kept type. */
void pageblock_keep_locked(struct zone *zone, uint32_t pageblock,
			   enum quire_mobility type);
/* A pageblock of a run that was taken becomes a broken one, no page free. */
void pageblock_break_taken_locked(struct zone *zone, uint32_t pageblock,
				  enum quire_mobility type);
/* A broken pageblock whose pages are all free becomes whole again. */
void pageblock_return_locked(struct zone *zone, struct block *block);
void pageblock_set_type_locked(struct zone *zone, struct block *block,
			       enum quire_mobility type);

/* Makes a listed block a CPU's own; puts it back on its list; or puts back all
 * blocks that CPUs own. */
void pageblock_own_locked(struct zone *zone, struct block *block, uint32_t cpu);
void pageblock_disown_locked(struct zone *zone, struct block *block);
void zone_disown_all_locked(struct zone *zone);

/* Takes one run of 2^order pages, order 9 to 18, and gives it back; false:
 * there is none. */
bool zone_alloc_run_locked(struct zone *zone, unsigned order, pfn_t *pfn,
			   bool *zero);
void zone_free_run_locked(struct zone *zone, unsigned order, pfn_t pfn);

/* Takes up to n blocks from one pageblock, orders 0 to 8, and returns how many
 * parts they are; gives one block back. */
unsigned pageblock_alloc_locked(struct zone *zone, struct block *block,
				unsigned order, unsigned n,
				struct zone_part *parts);
void pageblock_free_locked(struct zone *zone, unsigned order, pfn_t pfn);
/* Gives back words of any pageblocks; `pages` is how many pages in all. */
void zone_free_words_locked(struct zone *zone,
			    const struct zone_free_word *words, unsigned nr,
			    int64_t pages);

/* --- zone_pick.c --- */

/* The pageblock that serves, orders 0 to 8, for a CPU; NULL: none. */
struct block *zone_pick_locked(struct zone *zone, const struct zone_ask *ask,
			       uint32_t cpu);
/* One of a type that is kept for such calls as this one; NULL: none. */
struct block *zone_pick_kept_locked(struct zone *zone,
				    const struct zone_ask *ask);

#endif
