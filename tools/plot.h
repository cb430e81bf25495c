/* SPDX-License-Identifier: BSD-2-Clause */
/* Draws a replay's samples as an SVG picture, with gnuplot. */
#ifndef TOOLS_PLOT_H
#define TOOLS_PLOT_H

#include "gnuplot.h"
#include "report.h"

/* Writes the picture; path is replaced only by a whole one. */
bool plot_write(const struct report *r, const char *path,
		char error[PLOT_ERROR_SIZE]);

#endif
