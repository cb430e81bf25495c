/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * watermark.h against the formulae of its opening comment in exact fractions,
 * and against the numbers of its examples.
 */
#include "testing.h"

#include "zone/watermark.h"

enum { PAGEBLOCK = 512 };

static const unsigned default_ratio[QUIRE_NR_ZONES];

static uint64_t at_most(uint64_t n, uint64_t most)
{
	return n > most ? most : n;
}

/* The root by halving: its square is not above n, the next one's is. */
static uint64_t expected_min_free(uint64_t bytes)
{
	uint64_t n = bytes / 1024 * 16;
	uint64_t low = 0, high = UINT64_C(1) << 31;

	while (high - low > 1) {
		uint64_t middle = low + (high - low) / 2;

		if (middle * middle <= n)
			low = middle;
		else
			high = middle;
	}
	if (low < 128)
		low = 128;
	return at_most(low, 262144) * 1024;
}

static void test_min_free(void **state)
{
	struct test_rng rng = test_seed();

	(void)state;
	assert_int_equal(watermark_min_free(UINT64_C(1) << 30), 4096 << 10);
	assert_int_equal(watermark_min_free(0), 128 << 10);
	/* 128 KiB are the formula's for 1 MiB; 256 MiB for 4 TiB. */
	assert_int_equal(watermark_min_free(1 << 20), 128 << 10);
	assert_int_equal(watermark_min_free((1 << 20) + (16 << 10) - 1),
			 128 << 10);
	assert_int_equal(watermark_min_free((1 << 20) + (17 << 10)), 129 << 10);
	assert_int_equal(watermark_min_free(UINT64_C(4) << 40), 256 << 20);
	assert_int_equal(watermark_min_free((UINT64_C(4) << 40) - 1024),
			 (256 << 20) - 1024);
	assert_int_equal(watermark_min_free(UINT64_MAX), 256 << 20);
	for (int i = 0; i < 20000; i++) {
		uint64_t bytes = test_random(&rng) >> test_below(&rng, 64);

		assert_int_equal(watermark_min_free(bytes),
				 expected_min_free(bytes));
	}
}

static void check_marks(const struct watermarks *w, uint64_t min, uint64_t low,
			uint64_t high)
{
	assert_int_equal(w->min, min);
	assert_int_equal(w->low, low);
	assert_int_equal(w->high, high);
}

static void test_example_of_one_zone(void **state)
{
	uint64_t boosts[] = { 512, 1024, 1536, 2048, 2322, 2322 };
	struct watermarks w;

	(void)state;
	watermark_init(&w, 262144, 262144,
		       watermark_min_free(UINT64_C(1) << 30), 10);
	check_marks(&w, 1024, 1286, 1548);
	for (size_t i = 0; i < TEST_LENGTH(boosts); i++) {
		watermark_boost(&w, PAGEBLOCK);
		assert_int_equal(atomic_load(&w.boost), boosts[i]);
	}
}

static void test_example_of_two_zones(void **state)
{
	const uint64_t pages[QUIRE_NR_ZONES] = { 16384, 245760 };
	struct watermarks dma32, normal;
	struct watermarks *zones[QUIRE_NR_ZONES] = { &dma32, &normal };

	(void)state;
	watermark_init(&dma32, 16384, 262144, 4 << 20, 10);
	watermark_init(&normal, 245760, 262144, 4 << 20, 10);
	watermark_reserves(zones, pages, default_ratio);
	check_marks(&dma32, 64, 80, 96);
	check_marks(&normal, 960, 1205, 1450);
	assert_int_equal(dma32.reserve[QUIRE_ZONE_NORMAL], 960);
	assert_int_equal(normal.reserve[QUIRE_ZONE_NORMAL], 0);
	assert_int_equal(
		watermark_floor(&dma32, WATERMARK_MIN, QUIRE_ZONE_DMA32, 0),
		64);
	assert_int_equal(
		watermark_floor(&dma32, WATERMARK_MIN, QUIRE_ZONE_NORMAL, 0),
		64 + 960);
}

