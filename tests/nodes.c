/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Nodes and policies of a whole allocator: where pages come from, in which
 * order, with fake nodes and with the machine's.
 */
#include "testing.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "platform/platform_memory.h"
#include "quire/quire.h"

#define MIB (UINT64_C(1) << 20)

/* Nodes of 4 MiB, one for each of the CPUs that threads stand in for. */
enum { NODES = 4, NODE_PAGES = 1024, ALL_PAGES = NODES * NODE_PAGES };

static struct test_messages messages = TEST_MESSAGES_INIT;

static int begin(void **state)
{
	(void)state;
	return test_begin(&messages);
}

static int end(void **state)
{
	(void)state;
	return unsetenv("QUIRE_CONF");
}

static void expect_told(const char *part)
{
	assert_told(&messages, part);
	messages.count = 0;
}

static struct quire_options four(void)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;

	options.size = NODES * 4 * MIB;
	options.nodes = NODES;
	options.flags = QUIRE_OFFSETS;
	options.way = QUIRE_WAY_BOUND;
	options.cpus = NODES;
	options.report = test_catch;
	options.report_arg = &messages;
	return options;
}

/* The caller stands in for CPU 0, of node 0. */
static struct quire *create(const struct quire_options *options)
{
	struct quire *q = quire_create(options);

	if (!q)
		fail_msg("errno %d: %s", errno, messages.text[0]);
	if (options->way == QUIRE_WAY_BOUND)
		assert_int_equal(quire_cpu_bind(q, 0), 0);
	messages.count = 0;
	return q;
}

static void destroy(struct quire *q)
{
	assert_int_equal(quire_validate(q), 0);
	quire_cpu_unbind(q);
	assert_int_equal(quire_destroy(q), 0);
}

static void refuses(const struct quire_options *options, const char *told)
{
	messages.count = 0;
	errno = 0;
	assert_null(quire_create(options));
	assert_int_equal(errno, EINVAL);
	expect_told(told);
}

static void become(struct quire *q, unsigned cpu)
{
	assert_int_equal(quire_cpu_unbind(q), 0);
	assert_int_equal(quire_cpu_bind(q, cpu), 0);
}

static struct quire_zone_info zone_of(const struct quire *q, unsigned n)
{
	struct quire_zone_info info;

	assert_int_equal(quire_zone_info(q, n, &info, sizeof(info)), 0);
	return info;
}

static uint64_t free_of_node(struct quire *q, unsigned node)
{
	struct quire_info info;
	uint64_t pages = 0;

	assert_int_equal(quire_info(q, &info, sizeof(info)), 0);
	for (unsigned z = 0; z < info.zones; z++)
		if (zone_of(q, z).node == node)
			pages += zone_of(q, z).free;
	return pages;
}

/* The node of a page that is freed again. */
static int node_of(struct quire *q, unsigned flags, struct quire_policy *policy)
{
	struct quire_page *page =
		quire_alloc_pages_with(q, 0, flags, policy, 0);
	int node = page ? quire_page_node(q, page) : -1;

	if (page)
		assert_int_equal(quire_free_pages(q, page, 0), 0);
	return node;
}

/* Takes all that a node has. */
static size_t fill(struct quire *q, unsigned node, struct quire_page **pages)
{
	size_t n = 0;

	while ((pages[n] = quire_alloc_pages(
			q, 0, QUIRE_NODE(node) | QUIRE_THISNODE)))
		n++;
	assert_int_equal(errno, ENOMEM);
	return n;
}

static void free_all(struct quire *q, struct quire_page **pages, size_t n)
{
	assert_int_equal(quire_free_pages_bulk(q, 0, n, pages), n);
}

/* --- what there is --- */

