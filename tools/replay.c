/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Runs a script on an allocator, a thread for each traced CPU.
 *
 * Every thread plays its own list, round after round. All meet at the end of a
 * round; at the end of some the main thread joins them and takes a sample
 * while they stand still, so that counters and free runs are exact. Time
 * stands still with them.
 *
 * Afterwards the lists are drained for a last sample, what the trace left live
 * is freed, and the allocator must be what it was before the first event: no
 * page live or parked, the same free runs, every table valid.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "replay.h"

#include "player.h"
#include "progress.h"
#include "text.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MIB ((uint64_t)1 << 20)
#define SIZE_STEP (2 * MIB)
/* Room for page lists and owned blocks of a few CPUs, however short the trace.
 */
#define MIN_SIZE (64 * MIB)
#define STACK_SIZE ((size_t)512 << 10)

enum gate { GATE_SHUT, GATE_OPEN, GATE_CANCEL };

struct replay {
	const struct replay_options *options;
	const struct script *script;
	struct replay_result *result;
	struct stage stage;
	struct violations violations;
	struct actor *actors;
	bool *sampled;		    /* for each round */
	pthread_barrier_t round;    /* the actors' */
	pthread_barrier_t sampling; /* the actors' and the main thread's */
	pthread_mutex_t gate_lock;
	pthread_cond_t gate_moved;
	enum gate gate;
	uint64_t started_ns, run_ns;
};

/* On cache lines of its own: each is written all the time by one thread. */
struct actor {
	struct player player;
	struct replay *replay;
	const struct script_cpu *cpu;
	unsigned index;
	pthread_t thread;
} __attribute__((aligned(128)));

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/*
 * A quarter more than the trace's peak, as a machine that is not full; or what
 * the threads can hold at once if each runs ahead in a round as far as it may.
 */
uint64_t replay_size(const struct replay_options *options,
		     const struct script *script)
{
	uint64_t pages = script->counts.peak_pages;
	uint64_t size;

	if (options->size)
		return options->size;
	pages += pages / 4;
	if (pages < script->counts.worst_pages)
		pages = script->counts.worst_pages;
	size = pages * QUIRE_PAGE_SIZE;
	size = (size + SIZE_STEP - 1) / SIZE_STEP * SIZE_STEP;
	return size < MIN_SIZE ? MIN_SIZE : size;
}

/* ------------------------------------------------------------------ */
/* Actors                                                              */

static bool gate_pass(struct replay *r)
{
	enum gate gate;

	pthread_mutex_lock(&r->gate_lock);
	while (r->gate == GATE_SHUT)
		pthread_cond_wait(&r->gate_moved, &r->gate_lock);
	gate = r->gate;
	pthread_mutex_unlock(&r->gate_lock);
	return gate == GATE_OPEN;
}

static void gate_move(struct replay *r, enum gate gate)
{
	pthread_mutex_lock(&r->gate_lock);
	r->gate = gate;
	pthread_cond_broadcast(&r->gate_moved);
	pthread_mutex_unlock(&r->gate_lock);
}

static void *actor_main(void *arg)
{
	struct actor *a = arg;
	struct replay *r = a->replay;
	uint32_t from = 0, to;
	unsigned i;

	if (!gate_pass(r))
		return NULL;
	if (r->result->info.way == QUIRE_WAY_BOUND &&
	    quire_cpu_bind(r->stage.q, a->index) != 0)
		violation_report(&r->violations,
				 "cannot bind a thread to CPU %u of %u: %s",
				 a->index, r->result->info.cpus,
				 strerror(errno));
	for (i = 0; i < r->script->nr_rounds; i++, from = to) {
		to = a->cpu->cuts[i];
		player_run(&a->player, a->cpu->list.ops + from, to - from);
		if (r->sampled[i]) {
			pthread_barrier_wait(&r->sampling);
			pthread_barrier_wait(&r->sampling);
		} else {
			pthread_barrier_wait(&r->round);
		}
	}
	return NULL;
}

static void actors_join(struct replay *r, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++)
		pthread_join(r->actors[i].thread, NULL);
}

static bool actors_start(struct replay *r, char *error)
{
	unsigned i, n = r->script->nr_cpus;
	pthread_attr_t attr;
	int rc = 0;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	for (i = 0; i < n; i++) {
		struct actor *a = &r->actors[i];

		a->replay = r;
		a->cpu = &r->script->cpus[i];
		a->index = i;
		a->player.stage = &r->stage;
		rc = pthread_create(&a->thread, &attr, actor_main, a);
		if (rc)
			break;
	}
	pthread_attr_destroy(&attr);
	if (rc == 0)
		return true;
	gate_move(r, GATE_CANCEL);
	actors_join(r, i);
	snprintf(error, REPLAY_ERROR_SIZE, "cannot start thread %u of %u: %s",
		 i + 1, n, strerror(rc));
	return false;
}

