/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The line: calls that wait for pages, in the order they came.
 *
 * Model. A waiter joins at the end. Blocks are handed to waiters, who do not
 * race for them: whoever serves the line asks the zones for each waiter in
 * turn, and what one wants that cannot be had does not keep the next from what
 * can. One listens for all: it is parked on the bell, which every free rings
 * that brings pages to a zone, and serves when it rings; the others sleep on
 * words of their own until they are served, or listen. So a free costs one
 * wake-up at most, takes no lock of the line's, and can be a signal handler's.
 * The listener is the first in line who is not away: who must not fail calls
 * shrinkers now and then, which may take their time.
 *
 * Protocol.
 *  1. A waiter is in line (length counts it) before the lists are shut, and
 *     these are shut, with the fence of pcp.c, before it asks. From then on
 *     what is freed goes to the zones: nothing is parked where nobody looks.
 *  2. No wake-up is lost. A free puts its block under the zone's lock, then
 *     reads length. A waiter has set length, then asks under the zone's lock.
 *     If the free had the lock first, the block is found; else it sees the
 *     length and rings. A free without the lock has a full fence between its
 *     push and the look at length, as line_wait() has after joining: one of
 *     the two sees the other.
 *  3. The bell is read before the line is served, and parked on with that
 *     value: what rings later makes the park return at once.
 *  4. A listener that leaves, or goes away, makes another one listen, and wakes
 *     it; that one serves before it sleeps. Where nobody was left, who joins or
 *     comes back listens. A waiter is not touched after `state` says it is
 *     served.
 *  5. Lists are opened again by the last one to leave. Who shuts or opens has
 *     the drain lock and goes by length as it is then.
 *
 * Calls that do not wait could take each page before the listener has
 * woken up: pages that waiters want are owed to them (zone->owed), and stay
 * free for others' floors.
 */
#include "instance/line.h"

#include <errno.h>
#include <limits.h>

#include "alloc/want.h"
#include "base/schedule.h"
#include "platform/platform.h"

enum waiter_state { WAITER_WAITS, WAITER_LISTENS, WAITER_SERVED };

/* (l) line lock, (a) atomic */
struct waiter {
	struct waiter *next, *before; /* (l) */
	struct want *want;	      /* (l) while it is in the line */
	pfn_t pfn;		      /* (l) once it is served */
	bool away;		      /* (l) calls idle() */
	_Atomic uint32_t state;	      /* (a) enum waiter_state: parked on */
};

void line_init(struct line *line)
{
	*line = (struct line){ .first = NULL };
	lock_init(&line->lock, LOCK_RANK_LINE);
}

void line_ring_slow(struct line *line)
{
	/* release: with the acquire in line_wait(), what was freed before. */
	atomic_fetch_add_explicit(&line->bell, 1, memory_order_release);
	platform_unpark(&line->bell, INT_MAX);
}

/* --- the line's lock held --- */

static void set_length(struct line *line, uint32_t length)
{
	atomic_store_explicit(&line->length, length, memory_order_relaxed);
}

/* release: with the acquire in state_of(). */
static void tell(struct waiter *waiter, enum waiter_state state)
{
	_Atomic uint32_t *word = &waiter->state;

	atomic_store_explicit(word, state, memory_order_release);
	platform_unpark(word, 1);
}

static enum waiter_state state_of(const struct waiter *waiter)
{
	return atomic_load_explicit(&waiter->state, memory_order_acquire);
}

static void choose_listener(struct line *line)
{
	struct waiter *at = line->first;

	while (at && at->away)
		at = at->next;
	line->listener = at;
	if (at)
		tell(at, WAITER_LISTENS);
}

static void append(struct line *line, struct waiter *waiter)
{
	waiter->before = line->last;
	if (line->last)
		line->last->next = waiter;
	else
		line->first = waiter;
	line->last = waiter;
	atomic_init(&waiter->state, WAITER_WAITS);
	set_length(line, line_length(line) + 1);
	if (!line->listener)
		choose_listener(line);
}

static void take_out(struct line *line, struct waiter *waiter)
{
	if (waiter->next)
		waiter->next->before = waiter->before;
	else
		line->last = waiter->before;
	if (waiter->before)
		waiter->before->next = waiter->next;
	else
		line->first = waiter->next;
	set_length(line, line_length(line) - 1);
	if (line->listener == waiter)
		choose_listener(line);
}

/* What could not be had for one need not be asked for again for the next. */
static bool wants_as_much(const struct waiter *waiter,
			  const struct waiter *failed)
{
	return failed && want_covers(waiter->want, failed->want);
}

