/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Blocks that nobody uses, against a reference of one entry a pageblock: how
 * long they are idle, which are the best to go, which lost their memory; and
 * that looking does not touch what was never used. The regions are tables only.
 */
#include "testing.h"

#include <sys/mman.h>

#include "base/report.h"
#include "platform/platform_memory.h"
#include "zone/zone.h"

enum { MAX_ZONES = 2, MAX_BLOCKS = 1200, MAX_LIVE = 4000, BEST = 40 };
/* Ages stop here, and a block with that many free pages is in full use. */
enum { OLDEST = 240, FULL = 64 };

/* The reference of a pageblock. */
struct ref {
	unsigned used; /* live pages */
	bool touched, idle, gone, lost;
	unsigned age;
};

struct live {
	pfn_t pfn;
	unsigned order, zone;
};

struct fixture {
	struct memmap map;
	struct zone zone[MAX_ZONES];
	unsigned nr_zones;
	struct test_messages messages;
	struct reporter reporter;
	void *tables[MAX_ZONES + 1];
	size_t bytes[MAX_ZONES + 1];
	struct ref ref[MAX_BLOCKS];
	struct live live[MAX_LIVE];
	unsigned nr_live;
	uint8_t look;
};

static void *map_table(struct fixture *f, unsigned i, size_t size)
{
	f->bytes[i] = (size + 4095) & ~(size_t)4095;
	f->tables[i] = mmap(NULL, f->bytes[i], PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(f->tables[i], MAP_FAILED);
	return f->tables[i];
}

static struct fixture *start(const pfn_t *cut, unsigned nr_zones)
{
	struct region region = { .first = cut[0],
				 .end = cut[nr_zones],
				 .known_zero = true };
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	test_messages_init(&f->messages);
	f->reporter = (struct reporter){ test_catch, &f->messages };
	f->nr_zones = nr_zones;
	memmap_init(&f->map, &region, NULL, NULL,
		    map_table(f, MAX_ZONES, memmap_pageblocks_bytes(&region)));
	for (unsigned z = 0; z < nr_zones; z++)
		zone_init(&f->zone[z], z, cut[z], cut[z + 1], &f->map,
			  map_table(f, z,
				    zone_gigablocks_bytes(cut[z], cut[z + 1])),
			  NULL, 0, &f->reporter);
	return f;
}

static struct fixture *start_one(pfn_t first, pfn_t end)
{
	const pfn_t cut[] = { first, end };

	return start(cut, 1);
}

static void check_sound(struct fixture *f)
{
	for (unsigned z = 0; z < f->nr_zones; z++)
		if (zone_validate(&f->zone[z]))
			fail_msg("%s", f->messages.text[0]);
}

static void stop(struct fixture *f)
{
	check_sound(f);
	for (unsigned i = 0; i <= MAX_ZONES; i++)
		if (f->tables[i])
			munmap(f->tables[i], f->bytes[i]);
	free(f);
}

/* --- calls that keep the reference --- */

static void ref_use(struct fixture *f, pfn_t pfn, unsigned order)
{
	for (uint64_t at = pfn; at < pfn + (UINT64_C(1) << order); at++) {
		struct ref *ref = &f->ref[at / 512];

		ref->used++;
		ref->touched = true;
		ref->idle = ref->gone = false;
	}
}

/* PFN_NONE: there is no run. */
static pfn_t take_known(struct fixture *f, unsigned z, unsigned order,
			bool *zero)
{
	const struct zone_ask ask = { .order = order };
	enum quire_mobility kept;
	uint64_t bits;
	bool touched = false;
	pfn_t pfn;

	if (zone_alloc(&f->zone[z], &ask, UINT32_MAX, 1, &pfn, &bits, &kept) ==
	    0)
		return PFN_NONE;
	*zero = bits & 1;
	for (uint64_t at = pfn; at < pfn + (UINT64_C(1) << order); at += 512)
		touched = touched || f->ref[at / 512].touched;
	if (order >= 9)
		assert_int_equal(*zero, !touched && f->map.region.known_zero);
	ref_use(f, pfn, order);
	return pfn;
}

static pfn_t take(struct fixture *f, unsigned order)
{
	bool zero;
	pfn_t pfn = take_known(f, 0, order, &zero);

	assert_int_not_equal(pfn, PFN_NONE);
	return pfn;
}

static void give(struct fixture *f, unsigned z, unsigned order, pfn_t pfn)
{
	zone_free(&f->zone[z], order, 1, &pfn);
	for (uint64_t at = pfn; at < pfn + (UINT64_C(1) << order); at++)
		f->ref[at / 512].used--;
}

static bool ref_whole(const struct fixture *f, const struct zone *zone,
		      uint32_t block)
{
	uint64_t first = (uint64_t)block * 512;

	return first >= zone->first && first + 512 <= zone->end &&
	       f->ref[block].used == 0;
}

static void look(struct fixture *f)
{
	f->look = (uint8_t)(f->look == ZONE_LOOKS ? 1 : f->look + 1);
	for (unsigned z = 0; z < f->nr_zones; z++) {
		const struct zone *zone = &f->zone[z];

		zone_look(&f->zone[z], f->look);
		for (uint32_t b = zone->first / 512; b <= (zone->end - 1) / 512;
		     b++) {
			struct ref *ref = &f->ref[b];

			if (!ref_whole(f, zone, b) || !ref->touched)
				continue;
			if (!ref->idle)
				ref->age = 0;
			else if (ref->age < OLDEST)
				ref->age++;
			ref->idle = true;
		}
	}
}

/* --- what is found --- */

/* Order of the largest aligned run of whole blocks around one. */
static unsigned ref_run(const struct fixture *f, const struct zone *zone,
			uint32_t block)
{
	unsigned order = 9;

	for (; order; order--) {
		uint32_t first = block >> order << order;
		uint32_t at = first;

		while (at < first + (1u << order) && ref_whole(f, zone, at))
			at++;
		if (at == first + (1u << order))
			break;
	}
	return order;
}

static uint16_t ref_rank(const struct fixture *f, const struct zone *zone,
			 uint32_t block, unsigned min_age)
{
	const struct ref *ref = &f->ref[block];
	unsigned age = ref->idle ? ref->age : 0;

	if (!ref_whole(f, zone, block) || !ref->touched || ref->gone ||
	    age < min_age)
		return 0;
	return (uint16_t)((ref_run(f, zone, block) + 1) * 256 + age);
}

static int compare_ranks(const void *a, const void *b)
{
	const struct zone_idle *x = a, *y = b;

	if (x->rank != y->rank)
		return x->rank < y->rank ? 1 : -1;
	return (x->pageblock > y->pageblock) - (x->pageblock < y->pageblock);
}

/* All that may go, the best first; returns how many. */
static unsigned ref_find(const struct fixture *f, unsigned min_age,
			 struct zone_idle *all)
{
	unsigned n = 0;

	for (unsigned z = 0; z < f->nr_zones; z++) {
		const struct zone *zone = &f->zone[z];

		for (uint32_t b = zone->first / 512; b <= (zone->end - 1) / 512;
		     b++) {
			uint16_t rank = ref_rank(f, zone, b, min_age);

			if (rank)
				all[n++] = (struct zone_idle){ b, rank };
		}
	}
	qsort(all, n, sizeof(*all), compare_ranks);
	return n;
}

/* Of all zones; the same as the reference finds. Returns how many. */
static unsigned find_after(struct fixture *f, struct zone_idle after,
			   unsigned min_age, unsigned n, struct zone_idle *best)
{
	struct zone_idle_ask ask = { .look = f->look,
				     .min_age = min_age,
				     .after = after };
	struct zone_idle all[MAX_BLOCKS], found[BEST + 1] = { { 0, 0 } };
	unsigned there = ref_find(f, min_age, all), first = 0;

	found[n].pageblock = UINT32_MAX;
	for (unsigned z = 0; z < f->nr_zones; z++)
		zone_find_idle(&f->zone[z], &ask, found, n);
	assert_int_equal(found[n].pageblock, UINT32_MAX);
	memcpy(best, found, n * sizeof(*best));
	while (first < there && compare_ranks(&all[first], &after) <= 0)
		first++;
	there -= first;
	for (unsigned i = 0; i < n && i < there; i++) {
		assert_int_equal(best[i].rank, all[first + i].rank);
		assert_int_equal(best[i].pageblock, all[first + i].pageblock);
	}
	for (unsigned i = there; i < n; i++)
		assert_int_equal(best[i].rank, 0);
	return there < n ? there : n;
}

static unsigned find(struct fixture *f, unsigned min_age, unsigned n,
		     struct zone_idle *best)
{
	return find_after(f, ZONE_IDLE_TOP, min_age, n, best);
}

/* The age that zone_find_idle() says of the one block there is. */
static unsigned age_of_one(struct fixture *f)
{
	struct zone_idle best[2];

	assert_int_equal(find(f, 0, 2, best), 1);
	return best[0].rank & 0xff;
}

/* --- takes and puts --- */

static struct zone *zone_with(struct fixture *f, uint32_t block)
{
	uint64_t pfn = (uint64_t)block * 512;
	unsigned z = 0;

	while (z + 1 < f->nr_zones && pfn >= f->zone[z].end)
		z++;
	return &f->zone[z];
}

static bool take_out(struct fixture *f, uint32_t block)
{
	struct zone *zone = zone_with(f, block);
	const struct ref *ref = &f->ref[block];
	uint64_t free = zone_free_pages(zone);
	bool ok = zone_take_idle(zone, block);

	assert_int_equal(ok, ref_whole(f, zone, block) && ref->touched);
	assert_int_equal(zone_free_pages(zone), free - (ok ? 512 : 0));
	return ok;
}

static void put_back(struct fixture *f, uint32_t block, bool gone, bool fresh)
{
	struct zone *zone = zone_with(f, block);
	uint64_t free = zone_free_pages(zone);
	struct ref *ref = &f->ref[block];

	if (gone) {
		zone_put_gone(zone, block, fresh);
		ref->lost = true;
		ref->gone = ref->idle = ref->touched = !fresh;
	} else {
		zone_put_kept(zone, block, 0);
	}
	assert_int_equal(zone_free_pages(zone), free + 512);
}

/* It did not go, and is idle since now. */
static void put_anew(struct fixture *f, uint32_t block)
{
	struct zone *zone = zone_with(f, block);
	uint64_t free = zone_free_pages(zone);
	struct ref *ref = &f->ref[block];

	zone_put_kept(zone, block, f->look);
	assert_int_equal(zone_free_pages(zone), free + 512);
	if (f->look == 0)
		return;
	ref->idle = true;
	ref->age = 0;
}

static bool ref_is_lost(const struct fixture *f, const struct zone *zone,
			uint32_t block)
{
	const struct ref *ref = &f->ref[block];

	return ref->lost && !ref_whole(f, zone, block) &&
	       512 - ref->used <= FULL;
}

/* Every lost block in full use, in order, however many are asked at a time. */
static void check_lost(struct fixture *f, unsigned n)
{
	for (unsigned z = 0; z < f->nr_zones; z++) {
		struct zone *zone = &f->zone[z];
		uint32_t next = 0, found[BEST], at = zone->first / 512;

		while (next != UINT32_MAX) {
			unsigned got = zone_find_lost(zone, &next, found, n);

			assert_true(got <= n);
			for (unsigned i = 0; i < got; i++, at++) {
				while (!ref_is_lost(f, zone, at))
					at++;
				assert_int_equal(found[i], at);
			}
		}
		for (; at <= (zone->end - 1) / 512; at++)
			assert_false(ref_is_lost(f, zone, at));
	}
}

/* --- one by one --- */

static void test_ages(void **state)
{
	struct zone_idle best[2];
	struct fixture *f = start_one(0, 512 * 8);
	pfn_t pfn;

	(void)state;
	/* What was never handed out is not found, looked at or not. */
	assert_int_equal(find(f, 0, 2, best), 0);
	look(f);
	assert_int_equal(find(f, 0, 2, best), 0);
	pfn = take(f, 3);
	look(f);
	assert_int_equal(find(f, 0, 2, best), 0);
	give(f, 0, 3, pfn);
	/* Nobody looked yet: of no age. */
	assert_int_equal(age_of_one(f), 0);
	assert_int_equal(find(f, 1, 2, best), 0);
	for (unsigned age = 0; age < 5; age++) {
		look(f);
		assert_int_equal(age_of_one(f), age);
		assert_int_equal(find(f, age, 2, best), 1);
		assert_int_equal(find(f, age + 1, 2, best), 0);
	}
	/* Used in between, however briefly: young again. */
	pfn = take(f, 0);
	give(f, 0, 0, pfn);
	assert_int_equal(age_of_one(f), 0);
	look(f);
	assert_int_equal(age_of_one(f), 0);
	look(f);
	assert_int_equal(age_of_one(f), 1);
	stop(f);
}

/* A block that becomes idle at any look number, for more looks than there are
 * numbers. */
static void test_ages_go_round(void **state)
{
	static const uint8_t begin[] = {
		1, 2, 15, 16, 100, 239, 240, 254, 255
	};

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(begin); i++) {
		struct fixture *f = start_one(0, 512 * 8);
		pfn_t pfn = take(f, 9);

		while (f->look != begin[i] - 1)
			look(f);
		give(f, 0, 9, pfn);
		for (unsigned age = 0; age < 3 * ZONE_LOOKS; age++) {
			look(f);
			assert_int_equal(age_of_one(f),
					 age < OLDEST ? age : OLDEST);
		}
		stop(f);
	}
}

