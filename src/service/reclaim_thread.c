/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that reclaim: one a node, above all other services.
 *
 * Model: Linux's kswapd (mm/vmscan.c). A thread sleeps until its node is
 * kicked, which an allocation does that finds a zone below low, or for
 * decay_ms; then it balances the node. When shrinkers give nothing it pauses, 1
 * ms first and then twice as long, and kicks do not wake it. The threads share
 * one clock for quire_maintain(): who finds it due does it.
 *
 * A thread's word has the bits ASLEEP, KICKED and STOP. A kick is one
 * read-modify-write, so it is either seen by the thread's next look or comes
 * after it, and wakes only a sleeper.
 *
 * No lock: whoever moves the state from STOPPED to STARTING, or from RUNNING to
 * STOPPING, has all threads of the allocator to itself until it moves on.
 *
 * Fork. A child has no threads. A state says in which generation of forks it
 * was entered, and one of another generation is STOPPED, whatever it says; so
 * nothing need be kept over a fork. A thread of ours that forks in a shrinker
 * is an ordinary one in the child: it looks at nothing of what it was, which
 * may go with its allocator or belong to a thread that the child has started,
 * and ends.
 */
#include <errno.h>
#include <stdio.h>

#include "alloc/page_alloc.h"
#include "base/report.h"
#include "platform/platform.h"
#include "platform/platform_process.h"
#include "service/reclaim.h"
#include "service/small.h"

enum { PAUSE_FIRST_MS = 1, PAUSE_MOST_MS = 128 };

/* Bits of thread.word */
enum { ASLEEP = 1, KICKED = 2, STOP = 4 };

enum phase { STOPPED, STARTING, RUNNING, STOPPING };
enum { PHASE_BITS = 2, PHASE_MASK = (1 << PHASE_BITS) - 1 };

/* (c) constant while it runs, (a) atomic */
struct thread {
	_Atomic uint32_t word cacheline_aligned; /* (a) */
	struct reclaim_threads *threads;	 /* (c) */
	unsigned node;				 /* (c) */
	struct platform_thread thread;		 /* (c) */
};

/* (c) constant, (a) atomic */
struct reclaim_threads {
	struct quire *q;	     /* (c) */
	_Atomic uint32_t state;	     /* (a) phase, and above it q->forks */
	_Atomic uint64_t maintained; /* (a) ns: quire_maintain() was called */
	struct thread thread[];	     /* one a node */
};

/* What this thread is; NULL: none of ours, or no longer. */
static thread_local_in_handlers struct thread *self;

static struct reclaim_threads *threads_of(struct quire *q)
{
	/* acquire: partner of the release in threads_make(). */
	return atomic_load_explicit(&q->reclaim_threads, memory_order_acquire);
}

/* --- states --- */

static uint32_t state_of(const struct reclaim_threads *threads,
			 enum phase phase)
{
	return threads->q->forks << PHASE_BITS | phase;
}

static enum phase phase_of(const struct reclaim_threads *threads,
			   uint32_t state)
{
	enum phase phase = (enum phase)(state & PHASE_MASK);

	return state == state_of(threads, phase) ? phase : STOPPED;
}

/* False: they are not in that phase. */
static bool move(struct reclaim_threads *threads, enum phase from,
		 enum phase to)
{
	uint32_t state =
		atomic_load_explicit(&threads->state, memory_order_relaxed);

	/* acquire: partner of the release in settle(). */
	return phase_of(threads, state) == from &&
	       atomic_compare_exchange_strong_explicit(
		       &threads->state, &state, state_of(threads, to),
		       memory_order_acquire, memory_order_relaxed);
}

/* By who moved it last. */
static void settle(struct reclaim_threads *threads, enum phase phase)
{
	/* release: partner of the acquire in move(). */
	atomic_store_explicit(&threads->state, state_of(threads, phase),
			      memory_order_release);
}

/* --- a thread --- */

/* The kick hook. */
static void kick(struct quire *q, unsigned node)
{
	struct thread *t = &threads_of(q)->thread[node];

	/* release: partner of the acquire in rest(). The thread sees what is
	 * missing. */
	if (atomic_fetch_or_explicit(&t->word, KICKED, memory_order_release) ==
	    ASLEEP)
		platform_unpark(&t->word, 1);
}

/* Until a kick, or decay_ms; returns the bits. */
static uint32_t rest(struct thread *t)
{
	uint64_t ns = t->threads->q->decay_ms * UINT64_C(1000000);
	uint32_t none = 0;

	if (atomic_compare_exchange_strong_explicit(&t->word, &none, ASLEEP,
						    memory_order_relaxed,
						    memory_order_relaxed))
		platform_park_for(&t->word, ASLEEP, ns);
	/* acquire: partner of the release in kick(). */
	return atomic_fetch_and_explicit(&t->word, STOP, memory_order_acquire);
}

static bool stopped(const void *arg)
{
	const struct thread *t = arg;

	return self != t ||
	       atomic_load_explicit(&t->word, memory_order_relaxed) & STOP;
}

