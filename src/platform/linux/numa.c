/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory nodes behind platform_memory.h, through libnuma where configure found
 * it.
 *
 * libnuma reads sysfs at the first question of each kind and keeps what it
 * read, without a lock. So all of that is asked in one place, once, before the
 * first answer; from then on it is only read. CPUs are answered from a table of
 * our own: libnuma allocates a mask for each question. What memory a node has
 * is read anew each time, for it changes.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "platform/fault.h"
#include "platform/linux/linux.h"
#include "platform/platform_memory.h"

#include <errno.h>
#include <unistd.h>

enum { DISTANCE_LOCAL = 10, DISTANCE_REMOTE = 20 };

/* Of a system that is one node. */
static uint64_t all_bytes(unsigned node)
{
	long pages = sysconf(_SC_PHYS_PAGES);

	return node || pages < 0 ? 0 : (uint64_t)pages * linux_page_size();
}

#ifdef HAVE_LIBNUMA

#include <numa.h>
#include <numaif.h>
#include <pthread.h>

/* The most that Linux can be configured for, on any machine. */
enum { NODES_MAX = 1024, CPUS_MAX = 8192 };
enum { LONG_BITS = 8 * sizeof(unsigned long) };

static pthread_once_t once = PTHREAD_ONCE_INIT;
/* Constant after that. */
static bool usable;
static unsigned nr_nodes = 1;
static uint16_t cpu_nodes[CPUS_MAX];

static void ask_cpus(unsigned node, struct bitmask *cpus)
{
	if (numa_node_to_cpus((int)node, cpus) != 0)
		return;
	for (unsigned cpu = 0; cpu < CPUS_MAX; cpu++)
		if (numa_bitmask_isbitset(cpus, cpu))
			cpu_nodes[cpu] = (uint16_t)node;
}

static void ask_once(void)
{
	struct bitmask *cpus;
	unsigned known, highest;

	if (numa_available() < 0)
		return;
	usable = true;
	known = (unsigned)numa_max_node();
	if (!linux_highest("/sys/devices/system/node/possible", &highest) ||
	    highest < known)
		highest = known;
	nr_nodes = highest < NODES_MAX ? highest + 1 : NODES_MAX;
	cpus = numa_allocate_cpumask();
	for (unsigned node = 0; node <= known && node < nr_nodes; node++)
		ask_cpus(node, cpus);
	numa_free_cpumask(cpus);
	(void)numa_distance(0, 0);
}

unsigned platform_nr_nodes(void)
{
	pthread_once(&once, ask_once);
	return nr_nodes;
}

uint64_t platform_node_bytes(unsigned node)
{
	long long size;

	if (node >= platform_nr_nodes())
		return 0;
	if (!usable)
		return all_bytes(node);
	size = numa_node_size64((int)node, NULL);
	return size > 0 ? (uint64_t)size : 0;
}

unsigned platform_node_distance(unsigned a, unsigned b)
{
	unsigned n = platform_nr_nodes();
	int distance = 0;

	if (a == b)
		return DISTANCE_LOCAL;
	if (usable && a < n && b < n)
		distance = numa_distance((int)a, (int)b);
	return distance > 0 ? (unsigned)distance : DISTANCE_REMOTE;
}

unsigned platform_cpu_node(uint32_t cpu)
{
	pthread_once(&once, ask_once);
	return cpu < CPUS_MAX ? cpu_nodes[cpu] : 0;
}

int platform_bind_node(void *addr, size_t size, unsigned node)
{
	unsigned long nodes[NODES_MAX / LONG_BITS] = { 0 };
	unsigned n = platform_nr_nodes();

	if (injected(FAULT_MADVISE, ENOMEM))
		return -1;
	if (!usable || node >= n || !linux_whole_pages(addr, size)) {
		errno = usable ? EINVAL : ENOTSUP;
		return -1;
	}
	nodes[node / LONG_BITS] = 1ul << node % LONG_BITS;
	/* Linux takes the number of bits less one. */
	return (int)mbind(addr, size, MPOL_BIND, nodes, NODES_MAX + 1,
			  MPOL_MF_MOVE | MPOL_MF_STRICT);
}

#else

unsigned platform_nr_nodes(void)
{
	return 1;
}

uint64_t platform_node_bytes(unsigned node)
{
	return all_bytes(node);
}

unsigned platform_node_distance(unsigned a, unsigned b)
{
	return a == b ? DISTANCE_LOCAL : DISTANCE_REMOTE;
}

unsigned platform_cpu_node(uint32_t cpu)
{
	(void)cpu;
	return 0;
}

int platform_bind_node(void *addr, size_t size, unsigned node)
{
	(void)addr;
	(void)size;
	(void)node;
	errno = ENOTSUP;
	return -1;
}

#endif
