/* SPDX-License-Identifier: BSD-2-Clause */
/* A gnuplot that draws an SVG picture from what it is told. */
#ifndef TOOLS_GNUPLOT_H
#define TOOLS_GNUPLOT_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#define PLOT_ERROR_SIZE 256

struct gnuplot {
	FILE *in; /* takes gnuplot's commands */
	pid_t pid;
	char *path, *tmp;
	void (*old_sigpipe)(int);
};

/* Whether gnuplot is there and path's folder can be written; else why not. */
bool gnuplot_possible(const char *path, char error[PLOT_ERROR_SIZE]);

/* Terminal and output are set: a picture of this size. */
bool gnuplot_start(struct gnuplot *g, const char *path, unsigned width,
		   unsigned height, char error[PLOT_ERROR_SIZE]);
/* path is replaced only by a whole picture. */
bool gnuplot_end(struct gnuplot *g, char error[PLOT_ERROR_SIZE]);

/* In single quotes, for gnuplot. */
void gnuplot_put_quoted(FILE *in, const char *s);
/*
 * A panel from top down to bottom, as shares of the picture; heading and key
 * stand in one line above it, so that neither covers data.
 */
void gnuplot_put_frame(FILE *in, const char *heading, double top,
		       double bottom);
/* What all pictures have in common; title and subtitle stand above the first
 * panel, whose commands end with gnuplot_end_titles(). */
void gnuplot_put_style(FILE *in, const char *title, const char *subtitle);
void gnuplot_end_titles(FILE *in);

#endif
