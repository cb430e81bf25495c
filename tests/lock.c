/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parking lock: one holder at a time, waiters sleep and are woken, and
 * debug builds catch a wrong order and a foreign release.
 */
#include "testing.h"

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/report.h"

/* More than the CPUs of most machines that run this. */
enum { THREADS = 12, MAX_TURNS = 20000 };

struct shared {
	struct lock lock;
	unsigned turns;
	uint64_t sum; /* not atomic: the lock's to guard */
	unsigned inside;
	_Atomic unsigned intruders;
};

static void *take_turns(void *arg)
{
	struct shared *s = arg;

	for (unsigned i = 0; i < s->turns; i++) {
		lock_acquire(&s->lock);
		if (s->inside++)
			atomic_fetch_add(&s->intruders, 1);
		s->sum++;
		/* A holder that is off its CPU: the others must park. */
		if (i % 64 == 0)
			sched_yield();
		s->inside--;
		lock_release(&s->lock);
	}
	return NULL;
}

static void *try_turns(void *arg)
{
	struct shared *s = arg;

	for (unsigned i = 0; i < s->turns;) {
		if (!lock_try(&s->lock)) {
			sched_yield();
			continue;
		}
		if (s->inside++)
			atomic_fetch_add(&s->intruders, 1);
		s->sum++;
		s->inside--;
		lock_release(&s->lock);
		i++;
	}
	return NULL;
}

static void test_mutual_exclusion(void **state)
{
	struct shared s = { .turns = TEST_SANITIZED ? 1000 : MAX_TURNS };
	pthread_t threads[THREADS];

	(void)state;
	lock_init(&s.lock, LOCK_RANK_ZONE);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL,
						i % 4 ? take_turns : try_turns,
						&s),
				 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(s.sum, (uint64_t)THREADS * s.turns);
	assert_int_equal(atomic_load(&s.intruders), 0);
	assert_int_equal(atomic_load(&s.lock.word), 0);
}

static void test_try(void **state)
{
	struct lock lock = LOCK_INIT(LOCK_RANK_ZONE);

	(void)state;
	assert_true(lock_try(&lock));
	assert_true(lock_held(&lock));
	assert_false(lock_try(&lock));
	lock_release(&lock);
	if (config_debug)
		assert_false(lock_held(&lock));
	assert_true(lock_try(&lock));
	lock_release(&lock);
}

/* Zero-filled memory is a free pcp lock; and whatever was there is forgotten.
 */
static void test_zero_filled(void **state)
{
	struct lock lock, made;

	(void)state;
	memset(&lock, 0, sizeof(lock));
	memset(&made, 0, sizeof(made));
	lock_init(&made, LOCK_RANK_PCP);
	assert_memory_equal(&lock, &made, sizeof(lock));
	lock_acquire(&lock);
	lock_release(&lock);
	memset(&made, 0xff, sizeof(made));
	lock_init(&made, LOCK_RANK_PCP);
	assert_int_equal(atomic_load(&made.word), 0);
	assert_int_equal(atomic_load(&made.owner), 0);
	assert_int_equal(made.rank, LOCK_RANK_PCP);
	lock_acquire(&made);
	assert_true(lock_held(&made));
	lock_release(&made);
	assert_true(lock_try_shared(&made, 1));
	lock_release_shared(&made);
}

static uint64_t nanoseconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

struct waiter {
	struct lock *lock;
	uint64_t cpu, wall; /* spent in lock_acquire() */
};

static void *wait_for_lock(void *arg)
{
	struct waiter *w = arg;
	uint64_t cpu = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
	uint64_t wall = nanoseconds(CLOCK_MONOTONIC);

	lock_acquire(w->lock);
	w->cpu = nanoseconds(CLOCK_THREAD_CPUTIME_ID) - cpu;
	w->wall = nanoseconds(CLOCK_MONOTONIC) - wall;
	lock_release(w->lock);
	return NULL;
}

