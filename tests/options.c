/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Options: the struct's size rules, each option's limits, and what does not
 * make sense together. What is refused is named, with its value.
 */
#include "settings.h"

#include "pcp/pcp.h"
#include "platform/platform_memory.h"

/* --- the struct --- */

static void test_defaults(void **state)
{
	const struct quire_options options = good();

	(void)state;
	accepts(&options);
	assert_int_equal(settings.options.size, 64u << 20);
	assert_int_equal(settings.options.nodes, 1);
	assert_int_equal(settings.distance[0], 10);
	assert_int_equal(settings.options.policy.mode, QUIRE_POLICY_LOCAL);
	assert_int_equal(settings.options.min_free, 0);
	assert_int_equal(settings.options.watermark_scale, 10);
	assert_int_equal(settings.options.wait_ms, 1000);
	assert_int_equal(settings.options.give_back, QUIRE_GIVE_NONE);
	assert_int_equal(settings.options.give_delay_ms, 10000);
	assert_int_equal(settings.options.give_rate, 0);
	assert_int_equal(settings.options.give_floor, 0);
	assert_int_equal(settings.options.decay_ms, 1000);
	assert_int_equal(settings.options.way, default_way());
	assert_int_equal(settings.options.cpus,
			 pcp_default_sets(default_way()));
	assert_int_equal(settings.options.renew, 0);
	assert_int_equal(settings.options.flags, 0);
	assert_false(settings.debug_init || settings.debug_memblock);
	assert_int_equal(messages.count, 0);
}

/* The struct of the first header: callers built with it are never refused. */
#define FIRST_SIZE (offsetof(struct quire_options, report_arg) + sizeof(void *))

static void test_struct_size(void **state)
{
	struct {
		struct quire_options options;
		char newer[16];
	} longer = { .options = good() };

	(void)state;
	/* Its reporter cannot be trusted either: stderr is told. */
	longer.options.struct_size = 0;
	refuses(&longer.options, NULL);
	longer.options.struct_size = FIRST_SIZE - 1;
	refuses(&longer.options, NULL);
	refuses(NULL, NULL);
	assert_int_equal(messages.count, 0);
	longer.options.struct_size = FIRST_SIZE;
	accepts(&longer.options);
	assert_int_equal(settings.options.size, 64u << 20);
	/* A newer caller that leaves the new fields alone is welcome. */
	longer.options.struct_size = sizeof(longer);
	accepts(&longer.options);
	longer.newer[15] = 1;
	refuses(&longer.options, NULL);
	longer.newer[15] = 0;
	longer.newer[0] = 1;
	refuses(&longer.options, NULL);
	longer.options.struct_size = sizeof(longer.options);
	accepts(&longer.options);
}

static void test_flags(void **state)
{
	static const unsigned with_offsets[] = { QUIRE_PREFAULT, QUIRE_MLOCK,
						 QUIRE_DONTFORK, QUIRE_ZEROED };
	struct quire_options options = good();

	(void)state;
	options.flags = QUIRE_PREFAULT | QUIRE_MLOCK | QUIRE_DONTFORK |
			QUIRE_ZEROED | QUIRE_CHECK_RACE | QUIRE_LOCK_TIMES |
			QUIRE_NUMA | QUIRE_PINNED;
	accepts(&options);
	options.flags = 1u << 9;
	refuses(&options, "unknown bits 0x200");
	options.flags = 1u << 31 | QUIRE_MLOCK;
	refuses(&options, "flags 0x80000004: unknown bits 0x80000000");
	options.flags = QUIRE_OFFSETS;
	accepts(&options);
	for (size_t i = 0; i < TEST_LENGTH(with_offsets); i++) {
		options.flags = QUIRE_OFFSETS | with_offsets[i];
		refuses(&options, "range of offsets");
	}
	options.flags = QUIRE_OFFSETS;
	options.address = &options;
	refuses(&options, "given with QUIRE_OFFSETS");
}

