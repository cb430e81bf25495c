/* SPDX-License-Identifier: BSD-2-Clause */
/* pair: a block allocated and freed at once, what per-CPU lists are for. */
#include "workloads.h"

WORKLOAD_BODY pair_body(struct worker *worker, bool timed)
{
	const struct calls calls = calls_of(worker);
	const unsigned order = worker->param;
	uint64_t ops = 0, failures = 0;

	/* The first call of a thread is not what is asked about. */
	for (unsigned i = 0; i < STREAM_BATCH; i++) {
		void *block = take(calls, order, false);

		if (block)
			give(calls, block, order, false);
	}
	worker_begin(worker, 0);
	do {
		for (unsigned i = 0; i < STREAM_BATCH; i++) {
			void *block = take(calls, order, timed);

			if (__builtin_expect(block == NULL, 0)) {
				failures++;
				continue;
			}
			give(calls, block, order, timed);
		}
		ops += STREAM_BATCH;
	} while (!worker_stopped(worker));
	worker_end(worker, 0);
	worker->ops = ops;
	worker->failures = failures;
}

WORKLOAD_ROUND(pair)

const struct workload workload_pair = {
	.name = "pair",
	.text = "a block allocated and freed at once",
	.param = "order",
	.params = QUIRE_BENCH_MAX_ORDER + 1,
	.flags = WORKLOAD_STREAM,
	.round = pair,
};
