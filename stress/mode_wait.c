/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wait: calls that wait for pages. An extra thread, the keeper, takes all that
 * is free and lets go of it again by every way there is: by any call, in runs,
 * without a lock, in the handler of a signal that interrupts a waiter or who
 * else is in a call. Rounds take turns:
 *  - storm: the keeper lets go of some and takes others, as it comes; threads
 *    wait a few milliseconds for blocks of several orders, or for good, or do
 *    not wait, and free. Each gets a block or runs out of time, not before it
 *    is over and not long after.
 *  - duel: the keeper lets go of as many pages as threads wait for one, and no
 *    page more until so many were served. One thread asks all the time and does
 *    not wait: it gives back at once what it gets, and pages that are owed to
 *    others it must hardly ever get.
 * A page that is free and a thread that sleeps is a wake-up that was lost.
 * While all stand still nobody is in line, so lists are open: a pair goes
 * through them.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "blocks.h"
#include "ring.h"

enum { STORM, DUEL, NR_VARIANTS };
enum { STORM_STEPS = 150, DUEL_STEPS = 48, SLOTS = 16, PAIRS = 200 };
enum { STORM_MS = 12, DUEL_MS = 60000, IN_LINE_NS = 1000000 };
/* Of one that is let go of, or of the keeper at once. */
enum { ORDER_MAX = 3, BURST = 32 };
enum { GROWTHS = 8, GROWTH = 400 };
/* Longer than any thread is kept off its CPU. */
static const uint64_t late = UINT64_C(6000000000);
/* Of a hundred times that pages are owed, those that others may get one. */
enum { STOLEN_MAX = 25, STOLEN_FEW = 100 };

/* A block for a signal handler to free; (a) full: the handler's turn. */
struct mail {
	_Atomic bool full; /* (a) */
	struct block block;
};

/* (a) atomic, (k) the keeper's */
struct wait_own {
	struct block *hoard; /* (k) */
	size_t n;	     /* (k) */
	struct worker *shades;
	struct mail *mail;		 /* by player */
	_Atomic bool *wants;		 /* (a) by player: in a duel */
	_Atomic unsigned ready;		 /* (a) players in this round */
	_Atomic bool dry;		 /* (a) all pages are taken */
	_Atomic bool owed;		 /* (a) what is let go of now is */
	uint64_t duels;			 /* (k) times that it was */
	_Atomic uint64_t served, stolen; /* (a) in duels; stolen: owed */
	_Atomic uint64_t timeouts;	 /* (a) as calls say */
	bool has_lists;
};

static _Thread_local struct wait_own *mine;
static _Thread_local unsigned me;

static int the_signal(void)
{
	return SIGRTMIN + 1;
}

static void nap(uint64_t ns)
{
	const struct timespec time = { .tv_nsec = (long)ns };

	nanosleep(&time, NULL);
}

static void on_mail(int number)
{
	struct wait_own *own = mine;
	int error = errno;

	(void)number;
	if (own && atomic_load(&own->mail[me].full)) {
		struct block block = own->mail[me].block;

		block_give_nolock(&own->shades[me], &block);
		atomic_store(&own->mail[me].full, false);
	}
	errno = error;
}

/* --- waiting --- */

static bool wait_for(struct worker *w, struct block *block, unsigned order,
		     unsigned flags, unsigned ms)
{
	struct wait_own *own = w->run->own;
	uint64_t start = run_ns(), most = ms * UINT64_C(1000000), took;
	bool got = block_take_with(w, block, order, flags, NULL, ms);

	took = run_ns() - start;
	if (!got && errno == ETIMEDOUT) {
		atomic_fetch_add(&own->timeouts, 1);
		if (took < most)
			violation("thread %u: out of time after %llu of %u ms",
				  w->number, (unsigned long long)took / 1000000,
				  ms);
	} else if (!got) {
		violation("thread %u: waited for order %u, flags 0x%x: errno "
			  "%d",
			  w->number, order, flags, errno);
	}
	if (took > most + late && !(flags & QUIRE_NOFAIL))
		violation("thread %u: waited %llu ms, and %u were the most",
			  w->number, (unsigned long long)took / 1000000, ms);
	count(&w->events, 1);
	return got;
}

