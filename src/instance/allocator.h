/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * struct quire: an allocator's parts, put together.
 */
#ifndef QUIRE_ALLOCATOR_H
#define QUIRE_ALLOCATOR_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/lock.h"
#include "base/report.h"
#include "base/wait_queue.h"
#include "boot/arena.h"
#include "instance/options.h"
#include "map/memmap.h"
#include "pcp/pcp.h"
#include "quire/quire.h"
#include "zone/node.h"
#include "zone/zone.h"

enum { HOT_OFFSET = 3072 + 384, COLD_MAX = 2048 };

struct reclaim_threads;
struct shrinkers;

/* What services do for the floors below; NULL until it is used. (a) */
struct hooks {
	/* Frees pages for an allocation that falls short, which holds no lock;
	 * returns how many, as shrinkers say. */
	uint64_t (*_Atomic reclaim)(struct quire *q,
				    const struct quire_shrink *want);
	/* A zone of the node is below its low watermark. Does not block. */
	void (*_Atomic kick)(struct quire *q, unsigned node);
};

/* Memory that goes back to the system, by give_back.c: (c) constant, (d) drain
 * lock, (a) atomic */
struct give_back {
	enum quire_give_back how; /* (c) */
	unsigned delay_ms;	  /* (c) */
	uint64_t rate, floor;	  /* (c) bytes a second, bytes */
	_Atomic uint64_t next_ms; /* (a) of a look */
	uint64_t last_ms;	  /* (d) of what the rate allowed */
	uint64_t allowed;	  /* (d) bytes */
	uint8_t look;		  /* (d) number of the last one */
};

/* What services keep in, by small.c; zero-filled: nothing yet. (s) its lock */
enum { SMALL_CLASSES = 7 };
struct small {
	struct small_chunk *chunks;		 /* (s) */
	char *at, *end;				 /* (s) of one: not used yet */
	struct small_block *free[SMALL_CLASSES]; /* (s) */
};

/* (c) constant after quire_create(), (a) atomic, (r) registry lock, (d) drain
 * lock */
struct quire {
	struct zone *zone[QUIRE_MAX_ZONES]; /* (c) by node and kind */
	struct pcp *pcp[QUIRE_MAX_ZONES];   /* (c) of zone[i] */
	struct nodes *nodes;		    /* (c) */
	uint8_t *cpu_node;		    /* (c) by CPU number */
	uint32_t nr_cpu_nodes;		    /* (c) CPU numbers in it */
	unsigned nr_zones;		    /* (c) */
	unsigned decay_ms, wait_ms;	    /* (c) */
	struct quire_policy policy;	    /* (c) but its turn */
	struct wait_queue page_waiters;	    /* calls that wait for pages */
	bool shut;		   /* (d) lists are, for somebody waits */
	struct lock zonelist_lock; /* who rebuilds zonelists */
	struct hooks hooks;	   /* (a) */
	struct shrinkers *_Atomic shrinkers;		 /* (a) shrinker.c's */
	struct reclaim_threads *_Atomic reclaim_threads; /* (a) */
	_Atomic uint64_t reclaims, reclaimed, waits, timeouts; /* (a) */
	_Atomic uint64_t given_back;			       /* (a) bytes */
	struct give_back give;
	struct small small;
	enum quire_way way;   /* (c) */
	uint32_t list_orders; /* (c) below it: lists are asked first; 0: none */
	bool check_race;      /* (c) */
	bool forked;	      /* (c) in a child that must not use the memory */
	bool copied;	      /* (c) in a child that works on its own copy */
	unsigned forks;	      /* (c) since its creation, down to this child */
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
	char apart[HOT_OFFSET - COLD_MAX] __attribute__((aligned(COLD_MAX)));
	/* (c) of the zone that serves calls without flags, of one node */
	char *sets __attribute__((aligned(64)));
	struct pcp *home;     /* (c) the same */
	uint64_t head;	      /* (c) state word of an order-0 head there */
	uint32_t nr_cpus;     /* (c) */
	uint32_t fast_orders; /* (c) below it: sequences serve; 0: none */
	_Atomic size_t back;  /* (a) where frees push order 0, in a set */
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
/* The same by who has the drain lock; without draining, all but that. */
bool allocator_hold_locked(struct quire *q, bool drain);
void allocator_release(struct quire *q);

/* EPERM in a child whose parent owns the memory. */
static inline int allocator_check_fork(const struct quire *q)
{
	if (likely(!q->forked))
		return 0;
	errno = EPERM;
	return -1;
}

unsigned allocator_this_node_slow(const struct quire *q);

/* The node of the CPU that the thread runs on or stands for. */
static inline unsigned allocator_this_node(const struct quire *q)
{
	return q->nodes->nr == 1 ? 0 : allocator_this_node_slow(q);
}

/* Of a node: pages missing to the high watermarks of its zones; whether one of
 * them is below low; that reclaim is done with them, in vain or not. */
uint64_t allocator_shortfall(const struct quire *q, unsigned node);
bool allocator_is_low(const struct quire *q, unsigned node);
void allocator_balanced(struct quire *q, unsigned node);

/*
 * bind.c: seats of the bound way, which alone calls these. bind_init() takes
 * them from a cleared table and makes the thread key; -1, with errno and a
 * report, if none can be had.
 */
int bind_init(struct quire *q, struct pcp_seat *seats, uint32_t nr_seats);
void bind_fini(struct quire *q);
/* The calling thread's, NULL if it has none. */
struct pcp_seat *bind_seat(const struct quire *q);
/* In the child of a fork: only the calling thread is still there. */
void bind_forget_threads(struct quire *q);

/*
 * What services do around a fork and when an allocator goes. In this order they
 * stop and take their locks: one comes before those that it stands on.
 */
enum service_id {
	SERVICE_RECLAIM_THREAD,
	SERVICE_SHRINKER,
	SERVICE_MEMPOOL,
	SERVICE_SMALL,
	NR_SERVICES
};
/* Before the core's locks are taken; in the parent and in the child, after they
 * were left. */
enum fork_time { FORK_PREPARE, FORK_PARENT, FORK_CHILD, NR_FORK_TIMES };

/* NULL: nothing to do. */
struct service {
	void (*at_fork[NR_FORK_TIMES])(void);
	/* q is about to go, and nobody else is inside a call. */
	void (*stop)(struct quire *q);
};
/* At load only. */
void service_add(enum service_id id, const struct service *service);
void services_at_fork(enum fork_time time);
void services_stop(struct quire *q);

/* fork.c: allocators that a fork has to stop. */
int fork_register(struct quire *q);
void fork_unregister(struct quire *q);

#endif
