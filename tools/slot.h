/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slots: where the thread that makes an allocation leaves its pages for the
 * threads that free them.
 */
#ifndef TOOLS_SLOT_H
#define TOOLS_SLOT_H

#include <stdatomic.h>
#include <stdint.h>

/* 0: nothing yet; 1: nothing yet, and somebody sleeps; 2: none; index + 3. */
struct slot {
	_Atomic uint32_t state;
};

/* No pages: the allocation failed, or must not be freed. */
#define SLOT_NONE UINT32_MAX
#define SLOT_MAX_INDEX (UINT32_MAX - 4)

/* Once a slot; index is the first page's, or SLOT_NONE. */
void slot_put(struct slot *slot, uint32_t index);
/* Waits for slot_put(); returns its index. Any number of times. */
uint32_t slot_wait(struct slot *slot);

#endif
