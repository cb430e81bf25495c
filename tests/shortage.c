/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls that find no pages: whose reserves are dissolved, which nodes are asked
 * for theirs, who serves the line meanwhile, and shrinkers that fork.
 */
#include "testing.h"

#include <errno.h>
#include <sys/mman.h>
#include <time.h>

#include "instance/allocator.h"
#include "alloc/page_alloc.h"
#include "platform/platform.h"

#define MIB (UINT64_C(1) << 20)

enum { MOST = 1 << 16, LONG_MS = 10000 };

static struct test_messages messages = TEST_MESSAGES_INIT;
static struct quire_page *pages[MOST];
static size_t nr_pages;

static int begin(void **state)
{
	(void)state;
	nr_pages = 0;
	alarm(20);
	return test_begin(&messages);
}

static int end(void **state)
{
	(void)state;
	alarm(0);
	return 0;
}

static struct quire_options options_of(uint64_t size)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;

	options.size = size;
	options.flags = QUIRE_OFFSETS;
	options.way = QUIRE_WAY_TRYLOCK;
	options.decay_ms = 1000000;
	options.report = test_catch;
	options.report_arg = &messages;
	return options;
}

static struct quire *create(const struct quire_options *options)
{
	struct quire *q = quire_create(options);

	if (!q)
		fail_msg("errno %d: %s", errno, messages.text[0]);
	return q;
}

static void keep(struct quire_page *page)
{
	assert_true(nr_pages < MOST);
	pages[nr_pages++] = page;
}

/* All single pages that such calls can have. */
static void fill(struct quire *q, unsigned flags)
{
	struct quire_page *page;

	while ((page = quire_alloc_pages(q, 0, flags | QUIRE_NORETRY)))
		keep(page);
	assert_int_equal(quire_drain_all(q), 0);
	while ((page = quire_alloc_pages(q, 0, flags | QUIRE_NORETRY)))
		keep(page);
}

static void give(struct quire *q, size_t n)
{
	while (n--)
		assert_int_equal(quire_free_pages(q, pages[--nr_pages], 0), 0);
}

static void destroy(struct quire *q)
{
	give(q, nr_pages);
	assert_int_equal(wait_queue_length(&q->page_waiters), 0);
	for (unsigned z = 0; z < q->nr_zones; z++)
		assert_int_equal(atomic_load(&q->zone[z]->owed), 0);
	assert_int_equal(quire_validate(q), 0);
	assert_int_equal(quire_destroy(q), 0);
}

static void nap(void)
{
	const struct timespec pause = { .tv_nsec = 100000 };

	nanosleep(&pause, NULL);
}

/* --- waiters --- */

struct waiting {
	struct quire *q;
	unsigned order, flags;
	uint64_t exact;
	struct quire_page *page;
	int error;
	uint64_t ns;
	_Atomic bool done;
	pthread_t thread;
};

static void *wait_main(void *arg)
{
	struct waiting *w = arg;
	uint64_t start = platform_ns();

	errno = 0;
	w->page = w->exact ? quire_alloc_exact(w->q, w->exact, w->flags)
			   : quire_alloc_pages_with(w->q, w->order, w->flags,
						    NULL, LONG_MS);
	w->error = errno;
	w->ns = platform_ns() - start;
	atomic_store(&w->done, true);
	return NULL;
}

/* In line, and so after all that comes before it, when this returns. */
static void join_line(struct waiting *w)
{
	uint32_t length = wait_queue_length(&w->q->page_waiters);

	assert_int_equal(pthread_create(&w->thread, NULL, wait_main, w), 0);
	while (wait_queue_length(&w->q->page_waiters) == length)
		nap();
	while (!atomic_load(&w->q->pcp[0]->shut))
		nap();
}

static void expect_served(struct waiting *w)
{
	pthread_join(w->thread, NULL);
	if (!w->page)
		fail_msg("order %u, %llu pages, flags 0x%x: errno %d", w->order,
			 (unsigned long long)w->exact, w->flags, w->error);
	/* Not when it looked for the last time, but when there was a page. */
	if (w->flags & QUIRE_WAIT)
		assert_true(w->ns < LONG_MS * UINT64_C(1000000));
}

/* --- reserves --- */

/* What comes back to the high-atomic reserve is for who would wait for it. */
static void reserve_comes_back(unsigned flags)
{
	const struct quire_options options = options_of(256 * MIB);
	struct quire *q = create(&options);
	struct waiting w = { .q = q, .flags = flags };
	struct quire_page *atomic[256];

	for (int i = 0; i < 256; i++)
		assert_non_null(atomic[i] =
					quire_alloc_pages(q, 1, QUIRE_ATOMIC));
	assert_int_equal(quire_mobility(q, quire_page_to_pfn(q, atomic[0])),
			 QUIRE_TYPE_HIGHATOMIC);
	fill(q, 0);
	join_line(&w);
	for (int i = 0; i < 256; i++)
		assert_int_equal(quire_free_pages(q, atomic[i], 1), 0);
	expect_served(&w);
	keep(w.page);
	destroy(q);
}

