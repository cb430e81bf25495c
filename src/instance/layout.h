/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The layout: which pages are in which node and zone.
 */
#ifndef QUIRE_LAYOUT_H
#define QUIRE_LAYOUT_H

#include <stdint.h>

#include "base/report.h"
#include "map/memmap.h"
#include "quire/quire.h"

struct zone_span {
	pfn_t first, end;
	unsigned node;
	enum quire_zone kind;
	uint64_t cma; /* pages at its end that are */
};

/* (c) once planned */
struct layout {
	unsigned nr_nodes, nr_zones;
	pfn_t node[QUIRE_MAX_NODES + 1]; /* node i is [node[i], node[i + 1]) */
	struct zone_span zone[QUIRE_MAX_ZONES]; /* ascending */
};

/*
 * Cuts the region as options say, which were checked by themselves. EINVAL,
 * with a report and its values, if the parts do not fit.
 */
int layout_plan(struct layout *layout, const struct quire_options *options,
		const struct region *region, const struct reporter *to);

#endif
