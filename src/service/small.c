/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Small memory: see small.h.
 *
 * Where it comes from. Not from the allocator's pages: quire does not write to
 * a caller's region, an allocator of offsets has nothing to write to, and who
 * registers a shrinker when pages are short must not need one. Not from malloc:
 * a malloc may stand on quire, and reclaim must not wait for its locks. So
 * memory is mapped when it is first needed, and an allocator that uses no
 * service has none.
 *
 * Model. Services need few blocks, and the same sizes again: an entry for each
 * shrinker, a struct for each pool. Blocks have powers of two from 64 bytes to
 * 4 KiB; each size has a stack of free blocks, linked through them, and takes
 * the next piece of a chunk when that is empty. A chunk goes back with the
 * allocator, so what services keep is bounded by the most they ever had. A
 * larger block (a pool's reserve, 8 bytes for each of its blocks) is a chunk of
 * its own, and goes back when it is freed.
 *
 * A chunk begins with its header. Its size is a multiple of 64 KiB, which is
 * one of all page sizes. What is left of a chunk when the next one is mapped is
 * lost: less than 4 KiB.
 *
 * Lock: small_lock, for all allocators, above the other services' locks and
 * below all of the core. It is held over a fork, and the child goes on with its
 * copy: a chunk is private memory whatever the allocator's region is.
 */
#include "service/small.h"

#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "platform/fault.h"
#include "platform/platform_memory.h"

enum { CLASS_MIN = 64, CLASS_MAX = CLASS_MIN << (SMALL_CLASSES - 1) };
enum { CHUNK_UNIT = 64 << 10, CHUNK_HEADER = 64 };

struct small_block {
	struct small_block *next;
};

struct small_chunk {
	struct small_chunk *next;
	size_t size; /* with this header */
};

static struct lock small_lock = LOCK_INIT(LOCK_RANK_SMALL);

/* Returns what is behind the header; NULL: the system has no memory. */
static char *chunk_map_locked(struct small *small, size_t size)
{
	size_t whole = align_up(size + CHUNK_HEADER, CHUNK_UNIT);
	struct small_chunk *chunk =
		whole < size ? NULL : platform_reserve(whole, CHUNK_UNIT);

	if (!chunk)
		return NULL;
	if (platform_back_base(chunk, whole) != 0) {
		platform_unmap(chunk, whole);
		return NULL;
	}
	chunk->next = small->chunks;
	chunk->size = whole;
	small->chunks = chunk;
	return (char *)chunk + CHUNK_HEADER;
}

static void chunk_unmap_locked(struct small *small, void *block)
{
	struct small_chunk *chunk =
		(struct small_chunk *)((char *)block - CHUNK_HEADER);
	struct small_chunk **at = &small->chunks;

	while (*at != chunk)
		at = &(*at)->next;
	*at = chunk->next;
	platform_unmap(chunk, chunk->size);
}

static unsigned class_of(size_t size)
{
	unsigned class = 0;

	while ((size_t)CLASS_MIN << class < size)
		class ++;
	return class;
}

static void *class_alloc_locked(struct small *small, unsigned class)
{
	size_t size = (size_t)CLASS_MIN << class;
	struct small_block *block = small->free[class];
	char *piece;

	if (block) {
		small->free[class] = block->next;
		return block;
	}
	if ((size_t)(small->end - small->at) < size) {
		piece = chunk_map_locked(small, CHUNK_UNIT - CHUNK_HEADER);
		if (!piece)
			return NULL;
		small->at = piece;
		small->end = piece + CHUNK_UNIT - CHUNK_HEADER;
	}
	piece = small->at;
	small->at += size;
	return piece;
}

static void class_free_locked(struct small *small, unsigned class, void *freed)
{
	struct small_block *block = freed;

	/* Who still uses it falls over. */
	if (config_debug)
		memset(block, 0xa5, (size_t)CLASS_MIN << class);
	block->next = small->free[class];
	small->free[class] = block;
}

void *small_alloc(struct quire *q, size_t size)
{
	void *block = NULL;

	if (!fault_hit(FAULT_SERVICE)) {
		lock_acquire(&small_lock);
		block = size > CLASS_MAX
				? chunk_map_locked(&q->small, size)
				: class_alloc_locked(&q->small, class_of(size));
		lock_release(&small_lock);
	}
	if (!block)
		errno = ENOMEM;
	else if (size <= CLASS_MAX)
		memset(block, 0, size);
	return block;
}

void small_free(struct quire *q, void *block, size_t size)
{
	lock_acquire(&small_lock);
	if (size > CLASS_MAX)
		chunk_unmap_locked(&q->small, block);
	else
		class_free_locked(&q->small, class_of(size), block);
	lock_release(&small_lock);
}

/* --- destroy and fork --- */

static void stop(struct quire *q)
{
	struct small_chunk *chunk, *next;

	lock_acquire(&small_lock);
	for (chunk = q->small.chunks; chunk; chunk = next) {
		next = chunk->next;
		platform_unmap(chunk, chunk->size);
	}
	q->small = (struct small){ .chunks = NULL };
	lock_release(&small_lock);
}

static void fork_prepare(void)
{
	lock_acquire(&small_lock);
}

static void fork_resume(void)
{
	lock_release(&small_lock);
}

static at_load void hook(void)
{
	static const struct service service = {
		.at_fork = { fork_prepare, fork_resume, fork_resume },
		.stop = stop,
	};

	service_add(SERVICE_SMALL, &service);
}
