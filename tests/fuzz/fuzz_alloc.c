/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bytes as operations on an allocator, run against a reference that anyone can
 * check by eye: for every page the block that holds it, and for every block its
 * order, holders, flags and private word.
 *
 * The first bytes choose the options, then each operation is a byte and its
 * arguments. After every operation the counters must agree, at intervals and at
 * the end all that can be seen. One thread runs, so that ENOMEM is right only
 * where the reference has no aligned free run, in a zone that the call may use
 * and above what it must leave there: pages parked in another CPU's list are no
 * excuse. QUIRE_NORETRY and QUIRE_NOLOCK may fail early.
 *
 * QUIRE_FUZZ_PLANT: overlap, order, holders, flags, private, zero, enomem,
 * refused, reports, conservation, runs, zone, node, reserve, kept, last.
 */
#include "fuzz.h"

#include <errno.h>
#include <sched.h>
#include <sys/mman.h>

#include "quire/quire.h"

#define PAGE QUIRE_PAGE_SIZE
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define BLOCK_PAGES 512u /* zones meet at multiples of 2 MiB */

enum { MAX_OPS = 600, MAX_MOVES = 4, BULK = 64, CALLER_SIZE = 24 << 20 };

enum arena { OFFSETS, OFFSETS_LARGE, RESERVED, CALLER };

/* Of a page that begins a block. */
struct block {
	uint64_t holders;
	uint64_t private;
	uint64_t stamp; /* stands in what was written of the block */
	uint32_t place; /* in heads */
	uint16_t flags;
	uint8_t order;
	bool named; /* has a private word */
};

struct zone {
	uint64_t first, end; /* pfns */
	unsigned node;
	enum quire_zone kind;
	uint64_t min, reserve[QUIRE_NR_ZONES];
	uint64_t free; /* pages, wherever they are parked */
};

/* What is asked for, and where it may come from. */
struct call {
	unsigned order, flags;
	bool exact;
	bool only_cma; /* runs in CMA blocks are meant, no others */
	uint32_t nodes;
	enum quire_zone highest;
};

struct model {
	struct fuzz_input in;
	struct quire *q;
	struct quire_info info;
	uint64_t op;

	uint64_t first, end, pages; /* pfns */
	unsigned nr_zones;
	struct zone zone[QUIRE_MAX_ZONES];
	uint8_t *kept; /* by 2 MiB: CMA, ISOLATED, or 0 */
	uint8_t *first_kept;
	uint32_t nr_kept;
	bool has_highatomic; /* a zone is large enough for it */

	/* By pfn - first. */
	uint32_t *holder; /* 1 + the first page of its block; 0: free */
	struct block *blocks;

	uint32_t *heads; /* first pages of the live blocks, in any order */
	uint32_t nr_heads;

	uint64_t live_pages, allocs, frees, failures, refused;
	uint64_t reports; /* that ought to have come */
	uint64_t told;	  /* that came */
	char last_report[256];

	unsigned bound; /* CPUs that can be bound to */
	unsigned moves;
	cpu_set_t cpus;
	uint64_t first_runs[QUIRE_NR_ORDERS];
};

#define CHECK(m, condition, ...)                                               \
	do {                                                                   \
		if (!(condition)) {                                            \
			fprintf(stderr,                                        \
				"op %" PRIu64 ", last report \"%s\"\n",        \
				(m)->op, (m)->last_report);                    \
			FUZZ_CHECK(condition, __VA_ARGS__);                    \
		}                                                              \
	} while (0)

static void catch_report(void *arg, const char *message)
{
	struct model *m = arg;

	m->told++;
	snprintf(m->last_report, sizeof(m->last_report), "%s", message);
}

/* --- the reference --- */

static bool run_is_free(const struct model *m, uint64_t pfn, uint64_t size)
{
	for (uint64_t i = 0; i < size; i++)
		if (m->holder[pfn - m->first + i])
			return false;
	return true;
}

static struct zone *zone_at(struct model *m, uint64_t pfn)
{
	struct zone *zone = m->zone;

	while (pfn >= zone->end)
		zone++;
	return zone;
}

static uint8_t *kept_at(const struct model *m, uint64_t pfn)
{
	return &m->kept[pfn / BLOCK_PAGES - m->first / BLOCK_PAGES];
}

static uint64_t free_of_kept(const struct model *m, const struct zone *zone,
			     enum quire_mobility type)
{
	uint64_t n = 0;

	for (uint64_t pfn = zone->first; m->nr_kept && pfn < zone->end; pfn++)
		n += *kept_at(m, pfn) == type && !m->holder[pfn - m->first];
	return n;
}

static bool takes_cma(const struct call *call)
{
	return call->flags & QUIRE_CMA && !call->exact;
}

static uint64_t usable(const struct model *m, const struct zone *zone,
		       const struct call *call)
{
	uint64_t n = zone->free - free_of_kept(m, zone, QUIRE_TYPE_ISOLATED);

	if (fuzz_planted("kept"))
		return zone->free;
	return takes_cma(call) ? n : n - free_of_kept(m, zone, QUIRE_TYPE_CMA);
}

/* Larger blocks are made of 2 MiB ones that are kept for nothing. */
static bool run_serves(const struct model *m, const struct call *call,
		       uint64_t pfn)
{
	uint8_t kept = *kept_at(m, pfn);

	if (fuzz_planted("kept"))
		return true;
	if (UINT64_C(1) << call->order < BLOCK_PAGES)
		return !kept || (kept == QUIRE_TYPE_CMA && takes_cma(call));
	for (uint64_t at = 0; at < UINT64_C(1) << call->order;
	     at += BLOCK_PAGES)
		if (*kept_at(m, pfn + at))
			return false;
	return true;
}

static bool is_allowed(const struct zone *zone, const struct call *call)
{
	if (!(call->nodes >> zone->node & 1) && !fuzz_planted("node"))
		return false;
	if (fuzz_planted("zone"))
		return zone->kind == QUIRE_ZONE_NORMAL;
	if (call->highest == QUIRE_ZONE_DEVICE)
		return zone->kind == QUIRE_ZONE_DEVICE;
	return zone->kind <= call->highest;
}

/* Free pages that the call must leave. */
static uint64_t floor_of(const struct zone *zone, const struct call *call)
{
	uint64_t pages = zone->min;

	if (zone->kind == QUIRE_ZONE_DEVICE || call->flags & QUIRE_MEMALLOC ||
	    fuzz_planted("reserve"))
		return 0;
	if (call->flags & QUIRE_HIGH)
		pages -= pages / 2;
	if (call->flags & QUIRE_ATOMIC)
		pages -= pages / 4;
	return pages + zone->reserve[call->highest];
}

static bool zone_has_run(const struct model *m, const struct zone *zone,
			 const struct call *call)
{
	uint64_t size = UINT64_C(1) << call->order;
	uint64_t pfn = (zone->first + size - 1) & ~(size - 1);

	if (usable(m, zone, call) < floor_of(zone, call) + size)
		return false;
	for (; pfn + size <= zone->end; pfn += size)
		if (run_is_free(m, pfn, size) && run_serves(m, call, pfn) &&
		    (!call->only_cma || *kept_at(m, pfn) == QUIRE_TYPE_CMA))
			return true;
	return false;
}

