/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reclaim: shrinkers, and the threads that call them.
 *
 * Model. The loop is Linux's (mm/vmscan.c, mm/shrinker.c). A call goes over all
 * shrinkers at priority 12, then 11, down to 0. Each says how many pages it
 * could free, n, and is asked for n >> priority of them, one batch at least; so
 * large caches give more than small ones, and nobody is emptied while others
 * were not asked. Unlike Linux it ends as soon as enough was freed, for what a
 * scan is asked for here is pages, not objects that may stay: so that the first
 * shrinker is not the only one, each call begins with another one.
 *
 * Shrinkers are not believed. What they say is cut to the allocator's pages,
 * which ends each loop and bounds each sum; a call is 13 rounds at most, and
 * the threads look at the watermarks, not at what they were told.
 *
 * A shrinker is called by threads that hold nothing, may block, and can be
 * unregistered meanwhile. A read-side section of RCU would hold up all grace
 * periods of the process for that long, so it covers the step from one shrinker
 * to the next only, and what is called is kept by a count of who runs it:
 *
 * To step: read lock; load `next`; count in, unless it is dead; count out of
 * the one before; read unlock.
 *
 * To unregister: mark it dead, so that nobody counts in any more; wait until
 * the count is 0; unlink; grace period; free.
 *
 * The order matters: what somebody runs is still linked, so its `next` is kept
 * up to date and names an entry that cannot be freed before the section ends.
 * (Linux's shrinker_free() has the same order.) Were it unlinked first, its
 * `next` could be freed while it runs.
 *
 * Any thread may allocate, so any may reclaim: RCU in which no reader
 * registers. Links are C11 atomics.
 *
 * Threads. One a node sleeps on its word. Bits: ASLEEP, KICKED, STOP. A kick is
 * one read-modify-write, so it is either seen by the thread's next look or
 * comes after it, and wakes only a sleeper. When shrinkers give nothing the
 * thread pauses, 1 ms first and then twice as long, and kicks do not wake it.
 * The threads share one clock for quire_maintain(): who finds it due does it.
 *
 * Locks. services_lock guards the lists' shape, the threads' states, and the
 * list of all struct reclaim; it is never held while a shrinker runs, a grace
 * period is waited for or a thread joined. Below all locks of the core.
 *
 * Fork. The lock and RCU's own are held over it. In the child nobody else
 * runs shrinkers and there are no threads. A shrinker whose unregistration was
 * under way in another thread is unregistered there.
 */
#include "service/reclaim.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>

#include "alloc/want.h"
#include "base/report.h"
#include "platform/platform.h"
#include "platform/platform_rcu.h"
#include "service/small.h"

/* As in Linux: DEF_PRIORITY, SHRINK_BATCH, MAX_RECLAIM_RETRIES. */
enum { PRIORITY = 12, BATCH = 128, FRUITLESS = 16 };
enum { PAUSE_FIRST_MS = 1, PAUSE_MOST_MS = 128 };

/* Bits of entry.runs and thread.word */
#define DEAD (UINT32_C(1) << 31)
enum { ASLEEP = 1, KICKED = 2, STOP = 4 };

/* (c) constant, (a) atomic, (r) read under RCU, written under services_lock */
struct entry {
	struct quire_shrinker *shrinker; /* (c) */
	_Atomic(struct entry *) next;	 /* (r) */
	_Atomic uint32_t runs;		 /* (a) threads in it; DEAD */
	uint64_t bit; /* (c) in a mask of shrinkers; 0: none was left */
};

enum threads { STOPPED, RUNNING, STOPPING };

/* (c) while the threads run */
struct thread {
	_Atomic uint32_t word cacheline_aligned; /* (a) */
	struct reclaim *reclaim;		 /* (c) */
	unsigned node;				 /* (c) */
	struct platform_thread thread;		 /* (c) */
};

/* (c) constant, (a) atomic, (l) services_lock, (r) as above */
struct reclaim {
	struct quire *q;	       /* (c) */
	struct reclaim *next;	       /* (l) */
	_Atomic(struct entry *) first; /* (r) */
	_Atomic unsigned nr;	       /* (a) entries alive */
	_Atomic unsigned turn;	       /* (a) which one is first */
	uint64_t bits;		       /* (l) of entries */
	_Atomic uint64_t maintained;   /* (a) ns: quire_maintain() was called */
	enum threads threads;	       /* (l) */
	unsigned nr_threads;	       /* (c) */
	struct thread *thread;	       /* (c) one a node */
};

static struct lock services_lock = LOCK_INIT(LOCK_RANK_RECLAIM);
static struct reclaim *all; /* (l) */
static bool rcu_used;	    /* (l) the process has readers of ours */

/* What this thread is in, or is. */
static thread_local_in_handlers struct entry *running;
static thread_local_in_handlers struct thread *self;

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static const char *name_of(const struct quire_shrinker *shrinker)
{
	return shrinker->name ? shrinker->name : "(no name)";
}

/* --- entries --- */

static bool entry_get(struct entry *entry)
{
	uint32_t runs =
		atomic_load_explicit(&entry->runs, memory_order_relaxed);

	/* relaxed: what is in the entry came with its link. */
	do {
		if (runs & DEAD)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(
		&entry->runs, &runs, runs + 1, memory_order_relaxed,
		memory_order_relaxed));
	return true;
}

/* In a read-side section: the word must be there to be woken. */
static void entry_put(struct entry *entry)
{
	/* release: partner of the acquire in entry_wait(). The shrinker's owner
	 * sees what it did here. */
	if (atomic_fetch_sub_explicit(&entry->runs, 1, memory_order_release) ==
	    (DEAD | 1))
		platform_unpark(&entry->runs, 1);
}

static void entry_wait(struct entry *entry)
{
	uint32_t runs;

	/* acquire: partner of the release in entry_put(). */
	while ((runs = atomic_load_explicit(&entry->runs,
					    memory_order_acquire)) != DEAD)
		platform_park(&entry->runs, runs);
}

/* The entry after `at`, the first after NULL, to be run; `at` no longer is. */
static struct entry *entry_next(struct reclaim *r, struct entry *at)
{
	struct entry *entry;

	platform_rcu_read_lock();
	/* acquire: partner of the release in entry_add(). What is linked is
	 * complete. */
	entry = atomic_load_explicit(at ? &at->next : &r->first,
				     memory_order_acquire);
	while (entry && !entry_get(entry))
		entry = atomic_load_explicit(&entry->next,
					     memory_order_acquire);
	if (at)
		entry_put(at);
	platform_rcu_read_unlock();
	return entry;
}

static void entry_drop(struct entry *entry)
{
	platform_rcu_read_lock();
	entry_put(entry);
	platform_rcu_read_unlock();
}

static struct entry *load_locked(_Atomic(struct entry *) *link)
{
	return atomic_load_explicit(link, memory_order_relaxed);
}

static void entry_add_locked(struct reclaim *r, struct entry *entry)
{
	_Atomic(struct entry *) *at = &r->first;

	while (load_locked(at))
		at = &load_locked(at)->next;
	entry->bit = ~r->bits & -~r->bits;
	r->bits |= entry->bit;
	atomic_fetch_add_explicit(&r->nr, 1, memory_order_relaxed);
	entry->shrinker->state = entry;
	/* release: partner of the acquires in entry_next(). */
	atomic_store_explicit(at, entry, memory_order_release);
}

static void entry_unlink_locked(struct reclaim *r, struct entry *entry)
{
	_Atomic(struct entry *) *at = &r->first;

	while (load_locked(at) != entry)
		at = &load_locked(at)->next;
	r->bits &= ~entry->bit;
	/* release: as in entry_add_locked(), for the entry behind. */
	atomic_store_explicit(at, load_locked(&entry->next),
			      memory_order_release);
}

static struct entry *entry_find_locked(struct reclaim *r,
				       const struct quire_shrinker *shrinker)
{
	struct entry *entry = load_locked(&r->first);

	while (entry &&
	       (entry->shrinker != shrinker ||
		atomic_load_explicit(&entry->runs, memory_order_relaxed) &
			DEAD))
		entry = load_locked(&entry->next);
	return entry;
}

/* Nobody begins to run it from here on. */
static void entry_kill_locked(struct reclaim *r, struct entry *entry)
{
	/* relaxed: entry_get() changes the same word. */
	atomic_fetch_or_explicit(&entry->runs, DEAD, memory_order_relaxed);
	atomic_fetch_sub_explicit(&r->nr, 1, memory_order_relaxed);
	entry->shrinker->state = NULL;
}

/* --- a call --- */

struct call {
	struct quire_shrink want;
	uint64_t pages;	  /* the allocator's: none has more */
	uint64_t freed;	  /* as they say */
	uint64_t stopped; /* bits of those that cannot go on */
	bool asked, more; /* somebody was; has something left */
};

static bool call_done(const struct call *call)
{
	return call->freed >= call->want.pages;
}

static void ask(struct call *call, struct entry *entry)
{
	struct quire_shrinker *s = entry->shrinker;
	uint64_t batch = s->batch ? s->batch : BATCH, n, left;

	call->asked = true;
	n = least(s->count(s, &call->want), call->pages);
	left = n >> call->want.priority;
	if (left < batch)
		left = least(batch, n);
	if (n)
		call->more = true;
	while (left && !call_done(call)) {
		uint64_t now = least(least(left, batch),
				     call->want.pages - call->freed);
		uint64_t freed = s->scan(s, &call->want, now);

		if (freed == QUIRE_SHRINK_STOP) {
			call->stopped |= entry->bit;
			return;
		}
		call->freed += least(freed, call->pages);
		left -= now;
	}
}

/* Asks entries [from, to) of the list. */
static void ask_some(struct reclaim *r, struct call *call, unsigned from,
		     unsigned to)
{
	struct entry *entry = NULL;

	for (unsigned i = 0; i < to && !call_done(call); i++) {
		entry = entry_next(r, entry);
		if (!entry)
			return;
		if (i < from || call->stopped & entry->bit)
			continue;
		running = entry;
		alloc_enter_reclaim();
		ask(call, entry);
		alloc_leave_reclaim();
		running = NULL;
	}
	if (entry)
		entry_drop(entry);
}

/* Returns the pages that shrinkers say they freed. */
static uint64_t shrink(struct reclaim *r, const struct quire_shrink *want)
{
	struct quire *q = r->q;
	unsigned nr = atomic_load_explicit(&r->nr, memory_order_relaxed);
	struct call call = { .want = *want, .more = true };
	unsigned first;
	int error = errno;

	if (nr == 0 || alloc_in_reclaim())
		return 0;
	first = atomic_fetch_add_explicit(&r->turn, 1, memory_order_relaxed) %
		nr;
	call.pages = q->map.region.end - q->map.region.first;
	call.want.pages = least(want->pages, call.pages);
	for (unsigned p = PRIORITY + 1;
	     p-- > 0 && call.more && !call_done(&call);) {
		call.want.priority = p;
		call.more = false;
		ask_some(r, &call, first, UINT_MAX);
		ask_some(r, &call, 0, first);
	}
	if (call.asked) {
		atomic_fetch_add_explicit(&q->reclaims, 1,
					  memory_order_relaxed);
		atomic_fetch_add_explicit(&q->reclaimed, call.freed,
					  memory_order_relaxed);
	}
	errno = error;
	return call.freed;
}

static struct reclaim *reclaim_of(struct quire *q)
{
	/* acquire: partner of the release in reclaim_make_locked(). */
	return atomic_load_explicit(&q->reclaimer, memory_order_acquire);
}

/* --- watermarks --- */

static bool stopped(struct thread *t)
{
	return t && atomic_load_explicit(&t->word, memory_order_relaxed) & STOP;
}

/*
 * Reclaims for a node up to its high watermarks; false if that cannot be: then
 * boosts are over, too, or caches would be emptied for them for ever. What was
 * freed may be parked in per-CPU lists, where no watermark counts it.
 */
static bool balance(struct reclaim *r, unsigned node, struct thread *t)
{
	struct quire *q = r->q;
	uint64_t missing = allocator_shortfall(q, node);
	unsigned fruitless = 0;

	while (missing && !stopped(t)) {
		const struct quire_shrink want = { .q = q,
						   .node = node,
						   .pages = missing };
		uint64_t freed = shrink(r, &want), before = missing;

		missing = allocator_shortfall(q, node);
		if (missing) {
			quire_drain_all(q);
			missing = allocator_shortfall(q, node);
		}
		if (missing < before)
			fruitless = 0;
		else if (freed == 0 || ++fruitless == FRUITLESS) {
			allocator_balanced(q, node);
			return false;
		}
	}
	if (missing == 0)
		allocator_balanced(q, node);
	return true;
}

void reclaim_maintain(struct quire *q)
{
	struct reclaim *r = reclaim_of(q);

	if (!r || alloc_in_reclaim())
		return;
	for (unsigned node = 0; node < q->nodes->nr; node++)
		if (allocator_is_low(q, node))
			balance(r, node, NULL);
}

/* --- threads --- */

/* The kick hook. */
static void kick(struct quire *q, unsigned node)
{
	struct thread *t = &reclaim_of(q)->thread[node];

	/* release: partner of the acquire in rest(). The thread sees what is
	 * missing. */
	if (atomic_fetch_or_explicit(&t->word, KICKED, memory_order_release) ==
	    ASLEEP)
		platform_unpark(&t->word, 1);
}

/* Until a kick, or decay_ms; returns the bits. */
static uint32_t rest(struct thread *t)
{
	uint64_t ns = t->reclaim->q->decay_ms * UINT64_C(1000000);
	uint32_t none = 0;

	if (atomic_compare_exchange_strong_explicit(&t->word, &none, ASLEEP,
						    memory_order_relaxed,
						    memory_order_relaxed))
		platform_park_for(&t->word, ASLEEP, ns);
	/* acquire: partner of the release in kick(). */
	return atomic_fetch_and_explicit(&t->word, STOP, memory_order_acquire);
}

/* Nobody but stop_threads() wakes who is not ASLEEP. */
static void pause_for(struct thread *t, uint64_t ms)
{
	uint64_t end = platform_ns() + ms * 1000000, now;
	uint32_t word;

	while (!((word = atomic_load_explicit(&t->word, memory_order_relaxed)) &
		 STOP) &&
	       (now = platform_ns()) < end)
		platform_park_for(&t->word, word, end - now);
}

static void maintain_if_due(struct reclaim *r)
{
	uint64_t last =
		atomic_load_explicit(&r->maintained, memory_order_relaxed);
	uint64_t now = platform_ns();

	if ((int64_t)(now - last) >= r->q->decay_ms * INT64_C(1000000) &&
	    atomic_compare_exchange_strong_explicit(&r->maintained, &last, now,
						    memory_order_relaxed,
						    memory_order_relaxed))
		quire_maintain(r->q);
}

static void thread_main(void *arg)
{
	struct thread *t = arg;
	struct reclaim *r = t->reclaim;
	uint64_t pause = 0;
	uint32_t bits;

	self = t;
	while (!((bits = rest(t)) & STOP)) {
		if (!(bits & KICKED) && !allocator_is_low(r->q, t->node))
			pause = 0;
		else if (balance(r, t->node, t))
			pause = 0;
		else
			pause = pause ? least(2 * pause, PAUSE_MOST_MS)
				      : PAUSE_FIRST_MS;
		maintain_if_due(r);
		if (pause)
			pause_for(t, pause);
	}
}

static void stop_threads(struct reclaim *r, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		atomic_fetch_or_explicit(&r->thread[i].word, STOP,
					 memory_order_relaxed);
		platform_unpark(&r->thread[i].word, 1);
	}
	for (unsigned i = 0; i < nr; i++)
		platform_thread_join(&r->thread[i].thread);
	lock_acquire(&services_lock);
	r->threads = STOPPED;
	lock_release(&services_lock);
}

