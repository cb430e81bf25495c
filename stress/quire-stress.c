/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * quire-stress: proof under load that no page is handed out twice and none is
 * lost. Options, the table of modes, and what is run in turn; see mode.h for
 * how a run goes.
 *
 * Exit status: 0 if every check held, 1 if not, 2 if it cannot be run as asked.
 */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <quire/debug.h>

#include "report.h"
#include "run.h"

static const struct mode *const modes[] = {
	&mode_churn,   &mode_pass,    &mode_exhaust,  &mode_drain,
	&mode_migrate, &mode_signals, &mode_threads,  &mode_fork,
	&mode_exact,   &mode_create,  &mode_misuse,   &mode_faults,
	&mode_nodes,   &mode_wait,    &mode_pressure, &mode_giveback,
};
enum { NR_MODES = sizeof(modes) / sizeof(modes[0]) };
enum { NR_WAYS = QUIRE_WAY_BOUND };

enum { EXIT_VIOLATED = 1, EXIT_BAD = 2 };
enum { THREADS_MAX = 1024, CPUS_MAX = 4096 };
/* What a thread needs to have anything to do. */
enum { SHARE_MIN = 64 };

struct arguments {
	struct run_options run;
	unsigned modes, ways; /* bits */
	bool json;
};

enum {
	KEY_TIME = 256,
	KEY_CPUS,
	KEY_SEED,
	KEY_WAY,
	KEY_JSON,
	KEY_RENEW,
	KEY_PAUSES,
	KEY_STUCK
};

static const struct argp_option option_table[] = {
	{ "mode", 'm', "LIST", 0,
	  "Modes, joined by commas, or all (default: all, in turn)", 1 },
	{ "way", KEY_WAY, "WAY", 0,
	  "How threads are CPUs: rseq, trylock, bound, or all (default: all, "
	  "in turn)",
	  1 },
	{ "time", 't', "SECONDS", 0,
	  "For each mode and way, and four rounds at least (default: 5)", 1 },
	{ "threads", 'n', "N", 0, "Threads (default: 4)", 2 },
	{ "cpus", KEY_CPUS, "N", 0,
	  "Sets of per-CPU lists (default: bound: one a thread; else one a "
	  "possible CPU)",
	  2 },
	{ "size", 's', "BYTES", 0,
	  "Memory to manage, all of which is written to; K, M, G (default: "
	  "128M)",
	  2 },
	{ "renew", KEY_RENEW, "N", 0,
	  "Of 64 freed blocks, those that are renewed (default: 0)", 2 },
	{ "pauses", KEY_PAUSES, "N", 0,
	  "Of N schedule points, one lets other threads run, in a library that "
	  "has them (--enable-schedule-points); 0: none (default: 32)",
	  2 },
	{ "seed", KEY_SEED, "N", 0,
	  "The same seed gives the same operations per thread (default: drawn "
	  "and printed)",
	  2 },
	{ "stuck", KEY_STUCK, "SECONDS", 0,
	  "If no call ends for so long, none will: that is a violation "
	  "(default: 120)",
	  2 },
	{ "json", KEY_JSON, 0, 0, "Print one JSON object instead of the table",
	  3 },
	{ 0 },
};

static const char doc[] =
	"Runs threads against a quire allocator and checks that every page has "
	"one holder, none is lost, and every call keeps its promise.\v"
	"How it checks: whoever is handed a page claims it in a shadow map and "
	"stamps it at both ends; before it is freed both must be as they were. "
	"Every few milliseconds all threads stand still: quire_validate() must "
	"find nothing, and the counters must equal the threads' own; after "
	"every fourth such round all is given back, and the free memory must "
	"be what it was at first.";

static const char reading[] =
	"How to read the table: rounds are the times that everything was "
	"checked at a standstill; failures are calls that got no page, "
	"which is right unless it is told as false; lists is the share of "
	"blocks that went through per-CPU lists without the zone lock (a small "
	"one means that the fast path was hardly tested); drains are lists "
	"emptied to a zone; aborts are restartable sequences that the kernel "
	"restarted; load says how often the mode struck. A violation "
	"is told on the standard error when it is found, with the seed that "
	"gives the same operations again (their interleaving is the machine's, "
	"so it may take more than one run).\n\n"
	"Exit status: 0 if every check held, 1 if not, 2 if it cannot be run "
	"as asked.";

