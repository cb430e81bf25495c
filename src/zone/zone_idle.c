/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Blocks of a zone that nobody uses: how long they are free, and which of them
 * lost their memory.
 *
 * Age. Nothing is written when a block becomes whole or is broken up, but that
 * handing it out clears its `idle` bit, in a word that is written anyhow. Now
 * and then somebody looks through the zone (zone_look): what is whole gets its
 * bit, and the number of the look; what has it already was not touched since.
 * So a block is at least as old as the looks since then. Look numbers are bytes
 * and go round: what is older than OLDEST stays at that.
 *
 * `since` is 0 for memory that went back to the system and may be there still
 * (MADV_FREE): it need not go again. Memory that is gone for sure is not
 * touched, as at the beginning.
 *
 * Rank. Larger first: a block in a free run of order k (of 2^k blocks) before
 * any in a smaller one, whatever their ages; then the longer idle.
 */
#include "zone/buddy.h"
#include "zone/zone_impl.h"

enum { OLDEST = ZONE_LOOKS - 15 };
/* Used but for an eighth. */
enum { FULL = BLOCK_UNITS / 8 };

static void set_bit(uint64_t *map, unsigned unit, bool value)
{
	uint64_t bit = UINT64_C(1) << unit % WORD_BITS;

	if (value)
		map[unit / WORD_BITS] |= bit;
	else
		map[unit / WORD_BITS] &= ~bit;
}

static unsigned age_of(uint8_t since, uint8_t look)
{
	return look >= since ? look - since : look + ZONE_LOOKS - since;
}

static uint8_t look_before(uint8_t look, unsigned age)
{
	return (uint8_t)(look > age ? look - age : look + ZONE_LOOKS - age);
}

static void look_at(struct gigablock *giga, uint8_t look)
{
	for (unsigned w = 0; w < BLOCK_WORDS; w++) {
		uint64_t whole = ~giga->block.map[w] & giga->touched[w];
		uint64_t old = whole & giga->idle[w];
		uint64_t new = whole & ~giga->idle[w];

		for (; new; new &= new - 1)
			giga->since[w * WORD_BITS + bits_lowest(new)] = look;
		for (; old; old &= old - 1) {
			uint8_t *since =
				&giga->since[w * WORD_BITS + bits_lowest(old)];

			if (*since && age_of(*since, look) > OLDEST)
				*since = look_before(look, OLDEST);
		}
		giga->idle[w] |= whole;
	}
}

void zone_look(struct zone *zone, uint8_t look)
{
	for (uint32_t i = 0; i < zone->nr_gigablocks; i++) {
		zone_lock_uncounted(zone);
		if (i < zone->fresh)
			look_at(&zone->gigablocks[i], look);
		zone_unlock(zone);
	}
}

/* Order of the largest aligned free run that the unit is part of. */
static unsigned run_order(const uint64_t *map, unsigned unit)
{
	unsigned k = 0;

	while (k < BLOCK_ORDER) {
		unsigned first = unit >> (k + 1) << (k + 1);
		unsigned end = first + (2u << k);

		while (first < end && !map_has_bit(map, first))
			first++;
		if (first < end)
			break;
		k++;
	}
	return k;
}

/* best[] is sorted, the highest first. */
static void insert(struct zone_idle *best, unsigned n, struct zone_idle found)
{
	unsigned at = n;

	if (best[n - 1].rank >= found.rank)
		return;
	while (at > 0 && best[at - 1].rank < found.rank) {
		if (at < n)
			best[at] = best[at - 1];
		at--;
	}
	best[at] = found;
}

static bool is_after(const struct zone_idle *block,
		     const struct zone_idle *other)
{
	return block->rank < other->rank ||
	       (block->rank == other->rank &&
		block->pageblock > other->pageblock);
}

static void find_in(const struct gigablock *giga, uint32_t first,
		    const struct zone_idle_ask *ask, struct zone_idle *best,
		    unsigned n)
{
	/* The run that the last unit was in. */
	unsigned order = 0, end = 0;

	for (unsigned unit = 0; unit < BLOCK_UNITS; unit++) {
		bool idle = map_has_bit(giga->idle, unit);
		unsigned age = idle ? age_of(giga->since[unit], ask->look) : 0;
		struct zone_idle found = { .pageblock = first + unit };

		if (map_has_bit(giga->block.map, unit) ||
		    !map_has_bit(giga->touched, unit) ||
		    (idle && giga->since[unit] == 0) || age < ask->min_age)
			continue;
		if (unit >= end) {
			order = run_order(giga->block.map, unit);
			end = (unit >> order << order) + (1u << order);
		}
		found.rank = (uint16_t)((order + 1) << 8 | age);
		if (is_after(&found, &ask->after))
			insert(best, n, found);
	}
}

