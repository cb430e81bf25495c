/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a replay found, for machines: one JSON object (RFC 8259).
 *
 * Written by hand: the only text from outside is the trace's path. Bytes of it
 * that are no ASCII are written as \u00XX, so that the output is valid UTF-8
 * whatever the path is.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "report.h"

#include <inttypes.h>

static void put_string(FILE *out, const char *key, const char *s)
{
	fprintf(out, "  \"%s\": \"", key);
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			fprintf(out, "\\u%04x", c);
		else
			fputc(c, out);
	}
	fputs("\",\n", out);
}

static void put_count(FILE *out, const char *key, uint64_t n)
{
	fprintf(out, "  \"%s\": %" PRIu64 ",\n", key, n);
}

static void put_real(FILE *out, const char *key, double x)
{
	fprintf(out, "  \"%s\": %.6f,\n", key, x);
}

static void put_counts(FILE *out, const char *key, const uint64_t *n)
{
	unsigned i;

	fprintf(out, "  \"%s\": [", key);
	for (i = 0; i < SCRIPT_NR_ORDERS; i++)
		fprintf(out, "%s%" PRIu64, i ? ", " : "", n[i]);
	fputs("],\n", out);
}

static void put_unusable(FILE *out, const struct sample *s)
{
	unsigned i;

	fputs("\"unusable\": [", out);
	for (i = 0; i < QUIRE_NR_ORDERS; i++)
		fprintf(out, "%s%.4f", i ? ", " : "", s->unusable[i]);
	fputc(']', out);
}

static void put_sample(FILE *out, const struct sample *s)
{
	fprintf(out,
		"    {\"seconds\": %.6f, \"events\": %" PRIu64
		", \"live_pages\": %" PRIu64 ", \"free_pages\": %" PRIu64
		", \"parked_pages\": %" PRIu64 ", \"free_2m_blocks\": %" PRIu64
		", \"ideal_2m_blocks\": %" PRIu64 ", ",
		(double)s->time_ns / 1e9, s->events, s->live, s->free,
		s->parked, s->free_2m, s->ideal_2m);
	put_unusable(out, s);
	fputc('}', out);
}

static void put_trace(const struct report *r, FILE *out)
{
	const struct script_counts *c = &r->script->counts;

	put_string(out, "trace", r->trace);
	put_string(out, "version", quire_version());
	put_count(out, "events", c->events);
	put_count(out, "allocs", c->allocs);
	put_count(out, "frees", c->frees);
	put_count(out, "unknown_frees", c->unknown_frees);
	put_count(out, "failed_allocs", c->failed_allocs);
	put_count(out, "realloc_live", c->realloc_live);
	put_count(out, "split_frees", c->split_frees);
	put_count(out, "wide_frees", c->wide_frees);
	put_count(out, "lost_events", c->lost_events);
	put_count(out, "cpus", r->script->nr_cpus);
	put_real(out, "trace_seconds", (double)c->duration_ns / 1e9);
	put_count(out, "peak_pages", c->peak_pages);
	put_count(out, "live_pages", c->live_pages);
	put_counts(out, "order_allocs", c->order_allocs);
	put_counts(out, "order_frees", c->order_frees);
}

static void put_result(const struct report *r, FILE *out)
{
	const struct script_counts *c = &r->script->counts;
	const struct replay_result *x = r->result;
	double run = (double)(c->allocs + c->frees);

	put_string(out, "way", quire_way_name(x->info.way));
	put_string(out, "backing", quire_backing_name(x->info.backing));
	put_count(out, "arena_pages", x->info.pages);
	put_count(out, "table_bytes", x->info.table_bytes);
	put_count(out, "pcp_bytes", x->info.pcp_bytes);
	put_real(out, "seconds", x->seconds);
	put_real(out, "events_per_second",
		 x->seconds > 0 ? run / x->seconds : 0);
	put_count(out, "violations", x->violations);
	put_count(out, "failures", x->failures);
	put_counts(out, "order_failures", x->order_failures);
	put_count(out, "skipped_frees", x->skipped_frees);
	put_real(out, "pcp_share", report_pcp_share(r));
	put_count(out, "pcp_allocs", x->stat.pcp_allocs);
	put_count(out, "pcp_frees", x->stat.pcp_frees);
	put_count(out, "refills", x->stat.refills);
	put_count(out, "drains", x->stat.drains);
	put_count(out, "zone_locks", x->stat.zone_locks);
	put_count(out, "free_2m_blocks", x->drained.free_2m);
	put_count(out, "ideal_2m_blocks", x->drained.ideal_2m);
}

void report_json(const struct report *r, FILE *out)
{
	const struct replay_result *x = r->result;
	unsigned i;

	fputs("{\n", out);
	put_trace(r, out);
	put_result(r, out);
	fputs("  ", out);
	put_unusable(out, &x->drained);
	fputs(",\n  \"samples\": [\n", out);
	for (i = 0; i < x->nr_samples; i++) {
		put_sample(out, &x->samples[i]);
		fputs(i + 1 < x->nr_samples ? ",\n" : "\n", out);
	}
	fputs("  ]\n}\n", out);
}
