/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What people write: a binary buddy with a last-in first-out list per order,
 * under one mutex. Links lie beside the pages, not in them.
 */
#include "adapters.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

enum { TOP_ORDER = 10, NONE = -1 };

struct link {
	int32_t next, prev;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *base;
static uint64_t nr_pages;
static struct link *links;
/* Of the first page of a free block, its order + 1; 0 elsewhere. */
static uint8_t *free_order;
static int32_t heads[TOP_ORDER + 1];

static void push(int32_t pfn, unsigned order)
{
	links[pfn] = (struct link){ heads[order], NONE };
	if (heads[order] != NONE)
		links[heads[order]].prev = pfn;
	heads[order] = pfn;
	free_order[pfn] = (uint8_t)(order + 1);
}

static void unlink_block(int32_t pfn, unsigned order)
{
	struct link link = links[pfn];

	if (link.next != NONE)
		links[link.next].prev = link.prev;
	if (link.prev != NONE)
		links[link.prev].next = link.next;
	else
		heads[order] = link.next;
	free_order[pfn] = 0;
}

static void *alloc(unsigned order)
{
	unsigned k = order;
	int32_t pfn = NONE;

	pthread_mutex_lock(&lock);
	while (k <= TOP_ORDER && heads[k] == NONE)
		k++;
	if (k <= TOP_ORDER) {
		pfn = heads[k];
		unlink_block(pfn, k);
		while (k > order) {
			k--;
			push(pfn + (1 << k), k);
		}
	}
	pthread_mutex_unlock(&lock);
	return pfn == NONE ? NULL : base + ((size_t)pfn << 12);
}

static void free_block(void *block, unsigned order)
{
	int32_t pfn = (int32_t)(((char *)block - base) >> 12);

	pthread_mutex_lock(&lock);
	while (order < TOP_ORDER) {
		int32_t buddy = pfn ^ (1 << order);

		if (free_order[buddy] != order + 1)
			break;
		unlink_block(buddy, order);
		pfn &= ~(1 << order);
		order++;
	}
	push(pfn, order);
	pthread_mutex_unlock(&lock);
}

static void *map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void fini(void)
{
	if (base)
		munmap(base, nr_pages << 12);
	if (links)
		munmap(links, nr_pages * sizeof(*links));
	if (free_order)
		munmap(free_order, nr_pages);
	base = NULL;
	links = NULL;
	free_order = NULL;
}

static int init(uint64_t bytes, unsigned threads)
{
	(void)threads;
	nr_pages = bytes >> 12 >> TOP_ORDER << TOP_ORDER;
	base = map(nr_pages << 12);
	links = map(nr_pages * sizeof(*links));
	free_order = map(nr_pages);
	if (!base || !links || !free_order) {
		fini();
		errno = ENOMEM;
		return -1;
	}
	/* As quire's arena is by default. */
	madvise(base, nr_pages << 12, MADV_HUGEPAGE);
	for (unsigned k = 0; k <= TOP_ORDER; k++)
		heads[k] = NONE;
	for (uint64_t pfn = nr_pages; pfn != 0;) {
		pfn -= 1u << TOP_ORDER;
		push((int32_t)pfn, TOP_ORDER);
	}
	return 0;
}

static uint64_t overhead(void)
{
	return nr_pages * (sizeof(*links) + 1);
}

const struct quire_bench_adapter adapter_mutex_buddy = {
	.struct_size = sizeof(struct quire_bench_adapter),
	.name = "mutex-buddy",
	.flags = QUIRE_BENCH_BOUNDED,
	.max_order = QUIRE_BENCH_MAX_ORDER,
	.init = init,
	.fini = fini,
	.alloc = alloc,
	.free = free_block,
	.overhead = overhead,
};
