/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frees, and what they refuse: the way of page_alloc.c backwards.
 *
 * A second free of a page is refused when the first happened before it. Two
 * that race can both read a live head; a compare-and-exchange in place of the
 * store tells them apart (QUIRE_CHECK_RACE, debug builds).
 */
#include "alloc/page_alloc.h"

#include <errno.h>

#include "base/report.h"
#include "base/schedule.h"

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

/* Listed; the flags were the holder's. */
static uint64_t listed(uint64_t word)
{
	return page_to_listed(word & ~PAGE_FLAGS_MASK);
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
			page_set_word(page, listed(word));
			break;
		}
		/* acq_rel: the last holder sees what the others wrote before
		 * they let go. */
	} while (!atomic_compare_exchange_weak_explicit(
		&page->word, &word, last ? listed(word) : word - PAGE_REF_ONE,
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
	page_set_word(page, page_to_listed(word));
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
	page_set_word(page, page_to_listed(word));
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
