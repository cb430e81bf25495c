/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * policy.h: each mode's node and mask, exact shares of turns by one thread and
 * by several, and what is refused.
 */
#include "testing.h"

#include <errno.h>

#include "base/report.h"
#include "base/schedule.h"
#include "instance/policy.h"

/* Only its address counts here. */
struct zone {
	char c;
};

static struct zone zones[QUIRE_MAX_NODES];

/* 4 nodes in a line, 10 more for each step; node 3 has no memory, node 0 DMA32
 * and a DEVICE zone, nodes 1 and 2 MOVABLE. */
static void make_nodes(struct nodes *ns)
{
	uint8_t d[16];

	nodes_init(ns, 4);
	for (int row = 0; row < 4; row++)
		for (int column = 0; column < 4; column++)
			d[row * 4 + column] =
				(uint8_t)(10 + 10 * abs(row - column));
	nodes_set_distances(ns, d);
	ns->node[0].zone[QUIRE_ZONE_DMA32] = &zones[0];
	ns->node[0].zone[QUIRE_ZONE_DEVICE] = &zones[3];
	ns->node[1].zone[QUIRE_ZONE_MOVABLE] = &zones[1];
	ns->node[2].zone[QUIRE_ZONE_MOVABLE] = &zones[2];
	nodes_build(ns);
}

static void check_choice(struct choice choice, unsigned node, uint32_t nodes)
{
	assert_int_equal(choice.node, node);
	assert_int_equal(choice.nodes, nodes);
}

static void test_local(void **state)
{
	struct quire_policy policy = { .mode = QUIRE_POLICY_LOCAL };
	struct nodes ns;

	(void)state;
	make_nodes(&ns);
	for (unsigned local = 0; local < 4; local++)
		check_choice(policy_choose(&policy, &ns, local), local,
			     UINT32_MAX);
	assert_int_equal(policy.turn, 0);
}

/* Of each mask the nearest in line, the higher one of two. */
static void test_nearest(void **state)
{
	struct nodes ns;

	(void)state;
	make_nodes(&ns);
	for (uint32_t mask = 1; mask < 16; mask++)
		for (int local = 0; local < 4; local++) {
			struct quire_policy policy = { .nodes = mask };
			int best = -1;

			for (int step = 0; best < 0; step++)
				if (local + step < 4 &&
				    mask >> (local + step) & 1)
					best = local + step;
				else if (local >= step &&
					 mask >> (local - step) & 1)
					best = local - step;
			policy.mode = QUIRE_POLICY_BIND;
			check_choice(
				policy_choose(&policy, &ns, (unsigned)local),
				(unsigned)best, mask);
			policy.mode = QUIRE_POLICY_PREFERRED;
			check_choice(
				policy_choose(&policy, &ns, (unsigned)local),
				(unsigned)best, UINT32_MAX);
			assert_int_equal(policy.turn, 0);
		}
}

/* All masks of 16 nodes, in order of the nodes, from any place of the turn. */
static void test_interleave(void **state)
{
	struct quire_policy policy = { .mode = QUIRE_POLICY_INTERLEAVE };
	struct nodes ns;

	(void)state;
	nodes_init(&ns, 16);
	for (uint32_t mask = 1; mask < 1 << 16; mask += 1 + mask % 5) {
		policy.nodes = mask;
		policy.turn = 0;
		for (int round = 0; round < 2; round++)
			for (unsigned n = 0; n < 16; n++)
				if (mask >> n & 1)
					check_choice(
						policy_choose(&policy, &ns, 7),
						n, UINT32_MAX);
	}
}

/* Spells the turn out, node by node. */
static unsigned spell(const struct quire_policy *policy, unsigned *places)
{
	unsigned length = 0;

	for (unsigned n = 0; n < QUIRE_MAX_NODES; n++) {
		unsigned weight = policy->weight[n];

		if (!(policy->nodes >> n & 1))
			continue;
		if (weight == 0)
			weight = 1;
		while (weight--)
			places[length++] = n;
	}
	return length;
}