static void test_values(void **state)
{
	struct quire_options options = good();

	(void)state;
	options.size = 0;
	refuses(&options, "size 0");
	options = good();
	options.way = (enum quire_way)(QUIRE_WAY_BOUND + 1);
	refuses(&options, "way 4");
	options = good();
	options.backing[3] = QUIRE_BACKING_CALLER;
	refuses(&options, "backing[3] 5");
	options = good();
	options.cpus = UINT16_MAX;
	refuses(&options, "cpus 65535");
	options.cpus = UINT16_MAX - 1;
	accepts(&options);
	options = good();
	options.renew = QUIRE_RENEW_MAX + 1;
	refuses(&options, "renew 65: at most 64");
	options.renew = UINT32_MAX;
	refuses(&options, "renew 4294967295: at most 64");
	options.renew = QUIRE_RENEW_MAX;
	accepts(&options);
	assert_int_equal(settings.options.renew, 64);
}

/* All but NORMAL, which gets the rest. */
static void test_zones(void **state)
{
	static const enum quire_zone kinds[] = { QUIRE_ZONE_DMA32,
						 QUIRE_ZONE_MOVABLE,
						 QUIRE_ZONE_DEVICE };
	struct quire_options options = good();

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(kinds); i++) {
		uint64_t *size = &options.zone_size[kinds[i]];
		char told[96];

		*size = (2u << 20) + 4096;
		snprintf(told, sizeof(told),
			 "zone_size[%s] 2101248: need a multiple of 2 MiB",
			 quire_zone_name(kinds[i]));
		refuses(&options, told);
		*size = 66u << 20;
		snprintf(told, sizeof(told),
			 "zone_size[%s] 69206016: the region has 67108864",
			 quire_zone_name(kinds[i]));
		refuses(&options, told);
		*size = UINT64_MAX - (2u << 20) + 1;
		snprintf(told, sizeof(told),
			 "zone_size[%s] 18446744073707454464: the region has",
			 quire_zone_name(kinds[i]));
		refuses(&options, told);
		/* Whether all fit together, the layout says. */
		*size = 64u << 20;
		accepts(&options);
	}
	options.zone_size[QUIRE_ZONE_NORMAL] = 2u << 20;
	refuses(&options, "zone_size[NORMAL] 2097152: it gets what the others");
	options = good();
	options.cma_size = 4096;
	refuses(&options, "cma_size 4096: need a multiple of 2 MiB");
	options.cma_size = 2u << 20;
	accepts(&options);
}

static void test_nodes(void **state)
{
	struct quire_options options = good();

	(void)state;
	options.nodes = QUIRE_MAX_NODES + 1;
	refuses(&options, "nodes 17: at most 16");
	options.nodes = UINT32_MAX;
	refuses(&options, "nodes 4294967295: at most 16");
	options.nodes = QUIRE_MAX_NODES;
	accepts(&options);
	options.nodes = 3;
	options.node_size[0] = 2u << 20;
	refuses(&options, "node_size: 1 of 3 nodes have a size");
	options.node_size[1] = (2u << 20) + 1;
	refuses(&options, "node_size[1] 2097153: need a multiple of 2 MiB");
	options.node_size[1] = 2u << 20;
	accepts(&options);
	options.node_size[2] = 60u << 20;
	refuses(&options, "node_size[2] 62914560: the last node gets the rest");
	options.node_size[2] = 0;
	options.node_size[1] = 64u << 20;
	refuses(&options, "node_size: 69206016 bytes in all, the region has");
	options.node_size[1] = 2u << 20;
	options.node_size[3] = 2u << 20;
	refuses(&options, "node_size[3] 2097152: there are 3 nodes");
	options.node_size[3] = 0;
	/* Sixteen of them would not have a sum. */
	options.node_size[1] = UINT64_MAX - (2u << 20) + 1;
	refuses(&options, "node_size[1] 18446744073707454464: too large");
	options = good();
	options.nodes = 2;
	options.node_size[1] = 2u << 20;
	refuses(&options, "node_size[1] 2097152: the last node gets the rest");
}

