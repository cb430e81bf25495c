/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The checker, checked: each invariant of quire_validate() and zone_validate()
 * is broken on purpose in a live allocator's tables, must be reported as what
 * it is, and is put right again.
 */
#include "testing.h"

#include "instance/allocator.h"

static struct test_messages messages = TEST_MESSAGES_INIT;

/* An allocator with something of everything in its tables. */
struct fixture {
	struct quire *q;
	struct zone *zone;
	struct pcp_set *set; /* of CPU 0 */
	unsigned list;	     /* a stack of it, with parked pages of order 0 */
	struct cpu_stack *stack;
	pfn_t *items; /* its */
	struct quire_page *live[6];
	pfn_t broken;		/* first pfn of a listed, broken pageblock */
	struct block *block;	/* its entry */
	struct quire_page *big; /* of order 10, a run of pageblocks */
	struct quire_page *run;
};

static struct fixture f;

enum { RUN = 700, CORNER = 37 };

/* First pfn of a pageblock with live pages of order 3 and free ones, listed. */
static void find_broken(void)
{
	for (uint32_t i = 0; i < 128; i++) {
		struct block *block = memmap_pageblock(&f.q->map, i);

		if (block->broken && block->bucket && block->free > 64) {
			f.block = block;
			f.broken = (pfn_t)(i << BLOCK_ORDER);
		}
	}
	assert_non_null(f.block);
}

static int begin_with(unsigned renew)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;
	struct quire_page *pages[100];

	memset(&f, 0, sizeof(f));
	messages.count = 0;
	options.size = (256u << 20) + CORNER * QUIRE_PAGE_SIZE;
	options.flags = QUIRE_OFFSETS;
	options.way = QUIRE_WAY_BOUND;
	options.cpus = 2;
	options.decay_ms = 1000000;
	options.renew = renew;
	options.report = test_catch;
	options.report_arg = &messages;
	f.q = quire_create(&options);
	assert_non_null(f.q);
	f.zone = f.q->zone[0];
	assert_int_equal(quire_cpu_bind(f.q, 0), 0);
	for (unsigned i = 0; i < TEST_LENGTH(f.live); i++)
		f.live[i] = quire_alloc_pages(f.q, 3, 0);
	f.big = quire_alloc_pages(f.q, 10, 0);
	f.run = quire_alloc_exact(f.q, RUN, 0);
	assert_int_equal(quire_alloc_pages_bulk(f.q, 0, 0, 100, pages), 100);
	assert_int_equal(quire_free_pages_bulk(f.q, 0, 100, pages), 100);
	f.set = pcp_set(f.q->pcp[0], 0);
	f.list = pcp_back(f.q->pcp[0], 0);
	f.stack = &f.set->stack[f.list];
	f.items = cpu_stack_items((char *)f.set, f.stack);
	find_broken();
	assert_int_equal(quire_validate(f.q), 0);
	return 0;
}

static int begin(void **state)
{
	(void)state;
	return begin_with(0);
}

static int begin_renewing(void **state)
{
	(void)state;
	return begin_with(16);
}

static int end(void **state)
{
	(void)state;
	messages.count = 0;
	if (quire_validate(f.q) != 0)
		fail_msg("not put right: %s", messages.text[0]);
	for (unsigned i = 0; i < TEST_LENGTH(f.live); i++)
		assert_int_equal(quire_free_pages(f.q, f.live[i], 3), 0);
	assert_int_equal(quire_free_pages(f.q, f.big, 10), 0);
	assert_int_equal(quire_free_exact(f.q, f.run, RUN), 0);
	assert_int_equal(quire_destroy(f.q), 0);
	return 0;
}

/* The checker must speak, and say this among what it says. */
static void expect(const char *format, ...) printf_like(1, 2);

static void expect(const char *format, ...)
{
	char part[256];
	va_list args;
	int violations;

	va_start(args, format);
	vsnprintf(part, sizeof(part), format, args);
	va_end(args);
	messages.count = 0;
	violations = quire_validate(f.q);
	assert_int_equal(violations, messages.count);
	assert_true(violations > 0);
	assert_told(&messages, part);
}

