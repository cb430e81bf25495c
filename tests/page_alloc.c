/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The front's own rules, which no list and no zone knows: when memory is
 * cleared, two racing frees, the order of zones, what a call tries before it
 * fails, and counters that are read while pages move. Bound threads stand in
 * for CPUs where a second one is needed.
 */
#include "testing.h"

#include <errno.h>
#include <sched.h>
#include <sys/mman.h>
#include <time.h>

#include "instance/allocator.h"
#include "alloc/page_alloc.h"
#include "alloc/want.h"

static struct test_messages messages = TEST_MESSAGES_INIT;

static struct quire_options base_options(uint64_t size)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;

	messages.count = 0;
	options.size = size;
	options.cpus = 2;
	options.way = QUIRE_WAY_BOUND;
	options.backing[0] = QUIRE_BACKING_BASE;
	options.decay_ms = 1000000;
	options.report = test_catch;
	options.report_arg = &messages;
	return options;
}

static struct quire *create(const struct quire_options *options)
{
	struct quire *q = quire_create(options);

	if (!q)
		fail_msg("%s", messages.text[0]);
	return q;
}

static void destroy(struct quire *q)
{
	if (quire_validate(q) != 0 || quire_destroy(q) != 0)
		fail_msg("%s", messages.text[0]);
}

static struct quire_stat stat_of(struct quire *q)
{
	struct quire_stat stat;

	assert_int_equal(quire_stat(q, &stat, sizeof(stat)), 0);
	return stat;
}

/* --- known to be zero --- */

static bool reads_zero(const void *memory, size_t pages)
{
	const char *bytes = memory;

	for (size_t i = 0; i < pages * QUIRE_PAGE_SIZE; i++)
		if (bytes[i])
			return false;
	return true;
}

static void check_zero(struct quire *q, unsigned order)
{
	uint64_t pages = UINT64_C(1) << order;
	uint64_t zeroed = stat_of(q).zeroed;
	char *fresh = quire_alloc_addr(q, order, QUIRE_ZERO), *again;

	assert_non_null(fresh);
	assert_true(reads_zero(fresh, pages));
	assert_int_equal(stat_of(q).zeroed, zeroed);
	memset(fresh, 0x5a, pages * QUIRE_PAGE_SIZE);
	assert_int_equal(quire_free_addr(q, fresh, order), 0);
	assert_int_equal(quire_drain_all(q), 0);
	again = quire_alloc_addr(q, order, QUIRE_ZERO);
	assert_non_null(again);
	assert_true(reads_zero(again, pages));
	if (again == fresh)
		assert_int_equal(stat_of(q).zeroed, zeroed + pages);
	memset(again, 0x5a, pages * QUIRE_PAGE_SIZE);
	assert_int_equal(quire_free_addr(q, again, order), 0);
}

/* Fresh memory is not cleared, used memory is. */
static void test_zero(void **state)
{
	(void)state;
	for (unsigned order = 0; order < 11; order++) {
		struct quire_options options = base_options(32u << 20);
		struct quire *q = create(&options);

		assert_int_equal(quire_cpu_bind(q, 0), 0);
		check_zero(q, order);
		destroy(q);
	}
}

/* A page that passed through a list without being handed out is still clean;
 * one that came back to it is not. */
static void test_zero_in_lists(void **state)
{
	struct quire_options options = base_options(64u << 20);
	struct quire *q = create(&options);
	char *pages[40];

	(void)state;
	assert_int_equal(quire_cpu_bind(q, 0), 0);
	for (int i = 0; i < 20; i++) {
		pages[i] = quire_alloc_addr(q, 0, QUIRE_ZERO);
		assert_non_null(pages[i]);
	}
	assert_true(stat_of(q).pcp_allocs > 0);
	assert_int_equal(stat_of(q).zeroed, 0);
	for (int i = 0; i < 20; i++) {
		memset(pages[i], 0x77, QUIRE_PAGE_SIZE);
		assert_int_equal(quire_free_addr(q, pages[i], 0), 0);
	}
	for (int i = 0; i < 20; i++) {
		pages[i] = quire_alloc_addr(q, 0, QUIRE_ZERO);
		assert_true(reads_zero(pages[i], 1));
	}
	assert_int_equal(stat_of(q).zeroed, 20);
	for (int i = 0; i < 20; i++)
		quire_free_addr(q, pages[i], 0);
	destroy(q);
}

static void test_zero_bulk_and_exact(void **state)
{
	struct quire_options options = base_options(64u << 20);
	struct quire *q = create(&options);
	struct quire_page *pages[700], *run;

	(void)state;
	for (int round = 0; round < 3; round++) {
		assert_int_equal(
			quire_alloc_pages_bulk(q, 1, QUIRE_ZERO, 700, pages),
			700);
		run = quire_alloc_exact(q, 777, QUIRE_ZERO);
		assert_non_null(run);
		for (int i = 0; i < 700; i++) {
			void *at = quire_page_to_virt(q, pages[i]);

			assert_true(reads_zero(at, 2));
			memset(at, 1 + round, 2 * QUIRE_PAGE_SIZE);
		}
		assert_true(reads_zero(quire_page_to_virt(q, run), 777));
		memset(quire_page_to_virt(q, run), 9, 777 * QUIRE_PAGE_SIZE);
		if (round == 0)
			assert_int_equal(stat_of(q).zeroed, 0);
		else
			assert_true(stat_of(q).zeroed > 0);
		assert_int_equal(quire_free_pages_bulk(q, 1, 700, pages), 700);
		assert_int_equal(quire_free_exact(q, run, 777), 0);
	}
	destroy(q);
}

/* A caller's memory counts as zero only if the caller says so. */
static void test_zero_of_callers(void **state)
{
	const size_t size = 4u << 20;
	char *region = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_ptr_not_equal(region, MAP_FAILED);
	for (unsigned zeroed = 0; zeroed < 2; zeroed++) {
		struct quire_options options = base_options(size);
		struct quire *q;
		char *pages[9];

		memset(region, zeroed ? 0 : 0x33, size);
		options.address = region;
		options.flags = zeroed ? QUIRE_ZEROED : 0;
		q = create(&options);
		for (unsigned order = 3; order < 9; order++) {
			uint64_t before = stat_of(q).zeroed;

			pages[order] = quire_alloc_addr(q, order, QUIRE_ZERO);
			assert_non_null(pages[order]);
			assert_true(
				reads_zero(pages[order], (size_t)1 << order));
			assert_int_equal(stat_of(q).zeroed - before,
					 zeroed ? 0 : 1u << order);
		}
		for (unsigned order = 3; order < 9; order++)
			quire_free_addr(q, pages[order], order);
		destroy(q);
	}
	munmap(region, size);
}

/* --- racing frees --- */

enum { RACE_ROUNDS = TEST_SANITIZED ? 2000 : 30000, RACE_RUN = 24 };

struct race {
	struct quire *q;
	bool exact; /* runs of RACE_RUN pages */
	struct quire_page *_Atomic page;
	_Atomic unsigned start, done;
	_Atomic unsigned accepted;
};

static void race_free(struct race *r)
{
	struct quire_page *page = atomic_load(&r->page);
	int error = r->exact ? quire_free_exact(r->q, page, RACE_RUN)
			     : quire_free_pages(r->q, page, 0);

	if (error == 0)
		atomic_fetch_add(&r->accepted, 1);
}

static void race_meet(_Atomic unsigned *at, unsigned round)
{
	for (unsigned spins = 1; atomic_load(at) != round; spins++)
		if (spins % 4096 == 0)
			sched_yield();
}

static void *racer_main(void *arg)
{
	struct race *r = arg;

	for (unsigned round = 1; round <= RACE_ROUNDS; round++) {
		race_meet(&r->start, round);
		race_free(r);
		atomic_fetch_add(&r->done, 1);
	}
	return NULL;
}

static void race(bool exact)
{
	struct quire_options options = base_options(16u << 20);
	struct race r = { .exact = exact };
	pthread_t thread;

	options.flags = QUIRE_CHECK_RACE;
	options.way = QUIRE_WAY_DEFAULT;
	r.q = create(&options);
	assert_int_equal(r.q->fast_orders, 0);
	assert_int_equal(r.q->list_orders, 0);
	assert_int_equal(pthread_create(&thread, NULL, racer_main, &r), 0);
	for (unsigned round = 1; round <= RACE_ROUNDS; round++) {
		atomic_store(&r.page,
			     exact ? quire_alloc_exact(r.q, RACE_RUN, 0)
				   : quire_alloc_pages(r.q, 0, 0));
		assert_non_null(atomic_load(&r.page));
		atomic_store(&r.accepted, 0);
		atomic_store(&r.start, round);
		race_free(&r);
		race_meet(&r.done, round);
		assert_int_equal(atomic_load(&r.accepted), 1);
	}
	pthread_join(thread, NULL);
	assert_int_equal(stat_of(r.q).refused, RACE_ROUNDS);
	assert_told(&messages, "not a live block's head");
	assert_int_equal(stat_of(r.q).pages_live, 0);
	destroy(r.q);
}

/* Of two frees of one page at once, exactly one is accepted. */
static void test_race(void **state)
{
	(void)state;
	race(false);
}

static void test_race_exact(void **state)
{
	(void)state;
	race(true);
}

/* --- zones --- */

enum { ZONE_BLOCKS = 8, ZONE_PAGES = ZONE_BLOCKS * BLOCK_UNITS };

/* Zones of one node, all alike, and the flags of calls that begin there. */
static const unsigned zone_flags[] = { QUIRE_DMA32, 0, QUIRE_MOVABLE };

