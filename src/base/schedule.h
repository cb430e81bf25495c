/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Schedule points. schedule_point() stands between two steps of a slow path
 * that others can see one of: there a thread loses its CPU now and then, if a
 * test asks for that. Builds with --enable-debug or --enable-schedule-points
 * only.
 */
#ifndef QUIRE_SCHEDULE_H
#define QUIRE_SCHEDULE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "platform/cc.h"

#if defined(QUIRE_DEBUG) || defined(QUIRE_SCHEDULE_POINTS)
enum { config_schedule = 1 };
#else
enum { config_schedule = 0 };
#endif

/* One point in n, drawn at random, lets others run; 0: none does. */
void schedule_arm(uint32_t one_in, uint64_t seed);
void schedule_point_armed(void);
extern _Atomic bool schedule_armed;

static inline void schedule_point(void)
{
	if (config_schedule && unlikely(atomic_load_explicit(
				       &schedule_armed, memory_order_relaxed)))
		schedule_point_armed();
}

#endif
