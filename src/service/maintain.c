/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Timed work: what is due in page lists and services.
 */
#include "service/give_back.h"
#include "alloc/page_alloc.h"
#include "service/reclaim.h"

int quire_maintain(struct quire *q)
{
	unsigned drained;

	if (allocator_check_fork(q) != 0)
		return -1;
	drained = page_alloc_maintain(q);
	reclaim_maintain(q);
	for (unsigned n = 0; n < q->nodes->nr; n++)
		if (allocator_shortfall(q, n) == 0)
			allocator_balanced(q, n);
	give_back_maintain(q);
	return (int)drained;
}
