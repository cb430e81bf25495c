/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every fault point, at every place it is asked: creation either succeeds or
 * fails with errno, a message and the address space as before; operation gives
 * right answers, and in the end every page is free again.
 */
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "instance/allocator.h"
#include "platform/fault.h"

static struct test_messages messages = TEST_MESSAGES_INIT;

static struct quire_options base_options(enum quire_way way)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;

	messages.count = 0;
	options.size = 64u << 20;
	options.cpus = 2;
	options.way = way;
	options.backing[0] = QUIRE_BACKING_BASE;
	options.report = test_catch;
	options.report_arg = &messages;
	return options;
}

/* --- creation --- */

/* A page through all its life: what was created works. */
static void use_and_destroy(struct quire *q)
{
	struct quire_page *page = quire_alloc_pages(q, 1, 0);

	assert_non_null(page);
	assert_int_equal(quire_free_pages(q, page, 1), 0);
	assert_int_equal(quire_validate(q), 0);
	assert_int_equal(quire_destroy(q), 0);
}

/* Whether the point was asked more than `skip` times during creation. */
static bool create_faulty(const struct quire_options *options,
			  enum fault_point point, int skip, int times)
{
	static char before[TEST_MAPS_MAX], after[TEST_MAPS_MAX];
	struct quire *q;
	bool hit;

	messages.count = 0;
	test_read_maps(before);
	fault_arm(point, skip, times);
	errno = 0;
	q = quire_create(options);
	hit = atomic_load(&faults[point].times) < times;
	fault_disarm_all();
	if (q) {
		use_and_destroy(q);
	} else {
		assert_true(hit);
		assert_true(errno == ENOMEM || errno == ENOTSUP ||
			    errno == EAGAIN || errno == ENOSYS);
		if (messages.count == 0)
			fail_msg("point %d, question %d: failed silently",
				 point, skip);
	}
	test_read_maps(after);
	if (!TEST_SANITIZED)
		assert_string_equal(before, after);
	return hit;
}

/* Returns how often the point was asked. */
static int each_question(const struct quire_options *options,
			 enum fault_point point)
{
	int asked = 0;

	while (create_faulty(options, point, asked, 1)) {
		create_faulty(options, point, asked, 1000);
		asked++;
		assert_true(asked < 200);
	}
	return asked;
}

/* What each way of creating asks; `asked` gathers the questions. */
static void create_all_points(const struct quire_options *options,
			      int asked[NR_FAULT_POINTS])
{
	struct quire *q = quire_create(options);

	/* Not to be had here: nothing to make fail. */
	if (!q)
		return;
	use_and_destroy(q);
	for (int point = 0; point < NR_FAULT_POINTS; point++)
		asked[point] += each_question(options, (enum fault_point)point);
}

static void test_create(void **state)
{
	int asked[NR_FAULT_POINTS] = { 0 };

	(void)state;
	for (int way = QUIRE_WAY_RSEQ; way <= QUIRE_WAY_BOUND; way++) {
		struct quire_options options =
			base_options((enum quire_way)way);

		options.flags = QUIRE_PREFAULT | QUIRE_MLOCK | QUIRE_DONTFORK;
		options.size = 4u << 20;
		create_all_points(&options, asked);
	}
	assert_true(asked[FAULT_MAP] >= 2);
	assert_true(asked[FAULT_MADVISE] >= 2);
	assert_true(asked[FAULT_MLOCK] >= 1);
	assert_true(asked[FAULT_POPULATE] >= 1);
	assert_true(asked[FAULT_KEY] >= 1);
	assert_true(asked[FAULT_MEMBLOCK] >= 8);
}

static void test_create_offsets(void **state)
{
	int asked[NR_FAULT_POINTS] = { 0 };
	struct quire_options options = base_options(QUIRE_WAY_DEFAULT);

	(void)state;
	options.flags = QUIRE_OFFSETS;
	options.size = UINT64_C(1) << 36;
	options.zone_size[QUIRE_ZONE_DMA32] = 2u << 20;
	options.zone_size[QUIRE_ZONE_MOVABLE] = 2u << 20;
	create_all_points(&options, asked);
	assert_true(asked[FAULT_MEMBLOCK] >= 14);
}

