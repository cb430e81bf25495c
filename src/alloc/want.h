/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a call wants, and which zones it may have it from.
 */
#ifndef QUIRE_WANT_H
#define QUIRE_WANT_H

#include "instance/allocator.h"
#include "instance/policy.h"
#include "zone/watermark.h"

/*
 * Between the two the thread is inside a shrinker: its allocations may use the
 * reserve and neither reclaim nor wait. They nest.
 */
void alloc_enter_reclaim(void);
void alloc_leave_reclaim(void);

/* How many shrinkers the thread is inside of. */
extern thread_local_in_handlers unsigned alloc_shrinkers;

static inline bool alloc_in_reclaim(void)
{
	return alloc_shrinkers != 0;
}

/* What an allocation wants. */
struct want {
	struct zone_ask ask; /* its floor is that of the zone asked */
	unsigned flags;
	enum quire_zone highest; /* kind of zone it may use */
	struct choice from;	 /* nodes */
	uint64_t exact;		 /* pages of an exact run; 0: a block */
	bool in_line;		 /* what is owed to others is also its own */
	bool zero;		 /* out: memory known to be zero */
	unsigned zone;		 /* out: where it came from */
};

/* How zones are asked. */
struct want_ask {
	bool (*block)(struct pcp *pcp, const struct zone_ask *ask, pfn_t *pfn);
	bool (*exact)(struct pcp *pcp, const struct zone_ask *ask, uint64_t n,
		      pfn_t *pfn, bool *zero);
};

extern const struct want_ask want_ask;
/* Every CPU's set is held, and the locks of all zones. */
extern const struct want_ask want_ask_held;
extern const struct want_ask want_ask_nolock;

/* Before flags are checked, too. */
static inline enum quire_zone want_highest_zone(unsigned flags)
{
	if (flags & QUIRE_DEVICE)
		return QUIRE_ZONE_DEVICE;
	if (flags & QUIRE_DMA32)
		return QUIRE_ZONE_DMA32;
	return flags & QUIRE_MOVABLE ? QUIRE_ZONE_MOVABLE : QUIRE_ZONE_NORMAL;
}

/*
 * A block of that order, by a policy that was checked. -1, with errno: EINVAL
 * or ENOTSUP, reported, for what cannot be asked for; EPERM after a fork.
 */
int want_init(struct quire *q, struct want *want, unsigned order,
	      unsigned flags, struct quire_policy *policy);
/* Anew, for the next block: the policy may take turns. */
void want_choose_nodes(struct quire *q, struct want *want,
		       struct quire_policy *policy);

static inline uint64_t want_pages(const struct want *want)
{
	return want->exact ? want->exact : UINT64_C(1) << want->ask.order;
}

/* Nodes where pages can be freed for it; none for a device's pages, which
 * nobody reclaims. */
uint32_t want_reclaim_nodes(const struct quire *q, const struct want *want);

bool want_may_use(const struct want *want, const struct zone *zone);
/* It may use the zone, and such a block lies in it. */
bool want_may_hold(const struct want *want, const struct zone *zone);

/* Asks the zones it may use, the nearest first, each above the watermark. */
bool want_alloc(struct quire *q, struct want *want, enum watermark mark,
		const struct want_ask *by, pfn_t *pfn);
/* Up to n blocks; returns how many. */
size_t want_alloc_bulk(struct quire *q, struct want *want, enum watermark mark,
		       size_t n, pfn_t *pfns);

/* Where `less` finds nothing, `more` need not look. */
static inline bool want_covers(const struct want *more, const struct want *less)
{
	return more->ask.order >= less->ask.order &&
	       want_pages(more) >= want_pages(less) &&
	       more->ask.type == less->ask.type &&
	       more->ask.may == less->ask.may && more->flags == less->flags &&
	       more->from.node == less->from.node &&
	       more->from.nodes == less->from.nodes;
}

#endif