static void test_reserve_for_waiter(void **state)
{
	(void)state;
	reserve_comes_back(QUIRE_WAIT);
}

static void test_reserve_for_nofail(void **state)
{
	(void)state;
	reserve_comes_back(QUIRE_NOFAIL);
}

/* Pages of a device's are owed to who waits for them as others are. */
static void test_owed_by_device(void **state)
{
	struct quire_options options = options_of(64 * MIB);
	struct waiting w = { .order = 4, .flags = QUIRE_WAIT | QUIRE_DEVICE };
	struct quire_page *run;
	struct quire *q;

	(void)state;
	options.zone_size[QUIRE_ZONE_DEVICE] = 32 * MIB;
	w.q = q = create(&options);
	run = quire_alloc_pages(q, 4, QUIRE_DEVICE);
	fill(q, QUIRE_DEVICE);
	join_line(&w);
	/* No two of them are a run. */
	for (size_t i = 0; i < 32; i += 2)
		assert_int_equal(quire_free_pages(q, pages[i], 0), 0);
	assert_null(quire_alloc_pages(q, 0, QUIRE_DEVICE));
	assert_int_equal(quire_free_pages(q, run, 4), 0);
	expect_served(&w);
	assert_int_equal(quire_free_pages(q, w.page, 4), 0);
	for (size_t i = 0; i < 32; i += 2)
		assert_non_null(pages[i] =
					quire_alloc_pages(q, 0, QUIRE_DEVICE));
	destroy(q);
}

/* What a block of 8 cannot have, a run of 5 may. */
static void test_exact_behind_block(void **state)
{
	struct quire_options options = options_of(64 * MIB);
	struct waiting block = { .order = 3, .flags = QUIRE_WAIT };
	struct waiting exact = { .order = 3, .exact = 5, .flags = QUIRE_WAIT };
	struct quire_page *first, *run;
	struct quire *q;

	(void)state;
	options.min_free = 4 * MIB;
	options.wait_ms = LONG_MS;
	block.q = exact.q = q = create(&options);
	assert_non_null(first = quire_alloc_pages(q, 3, 0));
	fill(q, 0);
	assert_non_null(run = quire_alloc_exact(q, 8, QUIRE_MEMALLOC));
	join_line(&block);
	join_line(&exact);
	assert_int_equal(quire_free_pages(q, first, 3), 0);
	assert_int_equal(quire_free_exact(q, run, 6), 0);
	expect_served(&exact);
	assert_false(atomic_load(&block.done));
	assert_int_equal(quire_free_exact(q, exact.page, 5), 0);
	give(q, 64);
	expect_served(&block);
	assert_int_equal(quire_free_pages(q, block.page, 3), 0);
	run = quire_pfn_to_page(q, quire_page_to_pfn(q, run) + 6);
	assert_int_equal(quire_free_exact(q, run, 2), 0);
	destroy(q);
}

/* --- who listens while the first in line calls shrinkers --- */

struct gate {
	struct quire_shrinker shrinker;
	struct quire *q;
	pthread_t thread; /* is held up, once it is in line */
	uint32_t length;  /* and the line is so long */
	_Atomic bool inside, open;
};

static uint64_t gate_count(struct quire_shrinker *shrinker,
			   const struct quire_shrink *want)
{
	(void)shrinker;
	(void)want;
	return 1;
}

static uint64_t gate_scan(struct quire_shrinker *shrinker,
			  const struct quire_shrink *want, uint64_t n)
{
	struct gate *gate = shrinker->arg;

	(void)want;
	(void)n;
	if (wait_queue_length(&gate->q->page_waiters) < gate->length ||
	    !pthread_equal(pthread_self(), gate->thread))
		return QUIRE_SHRINK_STOP;
	atomic_store(&gate->inside, true);
	while (!atomic_load(&gate->open))
		nap();
	return QUIRE_SHRINK_STOP;
}

static void *nofail_main(void *arg)
{
	struct waiting *w = arg;

	w->page = quire_alloc_pages(w->q, w->order, QUIRE_NOFAIL);
	return NULL;
}

