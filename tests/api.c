/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The contract of quire.h, function by function, with every misuse it names:
 * the error, a report with the values, and nothing changed.
 */
#include "testing.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "quire/quire.h"

#define KIB 1024ull
#define MIB (1024ull * KIB)
#define GIB (1024ull * MIB)
#define PAGE QUIRE_PAGE_SIZE

/* Pages of a 2 MiB arena, the smallest that quire reserves. */
enum { SMALL = 512 };

static struct test_messages messages;

static int setup(void **state)
{
	(void)state;
	return test_begin(&messages);
}

static struct quire_options options_of(uint64_t size)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;

	options.size = size;
	options.report = test_catch;
	options.report_arg = &messages;
	return options;
}

static struct quire *create(const struct quire_options *options)
{
	struct quire *q = quire_create(options);

	assert_non_null(q);
	messages.count = 0;
	return q;
}

static struct quire *create_size(uint64_t size)
{
	struct quire_options options = options_of(size);

	return create(&options);
}

/* NULL where the machine does not have this way. */
static struct quire *create_way(enum quire_way way, uint64_t size)
{
	struct quire_options options = options_of(size);
	struct quire *q;

	options.way = way;
	options.cpus = way == QUIRE_WAY_BOUND ? 4 : 0;
	q = quire_create(&options);
	if (!q && errno == ENOTSUP && way == QUIRE_WAY_RSEQ)
		return NULL;
	assert_non_null(q);
	messages.count = 0;
	return q;
}

static struct quire_info info_of(const struct quire *q)
{
	struct quire_info info;

	assert_int_equal(quire_info(q, &info, sizeof(info)), 0);
	return info;
}

static struct quire_stat stat_of(const struct quire *q)
{
	struct quire_stat stat;

	assert_int_equal(quire_stat(q, &stat, sizeof(stat)), 0);
	return stat;
}

/* Sound, nothing live, and after a drain in as few runs as can be. */
static void expect_whole(struct quire *q)
{
	uint64_t runs[QUIRE_NR_ORDERS], largest = 0;
	struct quire_stat stat;

	assert_int_equal(quire_drain_all(q), 0);
	assert_int_equal(quire_validate(q), 0);
	stat = stat_of(q);
	assert_int_equal(stat.pages_live, 0);
	assert_int_equal(stat.pages_parked, 0);
	assert_int_equal(stat.pages_free, stat.pages);
	assert_int_equal(stat.allocs, stat.frees);
	assert_int_equal(quire_free_runs(q, runs), 0);
	for (unsigned k = 9; k < QUIRE_NR_ORDERS; k++)
		largest += runs[k] << k;
	assert_int_equal(largest, stat.pages);
}

static void destroy(struct quire *q)
{
	expect_whole(q);
	assert_int_equal(quire_destroy(q), 0);
}

/* --- refusals --- */

static struct quire_stat before;

static void remember(const struct quire *q)
{
	before = stat_of(q);
	messages.count = 0;
	errno = 0;
}

static void expect_unchanged(struct quire *q)
{
	struct quire_stat now = stat_of(q);

	/* What looking costs, and what the misuse itself counts. */
	now.zone_locks = before.zone_locks;
	now.refused = before.refused;
	assert_memory_equal(&now, &before, sizeof(now));
	assert_int_equal(quire_validate(q), 0);
}

static void expect_told(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

/* The last call was told with these words. */
static void expect_told(const char *format, ...)
{
	char part[TEST_MESSAGE_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(part, sizeof(part), format, args);
	va_end(args);
	assert_told(&messages, part);
}

/* A free, get or put refused: EINVAL, one report, counted, no change. */
#define EXPECT_REFUSED(q, call, ...)                                           \
	do {                                                                   \
		remember(q);                                                   \
		assert_int_equal((call), -1);                                  \
		assert_int_equal(errno, EINVAL);                               \
		assert_int_equal(messages.count, 1);                           \
		expect_told(__VA_ARGS__);                                      \
		assert_int_equal(stat_of(q).refused, before.refused + 1);      \
		expect_unchanged(q);                                           \
	} while (0)

/* Another call that fails and changes nothing. */
#define EXPECT_FAILS(q, call, result, error)                                   \
	do {                                                                   \
		remember(q);                                                   \
		assert_true((call) == (result));                               \
		assert_int_equal(errno, error);                                \
		expect_unchanged(q);                                           \
	} while (0)

static void expect_no_create(const struct quire_options *options, int error)
{
	messages.count = 0;
	errno = 0;
	assert_null(quire_create(options));
	assert_int_equal(errno, error);
}

/* --- options --- */

static void test_create_needs_size(void **state)
{
	struct quire_options options = options_of(0);

	(void)state;
	expect_no_create(NULL, EINVAL);
	expect_no_create(&options, EINVAL);
	expect_told("size 0");
	options.size = UINT64_MAX;
	expect_no_create(&options, EINVAL);
	expect_told("%llu", (unsigned long long)UINT64_MAX);
}

static void test_struct_size(void **state)
{
	struct {
		struct quire_options options;
		uint64_t newer[2];
	} grown = { options_of(2 * MIB), { 0, 0 } };

	(void)state;
	grown.options.struct_size = 0;
	expect_no_create(&grown.options, EINVAL);
	grown.options.struct_size = sizeof(size_t);
	expect_no_create(&grown.options, EINVAL);
	/* A newer caller's struct is fine while it asks for nothing new. */
	grown.options.struct_size = sizeof(grown);
	destroy(create(&grown.options));
	grown.newer[1] = 1;
	expect_no_create(&grown.options, EINVAL);
}

static void test_options_unknown(void **state)
{
	struct quire_options options = options_of(2 * MIB);

	(void)state;
	options.flags = 1u << 30;
	expect_no_create(&options, EINVAL);
	expect_told("0x40000000");
	options = options_of(2 * MIB);
	options.way = (enum quire_way)77;
	expect_no_create(&options, EINVAL);
	expect_told("way 77");
	options = options_of(2 * MIB);
	options.backing[0] = QUIRE_BACKING_CALLER;
	expect_no_create(&options, EINVAL);
	expect_told("backing[0] %d", QUIRE_BACKING_CALLER);
	options = options_of(2 * MIB);
	options.backing[1] = (enum quire_backing)42;
	expect_no_create(&options, EINVAL);
	expect_told("42");
	options = options_of(2 * MIB);
	options.cpus = 1u << 20;
	expect_no_create(&options, EINVAL);
	expect_told("cpus %u", 1u << 20);
}

static void test_options_that_clash(void **state)
{
	static const unsigned flags[] = { QUIRE_PREFAULT, QUIRE_MLOCK,
					  QUIRE_DONTFORK, QUIRE_ZEROED };
	struct quire_options options;

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(flags); i++) {
		options = options_of(2 * MIB);
		options.flags = QUIRE_OFFSETS | flags[i];
		expect_no_create(&options, EINVAL);
		expect_told("0x%x", options.flags);
	}
	options = options_of(2 * MIB);
	options.flags = QUIRE_OFFSETS;
	options.address = &options;
	expect_no_create(&options, EINVAL);
	expect_told("%p", (void *)&options);
}

static void test_bad_zones(void **state)
{
	static const struct {
		enum quire_zone kind;
		uint64_t size, dma32;
		const char *told;
	} bad[] = {
		{ QUIRE_ZONE_DMA32, MIB, 0, "zone_size[DMA32] 1048576" },
		{ QUIRE_ZONE_NORMAL, 2 * MIB, 0, "zone_size[NORMAL] 2097152" },
		{ QUIRE_ZONE_MOVABLE, 2 * MIB + 4096, 0,
		  "zone_size[MOVABLE] 2101248" },
		{ QUIRE_ZONE_DMA32, 8 * MIB, 0, "zone_size[DMA32] 8388608" },
		{ QUIRE_ZONE_MOVABLE, 6 * MIB, 4 * MIB,
		  "zone_size[MOVABLE] 6291456" },
		{ QUIRE_ZONE_DEVICE, 4 * MIB, 4 * MIB,
		  "zone_size[DEVICE] 4194304" },
		{ QUIRE_ZONE_DMA32, UINT64_MAX - 2 * MIB + 1, 0,
		  "zone_size[DMA32] 18446744073707454464: the region has" },
		{ QUIRE_ZONE_DEVICE, UINT64_MAX - 2 * MIB + 1, 0,
		  "zone_size[DEVICE] 18446744073707454464: the region has" },
	};

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(bad); i++) {
		struct quire_options options = options_of(8 * MIB);

		options.zone_size[QUIRE_ZONE_DMA32] = bad[i].dma32;
		options.zone_size[bad[i].kind] = bad[i].size;
		expect_no_create(&options, EINVAL);
		expect_told("%s", bad[i].told);
	}
}

static void test_backing_refused(void **state)
{
	struct quire_options options = options_of(2 * MIB);
	struct quire *q;

	(void)state;
	/* Part of a 1 GiB page, and 2 MiB pages for more than all memory. */
	options.backing[0] = QUIRE_BACKING_1G;
	expect_no_create(&options, ENOMEM);
	expect_told("1g");
	options.backing[0] = QUIRE_BACKING_2M;
	options.size = (uint64_t)sysconf(_SC_PHYS_PAGES) * PAGE + GIB;
	expect_no_create(&options, ENOMEM);
	expect_told("2m");
	/* The next of the list, and it is said which one failed. */
	options = options_of(2 * MIB);
	options.backing[0] = QUIRE_BACKING_1G;
	options.backing[1] = QUIRE_BACKING_BASE;
	q = quire_create(&options);
	assert_non_null(q);
	expect_told("1g");
	assert_int_equal(info_of(q).backing, QUIRE_BACKING_BASE);
	destroy(q);
}

static void test_backing_got(void **state)
{
	struct quire_options options = options_of(4 * MIB);
	struct quire *q = create(&options);
	enum quire_backing backing = info_of(q).backing;

	(void)state;
	assert_true(backing == QUIRE_BACKING_THP ||
		    backing == QUIRE_BACKING_BASE);
	backing = info_of(q).table_backing;
	assert_true(backing == QUIRE_BACKING_THP ||
		    backing == QUIRE_BACKING_BASE);
	destroy(q);

	options.backing[0] = QUIRE_BACKING_2M;
	q = quire_create(&options);
	if (!q) {
		/* No hugetlb pages set aside on this machine. */
		assert_int_equal(errno, ENOMEM);
		expect_told("2m");
		return;
	}
	assert_int_equal(info_of(q).backing, QUIRE_BACKING_2M);
	assert_true(info_of(q).table_backing != QUIRE_BACKING_2M);
	destroy(q);
}

/* --- what was got --- */

static void test_info(void **state)
{
	struct quire_options options = options_of(1);
	struct quire *q = create(&options);
	struct quire_info info = info_of(q), part;

	(void)state;
	assert_int_equal(info.pages, SMALL); /* rounded up to 2 MiB */
	assert_int_equal((uintptr_t)info.address % (2 * MIB), 0);
	assert_int_equal(info.first_pfn, (uintptr_t)info.address % GIB / PAGE);
	assert_int_equal(info.trimmed_head, 0);
	assert_int_equal(info.trimmed_tail, 0);
	assert_int_equal(info.zones, 1);
	assert_int_equal(info.nodes, 1);
	assert_true(info.cpus >= 1);
	assert_true(info.way == QUIRE_WAY_RSEQ ||
		    info.way == QUIRE_WAY_TRYLOCK);
	assert_true(info.table_bytes > 0);
	/* An older caller's struct is not written beyond its size. */
	memset(&part, 0xa5, sizeof(part));
	assert_int_equal(
		quire_info(q, &part, offsetof(struct quire_info, address)), 0);
	assert_int_equal(part.pages, SMALL);
	assert_int_equal((uintptr_t)part.address, 0xa5a5a5a5a5a5a5a5);
	destroy(q);
}

