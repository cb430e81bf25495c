/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A worker's blocks: see blocks.h.
 *
 * Order of events, on which the checks rest: a block is claimed after the call
 * that handed it out, and released before the call that frees it. So a page
 * that is free has no claim, and two claims of one page are two holders.
 */
#include "blocks.h"

#include <errno.h>
#include <string.h>

/* Largest run of an exact allocation, past the size of a pageblock. */
enum { EXACT_MAX = 1200 };
/* Largest order that is asked for zeroed. */
enum { ZERO_ORDER = 9 };

/* --- taking --- */

static uint64_t may_take(const struct worker *w)
{
	uint64_t held = counted(&w->held);

	return held < w->share ? w->share - held : 0;
}

static void take_failed(struct worker *w, unsigned order, uint64_t pages,
			unsigned flags)
{
	bool promised = w->promise == PROMISE_ALL ||
			(w->promise == PROMISE_PAGES && order == 0 &&
			 pages <= may_take(w) &&
			 !(flags & (QUIRE_NORETRY | QUIRE_DMA32)));

	if (errno != ENOMEM && !(flags & QUIRE_NOLOCK && errno == EAGAIN) &&
	    !(flags & QUIRE_WAIT && errno == ETIMEDOUT))
		violation("thread %u: order %u, flags 0x%x: errno %d instead "
			  "of a block",
			  w->number, order, flags, errno);
	else if (promised)
		violation("thread %u: false failure: order %u, %llu pages, "
			  "flags 0x%x: ENOMEM, but it holds %lld of its %llu",
			  w->number, order, (unsigned long long)pages, flags,
			  (long long)counted(&w->held),
			  (unsigned long long)w->share);
	count(&w->failures, 1);
}

/* The highest kind of zone that serves a call. */
static enum quire_zone highest_of(unsigned flags)
{
	if (flags & QUIRE_DEVICE)
		return QUIRE_ZONE_DEVICE;
	if (flags & QUIRE_DMA32)
		return QUIRE_ZONE_DMA32;
	return flags & QUIRE_MOVABLE ? QUIRE_ZONE_MOVABLE : QUIRE_ZONE_NORMAL;
}

/* Zone of a pfn, as it was at first. */
static const struct quire_zone_info *zone_of(const struct run *run,
					     uint64_t pfn)
{
	unsigned z = 0;

	while (z + 1 < run->info.zones && pfn >= run->zone[z + 1].first_pfn)
		z++;
	return &run->zone[z];
}

/* Pages come from a zone and a node that the flags allow, and not out of a
 * block that is kept from them from one standstill to the next. */
static void check_place(const struct worker *w, uint64_t pfn, uint32_t pages,
			unsigned flags)
{
	const struct run *run = w->run;
	const struct quire_zone_info *zone = zone_of(run, pfn);
	enum quire_zone highest = highest_of(flags);
	unsigned node = (flags & QUIRE_NODE_MASK) >> 16;
	struct quire_page *page = quire_pfn_to_page(run->q, pfn);
	uint64_t first = run->info.first_pfn & ~UINT64_C(511);

	if (zone->kind > highest ||
	    pfn + pages > zone->first_pfn + zone->pages ||
	    (zone->kind == QUIRE_ZONE_DEVICE) !=
		    (highest == QUIRE_ZONE_DEVICE) ||
	    quire_page_node(run->q, page) != (int)zone->node ||
	    (flags & QUIRE_THISNODE && node && node - 1 != zone->node))
		violation("thread %u: pfn %llu, %u pages, for flags 0x%x: in "
			  "zone %s of node %u (quire says %d)",
			  w->number, (unsigned long long)pfn, pages, flags,
			  quire_zone_name(zone->kind), zone->node,
			  quire_page_node(run->q, page));
	for (uint64_t at = pfn & ~UINT64_C(511); run->kept && at < pfn + pages;
	     at += 512) {
		unsigned kept = run->kept[(at - first) / 512];

		if (kept == KEPT_FOR_NONE ||
		    (kept == KEPT_FOR_CMA && !(flags & QUIRE_CMA)))
			violation("thread %u: handed pfn %llu, %u pages, for "
				  "flags 0x%x: its 2 MiB block is %s",
				  w->number, (unsigned long long)pfn, pages,
				  flags,
				  kept == KEPT_FOR_NONE ? "isolated" : "CMA");
	}
}

