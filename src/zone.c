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
 * Gigablocks from `fresh` on have never been needed: they are whole, on no
 * list, their entries zero-filled. So creating a zone does not write them.
 *
 * Owned blocks. A CPU that takes single pages takes them from a pageblock it
 * has to itself, so that the map and the state words it writes stay in its
 * cache. An owned block is off the lists; its pages count as free. It is the
 * fullest listed block when it is taken, never one broken for the purpose, and
 * it goes back to the lists when it is empty, whole, idle, drained, or when
 * somebody else would fail. Zones of less than 8 blocks a CPU and type have no
 * owned blocks.
 *
 * Frees without the lock (QUIRE_NOLOCK) go on a list, linked through the
 * blocks' private words, that whoever has the lock next frees before anything
 * else. So who has the lock sees all that was free when it took it. The list is
 * pushed to by compare-and-exchange and taken as a whole by exchange: there is
 * no ABA.
 *
 * Invariants (zone_validate checks them): free == free_whole + free_broken;
 * entry->free == clear bits of its map; entry->largest is exact; a broken block
 * is listed (by largest, bucket) if and only if it has a free page and no
 * owner; no broken block is wholly free; touched covers what is not free.
 */
#include "zone.h"

#include "buddy.h"

enum { OWNED_MIN_BLOCKS = 8 };
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

static void lock_zone(struct zone *zone)
{
	schedule_point();
	lock_acquire(&zone->lock);
	begin_hold(zone);
}

static void count_hold(struct zone *zone)
{
	atomic_store_explicit(
		&zone->locks,
		atomic_load_explicit(&zone->locks, memory_order_relaxed) + 1,
		memory_order_relaxed);
}

void zone_lock(struct zone *zone)
{
	lock_zone(zone);
	count_hold(zone);
}

bool zone_try_lock(struct zone *zone)
{
	if (!lock_try(&zone->lock))
		return false;
	begin_hold(zone);
	count_hold(zone);
	return true;
}

