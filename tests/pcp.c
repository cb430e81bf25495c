/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Per-CPU page lists in all three ways of being a CPU, over a zone of tables
 * alone. The thread keeps to one CPU, so every step is known beforehand.
 */
#include "testing.h"

#include <errno.h>
#include <sched.h>
#include <sys/mman.h>

#include "base/report.h"
#include "pcp/pcp.h"
#include "platform/fault.h"
#include "platform/platform.h"
#include "platform/platform_process.h"

/* BLOCKS: pageblocks a CPU */
enum { NR_CPUS = 2, BLOCKS = 128, DECAY_MS = 1000000 };
/* The most by which a list grows; a word of a map: half lists are multiples. */
enum { STEP = 64, WORD = 64 };
#define TYPE QUIRE_TYPE_UNMOVABLE

struct fixture {
	enum quire_way way;
	unsigned renew;
	struct memmap map;
	struct zone zone;
	struct pcp pcp;
	unsigned key;
	struct pcp_seat seat[NR_CPUS];
	uint32_t cpu; /* the one whose lists this thread uses */
	uint32_t nr_cpus;
	pfn_t pages;
	cpu_set_t allowed;
	char *tables;
	size_t tables_bytes, taken;
	struct test_messages messages;
	struct reporter reporter;
};

static struct fixture f;

/* What is asked of a zone, down to its last page. */
#define plain(k) (&(const struct zone_ask){ .order = (k), .type = TYPE })

static void *carve(size_t bytes)
{
	void *at = f.tables + f.taken;

	f.taken += (bytes + 4095) & ~(size_t)4095;
	assert_true(f.taken <= f.tables_bytes);
	return at;
}

static void pin(uint32_t cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
}

static uint32_t first_allowed(void)
{
	uint32_t cpu = 0;

	while (!CPU_ISSET(cpu, &f.allowed))
		cpu++;
	return cpu;
}

/* This thread's CPU, in the way under test. */
static void become_cpu(void)
{
	uint32_t real = first_allowed();

	switch (f.way) {
	case QUIRE_WAY_BOUND:
		assert_int_equal(platform_key_create(&f.key, NULL), 0);
		for (uint32_t i = 0; i < NR_CPUS; i++)
			f.seat[i].cpu = i;
		assert_int_equal(platform_key_set(f.key, &f.seat[1]), 0);
		f.nr_cpus = NR_CPUS;
		f.cpu = 1;
		return;
	case QUIRE_WAY_TRYLOCK:
		pin(real);
		f.nr_cpus = NR_CPUS;
		f.cpu = real % NR_CPUS;
		return;
	default:
		pin(real);
		f.nr_cpus = real + 1 > NR_CPUS ? real + 1 : NR_CPUS;
		f.cpu = real;
	}
}

