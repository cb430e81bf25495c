/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Allocation from a zone: how many blocks a request may take, taking them from
 * one pageblock after the other, and their pfns.
 *
 * Floors are checked here, once a hold: the lock is not released until the last
 * page is taken, so what the request leaves free is never less than its floor.
 * zone_alloc() writes pfns after it has released the lock.
 */
#include "platform/fault.h"
#include "zone/buddy.h"
#include "zone/zone_impl.h"

/* --- floors --- */

static uint64_t usable(const struct zone *zone, unsigned may)
{
	uint64_t free =
		zone_free_pages(zone) - zone->free_type[QUIRE_TYPE_ISOLATED];

	if (!(may & ZONE_HIGHATOMIC))
		free -= zone->free_type[QUIRE_TYPE_HIGHATOMIC];
	if (!(may & ZONE_CMA))
		free -= zone->free_type[QUIRE_TYPE_CMA];
	return free;
}

/* How many blocks leave the floor's pages free. */
static unsigned above_floor(const struct zone *zone, const struct zone_ask *ask,
			    unsigned may, unsigned n)
{
	uint64_t free = usable(zone, may), most;

	if (free <= ask->floor)
		return 0;
	most = (free - ask->floor) >> ask->order;
	return most < n ? (unsigned)most : n;
}

/*
 * A zone too small for a block in each hundred keeps none. Nor does one that
 * would have less than min left: calls that may take of that are often such as
 * cannot dissolve the reserve. With min 0 nobody was promised anything.
 */
static bool may_keep(const struct zone *zone, const struct block *block)
{
	uint64_t hundredth = (zone->end - zone->first) / 100;

	return hundredth >= BLOCK_UNITS &&
	       zone->highatomic <
		       align_up(hundredth, BLOCK_UNITS) / BLOCK_UNITS &&
	       usable(zone, 0) - block->free >= zone->marks.min;
}

/* --- taking --- */

/* Of one hold: until there are enough, one pageblock after the other. */
enum { MAX_PARTS = ZONE_TAKE_WORDS - 1 + BUDDY_PARTS };

/* Up to n blocks; returns how many parts they are. */
static unsigned take_locked(struct zone *zone, const struct zone_ask *ask,
			    uint32_t cpu, unsigned n, struct zone_part *parts)
{
	unsigned nr = 0;

	n = above_floor(zone, ask, 0, n);
	while (n && nr < ZONE_TAKE_WORDS) {
		struct block *block;
		unsigned more;

		if (ask->order >= BLOCK_ORDER) {
			bool zero;

			if (!zone_alloc_run_locked(zone, ask->order,
						   &parts[nr].base, &zero))
				break;
			parts[nr].starts = 1;
			parts[nr].zero = zero;
			more = 1;
		} else {
			block = zone_pick_locked(zone, ask, cpu);
			if (!block)
				break;
			more = pageblock_alloc_locked(zone, block, ask->order,
						      n, parts + nr);
		}
		while (more--)
			n -= bits_count(parts[nr++].starts);
	}
	return nr;
}

/* One block of a type that is kept for such calls; its pages count for them,
 * and only here. */
static unsigned take_kept(struct zone *zone, const struct zone_ask *ask,
			  struct zone_part *parts)
{
	struct block *block = zone_pick_kept_locked(zone, ask);

	if (!block || above_floor(zone, ask, ask->may, 1) == 0)
		return 0;
	return pageblock_alloc_locked(zone, block, ask->order, 1, parts);
}

/* The kept type that one block came from, which may have become one just now;
 * else the caller's. */
static enum quire_mobility kept_type(struct zone *zone,
				     const struct zone_ask *ask, pfn_t pfn)
{
	struct block *block = memmap_pageblock(zone->map, pfn >> BLOCK_ORDER);

	if (ask->order >= BLOCK_ORDER)
		return ask->type;
	if (ask->may & ZONE_HIGHATOMIC && ask->order &&
	    block->type < NR_CALL_TYPES && may_keep(zone, block))
		pageblock_set_type_locked(zone, block, QUIRE_TYPE_HIGHATOMIC);
	return block->type < NR_CALL_TYPES ? ask->type : block->type;
}

/* --- pfns --- */

/* The pfns of a part, highest first; returns how many. */
static unsigned part_to_pfns(const struct zone_part *part, pfn_t *pfns)
{
	uint64_t starts = part->starts;
	unsigned n = 0;

	if (starts == ~UINT64_C(0)) {
		const pfn_t last = part->base + WORD_BITS - 1;

		for (unsigned i = 0; i < WORD_BITS; i++)
			pfns[i] = last - i;
		return WORD_BITS;
	}
	while (starts) {
		unsigned at = bits_highest(starts);

		pfns[n++] = part->base + at;
		starts ^= UINT64_C(1) << at;
	}
	return n;
}

/* Bit i % 64 of zero[i / 64], i from first on, for those of a part's pfns. */
static void mark_zero(const struct zone_part *part, const pfn_t *pfns,
		      unsigned first, unsigned end, uint64_t *zero)
{
	/* Memory that nobody had yet comes by whole words. */
	if (part->zero == ~UINT64_C(0) && first % WORD_BITS == 0) {
		zero[first / WORD_BITS] = part->zero;
		return;
	}
	for (unsigned i = first; i < end; i++)
		zero[i / WORD_BITS] |=
			(part->zero >> (pfns[i] - part->base) & 1)
			<< i % WORD_BITS;
}