static void test_handed_out_loses_idle(void **state)
{
	struct zone_idle best[2];
	struct fixture *f = start_one(0, 512 * 512);

	(void)state;
	for (unsigned order = 0; order <= 18; order++) {
		pfn_t pfn = take(f, 18);

		give(f, 0, 18, pfn);
		look(f);
		look(f);
		assert_int_equal(find(f, 1, 2, best), 2);
		pfn = take(f, order);
		give(f, 0, order, pfn);
		find(f, 1, 2, best);
		for (unsigned i = 0; i < 2 && best[i].rank; i++)
			assert_true(best[i].pageblock < pfn / 512 ||
				    best[i].pageblock >
					    (pfn + (1u << order) - 1) / 512);
		check_sound(f);
	}
	stop(f);
}

static void test_larger_runs_first(void **state)
{
	struct fixture *f = start_one(0, 512 * 16);
	struct zone_idle best[16];
	pfn_t pfn[16];

	(void)state;
	for (unsigned i = 0; i < 16; i++)
		pfn[i] = take(f, 9);
	/* Block 1 alone for long; 4 and 5 for a while; 8 to 11 just now. */
	give(f, 0, 9, pfn[1]);
	for (unsigned i = 0; i < 100; i++)
		look(f);
	give(f, 0, 9, pfn[4]);
	look(f);
	give(f, 0, 9, pfn[5]);
	look(f);
	for (unsigned i = 8; i < 12; i++)
		give(f, 0, 9, pfn[i]);
	/* 3 is beside 4, but not the half of a run with it. */
	give(f, 0, 9, pfn[3]);
	assert_int_equal(find(f, 0, 16, best), 8);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(best[i].pageblock, 8 + i);
	assert_int_equal(best[4].pageblock, 4);
	assert_int_equal(best[5].pageblock, 5);
	assert_int_equal(best[6].pageblock, 1);
	assert_int_equal(best[7].pageblock, 3);
	assert_int_equal(find(f, 2, 16, best), 1);
	assert_int_equal(best[0].pageblock, 1);
	stop(f);
}

