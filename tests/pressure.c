/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Watermarks and reserves of a whole allocator: that they are what the formulae
 * say, that they hold, and each pair of rules that can be at odds.
 */
#include "testing.h"

#include <errno.h>
#include <stdatomic.h>
#include <time.h>

#include "quire/quire.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)

enum { BLOCK = 512, MOST = 1 << 16 };

static struct test_messages messages = TEST_MESSAGES_INIT;
/* What a test holds, the newest last, and of which order. */
static struct quire_page *held[MOST];
static unsigned orders[MOST];
static size_t nr_held;

static int begin(void **state)
{
	(void)state;
	nr_held = 0;
	return test_begin(&messages);
}

static void expect_told(const char *part)
{
	assert_told(&messages, part);
	messages.count = 0;
}

/* Of offsets, one CPU and no page lists but the caller's. */
static struct quire_options options_of(uint64_t size)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;

	options.size = size;
	options.flags = QUIRE_OFFSETS;
	options.way = QUIRE_WAY_BOUND;
	options.cpus = 2;
	options.report = test_catch;
	options.report_arg = &messages;
	return options;
}

static struct quire *create(const struct quire_options *options)
{
	struct quire *q = quire_create(options);

	if (!q)
		fail_msg("errno %d: %s", errno, messages.text[0]);
	if (options->way == QUIRE_WAY_BOUND)
		assert_int_equal(quire_cpu_bind(q, 0), 0);
	messages.count = 0;
	return q;
}

static struct quire_stat stat_of(const struct quire *q)
{
	struct quire_stat stat;

	assert_int_equal(quire_stat(q, &stat, sizeof(stat)), 0);
	return stat;
}

static struct quire_zone_info zone_of(const struct quire *q, unsigned n)
{
	struct quire_zone_info info;

	assert_int_equal(quire_zone_info(q, n, &info, sizeof(info)), 0);
	return info;
}

/* Whatever was parked. */
static uint64_t free_of(struct quire *q, unsigned zone)
{
	assert_int_equal(quire_drain_all(q), 0);
	return zone_of(q, zone).free;
}

static struct quire_page *take(struct quire *q, unsigned order, unsigned flags)
{
	struct quire_page *page = quire_alloc_pages(q, order, flags);

	if (page) {
		assert_true(nr_held < MOST);
		held[nr_held] = page;
		orders[nr_held++] = order;
	}
	return page;
}

/* Until there is nothing for such a call; how many it got. */
static size_t fill(struct quire *q, unsigned order, unsigned flags)
{
	size_t before = nr_held;

	errno = 0;
	while (take(q, order, flags))
		;
	assert_int_equal(errno, ENOMEM);
	return nr_held - before;
}

static void refused(struct quire *q, unsigned order, unsigned flags)
{
	errno = 0;
	assert_null(quire_alloc_pages(q, order, flags));
	assert_int_equal(errno, ENOMEM);
}

static void release(struct quire *q, size_t down_to)
{
	while (nr_held > down_to) {
		nr_held--;
		assert_int_equal(
			quire_free_pages(q, held[nr_held], orders[nr_held]), 0);
	}
}

static void destroy(struct quire *q)
{
	release(q, 0);
	assert_int_equal(quire_validate(q), 0);
	quire_cpu_unbind(q);
	assert_int_equal(quire_destroy(q), 0);
}

/* --- what the marks are --- */

static void expect_marks(const struct quire *q, unsigned zone, uint64_t min,
			 uint64_t low, uint64_t high)
{
	struct quire_zone_info info = zone_of(q, zone);

	assert_int_equal(info.min, min);
	assert_int_equal(info.low, low);
	assert_int_equal(info.high, high);
	assert_int_equal(info.boost, 0);
}

static void test_marks(void **state)
{
	struct quire_options options = options_of(GIB);
	struct quire *q = create(&options);

	(void)state;
	expect_marks(q, 0, 0, 262, 524);
	destroy(q);
	options.min_free = 4 * MIB;
	q = create(&options);
	expect_marks(q, 0, 1024, 1286, 1548);
	destroy(q);
	options.min_free = QUIRE_MIN_FREE_AUTO;
	q = create(&options);
	expect_marks(q, 0, 1024, 1286, 1548);
	destroy(q);
	options.watermark_scale = 1000;
	q = create(&options);
	expect_marks(q, 0, 1024, 1024 + 26214, 1024 + 2 * 26214);
	destroy(q);
}

