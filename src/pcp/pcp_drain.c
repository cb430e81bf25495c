/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Drains, from any CPU: all that a set has goes to the zone, by point 2 of the
 * protocol in pcp.c. Lock the set, alone; close; fence; drain; open. From the
 * fence to the opening nobody else writes the set's words.
 *
 * Every set at once, in steps: pcp_close_all() locks and closes them by
 * ascending address, one fence does for all of them, and until
 * pcp_release_all() the zone holds all that is free. Decay takes a set that is
 * idle, by itself, and only tries its lock.
 */
#include <errno.h>

#include "base/schedule.h"
#include "pcp/pcp.h"
#include "platform/platform.h"

/* Lock held, stacks closed, fence done: the words stand still. */
static void set_drain(const struct pcp *pcp, struct pcp_set *set)
{
	for (unsigned i = 0; i < PCP_STACKS; i++) {
		struct cpu_stack *stack = &set->stack[i];
		uint64_t word = cpu_stack_word(stack);
		uint32_t n = cpu_stack_count(word);
		const pfn_t *pfns = cpu_stack_items((char *)set, stack);

		pcp_stack_set_refills(set, i, 0);
		if (n == 0)
			continue;
		pcp_blocks_acquired(pcp, pfns, n);
		schedule_point();
		pcp_zone_free(pcp, i % PCP_ORDERS, n, pfns);
		schedule_point();
		cpu_stack_set_word(stack, word - n);
		pcp_stack_count_left(set, i, n);
		pcp_counter_add(&set->drains, 1);
	}
}

static bool fence(const struct pcp *pcp, int cpu)
{
	if (pcp->way != QUIRE_WAY_RSEQ || platform_rseq_fence(cpu) == 0)
		return true;
	report(pcp->reporter,
	       "membarrier for CPU %d failed (errno %d): page lists stay as "
	       "they are",
	       cpu, errno);
	return false;
}

void pcp_close_all(struct pcp *pcp)
{
	for (uint32_t cpu = 0; cpu < pcp->nr_cpus; cpu++) {
		struct pcp_set *set = pcp_set(pcp, cpu);

		lock_acquire_polled(&set->lock);
		if (pcp_set_is_open(set))
			pcp_set_close_stacks_locked(set);
		schedule_point();
	}
}

bool pcp_fence_all(const struct pcp *pcp)
{
	return fence(pcp, -1);
}

void pcp_drain_all(struct pcp *pcp)
{
	schedule_point();
	for (uint32_t cpu = 0; cpu < pcp->nr_cpus; cpu++)
		if (pcp_set_is_open(pcp_set(pcp, cpu)))
			set_drain(pcp, pcp_set(pcp, cpu));
	zone_disown_all(pcp->zone);
}

bool pcp_hold_all(struct pcp *pcp, bool drain)
{
	pcp_close_all(pcp);
	if (!pcp_fence_all(pcp))
		return false;
	if (drain)
		pcp_drain_all(pcp);
	return true;
}

void pcp_release_all(struct pcp *pcp)
{
	for (uint32_t cpu = 0; cpu < pcp->nr_cpus; cpu++) {
		struct pcp_set *set = pcp_set(pcp, cpu);

		if (pcp_set_is_open(set))
			pcp_set_open_stacks_locked(pcp, set);
		lock_release_polled(&set->lock);
	}
}

void pcp_shut(struct pcp *pcp, bool shut)
{
	atomic_store_explicit(&pcp->shut, shut, memory_order_relaxed);
}

/* --- decay: a set, its lock held alone --- */

/* Whether no word changed since the last look; looks. */
static bool set_idle(struct pcp_set *set)
{
	bool idle = true;

	for (unsigned i = 0; i < PCP_STACKS; i++) {
		uint64_t word = cpu_stack_word(&set->stack[i]);
		struct pcp_stack_state *state = pcp_stack_state(set, i);

		idle = idle && word == state->seen &&
		       pcp_stack_visits(set, i) == 0;
		state->seen = word;
	}
	return idle;
}

static bool set_empty(const struct pcp_set *set)
{
	for (unsigned i = 0; i < PCP_STACKS; i++)
		if (cpu_stack_count(cpu_stack_word(&set->stack[i])))
			return false;
	return true;
}

static void set_shrink(const struct pcp *pcp, struct pcp_set *set)
{
	for (unsigned i = 0; i < PCP_STACKS; i++) {
		unsigned min = pcp->high_min[i % PCP_ORDERS];

		if (pcp_stack_visits(set, i) == 0)
			pcp_stack_set_refills(set, i, 0);
		if (pcp_stack_goes_all(pcp, i))
			continue;
		if (pcp_stack_visits(set, i) == 0 &&
		    pcp_stack_capacity(set, i) > min) {
			unsigned high = pcp_stack_capacity(set, i) * 3 / 4;

			if (high < min)
				high = min;
			pcp_stack_set_capacity(pcp, set, i, high);
		}
		pcp_stack_set_visits(set, i, 0);
	}
}

static bool set_decay(struct pcp *pcp, struct pcp_set *set, uint32_t cpu)
{
	bool drained = false;

	if (set_idle(set)) {
		zone_disown(pcp->zone, cpu);
		if (!set_empty(set)) {
			pcp_set_close_stacks_locked(set);
			schedule_point();
			drained = fence(pcp, (int)cpu);
			if (drained)
				set_drain(pcp, set);
			schedule_point();
			pcp_set_open_stacks_locked(pcp, set);
		}
	}
	set_shrink(pcp, set);
	return drained;
}

unsigned pcp_drain_idle(struct pcp *pcp)
{
	unsigned drained = 0;

	for (uint32_t cpu = 0; cpu < pcp->nr_cpus; cpu++) {
		struct pcp_set *set = pcp_set(pcp, cpu);

		if (!pcp_set_is_open(set) || !lock_try(&set->lock))
			continue;
		drained += set_decay(pcp, set, cpu);
		lock_release_polled(&set->lock);
	}
	return drained;
}
