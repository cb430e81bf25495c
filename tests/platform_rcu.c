/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RCU as services see it: who synchronizes waits for the sections that are
 * open, and for no others, and a child goes on without the parent's readers.
 */
#include "testing.h"

#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "platform/platform_rcu.h"

struct reader {
	pthread_t thread;
	_Atomic bool inside, leave;
	_Atomic int *word; /* NULL: unlinked */
	_Atomic int read;
};

static void nap_ms(unsigned ms)
{
	const struct timespec nap = { .tv_nsec = ms * 1000000L };

	nanosleep(&nap, NULL);
}

static void *read_on(void *arg)
{
	struct reader *r = arg;

	platform_rcu_read_lock();
	platform_rcu_read_lock();
	platform_rcu_read_unlock();
	atomic_store(&r->inside, true);
	while (!atomic_load(&r->leave))
		nap_ms(1);
	if (r->word)
		atomic_store(&r->read, *r->word);
	platform_rcu_read_unlock();
	return NULL;
}

static void reader_start(struct reader *r)
{
	assert_int_equal(pthread_create(&r->thread, NULL, read_on, r), 0);
	while (!atomic_load(&r->inside))
		sched_yield();
}

static void *synchronize(void *arg)
{
	_Atomic bool *done = arg;

	platform_rcu_synchronize();
	atomic_store(done, true);
	return NULL;
}

static void test_waits(void **state)
{
	static struct reader r;
	_Atomic bool done = false;
	_Atomic int *word = malloc(sizeof(*word));
	pthread_t writer;

	(void)state;
	platform_rcu_synchronize();
	*word = 7;
	r.word = word;
	reader_start(&r);
	assert_int_equal(pthread_create(&writer, NULL, synchronize, &done), 0);
	nap_ms(50);
	assert_false(atomic_load(&done));
	atomic_store(&r.leave, true);
	pthread_join(writer, NULL);
	/* A sanitizer would tell of a read that comes later. */
	free((void *)word);
	assert_int_equal(atomic_load(&r.read), 7);
	pthread_join(r.thread, NULL);
	platform_rcu_synchronize();
}

static void test_fork(void **state)
{
	static struct reader r;
	int status;
	pid_t pid;

	(void)state;
	reader_start(&r);
	platform_rcu_before_fork();
	pid = fork();
	if (pid == 0) {
		platform_rcu_after_fork_child();
		/* Nobody has to leave. */
		platform_rcu_synchronize();
		platform_rcu_read_lock();
		platform_rcu_read_unlock();
		_exit(0);
	}
	platform_rcu_after_fork_parent();
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	atomic_store(&r.leave, true);
	pthread_join(r.thread, NULL);
	platform_rcu_synchronize();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_waits),
		cmocka_unit_test(test_fork),
	};

	return cmocka_run_group_tests_name("platform_rcu", tests, NULL, NULL);
}
