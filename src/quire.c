/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An allocator's life: create, bind, describe, destroy.
 *
 * Creation goes up the floors: options are read, the arena planned, the sizes
 * of all tables added up, the arena reserved with room for them, the tables
 * carved by memblock, then map, zones and lists laid over them. Nothing is
 * written that grows with the region. Whatever fails is undone in one place:
 * everything lies in the arena's range.
 */
#include <errno.h>
#include <string.h>

#include "allocator.h"
#include "config.h"
#include "page_alloc.h"
#include "platform/platform.h"

enum { LIVE_LISTED = 16 };

const char *quire_version(void)
{
	return PACKAGE_VERSION;
}

const char *quire_backing_name(enum quire_backing backing)
{
	return arena_backing_name(backing);
}

const char *quire_way_name(enum quire_way way)
{
	static const char *const names[] = { "default", "rseq", "trylock",
					     "bound" };

	return (size_t)way < sizeof(names) / sizeof(names[0]) ? names[way]
							      : "unknown";
}

/* What creation knows before there is an allocator. */
struct plan {
	struct settings settings;
	struct reporter reporter;
	struct arena_request request;
	struct arena arena;
	struct region region;
	pfn_t cut[QUIRE_MAX_ZONES + 1]; /* zone i is [cut[i], cut[i + 1]) */
	struct memblock memblock;
};

static void plan_region(struct plan *plan)
{
	struct arena *arena = &plan->arena;
	uint64_t base =
		align_down(arena->start, GIGABLOCK_PAGES << QUIRE_PAGE_SHIFT);

	plan->region.base = base;
	plan->region.first = (pfn_t)((arena->start - base) >> QUIRE_PAGE_SHIFT);
	plan->region.end =
		(pfn_t)(plan->region.first + (arena->size >> QUIRE_PAGE_SHIFT));
	plan->region.mapped = arena->mapped;
	plan->region.known_zero =
		arena->reserved || plan->settings.options.flags & QUIRE_ZEROED;
}

/* Zones meet at pageblock borders, also where the region starts inside one. */
static int plan_zones(struct plan *plan)
{
	const struct quire_options *options = &plan->settings.options;
	uint64_t at = plan->region.first;

	for (unsigned i = 0; i + 1 < options->nr_zones; i++) {
		plan->cut[i] = (pfn_t)at;
		at = align_up(at + (options->zone_size[i] >> QUIRE_PAGE_SHIFT),
			      BLOCK_UNITS);
		if (at >= plan->region.end) {
			report(&plan->reporter,
			       "zone_size[%u] %llu: reaches pfn %llu, the "
			       "region ends at %u",
			       i, (unsigned long long)options->zone_size[i],
			       (unsigned long long)at, plan->region.end);
			errno = EINVAL;
			return -1;
		}
	}
	plan->cut[options->nr_zones - 1] = (pfn_t)at;
	plan->cut[options->nr_zones] = plan->region.end;
	return 0;
}

static int plan_init(struct plan *plan, const struct quire_options *given)
{
	const struct quire_options *options = &plan->settings.options;

	memset(plan, 0, sizeof(*plan));
	if (options_read(&plan->settings, given) != 0)
		return -1;
	plan->reporter =
		(struct reporter){ options->report, options->report_arg };
	plan->request = (struct arena_request){
		.size = options->size,
		.address = options->address,
		.offset = options->offset,
		.flags = options->flags,
	};
	memcpy(plan->request.backing, options->backing,
	       sizeof(options->backing));
	if (arena_plan(&plan->arena, &plan->request, &plan->reporter) != 0)
		return -1;
	plan_region(plan);
	return plan_zones(plan);
}

/* --- tables --- */

enum { TABLE_ALIGN = 4096 };
/* Tables are backed by pages of this size where it can be had. */
enum { HUGEPAGE = 2 << 20 };

/*
 * Bytes left free at the start, so that a long pageblock table ends in the
 * middle of a hugepage: what the first allocations touch, the first entries of
 * both tables and all that is between them, is one hugepage then, whatever the
 * arena's size.
 */
static size_t lead_bytes(size_t pageblocks)
{
	if (pageblocks <= HUGEPAGE / 2)
		return 0;
	return (HUGEPAGE / 2 - pageblocks) % HUGEPAGE;
}

