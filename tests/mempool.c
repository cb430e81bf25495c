/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pools: the reserve is there when nothing else is, refills first, is served in
 * the order of who came, and nobody who waits is forgotten.
 */
#include "testing.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/time.h>
#include <time.h>

#include "instance/allocator.h"
#include "platform/fault.h"
#include "platform/platform.h"
#include "quire/quire.h"
#include "service/mempool.h"

/* Of a 4 MiB arena. */
enum { PAGES = 1024 };

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
	options.wait_ms = 50;
	options.report = test_catch;
	options.report_arg = &messages;
	return options;
}

static struct quire *create(void)
{
	struct quire_options options = small_options();
	struct quire *q = quire_create(&options);

	assert_non_null(q);
	messages.count = 0;
	return q;
}

static uint64_t live_of(const struct quire *q)
{
	struct quire_stat stat;

	assert_int_equal(quire_stat(q, &stat, sizeof(stat)), 0);
	return stat.pages_live;
}

static struct quire_mempool *make(struct quire *q, unsigned order,
				  unsigned blocks)
{
	struct quire_mempool *pool = quire_mempool_create(q, order, 0, blocks);

	assert_non_null(pool);
	return pool;
}

static void destroy(struct quire *q)
{
	assert_int_equal(quire_drain_all(q), 0);
	assert_int_equal(quire_validate(q), 0);
	assert_int_equal(live_of(q), 0);
	assert_int_equal(quire_destroy(q), 0);
}

/* Everything the allocator has, so that only pools can serve. */
struct hog {
	struct quire *q;
	size_t nr;
	struct quire_page *pages[PAGES];
};

static void hog_take(struct hog *hog, struct quire *q)
{
	struct quire_page *page;

	hog->q = q;
	hog->nr = 0;
	while ((page = quire_alloc_pages(q, 0, 0)))
		hog->pages[hog->nr++] = page;
}

static void hog_give(struct hog *hog, size_t n)
{
	for (; n && hog->nr; n--)
		assert_int_equal(
			quire_free_pages(hog->q, hog->pages[--hog->nr], 0), 0);
}

#define assert_errno(call, error)                                              \
	do {                                                                   \
		errno = 0;                                                     \
		assert_true(call);                                             \
		assert_int_equal(errno, (error));                              \
	} while (0)

#define assert_state(pool, o, r, w)                                            \
	do {                                                                   \
		struct mempool_state state_ = mempool_state(pool);             \
		assert_int_equal(state_.out, (o));                             \
		assert_int_equal(state_.reserved, (r));                        \
		assert_int_equal(state_.waiting, (w));                         \
	} while (0)

