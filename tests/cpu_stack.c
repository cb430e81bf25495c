/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The per-CPU stack as the holder of the set's lock uses it. tests/rseq.c asks
 * the same of the restartable sequences.
 */
#include "testing.h"

#include "base/cpu_stack.h"

enum { SLOTS = 100, GUARD = 8 };

struct fixture {
	struct cpu_stack stack;
	uint32_t below[GUARD];
	uint32_t items[SLOTS];
	uint32_t above[GUARD];
};

static void setup(struct fixture *f, uint16_t high)
{
	memset(f, 0, sizeof(*f));
	memset(f->below, 0xee, sizeof(f->below));
	memset(f->above, 0xee, sizeof(f->above));
	f->stack.slots = offsetof(struct fixture, items);
	cpu_stack_open(&f->stack, high);
}

static void check_guards(const struct fixture *f)
{
	for (int i = 0; i < GUARD; i++) {
		assert_int_equal(f->below[i], 0xeeeeeeee);
		assert_int_equal(f->above[i], 0xeeeeeeee);
	}
}

static bool push(struct fixture *f, uint32_t item)
{
	return cpu_stack_push((char *)f, &f->stack, item);
}

static bool pop(struct fixture *f, uint32_t *item)
{
	return cpu_stack_pop((char *)f, &f->stack, item);
}

static uint32_t count(const struct fixture *f)
{
	return cpu_stack_count(cpu_stack_word(&f->stack));
}

static uint64_t pops(const struct fixture *f)
{
	return cpu_stack_pops(cpu_stack_word(&f->stack));
}

static void test_last_in_first_out(void **state)
{
	struct fixture f;
	uint32_t item;

	(void)state;
	setup(&f, SLOTS);
	for (uint32_t i = 0; i < SLOTS; i++)
		assert_true(push(&f, i * 3));
	assert_false(push(&f, 1));
	assert_int_equal(count(&f), SLOTS);
	assert_int_equal(pops(&f), 0);
	for (uint32_t i = SLOTS; i-- > 0;) {
		assert_true(pop(&f, &item));
		assert_int_equal(item, i * 3);
		assert_int_equal(pops(&f), SLOTS - i);
	}
	assert_false(pop(&f, &item));
	assert_int_equal(count(&f), 0);
	assert_int_equal(pops(&f), SLOTS);
	check_guards(&f);
}

static void test_capacity(void **state)
{
	struct fixture f;

	(void)state;
	for (uint16_t high = 0; high <= SLOTS; high++) {
		uint16_t n = 0;

		setup(&f, high);
		while (push(&f, n))
			n++;
		assert_int_equal(n, high);
	}
}

static void refuses_all(struct fixture *f)
{
	uint32_t items[2] = { 7, 8 };
	uint64_t word = cpu_stack_word(&f->stack);

	assert_false(push(f, 7));
	assert_false(pop(f, items));
	assert_false(cpu_stack_push_batch((char *)f, &f->stack, items, 2));
	assert_int_equal(cpu_stack_pop_batch((char *)f, &f->stack, items, 2,
					     CPU_STACK_POPPED),
			 0);
	assert_true(cpu_stack_word(&f->stack) == word);
	assert_int_equal(items[0], 7);
}

/* Closed, with few, many and no items; zero-filled memory; reopened. */
static void test_closed(void **state)
{
	struct fixture f;
	uint32_t item;

	(void)state;
	memset(&f, 0, sizeof(f));
	refuses_all(&f);
	for (uint16_t n = 0; n <= SLOTS; n += 50) {
		setup(&f, SLOTS);
		for (uint16_t i = 0; i < n; i++)
			push(&f, i);
		cpu_stack_close(&f.stack);
		refuses_all(&f);
		assert_int_equal(count(&f), n);
		cpu_stack_open(&f.stack, SLOTS);
		assert_int_equal(pop(&f, &item), n > 0);
		if (n)
			assert_int_equal(item, n - 1);
	}
}

