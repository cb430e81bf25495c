/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The allocator against a slow, obvious reference: one byte per page, one per 2
 * MiB that is kept for something, a list of live blocks. Random operations run
 * on both, the answers must agree, and at intervals every table that can be
 * seen is compared.
 *
 * The reference knows no lists and no zones' insides: a page is live or free.
 * So a block handed out must be aligned, in a zone that the call may use and
 * wholly free here, and ENOMEM is right only where no zone that it may use has
 * a free run above what is reserved: pages parked in another CPU's list are no
 * excuse. They are one for EAGAIN. When lists are empty, the reference says as
 * well which zone has to serve.
 *
 *	tests/model [FILTER]	cases whose name matches, e.g. '*offsets*'
 *	QUIRE_TEST_SEED=n	other operations
 *	QUIRE_TEST_OPS=n	how many, over all cases
 */
#include "testing.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <sys/mman.h>

#include "quire/quire.h"

#define GIB (1ull << 30)
#define MIB (1ull << 20)
#define PAGE QUIRE_PAGE_SIZE

/* Of a page; a head of order k is HEAD + k. */
enum { FREE = 0, TAIL = 1, HEAD = 2 };

enum { BATCH = 48, BOUND_CPUS = 4, BLOCK = 512, BLOCK_ORDER = 9 };

enum arena { RESERVED, CALLER, OFFSETS, ZONES, ODD_ZONES, NODES, PRESSURE };

struct config {
	enum arena arena;
	enum quire_way way;
	unsigned renew;
};

struct block {
	uint32_t pfn;
	unsigned order;
	uint16_t flags;
	bool named; /* has a private word */
	uint64_t private;
	uint64_t refs;
	uint64_t stamp; /* stands in the block's first and last word */
};

struct zone {
	uint64_t first, end; /* pfns */
	unsigned node;
	enum quire_zone kind;
	uint64_t min, low;
	uint64_t reserve[QUIRE_NR_ZONES];
	uint64_t free; /* pages, wherever they are parked */
};

/* What is asked for, and where it may come from. */
struct call {
	unsigned order, flags;
	bool exact;
	struct quire_policy *policy; /* NULL: none named */
	unsigned from;		     /* node */
	uint32_t nodes;
	enum quire_zone highest;
	bool only_cma; /* runs in CMA blocks are meant, no others */
};

struct model {
	struct quire *q;
	struct quire_info info;
	struct test_rng rng;
	uint64_t op;

	uint64_t first, end; /* pfns */
	unsigned nr_zones;
	struct zone zone[QUIRE_MAX_ZONES];
	unsigned distance[QUIRE_MAX_NODES][QUIRE_MAX_NODES];

	uint8_t *state; /* by pfn - first */
	uint8_t *kept;	/* by 2 MiB: CMA, ISOLATED, or 0 */
	uint64_t nr_kept;
	uint32_t *index; /* of a head: its place in live */
	struct block *live;
	size_t nr_live;
	uint64_t live_pages;

	uint64_t allocs, frees, failures, refused;
	uint64_t reports;  /* of what is not counted as refused */
	uint64_t foretold; /* zones that had to serve, and did */
	uint64_t waits, timeouts;

	bool renew;
	struct quire_policy policy; /* of some calls */
	/* What the current phase is like. */
	unsigned alloc_percent;
	unsigned top_order;

	void *region; /* what the test mapped */
	size_t region_size;
	cpu_set_t cpus;
	struct test_messages messages;
};

static struct model model;
static const uint8_t all_free[1u << QUIRE_MAX_ORDER];