static void test_stat_size(void **state)
{
	struct quire *q = create_size(2 * MIB);
	struct quire_stat part;

	(void)state;
	memset(&part, 0xa5, sizeof(part));
	assert_int_equal(
		quire_stat(q, &part, offsetof(struct quire_stat, pages_free)),
		0);
	assert_int_equal(part.pages, SMALL);
	assert_int_equal(part.pages_free, 0xa5a5a5a5a5a5a5a5);
	/* The struct as it was before it grew. */
	assert_int_equal(
		quire_stat(q, &part,
			   offsetof(struct quire_stat, zone_hold_p999_ns)),
		0);
	assert_int_equal(part.pages_free, SMALL);
	assert_int_equal(part.zeroed, 0);
	assert_int_equal(part.zone_hold_p999_ns, 0xa5a5a5a5a5a5a5a5);
	assert_int_equal(part.zone_hold_max_ns, 0xa5a5a5a5a5a5a5a5);
	destroy(q);
}

/* A newer caller's fields are 0. */
static void test_stat_longer(void **state)
{
	struct quire *q = create_size(2 * MIB);
	struct {
		struct quire_stat stat;
		uint64_t newer;
	} more;

	(void)state;
	memset(&more, 0xa5, sizeof(more));
	assert_int_equal(quire_stat(q, &more.stat, sizeof(more)), 0);
	assert_int_equal(more.stat.pages_free, SMALL);
	assert_int_equal(more.newer, 0);
	destroy(q);
}

static void use_zone(struct quire *q, unsigned flags)
{
	struct quire_page *pages[200];

	for (unsigned order = 0; order < 3; order++) {
		assert_int_equal(
			quire_alloc_pages_bulk(q, order, flags, 200, pages),
			200);
		assert_int_equal(quire_free_pages_bulk(q, order, 200, pages),
				 200);
	}
}

/* How long zone locks are held: only if asked for, and in any zone. */
static void test_lock_times(void **state)
{
	static const unsigned zones[] = { QUIRE_DMA32, 0 };
	struct quire_options options = options_of(64 * MIB);
	struct quire_stat stat;
	struct quire *q;

	(void)state;
	options.zone_size[QUIRE_ZONE_DMA32] = 32 * MIB;
	q = create(&options);
	use_zone(q, zones[0]);
	use_zone(q, zones[1]);
	assert_true(stat_of(q).zone_locks > 0);
	assert_int_equal(stat_of(q).zone_hold_p999_ns, 0);
	assert_int_equal(stat_of(q).zone_hold_max_ns, 0);
	destroy(q);
	options.flags = QUIRE_LOCK_TIMES;
	for (unsigned zone = 0; zone < 2; zone++) {
		q = create(&options);
		assert_int_equal(stat_of(q).zone_hold_p999_ns, 0);
		assert_int_equal(stat_of(q).zone_hold_max_ns, 0);
		use_zone(q, zones[zone]);
		stat = stat_of(q);
		assert_true(stat.zone_hold_p999_ns > 0);
		assert_true(stat.zone_hold_p999_ns <= stat.zone_hold_max_ns);
		use_zone(q, zones[1 - zone]);
		assert_true(stat_of(q).zone_hold_max_ns >=
			    stat.zone_hold_max_ns);
		destroy(q);
	}
}

static void *map_region(size_t size, int protection)
{
	void *region = mmap(NULL, size, protection,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_ptr_not_equal(region, MAP_FAILED);
	return region;
}

static void test_callers_region(void **state)
{
	const size_t size = 8 * MIB;
	unsigned char *region = map_region(size, PROT_READ | PROT_WRITE);
	struct quire_options options = options_of(size - 5000);
	struct quire *q;
	struct quire_info info;

	(void)state;
	options.address = region + 100;
	q = quire_create(&options);
	assert_non_null(q);
	expect_told("3996"); /* trimmed at the start */
	expect_told("3292"); /* and at the end */
	info = info_of(q);
	assert_ptr_equal(info.address, region + PAGE);
	assert_int_equal(info.trimmed_head, PAGE - 100);
	assert_int_equal(info.trimmed_tail, (size - 5000 + 100) % PAGE);
	assert_int_equal(info.pages, size / PAGE - 3);
	assert_int_equal(info.backing, QUIRE_BACKING_CALLER);
	assert_int_equal(info.first_pfn, (uintptr_t)info.address % GIB / PAGE);
	assert_int_equal(quire_validate(q), 0);
	assert_int_equal(quire_destroy(q), 0);
	region[size / 2] = 1; /* left alone by destroy */
	munmap(region, size);
}

static void test_region_too_small(void **state)
{
	unsigned char *region = map_region(2 * PAGE, PROT_NONE);
	struct quire_options options = options_of(2 * PAGE - 2);

	(void)state;
	options.address = region + 1;
	expect_no_create(&options, EINVAL);
	expect_told("0x%llx", (unsigned long long)(uintptr_t)region + 1);
	options.size = UINT64_MAX - PAGE;
	expect_no_create(&options, EINVAL);
	munmap(region, 2 * PAGE);
}

/* quire neither reads nor writes pages it is not asked to clear. */
static void test_region_untouched(void **state)
{
	const size_t size = 4 * MIB;
	void *region = map_region(size, PROT_NONE);
	struct quire_options options = options_of(size);
	struct quire *q;
	struct quire_page *pages[600];

	(void)state;
	options.address = region;
	q = create(&options);
	for (unsigned order = 0; order <= 9; order++) {
		size_t n = quire_alloc_pages_bulk(q, order, 0, 600, pages);

		assert_true(n > 0);
		assert_int_equal(quire_free_pages_bulk(q, order, n, pages), n);
	}
	assert_int_equal(quire_drain_all(q), 0);
	assert_int_equal(quire_validate(q), 0);
	assert_int_equal(quire_destroy(q), 0);
	munmap(region, size);
}

static size_t resident_pages(void *address, size_t size)
{
	unsigned char map[4096];
	size_t n = 0;

	assert_true(size / PAGE <= sizeof(map));
	assert_int_equal(mincore(address, size, map), 0);
	for (size_t i = 0; i < size / PAGE; i++)
		n += map[i] & 1;
	return n;
}

static void test_prefault(void **state)
{
	struct quire_options options = options_of(4 * MIB);
	struct quire *q = create(&options);

	(void)state;
	assert_int_equal(resident_pages(info_of(q).address, 4 * MIB), 0);
	destroy(q);
	options.flags = QUIRE_PREFAULT;
	q = create(&options);
	assert_int_equal(resident_pages(info_of(q).address, 4 * MIB),
			 4 * MIB / PAGE);
	destroy(q);
}

/* Rather than a signal. */
static void test_prefault_read_only(void **state)
{
	static const int protections[] = { PROT_READ, PROT_NONE };
	struct quire_options options = options_of(4 * MIB);

	(void)state;
	options.flags = QUIRE_PREFAULT;
	for (size_t i = 0; i < TEST_LENGTH(protections); i++) {
		options.address = map_region(4 * MIB, protections[i]);
		expect_no_create(&options, EACCES);
		expect_told("cannot prefault 4194304 bytes at %p",
			    options.address);
		munmap(options.address, 4 * MIB);
	}
}

static void forget_errno(void *arg, const char *message)
{
	test_catch(arg, message);
	errno = 0;
}

/* Whatever the program does when it is told. */
static void test_report_changes_errno(void **state)
{
	struct quire_options options = options_of(4 * MIB);
	void *region = map_region(4 * MIB, PROT_READ);

	(void)state;
	options.report = forget_errno;
	options.way = (enum quire_way)77;
	expect_no_create(&options, EINVAL);
	options.way = QUIRE_WAY_DEFAULT;
	options.address = region;
	options.flags = QUIRE_PREFAULT;
	expect_no_create(&options, EACCES);
	munmap(region, 4 * MIB);
}

/* --- QUIRE_CONF --- */

/* Creates with QUIRE_CONF set; what goes to stderr lands in text. */
static struct quire *create_conf(const struct quire_options *options,
				 const char *conf, char text[4096])
{
	FILE *file = tmpfile();
	int saved = dup(STDERR_FILENO);
	struct quire *q;
	size_t n;

	assert_true(file && saved >= 0);
	fflush(stderr);
	assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
	setenv("QUIRE_CONF", conf, 1);
	q = quire_create(options);
	unsetenv("QUIRE_CONF");
	dup2(saved, STDERR_FILENO);
	close(saved);
	rewind(file);
	n = fread(text, 1, 4095, file);
	text[n] = '\0';
	fclose(file);
	assert_non_null(q);
	return q;
}

static void test_conf(void **state)
{
	struct quire_options options = options_of(0);
	char text[4096];
	struct quire *q = create_conf(
		&options, "size:6M,way:trylock,cpus:3,backing:base,decay_ms:5",
		text);
	struct quire_info info = info_of(q);

	(void)state;
	assert_string_equal(text, "");
	assert_int_equal(info.pages, 6 * MIB / PAGE);
	assert_int_equal(info.way, QUIRE_WAY_TRYLOCK);
	assert_int_equal(info.cpus, 3);
	assert_int_equal(info.backing, QUIRE_BACKING_BASE);
	destroy(q);
	/* It overrides what the program asked for. */
	options = options_of(2 * MIB);
	options.way = QUIRE_WAY_TRYLOCK;
	q = create_conf(&options,
			"size:8192K,way:bound,backing:1g+base,"
			"race:1,prefault:0",
			text);
	info = info_of(q);
	assert_int_equal(info.pages, 8 * MIB / PAGE);
	assert_int_equal(info.way, QUIRE_WAY_BOUND);
	destroy(q);
	options = options_of(64 * MIB);
	q = create_conf(&options, "lock_times:1,renew:64", text);
	assert_string_equal(text, "");
	use_zone(q, 0);
	assert_true(stat_of(q).zone_hold_max_ns > 0);
	destroy(q);
}

static void test_conf_unknown(void **state)
{
	static const char *const bad[] = {
		"bogus:1",	 "sizes:4M",	    "way:fast",
		"backing:paper", "size:12Q",	    "size:",
		"cpus:-1",	 "prefault:2",	    "debug:all",
		"size",		 "cpus:5000000000", "size:99999999999999999999"
	};
	struct quire_options options = options_of(2 * MIB);
	char conf[512] = "cpus:2", text[4096];
	struct quire *q;

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(bad); i++) {
		strcat(conf, ",");
		strcat(conf, bad[i]);
	}
	strcat(conf, ",,way:trylock");
	options.report = NULL;
	q = create_conf(&options, conf, text);
	for (size_t i = 0; i < TEST_LENGTH(bad); i++) {
		char quoted[64];

		snprintf(quoted, sizeof(quoted), "\"%s\"", bad[i]);
		if (!strstr(text, quoted))
			fail_msg("%s not named in: %s", quoted, text);
	}
	/* What is good beside them counts; what is bad changes nothing. */
	assert_int_equal(info_of(q).pages, SMALL);
	assert_int_equal(info_of(q).cpus, 2);
	assert_int_equal(info_of(q).way, QUIRE_WAY_TRYLOCK);
	destroy(q);
}

static void test_conf_debug(void **state)
{
	struct quire_options options = options_of(2 * MIB);
	char text[4096];

	(void)state;
	destroy(create_conf(&options, "debug:memblock", text));
	expect_told("memblock: reserve [0x");
	messages.count = 0;
	destroy(create_conf(&options, "debug:init+memblock", text));
	assert_true(messages.count > 0);
}

/* --- offsets --- */

static void test_offsets(void **state)
{
	struct quire_options options = options_of(3 * GIB);
	struct quire *q;
	struct quire_page *page;
	struct quire_info info;

	(void)state;
	options.flags = QUIRE_OFFSETS;
	options.offset = GIB - 3 * PAGE - 96;
	q = create(&options);
	info = info_of(q);
	assert_null(info.address);
	assert_int_equal(info.offset, GIB - 3 * PAGE);
	assert_int_equal(info.trimmed_head, 96);
	assert_int_equal(info.trimmed_tail, PAGE - 96);
	assert_int_equal(info.pages, 3 * GIB / PAGE - 1);
	assert_int_equal(info.backing, QUIRE_BACKING_NONE);
	assert_int_equal(info.first_pfn, (1u << QUIRE_MAX_ORDER) - 3);
	page = quire_alloc_pages(q, QUIRE_MAX_ORDER, 0);
	assert_non_null(page);
	assert_int_equal(quire_page_to_offset(q, page) % GIB, 0);
	assert_ptr_equal(quire_offset_to_page(q, quire_page_to_offset(q, page)),
			 page);
	assert_int_equal(quire_page_order(q, page), QUIRE_MAX_ORDER);
	assert_int_equal(quire_free_pages(q, page, QUIRE_MAX_ORDER), 0);
	assert_int_equal(quire_validate(q), 0);
	assert_int_equal(quire_destroy(q), 0);
}

