/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pools with a reserve: what one purpose needs to get on.
 *
 * Model: Linux's mempool (mm/mempool.c). A pool owns `blocks` blocks from the
 * start. An allocation takes what the allocator has at once, else one of the
 * reserve, else it waits. What comes back goes to the reserve until that is
 * full again, and from there to who waits, else to the allocator. So as long as
 * those who have blocks give them back some day, everybody who waits gets one,
 * whatever the rest of the program holds.
 *
 * Invariants, under the pool's lock: somebody waits only while the reserve is
 * empty; blocks that are out were handed out and are not back, a block on its
 * way to a waiter, or to the allocator, included. So a pool of which none is
 * out is nobody's but its owner's.
 *
 * Waiting. The pool's lock is that of its wait queue, and who brings a block to
 * the reserve serves the queue before the lock is left. So the first to come is
 * the first to be served, and who runs out of time at that moment has it. Who
 * calls while others wait and gets a block from the allocator brings it to the
 * reserve, too; the first in the queue looks at the allocator himself, every
 * LOOK_MS, for it may have pages again while the pool's own stay away.
 *
 * Misuse. A block in the reserve is a live block as far as the allocator knows.
 * Its private word says where in the reserve it is, and the entry there points
 * back at it (Briggs and Torczon 1993): that tells a second free, whatever the
 * owner wrote to that word. The pool holds a second reference to it, so a free
 * past the pool does not free it, and is reported when it leaves the reserve.
 *
 * Locks. pools_lock guards the list of all pools, a pool's lock the rest, for a
 * few stores and wake-ups; neither is held when the allocator is called, but
 * for references. pools_lock, then pools by ascending address; below all locks
 * of the core.
 *
 * Fork. All are held over it. In the child nobody waits; a block that
 * another thread had just been handed, or was just handing back to the
 * allocator, stays out.
 */
#include "service/mempool.h"

#include <errno.h>
#include <string.h>

#include "alloc/page_alloc.h"
#include "alloc/want.h"
#include "base/report.h"
#include "base/wait_queue.h"
#include "instance/allocator.h"
#include "service/small.h"

enum { LOOK_MS = 20 };

/* Of the pool as a whole; waiting and retrying are its own. */
#define NOT_FOR_POOLS (QUIRE_WAIT | QUIRE_NOFAIL | QUIRE_NOLOCK | QUIRE_NORETRY)

/* (c) constant, (l) queue.lock, (p) pools_lock */
struct quire_mempool {
	struct wait_queue queue;       /* its lock is the pool's */
	struct quire *q;	       /* (c) */
	unsigned order, flags, blocks; /* (c) */
	unsigned reserved;	       /* (l) */
	struct quire_page **reserve;   /* (l) [0, reserved) */
	uint64_t out;		       /* (l) */
	struct quire_mempool *next;    /* (p) by address */
};

static struct lock pools_lock = LOCK_INIT(LOCK_RANK_POOLS);
static struct quire_mempool *pools; /* (p) */

/* (c) constant, (l) the pool's lock */
struct pool_waiter {
	struct waiter waiter;
	struct quire_mempool *pool; /* (c) */
	struct quire_page *page;    /* (l) once it is served */
};

