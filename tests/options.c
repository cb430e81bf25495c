/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Options: the struct's size rules, QUIRE_CONF key by key, and what does not
 * make sense together. What is refused or skipped is named, with its value.
 */
#include "testing.h"

#include <errno.h>
#include <stddef.h>

#include "instance/options.h"
#include "pcp/pcp.h"
#include "platform/platform.h"

static struct test_messages messages = TEST_MESSAGES_INIT;
static struct settings settings;

static struct quire_options good(void)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;

	options.size = 64u << 20;
	options.report = test_catch;
	options.report_arg = &messages;
	return options;
}

static int begin(void **state)
{
	(void)state;
	return test_begin(&messages);
}

static int end(void **state)
{
	(void)state;
	return unsetenv("QUIRE_CONF");
}

static void accepts(const struct quire_options *options)
{
	if (options_read(&settings, options) != 0)
		fail_msg("refused: %s",
			 messages.count ? messages.text[0] : "no message");
}

static void refuses(const struct quire_options *options, const char *part)
{
	messages.count = 0;
	errno = 0;
	assert_int_equal(options_read(&settings, options), -1);
	assert_int_equal(errno, EINVAL);
	if (part)
		assert_told(&messages, part);
}

static enum quire_way default_way(void)
{
	return platform_rseq_usable() ? QUIRE_WAY_RSEQ : QUIRE_WAY_TRYLOCK;
}

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

/* --- QUIRE_CONF --- */

static void with_conf(const char *conf)
{
	const struct quire_options options = good();

	messages.count = 0;
	setenv("QUIRE_CONF", conf, 1);
	accepts(&options);
}

/* Accepted without a word. */
static const struct quire_options *conf(const char *text)
{
	with_conf(text);
	if (messages.count)
		fail_msg("%s: %s", text, messages.text[0]);
	return &settings.options;
}

static void test_conf_numbers(void **state)
{
	static const struct {
		const char *text;
		uint64_t size;
	} sizes[] = {
		{ "size:1", 1 },
		{ "size:4096", 4096 },
		{ "size:3K", 3 << 10 },
		{ "size:3k", 3 << 10 },
		{ "size:5M", 5 << 20 },
		{ "size:2G", UINT64_C(2) << 30 },
		{ "size:1t", UINT64_C(1) << 40 },
		{ "size:18446744073709551615", UINT64_MAX },
		{ "size:16777215T", UINT64_C(16777215) << 40 },
	};

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(sizes); i++)
		assert_true(conf(sizes[i].text)->size == sizes[i].size);
	assert_int_equal(conf("cpus:7")->cpus, 7);
	assert_int_equal(conf("decay_ms:250")->decay_ms, 250);
	assert_int_equal(conf("decay_ms:2K")->decay_ms, 2048);
	assert_int_equal(conf("renew:7")->renew, 7);
	assert_int_equal(conf("renew:64")->renew, 64);
	assert_int_equal(conf("nodes:16")->nodes, 16);
	assert_int_equal(conf("watermark_scale:3000")->watermark_scale, 3000);
	assert_int_equal(conf("wait_ms:3")->wait_ms, 3);
	assert_int_equal(conf("give_delay_ms:7")->give_delay_ms, 7);
}

static void test_conf_sizes(void **state)
{
	(void)state;
	assert_int_equal(conf("dma32:4M")->zone_size[QUIRE_ZONE_DMA32],
			 4 << 20);
	assert_int_equal(conf("movable:6M")->zone_size[QUIRE_ZONE_MOVABLE],
			 6 << 20);
	assert_int_equal(conf("device:2M")->zone_size[QUIRE_ZONE_DEVICE],
			 2 << 20);
	assert_int_equal(conf("cma:8M")->cma_size, 8 << 20);
	assert_int_equal(conf("min_free:128K")->min_free, 128 << 10);
	assert_true(conf("min_free:auto")->min_free == QUIRE_MIN_FREE_AUTO);
	assert_int_equal(conf("give_rate:10M")->give_rate, 10 << 20);
	assert_int_equal(conf("give_floor:1G")->give_floor, 1 << 30);
}

