/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * node.h: walks against lists that are made the obvious way, what is refused,
 * and walks while another thread rebuilds the lists all the time.
 */
#include "testing.h"

#include <errno.h>

#include "base/report.h"
#include "zone/node.h"

/* Ours: node.c knows no more of it than its address. */
struct zone {
	unsigned node;
	unsigned kind;
};

enum { NR_KINDS = QUIRE_NR_ZONES, NR_LISTED = 3 };

static struct zone zones[QUIRE_MAX_NODES][NR_KINDS];

/* A matrix and the zones that are there, to make nodes of. */
struct plan {
	unsigned nr;
	uint8_t d[QUIRE_MAX_NODES * QUIRE_MAX_NODES];
	bool there[QUIRE_MAX_NODES][NR_KINDS];
};

static void plan_random(struct plan *plan, struct test_rng *rng, unsigned nr)
{
	uint64_t spread = 1 + test_below(rng, 6) * test_below(rng, 40);

	memset(plan, 0, sizeof(*plan));
	plan->nr = nr;
	for (unsigned i = 0; i < nr; i++)
		for (unsigned j = 0; j <= i; j++) {
			uint8_t d = (uint8_t)(10 + test_below(rng, spread));

			plan->d[i * nr + j] = plan->d[j * nr + i] =
				i == j ? 10 : d;
		}
	for (unsigned n = 0; n < nr; n++)
		for (unsigned kind = 0; kind < NR_KINDS; kind++)
			plan->there[n][kind] = test_below(rng, 3) > 0;
}

static void plan_apply(const struct plan *plan, struct nodes *ns)
{
	nodes_set_distances(ns, plan->d);
	for (unsigned n = 0; n < plan->nr; n++)
		for (unsigned kind = 0; kind < NR_KINDS; kind++) {
			zones[n][kind] = (struct zone){ n, kind };
			ns->node[n].zone[kind] =
				plan->there[n][kind] ? &zones[n][kind] : NULL;
		}
	nodes_build(ns);
}

/* All nodes at distance 10, then 11, ..., each time from `start` round. */
static unsigned plan_list(const struct plan *plan, unsigned start,
			  unsigned highest, uint32_t allowed,
			  struct zone *list[])
{
	unsigned count = 0, nr = plan->nr;

	for (unsigned d = 0; d < 256; d++)
		for (unsigned n = start; n < start + nr; n++) {
			if (plan->d[start * nr + n % nr] != d ||
			    !(allowed >> n % nr & 1))
				continue;
			for (int kind = NR_LISTED - 1; kind >= 0; kind--)
				if (kind <= (int)highest &&
				    plan->there[n % nr][kind])
					list[count++] = &zones[n % nr][kind];
		}
	return count;
}

static void check_walk(const struct plan *plan, const struct nodes *ns,
		       unsigned start, unsigned highest, uint32_t allowed)
{
	struct zone *expected[ZONELIST_MAX];
	unsigned count = plan_list(plan, start, highest, allowed, expected);
	struct zone_walk w;
	struct zone *zone = zone_walk_first(&w, ns, start,
					    (enum quire_zone)highest, allowed);

	for (unsigned i = 0; i < count; i++) {
		assert_ptr_equal(zone, expected[i]);
		assert_int_equal(zone_walk_node(&w), expected[i]->node);
		assert_int_equal(zone_walk_kind(&w), expected[i]->kind);
		zone = zone_walk_next(&w);
	}
	assert_null(zone);
	assert_false(zone_walk_outdated(&w));
}

static void check_memory(const struct plan *plan, const struct nodes *ns)
{
	for (unsigned highest = 0; highest < NR_KINDS; highest++)
		for (unsigned n = 0; n < 32; n++) {
			bool expected = false;

			for (unsigned k = 0; k <= highest && k < NR_LISTED; k++)
				expected |= n < plan->nr && plan->there[n][k];
			if (highest == QUIRE_ZONE_DEVICE)
				expected =
					n < plan->nr && plan->there[n][highest];
			assert_int_equal(
				nodes_with_memory(ns,
						  (enum quire_zone)highest) >>
						n &
					1,
				expected);
		}
}

