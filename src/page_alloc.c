/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The front: allocation and free.
 *
 * Data flows one way. An allocation asks, zone by zone in the order of its
 * node's zonelist, the CPU's list, which asks the zone. What comes back is a
 * pfn whose state word says PAGE_PCP, its zone and its type; handing it out is
 * one store that makes it a head. A free is the same backwards: the word must
 * be that of a live head of the order named, becomes PAGE_PCP, and the pfn is
 * pushed to a list of the zone and type it names.
 *
 * quire_alloc_pages() and quire_free_pages() are the fast path: one node, its
 * zone for unmovable pages, no flags, restartable sequences. Everything else
 * takes the general path below, which repeats nothing of it but the order of
 * events. In the other ways of being a CPU, and with several nodes or another
 * policy than local, fast_orders is 0.
 *
 * Short of pages, an allocation does in turn:
 *   1. all its zones above their low watermark;
 *   2. wakes the node's reclaim thread, if there is one, and takes what it may
 *      above the min watermark;
 *   3. drains every CPU, and asks once more;
 *   4. has shrinkers free pages, and asks, a few times;
 *   5. waits in line (line.c), or fails.
 * Reserves hold: no step goes below the floor that the flags allow.
 *
 * Failure. Before an allocation fails, every CPU's lists and owned blocks of
 * every zone are taken and given to the zones, and these are asked again while
 * nobody can park pages (see pcp.c, transit): a failure is true at a moment
 * inside the call.
 *
 * A second free of a page is refused when the first happened before it. Two
 * that race can both read a live head; a compare-and-exchange in place of the
 * store tells them apart (QUIRE_CHECK_RACE, debug builds).
 */
#include "page_alloc.h"

#include <errno.h>
#include <string.h>

#include "platform/platform.h"

#define DEFAULT_TYPE QUIRE_TYPE_UNMOVABLE
/* Rounds of shrinkers that one allocation goes through (Linux:
 * MAX_RECLAIM_RETRIES). */
enum { RECLAIM_TRIES = 16 };
/* Pages that are asked of shrinkers at least, as Linux's SWAP_CLUSTER_MAX. */
enum { RECLAIM_PAGES = 32 };
/* QUIRE_NOFAIL reclaims again when it has waited for that long. */
enum { NOFAIL_WAIT_MS = 100 };
/* pfns a bulk call has on its stack at a time */
enum { BULK = 256 };

/* --- refusals --- */

static const char *kind_name(uint64_t word)
{
	switch (word & PAGE_KIND_MASK) {
	case PAGE_HEAD:
		return "live";
	case PAGE_PCP:
		return "free, in a per-CPU list";
	default:
		return "free, or inside a block";
	}
}

int page_alloc_refuse(struct quire *q)
{
	atomic_fetch_add_explicit(&q->refused, 1, memory_order_relaxed);
	errno = EINVAL;
	return -1;
}

int page_alloc_refuse_pointer(struct quire *q, const char *call,
			      const void *pointer)
{
	report(&q->reporter,
	       "%s: %p is not of this allocator (%u pages from pfn %u, "
	       "descriptors at %p)",
	       call, pointer, q->map.region.end - q->map.region.first,
	       q->map.region.first,
	       (void *)memmap_page(&q->map, q->map.region.first));
	return page_alloc_refuse(q);
}

int page_alloc_refuse_page(struct quire *q, const char *call, pfn_t pfn,
			   uint64_t word, const unsigned *order)
{
	/* -1: the call names no order */
	int named = order ? (int)*order : -1;

	if (!page_is_head(word))
		report(&q->reporter,
		       "%s: pfn %u, order %d: not a live block's head but %s "
		       "(a double free, or a tail page); state 0x%llx",
		       call, pfn, named, kind_name(word),
		       (unsigned long long)word);
	else
		report(&q->reporter,
		       "%s: pfn %u, order %d: the block has order %u and %llu "
		       "holders; state 0x%llx",
		       call, pfn, named, page_order(word),
		       (unsigned long long)page_refs(word) + 1,
		       (unsigned long long)word);
	return page_alloc_refuse(q);
}

int page_alloc_check_fork(const struct quire *q)
{
	if (!q->forked)
		return 0;
	errno = EPERM;
	return -1;
}

/* --- holding everything --- */

bool allocator_hold_locked(struct quire *q, bool drain)
{
	bool fenced;

	for (unsigned z = 0; z < q->nr_zones; z++)
		pcp_close_all(q->pcp[z]);
	fenced = pcp_fence_all(q->home);
	for (unsigned z = 0; z < q->nr_zones && fenced && drain; z++)
		pcp_drain_all(q->pcp[z]);
	return fenced;
}

bool allocator_hold(struct quire *q)
{
	lock_acquire(&q->drain_lock);
	return allocator_hold_locked(q, true);
}

void allocator_release(struct quire *q)
{
	for (unsigned z = 0; z < q->nr_zones; z++)
		pcp_release_all(q->pcp[z]);
	lock_release(&q->drain_lock);
}

/* --- inside a shrinker --- */

static thread_local_in_handlers unsigned in_reclaim;

void page_alloc_enter_reclaim(void)
{
	in_reclaim++;
}

