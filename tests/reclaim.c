/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shrinkers and the threads that call them: who is asked for how much and in
 * which order, shrinkers that lie, block, allocate or leave while they run, and
 * forks in the midst of it.
 */
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

static int setup(void **state)
{
	(void)state;
	return test_begin(&messages);
}

static int teardown(void **state)
{
	(void)state;
	fault_disarm_all();
	return 0;
}

static struct quire_options small_options(void)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;

	options.size = PAGES * QUIRE_PAGE_SIZE;
	options.report = test_catch;
	options.report_arg = &messages;
	return options;
}

/* Watermarks: min an eighth of all, low and high another sixteenth each. */
static struct quire_options marked_options(void)
{
	struct quire_options options = small_options();

	options.min_free = MIB;
	options.watermark_scale = 625;
	return options;
}

static struct quire *create(const struct quire_options *options)
{
	struct quire *q = quire_create(options);

	assert_non_null(q);
	messages.count = 0;
	return q;
}

static struct quire *create_small(void)
{
	struct quire_options options = small_options();

	return create(&options);
}

static struct quire_stat stat_of(const struct quire *q)
{
	struct quire_stat stat;

	assert_int_equal(quire_stat(q, &stat, sizeof(stat)), 0);
	return stat;
}

static uint64_t free_of(const struct quire *q)
{
	return stat_of(q).pages_free;
}

/* Those in lists, too. */
static uint64_t unused_of(const struct quire *q)
{
	return stat_of(q).pages_free + stat_of(q).pages_parked;
}

static void destroy(struct quire *q)
{
	assert_int_equal(quire_drain_all(q), 0);
	assert_int_equal(quire_validate(q), 0);
	assert_int_equal(quire_destroy(q), 0);
}

static void nap_ms(unsigned ms)
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