void zone_unlock(struct zone *zone)
{
	assert_debug(zone_free_pages(zone) ==
			     zone->free_whole + zone->free_broken,
		     "zone %u: %llu free, %llu in whole and %llu in broken",
		     zone->id, (unsigned long long)zone_free_pages(zone),
		     (unsigned long long)zone->free_whole,
		     (unsigned long long)zone->free_broken);
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

static void count_free(struct zone *zone, uint64_t *where, int64_t pages)
{
	*where += (uint64_t)pages;
	atomic_store_explicit(&zone->free,
			      zone_free_pages(zone) + (uint64_t)pages,
			      memory_order_relaxed);
}

/* --- entries --- */

static uint32_t first_gigablock(const struct zone *zone)
{
	return (uint32_t)(zone->first >> GIGABLOCK_ORDER);
}

static struct gigablock *gigablock_of(struct zone *zone, uint32_t pageblock)
{
	return zone->gigablocks +
	       ((pageblock >> BLOCK_ORDER) - first_gigablock(zone));
}

/* A list's entries are pageblocks or gigablocks, by its order. */
static struct block *entry_at(struct zone *zone, unsigned order, uint32_t index)
{
	if (order < BLOCK_ORDER)
		return memmap_pageblock(zone->map, index);
	return &zone->gigablocks[index].block;
}

static uint32_t entry_index(struct zone *zone, unsigned order,
			    const struct block *block)
{
	if (order < BLOCK_ORDER)
		return memmap_pageblock_index(zone->map, block);
	return (uint32_t)((const struct gigablock *)(const void *)block -
			  zone->gigablocks);
}

/* --- lists --- */

static unsigned bucket_of(const struct block *block)
{
	return (block->free - 1u) / (BLOCK_UNITS / NR_BUCKETS);
}

/* `level` is 0 for pageblocks and BLOCK_ORDER for gigablocks. */
static void list_add(struct zone *zone, struct block *block, unsigned level)
{
	struct zone_lists *lists = &zone->lists[block->type];
	unsigned order = level + block->largest - 1;
	unsigned bucket = bucket_of(block);
	uint32_t *head = &lists->head[order][bucket];
	uint32_t link = entry_index(zone, level, block) + 1;

	block->bucket = (uint8_t)(bucket + 1);
	block->prev = 0;
	block->next = *head;
	if (*head)
		entry_at(zone, level, *head - 1)->prev = link;
	*head = link;
	lists->buckets[order] |= (uint16_t)(1u << bucket);
	lists->orders |= 1u << order;
}

static void list_remove(struct zone *zone, struct block *block, unsigned level)
{
	struct zone_lists *lists = &zone->lists[block->type];
	unsigned order = level + block->largest - 1;
	unsigned bucket = block->bucket - 1u;
	uint32_t *head = &lists->head[order][bucket];

	if (block->next)
		entry_at(zone, level, block->next - 1)->prev = block->prev;
	if (block->prev)
		entry_at(zone, level, block->prev - 1)->next = block->next;
	else
		*head = block->next;
	if (*head == 0) {
		lists->buckets[order] &= (uint16_t) ~(1u << bucket);
		if (lists->buckets[order] == 0)
			lists->orders &= ~(1u << order);
	}
	block->bucket = 0;
}

static noinline void list_move(struct zone *zone, struct block *block,
			       unsigned level, unsigned largest)
{
	if (block->bucket)
		list_remove(zone, block, level);
	block->largest = (uint8_t)largest;
	if (block->free && !block->owner)
		list_add(zone, block, level);
}

/*
 * After a block's free units or largest order changed: the new largest, and the
 * list that goes with it. A block that is on no list has bucket 0.
 */
static inline void list_update(struct zone *zone, struct block *block,
			       unsigned level, unsigned largest)
{
	bool stays = block->largest == largest && block->free &&
		     bucket_of(block) + 1 == block->bucket;

	if (!stays)
		list_move(zone, block, level, largest);
}

/* The fullest listed entry of the smallest order that fits; NULL: none. */
static struct block *fullest(struct zone *zone, enum mobility type,
			     unsigned order, unsigned end_order)
{
	struct zone_lists *lists = &zone->lists[type];
	uint64_t fits = lists->orders & bits_range(order, end_order - order);
	unsigned bucket;

	if (fits == 0)
		return NULL;
	order = bits_lowest(fits);
	bucket = bits_lowest(lists->buckets[order]);
	return entry_at(zone, order, lists->head[order][bucket] - 1);
}

/* --- gigablocks: orders 9 to 18 --- */

/* Sets the bits of pageblocks that do not lie wholly inside the zone. */
static void start_gigablock(struct zone *zone, uint32_t index)
{
	struct block *block = &zone->gigablocks[index].block;
	uint64_t unit = (uint64_t)(first_gigablock(zone) + index)
			<< BLOCK_ORDER;

	block->free = 0;
	for (unsigned i = 0; i < BLOCK_UNITS; i++, unit++) {
		uint64_t first = unit << BLOCK_ORDER;

		if (first >= zone->first && first + BLOCK_UNITS <= zone->end)
			block->free++;
		else
			block->map[i / WORD_BITS] |= UINT64_C(1)
						     << i % WORD_BITS;
	}
	list_update(zone, block, BLOCK_ORDER, buddy_largest_locked(block));
}

/* The gigablock that serves this order, 9 to 18. */
static struct gigablock *pick_gigablock(struct zone *zone, unsigned order)
{
	struct block *block;

	/* Gigablocks have no type: they are on the first type's lists. */
	while (!(block = fullest(zone, 0, order, QUIRE_NR_ORDERS))) {
		if (zone->fresh == zone->nr_gigablocks)
			return NULL;
		start_gigablock(zone, zone->fresh++);
	}
	return (struct gigablock *)(void *)block;
}

/* Marks a run of pageblocks as touched; true if none of it was before. */
static bool touch_pageblocks(struct zone *zone, struct gigablock *giga,
			     unsigned unit, unsigned n)
{
	uint64_t before = 0;

	while (n) {
		unsigned at = unit % WORD_BITS;
		unsigned here = n < WORD_BITS - at ? n : WORD_BITS - at;
		uint64_t bits = bits_range(at, here);

		before |= giga->touched[unit / WORD_BITS] & bits;
		giga->touched[unit / WORD_BITS] |= bits;
		unit += here;
		n -= here;
	}
	return before == 0 && zone->map->region.known_zero;
}

/* Takes one run of 2^order pages, order 9 to 18. */
static bool take_pageblocks(struct zone *zone, unsigned order, pfn_t *pfn,
			    bool *zero)
{
	struct gigablock *giga = pick_gigablock(zone, order);
	struct buddy_part part;
	unsigned largest, unit, nr;

	if (!giga)
		return false;
	largest = buddy_take_locked(&giga->block, order - BLOCK_ORDER, 1, &part,
				    &nr);
	unit = part.word * WORD_BITS + bits_lowest(part.starts);
	list_update(zone, &giga->block, BLOCK_ORDER, largest);
	count_free(zone, &zone->free_whole, -(INT64_C(1) << order));
	*zero = touch_pageblocks(zone, giga, unit, 1u << (order - BLOCK_ORDER));
	*pfn = (pfn_t)(((uint64_t)(first_gigablock(zone) +
				   (giga - zone->gigablocks))
			<< GIGABLOCK_ORDER) +
		       (unit << BLOCK_ORDER));
	return true;
}

/* Gives back a run of 2^order pages, order 9 to 18. */
static void give_pageblocks(struct zone *zone, unsigned order, pfn_t pfn)
{
	uint32_t pageblock = pfn >> BLOCK_ORDER;
	struct block *block = &gigablock_of(zone, pageblock)->block;

	list_update(zone, block, BLOCK_ORDER,
		    buddy_give_locked(block, pageblock % BLOCK_UNITS,
				      order - BLOCK_ORDER));
	count_free(zone, &zone->free_whole, INT64_C(1) << order);
}

/* --- pageblocks: orders 0 to 8 --- */

/* Takes an entry into use; free and touched are the caller's to set. */
static void start_pageblock(struct block *block, enum mobility type,
			    uint64_t map)
{
	for (unsigned w = 0; w < BLOCK_WORDS; w++)
		block->map[w] = map;
	block->largest = 0;
	block->type = (uint8_t)type;
	block->broken = true;
	block->owner = 0;
	block->bucket = 0;
}

/* A whole pageblock becomes a broken one with all its pages free. */
static struct block *break_pageblock(struct zone *zone, enum mobility type)
{
	bool zero;
	struct block *block;
	pfn_t pfn;

	if (!take_pageblocks(zone, BLOCK_ORDER, &pfn, &zero))
		return NULL;
	block = memmap_pageblock(zone->map, pfn >> BLOCK_ORDER);
	if (!zero)
		block->touched = ~UINT64_C(0);
	start_pageblock(block, type, 0);
	block->free = BLOCK_UNITS;
	block->largest = BLOCK_ORDER + 1;
	count_free(zone, &zone->free_broken, BLOCK_UNITS);
	return block;
}

/* A broken pageblock whose pages are all free becomes whole again. */
static void return_pageblock(struct zone *zone, struct block *block)
{
	uint32_t index = memmap_pageblock_index(zone->map, block);

	if (block->bucket)
		list_remove(zone, block, 0);
	block->broken = false;
	count_free(zone, &zone->free_broken, -(int64_t)BLOCK_UNITS);
	give_pageblocks(zone, BLOCK_ORDER, (pfn_t)(index << BLOCK_ORDER));
}

static uint32_t *owned_by(struct zone *zone, uint32_t cpu, enum mobility type)
{
	return zone->owned + (size_t)cpu * NR_MOBILITY + type;
}

static void disown(struct zone *zone, struct block *block)
{
	*owned_by(zone, block->owner - 1u, block->type) = 0;
	block->owner = 0;
	list_update(zone, block, 0, block->largest);
}

static void own(struct zone *zone, struct block *block, uint32_t cpu)
{
	list_remove(zone, block, 0);
	block->owner = (uint16_t)(cpu + 1);
	*owned_by(zone, cpu, block->type) =
		memmap_pageblock_index(zone->map, block) + 1;
}

static void disown_all(struct zone *zone)
{
	for (uint32_t i = 0; i < zone->nr_owners * NR_MOBILITY; i++)
		if (zone->owned[i])
			disown(zone,
			       memmap_pageblock(zone->map, zone->owned[i] - 1));
}

/* The broken pageblock that serves this order, 0 to 8, for a CPU. */
static struct block *pick_pageblock(struct zone *zone, unsigned order,
				    enum mobility type, uint32_t cpu)
{
	bool owner = order == 0 && cpu < zone->nr_owners;
	struct block *block;

	if (owner && *owned_by(zone, cpu, type))
		return memmap_pageblock(zone->map,
					*owned_by(zone, cpu, type) - 1);
	block = fullest(zone, type, order, BLOCK_ORDER);
	if (block && owner)
		own(zone, block, cpu);
	if (!block)
		block = break_pageblock(zone, type);
	if (!block && zone->nr_owners) {
		disown_all(zone);
		block = fullest(zone, type, order, BLOCK_ORDER);
	}
	return block;
}

/* Blocks of one order that begin in the same 64 pages; bits from base on. */
struct part {
	pfn_t base;
	uint64_t starts;
	uint64_t zero; /* starts of blocks that were never handed out */
};

/*
 * Marks the pages of a part as touched, in groups of 8; the starts of blocks of
 * which no group was touched in `before`, as the block was when this hold of
 * the lock began: neighbours of one batch do not spoil each other.
 */
static uint64_t touch_pages(struct zone *zone, struct block *block,
			    uint64_t before, unsigned order,
			    const struct buddy_part *part)
{
	unsigned at = part->word * (WORD_BITS / 8);
	uint64_t groups, spoilt;

	if (before == ~UINT64_C(0))
		return 0;
	if (order < WORD_SHIFT) {
		groups = bits_of_bytes(bits_fill(part->starts, order));
		block->touched |= groups << at;
		spoilt = bytes_of_bits(before >> at & 0xff);
		spoilt = part->starts & ~bits_runs(~spoilt, order);
	} else {
		groups = bits_range(at, 1u << (order - 3));
		block->touched |= groups;
		spoilt = before & groups ? part->starts : 0;
	}
	return zone->map->region.known_zero ? part->starts & ~spoilt : 0;
}

/*
 * Takes up to n blocks from one pageblock, which follows on its lists; returns
 * how many parts they are.
 */
static unsigned take_pages(struct zone *zone, struct block *block,
			   unsigned order, unsigned n, struct part *parts)
{
	pfn_t first = (pfn_t)(memmap_pageblock_index(zone->map, block)
			      << BLOCK_ORDER);
	struct buddy_part taken[BUDDY_PARTS];
	uint64_t before = block->touched;
	unsigned free = block->free, nr;
	unsigned largest = buddy_take_locked(block, order, n, taken, &nr);

	for (unsigned i = 0; i < nr; i++)
		parts[i] = (struct part){
			.base = first + taken[i].word * WORD_BITS,
			.starts = taken[i].starts,
			.zero = touch_pages(zone, block, before, order,
					    &taken[i]),
		};
	count_free(zone, &zone->free_broken,
		   (int64_t)block->free - (int64_t)free);
	list_update(zone, block, 0, largest);
	if (block->owner && block->free == 0)
		disown(zone, block);
	return nr;
}

/* Of one hold: until there are enough, one pageblock after the other. */
enum { MAX_PARTS = ZONE_TAKE_WORDS - 1 + BUDDY_PARTS };

/* Up to n blocks; returns how many parts they are. */
static unsigned take_locked(struct zone *zone, unsigned order,
			    enum mobility type, uint32_t cpu, unsigned n,
			    struct part *parts)
{
	unsigned nr = 0;

	while (n && nr < ZONE_TAKE_WORDS) {
		struct block *block;
		unsigned more;

		if (order >= BLOCK_ORDER) {
			bool zero;

			if (!take_pageblocks(zone, order, &parts[nr].base,
					     &zero))
				break;
			parts[nr].starts = 1;
			parts[nr].zero = zero;
			more = 1;
		} else {
			block = pick_pageblock(zone, order, type, cpu);
			if (!block)
				break;
			more = take_pages(zone, block, order, n, parts + nr);
		}
		while (more--)
			n -= bits_count(parts[nr++].starts);
	}
	return nr;
}

/* The pfns of a part, highest first; returns how many. */
static unsigned part_to_pfns(const struct part *part, pfn_t *pfns)
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
static void mark_zero(const struct part *part, const pfn_t *pfns,
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
static unsigned parts_to_pfns(const struct part *parts, unsigned nr,
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

/* Blocks to free that lie in the same 64 pages. */
struct free_word {
	pfn_t base;
	unsigned n; /* units */
	uint64_t units;
};

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
			      const pfn_t *end, struct free_word *words)
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
		words[nr++] = (struct free_word){
			.base = base,
			.n = (unsigned)(at - first) << order,
			.units = bits_fill(starts, order),
		};
	}
	*pfns = at;
	return nr;
}

