/* SPDX-License-Identifier: BSD-2-Clause */
/* Address-ordered first fit over pages, to compare an allocator with. */
#ifndef TOOLS_FIRST_FIT_H
#define TOOLS_FIRST_FIT_H

#include <stdbool.h>
#include <stdint.h>

struct first_fit;

#define FIRST_FIT_NONE UINT32_MAX
#define FIRST_FIT_MAX_ORDER 18u

/* Pages [0, pages), all free; fewer than 2^31. NULL without memory. */
struct first_fit *first_fit_new(uint32_t pages);
void first_fit_delete(struct first_fit *f);

/* The lowest aligned run of 2^order free pages, or FIRST_FIT_NONE. */
uint32_t first_fit_alloc(struct first_fit *f, unsigned order);
/* Aligned to its order; no page of it may be free: else false, and nothing is
 * freed. */
bool first_fit_free(struct first_fit *f, uint32_t page, unsigned order);

/* Wholly free aligned blocks of 512 pages. */
uint32_t first_fit_whole(const struct first_fit *f);

#endif
