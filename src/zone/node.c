/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Nodes and zonelists (Linux: mm/page_alloc.c, build_zonelists).
 *
 * A node is a part of memory that is equally far from everything, with a zone
 * of each kind at most. A call starts at one node and goes on to others by
 * distance; of each node it asks the highest zone it may use first, for what
 * lies lower can serve more kinds of calls.
 *
 * Nodes at the same distance follow each other by number, from the one after
 * the node where the list begins, and round: with all nodes equally far the
 * list of node 1 of 4 is 1, 2, 3, 0. So the nodes' overflows go to different
 * ones, which is what Linux aims at with its round-robin. (Linux also counts a
 * lower number as one more of distance; here that decides only between equals.)
 *
 * Model: a zone is named by one byte, its kind and node, so that a list is one
 * cache line; a comparison and a bit say whether a call may use an entry. The
 * one that ends a list may be used by every call and has NULL for a zone: a
 * walk has no other test for its end.
 *
 * Protocol. There are two sets of lists. The builder, one at a time, fills the
 * set that is not in use entry by entry and then publishes all its lists by
 * incrementing `built`, whose low bit is the set in use. Readers load `built`
 * once and walk; they hold nothing and nobody waits for them. Memory is never
 * freed, so what remains to be shown is what a reader sees
 *
 *  - that no builder overtakes: the list of its `built`, all of it. The
 *    builder's release of `built` and the acquire in zone_walk_first() are
 *    partners; without them entries of the last list but one could be seen;
 *  - that is overtaken by two builds: its list is written under its feet. Each
 *    entry is then an old or a new one, in any mixture: zones may be missed or
 *    come twice. But it goes forward only, and the last place of a list is the
 *    end for good: at most ZONELIST_MAX zones. And each of them is one that was
 *    listed: a zone's pointer is stored before the entry that names it, with
 *    release there and acquire in zone_walk_next() as partners, and is never
 *    taken back or changed, though the zone's entry may go. Without them NULL
 *    could be seen, or a zone before it was filled in;
 *  - zone_walk_outdated() tells such a reader. The entry that it should not
 *    have seen was stored after a new `built` was, by the same partners.
 *
 * Distances are read relaxed: by the builder, who wrote them, and by policies,
 * which guess.
 *
 * Invariants: the last entry of every list is ZONELIST_END;
 * listed[ZONELIST_END] is NULL; an entry of any list has a pointer.
 */
#include "zone/node.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/schedule.h"

void node_default_distances(uint8_t *d, unsigned nr)
{
	for (unsigned row = 0; row < nr; row++)
		for (unsigned column = 0; column < nr; column++)
			d[row * nr + column] =
				row == column ? DISTANCE_SELF : DISTANCE_OTHER;
}

static void list_clear(struct zonelist *list)
{
	for (unsigned i = 0; i <= ZONELIST_MAX; i++)
		atomic_init(&list->entry[i], ZONELIST_END);
}

void nodes_init(struct nodes *ns, unsigned nr)
{
	uint8_t d[QUIRE_MAX_NODES * QUIRE_MAX_NODES];

	assert_debug(nr > 0 && nr <= QUIRE_MAX_NODES, "%u nodes", nr);
	memset(ns, 0, sizeof(*ns));
	ns->nr = nr;
	for (unsigned n = 0; n < QUIRE_MAX_NODES; n++) {
		ns->node[n].id = n;
		list_clear(&ns->list[0][n]);
		list_clear(&ns->list[1][n]);
	}
	node_default_distances(d, nr);
	nodes_set_distances(ns, d);
}

/* Two places of a matrix that must agree. */
struct pair {
	unsigned row, column;
	unsigned there, back;
};

static unsigned complain(const struct pair *p, const struct reporter *to,
			 const char *wrong)
{
	report(to, "distances[%u][%u] %u, distances[%u][%u] %u: %s", p->row,
	       p->column, p->there, p->column, p->row, p->back, wrong);
	return 1;
}

