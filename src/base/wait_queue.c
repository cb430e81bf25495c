/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The wait queue: threads that wait for something to come back, first come,
 * first served.
 *
 * Model. A waiter joins at the end. The server hands goods to waiters, which do
 * not race for them: it tries each in order, and one that cannot be served does
 * not block those behind it. One waiter listens for all: it is parked on the
 * event count, which a thread that brings goods raises, and serves when it is
 * woken. The others sleep on words of their own until they are served, or are
 * to listen. So bringing goods takes no lock, wakes one thread, and may be done
 * in a signal handler. A waiter is away while its idle() runs. When a listener
 * leaves or goes away, the first waiter that is not away takes over; it keeps
 * listening until it leaves or goes away itself.
 *
 * Protocol.
 *  1. A waiter is in the queue (length counts it) before it is tried.
 *  2. No wake-up is lost. A thread that brings goods stores them under a lock,
 *     then reads length. A waiter sets length, then looks under that lock. If
 *     the goods had the lock first, the waiter finds them; else the other sees
 *     the length and raises the event count. Without that lock it puts a full
 *     fence between the two, as wait_queue_join() does after joining: one of
 *     them sees the other.
 *  3. The event count is read before the queue is served, and parked on with
 *     that value: what is raised later makes the park return at once.
 *  4. A listener that leaves, or goes away, makes another one listen, and wakes
 *     it; that one serves before it sleeps. Where nobody was left, who joins or
 *     comes back listens.
 *  5. The server touches a waiter only under the queue's lock, and the waiter
 *     takes that lock once more before it returns.
 *
 * Locking: the queue's lock guards its shape. A caller that keeps the goods
 * under that same lock calls wait_queue_serve_locked() and needs no event.
 *
 * Fork. In the child the queue is empty (wait_queue_reset()). A thread that
 * forks in its own idle() learns from `resets` that no queue holds it any more;
 * what it was served before the fork is its own in the child, too.
 */
#include "base/wait_queue.h"

#include <limits.h>

#include "base/schedule.h"
#include "platform/platform.h"

enum waiter_state { WAITER_WAITS, WAITER_LISTENS, WAITER_SERVED };

void wait_queue_init(struct wait_queue *queue, enum lock_rank rank)
{
	*queue = (struct wait_queue){ .first = NULL };
	lock_init(&queue->lock, rank);
}

void wait_queue_reset(struct wait_queue *queue)
{
	queue->first = queue->last = queue->listener = NULL;
	atomic_store_explicit(&queue->length, 0, memory_order_relaxed);
	queue->resets++;
}

void wait_queue_notify_slow(struct wait_queue *queue)
{
	/* release: with the acquire in wait_for_turn(), what was brought. */
	atomic_fetch_add_explicit(&queue->events, 1, memory_order_release);
	platform_unpark(&queue->events, INT_MAX);
}

/* --- the lock held --- */