static void check_plan(const struct plan *plan, const struct nodes *ns,
		       struct test_rng *rng)
{
	check_memory(plan, ns);
	for (unsigned start = 0; start < plan->nr; start++)
		for (unsigned highest = 0; highest < NR_KINDS; highest++) {
			check_walk(plan, ns, start, highest, NODES_ALL);
			check_walk(plan, ns, start, highest, 1u << start);
			check_walk(plan, ns, start, highest, 0);
			check_walk(plan, ns, start, highest,
				   (uint32_t)test_random(rng));
		}
}

static void test_random_plans(void **state)
{
	struct test_rng rng = test_seed();
	struct plan plan;
	struct nodes ns;

	(void)state;
	for (int round = 0; round < 400; round++) {
		unsigned nr = 1 + (unsigned)test_below(&rng, QUIRE_MAX_NODES);

		nodes_init(&ns, nr);
		for (int builds = 0; builds < 4; builds++) {
			plan_random(&plan, &rng, nr);
			plan_apply(&plan, &ns);
			check_plan(&plan, &ns, &rng);
		}
	}
}

/* Every zone of every node. */
static void test_longest_lists(void **state)
{
	struct test_rng rng = test_seed();
	struct plan plan;
	struct nodes ns;

	(void)state;
	nodes_init(&ns, QUIRE_MAX_NODES);
	plan_random(&plan, &rng, QUIRE_MAX_NODES);
	memset(plan.there, 1, sizeof(plan.there));
	plan_apply(&plan, &ns);
	check_plan(&plan, &ns, &rng);
	for (unsigned n = 0; n < QUIRE_MAX_NODES; n++)
		for (unsigned kind = 0; kind < NR_KINDS; kind++)
			assert_ptr_equal(
				node_zone(&ns, n, (enum quire_zone)kind),
				&zones[n][kind]);
}

static void test_before_the_first_build(void **state)
{
	struct zone_walk w;
	struct nodes ns;

	(void)state;
	memset(&ns, 0xff, sizeof(ns));
	nodes_init(&ns, 3);
	assert_int_equal(ns.nr, 3);
	for (unsigned n = 0; n < 3; n++) {
		assert_int_equal(ns.node[n].id, n);
		assert_null(zone_walk_first(&w, &ns, n, QUIRE_ZONE_MOVABLE,
					    NODES_ALL));
	}
	assert_int_equal(nodes_with_memory(&ns, QUIRE_ZONE_MOVABLE), 0);
	assert_null(node_zone(&ns, 2, QUIRE_ZONE_NORMAL));
	for (unsigned a = 0; a < 3; a++)
		for (unsigned b = 0; b < 3; b++)
			assert_int_equal(node_distance(&ns, a, b),
					 a == b ? 10 : 20);
}

static void list_normal_zone(struct nodes *ns, unsigned n)
{
	struct zone *zone = &zones[n][QUIRE_ZONE_NORMAL];

	*zone = (struct zone){ n, QUIRE_ZONE_NORMAL };
	ns->node[n].zone[QUIRE_ZONE_NORMAL] = zone;
	nodes_build(ns);
}

/* The opening comment's example: equally far, from the next one round. */
static void test_ties(void **state)
{
	static const unsigned expected[] = { 1, 2, 3, 0 };
	struct zone_walk w;
	struct zone *zone;
	struct nodes ns;

	(void)state;
	nodes_init(&ns, 4);
	for (unsigned n = 0; n < 4; n++)
		list_normal_zone(&ns, n);
	zone = zone_walk_first(&w, &ns, 1, QUIRE_ZONE_MOVABLE, NODES_ALL);
	for (size_t i = 0; i < TEST_LENGTH(expected); i++) {
		assert_non_null(zone);
		assert_int_equal(zone->node, expected[i]);
		zone = zone_walk_next(&w);
	}
	assert_null(zone);
}

static void test_outdated(void **state)
{
	struct zone_walk w;
	struct nodes ns;

	(void)state;
	nodes_init(&ns, 1);
	ns.node[0].zone[QUIRE_ZONE_NORMAL] = &zones[0][QUIRE_ZONE_NORMAL];
	nodes_build(&ns);
	assert_non_null(
		zone_walk_first(&w, &ns, 0, QUIRE_ZONE_NORMAL, NODES_ALL));
	assert_false(zone_walk_outdated(&w));
	nodes_build(&ns);
	assert_true(zone_walk_outdated(&w));
	assert_null(zone_walk_next(&w));
}