/* In CMA blocks, which count only for what comes from them, or elsewhere. */
static bool zone_has_room(const struct model *m, const struct zone *zone,
			  const struct call *call)
{
	struct call plain = *call, cma = *call;

	plain.flags &= ~QUIRE_CMA;
	cma.only_cma = true;
	return zone_has_run(m, zone, &plain) ||
	       (call->flags & QUIRE_CMA && !call->exact &&
		UINT64_C(1) << call->order < BLOCK_PAGES &&
		zone_has_run(m, zone, &cma));
}

static bool has_room(const struct model *m, const struct call *call)
{
	for (unsigned z = 0; z < m->nr_zones; z++)
		if (is_allowed(&m->zone[z], call) &&
		    zone_has_room(m, &m->zone[z], call))
			return true;
	return fuzz_planted("enomem");
}

/* Kept blocks are wholly free by themselves, not as parts of larger runs. */
static bool is_one_run(const struct model *m, uint64_t pfn, uint64_t size)
{
	for (uint64_t at = 0; size > BLOCK_PAGES && at < size;
	     at += BLOCK_PAGES)
		if (*kept_at(m, pfn + at) ||
		    (m->has_highatomic &&
		     quire_mobility(m->q, pfn + at) == QUIRE_TYPE_HIGHATOMIC))
			return false;
	return true;
}

static void count_runs(const struct model *m, uint64_t runs[QUIRE_NR_ORDERS])
{
	memset(runs, 0, QUIRE_NR_ORDERS * sizeof(runs[0]));
	for (unsigned z = 0; z < m->nr_zones; z++) {
		uint64_t pfn = m->zone[z].first;
		uint64_t end = m->zone[z].end;

		while (pfn < end) {
			unsigned order = 0;

			if (m->holder[pfn - m->first]) {
				pfn++;
				continue;
			}
			while (order < QUIRE_MAX_ORDER &&
			       pfn % (UINT64_C(2) << order) == 0 &&
			       pfn + (UINT64_C(2) << order) <= end &&
			       run_is_free(m, pfn + (UINT64_C(1) << order),
					   UINT64_C(1) << order) &&
			       is_one_run(m, pfn, UINT64_C(2) << order))
				order++;
			runs[order]++;
			pfn += UINT64_C(1) << order;
		}
	}
	runs[0] += fuzz_planted("runs");
}

static struct quire_page *page_at(const struct model *m, uint32_t index)
{
	return quire_pfn_to_page(m->q, m->first + index);
}

static uint64_t *words_at(const struct model *m, uint64_t index)
{
	return (uint64_t *)(void *)((char *)m->info.address + index * PAGE);
}

/* Of a small block every page is written, else the first and the last. */
static uint64_t stamp_step(unsigned order)
{
	return order <= 3 ? 1 : (UINT64_C(1) << order) - 1;
}

static void stamp_block(struct model *m, uint32_t head)
{
	const struct block *block = &m->blocks[head];
	uint64_t size = UINT64_C(1) << block->order;

	for (uint64_t i = 0; m->info.address && i < size;
	     i += stamp_step(block->order)) {
		words_at(m, head + i)[0] = block->stamp + i;
		words_at(m, head + i)[PAGE / 8 - 1] = block->stamp - i;
	}
}

static void check_stamp(struct model *m, uint32_t head)
{
	const struct block *block = &m->blocks[head];
	uint64_t size = UINT64_C(1) << block->order;

	for (uint64_t i = 0; m->info.address && i < size;
	     i += stamp_step(block->order)) {
		const uint64_t *words = words_at(m, head + i);

		CHECK(m,
		      words[0] == block->stamp + i &&
			      words[PAGE / 8 - 1] == block->stamp - i,
		      "page %u + %" PRIu64 ", order %u: written by another",
		      head, i, block->order);
	}
}

/* Every word of the pages that may have been written, and of some others. */
static void check_zero(struct model *m, uint64_t index, uint64_t pages)
{
	uint64_t step = pages <= 16 ? 1 : pages / 16;

	for (uint64_t i = 0; i < pages; i += step)
		for (size_t k = 0; k < PAGE / 8; k++)
			CHECK(m, words_at(m, index + i)[k] == 0,
			      "page %" PRIu64 " + %" PRIu64 ", word %zu", index,
			      i, k);
	CHECK(m, !fuzz_planted("zero"), "page %" PRIu64 " is zero", index);
}

static void model_insert(struct model *m, uint32_t head, unsigned order)
{
	uint32_t size = UINT32_C(1) << order;
	struct block *block = &m->blocks[head];

	CHECK(m, head + size <= m->pages, "page %u order %u", head, order);
	CHECK(m, run_is_free(m, m->first + head, size),
	      "page %u order %u is live", head, order);
	for (uint32_t i = 0; i < size; i++)
		if (!fuzz_planted("overlap") || m->op % 2)
			m->holder[head + i] = head + 1;
	*block = (struct block){
		.holders = 1,
		.order = (uint8_t)order,
		.stamp = (m->op << 32 | head) * 0x9e3779b97f4a7c15u | 1,
		.place = m->nr_heads,
	};
	m->heads[m->nr_heads++] = head;
	m->live_pages += size;
	zone_at(m, m->first + head)->free -= size;
	m->allocs++;
	stamp_block(m, head);
}

static void model_erase(struct model *m, uint32_t head)
{
	struct block *block = &m->blocks[head];
	uint32_t size = UINT32_C(1) << block->order;
	uint32_t last = m->heads[--m->nr_heads];

	memset(&m->holder[head], 0, size * sizeof(m->holder[0]));
	m->heads[block->place] = last;
	m->blocks[last].place = block->place;
	m->live_pages -= size;
	zone_at(m, m->first + head)->free += size;
	m->frees++;
}

static bool is_head(const struct model *m, uint64_t index)
{
	return index < m->pages && m->holder[index] == index + 1;
}

/* One holder less. */
static void model_put(struct model *m, uint32_t head)
{
	check_stamp(m, head);
	if (--m->blocks[head].holders == 0)
		model_erase(m, head);
}

static uint32_t pick_head(struct model *m)
{
	return m->heads[fuzz_word(&m->in) % m->nr_heads];
}

static uint32_t pick_page(struct model *m)
{
	uint64_t at = fuzz_word(&m->in);

	/* In a large arena also what 16 bits cannot name. */
	return (uint32_t)((m->pages > UINT16_MAX ? at * 61 : at) % m->pages);
}

/* --- comparing --- */

static void check_page(struct model *m, uint32_t index)
{
	const struct quire_page *page = page_at(m, index);
	const struct block *block = &m->blocks[index];
	bool head = is_head(m, index);
	int order = head ? block->order : -1;
	uint64_t holders = head ? block->holders : 0;

	order += head && fuzz_planted("order");
	holders += head && fuzz_planted("holders");
	CHECK(m, quire_page_order(m->q, page) == order,
	      "page %u: order %d, not %d", index, quire_page_order(m->q, page),
	      order);
	CHECK(m, quire_page_count(m->q, page) == holders,
	      "page %u: %" PRIu64 " holders, not %" PRIu64, index,
	      quire_page_count(m->q, page), holders);
	if (!head)
		return;
	CHECK(m,
	      quire_page_flags(page) == (block->flags ^ fuzz_planted("flags")),
	      "page %u: flags 0x%x, not 0x%x", index, quire_page_flags(page),
	      block->flags);
	CHECK(m,
	      !block->named || quire_page_private(m->q, page) ==
				       block->private + fuzz_planted("private"),
	      "page %u: private 0x%" PRIx64 ", not 0x%" PRIx64, index,
	      quire_page_private(m->q, page), block->private);
}

