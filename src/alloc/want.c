/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a call wants, and the zones it may have it from.
 *
 * Order, flags and policy are looked at once, and become a type, the highest
 * kind of zone, nodes, and reserves it may use. Flags that contradict each
 * other are refused, rather than one of them ignored.
 *
 * Zones are asked in the order of the zonelist of the node where the call
 * starts; DEVICE zones, which are in none, the nearest first. Each is asked
 * with a floor, the pages that must stay free in it: its watermark less what
 * the flags allow (watermark.c), and what is owed to calls that wait
 * unless this is one of them. The zone compares under its own lock.
 *
 * Zonelists are walked without a lock, while they are rebuilt too (node.c): who
 * found nothing meanwhile walks again.
 */
#include "alloc/want.h"

#include <errno.h>

#include "base/report.h"

thread_local_in_handlers unsigned alloc_shrinkers;

void alloc_enter_reclaim(void)
{
	alloc_shrinkers++;
}

void alloc_leave_reclaim(void)
{
	alloc_shrinkers--;
}

static const struct {
	unsigned both;
	const char *why;
} contradictions[] = {
	{ QUIRE_NOLOCK | QUIRE_WAIT, "who may not block cannot wait" },
	{ QUIRE_NOLOCK | QUIRE_NOFAIL, "who may not block can fail" },
	{ QUIRE_ATOMIC | QUIRE_WAIT, "ATOMIC does not wait" },
	{ QUIRE_ATOMIC | QUIRE_NOFAIL, "ATOMIC does not wait" },
	{ QUIRE_NORETRY | QUIRE_WAIT, "waiting is to try again" },
	{ QUIRE_NORETRY | QUIRE_NOFAIL, "NORETRY is to fail" },
	{ QUIRE_MOVABLE | QUIRE_RECLAIMABLE, "a page is one or the other" },
	{ QUIRE_DMA32 | QUIRE_DEVICE, "a page is in one zone" },
	{ QUIRE_DEVICE | QUIRE_NOFAIL, "nobody reclaims a device's pages" },
};

static int refuse_flags(struct quire *q, unsigned order, unsigned flags,
			const char *why)
{
	return report_invalid(&q->reporter,
			      "alloc: order %u (at most %d), flags 0x%x: %s",
			      order, QUIRE_MAX_ORDER, flags, why);
}

static int check_flags(struct quire *q, unsigned order, unsigned flags)
{
	const unsigned known = (QUIRE_THISNODE << 1) - 1;
	const size_t n = sizeof(contradictions) / sizeof(*contradictions);
	unsigned node = (flags & QUIRE_NODE_MASK) >> 16;

	if (order > QUIRE_MAX_ORDER)
		return refuse_flags(q, order, flags, "no such order");
	if (flags & ~(known | QUIRE_NODE_MASK))
		return refuse_flags(q, order, flags, "unknown bits");
	for (size_t i = 0; i < n; i++)
		if (!(contradictions[i].both & ~flags))
			return refuse_flags(q, order, flags,
					    contradictions[i].why);
	if (flags & QUIRE_CMA && !(flags & QUIRE_MOVABLE))
		return refuse_flags(q, order, flags,
				    "CMA is for movable pages");
	if (node > q->nodes->nr)
		return report_invalid(&q->reporter,
				      "alloc: flags 0x%x: node %u of %u", flags,
				      node - 1, q->nodes->nr);
	if (flags & QUIRE_ZERO &&
	    (!q->map.region.mapped || flags & QUIRE_DEVICE)) {
		report(&q->reporter, "alloc: flags 0x%x: QUIRE_ZERO on %s",
		       flags,
		       q->map.region.mapped
			       ? "QUIRE_DEVICE, which quire never writes"
			       : "offsets, which are mapped nowhere");
		errno = ENOTSUP;
		return -1;
	}
	return 0;
}

void want_choose_nodes(struct quire *q, struct want *want,
		       struct quire_policy *policy)
{
	const unsigned flags = want->flags;
	struct choice from = { .nodes = NODES_ALL };

	if (flags & QUIRE_NODE_MASK)
		from.node = ((flags & QUIRE_NODE_MASK) >> 16) - 1;
	else if (q->nodes->nr > 1)
		from = policy_choose(policy, q->nodes, allocator_this_node(q));
	if (flags & QUIRE_THISNODE)
		from.nodes = UINT32_C(1) << from.node;
	want->from = from;
}

int want_init(struct quire *q, struct want *want, unsigned order,
	      unsigned flags, struct quire_policy *policy)
{
	*want = (struct want){ .ask = { .order = order },
			       .flags = flags,
			       .highest = QUIRE_ZONE_NORMAL };
	if (allocator_check_fork(q) != 0)
		return -1;
	if (unlikely(flags || order > QUIRE_MAX_ORDER)) {
		if (check_flags(q, order, flags) != 0)
			return -1;
		if (flags & QUIRE_MOVABLE)
			want->ask.type = QUIRE_TYPE_MOVABLE;
		else if (flags & QUIRE_RECLAIMABLE)
			want->ask.type = QUIRE_TYPE_RECLAIMABLE;
		want->highest = want_highest_zone(flags);
		if (flags & QUIRE_ATOMIC && order)
			want->ask.may |= ZONE_HIGHATOMIC;
		if (flags & QUIRE_CMA)
			want->ask.may |= ZONE_CMA;
	}
	if (unlikely(alloc_in_reclaim()))
		want->flags |= QUIRE_MEMALLOC;
	want_choose_nodes(q, want, policy);
	return 0;
}