static void test_offsets_have_no_pointers(void **state)
{
	struct quire_options options = options_of(4 * MIB);
	struct quire *q;
	struct quire_page *page;
	int local;

	(void)state;
	options.flags = QUIRE_OFFSETS;
	q = create(&options);
	page = quire_alloc_pages(q, 0, 0);
	EXPECT_FAILS(q, quire_alloc_addr(q, 0, 0), NULL, ENOTSUP);
	EXPECT_FAILS(q, quire_free_addr(q, &local, 0), -1, ENOTSUP);
	EXPECT_FAILS(q, quire_free_unsized(q, &local), -1, ENOTSUP);
	EXPECT_FAILS(q, quire_page_to_virt(q, page), NULL, ENOTSUP);
	EXPECT_FAILS(q, quire_virt_to_page(q, &local), NULL, ENOTSUP);
	EXPECT_FAILS(q, quire_addr_order(q, &local), -1, ENOTSUP);
	EXPECT_FAILS(q, quire_alloc_pages(q, 0, QUIRE_ZERO), NULL, ENOTSUP);
	EXPECT_FAILS(q, quire_alloc_exact(q, 3, QUIRE_ZERO), NULL, ENOTSUP);
	assert_int_equal(quire_free_pages(q, page, 0), 0);
	destroy(q);
}

/* --- allocating --- */

static void test_every_order(void **state)
{
	struct quire *q = create_size(2 * GIB);

	(void)state;
	for (unsigned order = 0; order <= QUIRE_MAX_ORDER; order++) {
		struct quire_page *page = quire_alloc_pages(q, order, 0);
		uint64_t pages = 1ull << order;
		uintptr_t addr;

		assert_non_null(page);
		addr = (uintptr_t)quire_page_to_virt(q, page);
		assert_int_equal(addr % (pages * PAGE), 0);
		assert_int_equal(quire_page_order(q, page), order);
		assert_int_equal(quire_addr_order(q, (void *)addr), order);
		assert_int_equal(quire_page_count(q, page), 1);
		assert_int_equal(quire_page_flags(page), 0);
		assert_int_equal(stat_of(q).pages_live, pages);
		assert_int_equal(quire_free_pages(q, page, order), 0);
		assert_int_equal(quire_page_order(q, page), -1);
		assert_int_equal(quire_page_count(q, page), 0);
		assert_int_equal(stat_of(q).pages_live, 0);
	}
	destroy(q);
}

static void test_alloc_invalid(void **state)
{
	struct quire *q = create_size(2 * MIB);
	struct quire_page *page;

	(void)state;
	EXPECT_FAILS(q, quire_alloc_pages(q, QUIRE_MAX_ORDER + 1, 0), NULL,
		     EINVAL);
	expect_told("order %d", QUIRE_MAX_ORDER + 1);
	EXPECT_FAILS(q, quire_alloc_pages(q, UINT32_MAX, 0), NULL, EINVAL);
	EXPECT_FAILS(q, quire_alloc_pages(q, 0, 1u << 21), NULL, EINVAL);
	expect_told("0x200000");
	EXPECT_FAILS(q, quire_alloc_pages(q, 0, 1u << 14), NULL, EINVAL);
	expect_told("0x4000: unknown bits");
	EXPECT_FAILS(q, quire_alloc_pages(q, 0, QUIRE_NODE(1)), NULL, EINVAL);
	expect_told("node 1 of 1");
	EXPECT_FAILS(q, quire_alloc_pages(q, 0, QUIRE_NODE_MASK), NULL, EINVAL);
	expect_told("node 30 of 1");
	EXPECT_FAILS(q, quire_alloc_addr(q, 19, 0), NULL, EINVAL);
	EXPECT_FAILS(q, quire_alloc_addr(q, 0, 1u << 14), NULL, EINVAL);
	EXPECT_FAILS(q, quire_alloc_exact(q, 0, 0), NULL, EINVAL);
	EXPECT_FAILS(q, quire_alloc_exact(q, (1u << 18) + 1, 0), NULL, EINVAL);
	expect_told("262145");
	EXPECT_FAILS(q, quire_alloc_exact(q, 1, 1u << 14), NULL, EINVAL);
	EXPECT_FAILS(q, quire_alloc_pages_bulk(q, 19, 0, 1, &page), 0, EINVAL);
	EXPECT_FAILS(q, quire_alloc_pages_bulk(q, 0, 1u << 14, 1, &page), 0,
		     EINVAL);
	assert_int_equal(quire_alloc_pages_bulk(q, 0, 0, 0, &page), 0);
	destroy(q);
}

static void test_no_memory(void **state)
{
	struct quire *q = create_size(2 * MIB);
	struct quire_page *all;

	(void)state;
	errno = 0;
	assert_null(quire_alloc_pages(q, 10, 0));
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(stat_of(q).failures, 1);
	assert_null(quire_alloc_exact(q, SMALL + 1, 0));
	assert_int_equal(stat_of(q).failures, 2);
	all = quire_alloc_pages(q, 9, 0);
	assert_non_null(all);
	errno = 0;
	assert_null(quire_alloc_pages(q, 0, QUIRE_NORETRY));
	assert_int_equal(errno, ENOMEM);
	errno = 0;
	assert_null(quire_alloc_addr(q, 0, QUIRE_ZERO));
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(stat_of(q).failures, 4);
	assert_int_equal(quire_free_pages(q, all, 9), 0);
	destroy(q);
}

static void test_by_address(void **state)
{
	struct quire *q = create_size(4 * MIB);
	char *addr = quire_alloc_addr(q, 3, 0);

	(void)state;
	assert_non_null(addr);
	assert_int_equal(quire_addr_order(q, addr), 3);
	assert_int_equal(quire_addr_order(q, addr + PAGE), -1);
	assert_int_equal(quire_addr_order(q, addr + 8), -1);
	memset(addr, 0x5a, 8 * PAGE);
	assert_int_equal(quire_free_addr(q, addr, 3), 0);
	assert_int_equal(quire_addr_order(q, addr), -1);
	for (unsigned order = 0; order <= 10; order++) {
		addr = quire_alloc_addr(q, order, 0);
		assert_non_null(addr);
		assert_int_equal(quire_free_unsized(q, addr), 0);
	}
	destroy(q);
}

/* How far from the region's start the highest of n pages lies. */
static uint64_t zone_pages(struct quire *q, unsigned flags,
			   struct quire_page **pages, size_t n)
{
	uint64_t first = info_of(q).first_pfn, highest = 0;
	size_t got = quire_alloc_pages_bulk(q, 0, flags, n, pages);

	for (size_t i = 0; i < got; i++) {
		uint64_t at = quire_page_to_pfn(q, pages[i]) - first;

		highest = at > highest ? at : highest;
	}
	assert_int_equal(got, n);
	return highest;
}

static void expect_full(struct quire *q, unsigned flags)
{
	errno = 0;
	assert_null(quire_alloc_pages(q, 0, flags));
	assert_int_equal(errno, ENOMEM);
}

/* DMA32, NORMAL, MOVABLE and DEVICE of 1, 2, 1 and 1 pageblocks. */
static void test_zones(void **state)
{
	struct quire_options options = options_of(10 * MIB);
	struct quire_page *pages[5 * SMALL], *page;
	struct quire *q;

	(void)state;
	options.zone_size[QUIRE_ZONE_DMA32] = 2 * MIB;
	options.zone_size[QUIRE_ZONE_MOVABLE] = 2 * MIB;
	options.zone_size[QUIRE_ZONE_DEVICE] = 2 * MIB;
	options.lowmem_ratio[QUIRE_ZONE_DMA32] = UINT32_MAX;
	options.lowmem_ratio[QUIRE_ZONE_NORMAL] = UINT32_MAX;
	q = create(&options);
	assert_int_equal(info_of(q).zones, 4);
	/* The highest by default that a call may use. */
	page = quire_alloc_pages(q, 0, 0);
	assert_true(quire_page_to_pfn(q, page) - info_of(q).first_pfn >= SMALL);
	assert_int_equal(quire_free_pages(q, page, 0), 0);
	page = quire_alloc_pages(q, 0, QUIRE_MOVABLE);
	assert_true(quire_page_to_pfn(q, page) - info_of(q).first_pfn >=
		    3 * SMALL);
	assert_int_equal(quire_free_pages(q, page, 0), 0);
	/* A zone is exhausted while others are not; no block spans two. */
	assert_true(zone_pages(q, QUIRE_DMA32, pages, SMALL) < SMALL);
	expect_full(q, QUIRE_DMA32);
	assert_true(zone_pages(q, 0, pages + SMALL, 2 * SMALL) < 3 * SMALL);
	expect_full(q, 0);
	assert_true(zone_pages(q, QUIRE_MOVABLE, pages + 3 * SMALL, SMALL) <
		    4 * SMALL);
	expect_full(q, QUIRE_MOVABLE);
	assert_true(zone_pages(q, QUIRE_DEVICE, pages + 4 * SMALL, SMALL) <
		    5 * SMALL);
	expect_full(q, QUIRE_DEVICE);
	assert_int_equal(quire_free_pages_bulk(q, 0, 5 * SMALL, pages),
			 5 * SMALL);
	/* An allocation falls back downwards, never upwards. */
	assert_true(zone_pages(q, 0, pages, 3 * SMALL) < 3 * SMALL);
	expect_full(q, 0);
	assert_int_equal(quire_free_pages_bulk(q, 0, 3 * SMALL, pages),
			 3 * SMALL);
	assert_true(zone_pages(q, QUIRE_MOVABLE, pages, 4 * SMALL) < 4 * SMALL);
	expect_full(q, QUIRE_MOVABLE);
	assert_int_equal(quire_free_pages_bulk(q, 0, 4 * SMALL, pages),
			 4 * SMALL);
	destroy(q);
}

static void test_bulk(void **state)
{
	struct quire *q = create_size(2 * MIB);
	struct quire_page *pages[SMALL + 88];

	(void)state;
	errno = 0;
	assert_int_equal(quire_alloc_pages_bulk(q, 0, 0, SMALL + 88, pages),
			 SMALL);
	assert_int_equal(errno, ENOMEM);
	for (size_t i = 0; i < SMALL; i++)
		assert_int_equal(quire_page_order(q, pages[i]), 0);
	assert_int_equal(stat_of(q).pages_live, SMALL);
	errno = 0;
	assert_int_equal(quire_alloc_pages_bulk(q, 0, 0, 1, pages + SMALL), 0);
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(quire_free_pages_bulk(q, 0, SMALL, pages), SMALL);
	errno = 0;
	assert_int_equal(quire_alloc_pages_bulk(q, 7, 0, 10, pages), 4);
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(quire_free_pages_bulk(q, 7, 4, pages), 4);
	destroy(q);
}

/* One refused free does not keep the others from being freed. */
static void test_bulk_refused(void **state)
{
	struct quire *q = create_size(2 * MIB);
	struct quire_page *pages[8], *order1 = quire_alloc_pages(q, 1, 0);

	(void)state;
	assert_int_equal(quire_alloc_pages_bulk(q, 0, 0, 6, pages), 6);
	pages[6] = pages[2];
	pages[7] = pages[1];
	pages[1] = order1;
	remember(q);
	assert_int_equal(quire_free_pages_bulk(q, 0, 8, pages), 6);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(messages.count, 2);
	expect_told("pfn %llu",
		    (unsigned long long)quire_page_to_pfn(q, order1));
	expect_told("pfn %llu",
		    (unsigned long long)quire_page_to_pfn(q, pages[2]));
	assert_int_equal(stat_of(q).frees, before.frees + 6);
	assert_int_equal(stat_of(q).refused, before.refused + 2);
	assert_int_equal(quire_free_pages(q, order1, 1), 0);
	destroy(q);
}

