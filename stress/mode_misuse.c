/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * misuse: calls that must be refused, thrown in all the time. Each is reported
 * and harms nobody.
 *
 * A free is only wrong for certain while nobody else can have been handed the
 * page. So every worker has bad calls for the blocks it holds, on the allocator
 * that is under load; and an allocator with QUIRE_CHECK_RACE for itself and its
 * neighbour, its duel, where the two free the same block at once: one of them
 * must be refused. There the second of two frees by one thread is refused too.
 */
#include <errno.h>
#include <stdlib.h>

#include "blocks.h"

enum { DUELS = 64, BAD_EVERY = 4 };

struct duel {
	struct quire *q;
	struct quire_page *page;
	_Atomic unsigned accepted, reported;
};

static struct duel *duel_of(const struct worker *w)
{
	return (struct duel *)w->run->own + w->number / 2;
}

static void count_report(void *arg, const char *message)
{
	struct duel *duel = arg;

	(void)message;
	atomic_fetch_add(&duel->reported, 1);
}

static void expect(struct worker *w, const char *what, unsigned found,
		   unsigned expected)
{
	if (found != expected)
		violation("thread %u: %s: %u, should be %u", w->number, what,
			  found, expected);
}

/* The first of two takes a block, both free it at once, one succeeds. */
static void fight(struct worker *w, uint64_t pick)
{
	struct duel *duel = duel_of(w);
	bool first = w->number % 2 == 0;
	bool alone = first && w->number + 1 == w->run->nr_players;
	unsigned order = (unsigned)(pick % 4);

	if (first) {
		duel->page = quire_alloc_pages(duel->q, order, 0);
		atomic_store(&duel->accepted, 0);
		atomic_store(&duel->reported, 0);
	}
	run_meet(w->run);
	if (quire_free_pages(duel->q, duel->page, order) == 0)
		atomic_fetch_add(&duel->accepted, 1);
	if (alone && quire_free_pages(duel->q, duel->page, order) == 0)
		atomic_fetch_add(&duel->accepted, 1);
	run_meet(w->run);
	if (first) {
		expect(w, "frees accepted of two of one block",
		       atomic_load(&duel->accepted), 1);
		expect(w, "reports", atomic_load(&duel->reported), 1);
		count(&w->events, 1);
	}
	count(&w->ops, 1);
}

static void misuse_round(struct worker *w)
{
	/* Neighbours fight with blocks of one order. */
	struct rng order = { w->run->seed + w->run->round };

	for (unsigned i = 0; i < w->run->steps; i++) {
		blocks_step(w);
		if (i % BAD_EVERY == 0 && blocks_misuse(w))
			count(&w->events, 1);
		if (i % (w->run->steps / DUELS + 1) == 0)
			fight(w, rng_next(&order));
	}
}

static bool misuse_init(struct run *run)
{
	unsigned n = (run->nr_players + 1) / 2;
	struct duel *duels = calloc(n, sizeof(*duels));

	run->own = duels;
	for (unsigned i = 0; duels && i < n; i++) {
		struct quire_options o = QUIRE_OPTIONS_INIT;

		o.size = UINT64_C(4) << 20;
		o.flags = QUIRE_CHECK_RACE;
		/* Its threads stand in for CPUs of the other one. */
		o.way = run->way == QUIRE_WAY_RSEQ ? QUIRE_WAY_RSEQ
						   : QUIRE_WAY_TRYLOCK;
		o.report = count_report;
		o.report_arg = &duels[i];
		duels[i].q = quire_create(&o);
		if (!duels[i].q)
			return false;
	}
	return duels;
}

static void misuse_fini(struct run *run)
{
	struct duel *duels = run->own;

	for (unsigned i = 0; i < (run->nr_players + 1) / 2; i++)
		if (quire_validate(duels[i].q) || quire_destroy(duels[i].q))
			violation("the allocator of duel %u is not sound", i);
	free(duels);
}

const struct mode mode_misuse = {
	.name = "misuse",
	.attacks =
		"Bad frees, gets and puts of every kind, and two threads that "
		"free one block at the same moment (QUIRE_CHECK_RACE). Finds "
		"one that is not refused, or not reported, or that does "
		"harm.",
	.events = "bad calls",
	.promise = PROMISE_PAGES,
	.zones = 2,
	.round = misuse_round,
	.init = misuse_init,
	.fini = misuse_fini,
};
