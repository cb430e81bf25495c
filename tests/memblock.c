/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memblock by itself: every way a range can lie to what is there, growth of
 * the region arrays and its failure, searches, and random steps against a
 * bitmap.
 */
#include "testing.h"

#include <errno.h>

#include "base/report.h"
#include "boot/memblock.h"
#include "platform/fault.h"

#define KIB 1024u

static struct memblock mb;

/* Real memory, for arrays that grow. */
static _Alignas(4096) unsigned char heap[1024 * KIB];

static uint64_t heap_base(void)
{
	return (uint64_t)(uintptr_t)heap;
}

static int setup(void **state)
{
	(void)state;
	memblock_init(&mb, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fault_disarm_all();
	return 0;
}

static void check_type(const struct memblock_type *type)
{
	uint64_t total = 0;

	assert_true(type->count <= type->max);
	for (size_t i = 0; i < type->count; i++) {
		const struct memblock_region *region = &type->regions[i];

		assert_int_not_equal(region->size, 0);
		assert_true(region->base + region->size > region->base);
		if (i > 0)
			assert_true(region[-1].base + region[-1].size <
				    region->base);
		total += region->size;
	}
	assert_int_equal(type->total, total);
}

static void expect_regions(const struct memblock_type *type, size_t n,
			   const struct memblock_region *expected)
{
	check_type(type);
	assert_int_equal(type->count, n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(type->regions[i].base, expected[i].base);
		assert_int_equal(type->regions[i].size, expected[i].size);
	}
}

#define EXPECT_REGIONS(type, ...)                                              \
	do {                                                                   \
		const struct memblock_region expected_[] = { __VA_ARGS__ };    \
		expect_regions(type, TEST_LENGTH(expected_), expected_);       \
	} while (0)

/* --- what a list is, for memory and for reserved alike --- */

struct list_ops {
	struct memblock_type *type;
	int (*insert)(uint64_t base, uint64_t size);
	int (*erase)(uint64_t base, uint64_t size);
	uint64_t (*total)(const struct memblock *mb);
	bool (*contains)(const struct memblock *mb, uint64_t addr);
};

static int do_add(uint64_t base, uint64_t size)
{
	return memblock_add(&mb, base, size);
}

static int do_remove(uint64_t base, uint64_t size)
{
	return memblock_remove(&mb, base, size);
}

static int do_reserve(uint64_t base, uint64_t size)
{
	return memblock_reserve(&mb, base, size, "test");
}

static int do_free(uint64_t base, uint64_t size)
{
	return memblock_free(&mb, base, size);
}

static struct list_ops memory_ops = { &mb.memory, do_add, do_remove,
				      memblock_memory_size,
				      memblock_is_memory };
static struct list_ops reserved_ops = { &mb.reserved, do_reserve, do_free,
					memblock_reserved_size,
					memblock_is_reserved };

static void test_insert_apart(void **state)
{
	const struct list_ops *ops = *state;

	assert_int_equal(ops->insert(0x4000, 0x1000), 0);
	assert_int_equal(ops->insert(0x8000, 0x1000), 0); /* after */
	assert_int_equal(ops->insert(0x1000, 0x1000), 0); /* before */
	assert_int_equal(ops->insert(0x6000, 0x800), 0);  /* between */
	EXPECT_REGIONS(ops->type, { 0x1000, 0x1000 }, { 0x4000, 0x1000 },
		       { 0x6000, 0x800 }, { 0x8000, 0x1000 });
	assert_int_equal(ops->total(&mb), 0x3800);
}

static void test_insert_touching(void **state)
{
	const struct list_ops *ops = *state;

	ops->insert(0x4000, 0x1000);
	assert_int_equal(ops->insert(0x5000, 0x1000), 0);
	EXPECT_REGIONS(ops->type, { 0x4000, 0x2000 });
	assert_int_equal(ops->insert(0x3000, 0x1000), 0);
	EXPECT_REGIONS(ops->type, { 0x3000, 0x3000 });
}

static void test_insert_overlapping(void **state)
{
	const struct list_ops *ops = *state;

	ops->insert(0x4000, 0x2000);
	assert_int_equal(ops->insert(0x3000, 0x1800), 0); /* low end */
	EXPECT_REGIONS(ops->type, { 0x3000, 0x3000 });
	assert_int_equal(ops->insert(0x5800, 0x1800), 0); /* high end */
	EXPECT_REGIONS(ops->type, { 0x3000, 0x4000 });
	assert_int_equal(ops->insert(0x4000, 0x1000), 0); /* inside */
	EXPECT_REGIONS(ops->type, { 0x3000, 0x4000 });
	assert_int_equal(ops->insert(0x3000, 0x4000), 0); /* the same */
	EXPECT_REGIONS(ops->type, { 0x3000, 0x4000 });
	assert_int_equal(ops->insert(0x2000, 0x6000), 0); /* covering */
	EXPECT_REGIONS(ops->type, { 0x2000, 0x6000 });
}

static void test_insert_three_into_one(void **state)
{
	const struct list_ops *ops = *state;

	ops->insert(0x1000, 0x1000);
	ops->insert(0x3000, 0x1000);
	ops->insert(0x9000, 0x1000);
	assert_int_equal(ops->insert(0x2000, 0x1000), 0);
	EXPECT_REGIONS(ops->type, { 0x1000, 0x3000 }, { 0x9000, 0x1000 });
	ops->insert(0x6000, 0x1000);
	assert_int_equal(ops->insert(0x800, 0x9000), 0); /* over several */
	EXPECT_REGIONS(ops->type, { 0x800, 0x9800 });
}

static void test_erase(void **state)
{
	const struct list_ops *ops = *state;

	ops->insert(0x4000, 0x4000);
	assert_int_equal(ops->erase(0x2000, 0x2000), 0); /* touching below */
	assert_int_equal(ops->erase(0x8000, 0x2000), 0); /* touching above */
	EXPECT_REGIONS(ops->type, { 0x4000, 0x4000 });
	assert_int_equal(ops->erase(0x3000, 0x1800), 0); /* low end */
	EXPECT_REGIONS(ops->type, { 0x4800, 0x3800 });
	assert_int_equal(ops->erase(0x7800, 0x1800), 0); /* high end */
	EXPECT_REGIONS(ops->type, { 0x4800, 0x3000 });
	assert_int_equal(ops->erase(0x5000, 0x1000), 0); /* inside */
	EXPECT_REGIONS(ops->type, { 0x4800, 0x800 }, { 0x6000, 0x1800 });
	assert_int_equal(ops->erase(0x5000, 0x1000), 0); /* the gap */
	EXPECT_REGIONS(ops->type, { 0x4800, 0x800 }, { 0x6000, 0x1800 });
	assert_int_equal(ops->erase(0x6000, 0x1800), 0); /* exactly */
	EXPECT_REGIONS(ops->type, { 0x4800, 0x800 });
	assert_int_equal(ops->erase(0, UINT64_MAX), 0); /* covering */
	expect_regions(ops->type, 0, NULL);
	assert_int_equal(ops->erase(0x1000, 0x1000), 0); /* from nothing */
	assert_int_equal(ops->total(&mb), 0);
}

static void test_erase_across(void **state)
{
	const struct list_ops *ops = *state;

	for (uint64_t base = 0x1000; base < 0xa000; base += 0x2000)
		ops->insert(base, 0x1000);
	assert_int_equal(ops->erase(0x3800, 0x4000), 0);
	EXPECT_REGIONS(ops->type, { 0x1000, 0x1000 }, { 0x3000, 0x800 },
		       { 0x7800, 0x800 }, { 0x9000, 0x1000 });
}

static void test_nothing(void **state)
{
	const struct list_ops *ops = *state;

	assert_int_equal(ops->insert(0x1000, 0), 0);
	expect_regions(ops->type, 0, NULL);
	ops->insert(0x1000, 0x1000);
	assert_int_equal(ops->insert(0x1800, 0), 0);
	assert_int_equal(ops->erase(0x1800, 0), 0);
	EXPECT_REGIONS(ops->type, { 0x1000, 0x1000 });
}

static void test_address_space_end(void **state)
{
	const struct list_ops *ops = *state;

	assert_int_equal(ops->insert(UINT64_MAX - 0xfff, 0x4000), 0);
	EXPECT_REGIONS(ops->type, { UINT64_MAX - 0xfff, 0xfff });
	assert_int_equal(ops->insert(UINT64_MAX, 0x1000), 0);
	EXPECT_REGIONS(ops->type, { UINT64_MAX - 0xfff, 0xfff });
	assert_int_equal(ops->insert(UINT64_MAX - 0x1fff, UINT64_MAX), 0);
	EXPECT_REGIONS(ops->type, { UINT64_MAX - 0x1fff, 0x1fff });
	assert_true(ops->contains(&mb, UINT64_MAX - 1));
	assert_false(ops->contains(&mb, UINT64_MAX));
	assert_int_equal(ops->erase(UINT64_MAX - 0xff, UINT64_MAX), 0);
	EXPECT_REGIONS(ops->type, { UINT64_MAX - 0x1fff, 0x1f00 });
	assert_int_equal(ops->insert(0, UINT64_MAX), 0);
	EXPECT_REGIONS(ops->type, { 0, UINT64_MAX });
}

static void test_contains(void **state)
{
	const struct list_ops *ops = *state;

	assert_false(ops->contains(&mb, 0));
	ops->insert(0x1000, 0x1000);
	ops->insert(0x4000, 0x1000);
	assert_false(ops->contains(&mb, 0xfff));
	assert_true(ops->contains(&mb, 0x1000));
	assert_true(ops->contains(&mb, 0x1fff));
	assert_false(ops->contains(&mb, 0x2000));
	assert_true(ops->contains(&mb, 0x4800));
	assert_false(ops->contains(&mb, 0x5000));
}

/* --- searches and allocations --- */

static void test_find_directions(void **state)
{
	(void)state;
	memblock_add(&mb, 0x10000, 0x10000);
	memblock_add(&mb, 0x40000, 0x10000);
	assert_int_equal(memblock_find(&mb, 0x1000, 1, 0, UINT64_MAX), 0x4f000);
	mb.bottom_up = true;
	assert_int_equal(memblock_find(&mb, 0x1000, 1, 0, UINT64_MAX), 0x10000);
	memblock_reserve(&mb, 0x10000, 0x1, NULL);
	assert_int_equal(memblock_find(&mb, 0x1000, 1, 0, UINT64_MAX), 0x10001);
	assert_int_equal(memblock_find(&mb, 0x1000, 0x100, 0, UINT64_MAX),
			 0x10100);
	mb.bottom_up = false;
	memblock_reserve(&mb, 0x4ffff, 0x1, NULL);
	assert_int_equal(memblock_find(&mb, 0x1000, 1, 0, UINT64_MAX), 0x4efff);
	assert_int_equal(memblock_find(&mb, 0x1000, 0x100, 0, UINT64_MAX),
			 0x4ef00);
}

static void expect_find(uint64_t size, uint64_t align, uint64_t start,
			uint64_t end, uint64_t low, uint64_t high)
{
	mb.bottom_up = true;
	errno = 0;
	assert_int_equal(memblock_find(&mb, size, align, start, end), low);
	if (low == MEMBLOCK_NONE)
		assert_int_equal(errno, ENOMEM);
	mb.bottom_up = false;
	errno = 0;
	assert_int_equal(memblock_find(&mb, size, align, start, end), high);
	if (high == MEMBLOCK_NONE)
		assert_int_equal(errno, ENOMEM);
}

static void test_find_range(void **state)
{
	(void)state;
	expect_find(1, 1, 0, UINT64_MAX, MEMBLOCK_NONE, MEMBLOCK_NONE);
	memblock_add(&mb, 0x10000, 0x10000);
	/* Exact fit, one too many, a range that cuts either end. */
	expect_find(0x10000, 1, 0, UINT64_MAX, 0x10000, 0x10000);
	expect_find(0x10001, 1, 0, UINT64_MAX, MEMBLOCK_NONE, MEMBLOCK_NONE);
	expect_find(0x1000, 1, 0x12000, 0x14000, 0x12000, 0x13000);
	expect_find(0x2000, 1, 0x12000, 0x14000, 0x12000, 0x12000);
	expect_find(0x2001, 1, 0x12000, 0x14000, MEMBLOCK_NONE, MEMBLOCK_NONE);
	expect_find(0x1000, 0x1000, 0x12001, 0x14fff, 0x13000, 0x13000);
	/* An empty, a reversed and a far range. */
	expect_find(1, 1, 0x12000, 0x12000, MEMBLOCK_NONE, MEMBLOCK_NONE);
	expect_find(1, 1, 0x14000, 0x12000, MEMBLOCK_NONE, MEMBLOCK_NONE);
	expect_find(1, 1, 0x30000, UINT64_MAX, MEMBLOCK_NONE, MEMBLOCK_NONE);
	/* Alignment beyond what there is. */
	expect_find(1, 0x10000, 0, UINT64_MAX, 0x10000, 0x10000);
	expect_find(1, 0x20000, 0, UINT64_MAX, MEMBLOCK_NONE, MEMBLOCK_NONE);
	expect_find(1, 1ull << 63, 0, UINT64_MAX, MEMBLOCK_NONE, MEMBLOCK_NONE);
	/* The limits narrow every range. */
	mb.limit_low = 0x11000;
	mb.limit_high = 0x13000;
	expect_find(0x800, 1, 0, UINT64_MAX, 0x11000, 0x12800);
	expect_find(0x2001, 1, 0, UINT64_MAX, MEMBLOCK_NONE, MEMBLOCK_NONE);
}

static void test_find_extremes(void **state)
{
	(void)state;
	memblock_add(&mb, 0, UINT64_MAX);
	expect_find(UINT64_MAX, 1, 0, UINT64_MAX, 0, 0);
	expect_find(1, 1, 0, UINT64_MAX, 0, UINT64_MAX - 1);
	expect_find(1, 1ull << 63, 1, UINT64_MAX, 1ull << 63, 1ull << 63);
	/* Rounding up must not wrap. */
	expect_find(1, 1ull << 63, (1ull << 63) + 1, UINT64_MAX, MEMBLOCK_NONE,
		    MEMBLOCK_NONE);
}

static void test_find_invalid(void **state)
{
	static const uint64_t bad[][2] = {
		{ 0, 8 }, { 8, 0 }, { 8, 3 }, { 8, UINT64_MAX }
	};

	(void)state;
	memblock_add(&mb, heap_base(), sizeof(heap));
	for (size_t i = 0; i < TEST_LENGTH(bad); i++) {
		errno = 0;
		assert_int_equal(
			memblock_find(&mb, bad[i][0], bad[i][1], 0, UINT64_MAX),
			MEMBLOCK_NONE);
		assert_int_equal(errno, EINVAL);
		errno = 0;
		assert_null(memblock_alloc(&mb, bad[i][0], bad[i][1], "bad"));
		assert_int_equal(errno, EINVAL);
	}
	assert_int_equal(memblock_reserved_size(&mb), 0);
}

static void test_alloc(void **state)
{
	unsigned char *low, *high;

	(void)state;
	memset(heap, 0xa5, sizeof(heap));
	memblock_add(&mb, heap_base(), sizeof(heap));
	high = memblock_alloc(&mb, 100, 64, "high");
	assert_ptr_equal(high, heap + sizeof(heap) - 128);
	mb.bottom_up = true;
	low = memblock_alloc(&mb, 100, 64, "low");
	assert_ptr_equal(low, heap);
	assert_int_equal(low[99], 0xa5); /* as it was */
	assert_ptr_equal(memblock_alloc(&mb, 1, 64, "next"), heap + 128);
	assert_ptr_equal(memblock_alloc_range(&mb, 1, 1, heap_base() + 4096,
					      heap_base() + 4097, "there"),
			 heap + 4096);
	errno = 0;
	assert_null(memblock_alloc_range(&mb, 1, 1, heap_base() + 4096,
					 heap_base() + 4097, "again"));
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(memblock_reserved_size(&mb), 202);
	assert_int_equal(memblock_free(&mb, (uint64_t)(uintptr_t)high, 100), 0);
	assert_int_equal(memblock_reserved_size(&mb), 102);
}

static void test_alloc_all(void **state)
{
	(void)state;
	memblock_add(&mb, heap_base(), sizeof(heap));
	assert_ptr_equal(memblock_alloc(&mb, sizeof(heap), 1, "all"), heap);
	errno = 0;
	assert_null(memblock_alloc(&mb, 1, 1, "more"));
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(memblock_reserved_size(&mb), sizeof(heap));
}

static void test_alloc_never_zero(void **state)
{
	(void)state;
	memblock_add(&mb, 0, 0x2000);
	mb.bottom_up = true;
	assert_int_equal(memblock_find(&mb, 0x1000, 0x1000, 0, UINT64_MAX), 0);
	assert_int_equal((uintptr_t)memblock_alloc(&mb, 0x1000, 0x1000, "a"),
			 0x1000);
	assert_null(memblock_alloc(&mb, 0x1000, 0x1000, "b"));
}

static void test_next_free(void **state)
{
	uint64_t cursor = 0, base, size;

	(void)state;
	assert_false(memblock_next_free(&mb, &cursor, &base, &size));
	memblock_add(&mb, 0x1000, 0x3000);
	memblock_add(&mb, 0x8000, 0x1000);
	memblock_add(&mb, 0xa000, 0x1000);
	memblock_add(&mb, UINT64_MAX - 0x10, 0x10);
	memblock_reserve(&mb, 0, 0x1800, NULL);
	memblock_reserve(&mb, 0x2000, 0x800, NULL);
	memblock_reserve(&mb, 0x3800, 0x5800, NULL);
	cursor = 0;
	assert_true(memblock_next_free(&mb, &cursor, &base, &size));
	assert_int_equal(base, 0x1800);
	assert_int_equal(size, 0x800);
	assert_true(memblock_next_free(&mb, &cursor, &base, &size));
	assert_int_equal(base, 0x2800);
	assert_int_equal(size, 0x1000);
	assert_true(memblock_next_free(&mb, &cursor, &base, &size));
	assert_int_equal(base, 0xa000);
	assert_int_equal(size, 0x1000);
	assert_true(memblock_next_free(&mb, &cursor, &base, &size));
	assert_int_equal(base, UINT64_MAX - 0x10);
	assert_int_equal(size, 0x10);
	assert_false(memblock_next_free(&mb, &cursor, &base, &size));
	assert_false(memblock_next_free(&mb, &cursor, &base, &size));
}

/* --- growth --- */

/* Fills a list with n regions of one byte, well below the heap. */
static void fill(const struct list_ops *ops, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_int_equal(ops->insert(2 * i, 1), 0);
}

static void expect_filled(const struct list_ops *ops, size_t n)
{
	check_type(ops->type);
	assert_true(ops->type->count >= n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(ops->type->regions[i].base, 2 * i);
		assert_int_equal(ops->type->regions[i].size, 1);
	}
}

static void test_grow_reserved(void **state)
{
	const size_t row = sizeof(struct memblock_region);

	(void)state;
	memblock_add(&mb, heap_base(), sizeof(heap));
	fill(&reserved_ops, 128);
	assert_int_equal(mb.reserved.max, 128);
	assert_int_equal(memblock_reserved_size(&mb), 128);
	fill(&reserved_ops, 129);
	expect_filled(&reserved_ops, 129);
	assert_int_equal(mb.reserved.max, 256);
	assert_int_equal(memblock_reserved_size(&mb), 129 + 256 * row);
	assert_true(memblock_is_reserved(
		&mb, (uint64_t)(uintptr_t)mb.reserved.regions));
	/* The next doubling gives the last array back. */
	fill(&reserved_ops, 600);
	expect_filled(&reserved_ops, 600);
	assert_int_equal(mb.reserved.max, 1024);
	assert_int_equal(memblock_reserved_size(&mb), 600 + 1024 * row);
}

static void test_grow_memory(void **state)
{
	const size_t row = sizeof(struct memblock_region);

	(void)state;
	memblock_add(&mb, heap_base(), sizeof(heap));
	fill(&memory_ops, 600);
	expect_filled(&memory_ops, 600);
	assert_int_equal(mb.memory.max, 1024);
	assert_int_equal(memblock_memory_size(&mb), sizeof(heap) + 600);
	assert_int_equal(memblock_reserved_size(&mb), 1024 * row);
}

/* The memory list grows when the reserved one has no slots to pay with. */
static void test_grow_both(void **state)
{
	const size_t row = sizeof(struct memblock_region);

	for (size_t taken = 126; taken <= 128; taken++) {
		setup(state);
		memblock_add(&mb, heap_base(), sizeof(heap));
		fill(&memory_ops, 127);
		fill(&reserved_ops, taken);
		fill(&memory_ops, 128);
		expect_filled(&memory_ops, 128);
		expect_filled(&reserved_ops, taken);
		assert_int_equal(mb.memory.max, 256);
		assert_int_equal(mb.reserved.max, taken > 126 ? 256 : 128);
		assert_int_equal(memblock_reserved_size(&mb),
				 taken + (taken > 126 ? 512 : 256) * row);
	}
}

static void test_grow_by_splitting(void **state)
{
	(void)state;
	memblock_add(&mb, heap_base(), sizeof(heap));
	memblock_reserve(&mb, 1000, 1000, NULL);
	fill(&reserved_ops, 127);
	assert_int_equal(mb.reserved.max, 128);
	assert_int_equal(memblock_free(&mb, 1500, 1), 0);
	expect_filled(&reserved_ops, 127);
	assert_int_equal(mb.reserved.max, 256);
	assert_false(memblock_is_reserved(&mb, 1500));
	assert_true(memblock_is_reserved(&mb, 1499));
	assert_true(memblock_is_reserved(&mb, 1501));
}

/* The new array must keep out of the range it was grown for. */
static void test_grow_avoids_range(void **state)
{
	for (int bottom_up = 0; bottom_up <= 1; bottom_up++) {
		uint64_t page = heap_base() + (bottom_up ? 0 : 4096);

		setup(state);
		mb.bottom_up = bottom_up;
		memblock_add(&mb, heap_base(), 8192);
		fill(&reserved_ops, 128);
		assert_int_equal(memblock_reserve(&mb, page, 4096, "this"), 0);
		assert_int_equal((uintptr_t)mb.reserved.regions,
				 heap_base() + (bottom_up ? 4096 : 0));
		assert_int_equal(memblock_reserved_size(&mb), 128 + 8192);

		setup(state);
		mb.bottom_up = bottom_up;
		memblock_add(&mb, heap_base() - 8192, 8192 * 4);
		memblock_reserve(&mb, heap_base() - 8192, 8192, "not real");
		memblock_reserve(&mb, heap_base() + 8192, 2 * 8192, "other");
		fill(&memory_ops, 127);
		assert_int_equal(memblock_remove(&mb, page, 4096), 0);
		assert_int_equal((uintptr_t)mb.memory.regions,
				 heap_base() + (bottom_up ? 4096 : 0));
		expect_filled(&memory_ops, 127);
	}
}

/* Both arrays are found, one beside the other and neither in the range. */
static void test_grow_both_avoid(void **state)
{
	uint64_t pages[5];

	for (size_t i = 0; i < TEST_LENGTH(pages); i++)
		pages[i] = heap_base() + i * 4096;
	for (int bottom_up = 0; bottom_up <= 1; bottom_up++) {
		setup(state);
		mb.bottom_up = bottom_up;
		memblock_add(&mb, pages[0], 3 * 4096);
		memblock_add(&mb, pages[4], 4096);
		fill(&memory_ops, 126);
		fill(&reserved_ops, 128);
		assert_int_equal(memblock_remove(&mb, pages[1], 4096), 0);
		assert_int_equal((uintptr_t)mb.reserved.regions,
				 pages[bottom_up ? 0 : 4]);
		assert_int_equal((uintptr_t)mb.memory.regions, pages[2]);
		assert_int_equal(mb.memory.count, 126 + 3);
		expect_filled(&memory_ops, 126);
		expect_filled(&reserved_ops, 128);
	}
}

static struct memblock before;

/* The regions that both lists had when `before` was copied. */
static struct memblock_region before_regions[2][512];

static void remember(void)
{
	before = mb;
	memcpy(before_regions[0], mb.memory.regions,
	       mb.memory.count * sizeof(struct memblock_region));
	memcpy(before_regions[1], mb.reserved.regions,
	       mb.reserved.count * sizeof(struct memblock_region));
}

static void expect_unchanged(void)
{
	assert_memory_equal(&mb, &before, sizeof(mb));
	assert_memory_equal(mb.memory.regions, before_regions[0],
			    mb.memory.count * sizeof(struct memblock_region));
	assert_memory_equal(mb.reserved.regions, before_regions[1],
			    mb.reserved.count * sizeof(struct memblock_region));
	check_type(&mb.memory);
	check_type(&mb.reserved);
}

static void expect_refused(int result)
{
	assert_int_equal(result, -1);
	assert_int_equal(errno, ENOMEM);
	expect_unchanged();
	errno = 0;
}

static void test_grow_no_space(void **state)
{
	(void)state;
	/* One byte less than the doubled array needs. */
	memblock_add(&mb, heap_base() + 1, 4096 + 62);
	fill(&memory_ops, 127);
	memblock_reserve(&mb, 1000, 100, NULL);
	fill(&reserved_ops, 127);
	remember();
	errno = 0;
	expect_refused(memblock_reserve(&mb, 5000, 1, NULL));
	expect_refused(memblock_free(&mb, 1050, 1));
	expect_refused(memblock_add(&mb, 5000, 1));
	expect_refused(memblock_remove(&mb, heap_base() + 100, 1));
	assert_null(memblock_alloc(&mb, 1, 1, "one"));
	assert_int_equal(errno, ENOMEM);
	expect_unchanged();
	/* What needs no slot goes on working: touching, or at an edge. */
	assert_int_equal(memblock_reserve(&mb, 999, 1, NULL), 0);
	assert_int_equal(memblock_reserve(&mb, 1100, 1, NULL), 0);
	assert_int_equal(memblock_free(&mb, 999, 1), 0);
	assert_int_equal(memblock_free(&mb, 1100, 1), 0);
	assert_int_equal(memblock_free(&mb, 3000, 1000), 0);
	assert_int_equal(mb.reserved.count, 128);
	assert_int_equal(memblock_reserve(&mb, 1, 1, NULL), 0);
	assert_int_equal(mb.reserved.count, 127);
	assert_int_equal(memblock_reserve(&mb, 5000, 1, NULL), 0);
	assert_int_equal(mb.reserved.count, 128);
}

/* Room for one of two arrays is not enough, and then neither moves. */
static void test_grow_half_space(void **state)
{
	(void)state;
	memblock_add(&mb, heap_base(), 8191);
	fill(&memory_ops, 127);
	fill(&reserved_ops, 128);
	remember();
	errno = 0;
	expect_refused(memblock_add(&mb, 5000, 1));
	mb.limit_high = heap_base() + 4096;
	remember();
	expect_refused(memblock_add(&mb, 5000, 1));
	mb.limit_high = heap_base() + 4095;
	remember();
	expect_refused(memblock_reserve(&mb, 5000, 1, NULL));
	mb.limit_high = UINT64_MAX;
	assert_int_equal(memblock_reserve(&mb, 5000, 1, NULL), 0);
	assert_int_equal(mb.reserved.max, 256);
}

static void test_faults(void **state)
{
	(void)state;
	memblock_add(&mb, heap_base(), sizeof(heap));
	fill(&memory_ops, 127);
	fill(&reserved_ops, 128);
	remember();
	errno = 0;
	/* The search for the block, then for the array that must grow. */
	for (int64_t skip = 0; skip < 2; skip++) {
		fault_arm(FAULT_MEMBLOCK, skip, 1);
		assert_null(memblock_alloc(&mb, 64, 64, "block"));
		assert_int_equal(errno, ENOMEM);
		expect_unchanged();
	}
	fault_arm(FAULT_MEMBLOCK, 0, 1);
	expect_refused(memblock_reserve(&mb, 5000, 1, NULL));
	/* The first array, then the second. */
	for (int64_t skip = 0; skip < 2; skip++) {
		fault_arm(FAULT_MEMBLOCK, skip, 1);
		expect_refused(memblock_add(&mb, 5000, 1));
	}
	assert_int_equal(memblock_add(&mb, 5000, 1), 0);
	assert_int_equal(mb.memory.max, 256);
	assert_int_equal(mb.reserved.max, 256);
	assert_non_null(memblock_alloc(&mb, 64, 64, "block"));
}

/* --- the log --- */

static void test_debug(void **state)
{
	static struct test_messages messages = TEST_MESSAGES_INIT;
	const struct reporter reporter = { test_catch, &messages };

	(void)state;
	memblock_init(&mb, &reporter);
	memblock_add(&mb, 0x1000, 0x1000);
	assert_int_equal(messages.count, 0);
	mb.debug = true;
	memblock_add(&mb, 0x10000, 0x1000);
	memblock_reserve(&mb, 0x10000, 0x800, "tables");
	memblock_free(&mb, 0x10000, 0x400);
	memblock_remove(&mb, 0x1000, 0x1000);
	assert_null(memblock_alloc(&mb, 0x4000, 64, "giant"));
	assert_int_equal(messages.count, 5);
	assert_string_equal(messages.text[0],
			    "memblock: add [0x10000-0x10fff]");
	assert_string_equal(messages.text[1],
			    "memblock: reserve [0x10000-0x107ff] tables");
	assert_string_equal(messages.text[2],
			    "memblock: free [0x10000-0x103ff]");
	assert_string_equal(messages.text[3],
			    "memblock: remove [0x1000-0x1fff]");
	assert_told(&messages, "16384");
	assert_told(&messages, "giant");
	memblock_add(&mb, heap_base(), sizeof(heap));
	fill(&reserved_ops, 127);
	messages.count = 0;
	memblock_reserve(&mb, 5000, 1, NULL);
	assert_int_equal(messages.count, 2);
	assert_told(&messages, "memblock: double [0x");
}

/* --- random steps against a bitmap --- */

enum { MODEL_UNITS = 4096 };

/*
 * One bool per unit of address, unit i being [origin + i * unit, ...). What
 * lies outside the model's span is not looked at: the arrays go there.
 */
struct model {
	uint64_t origin;
	uint64_t unit;
	size_t units;
	bool memory[MODEL_UNITS];
	bool reserved[MODEL_UNITS];
};

static struct model model;

static void model_compare(const bool *bits, const struct memblock_type *type)
{
	uint64_t end = model.origin + model.units * model.unit;
	const struct memblock_region *region = type->regions;
	const struct memblock_region *last = region + type->count;
	size_t i = 0;

	check_type(type);
	while (region < last && region->base < model.origin)
		region++;
	while (i < model.units) {
		size_t first = i;

		if (!bits[i]) {
			i++;
			continue;
		}
		while (i < model.units && bits[i])
			i++;
		assert_true(region < last);
		assert_int_equal(region->base,
				 model.origin + first * model.unit);
		assert_int_equal(region->size, (i - first) * model.unit);
		region++;
	}
	assert_true(region == last || region->base >= end);
}

static bool model_free(size_t i)
{
	return model.memory[i] && !model.reserved[i];
}

static void model_compare_free(void)
{
	uint64_t end = model.origin + model.units * model.unit;
	uint64_t cursor = model.origin;
	uint64_t base, size;
	size_t i = 0;

	while (memblock_next_free(&mb, &cursor, &base, &size) && base < end) {
		for (; model.origin + i * model.unit < base; i++)
			assert_false(model_free(i));
		for (; model.origin + i * model.unit < base + size; i++)
			assert_true(model_free(i));
	}
	for (; i < model.units; i++)
		assert_false(model_free(i));
}

/* The answer of a search that tries every unit. Aligns to units only. */
static uint64_t model_find(size_t n, uint64_t align, size_t start, size_t end)
{
	uint64_t found = MEMBLOCK_NONE;

	for (size_t i = start, run = 0; i < end; i++) {
		uint64_t base;

		run = model_free(i) ? run + 1 : 0;
		base = model.origin + (i + 1 - n) * model.unit;
		if (run < n || base % align != 0)
			continue;
		found = base;
		if (mb.bottom_up)
			break;
	}
	return found;
}

static void model_step_find(struct test_rng *rng)
{
	size_t n = 1 + test_below(rng, 8);
	uint64_t align = model.unit << test_below(rng, 5);
	size_t start = test_below(rng, model.units);
	size_t end = start + test_below(rng, model.units - start) + 1;
	uint64_t low = mb.limit_low, high = mb.limit_high;

	mb.bottom_up = test_below(rng, 2);
	mb.limit_low = 0;
	mb.limit_high = UINT64_MAX;
	assert_int_equal(memblock_find(&mb, n * model.unit, align,
				       model.origin + start * model.unit,
				       model.origin + end * model.unit),
			 model_find(n, align, start, end));
	mb.limit_low = low;
	mb.limit_high = high;
}

static void model_step_edit(struct test_rng *rng)
{
	size_t most = test_below(rng, 2048) ? 8 : model.units / 2;
	size_t first = test_below(rng, model.units);
	size_t n = test_below(rng, most);
	uint64_t base, size;
	bool *bits, value;
	int result;

	if (n > model.units - first)
		n = model.units - first;
	base = model.origin + first * model.unit;
	size = n * model.unit;
	bits = test_below(rng, 2) ? model.memory : model.reserved;
	value = test_below(rng, 2);
	if (test_below(rng, 4) == 0)
		fault_arm(FAULT_MEMBLOCK, (int64_t)test_below(rng, 2), 1);
	if (bits == model.memory)
		result = value ? do_add(base, size) : do_remove(base, size);
	else
		result = value ? do_reserve(base, size) : do_free(base, size);
	fault_disarm_all();
	if (result == 0)
		memset(bits + first, value, n);
	else
		assert_int_equal(errno, ENOMEM);
}

static void model_run(struct test_rng *rng, uint64_t steps)
{
	memset(model.memory, 0, sizeof(model.memory));
	memset(model.reserved, 0, sizeof(model.reserved));
	for (uint64_t step = 0; step < steps; step++) {
		model_step_edit(rng);
		if (step % 4 == 0)
			model_step_find(rng);
		if (step % 64 == 0) {
			model_compare(model.memory, &mb.memory);
			model_compare(model.reserved, &mb.reserved);
			model_compare_free();
		}
	}
}

static void test_random_steps(void **state)
{
	struct test_rng rng = test_seed();
	uint64_t steps =
		test_setting("QUIRE_TEST_OPS", TEST_SANITIZED ? 10000 : 100000);

	(void)state;
	/* Small: addresses 0 to 200, every region array stays as it is. */
	model.origin = 0;
	model.unit = 1;
	model.units = 200;
	model_run(&rng, steps);
	assert_int_equal(mb.memory.max, 128);

	/* Large: arrays grow, into the second half of the heap only. */
	setup(state);
	model.origin = heap_base();
	model.unit = 64;
	model.units = MODEL_UNITS;
	mb.limit_low = heap_base() + sizeof(heap) / 2;
	memblock_add(&mb, mb.limit_low + 64, sizeof(heap) / 2 - 64);
	model_run(&rng, steps);
	assert_true(mb.memory.max > 256);
	assert_true(mb.reserved.max > 256);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_BOTH(name)                                                        \
	{ #name " memory", name, setup, teardown, &memory_ops },               \
	{                                                                      \
#name " reserved", name, setup, teardown, &reserved_ops        \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_BOTH(test_insert_apart),
		TEST_BOTH(test_insert_touching),
		TEST_BOTH(test_insert_overlapping),
		TEST_BOTH(test_insert_three_into_one),
		TEST_BOTH(test_erase),
		TEST_BOTH(test_erase_across),
		TEST_BOTH(test_nothing),
		TEST_BOTH(test_address_space_end),
		TEST_BOTH(test_contains),
		TEST(test_find_directions),
		TEST(test_find_range),
		TEST(test_find_extremes),
		TEST(test_find_invalid),
		TEST(test_alloc),
		TEST(test_alloc_all),
		TEST(test_alloc_never_zero),
		TEST(test_next_free),
		TEST(test_grow_reserved),
		TEST(test_grow_memory),
		TEST(test_grow_both),
		TEST(test_grow_by_splitting),
		TEST(test_grow_avoids_range),
		TEST(test_grow_both_avoid),
		TEST(test_grow_no_space),
		TEST(test_grow_half_space),
		TEST(test_faults),
		TEST(test_debug),
		TEST(test_random_steps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