static void set_length(struct wait_queue *queue, uint32_t length)
{
	atomic_store_explicit(&queue->length, length, memory_order_relaxed);
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

static void choose_listener(struct wait_queue *queue)
{
	struct waiter *at = queue->first;

	while (at && at->away)
		at = at->next;
	queue->listener = at;
	if (at)
		tell(at, WAITER_LISTENS);
}

void wait_queue_join_locked(struct wait_queue *queue, struct waiter *waiter)
{
	*waiter = (struct waiter){ .before = queue->last };
	if (queue->last)
		queue->last->next = waiter;
	else
		queue->first = waiter;
	queue->last = waiter;
	set_length(queue, wait_queue_length(queue) + 1);
	if (!queue->listener)
		choose_listener(queue);
}

static void take_out(struct wait_queue *queue, struct waiter *waiter)
{
	if (waiter->next)
		waiter->next->before = waiter->before;
	else
		queue->last = waiter->before;
	if (waiter->before)
		waiter->before->next = waiter->next;
	else
		queue->first = waiter->next;
	set_length(queue, wait_queue_length(queue) - 1);
	if (queue->listener == waiter)
		choose_listener(queue);
}

void wait_queue_serve_locked(struct wait_queue *queue,
			     const struct wait_ops *ops)
{
	const struct waiter *failed = NULL;
	struct waiter *next;

	for (struct waiter *at = queue->first; at; at = next) {
		bool listens = at == queue->listener;

		next = at->next;
		if (failed && !ops->covers)
			return;
		if (failed && ops->covers(at, failed))
			continue;
		schedule_point();
		if (!ops->serve(at)) {
			failed = at;
			continue;
		}
		take_out(queue, at);
		tell(at, WAITER_SERVED);
		if (listens)
			wait_queue_notify_slow(queue);
	}
}

/* --- waiting --- */

void wait_queue_join(struct wait_queue *queue, struct waiter *waiter)
{
	lock_acquire(&queue->lock);
	wait_queue_join_locked(queue, waiter);
	lock_release(&queue->lock);
	/* Point 2: with the fence before wait_queue_notify(). */
	atomic_thread_fence(memory_order_seq_cst);
	schedule_point();
}

bool wait_queue_leave(struct wait_queue *queue, struct waiter *waiter)
{
	bool served;

	lock_acquire(&queue->lock);
	served = state_of(waiter) == WAITER_SERVED;
	if (!served)
		take_out(queue, waiter);
	lock_release(&queue->lock);
	return served;
}

static void park(struct wait_queue *queue, struct waiter *me, uint32_t events,
		 uint64_t ns)
{
	bool listens = state_of(me) == WAITER_LISTENS;

	schedule_point();
	if (listens)
		platform_park_for(&queue->events, events, ns);
	else
		platform_park_for(&me->state, WAITER_WAITS, ns);
}

/* Somebody else listens meanwhile. False in the child of a fork. */
static bool go_away(struct wait_queue *queue, struct waiter *me,
		    const struct wait_ops *ops)
{
	const unsigned resets = queue->resets;

	lock_acquire(&queue->lock);
	if (state_of(me) == WAITER_SERVED) {
		lock_release(&queue->lock);
		return true;
	}
	me->away = true;
	if (queue->listener == me) {
		tell(me, WAITER_WAITS);
		choose_listener(queue);
	}
	lock_release(&queue->lock);
	ops->idle(me);
	if (queue->resets != resets)
		return false;
	lock_acquire(&queue->lock);
	me->away = false;
	if (!queue->listener)
		choose_listener(queue);
	lock_release(&queue->lock);
	return true;
}

/* Until it is served, or the time is over, idle() having had its last turn.
 * False if it is in no queue any more: in the child of a fork. */
static bool wait_for_turn(struct wait_queue *queue, struct waiter *me,
			  const struct wait_ops *ops, uint64_t timeout_ns)
{
	uint64_t start = platform_ns(), passed = 0, idle = ops->idle_ns;
	bool last = !ops->idle || timeout_ns == 0;

	for (;;) {
		uint32_t events = atomic_load_explicit(&queue->events,
						       memory_order_acquire);
		uint64_t left = timeout_ns - passed;
		bool over = passed >= timeout_ns;

		lock_acquire(&queue->lock);
		wait_queue_serve_locked(queue, ops);
		lock_release(&queue->lock);
		if (state_of(me) == WAITER_SERVED || (over && last))
			return true;
		if (ops->idle && (over || passed >= idle)) {
			last = over;
			if (!go_away(queue, me, ops))
				return false;
			passed = platform_ns() - start;
			idle = passed + ops->idle_ns;
			continue;
		}
		if (ops->idle && left > idle - passed)
			left = idle - passed;
		park(queue, me, events, left);
		passed = platform_ns() - start;
	}
}

bool wait_queue_wait(struct wait_queue *queue, struct waiter *waiter,
		     const struct wait_ops *ops, uint64_t timeout_ns)
{
	if (!wait_for_turn(queue, waiter, ops, timeout_ns))
		return state_of(waiter) == WAITER_SERVED;
	return wait_queue_leave(queue, waiter);
}
