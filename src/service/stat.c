/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Counters and scans.
 *
 * Nothing here is counted twice: pops stand in the lists' words, pushes follow
 * from what went in and out, live pages are those neither free nor parked.
 */
#include <string.h>

#include "instance/allocator.h"

static uint64_t load(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

int quire_stat(const struct quire *q, struct quire_stat *stat, size_t stat_size)
{
	struct quire_stat all = {
		.pages = q->map.region.end - q->map.region.first,
		.failures = load(&q->failures),
		.refused = load(&q->refused),
		.zeroed = load(&q->zeroed),
		.waits = load(&q->waits),
		.timeouts = load(&q->timeouts),
		.reclaims = load(&q->reclaims),
		.reclaimed = load(&q->reclaimed),
		.given_back = load(&q->given_back),
	};
	struct pcp_count count = { 0 };
	struct holds holds = { 0 };

	for (unsigned z = 0; z < q->nr_zones; z++) {
		pcp_count(q->pcp[z], &count);
		all.pages_free += zone_free_pages(q->zone[z]) +
				  zone_deferred_pages(q->zone[z]);
		all.zone_locks += load(&q->zone[z]->locks);
		all.claims += load(&q->zone[z]->claims);
		all.steals += load(&q->zone[z]->steals);
		if (q->zone[z]->timed)
			zone_holds(q->zone[z], &holds);
	}
	all.zone_hold_p999_ns = holds_quantile(&holds, 999);
	all.zone_hold_max_ns = holds.longest;
	all.pages_parked = count.parked_pages;
	/* Pages that moved meanwhile may have been seen twice. */
	if (all.pages_free + all.pages_parked < all.pages)
		all.pages_live = all.pages - all.pages_free - all.pages_parked;
	all.pcp_allocs = count.pops;
	all.pcp_frees = count.pushes;
	all.allocs = count.pops + count.zone_allocs;
	all.frees = count.pushes + count.zone_frees;
	all.refills = count.refills;
	all.drains = count.drains;
	memset(stat, 0, stat_size);
	memcpy(stat, &all, stat_size < sizeof(all) ? stat_size : sizeof(all));
	return 0;
}

int quire_free_runs(struct quire *q, uint64_t runs[QUIRE_NR_ORDERS])
{
	memset(runs, 0, QUIRE_NR_ORDERS * sizeof(*runs));
	if (allocator_check_fork(q) != 0)
		return -1;
	for (unsigned z = 0; z < q->nr_zones; z++)
		zone_runs(q->zone[z], runs);
	return 0;
}
