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
 * Gigablocks from `fresh` on have never been needed: they are whole, on no
 * list, their entries zero-filled. So creating a zone does not write them.
 *
 * Owned blocks. A CPU that takes single pages takes them from a pageblock it
 * has to itself, so that the map and the state words it writes stay in its
 * cache. An owned block is off the lists; its pages count as free. It is the
 * fullest listed block when it is taken, never one broken for the purpose, and
 * it goes back to the lists when it is empty, whole, idle, drained, or when
 * somebody else would fail. Zones of less than 8 blocks a CPU and type have no
 * owned blocks.
 *
 * Invariants (zone_validate checks them): free == free_whole + free_broken;
 * entry->free == clear bits of its map; entry->largest is exact; a broken block
 * is listed (by largest, bucket) if and only if it has a free page and no
 * owner; no broken block is wholly free; touched covers what is not free.
 */
#include "zone.h"

#include "buddy.h"

enum { OWNED_MIN_BLOCKS = 8 };
/* A scan holds the lock for this many pageblocks at a time. */
enum { SCAN_BLOCKS = 16 };

static void lock_zone(struct zone *zone)
{
	lock_acquire(&zone->lock);
}

void zone_lock(struct zone *zone)
{
	lock_acquire(&zone->lock);
	atomic_store_explicit(
		&zone->locks,
		atomic_load_explicit(&zone->locks, memory_order_relaxed) + 1,
		memory_order_relaxed);
}

void zone_unlock(struct zone *zone)
{
	assert_debug(zone_free_pages(zone) ==
			     zone->free_whole + zone->free_broken,
		     "zone %u: %llu free, %llu in whole and %llu in broken",
		     zone->id, (unsigned long long)zone_free_pages(zone),
		     (unsigned long long)zone->free_whole,
		     (unsigned long long)zone->free_broken);
	lock_release(&zone->lock);
}

static void count_free(struct zone *zone, uint64_t *where, int64_t pages)
{
	*where += (uint64_t)pages;
	atomic_store_explicit(&zone->free,
			      zone_free_pages(zone) + (uint64_t)pages,
			      memory_order_relaxed);
}

/* --- entries --- */

static uint32_t first_gigablock(const struct zone *zone)
{
	return (uint32_t)(zone->first >> GIGABLOCK_ORDER);
}

static struct gigablock *gigablock_of(struct zone *zone, uint32_t pageblock)
{
	return zone->gigablocks +
	       ((pageblock >> BLOCK_ORDER) - first_gigablock(zone));
}

/* A list's entries are pageblocks or gigablocks, by its order. */
static struct block *entry_at(struct zone *zone, unsigned order, uint32_t index)
{
	if (order < BLOCK_ORDER)
		return memmap_pageblock(zone->map, index);
	return &zone->gigablocks[index].block;
}

static uint32_t entry_index(struct zone *zone, unsigned order,
			    const struct block *block)
{
	if (order < BLOCK_ORDER)
		return memmap_pageblock_index(zone->map, block);
	return (uint32_t)((const struct gigablock *)(const void *)block -
			  zone->gigablocks);
}

/* --- lists --- */

static unsigned bucket_of(const struct block *block)
{
	return (block->free - 1u) / (BLOCK_UNITS / NR_BUCKETS);
}

/* `level` is 0 for pageblocks and BLOCK_ORDER for gigablocks. */
static void list_add(struct zone *zone, struct block *block, unsigned level)
{
	struct zone_lists *lists = &zone->lists[block->type];
	unsigned order = level + block->largest - 1;
	unsigned bucket = bucket_of(block);
	uint32_t *head = &lists->head[order][bucket];
	uint32_t link = entry_index(zone, level, block) + 1;

	block->bucket = (uint8_t)(bucket + 1);
	block->prev = 0;
	block->next = *head;
	if (*head)
		entry_at(zone, level, *head - 1)->prev = link;
	*head = link;
	lists->buckets[order] |= (uint16_t)(1u << bucket);
	lists->orders |= 1u << order;
}