#define CHECK(m, condition, ...)                                               \
	do {                                                                   \
		if (!(condition)) {                                            \
			print_error("op %" PRIu64 ": ", (m)->op);              \
			print_error(__VA_ARGS__);                              \
			fail_msg(": %s", #condition);                          \
		}                                                              \
	} while (0)

static uint64_t below(struct model *m, uint64_t n)
{
	return test_below(&m->rng, n);
}

/* --- the reference --- */

static uint8_t *state_of(struct model *m, uint64_t pfn)
{
	return &m->state[pfn - m->first];
}

static bool run_is_free(struct model *m, uint64_t pfn, unsigned order)
{
	return memcmp(state_of(m, pfn), all_free, 1ull << order) == 0;
}

static struct zone *zone_at(struct model *m, uint64_t pfn)
{
	struct zone *zone = m->zone;

	while (pfn >= zone->end)
		zone++;
	return zone;
}

static uint8_t *kept_at(struct model *m, uint64_t pfn)
{
	return &m->kept[pfn / BLOCK - m->first / BLOCK];
}

/* Pages of a pageblock that are free, in this zone. */
static uint64_t free_in_block(struct model *m, const struct zone *zone,
			      uint64_t pfn)
{
	uint64_t end = pfn + BLOCK < zone->end ? pfn + BLOCK : zone->end;
	uint64_t n = 0;

	for (pfn = pfn > zone->first ? pfn : zone->first; pfn < end; pfn++)
		n += *state_of(m, pfn) == FREE;
	return n;
}

static uint64_t free_of_kept(struct model *m, const struct zone *zone,
			     enum quire_mobility type)
{
	uint64_t n = 0;

	for (uint64_t pfn = zone->first & -(uint64_t)BLOCK;
	     m->nr_kept && pfn < zone->end; pfn += BLOCK)
		if (pfn + BLOCK > m->first &&
		    m->kept[pfn / BLOCK - m->first / BLOCK] == type)
			n += free_in_block(m, zone, pfn);
	return n;
}

static bool takes_cma(const struct call *call)
{
	return call->flags & QUIRE_CMA && !call->exact;
}

static uint64_t usable(struct model *m, const struct zone *zone,
		       const struct call *call)
{
	uint64_t n = zone->free - free_of_kept(m, zone, QUIRE_TYPE_ISOLATED);

	return takes_cma(call) ? n : n - free_of_kept(m, zone, QUIRE_TYPE_CMA);
}

/* Larger blocks are made of 2 MiB ones that are kept for nothing. */
static bool run_serves(struct model *m, const struct call *call, uint64_t pfn)
{
	if (call->only_cma)
		return *kept_at(m, pfn) == QUIRE_TYPE_CMA;
	if (call->order < BLOCK_ORDER)
		return !*kept_at(m, pfn) ||
		       (*kept_at(m, pfn) == QUIRE_TYPE_CMA && takes_cma(call));
	for (uint64_t at = pfn; at < pfn + (1ull << call->order); at += BLOCK)
		if (*kept_at(m, at))
			return false;
	return true;
}

/* Whether a zone has an aligned free run. */
static bool zone_has_run(struct model *m, const struct zone *zone,
			 const struct call *call)
{
	uint64_t size = 1ull << call->order;
	uint64_t pfn = (zone->first + size - 1) & ~(size - 1);

	for (; pfn + size <= zone->end; pfn += size)
		if (run_is_free(m, pfn, call->order) &&
		    run_serves(m, call, pfn))
			return true;
	return false;
}

static bool is_allowed(const struct zone *zone, const struct call *call)
{
	if (!(call->nodes >> zone->node & 1))
		return false;
	if (call->highest == QUIRE_ZONE_DEVICE)
		return zone->kind == QUIRE_ZONE_DEVICE;
	return zone->kind <= call->highest;
}

/* Free pages that the call must leave. */
static uint64_t floor_of(const struct zone *zone, const struct call *call)
{
	uint64_t pages = zone->min;

	if (zone->kind == QUIRE_ZONE_DEVICE || call->flags & QUIRE_MEMALLOC)
		return 0;
	if (call->flags & QUIRE_HIGH)
		pages -= pages / 2;
	if (call->flags & QUIRE_ATOMIC)
		pages -= pages / 4;
	return pages + zone->reserve[call->highest];
}

static bool is_above(uint64_t free, uint64_t floor, unsigned order)
{
	return free > floor && (free - floor) >> order;
}

/* In CMA blocks, which count only for what comes from them, or elsewhere. */
static bool zone_has_room(struct model *m, const struct zone *zone,
			  const struct call *call, uint64_t floor)
{
	struct call plain = *call, cma = *call;

	plain.flags &= ~QUIRE_CMA;
	cma.only_cma = true;
	if (is_above(usable(m, zone, &plain), floor, call->order) &&
	    zone_has_run(m, zone, &plain))
		return true;
	return takes_cma(call) && call->order < BLOCK_ORDER &&
	       is_above(usable(m, zone, call), floor, call->order) &&
	       zone_has_run(m, zone, &cma);
}

static bool has_room(struct model *m, const struct call *call)
{
	for (unsigned z = 0; z < m->nr_zones; z++)
		if (is_allowed(&m->zone[z], call) &&
		    zone_has_room(m, &m->zone[z], call,
				  floor_of(&m->zone[z], call)))
			return true;
	return false;
}

/* Whether it could, were everything free. */
static bool fits_ever(struct model *m, const struct call *call)
{
	uint64_t size = 1ull << call->order;

	for (unsigned z = 0; z < m->nr_zones; z++)
		if (is_allowed(&m->zone[z], call) &&
		    ((m->zone[z].first + size - 1) & ~(size - 1)) + size <=
			    m->zone[z].end)
			return true;
	return false;
}

/* Kept blocks are wholly free by themselves, not as parts of larger runs. */
static unsigned top_order_at(struct model *m, uint64_t pfn)
{
	if (*kept_at(m, pfn) ||
	    quire_mobility(m->q, pfn) == QUIRE_TYPE_HIGHATOMIC)
		return BLOCK_ORDER;
	return QUIRE_MAX_ORDER;
}

static bool run_is_one(struct model *m, uint64_t pfn, unsigned order)
{
	if (!run_is_free(m, pfn, order))
		return false;
	for (uint64_t at = pfn; at < pfn + (1ull << order); at += BLOCK)
		if (order > top_order_at(m, at))
			return false;
	return true;
}

static void count_zone_runs(struct model *m, const struct zone *zone,
			    uint64_t runs[QUIRE_NR_ORDERS])
{
	uint64_t pfn = zone->first;

	while (pfn < zone->end) {
		unsigned order = 0;

		if (*state_of(m, pfn) != FREE) {
			pfn++;
			continue;
		}
		while (order < QUIRE_MAX_ORDER && pfn % (2ull << order) == 0 &&
		       pfn + (2ull << order) <= zone->end &&
		       run_is_one(m, pfn, order + 1))
			order++;
		runs[order]++;
		pfn += 1ull << order;
	}
}

static void count_runs(struct model *m, uint64_t runs[QUIRE_NR_ORDERS])
{
	memset(runs, 0, QUIRE_NR_ORDERS * sizeof(runs[0]));
	for (unsigned z = 0; z < m->nr_zones; z++)
		count_zone_runs(m, &m->zone[z], runs);
}

static uint64_t *word_at(struct model *m, uint64_t pfn, size_t offset)
{
	struct quire_page *page = quire_pfn_to_page(m->q, pfn);
	char *virt = quire_page_to_virt(m->q, page);

	CHECK(m, virt, "pfn %" PRIu64, pfn);
	return (uint64_t *)(void *)(virt + offset);
}

static void stamp_block(struct model *m, const struct block *block)
{
	uint64_t last = block->pfn + (1ull << block->order) - 1;

	if (!m->info.address)
		return;
	*word_at(m, block->pfn, 0) = block->stamp;
	*word_at(m, last, PAGE - sizeof(uint64_t)) = block->stamp;
}

static void check_stamp(struct model *m, const struct block *block)
{
	uint64_t last = block->pfn + (1ull << block->order) - 1;

	if (!m->info.address)
		return;
	CHECK(m, *word_at(m, block->pfn, 0) == block->stamp, "pfn %u order %u",
	      block->pfn, block->order);
	CHECK(m, *word_at(m, last, PAGE - sizeof(uint64_t)) == block->stamp,
	      "pfn %u order %u", block->pfn, block->order);
}

static void check_zero(struct model *m, uint64_t pfn, unsigned order)
{
	uint64_t pages = 1ull << order;
	uint64_t step = pages <= 16 ? 1 : pages / 16 + below(m, 3);

	for (uint64_t i = 0; i < pages; i += step)
		CHECK(m, !memcmp(word_at(m, pfn + i, 0), all_free, PAGE),
		      "pfn %" PRIu64 " + %" PRIu64 " order %u", pfn, i, order);
}

static uint64_t checked_pfn(struct model *m, const struct quire_page *page,
			    unsigned align, const struct call *call)
{
	uint64_t pfn = quire_page_to_pfn(m->q, page);
	const struct zone *zone;

	CHECK(m, pfn >= m->first && pfn < m->end, "pfn %" PRIu64, pfn);
	CHECK(m, pfn % (1ull << align) == 0, "pfn %" PRIu64 " order %u", pfn,
	      align);
	CHECK(m, quire_pfn_to_page(m->q, pfn) == page, "pfn %" PRIu64, pfn);
	zone = zone_at(m, pfn);
	CHECK(m, is_allowed(zone, call),
	      "pfn %" PRIu64 ", node %u zone %s: flags 0x%x, nodes 0x%x", pfn,
	      zone->node, quire_zone_name(zone->kind), call->flags,
	      call->nodes);
	CHECK(m, run_serves(m, call, pfn), "pfn %" PRIu64 ", flags 0x%x: %s",
	      pfn, call->flags, quire_mobility_name(*kept_at(m, pfn)));
	CHECK(m, quire_page_node(m->q, page) == (int)zone->node, "pfn %" PRIu64,
	      pfn);
	return pfn;
}

static void model_insert(struct model *m, uint64_t pfn, unsigned order)
{
	struct block *block = &m->live[m->nr_live];
	uint64_t size = 1ull << order;

	CHECK(m, pfn + size <= m->end, "pfn %" PRIu64 " order %u", pfn, order);
	CHECK(m, run_is_free(m, pfn, order), "pfn %" PRIu64 " order %u is live",
	      pfn, order);
	memset(state_of(m, pfn), TAIL, size);
	*state_of(m, pfn) = (uint8_t)(HEAD + order);
	m->index[pfn - m->first] = (uint32_t)m->nr_live++;
	m->live_pages += size;
	zone_at(m, pfn)->free -= size;
	m->allocs++;
	*block = (struct block){
		.pfn = (uint32_t)pfn,
		.order = order,
		.refs = 1,
		.stamp = test_random(&m->rng),
	};
	stamp_block(m, block);
}

static void model_erase(struct model *m, struct block *block)
{
	struct block *last = &m->live[m->nr_live - 1];

	memset(state_of(m, block->pfn), FREE, 1ull << block->order);
	m->live_pages -= 1ull << block->order;
	zone_at(m, block->pfn)->free += 1ull << block->order;
	m->frees++;
	m->nr_live--;
	m->index[last->pfn - m->first] = (uint32_t)(block - m->live);
	*block = *last;
}

static struct block *block_at(struct model *m, uint64_t pfn)
{
	return &m->live[m->index[pfn - m->first]];
}

static struct block *pick_block(struct model *m)
{
	return &m->live[below(m, m->nr_live)];
}

/* Mostly one of this order. */
static struct block *pick_of_order(struct model *m, unsigned order)
{
	struct block *block = pick_block(m);

	for (int i = 0; block->order != order && i < 8; i++)
		block = pick_block(m);
	return block;
}

static struct quire_page *page_of(struct model *m, const struct block *block)
{
	return quire_pfn_to_page(m->q, block->pfn);
}

/* --- allocations --- */

static unsigned pick_order(struct model *m)
{
	if (below(m, 3))
		return 0;
	return (unsigned)below(m, m->top_order + 1);
}

/* Whether a call with these flags may, and is likely to, come from there. */
static unsigned pick_place(struct model *m)
{
	unsigned flags = 0;

	switch (below(m, 8)) {
	case 0:
		flags = QUIRE_MOVABLE | QUIRE_CMA;
		break;
	case 1:
	case 2:
		flags = QUIRE_MOVABLE;
		break;
	case 3:
		flags = QUIRE_RECLAIMABLE;
		break;
	default:
		break;
	}
	if (below(m, 12) == 0)
		flags |= below(m, 2) ? QUIRE_DMA32 : QUIRE_DEVICE;
	if (below(m, 6) == 0)
		flags |= QUIRE_NODE(below(m, m->info.nodes));
	if (below(m, 8) == 0)
		flags |= QUIRE_THISNODE;
	return flags;
}

static unsigned pick_flags(struct model *m, unsigned order)
{
	static const unsigned reserves[] = { QUIRE_HIGH, QUIRE_ATOMIC,
					     QUIRE_HIGH | QUIRE_ATOMIC,
					     QUIRE_MEMALLOC };
	unsigned flags = below(m, 16) ? 0 : QUIRE_NORETRY;

	if (below(m, 8) == 0)
		flags |= QUIRE_NOLOCK;
	if (below(m, 2) == 0)
		flags |= pick_place(m);
	if (below(m, 8) == 0)
		flags |= reserves[below(m, TEST_LENGTH(reserves))];
	if (m->info.address && !(flags & QUIRE_DEVICE) &&
	    below(m, order < 10 ? 8 : 256) == 0)
		flags |= QUIRE_ZERO;
	return flags;
}

/* The nearest of some nodes; of equal ones the next after `from`, and round. */
static unsigned nearest(struct model *m, unsigned from, uint32_t nodes)
{
	unsigned best = QUIRE_MAX_NODES;

	for (unsigned i = 0; i < m->info.nodes; i++) {
		unsigned n = (from + i) % m->info.nodes;

		if (nodes >> n & 1 &&
		    (best == QUIRE_MAX_NODES ||
		     m->distance[from][n] < m->distance[from][best]))
			best = n;
	}
	return best;
}

/* Each node as often as it weighs, and from the start again. */
static unsigned node_in_turn(const struct quire_policy *policy)
{
	unsigned turn[QUIRE_MAX_NODES * UINT8_MAX], length = 0;

	for (unsigned n = 0; n < QUIRE_MAX_NODES; n++) {
		unsigned weight = policy->nodes >> n & 1;

		if (weight && policy->mode == QUIRE_POLICY_WEIGHTED &&
		    policy->weight[n])
			weight = policy->weight[n];
		while (weight--)
			turn[length++] = n;
	}
	return turn[policy->turn % length];
}

static void choose_nodes(struct model *m, struct call *call)
{
	const struct quire_policy *policy = call->policy;
	unsigned local = (unsigned)quire_this_node(m->q);

	call->from = local;
	call->nodes = (1u << m->info.nodes) - 1;
	if (call->flags & QUIRE_NODE_MASK) {
		call->from =
			(call->flags & QUIRE_NODE_MASK) / QUIRE_NODE(0) - 1;
	} else if (policy && policy->mode != QUIRE_POLICY_LOCAL) {
		call->from = policy->mode >= QUIRE_POLICY_INTERLEAVE
				     ? node_in_turn(policy)
				     : nearest(m, local, policy->nodes);
		if (policy->mode == QUIRE_POLICY_BIND)
			call->nodes = policy->nodes;
	}
	if (call->flags & QUIRE_THISNODE)
		call->nodes = 1u << call->from;
}

static struct call call_of(struct model *m, unsigned order, unsigned flags,
			   struct quire_policy *policy)
{
	struct call call = { .order = order,
			     .flags = flags,
			     .policy = policy,
			     .highest = QUIRE_ZONE_NORMAL };

	if (flags & QUIRE_MOVABLE)
		call.highest = QUIRE_ZONE_MOVABLE;
	if (flags & QUIRE_DMA32)
		call.highest = QUIRE_ZONE_DMA32;
	if (flags & QUIRE_DEVICE)
		call.highest = QUIRE_ZONE_DEVICE;
	choose_nodes(m, &call);
	return call;
}

static struct call pick_call(struct model *m, struct quire_policy *policy)
{
	unsigned order = pick_order(m);

	return call_of(m, order, pick_flags(m, order), policy);
}

/* Mostly none. */
static struct quire_policy *pick_policy(struct model *m)
{
	struct quire_policy *policy = &m->policy;

	if (below(m, 8))
		return NULL;
	if (below(m, 8) == 0) {
		*policy = (struct quire_policy){
			.mode = (enum quire_policy_mode)below(m, 5)
		};
		policy->turn = (uint32_t)test_random(&m->rng);
		while (policy->mode && !policy->nodes)
			policy->nodes = (uint32_t)below(m, 1u << m->info.nodes);
		for (unsigned n = 0; n < m->info.nodes; n++)
			policy->weight[n] = (uint8_t)below(m, 5);
	}
	return policy;
}

/* Of a call that may not drain the lists. */
static bool gives_up_early(unsigned flags)
{
	return flags & (QUIRE_NORETRY | QUIRE_NOLOCK);
}

static int errno_of(unsigned flags)
{
	return flags & QUIRE_NOLOCK ? EAGAIN
	       : flags & QUIRE_WAIT ? ETIMEDOUT
				    : ENOMEM;
}

static struct quire_zone_info zone_info(struct model *m, unsigned z)
{
	struct quire_zone_info info;

	CHECK(m, quire_zone_info(m->q, z, &info, sizeof(info)) == 0, "zone %u",
	      z);
	return info;
}

/* Free in the zone itself, and there for the call. */
static uint64_t usable_now(const struct quire_zone_info *info,
			   const struct call *call)
{
	uint64_t n = info->free - info->free_type[QUIRE_TYPE_ISOLATED];

	if (!takes_cma(call))
		n -= info->free_type[QUIRE_TYPE_CMA];
	if (!(call->flags & QUIRE_ATOMIC) || !call->order || call->exact)
		n -= info->free_type[QUIRE_TYPE_HIGHATOMIC];
	return n;
}

/*
 * Nobody else has the zone locks, so that even a call without waiting may give
 * up only if no zone has a run for it: what has one is parked. Runs are known
 * of all zones together, so that the call must be one that may use all they
 * have.
 */
static void check_given_up(struct model *m, const struct call *call)
{
	uint64_t runs[QUIRE_NR_ORDERS], fit = 0;
	bool all = m->nr_kept == 0;

	for (unsigned z = 0; z < m->nr_zones; z++) {
		const struct zone *zone = &m->zone[z];
		struct quire_zone_info info = zone_info(m, z);
		uint64_t floor = floor_of(zone, call);

		all = all && is_allowed(zone, call) && !floor &&
		      !info.free_type[QUIRE_TYPE_HIGHATOMIC];
		CHECK(m,
		      call->order || !is_allowed(zone, call) ||
			      !is_above(usable_now(&info, call), floor, 0),
		      "gave up: zone %u, %" PRIu64 " free, %" PRIu64
		      " to be left",
		      z, usable_now(&info, call), floor);
	}
	assert_int_equal(quire_free_runs(m->q, runs), 0);
	for (unsigned k = call->order; k < QUIRE_NR_ORDERS; k++)
		fit += runs[k];
	CHECK(m, fit == 0 || !all,
	      "gave up: order %u, flags 0x%x: %" PRIu64 " runs", call->order,
	      call->flags, fit);
}

static struct quire_page *alloc_somehow(struct model *m,
					const struct call *call)
{
	unsigned order = call->order, flags = call->flags;
	struct quire_page *page = NULL;
	void *addr;

	errno = 0;
	if (call->policy)
		return quire_alloc_pages_with(m->q, order, flags, call->policy,
					      0);
	switch (m->info.address ? below(m, 4) : 0) {
	case 1:
		addr = quire_alloc_addr(m->q, order, flags);
		if (addr)
			page = quire_virt_to_page(m->q, addr);
		break;
	case 2:
		quire_alloc_pages_bulk(m->q, order, flags, 1, &page);
		break;
	default:
		page = quire_alloc_pages(m->q, order, flags);
		break;
	}
	return page;
}

static void check_failure(struct model *m, const struct call *call)
{
	int expected = errno_of(call->flags);

	/* Nobody waits for what no zone could ever hold. */
	if (expected == ETIMEDOUT && !fits_ever(m, call)) {
		expected = EINVAL;
		m->reports++;
	}
	CHECK(m, errno == expected, "order %u flags 0x%x errno %d", call->order,
	      call->flags, errno);
	m->failures++;
	if (gives_up_early(call->flags))
		check_given_up(m, call);
	else
		CHECK(m, !has_room(m, call),
		      "order %u, flags 0x%x, nodes 0x%x: there is room",
		      call->order, call->flags, call->nodes);
}

/* A policy that binds to nodes without such memory is refused. */
static bool is_refused(struct model *m, const struct call *call)
{
	const struct quire_policy *policy = call->policy;

	if (!policy || policy->mode != QUIRE_POLICY_BIND)
		return false;
	for (unsigned z = 0; z < m->nr_zones; z++)
		if (policy->nodes >> m->zone[z].node & 1 &&
		    m->zone[z].kind <= call->highest)
			return false;
	return true;
}

static void take_block(struct model *m, const struct call *call,
		       struct quire_page *page)
{
	uint64_t pfn = checked_pfn(m, page, call->order, call);

	CHECK(m, quire_page_flags(page) == 0, "pfn %" PRIu64, pfn);
	if (call->flags & QUIRE_ZERO)
		check_zero(m, pfn, call->order);
	model_insert(m, pfn, call->order);
}

/*
 * A block that was in no list left its zone what has to be left: the floor is
 * checked when the zone hands out, and what it handed out to lists is not.
 */
static void check_floor(struct model *m, const struct call *call,
			const struct quire_page *page, uint64_t by_lists)
{
	const struct zone *zone = zone_at(m, quire_page_to_pfn(m->q, page));
	struct quire_zone_info info = zone_info(m, (unsigned)(zone - m->zone));
	struct quire_stat stat;

	assert_int_equal(quire_stat(m->q, &stat, sizeof(stat)), 0);
	CHECK(m,
	      stat.pcp_allocs > by_lists ||
		      usable_now(&info, call) >= floor_of(zone, call),
	      "flags 0x%x: %" PRIu64 " left, %" PRIu64 " are reserved",
	      call->flags, usable_now(&info, call), floor_of(zone, call));
}

static uint64_t count_by_lists(struct model *m)
{
	struct quire_stat stat;

	assert_int_equal(quire_stat(m->q, &stat, sizeof(stat)), 0);
	return stat.pcp_allocs;
}

static void op_alloc(struct model *m)
{
	struct call call = pick_call(m, pick_policy(m));
	bool refused = is_refused(m, &call);
	/* What came back to a CPU is its own, though it was not popped. */
	bool look = below(m, 16) == 0 && !m->renew;
	uint64_t by_lists = look ? count_by_lists(m) : 0;
	struct quire_page *page;

	/* The header promises nothing about policies and devices. */
	if (call.policy && call.highest == QUIRE_ZONE_DEVICE)
		return;
	page = alloc_somehow(m, &call);
	if (refused) {
		CHECK(m, !page && errno == EINVAL, "errno %d", errno);
		m->reports++;
		return;
	}
	if (!page)
		check_failure(m, &call);
	if (!page && gives_up_early(call.flags)) {
		quire_drain_all(m->q);
		choose_nodes(m, &call);
		by_lists = count_by_lists(m);
		page = alloc_somehow(m, &call);
		if (!page)
			check_failure(m, &call);
		look = true;
	}
	if (!page)
		return;
	if (look)
		check_floor(m, &call, page, by_lists);
	take_block(m, &call, page);
}

/* The zone that is to serve when no list has a block; NULL: none. */
static const struct zone *expected_zone(struct model *m,
					const struct call *call, bool low)
{
	uint32_t left = (1u << m->info.nodes) - 1;

	while (left) {
		unsigned n = nearest(m, call->from, left);

		left &= ~(1u << n);
		for (unsigned z = m->nr_zones; z-- > 0;) {
			const struct zone *zone = &m->zone[z];
			uint64_t floor = floor_of(zone, call);

			if (zone->node != n || !is_allowed(zone, call))
				continue;
			if (low && zone->kind != QUIRE_ZONE_DEVICE)
				floor = zone->low + zone_info(m, z).boost +
					zone->reserve[call->highest];
			if (zone_has_room(m, zone, call, floor))
				return zone;
		}
	}
	return NULL;
}

static bool has_highatomic(struct model *m)
{
	for (unsigned z = 0; z < m->nr_zones; z++)
		if (zone_info(m, z).free_type[QUIRE_TYPE_HIGHATOMIC])
			return true;
	return false;
}

/* With the lists drained: the first zone, in the order of its start, that is
 * above low, else the first above what the call must leave. */
static void op_alloc_foretold(struct model *m)
{
	struct call call = pick_call(m, pick_policy(m));
	const struct zone *zone = NULL;
	struct quire_page *page;

	/* Zones of devices are asked by number, and not all blocks known. */
	if (call.highest == QUIRE_ZONE_DEVICE || is_refused(m, &call))
		return;
	assert_int_equal(quire_drain_all(m->q), 0);
	if (has_highatomic(m))
		return;
	if (!(call.flags & QUIRE_NOLOCK))
		zone = expected_zone(m, &call, true);
	if (!zone)
		zone = expected_zone(m, &call, false);
	page = alloc_somehow(m, &call);
	if (!page) {
		CHECK(m, !zone, "order %u flags 0x%x", call.order, call.flags);
		check_failure(m, &call);
		return;
	}
	CHECK(m, zone && zone_at(m, quire_page_to_pfn(m->q, page)) == zone,
	      "order %u flags 0x%x from node %u: pfn %" PRIu64
	      ", not of node %d zone %s",
	      call.order, call.flags, call.from, quire_page_to_pfn(m->q, page),
	      zone ? (int)zone->node : -1,
	      zone ? quire_zone_name(zone->kind) : "none");
	m->foretold++;
	check_floor(m, &call, page, count_by_lists(m));
	take_block(m, &call, page);
}

static void op_alloc_bulk(struct model *m)
{
	struct quire_page *pages[BATCH];
	struct call call = pick_call(m, NULL);
	size_t n = 1 + below(m, BATCH);
	size_t got;

	if (call.order > 9)
		call.order = 0;
	errno = 0;
	got = quire_alloc_pages_bulk(m->q, call.order, call.flags, n, pages);
	CHECK(m, got <= n, "%zu of %zu", got, n);
	for (size_t i = 0; i < got; i++) {
		int error = errno;

		take_block(m, &call, pages[i]);
		errno = error;
	}
	if (got < n)
		check_failure(m, &call);
}

static unsigned order_over(uint64_t n)
{
	unsigned order = 0;

	while ((1ull << order) < n)
		order++;
	return order;
}

static void op_alloc_exact(struct model *m)
{
	uint64_t n = 1 + below(m, below(m, 8) ? 40 : 1200);
	unsigned order = order_over(n);
	unsigned flags = pick_flags(m, order) & ~QUIRE_NORETRY;
	struct call call = call_of(m, order, flags, NULL);
	struct quire_page *page;
	uint64_t pfn;

	call.exact = true;
	errno = 0;
	page = quire_alloc_exact(m->q, n, flags);
	if (!page) {
		check_failure(m, &call);
		return;
	}
	pfn = checked_pfn(m, page, order, &call);
	for (uint64_t i = 0; i < n; i++) {
		if (flags & QUIRE_ZERO)
			check_zero(m, pfn + i, 0);
		model_insert(m, pfn + i, 0);
	}
}

/* --- frees --- */

static void op_free(struct model *m)
{
	struct block *block = pick_block(m);
	struct quire_page *page = page_of(m, block);
	void *addr = m->info.address ? quire_page_to_virt(m->q, page) : NULL;
	int expected = 0;
	int result;

	check_stamp(m, block);
	errno = 0;
	switch (below(m, addr ? 6 : 3)) {
	case 1:
		expected = block->refs == 1;
		result = quire_page_put(m->q, page);
		break;
	case 2:
		result = quire_free_pages_nolock(m->q, page, block->order);
		break;
	case 5:
		result = quire_free_addr(m->q, addr, block->order);
		break;
	case 3:
		result = quire_free_unsized(m->q, addr);
		break;
	default:
		result = quire_free_pages(m->q, page, block->order);
		break;
	}
	CHECK(m, result == expected,
	      "pfn %u order %u refs %" PRIu64 ": %d, errno %d", block->pfn,
	      block->order, block->refs, result, errno);
	if (--block->refs == 0)
		model_erase(m, block);
}

/* What a free does here; false where it is to be refused. */
static bool model_free(struct model *m, uint64_t pfn, unsigned order)
{
	struct block *block = block_at(m, pfn);

	if (*state_of(m, pfn) != HEAD + order)
		return false;
	check_stamp(m, block);
	if (--block->refs == 0)
		model_erase(m, block);
	return true;
}

/* Mostly blocks of one order; now and then another, or the same again. */
static void op_free_bulk(struct model *m)
{
	struct quire_page *pages[BATCH];
	unsigned order = pick_block(m)->order;
	size_t n = 1 + below(m, BATCH);
	size_t expected = 0;
	uint64_t pfn = 0;
	size_t got;

	for (size_t i = 0; i < n; i++) {
		if (i == 0 || (m->nr_live > 0 && below(m, 64)))
			pfn = pick_of_order(m, order)->pfn;
		pages[i] = quire_pfn_to_page(m->q, pfn);
		if (model_free(m, pfn, order))
			expected++;
		else
			m->refused++;
	}
	errno = 0;
	got = quire_free_pages_bulk(m->q, order, n, pages);
	CHECK(m, got == expected, "%zu of %zu, order %u", got, n, order);
	CHECK(m, got == n || errno == EINVAL, "errno %d", errno);
}

/* Whether [pfn, pfn + n) are blocks of order 0 with one holder each. */
static bool exact_is_right(struct model *m, uint64_t pfn, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		if (pfn + i >= m->end || *state_of(m, pfn + i) != HEAD ||
		    block_at(m, pfn + i)->refs != 1)
			return false;
	}
	return true;
}