void page_alloc_leave_reclaim(void)
{
	in_reclaim--;
}

bool page_alloc_in_reclaim(void)
{
	return in_reclaim != 0;
}

/* --- nodes --- */

unsigned allocator_this_node(const struct quire *q)
{
	const struct pcp_seat *seat;
	uint32_t cpu;

	if (q->nodes->nr == 1)
		return 0;
	seat = q->way == QUIRE_WAY_BOUND ? platform_key_get(q->key) : NULL;
	cpu = seat ? seat->cpu : platform_cpu();
	return cpu < q->nr_cpu_nodes ? q->cpu_node[cpu] : 0;
}

/* Of a zone in which calls stop at their watermarks. */
static uint64_t missing(struct zone *zone, enum watermark mark)
{
	uint64_t floor = watermark_floor(&zone->marks, mark, zone->kind, 0);
	uint64_t free = zone_usable_pages(zone);

	return free < floor ? floor - free : 0;
}

uint64_t allocator_shortfall(const struct quire *q, unsigned node)
{
	uint64_t sum = 0;

	for (unsigned kind = 0; kind < QUIRE_ZONE_DEVICE; kind++) {
		struct zone *zone = node_zone(q->nodes, node, kind);

		if (zone)
			sum += missing(zone, WATERMARK_HIGH);
	}
	return sum;
}

bool allocator_is_low(const struct quire *q, unsigned node)
{
	for (unsigned kind = 0; kind < QUIRE_ZONE_DEVICE; kind++) {
		struct zone *zone = node_zone(q->nodes, node, kind);

		if (zone && missing(zone, WATERMARK_LOW))
			return true;
	}
	return false;
}

void allocator_balanced(struct quire *q, unsigned node)
{
	for (unsigned kind = 0; kind < QUIRE_ZONE_DEVICE; kind++) {
		struct zone *zone = node_zone(q->nodes, node, kind);

		if (zone)
			watermark_unboost(&zone->marks);
	}
}

/* --- what is wanted --- */

static const struct {
	unsigned both;
	const char *why;
} contradictions[] = {
	{ QUIRE_NOLOCK | QUIRE_WAIT, "who may not block cannot wait" },
	{ QUIRE_NOLOCK | QUIRE_NOFAIL, "who may not block can fail" },
	{ QUIRE_ATOMIC | QUIRE_WAIT, "ATOMIC does not wait" },
	{ QUIRE_ATOMIC | QUIRE_NOFAIL, "ATOMIC does not wait" },
	{ QUIRE_NORETRY | QUIRE_WAIT, "waiting is to try again" },
	{ QUIRE_NORETRY | QUIRE_NOFAIL, "NORETRY is to fail" },
	{ QUIRE_MOVABLE | QUIRE_RECLAIMABLE, "a page is one or the other" },
	{ QUIRE_DMA32 | QUIRE_DEVICE, "a page is in one zone" },
	{ QUIRE_DEVICE | QUIRE_NOFAIL, "nobody reclaims a device's pages" },
};

static int refuse_flags(struct quire *q, unsigned order, unsigned flags,
			const char *why)
{
	report(&q->reporter, "alloc: order %u (at most %d), flags 0x%x: %s",
	       order, QUIRE_MAX_ORDER, flags, why);
	errno = EINVAL;
	return -1;
}

static int check_flags(struct quire *q, unsigned order, unsigned flags)
{
	const unsigned known = (QUIRE_THISNODE << 1) - 1;
	const size_t n = sizeof(contradictions) / sizeof(*contradictions);
	unsigned node = (flags & QUIRE_NODE_MASK) >> 16;

	if (order > QUIRE_MAX_ORDER)
		return refuse_flags(q, order, flags, "no such order");
	if (flags & ~(known | QUIRE_NODE_MASK))
		return refuse_flags(q, order, flags, "unknown bits");
	for (size_t i = 0; i < n; i++)
		if (!(contradictions[i].both & ~flags))
			return refuse_flags(q, order, flags,
					    contradictions[i].why);
	if (flags & QUIRE_CMA && !(flags & QUIRE_MOVABLE))
		return refuse_flags(q, order, flags,
				    "CMA is for movable pages");
	if (node > q->nodes->nr) {
		report(&q->reporter, "alloc: flags 0x%x: node %u of %u", flags,
		       node - 1, q->nodes->nr);
		errno = EINVAL;
		return -1;
	}
	if (flags & QUIRE_ZERO &&
	    (!q->map.region.mapped || flags & QUIRE_DEVICE)) {
		report(&q->reporter, "alloc: flags 0x%x: QUIRE_ZERO on %s",
		       flags,
		       q->map.region.mapped
			       ? "QUIRE_DEVICE, which quire never writes"
			       : "offsets, which are mapped nowhere");
		errno = ENOTSUP;
		return -1;
	}
	return 0;
}

static enum quire_zone highest_zone(unsigned flags)
{
	if (flags & QUIRE_DEVICE)
		return QUIRE_ZONE_DEVICE;
	if (flags & QUIRE_DMA32)
		return QUIRE_ZONE_DMA32;
	return flags & QUIRE_MOVABLE ? QUIRE_ZONE_MOVABLE : QUIRE_ZONE_NORMAL;
}