void zone_find_idle(struct zone *zone, const struct zone_idle_ask *ask,
		    struct zone_idle *best, unsigned n)
{
	for (uint32_t i = 0; i < zone->nr_gigablocks; i++) {
		uint32_t first = (zone_first_gigablock(zone) + i)
				 << BLOCK_ORDER;

		zone_lock_uncounted(zone);
		if (i < zone->fresh)
			find_in(&zone->gigablocks[i], first, ask, best, n);
		zone_unlock(zone);
	}
}

bool zone_take_idle(struct zone *zone, uint32_t pageblock)
{
	unsigned unit = pageblock % BLOCK_UNITS;
	const struct gigablock *giga;
	bool ok;

	zone_lock_uncounted(zone);
	giga = zone_gigablock_locked(zone, pageblock);
	ok = !map_has_bit(giga->block.map, unit) &&
	     map_has_bit(giga->touched, unit);
	if (ok)
		zone_take_whole_locked(zone, pageblock);
	zone_unlock(zone);
	return ok;
}

void zone_put_gone(struct zone *zone, uint32_t pageblock, bool fresh)
{
	unsigned unit = pageblock % BLOCK_UNITS;
	struct gigablock *giga;

	zone_lock_uncounted(zone);
	giga = zone_gigablock_locked(zone, pageblock);
	zone_give_whole_locked(zone, pageblock);
	set_bit(giga->touched, unit, !fresh);
	set_bit(giga->idle, unit, !fresh);
	giga->since[unit] = 0;
	set_bit(giga->lost, unit, true);
	zone_unlock(zone);
}

void zone_put_kept(struct zone *zone, uint32_t pageblock, uint8_t look)
{
	unsigned unit = pageblock % BLOCK_UNITS;
	struct gigablock *giga;

	zone_lock_uncounted(zone);
	giga = zone_gigablock_locked(zone, pageblock);
	zone_give_whole_locked(zone, pageblock);
	if (look) {
		set_bit(giga->idle, unit, true);
		giga->since[unit] = look;
	}
	zone_unlock(zone);
}

/* Whole pageblocks that have memory: handed out once, and not gone since. */
static unsigned backed_blocks(const struct gigablock *giga)
{
	unsigned n = 0;

	for (unsigned w = 0; w < BLOCK_WORDS; w++) {
		uint64_t whole = ~giga->block.map[w] & giga->touched[w];
		uint64_t idle = whole & giga->idle[w];

		n += bits_count(whole);
		for (; idle; idle &= idle - 1)
			n -= giga->since[w * WORD_BITS + bits_lowest(idle)] ==
			     0;
	}
	return n;
}

uint64_t zone_backed_pages(struct zone *zone)
{
	uint64_t pages = 0;

	for (uint32_t i = 0; i < zone->nr_gigablocks; i++) {
		zone_lock_uncounted(zone);
		if (i == 0)
			pages = zone_free_pages(zone) - zone->free_whole;
		if (i < zone->fresh)
			pages += (uint64_t)backed_blocks(&zone->gigablocks[i])
				 << BLOCK_ORDER;
		zone_unlock(zone);
	}
	return pages;
}

/* Live as a whole, or broken with few pages free. */
static bool in_full_use(struct zone *zone, const struct gigablock *giga,
			uint32_t pageblock)
{
	const struct block *block = memmap_pageblock(zone->map, pageblock);

	if (!map_has_bit(giga->block.map, pageblock % BLOCK_UNITS))
		return false;
	return !block->broken || block->free <= FULL;
}

unsigned zone_find_lost(struct zone *zone, uint32_t *next, uint32_t *blocks,
			unsigned n)
{
	const uint32_t end = (zone->end - 1) >> BLOCK_ORDER;
	uint32_t at = *next;
	unsigned found = 0;

	if (at < zone->first >> BLOCK_ORDER)
		at = zone->first >> BLOCK_ORDER;
	while (at <= end && found < n) {
		const struct gigablock *giga = gigablock_of(zone, at);
		uint32_t stop = (at | (BLOCK_UNITS - 1)) + 1;

		zone_lock_uncounted(zone);
		/* From here on nothing was ever handed out. */
		if (giga >= zone->gigablocks + zone->fresh)
			at = end + 1;
		for (; at < stop && at <= end && found < n; at++)
			if (map_has_bit(giga->lost, at % BLOCK_UNITS) &&
			    in_full_use(zone, giga, at))
				blocks[found++] = at;
		zone_unlock(zone);
	}
	*next = at <= end ? at : UINT32_MAX;
	return found;
}

void zone_regained(struct zone *zone, uint32_t pageblock)
{
	zone_lock_uncounted(zone);
	set_bit(zone_gigablock_locked(zone, pageblock)->lost,
		pageblock % BLOCK_UNITS, false);
	zone_unlock(zone);
}
