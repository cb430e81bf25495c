/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The zone against a reference of one byte per page: which pages it hands out,
 * which block serves, what it knows of untouched memory, and when it may fail.
 * The regions are tables only; no page of them exists.
 */
#include "testing.h"

#include <sched.h>
#include <sys/mman.h>

#include "base/report.h"
#include "zone/zone.h"

enum { MAX_ZONES = 3, NOBODY = -1 };

struct fixture {
	struct memmap map;
	struct zone zone[MAX_ZONES];
	unsigned nr_zones;
	struct test_messages messages;
	struct reporter reporter;
	char *tables;
	size_t tables_bytes, taken_bytes;
	uint64_t *privates; /* of those that free without the lock */
	uint8_t *used;	    /* the reference, from region.first on */
	uint64_t kept_free; /* of it, in wholly free kept blocks */
	uint8_t *ever;	    /* pages that were handed out */
	/* What is known of untouched memory, from region.first's own on. */
	uint8_t *groups;	  /* of 8 pages, in broken blocks */
	uint8_t *blocks;	  /* enum ref_block_state */
	struct quire_page *words; /* of those that have types */
	size_t words_bytes;
};

/* Of a pageblock: never handed out in part or whole; just now; before. */
enum ref_block_state { NEVER, JUST_NOW, BEFORE };

/* Unmovable, down to the last page, from no block that is kept. */
static struct zone_ask plain(unsigned order)
{
	return (struct zone_ask){ .order = order };
}

/* The zone's own call, for nobody. */
static unsigned zone_take(struct zone *zone, unsigned order, unsigned n,
			  pfn_t *pfns, uint64_t *zero)
{
	const struct zone_ask ask = plain(order);
	enum quire_mobility kept;

	return zone_alloc(zone, &ask, UINT32_MAX, n, pfns, zero, &kept);
}

/* What a CPU owns for unmovable pages: pageblock + 1. */
static uint32_t owned_by(const struct zone *zone, uint32_t cpu)
{
	return zone->owned[cpu * NR_CALL_TYPES];
}

static uint64_t free_broken(const struct zone *zone)
{
	uint64_t sum = 0;

	for (unsigned type = 0; type < QUIRE_NR_TYPES; type++)
		sum += zone->free_type[type];
	return sum;
}

static void *carve(struct fixture *f, size_t bytes)
{
	void *at = f->tables + f->taken_bytes;

	f->taken_bytes += (bytes + 127) & ~(size_t)127;
	assert_true(f->taken_bytes <= f->tables_bytes);
	return at;
}

