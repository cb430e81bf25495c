/* SPDX-License-Identifier: BSD-2-Clause */
/* What a replay found, for people and for machines. */
#ifndef TOOLS_REPORT_H
#define TOOLS_REPORT_H

#include "replay.h"

#include <stdio.h>

struct report {
	const char *trace; /* its path */
	const struct replay_options *options;
	const struct script *script;
	const struct replay_result *result;
};

void report_print(const struct report *r, FILE *out);
/* Exactly one JSON object and a newline. */
void report_json(const struct report *r, FILE *out);

/* Share of allocations served by per-CPU lists, 0 to 1. */
double report_pcp_share(const struct report *r);

#endif
