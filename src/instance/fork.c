/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fork: every allocator stands still while the process is copied.
 *
 * Before the fork every lock of every allocator is taken, in rank order (but
 * those of the wait queue and of zonelists, which the child makes anew), and
 * all page lists are closed with the fence of pcp.c; so the child's copy of the
 * tables is whole, and the thread that forks, the only one there is in the
 * child, holds the locks and releases them on both sides.
 *
 * In the child an allocator over private memory is a copy and goes on. A block
 * that another thread had just popped, or was about to push, is in nobody's
 * hands there: it stays live, as does what that thread held. Of any
 * other the child has the tables (they are always private) but not the pages,
 * or it shares the pages with a parent who allocates from them: it is marked
 * forked, its fast path is switched off, and every call that would change or
 * check it fails with EPERM.
 */
#include <errno.h>

#include "instance/allocator.h"
#include "platform/platform.h"
#include "platform/platform_process.h"

static struct lock registry_lock = LOCK_INIT(LOCK_RANK_REGISTRY);
static struct quire *registry; /* (r) */
static int hook_error;	       /* (c) after load */

static void fork_prepare(void)
{
	services_at_fork(FORK_PREPARE);
	lock_acquire(&registry_lock);
	for (struct quire *q = registry; q; q = q->next_registered)
		lock_acquire(&q->drain_lock);
	for (struct quire *q = registry; q; q = q->next_registered)
		allocator_hold_locked(q, false);
	for (struct quire *q = registry; q; q = q->next_registered)
		for (unsigned z = 0; z < q->nr_zones; z++)
			lock_acquire(&q->zone[z]->lock);
}

static void fork_resume(void)
{
	for (struct quire *q = registry; q; q = q->next_registered) {
		for (unsigned z = 0; z < q->nr_zones; z++) {
			lock_release(&q->zone[z]->lock);
			pcp_release_all(q->pcp[z]);
		}
		lock_release(&q->drain_lock);
	}
	lock_release(&registry_lock);
}

static void fork_parent(void)
{
	fork_resume();
	services_at_fork(FORK_PARENT);
}

/* Threads that waited, or were building zonelists, are gone. */
static void forget_threads(struct quire *q)
{
	lock_init(&q->zonelist_lock, LOCK_RANK_ZONELIST);
	nodes_build(q->nodes);
	q->shut = false;
	for (unsigned z = 0; z < q->nr_zones; z++) {
		pcp_shut(q->pcp[z], false);
		atomic_store_explicit(&q->zone[z]->owed, 0,
				      memory_order_relaxed);
	}
}

static void fork_child(void)
{
	platform_rseq_after_fork();
	for (struct quire *q = registry; q; q = q->next_registered) {
		q->forks++;
		/* Of a thread that the child has not. */
		atomic_store_explicit(&q->hooks.kick, NULL,
				      memory_order_relaxed);
		lock_init(&q->page_waiters.lock, LOCK_RANK_WAITERS);
		wait_queue_reset(&q->page_waiters);
		if (!q->arena.private) {
			q->forked = true;
			q->fast_orders = 0;
			q->list_orders = 0;
			arena_lose_pages(&q->arena);
			continue;
		}
		q->copied = true;
		forget_threads(q);
		if (q->way == QUIRE_WAY_BOUND)
			bind_forget_threads(q);
	}
	fork_resume();
	services_at_fork(FORK_CHILD);
}

/* By ascending address, so that locks of one rank are taken in that order. */
static void insert(struct quire *q)
{
	struct quire **at = &registry;

	while (*at && *at < q)
		at = &(*at)->next_registered;
	q->next_registered = *at;
	*at = q;
}

/*
 * At load: so our handlers run before the fork after those of everybody else,
 * and after it before them. Other handlers may use quire.
 */
static at_load void hook(void)
{
	hook_error = platform_on_fork(fork_prepare, fork_parent, fork_child);
}

int fork_register(struct quire *q)
{
	if (hook_error) {
		errno = ENOMEM;
		return -1;
	}
	lock_acquire(&registry_lock);
	insert(q);
	lock_release(&registry_lock);
	return 0;
}

void fork_unregister(struct quire *q)
{
	struct quire **at = &registry;

	lock_acquire(&registry_lock);
	while (*at != q)
		at = &(*at)->next_registered;
	*at = q->next_registered;
	lock_release(&registry_lock);
}