/* Changes a field for the time of one check. */
#define corrupt(field, value, ...)                                             \
	do {                                                                   \
		__typeof__(field) good_ = (field);                             \
		char part_[256];                                               \
                                                                               \
		snprintf(part_, sizeof(part_), __VA_ARGS__);                   \
		(field) = (__typeof__(field))(value);                          \
		expect("%s", part_);                                           \
		(field) = good_;                                               \
	} while (0)

static uint32_t index_of(const struct block *block)
{
	return memmap_pageblock_index(&f.q->map, block);
}

/* A set bit of the block's map below its last word; a unit in use. */
static unsigned used_unit(const struct block *block)
{
	unsigned unit = 0;

	while (!(block->map[unit / 64] >> unit % 64 & 1))
		unit++;
	return unit;
}

/* --- entries --- */

static void test_block_free(void **state)
{
	(void)state;
	corrupt(f.block->free, f.block->free - 1, "pageblock %u: free %u, %u",
		index_of(f.block), f.block->free - 1u, f.block->free);
}

static void test_block_map(void **state)
{
	unsigned unit = used_unit(f.block);

	(void)state;
	corrupt(f.block->map[unit / 64],
		f.block->map[unit / 64] & ~(UINT64_C(1) << unit % 64),
		"bits are clear");
}

static void test_block_largest(void **state)
{
	(void)state;
	corrupt(f.block->largest, f.block->largest - 1,
		"pageblock %u: largest %u, recomputed %u", index_of(f.block),
		f.block->largest - 1u, f.block->largest);
}

static void test_block_bucket(void **state)
{
	(void)state;
	corrupt(f.block->bucket, f.block->bucket == 1 ? 2 : 1,
		"pageblock %u: bucket %u, free %u", index_of(f.block),
		f.block->bucket == 1 ? 2u : 1u, f.block->free);
	corrupt(f.block->bucket, 0, "pageblock %u: list 0, free %u, owner 0",
		index_of(f.block), f.block->free);
}

static void test_block_type(void **state)
{
	(void)state;
	corrupt(f.block->type, QUIRE_NR_TYPES, "pageblock %u: type %u",
		index_of(f.block), (unsigned)QUIRE_NR_TYPES);
}

static void test_block_owner(void **state)
{
	(void)state;
	corrupt(f.block->owner, 2, "pageblock %u: owner 2 does not know it",
		index_of(f.block));
}

static void test_block_touched(void **state)
{
	pfn_t pfn = f.broken + used_unit(f.block);

	(void)state;
	corrupt(f.block->touched, 0, "pfn %u: in use, but untouched", pfn);
}

static void test_broken_but_whole(void **state)
{
	uint32_t whole = 100;
	struct block *block = memmap_pageblock(&f.q->map, whole);

	(void)state;
	assert_int_equal(
		f.zone->gigablocks[0].block.map[whole / 64] >> whole % 64 & 1,
		0);
	corrupt(block->broken, true, "pageblock %u: whole and broken", whole);
}

/* A broken block all of whose bits are clear should have gone back. */
static void test_broken_but_free(void **state)
{
	uint32_t index = (uint32_t)(quire_page_to_pfn(f.q, f.big) >> 9);
	struct block *block = memmap_pageblock(&f.q->map, index), good = *block;

	(void)state;
	memset(block->map, 0, sizeof(block->map));
	block->free = BLOCK_UNITS;
	block->largest = BLOCK_ORDER + 1;
	block->broken = true;
	expect("pageblock %u: broken, but wholly free", index);
	*block = good;
}

/* The region's last block is in the zone only up to the corner. */
static void test_free_outside_zone(void **state)
{
	struct block *block =
		memmap_pageblock(&f.q->map, f.zone->end >> BLOCK_ORDER);

	(void)state;
	assert_int_equal(f.zone->end % BLOCK_UNITS, CORNER);
	corrupt(block->map[7], block->map[7] & ~(UINT64_C(1) << 63),
		"pfn %llu: free, but not in zone 0",
		(unsigned long long)(f.zone->end | 511));
}

/* --- gigablocks --- */

static void test_gigablock_entry(void **state)
{
	struct block *giga = &f.zone->gigablocks[0].block;

	(void)state;
	corrupt(giga->free, giga->free + 1, "gigablock 0: free %u",
		giga->free + 1u);
	corrupt(giga->largest, giga->largest + 1, "gigablock 0: largest %u",
		giga->largest + 1u);
	corrupt(giga->bucket, 0, "gigablock 0: list 0");
}

