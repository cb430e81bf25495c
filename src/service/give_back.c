/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Giving memory back to the system.
 *
 * Model. Pageblocks that are wholly free and were handed out once have memory
 * that nobody uses. In looks, give_delay_ms / LOOKS apart, zones note which are
 * idle (zone_idle.c); those idle for LOOKS looks go back, in batches, the
 * largest runs and the longest idle first, neighbours with one system call; as
 * many bytes as give_rate allowed to gather since the last time, and not below
 * give_floor bytes that are free and have memory. What refuses to go, a page
 * that the program has locked, keeps its block back and no other. Hugetlb pages
 * stay: they go back to a pool that others may empty, and who touches the block
 * then is killed. So does a region that is pinned, locked, or a device's.
 *
 * A batch is out of its zone while the system call runs, and nobody may fail
 * for want of it: all is done under the drain lock, which an allocation takes
 * before it fails, and who waits in line is told when the blocks are back.
 *
 * MADV_DONTNEED on memory of quire's own, and a punched hole, read as zero from
 * then on, as at the beginning. What a region of the caller's reads as after
 * MADV_DONTNEED depends on what is mapped there, and MADV_FREE may come later
 * or never: these are not known to be zero.
 *
 * A block that went back loses its hugepage and gets base pages when it is used
 * again. quire_collapse() asks for a hugepage once such a block is in full use.
 */
#include "service/give_back.h"

#include <errno.h>

#include "base/report.h"
#include "platform/platform.h"
#include "platform/platform_memory.h"

/* Looks until a block is old enough: it is so after the delay and a quarter of
 * it at most. */
enum { LOOKS = 4 };
/* Blocks that are out of their zone at a time: 64 MiB. */
enum { BATCH = 32 };
/* Blocks that are copied to hugepages under one hold of the drain lock. */
enum { COLLAPSE_BATCH = 4 };
#define PAGEBLOCK_BYTES ((uint64_t)BLOCK_UNITS << QUIRE_PAGE_SHIFT)

static bool can_go_back(const struct quire *q)
{
	return q->give.how && q->map.region.mapped &&
	       q->arena.backing != QUIRE_BACKING_1G &&
	       q->arena.backing != QUIRE_BACKING_2M && !q->arena.locked;
}

static enum platform_give how(const struct quire *q)
{
	switch (q->give.how) {
	case QUIRE_GIVE_FREE:
		return PLATFORM_GIVE_FREE;
	case QUIRE_GIVE_REMOVE:
		return PLATFORM_GIVE_REMOVE;
	default:
		return PLATFORM_GIVE_DONTNEED;
	}
}

/* What went back is as it was when the region began. */
static bool becomes_fresh(const struct quire *q)
{
	return q->give.how == QUIRE_GIVE_REMOVE ||
	       (q->give.how == QUIRE_GIVE_DONTNEED && q->arena.reserved);
}

static void sort_by_number(struct zone_idle *blocks, unsigned n)
{
	for (unsigned i = 1; i < n; i++)
		for (unsigned j = i;
		     j && blocks[j - 1].pageblock > blocks[j].pageblock; j--) {
			struct zone_idle block = blocks[j];

			blocks[j] = blocks[j - 1];
			blocks[j - 1] = block;
		}
}

/* Neighbours from `from` on; returns how many blocks. */
static unsigned run_length(const struct zone_idle *blocks, unsigned from,
			   unsigned n)
{
	unsigned length = 1;

	while (from + length < n && blocks[from + length].pageblock ==
					    blocks[from].pageblock + length)
		length++;
	return length;
}

/* Neighbours; false: at least one refuses. */
static bool give_run(const struct quire *q, const struct zone_idle *blocks,
		     unsigned n)
{
	pfn_t first = (pfn_t)(blocks->pageblock << BLOCK_ORDER);

	return platform_give_back(memmap_virt(&q->map, first),
				  n * PAGEBLOCK_BYTES, how(q)) == 0;
}

