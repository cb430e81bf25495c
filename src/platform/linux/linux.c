/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Linux behind platform.h.
 *
 * Memory: an arena's address range is reserved once, without access and
 * without commitment (PROT_NONE, MAP_NORESERVE), and backing is put behind
 * parts of it in place. hugetlb memory is mapped elsewhere first and moved over
 * the reserved part, for a mapping with MAP_FIXED that fails for want of
 * hugepages has already unmapped what was there. Where the move fails (before
 * Linux 5.16) there is such a hole: it is taken again only if nobody else has
 * mapped anything there, and the caller is told (EFAULT) if it is lost.
 *
 * rseq: glibc 2.35 and later registers every thread. Whether sequences can be
 * used is decided by three things: this thread is registered, membarrier knows
 * the rseq command, and this process could register for it.
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
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "platform/linux/linux.h"
#include "platform/rseq.h"

#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

void *platform_reserve(size_t size, size_t align)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	uintptr_t start, aligned;
	void *addr;

	if (size + align < size) {
		errno = ENOMEM;
		return NULL;
	}
	if (injected(FAULT_MAP, ENOMEM))
		return NULL;
	addr = mmap(NULL, size + align, PROT_NONE, flags, -1, 0);
	if (addr == MAP_FAILED)
		return NULL;
	start = (uintptr_t)addr;
	aligned = (start + align - 1) & ~(uintptr_t)(align - 1);
	if (aligned > start)
		munmap(addr, aligned - start);
	if (aligned < start + align)
		munmap((void *)(aligned + size), start + align - aligned);
	return (void *)aligned;
}

void platform_unmap(void *addr, size_t size)
{
	munmap(addr, size);
}

int platform_back_base(void *addr, size_t size)
{
	if (injected(FAULT_MAP, ENOMEM))
		return -1;
	if (mprotect(addr, size, PROT_READ | PROT_WRITE) != 0)
		return -1;
	/* Base pages also where the system's default is hugepages; refused
	 * (EINVAL) only by a kernel without them. */
	(void)madvise(addr, size, MADV_NOHUGEPAGE);
	return 0;
}

static bool thp_enabled(void)
{
	const char *path = "/sys/kernel/mm/transparent_hugepage/enabled";
	char text[64];
	ssize_t length;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (length <= 0)
		return false;
	text[length] = '\0';
	return strstr(text, "[never]") == NULL;
}

int platform_back_thp(void *addr, size_t size)
{
	if (injected(FAULT_MADVISE, ENOTSUP))
		return -1;
	if (!thp_enabled()) {
		errno = ENOTSUP;
		return -1;
	}
	if (mprotect(addr, size, PROT_READ | PROT_WRITE) != 0)
		return -1;
	return madvise(addr, size, MADV_HUGEPAGE);
}

int platform_back_hugetlb(void *addr, size_t size, unsigned page_shift)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	int huge = MAP_HUGETLB | (int)(page_shift << MAP_HUGE_SHIFT);
	void *got, *moved, *again;
	int error;

	if (injected(FAULT_MAP, ENOMEM))
		return -1;
	got = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | huge, -1, 0);
	if (got == MAP_FAILED)
		return -1;
	moved = mremap(got, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, addr);
	if (moved != MAP_FAILED)
		return 0;
	error = errno;
	munmap(got, size);
	again = mmap(addr, size, PROT_NONE,
		     flags | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	errno = again == MAP_FAILED ? EFAULT : error;
	return -1;
}

/* Whether the kernel has the advice (Linux 5.14): asked of a writable page. */
static bool can_populate(void)
{
	char pages[2 * 4096];
	char *page = pages + (-(uintptr_t)pages & 4095);

	return madvise(page, 4096, MADV_POPULATE_WRITE) == 0;
}

int platform_populate(void *addr, size_t size)
{
	if (injected(FAULT_POPULATE, ENOMEM))
		return -1;
	if (madvise(addr, size, MADV_POPULATE_WRITE) == 0)
		return 0;
	if (errno != EINVAL)
		return -1;
	if (can_populate()) {
		errno = EACCES; /* the region is not writable */
		return -1;
	}
	/* Touch each page, keeping what is there. */
	for (size_t at = 0; at < size; at += 4096)
		atomic_fetch_add((_Atomic char *)addr + at, 0);
	return 0;
}

int platform_mlock(void *addr, size_t size)
{
	if (injected(FAULT_MLOCK, ENOMEM))
		return -1;
	return mlock(addr, size);
}

void platform_munlock(void *addr, size_t size)
{
	munlock(addr, size);
}

int platform_dontfork(void *addr, size_t size)
{
	if (injected(FAULT_MADVISE, ENOTSUP))
		return -1;
	return madvise(addr, size, MADV_DONTFORK);
}

