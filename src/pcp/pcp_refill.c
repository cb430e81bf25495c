/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A thread's slow visits to a list of its CPU: a refill when it is empty, a
 * trim when it is full. Both let its capacity follow its use. How much they
 * move: batches, renewal and sizes in pcp.c.
 *
 * All of it runs with the set's lock, which the rseq way shares; the zone lock
 * is taken inside. Blocks that have left the list or the zone are on the
 * thread's stack until they are on the other side (transit), so the lock is
 * kept to the end. In the rseq way sequences run meanwhile, and other slow
 * visits: pops and pushes here are sequences too, and refuse when the thread
 * has left the CPU; what could not be pushed goes to the zone.
 */
#include "base/schedule.h"
#include "pcp/pcp_set.h"
#include "platform/fault.h"

/* The part of a list that a trim leaves: the newest fourth. */
enum { TRIM_KEEPS = 4 };
/* Slow visits in a decay period from which on a list grows. */
enum { GROW_VISITS = 4 };
/* Refills that make a run of allocations: no trim, drain or idle period came
 * between them. */
enum { RUN_REFILLS = 3 };

static unsigned refills(struct pcp_set *set, unsigned list)
{
	return atomic_load_explicit(&pcp_stack_state(set, list)->refills,
				    memory_order_relaxed);
}

static void count_entered(struct pcp_set *set, unsigned stack, uint64_t n)
{
	pcp_counter_add(&pcp_stack_state(set, stack)->entered, n);
}

/* Point 5 of the protocol, as pcp_blocks_acquired(). */
static void released(const struct pcp *pcp, const pfn_t *pfns, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		tsan_release(memmap_page(pcp->zone->map, pfns[i]));
}

/*
 * The move operations of either kind. The holder of the lock may call them on
 * an open set; in the rseq way they refuse unless the thread is on the CPU.
 */
static uint32_t set_pop(const struct pcp *pcp, struct pcp_set *set,
			uint32_t cpu, unsigned stack, pfn_t *pfns, uint32_t n,
			uint64_t each)
{
	char *base = (char *)set;

	if (pcp->way == QUIRE_WAY_RSEQ)
		n = rseq_pop_batch(base, cpu, pcp_stack_offset(stack), pfns, n,
				   each);
	else
		n = cpu_stack_pop_batch(base, &set->stack[stack], pfns, n,
					each);
	pcp_blocks_acquired(pcp, pfns, n);
	return n;
}

static bool set_push(const struct pcp *pcp, struct pcp_set *set, uint32_t cpu,
		     unsigned stack, const pfn_t *pfns, uint32_t n)
{
	char *base = (char *)set;

	if (n == 0)
		return true;
	released(pcp, pfns, n);
	if (fault_hit(FAULT_PCP_CPU))
		return false;
	if (pcp->way == QUIRE_WAY_RSEQ)
		return rseq_push_batch(base, cpu, pcp_stack_offset(stack), pfns,
				       n);
	return cpu_stack_push_batch(base, &set->stack[stack], pfns, n);
}

/* What a stack has above its new capacity goes to the zone. */
static void cut_down(const struct pcp *pcp, struct pcp_set *set, uint32_t cpu,
		     unsigned stack, unsigned high)
{
	pfn_t pfns[PCP_MAX_SLOTS];
	uint32_t there, n;

	pcp_stack_set_capacity(pcp, set, stack, high);
	there = cpu_stack_count(cpu_stack_word(&set->stack[stack]));
	if (there <= high)
		return;
	n = set_pop(pcp, set, cpu, stack, pfns, there - high, CPU_STACK_MOVED);
	pcp_stack_count_left(set, stack, n);
	pcp_zone_free(pcp, stack % PCP_ORDERS, n, pfns);
}

/* A stack is to hold that many: what the order has not got, other types' stacks
 * lose, the largest first. */
