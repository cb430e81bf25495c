/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What workloads share. A round is written once, with a constant that says
 * whether calls are timed, and made twice: WORKLOAD_ROUND().
 */
#ifndef BENCH_WORKLOADS_H
#define BENCH_WORKLOADS_H

#include <stddef.h>

#include "bench.h"
#include "run.h"
#include "ticks.h"

/* Copied into registers: the table is not read again between the calls. */
struct calls {
	void *(*alloc)(unsigned order);
	void (*free)(void *block, unsigned order);
	struct histogram *latency;
};

static inline struct calls calls_of(const struct worker *worker)
{
	return (struct calls){ worker->adapter->alloc, worker->adapter->free,
			       worker->latency };
}

static inline void *take(struct calls calls, unsigned order, bool timed)
{
	uint64_t start;
	void *block;

	if (!timed)
		return calls.alloc(order);
	start = ticks_now();
	block = calls.alloc(order);
	histogram_add(calls.latency, ticks_now() - start);
	return block;
}

static inline void give(struct calls calls, void *block, unsigned order,
			bool timed)
{
	uint64_t start;

	if (!timed) {
		calls.free(block, order);
		return;
	}
	start = ticks_now();
	calls.free(block, order);
	histogram_add(calls.latency, ticks_now() - start);
}

/* Defines NAME(worker) out of NAME_body(worker, timed), which is inlined. */
#define WORKLOAD_ROUND(NAME)                                                   \
	static void NAME(struct worker *worker)                                \
	{                                                                      \
		if (worker->latency)                                           \
			NAME##_body(worker, true);                             \
		else                                                           \
			NAME##_body(worker, false);                            \
	}
#define WORKLOAD_BODY static inline __attribute__((always_inline)) void

/* Operations between two looks at the clock's word. */
enum { STREAM_BATCH = 1024 };

/* Blocks of order 0 that a worker holds. */
struct held {
	uint64_t capacity, count;
	void *blocks[];
};

struct held *held_new(uint64_t capacity);
/* Frees the blocks too. NULL is fine. */
void held_delete(struct worker *worker, struct held *held);
/* Takes blocks until there are n; 0, or -1 if there are none left. */
int held_fill(struct worker *worker, struct held *held, uint64_t n);
void held_shuffle(struct worker *worker, struct held *held);

extern const struct workload workload_pair;
extern const struct workload workload_bulk;
extern const struct workload workload_random;
extern const struct workload workload_exhaust;
extern const struct workload workload_refill;
extern const struct workload workload_mixed;
extern const struct workload workload_touch;
extern const struct workload workload_cross;
extern const struct workload workload_create;
extern const struct workload workload_fragment_bursts;
extern const struct workload workload_fragment_balanced;

#endif