static void test_push_batch(void **state)
{
	static const uint32_t items[SLOTS] = { 1, 2, 3, 4, 5 };
	struct fixture f;
	uint32_t item;

	(void)state;
	setup(&f, 7);
	assert_true(push(&f, 99));
	assert_true(cpu_stack_push_batch((char *)&f, &f.stack, items, 5));
	/* All or nothing. */
	assert_false(cpu_stack_push_batch((char *)&f, &f.stack, items, 2));
	assert_int_equal(count(&f), 6);
	assert_true(cpu_stack_push_batch((char *)&f, &f.stack, items, 0));
	assert_true(cpu_stack_push_batch((char *)&f, &f.stack, items, 1));
	assert_int_equal(pops(&f), 0);
	assert_true(pop(&f, &item));
	assert_int_equal(item, 1);
	for (uint32_t expected = 5; expected > 0; expected--) {
		assert_true(pop(&f, &item));
		assert_int_equal(item, expected);
	}
	assert_true(pop(&f, &item));
	assert_int_equal(item, 99);
	check_guards(&f);
}

static void test_pop_batch(void **state)
{
	struct fixture f;
	uint32_t items[SLOTS];

	(void)state;
	setup(&f, SLOTS);
	for (uint32_t i = 0; i < 10; i++)
		push(&f, 100 + i);
	/* Off the top, lowest first. */
	assert_int_equal(cpu_stack_pop_batch((char *)&f, &f.stack, items, 3,
					     CPU_STACK_POPPED),
			 3);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(items[i], 107 + i);
	assert_int_equal(pops(&f), 3);
	assert_int_equal(cpu_stack_pop_batch((char *)&f, &f.stack, items,
					     UINT16_MAX, CPU_STACK_MOVED),
			 7);
	for (uint32_t i = 0; i < 7; i++)
		assert_int_equal(items[i], 100 + i);
	assert_int_equal(count(&f), 0);
	/* Moving is not popping. */
	assert_int_equal(pops(&f), 3);
	assert_int_equal(cpu_stack_pop_batch((char *)&f, &f.stack, items, 1,
					     CPU_STACK_MOVED),
			 0);
}

/* Items in = items out + items there, whatever the mix. */
static void test_tally(void **state)
{
	struct test_rng rng = test_seed();
	uint32_t items[SLOTS], model[SLOTS], n = 0;
	uint64_t popped = 0;
	struct fixture f;

	(void)state;
	setup(&f, SLOTS);
	for (int step = 0; step < 200000; step++) {
		uint32_t want = 1 + (uint32_t)test_below(&rng, 20), got;
		bool tally = test_below(&rng, 2);

		for (uint32_t i = 0; i < want; i++)
			items[i] = (uint32_t)test_random(&rng);
		if (test_below(&rng, 2)) {
			bool fits = n + want <= SLOTS;

			assert_int_equal(cpu_stack_push_batch((char *)&f,
							      &f.stack, items,
							      want),
					 fits);
			if (fits) {
				memcpy(model + n, items, want * sizeof(*items));
				n += want;
			}
		} else {
			got = cpu_stack_pop_batch(
				(char *)&f, &f.stack, items, want,
				tally ? CPU_STACK_POPPED : CPU_STACK_MOVED);
			assert_int_equal(got, want < n ? want : n);
			n -= got;
			assert_memory_equal(model + n, items,
					    got * sizeof(*items));
			popped += tally ? got : 0;
		}
		assert_int_equal(count(&f), n);
		assert_int_equal(pops(&f), popped);
	}
	check_guards(&f);
}

/* The upper 48 bits count pops; a full count does not spill into them. */
static void test_word(void **state)
{
	uint64_t word = UINT64_C(0x123456789abc0005);

	(void)state;
	assert_int_equal(cpu_stack_count(word), 5);
	assert_true(cpu_stack_pops(word) == UINT64_C(0x123456789abc));
	for (uint64_t i = 1; i <= 5; i++) {
		uint64_t popped = word + i * CPU_STACK_POPPED;
		uint64_t moved = word + i * CPU_STACK_MOVED;

		assert_int_equal(cpu_stack_count(popped), 5 - i);
		assert_true(cpu_stack_pops(popped) ==
			    UINT64_C(0x123456789abc) + i);
		assert_int_equal(cpu_stack_count(moved), 5 - i);
		assert_true(cpu_stack_pops(moved) == UINT64_C(0x123456789abc));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_last_in_first_out),
		cmocka_unit_test(test_capacity),
		cmocka_unit_test(test_closed),
		cmocka_unit_test(test_push_batch),
		cmocka_unit_test(test_pop_batch),
		cmocka_unit_test(test_tally),
		cmocka_unit_test(test_word),
	};

	return cmocka_run_group_tests_name("cpu_stack", tests, NULL, NULL);
}
