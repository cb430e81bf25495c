/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The front: allocation and free.
 *
 * Data flows one way. An allocation asks, zone by zone from the highest
 * allowed, the CPU's list, which asks the zone. What comes back is a pfn whose
 * state word says PAGE_PCP; handing it out is one store that makes it a head. A
 * free is the same backwards: the word must be that of a live head of the order
 * named, becomes PAGE_PCP, and the pfn is pushed.
 *
 * quire_alloc_pages() and quire_free_pages() are the fast path: the highest
 * zone, the first mobility type, no flags, restartable sequences. Everything
 * else takes the general path below, which repeats nothing of it but the order
 * of events. In the other ways of being a CPU fast_orders is 0.
 *
 * Failure. Before an allocation fails, every CPU's lists and owned blocks of
 * every zone are taken and given to the zones, and these are asked again while
 * nobody can park pages (see pcp.c, transit): a failure is true at a moment
 * inside the call.
 *
 * A second free of a page is refused when the first happened before it. Two
 * that race can both read a live head; a compare-and-exchange in place of the
 * store tells them apart (QUIRE_CHECK_RACE, debug builds).
 */
#include "page_alloc.h"

#include <errno.h>
#include <string.h>

#include "platform/platform.h"

#define DEFAULT_TYPE MOBILITY_UNMOVABLE
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

static int refuse(struct quire *q)
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
	return refuse(q);
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
	return refuse(q);
}

int page_alloc_check_fork(const struct quire *q)
{
	if (!q->forked)
		return 0;
	errno = EPERM;
	return -1;
}

/* --- holding everything --- */

bool allocator_hold(struct quire *q)
{
	bool drained = true;

	lock_acquire(&q->drain_lock);
	for (unsigned z = 0; z < q->nr_zones; z++)
		drained = pcp_hold_all(q->pcp[z], true) && drained;
	return drained;
}

void allocator_release(struct quire *q)
{
	for (unsigned z = 0; z < q->nr_zones; z++)
		pcp_release_all(q->pcp[z]);
	lock_release(&q->drain_lock);
}

/* --- allocation --- */

/* What an allocation wants, and the zone that serves it. */
struct want {
	unsigned order;
	unsigned flags;
	unsigned top;	/* highest zone allowed */
	uint64_t exact; /* pages of an exact run; 0: a block */
	bool zero;	/* out: memory known to be zero */
};

static int want_init(struct quire *q, struct want *want, unsigned order,
		     unsigned flags)
{
	const unsigned known =
		QUIRE_ZERO | QUIRE_NORETRY | QUIRE_NOLOCK | QUIRE_ZONE_MASK;
	unsigned zone = (flags & QUIRE_ZONE_MASK) >> 4;

	*want = (struct want){ .order = order,
			       .flags = flags,
			       .top = zone ? zone - 1 : q->nr_zones - 1 };
	if (page_alloc_check_fork(q) != 0)
		return -1;
	if (order > QUIRE_MAX_ORDER || flags & ~known ||
	    want->top >= q->nr_zones) {
		report(&q->reporter,
		       "alloc: order %u (at most %d), flags 0x%x (known 0x%x), "
		       "zone %u of %u",
		       order, QUIRE_MAX_ORDER, flags, known, want->top,
		       q->nr_zones);
		errno = EINVAL;
		return -1;
	}
	if (flags & QUIRE_ZERO && !q->map.region.mapped) {
		report(&q->reporter, "alloc: QUIRE_ZERO on offsets, which are "
				     "mapped nowhere");
		errno = ENOTSUP;
		return -1;
	}
	return 0;
}

/* How a zone is asked. */
struct ask {
	bool (*block)(struct pcp *pcp, unsigned order, enum mobility type,
		      pfn_t *pfn);
	bool (*exact)(struct pcp *pcp, unsigned order, enum mobility type,
		      uint64_t n, pfn_t *pfn, bool *zero);
};