static void give_somehow(struct worker *w, struct block *block, uint64_t pick)
{
	switch (pick % 4) {
	case 0:
		block_give_nolock(w, block);
		break;
	case 1:
		if (block->order == 0) {
			block_give_exact(w, block);
			break;
		}
		/* fallthrough */
	default:
		block_give(w, block, pick / 4);
		break;
	}
}

static void storm_step(struct worker *w)
{
	uint64_t pick = rng_next(&w->rng);
	struct block *block = &w->slot[pick % SLOTS];
	unsigned order = pick >> 8 & 1 ? 0 : (pick >> 9) % (ORDER_MAX + 1);
	unsigned flags = pick >> 16 & 3 ? 0 : flags_of_type(w->run, pick >> 18);

	pick >>= 32;
	if (block->page)
		give_somehow(w, block, pick);
	else if (pick % 8 == 0)
		block_take(w, block, order, flags | QUIRE_NORETRY);
	else if (pick % 8 == 1)
		block_take(w, block, order, flags);
	else if (pick % 8 == 2 && w->number == 0)
		/* The keeper lets go of every page some day. */
		wait_for(w, block, 0, flags | QUIRE_NOFAIL, 0);
	else
		wait_for(w, block, order, flags | QUIRE_WAIT,
			 1 + (unsigned)(pick >> 8) % STORM_MS);
}

static void duel_step(struct worker *w, struct block *block)
{
	struct wait_own *own = w->run->own;

	atomic_store(&own->wants[w->number], true);
	wait_for(w, block, 0, QUIRE_WAIT, DUEL_MS);
	atomic_store(&own->wants[w->number], false);
	atomic_fetch_add(&own->served, 1);
}

/* Until the last of the others has done. */
static void steal(struct worker *w)
{
	struct wait_own *own = w->run->own;
	struct block block = { 0 };

	for (unsigned i = 0; atomic_load(&w->run->busy) > 1; i++) {
		if (!block_take(w, &block, 0, i % 16 ? QUIRE_NORETRY : 0))
			continue;
		if (atomic_exchange(&own->owed, false))
			atomic_fetch_add(&own->stolen, 1);
		give_somehow(w, &block, rng_next(&w->reply));
	}
}

static void play(struct worker *w)
{
	struct run *run = w->run;

	if (run->round % NR_VARIANTS == STORM) {
		for (unsigned i = 0; i < STORM_STEPS && !violations(); i++)
			storm_step(w);
	} else if (w->number && w->number + 1 == run->nr_players) {
		steal(w);
	} else {
		blocks_give_all(w);
		for (unsigned i = 0; i < DUEL_STEPS && !violations(); i++)
			duel_step(w, &w->slot[i]);
	}
}

/* Whether lists serve a pair; the thread may be moved in the midst of one. */
static bool lists_serve(struct worker *w)
{
	struct quire_stat before, after;

	quire_stat(w->run->q, &before, sizeof(before));
	for (unsigned i = 0; i < PAIRS; i++) {
		struct block block = { 0 };

		if (block_take(w, &block, 0, 0))
			block_give(w, &block, 0);
	}
	quire_stat(w->run->q, &after, sizeof(after));
	return after.pcp_allocs > before.pcp_allocs;
}

static void wait_round(struct worker *w)
{
	struct wait_own *own = w->run->own;

	me = w->number;
	mine = own;
	if (w->number == 0 && w->run->round == 0)
		own->has_lists = lists_serve(w);
	atomic_fetch_add(&own->ready, 1);
	while (!atomic_load(&own->dry))
		nap(20000);
	play(w);
	/* Others may still wait for what it has. */
	for (unsigned i = 0; i < WORKER_SLOTS; i++)
		if (w->slot[i].page)
			give_somehow(w, &w->slot[i], rng_next(&w->reply));
}

/* --- the keeper --- */

static void take_all(struct worker *w, struct wait_own *own, unsigned flags,
		     size_t most)
{
	size_t wanted = BULK_MAX, got = wanted, sum = 0;

	while (got == wanted && sum < most) {
		struct block *blocks[BULK_MAX];

		for (size_t i = 0; i < BULK_MAX; i++)
			blocks[i] = &own->hoard[own->n + i];
		if (most - sum < wanted)
			wanted = most - sum;
		got = block_take_bulk(w, blocks, wanted, 0, flags);
		own->n += got;
		sum += got;
	}
}