static void nap_ms(unsigned ms)
{
	const struct timespec nap = { .tv_nsec = ms * 1000000L };

	nanosleep(&nap, NULL);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Within ten seconds. */
#define eventually(condition)                                                  \
	do {                                                                   \
		for (int left = 5000; !(condition) && left; left--)            \
			nap_ms(2);                                             \
		assert_true(condition);                                        \
	} while (0)

/* --- create and destroy --- */

static void test_create_errors(void **state)
{
	static const unsigned refused[] = { QUIRE_WAIT, QUIRE_NOFAIL,
					    QUIRE_NOLOCK, QUIRE_NORETRY };
	struct quire *q = create();
	struct hog hog;

	(void)state;
	assert_errno(!quire_mempool_create(q, 0, 0, 0), EINVAL);
	assert_told(&messages, "0 blocks of order 0");
	assert_errno(!quire_mempool_create(q, 19, 0, 3), EINVAL);
	assert_told(&messages, "3 blocks of order 19 (at most 18)");
	for (size_t i = 0; i < TEST_LENGTH(refused); i++) {
		messages.count = 0;
		assert_errno(!quire_mempool_create(q, 1, refused[i], 1),
			     EINVAL);
		assert_int_equal(messages.count, 1);
	}
	assert_errno(!quire_mempool_create(q, 1, 1u << 31, 1), EINVAL);
	assert_errno(!quire_mempool_create(q, 0, 0, PAGES + 1), ENOMEM);
	assert_errno(!quire_mempool_create(q, 18, 0, 1), ENOMEM);
	assert_errno(!quire_mempool_create(q, 0, 0, UINT32_MAX), ENOMEM);
	/* Half of it can be had. */
	hog_take(&hog, q);
	hog_give(&hog, 50);
	assert_errno(!quire_mempool_create(q, 0, 0, 100), ENOMEM);
	assert_int_equal(live_of(q), hog.nr);
	hog_give(&hog, PAGES);
	for (int skip = 0; skip < 2; skip++) {
		fault_arm(FAULT_SERVICE, skip, 1);
		assert_errno(!quire_mempool_create(q, 0, 0, 4), ENOMEM);
	}
	fault_disarm_all();
	destroy(q);
}

static void test_destroy_busy(void **state)
{
	struct quire *q = create();
	struct quire_mempool *pool = make(q, 2, 3);
	struct quire_page *a, *b;

	(void)state;
	assert_int_equal(live_of(q), 12);
	a = quire_mempool_alloc(pool, 0, 0);
	b = quire_mempool_alloc(pool, 0, 0);
	assert_errno(quire_mempool_destroy(pool) == -1, EBUSY);
	assert_told(&messages, "2 blocks of order 2 are out");
	assert_int_equal(quire_mempool_free(pool, a), 0);
	assert_errno(quire_mempool_destroy(pool) == -1, EBUSY);
	assert_int_equal(quire_mempool_free(pool, b), 0);
	assert_int_equal(quire_mempool_destroy(pool), 0);
	destroy(q);
}

struct on_its_way {
	struct zone *zone;
	struct quire_mempool *pool;
	struct quire_page *page;
	_Atomic bool held, let_go, done;
	int result;
};

static void *hold_zone(void *arg)
{
	struct on_its_way *way = arg;

	zone_lock_uncounted(way->zone);
	atomic_store(&way->held, true);
	while (!atomic_load(&way->let_go))
		sched_yield();
	zone_unlock(way->zone);
	return NULL;
}

static void *free_surplus(void *arg)
{
	struct on_its_way *way = arg;

	way->result = quire_mempool_free(way->pool, way->page);
	atomic_store(&way->done, true);
	return NULL;
}

/* A block that the reserve has no place for is out until the allocator has it:
 * who frees it needs the pool until then. */
static void test_destroy_as_it_frees(void **state)
{
	struct quire *q = create();
	struct on_its_way way = { .zone = q->zone[0], .pool = make(q, 9, 1) };
	pthread_t holder, freer;
	uint64_t out;

	(void)state;
	way.page = quire_mempool_alloc(way.pool, 0, 0);
	assert_non_null(way.page);
	assert_state(way.pool, 1, 1, 0);
	pthread_create(&holder, NULL, hold_zone, &way);
	eventually(atomic_load(&way.held));
	pthread_create(&freer, NULL, free_surplus, &way);
	/* 2: it sleeps on the lock. */
	while (atomic_load(&way.zone->lock.word) != 2 &&
	       !atomic_load(&way.done))
		sched_yield();
	assert_false(atomic_load(&way.done));
	out = mempool_state(way.pool).out;
	atomic_store(&way.let_go, true);
	pthread_join(holder, NULL);
	pthread_join(freer, NULL);
	assert_int_equal(out, 1);
	assert_int_equal(way.result, 0);
	assert_state(way.pool, 0, 1, 0);
	assert_int_equal(quire_mempool_destroy(way.pool), 0);
	destroy(q);
}

/* --- the reserve --- */

static void test_reserve(void **state)
{
	enum { BLOCKS = 4 };
	struct quire *q = create();
	struct quire_mempool *pool = make(q, 0, BLOCKS);
	struct quire_page *pages[BLOCKS + 1], *page;
	struct hog hog;

	(void)state;
	/* While the allocator has some, it serves. */
	page = quire_mempool_alloc(pool, 0, 0);
	assert_non_null(page);
	assert_state(pool, 1, BLOCKS, 0);
	/* Full: what comes back goes on. */
	assert_int_equal(quire_mempool_free(pool, page), 0);
	assert_state(pool, 0, BLOCKS, 0);
	assert_int_equal(live_of(q), BLOCKS);

	hog_take(&hog, q);
	for (int i = 0; i < BLOCKS; i++) {
		pages[i] = quire_mempool_alloc(pool, 0, 0);
		assert_non_null(pages[i]);
		assert_int_equal(quire_page_flags(pages[i]), 0);
		assert_int_equal(quire_page_count(q, pages[i]), 1);
		quire_page_set_flags(pages[i], 0xffff);
		assert_state(pool, i + 1, BLOCKS - 1 - i, 0);
	}
	assert_errno(!quire_mempool_alloc(pool, 0, 0), ENOMEM);
	/* The reserve is full again before anybody else has a page. */
	hog_give(&hog, 1);
	pages[BLOCKS] = quire_mempool_alloc(pool, 0, 0);
	assert_non_null(pages[BLOCKS]);
	for (int i = 0; i < BLOCKS; i++) {
		assert_int_equal(quire_mempool_free(pool, pages[i]), 0);
		assert_state(pool, BLOCKS - i, i + 1, 0);
		assert_null(quire_alloc_pages(q, 0, 0));
	}
	assert_int_equal(quire_mempool_free(pool, pages[BLOCKS]), 0);
	page = quire_alloc_pages(q, 0, 0);
	assert_non_null(page);
	assert_int_equal(quire_free_pages(q, page, 0), 0);
	/* Flags do not stay. */
	hog_give(&hog, PAGES);
	hog_take(&hog, q);
	page = quire_mempool_alloc(pool, 0, 0);
	assert_int_equal(quire_page_flags(page), 0);
	assert_int_equal(quire_mempool_free(pool, page), 0);
	hog_give(&hog, PAGES);
	assert_int_equal(messages.count, 0);
	assert_int_equal(quire_mempool_destroy(pool), 0);
	destroy(q);
}

static bool reads_as(const struct quire *q, const struct quire_page *page,
		     size_t size, unsigned char value)
{
	const unsigned char *bytes = quire_page_to_virt(q, page);

	for (size_t i = 0; i < size; i++)
		if (bytes[i] != value)
			return false;
	return true;
}

static void test_zero(void **state)
{
	const size_t size = QUIRE_PAGE_SIZE << 2;
	struct quire *q = create();
	struct quire_mempool *pool = make(q, 2, 1);
	struct quire_mempool *zero = quire_mempool_create(q, 2, QUIRE_ZERO, 1);
	struct quire_page *page;
	struct hog hog;

	(void)state;
	assert_non_null(zero);
	hog_take(&hog, q);
	for (int i = 0; i < 3; i++) {
		page = quire_mempool_alloc(pool, i ? QUIRE_ZERO : 0, 0);
		assert_non_null(page);
		if (i)
			assert_true(reads_as(q, page, size, 0));
		memset(quire_page_to_virt(q, page), 0x5a, size);
		assert_int_equal(quire_mempool_free(pool, page), 0);
		page = quire_mempool_alloc(zero, 0, 0);
		assert_non_null(page);
		assert_true(reads_as(q, page, size, 0));
		memset(quire_page_to_virt(q, page), 0x5a, size);
		assert_int_equal(quire_mempool_free(zero, page), 0);
	}
	hog_give(&hog, PAGES);
	assert_int_equal(quire_mempool_destroy(pool), 0);
	assert_int_equal(quire_mempool_destroy(zero), 0);
	destroy(q);
}

static void test_offsets(void **state)
{
	struct quire_options options = small_options();
	struct quire_mempool *pool;
	struct quire *q;

	(void)state;
	options.flags = QUIRE_OFFSETS;
	q = quire_create(&options);
	assert_non_null(q);
	pool = make(q, 0, 2);
	assert_errno(!quire_mempool_alloc(pool, QUIRE_ZERO, 0), ENOTSUP);
	assert_errno(!quire_mempool_create(q, 0, QUIRE_ZERO, 2), ENOTSUP);
	assert_int_equal(live_of(q), 2);
	assert_int_equal(quire_mempool_destroy(pool), 0);
	destroy(q);
}

/* --- misuse --- */

static void test_flags(void **state)
{
	static const unsigned refused[] = { QUIRE_NOLOCK,  QUIRE_NORETRY,
					    QUIRE_NOFAIL,  QUIRE_ATOMIC,
					    QUIRE_MOVABLE, 1u << 31 };
	struct quire *q = create();
	struct quire_mempool *pool = make(q, 0, 1);

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(refused); i++) {
		messages.count = 0;
		assert_errno(!quire_mempool_alloc(pool, refused[i], 0), EINVAL);
		assert_told(&messages, "mempool_alloc: flags 0x");
	}
	assert_int_equal(quire_mempool_destroy(pool), 0);
	destroy(q);
}