/* Returns how many there are. */
static unsigned start_threads_locked(struct reclaim *r)
{
	unsigned n = 0;

	atomic_store_explicit(&r->maintained, platform_ns(),
			      memory_order_relaxed);
	for (; n < r->nr_threads; n++) {
		struct thread *t = &r->thread[n];
		char name[32];

		t->reclaim = r;
		t->node = n;
		atomic_store_explicit(&t->word, 0, memory_order_relaxed);
		snprintf(name, sizeof(name), "quire/%u", n);
		if (platform_thread_start(&t->thread, thread_main, t, name) !=
		    0)
			break;
	}
	return n;
}

/* --- state --- */

/* The reclaim hook. */
static uint64_t reclaim_direct(struct quire *q, const struct quire_shrink *want)
{
	return shrink(reclaim_of(q), want);
}

/* Entries that are left go with the allocator's small memory. */
static void stop(struct quire *q)
{
	struct reclaim *r = reclaim_of(q), **at = &all;

	if (!r)
		return;
	if (r->threads == RUNNING)
		stop_threads(r, r->nr_threads);
	lock_acquire(&services_lock);
	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	lock_release(&services_lock);
}

/* The allocator's, made when it is first used. */
static struct reclaim *reclaim_make_locked(struct quire *q)
{
	struct reclaim *r = reclaim_of(q);