static struct choice choose_nodes(struct quire *q, unsigned flags,
				  struct quire_policy *policy)
{
	struct choice from = { .nodes = NODES_ALL };

	if (flags & QUIRE_NODE_MASK)
		from.node = ((flags & QUIRE_NODE_MASK) >> 16) - 1;
	else if (q->nodes->nr > 1)
		from = policy_choose(policy, q->nodes, allocator_this_node(q));
	if (flags & QUIRE_THISNODE)
		from.nodes = UINT32_C(1) << from.node;
	return from;
}

static int want_init(struct quire *q, struct want *want, unsigned order,
		     unsigned flags, struct quire_policy *policy)
{
	*want = (struct want){ .ask = { .order = order },
			       .flags = flags,
			       .highest = QUIRE_ZONE_NORMAL };
	if (page_alloc_check_fork(q) != 0)
		return -1;
	if (unlikely(flags || order > QUIRE_MAX_ORDER)) {
		if (check_flags(q, order, flags) != 0)
			return -1;
		if (flags & QUIRE_MOVABLE)
			want->ask.type = QUIRE_TYPE_MOVABLE;
		else if (flags & QUIRE_RECLAIMABLE)
			want->ask.type = QUIRE_TYPE_RECLAIMABLE;
		want->highest = highest_zone(flags);
		if (flags & QUIRE_ATOMIC && order)
			want->ask.may |= ZONE_HIGHATOMIC;
		if (flags & QUIRE_CMA)
			want->ask.may |= ZONE_CMA;
	}
	if (unlikely(page_alloc_in_reclaim()))
		want->flags |= QUIRE_MEMALLOC;
	want->from = choose_nodes(q, flags, policy);
	return 0;
}

/* --- the zonelist walk --- */

/* Over a zonelist, or over the zones of devices, which are in none. */
struct walk {
	struct zone_walk list;
	uint32_t devices; /* nodes left, the nearest is next */
};

static struct zone *next_device(struct quire *q, const struct want *want,
				struct walk *walk)
{
	unsigned node;

	if (walk->devices == 0)
		return NULL;
	node = nodes_nearest(q->nodes, want->from.node, walk->devices);
	walk->devices &= ~(UINT32_C(1) << node);
	return node_zone(q->nodes, node, QUIRE_ZONE_DEVICE);
}

static struct zone *first_zone(struct quire *q, const struct want *want,
			       struct walk *walk)
{
	if (unlikely(want->highest == QUIRE_ZONE_DEVICE)) {
		walk->devices = nodes_with_memory(q->nodes, want->highest) &
				want->from.nodes;
		return next_device(q, want, walk);
	}
	return zone_walk_first(&walk->list, q->nodes, want->from.node,
			       want->highest, want->from.nodes);
}

static struct zone *next_zone(struct quire *q, const struct want *want,
			      struct walk *walk)
{
	if (unlikely(want->highest == QUIRE_ZONE_DEVICE))
		return next_device(q, want, walk);
	return zone_walk_next(&walk->list);
}

/* Lists were rebuilt meanwhile: a zone may have been missed. */
static bool walk_outdated(const struct want *want, const struct walk *walk)
{
	return want->highest != QUIRE_ZONE_DEVICE &&
	       unlikely(zone_walk_outdated(&walk->list));
}

/* Not more than an eighth of a zone, however much is waited for. */
static uint64_t owed(const struct zone *zone)
{
	uint64_t pages =
		atomic_load_explicit(&zone->owed, memory_order_relaxed);
	uint64_t most = (zone->end - zone->first) / 8;

	return pages < most ? pages : most;
}

static void set_floor(struct want *want, const struct zone *zone,
		      enum watermark mark)
{
	want->ask.hint = mark != WATERMARK_MIN;
	want->ask.floor = 0;
	if (zone->kind == QUIRE_ZONE_DEVICE)
		return;
	want->ask.floor =
		watermark_floor(&zone->marks, mark, want->highest, want->flags);
	if (!want->in_line && !(want->flags & (QUIRE_ATOMIC | QUIRE_MEMALLOC)))
		want->ask.floor += owed(zone);
}

/* How a zone is asked. */
struct ask {
	bool (*block)(struct pcp *pcp, const struct zone_ask *ask, pfn_t *pfn);
	bool (*exact)(struct pcp *pcp, const struct zone_ask *ask, uint64_t n,
		      pfn_t *pfn, bool *zero);
};

static const struct ask ask = { pcp_alloc, pcp_alloc_exact };
/* Every CPU's set is held, and the locks of all zones. */
static const struct ask ask_held = { pcp_alloc_held, pcp_alloc_exact_held };
static const struct ask ask_nolock = { pcp_alloc_nolock,
				       pcp_alloc_exact_nolock };

static bool alloc_from_zone(struct quire *q, struct want *want,
			    struct zone *zone, const struct ask *by, pfn_t *pfn)
{
	struct pcp *pcp = q->pcp[zone->id];

	want->zone = zone->id;
	if (want->exact)
		return by->exact(pcp, &want->ask, want->exact, pfn,
				 &want->zero);
	return by->block(pcp, &want->ask, pfn);
}

