/* SPDX-License-Identifier: BSD-2-Clause */
/* Schedule points: see schedule.h. */
#include "base/schedule.h"

#include <errno.h>

#include "platform/odds.h"
#include "platform/platform.h"

static struct odds schedule_odds;
_Atomic bool schedule_armed;

void schedule_arm(uint32_t one_in, uint64_t seed)
{
	odds_arm(&schedule_odds, one_in, seed);
	atomic_store(&schedule_armed, one_in != 0);
}

/* Mostly a yield; else a spin, for other CPUs, or a nap, for all. */
void schedule_point_armed(void)
{
	static thread_local_in_handlers struct draws draws;
	uint64_t drawn = odds_draw(&schedule_odds, &draws);
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
