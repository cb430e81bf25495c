/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shrinkers: a list of each allocator's, walked under RCU.
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
 * Any thread may allocate, so any may walk: RCU in which no reader registers.
 * Links are C11 atomics.
 *
 * A walk numbers entries as it meets them. A new one is linked behind all
 * others, so those before it keep their numbers; when one leaves, a walk under
 * way may ask another one twice, or not this time.
 *
 * Locks. shrinkers_lock guards the lists' shape and the list of all lists; it
 * is never held while a shrinker runs or a grace period is waited for. Below
 * all locks of the core.
 *
 * Fork. The lock and RCU's own are held over it. In the child nobody else runs
 * shrinkers, so counts begin again. A shrinker whose unregistration was under
 * way in another thread is unregistered there.
 */
#include "service/shrinker.h"

#include <errno.h>
#include <limits.h>

#include "alloc/page_alloc.h"
#include "base/report.h"
#include "platform/platform.h"
#include "platform/platform_rcu.h"
#include "service/small.h"

/* Bit of entry.runs */
#define DEAD (UINT32_C(1) << 31)

/* (c) constant, (a) atomic, (r) read under RCU, written under shrinkers_lock */
struct entry {
	struct quire_shrinker *shrinker; /* (c) */
	_Atomic(struct entry *) next;	 /* (r) */
	_Atomic uint32_t runs;		 /* (a) threads in it; DEAD */
	uint64_t bit; /* (c) in a mask of shrinkers; 0: none was left */
};

/* (c) constant, (a) atomic, (l) shrinkers_lock, (r) as above */
struct shrinkers {
	struct quire *q;	       /* (c) */
	struct shrinkers *next;	       /* (l) */
	_Atomic(struct entry *) first; /* (r) */
	_Atomic unsigned nr;	       /* (a) entries alive */
	_Atomic unsigned turn;	       /* (a) which one is first */
	uint64_t bits;		       /* (l) of entries */
};

static struct lock shrinkers_lock = LOCK_INIT(LOCK_RANK_SHRINKERS);
static struct shrinkers *all; /* (l) */
static bool rcu_used;	      /* (l) the process has readers of ours */

/* What this thread is in. */
static thread_local_in_handlers struct entry *running;

static const char *name_of(const struct quire_shrinker *shrinker)
{
	return shrinker->name ? shrinker->name : "(no name)";
}

static struct shrinkers *shrinkers_of(struct quire *q)
{
	/* acquire: partner of the release in make_locked(). */
	return atomic_load_explicit(&q->shrinkers, memory_order_acquire);
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
static struct entry *entry_next(struct shrinkers *list, struct entry *at)
{
	struct entry *entry;