static void test_marks_of_zones(void **state)
{
	struct quire_options options = options_of(GIB);
	struct quire_zone_info info;
	struct quire *q;

	(void)state;
	options.zone_size[QUIRE_ZONE_DMA32] = 64 * MIB;
	options.min_free = QUIRE_MIN_FREE_AUTO;
	q = create(&options);
	expect_marks(q, 0, 64, 80, 96);
	expect_marks(q, 1, 960, 1205, 1450);
	info = zone_of(q, 0);
	assert_int_equal(info.reserve[QUIRE_ZONE_DMA32], 0);
	assert_int_equal(info.reserve[QUIRE_ZONE_NORMAL], 960);
	assert_int_equal(info.reserve[QUIRE_ZONE_MOVABLE], 960);
	assert_int_equal(info.reserve[QUIRE_ZONE_DEVICE], 0);
	assert_int_equal(zone_of(q, 1).reserve[QUIRE_ZONE_NORMAL], 0);
	destroy(q);
	/* A device's pages have no part in it. */
	options.zone_size[QUIRE_ZONE_DMA32] = 0;
	options.zone_size[QUIRE_ZONE_MOVABLE] = 128 * MIB;
	options.zone_size[QUIRE_ZONE_DEVICE] = 512 * MIB;
	options.lowmem_ratio[QUIRE_ZONE_NORMAL] = 64;
	options.min_free = 4 * MIB;
	q = create(&options);
	expect_marks(q, 0, 768, 960, 1152);
	expect_marks(q, 1, 256, 320, 384);
	expect_marks(q, 2, 0, 0, 0);
	info = zone_of(q, 0);
	assert_int_equal(info.reserve[QUIRE_ZONE_NORMAL], 0);
	assert_int_equal(info.reserve[QUIRE_ZONE_MOVABLE], 512);
	destroy(q);
	/* Reserves are a node's own affair. */
	options = options_of(GIB);
	options.nodes = 2;
	options.zone_size[QUIRE_ZONE_MOVABLE] = 512 * MIB;
	options.lowmem_ratio[QUIRE_ZONE_NORMAL] = UINT32_MAX;
	q = create(&options);
	for (unsigned z = 0; z < 4; z++)
		for (unsigned k = 0; k < QUIRE_NR_ZONES; k++)
			assert_int_equal(zone_of(q, z).reserve[k], 0);
	destroy(q);
	options.lowmem_ratio[QUIRE_ZONE_NORMAL] = 0;
	q = create(&options);
	for (unsigned z = 0; z < 4; z++)
		assert_int_equal(zone_of(q, z).reserve[QUIRE_ZONE_MOVABLE],
				 z % 2 ? 0 : 65536 / 32);
	destroy(q);
}

/* --- reserves that hold --- */

/* What each kind of call leaves of 256 pages. */
static const struct {
	unsigned flags;
	uint64_t left;
} leaves[] = {
	{ 0, 256 },
	{ QUIRE_MOVABLE, 256 },
	{ QUIRE_RECLAIMABLE, 256 },
	{ QUIRE_NORETRY, 256 },
	{ QUIRE_ATOMIC, 192 },
	{ QUIRE_HIGH, 128 },
	{ QUIRE_HIGH | QUIRE_MOVABLE, 128 },
	{ QUIRE_HIGH | QUIRE_ATOMIC, 96 },
	{ QUIRE_MEMALLOC, 0 },
};

static struct quire_options reserving(void)
{
	struct quire_options options = options_of(64 * MIB);

	options.min_free = MIB;
	return options;
}

static void check_reserves(enum quire_way way)
{
	struct quire_options options = reserving();
	struct quire *q;

	options.way = way;
	q = create(&options);
	for (size_t i = 0; i < TEST_LENGTH(leaves); i++) {
		while (take(q, 0, leaves[i].flags))
			;
		/* One that may not drain the lists leaves what is parked. */
		if (leaves[i].flags != QUIRE_NORETRY)
			assert_int_equal(free_of(q, 0), leaves[i].left);
		assert_true(free_of(q, 0) >= leaves[i].left);
	}
	release(q, 0);
	/* In bulk, too, and in any other way to get pages. */
	nr_held = quire_alloc_pages_bulk(q, 0, 0, 16384, held);
	memset(orders, 0, nr_held * sizeof(orders[0]));
	assert_int_equal(nr_held, 16384 - 256);
	assert_int_equal(errno, ENOMEM);
	refused(q, 0, 0);
	assert_null(quire_alloc_exact(q, 1, 0));
	assert_null(quire_alloc_pages(q, 0, QUIRE_NOLOCK));
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(free_of(q, 0), 256);
	nr_held +=
		quire_alloc_pages_bulk(q, 0, QUIRE_HIGH, 256, held + nr_held);
	assert_int_equal(nr_held, 16384 - 128);
	destroy(q);
}

static void test_reserves(void **state)
{
	(void)state;
	for (enum quire_way way = QUIRE_WAY_DEFAULT; way <= QUIRE_WAY_BOUND;
	     way++) {
		struct quire_options options = reserving();
		struct quire *q;

		begin(state);
		options.way = way;
		q = quire_create(&options);
		if (!q && way == QUIRE_WAY_RSEQ && errno == ENOTSUP)
			continue;
		assert_non_null(q);
		assert_int_equal(quire_destroy(q), 0);
		check_reserves(way);
	}
}

struct crowd {
	struct quire *q;
	_Atomic unsigned seats, running;
	unsigned flags;
};

static void *grab(void *arg)
{
	enum { MINE = 16384 };
	struct crowd *crowd = arg;
	struct quire_page **pages = calloc(MINE, sizeof(*pages));
	size_t n = 0;

	assert_non_null(pages);
	assert_int_equal(
		quire_cpu_bind(crowd->q, atomic_fetch_add(&crowd->seats, 1)),
		0);
	for (unsigned round = 0; round < 20; round++) {
		while ((pages[n] =
				quire_alloc_pages(crowd->q, 0, crowd->flags)))
			n++;
		/* Not the same ones all the time. */
		for (unsigned i = 0; i < 300 && n; i++)
			quire_free_pages(crowd->q, pages[--n], 0);
	}
	while (n)
		quire_free_pages(crowd->q, pages[--n], 0);
	assert_int_equal(quire_cpu_unbind(crowd->q), 0);
	atomic_fetch_sub(&crowd->running, 1);
	free(pages);
	return NULL;
}

