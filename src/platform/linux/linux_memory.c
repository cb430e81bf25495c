/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Linux behind platform_memory.h; memory nodes are numa.c's.
 *
 * An arena's address range is reserved once, without access and without
 * commitment (PROT_NONE, MAP_NORESERVE), and backing is put behind parts of it
 * in place. hugetlb memory is mapped elsewhere first and moved over the
 * reserved part, for a mapping with MAP_FIXED that fails for want of hugepages
 * has already unmapped what was there. Where the move fails (before Linux 5.16)
 * there is such a hole: it is taken again only if nobody else has mapped
 * anything there, and the caller is told (EFAULT) if it is lost.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "platform/platform_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "platform/linux/linux.h"

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
