/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An allocator's life: create and destroy.
 *
 * Creation goes up the floors. The plan says all that is to be: options are
 * read, the region is trimmed and cut into nodes and zones, and the sizes of
 * all tables are added up. Then the arena is reserved with room for them, its
 * nodes are bound to the machine's (QUIRE_NUMA), memblock carves the tables
 * from its start, and map, zones and lists are laid over them, in the steps of
 * Linux's free_area_init(); with QUIRE_CONF=debug:init each says what it did.
 * Nothing is written that grows with the region: a table of zeros describes
 * pages that are free and untouched.
 *
 * struct quire is one of the tables, and all of them lie in the arena's range,
 * so a failure is undone in one place: the range goes. Only the thread key of
 * the bound way and the registration for forks lie outside it. build() makes
 * the key before all else, registers last, and deletes the key if a step in
 * between fails.
 *
 * Destruction drains every list; what the zones then lack is live. While a page
 * is live it fails, and the allocator goes on as it was. Otherwise services are
 * stopped, forks leave the allocator alone, and the range goes. A fork's child
 * that must not use the memory asks for no pages: they are its parent's.
 *
 * Locking: one thread creates, and no other uses an allocator that is being
 * destroyed. Only a fork could find it in between: it is registered once it is
 * whole.
 */
#include <errno.h>
#include <string.h>

#include "base/report.h"
#include "instance/allocator.h"
#include "instance/layout.h"
#include "instance/policy.h"
#include "platform/platform.h"
#include "platform/platform_memory.h"
#include "platform/platform_process.h"

enum { LIVE_LISTED = 16 };

/* What creation knows before there is an allocator. */
struct plan {
	struct settings settings;
	struct reporter reporter;
	struct arena_request request;
	struct arena arena;
	struct region region;
	struct layout layout;
	uint32_t cpu_numbers; /* CPU numbers that have a node */
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
	plan->cpu_numbers = platform_possible_cpus();
	if (plan->cpu_numbers < options->cpus)
		plan->cpu_numbers = options->cpus;
	return layout_plan(&plan->layout, options, &plan->region,
			   &plan->reporter);
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
	struct nodes *nodes;
	uint8_t *cpu_node;
	struct gigablock *gigablocks[QUIRE_MAX_ZONES];
	uint32_t *owned[QUIRE_MAX_ZONES];
	char *sets[QUIRE_MAX_ZONES];
	void *pageblocks, *pages, *privates;
};

