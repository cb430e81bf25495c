/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The block: 512 units and the bitmap that says which are free.
 *
 * It serves on two levels. A pageblock's units are 512 pages (2 MiB); its entry
 * is in use while the block is broken up. A gigablock's units are 512
 * pageblocks (1 GiB); a clear bit there is a pageblock that is wholly free, and
 * that bit is then all there is to it. One level up or down, the same bits mean
 * the same: order k is an aligned run of 2^k clear bits, or of 2^(k - 9).
 *
 * Entries are two cache lines: the map, and the rest.
 */
#ifndef QUIRE_PAGEBLOCK_H
#define QUIRE_PAGEBLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bits.h"
#include "quire/quire.h"

#define BLOCK_ORDER 9u
#define BLOCK_UNITS (1u << BLOCK_ORDER)
#define BLOCK_WORDS (BLOCK_UNITS / WORD_BITS)
/* pfn to gigablock */
#define GIGABLOCK_ORDER (2 * BLOCK_ORDER)
#define GIGABLOCK_PAGES (UINT64_C(1) << GIGABLOCK_ORDER)

/*
 * Types that calls ask for, each with lists of its own. A block of any other
 * type stays broken when it is wholly free, for its entry is all that knows.
 */
#define NR_CALL_TYPES (QUIRE_TYPE_RECLAIMABLE + 1)

/* (z) zone lock */
struct block {
	uint64_t map[BLOCK_WORDS]; /* (z) set: not free, or does not exist */
	/*
	 * (z) Pages of a broken pageblock that were ever handed out, a bit for
	 * 8 of them: memory under a clear bit is as the system gave it. Of a
	 * whole one the gigablock's bit says it, for all pages together.
	 */
	uint64_t touched;
	uint32_t next, prev; /* (z) list, index + 1 */
	uint16_t free;	     /* (z) clear bits in map */
	uint16_t owner;	     /* (z) CPU + 1 whose own the block is */
	uint8_t largest;     /* (z) largest free order + 1; 0: none */
	uint8_t type;	     /* (z) enum quire_mobility */
	uint8_t bucket;	     /* (z) list it is on, by fullness; + 1, 0: none */
	bool broken;	     /* (z) the entry is in use */
} __attribute__((aligned(128)));

_Static_assert(sizeof(struct block) == 128, "an entry is two cache lines");

struct gigablock {
	struct block block;
	/* (z) Set: pages of that pageblock were handed out. */
	uint64_t touched[BLOCK_WORDS];
	/* (z) Set: it was whole when the zone was last looked through, and has
	 * been since; and which look saw it so first (zone_idle.c). */
	uint64_t idle[BLOCK_WORDS];
	uint8_t since[BLOCK_UNITS];
	/* (z) Set: its memory went back to the system, a hugepage with it. */
	uint64_t lost[BLOCK_WORDS];
};

#endif
