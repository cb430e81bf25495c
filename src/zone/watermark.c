/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The watermarks of a zone, as Linux computes them (mm/page_alloc.c:
 * calculate_min_free_kbytes, __setup_per_zone_wmarks,
 * setup_per_zone_lowmem_reserve, __zone_watermark_ok, boost_watermark).
 *
 * min_free
 *	4 * sqrt(KiB of memory) KiB: more memory has more users at a time, but
 *	not in proportion. At least 128 KiB, at most 256 MiB. Rounded down, as
 *	everything here.
 * min	the zone's share of min_free: min_free * pages / pages of all zones
 * step	the larger of min / 4 and pages * scale / 10,000
 * low	min + step
 * high	low + step
 *
 * A zone cannot have more free than it has pages: min is at most all of them,
 * and a step at most half of the rest. min_free may be 0, then low is a step
 * and high two.
 *
 * Of each zone a share is kept from calls that could be served higher up too,
 * or they would fill what only this zone can give:
 *
 *	reserve[highest] = pages of the zones above it, up to `highest`, of the
 *			   same node / ratio of this zone
 *
 * DEVICE has no part in that: only its own calls take from it, nor do these
 * take from others. The largest ratio is more than there are pages, so nothing
 * is kept.
 *
 * An allocation leaves at least
 *
 *	MIN	min + reserve, with HIGH 1/2, with ATOMIC 3/4, with both 3/8 of
 *		min + reserve, with MEMALLOC 0
 *	LOW	low + boost + reserve
 *	HIGH	high + boost + reserve
 *
 * A boost asks reclaim for more after a pageblock was taken by another type: a
 * pageblock each time, up to
 *
 *	most	150 % of high or one pageblock if that is more, but not more
 *		than half of pages - high
 *
 * so that what it asks for can be had, with as much still in use. It ends when
 * reclaim reached high + boost, or tried in vain. Zones of less than four
 * pageblocks are not boosted, nor those without marks. Linux boosts min too,
 * and makes exceptions for urgent calls; here a boost never makes a call fail.
 *
 * Example: one zone of 1 GiB, scale 10
 *
 *	pages		262144
 *	min_free	4 * sqrt(1048576) = 4096 KiB, 1024 pages
 *	min		1024
 *	step		max(1024 / 4, 262144 * 10 / 10000) = max(256, 262) = 262
 *	low, high	1286, 1548
 *	boost		512, 1024, 1536, 2048, then 2322 = 1548 * 1.5, less
 *			than (262144 - 1548) / 2
 *
 * Example: the same as DMA32 of 64 MiB and NORMAL of 960 MiB
 *
 *			DMA32			NORMAL
 *	pages		16384			245760
 *	min		1024 / 16 = 64		1024 * 15 / 16 = 960
 *	step		max(16, 16) = 16	max(240, 245) = 245
 *	low, high	80, 96			1205, 1450
 *	reserve[NORMAL]	245760 / 256 = 960	0
 *
 *	DMA32 is left with 64 pages by calls with QUIRE_DMA32, with 64 + 960 by
 *	those that could have been served from NORMAL.
 *
 * Invariant: min <= low <= high <= pages; boosts and reserves come on top and
 * may close a zone.
 *
 * Locking: none. Marks and reserves are constant once others see the zone. The
 * boost is one atomic word that orders nothing else, so all of it is relaxed.
 */
#include "zone/watermark.h"

#include "base/report.h"

enum { MIN_FREE_LEAST_KIB = 128, MIN_FREE_MOST_KIB = 256 << 10 };
enum { SCALE_WHOLE = 10000, BOOST_PERCENT = 150, BOOST_PAGEBLOCKS = 4 };

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Rounded down, found bit by bit; n < 2^64. */
static uint64_t square_root(uint64_t n)
{
	uint64_t root = 0;

	for (uint64_t bit = UINT64_C(1) << 31; bit; bit >>= 1)
		if ((root | bit) * (root | bit) <= n)
			root |= bit;
	return root;
}

