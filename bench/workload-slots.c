/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * refill, mixed, touch: blocks come and go among many that stay.
 */
#include "workloads.h"

/* --- refill --- */

static int refill_setup(struct worker *worker)
{
	uint64_t n = worker->pages / 2 / worker->threads;
	struct held *held = held_new(n);

	if (!held)
		return -1;
	if (held_fill(worker, held, n) != 0) {
		held_delete(worker, held);
		return -1;
	}
	worker->state = held;
	return 0;
}

static void held_teardown(struct worker *worker)
{
	held_delete(worker, worker->state);
}

WORKLOAD_BODY refill_body(struct worker *worker, bool timed)
{
	const struct calls calls = calls_of(worker);
	struct held *held = worker->state;
	uint64_t seed = worker->seed, ops = 0;

	worker_begin(worker, 0);
	do {
		for (unsigned i = 0; i < STREAM_BATCH; i++) {
			void **block =
				&held->blocks[random_below(&seed, held->count)];

			give(calls, *block, 0, timed);
			*block = take(calls, 0, timed);
			if (__builtin_expect(*block == NULL, 0)) {
				worker->failures++;
				*block = held->blocks[--held->count];
			}
		}
		ops += STREAM_BATCH;
	} while (!worker_stopped(worker));
	worker_end(worker, 0);
	worker->seed = seed;
	worker->ops = ops;
}

/* --- mixed --- */

enum { MIXED_SLOTS = 1 << 16, MIXED_ORDERS = 1 << 10 };

struct slot {
	void *block;
	unsigned order;
};

struct mixed {
	uint64_t count;
	uint8_t orders[MIXED_ORDERS]; /* what is drawn from */
	struct slot slots[];
};

/* 80 % order 0, 15 % orders 1 to 3, 5 % orders 4 to 9. */
static void mixed_orders(struct mixed *mixed)
{
	for (unsigned i = 0; i < MIXED_ORDERS; i++) {
		unsigned percent = i * 100 / MIXED_ORDERS;

		mixed->orders[i] = (uint8_t)(percent < 80   ? 0
					     : percent < 95 ? 1 + i % 3
							    : 4 + i % 6);
	}
}

static uint64_t mixed_bytes(const struct worker *worker)
{
	return sizeof(struct mixed) +
	       MIXED_SLOTS / worker->threads * sizeof(struct slot);
}

static void mixed_teardown(struct worker *worker)
{
	struct mixed *mixed = worker->state;

	for (uint64_t i = 0; i < mixed->count; i++)
		if (mixed->slots[i].block)
			worker->adapter->free(mixed->slots[i].block,
					      mixed->slots[i].order);
	bench_unmap(mixed, mixed_bytes(worker));
}

static int mixed_setup(struct worker *worker)
{
	struct mixed *mixed = bench_map(mixed_bytes(worker));

	if (!mixed)
		return -1;
	mixed_orders(mixed);
	worker->state = mixed;
	mixed->count = MIXED_SLOTS / worker->threads;
	for (uint64_t i = 0; i < mixed->count; i++) {
		struct slot *slot = &mixed->slots[i];

		slot->order = mixed->orders[random_below(&worker->seed,
							 MIXED_ORDERS)];
		slot->block = worker->adapter->alloc(slot->order);
		if (!slot->block) {
			mixed_teardown(worker);
			return -1;
		}
	}
	return 0;
}

WORKLOAD_BODY mixed_body(struct worker *worker, bool timed)
{
	const struct calls calls = calls_of(worker);
	struct mixed *mixed = worker->state;
	uint64_t seed = worker->seed, ops = 0;

	worker_begin(worker, 0);
	do {
		for (unsigned i = 0; i < STREAM_BATCH; i++) {
			uint64_t r = random_next(&seed);
			struct slot *slot =
				&mixed->slots[((r >> 32) * mixed->count) >> 32];

			if (__builtin_expect(slot->block != NULL, 1))
				give(calls, slot->block, slot->order, timed);
			slot->order = mixed->orders[r % MIXED_ORDERS];
			slot->block = take(calls, slot->order, timed);
			if (__builtin_expect(slot->block == NULL, 0))
				worker->failures++;
		}
		ops += STREAM_BATCH;
	} while (!worker_stopped(worker));
	worker_end(worker, 0);
	worker->seed = seed;
	worker->ops = ops;
}