static void start(struct fixture *f, const pfn_t *cut, unsigned nr_zones,
		  uint32_t owners)
{
	struct region region = { .first = cut[0],
				 .end = cut[nr_zones],
				 .known_zero = true };

	memset(f, 0, sizeof(*f));
	test_messages_init(&f->messages);
	f->reporter = (struct reporter){ test_catch, &f->messages };
	f->nr_zones = nr_zones;
	f->tables_bytes = memmap_pageblocks_bytes(&region) +
			  2 * (size_t)(region.end - region.first) + 8192 +
			  (size_t)(region.end - region.first) / 4 +
			  2 * zone_gigablocks_bytes(region.first, region.end) +
			  nr_zones * (zone_owned_bytes(owners) + 2048);
	f->tables = mmap(NULL, f->tables_bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(f->tables, MAP_FAILED);
	/* A zone does not look at page words: there are none. */
	memmap_init(&f->map, &region, NULL, NULL,
		    carve(f, memmap_pageblocks_bytes(&region)));
	f->used = carve(f, region.end - region.first);
	f->ever = carve(f, region.end - region.first);
	f->groups = carve(f, region.end / 8 - region.first / 512 * 64 + 64);
	f->blocks = carve(f, region.end / 512 - region.first / 512 + 1);
	for (unsigned z = 0; z < nr_zones; z++)
		zone_init(&f->zone[z], z, cut[z], cut[z + 1], &f->map,
			  carve(f, zone_gigablocks_bytes(cut[z], cut[z + 1])),
			  carve(f, zone_owned_bytes(owners)), owners,
			  &f->reporter);
}

/* With private words, which frees without the lock are linked through. */
static void start_deferring(struct fixture *f, const pfn_t *cut,
			    unsigned nr_zones, uint32_t owners)
{
	start(f, cut, nr_zones, owners);
	f->privates = mmap(NULL, cut[nr_zones] * sizeof(uint64_t),
			   PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(f->privates, MAP_FAILED);
	f->map.privates = f->privates;
}

static void start_one(struct fixture *f, pfn_t first, pfn_t end,
		      uint32_t owners)
{
	const pfn_t cut[] = { first, end };

	start(f, cut, 1, owners);
}

static void stop(struct fixture *f)
{
	if (f->privates)
		munmap(f->privates, f->map.region.end * sizeof(uint64_t));
	assert_int_equal(munmap(f->tables, f->tables_bytes), 0);
}

/* --- the reference --- */

static uint8_t *used_at(struct fixture *f, pfn_t pfn)
{
	return f->used + (pfn - f->map.region.first);
}

static uint8_t *groups_at(struct fixture *f, uint64_t pfn)
{
	return f->groups + (pfn / 8 - f->map.region.first / 512 * 64);
}

static uint8_t *block_at(struct fixture *f, uint64_t pfn)
{
	return f->blocks + (pfn / 512 - f->map.region.first / 512);
}

/* Whether the pageblock of a page is about to be broken up: it is whole. */
static bool ref_whole(struct fixture *f, const struct zone *zone, uint64_t pfn)
{
	uint64_t first = pfn / 512 * 512;

	return first >= zone->first && first + 512 <= zone->end &&
	       !memchr(used_at(f, (pfn_t)first), 1, 512);
}

/* A run of whole pageblocks. */
static bool ref_touch_large(struct fixture *f, unsigned order, pfn_t pfn)
{
	uint8_t *blocks = block_at(f, pfn);
	bool zero = true;

	for (uint64_t i = 0; i < UINT64_C(1) << (order - 9); i++) {
		zero = zero && blocks[i] == NEVER;
		blocks[i] = BEFORE;
	}
	return zero;
}

/*
 * Which of n blocks, taken in one hold and not marked yet, are untouched: no
 * group of 8 of theirs was handed out before this hold, and no group counts as
 * never handed out in a pageblock that was whole again meanwhile.
 */
static void ref_touch(struct fixture *f, const struct zone *zone,
		      unsigned order, unsigned n, const pfn_t *pfns, bool *zero)
{
	uint64_t groups = order < 3 ? 1 : UINT64_C(1) << (order - 3);

	for (unsigned i = 0; i < n; i++) {
		if (order >= 9)
			zero[i] = ref_touch_large(f, order, pfns[i]);
		else if (ref_whole(f, zone, pfns[i]) &&
			 *block_at(f, pfns[i]) == BEFORE)
			memset(groups_at(f, pfns[i] / 512 * 512), 1, 64);
		else if (ref_whole(f, zone, pfns[i]))
			*block_at(f, pfns[i]) = JUST_NOW;
	}
	for (unsigned i = 0; i < n && order < 9; i++)
		zero[i] = !memchr(groups_at(f, pfns[i]), 1, groups);
	for (unsigned i = 0; i < n && order < 9; i++) {
		memset(groups_at(f, pfns[i]), 1, groups);
		*block_at(f, pfns[i]) = BEFORE;
	}
	for (unsigned i = 0; i < n; i++)
		zero[i] = zero[i] && f->map.region.known_zero;
}

static void mark_taken(struct fixture *f, const struct zone *zone, pfn_t pfn,
		       uint64_t pages, bool zero)
{
	uint8_t *used = used_at(f, pfn);
	uint8_t *ever = f->ever + (pfn - f->map.region.first);

	assert_true(pfn >= zone->first && pfn + pages <= zone->end);
	assert_null(memchr(used, 1, pages));
	if (zero)
		assert_null(memchr(ever, 1, pages));
	memset(used, 1, pages);
	memset(ever, 1, pages);
}

static void mark_free(struct fixture *f, pfn_t pfn, uint64_t pages)
{
	assert_null(memchr(used_at(f, pfn), 0, pages));
	memset(used_at(f, pfn), 0, pages);
}

static bool is_kept(struct fixture *f, uint64_t pfn)
{
	struct block *block = memmap_pageblock(&f->map, (uint32_t)(pfn >> 9));

	return block->broken && block->type >= NR_CALL_TYPES;
}

/* Free pages of the zone in [pfn, pfn + 2^k); counts the maximal runs below. */
static uint64_t ref_count(struct fixture *f, const struct zone *zone,
			  uint64_t pfn, unsigned k, uint64_t *runs)
{
	uint64_t half = UINT64_C(1) << k >> 1, low, high;

	if (pfn >= zone->end || pfn + (UINT64_C(1) << k) <= zone->first)
		return 0;
	if (k == 0)
		return !*used_at(f, (pfn_t)pfn);
	low = ref_count(f, zone, pfn, k - 1, runs);
	high = ref_count(f, zone, pfn + half, k - 1, runs);
	/* One that is kept is no part of a larger run. */
	if (k == 9 && low + high == 512 && is_kept(f, pfn)) {
		runs[9]++;
		f->kept_free += 512;
		return 0;
	}
	if (low + high < 2 * half)
		runs[k - 1] += (unsigned)(low == half) + (high == half);
	return low + high;
}

/* Returns the free pages. */
static uint64_t ref_runs(struct fixture *f, const struct zone *zone,
			 uint64_t runs[QUIRE_NR_ORDERS])
{
	uint64_t free = 0;

	memset(runs, 0, QUIRE_NR_ORDERS * sizeof(*runs));
	f->kept_free = 0;
	for (uint64_t giga = zone->first >> GIGABLOCK_ORDER;
	     giga <= (zone->end - 1) >> GIGABLOCK_ORDER; giga++) {
		uint64_t here = ref_count(f, zone, giga << GIGABLOCK_ORDER,
					  GIGABLOCK_ORDER, runs);

		runs[QUIRE_MAX_ORDER] += here == GIGABLOCK_PAGES;
		free += here;
	}
	return free + f->kept_free;
}

static bool ref_has_run(struct fixture *f, const struct zone *zone,
			unsigned order)
{
	uint64_t runs[QUIRE_NR_ORDERS], sum = 0;

	ref_runs(f, zone, runs);
	for (unsigned k = order; k < QUIRE_NR_ORDERS; k++)
		sum += runs[k];
	return sum > 0;
}

static void check_same(struct fixture *f)
{
	for (unsigned z = 0; z < f->nr_zones; z++) {
		uint64_t runs[QUIRE_NR_ORDERS] = { 0 };
		uint64_t expected[QUIRE_NR_ORDERS];
		uint64_t free = ref_runs(f, &f->zone[z], expected);

		zone_runs(&f->zone[z], runs);
		assert_memory_equal(runs, expected, sizeof(runs));
		assert_int_equal(zone_free_pages(&f->zone[z]), free);
		if (zone_validate(&f->zone[z]))
			fail_msg("%s", f->messages.text[0]);
		for (pfn_t pfn = f->zone[z].first; pfn < f->zone[z].end;
		     pfn += 61)
			assert_int_equal(zone_page_is_free(&f->zone[z], pfn),
					 !*used_at(f, pfn));
	}
	assert_int_equal(f->messages.count, 0);
}

/* --- calls that keep the reference --- */

/*
 * How many maps' words a batch lies in, of orders 6 and more how many blocks it
 * is: a hold ends when it has moved ZONE_TAKE_WORDS.
 */
static unsigned ref_words(unsigned order, unsigned n, const pfn_t *pfns)
{
	unsigned words = 0;

	for (unsigned i = 0; i < n; i++)
		words += order >= 6 || i == 0 ||
			 pfns[i] / 64 != pfns[i - 1] / 64;
	return words;
}

static int compare_pfns(const void *a, const void *b)
{
	const pfn_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/*
 * One hold, which took as much as it may: a pageblock, of eight words, is begun
 * only before it has ZONE_TAKE_WORDS.
 */
static void check_hold(const struct zone *zone, uint64_t locks, unsigned order,
		       unsigned n, const pfn_t *pfns)
{
	pfn_t sorted[ZONE_BATCH];

	assert_int_equal(atomic_load(&zone->locks), locks + 1);
	if (n)
		memcpy(sorted, pfns, n * sizeof(*pfns));
	qsort(sorted, n, sizeof(*sorted), compare_pfns);
	assert_true(ref_words(order, n, sorted) <=
		    ZONE_TAKE_WORDS + (order < 9 ? BLOCK_WORDS - 1 : 0));
}

/* *zeros: how many of them are known to be zero. */
static unsigned take_zeros(struct fixture *f, struct zone *zone, unsigned order,
			   int cpu, unsigned n, pfn_t *pfns, unsigned *zeros)
{
	uint64_t zero[ZONE_BATCH / 64 + 1], locks = atomic_load(&zone->locks);
	const struct zone_ask ask = plain(order);
	bool expected[ZONE_BATCH];
	enum quire_mobility kept;
	unsigned got;

	memset(zero, 0xa5, sizeof(zero));
	got = zone_alloc(zone, &ask, (uint32_t)cpu, n, pfns, zero, &kept);
	assert_int_equal(kept, QUIRE_TYPE_UNMOVABLE);
	assert_true(got <= n);
	check_hold(zone, locks, order, got, pfns);
	ref_touch(f, zone, order, got, pfns, expected);
	*zeros = 0;
	for (unsigned i = 0; i < got; i++) {
		*zeros += expected[i];
		assert_int_equal(zero[i / 64] >> i % 64 & 1, expected[i]);
		assert_int_equal(pfns[i] % (UINT64_C(1) << order), 0);
		mark_taken(f, zone, pfns[i], UINT64_C(1) << order, expected[i]);
	}
	/* Of all the words that n blocks have, and of no other. */
	for (unsigned i = got; i < (n + 63) / 64 * 64; i++)
		assert_int_equal(zero[i / 64] >> i % 64 & 1, 0);
	assert_true(zero[(n + 63) / 64] == UINT64_C(0xa5a5a5a5a5a5a5a5));
	return got;
}

static unsigned take_some(struct fixture *f, struct zone *zone, unsigned order,
			  int cpu, unsigned n, pfn_t *pfns)
{
	unsigned zeros;

	return take_zeros(f, zone, order, cpu, n, pfns, &zeros);
}

/* The first pages of a block of the order that fits. */
static bool take_exact(struct fixture *f, struct zone *zone, uint64_t pages,
		       pfn_t *pfn)
{
	unsigned order = bits_order(pages);
	const struct zone_ask ask = plain(order);
	bool zero, expected;

	if (!zone_alloc_exact(zone, &ask, pages, pfn, &zero))
		return false;
	assert_int_equal(*pfn % (UINT64_C(1) << order), 0);
	ref_touch(f, zone, order, 1, pfn, &expected);
	assert_int_equal(zero, expected);
	for (uint64_t at = 0; order >= 9 && at < pages; at += 512)
		memset(groups_at(f, *pfn + at), 1, 64);
	mark_taken(f, zone, *pfn, pages, zero);
	return true;
}

static pfn_t take(struct fixture *f, unsigned order, int cpu)
{
	pfn_t pfn = PFN_NONE;

	assert_int_equal(take_some(f, &f->zone[0], order, cpu, 1, &pfn), 1);
	return pfn;
}

static unsigned give_holds(unsigned words)
{
	return (words + ZONE_GIVE_WORDS - 1) / ZONE_GIVE_WORDS;
}

/* A batch goes back, in as many holds as its words take. */
static void give_some(struct fixture *f, struct zone *zone, unsigned order,
		      unsigned n, const pfn_t *pfns)
{
	uint64_t locks = atomic_load(&zone->locks);
	unsigned words = ref_words(order, n, pfns);

	for (unsigned i = 0; i < n; i++)
		mark_free(f, pfns[i], UINT64_C(1) << order);
	zone_free(zone, order, n, pfns);
	assert_int_equal(atomic_load(&zone->locks), locks + give_holds(words));
}

static void give(struct fixture *f, struct zone *zone, unsigned order,
		 pfn_t pfn)
{
	give_some(f, zone, order, 1, &pfn);
}

/* The lock's next holder frees the block; until then it is only counted. */
static void defer(struct fixture *f, struct zone *zone, unsigned order,
		  pfn_t pfn)
{
	uint64_t deferred = zone_deferred_pages(zone);
	uint64_t free = zone_free_pages(zone);
	uint64_t locks = atomic_load(&zone->locks);

	mark_free(f, pfn, UINT64_C(1) << order);
	zone_free_deferred(zone, order, pfn);
	assert_int_equal(zone_deferred_pages(zone),
			 deferred + (UINT64_C(1) << order));
	assert_int_equal(zone_free_pages(zone), free);
	assert_int_equal(atomic_load(&zone->locks), locks);
}

static void give_pages(struct fixture *f, pfn_t pfn, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		give(f, &f->zone[0], 0, pfn + i);
}

static struct block *block_of(struct fixture *f, pfn_t pfn)
{
	return memmap_pageblock(&f->map, pfn >> BLOCK_ORDER);
}

/* --- ends and edges --- */

/* Every page of a region with odd ends is handed out once, none beside it. */
static void test_odd_ends(void **state)
{
	static const pfn_t ends[][2] = {
		{ 0, 1 },      { 511, 513 },	   { 300, 400 },
		{ 100, 512 },  { 512, 1024 },	   { 1, 511 },
		{ 100, 1061 }, { 262141, 262149 }, { 261000, 264001 },
		{ 512, 1025 }, { 5, 1536 },
	};

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(ends); i++) {
		struct fixture f;
		pfn_t pfn, n = ends[i][1] - ends[i][0];

		start_one(&f, ends[i][0], ends[i][1], 2);
		assert_int_equal(zone_free_pages(&f.zone[0]), n);
		check_same(&f);
		for (pfn_t k = 0; k < n; k++)
			take(&f, 0, (int)(k % 3) - 1);
		assert_int_equal(take_some(&f, &f.zone[0], 0, 0, 1, &pfn), 0);
		check_same(&f);
		for (pfn = ends[i][0]; pfn < ends[i][1]; pfn++)
			give(&f, &f.zone[0], 0, pfn);
		assert_int_equal(zone_free_pages(&f.zone[0]), n);
		check_same(&f);
		stop(&f);
	}
}

/* As many blocks of each order as the reference counts, largest first. */
static void test_every_order(void **state)
{
	struct fixture f;
	uint64_t runs[QUIRE_NR_ORDERS];

	(void)state;
	start_one(&f, 1000, 3 * (pfn_t)GIGABLOCK_PAGES + 777, 0);
	ref_runs(&f, &f.zone[0], runs);
	assert_int_equal(runs[QUIRE_MAX_ORDER], 2);
	for (unsigned order = QUIRE_NR_ORDERS; order-- > 0;) {
		uint64_t n = 0;
		pfn_t pfn;

		while (take_some(&f, &f.zone[0], order, NOBODY, 1, &pfn))
			n++;
		assert_int_equal(n, runs[order]);
	}
	assert_int_equal(zone_free_pages(&f.zone[0]), 0);
	check_same(&f);
	stop(&f);
}

/* Zones that meet inside one gigablock hand out their own pages alone. */
static void test_shared_gigablock(void **state)
{
	static const pfn_t cut[] = { 700, 512 * 100, 512 * 300, 512 * 513 };
	struct fixture f;
	uint64_t free[MAX_ZONES];

	(void)state;
	start(&f, cut, 3, 0);
	for (unsigned z = 0; z < 3; z++)
		free[z] = zone_free_pages(&f.zone[z]);
	assert_int_equal(free[0] + free[1] + free[2], cut[3] - cut[0]);
	for (unsigned z = 0; z < 3; z++) {
		pfn_t pfns[64];
		uint64_t blocks = 0;
		unsigned got;

		do {
			got = take_some(&f, &f.zone[z], 9, NOBODY, 64, pfns);
			blocks += got;
		} while (got);
		assert_int_equal(blocks,
				 (cut[z + 1] - (cut[z] + 511) / 512 * 512) /
					 512);
		for (unsigned other = z + 1; other < 3; other++)
			assert_int_equal(zone_free_pages(&f.zone[other]),
					 free[other]);
		check_same(&f);
	}
	stop(&f);
}

/* pfns up to the last: 15 TiB in blocks of order 18. */
static void test_largest_region(void **state)
{
	const pfn_t end = (pfn_t)(15 * 1024 * GIGABLOCK_PAGES);
	struct fixture f;
	uint64_t zero;
	pfn_t pfns[64];
	unsigned n = 0;

	(void)state;
	if (TEST_SANITIZED)
		skip();
	start_one(&f, 0, end, 2);
	/* The first comes last. */
	for (unsigned got;
	     (got = zone_take(&f.zone[0], 18, 60, pfns, &zero)) > 0;)
		while (got--)
			assert_int_equal(pfns[got], (pfn_t)(n++ << 18));
	assert_int_equal(n, 15 * 1024);
	pfns[0] = end - (pfn_t)GIGABLOCK_PAGES;
	zone_free(&f.zone[0], 18, 1, pfns);
	assert_int_equal(zone_take(&f.zone[0], 0, 1, pfns, &zero), 1);
	assert_int_equal(pfns[0], end - GIGABLOCK_PAGES);
	assert_int_equal(zone_free_pages(&f.zone[0]), GIGABLOCK_PAGES - 1);
	stop(&f);
}

/* --- policy --- */

/* Takes all pages of a whole block, each to come back alone; its first. */
static pfn_t take_block(struct fixture *f)
{
	pfn_t pfn;

	assert_true(take_exact(f, &f->zone[0], 512, &pfn));
	return pfn;
}

/* Of blocks that can serve, the smallest run; of equals, the fullest block. */
static void test_fullest_of_smallest(void **state)
{
	struct fixture f;
	pfn_t a, b, c, got;

	(void)state;
	start_one(&f, 0, 512 * 16, 0);
	a = take_block(&f);
	b = take_block(&f);
	c = take_block(&f);
	/* a: 200 single pages. b: 40 of them. c: one run of 64. */
	for (unsigned i = 0; i < 200; i++)
		give(&f, &f.zone[0], 0, a + 2 * i);
	for (unsigned i = 0; i < 40; i++)
		give(&f, &f.zone[0], 0, b + 2 * i);
	give_pages(&f, c + 64, 64);
	check_same(&f);
	got = take(&f, 0, NOBODY);
	assert_int_equal(got >> 9, b >> 9);
	got = take(&f, 1, NOBODY);
	assert_int_equal(got, c + 64);
	/* c has runs of 2, 4, ... now; single pages still from b, then a. */
	for (unsigned i = 1; i < 40; i++)
		assert_int_equal(take(&f, 0, NOBODY) >> 9, b >> 9);
	assert_int_equal(take(&f, 0, NOBODY) >> 9, a >> 9);
	assert_int_equal(take(&f, 6, NOBODY) % 512, 0);
	check_same(&f);
	stop(&f);
}

static void test_whole_blocks_stay(void **state)
{
	struct fixture f;
	uint64_t whole;
	pfn_t block;

	(void)state;
	start_one(&f, 0, 512 * 15, 2);
	block = take_block(&f);
	give_pages(&f, block + 3, 400);
	whole = f.zone[0].free_whole;
	for (unsigned i = 0; i < 400; i++)
		take(&f, 0, i % 2 ? NOBODY : (int)(i / 2 % 2));
	assert_int_equal(f.zone[0].free_whole, whole);
	assert_int_equal(free_broken(&f.zone[0]), 0);
	take(&f, 0, NOBODY);
	assert_int_equal(f.zone[0].free_whole, whole - 512);
	check_same(&f);
	stop(&f);
}

/* A block whose last page comes back is whole: on no list, its bit clear. */
static void test_return_to_gigablock(void **state)
{
	struct test_rng rng = test_seed();
	struct fixture f;
	pfn_t pfns[512];

	(void)state;
	start_one(&f, 0, 512 * 8, 0);
	for (unsigned i = 0; i < 512; i++)
		pfns[i] = take(&f, 0, NOBODY);
	assert_int_equal(f.zone[0].free_whole, 7 * 512);
	for (unsigned i = 512; i > 0; i--) {
		uint64_t j = test_below(&rng, i);
		pfn_t pfn = pfns[j];

		assert_true(block_of(&f, pfns[0])->broken);
		pfns[j] = pfns[i - 1];
		give(&f, &f.zone[0], 0, pfn);
	}
	assert_false(block_of(&f, pfns[0])->broken);
	assert_int_equal(free_broken(&f.zone[0]), 0);
	assert_int_equal(f.zone[0].free_whole, 8 * 512);
	assert_int_equal(f.zone[0].lists[0].orders & 0x1ff, 0);
	for (unsigned i = 0; i < 8; i++)
		take(&f, 9, NOBODY);
	check_same(&f);
	stop(&f);
}

/* Orders 9 and up: the gigablock with the smallest run serves. */
static void test_gigablock_policy(void **state)
{
	struct fixture f;
	pfn_t first, second;

	(void)state;
	start_one(&f, 0, 4 * (pfn_t)GIGABLOCK_PAGES, 0);
	first = take(&f, 18, NOBODY);
	second = take(&f, 17, NOBODY);
	assert_int_not_equal(first >> 18, second >> 18);
	give(&f, &f.zone[0], 18, first);
	assert_int_equal(take(&f, 10, NOBODY) >> 18, second >> 18);
	assert_int_equal(take(&f, 17, NOBODY) >> 18, first >> 18);
	assert_int_equal(take(&f, 18, NOBODY) >> 18, 2);
	assert_int_equal(f.zone[0].fresh, 3);
	check_same(&f);
	stop(&f);
}

struct served {
	unsigned largest, bucket; /* largest free order + 1, 32s of free */
};

/* Of a block, by the reference. */
static struct served ref_block(struct fixture *f, uint32_t index)
{
	const uint8_t *used = used_at(f, (pfn_t)(index << 9));
	unsigned counts[512], n = 512;
	struct served s = { 0, 0 };

	for (unsigned i = 0; i < 512; i++) {
		counts[i] = !used[i];
		s.bucket += counts[i];
	}
	for (unsigned k = 0; k <= 9; k++, n /= 2)
		for (unsigned i = 0; i < n; i++) {
			if (counts[i] == 1u << k)
				s.largest = k + 1;
			if (i % 2)
				counts[i / 2] = counts[i - 1] + counts[i];
		}
	s.bucket = s.bucket ? (s.bucket - 1) / 32 : 0;
	return s;
}

/* The best broken block for an order; largest 10: none, one must be broken. */
static struct served ref_best(struct fixture *f, uint32_t blocks,
			      unsigned order)
{
	struct served best = { 10, 0 };

	for (uint32_t i = 0; i < blocks; i++) {
		struct served s = ref_block(f, i);

		if (s.largest <= order || s.largest == 10)
			continue;
		if (s.largest < best.largest ||
		    (s.largest == best.largest && s.bucket < best.bucket))
			best = s;
	}
	return best;
}

static void test_policy_random(void **state)
{
	enum { BLOCKS = 24, LIVE = 512 };
	const unsigned steps = TEST_SANITIZED ? 1000 : 6000;
	struct test_rng rng = test_seed();
	struct fixture f;
	struct {
		pfn_t pfn;
		unsigned order;
	} live[LIVE];
	unsigned n = 0;

	(void)state;
	start_one(&f, 0, 512 * BLOCKS, 0);
	for (unsigned step = 0; step < steps; step++) {
		unsigned order = (unsigned)(test_random(&rng) % 9);
		struct served best = ref_best(&f, BLOCKS, order), got, after;
		uint64_t at;

		order = order < 5 ? order : order % 4 ? 0 : order;
		best = ref_best(&f, BLOCKS, order);
		if (n < LIVE && test_below(&rng, 100) < 55 &&
		    take_some(&f, &f.zone[0], order, NOBODY, 1, &live[n].pfn)) {
			live[n].order = order;
			mark_free(&f, live[n].pfn, 1u << order);
			got = ref_block(&f, live[n].pfn >> 9);
			assert_int_equal(got.largest, best.largest);
			if (got.largest < 10)
				assert_int_equal(got.bucket, best.bucket);
			memset(used_at(&f, live[n].pfn), 1, 1u << order);
			after = ref_block(&f, live[n].pfn >> 9);
			assert_int_equal(block_of(&f, live[n].pfn)->largest,
					 after.largest);
			n++;
		} else if (n) {
			at = test_below(&rng, n--);
			give(&f, &f.zone[0], live[at].order, live[at].pfn);
			live[at] = live[n];
		}
	}
	check_same(&f);
	stop(&f);
}

/* --- owned blocks --- */

/* A zone of 64 blocks and two owners, one block with some pages free. */
static pfn_t start_owned(struct fixture *f, unsigned free)
{
	pfn_t block;

	start_one(f, 0, 512 * 64, 2);
	assert_int_equal(f->zone[0].nr_owners, 2);
	block = take_block(f);
	give_pages(f, block, free);
	return block;
}

static void test_small_zones_own_nothing(void **state)
{
	struct fixture f;

	(void)state;
	start_one(&f, 0, 512 * 47, 2);
	assert_int_equal(f.zone[0].nr_owners, 0);
	stop(&f);
	start_one(&f, 0, 512 * 48, 2);
	assert_int_equal(f.zone[0].nr_owners, 2);
	stop(&f);
}

/* The fullest listed block becomes the CPU's, off the lists, its pages free. */
static void test_own(void **state)
{
	struct fixture f;
	pfn_t block = start_owned(&f, 100), other;

	(void)state;
	other = take_block(&f);
	give_pages(&f, other, 200);
	assert_int_equal(take(&f, 0, 1), block + 96);
	assert_int_equal(block_of(&f, block)->owner, 2);
	assert_int_equal(block_of(&f, block)->bucket, 0);
	assert_int_equal(owned_by(&f.zone[0], 1), (block >> 9) + 1);
	assert_int_equal(zone_free_pages(&f.zone[0]), 62 * 512 + 299);
	check_same(&f);
	/* Others do not take from it, nor does the owner in larger orders. */
	assert_int_equal(take(&f, 0, NOBODY) >> 9, other >> 9);
	assert_int_equal(take(&f, 1, 1) >> 9, other >> 9);
	assert_int_equal(take(&f, 0, 0) >> 9, other >> 9);
	assert_int_equal(block_of(&f, other)->owner, 1);
	assert_int_equal(take(&f, 0, 1) >> 9, block >> 9);
	check_same(&f);
	stop(&f);
}

/* No block is broken up for the purpose of owning it. */
static void test_own_no_fresh(void **state)
{
	struct fixture f;
	pfn_t pfn;

	(void)state;
	start_one(&f, 0, 512 * 64, 2);
	pfn = take(&f, 0, 0);
	assert_int_equal(block_of(&f, pfn)->owner, 0);
	assert_int_equal(owned_by(&f.zone[0], 0), 0);
	assert_int_equal(take(&f, 0, 1) >> 9, pfn >> 9);
	assert_int_equal(block_of(&f, pfn)->owner, 2);
	check_same(&f);
	stop(&f);
}

static void test_own_ends(void **state)
{
	struct fixture f;
	pfn_t block = start_owned(&f, 2), pfn;

	(void)state;
	/* Empty. */
	take(&f, 0, 0);
	assert_int_equal(block_of(&f, block)->owner, 1);
	take(&f, 0, 0);
	assert_int_equal(block_of(&f, block)->owner, 0);
	assert_int_equal(owned_by(&f.zone[0], 0), 0);
	/* Whole. */
	give_pages(&f, block, 2);
	pfn = take(&f, 0, 1);
	assert_int_equal(block_of(&f, block)->owner, 2);
	give(&f, &f.zone[0], 0, pfn);
	give_pages(&f, block + 2, 510);
	assert_int_equal(owned_by(&f.zone[0], 1), 0);
	assert_int_equal(f.zone[0].free_whole, 64 * 512);
	check_same(&f);
	stop(&f);
}

static void test_disown(void **state)
{
	struct fixture f;
	pfn_t block = start_owned(&f, 10), other;

	(void)state;
	take(&f, 0, 0);
	zone_disown(&f.zone[0], 1);
	assert_int_equal(block_of(&f, block)->owner, 1);
	zone_disown(&f.zone[0], 2);
	zone_disown(&f.zone[0], UINT32_MAX);
	zone_disown(&f.zone[0], 0);
	assert_int_equal(block_of(&f, block)->owner, 0);
	assert_int_not_equal(block_of(&f, block)->bucket, 0);
	check_same(&f);
	take(&f, 0, 0);
	other = take(&f, 0, 1);
	other = take(&f, 0, 1);
	assert_int_equal(block_of(&f, other)->owner, 2);
	zone_disown_all(&f.zone[0]);
	assert_int_equal(block_of(&f, block)->owner, 0);
	assert_int_equal(block_of(&f, other)->owner, 0);
	assert_int_equal(owned_by(&f.zone[0], 0), 0);
	assert_int_equal(owned_by(&f.zone[0], 1), 0);
	check_same(&f);
	stop(&f);
}

/* What only owned blocks have is seized before anybody fails. */
static void test_seize(void **state)
{
	struct fixture f;
	pfn_t block = start_owned(&f, 64), pfns[64];

	(void)state;
	take(&f, 0, 0);
	assert_int_equal(block_of(&f, block)->owner, 1);
	for (unsigned i = 0; i < 63; i++)
		take(&f, 9, NOBODY);
	assert_int_equal(zone_free_pages(&f.zone[0]), 63);
	assert_int_equal(take(&f, 5, 1), block + 32);
	assert_int_equal(block_of(&f, block)->owner, 0);
	assert_int_equal(take_some(&f, &f.zone[0], 0, 0, 1, pfns), 1);
	assert_int_equal(block_of(&f, block)->owner, 1);
	assert_int_equal(take_some(&f, &f.zone[0], 0, NOBODY, 64, pfns), 30);
	assert_int_equal(zone_free_pages(&f.zone[0]), 0);
	assert_int_equal(owned_by(&f.zone[0], 0), 0);
	check_same(&f);
	stop(&f);
}

/* --- exact runs --- */

static void check_exact(struct fixture *f, uint64_t pages)
{
	struct zone *zone = &f->zone[0];
	uint64_t before = zone_free_pages(zone);
	pfn_t pfn;

	assert_true(take_exact(f, zone, pages, &pfn));
	assert_int_equal(zone_free_pages(zone), before - pages);
	for (uint64_t i = 0; i < pages; i++)
		assert_false(zone_page_is_free(zone, (pfn_t)(pfn + i)));
	if (pages % 31 == 0)
		check_same(f);
	for (uint64_t i = pages; i-- > 0;)
		give(f, zone, 0, (pfn_t)(pfn + i));
	assert_int_equal(zone_free_pages(zone), before);
	assert_int_equal(free_broken(zone), 0);
}

static void test_exact(void **state)
{
	static const uint64_t large[] = { 511,	  512,	  513,	 1023,	1024,
					  1025,	  2047,	  4097,	 65535, 65537,
					  131073, 262143, 262144 };
	struct fixture f;

	(void)state;
	start_one(&f, 0, 3 * (pfn_t)GIGABLOCK_PAGES, 2);
	for (uint64_t pages = 1; pages < 130; pages++)
		check_exact(&f, pages);
	for (size_t i = 0; i < TEST_LENGTH(large); i++)
		check_exact(&f, large[i]);
	check_same(&f);
	stop(&f);
}

static void test_exact_fails_clean(void **state)
{
	struct fixture f;
	pfn_t pfn;

	(void)state;
	start_one(&f, 0, 512 * 3, 0);
	take(&f, 0, NOBODY);
	assert_false(take_exact(&f, &f.zone[0], 1025, &pfn));
	assert_true(take_exact(&f, &f.zone[0], 1024, &pfn));
	assert_false(take_exact(&f, &f.zone[0], 300, &pfn));
	assert_true(take_exact(&f, &f.zone[0], 200, &pfn));
	check_same(&f);
	stop(&f);
}

/* --- what is known to be zero --- */

static uint64_t zero_of(struct fixture *f, unsigned order, unsigned n,
			pfn_t *pfns)
{
	uint64_t zero;

	assert_int_equal(zone_take(&f->zone[0], order, n, pfns, &zero), n);
	return zero;
}

static void test_touched(void **state)
{
	struct fixture f;
	pfn_t pfns[64], again[1];

	(void)state;
	start_one(&f, 0, 512 * 64, 0);
	/* A batch: neighbours do not spoil each other. */
	assert_true(zero_of(&f, 0, 20, pfns) == 0xfffff);
	/* The group of 8 that page 20 belongs to was touched by 16..19. */
	assert_int_equal(zero_of(&f, 0, 1, again), 0);
	assert_int_equal(again[0], 20);
	assert_int_equal(zero_of(&f, 3, 1, pfns + 32), 1);
	zone_free(&f.zone[0], 0, 1, pfns + 5);
	assert_int_equal(zero_of(&f, 0, 1, again), 0);
	assert_int_equal(again[0], pfns[5]);
	/* An untouched block of order 9, and the same again. */
	assert_int_equal(zero_of(&f, 9, 1, pfns + 40), 1);
	zone_free(&f.zone[0], 9, 1, pfns + 40);
	assert_int_equal(zero_of(&f, 9, 1, again), 0);
	assert_int_equal(again[0], pfns[40]);
	/* Half of a run of order 11 was touched: none of it counts. */
	zone_free(&f.zone[0], 9, 1, again);
	assert_int_equal(zero_of(&f, 11, 3, pfns + 41), 7);
	stop(&f);
}

/* A block that was broken, became whole and is broken again is not clean. */
static void test_touched_after_return(void **state)
{
	struct fixture f;
	pfn_t pfn, pfns[8];

	(void)state;
	start_one(&f, 0, 512 * 2, 0);
	assert_int_equal(zero_of(&f, 0, 1, &pfn), 1);
	zone_free(&f.zone[0], 0, 1, &pfn);
	assert_int_equal(free_broken(&f.zone[0]), 0);
	assert_int_equal(zero_of(&f, 6, 8, pfns), 0);
	assert_int_equal(zero_of(&f, 6, 8, pfns), 0xff);
	stop(&f);
}

/* Memory that did not read as zero at first never does. */
static void test_unknown_zero(void **state)
{
	struct fixture f;
	pfn_t pfns[4];

	(void)state;
	start_one(&f, 100, 512 * 600, 0);
	f.map.region.known_zero = false;
	assert_int_equal(zero_of(&f, 0, 4, pfns), 0);
	assert_int_equal(zero_of(&f, 9, 4, pfns), 0);
	assert_int_equal(zero_of(&f, 5, 4, pfns), 0);
	stop(&f);
}

/* Some blocks of some orders, most of which come back; or none at all. */
static void touch_some(struct fixture *f, struct test_rng *rng)
{
	uint64_t most = test_below(rng, 4) ? 30 : 1;

	for (uint64_t n = test_below(rng, most); n > 0; n--) {
		unsigned order = (unsigned)test_below(rng, 10);
		pfn_t pfn;

		order = test_below(rng, 3) ? order / 3 : order;
		if (take_some(f, &f->zone[0], order, NOBODY, 1, &pfn) &&
		    test_below(rng, 4))
			give(f, &f->zone[0], order, pfn);
	}
}

/* Up to a full batch; as often, up to a word. */
static unsigned random_batch(struct test_rng *rng)
{
	return 1 +
	       (unsigned)test_below(rng, test_below(rng, 2) ? ZONE_BATCH : 64);
}

/*
 * Batches of every order from blocks that were touched here and there: what is
 * known to be zero is just what the reference knows (take_some compares), and
 * neighbours that are taken in one hold do not spoil each other.
 */
static void test_touched_random(void **state)
{
	const unsigned rounds = TEST_SANITIZED ? 40 : 400;
	struct test_rng rng = test_seed();
	unsigned clean[10] = { 0 }, mixed[10] = { 0 };

	(void)state;
	for (unsigned round = 0; round < rounds; round++) {
		for (unsigned order = 0; order < 10; order++) {
			pfn_t first = (pfn_t)test_below(&rng, 600);
			unsigned n = random_batch(&rng), got, zeros;
			struct fixture f;
			pfn_t pfns[ZONE_BATCH];

			start_one(&f, first, first + 4 * 512, 0);
			touch_some(&f, &rng);
			got = take_zeros(&f, &f.zone[0], order, NOBODY, n, pfns,
					 &zeros);
			clean[order] += got > 1 && zeros == got;
			mixed[order] += zeros && zeros < got;
			check_same(&f);
			stop(&f);
		}
	}
	for (unsigned order = 0; order < 9; order++) {
		assert_true(clean[order] > 0);
		assert_true(mixed[order] > 0);
	}
}

/*
 * Any groups of a block can be touched, though the zone, which takes the lowest
 * of a run first, does not make most of these patterns itself.
 */
static void test_touched_anyhow(void **state)
{
	const unsigned rounds = TEST_SANITIZED ? 100 : 1000;
	struct test_rng rng = test_seed();

	(void)state;
	for (unsigned round = 0; round < rounds; round++)
		for (unsigned order = 0; order < 9; order++) {
			unsigned n = random_batch(&rng);
			uint64_t touched = test_random(&rng);
			struct fixture f;
			pfn_t pfns[ZONE_BATCH];

			for (uint64_t i = test_below(&rng, 6); i > 0; i--)
				touched &= test_random(&rng);
			touched |= 1;
			start_one(&f, 0, 512 * 2, 0);
			assert_int_equal(take(&f, 0, NOBODY), 0);
			block_of(&f, 0)->touched = touched;
			for (unsigned i = 0; i < 64; i++)
				f.groups[i] = touched >> i & 1;
			take_some(&f, &f.zone[0], order, NOBODY, n, pfns);
			check_same(&f);
			stop(&f);
		}
}

/* Two blocks of every order beside each other, in one hold and in two. */
static void test_touched_neighbours(void **state)
{
	(void)state;
	for (unsigned order = 0; order < 9; order++)
		for (unsigned n = 2; n <= 64 && n << order <= 512; n++) {
			struct fixture f;
			pfn_t pfns[64];

			start_one(&f, 0, 512 * 2, 0);
			assert_true(zero_of(&f, order, n, pfns) ==
				    ~UINT64_C(0) >> (64 - n));
			for (unsigned i = 0; i < n; i++)
				assert_int_equal(pfns[n - 1 - i], i << order);
			stop(&f);
			start_one(&f, 0, 512 * 2, 0);
			for (unsigned i = 0; i < n; i++)
				assert_int_equal(zero_of(&f, order, 1, pfns),
						 order >= 3 ||
							 (i << order) % 8 == 0);
			stop(&f);
		}
}

static void test_lock_count(void **state)
{
	struct fixture f;
	pfn_t pfns[64];
	uint64_t zero;

	(void)state;
	start_one(&f, 0, 512 * 4, 0);
	assert_int_equal(zone_take(&f.zone[0], 0, 64, pfns, &zero), 64);
	zone_free(&f.zone[0], 0, 64, pfns);
	assert_int_equal(atomic_load(&f.zone[0].locks), 2);
	stop(&f);
}

/* --- frees without the lock --- */

static void test_try_lock(void **state)
{
	const pfn_t cut[] = { 0, 512 * 4 };
	struct fixture f;
	struct zone *zone = &f.zone[0];
	pfn_t pfn;

	(void)state;
	start_deferring(&f, cut, 1, 0);
	pfn = take(&f, 2, NOBODY);
	assert_int_equal(atomic_load(&zone->locks), 1);
	zone_lock(zone);
	defer(&f, zone, 2, pfn);
	assert_false(zone_try_lock(zone));
	assert_int_equal(atomic_load(&zone->locks), 2);
	assert_int_equal(zone_deferred_pages(zone), 4);
	zone_unlock(zone);
	assert_int_equal(zone_deferred_pages(zone), 4);
	assert_true(zone_try_lock(zone));
	assert_int_equal(atomic_load(&zone->locks), 3);
	assert_int_equal(zone_deferred_pages(zone), 0);
	assert_int_equal(zone_free_pages(zone), 512 * 4);
	assert_false(zone_try_lock(zone));
	zone_unlock(zone);
	check_same(&f);
	stop(&f);
}

/* One block, without and with the lock's being taken for it. */
static void test_free_locked(void **state)
{
	struct fixture f;

	(void)state;
	for (unsigned order = 0; order <= QUIRE_MAX_ORDER; order++) {
		pfn_t pfn;

		start_one(&f, 0, (pfn_t)GIGABLOCK_PAGES, 0);
		pfn = take(&f, order, NOBODY);
		mark_free(&f, pfn, UINT64_C(1) << order);
		zone_lock(&f.zone[0]);
		zone_free_locked(&f.zone[0], order, pfn);
		zone_unlock(&f.zone[0]);
		assert_int_equal(atomic_load(&f.zone[0].locks), 2);
		check_same(&f);
		stop(&f);
	}
}

enum next_hold {
	BY_LOCK,
	BY_TRY,
	BY_SETTLE,
	BY_ALLOC,
	BY_EXACT,
	BY_FREE,
	BY_FREE_LARGE,
	BY_RUNS,
	BY_DISOWN,
	BY_DISOWN_ALL,
	NEXT_HOLDS
};

/* Others that the hold may move. */
struct others {
	pfn_t single, large, exact;
};

static void hold_next(struct fixture *f, enum next_hold by, struct others *o)
{
	struct zone *zone = &f->zone[0];
	uint64_t runs[QUIRE_NR_ORDERS] = { 0 };

	switch (by) {
	case BY_LOCK:
		zone_lock(zone);
		assert_int_equal(zone_deferred_pages(zone), 0);
		zone_unlock(zone);
		break;
	case BY_TRY:
		assert_true(zone_try_lock(zone));
		assert_int_equal(zone_deferred_pages(zone), 0);
		zone_unlock(zone);
		break;
	case BY_SETTLE:
		zone_settle(zone);
		break;
	case BY_ALLOC:
		(void)take(f, 3, NOBODY);
		break;
	case BY_EXACT:
		assert_true(take_exact(f, zone, 5, &o->exact));
		break;
	case BY_FREE:
		give(f, zone, 0, o->single);
		break;
	case BY_FREE_LARGE:
		give(f, zone, 9, o->large);
		break;
	case BY_RUNS:
		zone_runs(zone, runs);
		break;
	case BY_DISOWN:
		zone_disown(zone, 0);
		break;
	default:
		zone_disown_all(zone);
		break;
	}
}

static void test_deferred_next_hold(void **state)
{
	static const unsigned orders[] = { 0, 0, 5, 9, 10, 3, 8 };
	const pfn_t cut[] = { 0, 512 * 64 };

	(void)state;
	for (int by = 0; by < NEXT_HOLDS; by++) {
		struct fixture f;
		struct others others;
		pfn_t pfns[TEST_LENGTH(orders)];

		start_deferring(&f, cut, 1, 2);
		others.single = take(&f, 0, NOBODY);
		others.large = take(&f, 9, NOBODY);
		for (size_t i = 0; i < TEST_LENGTH(orders); i++)
			pfns[i] = take(&f, orders[i], NOBODY);
		for (size_t i = 0; i < TEST_LENGTH(orders); i++)
			defer(&f, &f.zone[0], orders[i], pfns[i]);
		hold_next(&f, (enum next_hold)by, &others);
		assert_int_equal(zone_deferred_pages(&f.zone[0]), 0);
		check_same(&f);
		stop(&f);
	}
}

/* Nothing else is free: who takes the lock sees what is deferred. */
static void test_deferred_serves(void **state)
{
	const pfn_t cut[] = { 0, 512 * 2 };
	struct fixture f;
	pfn_t pfn, none;

	(void)state;
	for (unsigned order = 0; order <= 10; order++) {
		start_deferring(&f, cut, 1, 0);
		pfn = take(&f, order, NOBODY);
		for (unsigned k = order; k < 10; k++)
			(void)take(&f, k, NOBODY);
		assert_int_equal(zone_free_pages(&f.zone[0]), 0);
		defer(&f, &f.zone[0], order, pfn);
		assert_int_equal(take(&f, order, NOBODY), pfn);
		assert_int_equal(zone_free_pages(&f.zone[0]), 0);
		defer(&f, &f.zone[0], order, pfn);
		assert_true(take_exact(&f, &f.zone[0], UINT64_C(1) << order,
				       &none));
		assert_int_equal(none, pfn);
		stop(&f);
	}
}

static void shuffle(struct test_rng *rng, pfn_t *pfns, uint8_t *orders,
		    size_t n)
{
	for (size_t i = n; i > 1; i--) {
		size_t at = test_below(rng, i);
		uint8_t order = orders[at];
		pfn_t pfn = pfns[at];

		pfns[at] = pfns[i - 1];
		orders[at] = orders[i - 1];
		pfns[i - 1] = pfn;
		orders[i - 1] = order;
	}
}

/* Blocks of all orders at once, at both ends of the zone too: all merges. */
static void test_deferred_all_orders(void **state)
{
	const pfn_t start_pfn = 37, end = (pfn_t)(3 * GIGABLOCK_PAGES) + 777;
	const pfn_t cut[] = { start_pfn, end };
	enum { BLOCKS = 8000 };
	static pfn_t pfns[BLOCKS];
	static uint8_t orders[BLOCKS];
	struct test_rng rng = test_seed();
	uint64_t before[QUIRE_NR_ORDERS] = { 0 };
	struct fixture f;
	struct zone *zone = &f.zone[0];

	(void)state;
	start_deferring(&f, cut, 1, 0);
	zone_runs(zone, before);
	for (int round = 0; round < 3; round++) {
		uint64_t after[QUIRE_NR_ORDERS] = { 0 };
		size_t n = 0;

		for (unsigned order = QUIRE_NR_ORDERS; order-- > 0;)
			while (n < BLOCKS && take_some(&f, zone, order, NOBODY,
						       1, &pfns[n]) == 1) {
				orders[n++] = (uint8_t)order;
				if (order && test_below(&rng, 4) == 0)
					break;
			}
		assert_true(n < BLOCKS);
		assert_int_equal(zone_free_pages(zone), 0);
		shuffle(&rng, pfns, orders, n);
		for (size_t i = 0; i < n; i++)
			defer(&f, zone, orders[i], pfns[i]);
		assert_int_equal(zone_deferred_pages(zone), end - start_pfn);
		zone_settle(zone);
		assert_int_equal(zone_free_pages(zone), end - start_pfn);
		check_same(&f);
		zone_runs(zone, after);
		assert_memory_equal(after, before, sizeof(after));
	}
	stop(&f);
}

/* Memory that was handed out is not zero, however it came back. */
static void test_deferred_touched(void **state)
{
	const pfn_t cut[] = { 0, 512 * 4 };
	struct fixture f;
	unsigned zeros;
	pfn_t pfn, again;

	(void)state;
	for (unsigned order = 0; order <= 11; order++) {
		start_deferring(&f, cut, 1, 0);
		assert_int_equal(take_zeros(&f, &f.zone[0], order, NOBODY, 1,
					    &pfn, &zeros),
				 1);
		assert_int_equal(zeros, 1);
		defer(&f, &f.zone[0], order, pfn);
		do {
			assert_int_equal(take_zeros(&f, &f.zone[0], order,
						    NOBODY, 1, &again, &zeros),
					 1);
		} while (again != pfn);
		assert_int_equal(zeros, 0);
		stop(&f);
	}
}

/* A zone's list is its own. */
static void test_deferred_zones(void **state)
{
	const pfn_t cut[] = { 5, 512 * 8, 512 * 16, 512 * 30 + 7 };
	struct fixture f;
	pfn_t pfns[3];

	(void)state;
	start_deferring(&f, cut, 3, 0);
	for (unsigned z = 0; z < 3; z++)
		assert_int_equal(
			take_some(&f, &f.zone[z], 4, NOBODY, 1, &pfns[z]), 1);
	for (unsigned z = 0; z < 3; z++)
		defer(&f, &f.zone[z], 4, pfns[z]);
	for (unsigned z = 0; z < 3; z++) {
		zone_settle(&f.zone[z]);
		for (unsigned other = 0; other < 3; other++)
			assert_int_equal(zone_deferred_pages(&f.zone[other]),
					 other > z ? 16 : 0);
	}
	check_same(&f);
	stop(&f);
}

/* Both halves of the list's word at their limits. */
static void test_deferred_largest_region(void **state)
{
	const pfn_t end = (pfn_t)(15 * 1024 * GIGABLOCK_PAGES);
	const pfn_t cut[] = { 0, end };
	struct fixture f;
	uint64_t zero;
	pfn_t pfns[60];
	unsigned n = 0;

	(void)state;
	if (TEST_SANITIZED)
		skip();
	start_deferring(&f, cut, 1, 0);
	for (unsigned got;
	     (got = zone_take(&f.zone[0], 18, 60, pfns, &zero)) > 0;)
		n += got;
	assert_int_equal(n, 15 * 1024);
	for (uint64_t pfn = 0; pfn < end; pfn += GIGABLOCK_PAGES)
		zone_free_deferred(&f.zone[0], 18, (pfn_t)pfn);
	assert_int_equal(zone_deferred_pages(&f.zone[0]), end);
	zone_settle(&f.zone[0]);
	assert_int_equal(zone_deferred_pages(&f.zone[0]), 0);
	assert_int_equal(zone_free_pages(&f.zone[0]), end);
	assert_int_equal(zone_take(&f.zone[0], 0, 1, pfns, &zero), 1);
	stop(&f);
}

/* --- pushes against holds --- */

enum {
	PUSHERS = 4,
	HOLDERS = 2,
	PUSHES = TEST_SANITIZED ? 3000 : 60000,
	OWN_BLOCKS = 8,
	MARKED = 16 /* pages of a block that its owner marks */
};

struct crowd {
	struct zone *zones;
	unsigned nr_zones;
	_Atomic uint8_t *owned; /* by pfn */
	_Atomic bool stop;
	_Atomic uint64_t wrong, pushed, seen; /* blocks; of those, deferred */
};

static void own_block(struct crowd *c, pfn_t pfn, unsigned order, bool own)
{
	for (unsigned i = 0; i < 1u << order && i < MARKED; i++)
		if (atomic_exchange(&c->owned[pfn + i], own) == own)
			atomic_fetch_add(&c->wrong, 1);
}

struct pusher {
	struct crowd *crowd;
	struct test_rng rng;
};

/* What it took it frees without the lock, in another order. */
static void *push_main(void *arg)
{
	struct pusher *p = arg;
	struct crowd *c = p->crowd;

	for (unsigned turn = 0; turn < PUSHES;) {
		struct zone *zone = &c->zones[test_below(&p->rng, c->nr_zones)];
		pfn_t pfns[OWN_BLOCKS];
		uint8_t orders[OWN_BLOCKS];
		unsigned n = 0;
		uint64_t zero;

		while (n < OWN_BLOCKS) {
			orders[n] =
				(uint8_t)(test_below(&p->rng, 2)
						  ? test_below(&p->rng, 4)
						  : test_below(&p->rng, 19));
			if (!zone_take(zone, orders[n], 1, &pfns[n], &zero))
				break;
			own_block(c, pfns[n], orders[n], true);
			n++;
		}
		shuffle(&p->rng, pfns, orders, n);
		for (unsigned i = 0; i < n; i++) {
			if (i == n / 2)
				sched_yield();
			own_block(c, pfns[i], orders[i], false);
			zone_free_deferred(zone, orders[i], pfns[i]);
		}
		atomic_fetch_add(&c->pushed, n);
		turn += n ? n : 1;
	}
	return NULL;
}

static void *hold_main(void *arg)
{
	struct crowd *c = arg;

	for (unsigned turn = 0; !atomic_load(&c->stop); turn++) {
		struct zone *zone = &c->zones[turn % c->nr_zones];

		if (zone_deferred_pages(zone))
			atomic_fetch_add(&c->seen, 1);
		if (turn % 3 == 0) {
			zone_settle(zone);
		} else if (zone_try_lock(zone)) {
			sched_yield();
			zone_settle_locked(zone);
			zone_unlock(zone);
		}
	}
	return NULL;
}

static void test_deferred_threads(void **state)
{
	const pfn_t cut[] = { 7, (pfn_t)(GIGABLOCK_PAGES * 2),
			      (pfn_t)(GIGABLOCK_PAGES * 4 + 1234) };
	struct pusher pushers[PUSHERS];
	pthread_t threads[PUSHERS], holders[HOLDERS];
	struct test_rng rng = test_seed();
	struct crowd crowd = { .nr_zones = 2 };
	struct fixture f;

	(void)state;
	start_deferring(&f, cut, 2, 0);
	crowd.zones = f.zone;
	crowd.owned = calloc(cut[2], 1);
	assert_non_null(crowd.owned);
	for (int i = 0; i < HOLDERS; i++)
		assert_int_equal(
			pthread_create(&holders[i], NULL, hold_main, &crowd),
			0);
	for (int i = 0; i < PUSHERS; i++) {
		pushers[i].crowd = &crowd;
		pushers[i].rng.state = test_random(&rng);
		assert_int_equal(pthread_create(&threads[i], NULL, push_main,
						&pushers[i]),
				 0);
	}
	for (int i = 0; i < PUSHERS; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&crowd.stop, true);
	for (int i = 0; i < HOLDERS; i++)
		pthread_join(holders[i], NULL);
	printf("# %llu blocks deferred, seen so by others %llu times\n",
	       (unsigned long long)atomic_load(&crowd.pushed),
	       (unsigned long long)atomic_load(&crowd.seen));
	assert_int_equal(atomic_load(&crowd.wrong), 0);
	for (unsigned z = 0; z < 2; z++)
		zone_settle(&f.zone[z]);
	check_same(&f);
	free((void *)crowd.owned);
	stop(&f);
}

/* --- what one hold moves --- */

/* A full batch of untouched memory: one hold, the lowest last, all zero. */
static void test_full_batch(void **state)
{
	(void)state;
	for (unsigned order = 0; order < 6; order++) {
		/* As far as they lie in that many words. */
		unsigned n = 64 * ZONE_TAKE_WORDS >> order, zeros;
		struct fixture f;
		pfn_t pfns[ZONE_BATCH];

		if (n > ZONE_BATCH)
			n = ZONE_BATCH;
		start_one(&f, 0, 512 * 32, 0);
		assert_int_equal(take_zeros(&f, &f.zone[0], order, NOBODY,
					    ZONE_BATCH, pfns, &zeros),
				 n);
		assert_int_equal(zeros, n);
		assert_int_equal(atomic_load(&f.zone[0].locks), 1);
		/* Blocks of order 9 are broken up in ascending order. */
		for (unsigned i = 0; i < n; i++)
			assert_int_equal(pfns[i], (n - 1 - i) << order);
		check_same(&f);
		stop(&f);
	}
}

/* Blocks that are words and more count one each: a pageblock is finished. */
static void test_full_batch_large(void **state)
{
	(void)state;
	for (unsigned order = 6; order < 12; order++) {
		struct fixture f;
		pfn_t pfns[ZONE_BATCH];

		start_one(&f, 0, (pfn_t)ZONE_BATCH << order, 0);
		for (unsigned left = ZONE_BATCH; left; left -= ZONE_TAKE_WORDS)
			assert_int_equal(take_some(&f, &f.zone[0], order,
						   NOBODY, ZONE_BATCH, pfns),
					 ZONE_TAKE_WORDS);
		assert_int_equal(take_some(&f, &f.zone[0], order, NOBODY,
					   ZONE_BATCH, pfns),
				 0);
		assert_int_equal(zone_free_pages(&f.zone[0]), 0);
		check_same(&f);
		stop(&f);
	}
}

enum { SCATTERED_BLOCKS = 48 };

/* All pages are taken; those of each word that are set in `free` come back. */
static void start_scattered(struct fixture *f, uint64_t free)
{
	pfn_t pfns[64 * BLOCK_WORDS];

	start_one(f, 0, 512 * SCATTERED_BLOCKS, 2);
	assert_int_equal(f->zone[0].nr_owners, 2);
	for (unsigned i = 0; i < SCATTERED_BLOCKS; i++)
		take_block(f);
	for (unsigned block = 0; block < SCATTERED_BLOCKS; block++) {
		unsigned n = 0;

		for (pfn_t pfn = 512 * block; pfn < 512 * (block + 1); pfn++)
			if (free >> pfn % 64 & 1)
				pfns[n++] = pfn;
		give_some(f, &f->zone[0], 0, n, pfns);
	}
}

/* What is free in every word, and how blocks of an order lie in it. */
struct scattered {
	uint64_t free;
	unsigned order, blocks, parts;
};

/* How many come at once: whole pageblocks until there are enough parts. */
static unsigned scattered_batch(const struct scattered *s)
{
	unsigned a_pageblock = s->parts * BLOCK_WORDS;
	unsigned pageblocks = (ZONE_TAKE_WORDS + a_pageblock - 1) / a_pageblock;
	unsigned n = pageblocks * s->blocks * BLOCK_WORDS;

	return n < ZONE_BATCH ? n : ZONE_BATCH;
}

/* Each call but the last has a batch, until all that was free is taken. */
static void check_scattered(const struct scattered *s, int cpu)
{
	unsigned left = s->blocks * BLOCK_WORDS * SCATTERED_BLOCKS;
	unsigned batch = scattered_batch(s);
	struct fixture f;
	pfn_t pfns[ZONE_BATCH];

	start_scattered(&f, s->free);
	check_same(&f);
	while (left) {
		unsigned got = take_some(&f, &f.zone[0], s->order, cpu,
					 ZONE_BATCH, pfns);

		assert_int_equal(got, left < batch ? left : batch);
		left -= got;
		check_same(&f);
	}
	assert_int_equal(
		take_some(&f, &f.zone[0], s->order, cpu, ZONE_BATCH, pfns), 0);
	assert_int_equal(owned_by(&f.zone[0], 0), 0);
	check_same(&f);
	stop(&f);
}

/* A hold ends after so many words, however few of their pages are free. */
static void test_hold_ends(void **state)
{
	static const struct scattered cases[] = {
		{ UINT64_C(0x0000000000000001), 0, 1, 1 },
		{ UINT64_C(0x8000000000000000), 0, 1, 1 },
		{ UINT64_C(0x0000000100000001), 0, 2, 1 },
		{ UINT64_C(0x0000040000200010), 0, 3, 1 },
		{ UINT64_C(0x0001000100010001), 0, 4, 1 },
		{ UINT64_C(0x0101010101010101), 0, 8, 1 },
		/* Every second page: a full batch from one pageblock. */
		{ UINT64_C(0x5555555555555555), 0, 32, 1 },
		/* Single pages of runs of 1 and 2 are one part all the same. */
		{ UINT64_C(0x0000000000003001), 0, 3, 1 },
		/* In larger orders each size of run is a part of its own. */
		{ UINT64_C(0x0000000000000003), 1, 1, 1 },
		{ UINT64_C(0x00000000000000f3), 1, 3, 2 },
		{ UINT64_C(0x0000000000ff0f03), 1, 7, 3 },
		{ UINT64_C(0x00000000ffffffff), 5, 1, 1 },
	};

	(void)state;
	assert_int_equal(scattered_batch(&cases[0]), ZONE_TAKE_WORDS);
	for (size_t i = 0; i < TEST_LENGTH(cases); i++)
		for (int cpu = NOBODY; cpu < 1; cpu++)
			check_scattered(&cases[i], cpu);
}

/* With the lock held by the caller: the same blocks. */
static void test_hold_ends_locked(void **state)
{
	static const uint64_t free[] = { 1, UINT64_C(0x0000000100000001),
					 UINT64_C(0x5555555555555555) };

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(free); i++) {
		const struct zone_ask ask = plain(0);
		uint64_t zero[2][ZONE_BATCH / 64];
		pfn_t pfns[2][ZONE_BATCH];
		enum quire_mobility kept;
		unsigned got[2];
		struct fixture f;

		start_scattered(&f, free[i]);
		got[0] = zone_take(&f.zone[0], 0, ZONE_BATCH, pfns[0], zero[0]);
		stop(&f);
		start_scattered(&f, free[i]);
		zone_lock(&f.zone[0]);
		got[1] = zone_alloc_locked(&f.zone[0], &ask, UINT32_MAX,
					   ZONE_BATCH, pfns[1], zero[1], &kept);
		zone_unlock(&f.zone[0]);
		stop(&f);
		assert_int_equal(got[0], got[1]);
		assert_memory_equal(pfns[0], pfns[1], got[0] * sizeof(pfn_t));
		assert_memory_equal(zero[0], zero[1], sizeof(zero[0]));
	}
}

/*
 * n blocks, `step` pages apart and so in that many words, go back, in random
 * order or not.
 */
static void check_free_holds(struct test_rng *rng, unsigned order, unsigned n,
			     pfn_t step, unsigned words)
{
	pfn_t pfns[600];
	struct fixture f;
	uint64_t locks;

	assert_true(n <= TEST_LENGTH(pfns));
	start_one(&f, 0, (n * step + 511) / 512 * 512, 0);
	while (take_some(&f, &f.zone[0], order, NOBODY, ZONE_BATCH, pfns))
		;
	for (unsigned i = 0; i < n; i++)
		pfns[i] = i * step;
	for (unsigned i = n; rng && i > 1; i--) {
		unsigned at = (unsigned)test_below(rng, i);
		pfn_t pfn = pfns[at];

		pfns[at] = pfns[i - 1];
		pfns[i - 1] = pfn;
	}
	locks = atomic_load(&f.zone[0].locks);
	give_some(&f, &f.zone[0], order, n, pfns);
	assert_int_equal(atomic_load(&f.zone[0].locks),
			 locks + give_holds(words));
	assert_int_equal(zone_free_pages(&f.zone[0]), (uint64_t)n << order);
	check_same(&f);
	stop(&f);
}

/* 64 pages whose first and last are a word's, but one between is elsewhere. */
static void test_free_nearly_a_run(void **state)
{
	(void)state;
	for (unsigned odd = 1; odd < 63; odd++) {
		pfn_t pfns[ZONE_BATCH];
		struct fixture f;

		start_one(&f, 0, 1024, 0);
		while (take_some(&f, &f.zone[0], 0, NOBODY, ZONE_BATCH, pfns))
			;
		for (unsigned i = 0; i < 64; i++)
			pfns[i] = i == odd ? 512 + odd : i;
		give_some(&f, &f.zone[0], 0, 64, pfns);
		check_same(&f);
		stop(&f);
	}
}

/* As many holds as words, or large blocks, take; neighbours share a word. */
static void test_free_holds(void **state)
{
	const unsigned most = ZONE_GIVE_WORDS;
	struct test_rng rng = test_seed();

	(void)state;
	check_free_holds(&rng, 0, 600, 64, 600);
	check_free_holds(NULL, 0, 600, 64, 600);
	check_free_holds(NULL, 0, 600, 32, 300);
	check_free_holds(NULL, 0, 600, 2, 19);
	check_free_holds(NULL, 0, 600, 1, 10);
	check_free_holds(NULL, 0, most, 64, most);
	check_free_holds(NULL, 0, most + 1, 64, most + 1);
	check_free_holds(NULL, 5, 2 * most, 32, most);
	check_free_holds(NULL, 5, 2 * most + 1, 32, most + 1);
	for (unsigned order = 6; order < 10; order++) {
		check_free_holds(&rng, order, most, 1u << order, most);
		check_free_holds(&rng, order, most + 1, 1u << order, most + 1);
		check_free_holds(NULL, order, 300, 1u << order, 300);
	}
}

/* --- batches that go back --- */

/* More than are ever taken at once. */
enum { FREE_BATCH = 600 };

/* Moves one of the n left to the end of them; it. */
static pfn_t draw(pfn_t *left, size_t n, size_t at)
{
	pfn_t pfn = left[at];

	left[at] = left[n - 1];
	left[n - 1] = pfn;
	return pfn;
}

/*
 * Chooses the batch from the n blocks in left[]: any; those within a few words
 * of the first; two places by turns, so that neighbours are apart in the batch.
 */
static unsigned choose(struct test_rng *rng, pfn_t *left, size_t n, pfn_t *pfns)
{
	unsigned most = 1 + (unsigned)test_below(rng, FREE_BATCH), nr = 0;
	uint64_t kind = test_below(rng, 3);
	pfn_t near[2];

	if (most > FREE_BATCH / 2)
		most = FREE_BATCH;
	near[0] = left[test_below(rng, n)];
	near[1] = left[test_below(rng, n)];
	for (unsigned tries = 0; nr < most && nr < n && tries < 4000; tries++) {
		size_t at = test_below(rng, n - nr);
		pfn_t to = near[kind == 2 ? nr % 2 : 0];

		if (kind && left[at] / 128 != to / 128 && tries < 3000)
			continue;
		pfns[nr] = draw(left, n - nr, at);
		nr++;
	}
	return nr;
}

/* All pages of the zone, in blocks of an order, go back in batches. */
static void check_batches(struct test_rng *rng, unsigned order, pfn_t blocks)
{
	pfn_t pfns[FREE_BATCH], end = 512 * blocks + 300;
	size_t n = 0, max = end;
	pfn_t *left = malloc(max * sizeof(*left));
	struct fixture f;

	assert_non_null(left);
	start_one(&f, 37, end, 0);
	while (take_some(&f, &f.zone[0], order, NOBODY, 1, &left[n]))
		n++;
	while (n) {
		unsigned nr = choose(rng, left, n, pfns);

		give_some(&f, &f.zone[0], order, nr, pfns);
		n -= nr;
		check_same(&f);
		for (unsigned i = 0; i < nr; i++) {
			struct block *block = block_of(&f, pfns[i]);

			assert_true(zone_page_is_free(&f.zone[0], pfns[i]));
			if (block->broken && pfns[i] / 512 > 0 &&
			    pfns[i] / 512 < blocks)
				assert_int_equal(
					block->largest,
					ref_block(&f, pfns[i] / 512).largest);
		}
	}
	free(left);
	stop(&f);
}

static void test_free_batches(void **state)
{
	struct test_rng rng = test_seed();

	(void)state;
	for (unsigned order = 0; order < 10; order++)
		check_batches(&rng, order,
			      (TEST_SANITIZED ? 6u : 24u) << (order > 3));
}

/* --- random operations --- */

struct live {
	pfn_t pfn;
	uint8_t order, zone;
};

struct play {
	struct fixture f;
	struct test_rng rng;
	struct live *live;
	size_t n, max;
};

static void remember(struct play *p, pfn_t pfn, unsigned order, unsigned zone)
{
	assert_true(p->n < p->max);
	p->live[p->n++] = (struct live){ pfn, (uint8_t)order, (uint8_t)zone };
}

static void play_take(struct play *p, unsigned z)
{
	struct zone *zone = &p->f.zone[z];
	unsigned order = (unsigned)test_below(&p->rng, 10);
	unsigned n = 1 + (unsigned)test_below(&p->rng, ZONE_BATCH), got;
	int cpu = (int)test_below(&p->rng, 4) - 1;
	pfn_t pfns[ZONE_BATCH];

	if (test_below(&p->rng, 8) == 0)
		order = (unsigned)test_below(&p->rng, QUIRE_NR_ORDERS);
	if (order > 12)
		n = 1;
	got = take_some(&p->f, zone, order, cpu, n, pfns);
	for (unsigned i = 0; i < got; i++)
		remember(p, pfns[i], order, z);
	/* A hold ends after so many words, if not before. */
	if (got < n && got < ZONE_TAKE_WORDS)
		assert_false(ref_has_run(&p->f, zone, order));
}

static void play_exact(struct play *p, unsigned z)
{
	struct zone *zone = &p->f.zone[z];
	uint64_t pages =
		1 + test_below(&p->rng, test_below(&p->rng, 4) ? 600 : 6000);
	pfn_t pfn;

	if (!take_exact(&p->f, zone, pages, &pfn)) {
		assert_false(ref_has_run(&p->f, zone, bits_order(pages)));
		return;
	}
	for (uint64_t i = 0; i < pages; i++)
		remember(p, (pfn_t)(pfn + i), 0, z);
}

/* Up to a batch of blocks of one order and zone, from anywhere in the list. */
static void play_give(struct play *p)
{
	size_t at = test_below(&p->rng, p->n);
	struct live first = p->live[at];
	pfn_t pfns[FREE_BATCH];
	unsigned n = 0, most = 1 + (unsigned)test_below(&p->rng, FREE_BATCH);

	while (n < most && at < p->n && p->live[at].order == first.order &&
	       p->live[at].zone == first.zone) {
		pfns[n++] = p->live[at].pfn;
		p->live[at] = p->live[--p->n];
		/* Neighbours as often as strangers. */
		if (test_below(&p->rng, 2) == 0 && p->n)
			at = test_below(&p->rng, p->n);
	}
	if (test_below(&p->rng, 3)) {
		give_some(&p->f, &p->f.zone[first.zone], first.order, n, pfns);
		return;
	}
	while (n)
		defer(&p->f, &p->f.zone[first.zone], first.order, pfns[--n]);
}

static void play(struct play *p, unsigned steps, unsigned check_every)
{
	unsigned taking = 50;

	for (unsigned step = 0; step < steps; step++) {
		unsigned z = (unsigned)test_below(&p->rng, p->f.nr_zones);
		uint64_t dice = test_below(&p->rng, 100);

		if (step % 400 == 0)
			taking = 10 + (unsigned)test_below(&p->rng, 70);
		if (dice >= 99)
			zone_disown_all(&p->f.zone[z]);
		else if (dice >= 97)
			zone_disown(&p->f.zone[z],
				    (uint32_t)test_below(&p->rng, 3));
		else if (dice < taking)
			dice % 8 ? play_take(p, z) : play_exact(p, z);
		else
			for (unsigned i = 0; i < 20 && p->n; i++)
				play_give(p);
		if (step % check_every == 0)
			check_same(&p->f);
	}
}

static void play_zones(const pfn_t *cut, unsigned nr_zones, uint32_t owners,
		       bool known_zero, unsigned steps)
{
	static struct play p;
	uint64_t runs[MAX_ZONES][QUIRE_NR_ORDERS];

	if (TEST_SANITIZED)
		steps /= 5;
	p = (struct play){ .rng = test_seed() };
	start_deferring(&p.f, cut, nr_zones, owners);
	p.f.map.region.known_zero = known_zero;
	for (unsigned z = 0; z < nr_zones; z++)
		ref_runs(&p.f, &p.f.zone[z], runs[z]);
	p.max = cut[nr_zones] - cut[0];
	p.live = malloc(p.max * sizeof(*p.live));
	assert_non_null(p.live);
	play(&p, steps, steps / 12);
	while (p.n)
		play_give(&p);
	check_same(&p.f);
	for (unsigned z = 0; z < nr_zones; z++) {
		uint64_t after[QUIRE_NR_ORDERS] = { 0 };

		zone_runs(&p.f.zone[z], after);
		assert_memory_equal(after, runs[z], sizeof(after));
	}
	free(p.live);
	stop(&p.f);
}

/* GiB 1 is all in zone 0; its ends lie inside pageblocks. */
static void test_random_one_zone(void **state)
{
	static const pfn_t cut[] = { 200000, 2 * 262144 + 30007 };

	(void)state;
	play_zones(cut, 1, 3, true, 4000);
}

static void test_random_two_zones(void **state)
{
	static const pfn_t cut[] = { 1, 512 * 33, 512 * 200 + 511 };

	(void)state;
	play_zones(cut, 2, 3, true, 8000);
}

/* GiB 0 and 2 are each shared by two. */
static void test_random_three_zones(void **state)
{
	static const pfn_t cut[] = { 200000, 512 * 450, 524288 + 512 * 20,
				     524288 + 512 * 60 + 9 };

	(void)state;
	play_zones(cut, 3, 2, false, 4000);
}

static void test_random_tiny(void **state)
{
	static const pfn_t cut[] = { 37, 512 * 3 + 200 };

	(void)state;
	play_zones(cut, 1, 3, true, 40000);
}

/* --- types --- */

/* The other types that a type's calls go to, in that order. */
static const enum quire_mobility fallback[NR_CALL_TYPES][2] = {
	[QUIRE_TYPE_UNMOVABLE] = { QUIRE_TYPE_RECLAIMABLE, QUIRE_TYPE_MOVABLE },
	[QUIRE_TYPE_MOVABLE] = { QUIRE_TYPE_RECLAIMABLE, QUIRE_TYPE_UNMOVABLE },
	[QUIRE_TYPE_RECLAIMABLE] = { QUIRE_TYPE_UNMOVABLE, QUIRE_TYPE_MOVABLE },
};

static const enum quire_mobility kept_types[] = { QUIRE_TYPE_HIGHATOMIC,
						  QUIRE_TYPE_CMA,
						  QUIRE_TYPE_ISOLATED };

/* With state words, which say what type a page was handed out as; and marks. */
static void start_typed(struct fixture *f, pfn_t first, pfn_t end,
			uint32_t owners)
{
	start_one(f, first, end, owners);
	f->words_bytes = (size_t)(end - first + 512) * 8;
	f->words = mmap(NULL, f->words_bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(f->words, MAP_FAILED);
	/* A pageblock's words are one page of memory. */
	f->map.pages = f->words - first / 512 * 512;
	watermark_init(&f->zone[0].marks, end - first, end - first, 0, 10);
}

static void set_word(struct fixture *f, pfn_t pfn, uint64_t word)
{
	page_set_word(memmap_page(&f->map, pfn), word);
}

static uint64_t head_word(unsigned order, enum quire_mobility type)
{
	return PAGE_HEAD | order | page_tag(0, type);
}

static bool ask_for(struct fixture *f, const struct zone_ask *ask, pfn_t *pfn,
		    enum quire_mobility *kept)
{
	uint64_t zero;

	if (!zone_alloc(&f->zone[0], ask, UINT32_MAX, 1, pfn, &zero, kept))
		return false;
	mark_taken(f, &f->zone[0], *pfn, UINT64_C(1) << ask->order, false);
	set_word(f, *pfn, head_word(ask->order, ask->type));
	return true;
}

static pfn_t take_type(struct fixture *f, unsigned order,
		       enum quire_mobility type)
{
	const struct zone_ask ask = { .order = order, .type = type };
	enum quire_mobility kept;
	pfn_t pfn = PFN_NONE;

	assert_true(ask_for(f, &ask, &pfn, &kept));
	assert_int_equal(kept, type);
	return pfn;
}

static void give_type(struct fixture *f, unsigned order, pfn_t pfn)
{
	set_word(f, pfn, PAGE_FREE);
	give(f, &f->zone[0], order, pfn);
}

static int type_at(struct fixture *f, pfn_t pfn)
{
	return zone_type(&f->zone[0], pfn >> BLOCK_ORDER);
}

static uint64_t claims_of(struct fixture *f)
{
	return atomic_load(&f->zone[0].claims);
}

static uint64_t steals_of(struct fixture *f)
{
	return atomic_load(&f->zone[0].steals);
}

static uint64_t boost_of(struct fixture *f)
{
	return atomic_load(&f->zone[0].marks.boost);
}

static void unboost(struct fixture *f)
{
	watermark_unboost(&f->zone[0].marks);
}

/* A block of a type all of whose pages are live; its first. */
static pfn_t full_block(struct fixture *f, enum quire_mobility type)
{
	const struct zone_ask ask = { .order = 9, .type = type };
	pfn_t pfn;
	bool zero;

	assert_true(zone_alloc_exact(&f->zone[0], &ask, 512, &pfn, &zero));
	mark_taken(f, &f->zone[0], pfn, 512, false);
	for (pfn_t i = 0; i < 512; i++)
		set_word(f, pfn + i, head_word(0, type));
	assert_int_equal(type_at(f, pfn), type);
	return pfn;
}

static void give_run(struct fixture *f, pfn_t pfn, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		give_type(f, 0, pfn + i);
}

/* One with its first pages free. */
static pfn_t block_with(struct fixture *f, enum quire_mobility type,
			unsigned free)
{
	pfn_t pfn = full_block(f, type);

	give_run(f, pfn, free);
	return pfn;
}

static void use_up_whole(struct fixture *f)
{
	while (f->zone[0].free_whole)
		take_type(f, 9, QUIRE_TYPE_UNMOVABLE);
}

static void stop_typed(struct fixture *f)
{
	check_same(f);
	assert_int_equal(munmap(f->words, f->words_bytes), 0);
	stop(f);
}

static void test_own_type_first(void **state)
{
	struct fixture f;
	pfn_t of[NR_CALL_TYPES];
	uint64_t whole;

	(void)state;
	start_typed(&f, 0, 512 * 16, 0);
	for (unsigned t = 0; t < NR_CALL_TYPES; t++)
		of[t] = block_with(&f, t, 300 + 30 * t);
	whole = f.zone[0].free_whole;
	for (unsigned order = 0; order < 7; order++)
		for (unsigned t = 0; t < NR_CALL_TYPES; t++) {
			uint32_t free = f.zone[0].free_type[t];

			assert_int_equal(take_type(&f, order, t) >> 9,
					 of[t] >> 9);
			assert_int_equal(f.zone[0].free_type[t],
					 free - (1u << order));
		}
	assert_int_equal(f.zone[0].free_whole, whole);
	assert_int_equal(claims_of(&f) + steals_of(&f), 0);
	assert_int_equal(boost_of(&f), 0);
	stop_typed(&f);
}

/* A whole block is broken for a type before another type's is touched. */
static void test_whole_before_claim(void **state)
{
	(void)state;
	for (unsigned t = 0; t < NR_CALL_TYPES; t++) {
		struct fixture f;
		uint64_t whole;
		pfn_t pfn;

		start_typed(&f, 0, 512 * 16, 0);
		for (unsigned i = 0; i < 2; i++)
			block_with(&f, fallback[t][i], 511);
		whole = f.zone[0].free_whole;
		pfn = take_type(&f, 3, t);
		assert_int_equal(type_at(&f, pfn), t);
		assert_int_equal(f.zone[0].free_whole, whole - 512);
		assert_int_equal(f.zone[0].free_type[t], 512 - 8);
		assert_int_equal(f.zone[0].free_type[fallback[t][0]], 511);
		assert_int_equal(f.zone[0].free_type[fallback[t][1]], 511);
		assert_int_equal(claims_of(&f) + steals_of(&f), 0);
		stop_typed(&f);
	}
}

/* By the table, one type after the other; what is free moves with the block. */
static void test_claim_order(void **state)
{
	(void)state;
	for (unsigned t = 0; t < NR_CALL_TYPES; t++) {
		struct fixture f;
		struct zone *zone = &f.zone[0];
		pfn_t from[2], pfn;

		start_typed(&f, 0, 512 * 16, 0);
		for (unsigned i = 0; i < 2; i++)
			from[i] = block_with(&f, fallback[t][i], 300 + 100 * i);
		use_up_whole(&f);
		for (unsigned i = 0; i < 2; i++) {
			unboost(&f);
			pfn = take_type(&f, 2, t);
			assert_int_equal(pfn >> 9, from[i] >> 9);
			assert_int_equal(type_at(&f, pfn), t);
			assert_int_equal(zone->free_type[t], 296 + 100 * i);
			assert_int_equal(zone->free_type[fallback[t][i]], 0);
			assert_int_equal(claims_of(&f), i + 1);
			assert_int_equal(boost_of(&f), 512);
			check_same(&f);
			while (i == 0 && zone->free_type[t])
				take_type(&f, 0, t);
		}
		assert_int_equal(steals_of(&f), 0);
		stop_typed(&f);
	}
}

/*
 * A block with so many pages free and so many alike, in blocks of an order, is
 * asked for a page of type t.
 */
static void check_threshold(unsigned free, unsigned alike, unsigned order,
			    uint64_t kind, bool claimed)
{
	const enum quire_mobility t = QUIRE_TYPE_MOVABLE;
	const enum quire_mobility other = QUIRE_TYPE_UNMOVABLE;
	struct fixture f;
	pfn_t block, at, pfn;

	start_typed(&f, 0, 512 * 16, 0);
	block = block_with(&f, other, free);
	use_up_whole(&f);
	at = (block + free + (1u << order) - 1) >> order << order;
	for (; alike; alike -= 1u << order, at += 1u << order) {
		for (pfn_t i = 0; i < 1u << order; i++)
			set_word(&f, at + i, PAGE_FREE);
		set_word(&f, at, kind | order | page_tag(0, t));
	}
	assert_true(at <= block + 512);
	pfn = take_type(&f, 0, t);
	assert_int_equal(pfn >> 9, block >> 9);
	assert_int_equal(type_at(&f, pfn), claimed ? t : other);
	assert_int_equal(claims_of(&f), claimed);
	assert_int_equal(steals_of(&f), !claimed);
	assert_int_equal(f.zone[0].free_type[t], claimed ? free - 1 : 0);
	assert_int_equal(f.zone[0].free_type[other], claimed ? 0 : free - 1);
	assert_int_equal(boost_of(&f), 512);
	stop_typed(&f);
}

/* Half of it free, or of the caller's type already: not a page less. */
static void test_claim_threshold(void **state)
{
	(void)state;
	check_threshold(511, 0, 0, PAGE_HEAD, true);
	check_threshold(256, 0, 0, PAGE_HEAD, true);
	check_threshold(255, 0, 0, PAGE_HEAD, false);
	check_threshold(1, 0, 0, PAGE_HEAD, false);
	check_threshold(255, 1, 0, PAGE_HEAD, true);
	check_threshold(255, 1, 0, PAGE_PCP, true);
	check_threshold(200, 56, 0, PAGE_HEAD, true);
	check_threshold(200, 55, 0, PAGE_HEAD, false);
	check_threshold(200, 56, 3, PAGE_PCP, true);
	check_threshold(200, 48, 4, PAGE_HEAD, false);
	check_threshold(1, 255, 0, PAGE_HEAD, true);
	check_threshold(1, 254, 0, PAGE_HEAD, false);
}

/*
 * At the region's edge lies a block of which the zone has [first, end), eight
 * of them free, so many of the others alike, from the edge on. What lies beside
 * their words looks alike, too.
 */
static void check_edge(pfn_t first, pfn_t end, unsigned alike, bool claimed)
{
	const enum quire_mobility t = QUIRE_TYPE_MOVABLE;
	const bool head = first % 512;
	const pfn_t block = head ? first / 512 * 512 : end / 512 * 512;
	struct fixture f;
	pfn_t pfn;

	start_typed(&f, first, end, 0);
	while (f.zone[0].free_type[QUIRE_TYPE_UNMOVABLE])
		assert_int_equal(take_type(&f, 0, QUIRE_TYPE_UNMOVABLE) >> 9,
				 block >> 9);
	use_up_whole(&f);
	give_run(&f, head ? block + 504 : block, 8);
	for (pfn_t i = block; i < block + 512; i++)
		if (i < first || i >= end)
			set_word(&f, i, head_word(0, t));
	for (unsigned i = 0; i < alike; i++)
		set_word(&f, head ? first + i : end - 1 - i, head_word(0, t));
	pfn = take_type(&f, 0, t);
	assert_int_equal(pfn >> 9, block >> 9);
	assert_int_equal(type_at(&f, pfn), claimed ? t : QUIRE_TYPE_UNMOVABLE);
	assert_int_equal(claims_of(&f), claimed);
	assert_int_equal(steals_of(&f), !claimed);
	stop_typed(&f);
}

/* No page beside the region is asked what it is. */
static void test_claim_at_edge(void **state)
{
	(void)state;
	check_edge(512 - 50, 512 * 16, 0, false);
	check_edge(0, 512 * 15 + 50, 0, false);
	check_edge(100, 512 * 16, 247, false);
	check_edge(100, 512 * 16, 248, true);
	check_edge(0, 512 * 15 + 412, 247, false);
	check_edge(0, 512 * 15 + 412, 248, true);
}

/* Of a type's blocks with the largest run, the emptiest is claimed. */
static void test_claim_emptiest(void **state)
{
	struct fixture f;
	pfn_t emptiest;

	(void)state;
	start_typed(&f, 0, 512 * 16, 0);
	block_with(&f, QUIRE_TYPE_RECLAIMABLE, 300);
	emptiest = block_with(&f, QUIRE_TYPE_RECLAIMABLE, 480);
	block_with(&f, QUIRE_TYPE_RECLAIMABLE, 350);
	use_up_whole(&f);
	assert_int_equal(take_type(&f, 0, QUIRE_TYPE_UNMOVABLE) >> 9,
			 emptiest >> 9);
	assert_int_equal(claims_of(&f), 1);
	stop_typed(&f);
}

/* A lent run is the smallest that fits, and its block remains what it is. */
static void test_lend(void **state)
{
	const enum quire_mobility from = QUIRE_TYPE_RECLAIMABLE;
	struct fixture f;
	pfn_t single, pair, large;

	(void)state;
	start_typed(&f, 0, 512 * 16, 0);
	large = full_block(&f, from);
	give_run(&f, large + 128, 32);
	pair = full_block(&f, from);
	give_run(&f, pair + 64, 2);
	single = full_block(&f, from);
	give_run(&f, single + 77, 1);
	use_up_whole(&f);
	assert_int_equal(take_type(&f, 0, QUIRE_TYPE_MOVABLE), single + 77);
	assert_int_equal(boost_of(&f), 512);
	assert_int_equal(take_type(&f, 1, QUIRE_TYPE_MOVABLE), pair + 64);
	assert_int_equal(take_type(&f, 0, QUIRE_TYPE_MOVABLE), large + 128);
	assert_int_equal(take_type(&f, 0, QUIRE_TYPE_UNMOVABLE), large + 129);
	assert_int_equal(type_at(&f, single), from);
	assert_int_equal(type_at(&f, pair), from);
	assert_int_equal(type_at(&f, large), from);
	assert_int_equal(steals_of(&f), 4);
	assert_int_equal(claims_of(&f), 0);
	assert_int_equal(f.zone[0].free_type[from], 30);
	assert_int_equal(f.zone[0].free_type[QUIRE_TYPE_MOVABLE], 0);
	/* It goes back to the block's type. */
	give_type(&f, 0, single + 77);
	assert_int_equal(f.zone[0].free_type[from], 31);
	stop_typed(&f);
}

/* So much is free in blocks of a type, in runs of one page, that the zone is
 * scattered: single pages and no more. */
static void scatter(struct fixture *f, enum quire_mobility type)
{
	while (!zone_is_scattered(&f->zone[0])) {
		pfn_t block = full_block(f, type);

		for (pfn_t i = 0; i < 512; i += 2)
			give_type(f, 0, block + i);
	}
}

/* Where much is loose it is used before a whole block is broken: claimed, or
 * lent between types that can be emptied. */
static void test_scattered(void **state)
{
	(void)state;
	for (unsigned from = 0; from < NR_CALL_TYPES; from++)
		for (unsigned t = 0; t < NR_CALL_TYPES; t++) {
			bool mixes = from && t;
			struct fixture f;
			uint64_t whole;
			pfn_t pfn;

			if (t == from)
				continue;
			start_typed(&f, 0, 512 * 128, 0);
			scatter(&f, from);
			whole = f.zone[0].free_whole;
			/* Half of it is free: claimed. */
			pfn = take_type(&f, 0, t);
			assert_int_equal(type_at(&f, pfn), t);
			assert_int_equal(claims_of(&f), 1);
			assert_int_equal(f.zone[0].free_whole, whole);
			/* That is no shortage. */
			assert_int_equal(boost_of(&f), 0);
			for (unsigned i = 1; i < 256; i++)
				assert_int_equal(take_type(&f, 0, t) >> 9,
						 pfn >> 9);
			/* No run of two is loose. */
			pfn = take_type(&f, 1, t);
			assert_int_equal(type_at(&f, pfn), t);
			assert_int_equal(f.zone[0].free_whole, whole - 512);
			for (unsigned i = 0; i < 255; i++)
				take_type(&f, 1, t);
			stop_typed(&f);

			/* Less than half of any: lent, if they get on. */
			start_typed(&f, 0, 512 * 128, 0);
			for (unsigned i = 0; !zone_is_scattered(&f.zone[0]);
			     i++)
				block_with(&f, from, 255);
			whole = f.zone[0].free_whole;
			pfn = take_type(&f, 0, t);
			assert_int_equal(type_at(&f, pfn), mixes ? from : t);
			assert_int_equal(steals_of(&f), mixes);
			assert_int_equal(claims_of(&f), 0);
			assert_int_equal(boost_of(&f), 0);
			assert_int_equal(f.zone[0].free_whole,
					 mixes ? whole : whole - 512);
			stop_typed(&f);
		}
}

/* Batches lend and claim as single calls do, block by block. */
static void test_claim_batch(void **state)
{
	const struct zone_ask ask = { .type = QUIRE_TYPE_MOVABLE };
	uint64_t zero[256 / 64];
	pfn_t pfns[256];
	enum quire_mobility kept;
	struct fixture f;
	pfn_t claimed, lent;

	(void)state;
	start_typed(&f, 0, 512 * 16, 0);
	claimed = block_with(&f, QUIRE_TYPE_RECLAIMABLE, 256);
	lent = block_with(&f, QUIRE_TYPE_UNMOVABLE, 100);
	use_up_whole(&f);
	assert_int_equal(zone_alloc(&f.zone[0], &ask, UINT32_MAX, 256, pfns,
				    zero, &kept),
			 256);
	assert_int_equal(type_at(&f, claimed), QUIRE_TYPE_MOVABLE);
	assert_int_equal(zone_alloc(&f.zone[0], &ask, UINT32_MAX, 256, pfns,
				    zero, &kept),
			 100);
	assert_int_equal(kept, QUIRE_TYPE_MOVABLE);
	assert_int_equal(type_at(&f, lent), QUIRE_TYPE_UNMOVABLE);
	assert_int_equal(claims_of(&f), 1);
	assert_int_equal(steals_of(&f), 1);
	assert_int_equal(zone_free_pages(&f.zone[0]), 0);
	assert_int_equal(zone_validate(&f.zone[0]), 0);
	munmap(f.words, f.words_bytes);
	stop(&f);
}

static void protect_words(struct fixture *f, int protection)
{
	assert_int_equal(mprotect(f->words, f->words_bytes, protection), 0);
}

static void allow_words(struct fixture *f, pfn_t block)
{
	assert_int_equal(mprotect(memmap_page(&f->map, block), 4096,
				  PROT_READ | PROT_WRITE),
			 0);
}

/*
 * Of thousands of blocks one of each type is looked into at most: the state
 * words of all others cannot be read here. None is, if a block is half free.
 */
static void test_claim_is_cheap(void **state)
{
	const pfn_t blocks = TEST_SANITIZED ? 200 : 3000;
	const struct zone_ask ask = { .type = QUIRE_TYPE_MOVABLE };
	enum quire_mobility kept;
	struct fixture f;
	pfn_t first[2], pfn;
	uint64_t zero;

	(void)state;
	start_typed(&f, 0, 512 * blocks, 0);
	for (pfn_t i = 0; i < blocks - 2; i++)
		block_with(&f, fallback[ask.type][i % 2],
			   2 + (unsigned)(i % 8));
	first[0] = block_with(&f, fallback[ask.type][0], 200);
	first[1] = block_with(&f, fallback[ask.type][1], 200);
	protect_words(&f, PROT_NONE);
	allow_words(&f, first[0]);
	allow_words(&f, first[1]);
	assert_int_equal(
		zone_alloc(&f.zone[0], &ask, UINT32_MAX, 1, &pfn, &zero, &kept),
		1);
	assert_int_equal(claims_of(&f), 0);
	assert_int_equal(steals_of(&f), 1);
	protect_words(&f, PROT_READ | PROT_WRITE);
	zone_free(&f.zone[0], 0, 1, &pfn);
	give_run(&f, first[0] + 200, 56);
	protect_words(&f, PROT_NONE);
	assert_int_equal(
		zone_alloc(&f.zone[0], &ask, UINT32_MAX, 1, &pfn, &zero, &kept),
		1);
	assert_int_equal(claims_of(&f), 1);
	assert_int_equal(steals_of(&f), 1);
	protect_words(&f, PROT_READ | PROT_WRITE);
	assert_int_equal(zone_validate(&f.zone[0]), 0);
	munmap(f.words, f.words_bytes);
	stop(&f);
}

/* --- kept types --- */

static void expect_none(struct fixture *f, unsigned order, unsigned type,
			unsigned may)
{
	const struct zone_ask ask = { .order = order,
				      .type = (enum quire_mobility)type,
				      .may = may };
	uint64_t free = zone_free_pages(&f->zone[0]);
	enum quire_mobility kept;
	pfn_t pfn;
	bool zero;

	assert_false(ask_for(f, &ask, &pfn, &kept));
	if (!may)
		assert_false(zone_alloc_exact(
			&f->zone[0], &ask, UINT64_C(1) << order, &pfn, &zero));
	assert_int_equal(zone_free_pages(&f->zone[0]), free);
}

/* Half a block and a wholly free one of a kept type; nothing else is free. */
static pfn_t start_kept(struct fixture *f, enum quire_mobility kept)
{
	pfn_t block;

	start_typed(f, 0, 512 * 16, 0);
	block = block_with(f, QUIRE_TYPE_MOVABLE, 300);
	use_up_whole(f);
	assert_true(zone_set_type(&f->zone[0], block >> 9, kept));
	give_type(f, 9, 512 * 9);
	assert_true(zone_set_type(&f->zone[0], 9, kept));
	assert_int_equal(f->zone[0].free_type[kept], 812);
	assert_int_equal(zone_free_pages(&f->zone[0]), 812);
	return block;
}

/* Nothing of theirs is claimed or lent, not even the last page. */
static void test_kept_serve_nobody(void **state)
{
	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(kept_types); i++) {
		const enum quire_mobility kept = kept_types[i];
		struct fixture f;
		pfn_t block = start_kept(&f, kept);

		for (unsigned order = 0; order < 10; order++)
			for (unsigned t = 0; t < NR_CALL_TYPES; t++) {
				expect_none(&f, order, t, 0);
				if (kept != QUIRE_TYPE_CMA || order == 9)
					expect_none(&f, order, t, ZONE_CMA);
				if (kept != QUIRE_TYPE_HIGHATOMIC ||
				    order == 9 || order == 0)
					expect_none(&f, order, t,
						    ZONE_HIGHATOMIC);
			}
		if (kept == QUIRE_TYPE_ISOLATED)
			expect_none(&f, 0, QUIRE_TYPE_MOVABLE,
				    ZONE_CMA | ZONE_HIGHATOMIC);
		assert_int_equal(claims_of(&f) + steals_of(&f), 0);
		assert_int_equal(type_at(&f, block), kept);
		stop_typed(&f);
	}
}

static void test_kept_serve_who_may(void **state)
{
	static const unsigned may[] = {
		[QUIRE_TYPE_HIGHATOMIC] = ZONE_HIGHATOMIC,
		[QUIRE_TYPE_CMA] = ZONE_CMA,
	};

	(void)state;
	for (unsigned k = QUIRE_TYPE_HIGHATOMIC; k <= QUIRE_TYPE_CMA; k++) {
		struct zone_ask ask = { .order = 1,
					.type = QUIRE_TYPE_MOVABLE,
					.may = may[k] };
		enum quire_mobility kept;
		struct fixture f;
		pfn_t block = start_kept(&f, k), own, pfn;
		unsigned n = 0;

		/* Before their own. */
		own = 512 * 10;
		give_type(&f, 9, own);
		while (ask_for(&f, &ask, &pfn, &kept) && kept == k) {
			assert_true(pfn >> 9 == block >> 9 || pfn >> 9 == 9);
			n++;
		}
		assert_int_equal(n, 812 / 2);
		assert_int_equal(kept, QUIRE_TYPE_MOVABLE);
		assert_int_equal(pfn >> 9, own >> 9);
		assert_int_equal(type_at(&f, pfn), QUIRE_TYPE_MOVABLE);
		/* They come back to it, and it stays broken. */
		for (pfn_t i = 0; i < 512; i += 2)
			give_type(&f, 1, 512 * 9 + i);
		assert_int_equal(type_at(&f, 512 * 9), (int)k);
		assert_int_equal(f.zone[0].free_type[k], 512);
		assert_int_equal(f.zone[0].highatomic,
				 k == QUIRE_TYPE_HIGHATOMIC ? 2 : 0);
		stop_typed(&f);
	}
}

/* The block of an atomic allocation becomes a reserve, up to 1 % of the zone.
 */
static void check_highatomic(pfn_t pages, unsigned most)
{
	struct zone_ask ask = { .order = 3, .may = ZONE_HIGHATOMIC };
	enum quire_mobility kept;
	struct fixture f;
	struct zone *zone = &f.zone[0];
	unsigned n = 0;
	pfn_t pfn;

	start_typed(&f, 0, pages, 0);
	/* Not for single pages. */
	ask.order = 0;
	assert_true(ask_for(&f, &ask, &pfn, &kept));
	assert_int_equal(kept, QUIRE_TYPE_UNMOVABLE);
	assert_int_equal(zone->highatomic, 0);
	ask.order = 9;
	assert_true(ask_for(&f, &ask, &pfn, &kept));
	assert_int_equal(kept, QUIRE_TYPE_UNMOVABLE);
	ask.order = 3;
	for (;;) {
		assert_true(ask_for(&f, &ask, &pfn, &kept));
		if (kept != QUIRE_TYPE_HIGHATOMIC)
			break;
		assert_int_equal(type_at(&f, pfn), QUIRE_TYPE_HIGHATOMIC);
		assert_int_equal(zone->highatomic, (n + 1) / 64 + 1);
		n++;
	}
	assert_int_equal(zone->highatomic, most);
	/* The first block has one single page. */
	assert_int_equal(n, most ? 64 * most - 1 : 0);
	assert_int_equal(kept, QUIRE_TYPE_UNMOVABLE);
	assert_int_equal(type_at(&f, pfn), QUIRE_TYPE_UNMOVABLE);
	stop_typed(&f);
}

static void test_highatomic(void **state)
{
	(void)state;
	check_highatomic(512 * 16, 0);
	check_highatomic(512 * 99, 0);
	check_highatomic(51199, 0);
	check_highatomic(51200, 1);
	check_highatomic(512 * 200, 2);
	check_highatomic(512 * 1000, 10);
}

/* Two of the last free pages are taken; so many of the others lie elsewhere. */
static void check_highatomic_min(uint64_t min, unsigned elsewhere, bool joins)
{
	const struct zone_ask ask = { .order = 1, .may = ZONE_HIGHATOMIC };
	const pfn_t pages = 512 * 200;
	enum quire_mobility kept;
	struct fixture f;
	struct zone *zone = &f.zone[0];
	pfn_t block, other, pfn;

	start_typed(&f, 0, pages, 0);
	watermark_init(&zone->marks, pages, pages, min * 4096, 10);
	assert_int_equal(zone->marks.min, min);
	block = block_with(&f, QUIRE_TYPE_UNMOVABLE, 302);
	other = full_block(&f, QUIRE_TYPE_UNMOVABLE);
	use_up_whole(&f);
	for (unsigned i = 0; i < elsewhere; i++)
		give_type(&f, 0, other + 2 * i);
	assert_true(ask_for(&f, &ask, &pfn, &kept));
	assert_int_equal(pfn >> 9, block >> 9);
	assert_int_equal(kept,
			 joins ? QUIRE_TYPE_HIGHATOMIC : QUIRE_TYPE_UNMOVABLE);
	assert_int_equal(type_at(&f, pfn), kept);
	assert_int_equal(zone->highatomic, joins);
	assert_int_equal(zone_usable_pages(zone),
			 elsewhere + (joins ? 0 : 300));
	stop_typed(&f);
}

/* Not a page of min is kept from those who were promised it. */
static void test_highatomic_min(void **state)
{
	(void)state;
	check_highatomic_min(200, 200, true);
	check_highatomic_min(200, 199, false);
	check_highatomic_min(300, 0, false);
	check_highatomic_min(500, 199, false);
	check_highatomic_min(0, 0, true);
}

static bool unreserve(struct fixture *f, enum quire_mobility type)
{
	bool some;

	zone_lock(&f->zone[0]);
	some = zone_unreserve_locked(&f->zone[0], type);
	zone_unlock(&f->zone[0]);
	return some;
}

/* Reserves become anybody's, one block at a time; wholly free ones whole. */
static void test_unreserve(void **state)
{
	struct zone_ask ask = { .order = 8, .may = ZONE_HIGHATOMIC };
	enum quire_mobility kept;
	struct fixture f;
	struct zone *zone = &f.zone[0];
	pfn_t pfns[4];

	(void)state;
	start_typed(&f, 0, 512 * 200, 0);
	assert_false(unreserve(&f, QUIRE_TYPE_MOVABLE));
	for (int i = 0; i < 4; i++)
		assert_true(ask_for(&f, &ask, &pfns[i], &kept));
	assert_int_equal(zone->highatomic, 2);
	/* Nothing is free in them. */
	assert_false(unreserve(&f, QUIRE_TYPE_MOVABLE));
	assert_int_equal(zone->highatomic, 2);
	give_type(&f, 8, pfns[0]);
	give_type(&f, 8, pfns[1]);
	give_type(&f, 8, pfns[2]);
	assert_int_equal(zone->free_type[QUIRE_TYPE_HIGHATOMIC], 768);
	assert_true(unreserve(&f, QUIRE_TYPE_RECLAIMABLE));
	assert_int_equal(type_at(&f, pfns[0]), -1);
	assert_int_equal(zone->free_whole, 512 * 199);
	assert_int_equal(zone->highatomic, 1);
	assert_true(unreserve(&f, QUIRE_TYPE_RECLAIMABLE));
	assert_int_equal(type_at(&f, pfns[2]), QUIRE_TYPE_RECLAIMABLE);
	assert_int_equal(zone->free_type[QUIRE_TYPE_RECLAIMABLE], 256);
	assert_int_equal(zone->highatomic, 0);
	assert_false(unreserve(&f, QUIRE_TYPE_RECLAIMABLE));
	assert_int_equal(zone_free_pages(zone), 512 * 200 - 256);
	stop_typed(&f);
}

/* --- types that are set --- */

static void expect_set(struct fixture *f, pfn_t pfn, unsigned type)
{
	uint64_t free = zone_free_pages(&f->zone[0]);

	assert_true(zone_set_type(&f->zone[0], pfn >> BLOCK_ORDER,
				  (enum quire_mobility)type));
	assert_int_equal(zone_free_pages(&f->zone[0]), free);
	check_same(f);
}

static void test_set_type_whole(void **state)
{
	struct fixture f;
	struct zone *zone = &f.zone[0];

	(void)state;
	start_typed(&f, 0, 512 * 16, 0);
	for (unsigned t = 0; t < NR_CALL_TYPES; t++) {
		expect_set(&f, 512 * 5, t);
		assert_int_equal(type_at(&f, 512 * 5), -1);
		assert_int_equal(zone->free_whole, 512 * 16);
	}
	for (size_t i = 0; i < TEST_LENGTH(kept_types); i++)
		for (unsigned t = 0; t < NR_CALL_TYPES; t++) {
			expect_set(&f, 512 * 5 + 7, kept_types[i]);
			assert_int_equal(type_at(&f, 512 * 5), kept_types[i]);
			assert_int_equal(zone->free_type[kept_types[i]], 512);
			assert_int_equal(zone->free_whole, 512 * 15);
			assert_int_equal(zone->highatomic, i == 0);
			expect_set(&f, 512 * 5, t);
			assert_int_equal(type_at(&f, 512 * 5), -1);
			assert_int_equal(zone->free_whole, 512 * 16);
			assert_int_equal(free_broken(zone), 0);
			assert_int_equal(zone->highatomic, 0);
		}
	stop_typed(&f);
}

/* Of a block that is kept nobody else takes the place in a larger run. */
static void test_set_type_in_run(void **state)
{
	struct fixture f;

	(void)state;
	start_typed(&f, 0, 512 * 16, 0);
	expect_set(&f, 512 * 5, QUIRE_TYPE_ISOLATED);
	assert_int_equal(take_type(&f, 12, 0), 512 * 8);
	assert_int_equal(take_type(&f, 11, 0), 0);
	expect_none(&f, 11, 0, 0);
	assert_int_equal(take_type(&f, 10, 0), 512 * 6);
	assert_int_equal(take_type(&f, 9, 0), 512 * 4);
	expect_none(&f, 9, 0, 0);
	expect_none(&f, 0, 0, 0);
	expect_set(&f, 512 * 5, QUIRE_TYPE_MOVABLE);
	assert_int_equal(take_type(&f, 9, 0), 512 * 5);
	stop_typed(&f);
}

static void test_set_type_broken(void **state)
{
	struct fixture f;
	struct zone *zone = &f.zone[0];
	pfn_t block;

	(void)state;
	start_typed(&f, 0, 512 * 16, 0);
	block = block_with(&f, QUIRE_TYPE_MOVABLE, 100);
	for (unsigned from = 0; from < QUIRE_NR_TYPES; from++)
		for (unsigned to = 0; to < QUIRE_NR_TYPES; to++) {
			expect_set(&f, block, from);
			expect_set(&f, block, to);
			assert_int_equal(type_at(&f, block), to);
			for (unsigned t = 0; t < QUIRE_NR_TYPES; t++)
				assert_int_equal(zone->free_type[t],
						 t == to ? 100 : 0);
		}
	/* What comes back goes where the type says; whole only as a call's. */
	expect_set(&f, block, QUIRE_TYPE_CMA);
	give_run(&f, block + 100, 412);
	assert_int_equal(type_at(&f, block), QUIRE_TYPE_CMA);
	assert_int_equal(zone->free_type[QUIRE_TYPE_CMA], 512);
	check_same(&f);
	expect_set(&f, block, QUIRE_TYPE_ISOLATED);
	expect_set(&f, block, QUIRE_TYPE_RECLAIMABLE);
	assert_int_equal(type_at(&f, block), -1);
	assert_int_equal(zone->free_whole, 512 * 16);
	/* Nothing free. */
	block = full_block(&f, QUIRE_TYPE_MOVABLE);
	expect_set(&f, block, QUIRE_TYPE_HIGHATOMIC);
	assert_int_equal(zone->highatomic, 1);
	assert_int_equal(free_broken(zone), 0);
	give_run(&f, block, 512);
	assert_int_equal(zone->free_type[QUIRE_TYPE_HIGHATOMIC], 512);
	stop_typed(&f);
}

static void test_set_type_taken(void **state)
{
	struct fixture f;

	(void)state;
	for (unsigned order = 9; order < 12; order++) {
		pfn_t pfn;

		start_typed(&f, 0, 512 * 16, 0);
		pfn = take_type(&f, order, 0);
		for (pfn_t at = pfn; at < pfn + (1u << order); at += 512)
			for (unsigned t = 0; t < QUIRE_NR_TYPES; t++) {
				assert_false(
					zone_set_type(&f.zone[0], at >> 9, t));
				assert_int_equal(type_at(&f, at), -1);
			}
		stop_typed(&f);
	}
}

static void test_set_type_owned(void **state)
{
	(void)state;
	for (unsigned t = 0; t < QUIRE_NR_TYPES; t++) {
		const struct zone_ask ask = plain(0);
		enum quire_mobility kept;
		struct fixture f;
		pfn_t block, pfn;
		uint64_t zero;

		start_typed(&f, 0, 512 * 64, 2);
		block = block_with(&f, QUIRE_TYPE_UNMOVABLE, 100);
		assert_int_equal(
			zone_alloc(&f.zone[0], &ask, 1, 1, &pfn, &zero, &kept),
			1);
		mark_taken(&f, &f.zone[0], pfn, 1, false);
		assert_int_equal(owned_by(&f.zone[0], 1), (block >> 9) + 1);
		expect_set(&f, block, t);
		assert_int_equal(owned_by(&f.zone[0], 1), 0);
		assert_int_equal(block_of(&f, block)->owner, 0);
		assert_int_equal(f.zone[0].free_type[t], 99);
		stop_typed(&f);
	}
}

/* Each type of a CPU has an owned block of its own. */
static void test_own_by_type(void **state)
{
	struct fixture f;
	struct zone *zone = &f.zone[0];
	pfn_t of[NR_CALL_TYPES];

	(void)state;
	start_typed(&f, 0, 512 * 64, 2);
	for (unsigned t = 0; t < NR_CALL_TYPES; t++)
		of[t] = block_with(&f, t, 100);
	for (unsigned t = 0; t < NR_CALL_TYPES; t++) {
		const struct zone_ask ask = { .type = t };
		enum quire_mobility kept;
		uint64_t zero;
		pfn_t pfn;

		assert_int_equal(
			zone_alloc(zone, &ask, 1, 1, &pfn, &zero, &kept), 1);
		mark_taken(&f, zone, pfn, 1, false);
		assert_int_equal(pfn >> 9, of[t] >> 9);
	}
	for (unsigned t = 0; t < NR_CALL_TYPES; t++) {
		assert_int_equal(zone->owned[NR_CALL_TYPES + t],
				 (of[t] >> 9) + 1);
		assert_int_equal(zone->owned[t], 0);
	}
	check_same(&f);
	zone_disown(zone, 1);
	for (unsigned t = 0; t < NR_CALL_TYPES; t++)
		assert_int_equal(zone->owned[NR_CALL_TYPES + t], 0);
	stop_typed(&f);
}

/* A pageblock that the zone has only in part is broken from the start. */
static void test_set_type_edge(void **state)
{
	(void)state;
	for (unsigned t = 1; t < QUIRE_NR_TYPES; t++) {
		struct fixture f;

		start_typed(&f, 100, 512 * 16 + 30, 0);
		expect_set(&f, 100, t);
		assert_int_equal(f.zone[0].free_type[t], 412);
		assert_int_equal(f.zone[0].free_type[0], 30);
		expect_set(&f, 512 * 16, t);
		assert_int_equal(f.zone[0].free_type[t], 442);
		assert_int_equal(type_at(&f, 511), t);
		expect_set(&f, 100, 0);
		assert_int_equal(f.zone[0].free_type[0], 412);
		stop_typed(&f);
	}
}

/* Gigablocks that nobody needed yet are set up on the way. */
static void test_set_type_fresh(void **state)
{
	struct fixture f;
	struct zone *zone = &f.zone[0];
	const uint32_t pageblock = 512 * 2 + 77;

	(void)state;
	start_typed(&f, 1000, 3 * (pfn_t)GIGABLOCK_PAGES + 777, 0);
	assert_int_equal(zone->fresh, 0);
	assert_true(zone_set_type(zone, pageblock, QUIRE_TYPE_CMA));
	assert_int_equal(zone->fresh, 3);
	assert_int_equal(zone_type(zone, pageblock), QUIRE_TYPE_CMA);
	assert_int_equal(zone_type(zone, pageblock + 1), -1);
	assert_int_equal(take_type(&f, 18, 0) >> 18, 1);
	expect_none(&f, 18, 0, 0);
	assert_true(zone_set_type(zone, pageblock, 0));
	assert_int_equal(take_type(&f, 18, 0) >> 18, 2);
	stop_typed(&f);
}

/* What was never handed out is known to be zero in a kept block as well. */
static void test_set_type_touched(void **state)
{
	struct zone_ask ask = { .type = QUIRE_TYPE_MOVABLE, .may = ZONE_CMA };
	enum quire_mobility kept;
	struct fixture f;
	uint64_t zero;
	pfn_t pfn;

	(void)state;
	start_typed(&f, 0, 512 * 16, 0);
	for (unsigned clean = 0; clean < 2; clean++) {
		if (!clean)
			give_type(&f, 9, take_type(&f, 9, 0));
		expect_set(&f, 512 * clean, QUIRE_TYPE_CMA);
		assert_int_equal(zone_alloc(&f.zone[0], &ask, UINT32_MAX, 1,
					    &pfn, &zero, &kept),
				 1);
		assert_int_equal(pfn, 512 * clean);
		assert_int_equal(zero, clean);
		assert_int_equal(kept, QUIRE_TYPE_CMA);
		zone_free(&f.zone[0], 0, 1, &pfn);
		expect_set(&f, 512 * clean, QUIRE_TYPE_ISOLATED);
	}
	stop_typed(&f);
}

/* --- floors --- */

static unsigned take_above(struct zone *zone, unsigned order, uint64_t floor,
			   unsigned n, pfn_t *pfns)
{
	const struct zone_ask ask = { .order = order, .floor = floor };
	uint64_t zero[ZONE_BATCH / 64];
	enum quire_mobility kept;

	return zone_alloc(zone, &ask, UINT32_MAX, n, pfns, zero, &kept);
}

/* A batch is cut where the floor is, to the page. */
static void test_floor_cuts(void **state)
{
	(void)state;
	for (unsigned order = 0; order < 10; order++)
		for (uint64_t above = 0; above < 3u << order;
		     above += 1 + (1u << order) / 5) {
			struct fixture f;
			struct zone *zone = &f.zone[0];
			pfn_t pfns[ZONE_BATCH];
			uint64_t all = 512 * 16;

			start_typed(&f, 0, (pfn_t)all, 0);
			assert_int_equal(
				take_above(zone, order, all - above, 16, pfns),
				above >> order);
			assert_int_equal(zone_free_pages(zone),
					 all - (above >> order << order));
			assert_int_equal(take_above(zone, order,
						    zone_free_pages(zone), 1,
						    pfns),
					 0);
			assert_int_equal(
				take_above(zone, order, UINT64_MAX, 1, pfns),
				0);
			assert_int_equal(zone_validate(zone), 0);
			munmap(f.words, f.words_bytes);
			stop(&f);
		}
}

/* Kept pages count only for who may use them, isolated ones for nobody. */
static void test_floor_of_kept(void **state)
{
	struct zone_ask ask = { .order = 1, .type = QUIRE_TYPE_MOVABLE };
	enum quire_mobility kept;
	struct fixture f;
	pfn_t pfn;

	(void)state;
	start_typed(&f, 0, 512 * 16, 0);
	for (unsigned i = 0; i < 3; i++)
		expect_set(&f, 512 * i, kept_types[i]);
	/* 13 blocks are free for all. */
	for (unsigned may = 0; may < 4; may++) {
		uint64_t most = 512 * (13u + (may & 1) + (may >> 1 & 1));

		ask.may = (may & 1 ? ZONE_HIGHATOMIC : 0) |
			  (may & 2 ? ZONE_CMA : 0);
		ask.floor = most - 1;
		assert_false(ask_for(&f, &ask, &pfn, &kept));
		ask.floor = most - 2;
		assert_true(ask_for(&f, &ask, &pfn, &kept));
		give_type(&f, 1, pfn);
	}
	stop_typed(&f);
}

static void test_floor_exact(void **state)
{
	struct zone_ask ask = { .order = 4 };
	struct fixture f;
	struct zone *zone = &f.zone[0];
	pfn_t pfn;
	bool zero;

	(void)state;
	start_typed(&f, 0, 512 * 16, 0);
	ask.floor = 512 * 16 - 8;
	assert_false(zone_alloc_exact(zone, &ask, 9, &pfn, &zero));
	ask.floor = 512 * 16 - 16;
	assert_true(zone_alloc_exact(zone, &ask, 9, &pfn, &zero));
	assert_int_equal(zone_free_pages(zone), 512 * 16 - 9);
	ask.order = 10;
	ask.floor = 512 * 16 - 9 - 599;
	assert_false(zone_alloc_exact(zone, &ask, 600, &pfn, &zero));
	ask.floor = 512 * 14 - 9;
	assert_true(zone_alloc_exact(zone, &ask, 600, &pfn, &zero));
	assert_int_equal(zone_free_pages(zone), 512 * 16 - 609);
	assert_int_equal(zone_validate(zone), 0);
	munmap(f.words, f.words_bytes);
	stop(&f);
}

enum { FLOOR = 3000, FLOOR_THREADS = 4, FLOOR_HELD = 2048 };

struct floor_crowd {
	struct zone *zone;
	_Atomic bool stop;
	_Atomic uint64_t below, lowest, cut;
};

static void look_at_floor(struct floor_crowd *c)
{
	uint64_t free;

	zone_lock(c->zone);
	free = zone_free_pages(c->zone);
	zone_unlock(c->zone);
	if (free < FLOOR)
		atomic_fetch_add(&c->below, 1);
	if (free < atomic_load(&c->lowest))
		atomic_store(&c->lowest, free);
}

/* Takes what it gets, all sorts of it, and gives it back. */
static void *press_on_floor(void *arg)
{
	struct floor_crowd *c = arg;
	struct test_rng rng = { (uintptr_t)&rng };
	pfn_t *held = malloc(FLOOR_HELD * sizeof(*held));

	for (unsigned turn = 0; held && !atomic_load(&c->stop); turn++) {
		unsigned order = (unsigned)test_below(&rng, 4), n = 0, got;

		do {
			got = take_above(c->zone, order, FLOOR,
					 1 + (unsigned)test_below(&rng, 64),
					 held + n);
			n += got;
		} while (got && n < FLOOR_HELD - 64);
		if (got == 0)
			atomic_fetch_add(&c->cut, 1);
		look_at_floor(c);
		zone_free(c->zone, order, n, held);
	}
	free(held);
	return NULL;
}

/* Seen under the lock, the floor holds at every moment. */
static void test_floor_threads(void **state)
{
	struct floor_crowd c = { .lowest = UINT64_MAX };
	pthread_t threads[FLOOR_THREADS];
	struct fixture f;

	(void)state;
	start_typed(&f, 0, 512 * 16, 0);
	c.zone = &f.zone[0];
	for (int i = 0; i < FLOOR_THREADS; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, press_on_floor, &c),
			0);
	for (unsigned i = 0; i < 20000 || (!atomic_load(&c.cut) && i < 2000000);
	     i++)
		look_at_floor(&c);
	atomic_store(&c.stop, true);
	for (int i = 0; i < FLOOR_THREADS; i++)
		pthread_join(threads[i], NULL);
	printf("# cut %llu times, lowest %llu of %d\n",
	       (unsigned long long)atomic_load(&c.cut),
	       (unsigned long long)atomic_load(&c.lowest), FLOOR);
	assert_int_equal(atomic_load(&c.below), 0);
	assert_true(atomic_load(&c.cut) > 0);
	stop_typed(&f);
}

