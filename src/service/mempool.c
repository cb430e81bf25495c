/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pools with a reserve: what one purpose needs to get on.
 *
 * Model: Linux's mempool (mm/mempool.c). A pool owns `blocks` blocks from the
 * start. An allocation takes what the allocator has at once, else one of the
 * reserve, else it stands in line. What comes back goes to the first in line,
 * else to the reserve until that is full again, else to the allocator. So as
 * long as those who have blocks give them back some day, everybody in line gets
 * one, whatever the rest of the program holds.
 *
 * Invariants, under the pool's lock: somebody stands in line only while the
 * reserve is empty; blocks that are out were handed out and are not back, a
 * block on its way to somebody in line, or to the allocator, included. So a
 * pool of which none is out is nobody's but its owner's.
 *
 * The line. A block is handed over under the lock: `page` is set and the one in
 * line taken out of it, so the first to come is the first to be served, and who
 * runs out of time at that moment has it. Who calls while others stand in line
 * and gets a block from the allocator hands it to the first of them; who stands
 * there looks at the allocator himself, too, every LOOK_MS, for it may have
 * pages again while the pool's own stay away.
 *
 * Misuse. A block in the reserve is a live block as far as the allocator knows.
 * Its private word says where in the reserve it is, and the entry there points
 * back at it (Briggs and Torczon 1993): that tells a second free, whatever the
 * owner wrote to that word. The pool holds a second reference to it, so a free
 * past the pool does not free it, and is reported when it leaves the reserve.
 *
 * Locks. pools_lock guards the list of all pools, a pool's lock the rest, for a
 * few stores; neither is held when the allocator is called, but for references.
 * pools_lock, then pools by ascending address; below all locks of the core.
 *
 * Fork. All are held over it. In the child nobody stands in line; a block that
 * another thread had just been handed, or was just handing back to the
 * allocator, stays out.
 */
#include "service/mempool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/page_alloc.h"
#include "alloc/want.h"
#include "base/report.h"
#include "instance/allocator.h"
#include "platform/fault.h"
#include "platform/platform.h"

enum { LOOK_MS = 20 };

/* Of the pool as a whole; waiting and retrying are its own. */
#define NOT_FOR_POOLS (QUIRE_WAIT | QUIRE_NOFAIL | QUIRE_NOLOCK | QUIRE_NORETRY)

/* (l) the pool's lock, (a) atomic */
struct waiter {
	struct waiter *next;	 /* (l) */
	struct quire_page *page; /* (l) handed over; NULL: in line */
	_Atomic uint32_t served; /* (a) 1 once page is set */
};

/* (c) constant, (l) lock, (p) pools_lock */
struct quire_mempool {
	struct lock lock;
	struct quire *q;	       /* (c) */
	unsigned order, flags, blocks; /* (c) */
	unsigned reserved;	       /* (l) */
	struct quire_page **reserve;   /* (l) [0, reserved) */
	uint64_t out;		       /* (l) */
	struct waiter *first, **last;  /* (l) in line */
	struct quire_mempool *next;    /* (p) by address */
};

static struct lock pools_lock = LOCK_INIT(LOCK_RANK_POOLS);
static struct quire_mempool *pools; /* (p) */

static int fail(int error)
{
	errno = error;
	return -1;
}

/* --- the line --- */

static void line_reset(struct quire_mempool *pool)
{
	pool->first = NULL;
	pool->last = &pool->first;
}

static void line_join_locked(struct quire_mempool *pool, struct waiter *waiter)
{
	*pool->last = waiter;
	pool->last = &waiter->next;
}

static void line_leave_locked(struct quire_mempool *pool, struct waiter *waiter)
{
	struct waiter **at = &pool->first;

	while (*at != waiter)
		at = &(*at)->next;
	*at = waiter->next;
	if (!*at)
		pool->last = at;
}

/* The first in line has the page; returns the word to wake him by. */
static _Atomic uint32_t *line_serve_locked(struct quire_mempool *pool,
					   struct quire_page *page)
{
	struct waiter *waiter = pool->first;

	line_leave_locked(pool, waiter);
	waiter->page = page;
	/* release: partner of the acquire in wait_in_line(). */
	atomic_store_explicit(&waiter->served, 1, memory_order_release);
	return &waiter->served;
}

