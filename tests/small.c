/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Small memory: every size is aligned, zeroed and nobody else's, what was freed
 * is used again, failures leave nothing behind, and an allocator takes all of
 * it along.
 */
#include "testing.h"

#include <errno.h>
#include <stdatomic.h>

#include "instance/allocator.h"
#include "platform/fault.h"
#include "quire/quire.h"
#include "service/small.h"

enum { LARGEST_CLASS = 4096, CHUNK = 64 << 10 };

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

static struct quire *create(void)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;
	struct quire *q;

	options.size = 2 << 20;
	options.report = test_catch;
	options.report_arg = &messages;
	q = quire_create(&options);
	assert_non_null(q);
	return q;
}

static unsigned chunks_of(const struct quire *q)
{
	char *chunk = (char *)q->small.chunks;
	unsigned n = 0;

	/* A chunk begins with the next one's address. */
	for (; chunk; chunk = *(char **)chunk)
		n++;
	return n;
}

static bool reads_as(const unsigned char *block, size_t size,
		     unsigned char value)
{
	for (size_t i = 0; i < size; i++)
		if (block[i] != value)
			return false;
	return true;
}

/* All sizes at once, each filled with a value of its own. */
static void test_sizes(void **state)
{
	enum { NR = 6000 };
	static unsigned char *blocks[NR];
	struct quire *q = create();

	(void)state;
	assert_int_equal(chunks_of(q), 0);
	for (int turn = 0; turn < 2; turn++) {
		for (size_t size = 1; size < NR; size++) {
			unsigned char *block = small_alloc(q, size);

			assert_non_null(block);
			assert_int_equal((uintptr_t)block % 64, 0);
			assert_true(reads_as(block, size, 0));
			memset(block, (int)(size % 255 + 1), size);
			blocks[size] = block;
		}
		for (size_t size = 1; size < NR; size++) {
			assert_true(reads_as(blocks[size], size,
					     (unsigned char)(size % 255 + 1)));
			small_free(q, blocks[size], size);
		}
	}
	assert_int_equal(quire_destroy(q), 0);
}

static void test_reuse(void **state)
{
	struct quire *q = create();

	(void)state;
	for (size_t size = 1; size <= LARGEST_CLASS; size *= 2) {
		char *a = small_alloc(q, size), *b = small_alloc(q, size);

		assert_ptr_not_equal(a, b);
		small_free(q, a, size);
		small_free(q, b, size);
		/* The last freed, by all that are as large. */
		assert_ptr_equal(small_alloc(q, size), b);
		assert_ptr_equal(small_alloc(q, size < 64 ? 64 : size), a);
		small_free(q, a, size);
		small_free(q, b, size);
	}
	assert_int_equal(chunks_of(q), 1);
	/* Coming and going needs no more than one does. */
	for (int i = 0; i < 10000; i++)
		small_free(q, small_alloc(q, 4096), 4096);
	assert_int_equal(chunks_of(q), 1);
	assert_int_equal(quire_destroy(q), 0);
}

/* Chunks of their own, which go at once. */
static void test_large(void **state)
{
	static const size_t sizes[] = { LARGEST_CLASS + 1, CHUNK - 64,
					CHUNK - 63, CHUNK, 5 << 20 };
	struct quire *q = create();
	unsigned char *blocks[TEST_LENGTH(sizes)];

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(sizes); i++) {
		blocks[i] = small_alloc(q, sizes[i]);
		assert_non_null(blocks[i]);
		assert_int_equal((uintptr_t)blocks[i] % 64, 0);
		assert_true(reads_as(blocks[i], sizes[i], 0));
		memset(blocks[i], 0xff, sizes[i]);
		assert_int_equal(chunks_of(q), i + 1);
	}
	/* From the middle of the list, its end and its start. */
	small_free(q, blocks[2], sizes[2]);
	small_free(q, blocks[0], sizes[0]);
	small_free(q, blocks[4], sizes[4]);
	assert_int_equal(chunks_of(q), 2);
	assert_true(reads_as(blocks[1], sizes[1], 0xff));
	assert_true(reads_as(blocks[3], sizes[3], 0xff));
	assert_null(small_alloc(q, SIZE_MAX));
	assert_int_equal(errno, ENOMEM);
	assert_null(small_alloc(q, SIZE_MAX / 2));
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(chunks_of(q), 2);
	assert_int_equal(quire_destroy(q), 0);
}