static const struct ask ask = { pcp_alloc, pcp_alloc_exact };
/* Every CPU's set is held, and the locks of all zones allowed. */
static const struct ask ask_held = { pcp_alloc_held, pcp_alloc_exact_held };
static const struct ask ask_nolock = { pcp_alloc_nolock,
				       pcp_alloc_exact_nolock };

static const struct ask *ask_at_first(const struct want *want)
{
	return want->flags & QUIRE_NOLOCK ? &ask_nolock : &ask;
}

static bool alloc_from_zone(struct pcp *pcp, struct want *want,
			    const struct ask *by, pfn_t *pfn)
{
	bool ok;

	if (want->exact)
		return by->exact(pcp, want->order, DEFAULT_TYPE, want->exact,
				 pfn, &want->zero);
	ok = by->block(pcp, want->order, DEFAULT_TYPE, pfn);
	if (ok)
		want->zero = page_word(memmap_page(pcp->zone->map, *pfn)) &
			     PAGE_ZERO;
	return ok;
}

/* The zonelist walk. */
static bool alloc_from_zones(struct quire *q, struct want *want,
			     const struct ask *by, pfn_t *pfn)
{
	for (unsigned z = want->top + 1; z-- > 0;)
		if (alloc_from_zone(q->pcp[z], want, by, pfn))
			return true;
	return false;
}

/*
 * Every free page is in the zones and the zones stand still: were they asked
 * one after the other, a page could be freed in the first and the last of the
 * second taken meanwhile.
 */
static bool alloc_held(struct quire *q, struct want *want, pfn_t *pfn)
{
	bool ok;

	schedule_point();
	allocator_hold(q);
	for (unsigned z = 0; z <= want->top; z++)
		zone_lock(q->zone[z]);
	/* What was freed without a lock since the first was taken. */
	for (unsigned z = 0; z <= want->top; z++)
		zone_settle_locked(q->zone[z]);
	ok = alloc_from_zones(q, want, &ask_held, pfn);
	for (unsigned z = 0; z <= want->top; z++)
		zone_unlock(q->zone[z]);
	allocator_release(q);
	return ok;
}

static cold bool alloc_last(struct quire *q, struct want *want, pfn_t *pfn)
{
	const unsigned once = QUIRE_NORETRY | QUIRE_NOLOCK;

	if (!(want->flags & once) && alloc_held(q, want, pfn))
		return true;
	atomic_fetch_add_explicit(&q->failures, 1, memory_order_relaxed);
	errno = want->flags & QUIRE_NOLOCK ? EAGAIN : ENOMEM;
	return false;
}

static uint64_t head_word(const struct quire *q, pfn_t pfn, unsigned order)
{
	unsigned z = q->nr_zones - 1;

	while (pfn < q->zone[z]->first)
		z--;
	return PAGE_HEAD | order | page_tag(z, DEFAULT_TYPE);
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

	schedule_point();
	page_set_word(page, head_word(q, pfn, want->order));
	if (want->flags & QUIRE_ZERO && !want->zero)
		clear_pages(q, pfn, UINT64_C(1) << want->order);
	return page;
}

static noinline struct quire_page *
alloc_pages_general(struct quire *q, unsigned order, unsigned flags)
{
	struct want want;
	pfn_t pfn;

	if (want_init(q, &want, order, flags) != 0)
		return NULL;
	if (!alloc_from_zones(q, &want, ask_at_first(&want), &pfn) &&
	    !alloc_last(q, &want, &pfn))
		return NULL;
	return hand_out(q, &want, pfn);
}

struct quire_page *quire_alloc_pages(struct quire *q, unsigned order,
				     unsigned flags)
{
	struct quire_page *page;
	pfn_t pfn;

	if (unlikely(order >= q->fast_orders || flags))
		return alloc_pages_general(q, order, flags);
	if (unlikely(!rseq_pop(q->sets, q->nr_cpus,
			       pcp_stack_offset(pcp_list(DEFAULT_TYPE, order)),
			       &pfn)))
		return alloc_pages_general(q, order, 0);
	page = memmap_page(&q->map, pfn);
	tsan_acquire(page);
	page_set_word(page, q->head | order);
	return page;
}

