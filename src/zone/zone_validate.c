/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The invariants of zone.c, checked one by one from the tables as they are. All
 * is recomputed the obvious way: bit by bit, entry by entry.
 */
#include "base/report.h"
#include "zone/buddy.h"
#include "zone/zone_impl.h"

struct check {
	struct zone *zone;
	unsigned violations;
	uint64_t whole, type[QUIRE_NR_TYPES]; /* free pages seen */
	uint32_t highatomic;		      /* blocks of that type */
	uint64_t listed_blocks; /* entries that say they are on a list */
	uint64_t listed_gigablocks;
};

#define violation(check, ...)                                                  \
	do {                                                                   \
		report((check)->zone->reporter, "validate: " __VA_ARGS__);     \
		(check)->violations++;                                         \
	} while (0)

static bool lies_inside(const struct zone *zone, uint32_t pageblock)
{
	uint64_t first = (uint64_t)pageblock << BLOCK_ORDER;

	return first >= zone->first && first + BLOCK_UNITS <= zone->end;
}

static bool pageblock_is_whole(const struct zone *zone, uint32_t pageblock)
{
	const struct gigablock *giga = gigablock_of(zone, pageblock);

	return lies_inside(zone, pageblock) &&
	       !map_has_bit(giga->block.map, pageblock % BLOCK_UNITS);
}

bool zone_page_is_free(struct zone *zone, pfn_t pfn)
{
	const struct block *block =
		memmap_pageblock(zone->map, pfn >> BLOCK_ORDER);

	if (pageblock_is_whole(zone, pfn >> BLOCK_ORDER))
		return true;
	return block->broken && !map_has_bit(block->map, pfn % BLOCK_UNITS);
}

bool zone_pageblock_is_untouched(struct zone *zone, pfn_t pfn)
{
	uint32_t pageblock = pfn >> BLOCK_ORDER;

	return pageblock_is_whole(zone, pageblock) &&
	       !map_has_bit(gigablock_of(zone, pageblock)->touched,
			    pageblock % BLOCK_UNITS);
}

/* What holds for any entry in use; `name` and index say which. */
static void check_entry(struct check *check, const struct block *block,
			const char *name, uint32_t index)
{
	unsigned clear = 0;
	bool listed = block->bucket != 0;

	for (unsigned i = 0; i < BLOCK_UNITS; i++)
		clear += !map_has_bit(block->map, i);
	if (clear != block->free)
		violation(check, "%s %u: free %u, %u bits are clear", name,
			  index, block->free, clear);
	if (buddy_largest_locked(block) != block->largest)
		violation(check, "%s %u: largest %u, recomputed %u", name,
			  index, block->largest, buddy_largest_locked(block));
	if (listed != (block->free && !block->owner))
		violation(check, "%s %u: list %u, free %u, owner %u", name,
			  index, block->bucket, block->free, block->owner);
	if (listed && (block->free - 1u) / (BLOCK_UNITS / NR_BUCKETS) + 1 !=
			      block->bucket)
		violation(check, "%s %u: bucket %u, free %u", name, index,
			  block->bucket, block->free);
	if (block->type >= QUIRE_NR_TYPES ||
	    (block->owner && block->type >= NR_CALL_TYPES))
		violation(check, "%s %u: type %u, owner %u", name, index,
			  block->type, block->owner);
}

static void check_pageblock(struct check *check, uint32_t index)
{
	struct zone *zone = check->zone;
	const struct block *block = memmap_pageblock(zone->map, index);
	uint64_t pfn = (uint64_t)index << BLOCK_ORDER;

	if (pageblock_is_whole(zone, index)) {
		check->whole += BLOCK_UNITS;
		if (block->broken)
			violation(check, "pageblock %u: whole and broken",
				  index);
		return;
	}
	if (!block->broken)
		return;
	check_entry(check, block, "pageblock", index);
	check->type[block->type % QUIRE_NR_TYPES] += block->free;
	check->highatomic += block->type == QUIRE_TYPE_HIGHATOMIC;
	check->listed_blocks += block->bucket != 0;
	if (block->free == BLOCK_UNITS && block->type < NR_CALL_TYPES)
		violation(check, "pageblock %u: broken, but wholly free",
			  index);
	for (unsigned i = 0; i < BLOCK_UNITS; i++, pfn++) {
		bool exists = pfn >= zone->first && pfn < zone->end;
		bool used = map_has_bit(block->map, i);

		if (!exists && !used)
			violation(check, "pfn %llu: free, but not in zone %u",
				  (unsigned long long)pfn, zone->id);
		if (exists && used && !(block->touched >> i / 8 & 1))
			violation(check, "pfn %llu: in use, but untouched",
				  (unsigned long long)pfn);
	}
	if (block->owner &&
	    zone->owned[(block->owner - 1u) * NR_CALL_TYPES + block->type] !=
		    index + 1)
		violation(check, "pageblock %u: owner %u does not know it",
			  index, block->owner);
}

