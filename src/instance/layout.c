/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The layout: which pages are in which node and zone.
 *
 * The region is cut twice. Nodes are consecutive parts of it. DMA32 is its
 * start and DEVICE its end, whatever nodes these are; of what each node has
 * between, MOVABLE is the end, in proportion, and NORMAL the rest:
 *
 *	| DMA32 | NORMAL  MOVABLE | NORMAL    MOVABLE | DEVICE |
 *	| node 0                  | node 1                      |
 *
 * All cuts are multiples of 512 pfns, so that no pageblock is in two zones;
 * what rounding leaves of a share goes to the first nodes that have room.
 */
#include "instance/layout.h"

#include <errno.h>
#include <string.h>

static int refuse(const struct reporter *to, const char *what, uint64_t bytes,
		  uint64_t pages)
{
	return report_invalid(
		to,
		"%s %llu: there are %llu bytes for it, and some must be left",
		what, (unsigned long long)bytes,
		(unsigned long long)(pages << QUIRE_PAGE_SHIFT));
}

static int cut_nodes(struct layout *layout, const struct quire_options *options,
		     const struct region *region, const struct reporter *to)
{
	const unsigned nr = options->nodes;
	uint64_t at = region->first;
	uint64_t part = align_down((region->end - at) / nr, BLOCK_UNITS);

	layout->nr_nodes = nr;
	for (unsigned i = 0; i < nr; i++) {
		uint64_t bytes = options->node_size[i];

		layout->node[i] = (pfn_t)at;
		at = align_up(at + (bytes ? bytes >> QUIRE_PAGE_SHIFT : part),
			      BLOCK_UNITS);
		if (i + 1 == nr || (part && at < region->end))
			continue;
		return report_invalid(
			to,
			"node %u of %u: ends at pfn %llu, the region at %u: "
			"nodes of %llu pages do not fit",
			i, nr, (unsigned long long)at, region->end,
			(unsigned long long)(at - layout->node[i]));
	}
	layout->node[nr] = region->end;
	return 0;
}

static pfn_t within(uint64_t pfn, pfn_t first, pfn_t end)
{
	return pfn < first ? first : pfn > end ? end : (pfn_t)pfn;
}

/*
 * Divides `pages` among n parts that have `room`, in proportion, in multiples
 * of a pageblock. Returns what does not fit.
 */
static uint64_t divide(uint64_t pages, const uint64_t *room, unsigned n,
		       uint64_t *share)
{
	uint64_t all = 0, left = pages;

	for (unsigned i = 0; i < n; i++)
		all += room[i];
	for (unsigned i = 0; i < n; i++) {
		/* In blocks: the product of two numbers of pages and a
		 * remainder would not fit. */
		share[i] = all ? (pages / BLOCK_UNITS) * room[i] / all *
					   BLOCK_UNITS
			       : 0;
		left -= share[i];
	}
	for (unsigned i = 0; i < n && left; i++) {
		uint64_t more = align_down(room[i] - share[i], BLOCK_UNITS);

		if (more > left)
			more = left;
		share[i] += more;
		left -= more;
	}
	return left;
}

static int add_zone(struct layout *layout, unsigned node, enum quire_zone kind,
		    uint64_t first, uint64_t end, const struct reporter *to)
{
	if (first >= end)
		return 0;
	if (layout->nr_zones == QUIRE_MAX_ZONES)
		return report_invalid(
			to,
			"node %u of %u: more than %d zones in all nodes "
			"together",
			node, layout->nr_nodes, QUIRE_MAX_ZONES);
	layout->zone[layout->nr_zones++] = (struct zone_span){
		.first = (pfn_t)first,
		.end = (pfn_t)end,
		.node = node,
		.kind = kind,
	};
	return 0;
}

