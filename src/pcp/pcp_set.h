/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A CPU's set of page lists, and what all sets of a zone have in common: for
 * the files of this floor, and for those that check a set. Others call pcp.h.
 */
#ifndef QUIRE_PCP_SET_H
#define QUIRE_PCP_SET_H

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

/* The slots of a stack are no more than these. */
enum { PCP_MAX_SLOTS = 512 };

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

static inline void pcp_counter_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static inline bool pcp_is_shut(const struct pcp *pcp)
{
	return atomic_load_explicit(&pcp->shut, memory_order_relaxed);
}

/* Of an open stack. */
static inline unsigned pcp_stack_capacity(const struct pcp_set *set,
					  unsigned stack)
{
	return atomic_load_explicit(&set->stack[stack].high,
				    memory_order_relaxed);
}

static inline void pcp_stack_set_capacity(const struct pcp *pcp,
					  struct pcp_set *set, unsigned stack,
					  unsigned high)
{
	atomic_store_explicit(&pcp_stack_state(set, stack)->high,
			      (uint16_t)high, memory_order_relaxed);
	if (!pcp_is_shut(pcp))
		cpu_stack_open(&set->stack[stack], (uint16_t)high);
}

static inline unsigned pcp_stack_visits(struct pcp_set *set, unsigned stack)
{
	return atomic_load_explicit(&pcp_stack_state(set, stack)->visits,
				    memory_order_relaxed);
}

static inline void pcp_stack_set_visits(struct pcp_set *set, unsigned stack,
					unsigned n)
{
	atomic_store_explicit(&pcp_stack_state(set, stack)->visits, (uint16_t)n,
			      memory_order_relaxed);
}

static inline void pcp_stack_set_refills(struct pcp_set *set, unsigned list,
					 unsigned n)
{
	atomic_store_explicit(&pcp_stack_state(set, list)->refills, (uint16_t)n,
			      memory_order_relaxed);
}

/* Blocks that a refill, a trim or a drain took off a stack. */
static inline void pcp_stack_count_left(struct pcp_set *set, unsigned stack,
					uint64_t n)
{
	pcp_counter_add(&pcp_stack_state(set, stack)->left, n);
}

static inline bool pcp_set_is_open(const struct pcp_set *set)
{
	return atomic_load_explicit(&set->open, memory_order_relaxed);
}

/* A back whose blocks all go to the zone. */
static inline bool pcp_stack_goes_all(const struct pcp *pcp, unsigned stack)
{
	return pcp->renew == 0 && stack >= PCP_LISTS;
}

/* Point 5 of the protocol, for blocks that move together. */
static inline void pcp_blocks_acquired(const struct pcp *pcp, const pfn_t *pfns,
				       uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		tsan_acquire(memmap_page(pcp->zone->map, pfns[i]));
}

/* Slots of a type and order in each set. */
unsigned pcp_set_slots(unsigned type, unsigned order);

/*
 * The set of *cpu, locked; NULL: none. In the trylock way the next one of the
 * CPU is tried, and *cpu becomes its number. In the rseq way the lock is shared
 * and the set is started.
 */
struct pcp_set *pcp_set_try(const struct pcp *pcp, uint32_t *cpu);

static inline void pcp_set_leave(const struct pcp *pcp, struct pcp_set *set)
{
	if (pcp->way == QUIRE_WAY_RSEQ)
		lock_release_shared(&set->lock);
	else
		lock_release_polled(&set->lock);
}

/* With the set's lock, alone: */

/* First use of a set: until here its memory is untouched. */
void pcp_set_start_locked(const struct pcp *pcp, struct pcp_set *set);
/* With the capacities that its stacks have; but no stack of lists that are
 * shut. */
void pcp_set_open_stacks_locked(const struct pcp *pcp, struct pcp_set *set);
void pcp_set_close_stacks_locked(struct pcp_set *set);

/* From and to the zone: */

/* As zone_alloc(), with the state words that pcp_alloc() says. */
unsigned pcp_zone_alloc(const struct pcp *pcp, const struct zone_ask *ask,
			uint32_t cpu, unsigned n, pfn_t *pfns);
/* One block, with the zone's lock. */
bool pcp_zone_alloc_locked(const struct pcp *pcp, const struct zone_ask *ask,
			   pfn_t *pfn);
/* Blocks whose state words nobody reads any more. */
void pcp_zone_free(const struct pcp *pcp, unsigned order, uint32_t n,
		   const pfn_t *pfns);
/* The same, and counts them as frees past the lists. */
void pcp_free_direct(struct pcp *pcp, unsigned order, uint32_t n,
		     const pfn_t *pfns);

/* pcp_refill.c, with the set's lock: */

/* The list is empty: its top for the caller, the rest onto it. */
bool pcp_refill_locked(struct pcp *pcp, struct pcp_set *set, uint32_t cpu,
		       const struct zone_ask *ask, pfn_t *pfn);
/* The list is full: its oldest to the zone, then the block on top. */
void pcp_trim_locked(struct pcp *pcp, struct pcp_set *set, uint32_t cpu,
		     unsigned order, enum quire_mobility type, pfn_t pfn);

/* pcp_drain.c: */

/* Decay of each set whose lock is free; returns how many were drained. */
unsigned pcp_drain_idle(struct pcp *pcp);

#endif
