/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Draws a replay's samples as an SVG picture, with gnuplot.
 *
 * Three panels over the trace's time: memory in use, whole 2 MiB blocks free
 * against the ideal (the gap is what fragmentation costs), and the unusable
 * index of a few orders. gnuplot gets script and data through one pipe, the
 * data as a named block, and writes to path.tmp, which becomes path if gnuplot
 * ended well.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "plot.h"

#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Orders drawn in the third panel: 8 KiB, 32 KiB, 256 KiB, 2 MiB. */
static const unsigned plot_orders[] = { 1, 3, 6, 9 };
#define NR_PLOT_ORDERS (sizeof(plot_orders) / sizeof(plot_orders[0]))

/* ------------------------------------------------------------------ */
/* gnuplot's process                                                   */

struct gnuplot {
	pid_t pid;
	FILE *in;
};

static bool gnuplot_start(struct gnuplot *g, char *error)
{
	char *argv[] = { (char[]){ "gnuplot" }, NULL };
	posix_spawn_file_actions_t actions;
	int fds[2], rc;

	if (pipe2(fds, O_CLOEXEC) != 0) {
		snprintf(error, PLOT_ERROR_SIZE, "no pipe for gnuplot: %s",
			 strerror(errno));
		return false;
	}
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[0], STDIN_FILENO);
	/* What it prints must not get into --json's output. */
	posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO,
					 STDOUT_FILENO);
	rc = posix_spawnp(&g->pid, "gnuplot", &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[0]);
	if (rc) {
		close(fds[1]);
		snprintf(error, PLOT_ERROR_SIZE,
			 "cannot run gnuplot, which --plot needs: %s "
			 "(Debian: gnuplot-nox)",
			 strerror(rc));
		return false;
	}
	g->in = fdopen(fds[1], "w");
	if (!g->in)
		close(fds[1]);
	return g->in != NULL;
}

static bool gnuplot_end(struct gnuplot *g, char *error)
{
	bool written = fclose(g->in) == 0;
	int status = 0;

	while (waitpid(g->pid, &status, 0) < 0 && errno == EINTR)
		;
	if (written && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	snprintf(error, PLOT_ERROR_SIZE, "gnuplot failed with %s %d",
		 WIFEXITED(status) ? "exit status" : "signal",
		 WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
	return false;
}

static char *temporary(const char *path)
{
	char *tmp;

	return asprintf(&tmp, "%s.tmp", path) < 0 ? NULL : tmp;
}

bool plot_possible(const char *path, char error[PLOT_ERROR_SIZE])
{
	struct gnuplot g;
	char *tmp = temporary(path);
	int fd = tmp ? open(tmp, O_WRONLY | O_CREAT | O_CLOEXEC, 0666) : -1;

	if (fd < 0) {
		snprintf(error, PLOT_ERROR_SIZE, "cannot write %.150s: %s",
			 path, strerror(errno));
		free(tmp);
		return false;
	}
	close(fd);
	unlink(tmp);
	free(tmp);
	return gnuplot_start(&g, error) && gnuplot_end(&g, error);
}

/* ------------------------------------------------------------------ */
/* The script                                                          */

/* In single quotes, where gnuplot doubles a quote and nothing else is special.
 */
static void put_quoted(FILE *out, const char *s)
{
	fputc('\'', out);
	for (; *s; s++) {
		if (*s == '\'')
			fputc('\'', out);
		if ((unsigned char)*s >= 0x20)
			fputc(*s, out);
	}
	fputc('\'', out);
}

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

static void put_setup(const struct report *r, const char *file, FILE *out)
{
	const char *name = strrchr(r->trace, '/');
	const struct replay_result *x = r->result;

	fputs("set encoding utf8\n"
	      "set terminal svg size 1000,960 font 'sans-serif,14' "
	      "background '#ffffff' enhanced\n"
	      "set output ",
	      out);
	put_quoted(out, file);
	fputs("\ntrace = ", out);
	put_quoted(out, name ? name + 1 : r->trace);
	fprintf(out,
		"\nset label 1 trace at screen 0.075,0.972 left noenhanced "
		"font ',20' tc '#1b1f24'\n"
		"set label 2 '%s events on %u CPUs · way %s · arena %s · %s "
		"violations' at screen 0.075,0.942 left font ',13' "
		"tc '#57606a'\n",
		text_count(TEXT, r->script->counts.events), r->script->nr_cpus,
		quire_way_name(x->info.way),
		text_bytes(TEXT, x->info.pages * QUIRE_PAGE_SIZE),
		x->violations ? text_count(TEXT, x->violations) : "no");
	fprintf(out,
		"set multiplot\n"
		"set lmargin at screen 0.075\nset rmargin at screen 0.965\n"
		"set border 3 lc '#8c959f'\n"
		"set tics nomirror out scale 0.5 textcolor '#1b1f24'\n"
		"set grid xtics ytics lt 1 lc '#e4e8ec' lw 1\n"
		"set xrange [0:%.6f]\nset format x ''\n",
		r->script->counts.duration_ns
			? (double)r->script->counts.duration_ns / 1e9
			: 1e-6);
}

/* A panel from top down to bottom, as shares of the picture; heading and key
 * stand in one line above it, so that neither covers data. */
static void put_frame(FILE *out, const char *heading, double top, double bottom)
{
	fprintf(out,
		"set label 3 '%s' at screen 0.075,%.3f left font ',15' "
		"tc '#1b1f24'\n"
		"set key at screen 0.97,%.3f right top horizontal Left "
		"reverse samplen 1.6 width -1 maxrows 1 font ',13' "
		"textcolor '#1b1f24'\n"
		"set tmargin at screen %.3f\nset bmargin at screen %.3f\n",
		heading, top + 0.024, top + 0.036, top, bottom);
}

static void put_panels(const struct report *r, FILE *out)
{
	unsigned k;

	put_frame(out, in_gib(r) ? "Memory in use, GiB" : "Memory in use, MiB",
		  0.875, 0.665);
	fputs("set yrange [0:*]\n"
	      "plot $samples using 1:3 with filledcurves x1 lc '#b9cfe9' "
	      "title 'parked in page lists', "
	      "'' using 1:2 with filledcurves x1 lc '#5b8fd0' "
	      "title 'live'\n"
	      "unset label 1\nunset label 2\n",
	      out);
	put_frame(out, "Whole 2 MiB blocks free", 0.58, 0.37);
	fputs("plot $samples using 1:4:5 with filledcurves lc '#f6d5c9' "
	      "title 'lost to fragmentation', "
	      "'' using 1:5 with lines lw 2 dt (6,4) lc '#57606a' "
	      "title 'ideal', "
	      "'' using 1:4 with lines lw 2.5 lc '#c8512c' title 'quire'\n",
	      out);
	put_frame(out, "Unusable share of free memory, for blocks of", 0.285,
		  0.075);
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
	char *tmp = temporary(path);
	void (*old)(int) = signal(SIGPIPE, SIG_IGN);
	struct gnuplot g;
	bool ok = tmp && gnuplot_start(&g, error);

	if (ok) {
		put_setup(r, tmp, g.in);
		put_data(r, g.in);
		put_panels(r, g.in);
		ok = gnuplot_end(&g, error);
		if (ok && rename(tmp, path) != 0) {
			snprintf(error, PLOT_ERROR_SIZE,
				 "cannot write %.150s: %s", path,
				 strerror(errno));
			ok = false;
		}
		if (!ok)
			unlink(tmp);
	}
	signal(SIGPIPE, old);
	free(tmp);
	return ok;
}