static void op_free_exact(struct model *m)
{
	struct block *block = pick_block(m);
	struct quire_page *page = page_of(m, block);
	uint64_t pfn = block->pfn;
	uint64_t n = 1 + below(m, below(m, 4) ? 8 : 200);
	bool good;

	/* Mostly cut to what can be freed. */
	while (n > 1 && !exact_is_right(m, pfn, n) && below(m, 16))
		n--;
	good = exact_is_right(m, pfn, n);
	errno = 0;
	if (quire_free_exact(m->q, page, n) == 0) {
		CHECK(m, good, "pfn %" PRIu64 ", %" PRIu64 " pages", pfn, n);
		for (uint64_t i = 0; i < n; i++)
			model_erase(m, block_at(m, pfn + i));
		return;
	}
	CHECK(m, !good && errno == EINVAL,
	      "pfn %" PRIu64 ", %" PRIu64 " pages, errno %d", pfn, n, errno);
	m->refused++;
}

/* --- what the owner does --- */

static void op_get(struct model *m)
{
	struct block *block = pick_block(m);

	CHECK(m, quire_page_get(m->q, page_of(m, block)) == 0, "pfn %u",
	      block->pfn);
	block->refs++;
}

static void op_words(struct model *m)
{
	struct block *block = pick_block(m);
	struct quire_page *page = page_of(m, block);
	uint16_t bits = (uint16_t)test_random(&m->rng);

	CHECK(m, quire_page_flags(page) == block->flags, "pfn %u", block->pfn);
	if (below(m, 2)) {
		CHECK(m, quire_page_set_flags(page, bits) == block->flags,
		      "pfn %u", block->pfn);
		block->flags |= bits;
	} else {
		CHECK(m, quire_page_clear_flags(page, bits) == block->flags,
		      "pfn %u", block->pfn);
		block->flags &= (uint16_t)~bits;
	}
	if (block->named)
		CHECK(m, quire_page_private(m->q, page) == block->private,
		      "pfn %u", block->pfn);
	block->named = true;
	block->private = test_random(&m->rng);
	quire_page_set_private(m->q, page, block->private);
}

