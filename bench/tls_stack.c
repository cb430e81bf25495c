/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See tls_stack.h. It deals in pointers to descriptors of 8 bytes, as quire
 * does: the same arithmetic on the way out and in.
 */
#include "tls_stack.h"

#include <stddef.h>
#include <sys/mman.h>

enum { ORDERS = 10 };
/* An order's stack is never shorter, however small a thread's share. */
enum { MIN_DEPTH = 512 };

struct page {
	uint64_t word;
};

static uint64_t arena_pages;
static unsigned nr_threads;
/* Of descriptors only the addresses are used. Pages of the orders overlap:
 * each order has the whole arena. */
static struct page *pages;
static char *memory;

/* The model that a program's own variable would have: no call to find it. */
static _Thread_local uint32_t *tops[ORDERS]
	__attribute__((tls_model("initial-exec")));
static _Thread_local uint32_t *stacks[ORDERS];

static void *map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static uint64_t share(unsigned order)
{
	uint64_t n = (arena_pages >> order) / nr_threads;

	return n < MIN_DEPTH ? MIN_DEPTH : n;
}

int tls_stack_init(uint64_t bytes, unsigned threads)
{
	arena_pages = bytes >> 12;
	nr_threads = threads;
	pages = map(arena_pages * sizeof(*pages));
	memory = map(bytes);
	if (pages && memory) {
		/* As quire's arena is by default. */
		madvise(memory, bytes, MADV_HUGEPAGE);
		return 0;
	}
	tls_stack_fini();
	return -1;
}

void tls_stack_fini(void)
{
	if (pages)
		munmap(pages, arena_pages * sizeof(*pages));
	if (memory)
		munmap(memory, arena_pages << 12);
	pages = NULL;
	memory = NULL;
}

int tls_stack_fill(unsigned thread)
{
	for (unsigned order = 0; order < ORDERS; order++) {
		uint64_t n = share(order);
		uint64_t first = n * thread;

		stacks[order] = map(n * sizeof(uint32_t));
		if (!stacks[order]) {
			tls_stack_empty();
			return -1;
		}
		tops[order] = stacks[order];
		/* The lowest page is on top. */
		for (uint64_t i = n; i-- != 0;)
			*tops[order]++ = (uint32_t)(((first + i) << order) %
						    arena_pages);
	}
	return 0;
}

void tls_stack_empty(void)
{
	for (unsigned order = 0; order < ORDERS; order++) {
		if (stacks[order])
			munmap(stacks[order], share(order) * sizeof(uint32_t));
		stacks[order] = NULL;
	}
}

void *tls_stack_alloc(unsigned order)
{
	return &pages[*--tops[order]];
}

void tls_stack_free(void *page, unsigned order)
{
	*tops[order]++ = (uint32_t)((struct page *)page - pages);
}

void *tls_stack_address(const void *page)
{
	return memory + ((size_t)((const struct page *)page - pages) << 12);
}
