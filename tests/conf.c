/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QUIRE_CONF, key by key: what each sets, what is skipped, and that this is
 * named, with its value.
 */
#include "settings.h"

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

static void test_numbers(void **state)
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

static void test_sizes(void **state)
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

static void test_words(void **state)
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

static void test_flags(void **state)
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

static void test_several(void **state)
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

static void test_unknown(void **state)
{
	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(unknown_keys); i++)
		expect_skipped(unknown_keys[i], "unknown key");
	for (size_t i = 0; i < TEST_LENGTH(unknown_values); i++)
		expect_skipped(unknown_values[i], "unknown value");
}

/* What the environment asks for is checked like what the program asks for. */
static void test_checked(void **state)
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
static void test_fits(void **state)
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

/* --- the manual --- */

/* A value of each key is refused above. */
static bool is_refused(const char *key)
{
	size_t length = strlen(key);

	for (size_t i = 0; i < TEST_LENGTH(unknown_values); i++)
		if (strncmp(unknown_values[i], key, length) == 0 &&
		    unknown_values[i][length] == ':')
			return true;
	return false;
}

static void test_keys(void **state)
{
	size_t keys = 0;

	(void)state;
	for (const char *key; (key = conf_key_name(keys)); keys++) {
		assert_in_range(strlen(conf_key_help(keys)), 1, 60);
		assert_null(strchr(conf_key_help(keys), '\n'));
		if (!is_refused(key))
			fail_msg("no value of %s is refused", key);
		for (size_t i = 0; i < keys; i++)
			assert_string_not_equal(conf_key_name(i), key);
	}
	assert_int_equal(keys, 28);
	assert_null(conf_key_help(keys));
	assert_null(conf_key_name(SIZE_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_numbers, begin, end),
		cmocka_unit_test_setup_teardown(test_sizes, begin, end),
		cmocka_unit_test_setup_teardown(test_words, begin, end),
		cmocka_unit_test_setup_teardown(test_flags, begin, end),
		cmocka_unit_test_setup_teardown(test_several, begin, end),
		cmocka_unit_test_setup_teardown(test_unknown, begin, end),
		cmocka_unit_test_setup_teardown(test_checked, begin, end),
		cmocka_unit_test_setup_teardown(test_fits, begin, end),
		cmocka_unit_test(test_keys),
	};

	return cmocka_run_group_tests_name("conf", tests, NULL, NULL);
}