static void test_one(void **state)
{
	struct quire_options options = four();
	struct quire_page *page;
	struct quire *q;

	(void)state;
	options.nodes = 0;
	q = create(&options);
	page = quire_alloc_pages(q, 0, QUIRE_NODE(0) | QUIRE_THISNODE);
	assert_int_equal(quire_page_node(q, page), 0);
	assert_int_equal(quire_this_node(q), 0);
	assert_int_equal(quire_distance(q, 0, 0), 10);
	errno = 0;
	assert_int_equal(quire_distance(q, 0, 1), -1);
	assert_int_equal(errno, EINVAL);
	errno = 0;
	assert_int_equal(quire_distance(q, UINT32_MAX, 0), -1);
	assert_int_equal(errno, EINVAL);
	errno = 0;
	assert_int_equal(quire_page_node(q, NULL), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(quire_free_pages(q, page, 0), 0);
	destroy(q);
}

static void test_four(void **state)
{
	struct quire_options options = four();
	struct quire *q = create(&options);
	struct quire_zone_info zone, part;
	struct quire_info info;

	(void)state;
	assert_int_equal(quire_info(q, &info, sizeof(info)), 0);
	assert_int_equal(info.nodes, NODES);
	assert_int_equal(info.zones, NODES);
	for (unsigned n = 0; n < NODES; n++) {
		struct quire_page *first = quire_pfn_to_page(q, n * NODE_PAGES);
		struct quire_page *last =
			quire_pfn_to_page(q, (n + 1) * NODE_PAGES - 1);

		zone = zone_of(q, n);
		assert_int_equal(zone.node, n);
		assert_int_equal(zone.kind, QUIRE_ZONE_NORMAL);
		assert_int_equal(zone.first_pfn, n * NODE_PAGES);
		assert_int_equal(zone.pages, NODE_PAGES);
		assert_int_equal(zone.free, NODE_PAGES);
		assert_int_equal(zone.free_whole, NODE_PAGES);
		assert_int_equal(quire_page_node(q, first), n);
		assert_int_equal(quire_page_node(q, last), n);
		/* A CPU has the node of its part. */
		become(q, n);
		assert_int_equal(quire_this_node(q), n);
		assert_int_equal(node_of(q, 0, NULL), n);
	}
	errno = 0;
	assert_int_equal(quire_zone_info(q, NODES, &zone, sizeof(zone)), -1);
	assert_int_equal(errno, EINVAL);
	memset(&part, 0xa5, sizeof(part));
	assert_int_equal(
		quire_zone_info(q, 1, &part,
				offsetof(struct quire_zone_info, pages)),
		0);
	assert_int_equal(part.first_pfn, NODE_PAGES);
	assert_int_equal(part.pages, 0xa5a5a5a5a5a5a5a5);
	destroy(q);
}

static unsigned asked[NODES];

static unsigned backwards(void *arg, unsigned cpu)
{
	assert_ptr_equal(arg, asked);
	if (cpu < NODES)
		asked[cpu]++;
	return cpu < NODES ? NODES - 1 - cpu : 0;
}

static unsigned too_far(void *arg, unsigned cpu)
{
	(void)arg;
	return cpu == 2 ? NODES : 0;
}

static void test_cpu_node(void **state)
{
	struct quire_options options = four();
	struct quire *q;

	(void)state;
	options.cpu_node = backwards;
	options.cpu_node_arg = asked;
	q = create(&options);
	for (unsigned cpu = 0; cpu < NODES; cpu++) {
		assert_int_equal(asked[cpu], 1);
		become(q, cpu);
		assert_int_equal(quire_this_node(q), NODES - 1 - cpu);
		assert_int_equal(node_of(q, 0, NULL), NODES - 1 - cpu);
	}
	destroy(q);
	options.cpu_node = too_far;
	refuses(&options, "cpu_node: CPU 2: node 4 of 4");
}

/* --- distances --- */

/* Fills node after node by calls that name none; the order in which they come.
 */
static void expect_order(struct quire *q, unsigned from,
			 const unsigned order[NODES])
{
	static struct quire_page *pages[ALL_PAGES + 1];
	size_t n = 0;

	become(q, from);
	assert_int_equal(quire_drain_all(q), 0);
	for (unsigned i = 0; i < NODES; i++)
		for (unsigned k = 0; k < NODE_PAGES; k++, n++) {
			pages[n] = quire_alloc_pages(q, 0, 0);
			assert_non_null(pages[n]);
			assert_int_equal(quire_page_node(q, pages[n]),
					 order[i]);
		}
	assert_null(quire_alloc_pages(q, 0, 0));
	assert_int_equal(errno, ENOMEM);
	free_all(q, pages, n);
}

/* So that a node is emptied before the next is asked. */
static struct quire_options without_marks(void)
{
	struct quire_options options = four();

	/* low is 1 of 10,000: no page of 1,024. */
	options.watermark_scale = 1;
	return options;
}

static const uint8_t in_a_row[] = { 10, 20, 30, 40, 20, 10, 20, 30,
				    30, 20, 10, 20, 40, 30, 20, 10 };

static void test_distances(void **state)
{
	struct quire_options options = without_marks();
	struct quire *q = create(&options);

	(void)state;
	/* All as far: on from the next, and round. */
	assert_int_equal(quire_distance(q, 3, 2), 20);
	expect_order(q, 0, (const unsigned[]){ 0, 1, 2, 3 });
	expect_order(q, 2, (const unsigned[]){ 2, 3, 0, 1 });
	assert_int_equal(quire_set_distances(q, in_a_row), 0);
	assert_int_equal(quire_distance(q, 3, 1), 30);
	expect_order(q, 2, (const unsigned[]){ 2, 3, 1, 0 });
	expect_order(q, 1, (const unsigned[]){ 1, 2, 0, 3 });
	expect_order(q, 3, (const unsigned[]){ 3, 2, 1, 0 });
	destroy(q);
	options.distances = in_a_row;
	q = create(&options);
	assert_int_equal(quire_distance(q, 0, 3), 40);
	expect_order(q, 2, (const unsigned[]){ 2, 3, 1, 0 });
	destroy(q);
	/* The environment has the last word. */
	setenv("QUIRE_CONF",
	       "distances:10+90+20+30+90+10+40+50+20+40+10+60+30+50+60+10", 1);
	q = create(&options);
	assert_int_equal(quire_distance(q, 1, 0), 90);
	expect_order(q, 0, (const unsigned[]){ 0, 2, 3, 1 });
	destroy(q);
}

static void test_wrong_distances(void **state)
{
	static const struct {
		uint8_t at, value;
		const char *told;
	} wrong[] = {
		{ 1, 21, "distances[0][1] 21, distances[1][0] 20: not symm" },
		{ 5, 11, "distances[1][1] 11, distances[1][1] 11: not 10" },
		{ 0, 0, "distances[0][0] 0" },
		{ 14, 9, "distances[2][3] 20, distances[3][2] 9: below 10" },
		{ 14, 255, "distances[2][3] 20, distances[3][2] 255: not sym" },
	};
	struct quire_options options = without_marks();
	struct quire *q = create(&options);
	uint8_t d[sizeof(in_a_row)];

	(void)state;
	assert_int_equal(quire_set_distances(q, in_a_row), 0);
	for (size_t i = 0; i < TEST_LENGTH(wrong); i++) {
		memcpy(d, in_a_row, sizeof(d));
		d[wrong[i].at] = wrong[i].value;
		errno = 0;
		assert_int_equal(quire_set_distances(q, d), -1);
		assert_int_equal(errno, EINVAL);
		expect_told(wrong[i].told);
		options.distances = d;
		refuses(&options, wrong[i].told);
	}
	errno = 0;
	assert_int_equal(quire_set_distances(q, NULL), -1);
	assert_int_equal(errno, EINVAL);
	expect_told("no distances given");
	for (unsigned i = 0; i < NODES * NODES; i++)
		assert_int_equal(quire_distance(q, i / NODES, i % NODES),
				 in_a_row[i]);
	expect_order(q, 2, (const unsigned[]){ 2, 3, 1, 0 });
	destroy(q);
}

struct crowd {
	struct quire *q;
	_Atomic bool stop;
	_Atomic uint64_t rounds;
	_Atomic unsigned seats;
};

/* Takes three nodes' worth: whatever the order, there is room. */
static void *wander(void *arg)
{
	enum { SHARE = 3 * NODE_PAGES / 2 };
	struct crowd *crowd = arg;
	struct quire_page *pages[SHARE];
	unsigned cpu = atomic_fetch_add(&crowd->seats, 1);

	assert_int_equal(quire_cpu_bind(crowd->q, cpu), 0);
	while (!atomic_load(&crowd->stop)) {
		for (unsigned i = 0; i < SHARE; i++) {
			pages[i] = quire_alloc_pages(crowd->q, 0, 0);
			assert_non_null(pages[i]);
		}
		free_all(crowd->q, pages, SHARE);
		atomic_fetch_add(&crowd->rounds, 1);
	}
	assert_int_equal(quire_cpu_unbind(crowd->q), 0);
	return NULL;
}

/* Nobody misses a zone whose lists are being rebuilt. */
static void test_set_while_used(void **state)
{
	struct quire_options options = four();
	struct crowd crowd = { .q = create(&options), .seats = 1 };
	uint64_t rounds = test_setting("QUIRE_TEST_ROUNDS", 200);
	uint8_t other[sizeof(in_a_row)];
	pthread_t threads[2];
	unsigned sets = 0;

	(void)state;
	memset(other, 20, sizeof(other));
	for (unsigned n = 0; n < NODES; n++)
		other[n * (NODES + 1)] = 10;
	for (size_t i = 0; i < TEST_LENGTH(threads); i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, wander, &crowd), 0);
	while (atomic_load(&crowd.rounds) < rounds) {
		assert_int_equal(quire_set_distances(
					 crowd.q, sets % 2 ? in_a_row : other),
				 0);
		sets++;
	}
	atomic_store(&crowd.stop, true);
	for (size_t i = 0; i < TEST_LENGTH(threads); i++)
		pthread_join(threads[i], NULL);
	printf("# lists built %u times\n", sets);
	assert_int_equal(quire_drain_all(crowd.q), 0);
	for (unsigned n = 0; n < NODES; n++)
		assert_int_equal(free_of_node(crowd.q, n), NODE_PAGES);
	destroy(crowd.q);
}