uint64_t watermark_min_free(uint64_t bytes)
{
	/* 4 * sqrt(n), but with the root's fraction: sqrt(16 * n). */
	uint64_t kib = square_root((bytes >> 10) * 16);

	return smaller(larger(kib, MIN_FREE_LEAST_KIB), MIN_FREE_MOST_KIB)
	       << 10;
}

void watermark_init(struct watermarks *w, uint64_t zone_pages,
		    uint64_t all_pages, uint64_t min_free_bytes, unsigned scale)
{
	uint64_t min_free =
		smaller(min_free_bytes >> QUIRE_PAGE_SHIFT, all_pages);
	uint64_t step;

	/* pfns are 32 bits: two numbers of pages can be multiplied. */
	assert_debug(zone_pages <= all_pages && all_pages <= UINT32_MAX &&
			     scale > 0,
		     "a zone of %llu of %llu pages, scale %u",
		     (unsigned long long)zone_pages,
		     (unsigned long long)all_pages, scale);
	w->pages = zone_pages;
	w->min = all_pages ? min_free * zone_pages / all_pages : 0;
	step = larger(w->min / 4, zone_pages * scale / SCALE_WHOLE);
	step = smaller(step, (zone_pages - w->min) / 2);
	w->low = w->min + step;
	w->high = w->low + step;
	for (unsigned i = 0; i < QUIRE_NR_ZONES; i++)
		w->reserve[i] = 0;
	watermark_unboost(w);
}

unsigned watermark_default_ratio(enum quire_zone kind)
{
	switch (kind) {
	case QUIRE_ZONE_DMA32:
		return 256;
	case QUIRE_ZONE_NORMAL:
		return 32;
	default:
		return UINT32_MAX;
	}
}

void watermark_reserves(struct watermarks *const zones[QUIRE_NR_ZONES],
			const uint64_t pages[QUIRE_NR_ZONES],
			const unsigned ratio[QUIRE_NR_ZONES])
{
	for (unsigned i = 0; i < QUIRE_NR_ZONES; i++) {
		unsigned divisor = ratio[i];
		uint64_t higher = 0;

		if (!zones[i])
			continue;
		if (divisor == 0)
			divisor = watermark_default_ratio((enum quire_zone)i);
		for (unsigned j = 0; j < QUIRE_ZONE_DEVICE; j++) {
			if (j > i && zones[j])
				higher += pages[j];
			zones[i]->reserve[j] = higher / divisor;
		}
		zones[i]->reserve[QUIRE_ZONE_DEVICE] = 0;
	}
}

uint64_t watermark_floor(const struct watermarks *w, enum watermark mark,
			 enum quire_zone highest, unsigned flags)
{
	uint64_t pages = w->min;

	if (mark == WATERMARK_MIN) {
		if (flags & QUIRE_MEMALLOC)
			return 0;
		if (flags & QUIRE_HIGH)
			pages -= pages / 2;
		if (flags & QUIRE_ATOMIC)
			pages -= pages / 4;
	} else {
		pages = mark == WATERMARK_LOW ? w->low : w->high;
		pages += atomic_load_explicit(&w->boost, memory_order_relaxed);
	}
	return pages + w->reserve[highest];
}

void watermark_boost(struct watermarks *w, uint64_t pageblock_pages)
{
	uint64_t most = larger(w->high * BOOST_PERCENT / 100, pageblock_pages);
	uint64_t boost = atomic_load_explicit(&w->boost, memory_order_relaxed);

	most = smaller(most, (w->pages - w->high) / 2);
	if (w->high == 0 || w->pages < BOOST_PAGEBLOCKS * pageblock_pages)
		return;
	while (!atomic_compare_exchange_weak_explicit(
		&w->boost, &boost, smaller(boost + pageblock_pages, most),
		memory_order_relaxed, memory_order_relaxed))
		;
}

void watermark_unboost(struct watermarks *w)
{
	atomic_store_explicit(&w->boost, 0, memory_order_relaxed);
}