static void start(pfn_t blocks, uint64_t decay_ms)
{
	struct region region = { 0 };
	struct pcp_settings settings;
	pfn_t pages;

	become_cpu();
	pages = blocks * BLOCK_UNITS * f.nr_cpus;
	region.end = pages;
	f.pages = pages;
	f.reporter = (struct reporter){ test_catch, &f.messages };
	f.tables_bytes = memmap_pages_bytes(&region) +
			 memmap_privates_bytes(&region) +
			 memmap_pageblocks_bytes(&region) +
			 zone_gigablocks_bytes(0, pages) +
			 pcp_sets_bytes(f.nr_cpus) + 8 * 4096;
	f.tables = mmap(NULL, f.tables_bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(f.tables, MAP_FAILED);
	memmap_init(&f.map, &region, carve(memmap_pages_bytes(&region)),
		    carve(memmap_privates_bytes(&region)),
		    carve(memmap_pageblocks_bytes(&region)));
	zone_init(&f.zone, 0, 0, pages, &f.map,
		  carve(zone_gigablocks_bytes(0, pages)),
		  carve(zone_owned_bytes(f.nr_cpus)), f.nr_cpus, &f.reporter);
	settings = (struct pcp_settings){ .nr_cpus = f.nr_cpus,
					  .way = f.way,
					  .key = f.key,
					  .renew = f.renew,
					  .decay_ms = decay_ms,
					  .reporter = &f.reporter };
	pcp_init(&f.pcp, &f.zone, carve(pcp_sets_bytes(f.nr_cpus)), &settings);
}

static int begin(void **state)
{
	enum quire_way way = *(enum quire_way *)*state;

	memset(&f, 0, sizeof(f));
	test_messages_init(&f.messages);
	f.way = way;
	return sched_getaffinity(0, sizeof(f.allowed), &f.allowed);
}

static void stop(void)
{
	munmap(f.tables, f.tables_bytes);
	f.tables = NULL;
	f.taken = 0;
	memset(&f.zone, 0, sizeof(f.zone));
	memset(&f.pcp, 0, sizeof(f.pcp));
	if (f.way == QUIRE_WAY_BOUND) {
		platform_key_set(f.key, NULL);
		platform_key_delete(f.key);
	}
}

static int end(void **state)
{
	(void)state;
	fault_disarm_all();
	if (f.tables)
		stop();
	return sched_setaffinity(0, sizeof(f.allowed), &f.allowed);
}

/* Where sequences cannot be used there is nothing to test. */
#define need_way()                                                             \
	do {                                                                   \
		if (f.way == QUIRE_WAY_RSEQ && !platform_rseq_usable())        \
			skip();                                                \
	} while (0)

/* --- what the tests look at and do --- */

static struct pcp_set *my_set(void)
{
	return pcp_set(&f.pcp, f.cpu);
}

/* The stack that frees push: with renewal not the one that allocs pop. */
static unsigned back(unsigned order)
{
	return pcp_back(&f.pcp, order);
}

/* A list is named by its order, its back by back(order). */
static uint32_t listed(unsigned stack)
{
	return cpu_stack_count(cpu_stack_word(&my_set()->stack[stack]));
}

static const pfn_t *list_items(unsigned stack)
{
	return cpu_stack_items((char *)my_set(), &my_set()->stack[stack]);
}

static uint16_t capacity(unsigned stack)
{
	return atomic_load(&my_set()->stack[stack].high);
}

/* With how many blocks a refill comes: half the capacity, in whole words. */
static uint32_t half_of(uint32_t capacity)
{
	uint32_t half = capacity / 2;

	return half < WORD ? half : half - half % WORD;
}

/* The n-th refill without a trim or drain between; order 0. */
static uint32_t filling_of(uint32_t capacity, unsigned n)
{
	return n > 3 ? capacity - capacity % WORD : half_of(capacity);
}

static struct pcp_count counts(void)
{
	struct pcp_count count = { 0 };

	pcp_count(&f.pcp, &count);
	return count;
}

static pfn_t take(unsigned order)
{
	pfn_t pfn = PFN_NONE;

	assert_true(pcp_alloc(&f.pcp, plain(order), &pfn));
	assert_int_equal(page_word(memmap_page(&f.map, pfn)) & ~PAGE_ZERO,
			 PAGE_PCP | order);
	page_set_word(memmap_page(&f.map, pfn), PAGE_HEAD | order);
	return pfn;
}

/* Past the lists. */
static pfn_t take_direct(unsigned order)
{
	pfn_t pfn;

	zone_lock(&f.zone);
	assert_true(pcp_alloc_held(&f.pcp, plain(order), &pfn));
	zone_unlock(&f.zone);
	return pfn;
}

static void give(unsigned order, pfn_t pfn)
{
	page_set_word(memmap_page(&f.map, pfn), PAGE_PCP | order);
	pcp_free(&f.pcp, order, TYPE, pfn);
}

static void make_due(void)
{
	atomic_store(&f.pcp.next_decay, 0);
}

/* --- batches --- */

/* One visit to the zone: the caller's block, and a list half full, ascending.
 */
static void test_refill(void **state)
{
	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	for (unsigned order = 0; order < 3; order++) {
		uint64_t free = zone_free_pages(&f.zone);
		uint64_t locks = atomic_load(&f.zone.locks);
		pfn_t pfn = take(order);
		uint32_t half = half_of(capacity(order));

		assert_int_equal(capacity(order), f.pcp.high_min[order]);
		assert_true(half > 1 && half <= STEP);
		assert_int_equal(listed(order), half - 1);
		assert_int_equal(zone_free_pages(&f.zone),
				 free - ((uint64_t)half << order));
		assert_int_equal(atomic_load(&f.zone.locks), locks + 1);
		for (uint32_t i = 1; i < half; i++)
			assert_int_equal(take(order), pfn + (i << order));
		assert_int_equal(atomic_load(&f.zone.locks), locks + 1);
		assert_int_equal(listed(order), 0);
		assert_int_equal(counts().refills, order + 1);
	}
}

/* Lists that have grown come in one hold of the zone lock as well. */
static void test_refill_grown(void **state)
{
	unsigned refills = 1;
	pfn_t last;

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	last = take(0);
	while (capacity(0) < f.pcp.high_max[TYPE][0] || listed(0)) {
		uint64_t locks = atomic_load(&f.zone.locks), holds = 0;
		bool empty = listed(0) == 0;
		pfn_t pfn = take(0);

		assert_int_equal(pfn, last + 1);
		last = pfn;
		if (empty) {
			assert_int_equal(listed(0),
					 filling_of(capacity(0), ++refills) -
						 1);
			holds = 1;
		}
		assert_int_equal(atomic_load(&f.zone.locks), locks + holds);
	}
	assert_true(refills > 4);
	assert_int_equal(capacity(0), ZONE_BATCH);
	assert_int_equal(zone_free_pages(&f.zone), f.pages - last - 1);
	assert_int_equal(zone_validate(&f.zone), 0);
}

/*
 * The zone has nothing free but one page of each word of the first `blocks`
 * pageblocks that are whole now; returns how many.
 */
static uint32_t scatter(uint32_t blocks)
{
	pfn_t *pfns = malloc((size_t)blocks * BLOCK_WORDS * sizeof(*pfns));
	uint64_t locks;
	uint32_t n = 0;
	bool zero;

	assert_non_null(pfns);
	for (uint32_t i = 0; i < blocks; i++) {
		pfn_t pfn;

		assert_true(
			pcp_alloc_exact(&f.pcp, plain(9), 512, &pfn, &zero));
		for (uint32_t w = 0; w < BLOCK_WORDS; w++)
			pfns[n++] = pfn + w * WORD;
	}
	while (f.zone.free_whole)
		take_direct(9);
	while (zone_free_pages(&f.zone))
		take_direct(0);
	locks = atomic_load(&f.zone.locks);
	pcp_free_direct(&f.pcp, 0, n, pfns);
	assert_int_equal(atomic_load(&f.zone.locks),
			 locks + (n + ZONE_GIVE_WORDS - 1) / ZONE_GIVE_WORDS);
	free(pfns);
	return n;
}

/*
 * Where a hold moves fewer blocks than are wanted, refills, bulk calls and
 * drains take as many holds as it needs, and are as complete.
 */
static void test_scattered(void **state)
{
	const uint32_t blocks = 64, bulk = 3 * ZONE_TAKE_WORDS + 8, half = 256;
	/* To take half a list, and to give it back but for one. */
	const uint64_t holds =
		half / ZONE_TAKE_WORDS +
		(half - 1 + ZONE_GIVE_WORDS - 1) / ZONE_GIVE_WORDS;
	pfn_t pfns[3 * ZONE_TAKE_WORDS + 8];
	uint64_t locks;
	uint32_t n;

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	while (capacity(0) < f.pcp.high_max[TYPE][0])
		take(0);
	pcp_hold_all(&f.pcp, true);
	pcp_release_all(&f.pcp);
	n = scatter(blocks * f.nr_cpus);
	assert_true(n >= f.pcp.scarce + half + bulk);
	locks = atomic_load(&f.zone.locks);
	take(0);
	assert_int_equal(listed(0), half - 1);
	assert_int_equal(zone_free_pages(&f.zone), n - half);
	assert_int_equal(atomic_load(&f.zone.locks),
			 locks + half / ZONE_TAKE_WORDS);
	assert_int_equal(zone_validate(&f.zone), 0);
	pcp_hold_all(&f.pcp, true);
	pcp_release_all(&f.pcp);
	assert_int_equal(zone_free_pages(&f.zone), n - 1);
	assert_int_equal(atomic_load(&f.zone.locks), locks + holds);
	assert_int_equal(pcp_alloc_bulk(&f.pcp, plain(0), bulk, pfns), bulk);
	assert_int_equal(atomic_load(&f.zone.locks), locks + holds + 4);
	for (uint32_t i = 1; i < bulk; i++)
		if (pfns[i] / BLOCK_UNITS == pfns[i - 1] / BLOCK_UNITS)
			assert_true(pfns[i] > pfns[i - 1]);
	assert_int_equal(zone_free_pages(&f.zone), n - 1 - bulk);
	/* What comes from nearly empty pageblocks is all there is. */
	n -= 1 + bulk;
	for (uint32_t i = 0; i < n; i++)
		take(0);
	assert_int_equal(zone_free_pages(&f.zone) + counts().parked_pages, 0);
	assert_int_equal(zone_validate(&f.zone), 0);
}

/* Half of two or three is the one that was asked for. */
static void test_refill_smallest(void **state)
{
	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	for (unsigned order = 7; order < 9; order++) {
		uint64_t free = zone_free_pages(&f.zone);

		assert_true(f.pcp.high_min[order] / 2 == 1);
		take(order);
		assert_int_equal(listed(order), 0);
		assert_int_equal(zone_free_pages(&f.zone),
				 free - (UINT64_C(1) << order));
	}
}

static void check_trim(unsigned order)
{
	uint32_t high = f.pcp.high_min[order], stay = high / 4 ? high / 4 : 1;
	uint32_t out = high + 1 - stay;
	uint64_t before, drains = counts().drains;
	pfn_t pfns[512];

	assert_true(high < TEST_LENGTH(pfns));
	for (uint32_t i = 0; i <= high; i++)
		pfns[i] = take_direct(order);
	before = zone_free_pages(&f.zone);
	for (uint32_t i = 0; i < high; i++)
		give(order, pfns[i]);
	assert_int_equal(listed(back(order)), high);
	assert_int_equal(zone_free_pages(&f.zone), before);
	give(order, pfns[high]);
	assert_int_equal(listed(back(order)), stay);
	assert_memory_equal(list_items(back(order)), pfns + out,
			    stay * sizeof(*pfns));
	assert_int_equal(zone_free_pages(&f.zone),
			 before + ((uint64_t)out << order));
	for (uint32_t i = 0; i <= high; i++)
		assert_int_equal(zone_page_is_free(&f.zone, pfns[i]), i < out);
	assert_int_equal(page_word(memmap_page(&f.map, pfns[0])), PAGE_FREE);
	assert_int_equal(page_word(memmap_page(&f.map, pfns[out - 1])),
			 PAGE_FREE);
	assert_int_equal(counts().drains, drains + 1);
	assert_int_equal(zone_validate(&f.zone), 0);
	if (!f.renew)
		assert_int_equal(take(order), pfns[high]);
}

/* Of a full list the newest fourth stays, the block that did not fit on top. */
static void test_trim(void **state)
{
	static const unsigned orders[] = { 0, 1, 2, 5, 7, 8 };

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	for (size_t i = 0; i < TEST_LENGTH(orders); i++)
		check_trim(orders[i]);
}

/*
 * Decay lowers the capacity of a list that is in use, but the blocks above it
 * stay until the list is full again: that trim leaves a fourth of what is the
 * capacity then.
 */
static void test_trim_after_shrink(void **state)
{
	uint32_t before, stay, excess;
	pfn_t pfns[1024];
	uint64_t free;

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	while (capacity(0) < f.pcp.high_max[TYPE][0])
		take(0);
	pcp_hold_all(&f.pcp, true);
	pcp_release_all(&f.pcp);
	before = capacity(0);
	assert_true(before < TEST_LENGTH(pfns));
	for (uint32_t i = 0; i <= before; i++)
		pfns[i] = take_direct(0);
	for (uint32_t i = 0; i < before; i++)
		give(0, pfns[i]);
	/* Two looks, between them no slow visit but some use. */
	make_due();
	assert_int_equal(pcp_maintain(&f.pcp), 0);
	give(0, take(0));
	make_due();
	assert_int_equal(pcp_maintain(&f.pcp), 0);
	assert_int_equal(capacity(0), before * 3 / 4);
	stay = capacity(0) / 4;
	excess = before + 1 - stay;
	assert_int_equal(listed(0), before);
	free = zone_free_pages(&f.zone);
	give(0, pfns[before]);
	assert_int_equal(listed(0), stay);
	assert_memory_equal(list_items(0), pfns + excess, stay * sizeof(*pfns));
	assert_int_equal(zone_free_pages(&f.zone), free + excess);
	assert_int_equal(zone_validate(&f.zone), 0);
}

/* --- capacity --- */

static void take_all_listed(unsigned order)
{
	while (listed(order))
		take(order);
}

/*
 * Where single pages are allocated in a run, refills come to fill the list; a
 * trim, a drain or an idle period ends the run. A list of higher order is never
 * filled, nor one of a scattered zone.
 */
static void test_refill_in_a_run(void **state)
{
	pfn_t pfns[ZONE_BATCH + 1];

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	while (capacity(0) < f.pcp.high_max[TYPE][0])
		take(0);
	for (int end = 0; end < 2; end++) {
		for (unsigned n = 1; n <= 6; n++) {
			take_all_listed(0);
			pfns[0] = take(0);
			assert_int_equal(listed(0) + 1,
					 end ? filling_of(ZONE_BATCH, n)
					     : ZONE_BATCH);
		}
		if (end == 0) {
			for (unsigned i = 1; i <= ZONE_BATCH; i++)
				pfns[i] = take(0);
			take_all_listed(0);
			for (unsigned i = 0; counts().drains == 0; i++)
				give(0, pfns[i]);
		}
	}
	pcp_hold_all(&f.pcp, true);
	pcp_release_all(&f.pcp);
	take(0);
	assert_int_equal(listed(0) + 1, half_of(ZONE_BATCH));
	/* What is parked in a scattered zone keeps more blocks from being
	 * whole. */
	for (unsigned n = 2; n <= 5; n++) {
		take_all_listed(0);
		atomic_store(&f.zone.scattered, n != 5);
		take(0);
		assert_int_equal(listed(0) + 1,
				 n == 5 ? ZONE_BATCH : half_of(ZONE_BATCH));
	}
	/* In whole words. */
	take_all_listed(0);
	cpu_stack_open(&my_set()->stack[0], 300);
	take(0);
	assert_int_not_equal(capacity(0) % WORD, 0);
	assert_int_equal(listed(0) + 1, filling_of(capacity(0), 6));
	/* A period in which nobody came ends the run. */
	take_all_listed(0);
	for (int period = 0; period < 2; period++) {
		make_due();
		pcp_maintain(&f.pcp);
	}
	take(0);
	assert_int_equal(listed(0) + 1, half_of(capacity(0)));
	for (unsigned n = 1; n <= 6; n++) {
		take_all_listed(1);
		take(1);
		assert_int_equal(listed(1) + 1, half_of(capacity(1)));
	}
	assert_int_equal(zone_validate(&f.zone), 0);
}

static void test_grow_and_shrink(void **state)
{
	unsigned high, most;
	unsigned looks = 0;

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	most = f.pcp.high_max[TYPE][0];
	high = f.pcp.high_min[0];
	assert_int_equal(f.pcp.batch[0], STEP);
	/* Three visits to the zone in a period are not enough. */
	for (unsigned visit = 1; visit <= 12; visit++) {
		take(0);
		if (visit > 3)
			high += f.pcp.batch[0];
		if (high > most)
			high = most;
		assert_int_equal(capacity(0), high);
		assert_int_equal(listed(0), filling_of(high, visit) - 1);
		take_all_listed(0);
		assert_int_equal(capacity(0), high);
	}
	assert_int_equal(capacity(0), most);
	assert_int_equal(pcp_maintain(&f.pcp), 0);
	assert_int_equal(capacity(0), most);
	/* A period with visits, then periods without. */
	make_due();
	assert_int_equal(pcp_maintain(&f.pcp), 0);
	assert_int_equal(capacity(0), most);
	for (high = most; capacity(0) > f.pcp.high_min[0]; high = capacity(0)) {
		unsigned expected = high * 3u / 4;

		make_due();
		pcp_maintain(&f.pcp);
		if (expected < f.pcp.high_min[0])
			expected = f.pcp.high_min[0];
		assert_int_equal(capacity(0), expected);
		assert_true(++looks < 50);
	}
	make_due();
	pcp_maintain(&f.pcp);
	assert_int_equal(capacity(0), f.pcp.high_min[0]);
}

/*
 * Two threads that share a set can leave a stack with less capacity than was
 * noted for it: what the stack has counts, nothing is taken in vain, and it
 * grows again.
 */
static void test_capacity_of_stack(void **state)
{
	uint16_t most, high;

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	most = f.pcp.high_max[TYPE][0];
	high = f.pcp.high_min[0];
	while (capacity(0) < most || listed(0))
		take(0);
	cpu_stack_open(&my_set()->stack[0], high);
	take(0);
	assert_int_equal(capacity(0), high + f.pcp.batch[0]);
	assert_int_equal(listed(0), capacity(0) - 1);
	while (capacity(0) < most)
		take(0);
	assert_int_equal(counts().zone_frees, 0);
	assert_int_equal(zone_validate(&f.zone), 0);
}

/* Others emptied the list between a push that was refused and the trim. */
static void test_trim_of_few(void **state)
{
	pfn_t pfns[4];

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	for (int i = 0; i < 4; i++)
		pfns[i] = take_direct(0);
	for (int i = 0; i < 3; i++)
		give(0, pfns[i]);
	page_set_word(memmap_page(&f.map, pfns[3]),
		      PAGE_PCP | page_tag(0, QUIRE_TYPE_UNMOVABLE));
	fault_arm(FAULT_PCP_CPU, 0, 1);
	pcp_free_slow(&f.pcp, 0, QUIRE_TYPE_UNMOVABLE, pfns[3]);
	fault_disarm_all();
	assert_int_equal(listed(0), 4);
	assert_memory_equal(list_items(0), pfns, sizeof(pfns));
	assert_int_equal(zone_free_pages(&f.zone), f.pages - 4);
}

/* --- decay --- */

static void test_decay(void **state)
{
	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	for (unsigned order = 0; order < 4; order++)
		take(order);
	take_direct(0);
	assert_int_equal(pcp_maintain(&f.pcp), 0);
	make_due();
	assert_int_equal(pcp_maintain(&f.pcp), 0);
	assert_true(counts().parked_blocks > 0);
	/* One period per call that moves the clock on. */
	assert_int_equal(pcp_maintain(&f.pcp), 0);
	take(1);
	make_due();
	assert_int_equal(pcp_maintain(&f.pcp), 0);
	make_due();
	assert_int_equal(pcp_maintain(&f.pcp), 1);
	assert_int_equal(counts().parked_blocks, 0);
	assert_int_equal(zone_free_pages(&f.zone), f.pages - 15 - 1 - 2);
	assert_int_equal(zone_validate(&f.zone), 0);
	make_due();
	assert_int_equal(pcp_maintain(&f.pcp), 0);
	take(0);
	assert_int_equal(listed(0), f.pcp.high_min[0] / 2 - 1);
}

static void test_decay_disowns(void **state)
{
	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	assert_true(f.zone.nr_owners > f.cpu);
	for (unsigned i = 0; i <= f.pcp.batch[0]; i++)
		take(0);
	assert_int_not_equal(f.zone.owned[f.cpu * NR_CALL_TYPES], 0);
	for (int looks = 0; looks < 2; looks++) {
		make_due();
		pcp_maintain(&f.pcp);
	}
	assert_int_equal(f.zone.owned[f.cpu * NR_CALL_TYPES], 0);
	assert_int_equal(zone_validate(&f.zone), 0);
}

/* Nothing is taken from a CPU whose fence failed: it may be amid a sequence. */
static void test_decay_without_fence(void **state)
{
	uint64_t parked;

	(void)state;
	need_way();
	if (f.way != QUIRE_WAY_RSEQ)
		return;
	start(BLOCKS, DECAY_MS);
	take(0);
	parked = counts().parked_pages;
	make_due();
	assert_int_equal(pcp_maintain(&f.pcp), 0);
	make_due();
	fault_arm(FAULT_MEMBARRIER, 0, 1);
	assert_int_equal(pcp_maintain(&f.pcp), 0);
	fault_disarm_all();
	assert_told(&f.messages, "membarrier for CPU");
	assert_int_equal(counts().parked_pages, parked);
	/* And the lists are open again. */
	take(0);
	assert_int_equal(counts().parked_pages, parked - 1);
	assert_int_equal(zone_validate(&f.zone), 0);
}

/* By the clock: within a few periods of 1 ms the idle lists are empty. */
static void test_decay_by_clock(void **state)
{
	(void)state;
	need_way();
	start(BLOCKS, 1);
	take(0);
	while (pcp_maintain(&f.pcp) == 0)
		sched_yield();
	assert_int_equal(counts().parked_blocks, 0);
	assert_int_equal(zone_free_pages(&f.zone), f.pages - 1);
}

/* --- held --- */

static void test_hold(void **state)
{
	uint64_t direct;
	pfn_t pfns[4];

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	for (unsigned order = 0; order < 4; order++)
		pfns[order] = take(order);
	pcp_hold_all(&f.pcp, true);
	assert_int_equal(zone_free_pages(&f.zone), f.pages - 15);
	direct = atomic_load(&f.pcp.direct_allocs);
	for (unsigned order = 0; order < 4; order++) {
		assert_int_equal(capacity(order), 0);
		assert_int_equal(atomic_load(&my_set()->stack[order].low),
				 UINT16_MAX);
		give(order, pfns[order]);
		pfns[order] = take(order);
		give(order, take(order));
		assert_int_equal(listed(order), 0);
	}
	assert_int_equal(atomic_load(&f.pcp.direct_allocs), direct + 8);
	assert_int_equal(zone_free_pages(&f.zone), f.pages - 15);
	pcp_release_all(&f.pcp);
	for (unsigned order = 0; order < 4; order++) {
		assert_int_equal(capacity(order), f.pcp.high_min[order]);
		give(order, pfns[order]);
		assert_int_equal(listed(order), 1);
	}
	assert_int_equal(zone_validate(&f.zone), 0);
}

/* Held, but not drained, as around a fork: nothing moves. */
static void test_hold_undrained(void **state)
{
	pfn_t pfn;
	uint32_t n;

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	pfn = take(0);
	n = listed(0);
	pcp_hold_all(&f.pcp, false);
	give(0, pfn);
	take(0);
	assert_int_equal(listed(0), n);
	pcp_release_all(&f.pcp);
	assert_int_equal(take(0), pfn + 1);
	assert_int_equal(listed(0), n - 1);
}

/* --- sizes --- */

static void check_budget(uint64_t pages, uint32_t cpus, unsigned renew)
{
	const struct pcp_settings settings = {
		.nr_cpus = cpus, .way = f.way, .renew = renew, .decay_ms = 1
	};
	struct zone zone = { .nr_owners = 0 };
	struct pcp pcp = { .nr_cpus = 0 };
	uint64_t share = pages / (8 * (uint64_t)cpus), sum = 0;
	uint64_t scarce = 2 * (uint64_t)cpus * STEP;
	unsigned stacks = renew ? 2 : 1;

	atomic_store(&zone.free, pages);
	pcp_init(&pcp, &zone, NULL, &settings);
	for (unsigned order = 0; order < PCP_ORDERS; order++) {
		sum += (uint64_t)pcp.share[order] * stacks << order;
		for (unsigned t = 0; t < NR_CALL_TYPES; t++)
			assert_true(pcp.high_max[t][order] <= pcp.share[order]);
		assert_true(pcp.batch[order] >= 1);
		assert_true(pcp.batch[order] <= STEP);
		assert_true(pcp.high_min[order] <= pcp.high_max[TYPE][order]);
		if (pcp.high_max[TYPE][order])
			assert_true(pcp.batch[order] <
					    pcp.high_max[TYPE][order] &&
				    pcp.high_max[TYPE][order] >= 2);
		if (share / 12 >> order >= 2 * stacks)
			assert_int_not_equal(pcp.high_max[TYPE][order], 0);
		else if (order)
			assert_int_equal(pcp.high_max[TYPE][order], 0);
	}
	assert_true(sum <= share);
	assert_int_equal(pcp.scarce, scarce < pages / 16 ? scarce : pages / 16);
}

static void test_budget(void **state)
{
	static const uint32_t cpus[] = { 1, 2, 3, 8, 64, 1000 };

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(cpus); i++)
		for (uint64_t pages = 1; pages < UINT64_C(1) << 32;
		     pages = pages * 3 / 2 + 1) {
			check_budget(pages, cpus[i], 0);
			check_budget(pages, cpus[i], 1);
		}
}

