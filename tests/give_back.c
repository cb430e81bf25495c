/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that goes back to the system: which blocks, when, how many, and what
 * is known of them after; that nothing is lost when the system refuses, and
 * nobody fails for blocks that are away. Time is driven by hand where it counts
 * (look(), pass()): no test is about how fast something is.
 */
#include "testing.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "instance/allocator.h"
#include "platform/fault.h"
#include "platform/platform.h"
#include "platform/platform_memory.h"
#include "quire/quire.h"

#define MIB (UINT64_C(1) << 20)
#define BLOCK_BYTES (2 * MIB)
/* Of an arena of 32 MiB. */
enum { BLOCK = 512, BLOCKS = 16, PAGES = BLOCKS * BLOCK };
/* Looks after which a block is old. */
enum { LOOKS = 5 };

static struct test_messages messages;

static int setup(void **state)
{
	(void)state;
	return test_begin(&messages);
}

static int teardown(void **state)
{
	(void)state;
	fault_disarm_all();
	return 0;
}

/* No look comes by itself. */
static struct quire_options base_options(enum quire_give_back how)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;

	options.size = PAGES * QUIRE_PAGE_SIZE;
	options.backing[0] = QUIRE_BACKING_BASE;
	options.report = test_catch;
	options.report_arg = &messages;
	options.give_back = how;
	options.give_delay_ms = UINT32_MAX;
	return options;
}

static struct quire *create(const struct quire_options *options)
{
	struct quire *q = quire_create(options);

	assert_non_null(q);
	return q;
}

static struct quire *create_base(enum quire_give_back how)
{
	struct quire_options options = base_options(how);

	return create(&options);
}

static void check_sound(struct quire *q)
{
	if (quire_validate(q) != 0)
		fail_msg("%s", messages.text[0]);
}

static void destroy(struct quire *q)
{
	check_sound(q);
	assert_int_equal(quire_destroy(q), 0);
}

static struct quire_stat stat_of(const struct quire *q)
{
	struct quire_stat stat;

	assert_int_equal(quire_stat(q, &stat, sizeof(stat)), 0);
	return stat;
}

static char *start_of(const struct quire *q)
{
	struct quire_info info;

	assert_int_equal(quire_info(q, &info, sizeof(info)), 0);
	return info.address;
}

static size_t resident_in(void *addr, size_t size)
{
	size_t bytes = SIZE_MAX;

	assert_true(platform_resident(addr, size, &bytes));
	return bytes;
}

static size_t resident(const struct quire *q)
{
	return resident_in(start_of(q), stat_of(q).pages * QUIRE_PAGE_SIZE);
}

static bool is_resident(const char *block)
{
	return resident_in((char *)(uintptr_t)block, BLOCK_BYTES) != 0;
}

static bool all_are(const char *addr, size_t size, char value)
{
	return addr[0] == value && memcmp(addr, addr + 1, size - 1) == 0;
}

static void touch(char *addr, size_t size, char value)
{
	for (size_t at = 0; at < size; at += QUIRE_PAGE_SIZE)
		addr[at] = value;
}

/* n blocks of 2 MiB, with memory. */
static void use(struct quire *q, char **block, unsigned n, unsigned flags)
{
	for (unsigned i = 0; i < n; i++) {
		block[i] = quire_alloc_addr(q, 9, flags);
		assert_non_null(block[i]);
		touch(block[i], BLOCK_BYTES, 7);
	}
}

/* They are in their zone after. */
static void unuse(struct quire *q, char **block, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(quire_free_addr(q, block[i], 9), 0);
	assert_int_equal(quire_drain_all(q), 0);
}

static void use_and_free(struct quire *q, unsigned n)
{
	char *block[BLOCKS];

	use(q, block, n, 0);
	unuse(q, block, n);
}

static void look(struct quire *q)
{
	atomic_store(&q->give.next_ms, 0);
	assert_true(quire_maintain(q) >= 0);
}

static void look_often(struct quire *q, unsigned n)
{
	while (n--)
		look(q);
}

/* So many milliseconds have gone since the rate was asked; few, for the clock
 * may have begun just now. */
static void pass(struct quire *q, uint64_t ms)
{
	q->give.last_ms = platform_ms() - ms;
}

static void nap_ms(long ms)
{
	const struct timespec nap = { .tv_nsec = ms * 1000000 };

	nanosleep(&nap, NULL);
}

/* --- which and when --- */

static void test_resident_follows(void **state)
{
	struct quire_options options = base_options(QUIRE_GIVE_DONTNEED);
	const uint64_t size = 256 * MIB, delay = 40;
	char *block[128];
	uint64_t before, left = 2000;
	struct quire *q;

	(void)state;
	options.size = size;
	options.backing[0] = QUIRE_BACKING_DEFAULT;
	options.give_delay_ms = (unsigned)delay;
	q = create(&options);
	use(q, block, 128, 0);
	assert_true(resident(q) >= size);
	before = platform_ms();
	unuse(q, block, 128);
	while (resident(q) && left--) {
		assert_int_equal(quire_maintain(q), 0);
		if (resident(q) < size)
			assert_true(platform_ms() - before >= delay);
		nap_ms(5);
	}
	assert_int_equal(resident(q), 0);
	assert_int_equal(stat_of(q).given_back, size);
	assert_int_equal(stat_of(q).pages_free, size / QUIRE_PAGE_SIZE);
	destroy(q);
}

