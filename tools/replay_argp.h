/* SPDX-License-Identifier: BSD-2-Clause */
/* Command lines of all tools that replay. */
#ifndef TOOLS_REPLAY_ARGP_H
#define TOOLS_REPLAY_ARGP_H

#include "replay.h"

#include <argp.h>

/* Exit statuses beside 0: of a run with violations; if the trace or the options
 * are bad or the run cannot be set up. */
enum { EXIT_VIOLATIONS = 1, EXIT_BAD = 2 };

/* What their command lines have in common. --plot is each tool's own, for each
 * draws something else. */
struct replay_arguments {
	struct replay_options *options;
	const char *trace, *plot;
};

/* Children of a tool's parser: --way, --size, --types, --samples and the one
 * TRACE. The input is a struct replay_arguments. */
extern const struct argp_child replay_argp[];

/* Reads the command line into `input`, of which `a` is part, and then the
 * trace. Exits with EXIT_BAD and a message if that, or the plot, cannot be. */
struct script *replay_argp_read(const struct argp *argp, int argc, char **argv,
				void *input, const struct replay_arguments *a);
/* Says so on the standard error; returns EXIT_BAD. */
int replay_fail(const char *message);

#endif
