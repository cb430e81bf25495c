/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reclaim: who is asked for how much and in which order, shrinkers that lie,
 * allocate and reclaim themselves, and how far a node is balanced.
 */
#include "shrinkers.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_reclaim),
		CASE(test_priorities),
		CASE(test_liars),
		CASE(test_stop),
		CASE(test_many),
		CASE(test_turns),
		CASE(test_direct),
		CASE(test_direct_liar),
		CASE(test_inside),
		CASE(test_maintain),
		CASE(test_boost),
		CASE(test_boost_in_vain),
		CASE(test_boost_is_reachable),
	};

	return cmocka_run_group_tests_name("reclaim", tests, NULL, NULL);
}