static void test_takes(void **state)
{
	struct fixture *f = start_one(100, 512 * 6 + 50);
	pfn_t pfn;

	(void)state;
	/* Untouched, at an end, broken, live. */
	assert_false(take_out(f, 2));
	assert_false(zone_take_idle(&f->zone[0], 0));
	assert_false(zone_take_idle(&f->zone[0], 6));
	/* The ends serve first. */
	while (zone_free_pages(&f->zone[0]) > 5 * 512)
		(void)take(f, 0);
	pfn = take(f, 4);
	assert_false(take_out(f, pfn / 512));
	give(f, 0, 4, pfn);
	look(f);
	look(f);
	assert_int_equal(age_of_one(f), 1);
	/* It did not go: as it was. */
	assert_true(take_out(f, pfn / 512));
	assert_false(zone_take_idle(&f->zone[0], pfn / 512));
	put_back(f, pfn / 512, false, false);
	assert_int_equal(age_of_one(f), 1);
	/* Or anew. */
	assert_true(take_out(f, pfn / 512));
	put_anew(f, pfn / 512);
	assert_int_equal(age_of_one(f), 0);
	look(f);
	assert_int_equal(age_of_one(f), 1);
	check_lost(f, 1);
	stop(f);
}

/* One block, used and free again, looked at, and taken. */
static struct fixture *start_gone(bool fresh)
{
	struct fixture *f = start_one(0, 512);
	pfn_t pfn = take(f, 9);

