/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The arena: where the memory comes from.
 */
#ifndef QUIRE_ARENA_H
#define QUIRE_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/report.h"
#include "boot/memblock.h"
#include "quire/quire.h"

enum { NR_BACKINGS = 4 }; /* entries of struct quire_options.backing */

/* (c) after arena_init() */
struct arena {
	/* The address range quire reserved, once: tables, then pages. */
	void *range;
	size_t range_size;
	size_t table_size; /* at the range's start, a multiple of 2 MiB */
	enum quire_backing table_backing;
	/* The managed region: addresses, or offsets when not mapped. */
	uint64_t start, size;
	bool mapped;
	bool reserved; /* part of the range, not the caller's */
	enum quire_backing backing;
	uint64_t trimmed_head, trimmed_tail; /* bytes */
	bool private;	       /* a child of a fork may go on with its copy */
	bool kept_out, locked; /* done to the pages, to be undone */
	const struct reporter *reporter;
};

struct arena_request {
	uint64_t size;
	void *address;	 /* NULL: reserve */
	uint64_t offset; /* with QUIRE_OFFSETS */
	unsigned flags;	 /* of struct quire_options */
	enum quire_backing backing[NR_BACKINGS];
};

/* Trims or rounds the region; writes start, size, mapped and what was trimmed.
 * EINVAL, with a report, if nothing is left of it. */
int arena_plan(struct arena *arena, const struct arena_request *request,
	       const struct reporter *reporter);
/*
 * Reserves the range for the planned region and its tables and puts backing
 * behind both. On failure nothing is left behind.
 */
int arena_init(struct arena *arena, const struct arena_request *request,
	       size_t table_size);
void arena_fini(struct arena *arena);
/* The pages' addresses are not this process's any more: only the tables are. */
void arena_lose_pages(struct arena *arena);

/* Hands the range to the early allocator: tables are carved from its start. */
int arena_add_to_memblock(const struct arena *arena, struct memblock *memblock);

#endif
