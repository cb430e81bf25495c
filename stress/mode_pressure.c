/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pressure: more is asked for than there is. Each thread puts most of what it
 * gets into a cache of its own, and a shrinker gives that back, in whatever
 * thread calls it. Some shrinkers give, some also allocate while they scan,
 * some stop, some lie: they have nothing and say that they have and free all.
 * Others come and go all the time, their memory with them, and so do the
 * reclaim threads.
 *
 * Reserves. In each round calls have certain flags, and so there is a number of
 * pages below which no zone may ever fall; an extra thread looks all the time,
 * and whoever is handed a page does, too. While all stand still one thread
 * takes all it can get with certain flags: each zone then has exactly that
 * number left.
 *
 * Pools. A thread that has none of the blocks of a pool of its own always gets
 * one at once; of a pool with fewer blocks than threads each gets one in time.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "blocks.h"

enum { CACHE_ORDER = 3, EXACT_MAX = 60, BLOCK_PAGES = 512 };
enum { LIARS = 2, POOL_MS = 30000, SHARED_BLOCKS = 2 };
/* In a smaller arena there is no DMA32. */
static const uint64_t dma32_from = UINT64_C(32) << 20;

/* What calls of a round may have. */
static const unsigned rights[] = { 0,
				   QUIRE_HIGH,
				   QUIRE_DMA32,
				   QUIRE_ATOMIC,
				   0,
				   QUIRE_HIGH | QUIRE_ATOMIC,
				   QUIRE_MEMALLOC };
enum { NR_RIGHTS = sizeof(rights) / sizeof(rights[0]) };

enum manner { GIVES, ALLOCATES, STOPS, NR_MANNERS };

/* (m) mutex, which nobody holds who allocates outside a scan */
struct cache {
	struct quire_shrinker shrinker;
	struct pressure_own *own;
	enum manner manner;
	pthread_mutex_t mutex;
	struct block *blocks; /* (m) */
	size_t n, size;	      /* (m) */
	struct worker shade;  /* (m) who frees in scans */
};

/* One that comes and goes; (a) atomic */
struct visitor {
	struct quire_shrinker shrinker;
	_Atomic unsigned inside; /* (a) threads */
	_Atomic bool gone;	 /* (a) */
};

/* (l) the first worker's between two barriers, or the helper's when all players
 * have done, (a) atomic */
struct pressure_own {
	struct cache *caches; /* one a player */
	struct quire_shrinker liars[LIARS];
	struct quire_mempool **pools; /* (l) one a player; the last: shared */
	_Atomic bool ready;	      /* (a) the round has begun */
	_Atomic bool quiet;	      /* (a) shrinkers have nothing */
	uint64_t floor[QUIRE_MAX_ZONES]; /* (l) of this round */
	struct block *hoard;
	size_t n;
};

static void nap(uint64_t ns)
{
	const struct timespec time = { .tv_nsec = (long)ns };

	nanosleep(&time, NULL);
}

static unsigned rights_of(const struct run *run)
{
	unsigned flags = rights[run->round % NR_RIGHTS];

	return run->info.zones > 1 ? flags : flags & ~QUIRE_DMA32;
}

/* --- shrinkers --- */

static uint64_t cache_count(struct quire_shrinker *shrinker,
			    const struct quire_shrink *want)
{
	struct cache *cache = shrinker->arg;
	uint64_t n = 0;

	(void)want;
	if (atomic_load(&cache->own->quiet) ||
	    pthread_mutex_trylock(&cache->mutex) != 0)
		return 0;
	for (size_t i = 0; i < cache->n; i++)
		n += cache->blocks[i].pages;
	pthread_mutex_unlock(&cache->mutex);
	return n;
}

static void give_whole(struct worker *w, struct block *block)
{
	while (block->page)
		block_give(w, block, rng_next(&w->reply));
}

/* What it gets comes from the reserve, maybe. */
static void allocate_inside(struct cache *cache)
{
	struct block block = { 0 };

	if (!(rights_of(cache->shade.run) & QUIRE_MEMALLOC))
		return;
	if (block_take(&cache->shade, &block,
		       (unsigned)rng_below(&cache->shade.reply, 2), 0))
		block_give(&cache->shade, &block, 0);
}

