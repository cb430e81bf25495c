/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The buddy arithmetic against a reference that knows one thing: how many of
 * the 512 units in each aligned run of each order are free.
 */
#include "testing.h"

#include "zone/buddy.h"

/* free_in[k][i]: free units among [i << k, (i + 1) << k) */
struct reference {
	uint16_t free_in[BLOCK_ORDER + 1][BLOCK_UNITS];
};

static void ref_change(struct reference *ref, unsigned unit, int by)
{
	for (unsigned k = 0; k <= BLOCK_ORDER; k++)
		ref->free_in[k][unit >> k] =
			(uint16_t)(ref->free_in[k][unit >> k] + by);
}

static bool ref_is_run(const struct reference *ref, unsigned k, unsigned i)
{
	return ref->free_in[k][i] == 1u << k;
}

static bool ref_is_maximal(const struct reference *ref, unsigned k, unsigned i)
{
	return ref_is_run(ref, k, i) &&
	       (k == BLOCK_ORDER || !ref_is_run(ref, k + 1, i >> 1));
}

static unsigned ref_largest(const struct reference *ref)
{
	for (unsigned k = BLOCK_ORDER + 1; k-- > 0;)
		for (unsigned i = 0; i < BLOCK_UNITS >> k; i++)
			if (ref_is_run(ref, k, i))
				return k + 1;
	return 0;
}

/* Takes one run as the policy says; its first unit, or BLOCK_UNITS. */
static unsigned ref_take(struct reference *ref, unsigned order)
{
	for (unsigned k = order; k <= BLOCK_ORDER; k++)
		for (unsigned i = 0; i < BLOCK_UNITS >> k; i++)
			if (ref_is_maximal(ref, k, i)) {
				unsigned unit = i << k;

				for (unsigned n = 0; n < 1u << order; n++)
					ref_change(ref, unit + n, -1);
				return unit;
			}
	return BLOCK_UNITS;
}

struct fixture {
	struct block block;
	struct reference ref;
};

static void setup(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	f->block.free = BLOCK_UNITS;
	f->block.largest = BLOCK_ORDER + 1;
	for (unsigned unit = 0; unit < BLOCK_UNITS; unit++)
		ref_change(&f->ref, unit, 1);
}

static void check_same(struct fixture *f)
{
	uint64_t runs[BLOCK_ORDER + 1] = { 0 };

	for (unsigned unit = 0; unit < BLOCK_UNITS; unit++)
		assert_int_equal(f->block.map[unit / 64] >> unit % 64 & 1,
				 !f->ref.free_in[0][unit]);
	assert_int_equal(f->block.free, f->ref.free_in[BLOCK_ORDER][0]);
	assert_int_equal(buddy_largest_locked(&f->block), ref_largest(&f->ref));
	buddy_runs_locked(&f->block, runs);
	for (unsigned k = 0; k <= BLOCK_ORDER; k++) {
		uint64_t expected = 0;

		for (unsigned i = 0; i < BLOCK_UNITS >> k; i++)
			expected += ref_is_maximal(&f->ref, k, i);
		assert_int_equal(runs[k], expected);
	}
}

/* The units of the parts, in their order. */
static unsigned take_units(struct fixture *f, unsigned order, unsigned n,
			   uint16_t *units)
{
	struct buddy_part parts[BLOCK_UNITS];
	unsigned nr, got = 0;

	f->block.largest =
		(uint8_t)buddy_take_locked(&f->block, order, n, parts, &nr);
	assert_int_equal(f->block.largest, buddy_largest_locked(&f->block));
	assert_true(nr <= BUDDY_PARTS);
	for (unsigned i = 0; i < nr; i++) {
		assert_int_not_equal(parts[i].starts, 0);
		for (unsigned at = 0; at < 64; at++)
			if (parts[i].starts >> at & 1)
				units[got++] =
					(uint16_t)(parts[i].word * 64 + at);
	}
	return got;
}

