/* SPDX-License-Identifier: BSD-2-Clause */
/* What quire-stress prints: see report.h, and quire-stress.c's help. */
#include "report.h"

#include <inttypes.h>
#include <unistd.h>

static double percent(uint64_t part, uint64_t whole)
{
	return whole ? 100.0 * (double)part / (double)whole : 0;
}

static double share_of_lists(const struct quire_stat *stat)
{
	return percent(stat->pcp_allocs + stat->pcp_frees,
		       stat->allocs + stat->frees);
}

void report_head(FILE *out)
{
	fprintf(out, "%-8s %-8s %7s %5s %6s %8s %9s %9s %6s %9s %8s %8s  %s\n",
		"mode", "way", "threads", "cpus", "rounds", "seconds",
		"Mcalls/s", "failures", "lists", "drains", "aborts", "verdict",
		"load");
	fflush(out);
}

void report_row(FILE *out, const struct run_result *r)
{
	fprintf(out,
		"%-8s %-8s %7u %5u %6u %8.2f %9.3f %9" PRIu64
		" %5.1f%% %9" PRIu64 " %8" PRIu64 " %8s ",
		r->mode->name, quire_way_name(r->way), r->threads, r->cpus,
		r->rounds, r->seconds, (double)r->ops / r->seconds / 1e6,
		r->stat.failures, share_of_lists(&r->stat), r->stat.drains,
		r->aborts, r->violations ? "VIOLATED" : "held");
	if (r->violations)
		fprintf(out, " %" PRIu64 " violations", r->violations);
	else if (r->mode->events)
		fprintf(out, " %" PRIu64 " %s", r->events, r->mode->events);
	fputc('\n', out);
	fflush(out);
}

void report_not_here(FILE *out, const struct mode *mode, enum quire_way way)
{
	fprintf(out, "%-8s %-8s cannot be had on this machine\n", mode->name,
		quire_way_name(way));
}

static void json_run(FILE *out, const struct run_result *r)
{
	fprintf(out,
		"{\"mode\": \"%s\", \"way\": \"%s\", \"threads\": %u, "
		"\"cpus\": %u, \"rounds\": %u, \"seconds\": %.3f, "
		"\"calls\": %" PRIu64 ", ",
		r->mode->name, quire_way_name(r->way), r->threads, r->cpus,
		r->rounds, r->seconds, r->ops);
	if (r->mode->events)
		fprintf(out, "\"load\": {\"%s\": %" PRIu64 "}, ",
			r->mode->events, r->events);
	fprintf(out,
		"\"allocs\": %" PRIu64 ", \"frees\": %" PRIu64
		", \"failures\": %" PRIu64 ", \"refused\": %" PRIu64
		", \"list_share\": %.4f, \"refills\": %" PRIu64
		", \"drains\": %" PRIu64 ", \"zone_locks\": %" PRIu64
		", \"rseq_aborts\": %" PRIu64 ", \"violations\": %" PRIu64 "}",
		r->stat.allocs, r->stat.frees, r->stat.failures,
		r->stat.refused, share_of_lists(&r->stat) / 100,
		r->stat.refills, r->stat.drains, r->stat.zone_locks, r->aborts,
		r->violations);
}

void report_json(FILE *out, const struct run_options *options,
		 const struct run_result *results, size_t n)
{
	uint64_t violated = 0;

	fprintf(out,
		"{\"version\": \"%s\", \"seed\": %" PRIu64
		", \"size\": %" PRIu64 ", \"runs\": [",
		quire_version(), options->seed, options->size);
	for (size_t i = 0; i < n; i++) {
		fputs(i ? ",\n " : "\n ", out);
		json_run(out, &results[i]);
		violated += results[i].violations;
	}
	fprintf(out, "\n], \"violations\": %" PRIu64 "}\n", violated);
}

/* --- the live line --- */

static struct {
	const struct worker *workers; /* of the run that was seen last */
	double start, before;
	uint64_t ops;
} live;

void report_live(const struct run *run)
{
	struct quire_stat stat;
	uint64_t ops = 0, events = 0;
	double now = run_now();

	if (!isatty(STDERR_FILENO))
		return;
	for (unsigned i = 0; i < run->nr_workers; i++) {
		ops += counted(&run->workers[i].ops);
		events += counted(&run->workers[i].events);
	}
	if (live.workers != run->workers || ops < live.ops) {
		live.workers = run->workers;
		live.start = live.before = now;
		live.ops = ops;
	}
	quire_stat(run->q, &stat, sizeof(stat));
	fprintf(stderr,
		"\r%s %s %.0f s: %.2f Mcalls/s, %" PRIu64 " live, %" PRIu64
		" free, %" PRIu64 " parked, %" PRIu64 " drains, %" PRIu64
		" failures",
		run->mode->name, quire_way_name(run->way), now - live.start,
		now > live.before
			? (double)(ops - live.ops) / (now - live.before) / 1e6
			: 0.0,
		stat.pages_live, stat.pages_free, stat.pages_parked,
		stat.drains, stat.failures);
	if (run->mode->events)
		fprintf(stderr, ", %" PRIu64 " %s", events, run->mode->events);
	fputs("\033[K", stderr);
	live.before = now;
	live.ops = ops;
}

void report_live_clear(void)
{
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
	live.workers = NULL;
}
