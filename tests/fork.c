/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fork() while other threads are anywhere inside the allocator. The child,
 * which has the forking thread alone, must find sound tables and no lock held:
 * it validates, takes all that is free, frees it, and takes it in larger
 * blocks. Meanwhile the parent goes on, and its pages all come home.
 *
 * The child says by its exit status which step failed.
 */
#include "testing.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "instance/allocator.h"
#include "quire/quire.h"

enum { THREADS = 3, HELD = 256, PAGES = 4096, TOP_ORDER = 3 };

enum child_step {
	CHILD_OK,
	CHILD_STAT,
	CHILD_SUM,
	CHILD_VALIDATE,
	CHILD_ALLOC,
	CHILD_FREE,
	CHILD_AGAIN,
	CHILD_LOST,
	CHILD_BIND,
};

struct worker {
	struct shared *shared;
	unsigned number;
	struct test_rng rng;
	struct quire_page *pages[HELD];
	unsigned orders[HELD];
	uint64_t failed;
};

struct shared {
	struct quire *q;
	enum quire_way way;
	_Atomic bool stop;
	_Atomic unsigned warm; /* workers that are in full swing */
	struct worker workers[THREADS];
	struct test_messages messages;
};

static void swap_one(struct worker *w)
{
	size_t i = test_below(&w->rng, HELD);
	struct quire *q = w->shared->q;

	if (w->pages[i] && quire_free_pages(q, w->pages[i], w->orders[i]))
		w->failed++;
	w->orders[i] = test_below(&w->rng, 4)
			       ? 0
			       : (unsigned)test_below(&w->rng, TOP_ORDER + 1);
	w->pages[i] = quire_alloc_pages(q, w->orders[i], 0);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct shared *s = w->shared;

	if (s->way == QUIRE_WAY_BOUND && quire_cpu_bind(s->q, w->number))
		w->failed++;
	for (size_t i = 0; i < HELD; i++)
		swap_one(w);
	atomic_fetch_add(&s->warm, 1);
	while (!atomic_load(&s->stop)) {
		swap_one(w);
		if (test_below(&w->rng, 4096) == 0)
			quire_drain_all(s->q);
	}
	for (size_t i = 0; i < HELD; i++)
		if (w->pages[i] &&
		    quire_free_pages(s->q, w->pages[i], w->orders[i]))
			w->failed++;
	return NULL;
}

/*
 * Live pages are those of live blocks, but for the one block each other thread
 * can have had in its hands.
 */
static bool child_lost_pages(struct quire *q, uint64_t live)
{
	uint64_t first, pages = 0;
	struct quire_info info;

	if (quire_info(q, &info, sizeof(info)))
		return true;
	first = info.first_pfn;
	for (uint64_t pfn = first; pfn < first + PAGES; pfn++) {
		int order = quire_page_order(q, quire_pfn_to_page(q, pfn));

		pages += order >= 0 ? 1ull << order : 0;
	}
	return pages > live || live - pages > THREADS << TOP_ORDER;
}

/* CPUs whose threads are gone are free again. */
static bool child_binds(struct quire *q)
{
	for (unsigned cpu = 0; cpu < THREADS; cpu++)
		if (quire_cpu_bind(q, cpu) || quire_cpu_unbind(q))
			return false;
	return true;
}

/* Nothing here may allocate or take a lock of libc's: other threads are gone.
 */
static enum child_step child_main(struct quire *q, enum quire_way way)
{
	static struct quire_page *pages[PAGES];
	struct quire_stat stat;
	uint64_t n = 0, large = 0;

	if (quire_stat(q, &stat, sizeof(stat)))
		return CHILD_STAT;
	if (stat.pages_free + stat.pages_parked + stat.pages_live != PAGES)
		return CHILD_SUM;
	if (quire_validate(q))
		return CHILD_VALIDATE;
	if (child_lost_pages(q, stat.pages_live))
		return CHILD_LOST;
	if (way == QUIRE_WAY_BOUND && !child_binds(q))
		return CHILD_BIND;
	while (n < PAGES && (pages[n] = quire_alloc_pages(q, 0, 0)))
		n++;
	if (n != stat.pages_free + stat.pages_parked)
		return CHILD_ALLOC;
	for (uint64_t i = 0; i < n; i++)
		if (quire_free_pages(q, pages[i], 0))
			return CHILD_FREE;
	while (large < PAGES && (pages[large] = quire_alloc_pages(q, 3, 0)))
		large++;
	for (uint64_t i = 0; i < large; i++)
		if (quire_free_pages(q, pages[i], 3))
			return CHILD_FREE;
	if (large == 0 || quire_drain_all(q) || quire_validate(q))
		return CHILD_AGAIN;
	return CHILD_OK;
}

static void fork_once(struct shared *s)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit((int)child_main(s->q, s->way));
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), CHILD_OK);
}

