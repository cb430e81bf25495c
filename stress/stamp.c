/* SPDX-License-Identifier: BSD-2-Clause */
/* Stamps and the shadow map: see stamp.h. */
#include "stamp.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "violation.h"

struct shadow {
	struct quire *q;
	uint64_t first; /* pfn */
	uint64_t pages;
	_Atomic uint32_t holder[];
};

struct stamp {
	uint64_t magic;
	uint32_t pfn;
	uint32_t order;
	uint32_t holder;
	uint32_t sequence;
};

#define STAMP_MAGIC UINT64_C(0x7374616d70656421)

struct shadow *shadow_new(struct quire *q, const struct quire_info *info)
{
	struct shadow *shadow = calloc(
		1, sizeof(*shadow) + info->pages * sizeof(shadow->holder[0]));

	if (shadow) {
		shadow->q = q;
		shadow->first = info->first_pfn;
		shadow->pages = info->pages;
	}
	return shadow;
}

void shadow_delete(struct shadow *shadow)
{
	free(shadow);
}

uint64_t shadow_held_in(const struct shadow *shadow, uint64_t pfn,
			uint64_t pages)
{
	uint64_t at = pfn - shadow->first, held = 0;

	for (uint64_t i = at; i < at + pages; i++)
		held += atomic_load_explicit(&shadow->holder[i],
					     memory_order_relaxed) != 0;
	return held;
}

uint64_t shadow_held(const struct shadow *shadow)
{
	return shadow_held_in(shadow, shadow->first, shadow->pages);
}

static uint64_t block_pfn(const struct shadow *shadow,
			  const struct block *block)
{
	return quire_page_to_pfn(shadow->q, block->page);
}

/* --- shadow --- */

static void shadow_claim(struct shadow *shadow, const struct block *block)
{
	uint64_t pfn = block_pfn(shadow, block);

	for (uint64_t i = 0; i < block->pages; i++) {
		uint32_t old = atomic_exchange_explicit(
			&shadow->holder[pfn - shadow->first + i],
			block->holder + 1u, memory_order_relaxed);

		if (old)
			violation("pfn %llu (order %u at %llu) was handed to "
				  "thread %u, but thread %u holds it",
				  (unsigned long long)(pfn + i), block->order,
				  (unsigned long long)pfn, block->holder,
				  old - 1);
	}
}

static void shadow_release(struct shadow *shadow, const struct block *block)
{
	uint64_t pfn = block_pfn(shadow, block);

	for (uint64_t i = 0; i < block->pages; i++) {
		uint32_t old = atomic_exchange_explicit(
			&shadow->holder[pfn - shadow->first + i], 0,
			memory_order_relaxed);

		if (old != block->holder + 1u)
			violation("pfn %llu (order %u at %llu) is held by "
				  "thread %u, the shadow map says %d (-1: "
				  "nobody)",
				  (unsigned long long)(pfn + i), block->order,
				  (unsigned long long)pfn, block->holder,
				  (int)old - 1);
	}
}

/* --- the descriptor --- */

/* Flags of every fourth block: most free calls shall find none. */
static uint16_t flags_of(const struct block *block)
{
	return block->sequence % 4 ? 0 : (uint16_t)(block->sequence | 1);
}

static uint64_t private_of(const struct block *block, uint64_t pfn)
{
	return (uint64_t)block->sequence << 32 | pfn;
}

static void descriptor_put(struct shadow *shadow, const struct block *block,
			   uint64_t pfn)
{
	struct quire_page *page = quire_pfn_to_page(shadow->q, pfn);
	uint16_t flags = flags_of(block);

	if (quire_page_order(shadow->q, page) != block->order ||
	    quire_page_count(shadow->q, page) != 1 || quire_page_flags(page))
		violation("pfn %llu, handed out as order %u: it has order %d, "
			  "%llu holders, flags 0x%x",
			  (unsigned long long)pfn, block->order,
			  quire_page_order(shadow->q, page),
			  (unsigned long long)quire_page_count(shadow->q, page),
			  quire_page_flags(page));
	quire_page_set_private(shadow->q, page, private_of(block, pfn));
	if (flags)
		quire_page_set_flags(page, flags);
}

