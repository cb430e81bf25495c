/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fork: children allocate while the parent runs.
 *
 * An extra thread forks in the midst of the workers' calls. Its child has a
 * copy of the allocator in which blocks that were on their way to or from other
 * threads are lost for good, but all else must work, and no call may wait for a
 * thread that is not there. While all workers stand still, a child has an exact
 * copy: it gives back every worker's blocks and must find all pages free.
 *
 * Children are bounded in number and steps; one that outlives CHILD_SECONDS
 * waits for a lock that nobody holds, and the alarm ends it.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "blocks.h"

enum { PAIRS = 4, CHILD_STEPS = 200, CHILD_SECONDS = 20 };

static void fork_round(struct worker *w)
{
	for (unsigned i = 0; i < w->run->steps; i++)
		blocks_step(w);
}

/* No libc beyond what works in the child of a process with threads. */
static void child_amid(struct worker *w)
{
	for (unsigned i = 0; i < CHILD_STEPS; i++)
		blocks_step(w);
	blocks_give_all(w);
	if (quire_drain_all(w->run->q) != 0)
		violation("child: drain: errno %d", errno);
}

static void child_still(struct worker *w)
{
	struct run *run = w->run;

	run_check(run);
	for (unsigned i = 0; i < run->nr_workers; i++)
		blocks_give_all(&run->workers[i]);
	run_check_empty(run);
}

static pid_t spawn(struct worker *w, void (*child)(struct worker *w))
{
	pid_t pid = fork();

	if (pid == 0) {
		uint64_t before = violations();

		alarm(CHILD_SECONDS);
		child(w);
		_exit(violations() == before ? EXIT_SUCCESS : EXIT_FAILURE);
	}
	if (pid < 0)
		violation("fork(): errno %d", errno);
	return pid;
}

static void collect(struct worker *w, pid_t pid)
{
	int status;

	if (pid < 0)
		return;
	while (waitpid(pid, &status, 0) != pid)
		if (errno != EINTR) {
			violation("waitpid(): errno %d", errno);
			return;
		}
	count(&w->events, 1);
	if (WIFSIGNALED(status))
		violation("a child was ended by signal %d%s", WTERMSIG(status),
			  WTERMSIG(status) == SIGALRM ? ": it was stuck" : "");
	else if (WEXITSTATUS(status))
		violation("a child found violations (exit status %d)",
			  WEXITSTATUS(status));
}

static void fork_help(struct worker *w)
{
	for (unsigned i = 0; i < PAIRS && run_busy(w->run); i++) {
		pid_t first = spawn(w, child_amid);
		pid_t second;

		/* So that two children differ. */
		(void)rng_next(&w->rng);
		second = spawn(w, child_amid);
		(void)rng_next(&w->rng);
		collect(w, first);
		collect(w, second);
	}
}

static void fork_still(struct worker *w)
{
	collect(w, spawn(w, child_still));
}

const struct mode mode_fork = {
	.name = "fork",
	.attacks = "An extra thread forks children, two at a time, in the "
		   "midst of everybody's calls; they allocate from their copy. "
		   "Between rounds a child gives back every thread's blocks "
		   "and checks that all is free. Finds locks and lists that a "
		   "child inherits in mid-change.",
	.events = "children",
	.promise = PROMISE_PAGES,
	.zones = 1,
	.round = fork_round,
	.help = fork_help,
	.still = fork_still,
};