static void list_remove(struct zone *zone, struct block *block, unsigned level)
{
	struct zone_lists *lists = &zone->lists[block->type];
	unsigned order = level + block->largest - 1;
	unsigned bucket = block->bucket - 1u;
	uint32_t *head = &lists->head[order][bucket];

	if (block->next)
		entry_at(zone, level, block->next - 1)->prev = block->prev;
	if (block->prev)
		entry_at(zone, level, block->prev - 1)->next = block->next;
	else
		*head = block->next;
	if (*head == 0) {
		lists->buckets[order] &= (uint16_t) ~(1u << bucket);
		if (lists->buckets[order] == 0)
			lists->orders &= ~(1u << order);
	}
	block->bucket = 0;
}

/*
 * After a block's free units or largest order changed: the new largest, and the
 * list that goes with it.
 */
static void list_update(struct zone *zone, struct block *block, unsigned level,
			unsigned largest)
{
	bool stays = block->largest == largest && block->bucket &&
		     block->free && bucket_of(block) + 1 == block->bucket;

	if (stays)
		return;
	if (block->bucket)
		list_remove(zone, block, level);
	block->largest = (uint8_t)largest;
	if (block->free && !block->owner)
		list_add(zone, block, level);
}

/* The fullest listed entry of the smallest order that fits; NULL: none. */
static struct block *fullest(struct zone *zone, enum mobility type,
			     unsigned order, unsigned end_order)
{
	struct zone_lists *lists = &zone->lists[type];
	uint64_t fits = lists->orders & bits_range(order, end_order - order);
	unsigned bucket;

	if (fits == 0)
		return NULL;
	order = bits_lowest(fits);
	bucket = bits_lowest(lists->buckets[order]);
	return entry_at(zone, order, lists->head[order][bucket] - 1);
}

/* --- gigablocks: orders 9 to 18 --- */

/* Sets the bits of pageblocks that do not lie wholly inside the zone. */
static void start_gigablock(struct zone *zone, uint32_t index)
{
	struct block *block = &zone->gigablocks[index].block;
	uint64_t unit = (uint64_t)(first_gigablock(zone) + index)
			<< BLOCK_ORDER;

	block->free = 0;
	for (unsigned i = 0; i < BLOCK_UNITS; i++, unit++) {
		uint64_t first = unit << BLOCK_ORDER;

		if (first >= zone->first && first + BLOCK_UNITS <= zone->end)
			block->free++;
		else
			block->map[i / WORD_BITS] |= UINT64_C(1)
						     << i % WORD_BITS;
	}
	list_update(zone, block, BLOCK_ORDER, buddy_largest_locked(block));
}

/* The gigablock that serves this order, 9 to 18. */
static struct gigablock *pick_gigablock(struct zone *zone, unsigned order)
{
	struct block *block;

	/* Gigablocks have no type: they are on the first type's lists. */
	while (!(block = fullest(zone, 0, order, QUIRE_NR_ORDERS))) {
		if (zone->fresh == zone->nr_gigablocks)
			return NULL;
		start_gigablock(zone, zone->fresh++);
	}
	return (struct gigablock *)(void *)block;
}

/* Marks a run of pageblocks as touched; true if none of it was before. */
static bool touch_pageblocks(struct zone *zone, struct gigablock *giga,
			     unsigned unit, unsigned n)
{
	uint64_t before = 0;

	while (n) {
		unsigned at = unit % WORD_BITS;
		unsigned here = n < WORD_BITS - at ? n : WORD_BITS - at;
		uint64_t bits = bits_range(at, here);

		before |= giga->touched[unit / WORD_BITS] & bits;
		giga->touched[unit / WORD_BITS] |= bits;
		unit += here;
		n -= here;
	}
	return before == 0 && zone->map->region.known_zero;
}

