/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The arena: where the memory comes from.
 *
 * Two parts: the managed region, whose pages are handed out, and the tables,
 * which describe them. quire reserves one address range, once. For an arena of
 * its own the range is
 *
 *	| tables, 2 MiB aligned | pages, 1 GiB aligned ... |
 *
 * so that pages keep their natural alignment up to order 18 and pfn 0 is the
 * first. For a region of the caller's the range holds the tables alone, and
 * the region is touched only by QUIRE_PREFAULT and QUIRE_MLOCK.
 *
 * Backing of the pages is tried in the order asked for, for the whole region at
 * once: what is reported is true of every page. The tables always lie in
 * private anonymous memory, transparent hugepages where the system has them:
 * in hugetlb memory a child's first write after fork() would need a second
 * hugepage, and without one it is killed (SIGBUS).
 */
#include "boot/arena.h"

#include <errno.h>

#include "base/bits.h"
#include "platform/platform_memory.h"

#define HUGEPAGE (UINT64_C(2) << 20)
#define GIGAPAGE (UINT64_C(1) << 30)

/* pfns are 32 bits and one is PFN_NONE */
#define REGION_MAX (UINT64_C(15) << 40)

static int plan_reserved(struct arena *arena,
			 const struct arena_request *request)
{
	if (request->size > REGION_MAX || request->size == 0)
		return report_invalid(arena->reporter,
				      "size %llu: need 1 to %llu bytes",
				      (unsigned long long)request->size,
				      (unsigned long long)REGION_MAX);
	arena->reserved = true;
	arena->size = align_up(request->size, HUGEPAGE);
	return 0;
}

static int plan_callers(struct arena *arena,
			const struct arena_request *request)
{
	uint64_t start =
		arena->mapped ? (uintptr_t)request->address : request->offset;
	uint64_t end = start + request->size;
	uint64_t first = align_up(start, QUIRE_PAGE_SIZE);
	uint64_t last = align_down(end, QUIRE_PAGE_SIZE);

	if (end < start || first < start || last <= first ||
	    request->size > REGION_MAX)
		return report_invalid(
			arena->reporter,
			"region at 0x%llx of %llu bytes holds no whole page, "
			"or too many",
			(unsigned long long)start,
			(unsigned long long)request->size);
	arena->start = first;
	arena->size = last - first;
	arena->trimmed_head = first - start;
	arena->trimmed_tail = end - last;
	if (first != start || last != end)
		report(arena->reporter,
		       "region trimmed to whole pages: %llu bytes at its "
		       "start, %llu at its end are not used",
		       (unsigned long long)arena->trimmed_head,
		       (unsigned long long)arena->trimmed_tail);
	return 0;
}

int arena_plan(struct arena *arena, const struct arena_request *request,
	       const struct reporter *reporter)
{
	bool offsets = request->flags & QUIRE_OFFSETS;

	*arena = (struct arena){ .reporter = reporter, .mapped = !offsets };
	if (!offsets && !request->address)
		return plan_reserved(arena, request);
	return plan_callers(arena, request);
}

static int back_one(void *addr, uint64_t size, enum quire_backing backing)
{
	switch (backing) {
	case QUIRE_BACKING_1G:
		if (size % GIGAPAGE) {
			errno = EINVAL;
			return -1;
		}
		return platform_back_hugetlb(addr, size, 30);
	case QUIRE_BACKING_2M:
		return platform_back_hugetlb(addr, size, 21);
	case QUIRE_BACKING_THP:
		return platform_back_thp(addr, size);
	case QUIRE_BACKING_BASE:
		return platform_back_base(addr, size);
	default:
		errno = EINVAL;
		return -1;
	}
}

/* The first of the list that can be had, DEFAULT if none can. */
static enum quire_backing back(const struct arena *arena, void *addr,
			       uint64_t size, const enum quire_backing *list)
{
	static const enum quire_backing fallback[NR_BACKINGS] = {
		QUIRE_BACKING_THP, QUIRE_BACKING_BASE
	};

	if (list[0] == QUIRE_BACKING_DEFAULT)
		list = fallback;
	for (int i = 0; i < NR_BACKINGS && list[i]; i++) {
		if (back_one(addr, size, list[i]) == 0)
			return list[i];
		if (errno == EFAULT)
			break;
		/* That there are no hugepages needs no telling by default. */
		if (list != fallback || list[i] == QUIRE_BACKING_BASE)
			report(arena->reporter,
			       "backing %s cannot be had for %llu bytes "
			       "(errno %d)",
			       quire_backing_name(list[i]),
			       (unsigned long long)size, errno);
	}
	return QUIRE_BACKING_DEFAULT;
}

