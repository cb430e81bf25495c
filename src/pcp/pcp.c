/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Per-CPU page lists.
 *
 * Model. Each CPU has a set of stacks of free blocks, one per mobility type
 * that calls ask for and order 0 to 9; what came from blocks of other types
 * goes past them. Allocation pops, free pushes; only when a stack is empty or
 * full is the zone asked, for a batch. A set belongs to a CPU number, and there
 * are three ways to be that CPU; an allocator uses one of them for good:
 *   rseq     the CPU the thread runs on, by a restartable sequence;
 *   trylock  the CPU the thread runs on, by the lock of one of its sets: a
 *            thread that loses the CPU with a set's lock in hand keeps it while
 *            others run, which then try the CPU's next set. With fewer sets
 *            than CPUs, some CPUs share them;
 *   bound    the CPU the thread was told to stand in for, by the same lock.
 * A thread that has no set, or does not get the lock at once, goes to the zone.
 *
 * Protocol.
 *  1. The lock of a set (the pcp lock) guards all of it. In the trylock and
 *     bound ways that is all there is to say. In the rseq way sequences change
 *     a stack's `word`, and slots above its count, without the lock; nobody
 *     else does while the set is open. Refills and trims move blocks by
 *     sequences of their own, and if the thread has left the CPU meanwhile
 *     these refuse and the blocks go to the zone. So they need not keep each
 *     other out: they share the lock, a few at a time (one that loses the CPU
 *     with the lock in hand would send all others to the zone), and count by
 *     atomics. Whoever closes a set holds its lock alone.
 *  2. To take a set from another CPU: lock it; close its stacks (low and high
 *     such that no sequence may pop or push); platform_rseq_fence() on that
 *     CPU. The fence restarts any sequence in flight there, and whatever runs
 *     after it sees the closed values: from here on the word stands still and
 *     may be written with plain stores. Open again (release; sequences read low
 *     and high before the word), unlock. If the fence fails the set is opened
 *     again untouched.
 *  3. Transit. Blocks on their way between a list and the zone are on some
 *     thread's stack, but never without the pcp lock. So whoever has locked
 *     all sets, alone, knows that no free block is anywhere but in the zone:
 *     before an allocation fails, pcp_hold_all() locks, closes and drains every
 *     set, and the zone is asked once more while they are still held. Threads
 *     that find a set held go to the zone, so nothing is parked meanwhile.
 *     While calls wait in line for pages, lists stay shut: closed though their
 *     sets' locks are free, so that each freed page is seen by the zone.
 *  4. Lock order: drain lock, pcp locks by ascending address, zone lock.
 *  5. Happens-before. Who pops a block sees what its last holder wrote before
 *     the push: on the same CPU by program order of the CPU itself (a
 *     preemption is a full barrier), in the other ways by the lock.
 *     tsan_release and tsan_acquire say so to ThreadSanitizer.
 *
 * Batches. A refill fills half of an empty list and leaves the lowest block on
 * top, so that a run of allocations ascends. Where single pages are allocated
 * in a run, and the zone is not scattered, it fills all of the list: nobody is
 * there to find it full. A trim of a full list leaves the newest fourth: more
 * would be handed out again where it was freed, and blocks that are nearly
 * empty would never become whole. When the zone is nearly empty a refill takes
 * only what was asked.
 *
 * Renewal. What is freed and allocated in turn never reaches the zone, so it
 * stays as scattered as it was. With renewal a list is two stacks: allocations
 * pop the one, frees push the other, its back. Lists are renewed while the zone
 * is scattered (zone_is_scattered): backs are short, and all that they gather
 * goes to the zone when they are full or the list is empty, so that what is
 * handed out is from the fullest blocks. In a zone that is packed there are no
 * backs and it costs nothing. Slow visits turn it on and off.
 *
 * With the option `renew` lists are always two stacks, and it says how much:
 * when the first is empty, the oldest part of the back, renew / QUIRE_RENEW_MAX
 * of it, goes to the zone, the rest comes to the front again, and the zone
 * fills up the list. Bulk allocations take what the list has, then from the
 * zone.
 *
 * Signal handlers. pcp_*_nolock() pop and push like the others (a handler
 * inside a sequence restarts it; a set's lock is only tried), and where that
 * fails try the zone lock, which the interrupted thread may hold.
 *
 * Sizes. All lists of a CPU together may park 1 / (8 x CPUs) of the zone: a
 * quarter of that is order 0's, a twelfth each of orders 8 and 9, a
 * twenty-fourth each other order's; an order for which a twelfth is under two
 * blocks (four with the option renew) has no list. Within that, and within the
 * slots, a list's capacity follows its use: a slow visit raises it by a batch
 * when there were several since the last decay, a period without one lowers it
 * by a quarter. The types share what is an order's: where that is used up, a
 * list grows by what the largest of the others loses.
 *
 * Decay. Every decay_ms, in somebody's slow path or quire_maintain(), sets are
 * looked at; one whose words have not changed since the last look is idle and
 * drained, and the block its CPU owns goes back to the zone's lists.
 *
 * Code. The calls are here; pcp_set.[ch] has a set's lock and slots, and the
 * way from and to the zone; pcp_refill.c a thread's slow visits to a list of
 * its CPU; pcp_drain.c what is done to a set from any CPU.
 */
#include "pcp/pcp.h"

#include "base/schedule.h"
#include "platform/platform.h"
#include "platform/platform_process.h"

/*
 * Sets of a CPU in the trylock way. With 16 threads a CPU and a third of their
 * time under a set's lock, 4 or 5 of them are asleep with one.
 */
enum { TRYLOCK_SETS = 4 };
/*
 * The part of a CPU's share that the lists of an order may park. Of orders 1 to
 * 7 few blocks keep many pageblocks from being whole; of the highest two hardly
 * more than they are, and they have few blocks anyway.
 */
static const uint8_t part_of[PCP_ORDERS] = { 4,	 24, 24, 24, 24,
					     24, 24, 24, 12, 12 };
/* A list grows by that many blocks at most. */
enum { GROW_STEP = 64 };

uint32_t pcp_default_sets(enum quire_way way)
{
	uint32_t cpus = platform_possible_cpus();

	return way == QUIRE_WAY_TRYLOCK ? TRYLOCK_SETS * cpus : cpus;
}

/* From now on frees push these stacks; in other CPUs' calls a little later. */
static void set_back(struct pcp *pcp, unsigned back)
{
	atomic_store_explicit(&pcp->back, back, memory_order_relaxed);
	if (pcp->fast_back)
		atomic_store_explicit(pcp->fast_back, pcp_stack_offset(back),
				      memory_order_relaxed);
}

/* `share` is what the lists of an order may hold together. */
static void size_order(struct pcp *pcp, unsigned order, uint64_t share,
		       unsigned stacks)
{
	uint64_t most = 0, batch;

	if (share < 2)
		share = 0;
	for (unsigned type = 0; type < NR_CALL_TYPES; type++) {
		uint64_t max = pcp_set_slots(type, order) / stacks;

		if (max > share)
			max = share;
		pcp->high_max[type][order] = (uint16_t)max;
		if (max > most)
			most = max;
	}
	batch = most / 4;
	if (batch > GROW_STEP)
		batch = GROW_STEP;
	if (batch == 0)
		batch = 1;
	pcp->share[order] = (uint32_t)(share < UINT32_MAX ? share : UINT32_MAX);
	pcp->batch[order] = (uint16_t)batch;
	pcp->high_min[order] = (uint16_t)(most < 2 * batch ? most : 2 * batch);
}

/* Of what a CPU may park, blocks for each stack of an order; 0: it has no list.
 */
static uint64_t share_of(uint64_t share, unsigned order, unsigned stacks)
{
	uint64_t blocks = (share / part_of[order] >> order) / stacks;

	if (order == 0)
		return blocks;
	if ((share / 12 >> order) / stacks < 2)
		return 0;
	return blocks < 2 ? 2 : blocks;
}

void pcp_init(struct pcp *pcp, struct zone *zone, char *sets,
	      const struct pcp_settings *settings)
{
	uint64_t pages = zone_free_pages(zone);
	uint32_t nr_cpus = settings->nr_cpus;
	uint64_t share = pages / (8 * (uint64_t)nr_cpus);
	unsigned stacks = settings->renew ? 2 : 1; /* of a list */

	pcp->sets = sets;
	pcp->nr_cpus = nr_cpus;
	pcp->way = settings->way;
	pcp->key = settings->key;
	pcp->zone = zone;
	pcp->reporter = settings->reporter;
	pcp->decay_ms = settings->decay_ms;
	pcp->renew = settings->renew;
	pcp->fast_back = settings->fast_back;
	set_back(pcp, settings->renew ? PCP_LISTS : 0);
	pcp->step = pcp->way == QUIRE_WAY_TRYLOCK ? platform_possible_cpus()
						  : nr_cpus;
	if (pcp->step > nr_cpus)
		pcp->step = nr_cpus;
	atomic_init(&pcp->next_decay, platform_ms() + pcp->decay_ms);
	for (unsigned order = 0; order < PCP_ORDERS; order++)
		size_order(pcp, order, share_of(share, order, stacks), stacks);
	pcp->scarce = 2 * (uint64_t)nr_cpus * GROW_STEP;
	if (pcp->scarce > pages / 16)
		pcp->scarce = pages / 16;
}

/* The CPU whose lists this thread may use now, or PCP_CPU_NONE. */
static uint32_t this_cpu(const struct pcp *pcp)
{
	const struct pcp_seat *seat;
	uint32_t cpu;

	switch (pcp->way) {
	case QUIRE_WAY_BOUND:
		seat = platform_key_get(pcp->key);
		return seat ? seat->cpu : PCP_CPU_NONE;
	case QUIRE_WAY_TRYLOCK:
		cpu = platform_cpu();
		return cpu == UINT32_MAX ? PCP_CPU_NONE : cpu % pcp->step;
	default:
		cpu = platform_cpu();
		return cpu < pcp->nr_cpus ? cpu : PCP_CPU_NONE;
	}
}

/* --- past the lists --- */

static bool alloc_direct(struct pcp *pcp, const struct zone_ask *ask,
			 pfn_t *pfn)
{
	if (pcp_zone_alloc(pcp, ask, PCP_CPU_NONE, 1, pfn) == 0)
		return false;
	pcp_counter_add(&pcp->direct_allocs, 1);
	return true;
}

bool pcp_alloc_exact(struct pcp *pcp, const struct zone_ask *ask, uint64_t n,
		     pfn_t *pfn, bool *zero)
{
	if (!zone_alloc_exact(pcp->zone, ask, n, pfn, zero))
		return false;
	pcp_counter_add(&pcp->direct_allocs, n);
	return true;
}

bool pcp_alloc_held(struct pcp *pcp, const struct zone_ask *ask, pfn_t *pfn)
{
	if (!pcp_zone_alloc_locked(pcp, ask, pfn))
		return false;
	pcp_counter_add(&pcp->direct_allocs, 1);
	return true;
}

bool pcp_alloc_exact_held(struct pcp *pcp, const struct zone_ask *ask,
			  uint64_t n, pfn_t *pfn, bool *zero)
{
	if (!zone_alloc_exact_locked(pcp->zone, ask, n, pfn, zero))
		return false;
	pcp_counter_add(&pcp->direct_allocs, n);
	return true;
}

/* --- the lists' own calls --- */

/* This CPU's set, if the order has a list and lists are in use. */
static struct pcp_set *set_for(const struct pcp *pcp, unsigned order,
			       enum quire_mobility type, uint32_t *cpu)
{
	struct pcp_set *set;

	if (order >= PCP_ORDERS || type >= NR_CALL_TYPES ||
	    !pcp->high_max[type][order])
		return NULL;
	*cpu = this_cpu(pcp);
	set = pcp_set_try(pcp, cpu);
	/* With the lock: who shuts the lists has it alone. */
	if (set && pcp_is_shut(pcp)) {
		pcp_set_leave(pcp, set);
		return NULL;
	}
	return set;
}

/* What a slow call does for others: lists are renewed or not, and decay. */
static void look_after(struct pcp *pcp)
{
	unsigned back =
		pcp->renew || zone_is_scattered(pcp->zone) ? PCP_LISTS : 0;

	/* Two who set it at once can leave the copies different. */
	if (unlikely(pcp_back(pcp, 0) != back ||
		     (pcp->fast_back &&
		      atomic_load_explicit(pcp->fast_back,
					   memory_order_relaxed) !=
			      pcp_stack_offset(back))))
		set_back(pcp, back);
	pcp_maintain(pcp);
}

static bool alloc_slow(struct pcp *pcp, const struct zone_ask *ask, pfn_t *pfn)
{
	struct pcp_set *set = NULL;
	uint32_t cpu;
	bool ok;

	/* So that who only looks whether a zone has plenty takes no lock. */
	if (ask->hint &&
	    zone_free_pages(pcp->zone) + zone_deferred_pages(pcp->zone) <
		    ask->floor + (UINT64_C(1) << ask->order))
		return false;
	if (!ask->may)
		set = set_for(pcp, ask->order, ask->type, &cpu);
	if (set) {
		ok = pcp_refill_locked(pcp, set, cpu, ask, pfn);
		pcp_set_leave(pcp, set);
	} else {
		ok = alloc_direct(pcp, ask, pfn);
	}
	look_after(pcp);
	return ok;
}

void pcp_free_slow(struct pcp *pcp, unsigned order, enum quire_mobility type,
		   pfn_t pfn)
{
	uint32_t cpu;
	struct pcp_set *set = set_for(pcp, order, type, &cpu);

	if (set) {
		pcp_trim_locked(pcp, set, cpu, order, type, pfn);
		pcp_set_leave(pcp, set);
	} else {
		pcp_free_direct(pcp, order, 1, &pfn);
	}
	look_after(pcp);
}

bool pcp_pop_locked(struct pcp *pcp, unsigned list, pfn_t *pfn)
{
	uint32_t cpu = this_cpu(pcp);
	struct pcp_set *set = pcp_set_try(pcp, &cpu);
	bool ok;

	if (!set)
		return false;
	ok = cpu_stack_pop((char *)set, &set->stack[list], pfn);
	lock_release_polled(&set->lock);
	return ok;
}

bool pcp_push_locked(struct pcp *pcp, unsigned back, pfn_t pfn)
{
	uint32_t cpu = this_cpu(pcp);
	struct pcp_set *set = pcp_set_try(pcp, &cpu);
	bool ok;

	if (!set)
		return false;
	ok = cpu_stack_push((char *)set, &set->stack[back], pfn);
	lock_release_polled(&set->lock);
	return ok;
}

static bool has_list(unsigned order, enum quire_mobility type)
{
	return order < PCP_ORDERS && type < NR_CALL_TYPES;
}

bool pcp_alloc(struct pcp *pcp, const struct zone_ask *ask, pfn_t *pfn)
{
	return (has_list(ask->order, ask->type) &&
		pcp_pop(pcp, ask->order, ask->type, pfn)) ||
	       alloc_slow(pcp, ask, pfn);
}

void pcp_free(struct pcp *pcp, unsigned order, enum quire_mobility type,
	      pfn_t pfn)
{
	if (!has_list(order, type) || !pcp_push(pcp, order, type, pfn))
		pcp_free_slow(pcp, order, type, pfn);
}

/* --- without waiting: nothing is refilled, trimmed or looked after --- */

bool pcp_alloc_nolock(struct pcp *pcp, const struct zone_ask *ask, pfn_t *pfn)
{
	bool ok;

	if (has_list(ask->order, ask->type) &&
	    pcp_pop(pcp, ask->order, ask->type, pfn))
		return true;
	if (!zone_try_lock(pcp->zone))
		return false;
	ok = pcp_alloc_held(pcp, ask, pfn);
	zone_unlock(pcp->zone);
	return ok;
}

bool pcp_alloc_exact_nolock(struct pcp *pcp, const struct zone_ask *ask,
			    uint64_t n, pfn_t *pfn, bool *zero)
{
	bool ok;

	if (!zone_try_lock(pcp->zone))
		return false;
	ok = pcp_alloc_exact_held(pcp, ask, n, pfn, zero);
	zone_unlock(pcp->zone);
	return ok;
}

void pcp_free_nolock(struct pcp *pcp, unsigned order, enum quire_mobility type,
		     pfn_t pfn)
{
	if (has_list(order, type) && pcp_push(pcp, order, type, pfn))
		return;
	page_set_word(memmap_page(pcp->zone->map, pfn), PAGE_FREE);
	if (zone_try_lock(pcp->zone)) {
		zone_free_locked(pcp->zone, order, pfn);
		zone_unlock(pcp->zone);
	} else {
		zone_free_deferred(pcp->zone, order, pfn);
	}
	pcp_counter_add(&pcp->direct_frees, 1);
}

/* What the CPU's list has, up to n; 0 if it cannot be had at once. */
static size_t alloc_bulk_from_list(struct pcp *pcp, unsigned list, size_t n,
				   pfn_t *pfns)
{
	uint32_t cpu = this_cpu(pcp);
	uint32_t most = n < UINT16_MAX ? (uint32_t)n : UINT16_MAX;
	struct pcp_set *set;
	uint32_t got;

	if (cpu == PCP_CPU_NONE)
		return 0;
	if (pcp->way == QUIRE_WAY_RSEQ) {
		got = rseq_pop_batch((char *)pcp_set(pcp, cpu), cpu,
				     pcp_stack_offset(list), pfns, most,
				     CPU_STACK_POPPED);
	} else {
		set = pcp_set_try(pcp, &cpu);
		if (!set)
			return 0;
		got = cpu_stack_pop_batch((char *)set, &set->stack[list], pfns,
					  most, CPU_STACK_POPPED);
		lock_release_polled(&set->lock);
	}
	pcp_blocks_acquired(pcp, pfns, got);
	return got;
}

/* The CPU that may own a block: decay looks after those with an open set. */
static uint32_t owning_cpu(const struct pcp *pcp)
{
	uint32_t cpu = this_cpu(pcp);

	if (cpu == PCP_CPU_NONE || !pcp_set_is_open(pcp_set(pcp, cpu)))
		return PCP_CPU_NONE;
	return cpu;
}

static void reverse(pfn_t *pfns, unsigned n)
{
	for (unsigned i = 0; i < n / 2; i++) {
		pfn_t pfn = pfns[i];

		pfns[i] = pfns[n - 1 - i];
		pfns[n - 1 - i] = pfn;
	}
}

size_t pcp_alloc_bulk(struct pcp *pcp, const struct zone_ask *ask, size_t n,
		      pfn_t *pfns)
{
	size_t got = 0;

	schedule_point();
	if (ask->order < PCP_ORDERS && pcp->high_max[ask->type][ask->order])
		got = alloc_bulk_from_list(pcp, pcp_list(ask->type, ask->order),
					   n, pfns);
	if (got == n)
		return n;
	while (got < n) {
		size_t now = n - got < ZONE_BATCH ? n - got : ZONE_BATCH;
		unsigned more;

		if (ask->may)
			now = 1;
		more = pcp_zone_alloc(pcp, ask, owning_cpu(pcp), (unsigned)now,
				      pfns + got);
		if (more == 0)
			break;
		reverse(pfns + got, more);
		got += more;
		pcp_counter_add(&pcp->direct_allocs, more);
	}
	pcp_maintain(pcp);
	return got;
}

/* --- decay and counts --- */

unsigned pcp_maintain(struct pcp *pcp)
{
	uint64_t now = platform_ms();
	uint64_t due =
		atomic_load_explicit(&pcp->next_decay, memory_order_relaxed);

	/* One thread a period: whoever moves the clock on. */
	if (now < due || !atomic_compare_exchange_strong_explicit(
				 &pcp->next_decay, &due, now + pcp->decay_ms,
				 memory_order_relaxed, memory_order_relaxed))
		return 0;
	return pcp_drain_idle(pcp);
}

static uint64_t counted(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

void pcp_count(struct pcp *pcp, struct pcp_count *count)
{
	count->zone_allocs += atomic_load(&pcp->direct_allocs);
	count->zone_frees += atomic_load(&pcp->direct_frees);
	for (uint32_t cpu = 0; cpu < pcp->nr_cpus; cpu++) {
		struct pcp_set *set = pcp_set(pcp, cpu);

		if (!pcp_set_is_open(set))
			continue;
		lock_acquire_polled(&set->lock);
		count->refills += counted(&set->refills);
		count->drains += counted(&set->drains);
		count->zone_allocs += counted(&set->zone_allocs);
		for (unsigned i = 0; i < PCP_STACKS; i++) {
			uint64_t word = cpu_stack_word(&set->stack[i]);
			uint64_t here = cpu_stack_count(word);

			count->parked_blocks += here;
			count->parked_pages += here << i % PCP_ORDERS;
			count->pops += cpu_stack_pops(word);
			count->pushes +=
				cpu_stack_pops(word) + here +
				counted(&pcp_stack_state(set, i)->left) -
				counted(&pcp_stack_state(set, i)->entered);
		}
		lock_release_polled(&set->lock);
	}
}