/* As the comment has it: products of two 32-bit numbers fit. */
static void check_random_marks(struct test_rng *rng)
{
	uint64_t all =
		1 + test_below(rng, UINT64_C(1) << (1 + test_below(rng, 32)));
	uint64_t zone = test_below(rng, all + 1);
	uint64_t free = test_below(rng, 2 * all) * 4096 + test_below(rng, 4096);
	unsigned scale = 1 + (unsigned)test_below(rng, 3000);
	uint64_t share, min, step;
	struct watermarks w;

	all = at_most(all, UINT32_MAX);
	zone = at_most(zone, all);
	share = at_most(free / 4096, all);
	watermark_init(&w, zone, all, free, scale);
	min = share * zone / all;
	step = zone * scale / 10000;
	if (step < min / 4)
		step = min / 4;
	step = at_most(step, (zone - min) / 2);
	check_marks(&w, min, min + step, min + 2 * step);
	assert_true(w.high <= zone);
	assert_int_equal(w.pages, zone);
	assert_int_equal(atomic_load(&w.boost), 0);
	for (int i = 0; i < QUIRE_NR_ZONES; i++)
		assert_int_equal(w.reserve[i], 0);
}

static void test_marks(void **state)
{
	struct test_rng rng = test_seed();

	(void)state;
	for (int i = 0; i < 50000; i++)
		check_random_marks(&rng);
}

static void test_marks_at_the_ends(void **state)
{
	struct watermarks w;

	(void)state;
	/* Nothing kept: each page can be had. */
	watermark_init(&w, 100000, 200000, 0, 10);
	check_marks(&w, 0, 100, 200);
	assert_int_equal(
		watermark_floor(&w, WATERMARK_MIN, QUIRE_ZONE_NORMAL, 0), 0);
	/* Less than a page. */
	watermark_init(&w, 100000, 200000, 4095, 10);
	check_marks(&w, 0, 100, 200);
	/* A zone too small for a step, one without pages, nothing at all. */
	watermark_init(&w, 999, 200000, 0, 10);
	check_marks(&w, 0, 0, 0);
	watermark_init(&w, 0, 200000, 1 << 20, 10);
	check_marks(&w, 0, 0, 0);
	watermark_init(&w, 0, 0, 1 << 20, 10);
	check_marks(&w, 0, 0, 0);
	/* More kept than there is, and nearly all. */
	watermark_init(&w, 1000, 1000, UINT64_MAX, 10);
	check_marks(&w, 1000, 1000, 1000);
	watermark_init(&w, 1000, 1000, 991 * 4096, 10);
	check_marks(&w, 991, 995, 999);
	/* The most pages there can be. */
	watermark_init(&w, UINT32_MAX, UINT32_MAX, UINT64_MAX, 3000);
	check_marks(&w, UINT32_MAX, UINT32_MAX, UINT32_MAX);
	watermark_init(&w, UINT32_MAX, UINT32_MAX, 0, 3000);
	check_marks(&w, 0, 1288490188, 2576980376);
}

/* What a zone keeps from a call: the sum of the zones between, in full. */
static uint64_t expected_reserve(const bool *there, const uint64_t *pages,
				 unsigned zone, unsigned highest,
				 unsigned ratio)
{
	uint64_t sum = 0;

	if (zone >= 3 || highest >= 3 || ratio == UINT32_MAX)
		return 0;
	for (unsigned i = zone + 1; i <= highest; i++)
		sum += there[i] ? pages[i] : 0;
	return sum / ratio;
}

static void check_random_reserves(struct test_rng *rng)
{
	static const unsigned default_of[] = { 256, 32, UINT32_MAX,
					       UINT32_MAX };
	struct watermarks w[QUIRE_NR_ZONES];
	struct watermarks *zones[QUIRE_NR_ZONES];
	uint64_t pages[QUIRE_NR_ZONES];
	unsigned ratio[QUIRE_NR_ZONES], used[QUIRE_NR_ZONES];
	bool there[QUIRE_NR_ZONES];

	for (unsigned i = 0; i < QUIRE_NR_ZONES; i++) {
		pages[i] = test_below(rng, 1 << 20);
		ratio[i] = (unsigned)test_below(rng, 5) * 100;
		if (test_below(rng, 5) == 0)
			ratio[i] = UINT32_MAX;
		used[i] = ratio[i] ? ratio[i] : default_of[i];
		there[i] = test_below(rng, 4) > 0;
		zones[i] = there[i] ? &w[i] : NULL;
		memset(&w[i], 0xff, sizeof(w[i]));
	}
	watermark_reserves(zones, pages, ratio);
	for (unsigned i = 0; i < QUIRE_NR_ZONES; i++)
		for (unsigned j = 0; j < QUIRE_NR_ZONES; j++)
			assert_int_equal(w[i].reserve[j],
					 there[i] ? expected_reserve(there,
								     pages, i,
								     j, used[i])
						  : UINT64_MAX);
}

