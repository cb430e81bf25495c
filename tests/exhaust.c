/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * No false failure: threads that together ask for no more than there is must
 * never see ENOMEM, wherever the free pages are parked or on their way.
 *
 *  - shares: each of N threads takes exactly 1/N of all pages, then frees the
 *    share of another; many rounds;
 *  - mixed: the same in several orders, the larger first. After a round of one
 *    order all that is free lies in aligned runs of that order, so whatever the
 *    threads do, the next smaller order fits exactly;
 *  - turnover: nearly every page is live; each thread frees a few and takes a
 *    few, mostly pages that another has just freed on another CPU.
 *
 * All of it also with renewal of everything, when what was freed on a CPU is
 * not where it looks first.
 */
#include "testing.h"

#include <errno.h>
#include <stdatomic.h>

#include "quire/quire.h"

enum { THREADS = 4, PAGES = 16384, SHARE = PAGES / THREADS };

struct worker {
	struct shared *shared;
	unsigned number;
	struct test_rng rng;
	struct quire_page *pages[PAGES]; /* what it holds */
	uint64_t failed;		 /* calls that went wrong */
};

struct how {
	enum quire_way way;
	unsigned renew;
};

/* Blocks of one order that each thread takes in a round. */
struct step {
	unsigned order;
	size_t blocks;
};

struct shared {
	struct quire *q;
	struct how how;
	unsigned rounds;
	const struct step *steps;
	size_t nr_steps;
	_Atomic size_t spare; /* turnover: free pages that none has claimed */
	pthread_barrier_t barrier;
	struct worker workers[THREADS];
	struct test_messages messages;
};

static void take(struct worker *w, unsigned order, size_t at, size_t n)
{
	for (size_t i = at; i < at + n; i++) {
		w->pages[i] = quire_alloc_pages(w->shared->q, order, 0);
		if (!w->pages[i])
			w->failed++;
	}
}

static void give(struct worker *w, struct worker *from, unsigned order,
		 size_t at, size_t n)
{
	struct quire_page **pages = from->pages + at;

	for (size_t i = n; i > 0; i--) {
		size_t j = test_below(&w->rng, i);
		struct quire_page *page = pages[j];

		pages[j] = pages[i - 1];
		if (page && quire_free_pages(w->shared->q, page, order))
			w->failed++;
	}
}

static void play_rounds(struct worker *w)
{
	struct shared *s = w->shared;
	struct worker *next = &s->workers[(w->number + 1) % THREADS];

	for (unsigned round = 0; round < s->rounds; round++) {
		size_t at = 0;

		for (size_t i = 0; i < s->nr_steps; i++) {
			pthread_barrier_wait(&s->barrier);
			take(w, s->steps[i].order, at, s->steps[i].blocks);
			at += s->steps[i].blocks;
		}
		pthread_barrier_wait(&s->barrier);
		at = 0;
		for (size_t i = 0; i < s->nr_steps; i++) {
			give(w, next, s->steps[i].order, at,
			     s->steps[i].blocks);
			at += s->steps[i].blocks;
		}
	}
}

/* Takes up to n of the pages that are free and promised to nobody. */
static size_t claim(_Atomic size_t *spare, size_t n)
{
	size_t there = atomic_load(spare);

	do {
		if (n > there)
			n = there;
	} while (!atomic_compare_exchange_weak(spare, &there, there - n));
	return n;
}

static void play_turnover(struct worker *w)
{
	struct shared *s = w->shared;
	size_t held = SHARE;

	take(w, 0, 0, SHARE);
	pthread_barrier_wait(&s->barrier);
	for (unsigned round = 0; round < s->rounds * SHARE; round++) {
		size_t n = 1 + test_below(&w->rng, 3);

		if (n > held)
			n = held;
		held -= n;
		give(w, w, 0, held, n);
		atomic_fetch_add(&s->spare, n);
		n = claim(&s->spare, 1 + test_below(&w->rng, 3));
		take(w, 0, held, n);
		held += n;
	}
	pthread_barrier_wait(&s->barrier);
	give(w, w, 0, 0, held);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct shared *s = w->shared;

	if (s->how.way == QUIRE_WAY_BOUND && quire_cpu_bind(s->q, w->number))
		w->failed++;
	if (s->steps)
		play_rounds(w);
	else
		play_turnover(w);
	return NULL;
}