/* Takes one run of 2^order pages, order 9 to 18. */
static bool take_pageblocks(struct zone *zone, unsigned order, pfn_t *pfn,
			    bool *zero)
{
	struct gigablock *giga = pick_gigablock(zone, order);
	uint16_t unit;

	if (!giga)
		return false;
	buddy_take_locked(&giga->block, order - BLOCK_ORDER, 1, &unit);
	list_update(zone, &giga->block, BLOCK_ORDER,
		    buddy_largest_locked(&giga->block));
	count_free(zone, &zone->free_whole, -(INT64_C(1) << order));
	*zero = touch_pageblocks(zone, giga, unit, 1u << (order - BLOCK_ORDER));
	*pfn = (pfn_t)(((uint64_t)(first_gigablock(zone) +
				   (giga - zone->gigablocks))
			<< GIGABLOCK_ORDER) +
		       ((uint32_t)unit << BLOCK_ORDER));
	return true;
}

/* Gives back a run of 2^order pages, order 9 to 18. */
static void give_pageblocks(struct zone *zone, unsigned order, pfn_t pfn)
{
	uint32_t pageblock = pfn >> BLOCK_ORDER;
	struct block *block = &gigablock_of(zone, pageblock)->block;
	unsigned around = buddy_give_locked(block, pageblock % BLOCK_UNITS,
					    order - BLOCK_ORDER);

	list_update(zone, block, BLOCK_ORDER,
		    around > block->largest ? around : block->largest);
	count_free(zone, &zone->free_whole, INT64_C(1) << order);
}

/* --- pageblocks: orders 0 to 8 --- */

/* Takes an entry into use; free and touched are the caller's to set. */
static void start_pageblock(struct block *block, enum mobility type,
			    uint64_t map)
{
	for (unsigned w = 0; w < BLOCK_WORDS; w++)
		block->map[w] = map;
	block->largest = 0;
	block->type = (uint8_t)type;
	block->broken = true;
	block->owner = 0;
	block->bucket = 0;
}

/* A whole pageblock becomes a broken one with all its pages free. */
static struct block *break_pageblock(struct zone *zone, enum mobility type)
{
	bool zero;
	struct block *block;
	pfn_t pfn;

	if (!take_pageblocks(zone, BLOCK_ORDER, &pfn, &zero))
		return NULL;
	block = memmap_pageblock(zone->map, pfn >> BLOCK_ORDER);
	if (!zero)
		block->touched = ~UINT64_C(0);
	start_pageblock(block, type, 0);
	block->free = BLOCK_UNITS;
	count_free(zone, &zone->free_broken, BLOCK_UNITS);
	return block;
}

/* A broken pageblock whose pages are all free becomes whole again. */
static void return_pageblock(struct zone *zone, struct block *block)
{
	uint32_t index = memmap_pageblock_index(zone->map, block);

	if (block->bucket)
		list_remove(zone, block, 0);
	block->broken = false;
	count_free(zone, &zone->free_broken, -(int64_t)BLOCK_UNITS);
	give_pageblocks(zone, BLOCK_ORDER, (pfn_t)(index << BLOCK_ORDER));
}

static uint32_t *owned_by(struct zone *zone, uint32_t cpu, enum mobility type)
{
	return zone->owned + (size_t)cpu * NR_MOBILITY + type;
}

static void disown(struct zone *zone, struct block *block)
{
	*owned_by(zone, block->owner - 1u, block->type) = 0;
	block->owner = 0;
	list_update(zone, block, 0, block->largest);
}

static void own(struct zone *zone, struct block *block, uint32_t cpu)
{
	list_remove(zone, block, 0);
	block->owner = (uint16_t)(cpu + 1);
	*owned_by(zone, cpu, block->type) =
		memmap_pageblock_index(zone->map, block) + 1;
}

static void disown_all(struct zone *zone)
{
	for (uint32_t i = 0; i < zone->nr_owners * NR_MOBILITY; i++)
		if (zone->owned[i])
			disown(zone,
			       memmap_pageblock(zone->map, zone->owned[i] - 1));
}

