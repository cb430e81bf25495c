/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * quire-replay: runs recorded page traffic of a Linux kernel through quire and
 * checks every page it is given.
 *
 * Exit status: 0 without a violation, 1 with, 2 if the trace or the options
 * are bad or the replay cannot be set up; then the message is on the standard
 * error and nothing on the standard output.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "plot.h"
#include "replay_argp.h"
#include "report.h"

#include <stdlib.h>
#include <string.h>

struct arguments {
	struct replay_arguments common;
	struct replay_options replay;
	bool json, offsets;
};

enum { KEY_OFFSETS = 256, KEY_TOUCH, KEY_PLOT, KEY_JSON };

static const struct argp_option option_table[] = {
	{ "offsets", KEY_OFFSETS, 0, 0,
	  "Arena mapped nowhere, so that a replay needs no memory but for "
	  "tables (default)",
	  2 },
	{ "backing", 'b', "LIST", 0,
	  "Arena of real memory, backed by the first of LIST that can be had: "
	  "1g, 2m, thp, base, joined by '+'",
	  2 },
	{ "touch", KEY_TOUCH, 0, 0,
	  "Arena of real memory; every page is stamped when given and checked "
	  "when freed",
	  2 },
	{ "plot", KEY_PLOT, "FILE.svg", 0,
	  "Draw fragmentation over time (needs gnuplot)", 3 },
	{ "json", KEY_JSON, 0, 0, "Print one JSON object instead of the report",
	  3 },
	{ 0 },
};

static const char doc[] =
	"Runs the page events of TRACE on an allocator, one thread standing in "
	"for each traced CPU, and checks every page against a shadow map.\v"
	"TRACE is text from ftrace (trace, trace_pipe, quire-record), perf "
	"script or trace-cmd report, plain or compressed with gzip, bzip2, xz "
	"or zstd; - is the standard input.\n\n"
	"Without --size the arena is a quarter more than the trace's peak "
	"use, at least 64M.\n\n"
	"Of the JSON keys, events = allocs + failed_allocs + frees + "
	"unknown_frees; free_2m_blocks, ideal_2m_blocks and unusable are those "
	"after the last event, page lists drained.\n\n"
	"Exit status: 0 without a violation, 1 with, 2 if TRACE or the options "
	"are bad.";

static void parse_backing(const char *arg, struct replay_options *o,
			  struct argp_state *state)
{
	char *copy = strdup(arg), *rest = copy, *name;
	enum quire_backing b;
	unsigned n = 0;

	while (copy && (name = strsep(&rest, "+,")) != NULL) {
		for (b = QUIRE_BACKING_1G; b <= QUIRE_BACKING_BASE; b++)
			if (strcmp(name, quire_backing_name(b)) == 0)
				break;
		if (b > QUIRE_BACKING_BASE || n == 4)
			argp_error(state,
				   "--backing %s: it is up to four of 1g, 2m, "
				   "thp, base, joined by '+'",
				   arg);
		o->backing[n++] = b;
	}
	o->mapped = true;
	free(copy);
}

static void check_arguments(const struct arguments *a, struct argp_state *state)
{
	if (a->offsets && a->replay.mapped)
		argp_error(state, "--offsets is memory mapped nowhere: "
				  "--backing and --touch need real memory");
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->common;
		return 0;
	case 'b':
		parse_backing(arg, &a->replay, state);
		return 0;
	case KEY_OFFSETS:
		a->offsets = true;
		return 0;
	case KEY_TOUCH:
		a->replay.mapped = a->replay.touch = true;
		return 0;
	case KEY_PLOT:
		a->common.plot = arg;
		return 0;
	case KEY_JSON:
		a->json = true;
		return 0;
	case ARGP_KEY_END:
		check_arguments(a, state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int show(const struct arguments *a, const struct script *script,
		const struct replay_result *result)
{
	struct report r = { a->common.trace, &a->replay, script, result };
	char error[PLOT_ERROR_SIZE] = "";

	if (a->json)
		report_json(&r, stdout);
	else
		report_print(&r, stdout);
	if (fflush(stdout) != 0 || ferror(stdout))
		return replay_fail("cannot write the standard output");
	if (a->common.plot && !plot_write(&r, a->common.plot, error))
		return replay_fail(error);
	return result->violations ? EXIT_VIOLATIONS : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static const struct argp argp = { option_table, parse_option, "TRACE",
					  doc,		replay_argp,  NULL,
					  NULL };
	struct arguments a = { .common.options = &a.replay,
			       .replay.samples = 200 };
	struct script *script =
		replay_argp_read(&argp, argc, argv, &a, &a.common);
	char error[REPLAY_ERROR_SIZE];
	struct replay_result result;
	int status;

	if (replay_run(&a.replay, script, &result, error))
		status = show(&a, script, &result);
	else
		status = replay_fail(error);
	replay_result_fini(&result);
	script_delete(script);
	return status;
}