	give(f, 0, 9, pfn);
	look(f);
	assert_true(take_out(f, 0));
	put_back(f, 0, true, fresh);
	check_sound(f);
	return f;
}

static void test_gone_for_sure(void **state)
{
	struct fixture *f = start_gone(true);
	struct zone_idle best[2];
	bool zero = false;
	pfn_t pfn;

	(void)state;
	assert_true(zone_pageblock_is_untouched(&f->zone[0], 0));
	assert_int_equal(find(f, 0, 2, best), 0);
	look(f);
	assert_int_equal(find(f, 0, 2, best), 0);
	assert_false(take_out(f, 0));
	/* Zero as at the beginning, page by page. */
	pfn = take_known(f, 0, 0, &zero);
	assert_true(zero);
	give(f, 0, 0, pfn);
	take_known(f, 0, 9, &zero);
	assert_false(zero);
	stop(f);
}

static void test_gone_maybe(void **state)
{
	struct fixture *f = start_gone(false);
	struct zone_idle best[2];
	bool zero = true;
	pfn_t pfn;

	(void)state;
	/* Not twice, however long. */
	for (unsigned i = 0; i < 2 * ZONE_LOOKS; i++) {
		look(f);
		assert_int_equal(find(f, 0, 2, best), 0);
	}
	pfn = take_known(f, 0, 9, &zero);
	assert_false(zero);
	give(f, 0, 9, pfn);
	assert_int_equal(age_of_one(f), 0);
	stop(f);
}

