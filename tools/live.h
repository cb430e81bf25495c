/* SPDX-License-Identifier: BSD-2-Clause */
/* Which blocks are live at one moment of a trace, by pfn. */
#ifndef TOOLS_LIVE_H
#define TOOLS_LIVE_H

#include <stdbool.h>
#include <stdint.h>

/* One allocation of the trace, as long as a page of it is live. */
struct live_block {
	uint64_t pfn;	/* of its first page */
	uint32_t slot;	/* number of the allocation */
	uint32_t pages; /* of it that are still live */
	uint8_t order;
	bool parted; /* some pages were freed apart from others */
};

struct live;

/* NULL without memory. */
struct live *live_new(void);
void live_delete(struct live *live);

/* The block that page pfn belongs to, or NULL. Valid until the next add. */
struct live_block *live_find(struct live *live, uint64_t pfn);

/* No page of [pfn, pfn + 2^order) is live. False without memory. */
bool live_add(struct live *live, uint64_t pfn, unsigned order, uint32_t slot);

/* Pages [pfn, pfn + n) of block end; with the last, block is gone. */
void live_remove(struct live *live, struct live_block *block, uint64_t pfn,
		 uint32_t n);

/* Calls visit for every live block. */
void live_each(struct live *live,
	       void (*visit)(void *arg, struct live_block *block), void *arg);

#endif
