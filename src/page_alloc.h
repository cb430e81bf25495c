/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The front: what quire.h's allocation calls share. Floor 6.
 */
#ifndef QUIRE_PAGE_ALLOC_H
#define QUIRE_PAGE_ALLOC_H

#include "allocator.h"
#include "policy.h"

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

/* Where `less` finds nothing, `more` need not look. */
static inline bool want_covers(const struct want *more, const struct want *less)
{
	return more->ask.order >= less->ask.order &&
	       more->ask.type == less->ask.type &&
	       more->ask.may == less->ask.may && more->flags == less->flags &&
	       more->from.node == less->from.node &&
	       more->from.nodes == less->from.nodes;
}

/*
 * Between the two the thread is inside a shrinker: its allocations may use the
 * reserve and neither reclaim nor wait. They nest.
 */
void page_alloc_enter_reclaim(void);
void page_alloc_leave_reclaim(void);
bool page_alloc_in_reclaim(void);

/*
 * Gives up one reference to a live head, any order; frees the block with the
 * last. Returns 1 if it freed, 0 if others hold it, -1 (EINVAL, reported,
 * naming `call`) if pfn is no live head, or not of the order the caller says;
 * NULL: any order is right.
 */
int page_alloc_put(struct quire *q, const char *call, pfn_t pfn,
		   const unsigned *order);

/* EINVAL, counted: the report is the caller's. Always -1. */
int page_alloc_refuse(struct quire *q);
/* EINVAL, counted and reported: a descriptor that is none of ours. */
int page_alloc_refuse_pointer(struct quire *q, const char *call,
			      const void *pointer);
/* EINVAL, counted and reported: a page that is not what the call needs; order
 * is what the caller named, NULL if it named none. */
int page_alloc_refuse_page(struct quire *q, const char *call, pfn_t pfn,
			   uint64_t word, const unsigned *order);
/* Lists idle for decay_ms are drained, if it is time to look; returns how many
 * CPUs' were. */
unsigned page_alloc_maintain(struct quire *q);
/* EPERM in a child whose parent owns the memory. */
int page_alloc_check_fork(const struct quire *q);

#endif