static bool alloc_from_zones(struct quire *q, struct want *want,
			     enum watermark mark, const struct ask *by,
			     pfn_t *pfn)
{
	struct walk walk;

	do {
		for (struct zone *zone = first_zone(q, want, &walk); zone;
		     zone = next_zone(q, want, &walk)) {
			set_floor(want, zone, mark);
			if (alloc_from_zone(q, want, zone, by, pfn))
				return true;
		}
	} while (walk_outdated(want, &walk));
	return false;
}

/* --- short of pages --- */

static bool may_use(const struct zone *zone, const struct want *want)
{
	bool kind = want->highest == QUIRE_ZONE_DEVICE
			    ? zone->kind == QUIRE_ZONE_DEVICE
			    : zone->kind <= want->highest;

	return kind && want->from.nodes >> zone->node & 1;
}

/* It may use the zone, and such a block lies in it. */
static bool may_hold(const struct zone *zone, const struct want *want)
{
	const uint64_t pages = UINT64_C(1) << want->ask.order;

	return may_use(zone, want) &&
	       align_up(zone->first, pages) + pages <= zone->end;
}

/* High-atomic reserves of the zones allowed, a block at a time. */
static bool unreserve(struct quire *q, const struct want *want)
{
	bool some = false;

	for (unsigned z = 0; z < q->nr_zones; z++)
		if (may_use(q->zone[z], want) &&
		    zone_unreserve_locked(q->zone[z], want->ask.type))
			some = true;
	return some;
}

/*
 * Every free page is in the zones and the zones stand still: were they asked
 * one after the other, a page could be freed in the first and the last of the
 * second taken meanwhile.
 */
static bool alloc_held(struct quire *q, struct want *want, pfn_t *pfn)
{
	bool ok;

	schedule_point();
	allocator_hold(q);
	for (unsigned z = 0; z < q->nr_zones; z++)
		zone_lock(q->zone[z]);
	/* What was freed without a lock since the first was taken. */
	for (unsigned z = 0; z < q->nr_zones; z++)
		zone_settle_locked(q->zone[z]);
	do
		ok = alloc_from_zones(q, want, WATERMARK_MIN, &ask_held, pfn);
	while (!ok && unreserve(q, want));
	for (unsigned z = 0; z < q->nr_zones; z++)
		zone_unlock(q->zone[z]);
	allocator_release(q);
	return ok;
}

/* Pages that shrinkers say they freed; 0 also if there are none. */
static uint64_t reclaim(struct quire *q, const struct want *want)
{
	uint64_t (*hook)(struct quire *, const struct quire_shrink *) =
		atomic_load_explicit(&q->hooks.reclaim, memory_order_acquire);
	const uint64_t pages = UINT64_C(1) << want->ask.order;
	const struct quire_shrink shrink = {
		.q = q,
		.node = want->from.node,
		.order = want->ask.order,
		.pages = pages < RECLAIM_PAGES ? RECLAIM_PAGES : pages,
	};

	return hook ? hook(q, &shrink) : 0;
}

static bool alloc_reclaiming(struct quire *q, struct want *want, pfn_t *pfn)
{
	for (unsigned i = 0; i < RECLAIM_TRIES && reclaim(q, want); i++)
		if (alloc_from_zones(q, want, WATERMARK_MIN, &ask, pfn) ||
		    alloc_held(q, want, pfn))
			return true;
	return false;
}

/* What somebody in line wants; not to be asked of lists, which are shut. */
static bool try_for_waiter(struct quire *q, struct want *want, pfn_t *pfn)
{
	return alloc_from_zones(q, want, WATERMARK_MIN, &ask, pfn);
}

/* Not by the zonelist, which can be another one when it is taken back. */
static void owe(struct quire *q, const struct want *want, uint64_t pages)
{
	for (unsigned z = 0; z < q->nr_zones; z++)
		if (may_hold(q->zone[z], want))
			atomic_fetch_add_explicit(&q->zone[z]->owed, pages,
						  memory_order_relaxed);
}

/* Somebody in line who must not fail helps himself meanwhile. */
static void reclaim_for_waiter(struct quire *q, struct want *want)
{
	reclaim(q, want);
}

static bool wait_in_line(struct quire *q, struct want *want, unsigned wait_ms,
			 pfn_t *pfn)
{
	const uint64_t pages = UINT64_C(1) << want->ask.order;
	const bool nofail = want->flags & QUIRE_NOFAIL;
	const struct line_wish wish = {
		.timeout_ns = nofail ? UINT64_MAX
				     : UINT64_C(1000000) *
					       (wait_ms ? wait_ms : q->wait_ms),
		.try = try_for_waiter,
		.idle = nofail ? reclaim_for_waiter : NULL,
		.idle_ns = UINT64_C(1000000) * NOFAIL_WAIT_MS,
	};
	bool ok;

	atomic_fetch_add_explicit(&q->waits, 1, memory_order_relaxed);
	want->in_line = true;
	owe(q, want, pages);
	ok = line_wait(q, want, &wish, pfn);
	owe(q, want, -pages);
	want->in_line = false;
	if (!ok)
		atomic_fetch_add_explicit(&q->timeouts, 1,
					  memory_order_relaxed);
	return ok;
}