/* ------------------------------------------------------------------ */
/* Samples                                                             */

/*
 * Half of them evenly over the events, for that is where memory changes, half
 * evenly over the time, for that is how the plot shows them.
 */
static void choose_samples(struct replay *r)
{
	const struct script_round *rounds = r->script->rounds;
	unsigned nr = r->script->nr_rounds, n = r->options->samples, i, k;

	if (n >= nr) {
		memset(r->sampled, true, nr);
		return;
	}
	n = (n + 1) / 2;
	for (i = 1; i <= n; i++)
		r->sampled[(uint64_t)i * nr / n - 1] = true;
	n = r->options->samples - n;
	for (i = 1, k = 0; i <= n; i++) {
		while (k < nr - 1 &&
		       (double)rounds[k].time_ns * n <
			       (double)r->script->counts.duration_ns * i)
			k++;
		r->sampled[k] = true;
	}
}

static void take_sample(struct replay *r, uint64_t events, uint64_t time_ns,
			uint64_t live)
{
	struct replay_result *result = r->result;
	struct sample *s = &result->samples[result->nr_samples++];
	uint64_t failures = 0;
	unsigned i;

	s->events = events;
	s->time_ns = time_ns;
	sample_take(s, r->stage.q, &r->violations);
	if (quire_stat(r->stage.q, &result->stat, sizeof(result->stat)) != 0)
		return;
	for (i = 0; i < r->script->nr_cpus; i++)
		failures += r->actors[i].player.skipped_frees;
	if (result->stat.failures == 0 && failures == 0 && s->live != live)
		violation_report(&r->violations,
				 "after %llu events %llu pages are live, not "
				 "%llu",
				 (unsigned long long)events,
				 (unsigned long long)s->live,
				 (unsigned long long)live);
}

static void show_progress(struct replay *r, uint64_t events)
{
	char note[64];
	uint64_t rate = r->run_ns ? events * 1000000000 / r->run_ns : 0;

	snprintf(note, sizeof(note), "%s events/s", text_count(TEXT, rate));
	progress_bar(quire_way_name(r->result->info.way),
		     (double)events / (double)r->script->counts.events, note);
}

/* The main thread's part while the actors play. */
static void conduct(struct replay *r)
{
	unsigned i;

	take_sample(r, 0, 0, 0);
	r->started_ns = now_ns();
	gate_move(r, GATE_OPEN);
	for (i = 0; i < r->script->nr_rounds; i++) {
		const struct script_round *round = &r->script->rounds[i];

		if (!r->sampled[i])
			continue;
		pthread_barrier_wait(&r->sampling);
		r->run_ns += now_ns() - r->started_ns;
		take_sample(r, round->events, round->time_ns, round->live);
		show_progress(r, round->events);
		r->started_ns = now_ns();
		pthread_barrier_wait(&r->sampling);
	}
	actors_join(r, r->script->nr_cpus);
	progress_clear();
	r->result->seconds = (double)r->run_ns / 1e9;
}

/* ------------------------------------------------------------------ */
/* Afterwards                                                          */

static void collect(struct replay *r)
{
	struct replay_result *result = r->result;
	unsigned i, order;

	for (i = 0; i < r->script->nr_cpus; i++) {
		const struct player *p = &r->actors[i].player;

		result->skipped_frees += p->skipped_frees;
		for (order = 0; order < SCRIPT_NR_ORDERS; order++) {
			result->order_failures[order] += p->failures[order];
			result->failures += p->failures[order];
		}
	}
}

static void drained_sample(struct replay *r, struct sample *s)
{
	if (quire_drain_all(r->stage.q) != 0)
		violation_report(&r->violations, "cannot drain: %s",
				 strerror(errno));
	s->events = r->script->counts.events;
	s->time_ns = r->script->counts.duration_ns;
	sample_take(s, r->stage.q, &r->violations);
	if (s->parked)
		violation_report(&r->violations,
				 "%llu pages are parked after a drain",
				 (unsigned long long)s->parked);
}

/* Frees the rest; then nothing may be left of the replay. */
static void check_end(struct replay *r)
{
	const struct sample *first = &r->result->samples[0];
	struct player player = { .stage = &r->stage };
	struct sample last;
	int broken;
	uint64_t held;

	player_run(&player, r->script->tail.ops, r->script->tail.nr);
	drained_sample(r, &last);
	if (last.live)
		violation_report(&r->violations,
				 "%llu pages are live after everything was "
				 "freed",
				 (unsigned long long)last.live);
	else if (memcmp(last.runs, first->runs, sizeof(last.runs)) != 0)
		violation_report(&r->violations,
				 "everything was freed, but the free runs are "
				 "not those of the beginning: %llu blocks of "
				 "2 MiB, then %llu",
				 (unsigned long long)first->free_2m,
				 (unsigned long long)last.free_2m);
	broken = quire_validate(r->stage.q);
	if (broken)
		violation_report(&r->violations,
				 "quire_validate() finds %d violations",
				 broken);
	held = shadow_held(r->stage.shadow);
	if (held)
		violation_report(&r->violations,
				 "%llu pages are still held in the shadow map",
				 (unsigned long long)held);
}

