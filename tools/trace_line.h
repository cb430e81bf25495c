/* SPDX-License-Identifier: BSD-2-Clause */
/* One line of a page trace: what it says, whoever printed it. */
#ifndef TOOLS_TRACE_LINE_H
#define TOOLS_TRACE_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * CPU numbers are below this. A thread is started for each CPU, so a trace
 * that names 4,096 of them is taken for damage, not for a machine.
 */
#define TRACE_MAX_CPUS 1024u
#define TRACE_MAX_ORDER 18u
/* Physical addresses have at most 52 bits. */
#define TRACE_MAX_PFN ((uint64_t)1 << 40)

enum trace_kind {
	TRACE_ALLOC,
	TRACE_FREE,
	TRACE_ALLOC_FAILED, /* page=NULL: the kernel had none; no pfn */
};

struct trace_event {
	uint64_t time_ns;
	uint64_t pfn;
	uint32_t cpu;
	enum trace_kind kind;
	unsigned order;
	int migratetype; /* -1: not told */
	bool zero;	 /* allocated with __GFP_ZERO */
};

enum trace_line {
	TRACE_LINE_OTHER, /* header, comment, another event, a stack */
	TRACE_LINE_EVENT,
	TRACE_LINE_LOST,  /* *count events were lost between its neighbours */
	TRACE_LINE_TOTAL, /* *count events were lost in the whole recording */
	TRACE_LINE_BAD,
};

#define TRACE_PROBLEM_SIZE 160

/*
 * Reads a line without its newline. Fills event (TRACE_LINE_EVENT), count
 * (..._LOST, ..._TOTAL) or problem, a text with the values (..._BAD).
 */
enum trace_line trace_line_parse(const char *line, size_t length,
				 struct trace_event *event, uint64_t *count,
				 char problem[TRACE_PROBLEM_SIZE]);

#endif
