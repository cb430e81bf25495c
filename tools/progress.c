/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One line on the standard error, redrawn in place.
 *
 * Drawn at most every 50 ms, so that callers need not count; fitted to the
 * terminal's width, for a line that wraps cannot be taken back.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "progress.h"

#include <langinfo.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define INTERVAL_NS 50000000ull
#define MAX_BAR 60

static bool drawn;

static bool is_terminal(void)
{
	static int known = -1;
	const char *term;

	if (known < 0) {
		term = getenv("TERM");
		known = isatty(STDERR_FILENO) && term &&
			strcmp(term, "dumb") != 0;
	}
	return known;
}

static bool is_due(void)
{
	static uint64_t last;
	struct timespec ts;
	uint64_t now;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
	if (last && now - last < INTERVAL_NS)
		return false;
	last = now;
	return true;
}

static int width(void)
{
	struct winsize w;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col ? w.ws_col
								     : 80;
}

/* Eighths of a character where the locale has them, so that it glides. */
static void put_bar(char *out, size_t size, double share, int cells)
{
	static const char *const eighth[] = { " ",	"\u258f", "\u258e",
					      "\u258d", "\u258c", "\u258b",
					      "\u258a", "\u2589" };
	bool utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	int filled = (int)(share * cells * 8 + 0.5), i;

	*out = 0;
	for (i = 0; i < cells && strlen(out) + 4 < size; i++, filled -= 8) {
		if (!utf8)
			strcat(out, filled >= 4 ? "#" : "-");
		else
			strcat(out, filled >= 8	 ? "\u2588"
				    : filled > 0 ? eighth[filled]
						 : " ");
	}
}

void progress_bar(const char *label, double share, const char *note)
{
	char bar[MAX_BAR * 3 + 4];
	int cells;

	if (!is_terminal() || (share < 1 && !is_due()))
		return;
	share = share < 0 ? 0 : share > 1 ? 1 : share;
	cells = width() - (int)strlen(label) - (int)strlen(note) - 12;
	if (cells < 5)
		return;
	put_bar(bar, sizeof(bar), share, cells > MAX_BAR ? MAX_BAR : cells);
	fprintf(stderr, "\r\033[K%s \u2595%s\u258f %3.0f %%  %s", label, bar,
		share * 100, note);
	fflush(stderr);
	drawn = true;
}

void progress_line(const char *text)
{
	if (!is_terminal() || !is_due())
		return;
	fprintf(stderr, "\r\033[K%.*s", width() - 1, text);
	fflush(stderr);
	drawn = true;
}

void progress_clear(void)
{
	if (!drawn)
		return;
	fputs("\r\033[K", stderr);
	fflush(stderr);
	drawn = false;
}