/* Not for a moment, whoever looks. */
static void test_reserve_at_any_time(void **state)
{
	struct quire_options options = reserving();
	struct crowd crowd = { .seats = 0, .running = 3 };
	uint64_t least = UINT64_MAX, looks = 0;
	pthread_t threads[3];

	(void)state;
	options.cpus = 4;
	crowd.q = create(&options);
	assert_int_equal(quire_cpu_unbind(crowd.q), 0);
	for (size_t i = 0; i < TEST_LENGTH(threads); i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, grab, &crowd), 0);
	while (atomic_load(&crowd.running)) {
		uint64_t free = zone_of(crowd.q, 0).free;

		least = free < least ? free : least;
		looks++;
	}
	for (size_t i = 0; i < TEST_LENGTH(threads); i++)
		pthread_join(threads[i], NULL);
	printf("# %llu pages free at least, of %llu looks\n",
	       (unsigned long long)least, (unsigned long long)looks);
	assert_true(least >= 256);
	destroy(crowd.q);
}

/* --- pairs of rules --- */

/* Runs that are there do not help when taking one would leave too little. */
static void test_reserve_and_order(void **state)
{
	struct quire_options options = reserving();
	struct quire *q = create(&options);
	uint64_t runs[QUIRE_NR_ORDERS];

	(void)state;
	assert_int_equal(fill(q, 6, 0), (16384 - 256) / 64);
	assert_int_equal(free_of(q, 0), 256);
	assert_int_equal(quire_free_runs(q, runs), 0);
	assert_true(runs[6] + 2 * runs[7] + 4 * runs[8] > 0);
	refused(q, 6, 0);
	refused(q, 0, 0);
	assert_null(quire_alloc_exact(q, 33, 0));
	assert_int_equal(errno, ENOMEM);
	/* 63 pages above the floor are no 64. */
	assert_int_equal(quire_free_pages(q, held[--nr_held], 6), 0);
	assert_non_null(take(q, 0, 0));
	refused(q, 6, 0);
	assert_int_equal(fill(q, 0, 0), 63);
	/* From 256: one to 192, two to 128, all of the rest. */
	assert_int_equal(fill(q, 6, QUIRE_ATOMIC), 1);
	assert_int_equal(fill(q, 6, QUIRE_HIGH), 1);
	assert_int_equal(fill(q, 6, QUIRE_HIGH | QUIRE_ATOMIC), 0);
	assert_int_equal(fill(q, 5, QUIRE_HIGH | QUIRE_ATOMIC), 1);
	assert_int_equal(fill(q, 0, QUIRE_MEMALLOC), 96);
	destroy(q);
}

/* What is free in an isolated block is no fallback, for nobody. */
static void test_fallback_and_isolation(void **state)
{
	static const unsigned flags[] = {
		0,
		QUIRE_MOVABLE,
		QUIRE_RECLAIMABLE,
		QUIRE_MOVABLE | QUIRE_CMA,
		QUIRE_ATOMIC,
		QUIRE_MEMALLOC,
	};
	struct quire_options options = options_of(8 * MIB);
	struct quire *q = create(&options);

	(void)state;
	assert_int_equal(
		quire_set_mobility(q, BLOCK, 2 * BLOCK, QUIRE_TYPE_ISOLATED),
		0);
	assert_int_equal(fill(q, 0, 0), 2 * BLOCK);
	for (size_t i = 0; i < TEST_LENGTH(flags); i++)
		for (unsigned order = 0; order < 11; order++)
			refused(q, order, flags[i]);
	assert_int_equal(zone_of(q, 0).free, 2 * BLOCK);
	assert_int_equal(zone_of(q, 0).free_type[QUIRE_TYPE_ISOLATED],
			 2 * BLOCK);
	assert_int_equal(
		quire_set_mobility(q, BLOCK, BLOCK, QUIRE_TYPE_MOVABLE), 0);
	assert_int_equal(fill(q, 0, QUIRE_RECLAIMABLE), BLOCK);
	destroy(q);
	/* Live pages stay; freed they stay away. */
	q = create(&options);
	assert_int_equal(fill(q, 0, 0), 4 * BLOCK);
	assert_int_equal(
		quire_set_mobility(q, 0, 4 * BLOCK, QUIRE_TYPE_ISOLATED), 0);
	release(q, 7);
	refused(q, 0, 0);
	assert_int_equal(stat_of(q).pages_parked, 0);
	assert_int_equal(free_of(q, 0), 4 * BLOCK - 7);
	release(q, 0);
	assert_int_equal(
		quire_set_mobility(q, 0, 4 * BLOCK, QUIRE_TYPE_UNMOVABLE), 0);
	assert_int_equal(fill(q, 9, 0), 4);
	destroy(q);
}

