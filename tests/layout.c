/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The layout: every cut as options ask for it, what rounding does, regions that
 * start or end inside 2 MiB, and what is refused, with its values.
 */
#include "testing.h"

#include <errno.h>

#include "base/report.h"
#include "instance/layout.h"

#define MIB (UINT64_C(1) << 20)
#define BLOCK 512u

#define DMA32 QUIRE_ZONE_DMA32
#define NORMAL QUIRE_ZONE_NORMAL
#define MOVABLE QUIRE_ZONE_MOVABLE
#define DEVICE QUIRE_ZONE_DEVICE

static struct test_messages messages = TEST_MESSAGES_INIT;
static const struct reporter reporter = { test_catch, &messages };
static struct layout layout;

static int begin(void **state)
{
	(void)state;
	messages.count = 0;
	return 0;
}

static int plan(const struct quire_options *options, pfn_t first, pfn_t end)
{
	const struct region region = { .first = first, .end = end };

	messages.count = 0;
	errno = 0;
	return layout_plan(&layout, options, &region, &reporter);
}

static void plans(const struct quire_options *options, pfn_t first, pfn_t end)
{
	if (plan(options, first, end) != 0)
		fail_msg("refused: %s", messages.text[0]);
	assert_int_equal(messages.count, 0);
}

