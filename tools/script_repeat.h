/* SPDX-License-Identifier: BSD-2-Clause */
/* Scripts made of a script: walked in the trace's order, for one thread, or
 * several times over. */
#ifndef TOOLS_SCRIPT_REPEAT_H
#define TOOLS_SCRIPT_REPEAT_H

#include "script.h"

/* A place in the trace's order; zero-filled but for script at the start. */
struct script_walk {
	const struct script *script;
	uint32_t turn;
	uint32_t done[TRACE_MAX_CPUS]; /* operations of each CPU so far */
};

/* The next operation and its CPU's index; false at the end. */
bool script_walk_next(struct script_walk *walk, script_op *op, unsigned *cpu);
/* Whether the walk stands where this round ends. */
bool script_walk_at(const struct script_walk *walk, unsigned round);

/* The same with one CPU, which does all in the trace's order. NULL without
 * memory. */
struct script *script_merge(const struct script *s);

/*
 * The script n times over. What one pass leaves live is freed in the next, in
 * random order and bursts of so many pages, as that pass's own live memory
 * grows, so that both together are never above what the trace leaves or has
 * live itself. From the second pass on CPUs also take turns otherwise, inside a
 * round. NULL without memory, or with more allocations than can be numbered.
 */
struct script *script_repeat(const struct script *s, unsigned n, uint64_t burst,
			     uint64_t seed);

#endif
