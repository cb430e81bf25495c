/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What quire.h's calls for pages share: page_alloc.c, page_free.c, exact.c and
 * page_api.c.
 */
#ifndef QUIRE_PAGE_ALLOC_H
#define QUIRE_PAGE_ALLOC_H

#include "alloc/want.h"
#include "instance/allocator.h"

/* Of calls that name none. */
#define DEFAULT_TYPE QUIRE_TYPE_UNMOVABLE

/*
 * All of an allocation but the lists' fast path: a block, or an exact run.
 * False, with errno, counted as a failure.
 */
bool page_alloc_want(struct quire *q, struct want *want, unsigned wait_ms,
		     pfn_t *pfn);
/* Writes zeros, for QUIRE_ZERO. */
void page_alloc_clear(struct quire *q, pfn_t pfn, uint64_t pages);

/*
 * Gives up one reference to a live head, any order; frees the block with the
 * last. Returns 1 if it freed, 0 if others hold it, -1 (EINVAL, reported,
 * naming `call`) if pfn is no live head, or not of the order the caller says;
 * NULL: any order is right.
 */
int page_alloc_put(struct quire *q, const char *call, pfn_t pfn,
		   const unsigned *order);

/* EINVAL, counted: the report is the caller's. Always -1. */
int page_alloc_refuse(struct quire *q);
/* EINVAL, counted and reported: a descriptor that is none of ours. */
int page_alloc_refuse_pointer(struct quire *q, const char *call,
			      const void *pointer);
/* EINVAL, counted and reported: a page that is not what the call needs; order
 * is what the caller named, NULL if it named none. */
int page_alloc_refuse_page(struct quire *q, const char *call, pfn_t pfn,
			   uint64_t word, const unsigned *order);

#endif
