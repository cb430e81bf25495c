/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reclaim's threads: that they balance, rest and maintain, starting and
 * stopping them, and forks.
 */
#include "shrinkers.h"

static void test_threads_errors(void **state)
{
	struct quire *q = create_small();

	(void)state;
	assert_fails(quire_reclaim_stop(q), EINVAL);
	fault_arm(FAULT_KEY, 0, 1);
	assert_fails(quire_reclaim_start(q), EAGAIN);
	assert_told(&messages, "thread 0 of 1");
	assert_fails(quire_reclaim_stop(q), EINVAL);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(quire_reclaim_start(q), 0);
		assert_fails(quire_reclaim_start(q), EBUSY);
		assert_int_equal(quire_reclaim_stop(q), 0);
		assert_fails(quire_reclaim_stop(q), EINVAL);
	}
	assert_int_equal(quire_reclaim_start(q), 0);
	destroy(q);
	q = create_small();
	fault_arm(FAULT_SERVICE, 0, 1);
	assert_fails(quire_reclaim_start(q), EAGAIN);
	fault_disarm_all();
	destroy(q);
}

/* Up to high after a kick, then never below low for long. */
static void test_thread_balances(void **state)
{
	enum { ROUNDS = 3, EACH = PAGES / 8 };
	struct quire_options options = marked_options();
	struct quire_page *held[ROUNDS * EACH];
	struct cache *cache;
	struct quire *q;
	size_t n = 0;

	(void)state;
	options.decay_ms = 60000; /* kicks alone */
	q = create(&options);
	cache = cache_new(q);
	cache_fill(cache, PAGES);
	add(q, &cache->shrinker);
	assert_int_equal(quire_reclaim_start(q), 0);
	held[n] = quire_alloc_pages(q, 0, QUIRE_MEMALLOC);
	assert_non_null(held[n]);
	assert_int_equal(quire_free_pages(q, held[n], 0), 0);
	/* The allocation may fill a list with some of it only after that. */
	eventually(unused_of(q) >= PAGES / 4 - 1);
	for (int i = 0; i < ROUNDS; i++) {
		for (size_t end = n + EACH; n < end; n++) {
			held[n] = quire_alloc_pages(q, 0, 0);
			assert_non_null(held[n]);
		}
		eventually(free_of(q) >= PAGES * 3 / 16);
	}
	assert_true(cache_left(cache) > PAGES / 8);
	assert_int_equal(quire_reclaim_stop(q), 0);
	while (n)
		assert_int_equal(quire_free_pages(q, held[--n], 0), 0);
	take_out(q, &cache->shrinker);
	cache_delete(cache);
	destroy(q);
}

/* Kicked all the time, with nothing to be had: it rests. */
static void test_thread_backs_off(void **state)
{
	struct quire_options options = marked_options();
	struct quire *q = create(&options);
	struct cache *cache = cache_new(q);
	struct liar liar;
	struct timespec then, now;

	(void)state;
	cache_fill(cache, PAGES);
	liar_init(&liar, 0, 0);
	add(q, &liar.shrinker);
	assert_int_equal(quire_reclaim_start(q), 0);
	clock_gettime(CLOCK_MONOTONIC, &then);
	do {
		struct quire_page *page =
			quire_alloc_pages(q, 0, QUIRE_MEMALLOC | QUIRE_NORETRY);

		if (page)
			quire_free_pages(q, page, 0);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - then.tv_sec) * 1000 +
			 (now.tv_nsec - then.tv_nsec) / 1000000 <
		 300);
	assert_in_range(liar.counts, 1, 30);
	/* A liar that always gives does not keep it busy either. */
	liar.counts = 0;
	liar.nr = UINT64_MAX;
	liar.says = UINT64_MAX - 1;
	nap_ms(300);
	assert_true(liar.counts < 16 * 300 / 20);
	assert_int_equal(quire_reclaim_stop(q), 0);
	take_out(q, &liar.shrinker);
	cache_delete(cache);
	destroy(q);
}

static void test_thread_maintains(void **state)
{
	struct quire_options options = small_options();
	struct quire_page *page;
	struct quire *q;

	(void)state;
	options.decay_ms = 20;
	q = create(&options);
	assert_int_equal(quire_reclaim_start(q), 0);
	page = quire_alloc_pages(q, 0, 0);
	assert_non_null(page);
	assert_int_equal(quire_free_pages(q, page, 0), 0);
	eventually(stat_of(q).pages_parked == 0);
	destroy(q);
}

struct stopper {
	struct quire_shrinker shrinker;
	_Atomic int ran, result, error;
};

static uint64_t stopper_count(struct quire_shrinker *shrinker,
			      const struct quire_shrink *want)
{
	struct stopper *stopper = shrinker->arg;

	if (!stopper->ran) {
		stopper->result = quire_reclaim_stop(want->q);
		stopper->error = errno;
		stopper->ran = 1;
	}
	return 0;
}

static void test_stop_inside(void **state)
{
	struct quire_options options = marked_options();
	struct stopper stopper = { .result = 0 };
	struct quire *q;
	struct cache *cache;

	(void)state;
	options.decay_ms = 20;
	q = create(&options);
	cache = cache_new(q);
	stopper.shrinker = (struct quire_shrinker){ .name = "stopper",
						    .count = stopper_count,
						    .scan = liar_scan,
						    .arg = &stopper };
	cache_fill(cache, PAGES);
	add(q, &stopper.shrinker);
	assert_int_equal(quire_reclaim_start(q), 0);
	eventually(stopper.ran);
	assert_int_equal(stopper.result, -1);
	assert_int_equal(stopper.error, EBUSY);
	assert_told(&messages, "thread of node 0");
	assert_int_equal(quire_reclaim_stop(q), 0);
	take_out(q, &stopper.shrinker);
	cache_delete(cache);
	destroy(q);
}