/* Whether some zone allowed could hold such a block at all. */
static bool fits_a_zone(const struct quire *q, const struct want *want)
{
	for (unsigned z = 0; z < q->nr_zones; z++)
		if (may_hold(q->zone[z], want))
			return true;
	return false;
}

static bool fail(struct quire *q, int error)
{
	atomic_fetch_add_explicit(&q->failures, 1, memory_order_relaxed);
	errno = error;
	return false;
}

/* Nobody waits for what cannot come. */
static bool refuse_to_wait(struct quire *q, const struct want *want)
{
	report(&q->reporter,
	       "alloc: order %u, flags 0x%x: no zone it may use could ever "
	       "hold it",
	       want->ask.order, want->flags);
	return fail(q, EINVAL);
}

static cold bool alloc_last(struct quire *q, struct want *want,
			    unsigned wait_ms, pfn_t *pfn)
{
	if (want->flags & QUIRE_NOLOCK)
		return fail(q, EAGAIN);
	if (want->flags & QUIRE_NORETRY)
		return fail(q, ENOMEM);
	if (!fits_a_zone(q, want))
		return want->flags & (QUIRE_WAIT | QUIRE_NOFAIL)
			       ? refuse_to_wait(q, want)
			       : fail(q, ENOMEM);
	if (alloc_held(q, want, pfn))
		return true;
	if (want->flags & QUIRE_ATOMIC || page_alloc_in_reclaim())
		return fail(q, ENOMEM);
	if (alloc_reclaiming(q, want, pfn))
		return true;
	if (!(want->flags & (QUIRE_WAIT | QUIRE_NOFAIL)))
		return fail(q, ENOMEM);
	while (!wait_in_line(q, want, wait_ms, pfn)) {
		if (!(want->flags & QUIRE_NOFAIL))
			return fail(q, errno);
		/* Lists that cannot be shut may be drained the next time. */
		platform_nap();
		if (alloc_held(q, want, pfn))
			return true;
	}
	return true;
}

static void kick(struct quire *q, unsigned node)
{
	void (*hook)(struct quire *, unsigned) =
		atomic_load_explicit(&q->hooks.kick, memory_order_acquire);

	if (hook)
		hook(q, node);
}

/* All but the lists' fast path. */
static bool alloc_want(struct quire *q, struct want *want, unsigned wait_ms,
		       pfn_t *pfn)
{
	/* Who waits does so behind those who waited before. */
	bool queue = want->flags & (QUIRE_WAIT | QUIRE_NOFAIL) &&
		     line_length(&q->line);

	if (want->flags & QUIRE_NOLOCK)
		return alloc_from_zones(q, want, WATERMARK_MIN, &ask_nolock,
					pfn) ||
		       alloc_last(q, want, wait_ms, pfn);
	if (!queue && alloc_from_zones(q, want, WATERMARK_LOW, &ask, pfn))
		return true;
	kick(q, want->from.node);
	if (!queue && alloc_from_zones(q, want, WATERMARK_MIN, &ask, pfn))
		return true;
	return alloc_last(q, want, wait_ms, pfn);
}

static void clear_pages(struct quire *q, pfn_t pfn, uint64_t pages)
{
	memset(memmap_virt(&q->map, pfn), 0, (size_t)pages << QUIRE_PAGE_SHIFT);
	atomic_fetch_add_explicit(&q->zeroed, pages, memory_order_relaxed);
}

/* A pfn from the lists becomes a live head. */
static struct quire_page *hand_out(struct quire *q, const struct want *want,
				   pfn_t pfn)
{
	struct quire_page *page = memmap_page(&q->map, pfn);
	uint64_t word = page_word(page);

	schedule_point();
	page_set_word(page, (word & ~PAGE_ZERO) ^ (PAGE_HEAD ^ PAGE_PCP));
	if (want->flags & QUIRE_ZERO && !(word & PAGE_ZERO))
		clear_pages(q, pfn, UINT64_C(1) << want->ask.order);
	return page;
}

/*
 * The fast path for types, and for several nodes: the list of the first zone
 * that this CPU's calls go to. NULL: the rest of the way is to be gone.
 */
static struct quire_page *alloc_from_list(struct quire *q, unsigned order,
					  unsigned flags)
{
	static const uint8_t type_of[] = { QUIRE_TYPE_UNMOVABLE,
					   QUIRE_TYPE_MOVABLE,
					   QUIRE_TYPE_RECLAIMABLE };
	const unsigned type = flags / QUIRE_MOVABLE;
	struct quire_page *page;
	struct zone_walk walk;
	struct zone *zone;
	uint64_t word;
	pfn_t pfn;

	if (order >= q->list_orders || flags % QUIRE_MOVABLE ||
	    type >= sizeof(type_of))
		return NULL;
	zone = zone_walk_first(&walk, q->nodes, allocator_this_node(q),
			       type == QUIRE_TYPE_MOVABLE ? QUIRE_ZONE_MOVABLE
							  : QUIRE_ZONE_NORMAL,
			       NODES_ALL);
	if (!zone ||
	    !rseq_pop(q->pcp[zone->id]->sets, q->nr_cpus,
		      pcp_stack_offset(pcp_list(type_of[type], order)), &pfn))
		return NULL;
	page = memmap_page(&q->map, pfn);
	tsan_acquire(page);
	word = page_word(page);
	page_set_word(page, (word & ~PAGE_ZERO) ^ (PAGE_HEAD ^ PAGE_PCP));
	return page;
}

