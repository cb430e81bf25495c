/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The buddy system inside one block's bitmap.
 *
 * Orders here are 0 to 9, in units of the block. All functions need the zone
 * lock of the block; none knows lists, zones or types.
 */
#ifndef QUIRE_BUDDY_H
#define QUIRE_BUDDY_H

#include <stdint.h>

#include "map/pageblock.h"

/* Runs of one order that begin in the same word of a map. */
struct buddy_part {
	uint64_t starts; /* bit i: a run begins at the word's unit i */
	unsigned word;
};

/* Of one block, at most: a word's free runs have six orders, or it is whole. */
enum { BUDDY_PARTS = BLOCK_WORDS * WORD_SHIFT };

/* Order + 1 of the largest aligned free run; 0: nothing is free. */
unsigned buddy_largest_locked(const struct block *block);

/*
 * Both update map and free; block->largest must be true when they are called
 * and is the caller's to renew: they return what it has become.
 *
 * Takes up to n runs of 2^order units, smallest free runs first, so that large
 * ones stay whole; single units out of partly free words first. parts[], of n
 * or BUDDY_PARTS at least, gets them; *nr how many parts.
 */
unsigned buddy_take_locked(struct block *block, unsigned order, unsigned n,
			   struct buddy_part *parts, unsigned *nr);
/* Takes one unit, which is free. */
unsigned buddy_take_unit_locked(struct block *block, unsigned unit);
/* Gives back n units of one word of the map; or a run of 2^order units. */
unsigned buddy_give_word_locked(struct block *block, unsigned word,
				uint64_t units, unsigned n);
unsigned buddy_give_locked(struct block *block, unsigned unit, unsigned order);

/* Adds to runs[k] the maximal free runs of order k, k = 0 to 9. */
void buddy_runs_locked(const struct block *block, uint64_t *runs);

#endif