static void compare_stat(struct model *m)
{
	struct quire_stat s;
	uint64_t live = m->live_pages + fuzz_planted("conservation");

	CHECK(m, quire_stat(m->q, &s, sizeof(s)) == 0, "errno %d", errno);
	CHECK(m,
	      s.pages == m->pages && s.pages_live == live &&
		      s.pages_free + s.pages_parked + live == s.pages,
	      "%" PRIu64 " live, %" PRIu64 " free, %" PRIu64
	      " parked of %" PRIu64 "; expected %" PRIu64 " live of %" PRIu64,
	      s.pages_live, s.pages_free, s.pages_parked, s.pages, live,
	      m->pages);
	CHECK(m, s.allocs == m->allocs && s.frees == m->frees,
	      "%" PRIu64 " allocs, not %" PRIu64 "; %" PRIu64
	      " frees, not %" PRIu64,
	      s.allocs, m->allocs, s.frees, m->frees);
	CHECK(m, s.failures == m->failures && s.refused == m->refused,
	      "%" PRIu64 " failures, not %" PRIu64 "; %" PRIu64
	      " refused, not %" PRIu64,
	      s.failures, m->failures, s.refused, m->refused);
	CHECK(m, s.pcp_allocs <= s.allocs && s.pcp_frees <= s.frees,
	      "%" PRIu64 " of %" PRIu64 ", %" PRIu64 " of %" PRIu64,
	      s.pcp_allocs, s.allocs, s.pcp_frees, s.frees);
	CHECK(m, m->told == m->reports, "%" PRIu64 " reports, not %" PRIu64,
	      m->told, m->reports);
}

static void compare_runs(struct model *m, const uint64_t *expected)
{
	uint64_t runs[QUIRE_NR_ORDERS];

	CHECK(m, quire_free_runs(m->q, runs) == 0, "errno %d", errno);
	for (unsigned k = 0; k < QUIRE_NR_ORDERS; k++)
		CHECK(m, runs[k] == expected[k],
		      "order %u: %" PRIu64 " runs, not %" PRIu64, k, runs[k],
		      expected[k]);
}

static void drain(struct model *m)
{
	struct quire_stat s;

	CHECK(m, quire_drain_all(m->q) == 0, "errno %d", errno);
	CHECK(m, quire_stat(m->q, &s, sizeof(s)) == 0, "errno %d", errno);
	CHECK(m, s.pages_parked == 0, "%" PRIu64 " parked", s.pages_parked);
}

static void compare_zones(struct model *m)
{
	for (unsigned z = 0; z < m->nr_zones; z++) {
		const struct zone *zone = &m->zone[z];
		struct quire_zone_info info;

		CHECK(m, quire_zone_info(m->q, z, &info, sizeof(info)) == 0,
		      "zone %u", z);
		CHECK(m, info.free == zone->free,
		      "zone %u: %" PRIu64 " free, not %" PRIu64, z, info.free,
		      zone->free);
		for (enum quire_mobility t = QUIRE_TYPE_CMA; t < QUIRE_NR_TYPES;
		     t++)
			CHECK(m, info.free_type[t] == free_of_kept(m, zone, t),
			      "zone %u: %" PRIu64 " of type %u, not %" PRIu64,
			      z, info.free_type[t], t,
			      free_of_kept(m, zone, t));
	}
}

static void validate(struct model *m)
{
	int violations = quire_validate(m->q);

	CHECK(m, violations == 0, "%d violations", violations);
}

static void compare_all(struct model *m)
{
	uint64_t expected[QUIRE_NR_ORDERS];

	compare_stat(m);
	validate(m);
	drain(m);
	count_runs(m, expected);
	compare_runs(m, expected);
	compare_zones(m);
	/* Of a large arena every head, and some of the other pages. */
	for (uint32_t i = 0; i<m->pages; i += m->pages> 65536 ? 61 : 1)
		check_page(m, i);
	for (uint32_t i = 0; i < m->nr_heads; i++) {
		check_page(m, m->heads[i]);
		check_stamp(m, m->heads[i]);
	}
	validate(m);
	compare_stat(m);
}

/* --- allocations --- */

/* A byte of its own, if the first one says so. */
static unsigned pick_place(struct model *m, uint8_t byte)
{
	static const unsigned types[] = { 0, QUIRE_MOVABLE, QUIRE_RECLAIMABLE,
					  QUIRE_MOVABLE | QUIRE_CMA };
	unsigned flags = types[byte % 4];

	if (byte & 4)
		flags |= byte & 8 ? QUIRE_DEVICE : QUIRE_DMA32;
	else if (byte & 8)
		flags |= QUIRE_THISNODE;
	if (byte & 16)
		flags |= QUIRE_NODE(byte / 32 % m->info.nodes);
	if (byte & 64)
		flags |= QUIRE_HIGH;
	if (byte & 128)
		flags |= QUIRE_ATOMIC;
	return flags;
}

static struct call pick_call(struct model *m, unsigned order)
{
	uint8_t byte = fuzz_byte(&m->in);
	struct call call = { .order = order,
			     .flags = byte & (QUIRE_NORETRY | QUIRE_NOLOCK),
			     .nodes = (1u << m->info.nodes) - 1,
			     .highest = QUIRE_ZONE_NORMAL };
	unsigned node = (unsigned)quire_this_node(m->q);

	if (byte & 8)
		call.flags |= pick_place(m, fuzz_byte(&m->in));
	else if (byte & 16)
		call.flags |= byte & 64 ? QUIRE_DMA32 : QUIRE_MOVABLE;
	if (byte & 32 && byte & 128)
		call.flags |= QUIRE_MEMALLOC;
	if (m->info.address && byte & 1 && !(call.flags & QUIRE_DEVICE))
		call.flags |= QUIRE_ZERO;
	if (call.flags & QUIRE_MOVABLE)
		call.highest = QUIRE_ZONE_MOVABLE;
	if (call.flags & QUIRE_DMA32)
		call.highest = QUIRE_ZONE_DMA32;
	if (call.flags & QUIRE_DEVICE)
		call.highest = QUIRE_ZONE_DEVICE;
	if (call.flags & QUIRE_NODE_MASK)
		node = (call.flags & QUIRE_NODE_MASK) / QUIRE_NODE(0) - 1;
	if (call.flags & QUIRE_THISNODE)
		call.nodes = 1u << node;
	return call;
}

/* A call that came back with nothing, or with less than was asked. */
static void check_failure(struct model *m, const struct call *call)
{
	int error = errno;

	m->failures++;
	CHECK(m, error == (call->flags & QUIRE_NOLOCK ? EAGAIN : ENOMEM),
	      "order %u flags 0x%x: errno %d", call->order, call->flags, error);
	CHECK(m,
	      call->flags & (QUIRE_NORETRY | QUIRE_NOLOCK) ||
		      !has_room(m, call),
	      "ENOMEM: order %u flags 0x%x nodes 0x%x", call->order,
	      call->flags, call->nodes);
}

