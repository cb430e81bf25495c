/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory map: pfn <-> descriptor <-> address for regions that start and
 * end anywhere; every pointer that is not a descriptor's is refused.
 */
#include "testing.h"

#include "map/memmap.h"

struct fixture {
	struct region region;
	struct memmap map;
	char *pages; /* the table, with room around it */
	uint64_t *privates;
	char *pageblocks;
	size_t pages_bytes, privates_bytes, pageblocks_bytes;
};

enum { MARGIN = 4096 };

static void setup(struct fixture *f, pfn_t first, pfn_t end)
{
	f->region = (struct region){ .first = first,
				     .end = end,
				     .base = UINT64_C(0x7000) << 28,
				     .mapped = true };
	f->pages_bytes = memmap_pages_bytes(&f->region);
	f->privates_bytes = memmap_privates_bytes(&f->region);
	f->pageblocks_bytes = memmap_pageblocks_bytes(&f->region);
	f->pages = aligned_alloc(4096, (f->pages_bytes + 2 * MARGIN + 4095) &
					       ~(size_t)4095);
	f->pageblocks = aligned_alloc(4096, (f->pageblocks_bytes + 4095) &
						    ~(size_t)4095);
	f->privates = malloc(f->privates_bytes);
	assert_true(f->pages && f->privates && f->pageblocks);
	memset(f->pages, 0, f->pages_bytes + 2 * MARGIN);
	memset(f->pageblocks, 0, f->pageblocks_bytes);
	memmap_init(&f->map, &f->region, f->pages + MARGIN, f->privates,
		    f->pageblocks);
}

static void teardown(struct fixture *f)
{
	free(f->pages);
	free(f->privates);
	free(f->pageblocks);
}

static const struct {
	pfn_t first, end;
	unsigned pageblocks;
} regions[] = {
	{ 0, 1, 1 },	       { 0, 512, 1 },	       { 0, 513, 2 },
	{ 511, 513, 2 },       { 511, 512, 1 },	       { 300, 301, 1 },
	{ 1000, 3000, 5 },     { 1024, 2048, 2 },      { 262143, 262145, 2 },
	{ 262144, 264000, 4 }, { 250000, 263000, 26 },
};

static void test_sizes(void **state)
{
	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(regions); i++) {
		struct region region = { .first = regions[i].first,
					 .end = regions[i].end };

		assert_int_equal(memmap_pages_bytes(&region),
				 8 * (regions[i].end - regions[i].first));
		assert_int_equal(memmap_privates_bytes(&region),
				 8 * (regions[i].end - regions[i].first));
		assert_int_equal(memmap_pageblocks_bytes(&region),
				 128 * regions[i].pageblocks);
	}
}

static void check_page(struct fixture *f, pfn_t pfn)
{
	struct quire_page *page = memmap_page(&f->map, pfn);
	char *at = f->pages + MARGIN + (size_t)(pfn - f->region.first) * 8;

	assert_ptr_equal(page, at);
	assert_ptr_equal(f->map.privates + pfn,
			 f->privates + (pfn - f->region.first));
	assert_int_equal(memmap_pfn(&f->map, page), pfn);
	assert_true((uintptr_t)memmap_virt(&f->map, pfn) ==
		    f->region.base + (uint64_t)pfn * 4096);
	assert_true(memmap_has_pfn(&f->map, pfn));
	for (uintptr_t off = 1; off < 8; off++)
		assert_int_equal(
			memmap_pfn(&f->map,
				   (const struct quire_page *)((uintptr_t)page +
							       off)),
			PFN_NONE);
}

static void check_foreign(struct fixture *f)
{
	uintptr_t start = (uintptr_t)f->pages + MARGIN;
	uintptr_t end = start + f->pages_bytes;

	for (uintptr_t off = 1; off <= MARGIN; off++) {
		assert_int_equal(
			memmap_pfn(&f->map, (const void *)(start - off)),
			PFN_NONE);
		assert_int_equal(
			memmap_pfn(&f->map, (const void *)(end + off - 1)),
			PFN_NONE);
	}
	assert_int_equal(memmap_pfn(&f->map, NULL), PFN_NONE);
	assert_int_equal(memmap_pfn(&f->map, (const void *)UINTPTR_MAX),
			 PFN_NONE);
	/* 2^32 descriptors on: the pfn must not be cut to 32 bits first. */
	assert_int_equal(memmap_pfn(&f->map, (const void *)(start + (UINT64_C(1)
								     << 35))),
			 PFN_NONE);
}

static void test_convert(void **state)
{
	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(regions); i++) {
		struct fixture f;

		setup(&f, regions[i].first, regions[i].end);
		for (pfn_t pfn = f.region.first; pfn < f.region.end; pfn++)
			check_page(&f, pfn);
		assert_false(memmap_has_pfn(&f.map, f.region.end));
		assert_false(
			memmap_has_pfn(&f.map, (uint64_t)f.region.first - 1));
		assert_false(memmap_has_pfn(&f.map, (UINT64_C(1) << 32) +
							    f.region.first));
		check_foreign(&f);
		teardown(&f);
	}
}

static void test_pageblocks(void **state)
{
	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(regions); i++) {
		struct fixture f;
		uint32_t index = regions[i].first / 512;

		setup(&f, regions[i].first, regions[i].end);
		for (unsigned n = 0; n < regions[i].pageblocks; n++) {
			struct block *block =
				memmap_pageblock(&f.map, index + n);

			/* The first is the last: next to the descriptors. */
			assert_ptr_equal(
				block,
				f.pageblocks +
					(regions[i].pageblocks - 1 - n) * 128);
			assert_int_equal(memmap_pageblock_index(&f.map, block),
					 index + n);
		}
		teardown(&f);
	}
}

/* Zero-filled means free and untouched, so nothing has to be written. */
static void test_nothing_written(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 1000, 3000);
	for (size_t i = 0; i < f.pages_bytes + 2 * MARGIN; i++)
		assert_int_equal(f.pages[i], 0);
	for (size_t i = 0; i < f.pageblocks_bytes; i++)
		assert_int_equal(f.pageblocks[i], 0);
	assert_int_equal(page_word(memmap_page(&f.map, 1000)) & PAGE_KIND_MASK,
			 PAGE_FREE);
	teardown(&f);
}

static void test_word(void **state)
{
	uint64_t word = PAGE_HEAD | 18 | page_tag(3, 5) |
			UINT64_C(0xbeef) << PAGE_FLAGS_SHIFT | 7 * PAGE_REF_ONE;

	(void)state;
	assert_int_equal(page_order(word), 18);
	assert_int_equal(page_zone(word), 3);
	assert_int_equal(page_type(word), 5);
	assert_int_equal(page_refs(word), 7);
	assert_true(page_is_head(word));
	assert_false(page_is_head(PAGE_PCP | 3));
	assert_false(page_is_head(0));
	assert_int_equal((word & PAGE_FLAGS_MASK) >> PAGE_FLAGS_SHIFT, 0xbeef);
	assert_false(word & PAGE_ZERO);
	assert_int_equal(page_zone(PAGE_ZERO | PAGE_PCP), 0);
	assert_int_equal(page_order(PAGE_ZERO | PAGE_PCP), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_convert),
		cmocka_unit_test(test_pageblocks),
		cmocka_unit_test(test_nothing_written),
		cmocka_unit_test(test_word),
	};

	return cmocka_run_group_tests_name("memmap", tests, NULL, NULL);
}
