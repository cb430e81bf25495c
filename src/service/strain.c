/* SPDX-License-Identifier: BSD-2-Clause */
/* What quire/debug.h promises. */
#include <errno.h>

#include "base/schedule.h"
#include "platform/fault.h"
#include "platform/rseq.h"
#include "quire/debug.h"

void quire_debug_faults(unsigned one_in, uint64_t seed)
{
	fault_arm_random(one_in, seed);
}

uint64_t quire_debug_faults_total(void)
{
	return fault_total();
}

int quire_debug_pauses(unsigned one_in, uint64_t seed)
{
	if (!config_schedule) {
		errno = ENOTSUP;
		return -1;
	}
	schedule_arm(one_in, seed);
	return 0;
}

uint64_t quire_debug_rseq_aborts(void)
{
	return atomic_load_explicit(&rseq_aborts, memory_order_relaxed);
}
