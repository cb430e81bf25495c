/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The early allocator.
 *
 * Model. A list is a set of addresses, kept as sorted regions with a gap
 * between any two. Adding a range replaces all regions it overlaps or touches
 * by one; taking a range out cuts at most one region in two. So either step
 * needs at most one slot more than there was, and whether it does is known
 * before anything is written.
 *
 * Growth. A full array is doubled into memory found here. The new array must
 * be reserved and the old one freed, which itself edits the reserved list, in
 * two places: each can need a slot. The reserved list therefore never asks for
 * room in the middle of an edit:
 *  - when it grows itself, its new array has a full array's worth of slots to
 *    spare, far more than two;
 *  - when the memory list grows, the reserved list gets its two slots first.
 * All arrays needed are found before the first is put to use, so failing
 * changes nothing. No new array may lie in the range whose edit asked for it:
 * that range is about to be taken, or to go away.
 *
 * The idea is that of Linux's mm/memblock (Documentation/core-api/boot-time-
 * mm.rst).
 */
#include "boot/memblock.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "platform/fault.h"

/* A region array starts on a cache line of its own. */
enum { ARRAY_ALIGN = 64 };

/* Slots that replacing an array costs the reserved list: new in, old out. */
enum { ARRAY_SLOTS = 2 };

/*
 * What a search may use: [low, high), but nothing in `avoid`, which holds the
 * range being edited and the arrays found so far.
 */
struct window {
	uint64_t low;
	uint64_t high;
	struct memblock_region avoid[3];
	size_t nr_avoid;
};

/* A larger array: found, not yet put to use. */
struct growth {
	struct memblock_type *type;
	uint64_t base;
};

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t region_end(const struct memblock_region *region)
{
	return region->base + region->size;
}

/* Cuts size so that base + size does not wrap; returns the end. */
static uint64_t range_end(uint64_t base, uint64_t size)
{
	return base + min_u64(size, UINT64_MAX - base);
}

static void log_range(const struct memblock *mb, const char *step,
		      uint64_t base, uint64_t end, const char *what)
{
	if (!mb->debug || base == end)
		return;
	report(mb->reporter, "memblock: %s [0x%" PRIx64 "-0x%" PRIx64 "]%s%s",
	       step, base, end - 1, what ? " " : "", what ? what : "");
}

