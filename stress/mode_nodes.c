/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nodes: four nodes that the machine has not got, with zones of every kind and
 * a CMA area. Threads allocate with all flags of places and types, and by every
 * policy; each page must lie where its call allows (blocks.c checks zones and
 * nodes, here policies are). Each frees blocks of its neighbour, so that pages
 * go home from other CPUs; while all stand still each zone's pages must be
 * there.
 *
 * An extra thread changes distances, and what 2 MiB blocks are there for, all
 * the time. While all stand still some blocks are isolated; until the next
 * standstill nobody may be handed a page of these.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "blocks.h"

enum { NODES = 4, BLOCK_PAGES = 512, POLICIES = 8, PAIRS = 4 };
/* In a smaller arena there is one zone, and NODES nodes may not fit. */
enum { BLOCKS_MIN = 16 };
/* Of all blocks, those that are isolated at a time. */
enum { ISOLATED_PART = 16 };
/* More have no lists in an arena of nine zones. */
enum { THREADS_FEW = 16, PAUSE_NS = 500000 };

struct nodes_own {
	uint64_t first, blocks; /* pfn of the first 2 MiB block, and how many */
	uint8_t *cma, *kept;	/* by block: at first; enum kept */
	struct quire_policy policy[POLICIES];
};

/* Asked before there is a struct nodes_own. */
static struct rng cpus;
static uint8_t distances[NODES * NODES];

static unsigned node_of_cpu(void *arg, unsigned cpu)
{
	struct rng rng = { ((const struct rng *)arg)->state + cpu };

	return (unsigned)rng_below(&rng, NODES);
}

static void draw_distances(struct rng *rng, unsigned nodes, uint8_t *d)
{
	for (unsigned i = 0; i < nodes; i++)
		for (unsigned j = 0; j <= i; j++)
			d[i * nodes + j] = d[j * nodes + i] =
				i == j ? 10 : (uint8_t)(11 + rng_below(rng, 9));
}

static void nodes_options(const struct run *run, struct quire_options *o)
{
	uint64_t blocks = o->size >> 21, left = blocks - blocks / 8 * NODES;
	struct rng rng = { run->seed };

	if (blocks < BLOCKS_MIN)
		return;
	cpus.state = rng_next(&rng);
	draw_distances(&rng, NODES, distances);
	o->nodes = NODES;
	o->distances = distances;
	o->cpu_node = node_of_cpu;
	o->cpu_node_arg = &cpus;
	/* The last one gets the rest. */
	for (unsigned i = 0; i + 1 < NODES; i++) {
		uint64_t more = rng_below(&rng, left / 2 + 1);

		o->node_size[i] = (blocks / 8 + more) << 21;
		left -= more;
	}
	o->zone_size[QUIRE_ZONE_DMA32] = blocks / 8 << 21;
	o->zone_size[QUIRE_ZONE_MOVABLE] = blocks / 4 << 21;
	o->zone_size[QUIRE_ZONE_DEVICE] = blocks / 8 << 21;
	o->cma_size = blocks / 8 << 21;
	o->lowmem_ratio[QUIRE_ZONE_DMA32] = 0;
	if (rng_next(&rng) & 1) {
		o->policy.mode = QUIRE_POLICY_INTERLEAVE;
		o->policy.nodes = (1u << NODES) - 1;
	}
}

/* --- allocating --- */

/* Nodes that have a zone of that kind or below; of DEVICE, that kind. */
static uint32_t with_memory(const struct run *run, enum quire_zone highest)
{
	uint32_t nodes = 0;

	for (unsigned z = 0; z < run->info.zones; z++)
		if (highest == QUIRE_ZONE_DEVICE ? run->zone[z].kind == highest
						 : run->zone[z].kind <= highest)
			nodes |= 1u << run->zone[z].node;
	return nodes;
}

static unsigned draw_place(const struct run *run, uint64_t pick)
{
	unsigned flags = 0;

	if (pick % 8 == 0)
		flags = QUIRE_DMA32;
	else if (pick % 8 == 1)
		flags = QUIRE_DEVICE;
	if (pick >> 3 & 1)
		flags |= QUIRE_NODE((pick >> 8) % run->info.nodes);
	if ((pick >> 4 & 3) == 0)
		flags |= QUIRE_THISNODE;
	return flags;
}