/* --- flags --- */

static void test_node_flags(void **state)
{
	struct quire_options options = without_marks();
	struct quire *q = create(&options);
	struct quire_policy bind = { .mode = QUIRE_POLICY_BIND, .nodes = 1 };
	static struct quire_page *pages[NODE_PAGES + 1];
	size_t n;

	(void)state;
	assert_int_equal(quire_set_distances(q, in_a_row), 0);
	for (unsigned k = 0; k < NODES; k++) {
		assert_int_equal(node_of(q, QUIRE_NODE(k), NULL), k);
		/* Over the policy, too. */
		assert_int_equal(node_of(q, QUIRE_NODE(k), &bind), k);
	}
	assert_int_equal(node_of(q, QUIRE_THISNODE, NULL), 0);
	n = fill(q, 2, pages);
	assert_int_equal(n, NODE_PAGES);
	/* On by the distance from the node named. */
	assert_int_equal(node_of(q, QUIRE_NODE(2), NULL), 3);
	errno = 0;
	assert_int_equal(node_of(q, QUIRE_NODE(2) | QUIRE_THISNODE, NULL), -1);
	assert_int_equal(errno, ENOMEM);
	become(q, 2);
	assert_int_equal(node_of(q, 0, NULL), 3);
	errno = 0;
	assert_int_equal(node_of(q, QUIRE_THISNODE, NULL), -1);
	assert_int_equal(errno, ENOMEM);
	free_all(q, pages, n);
	errno = 0;
	assert_int_equal(node_of(q, QUIRE_NODE(NODES), NULL), -1);
	assert_int_equal(errno, EINVAL);
	expect_told("node 4 of 4");
	destroy(q);
}

