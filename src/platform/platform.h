/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The operating system, as the core sees it: CPUs, waiting, time, messages.
 *
 * Everything above platform/ calls these names, and those of platform_memory.h
 * and platform_process.h, and no system call. Functions that can fail return -1
 * (or NULL) with errno set.
 */
#ifndef QUIRE_PLATFORM_H
#define QUIRE_PLATFORM_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- CPUs and threads --- */

/* Identity of the calling thread, never 0. */
uint32_t platform_thread_id(void);
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

/* --- waiting --- */

/* Sleeps while *word is value; wakes up to n sleepers. */
void platform_park(_Atomic uint32_t *word, uint32_t value);
/* The same for ns nanoseconds at most; false if they have passed. */
bool platform_park_for(_Atomic uint32_t *word, uint32_t value, uint64_t ns);
void platform_unpark(_Atomic uint32_t *word, int n);

/* Sleeps for a moment, 50 us or so. No point where a thread is cancelled, as
 * parking is none: the caller may hold locks. */
void platform_nap(void);

/* Lets another thread of this CPU run, or waits for n turns of an empty loop.
 */
void platform_yield(void);
void platform_spin(unsigned turns);

/* --- time and messages --- */

/* Milliseconds of a steady clock, to the tick (1 to 10 ms). */
uint64_t platform_ms(void);
/* Nanoseconds of a steady clock. */
uint64_t platform_ns(void);
/* As vsnprintf(). */
void platform_format(char *text, size_t size, const char *format, va_list args)
	__attribute__((__format__(__printf__, 3, 0)));
void platform_message(const char *message); /* one line on stderr */
_Noreturn void platform_abort(void);

#endif