static void *start_and_stop(void *arg)
{
	struct storm *s = arg;

	for (int i = 0; i < 100; i++)
		if (quire_reclaim_start(s->q) == 0) {
			while (quire_reclaim_stop(s->q) != 0)
				s->failed++;
			s->reclaimed++;
		} else if (errno != EBUSY) {
			s->failed++;
		}
	return NULL;
}

static void test_start_storm(void **state)
{
	struct storm s = { .q = create_small() };
	pthread_t threads[3];

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(threads); i++)
		pthread_create(&threads[i], NULL, start_and_stop, &s);
	for (size_t i = 0; i < TEST_LENGTH(threads); i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(s.failed, 0);
	assert_true(s.reclaimed > 0);
	assert_int_equal(quire_reclaim_start(s.q), 0);
	destroy(s.q);
}

/* --- fork --- */

/* Nobody else's runs count in the child, and there are no threads. */
static void test_fork(void **state)
{
	struct quire *q = create_small();
	struct cache *cache = cache_new(q);
	struct gate gate;
	pthread_t reclaims;
	pid_t pid;

	(void)state;
	gate_init(&gate, q);
	cache_fill(cache, 100);
	add(q, &gate.shrinker);
	add(q, &cache->shrinker);
	assert_int_equal(quire_reclaim_start(q), 0);
	pthread_create(&reclaims, NULL, gate_reclaim, &gate);
	eventually(gate.inside);
	pid = fork();
	if (pid == 0) {
		child_check(quire_reclaim_stop(q) == -1 && errno == EINVAL);
		child_check(quire_shrinker_unregister(q, &gate.shrinker) == 0);
		child_check(quire_reclaim(q, 0, 30) == 30);
		child_check(TEST_TSAN || quire_reclaim_start(q) == 0);
		child_check(TEST_TSAN || quire_reclaim_stop(q) == 0);
		child_check(quire_shrinker_register(q, &gate.shrinker) == 0);
		child_check(quire_shrinker_unregister(q, &gate.shrinker) == 0);
		child_check(quire_validate(q) == 0);
		_exit(0);
	}
	expect_child(pid);
	gate.open = true;
	pthread_join(reclaims, NULL);
	assert_int_equal(quire_reclaim_stop(q), 0);
	take_out(q, &gate.shrinker);
	take_out(q, &cache->shrinker);
	cache_delete(cache);
	destroy(q);
}

/* A thread that forks in a shrinker ends in the child, which has no other. */
static void test_fork_in_thread(void **state)
{
	struct quire_options options = marked_options();
	struct forker forker;
	struct cache *cache;
	struct quire *q;
	bool gone = false;
	int status;

	(void)state;
	options.decay_ms = 20;
	q = create(&options);
	cache = cache_new(q);
	forker_init(&forker);
	cache_fill(cache, PAGES);
	add(q, &forker.shrinker);
	assert_int_equal(quire_reclaim_start(q), 0);
	eventually(forker.pid);
	eventually(gone || (gone = waitpid(forker.pid, &status, WNOHANG) > 0));
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(quire_reclaim_stop(q), 0);
	take_out(q, &forker.shrinker);
	cache_delete(cache);
	destroy(q);
}

/* In the child: lets go of all that the thread was, and forks again. */
static uint64_t leaver_count(struct quire_shrinker *shrinker,
			     const struct quire_shrink *want)
{
	struct forker *forker = shrinker->arg;
	int status;
	pid_t pid;

	if (forker->forked)
		return 0;
	forker->forked = true;
	forker->pid = fork();
	if (forker->pid)
		return 0;
	child_check(quire_reclaim_stop(want->q) == -1 && errno == EINVAL);
	child_check(quire_destroy(want->q) == 0);
	pid = fork();
	if (pid == 0)
		_exit(0);
	child_check(pid > 0 && waitpid(pid, &status, 0) == pid);
	_exit(status != 0);
}

/* Of what it was the child of a thread looks at nothing: that may be gone. */
static void test_leave_in_thread(void **state)
{
	struct quire_options options = marked_options();
	struct forker forker;
	struct cache *cache;
	struct quire *q;
	int status;

	(void)state;
	options.decay_ms = 20;
	options.flags |= QUIRE_DONTFORK;
	q = create(&options);
	cache = cache_new(q);
	forker_init(&forker);
	forker.shrinker.count = leaver_count;
	cache_fill(cache, PAGES);
	add(q, &forker.shrinker);
	assert_int_equal(quire_reclaim_start(q), 0);
	eventually(forker.pid);
	assert_int_equal(waitpid(forker.pid, &status, 0), forker.pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(quire_reclaim_stop(q), 0);
	take_out(q, &forker.shrinker);
	cache_delete(cache);
	destroy(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_threads_errors),
		CASE(test_thread_balances),
		CASE(test_thread_backs_off),
		CASE(test_thread_maintains),
		CASE(test_stop_inside),
		CASE(test_start_storm),
		CASE(test_fork),
		CASE(test_fork_in_thread),
		CASE(test_leave_in_thread),
	};

	return cmocka_run_group_tests_name("reclaim_thread", tests, NULL, NULL);
}
