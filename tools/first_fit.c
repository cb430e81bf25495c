/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Address-ordered first fit over pages.
 *
 * The plainest policy that keeps memory together: of all aligned runs of free
 * pages that are large enough, the lowest. No CPUs, no lists, no lock; one
 * decision for each page, so it is also slower than an allocator may be.
 *
 * Model. A binary tree over the pages: a node of level k stands for 2^k pages
 * and holds the order + 1 of the largest free aligned run in them, 0 for none.
 * Two children that are wholly free make a parent that is; otherwise a parent
 * has what the better child has. The lowest run of an order is found by going
 * down from the root, to the left wherever the left child has one. A run that
 * is taken or given is written on all its levels, then upwards until nothing
 * changes. Pages behind the end are never free.
 *
 * Level k begins at nodes[2^(levels - k)], so that node i has the children 2i
 * and 2i + 1 and a page's leaf is found by its number.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "first_fit.h"

#include <stdlib.h>
#include <string.h>

#define WHOLE_ORDER 9u

struct first_fit {
	unsigned levels; /* the root's */
	uint32_t pages, whole;
	uint8_t nodes[];
};

static uint32_t node_of(const struct first_fit *f, uint32_t page, unsigned k)
{
	return (1u << (f->levels - k)) + (page >> k);
}

/* A run of 2^order pages becomes free or not, itself and all inside it. */
static void fill(struct first_fit *f, uint32_t page, unsigned order, bool free)
{
	unsigned k;

	for (k = 0; k <= order; k++)
		memset(f->nodes + node_of(f, page, k), free ? (int)k + 1 : 0,
		       (size_t)1 << (order - k));
}

/* What a node of level k + 1 says, by its children of level k. */
static uint8_t of_children(const struct first_fit *f, uint32_t node, unsigned k)
{
	uint8_t left = f->nodes[2 * node], right = f->nodes[2 * node + 1];

	if (left == k + 1 && right == k + 1)
		return (uint8_t)(k + 2);
	return left > right ? left : right;
}

/* After fill(): the nodes above, and how many blocks are whole. */
static void update(struct first_fit *f, uint32_t page, unsigned order)
{
	uint32_t node = node_of(f, page, order) / 2;
	unsigned k;

	for (k = order; node; k++, node /= 2) {
		uint8_t now = of_children(f, node, k);

		if (now == f->nodes[node])
			break;
		if (k + 1 == WHOLE_ORDER)
			f->whole +=
				(uint32_t)(now == WHOLE_ORDER + 1) -
				(uint32_t)(f->nodes[node] == WHOLE_ORDER + 1);
		f->nodes[node] = now;
	}
}

struct first_fit *first_fit_new(uint32_t pages)
{
	unsigned levels = FIRST_FIT_MAX_ORDER, order;
	struct first_fit *f;
	uint32_t page;

	while (1u << levels < pages)
		levels++;
	/* calloc: none free, and what stays so costs no memory. */
	f = calloc(1, sizeof(*f) + ((size_t)2 << levels));
	if (!f)
		return NULL;
	f->levels = levels;
	f->pages = pages;
	for (page = 0; page < pages; page += 1u << order) {
		order = FIRST_FIT_MAX_ORDER;
		while (page % (1u << order) || pages - page < 1u << order)
			order--;
		fill(f, page, order, true);
		update(f, page, order);
	}
	f->whole = pages >> WHOLE_ORDER;
	return f;
}

void first_fit_delete(struct first_fit *f)
{
	free(f);
}

uint32_t first_fit_alloc(struct first_fit *f, unsigned order)
{
	unsigned k = f->levels;
	uint32_t node = 1, page;

	if (order > FIRST_FIT_MAX_ORDER || f->nodes[node] <= order)
		return FIRST_FIT_NONE;
	for (; k > order; k--) {
		node *= 2;
		if (f->nodes[node] <= order)
			node++;
	}
	page = (node - (1u << (f->levels - order))) << order;
	if (order >= WHOLE_ORDER)
		f->whole -= 1u << (order - WHOLE_ORDER);
	fill(f, page, order, false);
	update(f, page, order);
	return page;
}

bool first_fit_free(struct first_fit *f, uint32_t page, unsigned order)
{
	if (order > FIRST_FIT_MAX_ORDER || page % (1u << order) ||
	    page >= f->pages || f->pages - page < 1u << order ||
	    f->nodes[node_of(f, page, order)])
		return false;
	if (order >= WHOLE_ORDER)
		f->whole += 1u << (order - WHOLE_ORDER);
	fill(f, page, order, true);
	update(f, page, order);
	return true;
}

uint32_t first_fit_whole(const struct first_fit *f)
{
	return f->whole;
}