/* A waiter sleeps: it says so in the word, and burns no CPU meanwhile. */
static void test_parking(void **state)
{
	const struct timespec hold = { .tv_nsec = 200000000 };
	struct lock lock = LOCK_INIT(LOCK_RANK_ZONE);
	struct waiter w[3] = { { &lock, 0, 0 },
			       { &lock, 0, 0 },
			       { &lock, 0, 0 } };
	pthread_t threads[3];

	(void)state;
	lock_acquire(&lock);
	for (int i = 0; i < 3; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, wait_for_lock, &w[i]),
			0);
	while (atomic_load(&lock.word) != 2)
		sched_yield();
	nanosleep(&hold, NULL);
	assert_int_equal(atomic_load(&lock.word), 2);
	lock_release(&lock);
	for (int i = 0; i < 3; i++) {
		pthread_join(threads[i], NULL);
		assert_true(w[i].cpu < w[i].wall / 2);
		assert_true(w[i].cpu < 100000000);
	}
	assert_int_equal(atomic_load(&lock.word), 0);
}

/* --- polled and shared --- */

enum { SHARES = 3 };

struct sharers {
	struct lock lock;
	unsigned turns;
	uint64_t sum;		 /* of those alone */
	_Atomic unsigned inside; /* that share the lock */
	_Atomic unsigned most, wrong;
};

static void be_alone(struct sharers *s, bool off_cpu)
{
	if (atomic_load(&s->inside))
		atomic_fetch_add(&s->wrong, 1);
	s->sum++;
	if (off_cpu)
		sched_yield();
	if (atomic_load(&s->inside))
		atomic_fetch_add(&s->wrong, 1);
	lock_release_polled(&s->lock);
}

static void *alone_turns(void *arg)
{
	struct sharers *s = arg;

	for (unsigned i = 0; i < s->turns; i++) {
		if (i % 3 || !lock_try(&s->lock))
			lock_acquire_polled(&s->lock);
		be_alone(s, i % 64 == 0);
	}
	return NULL;
}

static void *shared_turns(void *arg)
{
	struct sharers *s = arg;

	for (unsigned i = 0; i < s->turns;) {
		unsigned here, most = atomic_load(&s->most);

		if (!lock_try_shared(&s->lock, SHARES)) {
			sched_yield();
			continue;
		}
		here = atomic_fetch_add(&s->inside, 1) + 1;
		if (here > SHARES)
			atomic_fetch_add(&s->wrong, 1);
		while (here > most &&
		       !atomic_compare_exchange_weak(&s->most, &most, here))
			;
		if (i++ % 64 == 0)
			sched_yield();
		atomic_fetch_sub(&s->inside, 1);
		lock_release_shared(&s->lock);
	}
	return NULL;
}

/* One alone or a few together, and who waits is not kept out for good. */
static void test_alone_or_shared(void **state)
{
	struct sharers s = { .turns = TEST_SANITIZED ? 500 : 5000 };
	pthread_t threads[THREADS];

	(void)state;
	lock_init(&s.lock, LOCK_RANK_PCP);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL,
				       i % 3 ? shared_turns : alone_turns, &s),
			0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(s.sum, (uint64_t)THREADS / 3 * s.turns);
	assert_int_equal(atomic_load(&s.wrong), 0);
	assert_true(atomic_load(&s.most) <= SHARES);
	assert_int_equal(atomic_load(&s.lock.word), 0);
}

/* The word as others leave it, one of whom waits. */
static void test_shared_word(void **state)
{
	struct lock lock = LOCK_INIT(LOCK_RANK_PCP);

	(void)state;
	for (uint32_t others = 0; others < SHARES; others++) {
		atomic_store(&lock.word, others * LOCK_SHARE);
		assert_true(lock_try_shared(&lock, SHARES));
		assert_int_equal(atomic_load(&lock.word),
				 (others + 1) * LOCK_SHARE);
		assert_false(lock_try(&lock));
		lock_release_shared(&lock);
		assert_int_equal(atomic_load(&lock.word), others * LOCK_SHARE);
		atomic_store(&lock.word, others * LOCK_SHARE | LOCK_WANTED);
		assert_false(lock_try_shared(&lock, SHARES));
	}
	atomic_store(&lock.word, SHARES * LOCK_SHARE);
	assert_false(lock_try_shared(&lock, SHARES));
	atomic_store(&lock.word, LOCK_HELD);
	assert_false(lock_try_shared(&lock, SHARES));
	atomic_store(&lock.word, LOCK_WANTED);
	lock_acquire_polled(&lock);
	assert_int_equal(atomic_load(&lock.word), LOCK_HELD);
	lock_release_polled(&lock);
	assert_int_equal(atomic_load(&lock.word), 0);
}

