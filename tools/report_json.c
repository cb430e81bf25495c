/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a replay found, for machines: one JSON object (RFC 8259).
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "json.h"
#include "report.h"

#include <inttypes.h>

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

	json_put_string(out, "trace", r->trace);
	json_put_string(out, "version", quire_version());
	json_put_count(out, "events", c->events);
	json_put_count(out, "allocs", c->allocs);
	json_put_count(out, "frees", c->frees);
	json_put_count(out, "unknown_frees", c->unknown_frees);
	json_put_count(out, "failed_allocs", c->failed_allocs);
	json_put_count(out, "realloc_live", c->realloc_live);
	json_put_count(out, "split_frees", c->split_frees);
	json_put_count(out, "wide_frees", c->wide_frees);
	json_put_count(out, "lost_events", c->lost_events);
	json_put_count(out, "cpus", r->script->nr_cpus);
	json_put_real(out, "trace_seconds", (double)c->duration_ns / 1e9);
	json_put_count(out, "peak_pages", c->peak_pages);
	json_put_count(out, "live_pages", c->live_pages);
	put_counts(out, "order_allocs", c->order_allocs);
	put_counts(out, "order_frees", c->order_frees);
}

static void put_result(const struct report *r, FILE *out)
{
	const struct script_counts *c = &r->script->counts;
	const struct replay_result *x = r->result;
	double run = (double)(c->allocs + c->frees);

	json_put_string(out, "way", quire_way_name(x->info.way));
	json_put_string(out, "backing", quire_backing_name(x->info.backing));
	json_put_count(out, "arena_pages", x->info.pages);
	json_put_count(out, "table_bytes", x->info.table_bytes);
	json_put_count(out, "pcp_bytes", x->info.pcp_bytes);
	json_put_real(out, "seconds", x->seconds);
	json_put_real(out, "events_per_second",
		      x->seconds > 0 ? run / x->seconds : 0);
	json_put_count(out, "violations", x->violations);
	json_put_count(out, "failures", x->failures);
	put_counts(out, "order_failures", x->order_failures);
	json_put_count(out, "skipped_frees", x->skipped_frees);
	json_put_real(out, "pcp_share", report_pcp_share(r));
	json_put_count(out, "pcp_allocs", x->stat.pcp_allocs);
	json_put_count(out, "pcp_frees", x->stat.pcp_frees);
	json_put_count(out, "refills", x->stat.refills);
	json_put_count(out, "drains", x->stat.drains);
	json_put_count(out, "zone_locks", x->stat.zone_locks);
	json_put_count(out, "free_2m_blocks", x->drained.free_2m);
	json_put_count(out, "ideal_2m_blocks", x->drained.ideal_2m);
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
