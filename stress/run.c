/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A run: see run.h, and mode.h for rounds.
 *
 * After each round all workers stand at the barrier and the first of them
 * checks: the allocator's own invariants; that pages the counters call live are
 * those the shadow map and the workers hold; that each count of calls is the
 * workers'. After every fourth round and the last, all is given back, and the
 * free memory must be what it was when the allocator was new.
 *
 * The main thread watches the players, not the helper, who may go on for as
 * long as they are busy: if no call of theirs ends for so many seconds as the
 * options say, it never will, for no wait is that long on purpose. A run with
 * violations ends with its round; an allocator may be broken in such a way that
 * it cannot, and has BROKEN_SECONDS for it.
 */
#include "run.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <quire/debug.h>

#include "blocks.h"

enum { BROKEN_SECONDS = 10, WATCH_MS = 100 };
/* And no run has fewer. */
enum { GIVE_BACK_ROUNDS = 4 };
/* Steps of all players in a round: milliseconds of work. */
enum { ROUND_STEPS = 12000, STEPS_MIN = 100, STEPS_MAX = 3000 };

uint64_t run_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

double run_now(void)
{
	return (double)run_ns() / 1e9;
}

bool run_busy(const struct run *run)
{
	return atomic_load(&run->busy) != 0;
}

void run_meet(struct run *run)
{
	pthread_barrier_wait(&run->players_barrier);
}

/* --- checks --- */

static void check_same(const char *what, uint64_t found, uint64_t expected)
{
	if (found != expected)
		violation("%s: %lld, should be %lld", what, (long long)found,
			  (long long)expected);
}

/* Each zone's counts are right, and their sum is; empty: all of it is free. */
static void check_zones(const struct run *run, uint64_t pages_free, bool empty)
{
	uint64_t sum = 0;

	for (unsigned z = 0; z < run->info.zones; z++) {
		struct quire_zone_info info;
		uint64_t parts;

		quire_zone_info(run->q, z, &info, sizeof(info));
		parts = info.free_whole;
		for (unsigned i = 0; i < QUIRE_NR_TYPES; i++)
			parts += info.free_type[i];
		check_same("pages free by type in a zone", parts, info.free);
		if (empty)
			check_same("pages free in a zone when all is given "
				   "back",
				   info.free, info.pages);
		sum += info.free;
	}
	check_same("pages free in all zones", sum, pages_free);
}

void run_check(struct run *run)
{
	uint64_t allocs = 0, frees = 0, failures = 0, refused = 0, held = 0;
	int bad = quire_validate(run->q);
	struct quire_stat stat;

	for (unsigned i = 0; i < run->nr_workers; i++) {
		const struct worker *w = &run->workers[i];

		allocs += w->allocs;
		frees += w->frees;
		refused += w->refused;
		failures += counted(&w->failures);
		held += counted(&w->held);
	}
	quire_stat(run->q, &stat, sizeof(stat));
	if (bad)
		violation("quire_validate() found %d violations", bad);
	check_same("pages", stat.pages, run->info.pages);
	check_same("pages free, parked and held by threads",
		   stat.pages_free + stat.pages_parked + held, stat.pages);
	check_same("pages live", stat.pages_live, held);
	check_same("pages in the shadow map", shadow_held(run->shadow), held);
	check_same("blocks live", stat.allocs - stat.frees, allocs - frees);
	if (!run->mode->uncounted) {
		check_same("allocs", stat.allocs, allocs);
		check_same("frees", stat.frees, frees);
		check_same("failures", stat.failures, failures);
	}
	check_same("refused", stat.refused, refused);
	check_zones(run, stat.pages_free, false);
}

void run_check_empty(struct run *run)
{
	uint64_t runs[QUIRE_NR_ORDERS];
	struct quire_stat stat;

	run_check(run);
	if (quire_drain_all(run->q) != 0 || quire_free_runs(run->q, runs) != 0)
		violation("drain or free_runs failed: errno %d", errno);
	run_check(run);
	quire_stat(run->q, &stat, sizeof(stat));
	check_same("pages free when all is given back", stat.pages_free,
		   stat.pages);
	check_same("pages parked after a drain", stat.pages_parked, 0);
	check_zones(run, stat.pages_free, true);
	for (unsigned k = 0; k < QUIRE_NR_ORDERS; k++)
		if (runs[k] != run->first_runs[k])
			violation("order %u: %llu free runs when all is given "
				  "back, %llu at first",
				  k, (unsigned long long)runs[k],
				  (unsigned long long)run->first_runs[k]);
}

/* --- workers --- */

void worker_sit(struct worker *w)
{
	struct run *run = w->run;

	if (run->way != QUIRE_WAY_BOUND || w->number >= run->info.cpus)
		return;
	if (quire_cpu_bind(run->q, w->number) != 0)
		violation("thread %u: bind: errno %d", w->number, errno);
}