static void test_conf_words(void **state)
{
	const struct quire_options *o;

	(void)state;
	assert_int_equal(conf("way:rseq")->way, QUIRE_WAY_RSEQ);
	assert_int_equal(conf("way:trylock")->way, QUIRE_WAY_TRYLOCK);
	assert_int_equal(conf("way:bound")->way, QUIRE_WAY_BOUND);
	o = conf("backing:1g+2m+thp+base");
	assert_int_equal(o->backing[0], QUIRE_BACKING_1G);
	assert_int_equal(o->backing[1], QUIRE_BACKING_2M);
	assert_int_equal(o->backing[2], QUIRE_BACKING_THP);
	assert_int_equal(o->backing[3], QUIRE_BACKING_BASE);
	o = conf("backing:base");
	assert_int_equal(o->backing[0], QUIRE_BACKING_BASE);
	assert_int_equal(o->backing[1], QUIRE_BACKING_DEFAULT);
	o = conf("policy:interleave,nodes:3");
	assert_int_equal(o->policy.mode, QUIRE_POLICY_INTERLEAVE);
	assert_int_equal(o->policy.nodes, 7);
	o = conf("policy:interleave,policy:local");
	assert_int_equal(o->policy.mode, QUIRE_POLICY_LOCAL);
	assert_int_equal(o->policy.nodes, 0);
	assert_int_equal(conf("give_back:dontneed")->give_back,
			 QUIRE_GIVE_DONTNEED);
	assert_int_equal(conf("give_back:free")->give_back, QUIRE_GIVE_FREE);
	assert_int_equal(conf("give_back:free,give_back:none")->give_back,
			 QUIRE_GIVE_NONE);
	conf("debug:memblock");
	assert_true(settings.debug_memblock && !settings.debug_init);
	conf("debug:init+memblock");
	assert_true(settings.debug_memblock && settings.debug_init);
}

static void test_conf_flags(void **state)
{
	static const struct {
		const char *key;
		unsigned flag;
	} keys[] = {
		{ "prefault", QUIRE_PREFAULT },
		{ "mlock", QUIRE_MLOCK },
		{ "dontfork", QUIRE_DONTFORK },
		{ "race", QUIRE_CHECK_RACE },
		{ "lock_times", QUIRE_LOCK_TIMES },
		{ "numa", QUIRE_NUMA },
		{ "pinned", QUIRE_PINNED },
	};

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(keys); i++) {
		struct quire_options options = good();
		char text[32];

		snprintf(text, sizeof(text), "%s:1", keys[i].key);
		assert_int_equal(conf(text)->flags, keys[i].flag);
		/* 0 overrides what the program asked for. */
		snprintf(text, sizeof(text), "%s:0", keys[i].key);
		setenv("QUIRE_CONF", text, 1);
		options.flags = QUIRE_ZEROED | keys[i].flag;
		accepts(&options);
		assert_int_equal(settings.options.flags, QUIRE_ZEROED);
	}
}

static void test_conf_several(void **state)
{
	const struct quire_options *o =
		conf(",size:8M,,way:trylock,cpus:3,race:1,");

	(void)state;
	assert_int_equal(o->size, 8 << 20);
	assert_int_equal(o->way, QUIRE_WAY_TRYLOCK);
	assert_int_equal(o->cpus, 3);
	assert_int_equal(o->flags, QUIRE_CHECK_RACE);
	/* The last one counts. */
	assert_int_equal(conf("cpus:3,cpus:4")->cpus, 4);
	assert_int_equal(conf("")->size, 64 << 20);
}

static const char *const unknown_keys[] = {
	"sise:1", "SIZE:1", "siz:1", "sizes:1", ":1", "nonsense",
};

static const char *const unknown_values[] = {
	"size",
	"size:",
	"size:x",
	"size:-1",
	"size:1X",
	"size:1KK",
	"size:1 ",
	"size:K",
	"size:1.5G",
	"size:16777216T",
	"size:18446744073709551616",
	"way:",
	"way:default",
	"way:rseqs",
	"way:RSEQ",
	"cpus:65535",
	"cpus:4294967296",
	"decay_ms:x",
	"renew:",
	"renew:-1",
	"renew:65",
	"renew:4294967296",
	"backing:",
	"backing:default",
	"backing:2m+",
	"backing:2m+none",
	"backing:base+base+base+base+base",
	"prefault:2",
	"prefault:",
	"mlock:yes",
	"dontfork:01",
	"race:true",
	"lock_times:2",
	"numa:2",
	"pinned:yes",
	"nodes:17",
	"nodes:x",
	"nodes:",
	"distances:",
	"distances:10+",
	"distances:256",
	"distances:11+x",
	"dma32:x",
	"movable:",
	"device:-1",
	"cma:1KK",
	"min_free:",
	"min_free:automatic",
	"watermark_scale:3001",
	"watermark_scale:x",
	"wait_ms:4294967296",
	"wait_ms:",
	"policy:",
	"policy:bind",
	"policy:Local",
	"give_back:",
	"give_back:1",
	"give_back:dontneeds",
	"give_delay_ms:4294967296",
	"give_rate:x",
	"give_floor:",
	"debug:all",
	"debug:init+x",
};

