/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The operating system, as the core sees it. Floor 0.
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
void platform_unpark(_Atomic uint32_t *word, int n);
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
