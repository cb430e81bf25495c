/* SPDX-License-Identifier: BSD-2-Clause */
/* How well an allocator keeps 2 MiB blocks whole while a script runs, beside
 * plain policies. */
#ifndef TOOLS_FRAGMENTATION_H
#define TOOLS_FRAGMENTATION_H

#include "gnuplot.h"
#include "reference.h"
#include "replay.h"

struct fragmentation_options {
	struct replay_options replay; /* samples: of each pass */
	unsigned over_peak; /* arena in hundredths of the peak; 0: by replay */
	unsigned repeat;    /* passes over the trace */
	uint64_t burst;	    /* pages that leave together between passes */
	uint64_t seed;
	bool single; /* one thread, in the trace's order */
};

/* Memory at a sample. */
struct fragmentation_point {
	uint64_t live;	/* pages */
	uint64_t whole; /* blocks wholly free */
};

enum { SERIES_QUIRE, SERIES_REFERENCE, NR_SERIES = 1 + NR_REFERENCES };

struct fragmentation_series {
	const char *key, *name;
	struct fragmentation_point *points; /* one a sample */
	uint64_t failures;		    /* allocations */
};

/* Shares: blocks wholly free, of as many as could be. In use: blocks not
 * wholly free, against as few as could be. */
struct fragmentation_measure {
	double share_end, share_average, share_worst;
	double used_end, used_average;
};

struct fragmentation {
	const char *trace; /* its path */
	const struct fragmentation_options *options;
	struct script_counts counts; /* of one pass */
	unsigned nr_cpus;	     /* of the trace */
	struct replay_result replay; /* samples: events and time of points */
	struct fragmentation_series series[NR_SERIES];
	struct fragmentation_point drained; /* quire's, lists emptied */
};

/* Fills f, which the caller gives to fragmentation_fini(). False with error
 * filled if it cannot be run. */
bool fragmentation_run(const struct fragmentation_options *options,
		       const char *trace, const struct script *script,
		       struct fragmentation *f, char error[SCRIPT_ERROR_SIZE]);
void fragmentation_fini(struct fragmentation *f);

double fragmentation_share(const struct fragmentation *f,
			   const struct fragmentation_point *p);
double fragmentation_used(const struct fragmentation *f,
			  const struct fragmentation_point *p);
/* Blocks of the arena; and those wholly free if all live pages lay together. */
uint64_t fragmentation_blocks(const struct fragmentation *f);
uint64_t fragmentation_ideal(const struct fragmentation *f,
			     const struct fragmentation_point *p);
/* Over passes [first, end), counted from 0; averages are over events. */
struct fragmentation_measure
fragmentation_measure(const struct fragmentation *f,
		      const struct fragmentation_series *series, unsigned first,
		      unsigned end);

void fragmentation_print(const struct fragmentation *f, FILE *out);
/* Exactly one JSON object and a newline. */
void fragmentation_json(const struct fragmentation *f, FILE *out);
/* A line a sample under one of names. */
void fragmentation_tsv(const struct fragmentation *f, FILE *out);
bool fragmentation_plot(const struct fragmentation *f, const char *path,
			char error[PLOT_ERROR_SIZE]);

#endif
