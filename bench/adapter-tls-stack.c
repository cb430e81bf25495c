/* SPDX-License-Identifier: BSD-2-Clause */
/* The floor: a thread-local array stack with no checks. */
#include "adapter.h"

#include "tls_stack.h"

static int init(uint64_t bytes, unsigned threads)
{
	(void)bytes;
	(void)threads;
	return 0;
}

static void fini(void)
{
}

static int fill(unsigned n)
{
	tls_stack_fill(n);
	return 0;
}

static void *alloc(unsigned order)
{
	return tls_stack_alloc(order);
}

static void free_page(void *page, unsigned order)
{
	tls_stack_free(page, order);
}

const struct bench_adapter adapter_tls_stack = {
	.name = "tls-stack",
	.init = init,
	.fini = fini,
	.thread_init = fill,
	.alloc = alloc,
	.free = free_page,
};
