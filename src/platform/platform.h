/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The operating system, as the core sees it.
 *
 * Everything above calls these names and no system call. Functions that can
 * fail return -1 (or NULL) with errno set.
 */
#ifndef QUIRE_PLATFORM_H
#define QUIRE_PLATFORM_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdatomic.h>

#include "platform/cc.h"

/* --- memory: all sizes and addresses multiples of a page --- */

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

/* --- CPUs --- */

unsigned platform_possible_cpus(void);
/* The CPU this thread runs on, or UINT32_MAX if that cannot be told. */
uint32_t platform_cpu(void);
/* Whether rseq and its membarrier command work for this process. */
bool platform_rseq_usable(void);
/*
 * Restarts every restartable sequence in flight on a CPU, or with cpu -1 on
 * all, and orders memory with them.
 */
int platform_rseq_fence(int cpu);
/* In the child of a fork: registers for the fence again. Linux lets children
 * inherit that today, but does not promise it. */
void platform_rseq_after_fork(void);

/* --- threads --- */

/* Calls exit_hook(value) when a thread ends that has set a value. */
int platform_key_create(unsigned *key, void (*exit_hook)(void *value));
void platform_key_delete(unsigned key);
void *platform_key_get(unsigned key);
int platform_key_set(unsigned key, void *value);

/* Sleeps while *word is value; wakes up to n sleepers. */
void platform_park(_Atomic uint32_t *word, uint32_t value);
/* The same for ns nanoseconds at most; false if they have passed. */
bool platform_park_for(_Atomic uint32_t *word, uint32_t value, uint64_t ns);
void platform_unpark(_Atomic uint32_t *word, int n);

/* A thread of the library's own. Its place is the caller's, and stays where it
 * is from start to join. */
struct platform_thread {
	uintptr_t handle;
	void (*run)(void *arg);
	void *arg;
	char name[16];
};

/*
 * Runs run(arg) in a thread in which all signals are blocked, so that no
 * handler of the user's runs there. Of the name, 15 characters count. EAGAIN:
 * no thread to be had.
 */
int platform_thread_start(struct platform_thread *thread,
			  void (*run)(void *arg), void *arg, const char *name);
/* Waits until run() has returned. Each that was started is joined once, and not
 * by a fork's child, which does not have it. No point of cancellation. */
void platform_thread_join(struct platform_thread *thread);
/* Identity of the calling thread, never 0. */
uint32_t platform_thread_id(void);
/* Sleeps for a moment, 50 us or so. No point where a thread is cancelled, as
 * parking is none: the caller may hold locks. */
void platform_nap(void);

/* Lets another thread of this CPU run, or waits for n turns of an empty loop.
 */
void platform_yield(void);
void platform_spin(unsigned turns);

/* Runs the three around every fork() of this process from now on. */
int platform_on_fork(void (*prepare)(void), void (*parent)(void),
		     void (*child)(void));

/* --- the rest --- */

/* Milliseconds of a steady clock, to the tick (1 to 10 ms). */
uint64_t platform_ms(void);
/* Nanoseconds of a steady clock. */
uint64_t platform_ns(void);
const char *platform_env(const char *name);
/* As vsnprintf(). */
void platform_format(char *text, size_t size, const char *format, va_list args)
	__attribute__((__format__(__printf__, 3, 0)));
void platform_message(const char *message); /* one line on stderr */
_Noreturn void platform_abort(void);

#endif