/* A call handed out `pages` from `page` on, as blocks of this order. */
static void taken(struct worker *w, struct block *block,
		  struct quire_page *page, uint32_t pages, unsigned order,
		  unsigned flags)
{
	const struct quire_info *info = &w->run->info;
	uint64_t pfn = quire_page_to_pfn(w->run->q, page);
	uint64_t align = 1;

	*block = (struct block){ .page = page,
				 .pages = pages,
				 .sequence = w->sequence++,
				 .holder = (uint16_t)w->number,
				 .order = (uint8_t)order };
	count(&w->held, pages);
	w->allocs += block_count(block);
	while (align < pages)
		align <<= 1;
	if (pfn % align || pfn < info->first_pfn ||
	    pfn + pages > info->first_pfn + info->pages) {
		violation("thread %u: %u pages of order %u at pfn %llu: "
			  "misaligned or outside %llu + %llu",
			  w->number, pages, order, (unsigned long long)pfn,
			  (unsigned long long)info->first_pfn,
			  (unsigned long long)info->pages);
		block->page = NULL;
		return;
	}
	check_place(w, pfn, pages, flags);
	if (flags & QUIRE_ZERO)
		stamp_check_zero(w->run->shadow, block);
	stamp_put(w->run->shadow, block);
}

bool block_take(struct worker *w, struct block *block, unsigned order,
		unsigned flags)
{
	struct quire_page *page = quire_alloc_pages(w->run->q, order, flags);

	count(&w->ops, 1);
	if (page)
		taken(w, block, page, 1u << order, order, flags);
	else
		take_failed(w, order, 1u << order, flags);
	return page;
}

bool block_take_with(struct worker *w, struct block *block, unsigned order,
		     unsigned flags, struct quire_policy *policy,
		     unsigned wait_ms)
{
	struct quire_page *page = quire_alloc_pages_with(
		w->run->q, order, flags, policy, wait_ms);

	count(&w->ops, 1);
	if (page)
		taken(w, block, page, 1u << order, order, flags);
	else
		take_failed(w, order, 1u << order, flags);
	return page;
}

bool block_take_pool(struct worker *w, struct block *block,
		     struct quire_mempool *pool, unsigned order, unsigned flags,
		     unsigned wait_ms)
{
	struct quire_page *page = quire_mempool_alloc(pool, flags, wait_ms);

	count(&w->ops, 1);
	if (page)
		taken(w, block, page, 1u << order, order, flags);
	return page;
}

bool block_take_addr(struct worker *w, struct block *block, unsigned order,
		     unsigned flags)
{
	void *addr = quire_alloc_addr(w->run->q, order, flags);

	count(&w->ops, 1);
	if (addr)
		taken(w, block, quire_virt_to_page(w->run->q, addr),
		      1u << order, order, flags);
	else
		take_failed(w, order, 1u << order, flags);
	return addr;
}

bool block_take_exact(struct worker *w, struct block *block, uint32_t pages,
		      unsigned flags)
{
	struct quire_page *page = quire_alloc_exact(w->run->q, pages, flags);

	count(&w->ops, 1);
	if (page)
		taken(w, block, page, pages, 0, flags);
	else
		take_failed(w, pages == 1 ? 0 : UINT32_MAX, pages, flags);
	return page;
}

