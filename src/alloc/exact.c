/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Exact runs: n contiguous pages, each of which is a block of order 0 from then
 * on. They pass the lists by, both ways, and are freed all or not at all.
 */
#include "alloc/page_alloc.h"

#include <errno.h>

#include "base/report.h"

/* --- alloc --- */

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
	if (!page_alloc_want(q, &want, 0, &pfn))
		return NULL;
	word = PAGE_HEAD | page_tag(want.zone, want.ask.type);
	for (size_t i = 0; i < n; i++)
		page_set_word(memmap_page(&q->map, (pfn_t)(pfn + i)), word);
	if (flags & QUIRE_ZERO && !want.zero)
		page_alloc_clear(q, pfn, n);
	return memmap_page(&q->map, pfn);
}

/* --- free --- */

/* Back to live heads: pages [pfn, end), which claim_exact() had taken. */
static void unclaim_exact(struct quire *q, pfn_t pfn, pfn_t end)
{
	for (; pfn < end; pfn++) {
		struct quire_page *page = memmap_page(&q->map, pfn);

		page_set_word(page, page_to_head(page_word(page)));
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
					  page_to_listed(word),
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