static void test_not_before_its_time(void **state)
{
	struct quire_options options = base_options(QUIRE_GIVE_DONTNEED);
	struct quire *q;

	(void)state;
	options.give_delay_ms = 1;
	q = create(&options);
	use_and_free(q, BLOCKS);
	/* Five looks within a millisecond are one. */
	atomic_store(&q->give.next_ms, platform_ms() + 1000000);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(quire_maintain(q), 0);
	assert_int_equal(q->give.look, 0);
	for (unsigned delay = 1; delay < 12; delay++) {
		uint64_t now;

		q->give.delay_ms = delay;
		now = platform_ms();
		look(q);
		assert_true((atomic_load(&q->give.next_ms) - now) * 4 >= delay);
	}
	q->give.delay_ms = UINT32_MAX;
	look(q);
	assert_true(atomic_load(&q->give.next_ms) - platform_ms() <=
		    UINT32_C(1) << 30);
	assert_true(atomic_load(&q->give.next_ms) - platform_ms() >
		    UINT32_C(1) << 29);
	destroy(q);
}

static void test_young_stay(void **state)
{
	struct quire *q = create_base(QUIRE_GIVE_DONTNEED);
	char *block[BLOCKS], *again;

	(void)state;
	use(q, block, BLOCKS, 0);
	/* Two in use, two free later, one used in between. */
	unuse(q, block, 12);
	look_often(q, 2);
	unuse(q, block + 12, 2);
	look_often(q, 2);
	assert_int_equal(stat_of(q).given_back, 0);
	again = quire_alloc_addr(q, 0, 0);
	assert_int_equal(quire_free_addr(q, again, 0), 0);
	assert_int_equal(quire_drain_all(q), 0);
	assert_int_equal(resident(q), BLOCKS * BLOCK_BYTES);
	again -= (uintptr_t)again % BLOCK_BYTES;
	look(q);
	for (unsigned i = 0; i < BLOCKS; i++)
		assert_int_equal(is_resident(block[i]),
				 i >= 12 || block[i] == again);
	look_often(q, 2);
	assert_int_equal(is_resident(block[12]), again == block[12]);
	assert_int_equal(is_resident(block[13]), again == block[13]);
	assert_true(is_resident(again));
	assert_true(is_resident(block[14]) && is_resident(block[15]));
	look_often(q, 3);
	assert_false(is_resident(again));
	assert_int_equal(stat_of(q).given_back, 14 * BLOCK_BYTES);
	assert_int_equal(resident(q), 2 * BLOCK_BYTES);
	assert_true(all_are(block[15] + 1, 4095, 0) && block[15][0] == 7);
	unuse(q, block + 14, 2);
	destroy(q);
}

static void test_bytes(void **state)
{
	struct quire *q = create_base(QUIRE_GIVE_DONTNEED);

	(void)state;
	use_and_free(q, BLOCKS);
	assert_int_equal(quire_give_back(q, 0), 0);
	assert_int_equal(quire_give_back(q, BLOCK_BYTES - 1), 0);
	assert_int_equal(quire_give_back(q, 5 * MIB), 4 * MIB);
	assert_int_equal(resident(q), 28 * MIB);
	assert_int_equal(stat_of(q).given_back, 4 * MIB);
	assert_int_equal(quire_give_back(q, UINT64_MAX), 28 * MIB);
	assert_int_equal(quire_give_back(q, UINT64_MAX), 0);
	assert_int_equal(stat_of(q).given_back, 32 * MIB);
	assert_int_equal(resident(q), 0);
	destroy(q);
}

static void test_best_first(void **state)
{
	struct quire *q = create_base(QUIRE_GIVE_DONTNEED);
	char *block[BLOCKS];

	(void)state;
	use(q, block, BLOCKS, 0);
	/* By address: 1 for long, 8 to 11 just now. */
	for (unsigned i = 0; i < BLOCKS; i++)
		block[i] = start_of(q) + i * BLOCK_BYTES;
	unuse(q, block + 1, 1);
	look_often(q, 3);
	unuse(q, block + 8, 4);
	unuse(q, block + 13, 1);
	assert_int_equal(quire_give_back(q, 4 * BLOCK_BYTES), 8 * MIB);
	for (unsigned i = 0; i < BLOCKS; i++)
		assert_int_equal(is_resident(block[i]), i < 8 || i > 11);
	assert_int_equal(quire_give_back(q, BLOCK_BYTES), 2 * MIB);
	assert_false(is_resident(block[1]));
	assert_true(is_resident(block[13]));
	unuse(q, block, 1);
	unuse(q, block + 2, 6);
	unuse(q, block + 12, 1);
	unuse(q, block + 14, 2);
	destroy(q);
}

/* More than a batch, in several zones. */
static void test_device_stays(void **state)
{
	struct quire_options options = base_options(QUIRE_GIVE_DONTNEED);
	char *device[4], *movable[8], *normal[48];
	struct quire *q;

	(void)state;
	options.size = 128 * MIB;
	options.zone_size[QUIRE_ZONE_DEVICE] = 8 * MIB;
	options.zone_size[QUIRE_ZONE_MOVABLE] = 16 * MIB;
	q = create(&options);
	use(q, device, 4, QUIRE_DEVICE);
	use(q, movable, 8, QUIRE_MOVABLE);
	use(q, normal, 48, 0);
	unuse(q, device, 4);
	unuse(q, movable, 8);
	unuse(q, normal, 48);
	look_often(q, LOOKS);
	assert_int_equal(stat_of(q).given_back, 112 * MIB);
	assert_int_equal(quire_give_back(q, UINT64_MAX), 0);
	assert_int_equal(resident(q), 8 * MIB);
	for (unsigned i = 0; i < 4; i++)
		assert_true(is_resident(device[i]));
	destroy(q);
}

/* Creation costs nothing by size, and neither do looks. */
static void test_never_used(void **state)
{
	struct quire_options options = base_options(QUIRE_GIVE_DONTNEED);
	struct quire *q;

	(void)state;
	options.size = UINT64_C(64) << 30;
	q = create(&options);
	assert_int_equal(q->zone[0]->fresh, 0);
	look_often(q, LOOKS);
	assert_int_equal(quire_give_back(q, UINT64_MAX), 0);
	assert_int_equal(q->zone[0]->fresh, 0);
	assert_int_equal(quire_destroy(q), 0);
}