/* All that a key may set is as it is without QUIRE_CONF, but for cpus. */
static void expect_nothing_set(void)
{
	const struct quire_options *o = &settings.options;

	assert_int_equal(o->size, 64 << 20);
	assert_int_equal(o->flags, 0);
	assert_int_equal(o->way, default_way());
	assert_int_equal(o->backing[0], QUIRE_BACKING_DEFAULT);
	assert_int_equal(o->nodes, 1);
	assert_int_equal(settings.distance[0], 10);
	assert_int_equal(o->min_free, 0);
	assert_int_equal(o->cma_size, 0);
	assert_int_equal(o->watermark_scale, 10);
	assert_int_equal(o->wait_ms, 1000);
	assert_int_equal(o->policy.mode, QUIRE_POLICY_LOCAL);
	assert_int_equal(o->give_back, QUIRE_GIVE_NONE);
	assert_int_equal(o->give_delay_ms, 10000);
	for (unsigned z = 0; z < QUIRE_NR_ZONES; z++)
		assert_int_equal(o->zone_size[z], 0);
}

/* It is named, skipped, and does not keep the next from being read. */
static void expect_skipped(const char *pair, const char *why)
{
	char text[64];

	snprintf(text, sizeof(text), "%s,cpus:9", pair);
	with_conf(text);
	assert_int_equal(messages.count, 1);
	snprintf(text, sizeof(text), "%s in \"%s\"", why, pair);
	assert_told(&messages, text);
	assert_int_equal(settings.options.cpus, 9);
	expect_nothing_set();
}

static void test_conf_unknown(void **state)
{
	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(unknown_keys); i++)
		expect_skipped(unknown_keys[i], "unknown key");
	for (size_t i = 0; i < TEST_LENGTH(unknown_values); i++)
		expect_skipped(unknown_values[i], "unknown value");
}

/* What the environment asks for is checked like what the program asks for. */
static void test_conf_checked(void **state)
{
	struct quire_options options = good();

	(void)state;
	options.zone_size[QUIRE_ZONE_DMA32] = 10 << 20;
	setenv("QUIRE_CONF", "size:8M", 1);
	refuses(&options, "zone_size[DMA32] 10485760: the region has 8388608");
	options = good();
	setenv("QUIRE_CONF", "give_back:remove", 1);
	refuses(&options, "give_back remove: needs");
	setenv("QUIRE_CONF", "dma32:3M", 1);
	refuses(&options, "zone_size[DMA32] 3145728: need a multiple");
	setenv("QUIRE_CONF", "min_free:64M", 1);
	refuses(&options, "min_free 67108864: the region has 67108864");
	options = good();
	/* 0 overrides what the program asked for. */
	setenv("QUIRE_CONF", "renew:0", 1);
	options.renew = 16;
	accepts(&options);
	assert_int_equal(settings.options.renew, 0);
	setenv("QUIRE_CONF", "size:1M", 1);
	options = good();
	options.size = 0;
	accepts(&options);
	assert_int_equal(settings.options.size, 1 << 20);
}

/* The environment cannot make a region of the caller's larger than it is. */
static void test_conf_fits(void **state)
{
	static const char *const of_offsets[] = { "size:1T", "prefault:1",
						  "mlock:1", "dontfork:1",
						  "give_back:dontneed" };
	struct quire_options options = good();

	(void)state;
	options.flags = QUIRE_OFFSETS;
	for (size_t i = 0; i < TEST_LENGTH(of_offsets); i++) {
		messages.count = 0;
		setenv("QUIRE_CONF", of_offsets[i], 1);
		accepts(&options);
		assert_told(&messages, "does not fit the region");
		assert_int_equal(settings.options.size, options.size);
		assert_int_equal(settings.options.flags, QUIRE_OFFSETS);
		assert_int_equal(settings.options.give_back, QUIRE_GIVE_NONE);
	}
	messages.count = 0;
	options.flags = 0;
	options.address = &options;
	setenv("QUIRE_CONF", "size:1T,race:1", 1);
	accepts(&options);
	assert_told(&messages, "does not fit the region in \"size:1T\"");
	assert_int_equal(settings.options.size, options.size);
	assert_int_equal(settings.options.flags, QUIRE_CHECK_RACE);
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
		cmocka_unit_test_setup_teardown(test_conf_numbers, begin, end),
		cmocka_unit_test_setup_teardown(test_conf_sizes, begin, end),
		cmocka_unit_test_setup_teardown(test_conf_words, begin, end),
		cmocka_unit_test_setup_teardown(test_conf_flags, begin, end),
		cmocka_unit_test_setup_teardown(test_conf_several, begin, end),
		cmocka_unit_test_setup_teardown(test_conf_unknown, begin, end),
		cmocka_unit_test_setup_teardown(test_conf_checked, begin, end),
		cmocka_unit_test_setup_teardown(test_conf_fits, begin, end),
	};

	return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