/* Nothing is kept from anybody: each zone is used up before the next. */
static struct quire_options zone_options(unsigned nr_zones)
{
	const uint64_t size = (uint64_t)ZONE_PAGES * QUIRE_PAGE_SIZE;
	struct quire_options options = base_options(nr_zones * size);

	options.zone_size[QUIRE_ZONE_DMA32] = size;
	if (nr_zones == 3)
		options.zone_size[QUIRE_ZONE_MOVABLE] = size;
	options.watermark_scale = 1;
	for (int i = 0; i < QUIRE_NR_ZONES; i++)
		options.lowmem_ratio[i] = UINT32_MAX;
	return options;
}

static struct quire *create_zones(void)
{
	struct quire_options options = zone_options(3);

	return create(&options);
}

static unsigned zone_of(struct quire *q, const struct quire_page *page)
{
	unsigned z = (unsigned)(quire_page_to_pfn(q, page) / ZONE_PAGES);

	assert_int_equal(page_zone(page_word(page)), z);
	return z;
}

/* The highest zone allowed first, then those below it, never one above. */
static void check_zone_order(unsigned order, unsigned top)
{
	const unsigned flags = zone_flags[top];
	const unsigned each = ZONE_BLOCKS * BLOCK_UNITS >> order;
	struct quire *q = create_zones();
	struct quire_page *pages[3 * ZONE_BLOCKS * BLOCK_UNITS];
	unsigned n = 0;

	for (unsigned z = top + 1; z-- > 0;)
		for (unsigned i = 0; i < each; i++) {
			pages[n] = quire_alloc_pages(q, order, flags);
			assert_non_null(pages[n]);
			assert_int_equal(zone_of(q, pages[n++]), z);
		}
	errno = 0;
	assert_null(quire_alloc_pages(q, order, flags));
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(stat_of(q).failures, 1);
	assert_int_equal(stat_of(q).pages_free,
			 (2 - top) * ZONE_BLOCKS * BLOCK_UNITS);
	while (n)
		assert_int_equal(quire_free_pages(q, pages[--n], order), 0);
	destroy(q);
}

static void test_zone_order(void **state)
{
	static const unsigned orders[] = { 0, 3, 9, 10 };

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(orders); i++)
		for (unsigned top = 0; top < 3; top++)
			check_zone_order(orders[i], top);
}

static void test_zone_order_bulk_and_exact(void **state)
{
	enum { ALL = 3 * ZONE_BLOCKS * BLOCK_UNITS };
	struct quire *q = create_zones();
	static struct quire_page *pages[ALL];
	struct quire_page *run;

	(void)state;
	for (unsigned z = 3; z-- > 0;) {
		run = quire_alloc_exact(q, 4000, zone_flags[z]);
		assert_non_null(run);
		assert_int_equal(zone_of(q, run), z);
		assert_int_equal(zone_of(q, run + 3999), z);
		assert_int_equal(quire_free_exact(q, run, 4000), 0);
	}
	assert_int_equal(quire_alloc_pages_bulk(q, 0, 0, ALL, pages),
			 ALL * 2 / 3);
	assert_int_equal(errno, ENOMEM);
	for (unsigned i = 0; i < ALL * 2 / 3; i++)
		assert_int_equal(zone_of(q, pages[i]), i < ALL / 3 ? 1 : 0);
	/* A run over the border of two zones is freed in both. */
	assert_int_equal(
		quire_free_exact(q, quire_pfn_to_page(q, ALL / 3 - 100), 200),
		0);
	assert_int_equal(zone_free_pages(q->zone[0]), 100);
	assert_int_equal(zone_free_pages(q->zone[1]), 100);
	assert_int_equal(
		quire_free_exact(q, quire_pfn_to_page(q, 0), ALL / 3 - 100), 0);
	assert_int_equal(quire_free_exact(q,
					  quire_pfn_to_page(q, ALL / 3 + 100),
					  ALL / 3 - 100),
			 0);
	destroy(q);
}

static void test_zone_flags(void **state)
{
	struct quire *q = create_zones();

	(void)state;
	errno = 0;
	assert_null(quire_alloc_pages(q, 0, QUIRE_DMA32 | QUIRE_DEVICE));
	assert_int_equal(errno, EINVAL);
	assert_told(&messages, "a page is in one zone");
	assert_null(quire_alloc_pages(q, 0, 1u << 14));
	assert_int_equal(errno, EINVAL);
	assert_null(quire_alloc_pages(q, 0, 1u << 21));
	assert_null(quire_alloc_pages(q, 19, 0));
	assert_int_equal(stat_of(q).failures, 0);
	destroy(q);
}

/* --- creation --- */

/*
 * What the first allocations touch lies in one hugepage, however large the
 * arena is: the allocator, its zones and lists, the first entries of both
 * tables.
 */
static void test_first_hugepage(void **state)
{
	static const unsigned gib[] = { 1, 15, 16, 17, 32, 33, 64, 1000, 1024 };

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(gib); i++) {
		struct quire_options options =
			base_options((uint64_t)gib[i] << 30);
		struct quire *q;
		uintptr_t hugepage;
		pfn_t first;

		/* ThreadSanitizer leaves little address space. */
		if (TEST_SANITIZED && gib[i] > 17)
			break;
		options.cpus = 4;
		q = create(&options);
		hugepage = (uintptr_t)q >> 21;
		first = q->map.region.first;
		assert_int_equal((uintptr_t)memmap_page(&q->map, first) >> 21,
				 hugepage);
		assert_int_equal((uintptr_t)memmap_pageblock(
					 &q->map, first >> BLOCK_ORDER) >>
					 21,
				 hugepage);
		destroy(q);
	}
}

/* --- before a call fails --- */

struct other_cpu {
	struct quire *q;
	unsigned cpu;
	unsigned park; /* pages its lists keep */
};

static void *park_pages(void *arg)
{
	struct other_cpu *other = arg;
	struct quire_page *pages[32];

	if (quire_cpu_bind(other->q, other->cpu) ||
	    quire_alloc_pages_bulk(other->q, 0, 0, other->park, pages) !=
		    other->park ||
	    quire_free_pages_bulk(other->q, 0, other->park, pages) !=
		    other->park)
		abort();
	return NULL;
}

static void run_thread(void *(*body)(void *), void *arg)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, body, arg), 0);
	pthread_join(thread, NULL);
}

/* Pages on another CPU's lists: found before a failure, unless told not to. */
static void test_noretry(void **state)
{
	struct quire_options options = base_options(16u << 20);
	struct quire *q = create(&options);
	struct other_cpu other = { q, 1, 32 };
	struct quire_page *pages[4096];
	unsigned n = 0;

	(void)state;
	run_thread(park_pages, &other);
	assert_int_equal(stat_of(q).pages_parked, 32);
	assert_int_equal(quire_cpu_bind(q, 0), 0);
	while (stat_of(q).pages_free + stat_of(q).pages_parked > 32)
		assert_non_null(pages[n++] = quire_alloc_pages(q, 0, 0));
	errno = 0;
	assert_null(quire_alloc_pages(q, 0, QUIRE_NORETRY));
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(
		quire_alloc_pages_bulk(q, 0, QUIRE_NORETRY, 5, pages + n), 0);
	assert_null(quire_alloc_exact(q, 1, QUIRE_NORETRY));
	assert_int_equal(stat_of(q).failures, 3);
	assert_int_equal(stat_of(q).pages_parked, 32);
	assert_non_null(pages[n++] = quire_alloc_pages(q, 0, 0));
	assert_int_equal(stat_of(q).pages_parked, 0);
	while (n < 4096)
		assert_non_null(pages[n++] = quire_alloc_pages(q, 0, 0));
	assert_null(quire_alloc_pages(q, 0, 0));
	assert_int_equal(stat_of(q).failures, 4);
	assert_int_equal(quire_free_pages_bulk(q, 0, n, pages), n);
	destroy(q);
}

/* Small blocks parked elsewhere merge into the large one that is asked for. */
static void test_retry_merges(void **state)
{
	struct quire_options options = base_options(16u << 20);
	struct quire *q = create(&options);
	struct other_cpu other = { q, 1, 32 };
	struct quire_page *page;

	(void)state;
	run_thread(park_pages, &other);
	assert_null(quire_alloc_pages(q, 12, QUIRE_NORETRY));
	page = quire_alloc_pages(q, 12, 0);
	assert_non_null(page);
	assert_int_equal(quire_free_pages(q, page, 12), 0);
	page = quire_alloc_exact(q, 4096, 0);
	assert_non_null(page);
	assert_int_equal(quire_free_exact(q, page, 4096), 0);
	destroy(q);
}

/* Until somebody sleeps on a lock that this thread holds. */
static void wait_for_sleeper(struct lock *lock)
{
	const struct timespec pause = { .tv_nsec = 100000 };

	for (unsigned i = 0; !(atomic_load(&lock->word) & LOCK_WANTED); i++) {
		if (i == 100000)
			fail_msg("nobody waits for lock %p", (void *)lock);
		nanosleep(&pause, NULL);
	}
}

static struct lock *set_lock(struct quire *q, unsigned zone, uint32_t cpu)
{
	return &pcp_set(q->pcp[zone], cpu)->lock;
}

struct taker {
	struct quire *q;
	struct quire_page *page;
};

static void *take_one(void *arg)
{
	struct taker *taker = arg;

	taker->page = quire_alloc_pages(taker->q, 0, 0);
	return NULL;
}

/* The taker, which has found nothing, is past zone 0's lists and owned blocks
 * and wants zone 0's lock, which this thread holds. */
