/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Watermarks: how many pages of a zone must stay free, and for whom.
 *
 * Arithmetic alone: it knows no zone. The formulae stand in watermark.c.
 */
#ifndef QUIRE_WATERMARK_H
#define QUIRE_WATERMARK_H

#include <stdatomic.h>
#include <stdint.h>

#include "quire/quire.h"

/* From the bottom: calls stop at MIN; below LOW reclaim begins, above HIGH it
 * ends. */
enum watermark { WATERMARK_MIN, WATERMARK_LOW, WATERMARK_HIGH };

/* (c) constant after init, (a) atomic, relaxed: a hint that guards nothing */
struct watermarks {
	uint64_t pages;			  /* (c) of the zone */
	uint64_t min, low, high;	  /* (c) min <= low <= high <= pages */
	uint64_t reserve[QUIRE_NR_ZONES]; /* (c) kept from calls that could use
					     a zone this high */
	_Atomic uint64_t boost;		  /* (a) on top of low and high */
};

/* options.min_free for QUIRE_MIN_FREE_AUTO, in bytes, of so many. */
uint64_t watermark_min_free(uint64_t bytes);

/*
 * A zone of zone_pages out of all_pages that share min_free_bytes; scale is
 * options.watermark_scale, not 0. Keeps nothing from other zones' calls, is not
 * boosted.
 */
void watermark_init(struct watermarks *w, uint64_t zone_pages,
		    uint64_t all_pages, uint64_t min_free_bytes,
		    unsigned scale);

/* options.lowmem_ratio where it is 0; UINT32_MAX: nothing is kept. */
unsigned watermark_default_ratio(enum quire_zone kind);

/*
 * What the zones of one node keep from each other's calls; NULL: no such zone.
 * A ratio of 0 is the default one.
 */
void watermark_reserves(struct watermarks *const zones[QUIRE_NR_ZONES],
			const uint64_t pages[QUIRE_NR_ZONES],
			const unsigned ratio[QUIRE_NR_ZONES]);

/*
 * Pages that must be free after an allocation by a call whose highest zone is
 * `highest`. QUIRE_HIGH, QUIRE_ATOMIC and QUIRE_MEMALLOC count with
 * WATERMARK_MIN, other flags never.
 */
uint64_t watermark_floor(const struct watermarks *w, enum watermark mark,
			 enum quire_zone highest, unsigned flags);

/* For a while a pageblock more is to be free: one was taken by another type. */
void watermark_boost(struct watermarks *w, uint64_t pageblock_pages);
/* The while is over: reclaim reached its mark, or tried in vain. */
void watermark_unboost(struct watermarks *w);

#endif
