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

#include "debug.h"

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
	};

	return cmocka_run_group_tests_name("debug", tests, NULL, NULL);
}
