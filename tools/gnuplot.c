/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gnuplot's process, and how our pictures look.
 *
 * gnuplot gets commands and data through one pipe and writes to path.tmp,
 * which becomes path if it ended well.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "gnuplot.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static bool spawn(struct gnuplot *g, char *error)
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

static bool reap(struct gnuplot *g, char *error)
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

bool gnuplot_possible(const char *path, char error[PLOT_ERROR_SIZE])
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
	return spawn(&g, error) && reap(&g, error);
}

bool gnuplot_start(struct gnuplot *g, const char *path, unsigned width,
		   unsigned height, char error[PLOT_ERROR_SIZE])
{
	*g = (struct gnuplot){ .path = strdup(path), .tmp = temporary(path) };
	g->old_sigpipe = signal(SIGPIPE, SIG_IGN);
	if (!g->path || !g->tmp) {
		snprintf(error, PLOT_ERROR_SIZE, "no memory for a plot");
	} else if (spawn(g, error)) {
		fprintf(g->in,
			"set encoding utf8\n"
			"set terminal svg size %u,%u font 'sans-serif,14' "
			"background '#ffffff' enhanced\n"
			"set output ",
			width, height);
		gnuplot_put_quoted(g->in, g->tmp);
		fputc('\n', g->in);
		return true;
	}
	signal(SIGPIPE, g->old_sigpipe);
	free(g->path);
	free(g->tmp);
	return false;
}

bool gnuplot_end(struct gnuplot *g, char error[PLOT_ERROR_SIZE])
{
	bool ok = reap(g, error);

	if (ok && rename(g->tmp, g->path) != 0) {
		snprintf(error, PLOT_ERROR_SIZE, "cannot write %.150s: %s",
			 g->path, strerror(errno));
		ok = false;
	}
	if (!ok)
		unlink(g->tmp);
	signal(SIGPIPE, g->old_sigpipe);
	free(g->path);
	free(g->tmp);
	return ok;
}

/* gnuplot doubles a quote; nothing else is special. */
void gnuplot_put_quoted(FILE *in, const char *s)
{
	fputc('\'', in);
	for (; *s; s++) {
		if (*s == '\'')
			fputc('\'', in);
		if ((unsigned char)*s >= 0x20)
			fputc(*s, in);
	}
	fputc('\'', in);
}

void gnuplot_put_style(FILE *in, const char *title, const char *subtitle)
{
	fputs("title = ", in);
	gnuplot_put_quoted(in, title);
	fputs("\nsubtitle = ", in);
	gnuplot_put_quoted(in, subtitle);
	fputs("\nset label 1 title at screen 0.075,0.972 left noenhanced "
	      "font ',20' tc '#1b1f24'\n"
	      "set label 2 subtitle at screen 0.075,0.942 left font ',13' "
	      "tc '#57606a'\n"
	      "set multiplot\n"
	      "set lmargin at screen 0.075\nset rmargin at screen 0.965\n"
	      "set border 3 lc '#8c959f'\n"
	      "set tics nomirror out scale 0.5 textcolor '#1b1f24'\n"
	      "set grid xtics ytics lt 1 lc '#e4e8ec' lw 1\n",
	      in);
}

void gnuplot_end_titles(FILE *in)
{
	fputs("unset label 1\nunset label 2\n", in);
}

void gnuplot_put_frame(FILE *in, const char *heading, double top, double bottom)
{
	fprintf(in,
		"set label 3 '%s' at screen 0.075,%.3f left font ',15' "
		"tc '#1b1f24'\n"
		"set key at screen 0.97,%.3f right top horizontal Left "
		"reverse samplen 1.6 width -1 maxrows 1 font ',13' "
		"textcolor '#1b1f24'\n"
		"set tmargin at screen %.3f\nset bmargin at screen %.3f\n",
		heading, top + 0.024, top + 0.036, top, bottom);
}