static void make_room(const struct pcp *pcp, struct pcp_set *set, uint32_t cpu,
		      unsigned stack, unsigned high)
{
	unsigned order = stack % PCP_ORDERS;
	unsigned first = stack / PCP_LISTS * PCP_LISTS + order;

	for (unsigned i = 1; i < NR_CALL_TYPES; i++) {
		unsigned sum = high, largest = stack, most = 0, less;

		for (unsigned at = first; at < first + PCP_LISTS;
		     at += PCP_ORDERS) {
			unsigned has =
				at == stack ? 0 : pcp_stack_capacity(set, at);

			sum += has;
			if (has > most) {
				most = has;
				largest = at;
			}
		}
		if (sum <= pcp->share[order] || most == 0)
			return;
		less = sum - pcp->share[order];
		cut_down(pcp, set, cpu, largest, most > less ? most - less : 0);
	}
}

/*
 * A slow visit to a stack: capacity follows use. Two threads that share the set
 * can lose a visit of each other's, or a growth: the next visit goes on from
 * what the stack has. It may open a stack: who closes one has the lock alone.
 */
static void visited(const struct pcp *pcp, struct pcp_set *set, uint32_t cpu,
		    unsigned stack)
{
	unsigned order = stack % PCP_ORDERS;
	unsigned type = stack % PCP_LISTS / PCP_ORDERS;
	unsigned most = pcp->high_max[type][order];
	unsigned high = pcp_stack_capacity(set, stack),
		 now = pcp_stack_visits(set, stack) + 1;

	if (now <= UINT16_MAX)
		pcp_stack_set_visits(set, stack, now);
	if ((high && now < GROW_VISITS) || high == most ||
	    pcp_stack_goes_all(pcp, stack))
		return;
	schedule_point();
	high += high ? pcp->batch[order] : pcp->high_min[order];
	if (high > most)
		high = most;
	make_room(pcp, set, cpu, stack, high);
	pcp_stack_set_capacity(pcp, set, stack, high);
}

/*
 * Up to n blocks, in as many holds of the zone lock as it takes, into the slots
 * before `top`, the first one in the highest; returns how many.
 */
static unsigned take_batches(const struct pcp *pcp, const struct zone_ask *ask,
			     uint32_t cpu, unsigned n, pfn_t *top)
{
	unsigned got = 0, now, more;

	while (got < n) {
		now = n - got < ZONE_BATCH ? n - got : ZONE_BATCH;
		more = pcp_zone_alloc(pcp, ask, cpu, now, top - now);
		if (more == 0)
			break;
		if (more < now)
			memmove(top - more, top - now, more * sizeof(*top));
		top -= more;
		got += more;
	}
	return got;
}

/*
 * With renewal, when a list has run empty: what was freed since. The oldest
 * goes to the zone, the rest is kept[], oldest first, no more than the list
 * takes; returns how many.
 */
static unsigned take_back(struct pcp *pcp, struct pcp_set *set, uint32_t cpu,
			  unsigned list, bool scarce, pfn_t *kept)
{
	unsigned back = list + PCP_LISTS, most = pcp_stack_capacity(set, list);
	unsigned n = set_pop(pcp, set, cpu, back, kept, PCP_MAX_SLOTS,
			     CPU_STACK_MOVED);
	unsigned out = scarce ? 0 : n * pcp->renew / QUIRE_RENEW_MAX;

	if (pcp_stack_goes_all(pcp, back))
		out = n;
	if (n - out > most)
		out = n - most;
	pcp_stack_count_left(set, back, n);
	pcp_zone_free(pcp, list % PCP_ORDERS, out, kept);
	memmove(kept, kept + out, (n - out) * sizeof(*kept));
	return n - out;
}

/*
 * With how many blocks a refill comes: half of the capacity; of single pages in
 * a run of allocations all of it, unless the zone is scattered. With the option
 * `renew` what was freed comes back by refills, so that they tell no run. In
 * multiples of a word, which leaves words of a block's map whole. Threads that
 * share the set can lose a count.
 */
static unsigned filling(const struct pcp *pcp, struct pcp_set *set,
			unsigned list)
{
	unsigned n = pcp_stack_capacity(set, list), before = refills(set, list);

	if (before < RUN_REFILLS)
		pcp_stack_set_refills(set, list, before + 1);
	if (before < RUN_REFILLS || list % PCP_ORDERS || pcp->renew ||
	    zone_is_scattered(pcp->zone))
		n /= 2;
	return n < WORD_BITS ? n : (unsigned)align_down(n, WORD_BITS);
}