/* --- what is known after --- */

/* Uses a block, whose memory went back, and says how many pages QUIRE_ZERO had
 * to clear. */
static uint64_t cleared(struct quire *q, char **block)
{
	uint64_t before = stat_of(q).zeroed;

	*block = quire_alloc_addr(q, 9, QUIRE_ZERO);
	assert_non_null(*block);
	assert_true(all_are(*block, BLOCK_BYTES, 0));
	return stat_of(q).zeroed - before;
}

static void test_dontneed(void **state)
{
	struct quire *q = create_base(QUIRE_GIVE_DONTNEED);
	char *block;

	(void)state;
	use_and_free(q, BLOCKS);
	look_often(q, LOOKS);
	assert_int_equal(stat_of(q).given_back, 32 * MIB);
	/* Not twice. */
	look_often(q, 2 * LOOKS);
	assert_int_equal(quire_give_back(q, UINT64_MAX), 0);
	assert_int_equal(cleared(q, &block), 0);
	touch(block, BLOCK_BYTES, 9);
	unuse(q, &block, 1);
	/* That one again, and only that. */
	assert_int_equal(quire_give_back(q, UINT64_MAX), 2 * MIB);
	assert_int_equal(cleared(q, &block), 0);
	unuse(q, &block, 1);
	assert_int_equal(cleared(q, &block), BLOCK);
	unuse(q, &block, 1);
	destroy(q);
}

static void test_lazy(void **state)
{
	struct quire *q = create_base(QUIRE_GIVE_FREE);
	char *block;

	(void)state;
	use_and_free(q, BLOCKS);
	look_often(q, LOOKS);
	assert_int_equal(stat_of(q).given_back, 32 * MIB);
	/* Linux needs none of it. */
	assert_true(resident(q) != 0);
	look_often(q, 2 * LOOKS);
	assert_int_equal(quire_give_back(q, UINT64_MAX), 0);
	assert_int_equal(cleared(q, &block), BLOCK);
	touch(block, BLOCK_BYTES, 9);
	unuse(q, &block, 1);
	assert_int_equal(quire_give_back(q, UINT64_MAX), 2 * MIB);
	assert_int_equal(cleared(q, &block), BLOCK);
	unuse(q, &block, 1);
	destroy(q);
}

static int make_file(char fill)
{
	int fd = memfd_create("give_back", MFD_CLOEXEC);
	char *all;

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, PAGES * QUIRE_PAGE_SIZE), 0);
	if (!fill)
		return fd;
	all = mmap(NULL, PAGES * QUIRE_PAGE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_SHARED, fd, 0);
	assert_ptr_not_equal(all, MAP_FAILED);
	memset(all, fill, PAGES * QUIRE_PAGE_SIZE);
	munmap(all, PAGES * QUIRE_PAGE_SIZE);
	return fd;
}

/* At a multiple of 2 MiB. */
static char *map_file(int fd, int flags)
{
	char *range = platform_reserve(PAGES * QUIRE_PAGE_SIZE, BLOCK_BYTES);

	assert_non_null(range);
	assert_ptr_equal(mmap(range, PAGES * QUIRE_PAGE_SIZE,
			      PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0),
			 range);
	return range;
}

static struct quire *create_over(char *range, enum quire_give_back how,
				 unsigned flags)
{
	struct quire_options options = base_options(how);

	options.address = range;
	options.flags = flags;
	options.backing[0] = QUIRE_BACKING_DEFAULT;
	return create(&options);
}

