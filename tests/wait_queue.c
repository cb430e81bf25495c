/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The wait queue: first come, first served, but for those who cannot be; no
 * notification is lost, by whomever it is given; who gives up, goes away or
 * forks leaves the queue whole.
 */
#include "testing.h"

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/schedule.h"
#include "base/wait_queue.h"
#include "platform/platform.h"

enum { MOST = 8, MS = 1000000 };

/* What is waited for: goods, of which each waits for some. */
static struct {
	struct wait_queue queue;
	_Atomic int goods, served, tried;
} shop;

struct customer {
	struct waiter waiter;
	int wants;
	const struct wait_ops *ops;
	uint64_t timeout_ns;
	_Atomic int place; /* n-th to be served, from 1; 0: not yet */
	_Atomic int idles;
	_Atomic bool joined, done;
	bool got;
	uint64_t ns;
	pthread_t thread;
};

static bool buy(struct waiter *waiter)
{
	struct customer *c = (struct customer *)waiter;
	int goods = atomic_load(&shop.goods);

	atomic_fetch_add(&shop.tried, 1);
	do
		if (goods < c->wants)
			return false;
	while (!atomic_compare_exchange_weak(&shop.goods, &goods,
					     goods - c->wants));
	atomic_store(&c->place, atomic_fetch_add(&shop.served, 1) + 1);
	return true;
}

static bool wants_as_much(const struct waiter *waiter,
			  const struct waiter *failed)
{
	return ((const struct customer *)waiter)->wants >=
	       ((const struct customer *)failed)->wants;
}

static const struct wait_ops plain = { .serve = buy, .covers = wants_as_much };
static const struct wait_ops all_alike = { .serve = buy };

static int begin(void **state)
{
	(void)state;
	memset(&shop, 0, sizeof(shop));
	wait_queue_init(&shop.queue, LOCK_RANK_WAITERS);
	alarm(30);
	return 0;
}

static int end(void **state)
{
	(void)state;
	alarm(0);
	schedule_arm(0, 0);
	return 0;
}

static void nap(void)
{
	const struct timespec pause = { .tv_nsec = 50000 };

	nanosleep(&pause, NULL);
}

static void *customer_main(void *arg)
{
	struct customer *c = arg;
	uint64_t start = platform_ns();

	wait_queue_join(&shop.queue, &c->waiter);
	atomic_store(&c->joined, true);
	c->got =
		wait_queue_wait(&shop.queue, &c->waiter, c->ops, c->timeout_ns);
	c->ns = platform_ns() - start;
	atomic_store(&c->done, true);
	return NULL;
}

/* In the queue when this returns. */
static void come(struct customer *c, int wants, const struct wait_ops *ops,
		 uint64_t timeout_ns)
{
	*c = (struct customer){ .wants = wants,
				.ops = ops,
				.timeout_ns = timeout_ns };
	assert_int_equal(pthread_create(&c->thread, NULL, customer_main, c), 0);
	while (!atomic_load(&c->joined))
		nap();
}

static void bring(int n)
{
	atomic_fetch_add(&shop.goods, n);
	/* The partner of the one in wait_queue_join(). */
	atomic_thread_fence(memory_order_seq_cst);
	wait_queue_notify(&shop.queue);
}

static void expect_served(struct customer *c, int place)
{
	pthread_join(c->thread, NULL);
	assert_true(c->got);
	assert_int_equal(atomic_load(&c->place), place);
}

static void expect_timed_out(struct customer *c)
{
	pthread_join(c->thread, NULL);
	assert_false(c->got);
	assert_int_equal(atomic_load(&c->place), 0);
	assert_true(c->ns >= c->timeout_ns);
}

static void expect_waits(const struct customer *c)
{
	for (int i = 0; i < 4; i++) {
		assert_false(atomic_load(&c->done));
		nap();
	}
}

static void expect_empty(void)
{
	assert_int_equal(wait_queue_length(&shop.queue), 0);
	assert_null(shop.queue.first);
	assert_null(shop.queue.last);
	assert_null(shop.queue.listener);
}

/* --- order --- */

