/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls that wait for pages, in all three ways of being a CPU: who is served
 * and in which order, that no free is missed however it is done, and that
 * nothing of the wait is left when the last one has gone.
 */
#include "testing.h"

#include <errno.h>
#include <sched.h>
#include <time.h>

#include "alloc/want.h"
#include "base/schedule.h"
#include "instance/allocator.h"
#include "platform/fault.h"
#include "platform/platform.h"
#include "quire/debug.h"

enum { PAGES = 1024, LONG_MS = 60000, MS = 1000000 };
/* Of 50 us at least: lists that are not shut by then will not be. */
enum { SHUT_NAPS = 200000 };

static struct test_messages messages = TEST_MESSAGES_INIT;

struct fixture {
	enum quire_way way;
	struct quire *q;
	struct quire_page *pages[PAGES];
	unsigned n; /* of them, live */
};

static struct fixture f;
static _Atomic int spoilt; /* errno, as a handler found it changed */

static int begin(void **state)
{
	atomic_store(&spoilt, 0);
	memset(&f, 0, sizeof(f));
	messages.count = 0;
	f.way = *(enum quire_way *)*state;
	alarm(200);
	return 0;
}

static int end(void **state)
{
	(void)state;
	alarm(0);
	fault_disarm_all();
	schedule_arm(0, 0);
	return 0;
}

static bool start_zones(uint64_t movable)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;

	options.size = PAGES * QUIRE_PAGE_SIZE;
	options.zone_size[QUIRE_ZONE_MOVABLE] = movable;
	options.cpus = f.way == QUIRE_WAY_BOUND ? 4 : 0;
	options.way = f.way;
	options.backing[0] = QUIRE_BACKING_BASE;
	options.decay_ms = 1000000;
	options.report = test_catch;
	options.report_arg = &messages;
	f.q = quire_create(&options);
	if (f.q && f.way == QUIRE_WAY_BOUND)
		assert_int_equal(quire_cpu_bind(f.q, 0), 0);
	return f.q;
}

/* Where sequences cannot be used there is nothing to test. */
#define start()                                                                \
	do {                                                                   \
		if (!start_zones(0)) {                                         \
			assert_int_equal(f.way, QUIRE_WAY_RSEQ);               \
			skip();                                                \
		}                                                              \
	} while (0)

static struct quire_stat stat_now(void)
{
	struct quire_stat stat;

	assert_int_equal(quire_stat(f.q, &stat, sizeof(stat)), 0);
	return stat;
}

static void take_all(void)
{
	while (f.n < PAGES)
		assert_non_null(f.pages[f.n++] = quire_alloc_pages(
					f.q, 0, QUIRE_CMA | QUIRE_MOVABLE));
	assert_int_equal(stat_now().pages_live, PAGES);
}

/* As if nobody had ever waited. */
static void expect_nobody_waits(void)
{
	assert_int_equal(wait_queue_length(&f.q->page_waiters), 0);
	assert_null(f.q->page_waiters.first);
	assert_null(f.q->page_waiters.last);
	assert_false(f.q->shut);
	for (unsigned z = 0; z < f.q->nr_zones; z++) {
		assert_int_equal(atomic_load(&f.q->zone[z]->owed), 0);
		assert_false(atomic_load(&f.q->pcp[z]->shut));
	}
}

static void stop(void)
{
	expect_nobody_waits();
	while (f.n)
		if (f.pages[--f.n])
			assert_int_equal(quire_free_pages(f.q, f.pages[f.n], 0),
					 0);
	if (quire_validate(f.q) || quire_destroy(f.q))
		fail_msg("%s", messages.text[0]);
	assert_int_equal(messages.count, 0);
}

/* --- waiters --- */

struct waiting {
	unsigned order, flags, ms;
	struct quire_page *page;
	int error;
	uint64_t ns;
	_Atomic bool done;
	pthread_t thread;
};

static void *wait_main(void *arg)
{
	struct waiting *w = arg;
	uint64_t start_ns = platform_ns();

	errno = 0;
	w->page = quire_alloc_pages_with(f.q, w->order, w->flags | QUIRE_WAIT,
					 NULL, w->ms);
	w->error = errno;
	w->ns = platform_ns() - start_ns;
	atomic_store(&w->done, true);
	return NULL;
}

static void nap(void)
{
	const struct timespec pause = { .tv_nsec = 50000 };

	nanosleep(&pause, NULL);
}

/* Until lists are shut as well. */
static void wait_until_shut(void)
{
	lock_acquire(&f.q->drain_lock);
	lock_release(&f.q->drain_lock);
	for (int naps = 0; !atomic_load(&f.q->pcp[0]->shut); naps++) {
		assert_true(naps < SHUT_NAPS);
		nap();
	}
}