/* --- misuse, each one ordered after what makes it wrong --- */

static void refused(struct model *m, int result, const char *what, uint64_t pfn)
{
	CHECK(m, result == -1 && errno == EINVAL,
	      "%s, pfn %" PRIu64 ": %d, errno %d", what, pfn, result, errno);
	m->refused++;
	errno = 0;
}

/* A page that is no live head: free, parked or a tail. */
static void bad_page(struct model *m, uint64_t pfn, unsigned order)
{
	struct quire_page *page = quire_pfn_to_page(m->q, pfn);
	void *addr = m->info.address ? quire_page_to_virt(m->q, page) : NULL;

	switch (below(m, addr ? 7 : 5)) {
	case 0:
		refused(m, quire_free_pages(m->q, page, order), "free", pfn);
		break;
	case 6:
		refused(m, quire_free_addr(m->q, addr, order), "addr", pfn);
		break;
	case 1:
		refused(m, quire_page_put(m->q, page), "put", pfn);
		break;
	case 2:
		refused(m, quire_page_get(m->q, page), "get", pfn);
		break;
	case 3:
		refused(m, quire_free_exact(m->q, page, 1), "exact", pfn);
		break;
	case 4:
		refused(m, quire_free_pages_nolock(m->q, page, order),
			"free without waiting", pfn);
		break;
	default:
		refused(m, quire_free_unsized(m->q, addr), "unsized", pfn);
		break;
	}
}