static void test_first_come(void **state)
{
	struct customer c[MOST];

	(void)state;
	for (int i = 0; i < MOST; i++)
		come(&c[i], 1, &plain, UINT64_MAX);
	for (int i = 0; i < MOST; i++) {
		bring(1);
		expect_served(&c[i], i + 1);
	}
	expect_empty();
}

static void test_many_at_once(void **state)
{
	struct customer c[MOST];

	(void)state;
	for (int i = 0; i < MOST; i++)
		come(&c[i], 1, &all_alike, UINT64_MAX);
	bring(MOST);
	for (int i = 0; i < MOST; i++)
		expect_served(&c[i], i + 1);
	expect_empty();
}

/* One that cannot be served does not block those behind it. */
static void test_large_blocks_nobody(void **state)
{
	struct customer large, small[2];

	(void)state;
	come(&large, 3, &plain, UINT64_MAX);
	come(&small[0], 1, &plain, UINT64_MAX);
	come(&small[1], 1, &plain, UINT64_MAX);
	bring(1);
	expect_served(&small[0], 1);
	expect_waits(&large);
	bring(3);
	expect_served(&large, 2);
	expect_waits(&small[1]);
	bring(1);
	expect_served(&small[1], 3);
	expect_empty();
}

/* Where one found nothing those who want as much are not tried. */
static void test_covered_are_not_tried(void **state)
{
	struct customer c[MOST];
	int tried;

	(void)state;
	for (int i = 0; i < MOST; i++)
		come(&c[i], 2, &plain, UINT64_MAX);
	/* Until all sleep but for the one that listens. */
	do {
		tried = atomic_load(&shop.tried);
		for (int i = 0; i < 20; i++)
			nap();
	} while (tried != atomic_load(&shop.tried));
	lock_acquire(&shop.queue.lock);
	tried = atomic_load(&shop.tried);
	wait_queue_serve_locked(&shop.queue, &plain);
	assert_int_equal(atomic_load(&shop.tried), tried + 1);
	wait_queue_serve_locked(&shop.queue, &all_alike);
	assert_int_equal(atomic_load(&shop.tried), tried + 2);
	lock_release(&shop.queue.lock);
	bring(2 * MOST);
	for (int i = 0; i < MOST; i++)
		expect_served(&c[i], i + 1);
	expect_empty();
}

/* Who keeps the goods under the queue's lock serves at once, without an event.
 */
static void test_serve_locked(void **state)
{
	struct customer c[2];

	(void)state;
	come(&c[0], 1, &all_alike, UINT64_MAX);
	come(&c[1], 1, &all_alike, UINT64_MAX);
	lock_acquire(&shop.queue.lock);
	atomic_fetch_add(&shop.goods, 1);
	wait_queue_serve_locked(&shop.queue, &all_alike);
	assert_int_equal(wait_queue_length(&shop.queue), 1);
	atomic_fetch_add(&shop.goods, 1);
	wait_queue_serve_locked(&shop.queue, &all_alike);
	lock_release(&shop.queue.lock);
	expect_served(&c[0], 1);
	expect_served(&c[1], 2);
	expect_empty();
}

/* --- time --- */

static void test_timeout(void **state)
{
	struct customer c, none;

	(void)state;
	come(&c, 1, &plain, 20 * MS);
	expect_timed_out(&c);
	expect_empty();
	/* No time at all is enough for what is there. */
	atomic_store(&shop.goods, 1);
	none = (struct customer){ .wants = 1, .ops = &plain };
	customer_main(&none);
	assert_true(none.got);
	none = (struct customer){ .wants = 1, .ops = &plain };
	customer_main(&none);
	assert_false(none.got);
	expect_empty();
}

static void test_leave_without_waiting(void **state)
{
	struct waiter waiter;

	(void)state;
	wait_queue_join(&shop.queue, &waiter);
	assert_int_equal(wait_queue_length(&shop.queue), 1);
	assert_false(wait_queue_leave(&shop.queue, &waiter));
	expect_empty();
}