/* --- exact runs --- */

static void test_exact(void **state)
{
	struct quire *q = create_size(4 * MIB);
	struct quire_page *run = quire_alloc_exact(q, 11, 0), *page;
	uint64_t pfn = quire_page_to_pfn(q, run);

	(void)state;
	assert_non_null(run);
	assert_int_equal(pfn % 16, 0);
	assert_int_equal(stat_of(q).pages_live, 11);
	assert_int_equal(stat_of(q).allocs, 11);
	for (uint64_t i = 0; i < 16; i++) {
		page = quire_pfn_to_page(q, pfn + i);
		assert_int_equal(quire_page_order(q, page), i < 11 ? 0 : -1);
	}
	/* In parts, in any order, one by one and as runs. */
	assert_int_equal(quire_free_exact(q, quire_pfn_to_page(q, pfn + 3), 5),
			 0);
	assert_int_equal(quire_free_pages(q, quire_pfn_to_page(q, pfn + 10), 0),
			 0);
	assert_int_equal(quire_free_exact(q, run, 3), 0);
	assert_int_equal(stat_of(q).pages_live, 2);
	assert_int_equal(quire_free_exact(q, quire_pfn_to_page(q, pfn + 8), 2),
			 0);
	run = quire_alloc_exact(q, 1024, 0); /* all of it */
	assert_non_null(run);
	assert_int_equal(quire_free_exact(q, run, 1024), 0);
	destroy(q);
}

static void test_exact_refused(void **state)
{
	struct quire *q = create_size(2 * MIB);
	struct quire_page *run = quire_alloc_exact(q, 8, 0);
	uint64_t pfn = quire_page_to_pfn(q, run);
	struct quire_page *fifth = quire_pfn_to_page(q, pfn + 4);
	struct quire_page *last =
		quire_pfn_to_page(q, info_of(q).first_pfn + SMALL - 1);

	(void)state;
	EXPECT_REFUSED(q, quire_free_exact(q, run, 0), "0 pages");
	EXPECT_REFUSED(q, quire_free_exact(q, run, 9), "pfn %llu",
		       (unsigned long long)pfn + 8);
	EXPECT_REFUSED(q, quire_free_exact(q, last, 2), "2 pages");
	EXPECT_REFUSED(q, quire_free_exact(q, run, SIZE_MAX), "%zu", SIZE_MAX);
	EXPECT_REFUSED(q, quire_free_exact(q, NULL, 1), "(nil)");
	/* Another holder in the middle, then a hole. */
	assert_int_equal(quire_page_get(q, fifth), 0);
	EXPECT_REFUSED(q, quire_free_exact(q, run, 8), "pfn %llu",
		       (unsigned long long)pfn + 4);
	assert_int_equal(quire_page_put(q, fifth), 0);
	assert_int_equal(quire_page_put(q, fifth), 1);
	EXPECT_REFUSED(q, quire_free_exact(q, run, 8), "pfn %llu",
		       (unsigned long long)pfn + 4);
	assert_int_equal(quire_free_exact(q, run, 4), 0);
	assert_int_equal(quire_free_exact(q, quire_pfn_to_page(q, pfn + 5), 3),
			 0);
	destroy(q);
}

/* --- zeroed pages --- */

static size_t nonzero_bytes(struct quire *q, struct quire_page *page)
{
	const unsigned char *bytes = quire_page_to_virt(q, page);
	size_t n = 0;

	for (size_t i = 0; i < PAGE; i++)
		n += bytes[i] != 0;
	return n;
}

static void dirty_all(struct quire *q, struct quire_page **pages, size_t n)
{
	for (size_t i = 0; i < n; i++)
		memset(quire_page_to_virt(q, pages[i]), 0xee, PAGE);
}

static void expect_zero_all(struct quire *q, struct quire_page **pages,
			    size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_int_equal(nonzero_bytes(q, pages[i]), 0);
}

static void test_zero(void **state)
{
	struct quire *q = create_size(2 * MIB);
	struct quire_page *pages[SMALL], *page;

	(void)state;
	/* Fresh memory is zero as it comes and not cleared again. */
	assert_int_equal(quire_alloc_pages_bulk(q, 0, QUIRE_ZERO, SMALL, pages),
			 SMALL);
	expect_zero_all(q, pages, SMALL);
	assert_int_equal(stat_of(q).zeroed, 0);
	dirty_all(q, pages, SMALL);
	assert_int_equal(quire_free_pages_bulk(q, 0, SMALL, pages), SMALL);
	assert_int_equal(quire_alloc_pages_bulk(q, 0, QUIRE_ZERO, SMALL, pages),
			 SMALL);
	expect_zero_all(q, pages, SMALL);
	assert_int_equal(stat_of(q).zeroed, SMALL);
	dirty_all(q, pages, SMALL);
	assert_int_equal(quire_free_pages_bulk(q, 0, SMALL, pages), SMALL);
	/* Without the flag nothing is cleared. */
	page = quire_alloc_pages(q, 9, 0);
	assert_int_equal(nonzero_bytes(q, page), PAGE);
	assert_int_equal(quire_free_pages(q, page, 9), 0);
	page = quire_alloc_pages(q, 9, QUIRE_ZERO);
	for (uint64_t i = 0; i < SMALL; i++)
		pages[i] = quire_pfn_to_page(q, quire_page_to_pfn(q, page) + i);
	expect_zero_all(q, pages, SMALL);
	dirty_all(q, pages, SMALL);
	assert_int_equal(quire_free_pages(q, page, 9), 0);
	page = quire_alloc_exact(q, 100, QUIRE_ZERO);
	for (uint64_t i = 0; i < 100; i++)
		pages[i] = quire_pfn_to_page(q, quire_page_to_pfn(q, page) + i);
	expect_zero_all(q, pages, 100);
	assert_int_equal(quire_free_exact(q, page, 100), 0);
	destroy(q);
}

/* One dirty page in a block makes the whole of it unknown. */
static void test_zero_one_dirty(void **state)
{
	struct quire *q = create_size(2 * MIB);
	struct quire_page *page = quire_alloc_pages(q, 0, 0);

	(void)state;
	dirty_all(q, &page, 1);
	assert_int_equal(quire_free_pages(q, page, 0), 0);
	assert_int_equal(quire_drain_all(q), 0);
	page = quire_alloc_pages(q, 9, QUIRE_ZERO);
	assert_non_null(page);
	for (uint64_t i = 0; i < SMALL; i++)
		assert_int_equal(
			nonzero_bytes(
				q, quire_pfn_to_page(
					   q, quire_page_to_pfn(q, page) + i)),
			0);
	assert_int_equal(quire_free_pages(q, page, 9), 0);
	destroy(q);
}

static void test_zero_callers(void **state)
{
	for (unsigned zeroed = 0; zeroed <= 1; zeroed++) {
		unsigned char *region =
			map_region(4 * MIB, PROT_READ | PROT_WRITE);
		struct quire_options options = options_of(4 * MIB);
		struct quire_page *pages[64];
		struct quire *q;

		(void)state;
		options.address = region;
		options.flags = zeroed ? QUIRE_ZEROED : 0;
		if (!zeroed)
			memset(region, 0x77, 4 * MIB);
		q = create(&options);
		assert_int_equal(
			quire_alloc_pages_bulk(q, 0, QUIRE_ZERO, 64, pages),
			64);
		expect_zero_all(q, pages, 64);
		assert_int_equal(stat_of(q).zeroed, zeroed ? 0 : 64);
		assert_int_equal(quire_free_pages_bulk(q, 0, 64, pages), 64);
		assert_int_equal(quire_destroy(q), 0);
		munmap(region, 4 * MIB);
	}
}

/* --- pages --- */

static void test_references(void **state)
{
	struct quire *q = create_size(2 * MIB);
	struct quire_page *page = quire_alloc_pages(q, 4, 0);
	unsigned long long pfn = quire_page_to_pfn(q, page);

	(void)state;
	assert_int_equal(quire_page_get(q, page), 0);
	assert_int_equal(quire_page_get(q, page), 0);
	assert_int_equal(quire_page_count(q, page), 3);
	assert_int_equal(quire_free_pages(q, page, 4), 0);
	assert_int_equal(quire_page_count(q, page), 2);
	assert_int_equal(quire_page_order(q, page), 4);
	EXPECT_REFUSED(q, quire_free_pages(q, page, 3), "pfn %llu, order 3",
		       pfn);
	assert_int_equal(quire_page_put(q, page), 0);
	assert_int_equal(stat_of(q).frees, 0);
	assert_int_equal(quire_page_put(q, page), 1);
	assert_int_equal(stat_of(q).frees, 1);
	assert_int_equal(quire_page_count(q, page), 0);
	EXPECT_REFUSED(q, quire_page_put(q, page), "pfn %llu", pfn);
	EXPECT_REFUSED(q, quire_page_get(q, page), "pfn %llu", pfn);
	/* By address the last holder frees as well. */
	page = quire_alloc_pages(q, 0, 0);
	assert_int_equal(quire_page_get(q, page), 0);
	assert_int_equal(quire_free_addr(q, quire_page_to_virt(q, page), 0), 0);
	assert_int_equal(quire_free_unsized(q, quire_page_to_virt(q, page)), 0);
	assert_int_equal(quire_page_count(q, page), 0);
	destroy(q);
}

static void test_flags(void **state)
{
	struct quire *q = create_size(2 * MIB);
	struct quire_page *page = quire_alloc_pages(q, 0, 0);

	(void)state;
	assert_int_equal(quire_page_set_flags(page, 0x8001), 0);
	assert_int_equal(quire_page_set_flags(page, 0x0010), 0x8001);
	assert_int_equal(quire_page_flags(page), 0x8011);
	assert_int_equal(quire_page_clear_flags(page, 0x0001), 0x8011);
	assert_int_equal(quire_page_flags(page), 0x8010);
	assert_int_equal(quire_page_set_flags(page, 0xffff), 0x8010);
	/* They touch neither references nor order, nor these them. */
	assert_int_equal(quire_page_get(q, page), 0);
	assert_int_equal(quire_page_count(q, page), 2);
	assert_int_equal(quire_page_order(q, page), 0);
	assert_int_equal(quire_page_put(q, page), 0);
	assert_int_equal(quire_page_flags(page), 0xffff);
	assert_int_equal(quire_free_pages(q, page, 0), 0);
	/* Whoever gets the page next starts with none. */
	for (size_t i = 0; i < SMALL; i++)
		assert_int_equal(quire_page_flags(quire_alloc_pages(q, 0, 0)),
				 0);
	for (uint64_t i = 0; i < SMALL; i++)
		assert_int_equal(
			quire_page_put(q, quire_pfn_to_page(
						  q, info_of(q).first_pfn + i)),
			1);
	destroy(q);
}

static void test_private(void **state)
{
	struct quire *q = create_size(2 * MIB);
	struct quire_page *a = quire_alloc_pages(q, 0, 0);
	struct quire_page *b = quire_alloc_pages(q, 3, 0);

	(void)state;
	assert_int_equal(quire_page_set_private(q, a, UINT64_MAX), 0);
	assert_int_equal(quire_page_set_private(q, b, 0x0123456789abcdef), 0);
	assert_int_equal(quire_page_get(q, b), 0);
	quire_page_set_flags(b, 0xffff);
	assert_int_equal(quire_page_private(q, a), UINT64_MAX);
	assert_int_equal(quire_page_private(q, b), 0x0123456789abcdef);
	assert_int_equal(quire_free_pages(q, a, 0), 0);
	assert_int_equal(quire_page_put(q, b), 0);
	assert_int_equal(quire_page_private(q, b), 0x0123456789abcdef);
	assert_int_equal(quire_free_pages(q, b, 3), 0);
	destroy(q);
}

