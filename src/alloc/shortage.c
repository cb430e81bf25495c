/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Short of pages: nothing is left above the min watermark (page_alloc.c), less
 * what the flags allow. Then an allocation does in turn:
 *   1. drains every CPU, and asks once more, high-atomic reserves dissolved;
 *   2. has shrinkers free pages, and asks, a few times;
 *   3. waits in the queue (wait_queue.c), or fails.
 * Reserves hold: no step goes below the floor that the flags allow.
 *
 * Failure. Before an allocation fails, every CPU's lists and owned blocks of
 * every zone are taken and given to the zones, and these are asked again while
 * nobody can park pages (see pcp.c, transit): a failure is true at a moment
 * inside the call.
 *
 * No lock is held while shrinkers run, or by who waits. A shrinker may fork,
 * and its child return here: in the child the queue and the promises were
 * reset, and shared memory is the parent's.
 */
#include "alloc/shortage.h"

#include <errno.h>

#include "base/report.h"
#include "base/schedule.h"
#include "platform/platform.h"

/* Rounds of shrinkers that one allocation goes through (Linux:
 * MAX_RECLAIM_RETRIES). */
enum { RECLAIM_TRIES = 16 };
/* Pages that are asked of shrinkers at least, as Linux's SWAP_CLUSTER_MAX. */
enum { RECLAIM_PAGES = 32 };
/* QUIRE_NOFAIL reclaims again when it has waited for that long. */
enum { NOFAIL_WAIT_MS = 100 };

/* --- everything held --- */

/* High-atomic reserves of the zones allowed, a block at a time. */
static bool unreserve_held(struct quire *q, const struct want *want)
{
	bool some = false;

	for (unsigned z = 0; z < q->nr_zones; z++)
		if (want_may_use(want, q->zone[z]) &&
		    zone_unreserve_locked(q->zone[z], want->ask.type))
			some = true;
	return some;
}

/* The same, no zone's lock held. */
static bool unreserve(struct quire *q, const struct want *want)
{
	bool some = false;

	for (unsigned z = 0; z < q->nr_zones; z++) {
		if (!want_may_use(want, q->zone[z]))
			continue;
		zone_lock(q->zone[z]);
		if (zone_unreserve_locked(q->zone[z], want->ask.type))
			some = true;
		zone_unlock(q->zone[z]);
	}
	return some;
}

/*
 * Every free page is in the zones and the zones stand still: were they asked
 * one after the other, a page could be freed in the first and the last of the
 * second taken meanwhile.
 */
static bool alloc_held(struct quire *q, struct want *want, pfn_t *pfn)
{
	bool ok, more = false;

	schedule_point();
	allocator_hold(q);
	for (unsigned z = 0; z < q->nr_zones; z++)
		zone_lock(q->zone[z]);
	/* What was freed without a lock since the first was taken. */
	for (unsigned z = 0; z < q->nr_zones; z++)
		zone_settle_locked(q->zone[z]);
	while (!(ok = want_alloc(q, want, WATERMARK_MIN, &want_ask_held,
				 pfn)) &&
	       unreserve_held(q, want))
		more = true;
	for (unsigned z = 0; z < q->nr_zones; z++)
		zone_unlock(q->zone[z]);
	allocator_release(q);
	/* What was reserved may be what others wait for. */
	if (more)
		wait_queue_notify(&q->page_waiters);
	return ok;
}

/* --- reclaim --- */

/* The nearest of *nodes, which is taken out. */
static unsigned next_node(const struct quire *q, const struct want *want,
			  uint32_t *nodes)
{
	unsigned node = nodes_nearest(q->nodes, want->from.node, *nodes);

	*nodes &= ~(UINT32_C(1) << node);
	return node;
}

