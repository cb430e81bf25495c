/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Options: what a program asks an allocator to be.
 *
 * They are copied, overridden by the environment (conf.c), completed by
 * defaults, and then checked: each by itself, and whether they make sense
 * together. What is refused is named, with its value. Whether nodes and zones
 * fit the region is the layout's to say, once the region is known.
 */
#include "instance/options.h"

#include <stddef.h>
#include <string.h>

#include "base/report.h"
#include "boot/arena.h"
#include "pcp/pcp.h"
#include "platform/platform.h"
#include "platform/platform_memory.h"
#include "zone/node.h"

enum { PAGEBLOCK = 2 << 20 };

static int check_nodes(const struct quire_options *options,
		       const struct reporter *to)
{
	uint64_t sum = 0;
	unsigned sized = 0;

	if (options->nodes > QUIRE_MAX_NODES)
		return report_invalid(to, "nodes %u: at most %d",
				      options->nodes, QUIRE_MAX_NODES);
	for (unsigned i = 0; i < QUIRE_MAX_NODES; i++) {
		uint64_t size = options->node_size[i];

		if (size % PAGEBLOCK)
			return report_invalid(
				to,
				"node_size[%u] %llu: need a multiple of 2 MiB",
				i, (unsigned long long)size);
		if (size && i >= options->nodes)
			return report_invalid(
				to, "node_size[%u] %llu: there are %u nodes", i,
				(unsigned long long)size, options->nodes);
		if (size > UINT64_MAX / QUIRE_MAX_NODES)
			return report_invalid(to,
					      "node_size[%u] %llu: too large",
					      i, (unsigned long long)size);
		sum += size;
		sized += size != 0 && i + 1 < options->nodes;
	}
	if (options->nodes && options->node_size[options->nodes - 1])
		return report_invalid(
			to, "node_size[%u] %llu: the last node gets the rest",
			options->nodes - 1,
			(unsigned long long)
				options->node_size[options->nodes - 1]);
	if (sized && sized + 1 != options->nodes)
		return report_invalid(
			to,
			"node_size: %u of %u nodes have a size; all but the "
			"last need one, or none",
			sized, options->nodes);
	if (sum > options->size)
		return report_invalid(
			to, "node_size: %llu bytes in all, the region has %llu",
			(unsigned long long)sum,
			(unsigned long long)options->size);
	return 0;
}

static int check_zones(const struct quire_options *options,
		       const struct reporter *to)
{
	for (unsigned i = 0; i < QUIRE_NR_ZONES; i++) {
		uint64_t size = options->zone_size[i];

		if (size % PAGEBLOCK)
			return report_invalid(
				to,
				"zone_size[%s] %llu: need a multiple of 2 MiB",
				quire_zone_name(i), (unsigned long long)size);
		if (size > options->size)
			return report_invalid(
				to,
				"zone_size[%s] %llu: the region has %llu bytes",
				quire_zone_name(i), (unsigned long long)size,
				(unsigned long long)options->size);
	}
	if (options->zone_size[QUIRE_ZONE_NORMAL])
		return report_invalid(
			to,
			"zone_size[NORMAL] %llu: it gets what the others leave",
			(unsigned long long)
				options->zone_size[QUIRE_ZONE_NORMAL]);
	if (options->cma_size % PAGEBLOCK)
		return report_invalid(to,
				      "cma_size %llu: need a multiple of 2 MiB",
				      (unsigned long long)options->cma_size);
	return 0;
}