static void test_distances(void **state)
{
	static const uint8_t far[] = { 10, 31, 17, 31, 10, 255, 17, 255, 10 };
	static const uint8_t wrong[] = { 10, 31, 17, 30, 10, 9, 17, 9, 11 };
	struct quire_options options = good();

	(void)state;
	options.nodes = 3;
	accepts(&options);
	for (unsigned i = 0; i < 9; i++)
		assert_int_equal(settings.distance[i], i % 4 ? 20 : 10);
	options.distances = far;
	accepts(&options);
	assert_memory_equal(settings.distance, far, sizeof(far));
	options.distances = wrong;
	refuses(&options, "distances[0][1] 31, distances[1][0] 30: not symm");
	assert_told(&messages,
		    "distances[1][2] 9, distances[2][1] 9: below 10");
	assert_told(&messages,
		    "distances[2][2] 11, distances[2][2] 11: not 10");
	assert_int_equal(messages.count, 3);
	/* The environment's count more, and must be as many as there are. */
	setenv("QUIRE_CONF", "distances:10+25+21+25+10+22+21+22+10", 1);
	accepts(&options);
	assert_int_equal(settings.distance[1], 25);
	assert_int_equal(settings.distance[5], 22);
	/* A wrong value leaves nothing behind. */
	setenv("QUIRE_CONF",
	       "distances:10+25+21+25+10+22+21+22+10,distances:10+99+x", 1);
	messages.count = 0;
	accepts(&options);
	assert_told(&messages, "unknown value in \"distances:10+99+x\"");
	assert_int_equal(settings.distance[1], 25);
	setenv("QUIRE_CONF", "distances:10+25+25+10", 1);
	refuses(&options, "QUIRE_CONF: 4 distances for 3 nodes, need 9");
	setenv("QUIRE_CONF", "nodes:2,distances:10+25+24+10", 1);
	refuses(&options, "distances[0][1] 25, distances[1][0] 24");
}

static void test_pressure(void **state)
{
	struct quire_options options = good();

	(void)state;
	options.min_free = 64u << 20;
	refuses(&options, "min_free 67108864: the region has 67108864");
	options.min_free = UINT64_MAX - 1;
	refuses(&options, "min_free 18446744073709551614: the region has");
	options.min_free = QUIRE_MIN_FREE_AUTO;
	accepts(&options);
	options.min_free = (64u << 20) - 1;
	accepts(&options);
	options.watermark_scale = 3001;
	refuses(&options, "watermark_scale 3001: at most 3000 of 10,000");
	options.watermark_scale = 3000;
	accepts(&options);
	assert_int_equal(settings.options.watermark_scale, 3000);
}

static void test_give_back(void **state)
{
	static const unsigned stays[] = { QUIRE_PINNED, QUIRE_MLOCK,
					  QUIRE_OFFSETS };
	struct quire_options options = good();

	(void)state;
	options.give_back = (enum quire_give_back)(QUIRE_GIVE_REMOVE + 1);
	refuses(&options, "give_back 4: unknown");
	options.give_back = QUIRE_GIVE_REMOVE;
	refuses(&options, "give_back remove: needs a region of a shared file");
	options.address = &options;
	accepts(&options);
	options.address = NULL;
	options.give_back = QUIRE_GIVE_FREE;
	accepts(&options);
	for (size_t i = 0; i < TEST_LENGTH(stays); i++) {
		options.flags = stays[i];
		refuses(&options, "does not go back");
		options.give_back = QUIRE_GIVE_NONE;
		accepts(&options);
		options.give_back = QUIRE_GIVE_DONTNEED;
	}
}

/* Without a choice there are as many nodes as the machine has. */
static void test_numa(void **state)
{
	struct quire_options options = good();
	unsigned with_memory = 0;

	(void)state;
	for (unsigned n = 0; n < platform_nr_nodes(); n++)
		with_memory += platform_node_bytes(n) != 0;
	if (with_memory == 0)
		with_memory = 1;
	options.flags = QUIRE_NUMA;
	accepts(&options);
	assert_int_equal(settings.options.nodes, with_memory);
	assert_int_equal(settings.distance[0], 10);
	options.nodes = with_memory + 1;
	refuses(&options, "with QUIRE_NUMA: the machine has");
	options.nodes = 1;
	accepts(&options);
	assert_int_equal(settings.options.nodes, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_defaults, begin, end),
		cmocka_unit_test_setup_teardown(test_struct_size, begin, end),
		cmocka_unit_test_setup_teardown(test_flags, begin, end),
		cmocka_unit_test_setup_teardown(test_values, begin, end),
		cmocka_unit_test_setup_teardown(test_zones, begin, end),
		cmocka_unit_test_setup_teardown(test_nodes, begin, end),
		cmocka_unit_test_setup_teardown(test_distances, begin, end),
		cmocka_unit_test_setup_teardown(test_pressure, begin, end),
		cmocka_unit_test_setup_teardown(test_give_back, begin, end),
		cmocka_unit_test_setup_teardown(test_numa, begin, end),
	};

	return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