/* Pages that shrinkers say they freed; 0 also if there are none. */
static uint64_t reclaim(struct quire *q, const struct want *want, unsigned node)
{
	uint64_t (*hook)(struct quire *, const struct quire_shrink *) =
		atomic_load_explicit(&q->hooks.reclaim, memory_order_acquire);
	const uint64_t pages = want_pages(want);
	const struct quire_shrink shrink = {
		.q = q,
		.node = node,
		.order = want->ask.order,
		.pages = pages < RECLAIM_PAGES ? RECLAIM_PAGES : pages,
	};

	return hook ? hook(q, &shrink) : 0;
}

/* Node by node, the nearest first. *more: some say that they freed pages, and
 * could free others. */
static bool alloc_reclaiming_once(struct quire *q, struct want *want,
				  pfn_t *pfn, bool *more)
{
	uint32_t nodes = want_reclaim_nodes(q, want);

	*more = false;
	while (nodes) {
		if (!reclaim(q, want, next_node(q, want, &nodes)))
			continue;
		if (q->forked)
			return false;
		if (want_alloc(q, want, WATERMARK_MIN, &want_ask, pfn) ||
		    alloc_held(q, want, pfn))
			return true;
		*more = true;
	}
	return false;
}

static bool alloc_reclaiming(struct quire *q, struct want *want, pfn_t *pfn)
{
	bool more = true;

	for (unsigned i = 0; i < RECLAIM_TRIES && more; i++)
		if (alloc_reclaiming_once(q, want, pfn, &more))
			return true;
	return false;
}

/* --- waiting --- */

/* (c) constant, (l) queue's lock while it waits */
struct page_waiter {
	struct waiter waiter;
	struct quire *q;   /* (c) */
	struct want *want; /* (l) but what the call names */
	pfn_t pfn;	   /* (l) once it is served */
};

static struct page_waiter *page_waiter(const struct waiter *waiter)
{
	return (struct page_waiter *)(uintptr_t)waiter;
}

/* What somebody waits for; not to be asked of lists, which are shut. */
static bool serve_waiter(struct waiter *waiter)
{
	struct page_waiter *w = page_waiter(waiter);

	do
		if (want_alloc(w->q, w->want, WATERMARK_MIN, &want_ask,
			       &w->pfn))
			return true;
	while (unreserve(w->q, w->want));
	return false;
}

/* What could not be had for one need not be asked for again for the next. */
static bool waits_for_as_much(const struct waiter *waiter,
			      const struct waiter *failed)
{
	return want_covers(page_waiter(waiter)->want,
			   page_waiter(failed)->want);
}

/* Somebody who must not fail helps himself meanwhile. */
static void reclaim_for_waiter(struct waiter *waiter)
{
	struct page_waiter *w = page_waiter(waiter);
	uint32_t nodes = want_reclaim_nodes(w->q, w->want);

	while (nodes)
		reclaim(w->q, w->want, next_node(w->q, w->want, &nodes));
}

static const struct wait_ops wait_ops = { .serve = serve_waiter,
					  .covers = waits_for_as_much };
static const struct wait_ops nofail_ops = {
	.serve = serve_waiter,
	.covers = waits_for_as_much,
	.idle = reclaim_for_waiter,
	.idle_ns = UINT64_C(1000000) * NOFAIL_WAIT_MS,
};

/*
 * Lists are shut while somebody waits, from after the queue has its length to
 * after it has none: what is freed goes to the zones, nothing is parked where
 * nobody looks. Who shuts or opens has the drain lock and goes by the length as
 * it is then. False, with errno: they cannot be shut.
 */
