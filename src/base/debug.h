/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages, assertions and failures on purpose.
 *
 * A reporter is where an allocator's messages go. assert_debug() checks what
 * must hold, in builds configured with --enable-debug, and prints the values
 * when it does not; its condition always compiles.
 *
 * fault_hit() is asked at the places of each floor that can fail; tests arm a
 * point to make the n-th question answer yes, or one in n. Slow paths only: one
 * relaxed load when nothing is armed.
 *
 * schedule_point() stands between two steps of a slow path that others can see
 * one of: there a thread loses its CPU now and then, if that is asked for.
 * Builds with --enable-debug or --enable-schedule-points only.
 */
#ifndef QUIRE_DEBUG_H
#define QUIRE_DEBUG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "platform/cc.h"

#ifdef QUIRE_DEBUG
enum { config_debug = 1 };
#else
enum { config_debug = 0 };
#endif

#if defined(QUIRE_DEBUG) || defined(QUIRE_SCHEDULE_POINTS)
enum { config_schedule = 1 };
#else
enum { config_schedule = 0 };
#endif

struct reporter {
	void (*report)(void *arg, const char *message); /* NULL: stderr */
	void *arg;
};

/* Formats one message (no newline) and hands it over; `to` may be NULL. */
void report(const struct reporter *to, const char *format, ...)
	printf_like(2, 3);
/* The same of a call that is refused, which returns what this does: -1, with
 * errno EINVAL. */
int report_invalid(const struct reporter *to, const char *format, ...)
	printf_like(2, 3);

_Noreturn void assert_failed(const char *file, int line, const char *condition,
			     const char *format, ...) printf_like(4, 5);

#define assert_debug(condition, ...)                                           \
	do {                                                                   \
		if (config_debug && unlikely(!(condition)))                    \
			assert_failed(__FILE__, __LINE__, #condition,          \
				      __VA_ARGS__);                            \
	} while (0)

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
