/* SPDX-License-Identifier: BSD-2-Clause */
/* What a fragmentation run found: a table, TSV, JSON. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "fragmentation.h"

#include "json.h"
#include "text.h"

#include <inttypes.h>
#include <stdlib.h>

static double mib(uint64_t pages)
{
	return (double)(pages * QUIRE_PAGE_SIZE) / (double)(1 << 20);
}

static struct fragmentation_measure whole_run(const struct fragmentation *f,
					      unsigned series)
{
	return fragmentation_measure(f, &f->series[series], 0,
				     f->options->repeat);
}

/* ------------------------------------------------------------------ */
/* For people                                                          */

static void print_head(const struct fragmentation *f, FILE *out)
{
	const struct fragmentation_options *o = f->options;
	const struct replay_result *x = &f->replay;
	const char *conf = getenv("QUIRE_CONF");

	fprintf(out, "%s\n\n", f->trace);
	fprintf(out,
		"  trace      %s events, peak %.1f MiB, %.1f MiB live at the "
		"end\n",
		text_count(TEXT, f->counts.events), mib(f->counts.peak_pages),
		mib(f->counts.live_pages));
	if (o->repeat > 1)
		fprintf(out, "             %u times over, seed %" PRIu64 "\n",
			o->repeat, o->seed);
	fprintf(out, "  arena      %s, %.2f of the peak: %s blocks of 2 MiB\n",
		text_bytes(TEXT, x->info.pages * QUIRE_PAGE_SIZE),
		(double)x->info.pages / (double)f->counts.peak_pages,
		text_count(TEXT, fragmentation_blocks(f)));
	fprintf(out,
		"  quire      way %s, %u page list set%s, %u thread%s%s%s\n",
		quire_way_name(x->info.way), x->info.cpus,
		x->info.cpus == 1 ? "" : "s", o->single ? 1 : f->nr_cpus,
		o->single || f->nr_cpus == 1 ? "" : "s",
		conf ? ", QUIRE_CONF " : "", conf ? conf : "");
}

static void print_measures(const struct fragmentation *f, FILE *out)
{
	unsigned i;

	fputs("\n               share of the ideal, %      blocks in use / "
	      "least\n"
	      "                end  average    worst            end  average\n",
	      out);
	for (i = 0; i < NR_SERIES; i++) {
		struct fragmentation_measure m = whole_run(f, i);

		fprintf(out, "  %-10s %6.1f  %7.1f  %7.1f         %6.2f  %7.2f",
			f->series[i].name, 100 * m.share_end,
			100 * m.share_average, 100 * m.share_worst, m.used_end,
			m.used_average);
		if (f->series[i].failures)
			fprintf(out, "  %s failed",
				text_count(TEXT, f->series[i].failures));
		fputc('\n', out);
		if (i == SERIES_QUIRE)
			fprintf(out, "   drained   %6.1f%26s%6.2f\n",
				100 * fragmentation_share(f, &f->drained), "",
				fragmentation_used(f, &f->drained));
	}
	fprintf(out,
		"\n  at the end %s of %s blocks are wholly free, ideal %s; "
		"drained %s\n",
		text_count(TEXT, f->series[SERIES_QUIRE]
					 .points[f->replay.nr_samples - 1]
					 .whole),
		text_count(TEXT, fragmentation_blocks(f)),
		text_count(TEXT, fragmentation_ideal(f, &f->drained)),
		text_count(TEXT, f->drained.whole));
}

static void print_passes(const struct fragmentation *f, FILE *out)
{
	unsigned pass, i;

	fputs("\n  share of the ideal in each pass, %: at its end, on average\n"
	      "  pass",
	      out);
	for (i = 0; i < NR_SERIES; i++)
		fprintf(out, "  %16s", f->series[i].name);
	fputc('\n', out);
	for (pass = 0; pass < f->options->repeat; pass++) {
		fprintf(out, "  %4u", pass + 1);
		for (i = 0; i < NR_SERIES; i++) {
			struct fragmentation_measure m = fragmentation_measure(
				f, &f->series[i], pass, pass + 1);

			fprintf(out, "  %8.1f %7.1f", 100 * m.share_end,
				100 * m.share_average);
		}
		fputc('\n', out);
	}
}

void fragmentation_print(const struct fragmentation *f, FILE *out)
{
	print_head(f, out);
	print_measures(f, out);
	if (f->options->repeat > 1)
		print_passes(f, out);
	if (f->replay.violations)
		fprintf(out, "\nFAIL  %s violations\n",
			text_count(TEXT, f->replay.violations));
}