/* After pages came back. */
static void pages_given(struct zone *zone, struct block *block,
			unsigned largest)
{
	if (block->free == BLOCK_UNITS) {
		if (block->owner) {
			*owned_by(zone, block->owner - 1u, block->type) = 0;
			block->owner = 0;
		}
		return_pageblock(zone, block);
		return;
	}
	list_update(zone, block, 0, largest);
}

/* Its pages were counted already. */
static void give_word(struct zone *zone, const struct free_word *word)
{
	struct block *block =
		memmap_pageblock(zone->map, word->base >> BLOCK_ORDER);

	pages_given(zone, block,
		    buddy_give_word_locked(block,
					   word->base % BLOCK_UNITS / WORD_BITS,
					   word->units, word->n));
}

/* One block of 2^order pages. */
static void give_block(struct zone *zone, unsigned order, pfn_t pfn)
{
	struct block *block;

	if (order >= BLOCK_ORDER) {
		give_pageblocks(zone, order, pfn);
		return;
	}
	block = memmap_pageblock(zone->map, pfn >> BLOCK_ORDER);
	count_free(zone, &zone->free_broken, INT64_C(1) << order);
	pages_given(zone, block,
		    buddy_give_locked(block, pfn % BLOCK_UNITS, order));
}

void zone_free_locked(struct zone *zone, unsigned order, pfn_t pfn)
{
	assert_debug(lock_held(&zone->lock), "zone %u: not locked", zone->id);
	give_block(zone, order, pfn);
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
		give_block(zone, (unsigned)(link >> DEFERRED_SHIFT), pfn);
	}
}

