/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A CPU's set of page lists: its slots and its lock; and the way of blocks from
 * and to the zone. For the protocol see pcp.c.
 *
 * A set is started once, with its lock alone, before any of its stacks opens;
 * from then on its slots stay where they are. pcp_set_try() never waits. A
 * stack opens only while the lists are not shut: this is read with the lock,
 * for whoever shuts them has all locks alone.
 *
 * The zone lock is taken inside the pcp lock. Blocks have the state word of
 * where they go before they get there: PAGE_FREE before the zone has them,
 * PAGE_PCP before a list or a caller has them.
 */
#include "pcp/pcp_set.h"

#include "base/schedule.h"
#include "platform/fault.h"

/*
 * Slots of each type and order: as many as fill a set. Order 9 is 2 MiB a
 * block, so capacity rather follows from the share (pcp.c, sizes). A back has
 * the second half with the option `renew`, else few of its own, a word's pages
 * of order 0.
 */
enum { BACK_SLOTS = 64, BACK_SLOTS_ABOVE = 7 };

static const uint16_t slots_of[NR_CALL_TYPES][PCP_ORDERS] = {
	[QUIRE_TYPE_UNMOVABLE] = { PCP_MAX_SLOTS, 384, 256, 128, 96, 64, 64, 64,
				   48, 48 },
	[QUIRE_TYPE_MOVABLE] = { 448, 160, 96, 64, 48, 32, 32, 32, 24, 24 },
	[QUIRE_TYPE_RECLAIMABLE] = { 128, 64, 48, 24, 16, 12, 12, 12, 8, 8 },
};
enum {
	PCP_SLOTS = 1664 + 960 + 332 +
		    NR_CALL_TYPES * (BACK_SLOTS + 9 * BACK_SLOTS_ABOVE)
};

_Static_assert(sizeof(struct pcp_set) + PCP_SLOTS * sizeof(uint32_t) +
			       PCP_STACKS * sizeof(struct pcp_stack_state) <=
		       1u << CPU_SET_SHIFT,
	       "a set fits its stride");
_Static_assert(sizeof(struct pcp_set) + PCP_MAX_SLOTS * sizeof(uint32_t) <=
		       3072,
	       "what single pages write keeps off struct quire's hot fields");

/* In the rseq way: threads of a CPU that may be at its list and the zone. */
enum { RSEQ_SHARES = 4 };

unsigned pcp_set_slots(unsigned type, unsigned order)
{
	return slots_of[type][order];
}

/* --- start, open, close --- */

static unsigned back_slots(unsigned order)
{
	return order ? BACK_SLOTS_ABOVE : BACK_SLOTS;
}

/* Without the option: so much that it and half a list are in the list's share.
 */
static unsigned back_capacity(const struct pcp *pcp, unsigned type,
			      unsigned order)
{
	unsigned most = (pcp->high_max[type][order] + 1u) / 2;

	return most < back_slots(order) ? most : back_slots(order);
}

void pcp_set_start_locked(const struct pcp *pcp, struct pcp_set *set)
{
	size_t at = sizeof(*set);

	for (unsigned list = 0; list < PCP_LISTS; list++) {
		unsigned order = list % PCP_ORDERS, type = list / PCP_ORDERS;
		unsigned back = list + PCP_LISTS;
		size_t bytes = slots_of[type][order] * sizeof(uint32_t);
		/* Types that nobody asks for take nothing from an order. */
		unsigned high = type == 0 ? pcp->high_min[order] : 0;

		set->stack[list].slots = (uint32_t)at;
		pcp_stack_set_capacity(pcp, set, list, high);
		if (pcp->renew) {
			set->stack[back].slots = (uint32_t)(at + bytes / 2);
		} else {
			set->stack[back].slots = (uint32_t)(at + bytes);
			at += back_slots(order) * sizeof(uint32_t);
			high = back_capacity(pcp, type, order);
		}
		pcp_stack_set_capacity(pcp, set, back, high);
		at += bytes;
	}
	atomic_store_explicit(&set->open, true, memory_order_relaxed);
}

void pcp_set_open_stacks_locked(const struct pcp *pcp, struct pcp_set *set)
{
	for (unsigned i = 0; i < PCP_STACKS && !pcp_is_shut(pcp); i++)
		cpu_stack_open(
			&set->stack[i],
			atomic_load_explicit(&pcp_stack_state(set, i)->high,
					     memory_order_relaxed));
}

void pcp_set_close_stacks_locked(struct pcp_set *set)
{
	for (unsigned i = 0; i < PCP_STACKS; i++)
		cpu_stack_close(&set->stack[i]);
}

/* --- the lock --- */