/* Filled to the brim, and more: what is parked stays within the share. */
static void test_budget_filled(void **state)
{
	uint64_t most;

	(void)state;
	need_way();
	start(32, DECAY_MS);
	most = f.pages / (8 * f.nr_cpus);
	for (unsigned round = 0; round < 30; round++)
		for (unsigned order = 0; order < PCP_ORDERS; order++) {
			unsigned n = 0;
			pfn_t *pfns = malloc(800 * sizeof(*pfns));

			assert_non_null(pfns);
			while (n < 800 && zone_free_pages(&f.zone) > 4096)
				pfns[n++] = take_direct(order);
			while (n)
				give(order, pfns[--n]);
			free(pfns);
			assert_true(counts().parked_pages <= most);
		}
	for (unsigned order = 0; order < PCP_ORDERS; order++)
		while (f.pcp.high_max[TYPE][order] &&
		       listed(order) < capacity(order))
			give(order, take_direct(order));
	assert_true(counts().parked_pages <= most);
	assert_true(counts().parked_pages > most / 2);
	assert_int_equal(zone_validate(&f.zone), 0);
}

/* Orders whose share is under two blocks pass the lists by. */
static void test_large_orders_bypass(void **state)
{
	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	for (unsigned order = 0; order <= QUIRE_MAX_ORDER; order++) {
		bool bypass =
			order >= PCP_ORDERS || !f.pcp.high_max[TYPE][order];
		uint64_t free = zone_free_pages(&f.zone);
		uint64_t parked = counts().parked_pages;
		pfn_t pfn;

		if (!pcp_alloc(&f.pcp, plain(order), &pfn)) {
			assert_true(order > 9);
			continue;
		}
		page_set_word(memmap_page(&f.map, pfn), PAGE_HEAD | order);
		if (bypass)
			assert_int_equal(zone_free_pages(&f.zone),
					 free - (UINT64_C(1) << order));
		give(order, pfn);
		assert_int_equal(counts().parked_pages > parked, !bypass);
		if (bypass)
			assert_int_equal(zone_free_pages(&f.zone), free);
	}
	assert_int_equal(f.pcp.high_max[TYPE][9], 0);
	assert_int_not_equal(f.pcp.high_max[TYPE][5], 0);
}

/* Nearly empty: a refill takes what was asked and no more. */
static void test_scarce(void **state)
{
	uint64_t free;
	pfn_t last = 0;

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	for (pfn_t i = 0; i < BLOCKS * f.nr_cpus; i++)
		last = take_direct(9);
	pcp_free_direct(&f.pcp, 9, 1, &last);
	for (free = 512; free >= f.pcp.scarce; free--)
		take_direct(0);
	take(0);
	assert_int_equal(listed(0), 0);
	assert_int_equal(zone_free_pages(&f.zone), free - 1);
	take(2);
	assert_int_equal(listed(2), 0);
	assert_int_equal(zone_free_pages(&f.zone), free - 5);
}

/* --- renewal --- */

static void start_renewing(unsigned renew)
{
	if (f.tables)
		stop();
	f.renew = renew;
	start(2 * BLOCKS, DECAY_MS);
}

/* Allocs pop the list, frees push its back. */
static void test_renew_sides(void **state)
{
	(void)state;
	need_way();
	start_renewing(16);
	for (unsigned order = 0; order < 3; order++) {
		pfn_t first = take(order), second = take(order);
		uint64_t locks = atomic_load(&f.zone.locks);
		uint32_t there = listed(order);

		assert_int_not_equal(back(order), order);
		give(order, first);
		give(order, second);
		assert_int_equal(listed(order), there);
		assert_int_equal(listed(back(order)), 2);
		assert_int_equal(list_items(back(order))[0], first);
		assert_int_equal(list_items(back(order))[1], second);
		assert_int_equal(take(order), second + (1u << order));
		assert_int_equal(listed(order), there - 1);
		assert_int_equal(listed(back(order)), 2);
		assert_int_equal(atomic_load(&f.zone.locks), locks);
	}
	assert_int_equal(counts().pushes, 6);
	assert_int_equal(counts().pops, 6);
	assert_int_equal(counts().zone_allocs, 3);
}

/* What comes back is allocated again and again, and that is no run. */
static void test_renew_is_no_run(void **state)
{
	(void)state;
	need_way();
	start_renewing(16);
	for (unsigned n = 1; n <= 6; n++) {
		pfn_t pfn = take(0);

		assert_int_equal(listed(0) + 1, half_of(capacity(0)));
		take_all_listed(0);
		give(0, pfn);
		take_all_listed(0);
	}
	assert_int_equal(zone_validate(&f.zone), 0);
}

/* Without it there are no backs: what was freed last is handed out first. */
static void test_no_renewal(void **state)
{
	pfn_t pfn;

	(void)state;
	need_way();
	start_renewing(0);
	pfn = take(0);
	give(0, pfn);
	assert_int_equal(back(0), 0);
	assert_int_equal(take(0), pfn);
	for (unsigned i = PCP_LISTS; i < PCP_STACKS; i++)
		assert_int_equal(listed(i), 0);
}

/* An empty list of an open set, and n blocks on its back, which are pfns[]. */
static void start_with_back(unsigned renew, unsigned order, uint32_t n,
			    pfn_t *pfns)
{
	start_renewing(renew);
	take(order);
	take_all_listed(order);
	for (uint32_t i = 0; i < n; i++)
		pfns[i] = take_direct(order);
	for (uint32_t i = 0; i < n; i++)
		give(order, pfns[i]);
	assert_int_equal(listed(order), 0);
	assert_int_equal(listed(back(order)), n);
	assert_memory_equal(list_items(back(order)), pfns, n * sizeof(*pfns));
}

/* A list was renewed: one refill, and nothing but that was counted. */
static void check_renewed_counts(const struct pcp_count *before, unsigned order,
				 uint32_t out, uint32_t got)
{
	struct pcp_count after = counts();

	assert_int_equal(after.refills, before->refills + 1);
	assert_int_equal(after.drains, before->drains);
	assert_int_equal(after.zone_allocs, before->zone_allocs + 1);
	assert_int_equal(after.zone_frees, before->zone_frees);
	assert_int_equal(after.pops, before->pops);
	assert_int_equal(after.pushes, before->pushes);
	assert_int_equal(after.parked_blocks,
			 before->parked_blocks + got - out - 1);
	assert_int_equal(after.parked_pages,
			 before->parked_pages + ((uint64_t)got << order) -
				 ((uint64_t)(out + 1) << order));
	assert_int_equal(zone_validate(&f.zone), 0);
}

/* The zone takes, but has nothing to give: just what goes and what stays. */
static void check_what_goes(unsigned renew, unsigned order, uint32_t n)
{
	uint32_t out = n * renew / QUIRE_RENEW_MAX, kept = n - out;
	struct pcp_count before;
	uint64_t free;
	pfn_t pfns[512], pfn;

	start_with_back(renew, order, n, pfns);
	before = counts();
	free = zone_free_pages(&f.zone);
	fault_arm(FAULT_ZONE, 0, 1000);
	if (kept == 0) {
		assert_false(pcp_alloc(&f.pcp, plain(order), &pfn));
		assert_int_equal(listed(order), 0);
	} else {
		assert_int_equal(take(order), pfns[n - 1]);
		assert_int_equal(listed(order), kept - 1);
		assert_memory_equal(list_items(order), pfns + out,
				    (kept - 1) * sizeof(*pfns));
		check_renewed_counts(&before, order, out, 0);
	}
	fault_disarm_all();
	assert_int_equal(listed(back(order)), 0);
	assert_int_equal(zone_free_pages(&f.zone),
			 free + ((uint64_t)out << order));
	for (uint32_t i = 0; i < n; i++) {
		assert_int_equal(zone_page_is_free(&f.zone, pfns[i]), i < out);
		if (i < out)
			assert_int_equal(
				page_word(memmap_page(&f.map, pfns[i])),
				PAGE_FREE);
	}
}

