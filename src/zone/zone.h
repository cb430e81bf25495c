/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The zone: which block serves, and the counts.
 *
 * Everything behind zone->lock. Callers hand over and get pfns; the state words
 * of the pages are theirs to write, before they give and after they take.
 */
#ifndef QUIRE_ZONE_H
#define QUIRE_ZONE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/holds.h"
#include "base/lock.h"
#include "base/report.h"
#include "map/memmap.h"
#include "quire/quire.h"
#include "zone/watermark.h"

/*
 * What one hold of the zone lock takes and gives: words of maps, or blocks of
 * 64 pages and more. A word costs the same whether one page of it moves or all
 * 64, and a hold costs others what the lock's cache line takes to come and go.
 * To take is the longer work, for runs are looked for.
 */
enum { ZONE_TAKE_WORDS = 16, ZONE_GIVE_WORDS = 64 };
/* Blocks that one call may take. */
enum { ZONE_BATCH = 512 };
/* Fullness classes of a list: by free units, 32 a class. */
enum { NR_BUCKETS = 16 };

/* Blocks by their largest free order, 0 to 9 in units of the block. */
struct zone_lists {
	uint32_t head[BLOCK_ORDER + 1][NR_BUCKETS]; /* (z) index + 1 */
	uint16_t buckets[BLOCK_ORDER + 1];	    /* (z) lists in use */
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
	_Atomic bool scattered; /* (a) blocks in use are worth packing */
	uint32_t fresh;		/* (z) gigablocks from here on: untouched */
	uint32_t free_whole;	/* (z) pages in wholly free pageblocks */
	_Atomic uint64_t free;	/* (a) all of them, owned blocks' included */
	_Atomic uint64_t locks; /* (a) acquisitions to alloc or free */
	/* (a) Freed without the lock, until its next holder comes: a list by
	 * pfn + 1 in the lower half, how many pages in the upper. */
	_Atomic uint64_t deferred;
	uint32_t free_type[QUIRE_NR_TYPES]; /* (z) pages in broken blocks */

	unsigned id cacheline_aligned;	 /* (c) */
	unsigned node;			 /* (c) */
	enum quire_zone kind;		 /* (c) */
	pfn_t first, end;		 /* (c) [first, end) */
	struct memmap *map;		 /* (c) */
	const struct reporter *reporter; /* (c) */
	struct gigablock *gigablocks;	 /* (c) [0] holds `first` */
	uint32_t nr_gigablocks;		 /* (c) */
	uint32_t nr_owners;  /* (c) 0: the zone is too small for that */
	uint32_t *owned;     /* (z) [owner][type]: pageblock + 1 */
	uint32_t highatomic; /* (z) pageblocks of that type */
	_Atomic uint64_t claims, steals; /* (a) */
	struct watermarks marks;	 /* (c), and the boost (a) */
	/* (a) Pages promised to calls that wait in line; theirs to write. */
	_Atomic uint64_t owed;

	struct zone_lists lists[QUIRE_NR_TYPES] cacheline_aligned;
	struct zone_lists gigablock_lists;
	struct holds holds; /* (z) */
};

