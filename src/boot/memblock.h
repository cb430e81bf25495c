/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The early allocator: carves an arena's tables out of its first memory,
 * before there is a page allocator to ask.
 *
 * Two sorted lists of address ranges: memory (what there is) and reserved
 * (what of it is taken). What is free is the difference. Functions return -1
 * (or NULL, or MEMBLOCK_NONE) with errno set, and then nothing has changed.
 * No lock: one thread builds an arena.
 */
#ifndef QUIRE_MEMBLOCK_H
#define QUIRE_MEMBLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/report.h"

enum { MEMBLOCK_FIXED_REGIONS = 128 };

/* No address: ranges end at UINT64_MAX at most, exclusive. */
#define MEMBLOCK_NONE UINT64_MAX

struct memblock_region {
	uint64_t base;
	uint64_t size; /* never 0 */
};

/* Regions sorted by base; between two of them there is always a gap. */
struct memblock_type {
	const char *name;
	struct memblock_region *regions; /* fixed, or carved from memblock */
	size_t count;
	size_t max;
	uint64_t total; /* bytes, sum over all regions */
	struct memblock_region fixed[MEMBLOCK_FIXED_REGIONS];
};

/* Points into itself: not to be copied. */
struct memblock {
	struct memblock_type memory;
	struct memblock_type reserved;
	/* Allocations, region arrays included, stay in [low, high). */
	uint64_t limit_low;
	uint64_t limit_high;
	bool bottom_up; /* lowest address that fits; else the highest */
	bool debug;	/* report every step */
	const struct reporter *reporter;
};

void memblock_init(struct memblock *mb, const struct reporter *reporter);

/*
 * Each makes [base, base + size) part of a list or takes it out, whatever part
 * of it was in before; size is cut where base + size would wrap, and 0 does
 * nothing. ENOMEM: a full region array found no room to double. The range
 * taken out must not hold a region array.
 */
int memblock_add(struct memblock *mb, uint64_t base, uint64_t size);
int memblock_remove(struct memblock *mb, uint64_t base, uint64_t size);
int memblock_reserve(struct memblock *mb, uint64_t base, uint64_t size,
		     const char *what);
int memblock_free(struct memblock *mb, uint64_t base, uint64_t size);

/*
 * A free range of size bytes inside [start, end) and the limits, its base a
 * multiple of align. EINVAL: size 0, align not a power of two; ENOMEM: none.
 */
uint64_t memblock_find(const struct memblock *mb, uint64_t size, uint64_t align,
		       uint64_t start, uint64_t end);

/*
 * Finds and reserves. The memory is not cleared: it is as the system gave it,
 * or as the last owner left it. Never address 0, which would read as failure.
 * Give it back with memblock_free().
 */
void *memblock_alloc(struct memblock *mb, uint64_t size, uint64_t align,
		     const char *what);
void *memblock_alloc_range(struct memblock *mb, uint64_t size, uint64_t align,
			   uint64_t start, uint64_t end, const char *what);

/*
 * Walks what is free, upwards: *cursor starts at 0; false at the end. The list
 * may change between two steps.
 */
bool memblock_next_free(const struct memblock *mb, uint64_t *cursor,
			uint64_t *base, uint64_t *size);

bool memblock_is_memory(const struct memblock *mb, uint64_t addr);
bool memblock_is_reserved(const struct memblock *mb, uint64_t addr);
uint64_t memblock_memory_size(const struct memblock *mb);
uint64_t memblock_reserved_size(const struct memblock *mb);

#define memblock_for_each_region(type, region)                                 \
	for ((region) = (type)->regions;                                       \
	     (region) < (type)->regions + (type)->count; (region)++)

#endif
