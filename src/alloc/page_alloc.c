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
 */
#include "alloc/page_alloc.h"

#include <errno.h>
#include <string.h>

#include "alloc/shortage.h"
#include "base/report.h"
#include "base/schedule.h"

/* pfns a bulk call has on its stack at a time */
enum { BULK = 256 };

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

bool page_alloc_want(struct quire *q, struct want *want, unsigned wait_ms,
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

void page_alloc_clear(struct quire *q, pfn_t pfn, uint64_t pages)
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
	page_set_word(page, page_to_head(word));
	if (want->flags & QUIRE_ZERO && !(word & PAGE_ZERO))
		page_alloc_clear(q, pfn, UINT64_C(1) << want->ask.order);
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
	page_set_word(page, page_to_head(word));
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
	    !page_alloc_want(q, &want, wait_ms, &pfn))
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
