/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shadow map: who holds each page of the arena.
 *
 * A word for each page: 0, or its holder's number + 1. It is taken and given
 * back by atomic exchange, so that of two threads that are given one page at
 * least one finds the other. The exchanges are relaxed on purpose: that a
 * page's release is seen by its next holder follows from the allocator, which
 * must order a free before the allocation that reuses the page. An allocator
 * that does not would be found here too.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "shadow.h"

#include <stdatomic.h>
#include <stdlib.h>

struct shadow {
	uint64_t pages;
	_Atomic uint32_t holder[];
};

struct shadow *shadow_new(uint64_t pages)
{
	/* calloc: pages never given cost no memory. */
	struct shadow *s = calloc(1, sizeof(*s) + pages * sizeof(s->holder[0]));

	if (s)
		s->pages = pages;
	return s;
}

void shadow_delete(struct shadow *s)
{
	free(s);
}

bool shadow_claim(struct shadow *s, uint64_t first, uint64_t n, uint32_t holder,
		  uint64_t *page, uint32_t *other)
{
	uint64_t i;
	uint32_t old;

	for (i = first; i < first + n; i++) {
		old = atomic_exchange_explicit(&s->holder[i], holder + 1,
					       memory_order_relaxed);
		if (old == 0)
			continue;
		*page = i;
		*other = old - 1;
		atomic_store_explicit(&s->holder[i], old, memory_order_relaxed);
		while (i-- > first)
			atomic_store_explicit(&s->holder[i], 0,
					      memory_order_relaxed);
		return false;
	}
	return true;
}

bool shadow_release(struct shadow *s, uint64_t first, uint64_t n,
		    uint32_t holder, uint64_t *page, uint32_t *other)
{
	bool ok = true;
	uint64_t i;
	uint32_t old;

	for (i = first; i < first + n; i++) {
		old = atomic_exchange_explicit(&s->holder[i], 0,
					       memory_order_relaxed);
		if (old == holder + 1)
			continue;
		ok = false;
		*page = i;
		*other = old ? old - 1 : SHADOW_NOBODY;
	}
	return ok;
}

uint64_t shadow_held(const struct shadow *s)
{
	uint64_t i, n = 0;

	for (i = 0; i < s->pages; i++)
		n += atomic_load_explicit(&s->holder[i],
					  memory_order_relaxed) != 0;
	return n;
}