/* The listener gives up: the next one listens in its place. */
static void test_listener_gives_up(void **state)
{
	struct customer first, second;

	(void)state;
	come(&first, 1, &plain, 30 * MS);
	come(&second, 1, &plain, UINT64_MAX);
	expect_timed_out(&first);
	expect_waits(&second);
	bring(1);
	expect_served(&second, 1);
	expect_empty();
}

static void test_others_give_up(void **state)
{
	struct customer c[MOST];

	(void)state;
	for (int i = 0; i < MOST; i++)
		come(&c[i], 1, &plain, i % 3 == 1 ? 30 * MS : UINT64_MAX);
	for (int i = 1; i < MOST; i += 3)
		expect_timed_out(&c[i]);
	for (int i = 0, place = 1; i < MOST; i++) {
		if (i % 3 == 1)
			continue;
		bring(1);
		expect_served(&c[i], place++);
	}
	expect_empty();
}

/* One listens, the other's time is over when it joins. */
enum { LATE_ROUNDS = 200 };

static struct {
	struct customer listens, late;
	_Atomic bool asks, gone, served; /* of the late one */
} pair;

static _Thread_local bool is_late;

/* When the late one has looked for itself the other is there to serve it. */
static bool serve_late(struct waiter *waiter)
{
	struct customer *c = (struct customer *)waiter;

	if (c == &pair.listens)
		return atomic_load(&shop.goods) != 0;
	if (is_late) {
		atomic_store(&pair.asks, true);
		/* 2: the listener sleeps on the lock. */
		while (atomic_load(&shop.queue.lock.word) != 2)
			nap();
		return false;
	}
	atomic_store(&pair.served, true);
	return true;
}

static void *late_main(void *arg)
{
	is_late = true;
	customer_main(arg);
	atomic_store(&pair.gone, true);
	return NULL;
}

/* Served after the time is over and before it has left: that counts. */
static void test_served_as_it_leaves(void **state)
{
	static const struct wait_ops ops = { .serve = serve_late,
					     .covers = wants_as_much };
	pthread_t late;
	unsigned served = 0;

	(void)state;
	memset(&pair, 0, sizeof(pair));
	come(&pair.listens, 2, &ops, UINT64_MAX);
	schedule_arm(4, 1);
	for (int i = 0; i < LATE_ROUNDS; i++) {
		pair.late = (struct customer){ .wants = 1, .ops = &ops };
		atomic_store(&pair.asks, false);
		atomic_store(&pair.gone, false);
		atomic_store(&pair.served, false);
		assert_int_equal(
			pthread_create(&late, NULL, late_main, &pair.late), 0);
		while (!atomic_load(&pair.asks) && !atomic_load(&pair.gone))
			sched_yield();
		wait_queue_notify_slow(&shop.queue);
		pthread_join(late, NULL);
		assert_int_equal(pair.late.got, pair.served);
		served += pair.served;
	}
	schedule_arm(0, 0);
	printf("# %u of %d were served\n", served, LATE_ROUNDS);
	atomic_store(&shop.goods, 1);
	wait_queue_notify_slow(&shop.queue);
	pthread_join(pair.listens.thread, NULL);
	expect_empty();
}

/* --- away --- */

static _Atomic bool held_up;

static void be_away(struct waiter *waiter)
{
	atomic_fetch_add(&((struct customer *)waiter)->idles, 1);
	while (atomic_load(&held_up))
		nap();
}

static const struct wait_ops away = {
	.serve = buy, .covers = wants_as_much, .idle = be_away, .idle_ns = MS
};

static void wait_until_away(const struct customer *c)
{
	while (atomic_load(&c->idles) == 0)
		nap();
}

/* Who was the listener and is away keeps its place; another one listens. */
static void test_served_while_away(void **state)
{
	struct customer first, second, third;

	(void)state;
	atomic_store(&held_up, true);
	come(&first, 1, &away, UINT64_MAX);
	wait_until_away(&first);
	assert_null(shop.queue.listener);
	come(&second, 1, &plain, UINT64_MAX);
	come(&third, 1, &plain, UINT64_MAX);
	bring(2);
	expect_served(&second, 2);
	assert_int_equal(atomic_load(&first.place), 1);
	assert_false(atomic_load(&first.done));
	atomic_store(&held_up, false);
	expect_served(&first, 1);
	bring(1);
	expect_served(&third, 3);
	expect_empty();
}