static void test_isolation_of_large(void **state)
{
	struct quire_options options = options_of(8 * MIB);
	struct quire *q = create(&options);
	struct quire_page *page = take(q, 9, 0);
	uint64_t pfn = quire_page_to_pfn(q, page);

	(void)state;
	errno = 0;
	assert_int_equal(quire_set_mobility(q, pfn, BLOCK, QUIRE_TYPE_CMA), -1);
	assert_int_equal(errno, EBUSY);
	expect_told("a live block of order 9 or more is in it");
	for (unsigned type = QUIRE_TYPE_HIGHATOMIC; type < 8;
	     type = type == QUIRE_TYPE_HIGHATOMIC ? QUIRE_NR_TYPES : type + 1) {
		errno = 0;
		assert_int_equal(quire_set_mobility(q, 0, BLOCK, type), -1);
		assert_int_equal(errno, EINVAL);
		expect_told("not a type to be set");
	}
	assert_int_equal(quire_set_mobility(q, 0, 0, 0), -1);
	assert_int_equal(quire_set_mobility(q, 1, BLOCK, 0), -1);
	assert_int_equal(quire_set_mobility(q, 0, BLOCK - 1, 0), -1);
	assert_int_equal(quire_set_mobility(q, 0, 5 * BLOCK, 0), -1);
	assert_int_equal(quire_set_mobility(q, 4 * BLOCK, BLOCK, 0), -1);
	assert_int_equal(quire_set_mobility(q, 5 * BLOCK, BLOCK, 0), -1);
	assert_int_equal(quire_set_mobility(q, -(uint64_t)BLOCK, 2 * BLOCK, 0),
			 -1);
	assert_int_equal(messages.count, 7);
	assert_int_equal(quire_mobility(q, pfn), -1);
	errno = 0;
	assert_int_equal(quire_mobility(q, 4 * BLOCK), -1);
	assert_int_equal(errno, EINVAL);
	destroy(q);
}

static struct quire_options two_nodes(void)
{
	struct quire_options options = options_of(64 * MIB);

	options.nodes = 2;
	options.min_free = MIB;
	return options;
}

/* It fails though another node has plenty, and leaves the reserve alone. */
static void test_thisnode_and_reserve(void **state)
{
	const unsigned here = QUIRE_NODE(0) | QUIRE_THISNODE;
	struct quire_options options = two_nodes();
	struct quire *q = create(&options);
	struct quire_page *page;

	(void)state;
	assert_int_equal(fill(q, 0, here), 8192 - 128);
	assert_int_equal(free_of(q, 0), 128);
	assert_int_equal(free_of(q, 1), 8192);
	for (unsigned order = 0; order < 8; order++)
		refused(q, order, here);
	/* Without, the other node, not the reserve. */
	page = take(q, 0, QUIRE_NODE(0));
	assert_int_equal(quire_page_node(q, page), 1);
	page = take(q, 0, QUIRE_HIGH);
	assert_int_equal(quire_page_node(q, page), 1);
	assert_int_equal(fill(q, 0, here | QUIRE_HIGH), 64);
	assert_int_equal(fill(q, 0, here | QUIRE_MEMALLOC), 64);
	destroy(q);
}

/* Below low another node is better; below low everywhere, the own one is. */
static void test_low_and_nodes(void **state)
{
	struct quire_options options = two_nodes();
	struct quire *q = create(&options);
	struct quire_zone_info info = zone_of(q, 0);
	struct quire_page *page;

	(void)state;
	while (quire_page_node(q, take(q, 0, 0)) == 0)
		;
	assert_int_equal(free_of(q, 0), info.low);
	release(q, nr_held - 1);
	while (free_of(q, 1) > info.low)
		assert_non_null(take(q, 0, QUIRE_NODE(1) | QUIRE_THISNODE));
	page = take(q, 0, 0);
	assert_int_equal(quire_page_node(q, page), 0);
	while (quire_page_node(q, take(q, 0, 0)) == 0)
		;
	assert_int_equal(free_of(q, 0), info.min);
	fill(q, 0, 0);
	assert_int_equal(free_of(q, 1), info.min);
	destroy(q);
}

static struct quire_options with_zones(void)
{
	struct quire_options options = options_of(32 * MIB);

	options.zone_size[QUIRE_ZONE_DMA32] = 4 * MIB;
	options.zone_size[QUIRE_ZONE_MOVABLE] = 8 * MIB;
	options.zone_size[QUIRE_ZONE_DEVICE] = 4 * MIB;
	return options;
}

enum { Z_DMA32, Z_NORMAL, Z_MOVABLE, Z_DEVICE };

