/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reclaim: shrinkers called for what is missing.
 */
#ifndef QUIRE_RECLAIM_H
#define QUIRE_RECLAIM_H

#include <stdbool.h>

#include "instance/allocator.h"

/*
 * Has shrinkers free what nodes below low miss up to their high watermarks. No
 * lock held. Nothing happens inside a shrinker.
 */
void reclaim_maintain(struct quire *q);

/*
 * Reclaims for a node up to its high watermarks, or until stopped(arg), if that
 * is not NULL. False: shrinkers give nothing, or what they say does not help.
 */
bool reclaim_balance(struct quire *q, unsigned node,
		     bool (*stopped)(const void *arg), const void *arg);

#endif