static void bad_order(struct model *m, const struct block *block)
{
	struct quire_page *page = page_of(m, block);
	unsigned order = (unsigned)below(m, 2 * QUIRE_NR_ORDERS);

	if (order == block->order)
		order = UINT32_MAX - order;
	refused(m, quire_free_pages(m->q, page, order), "order", block->pfn);
	refused(m, quire_free_pages_nolock(m->q, page, order),
		"order without waiting", block->pfn);
	if (m->info.address)
		refused(m,
			quire_free_addr(m->q, quire_page_to_virt(m->q, page),
					order),
			"order by address", block->pfn);
}

static void bad_pointer(struct model *m)
{
	char *first = (char *)quire_pfn_to_page(m->q, m->first);
	char *second = (char *)quire_pfn_to_page(m->q, m->first + 1);
	char *last = (char *)quire_pfn_to_page(m->q, m->end - 1);
	char *bad[] = { NULL, first - (second - first), last + (second - first),
			first + 1, (char *)m };
	char *low = m->info.address;

	for (size_t i = 0; i < TEST_LENGTH(bad); i++) {
		struct quire_page *page = (struct quire_page *)(void *)bad[i];

		refused(m, quire_free_pages(m->q, page, 0), "pointer", i);
		refused(m, quire_page_put(m->q, page), "put pointer", i);
		refused(m, quire_free_pages_nolock(m->q, page, 0),
			"pointer without waiting", i);
	}
	if (!low)
		return;
	refused(m, quire_free_addr(m->q, low - PAGE, 0), "below", 0);
	refused(m, quire_free_addr(m->q, low + m->info.pages * PAGE, 0),
		"above", 0);
	refused(m, quire_free_addr(m->q, low + 8, 0), "inside a page", 0);
	refused(m, quire_free_unsized(m->q, NULL), "NULL", 0);
}

static void op_bad(struct model *m)
{
	uint64_t pfn = m->first + below(m, m->end - m->first);
	unsigned order = (unsigned)below(m, QUIRE_NR_ORDERS);

	if (*state_of(m, pfn) < HEAD)
		bad_page(m, pfn, order);
	if (m->nr_live > 0) {
		struct block *block = pick_block(m);

		bad_order(m, block);
		if (block->order > 0)
			bad_page(m,
				 block->pfn + 1 +
					 below(m, (1ull << block->order) - 1),
				 block->order);
	}
	if (below(m, 32) == 0)
		bad_pointer(m);
}

/* Frees a block and then frees it again. */
static void op_double_free(struct model *m)
{
	struct block *block = pick_block(m);
	uint64_t pfn = block->pfn;
	unsigned order = block->order;

	if (block->refs > 1)
		return;
	check_stamp(m, block);
	CHECK(m, quire_free_pages(m->q, page_of(m, block), order) == 0,
	      "pfn %" PRIu64, pfn);
	model_erase(m, block);
	bad_page(m, pfn, order);
}

/* --- comparing --- */

