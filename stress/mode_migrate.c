/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * migrate: threads lose their CPU in mid-sequence. An extra thread moves the
 * workers from CPU to CPU, so that restartable sequences abort and the trylock
 * way finds lists of a CPU it has left.
 */
#include <errno.h>
#include <sched.h>
#include <unistd.h>

#include "blocks.h"

/* Its steps are quick. */
enum { FAST = 4 };

static void migrate_round(struct worker *w)
{
	for (unsigned i = 0; i < FAST * w->run->steps; i++)
		blocks_step_fast(w);
}

/* The n-th of the allowed CPUs, counted round. */
static unsigned nth_cpu(const cpu_set_t *allowed, unsigned n)
{
	unsigned cpu = 0;

	for (n %= (unsigned)CPU_COUNT(allowed);; cpu++)
		if (CPU_ISSET(cpu, allowed) && n-- == 0)
			return cpu;
}

static void move(struct worker *w, const struct worker *other, unsigned cpu)
{
	cpu_set_t there;

	CPU_ZERO(&there);
	CPU_SET(cpu, &there);
	if (sched_setaffinity(other->tid, sizeof(there), &there) == 0)
		count(&w->events, 1);
	else
		violation("sched_setaffinity(%d, CPU %u): errno %d",
			  (int)other->tid, cpu, errno);
}

static void migrate_help(struct worker *w)
{
	struct run *run = w->run;
	cpu_set_t allowed;

	/* The process' own: those of its first thread. */
	if (sched_getaffinity(getpid(), sizeof(allowed), &allowed) != 0) {
		violation("sched_getaffinity(): errno %d", errno);
		return;
	}
	for (unsigned turn = 0; run_busy(run); turn++)
		for (unsigned i = 0; i < run->nr_players && run_busy(run); i++)
			move(w, &run->workers[i], nth_cpu(&allowed, turn + i));
}

const struct mode mode_migrate = {
	.name = "migrate",
	.attacks = "Small blocks while an extra thread moves every worker from "
		   "CPU to CPU. Finds sequences that do not restart, and what "
		   "was begun on one CPU and ended on another. Needs two CPUs "
		   "to mean anything.",
	.events = "moves",
	.promise = PROMISE_PAGES,
	.zones = 1,
	.round = migrate_round,
	.help = migrate_help,
};
