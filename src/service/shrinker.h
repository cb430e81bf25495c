/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shrinkers: who is registered, and how they are reached while they come and
 * go. quire_shrinker_unregister() is defined here, quire_shrinker_register() in
 * reclaim.c, which has itself called from then on.
 */
#ifndef QUIRE_SHRINKER_H
#define QUIRE_SHRINKER_H

#include <stdbool.h>
#include <stdint.h>

#include "instance/allocator.h"

/* As quire_shrinker_register(). */
int shrinker_register(struct quire *q, struct quire_shrinker *shrinker);

/* False: none is registered. *first is the number of the one to be asked first:
 * each call is told another one. */
bool shrinker_turn(struct quire *q, unsigned *first);

/* Whether others are to be asked, too. `bit` is the shrinker's own in a mask of
 * them; 0: none was left for it. */
typedef bool shrinker_ask(void *arg, struct quire_shrinker *shrinker,
			  uint64_t bit);
/*
 * Asks each shrinker once, if none leaves meanwhile: from number `first` on,
 * then those before. No lock is held. Whoever unregisters one that is being
 * asked waits until it has answered; the thread that asks it is refused.
 */
void shrinker_walk(struct quire *q, unsigned first, shrinker_ask *ask,
		   void *arg);

#endif