static void wait_for_length(uint32_t n)
{
	while (wait_queue_length(&f.q->page_waiters) != n)
		nap();
	if (n)
		wait_until_shut();
}

/* A waiter lies on its thread's stack, and joins at the end. Lengths would not
 * do: others may leave meanwhile. */
static bool is_last(const struct waiting *w)
{
	pthread_attr_t attributes;
	size_t size;
	void *stack;
	char *last;

	assert_int_equal(pthread_getattr_np(w->thread, &attributes), 0);
	assert_int_equal(pthread_attr_getstack(&attributes, &stack, &size), 0);
	pthread_attr_destroy(&attributes);
	lock_acquire(&f.q->page_waiters.lock);
	last = (char *)f.q->page_waiters.last;
	lock_release(&f.q->page_waiters.lock);
	return last >= (char *)stack && last < (char *)stack + size;
}

/* In the queue when this returns. */
static void join_queue(struct waiting *w, unsigned order, unsigned flags,
		       unsigned ms)
{
	*w = (struct waiting){ .order = order, .flags = flags, .ms = ms };
	assert_int_equal(pthread_create(&w->thread, NULL, wait_main, w), 0);
	while (!is_last(w))
		nap();
	wait_until_shut();
}

static void expect_waits(const struct waiting *w)
{
	for (int i = 0; i < 4; i++) {
		assert_false(atomic_load(&w->done));
		nap();
	}
}

/* Of its page the test frees later. */
static void expect_served(struct waiting *w)
{
	pthread_join(w->thread, NULL);
	if (!w->page)
		fail_msg("order %u: errno %d after %llu us", w->order, w->error,
			 (unsigned long long)w->ns / 1000);
	assert_int_equal(quire_page_order(f.q, w->page), w->order);
	assert_true(w->ns < (uint64_t)w->ms * MS);
}

static void expect_timed_out(struct waiting *w)
{
	pthread_join(w->thread, NULL);
	assert_null(w->page);
	assert_int_equal(w->error, ETIMEDOUT);
	assert_true(w->ns >= (uint64_t)w->ms * MS);
}

static void give_one(void)
{
	assert_int_equal(quire_free_pages(f.q, f.pages[--f.n], 0), 0);
}

static void keep(struct quire_page *page)
{
	f.pages[f.n++] = page;
}

/* --- order --- */

static void test_arrival(void **state)
{
	enum { WAITERS = 6 };
	struct waiting w[WAITERS];

	(void)state;
	start();
	take_all();
	for (int i = 0; i < WAITERS; i++)
		join_queue(&w[i], 0, 0, LONG_MS);
	for (int i = 0; i < WAITERS; i++) {
		give_one();
		expect_served(&w[i]);
		for (int k = i + 1; k < WAITERS; k++)
			assert_false(atomic_load(&w[k].done));
		if (i + 1 < WAITERS)
			expect_waits(&w[i + 1]);
		keep(w[i].page);
	}
	assert_int_equal(stat_now().waits, WAITERS);
	assert_int_equal(stat_now().timeouts, 0);
	stop();
}

/* Pages for all come at once: each has its own, the last as well. */
static void test_arrival_at_once(void **state)
{
	enum { WAITERS = 6 };
	struct waiting w[WAITERS];
	struct quire_page *run;

	(void)state;
	start();
	run = quire_alloc_exact(f.q, WAITERS, 0);
	while (f.n < PAGES - WAITERS)
		assert_non_null(f.pages[f.n++] = quire_alloc_pages(f.q, 0, 0));
	for (int i = 0; i < WAITERS; i++)
		join_queue(&w[i], 0, 0, LONG_MS);
	assert_int_equal(quire_free_exact(f.q, run, WAITERS), 0);
	for (int i = 0; i < WAITERS; i++) {
		expect_served(&w[i]);
		keep(w[i].page);
	}
	stop();
}

/* Who cannot be served does not keep the next from what can. */
static void test_large_blocks_nobody(void **state)
{
	static const unsigned flags[] = { 0, QUIRE_RECLAIMABLE, QUIRE_MOVABLE };
	struct waiting large, small;
	struct quire_page *block;

	(void)state;
	start();
	block = quire_alloc_pages(f.q, 4, 0);
	assert_non_null(block);
	while (f.n < PAGES - 16)
		keep(quire_alloc_pages(f.q, 0, 0));
	join_queue(&large, 4, 0, LONG_MS);
	for (size_t i = 0; i < TEST_LENGTH(flags); i++) {
		join_queue(&small, 0, flags[i], LONG_MS);
		give_one();
		expect_served(&small);
		expect_waits(&large);
		keep(small.page);
	}
	assert_int_equal(wait_queue_length(&f.q->page_waiters), 1);
	assert_int_equal(quire_free_pages(f.q, block, 4), 0);
	expect_served(&large);
	assert_int_equal(quire_free_pages(f.q, large.page, 4), 0);
	stop();
}

