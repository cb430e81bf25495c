/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Linux behind platform.h.
 *
 * rseq: glibc 2.35 and later registers every thread. Whether sequences can be
 * used is decided by three things: this thread is registered, membarrier knows
 * the rseq command, and this process could register for it.
 *
 * Waiting and telling are bare system calls where libc's function is a point of
 * cancellation: the caller may hold locks.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "platform/platform.h"

#include <ck_pr.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "platform/linux/linux.h"
#include "platform/rseq.h"

/* Such a file reads "0-63" or "0,2-5"; the last number is the highest. */
bool linux_highest(const char *path, unsigned *highest)
{
	char text[256];
	const char *last = text;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	if (length <= 0)
		return false;
	text[length] = '\0';
	for (const char *c = text; *c; c++)
		if (*c == '-' || *c == ',')
			last = c + 1;
	*highest = (unsigned)strtoul(last, NULL, 10);
	return true;
}

uint32_t platform_cpu(void)
{
	int cpu = sched_getcpu();

	return cpu < 0 ? UINT32_MAX : (uint32_t)cpu;
}

static int membarrier(int command, unsigned flags, int cpu)
{
	if (injected(FAULT_MEMBARRIER, ENOSYS))
		return -1;
	return (int)syscall(SYS_membarrier, command, flags, cpu);
}

_Atomic uint64_t rseq_aborts;

#if QUIRE_HAVE_RSEQ

ptrdiff_t rseq_areas[2] __attribute__((aligned(16)));

static at_load void find_rseq_area(void)
{
	rseq_area = __rseq_offset;
}

bool platform_rseq_usable(void)
{
	if (!rseq_thread_registered())
		return false;
	return membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ, 0,
			  0) == 0;
}

int platform_rseq_fence(int cpu)
{
	if (cpu < 0)
		return membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, 0, 0);
	return membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ,
			  MEMBARRIER_CMD_FLAG_CPU, cpu);
}

void platform_rseq_after_fork(void)
{
	(void)membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ, 0, 0);
}

#else

bool platform_rseq_usable(void)
{
	return false;
}

int platform_rseq_fence(int cpu)
{
	(void)cpu;
	(void)membarrier;
	errno = ENOTSUP;
	return -1;
}

void platform_rseq_after_fork(void)
{
}

#endif

void platform_park(_Atomic uint32_t *word, uint32_t value)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

bool platform_park_for(_Atomic uint32_t *word, uint32_t value, uint64_t ns)
{
	const struct timespec most = {
		.tv_sec = (time_t)(ns / 1000000000),
		.tv_nsec = (long)(ns % 1000000000),
	};

	return syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, &most, NULL,
		       0) == 0 ||
	       errno != ETIMEDOUT;
}

void platform_unpark(_Atomic uint32_t *word, int n)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

void platform_nap(void)
{
	const struct timespec nap = { .tv_nsec = 50000 };

	/* Not nanosleep(): that is where a thread can be cancelled. */
	syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &nap, NULL);
}

void platform_yield(void)
{
	sched_yield();
}

void platform_spin(unsigned turns)
{
	while (turns--)
		ck_pr_stall();
}

uint32_t platform_thread_id(void)
{
	return (uint32_t)syscall(SYS_gettid);
}

uint64_t platform_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t platform_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void platform_format(char *text, size_t size, const char *format, va_list args)
{
	vsnprintf(text, size, format, args);
}

/* No stdio: a signal handler may report while its thread holds stderr. */
void platform_message(const char *message)
{
	char line[1024];
	int length = snprintf(line, sizeof(line), "quire: %s\n", message);

	/* Not write(): that is where a thread can be cancelled, and who reports
	 * may hold a lock. Nobody is left to tell that it could not be told. */
	if (length > 0)
		syscall(SYS_write, STDERR_FILENO, line, (size_t)length);
}

void platform_abort(void)
{
	abort();
}
