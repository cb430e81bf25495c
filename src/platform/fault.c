/* SPDX-License-Identifier: BSD-2-Clause */
/* Failures on purpose: see fault.h. */
#include "platform/fault.h"

#include "platform/odds.h"

static struct odds fault_odds;
static _Atomic uint64_t fault_hits;
_Atomic bool faults_armed;
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
	odds_arm(&fault_odds, one_in, seed);
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
	bool hit = odds_draw(&fault_odds, &draws) != 0;

	if (!hit && atomic_load(&f->times) > 0 &&
	    atomic_fetch_sub(&f->skip, 1) <= 0)
		hit = atomic_fetch_sub(&f->times, 1) > 0;
	if (hit)
		atomic_fetch_add(&fault_hits, 1);
	return hit;
}