static void stop_at_last_walk(struct taker *taker, pthread_t *thread)
{
	struct quire *q = taker->q;

	lock_acquire(&q->drain_lock);
	assert_int_equal(pthread_create(thread, NULL, take_one, taker), 0);
	wait_for_sleeper(&q->drain_lock);
	zone_lock(q->zone[1]);
	lock_release(&q->drain_lock);
	/* Zone 1 is the last to be drained. */
	wait_for_sleeper(&q->zone[1]->lock);
	assert_true(zone_try_lock(q->zone[0]));
	zone_unlock(q->zone[1]);
	wait_for_sleeper(&q->zone[0]->lock);
}

/*
 * One page is free at every moment of the call, first in the lower zone, then
 * in the upper. Whoever asks the upper zone before the move and the lower one
 * after it finds nothing.
 */
static void test_zones_asked_at_once(void **state)
{
	enum { ALL = 2 * ZONE_PAGES };
	struct quire_options options = zone_options(2);
	static struct quire_page *pages[ALL];
	struct taker taker;
	pthread_t thread;
	pfn_t pfn;

	(void)state;
	taker.q = create(&options);
	assert_int_equal(quire_cpu_bind(taker.q, 0), 0);
	assert_int_equal(quire_alloc_pages_bulk(taker.q, 0, 0, ALL, pages),
			 ALL);
	assert_int_equal(zone_of(taker.q, pages[0]), 1);
	assert_int_equal(zone_of(taker.q, pages[ALL - 1]), 0);
	/* Free, but not for whoever asks the zones alone. */
	assert_int_equal(quire_free_pages(taker.q, pages[ALL - 1], 0), 0);
	assert_int_equal(stat_of(taker.q).pages_parked, 1);
	stop_at_last_walk(&taker, &thread);
	assert_int_equal(quire_free_pages(taker.q, pages[0], 0), 0);
	assert_true(pcp_alloc_held(taker.q->pcp[0],
				   &(struct zone_ask){ .order = 0 }, &pfn));
	page_set_word(memmap_page(&taker.q->map, pfn),
		      PAGE_HEAD | page_tag(0, QUIRE_TYPE_UNMOVABLE));
	zone_unlock(taker.q->zone[0]);
	pthread_join(thread, NULL);
	assert_ptr_equal(memmap_page(&taker.q->map, pfn), pages[ALL - 1]);
	assert_ptr_equal(taker.page, pages[0]);
	assert_int_equal(stat_of(taker.q).failures, 0);
	assert_int_equal(quire_free_pages_bulk(taker.q, 0, ALL, pages), ALL);
	destroy(taker.q);
}

/* --- without waiting --- */

/* Holds every zone's lock until told to leave. */
struct holder {
	struct quire *q;
	unsigned from, to; /* zones */
	_Atomic bool held, leave;
	pthread_t thread;
};

static void *hold_zones(void *arg)
{
	struct holder *h = arg;

	for (unsigned z = h->from; z <= h->to; z++)
		zone_lock(h->q->zone[z]);
	atomic_store(&h->held, true);
	while (!atomic_load(&h->leave))
		sched_yield();
	for (unsigned z = h->from; z <= h->to; z++)
		zone_unlock(h->q->zone[z]);
	return NULL;
}

static void hold_from_to(struct holder *h, struct quire *q, unsigned from,
			 unsigned to)
{
	*h = (struct holder){ .q = q, .from = from, .to = to };
	assert_int_equal(pthread_create(&h->thread, NULL, hold_zones, h), 0);
	while (!atomic_load(&h->held))
		sched_yield();
	/* Who waits now waits for good. */
	alarm(30);
}

static void hold(struct holder *h, struct quire *q)
{
	hold_from_to(h, q, 0, q->nr_zones - 1);
}

static void leave(struct holder *h)
{
	alarm(0);
	atomic_store(&h->leave, true);
	pthread_join(h->thread, NULL);
}

/* NULL: rseq is not to be had. The thread keeps to a CPU that has lists. */
static struct quire *create_way(enum quire_way way, cpu_set_t *allowed)
{
	struct quire_options options = base_options(64u << 20);
	struct quire *q;
	cpu_set_t one;
	size_t cpu = 0;

	assert_int_equal(sched_getaffinity(0, sizeof(*allowed), allowed), 0);
	options.way = way;
	options.cpus = 0;
	q = quire_create(&options);
	if (!q)
		return NULL;
	while (!CPU_ISSET(cpu, allowed))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	if (way == QUIRE_WAY_BOUND)
		assert_int_equal(quire_cpu_bind(q, 0), 0);
	return q;
}

static void destroy_way(struct quire *q, const cpu_set_t *allowed)
{
	destroy(q);
	assert_int_equal(sched_setaffinity(0, sizeof(*allowed), allowed), 0);
}

/* Every call says EAGAIN, at once, and is counted. */
static void expect_again(struct quire *q, unsigned order, unsigned flags)
{
	struct quire_stat before = stat_of(q), after;
	struct quire_page *pages[4] = { NULL };

	flags |= QUIRE_NOLOCK;
	errno = 0;
	assert_null(quire_alloc_pages(q, order, flags));
	assert_int_equal(errno, EAGAIN);
	errno = 0;
	assert_null(quire_alloc_addr(q, order, flags));
	assert_int_equal(errno, EAGAIN);
	errno = 0;
	assert_null(quire_alloc_exact(q, (size_t)1 << order, flags));
	assert_int_equal(errno, EAGAIN);
	errno = 0;
	assert_int_equal(quire_alloc_pages_bulk(q, order, flags, 4, pages), 0);
	assert_int_equal(errno, EAGAIN);
	assert_null(pages[0]);
	after = stat_of(q);
	assert_int_equal(after.failures, before.failures + 4);
	before.failures = after.failures;
	/* To look, if the lock could be had. */
	before.zone_locks = after.zone_locks;
	assert_memory_equal(&before, &after, sizeof(before));
	assert_int_equal(messages.count, 0);
}

static void test_nolock_busy(void **state)
{
	(void)state;
	for (int way = QUIRE_WAY_RSEQ; way <= QUIRE_WAY_BOUND; way++) {
		cpu_set_t allowed;
		struct quire *q = create_way((enum quire_way)way, &allowed);
		struct quire_page *page;
		struct holder h;

		if (!q)
			continue;
		for (unsigned order = 0; order < 12; order++) {
			page = quire_alloc_pages(q, order, QUIRE_NOLOCK);
			assert_non_null(page);
			assert_int_equal(quire_page_order(q, page), order);
			hold(&h, q);
			expect_again(q, order, 0);
			expect_again(q, order, QUIRE_ZERO);
			expect_again(q, order, QUIRE_NORETRY);
			leave(&h);
			assert_int_equal(
				quire_free_pages_nolock(q, page, order), 0);
		}
		destroy_way(q, &allowed);
	}
}

/* What a list has is had, and takes what is freed, whoever has the zone. */
static void test_nolock_by_list(void **state)
{
	(void)state;
	for (int way = QUIRE_WAY_RSEQ; way <= QUIRE_WAY_BOUND; way++) {
		cpu_set_t allowed;
		struct quire *q = create_way((enum quire_way)way, &allowed);
		struct quire_page *pages[4], *page;
		struct quire_stat before, after;
		struct holder h;

		if (!q)
			continue;
		page = quire_alloc_pages(q, 0, 0);
		before = stat_of(q);
		assert_true(before.pages_parked >= 6);
		hold(&h, q);
		pages[0] = quire_alloc_pages(q, 0, QUIRE_NOLOCK);
		pages[1] = quire_virt_to_page(
			q, quire_alloc_addr(q, 0, QUIRE_NOLOCK | QUIRE_ZERO));
		assert_int_equal(quire_alloc_pages_bulk(q, 0, QUIRE_NOLOCK, 2,
							pages + 2),
				 2);
		after = stat_of(q);
		assert_int_equal(after.pcp_allocs, before.pcp_allocs + 4);
		assert_int_equal(after.pages_live, 5);
		for (int i = 0; i < 4; i++) {
			assert_int_equal(quire_page_order(q, pages[i]), 0);
			assert_int_equal(
				quire_free_pages_nolock(q, pages[i], 0), 0);
		}
		after = stat_of(q);
		leave(&h);
		assert_int_equal(after.pcp_frees, before.pcp_frees + 4);
		assert_int_equal(after.pages_parked, before.pages_parked);
		/* The holder's own. */
		assert_int_equal(after.zone_locks, before.zone_locks + 1);
		assert_int_equal(after.failures, 0);
		assert_int_equal(quire_free_pages_nolock(q, page, 0), 0);
		destroy_way(q, &allowed);
	}
}

/* A list runs dry in mid-call: what was had is kept. */
static void test_nolock_bulk_in_part(void **state)
{
	struct quire_options options = base_options(16u << 20);
	struct quire *q = create(&options);
	struct quire_page *pages[300], *page;
	struct quire_stat before;
	struct holder h;

	(void)state;
	assert_int_equal(quire_cpu_bind(q, 0), 0);
	page = quire_alloc_pages(q, 0, 0);
	before = stat_of(q);
	hold(&h, q);
	errno = 0;
	assert_int_equal(quire_alloc_pages_bulk(q, 0, QUIRE_NOLOCK, 300, pages),
			 before.pages_parked);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(stat_of(q).failures, 1);
	leave(&h);
	assert_int_equal(
		quire_free_pages_bulk(q, 0, before.pages_parked, pages),
		before.pages_parked);
	/* With the lock to be had: all of it. */
	assert_int_equal(quire_alloc_pages_bulk(q, 0, QUIRE_NOLOCK, 300, pages),
			 300);
	assert_int_equal(quire_free_pages_bulk(q, 0, 300, pages), 300);
	assert_int_equal(quire_free_pages(q, page, 0), 0);
	destroy(q);
}

