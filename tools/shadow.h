/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shadow map: who holds each page of the arena, kept apart from the allocator
 * that is under test. Any thread, any time.
 */
#ifndef TOOLS_SHADOW_H
#define TOOLS_SHADOW_H

#include <stdbool.h>
#include <stdint.h>

struct shadow;

/* For pages [0, pages). NULL without memory. */
struct shadow *shadow_new(uint64_t pages);
void shadow_delete(struct shadow *s);

/*
 * Takes pages [first, first + n) for holder. If one is held already, none is
 * taken: false, with the page and its holder.
 */
bool shadow_claim(struct shadow *s, uint64_t first, uint64_t n, uint32_t holder,
		  uint64_t *page, uint32_t *other);

/*
 * Gives them back. If one is not held by holder: false, with the page and who
 * holds it, SHADOW_NOBODY if nobody does; the others are given back.
 */
bool shadow_release(struct shadow *s, uint64_t first, uint64_t n,
		    uint32_t holder, uint64_t *page, uint32_t *other);
#define SHADOW_NOBODY UINT32_MAX

/* Pages held. Exact when no other thread is in a call. */
uint64_t shadow_held(const struct shadow *s);

#endif