static void refuses(const struct quire_options *options, pfn_t first, pfn_t end,
		    const char *told)
{
	assert_int_equal(plan(options, first, end), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(messages.count, 1);
	assert_told(&messages, told);
}

/* In pageblocks, but for a region's own ends. */
struct expected {
	unsigned node;
	enum quire_zone kind;
	unsigned first, end;
};

static void expect_zones(const struct expected *zones, unsigned n, pfn_t first,
			 pfn_t end)
{
	assert_int_equal(layout.nr_zones, n);
	for (unsigned i = 0; i < n; i++) {
		const struct zone_span *span = &layout.zone[i];
		pfn_t from = zones[i].first * BLOCK, to = zones[i].end * BLOCK;

		assert_int_equal(span->node, zones[i].node);
		assert_int_equal(span->kind, zones[i].kind);
		assert_int_equal(span->first, from > first ? from : first);
		assert_int_equal(span->end, to < end ? to : end);
	}
}

#define EXPECT(first, end, ...)                                                \
	expect_zones((const struct expected[]){ __VA_ARGS__ },                 \
		     TEST_LENGTH(((const struct expected[]){ __VA_ARGS__ })),  \
		     first, end)

static struct quire_options options_of(unsigned nodes)
{
	return (struct quire_options){ .nodes = nodes };
}

static void test_one(void **state)
{
	struct quire_options options = options_of(1);

	(void)state;
	plans(&options, 0, 4 * BLOCK);
	EXPECT(0, 4 * BLOCK, { 0, NORMAL, 0, 4 });
	assert_int_equal(layout.zone[0].cma, 0);
	plans(&options, 7, 8);
	EXPECT(7, 8, { 0, NORMAL, 0, 1 });
	plans(&options, 5, 0xfffffdff);
	EXPECT(5, 0xfffffdff, { 0, NORMAL, 0, 0x7fffff });
	options.zone_size[DMA32] = 2 * MIB;
	options.zone_size[MOVABLE] = 6 * MIB;
	options.zone_size[DEVICE] = 4 * MIB;
	plans(&options, 0, 16 * BLOCK);
	EXPECT(0, 16 * BLOCK, { 0, DMA32, 0, 1 }, { 0, NORMAL, 1, 11 },
	       { 0, MOVABLE, 11, 14 }, { 0, DEVICE, 14, 16 });
}

static void test_equal_nodes(void **state)
{
	struct quire_options options = options_of(4);

	(void)state;
	plans(&options, 0, 16 * BLOCK);
	EXPECT(0, 16 * BLOCK, { 0, NORMAL, 0, 4 }, { 1, NORMAL, 4, 8 },
	       { 2, NORMAL, 8, 12 }, { 3, NORMAL, 12, 16 });
	for (unsigned n = 0; n <= 4; n++)
		assert_int_equal(layout.node[n], n * 4 * BLOCK);
	/* The last one gets what rounding leaves. */
	plans(&options, 0, 19 * BLOCK + 3);
	EXPECT(0, 19 * BLOCK + 3, { 0, NORMAL, 0, 4 }, { 1, NORMAL, 4, 8 },
	       { 2, NORMAL, 8, 12 }, { 3, NORMAL, 12, 20 });
	options.nodes = QUIRE_MAX_NODES;
	plans(&options, 0, 16 * BLOCK);
	assert_int_equal(layout.nr_zones, 16);
	assert_int_equal(layout.zone[15].first, 15 * BLOCK);
}

static void test_sized_nodes(void **state)
{
	struct quire_options options = options_of(3);

	(void)state;
	options.node_size[0] = 2 * MIB;
	options.node_size[1] = 10 * MIB;
	plans(&options, 0, 9 * BLOCK);
	EXPECT(0, 9 * BLOCK, { 0, NORMAL, 0, 1 }, { 1, NORMAL, 1, 6 },
	       { 2, NORMAL, 6, 9 });
	plans(&options, 0, 6 * BLOCK + 1);
	EXPECT(0, 6 * BLOCK + 1, { 0, NORMAL, 0, 1 }, { 1, NORMAL, 1, 6 },
	       { 2, NORMAL, 6, 7 });
	refuses(&options, 0, 6 * BLOCK,
		"node 1 of 3: ends at pfn 3072, the region at 3072: nodes of "
		"2560 pages do not fit");
	refuses(&options, 0, BLOCK,
		"node 0 of 3: ends at pfn 512, the region at 512");
}

/* An address window knows no nodes; nor does what is a device's. */
static void test_across_nodes(void **state)
{
	struct quire_options options = options_of(4);

	(void)state;
	options.zone_size[DMA32] = 10 * MIB;
	options.zone_size[DEVICE] = 12 * MIB;
	plans(&options, 0, 16 * BLOCK);
	EXPECT(0, 16 * BLOCK, { 0, DMA32, 0, 4 }, { 1, DMA32, 4, 5 },
	       { 1, NORMAL, 5, 8 }, { 2, NORMAL, 8, 10 }, { 2, DEVICE, 10, 12 },
	       { 3, DEVICE, 12, 16 });
	/* Movable memory is where NORMAL would have been. */
	options.zone_size[MOVABLE] = 4 * MIB;
	plans(&options, 0, 16 * BLOCK);
	EXPECT(0, 16 * BLOCK, { 0, DMA32, 0, 4 }, { 1, DMA32, 4, 5 },
	       { 1, NORMAL, 5, 6 }, { 1, MOVABLE, 6, 8 }, { 2, NORMAL, 8, 10 },
	       { 2, DEVICE, 10, 12 }, { 3, DEVICE, 12, 16 });
	options.zone_size[DMA32] = 16 * MIB;
	options.zone_size[MOVABLE] = 2 * MIB;
	plans(&options, 0, 16 * BLOCK);
	EXPECT(0, 16 * BLOCK, { 0, DMA32, 0, 4 }, { 1, DMA32, 4, 8 },
	       { 2, NORMAL, 8, 9 }, { 2, MOVABLE, 9, 10 },
	       { 2, DEVICE, 10, 12 }, { 3, DEVICE, 12, 16 });
}

/* In proportion; what rounding leaves goes to the first with room. */
static void test_shares(void **state)
{
	struct quire_options options = options_of(3);

	(void)state;
	options.node_size[0] = 8 * MIB;
	options.node_size[1] = 24 * MIB;
	options.zone_size[MOVABLE] = 16 * MIB;
	plans(&options, 0, 32 * BLOCK);
	EXPECT(0, 32 * BLOCK, { 0, NORMAL, 0, 3 }, { 0, MOVABLE, 3, 4 },
	       { 1, NORMAL, 4, 13 }, { 1, MOVABLE, 13, 16 },
	       { 2, NORMAL, 16, 28 }, { 2, MOVABLE, 28, 32 });
	/* 1.125, 3.375 and 4.5 of 9 blocks. */
	options.zone_size[MOVABLE] = 18 * MIB;
	plans(&options, 0, 32 * BLOCK);
	EXPECT(0, 32 * BLOCK, { 0, NORMAL, 0, 2 }, { 0, MOVABLE, 2, 4 },
	       { 1, NORMAL, 4, 13 }, { 1, MOVABLE, 13, 16 },
	       { 2, NORMAL, 16, 28 }, { 2, MOVABLE, 28, 32 });
	/* All but one block. */
	options.zone_size[MOVABLE] = 62 * MIB;
	plans(&options, 0, 32 * BLOCK);
	EXPECT(0, 32 * BLOCK, { 0, MOVABLE, 0, 4 }, { 1, MOVABLE, 4, 16 },
	       { 2, NORMAL, 16, 17 }, { 2, MOVABLE, 17, 32 });
}

static void test_odd_start(void **state)
{
	struct quire_options options = options_of(2);
	const pfn_t first = 3 * BLOCK + 100, end = 15 * BLOCK + 9;

	(void)state;
	/* The first gets up to the next 2 MiB more. */
	options.node_size[0] = 4 * MIB;
	plans(&options, first, end);
	EXPECT(first, end, { 0, NORMAL, 3, 6 }, { 1, NORMAL, 6, 16 });
	options.zone_size[DMA32] = 2 * MIB;
	plans(&options, first, end);
	EXPECT(first, end, { 0, DMA32, 3, 5 }, { 0, NORMAL, 5, 6 },
	       { 1, NORMAL, 6, 16 });
	options.zone_size[DMA32] = 6 * MIB;
	plans(&options, first, end);
	EXPECT(first, end, { 0, DMA32, 3, 6 }, { 1, DMA32, 6, 7 },
	       { 1, NORMAL, 7, 16 });
	/* So does the last. */
	options.zone_size[DEVICE] = 4 * MIB;
	plans(&options, first, end);
	EXPECT(first, end, { 0, DMA32, 3, 6 }, { 1, DMA32, 6, 7 },
	       { 1, NORMAL, 7, 13 }, { 1, DEVICE, 13, 16 });
}

/* Odd ends together are pages of a block, but no block. */
static void test_odd_both(void **state)
{
	struct quire_options options = options_of(6);

	(void)state;
	for (unsigned n = 0; n < 5; n++)
		options.node_size[n] = 2 * MIB;
	options.zone_size[MOVABLE] = 22 * MIB;
	refuses(&options, 751, 6427, "zone_size[MOVABLE] 23068672: there are");
	options.zone_size[MOVABLE] = 20 * MIB;
	plans(&options, 751, 6427);
}

static void test_cma(void **state)
{
	struct quire_options options = options_of(2);

	(void)state;
	options.zone_size[DMA32] = 4 * MIB;
	options.zone_size[MOVABLE] = 8 * MIB;
	options.cma_size = 8 * MIB;
	plans(&options, 0, 20 * BLOCK);
	/* NORMAL has 6 blocks in node 0 and 8 in node 1. */
	EXPECT(0, 20 * BLOCK, { 0, DMA32, 0, 2 }, { 0, NORMAL, 2, 8 },
	       { 0, MOVABLE, 8, 10 }, { 1, NORMAL, 10, 18 },
	       { 1, MOVABLE, 18, 20 });
	assert_int_equal(layout.zone[1].cma + layout.zone[3].cma, 4 * BLOCK);
	assert_int_equal(layout.zone[1].cma, 2 * BLOCK);
	options.cma_size = 26 * MIB;
	plans(&options, 0, 20 * BLOCK);
	assert_int_equal(layout.zone[1].cma, 6 * BLOCK);
	assert_int_equal(layout.zone[3].cma, 7 * BLOCK);
	options.cma_size = 28 * MIB;
	refuses(&options, 0, 20 * BLOCK,
		"cma_size 29360128: there are 29360128 bytes for it");
	/* Blocks that a region has in part are nobody's. */
	options = options_of(1);
	options.cma_size = 2 * MIB;
	refuses(&options, 1, 2 * BLOCK - 1, "cma_size 2097152: there are 0");
	refuses(&options, 1, 2 * BLOCK + 1,
		"cma_size 2097152: there are 2097152");
	plans(&options, 1, 3 * BLOCK + 1);
	assert_int_equal(layout.zone[0].cma, BLOCK);
}

static void test_too_large(void **state)
{
	struct quire_options options = options_of(1);

	(void)state;
	options.zone_size[DMA32] = 16 * MIB;
	refuses(&options, 0, 8 * BLOCK,
		"zone_size[DMA32] 16777216: there are 16777216 bytes for it, "
		"and some must be left");
	options.zone_size[DMA32] = 14 * MIB;
	plans(&options, 0, 8 * BLOCK);
	options.zone_size[DEVICE] = 2 * MIB;
	refuses(&options, 0, 8 * BLOCK,
		"zone_size[DEVICE] 2097152: there are 2097152");
	options.zone_size[DMA32] = 12 * MIB;
	plans(&options, 0, 8 * BLOCK);
	options.zone_size[MOVABLE] = 2 * MIB;
	refuses(&options, 0, 8 * BLOCK,
		"zone_size[MOVABLE] 2097152: there are 2097152");
	options.zone_size[DMA32] = 10 * MIB;
	plans(&options, 0, 8 * BLOCK);
	EXPECT(0, 8 * BLOCK, { 0, DMA32, 0, 5 }, { 0, NORMAL, 5, 6 },
	       { 0, MOVABLE, 6, 7 }, { 0, DEVICE, 7, 8 });
	/* A region that starts inside has less than it seems. */
	options = options_of(1);
	options.zone_size[DMA32] = 2 * MIB;
	refuses(&options, 1, BLOCK + 400, "zone_size[DMA32] 2097152");
}

static void test_many(void **state)
{
	struct quire_options options = options_of(16);

	(void)state;
	options.zone_size[MOVABLE] = 32 * MIB;
	plans(&options, 0, 32 * BLOCK);
	assert_int_equal(layout.nr_zones, QUIRE_MAX_ZONES);
	options.zone_size[DMA32] = 2 * MIB;
	plans(&options, 0, 32 * BLOCK);
	assert_true(layout.nr_zones <= QUIRE_MAX_ZONES);
	options.zone_size[MOVABLE] = 64 * MIB;
	refuses(&options, 0, 64 * BLOCK,
		"node 15 of 16: more than 32 zones in all nodes together");
	options = options_of(16);
	refuses(&options, 0, 16 * BLOCK - 1,
		"node 0 of 16: ends at pfn 0, the region at 8191");
}

/* --- whatever is asked for --- */

static uint64_t sum_of(enum quire_zone kind)
{
	uint64_t sum = 0;

	for (unsigned z = 0; z < layout.nr_zones; z++)
		if (layout.zone[z].kind == kind)
			sum += layout.zone[z].end - layout.zone[z].first;
	return sum;
}

static void check_tiles(pfn_t first, pfn_t end, unsigned nodes)
{
	pfn_t at = first;

	assert_int_equal(layout.nr_nodes, nodes);
	assert_int_equal(layout.node[0], first);
	assert_int_equal(layout.node[nodes], end);
	for (unsigned z = 0; z < layout.nr_zones; z++) {
		const struct zone_span *span = &layout.zone[z];

		assert_int_equal(span->first, at);
		assert_true(span->first < span->end);
		assert_true(at == first || at % BLOCK == 0);
		assert_true(span->first >= layout.node[span->node]);
		assert_true(span->end <= layout.node[span->node + 1]);
		assert_true(span->cma % BLOCK == 0);
		assert_true(!span->cma || span->kind == QUIRE_ZONE_NORMAL);
		assert_true(z == 0 || span->node > span[-1].node ||
			    span->kind > span[-1].kind);
		at = span->end;
	}
	assert_int_equal(at, end);
}

/* Every zone has what was asked for, to a block where the region's own end is
 * inside one: DEVICE not less, and DMA32 not less where its start is. */
static void check_sizes(const struct quire_options *options, pfn_t first,
			pfn_t end)
{
	uint64_t cma = 0, slack = end % BLOCK ? BLOCK : 1;

	for (unsigned z = 0; z < layout.nr_zones; z++)
		cma += layout.zone[z].cma;
	assert_int_equal(cma, options->cma_size >> QUIRE_PAGE_SHIFT);
	for (enum quire_zone k = 0; k < QUIRE_NR_ZONES; k++) {
		uint64_t asked = options->zone_size[k] >> QUIRE_PAGE_SHIFT;
		uint64_t less = k == MOVABLE && asked ? slack : 1;
		uint64_t more = asked ? slack : 1;

		if (k == NORMAL)
			continue;
		if (k == DMA32 && asked)
			more = first % BLOCK ? BLOCK : 1;
		if (sum_of(k) >= asked + more || sum_of(k) + less <= asked)
			fail_msg("region %u to %u: %s has %llu pages, not %llu",
				 first, end, quire_zone_name(k),
				 (unsigned long long)sum_of(k),
				 (unsigned long long)asked);
	}
	assert_true(sum_of(NORMAL) > 0);
}

static struct quire_options random_options(struct test_rng *rng)
{
	struct quire_options options =
		options_of(1 + (unsigned)test_below(rng, 8));

	for (unsigned k = 0; k < QUIRE_NR_ZONES; k++)
		if (k != NORMAL && test_below(rng, 2))
			options.zone_size[k] = test_below(rng, 12) * 2 * MIB;
	if (test_below(rng, 2))
		options.cma_size = test_below(rng, 12) * 2 * MIB;
	if (test_below(rng, 2))
		for (unsigned n = 0; n + 1 < options.nodes; n++)
			options.node_size[n] =
				(1 + test_below(rng, 8)) * 2 * MIB;
	return options;
}

static void test_any(void **state)
{
	struct test_rng rng = test_seed();
	unsigned planned = 0;

	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		struct quire_options options = random_options(&rng);
		pfn_t first = (pfn_t)test_below(&rng, 4 * BLOCK);
		pfn_t end = first + 1 + (pfn_t)test_below(&rng, 64 * BLOCK);

		if (test_below(&rng, 2))
			first -= first % BLOCK;
		if (test_below(&rng, 2) && end - end % BLOCK > first)
			end -= end % BLOCK;
		if (plan(&options, first, end) != 0) {
			assert_int_equal(errno, EINVAL);
			assert_int_equal(messages.count, 1);
			continue;
		}
		planned++;
		check_tiles(first, end, options.nodes);
		check_sizes(&options, first, end);
	}
	assert_true(planned > 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_one, begin),
		cmocka_unit_test_setup(test_equal_nodes, begin),
		cmocka_unit_test_setup(test_sized_nodes, begin),
		cmocka_unit_test_setup(test_across_nodes, begin),
		cmocka_unit_test_setup(test_shares, begin),
		cmocka_unit_test_setup(test_odd_start, begin),
		cmocka_unit_test_setup(test_odd_both, begin),
		cmocka_unit_test_setup(test_cma, begin),
		cmocka_unit_test_setup(test_too_large, begin),
		cmocka_unit_test_setup(test_many, begin),
		cmocka_unit_test_setup(test_any, begin),
	};

	return cmocka_run_group_tests_name("layout", tests, NULL, NULL);
}
