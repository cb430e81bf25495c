/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The arena: what is planned, what backing is got and told, what is done to
 * the pages, and that a failure anywhere leaves no address range behind.
 */
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/report.h"
#include "boot/arena.h"
#include "platform/fault.h"
#include "platform/platform_memory.h"

#define TWO_MIB (UINT64_C(2) << 20)
#define GIB (UINT64_C(1) << 30)

static struct test_messages messages = TEST_MESSAGES_INIT;

/* Whatever the program does when it is told: errno is that of the failure. */
static void catch_and_forget(void *arg, const char *message)
{
	test_catch(arg, message);
	errno = 0;
}

static const struct reporter reporter = { catch_and_forget, &messages };

static const char pool[] = "/proc/sys/vm/nr_hugepages";
static long pool_before = -1; /* to be restored */

static bool set_pool(unsigned long pages)
{
	FILE *file = fopen(pool, "w");

	if (!file)
		return false;
	fprintf(file, "%lu\n", pages);
	return fclose(file) == 0;
}

static int begin(void **state)
{
	(void)state;
	messages.count = 0;
	return 0;
}

static int end(void **state)
{
	(void)state;
	fault_disarm_all();
	if (pool_before >= 0)
		set_pool((unsigned long)pool_before);
	pool_before = -1;
	return 0;
}

/* --- what the kernel says --- */

/* Reads a file; the sizes of /proc are not known beforehand. */
static size_t read_file(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	ssize_t got;

	assert_true(fd >= 0);
	while ((got = read(fd, text + length, size - 1 - length)) > 0)
		length += (size_t)got;
	close(fd);
	assert_true(length < size - 1);
	text[length] = '\0';
	return length;
}

enum { MAPS_MAX = 1 << 18 };

/* The map of the address space, but for what grows by itself. */
static void read_maps(char *maps)
{
	static char all[MAPS_MAX];
	char *line, *next;

	read_file("/proc/self/maps", all, sizeof(all));
	*maps = '\0';
	for (line = all; *line; line = next) {
		next = strchr(line, '\n') + 1;
		next[-1] = '\0';
		if (!strstr(line, "[stack]") && !strstr(line, "[heap]"))
			maps = stpcpy(stpcpy(maps, line), "\n");
	}
}

/* In smaps, the flags or another line of the mapping that starts at addr. */
static bool smaps_line(const void *addr, const char *name, char *value,
		       size_t size)
{
	FILE *file = fopen("/proc/self/smaps", "r");
	char line[512];
	bool inside = false, found = false;
	uintptr_t from, to;

	assert_non_null(file);
	while (!found && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside =
				(uintptr_t)addr >= from && (uintptr_t)addr < to;
		else if (inside && !strncmp(line, name, strlen(name)))
			found = true;
	}
	fclose(file);
	snprintf(value, size, "%s", found ? line + strlen(name) : "");
	return found;
}

static bool has_vm_flag(const void *addr, const char *flag)
{
	char flags[512];

	return smaps_line(addr, "VmFlags:", flags, sizeof(flags)) &&
	       strstr(flags, flag);
}

static uint64_t resident_kb(const void *addr)
{
	char text[512];

	assert_true(smaps_line(addr, "Rss:", text, sizeof(text)));
	return strtoull(text, NULL, 10);
}

/* --- plan --- */

static int plan(struct arena *arena, struct arena_request request)
{
	return arena_plan(arena, &request, &reporter);
}

static void test_plan_reserved(void **state)
{
	struct arena arena;

	(void)state;
	assert_int_equal(plan(&arena, (struct arena_request){ .size = 1 }), 0);
	assert_int_equal(arena.size, TWO_MIB);
	assert_true(arena.reserved && arena.mapped);
	assert_int_equal(
		plan(&arena, (struct arena_request){ .size = 5 * TWO_MIB }), 0);
	assert_int_equal(arena.size, 5 * TWO_MIB);
	assert_int_equal(
		plan(&arena, (struct arena_request){ .size = 5 * TWO_MIB + 1 }),
		0);
	assert_int_equal(arena.size, 6 * TWO_MIB);
	assert_int_equal(messages.count, 0);
	assert_int_equal(
		plan(&arena, (struct arena_request){ .size = 15ull << 40 }), 0);
	assert_int_equal(
		plan(&arena,
		     (struct arena_request){ .size = (15ull << 40) + 1 }),
		-1);
	assert_int_equal(errno, EINVAL);
	assert_told(&messages, "size 16492674416641");
	assert_int_equal(plan(&arena, (struct arena_request){ .size = 0 }), -1);
}