static int check_pressure(const struct quire_options *options,
			  const struct reporter *to)
{
	if (options->min_free != QUIRE_MIN_FREE_AUTO &&
	    options->min_free >= options->size)
		return report_invalid(
			to, "min_free %llu: the region has %llu bytes",
			(unsigned long long)options->min_free,
			(unsigned long long)options->size);
	if (options->watermark_scale > CONF_MAX_SCALE)
		return report_invalid(
			to, "watermark_scale %u: at most %d of 10,000",
			options->watermark_scale, CONF_MAX_SCALE);
	if ((unsigned)options->give_back > QUIRE_GIVE_REMOVE)
		return report_invalid(to, "give_back %u: unknown",
				      (unsigned)options->give_back);
	if (options->give_back &&
	    options->flags & (QUIRE_PINNED | QUIRE_MLOCK | QUIRE_OFFSETS))
		return report_invalid(
			to,
			"give_back %u with option flags 0x%x: memory that is "
			"pinned, locked or mapped nowhere does not go back",
			(unsigned)options->give_back, options->flags);
	if (options->give_back == QUIRE_GIVE_REMOVE && !options->address)
		return report_invalid(
			to,
			"give_back remove: needs a region of a shared file");
	return 0;
}

static int check(const struct quire_options *options, const struct reporter *to)
{
	const unsigned known = QUIRE_OFFSETS | QUIRE_PREFAULT | QUIRE_MLOCK |
			       QUIRE_DONTFORK | QUIRE_ZEROED |
			       QUIRE_CHECK_RACE | QUIRE_LOCK_TIMES |
			       QUIRE_NUMA | QUIRE_PINNED;

	if (options->flags & ~known)
		return report_invalid(to,
				      "option flags 0x%x: unknown bits 0x%x",
				      options->flags, options->flags & ~known);
	if (options->size == 0)
		return report_invalid(to, "size 0: an allocator needs pages");
	if (options->flags & QUIRE_OFFSETS &&
	    options->flags & (QUIRE_PREFAULT | QUIRE_MLOCK | QUIRE_DONTFORK |
			      QUIRE_ZEROED))
		return report_invalid(
			to,
			"option flags 0x%x: a range of offsets has no "
			"memory to prefault, lock, keep out or zero",
			options->flags);
	if (options->flags & QUIRE_OFFSETS && options->address)
		return report_invalid(to, "address %p given with QUIRE_OFFSETS",
				      options->address);
	if ((unsigned)options->way > QUIRE_WAY_BOUND)
		return report_invalid(to, "way %u: unknown",
				      (unsigned)options->way);
	for (int i = 0; i < NR_BACKINGS; i++) {
		if ((unsigned)options->backing[i] > QUIRE_BACKING_BASE)
			return report_invalid(
				to, "backing[%d] %u: not one to ask for", i,
				(unsigned)options->backing[i]);
		if (i && options->backing[i] && !options->backing[i - 1])
			return report_invalid(
				to, "backing[%d] %s: behind an empty entry", i,
				quire_backing_name(options->backing[i]));
	}
	if (options->cpus > CONF_MAX_CPUS)
		return report_invalid(to, "cpus %u: at most %d", options->cpus,
				      CONF_MAX_CPUS);
	if (options->renew > QUIRE_RENEW_MAX)
		return report_invalid(to, "renew %u: at most %d of %d blocks",
				      options->renew, QUIRE_RENEW_MAX,
				      QUIRE_RENEW_MAX);
	if (check_nodes(options, to) != 0 || check_zones(options, to) != 0)
		return -1;
	return check_pressure(options, to);
}

/* The struct as the first version of the header had it. */
#define FIRST_SIZE (offsetof(struct quire_options, report_arg) + sizeof(void *))

static void set_defaults(struct quire_options *options)
{
	if (options->decay_ms == 0)
		options->decay_ms = 1000;
	if (options->watermark_scale == 0)
		options->watermark_scale = 10;
	if (options->wait_ms == 0)
		options->wait_ms = 1000;
	if (options->give_delay_ms == 0)
		options->give_delay_ms = 10000;
	if (options->nodes == 0 && !(options->flags & QUIRE_NUMA))
		options->nodes = 1;
}

/* The machine's nodes that have memory; without a choice of `nodes` that is how
 * many there are. */
