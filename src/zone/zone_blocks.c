/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A zone's blocks: their entries, the lists they are on, the zone's counts, and
 * which CPU owns which block.
 *
 * Pages that are taken or come back change their block's entry, the list that
 * goes with its free units and its largest order, and the counts. Only this
 * file writes these. So the invariants of zone.c hold whenever a function of
 * this file returns, but for a pageblock that was just broken: it is on no list
 * until pages are taken from it.
 *
 * Locks: the zone lock, which the caller holds; zone_blocks_init() runs before
 * anybody is inside.
 */
#include "base/report.h"
#include "zone/buddy.h"
#include "zone/zone_impl.h"

/* --- counts --- */

static void count_all(struct zone *zone, int64_t pages)
{
	atomic_store_explicit(&zone->free,
			      zone_free_pages(zone) + (uint64_t)pages,
			      memory_order_relaxed);
}

static void count_free(struct zone *zone, uint32_t *where, int64_t pages)
{
	*where += (uint32_t)pages;
	count_all(zone, pages);
}

/* --- entries --- */

/* `level` says what a list's entries are: 0 pageblocks, BLOCK_ORDER
 * gigablocks. */
static struct block *entry_at(struct zone *zone, unsigned level, uint32_t index)
{
	if (level == 0)
		return memmap_pageblock(zone->map, index);
	return &zone->gigablocks[index].block;
}

static uint32_t entry_index(struct zone *zone, unsigned level,
			    const struct block *block)
{
	if (level == 0)
		return memmap_pageblock_index(zone->map, block);
	return (uint32_t)((const struct gigablock *)(const void *)block -
			  zone->gigablocks);
}

/* --- lists --- */

static struct zone_lists *lists_of(struct zone *zone, const struct block *block,
				   unsigned level)
{
	return level == 0 ? &zone->lists[block->type] : &zone->gigablock_lists;
}

static unsigned bucket_of(const struct block *block)
{
	return (block->free - 1u) / (BLOCK_UNITS / NR_BUCKETS);
}

static void list_add(struct zone *zone, struct block *block, unsigned level)
{
	struct zone_lists *lists = lists_of(zone, block, level);
	unsigned order = block->largest - 1u;
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
	struct zone_lists *lists = lists_of(zone, block, level);
	unsigned order = block->largest - 1u;
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

static noinline void list_move(struct zone *zone, struct block *block,
			       unsigned level, unsigned largest)
{
	if (block->bucket)
		list_remove(zone, block, level);
	block->largest = (uint8_t)largest;
	if (block->free && !block->owner)
		list_add(zone, block, level);
}

/*
 * After a block's free units or largest order changed: the new largest, and the
 * list that goes with it. A block that is on no list has bucket 0.
 */
static inline void list_update(struct zone *zone, struct block *block,
			       unsigned level, unsigned largest)
{
	bool stays = block->largest == largest && block->free &&
		     bucket_of(block) + 1 == block->bucket;

	if (!stays)
		list_move(zone, block, level, largest);
}

/* --- gigablocks: orders 9 to 18 --- */

/* Sets the bits of pageblocks that do not lie wholly inside the zone. */
static void start_gigablock(struct zone *zone, uint32_t index)
{
	struct block *block = &zone->gigablocks[index].block;
	uint64_t unit = (uint64_t)(zone_first_gigablock(zone) + index)
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

struct gigablock *zone_gigablock_locked(struct zone *zone, uint32_t pageblock)
{
	struct gigablock *giga = gigablock_of(zone, pageblock);

	assert_debug(lock_held(&zone->lock), "zone %u: not locked", zone->id);
	while (giga >= zone->gigablocks + zone->fresh)
		start_gigablock(zone, zone->fresh++);
	return giga;
}

/* The gigablock that serves this order, 9 to 18. */
static struct gigablock *pick_gigablock(struct zone *zone, unsigned order)
{
	const struct zone_lists *lists = &zone->gigablock_lists;
	uint32_t fits;

	order -= BLOCK_ORDER;
	while ((fits = lists->orders >> order << order) == 0) {
		if (zone->fresh == zone->nr_gigablocks)
			return NULL;
		start_gigablock(zone, zone->fresh++);
	}
	order = bits_lowest(fits);
	return &zone->gigablocks[lists->head[order][bits_lowest(
					 lists->buckets[order])] -
				 1];
}

/* A run of pageblocks is handed out; true if none of it was before. */
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
		giga->idle[unit / WORD_BITS] &= ~bits;
		unit += here;
		n -= here;
	}
	return before == 0 && zone->map->region.known_zero;
}

