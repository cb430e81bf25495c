/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Draws a replay's samples as an SVG picture, with gnuplot.
 *
 * Three panels over the trace's time: memory in use, whole 2 MiB blocks free
 * against the ideal (the gap is what fragmentation costs), and the unusable
 * index of a few orders.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "plot.h"

#include "text.h"

#include <string.h>

/* Orders drawn in the third panel: 8 KiB, 32 KiB, 256 KiB, 2 MiB. */
static const unsigned plot_orders[] = { 1, 3, 6, 9 };
#define NR_PLOT_ORDERS (sizeof(plot_orders) / sizeof(plot_orders[0]))

/* The unit of the memory panel: GiB from 4 GiB on. */
static bool in_gib(const struct report *r)
{
	return r->script->counts.peak_pages >= (uint64_t)1 << 20;
}

static void put_data(const struct report *r, FILE *out)
{
	const struct replay_result *x = r->result;
	double unit = in_gib(r) ? 1 << 18 : 1 << 8;
	unsigned i, k;

	fputs("$samples << EOD\n", out);
	for (i = 0; i < x->nr_samples; i++) {
		const struct sample *s = &x->samples[i];

		fprintf(out, "%.6f %.6f %.6f %llu %llu",
			(double)s->time_ns / 1e9, (double)s->live / unit,
			(double)(s->live + s->parked) / unit,
			(unsigned long long)s->free_2m,
			(unsigned long long)s->ideal_2m);
		for (k = 0; k < NR_PLOT_ORDERS; k++)
			fprintf(out, " %.5f", s->unusable[plot_orders[k]]);
		fputc('\n', out);
	}
	fputs("EOD\n", out);
}

static void put_setup(const struct report *r, FILE *out)
{
	const char *name = strrchr(r->trace, '/');
	const struct replay_result *x = r->result;
	char subtitle[256];

	snprintf(subtitle, sizeof(subtitle),
		 "%s events on %u CPUs · way %s · arena %s · %s violations",
		 text_count(TEXT, r->script->counts.events), r->script->nr_cpus,
		 quire_way_name(x->info.way),
		 text_bytes(TEXT, x->info.pages * QUIRE_PAGE_SIZE),
		 x->violations ? text_count(TEXT, x->violations) : "no");
	gnuplot_put_style(out, name ? name + 1 : r->trace, subtitle);
	fprintf(out, "set xrange [0:%.6f]\nset format x ''\n",
		r->script->counts.duration_ns
			? (double)r->script->counts.duration_ns / 1e9
			: 1e-6);
}

static void put_panels(const struct report *r, FILE *out)
{
	unsigned k;

	gnuplot_put_frame(
		out, in_gib(r) ? "Memory in use, GiB" : "Memory in use, MiB",
		0.875, 0.665);
	fputs("set yrange [0:*]\n"
	      "plot $samples using 1:3 with filledcurves x1 lc '#b9cfe9' "
	      "title 'parked in page lists', "
	      "'' using 1:2 with filledcurves x1 lc '#5b8fd0' "
	      "title 'live'\n",
	      out);
	gnuplot_end_titles(out);
	gnuplot_put_frame(out, "Whole 2 MiB blocks free", 0.58, 0.37);
	fputs("plot $samples using 1:4:5 with filledcurves lc '#f6d5c9' "
	      "title 'lost to fragmentation', "
	      "'' using 1:5 with lines lw 2 dt (6,4) lc '#57606a' "
	      "title 'ideal', "
	      "'' using 1:4 with lines lw 2.5 lc '#c8512c' title 'quire'\n",
	      out);
	gnuplot_put_frame(out, "Unusable share of free memory, for blocks of",
			  0.285, 0.075);
	fputs("set yrange [0:1]\nset ytics 0.25\nset format y '%.2f'\n"
	      "set format x '%g'\nset xlabel 'seconds of the trace' "
	      "offset 0,0.4 textcolor '#1b1f24'\nplot ",
	      out);
	for (k = 0; k < NR_PLOT_ORDERS; k++) {
		static const char *const colour[] = { "#d9a441", "#4ea58a",
						      "#3b6fb6", "#5a2a6b" };

		fprintf(out, "%s using 1:%u with lines lw 2 lc '%s' title '%s'",
			k ? ", ''" : "$samples", 6 + k, colour[k],
			text_bytes(TEXT, QUIRE_PAGE_SIZE << plot_orders[k]));
	}
	fputs("\nunset multiplot\n", out);
}

bool plot_write(const struct report *r, const char *path,
		char error[PLOT_ERROR_SIZE])
{
	struct gnuplot g;

	if (!gnuplot_start(&g, path, 1000, 960, error))
		return false;
	put_setup(r, g.in);
	put_data(r, g.in);
	put_panels(r, g.in);
	return gnuplot_end(&g, error);
}