static void *wait_polled(void *arg)
{
	struct waiter *w = arg;
	uint64_t cpu = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
	uint64_t wall = nanoseconds(CLOCK_MONOTONIC);

	lock_acquire_polled(w->lock);
	w->cpu = nanoseconds(CLOCK_THREAD_CPUTIME_ID) - cpu;
	w->wall = nanoseconds(CLOCK_MONOTONIC) - wall;
	lock_release_polled(w->lock);
	return NULL;
}

/* Who waits for a shared lock keeps new sharers out, and sleeps meanwhile. */
static void test_polled_wait(void **state)
{
	const struct timespec hold = { .tv_nsec = 200000000 };
	struct lock lock = LOCK_INIT(LOCK_RANK_PCP);
	struct waiter w = { &lock, 0, 0 };
	pthread_t thread;

	(void)state;
	assert_true(lock_try_shared(&lock, SHARES));
	assert_int_equal(pthread_create(&thread, NULL, wait_polled, &w), 0);
	while (!(atomic_load(&lock.word) & LOCK_WANTED))
		sched_yield();
	nanosleep(&hold, NULL);
	assert_int_equal(atomic_load(&lock.word), LOCK_SHARE | LOCK_WANTED);
	lock_release_shared(&lock);
	pthread_join(thread, NULL);
	assert_true(w.cpu < w.wall / 2);
	assert_int_equal(atomic_load(&lock.word), 0);
}

/* --- debug builds --- */

static struct lock pair[2];

static void expect_abort(void (*body)(void), const char *format, ...)
{
	char text[1024], expected[256];
	int status;
	va_list args;

	if (!config_debug)
		skip();
	va_start(args, format);
	vsnprintf(expected, sizeof(expected), format, args);
	va_end(args);
	status = test_in_child(body, text, sizeof(text));
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT ||
	    !strstr(text, expected))
		fail_msg("status 0x%x, wanted SIGABRT and \"%s\", got \"%s\"",
			 (unsigned)status, expected, text);
}

static void take_zone_then_pcp(void)
{
	lock_init(&pair[0], LOCK_RANK_ZONE);
	lock_init(&pair[1], LOCK_RANK_PCP);
	lock_acquire(&pair[0]);
	lock_acquire(&pair[1]);
}

static void test_rank(void **state)
{
	(void)state;
	expect_abort(take_zone_then_pcp,
		     "lock %p of rank 0 taken over %p of rank 1",
		     (void *)&pair[1], (void *)&pair[0]);
}

static void try_zone_then_drain(void)
{
	lock_init(&pair[0], LOCK_RANK_ZONE);
	lock_init(&pair[1], LOCK_RANK_DRAIN);
	if (!lock_try(&pair[0]) || !lock_try(&pair[1]))
		_exit(1);
	lock_release(&pair[1]);
	lock_release(&pair[0]);
}

/* Who only tries cannot be part of a circle. */
static void test_rank_try(void **state)
{
	char text[256];

	(void)state;
	try_zone_then_drain();
	assert_int_equal(test_in_child(try_zone_then_drain, text, sizeof(text)),
			 0);
	assert_string_equal(text, "");
}

static void try_zone_then_wait(void)
{
	lock_init(&pair[0], LOCK_RANK_ZONE);
	lock_init(&pair[1], LOCK_RANK_DRAIN);
	if (lock_try(&pair[0]))
		lock_acquire(&pair[1]);
}

static void try_zone_then_wait_polled(void)
{
	lock_init(&pair[0], LOCK_RANK_ZONE);
	lock_init(&pair[1], LOCK_RANK_PCP);
	if (lock_try(&pair[0]))
		lock_acquire_polled(&pair[1]);
}

static void try_own(void)
{
	lock_init(&pair[0], LOCK_RANK_ZONE);
	lock_acquire(&pair[0]);
	if (!lock_try(&pair[0]))
		lock_acquire(&pair[0]);
}

/* But what was tried and had counts for who waits. */
static void test_rank_wait_over_tried(void **state)
{
	(void)state;
	expect_abort(try_zone_then_wait,
		     "lock %p of rank -1 taken over %p of rank 1",
		     (void *)&pair[1], (void *)&pair[0]);
	expect_abort(try_zone_then_wait_polled,
		     "lock %p of rank 0 taken over %p of rank 1",
		     (void *)&pair[1], (void *)&pair[0]);
	expect_abort(try_own, "lock %p of rank 1 taken over %p of rank 1",
		     (void *)&pair[0], (void *)&pair[0]);
}

