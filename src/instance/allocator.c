/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All of an allocator at once: holding every list of every zone, the CPU's
 * node, how a node's zones stand to their watermarks, the services above, and
 * what it tells of itself.
 *
 * Who holds everything has the drain lock and then every zone's sets, closed
 * and fenced (pcp.c): no sequence is under way and none begins, so what is free
 * lies in the zones once the lists are drained.
 */
#include "instance/allocator.h"

#include <string.h>

#include "platform/platform.h"

static const struct service *services[NR_SERVICES]; /* (c) after load */

void service_add(enum service_id id, const struct service *service)
{
	services[id] = service;
}

void services_at_fork(enum fork_time time)
{
	for (unsigned i = 0; i < NR_SERVICES; i++)
		if (services[i] && services[i]->at_fork[time])
			services[i]->at_fork[time]();
}

void services_stop(struct quire *q)
{
	for (unsigned i = 0; i < NR_SERVICES; i++)
		if (services[i] && services[i]->stop)
			services[i]->stop(q);
}

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

unsigned allocator_this_node_slow(const struct quire *q)
{
	const struct pcp_seat *seat =
		q->way == QUIRE_WAY_BOUND ? bind_seat(q) : NULL;
	uint32_t cpu = seat ? seat->cpu : platform_cpu();

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

int quire_info(const struct quire *q, struct quire_info *info, size_t info_size)
{
	struct quire_info all = {
		.pages = q->map.region.end - q->map.region.first,
		.backing = q->arena.backing,
		.table_backing = q->arena.table_backing,
		.way = q->way,
		.cpus = q->nr_cpus,
		.nodes = q->nodes->nr,
		.zones = q->nr_zones,
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