static void test_nolock_zero(void **state)
{
	struct quire_options options = base_options(16u << 20);
	struct quire *q = create(&options);

	(void)state;
	assert_int_equal(quire_cpu_bind(q, 0), 0);
	for (unsigned order = 0; order < 12; order++)
		for (int round = 0; round < 3; round++) {
			size_t pages = (size_t)1 << order;
			char *at = quire_alloc_addr(q, order,
						    QUIRE_NOLOCK | QUIRE_ZERO);
			struct quire_page *run;

			assert_non_null(at);
			assert_true(reads_zero(at, pages));
			memset(at, 0x5a, pages * QUIRE_PAGE_SIZE);
			assert_int_equal(
				quire_free_pages_nolock(
					q, quire_virt_to_page(q, at), order),
				0);
			run = quire_alloc_exact(q, pages,
						QUIRE_NOLOCK | QUIRE_ZERO);
			assert_non_null(run);
			at = quire_page_to_virt(q, run);
			assert_true(reads_zero(at, pages));
			memset(at, 0x5a, pages * QUIRE_PAGE_SIZE);
			assert_int_equal(quire_free_exact(q, run, pages), 0);
		}
	destroy(q);
}

/* A busy zone is passed over; one above is never asked. */
static void test_nolock_zones(void **state)
{
	struct quire *q = create_zones();
	struct quire_page *page;
	struct holder h;

	(void)state;
	for (unsigned busy = 0; busy < 3; busy++)
		for (unsigned top = busy; top < 3; top++) {
			hold_from_to(&h, q, busy, top);
			if (busy == 0) {
				expect_again(q, 3, zone_flags[top]);
			} else {
				page = quire_alloc_pages(
					q, 3, QUIRE_NOLOCK | zone_flags[top]);
				assert_non_null(page);
				assert_int_equal(zone_of(q, page), busy - 1);
				quire_free_pages_nolock(q, page, 3);
			}
			leave(&h);
		}
	destroy(q);
}

/* Pages on another CPU's lists stay there. */
static void test_nolock_drains_nobody(void **state)
{
	struct quire_options options = base_options(16u << 20);
	struct quire *q = create(&options);
	struct other_cpu other = { q, 1, 32 };
	struct quire_page *pages[4096];
	unsigned n = 0;

	(void)state;
	run_thread(park_pages, &other);
	assert_int_equal(quire_cpu_bind(q, 0), 0);
	while ((pages[n] = quire_alloc_pages(q, 0, QUIRE_NOLOCK)))
		n++;
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(n, 4096 - 32);
	assert_int_equal(stat_of(q).failures, 1);
	expect_again(q, 0, 0);
	expect_again(q, 0, QUIRE_NORETRY);
	expect_again(q, 5, 0);
	assert_int_equal(stat_of(q).pages_parked, 32);
	pages[n] = quire_alloc_pages(q, 0, 0);
	assert_non_null(pages[n++]);
	assert_int_equal(stat_of(q).pages_parked, 0);
	assert_int_equal(quire_free_pages_bulk(q, 0, n, pages), n);
	destroy(q);
}

static void test_nolock_invalid(void **state)
{
	struct quire *q = create_zones();

	(void)state;
	errno = 0;
	assert_null(quire_alloc_pages(q, 19, QUIRE_NOLOCK));
	assert_int_equal(errno, EINVAL);
	errno = 0;
	assert_null(quire_alloc_pages(q, 0, QUIRE_NOLOCK | QUIRE_NODE(1)));
	assert_int_equal(errno, EINVAL);
	errno = 0;
	assert_null(quire_alloc_exact(q, 0, QUIRE_NOLOCK));
	assert_int_equal(errno, EINVAL);
	assert_int_equal(stat_of(q).failures, 0);
	destroy(q);
}

/* --- frees without waiting --- */

static void expect_refused(struct quire *q, struct quire_page *page,
			   unsigned order)
{
	uint64_t refused = stat_of(q).refused;

	messages.count = 0;
	errno = 0;
	assert_int_equal(quire_free_pages_nolock(q, page, order), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(messages.count, 1);
	assert_memory_equal(messages.text[0], "free_pages_nolock: ", 19);
	assert_int_equal(stat_of(q).refused, refused + 1);
}

static void check_misuse(struct quire *q)
{
	struct quire_page *page = quire_alloc_pages(q, 3, 0);
	struct quire_stat before = stat_of(q), after;

	assert_non_null(page);
	expect_refused(q, page, 2);
	expect_refused(q, page, 4);
	expect_refused(q, page, UINT32_MAX);
	expect_refused(q, page + 1, 3);
	expect_refused(q, page + 1, 0);
	expect_refused(q, NULL, 0);
	expect_refused(q, (struct quire_page *)(void *)&q, 0);
	expect_refused(q, (struct quire_page *)(void *)((char *)page + 1), 3);
	after = stat_of(q);
	assert_int_equal(after.pages_live, before.pages_live);
	assert_int_equal(after.frees, before.frees);
	assert_int_equal(quire_page_get(q, page), 0);
	assert_int_equal(quire_free_pages_nolock(q, page, 3), 0);
	assert_int_equal(quire_page_order(q, page), 3);
	assert_int_equal(quire_page_count(q, page), 1);
	assert_int_equal(quire_page_set_flags(page, 0xffff), 0);
	assert_int_equal(quire_free_pages_nolock(q, page, 3), 0);
	assert_int_equal(quire_page_order(q, page), -1);
	expect_refused(q, page, 3);
	messages.count = 0;
}

static void test_free_nolock_misuse(void **state)
{
	(void)state;
	for (int race = 0; race < 2; race++) {
		struct quire_options options = base_options(16u << 20);
		struct quire_page *page;
		struct holder h;
		struct quire *q;

		options.flags = race ? QUIRE_CHECK_RACE : 0;
		q = create(&options);
		check_misuse(q);
		assert_int_equal(quire_cpu_bind(q, 0), 0);
		check_misuse(q);
		/* A deferred block is free. */
		page = quire_alloc_pages(q, 11, 0);
		hold(&h, q);
		assert_int_equal(quire_free_pages_nolock(q, page, 11), 0);
		assert_int_equal(quire_page_order(q, page), -1);
		assert_int_equal(quire_page_count(q, page), 0);
		expect_refused(q, page, 11);
		assert_int_equal(quire_free_pages(q, page, 11), -1);
		assert_int_equal(quire_page_get(q, page), -1);
		leave(&h);
		messages.count = 0;
		destroy(q);
	}
}

enum { DEFERRED = 5, DEFERRED_PAGES = 1 + 8 + 512 + 1024 + 1 };

/* Without a list of theirs, and the zone is busy. */
static void defer_some(struct quire *q)
{
	static const unsigned orders[DEFERRED] = { 0, 3, 9, 10, 0 };
	struct quire_stat before = stat_of(q), after;
	struct quire_page *pages[DEFERRED];
	struct holder h;

	for (int i = 0; i < DEFERRED; i++) {
		pages[i] = quire_alloc_pages(q, orders[i], QUIRE_NOLOCK);
		assert_non_null(pages[i]);
		assert_int_equal(quire_page_set_private(q, pages[i], ~0ull), 0);
	}
	hold(&h, q);
	errno = 0;
	for (int i = 0; i < DEFERRED; i++)
		assert_int_equal(
			quire_free_pages_nolock(q, pages[i], orders[i]), 0);
	assert_int_equal(errno, 0);
	after = stat_of(q);
	assert_int_equal(after.pages_free, before.pages_free);
	assert_int_equal(after.pages_live, before.pages_live);
	assert_int_equal(after.pages_parked, before.pages_parked);
	assert_int_equal(after.frees, before.frees + DEFERRED);
	assert_int_equal(after.pcp_frees, before.pcp_frees);
	leave(&h);
	assert_int_equal(zone_deferred_pages(q->zone[0]), DEFERRED_PAGES);
	assert_int_equal(stat_of(q).pages_free, before.pages_free);
}

enum next_call {
	NEXT_ALLOC,
	NEXT_ALLOC_NOLOCK,
	NEXT_BULK,
	NEXT_EXACT,
	NEXT_FREE,
	NEXT_FREE_NOLOCK,
	NEXT_FREE_EXACT,
	NEXT_DRAIN,
	NEXT_RUNS,
	NEXT_VALIDATE,
	NEXT_DESTROY,
	NEXT_CALLS
};

static void call_next(struct quire *q, enum next_call call,
		      struct quire_page *large)
{
	uint64_t runs[QUIRE_NR_ORDERS], sum = 0;
	struct quire_page *pages[5];

	switch (call) {
	case NEXT_ALLOC:
		assert_non_null(quire_alloc_pages(q, 2, 0));
		break;
	case NEXT_ALLOC_NOLOCK:
		assert_non_null(quire_alloc_pages(q, 2, QUIRE_NOLOCK));
		break;
	case NEXT_BULK:
		assert_int_equal(quire_alloc_pages_bulk(q, 0, 0, 5, pages), 5);
		break;
	case NEXT_EXACT:
		assert_non_null(quire_alloc_exact(q, 5, 0));
		break;
	case NEXT_FREE:
		assert_int_equal(quire_free_pages(q, large, 10), 0);
		break;
	case NEXT_FREE_NOLOCK:
		assert_int_equal(quire_free_pages_nolock(q, large, 10), 0);
		break;
	case NEXT_FREE_EXACT:
		pages[0] = quire_alloc_exact(q, 3, 0);
		defer_some(q);
		assert_int_equal(quire_free_exact(q, pages[0], 3), 0);
		break;
	case NEXT_DRAIN:
		assert_int_equal(quire_drain_all(q), 0);
		break;
	case NEXT_RUNS:
		assert_int_equal(quire_free_runs(q, runs), 0);
		for (unsigned k = 0; k < QUIRE_NR_ORDERS; k++)
			sum += runs[k] << k;
		assert_int_equal(sum, stat_of(q).pages_free);
		break;
	case NEXT_VALIDATE:
		assert_int_equal(quire_validate(q), 0);
		break;
	default:
		messages.count = 0;
		assert_int_equal(quire_destroy(q), -1);
		assert_int_equal(errno, EBUSY);
		assert_told(&messages, "1024 pages are live");
		messages.count = 0;
		break;
	}
}

static void free_all_live(struct quire *q)
{
	for (uint64_t pfn = 0; pfn < stat_of(q).pages; pfn++) {
		struct quire_page *page =
			quire_pfn_to_page(q, pfn + q->map.region.first);
		int order = quire_page_order(q, page);

		if (order >= 0)
			assert_int_equal(
				quire_free_pages(q, page, (unsigned)order), 0);
	}
}

static void test_deferred_next_call(void **state)
{
	(void)state;
	for (int call = 0; call < NEXT_CALLS; call++) {
		struct quire_options options = base_options(32u << 20);
		struct quire *q = create(&options);
		struct quire_page *large = quire_alloc_pages(q, 10, 0);
		uint64_t runs[QUIRE_NR_ORDERS], before[QUIRE_NR_ORDERS];

		assert_int_equal(quire_free_runs(q, before), 0);
		defer_some(q);
		call_next(q, (enum next_call)call, large);
		assert_int_equal(zone_deferred_pages(q->zone[0]), 0);
		if (quire_page_order(q, large) < 0)
			large = quire_alloc_pages(q, 10, 0);
		for (uint64_t pfn = 0; pfn < 8192; pfn++) {
			struct quire_page *page =
				quire_pfn_to_page(q, pfn + q->map.region.first);
			int order = quire_page_order(q, page);

			if (order >= 0 && page != large)
				assert_int_equal(
					quire_free_pages(q, page,
							 (unsigned)order),
					0);
		}
		assert_int_equal(quire_drain_all(q), 0);
		assert_int_equal(quire_free_runs(q, runs), 0);
		assert_memory_equal(runs, before, sizeof(runs));
		assert_int_equal(quire_free_pages(q, large, 10), 0);
		destroy(q);
	}
}

/* Only deferred blocks are left: none is live. */
static void test_deferred_destroy(void **state)
{
	for (unsigned zones = 1; zones <= 3; zones += 2) {
		struct quire_options options = base_options(32u << 20);
		struct quire *q =
			zones == 1 ? create(&options) : create_zones();
		struct quire_page *pages[3];
		struct holder h;

		(void)state;
		for (unsigned z = 0; z < zones; z++)
			assert_non_null(
				pages[z] = quire_alloc_pages(
					q, 9,
					QUIRE_NOLOCK |
						zone_flags[zones == 1 ? 1
								      : z]));
		hold(&h, q);
		for (unsigned z = 0; z < zones; z++)
			assert_int_equal(
				quire_free_pages_nolock(q, pages[z], 9), 0);
		leave(&h);
		for (unsigned z = 0; z < zones; z++)
			assert_int_equal(zone_deferred_pages(q->zone[z]), 512);
		assert_int_equal(quire_destroy(q), 0);
		assert_int_equal(messages.count, 0);
	}
}

/* The last page, or a block that only deferred ones make whole. */
static void test_deferred_last(void **state)
{
	static const unsigned flags[] = { 0, QUIRE_NORETRY, QUIRE_NOLOCK };
	static struct quire_page *pages[4096];
	struct quire_options options = base_options(16u << 20);
	struct quire *q = create(&options);
	struct quire_page *page;
	struct holder h;

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(flags); i++) {
		assert_int_equal(
			quire_alloc_pages_bulk(q, 0, QUIRE_NOLOCK, 4096, pages),
			4096);
		hold(&h, q);
		assert_int_equal(quire_free_pages_nolock(q, pages[1234], 0), 0);
		leave(&h);
		page = quire_alloc_pages(q, 0, flags[i]);
		assert_ptr_equal(page, pages[1234]);
		hold(&h, q);
		assert_int_equal(quire_free_pages_nolock(q, page, 0), 0);
		leave(&h);
		page = quire_alloc_exact(q, 1, flags[i]);
		assert_ptr_equal(page, pages[1234]);
		hold(&h, q);
		for (int k = 0; k < 4096; k++)
			assert_int_equal(
				quire_free_pages_nolock(q, pages[k], 0), 0);
		assert_int_equal(stat_of(q).pages_live, 0);
		leave(&h);
		page = quire_alloc_pages(q, 12, flags[i]);
		assert_non_null(page);
		assert_int_equal(quire_free_pages(q, page, 12), 0);
	}
	assert_int_equal(stat_of(q).failures, 0);
	destroy(q);
}