/* Whoever serves wakes the first as well, though nobody was notified. */
static void test_served_by_another(void **state)
{
	struct waiting first, large;
	pfn_t pfn;

	(void)state;
	start();
	take_all();
	join_queue(&first, 0, 0, LONG_MS);
	expect_waits(&first);
	pfn = (pfn_t)quire_page_to_pfn(f.q, f.pages[--f.n]);
	pcp_free_direct(f.q->pcp[0], 0, 1, &pfn);
	expect_waits(&first);
	/* Not by length: the first may be gone before the other is there. */
	large = (struct waiting){ .order = 4, .ms = 200 };
	assert_int_equal(pthread_create(&large.thread, NULL, wait_main, &large),
			 0);
	expect_served(&first);
	assert_true(first.ns < 20000ull * MS);
	expect_timed_out(&large);
	keep(first.page);
	stop();
}

/* One waits for a zone, the next for another. */
static void test_zones(void **state)
{
	struct waiting normal, movable;
	struct quire_page *page;

	(void)state;
	if (!start_zones(PAGES / 2 * QUIRE_PAGE_SIZE))
		skip();
	while ((page = quire_alloc_pages(f.q, 0, QUIRE_MOVABLE)) ||
	       (page = quire_alloc_pages(f.q, 0,
					 QUIRE_MOVABLE | QUIRE_MEMALLOC)))
		keep(page);
	assert_int_equal(f.n, PAGES);
	join_queue(&normal, 0, 0, LONG_MS);
	join_queue(&movable, 0, QUIRE_MOVABLE, LONG_MS);
	/* Of the upper zone, which the first may not use. */
	for (unsigned i = 0; i < PAGES; i++)
		if (page_zone(page_word(f.pages[i])) == 1) {
			page = f.pages[i];
			f.pages[i] = NULL;
			break;
		}
	assert_int_equal(quire_free_pages(f.q, page, 0), 0);
	expect_served(&movable);
	assert_ptr_equal(movable.page, page);
	expect_waits(&normal);
	for (unsigned i = 0; i < PAGES; i++)
		if (f.pages[i] && page_zone(page_word(f.pages[i])) == 0) {
			/* Reserves are for calls that can go nowhere else. */
			assert_int_equal(quire_free_pages(f.q, f.pages[i], 0),
					 0);
			f.pages[i] = NULL;
			if (i % 64 == 0)
				nap();
			if (atomic_load(&normal.done))
				break;
		}
	expect_served(&normal);
	assert_int_equal(page_zone(page_word(normal.page)), 0);
	assert_int_equal(quire_free_pages(f.q, normal.page, 0), 0);
	assert_int_equal(quire_free_pages(f.q, movable.page, 0), 0);
	stop();
}

/* --- time --- */

static void test_timeout(void **state)
{
	static const unsigned ms[] = { 1, 10, 100 };
	struct waiting w;

	(void)state;
	start();
	take_all();
	for (size_t i = 0; i < TEST_LENGTH(ms); i++) {
		w = (struct waiting){ .ms = ms[i] };
		assert_int_equal(pthread_create(&w.thread, NULL, wait_main, &w),
				 0);
		expect_timed_out(&w);
		assert_true(w.ns < (uint64_t)ms[i] * MS + 20ull * 1000 * MS);
		expect_nobody_waits();
	}
	assert_int_equal(stat_now().waits, 3);
	assert_int_equal(stat_now().timeouts, 3);
	assert_int_equal(stat_now().failures, 3);
	stop();
}

/* 0: as long as the options say. */
static void test_timeout_default(void **state)
{
	struct waiting w = { .ms = 0 };
	uint64_t start_ns;

	(void)state;
	start();
	take_all();
	f.q->wait_ms = 30;
	start_ns = platform_ns();
	assert_null(quire_alloc_pages(f.q, 0, QUIRE_WAIT));
	assert_int_equal(errno, ETIMEDOUT);
	assert_true(platform_ns() - start_ns >= 30ull * MS);
	wait_main(&w);
	assert_int_equal(w.error, ETIMEDOUT);
	assert_true(w.ns >= 30ull * MS);
	assert_true(w.ns < 20000ull * MS);
	errno = 0;
	assert_null(quire_alloc_exact(f.q, 1, QUIRE_WAIT));
	assert_int_equal(errno, ETIMEDOUT);
	stop();
}

