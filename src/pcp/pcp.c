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
 */
#include "pcp/pcp.h"

#include <errno.h>

#include "base/schedule.h"
#include "platform/fault.h"
#include "platform/platform.h"
#include "platform/platform_process.h"

/*
 * Slots of each type and order: as many as fill a set. Order 9 is 2 MiB a
 * block, so capacity rather follows from the share above. A back has the second
 * half with the option `renew`, else few of its own, a word's pages of order 0.
 */
enum { MAX_SLOTS = 512, BACK_SLOTS = 64, BACK_SLOTS_ABOVE = 7 };

static const uint16_t slots_of[NR_CALL_TYPES][PCP_ORDERS] = {
	[QUIRE_TYPE_UNMOVABLE] = { MAX_SLOTS, 384, 256, 128, 96, 64, 64, 64, 48,
				   48 },
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
_Static_assert(sizeof(struct pcp_set) + MAX_SLOTS * sizeof(uint32_t) <= 3072,
	       "what single pages write keeps off struct quire's hot fields");

/*
 * Sets of a CPU in the trylock way. With 16 threads a CPU and a third of their
 * time under a set's lock, 4 or 5 of them are asleep with one.
 */
enum { TRYLOCK_SETS = 4 };
/* In the rseq way: threads of a CPU that may be at its list and the zone. */
enum { RSEQ_SHARES = 4 };
/* The part of a list that a trim leaves: the newest fourth. */
enum { TRIM_KEEPS = 4 };
/*
 * The part of a CPU's share that the lists of an order may park. Of orders 1 to
 * 7 few blocks keep many pageblocks from being whole; of the highest two hardly
 * more than they are, and they have few blocks anyway.
 */
static const uint8_t part_of[PCP_ORDERS] = { 4,	 24, 24, 24, 24,
					     24, 24, 24, 12, 12 };
/* Slow visits in a decay period from which on a list grows. */
enum { GROW_VISITS = 4 };
/* By how many blocks, at most. */
enum { GROW_STEP = 64 };
/* Refills that make a run of allocations: no trim, drain or idle period came
 * between them. */
enum { RUN_REFILLS = 3 };

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
		uint64_t max = slots_of[type][order] / stacks;

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

static void count_up(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static uint64_t counted(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static bool is_shut(const struct pcp *pcp)
{
	return atomic_load_explicit(&pcp->shut, memory_order_relaxed);
}

/* Of an open stack. */
static unsigned capacity(const struct pcp_set *set, unsigned stack)
{
	return atomic_load_explicit(&set->stack[stack].high,
				    memory_order_relaxed);
}

static void set_capacity(const struct pcp *pcp, struct pcp_set *set,
			 unsigned stack, unsigned high)
{
	atomic_store_explicit(&pcp_stack_state(set, stack)->high,
			      (uint16_t)high, memory_order_relaxed);
	if (!is_shut(pcp))
		cpu_stack_open(&set->stack[stack], (uint16_t)high);
}

static unsigned visits(struct pcp_set *set, unsigned stack)
{
	return atomic_load_explicit(&pcp_stack_state(set, stack)->visits,
				    memory_order_relaxed);
}

static void set_visits(struct pcp_set *set, unsigned stack, unsigned n)
{
	atomic_store_explicit(&pcp_stack_state(set, stack)->visits, (uint16_t)n,
			      memory_order_relaxed);
}

static unsigned refills(struct pcp_set *set, unsigned list)
{
	return atomic_load_explicit(&pcp_stack_state(set, list)->refills,
				    memory_order_relaxed);
}

static void set_refills(struct pcp_set *set, unsigned list, unsigned n)
{
	atomic_store_explicit(&pcp_stack_state(set, list)->refills, (uint16_t)n,
			      memory_order_relaxed);
}

/* Blocks that refills put on a stack, or drains and refills took off it. */
static void count_entered(struct pcp_set *set, unsigned stack, uint64_t n)
{
	count_up(&pcp_stack_state(set, stack)->entered, n);
}

static void count_left(struct pcp_set *set, unsigned stack, uint64_t n)
{
	count_up(&pcp_stack_state(set, stack)->left, n);
}

/* --- a set, its lock held --- */

static void set_open_stacks(const struct pcp *pcp, struct pcp_set *set)
{
	for (unsigned i = 0; i < PCP_STACKS && !is_shut(pcp); i++)
		cpu_stack_open(
			&set->stack[i],
			atomic_load_explicit(&pcp_stack_state(set, i)->high,
					     memory_order_relaxed));
}

static void set_close_stacks(struct pcp_set *set)
{
	for (unsigned i = 0; i < PCP_STACKS; i++)
		cpu_stack_close(&set->stack[i]);
}

static bool set_is_open(const struct pcp_set *set)
{
	return atomic_load_explicit(&set->open, memory_order_relaxed);
}

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

/* First use of a set: until here its memory is untouched. */
static void set_start(const struct pcp *pcp, struct pcp_set *set)
{
	size_t at = sizeof(*set);

	for (unsigned list = 0; list < PCP_LISTS; list++) {
		unsigned order = list % PCP_ORDERS, type = list / PCP_ORDERS;
		unsigned back = list + PCP_LISTS;
		size_t bytes = slots_of[type][order] * sizeof(uint32_t);
		/* Types that nobody asks for take nothing from an order. */
		unsigned high = type == 0 ? pcp->high_min[order] : 0;

		set->stack[list].slots = (uint32_t)at;
		set_capacity(pcp, set, list, high);
		if (pcp->renew) {
			set->stack[back].slots = (uint32_t)(at + bytes / 2);
		} else {
			set->stack[back].slots = (uint32_t)(at + bytes);
			at += back_slots(order) * sizeof(uint32_t);
			high = back_capacity(pcp, type, order);
		}
		set_capacity(pcp, set, back, high);
		at += bytes;
	}
	atomic_store_explicit(&set->open, true, memory_order_relaxed);
}

/* Point 5 of the protocol, for blocks that move together. */
static void acquired(const struct pcp *pcp, const pfn_t *pfns, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		tsan_acquire(memmap_page(pcp->zone->map, pfns[i]));
}

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
	acquired(pcp, pfns, n);
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

/* In the rseq way: the set's lock, shared. The first one sets it up, alone. */
static bool set_share(const struct pcp *pcp, struct pcp_set *set)
{
	if (!set_is_open(set)) {
		if (!lock_try(&set->lock))
			return false;
		if (!set_is_open(set))
			set_start(pcp, set);
		lock_release_polled(&set->lock);
	}
	return lock_try_shared(&set->lock, RSEQ_SHARES);
}

/*
 * The set of *cpu, locked; NULL: none. In the trylock way the next one of the
 * CPU is tried, and *cpu becomes its number.
 */
static struct pcp_set *set_try(const struct pcp *pcp, uint32_t *cpu)
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

static void set_leave(const struct pcp *pcp, struct pcp_set *set)
{
	if (pcp->way == QUIRE_WAY_RSEQ)
		lock_release_shared(&set->lock);
	else
		lock_release_polled(&set->lock);
}

/* --- between lists and zone --- */

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

static void give_to_zone(const struct pcp *pcp, unsigned order, uint32_t n,
			 const pfn_t *pfns)
{
	set_words(pcp->zone->map->pages, PAGE_FREE, n, pfns);
	if (n)
		zone_free(pcp->zone, order, n, pfns);
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

static unsigned take_from_zone(const struct pcp *pcp,
			       const struct zone_ask *ask, uint32_t cpu,
			       unsigned n, pfn_t *pfns)
{
	uint64_t zero[ZONE_BATCH / WORD_BITS];
	enum quire_mobility kept;
	unsigned got = zone_alloc(pcp->zone, ask, cpu, n, pfns, zero, &kept);

	park(pcp, ask->order, kept, got, pfns, zero);
	if (got >= WORD_BITS && pfns[0] - pfns[got - 1] == got - 1)
		fetch_ahead(pcp, pfns[0], got);
	return got;
}

static bool alloc_direct(struct pcp *pcp, const struct zone_ask *ask,
			 pfn_t *pfn)
{
	if (take_from_zone(pcp, ask, PCP_CPU_NONE, 1, pfn) == 0)
		return false;
	count_up(&pcp->direct_allocs, 1);
	return true;
}

bool pcp_alloc_exact(struct pcp *pcp, const struct zone_ask *ask, uint64_t n,
		     pfn_t *pfn, bool *zero)
{
	if (!zone_alloc_exact(pcp->zone, ask, n, pfn, zero))
		return false;
	count_up(&pcp->direct_allocs, n);
	return true;
}

bool pcp_alloc_held(struct pcp *pcp, const struct zone_ask *ask, pfn_t *pfn)
{
	enum quire_mobility kept;
	uint64_t zero;

	if (zone_alloc_locked(pcp->zone, ask, PCP_CPU_NONE, 1, pfn, &zero,
			      &kept) == 0)
		return false;
	park(pcp, ask->order, kept, 1, pfn, &zero);
	count_up(&pcp->direct_allocs, 1);
	return true;
}

bool pcp_alloc_exact_held(struct pcp *pcp, const struct zone_ask *ask,
			  uint64_t n, pfn_t *pfn, bool *zero)
{
	if (!zone_alloc_exact_locked(pcp->zone, ask, n, pfn, zero))
		return false;
	count_up(&pcp->direct_allocs, n);
	return true;
}

void pcp_free_direct(struct pcp *pcp, unsigned order, uint32_t n,
		     const pfn_t *pfns)
{
	give_to_zone(pcp, order, n, pfns);
	count_up(&pcp->direct_frees, n);
}

/* A back whose blocks all go to the zone. */
static bool goes_all(const struct pcp *pcp, unsigned stack)
{
	return pcp->renew == 0 && stack >= PCP_LISTS;
}

/* What a stack has above its new capacity goes to the zone. */
static void cut_down(const struct pcp *pcp, struct pcp_set *set, uint32_t cpu,
		     unsigned stack, unsigned high)
{
	pfn_t pfns[MAX_SLOTS];
	uint32_t there, n;

	set_capacity(pcp, set, stack, high);
	there = cpu_stack_count(cpu_stack_word(&set->stack[stack]));
	if (there <= high)
		return;
	n = set_pop(pcp, set, cpu, stack, pfns, there - high, CPU_STACK_MOVED);
	count_left(set, stack, n);
	give_to_zone(pcp, stack % PCP_ORDERS, n, pfns);
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
			unsigned has = at == stack ? 0 : capacity(set, at);

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
	unsigned high = capacity(set, stack), now = visits(set, stack) + 1;

	if (now <= UINT16_MAX)
		set_visits(set, stack, now);
	if ((high && now < GROW_VISITS) || high == most || goes_all(pcp, stack))
		return;
	schedule_point();
	high += high ? pcp->batch[order] : pcp->high_min[order];
	if (high > most)
		high = most;
	make_room(pcp, set, cpu, stack, high);
	set_capacity(pcp, set, stack, high);
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
		more = take_from_zone(pcp, ask, cpu, now, top - now);
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
	unsigned back = list + PCP_LISTS, most = capacity(set, list);
	unsigned n =
		set_pop(pcp, set, cpu, back, kept, MAX_SLOTS, CPU_STACK_MOVED);
	unsigned out = scarce ? 0 : n * pcp->renew / QUIRE_RENEW_MAX;

	if (goes_all(pcp, back))
		out = n;
	if (n - out > most)
		out = n - most;
	count_left(set, back, n);
	give_to_zone(pcp, list % PCP_ORDERS, out, kept);
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
	unsigned n = capacity(set, list), before = refills(set, list);

	if (before < RUN_REFILLS)
		set_refills(set, list, before + 1);
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
	pfn_t back[MAX_SLOTS];

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

/* The list is empty: its top for the caller, the rest onto it. */
static bool refill(struct pcp *pcp, struct pcp_set *set, uint32_t cpu,
		   const struct zone_ask *ask, pfn_t *pfn)
{
	unsigned list = pcp_list(ask->type, ask->order), n;
	pfn_t slots[MAX_SLOTS], *const top = slots + MAX_SLOTS;

	if (!set_is_open(set))
		set_start(pcp, set);
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
	count_up(&set->zone_allocs, 1);
	count_up(&set->refills, 1);
	if (set_push(pcp, set, cpu, list, top - n, n - 1))
		count_entered(set, list, n - 1);
	else
		give_to_zone(pcp, ask->order, n - 1, top - n);
	return true;
}

/* The list is full: its oldest to the zone, then the block on top. */
static void trim(struct pcp *pcp, struct pcp_set *set, uint32_t cpu,
		 unsigned order, enum quire_mobility type, pfn_t pfn)
{
	unsigned list = pcp_list(type, order), back = pcp_back(pcp, list);
	pfn_t all[MAX_SLOTS + 1];
	uint32_t n, out = 0, keep;

	if (!set_is_open(set))
		set_start(pcp, set);
	visited(pcp, set, cpu, back);
	schedule_point();
	if (set_push(pcp, set, cpu, back, &pfn, 1))
		return;
	n = set_pop(pcp, set, cpu, back, all, MAX_SLOTS, CPU_STACK_MOVED);
	if (n == 0) {
		pcp_free_direct(pcp, order, 1, &pfn);
		return;
	}
	/* Fewer than it keeps if others popped meanwhile. */
	keep = goes_all(pcp, back) ? 1 : capacity(set, back) / TRIM_KEEPS;
	if (n + 1 > keep)
		out = n + 1 - keep;
	if (out > n)
		out = n;
	all[n] = pfn;
	count_up(&set->drains, 1);
	set_refills(set, list, 0);
	schedule_point();
	if (set_push(pcp, set, cpu, back, all + out, n + 1 - out)) {
		count_left(set, back, out);
		schedule_point();
		give_to_zone(pcp, order, out, all);
	} else {
		count_left(set, back, n);
		give_to_zone(pcp, order, n, all);
		pcp_free_direct(pcp, order, 1, &pfn);
	}
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
	set = set_try(pcp, cpu);
	/* With the lock: who shuts the lists has it alone. */
	if (set && is_shut(pcp)) {
		set_leave(pcp, set);
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
		ok = refill(pcp, set, cpu, ask, pfn);
		set_leave(pcp, set);
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
		trim(pcp, set, cpu, order, type, pfn);
		set_leave(pcp, set);
	} else {
		pcp_free_direct(pcp, order, 1, &pfn);
	}
	look_after(pcp);
}

bool pcp_pop_locked(struct pcp *pcp, unsigned list, pfn_t *pfn)
{
	uint32_t cpu = this_cpu(pcp);
	struct pcp_set *set = set_try(pcp, &cpu);
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
	struct pcp_set *set = set_try(pcp, &cpu);
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
	count_up(&pcp->direct_frees, 1);
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
		return set_pop(pcp, pcp_set(pcp, cpu), cpu, list, pfns, most,
			       CPU_STACK_POPPED);
	}
	set = set_try(pcp, &cpu);
	if (!set)
		return 0;
	got = set_pop(pcp, set, cpu, list, pfns, most, CPU_STACK_POPPED);
	lock_release_polled(&set->lock);
	return got;
}

/* The CPU that may own a block: decay looks after those with an open set. */
static uint32_t owning_cpu(const struct pcp *pcp)
{
	uint32_t cpu = this_cpu(pcp);

	if (cpu == PCP_CPU_NONE || !set_is_open(pcp_set(pcp, cpu)))
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
		more = take_from_zone(pcp, ask, owning_cpu(pcp), (unsigned)now,
				      pfns + got);
		if (more == 0)
			break;
		reverse(pfns + got, more);
		got += more;
		count_up(&pcp->direct_allocs, more);
	}
	pcp_maintain(pcp);
	return got;
}

/* --- from other CPUs --- */

/* Lock held, stacks closed, fence done: the words stand still. */
static void set_drain(const struct pcp *pcp, struct pcp_set *set)
{
	for (unsigned i = 0; i < PCP_STACKS; i++) {
		struct cpu_stack *stack = &set->stack[i];
		uint64_t word = cpu_stack_word(stack);
		uint32_t n = cpu_stack_count(word);
		const pfn_t *pfns = cpu_stack_items((char *)set, stack);

		set_refills(set, i, 0);
		if (n == 0)
			continue;
		acquired(pcp, pfns, n);
		schedule_point();
		give_to_zone(pcp, i % PCP_ORDERS, n, pfns);
		schedule_point();
		cpu_stack_set_word(stack, word - n);
		count_left(set, i, n);
		count_up(&set->drains, 1);
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
		if (set_is_open(set))
			set_close_stacks(set);
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
		if (set_is_open(pcp_set(pcp, cpu)))
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

		if (set_is_open(set))
			set_open_stacks(pcp, set);
		lock_release_polled(&set->lock);
	}
}

void pcp_shut(struct pcp *pcp, bool shut)
{
	atomic_store_explicit(&pcp->shut, shut, memory_order_relaxed);
}

/* --- decay --- */

/* Whether no word changed since the last look; looks. */
static bool set_idle(struct pcp_set *set)
{
	bool idle = true;

	for (unsigned i = 0; i < PCP_STACKS; i++) {
		uint64_t word = cpu_stack_word(&set->stack[i]);
		struct pcp_stack_state *state = pcp_stack_state(set, i);

		idle = idle && word == state->seen && visits(set, i) == 0;
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

		if (visits(set, i) == 0)
			set_refills(set, i, 0);
		if (goes_all(pcp, i))
			continue;
		if (visits(set, i) == 0 && capacity(set, i) > min) {
			unsigned high = capacity(set, i) * 3 / 4;

			if (high < min)
				high = min;
			set_capacity(pcp, set, i, high);
		}
		set_visits(set, i, 0);
	}
}

static bool set_decay(struct pcp *pcp, struct pcp_set *set, uint32_t cpu)
{
	bool drained = false;

	if (set_idle(set)) {
		zone_disown(pcp->zone, cpu);
		if (!set_empty(set)) {
			set_close_stacks(set);
			schedule_point();
			drained = fence(pcp, (int)cpu);
			if (drained)
				set_drain(pcp, set);
			schedule_point();
			set_open_stacks(pcp, set);
		}
	}
	set_shrink(pcp, set);
	return drained;
}

unsigned pcp_maintain(struct pcp *pcp)
{
	uint64_t now = platform_ms();
	uint64_t due =
		atomic_load_explicit(&pcp->next_decay, memory_order_relaxed);
	unsigned drained = 0;

	/* One thread a period: whoever moves the clock on. */
	if (now < due || !atomic_compare_exchange_strong_explicit(
				 &pcp->next_decay, &due, now + pcp->decay_ms,
				 memory_order_relaxed, memory_order_relaxed))
		return 0;
	for (uint32_t cpu = 0; cpu < pcp->nr_cpus; cpu++) {
		struct pcp_set *set = pcp_set(pcp, cpu);

		if (!set_is_open(set) || !lock_try(&set->lock))
			continue;
		drained += set_decay(pcp, set, cpu);
		lock_release_polled(&set->lock);
	}
	return drained;
}

void pcp_count(struct pcp *pcp, struct pcp_count *count)
{
	count->zone_allocs += atomic_load(&pcp->direct_allocs);
	count->zone_frees += atomic_load(&pcp->direct_frees);
	for (uint32_t cpu = 0; cpu < pcp->nr_cpus; cpu++) {
		struct pcp_set *set = pcp_set(pcp, cpu);

		if (!set_is_open(set))
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