static uint64_t bytes_of_file(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void check_remove(unsigned flags)
{
	int fd = make_file(0);
	char *range = map_file(fd, MAP_SHARED), *block[BLOCKS], *live;
	struct quire *q = create_over(range, QUIRE_GIVE_REMOVE, flags);

	use(q, block, BLOCKS, 0);
	assert_int_equal(bytes_of_file(fd), 32 * MIB);
	live = block[5];
	unuse(q, block, 5);
	unuse(q, block + 6, BLOCKS - 6);
	look_often(q, LOOKS);
	assert_int_equal(bytes_of_file(fd), 2 * MIB);
	assert_int_equal(stat_of(q).given_back, 30 * MIB);
	assert_int_equal(live[0], 7);
	assert_int_equal(quire_give_back(q, UINT64_MAX), 0);
	assert_int_equal(cleared(q, block), flags ? 0 : BLOCK);
	unuse(q, block, 1);
	unuse(q, block + 5, 1);
	destroy(q);
	platform_unmap(range, PAGES * QUIRE_PAGE_SIZE);
	close(fd);
}

static void test_remove(void **state)
{
	(void)state;
	check_remove(QUIRE_ZEROED);
	check_remove(0);
}

/* What is behind a private mapping is the file again. */
static void test_private_file(void **state)
{
	int fd = make_file('x');
	char *range = map_file(fd, MAP_PRIVATE), *block;
	struct quire *q;

	(void)state;
	memset(range, 0, PAGES * QUIRE_PAGE_SIZE);
	q = create_over(range, QUIRE_GIVE_DONTNEED, QUIRE_ZEROED);
	use_and_free(q, BLOCKS);
	look_often(q, LOOKS);
	assert_int_equal(stat_of(q).given_back, 32 * MIB);
	assert_int_equal(range[12345], 'x');
	assert_int_equal(cleared(q, &block), BLOCK);
	unuse(q, &block, 1);
	assert_int_equal(quire_give_back(q, UINT64_MAX), 2 * MIB);
	destroy(q);
	platform_unmap(range, PAGES * QUIRE_PAGE_SIZE);
	close(fd);
}

/* The caller's region starts and ends inside blocks: those stay. */
static void test_odd_ends(void **state)
{
	struct quire_options options = base_options(QUIRE_GIVE_DONTNEED);
	char *range = map_file(-1, MAP_PRIVATE | MAP_ANONYMOUS);
	struct quire_page *page[PAGES];
	unsigned n = 0;
	struct quire *q;

	(void)state;
	options.address = range + 37 * QUIRE_PAGE_SIZE;
	options.size = (5 * BLOCK - 200) * QUIRE_PAGE_SIZE;
	options.backing[0] = QUIRE_BACKING_DEFAULT;
	memset(range, 1, PAGES * QUIRE_PAGE_SIZE);
	q = create(&options);
	while ((page[n] = quire_alloc_pages(q, 0, 0)))
		n++;
	while (n--)
		quire_free_pages(q, page[n], 0);
	assert_int_equal(quire_drain_all(q), 0);
	assert_int_equal(quire_give_back(q, UINT64_MAX), 3 * BLOCK_BYTES);
	assert_true(all_are(range, BLOCK_BYTES, 1));
	assert_int_equal(resident_in(range, PAGES * QUIRE_PAGE_SIZE), 26 * MIB);
	destroy(q);
	platform_unmap(range, PAGES * QUIRE_PAGE_SIZE);
}

/* --- rate and floor --- */

static struct quire *create_rated(uint64_t rate, uint64_t floor)
{
	struct quire_options options = base_options(QUIRE_GIVE_DONTNEED);
	struct quire *q;

	options.give_rate = rate;
	options.give_floor = floor;
	q = create(&options);
	/* Of age, and nothing is allowed yet. */
	q->give.rate = 1;
	use_and_free(q, BLOCKS);
	look_often(q, LOOKS);
	assert_int_equal(stat_of(q).given_back, 0);
	q->give.rate = rate;
	q->give.allowed = 0;
	return q;
}

/* What a look gives after so many milliseconds. */
static uint64_t given_after(struct quire *q, uint64_t ms)
{
	uint64_t before = stat_of(q).given_back;

	pass(q, ms);
	look(q);
	return stat_of(q).given_back - before;
}

static void test_rate(void **state)
{
	const uint64_t rate = 8 * MIB;
	struct quire *q = create_rated(rate, 0);
	uint64_t passed = 0, sum = 0;

	(void)state;
	/* A second's worth, however long it was. */
	assert_int_equal(given_after(q, 1000), rate);
	assert_int_equal(given_after(q, 4000), rate);
	destroy(q);
	q = create_rated(rate, 0);
	/* Bit by bit. The test's own time counts as well. */
	for (unsigned i = 0; i < 20; i++) {
		uint64_t before = platform_ms();

		sum += given_after(q, 100);
		passed += 100 + (platform_ms() - before) + 1;
		assert_true(sum <= rate * passed / 1000 + BLOCK_BYTES);
		assert_true(sum + BLOCK_BYTES >= rate * (i + 1) * 100 / 1000);
	}
	destroy(q);
}

/* Less than a block a second: one gathers, and no more than one. */
static void test_slow_rate(void **state)
{
	struct quire *q = create_rated(BLOCK_BYTES / 8, 0);

	(void)state;
	assert_int_equal(given_after(q, 4000), 0);
	assert_int_equal(given_after(q, 3000), 0);
	assert_int_equal(given_after(q, 1000), BLOCK_BYTES);
	assert_int_equal(given_after(q, 4000), 0);
	q->give.allowed = BLOCK_BYTES - 1;
	assert_int_equal(given_after(q, 4000), BLOCK_BYTES);
	assert_int_equal(q->give.allowed, 0);
	destroy(q);
	/* Less than a byte a look. */
	q = create_rated(100, 0);
	pass(q, 0);
	for (unsigned i = 0; i < 100; i++) {
		q->give.last_ms -= 5;
		look(q);
	}
	assert_true(q->give.allowed >= 40);
	destroy(q);
	q = create_rated(1, 0);
	pass(q, 4000);
	look(q);
	assert_in_range(q->give.allowed, 4, 4000);
	destroy(q);
}

static void test_fast_rate(void **state)
{
	static const uint64_t rates[] = { UINT64_MAX, UINT64_C(1) << 63,
					  UINT64_C(1) << 56, 32 * MIB };

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(rates); i++) {
		struct quire *q = create_rated(rates[i], 0);

		assert_int_equal(given_after(q, 1000), 32 * MIB);
		use_and_free(q, 4);
		look_often(q, LOOKS);
		given_after(q, 1000);
		assert_int_equal(stat_of(q).given_back, 40 * MIB);
		destroy(q);
	}
}

/* A thread that looked at the clock before another, and comes after it. */
static void test_clock_goes_back(void **state)
{
	struct quire *q = create_rated(BLOCK_BYTES, 0);
	uint64_t future = platform_ms() + 1000000;

	(void)state;
	q->give.last_ms = future;
	look(q);
	assert_int_equal(stat_of(q).given_back, 0);
	assert_int_equal(q->give.last_ms, future);
	/* Before the first look there was none. */
	q->give.last_ms = 0;
	look(q);
	assert_int_equal(stat_of(q).given_back, 0);
	assert_true(q->give.last_ms != 0);
	destroy(q);
}

static void test_floor(void **state)
{
	struct quire_options options = base_options(QUIRE_GIVE_DONTNEED);
	char *block[BLOCKS];
	struct quire *q;

	(void)state;
	options.give_floor = 9 * MIB;
	q = create(&options);
	use(q, block, BLOCKS, 0);
	unuse(q, block, BLOCKS - 1);
	look_often(q, 4 * LOOKS);
	/* Of 30 MiB all that leaves 9, in blocks of 2. */
	assert_int_equal(stat_of(q).given_back, 20 * MIB);
	assert_int_equal(resident(q), 12 * MIB);
	unuse(q, block + BLOCKS - 1, 1);
	look_often(q, 4 * LOOKS);
	assert_int_equal(stat_of(q).given_back, 22 * MIB);
	/* Memory that somebody took counts no more. */
	use(q, block, 3, 0);
	look_often(q, 4 * LOOKS);
	assert_true(resident(q) >= 6 * MIB);
	unuse(q, block, 3);
	/* Who asks gets more. */
	assert_true(quire_give_back(q, UINT64_MAX) >= (int64_t)(10 * MIB));
	assert_int_equal(resident(q), 0);
	destroy(q);
}