/* A page goes back to its own node's zone, whoever frees it. */
static void test_free_elsewhere(void **state)
{
	struct quire_options options = four();
	struct quire *q = create(&options);
	static struct quire_page *pages[NODE_PAGES + 1];
	size_t n = fill(q, 0, pages);

	(void)state;
	become(q, 3);
	free_all(q, pages, n);
	/* Parked on node 3's CPU they are pages of node 0 still. */
	assert_int_equal(node_of(q, 0, NULL), 3);
	assert_int_equal(node_of(q, QUIRE_NODE(0) | QUIRE_THISNODE, NULL), 0);
	assert_int_equal(quire_drain_all(q), 0);
	for (unsigned k = 0; k < NODES; k++)
		assert_int_equal(free_of_node(q, k), NODE_PAGES);
	destroy(q);
}

/* --- policies --- */

static void count_nodes(struct quire *q, struct quire_policy *policy,
			unsigned calls, unsigned count[NODES])
{
	struct quire_page *pages[ALL_PAGES];

	memset(count, 0, NODES * sizeof(*count));
	for (unsigned i = 0; i < calls; i++) {
		pages[i] = quire_alloc_pages_with(q, 0, 0, policy, 0);
		assert_non_null(pages[i]);
		count[quire_page_node(q, pages[i])]++;
	}
	free_all(q, pages, calls);
}