/* In the rseq way: the set's lock, shared. The first one sets it up, alone. */
static bool set_share(const struct pcp *pcp, struct pcp_set *set)
{
	if (!pcp_set_is_open(set)) {
		if (!lock_try(&set->lock))
			return false;
		if (!pcp_set_is_open(set))
			pcp_set_start_locked(pcp, set);
		lock_release_polled(&set->lock);
	}
	return lock_try_shared(&set->lock, RSEQ_SHARES);
}

struct pcp_set *pcp_set_try(const struct pcp *pcp, uint32_t *cpu)
{
	if (*cpu == PCP_CPU_NONE || fault_hit(FAULT_PCP_LOCK))
		return NULL;
	for (uint32_t at = *cpu; at < pcp->nr_cpus; at += pcp->step) {
		struct pcp_set *set = pcp_set(pcp, at);

		if (pcp->way == QUIRE_WAY_RSEQ ? set_share(pcp, set)
					       : lock_try(&set->lock)) {
			*cpu = at;
			return set;
		}
	}
	return NULL;
}

/* --- between the thread and the zone --- */

/* Four at a time: it is most of what moving a block costs. */
static void set_words(struct quire_page *pages, uint64_t word, uint32_t n,
		      const pfn_t *pfns)
{
	for (; n >= 4; n -= 4, pfns += 4) {
		page_set_word(pages + pfns[0], word);
		page_set_word(pages + pfns[1], word);
		page_set_word(pages + pfns[2], word);
		page_set_word(pages + pfns[3], word);
	}
	for (; n; n--)
		page_set_word(pages + *pfns++, word);
}

void pcp_zone_free(const struct pcp *pcp, unsigned order, uint32_t n,
		   const pfn_t *pfns)
{
	set_words(pcp->zone->map->pages, PAGE_FREE, n, pfns);
	if (n)
		zone_free(pcp->zone, order, n, pfns);
}

void pcp_free_direct(struct pcp *pcp, unsigned order, uint32_t n,
		     const pfn_t *pfns)
{
	pcp_zone_free(pcp, order, n, pfns);
	pcp_counter_add(&pcp->direct_frees, n);
}

static uint64_t parked_word(const struct pcp *pcp, unsigned order,
			    enum quire_mobility type)
{
	return PAGE_PCP | order | page_tag(pcp->zone->id, type);
}

/* State words of up to 64 blocks; bit i of zero: pfns[i] is known to be. */
static void park_word(struct quire_page *pages, uint64_t word, unsigned n,
		      const pfn_t *pfns, uint64_t zero)
{
	if (zero == ~UINT64_C(0)) {
		word |= PAGE_ZERO;
		zero = 0;
	}
	set_words(pages, word, n, pfns);
	for (; zero; zero &= zero - 1)
		page_set_word(pages + pfns[bits_lowest(zero)],
			      word | PAGE_ZERO);
}

/*
 * Whoever takes pages in a run will go on behind it: descriptors there are
 * fetched meanwhile. The CPU's own look-ahead ends at each 4
 * KiB of them, 512 pages.
 */
static void fetch_ahead(const struct pcp *pcp, pfn_t pfn, unsigned n)
{
	const struct quire_page *page = memmap_page(pcp->zone->map, pfn);
	const unsigned line = 64 / sizeof(*page);

	for (unsigned i = 1; i <= n; i += line)
		prefetch_to_write(page + i);
}

/* Of blocks that come from the zone. */
static void park(const struct pcp *pcp, unsigned order,
		 enum quire_mobility type, unsigned n, const pfn_t *pfns,
		 const uint64_t *zero)
{
	struct quire_page *pages = pcp->zone->map->pages;
	uint64_t word = parked_word(pcp, order, type);

	for (; n > WORD_BITS; n -= WORD_BITS, pfns += WORD_BITS)
		park_word(pages, word, WORD_BITS, pfns, *zero++);
	park_word(pages, word, n, pfns, n ? *zero : 0);
}

unsigned pcp_zone_alloc(const struct pcp *pcp, const struct zone_ask *ask,
			uint32_t cpu, unsigned n, pfn_t *pfns)
{
	uint64_t zero[ZONE_BATCH / WORD_BITS];
	enum quire_mobility kept;
	unsigned got = zone_alloc(pcp->zone, ask, cpu, n, pfns, zero, &kept);

	park(pcp, ask->order, kept, got, pfns, zero);
	if (got >= WORD_BITS && pfns[0] - pfns[got - 1] == got - 1)
		fetch_ahead(pcp, pfns[0], got);
	return got;
}

bool pcp_zone_alloc_locked(const struct pcp *pcp, const struct zone_ask *ask,
			   pfn_t *pfn)
{
	enum quire_mobility kept;
	uint64_t zero;

	if (zone_alloc_locked(pcp->zone, ask, PCP_CPU_NONE, 1, pfn, &zero,
			      &kept) == 0)
		return false;
	park(pcp, ask->order, kept, 1, pfn, &zero);
	return true;
}
