/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bits.h against loops that look at one bit at a time.
 */
#include "testing.h"

#include "base/bits.h"

static bool bit(uint64_t word, unsigned at)
{
	return word >> at & 1;
}

/* Words from nearly empty to nearly full. */
static uint64_t random_word(struct test_rng *rng)
{
	uint64_t word = test_random(rng);

	for (uint64_t i = test_below(rng, 5); i > 0; i--)
		word |= test_random(rng);
	for (uint64_t i = test_below(rng, 5); i > 0; i--)
		word &= test_random(rng);
	return word;
}

static void test_lowest_highest_and_count(void **state)
{
	struct test_rng rng = test_seed();

	(void)state;
	for (int round = 0; round < 20000; round++) {
		uint64_t word = random_word(&rng);
		unsigned count = 0, lowest = 64, highest = 64;

		for (unsigned i = 0; i < 64; i++)
			count += bit(word, i);
		for (unsigned i = 64; i-- > 0;)
			if (bit(word, i))
				lowest = i;
		assert_int_equal(bits_count(word), count);
		for (unsigned i = 0; i < 64; i++)
			if (bit(word, i))
				highest = i;
		if (word) {
			assert_int_equal(bits_lowest(word), lowest);
			assert_int_equal(bits_highest(word), highest);
		}
	}
	for (unsigned i = 0; i < 64; i++) {
		assert_int_equal(bits_lowest(UINT64_C(1) << i), i);
		assert_int_equal(bits_highest(UINT64_C(1) << i), i);
		assert_int_equal(bits_lowest(~UINT64_C(0) << i), i);
		assert_int_equal(bits_highest(~UINT64_C(0) >> i), 63 - i);
	}
}

/* All words of a few bits in every place, and words full but for a few. */
static void test_count(void **state)
{
	(void)state;
	assert_int_equal(bits_count(0), 0);
	assert_int_equal(bits_count(~UINT64_C(0)), 64);
	for (unsigned n = 1; n <= 64; n++)
		for (unsigned at = 0; at + n <= 64; at++) {
			assert_int_equal(bits_count(bits_range(at, n)), n);
			assert_int_equal(bits_count(~bits_range(at, n)),
					 64 - n);
		}
	for (uint64_t word = 0; word < 1u << 16; word++) {
		unsigned count = 0;

		for (unsigned i = 0; i < 16; i++)
			count += bit(word, i);
		for (unsigned at = 0; at <= 48; at += 12)
			assert_int_equal(bits_count(word << at), count);
		assert_int_equal(bits_count(word * UINT64_C(0x1000100010001)),
				 4 * count);
	}
}

static void test_range(void **state)
{
	(void)state;
	for (unsigned at = 0; at < 64; at++)
		for (unsigned n = 1; at + n <= 64; n++) {
			uint64_t range = bits_range(at, n);

			for (unsigned i = 0; i < 64; i++)
				assert_int_equal(bit(range, i),
						 i >= at && i < at + n);
		}
}

static void test_aligned(void **state)
{
	(void)state;
	for (unsigned order = 0; order <= 6; order++)
		for (unsigned i = 0; i < 64; i++)
			assert_int_equal(bit(bits_aligned(order), i),
					 i % (1u << order) == 0);
}

static bool run_at(uint64_t word, unsigned at, unsigned order)
{
	if (at % (1u << order))
		return false;
	for (unsigned i = at; i < at + (1u << order); i++)
		if (!bit(word, i))
			return false;
	return true;
}

static void test_runs(void **state)
{
	struct test_rng rng = test_seed();

	(void)state;
	for (int round = 0; round < 5000; round++) {
		uint64_t word = round ? random_word(&rng) : ~UINT64_C(0);

		for (unsigned order = 0; order <= 6; order++) {
			uint64_t runs = bits_runs(word, order);

			for (unsigned i = 0; i < 64; i++)
				assert_int_equal(bit(runs, i),
						 run_at(word, i, order));
			if (order < 6)
				assert_true(bits_pair(runs, order) ==
					    bits_runs(word, order + 1));
		}
	}
}