static uint32_t checked_index(struct model *m, const struct quire_page *page,
			      const struct call *call)
{
	uint64_t pfn = quire_page_to_pfn(m->q, page);
	const struct zone *zone;

	CHECK(m, pfn >= m->first && pfn < m->end, "pfn %" PRIu64, pfn);
	CHECK(m, pfn % (UINT64_C(1) << call->order) == 0,
	      "pfn %" PRIu64 " order %u", pfn, call->order);
	zone = zone_at(m, pfn);
	CHECK(m, is_allowed(zone, call),
	      "pfn %" PRIu64 ", node %u zone %s: flags 0x%x nodes 0x%x", pfn,
	      zone->node, quire_zone_name(zone->kind), call->flags,
	      call->nodes);
	CHECK(m, run_serves(m, call, pfn), "pfn %" PRIu64 ": flags 0x%x, %s",
	      pfn, call->flags, quire_mobility_name(*kept_at(m, pfn)));
	CHECK(m, quire_page_node(m->q, page) == (int)zone->node,
	      "pfn %" PRIu64 ": node %d", pfn, quire_page_node(m->q, page));
	return (uint32_t)(pfn - m->first);
}

static void take_block(struct model *m, const struct quire_page *page,
		       const struct call *call)
{
	uint32_t index = checked_index(m, page, call);

	if (call->flags & QUIRE_ZERO)
		check_zero(m, index, UINT64_C(1) << call->order);
	model_insert(m, index, call->order);
	check_page(m, index);
}

static bool alloc_one(struct model *m, const struct call *call, bool by_addr)
{
	struct quire_page *page;

	errno = 0;
	if (by_addr && m->info.address) {
		void *addr = quire_alloc_addr(m->q, call->order, call->flags);

		page = addr ? quire_virt_to_page(m->q, addr) : NULL;
		CHECK(m, !addr || page, "address %p", addr);
	} else {
		page = quire_alloc_pages(m->q, call->order, call->flags);
	}
	if (page)
		take_block(m, page, call);
	else
		check_failure(m, call);
	return page;
}

static void op_alloc(struct model *m)
{
	uint8_t byte = fuzz_byte(&m->in);
	struct call call = pick_call(m, byte % QUIRE_NR_ORDERS);

	alloc_one(m, &call, byte & 128);
}

/* Many of one order, mostly until no more can be had. */
static void op_fill(struct model *m)
{
	uint8_t byte = fuzz_byte(&m->in);
	struct call call = pick_call(m, byte % 16);
	unsigned left = byte < 64 ? byte * 8u : 4096;

	while (left-- > 0 && alloc_one(m, &call, false))
		;
}

static void op_alloc_bulk(struct model *m)
{
	struct quire_page *pages[BULK];
	struct call call = pick_call(m, fuzz_byte(&m->in) % 12);
	size_t n = fuzz_byte(&m->in) % (BULK + 1), got;
	int error;

	errno = 0;
	got = quire_alloc_pages_bulk(m->q, call.order, call.flags, n, pages);
	error = errno;
	CHECK(m, got <= n, "%zu of %zu", got, n);
	for (size_t i = 0; i < got; i++)
		take_block(m, pages[i], &call);
	errno = error;
	if (got < n)
		check_failure(m, &call);
}

static void op_alloc_exact(struct model *m)
{
	uint64_t n = 1 + fuzz_word(&m->in) % 1200;
	struct call call = pick_call(m, 0);
	struct quire_page *page;
	uint32_t index;

	while (UINT64_C(1) << call.order < n)
		call.order++;
	call.exact = true;
	errno = 0;
	page = quire_alloc_exact(m->q, n, call.flags);
	if (!page) {
		check_failure(m, &call);
		return;
	}
	index = checked_index(m, page, &call);
	if (call.flags & QUIRE_ZERO)
		check_zero(m, index, n);
	for (uint32_t i = 0; i < n; i++)
		model_insert(m, index + i, 0);
}

/* --- frees --- */

static void free_one(struct model *m, uint32_t head, unsigned how)
{
	struct quire_page *page = page_at(m, head);
	void *addr = m->info.address ? words_at(m, head) : NULL;
	unsigned order = m->blocks[head].order;
	int expected = 0, got;

	switch (how % (addr ? 5 : 3)) {
	case 1:
		expected = m->blocks[head].holders == 1;
		got = quire_page_put(m->q, page);
		break;
	case 2:
		got = quire_free_pages_nolock(m->q, page, order);
		break;
	case 3:
		got = quire_free_addr(m->q, addr, order);
		break;
	case 4:
		got = quire_free_unsized(m->q, addr);
		break;
	default:
		got = quire_free_pages(m->q, page, order);
		break;
	}
	CHECK(m, got == expected, "free %u of page %u order %u: %d, errno %d",
	      how, head, order, got, errno);
	model_put(m, head);
	check_page(m, head);
}

static void op_free(struct model *m)
{
	unsigned how = fuzz_byte(&m->in);

	if (m->nr_heads)
		free_one(m, pick_head(m), how);
}

/* Many, so that a full arena becomes a sieve. */
static void op_free_many(struct model *m)
{
	uint8_t byte = fuzz_byte(&m->in);
	uint32_t left = byte % 64 * 16u + 1, step = 1 + byte / 64, at = 0;

	while (left-- > 0 && m->nr_heads) {
		at = (at + step) % m->nr_heads;
		free_one(m, m->heads[at], byte + left);
	}
}

/* What is named twice, or has another order, is refused; the rest is freed. */
static void op_free_bulk(struct model *m)
{
	struct quire_page *pages[BULK];
	uint32_t named[BULK];
	size_t n = fuzz_byte(&m->in) % (BULK + 1), expected = 0, got;
	unsigned order;

	if (!m->nr_heads)
		return;
	order = m->blocks[pick_head(m)].order;
	for (size_t i = 0; i < n; i++) {
		named[i] = m->heads[(fuzz_byte(&m->in) + i) % m->nr_heads];
		pages[i] = page_at(m, named[i]);
	}
	for (size_t i = 0; i < n; i++) {
		if (is_head(m, named[i]) &&
		    m->blocks[named[i]].order == order) {
			model_put(m, named[i]);
			expected++;
		}
	}
	m->refused += n - expected;
	m->reports += n - expected;
	errno = 0;
	got = quire_free_pages_bulk(m->q, order, n, pages);
	CHECK(m, got == expected, "%zu of %zu, not %zu, order %u", got, n,
	      expected, order);
	CHECK(m, got == n || errno == EINVAL, "errno %d", errno);
}

/* Whether [index, index + n) are blocks of order 0 with one holder each. */
static bool exact_is_right(const struct model *m, uint64_t index, uint64_t n)
{
	for (uint64_t i = index; i < index + n; i++)
		if (!is_head(m, i) || m->blocks[i].order ||
		    m->blocks[i].holders != 1)
			return false;
	return n > 0;
}

static void refused(struct model *m, int result, const char *what,
		    uint64_t value)
{
	CHECK(m, result == -1 && errno == EINVAL,
	      "%s %" PRIu64 " is not refused: %d, errno %d", what, value,
	      result, errno);
	m->refused += !fuzz_planted("refused");
	m->reports += 1 + fuzz_planted("reports");
	errno = 0;
}