/* The second one joins the line before the first goes away, or after. */
static void held_up(bool before)
{
	const struct quire_options options = options_of(64 * MIB);
	struct quire *q = create(&options);
	struct waiting first = { .q = q, .order = 10 };
	struct waiting second = { .q = q, .flags = QUIRE_WAIT };
	struct gate gate = { .shrinker = { .name = "gate",
					   .count = gate_count,
					   .scan = gate_scan },
			     .q = q,
			     .length = before ? 2 : 1 };
	struct quire_page *big = quire_alloc_pages(q, 10, 0);

	gate.shrinker.arg = &gate;
	fill(q, 0);
	assert_int_equal(
		pthread_create(&first.thread, NULL, nofail_main, &first), 0);
	while (wait_queue_length(&q->page_waiters) == 0)
		nap();
	gate.thread = first.thread;
	assert_int_equal(quire_shrinker_register(q, &gate.shrinker), 0);
	if (before)
		join_line(&second);
	while (!atomic_load(&gate.inside))
		nap();
	if (!before)
		join_line(&second);
	give(q, 1);
	expect_served(&second);
	assert_false(atomic_load(&gate.open));
	keep(second.page);
	/* The first has kept its place. */
	assert_int_equal(quire_free_pages(q, big, 10), 0);
	atomic_store(&gate.open, true);
	expect_served(&first);
	assert_int_equal(quire_shrinker_unregister(q, &gate.shrinker), 0);
	assert_int_equal(quire_free_pages(q, first.page, 10), 0);
	destroy(q);
}

static void test_held_up_then_joined(void **state)
{
	(void)state;
	held_up(false);
}

static void test_joined_then_held_up(void **state)
{
	(void)state;
	held_up(true);
}

/* --- nodes --- */

enum { NODES = 3 };

static unsigned kicks[NODES], asked[NODES], order_asked[NODES], nr_asked;
/* Where a call of the hook frees a page. */
static unsigned giver;

static void kick_hook(struct quire *q, unsigned node)
{
	assert_true(node < q->nodes->nr);
	kicks[node]++;
}

static uint64_t reclaim_hook(struct quire *q, const struct quire_shrink *want)
{
	if (asked[want->node]++ == 0)
		order_asked[nr_asked++] = want->node;
	if (want->node != giver || nr_pages == 0)
		return 0;
	give(q, 1);
	return 1;
}

static unsigned node_of_cpu(void *arg, unsigned cpu)
{
	(void)arg;
	(void)cpu;
	return 1;
}

/* Full; the last page is of the giver's. */
static struct quire *create_nodes(unsigned gives)
{
	/* From node 1 the nearest are 1, 2, 0. */
	static const uint8_t distances[NODES * NODES] = { 10, 40, 30, 40, 10,
							  20, 30, 20, 10 };
	struct quire_options options = options_of(96 * MIB);
	struct quire *q;

	options.nodes = NODES;
	options.distances = distances;
	options.cpu_node = node_of_cpu;
	options.zone_size[QUIRE_ZONE_DEVICE] = 6 * MIB;
	q = create(&options);
	for (unsigned i = 0; i < NODES; i++)
		fill(q, QUIRE_NODE((gives + 1 + i) % NODES) | QUIRE_THISNODE);
	memset(kicks, 0, sizeof(kicks));
	memset(asked, 0, sizeof(asked));
	nr_asked = 0;
	giver = gives;
	atomic_store(&q->hooks.kick, kick_hook);
	atomic_store(&q->hooks.reclaim, reclaim_hook);
	return q;
}

static void stop_nodes(struct quire *q)
{
	atomic_store(&q->hooks.kick, NULL);
	atomic_store(&q->hooks.reclaim, NULL);
	destroy(q);
}

/* Whoever has pages is asked, the nearest first. */
static void test_nodes_are_asked(void **state)
{
	struct quire *q = create_nodes(0);
	struct quire_page *page;

	(void)state;
	assert_non_null(page = quire_alloc_pages(q, 0, 0));
	assert_int_equal(quire_page_node(q, page), 0);
	assert_int_equal(nr_asked, NODES);
	assert_int_equal(order_asked[0], 1);
	assert_int_equal(order_asked[1], 2);
	assert_int_equal(order_asked[2], 0);
	for (unsigned i = 0; i < NODES; i++)
		assert_int_equal(kicks[i], 1);
	keep(page);
	stop_nodes(q);
}

/* Nobody is asked in vain: where the call may not go, or did not need to. */
static void test_nodes_are_spared(void **state)
{
	struct quire *q = create_nodes(1);
	struct quire_page *page;

	(void)state;
	assert_non_null(page = quire_alloc_pages(q, 0, 0));
	assert_int_equal(quire_page_node(q, page), 1);
	assert_int_equal(nr_asked, 1);
	keep(page);
	memset(kicks, 0, sizeof(kicks));
	giver = NODES;
	assert_null(quire_alloc_pages(q, 0, QUIRE_NODE(2) | QUIRE_THISNODE));
	assert_int_equal(nr_asked, 2);
	assert_int_equal(asked[0] + kicks[0] + kicks[1], 0);
	assert_int_equal(kicks[2], 1);
	stop_nodes(q);
}