/* The first worker, while all others stand still. */
static void lead(struct worker *w)
{
	struct run *run = w->run;

	run_check(run);
	if (run->mode->still)
		run->mode->still(w);
	run->round++;
	run->over =
		(run_ns() >= run->deadline && run->round >= GIVE_BACK_ROUNDS) ||
		violations();
	run->give_back = run->over || run->round % GIVE_BACK_ROUNDS == 0;
	atomic_store(&run->busy, run->nr_players);
}

static void stand_still(struct worker *w)
{
	struct run *run = w->run;

	pthread_barrier_wait(&run->barrier);
	if (w->number == 0)
		lead(w);
	pthread_barrier_wait(&run->barrier);
	if (!run->give_back)
		return;
	blocks_give_all(w);
	pthread_barrier_wait(&run->barrier);
	if (w->number == 0) {
		if (run->mode->empty)
			run->mode->empty(w);
		run_check_empty(run);
	}
	pthread_barrier_wait(&run->barrier);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct run *run = w->run;

	w->tid = gettid();
	if (!run->mode->unseated)
		worker_sit(w);
	pthread_barrier_wait(&run->barrier);
	do {
		if (w->number < run->nr_players) {
			run->mode->round(w);
			atomic_fetch_sub(&run->busy, 1);
		} else {
			run->mode->help(w);
		}
		stand_still(w);
	} while (!run->over);
	pthread_mutex_lock(&run->end_lock);
	if (--run->alive == 0)
		pthread_cond_signal(&run->ended);
	pthread_mutex_unlock(&run->end_lock);
	return NULL;
}

/* --- set up and take down --- */

static char creation_report[512];

static void report_creation(void *arg, const char *message)
{
	bool *created = arg;

	if (*created)
		violation_report(NULL, message);
	else
		snprintf(creation_report, sizeof(creation_report), "%s",
			 message);
}

static enum run_status bad(const char *what)
{
	fprintf(stderr, "quire-stress: %s: %s\n", what,
		*creation_report ? creation_report : strerror(errno));
	return RUN_BAD;
}

static enum run_status create(struct run *run,
			      const struct run_options *options)
{
	static bool created;
	struct quire_options o = QUIRE_OPTIONS_INIT;

	created = false;
	*creation_report = '\0';
	o.size = options->size;
	o.way = run->way;
	o.cpus = options->cpus;
	o.renew = options->renew;
	if (run->way == QUIRE_WAY_BOUND && o.cpus == 0)
		o.cpus = run->nr_workers;
	o.decay_ms = run->mode->decay_ms;
	if (run->mode->zones > 1)
		o.zone_size[QUIRE_ZONE_DMA32] = options->size / 4 >> 21 << 21;
	if (run->mode->zones > 2) {
		o.zone_size[QUIRE_ZONE_MOVABLE] = options->size / 8 >> 21 << 21;
		o.cma_size = o.zone_size[QUIRE_ZONE_MOVABLE];
	}
	/* Whoever asks for the last pages may have those, too. */
	o.lowmem_ratio[QUIRE_ZONE_DMA32] = UINT32_MAX;
	if (run->mode->options)
		run->mode->options(run, &o);
	o.report = report_creation;
	o.report_arg = &created;
	run->q = quire_create(&o);
	if (!run->q)
		return run->way == QUIRE_WAY_RSEQ && errno == ENOTSUP
			       ? RUN_NOT_HERE
			       : bad("cannot create an allocator");
	created = true;
	quire_info(run->q, &run->info, sizeof(run->info));
	for (unsigned z = 0; z < run->info.zones; z++)
		quire_zone_info(run->q, z, &run->zone[z], sizeof(run->zone[z]));
	if (run->info.way == run->way)
		return RUN_DONE;
	snprintf(creation_report, sizeof(creation_report),
		 "QUIRE_CONF asks for the way %s",
		 quire_way_name(run->info.way));
	quire_destroy(run->q);
	return bad("cannot run");
}

static uint64_t seed_of(const struct run *run, unsigned number)
{
	struct rng rng = { run->seed };

	/* Every mode, way and thread has numbers of its own. */
	for (const char *c = run->mode->name; *c; c++)
		rng.state = rng_next(&rng) + (uint64_t)*c;
	rng.state = rng_next(&rng) + (uint64_t)run->way;
	rng.state = rng_next(&rng) + number;
	return rng_next(&rng);
}

static bool workers_new(struct run *run)
{
	run->workers = aligned_alloc(_Alignof(struct worker),
				     run->nr_workers * sizeof(struct worker));
	if (!run->workers)
		return false;
	memset(run->workers, 0, run->nr_workers * sizeof(struct worker));
	for (unsigned i = 0; i < run->nr_workers; i++) {
		struct worker *w = &run->workers[i];

		w->run = run;
		w->number = i;
		w->promise = run->mode->promise;
		w->rng.state = seed_of(run, i);
		w->reply.state = ~w->rng.state;
		w->share = run->info.pages / run->nr_workers;
	}
	return true;
}