/* Of parts, the first one last, as a stack wants them; returns how many. */
static unsigned parts_to_pfns(const struct zone_part *parts, unsigned nr,
			      unsigned wanted, pfn_t *pfns, uint64_t *zero)
{
	unsigned n = 0;

	for (unsigned i = 0; i < wanted; i += WORD_BITS)
		zero[i / WORD_BITS] = 0;
	while (nr--) {
		unsigned first = n;

		n += part_to_pfns(&parts[nr], pfns + n);
		if (parts[nr].zero)
			mark_zero(&parts[nr], pfns, first, n, zero);
	}
	return n;
}

/* --- calls --- */

static unsigned take(struct zone *zone, const struct zone_ask *ask,
		     uint32_t cpu, unsigned n, struct zone_part *parts,
		     enum quire_mobility *kept)
{
	unsigned nr = 0;

	assert_debug(n <= ZONE_BATCH && ask->order <= QUIRE_MAX_ORDER &&
			     ask->type < NR_CALL_TYPES && (!ask->may || n == 1),
		     "n %u, order %u, type %u, may %u", n, ask->order,
		     ask->type, ask->may);
	*kept = ask->type;
	if (fault_hit(FAULT_ZONE))
		return 0;
	if (unlikely(ask->may))
		nr = take_kept(zone, ask, parts);
	if (nr == 0)
		nr = take_locked(zone, ask, cpu, n, parts);
	if (unlikely(ask->may) && nr)
		*kept = kept_type(zone, ask,
				  parts->base + bits_lowest(parts->starts));
	return nr;
}

unsigned zone_alloc_locked(struct zone *zone, const struct zone_ask *ask,
			   uint32_t cpu, unsigned n, pfn_t *pfns,
			   uint64_t *zero, enum quire_mobility *kept)
{
	struct zone_part parts[MAX_PARTS];
	unsigned nr;

	assert_debug(lock_held(&zone->lock), "zone %u: not locked", zone->id);
	nr = take(zone, ask, cpu, n, parts, kept);
	return parts_to_pfns(parts, nr, n, pfns, zero);
}

/* The same with a shorter hold: pfns are written when the lock is free. */
unsigned zone_alloc(struct zone *zone, const struct zone_ask *ask, uint32_t cpu,
		    unsigned n, pfn_t *pfns, uint64_t *zero,
		    enum quire_mobility *kept)
{
	struct zone_part parts[MAX_PARTS];
	unsigned nr;

	zone_lock(zone);
	nr = take(zone, ask, cpu, n, parts, kept);
	zone_unlock(zone);
	return parts_to_pfns(parts, nr, n, pfns, zero);
}

/* Frees a run of pages of any length inside one allocated block. */
static void give_tail(struct zone *zone, pfn_t pfn, uint64_t pages)
{
	while (pages) {
		unsigned order = bits_lowest(pfn | GIGABLOCK_PAGES);

		while (UINT64_C(1) << order > pages)
			order--;
		zone_free_locked(zone, order, pfn);
		pfn += (pfn_t)1 << order;
		pages -= UINT64_C(1) << order;
	}
}

bool zone_alloc_exact_locked(struct zone *zone, const struct zone_ask *ask,
			     uint64_t pages, pfn_t *pfn, bool *zero)
{
	bool taken = false;

	assert_debug(lock_held(&zone->lock) && !ask->may,
		     "zone %u: not locked, or may %u", zone->id, ask->may);
	if (fault_hit(FAULT_ZONE) || usable(zone, 0) < ask->floor + pages)
		return false;
	if (ask->order >= BLOCK_ORDER) {
		taken = zone_alloc_run_locked(zone, ask->order, pfn, zero);
		/* Single pages come back later: each kept pageblock needs its
		 * entry. */
		for (uint64_t at = 0; taken && at < pages; at += BLOCK_UNITS)
			pageblock_break_taken_locked(
				zone, (uint32_t)((*pfn + at) >> BLOCK_ORDER),
				ask->type);
	} else {
		struct block *block = zone_pick_locked(zone, ask, UINT32_MAX);
		struct zone_part part;
		uint64_t clean;

		taken = block &&
			pageblock_alloc_locked(zone, block, ask->order, 1,
					       &part) == 1 &&
			parts_to_pfns(&part, 1, 1, pfn, &clean) == 1;
		*zero = taken && clean;
	}
	if (taken)
		give_tail(zone, (pfn_t)(*pfn + pages),
			  (UINT64_C(1) << ask->order) - pages);
	return taken;
}

bool zone_alloc_exact(struct zone *zone, const struct zone_ask *ask,
		      uint64_t pages, pfn_t *pfn, bool *zero)
{
	bool taken;

	zone_lock(zone);
	taken = zone_alloc_exact_locked(zone, ask, pages, pfn, zero);
	zone_unlock(zone);
	return taken;
}

uint64_t zone_usable_pages(struct zone *zone)
{
	uint64_t free;

	zone_lock_uncounted(zone);
	free = usable(zone, 0);
	zone_unlock(zone);
	return free;
}