static void test_weighted(void **state)
{
	static unsigned turn[QUIRE_MAX_NODES * 255];
	struct test_rng rng = test_seed();
	struct nodes ns;

	(void)state;
	nodes_init(&ns, 16);
	for (int round = 0; round < 300; round++) {
		struct quire_policy policy = { .mode = QUIRE_POLICY_WEIGHTED };
		uint64_t most = round % 3 ? 6 : 256;
		unsigned length;

		policy.nodes = 1 + (uint32_t)test_below(&rng, 0xffff);
		for (int n = 0; n < QUIRE_MAX_NODES; n++)
			policy.weight[n] = (uint8_t)test_below(&rng, most);
		length = spell(&policy, turn);
		for (unsigned i = 0; i < 2 * length; i++)
			check_choice(policy_choose(&policy, &ns, 15),
				     turn[i % length], UINT32_MAX);
	}
}

/* Weights are of no account to others. */
static void test_interleave_without_weights(void **state)
{
	struct quire_policy policy = { .mode = QUIRE_POLICY_INTERLEAVE,
				       .nodes = 0x6,
				       .weight = { 9, 9, 9 } };
	struct nodes ns;

	(void)state;
	make_nodes(&ns);
	for (unsigned i = 0; i < 10; i++)
		check_choice(policy_choose(&policy, &ns, 0), 1 + i % 2,
			     UINT32_MAX);
}

/* 2^32 = 1 modulo 3: the count's last place is the first of a turn, which is
 * cut short. Of four nothing is seen. */
static void test_count_that_wraps(void **state)
{
	static const unsigned of_3[] = { 0, 2, 3, 0, 0, 2, 3, 0 };
	struct quire_policy policy = { .mode = QUIRE_POLICY_INTERLEAVE,
				       .nodes = 0xd,
				       .turn = UINT32_MAX - 3 };
	struct nodes ns;

	(void)state;
	make_nodes(&ns);
	for (size_t i = 0; i < TEST_LENGTH(of_3); i++)
		check_choice(policy_choose(&policy, &ns, 0), of_3[i],
			     UINT32_MAX);
	assert_int_equal(policy.turn, 4);
	policy.nodes = 0xf;
	policy.turn = UINT32_MAX - 3;
	for (unsigned i = 0; i < 8; i++)
		check_choice(policy_choose(&policy, &ns, 0), i % 4, UINT32_MAX);
}

enum { CHOOSERS = 3, TURNS = 20000 };

static struct nodes shared_nodes;
static struct quire_policy shared_policy;
static pthread_barrier_t all_there;

static void *chooser(void *arg)
{
	unsigned *count = arg;

	pthread_barrier_wait(&all_there);
	/* 1 + 5 + 2 calls are a turn. */
	for (int i = 0; i < 8 * TURNS; i++)
		count[policy_choose(&shared_policy, &shared_nodes, 1).node]++;
	return NULL;
}

/* Threads that share a policy share its turns, exactly. */
static void test_shares_of_threads(void **state)
{
	static unsigned count[CHOOSERS][QUIRE_MAX_NODES];
	unsigned sum[QUIRE_MAX_NODES] = { 0 };
	pthread_t threads[CHOOSERS];

	(void)state;
	make_nodes(&shared_nodes);
	shared_policy = (struct quire_policy){ .mode = QUIRE_POLICY_WEIGHTED,
					       .nodes = 0xb,
					       .weight = { 0, 5, 77, 2 } };
	assert_int_equal(pthread_barrier_init(&all_there, NULL, CHOOSERS), 0);
	schedule_arm(64, 1);
	for (int i = 0; i < CHOOSERS; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, chooser, count[i]),
			0);
	for (int i = 0; i < CHOOSERS; i++)
		pthread_join(threads[i], NULL);
	schedule_arm(0, 0);
	pthread_barrier_destroy(&all_there);
	for (int i = 0; i < CHOOSERS; i++)
		for (int n = 0; n < QUIRE_MAX_NODES; n++)
			sum[n] += count[i][n];
	assert_int_equal(sum[0], CHOOSERS * TURNS);
	assert_int_equal(sum[1], CHOOSERS * TURNS * 5);
	assert_int_equal(sum[2], 0);
	assert_int_equal(sum[3], CHOOSERS * TURNS * 2);
	assert_int_equal(shared_policy.turn, CHOOSERS * TURNS * 8);
}

