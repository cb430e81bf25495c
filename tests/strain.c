/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What quire/debug.h promises: failures drawn at random are those that each
 * call documents and lose nothing, the seed says which, pauses are harmless,
 * and restarted sequences are counted.
 */
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/schedule.h"
#include "platform/rseq.h"
#include "quire/debug.h"

#define MIB (UINT64_C(1) << 20)

static struct test_messages messages = TEST_MESSAGES_INIT;

static struct quire_options base_options(enum quire_way way)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;

	options.size = 32 * MIB;
	options.way = way;
	options.backing[0] = QUIRE_BACKING_BASE;
	options.report = test_catch;
	options.report_arg = &messages;
	return options;
}

static int end(void **state)
{
	(void)state;
	quire_debug_faults(0, 0);
	quire_debug_pauses(0, 0);
	messages.count = 0;
	return 0;
}

/* --- failures --- */

static bool documented(int error)
{
	return error == ENOMEM || error == ENOTSUP || error == EAGAIN ||
	       error == EPERM;
}

/* Every failure at once, and any of them: all or nothing. */
static void test_create(void **state)
{
	static char before[TEST_MAPS_MAX], after[TEST_MAPS_MAX];

	(void)state;
	test_read_maps(before);
	for (uint64_t seed = 0; seed < 400; seed++) {
		struct quire_options options =
			base_options((enum quire_way)(seed % 4));
		unsigned one_in = seed < 20 ? 1 : 2 + (unsigned)seed % 12;
		uint64_t total = quire_debug_faults_total();
		struct quire *q;

		if (seed % 3 == 0)
			options.flags = QUIRE_PREFAULT | QUIRE_DONTFORK;
		if (seed % 5 == 0)
			options.flags |= QUIRE_MLOCK;
		messages.count = 0;
		errno = 0;
		quire_debug_faults(one_in, seed);
		q = quire_create(&options);
		quire_debug_faults(0, 0);
		if (one_in == 1)
			assert_null(q);
		if (q) {
			assert_int_equal(quire_validate(q), 0);
			assert_int_equal(quire_destroy(q), 0);
		} else if (quire_debug_faults_total() > total) {
			if (!documented(errno))
				fail_msg("errno %d: %s", errno,
					 messages.text[0]);
		}
		test_read_maps(after);
		if (!TEST_SANITIZED)
			assert_string_equal(before, after);
	}
}

static struct quire *create(enum quire_way way)
{
	struct quire_options options = base_options(way);
	struct quire *q = quire_create(&options);

	messages.count = 0;
	return q;
}

static void expect_whole(struct quire *q)
{
	struct quire_stat stat;

	assert_int_equal(quire_drain_all(q), 0);
	assert_int_equal(quire_validate(q), 0);
	assert_int_equal(quire_stat(q, &stat, sizeof(stat)), 0);
	assert_int_equal(stat.pages_free, stat.pages);
	assert_int_equal(stat.pages_live, 0);
	assert_int_equal(quire_destroy(q), 0);
}

/* With no one else and no lists: every allocation fails, no free does. */
static void test_all_fail(void **state)
{
	(void)state;
	for (int way = QUIRE_WAY_RSEQ; way <= QUIRE_WAY_BOUND; way++) {
		struct quire *q = create((enum quire_way)way);
		struct quire_page *pages[3], *run, *more[4];
		uint64_t total = quire_debug_faults_total();

		if (!q)
			continue;
		for (unsigned i = 0; i < 3; i++)
			pages[i] = quire_alloc_pages(q, 4 * i, QUIRE_NOLOCK);
		run = quire_alloc_exact(q, 50, 0);
		assert_true(pages[0] && pages[1] && pages[2] && run);
		quire_debug_faults(1, 7);
		for (unsigned order = 0; order < 12; order++) {
			errno = 0;
			assert_null(quire_alloc_pages(q, order, 0));
			assert_int_equal(errno, ENOMEM);
			errno = 0;
			assert_null(quire_alloc_pages(q, order, QUIRE_NOLOCK));
			assert_int_equal(errno, EAGAIN);
		}
		errno = 0;
		assert_null(quire_alloc_exact(q, 5, 0));
		assert_int_equal(errno, ENOMEM);
		errno = 0;
		assert_int_equal(quire_alloc_pages_bulk(q, 0, 0, 4, more), 0);
		assert_int_equal(errno, ENOMEM);
		assert_int_equal(quire_free_pages(q, pages[0], 0), 0);
		assert_int_equal(quire_free_pages_nolock(q, pages[1], 4), 0);
		assert_int_equal(quire_free_pages(q, pages[2], 8), 0);
		assert_int_equal(quire_free_exact(q, run, 50), 0);
		assert_true(quire_debug_faults_total() >= total + 12);
		quire_debug_faults(0, 0);
		total = quire_debug_faults_total();
		expect_whole(q);
		assert_int_equal(quire_debug_faults_total(), total);
	}
}

enum { CALLS = 2000, KEPT = 64 };

