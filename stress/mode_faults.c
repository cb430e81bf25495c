/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * faults: everything that can fail does, now and then: system calls, early
 * allocations, zones that find nothing, lists that cannot be had. Calls may
 * fail as they document; counters, pages and invariants must be as if nothing
 * had. An extra thread drains, and makes and destroys allocators.
 */
#include <errno.h>

#include <quire/debug.h>

#include "blocks.h"

enum { ONE_IN = 32, TRIES = 1000 };

static uint64_t before; /* failures of other runs */

static void ignore(void *arg, const char *message)
{
	(void)arg, (void)message;
}

static bool documented(int error)
{
	return error == ENOMEM || error == ENOTSUP || error == EAGAIN ||
	       error == EPERM || error == ENOSYS;
}

/* An allocator, if it can be had; it goes when membarrier does not fail. */
static void cycle(struct worker *w)
{
	struct quire_options o = QUIRE_OPTIONS_INIT;
	struct quire_page *page;
	struct quire *q;
	unsigned tries = 0;

	o.size = (1 + rng_below(&w->reply, 8)) << 20;
	o.way = w->run->way;
	o.flags = rng_next(&w->reply) & 1 ? QUIRE_PREFAULT : 0;
	o.report = ignore;
	q = quire_create(&o);
	if (!q) {
		if (!documented(errno))
			violation("create: errno %d", errno);
		return;
	}
	page = quire_alloc_pages(q, 0, 0);
	if (page && quire_free_pages(q, page, 0) != 0)
		violation("a free was refused: errno %d", errno);
	while (quire_destroy(q) != 0 && ++tries < TRIES)
		;
	if (tries == TRIES)
		violation("not destroyed in %u tries: errno %d", TRIES, errno);
}

static void faults_round(struct worker *w)
{
	if (w->number == 0)
		quire_debug_faults(ONE_IN, w->run->seed + w->run->round);
	for (unsigned i = 0; i < w->run->steps; i++)
		blocks_step(w);
}

static void faults_help(struct worker *w)
{
	struct quire *q = w->run->q;

	while (run_busy(w->run)) {
		if (quire_drain_all(q) != 0 && !documented(errno))
			violation("drain: errno %d", errno);
		cycle(w);
	}
	/* What comes between rounds must not fail. */
	quire_debug_faults(0, 0);
	atomic_store(&w->events, quire_debug_faults_total() - before);
}

static bool faults_init(struct run *run)
{
	(void)run;
	before = quire_debug_faults_total();
	/* The one thing that fails and is told of. */
	violation_tolerate("membarrier");
	return true;
}

static void faults_fini(struct run *run)
{
	(void)run;
	violation_tolerate(NULL);
}

const struct mode mode_faults = {
	.name = "faults",
	.attacks = "One in 32 of quire's own system calls, early allocations, "
		   "visits to a zone or to a list fails. Finds what is lost, "
		   "counted or left locked on the way back from a failure.",
	.events = "failures",
	.promise = PROMISE_NONE,
	.zones = 3,
	.decay_ms = 5,
	.round = faults_round,
	.help = faults_help,
	.init = faults_init,
	.fini = faults_fini,
};