/* `low` and `high` are DMA32's end and DEVICE's start. */
static int cut_zones(struct layout *layout, uint64_t movable, pfn_t low,
		     pfn_t high, const struct reporter *to)
{
	uint64_t room[QUIRE_MAX_NODES] = { 0 }, share[QUIRE_MAX_NODES];

	for (unsigned n = 0; n < layout->nr_nodes; n++)
		room[n] = within(high, layout->node[n], layout->node[n + 1]) -
			  within(low, layout->node[n], layout->node[n + 1]);
	if (divide(movable, room, layout->nr_nodes, share))
		return refuse(to, "zone_size[MOVABLE]",
			      movable << QUIRE_PAGE_SHIFT, high - low);
	for (unsigned n = 0; n < layout->nr_nodes; n++) {
		pfn_t first = layout->node[n], end = layout->node[n + 1];
		pfn_t below = within(low, first, end);
		pfn_t above = within(high, first, end);
		uint64_t cut = above - share[n];

		/* A region may end inside a pageblock. */
		if (share[n])
			cut = align_up(cut, BLOCK_UNITS);
		if (add_zone(layout, n, QUIRE_ZONE_DMA32, first, below, to) ||
		    add_zone(layout, n, QUIRE_ZONE_NORMAL, below, cut, to) ||
		    add_zone(layout, n, QUIRE_ZONE_MOVABLE, cut, above, to) ||
		    add_zone(layout, n, QUIRE_ZONE_DEVICE, above, end, to))
			return -1;
	}
	return 0;
}

static int cut_cma(struct layout *layout, uint64_t bytes,
		   const struct reporter *to)
{
	uint64_t room[QUIRE_MAX_ZONES] = { 0 }, share[QUIRE_MAX_ZONES], all = 0;

	for (unsigned z = 0; z < layout->nr_zones; z++) {
		const struct zone_span *span = &layout->zone[z];
		uint64_t first = align_up(span->first, BLOCK_UNITS);
		uint64_t end = align_down(span->end, BLOCK_UNITS);

		room[z] = span->kind == QUIRE_ZONE_NORMAL && end > first
				  ? end - first
				  : 0;
		all += room[z];
	}
	if (bytes && bytes >> QUIRE_PAGE_SHIFT >= all)
		return refuse(to, "cma_size", bytes, all);
	divide(bytes >> QUIRE_PAGE_SHIFT, room, layout->nr_zones, share);
	for (unsigned z = 0; z < layout->nr_zones; z++)
		layout->zone[z].cma = share[z];
	return 0;
}

int layout_plan(struct layout *layout, const struct quire_options *options,
		const struct region *region, const struct reporter *to)
{
	const uint64_t *size = options->zone_size;
	const uint64_t pages = region->end - region->first;
	uint64_t low = region->first, high = region->end;

	memset(layout, 0, sizeof(*layout));
	if (size[QUIRE_ZONE_DMA32])
		low = align_up(
			low + (size[QUIRE_ZONE_DMA32] >> QUIRE_PAGE_SHIFT),
			BLOCK_UNITS);
	if (low >= high)
		return refuse(to, "zone_size[DMA32]", size[QUIRE_ZONE_DMA32],
			      pages);
	if (size[QUIRE_ZONE_DEVICE] >> QUIRE_PAGE_SHIFT >= high - low)
		return refuse(to, "zone_size[DEVICE]", size[QUIRE_ZONE_DEVICE],
			      high - low);
	if (size[QUIRE_ZONE_DEVICE])
		high = align_down(
			high - (size[QUIRE_ZONE_DEVICE] >> QUIRE_PAGE_SHIFT),
			BLOCK_UNITS);
	if (low >= high)
		return refuse(to, "zone_size[DEVICE]", size[QUIRE_ZONE_DEVICE],
			      region->end - low);
	if (size[QUIRE_ZONE_MOVABLE] >> QUIRE_PAGE_SHIFT >= high - low)
		return refuse(to, "zone_size[MOVABLE]",
			      size[QUIRE_ZONE_MOVABLE], high - low);
	if (cut_nodes(layout, options, region, to) != 0 ||
	    cut_zones(layout, size[QUIRE_ZONE_MOVABLE] >> QUIRE_PAGE_SHIFT,
		      (pfn_t)low, (pfn_t)high, to) != 0)
		return -1;
	return cut_cma(layout, options->cma_size, to);
}
