/* SPDX-License-Identifier: BSD-2-Clause */
/* See run.h. */
#include "run.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "ticks.h"

enum { ARENA_GIB = 4, CROWD_SLICES = 3 };

void *bench_map(uint64_t bytes)
{
	/* Faulted in now: not where calls are timed. */
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

void bench_unmap(void *p, uint64_t bytes)
{
	if (p)
		munmap(p, bytes);
}

/* --- workers --- */

void worker_begin(struct worker *worker, unsigned phase)
{
	/* A stream's time begins when all are ready. */
	if (worker->run->workload->flags & WORKLOAD_STREAM)
		pthread_barrier_wait(&worker->run->all);
	worker->spans[phase].wall_start = clock_ns(CLOCK_MONOTONIC);
	worker->cpu_start = clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

void worker_end(struct worker *worker, unsigned phase)
{
	struct span *span = &worker->spans[phase];

	span->cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID) - worker->cpu_start;
	span->wall_end = clock_ns(CLOCK_MONOTONIC);
}

void worker_sync(struct worker *worker)
{
	pthread_barrier_wait(&worker->run->peers);
}

static int worker_enter(struct worker *worker)
{
	const struct quire_bench_adapter *adapter = worker->adapter;

	errno = 0;
	if (adapter->thread_init && adapter->thread_init(worker->index) != 0)
		return errno ? errno : EAGAIN;
	if (!worker->run->workload->setup ||
	    worker->run->workload->setup(worker) == 0)
		return 0;
	if (adapter->thread_fini)
		adapter->thread_fini();
	return errno ? errno : ENOMEM;
}

static void worker_leave(struct worker *worker)
{
	if (worker->run->workload->teardown)
		worker->run->workload->teardown(worker);
	if (worker->adapter->thread_fini)
		worker->adapter->thread_fini();
}

/*
 * As long as there is a CPU for each, each has its own: a scheduler takes
 * milliseconds to see that two threads which slept are on one.
 */
static void worker_settle(const struct worker *worker)
{
	cpu_set_t allowed, own;
	unsigned n = 0;

	if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0 ||
	    worker->threads > (unsigned)CPU_COUNT(&allowed))
		return;
	CPU_ZERO(&own);
	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed) && n++ == worker->index)
			CPU_SET(cpu, &own);
	pthread_setaffinity_np(pthread_self(), sizeof(own), &own);
}

static void *worker_main(void *arg)
{
	struct worker *worker = arg;
	struct run *run = worker->run;

	worker_settle(worker);
	worker->error = worker_enter(worker);
	pthread_barrier_wait(&run->all);
	for (;;) {
		pthread_barrier_wait(&run->all);
		if (run->quit)
			break;
		worker->latency =
			run->timed ? &run->latencies[worker->index] : NULL;
		run->workload->round(worker);
		pthread_barrier_wait(&run->all);
	}
	if (!worker->error)
		worker_leave(worker);
	return NULL;
}

/* --- runs --- */

static int run_start_threads(struct run *run)
{
	for (unsigned i = 0; i < run->threads; i++) {
		struct worker *worker = &run->workers[i];

		worker->run = run;
		worker->adapter = run->adapter;
		worker->index = i;
		worker->threads = run->threads;
		worker->pages = run->arena_bytes >> 12;
		worker->seed = 0x9e3779b97f4a7c15ull * (i + 1);
		/* Half a team cannot be sent home: it waits at a barrier. */
		if (pthread_create(&worker->thread, NULL, worker_main, worker))
			abort();
	}
	pthread_barrier_wait(&run->all);
	for (unsigned i = 0; i < run->threads; i++)
		if (run->workers[i].error)
			return run->workers[i].error;
	return 0;
}

static void run_end_threads(struct run *run)
{
	run->quit = true;
	pthread_barrier_wait(&run->all);
	for (unsigned i = 0; i < run->threads; i++)
		pthread_join(run->workers[i].thread, NULL);
}

static void run_round(struct run *run)
{
	const struct timespec slice = {
		.tv_sec = (time_t)(run->slice / 1000000000u),
		.tv_nsec = (long)(run->slice % 1000000000u),
	};

	for (unsigned i = 0; i < run->threads; i++) {
		run->workers[i].ops = 0;
		run->workers[i].failures = 0;
		memset(run->workers[i].spans, 0, sizeof(run->workers[i].spans));
	}
	atomic_store_explicit(&run->stop, false, memory_order_relaxed);
	pthread_barrier_wait(&run->all);
	if (run->workload->flags & WORKLOAD_STREAM) {
		pthread_barrier_wait(&run->all);
		nanosleep(&slice, NULL);
		atomic_store_explicit(&run->stop, true, memory_order_relaxed);
	}
	pthread_barrier_wait(&run->all);
}

/* From the first to start until the last to end, and the CPU time of all. */
static void phase_times(const struct run *run, unsigned phase, double *wall,
			double *cpu)
{
	uint64_t first = UINT64_MAX, last = 0;

	*cpu = 0;
	for (unsigned i = 0; i < run->threads; i++) {
		const struct span *span = &run->workers[i].spans[phase];

		if (span->wall_end == 0)
			continue;
		if (span->wall_start < first)
			first = span->wall_start;
		if (span->wall_end > last)
			last = span->wall_end;
		*cpu += (double)span->cpu;
	}
	*wall = last > first ? (double)(last - first) : 0;
}

static const char *run_result(const struct run *run,
			      struct bench_result *result)
{
	double ops = 0, wall = 0, walls[MAX_PHASES], cpus[MAX_PHASES];
	uint64_t failures = 0;