static void expect_refused(struct quire_mempool *pool, struct quire_page *page,
			   const char *why)
{
	struct mempool_state before = mempool_state(pool), after;

	messages.count = 0;
	errno = 0;
	assert_int_equal(quire_mempool_free(pool, page), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(messages.count, 1);
	assert_told(&messages, "mempool_free");
	assert_told(&messages, why);
	after = mempool_state(pool);
	assert_int_equal(before.out, after.out);
	assert_int_equal(before.reserved, after.reserved);
}

static void test_free_errors(void **state)
{
	struct quire *q = create(), *other = create();
	struct quire_mempool *pool = make(q, 1, 2);
	struct quire_page *page, *foreign, *small, *same;
	struct hog hog;
	uint64_t refused;
	struct quire_stat stat;

	(void)state;
	foreign = quire_alloc_pages(other, 1, 0);
	small = quire_alloc_pages(q, 0, 0);
	same = quire_alloc_pages(q, 1, 0);
	expect_refused(pool, same, "no block of pool");
	page = quire_mempool_alloc(pool, 0, 0);
	expect_refused(pool, NULL, "not of this allocator");
	expect_refused(pool, foreign, "not of this allocator");
	expect_refused(pool, (struct quire_page *)((char *)page + 1),
		       "not of this allocator");
	expect_refused(pool,
		       quire_pfn_to_page(q, quire_page_to_pfn(q, page) + 1),
		       "not a live block's head");
	expect_refused(pool, small, "has order 0");
	assert_int_equal(quire_page_get(q, page), 0);
	expect_refused(pool, page, "2 holders");
	assert_int_equal(quire_page_put(q, page), 0);
	assert_int_equal(quire_mempool_free(pool, page), 0);
	expect_refused(pool, page, "not a live block's head");

	/* Of the reserve: it is live, but not out. */
	assert_int_equal(quire_free_pages(q, same, 1), 0);
	assert_int_equal(quire_free_pages(q, small, 0), 0);
	hog_take(&hog, q);
	page = quire_mempool_alloc(pool, 0, 0);
	same = quire_mempool_alloc(pool, 0, 0);
	assert_int_equal(quire_page_set_private(q, page, 0), 0);
	assert_int_equal(quire_mempool_free(pool, page), 0);
	expect_refused(pool, page, "a double free");
	assert_int_equal(quire_mempool_free(pool, same), 0);
	expect_refused(pool, page, "a double free");
	expect_refused(pool, same, "a double free");
	hog_give(&hog, PAGES);
	quire_stat(q, &stat, sizeof(stat));
	refused = stat.refused;
	assert_true(refused >= 10);
	assert_int_equal(quire_free_pages(other, foreign, 1), 0);
	assert_int_equal(quire_mempool_destroy(pool), 0);
	destroy(q);
	destroy(other);
}

/* A block of the reserve that somebody frees past the pool is not lost, nor
 * handed out twice. */
static void test_freed_past(void **state)
{
	struct quire *q = create();
	struct quire_mempool *pool = make(q, 0, 1);
	struct quire_page *page, *again;
	struct hog hog;

	(void)state;
	hog_take(&hog, q);
	page = quire_mempool_alloc(pool, 0, 0);
	assert_int_equal(quire_mempool_free(pool, page), 0);
	assert_int_equal(quire_free_pages(q, page, 0), 0);
	assert_null(quire_alloc_pages(q, 0, 0));
	assert_errno(!quire_mempool_alloc(pool, 0, 0), ENOMEM);
	assert_told(&messages, "freed without the pool");
	again = quire_alloc_pages(q, 0, 0);
	assert_ptr_equal(again, page);
	assert_int_equal(quire_free_pages(q, again, 0), 0);
	/* It refills by what comes back. */
	page = quire_mempool_alloc(pool, 0, 0);
	assert_int_equal(quire_mempool_free(pool, page), 0);
	assert_state(pool, 0, 1, 0);
	hog_give(&hog, PAGES);
	assert_int_equal(quire_mempool_destroy(pool), 0);
	destroy(q);
}

/* --- in line --- */

struct caller {
	struct quire_mempool *pool;
	unsigned wait_ms, flags;
	struct quire_page *page;
	int error;
	_Atomic bool done;
	pthread_t thread;
};

static void *waiter_main(void *arg)
{
	struct caller *w = arg;

	errno = 0;
	w->page =
		quire_mempool_alloc(w->pool, QUIRE_WAIT | w->flags, w->wait_ms);
	w->error = errno;
	w->done = true;
	return NULL;
}

/* Returns once it stands in line, or has stood there. */
static void waiter_start(struct caller *w, struct quire_mempool *pool,
			 unsigned wait_ms)
{
	unsigned before = mempool_state(pool).waiting;

	w->pool = pool;
	w->wait_ms = wait_ms;
	w->done = false;
	pthread_create(&w->thread, NULL, waiter_main, w);
	eventually(mempool_state(pool).waiting > before || w->done);
}

static void test_timeout(void **state)
{
	struct quire *q = create();
	struct quire_mempool *pool = make(q, 0, 1);
	struct quire_page *page;
	struct hog hog;
	uint64_t then;

	(void)state;
	hog_take(&hog, q);
	page = quire_mempool_alloc(pool, QUIRE_WAIT, 10);
	assert_non_null(page);
	then = now_ms();
	assert_errno(!quire_mempool_alloc(pool, QUIRE_WAIT, 30), ETIMEDOUT);
	assert_in_range(now_ms() - then, 29, 10000);
	/* The allocator's own, 50 ms. */
	then = now_ms();
	assert_errno(!quire_mempool_alloc(pool, QUIRE_WAIT, 0), ETIMEDOUT);
	assert_in_range(now_ms() - then, 49, 10000);
	assert_state(pool, 1, 0, 0);
	assert_int_equal(quire_mempool_free(pool, page), 0);
	hog_give(&hog, PAGES);
	assert_int_equal(quire_mempool_destroy(pool), 0);
	destroy(q);
}

static void test_fifo(void **state)
{
	enum { WAITERS = 8 };
	struct quire *q = create();
	struct quire_mempool *pool = make(q, 0, 2);
	struct caller w[WAITERS] = { { .flags = 0 } };
	struct quire_page *pages[2];
	struct hog hog;

	(void)state;
	hog_take(&hog, q);
	pages[0] = quire_mempool_alloc(pool, 0, 0);
	pages[1] = quire_mempool_alloc(pool, 0, 0);
	memset(quire_page_to_virt(q, pages[0]), 1, QUIRE_PAGE_SIZE);
	for (int i = 0; i < WAITERS; i++) {
		w[i].flags = i == 0 ? QUIRE_ZERO : 0;
		/* One in the middle gives up. */
		waiter_start(&w[i], pool, i == 3 ? 200 : 60000);
	}
	eventually(w[3].done);
	pthread_join(w[3].thread, NULL);
	assert_null(w[3].page);
	assert_int_equal(w[3].error, ETIMEDOUT);
	for (int i = 0; i < WAITERS; i++) {
		if (i == 3)
			continue;
		quire_page_set_flags(pages[i % 2], 0xffff);
		assert_int_equal(quire_mempool_free(pool, pages[i % 2]), 0);
		eventually(w[i].done);
		pthread_join(w[i].thread, NULL);
		assert_ptr_equal(w[i].page, pages[i % 2]);
		assert_int_equal(quire_page_flags(w[i].page), 0);
		if (i == 0)
			assert_true(reads_as(q, w[0].page, QUIRE_PAGE_SIZE, 0));
		for (int k = i + 1; k < WAITERS; k++)
			assert_true(k == 3 || !w[k].done);
		assert_state(pool, 2, 0, (unsigned)(WAITERS - 1 - i - (i < 3)));
	}
	assert_int_equal(quire_mempool_free(pool, pages[0]), 0);
	assert_int_equal(quire_mempool_free(pool, pages[1]), 0);
	hog_give(&hog, PAGES);
	assert_int_equal(quire_mempool_destroy(pool), 0);
	destroy(q);
}

/* Whoever is handed a block is woken: he would find it by himself, but late. */
static void test_woken(void **state)
{
	enum { ROUNDS = 20, SLOW_MS = 10 };
	struct quire *q = create();
	struct quire_mempool *pool = make(q, 0, 1);
	struct caller w = { .flags = 0 };
	struct quire_page *page;
	struct hog hog;
	int slow = 0;

	(void)state;
	hog_take(&hog, q);
	page = quire_mempool_alloc(pool, 0, 0);
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t then;

		waiter_start(&w, pool, 60000);
		nap_ms((unsigned)i % 4);
		then = now_ms();
		assert_int_equal(quire_mempool_free(pool, page), 0);
		pthread_join(w.thread, NULL);
		slow += now_ms() - then >= SLOW_MS;
		assert_ptr_equal(w.page, page);
	}
	assert_in_range(slow, 0, ROUNDS / 2);
	assert_int_equal(quire_mempool_free(pool, page), 0);
	hog_give(&hog, PAGES);
	assert_int_equal(quire_mempool_destroy(pool), 0);
	destroy(q);
}