static void test_unknown_zero(void **state)
{
	struct fixture *f = start_gone(true);
	bool zero = true;

	(void)state;
	f->map.region.known_zero = false;
	take_known(f, 0, 9, &zero);
	assert_false(zero);
	stop(f);
}

static void test_lost(void **state)
{
	struct fixture *f = start_gone(true);
	pfn_t pfn[512];
	uint32_t next = 0, block;

	(void)state;
	for (unsigned i = 0; i < 512; i++) {
		assert_int_equal(f->ref[0].used, i);
		check_lost(f, 1);
		next = 0;
		assert_int_equal(zone_find_lost(&f->zone[0], &next, &block, 1),
				 i >= 512 - FULL);
		pfn[i] = take(f, 0);
	}
	zone_regained(&f->zone[0], 0);
	f->ref[0].lost = false;
	check_lost(f, 1);
	for (unsigned i = 0; i < 512; i++)
		give(f, 0, 0, pfn[i]);
	/* Live as a whole. */
	assert_true(take_out(f, 0));
	put_back(f, 0, true, false);
	check_lost(f, 1);
	(void)take(f, 9);
	check_lost(f, 1);
	next = 0;
	assert_int_equal(zone_find_lost(&f->zone[0], &next, &block, 1), 1);
	assert_int_equal(block, 0);
	stop(f);
}