static void test_nearest(void **state)
{
	struct test_rng rng = test_seed();
	struct plan plan;
	struct nodes ns;

	(void)state;
	for (int round = 0; round < 200; round++) {
		plan_random(&plan, &rng,
			    1 + (unsigned)test_below(&rng, QUIRE_MAX_NODES));
		memset(plan.there, 1, sizeof(plan.there));
		nodes_init(&ns, plan.nr);
		nodes_set_distances(&ns, plan.d);
		for (int i = 0; i < 100; i++) {
			struct zone *list[ZONELIST_MAX];
			unsigned from = (unsigned)test_below(&rng, plan.nr);
			uint32_t mask = (uint32_t)test_random(&rng);

			if (plan_list(&plan, from, 0, mask, list) > 0)
				assert_int_equal(nodes_nearest(&ns, from, mask),
						 (list[0] - zones[0]) /
							 NR_KINDS);
		}
	}
}

static void test_default_distances(void **state)
{
	uint8_t d[QUIRE_MAX_NODES * QUIRE_MAX_NODES];

	(void)state;
	for (unsigned nr = 1; nr <= QUIRE_MAX_NODES; nr++) {
		memset(d, 0xff, sizeof(d));
		node_default_distances(d, nr);
		for (unsigned i = 0; i < sizeof(d); i++)
			assert_int_equal(d[i], i >= nr * nr	  ? 0xff
					       : i / nr == i % nr ? 10
								  : 20);
		assert_int_equal(nodes_check_distances(d, nr, NULL), 0);
	}
}

static void test_good_distances(void **state)
{
	const uint8_t near_and_far[] = { 10, 10, 255, 10, 10, 11, 255, 11, 10 };
	struct test_messages messages = TEST_MESSAGES_INIT;
	struct reporter to = { test_catch, &messages };
	struct test_rng rng = test_seed();
	struct plan plan;

	(void)state;
	errno = 0;
	assert_int_equal(nodes_check_distances(near_and_far, 3, &to), 0);
	for (int i = 0; i < 200; i++) {
		plan_random(&plan, &rng, 1 + (unsigned)test_below(&rng, 16));
		assert_int_equal(nodes_check_distances(plan.d, plan.nr, &to),
				 0);
	}
	assert_int_equal(errno, 0);
	assert_int_equal(messages.count, 0);
}

static void test_bad_distances(void **state)
{
	static const struct {
		uint8_t d[9];
		size_t count;
		const char *messages[4];
	} bad[] = {
		{ { 10, 20, 30, 20, 11, 40, 30, 40, 10 },
		  1,
		  { "distances[1][1] 11, distances[1][1] 11: not 10, which a "
		    "node is from itself" } },
		{ { 0, 20, 30, 20, 10, 40, 30, 40, 10 },
		  1,
		  { "distances[0][0] 0, distances[0][0] 0: not 10, which a "
		    "node is from itself" } },
		{ { 10, 20, 30, 20, 10, 41, 30, 40, 10 },
		  1,
		  { "distances[1][2] 41, distances[2][1] 40: not symmetric" } },
		{ { 10, 9, 30, 9, 10, 40, 30, 40, 10 },
		  1,
		  { "distances[0][1] 9, distances[1][0] 9: below 10" } },
		/* Below 10 on one side only, each side. */
		{ { 10, 20, 9, 20, 10, 40, 30, 40, 10 },
		  2,
		  { "distances[0][2] 9, distances[2][0] 30: below 10",
		    "distances[0][2] 9, distances[2][0] 30: not symmetric" } },
		{ { 10, 20, 30, 20, 10, 40, 9, 40, 10 },
		  2,
		  { "distances[0][2] 30, distances[2][0] 9: below 10",
		    "distances[0][2] 30, distances[2][0] 9: not symmetric" } },
		/* All at once. */
		{ { 10, 20, 30, 25, 10, 1, 30, 1, 255 },
		  3,
		  { "distances[0][1] 20, distances[1][0] 25: not symmetric",
		    "distances[1][2] 1, distances[2][1] 1: below 10",
		    "distances[2][2] 255, distances[2][2] 255: not 10" } },
	};

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(bad); i++) {
		struct test_messages messages = TEST_MESSAGES_INIT;
		struct reporter to = { test_catch, &messages };

		errno = 0;
		assert_int_equal(nodes_check_distances(bad[i].d, 3, &to), -1);
		assert_int_equal(errno, EINVAL);
		assert_int_equal(messages.count, bad[i].count);
		for (size_t k = 0; k < bad[i].count; k++)
			assert_told(&messages, bad[i].messages[k]);
	}
}