/*
 * A page of the lower zone is freed while the call has that zone's lock and
 * waits for the upper one's. Then nothing else is free.
 */
static void test_deferred_while_held(void **state)
{
	enum { ALL = 2 * ZONE_PAGES };
	struct quire_options options = zone_options(2);
	static struct quire_page *pages[ALL];
	struct taker taker;
	struct quire *q;
	pthread_t thread;

	(void)state;
	q = taker.q = create(&options);
	assert_int_equal(quire_cpu_bind(q, 0), 0);
	assert_int_equal(quire_alloc_pages_bulk(q, 0, QUIRE_NOLOCK, ALL, pages),
			 ALL);
	assert_int_equal(zone_of(q, pages[ALL - 1]), 0);
	alarm(60);
	stop_at_last_walk(&taker, &thread);
	zone_lock(q->zone[1]);
	zone_unlock(q->zone[0]);
	wait_for_sleeper(&q->zone[1]->lock);
	assert_int_equal(quire_free_pages_nolock(q, pages[ALL - 1], 0), 0);
	assert_int_equal(zone_deferred_pages(q->zone[0]), 1);
	zone_unlock(q->zone[1]);
	pthread_join(thread, NULL);
	alarm(0);
	assert_ptr_equal(taker.page, pages[ALL - 1]);
	assert_int_equal(stat_of(q).failures, 0);
	assert_int_equal(quire_free_pages_bulk(q, 0, ALL, pages), ALL);
	destroy(q);
}

/* In a child, 0: or which step failed. */
static int child_with_deferred(struct quire *q, struct quire_page *mine)
{
	static struct quire_page *pages[8192];
	struct quire_stat stat;
	size_t n = 0;

	quire_stat(q, &stat, sizeof(stat));
	if (stat.pages_live != 1024 || stat.pages_free != 8192 - 1024)
		return 1;
	if (zone_deferred_pages(q->zone[0]) != DEFERRED_PAGES)
		return 2;
	if (quire_free_pages_nolock(q, mine, 10))
		return 3;
	while (n < 8192 && (pages[n] = quire_alloc_pages(q, 0, 0)))
		n++;
	if (n != 8192)
		return 4;
	if (quire_free_pages_bulk(q, 0, n, pages) != n)
		return 5;
	if (quire_drain_all(q) || quire_validate(q))
		return 6;
	return quire_destroy(q) ? 7 : 0;
}

static void test_deferred_fork(void **state)
{
	struct quire_options options = base_options(32u << 20);
	struct quire *q = create(&options);
	struct quire_page *mine = quire_alloc_pages(q, 10, 0);
	int status;
	pid_t pid;

	(void)state;
	defer_some(q);
	pid = fork();
	if (pid == 0)
		_exit(child_with_deferred(q, mine));
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(stat_of(q).pages_free, 8192 - 1024);
	assert_int_equal(quire_free_pages(q, mine, 10), 0);
	free_all_live(q);
	destroy(q);
}

/* --- counters --- */

struct looker {
	struct quire *q;
	struct quire_stat stat;
};

static void *look(void *arg)
{
	struct looker *looker = arg;

	looker->stat = stat_of(looker->q);
	return NULL;
}

/* What CPU 0 has parked goes to the zone. */
static void *unpark_pages(void *arg)
{
	struct other_cpu *other = arg;
	struct quire_page *pages[32];

	if (quire_cpu_bind(other->q, other->cpu) ||
	    quire_alloc_pages_bulk(other->q, 0, 0, other->park, pages) !=
		    other->park ||
	    quire_cpu_unbind(other->q) ||
	    quire_free_pages_bulk(other->q, 0, other->park, pages) !=
		    other->park)
		abort();
	return NULL;
}

/* Pages counted where they came from and again where they went do not make the
 * rest negative. */
static void test_stat_while_pages_move(void **state)
{
	struct quire_options options = base_options(16u << 20);
	struct quire *q = create(&options);
	struct other_cpu cpu0 = { q, 0, 32 }, cpu1 = { q, 1, 32 };
	struct looker looker = { .q = q };
	pthread_t thread;

	(void)state;
	run_thread(park_pages, &cpu0);
	run_thread(park_pages, &cpu1);
	lock_acquire(set_lock(q, 0, 1));
	assert_int_equal(pthread_create(&thread, NULL, look, &looker), 0);
	wait_for_sleeper(set_lock(q, 0, 1));
	run_thread(unpark_pages, &cpu0);
	lock_release(set_lock(q, 0, 1));
	pthread_join(thread, NULL);
	assert_int_equal(looker.stat.pages_parked, 64);
	assert_int_equal(looker.stat.pages_free, 4096 - 32);
	assert_int_equal(looker.stat.pages_live, 0);
	destroy(q);
}

/* --- what a new owner finds --- */

