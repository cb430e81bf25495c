/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Failures on purpose. fault_hit() is asked at the places that can fail; tests
 * arm a point to make the n-th question answer yes, or any point one in n. Slow
 * paths only: one relaxed load when nothing is armed.
 */
#ifndef QUIRE_FAULT_H
#define QUIRE_FAULT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "platform/cc.h"

enum fault_point {
	FAULT_MAP,	  /* platform: mmap of an arena or its backing */
	FAULT_MADVISE,	  /* platform: madvise */
	FAULT_MLOCK,	  /* platform: mlock */
	FAULT_POPULATE,	  /* platform: populating at creation */
	FAULT_MEMBARRIER, /* platform: registering or issuing membarrier */
	FAULT_KEY,	  /* platform: a thread-specific key */
	FAULT_MEMBLOCK,	  /* boot: an early allocation */
	FAULT_ZONE,	  /* zone: a zone finds no run */
	FAULT_PCP_LOCK,	  /* pcp: a pcp trylock fails */
	FAULT_PCP_CPU,	  /* pcp: the thread left its CPU in mid-refill */
	FAULT_SERVICE,	  /* service: memory for a service */
	NR_FAULT_POINTS
};

struct fault {
	/* Questions until the first yes, then yes for `times` questions. */
	_Atomic int64_t skip;
	_Atomic int64_t times;
};

extern struct fault faults[NR_FAULT_POINTS];
extern _Atomic bool faults_armed;

/* Tests only: after `skip` questions answer yes `times` times. */
void fault_arm(enum fault_point point, int64_t skip, int64_t times);
void fault_disarm_all(void);
bool fault_hit_armed(enum fault_point point);
/* Any point answers yes to one question in n, drawn at random; 0: none does. */
void fault_arm_random(uint32_t one_in, uint64_t seed);
/* Answers of yes so far. */
uint64_t fault_total(void);

static inline bool fault_hit(enum fault_point point)
{
	return unlikely(atomic_load_explicit(&faults_armed,
					     memory_order_relaxed)) &&
	       fault_hit_armed(point);
}

#endif