static bool shared_create(struct shared *s)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;

	test_messages_init(&s->messages);
	options.size = PAGES * QUIRE_PAGE_SIZE;
	options.way = s->how.way;
	options.renew = s->how.renew;
	if (s->how.way == QUIRE_WAY_BOUND)
		options.cpus = THREADS;
	options.report = test_catch;
	options.report_arg = &s->messages;
	s->q = quire_create(&options);
	if (!s->q && errno == ENOTSUP && s->how.way == QUIRE_WAY_RSEQ)
		return false;
	assert_non_null(s->q);
	s->messages.count = 0;
	return true;
}

static void expect_whole(struct shared *s)
{
	uint64_t runs[QUIRE_NR_ORDERS], pages = 0;
	struct quire_stat stat;

	assert_int_equal(quire_validate(s->q), 0);
	assert_int_equal(quire_drain_all(s->q), 0);
	assert_int_equal(quire_free_runs(s->q, runs), 0);
	assert_int_equal(quire_stat(s->q, &stat, sizeof(stat)), 0);
	for (unsigned k = 0; k < QUIRE_NR_ORDERS; k++)
		pages += k < 9 ? 0 : runs[k] << k;
	assert_int_equal(pages, PAGES);
	assert_int_equal(stat.pages_free, PAGES);
	assert_int_equal(stat.allocs, stat.frees);
	assert_int_equal(stat.failures, 0);
	assert_int_equal(s->messages.count, 0);
}

static void run(const struct how *how, const struct step *steps,
		size_t nr_steps, unsigned rounds)
{
	static struct shared shared;
	struct shared *s = &shared;
	struct test_rng rng = test_seed();
	pthread_t threads[THREADS];

	memset(s, 0, sizeof(*s));
	s->how = *how;
	s->steps = steps;
	s->nr_steps = nr_steps;
	s->rounds = rounds;
	if (!shared_create(s))
		skip();
	pthread_barrier_init(&s->barrier, NULL, THREADS);
	for (unsigned i = 0; i < THREADS; i++) {
		s->workers[i].shared = s;
		s->workers[i].number = i;
		s->workers[i].rng.state = test_random(&rng);
	}
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, worker_main,
						&s->workers[i]),
				 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(s->workers[i].failed, 0);
	expect_whole(s);
	pthread_barrier_destroy(&s->barrier);
	assert_int_equal(quire_destroy(s->q), 0);
}

static struct how hows[] = {
	{ QUIRE_WAY_RSEQ, 0 },	  { QUIRE_WAY_RSEQ, QUIRE_RENEW_MAX },
	{ QUIRE_WAY_TRYLOCK, 0 }, { QUIRE_WAY_TRYLOCK, QUIRE_RENEW_MAX },
	{ QUIRE_WAY_BOUND, 0 },	  { QUIRE_WAY_BOUND, QUIRE_RENEW_MAX },
};

static unsigned rounds(unsigned n)
{
	return (unsigned)test_setting("QUIRE_TEST_ROUNDS",
				      TEST_SANITIZED ? n / 10 + 1 : n);
}

static void test_shares(void **state)
{
	static const struct step steps[] = { { 0, SHARE } };

	run(*state, steps, TEST_LENGTH(steps), rounds(100));
}

static void test_mixed(void **state)
{
	static const struct step steps[] = {
		{ 10, 1 }, { 9, 2 },   { 5, 30 },
		{ 3, 40 }, { 1, 200 }, { 0, SHARE - 2048 - 960 - 320 - 400 },
	};

	run(*state, steps, TEST_LENGTH(steps), rounds(100));
}

static void test_turnover(void **state)
{
	run(*state, NULL, 0, rounds(100));
}

#define TEST_WAYS(name)                                                        \
	{ #name " rseq", name, NULL, NULL, &hows[0] },                         \
		{ #name " rseq renewed", name, NULL, NULL, &hows[1] },         \
		{ #name " trylock", name, NULL, NULL, &hows[2] },              \
		{ #name " trylock renewed", name, NULL, NULL, &hows[3] },      \
		{ #name " bound", name, NULL, NULL, &hows[4] },                \
	{                                                                      \
#name " bound renewed", name, NULL, NULL, &hows[5]             \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_WAYS(test_shares),
		TEST_WAYS(test_mixed),
		TEST_WAYS(test_turnover),
	};

	return cmocka_run_group_tests_name("exhaust", tests, NULL, NULL);
}
