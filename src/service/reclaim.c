/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reclaim: rounds over the shrinkers, for an allocation that falls short, a
 * node below its watermarks, or who asks.
 *
 * Model. The loop is Linux's (mm/vmscan.c, mm/shrinker.c). A call goes over all
 * shrinkers at priority 12, then 11, down to 0. Each says how many pages it
 * could free, n, and is asked for n >> priority of them, one batch at least; so
 * large caches give more than small ones, and nobody is emptied while others
 * were not asked. Unlike Linux it ends as soon as enough was freed, for what a
 * scan is asked for here is pages, not objects that may stay: so that the first
 * shrinker is not the only one, each call begins with another one.
 *
 * Shrinkers are not believed. What they say is cut to the allocator's pages,
 * which ends each loop and bounds each sum; a call is 13 rounds at most, and
 * whoever balances a node looks at its watermarks, not at what it was told.
 *
 * Inside a shrinker nothing of this happens again. No lock is held.
 */
#include "service/reclaim.h"

#include <errno.h>

#include "alloc/want.h"
#include "base/report.h"
#include "service/shrinker.h"

/* As in Linux: DEF_PRIORITY, SHRINK_BATCH, MAX_RECLAIM_RETRIES. */
enum { PRIORITY = 12, BATCH = 128, FRUITLESS = 16 };

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* --- a call --- */

struct call {
	struct quire_shrink want;
	uint64_t pages;	  /* the allocator's: none has more */
	uint64_t freed;	  /* as they say */
	uint64_t stopped; /* bits of those that cannot go on */
	bool asked, more; /* somebody was; has something left */
};

static bool call_done(const struct call *call)
{
	return call->freed >= call->want.pages;
}

static void ask(struct call *call, struct quire_shrinker *s, uint64_t bit)
{
	uint64_t batch = s->batch ? s->batch : BATCH, n, left;

	call->asked = true;
	n = least(s->count(s, &call->want), call->pages);
	left = n >> call->want.priority;
	if (left < batch)
		left = least(batch, n);
	if (n)
		call->more = true;
	while (left && !call_done(call)) {
		uint64_t now = least(least(left, batch),
				     call->want.pages - call->freed);
		uint64_t freed = s->scan(s, &call->want, now);

		if (freed == QUIRE_SHRINK_STOP) {
			call->stopped |= bit;
			return;
		}
		call->freed += least(freed, call->pages);
		left -= now;
	}
}

/* A shrinker_ask. */
static bool ask_once(void *arg, struct quire_shrinker *shrinker, uint64_t bit)
{
	struct call *call = arg;

	if (!(call->stopped & bit)) {
		alloc_enter_reclaim();
		ask(call, shrinker, bit);
		alloc_leave_reclaim();
	}
	return !call_done(call);
}

/* The reclaim hook. Returns the pages that shrinkers say they freed. */
static uint64_t shrink(struct quire *q, const struct quire_shrink *want)
{
	struct call call = { .want = *want, .more = true };
	unsigned first;
	int error = errno;

	if (alloc_in_reclaim() || !shrinker_turn(q, &first))
		return 0;
	call.pages = q->map.region.end - q->map.region.first;
	call.want.pages = least(want->pages, call.pages);
	for (unsigned p = PRIORITY + 1;
	     p-- > 0 && call.more && !call_done(&call);) {
		call.want.priority = p;
		call.more = false;
		shrinker_walk(q, first, ask_once, &call);
	}
	if (call.asked) {
		atomic_fetch_add_explicit(&q->reclaims, 1,
					  memory_order_relaxed);
		atomic_fetch_add_explicit(&q->reclaimed, call.freed,
					  memory_order_relaxed);
	}
	errno = error;
	return call.freed;
}

/* --- watermarks --- */

/*
 * If high cannot be reached boosts are over, too, or caches would be emptied
 * for them for ever. What was freed may be parked in per-CPU lists, where no
 * watermark counts it.
 */
bool reclaim_balance(struct quire *q, unsigned node,
		     bool (*stopped)(const void *arg), const void *arg)
{
	uint64_t missing = allocator_shortfall(q, node);
	unsigned fruitless = 0;

	while (missing && !(stopped && stopped(arg))) {
		const struct quire_shrink want = { .q = q,
						   .node = node,
						   .pages = missing };
		uint64_t freed = shrink(q, &want), before = missing;

		missing = allocator_shortfall(q, node);
		if (missing) {
			quire_drain_all(q);
			missing = allocator_shortfall(q, node);
		}
		if (missing < before)
			fruitless = 0;
		else if (freed == 0 || ++fruitless == FRUITLESS) {
			allocator_balanced(q, node);
			return false;
		}
	}
	if (missing == 0)
		allocator_balanced(q, node);
	return true;
}

/* Whether a shrinker was ever to be registered. */
static bool is_used(struct quire *q)
{
	return atomic_load_explicit(&q->hooks.reclaim, memory_order_relaxed);
}

void reclaim_maintain(struct quire *q)
{
	if (!is_used(q) || alloc_in_reclaim())
		return;
	for (unsigned node = 0; node < q->nodes->nr; node++)
		if (allocator_is_low(q, node))
			reclaim_balance(q, node, NULL, NULL);
}

/* --- quire.h --- */

int quire_shrinker_register(struct quire *q, struct quire_shrinker *shrinker)
{
	if (allocator_check_fork(q) != 0)
		return -1;
	/* First: a child of a fork in between has a shrinker that is called. */
	atomic_store_explicit(&q->hooks.reclaim, shrink, memory_order_release);
	return shrinker_register(q, shrinker);
}

int64_t quire_reclaim(struct quire *q, unsigned node, uint64_t pages)
{
	const struct quire_shrink want = { .q = q,
					   .node = node,
					   .pages = pages };

	if (allocator_check_fork(q) != 0)
		return -1;
	if (node >= q->nodes->nr) {
		report(&q->reporter, "reclaim: node %u of %u", node,
		       q->nodes->nr);
		errno = EINVAL;
		return -1;
	}
	return (int64_t)shrink(q, &want);
}
