/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The zone: which block serves, and the counts.
 *
 * Model. A zone is a range of pages. Each pageblock in it is in one of three
 * states:
 *   whole    its bit in the gigablock's map is clear; nothing else says so;
 *   broken   its bit is set and its entry is in use: the entry's map says which
 *            pages are free. It is on one list, or owned by a CPU, or has no
 *            free page;
 *   taken    its bit is set, its entry unused: part of a block of order 9 or
 *            more that is allocated. Blocks that do not lie wholly inside the
 *            zone are never whole: their bits are set from the start.
 * Gigablocks are on lists in the same way, by the largest free order.
 *
 * Policy. For order k, of the blocks whose largest free order is the smallest
 * that fits, the fullest: so whole blocks stay whole, and nearly empty ones
 * become whole. Fullness is known to 32 units (a bucket), or else a block would
 * change lists at every page. A block whose last page comes back returns to the
 * gigablock's map at once.
 *
 * Types. A broken block has a mobility type: what it is there for. Calls ask
 * for unmovable, movable or reclaimable pages, and are served, in this order,
 *   1. from a block of their type;
 *   2. from a whole block, which takes their type;
 *   3. from a block of another type that becomes theirs: of each type in the
 *      order of `fallbacks` the emptiest is looked at, and claimed if at least
 *      half of it is free or of the caller's type already;
 *   4. from a block of another type that stays so: the smallest run that fits.
 * So a block changes its type only if that brings more than it spoils. While
 * the zone is scattered (of the pages in broken blocks more than an eighth are
 * free) 3 comes before 2, and so does 4 between movable and reclaimable pages:
 * holes are filled before a whole block is broken, and types that can be
 * emptied may mix. On traces that keeps up to 24 points more of the ideal
 * whole. The search is cheap: the lists know which block is emptiest, and at
 * most one block of a type is looked into, and only if it is not half free by
 * itself. The other types are kept: blocks of theirs serve only calls that may
 * use them (QUIRE_ATOMIC, QUIRE_CMA; isolated ones nobody), and what is free in
 * them does not count for others. Nothing is ever claimed or stolen from them,
 * and they stay broken when they are wholly free. An allocation of larger order
 * that may use the high-atomic reserve adds its block to it, to 1 % of the
 * zone, if that leaves the others min.
 *
 * Floors. Every request says how many pages must stay free after it. It is
 * checked under the lock, page by page: no race takes a zone below.
 *
 * Gigablocks from `fresh` on have never been needed: they are whole, on no
 * list, their entries zero-filled. So creating a zone does not write them.
 *
 * Owned blocks. A CPU that takes single pages takes them from a pageblock it
 * has to itself, so that the map and the state words it writes stay in its
 * cache. An owned block is off the lists; its pages count as free. It is the
 * fullest listed block when it is taken, never one broken for the purpose, and
 * it goes back to the lists when it is empty, whole, idle, drained, or when
 * somebody else would fail. Zones of less than 8 blocks a CPU and type have no
 * owned blocks. Kept types are not owned.
 *
 * Frees without the lock (QUIRE_NOLOCK) go on a list, linked through the
 * blocks' private words, that whoever has the lock next frees before anything
 * else. So who has the lock sees all that was free when it took it. The list is
 * pushed to by compare-and-exchange and taken as a whole by exchange: there is
 * no ABA.
 *
 * Invariants (zone_validate checks them): free == free_whole + the sum of
 * free_type; entry->free == clear bits of its map; entry->largest is exact; a
 * broken block is listed (by type, largest, bucket) if and only if it has a
 * free page and no owner; no broken block of a calls' type is wholly free;
 * touched covers what is not free; idle blocks are whole.
 */
#include "base/schedule.h"
#include "platform/fault.h"
#include "zone/buddy.h"
#include "zone/zone_impl.h"

enum { OWNED_MIN_BLOCKS = 8 };
/* Pages: see judge_scatter(). */
enum { SCATTER_PART = 8, SCATTER_MIN = 8 << BLOCK_ORDER };
/* A scan holds the lock for this many pageblocks at a time. */
enum { SCAN_BLOCKS = 16 };

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

/* The lock's holder alone writes it. */
static void count_up(_Atomic uint64_t *counter)
{
	atomic_store_explicit(
		counter,
		atomic_load_explicit(counter, memory_order_relaxed) + 1,
		memory_order_relaxed);
}