/* Pages that come back past the pool serve who stands in line, too. */
static void test_allocator_recovers(void **state)
{
	struct quire *q = create();
	struct quire_mempool *pool = make(q, 0, 1);
	struct caller w[2] = { { .flags = 0 } };
	struct quire_page *page;
	struct hog hog;

	(void)state;
	hog_take(&hog, q);
	page = quire_mempool_alloc(pool, 0, 0);
	waiter_start(&w[0], pool, 60000);
	waiter_start(&w[1], pool, 60000);
	hog_give(&hog, 1);
	/* Who comes now does not overtake. */
	assert_errno(!quire_mempool_alloc(pool, 0, 0), ENOMEM);
	eventually(w[0].done);
	assert_non_null(w[0].page);
	assert_false(w[1].done);
	hog_give(&hog, 1);
	eventually(w[1].done);
	assert_state(pool, 3, 0, 0);
	for (int i = 0; i < 2; i++) {
		pthread_join(w[i].thread, NULL);
		assert_int_equal(quire_mempool_free(pool, w[i].page), 0);
	}
	assert_int_equal(quire_mempool_free(pool, page), 0);
	hog_give(&hog, PAGES);
	assert_int_equal(quire_mempool_destroy(pool), 0);
	destroy(q);
}

/* And who waits for less than the time between two looks, at the end of its
 * time: what came before that is found. */