static int fail(int error)
{
	errno = error;
	return -1;
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

/* --- waiting --- */

static bool serve_waiter(struct waiter *waiter)
{
	struct pool_waiter *me = (struct pool_waiter *)waiter;

	me->page = reserve_take_locked(me->pool);
	me->pool->out += me->page != NULL;
	return me->page;
}

static void look(struct waiter *waiter);

static const struct wait_ops wait_ops = {
	.serve = serve_waiter,
	.idle = look,
	.idle_ns = LOOK_MS * UINT64_C(1000000),
};

/*
 * A block that is out comes home. The lock is held, and left. -1: the allocator
 * refused it; it is still out.
 */
static int come_home_locked(struct quire_mempool *pool, struct quire_page *page)
{
	const bool surplus = pool->reserved == pool->blocks;

	if (!surplus) {
		pool->out--;
		reserve_put_locked(pool, page);
		wait_queue_serve_locked(&pool->queue, &wait_ops);
	}
	lock_release(&pool->queue.lock);
	if (!surplus)
		return 0;
	/* It is out until the allocator has it: nobody destroys the pool. */
	if (quire_free_pages(pool->q, page, pool->order) != 0)
		return -1;
	lock_acquire(&pool->queue.lock);
	pool->out--;
	lock_release(&pool->queue.lock);
	return 0;
}

/* The first in the queue asks the allocator; what it has goes to the first. */
static void look(struct waiter *waiter)
{
	struct quire_mempool *pool = ((struct pool_waiter *)waiter)->pool;
	struct quire_page *page;
	bool first;

	lock_acquire(&pool->queue.lock);
	first = pool->queue.first == waiter;
	lock_release(&pool->queue.lock);
	if (!first)
		return;
	page = quire_alloc_pages(pool->q, pool->order,
				 (pool->flags & ~QUIRE_ZERO) | QUIRE_NORETRY);
	if (!page)
		return;
	lock_acquire(&pool->queue.lock);
	pool->out++;
	come_home_locked(pool, page);
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

static size_t reserve_bytes(unsigned blocks)
{
	return blocks * sizeof(struct quire_page *);
}

/* The pool's memory; its blocks go back, but where they are the parent's. */
static void pool_free(struct quire_mempool *pool)
{
	struct quire_page *page;

	while (!pool->q->forked && (page = reserve_take_locked(pool)))
		quire_free_pages(pool->q, page, pool->order);
	small_free(pool->q, pool->reserve, reserve_bytes(pool->blocks));
	small_free(pool->q, pool, sizeof(*pool));
}

static struct quire_mempool *pool_make(struct quire *q, unsigned order,
				       unsigned flags, unsigned blocks)
{
	struct quire_mempool *pool = small_alloc(q, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->reserve = small_alloc(q, reserve_bytes(blocks));
	if (!pool->reserve) {
		small_free(q, pool, sizeof(*pool));
		return NULL;
	}
	wait_queue_init(&pool->queue, LOCK_RANK_POOL);
	pool->q = q;
	pool->order = order;
	pool->flags = flags;
	pool->blocks = blocks;
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

	lock_acquire(&pool->queue.lock);
	out = pool->out;
	lock_release(&pool->queue.lock);
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
 * What the allocator has at once. While others wait it goes to them, and the
 * allocator is asked again. NULL, with errno: it has nothing.
 */
static struct quire_page *take_at_once(struct quire_mempool *pool,
				       unsigned flags)
{
	struct quire_page *page;

	while ((page = quire_alloc_pages(pool->q, pool->order,
					 flags | QUIRE_NORETRY))) {
		lock_acquire(&pool->queue.lock);
		pool->out++;
		if (wait_queue_length(&pool->queue) == 0) {
			lock_release(&pool->queue.lock);
			return page;
		}
		come_home_locked(pool, page);
	}
	return NULL;
}

/* From the reserve, or after waiting for it; NULL, with errno: nothing. */
static struct quire_page *take_own(struct quire_mempool *pool, bool wait,
				   unsigned wait_ms)
{
	const uint64_t ms = wait_ms ? wait_ms : pool->q->wait_ms;
	struct pool_waiter me = { .pool = pool };
	struct quire_page *page;

	lock_acquire(&pool->queue.lock);
	page = reserve_take_locked(pool);
	if (page)
		pool->out++;
	else if (wait)
		wait_queue_join_locked(&pool->queue, &me.waiter);
	lock_release(&pool->queue.lock);
	if (page)
		return page;
	if (wait && wait_queue_wait(&pool->queue, &me.waiter, &wait_ops,
				    ms * UINT64_C(1000000)))
		return me.page;
	errno = wait ? ETIMEDOUT : ENOMEM;
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
	lock_acquire(&pool->queue.lock);
	if (check_locked(pool, pfn) != 0) {
		lock_release(&pool->queue.lock);
		return -1;
	}
	return come_home_locked(pool, page);
}

struct mempool_state mempool_state(struct quire_mempool *pool)
{
	struct mempool_state state = { .waiting = 0 };

	lock_acquire(&pool->queue.lock);
	state.out = pool->out;
	state.reserved = pool->reserved;
	state.waiting = wait_queue_length(&pool->queue);
	lock_release(&pool->queue.lock);
	return state;
}

/* --- destroy and fork --- */

/* Pools that the allocator leaves behind: a child does that with its parent's.
 */
static void stop(struct quire *q)
{
	struct quire_mempool **at = &pools;

	lock_acquire(&pools_lock);
	while (*at)
		if ((*at)->q == q)
			*at = (*at)->next;
		else
			at = &(*at)->next;
	lock_release(&pools_lock);
}

static void fork_prepare(void)
{
	lock_acquire(&pools_lock);
	for (struct quire_mempool *pool = pools; pool; pool = pool->next)
		lock_acquire(&pool->queue.lock);
}

static void fork_parent(void)
{
	for (struct quire_mempool *pool = pools; pool; pool = pool->next)
		lock_release(&pool->queue.lock);
	lock_release(&pools_lock);
}

static void fork_child(void)
{
	for (struct quire_mempool *pool = pools; pool; pool = pool->next)
		wait_queue_reset(&pool->queue);
	fork_parent();
}

static at_load void hook(void)
{
	static const struct service service = {
		.at_fork = { fork_prepare, fork_parent, fork_child },
		.stop = stop,
	};

	service_add(SERVICE_MEMPOOL, &service);
}
