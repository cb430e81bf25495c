/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages reach their reporter whole, assertions print values and abort, and
 * a fault point says yes exactly as often as it was armed for.
 */
#include "testing.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/debug.h"

struct caught {
	void *arg;
	char text[1024];
};

static void catch_one(void *arg, const char *message)
{
	struct caught *caught = arg;

	caught->arg = arg;
	snprintf(caught->text, sizeof(caught->text), "%s", message);
}

static void test_report(void **state)
{
	struct caught caught = { 0 };
	const struct reporter to = { catch_one, &caught };

	(void)state;
	report(&to, "order %u, pfn %u, %s", 3u, 17u, "live");
	assert_string_equal(caught.text, "order 3, pfn 17, live");
	assert_ptr_equal(caught.arg, &caught);
}

static void test_long_message(void **state)
{
	static char longer[2000];
	struct caught caught = { 0 };
	const struct reporter to = { catch_one, &caught };

	(void)state;
	memset(longer, 'x', sizeof(longer) - 1);
	report(&to, "%s", longer);
	assert_int_equal(strlen(caught.text), 511);
	assert_memory_equal(caught.text, longer, 511);
}

static void forget_errno(void *arg, const char *message)
{
	catch_one(arg, message);
	errno = 0;
}

/* A message is told between a failure and whoever looks at its errno. */
static void test_report_keeps_errno(void **state)
{
	struct caught caught = { 0 };
	const struct reporter to = { forget_errno, &caught };

	(void)state;
	errno = ENOMEM;
	report(&to, "errno %d", errno);
	assert_int_equal(errno, ENOMEM);
	assert_ptr_equal(caught.arg, &caught);
}

static void report_to_nobody(void)
{
	const struct reporter none = { NULL, NULL };

	report(NULL, "to %s", "nobody");
	report(&none, "to none");
}

static void test_stderr(void **state)
{
	char text[512];

	(void)state;
	assert_int_equal(test_in_child(report_to_nobody, text, sizeof(text)),
			 0);
	assert_string_equal(text, "quire: to nobody\nquire: to none\n");
}

static void fail_assertion(void)
{
	assert_failed("file.c", 12, "a == b", "a %d, b %d", 4, 5);
}

static void test_assert_failed(void **state)
{
	char text[512];
	int status = test_in_child(fail_assertion, text, sizeof(text));

	(void)state;
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_string_equal(
		text, "quire: file.c:12: a == b does not hold: a 4, b 5\n");
}

static bool asked;

static bool ask(bool answer)
{
	asked = true;
	return answer;
}

static void assert_wrongly(void)
{
	assert_debug(ask(false), "asked for %d", 42);
}

static void test_assert_debug(void **state)
{
	char text[512];
	int status = test_in_child(assert_wrongly, text, sizeof(text));

	(void)state;
	assert_debug(ask(true), "never printed");
	assert_int_equal(asked, config_debug);
	if (!config_debug) {
		assert_int_equal(status, 0);
		return;
	}
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_non_null(strstr(text, "ask(false) does not hold: asked for 42"));
}

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

static void test_schedule_points(void **state)
{
	(void)state;
	for (uint32_t one_in = 0; one_in < 4; one_in++) {
		schedule_arm(one_in, one_in);
		errno = 0;
		for (int i = 0; i < 200; i++)
			schedule_point();
		assert_int_equal(errno, 0);
		/* Asked for once more by a thread that saw it armed. */
		schedule_arm(0, 0);
		schedule_point_armed();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_report),
		cmocka_unit_test(test_long_message),
		cmocka_unit_test(test_report_keeps_errno),
		cmocka_unit_test(test_stderr),
		cmocka_unit_test(test_assert_failed),
		cmocka_unit_test(test_assert_debug),
		cmocka_unit_test(test_fault_order),
		cmocka_unit_test(test_fault_disarm),
		cmocka_unit_test(test_fault_threads),
		cmocka_unit_test(test_fault_random),
		cmocka_unit_test(test_fault_random_and_armed),
		cmocka_unit_test(test_fault_random_seed),
		cmocka_unit_test(test_fault_random_threads),
		cmocka_unit_test(test_schedule_points),
	};

	return cmocka_run_group_tests_name("debug", tests, NULL, NULL);
}
