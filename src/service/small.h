/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Small memory: what services need after an allocator was created.
 *
 * Blocks are zeroed and aligned to 64 bytes. They belong to an allocator, and
 * those that were not freed go with it. Callers may hold a lock
 * of shrinkers or pools.
 */
#ifndef QUIRE_SMALL_H
#define QUIRE_SMALL_H

#include <stddef.h>

#include "instance/allocator.h"

/* NULL, with ENOMEM: the system has none. */
void *small_alloc(struct quire *q, size_t size);
/* The size is that of small_alloc(). */
void small_free(struct quire *q, void *block, size_t size);

#endif
