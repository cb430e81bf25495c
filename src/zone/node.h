/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Nodes, their distances, and the order in which a call asks zones.
 *
 * A zonelist has the zones of all nodes, the nearest node's first, of each node
 * from the highest. DEVICE zones are in none. Lists are walked without a lock,
 * while they are rebuilt too; node.c has the protocol.
 */
#ifndef QUIRE_NODE_H
#define QUIRE_NODE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/report.h"
#include "platform/cc.h"
#include "quire/quire.h"

struct zone;

/* As Linux and ACPI's SLIT have it. */
enum { DISTANCE_SELF = 10, DISTANCE_OTHER = 20 };

#define NODES_ALL UINT32_MAX

/* (c) constant once the lists are built */
struct node {
	unsigned id;			   /* (c) */
	struct zone *zone[QUIRE_NR_ZONES]; /* (c) NULL: none */
	uint64_t pages;			   /* (c) of all of them */
};

/*
 * An entry of a list: the kind in the upper bits, the node below. A list ends
 * with the lowest zone of a node that cannot be.
 */
enum {
	ENTRY_NODE_BITS = 5,
	ZONELIST_END = QUIRE_MAX_NODES,
	ZONELIST_MAX = QUIRE_MAX_NODES * QUIRE_ZONE_DEVICE,
	ENTRY_MAX = ((QUIRE_ZONE_DEVICE - 1) << ENTRY_NODE_BITS) +
		    QUIRE_MAX_NODES - 1,
};

/* One cache line. (a) atomic; the last is always ZONELIST_END */
struct zonelist {
	_Atomic uint8_t entry[ZONELIST_MAX + 1]; /* (a) */
} cacheline_aligned;

/* (c) constant after init, (a) atomic: written by one at a time */
struct nodes {
	unsigned nr;		/* (c) */
	_Atomic uint32_t built; /* (a) how often; its low bit: lists in use */
	/* (a) nodes with a zone of that kind or below; DEVICE: of that kind */
	_Atomic uint32_t with_memory[QUIRE_NR_ZONES];
	/* (a) by entry; NULL where no list ever had one, and at the end */
	struct zone *_Atomic listed[ENTRY_MAX + 1];
	struct zonelist list[2][QUIRE_MAX_NODES];		    /* (a) */
	_Atomic uint8_t distance[QUIRE_MAX_NODES][QUIRE_MAX_NODES]; /* (a) */
	struct node node[QUIRE_MAX_NODES];			    /* (c) */
};

/* Nodes without zones, 10 and 20 apart, and empty lists. */
void nodes_init(struct nodes *ns, unsigned nr);

/* Fills d, nr x nr. */
void node_default_distances(uint8_t *d, unsigned nr);
/* 0; or -1 with EINVAL and a report for each mistake. */
int nodes_check_distances(const uint8_t *d, unsigned nr,
			  const struct reporter *to);
/* Lists do not know of them until they are built anew. */
void nodes_set_distances(struct nodes *ns, const uint8_t *d);

/*
 * Builds all lists from zones and distances, and publishes them. Callers see to
 * it that only one is at work at a time.
 */
void nodes_build(struct nodes *ns);

/* Of a mask of nodes, not empty, the nearest to `from`, in lists' order. */
unsigned nodes_nearest(const struct nodes *ns, unsigned from, uint32_t nodes);

static inline unsigned node_distance(const struct nodes *ns, unsigned from,
				     unsigned to)
{
	return atomic_load_explicit(&ns->distance[from][to],
				    memory_order_relaxed);
}

static inline struct zone *node_zone(const struct nodes *ns, unsigned node,
				     enum quire_zone kind)
{
	return ns->node[node].zone[kind];
}

/* Mask of the nodes whose zones of kind <= highest are in the lists; for
 * DEVICE, of those that have one. */
static inline uint32_t nodes_with_memory(const struct nodes *ns,
					 enum quire_zone highest)
{
	return atomic_load_explicit(&ns->with_memory[highest],
				    memory_order_relaxed);
}

struct zone_walk {
	const struct nodes *ns;
	const _Atomic uint8_t *next;
	uint32_t allowed; /* nodes, and that of the end */
	uint32_t built;
	unsigned above; /* entries from here on: kinds too high */
	unsigned entry; /* of the zone returned last */
};

/* The next zone, NULL at the end; not to be called after that. */
static inline struct zone *zone_walk_next(struct zone_walk *w)
{
	/* acquire: partner of the release in list_set(). An entry of a list
	 * that is being rebuilt names a zone that can be seen. */
	do
		w->entry =
			atomic_load_explicit(w->next++, memory_order_acquire);
	while (w->entry >= w->above ||
	       !(w->allowed >> w->entry % (1u << ENTRY_NODE_BITS) & 1));
	return atomic_load_explicit(&w->ns->listed[w->entry],
				    memory_order_relaxed);
}

/*
 * Starts a walk over the zones of kind <= highest on allowed nodes, the nearest
 * to start_node first; 1u << start_node as allowed: those of this node alone.
 */
static inline struct zone *zone_walk_first(struct zone_walk *w,
					   const struct nodes *ns,
					   unsigned start_node,
					   enum quire_zone highest,
					   uint32_t allowed_nodes)
{
	assert_debug(start_node < ns->nr, "a walk from node %u of %u",
		     start_node, ns->nr);
	w->ns = ns;
	/* acquire: partner of the release in nodes_build(). A list is not seen
	 * before all of it is there. */
	w->built = atomic_load_explicit(&ns->built, memory_order_acquire);
	w->next = ns->list[w->built & 1][start_node].entry;
	w->allowed = allowed_nodes | UINT32_C(1) << ZONELIST_END;
	w->above = ((unsigned)highest + 1) << ENTRY_NODE_BITS;
	return zone_walk_next(w);
}

/* Of the zone returned last. */
static inline enum quire_zone zone_walk_kind(const struct zone_walk *w)
{
	return (enum quire_zone)(w->entry >> ENTRY_NODE_BITS);
}

static inline unsigned zone_walk_node(const struct zone_walk *w)
{
	return w->entry % (1u << ENTRY_NODE_BITS);
}

/*
 * Lists were published since the walk began: it may have missed zones, and who
 * found nothing looks again. If not, it has seen each zone of its list once.
 */
static inline bool zone_walk_outdated(const struct zone_walk *w)
{
	return atomic_load_explicit(&w->ns->built, memory_order_relaxed) !=
	       w->built;
}

_Static_assert(ZONELIST_END < 1 << ENTRY_NODE_BITS, "the end has a bit");
_Static_assert(ENTRY_MAX <= UINT8_MAX, "an entry is a byte");
_Static_assert(sizeof(struct zonelist) == 64, "a list is a cache line");

#endif