static size_t bulk_from_zones(struct quire *q, const struct want *want,
			      size_t n, pfn_t *pfns)
{
	size_t got = 0;

	for (unsigned z = want->top + 1; z-- > 0 && got < n;)
		got += pcp_alloc_bulk(q->pcp[z], want->order, DEFAULT_TYPE,
				      n - got, pfns + got);
	return got;
}

size_t quire_alloc_pages_bulk(struct quire *q, unsigned order, unsigned flags,
			      size_t n, struct quire_page **pages)
{
	struct want want;
	size_t done = 0;
	pfn_t pfns[BULK];

	if (want_init(q, &want, order, flags) != 0)
		return 0;
	while (done < n) {
		size_t now = n - done < BULK ? n - done : BULK, got;

		if (flags & QUIRE_NOLOCK)
			got = alloc_from_zones(q, &want, &ask_nolock, pfns);
		else
			got = bulk_from_zones(q, &want, now, pfns);
		if (got == 0 && alloc_last(q, &want, pfns))
			got = 1;
		if (got == 0)
			return done;
		for (size_t i = 0; i < got; i++) {
			struct quire_page *page = memmap_page(&q->map, pfns[i]);

			want.zero = page_word(page) & PAGE_ZERO;
			pages[done++] = hand_out(q, &want, pfns[i]);
		}
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
	if (want_init(q, &want, bits_order(n), flags) != 0)
		return NULL;
	want.exact = n;
	if (!alloc_from_zones(q, &want, ask_at_first(&want), &pfn) &&
	    !alloc_last(q, &want, &pfn))
		return NULL;
	word = head_word(q, pfn, 0);
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

	if (page_alloc_check_fork(q) != 0)
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

static noinline int free_pages_general(struct quire *q, struct quire_page *page,
				       unsigned order)
{
	pfn_t pfn = memmap_pfn(&q->map, page);

	if (pfn == PFN_NONE)
		return page_alloc_refuse_pointer(q, "free_pages", page);
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
		    pcp_stack_offset(pcp_list(DEFAULT_TYPE, order)) + q->back,
		    pfn)))
		pcp_free_slow(q->pcp[q->nr_zones - 1], order, DEFAULT_TYPE,
			      pfn);
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

		if (!page_is_head(word) || page_order(word) ||
		    page_refs(word) ||
		    (q->check_race &&
		     !atomic_compare_exchange_strong_explicit(
			     &page->word, &word, word ^ (PAGE_HEAD ^ PAGE_PCP),
			     memory_order_acquire, memory_order_relaxed))) {
			if (q->check_race)
				unclaim_exact(q, first, pfn);
			return page_alloc_refuse_page(q, "free_exact", pfn,
						      word, &(unsigned){ 0 });
		}
	}
	return 0;
}

int quire_free_exact(struct quire *q, struct quire_page *page, size_t n)
{
	pfn_t pfn = memmap_pfn(&q->map, page);

	if (page_alloc_check_fork(q) != 0)
		return -1;
	if (pfn == PFN_NONE)
		return page_alloc_refuse_pointer(q, "free_exact", page);
	if (n == 0 || n > q->map.region.end - pfn) {
		report(&q->reporter,
		       "free_exact: %zu pages from pfn %u: the region ends at "
		       "pfn %u",
		       n, pfn, q->map.region.end);
		return refuse(q);
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
	return 0;
}

/* --- upkeep --- */

int quire_drain_all(struct quire *q)
{
	bool drained;
	int error;

	if (page_alloc_check_fork(q) != 0)
		return -1;
	drained = allocator_hold(q);
	error = errno;
	allocator_release(q);
	errno = error;
	return drained ? 0 : -1;
}

int quire_maintain(struct quire *q)
{
	unsigned drained = 0;

	if (page_alloc_check_fork(q) != 0)
		return -1;
	for (unsigned z = 0; z < q->nr_zones; z++)
		drained += pcp_maintain(q->pcp[z]);
	return (int)drained;
}