/* Blocks that were taken out of their zone; returns bytes that went. Where age
 * counts, one that refuses has to come of age again: others' turn is first. */
static uint64_t give_taken(const struct quire *q, struct zone *zone,
			   const struct zone_idle_ask *ask,
			   struct zone_idle *blocks, unsigned n)
{
	uint64_t bytes = 0;

	sort_by_number(blocks, n);
	for (unsigned i = 0, end; i < n; i = end) {
		unsigned length = run_length(blocks, i, n);
		bool all = give_run(q, blocks + i, length);

		end = i + length;
		for (unsigned j = i; j < end; j++) {
			uint32_t block = blocks[j].pageblock;

			/* One that refuses does not keep its neighbours. */
			if (all || (length > 1 && give_run(q, blocks + j, 1))) {
				zone_put_gone(zone, block, becomes_fresh(q));
				bytes += PAGEBLOCK_BYTES;
			} else {
				zone_put_kept(zone, block,
					      ask->min_age ? ask->look : 0);
			}
		}
	}
	return bytes;
}

/* The best blocks of one zone that were not asked before; *left is what may
 * still go. False: that was all. Drain lock held. */
static bool give_batch(const struct quire *q, struct zone *zone,
		       struct zone_idle_ask *ask, uint64_t *left)
{
	struct zone_idle best[BATCH] = { { 0, 0 } };
	unsigned found = 0, n = 0, wanted = BATCH;

	if (*left / PAGEBLOCK_BYTES < wanted)
		wanted = (unsigned)(*left / PAGEBLOCK_BYTES);
	if (wanted == 0)
		return false;
	ask->look = q->give.look;
	zone_find_idle(zone, ask, best, wanted);
	for (; found < wanted && best[found].rank; found++) {
		ask->after = best[found];
		if (zone_take_idle(zone, best[found].pageblock))
			best[n++] = best[found];
	}
	*left -= give_taken(q, zone, ask, best, n);
	return found == wanted;
}

/* What went back is free, too, but a floor is there to be used at once. */
static uint64_t backed_bytes(struct quire *q)
{
	uint64_t pages = 0;

	for (unsigned z = 0; z < q->nr_zones; z++)
		if (q->zone[z]->kind != QUIRE_ZONE_DEVICE)
			pages += zone_backed_pages(q->zone[z]);
	return pages << QUIRE_PAGE_SHIFT;
}

/* From all zones, batch by batch, until no more may go; the drain lock is free
 * in between. Down the ranks of a zone once: that ends whatever refuses to go,
 * and whoever frees meanwhile. */
static uint64_t give(struct quire *q, unsigned min_age, uint64_t most)
{
	uint64_t left = most;

	for (unsigned z = 0; z < q->nr_zones; z++) {
		struct zone_idle_ask ask = { .min_age = min_age,
					     .after = ZONE_IDLE_TOP };
		bool more;

		if (q->zone[z]->kind == QUIRE_ZONE_DEVICE)
			continue;
		do {
			lock_acquire(&q->drain_lock);
			more = give_batch(q, q->zone[z], &ask, &left);
			lock_release(&q->drain_lock);
			wait_queue_notify(&q->page_waiters);
		} while (more);
	}
	atomic_fetch_add_explicit(&q->given_back, most - left,
				  memory_order_relaxed);
	return most - left;
}

/* What the rate adds. No more than a second's worth gathers, but a block does.
 */
static void allow(struct give_back *g, uint64_t now)
{
	uint64_t most = g->rate, full = 1000, ms, more;

	if (most < PAGEBLOCK_BYTES) {
		most = PAGEBLOCK_BYTES;
		full = most * 1000 / g->rate + 1;
	}
	/* A thread that looked earlier may come later. */
	ms = now > g->last_ms ? now - g->last_ms : 0;
	if (ms > full)
		ms = full;
	more = g->rate / 1000 * ms + g->rate % 1000 * ms / 1000;
	if (more == 0)
		return;
	g->last_ms = now;
	/* What was not used may have come back meanwhile. */
	if (g->allowed > most)
		g->allowed = most;
	g->allowed = more < most - g->allowed ? g->allowed + more : most;
}

