/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slots: where the thread that makes an allocation leaves its pages.
 *
 * Most frees come long after, so the common wait is one load. A free that is
 * early spins shortly, for the allocation may be in progress on another CPU,
 * then sleeps: with 64 threads on 2 CPUs the allocating thread needs the CPU
 * more. A sleeper leaves a mark, so that slot_put() makes a system call only
 * where somebody sleeps.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "slot.h"

#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { EMPTY, SLEEPER, NONE, FIRST };

#define SPINS 64

void slot_put(struct slot *slot, uint32_t index)
{
	uint32_t state = index == SLOT_NONE ? NONE : index + FIRST;

	/* Release: pairs with the acquires in slot_wait(); what the owner of
	 * the pages wrote into them is seen by the one who frees them. */
	if (atomic_exchange_explicit(&slot->state, state,
				     memory_order_acq_rel) == SLEEPER)
		syscall(SYS_futex, &slot->state, FUTEX_WAKE_PRIVATE, INT32_MAX,
			NULL, NULL, 0);
}

static uint32_t slot_sleep(struct slot *slot)
{
	uint32_t state = EMPTY;

	/* Acquire, failed or not: as in slot_wait(). */
	if (!atomic_compare_exchange_strong_explicit(
		    &slot->state, &state, SLEEPER, memory_order_acquire,
		    memory_order_acquire) &&
	    state != SLEEPER)
		return state;
	do {
		syscall(SYS_futex, &slot->state, FUTEX_WAIT_PRIVATE, SLEEPER,
			NULL, NULL, 0);
		state = atomic_load_explicit(&slot->state,
					     memory_order_acquire);
	} while (state == SLEEPER);
	return state;
}

uint32_t slot_wait(struct slot *slot)
{
	uint32_t state;
	unsigned i;

	for (i = 0; i < SPINS; i++) {
		state = atomic_load_explicit(&slot->state,
					     memory_order_acquire);
		if (state >= NONE)
			break;
	}
	if (state < NONE)
		state = slot_sleep(slot);
	return state == NONE ? SLOT_NONE : state - FIRST;
}