static void expect_home(struct shared *s)
{
	struct quire_stat stat;

	assert_int_equal(quire_validate(s->q), 0);
	assert_int_equal(quire_drain_all(s->q), 0);
	assert_int_equal(quire_stat(s->q, &stat, sizeof(stat)), 0);
	assert_int_equal(stat.pages_live, 0);
	assert_int_equal(stat.pages_free, PAGES);
	assert_int_equal(stat.failures, 0);
	assert_int_equal(s->messages.count, 0);
}

static bool shared_create(struct shared *s, enum quire_way way)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;

	memset(s, 0, sizeof(*s));
	test_messages_init(&s->messages);
	s->way = way;
	options.size = PAGES * QUIRE_PAGE_SIZE;
	options.way = way;
	options.cpus = way == QUIRE_WAY_BOUND ? THREADS : 0;
	options.report = test_catch;
	options.report_arg = &s->messages;
	s->q = quire_create(&options);
	if (!s->q && errno == ENOTSUP && way == QUIRE_WAY_RSEQ)
		return false;
	assert_non_null(s->q);
	s->messages.count = 0;
	return true;
}

static void test_fork(void **state)
{
	static struct shared shared;
	struct shared *s = &shared;
	struct test_rng rng = test_seed();
	uint64_t forks =
		test_setting("QUIRE_TEST_ROUNDS", TEST_SANITIZED ? 10 : 60);
	pthread_t threads[THREADS];

	if (!shared_create(s, *(const enum quire_way *)*state))
		skip();
	for (unsigned i = 0; i < THREADS; i++) {
		s->workers[i].shared = s;
		s->workers[i].number = i;
		s->workers[i].rng.state = test_random(&rng);
		assert_int_equal(pthread_create(&threads[i], NULL, worker_main,
						&s->workers[i]),
				 0);
	}
	while (atomic_load(&s->warm) < THREADS)
		sched_yield();
	for (uint64_t i = 0; i < forks; i++)
		fork_once(s);
	atomic_store(&s->stop, true);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(s->workers[i].failed, 0);
	expect_home(s);
	assert_int_equal(quire_destroy(s->q), 0);
}

/* --- step by step --- */

struct forking {
	const struct lock *lock;
	pid_t pid;
	_Atomic bool done;
};

/* In the child, 0: the lock is free. */
static void *fork_main(void *arg)
{
	struct forking *forking = arg;
	pid_t pid = fork();

	if (pid == 0)
		_exit(atomic_load(&forking->lock->word) != 0);
	forking->pid = pid;
	atomic_store(&forking->done, true);
	return NULL;
}

/* Whoever has the lock leaves it before the process is copied. */
static void expect_fork_waits(struct lock *lock)
{
	struct forking forking = { .lock = lock };
	pthread_t thread;
	bool waited;
	int status;

	lock_acquire(lock);
	assert_int_equal(pthread_create(&thread, NULL, fork_main, &forking), 0);
	while (atomic_load(&lock->word) != 2 && !atomic_load(&forking.done))
		sched_yield();
	waited = !atomic_load(&forking.done);
	lock_release(lock);
	pthread_join(thread, NULL);
	assert_true(forking.pid > 0);
	assert_int_equal(waitpid(forking.pid, &status, 0), forking.pid);
	assert_true(waited);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_waits_for_locks(void **state)
{
	static struct shared shared;
	struct shared *s = &shared;

	if (!shared_create(s, *(const enum quire_way *)*state))
		skip();
	for (unsigned z = 0; z < s->q->nr_zones; z++)
		expect_fork_waits(&s->q->zone[z]->lock);
	expect_fork_waits(&s->q->drain_lock);
	expect_home(s);
	assert_int_equal(quire_destroy(s->q), 0);
}

static enum quire_way ways[] = { QUIRE_WAY_RSEQ, QUIRE_WAY_TRYLOCK,
				 QUIRE_WAY_BOUND };

int main(void)
{
	const struct CMUnitTest steps[] = {
		{ "test_waits_for_locks rseq", test_waits_for_locks, NULL, NULL,
		  &ways[0] },
		{ "test_waits_for_locks trylock", test_waits_for_locks, NULL,
		  NULL, &ways[1] },
		{ "test_waits_for_locks bound", test_waits_for_locks, NULL,
		  NULL, &ways[2] },
	};
	const struct CMUnitTest tests[] = {
		{ "test_fork rseq", test_fork, NULL, NULL, &ways[0] },
		{ "test_fork trylock", test_fork, NULL, NULL, &ways[1] },
		{ "test_fork bound", test_fork, NULL, NULL, &ways[2] },
	};
	int failed = cmocka_run_group_tests_name("fork, step by step", steps,
						 NULL, NULL);

	/* A child that finds a lock held may never come to an end. */
	if (failed)
		return 1;
	return cmocka_run_group_tests_name("fork", tests, NULL, NULL);
}
