/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The front: allocation and free.
 *
 * Data flows one way. An allocation asks, zone by zone in the order of its
 * node's zonelist, the CPU's list, which asks the zone. What comes back is a
 * pfn whose state word says PAGE_PCP, its zone and its type; handing it out is
 * one store that makes it a head. A free is the same backwards: the word must
 * be that of a live head of the order named, becomes PAGE_PCP, and the pfn is
 * pushed to a list of the zone and type it names.
 *
 * quire_alloc_pages() and quire_free_pages() are the fast path: one node, its
 * zone for unmovable pages, no flags, restartable sequences. With several nodes
 * and in the other ways of being a CPU fast_orders is 0. There, and for types,
 * alloc_from_list() and free_to_list() ask the list before anything else is
 * looked at; where races are checked list_orders is 0 as well. All the rest
 * takes the general path, which repeats nothing of these but the order of
 * events.
 *
 * The general path asks all its zones (want.c) above their low watermark. If
 * none has enough it wakes their nodes' reclaim threads, if there are any, and
 * takes what it may above the min watermark. What comes then is shortage.c.
 *
 * A second free of a page is refused when the first happened before it. Two
 * that race can both read a live head; a compare-and-exchange in place of the
 * store tells them apart (QUIRE_CHECK_RACE, debug builds).
 */
#include "alloc/page_alloc.h"

#include <errno.h>
#include <string.h>

#include "alloc/shortage.h"
#include "alloc/want.h"
#include "base/report.h"
#include "base/schedule.h"

#define DEFAULT_TYPE QUIRE_TYPE_UNMOVABLE
/* pfns a bulk call has on its stack at a time */
enum { BULK = 256 };

/* --- refusals --- */

static const char *kind_name(uint64_t word)
{
	switch (word & PAGE_KIND_MASK) {
	case PAGE_HEAD:
		return "live";
	case PAGE_PCP:
		return "free, in a per-CPU list";
	default:
		return "free, or inside a block";
	}
}

int page_alloc_refuse(struct quire *q)
{
	atomic_fetch_add_explicit(&q->refused, 1, memory_order_relaxed);
	errno = EINVAL;
	return -1;
}

int page_alloc_refuse_pointer(struct quire *q, const char *call,
			      const void *pointer)
{
	report(&q->reporter,
	       "%s: %p is not of this allocator (%u pages from pfn %u, "
	       "descriptors at %p)",
	       call, pointer, q->map.region.end - q->map.region.first,
	       q->map.region.first,
	       (void *)memmap_page(&q->map, q->map.region.first));
	return page_alloc_refuse(q);
}

int page_alloc_refuse_page(struct quire *q, const char *call, pfn_t pfn,
			   uint64_t word, const unsigned *order)
{
	/* -1: the call names no order */
	int named = order ? (int)*order : -1;

	if (!page_is_head(word))
		report(&q->reporter,
		       "%s: pfn %u, order %d: not a live block's head but %s "
		       "(a double free, or a tail page); state 0x%llx",
		       call, pfn, named, kind_name(word),
		       (unsigned long long)word);
	else
		report(&q->reporter,
		       "%s: pfn %u, order %d: the block has order %u and %llu "
		       "holders; state 0x%llx",
		       call, pfn, named, page_order(word),
		       (unsigned long long)page_refs(word) + 1,
		       (unsigned long long)word);
	return page_alloc_refuse(q);
}

/* --- alloc --- */

/* All its zones are low. */
static void kick(struct quire *q, const struct want *want)
{
	void (*hook)(struct quire *, unsigned) =
		atomic_load_explicit(&q->hooks.kick, memory_order_acquire);
	uint32_t nodes;

	if (!hook)
		return;
	for (nodes = want_reclaim_nodes(q, want); nodes; nodes &= nodes - 1)
		hook(q, bits_lowest(nodes));
}

/* All but the lists' fast path. */
static bool alloc_want(struct quire *q, struct want *want, unsigned wait_ms,
		       pfn_t *pfn)
{
	/* Who waits does so behind those who waited before. */
	bool queue = want->flags & (QUIRE_WAIT | QUIRE_NOFAIL) &&
		     wait_queue_length(&q->page_waiters);

	if (want->flags & QUIRE_NOLOCK)
		return want_alloc(q, want, WATERMARK_MIN, &want_ask_nolock,
				  pfn) ||
		       shortage_alloc(q, want, wait_ms, pfn);
	if (!queue && want_alloc(q, want, WATERMARK_LOW, &want_ask, pfn))
		return true;
	kick(q, want);
	if (!queue && want_alloc(q, want, WATERMARK_MIN, &want_ask, pfn))
		return true;
	return shortage_alloc(q, want, wait_ms, pfn);
}

