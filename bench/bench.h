/* SPDX-License-Identifier: BSD-2-Clause */
/* What bench.cc sees: the workloads, and how one is run and reported. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdint.h>
#include <stdio.h>

#include "adapters.h"

#ifdef __cplusplus
extern "C" {
#endif

struct worker;
struct run;

/* struct workload.flags */
#define WORKLOAD_STREAM (1u << 0)   /* goes on until it is stopped */
#define WORKLOAD_BOUNDED (1u << 1)  /* needs QUIRE_BENCH_BOUNDED */
#define WORKLOAD_HANDOVER (1u << 2) /* frees in other threads */
#define WORKLOAD_SCATTER (1u << 3)  /* makes many holes */
#define WORKLOAD_CREATE (1u << 4)   /* makes its own allocators */
#define WORKLOAD_SINGLE (1u << 5)   /* one thread */
#define WORKLOAD_PAIRED (1u << 6)   /* threads in twos */
#define WORKLOAD_ARENA (1u << 7)    /* time grows with the arena */

struct workload {
	const char *name;
	const char *text;  /* what an operation is */
	const char *param; /* what is varied beside the threads, or NULL */
	const char *extra; /* the name of its own figure, or NULL */
	unsigned flags;
	unsigned params; /* 0 <= param < params */
	/* What param stands for; NULL: itself. */
	unsigned (*param_value)(unsigned param);
	/* Of each worker; setup and teardown are not timed. */
	int (*setup)(struct worker *worker);
	void (*round)(struct worker *worker);
	void (*teardown)(struct worker *worker);
};

/* The i-th workload, NULL after the last. */
const struct workload *workload_at(unsigned i);
unsigned workload_param(const struct workload *workload, unsigned param);

/* One thing to measure. */
struct bench_case {
	const struct workload *workload;
	const struct quire_bench_adapter *adapter;
	unsigned param, threads;
};

struct bench_result {
	double ns;	     /* CPU time per operation */
	double phases[2];    /* of it in each phase; 0, 0 with one only */
	double throughput;   /* operations per second over all threads */
	double wall;	     /* seconds that the round took */
	double latencies[4]; /* ns: p50, p99, p99.9, max; or all 0 */
	double extra;
	double overhead; /* bytes of tables per GiB, or 0 */
	double holds[2]; /* ns a zone's lock was held: p99.9, max; or 0, 0 */
	double parked;	 /* pages in lists after the round, or 0 */
};

/* The case whose questions are asked: today's, for one of the baseline. */
struct bench_case bench_today(const struct bench_case *c);
/*
 * Whether a case is worth measuring: in all of the suite, or in its version of
 * about two minutes. The baseline is measured where today's library is.
 */
int bench_planned(const struct bench_case *c, int full);
/* Numbers of threads: the i-th, 0 after the last. */
unsigned bench_threads(unsigned i);
unsigned bench_cpus(void);

struct bench_settings {
	unsigned slice_ms;  /* a stream goes on; with more threads than CPUs,
			     * longer */
	unsigned arena_gib; /* of WORKLOAD_ARENA; of others it is 4 GiB */
	int latency;	    /* a second pass, in which each call is timed */
};

/* Measures a case once. NULL, or why it could not be. */
const char *bench_measure(const struct bench_case *c,
			  const struct bench_settings *settings,
			  struct bench_result *result);

/* --- progress and results, by one thread --- */

/* A case will be measured n times; one of these begins; all are over. */
void progress_plan(const struct bench_case *c, unsigned n);
void progress_next(const struct bench_case *c);
void progress_end(void);

void results_add(const struct bench_case *c, const struct bench_result *result);
/* Median CPU time of a case in ns, 0 if it was not measured. */
double results_ns(const struct bench_case *c);

/* Medians of the results, as text for people or as tab-separated values. */
void report_text(FILE *out);
void report_values(FILE *out);

/* Today's library beside the baseline; nothing if none was measured. */
void baseline_text(FILE *out);
void baseline_values(FILE *out);

/* What quire promises, and whether these results keep it; the same two ways. */
void reach_text(FILE *out);
void reach_values(FILE *out);
/* Whether a case is asked about; how many repetitions that needs, or 0. */
int reach_needs(const struct bench_case *c);
unsigned reach_repetitions(const struct bench_case *c);

#ifdef __cplusplus
}
#endif

#endif