/* Its lists are large then, and shrink while they are shut. */
static void grow_lists(struct worker *w)
{
	struct wait_own *own = w->run->own;

	for (unsigned i = 0; i < GROWTHS; i++) {
		size_t n = own->n < GROWTH ? own->n : GROWTH;

		for (size_t k = 0; k < n; k++)
			block_give(w, &own->hoard[--own->n], 0);
		take_all(w, own, 0, n);
	}
}

static void send(struct worker *w, unsigned player, const struct block *block)
{
	struct wait_own *own = w->run->own;

	own->mail[player].block = *block;
	atomic_store(&own->mail[player].full, true);
	if (syscall(SYS_tgkill, getpid(), w->run->workers[player].tid,
		    the_signal()) != 0)
		violation("tgkill: errno %d", errno);
}

/* One page. */
static void let_go(struct worker *w, uint64_t pick)
{
	struct wait_own *own = w->run->own;
	size_t i = (pick >> 32) % own->n;
	struct block block = own->hoard[i];
	unsigned player = (unsigned)(pick >> 8) % w->run->nr_players;

	own->hoard[i] = own->hoard[--own->n];
	/* ThreadSanitizer holds signals back until a thread calls libc. */
	if (!RING_TSAN && pick & 1 && !atomic_load(&own->mail[player].full))
		send(w, player, &block);
	else
		give_somehow(w, &block, pick >> 1 & 127);
	if ((pick >> 16) % 64 == 0 && quire_drain_all(w->run->q) != 0)
		violation("drain: errno %d", errno);
	if ((pick >> 22) % 16 == 0)
		quire_maintain(w->run->q);
}

static void keep_in_storm(struct worker *w)
{
	struct wait_own *own = w->run->own;

	while (run_busy(w->run)) {
		uint64_t pick = rng_next(&w->reply);

		for (unsigned i = 0; i < pick % BURST && own->n; i++)
			let_go(w, rng_next(&w->reply));
		if (pick >> 8 & 1)
			nap((pick >> 16) % 100000);
		if (pick >> 9 & 1)
			take_all(w, own, QUIRE_NORETRY, (pick >> 10) % BURST);
	}
}

static unsigned nr_waiting(const struct run *run)
{
	const struct wait_own *own = run->own;
	unsigned n = 0;

	for (unsigned i = 0; i < run->nr_players; i++)
		n += atomic_load(&own->wants[i]);
	return n;
}

/* So many were served, or nobody is left to be. */
static void see_served(struct worker *w, uint64_t served)
{
	struct wait_own *own = w->run->own;
	uint64_t start = run_ns();

	while (atomic_load(&own->served) < served && nr_waiting(w->run)) {
		struct quire_stat stat;

		if (run_ns() - start < late) {
			nap(10000);
			continue;
		}
		quire_stat(w->run->q, &stat, sizeof(stat));
		violation("%llu pages were let go of, %llu are free and %llu "
			  "parked, and of %u threads that wait %llu were not "
			  "served: a wake-up was lost",
			  (unsigned long long)(served -
					       atomic_load(&own->served)),
			  (unsigned long long)stat.pages_free,
			  (unsigned long long)stat.pages_parked,
			  nr_waiting(w->run),
			  (unsigned long long)(served -
					       atomic_load(&own->served)));
		return;
	}
}

static void keep_in_duel(struct worker *w)
{
	struct wait_own *own = w->run->own;

	while (run_busy(w->run)) {
		uint64_t served = atomic_load(&own->served);
		unsigned n = nr_waiting(w->run);

		if (n == 0 || own->n < n) {
			nap(10000);
			continue;
		}
		if (rng_next(&w->reply) & 1) {
			/* They are in line then. */
			nap(IN_LINE_NS);
			own->duels++;
			atomic_store(&own->owed, true);
		} else if (rng_next(&w->reply) & 3) {
			nap(rng_below(&w->reply, 200000));
		}
		n = 1 + (unsigned)rng_below(&w->reply, n);
		for (unsigned i = 0; i < n; i++)
			let_go(w, rng_next(&w->reply));
		see_served(w, served + n);
		atomic_store(&own->owed, false);
	}
}

