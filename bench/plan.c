/* SPDX-License-Identifier: BSD-2-Clause */
/* Which cases can be measured, and which are worth it. */
#include "workloads.h"

static int possible(const struct bench_case *c)
{
	const struct workload *workload = c->workload;
	unsigned has = c->adapter->flags;

	if (workload->flags & WORKLOAD_CREATE)
		return (has & QUIRE_BENCH_CREATE) && !c->adapter->thread_init &&
		       c->threads == 1;
	if (c->adapter == &adapter_quire_base)
		return 0;
	if (workload == &workload_pair)
		return c->param <= c->adapter->max_order;
	if ((workload == &workload_mixed ||
	     workload->flags & WORKLOAD_SINGLE) &&
	    c->adapter->max_order < QUIRE_BENCH_MAX_ORDER)
		return 0;
	if ((workload->flags & WORKLOAD_SINGLE) && c->threads != 1)
		return 0;
	if ((workload->flags & WORKLOAD_PAIRED) && c->threads % 2 != 0)
		return 0;
	if ((workload->flags & WORKLOAD_BOUNDED) &&
	    !(has & QUIRE_BENCH_BOUNDED))
		return 0;
	if ((workload->flags & WORKLOAD_HANDOVER) &&
	    (has & QUIRE_BENCH_THREAD_LOCAL))
		return 0;
	/* Of threads that fill an arena together, one leaves holes in another's
	 * part. */
	if (workload->flags & WORKLOAD_SCATTER ||
	    (workload->flags & WORKLOAD_ARENA && c->threads != 1))
		return !(has & QUIRE_BENCH_FEW_HOLES);
	return 1;
}

static int planned(const struct bench_case *c, int full)
{
	if (!possible(c))
		return 0;
	if (c->workload == &workload_pair && c->param != 0)
		return c->threads == 1 ||
		       (full && (c->param == 3 || c->param == 9));
	if (full || c->threads == 1 || reach_needs(c))
		return 1;
	/* The plot of throughput over threads. */
	if (c->workload == &workload_pair || c->workload == &workload_mixed)
		return 1;
	return c->threads == 2 && c->workload != &workload_random;
}

int bench_planned(const struct bench_case *c, int full)
{
	const struct bench_case today = bench_today(c);

	return planned(&today, full);
}