static void test_short_wait(void **state)
{
	enum { MS = 10, TIMES = 10 };
	struct quire *q = create();
	struct quire_mempool *pool = make(q, 0, 1);
	struct quire_page *out[TIMES + 1];
	struct hog hog;

	(void)state;
	hog_take(&hog, q);
	out[TIMES] = quire_mempool_alloc(pool, 0, 0);
	assert_errno(!quire_mempool_alloc(pool, QUIRE_WAIT, MS), ETIMEDOUT);
	for (int i = 0; i < TIMES; i++) {
		struct caller w = { .flags = 0 };
		uint64_t start = platform_ns();
		bool in_time;

		waiter_start(&w, pool, MS);
		hog_give(&hog, 1);
		assert_int_equal(quire_drain_all(q), 0);
		in_time = platform_ns() - start < MS * UINT64_C(1000000);
		pthread_join(w.thread, NULL);
		if (!w.page) {
			assert_false(in_time);
			w.page = quire_mempool_alloc(pool, 0, 0);
		}
		assert_non_null(w.page);
		out[i] = w.page;
	}
	for (int i = 0; i <= TIMES; i++)
		assert_int_equal(quire_mempool_free(pool, out[i]), 0);
	hog_give(&hog, PAGES);
	assert_int_equal(quire_mempool_destroy(pool), 0);
	destroy(q);
}

