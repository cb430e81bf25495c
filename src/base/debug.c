/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages, assertions and failures on purpose: see debug.h.
 *
 * A message is formatted into a buffer on the stack and handed over whole, so
 * that lines of several threads do not mix and nothing is allocated while the
 * allocator is in trouble.
 */
#include "base/debug.h"

#include <errno.h>
#include <stdarg.h>

#include "platform/platform.h"

enum { MESSAGE_MAX = 512 };

static void hand_over(const struct reporter *to, const char *format,
		      va_list args)
{
	char message[MESSAGE_MAX];
	int error = errno; /* the caller's, which its message goes with */

	platform_format(message, sizeof(message), format, args);
	if (to && to->report)
		to->report(to->arg, message);
	else
		platform_message(message);
	errno = error;
}

void report(const struct reporter *to, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	hand_over(to, format, args);
	va_end(args);
}

int report_invalid(const struct reporter *to, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	hand_over(to, format, args);
	va_end(args);
	errno = EINVAL;
	return -1;
}

void assert_failed(const char *file, int line, const char *condition,
		   const char *format, ...)
{
	char values[MESSAGE_MAX];
	va_list args;

	va_start(args, format);
	platform_format(values, sizeof(values), format, args);
	va_end(args);
	report(NULL, "%s:%d: %s does not hold: %s", file, line, condition,
	       values);
	platform_abort();
}

/* --- at random --- */

/* Armed by a seed; each thread that draws has numbers of its own. */
struct odds {
	_Atomic uint64_t seed, arms, threads;
	_Atomic uint32_t one_in; /* 0: never */
};

/* A thread's. */
struct draws {
	uint64_t state, arms;
};

static struct odds fault_odds, schedule_odds;
static _Atomic uint64_t fault_hits;
_Atomic bool faults_armed, schedule_armed;

static void arm(struct odds *odds, uint32_t one_in, uint64_t seed)
{
	atomic_store(&odds->seed, seed);
	atomic_store(&odds->threads, 0);
	atomic_fetch_add(&odds->arms, 1);
	atomic_store(&odds->one_in, one_in);
}

/* 64 bits if it is one in so many, else 0. splitmix64 (Steele, Lea, Flood 2014)
 */
static uint64_t draw(struct odds *odds, struct draws *draws)
{
	uint64_t arms = atomic_load(&odds->arms), z;
	uint32_t one_in = atomic_load(&odds->one_in);

	if (draws->arms != arms) {
		draws->arms = arms;
		draws->state = atomic_load(&odds->seed) +
			       (atomic_fetch_add(&odds->threads, 1) << 32);
	}
	z = draws->state += 0x9e3779b97f4a7c15u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	z ^= z >> 31;
	return one_in && (uint32_t)z % one_in == 0 ? z | 1 : 0;
}

void schedule_arm(uint32_t one_in, uint64_t seed)
{
	arm(&schedule_odds, one_in, seed);
	atomic_store(&schedule_armed, one_in != 0);
}

/* Mostly a yield; else a spin, for other CPUs, or a nap, for all. */
void schedule_point_armed(void)
{
	static thread_local_in_handlers struct draws draws;
	uint64_t drawn = draw(&schedule_odds, &draws);

	int error = errno;

	if (drawn == 0)
		return;
	drawn >>= 32;
	if (drawn % 16 == 0)
		platform_nap();
	else if (drawn % 16 < 6)
		platform_spin((unsigned)(drawn >> 4) % 4096);
	else
		platform_yield();
	errno = error;
}

/* --- failures --- */

struct fault faults[NR_FAULT_POINTS];

void fault_arm(enum fault_point point, int64_t skip, int64_t times)
{
	atomic_store(&faults[point].skip, skip);
	atomic_store(&faults[point].times, times);
	atomic_store(&faults_armed, true);
}

void fault_disarm_all(void)
{
	atomic_store(&faults_armed, false);
	for (int i = 0; i < NR_FAULT_POINTS; i++)
		atomic_store(&faults[i].times, 0);
	atomic_store(&fault_odds.one_in, 0);
}

void fault_arm_random(uint32_t one_in, uint64_t seed)
{
	arm(&fault_odds, one_in, seed);
	atomic_store(&faults_armed, one_in != 0);
}

uint64_t fault_total(void)
{
	return atomic_load(&fault_hits);
}

bool fault_hit_armed(enum fault_point point)
{
	static thread_local_in_handlers struct draws draws;
	struct fault *f = &faults[point];
	bool hit = draw(&fault_odds, &draws) != 0;

	if (!hit && atomic_load(&f->times) > 0 &&
	    atomic_fetch_sub(&f->skip, 1) <= 0)
		hit = atomic_fetch_sub(&f->times, 1) > 0;
	if (hit)
		atomic_fetch_add(&fault_hits, 1);
	return hit;
}