/* Calls take() for every table, in the order they lie: once to add up sizes,
 * once to carve. */
typedef void *take_fn(void *arg, size_t size, const char *what);

struct tables {
	struct quire *q;
	struct zone *zones;
	struct pcp *pcps;
	struct pcp_seat *seats;
	struct gigablock *gigablocks[QUIRE_MAX_ZONES];
	uint32_t *owned[QUIRE_MAX_ZONES];
	char *sets[QUIRE_MAX_ZONES];
	void *pageblocks, *pages, *privates;
};

static void for_each_table(const struct plan *plan, struct tables *t,
			   take_fn *take, void *arg)
{
	const struct quire_options *options = &plan->settings.options;
	unsigned nr_zones = options->nr_zones;
	size_t pageblocks = memmap_pageblocks_bytes(&plan->region);
	size_t lead = lead_bytes(align_up(pageblocks, TABLE_ALIGN));

	if (lead)
		take(arg, lead, "lead");
	t->pageblocks = take(arg, pageblocks, "pageblock table");
	t->q = take(arg, sizeof(*t->q), "allocator");
	t->zones = take(arg, nr_zones * sizeof(*t->zones), "zones");
	t->pcps = take(arg, nr_zones * sizeof(*t->pcps), "pcp");
	t->seats = take(arg, options->cpus * sizeof(*t->seats), "seats");
	for (unsigned z = 0; z < nr_zones; z++) {
		t->gigablocks[z] = take(
			arg,
			zone_gigablocks_bytes(plan->cut[z], plan->cut[z + 1]),
			"gigablocks");
		t->owned[z] = take(arg, zone_owned_bytes(options->cpus),
				   "owned blocks");
	}
	for (unsigned z = 0; z < nr_zones; z++)
		t->sets[z] =
			take(arg, pcp_sets_bytes(options->cpus), "pcp sets");
	t->pages = take(arg, memmap_pages_bytes(&plan->region), "page array");
	t->privates = take(arg, memmap_privates_bytes(&plan->region),
			   "private words");
}

static void *take_size(void *arg, size_t size, const char *what)
{
	size_t *total = arg;

	(void)what;
	*total += align_up(size, TABLE_ALIGN);
	return NULL;
}

static void *take_memory(void *arg, size_t size, const char *what)
{
	return memblock_alloc(arg, align_up(size, TABLE_ALIGN), TABLE_ALIGN,
			      what);
}

static bool tables_complete(const struct tables *t, unsigned nr_zones)
{
	bool all = t->q && t->zones && t->pcps && t->seats && t->pageblocks &&
		   t->pages && t->privates;

	for (unsigned z = 0; z < nr_zones; z++)
		all = all && t->gigablocks[z] && t->owned[z] && t->sets[z];
	return all;
}

/* --- ways --- */

static void leave_seat(void *value)
{
	struct pcp_seat *seat = value;

	/* release: the CPU's next thread sees what this one did to its lists */
	atomic_store_explicit(&seat->taken, 0, memory_order_release);
}

static int choose_way(struct quire *q, const struct plan *plan)
{
	enum quire_way way = plan->settings.options.way;

	if (way == QUIRE_WAY_RSEQ && !platform_rseq_usable()) {
		report(&plan->reporter,
		       "way rseq cannot be had: no registered restartable "
		       "sequences, or no membarrier for them");
		errno = ENOTSUP;
		return -1;
	}
	if (way == QUIRE_WAY_BOUND &&
	    platform_key_create(&q->key, leave_seat) != 0) {
		report(&plan->reporter,
		       "way bound cannot be had: no thread key (errno %d)",
		       errno);
		return -1;
	}
	q->way = way;
	return 0;
}

/* --- create --- */