/*
 * One walk that two builds overtake between its first step and its second. The
 * threads wait for each other without an edge between them, so that the lists'
 * own are all there is.
 */
static struct nodes overtaken;
static _Atomic int turn;

static void turn_await(int n)
{
	while (atomic_load_explicit(&turn, memory_order_relaxed) != n)
		sched_yield();
}

static void turn_set(int n)
{
	atomic_store_explicit(&turn, n, memory_order_relaxed);
}

static void *walk_overtaken(void *arg)
{
	unsigned *node = arg;
	struct zone_walk w;
	struct zone *zone = zone_walk_first(&w, &overtaken, 0,
					    QUIRE_ZONE_MOVABLE, NODES_ALL);

	node[0] = zone->node;
	turn_set(1);
	turn_await(2);
	zone = zone_walk_next(&w);
	node[1] = zone ? zone->node : QUIRE_MAX_NODES;
	node[2] = zone_walk_outdated(&w);
	return NULL;
}

static void test_walk_that_is_overtaken(void **state)
{
	unsigned node[3];
	pthread_t thread;

	(void)state;
	nodes_init(&overtaken, 4);
	list_normal_zone(&overtaken, 0);
	list_normal_zone(&overtaken, 3);
	turn_set(0);
	pthread_create(&thread, NULL, walk_overtaken, node);
	turn_await(1);
	list_normal_zone(&overtaken, 2);
	list_normal_zone(&overtaken, 1);
	turn_set(2);
	pthread_join(thread, NULL);
	/* The second place of its list, 3 before, is 1 now. */
	assert_int_equal(node[0], 0);
	assert_int_equal(node[1], 1);
	assert_true(node[2]);
}

/*
 * Walks under a builder. Build number b makes the lists of plans[b % PLANS], so
 * that a reader knows what it must see; the last plans have zones that are not
 * there in the first, and are written just before they are listed: a reader
 * that comes by an entry too early reads a zone that is still being filled in,
 * or none.
 */
enum { PLANS = 5, READERS = 2, STRESS_NODES = 6 };

struct list {
	unsigned count;
	struct zone *zone[ZONELIST_MAX];
};

static struct plan plans[PLANS];
static struct list lists[PLANS][STRESS_NODES]; /* of a plan, from a node */
static struct nodes shared;
static _Atomic bool stop;

struct reader {
	pthread_t thread;
	struct test_rng rng;
	uint64_t walks, outdated, torn, wrong;
};

struct walk {
	unsigned start, highest;
	uint32_t mask;
	bool pause; /* somewhere in it others run */
	struct list seen;
};

/* One walk; every zone of it is what its entry says. */
static void read_walk(struct reader *r, struct zone_walk *w, struct walk *walk)
{
	struct zone *zone =
		zone_walk_first(w, &shared, walk->start,
				(enum quire_zone)walk->highest, walk->mask);

	walk->seen.count = 0;
	while (zone) {
		if (walk->seen.count == ZONELIST_MAX) {
			r->wrong++;
			break;
		}
		if (zone->node != zone_walk_node(w) ||
		    zone->kind != zone_walk_kind(w) ||
		    zone->kind > walk->highest ||
		    !(walk->mask >> zone->node & 1))
			r->wrong++;
		walk->seen.zone[walk->seen.count++] = zone;
		if (walk->pause && test_below(&r->rng, 4) == 0)
			sched_yield();
		zone = zone_walk_next(w);
	}
}

/* Whether it saw all that the list has for it, in order. */
static bool walk_is(const struct walk *walk, const struct list *list)
{
	unsigned at = 0;

	for (unsigned i = 0; i < list->count; i++) {
		/* Not the zone's fields: it may be in no list yet. */
		unsigned place = (unsigned)(list->zone[i] - zones[0]);

		if (place % NR_KINDS > walk->highest ||
		    !(walk->mask >> place / NR_KINDS & 1))
			continue;
		if (at == walk->seen.count ||
		    walk->seen.zone[at++] != list->zone[i])
			return false;
	}
	return at == walk->seen.count;
}

