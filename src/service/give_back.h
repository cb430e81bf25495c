/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Giving memory back to the system.
 */
#ifndef QUIRE_GIVE_BACK_H
#define QUIRE_GIVE_BACK_H

#include "instance/allocator.h"

/* What is due, if options.give_back says so. */
void give_back_maintain(struct quire *q);

#endif