static void expect_shares(struct quire *q, struct quire_policy *policy,
			  unsigned calls, const unsigned expected[NODES])
{
	unsigned count[NODES];

	count_nodes(q, policy, calls, count);
	for (unsigned n = 0; n < NODES; n++)
		assert_int_equal(count[n], expected[n]);
}

static void test_policies(void **state)
{
	struct quire_options options = without_marks();
	struct quire *q = create(&options);
	struct quire_policy local = { .mode = QUIRE_POLICY_LOCAL };
	struct quire_policy some = { .nodes = 1 << 1 | 1 << 3 };

	(void)state;
	assert_int_equal(quire_set_distances(q, in_a_row), 0);
	become(q, 2);
	expect_shares(q, &local, 10, (const unsigned[]){ 0, 0, 10, 0 });
	some.mode = QUIRE_POLICY_BIND;
	/* Both are 20 away; the next one counts as nearer. */
	expect_shares(q, &some, 10, (const unsigned[]){ 0, 0, 0, 10 });
	some.mode = QUIRE_POLICY_PREFERRED;
	expect_shares(q, &some, 10, (const unsigned[]){ 0, 0, 0, 10 });
	become(q, 0);
	expect_shares(q, &some, 10, (const unsigned[]){ 0, 10, 0, 0 });
	/* The CPU's own, if it is one of them. */
	become(q, 3);
	expect_shares(q, &some, 10, (const unsigned[]){ 0, 0, 0, 10 });
	some.mode = QUIRE_POLICY_INTERLEAVE;
	expect_shares(q, &some, 1000, (const unsigned[]){ 0, 500, 0, 500 });
	assert_int_equal(some.turn, 1000);
	some.mode = QUIRE_POLICY_WEIGHTED;
	some.turn = 0;
	some.weight[1] = 3;
	some.weight[3] = 7;
	some.weight[0] = 100;
	expect_shares(q, &some, 1000, (const unsigned[]){ 0, 300, 0, 700 });
	/* 0 counts as 1. */
	some.turn = 0;
	some.weight[1] = 0;
	expect_shares(q, &some, 800, (const unsigned[]){ 0, 100, 0, 700 });
	destroy(q);
}

/* Where a policy's nodes are full. */
static void test_policies_full(void **state)
{
	struct quire_options options = without_marks();
	struct quire *q = create(&options);
	static struct quire_page *pages[2][NODE_PAGES + 1];
	struct quire_policy some = { .nodes = 1 << 1 | 1 << 3 };
	size_t n[2];

	(void)state;
	assert_int_equal(quire_set_distances(q, in_a_row), 0);
	n[0] = fill(q, 1, pages[0]);
	some.mode = QUIRE_POLICY_BIND;
	assert_int_equal(node_of(q, 0, &some), 3);
	/* On by the distance from where it would have been. */
	some.mode = QUIRE_POLICY_PREFERRED;
	assert_int_equal(node_of(q, 0, &some), 2);
	some.mode = QUIRE_POLICY_INTERLEAVE;
	expect_shares(q, &some, 10, (const unsigned[]){ 0, 0, 5, 5 });
	n[1] = fill(q, 3, pages[1]);
	some.mode = QUIRE_POLICY_BIND;
	errno = 0;
	assert_int_equal(node_of(q, 0, &some), -1);
	assert_int_equal(errno, ENOMEM);
	some.mode = QUIRE_POLICY_PREFERRED;
	assert_int_equal(node_of(q, 0, &some), 2);
	free_all(q, pages[0], n[0]);
	free_all(q, pages[1], n[1]);
	destroy(q);
}