static void lay_out(struct quire *q, const struct plan *plan,
		    const struct tables *t)
{
	const struct quire_options *options = &plan->settings.options;
	unsigned top = options->nr_zones - 1;
	const struct pcp_settings settings = {
		.nr_cpus = options->cpus,
		.way = q->way,
		.key = q->key,
		.renew = options->renew,
		.decay_ms = options->decay_ms,
		.reporter = &q->reporter,
	};

	memmap_init(&q->map, &plan->region, t->pages, t->privates,
		    t->pageblocks);
	q->nr_zones = options->nr_zones;
	q->nr_cpus = options->cpus;
	q->seats = t->seats;
	q->pcp_bytes = q->nr_zones * pcp_sets_bytes(q->nr_cpus);
	q->check_race = config_debug || options->flags & QUIRE_CHECK_RACE;
	lock_init(&q->drain_lock, LOCK_RANK_DRAIN);
	for (uint32_t cpu = 0; q->way == QUIRE_WAY_BOUND && cpu < q->nr_cpus;
	     cpu++)
		q->seats[cpu].cpu = cpu;
	for (unsigned z = 0; z < q->nr_zones; z++) {
		q->zone[z] = &t->zones[z];
		q->pcp[z] = &t->pcps[z];
		zone_init(q->zone[z], z, plan->cut[z], plan->cut[z + 1],
			  &q->map, t->gigablocks[z], t->owned[z], q->nr_cpus,
			  &q->reporter);
		if (options->flags & QUIRE_LOCK_TIMES)
			zone_time_holds(q->zone[z]);
		pcp_init(q->pcp[z], q->zone[z], t->sets[z], &settings);
	}
	q->sets = t->sets[top];
	q->back = pcp_stack_offset(q->pcp[top]->back) - pcp_stack_offset(0);
	q->head = PAGE_HEAD | page_tag(top, MOBILITY_UNMOVABLE);
	if (q->way == QUIRE_WAY_RSEQ && !q->check_race)
		q->fast_orders = PCP_ORDERS;
}

static void tell_init(const struct quire *q)
{
	const struct region *region = &q->map.region;

	report(&q->reporter, "init: region of %u pages from %s 0x%llx, pfn %u",
	       region->end - region->first,
	       region->mapped ? "address" : "offset",
	       (unsigned long long)q->arena.start, region->first);
	report(&q->reporter, "init: backing %s; %zu bytes of tables on %s",
	       arena_backing_name(q->arena.backing),
	       q->arena.table_size - q->pcp_bytes,
	       arena_backing_name(q->arena.table_backing));
	for (unsigned z = 0; z < q->nr_zones; z++)
		report(&q->reporter, "init: zone %u: pfn %u to %u, %s", z,
		       q->zone[z]->first, q->zone[z]->end,
		       q->zone[z]->nr_owners ? "blocks owned by CPUs"
					     : "too small for owned blocks");
	report(&q->reporter, "init: way %s, %u CPUs, %zu bytes of page lists",
	       quire_way_name(q->way), q->nr_cpus, q->pcp_bytes);
}

/* The tables exist: an allocator out of them. The arena is the caller's to
 * undo. */
static struct quire *build(struct plan *plan)
{
	const struct quire_options *options = &plan->settings.options;
	struct memblock *memblock = &plan->memblock;
	struct tables t;
	struct quire *q;

	memblock_init(memblock, &plan->reporter);
	memblock->debug = plan->settings.debug_memblock;
	if (arena_add_to_memblock(&plan->arena, memblock) != 0)
		return NULL;
	for_each_table(plan, &t, take_memory, memblock);
	if (!tables_complete(&t, options->nr_zones)) {
		report(&plan->reporter,
		       "no room for the tables: %zu bytes reserved for them",
		       plan->arena.table_size);
		errno = ENOMEM;
		return NULL;
	}
	q = t.q;
	q->arena = plan->arena;
	q->reporter = plan->reporter;
	q->arena.reporter = &q->reporter;
	if (choose_way(q, plan) != 0)
		return NULL;
	lay_out(q, plan, &t);
	if (fork_register(q) != 0) {
		if (q->way == QUIRE_WAY_BOUND)
			platform_key_delete(q->key);
		return NULL;
	}
	if (plan->settings.debug_init)
		tell_init(q);
	return q;
}

struct quire *quire_create(const struct quire_options *given)
{
	size_t table_size = 0;
	struct tables none;
	struct plan plan;
	struct quire *q;

	if (plan_init(&plan, given) != 0)
		return NULL;
	for_each_table(&plan, &none, take_size, &table_size);
	if (arena_init(&plan.arena, &plan.request, table_size) != 0)
		return NULL;
	plan_region(&plan); /* again: a reserved arena has its address now */
	q = build(&plan);
	if (!q) {
		int error = errno;

		arena_fini(&plan.arena);
		errno = error;
	}
	return q;
}