static const struct {
	uint64_t offset, size;
	uint64_t start, pages, head, tail; /* pages 0: refused */
} trims[] = {
	{ 0, 4096, 0, 1, 0, 0 },
	{ 1, 8191, 4096, 1, 4095, 0 },
	{ 4095, 4098, 4096, 1, 1, 1 },
	{ 8192, 12287, 8192, 2, 0, 4095 },
	{ 100, 20000, 4096, 3, 3996, 3716 },
	{ 0, 4095, 0, 0, 0, 0 },
	{ 1, 4096, 0, 0, 0, 0 },
	{ 1, 8190, 0, 0, 0, 0 },
	{ 4096, 0, 0, 0, 0, 0 },
	{ UINT64_MAX - 4094, 4095, 0, 0, 0, 0 },
	{ UINT64_MAX - 4095, 8192, 0, 0, 0, 0 },
	{ UINT64_MAX - 12287, 12287, UINT64_MAX - 12287, 2, 0, 4095 },
	{ 0, (15ull << 40) + 4096, 0, 0, 0, 0 },
	{ 12345 << 12, 15ull << 40, 12345 << 12, 15ull << 28, 0, 0 },
};

static void check_trim(size_t i, bool offsets)
{
	struct arena_request request = { .size = trims[i].size };
	struct arena arena;

	messages.count = 0;
	if (offsets) {
		request.flags = QUIRE_OFFSETS;
		request.offset = trims[i].offset;
	} else {
		request.address = (void *)(uintptr_t)trims[i].offset;
	}
	if (trims[i].pages == 0) {
		assert_int_equal(plan(&arena, request), -1);
		assert_int_equal(errno, EINVAL);
		assert_told(&messages, "holds no whole page");
		return;
	}
	assert_int_equal(plan(&arena, request), 0);
	assert_int_equal(arena.start, trims[i].start);
	assert_int_equal(arena.size, trims[i].pages * 4096);
	assert_int_equal(arena.trimmed_head, trims[i].head);
	assert_int_equal(arena.trimmed_tail, trims[i].tail);
	assert_int_equal(arena.mapped, !offsets);
	assert_false(arena.reserved);
	assert_int_equal(messages.count, trims[i].head || trims[i].tail);
	if (messages.count) {
		char text[64];

		snprintf(text, sizeof(text), "%llu bytes at its start, %llu",
			 (unsigned long long)trims[i].head,
			 (unsigned long long)trims[i].tail);
		assert_told(&messages, text);
	}
}

static void test_plan_trims(void **state)
{
	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(trims); i++) {
		check_trim(i, true);
		if (trims[i].offset) /* NULL: quire reserves */
			check_trim(i, false);
	}
}

/* --- backing --- */

static int make(struct arena *arena, struct arena_request request,
		size_t table_size)
{
	assert_int_equal(plan(arena, request), 0);
	return arena_init(arena, &request, table_size);
}

/* Base pages, so that neither hugepages nor their absence matter. */
static struct arena_request base_request(uint64_t size)
{
	return (struct arena_request){ .size = size,
				       .backing = { QUIRE_BACKING_BASE } };
}

static void test_reserved(void **state)
{
	struct arena arena;
	char *pages, *tables;

	(void)state;
	assert_int_equal(make(&arena, base_request(TWO_MIB * 3), 5000), 0);
	assert_int_equal(arena.start % GIB, 0);
	assert_int_equal(arena.table_size, TWO_MIB);
	assert_int_equal(arena.range_size, TWO_MIB * 4);
	assert_true((uintptr_t)arena.range + TWO_MIB == arena.start);
	assert_int_equal(arena.backing, QUIRE_BACKING_BASE);
	assert_true(arena.private);
	pages = (char *)(uintptr_t)arena.start;
	tables = arena.range;
	for (uint64_t at = 0; at < arena.size; at += 4096)
		assert_int_equal(pages[at], 0);
	pages[0] = pages[arena.size - 1] = 1;
	tables[0] = tables[arena.table_size - 1] = 1;
	arena_fini(&arena);
	assert_int_equal(msync(tables, 4096, MS_ASYNC), -1);
	assert_int_equal(msync(pages, 4096, MS_ASYNC), -1);
}