static void test_create_callers(void **state)
{
	int asked[NR_FAULT_POINTS] = { 0 };
	struct quire_options options = base_options(QUIRE_WAY_BOUND);
	char *region = mmap(NULL, 4u << 20, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_ptr_not_equal(region, MAP_FAILED);
	region[7] = 9;
	options.address = region;
	options.size = 4u << 20;
	options.flags = QUIRE_MLOCK | QUIRE_PREFAULT;
	create_all_points(&options, asked);
	assert_true(asked[FAULT_MLOCK] >= 1 && asked[FAULT_POPULATE] >= 1);
	assert_int_equal(region[7], 9);
	munmap(region, 4u << 20);
}

/* Without its membarrier, rseq is refused when asked for and else replaced. */
static void test_no_membarrier(void **state)
{
	struct quire_options options = base_options(QUIRE_WAY_DEFAULT);
	struct quire_info info;
	struct quire *q;

	(void)state;
	fault_arm(FAULT_MEMBARRIER, 0, 1000);
	q = quire_create(&options);
	assert_non_null(q);
	quire_info(q, &info, sizeof(info));
	assert_int_equal(info.way, QUIRE_WAY_TRYLOCK);
	use_and_destroy(q);
	options.way = QUIRE_WAY_RSEQ;
	assert_null(quire_create(&options));
	assert_int_equal(errno, ENOTSUP);
	assert_told(&messages, "way rseq cannot be had");
	fault_disarm_all();
}

/* --- operation --- */

static struct quire_stat stat_of(struct quire *q)
{
	struct quire_stat stat;

	assert_int_equal(quire_stat(q, &stat, sizeof(stat)), 0);
	return stat;
}

static struct quire *create_bound(enum quire_way way)
{
	struct quire_options options = base_options(way);
	struct quire *q;

	options.decay_ms = 1;
	q = quire_create(&options);
	if (q && way == QUIRE_WAY_BOUND)
		assert_int_equal(quire_cpu_bind(q, 0), 0);
	messages.count = 0;
	return q;
}

/* Nobody holds a page: all are free, and the tables are sound. */
static void finish(struct quire *q)
{
	fault_disarm_all();
	assert_int_equal(quire_drain_all(q), 0);
	assert_int_equal(stat_of(q).pages_free, stat_of(q).pages);
	if (quire_validate(q) != 0)
		fail_msg("%s", messages.text[0]);
	assert_int_equal(quire_destroy(q), 0);
}

struct live {
	struct quire_page *page;
	unsigned order; /* EXACT: a run of that many pages */
};

enum { MAX_LIVE = 400, EXACT = 1000 };

struct play {
	struct quire *q;
	struct test_rng rng;
	struct live live[MAX_LIVE];
	unsigned n;
	bool fence_fails;
	uint64_t pages, failed;
};

static uint64_t pages_of(const struct live *live)
{
	return live->order >= EXACT ? live->order - EXACT
				    : UINT64_C(1) << live->order;
}

static void play_take(struct play *p)
{
	struct live *live = &p->live[p->n];

	live->order = (unsigned)test_below(&p->rng, 6);
	if (test_below(&p->rng, 4)) {
		live->page = quire_alloc_pages(p->q, live->order, 0);
	} else {
		size_t pages = 1 + test_below(&p->rng, 40);

		live->page = quire_alloc_exact(p->q, pages, 0);
		live->order = EXACT + (unsigned)pages;
	}
	if (!live->page) {
		assert_int_equal(errno, ENOMEM);
		p->failed++;
		return;
	}
	p->pages += pages_of(live);
	p->n++;
}

static void play_bulk(struct play *p)
{
	struct quire_page *pages[100];
	size_t want = 1 + test_below(&p->rng, TEST_LENGTH(pages));
	size_t got = quire_alloc_pages_bulk(p->q, 0, 0, want, pages);

	assert_true(got <= want);
	if (got < want) {
		assert_int_equal(errno, ENOMEM);
		p->failed++;
	}
	assert_int_equal(quire_free_pages_bulk(p->q, 0, got, pages), got);
}

static void play_give(struct play *p)
{
	size_t at = test_below(&p->rng, p->n);
	struct live live = p->live[at];

	if (live.order >= EXACT)
		assert_int_equal(
			quire_free_exact(p->q, live.page, live.order - EXACT),
			0);
	else
		assert_int_equal(quire_free_pages(p->q, live.page, live.order),
				 0);
	p->pages -= pages_of(&live);
	p->live[at] = p->live[--p->n];
}

static void play_step(struct play *p)
{
	uint64_t dice = test_below(&p->rng, 100);

	if (dice == 0)
		assert_true(quire_drain_all(p->q) == 0 || p->fence_fails);
	else if (dice == 1)
		assert_true(quire_maintain(p->q) >= 0);
	else if (dice < 5)
		play_bulk(p);
	else if (p->n < MAX_LIVE && (p->n == 0 || dice % 2))
		play_take(p);
	else
		play_give(p);
}

static void play_faulty(enum quire_way way, enum fault_point point)
{
	static struct play p;
	const unsigned steps = TEST_SANITIZED ? 2000 : 20000;

	p = (struct play){ .q = create_bound(way),
			   .rng = { point },
			   .fence_fails = point == FAULT_MEMBARRIER };
	if (!p.q) /* rseq is not to be had */
		return;
	for (unsigned step = 0; step < steps; step++) {
		if (test_below(&p.rng, 4) == 0)
			fault_arm(point, (int64_t)test_below(&p.rng, 4),
				  1 + (int64_t)test_below(&p.rng, 3));
		play_step(&p);
		assert_int_equal(stat_of(p.q).pages_live, p.pages);
		if (step % (steps / 10) == 0)
			assert_int_equal(quire_validate(p.q), 0);
	}
	/* There is always memory: only a zone that says no can make it fail. */
	if (point != FAULT_ZONE)
		assert_int_equal(p.failed, 0);
	else
		assert_int_not_equal(p.failed, 0);
	assert_int_equal(stat_of(p.q).failures, p.failed);
	for (size_t i = 0; i < messages.count && i < TEST_MESSAGES; i++)
		assert_non_null(strstr(messages.text[i], "membarrier for CPU"));
	while (p.n)
		play_give(&p);
	finish(p.q);
}

static void test_operation(void **state)
{
	static const enum fault_point points[] = { FAULT_ZONE, FAULT_PCP_LOCK,
						   FAULT_PCP_CPU,
						   FAULT_MEMBARRIER };

	(void)state;
	for (int way = QUIRE_WAY_RSEQ; way <= QUIRE_WAY_BOUND; way++)
		for (size_t i = 0; i < TEST_LENGTH(points); i++)
			play_faulty((enum quire_way)way, points[i]);
}

/* A zone that always says no: a failure changes nothing but its count. */
static void test_zone_says_no(void **state)
{
	(void)state;
	for (int way = QUIRE_WAY_RSEQ; way <= QUIRE_WAY_BOUND; way++) {
		struct quire *q = create_bound((enum quire_way)way);
		struct quire_page *page;

		if (!q)
			continue;
		fault_arm(FAULT_ZONE, 0, 1000000);
		for (unsigned order = 0; order <= QUIRE_MAX_ORDER; order++) {
			errno = 0;
			assert_null(quire_alloc_pages(q, order, 0));
			assert_int_equal(errno, ENOMEM);
		}
		assert_null(quire_alloc_exact(q, 5, 0));
		assert_int_equal(quire_alloc_pages_bulk(q, 0, 0, 1, &page), 0);
		assert_int_equal(stat_of(q).failures, QUIRE_NR_ORDERS + 2);
		assert_int_equal(stat_of(q).pages_free, stat_of(q).pages);
		fault_disarm_all();
		page = quire_alloc_pages(q, 0, 0);
		assert_non_null(page);
		assert_int_equal(quire_free_pages(q, page, 0), 0);
		finish(q);
	}
}

/* A drain whose membarrier fails leaves the lists as they are, and says so. */
static void test_drain_without_fence(void **state)
{
	struct quire *q = create_bound(QUIRE_WAY_RSEQ);
	struct quire_page *page;
	uint64_t parked;

	(void)state;
	if (!q)
		skip();
	page = quire_alloc_pages(q, 0, 0);
	assert_int_equal(quire_free_pages(q, page, 0), 0);
	parked = stat_of(q).pages_parked;
	assert_true(parked > 0);
	fault_arm(FAULT_MEMBARRIER, 0, 1000);
	assert_int_equal(quire_drain_all(q), -1);
	assert_int_equal(errno, ENOSYS);
	assert_int_equal(quire_destroy(q), -1);
	assert_int_equal(errno, ENOSYS);
	assert_told(&messages, "membarrier for CPU");
	assert_int_equal(stat_of(q).pages_parked, parked);
	assert_int_equal(quire_validate(q), 0);
	page = quire_alloc_pages(q, 0, 0);
	assert_non_null(page);
	assert_int_equal(quire_free_pages(q, page, 0), 0);
	finish(q);
}

/* --- several threads --- */

enum { THREADS = 3 };

struct worker {
	struct quire *q;
	unsigned number;
	bool bind;
	_Atomic unsigned *running;
	uint64_t failed;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	struct test_rng rng = { w->number };
	struct quire_page *pages[64];
	unsigned n = 0, order = w->number % 2;

	if (w->bind && w->number < 2 && quire_cpu_bind(w->q, w->number))
		w->failed++;
	for (unsigned i = 0; i < (TEST_SANITIZED ? 5000 : 60000); i++) {
		if (n < TEST_LENGTH(pages) && (n == 0 || test_below(&rng, 2))) {
			pages[n] = quire_alloc_pages(w->q, order, 0);
			if (pages[n])
				n++;
			else
				w->failed++;
		} else if (quire_free_pages(w->q, pages[--n], order)) {
			w->failed++;
		}
	}
	while (n)
		if (quire_free_pages(w->q, pages[--n], order))
			w->failed++;
	atomic_fetch_sub(w->running, 1);
	return NULL;
}

static void threads_in_way(enum quire_way way)
{
	static const enum fault_point points[] = { FAULT_PCP_LOCK,
						   FAULT_PCP_CPU,
						   FAULT_MEMBARRIER };
	struct quire_options options = base_options(way);
	_Atomic unsigned running = THREADS;
	struct worker workers[THREADS];
	pthread_t threads[THREADS];
	struct test_rng rng = { 7 };
	struct quire *q;

	options.decay_ms = 1;
	q = quire_create(&options);
	if (!q)
		return;
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ q, i, way == QUIRE_WAY_BOUND,
					      &running, 0 };
		assert_int_equal(
			pthread_create(&threads[i], NULL, work, &workers[i]),
			0);
	}
	while (atomic_load(&running)) {
		fault_arm(points[test_below(&rng, TEST_LENGTH(points))],
			  (int64_t)test_below(&rng, 10), 3);
		if (test_below(&rng, 4) == 0)
			quire_drain_all(q);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(workers[i].failed, 0);
	assert_int_equal(stat_of(q).allocs, stat_of(q).frees);
	finish(q);
}

static void test_threads(void **state)
{
	(void)state;
	for (int way = QUIRE_WAY_RSEQ; way <= QUIRE_WAY_BOUND; way++)
		threads_in_way((enum quire_way)way);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create),
		cmocka_unit_test(test_create_offsets),
		cmocka_unit_test(test_create_callers),
		cmocka_unit_test(test_no_membarrier),
		cmocka_unit_test(test_operation),
		cmocka_unit_test(test_zone_says_no),
		cmocka_unit_test(test_drain_without_fence),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests_name("faults", tests, NULL, NULL);
}
