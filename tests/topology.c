/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Nodes, zones and mobility as callers see them.
 *
 * quire_set_mobility() is all or nothing: with a live block of order 9 or more
 * anywhere in the range no block of it changes, and neither does a word of a
 * live page. The one exception: somebody allocates one of the blocks whole
 * after it was looked at; blocks before it, or all, have their new type then. A
 * block in a per-CPU list, or on its way back to the system, is not live: it
 * never is the reason of EBUSY.
 */
#include "testing.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>

#include "instance/allocator.h"
#include "quire/quire.h"

#define MIB (UINT64_C(1) << 20)
/* Of an arena of 32 MiB, at a multiple of 2 MiB. */
enum { BLOCK = 512, BLOCKS = 16, PAGES = BLOCKS * BLOCK };

static struct test_messages messages;
static struct quire_page *pages[2 * PAGES];

static int setup(void **state)
{
	(void)state;
	return test_begin(&messages);
}

static struct quire_options small_options(void)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;

	options.size = PAGES * QUIRE_PAGE_SIZE;
	options.backing[0] = QUIRE_BACKING_BASE;
	options.report = test_catch;
	options.report_arg = &messages;
	return options;
}

static struct quire *create(const struct quire_options *options)
{
	struct quire *q = quire_create(options);

	assert_non_null(q);
	return q;
}

static struct quire *create_small(void)
{
	struct quire_options options = small_options();

	return create(&options);
}

static void check_sound(struct quire *q)
{
	if (quire_validate(q) != 0)
		fail_msg("%s", messages.text[0]);
}

static void destroy(struct quire *q)
{
	check_sound(q);
	assert_int_equal(quire_destroy(q), 0);
}

static struct quire_info info_of(const struct quire *q)
{
	struct quire_info info;

	assert_int_equal(quire_info(q, &info, sizeof(info)), 0);
	return info;
}

static struct quire_stat stat_of(const struct quire *q)
{
	struct quire_stat stat;

	assert_int_equal(quire_stat(q, &stat, sizeof(stat)), 0);
	return stat;
}

static struct quire_zone_info zone_of(const struct quire *q, unsigned n)
{
	struct quire_zone_info info;

	assert_int_equal(quire_zone_info(q, n, &info, sizeof(info)), 0);
	return info;
}

static uint64_t first_pfn(const struct quire *q)
{
	return info_of(q).first_pfn;
}

/* Blocks count from the one that the region starts in. */
static int set_blocks(struct quire *q, unsigned first, unsigned n,
		      enum quire_mobility type)
{
	uint64_t start = first_pfn(q) / BLOCK * BLOCK;

	return quire_set_mobility(q, start + first * BLOCK, n * BLOCK, type);
}

static int mobility(const struct quire *q, unsigned block)
{
	uint64_t pfn = first_pfn(q) / BLOCK * BLOCK + block * BLOCK;

	return quire_mobility(q, pfn < first_pfn(q) ? first_pfn(q) : pfn);
}

static unsigned block_of(const struct quire *q, const struct quire_page *page)
{
	return (unsigned)(quire_page_to_pfn(q, page) / BLOCK -
			  first_pfn(q) / BLOCK);
}

static struct quire_page *alloc(struct quire *q, unsigned order, unsigned flags)
{
	struct quire_page *page = quire_alloc_pages(q, order, flags);

	assert_non_null(page);
	return page;
}

static void release(struct quire *q, struct quire_page *page, unsigned order)
{
	assert_int_equal(quire_free_pages(q, page, order), 0);
}

/* Single pages until there are none; returns how many. */
static size_t alloc_all(struct quire *q, unsigned flags)
{
	size_t n = 0;

	while (n < TEST_LENGTH(pages) &&
	       (pages[n] = quire_alloc_pages(q, 0, flags)))
		n++;
	assert_true(n < TEST_LENGTH(pages));
	assert_int_equal(errno, ENOMEM);
	return n;
}

static void free_all(struct quire *q, size_t n)
{
	for (size_t i = 0; i < n; i++)
		release(q, pages[i], 0);
}

static size_t count_in(const struct quire *q, size_t n, unsigned first,
		       unsigned end)
{
	size_t count = 0;

	for (size_t i = 0; i < n; i++)
		count += block_of(q, pages[i]) >= first &&
			 block_of(q, pages[i]) < end;
	return count;
}

/* --- nodes --- */

static struct quire *create_nodes(unsigned nodes, enum quire_way way)
{
	struct quire_options options = small_options();

	options.nodes = nodes;
	options.way = way;
	return create(&options);
}

static void refuses_distances(struct quire *q, const uint8_t *distances,
			      const char *why)
{
	messages.count = 0;
	errno = 0;
	assert_int_equal(quire_set_distances(q, distances), -1);
	assert_int_equal(errno, EINVAL);
	assert_told(&messages, why);
	assert_int_equal(quire_distance(q, 0, 1), 20);
}