static uint64_t cache_count(struct quire_shrinker *shrinker,
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

static uint64_t cache_scan(struct quire_shrinker *shrinker,
			   const struct quire_shrink *want, uint64_t pages)
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

static struct cache *cache_new(struct quire *q)
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

static void cache_fill(struct cache *cache, size_t nr)
{
	struct quire_page *page;

	while (cache->nr < nr && (page = quire_alloc_pages(cache->q, 0, 0)))
		cache->pages[cache->nr++] = page;
}

static void cache_delete(struct cache *cache)
{
	while (cache->nr)
		assert_int_equal(quire_free_pages(cache->q,
						  cache->pages[--cache->nr], 0),
				 0);
	free(cache);
}

static size_t cache_left(struct cache *cache)
{
	size_t nr;

	pthread_mutex_lock(&cache->lock);
	nr = cache->nr;
	pthread_mutex_unlock(&cache->lock);
	return nr;
}

static void add(struct quire *q, struct quire_shrinker *shrinker)
{
	assert_int_equal(quire_shrinker_register(q, shrinker), 0);
	assert_non_null(shrinker->state);
}

static void take_out(struct quire *q, struct quire_shrinker *shrinker)
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
	/* The entry; the allocator's state; its threads. */
	for (int skip = 0; skip < 3; skip++) {
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

/* --- who is asked for how much --- */

static void test_reclaim(void **state)
{
	struct quire *q = create_small();
	struct cache *cache = cache_new(q);
	struct quire_stat stat;

	(void)state;
	assert_int_equal(quire_reclaim(q, 0, 10), 0);
	cache_fill(cache, 1000);
	add(q, &cache->shrinker);
	assert_int_equal(quire_reclaim(q, 0, 0), 0);
	assert_int_equal(cache->counts, 0);
	assert_int_equal(quire_reclaim(q, 0, 10), 10);
	assert_int_equal(cache->nr, 990);
	assert_int_equal(cache->scans, 1);
	cache->shrinker.batch = 7;
	cache->largest = 0;
	assert_int_equal(quire_reclaim(q, 0, 500), 500);
	assert_int_equal(cache->largest, 7);
	assert_int_equal(quire_reclaim(q, 0, UINT64_MAX), 490);
	assert_int_equal(cache->nr, 0);
	assert_int_equal(quire_reclaim(q, 0, 1), 0);
	stat = stat_of(q);
	assert_int_equal(stat.reclaimed, 1000);
	assert_int_equal(stat.reclaims, 4);
	assert_int_equal(messages.count, 0);
	assert_fails(quire_reclaim(q, 1, 1), EINVAL);
	assert_told(&messages, "node 1 of 1");
	take_out(q, &cache->shrinker);
	cache_delete(cache);
	destroy(q);
}

enum { PRIORITIES = 13 };

/* A shrinker that keeps a record and frees nothing, or says what it likes. */
struct liar {
	struct quire_shrinker shrinker;
	_Atomic uint64_t scans, counts, nr, says;
	_Atomic uint64_t asked[PRIORITIES];
};

static uint64_t liar_count(struct quire_shrinker *shrinker,
			   const struct quire_shrink *want)
{
	struct liar *liar = shrinker->arg;

	liar->counts++;
	return want->priority < PRIORITIES ? liar->nr : 0;
}

static uint64_t liar_scan(struct quire_shrinker *shrinker,
			  const struct quire_shrink *want, uint64_t pages)
{
	struct liar *liar = shrinker->arg;

	liar->scans++;
	liar->asked[want->priority] += pages;
	errno = EXDEV;
	return liar->says;
}

static void liar_init(struct liar *liar, uint64_t nr, uint64_t says)
{
	memset(liar, 0, sizeof(*liar));
	liar->shrinker.name = "liar";
	liar->shrinker.count = liar_count;
	liar->shrinker.scan = liar_scan;
	liar->shrinker.arg = liar;
	liar->nr = nr;
	liar->says = says;
}

/* Each priority is asked for its share, a batch at least. */
static void test_priorities(void **state)
{
	static const uint64_t batches[] = { 0, 1, 7, 1000, PAGES, UINT64_MAX };
	static const uint64_t sizes[] = { 1, 50, 128, 129, 1000, PAGES };
	struct quire *q = create_small();
	struct liar liar;

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(batches) * TEST_LENGTH(sizes); i++) {
		uint64_t n = sizes[i % TEST_LENGTH(sizes)];
		uint64_t batch = batches[i / TEST_LENGTH(sizes)];
		uint64_t least;

		liar_init(&liar, n, 0);
		liar.shrinker.batch = batch;
		add(q, &liar.shrinker);
		errno = 0;
		assert_int_equal(quire_reclaim(q, 0, PAGES), 0);
		assert_int_equal(errno, 0);
		least = batch ? batch : 128;
		if (least > n)
			least = n;
		for (unsigned p = 0; p < PRIORITIES; p++)
			assert_int_equal(liar.asked[p],
					 n >> p > least ? n >> p : least);
		assert_int_equal(liar.counts, PRIORITIES);
		take_out(q, &liar.shrinker);
	}
	destroy(q);
}

static void test_liars(void **state)
{
	struct quire *q = create_small();
	struct liar liar, more;

	(void)state;
	/* All there is and more, and nothing comes. */
	liar_init(&liar, UINT64_MAX, 0);
	liar.shrinker.batch = 1;
	add(q, &liar.shrinker);
	assert_int_equal(quire_reclaim(q, 0, UINT64_MAX), 0);
	assert_in_range(liar.scans, PAGES, 2 * PAGES + PRIORITIES);
	/* More than was asked for. */
	liar_init(&more, UINT64_MAX, UINT64_MAX - 1);
	add(q, &more.shrinker);
	for (int i = 0; i < 4; i++)
		assert_int_equal(quire_reclaim(q, 0, UINT64_MAX), PAGES);
	more.says = PAGES - 1;
	assert_in_range(quire_reclaim(q, 0, UINT64_MAX), PAGES, 2 * PAGES);
	more.nr = 0;
	liar.nr = 0;
	assert_int_equal(quire_reclaim(q, 0, 1), 0);
	take_out(q, &liar.shrinker);
	take_out(q, &more.shrinker);
	destroy(q);
}

static void test_stop(void **state)
{
	struct quire *q = create_small();
	struct cache *cache = cache_new(q);
	struct liar liar;

	(void)state;
	liar_init(&liar, PAGES, QUIRE_SHRINK_STOP);
	cache_fill(cache, 100);
	add(q, &liar.shrinker);
	add(q, &cache->shrinker);
	assert_int_equal(quire_reclaim(q, 0, 200), 100);
	assert_int_equal(liar.scans, 1);
	assert_int_equal(quire_reclaim(q, 0, 200), 0);
	assert_int_equal(liar.scans, 2);
	take_out(q, &cache->shrinker);
	assert_int_equal(quire_reclaim(q, 0, 200), 0);
	assert_int_equal(liar.scans, 3);
	take_out(q, &liar.shrinker);
	cache_delete(cache);
	destroy(q);
}

/* More than one call can remember to have stopped. */
static void test_many(void **state)
{
	enum { MANY = 100 };
	static struct liar liars[MANY];
	struct quire *q = create_small();
	uint64_t scans = 0;

	(void)state;
	for (int i = 0; i < MANY; i++) {
		liar_init(&liars[i], PAGES, QUIRE_SHRINK_STOP);
		add(q, &liars[i].shrinker);
	}
	assert_int_equal(quire_reclaim(q, 0, 1), 0);
	for (int i = 0; i < MANY; i++) {
		assert_in_range(liars[i].scans, 1, PRIORITIES);
		scans += liars[i].scans;
	}
	assert_int_equal(scans, 64 + (MANY - 64) * PRIORITIES);
	/* Those that come later have the places of those that went. */
	for (int i = 0; i < MANY; i += 2)
		take_out(q, &liars[i].shrinker);
	for (int i = 0; i < MANY; i += 2)
		add(q, &liars[i].shrinker);
	for (int i = 0; i < MANY; i++)
		liars[i].scans = 0;
	assert_int_equal(quire_reclaim(q, 0, 1), 0);
	scans = 0;
	for (int i = 0; i < MANY; i++) {
		scans += liars[i].scans;
		take_out(q, &liars[i].shrinker);
	}
	assert_int_equal(scans, 64 + (MANY - 64) * PRIORITIES);
	destroy(q);
}

/* Small wants go round, so that nobody gives all. */
static void test_turns(void **state)
{
	enum { CACHES = 3, EACH = 300, CALLS = 30, WANT = 10 };
	struct quire *q = create_small();
	struct cache *caches[CACHES];

	(void)state;
	for (int i = 0; i < CACHES; i++) {
		caches[i] = cache_new(q);
		cache_fill(caches[i], EACH);
		add(q, &caches[i]->shrinker);
	}
	for (int i = 0; i < CALLS; i++)
		assert_int_equal(quire_reclaim(q, 0, WANT), WANT);
	for (int i = 0; i < CACHES; i++)
		assert_int_equal(caches[i]->freed, CALLS * WANT / CACHES);
	/* One call asks all of them. */
	assert_int_equal(quire_reclaim(q, 0, PAGES),
			 CACHES * EACH - CALLS * WANT);
	for (int i = 0; i < CACHES; i++) {
		take_out(q, &caches[i]->shrinker);
		cache_delete(caches[i]);
	}
	destroy(q);
}

/* --- allocations that fall short --- */

static void test_direct(void **state)
{
	struct quire *q = create_small();
	struct cache *cache = cache_new(q);
	struct quire_page *page;

	(void)state;
	cache_fill(cache, PAGES);
	assert_int_equal(cache->nr, PAGES);
	assert_null(quire_alloc_pages(q, 0, 0));
	add(q, &cache->shrinker);
	assert_null(quire_alloc_pages(q, 0, QUIRE_NOLOCK));
	assert_int_equal(cache->counts, 0);
	page = quire_alloc_pages(q, 0, 0);
	assert_non_null(page);
	assert_true(cache->freed > 0);
	assert_true(cache->nr > 0);
	assert_int_equal(quire_free_pages(q, page, 0), 0);
	page = quire_alloc_pages(q, 3, 0);
	if (page)
		assert_int_equal(quire_free_pages(q, page, 3), 0);
	/* It was asked for a block of this order, or had given one before. */
	assert_true(cache->order == 3 || page);
	assert_int_equal(cache->node, 0);
	assert_true(stat_of(q).reclaims > 0);
	assert_int_equal(stat_of(q).reclaimed, cache->freed);
	take_out(q, &cache->shrinker);
	cache_delete(cache);
	destroy(q);
}

/* A liar does not keep an allocation for ever. */
static void test_direct_liar(void **state)
{
	struct quire *q = create_small();
	struct cache *cache = cache_new(q);
	struct liar liar;

	(void)state;
	cache_fill(cache, PAGES);
	liar_init(&liar, UINT64_MAX, UINT64_MAX - 1);
	add(q, &liar.shrinker);
	errno = 0;
	assert_null(quire_alloc_pages(q, 0, 0));
	assert_int_equal(errno, ENOMEM);
	assert_true(liar.scans > 0);
	take_out(q, &liar.shrinker);
	cache_delete(cache);
	destroy(q);
}

/* Allocates, reclaims, and tries to leave, all of it inside. */
struct inside {
	struct quire_shrinker shrinker;
	struct cache *cache;
	struct quire_shrinker *other;
	unsigned depth, ran, got;
	int64_t reclaimed;
	int left, error, added, removed;
};

static uint64_t inside_count(struct quire_shrinker *shrinker,
			     const struct quire_shrink *want)
{
	struct inside *in = shrinker->arg;

	return in->ran ? 0 : cache_count(&in->cache->shrinker, want);
}

static uint64_t inside_scan(struct quire_shrinker *shrinker,
			    const struct quire_shrink *want, uint64_t pages)
{
	struct inside *in = shrinker->arg;
	struct quire_page *page;

	assert_int_equal(in->depth++, 0);
	in->ran++;
	page = quire_alloc_pages(want->q, 0, 0);
	in->got += page != NULL;
	if (page)
		quire_free_pages(want->q, page, 0);
	in->reclaimed = quire_reclaim(want->q, 0, 5);
	in->left = quire_shrinker_unregister(want->q, shrinker);
	in->error = errno;
	in->added = quire_shrinker_register(want->q, in->other);
	in->removed = quire_shrinker_unregister(want->q, in->other);
	in->depth--;
	return cache_scan(&in->cache->shrinker, want, pages);
}

static void test_inside(void **state)
{
	struct quire_options options = marked_options();
	struct quire *q = create(&options);
	struct cache *cache = cache_new(q);
	struct liar liar;
	struct inside in = { .cache = cache, .reclaimed = -1 };
	struct quire_page *page;

	(void)state;
	liar_init(&liar, 0, 0);
	in.other = &liar.shrinker;
	in.shrinker = (struct quire_shrinker){ .name = "inside",
					       .count = inside_count,
					       .scan = inside_scan,
					       .arg = &in };
	cache_fill(cache, PAGES);
	assert_true(cache->nr < PAGES);
	add(q, &in.shrinker);
	page = quire_alloc_pages(q, 0, 0);
	assert_non_null(page);
	assert_int_equal(quire_free_pages(q, page, 0), 0);
	assert_int_equal(in.ran, 1);
	assert_int_equal(in.got, 1); /* from the reserve */
	assert_int_equal(in.reclaimed, 0);
	assert_int_equal(in.left, -1);
	assert_int_equal(in.error, EBUSY);
	assert_told(&messages, "inside at");
	assert_told(&messages, "called by the shrinker itself");
	assert_int_equal(in.added, 0);
	assert_int_equal(in.removed, 0);
	take_out(q, &in.shrinker);
	cache_delete(cache);
	destroy(q);
}

/* --- unregistering what runs --- */

struct gate {
	struct quire_shrinker shrinker;
	struct quire *q;
	_Atomic bool inside, open, gone;
	_Atomic int64_t freed;
};

static uint64_t gate_count(struct quire_shrinker *shrinker,
			   const struct quire_shrink *want)
{
	(void)shrinker, (void)want;
	return 1;
}

static uint64_t gate_scan(struct quire_shrinker *shrinker,
			  const struct quire_shrink *want, uint64_t pages)
{
	struct gate *gate = shrinker->arg;

	(void)want, (void)pages;
	gate->inside = true;
	while (!gate->open)
		nap_ms(1);
	return QUIRE_SHRINK_STOP;
}

static void gate_init(struct gate *gate, struct quire *q)
{
	*gate = (struct gate){ .q = q };
	gate->shrinker.name = "gate";
	gate->shrinker.count = gate_count;
	gate->shrinker.scan = gate_scan;
	gate->shrinker.arg = gate;
}

static void *gate_reclaim(void *arg)
{
	struct gate *gate = arg;

	gate->freed = quire_reclaim(gate->q, 0, 10);
	return NULL;
}

static void *gate_leave(void *arg)
{
	struct gate *gate = arg;

	if (quire_shrinker_unregister(gate->q, &gate->shrinker) == 0)
		gate->gone = true;
	return NULL;
}

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

enum { STORM_THREADS = 4 };

struct storm {
	struct quire *q;
	_Atomic bool stop;
	_Atomic uint64_t failed, reclaimed;
};

static void *storm_reclaim(void *arg)
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

/* --- watermarks --- */

static void test_maintain(void **state)
{
	struct quire_options options = marked_options();
	struct quire *q = create(&options);
	struct cache *cache = cache_new(q);
	uint64_t before;

	(void)state;
	cache_fill(cache, PAGES);
	assert_int_equal(quire_drain_all(q), 0);
	before = free_of(q);
	assert_true(before < PAGES * 3 / 16);
	add(q, &cache->shrinker);
	assert_true(quire_maintain(q) >= 0);
	/* What lies in per-CPU lists counts, too: none is given for it. */
	assert_in_range(free_of(q), PAGES / 4 - 1, PAGES / 4 + 1);
	assert_in_range(before + cache->freed, PAGES / 4 - 1, PAGES / 4 + 1);
	cache->counts = 0;
	assert_true(quire_maintain(q) >= 0);
	assert_int_equal(cache->counts, 0);
	take_out(q, &cache->shrinker);
	cache_delete(cache);
	destroy(q);
}

static uint64_t boost_of(const struct quire *q)
{
	struct quire_zone_info info;

	assert_int_equal(quire_zone_info(q, 0, &info, sizeof(info)), 0);
	return info.boost;
}

/* What a fallback asks for above the marks is asked for once. */
static void test_boost(void **state)
{
	struct quire_options options = marked_options();
	struct quire *q = create(&options);
	struct cache *cache = cache_new(q);
	struct quire_page *page;

	(void)state;
	cache_fill(cache, PAGES);
	assert_int_equal(boost_of(q), 0);
	page = quire_alloc_pages(q, 0, QUIRE_MOVABLE | QUIRE_MEMALLOC);
	assert_non_null(page);
	assert_int_equal(boost_of(q), 512);
	assert_int_equal(quire_free_pages(q, page, 0), 0);
	assert_int_equal(quire_drain_all(q), 0);
	/* It holds until somebody gives. */
	assert_true(quire_maintain(q) >= 0);
	assert_int_equal(boost_of(q), 512);
	add(q, &cache->shrinker);
	assert_true(quire_maintain(q) >= 0);
	assert_in_range(free_of(q), PAGES / 4 + 511, PAGES / 4 + 513);
	assert_int_equal(boost_of(q), 0);
	/* Below low and its boost, not below low. */
	cache_fill(cache, cache->nr + 512);
	cache->counts = 0;
	assert_true(quire_maintain(q) >= 0);
	assert_int_equal(cache->counts, 0);
	take_out(q, &cache->shrinker);
	cache_delete(cache);
	destroy(q);
}

/* What cannot be reached is not asked for again. */
static void test_boost_in_vain(void **state)
{
	enum { CACHED = 100 };
	struct quire_options options = marked_options();
	struct quire *q = create(&options);
	struct cache *held = cache_new(q), *cache = cache_new(q);
	struct quire_page *page;

	(void)state;
	cache_fill(held, PAGES);
	page = quire_alloc_pages(q, 0, QUIRE_MOVABLE | QUIRE_MEMALLOC);
	assert_non_null(page);
	assert_int_equal(quire_free_pages(q, page, 0), 0);
	assert_int_equal(boost_of(q), 512);
	/* Above high, with what is cached and in lists; below high and boost.
	 */
	while (unused_of(q) < PAGES / 4 + 2 * CACHED)
		assert_int_equal(
			quire_free_pages(q, held->pages[--held->nr], 0), 0);
	assert_int_equal(quire_drain_all(q), 0);
	cache_fill(cache, CACHED);
	add(q, &cache->shrinker);
	assert_true(quire_maintain(q) >= 0);
	assert_int_equal(cache->freed, CACHED);
	assert_int_equal(boost_of(q), 0);
	cache_fill(cache, CACHED);
	assert_int_equal(quire_drain_all(q), 0);
	assert_true(free_of(q) >= PAGES / 4);
	assert_true(quire_maintain(q) >= 0);
	assert_int_equal(cache->nr, CACHED);
	take_out(q, &cache->shrinker);
	cache_delete(cache);
	cache_delete(held);
	destroy(q);
}

/* With nearly all free nobody is asked for more, however high the marks. */
static void test_boost_is_reachable(void **state)
{
	enum { PAGES_LENT = 4, CACHED = 256 };
	struct quire_options options = small_options();
	struct quire_page *lent[PAGES_LENT];
	struct quire *q;
	struct cache *cache;

	(void)state;
	options.watermark_scale = 3000;
	q = create(&options);
	cache = cache_new(q);
	cache_fill(cache, PAGES);
	for (int i = 0; i < PAGES_LENT; i++) {
		assert_int_equal(
			quire_free_pages(q, cache->pages[--cache->nr], 0), 0);
		assert_int_equal(quire_drain_all(q), 0);
		lent[i] = quire_alloc_pages(q, 0, QUIRE_MOVABLE);
		assert_non_null(lent[i]);
	}
	assert_int_equal(boost_of(q), 410);
	for (int i = 0; i < PAGES_LENT; i++)
		assert_int_equal(quire_free_pages(q, lent[i], 0), 0);
	while (cache->nr > CACHED)
		assert_int_equal(
			quire_free_pages(q, cache->pages[--cache->nr], 0), 0);
	assert_int_equal(quire_drain_all(q), 0);
	add(q, &cache->shrinker);
	assert_true(quire_maintain(q) >= 0);
	assert_int_equal(cache->counts, 0);
	assert_int_equal(cache->nr, CACHED);
	assert_int_equal(boost_of(q), 0);
	take_out(q, &cache->shrinker);
	cache_delete(cache);
	destroy(q);
}

/* --- threads --- */

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

/* The child says by its status at which line it found something wrong. */
#define child_check(condition)                                                 \
	do {                                                                   \
		if (!(condition))                                              \
			_exit(__LINE__ % 255 + 1);                             \
	} while (0)

static void expect_child(pid_t pid)
{
	int status;

	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

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

struct forker {
	struct quire_shrinker shrinker;
	_Atomic pid_t pid;
};

static uint64_t forker_count(struct quire_shrinker *shrinker,
			     const struct quire_shrink *want)
{
	struct forker *forker = shrinker->arg;

	(void)want;
	forker->pid = fork();
	return 0;
}

/* A fork inside a shrinker: the child is still in it. */
static void test_fork_inside(void **state)
{
	struct quire *q = create_small();
	struct forker forker = { .pid = 0 };

	(void)state;
	forker.shrinker = (struct quire_shrinker){ .name = "forker",
						   .count = forker_count,
						   .scan = liar_scan,
						   .arg = &forker };
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

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_register_errors),
		CASE(test_register_no_memory),
		CASE(test_destroy_registered),
		CASE(test_reclaim),
		CASE(test_priorities),
		CASE(test_liars),
		CASE(test_stop),
		CASE(test_many),
		CASE(test_turns),
		CASE(test_direct),
		CASE(test_direct_liar),
		CASE(test_inside),
		CASE(test_unregister_waits),
		CASE(test_storm),
		CASE(test_maintain),
		CASE(test_boost),
		CASE(test_boost_in_vain),
		CASE(test_boost_is_reachable),
		CASE(test_threads_errors),
		CASE(test_thread_balances),
		CASE(test_thread_backs_off),
		CASE(test_thread_maintains),
		CASE(test_stop_inside),
		CASE(test_start_storm),
		CASE(test_fork),
		CASE(test_fork_inside),
		CASE(test_fork_storm),
		CASE(test_fork_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
