/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The allocator against a slow, obvious reference: one byte per page and a
 * list of live blocks. Random operations run on both, the answers must agree,
 * and at intervals every table that can be seen is compared.
 *
 * The reference knows no lists and no zones' insides: a page is live or free.
 * So a block handed out must be aligned, in range and wholly free here, and
 * ENOMEM is right only where no aligned free run is left here: pages parked in
 * another CPU's list are no excuse. They are one for EAGAIN.
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

enum { BATCH = 48, BOUND_CPUS = 4 };

enum arena { RESERVED, CALLER, OFFSETS, ZONES, ODD_ZONES };

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

struct model {
	struct quire *q;
	struct quire_info info;
	struct test_rng rng;
	uint64_t op;

	uint64_t first, end; /* pfns */
	unsigned nr_zones;
	uint64_t zone_first[QUIRE_MAX_ZONES + 1]; /* pfns; last: the end */

	uint8_t *state;	 /* by pfn - first */
	uint32_t *index; /* of a head: its place in live */
	struct block *live;
	size_t nr_live;
	uint64_t live_pages;

	uint64_t allocs, frees, failures, refused;

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

/* Whether zones 0 to zone have an aligned free run of this order. */
static bool has_run(struct model *m, unsigned zone, unsigned order)
{
	uint64_t size = 1ull << order;

	for (unsigned z = 0; z <= zone; z++) {
		uint64_t pfn = (m->zone_first[z] + size - 1) & ~(size - 1);

		for (; pfn + size <= m->zone_first[z + 1]; pfn += size)
			if (run_is_free(m, pfn, order))
				return true;
	}
	return false;
}

static void count_runs(struct model *m, uint64_t runs[QUIRE_NR_ORDERS])
{
	memset(runs, 0, QUIRE_NR_ORDERS * sizeof(runs[0]));
	for (unsigned z = 0; z < m->nr_zones; z++) {
		uint64_t pfn = m->zone_first[z];
		uint64_t end = m->zone_first[z + 1];

		while (pfn < end) {
			unsigned order = 0;

			if (*state_of(m, pfn) != FREE) {
				pfn++;
				continue;
			}
			while (order < QUIRE_MAX_ORDER &&
			       pfn % (2ull << order) == 0 &&
			       pfn + (2ull << order) <= end &&
			       run_is_free(m, pfn, order + 1))
				order++;
			runs[order]++;
			pfn += 1ull << order;
		}
	}
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
			    unsigned align, unsigned zone)
{
	uint64_t pfn = quire_page_to_pfn(m->q, page);

	CHECK(m, pfn >= m->first && pfn < m->zone_first[zone + 1],
	      "pfn %" PRIu64 " zone %u", pfn, zone);
	CHECK(m, pfn % (1ull << align) == 0, "pfn %" PRIu64 " order %u", pfn,
	      align);
	CHECK(m, quire_pfn_to_page(m->q, pfn) == page, "pfn %" PRIu64, pfn);
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

static unsigned pick_flags(struct model *m, unsigned order, unsigned *zone)
{
	unsigned flags = below(m, 16) ? 0 : QUIRE_NORETRY;

	if (below(m, 8) == 0)
		flags |= QUIRE_NOLOCK;
	*zone = m->nr_zones - 1;
	if (below(m, 4) == 0) {
		*zone = (unsigned)below(m, m->nr_zones);
		flags |= QUIRE_ZONE(*zone);
	}
	if (m->info.address && below(m, order < 10 ? 8 : 256) == 0)
		flags |= QUIRE_ZERO;
	return flags;
}

/* Of a call that may not drain the lists. */
static bool gives_up_early(unsigned flags)
{
	return flags & (QUIRE_NORETRY | QUIRE_NOLOCK);
}

static int errno_of(unsigned flags)
{
	return flags & QUIRE_NOLOCK ? EAGAIN : ENOMEM;
}

/*
 * Nobody else has the zone locks, so that even a call without waiting may give
 * up only if no zone has a run: what has one is parked.
 */
static void check_given_up(struct model *m, unsigned zone, unsigned order)
{
	uint64_t runs[QUIRE_NR_ORDERS], fit = 0;

	assert_int_equal(quire_free_runs(m->q, runs), 0);
	for (unsigned k = order; k < QUIRE_NR_ORDERS; k++)
		fit += runs[k];
	CHECK(m, fit == 0 || zone + 1 < m->nr_zones,
	      "gave up: order %u, %" PRIu64 " runs", order, fit);
}

static struct quire_page *alloc_somehow(struct model *m, unsigned order,
					unsigned flags)
{
	struct quire_page *page = NULL;
	void *addr;

	errno = 0;
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
	if (!page) {
		CHECK(m, errno == errno_of(flags), "order %u errno %d", order,
		      errno);
		m->failures++;
	}
	return page;
}

static void op_alloc(struct model *m)
{
	unsigned order = pick_order(m);
	unsigned zone;
	unsigned flags = pick_flags(m, order, &zone);
	struct quire_page *page = alloc_somehow(m, order, flags);
	uint64_t pfn;

	if (!page && gives_up_early(flags)) {
		check_given_up(m, zone, order);
		quire_drain_all(m->q);
		page = alloc_somehow(m, order, flags);
	}
	if (!page) {
		CHECK(m, !has_run(m, zone, order),
		      "ENOMEM: order %u zone %u flags 0x%x", order, zone,
		      flags);
		return;
	}
	pfn = checked_pfn(m, page, order, zone);
	CHECK(m, quire_page_flags(page) == 0, "pfn %" PRIu64, pfn);
	if (flags & QUIRE_ZERO)
		check_zero(m, pfn, order);
	model_insert(m, pfn, order);
}

static void op_alloc_bulk(struct model *m)
{
	struct quire_page *pages[BATCH];
	unsigned order = pick_order(m);
	unsigned zone;
	unsigned flags = pick_flags(m, order, &zone);
	size_t n = 1 + below(m, BATCH);
	size_t got;

	if (order > 9)
		order = 0;
	errno = 0;
	got = quire_alloc_pages_bulk(m->q, order, flags, n, pages);
	CHECK(m, got <= n, "%zu of %zu", got, n);
	for (size_t i = 0; i < got; i++) {
		uint64_t pfn = checked_pfn(m, pages[i], order, zone);

		if (flags & QUIRE_ZERO)
			check_zero(m, pfn, order);
		model_insert(m, pfn, order);
	}
	if (got == n)
		return;
	CHECK(m, errno == errno_of(flags), "%zu of %zu, errno %d", got, n,
	      errno);
	m->failures++;
	if (gives_up_early(flags))
		check_given_up(m, zone, order);
	CHECK(m, gives_up_early(flags) || !has_run(m, zone, order),
	      "%zu of %zu, order %u zone %u", got, n, order, zone);
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
	unsigned zone;
	unsigned flags = pick_flags(m, order, &zone) & ~QUIRE_NORETRY;
	struct quire_page *page;
	uint64_t pfn;

	errno = 0;
	page = quire_alloc_exact(m->q, n, flags);
	if (!page) {
		CHECK(m, errno == errno_of(flags),
		      "%" PRIu64 " pages, errno %d", n, errno);
		if (gives_up_early(flags))
			check_given_up(m, zone, order);
		CHECK(m, gives_up_early(flags) || !has_run(m, zone, order),
		      "ENOMEM: %" PRIu64 " pages, zone %u", n, zone);
		m->failures++;
		return;
	}
	pfn = checked_pfn(m, page, order, zone);
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
	CHECK(m, m->messages.count == m->refused, "%zu messages, last: %s",
	      m->messages.count, m->messages.text[0]);
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
	violations = quire_validate(m->q);
	CHECK(m, violations == 0, "%d violations", violations);
	/* Keep room for what the next violation would say. */
	m->messages.count = m->refused;
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

/* Goes on as another CPU, leaving pages in the lists of this one. */
static void op_move(struct model *m)
{
	cpu_set_t one;
	size_t cpu;

	if (m->info.way == QUIRE_WAY_BOUND) {
		assert_int_equal(quire_cpu_unbind(m->q), 0);
		if (below(m, 8) == 0)
			op_alloc(m);
		bind_cpu(m, (unsigned)below(m, BOUND_CPUS));
		return;
	}
	cpu = below(m, CPU_SETSIZE);
	while (!CPU_ISSET(cpu, &m->cpus))
		cpu = (cpu + 1) % CPU_SETSIZE;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
}

static void op_rare(struct model *m)
{
	switch (below(m, 6)) {
	case 0:
		assert_int_equal(quire_drain_all(m->q), 0);
		break;
	case 1:
		assert_true(quire_maintain(m->q) >= 0);
		break;
	case 2:
		op_look(m);
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
	default:
		op_alloc(m);
		break;
	}
}

static void do_one(struct model *m)
{
	uint64_t dice = below(m, 1000);

	if (dice < 4)
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
		options->nr_zones = 3;
		options->zone_size[0] = 2 * MIB;
		options->zone_size[1] = 14 * MIB;
	}
	if (config->arena == ODD_ZONES) {
		options->flags = QUIRE_OFFSETS;
		options->offset = GIB - 9 * MIB - 201 * PAGE;
		options->size = 40 * MIB + 5 * PAGE;
		options->nr_zones = 4;
		options->zone_size[0] = 2 * MIB;
		options->zone_size[1] = 8 * MIB;
		options->zone_size[2] = 4 * MIB;
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

static void model_layout(struct model *m, const struct quire_options *options)
{
	uint64_t start =
		m->info.address ? (uintptr_t)m->info.address : m->info.offset;
	uint64_t pfn;

	m->first = m->info.first_pfn;
	m->end = m->first + m->info.pages;
	assert_int_equal(m->info.pages, options->size / PAGE);
	assert_int_equal(m->first, start % GIB / PAGE);
	m->nr_zones = m->info.nr_zones;
	pfn = m->first;
	for (unsigned z = 0; z < m->nr_zones; z++) {
		m->zone_first[z] = pfn;
		/* Zones meet at multiples of 2 MiB. */
		pfn += options->zone_size[z] / PAGE + 511;
		pfn -= pfn % 512;
	}
	m->zone_first[m->nr_zones] = m->end;
}

/* False where this machine cannot do what the case is about. */
static bool model_create(struct model *m, const struct config *config)
{
	struct quire_options options;

	memset(m, 0, sizeof(*m));
	pthread_mutex_init(&m->messages.lock, NULL);
	m->rng = test_seed();
	m->rng.state += (uint64_t)config->arena * 4 + config->way;
	m->rng.state += (uint64_t)config->renew << 32;
	options_for(m, config, &options);
	m->q = quire_create(&options);
	if (!m->q && errno == ENOTSUP && config->way == QUIRE_WAY_RSEQ)
		return false;
	assert_non_null(m->q);
	m->messages.count = 0;
	assert_int_equal(quire_info(m->q, &m->info, sizeof(m->info)), 0);
	assert_int_equal(m->info.way, config->way);
	model_layout(m, &options);
	m->state = calloc(m->info.pages, sizeof(m->state[0]));
	m->index = calloc(m->info.pages, sizeof(m->index[0]));
	m->live = calloc(m->info.pages, sizeof(m->live[0]));
	assert_true(m->state && m->index && m->live);
	assert_int_equal(sched_getaffinity(0, sizeof(m->cpus), &m->cpus), 0);
	if (config->way == QUIRE_WAY_BOUND)
		bind_cpu(m, 0);
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
	WAYS(ZONES, 0),	   WAYS(ODD_ZONES, 0), WAYS(RESERVED, 16),
	WAYS(ZONES, 64),
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
	static const char *const arenas[] = { "reserved", "caller", "offsets",
					      "zones", "odd zones" };
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