/* --- every rule at once --- */

enum { TYPED_BLOCKS = 24, TYPED_LIVE = 4000 };

struct typed_live {
	pfn_t pfn;
	unsigned order;
};

/* What one call may find, before it. */
struct typed_before {
	int type[TYPED_BLOCKS];
	struct served block[TYPED_BLOCKS];
	unsigned free[TYPED_BLOCKS], alike[TYPED_BLOCKS];
	uint64_t usable, ordinary; /* kept blocks that will do, or none */
	bool scattered;
};

static void look_typed(struct fixture *f, const struct zone_ask *ask,
		       struct typed_before *b)
{
	b->usable = b->ordinary = 0;
	b->scattered = zone_is_scattered(&f->zone[0]);
	for (uint32_t i = 0; i < TYPED_BLOCKS; i++) {
		const pfn_t first = (pfn_t)(i << 9);

		b->type[i] = type_at(f, first);
		b->block[i] = ref_block(f, i);
		b->free[i] = b->alike[i] = 0;
		for (pfn_t at = first; at < first + 512; at++) {
			uint64_t word = page_word(memmap_page(&f->map, at));

			b->free[i] += !*used_at(f, at);
			if (page_is_head(word) && page_type(word) == ask->type)
				b->alike[i] += 1u << page_order(word);
		}
		if (b->type[i] < NR_CALL_TYPES)
			b->ordinary += b->free[i];
		if (b->type[i] < NR_CALL_TYPES ||
		    (b->type[i] == QUIRE_TYPE_CMA && ask->may & ZONE_CMA) ||
		    (b->type[i] == QUIRE_TYPE_HIGHATOMIC &&
		     ask->may & ZONE_HIGHATOMIC))
			b->usable += b->free[i];
	}
}