static unsigned draw_flags(const struct run *run, uint64_t pick)
{
	static const unsigned types[] = { 0, QUIRE_MOVABLE, QUIRE_RECLAIMABLE,
					  QUIRE_MOVABLE | QUIRE_CMA };
	static const unsigned others[16] = { QUIRE_NORETRY, QUIRE_HIGH,
					     QUIRE_ATOMIC, QUIRE_MEMALLOC,
					     QUIRE_ZERO };
	unsigned flags = types[pick & 3] | others[pick >> 2 & 15];

	flags |= draw_place(run, pick >> 6);
	if (flags & QUIRE_DEVICE)
		flags &= ~QUIRE_ZERO;
	/* Who fails drains all lists: most do not. */
	if (pick >> 32 & 7)
		flags |= QUIRE_NORETRY;
	return flags;
}

/* NULL, or one that can serve such a call. */
static struct quire_policy *draw_policy(struct worker *w, unsigned flags)
{
	struct nodes_own *own = w->run->own;
	struct quire_policy *policy =
		&own->policy[rng_below(&w->rng, POLICIES)];
	enum quire_zone highest = QUIRE_ZONE_NORMAL;

	if (flags & QUIRE_DMA32)
		highest = QUIRE_ZONE_DMA32;
	else if (flags & QUIRE_DEVICE)
		highest = QUIRE_ZONE_DEVICE;
	if (policy->mode == QUIRE_POLICY_BIND &&
	    !(policy->nodes & with_memory(w->run, highest)))
		return NULL;
	return policy;
}

static void take_by_policy(struct worker *w, struct block *block,
			   unsigned order, unsigned flags)
{
	struct quire_policy *policy = draw_policy(w, flags);
	int node;

	if (!block_take_with(w, block, order, flags, policy, 0) || !block->page)
		return;
	node = quire_page_node(w->run->q, block->page);
	if (policy && policy->mode == QUIRE_POLICY_BIND &&
	    !(flags & QUIRE_NODE_MASK) && !(policy->nodes >> node & 1))
		violation("thread %u: bound to nodes 0x%x, flags 0x%x: handed "
			  "pfn %llu of node %d",
			  w->number, policy->nodes, flags,
			  (unsigned long long)quire_page_to_pfn(w->run->q,
								block->page),
			  node);
}

/* Lists are drained all the time, and are to be used, too. */
static void pairs(struct worker *w, unsigned flags)
{
	for (unsigned i = 0; i < PAIRS; i++) {
		struct block block = { 0 };

		if (block_take(w, &block, 0, flags) && block.page)
			block_give(w, &block, 0);
	}
}

static void step(struct worker *w)
{
	uint64_t pick = rng_next(&w->rng);
	struct block *block = &w->slot[pick % WORKER_SLOTS];
	unsigned flags = draw_flags(w->run, pick >> 8), order;

	pick = rng_next(&w->rng);
	order = (unsigned)(pick >> 8) % (pick & 15 ? 4 : 11);
	if (block->page) {
		block_give(w, block, pick);
		return;
	}
	pick >>= 16;
	if (w->run->nr_players <= THREADS_FEW)
		pairs(w, flags & (QUIRE_MOVABLE | QUIRE_RECLAIMABLE));
	switch (pick % 16) {
	case 0:
		block_take_exact(w, block, 1 + (uint32_t)(pick >> 8) % 700,
				 flags);
		break;
	case 1:
		block_take_bulk(w, &block, 1, order, flags);
		break;
	case 2:
	case 3:
	case 4:
	case 5:
	case 6:
		take_by_policy(w, block, order, flags);
		break;
	default:
		block_take(w, block, order & 3,
			   flags & (QUIRE_MOVABLE | QUIRE_RECLAIMABLE));
		break;
	}
}

static void nodes_round(struct worker *w)
{
	struct run *run = w->run;
	struct worker *next = &run->workers[(w->number + 1) % run->nr_players];

	for (unsigned i = 0; i < run->steps / 2; i++)
		step(w);
	run_meet(run);
	for (unsigned i = 0; i < WORKER_SLOTS; i += 3)
		while (next->slot[i].page)
			block_give(w, &next->slot[i], rng_next(&w->rng));
}