/* Single units: all of a partly free word, where as many are wanted. */
static unsigned ref_take_partial(struct reference *ref, unsigned n,
				 uint16_t *units)
{
	unsigned got = 0;

	for (unsigned w = 0; w < BLOCK_WORDS; w++) {
		unsigned there = ref->free_in[6][w];

		if (there == 64 || there > n - got)
			continue;
		for (unsigned unit = w * 64; unit < w * 64 + 64; unit++)
			if (ref->free_in[0][unit]) {
				ref_change(ref, unit, -1);
				units[got++] = (uint16_t)unit;
			}
	}
	return got;
}

static unsigned take(struct fixture *f, unsigned order, unsigned n,
		     uint16_t *units)
{
	uint16_t expected[BLOCK_UNITS];
	unsigned got = take_units(f, order, n, units), i = 0;

	assert_true(got <= n);
	if (order == 0)
		i = ref_take_partial(&f->ref, n, expected);
	for (; i < got; i++)
		expected[i] = (uint16_t)ref_take(&f->ref, order);
	for (i = 0; i < got; i++)
		assert_int_equal(units[i], expected[i]);
	if (got < n)
		assert_int_equal(ref_take(&f->ref, order), BLOCK_UNITS);
	return got;
}

static void give(struct fixture *f, unsigned unit, unsigned order)
{
	unsigned largest = buddy_give_locked(&f->block, unit, order);

	for (unsigned i = 0; i < 1u << order; i++)
		ref_change(&f->ref, unit + i, 1);
	assert_int_equal(largest, ref_largest(&f->ref));
	f->block.largest = (uint8_t)largest;
}

static void give_word(struct fixture *f, unsigned word, uint64_t units)
{
	unsigned n = (unsigned)__builtin_popcountll(units);
	unsigned largest = buddy_give_word_locked(&f->block, word, units, n);

	for (unsigned i = 0; i < 64; i++)
		if (units >> i & 1)
			ref_change(&f->ref, word * 64 + i, 1);
	assert_int_equal(largest, ref_largest(&f->ref));
	f->block.largest = (uint8_t)largest;
}

/* Every order: split a whole block into all its runs, one by one, and back. */
static void test_every_order(void **state)
{
	(void)state;
	for (unsigned order = 0; order <= BLOCK_ORDER; order++) {
		struct fixture f;
		uint16_t unit;

		setup(&f);
		for (unsigned i = 0; i < BLOCK_UNITS >> order; i++) {
			assert_int_equal(take(&f, order, 1, &unit), 1);
			assert_int_equal(unit, i << order);
			check_same(&f);
		}
		assert_int_equal(take(&f, order, 1, &unit), 0);
		assert_int_equal(take(&f, 0, 1, &unit), 0);
		for (unsigned i = 0; i < BLOCK_UNITS >> order; i++) {
			give(&f, i << order, order);
			check_same(&f);
		}
		assert_int_equal(f.block.free, BLOCK_UNITS);
	}
}

/* Free runs of 1, 2, 4, ... 128 units: each order takes the one that fits. */
static void test_smallest_first(void **state)
{
	(void)state;
	for (unsigned order = 0; order <= 8; order++) {
		struct fixture f;
		uint16_t unit;

		setup(&f);
		assert_int_equal(take(&f, BLOCK_ORDER, 1, &unit), 1);
		/* The run of order k starts at 2^(k + 1), of 0 at 1. */
		for (unsigned k = 0; k < 8; k++)
			give(&f, k ? 2u << k : 1, k);
		check_same(&f);
		if (order == 8) {
			assert_int_equal(take(&f, order, 1, &unit), 0);
			continue;
		}
		assert_int_equal(take(&f, order, 1, &unit), 1);
		assert_int_equal(unit, order ? 2u << order : 1);
		check_same(&f);
	}
}