static uint64_t cache_scan(struct quire_shrinker *shrinker,
			   const struct quire_shrink *want, uint64_t pages)
{
	struct cache *cache = shrinker->arg;
	uint64_t freed = 0;

	(void)want;
	if (pthread_mutex_trylock(&cache->mutex) != 0)
		return QUIRE_SHRINK_STOP;
	if (cache->manner == ALLOCATES)
		allocate_inside(cache);
	while (cache->n && freed < pages) {
		struct block *last = &cache->blocks[--cache->n];

		freed += last->pages;
		give_whole(&cache->shade, last);
		if (cache->manner == STOPS &&
		    rng_below(&cache->shade.reply, 4) == 0) {
			freed = QUIRE_SHRINK_STOP;
			break;
		}
	}
	count(&cache->shade.events, 1);
	pthread_mutex_unlock(&cache->mutex);
	return freed;
}

static uint64_t liar_count(struct quire_shrinker *shrinker,
			   const struct quire_shrink *want)
{
	const struct pressure_own *own = shrinker->arg;

	(void)want;
	return atomic_load(&own->quiet) ? 0 : UINT64_MAX - 1;
}

static uint64_t liar_scan_none(struct quire_shrinker *shrinker,
			       const struct quire_shrink *want, uint64_t pages)
{
	(void)shrinker, (void)want, (void)pages;
	return 0;
}

static uint64_t liar_scan_more(struct quire_shrinker *shrinker,
			       const struct quire_shrink *want, uint64_t pages)
{
	(void)shrinker, (void)want;
	return pages * 1000;
}

static uint64_t visit(struct quire_shrinker *shrinker, uint64_t result)
{
	struct visitor *visitor = (struct visitor *)(void *)shrinker;

	atomic_fetch_add(&visitor->inside, 1);
	nap(1000);
	if (atomic_load(&visitor->gone))
		violation("a shrinker runs that was unregistered");
	atomic_fetch_sub(&visitor->inside, 1);
	return result;
}

static uint64_t visitor_count(struct quire_shrinker *shrinker,
			      const struct quire_shrink *want)
{
	(void)want;
	return visit(shrinker, 1);
}

static uint64_t visitor_scan(struct quire_shrinker *shrinker,
			     const struct quire_shrink *want, uint64_t pages)
{
	(void)want, (void)pages;
	return visit(shrinker, 0);
}

/* --- reserves --- */

/* What calls with these flags leave of a zone's min. */
static uint64_t left_of_min(uint64_t min, unsigned flags)
{
	if (flags & QUIRE_MEMALLOC)
		return 0;
	if (flags & QUIRE_HIGH)
		min -= min / 2;
	if (flags & QUIRE_ATOMIC)
		min -= min / 4;
	return min;
}

static uint64_t floor_of(const struct quire_zone_info *zone, unsigned flags)
{
	uint64_t left = left_of_min(zone->min, flags);

	if (!(flags & (QUIRE_DMA32 | QUIRE_MEMALLOC)))
		left += zone->reserve[QUIRE_ZONE_NORMAL];
	return left;
}

static void check_zone(const struct run *run, unsigned z, const char *when)
{
	const struct pressure_own *own = run->own;
	struct quire_zone_info info;

	quire_zone_info(run->q, z, &info, sizeof(info));
	if (info.free < own->floor[z])
		violation("%s: zone %s has %llu pages free; calls of this "
			  "round (flags 0x%x) leave %llu (min %llu, reserve "
			  "%llu)",
			  when, quire_zone_name(info.kind),
			  (unsigned long long)info.free, rights_of(run),
			  (unsigned long long)own->floor[z],
			  (unsigned long long)info.min,
			  (unsigned long long)info.reserve[QUIRE_ZONE_NORMAL]);
}

static void set_floors(const struct run *run)
{
	struct pressure_own *own = run->own;

	for (unsigned z = 0; z < run->info.zones; z++)
		own->floor[z] = floor_of(&run->zone[z], rights_of(run));
}

/* --- players --- */

static bool make_pools(struct run *run)
{
	struct pressure_own *own = run->own;

	for (unsigned i = 0; i <= run->nr_players; i++) {
		bool shared = i == run->nr_players;

		own->pools[i] = quire_mempool_create(
			run->q, shared, 0, shared ? SHARED_BLOCKS : 1);
		if (!own->pools[i])
			return false;
	}
	return true;
}