static void test_fresh_word(void **state)
{
	struct quire_options options = base_options(16u << 20);

	(void)state;
	for (int way = QUIRE_WAY_DEFAULT; way <= QUIRE_WAY_BOUND; way++) {
		struct quire *q;
		struct quire_page *page, *again;

		options.way = (enum quire_way)way;
		q = quire_create(&options);
		if (!q) /* rseq is not to be had */
			continue;
		page = quire_alloc_pages(q, 0, 0);
		assert_int_equal(quire_page_set_flags(page, 0xffff), 0);
		assert_int_equal(quire_page_get(q, page), 0);
		assert_int_equal(quire_free_pages(q, page, 0), 0);
		assert_int_equal(quire_page_count(q, page), 1);
		assert_int_equal(quire_page_flags(page), 0xffff);
		assert_int_equal(quire_page_put(q, page), 1);
		assert_int_equal(page_word(page) & PAGE_FLAGS_MASK, 0);
		while ((again = quire_alloc_pages(q, 0, 0)) != page)
			assert_non_null(again);
		assert_int_equal(quire_page_flags(again), 0);
		assert_int_equal(quire_page_count(q, again), 1);
		for (uint64_t pfn = 0; pfn < 4096; pfn++)
			if (quire_page_order(q, quire_pfn_to_page(q, pfn)) == 0)
				quire_free_pages(q, quire_pfn_to_page(q, pfn),
						 0);
		destroy(q);
	}
}

static void test_last_holder_frees(void **state)
{
	struct quire_options options = base_options(16u << 20);
	struct quire *q = create(&options);
	struct quire_page *page = quire_alloc_pages(q, 3, 0);

	(void)state;
	assert_int_equal(quire_free_pages(q, page, 2), -1);
	assert_int_equal(errno, EINVAL);
	assert_told(&messages, "free_pages: pfn ");
	assert_told(&messages, "the block has order 3");
	assert_int_equal(quire_page_put(q, page + 1), -1);
	assert_told(&messages, "page_put: pfn ");
	assert_int_equal(quire_page_get(q, page), 0);
	assert_int_equal(quire_free_pages(q, page, 3), 0);
	assert_int_equal(quire_page_order(q, page), 3);
	assert_int_equal(quire_page_put(q, page), 1);
	assert_int_equal(quire_page_order(q, page), -1);
	assert_int_equal(quire_free_pages(q, page, 3), -1);
	assert_int_equal(stat_of(q).refused, 3);
	destroy(q);
}

/* --- flags that contradict each other --- */

static void expect_flags_refused(struct quire *q, unsigned flags, int error,
				 const char *why)
{
	struct quire_page *page;
	char value[32];

	messages.count = 0;
	errno = 0;
	assert_null(quire_alloc_pages(q, 1, flags));
	assert_int_equal(errno, error);
	assert_int_equal(messages.count, 1);
	snprintf(value, sizeof(value), "flags 0x%x", flags);
	assert_told(&messages, why);
	assert_told(&messages, value);
	errno = 0;
	assert_null(quire_alloc_addr(q, 1, flags));
	assert_int_equal(errno, error);
	errno = 0;
	assert_int_equal(quire_alloc_pages_bulk(q, 1, flags, 1, &page), 0);
	assert_int_equal(errno, error);
	errno = 0;
	assert_null(quire_alloc_exact(q, 2, flags));
	assert_int_equal(errno, error);
	errno = 0;
	assert_null(quire_alloc_pages_with(q, 1, flags, NULL, 1));
	assert_int_equal(errno, error);
	messages.count = 0;
}

static void test_contradictions(void **state)
{
	static const struct {
		unsigned flags;
		const char *why;
	} bad[] = {
		{ QUIRE_NOLOCK | QUIRE_WAIT, "cannot wait" },
		{ QUIRE_NOLOCK | QUIRE_NOFAIL, "can fail" },
		{ QUIRE_ATOMIC | QUIRE_WAIT, "ATOMIC does not wait" },
		{ QUIRE_ATOMIC | QUIRE_NOFAIL, "ATOMIC does not wait" },
		{ QUIRE_NORETRY | QUIRE_WAIT, "waiting is to try again" },
		{ QUIRE_NORETRY | QUIRE_NOFAIL, "NORETRY is to fail" },
		{ QUIRE_MOVABLE | QUIRE_RECLAIMABLE, "one or the other" },
		{ QUIRE_DMA32 | QUIRE_DEVICE, "in one zone" },
		{ QUIRE_DEVICE | QUIRE_NOFAIL, "a device's pages" },
		{ QUIRE_CMA, "CMA is for movable pages" },
		{ QUIRE_CMA | QUIRE_RECLAIMABLE, "CMA is for movable pages" },
		{ QUIRE_NODE(1), "node 1 of 1" },
		{ QUIRE_NODE_MASK, "node 30 of 1" },
		{ 1u << 14, "unknown bits" },
		{ 1u << 15, "unknown bits" },
		{ 1u << 21, "unknown bits" },
		{ 1u << 31, "unknown bits" },
	};
	struct quire_options options = base_options(16u << 20);
	struct quire *q = create(&options);

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(bad); i++) {
		expect_flags_refused(q, bad[i].flags, EINVAL, bad[i].why);
		expect_flags_refused(q, bad[i].flags | QUIRE_ZERO | QUIRE_HIGH,
				     EINVAL, bad[i].why);
	}
	expect_flags_refused(q, QUIRE_ZERO | QUIRE_DEVICE, ENOTSUP,
			     "QUIRE_DEVICE, which quire never writes");
	assert_int_equal(stat_of(q).failures, 0);
	assert_int_equal(stat_of(q).pages_live, 0);
	destroy(q);
}

/* --- short of pages --- */

enum { SHORT_PAGES = 4096, SHORT_MIN = 256, SHORT_LOW = 320, LOG_MAX = 64 };

/* What the hooks were told and are to do. */
static struct {
	unsigned kicks, calls;
	struct quire_shrink last;
	uint64_t says;		   /* that it freed */
	unsigned from;		   /* the call from which on it frees ... */
	struct quire_page **pages; /* ... one of these */
	unsigned n;
	uint64_t parked; /* at the last call */
} hook;

static void hook_kick(struct quire *q, unsigned node)
{
	(void)q;
	assert_int_equal(node, 0);
	hook.kicks++;
}

static uint64_t hook_reclaim(struct quire *q, const struct quire_shrink *want)
{
	hook.calls++;
	hook.last = *want;
	hook.parked = stat_of(q).pages_parked;
	if (hook.n && hook.calls >= hook.from)
		assert_int_equal(quire_free_pages(q, hook.pages[--hook.n], 0),
				 0);
	return hook.says;
}

static void rearm(uint64_t says, unsigned from)
{
	hook.kicks = hook.calls = 0;
	hook.says = says;
	hook.from = from;
}

/* An allocator that keeps some pages back; its only thread has no lists. */
static struct quire *create_short(
	uint64_t (*reclaim)(struct quire *q, const struct quire_shrink *want))
{
	static struct quire_page *pages[SHORT_PAGES + 1];
	struct quire_options options =
		base_options(SHORT_PAGES * QUIRE_PAGE_SIZE);
	struct quire *q;

	options.min_free = SHORT_MIN * QUIRE_PAGE_SIZE;
	q = create(&options);
	assert_int_equal(q->zone[0]->marks.min, SHORT_MIN);
	assert_int_equal(q->zone[0]->marks.low, SHORT_LOW);
	memset(&hook, 0, sizeof(hook));
	hook.pages = pages;
	atomic_store(&q->hooks.kick, hook_kick);
	atomic_store(&q->hooks.reclaim, reclaim);
	return q;
}

static void take_until(struct quire *q, uint64_t free)
{
	while (stat_of(q).pages_free > free)
		assert_non_null(hook.pages[hook.n++] =
					quire_alloc_pages(q, 0, 0));
}

static void destroy_short(struct quire *q)
{
	assert_int_equal(quire_free_pages_bulk(q, 0, hook.n, hook.pages),
			 hook.n);
	destroy(q);
}

/* Above low nobody is told; below it each call wakes who reclaims; at min the
 * call has pages freed itself. */
static void test_step_marks(void **state)
{
	struct quire *q = create_short(hook_reclaim);
	struct quire_page *page;

	(void)state;
	take_until(q, SHORT_LOW);
	assert_int_equal(hook.kicks, 0);
	for (unsigned i = 1; i <= SHORT_LOW - SHORT_MIN; i++) {
		take_until(q, SHORT_LOW - i);
		assert_int_equal(hook.kicks, i);
	}
	assert_int_equal(hook.calls, 0);
	rearm(1, 1);
	page = quire_alloc_pages(q, 0, 0);
	assert_non_null(page);
	assert_int_equal(hook.kicks, 1);
	assert_int_equal(hook.calls, 1);
	assert_ptr_equal(hook.last.q, q);
	assert_int_equal(hook.last.node, 0);
	assert_int_equal(hook.last.order, 0);
	assert_int_equal(hook.last.pages, 32);
	assert_int_equal(stat_of(q).pages_free, SHORT_MIN);
	assert_int_equal(quire_free_pages(q, page, 0), 0);
	destroy_short(q);
}

/* What is asked of shrinkers follows the order; 32 pages at least. */
static void test_step_wants(void **state)
{
	struct quire *q = create_short(hook_reclaim);

	(void)state;
	take_until(q, SHORT_MIN);
	for (unsigned order = 0; order <= QUIRE_MAX_ORDER; order++) {
		rearm(0, 100);
		assert_null(quire_alloc_pages(q, order, 0));
		assert_int_equal(errno, ENOMEM);
		/* Nobody is asked for what no zone could ever hold. */
		if (1u << order > SHORT_PAGES) {
			assert_int_equal(hook.calls, 0);
			continue;
		}
		assert_int_equal(hook.calls, 1);
		assert_int_equal(hook.last.order, order);
		assert_int_equal(hook.last.pages, order < 5 ? 32 : 1u << order);
	}
	destroy_short(q);
}