/* For offsets the range holds the tables alone; a caller's region is left. */
static void test_not_reserved(void **state)
{
	unsigned char there[512];
	struct arena arena;
	char *own = mmap(NULL, TWO_MIB, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_ptr_not_equal(own, MAP_FAILED);
	assert_int_equal(make(&arena,
			      (struct arena_request){ .size = 7ull << 40,
						      .flags = QUIRE_OFFSETS,
						      .offset = 4096 },
			      TWO_MIB + 1),
			 0);
	assert_int_equal(arena.backing, QUIRE_BACKING_NONE);
	assert_int_equal(arena.range_size, 2 * TWO_MIB);
	assert_false(arena.private);
	arena_fini(&arena);
	assert_int_equal(
		make(&arena,
		     (struct arena_request){ .size = TWO_MIB, .address = own },
		     1),
		0);
	assert_int_equal(arena.backing, QUIRE_BACKING_CALLER);
	assert_int_equal(arena.range_size, TWO_MIB);
	assert_int_equal(arena.start, (uintptr_t)own);
	assert_false(arena.private);
	assert_int_equal(mincore(own, TWO_MIB, there), 0);
	for (size_t i = 0; i < sizeof(there); i++)
		assert_false(there[i] & 1);
	own[5] = 7;
	arena_fini(&arena);
	assert_int_equal(own[5], 7);
	munmap(own, TWO_MIB);
}

/* Tried in order; each that cannot be had is told, and the one got is true. */
static void test_backing_order(void **state)
{
	struct arena arena;
	struct arena_request request = {
		.size = 3 * TWO_MIB,
		.backing = { QUIRE_BACKING_1G, QUIRE_BACKING_2M,
			     QUIRE_BACKING_THP, QUIRE_BACKING_BASE },
	};

	(void)state;
	/* 1 GiB pages do not fit; the pool of 2 MiB pages is out of reach; the
	 * tables' madvise comes first. */
	fault_arm(FAULT_MAP, 1, 1);
	fault_arm(FAULT_MADVISE, 1, 1);
	assert_int_equal(make(&arena, request, 1), 0);
	assert_int_equal(arena.backing, QUIRE_BACKING_BASE);
	assert_int_equal(messages.count, 3);
	assert_told(&messages, "backing 1g cannot be had for");
	assert_told(&messages, "backing 2m cannot be had for");
	assert_told(&messages, "backing thp cannot be had for");
	arena_fini(&arena);
}

static bool thp_is_on(void)
{
	char text[64];

	if (access("/sys/kernel/mm/transparent_hugepage/enabled", R_OK))
		return false;
	read_file("/sys/kernel/mm/transparent_hugepage/enabled", text,
		  sizeof(text));
	return !strstr(text, "[never]");
}

static void test_backing_default(void **state)
{
	enum quire_backing expected =
		thp_is_on() ? QUIRE_BACKING_THP : QUIRE_BACKING_BASE;
	struct arena arena;

	(void)state;
	assert_int_equal(
		make(&arena, (struct arena_request){ .size = TWO_MIB }, 1), 0);
	assert_int_equal(arena.backing, expected);
	assert_int_equal(arena.table_backing, expected);
	assert_int_equal(has_vm_flag((void *)(uintptr_t)arena.start, " hg"),
			 expected == QUIRE_BACKING_THP);
	arena_fini(&arena);
	/* Without THP: base pages, for both, and nobody is told. */
	fault_arm(FAULT_MADVISE, 0, 2);
	assert_int_equal(
		make(&arena, (struct arena_request){ .size = TWO_MIB }, 1), 0);
	assert_int_equal(arena.backing, QUIRE_BACKING_BASE);
	assert_int_equal(arena.table_backing, QUIRE_BACKING_BASE);
	assert_false(has_vm_flag((void *)(uintptr_t)arena.start, " hg"));
	assert_int_equal(messages.count, 0);
	arena_fini(&arena);
}

/* What was asked for is the whole list: no fallback to what was not. */
static void test_no_silent_fallback(void **state)
{
	struct arena arena;

	(void)state;
	fault_arm(FAULT_MADVISE, 1, 1);
	errno = 0;
	assert_int_equal(
		make(&arena,
		     (struct arena_request){ .size = TWO_MIB,
					     .backing = { QUIRE_BACKING_THP } },
		     1),
		-1);
	assert_int_equal(errno, ENOMEM);
	assert_told(&messages, "backing thp cannot be had for 2097152 bytes");
}

/* --- hugetlb --- */

static unsigned long get_pool(void)
{
	char text[64];

	if (access(pool, R_OK) != 0)
		return 0;
	read_file(pool, text, sizeof(text));
	return strtoul(text, NULL, 10);
}

static void test_hugetlb(void **state)
{
	unsigned long before = get_pool();
	struct arena_request request = { .size = 3 * TWO_MIB,
					 .backing = { QUIRE_BACKING_2M,
						      QUIRE_BACKING_BASE } };
	struct arena arena, second;
	char text[64], *pages;

	(void)state;
	if (geteuid() != 0)
		skip();
	pool_before = (long)before;
	if (!set_pool(before + 4) || get_pool() < before + 4)
		skip();
	assert_int_equal(make(&arena, request, 1), 0);
	assert_int_equal(arena.backing, QUIRE_BACKING_2M);
	assert_false(arena.private);
	assert_int_equal(messages.count, 0);
	pages = (char *)(uintptr_t)arena.start;
	*(volatile char *)pages = 1;
	assert_true(smaps_line(pages, "KernelPageSize:", text, sizeof(text)));
	assert_int_equal(strtoul(text, NULL, 10), 2048);
	/* A child would find itself without a second copy. */
	assert_true(has_vm_flag(pages, " dc"));
	assert_true(has_vm_flag(pages, " ht"));
	assert_false(has_vm_flag(arena.range, " ht"));
	/* Three of them are taken: the next choice. */
	request.size = (before + 4) * TWO_MIB;
	assert_int_equal(make(&second, request, 1), 0);
	assert_int_equal(second.backing, QUIRE_BACKING_BASE);
	assert_told(&messages, "backing 2m cannot be had for");
	*(volatile char *)(uintptr_t)second.start = 1;
	arena_fini(&second);
	arena_fini(&arena);
}

/* More than there can be in the pool. */
static uint64_t beyond_pool(void)
{
	return (TEST_SANITIZED ? GIB / 4 : 12 * GIB) + get_pool() * TWO_MIB;
}

/*
 * A pool that is too small leaves the reserved range as it was. There must be
 * no moment at which it is a hole, for another thread's mapping may fall into
 * it; what was advised is lost if there was one.
 */
static void test_hugetlb_leaves_range(void **state)
{
	uint64_t size = beyond_pool();
	char *range = platform_reserve(size, TWO_MIB);
	char *ends[] = { range, range + size - 4096 };

	(void)state;
	assert_non_null(range);
	assert_int_equal(madvise(range, size, MADV_DONTFORK), 0);
	errno = 0;
	assert_int_equal(platform_back_hugetlb(range, size, 21), -1);
	assert_int_equal(errno, ENOMEM);
	for (size_t i = 0; i < TEST_LENGTH(ends); i++) {
		assert_true(has_vm_flag(ends[i], " dc"));
		assert_false(has_vm_flag(ends[i], " rd"));
		assert_false(has_vm_flag(ends[i], " ht"));
	}
	platform_unmap(range, size);
}

/* A pool that is too small: told, next choice, no hole in the range. */
static void test_hugetlb_short(void **state)
{
	struct arena_request request = { .size = UINT64_C(1) << 44,
					 .backing = { QUIRE_BACKING_2M,
						      QUIRE_BACKING_BASE } };
	struct arena arena;

	(void)state;
	request.size = beyond_pool();
	assert_int_equal(make(&arena, request, 1), 0);
	assert_int_equal(arena.backing, QUIRE_BACKING_BASE);
	assert_told(&messages, "backing 2m cannot be had for");
	*(volatile char *)(uintptr_t)(arena.start + arena.size - 1) = 1;
	arena_fini(&arena);
}

/* --- what is done to the pages --- */

static void test_dontfork(void **state)
{
	struct arena_request request = base_request(TWO_MIB);
	struct arena arena;
	void *pages;
	pid_t pid;
	int status;

	(void)state;
	request.flags = QUIRE_DONTFORK;
	assert_int_equal(make(&arena, request, 1), 0);
	assert_false(arena.private);
	pages = (void *)(uintptr_t)arena.start;
	*(volatile char *)pages = 1;
	pid = fork();
	if (pid == 0)
		/* The tables are there, the pages are not. */
		_exit(msync(arena.range, 4096, MS_ASYNC) != 0 ||
		      msync(pages, 4096, MS_ASYNC) == 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	arena_fini(&arena);
}

static char *map_region(void)
{
	char *region = mmap(NULL, TWO_MIB, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(region, MAP_FAILED);
	return region;
}

/* A region of the caller's too; afterwards it is as it was. */
static void test_callers_dontfork(void **state)
{
	char *region = map_region();
	struct arena_request request = {
		.size = TWO_MIB,
		.address = region,
		.flags = QUIRE_DONTFORK,
	};
	struct arena arena;

	(void)state;
	assert_int_equal(make(&arena, request, 1), 0);
	assert_true(has_vm_flag(region, " dc"));
	arena_fini(&arena);
	assert_false(has_vm_flag(region, " dc"));
	request.flags |= QUIRE_PREFAULT;
	fault_arm(FAULT_POPULATE, 0, 1);
	assert_int_equal(make(&arena, request, 1), -1);
	assert_false(has_vm_flag(region, " dc"));
	munmap(region, TWO_MIB);
}

static void test_prefault(void **state)
{
	struct arena_request request = base_request(4 * TWO_MIB);
	unsigned char there[4 * 512];
	struct arena arena;
	void *pages;

	(void)state;
	assert_int_equal(make(&arena, request, 1), 0);
	assert_int_equal(resident_kb((void *)(uintptr_t)arena.start), 0);
	arena_fini(&arena);
	request.flags = QUIRE_PREFAULT;
	assert_int_equal(make(&arena, request, 1), 0);
	pages = (void *)(uintptr_t)arena.start;
	assert_int_equal(mincore(pages, arena.size, there), 0);
	for (size_t i = 0; i < sizeof(there); i++)
		assert_true(there[i] & 1);
	assert_int_equal(resident_kb(pages), 4 * 2048);
	arena_fini(&arena);
}

static bool can_mlock(void)
{
	struct rlimit limit;

	/* Sanitizers make mlock() do nothing. */
	return getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && !TEST_SANITIZED &&
	       (geteuid() == 0 || limit.rlim_cur >= 2 * TWO_MIB);
}

static void test_mlock(void **state)
{
	struct arena_request request = base_request(TWO_MIB);
	struct arena arena;

	(void)state;
	if (!can_mlock())
		skip();
	request.flags = QUIRE_MLOCK;
	assert_int_equal(make(&arena, request, 1), 0);
	assert_true(has_vm_flag((void *)(uintptr_t)arena.start, " lo"));
	assert_int_equal(resident_kb((void *)(uintptr_t)arena.start), 2048);
	arena_fini(&arena);
}

/* Undone by destroy, and when creation fails after it. */
static void test_callers_mlock(void **state)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;
	char *region = map_region();
	struct quire *q;

	(void)state;
	if (!can_mlock())
		skip();
	options.size = TWO_MIB;
	options.address = region;
	options.flags = QUIRE_MLOCK;
	options.way = QUIRE_WAY_BOUND;
	options.report = test_catch;
	options.report_arg = &messages;
	q = quire_create(&options);
	assert_non_null(q);
	assert_true(has_vm_flag(region, " lo"));
	assert_int_equal(quire_destroy(q), 0);
	assert_false(has_vm_flag(region, " lo"));
	fault_arm(FAULT_KEY, 0, 1);
	assert_null(quire_create(&options));
	assert_int_equal(errno, EAGAIN);
	assert_false(has_vm_flag(region, " lo"));
	munmap(region, TWO_MIB);
}

/* --- failures --- */

/* Fails at the n-th question of a point, for each n until it succeeds. */
static void check_failures(enum fault_point point, struct arena_request request)
{
	static char before[MAPS_MAX], after[MAPS_MAX];
	struct arena arena;
	int failed = -1;

	for (int skipped = 0; failed; skipped++) {
		assert_int_equal(plan(&arena, request), 0);
		read_maps(before);
		fault_arm(point, skipped, 1);
		errno = 0;
		failed = arena_init(&arena, &request, TWO_MIB);
		fault_disarm_all();
		if (failed)
			assert_int_not_equal(errno, 0);
		else
			arena_fini(&arena);
		read_maps(after);
		if (!TEST_SANITIZED)
			assert_string_equal(before, after);
		assert_true(skipped < 20);
	}
}

static void test_failures_leave_nothing(void **state)
{
	static const enum fault_point points[] = { FAULT_MAP, FAULT_MADVISE,
						   FAULT_MLOCK,
						   FAULT_POPULATE };
	struct arena_request request = base_request(3 * TWO_MIB);
	struct arena_request offsets = { .size = GIB, .flags = QUIRE_OFFSETS };

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(points); i++) {
		request.flags = 0;
		check_failures(points[i], request);
		request.flags = QUIRE_DONTFORK | QUIRE_PREFAULT | QUIRE_MLOCK;
		check_failures(points[i], request);
		request.backing[0] = QUIRE_BACKING_THP;
		check_failures(points[i], request);
		request.backing[0] = QUIRE_BACKING_BASE;
		check_failures(points[i], offsets);
	}
}

static void fails(enum fault_point point, int skipped, unsigned flags,
		  int error, const char *part)
{
	struct arena_request request = base_request(TWO_MIB);
	struct arena arena;

	request.flags = flags;
	messages.count = 0;
	errno = 0;
	fault_arm(point, skipped, 1);
	assert_int_equal(make(&arena, request, 1), -1);
	assert_int_equal(errno, error);
	fault_disarm_all();
	assert_told(&messages, part);
}

static void test_failures_are_told(void **state)
{
	(void)state;
	fails(FAULT_MAP, 0, 0, ENOMEM, "no address range of 1075838976 bytes");
	fails(FAULT_MLOCK, 0, QUIRE_MLOCK, ENOMEM, "cannot mlock 2097152");
	fails(FAULT_POPULATE, 0, QUIRE_PREFAULT, ENOMEM,
	      "cannot prefault 2097152");
	/* The first madvise is the tables'. */
	fails(FAULT_MADVISE, 1, QUIRE_DONTFORK, ENOTSUP,
	      "cannot keep out of children 2097152");
}

static void test_memblock(void **state)
{
	static struct memblock memblock;
	struct arena arena;
	void *table;

	(void)state;
	assert_int_equal(make(&arena, base_request(TWO_MIB), 1), 0);
	memblock_init(&memblock, &reporter);
	assert_int_equal(arena_add_to_memblock(&arena, &memblock), 0);
	table = memblock_alloc(&memblock, 4096, 4096, "test");
	assert_ptr_equal(table, arena.range);
	assert_int_equal(memblock_memory_size(&memblock), arena.range_size);
	/* Tables never take pages, however many there are. */
	assert_null(
		memblock_alloc(&memblock, arena.table_size, 4096, "too much"));
	assert_int_equal(errno, ENOMEM);
	assert_non_null(memblock_alloc(&memblock, arena.table_size - 4096, 4096,
				       "the rest"));
	assert_null(memblock_alloc(&memblock, 4096, 4096, "one more"));
	arena_fini(&arena);
}

#define each(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		each(test_plan_reserved),
		each(test_plan_trims),
		each(test_reserved),
		each(test_not_reserved),
		each(test_backing_order),
		each(test_backing_default),
		each(test_no_silent_fallback),
		each(test_hugetlb),
		each(test_hugetlb_leaves_range),
		each(test_hugetlb_short),
		each(test_dontfork),
		each(test_callers_dontfork),
		each(test_prefault),
		each(test_mlock),
		each(test_callers_mlock),
		each(test_failures_leave_nothing),
		each(test_failures_are_told),
		each(test_memblock),
	};

	return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