static void test_floor_of_all(void **state)
{
	struct quire_options options = base_options(QUIRE_GIVE_FREE);
	struct quire *q;

	(void)state;
	options.give_floor = 40 * MIB;
	q = create(&options);
	use_and_free(q, BLOCKS);
	look_often(q, 2 * LOOKS);
	assert_int_equal(stat_of(q).given_back, 0);
	q->give.floor = 30 * MIB;
	look_often(q, 2 * LOOKS);
	/* What may be gone is not counted on. */
	assert_int_equal(stat_of(q).given_back, 2 * MIB);
	destroy(q);
}

/* --- refusals and failures --- */

static void refuses(struct quire *q, const char *call, int result,
		    const char *values)
{
	assert_int_equal(result, -1);
	assert_int_equal(errno, ENOTSUP);
	assert_int_equal(messages.count, 1);
	assert_told(&messages, call);
	assert_told(&messages, values);
	messages.count = 0;
	assert_int_equal(stat_of(q).given_back, 0);
}

/* What is used and free again stays, whoever asks. */
static void stays(struct quire *q, const char *values)
{
	char *block[BLOCKS];

	messages.count = 0;
	if (start_of(q)) {
		use(q, block, BLOCKS, 0);
		unuse(q, block, BLOCKS);
		look_often(q, LOOKS);
		assert_int_equal(resident(q), 32 * MIB);
	}
	errno = 0;
	refuses(q, "give_back:", (int)quire_give_back(q, UINT64_MAX), values);
	errno = 0;
	refuses(q, "collapse:", quire_collapse(q), values);
	destroy(q);
}

static void test_not_supported(void **state)
{
	struct quire_options options = base_options(QUIRE_GIVE_NONE);
	struct quire *q;

	(void)state;
	stays(create(&options), "backing base, way back 0: this memory");
	options.flags = QUIRE_PINNED;
	stays(create(&options), "backing base, way back 0");
	options.flags = QUIRE_MLOCK;
	q = quire_create(&options);
	if (q) {
		q->give.how = QUIRE_GIVE_DONTNEED;
		stays(q, "backing base, way back 1, locked");
	}
	options.flags = QUIRE_OFFSETS;
	options.backing[0] = QUIRE_BACKING_DEFAULT;
	q = create(&options);
	q->give.how = QUIRE_GIVE_DONTNEED;
	stays(q, "backing none, way back 1");
	/* Hugetlb pages are seldom to be had: this one only says so. */
	options = base_options(QUIRE_GIVE_DONTNEED);
	q = create(&options);
	q->arena.backing = QUIRE_BACKING_2M;
	stays(q, "backing 2m, way back 1");
	q = create(&options);
	q->arena.backing = QUIRE_BACKING_1G;
	stays(q, "backing 1g, way back 1");
}

static void test_contradictions(void **state)
{
	static const unsigned flags[] = { QUIRE_PINNED, QUIRE_MLOCK,
					  QUIRE_OFFSETS };

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(flags); i++) {
		struct quire_options options =
			base_options(QUIRE_GIVE_DONTNEED);
		char text[64];

		if (flags[i] == QUIRE_OFFSETS)
			options.backing[0] = QUIRE_BACKING_DEFAULT;
		options.flags = flags[i];
		messages.count = 0;
		errno = 0;
		assert_null(quire_create(&options));
		assert_int_equal(errno, EINVAL);
		snprintf(text, sizeof(text),
			 "give_back 1 with option flags 0x%x", flags[i]);
		assert_told(&messages, text);
	}
}

static void test_prefault(void **state)
{
	struct quire_options options = base_options(QUIRE_GIVE_DONTNEED);
	struct quire *q;

	(void)state;
	options.flags = QUIRE_PREFAULT;
	q = create(&options);
	/* Never handed out: what was asked for stays. */
	assert_int_equal(quire_give_back(q, UINT64_MAX), 0);
	assert_int_equal(resident(q), 32 * MIB);
	use_and_free(q, 3);
	assert_int_equal(quire_give_back(q, UINT64_MAX), 6 * MIB);
	assert_int_equal(resident(q), 26 * MIB);
	destroy(q);
}

static void test_failing(void **state)
{
	struct quire *q = create_base(QUIRE_GIVE_DONTNEED);

	(void)state;
	use_and_free(q, BLOCKS);
	fault_arm(FAULT_MADVISE, 0, 1000);
	assert_int_equal(quire_give_back(q, UINT64_MAX), 0);
	look_often(q, 2 * LOOKS);
	assert_int_equal(stat_of(q).given_back, 0);
	assert_int_equal(stat_of(q).pages_free, PAGES);
	assert_int_equal(resident(q), 32 * MIB);
	check_sound(q);
	fault_disarm_all();
	/* Who refused comes of age again. */
	look_often(q, LOOKS - 1);
	assert_int_equal(stat_of(q).given_back, 32 * MIB);
	assert_int_equal(resident(q), 0);
	destroy(q);
}

