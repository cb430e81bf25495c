/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cross: threads in twos, one allocates, the other frees, over a ring. Who
 * finds it full or empty spins for a while, then yields; that time counts.
 */
#include "workloads.h"

#include <sched.h>

#include <ck_pr.h>
#include <ck_ring.h>

enum { RING_SLOTS = 1024, SPINS = 128 };

struct channel {
	ck_ring_t ring;
	ck_ring_buffer_t buffer[RING_SLOTS];
	atomic_bool ended;
};

static bool is_producer(const struct worker *worker)
{
	return worker->index % 2 == 0;
}

static int cross_setup(struct worker *worker)
{
	struct channel *channel;

	if (!is_producer(worker))
		return 0;
	channel = bench_map(sizeof(*channel));
	if (!channel)
		return -1;
	ck_ring_init(&channel->ring, RING_SLOTS);
	worker->state = channel;
	return 0;
}

static void cross_teardown(struct worker *worker)
{
	bench_unmap(worker->state, sizeof(struct channel));
}

static void pause_or_yield(unsigned *spins)
{
	if (++*spins % SPINS == 0)
		sched_yield();
	else
		ck_pr_stall();
}

WORKLOAD_BODY produce(struct worker *worker, struct channel *channel,
		      bool timed)
{
	const struct calls calls = calls_of(worker);
	unsigned spins = 0;

	while (!worker_stopped(worker)) {
		void *block = take(calls, 0, timed);

		if (__builtin_expect(block == NULL, 0)) {
			worker->failures++;
			break;
		}
		while (!ck_ring_enqueue_spsc(&channel->ring, channel->buffer,
					     block))
			pause_or_yield(&spins);
	}
	/* Pairs with the consumer's load: it then sees all that was put in. */
	atomic_store_explicit(&channel->ended, true, memory_order_release);
}

WORKLOAD_BODY consume(struct worker *worker, struct channel *channel,
		      bool timed)
{
	const struct calls calls = calls_of(worker);
	unsigned spins = 0;
	uint64_t ops = 0;

	for (;;) {
		bool ended = atomic_load_explicit(&channel->ended,
						  memory_order_acquire);
		void *block;

		if (ck_ring_dequeue_spsc(&channel->ring, channel->buffer,
					 &block)) {
			give(calls, block, 0, timed);
			ops++;
		} else if (ended) {
			break;
		} else {
			pause_or_yield(&spins);
		}
	}
	worker->ops = ops;
}

WORKLOAD_BODY cross_body(struct worker *worker, bool timed)
{
	struct channel *channel =
		worker->run->workers[worker->index & ~1u].state;

	if (is_producer(worker))
		atomic_store_explicit(&channel->ended, false,
				      memory_order_relaxed);
	worker_sync(worker);
	worker_begin(worker, 0);
	if (is_producer(worker))
		produce(worker, channel, timed);
	else
		consume(worker, channel, timed);
	worker_end(worker, 0);
}

WORKLOAD_ROUND(cross)

const struct workload workload_cross = {
	.name = "cross",
	.text = "a page allocated in one thread, freed in another",
	.flags = WORKLOAD_STREAM | WORKLOAD_PAIRED | WORKLOAD_HANDOVER,
	.params = 1,
	.setup = cross_setup,
	.round = cross,
	.teardown = cross_teardown,
};
