/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The invariants of zone.c, checked one by one from the tables as they are. All
 * is recomputed the obvious way: bit by bit, entry by entry. Floor 4.
 */
#include "buddy.h"
#include "zone.h"

struct check {
	struct zone *zone;
	unsigned violations;
	uint64_t whole, broken; /* free pages seen */
	uint64_t listed_blocks; /* entries that say they are on a list */
	uint64_t listed_gigablocks;
};

#define violation(check, ...)                                                  \
	do {                                                                   \
		report((check)->zone->reporter, "validate: " __VA_ARGS__);     \
		(check)->violations++;                                         \
	} while (0)

static bool bit_is_set(const uint64_t *map, unsigned unit)
{
	return map[unit / WORD_BITS] >> unit % WORD_BITS & 1;
}

static const struct gigablock *gigablock_at(const struct zone *zone,
					    uint32_t pageblock)
{
	return &zone->gigablocks[(pageblock >> BLOCK_ORDER) -
				 (zone->first >> GIGABLOCK_ORDER)];
}

static bool lies_inside(const struct zone *zone, uint32_t pageblock)
{
	uint64_t first = (uint64_t)pageblock << BLOCK_ORDER;

	return first >= zone->first && first + BLOCK_UNITS <= zone->end;
}

static bool pageblock_is_whole(const struct zone *zone, uint32_t pageblock)
{
	const struct gigablock *giga = gigablock_at(zone, pageblock);

	return lies_inside(zone, pageblock) &&
	       !bit_is_set(giga->block.map, pageblock % BLOCK_UNITS);
}

bool zone_page_is_free(struct zone *zone, pfn_t pfn)
{
	const struct block *block =
		memmap_pageblock(zone->map, pfn >> BLOCK_ORDER);

	if (pageblock_is_whole(zone, pfn >> BLOCK_ORDER))
		return true;
	return block->broken && !bit_is_set(block->map, pfn % BLOCK_UNITS);
}

bool zone_pageblock_is_untouched(struct zone *zone, pfn_t pfn)
{
	uint32_t pageblock = pfn >> BLOCK_ORDER;

	return pageblock_is_whole(zone, pageblock) &&
	       !bit_is_set(gigablock_at(zone, pageblock)->touched,
			   pageblock % BLOCK_UNITS);
}

/* What holds for any entry in use; `name` and index say which. */
static void check_entry(struct check *check, const struct block *block,
			const char *name, uint32_t index)
{
	unsigned clear = 0;
	bool listed = block->bucket != 0;

	for (unsigned i = 0; i < BLOCK_UNITS; i++)
		clear += !bit_is_set(block->map, i);
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
	if (block->type >= NR_MOBILITY)
		violation(check, "%s %u: type %u", name, index, block->type);
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
	check->broken += block->free;
	check->listed_blocks += block->bucket != 0;
	if (block->free == BLOCK_UNITS)
		violation(check, "pageblock %u: broken, but wholly free",
			  index);
	for (unsigned i = 0; i < BLOCK_UNITS; i++, pfn++) {
		bool exists = pfn >= zone->first && pfn < zone->end;
		bool used = bit_is_set(block->map, i);

		if (!exists && !used)
			violation(check, "pfn %llu: free, but not in zone %u",
				  (unsigned long long)pfn, zone->id);
		if (exists && used && !(block->touched >> i / 8 & 1))
			violation(check, "pfn %llu: in use, but untouched",
				  (unsigned long long)pfn);
	}
	if (block->owner &&
	    zone->owned[(block->owner - 1u) * NR_MOBILITY + block->type] !=
		    index + 1)
		violation(check, "pageblock %u: owner %u does not know it",
			  index, block->owner);
}

static void check_gigablock(struct check *check, uint32_t index)
{
	struct zone *zone = check->zone;
	const struct block *block = &zone->gigablocks[index].block;
	uint32_t pageblock = ((zone->first >> GIGABLOCK_ORDER) + index)
			     << BLOCK_ORDER;

	if (index >= zone->fresh) {
		for (unsigned w = 0; w < BLOCK_WORDS; w++)
			if (block->map[w] || zone->gigablocks[index].touched[w])
				violation(check,
					  "gigablock %u: used, but "
					  "not started",
					  index);
		return;
	}
	check_entry(check, block, "gigablock", index);
	check->listed_gigablocks += block->bucket != 0;
	for (unsigned i = 0; i < BLOCK_UNITS; i++)
		if (!lies_inside(zone, pageblock + i) &&
		    !bit_is_set(block->map, i))
			violation(check,
				  "pageblock %u: whole, but not all in "
				  "zone %u",
				  pageblock + i, zone->id);
}

/* Walks one list; returns its entries. */
static uint64_t check_list(struct check *check, unsigned type, unsigned order,
			   unsigned bucket)
{
	struct zone *zone = check->zone;
	unsigned level = order < BLOCK_ORDER ? 0 : BLOCK_ORDER;
	uint32_t before = 0;
	uint32_t link = zone->lists[type].head[order][bucket];
	bool marked = zone->lists[type].buckets[order] >> bucket & 1;
	uint64_t n = 0;

	if (marked != (link != 0))
		violation(check, "list %u/%u/%u: mask %d, head %u", type, order,
			  bucket, marked, link);
	while (link) {
		const struct block *block =
			level ? &zone->gigablocks[link - 1].block
			      : memmap_pageblock(zone->map, link - 1);

		if (block->prev != before || block->type != type ||
		    level + block->largest - 1 != order ||
		    block->bucket != bucket + 1)
			violation(check,
				  "list %u/%u/%u: entry %u has prev %u for %u, "
				  "type %u, largest %u, bucket %u",
				  type, order, bucket, link - 1, block->prev,
				  before, block->type, block->largest,
				  block->bucket);
		before = link;
		link = block->next;
		if (++n > UINT32_MAX)
			break;
	}
	return n;
}

static void check_lists(struct check *check)
{
	uint64_t blocks = 0, gigablocks = 0;

	for (unsigned type = 0; type < NR_MOBILITY; type++)
		for (unsigned order = 0; order < QUIRE_NR_ORDERS; order++) {
			const struct zone_lists *l = &check->zone->lists[type];
			bool marked = l->orders >> order & 1;

			if (marked != (l->buckets[order] != 0))
				violation(check,
					  "lists %u/%u: mask %d, "
					  "buckets 0x%x",
					  type, order, marked,
					  l->buckets[order]);
			for (unsigned b = 0; b < NR_BUCKETS; b++)
				*(order < BLOCK_ORDER ? &blocks
						      : &gigablocks) +=
					check_list(check, type, order, b);
		}
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

	for (uint32_t i = 0; i < zone->nr_owners * NR_MOBILITY; i++) {
		uint32_t link = zone->owned[i];

		if (link && memmap_pageblock(zone->map, link - 1)->owner !=
				    i / NR_MOBILITY + 1)
			violation(check, "owner %u: pageblock %u is not its",
				  i / NR_MOBILITY, link - 1);
	}
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
	if (check.whole != zone->free_whole ||
	    check.broken != zone->free_broken ||
	    check.whole + check.broken != zone_free_pages(zone))
		violation(&check,
			  "zone %u: counts %llu whole + %llu broken = %llu "
			  "free, tables sum to %llu + %llu",
			  zone->id, (unsigned long long)zone->free_whole,
			  (unsigned long long)zone->free_broken,
			  (unsigned long long)zone_free_pages(zone),
			  (unsigned long long)check.whole,
			  (unsigned long long)check.broken);
	return check.violations;
}
