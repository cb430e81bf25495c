/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How long a lock is held: a histogram that its holder keeps.
 *
 * Guarded by the lock itself; whoever reads it holds the lock.
 */
#ifndef QUIRE_HOLDS_H
#define QUIRE_HOLDS_H

#include <stdint.h>

/* Eight classes to a power of two: a time is known to an eighth. */
enum { HOLDS_CLASSES = 8 * 40 };

struct holds {
	uint64_t begun; /* ns */
	uint64_t longest;
	uint64_t total;
	uint64_t count[HOLDS_CLASSES];
};

void holds_begin(struct holds *holds);
void holds_end(struct holds *holds);
/* Adds other's to holds. */
void holds_merge(struct holds *holds, const struct holds *other);
/* Of that many in 1000 holds the longest, in ns, rounded up to its class. */
uint64_t holds_quantile(const struct holds *holds, unsigned per_mille);

#endif