size_t block_take_bulk(struct worker *w, struct block **blocks, size_t n,
		       unsigned order, unsigned flags)
{
	struct quire_page *pages[BULK_MAX];
	size_t got = quire_alloc_pages_bulk(w->run->q, order, flags, n, pages);

	count(&w->ops, 1);
	if (got < n)
		take_failed(w, order, (uint64_t)n << order, flags);
	for (size_t i = 0; i < got; i++)
		taken(w, blocks[i], pages[i], 1u << order, order, flags);
	return got;
}

/* --- giving back --- */

enum { GIVE_PAGES, GIVE_ADDR, GIVE_UNSIZED, GIVE_PUT, GIVE_SHARED, NR_GIVES };

/* Two holders: the block must outlive the first that lets go. */
static bool give_shared(struct quire *q, struct quire_page *page,
			unsigned order)
{
	return quire_page_get(q, page) == 0 && quire_page_count(q, page) == 2 &&
	       quire_free_pages(q, page, order) == 0 &&
	       quire_page_count(q, page) == 1 &&
	       quire_page_order(q, page) == (int)order &&
	       quire_page_put(q, page) == 1;
}

static bool give_by(struct quire *q, struct quire_page *page, unsigned order,
		    unsigned call)
{
	switch (call) {
	case GIVE_ADDR:
		return quire_free_addr(q, quire_page_to_virt(q, page), order) ==
		       0;
	case GIVE_UNSIZED:
		return quire_free_unsized(q, quire_page_to_virt(q, page)) == 0;
	case GIVE_PUT:
		return quire_page_put(q, page) == 1;
	case GIVE_SHARED:
		return give_shared(q, page, order);
	default:
		return quire_free_pages(q, page, order) == 0;
	}
}

/* Blocks that stamp_remove() has released: by one call, which said ok. */
static void given(struct worker *w, const struct block *block, bool ok)
{
	count(&w->ops, 1);
	count(&w->held, -(uint64_t)block->pages);
	w->frees += block_count(block);
	if (!ok)
		violation("thread %u: %u pages of order %u at pfn %llu: a free "
			  "was refused",
			  w->number, block->pages, block->order,
			  (unsigned long long)quire_page_to_pfn(w->run->q,
								block->page));
}

static void give_one(struct worker *w, const struct block *block, unsigned call)
{
	stamp_remove(w->run->shadow, block);
	given(w, block, give_by(w->run->q, block->page, block->order, call));
}

struct block block_cut(struct worker *w, struct block *block, uint32_t at)
{
	struct quire *q = w->run->q;
	struct block rest = *block;
	uint64_t pfn = quire_page_to_pfn(q, block->page);

	rest.page = quire_pfn_to_page(q, pfn + ((uint64_t)at << block->order));
	rest.pages = block->pages - (at << block->order);
	block->pages = at << block->order;
	if (at == 0)
		block->page = NULL;
	return rest;
}

/* A run's tail goes back, its first few pages one by one; the rest stays. */
static void give_run(struct worker *w, struct block *block, uint64_t pick)
{
	uint32_t at = (uint32_t)(pick >> 8) % block_count(block);
	struct block rest = block_cut(w, block, pick & 1 ? 0 : at);

	for (unsigned i = 0; i < (pick >> 1 & 7) && rest.pages; i++) {
		struct block one = rest;

		rest = block_cut(w, &one, 1);
		give_one(w, &one, i % NR_GIVES);
	}
	if (rest.pages == 0)
		return;
	stamp_remove(w->run->shadow, &rest);
	given(w, &rest,
	      quire_free_exact(w->run->q, rest.page, rest.pages) == 0);
}

void block_give(struct worker *w, struct block *block, uint64_t pick)
{
	if (block_count(block) > 1) {
		give_run(w, block, pick);
		return;
	}
	give_one(w, block, (unsigned)(pick % NR_GIVES));
	block->page = NULL;
}

