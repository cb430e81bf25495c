/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The invariants of a whole allocator.
 *
 * Each zone's tables by zone_validate(); then every page: it is free in its
 * zone, or belongs to exactly one block, live or parked, that is aligned, lies
 * inside the zone and has no free page; only the head of a block has a word
 * that says so. Then the lists: each entry is a parked block of that list, and
 * there are as many entries as parked blocks, so none is listed twice.
 */
#include "base/report.h"
#include "instance/allocator.h"

struct walk {
	struct quire *q;
	struct zone *zone;
	int violations;
	uint64_t parked_blocks;
};

#define violation(walk, ...)                                                   \
	do {                                                                   \
		report(&(walk)->q->reporter, "validate: " __VA_ARGS__);        \
		(walk)->violations++;                                          \
	} while (0)

/* The block whose head is at pfn; returns its pages. */
static uint64_t walk_block(struct walk *walk, pfn_t pfn, uint64_t word)
{
	uint64_t pages = UINT64_C(1) << page_order(word);

	if (page_order(word) > QUIRE_MAX_ORDER || pfn % pages ||
	    pfn < walk->zone->first || pfn + pages > walk->zone->end ||
	    page_zone(word) != walk->zone->id) {
		violation(walk,
			  "pfn %u: block of order %u, zone %u: misaligned or "
			  "outside zone %u",
			  pfn, page_order(word), page_zone(word),
			  walk->zone->id);
		return 1;
	}
	for (uint64_t i = 1; i < pages; i++) {
		pfn_t tail = (pfn_t)(pfn + i);
		uint64_t inner = page_word(memmap_page(&walk->q->map, tail));

		if ((inner & PAGE_KIND_MASK) != PAGE_FREE ||
		    zone_page_is_free(walk->zone, tail))
			violation(walk,
				  "pfn %u: inside the block of order %u at %u, "
				  "but %s, state 0x%llx",
				  tail, page_order(word), pfn,
				  zone_page_is_free(walk->zone, tail)
					  ? "free in its zone"
					  : "a head",
				  (unsigned long long)inner);
	}
	walk->parked_blocks += !page_is_head(word);
	return pages;
}

/*
 * In a child that works on a copy: a page that a thread of the parent was just
 * moving. It belongs to nobody for good.
 */
static bool left(const struct walk *walk, bool none)
{
	return none && walk->q->copied;
}

static void walk_zone(struct walk *walk)
{
	uint64_t pfn = walk->zone->first;

	while (pfn < walk->zone->end) {
		pfn_t at = (pfn_t)pfn;
		uint64_t word = page_word(memmap_page(&walk->q->map, at));
		bool none = (word & PAGE_KIND_MASK) == PAGE_FREE;

		if (zone_pageblock_is_untouched(walk->zone, at)) {
			pfn += BLOCK_UNITS;
			continue;
		}
		if (zone_page_is_free(walk->zone, at) != none &&
		    !left(walk, none))
			violation(walk, "pfn %u: %s in zone %u, state 0x%llx",
				  at, none ? "not free" : "free",
				  walk->zone->id, (unsigned long long)word);
		pfn += none ? 1 : walk_block(walk, at, word);
	}
}

/* Each entry of each list of one CPU; returns the entries. */
static uint64_t walk_set(struct walk *walk, struct pcp *pcp, uint32_t cpu)
{
	struct pcp_set *set = pcp_set(pcp, cpu);
	uint64_t entries = 0;

	if (!atomic_load_explicit(&set->open, memory_order_relaxed))
		return 0;
	for (unsigned list = 0; list < PCP_STACKS; list++) {
		uint32_t n = cpu_stack_count(cpu_stack_word(&set->stack[list]));
		const pfn_t *pfns =
			cpu_stack_items((char *)set, &set->stack[list]);
		unsigned most = pcp->high_max[list % PCP_LISTS / PCP_ORDERS]
					     [list % PCP_ORDERS];
		uint64_t expected =
			PAGE_PCP | list % PCP_ORDERS |
			page_tag(walk->zone->id, list % PCP_LISTS / PCP_ORDERS);

		for (uint32_t i = 0; i < n; i++) {
			uint64_t word =
				page_word(memmap_page(&walk->q->map, pfns[i]));

			if ((word & ~PAGE_ZERO) != expected)
				violation(walk,
					  "CPU %u, list %u, slot %u: pfn %u "
					  "has state 0x%llx, not 0x%llx",
					  cpu, list, i, pfns[i],
					  (unsigned long long)word,
					  (unsigned long long)expected);
		}
		if (n > most)
			violation(walk, "CPU %u, list %u: %u entries of %u",
				  cpu, list, n, most);
		entries += n;
	}
	return entries;
}

int quire_validate(struct quire *q)
{
	struct walk walk = { .q = q };

	if (allocator_check_fork(q) != 0)
		return -1;
	for (unsigned z = 0; z < q->nr_zones; z++) {
		uint64_t entries = 0, before = walk.parked_blocks;

		walk.zone = q->zone[z];
		if (zone_deferred_pages(walk.zone))
			zone_settle(walk.zone);
		walk.violations += (int)zone_validate(walk.zone);
		walk_zone(&walk);
		for (uint32_t cpu = 0; cpu < q->nr_cpus; cpu++)
			entries += walk_set(&walk, q->pcp[z], cpu);
		if (q->copied ? entries > walk.parked_blocks - before
			      : entries != walk.parked_blocks - before)
			violation(&walk,
				  "zone %u: %llu list entries, %llu parked "
				  "blocks",
				  z, (unsigned long long)entries,
				  (unsigned long long)(walk.parked_blocks -
						       before));
	}
	return walk.violations;
}