bool zone_alloc_run_locked(struct zone *zone, unsigned order, pfn_t *pfn,
			   bool *zero)
{
	struct gigablock *giga = pick_gigablock(zone, order);
	struct buddy_part part;
	unsigned largest, unit, nr;

	assert_debug(lock_held(&zone->lock), "zone %u: not locked", zone->id);
	if (!giga)
		return false;
	largest = buddy_take_locked(&giga->block, order - BLOCK_ORDER, 1, &part,
				    &nr);
	unit = part.word * WORD_BITS + bits_lowest(part.starts);
	list_update(zone, &giga->block, BLOCK_ORDER, largest);
	count_free(zone, &zone->free_whole, -(INT64_C(1) << order));
	*zero = touch_pageblocks(zone, giga, unit, 1u << (order - BLOCK_ORDER));
	*pfn = (pfn_t)(((uint64_t)(zone_first_gigablock(zone) +
				   (giga - zone->gigablocks))
			<< GIGABLOCK_ORDER) +
		       (unit << BLOCK_ORDER));
	return true;
}

void zone_free_run_locked(struct zone *zone, unsigned order, pfn_t pfn)
{
	uint32_t pageblock = pfn >> BLOCK_ORDER;
	struct block *block = &gigablock_of(zone, pageblock)->block;

	list_update(zone, block, BLOCK_ORDER,
		    buddy_give_locked(block, pageblock % BLOCK_UNITS,
				      order - BLOCK_ORDER));
	count_free(zone, &zone->free_whole, INT64_C(1) << order);
}

void zone_take_whole_locked(struct zone *zone, uint32_t pageblock)
{
	struct block *block = &gigablock_of(zone, pageblock)->block;

	list_update(zone, block, BLOCK_ORDER,
		    buddy_take_unit_locked(block, pageblock % BLOCK_UNITS));
	count_free(zone, &zone->free_whole, -(int64_t)BLOCK_UNITS);
}

void zone_give_whole_locked(struct zone *zone, uint32_t pageblock)
{
	zone_free_run_locked(zone, BLOCK_ORDER,
			     (pfn_t)(pageblock << BLOCK_ORDER));
}

/* --- pageblocks: orders 0 to 8 --- */