void zone_settle_locked(struct zone *zone)
{
	if (unlikely(zone_deferred_pages(zone)))
		free_deferred(zone);
}

void zone_settle(struct zone *zone)
{
	lock_zone(zone);
	zone_unlock(zone);
}

/*
 * The entries that will be written are fetched before the lock is taken: in
 * random order every one is in another cache, or in none.
 */
static void fetch_entries(const struct zone *zone,
			  const struct free_word *words, unsigned nr)
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

unsigned zone_alloc_locked(struct zone *zone, unsigned order,
			   enum mobility type, uint32_t cpu, unsigned n,
			   pfn_t *pfns, uint64_t *zero)
{
	struct part parts[MAX_PARTS];
	unsigned nr;

	assert_debug(n <= ZONE_BATCH && order <= QUIRE_MAX_ORDER,
		     "n %u, order %u", n, order);
	assert_debug(lock_held(&zone->lock), "zone %u: not locked", zone->id);
	if (fault_hit(FAULT_ZONE))
		return 0;
	nr = take_locked(zone, order, type, cpu, n, parts);
	return parts_to_pfns(parts, nr, n, pfns, zero);
}

/* The same with a shorter hold: pfns are written when the lock is free. */
unsigned zone_alloc(struct zone *zone, unsigned order, enum mobility type,
		    uint32_t cpu, unsigned n, pfn_t *pfns, uint64_t *zero)
{
	struct part parts[MAX_PARTS];
	unsigned nr = 0;

	assert_debug(n <= ZONE_BATCH && order <= QUIRE_MAX_ORDER,
		     "n %u, order %u", n, order);
	zone_lock(zone);
	if (!fault_hit(FAULT_ZONE))
		nr = take_locked(zone, order, type, cpu, n, parts);
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
		give_block(zone, order, pfn);
		pfn += (pfn_t)1 << order;
		pages -= UINT64_C(1) << order;
	}
}

