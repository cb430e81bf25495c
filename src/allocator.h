/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * struct quire: an allocator's parts, put together. Floor 6.
 */
#ifndef QUIRE_ALLOCATOR_H
#define QUIRE_ALLOCATOR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "lock.h"
#include "memmap.h"
#include "options.h"
#include "pcp.h"
#include "quire/quire.h"
#include "zone.h"

enum { HOT_OFFSET = 3072 + 384 };

/* (c) constant after quire_create(), (a) atomic, (r) registry lock */
struct quire {
	struct zone *zone[QUIRE_MAX_ZONES]; /* (c) from the bottom */
	struct pcp *pcp[QUIRE_MAX_ZONES];   /* (c) of zone[i] */
	unsigned nr_zones;		    /* (c) */
	enum quire_way way;		    /* (c) */
	bool check_race;		    /* (c) */
	bool forked; /* (c) in a child that must not use the memory */
	bool copied; /* (c) in a child that works on its own copy */
	struct lock drain_lock;
	struct pcp_seat *seats;	  /* (c) bound way: one a CPU */
	unsigned key;		  /* (c) bound way: the thread's seat */
	struct arena arena;	  /* (c) */
	struct reporter reporter; /* (c) */
	size_t pcp_bytes;	  /* (c) */
	_Atomic uint64_t failures, refused, zeroed; /* (a) */
	struct quire *next_registered;		    /* (r) */

	/*
	 * Hot: all that alloc_pages and free_pages read, in one cache line. A
	 * load is held up by an earlier store to the same offset of another 4
	 * KiB, so it keeps off the offsets of what they write: stacks and the
	 * slots of order 0 in the first 3 KiB of a set, descriptors of blocks
	 * that are first of a batch at multiples of 512 bytes (64 pages).
	 */
	char apart[HOT_OFFSET - 1024] __attribute__((aligned(1024)));
	char *sets __attribute__((aligned(64))); /* (c) of the highest zone */
	uint64_t head;	      /* (c) state word of an order-0 head there */
	uint32_t nr_cpus;     /* (c) */
	uint32_t fast_orders; /* (c) below it: sequences serve; 0: none */
	size_t back;	      /* (c) of a list's back, bytes from its stack */
	struct memmap map;    /* (c) */
};

_Static_assert(offsetof(struct quire, sets) == HOT_OFFSET &&
		       offsetof(struct quire, sets) % 512 >= 64 &&
		       offsetof(struct quire, sets) % 512 <= 448 &&
		       sizeof(struct quire) <= 4096,
	       "hot fields apart from what is written");

/*
 * Locks, closes and drains every CPU of every zone; until allocator_release()
 * the zones hold all that is free. False, with errno: some could not be
 * drained; they are held all the same.
 */
bool allocator_hold(struct quire *q);
void allocator_release(struct quire *q);

/* fork.c: allocators that a fork has to stop. */
int fork_register(struct quire *q);
void fork_unregister(struct quire *q);

#endif