/* What handlers did is the keeper's from now on. */
static void merge(struct worker *w, struct worker *shade)
{
	count(&w->ops, counted(&shade->ops));
	count(&w->held, counted(&shade->held));
	w->frees += shade->frees;
	atomic_store(&shade->ops, 0);
	atomic_store(&shade->held, 0);
	shade->frees = 0;
}

static void wait_help(struct worker *w)
{
	struct run *run = w->run;
	struct wait_own *own = run->own;

	while (atomic_load(&own->ready) < run->nr_players)
		nap(20000);
	take_all(w, own, 0, run->info.pages);
	grow_lists(w);
	atomic_store(&own->dry, true);
	if (run->round % NR_VARIANTS == STORM)
		keep_in_storm(w);
	else
		keep_in_duel(w);
	for (unsigned i = 0; i < run->nr_players; i++) {
		while (atomic_load(&own->mail[i].full))
			nap(20000);
		merge(w, &own->shades[i]);
	}
	while (own->n)
		give_somehow(w, &own->hoard[--own->n], rng_next(&w->reply));
	atomic_store(&own->dry, false);
	atomic_store(&own->ready, 0);
}

/* --- while all stand still --- */

static void wait_still(struct worker *w)
{
	struct wait_own *own = w->run->own;
	uint64_t stolen = atomic_load(&own->stolen);
	struct quire_stat stat;

	quire_stat(w->run->q, &stat, sizeof(stat));
	if (stat.timeouts != atomic_load(&own->timeouts))
		violation("%llu timeouts, and calls say %llu",
			  (unsigned long long)stat.timeouts,
			  (unsigned long long)atomic_load(&own->timeouts));
	if (own->has_lists && !lists_serve(w))
		violation("nobody waits, and no list serves: they stayed shut");
	if (own->duels < STOLEN_FEW)
		return;
	if (stolen > own->duels * STOLEN_MAX / 100)
		violation("%llu times pages were let go of for threads in "
			  "line, and %llu times who did not wait got one",
			  (unsigned long long)own->duels,
			  (unsigned long long)stolen);
	own->duels = 0;
	atomic_store(&own->stolen, 0);
}

/* --- set up and take down --- */

static bool wait_init(struct run *run)
{
	struct sigaction act = { .sa_handler = on_mail,
				 .sa_flags = SA_RESTART };
	struct wait_own *own = calloc(1, sizeof(*own));
	size_t bytes = run->nr_players * sizeof(struct worker);

	run->own = own;
	if (!own)
		return false;
	own->hoard = calloc(run->info.pages + BULK_MAX, sizeof(*own->hoard));
	own->shades = aligned_alloc(_Alignof(struct worker), bytes);
	own->mail = calloc(run->nr_players, sizeof(*own->mail));
	own->wants = calloc(run->nr_players, sizeof(*own->wants));
	if (!own->hoard || !own->shades || !own->mail || !own->wants)
		return false;
	memset(own->shades, 0, bytes);
	for (unsigned i = 0; i < run->nr_players; i++) {
		own->shades[i].run = run;
		own->shades[i].number = run->nr_workers + i;
	}
	return sigaction(the_signal(), &act, NULL) == 0;
}

static void wait_fini(struct run *run)
{
	struct wait_own *own = run->own;

	free(own->wants);
	free(own->mail);
	free(own->shades);
	free(own->hoard);
	free(own);
}

const struct mode mode_wait = {
	.name = "wait",
	.attacks =
		"An extra thread takes all pages and lets go of a few at a "
		"time by every way there is, also in signal handlers; the "
		"others wait in line for them, one asks without waiting. Finds "
		"wake-ups that are lost: a page is free, and who waits for it "
		"sleeps; calls that come back too early or late; pages that "
		"others get before those who wait; lists that stay shut.",
	.events = "waits",
	.promise = PROMISE_NONE,
	.zones = 1,
	.decay_ms = 10,
	.round = wait_round,
	.help = wait_help,
	.still = wait_still,
	.init = wait_init,
	.fini = wait_fini,
};