	if (r)
		return r;
	r = small_alloc(q, sizeof(*r));
	if (!r)
		return NULL;
	r->thread = small_alloc(q, q->nodes->nr * sizeof(*r->thread));
	if (!r->thread) {
		small_free(q, r, sizeof(*r));
		return NULL;
	}
	r->q = q;
	r->nr_threads = q->nodes->nr;
	r->next = all;
	all = r;
	rcu_used = true;
	/* release: partner of the acquire in reclaim_of(), and of those with
	 * which hooks are called. */
	atomic_store_explicit(&q->reclaimer, r, memory_order_release);
	atomic_store_explicit(&q->hooks.reclaim, reclaim_direct,
			      memory_order_release);
	return r;
}

/* --- fork --- */

static void fork_prepare(void)
{
	lock_acquire(&services_lock);
	/* Only then: who calls this around its forks too must not meet it. */
	if (rcu_used)
		platform_rcu_before_fork();
}

static void fork_parent(void)
{
	if (rcu_used)
		platform_rcu_after_fork_parent();
	lock_release(&services_lock);
}

/* Only this thread runs anything. */
static void fork_child(void)
{
	if (rcu_used)
		platform_rcu_after_fork_child();
	for (struct reclaim *r = all; r; r = r->next) {
		struct entry *entry = load_locked(&r->first);

		for (; entry; entry = load_locked(&entry->next)) {
			uint32_t dead =
				atomic_load_explicit(&entry->runs,
						     memory_order_relaxed) &
				DEAD;

			atomic_store_explicit(&entry->runs,
					      dead | (entry == running),
					      memory_order_relaxed);
		}
		r->threads = STOPPED;
		atomic_store_explicit(&r->q->hooks.kick, NULL,
				      memory_order_relaxed);
		/* A thread of ours that forked in a shrinker ends. */
		if (self && self->reclaim == r)
			atomic_fetch_or_explicit(&self->word, STOP,
						 memory_order_relaxed);
	}
	lock_release(&services_lock);
}