/* --- destroy --- */

static void tell_live(struct quire *q, uint64_t live)
{
	const struct region *region = &q->map.region;
	unsigned listed = 0;

	report(&q->reporter, "destroy: %llu pages are live",
	       (unsigned long long)live);
	for (uint64_t pfn = region->first; pfn < region->end;) {
		uint64_t word = page_word(memmap_page(&q->map, (pfn_t)pfn));

		if (!page_is_head(word)) {
			pfn++;
			continue;
		}
		if (listed++ == LIVE_LISTED) {
			report(&q->reporter, "destroy: and more");
			return;
		}
		report(&q->reporter,
		       "destroy: live: pfn %llu, order %u, %llu holders",
		       (unsigned long long)pfn, page_order(word),
		       (unsigned long long)page_refs(word) + 1);
		pfn += UINT64_C(1) << page_order(word);
	}
}

/* Pages with callers once the lists are drained; -1 if they cannot be. */
static int64_t count_live(struct quire *q)
{
	int64_t live = q->map.region.end - q->map.region.first;
	bool drained = allocator_hold(q);
	int error = errno;

	for (unsigned z = 0; z < q->nr_zones; z++)
		live -= (int64_t)zone_free_pages(q->zone[z]);
	allocator_release(q);
	errno = error;
	return drained ? live : -1;
}

int quire_destroy(struct quire *q)
{
	int64_t live = q->forked ? 0 : count_live(q);
	struct arena arena;

	if (live < 0)
		return -1;
	if (live) {
		tell_live(q, (uint64_t)live);
		errno = EBUSY;
		return -1;
	}
	fork_unregister(q);
	if (q->way == QUIRE_WAY_BOUND)
		platform_key_delete(q->key);
	/* The allocator lies in the range that goes away. */
	arena = q->arena;
	arena_fini(&arena);
	return 0;
}

/* --- describe and bind --- */

int quire_info(const struct quire *q, struct quire_info *info, size_t info_size)
{
	struct quire_info all = {
		.pages = q->map.region.end - q->map.region.first,
		.backing = q->arena.backing,
		.table_backing = q->arena.table_backing,
		.way = q->way,
		.cpus = q->nr_cpus,
		.nr_zones = q->nr_zones,
		.trimmed_head = q->arena.trimmed_head,
		.trimmed_tail = q->arena.trimmed_tail,
		.table_bytes = q->arena.table_size - q->pcp_bytes,
		.pcp_bytes = q->pcp_bytes,
		.first_pfn = q->map.region.first,
	};

	if (q->map.region.mapped)
		all.address = (void *)(uintptr_t)q->arena.start;
	else
		all.offset = q->arena.start;
	memset(info, 0, info_size);
	memcpy(info, &all, info_size < sizeof(all) ? info_size : sizeof(all));
	return 0;
}

int quire_cpu_bind(struct quire *q, unsigned n)
{
	uint32_t nobody = 0;

	if (q->way != QUIRE_WAY_BOUND) {
		report(&q->reporter, "cpu_bind: CPU %u: the way in use is %s",
		       n, quire_way_name(q->way));
		errno = ENOTSUP;
		return -1;
	}
	if (page_alloc_check_fork(q) != 0)
		return -1;
	if (n >= q->nr_cpus) {
		report(&q->reporter, "cpu_bind: CPU %u of %u", n, q->nr_cpus);
		errno = EINVAL;
		return -1;
	}
	/* acquire: with the release in leave_seat(). */
	if (platform_key_get(q->key) ||
	    !atomic_compare_exchange_strong_explicit(
		    &q->seats[n].taken, &nobody, 1, memory_order_acquire,
		    memory_order_relaxed)) {
		errno = EBUSY;
		return -1;
	}
	if (platform_key_set(q->key, &q->seats[n]) != 0) {
		leave_seat(&q->seats[n]);
		return -1;
	}
	return 0;
}

int quire_cpu_unbind(struct quire *q)
{
	struct pcp_seat *seat;

	if (q->way != QUIRE_WAY_BOUND) {
		errno = ENOTSUP;
		return -1;
	}
	seat = platform_key_get(q->key);
	if (!seat) {
		errno = EINVAL;
		return -1;
	}
	platform_key_set(q->key, NULL);
	leave_seat(seat);
	return 0;
}