static void *read_lists(void *arg)
{
	struct reader *r = arg;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		struct walk walk = {
			.start = (unsigned)test_below(&r->rng, STRESS_NODES),
			.highest = (unsigned)test_below(&r->rng, NR_LISTED),
			.mask = test_below(&r->rng, 2)
					? NODES_ALL
					: (uint32_t)test_random(&r->rng),
			.pause = test_below(&r->rng, 16) == 0,
		};
		struct zone_walk w;
		bool outdated;

		read_walk(r, &w, &walk);
		outdated = zone_walk_outdated(&w);
		r->walks++;
		r->outdated += outdated;
		if (walk_is(&walk, &lists[w.built % PLANS][walk.start]))
			continue;
		r->torn += outdated;
		r->wrong += !outdated;
	}
	return NULL;
}

/* Zones of the plan that are listed for the first time are filled in now. */
static void shared_build(const struct plan *plan)
{
	nodes_set_distances(&shared, plan->d);
	for (unsigned n = 0; n < plan->nr; n++)
		for (unsigned kind = 0; kind < NR_KINDS; kind++) {
			struct zone *zone = &zones[n][kind];

			if (plan->there[n][kind] && zone->kind == NR_KINDS)
				*zone = (struct zone){ n, kind };
			shared.node[n].zone[kind] =
				plan->there[n][kind] ? zone : NULL;
		}
	nodes_build(&shared);
}

static void shared_init(struct test_rng *rng)
{
	nodes_init(&shared, STRESS_NODES);
	for (unsigned n = 0; n < QUIRE_MAX_NODES; n++)
		for (unsigned kind = 0; kind < NR_KINDS; kind++)
			zones[n][kind] = (struct zone){ 0, NR_KINDS };
	memset(&plans[0], 0, sizeof(plans[0]));
	for (int i = 0; i < PLANS; i++)
		plan_random(&plans[i], rng, STRESS_NODES);
	/* Before the first build there are no lists, whatever plans[0] is. */
	memset(plans[0].there, 0, sizeof(plans[0].there));
	for (int i = 0; i < PLANS; i++)
		for (unsigned n = 0; n < STRESS_NODES; n++)
			lists[i][n].count =
				plan_list(&plans[i], n, QUIRE_ZONE_MOVABLE,
					  NODES_ALL, lists[i][n].zone);
}

static void test_walks_under_a_builder(void **state)
{
	uint64_t rounds =
		test_setting("QUIRE_TEST_ROUNDS", TEST_SANITIZED ? 40 : 200);
	struct test_rng rng = test_seed();
	uint64_t walks = 0, outdated = 0, torn = 0, wrong = 0;

	(void)state;
	for (uint64_t round = 0; round < rounds; round++) {
		struct reader readers[READERS] = { 0 };

		shared_init(&rng);
		atomic_store(&stop, false);
		for (int i = 0; i < READERS; i++) {
			readers[i].rng.state = test_random(&rng);
			pthread_create(&readers[i].thread, NULL, read_lists,
				       &readers[i]);
		}
		for (unsigned build = 1; build < 1000; build++) {
			shared_build(&plans[build % PLANS]);
			if (test_below(&rng, 50) == 0)
				sched_yield();
		}
		atomic_store(&stop, true);
		for (int i = 0; i < READERS; i++) {
			pthread_join(readers[i].thread, NULL);
			walks += readers[i].walks;
			outdated += readers[i].outdated;
			torn += readers[i].torn;
			wrong += readers[i].wrong;
		}
	}
	printf("# %llu walks, %llu with new lists at the end, of these %llu "
	       "saw a mixture; %llu wrong\n",
	       (unsigned long long)walks, (unsigned long long)outdated,
	       (unsigned long long)torn, (unsigned long long)wrong);
	assert_int_equal(wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_plans),
		cmocka_unit_test(test_longest_lists),
		cmocka_unit_test(test_before_the_first_build),
		cmocka_unit_test(test_ties),
		cmocka_unit_test(test_outdated),
		cmocka_unit_test(test_nearest),
		cmocka_unit_test(test_default_distances),
		cmocka_unit_test(test_good_distances),
		cmocka_unit_test(test_bad_distances),
		cmocka_unit_test(test_walk_that_is_overtaken),
		cmocka_unit_test(test_walks_under_a_builder),
	};

	return cmocka_run_group_tests_name("node", tests, NULL, NULL);
}