void zone_lock(struct zone *zone)
{
	zone_lock_uncounted(zone);
	count_up(&zone->locks);
}

bool zone_try_lock(struct zone *zone)
{
	if (!lock_try(&zone->lock))
		return false;
	begin_hold(zone);
	count_up(&zone->locks);
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

/* The fullest listed pageblock of the smallest order that fits; NULL: none. */
static struct block *fullest(struct zone *zone, enum quire_mobility type,
			     unsigned order)
{
	const struct zone_lists *lists = &zone->lists[type];
	uint32_t fits = lists->orders >> order << order;

	if (fits == 0)
		return NULL;
	order = bits_lowest(fits);
	return memmap_pageblock(
		zone->map,
		lists->head[order][bits_lowest(lists->buckets[order])] - 1);
}

/* The emptiest of the largest order, if that fits. */
static struct block *emptiest(struct zone *zone, enum quire_mobility type,
			      unsigned order)
{
	const struct zone_lists *lists = &zone->lists[type];
	uint32_t fits = lists->orders >> order << order;

	if (fits == 0)
		return NULL;
	order = bits_highest(fits);
	return memmap_pageblock(
		zone->map,
		lists->head[order][bits_highest(lists->buckets[order])] - 1);
}

/* --- types --- */

/* Where a type goes when neither it nor a whole block has a run left. */
static const uint8_t fallbacks[NR_CALL_TYPES][NR_CALL_TYPES - 1] = {
	[QUIRE_TYPE_UNMOVABLE] = { QUIRE_TYPE_RECLAIMABLE, QUIRE_TYPE_MOVABLE },
	[QUIRE_TYPE_MOVABLE] = { QUIRE_TYPE_RECLAIMABLE, QUIRE_TYPE_UNMOVABLE },
	[QUIRE_TYPE_RECLAIMABLE] = { QUIRE_TYPE_UNMOVABLE, QUIRE_TYPE_MOVABLE },
};

/* Pages of the block that were handed out as that type; at the region's edges
 * the zone, and the page table, have it only in part. */
static unsigned count_alike(const struct zone *zone, const struct block *block,
			    enum quire_mobility type)
{
	uint64_t pfn = (uint64_t)memmap_pageblock_index(zone->map, block)
		       << BLOCK_ORDER;
	uint64_t end = pfn + BLOCK_UNITS;
	unsigned alike = 0;

	if (pfn < zone->first)
		pfn = zone->first;
	if (end > zone->end)
		end = zone->end;
	for (; pfn < end; pfn++) {
		uint64_t word = page_word(memmap_page(zone->map, (pfn_t)pfn));

		if ((word & PAGE_KIND_MASK) != PAGE_FREE &&
		    page_type(word) == type)
			alike += 1u << page_order(word);
	}
	return alike;
}

/* A block of another type that becomes one of this. */
static struct block *claim(struct zone *zone, const struct zone_ask *ask)
{
	for (unsigned i = 0; i < NR_CALL_TYPES - 1; i++) {
		struct block *block =
			emptiest(zone, fallbacks[ask->type][i], ask->order);

		if (!block ||
		    (block->free < BLOCK_UNITS / 2 &&
		     block->free + count_alike(zone, block, ask->type) <
			     BLOCK_UNITS / 2))
			continue;
		pageblock_set_type_locked(zone, block, ask->type);
		count_up(&zone->claims);
		return block;
	}
	return NULL;
}

/* Pages that can be given up or moved may lie in each other's blocks. */
static bool gets_on_with(enum quire_mobility type, enum quire_mobility other)
{
	return type != QUIRE_TYPE_UNMOVABLE && other != QUIRE_TYPE_UNMOVABLE;
}

/* A block of another type that serves and stays what it is. */
static struct block *lend(struct zone *zone, const struct zone_ask *ask,
			  bool any)
{
	for (unsigned i = 0; i < NR_CALL_TYPES - 1; i++) {
		enum quire_mobility other = fallbacks[ask->type][i];
		struct block *block = NULL;

		if (any || gets_on_with(ask->type, other))
			block = fullest(zone, other, ask->order);
		if (block) {
			count_up(&zone->steals);
			return block;
		}
	}
	return NULL;
}

/* In a scattered zone what is loose serves before a whole block is broken. */
static struct block *pick_loose(struct zone *zone, const struct zone_ask *ask)
{
	struct block *block = claim(zone, ask);

	return block ? block : lend(zone, ask, false);
}

/* There is no whole block left. */
static struct block *fall_back(struct zone *zone, const struct zone_ask *ask)
{
	struct block *block = NULL;

	if (zone->nr_owners) {
		zone_disown_all_locked(zone);
		block = fullest(zone, ask->type, ask->order);
	}
	if (block)
		return block;
	block = claim(zone, ask);
	if (!block)
		block = lend(zone, ask, true);
	if (block)
		watermark_boost(&zone->marks, BLOCK_UNITS);
	return block;
}

/* A block of a type that is kept for such as this call. */
static struct block *pick_kept(struct zone *zone, const struct zone_ask *ask)
{
	struct block *block = NULL;

	if (ask->order >= BLOCK_ORDER)
		return NULL;
	if (ask->may & ZONE_HIGHATOMIC && ask->order)
		block = fullest(zone, QUIRE_TYPE_HIGHATOMIC, ask->order);
	if (!block && ask->may & ZONE_CMA)
		block = fullest(zone, QUIRE_TYPE_CMA, ask->order);
	return block;
}

/* The broken pageblock that serves, orders 0 to 8, for a CPU. */
static struct block *pick_pageblock(struct zone *zone,
				    const struct zone_ask *ask, uint32_t cpu)
{
	bool owner = ask->order == 0 && cpu < zone->nr_owners;
	struct block *block;

	if (owner && *zone_owned(zone, cpu, ask->type))
		return memmap_pageblock(zone->map,
					*zone_owned(zone, cpu, ask->type) - 1);
	block = fullest(zone, ask->type, ask->order);
	if (block && owner)
		pageblock_own_locked(zone, block, cpu);
	if (!block && zone_is_scattered(zone))
		block = pick_loose(zone, ask);
	if (!block)
		block = pageblock_break_locked(zone, ask->type);
	return likely(block) ? block : fall_back(zone, ask);
}

static uint64_t usable(const struct zone *zone, unsigned may)
{
	uint64_t free =
		zone_free_pages(zone) - zone->free_type[QUIRE_TYPE_ISOLATED];

	if (!(may & ZONE_HIGHATOMIC))
		free -= zone->free_type[QUIRE_TYPE_HIGHATOMIC];
	if (!(may & ZONE_CMA))
		free -= zone->free_type[QUIRE_TYPE_CMA];
	return free;
}

/* How many blocks leave the floor's pages free. */
static unsigned above_floor(const struct zone *zone, const struct zone_ask *ask,
			    unsigned may, unsigned n)
{
	uint64_t free = usable(zone, may), most;

	if (free <= ask->floor)
		return 0;
	most = (free - ask->floor) >> ask->order;
	return most < n ? (unsigned)most : n;
}

/*
 * A zone too small for a block in each hundred keeps none. Nor does one that
 * would have less than min left: calls that may take of that are often such as
 * cannot dissolve the reserve. With min 0 nobody was promised anything.
 */
static bool may_keep(const struct zone *zone, const struct block *block)
{
	uint64_t hundredth = (zone->end - zone->first) / 100;

	return hundredth >= BLOCK_UNITS &&
	       zone->highatomic <
		       align_up(hundredth, BLOCK_UNITS) / BLOCK_UNITS &&
	       usable(zone, 0) - block->free >= zone->marks.min;
}

/* Of one hold: until there are enough, one pageblock after the other. */
enum { MAX_PARTS = ZONE_TAKE_WORDS - 1 + BUDDY_PARTS };

/* Up to n blocks; returns how many parts they are. */
static unsigned take_locked(struct zone *zone, const struct zone_ask *ask,
			    uint32_t cpu, unsigned n, struct zone_part *parts)
{
	unsigned nr = 0;

	n = above_floor(zone, ask, 0, n);
	while (n && nr < ZONE_TAKE_WORDS) {
		struct block *block;
		unsigned more;

		if (ask->order >= BLOCK_ORDER) {
			bool zero;

			if (!zone_alloc_run_locked(zone, ask->order,
						   &parts[nr].base, &zero))
				break;
			parts[nr].starts = 1;
			parts[nr].zero = zero;
			more = 1;
		} else {
			block = pick_pageblock(zone, ask, cpu);
			if (!block)
				break;
			more = pageblock_alloc_locked(zone, block, ask->order,
						      n, parts + nr);
		}
		while (more--)
			n -= bits_count(parts[nr++].starts);
	}
	return nr;
}

/* One block of a type that is kept for such calls; its pages count for them,
 * and only here. */
static unsigned take_kept(struct zone *zone, const struct zone_ask *ask,
			  struct zone_part *parts)
{
	struct block *block = pick_kept(zone, ask);

	if (!block || above_floor(zone, ask, ask->may, 1) == 0)
		return 0;
	return pageblock_alloc_locked(zone, block, ask->order, 1, parts);
}

/* The kept type that one block came from, which may have become one just now;
 * else the caller's. */
static enum quire_mobility kept_type(struct zone *zone,
				     const struct zone_ask *ask, pfn_t pfn)
{
	struct block *block = memmap_pageblock(zone->map, pfn >> BLOCK_ORDER);

	if (ask->order >= BLOCK_ORDER)
		return ask->type;
	if (ask->may & ZONE_HIGHATOMIC && ask->order &&
	    block->type < NR_CALL_TYPES && may_keep(zone, block))
		pageblock_set_type_locked(zone, block, QUIRE_TYPE_HIGHATOMIC);
	return block->type < NR_CALL_TYPES ? ask->type : block->type;
}

/* The pfns of a part, highest first; returns how many. */
static unsigned part_to_pfns(const struct zone_part *part, pfn_t *pfns)
{
	uint64_t starts = part->starts;
	unsigned n = 0;

	if (starts == ~UINT64_C(0)) {
		const pfn_t last = part->base + WORD_BITS - 1;

		for (unsigned i = 0; i < WORD_BITS; i++)
			pfns[i] = last - i;
		return WORD_BITS;
	}
	while (starts) {
		unsigned at = bits_highest(starts);

		pfns[n++] = part->base + at;
		starts ^= UINT64_C(1) << at;
	}
	return n;
}

/* Bit i % 64 of zero[i / 64], i from first on, for those of a part's pfns. */
static void mark_zero(const struct zone_part *part, const pfn_t *pfns,
		      unsigned first, unsigned end, uint64_t *zero)
{
	/* Memory that nobody had yet comes by whole words. */
	if (part->zero == ~UINT64_C(0) && first % WORD_BITS == 0) {
		zero[first / WORD_BITS] = part->zero;
		return;
	}
	for (unsigned i = first; i < end; i++)
		zero[i / WORD_BITS] |=
			(part->zero >> (pfns[i] - part->base) & 1)
			<< i % WORD_BITS;
}

/* Of parts, the first one last, as a stack wants them; returns how many. */
static unsigned parts_to_pfns(const struct zone_part *parts, unsigned nr,
			      unsigned wanted, pfn_t *pfns, uint64_t *zero)
{
	unsigned n = 0;

	for (unsigned i = 0; i < wanted; i += WORD_BITS)
		zero[i / WORD_BITS] = 0;
	while (nr--) {
		unsigned first = n;

		n += part_to_pfns(&parts[nr], pfns + n);
		if (parts[nr].zero)
			mark_zero(&parts[nr], pfns, first, n, zero);
	}
	return n;
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

/* --- the zone's own calls --- */

static unsigned take(struct zone *zone, const struct zone_ask *ask,
		     uint32_t cpu, unsigned n, struct zone_part *parts,
		     enum quire_mobility *kept)
{
	unsigned nr = 0;

	assert_debug(n <= ZONE_BATCH && ask->order <= QUIRE_MAX_ORDER &&
			     ask->type < NR_CALL_TYPES && (!ask->may || n == 1),
		     "n %u, order %u, type %u, may %u", n, ask->order,
		     ask->type, ask->may);
	*kept = ask->type;
	if (fault_hit(FAULT_ZONE))
		return 0;
	if (unlikely(ask->may))
		nr = take_kept(zone, ask, parts);
	if (nr == 0)
		nr = take_locked(zone, ask, cpu, n, parts);
	if (unlikely(ask->may) && nr)
		*kept = kept_type(zone, ask,
				  parts->base + bits_lowest(parts->starts));
	return nr;
}

unsigned zone_alloc_locked(struct zone *zone, const struct zone_ask *ask,
			   uint32_t cpu, unsigned n, pfn_t *pfns,
			   uint64_t *zero, enum quire_mobility *kept)
{
	struct zone_part parts[MAX_PARTS];
	unsigned nr;

	assert_debug(lock_held(&zone->lock), "zone %u: not locked", zone->id);
	nr = take(zone, ask, cpu, n, parts, kept);
	return parts_to_pfns(parts, nr, n, pfns, zero);
}

/* The same with a shorter hold: pfns are written when the lock is free. */
unsigned zone_alloc(struct zone *zone, const struct zone_ask *ask, uint32_t cpu,
		    unsigned n, pfn_t *pfns, uint64_t *zero,
		    enum quire_mobility *kept)
{
	struct zone_part parts[MAX_PARTS];
	unsigned nr;

	zone_lock(zone);
	nr = take(zone, ask, cpu, n, parts, kept);
	zone_unlock(zone);
	return parts_to_pfns(parts, nr, n, pfns, zero);
}

/* Frees a run of pages of any length inside one allocated block. */
static void give_tail(struct zone *zone, pfn_t pfn, uint64_t pages)
{
	while (pages) {
		unsigned order = bits_lowest(pfn | GIGABLOCK_PAGES);

		while (UINT64_C(1) << order > pages)
			order--;
		zone_free_locked(zone, order, pfn);
		pfn += (pfn_t)1 << order;
		pages -= UINT64_C(1) << order;
	}
}

bool zone_alloc_exact_locked(struct zone *zone, const struct zone_ask *ask,
			     uint64_t pages, pfn_t *pfn, bool *zero)
{
	bool taken = false;

	assert_debug(lock_held(&zone->lock) && !ask->may,
		     "zone %u: not locked, or may %u", zone->id, ask->may);
	if (fault_hit(FAULT_ZONE) || usable(zone, 0) < ask->floor + pages)
		return false;
	if (ask->order >= BLOCK_ORDER) {
		taken = zone_alloc_run_locked(zone, ask->order, pfn, zero);
		/* Single pages come back later: each kept pageblock needs its
		 * entry. */
		for (uint64_t at = 0; taken && at < pages; at += BLOCK_UNITS)
			pageblock_break_taken_locked(
				zone, (uint32_t)((*pfn + at) >> BLOCK_ORDER),
				ask->type);
	} else {
		struct block *block = pick_pageblock(zone, ask, UINT32_MAX);
		struct zone_part part;
		uint64_t clean;

		taken = block &&
			pageblock_alloc_locked(zone, block, ask->order, 1,
					       &part) == 1 &&
			parts_to_pfns(&part, 1, 1, pfn, &clean) == 1;
		*zero = taken && clean;
	}
	if (taken)
		give_tail(zone, (pfn_t)(*pfn + pages),
			  (UINT64_C(1) << ask->order) - pages);
	return taken;
}

bool zone_alloc_exact(struct zone *zone, const struct zone_ask *ask,
		      uint64_t pages, pfn_t *pfn, bool *zero)
{
	bool taken;

	zone_lock(zone);
	taken = zone_alloc_exact_locked(zone, ask, pages, pfn, zero);
	zone_unlock(zone);
	return taken;
}

/* One with free pages at least; it goes whole if it is wholly free. */
bool zone_unreserve_locked(struct zone *zone, enum quire_mobility type)
{
	struct block *block = emptiest(zone, QUIRE_TYPE_HIGHATOMIC, 0);

	assert_debug(lock_held(&zone->lock), "zone %u: not locked", zone->id);
	if (!block)
		return false;
	pageblock_set_type_locked(zone, block, type);
	if (block->free == BLOCK_UNITS)
		pageblock_return_locked(zone, block);
	return true;
}

static bool is_whole(struct zone *zone, uint32_t pageblock)
{
	const struct gigablock *giga = zone_gigablock_locked(zone, pageblock);
	unsigned unit = pageblock % BLOCK_UNITS;

	return !(giga->block.map[unit / WORD_BITS] >> unit % WORD_BITS & 1);
}

bool zone_set_type(struct zone *zone, uint32_t pageblock,
		   enum quire_mobility type)
{
	struct block *block = memmap_pageblock(zone->map, pageblock);
	bool ok = true;

	zone_lock_uncounted(zone);
	if (is_whole(zone, pageblock)) {
		if (type >= NR_CALL_TYPES)
			pageblock_keep_locked(zone, pageblock, type);
	} else if (block->broken) {
		if (block->owner)
			pageblock_disown_locked(zone, block);
		pageblock_set_type_locked(zone, block, type);
		if (block->free == BLOCK_UNITS && type < NR_CALL_TYPES)
			pageblock_return_locked(zone, block);
	} else {
		ok = false;
	}
	zone_unlock(zone);
	return ok;
}

int zone_type(struct zone *zone, uint32_t pageblock)
{
	const struct block *block = memmap_pageblock(zone->map, pageblock);
	int type;

	zone_lock_uncounted(zone);
	type = block->broken ? block->type : -1;
	zone_unlock(zone);
	return type;
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

void zone_disown(struct zone *zone, uint32_t cpu)
{
	if (cpu >= zone->nr_owners)
		return;
	zone_lock_uncounted(zone);
	for (unsigned type = 0; type < NR_CALL_TYPES; type++) {
		uint32_t owned = *zone_owned(zone, cpu, type);

		if (owned)
			pageblock_disown_locked(
				zone, memmap_pageblock(zone->map, owned - 1));
	}
	zone_unlock(zone);
}

void zone_disown_all(struct zone *zone)
{
	zone_lock_uncounted(zone);
	zone_disown_all_locked(zone);
	zone_unlock(zone);
}

/* --- init and scan --- */

size_t zone_gigablocks_bytes(pfn_t first, pfn_t end)
{
	uint64_t n = ((uint64_t)(end - 1) >> GIGABLOCK_ORDER) -
		     (first >> GIGABLOCK_ORDER) + 1;

	return (size_t)n * sizeof(struct gigablock);
}

size_t zone_owned_bytes(uint32_t owners)
{
	return (size_t)owners * NR_CALL_TYPES * sizeof(uint32_t);
}

void zone_init(struct zone *zone, unsigned id, pfn_t first, pfn_t end,
	       struct memmap *map, struct gigablock *gigablocks,
	       uint32_t *owned, uint32_t owners,
	       const struct reporter *reporter)
{
	uint32_t head = first >> BLOCK_ORDER;
	uint32_t tail = (end - 1) >> BLOCK_ORDER;

	lock_init(&zone->lock, LOCK_RANK_ZONE);
	zone->id = id;
	zone->map = map;
	zone->reporter = reporter;
	zone->first = first;
	zone->end = end;
	zone->gigablocks = gigablocks;
	zone->nr_gigablocks = (uint32_t)(zone_gigablocks_bytes(first, end) /
					 sizeof(*gigablocks));
	zone->owned = owned;
	if ((uint64_t)(tail - head + 1) / OWNED_MIN_BLOCKS >=
	    (uint64_t)owners * NR_CALL_TYPES)
		zone->nr_owners = owners;
	zone_blocks_init(zone);
}

uint64_t zone_usable_pages(struct zone *zone)
{
	uint64_t free;

	zone_lock_uncounted(zone);
	free = usable(zone, 0);
	zone_unlock(zone);
	return free;
}

void zone_describe(struct zone *zone, struct quire_zone_info *info)
{
	const struct watermarks *marks = &zone->marks;

	zone_lock_uncounted(zone);
	*info = (struct quire_zone_info){
		.node = zone->node,
		.kind = zone->kind,
		.first_pfn = zone->first,
		.pages = zone->end - zone->first,
		.free = zone_free_pages(zone),
		.free_whole = zone->free_whole,
		.min = marks->min,
		.low = marks->low,
		.high = marks->high,
		.boost = atomic_load_explicit(&marks->boost,
					      memory_order_relaxed),
		.claims = atomic_load(&zone->claims),
		.steals = atomic_load(&zone->steals),
	};
	for (unsigned i = 0; i < QUIRE_NR_TYPES; i++)
		info->free_type[i] = zone->free_type[i];
	for (unsigned i = 0; i < QUIRE_NR_ZONES; i++)
		info->reserve[i] = marks->reserve[i];
	zone_unlock(zone);
}

void zone_runs(struct zone *zone, uint64_t runs[QUIRE_NR_ORDERS])
{
	uint32_t at = zone->first >> BLOCK_ORDER;
	uint32_t end = (zone->end - 1) >> BLOCK_ORDER;

	for (uint32_t i = 0; i < zone->nr_gigablocks; i++) {
		uint32_t first = (zone_first_gigablock(zone) + i)
				 << BLOCK_ORDER;

		zone_lock_uncounted(zone);
		buddy_runs_locked(&zone_gigablock_locked(zone, first)->block,
				  runs + BLOCK_ORDER);
		zone_unlock(zone);
	}
	while (at <= end) {
		zone_lock_uncounted(zone);
		for (unsigned i = 0; i < SCAN_BLOCKS && at <= end; i++, at++) {
			struct block *block = memmap_pageblock(zone->map, at);

			if (block->broken)
				buddy_runs_locked(block, runs);
		}
		zone_unlock(zone);
	}
}
