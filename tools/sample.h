/* SPDX-License-Identifier: BSD-2-Clause */
/* How the memory of an allocator lies at one moment. */
#ifndef TOOLS_SAMPLE_H
#define TOOLS_SAMPLE_H

#include "violation.h"

#include <quire/quire.h>

/* Pages in 2 MiB, and the order of such a block. */
#define SAMPLE_2M_ORDER 9u
#define SAMPLE_2M_PAGES ((uint64_t)1 << SAMPLE_2M_ORDER)

struct sample {
	uint64_t events;	     /* of the trace, up to here */
	uint64_t time_ns;	     /* since its first event */
	uint64_t live, free, parked; /* pages */
	uint64_t runs[QUIRE_NR_ORDERS];
	uint64_t free_2m;  /* whole 2 MiB blocks free */
	uint64_t ideal_2m; /* if all free and parked pages lay together */
	/* Share of the free pages that is of no use to an allocation of this
	 * order: (free - pages in runs of this order or more) / free. */
	double unusable[QUIRE_NR_ORDERS];
};

/*
 * Fills all but events and time. No other thread may be in a call on q. The
 * counters must agree with each other and with the runs.
 */
void sample_take(struct sample *s, struct quire *q, struct violations *v);

#endif
