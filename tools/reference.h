/* SPDX-License-Identifier: BSD-2-Clause */
/* Plain policies that play a script, to compare an allocator with. */
#ifndef TOOLS_REFERENCE_H
#define TOOLS_REFERENCE_H

#include "script.h"

struct reference {
	const char *key, *name;
	void *(*create)(uint32_t pages);
	void (*destroy)(void *policy);
	uint32_t (*alloc)(void *policy, unsigned order); /* REFERENCE_NONE */
	bool (*free)(void *policy, uint32_t page, unsigned order);
	uint32_t (*whole)(const void *policy);
};

#define REFERENCE_NONE UINT32_MAX

enum { REFERENCE_FIRST_FIT, REFERENCE_LIFO_BUDDY, NR_REFERENCES };

extern const struct reference references[NR_REFERENCES];

/* Memory after so many events of the trace. */
struct reference_sample {
	uint64_t events; /* in */
	uint64_t live;	 /* pages */
	uint32_t whole;	 /* 2 MiB blocks wholly free */
};

/*
 * Plays the script in the trace's order on an arena of so many pages, and
 * fills the samples, which ascend and whose events end rounds. False with
 * error filled without memory, or if the policy loses count of a page.
 */
bool reference_run(const struct reference *reference,
		   const struct script *script, uint32_t pages,
		   struct reference_sample *samples, unsigned nr_samples,
		   uint64_t *failures, char error[SCRIPT_ERROR_SIZE]);

#endif