static void op_free_exact(struct model *m)
{
	uint64_t n = fuzz_word(&m->in) % 1200;
	bool cut = fuzz_byte(&m->in) % 4;
	uint32_t index;
	int got;

	if (!m->nr_heads)
		return;
	index = pick_head(m);
	if (cut) {
		uint64_t most = n ? n : 1;

		for (n = 0; n < most && exact_is_right(m, index + n, 1);)
			n++;
	}
	errno = 0;
	got = quire_free_exact(m->q, page_at(m, index), n);
	if (!exact_is_right(m, index, n)) {
		refused(m, got, "exact run of", n);
		return;
	}
	CHECK(m, got == 0, "page %u, %" PRIu64 " pages: %d, errno %d", index, n,
	      got, errno);
	for (uint32_t i = 0; i < n; i++)
		model_put(m, index + i);
}

/* --- what the owner does --- */

static void op_get(struct model *m)
{
	uint32_t head;

	if (!m->nr_heads)
		return;
	head = pick_head(m);
	CHECK(m, quire_page_get(m->q, page_at(m, head)) == 0, "page %u", head);
	m->blocks[head].holders++;
	check_page(m, head);
}

static void op_flags(struct model *m)
{
	uint16_t bits = fuzz_word(&m->in), before;
	struct block *block;
	uint32_t head;

	if (!m->nr_heads)
		return;
	head = pick_head(m);
	block = &m->blocks[head];
	if (fuzz_byte(&m->in) & 1) {
		before = quire_page_set_flags(page_at(m, head), bits);
		CHECK(m, before == block->flags, "page %u: 0x%x, not 0x%x",
		      head, before, block->flags);
		block->flags |= bits;
	} else {
		before = quire_page_clear_flags(page_at(m, head), bits);
		CHECK(m, before == block->flags, "page %u: 0x%x, not 0x%x",
		      head, before, block->flags);
		block->flags &= (uint16_t)~bits;
	}
	check_page(m, head);
}

static void op_private(struct model *m)
{
	uint64_t value = fuzz_word(&m->in) * 0x0001000100010001u;
	struct block *block;
	uint32_t head;

	if (!m->nr_heads)
		return;
	head = pick_head(m);
	block = &m->blocks[head];
	CHECK(m, quire_page_set_private(m->q, page_at(m, head), value) == 0,
	      "page %u", head);
	block->private = value;
	block->named = true;
	check_page(m, head);
}

/* --- misuse --- */

/* A call that only a live head's owner may make, or of another order. */
static void bad_call(struct model *m, struct quire_page *page, unsigned order,
		     unsigned how, const char *what, uint64_t value)
{
	int got;

	errno = 0;
	switch (how % 6) {
	case 1:
		got = quire_page_put(m->q, page);
		break;
	case 2:
		got = quire_page_get(m->q, page);
		break;
	case 3:
		got = quire_free_exact(m->q, page, 1);
		break;
	case 4:
		got = quire_free_pages_nolock(m->q, page, order);
		break;
	case 5:
		got = quire_page_set_private(m->q, page, order);
		break;
	default:
		got = quire_free_pages(m->q, page, order);
		break;
	}
	refused(m, got, what, value);
}

static void bad_addr(struct model *m, uintptr_t addr, unsigned order,
		     unsigned how, uint64_t value)
{
	errno = 0;
	refused(m,
		how % 2 ? quire_free_unsized(m->q, (void *)addr)
			: quire_free_addr(m->q, (void *)addr, order),
		"address", value);
}

/* A page that is free, or inside a block. */
static void op_bad_page(struct model *m)
{
	uint32_t index = pick_page(m);
	unsigned how = fuzz_byte(&m->in), order = how % QUIRE_NR_ORDERS;

	if (is_head(m, index))
		return;
	if (m->info.address && how >= 192)
		bad_addr(m, (uintptr_t)words_at(m, index), order, how, index);
	else
		bad_call(m, page_at(m, index), order, how, "page", index);
}

static void op_bad_order(struct model *m)
{
	unsigned order = fuzz_byte(&m->in), how = fuzz_byte(&m->in);
	uint32_t head;

	if (!m->nr_heads)
		return;
	head = pick_head(m);
	if (order >= 128)
		order = UINT32_MAX - (order - 128);
	if (order == m->blocks[head].order)
		order = QUIRE_NR_ORDERS;
	if (m->info.address && how >= 192)
		bad_addr(m, (uintptr_t)words_at(m, head), order, 0, order);
	else
		bad_call(m, page_at(m, head), order, how % 2 ? 4 : 0, "order",
			 order);
}

/* What is no page of this allocator. */
static void op_bad_pointer(struct model *m)
{
	uintptr_t first = (uintptr_t)page_at(m, 0);
	uintptr_t size = (uintptr_t)page_at(m, m->pages > 1) - first;
	uint8_t byte = fuzz_byte(&m->in);
	uintptr_t bad[] = {
		0,
		first + 1 + byte % 7,
		first - (size ? size : sizeof(uint64_t)),
		first + m->pages * (size ? size : sizeof(uint64_t)),
		(uintptr_t)m,
		(uintptr_t)m->info.address,
		(uintptr_t)m->q,
		UINTPTR_MAX - 7,
	};
	struct quire_page *page = (struct quire_page *)bad[byte / 8 % 8];

	bad_call(m, page, byte % 4, fuzz_byte(&m->in), "pointer", byte / 8 % 8);
	CHECK(m,
	      quire_page_order(m->q, page) == -1 && errno == EINVAL &&
		      quire_page_count(m->q, page) == 0,
	      "pointer %u", byte / 8 % 8);
	CHECK(m, quire_page_to_pfn(m->q, page) == UINT64_MAX, "pointer %u",
	      byte / 8 % 8);
}

static void op_bad_addr(struct model *m)
{
	uintptr_t low = (uintptr_t)m->info.address;
	uintptr_t high = low + m->pages * PAGE;
	uint8_t byte = fuzz_byte(&m->in);
	uintptr_t bad[] = { 0,	      low - PAGE,   high,      low + 8,
			    high - 1, (uintptr_t)m, low + GIB, UINTPTR_MAX };

	if (low) {
		bad_addr(m, bad[byte % 8], byte / 8 % 4, byte / 32, byte % 8);
		return;
	}
	errno = 0;
	CHECK(m,
	      quire_free_addr(m->q, m, 0) == -1 && errno == ENOTSUP &&
		      quire_alloc_addr(m->q, 0, 0) == NULL &&
		      errno == ENOTSUP && !quire_virt_to_page(m->q, m) &&
		      errno == ENOTSUP,
	      "errno %d", errno);
	m->reports += 2;
}

