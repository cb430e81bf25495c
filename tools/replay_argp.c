/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Command lines of all tools that replay: what a replay is, whatever is done
 * with it, and of which trace.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "replay_argp.h"

#include "gnuplot.h"
#include "text.h"

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_SAMPLES = 512, KEY_TYPES };

static const struct argp_option option_table[] = {
	{ "way", 'w', "WAY", 0,
	  "How threads find their page lists: rseq, "
	  "trylock or bound (default: rseq where it "
	  "works, else trylock)",
	  1 },
	{ "size", 's', "BYTES", 0,
	  "Size of the arena; K, M, G, T (default: by the trace's peak use)",
	  1 },
	{ "types", KEY_TYPES, "HOW", 0,
	  "Mobility: use (what the trace has as movable but not zeroed is page "
	  "cache: reclaimable), trace (its migratetypes) or none (default: "
	  "use)",
	  1 },
	{ "samples", KEY_SAMPLES, "N", 0,
	  "Look at the free memory N times (1 to 1000, default 200)", 3 },
	{ 0 },
};

static void parse_way(const char *arg, struct replay_options *o,
		      struct argp_state *state)
{
	enum quire_way way;

	for (way = QUIRE_WAY_RSEQ; way <= QUIRE_WAY_BOUND; way++) {
		if (strcmp(arg, quire_way_name(way)) == 0) {
			o->way = way;
			return;
		}
	}
	argp_error(state, "--way %s: it is rseq, trylock or bound", arg);
}

static void parse_types(const char *arg, struct replay_options *o,
			struct argp_state *state)
{
	static const char *const names[] = { "use", "trace", "none" };

	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (strcmp(arg, names[i]) == 0) {
			o->types = (enum replay_types)i;
			return;
		}
	}
	argp_error(state, "--types %s: it is use, trace or none", arg);
}

static void parse_counts(int key, const char *arg, struct replay_options *o,
			 struct argp_state *state)
{
	uint64_t n = 0;

	if (key == 's') {
		if (!text_parse_size(arg, &o->size) || o->size == 0)
			argp_error(state,
				   "--size %s: it is a number of bytes "
				   "with K, M, G or T, not 0",
				   arg);
		return;
	}
	if (!text_parse_number(arg, 1, 1000, &n))
		argp_error(state, "--samples %s: it is 1 to 1000", arg);
	o->samples = (unsigned)n;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct replay_arguments *a = state->input;
	struct replay_options *o = a->options;

	switch (key) {
	case 'w':
		parse_way(arg, o, state);
		return 0;
	case KEY_TYPES:
		parse_types(arg, o, state);
		return 0;
	case 's':
	case KEY_SAMPLES:
		parse_counts(key, arg, o, state);
		return 0;
	case ARGP_KEY_ARG:
		if (a->trace)
			argp_error(state, "one TRACE, not also \"%s\"", arg);
		a->trace = arg;
		return 0;
	case ARGP_KEY_END:
		if (!a->trace)
			argp_error(state, "no TRACE given");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp child = { option_table, parse_option, NULL, NULL,
				   NULL,	 NULL,	       NULL };
const struct argp_child replay_argp[] = { { &child, 0, NULL, 0 }, { 0 } };

int replay_fail(const char *message)
{
	fprintf(stderr, "%s: %s\n", program_invocation_short_name, message);
	return EXIT_BAD;
}

struct script *replay_argp_read(const struct argp *argp, int argc, char **argv,
				void *input, const struct replay_arguments *a)
{
	char error[SCRIPT_ERROR_SIZE], plot_error[PLOT_ERROR_SIZE];
	struct script *script;

	/* For the progress bar's characters only: numbers stay as they are. */
	setlocale(LC_CTYPE, "");
	argp_err_exit_status = EXIT_BAD;
	argp_parse(argp, argc, argv, 0, NULL, input);
	if (a->plot && !gnuplot_possible(a->plot, plot_error))
		exit(replay_fail(plot_error));
	script = script_read(a->trace, error);
	if (!script)
		exit(replay_fail(error));
	return script;
}
