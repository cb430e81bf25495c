/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Modes: what the threads of a stress run do.
 *
 * A run is one mode in one way of being a CPU, on an allocator of its own. It
 * goes in rounds of a fixed number of steps, so that a seed determines what
 * each thread tries at each step; time only decides how many rounds there are.
 * (What comes of a step also depends on the others: where an allocation failed
 * there is nothing to free.) Between rounds all threads stand still at a
 * barrier, and the first one checks everything (run.c). A mode is one file that
 * defines a struct mode; quire-stress.c has the table of them.
 */
#ifndef STRESS_MODE_H
#define STRESS_MODE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <quire/quire.h>

#include "rng.h"
#include "stamp.h"
#include "violation.h"

struct run;
struct worker;

/* Which allocations may not fail: those whose failure would be a false one. */
enum promise {
	PROMISE_NONE,
	/* Threads hold no more than their shares: pages of order 0 that fit
	 * into the share. */
	PROMISE_PAGES,
	/* What is asked for is there by construction. */
	PROMISE_ALL,
};

struct mode {
	const char *name;
	const char *attacks; /* for --help */
	const char *events;  /* what struct worker.events counts, or NULL */
	enum promise promise;
	unsigned zones;	   /* 2: with DMA32; 3: and MOVABLE, and CMA blocks */
	unsigned decay_ms; /* 0: the allocator's default */
	bool uncounted;	   /* quire allocates and frees by itself: pools */
	bool unseated;	   /* bound way: workers do not stand in for CPUs */
	/* A round of a worker; required. */
	void (*round)(struct worker *w);
	/* An extra worker's, the last one, until run_busy() says no. */
	void (*help)(struct worker *w);
	/* By the first worker while all others stand still. */
	void (*still)(struct worker *w);
	/* The same, when all is given back, before that is checked: the mode
	 * puts back what it changed. */
	void (*empty)(struct worker *w);
	/* What it wants of its allocator, besides the run's. */
	void (*options)(const struct run *run, struct quire_options *o);
	/* Around a run; init returns false and errno without memory. */
	bool (*init)(struct run *run);
	void (*fini)(struct run *run);
};

extern const struct mode mode_churn, mode_pass, mode_exhaust, mode_drain,
	mode_migrate, mode_signals, mode_threads, mode_fork, mode_exact,
	mode_create, mode_misuse, mode_faults, mode_nodes, mode_wait,
	mode_pressure, mode_giveback;

/* Whose a 2 MiB block is from one standstill to the next. */
enum kept { KEPT_FOR_NONE = 1, KEPT_FOR_CMA };

/* Blocks a worker holds at most in slots. */
enum { WORKER_SLOTS = 256 };

/* A thread's own, but for the (a) atomic, written by it and read by any. */
struct worker {
	_Atomic uint64_t ops;	   /* (a) calls */
	_Atomic uint64_t events;   /* (a) */
	_Atomic uint64_t held;	   /* (a) pages; also of others that it freed */
	_Atomic uint64_t failures; /* (a) ENOMEM */
	struct run *run;
	unsigned number;
	pid_t tid;
	pthread_t thread;
	enum promise promise;
	struct rng rng;	  /* what it does of itself: by the seed alone */
	struct rng reply; /* how it reacts to others: by timing as well */
	uint64_t share;	  /* pages it may hold */
	uint32_t sequence;
	uint64_t allocs, frees; /* blocks, as struct quire_stat counts */
	uint64_t refused;
	struct block slot[WORKER_SLOTS];
} __attribute__((aligned(64)));

/* Constant while workers run, but for (a) atomic, (l) the first worker's
 * between two barriers, (e) end_lock. */
struct run {
	const struct mode *mode;
	enum quire_way way;
	uint64_t seed;
	unsigned nr_players; /* workers that play rounds */
	unsigned nr_workers; /* with the helper */
	unsigned steps;	     /* of a player in a round */
	uint64_t deadline;   /* ns */
	struct quire *q;
	struct quire_info info;
	/* As they were at first. */
	struct quire_zone_info zone[QUIRE_MAX_ZONES];
	struct shadow *shadow;
	struct worker *workers;
	void *own;	     /* the mode's */
	const uint8_t *kept; /* (l) by 2 MiB block, enum kept; or NULL */
	uint64_t first_runs[QUIRE_NR_ORDERS];
	pthread_barrier_t barrier, players_barrier;
	_Atomic unsigned busy; /* (a) players that have not ended the round */
	unsigned round;	       /* (l) */
	bool give_back;	       /* (l) all is freed after this round */
	bool over;	       /* (l) */
	pthread_mutex_t end_lock;
	pthread_cond_t ended;
	unsigned alive; /* (e) workers */
};

static inline void count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(
		counter,
		atomic_load_explicit(counter, memory_order_relaxed) + n,
		memory_order_relaxed);
}

static inline uint64_t counted(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* --- run.c, for modes --- */

/* Whether a player has not ended the round yet. */
bool run_busy(const struct run *run);
uint64_t run_ns(void);
/* All players; a mode's own barriers are the same in each player's round. */
void run_meet(struct run *run);
/* Nobody is in a call: the tables are sound and the counters right. */
void run_check(struct run *run);
/* And, when nothing is held either: everything is free again. */
void run_check_empty(struct run *run);
/* In the bound way: stands in for a CPU, if there is one of the worker's
 * number. */
void worker_sit(struct worker *w);

#endif
