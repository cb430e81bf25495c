/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pools: what tests ask about them.
 */
#ifndef QUIRE_MEMPOOL_H
#define QUIRE_MEMPOOL_H

#include <stdint.h>

#include "quire/quire.h"

/* (s) snapshot */
struct mempool_state {
	uint64_t out;	   /* (s) blocks with callers */
	unsigned reserved; /* (s) in the reserve */
	unsigned waiting;  /* (s) calls */
};

struct mempool_state mempool_state(struct quire_mempool *pool);

#endif