static void keep(struct cache *cache, struct worker *w, struct block *block)
{
	bool kept = false;

	pthread_mutex_lock(&cache->mutex);
	if (cache->n < cache->size) {
		cache->blocks[cache->n++] = *block;
		kept = true;
	}
	pthread_mutex_unlock(&cache->mutex);
	if (!kept)
		give_whole(w, block);
}

/* From one's own pool at once, from the shared one in time. */
static void use_pool(struct worker *w, bool shared)
{
	struct pressure_own *own = w->run->own;
	struct quire_mempool *pool =
		own->pools[shared ? w->run->nr_players : w->number];
	struct block block = { 0 };

	if (!block_take_pool(w, &block, pool, shared, shared ? QUIRE_WAIT : 0,
			     POOL_MS))
		violation("thread %u: the %s pool has nothing: errno %d",
			  w->number, shared ? "shared" : "thread's own", errno);
	else
		block_give_pool(w, &block, pool);
}

static unsigned draw_flags(const struct run *run, uint64_t pick)
{
	unsigned flags = rights_of(run);

	if (pick & 1)
		flags = 0;
	if ((pick >> 1 & 7) == 0)
		flags |= QUIRE_NORETRY;
	else if (!(flags & QUIRE_ATOMIC) && (pick >> 1 & 7) == 1)
		flags |= QUIRE_WAIT;
	else if (!(flags & QUIRE_ATOMIC) && (pick >> 1 & 31) == 2)
		flags |= QUIRE_NOFAIL;
	if ((pick >> 8 & 3) == 0)
		flags |= QUIRE_MOVABLE;
	else if ((pick >> 8 & 3) == 1)
		flags |= QUIRE_RECLAIMABLE;
	return flags;
}

static void step(struct worker *w)
{
	const struct run *run = w->run;
	struct pressure_own *own = run->own;
	uint64_t pick = rng_next(&w->rng);
	unsigned flags = draw_flags(run, pick);
	unsigned order = pick >> 16 & 1 ? 0 : pick >> 17 & CACHE_ORDER;
	struct block block = { 0 };

	if (pick >> 32 & 31) {
		if (!(pick >> 38 & 7
			      ? block_take_with(w, &block, order, flags, NULL,
						20)
			      : block_take_exact(w, &block,
						 1 + (uint32_t)(pick >> 50) %
								 EXACT_MAX,
						 flags & ~QUIRE_WAIT)) ||
		    !block.page)
			return;
		if (pick >> 40 & 3)
			for (unsigned z = 0; z < run->info.zones; z++)
				check_zone(run, z, "handed out");
		keep(&own->caches[w->number], w, &block);
	} else {
		use_pool(w, pick >> 37 & 1);
	}
	if ((pick >> 42 & 63) == 0 && quire_reclaim(run->q, 0, 64) < 0)
		violation("reclaim: errno %d", errno);
}

static void pressure_round(struct worker *w)
{
	struct pressure_own *own = w->run->own;
	struct cache *cache = &own->caches[w->number];
	struct block block = { 0 };
	uint64_t pages = 0;

	if (w->number == 0) {
		set_floors(w->run);
		if (!make_pools(w->run))
			violation("mempool_create: errno %d", errno);
		atomic_store(&own->ready, true);
	}
	run_meet(w->run);
	while (pages < cache->size &&
	       block_take(w, &block, CACHE_ORDER, QUIRE_NORETRY)) {
		pages += block.pages;
		keep(cache, w, &block);
		block.page = NULL;
	}
	for (unsigned i = 0; i < w->run->steps / 4 && !violations(); i++)
		step(w);
}

/* --- who watches --- */

static void receive_visitor(const struct run *run)
{
	struct visitor *visitor = calloc(1, sizeof(*visitor));

	if (!visitor)
		return;
	visitor->shrinker.name = "visitor";
	visitor->shrinker.count = visitor_count;
	visitor->shrinker.scan = visitor_scan;
	if (quire_shrinker_register(run->q, &visitor->shrinker) != 0) {
		violation("shrinker_register: errno %d", errno);
		free(visitor);
		return;
	}
	nap(100000);
	if (quire_shrinker_unregister(run->q, &visitor->shrinker) != 0)
		violation("shrinker_unregister: errno %d", errno);
	atomic_store(&visitor->gone, true);
	if (atomic_load(&visitor->inside))
		violation("a shrinker was unregistered, but runs");
	memset(&visitor->shrinker, 0x5a, sizeof(visitor->shrinker));
	free(visitor);
}