static _Atomic unsigned ticks;

static void tick(int signal)
{
	(void)signal;
	ticks++;
}

/* Nor do signals keep him from looking, however often they come. */
static void test_signals(void **state)
{
	const struct itimerval often = { { .tv_usec = 4000 },
					 { .tv_usec = 4000 } };
	const struct itimerval never = { { 0, 0 }, { 0, 0 } };
	struct sigaction action = { .sa_handler = tick }, before;
	struct quire *q = create();
	struct quire_mempool *pool = make(q, 0, 1);
	struct caller w = { .flags = 0 };
	struct quire_page *page;
	sigset_t alarms;
	struct hog hog;
	bool served;

	(void)state;
	hog_take(&hog, q);
	page = quire_mempool_alloc(pool, 0, 0);
	waiter_start(&w, pool, 60000);
	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &alarms, NULL);
	sigaction(SIGALRM, &action, &before);
	setitimer(ITIMER_REAL, &often, NULL);
	eventually(ticks >= 10);
	hog_give(&hog, 1);
	/* Where he finds it whatever CPU he is on. */
	assert_int_equal(quire_drain_all(q), 0);
	/* He has handled them: two seconds and more are not too short. */
	while (!w.done && ticks < 500)
		nap_ms(1);
	served = w.done;
	setitimer(ITIMER_REAL, &never, NULL);
	pthread_join(w.thread, NULL);
	/* One that came too late for him is this thread's: handled here. */
	pthread_sigmask(SIG_UNBLOCK, &alarms, NULL);
	sigaction(SIGALRM, &before, NULL);
	assert_true(served);
	assert_non_null(w.page);
	assert_int_equal(quire_mempool_free(pool, w.page), 0);
	assert_int_equal(quire_mempool_free(pool, page), 0);
	hog_give(&hog, PAGES);
	assert_int_equal(quire_mempool_destroy(pool), 0);
	destroy(q);
}