static void clear_pages(struct quire *q, pfn_t pfn, uint64_t pages)
{
	memset(memmap_virt(&q->map, pfn), 0, (size_t)pages << QUIRE_PAGE_SHIFT);
	atomic_fetch_add_explicit(&q->zeroed, pages, memory_order_relaxed);
}

/* A pfn from the lists becomes a live head. */
static struct quire_page *hand_out(struct quire *q, const struct want *want,
				   pfn_t pfn)
{
	struct quire_page *page = memmap_page(&q->map, pfn);
	uint64_t word = page_word(page);

	schedule_point();
	page_set_word(page, (word & ~PAGE_ZERO) ^ (PAGE_HEAD ^ PAGE_PCP));
	if (want->flags & QUIRE_ZERO && !(word & PAGE_ZERO))
		clear_pages(q, pfn, UINT64_C(1) << want->ask.order);
	return page;
}

_Static_assert(QUIRE_TYPE_UNMOVABLE == 0 &&
		       QUIRE_TYPE_MOVABLE * QUIRE_MOVABLE == QUIRE_MOVABLE &&
		       QUIRE_TYPE_RECLAIMABLE * QUIRE_MOVABLE ==
			       QUIRE_RECLAIMABLE,
	       "the flags of a type, divided by QUIRE_MOVABLE, are the type");

/*
 * The fast path for types, several nodes, and the other ways: the list of the
 * first zone that this CPU's calls go to. NULL: the rest of the way is to be
 * gone.
 */
static struct quire_page *alloc_from_list(struct quire *q, unsigned order,
					  unsigned flags)
{
	const unsigned type = flags / QUIRE_MOVABLE;
	struct quire_page *page;
	struct zone_walk walk;
	struct zone *zone;
	uint64_t word;
	pfn_t pfn;

	if (order >= q->list_orders || flags % QUIRE_MOVABLE ||
	    type >= NR_CALL_TYPES)
		return NULL;
	zone = zone_walk_first(&walk, q->nodes, allocator_this_node(q),
			       type == QUIRE_TYPE_MOVABLE ? QUIRE_ZONE_MOVABLE
							  : QUIRE_ZONE_NORMAL,
			       NODES_ALL);
	if (!zone || !pcp_pop(q->pcp[zone->id], order, type, &pfn))
		return NULL;
	page = memmap_page(&q->map, pfn);
	word = page_word(page);
	schedule_point();
	page_set_word(page, (word & ~PAGE_ZERO) ^ (PAGE_HEAD ^ PAGE_PCP));
	return page;
}

static noinline struct quire_page *
alloc_pages_general(struct quire *q, unsigned order, unsigned flags,
		    struct quire_policy *policy, unsigned wait_ms)
{
	struct quire_page *page;
	struct want want;
	pfn_t pfn;

	if (policy->mode == QUIRE_POLICY_LOCAL &&
	    (page = alloc_from_list(q, order, flags)))
		return page;
	if (want_init(q, &want, order, flags, policy) != 0 ||
	    !alloc_want(q, &want, wait_ms, &pfn))
		return NULL;
	return hand_out(q, &want, pfn);
}

struct quire_page *quire_alloc_pages_with(struct quire *q, unsigned order,
					  unsigned flags,
					  struct quire_policy *policy,
					  unsigned wait_ms)
{
	if (policy && policy_check(policy, q->nodes, want_highest_zone(flags),
				   &q->reporter) != 0)
		return NULL;
	return alloc_pages_general(q, order, flags,
				   policy ? policy : &q->policy, wait_ms);
}

struct quire_page *quire_alloc_pages(struct quire *q, unsigned order,
				     unsigned flags)
{
	struct quire_page *page;
	pfn_t pfn;

	if (unlikely(order >= q->fast_orders || flags))
		return alloc_pages_general(q, order, flags, &q->policy, 0);
	if (unlikely(!rseq_pop(q->sets, q->nr_cpus,
			       pcp_stack_offset(pcp_list(DEFAULT_TYPE, order)),
			       &pfn)))
		return alloc_pages_general(q, order, 0, &q->policy, 0);
	page = memmap_page(&q->map, pfn);
	tsan_acquire(page);
	page_set_word(page, q->head | order);
	return page;
}

