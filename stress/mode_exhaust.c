/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exhaust: threads fight for the last pages. With N threads that take 1/N each
 * nobody may see ENOMEM, wherever the free pages are parked or on their way;
 * and when all are taken, everybody must.
 *
 * Rounds take turns:
 *  - singles: each takes its share page by page;
 *  - bulk: the same by bulk calls;
 *  - mixed: larger orders first, half of what is left each. All threads end one
 *    order before the next: then what is free lies in aligned runs of the
 *    larger order, and the smaller one fits whatever they did;
 *  - turnover: every page is live, and each frees a few and takes as many.
 * Each then gives back the blocks of its neighbour.
 */
#include <errno.h>
#include <stdlib.h>

#include "blocks.h"

enum { SINGLES, BULK, MIXED, TURNOVER, NR_VARIANTS };
enum { TURNOVER_MAX = 3 };

/* A worker's blocks; its own, but between barriers its neighbour's. */
struct hoard {
	struct block *blocks;
	size_t size, n;
	uint64_t share; /* pages */
};

static struct hoard *hoard_of(const struct worker *w)
{
	return (struct hoard *)w->run->own + w->number;
}

static void hoard_take(struct worker *w, struct hoard *h, unsigned order,
		       size_t n)
{
	while (n--)
		if (block_take(w, &h->blocks[h->n], order, 0))
			h->n++;
}

static void hoard_take_bulk(struct worker *w, struct hoard *h, size_t n)
{
	while (n) {
		struct block *blocks[BULK_MAX];
		size_t now = 1 + rng_below(&w->rng, BULK_MAX);

		if (now > n)
			now = n;
		for (size_t i = 0; i < now; i++)
			blocks[i] = &h->blocks[h->n + i];
		h->n += block_take_bulk(w, blocks, now, 0, 0);
		n -= now;
	}
}

static void hoard_take_mixed(struct worker *w, struct hoard *h)
{
	static const unsigned orders[] = { 9, 5, 3, 1 };
	uint64_t left = h->share;

	for (unsigned i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		uint64_t n = left / 2 >> orders[i];

		hoard_take(w, h, orders[i], n);
		left -= n << orders[i];
		run_meet(w->run);
	}
	hoard_take(w, h, 0, left);
}

static void hoard_give_one(struct worker *w, struct hoard *h)
{
	size_t i = rng_below(&w->rng, h->n);

	block_give(w, &h->blocks[i], rng_next(&w->rng));
	h->blocks[i] = h->blocks[--h->n];
}

static void turn_over(struct worker *w, struct hoard *h)
{
	for (unsigned i = 0; i < w->run->steps / TURNOVER_MAX; i++) {
		size_t n = 1 + rng_below(&w->rng, TURNOVER_MAX), given = 0;

		for (; given < n && h->n; given++)
			hoard_give_one(w, h);
		hoard_take(w, h, 0, given);
	}
}

/* All pages are live: nobody can have one more. */
static void ask_for_more(struct worker *w)
{
	struct block more = { 0 };

	w->promise = PROMISE_NONE;
	if (block_take(w, &more, 0, 0)) {
		violation("thread %u: handed pfn %llu when all pages were live",
			  w->number,
			  (unsigned long long)quire_page_to_pfn(w->run->q,
								more.page));
		block_give(w, &more, 0);
	}
	count(&w->events, 1);
	w->promise = w->run->mode->promise;
}

static void exhaust_round(struct worker *w)
{
	struct run *run = w->run;
	struct hoard *h = hoard_of(w);
	unsigned variant = run->round % NR_VARIANTS;

	if (variant == BULK)
		hoard_take_bulk(w, h, h->share);
	else if (variant == MIXED)
		hoard_take_mixed(w, h);
	else
		hoard_take(w, h, 0, h->share);
	run_meet(run);
	ask_for_more(w);
	run_meet(run);
	if (variant == TURNOVER)
		turn_over(w, h);
	run_meet(run);
	h = (struct hoard *)run->own + (w->number + 1) % run->nr_players;
	while (h->n)
		hoard_give_one(w, h);
}

static bool exhaust_init(struct run *run)
{
	struct hoard *hoards = calloc(run->nr_players, sizeof(*hoards));
	uint64_t share = run->info.pages / run->nr_players;

	run->own = hoards;
	if (!hoards)
		return false;
	for (unsigned i = 0; i < run->nr_players; i++) {
		struct hoard *h = &hoards[i];

		h->share = share;
		if (i == 0)
			h->share += run->info.pages % run->nr_players;
		h->blocks = calloc(h->share, sizeof(*h->blocks));
		if (!h->blocks)
			return false;
	}
	return true;
}

static void exhaust_fini(struct run *run)
{
	struct hoard *hoards = run->own;

	for (unsigned i = 0; i < run->nr_players; i++)
		free(hoards[i].blocks);
	free(hoards);
}

const struct mode mode_exhaust = {
	.name = "exhaust",
	.attacks = "Threads take exactly all pages there are, 1/N each, by "
		   "single, bulk and mixed calls, and swap the last ones among "
		   "each other. Finds false failures: ENOMEM while free pages "
		   "are parked or on their way.",
	.events = "true ENOMEM",
	.promise = PROMISE_ALL,
	.zones = 1,
	.round = exhaust_round,
	.init = exhaust_init,
	.fini = exhaust_fini,
};
