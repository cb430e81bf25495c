/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every value has its name, and what is none is told as unknown.
 */
#include "testing.h"

#include "quire/quire.h"

static const char *way_name(unsigned value)
{
	return quire_way_name((enum quire_way)value);
}

static const char *backing_name(unsigned value)
{
	return quire_backing_name((enum quire_backing)value);
}

static const char *zone_name(unsigned value)
{
	return quire_zone_name((enum quire_zone)value);
}

static const char *mobility_name(unsigned value)
{
	return quire_mobility_name((enum quire_mobility)value);
}

static const struct {
	const char *(*name)(unsigned value);
	unsigned value;
	const char *expected;
} names[] = {
	{ way_name, QUIRE_WAY_DEFAULT, "default" },
	{ way_name, QUIRE_WAY_RSEQ, "rseq" },
	{ way_name, QUIRE_WAY_TRYLOCK, "trylock" },
	{ way_name, QUIRE_WAY_BOUND, "bound" },
	{ way_name, QUIRE_WAY_BOUND + 1, "unknown" },
	{ way_name, UINT32_MAX, "unknown" },
	{ backing_name, QUIRE_BACKING_DEFAULT, "default" },
	{ backing_name, QUIRE_BACKING_1G, "1g" },
	{ backing_name, QUIRE_BACKING_2M, "2m" },
	{ backing_name, QUIRE_BACKING_THP, "thp" },
	{ backing_name, QUIRE_BACKING_BASE, "base" },
	{ backing_name, QUIRE_BACKING_CALLER, "caller" },
	{ backing_name, QUIRE_BACKING_NONE, "none" },
	{ backing_name, QUIRE_BACKING_NONE + 1, "unknown" },
	{ backing_name, UINT32_MAX, "unknown" },
	{ zone_name, QUIRE_ZONE_DMA32, "DMA32" },
	{ zone_name, QUIRE_ZONE_NORMAL, "NORMAL" },
	{ zone_name, QUIRE_ZONE_MOVABLE, "MOVABLE" },
	{ zone_name, QUIRE_ZONE_DEVICE, "DEVICE" },
	{ zone_name, QUIRE_NR_ZONES, "unknown" },
	{ zone_name, UINT32_MAX, "unknown" },
	{ mobility_name, QUIRE_TYPE_UNMOVABLE, "unmovable" },
	{ mobility_name, QUIRE_TYPE_MOVABLE, "movable" },
	{ mobility_name, QUIRE_TYPE_RECLAIMABLE, "reclaimable" },
	{ mobility_name, QUIRE_TYPE_HIGHATOMIC, "highatomic" },
	{ mobility_name, QUIRE_TYPE_CMA, "cma" },
	{ mobility_name, QUIRE_TYPE_ISOLATED, "isolated" },
	{ mobility_name, QUIRE_NR_TYPES, "unknown" },
	{ mobility_name, UINT32_MAX, "unknown" },
};

static void test_names(void **state)
{
	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(names); i++)
		assert_string_equal(names[i].name(names[i].value),
				    names[i].expected);
}

static void test_version(void **state)
{
	(void)state;
	assert_string_equal(quire_version(), "0.1.0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_version),
	};

	return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
