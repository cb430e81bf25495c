/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How long a lock is held: see holds.h. A class is the time's highest four bits
 * and where they stand, as in Tene's HdrHistogram with one digit.
 */
#include "base/holds.h"

#include "base/bits.h"
#include "platform/platform.h"

enum { STEPS = 8, STEPS_SHIFT = 3 };

static unsigned class_of(uint64_t ns)
{
	unsigned shift, class;

	if (ns < STEPS)
		return (unsigned)ns;
	shift = 63 - (unsigned)__builtin_clzll(ns) - STEPS_SHIFT;
	class = (shift + 1) * STEPS + ((unsigned)(ns >> shift) - STEPS);
	return class < HOLDS_CLASSES ? class : HOLDS_CLASSES - 1;
}

/* The longest time of a class. */
static uint64_t class_end(unsigned class)
{
	unsigned shift = class / STEPS;

	if (shift == 0)
		return class;
	return ((uint64_t)(class % STEPS + STEPS + 1) << (shift - 1)) - 1;
}

void holds_begin(struct holds *holds)
{
	holds->begun = platform_ns();
}

void holds_end(struct holds *holds)
{
	uint64_t ns = platform_ns() - holds->begun;

	holds->total++;
	holds->count[class_of(ns)]++;
	if (ns > holds->longest)
		holds->longest = ns;
}

void holds_merge(struct holds *holds, const struct holds *other)
{
	holds->total += other->total;
	for (unsigned i = 0; i < HOLDS_CLASSES; i++)
		holds->count[i] += other->count[i];
	if (other->longest > holds->longest)
		holds->longest = other->longest;
}

uint64_t holds_quantile(const struct holds *holds, unsigned per_mille)
{
	uint64_t above = holds->total * (1000 - per_mille) / 1000;
	uint64_t seen = 0;
	unsigned class = HOLDS_CLASSES;

	if (holds->total == 0)
		return 0;
	/* At most `above` holds are longer than the answer. */
	while (class > 0 && seen + holds->count[class - 1] <= above)
		seen += holds->count[--class];
	/* The last class has no end. */
	if (class == 0 || class == HOLDS_CLASSES ||
	    class_end(class - 1) > holds->longest)
		return holds->longest;
	return class_end(class - 1);
}
