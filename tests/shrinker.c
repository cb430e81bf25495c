/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shrinkers: registering, leaving while they run, many at once, and forks in
 * the midst of it.
 */
#include "shrinkers.h"

/* --- registering --- */

static void test_register_errors(void **state)
{
	struct quire *q = create_small(), *other = create_small();
	struct cache *cache = cache_new(q);
	struct quire_shrinker bad = cache->shrinker;
	char at[64];

	(void)state;
	snprintf(at, sizeof(at), "cache at %p", (void *)&cache->shrinker);
	assert_fails(quire_shrinker_register(q, NULL), EINVAL);
	bad.count = NULL;
	assert_fails(quire_shrinker_register(q, &bad), EINVAL);
	assert_told(&messages, "cache at");
	bad.count = cache_count;
	bad.scan = NULL;
	bad.name = NULL;
	assert_fails(quire_shrinker_register(q, &bad), EINVAL);
	assert_told(&messages, "(no name)");
	assert_int_equal(messages.count, 3);

	assert_fails(quire_shrinker_unregister(q, &cache->shrinker), EINVAL);
	assert_told(&messages, "is not registered");
	add(q, &cache->shrinker);
	messages.count = 0;
	assert_fails(quire_shrinker_register(q, &cache->shrinker), EEXIST);
	assert_told(&messages, at);
	assert_fails(quire_shrinker_register(other, &cache->shrinker), EEXIST);
	assert_fails(quire_shrinker_unregister(other, &cache->shrinker),
		     EINVAL);
	assert_fails(quire_shrinker_unregister(q, &bad), EINVAL);
	take_out(q, &cache->shrinker);
	assert_fails(quire_shrinker_unregister(q, &cache->shrinker), EINVAL);
	add(other, &cache->shrinker);
	take_out(other, &cache->shrinker);
	cache_delete(cache);
	destroy(q);
	destroy(other);
}

static void test_register_no_memory(void **state)
{
	struct quire *q = create_small();
	struct cache *cache = cache_new(q);

	(void)state;
	/* The entry; the allocator's list. */
	for (int skip = 0; skip < 2; skip++) {
		fault_arm(FAULT_SERVICE, skip, 1);
		assert_fails(quire_shrinker_register(q, &cache->shrinker),
			     ENOMEM);
		assert_null(cache->shrinker.state);
	}
	fault_disarm_all();
	add(q, &cache->shrinker);
	take_out(q, &cache->shrinker);
	cache_delete(cache);
	destroy(q);
}

/* What is registered when an allocator goes is forgotten. */
static void test_destroy_registered(void **state)
{
	struct quire *q = create_small();
	struct cache *cache = cache_new(q);

	(void)state;
	add(q, &cache->shrinker);
	destroy(q);
	q = create_small();
	add(q, &cache->shrinker);
	take_out(q, &cache->shrinker);
	cache_delete(cache);
	destroy(q);
}

/* --- unregistering what runs --- */

static void test_unregister_waits(void **state)
{
	struct quire *q = create_small();
	struct cache *before = cache_new(q), *after = cache_new(q);
	struct gate *gate = malloc(sizeof(*gate));
	pthread_t reclaims, leaves;

	(void)state;
	gate_init(gate, q);
	cache_fill(after, 100);
	add(q, &before->shrinker);
	add(q, &gate->shrinker);
	add(q, &after->shrinker);
	pthread_create(&reclaims, NULL, gate_reclaim, gate);
	eventually(gate->inside);
	/* Whose neighbours leave while it runs. */
	take_out(q, &before->shrinker);
	take_out(q, &after->shrinker);
	add(q, &after->shrinker);
	pthread_create(&leaves, NULL, gate_leave, gate);
	nap_ms(30);
	assert_false(gate->gone);
	/* Others do not wait, and do not see it any more. */
	assert_int_equal(quire_reclaim(q, 0, 20), 20);
	assert_fails(quire_shrinker_unregister(q, &gate->shrinker), EINVAL);
	/* Nor does who comes behind it have to stay. */
	take_out(q, &after->shrinker);
	add(q, &after->shrinker);
	gate->open = true;
	pthread_join(leaves, NULL);
	assert_true(gate->gone);
	pthread_join(reclaims, NULL);
	/* The walk went on behind it. */
	assert_int_equal(gate->freed, 10);
	free(gate);
	take_out(q, &after->shrinker);
	cache_delete(before);
	cache_delete(after);
	destroy(q);
}