/* The zone fills up what is missing to half of the capacity, below the rest. */
static void check_what_comes(unsigned renew, unsigned order, uint32_t n)
{
	uint32_t out = n * renew / QUIRE_RENEW_MAX, kept = n - out, half, got;
	struct pcp_count before;
	uint64_t free, locks;
	pfn_t pfns[512], pfn, low[512];

	start_with_back(renew, order, n, pfns);
	half = half_of(capacity(order));
	got = kept < half ? half - kept : 0;
	before = counts();
	free = zone_free_pages(&f.zone);
	locks = atomic_load(&f.zone.locks);
	pfn = take(order);
	if (kept)
		assert_int_equal(pfn, pfns[n - 1]);
	assert_int_equal(listed(order), got + kept - 1);
	assert_int_equal(listed(back(order)), 0);
	if (kept > 1)
		assert_memory_equal(list_items(order) + got, pfns + out,
				    (kept - 1) * sizeof(*pfns));
	assert_int_equal(zone_free_pages(&f.zone),
			 free + ((uint64_t)out << order) -
				 ((uint64_t)got << order));
	assert_int_equal(atomic_load(&f.zone.locks),
			 locks + (out > 0) + (got > 0));
	check_renewed_counts(&before, order, out, got);
	memcpy(low, list_items(order), listed(order) * sizeof(*low));
	for (uint32_t i = 0; i < listed(order); i++)
		assert_false(zone_page_is_free(&f.zone, low[i]));
	/* Kept: the newest first; then the zone's, which ascend unless they are
	 * what has just gone there. */
	for (uint32_t i = 1; i < kept; i++)
		assert_int_equal(take(order), pfns[n - 1 - i]);
	for (uint32_t i = kept ? got : got - 1; i > 0; i--) {
		pfn_t next = take(order);

		assert_int_equal(next, low[i - 1]);
		if (i < got && out == 0)
			assert_true(next > pfn);
		pfn = next;
	}
	assert_int_equal(listed(order), 0);
}

static void test_renew(void **state)
{
	static const unsigned renews[] = { 1, 16, 33, 63, 64 };
	static const uint32_t ns[] = { 0, 1, 2, 3, 4, 5, 40, 41, 42 };

	(void)state;
	need_way();
	for (size_t i = 0; i < TEST_LENGTH(renews); i++) {
		for (size_t k = 0; k < TEST_LENGTH(ns); k++)
			for (unsigned order = 0; order < 3; order++) {
				if (ns[k])
					check_what_goes(renews[i], order,
							ns[k]);
				check_what_comes(renews[i], order, ns[k]);
			}
		/* Most of a back, and a full one. */
		for (uint32_t n = 100; n <= 128; n += 14) {
			check_what_goes(renews[i], 0, n);
			check_what_comes(renews[i], 0, n);
		}
	}
}

/* A back that grew beyond its list: the list takes the newest it can hold. */
static void test_renew_larger_back(void **state)
{
	uint32_t high, n;
	pfn_t pfns[512];
	uint64_t free;

	(void)state;
	need_way();
	start_renewing(16);
	while (capacity(back(0)) < f.pcp.high_max[TYPE][0])
		give(0, take_direct(0));
	pcp_hold_all(&f.pcp, true);
	pcp_release_all(&f.pcp);
	high = capacity(0);
	n = capacity(back(0));
	assert_true(n > high && n < TEST_LENGTH(pfns));
	for (uint32_t i = 0; i < n; i++)
		pfns[i] = take_direct(0);
	for (uint32_t i = 0; i < n; i++)
		give(0, pfns[i]);
	free = zone_free_pages(&f.zone);
	assert_int_equal(take(0), pfns[n - 1]);
	assert_int_equal(listed(0), high - 1);
	assert_int_equal(listed(back(0)), 0);
	assert_memory_equal(list_items(0), pfns + n - high,
			    (high - 1) * sizeof(*pfns));
	assert_int_equal(zone_free_pages(&f.zone), free + n - high);
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(zone_page_is_free(&f.zone, pfns[i]),
				 i < n - high);
	assert_int_equal(zone_validate(&f.zone), 0);
}

/* List and back at their largest share an order's slots and no more. */
static void test_renew_full(void **state)
{
	enum { ORDERS = 4 };
	pfn_t lists[ORDERS][512], backs[ORDERS][512];
	uint32_t n[ORDERS];

	(void)state;
	need_way();
	start_renewing(1);
	for (unsigned order = 0; order < ORDERS; order++) {
		uint32_t most = f.pcp.high_max[TYPE][order];

		for (unsigned i = 0; i < 10; i++, take_all_listed(order))
			take(order);
		while (capacity(back(order)) < most)
			give(order, take_direct(order));
		assert_int_equal(capacity(order), most);
	}
	pcp_hold_all(&f.pcp, true);
	pcp_release_all(&f.pcp);
	for (unsigned order = 0; order < ORDERS; order++) {
		uint32_t most = f.pcp.high_max[TYPE][order];

		while (listed(back(order)) < most)
			give(order, take_direct(order));
		take(order);
		n[order] = listed(order);
		assert_int_equal(n[order], most - most / 64 - 1);
		memcpy(lists[order], list_items(order),
		       n[order] * sizeof(pfn_t));
		while (listed(back(order)) < most)
			give(order, take_direct(order));
		memcpy(backs[order], list_items(back(order)),
		       most * sizeof(pfn_t));
	}
	for (unsigned order = 0; order < ORDERS; order++) {
		assert_memory_equal(list_items(order), lists[order],
				    n[order] * sizeof(pfn_t));
		assert_memory_equal(list_items(back(order)), backs[order],
				    f.pcp.high_max[TYPE][order] *
					    sizeof(pfn_t));
	}
	assert_true(counts().parked_pages <= f.pages / (8 * f.nr_cpus));
}

/* A full back is trimmed as a list is, and its list left alone. */
static void test_renew_trim(void **state)
{
	static const unsigned orders[] = { 0, 1, 2, 5, 7 };

	(void)state;
	need_way();
	start_renewing(64);
	for (size_t i = 0; i < TEST_LENGTH(orders); i++) {
		unsigned order = orders[i];
		uint32_t there;

		take(order);
		there = listed(order);
		check_trim(order);
		assert_int_equal(listed(order), there);
	}
}

/* What is free in the zone, down to so many pages, goes. */
static void use_up(uint64_t leave)
{
	pfn_t last = PFN_NONE;

	while (zone_free_pages(&f.zone) >= 1024)
		last = take_direct(9);
	while (zone_free_pages(&f.zone) > leave)
		last = take_direct(0);
	assert_int_not_equal(last, PFN_NONE);
}

/* Nearly empty: nothing goes to the zone, and one block at most comes. */
static void test_renew_scarce(void **state)
{
	pfn_t pfns[10];
	uint64_t free;

	(void)state;
	need_way();
	start_with_back(64, 0, 10, pfns);
	use_up(f.pcp.scarce - 1);
	free = zone_free_pages(&f.zone);
	assert_int_equal(take(0), pfns[9]);
	assert_int_equal(listed(0), 9);
	assert_memory_equal(list_items(0), pfns, 9 * sizeof(*pfns));
	assert_int_equal(listed(back(0)), 0);
	assert_int_equal(zone_free_pages(&f.zone), free);
	take_all_listed(0);
	take(0);
	assert_int_equal(zone_free_pages(&f.zone), free - 1);
	assert_int_equal(listed(0), 0);
	/* One more page in the zone, and everything goes again. */
	pcp_free_direct(&f.pcp, 0, 2, pfns);
	for (int i = 2; i < 10; i++)
		give(0, pfns[i]);
	assert_int_equal(zone_free_pages(&f.zone), f.pcp.scarce);
	take(0);
	assert_int_equal(listed(back(0)), 0);
	assert_int_equal(zone_free_pages(&f.zone) + listed(0),
			 f.pcp.scarce + 8 - 1);
	assert_int_equal(listed(0), half_of(capacity(0)) - 1);
}

/* The last pages lie on a back alone: they are handed out, one by one. */
static void test_renew_last_page(void **state)
{
	pfn_t pfns[3], pfn;

	(void)state;
	need_way();
	for (unsigned order = 0; order < 2; order++) {
		start_with_back(64, order, 3, pfns);
		use_up(0);
		for (int i = 3; i-- > 0;)
			assert_int_equal(take(order), pfns[i]);
		assert_false(pcp_alloc(&f.pcp, plain(order), &pfn));
		assert_int_equal(counts().parked_blocks, 0);
		give(order, pfns[1]);
		assert_int_equal(take(order), pfns[1]);
		assert_false(pcp_alloc(&f.pcp, plain(order), &pfn));
	}
}

/* Draining, by whoever holds all sets, empties backs as it does lists. */
static void test_renew_hold(void **state)
{
	uint64_t drains;
	pfn_t pfns[4][2];

	(void)state;
	need_way();
	start_renewing(16);
	for (unsigned order = 0; order < 4; order++)
		for (int i = 0; i < 2; i++)
			pfns[order][i] = take(order);
	for (unsigned order = 0; order < 4; order++)
		give(order, pfns[order][0]);
	drains = counts().drains;
	pcp_hold_all(&f.pcp, true);
	assert_int_equal(zone_free_pages(&f.zone), f.pages - 15);
	for (unsigned order = 0; order < 4; order++) {
		assert_int_equal(listed(back(order)), 0);
		assert_int_equal(capacity(back(order)), 0);
		assert_int_equal(atomic_load(&my_set()->stack[back(order)].low),
				 UINT16_MAX);
		give(order, pfns[order][1]);
		assert_int_equal(listed(back(order)), 0);
	}
	assert_int_equal(zone_free_pages(&f.zone), f.pages);
	pcp_release_all(&f.pcp);
	assert_int_equal(counts().drains, drains + 8);
	assert_int_equal(counts().pushes, 4);
	assert_int_equal(counts().zone_frees, 4);
	assert_int_equal(counts().parked_blocks, 0);
	for (unsigned order = 0; order < 4; order++) {
		give(order, take(order));
		assert_int_equal(listed(back(order)), 1);
	}
	assert_int_equal(zone_validate(&f.zone), 0);
}

/* A set with nothing but backs is idle, and drained, as any other. */
static void test_renew_decay(void **state)
{
	pfn_t pfns[5];

	(void)state;
	need_way();
	start_with_back(16, 1, 5, pfns);
	make_due();
	assert_int_equal(pcp_maintain(&f.pcp), 0);
	/* A push alone is use. */
	give(2, take_direct(2));
	make_due();
	assert_int_equal(pcp_maintain(&f.pcp), 0);
	assert_int_equal(counts().parked_blocks, 6);
	make_due();
	assert_int_equal(pcp_maintain(&f.pcp), 1);
	assert_int_equal(counts().parked_blocks, 0);
	for (int i = 0; i < 5; i++)
		assert_true(zone_page_is_free(&f.zone, pfns[i]));
	assert_int_equal(zone_validate(&f.zone), 0);
	make_due();
	assert_int_equal(pcp_maintain(&f.pcp), 0);
}

/* Backs grow by the frees' visits, lists by the allocs', and both shrink. */
static void test_renew_grow(void **state)
{
	uint32_t most;

	(void)state;
	need_way();
	start_renewing(16);
	most = f.pcp.high_max[TYPE][0];
	take(0);
	for (unsigned i = 0; i < 20 * most && capacity(back(0)) < most; i++)
		give(0, take_direct(0));
	assert_int_equal(capacity(back(0)), most);
	assert_int_equal(capacity(0), f.pcp.high_min[0]);
	for (int looks = 0; looks < 20; looks++) {
		make_due();
		pcp_maintain(&f.pcp);
		if (looks == 0)
			assert_int_equal(capacity(back(0)), most);
		if (looks == 1)
			assert_int_equal(capacity(back(0)), most * 3 / 4);
	}
	assert_int_equal(capacity(back(0)), f.pcp.high_min[0]);
	for (int i = 0; i < 10; i++, take_all_listed(0))
		take(0);
	assert_int_equal(capacity(0), most);
	assert_int_equal(capacity(back(0)), f.pcp.high_min[0]);
}

