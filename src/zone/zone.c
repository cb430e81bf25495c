/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The zone: which block serves, and the counts.
 *
 * Model. A zone is a range of pages. Each pageblock in it is in one of three
 * states:
 *   whole    its bit in the gigablock's map is clear; nothing else says so;
 *   broken   its bit is set and its entry is in use: the entry's map says which
 *            pages are free. It is on one list, or owned by a CPU, or has no
 *            free page;
 *   taken    its bit is set, its entry unused: part of a block of order 9 or
 *            more that is allocated. Blocks that do not lie wholly inside the
 *            zone are never whole: their bits are set from the start.
 * Gigablocks are on lists in the same way, by the largest free order.
 *
 * Policy. For order k, of the blocks whose largest free order is the smallest
 * that fits, the fullest: so whole blocks stay whole, and nearly empty ones
 * become whole. Fullness is known to 32 units (a bucket), or else a block would
 * change lists at every page. A block whose last page comes back returns to the
 * gigablock's map at once.
 *
 * Types. A broken block has a mobility type: what it is there for. Calls ask
 * for unmovable, movable or reclaimable pages, and are served, in this order,
 *   1. from a block of their type;
 *   2. from a whole block, which takes their type;
 *   3. from a block of another type that becomes theirs: of each type in the
 *      order of `fallbacks` the emptiest is looked at, and claimed if at least
 *      half of it is free or of the caller's type already;
 *   4. from a block of another type that stays so: the smallest run that fits.
 * So a block changes its type only if that brings more than it spoils. While
 * the zone is scattered (of the pages in broken blocks more than an eighth are
 * free) 3 comes before 2, and so does 4 between movable and reclaimable pages:
 * holes are filled before a whole block is broken, and types that can be
 * emptied may mix. On traces that keeps up to 24 points more of the ideal
 * whole. The search is cheap: the lists know which block is emptiest, and at
 * most one block of a type is looked into, and only if it is not half free by
 * itself. The other types are kept: blocks of theirs serve only calls that may
 * use them (QUIRE_ATOMIC, QUIRE_CMA; isolated ones nobody), and what is free in
 * them does not count for others. Nothing is ever claimed or stolen from them,
 * and they stay broken when they are wholly free. An allocation of larger order
 * that may use the high-atomic reserve adds its block to it, to 1 % of the
 * zone, if that leaves the others min.
 *
 * Floors. Every request says how many pages must stay free after it. It is
 * checked under the lock, page by page: no race takes a zone below.
 *
 * Gigablocks from `fresh` on have never been needed: they are whole, on no
 * list, their entries zero-filled. So creating a zone does not write them.
 *
 * Owned blocks. A CPU that takes single pages takes them from a pageblock it
 * has to itself, so that the map and the state words it writes stay in its
 * cache. An owned block is off the lists; its pages count as free. It is the
 * fullest listed block when it is taken, never one broken for the purpose, and
 * it goes back to the lists when it is empty, whole, idle, drained, or when
 * somebody else would fail. Zones of less than 8 blocks a CPU and type have no
 * owned blocks. Kept types are not owned.
 *
 * Frees without the lock (QUIRE_NOLOCK) go on a list, linked through the
 * blocks' private words, that whoever has the lock next frees before anything
 * else. So who has the lock sees all that was free when it took it. The list is
 * pushed to by compare-and-exchange and taken as a whole by exchange: there is
 * no ABA.
 *
 * Invariants (zone_validate checks them): free == free_whole + the sum of
 * free_type; entry->free == clear bits of its map; entry->largest is exact; a
 * broken block is listed (by type, largest, bucket) if and only if it has a
 * free page and no owner; no broken block of a calls' type is wholly free;
 * touched covers what is not free; idle blocks are whole.
 *
 * Which file does what, and which calls which, is in zone_impl.h.
 */
#include "zone/buddy.h"
#include "zone/zone_impl.h"

enum { OWNED_MIN_BLOCKS = 8 };
/* A scan holds the lock for this many pageblocks at a time. */
enum { SCAN_BLOCKS = 16 };

/* --- init --- */

size_t zone_gigablocks_bytes(pfn_t first, pfn_t end)
{
	uint64_t n = ((uint64_t)(end - 1) >> GIGABLOCK_ORDER) -
		     (first >> GIGABLOCK_ORDER) + 1;

	return (size_t)n * sizeof(struct gigablock);
}

size_t zone_owned_bytes(uint32_t owners)
{
	return (size_t)owners * NR_CALL_TYPES * sizeof(uint32_t);
}