static void test_good_policies(void **state)
{
	static const struct quire_policy good[] = {
		{ .mode = QUIRE_POLICY_LOCAL },
		{ .mode = QUIRE_POLICY_BIND, .nodes = 0x9 },
		{ .mode = QUIRE_POLICY_PREFERRED, .nodes = 0x8 },
		{ .mode = QUIRE_POLICY_INTERLEAVE, .nodes = 0xf },
		{ .mode = QUIRE_POLICY_WEIGHTED, .nodes = 0x8 },
	};
	struct test_messages messages = TEST_MESSAGES_INIT;
	struct reporter to = { test_catch, &messages };
	struct nodes ns;

	(void)state;
	make_nodes(&ns);
	errno = 0;
	for (size_t i = 0; i < TEST_LENGTH(good); i++)
		for (unsigned z = 0; z <= QUIRE_ZONE_DEVICE; z++)
			assert_int_equal(policy_check(&good[i], &ns,
						      (enum quire_zone)z, &to),
					 0);
	assert_int_equal(errno, 0);
	assert_int_equal(messages.count, 0);
}

static void test_full_mask(void **state)
{
	struct quire_policy policy = { .mode = QUIRE_POLICY_INTERLEAVE,
				       .nodes = 0xffff };
	struct nodes ns;

	(void)state;
	nodes_init(&ns, 16);
	assert_int_equal(policy_check(&policy, &ns, QUIRE_ZONE_NORMAL, NULL),
			 0);
}

static void test_bad_policies(void **state)
{
	static const struct {
		unsigned mode;
		uint32_t nodes;
		enum quire_zone highest;
		const char *message;
	} bad[] = {
		{ 5, 0, QUIRE_ZONE_NORMAL, "policy mode 5: not 0 to 4" },
		{ UINT32_MAX, 1, QUIRE_ZONE_NORMAL,
		  "policy mode 4294967295: not 0 to 4" },
		{ QUIRE_POLICY_LOCAL, 0x5, QUIRE_ZONE_NORMAL,
		  "policy mode 0, local: nodes 0x5, not 0" },
		{ QUIRE_POLICY_BIND, 0, QUIRE_ZONE_NORMAL,
		  "policy mode 1: policy names no node" },
		{ QUIRE_POLICY_PREFERRED, 0, QUIRE_ZONE_NORMAL,
		  "policy mode 2: policy names no node" },
		{ QUIRE_POLICY_INTERLEAVE, 0, QUIRE_ZONE_NORMAL,
		  "policy mode 3: policy names no node" },
		{ QUIRE_POLICY_WEIGHTED, 0, QUIRE_ZONE_NORMAL,
		  "policy mode 4: policy names no node" },
		{ QUIRE_POLICY_BIND, 0x11, QUIRE_ZONE_NORMAL,
		  "policy mode 1: nodes 0x11 name node 4 of 4" },
		{ QUIRE_POLICY_PREFERRED, 0x80000001, QUIRE_ZONE_NORMAL,
		  "policy mode 2: nodes 0x80000001 name node 31 of 4" },
		{ QUIRE_POLICY_BIND, 0x6, QUIRE_ZONE_NORMAL,
		  "policy mode 1, bind: nodes 0x6 have no memory in zone 1 or "
		  "below, only nodes 0x1 have" },
		{ QUIRE_POLICY_BIND, 0x8, QUIRE_ZONE_MOVABLE,
		  "policy mode 1, bind: nodes 0x8 have no memory in zone 2 or "
		  "below, only nodes 0x7 have" },
	};
	struct nodes ns;

	(void)state;
	make_nodes(&ns);
	for (size_t i = 0; i < TEST_LENGTH(bad); i++) {
		struct test_messages messages = TEST_MESSAGES_INIT;
		struct reporter to = { test_catch, &messages };
		struct quire_policy policy = { .nodes = bad[i].nodes };

		policy.mode = (enum quire_policy_mode)bad[i].mode;
		errno = 0;
		assert_int_equal(
			policy_check(&policy, &ns, bad[i].highest, &to), -1);
		assert_int_equal(errno, EINVAL);
		assert_int_equal(messages.count, 1);
		assert_string_equal(messages.text[0], bad[i].message);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_local),
		cmocka_unit_test(test_nearest),
		cmocka_unit_test(test_interleave),
		cmocka_unit_test(test_weighted),
		cmocka_unit_test(test_interleave_without_weights),
		cmocka_unit_test(test_count_that_wraps),
		cmocka_unit_test(test_shares_of_threads),
		cmocka_unit_test(test_good_policies),
		cmocka_unit_test(test_full_mask),
		cmocka_unit_test(test_bad_policies),
	};

	return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