/* Orders, flags and lengths that there are not. */
static void op_bad_alloc(struct model *m)
{
	uint8_t byte = fuzz_byte(&m->in), kind = byte % 6;
	unsigned order = byte % QUIRE_NR_ORDERS, flags = 0;
	struct quire_page *page = NULL;
	int expected = EINVAL;

	errno = 0;
	if (kind == 0)
		order = byte & 64 ? QUIRE_NR_ORDERS : UINT32_MAX - byte;
	else if (kind == 1)
		flags = byte & 64 ? QUIRE_CMA : 1u << (21 + byte % 11);
	else if (kind == 2)
		flags = QUIRE_NODE(m->info.nodes + byte / 32 % 4);
	if (kind == 3 && !m->info.address) {
		expected = ENOTSUP;
		flags = QUIRE_ZERO;
	} else if (kind >= 3) {
		size_t n = byte & 64 ? (UINT64_C(1) << 18) + 1 : 0;

		page = quire_alloc_exact(m->q, byte < 32 ? SIZE_MAX : n, 0);
		CHECK(m, !page && errno == EINVAL, "errno %d", errno);
		m->reports++;
		return;
	}
	if (byte & 128)
		quire_alloc_pages_bulk(m->q, order, flags, 1, &page);
	else
		page = quire_alloc_pages(m->q, order, flags);
	CHECK(m, !page && errno == expected,
	      "order %u flags 0x%x: page %p, errno %d", order, flags,
	      (void *)page, errno);
	m->reports++;
}

static void op_double_free(struct model *m)
{
	unsigned how = fuzz_byte(&m->in), order;
	uint32_t head;

	if (!m->nr_heads)
		return;
	head = pick_head(m);
	order = m->blocks[head].order;
	free_one(m, head, how);
	if (!is_head(m, head))
		bad_call(m, page_at(m, head), order, how / 8, "double free of",
			 head);
}

/* With live pages it is refused, and goes on. */
static void op_early_destroy(struct model *m)
{
	uint64_t before = m->told;

	if (!m->nr_heads)
		return;
	errno = 0;
	CHECK(m, quire_destroy(m->q) == -1 && errno == EBUSY, "errno %d",
	      errno);
	CHECK(m, m->told > before, "no report for %u live blocks", m->nr_heads);
	m->reports += m->told - before;
}

/* --- upkeep --- */

static void op_look(struct model *m)
{
	uint64_t runs[QUIRE_NR_ORDERS], pages = 0;
	struct quire_stat s;

	CHECK(m, quire_free_runs(m->q, runs) == 0, "errno %d", errno);
	CHECK(m, quire_stat(m->q, &s, sizeof(s)) == 0, "errno %d", errno);
	for (unsigned k = 0; k < QUIRE_NR_ORDERS; k++)
		pages += runs[k] << k;
	CHECK(m, pages == s.pages_free, "%" PRIu64 " in runs, %" PRIu64 " free",
	      pages, s.pages_free);
}

static void op_convert(struct model *m)
{
	uint32_t index = pick_page(m);
	struct quire_page *page = page_at(m, index);
	uint64_t offset = quire_page_to_offset(m->q, page);
	void *virt = quire_page_to_virt(m->q, page);

	CHECK(m, page && quire_page_to_pfn(m->q, page) == m->first + index,
	      "page %u", index);
	CHECK(m, offset == m->info.offset + index * PAGE,
	      "page %u: offset 0x%" PRIx64, index, offset);
	CHECK(m, quire_offset_to_page(m->q, offset) == page, "page %u", index);
	CHECK(m, virt == (m->info.address ? (void *)words_at(m, index) : NULL),
	      "page %u: %p", index, virt);
	if (virt) {
		CHECK(m, quire_virt_to_page(m->q, virt) == page, "page %u",
		      index);
		CHECK(m,
		      quire_addr_order(m->q, virt) ==
			      quire_page_order(m->q, page),
		      "page %u", index);
	}
	errno = 0;
	CHECK(m, !quire_pfn_to_page(m->q, m->end) && errno == EINVAL,
	      "pfn %" PRIu64, m->end);
	CHECK(m, !m->first || !quire_pfn_to_page(m->q, m->first - 1),
	      "pfn %" PRIu64, m->first);
}