/* Shrinkers that say they free and do not are believed for so long only. */
static void test_step_lying(void **state)
{
	struct quire *q = create_short(hook_reclaim);
	struct quire_page *page;
	uint64_t failures;

	(void)state;
	take_until(q, SHORT_MIN);
	failures = stat_of(q).failures;
	rearm(5, 100);
	errno = 0;
	assert_null(quire_alloc_pages(q, 0, 0));
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(hook.calls, 16);
	rearm(0, 100);
	assert_null(quire_alloc_pages(q, 0, 0));
	assert_int_equal(hook.calls, 1);
	assert_int_equal(stat_of(q).failures, failures + 2);
	for (unsigned from = 1; from <= 17; from++) {
		rearm(1, from);
		page = quire_alloc_pages(q, 0, 0);
		assert_int_equal(hook.calls, from < 16 ? from : 16);
		assert_int_equal(page != NULL, from <= 16);
		if (page)
			hook.pages[hook.n++] = page;
	}
	assert_int_equal(stat_of(q).pages_free, SHORT_MIN);
	destroy_short(q);
}

/* Pages on other CPUs' lists are found before shrinkers are called. */
static void test_step_drain(void **state)
{
	struct quire *q = create_short(hook_reclaim);
	struct other_cpu other = { q, 1, 32 };
	struct quire_page *page;

	(void)state;
	run_thread(park_pages, &other);
	assert_int_equal(stat_of(q).pages_parked, 32);
	take_until(q, SHORT_MIN);
	rearm(1, 1);
	page = quire_alloc_pages(q, 0, 0);
	assert_non_null(page);
	assert_int_equal(hook.calls, 0);
	assert_int_equal(stat_of(q).pages_parked, 0);
	assert_int_equal(stat_of(q).pages_free, SHORT_MIN + 31);
	assert_int_equal(quire_free_pages(q, page, 0), 0);
	destroy_short(q);
}

/* Who does not reclaim, and who does not even wake who does. */
static void test_step_not_taken(void **state)
{
	static const struct {
		unsigned flags, kicks;
		uint64_t left;
		int error;
	} calls[] = {
		{ QUIRE_NORETRY, 1, SHORT_MIN, ENOMEM },
		{ QUIRE_NOLOCK, 0, SHORT_MIN, EAGAIN },
		{ QUIRE_NOLOCK | QUIRE_NORETRY, 0, SHORT_MIN, EAGAIN },
		{ QUIRE_ATOMIC, 1, SHORT_MIN - SHORT_MIN / 4, ENOMEM },
		{ QUIRE_ATOMIC | QUIRE_NORETRY, 1, SHORT_MIN - SHORT_MIN / 4,
		  ENOMEM },
		{ QUIRE_ATOMIC | QUIRE_NOLOCK, 0, SHORT_MIN - SHORT_MIN / 4,
		  EAGAIN },
	};
	struct quire *q = create_short(hook_reclaim);

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(calls); i++) {
		take_until(q, SHORT_MIN);
		while ((hook.pages[hook.n] =
				quire_alloc_pages(q, 0, calls[i].flags)))
			hook.n++;
		assert_int_equal(stat_of(q).pages_free, calls[i].left);
		rearm(1, 1);
		errno = 0;
		assert_null(quire_alloc_pages(q, 0, calls[i].flags));
		assert_int_equal(errno, calls[i].error);
		assert_int_equal(hook.kicks, calls[i].kicks);
		assert_int_equal(hook.calls, 0);
		while (stat_of(q).pages_free < SHORT_MIN + 10)
			assert_int_equal(
				quire_free_pages(q, hook.pages[--hook.n], 0),
				0);
	}
	destroy_short(q);
}

/* A shrinker's own calls have the reserve, to its last page, and call none. */
static uint64_t hook_nested(struct quire *q, const struct quire_shrink *want)
{
	static const unsigned flags[] = { 0, QUIRE_WAIT, QUIRE_NOFAIL,
					  QUIRE_MOVABLE };
	unsigned before = hook.n;

	(void)want;
	hook.calls++;
	assert_false(alloc_in_reclaim());
	alloc_enter_reclaim();
	alloc_enter_reclaim();
	alloc_leave_reclaim();
	assert_true(alloc_in_reclaim());
	while ((hook.pages[hook.n] = quire_alloc_pages(q, 0, 0)))
		hook.n++;
	assert_int_equal(hook.n - before, SHORT_MIN);
	for (size_t i = 0; i < TEST_LENGTH(flags); i++) {
		errno = 0;
		assert_null(quire_alloc_pages(q, 0, flags[i]));
		assert_int_equal(errno, ENOMEM);
	}
	assert_int_equal(stat_of(q).pages_free, 0);
	while (hook.n > before)
		assert_int_equal(quire_free_pages(q, hook.pages[--hook.n], 0),
				 0);
	alloc_leave_reclaim();
	assert_false(alloc_in_reclaim());
	return 0;
}

static void test_in_reclaim(void **state)
{
	struct quire *q = create_short(hook_nested);

	(void)state;
	take_until(q, SHORT_MIN);
	assert_null(quire_alloc_pages(q, 0, 0));
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(hook.calls, 1);
	assert_int_equal(stat_of(q).waits, 0);
	assert_int_equal(stat_of(q).pages_free, SHORT_MIN);
	/* Outside again the reserve is not its own. */
	assert_null(quire_alloc_pages(q, 0, QUIRE_NORETRY));
	destroy_short(q);
}

/* Of what is kept each may use its share, whatever the call. */
static void test_shares(void **state)
{
	static const struct {
		unsigned flags, left;
	} shares[] = {
		{ 0, SHORT_MIN },
		{ QUIRE_MOVABLE, SHORT_MIN },
		{ QUIRE_NORETRY, SHORT_MIN },
		{ QUIRE_ATOMIC, SHORT_MIN * 3 / 4 },
		{ QUIRE_HIGH, SHORT_MIN / 2 },
		{ QUIRE_HIGH | QUIRE_ATOMIC, SHORT_MIN * 3 / 8 },
		{ QUIRE_MEMALLOC, 0 },
		{ QUIRE_MEMALLOC | QUIRE_HIGH | QUIRE_NORETRY, 0 },
	};

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(shares); i++)
		for (int way = 0; way < 3; way++) {
			struct quire *q = create_short(NULL);
			unsigned flags = shares[i].flags;

			if (way == 0)
				while ((hook.pages[hook.n] =
						quire_alloc_pages(q, 0, flags)))
					hook.n++;
			else if (way == 1)
				while ((hook.pages[hook.n] =
						quire_alloc_exact(q, 1, flags)))
					hook.n++;
			else
				hook.n = (unsigned)quire_alloc_pages_bulk(
					q, 0, flags, SHORT_PAGES, hook.pages);
			assert_int_equal(errno, ENOMEM);
			assert_int_equal(stat_of(q).pages_free, shares[i].left);
			destroy_short(q);
		}
}

/* Larger blocks: what is left is below the floor and a block. */
static void test_shares_of_orders(void **state)
{
	(void)state;
	for (unsigned order = 1; order < 10; order++) {
		struct quire *q = create_short(NULL);

		while ((hook.pages[hook.n] = quire_alloc_pages(q, order, 0)))
			hook.n++;
		assert_true(stat_of(q).pages_free >= SHORT_MIN);
		assert_true(stat_of(q).pages_free < SHORT_MIN + (1u << order));
		while (hook.n)
			assert_int_equal(quire_free_pages(q,
							  hook.pages[--hook.n],
							  order),
					 0);
		destroy(q);
	}
}

/* --- that cannot fail --- */

static void test_nofail_impossible(void **state)
{
	struct quire *q = create_short(hook_reclaim);

	(void)state;
	rearm(0, 100);
	for (unsigned order = 13; order <= QUIRE_MAX_ORDER; order++) {
		messages.count = 0;
		errno = 0;
		assert_null(quire_alloc_pages(q, order, QUIRE_NOFAIL));
		assert_int_equal(errno, EINVAL);
		assert_told(&messages, "could ever hold it");
	}
	errno = 0;
	assert_null(quire_alloc_exact(q, 4097, QUIRE_NOFAIL));
	assert_int_equal(errno, EINVAL);
	/* No such zone. */
	errno = 0;
	assert_null(quire_alloc_pages(q, 0, QUIRE_NOFAIL | QUIRE_DMA32));
	assert_int_equal(errno, EINVAL);
	assert_int_equal(stat_of(q).waits, 0);
	messages.count = 0;
	destroy_short(q);
}

/* It reclaims and waits, again and again, and is no failure meanwhile. */
static void test_nofail_reclaims(void **state)
{
	struct quire *q = create_short(hook_reclaim);
	struct quire_page *page;

	(void)state;
	take_until(q, SHORT_MIN);
	rearm(0, 3);
	page = quire_alloc_pages(q, 0, QUIRE_NOFAIL);
	assert_non_null(page);
	assert_int_equal(hook.calls, 3);
	assert_true(stat_of(q).waits >= 1);
	assert_int_equal(stat_of(q).failures, 0);
	assert_int_equal(stat_of(q).timeouts, 0);
	assert_int_equal(atomic_load(&q->zone[0]->owed), 0);
	assert_false(q->shut);
	assert_int_equal(quire_free_pages(q, page, 0), 0);
	destroy_short(q);
}

static void *take_nofail(void *arg)
{
	struct taker *taker = arg;

	taker->page = quire_alloc_pages(taker->q, 0, QUIRE_NOFAIL);
	return NULL;
}