enum { STORM_THREADS = 6 };

struct storm {
	struct quire *q;
	struct quire_mempool *pool;
	_Atomic uint64_t failed, timeouts, served;
	_Atomic unsigned numbers;
	_Atomic bool forking; /* go on, however many turns that are */
};

/* Of a block that two threads have, one finds the other's mark. */
static void *storm_main(void *arg)
{
	const uint64_t turns = test_setting("QUIRE_TEST_TURNS", 3000);
	struct storm *s = arg;
	uint16_t mark = (uint16_t)(1u << s->numbers++);
	struct test_rng rng = { mark };

	for (uint64_t i = 0; i < turns || s->forking; i++) {
		bool hasty = mark == 1;
		struct quire_page *page = quire_mempool_alloc(
			s->pool, QUIRE_WAIT, hasty ? 1 : 60000);
		char *bytes;

		if (!page) {
			if (!hasty || errno != ETIMEDOUT)
				s->failed++;
			s->timeouts++;
			continue;
		}
		s->served++;
		bytes = quire_page_to_virt(s->q, page);
		if (quire_page_set_flags(page, mark) != 0)
			s->failed++;
		*bytes = (char)mark;
		if (test_below(&rng, 64) == 0)
			nap_ms(1);
		if (*bytes != (char)mark ||
		    quire_page_clear_flags(page, mark) != mark)
			s->failed++;
		if (quire_mempool_free(s->pool, page))
			s->failed++;
	}
	return NULL;
}