/* Of several system calls some fail; neighbours go with one. */
static void test_failing_in_part(void **state)
{
	struct quire *q = create_base(QUIRE_GIVE_DONTNEED);
	char *block[BLOCKS];

	(void)state;
	use(q, block, BLOCKS, 0);
	for (unsigned i = 0; i < BLOCKS; i++)
		block[i] = start_of(q) + i * BLOCK_BYTES;
	/* 0 to 3, 5, 7 to 15. */
	unuse(q, block, 4);
	unuse(q, block + 5, 1);
	unuse(q, block + 7, 9);
	fault_arm(FAULT_MADVISE, 1, 1000);
	assert_int_equal(quire_give_back(q, UINT64_MAX), 8 * MIB);
	assert_int_equal(stat_of(q).given_back, 8 * MIB);
	for (unsigned i = 0; i < BLOCKS; i++)
		assert_int_equal(is_resident(block[i]), i > 3);
	check_sound(q);
	/* The second of two, and then nothing fails. */
	fault_arm(FAULT_MADVISE, 1, 1);
	assert_int_equal(quire_give_back(q, UINT64_MAX), 20 * MIB);
	fault_disarm_all();
	assert_int_equal(resident(q), 4 * MIB);
	assert_int_equal(stat_of(q).given_back, 28 * MIB);
	unuse(q, block + 4, 1);
	unuse(q, block + 6, 1);
	destroy(q);
}

/* Blocks that refuse, the best of all: a page of each is locked. False: the
 * system does not let us. */
static bool lock_pages(struct quire *q, bool locked)
{
	static const unsigned at[] = { 0, 1, 7 };

	for (size_t i = 0; i < TEST_LENGTH(at); i++) {
		char *page = start_of(q) + at[i] * BLOCK_BYTES + 4096;

		/* A sanitizer's mlock() does nothing. */
		if (syscall(locked ? SYS_mlock : SYS_munlock, page, 4096) != 0)
			return false;
	}
	return true;
}

static bool is_locked(unsigned block)
{
	return block == 0 || block == 1 || block == 7;
}

static void test_refused_alone(void **state)
{
	struct quire *q = create_base(QUIRE_GIVE_DONTNEED);

	(void)state;
	use_and_free(q, BLOCKS);
	if (!lock_pages(q, true)) {
		destroy(q);
		skip();
	}
	/* However few are asked for. */
	assert_int_equal(quire_give_back(q, BLOCK_BYTES), BLOCK_BYTES);
	assert_int_equal(quire_give_back(q, 2 * BLOCK_BYTES), 2 * BLOCK_BYTES);
	assert_int_equal(quire_give_back(q, UINT64_MAX), 20 * MIB);
	for (unsigned i = 0; i < BLOCKS; i++)
		assert_int_equal(is_resident(start_of(q) + i * BLOCK_BYTES),
				 is_locked(i));
	assert_int_equal(quire_give_back(q, UINT64_MAX), 0);
	assert_int_equal(stat_of(q).given_back, 26 * MIB);
	assert_int_equal(stat_of(q).pages_free, PAGES);
	check_sound(q);
	assert_true(lock_pages(q, false));
	assert_int_equal(quire_give_back(q, UINT64_MAX), 6 * MIB);
	assert_int_equal(resident(q), 0);
	destroy(q);
}

/* A look asks them once, and then when they are old again. */
static void test_refused_come_last(void **state)
{
	struct quire *q = create_base(QUIRE_GIVE_DONTNEED);

	(void)state;
	use_and_free(q, BLOCKS);
	if (!lock_pages(q, true)) {
		destroy(q);
		skip();
	}
	look_often(q, LOOKS);
	assert_int_equal(stat_of(q).given_back, 26 * MIB);
	assert_true(lock_pages(q, false));
	look_often(q, LOOKS - 2);
	assert_int_equal(stat_of(q).given_back, 26 * MIB);
	look(q);
	assert_int_equal(stat_of(q).given_back, 32 * MIB);
	destroy(q);
	/* One block a look: they take nobody's turn. */
	q = create_rated(BLOCK_BYTES, 0);
	assert_true(lock_pages(q, true));
	for (unsigned i = 0; i < BLOCKS - 3; i++)
		assert_int_equal(given_after(q, 1000), BLOCK_BYTES);
	for (unsigned i = 0; i < 2 * LOOKS; i++)
		assert_int_equal(given_after(q, 1000), 0);
	assert_int_equal(stat_of(q).pages_free, PAGES);
	destroy(q);
}

/* --- others at work --- */

struct crew {
	struct quire *q;
	_Atomic bool stop;
	_Atomic uint64_t done;
	_Atomic unsigned failed;
	unsigned order;
	pthread_t thread[3];
	unsigned nr;
};

static void crew_start(struct crew *crew, struct quire *q, unsigned nr,
		       void *(*run)(void *))
{
	crew->q = q;
	crew->nr = nr;
	atomic_store(&crew->stop, false);
	atomic_store(&crew->done, 0);
	atomic_store(&crew->failed, 0);
	for (unsigned i = 0; i < nr; i++)
		assert_int_equal(
			pthread_create(&crew->thread[i], NULL, run, crew), 0);
}

static void crew_stop(struct crew *crew)
{
	atomic_store(&crew->stop, true);
	for (unsigned i = 0; i < crew->nr; i++)
		assert_int_equal(pthread_join(crew->thread[i], NULL), 0);
	assert_int_equal(atomic_load(&crew->failed), 0);
}

/* Half of the arena, in blocks of an order; then all of it back. */
static void *take_half(void *arg)
{
	struct crew *crew = arg;
	const unsigned n = PAGES / 2 >> crew->order;
	char **block = calloc(n, sizeof(*block));

	while (!atomic_load(&crew->stop)) {
		for (unsigned i = 0; i < n; i++) {
			block[i] = quire_alloc_addr(crew->q, crew->order,
						    i % 4 ? 0 : QUIRE_ZERO);
			if (!block[i] ||
			    (i % 4 == 0 && *(uint64_t *)(void *)block[i]))
				atomic_fetch_add(&crew->failed, 1);
			if (block[i])
				*(uint64_t *)(void *)block[i] = i + 1;
		}
		for (unsigned i = 0; i < n; i++) {
			if (!block[i])
				continue;
			if (*(uint64_t *)(void *)block[i] != i + 1)
				atomic_fetch_add(&crew->failed, 1);
			quire_free_addr(crew->q, block[i], crew->order);
		}
		atomic_fetch_add(&crew->done, 1);
	}
	free(block);
	return NULL;
}