/* Takes an entry into use; free and touched are the caller's to set. */
static void start_pageblock(struct block *block, enum quire_mobility type,
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

/* A pageblock that just was whole: broken, all its pages free, on no list. */
static struct block *start_whole(struct zone *zone, pfn_t pfn, bool zero,
				 enum quire_mobility type)
{
	struct block *block = memmap_pageblock(zone->map, pfn >> BLOCK_ORDER);

	block->touched = zero ? 0 : ~UINT64_C(0);
	start_pageblock(block, type, 0);
	block->free = BLOCK_UNITS;
	block->largest = BLOCK_ORDER + 1;
	count_free(zone, &zone->free_type[type], BLOCK_UNITS);
	return block;
}

struct block *pageblock_break_locked(struct zone *zone,
				     enum quire_mobility type)
{
	bool zero;
	pfn_t pfn;

	if (!zone_alloc_run_locked(zone, BLOCK_ORDER, &pfn, &zero))
		return NULL;
	return start_whole(zone, pfn, zero, type);
}

void pageblock_keep_locked(struct zone *zone, uint32_t pageblock,
			   enum quire_mobility type)
{
	struct gigablock *giga = gigablock_of(zone, pageblock);
	unsigned unit = pageblock % BLOCK_UNITS;
	struct block *block;

	zone_take_whole_locked(zone, pageblock);
	block = start_whole(zone, (pfn_t)(pageblock << BLOCK_ORDER),
			    touch_pageblocks(zone, giga, unit, 1), type);
	zone->highatomic += type == QUIRE_TYPE_HIGHATOMIC;
	list_add(zone, block, 0);
}

void pageblock_break_taken_locked(struct zone *zone, uint32_t pageblock,
				  enum quire_mobility type)
{
	struct block *block = memmap_pageblock(zone->map, pageblock);

	start_pageblock(block, type, ~UINT64_C(0));
	block->touched = ~UINT64_C(0);
	block->free = 0;
}

void pageblock_return_locked(struct zone *zone, struct block *block)
{
	uint32_t index = memmap_pageblock_index(zone->map, block);

	if (block->bucket)
		list_remove(zone, block, 0);
	block->broken = false;
	count_free(zone, &zone->free_type[block->type], -(int64_t)BLOCK_UNITS);
	zone_free_run_locked(zone, BLOCK_ORDER, (pfn_t)(index << BLOCK_ORDER));
}

/* --- owned blocks and types --- */

void pageblock_disown_locked(struct zone *zone, struct block *block)
{
	*zone_owned(zone, block->owner - 1u, block->type) = 0;
	block->owner = 0;
	list_update(zone, block, 0, block->largest);
}

void pageblock_own_locked(struct zone *zone, struct block *block, uint32_t cpu)
{
	list_remove(zone, block, 0);
	block->owner = (uint16_t)(cpu + 1);
	*zone_owned(zone, cpu, block->type) =
		memmap_pageblock_index(zone->map, block) + 1;
}

void zone_disown_all_locked(struct zone *zone)
{
	for (uint32_t i = 0; i < zone->nr_owners * NR_CALL_TYPES; i++)
		if (zone->owned[i])
			pageblock_disown_locked(
				zone, memmap_pageblock(zone->map,
						       zone->owned[i] - 1));
}

void pageblock_set_type_locked(struct zone *zone, struct block *block,
			       enum quire_mobility type)
{
	assert_debug(lock_held(&zone->lock), "zone %u: not locked", zone->id);
	if (block->bucket)
		list_remove(zone, block, 0);
	zone->free_type[block->type] -= block->free;
	zone->free_type[type] += block->free;
	zone->highatomic += type == QUIRE_TYPE_HIGHATOMIC;
	zone->highatomic -= block->type == QUIRE_TYPE_HIGHATOMIC;
	block->type = (uint8_t)type;
	list_update(zone, block, 0, block->largest);
}

/* --- pages that leave a block or come back --- */

/*
 * Marks the pages of a part as touched, in groups of 8; the starts of blocks of
 * which no group was touched in `before`, as the block was when this hold of
 * the lock began: neighbours of one batch do not spoil each other.
 */
static uint64_t touch_pages(struct zone *zone, struct block *block,
			    uint64_t before, unsigned order,
			    const struct buddy_part *part)
{
	unsigned at = part->word * (WORD_BITS / 8);
	uint64_t groups, spoilt;

	if (before == ~UINT64_C(0))
		return 0;
	if (order < WORD_SHIFT) {
		groups = bits_of_bytes(bits_fill(part->starts, order));
		block->touched |= groups << at;
		spoilt = bytes_of_bits(before >> at & 0xff);
		spoilt = part->starts & ~bits_runs(~spoilt, order);
	} else {
		groups = bits_range(at, 1u << (order - 3));
		block->touched |= groups;
		spoilt = before & groups ? part->starts : 0;
	}
	return zone->map->region.known_zero ? part->starts & ~spoilt : 0;
}

unsigned pageblock_alloc_locked(struct zone *zone, struct block *block,
				unsigned order, unsigned n,
				struct zone_part *parts)
{
	pfn_t first = (pfn_t)(memmap_pageblock_index(zone->map, block)
			      << BLOCK_ORDER);
	struct buddy_part taken[BUDDY_PARTS];
	uint64_t before = block->touched;
	unsigned free = block->free, nr;
	unsigned largest = buddy_take_locked(block, order, n, taken, &nr);

	assert_debug(lock_held(&zone->lock), "zone %u: not locked", zone->id);
	for (unsigned i = 0; i < nr; i++)
		parts[i] = (struct zone_part){
			.base = first + taken[i].word * WORD_BITS,
			.starts = taken[i].starts,
			.zero = touch_pages(zone, block, before, order,
					    &taken[i]),
		};
	count_free(zone, &zone->free_type[block->type],
		   (int64_t)block->free - (int64_t)free);
	list_update(zone, block, 0, largest);
	if (block->owner && block->free == 0)
		pageblock_disown_locked(zone, block);
	return nr;
}

static noinline void whole_again(struct zone *zone, struct block *block)
{
	if (block->owner) {
		*zone_owned(zone, block->owner - 1u, block->type) = 0;
		block->owner = 0;
	}
	pageblock_return_locked(zone, block);
}

/* After pages came back. */
static always_inline void pages_given(struct zone *zone, struct block *block,
				      unsigned largest)
{
	if (block->free == BLOCK_UNITS && block->type < NR_CALL_TYPES)
		whole_again(zone, block);
	else
		list_update(zone, block, 0, largest);
}

/* The zone has counted its pages already. */
static void give_word(struct zone *zone, const struct zone_free_word *word)
{
	struct block *block =
		memmap_pageblock(zone->map, word->base >> BLOCK_ORDER);

	zone->free_type[block->type] += word->n;
	pages_given(zone, block,
		    buddy_give_word_locked(block,
					   word->base % BLOCK_UNITS / WORD_BITS,
					   word->units, word->n));
}

void pageblock_free_locked(struct zone *zone, unsigned order, pfn_t pfn)
{
	struct block *block = memmap_pageblock(zone->map, pfn >> BLOCK_ORDER);

	assert_debug(lock_held(&zone->lock), "zone %u: not locked", zone->id);
	count_free(zone, &zone->free_type[block->type], INT64_C(1) << order);
	pages_given(zone, block,
		    buddy_give_locked(block, pfn % BLOCK_UNITS, order));
}

void zone_free_words_locked(struct zone *zone,
			    const struct zone_free_word *words, unsigned nr,
			    int64_t pages)
{
	assert_debug(lock_held(&zone->lock), "zone %u: not locked", zone->id);
	count_all(zone, pages);
	for (unsigned i = 0; i < nr; i++)
		give_word(zone, &words[i]);
}

/* --- init --- */

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
	count_free(zone, &zone->free_type[block->type], block->free);
	list_update(zone, block, 0, buddy_largest_locked(block));
}

void zone_blocks_init(struct zone *zone)
{
	pfn_t first = zone->first, end = zone->end;
	uint32_t head = first >> BLOCK_ORDER;
	uint32_t tail = (end - 1) >> BLOCK_ORDER;
	uint64_t whole = align_down(end, BLOCK_UNITS);

	if (whole > align_up(first, BLOCK_UNITS))
		count_free(zone, &zone->free_whole,
			   (int64_t)(whole - align_up(first, BLOCK_UNITS)));
	if (first % BLOCK_UNITS || (end % BLOCK_UNITS && tail == head))
		start_edge(zone, head);
	if (end % BLOCK_UNITS && tail != head)
		start_edge(zone, tail);
}
