/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A binary buddy with a list an order (Knuth, TAOCP 1, 2.5 C), as Linux keeps
 * its free areas: what was freed last is handed out first.
 *
 * A free block is on the list of its order, named by its first page; a request
 * takes the first block of the smallest order that has one and splits it, the
 * upper halves going on their lists. A block that is freed merges with its
 * buddy as long as that is free. As in Linux (__free_one_page), one whose
 * merged neighbourhood is likely to grow soon is put at the list's end, so that
 * it is used last. No CPU lists and no mobility types: the policy alone.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "lifo_buddy.h"

#include <stdlib.h>

#define WHOLE_ORDER 9u
#define NR_ORDERS (LIFO_BUDDY_MAX_ORDER + 1)

/* Rings of pages; a list's head has a number behind the pages. */
struct link {
	uint32_t next, prev;
};

struct lifo_buddy {
	uint32_t pages, whole;
	uint8_t *order; /* + 1, of a free block's first page; else 0 */
	struct link *links;
};

static uint32_t head_of(const struct lifo_buddy *b, unsigned order)
{
	return b->pages + order;
}

static void count_whole(struct lifo_buddy *b, unsigned order, bool more)
{
	uint32_t n = order < WHOLE_ORDER ? 0 : 1u << (order - WHOLE_ORDER);

	b->whole += more ? n : -n;
}

static void list_add(struct lifo_buddy *b, uint32_t page, unsigned order,
		     bool last)
{
	uint32_t head = head_of(b, order);
	uint32_t prev = last ? b->links[head].prev : head;
	uint32_t next = b->links[prev].next;

	b->links[page] = (struct link){ .next = next, .prev = prev };
	b->links[prev].next = b->links[next].prev = page;
	b->order[page] = (uint8_t)(order + 1);
	count_whole(b, order, true);
}

static void list_remove(struct lifo_buddy *b, uint32_t page)
{
	const struct link *link = &b->links[page];

	b->links[link->prev].next = link->next;
	b->links[link->next].prev = link->prev;
	count_whole(b, b->order[page] - 1u, false);
	b->order[page] = 0;
}

static bool is_free(const struct lifo_buddy *b, uint32_t page, unsigned order)
{
	return page < b->pages && b->order[page] == order + 1;
}

struct lifo_buddy *lifo_buddy_new(uint32_t pages)
{
	struct lifo_buddy *b = calloc(1, sizeof(*b));
	uint32_t page;
	unsigned k;

	if (!b)
		return NULL;
	b->pages = pages;
	b->order = calloc(pages, sizeof(*b->order));
	b->links = calloc((size_t)pages + NR_ORDERS, sizeof(*b->links));
	if (!b->order || !b->links) {
		lifo_buddy_delete(b);
		return NULL;
	}
	for (k = 0; k < NR_ORDERS; k++)
		b->links[head_of(b, k)] = (struct link){
			.next = head_of(b, k),
			.prev = head_of(b, k),
		};
	for (page = 0; page < pages; page += 1u << k) {
		k = LIFO_BUDDY_MAX_ORDER;
		while (page % (1u << k) || pages - page < 1u << k)
			k--;
		list_add(b, page, k, true);
	}
	return b;
}

void lifo_buddy_delete(struct lifo_buddy *b)
{
	if (!b)
		return;
	free(b->order);
	free(b->links);
	free(b);
}

uint32_t lifo_buddy_alloc(struct lifo_buddy *b, unsigned order)
{
	uint32_t page;
	unsigned k = order;

	while (k < NR_ORDERS && b->links[head_of(b, k)].next == head_of(b, k))
		k++;
	if (k >= NR_ORDERS)
		return LIFO_BUDDY_NONE;
	page = b->links[head_of(b, k)].next;
	list_remove(b, page);
	while (k > order) {
		k--;
		list_add(b, page + (1u << k), k, false);
	}
	return page;
}

/* Whether the next larger block could merge too, were this one whole. */
static bool merge_is_likely(const struct lifo_buddy *b, uint32_t page,
			    unsigned order)
{
	uint32_t higher = page & ~(1u << order);

	return order + 1 < LIFO_BUDDY_MAX_ORDER &&
	       is_free(b, higher ^ 2u << order, order + 1);
}

/* Whether a page of the block is free, in a larger block or a smaller one. */
static bool has_free(const struct lifo_buddy *b, uint32_t page, unsigned order)
{
	uint32_t i;
	unsigned k;

	for (k = order + 1; k < NR_ORDERS; k++)
		if (b->order[page & ~((1u << k) - 1)] > k)
			return true;
	for (i = page; i < page + (1u << order); i++)
		if (b->order[i])
			return true;
	return false;
}

bool lifo_buddy_free(struct lifo_buddy *b, uint32_t page, unsigned order)
{
	if (order > LIFO_BUDDY_MAX_ORDER || page % (1u << order) ||
	    page >= b->pages || b->pages - page < 1u << order)
		return false;
	if (has_free(b, page, order))
		return false;
	while (order < LIFO_BUDDY_MAX_ORDER &&
	       is_free(b, page ^ 1u << order, order)) {
		list_remove(b, page ^ 1u << order);
		page &= ~(1u << order);
		order++;
	}
	list_add(b, page, order, merge_is_likely(b, page, order));
	return true;
}

uint32_t lifo_buddy_whole(const struct lifo_buddy *b)
{
	return b->whole;
}
