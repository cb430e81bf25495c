/* SPDX-License-Identifier: BSD-2-Clause */
/* A fault point says yes exactly as often as it was armed for, or one in n. */
#include "testing.h"

#include <sched.h>

#include "platform/fault.h"

static void test_fault_order(void **state)
{
	(void)state;
	for (int skip = 0; skip < 5; skip++)
		for (int times = 0; times < 5; times++) {
			fault_arm(FAULT_ZONE, skip, times);
			for (int i = 0; i < 12; i++) {
				assert_int_equal(fault_hit(FAULT_ZONE),
						 i >= skip && i < skip + times);
				assert_false(fault_hit(FAULT_MAP));
			}
			fault_disarm_all();
		}
}

static void test_fault_disarm(void **state)
{
	(void)state;
	for (int point = 0; point < NR_FAULT_POINTS; point++) {
		fault_arm((enum fault_point)point, 0, 1000);
		assert_true(fault_hit((enum fault_point)point));
	}
	fault_disarm_all();
	for (int point = 0; point < NR_FAULT_POINTS; point++)
		assert_false(fault_hit((enum fault_point)point));
	/* Arming one again must not wake the others. */
	fault_arm(FAULT_MLOCK, 0, 1);
	assert_false(fault_hit(FAULT_MAP));
	assert_true(fault_hit(FAULT_MLOCK));
	fault_disarm_all();
}

enum { ASKERS = 2, ROUNDS = 20000, QUESTIONS = 4, SKIPPED = 3, ANSWERS = 3 };

struct asker {
	pthread_t thread;
	_Atomic int *round, *done;
	unsigned yes;
};

static void *ask_often(void *arg)
{
	struct asker *asker = arg;

	for (int round = 1; round <= ROUNDS; round++) {
		while (atomic_load(asker->round) < round)
			sched_yield();
		for (int i = 0; i < QUESTIONS; i++)
			asker->yes += fault_hit(FAULT_ZONE);
		atomic_fetch_add(asker->done, 1);
	}
	return NULL;
}

/* Threads that ask at once share the answers. */
static void test_fault_threads(void **state)
{
	struct asker askers[ASKERS] = { 0 };
	_Atomic int started = 0, done = 0;
	unsigned total = 0;

	(void)state;
	for (int i = 0; i < ASKERS; i++) {
		askers[i].round = &started;
		askers[i].done = &done;
		assert_int_equal(pthread_create(&askers[i].thread, NULL,
						ask_often, &askers[i]),
				 0);
	}
	for (int round = 1; round <= ROUNDS; round++) {
		fault_arm(FAULT_ZONE, SKIPPED, ANSWERS);
		atomic_store(&started, round);
		while (atomic_load(&done) < round * ASKERS)
			sched_yield();
	}
	for (int i = 0; i < ASKERS; i++) {
		pthread_join(askers[i].thread, NULL);
		total += askers[i].yes;
	}
	fault_disarm_all();
	assert_int_equal(total, ROUNDS * ANSWERS);
}

/* --- at random --- */

enum { DRAWS = 20000 };

static unsigned count_hits(unsigned questions)
{
	unsigned hits = 0;

	for (unsigned i = 0; i < questions; i++)
		hits += fault_hit((enum fault_point)(i % NR_FAULT_POINTS));
	return hits;
}

static void test_fault_random(void **state)
{
	static const uint32_t one_in[] = { 1, 2, 7, 100 };
	uint64_t total = fault_total();

	(void)state;
	assert_int_equal(count_hits(100), 0);
	for (size_t i = 0; i < TEST_LENGTH(one_in); i++) {
		unsigned expected = DRAWS / one_in[i], hits;

		fault_arm_random(one_in[i], 99 + i);
		hits = count_hits(DRAWS);
		if (one_in[i] == 1)
			assert_int_equal(hits, DRAWS);
		assert_true(hits > expected / 2 && hits < expected * 2);
		total += hits;
		assert_int_equal(fault_total(), total);
	}
	fault_arm_random(0, 0);
	assert_int_equal(count_hits(1000), 0);
	fault_arm_random(1, 0);
	fault_disarm_all();
	assert_int_equal(count_hits(1000), 0);
	assert_int_equal(fault_total(), total);
}

/* Both kinds of arming count, and neither hides the other. */
static void test_fault_random_and_armed(void **state)
{
	uint64_t total = fault_total();

	(void)state;
	fault_arm(FAULT_ZONE, 2, 3);
	for (int i = 0; i < 12; i++)
		assert_int_equal(fault_hit(FAULT_ZONE), i >= 2 && i < 5);
	assert_int_equal(fault_total(), total + 3);
	fault_arm_random(1, 5);
	fault_arm(FAULT_ZONE, 0, 2);
	assert_int_equal(count_hits(50), 50);
	fault_disarm_all();
	assert_int_equal(count_hits(50), 0);
}

static void draw_hits(uint64_t seed, bool hits[DRAWS])
{
	fault_arm_random(5, seed);
	for (int i = 0; i < DRAWS; i++)
		hits[i] = fault_hit(FAULT_MAP);
	fault_arm_random(0, 0);
}

/* The seed says which questions, whatever was asked before. */
static void test_fault_random_seed(void **state)
{
	static bool first[DRAWS], other[DRAWS], again[DRAWS];

	(void)state;
	draw_hits(4711, first);
	draw_hits(4711, again);
	assert_memory_equal(again, first, sizeof(first));
	draw_hits(4712, other);
	assert_memory_not_equal(other, first, sizeof(first));
	draw_hits(4711, again);
	assert_memory_equal(again, first, sizeof(first));
}

static void *draw_in_thread(void *arg)
{
	bool *hits = arg;

	for (int i = 0; i < DRAWS; i++)
		hits[i] = fault_hit(FAULT_MAP);
	return NULL;
}

/* Threads do not fail in step. */
static void test_fault_random_threads(void **state)
{
	static bool hits[2][DRAWS];
	pthread_t threads[2];

	(void)state;
	for (uint64_t seed = 0; seed < 3; seed++) {
		fault_arm_random(5, seed);
		for (int i = 0; i < 2; i++)
			assert_int_equal(pthread_create(&threads[i], NULL,
							draw_in_thread,
							hits[i]),
					 0);
		for (int i = 0; i < 2; i++)
			pthread_join(threads[i], NULL);
		fault_disarm_all();
		assert_memory_not_equal(hits[0], hits[1], sizeof(hits[0]));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fault_order),
		cmocka_unit_test(test_fault_disarm),
		cmocka_unit_test(test_fault_threads),
		cmocka_unit_test(test_fault_random),
		cmocka_unit_test(test_fault_random_and_armed),
		cmocka_unit_test(test_fault_random_seed),
		cmocka_unit_test(test_fault_random_threads),
	};

	return cmocka_run_group_tests_name("fault", tests, NULL, NULL);
}