/* Nobody but threads_stop() wakes who is not ASLEEP. */
static void pause_for(struct thread *t, uint64_t ms)
{
	uint64_t end = platform_ns() + ms * 1000000, now;
	uint32_t word;

	while (!((word = atomic_load_explicit(&t->word, memory_order_relaxed)) &
		 STOP) &&
	       (now = platform_ns()) < end)
		platform_park_for(&t->word, word, end - now);
}

static void maintain_if_due(struct reclaim_threads *threads)
{
	uint64_t last = atomic_load_explicit(&threads->maintained,
					     memory_order_relaxed);
	uint64_t now = platform_ns();

	if ((int64_t)(now - last) >= threads->q->decay_ms * INT64_C(1000000) &&
	    atomic_compare_exchange_strong_explicit(&threads->maintained, &last,
						    now, memory_order_relaxed,
						    memory_order_relaxed))
		quire_maintain(threads->q);
}

static void thread_main(void *arg)
{
	struct thread *t = arg;
	struct quire *q = t->threads->q;
	uint64_t pause = 0;
	uint32_t bits;

	self = t;
	while (!stopped(t) && !((bits = rest(t)) & STOP)) {
		if (!(bits & KICKED) && !allocator_is_low(q, t->node))
			pause = 0;
		else if (reclaim_balance(q, t->node, stopped, t))
			pause = 0;
		else if (pause < PAUSE_MOST_MS)
			pause = pause ? 2 * pause : PAUSE_FIRST_MS;
		if (stopped(t))
			return;
		maintain_if_due(t->threads);
		if (pause)
			pause_for(t, pause);
	}
}

/* --- start and stop --- */

static size_t threads_bytes(const struct quire *q)
{
	return sizeof(struct reclaim_threads) +
	       q->nodes->nr * sizeof(struct thread);
}

/* The allocator's, made when it is first used. */
static struct reclaim_threads *threads_make(struct quire *q)
{
	struct reclaim_threads *threads = threads_of(q), *made;

	if (threads)
		return threads;
	made = small_alloc(q, threads_bytes(q));
	if (!made)
		return NULL;
	made->q = q;
	/* release: partner of the acquire in threads_of(), which this is, too,
	 * if somebody else was faster. */
	if (atomic_compare_exchange_strong_explicit(
		    &q->reclaim_threads, &threads, made, memory_order_release,
		    memory_order_acquire))
		return made;
	small_free(q, made, threads_bytes(q));
	return threads;
}

/* Returns how many there are. */
static unsigned threads_start(struct reclaim_threads *threads)
{
	unsigned n = 0;

	atomic_store_explicit(&threads->maintained, platform_ns(),
			      memory_order_relaxed);
	for (; n < threads->q->nodes->nr; n++) {
		struct thread *t = &threads->thread[n];
		char name[32];

		t->threads = threads;
		t->node = n;
		atomic_store_explicit(&t->word, 0, memory_order_relaxed);
		snprintf(name, sizeof(name), "quire/%u", n);
		if (platform_thread_start(&t->thread, thread_main, t, name) !=
		    0)
			break;
	}
	return n;
}

static void threads_stop(struct reclaim_threads *threads, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		atomic_fetch_or_explicit(&threads->thread[i].word, STOP,
					 memory_order_relaxed);
		platform_unpark(&threads->thread[i].word, 1);
	}
	for (unsigned i = 0; i < nr; i++)
		platform_thread_join(&threads->thread[i].thread);
	settle(threads, STOPPED);
}

static int fail(int error)
{
	errno = error;
	return -1;
}

int quire_reclaim_start(struct quire *q)
{
	struct reclaim_threads *threads;
	unsigned n = 0;

	if (allocator_check_fork(q) != 0)
		return -1;
	threads = threads_make(q);
	if (threads && !move(threads, STOPPED, STARTING))
		return fail(EBUSY);
	if (threads)
		n = threads_start(threads);
	if (n == q->nodes->nr) {
		/* release: a kick sees the thread. */
		atomic_store_explicit(&q->hooks.kick, kick,
				      memory_order_release);
		settle(threads, RUNNING);
		return 0;
	}
	if (threads)
		threads_stop(threads, n);
	report(&q->reporter, "reclaim_start: thread %u of %u cannot be had", n,
	       q->nodes->nr);
	return fail(EAGAIN);
}

int quire_reclaim_stop(struct quire *q)
{
	struct reclaim_threads *threads = threads_of(q);

	if (self && self->threads == threads) {
		report(&q->reporter,
		       "reclaim_stop: called by a shrinker that the thread of "
		       "node %u runs",
		       self->node);
		return fail(EBUSY);
	}
	if (!threads || !move(threads, RUNNING, STOPPING))
		return fail(EINVAL);
	atomic_store_explicit(&q->hooks.kick, NULL, memory_order_relaxed);
	threads_stop(threads, q->nodes->nr);
	return 0;
}

/* --- destroy and fork --- */

static void stop(struct quire *q)
{
	struct reclaim_threads *threads = threads_of(q);

	if (threads && move(threads, RUNNING, STOPPING))
		threads_stop(threads, q->nodes->nr);
}

static void fork_child(void)
{
	self = NULL;
}

static at_load void hook(void)
{
	static const struct service service = {
		.at_fork = { [FORK_CHILD] = fork_child },
		.stop = stop,
	};

	service_add(SERVICE_RECLAIM_THREAD, &service);
}