/* The first in the queue gives up; the next one listens in its place. */
static void test_first_gives_up(void **state)
{
	struct waiting first, second, third;

	(void)state;
	start();
	take_all();
	join_queue(&first, 0, 0, 300);
	join_queue(&second, 0, 0, LONG_MS);
	join_queue(&third, 0, 0, LONG_MS);
	expect_timed_out(&first);
	wait_for_length(2);
	give_one();
	expect_served(&second);
	expect_waits(&third);
	give_one();
	expect_served(&third);
	keep(second.page);
	keep(third.page);
	stop();
}

/* One in the middle, or the last, gives up: the others do not notice. */
static void test_others_give_up(void **state)
{
	struct waiting w[4];

	(void)state;
	start();
	take_all();
	join_queue(&w[0], 0, 0, LONG_MS);
	join_queue(&w[1], 0, 0, 300);
	join_queue(&w[2], 0, 0, LONG_MS);
	join_queue(&w[3], 0, 0, 300);
	expect_timed_out(&w[1]);
	expect_timed_out(&w[3]);
	wait_for_length(2);
	for (int i = 0; i < 4; i += 2) {
		give_one();
		expect_served(&w[i]);
		keep(w[i].page);
	}
	stop();
}

/* Lists cannot be shut: nobody waits for what may be parked unseen. */
static void test_fence_fails(void **state)
{
	struct waiting w = { .ms = LONG_MS };

	(void)state;
	start();
	if (f.way != QUIRE_WAY_RSEQ) {
		assert_int_equal(quire_destroy(f.q), 0);
		return;
	}
	take_all();
	fault_arm(FAULT_MEMBARRIER, 0, 1000);
	wait_main(&w);
	fault_disarm_all();
	assert_null(w.page);
	assert_int_equal(w.error, ENOMEM);
	assert_true(w.ns < (uint64_t)LONG_MS * MS);
	expect_nobody_waits();
	messages.count = 0;
	/* And lists are in use. */
	give_one();
	assert_int_equal(stat_now().pages_parked, 1);
	stop();
}

/* --- every way to free --- */

static struct quire_page *_Atomic of_handler;

static void free_in_handler(int number)
{
	struct quire_page *page = atomic_exchange(&of_handler, NULL);
	int error = errno;

	(void)number;
	errno = 77;
	if (page && quire_free_pages_nolock(f.q, page, 0) != 0)
		abort();
	/* Who was interrupted does not notice. */
	if (errno != 77)
		atomic_store(&spoilt, errno);
	errno = error;
}

static void handle(void (*handler)(int))
{
	struct sigaction action = { .sa_handler = handler };

	sigemptyset(&action.sa_mask);
	assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
}

enum free_by {
	BY_FREE,
	BY_OTHER_CPU,
	BY_UNBOUND,
	BY_NOLOCK,
	BY_NOLOCK_BUSY,
	BY_SIGNAL,
	BY_WAITERS_SIGNAL,
	BY_EXACT,
	BY_BULK,
	BY_PUT,
	BY_ADDR,
	FREE_WAYS
};

static void *free_elsewhere(void *arg)
{
	bool bind = *(bool *)arg && f.way == QUIRE_WAY_BOUND;
	cpu_set_t all, one;
	size_t last = CPU_SETSIZE - 1;

	if (bind && quire_cpu_bind(f.q, 1))
		abort();
	sched_getaffinity(0, sizeof(all), &all);
	while (!CPU_ISSET(last, &all))
		last--;
	CPU_ZERO(&one);
	CPU_SET(last, &one);
	sched_setaffinity(0, sizeof(one), &one);
	if (quire_free_pages(f.q, f.pages[--f.n], 0))
		abort();
	return NULL;
}

