/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Per-CPU page lists of a zone: see pcp.c for the protocol. Floor 5.
 */
#ifndef QUIRE_PCP_H
#define QUIRE_PCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cpu_stack.h"
#include "debug.h"
#include "lock.h"
#include "memmap.h"
#include "quire/quire.h"
#include "zone.h"

/* Lists for orders 0 to 9. */
enum { PCP_ORDERS = 10, PCP_LISTS = NR_MOBILITY * PCP_ORDERS };

#define PCP_CPU_NONE UINT32_MAX

struct pcp_list_state {
	uint64_t entered; /* (p) blocks that refills put on the list */
	uint64_t left;	  /* (p) blocks that drains took off it */
	uint64_t seen;	  /* (p) the stack's word when decay last looked */
	uint16_t high;	  /* (p) capacity in use when the set is open */
	uint16_t visits;  /* (p) slow visits since decay last looked */
};

/*
 * One CPU's lists. A stack's word is stored at every alloc and free, and a load
 * is held up by an earlier store to the same offset of another 4 KiB; so the
 * stacks keep off the offsets where other hot words lie: multiples of 4 KiB
 * (descriptors of page 0 and of large blocks), the hot fields of struct quire,
 * and the main thread's struct rseq. The lock shares their first cache line.
 * Slots follow the struct, in the same CPU_SET_SHIFT bytes.
 *
 * (p) pcp lock; of the stacks, `word` also belongs to restartable sequences
 * (rseq way) while the set is open
 */
struct pcp_set {
	struct pcp_list_state list[PCP_LISTS];
	uint64_t refills;     /* (p) */
	uint64_t drains;      /* (p) */
	uint64_t zone_allocs; /* (p) blocks a refill handed to its caller */
	struct lock lock;
	_Atomic bool open; /* (p) written; slots and capacities are set up */
	struct cpu_stack stack[PCP_LISTS] __attribute__((aligned(16)));
};

/* What the page lists of one zone have in common: (c) constant, (a) atomic */
struct pcp {
	char *sets; /* set n at n << CPU_SET_SHIFT */
	uint32_t nr_cpus;
	enum quire_way way;
	unsigned key; /* bound way: the thread's struct pcp_seat */
	struct zone *zone;
	const struct reporter *reporter;
	uint16_t high_max[PCP_ORDERS]; /* 0: the order has no lists */
	uint16_t high_min[PCP_ORDERS];
	uint16_t batch[PCP_ORDERS]; /* blocks a refill or drain moves */
	uint64_t scarce; /* free pages below which a refill takes one */
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

/* Where a list's stack lies in its set, as the sequences want it. */
static inline size_t pcp_stack_offset(unsigned list)
{
	return offsetof(struct pcp_set, stack) +
	       list * sizeof(struct cpu_stack);
}

static inline struct pcp_set *pcp_set(const struct pcp *pcp, uint32_t cpu)
{
	return (struct pcp_set *)(void *)(pcp->sets +
					  ((size_t)cpu << CPU_SET_SHIFT));
}

static inline size_t pcp_sets_bytes(uint32_t nr_cpus)
{
	return (size_t)nr_cpus << CPU_SET_SHIFT;
}

/* `sets` is zero-filled; nothing is written. way is not QUIRE_WAY_DEFAULT. */
void pcp_init(struct pcp *pcp, struct zone *zone, char *sets, uint32_t nr_cpus,
	      enum quire_way way, unsigned key, uint64_t decay_ms,
	      const struct reporter *reporter);

/*
 * One block, from this CPU's list or the zone. The state word is left to the
 * caller, but PAGE_ZERO stands in it if the memory is known to be zero.
 */
bool pcp_alloc(struct pcp *pcp, unsigned order, enum mobility type, pfn_t *pfn);
/* Takes a block whose state word says PAGE_PCP to this CPU's list or the zone.
 */
void pcp_free(struct pcp *pcp, unsigned order, enum mobility type, pfn_t pfn);
/* The slow halves: what is done when rseq_pop() or rseq_push() said no. */
bool pcp_alloc_slow(struct pcp *pcp, unsigned order, enum mobility type,
		    pfn_t *pfn);
void pcp_free_slow(struct pcp *pcp, unsigned order, enum mobility type,
		   pfn_t pfn);
/* Up to n blocks at once; returns how many. State words as pcp_alloc(). */
size_t pcp_alloc_bulk(struct pcp *pcp, unsigned order, enum mobility type,
		      size_t n, pfn_t *pfns);

/* Past the lists: n pages of order 0 in a run, 2^order aligned; and back,
 * blocks whose state words nobody reads any more. */
bool pcp_alloc_exact(struct pcp *pcp, unsigned order, enum mobility type,
		     uint64_t n, pfn_t *pfn, bool *zero);
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
/* Every set is held, and the zone's lock: what is not there does not exist. */
bool pcp_alloc_held(struct pcp *pcp, unsigned order, enum mobility type,
		    pfn_t *pfn);
bool pcp_alloc_exact_held(struct pcp *pcp, unsigned order, enum mobility type,
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
