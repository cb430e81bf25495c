/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The zone lock, and frees with it and without it.
 *
 * A hold begins with the blocks that were freed without the lock and ends with
 * the judgement whether the zone is scattered.
 *
 * zone_free() groups pfns into words, and fetches the entries that these will
 * change, before it takes the lock; one hold frees up to ZONE_GIVE_WORDS words.
 *
 * Invariant: when the lock is released, the count of free pages is that of
 * whole and of broken blocks. Debug builds check it.
 */
#include "base/schedule.h"
#include "zone/zone_impl.h"

/* Pages: see judge_scatter(). */
enum { SCATTER_PART = 8, SCATTER_MIN = 8 << BLOCK_ORDER };

/* --- the lock --- */

/* The lock has just been taken. */
static void begin_hold(struct zone *zone)
{
	if (unlikely(zone->timed))
		holds_begin(&zone->holds);
	zone_settle_locked(zone);
	schedule_point();
}

void zone_lock_uncounted(struct zone *zone)
{
	schedule_point();
	lock_acquire(&zone->lock);
	begin_hold(zone);
}

void zone_lock(struct zone *zone)
{
	zone_lock_uncounted(zone);
	counter_inc_locked(&zone->locks);
}

bool zone_try_lock(struct zone *zone)
{
	if (!lock_try(&zone->lock))
		return false;
	begin_hold(zone);
	counter_inc_locked(&zone->locks);
	return true;
}

/*
 * Scattered: of the pages in blocks that are not whole, more than an eighth are
 * free, beside the blocks that CPUs are just filling. Until it is half of that
 * again, so that it does not change all the time.
 */
static void judge_scatter(struct zone *zone)
{
	const uint32_t *free = zone->free_type;
	uint64_t loose = (uint64_t)free[QUIRE_TYPE_UNMOVABLE] +
			 free[QUIRE_TYPE_MOVABLE] +
			 free[QUIRE_TYPE_RECLAIMABLE];
	uint64_t used = zone->end - zone->first - zone->free_whole;
	uint64_t limit = used / SCATTER_PART + SCATTER_MIN;
	bool was = zone_is_scattered(zone);
	bool is = loose > (was ? limit / 2 : limit);

	if (unlikely(is != was))
		atomic_store_explicit(&zone->scattered, is,
				      memory_order_relaxed);
}

static uint64_t free_broken(const struct zone *zone)
{
	uint64_t sum = 0;

	for (unsigned type = 0; type < QUIRE_NR_TYPES; type++)
		sum += zone->free_type[type];
	return sum;
}

void zone_unlock(struct zone *zone)
{
	assert_debug(zone_free_pages(zone) ==
			     zone->free_whole + free_broken(zone),
		     "zone %u: %llu free, %u in whole and %llu in broken",
		     zone->id, (unsigned long long)zone_free_pages(zone),
		     zone->free_whole, (unsigned long long)free_broken(zone));
	judge_scatter(zone);
	schedule_point();
	if (unlikely(zone->timed))
		holds_end(&zone->holds);
	lock_release(&zone->lock);
}

void zone_time_holds(struct zone *zone)
{
	zone->timed = true;
}

void zone_holds(struct zone *zone, struct holds *sum)
{
	lock_acquire(&zone->lock);
	holds_merge(sum, &zone->holds);
	lock_release(&zone->lock);
}

/* --- frees --- */

/* One block of 2^order pages. */
static void free_block(struct zone *zone, unsigned order, pfn_t pfn)
{
	if (order < BLOCK_ORDER)
		pageblock_free_locked(zone, order, pfn);
	else
		zone_free_run_locked(zone, order, pfn);
}

void zone_free_locked(struct zone *zone, unsigned order, pfn_t pfn)
{
	assert_debug(lock_held(&zone->lock), "zone %u: not locked", zone->id);
	free_block(zone, order, pfn);
}

/* Whether the pfns of a word ascend by one; without a branch a pfn. */
static bool is_run(const pfn_t *pfns)
{
	pfn_t other = 0;

	for (unsigned i = 0; i < WORD_BITS; i++)
		other |= pfns[i] - pfns[0] - i;
	return other == 0;
}

/*
 * The blocks from *pfns on, as many as one hold frees; neighbours in one word
 * go back as one. Returns how many words.
 */