static void free_by(enum free_by by, const struct waiting *w)
{
	struct quire_page *page = f.pages[f.n - 1];
	bool bound = by == BY_OTHER_CPU;
	pthread_t thread;

	switch (by) {
	case BY_FREE:
		give_one();
		return;
	case BY_OTHER_CPU:
	case BY_UNBOUND:
		assert_int_equal(
			pthread_create(&thread, NULL, free_elsewhere, &bound),
			0);
		pthread_join(thread, NULL);
		return;
	case BY_NOLOCK:
		assert_int_equal(quire_free_pages_nolock(f.q, page, 0), 0);
		break;
	case BY_NOLOCK_BUSY:
		zone_lock(f.q->zone[0]);
		assert_int_equal(quire_free_pages_nolock(f.q, page, 0), 0);
		assert_int_equal(zone_deferred_pages(f.q->zone[0]), 1);
		zone_unlock(f.q->zone[0]);
		break;
	case BY_SIGNAL:
		of_handler = page;
		assert_int_equal(raise(SIGUSR1), 0);
		break;
	case BY_WAITERS_SIGNAL:
		of_handler = page;
		assert_int_equal(pthread_kill(w->thread, SIGUSR1), 0);
		break;
	case BY_EXACT:
		assert_int_equal(quire_free_exact(f.q, page, 1), 0);
		break;
	case BY_BULK:
		assert_int_equal(quire_free_pages_bulk(f.q, 0, 1, &page), 1);
		break;
	case BY_PUT:
		assert_int_equal(quire_page_put(f.q, page), 1);
		break;
	default:
		assert_int_equal(
			quire_free_addr(f.q, quire_page_to_virt(f.q, page), 0),
			0);
		break;
	}
	f.n--;
}

static void test_ways_to_free(void **state)
{
	(void)state;
	start();
	take_all();
	handle(free_in_handler);
	for (int by = 0; by < FREE_WAYS; by++) {
		struct waiting w;

		join_queue(&w, 0, 0, LONG_MS);
		free_by((enum free_by)by, &w);
		expect_served(&w);
		keep(w.page);
		expect_nobody_waits();
	}
	handle(SIG_DFL);
	assert_int_equal(atomic_load(&spoilt), 0);
	stop();
}

/* --- what is owed --- */

/* Pages that waiters want are not taken by who comes along. */
static void test_owed(void **state)
{
	static const unsigned flags[] = { QUIRE_NORETRY, QUIRE_NOLOCK,
					  QUIRE_NORETRY | QUIRE_HIGH,
					  QUIRE_NORETRY | QUIRE_MOVABLE, 0 };
	static const unsigned urgent[] = { QUIRE_MEMALLOC, QUIRE_ATOMIC };
	struct waiting w[2];
	struct quire_page *page;

	(void)state;
	start();
	take_all();
	join_queue(&w[0], 0, 0, LONG_MS);
	join_queue(&w[1], 0, 0, LONG_MS);
	assert_int_equal(atomic_load(&f.q->zone[0]->owed), 2);
	/* Nobody is served as long as the queue stands still. */
	lock_acquire(&f.q->page_waiters.lock);
	for (int i = 0; i < 2; i++) {
		give_one();
		for (size_t k = 0; k < TEST_LENGTH(flags); k++) {
			assert_null(quire_alloc_pages(f.q, 0, flags[k]));
			assert_null(quire_alloc_exact(f.q, 1, flags[k]));
			assert_int_equal(quire_alloc_pages_bulk(
						 f.q, 0, flags[k], 1, &page),
					 0);
		}
	}
	/* What is above that can be had. */
	give_one();
	page = quire_alloc_pages(f.q, 0, QUIRE_NORETRY);
	assert_non_null(page);
	keep(page);
	assert_null(quire_alloc_pages(f.q, 0, QUIRE_NORETRY));
	/* Who frees memory soon, or cannot wait, is not held up by it. */
	for (size_t k = 0; k < TEST_LENGTH(urgent); k++) {
		page = quire_alloc_pages(f.q, 0, QUIRE_NORETRY | urgent[k]);
		assert_non_null(page);
		assert_int_equal(quire_free_pages(f.q, page, 0), 0);
	}
	lock_release(&f.q->page_waiters.lock);
	for (int i = 0; i < 2; i++) {
		expect_served(&w[i]);
		keep(w[i].page);
	}
	stop();
}

/* Lists are shut as long as somebody waits, and open when nobody does. */
static void test_shut(void **state)
{
	struct waiting w[2];
	struct quire_page *block;

	(void)state;
	start();
	take_all();
	give_one();
	assert_int_equal(stat_now().pages_parked, 1);
	f.pages[f.n++] = quire_alloc_pages(f.q, 0, 0);
	join_queue(&w[0], 9, 0, 200);
	join_queue(&w[1], 9, 0, 400);
	for (int i = 0; i < 2; i++) {
		assert_true(f.q->shut);
		give_one();
		assert_int_equal(stat_now().pages_parked, 0);
		assert_int_equal(stat_now().pages_free, 1 + i);
		expect_timed_out(&w[i]);
	}
	expect_nobody_waits();
	give_one();
	assert_int_equal(stat_now().pages_parked, 1);
	block = quire_alloc_pages(f.q, 0, 0);
	assert_non_null(block);
	keep(block);
	while (f.n < PAGES)
		keep(quire_alloc_pages(f.q, 0, 0));
	stop();
}

