/* SPDX-License-Identifier: BSD-2-Clause */
/* A run: one mode in one way of being a CPU, from creation to destruction. */
#ifndef STRESS_RUN_H
#define STRESS_RUN_H

#include "mode.h"

struct run_options {
	uint64_t size; /* bytes */
	uint64_t seed;
	double seconds;
	double stuck; /* seconds: a call that takes longer never ends */
	unsigned threads;
	unsigned renew;
	unsigned pauses; /* one schedule point in so many; 0: none */
	unsigned cpus;	 /* 0: as many as threads in the bound way, else the
			  * possible ones */
};

struct run_result {
	const struct mode *mode;
	enum quire_way way;
	unsigned threads, cpus, rounds;
	double seconds;
	uint64_t ops, events, violations;
	uint64_t aborts;	/* of restartable sequences */
	struct quire_stat stat; /* at the end */
};

enum run_status { RUN_DONE, RUN_NOT_HERE, RUN_BAD };

/*
 * RUN_NOT_HERE: this machine cannot be a CPU in that way; RUN_BAD: the run
 * could not be set up, and the reason was told on the standard error. `watch`
 * is called a few times a second while it runs.
 */
enum run_status run_play(const struct run_options *options,
			 const struct mode *mode, enum quire_way way,
			 void (*watch)(const struct run *run),
			 struct run_result *result);

double run_now(void); /* seconds of a steady clock */

#endif
