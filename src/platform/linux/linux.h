/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files for Linux share.
 */
#ifndef QUIRE_PLATFORM_LINUX_H
#define QUIRE_PLATFORM_LINUX_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include "platform/fault.h"

static inline bool injected(enum fault_point point, int error)
{
	if (!fault_hit(point))
		return false;
	errno = error;
	return true;
}

static inline size_t linux_page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static inline bool linux_whole_pages(const void *addr, size_t size)
{
	return (((uintptr_t)addr | size) & (linux_page_size() - 1)) == 0;
}

/* The highest number in a file of sysfs that lists numbers. */
bool linux_highest(const char *path, unsigned *highest);

#endif