/* --- what changes --- */

/* EBUSY is told, and is right for a large live block. */
static bool set_mobility(const struct run *run, uint64_t block,
			 enum quire_mobility type)
{
	const struct nodes_own *own = run->own;
	int got, missing;

	violation_expect(1);
	got = quire_set_mobility(run->q, own->first + block * BLOCK_PAGES,
				 BLOCK_PAGES, type);
	missing = (int)violation_missing();
	if (got == 0 ? missing != 1 : missing || errno != EBUSY)
		violation("set_mobility: block %llu, %s: returned %d, errno %d",
			  (unsigned long long)block, quire_mobility_name(type),
			  got, errno);
	return got == 0;
}

/* Not what is kept until the next standstill. */
static void change_block(struct worker *w)
{
	static const enum quire_mobility types[] = { QUIRE_TYPE_UNMOVABLE,
						     QUIRE_TYPE_MOVABLE,
						     QUIRE_TYPE_RECLAIMABLE,
						     QUIRE_TYPE_CMA };
	struct nodes_own *own = w->run->own;
	uint64_t block = rng_below(&w->reply, own->blocks);

	if (own->kept[block])
		return;
	set_mobility(w->run, block, QUIRE_TYPE_ISOLATED);
	set_mobility(w->run, block, types[rng_below(&w->reply, 4)]);
	count(&w->events, 1);
}

static void nodes_help(struct worker *w)
{
	struct run *run = w->run;
	/* Each change drains all lists: they are to be used, too. */
	const struct timespec pause = { .tv_nsec = PAUSE_NS };
	uint8_t d[NODES * NODES];

	while (run_busy(run)) {
		draw_distances(&w->reply, run->info.nodes, d);
		if (quire_set_distances(run->q, d) != 0)
			violation("set_distances: errno %d", errno);
		change_block(w);
		nanosleep(&pause, NULL);
	}
}

/* --- while all stand still --- */

/* Nothing is parked: what is not held is in its zone. */
static void check_home(const struct run *run)
{
	if (quire_drain_all(run->q) != 0)
		violation("drain: errno %d", errno);
	for (unsigned z = 0; z < run->info.zones; z++) {
		struct quire_zone_info info;
		uint64_t held;

		quire_zone_info(run->q, z, &info, sizeof(info));
		held = shadow_held_in(run->shadow, info.first_pfn, info.pages);
		if (info.free + held != info.pages)
			violation("zone %s of node %u: %llu free and %llu held "
				  "of %llu pages",
				  quire_zone_name(info.kind), info.node,
				  (unsigned long long)info.free,
				  (unsigned long long)held,
				  (unsigned long long)info.pages);
	}
}

/* Free pages that calls of a node find in its NORMAL zone; 0: it has none. */
static uint64_t plenty_in(const struct run *run, unsigned node)
{
	for (unsigned z = 0; z < run->info.zones; z++) {
		struct quire_zone_info i;
		uint64_t kept;

		quire_zone_info(run->q, z, &i, sizeof(i));
		kept = i.high + i.boost + i.reserve[QUIRE_ZONE_NORMAL] +
		       i.free_type[QUIRE_TYPE_CMA] +
		       i.free_type[QUIRE_TYPE_ISOLATED] +
		       i.free_type[QUIRE_TYPE_HIGHATOMIC];
		if (i.node == node && i.kind == QUIRE_ZONE_NORMAL)
			return i.free > kept ? i.free - kept : 0;
	}
	return 0;
}

/* A node with enough serves its own calls. */
static void check_nearest(struct worker *w)
{
	const struct run *run = w->run;

	for (unsigned node = 0; node < run->info.nodes; node++) {
		struct block block = { 0 };
		int got;

		if (plenty_in(run, node) < BLOCK_PAGES)
			continue;
		if (!block_take(w, &block, 0, QUIRE_NODE(node)) || !block.page)
			continue;
		got = quire_page_node(run->q, block.page);
		if (got != (int)node)
			violation("node %u has enough, but its call was served "
				  "by node %d",
				  node, got);
		block_give(w, &block, 0);
	}
}