static void test_distances(void **state)
{
	static const uint8_t good[] = { 10, 11, 90, 11, 10, 255, 90, 255, 10 };
	uint8_t bad[9];
	struct quire *q = create_nodes(3, QUIRE_WAY_DEFAULT);

	(void)state;
	refuses_distances(q, NULL, "set_distances: no distances given");
	memcpy(bad, good, sizeof(bad));
	bad[8] = 11;
	refuses_distances(q, bad, "[2][2] 11");
	memcpy(bad, good, sizeof(bad));
	bad[1] = 12;
	refuses_distances(q, bad, "[0][1] 12");
	bad[1] = bad[3] = 9;
	refuses_distances(q, bad, "[0][1] 9");
	assert_int_equal(quire_set_distances(q, good), 0);
	for (unsigned i = 0; i < 9; i++)
		assert_int_equal(quire_distance(q, i / 3, i % 3), good[i]);
	errno = 0;
	assert_int_equal(quire_distance(q, 3, 0), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(quire_distance(q, 0, 3), -1);
	destroy(q);
}

/* Who cannot have a page of the node itself gets one of the nearest. */
static void test_distances_order(void **state)
{
	uint8_t distances[] = { 10, 30, 20, 30, 10, 20, 20, 20, 10 };
	struct quire *q = create_nodes(3, QUIRE_WAY_DEFAULT);
	struct quire_page *page;
	size_t n = 0;

	(void)state;
	while ((pages[n] = quire_alloc_pages(q, 0,
					     QUIRE_NODE(0) | QUIRE_THISNODE)))
		n++;
	assert_int_equal(quire_set_distances(q, distances), 0);
	page = alloc(q, 0, QUIRE_NODE(0));
	assert_int_equal(quire_page_node(q, page), 2);
	release(q, page, 0);
	distances[1] = distances[3] = 15;
	assert_int_equal(quire_set_distances(q, distances), 0);
	page = alloc(q, 0, QUIRE_NODE(0));
	assert_int_equal(quire_page_node(q, page), 1);
	release(q, page, 0);
	free_all(q, n);
	destroy(q);
}

static void test_page_node(void **state)
{
	struct quire_options options = small_options();
	uint64_t first;
	struct quire *q;
	int here;

	(void)state;
	options.nodes = 3;
	options.node_size[0] = 6 * MIB;
	options.node_size[1] = 16 * MIB;
	options.zone_size[QUIRE_ZONE_MOVABLE] = 12 * MIB;
	q = create(&options);
	first = first_pfn(q);
	for (uint64_t i = 0; i < PAGES; i += 7)
		assert_int_equal(
			quire_page_node(q, quire_pfn_to_page(q, first + i)),
			i < 3 * BLOCK	 ? 0
			: i < 11 * BLOCK ? 1
					 : 2);
	errno = 0;
	assert_int_equal(quire_page_node(q, (struct quire_page *)&here), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(quire_page_node(q, NULL), -1);
	destroy(q);
}

static unsigned odd_node(void *arg, unsigned cpu)
{
	(void)arg;
	return (cpu + 1) % 3;
}

static void check_this_node(struct quire *q)
{
	cpu_set_t before, one;

	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &before))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
		assert_int_equal(quire_this_node(q), (cpu + 1) % 3);
	}
	assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
}

static void test_this_node(void **state)
{
	static const enum quire_way ways[] = { QUIRE_WAY_DEFAULT,
					       QUIRE_WAY_TRYLOCK,
					       QUIRE_WAY_BOUND };

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(ways); i++) {
		struct quire_options options = small_options();
		struct quire *q;

		options.nodes = 3;
		options.way = ways[i];
		options.cpu_node = odd_node;
		options.cpus = ways[i] == QUIRE_WAY_BOUND ? 7 : 0;
		q = create(&options);
		check_this_node(q);
		for (unsigned cpu = 0; ways[i] == QUIRE_WAY_BOUND && cpu < 7;
		     cpu++) {
			assert_int_equal(quire_cpu_bind(q, cpu), 0);
			assert_int_equal(quire_this_node(q), (cpu + 1) % 3);
			assert_int_equal(quire_cpu_unbind(q), 0);
		}
		destroy(q);
	}
}

static void test_this_node_of_one(void **state)
{
	struct quire *q = create_small();

	(void)state;
	assert_int_equal(quire_this_node(q), 0);
	destroy(q);
}

/* --- threads --- */

struct crew {
	struct quire *q;
	_Atomic bool stop;
	_Atomic uint64_t done;
	pthread_t thread[3];
	unsigned nr;
};

static void crew_start(struct crew *crew, struct quire *q, unsigned nr,
		       void *(*run)(void *))
{
	crew->q = q;
	crew->nr = nr;
	atomic_store(&crew->stop, false);
	atomic_store(&crew->done, 0);
	for (unsigned i = 0; i < nr; i++)
		assert_int_equal(
			pthread_create(&crew->thread[i], NULL, run, crew), 0);
}

static void crew_stop(struct crew *crew)
{
	atomic_store(&crew->stop, true);
	for (unsigned i = 0; i < crew->nr; i++)
		assert_int_equal(pthread_join(crew->thread[i], NULL), 0);
}

/* From every node in turn, which always has some. */
static void *read_lists(void *arg)
{
	struct crew *crew = arg;
	struct quire *q = crew->q;

	for (unsigned i = 0; !atomic_load(&crew->stop); i++) {
		unsigned order = i % 4;
		struct quire_page *page =
			quire_alloc_pages(q, order, QUIRE_NODE(i % 4));

		if (!page || quire_free_pages(q, page, order) != 0 ||
		    quire_distance(q, i % 4, i % 4) != 10)
			abort();
		atomic_fetch_add(&crew->done, 1);
	}
	return NULL;
}