static void test_reserves(void **state)
{
	struct test_rng rng = test_seed();

	(void)state;
	for (int i = 0; i < 20000; i++)
		check_random_reserves(&rng);
}

static void test_reserves_of_all_kinds(void **state)
{
	const uint64_t pages[QUIRE_NR_ZONES] = { 1000, 51200, 25600, 999999 };
	struct watermarks w[QUIRE_NR_ZONES] = { { 0 } };
	struct watermarks *zones[] = { &w[0], &w[1], &w[2], &w[3] };
	const uint64_t expected[QUIRE_NR_ZONES][QUIRE_NR_ZONES] = {
		{ 0, 200, 300, 0 },
		{ 0, 0, 800, 0 },
	};

	(void)state;
	watermark_reserves(zones, pages, default_ratio);
	for (int i = 0; i < QUIRE_NR_ZONES; i++)
		for (int j = 0; j < QUIRE_NR_ZONES; j++)
			assert_int_equal(w[i].reserve[j], expected[i][j]);
}

static void test_default_ratio(void **state)
{
	(void)state;
	assert_int_equal(watermark_default_ratio(QUIRE_ZONE_DMA32), 256);
	assert_int_equal(watermark_default_ratio(QUIRE_ZONE_NORMAL), 32);
	assert_int_equal(watermark_default_ratio(QUIRE_ZONE_MOVABLE),
			 UINT32_MAX);
	assert_int_equal(watermark_default_ratio(QUIRE_ZONE_DEVICE),
			 UINT32_MAX);
}

/* Each mark and flag, other flags never. */
static void test_floor(void **state)
{
	static const struct {
		unsigned flags;
		uint64_t min;
	} cases[] = {
		{ 0, 1024 },
		{ QUIRE_HIGH, 512 },
		{ QUIRE_ATOMIC, 768 },
		{ QUIRE_HIGH | QUIRE_ATOMIC, 384 },
	};
	const unsigned others = ~(QUIRE_HIGH | QUIRE_ATOMIC | QUIRE_MEMALLOC);
	struct watermarks w = { .pages = 1 << 20,
				.min = 1024,
				.low = 2000,
				.high = 3000,
				.reserve = { 1, 20, 300, 4000 } };

	(void)state;
	atomic_store(&w.boost, 50000);
	for (unsigned z = 0; z < QUIRE_NR_ZONES; z++) {
		enum quire_zone zone = (enum quire_zone)z;
		uint64_t kept = w.reserve[z];

		for (size_t i = 0; i < 2 * TEST_LENGTH(cases); i++) {
			unsigned flags =
				cases[i / 2].flags | (i % 2 ? others : 0);

			assert_int_equal(
				watermark_floor(&w, WATERMARK_MIN, zone, flags),
				cases[i / 2].min + kept);
			assert_int_equal(
				watermark_floor(&w, WATERMARK_MIN, zone,
						flags | QUIRE_MEMALLOC),
				0);
			assert_int_equal(
				watermark_floor(&w, WATERMARK_LOW, zone, flags),
				52000 + kept);
			assert_int_equal(watermark_floor(&w, WATERMARK_HIGH,
							 zone, flags),
					 53000 + kept);
		}
	}
	/* Rounding is for those who keep: of 7, one half keeps 4. */
	w.min = 7;
	assert_int_equal(watermark_floor(&w, WATERMARK_MIN, QUIRE_ZONE_DMA32,
					 QUIRE_HIGH),
			 4 + 1);
	assert_int_equal(watermark_floor(&w, WATERMARK_MIN, QUIRE_ZONE_DMA32,
					 QUIRE_HIGH | QUIRE_ATOMIC),
			 3 + 1);
}

static uint64_t boosted(struct watermarks *w, int times)
{
	for (int i = 0; i < times; i++)
		watermark_boost(w, PAGEBLOCK);
	return atomic_load(&w->boost);
}

