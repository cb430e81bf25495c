/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A page trace, read as a stream of events.
 *
 *	struct trace *t = trace_open("build.trace.zst");
 *	while ((result = trace_next(t, &event)) == TRACE_EVENT)
 *		...
 *	if (result == TRACE_ERROR)
 *		fprintf(stderr, "%s\n", trace_error(t));
 *	trace_close(t);
 *
 * Plain text or compressed with gzip, bzip2, xz or zstd. "-" is the standard
 * input. One thread at a time.
 */
#ifndef TOOLS_TRACE_H
#define TOOLS_TRACE_H

#include "trace_line.h"

struct trace;

enum trace_result {
	TRACE_EVENT,
	TRACE_END,
	TRACE_ERROR, /* and ever after */
};

/* NULL only without memory; other errors come from the first trace_next(). */
struct trace *trace_open(const char *path);
void trace_close(struct trace *t);

enum trace_result trace_next(struct trace *t, struct trace_event *event);

/* "FILE: line 12: what is wrong, with the values"; "" before an error. */
const char *trace_error(const struct trace *t);

uint64_t trace_lines(const struct trace *t);
/* Events that the recorder says it lost, as far as read. */
uint64_t trace_lost(const struct trace *t);
/* Share of the file read, 0 to 1; 0 where the size is not known. */
double trace_progress(const struct trace *t);

#endif