static unsigned group_by_word(unsigned order, const pfn_t **pfns,
			      const pfn_t *end, struct zone_free_word *words)
{
	const pfn_t *at = *pfns;
	unsigned nr = 0;

	while (at < end && nr < ZONE_GIVE_WORDS) {
		const pfn_t *first = at;
		const pfn_t base = *first & ~(pfn_t)(WORD_BITS - 1);
		uint64_t starts = 0;

		if (*at == base && end - at >= WORD_BITS && is_run(at)) {
			starts = ~UINT64_C(0);
			at += WORD_BITS;
		} else {
			do
				starts |= UINT64_C(1) << (*at++ - base);
			while (at < end && *at - base < WORD_BITS);
		}
		words[nr++] = (struct zone_free_word){
			.base = base,
			.n = (unsigned)(at - first) << order,
			.units = bits_fill(starts, order),
		};
	}
	*pfns = at;
	return nr;
}

/*
 * The entries that will be written are fetched before the lock is taken: in
 * random order every one is in another cache, or in none.
 */
static void fetch_entries(const struct zone *zone,
			  const struct zone_free_word *words, unsigned nr)
{
	uint32_t last = UINT32_MAX;

	for (unsigned i = 0; i < nr; i++) {
		uint32_t index = words[i].base >> BLOCK_ORDER;
		const struct block *block = memmap_pageblock(zone->map, index);

		if (index == last)
			continue;
		prefetch_to_write(block);
		prefetch_to_write(&block->touched);
		last = index;
	}
}

/* Orders of which several blocks lie in a word. */
static void give_words(struct zone *zone, unsigned order, unsigned n,
		       const pfn_t *pfns)
{
	const pfn_t *end = pfns + n;

	while (pfns < end) {
		struct zone_free_word words[ZONE_GIVE_WORDS];
		const pfn_t *first = pfns;
		unsigned nr = group_by_word(order, &pfns, end, words);

		fetch_entries(zone, words, nr);
		zone_lock(zone);
		zone_free_words_locked(zone, words, nr,
				       (pfns - first) << order);
		zone_unlock(zone);
	}
}

void zone_free(struct zone *zone, unsigned order, unsigned n, const pfn_t *pfns)
{
	assert_debug(order <= QUIRE_MAX_ORDER, "n %u, order %u", n, order);
	if (order < WORD_SHIFT) {
		give_words(zone, order, n, pfns);
		return;
	}
	for (unsigned i = 0; i < n;) {
		unsigned end =
			n - i < ZONE_GIVE_WORDS ? n : i + ZONE_GIVE_WORDS;

		zone_lock(zone);
		for (; i < end; i++)
			free_block(zone, order, pfns[i]);
		zone_unlock(zone);
	}
}

/* --- frees without the lock --- */

/* A block's private word, as nobody holds it: its order, and the next one. */
enum { DEFERRED_SHIFT = 32 };

void zone_free_deferred(struct zone *zone, unsigned order, pfn_t pfn)
{
	uint64_t list =
		atomic_load_explicit(&zone->deferred, memory_order_relaxed);
	uint64_t longer;

	do {
		zone->map->privates[pfn] =
			(uint64_t)order << DEFERRED_SHIFT | (uint32_t)list;
		longer = ((list >> DEFERRED_SHIFT) + (UINT64_C(1) << order))
				 << DEFERRED_SHIFT |
			 (uint32_t)(pfn + 1);
		schedule_point();
		/* release: who takes the list sees its links, and what the
		 * blocks' last holders wrote. */
	} while (!atomic_compare_exchange_weak_explicit(
		&zone->deferred, &list, longer, memory_order_release,
		memory_order_relaxed));
}

/* All at once, so that no block can be on the list again meanwhile. */
static noinline void free_deferred(struct zone *zone)
{
	uint32_t next = (uint32_t)atomic_exchange_explicit(
		&zone->deferred, 0, memory_order_acquire);

	while (next) {
		pfn_t pfn = next - 1;
		uint64_t link = zone->map->privates[pfn];

		assert_debug(link >> DEFERRED_SHIFT <= QUIRE_MAX_ORDER &&
				     pfn >= zone->first && pfn < zone->end,
			     "zone %u: pfn %u deferred, link 0x%llx", zone->id,
			     pfn, (unsigned long long)link);
		next = (uint32_t)link;
		free_block(zone, (unsigned)(link >> DEFERRED_SHIFT), pfn);
	}
}

void zone_settle_locked(struct zone *zone)
{
	if (unlikely(zone_deferred_pages(zone)))
		free_deferred(zone);
}

void zone_settle(struct zone *zone)
{
	zone_lock_uncounted(zone);
	zone_unlock(zone);
}