/* A pageblock of a taken run that is kept in part: broken, nothing free. */
static void break_taken(struct zone *zone, uint32_t index, enum mobility type)
{
	struct block *block = memmap_pageblock(zone->map, index);

	start_pageblock(block, type, ~UINT64_C(0));
	block->touched = ~UINT64_C(0);
	block->free = 0;
}

bool zone_alloc_exact_locked(struct zone *zone, unsigned order,
			     enum mobility type, uint64_t pages, pfn_t *pfn,
			     bool *zero)
{
	bool taken = false;

	assert_debug(lock_held(&zone->lock), "zone %u: not locked", zone->id);
	if (fault_hit(FAULT_ZONE))
		return false;
	if (order >= BLOCK_ORDER) {
		taken = take_pageblocks(zone, order, pfn, zero);
		/* Single pages come back later: each kept pageblock needs its
		 * entry. */
		for (uint64_t at = 0; taken && at < pages; at += BLOCK_UNITS)
			break_taken(zone,
				    (uint32_t)((*pfn + at) >> BLOCK_ORDER),
				    type);
	} else {
		struct block *block =
			pick_pageblock(zone, order, type, UINT32_MAX);
		struct part part;
		uint64_t clean;

		taken = block &&
			take_pages(zone, block, order, 1, &part) == 1 &&
			parts_to_pfns(&part, 1, 1, pfn, &clean) == 1;
		*zero = taken && clean;
	}
	if (taken)
		give_tail(zone, (pfn_t)(*pfn + pages),
			  (UINT64_C(1) << order) - pages);
	return taken;
}