static size_t alloc_want_bulk(struct quire *q, struct want *want, size_t n,
			      pfn_t *pfns)
{
	size_t got = want_alloc_bulk(q, want, WATERMARK_LOW, n, pfns);

	if (got == n)
		return n;
	kick(q, want);
	return got +
	       want_alloc_bulk(q, want, WATERMARK_MIN, n - got, pfns + got);
}

size_t quire_alloc_pages_bulk(struct quire *q, unsigned order, unsigned flags,
			      size_t n, struct quire_page **pages)
{
	struct want want;
	size_t done = 0;
	pfn_t pfns[BULK];

	if (want_init(q, &want, order, flags, &q->policy) != 0)
		return 0;
	while (done < n) {
		size_t now = n - done < BULK ? n - done : BULK, got;

		if (flags & QUIRE_NOLOCK)
			got = want_alloc(q, &want, WATERMARK_MIN,
					 &want_ask_nolock, pfns);
		else
			got = alloc_want_bulk(q, &want, now, pfns);
		if (got == 0 && shortage_alloc(q, &want, 0, pfns))
			got = 1;
		if (got == 0)
			return done;
		for (size_t i = 0; i < got; i++)
			pages[done++] = hand_out(q, &want, pfns[i]);
		want_choose_nodes(q, &want, &q->policy);
	}
	return done;
}

struct quire_page *quire_alloc_exact(struct quire *q, size_t n, unsigned flags)
{
	struct want want;
	pfn_t pfn;
	uint64_t word;

	if (n == 0 || n > GIGABLOCK_PAGES) {
		report(&q->reporter, "alloc_exact: %zu pages: need 1 to %llu",
		       n, (unsigned long long)GIGABLOCK_PAGES);
		errno = EINVAL;
		return NULL;
	}
	if (want_init(q, &want, bits_order(n), flags, &q->policy) != 0)
		return NULL;
	want.exact = n;
	want.ask.may = 0;
	if (!alloc_want(q, &want, 0, &pfn))
		return NULL;
	word = PAGE_HEAD | page_tag(want.zone, want.ask.type);
	for (size_t i = 0; i < n; i++)
		page_set_word(memmap_page(&q->map, (pfn_t)(pfn + i)), word);
	if (flags & QUIRE_ZERO && !want.zero)
		clear_pages(q, pfn, n);
	return memmap_page(&q->map, pfn);
}

/* --- free --- */

/* A live head without other holders goes back; its word is PAGE_PCP already. */
static void take_back(struct quire *q, pfn_t pfn, uint64_t word, bool nolock)
{
	(nolock ? pcp_free_nolock : pcp_free)(q->pcp[page_zone(word)],
					      page_order(word), page_type(word),
					      pfn);
	/* Point 2 of wait_queue.c: with the fence in wait_queue_join(). */
	if (nolock)
		atomic_thread_fence(memory_order_seq_cst);
	wait_queue_notify(&q->page_waiters);
}

static uint64_t parked(uint64_t word)
{
	return (word & ~(PAGE_KIND_MASK | PAGE_FLAGS_MASK)) | PAGE_PCP;
}

static int put(struct quire *q, const char *call, pfn_t pfn,
	       const unsigned *order, bool nolock)
{
	struct quire_page *page = memmap_page(&q->map, pfn);
	uint64_t word = page_word(page);
	bool last;

	if (allocator_check_fork(q) != 0)
		return -1;
	do {
		if (!page_is_head(word) ||
		    (order && *order != page_order(word)))
			return page_alloc_refuse_page(q, call, pfn, word,
						      order);
		last = page_refs(word) == 0;
		schedule_point();
		if (last && !q->check_race) {
			page_set_word(page, parked(word));
			break;
		}
		/* acq_rel: the last holder sees what the others wrote before
		 * they let go. */
	} while (!atomic_compare_exchange_weak_explicit(
		&page->word, &word, last ? parked(word) : word - PAGE_REF_ONE,
		memory_order_acq_rel, memory_order_relaxed));
	if (last) {
		atomic_thread_fence(memory_order_acquire);
		take_back(q, pfn, word, nolock);
	}
	return last;
}

int page_alloc_put(struct quire *q, const char *call, pfn_t pfn,
		   const unsigned *order)
{
	return put(q, call, pfn, order, false);
}