static noinline struct quire_page *
alloc_pages_general(struct quire *q, unsigned order, unsigned flags,
		    struct quire_policy *policy, unsigned wait_ms)
{
	struct quire_page *page;
	struct want want;
	pfn_t pfn;

	if (policy->mode == QUIRE_POLICY_LOCAL &&
	    (page = alloc_from_list(q, order, flags)))
		return page;
	if (want_init(q, &want, order, flags, policy) != 0 ||
	    !alloc_want(q, &want, wait_ms, &pfn))
		return NULL;
	return hand_out(q, &want, pfn);
}

struct quire_page *quire_alloc_pages_with(struct quire *q, unsigned order,
					  unsigned flags,
					  struct quire_policy *policy,
					  unsigned wait_ms)
{
	if (policy && policy_check(policy, q->nodes, highest_zone(flags),
				   &q->reporter) != 0)
		return NULL;
	return alloc_pages_general(q, order, flags,
				   policy ? policy : &q->policy, wait_ms);
}

struct quire_page *quire_alloc_pages(struct quire *q, unsigned order,
				     unsigned flags)
{
	struct quire_page *page;
	pfn_t pfn;

	if (unlikely(order >= q->fast_orders || flags))
		return alloc_pages_general(q, order, flags, &q->policy, 0);
	if (unlikely(!rseq_pop(q->sets, q->nr_cpus,
			       pcp_stack_offset(pcp_list(DEFAULT_TYPE, order)),
			       &pfn)))
		return alloc_pages_general(q, order, 0, &q->policy, 0);
	page = memmap_page(&q->map, pfn);
	tsan_acquire(page);
	page_set_word(page, q->head | order);
	return page;
}

/* Above the low watermark of any zone, then above min. */
static size_t bulk_from_zones(struct quire *q, struct want *want, size_t n,
			      pfn_t *pfns)
{
	size_t got = 0;

	for (unsigned i = 0; i < 2; i++) {
		enum watermark mark = i ? WATERMARK_MIN : WATERMARK_LOW;
		struct walk walk;

		for (struct zone *zone = first_zone(q, want, &walk);
		     zone && got < n; zone = next_zone(q, want, &walk)) {
			set_floor(want, zone, mark);
			got += pcp_alloc_bulk(q->pcp[zone->id], &want->ask,
					      n - got, pfns + got);
		}
		if (got == n)
			break;
		if (mark == WATERMARK_LOW)
			kick(q, want->from.node);
	}
	return got;
}

size_t quire_alloc_pages_bulk(struct quire *q, unsigned order, unsigned flags,
			      size_t n, struct quire_page **pages)
{
	struct want want;
	size_t done = 0;
	pfn_t pfns[BULK];

	if (want_init(q, &want, order, flags, &q->policy) != 0)
		return 0;
	while (done < n) {
		size_t now = n - done < BULK ? n - done : BULK, got;

		if (flags & QUIRE_NOLOCK)
			got = alloc_from_zones(q, &want, WATERMARK_MIN,
					       &ask_nolock, pfns);
		else
			got = bulk_from_zones(q, &want, now, pfns);
		if (got == 0 && alloc_last(q, &want, 0, pfns))
			got = 1;
		if (got == 0)
			return done;
		for (size_t i = 0; i < got; i++)
			pages[done++] = hand_out(q, &want, pfns[i]);
		want.from = choose_nodes(q, flags, &q->policy);
	}
	return done;
}

struct quire_page *quire_alloc_exact(struct quire *q, size_t n, unsigned flags)
{
	struct want want;
	pfn_t pfn;
	uint64_t word;

	if (n == 0 || n > GIGABLOCK_PAGES) {
		report(&q->reporter, "alloc_exact: %zu pages: need 1 to %llu",
		       n, (unsigned long long)GIGABLOCK_PAGES);
		errno = EINVAL;
		return NULL;
	}
	if (want_init(q, &want, bits_order(n), flags, &q->policy) != 0)
		return NULL;
	want.exact = n;
	want.ask.may = 0;
	if (!alloc_want(q, &want, 0, &pfn))
		return NULL;
	word = PAGE_HEAD | page_tag(want.zone, want.ask.type);
	for (size_t i = 0; i < n; i++)
		page_set_word(memmap_page(&q->map, (pfn_t)(pfn + i)), word);
	if (flags & QUIRE_ZERO && !want.zero)
		clear_pages(q, pfn, n);
	return memmap_page(&q->map, pfn);
}

/* --- free --- */

/* A live head without other holders goes back; its word is PAGE_PCP already. */
static void take_back(struct quire *q, pfn_t pfn, uint64_t word, bool nolock)
{
	(nolock ? pcp_free_nolock : pcp_free)(q->pcp[page_zone(word)],
					      page_order(word), page_type(word),
					      pfn);
	/* Point 2 of line.c: with the fence in line_wait(). */
	if (nolock)
		atomic_thread_fence(memory_order_seq_cst);
	line_ring(&q->line);
}