/* The lock is left. The word may be gone: then nobody sleeps on it, or somebody
 * else looks once more. */
static void wake(_Atomic uint32_t *served)
{
	if (served)
		platform_unpark(served, 1);
}

/* --- the reserve --- */

static void reserve_put_locked(struct quire_mempool *pool,
			       struct quire_page *page)
{
	quire_page_set_private(pool->q, page, pool->reserved);
	quire_page_get(pool->q, page);
	pool->reserve[pool->reserved++] = page;
}

static bool reserve_has_locked(const struct quire_mempool *pool,
			       const struct quire_page *page)
{
	uint64_t i = quire_page_private(pool->q, page);

	return i < pool->reserved && pool->reserve[i] == page;
}

/* NULL: there is none. */
static struct quire_page *reserve_take_locked(struct quire_mempool *pool)
{
	while (pool->reserved) {
		struct quire_page *page = pool->reserve[--pool->reserved];

		if (quire_page_put(pool->q, page) == 0) {
			quire_page_clear_flags(page, UINT16_MAX);
			return page;
		}
		report(&pool->q->reporter,
		       "mempool_alloc: pfn %u, order %u: of the reserve of "
		       "pool %p, but freed without the pool",
		       memmap_pfn(&pool->q->map, page), pool->order,
		       (void *)pool);
	}
	return NULL;
}

/*
 * A block that is out comes home. The lock is held, and left. -1: the allocator
 * refused it; it is still out.
 */
static int come_home_locked(struct quire_mempool *pool, struct quire_page *page)
{
	_Atomic uint32_t *served = NULL;
	bool surplus = false;

	if (pool->first) {
		quire_page_clear_flags(page, UINT16_MAX);
		served = line_serve_locked(pool, page);
	} else if (pool->reserved < pool->blocks) {
		pool->out--;
		reserve_put_locked(pool, page);
	} else {
		surplus = true;
	}
	lock_release(&pool->lock);
	wake(served);
	if (!surplus)
		return 0;
	/* It is out until the allocator has it: nobody destroys the pool. */
	if (quire_free_pages(pool->q, page, pool->order) != 0)
		return -1;
	lock_acquire(&pool->lock);
	pool->out--;
	lock_release(&pool->lock);
	return 0;
}

/* --- create and destroy --- */

/* By address, so that locks of one rank are taken in that order. */
static void pools_add(struct quire_mempool *pool)
{
	struct quire_mempool **at = &pools;

	lock_acquire(&pools_lock);
	while (*at && *at < pool)
		at = &(*at)->next;
	pool->next = *at;
	*at = pool;
	lock_release(&pools_lock);
}

static void pools_remove(struct quire_mempool *pool)
{
	struct quire_mempool **at = &pools;

	lock_acquire(&pools_lock);
	while (*at != pool)
		at = &(*at)->next;
	*at = pool->next;
	lock_release(&pools_lock);
}

/* The pool's memory; its blocks go back, but where they are the parent's. */
static void pool_free(struct quire_mempool *pool)
{
	struct quire_page *page;

	while (!pool->q->forked && (page = reserve_take_locked(pool)))
		quire_free_pages(pool->q, page, pool->order);
	free(pool->reserve);
	free(pool);
}

static struct quire_mempool *pool_make(struct quire *q, unsigned order,
				       unsigned flags, unsigned blocks)
{
	struct quire_mempool *pool =
		fault_hit(FAULT_SERVICE) ? NULL : calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->reserve = fault_hit(FAULT_SERVICE)
				? NULL
				: calloc(blocks, sizeof(struct quire_page *));
	if (!pool->reserve) {
		free(pool);
		return NULL;
	}
	lock_init(&pool->lock, LOCK_RANK_POOL);
	pool->q = q;
	pool->order = order;
	pool->flags = flags;
	pool->blocks = blocks;
	line_reset(pool);
	return pool;
}

