/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a replay found, for people.
 *
 * From the general to the particular, the verdict last, for that is what
 * stands above the prompt. A number that is zero where it should be is not
 * mentioned, except the violations.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "report.h"

#include "text.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TABLE_ROWS 10u

double report_pcp_share(const struct report *r)
{
	const struct quire_stat *s = &r->result->stat;

	return s->allocs ? (double)s->pcp_allocs / (double)s->allocs : 0;
}

static double seconds(uint64_t ns)
{
	return (double)ns / 1e9;
}

static double mib(uint64_t pages)
{
	return (double)(pages * QUIRE_PAGE_SIZE) / (double)(1 << 20);
}

/* A line that a trace need not have. */
static void print_if(FILE *out, uint64_t n, const char *one, const char *many)
{
	if (n)
		fprintf(out, "             %s %s\n", text_count(TEXT, n),
			n == 1 ? one : many);
}

static void print_trace(const struct report *r, FILE *out)
{
	const struct script_counts *c = &r->script->counts;

	fprintf(out, "%s\n\n", r->trace);
	fprintf(out, "  trace      %s events in %.2f s on %u CPU%s\n",
		text_count(TEXT, c->events), seconds(c->duration_ns),
		r->script->nr_cpus, r->script->nr_cpus == 1 ? "" : "s");
	fprintf(out, "             %s allocations, %s frees\n",
		text_count(TEXT, c->allocs), text_count(TEXT, c->frees));
	print_if(out, c->unknown_frees,
		 "free of a block from before the trace, left out",
		 "frees of blocks from before the trace, left out");
	print_if(out, c->realloc_live,
		 "allocation over a live page, which was freed first",
		 "allocations over live pages, which were freed first");
	print_if(out, c->split_frees, "free of a part of a block",
		 "frees of parts of blocks");
	print_if(out, c->wide_frees, "free of more than a block",
		 "frees of more than a block");
	print_if(out, c->failed_allocs, "allocation failed when traced",
		 "allocations failed when traced");
	print_if(out, c->lost_events, "event was lost by the recorder",
		 "events were lost by the recorder");
}

static void print_arena(const struct report *r, FILE *out)
{
	const struct quire_info *info = &r->result->info;
	uint64_t bytes = info->pages * QUIRE_PAGE_SIZE;

	fprintf(out, "  arena      %s, ", text_bytes(TEXT, bytes));
	if (info->backing == QUIRE_BACKING_NONE)
		fputs("offsets mapped nowhere", out);
	else
		fprintf(out, "backing %s%s", quire_backing_name(info->backing),
			r->options->touch ? ", every page stamped" : "");
	fprintf(out, "; tables %s\n", text_bytes(TEXT, info->table_bytes));
	fprintf(out, "  way        %s, %u page list set%s, %u thread%s\n",
		quire_way_name(info->way), info->cpus,
		info->cpus == 1 ? "" : "s", r->script->nr_cpus,
		r->script->nr_cpus == 1 ? "" : "s");
}

static void print_run(const struct report *r, FILE *out)
{
	const struct script_counts *c = &r->script->counts;
	const struct replay_result *x = r->result;
	uint64_t run = c->allocs + c->frees;
	double s = x->seconds > 0 ? x->seconds : 1e-9;

	fprintf(out, "  ran        %.3f s, %.2f million events/s\n", x->seconds,
		(double)run / s / 1e6);
	fprintf(out, "  peak use   %s pages, %.1f MiB\n",
		text_count(TEXT, c->peak_pages), mib(c->peak_pages));
	fprintf(out,
		"  page lists %.2f %% of allocations served without the "
		"zone lock\n",
		100 * report_pcp_share(r));
	fprintf(out, "  zone lock  %s acquisitions, one for %.1f events\n",
		text_count(TEXT, x->stat.zone_locks),
		x->stat.zone_locks ? (double)run / (double)x->stat.zone_locks
				   : 0.0);
	print_if(out, x->failures, "allocation failed for want of memory",
		 "allocations failed for want of memory");
}

static void print_orders(const struct report *r, FILE *out)
{
	const struct script_counts *c = &r->script->counts;
	const struct replay_result *x = r->result;
	unsigned order;

	fputs("\n  order      size   allocations         frees      failed"
	      "   unusable\n",
	      out);
	for (order = 0; order < SCRIPT_NR_ORDERS; order++) {
		bool used = c->order_allocs[order] || c->order_frees[order];

		if (!used && order != SAMPLE_2M_ORDER)
			continue;
		fprintf(out, "  %5u %9s %13s %13s %11s %10.3f\n", order,
			text_bytes(TEXT, QUIRE_PAGE_SIZE << order),
			text_count(TEXT, c->order_allocs[order]),
			text_count(TEXT, c->order_frees[order]),
			text_count(TEXT, x->order_failures[order]),
			x->drained.unusable[order]);
	}
	fputs("  unusable: share of the free pages that an allocation of this "
	      "order cannot use,\n"
	      "  after the last event with the page lists drained\n",
	      out);
}

static void print_row(const struct sample *s, const char *note, FILE *out)
{
	fprintf(out,
		"  %8.2f %10.1f %10.1f %8.1f %8s %8s %6.1f %% %7.3f %7.3f%s\n",
		seconds(s->time_ns), mib(s->live), mib(s->free), mib(s->parked),
		text_count(TEXT, s->free_2m), text_count(TEXT, s->ideal_2m),
		s->ideal_2m ? 100.0 * (double)s->free_2m / (double)s->ideal_2m
			    : 100.0,
		s->unusable[4], s->unusable[SAMPLE_2M_ORDER], note);
}

static void print_samples(const struct report *r, FILE *out)
{
	const struct replay_result *x = r->result;
	unsigned rows = TABLE_ROWS, i;

	if (rows > x->nr_samples - 1)
		rows = x->nr_samples - 1;
	fputs("\n            ------- memory, MiB -------  -- 2 MiB blocks free "
	      "--  -- unusable --\n"
	      "   seconds       live       free   parked    whole    ideal"
	      "   share   64 KiB   2 MiB\n",
	      out);
	for (i = 0; rows && i <= rows; i++)
		print_row(&x->samples[(uint64_t)i * (x->nr_samples - 1) / rows],
			  "", out);
	print_row(&x->drained, "  drained", out);
}

static void print_verdict(const struct report *r, FILE *out)
{
	const struct replay_result *x = r->result;
	bool colour = isatty(fileno(out)) && !getenv("NO_COLOR");
	const char *on = !colour	 ? ""
			 : x->violations ? "\033[1;31m"
					 : "\033[1;32m";
	const char *off = colour ? "\033[0m" : "";

	if (x->violations)
		fprintf(out, "\n%sFAIL%s  %s violations\n", on, off,
			text_count(TEXT, x->violations));
	else
		fprintf(out,
			"\n%sPASS%s  %s allocations, every page checked "
			"against the shadow map: 0 violations\n",
			on, off,
			text_count(TEXT,
				   r->script->counts.allocs - x->failures));
}

void report_print(const struct report *r, FILE *out)
{
	print_trace(r, out);
	print_arena(r, out);
	print_run(r, out);
	print_orders(r, out);
	print_samples(r, out);
	print_verdict(r, out);
}
