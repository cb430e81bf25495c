/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * signals: a timer of each worker's interrupts it thousands of times a second,
 * in the midst of sequences, refills and holds of the zone lock, and the
 * handler allocates and frees without waiting.
 *
 * The handler is a worker of its own, its shade, with its own counters and
 * blocks, for what it interrupts is half done. Between rounds, when no signal
 * finds it any more, the shade gives back what it holds and its counters are
 * added to the worker's.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blocks.h"

/* Of more threads than EACH each comes less often: their handlers would leave
 * the CPUs no time for anything else. */
enum { FAST = 2, AGAIN_NS = 40000, EACH = 8 };
/* Of the shade. */
enum { SLOTS = 8, ORDER_MAX = 10, PAGES_MAX = 20 };

static _Thread_local struct worker *shade;
static _Thread_local timer_t timer;
static long again_ns; /* (c) while threads run */

static int the_signal(void)
{
	return SIGRTMIN;
}

/* The thread goes on for so long first, however long the handler took. */
static void again(void)
{
	const struct itimerspec once = { .it_value.tv_nsec = again_ns };

	timer_settime(timer, 0, &once, NULL);
}

static void fill(struct worker *w, struct block *block, uint64_t pick)
{
	unsigned flags = QUIRE_NOLOCK;
	struct block *one = block;

	if (pick % 8 == 0)
		flags |= QUIRE_ZERO;
	if (pick / 8 % 8 == 0)
		flags |= flags_of_type(w->run, pick / 64);
	pick >>= 16;
	switch (pick % 8) {
	case 0:
		block_take_exact(w, block,
				 1 + (uint32_t)(pick >> 8) % PAGES_MAX, flags);
		break;
	case 1:
		block_take_bulk(w, &one, 1, (unsigned)(pick >> 8) % 2, flags);
		break;
	case 2:
		block_take(w, block, (unsigned)(pick >> 8) % (ORDER_MAX + 1),
			   flags);
		break;
	default:
		block_take(w, block, (unsigned)(pick >> 8) % 4, flags);
		break;
	}
}

/* A run page by page: there is no call for more. */
static void give(struct worker *w, struct block *block)
{
	while (block->page) {
		struct block rest = { 0 };

		if (block_count(block) > 1)
			rest = block_cut(w, block, 1);
		block_give_nolock(w, block);
		*block = rest;
	}
}

/* Fills a slot drawn at random, or gives back what it holds. */
static void on_timer(int number)
{
	struct worker *w = shade;
	int error = errno;

	(void)number;
	if (w) {
		uint64_t pick = rng_next(&w->reply);
		struct block *block = &w->slot[pick % SLOTS];

		if (block->page)
			give(w, block);
		else
			fill(w, block, pick >> 8);
		count(&w->events, 1);
		again();
	}
	errno = error;
}

static void mask(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, the_signal());
	pthread_sigmask(how, &set, NULL);
}

static void start_timer(struct worker *w)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID,
				  .sigev_signo = the_signal() };

	event._sigev_un._tid = w->tid;
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) {
		/* The others wait for this thread: no way back. */
		perror("quire-stress: cannot have a timer in each thread");
		exit(2);
	}
	again();
}

/* The shade's deeds are the worker's. */
static void merge(struct worker *w, struct worker *from)
{
	for (unsigned i = 0; i < SLOTS; i++)
		while (from->slot[i].page)
			block_give(from, &from->slot[i], 0);
	count(&w->ops, counted(&from->ops));
	count(&w->events, counted(&from->events));
	count(&w->held, counted(&from->held));
	count(&w->failures, counted(&from->failures));
	w->allocs += from->allocs;
	w->frees += from->frees;
	atomic_store(&from->ops, 0);
	atomic_store(&from->events, 0);
	atomic_store(&from->held, 0);
	atomic_store(&from->failures, 0);
	from->allocs = from->frees = 0;
}

static void signals_round(struct worker *w)
{
	struct worker *own = (struct worker *)w->run->own + w->number;

	mask(SIG_BLOCK);
	start_timer(w);
	shade = own;
	mask(SIG_UNBLOCK);
	for (unsigned i = 0; i < w->run->steps; i++) {
		blocks_step(w);
		for (unsigned k = 0; k < FAST; k++)
			blocks_step_fast(w);
	}
	mask(SIG_BLOCK);
	timer_delete(timer);
	/* One that is still on its way finds nobody. */
	shade = NULL;
	mask(SIG_UNBLOCK);
	merge(w, own);
}

static bool signals_init(struct run *run)
{
	struct sigaction act = { .sa_handler = on_timer,
				 .sa_flags = SA_RESTART };
	size_t bytes = run->nr_players * sizeof(struct worker);
	struct worker *shades = aligned_alloc(_Alignof(struct worker), bytes);

	run->own = shades;
	if (!shades)
		return false;
	memset(shades, 0, bytes);
	for (unsigned i = 0; i < run->nr_players; i++) {
		shades[i].run = run;
		shades[i].number = run->nr_workers + i;
		shades[i].reply.state = ~run->workers[i].rng.state;
		shades[i].share = run->info.pages;
	}
	again_ns = AGAIN_NS * (long)(1 + run->nr_players / EACH);
	return sigaction(the_signal(), &act, NULL) == 0;
}

static void signals_fini(struct run *run)
{
	free(run->own);
}

const struct mode mode_signals = {
	.name = "signals",
	.attacks =
		"A timer interrupts every thread thousands of times a "
		"second, wherever it is, and the handler allocates and frees "
		"without waiting (QUIRE_NOLOCK). Finds sequences that a "
		"handler breaks, locks that it waits for, and pages that "
		"were freed behind a lock and never came back.",
	.events = "signals",
	.promise = PROMISE_NONE,
	.zones = 3,
	.round = signals_round,
	.init = signals_init,
	.fini = signals_fini,
};