static void descriptor_check(const struct shadow *shadow,
			     const struct block *block, uint64_t pfn)
{
	struct quire_page *page = quire_pfn_to_page(shadow->q, pfn);

	if (quire_page_order(shadow->q, page) == block->order &&
	    quire_page_count(shadow->q, page) == 1 &&
	    quire_page_flags(page) == flags_of(block) &&
	    quire_page_private(shadow->q, page) == private_of(block, pfn))
		return;
	violation("pfn %llu, held by thread %u, order %u: it has order %d, "
		  "%llu holders, flags 0x%x (0x%x), private 0x%llx (0x%llx)",
		  (unsigned long long)pfn, block->holder, block->order,
		  quire_page_order(shadow->q, page),
		  (unsigned long long)quire_page_count(shadow->q, page),
		  quire_page_flags(page), flags_of(block),
		  (unsigned long long)quire_page_private(shadow->q, page),
		  (unsigned long long)private_of(block, pfn));
}

/* --- stamps --- */

static char *block_memory(const struct shadow *shadow,
			  const struct block *block)
{
	return quire_page_to_virt(shadow->q, block->page);
}

static size_t block_bytes(const struct block *block)
{
	return QUIRE_PAGE_SIZE << block->order;
}

static struct stamp stamp_of(const struct block *block, uint64_t pfn)
{
	return (struct stamp){ .magic = STAMP_MAGIC,
			       .pfn = (uint32_t)pfn,
			       .order = block->order,
			       .holder = block->holder,
			       .sequence = block->sequence };
}

static void stamp_check_one(const struct shadow *shadow, const char *memory,
			    const struct stamp *expected, const char *where)
{
	struct stamp found;

	memcpy(&found, memory, sizeof(found));
	if (memcmp(&found, expected, sizeof(found)) == 0)
		return;
	violation("pfn %u, held by thread %u, order %u, sequence %u: the stamp "
		  "at its %s says %s, pfn %u, thread %u, order %u, sequence %u "
		  "(its shadow: %d)",
		  expected->pfn, expected->holder, expected->order,
		  expected->sequence, where,
		  found.magic == STAMP_MAGIC ? "whole" : "overwritten",
		  found.pfn, found.holder, found.order, found.sequence,
		  (int)shadow->holder[expected->pfn - shadow->first] - 1);
}

void stamp_check_zero(const struct shadow *shadow, const struct block *block)
{
	const char *memory = block_memory(shadow, block);
	uint64_t word;

	for (uint32_t i = 0; i < block->pages; i++) {
		for (size_t at = 0; at < sizeof(struct stamp);
		     at += sizeof(word)) {
			uint64_t last;

			memcpy(&word, memory + at, sizeof(word));
			memcpy(&last, memory + QUIRE_PAGE_SIZE - 8 - at,
			       sizeof(last));
			if (word | last) {
				violation("pfn %llu, page %u of order %u: "
					  "asked for zero, reads 0x%llx and "
					  "0x%llx",
					  (unsigned long long)block_pfn(shadow,
									block),
					  i, block->order,
					  (unsigned long long)word,
					  (unsigned long long)last);
				return;
			}
		}
		memory += QUIRE_PAGE_SIZE;
	}
}

void stamp_put(struct shadow *shadow, const struct block *block)
{
	char *memory = block_memory(shadow, block);
	uint64_t pfn = block_pfn(shadow, block);
	size_t bytes = block_bytes(block);

	shadow_claim(shadow, block);
	for (uint32_t i = 0; i < block_count(block); i++) {
		struct stamp stamp = stamp_of(block, pfn);

		descriptor_put(shadow, block, pfn);
		memcpy(memory, &stamp, sizeof(stamp));
		memcpy(memory + bytes - sizeof(stamp), &stamp, sizeof(stamp));
		memory += bytes;
		pfn += UINT64_C(1) << block->order;
	}
}

void stamp_remove(struct shadow *shadow, const struct block *block)
{
	const char *memory = block_memory(shadow, block);
	uint64_t pfn = block_pfn(shadow, block);
	size_t bytes = block_bytes(block);

	for (uint32_t i = 0; i < block_count(block); i++) {
		struct stamp stamp = stamp_of(block, pfn);

		descriptor_check(shadow, block, pfn);
		stamp_check_one(shadow, memory, &stamp, "start");
		stamp_check_one(shadow, memory + bytes - sizeof(stamp), &stamp,
				"end");
		memory += bytes;
		pfn += UINT64_C(1) << block->order;
	}
	shadow_release(shadow, block);
}
