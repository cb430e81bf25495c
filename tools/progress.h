/* SPDX-License-Identifier: BSD-2-Clause */
/* One line on the standard error, redrawn in place; nothing if that is no
 * terminal. One thread at a time. */
#ifndef TOOLS_PROGRESS_H
#define TOOLS_PROGRESS_H

/* A bar filled to share (0 to 1) between label and note. */
void progress_bar(const char *label, double share, const char *note);
/* Just text. */
void progress_line(const char *text);
/* Takes the line away, before other output. */
void progress_clear(void);

#endif