/* --- no wake-up is lost --- */

enum { ROUNDS = TEST_SANITIZED ? 300 : 3000, NR_TEAMS = 4 };

/* One page that goes from a waiter to a freer and back: nobody else's free, or
 * coming into the queue, makes up for a wake-up that is lost. */
struct team {
	struct quire_page *_Atomic box;
	_Atomic uint64_t lost;
	uint64_t rounds;
};

static void *team_waits(void *arg)
{
	struct team *team = arg;

	for (uint64_t i = 0; i < team->rounds; i++) {
		struct quire_page *page =
			quire_alloc_pages_with(f.q, 0, QUIRE_WAIT, NULL, 20000);

		if (!page) {
			atomic_fetch_add(&team->lost, 1);
			break;
		}
		atomic_store(&team->box, page);
	}
	return NULL;
}

static void free_somehow(struct test_rng *rng, struct quire_page *page)
{
	switch (test_below(rng, 4)) {
	case 0:
		quire_free_pages_nolock(f.q, page, 0);
		break;
	case 1:
		of_handler = page;
		raise(SIGUSR1);
		break;
	case 2:
		quire_free_exact(f.q, page, 1);
		break;
	default:
		quire_free_pages(f.q, page, 0);
	}
}

static struct quire_page *open_box(struct team *team)
{
	struct quire_page *page;

	while (!(page = atomic_exchange(&team->box, NULL))) {
		if (atomic_load(&team->lost))
			return NULL;
		sched_yield();
	}
	return page;
}

static void *team_frees(void *arg)
{
	struct team *team = arg;
	struct test_rng rng = { (uintptr_t)arg };

	for (uint64_t i = 0; i < team->rounds; i++) {
		struct quire_page *page = open_box(team);

		if (!page)
			break;
		for (uint64_t spin = test_below(&rng, 3000); spin > 0; spin--)
			atomic_load(&team->lost);
		free_somehow(&rng, page);
	}
	return NULL;
}

static void test_one_page(void **state)
{
	struct team team = { .rounds = ROUNDS };
	pthread_t waiter, freer;

	(void)state;
	start();
	take_all();
	handle(free_in_handler);
	schedule_arm(8, 1);
	give_one();
	assert_int_equal(pthread_create(&waiter, NULL, team_waits, &team), 0);
	assert_int_equal(pthread_create(&freer, NULL, team_frees, &team), 0);
	pthread_join(waiter, NULL);
	pthread_join(freer, NULL);
	assert_int_equal(atomic_load(&team.lost), 0);
	assert_int_equal(atomic_load(&spoilt), 0);
	assert_int_equal(stat_now().timeouts, 0);
	handle(SIG_DFL);
	stop();
}

/* --- step by step --- */

/* Somebody has come as far as the lock, and waits for its holder: 2 says that
 * he sleeps. */
static void wait_for_sleeper(const struct lock *lock)
{
	while (atomic_load(&lock->word) != 2)
		nap();
}

struct freeing {
	void (*free)(void);
	struct quire_page *pages; /* a block, or a run */
	_Atomic bool stop, done;
	pthread_t thread;
};

static struct freeing freeing;

static void free_one(void)
{
	if (quire_free_pages(f.q, f.pages[--f.n], 0))
		abort();
}

static void free_block(void)
{
	if (quire_free_pages(f.q, freeing.pages, 4))
		abort();
}

static void free_run(void)
{
	if (quire_free_exact(f.q, freeing.pages, 16))
		abort();
}

/* The last one sleeps on the zone's lock. */
static void *free_main(void *arg)
{
	(void)arg;
	if (f.way == QUIRE_WAY_BOUND && quire_cpu_bind(f.q, 1))
		abort();
	do
		freeing.free();
	while (!atomic_load(&freeing.stop));
	atomic_store(&freeing.done, true);
	return NULL;
}

static bool finds_nothing(struct waiter *waiter)
{
	(void)waiter;
	while (!atomic_load(&freeing.done))
		nap();
	return false;
}

/* In the queue until the free is over; looks once. */
static void *join_main(void *arg)
{
	const struct wait_ops ops = { .serve = finds_nothing };
	struct waiter waiter;

	(void)arg;
	wait_queue_join(&f.q->page_waiters, &waiter);
	if (wait_queue_wait(&f.q->page_waiters, &waiter, &ops, 1))
		abort();
	return NULL;
}