/* --- a signal handler over whatever it interrupts --- */

enum { ROW = 5 };
static struct lock row[ROW]; /* of one rank */
static volatile sig_atomic_t handled;

static void start_row(void)
{
	memset(row, 0, sizeof(row));
	for (int i = 0; i < ROW; i++)
		lock_init(&row[i], LOCK_RANK_ZONE);
}

/* Tries the others, from the top and in a nest, and leaves no trace. */
static void try_row(int signal)
{
	bool had[ROW];

	(void)signal;
	for (int i = ROW; i-- > 0;)
		had[i] = lock_try(&row[i]);
	for (int i = 0; i < ROW; i++)
		if (had[i])
			lock_release(&row[i]);
	if (lock_try(&row[ROW - 1]))
		lock_release(&row[ROW - 1]);
	handled++;
}

/* The interrupted code holds the lowest and then waits for those between. */
static void wait_in_between(void (*interrupt)(void))
{
	start_row();
	interrupt();
	lock_acquire(&row[0]);
	interrupt();
	lock_acquire(&row[1]);
	interrupt();
	lock_acquire(&row[3]);
	interrupt();
	lock_release(&row[3]);
	interrupt();
	lock_acquire(&row[2]);
	interrupt();
	lock_release(&row[2]);
	lock_release(&row[1]);
	interrupt();
	lock_acquire(&row[1]);
	lock_release(&row[1]);
	lock_release(&row[0]);
	lock_acquire(&row[0]);
	lock_release(&row[0]);
	for (int i = 0; i < ROW; i++)
		assert_int_equal(atomic_load(&row[i].word), 0);
}

static void call_handler(void)
{
	try_row(0);
}

static void raise_signal(void)
{
	raise(SIGUSR1);
}

static void test_handler_called(void **state)
{
	(void)state;
	wait_in_between(call_handler);
}

static void test_handler_signalled(void **state)
{
	const struct sigaction action = { .sa_handler = try_row };
	struct sigaction before;

	(void)state;
	handled = 0;
	assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
	wait_in_between(raise_signal);
	sigaction(SIGUSR1, &before, NULL);
	assert_int_equal(handled, 7);
}

static void wait_below_after_handler(void)
{
	start_row();
	lock_acquire(&row[2]);
	try_row(0);
	lock_acquire(&row[1]);
}

static void wait_below_inner_after_handler(void)
{
	start_row();
	lock_acquire(&row[0]);
	lock_acquire(&row[3]);
	try_row(0);
	lock_acquire(&row[2]);
}

/* Neither more nor less is noted than is held. */
static void test_rank_after_handler(void **state)
{
	(void)state;
	expect_abort(wait_below_after_handler,
		     "lock %p of rank 1 taken over %p of rank 1",
		     (void *)&row[1], (void *)&row[2]);
	expect_abort(wait_below_inner_after_handler,
		     "lock %p of rank 1 taken over %p of rank 1",
		     (void *)&row[2], (void *)&row[3]);
}

enum { STORM_TURNS = TEST_SANITIZED ? 2000 : 100000 };

struct storm {
	pthread_t target;
	_Atomic bool stop;
};

static void *send_signals(void *arg)
{
	struct storm *storm = arg;

	while (!atomic_load(&storm->stop)) {
		pthread_kill(storm->target, SIGUSR1);
		sched_yield();
	}
	return NULL;
}

/* Wherever the signal hits, the checks of a right order stay silent. */
static void test_handler_storm(void **state)
{
	const struct sigaction action = { .sa_handler = try_row };
	struct storm storm = { .target = pthread_self() };
	struct sigaction before;
	pthread_t thread;

	(void)state;
	handled = 0;
	start_row();
	assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
	assert_int_equal(pthread_create(&thread, NULL, send_signals, &storm),
			 0);
	for (int i = 0; i < STORM_TURNS || handled < 100; i++) {
		lock_acquire(&row[0]);
		lock_acquire(&row[1 + i % 2]);
		lock_release(&row[1 + i % 2]);
		lock_acquire(&row[2]);
		assert_true(lock_held(&row[0]) && lock_held(&row[2]));
		lock_release(&row[2]);
		lock_release(&row[0]);
	}
	atomic_store(&storm.stop, true);
	pthread_join(thread, NULL);
	sigaction(SIGUSR1, &before, NULL);
	for (int i = 0; i < ROW; i++)
		assert_int_equal(atomic_load(&row[i].word), 0);
}

