/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Per-CPU page lists in all three ways of being a CPU, over a zone of tables
 * alone. The thread keeps to one CPU, so every step is known beforehand.
 */
#include "testing.h"

#include <errno.h>
#include <sched.h>
#include <sys/mman.h>

#include "pcp.h"
#include "platform/platform.h"

/* BLOCKS: pageblocks a CPU */
enum { NR_CPUS = 2, BLOCKS = 128, DECAY_MS = 1000000 };
#define TYPE MOBILITY_UNMOVABLE

struct fixture {
	enum quire_way way;
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
	pfn_t pages;

	become_cpu();
	pages = blocks * BLOCK_UNITS * f.nr_cpus;
	region.end = pages;
	f.pages = pages;
	f.reporter = (struct reporter){ test_catch, &f.messages };
	f.tables_bytes = memmap_pages_bytes(&region) +
			 memmap_pageblocks_bytes(&region) +
			 zone_gigablocks_bytes(0, pages) +
			 pcp_sets_bytes(f.nr_cpus) + 8 * 4096;
	f.tables = mmap(NULL, f.tables_bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(f.tables, MAP_FAILED);
	memmap_init(&f.map, &region, carve(memmap_pages_bytes(&region)),
		    carve(memmap_pageblocks_bytes(&region)));
	zone_init(&f.zone, 0, 0, pages, &f.map,
		  carve(zone_gigablocks_bytes(0, pages)),
		  carve(zone_owned_bytes(f.nr_cpus)), f.nr_cpus, &f.reporter);
	pcp_init(&f.pcp, &f.zone, carve(pcp_sets_bytes(f.nr_cpus)), f.nr_cpus,
		 f.way, f.key, decay_ms, &f.reporter);
}

static int begin(void **state)
{
	enum quire_way way = *(enum quire_way *)*state;

	memset(&f, 0, sizeof(f));
	pthread_mutex_init(&f.messages.lock, NULL);
	f.way = way;
	return sched_getaffinity(0, sizeof(f.allowed), &f.allowed);
}

static int end(void **state)
{
	(void)state;
	if (!f.tables)
		return 0;
	munmap(f.tables, f.tables_bytes);
	if (f.way == QUIRE_WAY_BOUND) {
		platform_key_set(f.key, NULL);
		platform_key_delete(f.key);
	}
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

static uint32_t listed(unsigned order)
{
	return cpu_stack_count(cpu_stack_word(&my_set()->stack[order]));
}

static const pfn_t *list_items(unsigned order)
{
	return cpu_stack_items((char *)my_set(), &my_set()->stack[order]);
}

static uint16_t capacity(unsigned order)
{
	return atomic_load(&my_set()->stack[order].high);
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

	assert_true(pcp_alloc(&f.pcp, order, TYPE, &pfn));
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
	assert_true(pcp_alloc_held(&f.pcp, order, TYPE, &pfn));
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

/* One visit to the zone: the caller's block, and a batch that ascends. */
static void test_refill(void **state)
{
	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	for (unsigned order = 0; order < 3; order++) {
		uint64_t free = zone_free_pages(&f.zone);
		uint64_t locks = atomic_load(&f.zone.locks);
		uint32_t batch = f.pcp.batch[order];
		pfn_t pfn = take(order);

		assert_true(batch > 1);
		assert_int_equal(listed(order), batch - 1);
		assert_int_equal(zone_free_pages(&f.zone),
				 free - ((uint64_t)batch << order));
		assert_int_equal(atomic_load(&f.zone.locks), locks + 1);
		for (uint32_t i = 1; i < batch; i++)
			assert_int_equal(take(order), pfn + (i << order));
		assert_int_equal(atomic_load(&f.zone.locks), locks + 1);
		assert_int_equal(listed(order), 0);
		assert_int_equal(counts().refills, order + 1);
	}
}

/* A full list gives its oldest batch back and keeps the newest. */
static void test_trim(void **state)
{
	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	for (unsigned order = 0; order < 3; order++) {
		uint32_t batch = f.pcp.batch[order], high = 2 * batch;
		pfn_t *pfns = malloc((high + 1) * sizeof(*pfns));
		uint64_t before, drains = counts().drains;

		assert_non_null(pfns);
		for (uint32_t i = 0; i <= high; i++)
			pfns[i] = take_direct(order);
		before = zone_free_pages(&f.zone);
		for (uint32_t i = 0; i < high; i++)
			give(order, pfns[i]);
		assert_int_equal(listed(order), high);
		assert_int_equal(zone_free_pages(&f.zone), before);
		give(order, pfns[high]);
		assert_int_equal(listed(order), high + 1 - batch);
		assert_memory_equal(list_items(order), pfns + batch,
				    (high + 1 - batch) * sizeof(*pfns));
		assert_int_equal(zone_free_pages(&f.zone),
				 before + ((uint64_t)batch << order));
		for (uint32_t i = 0; i <= high; i++)
			assert_int_equal(zone_page_is_free(&f.zone, pfns[i]),
					 i < batch);
		assert_int_equal(page_word(memmap_page(&f.map, pfns[0])),
				 PAGE_FREE);
		assert_int_equal(counts().drains, drains + 1);
		assert_int_equal(zone_validate(&f.zone), 0);
		assert_int_equal(take(order), pfns[high]);
		free(pfns);
	}
}

/*
 * Decay lowers the capacity of a list that is in use, but the blocks above it
 * stay until the list is full again: that trim gives back the excess, no more.
 */
static void test_trim_after_shrink(void **state)
{
	uint16_t before, high;
	uint32_t excess;
	pfn_t pfns[1024];
	uint64_t free;

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	while (capacity(0) < f.pcp.high_max[0])
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
	high = capacity(0);
	excess = before + 1u - high;
	assert_true(excess > f.pcp.batch[0]);
	assert_int_equal(listed(0), before);
	free = zone_free_pages(&f.zone);
	give(0, pfns[before]);
	assert_int_equal(listed(0), high);
	assert_memory_equal(list_items(0), pfns + excess, high * sizeof(*pfns));
	assert_int_equal(zone_free_pages(&f.zone), free + excess);
	assert_int_equal(zone_validate(&f.zone), 0);
}

/* --- capacity --- */

static void test_grow_and_shrink(void **state)
{
	uint16_t high, most;
	unsigned looks = 0;

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	most = f.pcp.high_max[0];
	/* Three visits to the zone in a period are not enough. */
	for (unsigned i = 0; i < 3u * f.pcp.batch[0]; i++)
		take(0);
	assert_int_equal(capacity(0), f.pcp.high_min[0]);
	take(0);
	assert_int_equal(capacity(0), f.pcp.high_min[0] + f.pcp.batch[0]);
	for (unsigned i = 0; i < 20u * f.pcp.batch[0]; i++) {
		take(0);
		assert_true(capacity(0) <= most);
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
	assert_int_equal(listed(0), f.pcp.batch[0] - 1);
}

static void test_decay_disowns(void **state)
{
	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	assert_true(f.zone.nr_owners > f.cpu);
	for (unsigned i = 0; i <= f.pcp.batch[0]; i++)
		take(0);
	assert_int_not_equal(f.zone.owned[f.cpu], 0);
	for (int looks = 0; looks < 2; looks++) {
		make_due();
		pcp_maintain(&f.pcp);
	}
	assert_int_equal(f.zone.owned[f.cpu], 0);
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

static void check_budget(uint64_t pages, uint32_t cpus)
{
	struct zone zone = { .nr_owners = 0 };
	struct pcp pcp = { .nr_cpus = 0 };
	uint64_t sum = 0;

	atomic_store(&zone.free, pages);
	pcp_init(&pcp, &zone, NULL, cpus, f.way, 0, 1, NULL);
	for (unsigned order = 0; order < PCP_ORDERS; order++) {
		sum += (uint64_t)pcp.high_max[order] << order;
		assert_true(pcp.batch[order] >= 1);
		assert_true(pcp.batch[order] <= ZONE_BATCH);
		assert_true(pcp.high_min[order] <= pcp.high_max[order]);
		if (pcp.high_max[order])
			assert_true(pcp.batch[order] < pcp.high_max[order] &&
				    pcp.high_max[order] >= 2);
		if (pages / (8 * (uint64_t)cpus) / 12 >> order >= 2)
			assert_int_not_equal(pcp.high_max[order], 0);
		else if (order)
			assert_int_equal(pcp.high_max[order], 0);
	}
	assert_true(sum <= pages / (8 * (uint64_t)cpus));
	assert_true(pcp.scarce <= pages / 16);
}

static void test_budget(void **state)
{
	static const uint32_t cpus[] = { 1, 2, 3, 8, 64, 1000 };

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(cpus); i++)
		for (uint64_t pages = 1; pages < UINT64_C(1) << 32;
		     pages = pages * 3 / 2 + 1)
			check_budget(pages, cpus[i]);
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
		bool bypass = order >= PCP_ORDERS || !f.pcp.high_max[order];
		uint64_t free = zone_free_pages(&f.zone);
		uint64_t parked = counts().parked_pages;
		pfn_t pfn;

		if (!pcp_alloc(&f.pcp, order, TYPE, &pfn)) {
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
	assert_int_equal(f.pcp.high_max[9], 0);
	assert_int_not_equal(f.pcp.high_max[5], 0);
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
	assert_int_equal(listed(0), f.pcp.batch[0] - 1);
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
	assert_int_equal(listed(1), high);
	fault_arm(FAULT_PCP_CPU, skip_pushes, 1);
	give(1, pfns[high]);
	fault_disarm_all();
	after = counts();
	stays = skip_pushes ? 0 : high + 1 - f.pcp.batch[1];
	assert_int_equal(listed(1), stays);
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
	start(BLOCKS, DECAY_MS);
	check_left_in_trim(0);
	check_left_in_trim(1);
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
	}
	give(0, take(0));
	if (f.way == QUIRE_WAY_TRYLOCK) {
		/* CPU n modulo the sets. */
		f.cpu = 0;
		assert_int_equal(listed(0), f.pcp.batch[0]);
		return;
	}
	assert_int_equal(zone_free_pages(&f.zone), f.pages);
	assert_int_equal(counts().zone_allocs, 1);
	assert_int_equal(counts().parked_blocks, 0);
}

/* --- bulk --- */

static void test_bulk(void **state)
{
	pfn_t pfns[500], top[3];

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	for (int i = 0; i < 3; i++)
		top[i] = take_direct(0);
	for (int i = 0; i < 3; i++)
		give(0, top[i]);
	assert_int_equal(pcp_alloc_bulk(&f.pcp, 0, TYPE, 2, pfns), 2);
	assert_int_equal(pfns[0], top[1]);
	assert_int_equal(pfns[1], top[2]);
	assert_int_equal(pcp_alloc_bulk(&f.pcp, 0, TYPE, 500, pfns), 500);
	assert_int_equal(pfns[0], top[0]);
	for (int i = 0; i < 500; i++) {
		uint64_t word = page_word(memmap_page(&f.map, pfns[i]));

		assert_int_equal(word & ~PAGE_ZERO, PAGE_PCP);
		page_set_word(memmap_page(&f.map, pfns[i]), PAGE_HEAD);
	}
	assert_int_equal(zone_free_pages(&f.zone), f.pages - 502);
	assert_int_equal(counts().pops, 3);
	assert_int_equal(counts().zone_allocs, 3 + 499);
	assert_int_equal(pcp_alloc_bulk(&f.pcp, 12, TYPE, 3, pfns), 3);
	assert_int_equal(zone_validate(&f.zone), 0);
}

static uint32_t owned(void)
{
	return f.zone.owned[f.cpu];
}

/* Decay looks after open sets: whoever has none owns no block. */
static void test_bulk_owns_if_open(void **state)
{
	pfn_t pfns[200];

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	assert_true(f.zone.nr_owners > f.cpu);
	assert_int_equal(pcp_alloc_bulk(&f.pcp, 0, TYPE, 200, pfns), 200);
	assert_int_equal(owned(), 0);
	take(1);
	assert_int_equal(pcp_alloc_bulk(&f.pcp, 0, TYPE, 200, pfns), 200);
	assert_int_not_equal(owned(), 0);
	/* Bulk calls that pass the lists by do the timed work as well. */
	for (int looks = 0; looks < 2; looks++) {
		assert_int_not_equal(owned(), 0);
		make_due();
		assert_int_equal(pcp_alloc_bulk(&f.pcp, 12, TYPE, 1, pfns), 1);
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
	assert_true(pcp_alloc_exact(&f.pcp, 10, TYPE, 600, &pfn, &zero));
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

static void test_counts(void **state)
{
	static struct live live;
	struct test_rng rng = test_seed();

	(void)state;
	need_way();
	start(BLOCKS, DECAY_MS);
	memset(&live, 0, sizeof(live));
	for (unsigned step = 0; step < 60000; step++) {
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
			if (pcp_alloc(&f.pcp, number % 2, TYPE, &held[n]))
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

/* Threads of all CPUs and of none, and a drainer; nothing is lost. */
static void test_threads(void **state)
{
	uint32_t numbers[THREADS];
	pthread_t threads[THREADS];

	(void)state;
	need_way();
	start(BLOCKS, 1);
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

#define in_way(test, ways)                                                     \
	{                                                                      \
#test, test, begin, end, ways                                  \
	}

int main(void)
{
	static enum quire_way ways[] = { QUIRE_WAY_RSEQ, QUIRE_WAY_TRYLOCK,
					 QUIRE_WAY_BOUND };
	int failed = 0;

	for (size_t i = 0; i < TEST_LENGTH(ways); i++) {
		const struct CMUnitTest tests[] = {
			in_way(test_refill, &ways[i]),
			in_way(test_trim, &ways[i]),
			in_way(test_trim_after_shrink, &ways[i]),
			in_way(test_grow_and_shrink, &ways[i]),
			in_way(test_decay, &ways[i]),
			in_way(test_decay_disowns, &ways[i]),
			in_way(test_decay_by_clock, &ways[i]),
			in_way(test_hold, &ways[i]),
			in_way(test_hold_undrained, &ways[i]),
			in_way(test_budget, &ways[i]),
			in_way(test_budget_filled, &ways[i]),
			in_way(test_large_orders_bypass, &ways[i]),
			in_way(test_scarce, &ways[i]),
			in_way(test_left_in_refill, &ways[i]),
			in_way(test_left_in_trim, &ways[i]),
			in_way(test_lock_taken, &ways[i]),
			in_way(test_no_cpu, &ways[i]),
			in_way(test_bulk, &ways[i]),
			in_way(test_bulk_owns_if_open, &ways[i]),
			in_way(test_exact, &ways[i]),
			in_way(test_counts, &ways[i]),
			in_way(test_threads, &ways[i]),
		};

		printf("# way %s\n", quire_way_name(ways[i]));
		failed += cmocka_run_group_tests_name("pcp", tests, NULL, NULL);
	}
	return failed;
}