static void *take_turns(void *arg)
{
	struct crowd *crowd = arg;
	static struct quire_policy policy = { .mode = QUIRE_POLICY_INTERLEAVE,
					      .nodes = (1 << NODES) - 1 };
	unsigned count[NODES];

	assert_int_equal(
		quire_cpu_bind(crowd->q, atomic_fetch_add(&crowd->seats, 1)),
		0);
	for (unsigned i = 0; i < 100; i++)
		count_nodes(crowd->q, &policy, 10, count);
	assert_int_equal(quire_cpu_unbind(crowd->q), 0);
	atomic_store(&crowd->rounds,
		     __atomic_load_n(&policy.turn, __ATOMIC_RELAXED));
	return NULL;
}

/* Threads share a policy: no turn is lost. */
static void test_shared_policy(void **state)
{
	struct quire_options options = four();
	struct crowd crowd = { .q = create(&options), .seats = 1 };
	pthread_t threads[3];

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(threads); i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, take_turns, &crowd),
			0);
	for (size_t i = 0; i < TEST_LENGTH(threads); i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&crowd.rounds), 3000);
	destroy(crowd.q);
}

static void refuse_policy(struct quire *q, struct quire_policy policy,
			  unsigned flags, const char *told)
{
	messages.count = 0;
	errno = 0;
	assert_null(quire_alloc_pages_with(q, 0, flags, &policy, 0));
	assert_int_equal(errno, EINVAL);
	expect_told(told);
	assert_int_equal(policy.turn, 0);
}

static void test_wrong_policies(void **state)
{
	struct quire_options options = four();
	struct quire *q;

	(void)state;
	/* Node 0 is all DMA32, node 3 all a device's. */
	options.zone_size[QUIRE_ZONE_DMA32] = 4 * MIB;
	options.zone_size[QUIRE_ZONE_DEVICE] = 4 * MIB;
	q = create(&options);
	refuse_policy(q, (struct quire_policy){ .mode = 5, .nodes = 1 }, 0,
		      "policy mode 5: not 0 to 4");
	refuse_policy(q, (struct quire_policy){ .nodes = 2 }, 0,
		      "local: nodes 0x2, not 0");
	for (unsigned mode = 1; mode <= QUIRE_POLICY_WEIGHTED; mode++) {
		refuse_policy(q, (struct quire_policy){ .mode = mode }, 0,
			      "policy names no node");
		refuse_policy(
			q, (struct quire_policy){ .mode = mode, .nodes = 17 },
			0, "nodes 0x11 name node 4 of 4");
	}
	refuse_policy(
		q,
		(struct quire_policy){ .mode = QUIRE_POLICY_BIND, .nodes = 8 },
		0, "bind: nodes 0x8 have no memory");
	refuse_policy(
		q,
		(struct quire_policy){ .mode = QUIRE_POLICY_BIND, .nodes = 14 },
		QUIRE_DMA32, "bind: nodes 0xe have no memory");
	destroy(q);
	options.policy.mode = QUIRE_POLICY_BIND;
	options.policy.nodes = 8;
	refuses(&options, "bind: nodes 0x8 have no memory");
	options.policy.mode = QUIRE_POLICY_WEIGHTED;
	options.policy.nodes = 0;
	refuses(&options, "policy names no node");
}

/* A node without memory may be named where others may serve. */
static void test_no_memory(void **state)
{
	struct quire_options options = four();
	struct quire_policy policy = { .mode = QUIRE_POLICY_PREFERRED,
				       .nodes = 8 };
	struct quire *q;

	(void)state;
	options.zone_size[QUIRE_ZONE_DEVICE] = 4 * MIB;
	options.distances = in_a_row;
	q = create(&options);
	assert_int_equal(node_of(q, 0, &policy), 2);
	assert_int_equal(node_of(q, QUIRE_NODE(3), NULL), 2);
	errno = 0;
	assert_int_equal(node_of(q, QUIRE_NODE(3) | QUIRE_THISNODE, NULL), -1);
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(node_of(q, QUIRE_DEVICE, NULL), 3);
	policy.mode = QUIRE_POLICY_BIND;
	assert_int_equal(node_of(q, QUIRE_DEVICE, &policy), 3);
	become(q, 3);
	assert_int_equal(node_of(q, 0, NULL), 2);
	destroy(q);
}

