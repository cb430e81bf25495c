/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A run: an allocator, threads that use it, and rounds of a workload in them.
 *
 * A round is one of two kinds. A stream goes on until run->stop, which is set
 * after a slice of time; a pass ends by itself. Each worker times its own part,
 * by the wall and by its own CPU time: the first is what throughput is made of,
 * the second does not see what else the machine does. Setting up and tearing
 * down are not timed.
 */
#ifndef BENCH_RUN_H
#define BENCH_RUN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "bench.h"
#include "histogram.h"

enum { MAX_PHASES = 2 };

struct span {
	uint64_t wall_start, wall_end; /* ns */
	uint64_t cpu;
};

struct worker {
	const struct quire_bench_adapter *adapter;
	struct run *run;
	unsigned index, threads, param;
	uint64_t pages; /* in the arena */
	uint64_t seed;
	void *state; /* the workload's own */
	/* What a round reports. */
	uint64_t ops;
	uint64_t failures; /* of allocations that had to succeed */
	struct span spans[MAX_PHASES];
	struct histogram *latency; /* NULL: calls are not timed */
	/* The engine's. */
	uint64_t cpu_start;
	int error;
	pthread_t thread;
};

struct run {
	const struct workload *workload;
	const struct quire_bench_adapter *adapter;
	unsigned threads;
	struct worker *workers;
	struct histogram *latencies; /* one per worker */
	pthread_barrier_t all;	     /* workers and the one who runs them */
	pthread_barrier_t peers;     /* workers */
	atomic_bool stop;
	bool timed, quit;
	bool creates;	/* the workload makes the allocator */
	double extra;	/* the workload's own figure */
	uint64_t slice; /* ns */
	uint64_t arena_bytes;
};

/* Around what counts, by each worker; phase < MAX_PHASES, 0 alone in a stream.
 */
void worker_begin(struct worker *worker, unsigned phase);
void worker_end(struct worker *worker, unsigned phase);
/* Waits for the other workers. */
void worker_sync(struct worker *worker);

static inline bool worker_stopped(const struct worker *worker)
{
	return atomic_load_explicit(&worker->run->stop, memory_order_relaxed);
}

/* Memory that is no peer's; NULL if there is none. */
void *bench_map(uint64_t bytes);
void bench_unmap(void *p, uint64_t bytes);

static inline uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	*state = x;
	return x * 0x2545f4914f6cdd1dull;
}

/* 0 <= result < n < 2^32 */
static inline uint64_t random_below(uint64_t *state, uint64_t n)
{
	return ((random_next(state) >> 32) * n) >> 32;
}

#endif