/* The thread left its CPU between the pop of the back and the push. */
static void test_renew_left(void **state)
{
	struct pcp_count before, after;
	pfn_t pfns[100];
	uint64_t free;

	(void)state;
	need_way();
	for (unsigned renew = 16; renew <= 64; renew += 24) {
		start_with_back(renew, 0, 100, pfns);
		before = counts();
		free = zone_free_pages(&f.zone);
		fault_arm(FAULT_PCP_CPU, 0, 1);
		take(0);
		fault_disarm_all();
		after = counts();
		assert_int_equal(listed(0), 0);
		assert_int_equal(listed(back(0)), 0);
		assert_int_equal(zone_free_pages(&f.zone), free + 99);
		assert_int_equal(after.parked_blocks, 0);
		assert_int_equal(after.pops + after.zone_allocs,
				 before.pops + before.zone_allocs + 1);
		assert_int_equal(after.pushes + after.zone_frees,
				 before.pushes + before.zone_frees);
		assert_int_equal(zone_validate(&f.zone), 0);
		take(0);
		assert_int_equal(listed(0), half_of(capacity(0)) - 1);
	}
}

/* --- nothing lost when the thread leaves its CPU --- */

static void test_left_in_refill(void **state)
{
	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	fault_arm(FAULT_PCP_CPU, 0, 1);
	take(0);
	fault_disarm_all();
	assert_int_equal(listed(0), 0);
	assert_int_equal(zone_free_pages(&f.zone), f.pages - 1);
	assert_int_equal(counts().pushes, 0);
	take(0);
	assert_int_equal(listed(0), f.pcp.high_min[0] / 2 - 1);
	assert_int_equal(counts().pushes, 0);
	assert_int_equal(zone_validate(&f.zone), 0);
}

/* skip: which of the two pushes of a trim refuses. */
static void check_left_in_trim(int skip_pushes)
{
	uint32_t high = f.pcp.high_min[1], stays;
	struct pcp_count before, after;
	pfn_t pfns[256];

	assert_true(high < TEST_LENGTH(pfns));
	pcp_hold_all(&f.pcp, true);
	pcp_release_all(&f.pcp);
	for (uint32_t i = 0; i <= high; i++)
		pfns[i] = take_direct(1);
	before = counts();
	for (uint32_t i = 0; i < high; i++)
		give(1, pfns[i]);
	assert_int_equal(listed(back(1)), high);
	fault_arm(FAULT_PCP_CPU, skip_pushes, 1);
	give(1, pfns[high]);
	fault_disarm_all();
	after = counts();
	stays = skip_pushes ? 0 : high / 4;
	assert_int_equal(listed(back(1)), stays);
	assert_int_equal(after.parked_blocks, before.parked_blocks + stays);
	assert_int_equal(after.pushes + after.zone_frees,
			 before.pushes + before.zone_frees + high + 1);
	assert_int_equal(after.pops, before.pops);
	assert_int_equal(zone_free_pages(&f.zone), f.pages - 2 * stays);
	assert_int_equal(zone_validate(&f.zone), 0);
}

static void test_left_in_trim(void **state)
{
	(void)state;
	need_way();
	for (unsigned renew = 0; renew <= 64; renew += 64) {
		start_renewing(renew);
		check_left_in_trim(0);
		check_left_in_trim(1);
	}
}

static void test_lock_taken(void **state)
{
	pfn_t pfn;

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	fault_arm(FAULT_PCP_LOCK, 0, 1000);
	pfn = take(0);
	assert_int_equal(zone_free_pages(&f.zone), f.pages - 1);
	give(0, pfn);
	fault_disarm_all();
	assert_int_equal(zone_free_pages(&f.zone), f.pages);
	assert_int_equal(counts().zone_allocs, 1);
	assert_int_equal(counts().zone_frees, 1);
}

/* The trylock way: a CPU's next set stands in for one whose holder is away. */
static void test_spare_set(void **state)
{
	_Atomic uint32_t *words[2];
	uint32_t there;
	pfn_t pfn;

	(void)state;
	start(BLOCKS, DECAY_MS);
	f.pcp.step = 1;
	for (uint32_t i = 0; i < 2; i++)
		words[i] = &pcp_set(&f.pcp, i)->lock.word;
	f.cpu = 0;
	pfn = take(0);
	there = listed(0);
	assert_int_equal(there, half_of(capacity(0)) - 1);
	atomic_store(words[0], LOCK_HELD);
	give(0, pfn);
	assert_int_equal(listed(0), there);
	f.cpu = 1;
	assert_int_equal(listed(0), 1);
	assert_int_equal(take(0), pfn);
	take(0);
	assert_int_equal(listed(0), half_of(capacity(0)) - 1);
	/* Neither can be had. */
	atomic_store(words[1], LOCK_HELD);
	give(0, pfn);
	assert_int_equal(listed(0), half_of(capacity(0)) - 1);
	atomic_store(words[1], 0);
	atomic_store(words[0], 0);
	assert_int_equal(counts().zone_frees, 1);
	f.cpu = 0;
	take(0);
	assert_int_equal(listed(0), there - 1);
	pcp_hold_all(&f.pcp, true);
	pcp_release_all(&f.pcp);
	assert_int_equal(zone_free_pages(&f.zone), f.pages - 2);
	assert_int_equal(zone_validate(&f.zone), 0);
}

/* The rseq way: a few may be at a list and the zone, the next ones pass by. */
static void test_shared_set(void **state)
{
	_Atomic uint32_t *word;
	uint32_t others = 0;

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	word = &my_set()->lock.word;
	for (;; others++) {
		struct pcp_count before = counts(), after;
		uint64_t free = zone_free_pages(&f.zone);

		assert_true(others < 100);
		atomic_store(word, others * LOCK_SHARE);
		take(0);
		assert_int_equal(atomic_load(word), others * LOCK_SHARE);
		atomic_store(word, 0);
		after = counts();
		assert_int_equal(after.zone_allocs, before.zone_allocs + 1);
		if (listed(0) == 0) {
			assert_int_equal(zone_free_pages(&f.zone), free - 1);
			break;
		}
		assert_int_equal(after.refills, before.refills + 1);
		take_all_listed(0);
	}
	assert_true(others >= 2);
	/* Alone is alone. */
	atomic_store(word, LOCK_HELD);
	take(0);
	assert_int_equal(atomic_load(word), LOCK_HELD);
	atomic_store(word, 0);
	assert_int_equal(listed(0), 0);
	assert_int_equal(zone_validate(&f.zone), 0);
}

/* --- who has no lists --- */

static void test_no_cpu(void **state)
{
	uint32_t last = CPU_SETSIZE - 1;

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	while (!CPU_ISSET(last, &f.allowed))
		last--;
	if (f.way == QUIRE_WAY_BOUND) {
		platform_key_set(f.key, NULL);
	} else {
		if (last == 0)
			skip();
		pin(last);
		f.pcp.nr_cpus = 1;
		f.pcp.step = 1;
	}
	give(0, take(0));
	if (f.way == QUIRE_WAY_TRYLOCK) {
		/* CPU n modulo the sets. */
		f.cpu = 0;
		assert_int_equal(listed(0), f.pcp.high_min[0] / 2);
		return;
	}
	assert_int_equal(zone_free_pages(&f.zone), f.pages);
	assert_int_equal(counts().zone_allocs, 1);
	assert_int_equal(counts().parked_blocks, 0);
}

/* --- bulk --- */

static void test_bulk(void **state)
{
	pfn_t pfns[1000], top[3];
	uint64_t locks;

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	for (int i = 0; i < 3; i++)
		top[i] = take_direct(0);
	for (int i = 0; i < 3; i++)
		give(0, top[i]);
	assert_int_equal(pcp_alloc_bulk(&f.pcp, plain(0), 2, pfns), 2);
	assert_int_equal(pfns[0], top[1]);
	assert_int_equal(pfns[1], top[2]);
	locks = atomic_load(&f.zone.locks);
	assert_int_equal(pcp_alloc_bulk(&f.pcp, plain(0), 1000, pfns), 1000);
	assert_int_equal(pfns[0], top[0]);
	/* The rest from the zone, in two calls. */
	assert_true(999 > ZONE_BATCH && 999 <= 2 * ZONE_BATCH);
	assert_int_equal(atomic_load(&f.zone.locks), locks + 2);
	for (int i = 1; i < 1000; i++)
		assert_int_equal(pfns[i], top[2] + (pfn_t)i);
	for (int i = 0; i < 1000; i++) {
		uint64_t word = page_word(memmap_page(&f.map, pfns[i]));

		assert_int_equal(word & ~PAGE_ZERO, PAGE_PCP);
		page_set_word(memmap_page(&f.map, pfns[i]), PAGE_HEAD);
	}
	assert_int_equal(zone_free_pages(&f.zone), f.pages - 1002);
	assert_int_equal(counts().pops, 3);
	assert_int_equal(counts().zone_allocs, 3 + 999);
	assert_int_equal(pcp_alloc_bulk(&f.pcp, plain(12), 3, pfns), 3);
	assert_int_equal(zone_validate(&f.zone), 0);
}

static uint32_t owned(void)
{
	return f.zone.owned[f.cpu * NR_CALL_TYPES];
}

/* Decay looks after open sets: whoever has none owns no block. */
static void test_bulk_owns_if_open(void **state)
{
	/* Two calls of the zone each. */
	enum { MANY = ZONE_BATCH + 44 };
	pfn_t pfns[MANY];

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	assert_true(f.zone.nr_owners > f.cpu);
	assert_int_equal(pcp_alloc_bulk(&f.pcp, plain(0), MANY, pfns), MANY);
	assert_int_equal(owned(), 0);
	take(1);
	assert_int_equal(owned(), 0);
	/* The first call uses up one pageblock and breaks another, which the
	 * second finds on the lists. */
	assert_int_equal(pcp_alloc_bulk(&f.pcp, plain(0), MANY, pfns), MANY);
	assert_int_equal(owned(), pfns[MANY - 1] / BLOCK_UNITS + 1);
	/* Bulk calls that pass the lists by do the timed work as well. */
	for (int looks = 0; looks < 2; looks++) {
		assert_int_not_equal(owned(), 0);
		make_due();
		assert_int_equal(pcp_alloc_bulk(&f.pcp, plain(12), 1, pfns), 1);
	}
	assert_int_equal(owned(), 0);
	assert_int_equal(counts().parked_blocks, 0);
	assert_int_equal(zone_validate(&f.zone), 0);
}

static void test_exact(void **state)
{
	pfn_t pfn, pfns[64];
	bool zero;

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	assert_true(pcp_alloc_exact(&f.pcp, plain(10), 600, &pfn, &zero));
	assert_int_equal(counts().zone_allocs, 600);
	assert_int_equal(zone_free_pages(&f.zone), f.pages - 600);
	for (uint32_t i = 0; i < 600; i += 60) {
		for (uint32_t k = 0; k < 60; k++)
			pfns[k] = pfn + i + k;
		pcp_free_direct(&f.pcp, 0, 60, pfns);
	}
	assert_int_equal(counts().zone_frees, 600);
	assert_int_equal(zone_free_pages(&f.zone), f.pages);
}

/* --- without waiting --- */

static void park_word(pfn_t pfn, unsigned order)
{
	page_set_word(memmap_page(&f.map, pfn),
		      PAGE_PCP | order | page_tag(0, TYPE));
}

/* Everything as it was but for the zone's lock, which is busy throughout. */
static void expect_nothing_had(unsigned order)
{
	uint64_t free = zone_free_pages(&f.zone);
	uint64_t locks = atomic_load(&f.zone.locks);
	pfn_t pfn = 77;
	bool zero;

	assert_false(pcp_alloc_nolock(&f.pcp, plain(order), &pfn));
	assert_false(
		pcp_alloc_exact_nolock(&f.pcp, plain(order), 1, &pfn, &zero));
	assert_int_equal(pfn, 77);
	assert_int_equal(zone_free_pages(&f.zone), free);
	assert_int_equal(atomic_load(&f.zone.locks), locks);
}

