/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Per-CPU page lists of a zone: see pcp.c for the protocol.
 */
#ifndef QUIRE_PCP_H
#define QUIRE_PCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cpu_stack.h"
#include "base/lock.h"
#include "base/report.h"
#include "map/memmap.h"
#include "quire/quire.h"
#include "zone/zone.h"

/*
 * Lists for orders 0 to 9. A list is one stack; while it is renewed it is two:
 * allocs pop the one, frees push the other, its back, which lies PCP_LISTS on.
 */
enum {
	PCP_ORDERS = 10,
	PCP_LISTS = NR_CALL_TYPES * PCP_ORDERS,
	PCP_STACKS = 2 * PCP_LISTS
};

#define PCP_CPU_NONE UINT32_MAX

/* (p) pcp lock alone, (a) atomic, pcp lock shared or alone */
struct pcp_stack_state {
	_Atomic uint64_t entered; /* (a) blocks that refills put on it */
	_Atomic uint64_t left;	  /* (a) that drains and refills took off it */
	uint64_t seen;		  /* (p) its word when decay last looked */
	_Atomic uint16_t high;	  /* (a) capacity when the set is open */
	_Atomic uint16_t visits;  /* (a) slow ones since decay last looked */
	_Atomic uint16_t refills; /* (a) of a run of allocations */
};

/*
 * One CPU's lists. A stack's word is stored at every alloc and free, and a load
 * is held up by an earlier store to the same offset of another 4 KiB; so the
 * stacks and the first slots keep off the offsets where other hot words lie:
 * multiples of 4 KiB (descriptors of page 0 and of large blocks), the hot
 * fields of struct quire, and the main thread's struct rseq. The lock shares
 * the stacks' first cache line. Slots follow the struct, in the same
 * CPU_SET_SHIFT bytes, the stacks' states are at the end of these.
 *
 * (a) atomic; (p) pcp lock; of the stacks, `word` also belongs to restartable
 * sequences (rseq way) while the set is open
 */
struct pcp_set {
	_Atomic uint64_t refills;     /* (a) */
	_Atomic uint64_t drains;      /* (a) */
	_Atomic uint64_t zone_allocs; /* (a) blocks a refill's caller got */
	struct lock lock;
	_Atomic bool open; /* (a) slots and capacities are set up */
	struct cpu_stack stack[PCP_STACKS] __attribute__((aligned(16)));
};

/* What the page lists of one zone have in common: (c) constant, (a) atomic */
struct pcp {
	char *sets; /* set n at n << CPU_SET_SHIFT */
	uint32_t nr_cpus;
	uint32_t step; /* from a CPU's set to its next; nr_cpus: it has one */
	enum quire_way way;
	unsigned key; /* bound way: the thread's struct pcp_seat */
	struct zone *zone;
	const struct reporter *reporter;
	unsigned renew; /* of 64 blocks; 0: as the zone is scattered or not */
	/* (a) PCP_LISTS, or 0: frees push what allocs pop */
	_Atomic uint32_t back;
	_Atomic size_t *fast_back;  /* where fast frees read it, in bytes */
	uint32_t share[PCP_ORDERS]; /* capacity of all types' lists together */
	uint16_t high_max[NR_CALL_TYPES][PCP_ORDERS]; /* 0: no lists */
	uint16_t high_min[PCP_ORDERS];
	uint16_t batch[PCP_ORDERS]; /* capacity grows by this */
	_Atomic bool shut; /* every list is closed, and stays so; (a) */
	uint64_t scarce;   /* free pages below which a refill takes one */
	uint64_t decay_ms;
	_Atomic uint64_t next_decay; /* ms; (a) */
	/* (a) blocks moved past the lists */
	_Atomic uint64_t direct_allocs, direct_frees;
};

/* A CPU that a thread can stand in for. */
struct pcp_seat {
	_Atomic uint32_t taken; /* 0: free */
	uint32_t cpu;		/* (c) */
};

static inline unsigned pcp_list(unsigned type, unsigned order)
{
	return type * PCP_ORDERS + order;
}

/* The stack that frees to a list push. */
static inline unsigned pcp_back(const struct pcp *pcp, unsigned list)
{
	return list + atomic_load_explicit(&pcp->back, memory_order_relaxed);
}

/* Where a stack lies in its set, as the sequences want it. */
static inline size_t pcp_stack_offset(unsigned stack)
{
	return offsetof(struct pcp_set, stack) +
	       stack * sizeof(struct cpu_stack);
}

static inline struct pcp_set *pcp_set(const struct pcp *pcp, uint32_t cpu)
{
	return (struct pcp_set *)(void *)(pcp->sets +
					  ((size_t)cpu << CPU_SET_SHIFT));
}

static inline struct pcp_stack_state *pcp_stack_state(struct pcp_set *set,
						      unsigned stack)
{
	char *end = (char *)set + ((size_t)1 << CPU_SET_SHIFT);

	return (struct pcp_stack_state *)(void *)end - PCP_STACKS + stack;
}

static inline size_t pcp_sets_bytes(uint32_t nr_cpus)
{
	return (size_t)nr_cpus << CPU_SET_SHIFT;
}

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

/* Past the lists: n pages of order 0 in a run, 2^order aligned; and back,
 * blocks whose state words nobody reads any more. */
bool pcp_alloc_exact(struct pcp *pcp, const struct zone_ask *ask, uint64_t n,
		     pfn_t *pfn, bool *zero);
void pcp_free_direct(struct pcp *pcp, unsigned order, uint32_t n,
		     const pfn_t *pfns);

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
