/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fragment: three quarters of the arena taken page by page, a random half of
 * them freed, then four times the arena freed and taken again, at random. After
 * a drain, how many blocks of 2 MiB come out, against what would if all live
 * pages were packed?
 *
 * In bursts, up to 4096 pages are freed before as many are taken, which reaches
 * behind any per-CPU list; balanced, one is freed and one is taken.
 */
#include "workloads.h"

enum { WHOLE_ORDER = 9, MAX_BURST = 4096, CHURN = 4 };

static int fragment_setup(struct worker *worker)
{
	uint64_t n = worker->pages * 3 / 4;
	struct held *held = held_new(n);

	if (!held)
		return -1;
	if (held_fill(worker, held, n) != 0) {
		held_delete(worker, held);
		return -1;
	}
	held_shuffle(worker, held);
	while (held->count > n / 2)
		worker->adapter->free(held->blocks[--held->count], 0);
	worker->state = held;
	return 0;
}

static void fragment_teardown(struct worker *worker)
{
	held_delete(worker, worker->state);
}

/* Whole blocks that come out now, of those that could. */
static double whole_share(struct worker *worker)
{
	const struct quire_bench_adapter *adapter = worker->adapter;
	struct held *held = worker->state, *whole = held_new(worker->pages);
	uint64_t ideal = (worker->pages - held->count) >> WHOLE_ORDER;
	uint64_t n = 0;

	if (!whole)
		return 0;
	if (adapter->drain)
		adapter->drain();
	while ((whole->blocks[n] = adapter->alloc(WHOLE_ORDER)) != NULL)
		n++;
	for (uint64_t i = 0; i < n; i++)
		adapter->free(whole->blocks[i], WHOLE_ORDER);
	held_delete(worker, whole);
	return (double)n / (double)ideal;
}

/* Frees n random pages and takes n. */
WORKLOAD_BODY burst(struct worker *worker, struct calls calls, uint64_t n,
		    bool timed)
{
	struct held *held = worker->state;
	uint64_t count = held->count;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t j = random_below(&worker->seed, held->count);

		give(calls, held->blocks[j], 0, timed);
		held->blocks[j] = held->blocks[--held->count];
	}
	while (held->count < count) {
		void *block = take(calls, 0, timed);

		if (__builtin_expect(block == NULL, 0)) {
			worker->failures++;
			break;
		}
		held->blocks[held->count++] = block;
	}
}

WORKLOAD_BODY churn(struct worker *worker, uint64_t longest, bool timed)
{
	const struct calls calls = calls_of(worker);
	uint64_t wanted = worker->pages * CHURN;

	worker_begin(worker, 0);
	while (worker->ops < wanted && worker->failures == 0) {
		uint64_t n = longest == 1
				     ? 1
				     : 1 + random_below(&worker->seed, longest);

		burst(worker, calls, n, timed);
		worker->ops += n;
	}
	worker_end(worker, 0);
	if (!timed)
		worker->run->extra = whole_share(worker);
}

WORKLOAD_BODY bursts_body(struct worker *worker, bool timed)
{
	churn(worker, MAX_BURST, timed);
}

WORKLOAD_BODY balanced_body(struct worker *worker, bool timed)
{
	churn(worker, 1, timed);
}

WORKLOAD_ROUND(bursts)
WORKLOAD_ROUND(balanced)

const struct workload workload_fragment_bursts = {
	.name = "fragment-bursts",
	.text = "random pages freed and as many taken, up to 4096 at once;\n"
		"2 MiB blocks whole after it, against the ideal",
	.extra = "whole",
	.flags = WORKLOAD_ARENA | WORKLOAD_BOUNDED | WORKLOAD_SINGLE,
	.params = 1,
	.setup = fragment_setup,
	.round = bursts,
	.teardown = fragment_teardown,
};

const struct workload workload_fragment_balanced = {
	.name = "fragment-balanced",
	.text = "a random page freed and one taken, again and again;\n"
		"2 MiB blocks whole after it, against the ideal",
	.extra = "whole",
	.flags = WORKLOAD_ARENA | WORKLOAD_BOUNDED | WORKLOAD_SINGLE,
	.params = 1,
	.setup = fragment_setup,
	.round = balanced,
	.teardown = fragment_teardown,
};