/* --- what was never used --- */

static size_t resident(void *addr, size_t size)
{
	size_t bytes = SIZE_MAX;

	assert_true(platform_resident(addr, size, &bytes));
	return bytes;
}

/* Looks at a zone and asks it everything. */
static void ask_all(struct fixture *f)
{
	const struct zone_idle_ask ask = { .look = 1, .after = ZONE_IDLE_TOP };
	struct zone_idle best[BEST] = { { 0, 0 } };
	uint32_t next = 0, blocks[BEST];

	zone_look(&f->zone[0], 1);
	zone_find_idle(&f->zone[0], &ask, best, BEST);
	assert_int_equal(best[0].rank, 0);
	while (next != UINT32_MAX)
		assert_int_equal(
			zone_find_lost(&f->zone[0], &next, blocks, BEST), 0);
}

static void test_untouched_tables(void **state)
{
	/* 1 TiB. */
	struct fixture *f = start_one(0, 1u << 28);

	(void)state;
	ask_all(f);
	assert_int_equal(f->zone[0].fresh, 0);
	assert_int_equal(resident(f->tables[0], f->bytes[0]), 0);
	assert_int_equal(resident(f->tables[MAX_ZONES], f->bytes[MAX_ZONES]),
			 0);
	(void)take(f, 0);
	ask_all(f);
	assert_int_equal(f->zone[0].fresh, 1);
	assert_true(resident(f->tables[0], f->bytes[0]) <= 4096);
	assert_true(resident(f->tables[MAX_ZONES], f->bytes[MAX_ZONES]) <=
		    4096);
	munmap(f->tables[0], f->bytes[0]);
	munmap(f->tables[MAX_ZONES], f->bytes[MAX_ZONES]);
	free(f);
}

/* --- at random --- */

static void play_alloc(struct fixture *f, struct test_rng *rng)
{
	unsigned z = (unsigned)test_below(rng, f->nr_zones);
	unsigned order = (unsigned)test_below(rng, 40);
	bool zero;
	pfn_t pfn;

	/* Mostly around a pageblock. */
	if (order > 18)
		order = 7 + order % 5;
	if (f->nr_live == MAX_LIVE)
		return;
	pfn = take_known(f, z, order, &zero);
	if (pfn != PFN_NONE)
		f->live[f->nr_live++] = (struct live){ pfn, order, z };
}

static void play_free(struct fixture *f, struct test_rng *rng)
{
	struct live *live;

	if (f->nr_live == 0)
		return;
	live = &f->live[test_below(rng, f->nr_live)];
	give(f, live->zone, live->order, live->pfn);
	*live = f->live[--f->nr_live];
}

/* Some of the best go, or do not. */
static void play_give_back(struct fixture *f, struct test_rng *rng)
{
	unsigned n = 1 + (unsigned)test_below(rng, BEST);
	struct zone_idle best[BEST];

	n = find(f, (unsigned)test_below(rng, 6), n, best);
	for (unsigned i = 0; i < n; i++)
		assert_true(take_out(f, best[i].pageblock));
	for (unsigned i = 0; i < n; i++)
		if (test_below(rng, 8) == 0)
			put_anew(f, best[i].pageblock);
		else
			put_back(f, best[i].pageblock, test_below(rng, 7) != 0,
				 test_below(rng, 2));
}

