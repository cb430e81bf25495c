/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the zone's own files share; no file outside zone/ includes it. Functions
 * need the zone lock where their name says so.
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
/* One whose number is known becomes a listed one of a kept type. */
void pageblock_keep_locked(struct zone *zone, uint32_t pageblock,
			   enum quire_mobility type);
/* One that was taken becomes a broken one with no page free. */
void pageblock_break_taken_locked(struct zone *zone, uint32_t pageblock,
				  enum quire_mobility type);
/* A broken pageblock whose pages are all free becomes whole again. */
void pageblock_return_locked(struct zone *zone, struct block *block);
void pageblock_set_type_locked(struct zone *zone, struct block *block,
			       enum quire_mobility type);

/* A listed block is a CPU's own from now on; goes back to its list; or all
 * that CPUs own do. */
void pageblock_own_locked(struct zone *zone, struct block *block, uint32_t cpu);
void pageblock_disown_locked(struct zone *zone, struct block *block);
void zone_disown_all_locked(struct zone *zone);

/* One run of 2^order pages, order 9 to 18; false: there is none. */
bool zone_alloc_run_locked(struct zone *zone, unsigned order, pfn_t *pfn,
			   bool *zero);
void zone_free_run_locked(struct zone *zone, unsigned order, pfn_t pfn);

/* Up to n blocks of one pageblock, orders 0 to 8; returns how many parts they
 * are. */
unsigned pageblock_alloc_locked(struct zone *zone, struct block *block,
				unsigned order, unsigned n,
				struct zone_part *parts);
void pageblock_free_locked(struct zone *zone, unsigned order, pfn_t pfn);
/* Words of blocks of any pageblocks; `pages` in all. */
void zone_free_words_locked(struct zone *zone,
			    const struct zone_free_word *words, unsigned nr,
			    int64_t pages);

#endif