/* Which of some calls failed, as a checksum; returns how many. */
static unsigned run_calls(struct quire *q, uint64_t *which)
{
	struct quire_page *kept[KEPT] = { NULL };
	unsigned failed = 0;

	*which = 0;
	for (unsigned i = 0; i < CALLS; i++) {
		unsigned at = i * 7 % KEPT, order = at % 5 == 0 ? 6 : at % 3;

		if (kept[at]) {
			assert_int_equal(quire_free_pages(q, kept[at], order),
					 0);
			kept[at] = NULL;
			continue;
		}
		kept[at] = quire_alloc_pages(q, order, QUIRE_NORETRY);
		if (!kept[at])
			failed++;
		*which = *which * 31 + !kept[at];
	}
	for (unsigned at = 0; at < KEPT; at++)
		if (kept[at])
			assert_int_equal(
				quire_free_pages(q, kept[at],
						 at % 5 == 0 ? 6 : at % 3),
				0);
	return failed;
}

/* From a fresh allocator, so that the calls ask the same. */
static unsigned seeded_calls(unsigned one_in, uint64_t seed, uint64_t *which)
{
	struct quire *q = create(QUIRE_WAY_BOUND);
	unsigned failed;

	assert_non_null(q);
	quire_debug_faults(one_in, seed);
	failed = run_calls(q, which);
	quire_debug_faults(0, 0);
	expect_whole(q);
	return failed;
}

static void test_same_seed(void **state)
{
	uint64_t first, again, other;

	(void)state;
	assert_int_equal(seeded_calls(0, 1, &first), 0);
	assert_true(seeded_calls(3, 12345, &first) > 20);
	seeded_calls(3, 12346, &other);
	assert_true(other != first);
	seeded_calls(3, 12345, &again);
	assert_true(again == first);
	/* At once once more. */
	seeded_calls(3, 12345, &again);
	assert_true(again == first);
	seeded_calls(3, 0, &first);
	seeded_calls(3, 0, &again);
	assert_true(again == first);
}

/* --- pauses --- */

static void *change_blocks(void *arg)
{
	uint64_t which;

	(void)run_calls(arg, &which);
	return NULL;
}

static void test_pauses(void **state)
{
	(void)state;
	if (!config_schedule) {
		errno = 0;
		assert_int_equal(quire_debug_pauses(1, 1), -1);
		assert_int_equal(errno, ENOTSUP);
		errno = 0;
		assert_int_equal(quire_debug_pauses(0, 0), -1);
		assert_int_equal(errno, ENOTSUP);
		return;
	}
	for (unsigned one_in = 1; one_in <= 16; one_in *= 4)
		for (int way = QUIRE_WAY_RSEQ; way <= QUIRE_WAY_BOUND; way++) {
			struct quire *q = create((enum quire_way)way);
			pthread_t threads[3];

			if (!q)
				continue;
			assert_int_equal(quire_debug_pauses(one_in, 5), 0);
			for (int i = 0; i < 3; i++)
				assert_int_equal(
					pthread_create(&threads[i], NULL,
						       change_blocks, q),
					0);
			for (int i = 0; i < 3; i++)
				pthread_join(threads[i], NULL);
			assert_int_equal(quire_debug_pauses(0, 0), 0);
			expect_whole(q);
			assert_int_equal(messages.count, 0);
		}
}

/* --- sequences --- */

static void on_tick(int signal)
{
	(void)signal;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* A thread that does nothing but pop and push, and is interrupted. */
static void test_rseq_aborts(void **state)
{
	const struct itimerspec tick = { { 0, 20000 }, { 0, 20000 } };
	const struct sigaction action = { .sa_handler = on_tick,
					  .sa_flags = SA_RESTART };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL,
				  .sigev_signo = SIGUSR1 };
	struct quire *q = create(QUIRE_WAY_RSEQ);
	uint64_t before = quire_debug_rseq_aborts();
	uint64_t give_up = now_ms() + 20000;
	struct sigaction old;
	timer_t timer;

	(void)state;
	if (!q)
		skip();
	assert_int_equal(quire_debug_rseq_aborts(), before);
	sigaction(SIGUSR1, &action, &old);
	assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	assert_int_equal(timer_settime(timer, 0, &tick, NULL), 0);
	while (quire_debug_rseq_aborts() == before && now_ms() < give_up)
		for (int i = 0; i < 10000; i++) {
			struct quire_page *page = quire_alloc_pages(q, 0, 0);

			assert_int_equal(quire_free_pages(q, page, 0), 0);
		}
	timer_delete(timer);
	sigaction(SIGUSR1, &old, NULL);
	assert_true(quire_debug_rseq_aborts() > before);
	expect_whole(q);
}

/* Without sequences there is none to restart. */
static void test_no_rseq_aborts(void **state)
{
	uint64_t before = quire_debug_rseq_aborts(), which;
	struct quire *q = create(QUIRE_WAY_TRYLOCK);

	(void)state;
	assert_int_equal(run_calls(q, &which), 0);
	assert_int_equal(quire_debug_rseq_aborts(), before);
	expect_whole(q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_create, end),
		cmocka_unit_test_teardown(test_all_fail, end),
		cmocka_unit_test_teardown(test_same_seed, end),
		cmocka_unit_test_teardown(test_pauses, end),
		cmocka_unit_test_teardown(test_rseq_aborts, end),
		cmocka_unit_test_teardown(test_no_rseq_aborts, end),
	};

	unsetenv("QUIRE_CONF");
	return cmocka_run_group_tests_name("strain", tests, NULL, NULL);
}