static void test_nolock_alloc(void **state)
{
	struct pcp_count before;
	pfn_t pfn, first = 0, n = 0;
	uint32_t there;

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	/* Nothing is listed: one block of the zone's, and no refill. */
	for (unsigned order = 0; order < 14; order++) {
		before = counts();
		assert_true(pcp_alloc_nolock(&f.pcp, plain(order), &pfn));
		assert_int_equal(pfn % (1u << order), 0);
		assert_int_equal(counts().zone_allocs, before.zone_allocs + 1);
		assert_int_equal(counts().refills, 0);
		assert_int_equal(counts().parked_blocks, 0);
		n += 1u << order;
		assert_int_equal(zone_free_pages(&f.zone), f.pages - n);
	}
	zone_lock(&f.zone);
	for (unsigned order = 0; order <= QUIRE_MAX_ORDER; order++)
		expect_nothing_had(order);
	zone_unlock(&f.zone);
	/* What is listed is had, whoever has the zone. */
	(void)take(0);
	there = listed(0);
	assert_true(there > 3);
	first = list_items(0)[there - 1];
	before = counts();
	zone_lock(&f.zone);
	assert_true(pcp_alloc_nolock(&f.pcp, plain(0), &pfn));
	assert_int_equal(pfn, first);
	assert_int_equal(listed(0), there - 1);
	while (listed(0))
		assert_true(pcp_alloc_nolock(&f.pcp, plain(0), &pfn));
	expect_nothing_had(0);
	zone_unlock(&f.zone);
	assert_int_equal(counts().pops, before.pops + there);
	assert_int_equal(counts().refills, before.refills);
	assert_true(pcp_alloc_nolock(&f.pcp, plain(0), &pfn));
	assert_int_equal(listed(0), 0);
	assert_int_equal(zone_validate(&f.zone), 0);
	assert_int_equal(f.messages.count, 0);
}

static void test_nolock_alloc_exact(void **state)
{
	struct pcp_count before;
	pfn_t pfn;
	bool zero = false;

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	before = counts();
	assert_true(
		pcp_alloc_exact_nolock(&f.pcp, plain(10), 600, &pfn, &zero));
	assert_int_equal(counts().zone_allocs, before.zone_allocs + 600);
	assert_int_equal(zone_free_pages(&f.zone), f.pages - 600);
	zone_lock(&f.zone);
	assert_false(
		pcp_alloc_exact_nolock(&f.pcp, plain(10), 600, &pfn, &zero));
	zone_unlock(&f.zone);
	assert_int_equal(counts().zone_allocs, before.zone_allocs + 600);
	fault_arm(FAULT_ZONE, 0, 2);
	assert_false(pcp_alloc_exact_nolock(&f.pcp, plain(0), 1, &pfn, &zero));
	assert_false(pcp_alloc_nolock(&f.pcp, plain(0), &pfn));
	assert_true(pcp_alloc_nolock(&f.pcp, plain(0), &pfn));
	assert_int_equal(zone_free_pages(&f.zone), f.pages - 601);
}

/* A full list is not trimmed: the block goes to the zone alone, and the list
 * stays as it is. */
static void test_nolock_free(void **state)
{
	struct pcp_count before;
	unsigned stack = back(0);
	pfn_t pfns[6];

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	for (size_t i = 0; i < TEST_LENGTH(pfns); i++)
		pfns[i] = take(0);
	while (listed(stack) < capacity(stack)) {
		pfn_t pfn;

		assert_true(pcp_alloc_exact(&f.pcp, plain(0), 1, &pfn,
					    &(bool){ false }));
		before = counts();
		park_word(pfn, 0);
		pcp_free_nolock(&f.pcp, 0, TYPE, pfn);
		assert_int_equal(counts().pushes, before.pushes + 1);
		assert_int_equal(list_items(stack)[listed(stack) - 1], pfn);
	}
	before = counts();
	for (size_t i = 0; i < 3; i++) {
		uint64_t free = zone_free_pages(&f.zone);

		park_word(pfns[i], 0);
		pcp_free_nolock(&f.pcp, 0, TYPE, pfns[i]);
		assert_int_equal(zone_free_pages(&f.zone), free + 1);
		assert_int_equal(counts().zone_frees,
				 before.zone_frees + i + 1);
		assert_int_equal(page_word(memmap_page(&f.map, pfns[i])),
				 PAGE_FREE);
	}
	zone_lock(&f.zone);
	for (size_t i = 3; i < 6; i++) {
		park_word(pfns[i], 0);
		pcp_free_nolock(&f.pcp, 0, TYPE, pfns[i]);
		assert_int_equal(zone_deferred_pages(&f.zone), i - 2);
		assert_int_equal(atomic_load(&f.pcp.direct_frees),
				 before.zone_frees + i + 1);
		assert_int_equal(page_word(memmap_page(&f.map, pfns[i])),
				 PAGE_FREE);
	}
	zone_unlock(&f.zone);
	assert_int_equal(counts().pushes, before.pushes);
	assert_int_equal(counts().drains, before.drains);
	assert_int_equal(listed(stack), capacity(stack));
	assert_true(pcp_hold_all(&f.pcp, true));
	pcp_release_all(&f.pcp);
	assert_int_equal(zone_deferred_pages(&f.zone), 0);
	assert_int_equal(zone_free_pages(&f.zone), f.pages);
	assert_int_equal(zone_validate(&f.zone), 0);
}

static void test_nolock_free_large(void **state)
{
	pfn_t pfns[14], n = 0;

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	for (unsigned order = 0; order < TEST_LENGTH(pfns); order++)
		assert_true(
			pcp_alloc_nolock(&f.pcp, plain(order), &pfns[order]));
	/* No set was ever opened, so that no list takes anything. */
	zone_lock(&f.zone);
	for (unsigned order = 0; order < TEST_LENGTH(pfns); order++) {
		park_word(pfns[order], order);
		pcp_free_nolock(&f.pcp, order, TYPE, pfns[order]);
		n += 1u << order;
		assert_int_equal(zone_deferred_pages(&f.zone), n);
	}
	zone_unlock(&f.zone);
	assert_int_equal(counts().zone_frees, TEST_LENGTH(pfns));
	zone_settle(&f.zone);
	assert_int_equal(zone_free_pages(&f.zone), f.pages);
	assert_int_equal(f.zone.free_whole, f.pages);
}

/* As a handler finds it that interrupted who has the set: not the list. */
static void test_nolock_set_taken(void **state)
{
	pfn_t pfn, had;
	uint32_t there;

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	had = take(0);
	there = listed(0);
	assert_true(pcp_hold_all(&f.pcp, false));
	assert_true(pcp_alloc_nolock(&f.pcp, plain(0), &pfn));
	assert_int_equal(listed(0), there);
	park_word(pfn, 0);
	pcp_free_nolock(&f.pcp, 0, TYPE, pfn);
	zone_lock(&f.zone);
	assert_false(pcp_alloc_nolock(&f.pcp, plain(0), &pfn));
	park_word(had, 0);
	pcp_free_nolock(&f.pcp, 0, TYPE, had);
	assert_int_equal(zone_deferred_pages(&f.zone), 1);
	zone_unlock(&f.zone);
	pcp_release_all(&f.pcp);
	assert_int_equal(listed(0), there);
	zone_settle(&f.zone);
	assert_int_equal(zone_free_pages(&f.zone) + there, f.pages);
}

/* --- types --- */

static struct zone_ask ask_of(unsigned order, enum quire_mobility type)
{
	return (struct zone_ask){ .order = order, .type = type };
}

static pfn_t take_type(unsigned order, enum quire_mobility type)
{
	const struct zone_ask ask = ask_of(order, type);
	struct quire_page *page;
	pfn_t pfn = PFN_NONE;

	assert_true(pcp_alloc(&f.pcp, &ask, &pfn));
	page = memmap_page(&f.map, pfn);
	assert_int_equal(page_word(page) & ~PAGE_ZERO,
			 PAGE_PCP | order | page_tag(0, type));
	page_set_word(page, PAGE_HEAD | order | page_tag(0, type));
	return pfn;
}

static void give_type(unsigned order, enum quire_mobility type, pfn_t pfn)
{
	page_set_word(memmap_page(&f.map, pfn),
		      PAGE_PCP | order | page_tag(0, type));
	pcp_free(&f.pcp, order, type, pfn);
}

static unsigned list_of(enum quire_mobility type, unsigned order)
{
	return pcp_list(type, order);
}

static unsigned back_of(enum quire_mobility type, unsigned order)
{
	return pcp_back(&f.pcp, pcp_list(type, order));
}

/* As noted, open or not. */
static unsigned noted(unsigned stack)
{
	return atomic_load(&pcp_stack_state(my_set(), stack)->high);
}

static unsigned noted_sum(unsigned order, bool backs)
{
	unsigned sum = 0;

	for (unsigned t = 0; t < NR_CALL_TYPES; t++)
		sum += noted(list_of(t, order) + (backs ? PCP_LISTS : 0));
	return sum;
}

/* What one type has is nobody else's. */
static void test_lists_of_types(void **state)
{
	static const unsigned renews[] = { 0, 32 };

	(void)state;
	need_way();
	for (size_t i = 0; i < TEST_LENGTH(renews); i++) {
		if (f.tables)
			stop();
		f.renew = renews[i];
		/* Orders have enough for all three. */
		start(8 * BLOCKS, DECAY_MS);
		for (unsigned order = 0; order < 4; order++) {
			uint32_t there[NR_CALL_TYPES];
			pfn_t pfns[NR_CALL_TYPES];

			for (unsigned t = 0; t < NR_CALL_TYPES; t++) {
				pfns[t] = take_type(order, t);
				there[t] = listed(list_of(t, order));
				assert_true(there[t] > 0);
			}
			for (unsigned t = 0; t < NR_CALL_TYPES; t++) {
				uint32_t back_n = listed(back_of(t, order));

				for (unsigned o = 0; o < NR_CALL_TYPES; o++)
					assert_int_equal(
						listed(list_of(o, order)),
						there[o]);
				give_type(order, t, pfns[t]);
				assert_int_equal(listed(back_of(t, order)),
						 back_n + 1);
				if (renews[i])
					continue;
				assert_int_equal(take_type(order, t), pfns[t]);
			}
			for (unsigned t = 0; t < NR_CALL_TYPES; t++)
				assert_int_equal(
					zone_type(&f.zone, pfns[t] >> 9), t);
		}
		assert_int_equal(zone_validate(&f.zone), 0);
	}
}

/* Types that nobody asks for take nothing from an order. */
static void test_share_unused(void **state)
{
	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	take(0);
	for (unsigned order = 0; order < PCP_ORDERS; order++) {
		assert_int_equal(noted(list_of(0, order)),
				 f.pcp.high_min[order]);
		for (unsigned t = 1; t < NR_CALL_TYPES; t++)
			assert_int_equal(noted(list_of(t, order)), 0);
	}
	/* The first visit opens one, and fills it at once. */
	take_type(0, QUIRE_TYPE_MOVABLE);
	assert_int_equal(noted(list_of(QUIRE_TYPE_MOVABLE, 0)),
			 f.pcp.high_min[0]);
	assert_int_equal(listed(list_of(QUIRE_TYPE_MOVABLE, 0)),
			 half_of(f.pcp.high_min[0]) - 1);
}

static void visit(unsigned order, enum quire_mobility type)
{
	unsigned list = list_of(type, order);

	do
		take_type(order, type);
	while (listed(list));
	take_type(order, type);
}

/* One type has an order's whole share: another grows by what that loses. */
static void test_share_moves(void **state)
{
	const enum quire_mobility a = QUIRE_TYPE_UNMOVABLE;
	const enum quire_mobility b = QUIRE_TYPE_MOVABLE;
	const unsigned order = 5;
	unsigned share, most, had;

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	share = f.pcp.share[order];
	most = f.pcp.high_max[a][order];
	assert_int_equal(most, share);
	while (noted(list_of(a, order)) < most)
		visit(order, a);
	for (unsigned i = 0; noted(list_of(b, order)) < most; i++) {
		assert_true(i < 100);
		had = noted(list_of(b, order));
		visit(order, b);
		assert_int_equal(noted(list_of(a, order)) +
					 noted(list_of(b, order)),
				 share);
		assert_int_equal(capacity(list_of(a, order)),
				 noted(list_of(a, order)));
		if (had == 0)
			assert_int_equal(noted(list_of(b, order)),
					 f.pcp.high_min[order]);
	}
	assert_int_equal(noted(list_of(a, order)), 0);
	visit(order, a);
	assert_true(noted(list_of(a, order)) > 0);
	assert_int_equal(noted_sum(order, false), share);
}

