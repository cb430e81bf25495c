/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * churn: everything at once. Each worker has slots, draws one at each step, and
 * fills it or gives back what it holds, by any call, order and flags; now and
 * then a call that must be refused. Two zones, so that the zonelist is walked.
 */
#include <errno.h>

#include "blocks.h"

static void churn_round(struct worker *w)
{
	for (unsigned i = 0; i < w->run->steps; i++)
		blocks_step(w);
}

/* A second free is only wrong while nobody can have been handed the page. */
static void churn_still(struct worker *w)
{
	struct block *block = &w->slot[0], was = *block;
	int got;

	if (!was.page || block_count(&was) > 1)
		return;
	block_give(w, block, 0);
	violation_expect(1);
	got = quire_free_pages(w->run->q, was.page, was.order);
	w->refused++;
	if (got != -1 || errno != EINVAL || violation_missing())
		violation("a double free returned %d, not refused with a "
			  "report",
			  got);
}

const struct mode mode_churn = {
	.name = "churn",
	.attacks =
		"All orders, all flags, all calls: pages, addresses, bulk, "
		"exact runs freed in parts, unsized frees, references, and "
		"calls that must be refused. Finds pages given twice or lost, "
		"blocks split or merged wrongly, counters that drift.",
	.promise = PROMISE_PAGES,
	.zones = 2,
	.round = churn_round,
	.still = churn_still,
};