/* Nothing but movable pages, even when all else is empty. */
static void test_movable_zone(void **state)
{
	static const unsigned others[] = { 0, QUIRE_RECLAIMABLE, QUIRE_DMA32,
					   QUIRE_ATOMIC, QUIRE_MEMALLOC };
	struct quire_options options = with_zones();
	struct quire *q;

	(void)state;
	options.lowmem_ratio[QUIRE_ZONE_DMA32] = UINT32_MAX;
	options.lowmem_ratio[QUIRE_ZONE_NORMAL] = UINT32_MAX;
	q = create(&options);
	assert_int_equal(fill(q, 0, 0), 20 * MIB / QUIRE_PAGE_SIZE);
	for (size_t i = 0; i < TEST_LENGTH(others); i++)
		for (unsigned order = 0; order < 12; order += 4)
			refused(q, order, others[i]);
	assert_int_equal(free_of(q, Z_MOVABLE), 2048);
	release(q, 0);
	/* Movable ones go there first, then below. */
	assert_int_equal(quire_drain_all(q), 0);
	for (unsigned i = 0; i < 2048; i++)
		assert_non_null(take(q, 0, QUIRE_MOVABLE));
	assert_true(free_of(q, Z_MOVABLE) <= zone_of(q, Z_MOVABLE).low);
	assert_int_equal(fill(q, 0, QUIRE_MOVABLE), 20 * MIB / QUIRE_PAGE_SIZE);
	assert_int_equal(free_of(q, Z_DEVICE), 1024);
	destroy(q);
}

/* A device's zone has no marks, and no other calls. */
static void test_device(void **state)
{
	struct quire_options options = with_zones();
	struct quire *q;

	(void)state;
	options.min_free = MIB;
	q = create(&options);
	errno = 0;
	assert_null(quire_alloc_pages(q, 0, QUIRE_DEVICE | QUIRE_ZERO));
	assert_int_equal(errno, ENOTSUP);
	assert_int_equal(fill(q, 0, QUIRE_DEVICE), 1024);
	assert_int_equal(free_of(q, Z_NORMAL), 4096);
	refused(q, 0, QUIRE_DEVICE | QUIRE_MEMALLOC);
	destroy(q);
}

/* What is kept from calls that could go higher is there for those that cannot.
 */
static void test_lowmem_and_dma32(void **state)
{
	struct quire_options options = with_zones();
	struct quire *q;
	uint64_t kept;

	(void)state;
	options.lowmem_ratio[QUIRE_ZONE_DMA32] = 16;
	options.lowmem_ratio[QUIRE_ZONE_NORMAL] = 32;
	options.min_free = MIB;
	q = create(&options);
	kept = zone_of(q, Z_DMA32).reserve[QUIRE_ZONE_NORMAL];
	assert_int_equal(kept, 4096 / 16);
	fill(q, 0, 0);
	assert_int_equal(free_of(q, Z_DMA32), zone_of(q, Z_DMA32).min + kept);
	assert_int_equal(free_of(q, Z_NORMAL), zone_of(q, Z_NORMAL).min);
	/* Half of min, but all that is kept. */
	fill(q, 0, QUIRE_HIGH);
	assert_int_equal(free_of(q, Z_DMA32),
			 zone_of(q, Z_DMA32).min / 2 + kept);
	fill(q, 0, QUIRE_DMA32);
	assert_int_equal(free_of(q, Z_DMA32), zone_of(q, Z_DMA32).min);
	assert_int_equal(fill(q, 0, QUIRE_DMA32 | QUIRE_MEMALLOC),
			 zone_of(q, Z_DMA32).min);
	release(q, 0);
	/* The movable calls' reserve in NORMAL is its own. */
	fill(q, 0, QUIRE_MOVABLE);
	assert_int_equal(free_of(q, Z_NORMAL),
			 zone_of(q, Z_NORMAL).min + 2048 / 32);
	assert_int_equal(free_of(q, Z_DMA32),
			 zone_of(q, Z_DMA32).min + (4096 + 2048) / 16);
	assert_int_equal(fill(q, 0, QUIRE_THISNODE) > 0, true);
	assert_int_equal(free_of(q, Z_NORMAL), zone_of(q, Z_NORMAL).min);
	destroy(q);
}

/* CMA is lent to who says so, and to nobody else in any need. */
static void test_cma_and_fallback(void **state)
{
	struct quire_options options = options_of(16 * MIB);
	struct quire *q;

	(void)state;
	options.cma_size = 4 * MIB;
	q = create(&options);
	assert_int_equal(zone_of(q, 0).free_type[QUIRE_TYPE_CMA], 1024);
	assert_int_equal(quire_mobility(q, 7 * BLOCK), QUIRE_TYPE_CMA);
	assert_int_equal(quire_mobility(q, 5 * BLOCK), -1);
	assert_int_equal(fill(q, 0, 0), 3072);
	refused(q, 0, QUIRE_MOVABLE);
	refused(q, 0, QUIRE_RECLAIMABLE);
	refused(q, 0, QUIRE_MEMALLOC);
	refused(q, 3, QUIRE_ATOMIC);
	errno = 0;
	assert_null(quire_alloc_pages(q, 0, QUIRE_CMA));
	assert_int_equal(errno, EINVAL);
	expect_told("CMA is for movable pages");
	assert_int_equal(fill(q, 2, QUIRE_MOVABLE | QUIRE_CMA), 256);
	for (unsigned i = 3072; i < nr_held; i++)
		assert_true(quire_page_to_pfn(q, held[i]) >= 6 * BLOCK);
	/* Freed they are CMA again. */
	release(q, 3072);
	refused(q, 0, QUIRE_MOVABLE);
	assert_int_equal(free_of(q, 0), 1024);
	assert_int_equal(zone_of(q, 0).free_type[QUIRE_TYPE_CMA], 1024);
	destroy(q);
	/* What others may not have does not count for their floors. */
	options.min_free = MIB;
	q = create(&options);
	assert_int_equal(fill(q, 0, 0), 3072 - 256);
	assert_int_equal(fill(q, 0, QUIRE_MOVABLE | QUIRE_CMA), 1024);
	assert_int_equal(free_of(q, 0), 256);
	destroy(q);
}