/*
 * What an empty list is filled with, into the slots before `top`: blocks of the
 * zone, the lowest on top, and above them those that came back. Returns how
 * many.
 */
static unsigned gather(struct pcp *pcp, struct pcp_set *set, uint32_t cpu,
		       const struct zone_ask *ask, pfn_t *top)
{
	bool scarce = zone_free_pages(pcp->zone) < ask->floor + pcp->scarce;
	unsigned list = pcp_list(ask->type, ask->order), kept = 0, got = 0;
	unsigned wanted = scarce ? 1 : filling(pcp, set, list);
	pfn_t back[PCP_MAX_SLOTS];

	/* Of a list that another type has just cut down. */
	if (wanted == 0)
		wanted = 1;
	if (pcp->renew ||
	    cpu_stack_count(cpu_stack_word(&set->stack[list + PCP_LISTS]))) {
		kept = take_back(pcp, set, cpu, list, scarce, back);
		top -= kept;
		memcpy(top, back, kept * sizeof(*top));
	}
	if (kept < wanted)
		got = take_batches(pcp, ask, cpu, wanted - kept, top);
	return got + kept;
}

bool pcp_refill_locked(struct pcp *pcp, struct pcp_set *set, uint32_t cpu,
		       const struct zone_ask *ask, pfn_t *pfn)
{
	unsigned list = pcp_list(ask->type, ask->order), n;
	pfn_t slots[PCP_MAX_SLOTS], *const top = slots + PCP_MAX_SLOTS;

	if (!pcp_set_is_open(set))
		pcp_set_start_locked(pcp, set);
	/* Another thread of this CPU may have been here first. */
	if (set_pop(pcp, set, cpu, list, pfn, 1, CPU_STACK_POPPED))
		return true;
	visited(pcp, set, cpu, list);
	schedule_point();
	n = gather(pcp, set, cpu, ask, top);
	schedule_point();
	if (n == 0)
		return false;
	*pfn = top[-1];
	pcp_counter_add(&set->zone_allocs, 1);
	pcp_counter_add(&set->refills, 1);
	if (set_push(pcp, set, cpu, list, top - n, n - 1))
		count_entered(set, list, n - 1);
	else
		pcp_zone_free(pcp, ask->order, n - 1, top - n);
	return true;
}

void pcp_trim_locked(struct pcp *pcp, struct pcp_set *set, uint32_t cpu,
		     unsigned order, enum quire_mobility type, pfn_t pfn)
{
	unsigned list = pcp_list(type, order), back = pcp_back(pcp, list);
	pfn_t all[PCP_MAX_SLOTS + 1];
	uint32_t n, out = 0, keep;

	if (!pcp_set_is_open(set))
		pcp_set_start_locked(pcp, set);
	visited(pcp, set, cpu, back);
	schedule_point();
	if (set_push(pcp, set, cpu, back, &pfn, 1))
		return;
	n = set_pop(pcp, set, cpu, back, all, PCP_MAX_SLOTS, CPU_STACK_MOVED);
	if (n == 0) {
		pcp_free_direct(pcp, order, 1, &pfn);
		return;
	}
	/* Fewer than it keeps if others popped meanwhile. */
	keep = pcp_stack_goes_all(pcp, back)
		       ? 1
		       : pcp_stack_capacity(set, back) / TRIM_KEEPS;
	if (n + 1 > keep)
		out = n + 1 - keep;
	if (out > n)
		out = n;
	all[n] = pfn;
	pcp_counter_add(&set->drains, 1);
	pcp_stack_set_refills(set, list, 0);
	schedule_point();
	if (set_push(pcp, set, cpu, back, all + out, n + 1 - out)) {
		pcp_stack_count_left(set, back, out);
		schedule_point();
		pcp_zone_free(pcp, order, out, all);
	} else {
		pcp_stack_count_left(set, back, n);
		pcp_zone_free(pcp, order, n, all);
		pcp_free_direct(pcp, order, 1, &pfn);
	}
}
