/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Exponential backoff, Concurrency Kit's: turns of an empty loop that double
 * with each call, up to a limit.
 */
#ifndef QUIRE_BACKOFF_H
#define QUIRE_BACKOFF_H

#include <ck_backoff.h>

static inline void backoff_spin(unsigned *turns, unsigned most)
{
	ck_backoff_eb(turns);
	if (*turns > most)
		*turns = most;
}

#endif