/* All are away: who comes back first listens. */
static void test_nobody_listens(void **state)
{
	struct customer c[2];

	(void)state;
	atomic_store(&held_up, true);
	come(&c[0], 1, &away, UINT64_MAX);
	come(&c[1], 1, &away, UINT64_MAX);
	wait_until_away(&c[0]);
	wait_until_away(&c[1]);
	bring(1);
	atomic_store(&held_up, false);
	expect_served(&c[0], 1);
	bring(1);
	expect_served(&c[1], 2);
	expect_empty();
}

/* Again and again, and not sooner than it is told to. */
static void test_idle_repeats(void **state)
{
	struct customer c;

	(void)state;
	atomic_store(&held_up, false);
	come(&c, 1, &away, 50 * MS);
	expect_timed_out(&c);
	assert_in_range(atomic_load(&c.idles), 1, c.ns / MS + 1);
	expect_empty();
}

static void bring_one(struct waiter *waiter)
{
	atomic_fetch_add(&((struct customer *)waiter)->idles, 1);
	atomic_fetch_add(&shop.goods, 1);
}

/* Once when the time is over, however short that is: and what it brings counts.
 */
static void test_idle_at_the_end(void **state)
{
	static const struct wait_ops ops = { .serve = buy,
					     .idle = bring_one,
					     .idle_ns =
						     UINT64_C(3600000) * MS };
	struct customer c;

	(void)state;
	come(&c, 1, &ops, 5 * MS);
	expect_served(&c, 1);
	assert_int_equal(atomic_load(&c.idles), 1);
	c = (struct customer){ .wants = 1, .ops = &ops };
	customer_main(&c);
	assert_false(c.got);
	assert_int_equal(atomic_load(&c.idles), 0);
	expect_empty();
}

/* --- no notification is lost --- */

enum { TURNS = 20000 };

static _Atomic int got;

static void *wait_often(void *arg)
{
	struct customer c;

	(void)arg;
	for (int i = 0; i < TURNS; i++) {
		c = (struct customer){ .wants = 1,
				       .ops = &plain,
				       .timeout_ns = UINT64_MAX };
		customer_main(&c);
		if (!c.got)
			abort();
		atomic_fetch_add(&got, 1);
	}
	return NULL;
}

/* One thing at a time: the next comes when somebody has it. */
static void test_none_is_lost(void **state)
{
	int turns = config_schedule ? TURNS / 10 : TURNS;
	pthread_t threads[2];

	(void)state;
	atomic_store(&got, 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, wait_often, NULL), 0);
	if (config_schedule)
		schedule_arm(16, 1);
	for (int i = 0; i < 2 * TURNS; i++) {
		if (i == turns)
			schedule_arm(0, 0);
		bring(1);
		while (atomic_load(&got) <= i)
			sched_yield();
	}
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&shop.goods), 0);
	expect_empty();
}

static void bring_in_handler(int number)
{
	(void)number;
	bring(1);
}

/* A handler may, whatever it has interrupted. */
static void test_notify_in_handler(void **state)
{
	struct sigaction action = { .sa_handler = bring_in_handler };
	struct customer c;

	(void)state;
	sigemptyset(&action.sa_mask);
	assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
	for (int i = 0; i < 200; i++) {
		come(&c, 1, &plain, UINT64_MAX);
		if (i % 3 == 0)
			lock_acquire(&shop.queue.lock);
		assert_int_equal(i % 2 ? raise(SIGUSR1)
				       : pthread_kill(c.thread, SIGUSR1),
				 0);
		if (i % 3 == 0)
			lock_release(&shop.queue.lock);
		expect_served(&c, i + 1);
	}
	action.sa_handler = SIG_DFL;
	assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
	expect_empty();
}

/* --- fork --- */