/* Who joins while a free has its page in hand is told of it. */
static void test_join_during_free(void **state)
{
	static void (*const frees[])(void) = { free_one, free_block, free_run };
	pthread_t joiner;

	(void)state;
	start();
	for (size_t i = 0; i < TEST_LENGTH(frees); i++) {
		uint32_t events = atomic_load(&f.q->page_waiters.events);

		freeing = (struct freeing){ .free = frees[i] };
		if (frees[i] == free_block)
			freeing.pages = quire_alloc_pages(f.q, 4, 0);
		if (frees[i] == free_run)
			freeing.pages = quire_alloc_exact(f.q, 16, 0);
		while (f.n < PAGES / 2)
			keep(quire_alloc_pages(f.q, 0, 0));
		zone_lock(f.q->zone[0]);
		assert_int_equal(
			pthread_create(&freeing.thread, NULL, free_main, NULL),
			0);
		wait_for_sleeper(&f.q->zone[0]->lock);
		atomic_store(&freeing.stop, true);
		assert_int_equal(pthread_create(&joiner, NULL, join_main, NULL),
				 0);
		while (wait_queue_length(&f.q->page_waiters) == 0)
			nap();
		zone_unlock(f.q->zone[0]);
		pthread_join(freeing.thread, NULL);
		pthread_join(joiner, NULL);
		assert_int_equal(atomic_load(&f.q->page_waiters.events),
				 events + 1);
		expect_nobody_waits();
	}
	stop();
}

/* Each free notifies while somebody waits, if for more than it brings; and who
 * held all sets leaves the lists shut. */