/* Of two others the larger one loses. */
static void test_share_of_largest(void **state)
{
	const unsigned order = 5;
	unsigned small, large, sum;

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	visit(order, QUIRE_TYPE_MOVABLE);
	while (noted_sum(order, false) < f.pcp.share[order])
		visit(order, QUIRE_TYPE_UNMOVABLE);
	small = noted(list_of(QUIRE_TYPE_MOVABLE, order));
	large = noted(list_of(QUIRE_TYPE_UNMOVABLE, order));
	sum = small + large;
	assert_true(small < large);
	visit(order, QUIRE_TYPE_RECLAIMABLE);
	assert_int_equal(noted(list_of(QUIRE_TYPE_MOVABLE, order)), small);
	assert_int_equal(noted(list_of(QUIRE_TYPE_RECLAIMABLE, order)),
			 f.pcp.high_min[order]);
	assert_int_equal(noted(list_of(QUIRE_TYPE_UNMOVABLE, order)),
			 f.pcp.share[order] - small - f.pcp.high_min[order]);
	assert_true(noted_sum(order, false) <= sum);
}

static void check_shares(void)
{
	for (unsigned order = 0; order < PCP_ORDERS; order++)
		for (unsigned backs = 0; backs < (f.renew ? 2u : 1u); backs++) {
			unsigned sum = noted_sum(order, backs);

			if (sum > f.pcp.share[order])
				fail_msg("order %u: %u + %u + %u of %u", order,
					 noted(list_of(0, order)),
					 noted(list_of(1, order)),
					 noted(list_of(2, order)),
					 f.pcp.share[order]);
		}
}

/* One type's turn: so many blocks out, and some back. */
static void use_type(struct test_rng *rng, unsigned order,
		     enum quire_mobility type)
{
	unsigned n = 1 + (unsigned)test_below(rng, 40);
	pfn_t pfns[40];

	for (unsigned i = 0; i < n; i++)
		pfns[i] = take_type(order, type);
	while (n)
		give_type(order, type, pfns[--n]);
	if (test_below(rng, 50) == 0) {
		make_due();
		pcp_maintain(&f.pcp);
	}
	if (test_below(rng, 100) == 0) {
		pcp_hold_all(&f.pcp, true);
		pcp_release_all(&f.pcp);
	}
}

/* Whatever is used: the lists of an order never have more than its share. */
static void test_share_random(void **state)
{
	static const pfn_t sizes[] = { 24, 33, 47, 64, 90, BLOCKS };
	struct test_rng rng = test_seed();

	(void)state;
	need_way();
	for (size_t i = 0; i < 2 * TEST_LENGTH(sizes); i++) {
		if (f.tables)
			stop();
		f.renew = i % 2 ? 32 : 0;
		start(sizes[i / 2], DECAY_MS);
		take(0);
		for (unsigned n = 0; n < (TEST_SANITIZED ? 300 : 2000); n++) {
			use_type(&rng, (unsigned)test_below(&rng, 7),
				 (enum quire_mobility)test_below(&rng, 3));
			check_shares();
		}
		assert_int_equal(zone_validate(&f.zone), 0);
	}
}

/* A list that lost its share to another type's keeps no blocks above it. */
static void test_share_parked(void **state)
{
	const unsigned order = 5;

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	for (unsigned t = 0; t < NR_CALL_TYPES; t++) {
		unsigned back = back_of(t, order);

		for (unsigned i = 0; i < 20; i++)
			visit(order, t);
		while (listed(back) < capacity(back))
			give_type(order, t, take_direct(order));
		assert_true(counts().parked_pages <=
			    (uint64_t)f.pcp.share[order] << order);
	}
}

/* Much of the zone is loose: frees push backs, which are short. */
static void scatter_zone(void)
{
	while (!zone_is_scattered(&f.zone)) {
		pfn_t pfn, pfns[BLOCK_UNITS / 2];
		bool zero;

		assert_true(
			pcp_alloc_exact(&f.pcp, plain(9), 512, &pfn, &zero));
		for (pfn_t i = 0; i < BLOCK_UNITS / 2; i++)
			pfns[i] = pfn + 2 * i;
		pcp_free_direct(&f.pcp, 0, BLOCK_UNITS / 2, pfns);
	}
}

/* Blocks from the zone to a list, until that has all it can hold. */
static void fill_list(unsigned list)
{
	unsigned order = list % PCP_ORDERS, type = list / PCP_ORDERS;
	unsigned back = back_of(type, order), n = 0;
	unsigned most = f.pcp.high_max[type][order];
	pfn_t pfns[600];

	while (most && n <= most)
		pfns[n++] = take_direct(order);
	for (unsigned round = 0; n && round < 12; round++)
		for (unsigned i = 0; i < n; i++) {
			give_type(order, type, pfns[i]);
			pfns[i] = take_direct(order);
		}
	while (n && listed(back) < capacity(back))
		give_type(order, type, pfns[--n]);
	pcp_free_direct(&f.pcp, order, n, pfns);
}

/* Lists that are full and backs that fill up as well: no more than the share.
 */
static void test_scattered_parked(void **state)
{
	static const pfn_t sizes[] = { 64, BLOCKS, 2 * BLOCKS };

	(void)state;
	need_way();
	for (size_t i = 0; i < TEST_LENGTH(sizes); i++) {
		uint64_t most;
		pfn_t pfn;

		if (f.tables)
			stop();
		start(sizes[i], DECAY_MS);
		most = f.pages / (8 * f.nr_cpus);
		take(0);
		for (unsigned k = 0; k < PCP_LISTS; k++)
			fill_list(k);
		assert_true(counts().parked_pages <= most);
		scatter_zone();
		/* A slow call sees it. */
		assert_true(pcp_alloc(&f.pcp, plain(10), &pfn));
		assert_int_equal(back(0), PCP_LISTS);
		for (unsigned k = 0; k < PCP_LISTS; k++)
			fill_list(k);
		assert_true(counts().parked_pages > most / 2);
		if (counts().parked_pages > most)
			fail_msg("%llu pages parked of %llu",
				 (unsigned long long)counts().parked_pages,
				 (unsigned long long)most);
	}
}

/* What came from a kept block goes past the lists, and so does who may. */
static void test_kept_bypass(void **state)
{
	struct zone_ask ask = { .type = QUIRE_TYPE_MOVABLE, .may = ZONE_CMA };
	struct pcp_count before;

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	give_type(0, QUIRE_TYPE_MOVABLE, take_type(0, QUIRE_TYPE_MOVABLE));
	assert_true(zone_set_type(&f.zone, 70, QUIRE_TYPE_CMA));
	while (listed(list_of(QUIRE_TYPE_MOVABLE, 0)))
		take_type(0, QUIRE_TYPE_MOVABLE);
	before = counts();
	for (unsigned order = 0; order < 9; order++) {
		uint64_t free = zone_free_pages(&f.zone);
		struct quire_page *page;
		pfn_t pfn;

		ask.order = order;
		assert_true(pcp_alloc(&f.pcp, &ask, &pfn));
		page = memmap_page(&f.map, pfn);
		assert_int_equal(pfn >> 9, 70);
		assert_int_equal(page_word(page) & ~PAGE_ZERO,
				 PAGE_PCP | order |
					 page_tag(0, QUIRE_TYPE_CMA));
		assert_int_equal(zone_free_pages(&f.zone),
				 free - (1u << order));
		give_type(order, QUIRE_TYPE_CMA, pfn);
		assert_int_equal(page_word(page), PAGE_FREE);
		assert_int_equal(zone_free_pages(&f.zone), free);
		page_set_word(page, PAGE_HEAD);
	}
	assert_int_equal(counts().parked_blocks, before.parked_blocks);
	assert_int_equal(counts().refills, before.refills);
	assert_int_equal(counts().zone_allocs, before.zone_allocs + 9);
	assert_int_equal(counts().zone_frees, before.zone_frees + 9);
}

static void test_kept_free_nolock(void **state)
{
	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	take(0);
	for (unsigned t = NR_CALL_TYPES; t < QUIRE_NR_TYPES; t++) {
		uint64_t parked = counts().parked_blocks;
		pfn_t pfn = take_direct(0);
		uint64_t free = zone_free_pages(&f.zone);

		page_set_word(memmap_page(&f.map, pfn),
			      PAGE_PCP | page_tag(0, t));
		pcp_free_nolock(&f.pcp, 0, t, pfn);
		assert_int_equal(zone_free_pages(&f.zone), free + 1);
		assert_int_equal(counts().parked_blocks, parked);
		pfn = take_direct(0);
		zone_lock(&f.zone);
		pcp_free_nolock(&f.pcp, 0, t, pfn);
		zone_unlock(&f.zone);
		assert_int_equal(zone_deferred_pages(&f.zone), 1);
		zone_settle(&f.zone);
		assert_int_equal(counts().parked_blocks, parked);
	}
}

/* Bulk calls of who may use kept blocks take them one at a time. */
static void test_kept_bulk(void **state)
{
	const struct zone_ask ask = { .type = QUIRE_TYPE_MOVABLE,
				      .may = ZONE_CMA };
	pfn_t pfns[600];

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	assert_true(zone_set_type(&f.zone, 70, QUIRE_TYPE_CMA));
	assert_int_equal(pcp_alloc_bulk(&f.pcp, &ask, 600, pfns), 600);
	for (unsigned i = 0; i < 600; i++) {
		uint64_t word = page_word(memmap_page(&f.map, pfns[i]));

		assert_int_equal(pfns[i] >> 9 == 70, i < 512);
		assert_int_equal(page_type(word),
				 i < 512 ? QUIRE_TYPE_CMA : QUIRE_TYPE_MOVABLE);
	}
	assert_int_equal(zone_validate(&f.zone), 0);
}

/* Only who looks whether there is plenty gives up by the count alone. */
static void test_hint(void **state)
{
	struct zone_ask ask = { .order = 2, .hint = true };
	uint64_t locks;
	pfn_t pfn;

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	ask.floor = f.pages - 3;
	locks = atomic_load(&f.zone.locks);
	assert_false(pcp_alloc(&f.pcp, &ask, &pfn));
	assert_int_equal(atomic_load(&f.zone.locks), locks);
	ask.hint = false;
	assert_false(pcp_alloc(&f.pcp, &ask, &pfn));
	assert_int_equal(atomic_load(&f.zone.locks), locks + 1);
	ask.hint = true;
	ask.floor = f.pages - 4;
	assert_true(pcp_alloc(&f.pcp, &ask, &pfn));
}

/* A refill takes nothing below the floor, however much it wants. */
static void test_refill_floor(void **state)
{
	struct zone_ask ask = { .order = 0 };
	uint64_t free;
	pfn_t pfn;

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	free = zone_free_pages(&f.zone);
	ask.floor = free - f.pcp.scarce;
	assert_true(pcp_alloc(&f.pcp, &ask, &pfn));
	assert_true(listed(0) > 0);
	take_all_listed(0);
	/* What is left above the floor is scarce: one at a time. */
	free = zone_free_pages(&f.zone);
	ask.floor = free - 2;
	for (int i = 0; i < 2; i++) {
		assert_true(pcp_alloc(&f.pcp, &ask, &pfn));
		assert_int_equal(listed(0), 0);
	}
	assert_false(pcp_alloc(&f.pcp, &ask, &pfn));
	assert_int_equal(zone_free_pages(&f.zone), ask.floor);
}

/* --- shut --- */

static void set_shut(bool shut)
{
	pcp_hold_all(&f.pcp, shut);
	pcp_shut(&f.pcp, shut);
	pcp_release_all(&f.pcp);
}

static void expect_closed(void)
{
	for (unsigned i = 0; i < PCP_STACKS; i++) {
		assert_int_equal(listed(i), 0);
		assert_int_equal(capacity(i), 0);
	}
	assert_int_equal(counts().parked_blocks, 0);
}

/* Whatever is done to a set while lists are shut, they stay closed, and what
 * is freed is the zone's at once. */
