/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads of the library's own: their names, and the signals they block.
 */
#include "testing.h"

#include <errno.h>
#include <unistd.h>

#include "platform/fault.h"
#include "platform/platform.h"
#include "platform/platform_process.h"

static int end(void **state)
{
	(void)state;
	fault_disarm_all();
	return 0;
}

struct seen {
	char name[16];
	sigset_t blocked;
	uint32_t id;
	unsigned runs;
};

static void look(void *arg)
{
	struct seen *seen = arg;

	pthread_getname_np(pthread_self(), seen->name, sizeof(seen->name));
	pthread_sigmask(SIG_SETMASK, NULL, &seen->blocked);
	seen->id = platform_thread_id();
	seen->runs++;
}

static bool can_be_blocked(int signal)
{
	return signal != SIGKILL && signal != SIGSTOP &&
	       (signal < 32 || (signal >= SIGRTMIN && signal <= SIGRTMAX));
}

static void assert_same_signals(const sigset_t *a, const sigset_t *b)
{
	for (int signal = 1; signal <= SIGRTMAX; signal++)
		assert_int_equal(sigismember(a, signal),
				 sigismember(b, signal));
}

static void test_thread(void **state)
{
	struct platform_thread thread;
	struct seen seen = { .runs = 0 };
	sigset_t before, after;

	(void)state;
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	assert_int_equal(
		platform_thread_start(&thread, look, &seen, "quire-reclaim-0"),
		0);
	platform_thread_join(&thread);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	assert_same_signals(&before, &after);
	assert_int_equal(seen.runs, 1);
	assert_int_not_equal(seen.id, platform_thread_id());
	assert_string_equal(seen.name, "quire-reclaim-0");
	for (int signal = 1; signal <= SIGRTMAX; signal++)
		if (can_be_blocked(signal))
			assert_true(sigismember(&seen.blocked, signal));
	assert_int_equal(
		platform_thread_start(&thread, look, &seen, "quire-reclaim-01"),
		0);
	platform_thread_join(&thread);
	assert_int_equal(seen.runs, 2);
	assert_string_equal(seen.name, "quire-reclaim-0");
}

static void test_thread_failure(void **state)
{
	struct platform_thread thread;
	struct seen seen = { .runs = 0 };
	sigset_t before, after;

	(void)state;
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	fault_arm(FAULT_KEY, 0, 1);
	errno = 0;
	assert_int_equal(platform_thread_start(&thread, look, &seen, "quire"),
			 -1);
	assert_int_equal(errno, EAGAIN);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	assert_same_signals(&before, &after);
	assert_int_equal(seen.runs, 0);
}

static _Atomic uint32_t handled_by;

static void handle(int signal)
{
	(void)signal;
	atomic_store(&handled_by, platform_thread_id());
}

static void wait_for_word(void *arg)
{
	_Atomic uint32_t *word = arg;

	while (atomic_load(word) == 0)
		platform_park(word, 0);
}

/* A signal of the process is handled by the thread that does not block it. */
static void test_thread_signals(void **state)
{
	struct sigaction action = { .sa_handler = handle }, before;
	struct platform_thread thread;
	_Atomic uint32_t word = 0;
	sigset_t usr1;

	(void)state;
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
	atomic_store(&handled_by, 0);
	assert_int_equal(
		platform_thread_start(&thread, wait_for_word, &word, "quire"),
		0);
	pthread_sigmask(SIG_BLOCK, &usr1, NULL);
	kill(getpid(), SIGUSR1);
	usleep(20000);
	assert_int_equal(atomic_load(&handled_by), 0);
	pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
	usleep(1000);
	assert_int_equal(atomic_load(&handled_by), platform_thread_id());
	atomic_store(&word, 1);
	platform_unpark(&word, 1);
	platform_thread_join(&thread);
	sigaction(SIGUSR1, &before, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_thread),
		cmocka_unit_test_teardown(test_thread_failure, end),
		cmocka_unit_test(test_thread_signals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