static int read_machine(struct settings *settings, const struct reporter *to)
{
	struct quire_options *options = &settings->options;
	unsigned found = 0;

	for (unsigned n = 0; n < platform_nr_nodes(); n++) {
		if (platform_node_bytes(n) == 0)
			continue;
		if (found < QUIRE_MAX_NODES)
			settings->machine_node[found] = n;
		found++;
	}
	if (found == 0)
		found = 1;
	if (options->nodes == 0)
		options->nodes = found;
	if (options->nodes > found || options->nodes > QUIRE_MAX_NODES)
		return report_invalid(
			to,
			"nodes %u with QUIRE_NUMA: the machine has %u, and "
			"at most %d can be used",
			options->nodes, found, QUIRE_MAX_NODES);
	return 0;
}

/* What the program says of its nodes is about as many as it asked for. */
static void forget_nodes(struct quire_options *options, unsigned given,
			 const struct reporter *to)
{
	if (options->nodes == given)
		return;
	if (options->distances || options->node_size[0])
		report(to,
		       "QUIRE_CONF: nodes %u instead of %u: the program's "
		       "distances and sizes of nodes do not count",
		       options->nodes, given);
	options->distances = NULL;
	memset(options->node_size, 0, sizeof(options->node_size));
}

static int read_distances(struct settings *settings, const struct reporter *to)
{
	const struct quire_options *options = &settings->options;
	const unsigned nr = options->nodes;
	uint8_t *d = settings->distance;

	if (settings->nr_distances && settings->nr_distances != nr * nr)
		return report_invalid(
			to, "QUIRE_CONF: %u distances for %u nodes, need %u",
			settings->nr_distances, nr, nr * nr);
	if (options->distances && !settings->nr_distances)
		memcpy(d, options->distances, (size_t)nr * nr);
	else if (options->flags & QUIRE_NUMA && !settings->nr_distances)
		for (unsigned i = 0; i < nr * nr; i++)
			d[i] = (uint8_t)platform_node_distance(
				settings->machine_node[i / nr],
				settings->machine_node[i % nr]);
	else if (!settings->nr_distances)
		node_default_distances(d, nr);
	return nodes_check_distances(d, nr, to);
}

int options_read(struct settings *settings, const struct quire_options *given)
{
	struct quire_options *options = &settings->options;
	size_t size = given ? given->struct_size : 0;
	struct reporter to = { NULL, NULL };
	unsigned nodes;

	/* Only ever appended to: a caller built with an older header knows a
	 * shorter struct, one with a newer header leaves what we do not know at
	 * 0, or it wants what we cannot do. */
	if (size < FIRST_SIZE)
		return report_invalid(
			&to, "options %p, struct_size %zu: need at least %zu",
			(const void *)given, size, FIRST_SIZE);
	for (size_t i = sizeof(*options); i < size; i++)
		if (((const char *)given)[i])
			return report_invalid(
				&to,
				"struct_size %zu: byte %zu is set, this "
				"library knows %zu",
				size, i, sizeof(*options));
	memset(settings, 0, sizeof(*settings));
	memcpy(options, given,
	       size < sizeof(*options) ? size : sizeof(*options));
	to = (struct reporter){ given->report, given->report_arg };
	nodes = options->nodes;
	conf_read(settings, &to);
	forget_nodes(options, nodes, &to);
	if (options->distances && options->nodes == 0)
		return report_invalid(&to,
				      "distances given for no number of nodes");
	set_defaults(options);
	if (options->flags & QUIRE_NUMA && read_machine(settings, &to) != 0)
		return -1;
	if (check(options, &to) != 0)
		return -1;
	if (options->way == QUIRE_WAY_DEFAULT)
		options->way = platform_rseq_usable() ? QUIRE_WAY_RSEQ
						      : QUIRE_WAY_TRYLOCK;
	if (options->cpus == 0)
		options->cpus = pcp_default_sets(options->way);
	if (options->policy.nodes == CONF_ALL_NODES)
		options->policy.nodes = (UINT32_C(1) << options->nodes) - 1;
	return read_distances(settings, &to);
}
