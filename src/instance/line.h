/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The line: calls that wait for pages, in the order they came.
 */
#ifndef QUIRE_LINE_H
#define QUIRE_LINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/lock.h"
#include "map/page.h"

struct quire;
struct want;

struct waiter;

/* (l) line lock, (a) atomic */
struct line {
	struct lock lock;
	struct waiter *first, *last; /* (l) */
	struct waiter *listener;     /* (l) NULL: all in line are away */
	_Atomic uint32_t length;     /* (a) written under the lock */
	_Atomic uint32_t bell;	     /* (a) the listener is parked on it */
};

void line_init(struct line *line);

/* How somebody waits. */
struct line_wish {
	uint64_t timeout_ns; /* UINT64_MAX: for good */
	/* Asks the zones for what somebody in line wants; by any of them. */
	bool (*try)(struct quire *q, struct want *want, pfn_t *pfn);
	/* Called each idle_ns that nothing came, by who waits, who keeps his
	 * place and is served there; it may block. NULL: nothing is. */
	void (*idle)(struct quire *q, struct want *want);
	uint64_t idle_ns;
};

/*
 * Waits until a block comes for *want. False, with errno: the time ran out, or
 * idle() forked, in the child (ETIMEDOUT); lists cannot be shut (ENOMEM).
 */
bool line_wait(struct quire *q, struct want *want, const struct line_wish *wish,
	       pfn_t *pfn);

/* Pages came back and may be what somebody waits for. Neither blocks nor spins:
 * for signal handlers, too. */
void line_ring_slow(struct line *line);

static inline uint32_t line_length(const struct line *line)
{
	return atomic_load_explicit(&line->length, memory_order_relaxed);
}

/* For frees that go to a zone: its lock, or a fence of theirs, orders them
 * before this. */
static inline void line_ring(struct line *line)
{
	if (unlikely(line_length(line)))
		line_ring_slow(line);
}

#endif