bool zone_alloc_exact(struct zone *zone, unsigned order, enum mobility type,
		      uint64_t pages, pfn_t *pfn, bool *zero)
{
	bool taken;

	zone_lock(zone);
	taken = zone_alloc_exact_locked(zone, order, type, pages, pfn, zero);
	zone_unlock(zone);
	return taken;
}

/* Orders of which several blocks lie in a word. */
static void give_words(struct zone *zone, unsigned order, unsigned n,
		       const pfn_t *pfns)
{
	const pfn_t *end = pfns + n;

	while (pfns < end) {
		struct free_word words[ZONE_GIVE_WORDS];
		const pfn_t *first = pfns;
		unsigned nr = group_by_word(order, &pfns, end, words);

		fetch_entries(zone, words, nr);
		zone_lock(zone);
		count_free(zone, &zone->free_broken, (pfns - first) << order);
		for (unsigned i = 0; i < nr; i++)
			give_word(zone, &words[i]);
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
			give_block(zone, order, pfns[i]);
		zone_unlock(zone);
	}
}

void zone_disown(struct zone *zone, uint32_t cpu)
{
	if (cpu >= zone->nr_owners)
		return;
	lock_zone(zone);
	for (unsigned type = 0; type < NR_MOBILITY; type++) {
		uint32_t owned = *owned_by(zone, cpu, type);

		if (owned)
			disown(zone, memmap_pageblock(zone->map, owned - 1));
	}
	zone_unlock(zone);
}

void zone_disown_all(struct zone *zone)
{
	lock_zone(zone);
	disown_all(zone);
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
	return (size_t)owners * NR_MOBILITY * sizeof(uint32_t);
}

/* The zone's share of a pageblock that it has only in part is broken. */
static void start_edge(struct zone *zone, uint32_t index)
{
	struct block *block = memmap_pageblock(zone->map, index);
	pfn_t pfn = (pfn_t)(index << BLOCK_ORDER);

	block->broken = true;
	for (unsigned i = 0; i < BLOCK_UNITS; i++, pfn++) {
		if (pfn >= zone->first && pfn < zone->end)
			block->free++;
		else
			block->map[i / WORD_BITS] |= UINT64_C(1)
						     << i % WORD_BITS;
	}
	count_free(zone, &zone->free_broken, block->free);
	list_update(zone, block, 0, buddy_largest_locked(block));
}

void zone_init(struct zone *zone, unsigned id, pfn_t first, pfn_t end,
	       struct memmap *map, struct gigablock *gigablocks,
	       uint32_t *owned, uint32_t owners,
	       const struct reporter *reporter)
{
	uint32_t head = first >> BLOCK_ORDER;
	uint32_t tail = (end - 1) >> BLOCK_ORDER;
	uint64_t whole = align_down(end, BLOCK_UNITS);

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
	    (uint64_t)owners * NR_MOBILITY)
		zone->nr_owners = owners;
	if (whole > align_up(first, BLOCK_UNITS))
		count_free(zone, &zone->free_whole,
			   (int64_t)(whole - align_up(first, BLOCK_UNITS)));
	if (first % BLOCK_UNITS || (end % BLOCK_UNITS && tail == head))
		start_edge(zone, head);
	if (end % BLOCK_UNITS && tail != head)
		start_edge(zone, tail);
}

void zone_runs(struct zone *zone, uint64_t runs[QUIRE_NR_ORDERS])
{
	uint32_t at = zone->first >> BLOCK_ORDER;
	uint32_t end = (zone->end - 1) >> BLOCK_ORDER;

	for (uint32_t i = 0; i < zone->nr_gigablocks; i++) {
		lock_zone(zone);
		if (zone->fresh == i)
			start_gigablock(zone, zone->fresh++);
		buddy_runs_locked(&zone->gigablocks[i].block,
				  runs + BLOCK_ORDER);
		zone_unlock(zone);
	}
	while (at <= end) {
		lock_zone(zone);
		for (unsigned i = 0; i < SCAN_BLOCKS && at <= end; i++, at++) {
			struct block *block = memmap_pageblock(zone->map, at);

			if (block->broken)
				buddy_runs_locked(block, runs);
		}
		zone_unlock(zone);
	}
}
