/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * quire-fragmentation: how well quire keeps 2 MiB blocks whole under recorded
 * page traffic, beside first fit and a LIFO buddy.
 *
 * Exit status as quire-replay's: 0 without a violation, 1 with, 2 if the trace
 * or the options are bad or the run cannot be set up.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "fragmentation.h"
#include "replay_argp.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_REPEAT = 100, MAX_OVER_PEAK = 1000 };

enum output { OUTPUT_TABLE, OUTPUT_TSV, OUTPUT_JSON };

struct arguments {
	struct replay_arguments common;
	struct fragmentation_options run;
	enum output output;
};

enum {
	KEY_OVER_PEAK = 256,
	KEY_BURST,
	KEY_SEED,
	KEY_THREADS,
	KEY_PLOT,
	KEY_TSV,
	KEY_JSON,
};

static const struct argp_option option_table[] = {
	{ "over-peak", KEY_OVER_PEAK, "FACTOR", 0,
	  "Size of the arena as a multiple of the trace's peak use, 1 to 1000, "
	  "rounded up to 2 MiB (default 1.25)",
	  1 },
	{ "repeat", 'n', "N", 0,
	  "Run the trace N times over (1 to 100) on the same arena", 2 },
	{ "burst", KEY_BURST, "PAGES", 0,
	  "What a pass left live leaves in bursts of so many pages (default "
	  "256)",
	  2 },
	{ "seed", KEY_SEED, "N", 0,
	  "Seed for what differs from pass to pass (default 1)", 2 },
	{ "threads", KEY_THREADS, "WHICH", 0,
	  "trace: one for each traced CPU (default); single: one, in the "
	  "trace's order, so that two runs on one CPU (taskset -c 0) do the "
	  "same",
	  2 },
	{ "plot", KEY_PLOT, "FILE.svg", 0,
	  "Draw the policies over the trace (needs gnuplot)", 3 },
	{ "tsv", KEY_TSV, 0, 0, "Print the samples instead of the table", 3 },
	{ "json", KEY_JSON, 0, 0, "Print one JSON object instead of the table",
	  3 },
	{ 0 },
};

static const char doc[] =
	"Runs the page events of TRACE on quire, and in the trace's order on "
	"plain address-ordered first fit and on a LIFO buddy as Linux has it, "
	"and compares how many 2 MiB blocks stay wholly free.\v"
	"How to read it. With L pages live, at best ceil(L / 512) blocks of 2 "
	"MiB are in use and all others are wholly free: the ideal. The table "
	"says for each policy what share of the ideal is wholly free, after "
	"the last event, on average over the events, and at worst; and how "
	"many blocks are in use for one that must be (1.00 is perfect). A "
	"small arena makes the share a hard measure: what is in use too much "
	"is taken from few. quire's pages in page lists count against it, but "
	"in the line \"drained\". References have no page lists, no CPUs and "
	"no concurrency: they show what a policy can do.\n\n"
	"With --repeat, what a pass leaves live is freed during the next, in "
	"random order and in bursts, as that pass's own memory grows: live "
	"memory never exceeds the trace's. From the second pass on, CPUs also "
	"take turns in another order. A policy that holds shows the same "
	"share in every pass from the second on; the first begins on an empty "
	"arena.\n\n"
	"TRACE is what quire-replay reads. --samples are of each pass. Exit "
	"status: 0 without a violation, 1 with, 2 if TRACE or the options are "
	"bad.";

/* "1.25" as 125; false if it is no number of at most two decimals. */
static bool parse_hundredths(const char *arg, unsigned *n)
{
	const char *dot = strchr(arg, '.');
	size_t decimals = dot ? strlen(dot + 1) : 0;
	uint64_t whole = 0, part = 0;
	char digits[8] = "";

	if (dot && (dot - arg > 7 || dot == arg))
		return false;
	memcpy(digits, arg, dot ? (size_t)(dot - arg) : 0);
	if (!text_parse_number(dot ? digits : arg, 1, MAX_OVER_PEAK, &whole))
		return false;
	if (dot && (decimals > 2 || !text_parse_number(dot + 1, 0, 99, &part)))
		return false;
	*n = (unsigned)(whole * 100 + (decimals == 1 ? part * 10 : part));
	return *n <= MAX_OVER_PEAK * 100;
}