static uint64_t parked(uint64_t word)
{
	return (word & ~(PAGE_KIND_MASK | PAGE_FLAGS_MASK)) | PAGE_PCP;
}

static int put(struct quire *q, const char *call, pfn_t pfn,
	       const unsigned *order, bool nolock)
{
	struct quire_page *page = memmap_page(&q->map, pfn);
	uint64_t word = page_word(page);
	bool last;

	if (page_alloc_check_fork(q) != 0)
		return -1;
	do {
		if (!page_is_head(word) ||
		    (order && *order != page_order(word)))
			return page_alloc_refuse_page(q, call, pfn, word,
						      order);
		last = page_refs(word) == 0;
		schedule_point();
		if (last && !q->check_race) {
			page_set_word(page, parked(word));
			break;
		}
		/* acq_rel: the last holder sees what the others wrote before
		 * they let go. */
	} while (!atomic_compare_exchange_weak_explicit(
		&page->word, &word, last ? parked(word) : word - PAGE_REF_ONE,
		memory_order_acq_rel, memory_order_relaxed));
	if (last) {
		atomic_thread_fence(memory_order_acquire);
		take_back(q, pfn, word, nolock);
	}
	return last;
}

int page_alloc_put(struct quire *q, const char *call, pfn_t pfn,
		   const unsigned *order)
{
	return put(q, call, pfn, order, false);
}

/* The list of the block's CPU is full, or shut. */
static noinline void free_pages_slow(struct quire *q, unsigned order, pfn_t pfn)
{
	pcp_free_slow(q->home, order, DEFAULT_TYPE, pfn);
	line_ring(&q->line);
}

/* The fast path for types, and for several nodes. */
static bool free_to_list(struct quire *q, unsigned order, pfn_t pfn)
{
	const uint64_t tag = page_tag(PAGE_ZONE_MASK, PAGE_TYPE_MASK);
	struct quire_page *page = memmap_page(&q->map, pfn);
	uint64_t word = page_word_acquire(page) & ~PAGE_FLAGS_MASK;
	struct pcp *pcp;

	if (order >= q->list_orders || (word & ~tag) != (PAGE_HEAD | order) ||
	    page_type(word) >= NR_CALL_TYPES)
		return false;
	pcp = q->pcp[page_zone(word)];
	page_set_word(page, word ^ (PAGE_HEAD ^ PAGE_PCP));
	tsan_release(page);
	if (rseq_push(pcp->sets, q->nr_cpus,
		      pcp_stack_offset(
			      pcp_back(pcp, pcp_list(page_type(word), order))),
		      pfn))
		return true;
	pcp_free_slow(pcp, order, page_type(word), pfn);
	line_ring(&q->line);
	return true;
}

static noinline int free_pages_general(struct quire *q, struct quire_page *page,
				       unsigned order)
{
	pfn_t pfn = memmap_pfn(&q->map, page);

	if (pfn == PFN_NONE)
		return page_alloc_refuse_pointer(q, "free_pages", page);
	if (free_to_list(q, order, pfn))
		return 0;
	return page_alloc_put(q, "free_pages", pfn, &order) < 0 ? -1 : 0;
}

int quire_free_pages(struct quire *q, struct quire_page *page, unsigned order)
{
	uint64_t word;
	pfn_t pfn;

	if (unlikely(!memmap_find(&q->map, page, &pfn) ||
		     order >= q->fast_orders))
		return free_pages_general(q, page, order);
	word = page_word_acquire(page) & ~PAGE_FLAGS_MASK;
	if (unlikely(word != (q->head | order)))
		return free_pages_general(q, page, order);
	page_set_word(page, word ^ (PAGE_HEAD ^ PAGE_PCP));
	tsan_release(page);
	if (unlikely(!rseq_push(
		    q->sets, q->nr_cpus,
		    atomic_load_explicit(&q->back, memory_order_relaxed) +
			    order * sizeof(struct cpu_stack),
		    pfn)))
		free_pages_slow(q, order, pfn);
	return 0;
}

int quire_free_pages_nolock(struct quire *q, struct quire_page *page,
			    unsigned order)
{
	pfn_t pfn = memmap_pfn(&q->map, page);

	if (pfn == PFN_NONE)
		return page_alloc_refuse_pointer(q, "free_pages_nolock", page);
	return put(q, "free_pages_nolock", pfn, &order, true) < 0 ? -1 : 0;
}

size_t quire_free_pages_bulk(struct quire *q, unsigned order, size_t n,
			     struct quire_page **pages)
{
	size_t accepted = 0;

	for (size_t i = 0; i < n; i++)
		accepted += quire_free_pages(q, pages[i], order) == 0;
	if (accepted < n)
		errno = q->forked ? EPERM : EINVAL;
	return accepted;
}

/* --- by address --- */

/* The pfn of a page-aligned address of the region, or PFN_NONE. */
static pfn_t addr_to_pfn(const struct quire *q, const void *addr)
{
	uint64_t distance = (uintptr_t)addr - q->map.region.base;
	uint64_t pfn = distance >> QUIRE_PAGE_SHIFT;

	if (distance % QUIRE_PAGE_SIZE || !memmap_has_pfn(&q->map, pfn))
		return PFN_NONE;
	return (pfn_t)pfn;
}