/* Each page of a region has a word of its own, the first and last one too. */
static void test_private_all(void **state)
{
	struct quire *q = create_size(2 * MIB);
	struct quire_page *run = quire_alloc_exact(q, 512, 0);
	uint64_t first = quire_page_to_pfn(q, run);

	(void)state;
	for (uint64_t i = 0; i < 512; i++)
		assert_int_equal(
			quire_page_set_private(
				q, quire_pfn_to_page(q, first + i), ~i),
			0);
	for (uint64_t i = 0; i < 512; i++)
		assert_int_equal(
			quire_page_private(q, quire_pfn_to_page(q, first + i)),
			~i);
	assert_int_equal(quire_free_exact(q, run, 512), 0);
	destroy(q);
}

static void test_private_foreign(void **state)
{
	struct quire *q = create_size(2 * MIB);
	uint64_t first = info_of(q).first_pfn;
	uintptr_t page = (uintptr_t)quire_pfn_to_page(q, first);
	uintptr_t last = (uintptr_t)quire_pfn_to_page(q, first + 511);
	struct quire_page *const foreign[] = {
		NULL,
		(void *)(page - (last - page) / 511),
		(void *)(last + (last - page) / 511),
		(void *)(page + 1),
	};

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(foreign); i++) {
		errno = 0;
		assert_int_equal(quire_page_private(q, foreign[i]), 0);
		assert_int_equal(errno, EINVAL);
		EXPECT_REFUSED(q, quire_page_set_private(q, foreign[i], 1),
			       "page_set_private: ");
	}
	/* One that is free: its word is quire's. */
	EXPECT_REFUSED(
		q, quire_page_set_private(q, quire_pfn_to_page(q, first), 1),
		"page_set_private: pfn ");
	destroy(q);
}

static void test_conversions(void **state)
{
	struct quire *q = create_size(2 * MIB);
	struct quire_info info = info_of(q);
	char *base = info.address;
	uint64_t first = info.first_pfn;

	(void)state;
	for (uint64_t i = 0; i < SMALL; i += 73) {
		struct quire_page *page = quire_pfn_to_page(q, first + i);

		assert_non_null(page);
		assert_int_equal(quire_page_to_pfn(q, page), first + i);
		assert_ptr_equal(quire_page_to_virt(q, page), base + i * PAGE);
		assert_int_equal(quire_page_to_offset(q, page), i * PAGE);
		assert_ptr_equal(quire_virt_to_page(q, base + i * PAGE), page);
		assert_ptr_equal(
			quire_virt_to_page(q, base + i * PAGE + PAGE - 1),
			page);
		assert_ptr_equal(quire_offset_to_page(q, i * PAGE), page);
	}
	assert_int_equal(messages.count, 0);
	destroy(q);
}

static void test_conversions_outside(void **state)
{
	struct quire *q = create_size(2 * MIB);
	struct quire_info info = info_of(q);
	char *base = info.address;
	uint64_t first = info.first_pfn;
	char *page = (char *)quire_pfn_to_page(q, first + 1);

	(void)state;
	EXPECT_FAILS(q, quire_pfn_to_page(q, first + SMALL), NULL, EINVAL);
	EXPECT_FAILS(q, quire_pfn_to_page(q, first - 1), NULL, EINVAL);
	EXPECT_FAILS(q, quire_pfn_to_page(q, first + (1ull << 32)), NULL,
		     EINVAL);
	EXPECT_FAILS(q, quire_virt_to_page(q, base - 1), NULL, EINVAL);
	EXPECT_FAILS(q, quire_virt_to_page(q, base + 2 * MIB), NULL, EINVAL);
	EXPECT_FAILS(q, quire_virt_to_page(q, NULL), NULL, EINVAL);
	EXPECT_FAILS(q, quire_offset_to_page(q, 2 * MIB), NULL, EINVAL);
	EXPECT_FAILS(q, quire_offset_to_page(q, UINT64_MAX), NULL, EINVAL);
	EXPECT_FAILS(q, quire_page_to_pfn(q, NULL), UINT64_MAX, EINVAL);
	EXPECT_FAILS(q, quire_page_to_pfn(q, (void *)(page + 1)), UINT64_MAX,
		     EINVAL);
	EXPECT_FAILS(q, quire_page_to_virt(q, (void *)&base), NULL, EINVAL);
	EXPECT_FAILS(q, quire_page_to_offset(q, (void *)&base), UINT64_MAX,
		     EINVAL);
	assert_int_equal(quire_page_order(q, (void *)&base), -1);
	assert_int_equal(quire_page_count(q, (void *)&base), 0);
	assert_int_equal(quire_addr_order(q, &base), -1);
	assert_int_equal(messages.count, 0);
	destroy(q);
}

/* --- misuse --- */

static void test_double_free(void **state)
{
	(void)state;
	for (unsigned order = 0; order <= 10; order++) {
		struct quire *q = create_size(4 * MIB);
		struct quire_page *page = quire_alloc_pages(q, order, 0);
		void *addr = quire_page_to_virt(q, page);
		unsigned long long pfn = quire_page_to_pfn(q, page);

		assert_int_equal(quire_free_pages(q, page, order), 0);
		for (int drained = 0; drained <= 1; drained++) {
			EXPECT_REFUSED(q, quire_free_pages(q, page, order),
				       "pfn %llu, order %u", pfn, order);
			EXPECT_REFUSED(q, quire_free_addr(q, addr, order),
				       "pfn %llu, order %u", pfn, order);
			EXPECT_REFUSED(q, quire_free_unsized(q, addr),
				       "pfn %llu", pfn);
			EXPECT_REFUSED(q, quire_page_put(q, page), "pfn %llu",
				       pfn);
			EXPECT_REFUSED(q, quire_free_exact(q, page, 1),
				       "pfn %llu", pfn);
			assert_int_equal(quire_drain_all(q), 0);
		}
		destroy(q);
	}
}

static void test_tail_and_order(void **state)
{
	static const unsigned wrong[] = {
		0, 1, 2, 4, 9, 10, 18, 19, 31, 32, UINT32_MAX - 1, UINT32_MAX
	};
	struct quire *q = create_size(4 * MIB);
	struct quire_page *page = quire_alloc_pages(q, 3, 0);
	char *addr = quire_page_to_virt(q, page);
	unsigned long long pfn = quire_page_to_pfn(q, page);

	(void)state;
	for (unsigned i = 1; i < 8; i++) {
		struct quire_page *tail = quire_pfn_to_page(q, pfn + i);

		EXPECT_REFUSED(q, quire_free_pages(q, tail, 3), "pfn %llu",
			       pfn + i);
		EXPECT_REFUSED(q, quire_free_pages(q, tail, 0), "pfn %llu",
			       pfn + i);
		EXPECT_REFUSED(q, quire_free_unsized(q, addr + i * PAGE),
			       "pfn %llu", pfn + i);
		EXPECT_REFUSED(q, quire_page_get(q, tail), "pfn %llu", pfn + i);
	}
	for (size_t i = 0; i < TEST_LENGTH(wrong); i++) {
		EXPECT_REFUSED(q, quire_free_pages(q, page, wrong[i]),
			       "pfn %llu", pfn);
		expect_told("has order 3");
		EXPECT_REFUSED(q, quire_free_addr(q, addr, wrong[i]),
			       "pfn %llu", pfn);
		EXPECT_REFUSED(
			q,
			(int)quire_free_pages_bulk(q, wrong[i], 1, &page) - 1,
			"pfn %llu", pfn);
	}
	EXPECT_REFUSED(q, quire_free_exact(q, page, 1), "pfn %llu", pfn);
	assert_int_equal(quire_free_pages(q, page, 3), 0);
	destroy(q);
}

static void test_foreign_pointers(void **state)
{
	struct quire *q = create_size(2 * MIB);
	struct quire *other = create_size(2 * MIB);
	struct quire_info info = info_of(q);
	char *first = (char *)quire_pfn_to_page(q, info.first_pfn);
	char *next = (char *)quire_pfn_to_page(q, info.first_pfn + 1);
	char *end = first + SMALL * (size_t)(next - first);
	char *bad[] = { NULL,
			first - (next - first),
			end,
			first + 1,
			next - 1,
			(char *)&info,
			(char *)quire_alloc_pages(other, 0, 0),
			(char *)UINTPTR_MAX,
			info.address };
	char *low = info.address;
	char *addresses[] = { NULL,
			      low - 1,
			      low - PAGE,
			      low + 1,
			      low + PAGE / 2,
			      low + 2 * MIB,
			      (char *)&info,
			      (char *)UINTPTR_MAX - 4095,
			      info_of(other).address };

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(bad); i++) {
		struct quire_page *page = (void *)bad[i];

		EXPECT_REFUSED(q, quire_free_pages(q, page, 0), "%p",
			       (void *)page);
		EXPECT_REFUSED(q, quire_page_get(q, page), "%p", (void *)page);
		EXPECT_REFUSED(q, quire_page_put(q, page), "%p", (void *)page);
		EXPECT_REFUSED(q, quire_free_exact(q, page, 1), "%p",
			       (void *)page);
	}
	for (size_t i = 0; i < TEST_LENGTH(addresses); i++) {
		EXPECT_REFUSED(q, quire_free_addr(q, addresses[i], 0), "%p",
			       (void *)addresses[i]);
		EXPECT_REFUSED(q, quire_free_unsized(q, addresses[i]), "%p",
			       (void *)addresses[i]);
		assert_int_equal(quire_addr_order(q, addresses[i]), -1);
	}
	assert_int_equal(
		quire_free_pages(other, (struct quire_page *)(void *)bad[6], 0),
		0);
	destroy(other);
	destroy(q);
}

static void test_destroy_busy(void **state)
{
	struct quire *q = create_size(8 * MIB);
	struct quire_page *a = quire_alloc_pages(q, 0, 0);
	struct quire_page *b = quire_alloc_pages(q, 5, 0);
	struct quire_page *many[1500];

	(void)state;
	messages.count = 0;
	errno = 0;
	assert_int_equal(quire_destroy(q), -1);
	assert_int_equal(errno, EBUSY);
	assert_int_equal(stat_of(q).pages_live, 33);
	assert_int_equal(quire_validate(q), 0);
	assert_true(messages.count >= 2);
	expect_told("pfn %llu, order 0",
		    (unsigned long long)quire_page_to_pfn(q, a));
	expect_told("pfn %llu, order 5",
		    (unsigned long long)quire_page_to_pfn(q, b));
	/* It goes on working, and what it says has an end. */
	assert_int_equal(quire_alloc_pages_bulk(q, 0, 0, 1500, many), 1500);
	messages.count = 0;
	assert_int_equal(quire_destroy(q), -1);
	assert_true(messages.count < 100);
	assert_int_equal(quire_free_pages_bulk(q, 0, 1500, many), 1500);
	assert_int_equal(quire_free_pages(q, a, 0), 0);
	messages.count = 0;
	assert_int_equal(quire_destroy(q), -1);
	assert_false(test_caught(&messages, "order 0"));
	assert_int_equal(quire_free_pages(q, b, 5), 0);
	destroy(q);
}

/* --- CPUs and threads --- */

struct binder {
	struct quire *q;
	unsigned cpu;
	int result;
	int error;
};

/* Binds, uses the lists, and ends without unbinding. */
static void *binder_main(void *arg)
{
	struct binder *b = arg;
	struct quire_page *pages[64];
	size_t n;

	errno = 0;
	b->result = quire_cpu_bind(b->q, b->cpu);
	b->error = errno;
	n = quire_alloc_pages_bulk(b->q, 0, 0, 64, pages);
	quire_free_pages_bulk(b->q, 0, n, pages);
	return NULL;
}

static struct binder bind_in_thread(struct quire *q, unsigned cpu)
{
	struct binder b = { .q = q, .cpu = cpu };
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, binder_main, &b), 0);
	pthread_join(thread, NULL);
	return b;
}