struct quire_mempool *quire_mempool_create(struct quire *q, unsigned order,
					   unsigned flags, unsigned blocks)
{
	uint64_t pages = q->map.region.end - q->map.region.first;
	struct quire_mempool *pool = NULL;
	struct quire_page *page;

	if (allocator_check_fork(q) != 0)
		return NULL;
	if (blocks == 0 || order > QUIRE_MAX_ORDER || flags & NOT_FOR_POOLS) {
		report(&q->reporter,
		       "mempool_create: %u blocks of order %u (at most %d), "
		       "flags 0x%x (not for pools: 0x%x)",
		       blocks, order, QUIRE_MAX_ORDER, flags, NOT_FOR_POOLS);
		errno = EINVAL;
		return NULL;
	}
	if (blocks <= pages >> order)
		pool = pool_make(q, order, flags, blocks);
	if (!pool) {
		errno = ENOMEM;
		return NULL;
	}
	while (pool->reserved < blocks) {
		page = quire_alloc_pages(q, order, flags);
		if (!page) {
			int error = errno;

			pool_free(pool);
			errno = error;
			return NULL;
		}
		reserve_put_locked(pool, page);
	}
	pools_add(pool);
	return pool;
}

int quire_mempool_destroy(struct quire_mempool *pool)
{
	uint64_t out;

	lock_acquire(&pool->lock);
	out = pool->out;
	lock_release(&pool->lock);
	if (out && !pool->q->forked) {
		report(&pool->q->reporter,
		       "mempool_destroy: %llu blocks of order %u are out",
		       (unsigned long long)out, pool->order);
		return fail(EBUSY);
	}
	pools_remove(pool);
	pool_free(pool);
	return 0;
}

/* --- allocation --- */

/*
 * What the allocator has at once. While others stand in line the first of them
 * gets it, and the allocator is asked again. NULL, with errno: it has nothing.
 */
static struct quire_page *take_at_once(struct quire_mempool *pool,
				       unsigned flags)
{
	struct quire_page *page;

	while ((page = quire_alloc_pages(pool->q, pool->order,
					 flags | QUIRE_NORETRY))) {
		_Atomic uint32_t *served = NULL;

		lock_acquire(&pool->lock);
		pool->out++;
		if (pool->first)
			served = line_serve_locked(pool, page);
		lock_release(&pool->lock);
		if (!served)
			return page;
		wake(served);
	}
	return NULL;
}

/* The first in line asks the allocator; what it has goes to the first. */
static void look(struct quire_mempool *pool, const struct waiter *waiter)
{
	struct quire_page *page;
	bool first;

	lock_acquire(&pool->lock);
	first = pool->first == waiter;
	lock_release(&pool->lock);
	if (!first)
		return;
	page = quire_alloc_pages(pool->q, pool->order,
				 (pool->flags & ~QUIRE_ZERO) | QUIRE_NORETRY);
	if (!page)
		return;
	lock_acquire(&pool->lock);
	pool->out++;
	come_home_locked(pool, page);
}

static bool is_served(struct waiter *waiter)
{
	/* acquire: partner of the release in line_serve_locked(). */
	return atomic_load_explicit(&waiter->served, memory_order_acquire);
}

/* NULL, and no longer in line: time ran out. */
static struct quire_page *wait_in_line(struct quire_mempool *pool,
				       struct waiter *waiter, uint64_t ms)
{
	const uint64_t slice = LOOK_MS * UINT64_C(1000000);
	uint64_t now = platform_ns(), end = now + ms * 1000000;
	uint64_t next = now + slice;

	while (!is_served(waiter) && now < end) {
		uint64_t until = next < end ? next : end;

		platform_park_for(&waiter->served, 0, until - now);
		now = platform_ns();
		/* Woken, or a signal: the next look is when it was to be. */
		if (now < until)
			continue;
		look(pool, waiter);
		now = platform_ns();
		next = now + slice;
	}
	if (is_served(waiter))
		return waiter->page;
	lock_acquire(&pool->lock);
	if (!waiter->page)
		line_leave_locked(pool, waiter);
	lock_release(&pool->lock);
	errno = ETIMEDOUT;
	return waiter->page;
}

