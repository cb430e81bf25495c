/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Draws a fragmentation run as an SVG picture: over the events, for averages
 * are over events, what memory is live, how many 2 MiB blocks are wholly free
 * by each policy and at best, and what share of the best that is.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "fragmentation.h"

#include "text.h"

#include <inttypes.h>
#include <string.h>

static const char *const colours[] = { "#c8512c", "#3b6fb6", "#8f9aa5" };
_Static_assert(sizeof(colours) / sizeof(colours[0]) == NR_SERIES,
	       "a colour each");

static double millions(uint64_t n)
{
	return (double)n / 1e6;
}

static void put_data(const struct fragmentation *f, FILE *out)
{
	unsigned i, k;

	fputs("$samples << EOD\n", out);
	for (i = 0; i < f->replay.nr_samples; i++) {
		const struct fragmentation_point *p =
			&f->series[SERIES_QUIRE].points[i];

		fprintf(out, "%.6f %.3f %" PRIu64,
			millions(f->replay.samples[i].events),
			(double)p->live / 256, fragmentation_ideal(f, p));
		for (k = 0; k < NR_SERIES; k++)
			fprintf(out, " %" PRIu64 " %.3f",
				f->series[k].points[i].whole,
				100 * fragmentation_share(
					      f, &f->series[k].points[i]));
		fputc('\n', out);
	}
	fputs("EOD\n", out);
}

static void put_titles(const struct fragmentation *f, FILE *out)
{
	const char *name = strrchr(f->trace, '/');
	char subtitle[256];

	snprintf(subtitle, sizeof(subtitle),
		 "%s events%s%s · arena %s, %.2f of the peak · way %s, %s",
		 text_count(TEXT, f->counts.events),
		 f->options->repeat > 1 ? " × " : "",
		 f->options->repeat > 1 ? text_count(TEXT, f->options->repeat)
					: "",
		 text_bytes(TEXT, f->replay.info.pages * QUIRE_PAGE_SIZE),
		 (double)f->replay.info.pages / (double)f->counts.peak_pages,
		 quire_way_name(f->replay.info.way),
		 f->options->single ? "one thread" : "a thread for each CPU");
	gnuplot_put_style(out, name ? name + 1 : f->trace, subtitle);
	fprintf(out, "set xrange [0:%.6f]\nset format x ''\n",
		millions(f->counts.events * f->options->repeat));
}

/* A line a policy: column 4 of the first, `step` columns on for the next; the
 * first is drawn last, above the others. */
static void put_lines(const struct fragmentation *f, unsigned column, FILE *out)
{
	unsigned k;

	for (k = NR_SERIES; k-- > 0;)
		fprintf(out,
			"%s using 1:%u with lines lw %s lc '%s' title '%s'",
			k + 1 < NR_SERIES ? ", ''" : "", column + 2 * k,
			k ? "1.8" : "2.5", colours[k], f->series[k].name);
	fputc('\n', out);
}

static void put_panels(const struct fragmentation *f, FILE *out)
{
	gnuplot_put_frame(out, "Live memory, MiB", 0.875, 0.745);
	fputs("set yrange [0:*]\n"
	      "plot $samples using 1:2 with filledcurves x1 lc '#5b8fd0' "
	      "notitle\n",
	      out);
	gnuplot_end_titles(out);
	gnuplot_put_frame(out, "2 MiB blocks wholly free", 0.66, 0.405);
	fputs("plot $samples using 1:3 with lines lw 2 dt (6,4) lc '#1b1f24' "
	      "title 'ideal', ''",
	      out);
	put_lines(f, 4, out);
	gnuplot_put_frame(out, "Share of the ideal, %", 0.32, 0.075);
	fputs("set yrange [0:100]\nset format x '%g'\n"
	      "set xlabel 'events, millions' offset 0,0.4 "
	      "textcolor '#1b1f24'\nplot $samples",
	      out);
	put_lines(f, 5, out);
	fputs("unset multiplot\n", out);
}

bool fragmentation_plot(const struct fragmentation *f, const char *path,
			char error[PLOT_ERROR_SIZE])
{
	struct gnuplot g;

	if (!gnuplot_start(&g, path, 1000, 960, error))
		return false;
	put_titles(f, g.in);
	put_data(f, g.in);
	put_panels(f, g.in);
	return gnuplot_end(&g, error);
}