	platform_rcu_read_lock();
	/* acquire: partner of the release in entry_add(). What is linked is
	 * complete. */
	entry = atomic_load_explicit(at ? &at->next : &list->first,
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

static void entry_add_locked(struct shrinkers *list, struct entry *entry)
{
	_Atomic(struct entry *) *at = &list->first;

	while (load_locked(at))
		at = &load_locked(at)->next;
	entry->bit = ~list->bits & -~list->bits;
	list->bits |= entry->bit;
	atomic_fetch_add_explicit(&list->nr, 1, memory_order_relaxed);
	entry->shrinker->state = entry;
	/* release: partner of the acquires in entry_next(). */
	atomic_store_explicit(at, entry, memory_order_release);
}

static void entry_unlink_locked(struct shrinkers *list, struct entry *entry)
{
	_Atomic(struct entry *) *at = &list->first;

	while (load_locked(at) != entry)
		at = &load_locked(at)->next;
	list->bits &= ~entry->bit;
	/* release: as in entry_add_locked(), for the entry behind. */
	atomic_store_explicit(at, load_locked(&entry->next),
			      memory_order_release);
}

static struct entry *entry_find_locked(struct shrinkers *list,
				       const struct quire_shrinker *shrinker)
{
	struct entry *entry = load_locked(&list->first);

	while (entry &&
	       (entry->shrinker != shrinker ||
		atomic_load_explicit(&entry->runs, memory_order_relaxed) &
			DEAD))
		entry = load_locked(&entry->next);
	return entry;
}

/* Nobody begins to run it from here on. */
static void entry_kill_locked(struct shrinkers *list, struct entry *entry)
{
	/* relaxed: entry_get() changes the same word. */
	atomic_fetch_or_explicit(&entry->runs, DEAD, memory_order_relaxed);
	atomic_fetch_sub_explicit(&list->nr, 1, memory_order_relaxed);
	entry->shrinker->state = NULL;
}

/* --- a walk --- */

bool shrinker_turn(struct quire *q, unsigned *first)
{
	struct shrinkers *list = shrinkers_of(q);
	unsigned nr =
		list ? atomic_load_explicit(&list->nr, memory_order_relaxed)
		     : 0;

	if (nr == 0)
		return false;
	*first = atomic_fetch_add_explicit(&list->turn, 1,
					   memory_order_relaxed) %
		 nr;
	return true;
}

/* Entries [from, to) of the list; false: no others need be asked. */
static bool walk(struct shrinkers *list, unsigned from, unsigned to,
		 shrinker_ask *ask, void *arg)
{
	struct entry *entry = NULL;
	bool more = true;

	for (unsigned i = 0; i < to && more; i++) {
		entry = entry_next(list, entry);
		if (!entry)
			return true;
		if (i < from)
			continue;
		running = entry;
		more = ask(arg, entry->shrinker, entry->bit);
		running = NULL;
	}
	if (entry)
		entry_drop(entry);
	return more;
}

void shrinker_walk(struct quire *q, unsigned first, shrinker_ask *ask,
		   void *arg)
{
	struct shrinkers *list = shrinkers_of(q);

	if (walk(list, first, UINT_MAX, ask, arg))
		walk(list, 0, first, ask, arg);
}

/* --- register and unregister --- */

static int fail(int error)
{
	errno = error;
	return -1;
}

/* The allocator's, made when it is first used. */
static struct shrinkers *make_locked(struct quire *q)
{
	struct shrinkers *list = shrinkers_of(q);

	if (list)
		return list;
	list = small_alloc(q, sizeof(*list));
	if (!list)
		return NULL;
	list->q = q;
	list->next = all;
	all = list;
	rcu_used = true;
	/* release: partner of the acquire in shrinkers_of(). */
	atomic_store_explicit(&q->shrinkers, list, memory_order_release);
	return list;
}

/* The allocator that has it. */
static struct quire *registered_locked(const struct quire_shrinker *shrinker)
{
	for (struct shrinkers *list = all; list; list = list->next)
		if (entry_find_locked(list, shrinker))
			return list->q;
	return NULL;
}

int shrinker_register(struct quire *q, struct quire_shrinker *shrinker)
{
	struct entry *entry;
	struct shrinkers *list;
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
	lock_acquire(&shrinkers_lock);
	of = registered_locked(shrinker);
	list = of ? NULL : make_locked(q);
	if (list)
		entry_add_locked(list, entry);
	lock_release(&shrinkers_lock);
	if (list)
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
	struct shrinkers *list = shrinkers_of(q);
	struct entry *entry = NULL;

	if (running && running->shrinker == shrinker) {
		report(&q->reporter,
		       "shrinker_unregister: %s at %p: called by the shrinker "
		       "itself, as it runs",
		       name_of(shrinker), (void *)shrinker);
		return fail(EBUSY);
	}
	lock_acquire(&shrinkers_lock);
	if (list)
		entry = entry_find_locked(list, shrinker);
	if (entry)
		entry_kill_locked(list, entry);
	lock_release(&shrinkers_lock);
	if (!entry) {
		report(&q->reporter,
		       "shrinker_unregister: %p is not registered with "
		       "allocator %p",
		       (void *)shrinker, (void *)q);
		return fail(EINVAL);
	}
	entry_wait(entry);
	lock_acquire(&shrinkers_lock);
	entry_unlink_locked(list, entry);
	lock_release(&shrinkers_lock);
	platform_rcu_synchronize();
	small_free(q, entry, sizeof(*entry));
	return 0;
}

/* --- destroy and fork --- */

/* Entries that are left go with the allocator's small memory. The child of a
 * shrinker that forked may destroy what that shrinker is registered with. */
static void stop(struct quire *q)
{
	struct shrinkers **at = &all;

	lock_acquire(&shrinkers_lock);
	while (*at && (*at)->q != q)
		at = &(*at)->next;
	if (*at) {
		struct entry *entry = load_locked(&(*at)->first);

		for (; entry; entry = load_locked(&entry->next))
			if (entry == running)
				running = NULL;
		*at = (*at)->next;
	}
	lock_release(&shrinkers_lock);
}

static void fork_prepare(void)
{
	lock_acquire(&shrinkers_lock);
	/* Only then: who calls this around its forks too must not meet it. */
	if (rcu_used)
		platform_rcu_before_fork();
}

static void fork_parent(void)
{
	if (rcu_used)
		platform_rcu_after_fork_parent();
	lock_release(&shrinkers_lock);
}

/* Only this thread runs anything. */
static void runs_reset_locked(struct shrinkers *list)
{
	struct entry *entry = load_locked(&list->first);

	for (; entry; entry = load_locked(&entry->next)) {
		uint32_t dead = atomic_load_explicit(&entry->runs,
						     memory_order_relaxed) &
				DEAD;

		atomic_store_explicit(&entry->runs, dead | (entry == running),
				      memory_order_relaxed);
	}
}

static void fork_child(void)
{
	if (rcu_used)
		platform_rcu_after_fork_child();
	for (struct shrinkers *list = all; list; list = list->next)
		runs_reset_locked(list);
	lock_release(&shrinkers_lock);
}

static at_load void hook(void)
{
	static const struct service service = {
		.at_fork = { fork_prepare, fork_parent, fork_child },
		.stop = stop,
	};

	service_add(SERVICE_SHRINKER, &service);
}