static void check_gigablock(struct check *check, uint32_t index)
{
	struct zone *zone = check->zone;
	const struct block *block = &zone->gigablocks[index].block;
	uint32_t pageblock = (zone_first_gigablock(zone) + index)
			     << BLOCK_ORDER;

	if (index >= zone->fresh) {
		for (unsigned w = 0; w < BLOCK_WORDS; w++)
			if (block->map[w] ||
			    zone->gigablocks[index].touched[w] ||
			    zone->gigablocks[index].idle[w])
				violation(check,
					  "gigablock %u: used, but "
					  "not started",
					  index);
		return;
	}
	check_entry(check, block, "gigablock", index);
	check->listed_gigablocks += block->bucket != 0;
	for (unsigned i = 0; i < BLOCK_UNITS; i++) {
		bool whole = !map_has_bit(block->map, i);

		if (whole && !lies_inside(zone, pageblock + i))
			violation(check,
				  "pageblock %u: whole, but not all in "
				  "zone %u",
				  pageblock + i, zone->id);
		if (!whole && map_has_bit(zone->gigablocks[index].idle, i))
			violation(check, "pageblock %u: idle, but in use",
				  pageblock + i);
	}
}

/* Walks one list of pageblocks (level 0) or gigablocks; returns its entries. */
static uint64_t check_list(struct check *check, const struct zone_lists *lists,
			   unsigned level, unsigned type, unsigned order,
			   unsigned bucket)
{
	struct zone *zone = check->zone;
	uint32_t before = 0;
	uint32_t link = lists->head[order][bucket];
	bool marked = lists->buckets[order] >> bucket & 1;
	uint64_t n = 0;

	if (marked != (link != 0))
		violation(check, "list %u/%u/%u: mask %d, head %u", type,
			  level + order, bucket, marked, link);
	while (link) {
		const struct block *block =
			level ? &zone->gigablocks[link - 1].block
			      : memmap_pageblock(zone->map, link - 1);

		if (block->prev != before || block->type != type ||
		    block->largest - 1u != order || block->bucket != bucket + 1)
			violation(check,
				  "list %u/%u/%u: entry %u has prev %u for %u, "
				  "type %u, largest %u, bucket %u",
				  type, level + order, bucket, link - 1,
				  block->prev, before, block->type,
				  block->largest, block->bucket);
		before = link;
		link = block->next;
		if (++n > UINT32_MAX)
			break;
	}
	return n;
}

/* All lists of a type, or of gigablocks; returns their entries. */
static uint64_t check_type_lists(struct check *check,
				 const struct zone_lists *lists, unsigned level,
				 unsigned type)
{
	uint64_t entries = 0;

	for (unsigned order = 0; order <= BLOCK_ORDER; order++) {
		bool marked = lists->orders >> order & 1;

		if (marked != (lists->buckets[order] != 0))
			violation(check, "lists %u/%u: mask %d, buckets 0x%x",
				  type, level + order, marked,
				  lists->buckets[order]);
		for (unsigned b = 0; b < NR_BUCKETS; b++)
			entries +=
				check_list(check, lists, level, type, order, b);
	}
	return entries;
}

static void check_lists(struct check *check)
{
	struct zone *zone = check->zone;
	uint64_t blocks = 0, gigablocks;

	for (unsigned type = 0; type < QUIRE_NR_TYPES; type++)
		blocks += check_type_lists(check, &zone->lists[type], 0, type);
	gigablocks =
		check_type_lists(check, &zone->gigablock_lists, BLOCK_ORDER, 0);
	if (blocks != check->listed_blocks ||
	    gigablocks != check->listed_gigablocks)
		violation(check,
			  "lists hold %llu pageblocks and %llu gigablocks, "
			  "%llu and %llu say they are listed",
			  (unsigned long long)blocks,
			  (unsigned long long)gigablocks,
			  (unsigned long long)check->listed_blocks,
			  (unsigned long long)check->listed_gigablocks);
}

static void check_owners(struct check *check)
{
	struct zone *zone = check->zone;

	for (uint32_t i = 0; i < zone->nr_owners * NR_CALL_TYPES; i++) {
		uint32_t link = zone->owned[i];

		if (link && memmap_pageblock(zone->map, link - 1)->owner !=
				    i / NR_CALL_TYPES + 1)
			violation(check, "owner %u: pageblock %u is not its",
				  i / NR_CALL_TYPES, link - 1);
	}
}

static void check_counts(struct check *check)
{
	struct zone *zone = check->zone;
	uint64_t sum = check->whole;

	for (unsigned type = 0; type < QUIRE_NR_TYPES; type++) {
		sum += check->type[type];
		if (check->type[type] != zone->free_type[type])
			violation(check,
				  "zone %u: type %u counts %u free pages, its "
				  "blocks have %llu",
				  zone->id, type, zone->free_type[type],
				  (unsigned long long)check->type[type]);
	}
	if (check->whole != zone->free_whole || sum != zone_free_pages(zone) ||
	    check->highatomic != zone->highatomic)
		violation(check,
			  "zone %u: counts %u whole, %llu free, %u high-atomic "
			  "blocks; tables sum to %llu, %llu, %u",
			  zone->id, zone->free_whole,
			  (unsigned long long)zone_free_pages(zone),
			  zone->highatomic, (unsigned long long)check->whole,
			  (unsigned long long)sum, check->highatomic);
}

unsigned zone_validate(struct zone *zone)
{
	struct check check = { .zone = zone };

	for (uint32_t i = 0; i < zone->nr_gigablocks; i++)
		check_gigablock(&check, i);
	for (uint32_t i = zone->first >> BLOCK_ORDER;
	     i <= (zone->end - 1) >> BLOCK_ORDER; i++)
		check_pageblock(&check, i);
	check_lists(&check);
	check_owners(&check);
	check_counts(&check);
	return check.violations;
}
