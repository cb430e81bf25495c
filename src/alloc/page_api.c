/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The page descriptor's public face: conversions, flags, references, the
 * private word.
 *
 * Conversions compute from the memory map and read no page's state. Flags and
 * references live in the state word; several holders may change them at once,
 * so each change is one atomic operation on the whole word.
 */
#include <errno.h>

#include "alloc/page_alloc.h"

/* The pfn of any address or offset in the region, aligned or not. */
static uint64_t distance_to_pfn(const struct quire *q, uint64_t distance)
{
	uint64_t pfn = distance >> QUIRE_PAGE_SHIFT;

	if (memmap_has_pfn(&q->map, pfn))
		return pfn;
	errno = EINVAL;
	return UINT64_MAX;
}

static bool has_addresses(const struct quire *q)
{
	if (q->map.region.mapped)
		return true;
	errno = ENOTSUP;
	return false;
}

uint64_t quire_page_to_pfn(const struct quire *q, const struct quire_page *page)
{
	pfn_t pfn = memmap_pfn(&q->map, page);

	if (pfn != PFN_NONE)
		return pfn;
	errno = EINVAL;
	return UINT64_MAX;
}

struct quire_page *quire_pfn_to_page(const struct quire *q, uint64_t pfn)
{
	if (memmap_has_pfn(&q->map, pfn))
		return memmap_page(&q->map, (pfn_t)pfn);
	errno = EINVAL;
	return NULL;
}

void *quire_page_to_virt(const struct quire *q, const struct quire_page *page)
{
	uint64_t pfn = quire_page_to_pfn(q, page);

	if (pfn == UINT64_MAX || !has_addresses(q))
		return NULL;
	return memmap_virt(&q->map, (pfn_t)pfn);
}

struct quire_page *quire_virt_to_page(const struct quire *q, const void *addr)
{
	uint64_t pfn;

	if (!has_addresses(q))
		return NULL;
	pfn = distance_to_pfn(q, (uintptr_t)addr - q->map.region.base);
	return pfn == UINT64_MAX ? NULL : memmap_page(&q->map, (pfn_t)pfn);
}

/* Of pfn 0, in the numbers the caller uses. */
static uint64_t offset_base(const struct quire *q)
{
	if (!q->map.region.mapped)
		return q->map.region.base;
	return -((uint64_t)q->map.region.first << QUIRE_PAGE_SHIFT);
}

uint64_t quire_page_to_offset(const struct quire *q,
			      const struct quire_page *page)
{
	uint64_t pfn = quire_page_to_pfn(q, page);

	if (pfn == UINT64_MAX)
		return pfn;
	return offset_base(q) + (pfn << QUIRE_PAGE_SHIFT);
}

struct quire_page *quire_offset_to_page(const struct quire *q, uint64_t offset)
{
	uint64_t pfn = distance_to_pfn(q, offset - offset_base(q));

	return pfn == UINT64_MAX ? NULL : memmap_page(&q->map, (pfn_t)pfn);
}

int quire_page_order(const struct quire *q, const struct quire_page *page)
{
	uint64_t word;

	if (memmap_pfn(&q->map, page) == PFN_NONE) {
		errno = EINVAL;
		return -1;
	}
	word = page_word(page);
	if (page_is_head(word))
		return (int)page_order(word);
	errno = EINVAL;
	return -1;
}

int quire_addr_order(const struct quire *q, const void *addr)
{
	const struct quire_page *page = quire_virt_to_page(q, addr);

	if (!page)
		return -1;
	if ((uintptr_t)addr % QUIRE_PAGE_SIZE) {
		errno = EINVAL;
		return -1;
	}
	return quire_page_order(q, page);
}

int quire_page_get(struct quire *q, struct quire_page *page)
{
	pfn_t pfn = memmap_pfn(&q->map, page);
	uint64_t word;

	if (allocator_check_fork(q) != 0)
		return -1;
	if (pfn == PFN_NONE)
		return page_alloc_refuse_pointer(q, "page_get", page);
	word = page_word(page);
	do {
		if (!page_is_head(word))
			return page_alloc_refuse_page(q, "page_get", pfn, word,
						      NULL);
		/* Holders are references and one, and are counted in 32 bits */
		if (page_refs(word) == UINT32_MAX - 1) {
			errno = EOVERFLOW;
			return -1;
		}
	} while (!atomic_compare_exchange_weak_explicit(
		&page->word, &word, word + PAGE_REF_ONE, memory_order_relaxed,
		memory_order_relaxed));
	return 0;
}

int quire_page_put(struct quire *q, struct quire_page *page)
{
	pfn_t pfn = memmap_pfn(&q->map, page);

	if (pfn == PFN_NONE)
		return page_alloc_refuse_pointer(q, "page_put", page);
	return page_alloc_put(q, "page_put", pfn, NULL);
}

uint64_t quire_page_count(const struct quire *q, const struct quire_page *page)
{
	uint64_t word;

	if (memmap_pfn(&q->map, page) == PFN_NONE)
		return 0;
	word = page_word(page);
	return page_is_head(word) ? page_refs(word) + 1 : 0;
}

uint16_t quire_page_flags(const struct quire_page *page)
{
	/* acquire: with the release of the flag's setter. */
	return (uint16_t)(atomic_load_explicit(&page->word,
					       memory_order_acquire) >>
			  PAGE_FLAGS_SHIFT);
}

uint16_t quire_page_set_flags(struct quire_page *page, uint16_t flags)
{
	/* acq_rel: a flag can serve as a lock bit or publish data. */
	return (uint16_t)(atomic_fetch_or_explicit(&page->word,
						   (uint64_t)flags
							   << PAGE_FLAGS_SHIFT,
						   memory_order_acq_rel) >>
			  PAGE_FLAGS_SHIFT);
}

uint16_t quire_page_clear_flags(struct quire_page *page, uint16_t flags)
{
	return (uint16_t)(atomic_fetch_and_explicit(
				  &page->word,
				  ~((uint64_t)flags << PAGE_FLAGS_SHIFT),
				  memory_order_acq_rel) >>
			  PAGE_FLAGS_SHIFT);
}

uint64_t quire_page_private(const struct quire *q,
			    const struct quire_page *page)
{
	pfn_t pfn;

	if (memmap_find(&q->map, page, &pfn))
		return q->map.privates[pfn];
	errno = EINVAL;
	return 0;
}

int quire_page_set_private(struct quire *q, struct quire_page *page,
			   uint64_t value)
{
	pfn_t pfn = memmap_pfn(&q->map, page);
	uint64_t word;

	if (allocator_check_fork(q) != 0)
		return -1;
	if (pfn == PFN_NONE)
		return page_alloc_refuse_pointer(q, "page_set_private", page);
	/* The words of free blocks may be links. */
	word = page_word(page);
	if (!page_is_head(word))
		return page_alloc_refuse_page(q, "page_set_private", pfn, word,
					      NULL);
	q->map.privates[pfn] = value;
	return 0;
}