/* The list of the block's CPU is full, or shut. */
static noinline void free_pages_slow(struct quire *q, unsigned order, pfn_t pfn)
{
	pcp_free_slow(q->home, order, DEFAULT_TYPE, pfn);
	wait_queue_notify(&q->page_waiters);
}

/* The fast path for types, several nodes, and the other ways. */
static bool free_to_list(struct quire *q, unsigned order, pfn_t pfn)
{
	const uint64_t tag = page_tag(PAGE_ZONE_MASK, PAGE_TYPE_MASK);
	struct quire_page *page = memmap_page(&q->map, pfn);
	uint64_t word = page_word_acquire(page) & ~PAGE_FLAGS_MASK;
	struct pcp *pcp;

	if (order >= q->list_orders || (word & ~tag) != (PAGE_HEAD | order) ||
	    page_type(word) >= NR_CALL_TYPES)
		return false;
	pcp = q->pcp[page_zone(word)];
	schedule_point();
	page_set_word(page, word ^ (PAGE_HEAD ^ PAGE_PCP));
	schedule_point();
	if (pcp_push(pcp, order, page_type(word), pfn))
		return true;
	pcp_free_slow(pcp, order, page_type(word), pfn);
	wait_queue_notify(&q->page_waiters);
	return true;
}

static noinline int free_pages_general(struct quire *q, struct quire_page *page,
				       unsigned order)
{
	pfn_t pfn = memmap_pfn(&q->map, page);

	if (pfn == PFN_NONE)
		return page_alloc_refuse_pointer(q, "free_pages", page);
	if (free_to_list(q, order, pfn))
		return 0;
	return page_alloc_put(q, "free_pages", pfn, &order) < 0 ? -1 : 0;
}

int quire_free_pages(struct quire *q, struct quire_page *page, unsigned order)
{
	uint64_t word;
	pfn_t pfn;

	if (unlikely(!memmap_find(&q->map, page, &pfn) ||
		     order >= q->fast_orders))
		return free_pages_general(q, page, order);
	word = page_word_acquire(page) & ~PAGE_FLAGS_MASK;
	if (unlikely(word != (q->head | order)))
		return free_pages_general(q, page, order);
	page_set_word(page, word ^ (PAGE_HEAD ^ PAGE_PCP));
	tsan_release(page);
	if (unlikely(!rseq_push(
		    q->sets, q->nr_cpus,
		    atomic_load_explicit(&q->back, memory_order_relaxed) +
			    order * sizeof(struct cpu_stack),
		    pfn)))
		free_pages_slow(q, order, pfn);
	return 0;
}

int quire_free_pages_nolock(struct quire *q, struct quire_page *page,
			    unsigned order)
{
	pfn_t pfn = memmap_pfn(&q->map, page);

	if (pfn == PFN_NONE)
		return page_alloc_refuse_pointer(q, "free_pages_nolock", page);
	return put(q, "free_pages_nolock", pfn, &order, true) < 0 ? -1 : 0;
}

size_t quire_free_pages_bulk(struct quire *q, unsigned order, size_t n,
			     struct quire_page **pages)
{
	size_t accepted = 0;

	for (size_t i = 0; i < n; i++)
		accepted += quire_free_pages(q, pages[i], order) == 0;
	if (accepted < n)
		errno = q->forked ? EPERM : EINVAL;
	return accepted;
}

/* --- by address --- */

/* The pfn of a page-aligned address of the region, or PFN_NONE. */
static pfn_t addr_to_pfn(const struct quire *q, const void *addr)
{
	uint64_t distance = (uintptr_t)addr - q->map.region.base;
	uint64_t pfn = distance >> QUIRE_PAGE_SHIFT;

	if (distance % QUIRE_PAGE_SIZE || !memmap_has_pfn(&q->map, pfn))
		return PFN_NONE;
	return (pfn_t)pfn;
}

/* The page that an address to free names; PFN_NONE, refused, if none. */
static pfn_t addr_to_free(struct quire *q, const char *call, const void *addr)
{
	pfn_t pfn;

	if (!q->map.region.mapped) {
		report(&q->reporter,
		       "%s: %p: this allocator has offsets, not addresses",
		       call, addr);
		errno = ENOTSUP;
		return PFN_NONE;
	}
	pfn = addr_to_pfn(q, addr);
	if (pfn == PFN_NONE)
		page_alloc_refuse_pointer(q, call, addr);
	return pfn;
}

