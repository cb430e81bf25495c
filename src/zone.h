/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The zone: which block serves, and the counts. Floor 4.
 *
 * Everything behind zone->lock. Callers hand over and get pfns; the state words
 * of the pages are theirs to write, before they give and after they take.
 */
#ifndef QUIRE_ZONE_H
#define QUIRE_ZONE_H

#include <stdbool.h>
#include <stdint.h>

#include "debug.h"
#include "holds.h"
#include "lock.h"
#include "memmap.h"
#include "quire/quire.h"

/*
 * What one hold of the zone lock takes and gives: words of maps, or blocks of
 * 64 pages and more. A word costs the same whether one page of it moves or all
 * 64, and a hold costs others what the lock's cache line takes to come and go.
 * To take is the longer work, for runs are looked for.
 */
enum { ZONE_TAKE_WORDS = 16, ZONE_GIVE_WORDS = 64 };
/* Blocks that one call may take. */
enum { ZONE_BATCH = 256 };
/* Fullness classes of a list: by free units, 32 a class. */
enum { NR_BUCKETS = 16 };

/* A list index as heads and masks have it: order 0 to 8 of pageblocks with that
 * largest free order, 9 to 18 of gigablocks. */
struct zone_lists {
	uint32_t head[QUIRE_NR_ORDERS][NR_BUCKETS]; /* (z) index + 1 */
	uint16_t buckets[QUIRE_NR_ORDERS];	    /* (z) lists in use */
	uint32_t orders;			    /* (z) buckets in use */
};

/*
 * (z) zone lock, (a) atomic, written under the zone lock, (c) constant
 *
 * What every hold writes is in the lock's cache line: it comes with the lock
 * from the CPU that had it last.
 */
struct zone {
	struct lock lock cacheline_aligned;
	bool timed;		/* (c) holds are measured */
	uint32_t fresh;		/* (z) gigablocks from here on: untouched */
	_Atomic uint64_t free;	/* (a) pages, owned blocks' included */
	uint64_t free_whole;	/* (z) of them in wholly free pageblocks */
	uint64_t free_broken;	/* (z) and in broken ones */
	_Atomic uint64_t locks; /* (a) acquisitions to alloc or free */
	/* (a) Freed without the lock, until its next holder comes: a list by
	 * pfn + 1 in the lower half, how many pages in the upper. */
	_Atomic uint64_t deferred;

	unsigned id cacheline_aligned;	 /* (c) */
	pfn_t first, end;		 /* (c) [first, end) */
	struct memmap *map;		 /* (c) */
	const struct reporter *reporter; /* (c) */
	struct gigablock *gigablocks;	 /* (c) [0] holds `first` */
	uint32_t nr_gigablocks;		 /* (c) */
	uint32_t nr_owners; /* (c) 0: the zone is too small for that */
	uint32_t *owned;    /* (z) [owner][type]: pageblock + 1 */

	struct zone_lists lists[NR_MOBILITY] cacheline_aligned;
	struct holds holds; /* (z) */
};

/* Bytes of gigablock entries for [first, end), and of the owner table. */
size_t zone_gigablocks_bytes(pfn_t first, pfn_t end);
size_t zone_owned_bytes(uint32_t owners);
/*
 * All pages of [first, end) are free. Both ends are multiples of 512 or the
 * region's own. Tables are zero-filled.
 */
void zone_init(struct zone *zone, unsigned id, pfn_t first, pfn_t end,
	       struct memmap *map, struct gigablock *gigablocks,
	       uint32_t *owned, uint32_t owners,
	       const struct reporter *reporter);

/* From now on holds of the lock are measured; before anybody is inside. */
void zone_time_holds(struct zone *zone);
/* Adds the zone's holds to *sum. */
void zone_holds(struct zone *zone, struct holds *sum);

/* Counted as an acquisition to alloc or free. */
void zone_lock(struct zone *zone);
/* For who may not wait, a signal handler among them. */
bool zone_try_lock(struct zone *zone);
void zone_unlock(struct zone *zone);

/*
 * Takes up to n <= ZONE_BATCH blocks of an order, 0 to 18, for a CPU (or
 * UINT32_MAX for nobody), as many as one hold has; returns how many, 0 when no
 * run is left. In pfns[] the first one, of a run the lowest, comes last: as a
 * stack wants it. Bit i % 64 of zero[i / 64]: the memory of pfns[i] was never
 * handed out.
 */
unsigned zone_alloc(struct zone *zone, unsigned order, enum mobility type,
		    uint32_t cpu, unsigned n, pfn_t *pfns, uint64_t *zero);
/*
 * Takes the first `pages` pages of a block of 2^order, the rest staying free
 * throughout: nobody else can fail for pages that are only passing by.
 */
bool zone_alloc_exact(struct zone *zone, unsigned order, enum mobility type,
		      uint64_t pages, pfn_t *pfn, bool *zero);
/* The same with the zone lock held, so that several zones can be asked at one
 * moment. */
unsigned zone_alloc_locked(struct zone *zone, unsigned order,
			   enum mobility type, uint32_t cpu, unsigned n,
			   pfn_t *pfns, uint64_t *zero);
bool zone_alloc_exact_locked(struct zone *zone, unsigned order,
			     enum mobility type, uint64_t pages, pfn_t *pfn,
			     bool *zero);
/* Frees n blocks of an order, in as many holds as it takes. */
void zone_free(struct zone *zone, unsigned order, unsigned n,
	       const pfn_t *pfns);

/* With the zone lock held; one block. */
void zone_free_locked(struct zone *zone, unsigned order, pfn_t pfn);
/* Without it, and without waiting: the lock's next holder frees the block. */
void zone_free_deferred(struct zone *zone, unsigned order, pfn_t pfn);
/* Frees what was deferred until now. */
void zone_settle(struct zone *zone);
void zone_settle_locked(struct zone *zone);

/* Puts a CPU's own block back on the lists; or every CPU's. */
void zone_disown(struct zone *zone, uint32_t cpu);
void zone_disown_all(struct zone *zone);

static inline uint64_t zone_free_pages(const struct zone *zone)
{
	return atomic_load_explicit(&zone->free, memory_order_relaxed);
}

/* Of blocks whose free is deferred. */
static inline uint64_t zone_deferred_pages(const struct zone *zone)
{
	return atomic_load_explicit(&zone->deferred, memory_order_relaxed) >>
	       32;
}

/* Adds to runs[k] the maximal free runs of order k. */
void zone_runs(struct zone *zone, uint64_t runs[QUIRE_NR_ORDERS]);

/* Whether a page of the zone is free in it; and whether its pageblock is wholly
 * free and was never handed out. Nobody is inside. */
bool zone_page_is_free(struct zone *zone, pfn_t pfn);
bool zone_pageblock_is_untouched(struct zone *zone, pfn_t pfn);

/*
 * Checks the zone's tables; each violation is reported; returns how many. The
 * caller makes sure that nobody is inside.
 */
unsigned zone_validate(struct zone *zone);

#endif
