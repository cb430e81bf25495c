/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * drain: remote drains without a pause against the fast path. An extra thread
 * calls quire_drain_all() as often as it can; lists decay after a millisecond,
 * so that workers drain each other as well.
 */
#include "blocks.h"

/* Its steps are quick. */
enum { FAST = 4, MAINTAIN_EVERY = 8 };

static void drain_round(struct worker *w)
{
	for (unsigned i = 0; i < FAST * w->run->steps; i++)
		blocks_step_fast(w);
}

static void drain_help(struct worker *w)
{
	struct quire *q = w->run->q;

	for (unsigned i = 0; run_busy(w->run); i++) {
		if (quire_drain_all(q) != 0)
			violation("quire_drain_all() failed");
		if (i % MAINTAIN_EVERY == 0 && quire_maintain(q) < 0)
			violation("quire_maintain() failed");
		count(&w->events, 1);
	}
}

const struct mode mode_drain = {
	.name = "drain",
	.attacks = "Small blocks through the per-CPU lists while an extra "
		   "thread drains all of them without a pause, and idle ones "
		   "are drained after 1 ms. Finds a list taken while its CPU "
		   "still uses it.",
	.events = "drains",
	.promise = PROMISE_PAGES,
	.zones = 1,
	.decay_ms = 1,
	.round = drain_round,
	.help = drain_help,
};