static void merge(struct worker *w, struct worker *shade)
{
	count(&w->ops, counted(&shade->ops));
	count(&w->held, counted(&shade->held));
	count(&w->events, counted(&shade->events));
	count(&w->failures, counted(&shade->failures));
	w->allocs += shade->allocs;
	w->frees += shade->frees;
	atomic_store(&shade->ops, 0);
	atomic_store(&shade->held, 0);
	atomic_store(&shade->events, 0);
	atomic_store(&shade->failures, 0);
	shade->allocs = shade->frees = 0;
}

/* Nobody allocates any more: all goes back. */
static void clear_up(struct worker *w)
{
	struct run *run = w->run;
	struct pressure_own *own = run->own;

	for (unsigned i = 0; i < run->nr_players; i++) {
		struct cache *cache = &own->caches[i];

		while (cache->n)
			give_whole(w, &cache->blocks[--cache->n]);
		merge(w, &cache->shade);
	}
	for (unsigned i = 0; i <= run->nr_players; i++) {
		if (quire_mempool_destroy(own->pools[i]) != 0)
			violation("mempool_destroy: errno %d", errno);
		own->pools[i] = NULL;
	}
}

static void pressure_help(struct worker *w)
{
	struct run *run = w->run;
	struct pressure_own *own = run->own;
	bool threads = false;

	while (!atomic_load(&own->ready))
		nap(20000);
	while (run_busy(run)) {
		uint64_t pick = rng_next(&w->reply);

		for (unsigned z = 0; z < run->info.zones; z++)
			check_zone(run, z, "seen");
		if (pick % 8 == 0)
			receive_visitor(run);
		if (pick / 8 % 16)
			continue;
		if ((threads ? quire_reclaim_stop
			     : quire_reclaim_start)(run->q) != 0)
			violation("reclaim_%s: errno %d",
				  threads ? "stop" : "start", errno);
		threads = !threads;
	}
	if (threads && quire_reclaim_stop(run->q) != 0)
		violation("reclaim_stop: errno %d", errno);
	clear_up(w);
	atomic_store(&own->ready, false);
}

/* --- while all stand still --- */

static void take_all(struct worker *w, unsigned flags)
{
	struct pressure_own *own = w->run->own;
	size_t got = BULK_MAX;

	while (got == BULK_MAX) {
		struct block *blocks[BULK_MAX];

		for (size_t i = 0; i < BULK_MAX; i++)
			blocks[i] = &own->hoard[own->n + i];
		got = block_take_bulk(w, blocks, BULK_MAX, 0, flags);
		own->n += got;
	}
}

/* All that can be had with these flags is: what is left of each zone? */
static void check_exact(struct worker *w, unsigned flags)
{
	const struct run *run = w->run;

	take_all(w, flags);
	for (unsigned z = 0; z < run->info.zones; z++) {
		struct quire_zone_info info;
		uint64_t should;

		quire_zone_info(run->q, z, &info, sizeof(info));
		should = floor_of(&info, flags);
		if (flags & QUIRE_DMA32 && info.kind != QUIRE_ZONE_DMA32)
			continue;
		if (info.free != should)
			violation("zone %s: with flags 0x%x all but %llu pages "
				  "could be had, not all but %llu (min %llu)",
				  quire_zone_name(info.kind), flags,
				  (unsigned long long)info.free,
				  (unsigned long long)should,
				  (unsigned long long)info.min);
	}
}

/* From the highest floor to the lowest. */
static void pressure_still(struct worker *w)
{
	struct run *run = w->run;
	struct pressure_own *own = run->own;

	atomic_store(&own->quiet, true);
	if (quire_drain_all(run->q) != 0)
		violation("drain: errno %d", errno);
	check_exact(w, 0);
	if (run->info.zones > 1)
		check_exact(w, QUIRE_DMA32);
	check_exact(w, QUIRE_ATOMIC | QUIRE_DMA32 * (run->info.zones > 1));
	while (own->n)
		block_give(w, &own->hoard[--own->n], 0);
	check_exact(w, rights[run->round % NR_RIGHTS] & ~QUIRE_DMA32);
	while (own->n)
		block_give(w, &own->hoard[--own->n], 0);
	quire_drain_all(run->q);
	atomic_store(&own->quiet, false);
}

