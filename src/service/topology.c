/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Nodes, zones and mobility as callers see them.
 */
#include <errno.h>
#include <string.h>

#include "base/report.h"
#include "instance/allocator.h"
#include "platform/platform.h"

/* Half a second, and what it takes to hold all sets so often. */
enum { LOOKS = 10000 };

int quire_set_distances(struct quire *q, const uint8_t *distances)
{
	if (allocator_check_fork(q) != 0)
		return -1;
	if (!distances)
		return report_invalid(&q->reporter,
				      "set_distances: no distances given");
	if (nodes_check_distances(distances, q->nodes->nr, &q->reporter) != 0)
		return -1;
	lock_acquire(&q->zonelist_lock);
	nodes_set_distances(q->nodes, distances);
	nodes_build(q->nodes);
	lock_release(&q->zonelist_lock);
	return 0;
}

int quire_distance(const struct quire *q, unsigned from, unsigned to)
{
	if (from < q->nodes->nr && to < q->nodes->nr)
		return (int)node_distance(q->nodes, from, to);
	errno = EINVAL;
	return -1;
}

static const struct zone *zone_of(const struct quire *q, uint64_t pfn)
{
	unsigned z = 0;

	while (pfn >= q->zone[z]->end)
		z++;
	return q->zone[z];
}

int quire_page_node(const struct quire *q, const struct quire_page *page)
{
	pfn_t pfn = memmap_pfn(&q->map, page);

	if (pfn != PFN_NONE)
		return (int)zone_of(q, pfn)->node;
	errno = EINVAL;
	return -1;
}

int quire_this_node(const struct quire *q)
{
	return (int)allocator_this_node(q);
}

static int refuse_range(struct quire *q, uint64_t pfn, uint64_t pages,
			enum quire_mobility type, int error, const char *why)
{
	report(&q->reporter,
	       "set_mobility: pfn %llu, %llu pages, type %u (%s): %s (region: "
	       "pfn %u to %u)",
	       (unsigned long long)pfn, (unsigned long long)pages,
	       (unsigned)type, quire_mobility_name(type), why,
	       q->map.region.first, q->map.region.end);
	errno = error;
	return -1;
}

static struct zone *zone_of_block(const struct quire *q, uint32_t pageblock)
{
	return q->zone[zone_of(q, (uint64_t)pageblock << BLOCK_ORDER)->id];
}

/*
 * A page that is freed goes to a list of the type its own word names. Blocks
 * that are to be kept from that get words of the new type, so that they go past
 * the lists. What others are just allocating or freeing is on its way between
 * them and the zone: while all sets are held it becomes a head, or free, and is
 * looked for again. (Who frees a page and has read its word, but not written it
 * yet, cannot be told from who holds it: that page may be parked once more.)
 */
static void retag(struct quire *q, uint32_t pageblock, enum quire_mobility type)
{
	pfn_t pfn = (pfn_t)(pageblock << BLOCK_ORDER);
	pfn_t end = pfn + BLOCK_UNITS;

	for (; pfn < end; pfn++) {
		struct quire_page *page;
		uint64_t word;

		if (!memmap_has_pfn(&q->map, pfn))
			continue;
		page = memmap_page(&q->map, pfn);
		word = page_word(page);
		while (page_is_head(word) && page_type(word) != type &&
		       !atomic_compare_exchange_weak_explicit(
			       &page->word, &word,
			       (word & ~page_tag(0, PAGE_TYPE_MASK)) |
				       page_tag(0, type),
			       memory_order_relaxed, memory_order_relaxed))
			;
	}
}

/* Whether some page of the block, which is whole or broken, is neither free nor
 * part of a live block. */
static bool has_page_in_flight(const struct quire *q, uint32_t pageblock)
{
	struct zone *zone = zone_of_block(q, pageblock);
	uint64_t pfn = (uint64_t)pageblock << BLOCK_ORDER;
	uint64_t end = pfn + BLOCK_UNITS;
	bool found = false;

	if (pfn < zone->first)
		pfn = zone->first;
	if (end > zone->end)
		end = zone->end;
	zone_lock_uncounted(zone);
	while (pfn < end && !found) {
		uint64_t word = page_word(memmap_page(&q->map, (pfn_t)pfn));

		if (page_is_head(word))
			pfn += UINT64_C(1) << page_order(word);
		else if (zone_page_is_free(zone, (pfn_t)pfn))
			pfn++;
		else
			found = true;
	}
	zone_unlock(zone);
	return found;
}

