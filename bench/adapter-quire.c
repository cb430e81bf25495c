/* SPDX-License-Identifier: BSD-2-Clause */
/* quire, in each of its three ways to be a CPU. */
#include "adapter.h"

#include <stddef.h>

#include "quire/quire.h"

static struct quire *quire;

static int init(enum quire_way way, uint64_t bytes, unsigned cpus)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;

	options.size = bytes;
	options.way = way;
	options.cpus = cpus;
	quire = quire_create(&options);
	return quire ? 0 : -1;
}

static int init_rseq(uint64_t bytes, unsigned threads)
{
	(void)threads;
	return init(QUIRE_WAY_RSEQ, bytes, 0);
}

static int init_trylock(uint64_t bytes, unsigned threads)
{
	(void)threads;
	return init(QUIRE_WAY_TRYLOCK, bytes, 0);
}

static int init_bound(uint64_t bytes, unsigned threads)
{
	return init(QUIRE_WAY_BOUND, bytes, threads);
}

static void fini(void)
{
	quire_destroy(quire);
	quire = NULL;
}

static int bind(unsigned n)
{
	return quire_cpu_bind(quire, n);
}

static void unbind(void)
{
	quire_cpu_unbind(quire);
}

static void *alloc(unsigned order)
{
	return quire_alloc_pages(quire, order, 0);
}

static void free_block(void *block, unsigned order)
{
	quire_free_pages(quire, block, order);
}

const struct bench_adapter adapter_quire_rseq = {
	.name = "quire-rseq",
	.init = init_rseq,
	.fini = fini,
	.alloc = alloc,
	.free = free_block,
};

const struct bench_adapter adapter_quire_trylock = {
	.name = "quire-trylock",
	.init = init_trylock,
	.fini = fini,
	.alloc = alloc,
	.free = free_block,
};

const struct bench_adapter adapter_quire_bound = {
	.name = "quire-bound",
	.init = init_bound,
	.fini = fini,
	.thread_init = bind,
	.thread_fini = unbind,
	.alloc = alloc,
	.free = free_block,
};
