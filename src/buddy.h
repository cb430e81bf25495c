/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The buddy system inside one block's bitmap. Floor 3.
 *
 * Orders here are 0 to 9, in units of the block. All functions need the zone
 * lock of the block; none knows lists, zones or types.
 */
#ifndef QUIRE_BUDDY_H
#define QUIRE_BUDDY_H

#include <stdint.h>

#include "pageblock.h"

/* Order + 1 of the largest aligned free run; 0: nothing is free. */
unsigned buddy_largest_locked(const struct block *block);

/*
 * Takes up to n runs of 2^order units, smallest free runs first, so that large
 * ones stay whole; units[] gets the first unit of each. Updates map and free,
 * not largest. Returns how many it took.
 */
unsigned buddy_take_locked(struct block *block, unsigned order, unsigned n,
			   uint16_t *units);

/*
 * Gives back units of one word of the map. Updates map and free; returns the
 * order + 1 of the largest free run that holds any of them.
 */
unsigned buddy_give_word_locked(struct block *block, unsigned word,
				uint64_t units);
/* The same for one run of 2^order units that starts at unit. */
unsigned buddy_give_locked(struct block *block, unsigned unit, unsigned order);

/* Adds to runs[k] the maximal free runs of order k, k = 0 to 9. */
void buddy_runs_locked(const struct block *block, uint64_t *runs);

#endif
