/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which blocks are live at one moment of a trace, by pfn.
 *
 * Every live page has an entry, the number of its block, because real traces
 * free pages from the middle of blocks and allocate over them. Entries stand
 * in leaves of 64 neighbouring pages, found by hashing the leaf's number:
 * traces name few gigabytes at scattered places, and neighbours come together.
 * Leaves stay once made; blocks are recycled, so that memory follows the peak
 * of the trace and not its length. Block 0 is unused: entry 0 means not live.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "live.h"

#include <stdlib.h>
#include <string.h>

#define LEAF_SHIFT 6
#define LEAF_PAGES (1u << LEAF_SHIFT)

struct leaf {
	uint32_t block[LEAF_PAGES];
};

struct bucket {
	uint64_t key; /* leaf number + 1, 0: empty */
	struct leaf *leaf;
};

struct live {
	struct bucket *buckets; /* a power of two, at most half full */
	uint64_t nr_buckets, nr_leaves;
	struct bucket last; /* found: the next page is often beside it */
	struct live_block *blocks;
	uint32_t nr_blocks, max_blocks;
	uint32_t free; /* list of unused blocks, linked through slot */
};

struct live *live_new(void)
{
	struct live *live = calloc(1, sizeof(*live));

	if (!live)
		return NULL;
	live->nr_buckets = 1024;
	live->max_blocks = 1024;
	live->nr_blocks = 1;
	live->buckets = calloc(live->nr_buckets, sizeof(*live->buckets));
	live->blocks = calloc(live->max_blocks, sizeof(*live->blocks));
	if (!live->buckets || !live->blocks) {
		live_delete(live);
		return NULL;
	}
	return live;
}

void live_delete(struct live *live)
{
	uint64_t i;

	if (!live)
		return;
	for (i = 0; live->buckets && i < live->nr_buckets; i++)
		free(live->buckets[i].leaf);
	free(live->buckets);
	free(live->blocks);
	free(live);
}

/* ------------------------------------------------------------------ */
/* Leaves                                                              */

/* Where key is or would be. */
static struct bucket *bucket_find(struct bucket *buckets, uint64_t n,
				  uint64_t key)
{
	uint64_t i = key * 0x9e3779b97f4a7c15u;

	/* Fibonacci hashing: the product's high bits are the mixed ones. */
	for (i ^= i >> 32;; i++) {
		struct bucket *b = &buckets[i & (n - 1)];

		if (b->key == key || b->key == 0)
			return b;
	}
}

static bool buckets_grow(struct live *live)
{
	uint64_t n = live->nr_buckets * 2, i;
	struct bucket *buckets = calloc(n, sizeof(*buckets));

	if (!buckets)
		return false;
	for (i = 0; i < live->nr_buckets; i++) {
		struct bucket *b = &live->buckets[i];

		if (b->key)
			*bucket_find(buckets, n, b->key) = *b;
	}
	free(live->buckets);
	live->buckets = buckets;
	live->nr_buckets = n;
	return true;
}

static struct leaf *leaf_find(struct live *live, uint64_t pfn)
{
	uint64_t key = (pfn >> LEAF_SHIFT) + 1;

	if (live->last.key != key) {
		struct bucket *b =
			bucket_find(live->buckets, live->nr_buckets, key);

		if (!b->key)
			return NULL;
		live->last = *b;
	}
	return live->last.leaf;
}

static struct leaf *leaf_make(struct live *live, uint64_t pfn)
{
	struct leaf *leaf = leaf_find(live, pfn);
	struct bucket *b;

	if (leaf)
		return leaf;
	if (live->nr_leaves * 2 >= live->nr_buckets && !buckets_grow(live))
		return NULL;
	leaf = calloc(1, sizeof(*leaf));
	if (!leaf)
		return NULL;
	b = bucket_find(live->buckets, live->nr_buckets,
			(pfn >> LEAF_SHIFT) + 1);
	b->key = (pfn >> LEAF_SHIFT) + 1;
	b->leaf = leaf;
	live->nr_leaves++;
	return leaf;
}

/* ------------------------------------------------------------------ */
/* Blocks                                                              */

static uint32_t block_alloc(struct live *live)
{
	uint32_t i = live->free;
	struct live_block *blocks;

	if (i) {
		live->free = live->blocks[i].slot;
		return i;
	}
	if (live->nr_blocks == live->max_blocks) {
		if (live->max_blocks > UINT32_MAX / 2)
			return 0;
		blocks = realloc(live->blocks, (size_t)live->max_blocks * 2 *
						       sizeof(*blocks));
		if (!blocks)
			return 0;
		live->blocks = blocks;
		live->max_blocks *= 2;
	}
	return live->nr_blocks++;
}

struct live_block *live_find(struct live *live, uint64_t pfn)
{
	struct leaf *leaf = leaf_find(live, pfn);
	uint32_t i = leaf ? leaf->block[pfn % LEAF_PAGES] : 0;

	return i ? &live->blocks[i] : NULL;
}

bool live_add(struct live *live, uint64_t pfn, unsigned order, uint32_t slot)
{
	uint32_t i = block_alloc(live);
	uint64_t page, end = pfn + (1ull << order);
	struct leaf *leaf = NULL;

	if (!i)
		return false;
	live->blocks[i] = (struct live_block){
		.pfn = pfn,
		.slot = slot,
		.pages = 1u << order,
		.order = (uint8_t)order,
	};
	for (page = pfn; page < end; page++) {
		if (!leaf || page % LEAF_PAGES == 0)
			leaf = leaf_make(live, page);
		if (!leaf)
			return false;
		leaf->block[page % LEAF_PAGES] = i;
	}
	return true;
}

void live_remove(struct live *live, struct live_block *block, uint64_t pfn,
		 uint32_t n)
{
	uint32_t i = (uint32_t)(block - live->blocks);
	uint64_t page;

	for (page = pfn; page < pfn + n; page++)
		leaf_find(live, page)->block[page % LEAF_PAGES] = 0;
	block->pages -= n;
	if (block->pages == 0) {
		block->slot = live->free;
		block->order = UINT8_MAX;
		live->free = i;
	}
}

void live_each(struct live *live,
	       void (*visit)(void *arg, struct live_block *block), void *arg)
{
	uint32_t i;

	for (i = 1; i < live->nr_blocks; i++)
		if (live->blocks[i].pages)
			visit(arg, &live->blocks[i]);
}