/* Whether a block of that type, -1: a whole one, has a run that fits. */
static bool typed_has(const struct typed_before *b, int type, unsigned order)
{
	for (uint32_t i = 0; i < TYPED_BLOCKS; i++)
		if (b->type[i] == type && b->block[i].largest > order &&
		    (type < 0 ? b->block[i].largest == 10 : order < 9))
			return true;
	return false;
}

static void check_typed_failure(const struct typed_before *b,
				const struct zone_ask *ask)
{
	const uint64_t needed = ask->floor + (UINT64_C(1) << ask->order);

	if (b->usable < needed)
		return;
	if (ask->may & ZONE_CMA)
		assert_false(typed_has(b, QUIRE_TYPE_CMA, ask->order));
	if (ask->may & ZONE_HIGHATOMIC && ask->order)
		assert_false(typed_has(b, QUIRE_TYPE_HIGHATOMIC, ask->order));
	/* What is kept does not count for what comes from elsewhere. */
	if (b->ordinary < needed)
		return;
	for (int type = -1; type < NR_CALL_TYPES; type++)
		assert_false(typed_has(b, type, ask->order));
}

/* A block of another type served: there was no other way. */
static void check_typed_other(struct fixture *f, const struct typed_before *b,
			      const struct zone_ask *ask, pfn_t pfn)
{
	const uint32_t at = pfn >> 9;
	const int from = b->type[at];

	assert_false(typed_has(b, (int)ask->type, ask->order));
	if (!b->scattered)
		assert_false(typed_has(b, -1, ask->order));
	if (type_at(f, pfn) == (int)ask->type) {
		assert_true(b->free[at] + b->alike[at] >= 256);
		assert_true(from == (int)fallback[ask->type][0] ||
			    !typed_has(b, (int)fallback[ask->type][0],
				       ask->order) ||
			    from == (int)fallback[ask->type][1]);
		return;
	}
	assert_int_equal(type_at(f, pfn), from);
	/* Unmovable pages and others do not mix while there is a whole block.
	 */
	if (typed_has(b, -1, ask->order))
		assert_true(from && ask->type);
	else if (from != (int)fallback[ask->type][0])
		assert_false(
			typed_has(b, (int)fallback[ask->type][0], ask->order));
	for (uint32_t i = 0; i < TYPED_BLOCKS; i++)
		if (b->type[i] == from && b->block[i].largest > ask->order)
			assert_true(b->block[at].largest <=
				    b->block[i].largest);
}

