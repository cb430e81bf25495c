/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Upkeep: what is drained when somebody asks, and what is due by the clock.
 */
#include <errno.h>

#include "instance/allocator.h"
#include "service/give_back.h"
#include "service/reclaim.h"

int quire_drain_all(struct quire *q)
{
	bool drained;
	int error;

	if (allocator_check_fork(q) != 0)
		return -1;
	drained = allocator_hold(q);
	error = errno;
	allocator_release(q);
	errno = error;
	return drained ? 0 : -1;
}

/* Lists idle for decay_ms are drained, if it is time to look; returns how many
 * CPUs' were. */
static unsigned maintain_lists(struct quire *q)
{
	unsigned drained = 0;

	for (unsigned z = 0; z < q->nr_zones; z++)
		drained += pcp_maintain(q->pcp[z]);
	return drained;
}

int quire_maintain(struct quire *q)
{
	unsigned drained;

	if (allocator_check_fork(q) != 0)
		return -1;
	drained = maintain_lists(q);
	reclaim_maintain(q);
	for (unsigned n = 0; n < q->nodes->nr; n++)
		if (allocator_shortfall(q, n) == 0)
			allocator_balanced(q, n);
	give_back_maintain(q);
	return (int)drained;
}