static void compare_stat(struct model *m, bool drained)
{
	struct quire_stat stat;

	assert_int_equal(quire_stat(m->q, &stat, sizeof(stat)), 0);
	CHECK(m, stat.pages == m->end - m->first, "%" PRIu64, stat.pages);
	CHECK(m, stat.pages_live == m->live_pages, "%" PRIu64 " not %" PRIu64,
	      stat.pages_live, m->live_pages);
	CHECK(m,
	      stat.pages_free + stat.pages_parked + stat.pages_live ==
		      stat.pages,
	      "%" PRIu64 " free, %" PRIu64 " parked", stat.pages_free,
	      stat.pages_parked);
	CHECK(m, !drained || stat.pages_parked == 0, "%" PRIu64,
	      stat.pages_parked);
	CHECK(m, stat.allocs == m->allocs, "%" PRIu64 " not %" PRIu64,
	      stat.allocs, m->allocs);
	CHECK(m, stat.frees == m->frees, "%" PRIu64 " not %" PRIu64, stat.frees,
	      m->frees);
	CHECK(m, stat.failures == m->failures, "%" PRIu64 " not %" PRIu64,
	      stat.failures, m->failures);
	CHECK(m, stat.refused == m->refused, "%" PRIu64 " not %" PRIu64,
	      stat.refused, m->refused);
	CHECK(m, stat.waits == m->waits && stat.timeouts == m->timeouts,
	      "%" PRIu64 " waits, %" PRIu64 " timeouts", stat.waits,
	      stat.timeouts);
	CHECK(m, m->messages.count == m->refused + m->reports,
	      "%zu messages, last: %s", m->messages.count, m->messages.text[0]);
	CHECK(m, stat.pcp_allocs <= stat.allocs && stat.pcp_frees <= stat.frees,
	      "%" PRIu64 " %" PRIu64, stat.pcp_allocs, stat.pcp_frees);
}

static void compare_runs(struct model *m)
{
	uint64_t runs[QUIRE_NR_ORDERS], expected[QUIRE_NR_ORDERS];

	assert_int_equal(quire_free_runs(m->q, runs), 0);
	count_runs(m, expected);
	for (unsigned k = 0; k < QUIRE_NR_ORDERS; k++)
		CHECK(m, runs[k] == expected[k],
		      "order %u: %" PRIu64 " runs, not %" PRIu64, k, runs[k],
		      expected[k]);
}

static void compare_pages(struct model *m)
{
	for (uint64_t pfn = m->first; pfn < m->end; pfn++) {
		struct quire_page *page = quire_pfn_to_page(m->q, pfn);
		int state = *state_of(m, pfn);
		int order = state >= HEAD ? state - HEAD : -1;
		uint64_t refs = state >= HEAD ? block_at(m, pfn)->refs : 0;

		CHECK(m, quire_page_order(m->q, page) == order,
		      "pfn %" PRIu64 ": %d", pfn, order);
		CHECK(m, quire_page_count(m->q, page) == refs,
		      "pfn %" PRIu64 ": %" PRIu64, pfn, refs);
		if (m->info.address && pfn % 64 == 0)
			CHECK(m,
			      quire_addr_order(
				      m->q, quire_page_to_virt(m->q, page)) ==
				      order,
			      "pfn %" PRIu64 ": %d", pfn, order);
	}
}

static void compare_zones(struct model *m)
{
	for (unsigned z = 0; z < m->nr_zones; z++) {
		const struct zone *zone = &m->zone[z];
		struct quire_zone_info info = zone_info(m, z);
		uint64_t sum = info.free_whole;

		for (unsigned i = 0; i < QUIRE_NR_TYPES; i++)
			sum += info.free_type[i];
		CHECK(m, info.free == zone->free && sum == zone->free,
		      "zone %u: %" PRIu64 " free, %" PRIu64 " in all, not "
		      "%" PRIu64,
		      z, info.free, sum, zone->free);
		for (unsigned i = QUIRE_TYPE_CMA; i <= QUIRE_TYPE_ISOLATED; i++)
			CHECK(m, info.free_type[i] == free_of_kept(m, zone, i),
			      "zone %u: %" PRIu64 " of type %u, not %" PRIu64,
			      z, info.free_type[i], i,
			      free_of_kept(m, zone, i));
		CHECK(m, info.min == zone->min && info.low == zone->low,
		      "zone %u: min %" PRIu64 ", low %" PRIu64, z, info.min,
		      info.low);
	}
}

/* Whether a live block of order 9 or more reaches in. */
static bool is_inside_large(struct model *m, uint64_t pfn)
{
	for (unsigned order = BLOCK_ORDER; order < QUIRE_NR_ORDERS; order++) {
		uint64_t head = pfn & -(1ull << order);

		if (head >= m->first && *state_of(m, head) == HEAD + order)
			return true;
	}
	return false;
}

/* Lists are drained. */
static void compare_blocks(struct model *m)
{
	for (uint64_t pfn = m->first; pfn < m->end;
	     pfn = (pfn / BLOCK + 1) * BLOCK) {
		uint64_t start = pfn - pfn % BLOCK;
		bool edge = start < m->first || start + BLOCK > m->end;
		int type = quire_mobility(m->q, pfn);

		if (*kept_at(m, pfn))
			CHECK(m, type == *kept_at(m, pfn),
			      "pfn %" PRIu64 ": %d", pfn, type);
		else if (edge)
			CHECK(m, type >= 0 && type < QUIRE_TYPE_CMA,
			      "pfn %" PRIu64 ": %d", pfn, type);
		else if (run_is_free(m, pfn, BLOCK_ORDER))
			CHECK(m, type == -1 || type == QUIRE_TYPE_HIGHATOMIC,
			      "pfn %" PRIu64 ": %d", pfn, type);
		else
			CHECK(m,
			      (type == -1) == is_inside_large(m, pfn) &&
				      type < QUIRE_TYPE_CMA,
			      "pfn %" PRIu64 ": %d", pfn, type);
	}
}

static void compare_all(struct model *m)
{
	int violations;

	compare_stat(m, false);
	CHECK(m, quire_validate(m->q) == 0, "before the drain: %s",
	      m->messages.text[m->messages.count % TEST_MESSAGES]);
	assert_int_equal(quire_drain_all(m->q), 0);
	compare_stat(m, true);
	compare_runs(m);
	compare_pages(m);
	compare_zones(m);
	compare_blocks(m);
	violations = quire_validate(m->q);
	CHECK(m, violations == 0, "%d violations", violations);
	/* Keep room for what the next violation would say. */
	m->messages.count = m->refused + m->reports;
}

static void op_look(struct model *m)
{
	uint64_t runs[QUIRE_NR_ORDERS], pages = 0;
	struct quire_stat stat;

	compare_stat(m, false);
	assert_int_equal(quire_free_runs(m->q, runs), 0);
	assert_int_equal(quire_stat(m->q, &stat, sizeof(stat)), 0);
	for (unsigned k = 0; k < QUIRE_NR_ORDERS; k++)
		pages += runs[k] << k;
	CHECK(m, pages == stat.pages_free, "%" PRIu64 " not %" PRIu64, pages,
	      stat.pages_free);
}

/* --- the run --- */

static void bind_cpu(struct model *m, unsigned cpu)
{
	assert_int_equal(quire_cpu_bind(m->q, cpu), 0);
}

/* On this CPU, or the next one that may be used. */
static void run_on(struct model *m, size_t cpu)
{
	cpu_set_t one;

	while (!CPU_ISSET(cpu, &m->cpus))
		cpu = (cpu + 1) % CPU_SETSIZE;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
}

/* Goes on as another CPU, leaving pages in the lists of this one. */
static void op_move(struct model *m)
{
	if (m->info.way == QUIRE_WAY_BOUND) {
		assert_int_equal(quire_cpu_unbind(m->q), 0);
		if (below(m, 8) == 0)
			op_alloc(m);
		bind_cpu(m, (unsigned)below(m, BOUND_CPUS));
		return;
	}
	run_on(m, below(m, CPU_SETSIZE));
}

static void set_distances(struct model *m)
{
	unsigned nr = m->info.nodes;
	uint8_t d[QUIRE_MAX_NODES * QUIRE_MAX_NODES] = { 0 };

	for (unsigned i = 0; i < nr; i++)
		for (unsigned j = 0; j <= i; j++) {
			unsigned distance =
				i == j ? 10 : 10 + (unsigned)below(m, 6);

			m->distance[i][j] = m->distance[j][i] = distance;
			d[i * nr + j] = d[j * nr + i] = (uint8_t)distance;
		}
	assert_int_equal(quire_set_distances(m->q, d), 0);
	for (unsigned i = 0; i < nr * nr; i++)
		CHECK(m, quire_distance(m->q, i / nr, i % nr) == d[i],
		      "from %u to %u", i / nr, i % nr);
}