static void test_storm(void **state)
{
	struct storm s = { .q = create() };
	pthread_t threads[STORM_THREADS];
	struct hog hog;

	(void)state;
	s.pool = make(s.q, 0, 2);
	hog_take(&hog, s.q);
	for (int i = 0; i < STORM_THREADS; i++)
		pthread_create(&threads[i], NULL, storm_main, &s);
	/* Now and then the allocator has a page. */
	for (int i = 0; i < 50; i++) {
		struct quire_page *page;

		nap_ms(1);
		hog_give(&hog, 1);
		page = quire_alloc_pages(s.q, 0, 0);
		if (page)
			hog.pages[hog.nr++] = page;
	}
	for (int i = 0; i < STORM_THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(s.failed, 0);
	assert_true(s.served > 0);
	assert_state(s.pool, 0, 2, 0);
	hog_give(&hog, PAGES);
	assert_int_equal(messages.count, 0);
	assert_int_equal(quire_mempool_destroy(s.pool), 0);
	destroy(s.q);
}

/* --- inside a shrinker --- */

struct inside {
	struct quire_mempool *pool;
	struct quire_page *page;
	int error;
	uint64_t ms;
};

static uint64_t inside_count(struct quire_shrinker *shrinker,
			     const struct quire_shrink *want)
{
	struct inside *in = shrinker->arg;
	uint64_t then = now_ms();

	(void)want;
	in->page = quire_mempool_alloc(in->pool, QUIRE_WAIT, 60000);
	in->error = errno;
	in->ms = now_ms() - then;
	return 0;
}

static uint64_t inside_scan(struct quire_shrinker *shrinker,
			    const struct quire_shrink *want, uint64_t pages)
{
	(void)shrinker, (void)want, (void)pages;
	return 0;
}

static void test_inside_shrinker(void **state)
{
	struct quire *q = create();
	struct quire_mempool *pool = make(q, 0, 1);
	struct inside in = { .pool = pool };
	struct quire_shrinker shrinker = { .name = "inside",
					   .count = inside_count,
					   .scan = inside_scan,
					   .arg = &in };
	struct quire_page *page;
	struct hog hog;

	(void)state;
	hog_take(&hog, q);
	page = quire_mempool_alloc(pool, 0, 0);
	assert_int_equal(quire_shrinker_register(q, &shrinker), 0);
	assert_int_equal(quire_reclaim(q, 0, 1), 0);
	assert_null(in.page);
	assert_int_equal(in.error, ENOMEM);
	assert_in_range(in.ms, 0, 30000);
	assert_int_equal(quire_shrinker_unregister(q, &shrinker), 0);
	assert_int_equal(quire_mempool_free(pool, page), 0);
	hog_give(&hog, PAGES);
	assert_int_equal(quire_mempool_destroy(pool), 0);
	destroy(q);
}

/* --- fork --- */

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

/* Who stood in line in the parent does not in the child. */
static void test_fork(void **state)
{
	struct quire *q = create();
	struct quire_mempool *pool = make(q, 0, 1);
	struct caller w = { .flags = 0 };
	struct quire_page *page;
	struct hog hog;
	pid_t pid;

	(void)state;
	hog_take(&hog, q);
	page = quire_mempool_alloc(pool, 0, 0);
	waiter_start(&w, pool, 60000);
	pid = fork();
	if (pid == 0) {
		child_check(mempool_state(pool).waiting == 0);
		child_check(quire_mempool_free(pool, page) == 0);
		child_check(mempool_state(pool).reserved == 1);
		child_check(quire_mempool_alloc(pool, 0, 0) == page);
		child_check(quire_mempool_free(pool, page) == 0);
		child_check(quire_mempool_destroy(pool) == 0);
		_exit(0);
	}
	expect_child(pid);
	assert_int_equal(quire_mempool_free(pool, page), 0);
	eventually(w.done);
	pthread_join(w.thread, NULL);
	assert_ptr_equal(w.page, page);
	assert_int_equal(quire_mempool_free(pool, page), 0);
	hog_give(&hog, PAGES);
	assert_int_equal(quire_mempool_destroy(pool), 0);
	destroy(q);
}

static void test_fork_storm(void **state)
{
	struct storm s = { .q = create() };
	pthread_t threads[3];
	struct hog hog;

	(void)state;
	s.pool = make(s.q, 0, 4);
	hog_take(&hog, s.q);
	s.numbers = 1; /* nobody is hasty */
	s.forking = true;
	for (size_t i = 0; i < TEST_LENGTH(threads); i++)
		pthread_create(&threads[i], NULL, storm_main, &s);
	for (int i = 0; i < 30; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			struct mempool_state at = mempool_state(s.pool);
			struct quire_page *page;

			child_check(at.waiting == 0);
			child_check(at.out + at.reserved == 4);
			page = quire_mempool_alloc(s.pool, QUIRE_WAIT, 1);
			child_check(!page == !at.reserved);
			child_check(!page ||
				    quire_mempool_free(s.pool, page) == 0);
			_exit(0);
		}
		expect_child(pid);
	}
	s.forking = false;
	for (size_t i = 0; i < TEST_LENGTH(threads); i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(s.failed, 0);
	hog_give(&hog, PAGES);
	assert_int_equal(quire_mempool_destroy(s.pool), 0);
	destroy(s.q);
}

/* A child that may not use the memory can only let go of the pool. */
static void test_fork_refused(void **state)
{
	struct quire_options options = small_options();
	struct quire_mempool *pool;
	struct quire_page *page;
	struct quire *q;
	pid_t pid;

	(void)state;
	options.flags = QUIRE_DONTFORK;
	q = quire_create(&options);
	assert_non_null(q);
	pool = make(q, 0, 2);
	page = quire_mempool_alloc(pool, 0, 0);
	pid = fork();
	if (pid == 0) {
		child_check(!quire_mempool_alloc(pool, QUIRE_WAIT, 0) &&
			    errno == EPERM);
		child_check(quire_mempool_free(pool, page) == -1 &&
			    errno == EPERM);
		child_check(!quire_mempool_create(q, 0, 0, 1) &&
			    errno == EPERM);
		child_check(quire_mempool_destroy(pool) == 0);
		child_check(quire_destroy(q) == 0);
		_exit(0);
	}
	expect_child(pid);
	assert_int_equal(quire_mempool_free(pool, page), 0);
	assert_int_equal(quire_mempool_destroy(pool), 0);
	destroy(q);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_create_errors),
		CASE(test_destroy_busy),
		CASE(test_destroy_as_it_frees),
		CASE(test_reserve),
		CASE(test_zero),
		CASE(test_offsets),
		CASE(test_flags),
		CASE(test_free_errors),
		CASE(test_freed_past),
		CASE(test_timeout),
		CASE(test_fifo),
		CASE(test_woken),
		CASE(test_allocator_recovers),
		CASE(test_short_wait),
		CASE(test_signals),
		CASE(test_storm),
		CASE(test_inside_shrinker),
		CASE(test_fork),
		CASE(test_fork_storm),
		CASE(test_fork_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