static void parse_run(int key, const char *arg, struct fragmentation_options *o,
		      struct argp_state *state)
{
	uint64_t n = 0;

	switch (key) {
	case KEY_OVER_PEAK:
		if (!parse_hundredths(arg, &o->over_peak))
			argp_error(state,
				   "--over-peak %s: it is 1 to %d with at most "
				   "two decimals",
				   arg, MAX_OVER_PEAK);
		break;
	case 'n':
		if (!text_parse_number(arg, 1, MAX_REPEAT, &n))
			argp_error(state, "--repeat %s: it is 1 to %d", arg,
				   MAX_REPEAT);
		o->repeat = (unsigned)n;
		break;
	case KEY_BURST:
		if (!text_parse_number(arg, 1, UINT32_MAX, &o->burst))
			argp_error(state,
				   "--burst %s: it is a number of pages, not 0",
				   arg);
		break;
	case KEY_SEED:
		if (!text_parse_number(arg, 0, UINT64_MAX, &o->seed))
			argp_error(state, "--seed %s: it is a number", arg);
		break;
	default:
		o->single = strcmp(arg, "single") == 0;
		if (!o->single && strcmp(arg, "trace") != 0)
			argp_error(state, "--threads %s: it is trace or single",
				   arg);
	}
}

static void check_arguments(struct arguments *a, struct argp_state *state)
{
	if (a->run.replay.size && a->run.over_peak)
		argp_error(state, "--size and --over-peak: it is one of them");
	if (!a->run.replay.size && !a->run.over_peak)
		a->run.over_peak = 125;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->common;
		return 0;
	case KEY_OVER_PEAK:
	case 'n':
	case KEY_BURST:
	case KEY_SEED:
	case KEY_THREADS:
		parse_run(key, arg, &a->run, state);
		return 0;
	case KEY_PLOT:
		a->common.plot = arg;
		return 0;
	case KEY_TSV:
		a->output = OUTPUT_TSV;
		return 0;
	case KEY_JSON:
		a->output = OUTPUT_JSON;
		return 0;
	case ARGP_KEY_END:
		check_arguments(a, state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int show(const struct arguments *a, const struct fragmentation *f)
{
	char error[PLOT_ERROR_SIZE] = "";

	if (a->output == OUTPUT_JSON)
		fragmentation_json(f, stdout);
	else if (a->output == OUTPUT_TSV)
		fragmentation_tsv(f, stdout);
	else
		fragmentation_print(f, stdout);
	if (fflush(stdout) != 0 || ferror(stdout))
		return replay_fail("cannot write the standard output");
	if (a->common.plot && !fragmentation_plot(f, a->common.plot, error))
		return replay_fail(error);
	return f->replay.violations ? EXIT_VIOLATIONS : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static const struct argp argp = { option_table, parse_option, "TRACE",
					  doc,		replay_argp,  NULL,
					  NULL };
	struct arguments a = { .common.options = &a.run.replay,
			       .run.replay.samples = 200,
			       .run.repeat = 1,
			       .run.burst = 256,
			       .run.seed = 1 };
	struct script *script =
		replay_argp_read(&argp, argc, argv, &a, &a.common);
	char error[SCRIPT_ERROR_SIZE];
	struct fragmentation f;
	int status;

	if (fragmentation_run(&a.run, a.common.trace, script, &f, error))
		status = show(&a, &f);
	else
		status = replay_fail(error);
	fragmentation_fini(&f);
	script_delete(script);
	return status;
}