static void test_cpu_bind(void **state)
{
	struct quire_options options = options_of(32 * MIB);
	struct quire *q;
	struct quire_page *page;
	struct binder b;

	(void)state;
	options.way = QUIRE_WAY_BOUND;
	options.cpus = 2;
	q = create(&options);
	/* Unbound works, past the lists. */
	page = quire_alloc_pages(q, 0, 0);
	assert_non_null(page);
	assert_int_equal(stat_of(q).pages_parked, 0);
	EXPECT_FAILS(q, quire_cpu_bind(q, 2), -1, EINVAL);
	EXPECT_FAILS(q, quire_cpu_bind(q, UINT32_MAX), -1, EINVAL);
	assert_int_equal(quire_cpu_bind(q, 0), 0);
	EXPECT_FAILS(q, quire_cpu_bind(q, 0), -1, EBUSY);
	EXPECT_FAILS(q, quire_cpu_bind(q, 1), -1, EBUSY);
	assert_int_equal(quire_free_pages(q, page, 0), 0);
	b = bind_in_thread(q, 0);
	assert_int_equal(b.result, -1);
	assert_int_equal(b.error, EBUSY);
	/* A thread that ends leaves its CPU, and what it parked there. */
	for (int i = 0; i < 3; i++) {
		b = bind_in_thread(q, 1);
		assert_int_equal(b.result, 0);
	}
	assert_int_equal(quire_cpu_unbind(q), 0);
	assert_int_equal(quire_cpu_bind(q, 1), 0);
	assert_int_equal(quire_cpu_unbind(q), 0);
	destroy(q);
	q = create_way(QUIRE_WAY_TRYLOCK, 2 * MIB);
	EXPECT_FAILS(q, quire_cpu_bind(q, 0), -1, ENOTSUP);
	EXPECT_FAILS(q, quire_cpu_unbind(q), -1, ENOTSUP);
	destroy(q);
}

/* A binding that outlives its allocator must not reach into the next. */
static void test_bound_thread_ends_late(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		struct quire *q = create_way(QUIRE_WAY_BOUND, 2 * MIB);

		assert_int_equal(quire_cpu_bind(q, 0), 0);
		destroy(q);
	}
}

/* More CPUs than the machine has; all their locks are held at once. */
static void test_many_cpus(void **state)
{
	struct quire_options options = options_of(64 * MIB);
	struct quire *q;

	(void)state;
	options.flags = QUIRE_OFFSETS;
	options.way = QUIRE_WAY_TRYLOCK;
	options.cpus = 5000;
	q = create(&options);
	assert_int_equal(info_of(q).cpus, 5000);
	assert_int_equal(quire_free_pages(q, quire_alloc_pages(q, 0, 0), 0), 0);
	assert_int_equal(quire_drain_all(q), 0);
	assert_int_equal(stat_of(q).pages_free, 64 * MIB / PAGE);
	destroy(q);
}

struct visitor {
	struct quire *q;
	enum quire_way way;
	unsigned number;
	struct quire_page *kept;
	unsigned failed;
};

static void *visitor_main(void *arg)
{
	struct visitor *v = arg;
	struct quire_page *pages[4][64];

	if (v->way == QUIRE_WAY_BOUND && v->number < 4 &&
	    quire_cpu_bind(v->q, v->number))
		v->failed++;
	for (int round = 0; round < 20; round++) {
		for (unsigned order = 0; order < 4; order++)
			if (quire_alloc_pages_bulk(v->q, order, 0, 64,
						   pages[order]) != 64)
				v->failed++;
		for (unsigned order = 0; order < 4; order++)
			if (quire_free_pages_bulk(v->q, order, 64,
						  pages[order]) != 64)
				v->failed++;
	}
	v->kept = quire_alloc_pages(v->q, 2, 0);
	return NULL;
}

/* What ended threads parked is not lost, what they kept is still theirs. */
static void test_thread_exit(void **state)
{
	enum quire_way way = *(const enum quire_way *)*state;
	struct quire *q = create_way(way, 64 * MIB);
	struct visitor visitors[10] = { { .q = q } };
	pthread_t threads[10];
	struct quire_stat stat;

	if (!q)
		skip();
	for (unsigned i = 0; i < 10; i++) {
		visitors[i] =
			(struct visitor){ .q = q, .way = way, .number = i };
		assert_int_equal(pthread_create(&threads[i], NULL, visitor_main,
						&visitors[i]),
				 0);
	}
	for (unsigned i = 0; i < 10; i++)
		pthread_join(threads[i], NULL);
	stat = stat_of(q);
	assert_int_equal(stat.pages_live, 40);
	/* All CPUs together park an eighth at most. */
	assert_true(stat.pages_parked <= stat.pages / 8);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(visitors[i].failed, 0);
		assert_int_equal(quire_free_pages(q, visitors[i].kept, 2), 0);
	}
	destroy(q);
}

static void test_parking(void **state)
{
	enum quire_way way = *(const enum quire_way *)*state;
	struct quire *q = create_way(way, 64 * MIB);
	struct quire_stat stat;

	if (!q)
		skip();
	if (way == QUIRE_WAY_BOUND)
		assert_int_equal(quire_cpu_bind(q, 3), 0);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(
			quire_free_pages(q, quire_alloc_pages(q, 0, 0), 0), 0);
	stat = stat_of(q);
	assert_int_equal(stat.allocs, 1000);
	assert_int_equal(stat.frees, 1000);
	assert_true(stat.pcp_allocs > 900);
	assert_true(stat.pcp_frees > 900);
	assert_true(stat.refills >= 1);
	assert_true(stat.pages_parked >= 1);
	assert_int_equal(stat.pages_free + stat.pages_parked, stat.pages);
	assert_true(stat.zone_locks < 100);
	assert_int_equal(quire_drain_all(q), 0);
	assert_true(stat_of(q).drains > stat.drains);
	if (way == QUIRE_WAY_BOUND)
		assert_int_equal(quire_cpu_unbind(q), 0);
	destroy(q);
}

/*
 * Pages that were freed last, and lie in a CPU's list (or with renewal behind
 * it) when all others are live: every one is handed out again.
 */
static void check_last_pages(enum quire_way way, unsigned renew, bool move)
{
	struct quire_options options = options_of(64 * MIB);
	struct quire_page **pages;
	struct quire *q;
	size_t n;

	options.way = way;
	options.cpus = way == QUIRE_WAY_BOUND ? 4 : 0;
	options.renew = renew;
	q = quire_create(&options);
	if (!q && errno == ENOTSUP && way == QUIRE_WAY_RSEQ)
		skip();
	assert_non_null(q);
	n = info_of(q).pages;
	pages = malloc(n * sizeof(*pages));
	assert_non_null(pages);
	if (way == QUIRE_WAY_BOUND)
		assert_int_equal(quire_cpu_bind(q, 3), 0);
	for (size_t i = 0; i < n; i++)
		assert_non_null(pages[i] = quire_alloc_pages(q, 0, 0));
	for (size_t k = 1; k <= 5; k++) {
		for (size_t i = 0; i < k; i++)
			assert_int_equal(
				quire_free_pages(q, pages[1000 * i], 0), 0);
		assert_int_equal(stat_of(q).pages_live, n - k);
		if (way == QUIRE_WAY_BOUND && move) {
			assert_int_equal(quire_cpu_unbind(q), 0);
			assert_int_equal(quire_cpu_bind(q, (unsigned)k % 3), 0);
		}
		for (size_t i = 0; i < k; i++)
			assert_non_null(pages[1000 * i] =
						quire_alloc_pages(q, 0, 0));
		assert_null(quire_alloc_pages(q, 0, 0));
		assert_int_equal(quire_validate(q), 0);
	}
	assert_int_equal(stat_of(q).failures, 5);
	assert_int_equal(quire_free_pages_bulk(q, 0, n, pages), n);
	if (way == QUIRE_WAY_BOUND)
		assert_int_equal(quire_cpu_unbind(q), 0);
	free(pages);
	destroy(q);
}

static void test_last_pages(void **state)
{
	static const unsigned renews[] = { 0, 16, 64 };
	enum quire_way way = *(const enum quire_way *)*state;

	for (size_t i = 0; i < TEST_LENGTH(renews); i++) {
		check_last_pages(way, renews[i], false);
		if (way == QUIRE_WAY_BOUND)
			check_last_pages(way, renews[i], true);
	}
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Idle lists come back by quire_maintain() alone, after decay_ms. */
static void test_maintain(void **state)
{
	struct quire_options options = options_of(64 * MIB);
	struct quire *q;
	uint64_t give_up = now_ms() + 20000;
	int drained = 0;

	(void)state;
	options.decay_ms = 1;
	q = create(&options);
	/* A free that takes a slow path can find its own list due. */
	while (stat_of(q).pages_parked == 0)
		assert_int_equal(
			quire_free_pages(q, quire_alloc_pages(q, 0, 0), 0), 0);
	while (stat_of(q).pages_parked > 0 && now_ms() < give_up)
		drained += quire_maintain(q);
	assert_int_equal(stat_of(q).pages_parked, 0);
	assert_true(drained >= 1);
	destroy(q);
	/* Not before its time. */
	options.decay_ms = 1000000;
	q = create(&options);
	assert_int_equal(quire_free_pages(q, quire_alloc_pages(q, 0, 0), 0), 0);
	assert_int_equal(quire_maintain(q), 0);
	assert_true(stat_of(q).pages_parked > 0);
	destroy(q);
}

static void test_several_allocators(void **state)
{
	static const enum quire_way ways[] = { QUIRE_WAY_DEFAULT,
					       QUIRE_WAY_TRYLOCK,
					       QUIRE_WAY_BOUND,
					       QUIRE_WAY_DEFAULT };
	struct quire *q[TEST_LENGTH(ways)];
	struct quire_page *pages[TEST_LENGTH(ways)][100];

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(ways); i++)
		q[i] = create_way(ways[i], 16 * MIB);
	assert_int_equal(quire_cpu_bind(q[2], 1), 0);
	for (size_t k = 0; k < 100; k++)
		for (size_t i = 0; i < TEST_LENGTH(ways); i++)
			pages[i][k] = quire_alloc_pages(q[i], k % 4, 0);
	for (size_t i = 0; i < TEST_LENGTH(ways); i++) {
		struct quire *wrong = q[(i + 1) % TEST_LENGTH(ways)];

		assert_int_equal(stat_of(q[i]).allocs, 100);
		assert_int_equal(stat_of(q[i]).pages_live, 375);
		EXPECT_REFUSED(wrong, quire_free_pages(wrong, pages[i][0], 0),
			       "%p", (void *)pages[i][0]);
	}
	for (size_t i = 0; i < TEST_LENGTH(ways); i++) {
		for (size_t k = 0; k < 100; k++)
			assert_int_equal(
				quire_free_pages(q[i], pages[i][k], k % 4), 0);
		destroy(q[i]);
	}
}

/* --- two racing frees --- */

enum { RACES = TEST_SANITIZED ? 500 : 3000 };

struct racer {
	struct quire *q;
	enum quire_way way;
	unsigned number;
	struct quire_page **pages;
	_Atomic unsigned *arrived;
	_Atomic unsigned *accepted;
};

/* Both are here for race i; then one may be ahead by some nanoseconds. */
static void meet(_Atomic unsigned *arrived, unsigned i, unsigned ahead)
{
	unsigned spins = 0;

	atomic_fetch_add(arrived, 1);
	while (atomic_load(arrived) < 2 * (i + 1))
		if (++spins % 4096 == 0)
			sched_yield();
	for (unsigned k = 0; k < ahead; k++)
		atomic_load(arrived);
}

static void *racer_main(void *arg)
{
	struct racer *r = arg;
	struct test_rng rng = { r->number };

	if (r->way == QUIRE_WAY_BOUND)
		quire_cpu_bind(r->q, r->number);
	for (unsigned i = 0; i < RACES; i++) {
		meet(r->arrived, i, (unsigned)test_below(&rng, 128));
		if (quire_free_pages(r->q, r->pages[i], 0) == 0)
			atomic_fetch_add(r->accepted, 1);
	}
	return NULL;
}