/* --- options --- */

static unsigned find_mode(const char *name)
{
	for (unsigned i = 0; i < NR_MODES; i++)
		if (strcmp(name, modes[i]->name) == 0)
			return 1u << i;
	return strcmp(name, "all") == 0 ? (1u << NR_MODES) - 1 : 0;
}

static unsigned find_way(const char *name)
{
	for (unsigned i = 0; i < NR_WAYS; i++)
		if (strcmp(name, quire_way_name(QUIRE_WAY_RSEQ + i)) == 0)
			return 1u << i;
	return strcmp(name, "all") == 0 ? (1u << NR_WAYS) - 1 : 0;
}

static void parse_list(const char *option, const char *arg, unsigned *bits,
		       unsigned (*find)(const char *name),
		       struct argp_state *state)
{
	char *copy = strdup(arg), *rest = copy, *name;

	*bits = 0;
	while (copy && (name = strsep(&rest, ",")) != NULL) {
		unsigned found = find(name);

		if (!found)
			argp_error(state, "--%s: there is no %s \"%s\"", option,
				   option, name);
		*bits |= found;
	}
	free(copy);
}

static uint64_t parse_number(const char *option, const char *arg, uint64_t min,
			     uint64_t max, struct argp_state *state)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(arg, &end, 0);
	if (*arg < '0' || *arg > '9' || *end || errno || n < min || n > max)
		argp_error(state,
			   "--%s %s: it is a number from %" PRIu64
			   " to %" PRIu64,
			   option, arg, min, max);
	return n;
}

static uint64_t parse_size(const char *arg, struct argp_state *state)
{
	static const char units[] = "KMGT";
	const char *unit;
	unsigned long long n;
	unsigned shift = 0;
	char *end;

	errno = 0;
	n = strtoull(arg, &end, 0);
	if (*end && (unit = strchr(units, *end)) != NULL) {
		shift = 10 * (unsigned)(unit - units + 1);
		end++;
	}
	if (*arg < '0' || *arg > '9' || *end || errno || n == 0 ||
	    n > UINT64_C(1) << 40 >> shift)
		argp_error(state,
			   "--size %s: it is a number of bytes with K, M, G or "
			   "T, up to 1T",
			   arg);
	return n << shift;
}

static double parse_seconds(const char *option, const char *arg, double min,
			    struct argp_state *state)
{
	char *end;
	double seconds = strtod(arg, &end);

	if (end == arg || *end || !(seconds >= min) || seconds > 1e7)
		argp_error(state,
			   "--%s %s: it is a number of seconds from %g to 1e7",
			   option, arg, min);
	return seconds;
}