static void take_descending(void)
{
	lock_init(&pair[0], LOCK_RANK_PCP);
	lock_init(&pair[1], LOCK_RANK_PCP);
	lock_acquire(&pair[1]);
	lock_acquire(&pair[0]);
}

static void test_address_order(void **state)
{
	(void)state;
	expect_abort(take_descending,
		     "lock %p of rank 0 taken over %p of rank 0",
		     (void *)&pair[0], (void *)&pair[1]);
}

static void *take_first(void *arg)
{
	lock_acquire(&pair[0]);
	return arg;
}

static void release_foreign(void)
{
	pthread_t thread;

	lock_init(&pair[0], LOCK_RANK_PCP);
	pthread_create(&thread, NULL, take_first, NULL);
	pthread_join(thread, NULL);
	lock_release(&pair[0]);
}

static void test_foreign_release(void **state)
{
	(void)state;
	expect_abort(release_foreign, "lock %p released by", (void *)&pair[0]);
}

static void release_twice(void)
{
	lock_init(&pair[0], LOCK_RANK_PCP);
	lock_acquire(&pair[0]);
	lock_release(&pair[0]);
	lock_release(&pair[0]);
}

static void test_second_release(void **state)
{
	(void)state;
	expect_abort(release_twice, "lock %p released by", (void *)&pair[0]);
}

/* The order that is right, and releases in any order. */
static void test_right_order(void **state)
{
	struct lock all[4];

	(void)state;
	lock_init(&all[0], LOCK_RANK_REGISTRY);
	lock_init(&all[1], LOCK_RANK_PCP);
	lock_init(&all[2], LOCK_RANK_PCP);
	lock_init(&all[3], LOCK_RANK_ZONE);
	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < 4; i++)
			lock_acquire(&all[i]);
		for (int i = 0; i < 4; i++) {
			assert_true(lock_held(&all[(i + round) % 4]));
			lock_release(&all[(i + round) % 4]);
		}
	}
	/* Nothing is left behind that the next could be checked against. */
	lock_acquire(&all[0]);
	lock_release(&all[0]);
}

static void *wait_polling(void *arg)
{
	struct lock *lock = arg;

	lock_acquire_polled(lock);
	lock_release_polled(lock);
	pthread_testcancel();
	return NULL;
}

/* Who waits is not cancelled on the way: it may hold other locks. */
static void test_cancelled_waiter(void **state)
{
	const struct timespec moment = { .tv_nsec = 20000000 };
	struct lock lock = LOCK_INIT(LOCK_RANK_PCP);
	pthread_t thread;
	void *result;

	(void)state;
	assert_true(lock_try_shared(&lock, 1));
	assert_int_equal(pthread_create(&thread, NULL, wait_polling, &lock), 0);
	while (!(atomic_load(&lock.word) & LOCK_WANTED))
		sched_yield();
	assert_int_equal(pthread_cancel(thread), 0);
	/* It naps meanwhile, a cancellation pending. */
	nanosleep(&moment, NULL);
	lock_release_shared(&lock);
	pthread_join(thread, &result);
	assert_ptr_equal(result, PTHREAD_CANCELED);
	assert_int_equal(atomic_load(&lock.word), 0);
	assert_true(lock_try_shared(&lock, 1));
	lock_release_shared(&lock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mutual_exclusion),
		cmocka_unit_test(test_try),
		cmocka_unit_test(test_zero_filled),
		cmocka_unit_test(test_parking),
		cmocka_unit_test(test_alone_or_shared),
		cmocka_unit_test(test_shared_word),
		cmocka_unit_test(test_polled_wait),
		cmocka_unit_test(test_cancelled_waiter),
		cmocka_unit_test(test_rank),
		cmocka_unit_test(test_rank_try),
		cmocka_unit_test(test_rank_wait_over_tried),
		cmocka_unit_test(test_handler_called),
		cmocka_unit_test(test_handler_signalled),
		cmocka_unit_test(test_rank_after_handler),
		cmocka_unit_test(test_handler_storm),
		cmocka_unit_test(test_address_order),
		cmocka_unit_test(test_foreign_release),
		cmocka_unit_test(test_second_release),
		cmocka_unit_test(test_right_order),
	};

	return cmocka_run_group_tests_name("lock", tests, NULL, NULL);
}
