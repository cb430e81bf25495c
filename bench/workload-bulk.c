/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bulk, random, exhaust: an arena's pages taken, then freed; the two are phases
 * that all threads begin together. Pages are of order 0. All has been taken and
 * freed once before: who keeps memory and tables has them then.
 */
#include "workloads.h"

struct held *held_new(uint64_t capacity)
{
	struct held *held =
		bench_map(sizeof(*held) + capacity * sizeof(held->blocks[0]));

	if (held)
		held->capacity = capacity;
	return held;
}

static void held_empty(struct worker *worker, struct held *held)
{
	for (uint64_t i = 0; i < held->count; i++)
		worker->adapter->free(held->blocks[i], 0);
	held->count = 0;
}

void held_delete(struct worker *worker, struct held *held)
{
	if (!held)
		return;
	held_empty(worker, held);
	bench_unmap(held,
		    sizeof(*held) + held->capacity * sizeof(held->blocks[0]));
}

int held_fill(struct worker *worker, struct held *held, uint64_t n)
{
	for (; held->count < n; held->count++) {
		void *block = worker->adapter->alloc(0);

		if (!block)
			return -1;
		held->blocks[held->count] = block;
	}
	return 0;
}

void held_shuffle(struct worker *worker, struct held *held)
{
	for (uint64_t i = held->count; i > 1; i--) {
		uint64_t j = random_below(&worker->seed, i);
		void *block = held->blocks[i - 1];

		held->blocks[i - 1] = held->blocks[j];
		held->blocks[j] = block;
	}
}

/* A thread's share of 90 % of the arena. */
static uint64_t bulk_share(const struct worker *worker)
{
	return worker->pages * 9 / 10 / worker->threads;
}

/* Once through all of it: what is measured is not the first touch. */
static int warm_up(struct worker *worker, uint64_t capacity)
{
	struct held *held = held_new(capacity);

	if (!held)
		return -1;
	if (held_fill(worker, held, bulk_share(worker)) != 0) {
		held_delete(worker, held);
		return -1;
	}
	held_empty(worker, held);
	worker->state = held;
	return 0;
}

static int bulk_setup(struct worker *worker)
{
	return warm_up(worker, bulk_share(worker));
}

/* Any thread may come to hold nearly all. */
static int exhaust_setup(struct worker *worker)
{
	return warm_up(worker, worker->pages);
}

static void held_teardown(struct worker *worker)
{
	held_delete(worker, worker->state);
}

WORKLOAD_BODY take_all(struct worker *worker, bool timed)
{
	const struct calls calls = calls_of(worker);
	struct held *held = worker->state;
	uint64_t n = 0;

	worker_begin(worker, 0);
	while (n < held->capacity) {
		void *block = take(calls, 0, timed);

		if (__builtin_expect(block == NULL, 0))
			break;
		held->blocks[n++] = block;
	}
	worker_end(worker, 0);
	held->count = n;
	worker->ops = n;
}

WORKLOAD_BODY give_all(struct worker *worker, bool timed)
{
	const struct calls calls = calls_of(worker);
	struct held *held = worker->state;
	const uint64_t n = held->count;

	worker_begin(worker, 1);
	for (uint64_t i = 0; i < n; i++)
		give(calls, held->blocks[i], 0, timed);
	worker_end(worker, 1);
	held->count = 0;
}

WORKLOAD_BODY bulk_body(struct worker *worker, bool timed)
{
	struct held *held = worker->state;

	take_all(worker, timed);
	worker->failures = held->capacity - held->count;
	worker_sync(worker);
	give_all(worker, timed);
}

WORKLOAD_BODY shuffled_body(struct worker *worker, bool timed)
{
	struct held *held = worker->state;

	take_all(worker, timed);
	worker->failures = held->capacity - held->count;
	held_shuffle(worker, held);
	worker_sync(worker);
	give_all(worker, timed);
}

/* Its figure is how much of the arena was handed out before the first NULL. */
WORKLOAD_BODY exhaust_body(struct worker *worker, bool timed)
{
	take_all(worker, timed);
	worker_sync(worker);
	if (worker->index == 0) {
		uint64_t taken = 0;

		for (unsigned i = 0; i < worker->threads; i++)
			taken += worker->run->workers[i].ops;
		worker->run->extra = (double)taken / (double)worker->pages;
	}
	give_all(worker, timed);
}

WORKLOAD_ROUND(bulk)
WORKLOAD_ROUND(shuffled)
WORKLOAD_ROUND(exhaust)

const struct workload workload_bulk = {
	.name = "bulk",
	.text = "a page of 90 % of the arena allocated, then freed in order",
	.flags = WORKLOAD_ARENA,
	.params = 1,
	.setup = bulk_setup,
	.round = bulk,
	.teardown = held_teardown,
};

const struct workload workload_random = {
	.name = "random",
	.text = "a page of 90 % of the arena allocated, then freed shuffled",
	.flags = WORKLOAD_ARENA | WORKLOAD_SCATTER,
	.params = 1,
	.setup = bulk_setup,
	.round = shuffled,
	.teardown = held_teardown,
};

const struct workload workload_exhaust = {
	.name = "exhaust",
	.text = "a page of all the arena allocated, to the last one, and "
		"freed; share taken",
	.extra = "taken",
	.flags = WORKLOAD_ARENA | WORKLOAD_BOUNDED,
	.params = 1,
	.setup = exhaust_setup,
	.round = exhaust,
	.teardown = held_teardown,
};
