/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reclaim: what quire_maintain() does about it.
 */
#ifndef QUIRE_RECLAIM_H
#define QUIRE_RECLAIM_H

#include "instance/allocator.h"

/*
 * Has shrinkers free what nodes below low miss up to their high watermarks. No
 * lock held. Nothing happens inside a shrinker.
 */
void reclaim_maintain(struct quire *q);

#endif
