/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * threads: threads come and go. A worker plays no step itself but starts one
 * thread after the other, each of which goes on with the blocks of the last.
 * What a dead thread left in lists must not be stranded, and the CPU it stood
 * in for must be free again.
 */
#include <errno.h>

#include "blocks.h"

enum { GENERATIONS = 8 };

static void *generation_main(void *arg)
{
	struct worker *w = arg;
	struct run *run = w->run;
	bool leaves = rng_next(&w->rng) & 1;

	worker_sit(w);
	for (unsigned i = 0; i < run->steps / GENERATIONS; i++)
		blocks_step(w);
	/* Half of them leave their CPU, the others die on it. */
	if (leaves && run->way == QUIRE_WAY_BOUND &&
	    w->number < run->info.cpus && quire_cpu_unbind(run->q) != 0)
		violation("thread %u: unbind: errno %d", w->number, errno);
	return NULL;
}

static void threads_round(struct worker *w)
{
	for (unsigned i = 0; i < GENERATIONS; i++) {
		pthread_t thread;
		int error = pthread_create(&thread, NULL, generation_main, w);

		if (error) {
			violation("pthread_create(): errno %d", error);
			return;
		}
		pthread_join(thread, NULL);
		count(&w->events, 1);
	}
}

const struct mode mode_threads = {
	.name = "threads",
	.attacks = "Threads that live for a few hundred calls; each goes on "
		   "with its predecessor's blocks. Finds pages stranded by "
		   "dead threads and CPUs that stay taken.",
	.events = "threads",
	.promise = PROMISE_PAGES,
	.zones = 1,
	.unseated = true,
	.round = threads_round,
};