static void exhaust(enum quire_give_back how, unsigned order)
{
	const uint64_t rounds = order ? 300 : 60;
	struct quire *q = create_base(how);
	struct crew crew = { .order = order };
	uint64_t sum = 0;

	crew_start(&crew, q, 2, take_half);
	while (atomic_load(&crew.done) < rounds || sum == 0) {
		int64_t bytes = quire_give_back(q, UINT64_MAX);

		assert_true(bytes >= 0);
		sum += (uint64_t)bytes;
	}
	crew_stop(&crew);
	assert_int_equal(stat_of(q).given_back, sum);
	assert_int_equal(stat_of(q).failures, 0);
	destroy(q);
}

static void test_no_false_failure(void **state)
{
	(void)state;
	exhaust(QUIRE_GIVE_DONTNEED, 9);
	exhaust(QUIRE_GIVE_FREE, 9);
	exhaust(QUIRE_GIVE_DONTNEED, 0);
}

static void *give_once(void *arg)
{
	struct crew *crew = arg;

	if (quire_give_back(crew->q, UINT64_MAX) != PAGES * QUIRE_PAGE_SIZE)
		atomic_fetch_add(&crew->failed, 1);
	atomic_store(&crew->done, 1);
	return NULL;
}

/* Who holds all, as before an allocation fails, has every block in its zone. */
static void test_not_while_held(void **state)
{
	struct quire *q = create_base(QUIRE_GIVE_DONTNEED);
	char *block[BLOCKS];
	struct crew crew;
	bool waited;

	(void)state;
	use(q, block, BLOCKS, 0);
	unuse(q, block, BLOCKS);
	assert_true(allocator_hold(q));
	crew_start(&crew, q, 1, give_once);
	/* 2: it sleeps on the lock. */
	while (atomic_load(&q->drain_lock.word) != 2 &&
	       !atomic_load(&crew.done))
		sched_yield();
	waited = !atomic_load(&crew.done) &&
		 zone_free_pages(q->zone[0]) == PAGES;
	allocator_release(q);
	crew_stop(&crew);
	assert_true(waited);
	destroy(q);
}

/* Every block goes back again and again. */
static void *give_all(void *arg)
{
	struct crew *crew = arg;

	while (!atomic_load(&crew->stop))
		if (quire_give_back(crew->q, UINT64_MAX) < 0)
			atomic_fetch_add(&crew->failed, 1);
	return NULL;
}

static void *wait_for_block(void *arg)
{
	return quire_alloc_pages_with(arg, 9, QUIRE_WAIT, NULL, 10000);
}

static void test_waiters(void **state)
{
	struct quire *q = create_base(QUIRE_GIVE_DONTNEED);
	char *block[BLOCKS];
	struct crew crew;

	(void)state;
	use(q, block, BLOCKS, 0);
	crew_start(&crew, q, 1, give_all);
	for (uint64_t i = 1; i <= 200; i++) {
		pthread_t thread;
		void *got;

		assert_int_equal(
			pthread_create(&thread, NULL, wait_for_block, q), 0);
		while (stat_of(q).waits < i)
			sched_yield();
		touch(block[0], BLOCK_BYTES, 1);
		assert_int_equal(quire_free_addr(q, block[0], 9), 0);
		assert_int_equal(pthread_join(thread, &got), 0);
		assert_non_null(got);
		assert_ptr_equal(quire_page_to_virt(q, got), block[0]);
	}
	crew_stop(&crew);
	assert_int_equal(stat_of(q).timeouts, 0);
	unuse(q, block, BLOCKS);
	destroy(q);
}

/* Looks, as fast as it can. */
static void *maintain(void *arg)
{
	struct crew *crew = arg;

	while (!atomic_load(&crew->stop)) {
		atomic_store(&crew->q->give.next_ms, 0);
		if (quire_maintain(crew->q) < 0)
			atomic_fetch_add(&crew->failed, 1);
		atomic_fetch_add(&crew->done, 1);
	}
	return NULL;
}

static void test_rate_of_many(void **state)
{
	const uint64_t rate = 64 * MIB;
	struct quire *q = create_rated(rate, 0);
	uint64_t start = platform_ms(), passed, given;
	struct crew crew;

	(void)state;
	pass(q, 0);
	crew_start(&crew, q, 3, maintain);
	/* There is always something to give. */
	while (atomic_load(&crew.done) < 2000 || platform_ms() < start + 300) {
		char *block = quire_alloc_addr(q, 13, 0);

		if (block)
			quire_free_addr(q, block, 13);
		nap_ms(2);
	}
	crew_stop(&crew);
	passed = platform_ms() - start + 10;
	given = stat_of(q).given_back;
	assert_true(given <= rate * passed / 1000 + BLOCK_BYTES);
	destroy(q);
}

/* --- hugepages again --- */

static size_t huge_kb(const char *addr)
{
	FILE *file = fopen("/proc/self/smaps", "r");
	bool inside = false;
	char line[512];
	uintptr_t from, to;
	size_t kb = 0;

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside =
				(uintptr_t)addr >= from && (uintptr_t)addr < to;
		else if (inside && !strncmp(line, "AnonHugePages:", 14))
			kb += strtoul(line + 14, NULL, 10);
	fclose(file);
	return kb;
}

/* NULL: no hugepages by request here. */
static struct quire *create_huge(char **block)
{
	struct quire_options options = base_options(QUIRE_GIVE_DONTNEED);
	struct quire *q;