/* All, from the best down, so many at a time. */
static void play_walk(struct fixture *f, struct test_rng *rng)
{
	unsigned min_age = (unsigned)test_below(rng, 3);
	unsigned n = 1 + (unsigned)test_below(rng, BEST);
	struct zone_idle best[BEST], after = ZONE_IDLE_TOP;

	while (find_after(f, after, min_age, n, best) == n)
		after = best[n - 1];
}

static void play_regain(struct fixture *f, struct test_rng *rng)
{
	uint32_t blocks[4], next = 0;
	struct zone *zone = &f->zone[test_below(rng, f->nr_zones)];
	unsigned n = zone_find_lost(zone, &next, blocks, 4);

	for (unsigned i = 0; i < n; i++) {
		zone_regained(zone, blocks[i]);
		f->ref[blocks[i]].lost = false;
	}
}

static void play(const pfn_t *cut, unsigned nr_zones, unsigned rounds)
{
	struct fixture *f = start(cut, nr_zones);
	struct test_rng rng = test_seed();
	unsigned gone = 0, lost = 0;

	for (unsigned i = 0; i < rounds; i++) {
		struct zone_idle best[BEST];
		/* Now it fills, now it empties. */
		unsigned frees = i / 1000 % 2 ? 7 : 4;

		if (test_below(&rng, 11) < frees)
			play_free(f, &rng);
		else
			play_alloc(f, &rng);
		if (test_below(&rng, 8) == 0)
			look(f);
		if (test_below(&rng, 32) == 0)
			play_give_back(f, &rng);
		if (test_below(&rng, 64) == 0)
			play_regain(f, &rng);
		if (test_below(&rng, 16))
			continue;
		find(f, (unsigned)test_below(&rng, 12), BEST, best);
		check_lost(f, 1 + (unsigned)test_below(&rng, BEST));
		if (test_below(&rng, 8) == 0)
			play_walk(f, &rng);
		for (unsigned b = 0; b < cut[nr_zones] / 512; b++) {
			gone += f->ref[b].gone;
			lost += ref_is_lost(f, zone_with(f, b), b);
		}
		if (test_below(&rng, 8) == 0)
			check_sound(f);
	}
	assert_true(gone && lost);
	stop(f);
}

static void test_random_one_zone(void **state)
{
	static const pfn_t cut[] = { 0, 512 * 64 };

	(void)state;
	play(cut, 1, 20000);
}

/* Odd ends, a gigablock shared, and another one begun. */
static void test_random_two_zones(void **state)
{
	static const pfn_t cut[] = { 512 * 900 + 37, 512 * 980,
				     512 * 1060 + 200 };

	(void)state;
	play(cut, 2, 20000);
}

/* Whole gigablocks. */
static void test_random_large(void **state)
{
	static const pfn_t cut[] = { 0, 512 * 1100 };

	(void)state;
	play(cut, 1, 4000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ages),
		cmocka_unit_test(test_ages_go_round),
		cmocka_unit_test(test_handed_out_loses_idle),
		cmocka_unit_test(test_larger_runs_first),
		cmocka_unit_test(test_takes),
		cmocka_unit_test(test_gone_for_sure),
		cmocka_unit_test(test_gone_maybe),
		cmocka_unit_test(test_unknown_zero),
		cmocka_unit_test(test_lost),
		cmocka_unit_test(test_untouched_tables),
		cmocka_unit_test(test_random_one_zone),
		cmocka_unit_test(test_random_two_zones),
		cmocka_unit_test(test_random_large),
	};

	return cmocka_run_group_tests_name("zone_idle", tests, NULL, NULL);
}