/* The service's own failure, the chunk's address range, its backing. */
static void test_no_memory(void **state)
{
	static const struct {
		enum fault_point point;
		int skip;
	} faults_at[] = { { FAULT_SERVICE, 0 },
			  { FAULT_MAP, 0 },
			  { FAULT_MAP, 1 } };
	static char before[TEST_MAPS_MAX], after[TEST_MAPS_MAX];
	struct quire *q = create();

	(void)state;
	test_read_maps(before);
	for (size_t i = 0; i < TEST_LENGTH(faults_at); i++)
		for (size_t size = 64; size <= CHUNK; size *= CHUNK / 64) {
			fault_arm(faults_at[i].point, faults_at[i].skip, 1);
			errno = 0;
			assert_null(small_alloc(q, size));
			assert_int_equal(errno, ENOMEM);
			fault_disarm_all();
			test_read_maps(after);
			if (!TEST_SANITIZED)
				assert_string_equal(before, after);
		}
	/* A failure changes nothing for the next call. */
	assert_non_null(small_alloc(q, 64));
	assert_int_equal(chunks_of(q), 1);
	/* While there are pieces nothing is mapped. */
	fault_arm(FAULT_MAP, 0, INT64_MAX);
	for (size_t left = CHUNK - 2 * 64; left >= 64; left -= 64)
		assert_non_null(small_alloc(q, 1));
	assert_null(small_alloc(q, 1));
	fault_disarm_all();
	assert_int_equal(quire_destroy(q), 0);
}

/* Whatever was not freed, and allocators apart. */
static void test_destroy(void **state)
{
	static char before[TEST_MAPS_MAX], after[TEST_MAPS_MAX];
	struct quire *q, *other = create();
	unsigned char *kept = small_alloc(other, 100);

	(void)state;
	memset(kept, 0x5a, 100);
	test_read_maps(before);
	q = create();
	for (size_t size = 1; size <= 1 << 20; size += size / 3 + 1)
		assert_non_null(small_alloc(q, size));
	assert_true(chunks_of(q) > 2);
	assert_int_equal(chunks_of(other), 1);
	assert_int_equal(quire_destroy(q), 0);
	test_read_maps(after);
	if (!TEST_SANITIZED)
		assert_string_equal(before, after);
	assert_true(reads_as(kept, 100, 0x5a));
	small_free(other, kept, 100);
	assert_int_equal(quire_destroy(other), 0);
}

/* --- threads and forks --- */

struct storm {
	struct quire *q;
	_Atomic bool stop;
	_Atomic uint64_t wrong, turns;
};

static void *come_and_go(void *arg)
{
	enum { KEPT = 32 };
	struct storm *s = arg;
	unsigned char mark = (unsigned char)(1 + s->turns++);
	unsigned char *blocks[KEPT] = { NULL };

	for (size_t i = 0; !s->stop; i++) {
		size_t at = i * 7 % KEPT, size = at < 30 ? at * 50 + 1 : 5000;

		if (!blocks[at]) {
			blocks[at] = small_alloc(s->q, size);
			if (blocks[at])
				memset(blocks[at], mark, size);
			else
				s->wrong++;
			continue;
		}
		if (!reads_as(blocks[at], size, mark))
			s->wrong++;
		small_free(s->q, blocks[at], size);
		blocks[at] = NULL;
		s->turns++;
	}
	return NULL;
}

/* A child finds the lock free and all in order, and may use it. */
static void test_storm(void **state)
{
	struct storm s = { .q = create() };
	pthread_t threads[3];

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(threads); i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, come_and_go, &s), 0);
	for (int i = 0; i < 30 || s.turns < 1000; i++) {
		pid_t pid = fork();
		int status;

		if (pid == 0) {
			unsigned char *a = small_alloc(s.q, 200);
			unsigned char *b = small_alloc(s.q, 20000);

			if (!a || !b || !reads_as(a, 200, 0))
				_exit(1);
			small_free(s.q, a, 200);
			small_free(s.q, b, 20000);
			/* What the threads had is the child's to leave. */
			_exit(quire_destroy(s.q) == 0 ? 0 : 2);
		}
		assert_true(pid > 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
	}
	s.stop = true;
	for (size_t i = 0; i < TEST_LENGTH(threads); i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(s.wrong, 0);
	assert_int_equal(quire_destroy(s.q), 0);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_sizes),     CASE(test_reuse),	  CASE(test_large),
		CASE(test_no_memory), CASE(test_destroy), CASE(test_storm),
	};

	return cmocka_run_group_tests_name("small", tests, NULL, NULL);
}