void block_give_exact(struct worker *w, struct block *block)
{
	stamp_remove(w->run->shadow, block);
	given(w, block,
	      quire_free_exact(w->run->q, block->page, block->pages) == 0);
	block->page = NULL;
}

void block_give_pool(struct worker *w, struct block *block,
		     struct quire_mempool *pool)
{
	stamp_remove(w->run->shadow, block);
	given(w, block, quire_mempool_free(pool, block->page) == 0);
	block->page = NULL;
}

void block_give_nolock(struct worker *w, struct block *block)
{
	stamp_remove(w->run->shadow, block);
	given(w, block,
	      quire_free_pages_nolock(w->run->q, block->page, block->order) ==
		      0);
	block->page = NULL;
}

void block_give_bulk(struct worker *w, struct block **blocks, size_t n)
{
	struct quire_page *pages[BULK_MAX];
	unsigned order = blocks[0]->order;
	size_t accepted;

	for (size_t i = 0; i < n; i++) {
		stamp_remove(w->run->shadow, blocks[i]);
		pages[i] = blocks[i]->page;
	}
	accepted = quire_free_pages_bulk(w->run->q, order, n, pages);
	for (size_t i = 0; i < n; i++) {
		given(w, blocks[i], accepted == n);
		blocks[i]->page = NULL;
	}
}

void block_adopt(struct worker *w, struct block *block)
{
	stamp_remove(w->run->shadow, block);
	if (quire_page_flags(block->page))
		quire_page_clear_flags(block->page, UINT16_MAX);
	block->holder = (uint16_t)w->number;
	block->sequence = w->sequence++;
	stamp_put(w->run->shadow, block);
}

void blocks_give_all(struct worker *w)
{
	for (unsigned i = 0; i < WORKER_SLOTS; i++)
		while (w->slot[i].page)
			block_give(w, &w->slot[i], rng_next(&w->reply));
}

/* --- steps --- */

/* Half of them 0, each further order half as often, now and then any. */
static unsigned draw_order(struct worker *w, struct rng *rng)
{
	uint64_t r = rng_next(rng);
	unsigned max = 0, order = 0;

	while (max < QUIRE_MAX_ORDER && UINT64_C(2) << max <= w->share)
		max++;
	if (r >> 59 == 0)
		return (unsigned)(r % (max + 1));
	while (r & 1) {
		order++;
		r >>= 1;
	}
	return order < max ? order : max;
}

unsigned flags_of_type(const struct run *run, uint64_t pick)
{
	static const unsigned types[] = { 0, QUIRE_MOVABLE, QUIRE_RECLAIMABLE,
					  QUIRE_MOVABLE | QUIRE_CMA };
	unsigned flags = types[pick % 4];

	if (run->info.zones > 1 && pick / 4 % 4 == 0)
		flags |= QUIRE_DMA32;
	return flags;
}

static unsigned draw_flags(struct worker *w, struct rng *rng, unsigned order)
{
	uint64_t r = rng_next(rng);
	unsigned flags = 0;

	if (r % 16 == 0 && order <= ZERO_ORDER)
		flags |= QUIRE_ZERO;
	if (r / 16 % 16 == 0)
		flags |= QUIRE_NORETRY;
	if (r / 256 % 16 == 0)
		flags |= flags_of_type(w->run, r / 4096);
	return flags;
}

/* Slots from one on, as many as are empty, or hold a block of one order. */
static size_t gather(struct worker *w, unsigned from, size_t n,
		     struct block **blocks)
{
	const struct block *first = &w->slot[from];
	size_t found = 0;

	for (unsigned i = 0; i < WORKER_SLOTS && found < n; i++) {
		struct block *block = &w->slot[(from + i) % WORKER_SLOTS];

		if (!first->page != !block->page)
			continue;
		if (!first->page ||
		    (block->order == first->order && block_count(block) == 1))
			blocks[found++] = block;
	}
	return found;
}