void *quire_alloc_addr(struct quire *q, unsigned order, unsigned flags)
{
	struct quire_page *page;

	if (!q->map.region.mapped) {
		report(&q->reporter, "alloc_addr: this allocator has offsets, "
				     "not addresses");
		errno = ENOTSUP;
		return NULL;
	}
	page = quire_alloc_pages(q, order, flags);
	return page ? memmap_virt(&q->map, memmap_pfn(&q->map, page)) : NULL;
}

int quire_free_addr(struct quire *q, void *addr, unsigned order)
{
	pfn_t pfn = addr_to_free(q, "free_addr", addr);

	if (pfn == PFN_NONE)
		return -1;
	return quire_free_pages(q, memmap_page(&q->map, pfn), order);
}

int quire_free_unsized(struct quire *q, void *addr)
{
	pfn_t pfn = addr_to_free(q, "free_unsized", addr);

	if (pfn == PFN_NONE)
		return -1;
	return page_alloc_put(q, "free_unsized", pfn, NULL) < 0 ? -1 : 0;
}

/* --- exact runs --- */

/* Back to live heads: pages [pfn, end), which claim_exact() had taken. */
static void unclaim_exact(struct quire *q, pfn_t pfn, pfn_t end)
{
	for (; pfn < end; pfn++) {
		struct quire_page *page = memmap_page(&q->map, pfn);

		page_set_word(page, page_word(page) ^ (PAGE_HEAD ^ PAGE_PCP));
	}
}

/*
 * Checks n pages, and with check_race takes each by compare-and-exchange, so
 * that of two racing calls one is refused; all are live again then. Flags are
 * kept: whoever is refused has changed nothing.
 */
static int claim_exact(struct quire *q, pfn_t first, size_t n)
{
	for (pfn_t pfn = first; pfn < first + n; pfn++) {
		struct quire_page *page = memmap_page(&q->map, pfn);
		uint64_t word = page_word(page);
		bool claimed = false;

		/* Flags and types may change meanwhile. */
		while (!claimed && page_is_head(word) && !page_order(word) &&
		       !page_refs(word))
			claimed = !q->check_race ||
				  atomic_compare_exchange_weak_explicit(
					  &page->word, &word,
					  word ^ (PAGE_HEAD ^ PAGE_PCP),
					  memory_order_acquire,
					  memory_order_relaxed);
		if (claimed)
			continue;
		if (q->check_race)
			unclaim_exact(q, first, pfn);
		return page_alloc_refuse_page(q, "free_exact", pfn, word,
					      &(unsigned){ 0 });
	}
	return 0;
}

int quire_free_exact(struct quire *q, struct quire_page *page, size_t n)
{
	pfn_t pfn = memmap_pfn(&q->map, page);

	if (allocator_check_fork(q) != 0)
		return -1;
	if (pfn == PFN_NONE)
		return page_alloc_refuse_pointer(q, "free_exact", page);
	if (n == 0 || n > q->map.region.end - pfn) {
		report(&q->reporter,
		       "free_exact: %zu pages from pfn %u: the region ends at "
		       "pfn %u",
		       n, pfn, q->map.region.end);
		return page_alloc_refuse(q);
	}
	if (claim_exact(q, pfn, n) != 0)
		return -1;
	/* A batch to the zone at a time: a long run would only pass through
	 * the lists. */
	while (n) {
		pfn_t pfns[ZONE_BATCH];
		unsigned zone = page_zone(page_word(memmap_page(&q->map, pfn)));
		uint32_t now = 0;

		while (now < ZONE_BATCH && now < n &&
		       page_zone(page_word(memmap_page(&q->map, pfn + now))) ==
			       zone) {
			pfns[now] = pfn + now;
			now++;
		}
		pcp_free_direct(q->pcp[zone], 0, now, pfns);
		pfn += now;
		n -= now;
	}
	wait_queue_notify(&q->page_waiters);
	return 0;
}

/* --- upkeep --- */

int quire_drain_all(struct quire *q)
{
	bool drained;
	int error;

	if (allocator_check_fork(q) != 0)
		return -1;
	drained = allocator_hold(q);
	error = errno;
	allocator_release(q);
	errno = error;
	return drained ? 0 : -1;
}

unsigned page_alloc_maintain(struct quire *q)
{
	unsigned drained = 0;

	for (unsigned z = 0; z < q->nr_zones; z++)
		drained += pcp_maintain(q->pcp[z]);
	return drained;
}