	options.backing[0] = QUIRE_BACKING_THP;
	q = quire_create(&options);
	if (!q)
		return NULL;
	use(q, block, 8, 0);
	if (platform_collapse(block[0], BLOCK_BYTES) != 0) {
		unuse(q, block, 8);
		destroy(q);
		return NULL;
	}
	return q;
}

static void test_collapse(void **state)
{
	char *block[8];
	struct quire *q = create_huge(block);
	size_t before;

	(void)state;
	if (!q)
		skip();
	assert_int_equal(quire_collapse(q), 0);
	unuse(q, block, 8);
	assert_int_equal(quire_give_back(q, 5 * BLOCK_BYTES), 10 * MIB);
	/* Free ones are not asked for. */
	assert_int_equal(quire_collapse(q), 0);
	assert_int_equal(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0);
	use(q, block, 8, 0);
	assert_int_equal(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0), 0);
	before = huge_kb(start_of(q));
	/* One that fails is asked for again. */
	fault_arm(FAULT_MADVISE, 3, 1);
	assert_int_equal(quire_collapse(q), 4);
	fault_disarm_all();
	assert_int_equal(quire_collapse(q), 1);
	assert_int_equal(huge_kb(start_of(q)), before + 5 * 2048);
	assert_int_equal(quire_collapse(q), 0);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(block[i][4096 * 99], 7);
	unuse(q, block, 8);
	destroy(q);
}

/* Broken blocks that are all but full. */
static void test_collapse_broken(void **state)
{
	char *block[8], *page[PAGES + 1];
	struct quire *q = create_huge(block);
	unsigned n = 0;

	(void)state;
	if (!q)
		skip();
	unuse(q, block, 8);
	assert_int_equal(quire_give_back(q, UINT64_MAX), 16 * MIB);
	assert_int_equal(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0);
	while ((page[n] = quire_alloc_addr(q, 0, 0)))
		page[n++][0] = 1;
	assert_int_equal(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0), 0);
	assert_int_equal(n, PAGES);
	assert_int_equal(quire_collapse(q), 8);
	assert_int_equal(quire_collapse(q), 0);
	while (n--)
		quire_free_addr(q, page[n], 0);
	assert_int_equal(quire_drain_all(q), 0);
	destroy(q);
}

/* Blocks come and go while others ask for hugepages. */
static void test_collapse_under_load(void **state)
{
	char *block[8];
	struct quire *q = create_huge(block);
	struct crew crew = { .order = 9 };

	(void)state;
	if (!q)
		skip();
	unuse(q, block, 8);
	crew_start(&crew, q, 2, take_half);
	while (atomic_load(&crew.done) < 100) {
		assert_true(quire_give_back(q, 8 * MIB) >= 0);
		assert_true(quire_collapse(q) >= 0);
	}
	crew_stop(&crew);
	destroy(q);
}

/* --- fork --- */

static struct quire *forked;

static void use_in_child(void)
{
	_exit(!(quire_give_back(forked, UINT64_MAX) == -1 && errno == EPERM &&
		quire_collapse(forked) == -1 && errno == EPERM &&
		quire_maintain(forked) == -1 && errno == EPERM));
}

static void use_copy(void)
{
	char *block;
	bool ok;

	look_often(forked, LOOKS);
	ok = stat_of(forked).given_back == 28 * MIB;
	ok = ok && cleared(forked, &block) == 0;
	ok = ok && quire_free_addr(forked, block, 9) == 0;
	ok = ok && quire_validate(forked) == 0;
	_exit(!ok);
}

static void test_fork(void **state)
{
	struct quire_options options = base_options(QUIRE_GIVE_DONTNEED);
	char text[512], *block[BLOCKS];

	(void)state;
	options.flags = QUIRE_DONTFORK;
	forked = create(&options);
	use_and_free(forked, 4);
	assert_int_equal(test_in_child(use_in_child, text, sizeof(text)), 0);
	assert_int_equal(quire_give_back(forked, UINT64_MAX), 8 * MIB);
	destroy(forked);
	/* A copy gives back its own. */
	options.flags = 0;
	forked = create(&options);
	use(forked, block, BLOCKS, 0);
	unuse(forked, block, 14);
	assert_int_equal(test_in_child(use_copy, text, sizeof(text)), 0);
	assert_int_equal(resident(forked), 32 * MIB);
	assert_int_equal(stat_of(forked).given_back, 0);
	for (unsigned i = 0; i < BLOCKS; i++)
		assert_int_equal(block[i][8192], 7);
	unuse(forked, block + 14, 2);
	destroy(forked);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_resident_follows),
		CASE(test_not_before_its_time),
		CASE(test_young_stay),
		CASE(test_bytes),
		CASE(test_best_first),
		CASE(test_device_stays),
		CASE(test_never_used),
		CASE(test_dontneed),
		CASE(test_lazy),
		CASE(test_remove),
		CASE(test_private_file),
		CASE(test_odd_ends),
		CASE(test_rate),
		CASE(test_slow_rate),
		CASE(test_fast_rate),
		CASE(test_clock_goes_back),
		CASE(test_floor),
		CASE(test_floor_of_all),
		CASE(test_not_supported),
		CASE(test_contradictions),
		CASE(test_prefault),
		CASE(test_failing),
		CASE(test_failing_in_part),
		CASE(test_refused_alone),
		CASE(test_refused_come_last),
		CASE(test_no_false_failure),
		CASE(test_not_while_held),
		CASE(test_waiters),
		CASE(test_rate_of_many),
		CASE(test_collapse),
		CASE(test_collapse_broken),
		CASE(test_collapse_under_load),
		CASE(test_fork),
	};

	return cmocka_run_group_tests_name("give_back", tests, NULL, NULL) != 0;
}