/* The broken pageblock that serves this order, 0 to 8, for a CPU. */
static struct block *pick_pageblock(struct zone *zone, unsigned order,
				    enum mobility type, uint32_t cpu)
{
	bool owner = order == 0 && cpu < zone->nr_owners;
	struct block *block;

	if (owner && *owned_by(zone, cpu, type))
		return memmap_pageblock(zone->map,
					*owned_by(zone, cpu, type) - 1);
	block = fullest(zone, type, order, BLOCK_ORDER);
	if (block && owner)
		own(zone, block, cpu);
	if (!block)
		block = break_pageblock(zone, type);
	if (!block && zone->nr_owners) {
		disown_all(zone);
		block = fullest(zone, type, order, BLOCK_ORDER);
	}
	return block;
}

/*
 * Marks pages as touched, in groups of 8; true if no group was touched in
 * `before`, as the block was when this hold of the lock began: neighbours of
 * one batch do not spoil each other.
 */
static bool touch_pages(struct zone *zone, struct block *block, uint64_t before,
			unsigned unit, unsigned n)
{
	unsigned last = (unit + n - 1) / 8;
	uint64_t groups = bits_range(unit / 8, last - unit / 8 + 1);

	block->touched |= groups;
	return !(before & groups) && zone->map->region.known_zero;
}

/* Takes up to n runs from one block; largest is renewed, lists follow. */
static unsigned take_pages(struct zone *zone, struct block *block,
			   unsigned order, unsigned n, pfn_t *pfns,
			   uint64_t *zero)
{
	pfn_t first = (pfn_t)(memmap_pageblock_index(zone->map, block)
			      << BLOCK_ORDER);
	uint64_t before = block->touched;
	uint16_t units[ZONE_BATCH];
	unsigned taken = buddy_take_locked(block, order, n, units);

	*zero = 0;
	for (unsigned i = 0; i < taken; i++) {
		pfns[i] = first + units[i];
		*zero |= (uint64_t)touch_pages(zone, block, before, units[i],
					       1u << order)
			 << i;
	}
	count_free(zone, &zone->free_broken,
		   -(int64_t)((uint64_t)taken << order));
	list_update(zone, block, 0, buddy_largest_locked(block));
	if (block->owner && block->free == 0)
		disown(zone, block);
	return taken;
}

/* After pages came back: `around` is the largest run that holds any of them. */
static void pages_given(struct zone *zone, struct block *block, unsigned around)
{
	if (block->free == BLOCK_UNITS) {
		if (block->owner) {
			*owned_by(zone, block->owner - 1u, block->type) = 0;
			block->owner = 0;
		}
		return_pageblock(zone, block);
		return;
	}
	list_update(zone, block, 0,
		    around > block->largest ? around : block->largest);
}

/* Gives back the leading pfns that lie in one pageblock; returns how many. */
static unsigned give_pages(struct zone *zone, unsigned order, unsigned n,
			   const pfn_t *pfns)
{
	uint32_t index = pfns[0] >> BLOCK_ORDER;
	struct block *block = memmap_pageblock(zone->map, index);
	unsigned around = 0, i = 0;

	while (i < n && pfns[i] >> BLOCK_ORDER == index) {
		unsigned unit = pfns[i] % BLOCK_UNITS, here;

		if (order < WORD_SHIFT) {
			unsigned word = unit / WORD_BITS;
			uint64_t units = 0;

			/* Neighbours in one word go back as one. */
			do {
				units |= bits_range(pfns[i] % WORD_BITS,
						    1u << order);
				i++;
			} while (i < n && pfns[i] >> WORD_SHIFT ==
						  pfns[i - 1] >> WORD_SHIFT);
			here = buddy_give_word_locked(block, word, units);
		} else {
			here = buddy_give_locked(block, unit, order);
			i++;
		}
		if (here > around)
			around = here;
	}
	count_free(zone, &zone->free_broken, (int64_t)((uint64_t)i << order));
	pages_given(zone, block, around);
	return i;
}

/* --- the zone's own calls --- */