static void test_every_free_notifies(void **state)
{
	struct waiting w;
	cpu_set_t all, one;

	(void)state;
	start();
	take_all();
	handle(free_in_handler);
	/* So that there are lists to open, and these are asked. */
	sched_getaffinity(0, sizeof(all), &all);
	CPU_ZERO(&one);
	CPU_SET((size_t)sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
	give_one();
	keep(quire_alloc_pages(f.q, 0, 0));
	join_queue(&w, 9, 0, LONG_MS);
	for (int by = 0; by < FREE_WAYS; by++) {
		uint32_t events = atomic_load(&f.q->page_waiters.events);

		if (by == BY_WAITERS_SIGNAL)
			continue;
		free_by((enum free_by)by, &w);
		assert_int_equal(atomic_load(&f.q->page_waiters.events),
				 events + 1);
		assert_int_equal(quire_drain_all(f.q), 0);
	}
	assert_int_equal(stat_now().pages_parked, 0);
	expect_waits(&w);
	while (f.n)
		give_one();
	expect_served(&w);
	assert_int_equal(quire_free_pages(f.q, w.page, 9), 0);
	sched_setaffinity(0, sizeof(all), &all);
	handle(SIG_DFL);
	stop();
}

/* --- many --- */

enum { STORM_WAITERS = 8, STORM_PAGES = 3 };

struct storm {
	unsigned number;
	struct test_rng rng;
	uint64_t got, timeouts, wrong;
};

static void storm_bind(unsigned number)
{
	if (f.way == QUIRE_WAY_BOUND && number >= 1 && number < 4 &&
	    quire_cpu_bind(f.q, number))
		abort();
}

static _Thread_local struct quire_page *of_thread;

static void free_of_thread(int number)
{
	(void)number;
	if (of_thread && quire_free_pages_nolock(f.q, of_thread, 0) != 0)
		abort();
	of_thread = NULL;
}

static void *storm_main(void *arg)
{
	struct storm *s = arg;

	storm_bind(s->number);
	for (unsigned i = 0; i < ROUNDS / 2; i++) {
		unsigned ms = s->number % 4 == 3 ? 1 : 60000;
		struct quire_page *page =
			quire_alloc_pages_with(f.q, 0, QUIRE_WAIT, NULL, ms);

		if (!page) {
			s->timeouts++;
			s->wrong += errno != ETIMEDOUT || ms != 1;
			continue;
		}
		s->got++;
		if (quire_page_set_flags(page, 1) != 0)
			s->wrong++;
		if (test_below(&s->rng, 4) == 0)
			sched_yield();
		quire_page_clear_flags(page, 1);
		switch (test_below(&s->rng, 5)) {
		case 0:
			quire_free_pages_nolock(f.q, page, 0);
			break;
		case 1:
			of_thread = page;
			raise(SIGUSR1);
			break;
		case 2:
			quire_free_exact(f.q, page, 1);
			break;
		default:
			quire_free_pages(f.q, page, 0);
		}
	}
	return NULL;
}

/* Each has its page or its time-out; none waits in vain, none is lost. */
static void test_storm(void **state)
{
	struct storm storms[STORM_WAITERS];
	pthread_t threads[STORM_WAITERS];
	struct test_rng rng = test_seed();
	uint64_t got = 0, timeouts = 0;

	(void)state;
	start();
	take_all();
	handle(free_of_thread);
	schedule_arm(16, 1);
	for (int i = 0; i < STORM_PAGES; i++)
		give_one();
	for (unsigned i = 0; i < STORM_WAITERS; i++) {
		storms[i] = (struct storm){ .number = i };
		storms[i].rng.state = test_random(&rng);
		assert_int_equal(pthread_create(&threads[i], NULL, storm_main,
						&storms[i]),
				 0);
	}
	for (unsigned i = 0; i < STORM_WAITERS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(storms[i].wrong, 0);
		got += storms[i].got;
		timeouts += storms[i].timeouts;
	}
	printf("# %llu pages, %llu time-outs, %llu waits\n",
	       (unsigned long long)got, (unsigned long long)timeouts,
	       (unsigned long long)stat_now().waits);
	assert_int_equal(stat_now().timeouts, timeouts);
	assert_int_equal(stat_now().pages_live, PAGES - STORM_PAGES);
	handle(SIG_DFL);
	stop();
}

/* --- fork --- */

/* In the child, 0: or which step failed. */
static int child_forgets(void)
{
	struct quire_page *page = f.pages[f.n - 1];

	if (wait_queue_length(&f.q->page_waiters) || f.q->page_waiters.first ||
	    f.q->shut || atomic_load(&f.q->zone[0]->owed) ||
	    atomic_load(&f.q->pcp[0]->shut))
		return 1;
	if (quire_free_pages(f.q, page, 0))
		return 2;
	if (stat_now().pages_parked != 1)
		return 3;
	if (quire_alloc_pages(f.q, 0, QUIRE_NORETRY) != page)
		return 4;
	f.q->wait_ms = 20;
	if (quire_alloc_pages(f.q, 0, QUIRE_WAIT) || errno != ETIMEDOUT)
		return 5;
	return f.q->shut ? 6 : 0;
}

static void test_fork(void **state)
{
	struct waiting w[2];
	int status;
	pid_t pid;

	(void)state;
	start();
	take_all();
	/* So that lists are set up. */
	give_one();
	keep(quire_alloc_pages(f.q, 0, 0));
	join_queue(&w[0], 0, 0, LONG_MS);
	join_queue(&w[1], 0, 0, LONG_MS);
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		_exit(child_forgets());
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(wait_queue_length(&f.q->page_waiters), 2);
	for (int i = 0; i < 2; i++) {
		give_one();
		expect_served(&w[i]);
		keep(w[i].page);
	}
	stop();
}

#define in_way(test, ways)                                                     \
	{                                                                      \
#test, test, begin, end, ways                                  \
	}

int main(void)
{
	static enum quire_way ways[] = { QUIRE_WAY_RSEQ, QUIRE_WAY_TRYLOCK,
					 QUIRE_WAY_BOUND };
	int failed = 0;

	for (size_t i = 0; i < TEST_LENGTH(ways); i++) {
		const struct CMUnitTest steps[] = {
			in_way(test_join_during_free, &ways[i]),
			in_way(test_every_free_notifies, &ways[i]),
		};
		const struct CMUnitTest tests[] = {
			in_way(test_arrival, &ways[i]),
			in_way(test_arrival_at_once, &ways[i]),
			in_way(test_large_blocks_nobody, &ways[i]),
			in_way(test_served_by_another, &ways[i]),
			in_way(test_zones, &ways[i]),
			in_way(test_timeout, &ways[i]),
			in_way(test_timeout_default, &ways[i]),
			in_way(test_first_gives_up, &ways[i]),
			in_way(test_others_give_up, &ways[i]),
			in_way(test_fence_fails, &ways[i]),
			in_way(test_ways_to_free, &ways[i]),
			in_way(test_owed, &ways[i]),
			in_way(test_shut, &ways[i]),
			in_way(test_one_page, &ways[i]),
			in_way(test_storm, &ways[i]),
			in_way(test_fork, &ways[i]),
		};

		printf("# way %s\n", quire_way_name(ways[i]));
		failed += cmocka_run_group_tests_name(
			"page waiters, step by step", steps, NULL, NULL);
		/* In a queue that is broken each wait takes its minute. */
		if (failed)
			break;
		failed += cmocka_run_group_tests_name("page waiters", tests,
						      NULL, NULL);
	}
	return failed != 0;
}