/* The page that an address to free names; PFN_NONE, refused, if none. */
static pfn_t addr_to_free(struct quire *q, const char *call, const void *addr)
{
	pfn_t pfn;

	if (!q->map.region.mapped) {
		report(&q->reporter,
		       "%s: %p: this allocator has offsets, not addresses",
		       call, addr);
		errno = ENOTSUP;
		return PFN_NONE;
	}
	pfn = addr_to_pfn(q, addr);
	if (pfn == PFN_NONE)
		page_alloc_refuse_pointer(q, call, addr);
	return pfn;
}

void *quire_alloc_addr(struct quire *q, unsigned order, unsigned flags)
{
	struct quire_page *page;

	if (!q->map.region.mapped) {
		report(&q->reporter, "alloc_addr: this allocator has offsets, "
				     "not addresses");
		errno = ENOTSUP;
		return NULL;
	}
	page = quire_alloc_pages(q, order, flags);
	return page ? memmap_virt(&q->map, memmap_pfn(&q->map, page)) : NULL;
}

int quire_free_addr(struct quire *q, void *addr, unsigned order)
{
	pfn_t pfn = addr_to_free(q, "free_addr", addr);

	if (pfn == PFN_NONE)
		return -1;
	return quire_free_pages(q, memmap_page(&q->map, pfn), order);
}

int quire_free_unsized(struct quire *q, void *addr)
{
	pfn_t pfn = addr_to_free(q, "free_unsized", addr);

	if (pfn == PFN_NONE)
		return -1;
	return page_alloc_put(q, "free_unsized", pfn, NULL) < 0 ? -1 : 0;
}

/* --- exact runs --- */

/* Back to live heads: pages [pfn, end), which claim_exact() had taken. */
static void unclaim_exact(struct quire *q, pfn_t pfn, pfn_t end)
{
	for (; pfn < end; pfn++) {
		struct quire_page *page = memmap_page(&q->map, pfn);

		page_set_word(page, page_word(page) ^ (PAGE_HEAD ^ PAGE_PCP));
	}
}

/*
 * Checks n pages, and with check_race takes each by compare-and-exchange, so
 * that of two racing calls one is refused; all are live again then. Flags are
 * kept: whoever is refused has changed nothing.
 */
static int claim_exact(struct quire *q, pfn_t first, size_t n)
{
	for (pfn_t pfn = first; pfn < first + n; pfn++) {
		struct quire_page *page = memmap_page(&q->map, pfn);
		uint64_t word = page_word(page);
		bool claimed = false;

		/* Flags and types may change meanwhile. */
		while (!claimed && page_is_head(word) && !page_order(word) &&
		       !page_refs(word))
			claimed = !q->check_race ||
				  atomic_compare_exchange_weak_explicit(
					  &page->word, &word,
					  word ^ (PAGE_HEAD ^ PAGE_PCP),
					  memory_order_acquire,
					  memory_order_relaxed);
		if (claimed)
			continue;
		if (q->check_race)
			unclaim_exact(q, first, pfn);
		return page_alloc_refuse_page(q, "free_exact", pfn, word,
					      &(unsigned){ 0 });
	}
	return 0;
}

int quire_free_exact(struct quire *q, struct quire_page *page, size_t n)
{
	pfn_t pfn = memmap_pfn(&q->map, page);

	if (page_alloc_check_fork(q) != 0)
		return -1;
	if (pfn == PFN_NONE)
		return page_alloc_refuse_pointer(q, "free_exact", page);
	if (n == 0 || n > q->map.region.end - pfn) {
		report(&q->reporter,
		       "free_exact: %zu pages from pfn %u: the region ends at "
		       "pfn %u",
		       n, pfn, q->map.region.end);
		return page_alloc_refuse(q);
	}
	if (claim_exact(q, pfn, n) != 0)
		return -1;
	/* A batch to the zone at a time: a long run would only pass through
	 * the lists. */
	while (n) {
		pfn_t pfns[ZONE_BATCH];
		unsigned zone = page_zone(page_word(memmap_page(&q->map, pfn)));
		uint32_t now = 0;

		while (now < ZONE_BATCH && now < n &&
		       page_zone(page_word(memmap_page(&q->map, pfn + now))) ==
			       zone) {
			pfns[now] = pfn + now;
			now++;
		}
		pcp_free_direct(q->pcp[zone], 0, now, pfns);
		pfn += now;
		n -= now;
	}
	line_ring(&q->line);
	return 0;
}

/* --- upkeep --- */

int quire_drain_all(struct quire *q)
{
	bool drained;
	int error;

	if (page_alloc_check_fork(q) != 0)
		return -1;
	drained = allocator_hold(q);
	error = errno;
	allocator_release(q);
	errno = error;
	return drained ? 0 : -1;
}

unsigned page_alloc_maintain(struct quire *q)
{
	unsigned drained = 0;

	for (unsigned z = 0; z < q->nr_zones; z++)
		drained += pcp_maintain(q->pcp[z]);
	return drained;
}
