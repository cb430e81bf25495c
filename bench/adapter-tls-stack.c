/* SPDX-License-Identifier: BSD-2-Clause */
/* The floor: a thread-local array stack with no checks. */
#include "adapters.h"

#include "tls_stack.h"

static int init(uint64_t bytes, unsigned threads)
{
	return tls_stack_init(bytes, threads);
}

static void fini(void)
{
	tls_stack_fini();
}

static int fill(unsigned n)
{
	return tls_stack_fill(n);
}

static void empty(void)
{
	tls_stack_empty();
}

static void *alloc(unsigned order)
{
	return tls_stack_alloc(order);
}

static void free_page(void *page, unsigned order)
{
	tls_stack_free(page, order);
}

static void *address(void *page)
{
	return tls_stack_address(page);
}

const struct quire_bench_adapter adapter_tls_stack = {
	.struct_size = sizeof(struct quire_bench_adapter),
	.name = "tls-stack",
	.flags = QUIRE_BENCH_THREAD_LOCAL,
	.max_order = QUIRE_BENCH_MAX_ORDER,
	.init = init,
	.fini = fini,
	.thread_init = fill,
	.thread_fini = empty,
	.alloc = alloc,
	.free = free_page,
	.address = address,
};