static void for_each_table(const struct plan *plan, struct tables *t,
			   take_fn *take, void *arg)
{
	const struct quire_options *options = &plan->settings.options;
	const struct zone_span *span = plan->layout.zone;
	unsigned nr_zones = plan->layout.nr_zones;
	size_t pageblocks = memmap_pageblocks_bytes(&plan->region);
	size_t lead = lead_bytes(align_up(pageblocks, TABLE_ALIGN));

	if (lead)
		take(arg, lead, "lead");
	t->pageblocks = take(arg, pageblocks, "pageblock table");
	t->q = take(arg, sizeof(*t->q), "allocator");
	t->zones = take(arg, nr_zones * sizeof(*t->zones), "zones");
	t->pcps = take(arg, nr_zones * sizeof(*t->pcps), "pcp");
	t->seats = take(arg, options->cpus * sizeof(*t->seats), "seats");
	t->nodes = take(arg, sizeof(*t->nodes), "nodes");
	t->cpu_node = take(arg, plan->cpu_numbers, "CPUs' nodes");
	for (unsigned z = 0; z < nr_zones; z++) {
		t->gigablocks[z] = take(
			arg, zone_gigablocks_bytes(span[z].first, span[z].end),
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
	bool all = t->q && t->zones && t->pcps && t->seats && t->nodes &&
		   t->cpu_node && t->pageblocks && t->pages && t->privates;

	for (unsigned z = 0; z < nr_zones; z++)
		all = all && t->gigablocks[z] && t->owned[z] && t->sets[z];
	return all;
}

/* --- laying out --- */

/* A line of the start-up log. */
#define step(q, plan, ...)                                                     \
	do {                                                                   \
		if ((plan)->settings.debug_init)                               \
			report(&(q)->reporter, "init: " __VA_ARGS__);          \
	} while (0)

typedef unsigned long long ull;

static void tell_arena(const struct quire *q, const struct plan *plan)
{
	const struct region *region = &plan->region;

	step(q, plan, "region of %u pages from %s 0x%llx, pfn %u",
	     region->end - region->first, region->mapped ? "address" : "offset",
	     (ull)q->arena.start, region->first);
	step(q, plan, "backing %s; %zu bytes of tables on %s",
	     quire_backing_name(q->arena.backing),
	     q->arena.table_size - q->pcp_bytes,
	     quire_backing_name(q->arena.table_backing));
}

static void init_nodes(struct quire *q, const struct plan *plan,
		       const struct tables *t)
{
	const struct quire_options *options = &plan->settings.options;
	const struct layout *layout = &plan->layout;

	q->nodes = t->nodes;
	q->cpu_node = t->cpu_node;
	q->nr_cpu_nodes = plan->cpu_numbers;
	q->policy = options->policy;
	nodes_init(q->nodes, layout->nr_nodes);
	nodes_set_distances(q->nodes, plan->settings.distance);
	for (unsigned n = 0; n < layout->nr_nodes; n++) {
		pfn_t first = layout->node[n], end = layout->node[n + 1];

		q->nodes->node[n].pages = end - first;
		step(q, plan, "node %u: pfn %u to %u, %u pages%s", n, first,
		     end, end - first,
		     options->flags & QUIRE_NUMA ? ", bound" : "");
	}
}

static void tell_zones(const struct quire *q, const struct plan *plan)
{
	for (unsigned z = 0; z < plan->layout.nr_zones; z++) {
		const struct zone_span *span = &plan->layout.zone[z];

		step(q, plan, "node %u: zone %s: pfn %u to %u, %u pages",
		     span->node, quire_zone_name(span->kind), span->first,
		     span->end, span->end - span->first);
	}
}

static void init_map(struct quire *q, const struct plan *plan,
		     const struct tables *t)
{
	memmap_init(&q->map, &plan->region, t->pages, t->privates,
		    t->pageblocks);
	step(q, plan, "memmap: %llu descriptors at %p, %llu pageblocks at %p",
	     (ull)q->map.nr_pages, t->pages,
	     (ull)(memmap_pageblocks_bytes(&plan->region) /
		   sizeof(struct block)),
	     t->pageblocks);
}

static void init_zones(struct quire *q, const struct plan *plan,
		       const struct tables *t)
{
	for (unsigned z = 0; z < q->nr_zones; z++) {
		const struct zone_span *span = &plan->layout.zone[z];
		struct zone *zone = &t->zones[z];

		q->zone[z] = zone;
		zone_init(zone, z, span->first, span->end, &q->map,
			  t->gigablocks[z], t->owned[z], q->nr_cpus,
			  &q->reporter);
		zone_place(zone, span->node, span->kind);
		if (plan->settings.options.flags & QUIRE_LOCK_TIMES)
			zone_time_holds(zone);
		q->nodes->node[span->node].zone[span->kind] = zone;
	}
}

static void init_free_areas(struct quire *q, const struct plan *plan)
{
	for (unsigned z = 0; z < q->nr_zones; z++) {
		const struct zone_span *span = &plan->layout.zone[z];
		uint32_t end = (uint32_t)(align_down(span->end, BLOCK_UNITS) >>
					  BLOCK_ORDER);

		for (uint32_t i = end - (uint32_t)(span->cma >> BLOCK_ORDER);
		     span->cma && i < end; i++)
			zone_set_type(q->zone[z], i, QUIRE_TYPE_CMA);
		step(q, plan,
		     "node %u: zone %s: %llu pages free, %llu of CMA; %s",
		     span->node, quire_zone_name(span->kind),
		     (ull)zone_free_pages(q->zone[z]), (ull)span->cma,
		     q->zone[z]->nr_owners ? "CPUs own blocks"
					   : "too small for owned blocks");
	}
}

static uint64_t guarded_pages(const struct quire *q)
{
	uint64_t pages = 0;

	for (unsigned z = 0; z < q->nr_zones; z++)
		if (q->zone[z]->kind != QUIRE_ZONE_DEVICE)
			pages += q->zone[z]->end - q->zone[z]->first;
	return pages;
}

static void init_watermarks(struct quire *q, const struct plan *plan)
{
	const struct quire_options *options = &plan->settings.options;
	uint64_t all = guarded_pages(q), min_free = options->min_free;

	if (min_free == QUIRE_MIN_FREE_AUTO)
		min_free = watermark_min_free(all << QUIRE_PAGE_SHIFT);
	for (unsigned n = 0; n < q->nodes->nr; n++) {
		struct watermarks *marks[QUIRE_NR_ZONES] = { NULL };
		uint64_t pages[QUIRE_NR_ZONES] = { 0 };

		for (unsigned k = 0; k < QUIRE_NR_ZONES; k++) {
			struct zone *zone = node_zone(q->nodes, n, k);

			if (!zone)
				continue;
			pages[k] = zone->end - zone->first;
			marks[k] = &zone->marks;
			if (k != QUIRE_ZONE_DEVICE)
				watermark_init(marks[k], pages[k], all,
					       min_free,
					       options->watermark_scale);
		}
		watermark_reserves(marks, pages, options->lowmem_ratio);
		for (unsigned k = 0; k < QUIRE_ZONE_DEVICE; k++)
			if (marks[k])
				step(q, plan,
				     "node %u: zone %s: min %llu, low %llu, "
				     "high %llu; kept from NORMAL %llu, from "
				     "MOVABLE %llu",
				     n, quire_zone_name(k), (ull)marks[k]->min,
				     (ull)marks[k]->low, (ull)marks[k]->high,
				     (ull)marks[k]->reserve[QUIRE_ZONE_NORMAL],
				     (ull)marks[k]
					     ->reserve[QUIRE_ZONE_MOVABLE]);
	}
}

static size_t printf_like(3, 4)
	append(char *text, size_t size, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	platform_format(text, size, format, args);
	va_end(args);
	return strlen(text);
}

static void init_zonelists(struct quire *q, const struct plan *plan)
{
	nodes_build(q->nodes);
	for (unsigned n = 0; n < q->nodes->nr && plan->settings.debug_init;
	     n++) {
		struct zone_walk walk;
		char list[QUIRE_MAX_ZONES * 16] = "";
		size_t at = 0;

		for (struct zone *zone = zone_walk_first(
			     &walk, q->nodes, n, QUIRE_ZONE_MOVABLE, NODES_ALL);
		     zone; zone = zone_walk_next(&walk))
			at += append(list + at, sizeof(list) - at, " %u:%s",
				     zone->node, quire_zone_name(zone->kind));
		step(q, plan, "node %u: zonelist%s", n, list);
	}
}

static unsigned machine_to_node(const struct plan *plan, unsigned machine)
{
	for (unsigned n = 0; n < plan->layout.nr_nodes; n++)
		if (plan->settings.machine_node[n] == machine)
			return n;
	return 0;
}

static int init_cpus(struct quire *q, const struct plan *plan)
{
	const struct quire_options *options = &plan->settings.options;
	/* Sets of the trylock way are numbered by CPU as well. */
	uint32_t cpus = q->way == QUIRE_WAY_BOUND ? options->cpus
						  : platform_possible_cpus();

	for (uint32_t cpu = 0; cpu < q->nr_cpu_nodes; cpu++) {
		unsigned node = cpu < cpus ? (unsigned)((uint64_t)cpu *
							q->nodes->nr / cpus)
					   : 0;

		if (options->cpu_node)
			node = options->cpu_node(options->cpu_node_arg, cpu);
		else if (options->flags & QUIRE_NUMA)
			node = machine_to_node(plan, platform_cpu_node(cpu));
		if (node >= q->nodes->nr)
			return report_invalid(&q->reporter,
					      "cpu_node: CPU %u: node %u of %u",
					      cpu, node, q->nodes->nr);
		q->cpu_node[cpu] = (uint8_t)node;
	}
	step(q, plan, "way %s, %u CPUs, %zu bytes of page lists",
	     quire_way_name(q->way), q->nr_cpus, q->pcp_bytes);
	return 0;
}

static void init_lists(struct quire *q, const struct plan *plan,
		       const struct tables *t)
{
	const struct quire_options *options = &plan->settings.options;
	struct pcp_settings settings = {
		.nr_cpus = options->cpus,
		.way = q->way,
		.key = q->key,
		.renew = options->renew,
		.decay_ms = options->decay_ms,
		.reporter = &q->reporter,
	};
	struct zone_walk walk;
	struct zone *home = zone_walk_first(&walk, q->nodes, 0,
					    QUIRE_ZONE_NORMAL, NODES_ALL);

	for (unsigned z = 0; z < q->nr_zones; z++) {
		q->pcp[z] = &t->pcps[z];
		settings.fast_back = q->zone[z] == home ? &q->back : NULL;
		pcp_init(q->pcp[z], q->zone[z], t->sets[z], &settings);
	}
	q->sets = t->sets[home->id];
	q->home = q->pcp[home->id];
	q->head = PAGE_HEAD | page_tag(home->id, QUIRE_TYPE_UNMOVABLE);
	if (!q->check_race)
		q->list_orders = PCP_ORDERS;
	if (q->nodes->nr == 1 && q->way == QUIRE_WAY_RSEQ)
		q->fast_orders = q->list_orders;
}

/* In the order of Linux's free_area_init(). */
static int lay_out(struct quire *q, const struct plan *plan,
		   const struct tables *t)
{
	const struct quire_options *options = &plan->settings.options;

	q->nr_zones = plan->layout.nr_zones;
	q->nr_cpus = options->cpus;
	q->pcp_bytes = q->nr_zones * pcp_sets_bytes(q->nr_cpus);
	q->check_race = config_debug || options->flags & QUIRE_CHECK_RACE;
	q->decay_ms = options->decay_ms;
	q->wait_ms = options->wait_ms;
	q->give = (struct give_back){
		.how = options->flags & QUIRE_PINNED ? QUIRE_GIVE_NONE
						     : options->give_back,
		.delay_ms = options->give_delay_ms,
		.rate = options->give_rate,
		.floor = options->give_floor,
	};
	lock_init(&q->drain_lock, LOCK_RANK_DRAIN);
	lock_init(&q->zonelist_lock, LOCK_RANK_ZONELIST);
	wait_queue_init(&q->page_waiters, LOCK_RANK_WAITERS);
	tell_arena(q, plan);
	init_nodes(q, plan, t);
	tell_zones(q, plan);
	init_map(q, plan, t);
	init_zones(q, plan, t);
	init_free_areas(q, plan);
	init_watermarks(q, plan);
	init_zonelists(q, plan);
	if (nodes_with_memory(q->nodes, QUIRE_ZONE_NORMAL) == 0)
		return report_invalid(&q->reporter,
				      "no node has a zone for calls that name "
				      "none: NORMAL and DMA32 are empty");
	if (policy_check(&q->policy, q->nodes, QUIRE_ZONE_NORMAL,
			 &q->reporter) != 0 ||
	    init_cpus(q, plan) != 0)
		return -1;
	init_lists(q, plan, t);
	return 0;
}

/* --- build --- */

static int choose_way(struct quire *q, const struct plan *plan,
		      const struct tables *t)
{
	const struct quire_options *options = &plan->settings.options;

	q->way = options->way;
	if (q->way == QUIRE_WAY_RSEQ && !platform_rseq_usable()) {
		report(&q->reporter,
		       "way rseq cannot be had: no registered restartable "
		       "sequences, or no membarrier for them");
		errno = ENOTSUP;
		return -1;
	}
	if (q->way == QUIRE_WAY_BOUND)
		return bind_init(q, t->seats, options->cpus);
	return 0;
}

/* The tables exist: an allocator out of them. The arena is the caller's to
 * undo. */
static struct quire *build(struct plan *plan)
{
	struct memblock *memblock = &plan->memblock;
	struct tables t;
	struct quire *q;

	memblock_init(memblock, &plan->reporter);
	memblock->debug = plan->settings.debug_memblock;
	if (arena_add_to_memblock(&plan->arena, memblock) != 0)
		return NULL;
	for_each_table(plan, &t, take_memory, memblock);
	if (!tables_complete(&t, plan->layout.nr_zones)) {
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
	if (choose_way(q, plan, &t) != 0)
		return NULL;
	if (lay_out(q, plan, &t) != 0 || fork_register(q) != 0) {
		if (q->way == QUIRE_WAY_BOUND)
			bind_fini(q);
		return NULL;
	}
	return q;
}

/* Each node's pages lie where the machine has it. */
static int bind_nodes(const struct plan *plan)
{
	const struct layout *layout = &plan->layout;

	for (unsigned n = 0; n < layout->nr_nodes; n++) {
		uint64_t first = layout->node[n], end = layout->node[n + 1];
		unsigned machine = plan->settings.machine_node[n];
		char *at = (char *)(uintptr_t)(plan->region.base +
					       (first << QUIRE_PAGE_SHIFT));

		if (platform_bind_node(at, (end - first) << QUIRE_PAGE_SHIFT,
				       machine) == 0)
			continue;
		/* Without libnuma, or its calls, there is one node. */
		if (errno == ENOTSUP && layout->nr_nodes == 1)
			return 0;
		report(&plan->reporter,
		       "node %u: %llu pages cannot be bound to the machine's "
		       "node %u (errno %d)",
		       n, (ull)(end - first), machine, errno);
		return -1;
	}
	return 0;
}

/* --- create and destroy --- */

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
	q = plan.settings.options.flags & QUIRE_NUMA && plan.arena.mapped &&
			    bind_nodes(&plan) != 0
		    ? NULL
		    : build(&plan);
	if (!q) {
		int error = errno;

		arena_fini(&plan.arena);
		errno = error;
	}
	return q;
}

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
	services_stop(q);
	fork_unregister(q);
	if (q->way == QUIRE_WAY_BOUND)
		bind_fini(q);
	/* The allocator lies in the range that goes away. */
	arena = q->arena;
	arena_fini(&arena);
	return 0;
}