static bool shut_by_length(struct quire *q)
{
	bool shut, ok = true;

	lock_acquire(&q->drain_lock);
	shut = wait_queue_length(&q->page_waiters) != 0;
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

/* Not by the zonelist, which can be another one when it is taken back. */
static void owe(struct quire *q, const struct want *want, uint64_t pages)
{
	for (unsigned z = 0; z < q->nr_zones; z++)
		if (want_may_hold(want, q->zone[z]))
			atomic_fetch_add_explicit(&q->zone[z]->owed, pages,
						  memory_order_relaxed);
}

/* False, with errno: ETIMEDOUT; ENOMEM: lists cannot be shut. */
static bool wait_shut(struct quire *q, struct page_waiter *me,
		      const struct wait_ops *ops, uint64_t timeout_ns)
{
	struct wait_queue *queue = &q->page_waiters;
	bool shut, served;

	wait_queue_join(queue, &me->waiter);
	shut = shut_by_length(q);
	served = shut ? wait_queue_wait(queue, &me->waiter, ops, timeout_ns)
		      : wait_queue_leave(queue, &me->waiter);
	if (wait_queue_length(queue) == 0)
		shut_by_length(q);
	errno = shut ? ETIMEDOUT : ENOMEM;
	return served;
}

static bool wait_for_pages(struct quire *q, struct want *want, unsigned wait_ms,
			   pfn_t *pfn)
{
	struct page_waiter me = { .q = q, .want = want };
	const uint64_t pages = want_pages(want);
	const uint64_t ms = wait_ms ? wait_ms : q->wait_ms;
	const unsigned forks = q->forks;
	bool ok;

	atomic_fetch_add_explicit(&q->waits, 1, memory_order_relaxed);
	want->in_line = true;
	/* Calls that do not wait could take each page before the listener has
	 * woken up. These stay free for others' floors. */
	owe(q, want, pages);
	if (want->flags & QUIRE_NOFAIL)
		ok = wait_shut(q, &me, &nofail_ops, UINT64_MAX);
	else
		ok = wait_shut(q, &me, &wait_ops, ms * UINT64_C(1000000));
	if (q->forks == forks)
		owe(q, want, -pages);
	want->in_line = false;
	*pfn = me.pfn;
	/* A child that shares the memory has no claim on what it was served. */
	ok = ok && !q->forked;
	if (!ok)
		atomic_fetch_add_explicit(&q->timeouts, 1,
					  memory_order_relaxed);
	return ok;
}

/* --- in turn --- */

/* Whether some zone allowed could hold such a block at all. */
static bool fits_a_zone(const struct quire *q, const struct want *want)
{
	for (unsigned z = 0; z < q->nr_zones; z++)
		if (want_may_hold(want, q->zone[z]))
			return true;
	return false;
}

static bool fail(struct quire *q, int error)
{
	atomic_fetch_add_explicit(&q->failures, 1, memory_order_relaxed);
	errno = error;
	return false;
}

/* Nobody waits for what cannot come. */
static bool refuse_to_wait(struct quire *q, const struct want *want)
{
	report(&q->reporter,
	       "alloc: order %u, flags 0x%x: no zone it may use could ever "
	       "hold it",
	       want->ask.order, want->flags);
	return fail(q, EINVAL);
}

bool shortage_alloc(struct quire *q, struct want *want, unsigned wait_ms,
		    pfn_t *pfn)
{
	if (want->flags & QUIRE_NOLOCK)
		return fail(q, EAGAIN);
	if (want->flags & QUIRE_NORETRY)
		return fail(q, ENOMEM);
	if (!fits_a_zone(q, want))
		return want->flags & (QUIRE_WAIT | QUIRE_NOFAIL)
			       ? refuse_to_wait(q, want)
			       : fail(q, ENOMEM);
	if (alloc_held(q, want, pfn))
		return true;
	if (want->flags & QUIRE_ATOMIC || alloc_in_reclaim())
		return fail(q, ENOMEM);
	if (alloc_reclaiming(q, want, pfn))
		return true;
	if (allocator_check_fork(q) != 0)
		return fail(q, errno);
	if (!(want->flags & (QUIRE_WAIT | QUIRE_NOFAIL)))
		return fail(q, ENOMEM);
	while (!wait_for_pages(q, want, wait_ms, pfn)) {
		if (!(want->flags & QUIRE_NOFAIL) ||
		    allocator_check_fork(q) != 0)
			return fail(q, errno);
		/* Lists that cannot be shut may be drained the next time. */
		platform_nap();
		if (alloc_held(q, want, pfn))
			return true;
	}
	return true;
}