/* An entry and its mirror image; returns the number of mistakes. */
static unsigned check_pair(const struct pair *p, const struct reporter *to)
{
	unsigned count = 0;

	if (p->row == p->column)
		return p->there == DISTANCE_SELF
			       ? 0
			       : complain(
					 p, to,
					 "not 10, which a node is from itself");
	if (p->there < DISTANCE_SELF || p->back < DISTANCE_SELF)
		count += complain(p, to, "below 10");
	if (p->there != p->back)
		count += complain(p, to, "not symmetric");
	return count;
}

int nodes_check_distances(const uint8_t *d, unsigned nr,
			  const struct reporter *to)
{
	unsigned wrong = 0;

	for (unsigned row = 0; row < nr; row++)
		for (unsigned column = row; column < nr; column++)
			wrong += check_pair(
				&(struct pair){ row, column,
						d[row * nr + column],
						d[column * nr + row] },
				to);
	if (wrong == 0)
		return 0;
	errno = EINVAL;
	return -1;
}

void nodes_set_distances(struct nodes *ns, const uint8_t *d)
{
	for (unsigned row = 0; row < ns->nr; row++)
		for (unsigned column = 0; column < ns->nr; column++)
			atomic_store_explicit(&ns->distance[row][column],
					      d[row * ns->nr + column],
					      memory_order_relaxed);
}

unsigned nodes_nearest(const struct nodes *ns, unsigned from, uint32_t nodes)
{
	unsigned nearest = from, least = UINT_MAX;

	for (unsigned i = 0; i < ns->nr; i++) {
		unsigned n = (from + i) % ns->nr;

		if (nodes >> n & 1 && node_distance(ns, from, n) < least) {
			nearest = n;
			least = node_distance(ns, from, n);
		}
	}
	return nearest;
}

static unsigned entry_of(unsigned kind, unsigned node)
{
	return kind << ENTRY_NODE_BITS | node;
}

/* release: partner of the acquire in zone_walk_next(). Who sees the entry sees
 * its zone, and that this set of lists was given up before. */
static void list_set(struct zonelist *list, unsigned i, unsigned entry)
{
	atomic_store_explicit(&list->entry[i], (uint8_t)entry,
			      memory_order_release);
	schedule_point();
}

static unsigned list_add_node(struct zonelist *list, unsigned at,
			      const struct node *node)
{
	for (unsigned kind = QUIRE_ZONE_DEVICE; kind-- > 0;)
		if (node->zone[kind])
			list_set(list, at++, entry_of(kind, node->id));
	return at;
}

static void list_build(const struct nodes *ns, struct zonelist *list,
		       unsigned from)
{
	uint32_t left = (UINT32_C(1) << ns->nr) - 1;
	unsigned at = 0;

	while (left) {
		unsigned n = nodes_nearest(ns, from, left);

		at = list_add_node(list, at, &ns->node[n]);
		left &= ~(UINT32_C(1) << n);
	}
	list_set(list, at, ZONELIST_END);
}

/* Zones that are there now; the pointers of others stay, for walks under way.
 */
static void nodes_list_zones(struct nodes *ns)
{
	uint32_t nodes = 0;

	for (unsigned kind = 0; kind < QUIRE_NR_ZONES; kind++) {
		if (kind == QUIRE_ZONE_DEVICE)
			nodes = 0;
		for (unsigned n = 0; n < ns->nr; n++) {
			struct zone *zone = ns->node[n].zone[kind];

			if (!zone)
				continue;
			nodes |= UINT32_C(1) << n;
			if (kind < QUIRE_ZONE_DEVICE)
				atomic_store_explicit(
					&ns->listed[entry_of(kind, n)], zone,
					memory_order_relaxed);
		}
		atomic_store_explicit(&ns->with_memory[kind], nodes,
				      memory_order_relaxed);
	}
}

void nodes_build(struct nodes *ns)
{
	uint32_t built =
		atomic_load_explicit(&ns->built, memory_order_relaxed) + 1;

	nodes_list_zones(ns);
	for (unsigned n = 0; n < ns->nr; n++)
		list_build(ns, &ns->list[built & 1][n], n);
	/* release: partner of the acquire in zone_walk_first(). */
	atomic_store_explicit(&ns->built, built, memory_order_release);
}