	for (unsigned i = 0; i < run->threads; i++) {
		ops += (double)run->workers[i].ops;
		failures += run->workers[i].failures;
	}
	if (failures != 0)
		return "allocations failed";
	if (ops < 1)
		return "nothing was done";
	result->ns = 0;
	for (unsigned phase = 0; phase < MAX_PHASES; phase++) {
		phase_times(run, phase, &walls[phase], &cpus[phase]);
		wall += walls[phase];
		result->ns += cpus[phase] / ops;
	}
	for (unsigned phase = 0; phase < MAX_PHASES; phase++)
		result->phases[phase] = walls[1] > 0 ? cpus[phase] / ops : 0;
	result->wall = wall / 1e9;
	result->throughput = ops / result->wall;
	result->extra = run->extra;
	return NULL;
}

static void run_latency(struct run *run, struct bench_result *result)
{
	static const double shares[] = { 0.5, 0.99, 0.999 };
	const struct ticks_info *ticks = ticks_info();
	struct histogram *all = &run->latencies[0];

	for (unsigned i = 0; i < run->threads; i++)
		run->latencies[i].cost = ticks->cost;
	run->timed = true;
	run_round(run);
	for (unsigned i = 1; i < run->threads; i++)
		histogram_merge(all, &run->latencies[i]);
	for (unsigned i = 0; i < 3; i++)
		result->latencies[i] =
			histogram_quantile(all, shares[i]) * ticks->ns;
	result->latencies[3] = (double)all->max * ticks->ns;
}

/* Which rounds an allocator is made for. */
enum { ROUND_PLAIN = 1, ROUND_TIMED = 2, ROUND_HOLDS = 4 };

static const char *run_plain(struct run *run, struct bench_result *result)
{
	const struct quire_bench_adapter *adapter = run->adapter;

	if (adapter->overhead && !run->creates &&
	    run->arena_bytes >> 30 == ARENA_GIB)
		result->overhead = (double)adapter->overhead() /
				   (double)(run->arena_bytes >> 30);
	run_round(run);
	if (adapter->parked && !run->creates)
		result->parked = (double)adapter->parked();
	return run_result(run, result);
}

/* By itself: taking the time of each hold would be in the time of calls. */
static void run_holds(struct run *run, struct bench_result *result)
{
	run_round(run);
	if (run->adapter->lock_holds(&result->holds[0], &result->holds[1]) != 0)
		memset(result->holds, 0, sizeof(result->holds));
}

static const char *run_rounds(struct run *run, unsigned rounds,
			      struct bench_result *result)
{
	const char *fault = NULL;
	int error;

	run->timed = run->quit = false;
	error = run_start_threads(run);
	if (error)
		fault = strerror(error);
	if (!fault && rounds & ROUND_PLAIN)
		fault = run_plain(run, result);
	if (!fault && rounds & ROUND_TIMED)
		run_latency(run, result);
	if (!fault && rounds & ROUND_HOLDS)
		run_holds(run, result);
	run_end_threads(run);
	return fault;
}

static const char *run_arena(struct run *run, int (*init)(uint64_t, unsigned),
			     unsigned rounds, struct bench_result *result)
{
	const char *fault;

	errno = 0;
	if (init(run->arena_bytes, run->threads) != 0)
		return errno ? strerror(errno) : "it cannot be had here";
	fault = run_rounds(run, rounds, result);
	run->adapter->fini();
	return fault;
}

static const char *run_all(struct run *run, int latency,
			   struct bench_result *result)
{
	const struct quire_bench_adapter *adapter = run->adapter;
	const unsigned rounds = ROUND_PLAIN | (latency ? ROUND_TIMED : 0);
	const char *fault;

	if (run->creates)
		return run_rounds(run, rounds, result);
	fault = run_arena(run, adapter->init, rounds, result);
	if (fault || !latency || !adapter->lock_holds || !adapter->init_timed)
		return fault;
	return run_arena(run, adapter->init_timed, ROUND_HOLDS, result);
}

const char *bench_measure(const struct bench_case *c,
			  const struct bench_settings *settings,
			  struct bench_result *result)
{
	bool shrinks = c->workload->flags & WORKLOAD_ARENA;
	bool crowd = c->threads > 2 * bench_cpus();
	struct run run = {
		.workload = c->workload,
		.adapter = c->adapter,
		.threads = c->threads,
		.creates = c->workload->flags & WORKLOAD_CREATE,
		.slice = (uint64_t)settings->slice_ms * 1000000u *
			 (crowd ? CROWD_SLICES : 1),
		.arena_bytes =
			(uint64_t)(shrinks ? settings->arena_gib : ARENA_GIB)
			<< 30,
	};
	uint64_t workers = c->threads * sizeof(struct worker);
	uint64_t latencies = c->threads * sizeof(struct histogram);
	const char *fault = "no memory";

	memset(result, 0, sizeof(*result));
	ticks_info();
	run.workers = bench_map(workers);
	run.latencies = bench_map(latencies);
	if (run.workers && run.latencies) {
		for (unsigned i = 0; i < c->threads; i++)
			run.workers[i].param =
				workload_param(c->workload, c->param);
		pthread_barrier_init(&run.all, NULL, c->threads + 1);
		pthread_barrier_init(&run.peers, NULL, c->threads);
		fault = run_all(&run, settings->latency, result);
		pthread_barrier_destroy(&run.all);
		pthread_barrier_destroy(&run.peers);
	}
	bench_unmap(run.workers, workers);
	bench_unmap(run.latencies, latencies);
	return fault;
}
