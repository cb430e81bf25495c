/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How the memory of an allocator lies at one moment.
 *
 * The unusable-free index is Mel Gorman's (The Physical Anti-Fragmentation
 * patches, 2005; /sys/kernel/debug/extfrag/unusable_index): 0 where every free
 * page can serve an order, 1 where none can. As in Linux, pages parked in
 * per-CPU lists are neither free nor live there; the ideal counts them as
 * free, for a drain brings them back.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "sample.h"

#include <errno.h>
#include <string.h>

static void check_sums(const struct sample *s, const struct quire_stat *stat,
		       uint64_t in_runs, struct violations *v)
{
	uint64_t sum = s->live + s->free + s->parked;

	if (sum != stat->pages)
		violation_report(v,
				 "after %llu events %llu live + %llu free + "
				 "%llu parked are not %llu pages",
				 (unsigned long long)s->events,
				 (unsigned long long)s->live,
				 (unsigned long long)s->free,
				 (unsigned long long)s->parked,
				 (unsigned long long)stat->pages);
	if (in_runs != s->free)
		violation_report(v,
				 "after %llu events %llu pages in free runs, "
				 "but %llu pages free",
				 (unsigned long long)s->events,
				 (unsigned long long)in_runs,
				 (unsigned long long)s->free);
}

void sample_take(struct sample *s, struct quire *q, struct violations *v)
{
	struct quire_stat stat;
	uint64_t below = 0;
	unsigned order;

	if (quire_stat(q, &stat, sizeof(stat)) != 0 ||
	    quire_free_runs(q, s->runs) != 0) {
		violation_report(v, "no counters: %s", strerror(errno));
		return;
	}
	s->live = stat.pages_live;
	s->free = stat.pages_free;
	s->parked = stat.pages_parked;
	s->free_2m = 0;
	for (order = 0; order < QUIRE_NR_ORDERS; order++) {
		s->unusable[order] =
			s->free ? (double)below / (double)s->free : 0;
		below += s->runs[order] << order;
		if (order >= SAMPLE_2M_ORDER)
			s->free_2m += s->runs[order]
				      << (order - SAMPLE_2M_ORDER);
	}
	s->ideal_2m = (s->free + s->parked) / SAMPLE_2M_PAGES;
	check_sums(s, &stat, below, v);
}