static void give_back_block(const struct run *run, uint64_t block)
{
	struct nodes_own *own = run->own;

	own->kept[block] = own->cma[block] ? KEPT_FOR_CMA : 0;
	set_mobility(run, block,
		     own->cma[block] ? QUIRE_TYPE_CMA : QUIRE_TYPE_UNMOVABLE);
}

static void nodes_still(struct worker *w)
{
	struct nodes_own *own = w->run->own;
	uint64_t n = 0;

	check_home(w->run);
	check_nearest(w);
	for (uint64_t i = 0; i < own->blocks; i++)
		if (own->kept[i] == KEPT_FOR_NONE && rng_next(&w->reply) & 1)
			give_back_block(w->run, i);
	for (uint64_t i = 0; i < own->blocks; i++)
		n += own->kept[i] == KEPT_FOR_NONE;
	for (; n < own->blocks / ISOLATED_PART; n++) {
		uint64_t i = rng_below(&w->reply, own->blocks);

		if (own->kept[i] == KEPT_FOR_NONE ||
		    !set_mobility(w->run, i, QUIRE_TYPE_ISOLATED))
			continue;
		own->kept[i] = KEPT_FOR_NONE;
		count(&w->events, 1);
	}
}

/* All blocks are again what they were. */
static void nodes_empty(struct worker *w)
{
	const struct run *run = w->run;
	const struct nodes_own *own = run->own;

	for (uint64_t i = 0; i < own->blocks; i++)
		if (own->kept[i] ||
		    quire_mobility(run->q, own->first + i * BLOCK_PAGES) >=
			    QUIRE_TYPE_HIGHATOMIC)
			give_back_block(run, i);
}

/* --- set up and take down --- */

static void draw_policies(const struct run *run, struct nodes_own *own)
{
	struct rng rng = { ~run->seed };
	uint32_t all = (1u << run->info.nodes) - 1;

	for (unsigned i = 0; i < POLICIES; i++) {
		struct quire_policy *policy = &own->policy[i];

		policy->mode = (enum quire_policy_mode)(i % 5);
		if (policy->mode == QUIRE_POLICY_LOCAL)
			continue;
		policy->nodes = (uint32_t)rng_next(&rng) & all;
		if (!policy->nodes)
			policy->nodes = all;
		for (unsigned n = 0; n < NODES; n++)
			policy->weight[n] = (uint8_t)rng_below(&rng, 5);
	}
}

static bool nodes_init(struct run *run)
{
	struct nodes_own *own = calloc(1, sizeof(*own));

	run->own = own;
	if (!own)
		return false;
	own->first = run->info.first_pfn & ~UINT64_C(511);
	own->blocks = (run->info.first_pfn + run->info.pages - own->first) /
		      BLOCK_PAGES;
	own->cma = calloc(2, own->blocks);
	if (!own->cma)
		return false;
	own->kept = own->cma + own->blocks;
	run->kept = own->kept;
	for (uint64_t i = 0; i < own->blocks; i++) {
		own->cma[i] =
			quire_mobility(run->q, own->first + i * BLOCK_PAGES) ==
			QUIRE_TYPE_CMA;
		own->kept[i] = own->cma[i] ? KEPT_FOR_CMA : 0;
	}
	draw_policies(run, own);
	return true;
}

static void nodes_fini(struct run *run)
{
	struct nodes_own *own = run->own;

	free(own->cma);
	free(own);
}

const struct mode mode_nodes = {
	.name = "nodes",
	.attacks = "Four nodes of random sizes and distances, with DMA32, "
		   "NORMAL, MOVABLE and DEVICE zones and CMA blocks; calls "
		   "with all flags of places and types and all policies, frees "
		   "by other CPUs, while an extra thread changes distances and "
		   "what blocks are there for. Finds pages from where a call "
		   "may not have them, pages that go to another zone than "
		   "they came from, and pages of isolated blocks handed out.",
	.events = "blocks changed",
	.promise = PROMISE_NONE,
	.zones = 1,
	.decay_ms = 20,
	.round = nodes_round,
	.help = nodes_help,
	.still = nodes_still,
	.empty = nodes_empty,
	.options = nodes_options,
	.init = nodes_init,
	.fini = nodes_fini,
};