static void test_distances_under_readers(void **state)
{
	struct test_rng rng = test_seed();
	struct quire *q = create_nodes(4, QUIRE_WAY_DEFAULT);
	struct crew crew;
	unsigned builds = 0;

	(void)state;
	crew_start(&crew, q, 2, read_lists);
	while (builds < 500 || atomic_load(&crew.done) < 1000) {
		uint8_t d[16];

		for (unsigned i = 0; i < 16; i++)
			d[i] = i / 4 == i % 4
				       ? 10
				       : (uint8_t)(11 + test_below(&rng, 200));
		for (unsigned i = 0; i < 16; i++)
			d[i % 4 * 4 + i / 4] = d[i];
		assert_int_equal(quire_set_distances(q, d), 0);
		builds++;
	}
	crew_stop(&crew);
	assert_int_equal(messages.count, 0);
	destroy(q);
}

/* --- what is refused --- */

static void refuses(struct quire *q, uint64_t pfn, uint64_t n, unsigned type,
		    const char *values)
{
	struct quire_zone_info before = zone_of(q, 0), after;

	messages.count = 0;
	errno = 0;
	assert_int_equal(
		quire_set_mobility(q, pfn, n, (enum quire_mobility)type), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(messages.count, 1);
	assert_told(&messages, values);
	after = zone_of(q, 0);
	assert_memory_equal(&before, &after, sizeof(before));
	messages.count = 0;
	check_sound(q);
}

static void test_refused(void **state)
{
	struct quire *q = create_small();
	uint64_t first = first_pfn(q), end = first + PAGES;
	char text[64];

	(void)state;
	refuses(q, first, BLOCK, QUIRE_NR_TYPES, "type 6 (unknown): not a");
	refuses(q, first, BLOCK, 77, "type 77 (unknown)");
	refuses(q, first, BLOCK, QUIRE_TYPE_HIGHATOMIC,
		"type 3 (highatomic): not a type to be set");
	refuses(q, first, 0, QUIRE_TYPE_CMA, ", 0 pages, type 4 (cma)");
	refuses(q, first, 511, QUIRE_TYPE_CMA, ", 511 pages");
	refuses(q, first + 1, BLOCK, QUIRE_TYPE_CMA, ", 512 pages");
	refuses(q, first, PAGES + BLOCK, QUIRE_TYPE_CMA, ", 8704 pages");
	refuses(q, first + BLOCK, PAGES, QUIRE_TYPE_CMA, ", 8192 pages");
	refuses(q, first, UINT64_MAX / BLOCK * BLOCK, QUIRE_TYPE_CMA,
		"not whole 2 MiB blocks");
	if (first)
		refuses(q, first - BLOCK, BLOCK, QUIRE_TYPE_CMA, "not whole");
	refuses(q, end, BLOCK, QUIRE_TYPE_CMA, "not whole");
	snprintf(text, sizeof(text), "pfn %u to %u)", (unsigned)first,
		 (unsigned)end);
	refuses(q, end + BLOCK, BLOCK, QUIRE_TYPE_ISOLATED, text);
	refuses(q, end + 1000 * BLOCK, BLOCK, QUIRE_TYPE_ISOLATED, text);
	refuses(q, (UINT64_C(1) << 40), BLOCK, QUIRE_TYPE_ISOLATED, text);
	refuses(q, UINT64_MAX / BLOCK * BLOCK, BLOCK, QUIRE_TYPE_ISOLATED,
		text);
	errno = 0;
	assert_int_equal(quire_mobility(q, end), -1);
	assert_int_equal(errno, EINVAL);
	destroy(q);
}

/* Counts, types of blocks, and the words of all pages. */
struct picture {
	struct quire_zone_info zone;
	int type[BLOCKS];
	uint64_t word[PAGES];
};

static void take_picture(struct quire *q, struct picture *picture)
{
	picture->zone = zone_of(q, 0);
	for (unsigned b = 0; b < BLOCKS; b++)
		picture->type[b] = mobility(q, b);
	for (unsigned i = 0; i < PAGES; i++)
		picture->word[i] =
			page_word(quire_pfn_to_page(q, first_pfn(q) + i));
}

static void check_busy(struct quire *q, unsigned order)
{
	static struct picture before, after;
	struct quire_page *live = alloc(q, order, 0);
	const unsigned at = block_of(q, live);
	const unsigned n = 1u << (order - 9);

	assert_int_equal(quire_drain_all(q), 0);
	take_picture(q, &before);
	for (unsigned type = 0; type < QUIRE_NR_TYPES; type++) {
		if (type == QUIRE_TYPE_HIGHATOMIC)
			continue;
		messages.count = 0;
		errno = 0;
		assert_int_equal(set_blocks(q, 0, BLOCKS, type), -1);
		assert_int_equal(errno, EBUSY);
		assert_told(&messages, "8192 pages, type");
		assert_int_equal(set_blocks(q, at + n - 1, 1, type), -1);
		take_picture(q, &after);
		assert_memory_equal(&before, &after, sizeof(before));
	}
	messages.count = 0;
	release(q, live, order);
	/* Parked, perhaps; not live. */
	assert_int_equal(set_blocks(q, at, n, QUIRE_TYPE_CMA), 0);
	assert_int_equal(set_blocks(q, at, n, QUIRE_TYPE_MOVABLE), 0);
}

static void test_busy(void **state)
{
	struct quire *q = create_small();
	struct quire_page *page[3];

	(void)state;
	/* Pages of three types, in blocks before the busy one. */
	page[0] = alloc(q, 0, 0);
	page[1] = alloc(q, 2, QUIRE_MOVABLE);
	page[2] = alloc(q, 8, QUIRE_RECLAIMABLE);
	for (unsigned order = 9; order <= 12; order++)
		check_busy(q, order);
	release(q, page[0], 0);
	release(q, page[1], 2);
	release(q, page[2], 8);
	destroy(q);
}

/* --- isolation --- */

static void test_isolate(void **state)
{
	struct quire *q = create_small();
	size_t n, inside;

	(void)state;
	n = alloc_all(q, 0);
	assert_int_equal(n, PAGES);
	/* Of blocks 4 to 7 every other page is live, and many are parked. */
	for (size_t i = 0; i < n; i++)
		if (block_of(q, pages[i]) >= 4 && block_of(q, pages[i]) < 8 &&
		    quire_page_to_pfn(q, pages[i]) % 2) {
			release(q, pages[i], 0);
			pages[i--] = pages[--n];
		}
	inside = count_in(q, n, 4, 8);
	assert_int_equal(inside, 2 * BLOCK);
	assert_int_equal(set_blocks(q, 4, 4, QUIRE_TYPE_ISOLATED), 0);
	for (unsigned b = 4; b < 8; b++)
		assert_int_equal(mobility(q, b), QUIRE_TYPE_ISOLATED);
	assert_int_equal(stat_of(q).pages_parked, 0);
	assert_int_equal(zone_of(q, 0).free_type[QUIRE_TYPE_ISOLATED],
			 2 * BLOCK);
	assert_int_equal(zone_of(q, 0).free, 2 * BLOCK);
	/* Nobody gets them, by whatever call. */
	assert_null(quire_alloc_pages(q, 0, 0));
	assert_null(quire_alloc_pages(q, 0, QUIRE_MOVABLE | QUIRE_CMA));
	assert_null(quire_alloc_pages(q, 0, QUIRE_ATOMIC | QUIRE_HIGH));
	assert_null(quire_alloc_pages(q, 0, QUIRE_MEMALLOC));
	assert_null(quire_alloc_pages(q, 0, QUIRE_NOLOCK));
	assert_null(quire_alloc_exact(q, 1, 0));
	check_sound(q);
	/* Live ones that come back pass by the lists. */
	for (size_t i = 0; i < n; i++)
		if (block_of(q, pages[i]) >= 4 && block_of(q, pages[i]) < 8) {
			release(q, pages[i], 0);
			pages[i--] = pages[--n];
			assert_int_equal(stat_of(q).pages_parked, 0);
		}
	assert_int_equal(zone_of(q, 0).free_type[QUIRE_TYPE_ISOLATED],
			 4 * BLOCK);
	assert_null(quire_alloc_pages(q, 0, 0));
	/* Two of them come back, of a type; two stay. */
	assert_int_equal(set_blocks(q, 5, 2, QUIRE_TYPE_MOVABLE), 0);
	assert_int_equal(mobility(q, 4), QUIRE_TYPE_ISOLATED);
	assert_int_equal(mobility(q, 5), -1);
	assert_int_equal(zone_of(q, 0).free_whole, 2 * BLOCK);
	free_all(q, n);
	assert_int_equal(alloc_all(q, 0), PAGES - 2 * BLOCK);
	assert_int_equal(count_in(q, PAGES - 2 * BLOCK, 4, 5), 0);
	assert_int_equal(count_in(q, PAGES - 2 * BLOCK, 7, 8), 0);
	free_all(q, PAGES - 2 * BLOCK);
	assert_int_equal(set_blocks(q, 0, BLOCKS, QUIRE_TYPE_UNMOVABLE), 0);
	n = alloc_all(q, 0);
	assert_int_equal(n, PAGES);
	free_all(q, n);
	destroy(q);
}

/* Pages live in an isolated block when it comes back have the new type. */
static void test_back_with_live(void **state)
{
	struct quire *q = create_small();
	struct quire_page *page = alloc(q, 3, 0), *flagged = alloc(q, 0, 0);
	unsigned at = block_of(q, page);

	(void)state;
	quire_page_set_flags(flagged, 0xa5);
	assert_int_equal(quire_page_get(q, flagged), 0);
	assert_int_equal(set_blocks(q, at, 1, QUIRE_TYPE_ISOLATED), 0);
	assert_int_equal(quire_page_flags(flagged), 0xa5);
	/* No head: no word. */
	assert_int_equal(page_word(page + 1), 0);
	assert_int_equal(page_word(page + 100), 0);
	assert_int_equal(quire_page_count(q, flagged), 2);
	assert_int_equal(set_blocks(q, at, 1, QUIRE_TYPE_RECLAIMABLE), 0);
	assert_int_equal(mobility(q, at), QUIRE_TYPE_RECLAIMABLE);
	assert_int_equal(zone_of(q, 0).free_type[QUIRE_TYPE_RECLAIMABLE],
			 BLOCK - 9);
	assert_int_equal(page_type(page_word(page)), QUIRE_TYPE_RECLAIMABLE);
	assert_int_equal(quire_page_put(q, flagged), 0);
	release(q, flagged, 0);
	release(q, page, 3);
	check_sound(q);
	assert_int_equal(quire_drain_all(q), 0);
	assert_int_equal(mobility(q, at), -1);
	assert_int_equal(zone_of(q, 0).free_whole, PAGES);
	destroy(q);
}

static void test_whole_blocks(void **state)
{
	struct quire *q = create_small();

	(void)state;
	for (unsigned type = 0; type < QUIRE_NR_TYPES; type++) {
		uint64_t zeroed = stat_of(q).zeroed;
		char *text;

		if (type == QUIRE_TYPE_HIGHATOMIC)
			continue;
		assert_int_equal(set_blocks(q, 1, BLOCKS - 1, type), 0);
		for (unsigned b = 1; b < BLOCKS; b++)
			assert_int_equal(mobility(q, b),
					 type < 3 ? -1 : (int)type);
		assert_int_equal(mobility(q, 0), -1);
		assert_int_equal(stat_of(q).pages_free, PAGES);
		assert_int_equal(zone_of(q, 0).free_whole,
				 type < 3 ? PAGES : BLOCK);
		if (type >= 3)
			assert_int_equal(zone_of(q, 0).free_type[type],
					 PAGES - BLOCK);
		check_sound(q);
		assert_int_equal(set_blocks(q, 0, BLOCKS, QUIRE_TYPE_MOVABLE),
				 0);
		assert_int_equal(zone_of(q, 0).free_whole, PAGES);
		/* Zero is zero, known or not. */
		text = quire_alloc_addr(q, 13, QUIRE_ZERO);
		assert_non_null(text);
		assert_int_equal(stat_of(q).zeroed - zeroed,
				 type < 3 ? 0 : PAGES);
		for (size_t i = 0; i < PAGES * QUIRE_PAGE_SIZE; i += 997)
			assert_int_equal(text[i], 0);
		assert_int_equal(quire_free_addr(q, text, 13), 0);
		assert_int_equal(quire_drain_all(q), 0);
		destroy(q);
		q = create_small();
	}
	destroy(q);
}

static void test_cma(void **state)
{
	struct quire *q = create_small();
	size_t n;

	(void)state;
	assert_int_equal(set_blocks(q, 2, 3, QUIRE_TYPE_CMA), 0);
	n = alloc_all(q, QUIRE_MOVABLE);
	assert_int_equal(n, PAGES - 3 * BLOCK);
	assert_int_equal(count_in(q, n, 2, 5), 0);
	free_all(q, n);
	n = alloc_all(q, QUIRE_MOVABLE | QUIRE_CMA);
	assert_int_equal(n, PAGES);
	assert_int_equal(count_in(q, n, 2, 5), 3 * BLOCK);
	/* From CMA to isolated, with all of them live. */
	assert_int_equal(set_blocks(q, 2, 3, QUIRE_TYPE_ISOLATED), 0);
	free_all(q, n);
	assert_int_equal(zone_of(q, 0).free_type[QUIRE_TYPE_ISOLATED],
			 3 * BLOCK);
	assert_int_equal(zone_of(q, 0).free_type[QUIRE_TYPE_CMA], 0);
	assert_int_equal(set_blocks(q, 2, 3, QUIRE_TYPE_CMA), 0);
	assert_int_equal(zone_of(q, 0).free_type[QUIRE_TYPE_CMA], 3 * BLOCK);
	assert_int_equal(set_blocks(q, 0, BLOCKS, QUIRE_TYPE_MOVABLE), 0);
	destroy(q);
}

/* A region that neither starts nor ends with a block. */
static void test_odd_ends(void **state)
{
	struct quire_options options = small_options();
	const uint64_t count = 5 * BLOCK - 37 - 200;
	struct quire_page *page;
	struct quire *q;
	uint64_t first;
	size_t n;

	(void)state;
	options.address = NULL;
	options.flags = QUIRE_OFFSETS;
	options.backing[0] = QUIRE_BACKING_DEFAULT;
	options.offset = (3 * BLOCK + 37) * QUIRE_PAGE_SIZE;
	options.size = count * QUIRE_PAGE_SIZE;
	q = create(&options);
	first = first_pfn(q);
	assert_int_equal(first % BLOCK, 37);
	page = alloc(q, 0, 0);
	refuses(q, first - 37 - BLOCK, BLOCK, QUIRE_TYPE_CMA, "not whole");
	refuses(q, first - 37, 6 * BLOCK, QUIRE_TYPE_CMA, "not whole");
	refuses(q, first - 37 + 5 * BLOCK, BLOCK, QUIRE_TYPE_CMA, "not whole");
	assert_int_equal(set_blocks(q, 0, 5, QUIRE_TYPE_ISOLATED), 0);
	for (unsigned b = 0; b < 5; b++)
		assert_int_equal(mobility(q, b), QUIRE_TYPE_ISOLATED);
	assert_int_equal(quire_mobility(q, first - 1), -1);
	assert_int_equal(quire_mobility(q, first + count - 1),
			 QUIRE_TYPE_ISOLATED);
	assert_int_equal(zone_of(q, 0).free_type[QUIRE_TYPE_ISOLATED],
			 count - 1);
	assert_null(quire_alloc_pages(q, 0, 0));
	check_sound(q);
	release(q, page, 0);
	check_sound(q);
	/* The ends come back one by one. */
	assert_int_equal(set_blocks(q, 4, 1, QUIRE_TYPE_MOVABLE), 0);
	n = alloc_all(q, 0);
	assert_int_equal(n, BLOCK - 200);
	free_all(q, n);
	assert_int_equal(set_blocks(q, 0, 1, QUIRE_TYPE_UNMOVABLE), 0);
	n = alloc_all(q, 0);
	assert_int_equal(n, 2 * BLOCK - 37 - 200);
	free_all(q, n);
	assert_int_equal(set_blocks(q, 0, 5, QUIRE_TYPE_MOVABLE), 0);
	assert_int_equal(zone_of(q, 0).free_whole, 3 * BLOCK);
	n = alloc_all(q, 0);
	assert_int_equal(n, count);
	free_all(q, n);
	destroy(q);
}

/* Private words lie behind the pages' words, and may look like them. */
static void test_beyond_end(void **state)
{
	struct quire_options options = small_options();
	struct quire *q;
	size_t n;

	(void)state;
	options.flags = QUIRE_OFFSETS;
	options.backing[0] = QUIRE_BACKING_DEFAULT;
	options.offset = 300 * QUIRE_PAGE_SIZE;
	options.size = (4 * BLOCK - 200) * QUIRE_PAGE_SIZE;
	q = create(&options);
	n = alloc_all(q, 0);
	assert_int_equal(n, 4 * BLOCK - 200);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(quire_page_set_private(q, pages[i], PAGE_HEAD),
				 0);
	assert_int_equal(set_blocks(q, 0, 5, QUIRE_TYPE_ISOLATED), 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(quire_page_private(q, pages[i]), PAGE_HEAD);
	free_all(q, n);
	destroy(q);
}

static void test_mobility(void **state)
{
	struct quire *q = create_small();
	struct quire_page *page[4];

	(void)state;
	page[0] = alloc(q, 5, 0);
	page[1] = alloc(q, 5, QUIRE_MOVABLE);
	page[2] = alloc(q, 5, QUIRE_RECLAIMABLE);
	page[3] = alloc(q, 9, 0);
	assert_int_equal(mobility(q, block_of(q, page[0])),
			 QUIRE_TYPE_UNMOVABLE);
	assert_int_equal(mobility(q, block_of(q, page[1])), QUIRE_TYPE_MOVABLE);
	assert_int_equal(mobility(q, block_of(q, page[2])),
			 QUIRE_TYPE_RECLAIMABLE);
	assert_int_equal(mobility(q, block_of(q, page[3])), -1);
	for (unsigned i = 0; i < 4; i++)
		release(q, page[i], i < 3 ? 5 : 9);
	assert_int_equal(quire_drain_all(q), 0);
	for (unsigned b = 0; b < BLOCKS; b++)
		assert_int_equal(mobility(q, b), -1);
	destroy(q);
}

/* --- zones --- */

static void check_zones(struct quire *q)
{
	uint64_t sum = 0, at = first_pfn(q), end = at;

	assert_int_equal(quire_drain_all(q), 0);
	for (unsigned n = 0; n < info_of(q).zones; n++) {
		struct quire_zone_info info = zone_of(q, n);
		uint64_t free = info.free_whole;

		for (unsigned type = 0; type < QUIRE_NR_TYPES; type++)
			free += info.free_type[type];
		assert_int_equal(free, info.free);
		assert_true(info.free <= info.pages);
		assert_int_equal(quire_page_node(q, quire_pfn_to_page(
							    q, info.first_pfn)),
				 info.node);
		assert_int_equal(info.free_whole % BLOCK, 0);
		sum += info.free;
		end += info.pages;
	}
	assert_int_equal(end - at, info_of(q).pages);
	assert_int_equal(sum, stat_of(q).pages_free);
}

static void test_zone_info(void **state)
{
	static const unsigned flags[] = { 0,
					  QUIRE_MOVABLE,
					  QUIRE_RECLAIMABLE,
					  QUIRE_DEVICE,
					  QUIRE_DMA32,
					  QUIRE_MOVABLE | QUIRE_CMA };
	struct quire_options options = small_options();
	struct test_rng rng = test_seed();
	struct quire_zone_info info, part;
	unsigned order[100];
	struct quire *q;
	unsigned n = 0;

	(void)state;
	options.nodes = 2;
	options.zone_size[QUIRE_ZONE_DMA32] = 4 * MIB;
	options.zone_size[QUIRE_ZONE_MOVABLE] = 8 * MIB;
	options.zone_size[QUIRE_ZONE_DEVICE] = 4 * MIB;
	options.cma_size = 4 * MIB;
	q = create(&options);
	check_zones(q);
	for (unsigned i = 0; i < 2000; i++) {
		if (n < 100 && test_below(&rng, 2)) {
			order[n] = (unsigned)test_below(&rng, 9);
			pages[n] = quire_alloc_pages(
				q, order[n],
				flags[test_below(&rng, TEST_LENGTH(flags))]);
			n += pages[n] != NULL;
		} else if (n) {
			unsigned at = (unsigned)test_below(&rng, n);

			release(q, pages[at], order[at]);
			pages[at] = pages[--n];
			order[at] = order[n];
		}
		if (i % 50 == 0)
			check_zones(q);
	}
	while (n--)
		release(q, pages[n], order[n]);
	check_zones(q);
	errno = 0;
	assert_int_equal(
		quire_zone_info(q, info_of(q).zones, &info, sizeof(info)), -1);
	assert_int_equal(errno, EINVAL);
	/* A caller with a smaller struct, and one with a larger. */
	info = zone_of(q, 0);
	memset(&part, 0x5a, sizeof(part));
	assert_int_equal(quire_zone_info(q, 0, &part, 24), 0);
	assert_memory_equal(&info, &part, 24);
	assert_int_equal(((char *)&part)[24], 0x5a);
	{
		char large[sizeof(info) + 8];

		memset(large, 0x5a, sizeof(large));
		assert_int_equal(
			quire_zone_info(q, 0, (void *)large, sizeof(large)), 0);
		assert_int_equal(large[sizeof(info)], 0);
	}
	destroy(q);
}

/* --- others at work --- */

static void nap_ms(long ms)
{
	const struct timespec nap = { .tv_nsec = ms * 1000000 };

	nanosleep(&nap, NULL);
}

static void *wait_for_one(void *arg)
{
	return quire_alloc_pages_with(arg, 0, QUIRE_WAIT, NULL, 20000);
}

/* Who waits gets pages of blocks that are not isolated any more. */
static void test_waiter(void **state)
{
	struct quire *q = create_small();
	pthread_t thread;
	void *got;

	(void)state;
	assert_int_equal(set_blocks(q, 0, BLOCKS, QUIRE_TYPE_ISOLATED), 0);
	assert_int_equal(pthread_create(&thread, NULL, wait_for_one, q), 0);
	while (stat_of(q).waits == 0)
		nap_ms(1);
	/* It has asked the zones, and sleeps. */
	nap_ms(100);
	assert_int_equal(set_blocks(q, 3, 1, QUIRE_TYPE_MOVABLE), 0);
	assert_int_equal(pthread_join(thread, &got), 0);
	assert_non_null(got);
	assert_int_equal(block_of(q, got), 3);
	assert_int_equal(stat_of(q).timeouts, 0);
	release(q, got, 0);
	assert_int_equal(set_blocks(q, 0, BLOCKS, QUIRE_TYPE_MOVABLE), 0);
	destroy(q);
}

/* Holds of the first zone's lock until now. */
static uint64_t holds_of(struct quire *q)
{
	struct holds holds = { .total = 0 };

	zone_holds(q->zone[0], &holds);
	return holds.total;
}

static void *set_movable(void *arg)
{
	struct crew *crew = arg;

	if (set_blocks(crew->q, 1, 3, QUIRE_TYPE_MOVABLE) == 0)
		atomic_store(&crew->done, 1);
	else
		atomic_store(&crew->done, (uint64_t)errno << 8);
	return NULL;
}

/* A page of block 1 is on its way to a caller until the blocks after it, whole
 * when they were looked at, are a live block: no reason to wait. */
static void test_taken_meanwhile(void **state)
{
	const struct zone_ask ask = { .order = 0 };
	struct quire_options options = small_options();
	struct quire_page *page[BLOCKS], *large;
	enum quire_mobility kept;
	struct crew crew;
	struct quire *q;
	uint64_t before, result, zero;
	pfn_t pfn;

	(void)state;
	options.flags = QUIRE_LOCK_TIMES;
	q = create(&options);
	for (unsigned i = 0; i < BLOCKS; i++) {
		struct quire_page *got = alloc(q, 9, 0);

		page[block_of(q, got)] = got;
	}
	release(q, page[1], 9);
	assert_int_equal(quire_drain_all(q), 0);
	assert_int_equal(
		zone_alloc(q->zone[0], &ask, UINT32_MAX, 1, &pfn, &zero, &kept),
		1);
	release(q, page[2], 9);
	release(q, page[3], 9);
	assert_int_equal(quire_drain_all(q), 0);
	crew_start(&crew, q, 1, set_movable);
	while (mobility(q, 1) != QUIRE_TYPE_MOVABLE && !atomic_load(&crew.done))
		sched_yield();
	large = alloc(q, 10, 0);
	assert_int_equal(block_of(q, large), 2);
	zone_free(q->zone[0], 0, 1, &pfn);
	/* A look or two at all blocks are enough. */
	before = holds_of(q);
	while (!atomic_load(&crew.done) && holds_of(q) < before + 200)
		sched_yield();
	result = atomic_load(&crew.done);
	release(q, large, 10);
	crew_stop(&crew);
	assert_int_equal(result, (uint64_t)EBUSY << 8);
	assert_told(&messages, "a live block of order 9 or more");
	release(q, page[0], 9);
	for (unsigned i = 4; i < BLOCKS; i++)
		release(q, page[i], 9);
	assert_int_equal(quire_drain_all(q), 0);
	destroy(q);
}

/* Blocks of all orders below 9, which make no block busy. */
static void *use_small(void *arg)
{
	struct crew *crew = arg;
	struct quire *q = crew->q;

	for (unsigned i = 0; !atomic_load(&crew->stop); i++) {
		unsigned order = i % 9;
		struct quire_page *page =
			quire_alloc_pages(q, order, i % 2 ? QUIRE_MOVABLE : 0);

		if (page && quire_free_pages(q, page, order) != 0)
			abort();
		if (i % 64 == 0)
			quire_give_back(q, UINT64_MAX);
		atomic_fetch_add(&crew->done, 1);
	}
	return NULL;
}

static void test_no_false_busy(void **state)
{
	struct quire_options options = small_options();
	struct crew crew;
	struct quire *q;

	(void)state;
	options.give_back = QUIRE_GIVE_DONTNEED;
	q = create(&options);
	crew_start(&crew, q, 2, use_small);
	for (unsigned i = 0; i < 300 || atomic_load(&crew.done) < 3000; i++) {
		assert_int_equal(set_blocks(q, 0, BLOCKS, QUIRE_TYPE_ISOLATED),
				 0);
		assert_int_equal(
			set_blocks(q, 0, BLOCKS / 2, QUIRE_TYPE_MOVABLE), 0);
		sched_yield();
		assert_int_equal(set_blocks(q, 0, BLOCKS, QUIRE_TYPE_MOVABLE),
				 0);
		sched_yield();
	}
	crew_stop(&crew);
	assert_int_equal(quire_drain_all(q), 0);
	assert_int_equal(stat_of(q).pages_free, PAGES);
	destroy(q);
}

/* Single pages and 2 MiB blocks. */
static void *use_large(void *arg)
{
	struct crew *crew = arg;
	struct quire *q = crew->q;

	for (unsigned i = 0; !atomic_load(&crew->stop); i++) {
		unsigned order = i % 3 ? 9 + i % 2 : 0;
		struct quire_page *page = quire_alloc_pages(q, order, 0);

		if (page && quire_free_pages(q, page, order) != 0)
			abort();
		atomic_fetch_add(&crew->done, 1);
	}
	return NULL;
}

static void test_random_under_load(void **state)
{
	struct test_rng rng = test_seed();
	struct quire *q = create_small();
	struct crew crew;

	(void)state;
	crew_start(&crew, q, 2, use_large);
	for (unsigned i = 0; i < 1000 || atomic_load(&crew.done) < 1000; i++) {
		static const enum quire_mobility types[] = {
			QUIRE_TYPE_UNMOVABLE, QUIRE_TYPE_MOVABLE,
			QUIRE_TYPE_CMA, QUIRE_TYPE_ISOLATED
		};
		unsigned first = (unsigned)test_below(&rng, BLOCKS);
		unsigned n = 1 + (unsigned)test_below(&rng, BLOCKS - first);

		errno = 0;
		if (set_blocks(q, first, n, types[test_below(&rng, 4)]) != 0)
			assert_int_equal(errno, EBUSY);
	}
	crew_stop(&crew);
	messages.count = 0;
	assert_int_equal(set_blocks(q, 0, BLOCKS, QUIRE_TYPE_MOVABLE), 0);
	assert_int_equal(zone_of(q, 0).free_whole, PAGES);
	destroy(q);
}

/* --- fork --- */

static struct quire *forked;

static void use_in_child(void)
{
	static const uint8_t distance = 10;
	int ok = 1;

	ok = ok && set_blocks(forked, 0, 1, QUIRE_TYPE_CMA) == -1 &&
	     errno == EPERM;
	ok = ok && quire_set_distances(forked, &distance) == -1 &&
	     errno == EPERM;
	ok = ok && mobility(forked, 0) == QUIRE_TYPE_ISOLATED;
	ok = ok && zone_of(forked, 0).free_type[QUIRE_TYPE_ISOLATED] == BLOCK;
	ok = ok &&
	     quire_page_node(forked,
			     quire_pfn_to_page(forked, first_pfn(forked))) == 0;
	_exit(ok ? 0 : 1);
}

static void test_fork(void **state)
{
	struct quire_options options = small_options();
	char text[512];

	(void)state;
	options.flags = QUIRE_DONTFORK;
	forked = create(&options);
	assert_int_equal(set_blocks(forked, 0, 1, QUIRE_TYPE_ISOLATED), 0);
	assert_int_equal(test_in_child(use_in_child, text, sizeof(text)), 0);
	assert_int_equal(set_blocks(forked, 0, 1, QUIRE_TYPE_MOVABLE), 0);
	destroy(forked);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_distances, setup),
		cmocka_unit_test_setup(test_distances_order, setup),
		cmocka_unit_test_setup(test_distances_under_readers, setup),
		cmocka_unit_test_setup(test_page_node, setup),
		cmocka_unit_test_setup(test_this_node, setup),
		cmocka_unit_test_setup(test_this_node_of_one, setup),
		cmocka_unit_test_setup(test_refused, setup),
		cmocka_unit_test_setup(test_busy, setup),
		cmocka_unit_test_setup(test_isolate, setup),
		cmocka_unit_test_setup(test_back_with_live, setup),
		cmocka_unit_test_setup(test_whole_blocks, setup),
		cmocka_unit_test_setup(test_cma, setup),
		cmocka_unit_test_setup(test_odd_ends, setup),
		cmocka_unit_test_setup(test_beyond_end, setup),
		cmocka_unit_test_setup(test_mobility, setup),
		cmocka_unit_test_setup(test_zone_info, setup),
		cmocka_unit_test_setup(test_waiter, setup),
		cmocka_unit_test_setup(test_taken_meanwhile, setup),
		cmocka_unit_test_setup(test_no_false_busy, setup),
		cmocka_unit_test_setup(test_random_under_load, setup),
		cmocka_unit_test_setup(test_fork, setup),
	};

	return cmocka_run_group_tests_name("topology", tests, NULL, NULL);
}
