/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory map: see memmap.h. The tables' memory is the caller's (carved by
 * memblock); here is only where each lies.
 */
#include "memmap.h"

static uint32_t first_pageblock(const struct region *region)
{
	return region->first >> BLOCK_ORDER;
}

static uint64_t nr_pageblocks(const struct region *region)
{
	return ((region->end - 1) >> BLOCK_ORDER) - first_pageblock(region) + 1;
}

size_t memmap_pages_bytes(const struct region *region)
{
	return (size_t)(region->end - region->first) *
	       sizeof(struct quire_page);
}

size_t memmap_pageblocks_bytes(const struct region *region)
{
	return (size_t)nr_pageblocks(region) * sizeof(struct block);
}

/* A table's pointer so that [first] is its first entry; never dereferenced
 * below that. */
static void *biased(void *table, uint64_t first, size_t entry)
{
	return (void *)((uintptr_t)table - (uintptr_t)(first * entry));
}

void memmap_init(struct memmap *map, const struct region *region, void *pages,
		 void *pageblocks)
{
	map->region = *region;
	map->nr_pages = region->end - region->first;
	map->pages = biased(pages, region->first, sizeof(*map->pages));
	map->pageblocks = biased(pageblocks, first_pageblock(region),
				 sizeof(*map->pageblocks));
}