/* Calls that must be refused, on a block that is held. */
static void misuse(struct worker *w, const struct block *block, uint64_t pick)
{
	struct quire *q = w->run->q;
	struct quire_page *page = block->page, *tail;
	uint64_t pfn = quire_page_to_pfn(q, page);
	char *addr = quire_page_to_virt(q, page);
	int got;

	tail = block->order ? quire_pfn_to_page(q, pfn + 1) : NULL;
	violation_expect(1);
	switch (pick % 7) {
	case 0:
		got = quire_free_pages(q, page, block->order + 1u);
		break;
	case 1:
		got = quire_free_pages(q, tail ? tail : (void *)w, 0);
		break;
	case 2:
		got = quire_page_put(q, tail);
		break;
	case 3:
		got = quire_page_get(q, tail);
		break;
	case 4:
		got = quire_free_unsized(q, addr + 8);
		break;
	case 5:
		got = quire_free_exact(q, tail ? page : tail, 2);
		break;
	default:
		got = quire_free_addr(q, addr + QUIRE_PAGE_SIZE / 2, 0);
		break;
	}
	if (got != -1 || errno != EINVAL || violation_missing())
		violation("thread %u: misuse %u of pfn %llu, order %u: "
			  "returned %d, not refused with a report",
			  w->number, (unsigned)(pick % 7),
			  (unsigned long long)pfn, block->order, got);
	w->refused++;
	count(&w->ops, 1);
}

static void step_take(struct worker *w, unsigned slot, uint64_t pick)
{
	struct block *blocks[BULK_MAX], *block = &w->slot[slot];
	/* Of this step alone: what comes next does not depend on it. */
	struct rng rng = { pick };
	unsigned order = draw_order(w, &rng);
	unsigned flags = draw_flags(w, &rng, order);
	uint64_t room = may_take(w) >> order;
	uint32_t pages =
		1 + (uint32_t)(pick >> 8) % (pick >> 4 & 7 ? 64 : EXACT_MAX);
	size_t n = 1 + (pick >> 8) % BULK_MAX;

	if (pick % 16 == 15) {
		if (pages <= may_take(w))
			block_take_exact(w, block, pages, flags);
		return;
	}
	if (room == 0)
		return;
	if (pick % 16 >= 13)
		block_take_bulk(w, blocks,
				gather(w, slot, n < room ? n : room, blocks),
				order, flags);
	else if (pick % 16 >= 10)
		block_take_addr(w, block, order, flags);
	else
		block_take(w, block, order, flags);
}

bool blocks_misuse(struct worker *w)
{
	uint64_t pick = rng_next(&w->rng);
	const struct block *block = &w->slot[pick % WORKER_SLOTS];

	if (!block->page)
		return false;
	misuse(w, block, pick / WORKER_SLOTS);
	return true;
}

void blocks_step(struct worker *w)
{
	uint64_t pick = rng_next(&w->rng);
	unsigned slot = (unsigned)(pick % WORKER_SLOTS);
	struct block *blocks[BULK_MAX];

	pick /= WORKER_SLOTS;
	if (!w->slot[slot].page)
		step_take(w, slot, pick);
	else if (pick >> 32 & 127 && block_count(&w->slot[slot]) == 1 &&
		 pick % 16 == 15)
		block_give_bulk(w, blocks, gather(w, slot, BULK_MAX, blocks));
	else if (pick >> 32 & 127)
		block_give(w, &w->slot[slot], pick / 16);
	else
		misuse(w, &w->slot[slot], pick);
}

void blocks_step_fast(struct worker *w)
{
	uint64_t pick = rng_next(&w->rng);
	struct block *block = &w->slot[pick % WORKER_SLOTS];
	unsigned order = pick >> 16 & 3 ? 0 : pick >> 18 & 3;

	if (block->page)
		block_give(w, block, GIVE_PAGES);
	else if (UINT64_C(1) << order <= may_take(w))
		block_take(w, block, order, 0);
}