static void test_boost(void **state)
{
	struct watermarks w;

	(void)state;
	/* 150 % of high is under a pageblock: one pageblock, once. */
	watermark_init(&w, 4 * PAGEBLOCK, 4 * PAGEBLOCK, 0, 10);
	check_marks(&w, 0, 2, 4);
	assert_int_equal(boosted(&w, 1), PAGEBLOCK);
	assert_int_equal(boosted(&w, 3), PAGEBLOCK);
	watermark_unboost(&w);
	assert_int_equal(boosted(&w, 0), 0);
	assert_int_equal(boosted(&w, 1), PAGEBLOCK);
	/* One page short of four pageblocks. */
	watermark_init(&w, 4 * PAGEBLOCK - 1, 4 * PAGEBLOCK, 1 << 20, 1000);
	assert_true(w.high > 0);
	assert_int_equal(boosted(&w, 3), 0);
	/* No marks. */
	watermark_init(&w, 4 * PAGEBLOCK, 4 * PAGEBLOCK, 0, 4);
	check_marks(&w, 0, 0, 0);
	assert_int_equal(boosted(&w, 3), 0);
}

/* As the comment has it: reclaim can reach it, whatever the marks are. */
static void check_random_boost(struct test_rng *rng)
{
	uint64_t zone = 1 + test_below(rng, 20 * PAGEBLOCK);
	uint64_t free = test_below(rng, 2) * test_below(rng, 2 * zone) * 4096;
	int times = 1 + (int)test_below(rng, 30);
	struct watermarks w;
	uint64_t most, boost;

	watermark_init(&w, zone, zone, free,
		       1 + (unsigned)test_below(rng, 3000));
	most = w.high * 3 / 2;
	if (most < PAGEBLOCK)
		most = PAGEBLOCK;
	most = at_most(most, (zone - w.high) / 2);
	if (w.high == 0 || zone < 4 * PAGEBLOCK)
		most = 0;
	boost = boosted(&w, times);
	assert_int_equal(boost, at_most((uint64_t)times * PAGEBLOCK, most));
	assert_true(w.high + 2 * boost <= zone);
}

static void test_boost_is_reachable(void **state)
{
	struct test_rng rng = test_seed();
	struct watermarks w;

	(void)state;
	/* 150 % of high would be 1842, with high 1022 more than there are. */
	watermark_init(&w, 2048, 2048, 0, 3000);
	check_marks(&w, 0, 614, 1228);
	assert_int_equal(boosted(&w, 1), 410);
	assert_int_equal(boosted(&w, 3), 410);
	/* High is all there is. */
	watermark_init(&w, 2048, 2048, UINT64_MAX, 10);
	assert_int_equal(boosted(&w, 3), 0);
	for (int i = 0; i < 20000; i++)
		check_random_boost(&rng);
}

enum { BOOSTERS = 3 };

static _Atomic int boosting;

static void *booster(void *arg)
{
	struct watermarks *w = arg;

	for (int i = 0; i < 200000; i++) {
		watermark_boost(w, PAGEBLOCK);
		if (i % 7 == 0)
			watermark_unboost(w);
	}
	atomic_fetch_sub(&boosting, 1);
	return NULL;
}

/* Together they stay within the limit; steps are whole. */
static void test_boosts_at_a_time(void **state)
{
	pthread_t threads[BOOSTERS];
	struct watermarks w;
	uint64_t limit, seen = 0;

	(void)state;
	watermark_init(&w, 1 << 20, 1 << 20, 0, 10);
	limit = w.high * 3 / 2;
	atomic_store(&boosting, BOOSTERS);
	for (int i = 0; i < BOOSTERS; i++)
		pthread_create(&threads[i], NULL, booster, &w);
	while (atomic_load(&boosting) > 0) {
		uint64_t pages = watermark_floor(&w, WATERMARK_LOW,
						 QUIRE_ZONE_NORMAL, 0) -
				 w.low;

		assert_true(pages <= limit);
		assert_true(pages % PAGEBLOCK == 0 || pages == limit);
		seen |= pages;
	}
	for (int i = 0; i < BOOSTERS; i++)
		pthread_join(threads[i], NULL);
	printf("# boosts seen: 0x%llx\n", (unsigned long long)seen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_min_free),
		cmocka_unit_test(test_example_of_one_zone),
		cmocka_unit_test(test_example_of_two_zones),
		cmocka_unit_test(test_marks),
		cmocka_unit_test(test_marks_at_the_ends),
		cmocka_unit_test(test_reserves),
		cmocka_unit_test(test_reserves_of_all_kinds),
		cmocka_unit_test(test_default_ratio),
		cmocka_unit_test(test_floor),
		cmocka_unit_test(test_boost),
		cmocka_unit_test(test_boost_is_reachable),
		cmocka_unit_test(test_boosts_at_a_time),
	};

	return cmocka_run_group_tests_name("watermark", tests, NULL, NULL);
}