static void keep(struct model *m, uint64_t pfn, enum quire_mobility type)
{
	uint8_t *kept = kept_at(m, pfn);

	m->nr_kept -= *kept != 0;
	*kept = type >= QUIRE_TYPE_CMA ? (uint8_t)type : 0;
	m->nr_kept += *kept != 0;
}

/* A few blocks become something else; not too many are kept from others. */
static void op_mobility(struct model *m)
{
	static const enum quire_mobility types[] = {
		QUIRE_TYPE_UNMOVABLE, QUIRE_TYPE_MOVABLE,
		QUIRE_TYPE_RECLAIMABLE, QUIRE_TYPE_CMA, QUIRE_TYPE_ISOLATED
	};
	uint64_t blocks = (m->end + BLOCK - 1) / BLOCK - m->first / BLOCK;
	uint64_t n = 1 + below(m, blocks < 4 ? blocks : 4);
	uint64_t at = m->first / BLOCK + below(m, blocks - n + 1);
	bool many = m->nr_kept > blocks / 8 || below(m, 2);
	enum quire_mobility type = types[below(m, many ? 3 : 5)];
	bool large = false;
	int result;

	for (uint64_t i = at; i < at + n; i++)
		large = large || (i * BLOCK >= m->first &&
				  is_inside_large(m, i * BLOCK));
	errno = 0;
	result = quire_set_mobility(m->q, at * BLOCK, n * BLOCK, type);
	CHECK(m, result == (large ? -1 : 0) && (!large || errno == EBUSY),
	      "%" PRIu64 " blocks from %" PRIu64 ", type %u: %d, errno %d", n,
	      at, type, result, errno);
	m->reports += large;
	for (uint64_t i = at; !large && i < at + n; i++)
		keep(m, i * BLOCK < m->first ? m->first : i * BLOCK, type);
}

/* Nobody will free: who waits does so in vain. */
static void op_wait(struct model *m)
{
	struct call call = pick_call(m, NULL);
	struct quire_page *page;

	call.flags &= ~(QUIRE_NORETRY | QUIRE_NOLOCK | QUIRE_ATOMIC);
	call.flags |= QUIRE_WAIT;
	errno = 0;
	page = quire_alloc_pages_with(m->q, call.order, call.flags, NULL, 1);
	if (page) {
		take_block(m, &call, page);
		return;
	}
	if (fits_ever(m, &call)) {
		m->waits++;
		m->timeouts++;
	}
	check_failure(m, &call);
}

/* Only if there is room, or never could be. */
static void op_nofail(struct model *m)
{
	struct call call = pick_call(m, NULL);
	struct quire_page *page;

	call.flags &=
		~(QUIRE_NORETRY | QUIRE_NOLOCK | QUIRE_ATOMIC | QUIRE_DEVICE);
	call.flags |= QUIRE_NOFAIL;
	call = call_of(m, call.order, call.flags, NULL);
	if (fits_ever(m, &call) && !has_room(m, &call))
		return;
	errno = 0;
	page = quire_alloc_pages(m->q, call.order, call.flags);
	if (page) {
		take_block(m, &call, page);
		return;
	}
	CHECK(m, errno == EINVAL && !fits_ever(m, &call), "errno %d", errno);
	m->failures++;
	m->reports++;
}

static void op_rare(struct model *m)
{
	switch (below(m, 12)) {
	case 0:
		assert_int_equal(quire_drain_all(m->q), 0);
		break;
	case 1:
		assert_true(quire_maintain(m->q) >= 0);
		break;
	case 2:
	case 3:
		op_look(m);
		break;
	case 4:
		set_distances(m);
		break;
	case 5:
	case 6:
		op_mobility(m);
		break;
	case 7:
		op_nofail(m);
		break;
	case 8:
		if (below(m, 8) == 0)
			op_wait(m);
		break;
	default:
		op_move(m);
		break;
	}
}

static void new_phase(struct model *m)
{
	static const unsigned percents[] = { 30, 45, 50, 55, 75 };
	static const unsigned orders[] = { 0, 1, 4, 9, 11, QUIRE_MAX_ORDER };

	m->alloc_percent = percents[below(m, TEST_LENGTH(percents))];
	m->top_order = orders[below(m, TEST_LENGTH(orders))];
}

static void do_free(struct model *m)
{
	switch (below(m, 16)) {
	case 0:
		op_free_bulk(m);
		break;
	case 1:
		op_free_exact(m);
		break;
	case 2:
		op_double_free(m);
		break;
	default:
		op_free(m);
		break;
	}
}

static void do_alloc(struct model *m)
{
	switch (below(m, 24)) {
	case 0:
		op_alloc_bulk(m);
		break;
	case 1:
		op_alloc_exact(m);
		break;
	case 2:
		if (below(m, 4) == 0)
			op_alloc_foretold(m);
		break;
	default:
		op_alloc(m);
		break;
	}
}

static void do_one(struct model *m)
{
	uint64_t dice = below(m, 1000);

	if (dice < 6)
		op_rare(m);
	else if (dice < 30)
		op_bad(m);
	else if (m->nr_live == 0 || below(m, 100) < m->alloc_percent)
		do_alloc(m);
	else if (dice < 100)
		op_get(m);
	else if (dice < 200)
		op_words(m);
	else
		do_free(m);
}

static void free_everything(struct model *m)
{
	while (m->nr_live > 0) {
		m->op++;
		op_free(m);
	}
	compare_all(m);
}

/* --- arenas --- */

static void options_for(struct model *m, const struct config *config,
			struct quire_options *options)
{
	*options = (struct quire_options)QUIRE_OPTIONS_INIT;
	options->way = config->way;
	options->renew = config->renew;
	options->report = test_catch;
	options->report_arg = &m->messages;
	if (config->way == QUIRE_WAY_BOUND)
		options->cpus = BOUND_CPUS;
	options->size = 64 * MIB;
	if (config->arena == OFFSETS) {
		options->flags = QUIRE_OFFSETS;
		options->offset = GIB - 37 * PAGE;
		options->size = 3 * GIB + 5 * MIB + 3 * PAGE;
	}
	if (config->arena == ZONES) {
		options->zone_size[QUIRE_ZONE_DMA32] = 2 * MIB;
		options->zone_size[QUIRE_ZONE_MOVABLE] = 14 * MIB;
		options->zone_size[QUIRE_ZONE_DEVICE] = 4 * MIB;
	}
	if (config->arena == ODD_ZONES) {
		options->flags = QUIRE_OFFSETS;
		options->offset = GIB - 9 * MIB - 201 * PAGE;
		options->size = 40 * MIB + 5 * PAGE;
		options->nodes = 2;
		options->zone_size[QUIRE_ZONE_DMA32] = 2 * MIB;
		options->zone_size[QUIRE_ZONE_MOVABLE] = 8 * MIB;
		options->zone_size[QUIRE_ZONE_DEVICE] = 4 * MIB;
		options->lowmem_ratio[QUIRE_ZONE_DMA32] = 64;
		options->lowmem_ratio[QUIRE_ZONE_NORMAL] = UINT32_MAX;
	}
	if (config->arena == NODES) {
		options->nodes = 4;
		options->node_size[0] = 10 * MIB;
		options->node_size[1] = 18 * MIB;
		options->node_size[2] = 16 * MIB;
		options->zone_size[QUIRE_ZONE_MOVABLE] = 12 * MIB;
		options->zone_size[QUIRE_ZONE_DMA32] = 4 * MIB;
		options->cma_size = 4 * MIB;
		options->min_free = MIB;
	}
	/* Zones large enough for a high-atomic reserve. */
	if (config->arena == PRESSURE) {
		options->flags = QUIRE_OFFSETS;
		options->offset = GIB + 3 * MIB + 7 * PAGE;
		options->size = 768 * MIB;
		options->nodes = 2;
		options->zone_size[QUIRE_ZONE_DMA32] = 64 * MIB;
		options->zone_size[QUIRE_ZONE_MOVABLE] = 128 * MIB;
		options->cma_size = 16 * MIB;
		options->min_free = 32 * MIB;
		options->watermark_scale = 100;
	}
	if (config->arena == CALLER) {
		m->region_size = 48 * MIB;
		m->region = mmap(NULL, m->region_size, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
				 -1, 0);
		assert_ptr_not_equal(m->region, MAP_FAILED);
		options->address = (char *)m->region + 5 * PAGE;
		options->size = 41 * MIB + 77 * PAGE;
		options->backing[0] = QUIRE_BACKING_DEFAULT;
	}
}