static void test_gigablock_outside_zone(void **state)
{
	struct block *giga = &f.zone->gigablocks[0].block;

	(void)state;
	corrupt(giga->map[7], giga->map[7] & ~(UINT64_C(1) << 63),
		"pageblock 511: whole, but not all in zone 0");
}

static void test_gigablock_not_started(void **state)
{
	(void)state;
	corrupt(f.zone->fresh, 0, "gigablock 0: used, but not started");
}

/* --- lists, owners, counts --- */

static void test_list_masks(void **state)
{
	struct zone_lists *lists = &f.zone->lists[0];
	unsigned order = f.block->largest - 1u, bucket = f.block->bucket - 1u;

	(void)state;
	corrupt(lists->buckets[order], lists->buckets[order] ^ 1u << bucket,
		"list 0/%u/%u: mask 0, head %u", order, bucket,
		lists->head[order][bucket]);
	corrupt(lists->orders, lists->orders ^ 1u << order,
		"lists 0/%u: mask 0, buckets 0x%x", order,
		lists->buckets[order]);
	corrupt(lists->orders, lists->orders ^ 1u << 9, "lists 0/9: mask 1");
	lists = &f.zone->gigablock_lists;
	corrupt(lists->orders, lists->orders ^ 1u << 8, "lists 0/17: mask 1");
}

static void test_list_links(void **state)
{
	struct zone_lists *lists = &f.zone->lists[0];
	unsigned order = f.block->largest - 1u, bucket = f.block->bucket - 1u;

	(void)state;
	corrupt(f.block->prev, f.block->prev + 5, "entry %u has prev %u for %u",
		index_of(f.block), f.block->prev + 5, f.block->prev);
	corrupt(lists->head[order][bucket], 0, "list 0/%u/%u: mask 1, head 0",
		order, bucket);
	corrupt(lists->head[order][bucket], 0, "say they are listed");
}

static void test_owner_table(void **state)
{
	(void)state;
	assert_int_equal(f.zone->nr_owners, 2);
	corrupt(f.zone->owned[NR_CALL_TYPES], index_of(f.block) + 1,
		"owner 1: pageblock %u is not its", index_of(f.block));
}

static void test_counts(void **state)
{
	uint64_t free = zone_free_pages(f.zone);

	(void)state;
	corrupt(f.zone->free_whole, f.zone->free_whole + 512,
		"zone 0: counts %llu whole",
		(unsigned long long)f.zone->free_whole + 512);
	corrupt(f.zone->free_type[0], f.zone->free_type[0] - 1,
		"zone 0: type 0 counts");
	atomic_store(&f.zone->free, free + 1);
	expect(" whole, %llu free", (unsigned long long)free + 1);
	atomic_store(&f.zone->free, free);
}

/* --- state words --- */

static void corrupt_word(pfn_t pfn, uint64_t bad, const char *format, ...)
	printf_like(3, 4);

static void corrupt_word(pfn_t pfn, uint64_t bad, const char *format, ...)
{
	struct quire_page *page = memmap_page(&f.q->map, pfn);
	uint64_t good = page_word(page);
	char part[256];
	va_list args;

	va_start(args, format);
	vsnprintf(part, sizeof(part), format, args);
	va_end(args);
	page_set_word(page, bad);
	expect("%s", part);
	page_set_word(page, good);
}

static void test_head_words(void **state)
{
	pfn_t pfn = (pfn_t)quire_page_to_pfn(f.q, f.live[2]);

	(void)state;
	corrupt_word(pfn, PAGE_HEAD | 19, "block of order 19, zone 0");
	corrupt_word(pfn, PAGE_HEAD | 3 | page_tag(1, 0),
		     "block of order 3, zone 1: misaligned or outside zone 0");
	corrupt_word(pfn, PAGE_FREE, "pfn %u: not free in zone 0, state 0x0",
		     pfn);
	corrupt_word(pfn, PAGE_HEAD | 2, "pfn %u: not free in zone 0", pfn + 4);
	corrupt_word(pfn + 1, PAGE_HEAD | 1,
		     "block of order 3 at %u, but a "
		     "head, state 0x21",
		     pfn);
	corrupt_word(pfn + 1, PAGE_PCP, "pfn %u: inside the block", pfn + 1);
}

