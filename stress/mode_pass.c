/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pass: pages cross threads. A worker takes blocks and sends each to another
 * one, which frees it, keeps it for a while, or passes it on: frees happen on
 * other CPUs than allocations, and lists run full on one side and empty on the
 * other. Each worker has a ring to each of its next PEERS neighbours.
 */
#include <sched.h>
#include <stdlib.h>

#include "blocks.h"
#include "ring.h"

enum { ORDER_MAX = 4, PEERS = 8 };

static unsigned nr_peers(const struct run *run)
{
	unsigned others = run->nr_players - 1;

	if (others == 0)
		return 1; /* itself */
	return others < PEERS ? others : PEERS;
}

static struct ring *ring_to(const struct run *run, unsigned from, unsigned peer)
{
	return (struct ring *)run->own + (size_t)from * PEERS + peer;
}

/* The ring from the worker that has this one as its peer of that number. */
static struct ring *ring_from(const struct worker *w, unsigned peer)
{
	unsigned players = w->run->nr_players;

	return ring_to(w->run, (w->number + 2 * players - 1 - peer) % players,
		       peer);
}

/* To a peer, if its ring has room; else back at once. */
static bool pass_on(struct worker *w, struct block *block, uint64_t pick)
{
	unsigned peer = (unsigned)(pick >> 32) % nr_peers(w->run);
	bool sent = ring_put(ring_to(w->run, w->number, peer), block);

	if (!sent)
		block_give(w, block, pick);
	block->page = NULL;
	return sent;
}

/* Slots in use: so few that all threads' fill a part of the memory only. */
static unsigned nr_kept(const struct worker *w)
{
	uint64_t n = (w->share >> (ORDER_MAX + 1)) + 1;

	return n < WORKER_SLOTS ? (unsigned)n : WORKER_SLOTS;
}

static void receive(struct worker *w, struct block *block)
{
	uint64_t pick = rng_next(&w->reply);
	struct block *slot = &w->slot[pick % nr_kept(w)];

	count(&w->events, 1);
	switch (pick >> 32 & 3) {
	case 0:
		block_adopt(w, block);
		pass_on(w, block, rng_next(&w->reply));
		break;
	case 1:
		if (slot->page)
			block_give(w, slot, pick >> 16);
		block_adopt(w, block);
		*slot = *block;
		break;
	default:
		block_give(w, block, pick >> 16);
		break;
	}
}

static void receive_all(struct worker *w, unsigned peer)
{
	struct ring *ring = ring_from(w, peer);
	struct block block;

	while (ring_get(ring, &block))
		receive(w, &block);
}

static unsigned draw_order(struct worker *w)
{
	uint64_t pick = rng_next(&w->rng);

	return pick & 1 ? 0 : (unsigned)(pick >> 32) % (ORDER_MAX + 1);
}

static void pass_round(struct worker *w)
{
	struct run *run = w->run;
	struct block block = { 0 };

	for (unsigned i = 0; i < run->steps; i++) {
		unsigned order = draw_order(w);
		uint64_t pick = rng_next(&w->rng);

		/* Let the peer run before the ring is full again. */
		if (block_take(w, &block, order, 0) &&
		    !pass_on(w, &block, pick))
			sched_yield();
		receive_all(w, i % nr_peers(run));
	}
	/* Nothing is on its way when all stand still: what comes in is freed
	 * when nobody sends any more. */
	run_meet(run);
	for (unsigned peer = 0; peer < nr_peers(run); peer++) {
		struct ring *ring = ring_from(w, peer);

		while (ring_get(ring, &block)) {
			block_give(w, &block, rng_next(&w->reply));
			count(&w->events, 1);
		}
	}
}

static bool pass_init(struct run *run)
{
	size_t n = (size_t)run->nr_players * PEERS;
	struct ring *rings = calloc(n, sizeof(*rings));

	run->own = rings;
	for (size_t i = 0; rings && i < n; i++)
		ring_init(&rings[i]);
	return rings;
}

static void pass_fini(struct run *run)
{
	free(run->own);
}

const struct mode mode_pass = {
	.name = "pass",
	.attacks = "Every block crosses to another thread over a ring and is "
		   "freed, kept or passed on there. Finds what depends on a "
		   "page's coming back to the CPU it came from, and writes "
		   "that its next holder does not see.",
	.events = "received",
	.promise = PROMISE_NONE,
	.zones = 1,
	.round = pass_round,
	.init = pass_init,
	.fini = pass_fini,
};