/* Nobody has caches of a device's pages. */
static void test_device_asks_nobody(void **state)
{
	struct quire *q = create_nodes(0);

	(void)state;
	fill(q, QUIRE_DEVICE);
	memset(kicks, 0, sizeof(kicks));
	assert_null(quire_alloc_pages(q, 0, QUIRE_DEVICE));
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(nr_asked, 0);
	for (unsigned i = 0; i < NODES; i++)
		assert_int_equal(kicks[i], 0);
	stop_nodes(q);
}

/* --- shrinkers that fork --- */

enum { CHILD_FREES = 100 };

struct forker {
	struct quire_shrinker shrinker;
	struct quire *q;
	uint32_t length; /* of the line, when it forks */
	bool forked, child;
	int status; /* of the child, in the parent */
};

static uint64_t fork_count(struct quire_shrinker *shrinker,
			   const struct quire_shrink *want)
{
	(void)want;
	return ((struct forker *)shrinker->arg)->forked ? 0 : 1;
}

static uint64_t fork_scan(struct quire_shrinker *shrinker,
			  const struct quire_shrink *want, uint64_t n)
{
	struct forker *forker = shrinker->arg;
	pid_t pid;

	(void)want;
	(void)n;
	if (wait_queue_length(&forker->q->page_waiters) < forker->length)
		return QUIRE_SHRINK_STOP;
	forker->forked = true;
	fflush(stdout);
	pid = fork();
	forker->child = pid == 0;
	if (pid == 0)
		alarm(60);
	else if (waitpid(pid, &forker->status, 0) != pid)
		return QUIRE_SHRINK_STOP;
	if (!forker->q->forked)
		give(forker->q, CHILD_FREES);
	return CHILD_FREES;
}

static void forker_register(struct forker *forker, struct quire *q,
			    uint32_t length)
{
	*forker = (struct forker){ .shrinker = { .name = "forker",
						 .count = fork_count,
						 .scan = fork_scan },
				   .q = q,
				   .length = length };
	forker->shrinker.arg = forker;
	assert_int_equal(quire_shrinker_register(q, &forker->shrinker), 0);
}

/* The child of who stands in line stands in none: it must find its way. */
static void test_fork_in_line(void **state)
{
	struct quire_options options = options_of(16 * MIB);
	struct quire_page *page;
	struct forker forker;
	struct quire *q;

	(void)state;
	options.flags = 0;
	options.backing[0] = QUIRE_BACKING_BASE;
	q = create(&options);
	fill(q, 0);
	forker_register(&forker, q, 1);
	page = quire_alloc_pages(q, 0, QUIRE_NOFAIL);
	if (forker.child)
		_exit(!page || wait_queue_length(&q->page_waiters) ||
		      atomic_load(&q->zone[0]->owed) ||
		      atomic_load(&q->pcp[0]->shut) || quire_validate(q));
	assert_int_equal(forker.status, 0);
	assert_non_null(page);
	keep(page);
	assert_int_equal(quire_shrinker_unregister(q, &forker.shrinker), 0);
	destroy(q);
}

/* Memory that is shared stays the parent's. */
static void fork_shared(unsigned flags, uint32_t length)
{
	struct quire_options options = options_of(16 * MIB);
	void *region = mmap(NULL, options.size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct quire_page *page;
	struct forker forker;
	struct quire *q;

	assert_ptr_not_equal(region, MAP_FAILED);
	options.flags = 0;
	options.address = region;
	q = create(&options);
	fill(q, 0);
	forker_register(&forker, q, length);
	page = quire_alloc_pages(q, 0, flags);
	if (forker.child)
		_exit(page || errno != EPERM);
	assert_int_equal(forker.status, 0);
	assert_non_null(page);
	keep(page);
	assert_int_equal(quire_shrinker_unregister(q, &forker.shrinker), 0);
	destroy(q);
	munmap(region, options.size);
}

static void test_fork_of_shared(void **state)
{
	(void)state;
	fork_shared(0, 0);
}

static void test_fork_of_shared_in_line(void **state)
{
	(void)state;
	fork_shared(QUIRE_NOFAIL, 1);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, begin, end)
	const struct CMUnitTest tests[] = {
		CASE(test_reserve_for_waiter),
		CASE(test_reserve_for_nofail),
		CASE(test_owed_by_device),
		CASE(test_exact_behind_block),
		CASE(test_held_up_then_joined),
		CASE(test_joined_then_held_up),
		CASE(test_nodes_are_asked),
		CASE(test_nodes_are_spared),
		CASE(test_device_asks_nobody),
		CASE(test_fork_in_line),
		CASE(test_fork_of_shared),
		CASE(test_fork_of_shared_in_line),
	};

	return cmocka_run_group_tests_name("shortage", tests, NULL, NULL) != 0;
}
