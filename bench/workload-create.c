/* SPDX-License-Identifier: BSD-2-Clause */
/* create: an allocator made, its first page taken and freed, and its end. */
#include "workloads.h"

/* 1 GiB to 1 TiB in steps of four. */
static unsigned create_gib(unsigned param)
{
	return 1u << 2 * param;
}

static void create(struct worker *worker)
{
	const struct quire_bench_adapter *adapter = worker->adapter;
	uint64_t bytes = (uint64_t)worker->param << 30;

	worker_begin(worker, 0);
	do {
		uint64_t start = ticks_now();
		void *block;

		if (adapter->init(bytes, 1) != 0) {
			worker->failures++;
			break;
		}
		if (worker->latency)
			histogram_add(worker->latency, ticks_now() - start);
		block = adapter->alloc(0);
		if (block)
			adapter->free(block, 0);
		adapter->fini();
		worker->ops++;
	} while (!worker_stopped(worker));
	worker_end(worker, 0);
}

const struct workload workload_create = {
	.name = "create",
	.text = "an allocator made, its first page taken, and destroyed",
	.param = "gib",
	.flags = WORKLOAD_STREAM | WORKLOAD_CREATE | WORKLOAD_SINGLE,
	.params = 6,
	.param_value = create_gib,
	.round = create,
};
