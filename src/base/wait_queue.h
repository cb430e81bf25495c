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

/* One that waits; on its thread's stack, in a struct of the caller's.
 * (l) queue's lock, (a) atomic */
struct waiter {
	struct waiter *next, *before; /* (l) */
	bool away;		      /* (l) in idle() */
	_Atomic uint32_t state;	      /* (a) enum waiter_state: parked on */
};

/* (l) lock, (a) atomic */
struct wait_queue {
	struct lock lock;
	struct waiter *first, *last; /* (l) */
	struct waiter *listener;     /* (l) NULL: nobody, or all are away */
	_Atomic uint32_t length;     /* (a) written under the lock */
	_Atomic uint32_t events; /* (a) event count: the listener parks on it */
	unsigned resets;	 /* children of forks, down to this one */
};

/* What the waiters of a queue have in common. */
struct wait_ops {
	/*
	 * Gets a waiter what it waits for; false: it cannot be had now. Called
	 * with the queue's lock held, by any of the waiters' threads or by
	 * who calls wait_queue_serve_locked().
	 */
	bool (*serve)(struct waiter *waiter);
	/* Where nothing could be had for `failed`, this one need not be tried.
	 * NULL: all wait for the same. */
	bool (*covers)(const struct waiter *waiter,
		       const struct waiter *failed);
	/* Called by a waiter's own thread each idle_ns that it was not served.
	 * It keeps its place, can be served meanwhile, and may block. NULL:
	 * nothing is called. */
	void (*idle)(struct waiter *waiter);
	uint64_t idle_ns;
};

void wait_queue_init(struct wait_queue *queue, enum lock_rank rank);
/* In the child of a fork: the threads that waited are gone, the lock stays as
 * it is. */
void wait_queue_reset(struct wait_queue *queue);

/*
 * Joins at the end. Then the thread waits, or leaves. What the caller does in
 * between is done while the queue has a length.
 */
void wait_queue_join(struct wait_queue *queue, struct waiter *waiter);
void wait_queue_join_locked(struct wait_queue *queue, struct waiter *waiter);
/*
 * Until it is served, or for timeout_ns (UINT64_MAX: for good); then it has
 * left. False: it was not served; also when idle() forked, in the child.
 */
bool wait_queue_wait(struct wait_queue *queue, struct waiter *waiter,
		     const struct wait_ops *ops, uint64_t timeout_ns);
/* True: it was served before it could leave. */
bool wait_queue_leave(struct wait_queue *queue, struct waiter *waiter);

/* Serves all who can be served, in order. */
void wait_queue_serve_locked(struct wait_queue *queue,
			     const struct wait_ops *ops);

/* How many wait; a snapshot. */
static inline uint32_t wait_queue_length(const struct wait_queue *queue)
{
	return atomic_load_explicit(&queue->length, memory_order_relaxed);
}

void wait_queue_notify_slow(struct wait_queue *queue);

/*
 * Something came that may be what one of them waits for. Neither blocks nor
 * spins: for signal handlers, too. Between the store that brought it and this
 * stands the lock that serve() looks under, or a full fence.
 */
static inline void wait_queue_notify(struct wait_queue *queue)
{
	if (unlikely(wait_queue_length(queue)))
		wait_queue_notify_slow(queue);
}

#endif