static at_load void hook(void)
{
	static const struct service service = {
		.at_fork = { fork_prepare, fork_parent, fork_child },
		.stop = stop,
	};

	service_add(SERVICE_RECLAIM, &service);
}

/* --- quire.h --- */

static int fail(int error)
{
	errno = error;
	return -1;
}

/* The allocator that has it. */
static struct quire *registered_locked(const struct quire_shrinker *shrinker)
{
	for (struct reclaim *r = all; r; r = r->next)
		if (entry_find_locked(r, shrinker))
			return r->q;
	return NULL;
}

int quire_shrinker_register(struct quire *q, struct quire_shrinker *shrinker)
{
	struct entry *entry;
	struct reclaim *r;
	struct quire *of;

	if (allocator_check_fork(q) != 0)
		return -1;
	if (!shrinker || !shrinker->count || !shrinker->scan) {
		report(&q->reporter,
		       "shrinker_register: %s at %p: no count or no scan",
		       shrinker ? name_of(shrinker) : "(none)",
		       (void *)shrinker);
		return fail(EINVAL);
	}
	entry = small_alloc(q, sizeof(*entry));
	if (!entry)
		return -1;
	entry->shrinker = shrinker;
	lock_acquire(&services_lock);
	of = registered_locked(shrinker);
	r = of ? NULL : reclaim_make_locked(q);
	if (r)
		entry_add_locked(r, entry);
	lock_release(&services_lock);
	if (r)
		return 0;
	small_free(q, entry, sizeof(*entry));
	if (!of)
		return fail(ENOMEM);
	report(&q->reporter,
	       "shrinker_register: %s at %p is registered already, with "
	       "allocator %p",
	       name_of(shrinker), (void *)shrinker, (void *)of);
	return fail(EEXIST);
}

