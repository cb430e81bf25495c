/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the core takes from the platform: waits that end, and messages from
 * where a thread may not be cancelled.
 */
#include "testing.h"

#include <unistd.h>

#include "platform/platform.h"
#include "platform/platform_process.h"

/* --- messages --- */

static void *tell_cancelled(void *arg)
{
	bool *came_back = arg;

	/* It waits for the first call that can be cancelled. */
	pthread_cancel(pthread_self());
	platform_message("told");
	*came_back = true;
	return NULL;
}

/* Who reports may hold a lock: no thread is cancelled there. */
static void test_message_cancelled(void **state)
{
	static const char told[] = "quire: told\n";
	bool came_back = false;
	char text[64];
	int pipes[2], before = dup(STDERR_FILENO);
	pthread_t thread;

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	assert_true(dup2(pipes[1], STDERR_FILENO) >= 0);
	assert_int_equal(
		pthread_create(&thread, NULL, tell_cancelled, &came_back), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(dup2(before, STDERR_FILENO) >= 0);
	close(before);
	close(pipes[1]);
	assert_true(came_back);
	assert_int_equal(read(pipes[0], text, sizeof(text)), strlen(told));
	assert_memory_equal(text, told, strlen(told));
	close(pipes[0]);
}

/* --- parking --- */

#define MS UINT64_C(1000000)
/* Never waited for to its end. */
#define LONG (60000 * MS)

static void test_park_times_out(void **state)
{
	static const uint64_t waits[] = { 0, 1, 3 * MS, 40 * MS };
	_Atomic uint32_t word = 3;

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(waits); i++) {
		uint64_t start = platform_ns();

		assert_false(platform_park_for(&word, 3, waits[i]));
		assert_in_range(platform_ns() - start, waits[i], LONG);
	}
}

static void test_park_value_differs(void **state)
{
	_Atomic uint32_t word = 3;
	uint64_t start = platform_ns();

	(void)state;
	assert_true(platform_park_for(&word, 2, LONG));
	assert_true(platform_park_for(&word, 2, UINT64_MAX));
	assert_in_range(platform_ns() - start, 0, LONG / 2);
}

struct waker {
	_Atomic uint32_t word;
	_Atomic bool woken;
	pthread_t sleeper;
	int signal;
};

/* The word stays as it is: only a wake can end the wait. */
static void wake(void *arg)
{
	struct waker *waker = arg;

	while (!atomic_load(&waker->woken)) {
		if (waker->signal)
			pthread_kill(waker->sleeper, waker->signal);
		else
			platform_unpark(&waker->word, 1);
		usleep(2000);
	}
}

static void park_and_be_woken(uint64_t ns, int signal)
{
	struct waker waker = { .sleeper = pthread_self(), .signal = signal };
	struct platform_thread thread;
	uint64_t start = platform_ns();

	assert_int_equal(platform_thread_start(&thread, wake, &waker, "quire"),
			 0);
	assert_true(platform_park_for(&waker.word, 0, ns));
	atomic_store(&waker.woken, true);
	platform_thread_join(&thread);
	assert_in_range(platform_ns() - start, 0, LONG / 2);
}

static void test_park_woken(void **state)
{
	(void)state;
	park_and_be_woken(LONG, 0);
	park_and_be_woken(UINT64_MAX, 0);
}

static void handle(int signal)
{
	(void)signal;
}

/* As platform_park(): the caller looks again. */
static void test_park_interrupted(void **state)
{
	struct sigaction action = { .sa_handler = handle }, before;

	(void)state;
	assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
	park_and_be_woken(LONG, SIGUSR1);
	sigaction(SIGUSR1, &before, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_message_cancelled),
		cmocka_unit_test(test_park_times_out),
		cmocka_unit_test(test_park_value_differs),
		cmocka_unit_test(test_park_woken),
		cmocka_unit_test(test_park_interrupted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