unsigned zone_alloc_locked(struct zone *zone, unsigned order,
			   enum mobility type, uint32_t cpu, unsigned n,
			   pfn_t *pfns, uint64_t *zero)
{
	unsigned taken = 0;

	assert_debug(n <= ZONE_BATCH && order <= QUIRE_MAX_ORDER,
		     "n %u, order %u", n, order);
	assert_debug(lock_held(&zone->lock), "zone %u: not locked", zone->id);
	*zero = 0;
	if (fault_hit(FAULT_ZONE))
		return 0;
	while (taken < n) {
		if (order >= BLOCK_ORDER) {
			bool clean;

			if (!take_pageblocks(zone, order, &pfns[taken], &clean))
				break;
			*zero |= (uint64_t)clean << taken++;
		} else {
			struct block *block =
				pick_pageblock(zone, order, type, cpu);
			uint64_t clean;
			unsigned got;

			if (!block)
				break;
			got = take_pages(zone, block, order, n - taken,
					 pfns + taken, &clean);
			*zero |= clean << taken;
			taken += got;
		}
	}
	return taken;
}

unsigned zone_alloc(struct zone *zone, unsigned order, enum mobility type,
		    uint32_t cpu, unsigned n, pfn_t *pfns, uint64_t *zero)
{
	unsigned taken;

	zone_lock(zone);
	taken = zone_alloc_locked(zone, order, type, cpu, n, pfns, zero);
	zone_unlock(zone);
	return taken;
}

/* Frees a run of pages of any length inside one allocated block. */
static void give_tail(struct zone *zone, pfn_t pfn, uint64_t pages)
{
	while (pages) {
		unsigned order = bits_lowest(pfn | GIGABLOCK_PAGES);

		while (UINT64_C(1) << order > pages)
			order--;
		if (order >= BLOCK_ORDER)
			give_pageblocks(zone, order, pfn);
		else
			give_pages(zone, order, 1, &pfn);
		pfn += (pfn_t)1 << order;
		pages -= UINT64_C(1) << order;
	}
}

/* A pageblock of a taken run that is kept in part: broken, nothing free. */
static void break_taken(struct zone *zone, uint32_t index, enum mobility type)
{
	struct block *block = memmap_pageblock(zone->map, index);

	start_pageblock(block, type, ~UINT64_C(0));
	block->touched = ~UINT64_C(0);
	block->free = 0;
}

bool zone_alloc_exact_locked(struct zone *zone, unsigned order,
			     enum mobility type, uint64_t pages, pfn_t *pfn,
			     bool *zero)
{
	bool taken = false;

	assert_debug(lock_held(&zone->lock), "zone %u: not locked", zone->id);
	if (fault_hit(FAULT_ZONE))
		return false;
	if (order >= BLOCK_ORDER) {
		taken = take_pageblocks(zone, order, pfn, zero);
		/* Single pages come back later: each kept pageblock needs its
		 * entry. */
		for (uint64_t at = 0; taken && at < pages; at += BLOCK_UNITS)
			break_taken(zone,
				    (uint32_t)((*pfn + at) >> BLOCK_ORDER),
				    type);
	} else {
		struct block *block =
			pick_pageblock(zone, order, type, UINT32_MAX);
		uint64_t clean = 0;

		if (block)
			taken = take_pages(zone, block, order, 1, pfn,
					   &clean) == 1;
		*zero = clean & 1;
	}
	if (taken)
		give_tail(zone, (pfn_t)(*pfn + pages),
			  (UINT64_C(1) << order) - pages);
	return taken;
}

bool zone_alloc_exact(struct zone *zone, unsigned order, enum mobility type,
		      uint64_t pages, pfn_t *pfn, bool *zero)
{
	bool taken;

	zone_lock(zone);
	taken = zone_alloc_exact_locked(zone, order, type, pages, pfn, zero);
	zone_unlock(zone);
	return taken;
}