/* The allocator's own: of all calls that name none. */
static void test_own_policy(void **state)
{
	struct quire_options options = four();
	struct quire_page *pages[400];
	unsigned count[NODES] = { 0 };
	struct quire *q;

	(void)state;
	options.policy.mode = QUIRE_POLICY_WEIGHTED;
	options.policy.nodes = 7;
	options.policy.weight[2] = 2;
	q = create(&options);
	for (unsigned i = 0; i < 400; i++) {
		pages[i] = quire_alloc_pages(q, 0, 0);
		count[quire_page_node(q, pages[i])]++;
	}
	free_all(q, pages, 400);
	assert_int_equal(count[0], 100);
	assert_int_equal(count[1], 100);
	assert_int_equal(count[2], 200);
	/* Another one for a call. */
	expect_shares(q, &(struct quire_policy){ .mode = QUIRE_POLICY_LOCAL },
		      10, (const unsigned[]){ 10, 0, 0, 0 });
	destroy(q);
	setenv("QUIRE_CONF", "policy:interleave", 1);
	q = create(&options);
	expect_shares(q, NULL, 400, (const unsigned[]){ 100, 100, 100, 100 });
	destroy(q);
	setenv("QUIRE_CONF", "policy:local", 1);
	q = create(&options);
	expect_shares(q, NULL, 400, (const unsigned[]){ 400, 0, 0, 0 });
	destroy(q);
}

/* --- the start-up log --- */

static void test_log(void **state)
{
	static const char *const steps[] = {
		"region of 4096 pages from offset 0x0, pfn 0",
		"backing ",
		"node 0: pfn 0 to 2048, 2048 pages",
		"node 1: pfn 2048 to 4096, 2048 pages",
		"node 0: zone DMA32: pfn 0 to 512, 512 pages",
		"node 0: zone NORMAL: pfn 512 to 1536",
		"node 0: zone MOVABLE: pfn 1536 to 2048",
		"node 1: zone NORMAL: pfn 2048 to 3584",
		"node 1: zone DEVICE: pfn 3584 to 4096",
		"memmap: 4096 descriptors at ",
		"node 0: zone DMA32: 512 pages free, 0 of CMA",
		"node 0: zone NORMAL: 1024 pages free, 512 of CMA",
		"node 0: zone MOVABLE: 512 pages free, 0 of CMA",
		"node 1: zone NORMAL: 1536 pages free, 0 of CMA",
		"node 1: zone DEVICE: 512 pages free, 0 of CMA",
		"node 0: zone DMA32: min 36, low 45, high 54; kept from NORMAL "
		"4, from MOVABLE 6",
		"node 0: zone NORMAL: min 73, low 91, high 109; kept from "
		"NORMAL 0, from MOVABLE 16",
		"node 0: zone MOVABLE: min 36, low 45, high 54",
		"node 1: zone NORMAL: min 109, low 136, high 163",
		"node 0: zonelist 0:MOVABLE 0:NORMAL 0:DMA32 1:NORMAL",
		"node 1: zonelist 1:NORMAL 0:MOVABLE 0:NORMAL 0:DMA32",
		"way bound, 4 CPUs, ",
	};
	struct quire_options options = four();
	struct quire *q;

	(void)state;
	options.nodes = 2;
	options.zone_size[QUIRE_ZONE_DMA32] = 2 * MIB;
	options.zone_size[QUIRE_ZONE_MOVABLE] = 2 * MIB;
	options.zone_size[QUIRE_ZONE_DEVICE] = 2 * MIB;
	options.cma_size = 2 * MIB;
	options.min_free = MIB;
	setenv("QUIRE_CONF", "debug:init", 1);
	q = quire_create(&options);
	assert_non_null(q);
	assert_int_equal(messages.count, TEST_LENGTH(steps));
	for (size_t i = 0; i < TEST_LENGTH(steps); i++) {
		const char *text = messages.text[i];

		if (strncmp(text, "init: ", 6) != 0 ||
		    strncmp(text + 6, steps[i], strlen(steps[i])) != 0)
			fail_msg("step %zu: \"%s\", not \"%s\"", i, text,
				 steps[i]);
	}
	assert_int_equal(quire_destroy(q), 0);
	unsetenv("QUIRE_CONF");
	messages.count = 0;
	q = quire_create(&options);
	assert_int_equal(messages.count, 0);
	assert_int_equal(quire_destroy(q), 0);
}

