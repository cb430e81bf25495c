/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Options: the struct's size rules, QUIRE_CONF key by key, and what does not
 * make sense together. What is refused or skipped is named, with its value.
 */
#include "testing.h"

#include <errno.h>
#include <stddef.h>

#include "options.h"
#include "pcp.h"
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
	unsetenv("QUIRE_CONF");
	messages.count = 0;
	return 0;
}

static int end(void **state)
{
	(void)state;
	return unsetenv("QUIRE_CONF");
}

static void expect_told(const char *part)
{
	if (!test_caught(&messages, part))
		fail_msg("no message with \"%s\"; the first of %zu: \"%s\"",
			 part, messages.count,
			 messages.count ? messages.text[0] : "");
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
		expect_told(part);
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
	assert_int_equal(settings.options.nr_zones, 1);
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
			QUIRE_ZEROED | QUIRE_CHECK_RACE | QUIRE_LOCK_TIMES;
	accepts(&options);
	options.flags = 1u << 7;
	refuses(&options, "unknown bits 0x80");
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

static void test_zones(void **state)
{
	struct quire_options options = good();

	(void)state;
	options.nr_zones = QUIRE_MAX_ZONES + 1;
	refuses(&options, "nr_zones 5: at most 4");
	options.nr_zones = 2;
	refuses(&options, "zone_size[0] 0");
	options.zone_size[0] = (2u << 20) + 4096;
	refuses(&options, "zone_size[0] 2101248: need a multiple");
	options.zone_size[0] = 64u << 20;
	refuses(&options, "zone_size[0] 67108864: zones below leave 67108864");
	options.zone_size[0] = 62u << 20;
	accepts(&options);
	options.nr_zones = 3;
	options.zone_size[1] = 2u << 20;
	refuses(&options, "zone_size[1] 2097152: zones below leave 2097152");
	options.zone_size[1] = UINT64_MAX - (2u << 20) + 1;
	refuses(&options, "zone_size[1]");
	options.zone_size[0] = 60u << 20;
	options.zone_size[1] = 2u << 20;
	accepts(&options);
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

/* Each is named, skipped, and does not keep the next from being read. */
static void test_conf_unknown(void **state)
{
	static const char *const keys[] = { "sise:1",  "SIZE:1", "siz:1",
					    "sizes:1", ":1",	 "nonsense" };
	static const char *const values[] = {
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
		"debug:all",
		"debug:init+x",
	};
	char text[64];

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(keys); i++) {
		snprintf(text, sizeof(text), "%s,cpus:9", keys[i]);
		with_conf(text);
		assert_int_equal(messages.count, 1);
		snprintf(text, sizeof(text), "unknown key in \"%s\"", keys[i]);
		expect_told(text);
		assert_int_equal(settings.options.cpus, 9);
		assert_int_equal(settings.options.size, 64 << 20);
	}
	for (size_t i = 0; i < TEST_LENGTH(values); i++) {
		snprintf(text, sizeof(text), "%s,cpus:9", values[i]);
		with_conf(text);
		assert_int_equal(messages.count, 1);
		snprintf(text, sizeof(text), "unknown value in \"%s\"",
			 values[i]);
		expect_told(text);
		assert_int_equal(settings.options.cpus, 9);
		assert_int_equal(settings.options.size, 64 << 20);
		assert_int_equal(settings.options.flags, 0);
		assert_int_equal(settings.options.way, default_way());
		assert_int_equal(settings.options.backing[0],
				 QUIRE_BACKING_DEFAULT);
	}
}

/* What the environment asks for is checked like what the program asks for. */
static void test_conf_checked(void **state)
{
	struct quire_options options = good();

	(void)state;
	options.nr_zones = 2;
	options.zone_size[0] = 8 << 20;
	setenv("QUIRE_CONF", "size:8M", 1);
	refuses(&options, "zone_size[0] 8388608: zones below leave");
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
						  "mlock:1", "dontfork:1" };
	struct quire_options options = good();

	(void)state;
	options.flags = QUIRE_OFFSETS;
	for (size_t i = 0; i < TEST_LENGTH(of_offsets); i++) {
		messages.count = 0;
		setenv("QUIRE_CONF", of_offsets[i], 1);
		accepts(&options);
		expect_told("does not fit the region");
		assert_int_equal(settings.options.size, options.size);
		assert_int_equal(settings.options.flags, QUIRE_OFFSETS);
	}
	messages.count = 0;
	options.flags = 0;
	options.address = &options;
	setenv("QUIRE_CONF", "size:1T,race:1", 1);
	accepts(&options);
	expect_told("does not fit the region in \"size:1T\"");
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
		cmocka_unit_test_setup_teardown(test_conf_numbers, begin, end),
		cmocka_unit_test_setup_teardown(test_conf_words, begin, end),
		cmocka_unit_test_setup_teardown(test_conf_flags, begin, end),
		cmocka_unit_test_setup_teardown(test_conf_several, begin, end),
		cmocka_unit_test_setup_teardown(test_conf_unknown, begin, end),
		cmocka_unit_test_setup_teardown(test_conf_checked, begin, end),
		cmocka_unit_test_setup_teardown(test_conf_fits, begin, end),
	};

	return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