/* Its shrinker's memory goes each time: who comes late reads freed memory. */
static void *storm_come_and_go(void *arg)
{
	const uint64_t turns = test_setting("QUIRE_TEST_TURNS", 200);
	struct storm *s = arg;

	for (uint64_t i = 0; i < turns; i++) {
		struct cache *cache = calloc(1, sizeof(*cache));

		pthread_mutex_init(&cache->lock, NULL);
		cache->q = s->q;
		cache->shrinker.count = cache_count;
		cache->shrinker.scan = cache_scan;
		cache->shrinker.arg = cache;
		cache_fill(cache, 50);
		if (quire_shrinker_register(s->q, &cache->shrinker))
			s->failed++;
		if (i % 4 == 0)
			nap_ms(1);
		if (quire_shrinker_unregister(s->q, &cache->shrinker))
			s->failed++;
		memset(&cache->shrinker, 0xff, sizeof(cache->shrinker));
		while (cache->nr)
			if (quire_free_pages(s->q, cache->pages[--cache->nr],
					     0))
				s->failed++;
		pthread_mutex_destroy(&cache->lock);
		free(cache);
	}
	return NULL;
}

static void test_storm(void **state)
{
	struct storm s = { .q = create_small() };
	pthread_t come[STORM_THREADS], reclaim[2];

	(void)state;
	for (int i = 0; i < 2; i++)
		pthread_create(&reclaim[i], NULL, storm_reclaim, &s);
	for (int i = 0; i < STORM_THREADS; i++)
		pthread_create(&come[i], NULL, storm_come_and_go, &s);
	for (int i = 0; i < STORM_THREADS; i++)
		pthread_join(come[i], NULL);
	s.stop = true;
	for (int i = 0; i < 2; i++)
		pthread_join(reclaim[i], NULL);
	assert_int_equal(s.failed, 0);
	assert_true(s.reclaimed > 0);
	assert_int_equal(stat_of(s.q).reclaimed, s.reclaimed);
	destroy(s.q);
}

/* --- fork --- */

/* A fork inside a shrinker: the child is still in it. */
static void test_fork_inside(void **state)
{
	struct quire *q = create_small();
	struct forker forker;

	(void)state;
	forker_init(&forker);
	add(q, &forker.shrinker);
	assert_int_equal(quire_reclaim(q, 0, 10), 0);
	if (forker.pid == 0) {
		child_check(quire_shrinker_unregister(q, &forker.shrinker) ==
			    0);
		_exit(0);
	}
	expect_child(forker.pid);
	take_out(q, &forker.shrinker);
	destroy(q);
}

/* Shrinkers without locks, which a child could find held. */
static void *storm_of_liars(void *arg)
{
	struct storm *s = arg;

	while (!s->stop) {
		struct liar *liar = malloc(sizeof(*liar));

		liar_init(liar, 10, 1);
		if (quire_shrinker_register(s->q, &liar->shrinker))
			s->failed++;
		if (quire_shrinker_unregister(s->q, &liar->shrinker))
			s->failed++;
		free(liar);
	}
	return NULL;
}

static void test_fork_storm(void **state)
{
	struct storm s = { .q = create_small() };
	pthread_t come[2], reclaim;
	struct liar liar;

	(void)state;
	pthread_create(&reclaim, NULL, storm_reclaim, &s);
	for (int i = 0; i < 2; i++)
		pthread_create(&come[i], NULL, storm_of_liars, &s);
	for (int i = 0; i < 30; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			liar_init(&liar, 1, 1);
			child_check(quire_shrinker_register(
					    s.q, &liar.shrinker) == 0);
			child_check(quire_reclaim(s.q, 0, PAGES) >= 1);
			child_check(quire_shrinker_unregister(
					    s.q, &liar.shrinker) == 0);
			child_check(liar.scans > 0);
			_exit(0);
		}
		expect_child(pid);
	}
	s.stop = true;
	for (int i = 0; i < 2; i++)
		pthread_join(come[i], NULL);
	pthread_join(reclaim, NULL);
	assert_int_equal(s.failed, 0);
	destroy(s.q);
}

/* A child that may not use the memory. */
static void test_fork_refused(void **state)
{
	struct quire_options options = small_options();
	struct cache *cache;
	struct quire *q;
	pid_t pid;

	(void)state;
	options.flags = QUIRE_DONTFORK;
	q = create(&options);
	cache = cache_new(q);
	add(q, &cache->shrinker);
	pid = fork();
	if (pid == 0) {
		struct liar liar;

		liar_init(&liar, 1, 1);
		child_check(quire_reclaim(q, 0, 1) == -1 && errno == EPERM);
		child_check(quire_reclaim_start(q) == -1 && errno == EPERM);
		child_check(quire_shrinker_register(q, &liar.shrinker) == -1 &&
			    errno == EPERM);
		child_check(quire_shrinker_unregister(q, &cache->shrinker) ==
			    0);
		child_check(quire_destroy(q) == 0);
		_exit(0);
	}
	expect_child(pid);
	take_out(q, &cache->shrinker);
	cache_delete(cache);
	destroy(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_register_errors),
		CASE(test_register_no_memory),
		CASE(test_destroy_registered),
		CASE(test_unregister_waits),
		CASE(test_storm),
		CASE(test_fork_inside),
		CASE(test_fork_storm),
		CASE(test_fork_refused),
	};

	return cmocka_run_group_tests_name("shrinker", tests, NULL, NULL);
}
