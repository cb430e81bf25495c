/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs a script on an allocator, a thread for each traced CPU. */
#ifndef TOOLS_REPLAY_H
#define TOOLS_REPLAY_H

#include "sample.h"
#include "script.h"

/* Mobility of what is allocated. */
enum replay_types {
	REPLAY_TYPES_USE,   /* by what it is for, as the program would say */
	REPLAY_TYPES_TRACE, /* the traced kernel's migratetype */
	REPLAY_TYPES_NONE,  /* all alike */
};

struct replay_options {
	enum replay_types types;
	enum quire_way way;
	uint64_t size; /* bytes; 0: chosen from the script */
	bool mapped;   /* real memory; else offsets, mapped nowhere */
	bool touch;    /* with mapped: stamp every page, check at its free */
	enum quire_backing backing[4]; /* with mapped */
	unsigned samples;
};

struct replay_result {
	struct quire_info info;
	struct quire_stat stat; /* after the last event of the trace */
	struct sample *samples; /* the first before the first event */
	unsigned nr_samples;
	struct sample drained; /* after the last event, lists emptied */
	double seconds;	       /* in which threads ran, samples apart */
	uint64_t failures;     /* allocations refused for want of memory */
	uint64_t order_failures[SCRIPT_NR_ORDERS];
	uint64_t skipped_frees; /* of blocks that were not got */
	uint64_t violations;
};

#define REPLAY_ERROR_SIZE 256

/* Bytes of the arena that options and script call for. */
uint64_t replay_size(const struct replay_options *options,
		     const struct script *script);

/*
 * Fills result, which the caller gives to replay_result_fini(). False with
 * error filled if the replay cannot be set up; violations are no such error.
 */
bool replay_run(const struct replay_options *options,
		const struct script *script, struct replay_result *result,
		char error[REPLAY_ERROR_SIZE]);
void replay_result_fini(struct replay_result *result);

#endif