static void check_typed_success(struct fixture *f, const struct typed_before *b,
				const struct zone_ask *ask, pfn_t pfn,
				enum quire_mobility kept)
{
	const int from = b->type[pfn >> 9];

	assert_true((from < NR_CALL_TYPES ? b->ordinary : b->usable) >=
		    ask->floor + (UINT64_C(1) << ask->order));
	assert_true(kept == ask->type || kept >= NR_CALL_TYPES);
	if (from >= NR_CALL_TYPES) {
		assert_int_equal(kept, from);
		assert_true(from == QUIRE_TYPE_CMA
				    ? ask->may & ZONE_CMA
				    : ask->may & ZONE_HIGHATOMIC);
		assert_int_not_equal(from, QUIRE_TYPE_ISOLATED);
		return;
	}
	assert_int_equal(kept, ask->type);
	if (ask->may & ZONE_CMA)
		assert_false(typed_has(b, QUIRE_TYPE_CMA, ask->order));
	if (from == -1 && ask->order < 9)
		assert_false(typed_has(b, (int)ask->type, ask->order));
	if (from >= 0 && from != (int)ask->type)
		check_typed_other(f, b, ask, pfn);
}

static void play_typed(struct fixture *f, struct test_rng *rng, unsigned steps)
{
	static struct typed_live live[TYPED_LIVE];
	static struct typed_before before;
	unsigned n = 0, taking = 60;

	for (unsigned step = 0; step < steps; step++) {
		struct zone_ask ask = {
			.order = (unsigned)test_below(rng, 10),
			.type = (enum quire_mobility)test_below(rng, 3),
		};
		enum quire_mobility kept;

		if (test_below(rng, 3))
			ask.order /= 3;
		if (test_below(rng, 3) == 0)
			ask.may = (unsigned)test_below(rng, 4);
		if (test_below(rng, 3) == 0)
			ask.floor = test_below(rng, 2000);
		if (step % 1000 == 0)
			taking = 30 + (unsigned)test_below(rng, 60);
		if (test_below(rng, 40) == 0) {
			zone_set_type(&f->zone[0],
				      (uint32_t)test_below(rng, TYPED_BLOCKS),
				      (enum quire_mobility)test_below(
					      rng, QUIRE_NR_TYPES));
		} else if (n < TYPED_LIVE && test_below(rng, 100) < taking) {
			look_typed(f, &ask, &before);
			if (ask_for(f, &ask, &live[n].pfn, &kept)) {
				check_typed_success(f, &before, &ask,
						    live[n].pfn, kept);
				live[n++].order = ask.order;
			} else {
				check_typed_failure(&before, &ask);
			}
		} else if (n) {
			uint64_t at = test_below(rng, n--);

			give_type(f, live[at].order, live[at].pfn);
			live[at] = live[n];
		}
		if (step % 500 == 0)
			check_same(f);
	}
}

