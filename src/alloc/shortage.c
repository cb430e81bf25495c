/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Short of pages: nothing is left above the min watermark (page_alloc.c), less
 * what the flags allow. Then an allocation does in turn:
 *   1. drains every CPU, and asks once more, high-atomic reserves dissolved;
 *   2. has shrinkers free pages, and asks, a few times;
 *   3. waits in line (line.c), or fails.
 * Reserves hold: no step goes below the floor that the flags allow.
 *
 * Failure. Before an allocation fails, every CPU's lists and owned blocks of
 * every zone are taken and given to the zones, and these are asked again while
 * nobody can park pages (see pcp.c, transit): a failure is true at a moment
 * inside the call.
 *
 * No lock is held while shrinkers run, or by who waits. A shrinker may fork,
 * and its child return here: then the line and what is owed were forgotten, and
 * shared memory is the parent's.
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
		line_ring(&q->line);
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

/* What somebody in line wants; not to be asked of lists, which are shut. */
static bool try_for_waiter(struct quire *q, struct want *want, pfn_t *pfn)
{
	do
		if (want_alloc(q, want, WATERMARK_MIN, &want_ask, pfn))
			return true;
	while (unreserve(q, want));
	return false;
}

/* Not by the zonelist, which can be another one when it is taken back. */
static void owe(struct quire *q, const struct want *want, uint64_t pages)
{
	for (unsigned z = 0; z < q->nr_zones; z++)
		if (want_may_hold(want, q->zone[z]))
			atomic_fetch_add_explicit(&q->zone[z]->owed, pages,
						  memory_order_relaxed);
}

/* Somebody in line who must not fail helps himself meanwhile. */
static void reclaim_for_waiter(struct quire *q, struct want *want)
{
	uint32_t nodes = want_reclaim_nodes(q, want);

	while (nodes)
		reclaim(q, want, next_node(q, want, &nodes));
}

static bool wait_in_line(struct quire *q, struct want *want, unsigned wait_ms,
			 pfn_t *pfn)
{
	const uint64_t pages = want_pages(want);
	const unsigned forks = q->forks;
	const bool nofail = want->flags & QUIRE_NOFAIL;
	const struct line_wish wish = {
		.timeout_ns = nofail ? UINT64_MAX
				     : UINT64_C(1000000) *
					       (wait_ms ? wait_ms : q->wait_ms),
		.try = try_for_waiter,
		.idle = nofail ? reclaim_for_waiter : NULL,
		.idle_ns = UINT64_C(1000000) * NOFAIL_WAIT_MS,
	};
	bool ok;

	atomic_fetch_add_explicit(&q->waits, 1, memory_order_relaxed);
	want->in_line = true;
	owe(q, want, pages);
	ok = line_wait(q, want, &wish, pfn);
	if (q->forks == forks)
		owe(q, want, -pages);
	want->in_line = false;
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
	while (!wait_in_line(q, want, wait_ms, pfn)) {
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