/* Index of the first region that ends at or after addr. */
static size_t first_reaching(const struct memblock_type *type, uint64_t addr)
{
	size_t low = 0;
	size_t high = type->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (region_end(&type->regions[mid]) < addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Number of regions that start below addr. */
static size_t nr_starting_below(const struct memblock_type *type, uint64_t addr)
{
	size_t low = 0;
	size_t high = type->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (type->regions[mid].base < addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* The lowest region that ends above addr, or NULL. addr < UINT64_MAX. */
static const struct memblock_region *
region_from(const struct memblock_type *type, uint64_t addr)
{
	size_t i = first_reaching(type, addr + 1);

	return i < type->count ? &type->regions[i] : NULL;
}

/* The highest region that starts below addr, or NULL. */
static const struct memblock_region *
region_below(const struct memblock_type *type, uint64_t addr)
{
	size_t n = nr_starting_below(type, addr);

	return n > 0 ? &type->regions[n - 1] : NULL;
}

/* Replaces regions [at, at + old) by n new ones. There must be room. */
static void type_replace(struct memblock_type *type, size_t at, size_t old,
			 const struct memblock_region *new, size_t n)
{
	assert_debug(type->count - old + n <= type->max,
		     "%s: %zu regions - %zu + %zu, room for %zu", type->name,
		     type->count, old, n, type->max);
	for (size_t i = 0; i < old; i++)
		type->total -= type->regions[at + i].size;
	memmove(&type->regions[at + n], &type->regions[at + old],
		(type->count - at - old) * sizeof(type->regions[0]));
	for (size_t i = 0; i < n; i++) {
		type->regions[at + i] = new[i];
		type->total += new[i].size;
	}
	type->count = type->count - old + n;
}

static bool insert_needs_slot(const struct memblock_type *type, uint64_t base,
			      uint64_t end)
{
	size_t i = first_reaching(type, base);

	return i == type->count || type->regions[i].base > end;
}

static void type_insert(struct memblock_type *type, uint64_t base, uint64_t end)
{
	size_t first = first_reaching(type, base);
	size_t last = first;
	struct memblock_region merged;

	while (last < type->count && type->regions[last].base <= end)
		last++;
	if (last > first) {
		base = min_u64(base, type->regions[first].base);
		end = max_u64(end, region_end(&type->regions[last - 1]));
	}
	merged = (struct memblock_region){ base, end - base };
	type_replace(type, first, last - first, &merged, 1);
}

static bool erase_needs_slot(const struct memblock_type *type, uint64_t base,
			     uint64_t end)
{
	const struct memblock_region *region = region_below(type, base);

	return region && region_end(region) > end;
}

static void type_erase(struct memblock_type *type, uint64_t base, uint64_t end)
{
	size_t first = first_reaching(type, base + 1);
	size_t last = nr_starting_below(type, end);
	struct memblock_region rest[2];
	size_t n = 0;

	if (first >= last)
		return;
	if (type->regions[first].base < base)
		rest[n++] = (struct memblock_region){
			type->regions[first].base,
			base - type->regions[first].base
		};
	if (region_end(&type->regions[last - 1]) > end)
		rest[n++] = (struct memblock_region){
			end, region_end(&type->regions[last - 1]) - end
		};
	type_replace(type, first, last - first, rest, n);
}

bool memblock_next_free(const struct memblock *mb, uint64_t *cursor,
			uint64_t *base, uint64_t *size)
{
	while (*cursor < UINT64_MAX) {
		const struct memblock_region *memory, *taken;
		uint64_t start, end;

		memory = region_from(&mb->memory, *cursor);
		if (!memory)
			break;
		start = max_u64(*cursor, memory->base);
		end = region_end(memory);
		taken = region_from(&mb->reserved, start);
		if (taken && taken->base <= start) {
			*cursor = region_end(taken);
			continue;
		}
		if (taken)
			end = min_u64(end, taken->base);
		*cursor = end;
		*base = start;
		*size = end - start;
		return true;
	}
	return false;
}

/* The same downwards: *cursor starts at UINT64_MAX. */
static bool prev_free(const struct memblock *mb, uint64_t *cursor,
		      uint64_t *base, uint64_t *size)
{
	for (;;) {
		const struct memblock_region *memory, *taken;
		uint64_t start, end;

		memory = region_below(&mb->memory, *cursor);
		if (!memory)
			return false;
		start = memory->base;
		end = min_u64(*cursor, region_end(memory));
		taken = region_below(&mb->reserved, end);
		if (taken && region_end(taken) >= end) {
			*cursor = taken->base;
			continue;
		}
		if (taken)
			start = max_u64(start, region_end(taken));
		*cursor = start;
		*base = start;
		*size = end - start;
		return true;
	}
}

/* The lowest (or highest) fit in [low, high), blind to what is avoided. */
static uint64_t fit(uint64_t low, uint64_t high, uint64_t size, uint64_t align,
		    bool bottom_up)
{
	uint64_t base;

	if (low >= high || high - low < size)
		return MEMBLOCK_NONE;
	if (!bottom_up) {
		base = (high - size) & ~(align - 1);
		return base >= low ? base : MEMBLOCK_NONE;
	}
	if (low > UINT64_MAX - (align - 1))
		return MEMBLOCK_NONE;
	base = (low + align - 1) & ~(align - 1);
	return base <= high - size ? base : MEMBLOCK_NONE;
}

static uint64_t fit_avoiding(uint64_t low, uint64_t high, uint64_t size,
			     uint64_t align, bool bottom_up,
			     const struct window *window)
{
	uint64_t base = fit(low, high, size, align, bottom_up);
	size_t i = 0;

	while (base != MEMBLOCK_NONE && i < window->nr_avoid) {
		const struct memblock_region *avoid = &window->avoid[i];

		if (base >= region_end(avoid) || avoid->base >= base + size) {
			i++;
			continue;
		}
		if (bottom_up)
			low = region_end(avoid);
		else
			high = avoid->base;
		base = fit(low, high, size, align, bottom_up);
		i = 0;
	}
	return base;
}

static uint64_t find_in_window(const struct memblock *mb, uint64_t size,
			       uint64_t align, const struct window *window)
{
	uint64_t low = max_u64(window->low, mb->limit_low);
	uint64_t high = min_u64(window->high, mb->limit_high);
	uint64_t cursor = mb->bottom_up ? low : high;
	uint64_t start, length, base;

	while (mb->bottom_up ? memblock_next_free(mb, &cursor, &start, &length)
			     : prev_free(mb, &cursor, &start, &length)) {
		if (mb->bottom_up ? start >= high : start + length <= low)
			break;
		base = fit_avoiding(max_u64(start, low),
				    min_u64(start + length, high), size, align,
				    mb->bottom_up, window);
		if (base != MEMBLOCK_NONE)
			return base;
	}
	errno = ENOMEM;
	return MEMBLOCK_NONE;
}

static uint64_t array_bytes(size_t max)
{
	return (uint64_t)max * sizeof(struct memblock_region);
}

/* Finds a place for an array of twice the size, and keeps it from the next. */
static int growth_find(struct memblock *mb, struct memblock_type *type,
		       struct window *window, struct growth *growth)
{
	uint64_t bytes = array_bytes(2 * type->max);

	growth->type = type;
	growth->base = MEMBLOCK_NONE;
	if (!fault_hit(FAULT_MEMBLOCK))
		growth->base = find_in_window(mb, bytes, ARRAY_ALIGN, window);
	if (growth->base == MEMBLOCK_NONE) {
		if (mb->debug)
			report(mb->reporter,
			       "memblock: no room to double %s beyond %zu "
			       "regions",
			       type->name, type->max);
		errno = ENOMEM;
		return -1;
	}
	window->avoid[window->nr_avoid++] =
		(struct memblock_region){ growth->base, bytes };
	return 0;
}

static void growth_apply(struct memblock *mb, const struct growth *growth)
{
	struct memblock_type *type = growth->type;
	struct memblock_region *old = type->regions;
	uint64_t old_base = (uint64_t)(uintptr_t)old;
	uint64_t old_bytes = array_bytes(type->max);
	uint64_t end = growth->base + 2 * old_bytes;

	type->regions = (struct memblock_region *)(uintptr_t)growth->base;
	memcpy(type->regions, old, type->count * sizeof(old[0]));
	type->max *= 2;
	type_insert(&mb->reserved, growth->base, end);
	log_range(mb, "double", growth->base, end, type->name);
	if (old != type->fixed) {
		type_erase(&mb->reserved, old_base, old_base + old_bytes);
		log_range(mb, "free", old_base, old_base + old_bytes,
			  type->name);
	}
}

/* Room for one region more in a full list, for the sake of [base, end). */
static int type_grow(struct memblock *mb, struct memblock_type *type,
		     uint64_t base, uint64_t end)
{
	struct memblock_type *reserved = &mb->reserved;
	struct window window = {
		/* Address 0 as an array would look like none. */
		.low = 1,
		.high = UINT64_MAX,
		.avoid = { { base, end - base } },
		.nr_avoid = 1,
	};
	struct growth first, second;
	bool both = type != reserved &&
		    reserved->max - reserved->count < ARRAY_SLOTS;

	if (both && growth_find(mb, reserved, &window, &first))
		return -1;
	if (growth_find(mb, type, &window, &second))
		return -1;
	if (both)
		growth_apply(mb, &first);
	growth_apply(mb, &second);
	return 0;
}

static int type_add(struct memblock *mb, struct memblock_type *type,
		    uint64_t base, uint64_t end)
{
	if (base == end)
		return 0;
	if (type->count == type->max && insert_needs_slot(type, base, end) &&
	    type_grow(mb, type, base, end))
		return -1;
	type_insert(type, base, end);
	return 0;
}

static int type_remove(struct memblock *mb, struct memblock_type *type,
		       uint64_t base, uint64_t end)
{
	if (base == end)
		return 0;
	if (type->count == type->max && erase_needs_slot(type, base, end) &&
	    type_grow(mb, type, base, end))
		return -1;
	type_erase(type, base, end);
	return 0;
}

static void type_init(struct memblock_type *type, const char *name)
{
	type->name = name;
	type->regions = type->fixed;
	type->count = 0;
	type->max = MEMBLOCK_FIXED_REGIONS;
	type->total = 0;
}

void memblock_init(struct memblock *mb, const struct reporter *reporter)
{
	type_init(&mb->memory, "memory");
	type_init(&mb->reserved, "reserved");
	mb->limit_low = 0;
	mb->limit_high = UINT64_MAX;
	mb->bottom_up = false;
	mb->debug = false;
	mb->reporter = reporter;
}

int memblock_add(struct memblock *mb, uint64_t base, uint64_t size)
{
	uint64_t end = range_end(base, size);

	if (type_add(mb, &mb->memory, base, end))
		return -1;
	log_range(mb, "add", base, end, NULL);
	return 0;
}

int memblock_remove(struct memblock *mb, uint64_t base, uint64_t size)
{
	uint64_t end = range_end(base, size);

	if (type_remove(mb, &mb->memory, base, end))
		return -1;
	log_range(mb, "remove", base, end, NULL);
	return 0;
}

int memblock_reserve(struct memblock *mb, uint64_t base, uint64_t size,
		     const char *what)
{
	uint64_t end = range_end(base, size);

	if (type_add(mb, &mb->reserved, base, end))
		return -1;
	log_range(mb, "reserve", base, end, what);
	return 0;
}

int memblock_free(struct memblock *mb, uint64_t base, uint64_t size)
{
	uint64_t end = range_end(base, size);

	if (type_remove(mb, &mb->reserved, base, end))
		return -1;
	log_range(mb, "free", base, end, NULL);
	return 0;
}

uint64_t memblock_find(const struct memblock *mb, uint64_t size, uint64_t align,
		       uint64_t start, uint64_t end)
{
	struct window window = { .low = start, .high = end };

	if (size == 0 || align == 0 || (align & (align - 1)) != 0) {
		errno = EINVAL;
		return MEMBLOCK_NONE;
	}
	return find_in_window(mb, size, align, &window);
}

/* Finds and reserves, or tells why not with errno. */
static uint64_t take(struct memblock *mb, uint64_t size, uint64_t align,
		     uint64_t start, uint64_t end, const char *what)
{
	uint64_t base = memblock_find(mb, size, align, start, end);

	if (base == MEMBLOCK_NONE)
		return MEMBLOCK_NONE;
	if (fault_hit(FAULT_MEMBLOCK)) {
		errno = ENOMEM;
		return MEMBLOCK_NONE;
	}
	return memblock_reserve(mb, base, size, what) ? MEMBLOCK_NONE : base;
}

void *memblock_alloc_range(struct memblock *mb, uint64_t size, uint64_t align,
			   uint64_t start, uint64_t end, const char *what)
{
	uint64_t base = take(mb, size, align, max_u64(start, 1), end, what);
	int error = errno;

	if (base != MEMBLOCK_NONE)
		return (void *)(uintptr_t)base;
	if (mb->debug)
		report(mb->reporter,
		       "memblock: no %" PRIu64 " bytes aligned to %" PRIu64
		       " in [0x%" PRIx64 ", 0x%" PRIx64 ") for %s",
		       size, align, start, end, what ? what : "?");
	errno = error;
	return NULL;
}

void *memblock_alloc(struct memblock *mb, uint64_t size, uint64_t align,
		     const char *what)
{
	return memblock_alloc_range(mb, size, align, 0, UINT64_MAX, what);
}

static bool type_contains(const struct memblock_type *type, uint64_t addr)
{
	const struct memblock_region *region;

	if (addr == UINT64_MAX)
		return false;
	region = region_from(type, addr);
	return region && region->base <= addr;
}

bool memblock_is_memory(const struct memblock *mb, uint64_t addr)
{
	return type_contains(&mb->memory, addr);
}

bool memblock_is_reserved(const struct memblock *mb, uint64_t addr)
{
	return type_contains(&mb->reserved, addr);
}

uint64_t memblock_memory_size(const struct memblock *mb)
{
	return mb->memory.total;
}

uint64_t memblock_reserved_size(const struct memblock *mb)
{
	return mb->reserved.total;
}
