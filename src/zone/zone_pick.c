/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which pageblock serves a request of order 0 to 8; the policy and the types
 * are in the theory at the top of zone.c.
 *
 * A block that is picked stays on its list until pages are taken from it, but
 * for one that its CPU owns or that was just broken for the request. This file
 * reads the lists and leaves all changes to zone_blocks.c.
 *
 * Locks: the zone lock, which the caller holds from the pick until it has taken
 * the pages.
 */
#include "base/report.h"
#include "zone/zone_impl.h"

/* --- lists --- */

/* The fullest listed pageblock of the smallest order that fits; NULL: none. */
static struct block *fullest(struct zone *zone, enum quire_mobility type,
			     unsigned order)
{
	const struct zone_lists *lists = &zone->lists[type];
	uint32_t fits = lists->orders >> order << order;

	if (fits == 0)
		return NULL;
	order = bits_lowest(fits);
	return memmap_pageblock(
		zone->map,
		lists->head[order][bits_lowest(lists->buckets[order])] - 1);
}

/* The emptiest of the largest order, if that fits. */
static struct block *emptiest(struct zone *zone, enum quire_mobility type,
			      unsigned order)
{
	const struct zone_lists *lists = &zone->lists[type];
	uint32_t fits = lists->orders >> order << order;

	if (fits == 0)
		return NULL;
	order = bits_highest(fits);
	return memmap_pageblock(
		zone->map,
		lists->head[order][bits_highest(lists->buckets[order])] - 1);
}

/* --- blocks of another type --- */

/* Where a type goes when neither it nor a whole block has a run left. */
static const uint8_t fallbacks[NR_CALL_TYPES][NR_CALL_TYPES - 1] = {
	[QUIRE_TYPE_UNMOVABLE] = { QUIRE_TYPE_RECLAIMABLE, QUIRE_TYPE_MOVABLE },
	[QUIRE_TYPE_MOVABLE] = { QUIRE_TYPE_RECLAIMABLE, QUIRE_TYPE_UNMOVABLE },
	[QUIRE_TYPE_RECLAIMABLE] = { QUIRE_TYPE_UNMOVABLE, QUIRE_TYPE_MOVABLE },
};

/* Pages of the block that were handed out as that type; at the region's edges
 * the zone, and the page table, have it only in part. */
static unsigned count_alike(const struct zone *zone, const struct block *block,
			    enum quire_mobility type)
{
	uint64_t pfn = (uint64_t)memmap_pageblock_index(zone->map, block)
		       << BLOCK_ORDER;
	uint64_t end = pfn + BLOCK_UNITS;
	unsigned alike = 0;

	if (pfn < zone->first)
		pfn = zone->first;
	if (end > zone->end)
		end = zone->end;
	for (; pfn < end; pfn++) {
		uint64_t word = page_word(memmap_page(zone->map, (pfn_t)pfn));

		if ((word & PAGE_KIND_MASK) != PAGE_FREE &&
		    page_type(word) == type)
			alike += 1u << page_order(word);
	}
	return alike;
}

/* A block of another type that becomes one of this. */
static struct block *claim(struct zone *zone, const struct zone_ask *ask)
{
	for (unsigned i = 0; i < NR_CALL_TYPES - 1; i++) {
		struct block *block =
			emptiest(zone, fallbacks[ask->type][i], ask->order);

		if (!block ||
		    (block->free < BLOCK_UNITS / 2 &&
		     block->free + count_alike(zone, block, ask->type) <
			     BLOCK_UNITS / 2))
			continue;
		pageblock_set_type_locked(zone, block, ask->type);
		counter_inc_locked(&zone->claims);
		return block;
	}
	return NULL;
}

/* Pages that can be given up or moved may lie in each other's blocks. */
static bool gets_on_with(enum quire_mobility type, enum quire_mobility other)
{
	return type != QUIRE_TYPE_UNMOVABLE && other != QUIRE_TYPE_UNMOVABLE;
}

/* A block of another type that serves and stays what it is. */
static struct block *lend(struct zone *zone, const struct zone_ask *ask,
			  bool any)
{
	for (unsigned i = 0; i < NR_CALL_TYPES - 1; i++) {
		enum quire_mobility other = fallbacks[ask->type][i];
		struct block *block = NULL;

		if (any || gets_on_with(ask->type, other))
			block = fullest(zone, other, ask->order);
		if (block) {
			counter_inc_locked(&zone->steals);
			return block;
		}
	}
	return NULL;
}

/* In a scattered zone what is loose serves before a whole block is broken. */
static struct block *pick_loose(struct zone *zone, const struct zone_ask *ask)
{
	struct block *block = claim(zone, ask);

	return block ? block : lend(zone, ask, false);
}

/* There is no whole block left. */
static struct block *fall_back(struct zone *zone, const struct zone_ask *ask)
{
	struct block *block = NULL;

	if (zone->nr_owners) {
		zone_disown_all_locked(zone);
		block = fullest(zone, ask->type, ask->order);
	}
	if (block)
		return block;
	block = claim(zone, ask);
	if (!block)
		block = lend(zone, ask, true);
	if (block)
		watermark_boost(&zone->marks, BLOCK_UNITS);
	return block;
}

/* --- the block that serves --- */

struct block *zone_pick_locked(struct zone *zone, const struct zone_ask *ask,
			       uint32_t cpu)
{
	bool owner = ask->order == 0 && cpu < zone->nr_owners;
	struct block *block;

	assert_debug(lock_held(&zone->lock) && ask->order < BLOCK_ORDER,
		     "zone %u: not locked, or order %u", zone->id, ask->order);
	if (owner && *zone_owned(zone, cpu, ask->type))
		return memmap_pageblock(zone->map,
					*zone_owned(zone, cpu, ask->type) - 1);
	block = fullest(zone, ask->type, ask->order);
	if (block && owner)
		pageblock_own_locked(zone, block, cpu);
	if (!block && zone_is_scattered(zone))
		block = pick_loose(zone, ask);
	if (!block)
		block = pageblock_break_locked(zone, ask->type);
	return likely(block) ? block : fall_back(zone, ask);
}

struct block *zone_pick_kept_locked(struct zone *zone,
				    const struct zone_ask *ask)
{
	struct block *block = NULL;

	if (ask->order >= BLOCK_ORDER)
		return NULL;
	if (ask->may & ZONE_HIGHATOMIC && ask->order)
		block = fullest(zone, QUIRE_TYPE_HIGHATOMIC, ask->order);
	if (!block && ask->may & ZONE_CMA)
		block = fullest(zone, QUIRE_TYPE_CMA, ask->order);
	return block;
}

/* One with free pages at least; it goes whole if it is wholly free. */
bool zone_unreserve_locked(struct zone *zone, enum quire_mobility type)
{
	struct block *block = emptiest(zone, QUIRE_TYPE_HIGHATOMIC, 0);

	assert_debug(lock_held(&zone->lock), "zone %u: not locked", zone->id);
	if (!block)
		return false;
	pageblock_set_type_locked(zone, block, type);
	if (block->free == BLOCK_UNITS)
		pageblock_return_locked(zone, block);
	return true;
}