/* The nearest node's zones, highest first, before another node's. */
static void test_bind_and_kind(void **state)
{
	struct quire_options options = options_of(32 * MIB);
	struct quire_policy bind = { .mode = QUIRE_POLICY_BIND, .nodes = 2 };
	struct quire_page *page;
	struct quire *q;
	size_t n = 0;

	(void)state;
	options.nodes = 2;
	options.zone_size[QUIRE_ZONE_DMA32] = 4 * MIB;
	options.zone_size[QUIRE_ZONE_MOVABLE] = 8 * MIB;
	options.watermark_scale = 1;
	options.lowmem_ratio[QUIRE_ZONE_DMA32] = UINT32_MAX;
	options.lowmem_ratio[QUIRE_ZONE_NORMAL] = UINT32_MAX;
	q = create(&options);
	errno = 0;
	assert_null(quire_alloc_pages_with(q, 0, QUIRE_DMA32, &bind, 0));
	assert_int_equal(errno, EINVAL);
	expect_told("bind: nodes 0x2 have no memory");
	while ((page = quire_alloc_pages_with(q, 0, QUIRE_MOVABLE, &bind, 0))) {
		assert_int_equal(quire_page_node(q, page), 1);
		held[nr_held] = page;
		orders[nr_held++] = 0;
		n++;
	}
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(n, 4096);
	/* Node 0's MOVABLE zone is nothing to who is bound to node 1. */
	assert_int_equal(zone_of(q, 2).kind, QUIRE_ZONE_MOVABLE);
	assert_int_equal(zone_of(q, 2).node, 0);
	assert_int_equal(free_of(q, 2), zone_of(q, 2).pages);
	destroy(q);
}

/* --- high-atomic blocks --- */

static unsigned count_highatomic(struct quire *q, uint64_t pages)
{
	unsigned n = 0;

	for (uint64_t pfn = 0; pfn < pages; pfn += BLOCK)
		n += quire_mobility(q, pfn) == QUIRE_TYPE_HIGHATOMIC;
	return n;
}

/* A zone of less than a hundred blocks keeps none. */
static void test_no_highatomic(void **state)
{
	struct quire_options options = options_of(198 * MIB);
	struct quire *q = create(&options);

	(void)state;
	for (unsigned i = 0; i < 600; i++)
		assert_non_null(take(q, 3, QUIRE_ATOMIC));
	assert_int_equal(count_highatomic(q, 198 * MIB / QUIRE_PAGE_SIZE), 0);
	destroy(q);
}

static void test_highatomic(void **state)
{
	struct quire_options options = options_of(256 * MIB);
	struct quire *q = create(&options);
	uint64_t pages = 256 * MIB / QUIRE_PAGE_SIZE;

	(void)state;
	assert_non_null(take(q, 2, QUIRE_ATOMIC));
	assert_int_equal(zone_of(q, 0).free_type[QUIRE_TYPE_HIGHATOMIC],
			 BLOCK - 4);
	/* Not by single pages, and 1 % at most. */
	assert_non_null(take(q, 0, QUIRE_ATOMIC));
	for (unsigned i = 0; i < 600; i++)
		assert_non_null(take(q, 3, QUIRE_ATOMIC));
	assert_int_equal(count_highatomic(q, pages), 2);
	release(q, 1);
	/* Who does not try again leaves it alone; it is there for its own. */
	while (take(q, 0, QUIRE_NORETRY))
		;
	assert_true(zone_of(q, 0).free_type[QUIRE_TYPE_HIGHATOMIC] >=
		    BLOCK - 4);
	assert_non_null(take(q, 5, QUIRE_ATOMIC | QUIRE_NORETRY));
	release(q, 0);
	/* Before anybody fails it is anybody's. */
	assert_int_equal(fill(q, 0, 0), pages);
	assert_int_equal(zone_of(q, 0).free, 0);
	destroy(q);
}

/* The last free pages are served, but not made a reserve of: calls that cannot
 * dissolve it find what min keeps for them. */
static void test_highatomic_at_min(void **state)
{
	static const unsigned flags[] = {
		QUIRE_MEMALLOC | QUIRE_NOLOCK,
		QUIRE_MEMALLOC | QUIRE_NORETRY,
		QUIRE_ATOMIC | QUIRE_NORETRY,
		QUIRE_HIGH | QUIRE_NOLOCK,
		QUIRE_ATOMIC | QUIRE_HIGH | QUIRE_NOLOCK,
	};
	struct quire_options options = options_of(256 * MIB);
	struct quire *q;

	(void)state;
	options.min_free = MIB;
	q = create(&options);
	fill(q, 0, 0);
	assert_int_equal(free_of(q, 0), 256);
	assert_non_null(take(q, 1, QUIRE_ATOMIC));
	assert_int_equal(count_highatomic(q, 256 * MIB / QUIRE_PAGE_SIZE), 0);
	for (size_t i = 0; i < TEST_LENGTH(flags); i++) {
		assert_non_null(take(q, 0, flags[i]));
		release(q, nr_held - 1);
		assert_int_equal(free_of(q, 0), 254);
	}
	assert_int_equal(fill(q, 0, QUIRE_MEMALLOC | QUIRE_NORETRY), 254);
	assert_int_equal(free_of(q, 0), 0);
	destroy(q);
}