static void test_race(void **state)
{
	enum quire_way way = *(const enum quire_way *)*state;
	struct quire_options options = options_of(64 * MIB);
	static struct quire_page *pages[RACES];
	_Atomic unsigned arrived = 0, accepted = 0;
	pthread_t threads[2];
	struct racer racers[2];
	struct quire *q;

	options.way = way;
	options.cpus = way == QUIRE_WAY_BOUND ? 2 : 0;
	options.flags = QUIRE_CHECK_RACE;
	q = quire_create(&options);
	if (!q && errno == ENOTSUP && way == QUIRE_WAY_RSEQ)
		skip();
	assert_non_null(q);
	messages.count = 0;
	assert_int_equal(quire_alloc_pages_bulk(q, 0, 0, RACES, pages), RACES);
	for (unsigned i = 0; i < 2; i++) {
		racers[i] =
			(struct racer){ q, way, i, pages, &arrived, &accepted };
		assert_int_equal(pthread_create(&threads[i], NULL, racer_main,
						&racers[i]),
				 0);
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(accepted, RACES);
	assert_int_equal(messages.count, RACES);
	assert_int_equal(stat_of(q).refused, RACES);
	destroy(q);
}

/* --- without waiting --- */

static void test_nolock(void **state)
{
	enum quire_way way = *(const enum quire_way *)*state;
	struct quire *q = create_way(way, 16 * MIB);
	struct quire_page *page, *pages[20];
	void *addr;

	if (!q)
		skip();
	for (unsigned order = 0; order <= 10; order++) {
		page = quire_alloc_pages(q, order, QUIRE_NOLOCK);
		assert_non_null(page);
		assert_int_equal(quire_page_order(q, page), order);
		assert_int_equal(quire_free_pages_nolock(q, page, order), 0);
		addr = quire_alloc_addr(q, order, QUIRE_NOLOCK | QUIRE_ZERO);
		assert_non_null(addr);
		assert_int_equal(quire_free_addr(q, addr, order), 0);
	}
	assert_int_equal(quire_alloc_pages_bulk(q, 0, QUIRE_NOLOCK, 20, pages),
			 20);
	assert_int_equal(quire_free_pages_bulk(q, 0, 20, pages), 20);
	page = quire_alloc_exact(q, 77, QUIRE_NOLOCK);
	assert_non_null(page);
	assert_int_equal(quire_free_exact(q, page, 77), 0);
	/* Where a run cannot be had: EAGAIN, whatever the cause. */
	EXPECT_FAILS(q, quire_alloc_pages(q, 0, QUIRE_NOLOCK | 1u << 3), NULL,
		     EINVAL);
	errno = 0;
	assert_null(quire_alloc_pages(q, 13, QUIRE_NOLOCK));
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(stat_of(q).failures, 1);
	page = quire_alloc_pages(q, 2, 0);
	EXPECT_REFUSED(q, quire_free_pages_nolock(q, page, 3),
		       "free_pages_nolock: pfn ");
	EXPECT_REFUSED(
		q,
		quire_free_pages_nolock(
			q, quire_pfn_to_page(q, quire_page_to_pfn(q, page) + 1),
			0),
		"not a live block's head");
	EXPECT_REFUSED(q, quire_free_pages_nolock(q, NULL, 0),
		       "free_pages_nolock: (nil) is not of this allocator");
	assert_int_equal(quire_free_pages_nolock(q, page, 2), 0);
	EXPECT_REFUSED(q, quire_free_pages_nolock(q, page, 2), "double free");
	destroy(q);
}

enum {
	HANDLER_HOLDS = 64,
	STORM_HELD = 128,
	STORM_MS = 120,
	STORM_SIGNALS = 300
};

/* The handler's alone: it does not interrupt itself. */
static struct storm {
	struct quire *q;
	struct test_rng rng;
	struct quire_page *pages[HANDLER_HOLDS];
	unsigned orders[HANDLER_HOLDS];
	uint64_t stamps[HANDLER_HOLDS];
	uint64_t allocs, frees, again, wrong, runs;
	pthread_t target;
	_Atomic bool stop;
} storm;

static uint64_t *stamp_of(struct quire *q, const struct quire_page *page)
{
	return quire_page_to_virt(q, page);
}

static void storm_free(size_t i)
{
	if (*stamp_of(storm.q, storm.pages[i]) != storm.stamps[i])
		storm.wrong++;
	*stamp_of(storm.q, storm.pages[i]) = 0;
	if (quire_free_pages_nolock(storm.q, storm.pages[i], storm.orders[i]))
		storm.wrong++;
	storm.pages[i] = NULL;
	storm.frees++;
}

static void storm_alloc(size_t i)
{
	storm.orders[i] = test_below(&storm.rng, 3)
				  ? (unsigned)test_below(&storm.rng, 4)
				  : (unsigned)test_below(&storm.rng, 12);
	storm.pages[i] =
		quire_alloc_pages(storm.q, storm.orders[i], QUIRE_NOLOCK);
	if (!storm.pages[i]) {
		if (errno != EAGAIN)
			storm.wrong++;
		storm.again++;
		return;
	}
	storm.stamps[i] = test_random(&storm.rng) | 1;
	*stamp_of(storm.q, storm.pages[i]) = storm.stamps[i];
	storm.allocs++;
}

static void on_storm(int signal)
{
	int error = errno;

	(void)signal;
	storm.runs++;
	for (int turn = 0; turn < 4; turn++) {
		size_t i = test_below(&storm.rng, HANDLER_HOLDS);

		if (storm.pages[i])
			storm_free(i);
		else
			storm_alloc(i);
	}
	errno = error;
}

static void *storm_main(void *arg)
{
	struct storm *s = arg;

	while (!atomic_load(&s->stop)) {
		pthread_kill(s->target, SIGUSR1);
		for (volatile int i = 0; i < 2000; i++)
			;
	}
	return NULL;
}

/* One call of every kind, with its stamp in what it has. */
static void storm_turn(struct quire *q, struct test_rng *rng,
		       struct quire_page **pages, unsigned *orders)
{
	size_t i = test_below(rng, STORM_HELD);
	struct quire_page *bulk[40], *run;
	size_t got;

	if (pages[i]) {
		assert_int_equal(*stamp_of(q, pages[i]), i + 1);
		*stamp_of(q, pages[i]) = 0;
		assert_int_equal(quire_free_pages(q, pages[i], orders[i]), 0);
	}
	orders[i] = (unsigned)test_below(rng, test_below(rng, 4) ? 3 : 11);
	pages[i] = quire_alloc_pages(q, orders[i], 0);
	if (pages[i])
		*stamp_of(q, pages[i]) = i + 1;
	switch (test_below(rng, 64)) {
	case 0:
		assert_int_equal(quire_drain_all(q), 0);
		break;
	case 1:
		assert_true(quire_maintain(q) >= 0);
		break;
	case 2:
		(void)stat_of(q);
		break;
	case 3:
		run = quire_alloc_exact(q, 300, 0);
		if (run)
			assert_int_equal(quire_free_exact(q, run, 300), 0);
		break;
	case 4:
		got = quire_alloc_pages_bulk(q, 1, 0, 40, bulk);
		assert_int_equal(quire_free_pages_bulk(q, 1, got, bulk), got);
		break;
	case 5:
		/* Too large: everything is held before it fails. */
		assert_null(quire_alloc_pages(q, 18, 0));
		break;
	default:
		break;
	}
}

/* --- a report from a signal handler --- */

enum { TOLD_BY_HANDLER = 2000, TELL_SECONDS = 60 };

static struct quire *refusing;
static _Atomic unsigned refusals;

static void refuse_in_handler(int number)
{
	int error = errno;

	(void)number;
	quire_free_pages_nolock(refusing, NULL, 0);
	atomic_fetch_add(&refusals, 1);
	errno = error;
}

/* Reports by default, and another user of stderr, wherever they are. */
static void tell_and_be_interrupted(void)
{
	const struct itimerspec period = { .it_value.tv_nsec = 30000,
					   .it_interval.tv_nsec = 30000 };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL,
				  .sigev_signo = SIGUSR1 };
	struct sigaction act = { .sa_handler = refuse_in_handler };
	struct quire_options options = QUIRE_OPTIONS_INIT;
	timer_t timer;

	alarm(TELL_SECONDS);
	options.size = 2 * MIB;
	refusing = quire_create(&options);
	if (!refusing || !freopen("/dev/null", "w", stderr) ||
	    sigaction(SIGUSR1, &act, NULL) != 0 ||
	    timer_create(CLOCK_MONOTONIC, &event, &timer) != 0 ||
	    timer_settime(timer, 0, &period, NULL) != 0)
		_exit(2);
	while (atomic_load(&refusals) < TOLD_BY_HANDLER) {
		fprintf(stderr, "a line of the program's own\n");
		quire_free_pages(refusing, NULL, 0);
	}
	_exit(0);
}