/* With no shrinkers at all: until somebody frees. */
static void test_nofail_waits(void **state)
{
	const struct timespec pause = { .tv_nsec = 250000000 };
	struct taker taker = { .q = create_short(NULL) };
	struct quire *q = taker.q;
	pthread_t thread;

	(void)state;
	take_until(q, SHORT_MIN);
	assert_int_equal(pthread_create(&thread, NULL, take_nofail, &taker), 0);
	nanosleep(&pause, NULL);
	assert_null(taker.page);
	alarm(60);
	assert_int_equal(quire_free_pages(q, hook.pages[--hook.n], 0), 0);
	pthread_join(thread, NULL);
	alarm(0);
	assert_non_null(taker.page);
	assert_int_equal(quire_free_pages(q, taker.page, 0), 0);
	destroy_short(q);
}

/* --- what is kept of zones --- */

/* Each zone down to its low watermark, then each to the last page. */
static void test_zones_by_marks(void **state)
{
	static struct quire_page *pages[3 * ZONE_PAGES + 1];
	struct quire_options options = zone_options(3);
	uint64_t low, first;
	struct quire *q;
	unsigned n = 0;

	(void)state;
	options.watermark_scale = 100;
	q = create(&options);
	low = q->zone[0]->marks.low;
	assert_int_equal(low, 40);
	first = ZONE_PAGES - low;
	for (; (pages[n] = quire_alloc_pages(q, 0, QUIRE_MOVABLE)); n++) {
		unsigned z = n < 3 * first ? 2 - n / (unsigned)first
					   : 2 - (n - 3 * (unsigned)first) /
							     (unsigned)low;

		assert_int_equal(zone_of(q, pages[n]), z);
		if (n + 1 == 3 * ZONE_PAGES)
			break;
	}
	assert_int_equal(n + 1, 3 * ZONE_PAGES);
	assert_int_equal(quire_free_pages_bulk(q, 0, n + 1, pages), n + 1);
	destroy(q);
}

/* Calls that could have gone higher leave a zone some of its pages. */
static void test_zones_lowmem(void **state)
{
	static struct quire_page *pages[3 * ZONE_PAGES + 1];
	struct quire_options options = zone_options(3);
	unsigned n = 0, movable, normal;
	struct quire *q;

	(void)state;
	for (int i = 0; i < QUIRE_NR_ZONES; i++)
		options.lowmem_ratio[i] = 0;
	q = create(&options);
	/* DMA32: 1/256 of what is above; NORMAL 1/32. */
	while ((pages[n] = quire_alloc_pages(q, 0, QUIRE_MOVABLE)))
		n++;
	movable = n;
	assert_int_equal(zone_free_pages(q->zone[2]), 0);
	assert_int_equal(zone_free_pages(q->zone[1]), ZONE_PAGES / 32);
	assert_int_equal(zone_free_pages(q->zone[0]), 2 * ZONE_PAGES / 256);
	while ((pages[n] = quire_alloc_pages(q, 0, 0)))
		n++;
	normal = n - movable;
	assert_int_equal(normal, ZONE_PAGES / 32 + ZONE_PAGES / 256);
	assert_int_equal(zone_free_pages(q->zone[1]), 0);
	while ((pages[n] = quire_alloc_pages(q, 0, QUIRE_DMA32)))
		n++;
	assert_int_equal(n - movable - normal, ZONE_PAGES / 256);
	assert_int_equal(n, 3 * ZONE_PAGES);
	assert_int_equal(quire_free_pages_bulk(q, 0, n, pages), n);
	destroy(q);
}

/* --- what is kept for some --- */

enum { KEPT_BLOCKS = 100, KEPT_PAGES = KEPT_BLOCKS * BLOCK_UNITS };

static struct quire *create_offsets(uint64_t cma)
{
	struct quire_options options =
		base_options(KEPT_PAGES * QUIRE_PAGE_SIZE);

	options.flags = QUIRE_OFFSETS;
	options.cma_size = cma;
	return create(&options);
}

/* Atomic calls keep a block back; before a call fails it is anybody's. */
static void test_highatomic(void **state)
{
	static struct quire_page *pages[KEPT_PAGES + 1];
	struct quire *q = create_offsets(0);
	struct zone *zone = q->zone[0];
	struct quire_page *atomic[2];
	unsigned n = 0;

	(void)state;
	assert_int_equal(quire_cpu_bind(q, 0), 0);
	atomic[0] = quire_alloc_pages(q, 1, QUIRE_ATOMIC);
	assert_int_equal(page_type(page_word(atomic[0])),
			 QUIRE_TYPE_HIGHATOMIC);
	assert_int_equal(zone->highatomic, 1);
	n = (unsigned)quire_alloc_pages_bulk(q, 0, QUIRE_NORETRY, KEPT_PAGES,
					     pages);
	assert_int_equal(n, KEPT_PAGES - 512);
	assert_int_equal(stat_of(q).pages_free, 510);
	assert_null(quire_alloc_pages(q, 0, QUIRE_ATOMIC | QUIRE_NORETRY));
	atomic[1] = quire_alloc_pages(q, 1, QUIRE_ATOMIC | QUIRE_NOLOCK);
	assert_int_equal(page_type(page_word(atomic[1])),
			 QUIRE_TYPE_HIGHATOMIC);
	/* Freed past the lists. */
	assert_int_equal(quire_free_pages(q, atomic[1], 1), 0);
	assert_int_equal(stat_of(q).pages_free, 510);
	assert_int_equal(stat_of(q).pages_parked, 0);
	while (n < KEPT_PAGES - 2)
		assert_non_null(pages[n++] = quire_alloc_pages(q, 0, 0));
	assert_int_equal(zone->highatomic, 0);
	assert_null(quire_alloc_pages(q, 0, 0));
	assert_int_equal(quire_free_pages(q, atomic[0], 1), 0);
	assert_int_equal(quire_free_pages_bulk(q, 0, n, pages), n);
	destroy(q);
}

/* CMA blocks serve who allows it, and nobody else. */
static void test_cma(void **state)
{
	static struct quire_page *pages[KEPT_PAGES + 1];
	struct quire *q = create_offsets(10 * BLOCK_UNITS * QUIRE_PAGE_SIZE);
	unsigned n = 0;

	(void)state;
	assert_int_equal(q->zone[0]->free_type[QUIRE_TYPE_CMA], 5120);
	n = (unsigned)quire_alloc_pages_bulk(q, 0, QUIRE_MOVABLE, KEPT_PAGES,
					     pages);
	assert_int_equal(n, KEPT_PAGES - 5120);
	assert_null(quire_alloc_pages(q, 0, 0));
	assert_null(quire_alloc_pages(q, 0, QUIRE_MOVABLE));
	assert_null(quire_alloc_pages(q, 0, QUIRE_MEMALLOC));
	assert_null(quire_alloc_exact(q, 1, QUIRE_MOVABLE | QUIRE_CMA));
	for (unsigned i = 0; i < 5120; i++) {
		pages[n] = quire_alloc_pages(q, 0, QUIRE_MOVABLE | QUIRE_CMA);
		assert_non_null(pages[n]);
		assert_int_equal(page_type(page_word(pages[n++])),
				 QUIRE_TYPE_CMA);
	}
	assert_null(quire_alloc_pages(q, 0, QUIRE_MOVABLE | QUIRE_CMA));
	assert_int_equal(quire_free_pages_bulk(q, 0, n, pages), n);
	assert_int_equal(q->zone[0]->free_type[QUIRE_TYPE_CMA], 5120);
	destroy(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_zero),
		cmocka_unit_test(test_zero_in_lists),
		cmocka_unit_test(test_zero_bulk_and_exact),
		cmocka_unit_test(test_zero_of_callers),
		cmocka_unit_test(test_race),
		cmocka_unit_test(test_race_exact),
		cmocka_unit_test(test_zone_order),
		cmocka_unit_test(test_zone_order_bulk_and_exact),
		cmocka_unit_test(test_zone_flags),
		cmocka_unit_test(test_noretry),
		cmocka_unit_test(test_retry_merges),
		cmocka_unit_test(test_zones_asked_at_once),
		cmocka_unit_test(test_nolock_busy),
		cmocka_unit_test(test_nolock_by_list),
		cmocka_unit_test(test_nolock_bulk_in_part),
		cmocka_unit_test(test_nolock_zero),
		cmocka_unit_test(test_nolock_zones),
		cmocka_unit_test(test_nolock_drains_nobody),
		cmocka_unit_test(test_nolock_invalid),
		cmocka_unit_test(test_free_nolock_misuse),
		cmocka_unit_test(test_deferred_next_call),
		cmocka_unit_test(test_deferred_destroy),
		cmocka_unit_test(test_deferred_last),
		cmocka_unit_test(test_deferred_while_held),
		cmocka_unit_test(test_deferred_fork),
		cmocka_unit_test(test_stat_while_pages_move),
		cmocka_unit_test(test_fresh_word),
		cmocka_unit_test(test_last_holder_frees),
		cmocka_unit_test(test_contradictions),
		cmocka_unit_test(test_step_marks),
		cmocka_unit_test(test_step_wants),
		cmocka_unit_test(test_step_lying),
		cmocka_unit_test(test_step_drain),
		cmocka_unit_test(test_step_not_taken),
		cmocka_unit_test(test_in_reclaim),
		cmocka_unit_test(test_shares),
		cmocka_unit_test(test_shares_of_orders),
		cmocka_unit_test(test_nofail_impossible),
		cmocka_unit_test(test_nofail_reclaims),
		cmocka_unit_test(test_nofail_waits),
		cmocka_unit_test(test_zones_by_marks),
		cmocka_unit_test(test_zones_lowmem),
		cmocka_unit_test(test_highatomic),
		cmocka_unit_test(test_cma),
		/* Last: an emulator keeps tables of a TiB that was mapped, and
		 * a fork would copy them. */
		cmocka_unit_test(test_first_hugepage),
	};

	return cmocka_run_group_tests_name("page_alloc", tests, NULL, NULL);
}