/* In the child: 0, or which step failed. */
static int child_begins_anew(void)
{
	struct customer c = { .wants = 1, .ops = &plain };

	lock_init(&shop.queue.lock, LOCK_RANK_WAITERS);
	wait_queue_reset(&shop.queue);
	if (wait_queue_length(&shop.queue) || shop.queue.first ||
	    shop.queue.last || shop.queue.listener)
		return 1;
	customer_main(&c);
	if (c.got)
		return 2;
	bring(1);
	c = (struct customer){ .wants = 1, .ops = &plain };
	customer_main(&c);
	return c.got ? 0 : 3;
}

static void expect_child(pid_t pid)
{
	int status;

	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_fork(void **state)
{
	struct customer c[2];
	pid_t pid;

	(void)state;
	come(&c[0], 1, &plain, UINT64_MAX);
	come(&c[1], 1, &plain, UINT64_MAX);
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		_exit(child_begins_anew());
	expect_child(pid);
	assert_int_equal(wait_queue_length(&shop.queue), 2);
	bring(2);
	expect_served(&c[0], 1);
	expect_served(&c[1], 2);
	expect_empty();
}

static _Atomic pid_t forked;

static void fork_once(struct waiter *waiter)
{
	pid_t pid;

	(void)waiter;
	if (atomic_load(&forked))
		return;
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		lock_init(&shop.queue.lock, LOCK_RANK_WAITERS);
		wait_queue_reset(&shop.queue);
	}
	atomic_store(&forked, pid ? pid : -1);
}

/* Who forks while it waits comes back in the child unserved, in no queue. */
static void test_fork_in_idle(void **state)
{
	static const struct wait_ops ops = { .serve = buy,
					     .idle = fork_once,
					     .idle_ns = MS };
	struct customer c = { .wants = 1, .ops = &ops, .timeout_ns = 50 * MS };

	(void)state;
	atomic_store(&forked, 0);
	customer_main(&c);
	if (atomic_load(&forked) == -1)
		_exit(c.got || wait_queue_length(&shop.queue) ||
		      shop.queue.first);
	assert_false(c.got);
	expect_child(atomic_load(&forked));
	expect_empty();
}

static void *bring_and_serve(void *arg)
{
	(void)arg;
	lock_acquire(&shop.queue.lock);
	atomic_fetch_add(&shop.goods, 1);
	wait_queue_serve_locked(&shop.queue, &all_alike);
	lock_release(&shop.queue.lock);
	return NULL;
}

static void fork_served(struct waiter *waiter)
{
	pthread_t thread;

	if (atomic_load(&forked))
		return;
	if (pthread_create(&thread, NULL, bring_and_serve, NULL) ||
	    pthread_join(thread, NULL))
		abort();
	fork_once(waiter);
}

/* What it was served before it forked it has in the child as well. */
static void test_served_and_forked(void **state)
{
	static const struct wait_ops ops = { .serve = buy,
					     .idle = fork_served,
					     .idle_ns = MS };
	struct customer c = { .wants = 1,
			      .ops = &ops,
			      .timeout_ns = UINT64_MAX };

	(void)state;
	atomic_store(&forked, 0);
	customer_main(&c);
	if (atomic_load(&forked) == -1)
		_exit(!c.got || wait_queue_length(&shop.queue) ||
		      shop.queue.first);
	assert_true(c.got);
	expect_child(atomic_load(&forked));
	expect_empty();
}

#define in_shop(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_shop(test_first_come),
		in_shop(test_many_at_once),
		in_shop(test_large_blocks_nobody),
		in_shop(test_covered_are_not_tried),
		in_shop(test_serve_locked),
		in_shop(test_timeout),
		in_shop(test_leave_without_waiting),
		in_shop(test_listener_gives_up),
		in_shop(test_others_give_up),
		in_shop(test_served_as_it_leaves),
		in_shop(test_served_while_away),
		in_shop(test_nobody_listens),
		in_shop(test_idle_repeats),
		in_shop(test_idle_at_the_end),
		in_shop(test_none_is_lost),
		in_shop(test_notify_in_handler),
		in_shop(test_fork),
		in_shop(test_fork_in_idle),
		in_shop(test_served_and_forked),
	};

	return cmocka_run_group_tests_name("wait_queue", tests, NULL, NULL);
}