static void check_arguments(const struct arguments *a, struct argp_state *state)
{
	/* With a helper there is one thread more. */
	uint64_t least = (a->run.threads + UINT64_C(1)) * SHARE_MIN
			 << QUIRE_PAGE_SHIFT;

	if (least < UINT64_C(8) << 20)
		least = UINT64_C(8) << 20;
	if (a->run.size < least)
		argp_error(state,
			   "--size %" PRIu64 ": %u threads need %" PRIu64
			   " bytes",
			   a->run.size, a->run.threads, least);
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct arguments *a = state->input;

	switch (key) {
	case 'm':
		parse_list("mode", arg, &a->modes, find_mode, state);
		return 0;
	case KEY_WAY:
		parse_list("way", arg, &a->ways, find_way, state);
		return 0;
	case 't':
		a->run.seconds = parse_seconds("time", arg, 0, state);
		return 0;
	case 'n':
		a->run.threads = (unsigned)parse_number("threads", arg, 1,
							THREADS_MAX, state);
		return 0;
	case KEY_CPUS:
		a->run.cpus =
			(unsigned)parse_number("cpus", arg, 1, CPUS_MAX, state);
		return 0;
	case 's':
		a->run.size = parse_size(arg, state);
		return 0;
	case KEY_RENEW:
		a->run.renew = (unsigned)parse_number("renew", arg, 0,
						      QUIRE_RENEW_MAX, state);
		return 0;
	case KEY_PAUSES:
		a->run.pauses = (unsigned)parse_number("pauses", arg, 0,
						       UINT32_MAX, state);
		if (a->run.pauses && quire_debug_pauses(0, 0) != 0)
			argp_error(state,
				   "--pauses %s: this library has no "
				   "schedule points",
				   arg);
		return 0;
	case KEY_STUCK:
		a->run.stuck = parse_seconds("stuck", arg, 1, state);
		return 0;
	case KEY_SEED:
		a->run.seed = parse_number("seed", arg, 0, UINT64_MAX, state);
		return 0;
	case KEY_JSON:
		a->json = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "what is \"%s\"? There are only options",
			   arg);
		return 0;
	case ARGP_KEY_END:
		check_arguments(a, state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* The modes' own words, between how it checks and how to read. */
static char *help_filter(int key, const char *text, void *input)
{
	char *all = NULL;
	size_t size;
	FILE *out;

	(void)input;
	if (key != ARGP_KEY_HELP_POST_DOC || !text)
		return (char *)(uintptr_t)text;
	out = open_memstream(&all, &size);
	if (!out)
		return (char *)(uintptr_t)text;
	fprintf(out, "%s\n\nModes, and what they attack:\n", text);
	for (unsigned i = 0; i < NR_MODES; i++)
		fprintf(out, "\n%s: %s\n", modes[i]->name, modes[i]->attacks);
	fprintf(out, "\n%s", reading);
	fclose(out);
	return all;
}

/* --- runs --- */

static uint64_t drawn_seed(void)
{
	uint32_t seed = 0;

	/* 32 bits: to be typed. */
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		seed = (uint32_t)getpid();
	return seed;
}

/* All modes in all ways that were asked for; returns the exit status. */
static int play_all(const struct arguments *a, struct run_result *results,
		    size_t *n)
{
	bool only_way = (a->ways & (a->ways - 1)) == 0;
	int status = EXIT_SUCCESS;

	for (unsigned i = 0; i < NR_MODES * NR_WAYS; i++) {
		const struct mode *mode = modes[i / NR_WAYS];
		enum quire_way way = QUIRE_WAY_RSEQ + i % NR_WAYS;
		enum run_status ended;

		if (!(a->modes >> i / NR_WAYS & 1) ||
		    !(a->ways >> i % NR_WAYS & 1))
			continue;
		ended = run_play(&a->run, mode, way, report_live, &results[*n]);
		report_live_clear();
		if (ended == RUN_BAD)
			return EXIT_BAD;
		if (ended == RUN_NOT_HERE) {
			report_not_here(only_way ? stderr : stdout, mode, way);
			if (only_way)
				return EXIT_BAD;
			continue;
		}
		if (results[*n].violations)
			status = EXIT_VIOLATED;
		if (!a->json)
			report_row(stdout, &results[*n]);
		(*n)++;
	}
	return status;
}

static int finish(const struct arguments *a, const struct run_result *results,
		  size_t n, int status)
{
	if (a->json)
		report_json(stdout, &a->run, results, n);
	else if (status == EXIT_SUCCESS)
		printf("every check held in %zu runs\n", n);
	else
		printf("NOT every check held: seed %" PRIu64 "\n", a->run.seed);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		perror("quire-stress: cannot write the standard output");
		return EXIT_BAD;
	}
	return status;
}

int main(int argc, char **argv)
{
	static const struct argp argp = { option_table, parse_option, NULL, doc,
					  NULL,		help_filter,  NULL };
	static struct run_result results[NR_MODES * NR_WAYS];
	struct arguments a = {
		.run = { .size = UINT64_C(128) << 20,
			 .seed = drawn_seed(),
			 .seconds = 5,
			 .stuck = 120,
			 .threads = 4,
			 .pauses = 32 },
		.modes = (1u << NR_MODES) - 1,
		.ways = (1u << NR_WAYS) - 1,
	};
	size_t n = 0;
	int status;

	argp_err_exit_status = EXIT_BAD;
	argp_parse(&argp, argc, argv, 0, NULL, &a);
	if (!a.json) {
		printf("quire-stress %s: seed %" PRIu64 ", %" PRIu64 " MiB\n",
		       quire_version(), a.run.seed, a.run.size >> 20);
		report_head(stdout);
	}
	violation_catch_crashes();
	status = play_all(&a, results, &n);
	return status == EXIT_BAD ? status : finish(&a, results, n, status);
}