/* --- touch --- */

enum { TOUCH_PAGES = 4096, TOUCH_FIRST = 2 * TOUCH_PAGES };

static int touch_setup(struct worker *worker)
{
	worker->state = held_new(TOUCH_FIRST);
	return worker->state ? 0 : -1;
}

/*
 * The first pass takes twice as much: for what caches keep back later, and for
 * who rather takes from a smaller run beside what they keep than from the run
 * that was given back.
 */
static uint64_t touch_first(const struct worker *worker)
{
	uint64_t share = worker->pages / worker->threads;

	return share < TOUCH_FIRST ? share : TOUCH_FIRST;
}

/* Takes as many of the wanted pages as can be had and writes to each. */
WORKLOAD_BODY touch_take(struct worker *worker, struct calls calls,
			 uint64_t wanted, bool timed)
{
	void *(*const address)(void *) = worker->adapter->address;
	struct held *held = worker->state;
	uint64_t n;

	for (n = 0; n < wanted; n++) {
		void *block = take(calls, 0, timed);

		if (__builtin_expect(block == NULL, 0))
			break;
		*(volatile char *)(address ? address(block) : block) = 1;
		held->blocks[n] = block;
	}
	held->count = n;
}

WORKLOAD_BODY touch_give(struct worker *worker, struct calls calls, bool timed)
{
	struct held *held = worker->state;
	const uint64_t n = held->count;

	for (uint64_t i = 0; i < n; i++)
		give(calls, held->blocks[i], 0, timed);
	held->count = 0;
}

/*
 * Who keeps its memory has it from the first pass on, which does not count. All
 * threads hold their pages at once in it, or one would warm up on the pages of
 * another that is done.
 */
WORKLOAD_BODY touch_body(struct worker *worker, bool timed)
{
	const struct calls calls = calls_of(worker);
	const struct held *held = worker->state;
	uint64_t ops = 0;

	touch_take(worker, calls, touch_first(worker), false);
	worker_sync(worker);
	touch_give(worker, calls, false);
	worker_begin(worker, 0);
	do {
		touch_take(worker, calls, TOUCH_PAGES, timed);
		worker->failures += TOUCH_PAGES - held->count;
		ops += held->count;
		touch_give(worker, calls, timed);
	} while (!worker_stopped(worker));
	worker_end(worker, 0);
	worker->ops = ops;
}

WORKLOAD_ROUND(refill)
WORKLOAD_ROUND(mixed)
WORKLOAD_ROUND(touch)

const struct workload workload_refill = {
	.name = "refill",
	.text = "half the arena taken; a random page freed and a new one taken",
	.flags = WORKLOAD_STREAM | WORKLOAD_ARENA | WORKLOAD_SCATTER,
	.params = 1,
	.setup = refill_setup,
	.round = refill,
	.teardown = held_teardown,
};

const struct workload workload_mixed = {
	.name = "mixed",
	.text = "64k live blocks of orders 0 to 9; a random one replaced",
	.flags = WORKLOAD_STREAM,
	.params = 1,
	.setup = mixed_setup,
	.round = mixed,
	.teardown = mixed_teardown,
};

const struct workload workload_touch = {
	.name = "touch",
	.text = "a page of 16 MiB taken and written to, then freed",
	.flags = WORKLOAD_STREAM,
	.params = 1,
	.setup = touch_setup,
	.round = touch,
	.teardown = held_teardown,
};