/* --- the machine's nodes --- */

/* Whether libnuma is in use and the kernel lets memory be bound. */
static bool can_bind(void)
{
	void *page = mmap(NULL, QUIRE_PAGE_SIZE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool can = platform_nr_nodes() > 0 &&
		   platform_bind_node(page, QUIRE_PAGE_SIZE, 0) == 0;

	munmap(page, QUIRE_PAGE_SIZE);
	return can;
}

static void expect_bound(const void *at, unsigned node)
{
	unsigned long nodes[16] = { 0 };
	int mode = -1;

	assert_int_equal(syscall(SYS_get_mempolicy, &mode, nodes,
				 8 * sizeof(nodes), at, MPOL_F_ADDR),
			 0);
	assert_int_equal(mode & ~MPOL_MODE_FLAGS, MPOL_BIND);
	assert_int_equal(nodes[0], 1ul << node);
}

static unsigned machine_nodes(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < platform_nr_nodes(); i++)
		n += platform_node_bytes(i) != 0;
	return n ? n : 1;
}

static void test_machine(void **state)
{
	struct quire_options options = four();
	struct quire_info info;
	struct quire *q;
	char *memory;

	(void)state;
	options.flags = QUIRE_NUMA;
	options.nodes = 0;
	options.way = QUIRE_WAY_DEFAULT;
	options.cpus = 0;
	q = create(&options);
	assert_int_equal(quire_info(q, &info, sizeof(info)), 0);
	assert_int_equal(info.nodes, machine_nodes());
	assert_int_equal(quire_distance(q, 0, 0), 10);
	assert_in_range(quire_this_node(q), 0, info.nodes - 1);
	memory = info.address;
	if (!can_bind()) {
		destroy(q);
		skip();
	}
	for (unsigned z = 0; z < info.zones; z++) {
		struct quire_zone_info zone = zone_of(q, z);
		char *first = memory + (zone.first_pfn - info.first_pfn) *
					       QUIRE_PAGE_SIZE;

		*first = 1;
		expect_bound(first, zone.node);
		expect_bound(first + zone.pages * QUIRE_PAGE_SIZE - 1,
			     zone.node);
	}
	destroy(q);
}

static void test_machine_refuses(void **state)
{
	struct quire_options options = four();
	struct quire *q;

	(void)state;
	options.flags = QUIRE_NUMA;
	options.nodes = machine_nodes() + 1;
	if (options.nodes <= QUIRE_MAX_NODES)
		refuses(&options, "with QUIRE_NUMA: the machine has");
	/* Offsets are mapped nowhere: nothing is bound. */
	options.nodes = 0;
	options.flags = QUIRE_NUMA | QUIRE_OFFSETS;
	q = create(&options);
	destroy(q);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_one),
		TEST(test_four),
		TEST(test_cpu_node),
		TEST(test_distances),
		TEST(test_wrong_distances),
		TEST(test_set_while_used),
		TEST(test_node_flags),
		TEST(test_free_elsewhere),
		TEST(test_policies),
		TEST(test_policies_full),
		TEST(test_shared_policy),
		TEST(test_wrong_policies),
		TEST(test_no_memory),
		TEST(test_own_policy),
		TEST(test_log),
		TEST(test_machine),
		TEST(test_machine_refuses),
	};

	return cmocka_run_group_tests_name("nodes", tests, NULL, NULL);
}