void zone_free(struct zone *zone, unsigned order, unsigned n, const pfn_t *pfns)
{
	assert_debug(n <= ZONE_BATCH && order <= QUIRE_MAX_ORDER,
		     "n %u, order %u", n, order);
	zone_lock(zone);
	for (unsigned i = 0; i < n;) {
		if (order >= BLOCK_ORDER)
			give_pageblocks(zone, order, pfns[i++]);
		else
			i += give_pages(zone, order, n - i, pfns + i);
	}
	zone_unlock(zone);
}

void zone_disown(struct zone *zone, uint32_t cpu)
{
	if (cpu >= zone->nr_owners)
		return;
	lock_zone(zone);
	for (unsigned type = 0; type < NR_MOBILITY; type++) {
		uint32_t owned = *owned_by(zone, cpu, type);

		if (owned)
			disown(zone, memmap_pageblock(zone->map, owned - 1));
	}
	zone_unlock(zone);
}

void zone_disown_all(struct zone *zone)
{
	lock_zone(zone);
	disown_all(zone);
	zone_unlock(zone);
}

/* --- init and scan --- */

size_t zone_gigablocks_bytes(pfn_t first, pfn_t end)
{
	uint64_t n = ((uint64_t)(end - 1) >> GIGABLOCK_ORDER) -
		     (first >> GIGABLOCK_ORDER) + 1;

	return (size_t)n * sizeof(struct gigablock);
}

size_t zone_owned_bytes(uint32_t owners)
{
	return (size_t)owners * NR_MOBILITY * sizeof(uint32_t);
}

/* The zone's share of a pageblock that it has only in part is broken. */
static void start_edge(struct zone *zone, uint32_t index)
{
	struct block *block = memmap_pageblock(zone->map, index);
	pfn_t pfn = (pfn_t)(index << BLOCK_ORDER);

	block->broken = true;
	for (unsigned i = 0; i < BLOCK_UNITS; i++, pfn++) {
		if (pfn >= zone->first && pfn < zone->end)
			block->free++;
		else
			block->map[i / WORD_BITS] |= UINT64_C(1)
						     << i % WORD_BITS;
	}
	count_free(zone, &zone->free_broken, block->free);
	list_update(zone, block, 0, buddy_largest_locked(block));
}

void zone_init(struct zone *zone, unsigned id, pfn_t first, pfn_t end,
	       struct memmap *map, struct gigablock *gigablocks,
	       uint32_t *owned, uint32_t owners,
	       const struct reporter *reporter)
{
	uint32_t head = first >> BLOCK_ORDER;
	uint32_t tail = (end - 1) >> BLOCK_ORDER;
	uint64_t whole = align_down(end, BLOCK_UNITS);

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
	    (uint64_t)owners * NR_MOBILITY)
		zone->nr_owners = owners;
	if (whole > align_up(first, BLOCK_UNITS))
		count_free(zone, &zone->free_whole,
			   (int64_t)(whole - align_up(first, BLOCK_UNITS)));
	if (first % BLOCK_UNITS || (end % BLOCK_UNITS && tail == head))
		start_edge(zone, head);
	if (end % BLOCK_UNITS && tail != head)
		start_edge(zone, tail);
}

void zone_runs(struct zone *zone, uint64_t runs[QUIRE_NR_ORDERS])
{
	uint32_t at = zone->first >> BLOCK_ORDER;
	uint32_t end = (zone->end - 1) >> BLOCK_ORDER;

	for (uint32_t i = 0; i < zone->nr_gigablocks; i++) {
		lock_zone(zone);
		if (zone->fresh == i)
			start_gigablock(zone, zone->fresh++);
		buddy_runs_locked(&zone->gigablocks[i].block,
				  runs + BLOCK_ORDER);
		zone_unlock(zone);
	}
	while (at <= end) {
		lock_zone(zone);
		for (unsigned i = 0; i < SCAN_BLOCKS && at <= end; i++, at++) {
			struct block *block = memmap_pageblock(zone->map, at);

			if (block->broken)
				buddy_runs_locked(block, runs);
		}
		zone_unlock(zone);
	}
}
