/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory map: see memmap.h. The tables' memory is the caller's (carved by
 * memblock); here is only where each lies.
 */
#include "map/memmap.h"

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

size_t memmap_privates_bytes(const struct region *region)
{
	return (size_t)(region->end - region->first) * sizeof(uint64_t);
}

size_t memmap_pageblocks_bytes(const struct region *region)
{
	return (size_t)nr_pageblocks(region) * sizeof(struct block);
}

/* Pointers so that entry [first] of a table is where it is; never dereferenced
 * outside it. */
void memmap_init(struct memmap *map, const struct region *region, void *pages,
		 void *privates, void *pageblocks)
{
	uint64_t first = region->first;
	uint64_t last = first_pageblock(region) + nr_pageblocks(region) - 1;

	map->region = *region;
	map->nr_pages = region->end - region->first;
	map->pages = (void *)((uintptr_t)pages -
			      (uintptr_t)(first * sizeof(*map->pages)));
	map->privates = (void *)((uintptr_t)privates -
				 (uintptr_t)(first * sizeof(*map->privates)));
	map->pageblocks = (void *)((uintptr_t)pageblocks +
				   (uintptr_t)(last * sizeof(struct block)));
}
