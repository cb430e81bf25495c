/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The wait queue: threads that wait for something to come back, first come,
 * first served. What they wait for is the caller's business: see wait_queue.c
 * for the protocol.
 */
#ifndef QUIRE_WAIT_QUEUE_H
#define QUIRE_WAIT_QUEUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/lock.h"
#include "platform/cc.h"

/* A waiting thread's entry. It lies on the thread's stack, inside a struct of
 * the caller's. (l) queue's lock, (a) atomic */
struct waiter {
	struct waiter *next, *before; /* (l) */
	bool away;		      /* (l) in idle() */
	_Atomic uint32_t state;	      /* (a) enum waiter_state: parked on */
};

/* (l) lock, (a) atomic, (f) written by the child of a fork alone */
struct wait_queue {
	struct lock lock;
	struct waiter *first, *last; /* (l) */
	struct waiter *listener;     /* (l) NULL: nobody, or all are away */
	_Atomic uint32_t length;     /* (a) written under the lock */
	_Atomic uint32_t events; /* (a) event count: the listener parks on it */
	unsigned resets;	 /* (f) forks, down to this child */
};

/* How a queue's waiters are served; serve and covers are the same for all. */
struct wait_ops {
	/*
	 * Tries to get a waiter its goods; false: none now. Runs under the
	 * queue's lock, in any waiter's thread or in a caller of
	 * wait_queue_serve_locked().
	 */
	bool (*serve)(struct waiter *waiter);
	/* True: serve() would fail for `waiter`, because it failed for
	 * `failed`. NULL: all wait for the same. */
	bool (*covers)(const struct waiter *waiter,
		       const struct waiter *failed);
	/*
	 * A waiter's own thread calls it after each idle_ns without being
	 * served, and once when its time is over. The waiter keeps its place,
	 * can be served meanwhile, and may block. NULL: no call.
	 */
	void (*idle)(struct waiter *waiter);
	uint64_t idle_ns;
};

void wait_queue_init(struct wait_queue *queue, enum lock_rank rank);
/* In the child of a fork: the threads that waited are gone, the lock stays as
 * it is. */
void wait_queue_reset(struct wait_queue *queue);

/*
 * Adds the waiter at the end. The thread then waits or leaves; until then the
 * queue has a length. join_locked() is without the fence of point 2: only where
 * all goods come under this lock.
 */
void wait_queue_join(struct wait_queue *queue, struct waiter *waiter);
void wait_queue_join_locked(struct wait_queue *queue, struct waiter *waiter);
/*
 * Waits until the waiter is served, or for timeout_ns (UINT64_MAX: for good),
 * and leaves. False: it was not served. In the child of an idle() that forked
 * it returns at once.
 */
bool wait_queue_wait(struct wait_queue *queue, struct waiter *waiter,
		     const struct wait_ops *ops, uint64_t timeout_ns);
/* True: it was served before it could leave. */
bool wait_queue_leave(struct wait_queue *queue, struct waiter *waiter);

/* Tries every waiter in order; each one that serve() succeeds for leaves the
 * queue. */
void wait_queue_serve_locked(struct wait_queue *queue,
			     const struct wait_ops *ops);

/* How many wait; a snapshot. */
static inline uint32_t wait_queue_length(const struct wait_queue *queue)
{
	return atomic_load_explicit(&queue->length, memory_order_relaxed);
}

void wait_queue_notify_slow(struct wait_queue *queue);

/*
 * Tells the listener that goods came. Never blocks or spins, so handlers may
 * call it. The caller stored them under the lock that serve() takes, or has a
 * full fence in between.
 */
static inline void wait_queue_notify(struct wait_queue *queue)
{
	if (unlikely(wait_queue_length(queue)))
		wait_queue_notify_slow(queue);
}

#endif