void platform_dofork(void *addr, size_t size)
{
	madvise(addr, size, MADV_DOFORK);
}

/* Of Linux's answers that say try again, as many as are believed. */
enum { TRIES = 100 };

static bool try_again(unsigned *tries)
{
	if ((errno != EAGAIN && errno != EINTR) || ++*tries >= TRIES)
		return false;
	sched_yield();
	return true;
}

/* Linux would round a size up, and take what is behind it. */
static int advise(void *addr, size_t size, int advice)
{
	unsigned tries = 0;

	if (!linux_whole_pages(addr, size)) {
		errno = EINVAL;
		return -1;
	}
	while (madvise(addr, size, advice) != 0)
		if (!try_again(&tries))
			return -1;
	return 0;
}

int platform_give_back(void *addr, size_t size, enum platform_give how)
{
	static const int advice[] = {
		[PLATFORM_GIVE_DONTNEED] = MADV_DONTNEED,
		[PLATFORM_GIVE_FREE] = MADV_FREE,
		[PLATFORM_GIVE_REMOVE] = MADV_REMOVE,
	};

	if (injected(FAULT_MADVISE, EAGAIN))
		return -1;
	if ((unsigned)how >= sizeof(advice) / sizeof(advice[0])) {
		errno = EINVAL;
		return -1;
	}
	return advise(addr, size, advice[how]);
}

int platform_collapse(void *addr, size_t size)
{
	if (injected(FAULT_MADVISE, ENOMEM))
		return -1;
	/* An unknown advice is refused even for nothing. */
	if (madvise(NULL, 0, MADV_COLLAPSE) != 0) {
		errno = ENOTSUP;
		return -1;
	}
	return advise(addr, size, MADV_COLLAPSE);
}

bool platform_resident(void *addr, size_t size, size_t *bytes)
{
	size_t page = linux_page_size(), found = 0, step;
	unsigned char there[512];
	unsigned tries = 0;

	if (!linux_whole_pages(addr, size)) {
		errno = EINVAL;
		return false;
	}
	for (size_t at = 0; at < size; at += step) {
		step = size - at;
		if (step > sizeof(there) * page)
			step = sizeof(there) * page;
		while (mincore((char *)addr + at, step, there) != 0)
			if (!try_again(&tries))
				return false;
		for (size_t i = 0; i < step / page; i++)
			found += there[i] & 1;
	}
	*bytes = found * page;
	return true;
}

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

/* Possible, not online: a CPU that is plugged in later has a set. */
unsigned platform_possible_cpus(void)
{
	long configured = sysconf(_SC_NPROCESSORS_CONF);
	unsigned highest;

	if (linux_highest("/sys/devices/system/cpu/possible", &highest))
		return highest + 1;
	return configured > 0 ? (unsigned)configured : 1;
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

int platform_key_create(unsigned *key, void (*exit_hook)(void *value))
{
	pthread_key_t made;
	int error;

	if (injected(FAULT_KEY, EAGAIN))
		return -1;
	error = pthread_key_create(&made, exit_hook);
	if (error) {
		errno = error;
		return -1;
	}
	*key = made;
	return 0;
}

void platform_key_delete(unsigned key)
{
	pthread_key_delete(key);
}

void *platform_key_get(unsigned key)
{
	return pthread_getspecific(key);
}

int platform_key_set(unsigned key, void *value)
{
	sigset_t all, before;
	int error;

	/* A handler between its two stores would see the key's last value. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_setspecific(key, value);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		errno = error;
	return error ? -1 : 0;
}

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

static void *thread_main(void *arg)
{
	struct platform_thread *thread = arg;

	pthread_setname_np(pthread_self(), thread->name);
	thread->run(thread->arg);
	return NULL;
}

int platform_thread_start(struct platform_thread *thread,
			  void (*run)(void *arg), void *arg, const char *name)
{
	sigset_t all, before;
	pthread_t made;
	int error;

	thread->run = run;
	thread->arg = arg;
	snprintf(thread->name, sizeof(thread->name), "%s", name);
	/* A thread begins with the signals that its maker has blocked. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = fault_hit(FAULT_KEY)
			? EAGAIN
			: pthread_create(&made, NULL, thread_main, thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error) {
		errno = error;
		return -1;
	}
	thread->handle = (uintptr_t)made;
	return 0;
}

void platform_thread_join(struct platform_thread *thread)
{
	int before;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
	pthread_join((pthread_t)thread->handle, NULL);
	pthread_setcancelstate(before, &before);
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

int platform_on_fork(void (*prepare)(void), void (*parent)(void),
		     void (*child)(void))
{
	int error = pthread_atfork(prepare, parent, child);

	if (error)
		errno = error;
	return error ? -1 : 0;
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

const char *platform_env(const char *name)
{
	return getenv(name);
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