/* --- waiting --- */

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void test_wait_in_vain(void **state)
{
	struct quire_options options = options_of(2 * MIB);
	struct quire *q;
	uint64_t start;

	(void)state;
	options.wait_ms = 30;
	q = create(&options);
	fill(q, 0, 0);
	start = now_ms();
	errno = 0;
	assert_null(quire_alloc_pages(q, 0, QUIRE_WAIT));
	assert_int_equal(errno, ETIMEDOUT);
	assert_true(now_ms() - start >= 29);
	assert_int_equal(stat_of(q).waits, 1);
	assert_int_equal(stat_of(q).timeouts, 1);
	start = now_ms();
	assert_null(quire_alloc_pages_with(q, 0, QUIRE_WAIT, NULL, 90));
	assert_int_equal(errno, ETIMEDOUT);
	assert_true(now_ms() - start >= 89);
	/* Whom no zone could serve is told at once. */
	errno = 0;
	assert_null(quire_alloc_pages(q, 10, QUIRE_NOFAIL));
	assert_int_equal(errno, EINVAL);
	expect_told("no zone it may use could ever hold it");
	destroy(q);
}

struct waiter {
	struct quire *q;
	unsigned order, flags, wait_ms;
	struct quire_page *page;
	int error;
	pthread_t thread;
};

static void *wait_for(void *arg)
{
	struct waiter *w = arg;

	w->page = quire_alloc_pages_with(w->q, w->order, w->flags, NULL,
					 w->wait_ms);
	w->error = errno;
	return NULL;
}

/* Returns when it is in line. */
static void start_waiter(struct waiter *w)
{
	uint64_t before = stat_of(w->q).waits;

	assert_int_equal(pthread_create(&w->thread, NULL, wait_for, w), 0);
	while (stat_of(w->q).waits == before)
		sched_yield();
	usleep(2000);
}

/* A page that comes back is the waiter's, however quick others are. */
static void test_owed_and_plain(void **state)
{
	struct quire_options options = options_of(2 * MIB);
	uint64_t rounds = test_setting("QUIRE_TEST_ROUNDS", 100);
	struct quire *q = create(&options);

	(void)state;
	fill(q, 0, 0);
	for (uint64_t i = 0; i < rounds; i++) {
		struct waiter w = { .q = q,
				    .flags = QUIRE_WAIT,
				    .wait_ms = 10000 };

		start_waiter(&w);
		assert_int_equal(quire_free_pages(q, held[--nr_held], 0), 0);
		assert_null(quire_alloc_pages(q, 0, QUIRE_NORETRY));
		assert_null(quire_alloc_pages(q, 0, 0));
		assert_int_equal(errno, ENOMEM);
		pthread_join(w.thread, NULL);
		assert_non_null(w.page);
		held[nr_held++] = w.page;
	}
	assert_int_equal(stat_of(q).waits, rounds);
	assert_int_equal(stat_of(q).timeouts, 0);
	destroy(q);
}

/* Who waits for a run is owed it: pages of it do not go one by one. */
static void test_owed_and_order(void **state)
{
	struct quire_options options = options_of(2 * MIB);
	struct quire *q = create(&options);
	struct waiter w = {
		.q = q, .order = 4, .flags = QUIRE_WAIT, .wait_ms = 20000
	};

	(void)state;
	fill(q, 4, 0);
	assert_int_equal(nr_held, 32);
	release(q, 31);
	fill(q, 0, 0);
	start_waiter(&w);
	for (unsigned i = 0; i < 15; i++) {
		release(q, nr_held - 1);
		refused(q, 0, 0);
		refused(q, 0, QUIRE_HIGH);
	}
	release(q, nr_held - 1);
	pthread_join(w.thread, NULL);
	assert_non_null(w.page);
	assert_int_equal(quire_free_pages(q, w.page, 4), 0);
	/* Nobody waits any more: nothing is owed. */
	assert_int_equal(fill(q, 0, 0), 16);
	/* In vain: the debt is forgotten. */
	release(q, nr_held - 10);
	w.order = 5;
	w.wait_ms = 50;
	start_waiter(&w);
	pthread_join(w.thread, NULL);
	assert_null(w.page);
	assert_int_equal(w.error, ETIMEDOUT);
	assert_int_equal(fill(q, 0, 0), 10);
	destroy(q);
}