static void test_shut(void **state)
{
	static const unsigned renews[] = { 0, 32 };

	(void)state;
	need_way();
	for (size_t i = 0; i < TEST_LENGTH(renews); i++) {
		pfn_t pfns[PCP_LISTS];
		uint64_t refills;

		start_renewing(renews[i]);
		for (unsigned list = 0; list < PCP_LISTS; list++)
			pfns[list] =
				take_type(list % PCP_ORDERS, list / PCP_ORDERS);
		assert_true(counts().parked_blocks > 0);
		set_shut(true);
		expect_closed();
		refills = counts().refills;
		for (unsigned list = 0; list < PCP_LISTS; list++) {
			unsigned order = list % PCP_ORDERS;
			enum quire_mobility type = list / PCP_ORDERS;
			uint64_t free = zone_free_pages(&f.zone);

			give_type(order, type, pfns[list]);
			assert_int_equal(zone_free_pages(&f.zone),
					 free + (UINT64_C(1) << order));
			pfns[list] = take_type(order, type);
			assert_int_equal(zone_free_pages(&f.zone), free);
			expect_closed();
		}
		/* Drained, held and looked after meanwhile. */
		pcp_hold_all(&f.pcp, true);
		pcp_release_all(&f.pcp);
		expect_closed();
		for (int looks = 0; looks < 4; looks++) {
			make_due();
			pcp_maintain(&f.pcp);
			expect_closed();
		}
		pcp_hold_all(&f.pcp, false);
		pcp_release_all(&f.pcp);
		expect_closed();
		assert_int_equal(counts().refills, refills);
		set_shut(false);
		for (unsigned list = 0; list < PCP_LISTS; list++)
			give_type(list % PCP_ORDERS, list / PCP_ORDERS,
				  pfns[list]);
		assert_true(counts().parked_blocks > 0);
		take_all_listed(0);
		take(0);
		assert_int_equal(counts().refills, refills + 1);
		pcp_hold_all(&f.pcp, true);
		pcp_release_all(&f.pcp);
		assert_int_equal(zone_validate(&f.zone), 0);
	}
}

/* Capacities are what they were, once lists are open again. */
static void test_shut_capacity(void **state)
{
	unsigned had[PCP_LISTS];

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	for (unsigned i = 0; i < 12; i++)
		visit(0, i % 3);
	for (unsigned i = 0; i < PCP_LISTS; i++)
		had[i] = capacity(i);
	assert_true(had[list_of(1, 0)] > 0);
	set_shut(true);
	take(0);
	set_shut(false);
	for (unsigned i = 0; i < PCP_LISTS; i++)
		assert_int_equal(capacity(i), had[i]);
}

/* The first use of a set comes while lists are shut. */
static void test_shut_first_use(void **state)
{
	pfn_t pfn;

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	set_shut(true);
	pfn = take(0);
	give(0, pfn);
	assert_true(pcp_alloc_nolock(&f.pcp, plain(0), &pfn));
	park_word(pfn, 0);
	pcp_free_nolock(&f.pcp, 0, TYPE, pfn);
	assert_int_equal(pcp_alloc_bulk(&f.pcp, plain(0), 1, &pfn), 1);
	give(0, pfn);
	for (unsigned i = 0; i < PCP_STACKS; i++)
		assert_int_equal(capacity(i), 0);
	assert_int_equal(counts().parked_blocks, 0);
	assert_int_equal(zone_free_pages(&f.zone), f.pages);
	set_shut(false);
	take(0);
	assert_true(listed(0) > 0);
	assert_int_equal(capacity(0), f.pcp.high_min[0]);
}

/* Pages freed while lists are shut can be had by others: the zone has them. */
static void test_shut_nolock(void **state)
{
	pfn_t pfns[4];

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	for (int i = 0; i < 4; i++)
		pfns[i] = take(0);
	set_shut(true);
	zone_lock(&f.zone);
	for (int i = 0; i < 2; i++) {
		park_word(pfns[i], 0);
		pcp_free_nolock(&f.pcp, 0, TYPE, pfns[i]);
	}
	assert_int_equal(zone_deferred_pages(&f.zone), 2);
	zone_unlock(&f.zone);
	for (int i = 2; i < 4; i++) {
		park_word(pfns[i], 0);
		pcp_free_nolock(&f.pcp, 0, TYPE, pfns[i]);
	}
	assert_int_equal(zone_deferred_pages(&f.zone), 0);
	assert_int_equal(zone_free_pages(&f.zone), f.pages);
	set_shut(false);
}

/* --- counts --- */

struct live {
	pfn_t pfn[3000];
	uint8_t order[3000];
	unsigned n;
	uint64_t allocs, frees, pages;
};

static void random_step(struct live *live, struct test_rng *rng)
{
	unsigned order = (unsigned)test_below(rng, 6);

	if (test_below(rng, 3000) == 0) {
		pcp_hold_all(&f.pcp, true);
		pcp_release_all(&f.pcp);
	} else if (test_below(rng, 1000) == 0) {
		make_due();
		pcp_maintain(&f.pcp);
	} else if (test_below(rng, live->n < 1500 ? 3 : 2)) {
		if (live->n == TEST_LENGTH(live->pfn))
			return;
		live->pfn[live->n] = take(order);
		live->order[live->n++] = (uint8_t)order;
		live->allocs++;
		live->pages += UINT64_C(1) << order;
	} else if (live->n) {
		size_t at = test_below(rng, live->n--);

		give(live->order[at], live->pfn[at]);
		live->frees++;
		live->pages -= UINT64_C(1) << live->order[at];
		live->pfn[at] = live->pfn[live->n];
		live->order[at] = live->order[live->n];
	}
}

static void check_counts(unsigned steps)
{
	static struct live live;
	struct test_rng rng = test_seed();

	memset(&live, 0, sizeof(live));
	for (unsigned step = 0; step < steps; step++) {
		struct pcp_count count;

		random_step(&live, &rng);
		if (step % 500)
			continue;
		count = counts();
		assert_int_equal(count.pops + count.zone_allocs, live.allocs);
		assert_int_equal(count.pushes + count.zone_frees, live.frees);
		assert_int_equal(count.parked_pages + zone_free_pages(&f.zone) +
					 live.pages,
				 f.pages);
		if (step % 10000 == 0)
			assert_int_equal(zone_validate(&f.zone), 0);
	}
	assert_int_equal(f.messages.count, 0);
}

static void test_counts(void **state)
{
	static const unsigned renews[] = { 0, 16, 64 };

	(void)state;
	need_way();
	for (size_t i = 0; i < TEST_LENGTH(renews); i++) {
		start_renewing(renews[i]);
		check_counts(renews[i] ? 30000 : 60000);
	}
}

/* --- threads --- */

enum { THREADS = 4, HELD = 200, TURNS = 30000 };

static void *take_and_give(void *arg)
{
	uint32_t number = *(uint32_t *)arg;
	struct test_rng rng = { number };
	pfn_t held[HELD];
	unsigned n = 0;

	sched_setaffinity(0, sizeof(f.allowed), &f.allowed);
	if (f.way == QUIRE_WAY_BOUND && number < NR_CPUS)
		platform_key_set(f.key, &f.seat[number]);
	for (unsigned i = 0; i < TURNS; i++) {
		if (n < HELD && (n == 0 || test_below(&rng, 2))) {
			if (pcp_alloc(&f.pcp, plain(number % 2), &held[n]))
				n++;
		} else {
			give(number % 2, held[--n]);
		}
	}
	while (n)
		give(number % 2, held[--n]);
	atomic_fetch_add((_Atomic uint32_t *)&f.seat[0].taken, 1);
	return NULL;
}

static void check_threads(unsigned renew)
{
	uint32_t numbers[THREADS];
	pthread_t threads[THREADS];

	if (f.tables)
		stop();
	f.renew = renew;
	start(BLOCKS, 1);
	atomic_store(&f.seat[0].taken, 0);
	if (f.way == QUIRE_WAY_BOUND)
		platform_key_set(f.key, NULL);
	for (uint32_t i = 0; i < THREADS; i++) {
		numbers[i] = i;
		assert_int_equal(pthread_create(&threads[i], NULL,
						take_and_give, &numbers[i]),
				 0);
	}
	while (atomic_load(&f.seat[0].taken) < THREADS) {
		pcp_hold_all(&f.pcp, true);
		pcp_release_all(&f.pcp);
		sched_yield();
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(counts().parked_pages + zone_free_pages(&f.zone),
			 f.pages);
	assert_int_equal(counts().pops + counts().zone_allocs,
			 counts().pushes + counts().zone_frees);
	pcp_hold_all(&f.pcp, true);
	pcp_release_all(&f.pcp);
	assert_int_equal(zone_free_pages(&f.zone), f.pages);
	assert_int_equal(f.zone.free_whole, f.pages);
	assert_int_equal(zone_validate(&f.zone), 0);
	assert_int_equal(f.messages.count, 0);
}

/* Threads of all CPUs and of none, and a drainer; nothing is lost. */
static void test_threads(void **state)
{
	(void)state;
	need_way();
	check_threads(0);
	check_threads(32);
}

#define in_way(test, way)                                                      \
	cmocka_unit_test_prestate_setup_teardown(test, begin, end, way)

static enum quire_way rseq = QUIRE_WAY_RSEQ, trylock = QUIRE_WAY_TRYLOCK;
/* The one that it is the turn of. */
static enum quire_way each;

static const struct CMUnitTest in_one_way[] = {
	in_way(test_shared_set, &rseq),
	in_way(test_spare_set, &trylock),
};

static const struct CMUnitTest in_each_way[] = {
	in_way(test_refill, &each),
	in_way(test_refill_grown, &each),
	in_way(test_refill_in_a_run, &each),
	in_way(test_scattered, &each),
	in_way(test_refill_smallest, &each),
	in_way(test_trim, &each),
	in_way(test_trim_after_shrink, &each),
	in_way(test_grow_and_shrink, &each),
	in_way(test_capacity_of_stack, &each),
	in_way(test_trim_of_few, &each),
	in_way(test_decay, &each),
	in_way(test_decay_disowns, &each),
	in_way(test_decay_without_fence, &each),
	in_way(test_decay_by_clock, &each),
	in_way(test_hold, &each),
	in_way(test_hold_undrained, &each),
	in_way(test_budget, &each),
	in_way(test_budget_filled, &each),
	in_way(test_large_orders_bypass, &each),
	in_way(test_scarce, &each),
	in_way(test_renew_sides, &each),
	in_way(test_renew_is_no_run, &each),
	in_way(test_no_renewal, &each),
	in_way(test_renew, &each),
	in_way(test_renew_larger_back, &each),
	in_way(test_renew_full, &each),
	in_way(test_renew_trim, &each),
	in_way(test_renew_scarce, &each),
	in_way(test_renew_last_page, &each),
	in_way(test_renew_hold, &each),
	in_way(test_renew_decay, &each),
	in_way(test_renew_grow, &each),
	in_way(test_renew_left, &each),
	in_way(test_left_in_refill, &each),
	in_way(test_left_in_trim, &each),
	in_way(test_lock_taken, &each),
	in_way(test_no_cpu, &each),
	in_way(test_bulk, &each),
	in_way(test_bulk_owns_if_open, &each),
	in_way(test_exact, &each),
	in_way(test_nolock_alloc, &each),
	in_way(test_nolock_alloc_exact, &each),
	in_way(test_nolock_free, &each),
	in_way(test_nolock_free_large, &each),
	in_way(test_nolock_set_taken, &each),
	in_way(test_lists_of_types, &each),
	in_way(test_share_unused, &each),
	in_way(test_share_moves, &each),
	in_way(test_share_of_largest, &each),
	in_way(test_share_random, &each),
	in_way(test_share_parked, &each),
	in_way(test_scattered_parked, &each),
	in_way(test_kept_bypass, &each),
	in_way(test_kept_free_nolock, &each),
	in_way(test_kept_bulk, &each),
	in_way(test_hint, &each),
	in_way(test_refill_floor, &each),
	in_way(test_shut, &each),
	in_way(test_shut_capacity, &each),
	in_way(test_shut_first_use, &each),
	in_way(test_shut_nolock, &each),
	in_way(test_counts, &each),
	in_way(test_threads, &each),
};

int main(void)
{
	int failed = 0;

	for (each = QUIRE_WAY_RSEQ; each <= QUIRE_WAY_BOUND; each++) {
		printf("# way %s\n", quire_way_name(each));
		failed += cmocka_run_group_tests_name("pcp", in_each_way, NULL,
						      NULL);
	}
	failed += cmocka_run_group_tests_name("pcp, one way", in_one_way, NULL,
					      NULL);
	return failed;
}