/* Back from starts to all bits. */
static void test_fill(void **state)
{
	struct test_rng rng = test_seed();

	(void)state;
	for (int round = 0; round < 5000; round++)
		for (unsigned order = 0; order <= 6; order++) {
			uint64_t starts =
				random_word(&rng) & bits_aligned(order);
			uint64_t filled = bits_fill(starts, order);

			for (unsigned i = 0; i < 64; i++)
				assert_int_equal(
					bit(filled, i),
					bit(starts, i & ~((1u << order) - 1)));
			assert_true(bits_runs(filled, order) == starts);
		}
}

static void test_first(void **state)
{
	struct test_rng rng = test_seed();

	(void)state;
	for (int round = 0; round < 5000; round++) {
		uint64_t word = round ? random_word(&rng) : ~UINT64_C(0);
		uint64_t expected = 0;
		unsigned n = 0;

		assert_true(bits_first(word, 0) == 0);
		for (unsigned i = 0; i < 64; i++) {
			if (!bit(word, i))
				continue;
			expected |= UINT64_C(1) << i;
			assert_true(bits_first(word, ++n) == expected);
		}
	}
}

/* Of a full word as many as are asked for, none and all among them. */
static void test_first_of_full(void **state)
{
	(void)state;
	for (unsigned n = 0; n <= 64; n++) {
		uint64_t first = bits_first(~UINT64_C(0), n);

		for (unsigned i = 0; i < 64; i++)
			assert_int_equal(bit(first, i), i < n);
	}
}

static uint64_t byte(uint64_t word, unsigned at)
{
	return word >> 8 * at & 0xff;
}

static void check_bytes(uint64_t word)
{
	uint64_t bits = bits_of_bytes(word);

	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(bit(bits, i), byte(word, i) != 0);
	assert_int_equal(bits >> 8, 0);
}

/* Each byte's each value, alone, in every place and among full ones. */
static void test_of_bytes(void **state)
{
	struct test_rng rng = test_seed();

	(void)state;
	for (uint64_t value = 0; value < 256; value++)
		for (unsigned at = 0; at < 64; at += 8) {
			check_bytes(value << at);
			check_bytes(~(value << at));
		}
	for (uint64_t bytes = 0; bytes < 256; bytes++)
		for (uint64_t value = 1; value < 256; value++) {
			uint64_t word = 0;

			for (unsigned i = 0; i < 8; i++)
				word |= bit(bytes, i) * value << 8 * i;
			assert_int_equal(bits_of_bytes(word), bytes);
		}
	for (int round = 0; round < 20000; round++)
		check_bytes(random_word(&rng));
}

static void test_to_bytes(void **state)
{
	(void)state;
	for (uint64_t bits = 0; bits < 256; bits++) {
		uint64_t word = bytes_of_bits(bits);

		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(byte(word, i),
					 bit(bits, i) ? 0xff : 0);
		assert_int_equal(bits_of_bytes(word), bits);
	}
}

static void test_order(void **state)
{
	(void)state;
	assert_int_equal(bits_order(1), 0);
	for (unsigned k = 1; k < 63; k++) {
		uint64_t n = UINT64_C(1) << k;

		assert_int_equal(bits_order(n), k);
		assert_int_equal(bits_order(n + 1), k + 1);
		assert_int_equal(bits_order(n - 1), k == 1 ? 0 : k);
	}
}

static void test_align(void **state)
{
	(void)state;
	for (uint64_t align = 1; align <= 64; align *= 2)
		for (uint64_t value = 0; value < 300; value++) {
			uint64_t down = value;
			uint64_t up = value;

			while (down % align)
				down--;
			while (up % align)
				up++;
			assert_int_equal(align_down(value, align), down);
			assert_int_equal(align_up(value, align), up);
		}
	assert_true(align_down(UINT64_MAX, 4096) == UINT64_MAX - 4095);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lowest_highest_and_count),
		cmocka_unit_test(test_count),
		cmocka_unit_test(test_range),
		cmocka_unit_test(test_aligned),
		cmocka_unit_test(test_runs),
		cmocka_unit_test(test_fill),
		cmocka_unit_test(test_first),
		cmocka_unit_test(test_first_of_full),
		cmocka_unit_test(test_of_bytes),
		cmocka_unit_test(test_to_bytes),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_align),
	};

	return cmocka_run_group_tests_name("bits", tests, NULL, NULL);
}