int quire_shrinker_unregister(struct quire *q, struct quire_shrinker *shrinker)
{
	struct reclaim *r = reclaim_of(q);
	struct entry *entry = NULL;

	if (running && running->shrinker == shrinker) {
		report(&q->reporter,
		       "shrinker_unregister: %s at %p: called by the shrinker "
		       "itself, as it runs",
		       name_of(shrinker), (void *)shrinker);
		return fail(EBUSY);
	}
	lock_acquire(&services_lock);
	if (r)
		entry = entry_find_locked(r, shrinker);
	if (entry)
		entry_kill_locked(r, entry);
	lock_release(&services_lock);
	if (!entry) {
		report(&q->reporter,
		       "shrinker_unregister: %p is not registered with "
		       "allocator %p",
		       (void *)shrinker, (void *)q);
		return fail(EINVAL);
	}
	entry_wait(entry);
	lock_acquire(&services_lock);
	entry_unlink_locked(r, entry);
	lock_release(&services_lock);
	platform_rcu_synchronize();
	small_free(q, entry, sizeof(*entry));
	return 0;
}

int64_t quire_reclaim(struct quire *q, unsigned node, uint64_t pages)
{
	const struct quire_shrink want = { .q = q,
					   .node = node,
					   .pages = pages };
	struct reclaim *r = reclaim_of(q);

	if (allocator_check_fork(q) != 0)
		return -1;
	if (node >= q->nodes->nr) {
		report(&q->reporter, "reclaim: node %u of %u", node,
		       q->nodes->nr);
		return fail(EINVAL);
	}
	return r ? (int64_t)shrink(r, &want) : 0;
}