static void pressure_empty(struct worker *w)
{
	const struct quire_info *info = &w->run->info;
	uint64_t first = info->first_pfn & ~UINT64_C(511);

	/* What was kept for QUIRE_ATOMIC is not at first. */
	for (uint64_t pfn = first; pfn < info->first_pfn + info->pages;
	     pfn += BLOCK_PAGES)
		if (quire_mobility(w->run->q, pfn) == QUIRE_TYPE_HIGHATOMIC &&
		    quire_set_mobility(w->run->q, pfn, BLOCK_PAGES,
				       QUIRE_TYPE_UNMOVABLE) != 0)
			violation("set_mobility: errno %d", errno);
}

/* --- set up and take down --- */

static void pressure_options(const struct run *run, struct quire_options *o)
{
	(void)run;
	o->min_free = o->size / 16;
	o->watermark_scale = 200;
	o->lowmem_ratio[QUIRE_ZONE_DMA32] = 64;
	if (o->size >= dma32_from)
		o->zone_size[QUIRE_ZONE_DMA32] = o->size / 4 >> 21 << 21;
}

static bool cache_init(struct run *run, struct cache *cache, unsigned number)
{
	cache->own = run->own;
	cache->manner = (enum manner)(number % NR_MANNERS);
	cache->size = run->info.pages / run->nr_players;
	cache->blocks = calloc(cache->size, sizeof(*cache->blocks));
	pthread_mutex_init(&cache->mutex, NULL);
	cache->shade.run = run;
	cache->shade.number = run->nr_workers + number;
	cache->shade.reply.state = ~run->workers[number].rng.state;
	cache->shade.share = run->info.pages;
	cache->shrinker = (struct quire_shrinker){ .name = "cache",
						   .count = cache_count,
						   .scan = cache_scan,
						   .arg = cache,
						   .batch = number % 3 * 20 };
	return cache->blocks &&
	       quire_shrinker_register(run->q, &cache->shrinker) == 0;
}

static bool pressure_init(struct run *run)
{
	struct pressure_own *own = calloc(1, sizeof(*own));
	size_t bytes = run->nr_players * sizeof(struct cache);

	run->own = own;
	if (!own)
		return false;
	own->pools = calloc(run->nr_players + 1, sizeof(*own->pools));
	own->hoard = calloc(run->info.pages + BULK_MAX, sizeof(*own->hoard));
	own->caches = aligned_alloc(_Alignof(struct cache), bytes);
	if (!own->pools || !own->hoard || !own->caches)
		return false;
	memset(own->caches, 0, bytes);
	for (unsigned i = 0; i < run->nr_players; i++)
		if (!cache_init(run, &own->caches[i], i))
			return false;
	for (unsigned i = 0; i < LIARS; i++) {
		own->liars[i] = (struct quire_shrinker){
			.name = "liar",
			.count = liar_count,
			.scan = i ? liar_scan_more : liar_scan_none,
			.arg = own,
		};
		if (quire_shrinker_register(run->q, &own->liars[i]) != 0)
			return false;
	}
	return true;
}

static void pressure_fini(struct run *run)
{
	struct pressure_own *own = run->own;

	for (unsigned i = 0; i < LIARS; i++)
		if (quire_shrinker_unregister(run->q, &own->liars[i]) != 0)
			violation("shrinker_unregister: errno %d", errno);
	for (unsigned i = 0; i < run->nr_players; i++) {
		struct cache *cache = &own->caches[i];

		if (quire_shrinker_unregister(run->q, &cache->shrinker) != 0)
			violation("shrinker_unregister: errno %d", errno);
		pthread_mutex_destroy(&cache->mutex);
		free(cache->blocks);
	}
	free(own->caches);
	free(own->hoard);
	free(own->pools);
	free(own);
}

const struct mode mode_pressure = {
	.name = "pressure",
	.attacks =
		"More is asked for than there is: caches shrink, and some "
		"shrinkers lie, stop, allocate, come and go; so do reclaim "
		"threads. Finds reserves that calls without the right to them "
		"break into, or that cannot be had with it; shrinkers that "
		"run when they are gone; pools that have nothing.",
	.events = "scans",
	.promise = PROMISE_NONE,
	.zones = 1,
	.decay_ms = 5,
	.uncounted = true,
	.round = pressure_round,
	.help = pressure_help,
	.still = pressure_still,
	.empty = pressure_empty,
	.options = pressure_options,
	.init = pressure_init,
	.fini = pressure_fini,
};
