/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exact: runs of any length, given back in parts. A run of n pages is n blocks
 * of order 0; a worker cuts pieces of any length out of its runs, at either end
 * or in the middle, frees each by a call of its own, and so leaves other runs.
 */
#include "blocks.h"

/* Runs a worker holds at most, and pages of one. */
enum { RUNS = 24, PAGES_MAX = 6000 };

/* Any length up to the most, each power of two as likely as the next. */
static uint32_t draw_pages(struct rng *rng, uint64_t most)
{
	uint64_t r = rng_next(rng);
	uint32_t limit = 1u << (r % 14);

	if (limit > PAGES_MAX)
		limit = PAGES_MAX;
	if (limit > most)
		limit = (uint32_t)most;
	return limit - (uint32_t)((r >> 8) % limit) / 2;
}

static struct block *empty_slot(struct worker *w)
{
	for (unsigned i = 0; i < RUNS; i++)
		if (!w->slot[i].page)
			return &w->slot[i];
	return NULL;
}

/* Pages [at, at + n) of a run go back; what is behind them is another run. */
static void give_piece(struct worker *w, struct block *run, uint64_t pick)
{
	uint32_t pages = run->pages, at = 0, n = pages;
	struct block piece, *rest;

	if (pick & 3) {
		at = (uint32_t)(pick >> 2) % pages;
		n = 1 + (uint32_t)(pick >> 20) % (pages - at);
	}
	piece = block_cut(w, run, at);
	rest = at + n < pages ? empty_slot(w) : NULL;
	if (rest)
		*rest = block_cut(w, &piece, n);
	while (piece.page)
		block_give(w, &piece, pick >> 40 | 1);
}

static void exact_step(struct worker *w)
{
	uint64_t pick = rng_next(&w->rng);
	struct block *block = &w->slot[pick % RUNS];
	uint64_t room = w->share - counted(&w->held);

	if (!block->page) {
		if (room != 0 && room <= w->share)
			block_take_exact(w, block, draw_pages(&w->rng, room),
					 pick >> 8 & 7 ? 0 : QUIRE_ZERO);
		return;
	}
	give_piece(w, block, pick >> 16);
	count(&w->events, 1);
}

static void exact_round(struct worker *w)
{
	for (unsigned i = 0; i < w->run->steps; i++)
		exact_step(w);
}

const struct mode mode_exact = {
	.name = "exact",
	.attacks = "Runs of 1 to 6,000 pages, freed in pieces from either end "
		   "or the middle. Finds tails that are not given back, pages "
		   "of a run that do not merge again, and runs that reach over "
		   "the end of a pageblock or a zone.",
	.events = "pieces",
	.promise = PROMISE_PAGES,
	.zones = 2,
	.round = exact_round,
};