/* What is wanted of a zone. */
enum {
	ZONE_HIGHATOMIC = 1 << 0, /* blocks kept for that will do, too */
	ZONE_CMA = 1 << 1,
};
struct zone_ask {
	unsigned order;
	enum quire_mobility type; /* one of NR_CALL_TYPES */
	unsigned may;		  /* ZONE_HIGHATOMIC | ZONE_CMA */
	/* Pages that must stay free, those it may not use left out; and whether
	 * the count, read without the lock, is enough to give up. */
	uint64_t floor;
	bool hint;
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
/* Before anybody is inside. */
static inline void zone_place(struct zone *zone, unsigned node,
			      enum quire_zone kind)
{
	zone->node = node;
	zone->kind = kind;
}

/* From now on holds of the lock are measured; before anybody is inside. */
void zone_time_holds(struct zone *zone);
/* Adds the zone's holds to *sum. */
void zone_holds(struct zone *zone, struct holds *sum);

/* To look, or for what is neither an alloc nor a free. */
void zone_lock_uncounted(struct zone *zone);
/* Counted as an acquisition to alloc or free. */
void zone_lock(struct zone *zone);
/* For who may not wait, a signal handler among them. */
bool zone_try_lock(struct zone *zone);
void zone_unlock(struct zone *zone);

/*
 * Takes up to n <= ZONE_BATCH blocks, orders 0 to 18, for a CPU (or UINT32_MAX
 * for nobody), as many as one hold has; returns how many, 0 when no run is left
 * above the floor. In pfns[] the first one, of a run the lowest, comes last: as
 * a stack wants it. Bit i % 64 of zero[i / 64]: the memory of pfns[i] was never
 * handed out. What comes from a block that is not of a calls' type, *kept says
 * whose it is; such come one at a time.
 */
unsigned zone_alloc(struct zone *zone, const struct zone_ask *ask, uint32_t cpu,
		    unsigned n, pfn_t *pfns, uint64_t *zero,
		    enum quire_mobility *kept);
/*
 * Takes the first `pages` pages of a block of 2^order, the rest staying free
 * throughout: nobody else can fail for pages that are only passing by.
 */
bool zone_alloc_exact(struct zone *zone, const struct zone_ask *ask,
		      uint64_t pages, pfn_t *pfn, bool *zero);
/* The same with the zone lock held, so that several zones can be asked at one
 * moment. */
unsigned zone_alloc_locked(struct zone *zone, const struct zone_ask *ask,
			   uint32_t cpu, unsigned n, pfn_t *pfns,
			   uint64_t *zero, enum quire_mobility *kept);
bool zone_alloc_exact_locked(struct zone *zone, const struct zone_ask *ask,
			     uint64_t pages, pfn_t *pfn, bool *zero);
/* Whether a block of a kind kept for QUIRE_ATOMIC became anybody's again. */
bool zone_unreserve_locked(struct zone *zone, enum quire_mobility type);

/*
 * What a pageblock is there for from now on; false if it is part of a live
 * block of order 9 and more, which has no entry to say so. The type of one that
 * is broken, else -1.
 */
bool zone_set_type(struct zone *zone, uint32_t pageblock,
		   enum quire_mobility type);
int zone_type(struct zone *zone, uint32_t pageblock);

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

/* Whether what is freed should come here before it is handed out again. */
static inline bool zone_is_scattered(const struct zone *zone)
{
	return atomic_load_explicit(&zone->scattered, memory_order_relaxed);
}

/* Of blocks whose free is deferred. */
static inline uint64_t zone_deferred_pages(const struct zone *zone)
{
	return atomic_load_explicit(&zone->deferred, memory_order_relaxed) >>
	       32;
}

/*
 * Blocks that nobody uses (zone_idle.c). `look` numbers the times that a zone
 * was looked through, 1 to ZONE_LOOKS and round.
 */
enum { ZONE_LOOKS = 255 };
void zone_look(struct zone *zone, uint8_t look);

struct zone_idle {
	uint32_t pageblock;
	uint16_t rank; /* larger and longer idle: higher; 0: none */
};
/* Above all that there are. */
#define ZONE_IDLE_TOP ((struct zone_idle){ .rank = UINT16_MAX })
/* What is looked for. */
struct zone_idle_ask {
	uint8_t look;		/* ages count up to that one */
	unsigned min_age;	/* looks */
	struct zone_idle after; /* ranked below it; the first of equals is
				 * above */
};
/*
 * Looks for wholly free pageblocks that were handed out once, did not go back
 * since, and are what is asked for. best[] holds n candidates already, or 0;
 * after, it is the n highest ranked of both, the highest first.
 */
void zone_find_idle(struct zone *zone, const struct zone_idle_ask *ask,
		    struct zone_idle *best, unsigned n);
/* Out of the zone, if it is still wholly free and was handed out once; how long
 * it is idle is not asked again. And back: its memory is gone, and fresh says
 * that it is as when the region began; or it did not go, and is idle since that
 * look, with 0 as long as it was. */
bool zone_take_idle(struct zone *zone, uint32_t pageblock);
void zone_put_gone(struct zone *zone, uint32_t pageblock, bool fresh);
void zone_put_kept(struct zone *zone, uint32_t pageblock, uint8_t look);
/* Up to n pageblocks from *next on whose hugepage is lost and that are in full
 * use; returns how many. UINT32_MAX in *next: the end. */
unsigned zone_find_lost(struct zone *zone, uint32_t *next, uint32_t *blocks,
			unsigned n);
/* It has one again. */
void zone_regained(struct zone *zone, uint32_t pageblock);
/* Free pages that have memory: all but those of wholly free pageblocks that
 * were never handed out, or went back since. */
uint64_t zone_backed_pages(struct zone *zone);

/* Free pages but those of kept types. */
uint64_t zone_usable_pages(struct zone *zone);

/* Counts and marks as they are together at one moment. */
void zone_describe(struct zone *zone, struct quire_zone_info *info);

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