static bool prepare(struct run *run)
{
	pthread_condattr_t steady;

	pthread_condattr_init(&steady);
	pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
	pthread_cond_init(&run->ended, &steady);
	pthread_mutex_init(&run->end_lock, NULL);
	pthread_barrier_init(&run->barrier, NULL, run->nr_workers);
	pthread_barrier_init(&run->players_barrier, NULL, run->nr_players);
	atomic_init(&run->busy, run->nr_players);
	run->alive = run->nr_workers;
	run->steps = ROUND_STEPS / run->nr_players;
	if (run->steps < STEPS_MIN)
		run->steps = STEPS_MIN;
	if (run->steps > STEPS_MAX)
		run->steps = STEPS_MAX;
	run->shadow = shadow_new(run->q, &run->info);
	return run->shadow && workers_new(run) &&
	       quire_free_runs(run->q, run->first_runs) == 0 &&
	       (!run->mode->init || run->mode->init(run));
}

static uint64_t progress(const struct run *run)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < run->nr_players; i++)
		sum += counted(&run->workers[i].ops) +
		       counted(&run->workers[i].events);
	return sum;
}

static void watch_workers(struct run *run, double stuck,
			  void (*watch)(const struct run *run))
{
	double moved = run_now();
	uint64_t last = 0;

	pthread_mutex_lock(&run->end_lock);
	while (run->alive) {
		uint64_t here = progress(run), until;
		struct timespec deadline;

		if (here != last && !violations())
			moved = run_now();
		last = here;
		if (run_now() - moved >
		    (violations() ? BROKEN_SECONDS : stuck)) {
			violation("stuck: calls do not end");
			_exit(EXIT_FAILURE);
		}
		watch(run);
		until = run_ns() + WATCH_MS * UINT64_C(1000000);
		deadline.tv_sec = (time_t)(until / 1000000000);
		deadline.tv_nsec = (long)(until % 1000000000);
		pthread_cond_timedwait(&run->ended, &run->end_lock, &deadline);
	}
	pthread_mutex_unlock(&run->end_lock);
}

static enum run_status play(struct run *run, double stuck,
			    void (*watch)(const struct run *run))
{
	for (unsigned i = 0; i < run->nr_workers; i++) {
		errno = pthread_create(&run->workers[i].thread, NULL,
				       worker_main, &run->workers[i]);
		if (errno) {
			/* Those that run wait for the rest: no way back. */
			perror("quire-stress: cannot start all threads");
			exit(2);
		}
	}
	watch_workers(run, stuck, watch);
	for (unsigned i = 0; i < run->nr_workers; i++)
		pthread_join(run->workers[i].thread, NULL);
	return RUN_DONE;
}

static void sum_up(struct run *run, struct run_result *result)
{
	result->mode = run->mode;
	result->way = run->way;
	result->threads = run->nr_players;
	result->cpus = run->info.cpus;
	result->rounds = run->round;
	for (unsigned i = 0; i < run->nr_workers; i++) {
		result->ops += counted(&run->workers[i].ops);
		result->events += counted(&run->workers[i].events);
	}
	quire_stat(run->q, &result->stat, sizeof(result->stat));
	if (quire_destroy(run->q) != 0)
		violation("destroy: errno %d", errno);
	result->violations = violations();
}

enum run_status run_play(const struct run_options *options,
			 const struct mode *mode, enum quire_way way,
			 void (*watch)(const struct run *run),
			 struct run_result *result)
{
	struct run run = { .mode = mode, .way = way, .seed = options->seed };
	double start = run_now();
	uint64_t aborts = quire_debug_rseq_aborts();
	enum run_status status;

	memset(result, 0, sizeof(*result));
	run.nr_players = options->threads;
	run.nr_workers = options->threads + (mode->help ? 1 : 0);
	violation_context("%s, %s, seed %llu", mode->name, quire_way_name(way),
			  (unsigned long long)options->seed);
	status = create(&run, options);
	if (status != RUN_DONE)
		return status;
	if (!prepare(&run))
		return bad("cannot prepare a run");
	if (options->pauses)
		quire_debug_pauses(options->pauses, options->seed);
	run.deadline = run_ns() + (uint64_t)(options->seconds * 1e9);
	status = play(&run, options->stuck, watch);
	quire_debug_pauses(0, 0);
	if (mode->fini)
		mode->fini(&run);
	result->aborts = quire_debug_rseq_aborts() - aborts;
	sum_up(&run, result);
	result->seconds = run_now() - start;
	pthread_barrier_destroy(&run.barrier);
	shadow_delete(run.shadow);
	free(run.workers);
	return status;
}