/* From the reserve, or in line for it; NULL, with errno: nothing. */
static struct quire_page *take_own(struct quire_mempool *pool, bool wait,
				   unsigned wait_ms)
{
	struct waiter waiter = { .next = NULL };
	struct quire_page *page;

	lock_acquire(&pool->lock);
	page = reserve_take_locked(pool);
	if (page)
		pool->out++;
	else if (wait)
		line_join_locked(pool, &waiter);
	lock_release(&pool->lock);
	if (page)
		return page;
	if (wait)
		return wait_in_line(pool, &waiter,
				    wait_ms ? wait_ms : pool->q->wait_ms);
	errno = ENOMEM;
	return NULL;
}

struct quire_page *quire_mempool_alloc(struct quire_mempool *pool,
				       unsigned flags, unsigned wait_ms)
{
	const unsigned known = QUIRE_ZERO | QUIRE_WAIT;
	bool wait = flags & QUIRE_WAIT && !alloc_in_reclaim();
	struct quire_page *page;

	if (flags & ~known) {
		report(&pool->q->reporter,
		       "mempool_alloc: flags 0x%x (known 0x%x)", flags, known);
		errno = EINVAL;
		return NULL;
	}
	flags = (flags & QUIRE_ZERO) | pool->flags;
	page = take_at_once(pool, flags);
	if (page || errno != ENOMEM)
		return page;
	page = take_own(pool, wait, wait_ms);
	if (page && flags & QUIRE_ZERO)
		memset(quire_page_to_virt(pool->q, page), 0,
		       QUIRE_PAGE_SIZE << pool->order);
	return page;
}

/* --- free --- */

/* A live block of the pool's order that only the caller holds, and that is not
 * in the reserve. */
static int check_locked(struct quire_mempool *pool, pfn_t pfn)
{
	struct quire_page *page = memmap_page(&pool->q->map, pfn);
	/* acquire: who held it before and let go is done with it. */
	uint64_t word = page_word_acquire(page);

	if (!page_is_head(word) || page_order(word) != pool->order)
		return page_alloc_refuse_page(pool->q, "mempool_free", pfn,
					      word, &pool->order);
	if (reserve_has_locked(pool, page)) {
		report(&pool->q->reporter,
		       "mempool_free: pfn %u, order %u: in the reserve of pool "
		       "%p already (a double free)",
		       pfn, pool->order, (void *)pool);
		return page_alloc_refuse(pool->q);
	}
	if (page_refs(word))
		return page_alloc_refuse_page(pool->q, "mempool_free", pfn,
					      word, &pool->order);
	if (pool->out == 0) {
		report(&pool->q->reporter,
		       "mempool_free: pfn %u, order %u: no block of pool %p is "
		       "out",
		       pfn, pool->order, (void *)pool);
		return page_alloc_refuse(pool->q);
	}
	return 0;
}

int quire_mempool_free(struct quire_mempool *pool, struct quire_page *page)
{
	pfn_t pfn = memmap_pfn(&pool->q->map, page);

	if (allocator_check_fork(pool->q) != 0)
		return -1;
	if (pfn == PFN_NONE)
		return page_alloc_refuse_pointer(pool->q, "mempool_free", page);
	lock_acquire(&pool->lock);
	if (check_locked(pool, pfn) != 0) {
		lock_release(&pool->lock);
		return -1;
	}
	return come_home_locked(pool, page);
}

struct mempool_state mempool_state(struct quire_mempool *pool)
{
	struct mempool_state state = { .waiting = 0 };

	lock_acquire(&pool->lock);
	state.out = pool->out;
	state.reserved = pool->reserved;
	for (struct waiter *w = pool->first; w; w = w->next)
		state.waiting++;
	lock_release(&pool->lock);
	return state;
}

/* --- fork --- */

static void fork_prepare(void)
{
	lock_acquire(&pools_lock);
	for (struct quire_mempool *pool = pools; pool; pool = pool->next)
		lock_acquire(&pool->lock);
}

static void fork_parent(void)
{
	for (struct quire_mempool *pool = pools; pool; pool = pool->next)
		lock_release(&pool->lock);
	lock_release(&pools_lock);
}

static void fork_child(void)
{
	for (struct quire_mempool *pool = pools; pool; pool = pool->next)
		line_reset(pool);
	fork_parent();
}

static at_load void hook(void)
{
	static struct fork_service service = { .rank = LOCK_RANK_POOLS,
					       .prepare = fork_prepare,
					       .parent = fork_parent,
					       .child = fork_child };

	fork_add_service(&service);
}