/* Part of a block of order 9 or more. */
static bool is_taken(const struct quire *q, uint32_t pageblock)
{
	struct zone *zone = zone_of_block(q, pageblock);
	bool taken;

	zone_lock_uncounted(zone);
	taken = !memmap_pageblock(&q->map, pageblock)->broken &&
		!zone_page_is_free(zone, (pfn_t)(pageblock << BLOCK_ORDER));
	zone_unlock(zone);
	return taken;
}

/* All or none, but for who allocates one of the blocks at this moment. */
static bool set_types(struct quire *q, uint32_t first, uint32_t end,
		      enum quire_mobility type)
{
	for (uint32_t block = first; block < end; block++)
		if (is_taken(q, block))
			return false;
	for (uint32_t block = first; block < end; block++)
		if (!zone_set_type(zone_of_block(q, block), block, type))
			return false;
	return true;
}

/* Gives words the new type, up to the first block with a page in flight, which
 * *first is then, or `end`. False: one was allocated whole since types were
 * set, and is nothing to wait for. */
static bool retag_all(struct quire *q, uint32_t *first, uint32_t end,
		      enum quire_mobility type)
{
	for (; *first < end; ++*first) {
		if (is_taken(q, *first))
			return false;
		retag(q, *first, type);
		/* A fork's child has pages that nobody will bring to an end. */
		if (!q->copied && has_page_in_flight(q, *first))
			break;
		/* What came to its end in between. */
		retag(q, *first, type);
	}
	return true;
}

/* Sets are held anew for each look: a thread may need them to come to an end
 * with its page. */
static int set_range(struct quire *q, uint32_t first, uint32_t end,
		     enum quire_mobility type)
{
	for (unsigned i = 0; first < end && i < LOOKS; i++) {
		/* No block is parked, or on its way back to the system, and
		 * what is freed meanwhile goes past the lists. */
		bool drained = allocator_hold(q);
		int error = drained ? 0 : errno;

		if (drained && i == 0 && !set_types(q, first, end, type))
			error = EBUSY;
		if (error == 0 && !retag_all(q, &first, end, type))
			error = EBUSY;
		allocator_release(q);
		/* Pages that could not be had before. */
		wait_queue_notify(&q->page_waiters);
		if (error)
			return error;
		if (first < end)
			platform_nap();
	}
	return first < end ? EBUSY : 0;
}

int quire_set_mobility(struct quire *q, uint64_t pfn, uint64_t pages,
		       enum quire_mobility type)
{
	const struct region *region = &q->map.region;
	int error;

	if (allocator_check_fork(q) != 0)
		return -1;
	if ((unsigned)type >= QUIRE_NR_TYPES || type == QUIRE_TYPE_HIGHATOMIC)
		return refuse_range(q, pfn, pages, type, EINVAL,
				    "not a type to be set");
	if (pages == 0 || pfn % BLOCK_UNITS || pages % BLOCK_UNITS ||
	    pfn < align_down(region->first, BLOCK_UNITS) ||
	    pfn >= region->end ||
	    pages > align_up(region->end, BLOCK_UNITS) - pfn)
		return refuse_range(q, pfn, pages, type, EINVAL,
				    "not whole 2 MiB blocks of the region");
	error = set_range(q, (uint32_t)(pfn >> BLOCK_ORDER),
			  (uint32_t)((pfn + pages) >> BLOCK_ORDER), type);
	if (error == EBUSY)
		return refuse_range(
			q, pfn, pages, type, EBUSY,
			"a live block of order 9 or more is in it, or "
			"a page is being allocated or freed");
	errno = error;
	return error ? -1 : 0;
}

int quire_mobility(const struct quire *q, uint64_t pfn)
{
	if (!memmap_has_pfn(&q->map, pfn)) {
		errno = EINVAL;
		return -1;
	}
	return zone_type(q->zone[zone_of(q, pfn)->id],
			 (uint32_t)(pfn >> BLOCK_ORDER));
}

int quire_zone_info(const struct quire *q, unsigned n,
		    struct quire_zone_info *info, size_t info_size)
{
	struct quire_zone_info all = { 0 };

	if (n >= q->nr_zones) {
		errno = EINVAL;
		return -1;
	}
	zone_describe(q->zone[n], &all);
	memset(info, 0, info_size);
	memcpy(info, &all, info_size < sizeof(all) ? info_size : sizeof(all));
	return 0;
}