/* --- the zonelist walk --- */

/* Over a zonelist, or over the zones of devices, which are in none. */
struct walk {
	struct zone_walk list;
	uint32_t devices; /* nodes left, the nearest is next */
};

static struct zone *next_device(struct quire *q, const struct want *want,
				struct walk *walk)
{
	unsigned node;

	if (walk->devices == 0)
		return NULL;
	node = nodes_nearest(q->nodes, want->from.node, walk->devices);
	walk->devices &= ~(UINT32_C(1) << node);
	return node_zone(q->nodes, node, QUIRE_ZONE_DEVICE);
}

static struct zone *first_zone(struct quire *q, const struct want *want,
			       struct walk *walk)
{
	if (unlikely(want->highest == QUIRE_ZONE_DEVICE)) {
		walk->devices = nodes_with_memory(q->nodes, want->highest) &
				want->from.nodes;
		return next_device(q, want, walk);
	}
	return zone_walk_first(&walk->list, q->nodes, want->from.node,
			       want->highest, want->from.nodes);
}

static struct zone *next_zone(struct quire *q, const struct want *want,
			      struct walk *walk)
{
	if (unlikely(want->highest == QUIRE_ZONE_DEVICE))
		return next_device(q, want, walk);
	return zone_walk_next(&walk->list);
}

/* Lists were rebuilt meanwhile: a zone may have been missed. */
static bool walk_outdated(const struct want *want, const struct walk *walk)
{
	return want->highest != QUIRE_ZONE_DEVICE &&
	       unlikely(zone_walk_outdated(&walk->list));
}

uint32_t want_reclaim_nodes(const struct quire *q, const struct want *want)
{
	if (want->highest == QUIRE_ZONE_DEVICE)
		return 0;
	return nodes_with_memory(q->nodes, want->highest) & want->from.nodes;
}

/* Whether the walk can come to the zone. */
bool want_may_use(const struct want *want, const struct zone *zone)
{
	bool kind = want->highest == QUIRE_ZONE_DEVICE
			    ? zone->kind == QUIRE_ZONE_DEVICE
			    : zone->kind <= want->highest;

	return kind && want->from.nodes >> zone->node & 1;
}

bool want_may_hold(const struct want *want, const struct zone *zone)
{
	const uint64_t pages = UINT64_C(1) << want->ask.order;

	return want_may_use(want, zone) &&
	       align_up(zone->first, pages) + pages <= zone->end;
}

/* --- floors --- */

/* Not more than an eighth of a zone, however much is waited for. */
static uint64_t owed(const struct zone *zone)
{
	uint64_t pages =
		atomic_load_explicit(&zone->owed, memory_order_relaxed);
	uint64_t most = (zone->end - zone->first) / 8;

	return pages < most ? pages : most;
}

static void set_floor(struct want *want, const struct zone *zone,
		      enum watermark mark)
{
	want->ask.hint = mark != WATERMARK_MIN;
	want->ask.floor = 0;
	if (zone->kind != QUIRE_ZONE_DEVICE)
		want->ask.floor = watermark_floor(&zone->marks, mark,
						  want->highest, want->flags);
	if (!want->in_line && !(want->flags & (QUIRE_ATOMIC | QUIRE_MEMALLOC)))
		want->ask.floor += owed(zone);
}

/* --- asking zones --- */

const struct want_ask want_ask = { pcp_alloc, pcp_alloc_exact };
const struct want_ask want_ask_held = { pcp_alloc_held, pcp_alloc_exact_held };
const struct want_ask want_ask_nolock = { pcp_alloc_nolock,
					  pcp_alloc_exact_nolock };

static bool alloc_from_zone(struct quire *q, struct want *want,
			    struct zone *zone, const struct want_ask *by,
			    pfn_t *pfn)
{
	struct pcp *pcp = q->pcp[zone->id];

	want->zone = zone->id;
	if (want->exact)
		return by->exact(pcp, &want->ask, want->exact, pfn,
				 &want->zero);
	return by->block(pcp, &want->ask, pfn);
}

bool want_alloc(struct quire *q, struct want *want, enum watermark mark,
		const struct want_ask *by, pfn_t *pfn)
{
	struct walk walk;

	do {
		for (struct zone *zone = first_zone(q, want, &walk); zone;
		     zone = next_zone(q, want, &walk)) {
			set_floor(want, zone, mark);
			if (alloc_from_zone(q, want, zone, by, pfn))
				return true;
		}
	} while (walk_outdated(want, &walk));
	return false;
}

size_t want_alloc_bulk(struct quire *q, struct want *want, enum watermark mark,
		       size_t n, pfn_t *pfns)
{
	struct walk walk;
	size_t got = 0;

	for (struct zone *zone = first_zone(q, want, &walk); zone && got < n;
	     zone = next_zone(q, want, &walk)) {
		set_floor(want, zone, mark);
		got += pcp_alloc_bulk(q->pcp[zone->id], &want->ask, n - got,
				      pfns + got);
	}
	return got;
}
