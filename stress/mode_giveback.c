/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * giveback: an extra thread gives free memory back to the system, by all calls
 * that do, and asks for hugepages again, as fast as it can. Rounds take turns:
 *  - churn: blocks of all orders, every third one zeroed, so few of them that
 *    2 MiB blocks become free all the time. What was stamped must be as it was,
 *    what was asked for zeroed must be zero, whoever had it and however it came
 *    back;
 *  - fill: threads take exactly all pages, 1/N each, while free blocks are out
 *    of their zone on their way to the system: nobody may fail.
 * When all is given back, all that was used goes to the system, once.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "blocks.h"

enum { CHURN, FILL, NR_VARIANTS };
enum { SLOTS = 48, ORDER_MAX = 10, FILLS = 4 };

/* (a) atomic */
struct giveback_own {
	_Atomic bool holds_back; /* (a) nothing is to go just now */
	struct block **hoard;	 /* by player, what it holds in a fill */
};

static void giveback_options(const struct run *run, struct quire_options *o)
{
	struct rng rng = { run->seed + (uint64_t)run->way };
	uint64_t pick = rng_next(&rng);

	o->give_back = pick & 1 ? QUIRE_GIVE_FREE : QUIRE_GIVE_DONTNEED;
	o->give_delay_ms = 1;
	o->give_floor = pick & 2 ? o->size / 4 : 0;
	o->give_rate = pick & 4 ? UINT64_C(1) << 30 : 0;
}

static void churn(struct worker *w)
{
	uint64_t pick = rng_next(&w->rng);
	struct block *block = &w->slot[pick % SLOTS];
	unsigned flags = pick >> 8 & 3 ? 0 : flags_of_type(w->run, pick >> 10);
	unsigned order = (unsigned)(pick >> 20) % (ORDER_MAX + 1);

	if (pick >> 32 & 7)
		order %= 3;
	if ((pick >> 36) % 3 == 0)
		flags |= QUIRE_ZERO;
	if (block->page)
		block_give(w, block, pick >> 40);
	else if (pick >> 40 & 7)
		block_take(w, block, order, flags);
	else
		block_take_exact(w, block, 1 + (uint32_t)(pick >> 44) % 600,
				 flags);
}

/* All blocks are wholly free then, and will be out of their zone at once. */
static void gather(struct worker *w)
{
	struct giveback_own *own = w->run->own;

	atomic_store(&own->holds_back, true);
	run_meet(w->run);
	if (w->number == 0 && quire_drain_all(w->run->q) != 0)
		violation("drain: errno %d", errno);
	run_meet(w->run);
}

/* A share of all pages, and back. */
static void fill(struct worker *w)
{
	struct giveback_own *own = w->run->own;
	struct block *hoard = own->hoard[w->number];
	uint64_t start = rng_below(&w->rng, w->share / 2 + 1);
	size_t n = 0;

	blocks_give_all(w);
	gather(w);
	w->promise = PROMISE_PAGES;
	for (uint64_t i = 0; i < w->share; i++) {
		if (i == start)
			atomic_store(&own->holds_back, false);
		if (block_take(w, &hoard[n], 0,
			       rng_next(&w->rng) % 8 ? 0 : QUIRE_ZERO))
			n++;
	}
	w->promise = PROMISE_NONE;
	while (n)
		block_give(w, &hoard[--n], rng_next(&w->rng));
}

static void giveback_round(struct worker *w)
{
	if (w->run->round % NR_VARIANTS == FILL) {
		for (unsigned i = 0; i < FILLS; i++)
			fill(w);
		return;
	}
	for (unsigned i = 0; i < w->run->steps / 2; i++)
		churn(w);
}

static void giveback_help(struct worker *w)
{
	struct run *run = w->run;
	struct giveback_own *own = run->own;
	bool collapses = true;

	while (run_busy(run)) {
		uint64_t pick = rng_next(&w->reply);
		int64_t bytes = 0;

		if (atomic_load(&own->holds_back)) {
			sched_yield();
			continue;
		}
		if (pick % 16 == 0 && collapses) {
			collapses = quire_collapse(run->q) >= 0;
			if (!collapses && errno != ENOTSUP)
				violation("collapse: errno %d", errno);
		} else if (pick % 2) {
			bytes = quire_give_back(
				run->q, pick >> 8 & 1 ? pick >> 40
						      : run->info.pages << 12);
		} else if (quire_maintain(run->q) < 0) {
			violation("maintain: errno %d", errno);
		}
		if (bytes < 0)
			violation("give_back: errno %d", errno);
		if (bytes > 0)
			count(&w->events, (uint64_t)bytes >> 21);
	}
}

/* All is free: what was used goes, and has gone then. */
static void giveback_empty(struct worker *w)
{
	const uint64_t all = w->run->info.pages << QUIRE_PAGE_SHIFT;
	struct quire *q = w->run->q;
	struct quire_stat before, after;
	int64_t first, second;

	if (quire_drain_all(q) != 0)
		violation("drain: errno %d", errno);
	quire_stat(q, &before, sizeof(before));
	first = quire_give_back(q, all);
	second = quire_give_back(q, all);
	quire_stat(q, &after, sizeof(after));
	if (first < 0 || second != 0 ||
	    after.given_back - before.given_back != (uint64_t)first)
		violation("give_back of all gave %lld bytes, then %lld; "
			  "counted %llu",
			  (long long)first, (long long)second,
			  (unsigned long long)(after.given_back -
					       before.given_back));
}

static bool giveback_init(struct run *run)
{
	struct giveback_own *own = calloc(1, sizeof(*own));

	run->own = own;
	if (!own)
		return false;
	own->hoard = calloc(run->nr_players, sizeof(*own->hoard));
	if (!own->hoard)
		return false;
	for (unsigned i = 0; i < run->nr_players; i++) {
		struct worker *w = &run->workers[i];

		/* The extra thread takes none. */
		w->share = run->info.pages / run->nr_players;
		own->hoard[i] = calloc(w->share, sizeof(**own->hoard));
		if (!own->hoard[i])
			return false;
	}
	return true;
}

static void giveback_fini(struct run *run)
{
	struct giveback_own *own = run->own;

	for (unsigned i = 0; i < run->nr_players; i++)
		free(own->hoard[i]);
	free(own->hoard);
	free(own);
}

const struct mode mode_giveback = {
	.name = "giveback",
	.attacks =
		"An extra thread gives free memory back to the system and "
		"asks for hugepages again as fast as it can, while others use "
		"it, and fight for the last pages. Finds memory that went back "
		"though somebody had it, that is taken for zero and is not, "
		"and allocations that fail while blocks are out.",
	.events = "2 MiB blocks given back",
	.promise = PROMISE_NONE,
	.zones = 1,
	.decay_ms = 20,
	.round = giveback_round,
	.help = giveback_help,
	.empty = giveback_empty,
	.options = giveback_options,
	.init = giveback_init,
	.fini = giveback_fini,
};
