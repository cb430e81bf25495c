/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory map: pfn <-> page <-> address <-> offset.
 *
 * Its tables are indexed by pfn but exist only for the region's own pfns: the
 * pointers are biased by the first one. They refer to pages by pfn alone. The
 * pageblock table lies in descending order: its first entry can then be next to
 * the first descriptor, however long both tables are.
 */
#ifndef QUIRE_MEMMAP_H
#define QUIRE_MEMMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "map/page.h"
#include "map/pageblock.h"

/* A range of managed pages. (c) throughout */
struct region {
	pfn_t first, end; /* [first, end) */
	uint64_t base;	  /* address or offset of pfn 0 */
	bool mapped;	  /* base is an address */
	bool known_zero;  /* memory read as zero when the allocator began */
};

struct memmap {
	struct quire_page *pages; /* (c) biased: pages[pfn] */
	uint64_t nr_pages;	  /* (c) of the region */
	struct region region;	  /* the region table: one region today */
	struct block *pageblocks; /* (c) biased: pageblocks[-(pfn >> 9)] */
	uint64_t *privates;	  /* (c) biased: privates[pfn], the owner's */
};

/* Bytes of the tables for a region. */
size_t memmap_pages_bytes(const struct region *region);
size_t memmap_privates_bytes(const struct region *region);
size_t memmap_pageblocks_bytes(const struct region *region);
/*
 * Takes zero-filled memory of those sizes. Nothing is written: zero-filled
 * means free and never touched.
 */
void memmap_init(struct memmap *map, const struct region *region, void *pages,
		 void *privates, void *pageblocks);

static inline struct quire_page *memmap_page(const struct memmap *map,
					     pfn_t pfn)
{
	return map->pages + pfn;
}

static inline bool memmap_has_pfn(const struct memmap *map, uint64_t pfn)
{
	return pfn >= map->region.first && pfn < map->region.end;
}

/*
 * The pfn of any pointer; false if it does not point at a descriptor of this
 * map: a rotation by the descriptor's size brings stray low bits to the top, so
 * one comparison refuses both misaligned and foreign pointers.
 */
static always_inline bool memmap_find(const struct memmap *map,
				      const struct quire_page *page, pfn_t *pfn)
{
	uint64_t distance = (uintptr_t)page - (uintptr_t)map->pages;
	uint64_t found = distance >> 3 | distance << 61;

	*pfn = (pfn_t)found;
	return likely(found - map->region.first < map->nr_pages);
}

/* The same, PFN_NONE for none. */
static inline pfn_t memmap_pfn(const struct memmap *map,
			       const struct quire_page *page)
{
	pfn_t pfn;

	return memmap_find(map, page, &pfn) ? pfn : PFN_NONE;
}

static inline void *memmap_virt(const struct memmap *map, pfn_t pfn)
{
	return (void *)(uintptr_t)(map->region.base +
				   ((uint64_t)pfn << QUIRE_PAGE_SHIFT));
}

static inline struct block *memmap_pageblock(const struct memmap *map,
					     uint32_t index)
{
	return map->pageblocks - index;
}

static inline uint32_t memmap_pageblock_index(const struct memmap *map,
					      const struct block *block)
{
	return (uint32_t)(((uintptr_t)map->pageblocks - (uintptr_t)block) /
			  sizeof(*block));
}

#endif