static void test_types_random(void **state)
{
	struct test_rng rng = test_seed();

	(void)state;
	for (unsigned round = 0; round < (TEST_SANITIZED ? 1 : 4); round++) {
		struct fixture f;

		start_typed(&f, 0, 512 * TYPED_BLOCKS, 0);
		play_typed(&f, &rng, TEST_SANITIZED ? 3000 : 10000);
		printf("# %llu claims, %llu steals\n",
		       (unsigned long long)claims_of(&f),
		       (unsigned long long)steals_of(&f));
		assert_true(claims_of(&f) > 0 && steals_of(&f) > 0);
		stop_typed(&f);
	}
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_odd_ends),
	cmocka_unit_test(test_every_order),
	cmocka_unit_test(test_shared_gigablock),
	cmocka_unit_test(test_largest_region),
	cmocka_unit_test(test_fullest_of_smallest),
	cmocka_unit_test(test_whole_blocks_stay),
	cmocka_unit_test(test_return_to_gigablock),
	cmocka_unit_test(test_gigablock_policy),
	cmocka_unit_test(test_policy_random),
	cmocka_unit_test(test_small_zones_own_nothing),
	cmocka_unit_test(test_own),
	cmocka_unit_test(test_own_no_fresh),
	cmocka_unit_test(test_own_ends),
	cmocka_unit_test(test_disown),
	cmocka_unit_test(test_seize),
	cmocka_unit_test(test_exact),
	cmocka_unit_test(test_exact_fails_clean),
	cmocka_unit_test(test_touched),
	cmocka_unit_test(test_touched_after_return),
	cmocka_unit_test(test_unknown_zero),
	cmocka_unit_test(test_touched_random),
	cmocka_unit_test(test_touched_anyhow),
	cmocka_unit_test(test_touched_neighbours),
	cmocka_unit_test(test_lock_count),
	cmocka_unit_test(test_try_lock),
	cmocka_unit_test(test_free_locked),
	cmocka_unit_test(test_deferred_next_hold),
	cmocka_unit_test(test_deferred_serves),
	cmocka_unit_test(test_deferred_all_orders),
	cmocka_unit_test(test_deferred_touched),
	cmocka_unit_test(test_deferred_zones),
	cmocka_unit_test(test_deferred_largest_region),
	cmocka_unit_test(test_deferred_threads),
	cmocka_unit_test(test_full_batch),
	cmocka_unit_test(test_full_batch_large),
	cmocka_unit_test(test_hold_ends),
	cmocka_unit_test(test_hold_ends_locked),
	cmocka_unit_test(test_free_nearly_a_run),
	cmocka_unit_test(test_free_holds),
	cmocka_unit_test(test_free_batches),
	cmocka_unit_test(test_random_one_zone),
	cmocka_unit_test(test_random_two_zones),
	cmocka_unit_test(test_random_three_zones),
	cmocka_unit_test(test_random_tiny),
	cmocka_unit_test(test_own_type_first),
	cmocka_unit_test(test_whole_before_claim),
	cmocka_unit_test(test_claim_order),
	cmocka_unit_test(test_claim_threshold),
	cmocka_unit_test(test_claim_at_edge),
	cmocka_unit_test(test_claim_emptiest),
	cmocka_unit_test(test_lend),
	cmocka_unit_test(test_scattered),
	cmocka_unit_test(test_claim_batch),
	cmocka_unit_test(test_claim_is_cheap),
	cmocka_unit_test(test_kept_serve_nobody),
	cmocka_unit_test(test_kept_serve_who_may),
	cmocka_unit_test(test_highatomic),
	cmocka_unit_test(test_highatomic_min),
	cmocka_unit_test(test_unreserve),
	cmocka_unit_test(test_set_type_whole),
	cmocka_unit_test(test_set_type_in_run),
	cmocka_unit_test(test_set_type_broken),
	cmocka_unit_test(test_set_type_taken),
	cmocka_unit_test(test_set_type_owned),
	cmocka_unit_test(test_own_by_type),
	cmocka_unit_test(test_set_type_edge),
	cmocka_unit_test(test_set_type_fresh),
	cmocka_unit_test(test_set_type_touched),
	cmocka_unit_test(test_floor_cuts),
	cmocka_unit_test(test_floor_of_kept),
	cmocka_unit_test(test_floor_exact),
	cmocka_unit_test(test_floor_threads),
	cmocka_unit_test(test_types_random),
};

int main(void)
{
	return cmocka_run_group_tests_name("zone", tests, NULL, NULL);
}