static void test_misaligned_head(void **state)
{
	pfn_t pfn = (pfn_t)quire_page_to_pfn(f.q, f.run) + 1;

	(void)state;
	corrupt_word(pfn, PAGE_HEAD | 1,
		     "pfn %u: block of order 1, zone 0: "
		     "misaligned",
		     pfn);
}

static void test_free_with_word(void **state)
{
	unsigned unit = 511;

	(void)state;
	while (f.block->map[unit / 64] >> unit % 64 & 1)
		unit--;
	corrupt_word(f.broken + unit, PAGE_HEAD, "pfn %u: free in zone 0",
		     f.broken + unit);
}

/* A live block whose tail the zone has as free as well. */
static void test_free_inside_block(void **state)
{
	pfn_t pfn = (pfn_t)quire_page_to_pfn(f.q, f.live[2]) + 3;
	struct block *block = memmap_pageblock(&f.q->map, pfn >> BLOCK_ORDER);
	unsigned unit = pfn % BLOCK_UNITS;

	(void)state;
	corrupt(block->map[unit / 64],
		block->map[unit / 64] & ~(UINT64_C(1) << unit % 64),
		"pfn %u: inside the block of order 3 at %u, but free in its "
		"zone",
		pfn, pfn - 3);
}

/* --- per-CPU lists --- */

static void test_list_entry(void **state)
{
	pfn_t live = (pfn_t)quire_page_to_pfn(f.q, f.live[0]);

	(void)state;
	corrupt(f.items[0], live,
		"CPU 0, list %u, slot 0: pfn %u has state 0x23", f.list, live);
}

static void test_parked_word(void **state)
{

	(void)state;
	corrupt_word(f.items[1], PAGE_HEAD, "CPU 0, list %u, slot 1: pfn %u",
		     f.list, f.items[1]);
	corrupt_word(f.items[1], PAGE_PCP | page_tag(0, 3), "not 0x40");
}

/* A block that is in no list any more, and one that is in two. */
static void test_list_count(void **state)
{
	uint64_t word = cpu_stack_word(f.stack);
	pfn_t *above = &f.items[cpu_stack_count(word)], good = *above;
	struct pcp_count count = { 0 };
	unsigned n;

	(void)state;
	pcp_count(f.q->pcp[0], &count);
	n = (unsigned)count.parked_blocks;
	cpu_stack_set_word(f.stack, word - 1);
	expect("zone 0: %u list entries, %u parked blocks", n - 1, n);
	*above = f.items[0];
	cpu_stack_set_word(f.stack, word + 1);
	expect("zone 0: %u list entries, %u parked blocks", n + 1, n);
	*above = good;
	cpu_stack_set_word(f.stack, word);
}

static void test_list_capacity(void **state)
{
	uint16_t *most = &f.q->pcp[0]->high_max[0][0];
	uint32_t n = cpu_stack_count(cpu_stack_word(f.stack));

	(void)state;
	corrupt(*most, n - 1, "CPU 0, list %u: %u entries of %u", f.list, n,
		n - 1);
}

#define each(test) cmocka_unit_test_setup_teardown(test, begin, end)
/* Of the stack that frees push: with renewal it is another. */
#define each_list(test)                                                        \
	each(test),                                                            \
	{                                                                      \
#test " renewing", test, begin_renewing, end, NULL             \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		each(test_block_free),
		each(test_block_map),
		each(test_block_largest),
		each(test_block_bucket),
		each(test_block_type),
		each(test_block_owner),
		each(test_block_touched),
		each(test_broken_but_whole),
		each(test_broken_but_free),
		each(test_free_outside_zone),
		each(test_gigablock_entry),
		each(test_gigablock_outside_zone),
		each(test_gigablock_not_started),
		each(test_list_masks),
		each(test_list_links),
		each(test_owner_table),
		each(test_counts),
		each(test_head_words),
		each(test_misaligned_head),
		each(test_free_with_word),
		each(test_free_inside_block),
		each_list(test_list_entry),
		each_list(test_parked_word),
		each_list(test_list_count),
		each_list(test_list_capacity),
	};

	return cmocka_run_group_tests_name("validate", tests, NULL, NULL);
}
