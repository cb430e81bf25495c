/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See tls_stack.h. It deals in pointers to descriptors of 16 bytes, as quire
 * does: the same arithmetic on the way out and in.
 */
#include "tls_stack.h"

#include <stdint.h>

enum { ORDERS = 10, DEPTH = 512 };

struct page {
	uint64_t words[2];
};

struct stack {
	uint64_t count;
	uint32_t pfn[DEPTH];
};

/* Only its addresses are used: pages of threads are apart by their number. */
static struct page pages[1 << 20];

/* The model that a program's own variable would have: no call to find it. */
static _Thread_local struct stack stacks[ORDERS]
	__attribute__((tls_model("initial-exec")));

void tls_stack_fill(unsigned thread)
{
	uint32_t pfn = thread * ORDERS * DEPTH;

	for (unsigned order = 0; order < ORDERS; order++) {
		struct stack *stack = &stacks[order];

		for (stack->count = 0; stack->count < DEPTH / 2; stack->count++)
			stack->pfn[stack->count] = pfn++;
	}
}

void *tls_stack_alloc(unsigned order)
{
	struct stack *stack = &stacks[order];

	return &pages[stack->pfn[--stack->count]];
}

void tls_stack_free(void *page, unsigned order)
{
	struct stack *stack = &stacks[order];

	stack->pfn[stack->count++] = (uint32_t)((struct page *)page - pages);
}
