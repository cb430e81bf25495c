/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The adapter of quire/bench.h's first comment: the C library's malloc.
 *
 *	mkdir adapters
 *	cc -shared -fPIC -O2 -o adapters/example.so example-adapter.c
 *	quire-bench --adapters adapters --filter='/(example|quire-rseq)/'
 */
#include <quire/bench.h>
#include <stdlib.h>

static int init(uint64_t bytes, unsigned threads)
{
	(void)bytes, (void)threads;
	return 0;
}

static void fini(void)
{
}

static void *alloc(unsigned order)
{
	return aligned_alloc(4096, (size_t)4096 << order);
}

static void free_block(void *block, unsigned order)
{
	(void)order;
	free(block);
}

const struct quire_bench_adapter quire_bench_plugin = {
	.struct_size = sizeof(struct quire_bench_adapter),
	.name = "example",
	.max_order = QUIRE_BENCH_MAX_ORDER,
	.init = init,
	.fini = fini,
	.alloc = alloc,
	.free = free_block,
};
