/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A trace made ready to be run: for every traced CPU the list of what its
 * thread is to do, cut into rounds.
 */
#ifndef TOOLS_SCRIPT_H
#define TOOLS_SCRIPT_H

#include "trace.h"

#include <quire/quire.h>

/* Rounds of a long trace: between half of this and this. */
#define SCRIPT_MAX_ROUNDS 2048u
#define SCRIPT_NR_ORDERS (TRACE_MAX_ORDER + 1)

/*
 * One operation in 64 bits: slot (the number of the allocation that it makes
 * or frees), offset (in pages, of a part), order, kind, and of an allocation
 * whether it was to be zero and its migratetype, as far as quire has it.
 */
typedef uint64_t script_op;

enum script_kind {
	SCRIPT_ALLOC,
	SCRIPT_ALLOC_EXACT, /* as pages of their own: it is freed in parts */
	SCRIPT_FREE,
	SCRIPT_FREE_PART, /* 2^order pages at offset */
};

#define SCRIPT_OFFSET_SHIFT 32
#define SCRIPT_ORDER_SHIFT 50
#define SCRIPT_KIND_SHIFT 55
#define SCRIPT_ZERO ((script_op)1 << 57)
#define SCRIPT_TYPE_SHIFT 58

static inline script_op script_op_make(enum script_kind kind, uint32_t slot,
				       uint32_t offset, unsigned order)
{
	return (script_op)slot | (script_op)offset << SCRIPT_OFFSET_SHIFT |
	       (script_op)order << SCRIPT_ORDER_SHIFT |
	       (script_op)kind << SCRIPT_KIND_SHIFT;
}

static inline uint32_t script_op_slot(script_op op)
{
	return (uint32_t)op;
}

static inline uint32_t script_op_offset(script_op op)
{
	return (uint32_t)(op >> SCRIPT_OFFSET_SHIFT) & ((1u << 18) - 1);
}

static inline unsigned script_op_order(script_op op)
{
	return (unsigned)(op >> SCRIPT_ORDER_SHIFT) & 31;
}

static inline enum script_kind script_op_kind(script_op op)
{
	return (enum script_kind)((op >> SCRIPT_KIND_SHIFT) & 3);
}

/* enum quire_mobility, one of the first three. */
static inline unsigned script_op_type(script_op op)
{
	return (unsigned)(op >> SCRIPT_TYPE_SHIFT) & 3;
}

struct script_list {
	script_op *ops;
	uint32_t nr, max;
};

struct script_cpu {
	uint32_t number; /* as the trace names it */
	struct script_list list;
	uint32_t *cuts; /* cuts[r]: operations in rounds 0..r */
};

/* All threads end a round before one begins the next. */
struct script_round {
	uint64_t time_ns; /* of its last event, since the first of the trace */
	uint64_t events;  /* up to its end */
	uint64_t live;	  /* pages, after it */
	uint64_t given;	  /* pages allocated in it */
};

/*
 * events = allocs + failed_allocs + frees + unknown_frees: each line is in one
 * of them.
 */
struct script_counts {
	uint64_t events;
	uint64_t allocs, frees;
	uint64_t failed_allocs; /* the traced kernel had no page */
	uint64_t unknown_frees; /* of pages from before the trace */
	uint64_t realloc_live;	/* of allocs: over pages that are live */
	uint64_t split_frees;	/* of frees: of a part of a block */
	uint64_t wide_frees;	/* of frees: of more than one block's pages */
	uint64_t lost_events;
	uint64_t order_allocs[SCRIPT_NR_ORDERS];
	uint64_t order_frees[SCRIPT_NR_ORDERS];
	uint64_t peak_pages;  /* live at once, in the trace's order */
	uint64_t worst_pages; /* live at once, in any order rounds allow */
	uint64_t live_pages;  /* at the end */
	uint64_t duration_ns;
};

struct script {
	struct script_counts counts;
	struct script_cpu *cpus;
	unsigned nr_cpus;
	struct script_round *rounds;
	unsigned nr_rounds;
	uint32_t nr_slots;
	struct script_list tail; /* frees what the trace leaves live */
	/* Whose turn it is, as an index of cpus[], for each operation in the
	 * trace's order. */
	uint16_t *turns;
	uint32_t nr_turns, max_turns;
};

/* Append; false without memory. */
bool script_list_add(struct script_list *list, script_op op);
bool script_turn_add(struct script *s, unsigned cpu);

#define SCRIPT_ERROR_SIZE 600

/*
 * Reads the trace at path to its end. NULL with error filled if it cannot be
 * read or has no page event. Draws a progress bar.
 */
struct script *script_read(const char *path, char error[SCRIPT_ERROR_SIZE]);
void script_delete(struct script *s);

#endif