static bool is_hugetlb(enum quire_backing backing)
{
	return backing == QUIRE_BACKING_1G || backing == QUIRE_BACKING_2M;
}

/* What the options want done to the pages once they are there. */
static int apply_flags(struct arena *arena, unsigned flags)
{
	void *pages = (void *)(uintptr_t)arena->start;
	bool dontfork = flags & QUIRE_DONTFORK || is_hugetlb(arena->backing);
	const char *what = "keep out of children";

	arena->private = arena->reserved && !dontfork;
	if (dontfork && platform_dontfork(pages, arena->size) != 0)
		goto failed;
	arena->kept_out = dontfork;
	what = "prefault";
	if (flags & QUIRE_PREFAULT &&
	    platform_populate(pages, arena->size) != 0)
		goto failed;
	what = "mlock";
	/* A mlock() that fails can have locked some of it. */
	arena->locked = flags & QUIRE_MLOCK;
	if (arena->locked && platform_mlock(pages, arena->size) != 0)
		goto failed;
	return 0;
failed:
	report(arena->reporter, "cannot %s %llu bytes at %p (errno %d)", what,
	       (unsigned long long)arena->size, pages, errno);
	return -1;
}

static int back_arena(struct arena *arena, const struct arena_request *request)
{
	static const enum quire_backing tables[NR_BACKINGS] = {
		QUIRE_BACKING_DEFAULT
	};

	arena->table_backing =
		back(arena, arena->range, arena->table_size, tables);
	if (arena->table_backing == QUIRE_BACKING_DEFAULT) {
		errno = ENOMEM;
		return -1;
	}
	if (!arena->mapped) {
		arena->backing = QUIRE_BACKING_NONE;
		return 0;
	}
	if (arena->reserved)
		arena->backing = back(arena, (void *)(uintptr_t)arena->start,
				      arena->size, request->backing);
	else
		arena->backing = QUIRE_BACKING_CALLER;
	if (arena->backing == QUIRE_BACKING_DEFAULT) {
		if (errno == EFAULT)
			arena_lose_pages(arena);
		errno = ENOMEM;
		return -1;
	}
	return apply_flags(arena, request->flags);
}

int arena_init(struct arena *arena, const struct arena_request *request,
	       size_t table_size)
{
	uint64_t lead = 0;

	arena->table_size = align_up(table_size, HUGEPAGE);
	arena->range_size = arena->table_size;
	if (arena->reserved) {
		/* Tables right below a 1 GiB boundary, pages from there. */
		lead = align_up(arena->table_size, GIGAPAGE);
		arena->range_size = lead + arena->size;
	}
	arena->range = platform_reserve(arena->range_size,
					arena->reserved ? GIGAPAGE : HUGEPAGE);
	if (!arena->range) {
		report(arena->reporter,
		       "no address range of %llu bytes to be had (errno %d)",
		       (unsigned long long)arena->range_size, errno);
		errno = ENOMEM;
		return -1;
	}
	if (arena->reserved) {
		char *start = (char *)arena->range + lead;
		size_t unused = lead - arena->table_size;

		if (unused)
			platform_unmap(arena->range, unused);
		arena->range = start - arena->table_size;
		arena->range_size -= unused;
		arena->start = (uintptr_t)start;
	}
	if (back_arena(arena, request) != 0) {
		int error = errno;

		arena_fini(arena);
		errno = error;
		return -1;
	}
	return 0;
}

void arena_fini(struct arena *arena)
{
	void *pages = (void *)(uintptr_t)arena->start;

	if (!arena->reserved && arena->locked)
		platform_munlock(pages, arena->size);
	if (!arena->reserved && arena->kept_out)
		platform_dofork(pages, arena->size);
	platform_unmap(arena->range, arena->range_size);
}

void arena_lose_pages(struct arena *arena)
{
	arena->range_size = arena->table_size;
	arena->kept_out = false;
	arena->locked = false;
}

int arena_add_to_memblock(const struct arena *arena, struct memblock *memblock)
{
	memblock->bottom_up = true;
	memblock->limit_high = (uintptr_t)arena->range + arena->table_size;
	return memblock_add(memblock, (uintptr_t)arena->range,
			    arena->range_size);
}
