/* SPDX-License-Identifier: BSD-2-Clause */
/* A binary buddy with a list an order, to compare an allocator with. */
#ifndef TOOLS_LIFO_BUDDY_H
#define TOOLS_LIFO_BUDDY_H

#include <stdbool.h>
#include <stdint.h>

struct lifo_buddy;

#define LIFO_BUDDY_NONE UINT32_MAX
#define LIFO_BUDDY_MAX_ORDER 18u

/* Pages [0, pages), all free; fewer than 2^31. NULL without memory. */
struct lifo_buddy *lifo_buddy_new(uint32_t pages);
void lifo_buddy_delete(struct lifo_buddy *b);

/* 2^order pages, or LIFO_BUDDY_NONE. */
uint32_t lifo_buddy_alloc(struct lifo_buddy *b, unsigned order);
/* Aligned to its order; no page of it may be free: else false, and nothing is
 * freed. */
bool lifo_buddy_free(struct lifo_buddy *b, uint32_t page, unsigned order);

/* Wholly free aligned blocks of 512 pages. */
uint32_t lifo_buddy_whole(const struct lifo_buddy *b);

#endif