/* ------------------------------------------------------------------ */
/* Setting up                                                          */

static void report_message(void *arg, const char *message)
{
	struct replay *r = arg;

	pthread_mutex_lock(&r->violations.lock);
	progress_clear();
	fprintf(stderr, "quire: %s\n", message);
	pthread_mutex_unlock(&r->violations.lock);
}

static bool create_arena(struct replay *r, char *error)
{
	const struct replay_options *o = r->options;
	struct quire_options options = QUIRE_OPTIONS_INIT;
	struct quire_info *info = &r->result->info;

	options.flags = o->mapped ? 0 : QUIRE_OFFSETS;
	options.way = o->way;
	options.size = replay_size(o, r->script);
	memcpy(options.backing, o->backing, sizeof(options.backing));
	if (o->way == QUIRE_WAY_BOUND)
		options.cpus = r->script->nr_cpus;
	options.report = report_message;
	options.report_arg = r;
	r->stage.q = quire_create(&options);
	if (!r->stage.q || quire_info(r->stage.q, info, sizeof(*info)) != 0) {
		snprintf(error, REPLAY_ERROR_SIZE,
			 "cannot create an arena of %s, way %s: %s",
			 text_bytes(TEXT, options.size), quire_way_name(o->way),
			 strerror(errno));
		return false;
	}
	r->stage.first_pfn = info->first_pfn;
	r->stage.pages = info->pages;
	r->stage.touch = o->touch;
	r->stage.types = o->types;
	if (info->pages > SLOT_MAX_INDEX) {
		snprintf(error, REPLAY_ERROR_SIZE,
			 "an arena of %llu pages is larger than a replay can "
			 "check",
			 (unsigned long long)info->pages);
		return false;
	}
	return true;
}

static bool allocate(struct replay *r, char *error)
{
	const struct script *s = r->script;
	size_t actors = s->nr_cpus * sizeof(*r->actors);

	r->stage.shadow = shadow_new(r->stage.pages);
	r->stage.slots =
		calloc((size_t)s->nr_slots + 1, sizeof(*r->stage.slots));
	r->sampled = calloc(s->nr_rounds, sizeof(*r->sampled));
	r->result->samples = calloc((size_t)r->options->samples + 1,
				    sizeof(*r->result->samples));
	r->actors = aligned_alloc(_Alignof(struct actor), actors);
	if (!r->stage.shadow || !r->stage.slots || !r->sampled ||
	    !r->result->samples || !r->actors) {
		snprintf(error, REPLAY_ERROR_SIZE,
			 "no memory for a shadow map of %s pages and %s "
			 "allocations",
			 text_count(TEXT, r->stage.pages),
			 text_count(TEXT, s->nr_slots));
		return false;
	}
	memset(r->actors, 0, actors);
	return true;
}

static void play(struct replay *r)
{
	conduct(r);
	collect(r);
	drained_sample(r, &r->result->drained);
	check_end(r);
}

bool replay_run(const struct replay_options *options,
		const struct script *script, struct replay_result *result,
		char error[REPLAY_ERROR_SIZE])
{
	struct replay r = {
		.options = options,
		.script = script,
		.result = result,
		.violations = VIOLATIONS_INIT,
		.gate_lock = PTHREAD_MUTEX_INITIALIZER,
		.gate_moved = PTHREAD_COND_INITIALIZER,
	};
	bool ok;

	memset(result, 0, sizeof(*result));
	r.stage.violations = &r.violations;
	pthread_barrier_init(&r.round, NULL, script->nr_cpus);
	pthread_barrier_init(&r.sampling, NULL, script->nr_cpus + 1);
	ok = create_arena(&r, error) && allocate(&r, error);
	if (ok) {
		choose_samples(&r);
		ok = actors_start(&r, error);
	}
	if (ok)
		play(&r);
	if (r.stage.q && quire_destroy(r.stage.q) != 0)
		violation_report(&r.violations,
				 "the empty allocator cannot be destroyed: %s",
				 strerror(errno));
	result->violations = violation_count(&r.violations);
	pthread_barrier_destroy(&r.round);
	pthread_barrier_destroy(&r.sampling);
	shadow_delete(r.stage.shadow);
	free(r.stage.slots);
	free(r.sampled);
	free(r.actors);
	return ok;
}

void replay_result_fini(struct replay_result *result)
{
	free(result->samples);
	result->samples = NULL;
}