void zone_init(struct zone *zone, unsigned id, pfn_t first, pfn_t end,
	       struct memmap *map, struct gigablock *gigablocks,
	       uint32_t *owned, uint32_t owners,
	       const struct reporter *reporter)
{
	uint32_t head = first >> BLOCK_ORDER;
	uint32_t tail = (end - 1) >> BLOCK_ORDER;

	lock_init(&zone->lock, LOCK_RANK_ZONE);
	zone->id = id;
	zone->map = map;
	zone->reporter = reporter;
	zone->first = first;
	zone->end = end;
	zone->gigablocks = gigablocks;
	zone->nr_gigablocks = (uint32_t)(zone_gigablocks_bytes(first, end) /
					 sizeof(*gigablocks));
	zone->owned = owned;
	if ((uint64_t)(tail - head + 1) / OWNED_MIN_BLOCKS >=
	    (uint64_t)owners * NR_CALL_TYPES)
		zone->nr_owners = owners;
	zone_blocks_init(zone);
}

/* --- what there is --- */

void zone_describe(struct zone *zone, struct quire_zone_info *info)
{
	const struct watermarks *marks = &zone->marks;

	zone_lock_uncounted(zone);
	*info = (struct quire_zone_info){
		.node = zone->node,
		.kind = zone->kind,
		.first_pfn = zone->first,
		.pages = zone->end - zone->first,
		.free = zone_free_pages(zone),
		.free_whole = zone->free_whole,
		.min = marks->min,
		.low = marks->low,
		.high = marks->high,
		.boost = atomic_load_explicit(&marks->boost,
					      memory_order_relaxed),
		.claims = atomic_load(&zone->claims),
		.steals = atomic_load(&zone->steals),
	};
	for (unsigned i = 0; i < QUIRE_NR_TYPES; i++)
		info->free_type[i] = zone->free_type[i];
	for (unsigned i = 0; i < QUIRE_NR_ZONES; i++)
		info->reserve[i] = marks->reserve[i];
	zone_unlock(zone);
}

void zone_runs(struct zone *zone, uint64_t runs[QUIRE_NR_ORDERS])
{
	uint32_t at = zone->first >> BLOCK_ORDER;
	uint32_t end = (zone->end - 1) >> BLOCK_ORDER;

	for (uint32_t i = 0; i < zone->nr_gigablocks; i++) {
		uint32_t first = (zone_first_gigablock(zone) + i)
				 << BLOCK_ORDER;

		zone_lock_uncounted(zone);
		buddy_runs_locked(&zone_gigablock_locked(zone, first)->block,
				  runs + BLOCK_ORDER);
		zone_unlock(zone);
	}
	while (at <= end) {
		zone_lock_uncounted(zone);
		for (unsigned i = 0; i < SCAN_BLOCKS && at <= end; i++, at++) {
			struct block *block = memmap_pageblock(zone->map, at);

			if (block->broken)
				buddy_runs_locked(block, runs);
		}
		zone_unlock(zone);
	}
}

/* --- types --- */

static bool is_whole(struct zone *zone, uint32_t pageblock)
{
	const struct gigablock *giga = zone_gigablock_locked(zone, pageblock);

	return !map_has_bit(giga->block.map, pageblock % BLOCK_UNITS);
}

bool zone_set_type(struct zone *zone, uint32_t pageblock,
		   enum quire_mobility type)
{
	struct block *block = memmap_pageblock(zone->map, pageblock);
	bool ok = true;

	zone_lock_uncounted(zone);
	if (is_whole(zone, pageblock)) {
		if (type >= NR_CALL_TYPES)
			pageblock_keep_locked(zone, pageblock, type);
	} else if (block->broken) {
		if (block->owner)
			pageblock_disown_locked(zone, block);
		pageblock_set_type_locked(zone, block, type);
		if (block->free == BLOCK_UNITS && type < NR_CALL_TYPES)
			pageblock_return_locked(zone, block);
	} else {
		ok = false;
	}
	zone_unlock(zone);
	return ok;
}

int zone_type(struct zone *zone, uint32_t pageblock)
{
	const struct block *block = memmap_pageblock(zone->map, pageblock);
	int type;

	zone_lock_uncounted(zone);
	type = block->broken ? block->type : -1;
	zone_unlock(zone);
	return type;
}

/* --- owned blocks --- */

void zone_disown(struct zone *zone, uint32_t cpu)
{
	if (cpu >= zone->nr_owners)
		return;
	zone_lock_uncounted(zone);
	for (unsigned type = 0; type < NR_CALL_TYPES; type++) {
		uint32_t owned = *zone_owned(zone, cpu, type);

		if (owned)
			pageblock_disown_locked(
				zone, memmap_pageblock(zone->map, owned - 1));
	}
	zone_unlock(zone);
}

void zone_disown_all(struct zone *zone)
{
	zone_lock_uncounted(zone);
	zone_disown_all_locked(zone);
	zone_unlock(zone);
}
