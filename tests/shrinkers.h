/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests of shrinkers, reclaim and its threads share: shrinkers that
 * cache pages, lie, or stay inside until they are let go.
 */
#ifndef QUIRE_TESTS_SHRINKERS_H
#define QUIRE_TESTS_SHRINKERS_H

#include "testing.h"

#include <errno.h>
#include <stdatomic.h>
#include <time.h>

#include "platform/fault.h"
#include "quire/quire.h"

#define MIB (1ull << 20)

#if defined(__SANITIZE_THREAD__)
#define TEST_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TEST_TSAN 1
#endif
#endif
#ifndef TEST_TSAN
#define TEST_TSAN 0
#endif

/* Of an 8 MiB arena. */
enum { PAGES = 2048 };

static struct test_messages messages;

static inline int setup(void **state)
{
	(void)state;
	return test_begin(&messages);
}

static inline int teardown(void **state)
{
	(void)state;
	fault_disarm_all();
	return 0;
}

static inline struct quire_options small_options(void)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;

	options.size = PAGES * QUIRE_PAGE_SIZE;
	options.report = test_catch;
	options.report_arg = &messages;
	return options;
}

/* Watermarks: min an eighth of all, low and high another sixteenth each. */
static inline struct quire_options marked_options(void)
{
	struct quire_options options = small_options();

	options.min_free = MIB;
	options.watermark_scale = 625;
	return options;
}

static inline struct quire *create(const struct quire_options *options)
{
	struct quire *q = quire_create(options);

	assert_non_null(q);
	messages.count = 0;
	return q;
}

static inline struct quire *create_small(void)
{
	struct quire_options options = small_options();

	return create(&options);
}

static inline struct quire_stat stat_of(const struct quire *q)
{
	struct quire_stat stat;

	assert_int_equal(quire_stat(q, &stat, sizeof(stat)), 0);
	return stat;
}

static inline uint64_t free_of(const struct quire *q)
{
	return stat_of(q).pages_free;
}

/* Those in lists, too. */
static inline uint64_t unused_of(const struct quire *q)
{
	return stat_of(q).pages_free + stat_of(q).pages_parked;
}

static inline void destroy(struct quire *q)
{
	assert_int_equal(quire_drain_all(q), 0);
	assert_int_equal(quire_validate(q), 0);
	assert_int_equal(quire_destroy(q), 0);
}

static inline void nap_ms(unsigned ms)
{
	const struct timespec nap = { .tv_sec = ms / 1000,
				      .tv_nsec = ms % 1000 * 1000000 };

	nanosleep(&nap, NULL);
}

/* Within ten seconds. */
#define eventually(condition)                                                  \
	do {                                                                   \
		for (int left = 5000; !(condition) && left; left--)            \
			nap_ms(2);                                             \
		assert_true(condition);                                        \
	} while (0)

/* --- a cache of pages --- */

struct cache {
	struct quire_shrinker shrinker;
	pthread_mutex_t lock;
	struct quire *q;
	size_t nr, freed, largest;
	unsigned counts, scans, order, node;
	struct quire_page *pages[PAGES];
};

static inline uint64_t cache_count(struct quire_shrinker *shrinker,
				   const struct quire_shrink *want)
{
	struct cache *cache = shrinker->arg;
	size_t nr;

	pthread_mutex_lock(&cache->lock);
	cache->counts++;
	cache->order = want->order;
	cache->node = want->node;
	nr = cache->nr;
	pthread_mutex_unlock(&cache->lock);
	return nr;
}

static inline uint64_t cache_scan(struct quire_shrinker *shrinker,
				  const struct quire_shrink *want,
				  uint64_t pages)
{
	struct cache *cache = shrinker->arg;
	uint64_t done = 0;

	pthread_mutex_lock(&cache->lock);
	cache->scans++;
	if (pages > cache->largest)
		cache->largest = pages;
	for (; done < pages && cache->nr; done++)
		quire_free_pages(want->q, cache->pages[--cache->nr], 0);
	cache->freed += done;
	pthread_mutex_unlock(&cache->lock);
	return done;
}

static inline struct cache *cache_new(struct quire *q)
{
	struct cache *cache = calloc(1, sizeof(*cache));

	assert_non_null(cache);
	pthread_mutex_init(&cache->lock, NULL);
	cache->q = q;
	cache->shrinker.name = "cache";
	cache->shrinker.count = cache_count;
	cache->shrinker.scan = cache_scan;
	cache->shrinker.arg = cache;
	return cache;
}

static inline void cache_fill(struct cache *cache, size_t nr)
{
	struct quire_page *page;

	while (cache->nr < nr && (page = quire_alloc_pages(cache->q, 0, 0)))
		cache->pages[cache->nr++] = page;
}

static inline void cache_delete(struct cache *cache)
{
	while (cache->nr)
		assert_int_equal(quire_free_pages(cache->q,
						  cache->pages[--cache->nr], 0),
				 0);
	free(cache);
}

static inline size_t cache_left(struct cache *cache)
{
	size_t nr;

	pthread_mutex_lock(&cache->lock);
	nr = cache->nr;
	pthread_mutex_unlock(&cache->lock);
	return nr;
}