/* Equals: the lowest, in and across words. */
static void test_lowest_of_equals(void **state)
{
	struct fixture f;
	uint16_t units[8];

	(void)state;
	setup(&f);
	take(&f, BLOCK_ORDER, 1, units);
	give(&f, 200, 2);
	give(&f, 72, 2);
	give(&f, 80, 2);
	give(&f, 448, 6);
	give(&f, 320, 6);
	assert_int_equal(take(&f, 2, 4, units), 4);
	assert_int_equal(units[0], 72);
	assert_int_equal(units[1], 80);
	assert_int_equal(units[2], 200);
	assert_int_equal(units[3], 320);
	assert_int_equal(take(&f, 6, 2, units), 1);
	assert_int_equal(units[0], 448);
}

/* Halves given back in either order merge, up to the whole block. */
static void test_merge(void **state)
{
	(void)state;
	for (unsigned order = 0; order < BLOCK_ORDER; order++)
		for (unsigned first = 0; first < 2; first++) {
			unsigned half = 1u << order;
			struct fixture f;
			uint16_t unit;
			unsigned around;

			setup(&f);
			take(&f, BLOCK_ORDER, 1, &unit);
			give(&f, first * half, order);
			assert_int_equal(buddy_largest_locked(&f.block),
					 order + 1);
			around = buddy_give_locked(&f.block, (1 - first) * half,
						   order);
			assert_int_equal(around, order + 2);
			assert_int_equal(buddy_largest_locked(&f.block),
					 order + 2);
		}
}

/* Neighbours that are no buddies stay two runs. */
static void test_no_false_merge(void **state)
{
	(void)state;
	for (unsigned order = 0; order < BLOCK_ORDER - 1; order++) {
		struct fixture f;
		uint16_t unit;

		setup(&f);
		take(&f, BLOCK_ORDER, 1, &unit);
		give(&f, 1u << order, order);
		give(&f, 2u << order, order);
		check_same(&f);
		assert_int_equal(buddy_largest_locked(&f.block), order + 1);
	}
}

static void random_give(struct fixture *f, struct test_rng *rng)
{
	unsigned order = (unsigned)test_below(rng, BLOCK_ORDER + 1);
	unsigned unit = (unsigned)test_below(rng, BLOCK_UNITS >> order)
			<< order;

	if (test_below(rng, 2)) {
		unsigned word = unit / 64;
		uint64_t units = f->block.map[word] & test_random(rng);

		if (test_below(rng, 4) == 0)
			units = f->block.map[word];
		if (units)
			give_word(f, word, units);
	} else if (f->ref.free_in[order][unit >> order] == 0) {
		give(f, unit, order);
	} else if (f->ref.free_in[0][unit] == 0) {
		give(f, unit, 0);
	}
}

static void test_random_steps(void **state)
{
	const unsigned steps = TEST_SANITIZED ? 20000 : 300000;
	struct test_rng rng = test_seed();
	struct fixture f;
	uint16_t units[64];
	unsigned taking = 50;

	(void)state;
	setup(&f);
	for (unsigned step = 0; step < steps; step++) {
		unsigned order = (unsigned)test_below(&rng, BLOCK_ORDER + 1);
		unsigned n = 1 + (unsigned)test_below(&rng, 8);

		/* Drift between full and empty. */
		if (step % 512 == 0)
			taking = 20 + (unsigned)test_below(&rng, 60);
		if (test_below(&rng, 100) < taking)
			take(&f, test_below(&rng, 4) ? order % 4 : order,
			     test_below(&rng, 50) ? n : 64, units);
		else
			random_give(&f, &rng);
		assert_int_equal(f.block.free, f.ref.free_in[BLOCK_ORDER][0]);
		assert_int_equal(buddy_largest_locked(&f.block),
				 ref_largest(&f.ref));
		if (step % 8 == 0)
			check_same(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_order),
		cmocka_unit_test(test_smallest_first),
		cmocka_unit_test(test_lowest_of_equals),
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_no_false_merge),
		cmocka_unit_test(test_random_steps),
	};

	return cmocka_run_group_tests_name("buddy", tests, NULL, NULL);
}
