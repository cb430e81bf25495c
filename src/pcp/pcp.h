/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Per-CPU page lists of a zone: see pcp.c for the protocol.
 */
#ifndef QUIRE_PCP_H
#define QUIRE_PCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/report.h"
#include "map/memmap.h"
#include "pcp/pcp_set.h"
#include "platform/rseq.h"
#include "quire/quire.h"
#include "zone/zone.h"

/* How many sets there are unless somebody says otherwise. */
uint32_t pcp_default_sets(enum quire_way way);

struct pcp_settings {
	uint32_t nr_cpus;
	enum quire_way way; /* not QUIRE_WAY_DEFAULT */
	unsigned key;
	unsigned renew; /* at most QUIRE_RENEW_MAX */
	uint64_t decay_ms;
	const struct reporter *reporter;
	_Atomic size_t *fast_back; /* NULL: nobody reads it */
};

/* `sets` is zero-filled; nothing is written. */
void pcp_init(struct pcp *pcp, struct zone *zone, char *sets,
	      const struct pcp_settings *settings);

/* In the trylock and bound ways, under the set's lock: one stack. */
bool pcp_pop_locked(struct pcp *pcp, unsigned list, pfn_t *pfn);
bool pcp_push_locked(struct pcp *pcp, unsigned back, pfn_t pfn);

/*
 * This CPU's list of an order below PCP_ORDERS and a type that calls ask for:
 * false if it is empty, or full, or cannot be had at once.
 */
static inline bool pcp_pop(struct pcp *pcp, unsigned order,
			   enum quire_mobility type, pfn_t *pfn)
{
	unsigned list = pcp_list(type, order);

	if (pcp->way != QUIRE_WAY_RSEQ)
		return pcp_pop_locked(pcp, list, pfn);
	if (!rseq_pop(pcp->sets, pcp->nr_cpus, pcp_stack_offset(list), pfn))
		return false;
	tsan_acquire(memmap_page(pcp->zone->map, *pfn));
	return true;
}

static inline bool pcp_push(struct pcp *pcp, unsigned order,
			    enum quire_mobility type, pfn_t pfn)
{
	unsigned back = pcp_back(pcp, pcp_list(type, order));

	tsan_release(memmap_page(pcp->zone->map, pfn));
	if (pcp->way != QUIRE_WAY_RSEQ)
		return pcp_push_locked(pcp, back, pfn);
	return rseq_push(pcp->sets, pcp->nr_cpus, pcp_stack_offset(back), pfn);
}

/*
 * One block, from this CPU's list or the zone. Its state word says PAGE_PCP,
 * its zone and type, and PAGE_ZERO if the memory is known to be zero; the rest
 * is the caller's.
 */
bool pcp_alloc(struct pcp *pcp, const struct zone_ask *ask, pfn_t *pfn);
/* Takes a block whose state word says PAGE_PCP to this CPU's list or the zone.
 */
void pcp_free(struct pcp *pcp, unsigned order, enum quire_mobility type,
	      pfn_t pfn);
/* The same by whoever may not wait, a signal handler among them; what cannot be
 * had at once is not had. */
bool pcp_alloc_nolock(struct pcp *pcp, const struct zone_ask *ask, pfn_t *pfn);
bool pcp_alloc_exact_nolock(struct pcp *pcp, const struct zone_ask *ask,
			    uint64_t n, pfn_t *pfn, bool *zero);
void pcp_free_nolock(struct pcp *pcp, unsigned order, enum quire_mobility type,
		     pfn_t pfn);
/* What is done when the list did not take a block. */
void pcp_free_slow(struct pcp *pcp, unsigned order, enum quire_mobility type,
		   pfn_t pfn);
/* Up to n blocks at once; returns how many. State words as pcp_alloc(). */
size_t pcp_alloc_bulk(struct pcp *pcp, const struct zone_ask *ask, size_t n,
		      pfn_t *pfns);

/* Past the lists: n pages of order 0 in a run, 2^order aligned. They come back
 * by pcp_free_direct(), in blocks. */
bool pcp_alloc_exact(struct pcp *pcp, const struct zone_ask *ask, uint64_t n,
		     pfn_t *pfn, bool *zero);

/*
 * Takes and closes every set and moves its pages to the zone; until
 * pcp_release_all() the zone holds all that is free. The caller holds the drain
 * lock. With several zones: in ascending order. False, with errno: the fence
 * failed and nothing was drained; they are held all the same.
 */
bool pcp_hold_all(struct pcp *pcp, bool drain);
void pcp_release_all(struct pcp *pcp);
/* The same step by step, for several zones at once: every set of each is taken
 * and closed; one fence for all; then each is drained. */
void pcp_close_all(struct pcp *pcp);
bool pcp_fence_all(const struct pcp *pcp);
void pcp_drain_all(struct pcp *pcp);
/* Every set is held: whether its lists stay closed when it is released, so that
 * all that is freed goes to the zone. */
void pcp_shut(struct pcp *pcp, bool shut);
/* Every set is held, and the zone's lock: what is not there does not exist. */
bool pcp_alloc_held(struct pcp *pcp, const struct zone_ask *ask, pfn_t *pfn);
bool pcp_alloc_exact_held(struct pcp *pcp, const struct zone_ask *ask,
			  uint64_t n, pfn_t *pfn, bool *zero);
/* Timed work, if it is due; returns the sets drained. */
unsigned pcp_maintain(struct pcp *pcp);

struct pcp_count {
	uint64_t parked_pages, parked_blocks;
	uint64_t pops, pushes;		  /* blocks from and to lists */
	uint64_t zone_allocs, zone_frees; /* blocks past the lists */
	uint64_t refills, drains;
};
/* Adds this zone's to *count. Exact when nobody is inside. */
void pcp_count(struct pcp *pcp, struct pcp_count *count);

#endif
