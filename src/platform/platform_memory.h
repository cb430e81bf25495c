/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory, as the operating system gives and takes it.
 *
 * All sizes and addresses are multiples of a page. Functions that can fail
 * return -1 (or NULL, or false) with errno set.
 */
#ifndef QUIRE_PLATFORM_MEMORY_H
#define QUIRE_PLATFORM_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Address range without memory behind it, its start a multiple of align. */
void *platform_reserve(size_t size, size_t align);
void platform_unmap(void *addr, size_t size);

/* Puts zeroed memory behind a part of a reserved range. */
int platform_back_base(void *addr, size_t size);
int platform_back_thp(void *addr, size_t size); /* ENOTSUP: THP is off */
/* EFAULT: the reserved range there is lost, and nobody's to unmap. */
int platform_back_hugetlb(void *addr, size_t size, unsigned page_shift);

int platform_populate(void *addr, size_t size);
int platform_mlock(void *addr, size_t size);
void platform_munlock(void *addr, size_t size);
int platform_dontfork(void *addr, size_t size);
void platform_dofork(void *addr, size_t size);

enum platform_give {
	PLATFORM_GIVE_DONTNEED, /* at once; private memory reads zero after */
	/* When Linux needs it: until then, or until it is written, a page of
	 * private memory reads as it was or as zero. */
	PLATFORM_GIVE_FREE,
	/* At once, the file's blocks behind a shared mapping too: zero for all
	 * who map it. ENOTSUP: that file system cannot. */
	PLATFORM_GIVE_REMOVE,
};

/*
 * Takes the memory from behind the range, which stays mapped. EINVAL: not whole
 * pages, locked ones, or a kind of memory that cannot be given this way; EACCES
 * (REMOVE): not shared and writable; ENOMEM: a hole in the range; EAGAIN: Linux
 * was busy with it for long. On failure a part may be gone. Of hugetlb memory
 * only whole hugepages go, and nobody is told of the rest.
 */
int platform_give_back(void *addr, size_t size, enum platform_give how);
/*
 * Moves what is in the range, all of it, to hugepages now: each whole 2 MiB.
 * ENOTSUP: a kernel without (Linux 6.1 has it); EINVAL: not whole pages, or not
 * memory that may have them, as is what platform_back_base() backed; ENOMEM,
 * EAGAIN, EBUSY: no hugepage to be had now. On failure a part may be done.
 */
int platform_collapse(void *addr, size_t size);
/* Bytes of the range that are in memory; false with errno (EINVAL: not whole
 * pages, ENOMEM: a hole in the range). What was given by PLATFORM_GIVE_FREE is
 * in memory until Linux takes it. */
bool platform_resident(void *addr, size_t size, size_t *bytes);

/*
 * --- memory nodes (NUMA) ---
 *
 * Linux's numbers, which may have gaps. Without libnuma, and where Linux
 * refuses its system calls, there is one node, 0. The first of these calls may
 * allocate memory; none is for signal handlers.
 */

/* The highest number a node can have while this system runs, + 1. */
unsigned platform_nr_nodes(void);
/* Bytes of memory the node has now; 0: none, or no such node. */
uint64_t platform_node_bytes(unsigned node);
/* As in ACPI's SLIT: 10 within a node, more for others; 20 if not told. */
unsigned platform_node_distance(unsigned a, unsigned b);
/* The node of a CPU; 0 if not known, as for one that was offline at the first
 * question. */
unsigned platform_cpu_node(uint32_t cpu);
/*
 * The range's pages come from that node and no other, and those already there
 * are moved. When the node is full, Linux kills rather than break this.
 * ENOTSUP: one node, see above; EINVAL: not whole pages, no such node, or none
 * with memory for this process; EFAULT: a hole in the range; EIO: bound, but
 * some pages could not be moved; ENOMEM, EPERM.
 */
int platform_bind_node(void *addr, size_t size, unsigned node);

#endif
