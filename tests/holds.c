/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hold times against a sorted array of them. The clock is the test's, so that
 * each time is known exactly.
 */
#include "testing.h"

#include "base/holds.h"
#include "platform/platform.h"

static uint64_t now;

/* In place of the platform's. */
uint64_t platform_ns(void)
{
	return now;
}

static void hold(struct holds *holds, uint64_t ns)
{
	now += 1234567;
	holds_begin(holds);
	now += ns;
	holds_end(holds);
}

static unsigned class_of(uint64_t ns)
{
	struct holds one = { 0 };
	unsigned class = 0;

	hold(&one, ns);
	assert_int_equal(one.total, 1);
	assert_int_equal(one.longest, ns);
	while (one.count[class] == 0)
		assert_true(++class < HOLDS_CLASSES);
	for (unsigned i = 0; i < HOLDS_CLASSES; i++)
		assert_int_equal(one.count[i], i == class);
	return class;
}

/* Times of 0 to 40 bits, small ones as often as large ones. */
static uint64_t random_ns(struct test_rng *rng)
{
	return test_random(rng) >> (24 + test_below(rng, 40));
}

/* Known to an eighth: what is in a class is not further apart. */
static void test_classes(void **state)
{
	uint64_t first = 0;
	unsigned class = 0;

	(void)state;
	for (uint64_t ns = 0; ns < 1 << 16; ns++) {
		unsigned here = class_of(ns);

		if (here != class) {
			assert_int_equal(here, class + 1);
			class = here;
			first = ns;
		}
		assert_true(8 * (ns - first) <= first);
	}
	/* Every class up to there was in use. */
	assert_int_equal(class, class_of((1 << 16) - 1));
	for (unsigned bits = 16; bits < 42; bits++)
		for (uint64_t eighth = 8; eighth < 16; eighth++) {
			uint64_t ns = eighth << (bits - 3);

			if (eighth == 8 && bits == 41)
				break;
			assert_int_equal(class_of(ns), ++class);
			assert_int_equal(class_of(ns + (ns >> 4)), class);
			assert_int_equal(
				class_of(ns + (UINT64_C(1) << (bits - 3)) - 1),
				class);
		}
	/* The last one takes all that is longer. */
	assert_int_equal(class_of(UINT64_MAX), HOLDS_CLASSES - 1);
}

static int by_length(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The shortest time that no less than so many in 1000 holds do not exceed. */
static uint64_t sorted_quantile(const uint64_t *sorted, size_t n,
				unsigned per_mille)
{
	size_t rank = (n * per_mille + 999) / 1000;

	return rank ? sorted[rank - 1] : sorted[0];
}

static void check_quantiles(struct test_rng *rng, size_t n, unsigned kind)
{
	static const unsigned per_milles[] = { 0,   1,	 10,  250, 500,
					       750, 900, 990, 999, 1000 };
	struct holds holds = { 0 };
	uint64_t *times = malloc(n * sizeof(*times));

	assert_non_null(times);
	for (size_t i = 0; i < n; i++) {
		times[i] = kind == 0   ? random_ns(rng)
			   : kind == 1 ? test_below(rng, 20)
				       : 1000 + test_below(rng, 300);
		hold(&holds, times[i]);
	}
	qsort(times, n, sizeof(*times), by_length);
	assert_int_equal(holds.total, n);
	assert_int_equal(holds.longest, times[n - 1]);
	for (size_t i = 0; i < TEST_LENGTH(per_milles); i++) {
		uint64_t right = sorted_quantile(times, n, per_milles[i]);
		uint64_t told = holds_quantile(&holds, per_milles[i]);

		assert_true(told >= right);
		assert_true(told <= holds.longest);
		if (per_milles[i])
			assert_true(8 * (told - right) <= right);
	}
	assert_int_equal(holds_quantile(&holds, 1000), holds.longest);
	free(times);
}

static void test_quantile(void **state)
{
	static const size_t sizes[] = { 1,   2,	   3,	 10,   99,
					999, 1000, 1001, 5000, 20000 };
	struct test_rng rng = test_seed();

	(void)state;
	for (unsigned kind = 0; kind < 3; kind++)
		for (size_t i = 0; i < TEST_LENGTH(sizes); i++)
			check_quantiles(&rng, sizes[i], kind);
}

/* One in a thousand may be longer: the second longest counts, then not. */
static void test_one_in_1000(void **state)
{
	struct holds holds = { 0 };

	(void)state;
	for (int i = 0; i < 999; i++)
		hold(&holds, 80);
	hold(&holds, 1000000);
	assert_true(holds_quantile(&holds, 999) < 90);
	assert_int_equal(holds_quantile(&holds, 1000), 1000000);
	hold(&holds, 2000000);
	assert_true(holds_quantile(&holds, 999) >= 1000000);
	assert_true(holds_quantile(&holds, 999) <= 1125000);
	assert_int_equal(holds.longest, 2000000);
}

static void test_empty(void **state)
{
	struct holds empty = { 0 }, other = { 0 };

	(void)state;
	assert_int_equal(holds_quantile(&empty, 999), 0);
	assert_int_equal(holds_quantile(&empty, 1000), 0);
	holds_merge(&empty, &other);
	assert_int_equal(holds_quantile(&empty, 999), 0);
	hold(&other, 0);
	assert_int_equal(holds_quantile(&other, 1000), 0);
	assert_int_equal(other.total, 1);
}

/* A process that was stopped for a day while it held the lock. */
static void test_longer_than_classes(void **state)
{
	const uint64_t day = UINT64_C(86400) * 1000000000;
	struct holds holds = { 0 };

	(void)state;
	hold(&holds, 100);
	hold(&holds, day);
	assert_int_equal(holds_quantile(&holds, 1000), day);
	assert_int_equal(holds_quantile(&holds, 999), day);
	assert_true(holds_quantile(&holds, 500) <= 112);
}

/* Merged in any order, several are as one that saw all. */
static void test_merge(void **state)
{
	struct test_rng rng = test_seed();
	struct holds all = { 0 }, part[3] = { { 0 } }, sum = { 0 };

	(void)state;
	for (int i = 0; i < 3000; i++) {
		uint64_t ns = random_ns(&rng);

		hold(&all, ns);
		hold(&part[test_below(&rng, 3)], ns);
	}
	for (int i = 3; i-- > 0;)
		holds_merge(&sum, &part[i]);
	assert_int_equal(sum.total, all.total);
	assert_int_equal(sum.longest, all.longest);
	assert_memory_equal(sum.count, all.count, sizeof(all.count));
	for (unsigned p = 0; p <= 1000; p++)
		assert_int_equal(holds_quantile(&sum, p),
				 holds_quantile(&all, p));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_classes),
		cmocka_unit_test(test_quantile),
		cmocka_unit_test(test_one_in_1000),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_longer_than_classes),
		cmocka_unit_test(test_merge),
	};

	return cmocka_run_group_tests_name("holds", tests, NULL, NULL);
}