int quire_reclaim_start(struct quire *q)
{
	struct reclaim *r;
	unsigned n = 0;
	bool busy = false;

	if (allocator_check_fork(q) != 0)
		return -1;
	lock_acquire(&services_lock);
	r = reclaim_make_locked(q);
	if (r && r->threads != STOPPED)
		busy = true;
	else if (r) {
		n = start_threads_locked(r);
		r->threads = n == r->nr_threads ? RUNNING : STOPPING;
		if (r->threads == RUNNING)
			/* release: a kick sees the thread. */
			atomic_store_explicit(&q->hooks.kick, kick,
					      memory_order_release);
	}
	lock_release(&services_lock);
	if (busy)
		return fail(EBUSY);
	if (r && n == r->nr_threads)
		return 0;
	if (r)
		stop_threads(r, n);
	report(&q->reporter, "reclaim_start: thread %u of %u cannot be had", n,
	       q->nodes->nr);
	return fail(EAGAIN);
}

int quire_reclaim_stop(struct quire *q)
{
	struct reclaim *r = reclaim_of(q);
	bool mine = false;

	if (self && self->reclaim == r) {
		report(&q->reporter,
		       "reclaim_stop: called by a shrinker that the thread of "
		       "node %u runs",
		       self->node);
		return fail(EBUSY);
	}
	lock_acquire(&services_lock);
	if (r && r->threads == RUNNING) {
		r->threads = STOPPING;
		atomic_store_explicit(&q->hooks.kick, NULL,
				      memory_order_relaxed);
		mine = true;
	}
	lock_release(&services_lock);
	if (!mine)
		return fail(EINVAL);
	stop_threads(r, r->nr_threads);
	return 0;
}