/* Bytes that may go now by rate and floor, taken from what is allowed. Drain
 * lock held. */
static uint64_t allowance(struct quire *q, uint64_t now)
{
	struct give_back *g = &q->give;
	uint64_t backed = backed_bytes(q), above;

	above = backed > g->floor ? backed - g->floor : 0;
	if (g->rate == 0)
		return above;
	allow(g, now);
	if (g->allowed < above)
		above = g->allowed;
	g->allowed -= above;
	return above;
}

void give_back_maintain(struct quire *q)
{
	struct give_back *g = &q->give;
	uint64_t now = platform_ms(), most, sum;
	uint64_t due = atomic_load_explicit(&g->next_ms, memory_order_relaxed);

	/* One thread a look: whoever moves the clock on. */
	if (!can_go_back(q) || now < due ||
	    !atomic_compare_exchange_strong_explicit(
		    &g->next_ms, &due,
		    now + ((uint64_t)g->delay_ms + LOOKS - 1) / LOOKS,
		    memory_order_relaxed, memory_order_relaxed))
		return;
	lock_acquire(&q->drain_lock);
	if (g->last_ms == 0)
		g->last_ms = now;
	g->look = (uint8_t)(g->look % ZONE_LOOKS + 1);
	for (unsigned z = 0; z < q->nr_zones; z++)
		zone_look(q->zone[z], g->look);
	most = allowance(q, now);
	lock_release(&q->drain_lock);
	sum = give(q, LOOKS, most);
	lock_acquire(&q->drain_lock);
	g->allowed += g->rate ? most - sum : 0;
	lock_release(&q->drain_lock);
}

static int refuse(struct quire *q, const char *call)
{
	report(&q->reporter,
	       "%s: backing %s, way back %u%s: this memory does not go back",
	       call, quire_backing_name(q->arena.backing),
	       (unsigned)q->give.how, q->arena.locked ? ", locked" : "");
	errno = ENOTSUP;
	return -1;
}

int64_t quire_give_back(struct quire *q, uint64_t bytes)
{
	if (allocator_check_fork(q) != 0)
		return -1;
	if (!can_go_back(q))
		return refuse(q, "give_back");
	return (int64_t)give(q, 0, bytes);
}

/* Lost blocks from *next on. Nothing goes back meanwhile. Returns how many got
 * a hugepage, -1 with ENOTSUP. */
static int collapse_batch(struct quire *q, struct zone *zone, uint32_t *next)
{
	uint32_t blocks[COLLAPSE_BATCH];
	unsigned n;
	int done = 0;

	lock_acquire(&q->drain_lock);
	n = zone_find_lost(zone, next, blocks, COLLAPSE_BATCH);
	for (unsigned i = 0; i < n && done >= 0; i++) {
		pfn_t pfn = (pfn_t)(blocks[i] << BLOCK_ORDER);

		if (platform_collapse(memmap_virt(&q->map, pfn),
				      PAGEBLOCK_BYTES) == 0) {
			zone_regained(zone, blocks[i]);
			done++;
		} else if (errno == ENOTSUP) {
			done = -1;
		}
	}
	lock_release(&q->drain_lock);
	return done;
}

int quire_collapse(struct quire *q)
{
	int done = 0;

	if (allocator_check_fork(q) != 0)
		return -1;
	if (!can_go_back(q))
		return refuse(q, "collapse");
	for (unsigned z = 0; z < q->nr_zones; z++)
		for (uint32_t next = 0; next != UINT32_MAX;) {
			int n = collapse_batch(q, q->zone[z], &next);

			if (n < 0)
				return -1;
			done += n;
		}
	return done;
}