static inline void add(struct quire *q, struct quire_shrinker *shrinker)
{
	assert_int_equal(quire_shrinker_register(q, shrinker), 0);
	assert_non_null(shrinker->state);
}

static inline void take_out(struct quire *q, struct quire_shrinker *shrinker)
{
	assert_int_equal(quire_shrinker_unregister(q, shrinker), 0);
	assert_null(shrinker->state);
}

#define assert_fails(call, error)                                              \
	do {                                                                   \
		errno = 0;                                                     \
		assert_int_equal((call), -1);                                  \
		assert_int_equal(errno, (error));                              \
	} while (0)

/* --- liars --- */

enum { PRIORITIES = 13 };

/* A shrinker that keeps a record and frees nothing, or says what it likes. */
struct liar {
	struct quire_shrinker shrinker;
	_Atomic uint64_t scans, counts, nr, says;
	_Atomic uint64_t asked[PRIORITIES];
};

static inline uint64_t liar_count(struct quire_shrinker *shrinker,
				  const struct quire_shrink *want)
{
	struct liar *liar = shrinker->arg;

	liar->counts++;
	return want->priority < PRIORITIES ? liar->nr : 0;
}

static inline uint64_t liar_scan(struct quire_shrinker *shrinker,
				 const struct quire_shrink *want,
				 uint64_t pages)
{
	struct liar *liar = shrinker->arg;

	liar->scans++;
	liar->asked[want->priority] += pages;
	errno = EXDEV;
	return liar->says;
}

static inline void liar_init(struct liar *liar, uint64_t nr, uint64_t says)
{
	memset(liar, 0, sizeof(*liar));
	liar->shrinker.name = "liar";
	liar->shrinker.count = liar_count;
	liar->shrinker.scan = liar_scan;
	liar->shrinker.arg = liar;
	liar->nr = nr;
	liar->says = says;
}

/* --- a gate --- */

struct gate {
	struct quire_shrinker shrinker;
	struct quire *q;
	_Atomic bool inside, open, gone;
	_Atomic int64_t freed;
};

static inline uint64_t gate_count(struct quire_shrinker *shrinker,
				  const struct quire_shrink *want)
{
	(void)shrinker, (void)want;
	return 1;
}

static inline uint64_t gate_scan(struct quire_shrinker *shrinker,
				 const struct quire_shrink *want,
				 uint64_t pages)
{
	struct gate *gate = shrinker->arg;

	(void)want, (void)pages;
	gate->inside = true;
	while (!gate->open)
		nap_ms(1);
	return QUIRE_SHRINK_STOP;
}

static inline void gate_init(struct gate *gate, struct quire *q)
{
	*gate = (struct gate){ .q = q };
	gate->shrinker.name = "gate";
	gate->shrinker.count = gate_count;
	gate->shrinker.scan = gate_scan;
	gate->shrinker.arg = gate;
}

static inline void *gate_reclaim(void *arg)
{
	struct gate *gate = arg;

	gate->freed = quire_reclaim(gate->q, 0, 10);
	return NULL;
}

static inline void *gate_leave(void *arg)
{
	struct gate *gate = arg;

	if (quire_shrinker_unregister(gate->q, &gate->shrinker) == 0)
		gate->gone = true;
	return NULL;
}

/* --- threads and forks --- */

enum { STORM_THREADS = 4 };

struct storm {
	struct quire *q;
	_Atomic bool stop;
	_Atomic uint64_t failed, reclaimed;
};

static inline void *storm_reclaim(void *arg)
{
	struct storm *s = arg;

	while (!s->stop) {
		int64_t got = quire_reclaim(s->q, 0, 40);

		if (got < 0)
			s->failed++;
		else
			s->reclaimed += (uint64_t)got;
	}
	return NULL;
}

/* The child says by its status at which line it found something wrong. */
#define child_check(condition)                                                 \
	do {                                                                   \
		if (!(condition))                                              \
			_exit(__LINE__ % 255 + 1);                             \
	} while (0)

static inline void expect_child(pid_t pid)
{
	int status;

	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* A child whose last thread ends exits, and finds leaks that are none. */
static inline void leave(void)
{
	_exit(0);
}

/* Forks once, when it is counted. */
struct forker {
	struct quire_shrinker shrinker;
	bool forked;
	_Atomic pid_t pid; /* 0 in the child */
};

static inline uint64_t forker_count(struct quire_shrinker *shrinker,
				    const struct quire_shrink *want)
{
	struct forker *forker = shrinker->arg;

	(void)want;
	if (!forker->forked) {
		forker->forked = true;
		forker->pid = fork();
		if (forker->pid == 0)
			atexit(leave);
	}
	return 0;
}

static inline void forker_init(struct forker *forker)
{
	*forker = (struct forker){ .pid = 0 };
	forker->shrinker.name = "forker";
	forker->shrinker.count = forker_count;
	forker->shrinker.scan = liar_scan;
	forker->shrinker.arg = forker;
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#endif