/* Everybody who can be served is. */
static void serve(struct quire *q, struct line *line,
		  bool (*try)(struct quire *q, struct want *want, pfn_t *pfn))
{
	const struct waiter *failed = NULL;
	struct waiter *next;

	lock_acquire(&line->lock);
	for (struct waiter *at = line->first; at; at = next) {
		bool listens = at == line->listener;

		next = at->next;
		if (wants_as_much(at, failed))
			continue;
		schedule_point();
		if (!try(q, at->want, &at->pfn)) {
			failed = at;
			continue;
		}
		take_out(line, at);
		tell(at, WAITER_SERVED);
		if (listens)
			line_ring_slow(line);
	}
	lock_release(&line->lock);
}

/* --- shutting the lists --- */

/* Lists are shut while there is a line; false, with errno: they cannot be. */
static bool shut_by_length(struct quire *q)
{
	bool shut, ok = true;

	lock_acquire(&q->drain_lock);
	shut = line_length(&q->line) != 0;
	if (shut != q->shut) {
		ok = allocator_hold_locked(q, shut);
		for (unsigned z = 0; z < q->nr_zones; z++)
			pcp_shut(q->pcp[z], shut && ok);
		for (unsigned z = 0; z < q->nr_zones; z++)
			pcp_release_all(q->pcp[z]);
		q->shut = shut && ok;
	}
	lock_release(&q->drain_lock);
	return ok;
}

/* --- waiting --- */

/* Leaves the line, if it was not served before. */
static bool leave(struct line *line, struct waiter *me)
{
	bool served;

	lock_acquire(&line->lock);
	served = state_of(me) == WAITER_SERVED;
	if (!served)
		take_out(line, me);
	lock_release(&line->lock);
	return served;
}

static void park(struct line *line, struct waiter *me, uint32_t bell,
		 uint64_t ns)
{
	bool listens = state_of(me) == WAITER_LISTENS;

	schedule_point();
	if (listens)
		platform_park_for(&line->bell, bell, ns);
	else
		platform_park_for(&me->state, WAITER_WAITS, ns);
}

/* Somebody else listens meanwhile. False in the child of a fork. */
static bool go_away(struct quire *q, struct waiter *me,
		    void (*idle)(struct quire *q, struct want *want))
{
	struct line *line = &q->line;
	const unsigned forks = q->forks;

	lock_acquire(&line->lock);
	me->away = true;
	if (line->listener == me) {
		tell(me, WAITER_WAITS);
		choose_listener(line);
	}
	lock_release(&line->lock);
	idle(q, me->want);
	if (q->forks != forks)
		return false;
	lock_acquire(&line->lock);
	me->away = false;
	if (!line->listener)
		choose_listener(line);
	lock_release(&line->lock);
	return true;
}

/* In line, lists shut: until it is served, or the time is over. False if it is
 * in no line any more: in the child of a fork. */
static bool wait_for_turn(struct quire *q, struct waiter *me,
			  const struct line_wish *wish)
{
	struct line *line = &q->line;
	uint64_t start = platform_ns(), passed = 0, idle = wish->idle_ns;

	for (;;) {
		uint32_t bell =
			atomic_load_explicit(&line->bell, memory_order_acquire);
		uint64_t left = wish->timeout_ns - passed;

		serve(q, line, wish->try);
		if (state_of(me) == WAITER_SERVED || passed >= wish->timeout_ns)
			return true;
		if (wish->idle && left > wish->idle_ns)
			left = wish->idle_ns;
		park(line, me, bell, left);
		passed = platform_ns() - start;
		if (!wish->idle || passed < idle)
			continue;
		if (!go_away(q, me, wish->idle))
			return false;
		passed = platform_ns() - start;
		idle = passed + wish->idle_ns;
	}
}

bool line_wait(struct quire *q, struct want *want, const struct line_wish *wish,
	       pfn_t *pfn)
{
	struct line *line = &q->line;
	struct waiter me = { .want = want };
	bool served, shut, here = true;

	lock_acquire(&line->lock);
	append(line, &me);
	lock_release(&line->lock);
	/* Point 2: with the fence in take_back() of page_alloc.c. */
	atomic_thread_fence(memory_order_seq_cst);
	schedule_point();
	shut = shut_by_length(q);
	if (shut)
		here = wait_for_turn(q, &me, wish);
	served = here && leave(line, &me);
	*pfn = me.pfn;
	if (line_length(line) == 0)
		shut_by_length(q);
	errno = shut ? ETIMEDOUT : ENOMEM;
	return served;
}