/* Nobody but an operation moves it: a node is asked first, and then used. */
static void pin(unsigned cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

/* Goes on as another CPU, leaving pages in the lists of this one. */
static void op_move(struct model *m)
{
	unsigned to = fuzz_byte(&m->in);

	if (m->info.way == QUIRE_WAY_BOUND) {
		bool was = quire_cpu_unbind(m->q) == 0;

		CHECK(m, was || errno == EINVAL, "errno %d", errno);
		if (to % 8 == 7) /* works without lists, too */
			return;
		to %= m->bound;
		CHECK(m, quire_cpu_bind(m->q, to) == 0, "CPU %u: errno %d", to,
		      errno);
		return;
	}
	if (m->moves++ >= MAX_MOVES)
		return;
	to %= CPU_SETSIZE;
	while (!CPU_ISSET(to, &m->cpus))
		to = (to + 1) % CPU_SETSIZE;
	pin(to);
}

/* Whether a live block of order 9 or more reaches in. */
static bool is_inside_large(const struct model *m, uint64_t pfn)
{
	uint64_t head;

	for (uint64_t at = pfn; at < pfn + BLOCK_PAGES; at++) {
		if (at < m->first || at >= m->end)
			continue;
		head = m->holder[at - m->first];
		if (head && m->blocks[head - 1].order >= 9)
			return true;
	}
	return false;
}

static void keep(struct model *m, uint64_t pfn, enum quire_mobility type)
{
	uint8_t *kept = kept_at(m, pfn);

	m->nr_kept -= *kept != 0;
	*kept = type >= QUIRE_TYPE_CMA ? (uint8_t)type : 0;
	m->nr_kept += *kept != 0;
}

static void op_mobility(struct model *m)
{
	static const enum quire_mobility types[] = {
		QUIRE_TYPE_UNMOVABLE,	QUIRE_TYPE_MOVABLE,
		QUIRE_TYPE_RECLAIMABLE, QUIRE_TYPE_CMA,
		QUIRE_TYPE_ISOLATED,	QUIRE_TYPE_HIGHATOMIC
	};
	uint8_t byte = fuzz_byte(&m->in);
	uint64_t blocks = (m->end - 1) / BLOCK_PAGES - m->first / BLOCK_PAGES;
	uint64_t at = m->first / BLOCK_PAGES + fuzz_byte(&m->in) % (blocks + 2);
	uint64_t n = 1 + byte / 64;
	enum quire_mobility type = types[byte % 6];
	int expected = 0, got;

	for (uint64_t i = at; i < at + n; i++)
		if (is_inside_large(m, i * BLOCK_PAGES))
			expected = EBUSY;
	if (type == QUIRE_TYPE_HIGHATOMIC ||
	    (at + n - 1) * BLOCK_PAGES >= m->end)
		expected = EINVAL;
	errno = 0;
	got = quire_set_mobility(m->q, at * BLOCK_PAGES, n * BLOCK_PAGES, type);
	CHECK(m, got == (expected ? -1 : 0) && errno == expected,
	      "%" PRIu64 " blocks from %" PRIu64 " type %u: %d, errno %d, "
	      "not %d",
	      n, at, type, got, errno, expected);
	m->reports += expected != 0;
	for (uint64_t i = at; !expected && i < at + n; i++)
		keep(m, i * BLOCK_PAGES < m->first ? m->first : i * BLOCK_PAGES,
		     type);
}

static void op_distances(struct model *m)
{
	uint8_t d[QUIRE_MAX_NODES * QUIRE_MAX_NODES];
	uint8_t byte = fuzz_byte(&m->in);
	unsigned nr = m->info.nodes;
	int expected = 0, got;

	for (unsigned i = 0; i < nr; i++)
		for (unsigned j = 0; j < nr; j++)
			d[i * nr + j] =
				i == j ? 10
				       : (uint8_t)(10 + (i ^ j) * byte % 90);
	if (byte >= 240) {
		d[byte % (nr * nr)]--;
		expected = EINVAL;
	}
	errno = 0;
	m->reports -= m->told;
	got = quire_set_distances(m->q, d);
	m->reports += m->told;
	CHECK(m, got == (expected ? -1 : 0) && errno == expected,
	      "distances by %u: %d, errno %d", byte, got, errno);
	for (unsigned i = 0; !expected && i < nr; i++)
		CHECK(m, quire_distance(m->q, 0, i) == d[i], "node %u", i);
}

static void op_upkeep(struct model *m)
{
	switch (fuzz_byte(&m->in) % 8) {
	case 0:
		CHECK(m, quire_maintain(m->q) >= 0, "errno %d", errno);
		break;
	case 1:
		validate(m);
		break;
	case 2:
		op_look(m);
		break;
	case 3:
		op_early_destroy(m);
		break;
	case 4:
		op_convert(m);
		break;
	case 5:
		drain(m);
		break;
	case 6:
		op_mobility(m);
		break;
	default:
		op_distances(m);
		break;
	}
}

/* --- the run --- */

static void (*const ops[])(struct model *m) = {
	op_alloc,      op_alloc,       op_alloc,       op_alloc_exact,
	op_alloc_bulk, op_fill,	       op_free,	       op_free,
	op_free,       op_free_many,   op_free_bulk,   op_free_exact,
	op_get,	       op_flags,       op_private,     op_upkeep,
	op_bad_page,   op_bad_order,   op_bad_pointer, op_bad_addr,
	op_bad_alloc,  op_double_free, op_move,	       op_alloc,
};

static void run_ops(struct model *m)
{
	uint64_t interval = m->pages <= 4096 ? 64 : 256;

	while (m->in.at < m->in.end && m->op < MAX_OPS) {
		m->op++;
		ops[fuzz_byte(&m->in) % (sizeof(ops) / sizeof(ops[0]))](m);
		compare_stat(m);
		if (m->op % interval == 0)
			compare_all(m);
	}
}

/* Before a call fails, what is kept for QUIRE_ATOMIC is anybody's again. */
static void give_up_highatomic(struct model *m)
{
	/* It fits each zone that is large enough to keep some. */
	const struct call call = { .order = 14,
				   .flags = QUIRE_MOVABLE,
				   .nodes = (1u << m->info.nodes) - 1,
				   .highest = QUIRE_ZONE_MOVABLE };

	while (m->has_highatomic && alloc_one(m, &call, false))
		;
	while (m->has_highatomic && m->nr_heads)
		free_one(m, m->heads[0], 0);
}

static void keep_as_first(struct model *m, uint64_t pfn)
{
	uint8_t first = m->first_kept[kept_at(m, pfn) - m->kept];

	if (*kept_at(m, pfn) == first)
		return;
	CHECK(m,
	      quire_set_mobility(m->q, pfn - pfn % BLOCK_PAGES, BLOCK_PAGES,
				 first ? first : QUIRE_TYPE_MOVABLE) == 0,
	      "pfn %" PRIu64, pfn);
	keep(m, pfn, first);
}

static void free_everything(struct model *m)
{
	uint64_t last = fuzz_planted("last");

	for (unsigned how = 0; m->nr_heads > last; how++)
		free_one(m, m->heads[how % m->nr_heads], how);
	compare_all(m);
	for (uint64_t pfn = m->first; pfn < m->end;
	     pfn = (pfn / BLOCK_PAGES + 1) * BLOCK_PAGES)
		keep_as_first(m, pfn);
	give_up_highatomic(m);
	compare_all(m);
	compare_runs(m, m->first_runs);
	if (m->info.way == QUIRE_WAY_BOUND)
		quire_cpu_unbind(m->q);
	CHECK(m, quire_destroy(m->q) == 0, "errno %d", errno);
	CHECK(m, m->told == m->reports, "%" PRIu64 " reports, not %" PRIu64,
	      m->told, m->reports);
}

/* --- creation --- */

/* Mapped once: later inputs find what earlier ones wrote. */
static char *caller_region(bool zeroed)
{
	static char *region;

	if (!region)
		region = mmap(NULL, CALLER_SIZE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			      0);
	if (region == MAP_FAILED)
		abort();
	if (zeroed)
		madvise(region, CALLER_SIZE, MADV_DONTNEED);
	return region;
}

static enum arena choose_arena(struct model *m, struct quire_options *options)
{
	static const enum arena arenas[] = {
		OFFSETS, OFFSETS, OFFSETS, RESERVED,	 OFFSETS, CALLER,
		OFFSETS, CALLER,  OFFSETS, OFFSETS,	 OFFSETS, RESERVED,
		OFFSETS, CALLER,  OFFSETS, OFFSETS_LARGE
	};
	uint8_t byte = fuzz_byte(&m->in);
	uint64_t pages = fuzz_word(&m->in), start = fuzz_word(&m->in);

	switch (arenas[byte % 16]) {
	case OFFSETS_LARGE:
		options->size = GIB + (pages % 1024 + 1) * PAGE;
		options->offset = 4 * GIB - start % 512 * PAGE;
		break;
	case RESERVED:
		options->size = (1 + pages % 8) * 2 * MIB;
		break;
	case CALLER:
		options->size = (pages % 4096 + 1) * PAGE;
		options->address =
			caller_region(byte & 64) + start % 1024 * PAGE;
		options->flags |= byte & 64 ? QUIRE_ZEROED : 0;
		return CALLER;
	default:
		/* Few MiB, or enough for blocks that CPUs own. */
		pages = byte & 64 ? pages % 16384 : pages % 2048;
		options->size = (pages + 1) * PAGE;
		options->offset = GIB + start * PAGE;
		break;
	}
	options->flags |= arenas[byte % 16] == RESERVED ? 0 : QUIRE_OFFSETS;
	return arenas[byte % 16];
}

/* Zones and nodes take memory on top of what it was to have. */
static void choose_zones(struct quire_options *options, enum arena arena,
			 uint8_t byte)
{
	uint64_t *size = options->zone_size, more = 0;

	if (byte % 3)
		size[QUIRE_ZONE_DMA32] = (1u + (byte >> 2) % 2u) * 2 * MIB;
	if (byte % 3 == 2)
		size[QUIRE_ZONE_MOVABLE] = (1u + (byte >> 3) % 2u) * 2 * MIB;
	if (byte & 16)
		size[QUIRE_ZONE_DEVICE] = 2 * MIB;
	if (byte & 128)
		options->cma_size = 2 * MIB;
	options->nodes = 1 + (byte >> 5) % 4;
	for (unsigned k = 0; k < QUIRE_NR_ZONES; k++)
		more += size[k] ? size[k] + 2 * MIB : 0;
	more += options->cma_size ? 6 * MIB : 0;
	more += (options->nodes - 1) * 4 * MIB;
	if (more && arena == RESERVED)
		more += 2 * MIB;
	if (arena != OFFSETS_LARGE)
		options->size += more;
	if (arena == CALLER && options->size > CALLER_SIZE - 4 * MIB) {
		options->size = CALLER_SIZE - 4 * MIB;
		options->nodes = 1;
		size[QUIRE_ZONE_DEVICE] = 0;
	}
}

static void choose_pressure(struct quire_options *options, uint8_t byte)
{
	static const uint64_t min_free[] = { 0, 64 << 10, 256 << 10, MIB };

	options->min_free = min_free[byte / 32 % 4];
	if (options->min_free >= options->size)
		options->min_free = 0;
	if (byte & 128) {
		options->watermark_scale = 300;
		options->lowmem_ratio[QUIRE_ZONE_DMA32] = 16;
		options->lowmem_ratio[QUIRE_ZONE_NORMAL] = UINT32_MAX;
	}
}

static void choose_options(struct model *m, struct quire_options *options)
{
	static const unsigned cpus[] = { 0, 1, 2, 4 }, renews[] = { 0, 16, 64 };
	enum arena arena = choose_arena(m, options);
	uint8_t byte;

	choose_zones(options, arena, fuzz_byte(&m->in));
	byte = fuzz_byte(&m->in);
	options->way = byte % 4;
	options->cpus = cpus[byte / 4 % 4];
	byte = fuzz_byte(&m->in);
	options->renew = renews[byte % 4 % 3];
	options->flags |= byte & 4 ? QUIRE_CHECK_RACE : 0;
	options->flags |= byte & 8 ? QUIRE_LOCK_TIMES : 0;
	options->decay_ms = byte & 16 ? 1 : 0;
	choose_pressure(options, byte);
	options->report = catch_report;
	options->report_arg = m;
}

/* One mistake, which creation must name. */
static void bad_create(struct model *m, struct quire_options options,
		       uint8_t byte)
{
	switch (byte % 8) {
	case 0:
		options.size = 0;
		break;
	case 1:
		options.nodes = QUIRE_MAX_NODES + 1 + byte / 8;
		break;
	case 2:
		options.zone_size[byte / 8 % QUIRE_NR_ZONES] =
			2 * MIB + 1 + byte / 8;
		break;
	case 3:
		options.zone_size[byte / 8 % QUIRE_NR_ZONES] = -(2 * MIB);
		break;
	case 4:
		options.flags |= 1u << (9 + byte / 8 % 23);
		break;
	case 5:
		options.renew = QUIRE_RENEW_MAX + 1 + byte / 8;
		break;
	case 6:
		options.way = QUIRE_WAY_BOUND + 1 + byte / 8;
		break;
	default:
		options.flags = QUIRE_OFFSETS;
		options.address = m;
		break;
	}
	errno = 0;
	m->q = quire_create(&options);
	CHECK(m, !m->q && errno == EINVAL && m->told > 0,
	      "mistake %u: %p, errno %d, %" PRIu64 " reports", byte % 8,
	      (void *)m->q, errno, m->told);
	m->told = 0;
}

/* As the allocator says; CMA is a zone's end. */
static uint64_t lay_out_zone(struct model *m, unsigned z)
{
	struct zone *zone = &m->zone[z];
	struct quire_zone_info info;
	uint64_t whole;

	CHECK(m, quire_zone_info(m->q, z, &info, sizeof(info)) == 0, "zone %u",
	      z);
	*zone = (struct zone){
		.first = info.first_pfn,
		.end = info.first_pfn + info.pages,
		.node = info.node,
		.kind = info.kind,
		.min = info.min,
		.free = info.pages,
	};
	memcpy(zone->reserve, info.reserve, sizeof(zone->reserve));
	m->has_highatomic = m->has_highatomic || info.pages >= 51200;
	CHECK(m, info.free == info.pages && info.node < m->info.nodes,
	      "zone %u: %" PRIu64 " free", z, info.free);
	whole = zone->end - zone->end % BLOCK_PAGES;
	for (uint64_t i = 0; i < info.free_type[QUIRE_TYPE_CMA];
	     i += BLOCK_PAGES)
		keep(m, whole - i - BLOCK_PAGES, QUIRE_TYPE_CMA);
	return zone->first;
}

static void lay_out(struct model *m, const struct quire_options *options)
{
	uint64_t pfn;

	CHECK(m, quire_info(m->q, &m->info, sizeof(m->info)) == 0, "errno %d",
	      errno);
	m->first = m->info.first_pfn;
	m->pages = m->info.pages;
	m->end = m->first + m->pages;
	m->nr_zones = m->info.zones;
	CHECK(m, m->pages == options->size / PAGE, "%" PRIu64 " pages",
	      m->pages);
	CHECK(m, m->info.nodes == options->nodes, "%u nodes", m->info.nodes);
	m->kept = calloc(m->pages / BLOCK_PAGES + 2, 1);
	if (!m->kept)
		abort();
	pfn = m->first;
	for (unsigned z = 0; z < m->nr_zones; z++) {
		CHECK(m, lay_out_zone(m, z) == pfn, "zone %u: not pfn %" PRIu64,
		      z, pfn);
		pfn = m->zone[z].end;
	}
	m->first_kept = malloc(m->pages / BLOCK_PAGES + 2);
	if (!m->first_kept)
		abort();
	memcpy(m->first_kept, m->kept, m->pages / BLOCK_PAGES + 2);
	CHECK(m, pfn == m->end, "zones end at pfn %" PRIu64, pfn);
	CHECK(m, m->nr_kept == options->cma_size / (2 * MIB), "%u CMA blocks",
	      m->nr_kept);
}

static void model_create(struct model *m)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;
	uint64_t expected[QUIRE_NR_ORDERS];
	uint8_t mistake;

	choose_options(m, &options);
	mistake = fuzz_byte(&m->in);
	if (mistake >= 192)
		bad_create(m, options, mistake);
	m->q = quire_create(&options);
	if (!m->q && errno == ENOTSUP && options.way == QUIRE_WAY_RSEQ) {
		options.way = QUIRE_WAY_TRYLOCK;
		m->q = quire_create(&options);
	}
	CHECK(m, m->q, "errno %d", errno);
	m->told = 0;
	lay_out(m, &options);
	m->holder = calloc(m->pages, sizeof(m->holder[0]));
	m->heads = calloc(m->pages, sizeof(m->heads[0]));
	m->blocks = calloc(m->pages, sizeof(m->blocks[0]));
	if (!m->holder || !m->heads || !m->blocks)
		abort();
	m->bound = m->info.cpus;
	if (m->info.way == QUIRE_WAY_BOUND)
		CHECK(m, quire_cpu_bind(m->q, 0) == 0, "errno %d", errno);
	CHECK(m, quire_free_runs(m->q, m->first_runs) == 0, "errno %d", errno);
	count_runs(m, expected);
	compare_runs(m, expected);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct model model;
	struct model *m = &model;

	/* Settings of whoever runs this must not change what is created. */
	unsetenv("QUIRE_CONF");
	memset(m, 0, sizeof(*m));
	m->in = (struct fuzz_input){ data, data + size };
	sched_getaffinity(0, sizeof(m->cpus), &m->cpus);
	pin((unsigned)sched_getcpu());
	model_create(m);
	run_ops(m);
	compare_all(m);
	free_everything(m);
	sched_setaffinity(0, sizeof(m->cpus), &m->cpus);
	free(m->first_kept);
	free(m->kept);
	free(m->holder);
	free(m->heads);
	free(m->blocks);
	return 0;
}