/* The allocator says where zones are; that they are what was asked for. */
static void check_layout(struct model *m, const struct quire_options *options)
{
	uint64_t pfn = m->first, pages[QUIRE_NR_ZONES] = { 0 };

	for (unsigned z = 0; z < m->nr_zones; z++) {
		const struct zone *zone = &m->zone[z];

		assert_int_equal(zone->first, pfn);
		assert_true(z == 0 ||
			    (pfn % BLOCK == 0 && zone->node >= zone[-1].node));
		assert_true(z == 0 || zone->node > zone[-1].node ||
			    zone->kind > zone[-1].kind);
		assert_true(zone->node < m->info.nodes);
		pages[zone->kind] += zone->end - zone->first;
		pfn = zone->end;
	}
	assert_int_equal(pfn, m->end);
	for (unsigned k = 0; k < QUIRE_NR_ZONES; k++) {
		int64_t asked = (int64_t)(options->zone_size[k] / PAGE);

		/* A cut is where 2 MiB begin. */
		if (k != QUIRE_ZONE_NORMAL)
			assert_true(llabs((int64_t)pages[k] - asked) <
				    (asked ? BLOCK : 1));
	}
}

/* CMA is at the zone's end. */
static void keep_cma(struct model *m, const struct zone *zone, uint64_t pages)
{
	uint64_t end = zone->end & -(uint64_t)BLOCK;

	for (uint64_t pfn = end - pages; pfn < end; pfn += BLOCK)
		*kept_at(m, pfn) = QUIRE_TYPE_CMA;
	m->nr_kept += pages / BLOCK;
}

static void model_layout(struct model *m, const struct quire_options *options)
{
	uint64_t start =
		m->info.address ? (uintptr_t)m->info.address : m->info.offset;

	m->first = m->info.first_pfn;
	m->end = m->first + m->info.pages;
	assert_int_equal(m->info.pages, options->size / PAGE);
	assert_int_equal(m->first, start % GIB / PAGE);
	assert_int_equal(m->info.nodes, options->nodes ? options->nodes : 1);
	m->nr_zones = m->info.zones;
	for (unsigned z = 0; z < m->nr_zones; z++) {
		struct quire_zone_info info = zone_info(m, z);
		struct zone *zone = &m->zone[z];

		*zone = (struct zone){
			.first = info.first_pfn,
			.end = info.first_pfn + info.pages,
			.node = info.node,
			.kind = info.kind,
			.min = info.min,
			.low = info.low,
			.free = info.pages,
		};
		memcpy(zone->reserve, info.reserve, sizeof(zone->reserve));
		keep_cma(m, zone, info.free_type[QUIRE_TYPE_CMA]);
	}
	assert_int_equal(m->nr_kept * BLOCK, options->cma_size / PAGE);
	check_layout(m, options);
	set_distances(m);
}

/* False where this machine cannot do what the case is about. */
static bool model_create(struct model *m, const struct config *config)
{
	struct quire_options options;

	memset(m, 0, sizeof(*m));
	test_messages_init(&m->messages);
	m->rng = test_seed();
	m->rng.state += (uint64_t)config->arena * 4 + config->way;
	m->rng.state += (uint64_t)config->renew << 32;
	m->renew = config->renew != 0;
	options_for(m, config, &options);
	m->q = quire_create(&options);
	if (!m->q && errno == ENOTSUP && config->way == QUIRE_WAY_RSEQ)
		return false;
	assert_non_null(m->q);
	m->messages.count = 0;
	assert_int_equal(quire_info(m->q, &m->info, sizeof(m->info)), 0);
	assert_int_equal(m->info.way, config->way);
	m->state = calloc(m->info.pages, sizeof(m->state[0]));
	m->kept = calloc(m->info.pages / BLOCK + 2, sizeof(m->kept[0]));
	assert_true(m->state && m->kept);
	model_layout(m, &options);
	m->index = calloc(m->info.pages, sizeof(m->index[0]));
	m->live = calloc(m->info.pages, sizeof(m->live[0]));
	assert_true(m->index && m->live);
	assert_int_equal(sched_getaffinity(0, sizeof(m->cpus), &m->cpus), 0);
	if (config->way == QUIRE_WAY_BOUND)
		bind_cpu(m, 0);
	else
		run_on(m, 0); /* its node is not to change inside a call */
	return true;
}

/* What the operations came to, so that a run that tested little is seen. */
static void tell(struct model *m)
{
	struct quire_stat stat;

	assert_int_equal(quire_stat(m->q, &stat, sizeof(stat)), 0);
	printf("# %" PRIu64 " operations: %" PRIu64
	       " blocks handed out, %" PRIu64 " by lists, %" PRIu64
	       " failures, %" PRIu64 " misuses refused\n",
	       m->op, stat.allocs, stat.pcp_allocs, stat.failures,
	       stat.refused);
	printf("# %" PRIu64 " zones foretold, %" PRIu64 " claims, %" PRIu64
	       " steals, %" PRIu64 " timeouts, %" PRIu64 " other refusals\n",
	       m->foretold, stat.claims, stat.steals, stat.timeouts,
	       m->reports);
}

static void model_destroy(struct model *m)
{
	if (m->info.way == QUIRE_WAY_BOUND)
		assert_int_equal(quire_cpu_unbind(m->q), 0);
	assert_int_equal(quire_destroy(m->q), 0);
	assert_int_equal(sched_setaffinity(0, sizeof(m->cpus), &m->cpus), 0);
	if (m->region)
		munmap(m->region, m->region_size);
	free(m->state);
	free(m->kept);
	free(m->index);
	free(m->live);
}

#define WAYS(arena, renew)                                                     \
	{ arena, QUIRE_WAY_RSEQ, renew }, { arena, QUIRE_WAY_TRYLOCK, renew }, \
	{                                                                      \
		arena, QUIRE_WAY_BOUND, renew                                  \
	}

static const struct config configs[] = {
	WAYS(RESERVED, 0), WAYS(CALLER, 0),    WAYS(OFFSETS, 0),
	WAYS(ZONES, 0),	   WAYS(ODD_ZONES, 0), WAYS(NODES, 0),
	WAYS(PRESSURE, 0), WAYS(RESERVED, 16), WAYS(ZONES, 64),
	WAYS(NODES, 32),
};

static void test_model(void **state)
{
	const struct config *config = *state;
	struct model *m = &model;
	uint64_t ops = test_setting("QUIRE_TEST_OPS",
				    TEST_SANITIZED ? 150000 : 3000000);

	ops = ops / TEST_LENGTH(configs) + 1;
	if (!model_create(m, config))
		skip();
	for (m->op = 1; m->op <= ops; m->op++) {
		if (m->op % 1024 == 1)
			new_phase(m);
		do_one(m);
		if (m->op % (ops / 8 + 1) == 0)
			compare_all(m);
	}
	compare_all(m);
	free_everything(m);
	tell(m);
	model_destroy(m);
}

int main(int argc, char **argv)
{
	static const char *const arenas[] = { "reserved",  "caller",
					      "offsets",   "zones",
					      "odd zones", "nodes",
					      "pressure" };
	struct CMUnitTest tests[TEST_LENGTH(configs)];
	char names[TEST_LENGTH(configs)][64];

	for (size_t i = 0; i < TEST_LENGTH(configs); i++) {
		snprintf(names[i], sizeof(names[i]), "model %s %s renew %u",
			 arenas[configs[i].arena],
			 quire_way_name(configs[i].way), configs[i].renew);
		tests[i] = (struct CMUnitTest){
			.name = names[i],
			.test_func = test_model,
			.initial_state = (void *)(uintptr_t)&configs[i],
		};
	}
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