/* It must not wait for what its own thread holds. */
static void test_report_from_handler(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	if (pid == 0)
		tell_and_be_interrupted();
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* A handler allocates and frees wherever it interrupts. */
static void test_nolock_signals(void **state)
{
	enum quire_way way = *(const enum quire_way *)*state;
	const struct sigaction action = { .sa_handler = on_storm,
					  .sa_flags = SA_RESTART };
	static struct quire_page *pages[STORM_HELD];
	static unsigned orders[STORM_HELD];
	struct test_rng rng = test_seed();
	struct quire *q = create_way(way, 32 * MIB);
	struct sigaction old;
	pthread_t thread;
	uint64_t end;

	if (!q)
		skip();
	memset(pages, 0, sizeof(pages));
	memset(&storm, 0, sizeof(storm));
	storm.q = q;
	storm.rng.state = 42;
	storm.target = pthread_self();
	if (way == QUIRE_WAY_BOUND)
		assert_int_equal(quire_cpu_bind(q, 1), 0);
	assert_int_equal(sigaction(SIGUSR1, &action, &old), 0);
	assert_int_equal(pthread_create(&thread, NULL, storm_main, &storm), 0);
	end = now_ms() + STORM_MS;
	/* Where CPUs are few, so are the signals. */
	while (now_ms() < end ||
	       (storm.runs < STORM_SIGNALS && now_ms() < end + 20000))
		for (int i = 0; i < 32; i++)
			storm_turn(q, &rng, pages, orders);
	atomic_store(&storm.stop, true);
	pthread_join(thread, NULL);
	sigaction(SIGUSR1, &old, NULL);
	printf("# %llu signals: %llu blocks had, %llu times EAGAIN\n",
	       (unsigned long long)storm.runs, (unsigned long long)storm.allocs,
	       (unsigned long long)storm.again);
	assert_true(storm.runs >= STORM_SIGNALS && storm.allocs > 0);
	for (size_t i = 0; i < HANDLER_HOLDS; i++)
		if (storm.pages[i])
			storm_free(i);
	for (size_t i = 0; i < STORM_HELD; i++)
		if (pages[i])
			assert_int_equal(
				quire_free_pages(q, pages[i], orders[i]), 0);
	assert_int_equal(storm.wrong, 0);
	assert_int_equal(storm.allocs, storm.frees);
	assert_int_equal(messages.count, 0);
	if (way == QUIRE_WAY_BOUND)
		assert_int_equal(quire_cpu_unbind(q), 0);
	destroy(q);
}

/* --- fork --- */

/* Exit status of a child that runs f: 0, or which of its steps failed. */
static int in_child(int (*f)(struct quire *q), struct quire *q)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit(f(q));
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static struct quire_page *forked_page;

static int child_goes_on(struct quire *q)
{
	struct quire_page *pages[200];
	char *text = quire_page_to_virt(q, forked_page);

	if (!text || strcmp(text, "parent") != 0)
		return 1;
	strcpy(text, "child");
	if (quire_alloc_pages_bulk(q, 0, 0, 200, pages) != 200)
		return 2;
	for (size_t i = 0; i < 200; i++)
		memset(quire_page_to_virt(q, pages[i]), 0xcc, PAGE);
	if (quire_free_pages_bulk(q, 0, 200, pages) != 200)
		return 3;
	if (quire_free_pages(q, forked_page, 1) || quire_drain_all(q) ||
	    quire_validate(q))
		return 4;
	/* The thread that forked stands in for CPU 0 here as well. */
	if (info_of(q).way == QUIRE_WAY_BOUND &&
	    (bind_in_thread(q, 0).error != EBUSY ||
	     bind_in_thread(q, 1).result))
		return 5;
	return quire_destroy(q) ? 6 : 0;
}

static void test_fork_copy(void **state)
{
	enum quire_way way = *(const enum quire_way *)*state;
	struct quire *q = create_way(way, 16 * MIB);
	char *text;

	if (!q)
		skip();
	if (way == QUIRE_WAY_BOUND)
		assert_int_equal(quire_cpu_bind(q, 0), 0);
	forked_page = quire_alloc_pages(q, 1, 0);
	text = quire_page_to_virt(q, forked_page);
	strcpy(text, "parent");
	remember(q);
	assert_int_equal(in_child(child_goes_on, q), 0);
	expect_unchanged(q);
	assert_string_equal(text, "parent");
	assert_int_equal(quire_free_pages(q, forked_page, 1), 0);
	if (way == QUIRE_WAY_BOUND)
		assert_int_equal(quire_cpu_unbind(q), 0);
	destroy(q);
}

static int child_is_refused(struct quire *q)
{
	struct quire_page *page = NULL;

	errno = 0;
	if (quire_alloc_pages(q, 0, 0) || errno != EPERM)
		return 1;
	errno = 0;
	if (quire_free_pages(q, forked_page, 0) != -1 || errno != EPERM)
		return 2;
	errno = 0;
	if (quire_alloc_pages_bulk(q, 0, 0, 1, &page) || errno != EPERM)
		return 3;
	errno = 0;
	if (quire_free_pages_bulk(q, 0, 1, &forked_page) || errno != EPERM)
		return 4;
	errno = 0;
	if (quire_alloc_exact(q, 1, 0) || errno != EPERM)
		return 5;
	errno = 0;
	if (quire_free_exact(q, forked_page, 1) != -1 || errno != EPERM)
		return 6;
	errno = 0;
	if (quire_page_get(q, forked_page) != -1 || errno != EPERM)
		return 7;
	errno = 0;
	if (quire_page_put(q, forked_page) != -1 || errno != EPERM)
		return 8;
	errno = 0;
	if (quire_drain_all(q) != -1 || errno != EPERM)
		return 9;
	errno = 0;
	if (quire_alloc_pages(q, 0, QUIRE_NOLOCK) || errno != EPERM)
		return 11;
	errno = 0;
	if (quire_free_pages_nolock(q, forked_page, 0) != -1 || errno != EPERM)
		return 12;
	return quire_page_order(q, forked_page) == 0 ? 0 : 10;
}

static void fork_refused(const struct quire_options *options)
{
	struct quire *q = create(options);

	forked_page = quire_alloc_pages(q, 0, 0);
	remember(q);
	assert_int_equal(in_child(child_is_refused, q), 0);
	expect_unchanged(q);
	assert_int_equal(quire_free_pages(q, forked_page, 0), 0);
	assert_int_equal(quire_drain_all(q), 0);
	assert_int_equal(quire_validate(q), 0);
	assert_int_equal(quire_destroy(q), 0);
}

static void test_fork_refused(void **state)
{
	struct quire_options options = options_of(4 * MIB);
	void *shared = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct quire *q;

	(void)state;
	assert_ptr_not_equal(shared, MAP_FAILED);
	options.flags = QUIRE_DONTFORK;
	fork_refused(&options);
	/* Memory that quire does not know to be private, and none at all. */
	options.flags = 0;
	options.address = shared;
	fork_refused(&options);
	options.address = NULL;
	options.flags = QUIRE_OFFSETS;
	fork_refused(&options);
	munmap(shared, 4 * MIB);
	/* Where the machine has hugetlb pages set aside. */
	options.flags = 0;
	options.backing[0] = QUIRE_BACKING_2M;
	q = quire_create(&options);
	if (q) {
		destroy(q);
		fork_refused(&options);
	}
}

/* The pages themselves stay out of the child, the tables do not. */
static int child_lacks_pages(struct quire *q)
{
	unsigned char map[1];
	struct quire_info info;

	if (quire_info(q, &info, sizeof(info)))
		return 1;
	if (mincore(info.address, PAGE, map) != -1 || errno != ENOMEM)
		return 2;
	return quire_page_order(q, forked_page) == 0 ? 0 : 3;
}

static void dontfork(const struct quire_options *options)
{
	struct quire *q = create(options);

	forked_page = quire_alloc_pages(q, 0, 0);
	assert_int_equal(in_child(child_lacks_pages, q), 0);
	assert_int_equal(quire_free_pages(q, forked_page, 0), 0);
	assert_int_equal(quire_drain_all(q), 0);
	assert_int_equal(quire_validate(q), 0);
	assert_int_equal(quire_destroy(q), 0);
}

static char *callers_region;

static int child_has_region(struct quire *unused)
{
	unsigned char map[1];

	(void)unused;
	if (mincore(callers_region, PAGE, map))
		return 1;
	return callers_region[0] == 'x' ? 0 : 2;
}

/* What the child maps where the parent has pages is not quire's to unmap. */
static int child_destroys(struct quire *q)
{
	struct quire_info info;
	char *mine;

	if (quire_info(q, &info, sizeof(info)) != 0)
		return 1;
	mine = mmap(info.address, PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	if (mine != info.address)
		return 2;
	mine[0] = 'm';
	if (quire_destroy(q) != 0)
		return 3;
	return mine[0] == 'm' ? 0 : 4;
}

static void test_destroy_in_child(void **state)
{
	struct quire_options options = options_of(4 * MIB);
	struct quire *q;

	(void)state;
	options.flags = QUIRE_DONTFORK;
	q = quire_create(&options);
	assert_non_null(q);
	assert_int_equal(in_child(child_destroys, q), 0);
	assert_int_equal(quire_destroy(q), 0);
}

static void test_dontfork(void **state)
{
	struct quire_options options = options_of(4 * MIB);

	(void)state;
	options.flags = QUIRE_DONTFORK;
	dontfork(&options);
	callers_region = map_region(4 * MIB, PROT_READ | PROT_WRITE);
	callers_region[0] = 'x';
	options.address = callers_region;
	dontfork(&options);
	/* Once the allocator is gone, children have it again. */
	assert_int_equal(in_child(child_has_region, NULL), 0);
	munmap(callers_region, 4 * MIB);
}

/*
 * Handlers of the program's, there before its first allocator: they run while
 * nothing of quire's is held, on either side of the fork.
 */
static struct {
	struct quire *q; /* NULL: they have nothing to do */
	struct quire_page *page;
	unsigned calls, failed;
} handlers;

static void handler_prepare(void)
{
	if (!handlers.q)
		return;
	handlers.calls++;
	handlers.page = quire_alloc_pages(handlers.q, 0, 0);
	if (!handlers.page || quire_drain_all(handlers.q))
		handlers.failed++;
}

static void handler_parent(void)
{
	struct quire_page *page;

	if (!handlers.q)
		return;
	handlers.calls++;
	page = quire_alloc_pages(handlers.q, 3, 0);
	if (!page || quire_free_pages(handlers.q, page, 3) ||
	    quire_free_pages(handlers.q, handlers.page, 0) ||
	    quire_drain_all(handlers.q))
		handlers.failed++;
}

static void handler_child(void)
{
	/* A fork ends the parent's alarm. */
	if (handlers.q)
		alarm(60);
	handler_parent();
}

static int child_had_handlers(struct quire *q)
{
	if (handlers.calls != 2 || handlers.failed)
		return 1;
	return quire_validate(q) || quire_destroy(q) ? 2 : 0;
}

static void test_fork_handlers(void **state)
{
	enum quire_way way = *(const enum quire_way *)*state;
	struct quire *q = create_way(way, 16 * MIB);

	if (!q)
		skip();
	if (way == QUIRE_WAY_BOUND)
		assert_int_equal(quire_cpu_bind(q, 0), 0);
	memset(&handlers, 0, sizeof(handlers));
	handlers.q = q;
	alarm(60);
	assert_int_equal(in_child(child_had_handlers, q), 0);
	alarm(0);
	handlers.q = NULL;
	assert_int_equal(handlers.calls, 2);
	assert_int_equal(handlers.failed, 0);
	if (way == QUIRE_WAY_BOUND)
		assert_int_equal(quire_cpu_unbind(q), 0);
	destroy(q);
}

/* Without the right to lock memory: EPERM, and nothing left behind. */
static int child_may_not_lock(struct quire *unused)
{
	const struct rlimit none = { 0, 0 };
	struct quire_options options = options_of(4 * MIB);

	(void)unused;
	if (setrlimit(RLIMIT_MEMLOCK, &none))
		return 1;
	if (geteuid() == 0 && setuid(65534))
		return 2;
	options.flags = QUIRE_MLOCK;
	errno = 0;
	if (quire_create(&options))
		return 3;
	if (errno != EPERM)
		return 4;
	return test_caught(&messages, "mlock") ? 0 : 5;
}

static void test_mlock(void **state)
{
	struct quire_options options = options_of(2 * MIB);
	struct quire *q;

	(void)state;
	/* Sanitizers make mlock() do nothing. */
	if (TEST_SANITIZED)
		skip();
	assert_int_equal(in_child(child_may_not_lock, NULL), 0);
	options.flags = QUIRE_MLOCK;
	q = quire_create(&options);
	if (!q) {
		/* A limit below 2 MiB. */
		assert_true(errno == EPERM || errno == ENOMEM);
		skip();
	}
	assert_int_equal(resident_pages(info_of(q).address, 2 * MIB), SMALL);
	destroy(q);
}

static enum quire_way ways[] = { QUIRE_WAY_RSEQ, QUIRE_WAY_TRYLOCK,
				 QUIRE_WAY_BOUND };

#define TEST(name) cmocka_unit_test_setup(name, setup)
#define TEST_WAYS(name)                                                        \
	{ #name " rseq", name, setup, NULL, &ways[0] },                        \
		{ #name " trylock", name, setup, NULL, &ways[1] },             \
	{                                                                      \
#name " bound", name, setup, NULL, &ways[2]                    \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_create_needs_size),
		TEST(test_struct_size),
		TEST(test_options_unknown),
		TEST(test_options_that_clash),
		TEST(test_bad_zones),
		TEST(test_backing_refused),
		TEST(test_backing_got),
		TEST(test_info),
		TEST(test_stat_size),
		TEST(test_stat_longer),
		TEST(test_lock_times),
		TEST(test_callers_region),
		TEST(test_region_too_small),
		TEST(test_region_untouched),
		TEST(test_prefault),
		TEST(test_prefault_read_only),
		TEST(test_report_changes_errno),
		TEST(test_conf),
		TEST(test_conf_unknown),
		TEST(test_conf_debug),
		TEST(test_offsets),
		TEST(test_offsets_have_no_pointers),
		TEST(test_every_order),
		TEST(test_alloc_invalid),
		TEST(test_no_memory),
		TEST(test_by_address),
		TEST(test_zones),
		TEST(test_bulk),
		TEST(test_bulk_refused),
		TEST(test_exact),
		TEST(test_exact_refused),
		TEST(test_zero),
		TEST(test_zero_one_dirty),
		TEST(test_zero_callers),
		TEST(test_references),
		TEST(test_flags),
		TEST(test_private),
		TEST(test_private_all),
		TEST(test_private_foreign),
		TEST(test_report_from_handler),
		TEST(test_conversions),
		TEST(test_conversions_outside),
		TEST(test_double_free),
		TEST(test_tail_and_order),
		TEST(test_foreign_pointers),
		TEST(test_destroy_busy),
		TEST(test_cpu_bind),
		TEST(test_bound_thread_ends_late),
		TEST(test_many_cpus),
		TEST_WAYS(test_thread_exit),
		TEST_WAYS(test_parking),
		TEST_WAYS(test_last_pages),
		TEST(test_maintain),
		TEST(test_several_allocators),
		TEST_WAYS(test_race),
		TEST_WAYS(test_nolock),
		TEST_WAYS(test_nolock_signals),
		TEST_WAYS(test_fork_copy),
		TEST_WAYS(test_fork_handlers),
		TEST(test_fork_refused),
		TEST(test_dontfork),
		TEST(test_destroy_in_child),
		TEST(test_mlock),
	};

	if (pthread_atfork(handler_prepare, handler_parent, handler_child))
		return 99;
	return cmocka_run_group_tests_name("api", tests, NULL, NULL);
}