/* First come, first served; but who wants more keeps nobody from less. */
static void test_line(void **state)
{
	struct quire_options options = options_of(2 * MIB);
	struct quire *q = create(&options);
	struct waiter w[3];

	(void)state;
	fill(q, 0, 0);
	for (unsigned i = 0; i < 3; i++) {
		w[i] = (struct waiter){ .q = q,
					.order = i == 0 ? 9 : 0,
					.flags = QUIRE_WAIT,
					.wait_ms = i == 0 ? 3000 : 20000 };
		start_waiter(&w[i]);
	}
	release(q, nr_held - 1);
	pthread_join(w[1].thread, NULL);
	assert_non_null(w[1].page);
	assert_int_equal(stat_of(q).pages_free, 0);
	assert_int_equal(quire_free_pages(q, w[1].page, 0), 0);
	pthread_join(w[2].thread, NULL);
	assert_non_null(w[2].page);
	assert_int_equal(quire_free_pages(q, w[2].page, 0), 0);
	release(q, 0);
	pthread_join(w[0].thread, NULL);
	assert_non_null(w[0].page);
	assert_int_equal(quire_free_pages(q, w[0].page, 9), 0);
	destroy(q);
}

/* Waits as long as it takes, and for its own zones. */
static void test_nofail(void **state)
{
	struct quire_options options = two_nodes();
	struct quire *q;
	struct waiter w;

	(void)state;
	q = create(&options);
	w = (struct waiter){
		.q = q, .flags = QUIRE_NOFAIL | QUIRE_NODE(0) | QUIRE_THISNODE
	};
	fill(q, 0, QUIRE_NODE(0) | QUIRE_THISNODE);
	start_waiter(&w);
	/* What the other node has is not for it. */
	assert_int_equal(stat_of(q).pages_free, 128 + 8192);
	usleep(250000);
	release(q, nr_held - 1);
	pthread_join(w.thread, NULL);
	assert_non_null(w.page);
	assert_int_equal(quire_page_node(q, w.page), 0);
	assert_int_equal(quire_free_pages(q, w.page, 0), 0);
	assert_int_equal(stat_of(q).timeouts, 0);
	destroy(q);
}

/* Waiting does not open the reserve. */
static void test_wait_and_reserve(void **state)
{
	struct quire_options options = reserving();
	struct quire *q = create(&options);

	(void)state;
	fill(q, 0, 0);
	assert_null(quire_alloc_pages_with(q, 0, QUIRE_WAIT, NULL, 20));
	assert_int_equal(errno, ETIMEDOUT);
	assert_int_equal(free_of(q, 0), 256);
	assert_null(quire_alloc_pages_with(q, 0, QUIRE_WAIT | QUIRE_THISNODE,
					   NULL, 20));
	assert_int_equal(errno, ETIMEDOUT);
	assert_int_equal(free_of(q, 0), 256);
	destroy(q);
}

/* --- flags that are at odds --- */

static void test_contradictions(void **state)
{
	static const unsigned both[] = {
		QUIRE_NOLOCK | QUIRE_WAIT,	   QUIRE_NOLOCK | QUIRE_NOFAIL,
		QUIRE_ATOMIC | QUIRE_WAIT,	   QUIRE_ATOMIC | QUIRE_NOFAIL,
		QUIRE_NORETRY | QUIRE_WAIT,	   QUIRE_NORETRY | QUIRE_NOFAIL,
		QUIRE_DMA32 | QUIRE_DEVICE,	   QUIRE_DEVICE | QUIRE_NOFAIL,
		QUIRE_CMA | QUIRE_RECLAIMABLE,	   QUIRE_CMA,
		QUIRE_MOVABLE | QUIRE_RECLAIMABLE,
	};
	struct quire_options options = options_of(2 * MIB);
	struct quire *q = create(&options);
	struct quire_page *page;

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(both); i++) {
		char told[32];

		snprintf(told, sizeof(told), "flags 0x%x", both[i]);
		errno = 0;
		assert_null(quire_alloc_pages(q, 0, both[i]));
		assert_int_equal(errno, EINVAL);
		assert_int_equal(messages.count, 1);
		expect_told(told);
		errno = 0;
		assert_int_equal(
			quire_alloc_pages_bulk(q, 0, both[i], 1, &page), 0);
		assert_int_equal(errno, EINVAL);
		expect_told(told);
		errno = 0;
		assert_null(quire_alloc_exact(q, 3, both[i]));
		assert_int_equal(errno, EINVAL);
		expect_told(told);
	}
	assert_int_equal(stat_of(q).failures, 0);
	destroy(q);
}

#define TEST(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_marks),
		TEST(test_marks_of_zones),
		TEST(test_reserves),
		TEST(test_reserve_at_any_time),
		TEST(test_reserve_and_order),
		TEST(test_fallback_and_isolation),
		TEST(test_isolation_of_large),
		TEST(test_thisnode_and_reserve),
		TEST(test_low_and_nodes),
		TEST(test_movable_zone),
		TEST(test_device),
		TEST(test_lowmem_and_dma32),
		TEST(test_cma_and_fallback),
		TEST(test_bind_and_kind),
		TEST(test_no_highatomic),
		TEST(test_highatomic),
		TEST(test_highatomic_at_min),
		TEST(test_wait_in_vain),
		TEST(test_owed_and_plain),
		TEST(test_owed_and_order),
		TEST(test_line),
		TEST(test_nofail),
		TEST(test_wait_and_reserve),
		TEST(test_contradictions),
	};

	return cmocka_run_group_tests_name("pressure", tests, NULL, NULL);
}