/* ------------------------------------------------------------------ */
/* For machines                                                        */

void fragmentation_tsv(const struct fragmentation *f, FILE *out)
{
	unsigned i, k;

	fputs("seconds\tevents\tlive_pages\tideal", out);
	for (k = 0; k < NR_SERIES; k++)
		fprintf(out, "\t%s", f->series[k].key);
	fputc('\n', out);
	for (i = 0; i < f->replay.nr_samples; i++) {
		const struct fragmentation_point *p =
			&f->series[SERIES_QUIRE].points[i];

		fprintf(out, "%.6f\t%" PRIu64 "\t%" PRIu64 "\t%" PRIu64,
			(double)f->replay.samples[i].time_ns / 1e9,
			f->replay.samples[i].events, p->live,
			fragmentation_ideal(f, p));
		for (k = 0; k < NR_SERIES; k++)
			fprintf(out, "\t%" PRIu64,
				f->series[k].points[i].whole);
		fputc('\n', out);
	}
}

static void put_measure(const struct fragmentation_measure *m, FILE *out)
{
	fprintf(out,
		"\"share_end\": %.6f, \"share_average\": %.6f, "
		"\"share_worst\": %.6f, \"used_end\": %.6f, "
		"\"used_average\": %.6f",
		m->share_end, m->share_average, m->share_worst, m->used_end,
		m->used_average);
}

static void put_series(const struct fragmentation *f, unsigned i, FILE *out)
{
	const struct fragmentation_series *s = &f->series[i];
	struct fragmentation_measure m = whole_run(f, i);
	unsigned pass, k;

	fprintf(out, "    \"%s\": {", s->key);
	put_measure(&m, out);
	fprintf(out, ",\n      \"failures\": %" PRIu64 ",\n", s->failures);
	if (i == SERIES_QUIRE)
		fprintf(out,
			"      \"share_drained\": %.6f, \"used_drained\": "
			"%.6f,\n",
			fragmentation_share(f, &f->drained),
			fragmentation_used(f, &f->drained));
	fputs("      \"passes\": [", out);
	for (pass = 0; pass < f->options->repeat; pass++) {
		m = fragmentation_measure(f, s, pass, pass + 1);
		fputs(pass ? ",\n        {" : "\n        {", out);
		put_measure(&m, out);
		fputc('}', out);
	}
	fputs("],\n      \"free_2m_blocks\": [", out);
	for (k = 0; k < f->replay.nr_samples; k++)
		fprintf(out, "%s%" PRIu64, k ? ", " : "", s->points[k].whole);
	fputs("]}", out);
}

static void put_samples(const struct fragmentation *f, FILE *out)
{
	unsigned i;

	fputs("  \"samples\": [\n", out);
	for (i = 0; i < f->replay.nr_samples; i++) {
		const struct sample *s = &f->replay.samples[i];

		fprintf(out,
			"    {\"seconds\": %.6f, \"events\": %" PRIu64
			", \"live_pages\": %" PRIu64
			", \"parked_pages\": %" PRIu64
			", \"ideal_2m_blocks\": %" PRIu64 "}%s\n",
			(double)s->time_ns / 1e9, s->events, s->live, s->parked,
			fragmentation_ideal(f,
					    &f->series[SERIES_QUIRE].points[i]),
			i + 1 < f->replay.nr_samples ? "," : "");
	}
	fputs("  ]\n", out);
}

void fragmentation_json(const struct fragmentation *f, FILE *out)
{
	const struct fragmentation_options *o = f->options;
	unsigned i;

	fputs("{\n", out);
	json_put_string(out, "trace", f->trace);
	json_put_string(out, "version", quire_version());
	json_put_string(out, "way", quire_way_name(f->replay.info.way));
	json_put_string(out, "threads", o->single ? "single" : "trace");
	json_put_count(out, "repeat", o->repeat);
	json_put_count(out, "seed", o->seed);
	json_put_count(out, "events", f->counts.events);
	json_put_count(out, "peak_pages", f->counts.peak_pages);
	json_put_count(out, "live_pages", f->counts.live_pages);
	json_put_count(out, "arena_pages", f->replay.info.pages);
	json_put_count(out, "violations", f->replay.violations);
	json_put_real(out, "seconds", f->replay.seconds);
	fputs("  \"policies\": {\n", out);
	for (i = 0; i < NR_SERIES; i++) {
		put_series(f, i, out);
		fputs(i + 1 < NR_SERIES ? ",\n" : "\n  },\n", out);
	}
	put_samples(f, out);
	fputs("}\n", out);
}
