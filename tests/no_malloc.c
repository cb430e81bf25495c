/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * After quire_create() the library calls no malloc, nor what belongs to one: a
 * malloc may stand on it. Every kind of call is made while malloc, calloc,
 * realloc, free and the aligned ones end the process.
 *
 * They are this program's own, and so serve libquire.so, liburcu and libc, too.
 * What glibc does to start a thread and to join it does not count: it keeps a
 * thread's variables in memory from calloc, whoever asked for the thread.
 *
 * A sanitizer has its own, and tells of them by hooks. There starts and ends of
 * threads cannot be told from the rest, so only the test's threads are watched.
 */
#include "testing.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <time.h>

#include "quire/debug.h"
#include "quire/quire.h"

#define MIB (UINT64_C(1) << 20)

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define HOOKS 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define HOOKS 1
#endif
#endif
#ifndef HOOKS
#define HOOKS 0
#endif

static _Atomic bool armed;
static __thread unsigned excused;
static __thread bool ours;

static void called(const char *name)
{
	static const char text[] = "called: ";

	if (!armed || excused || (HOOKS && !ours))
		return;
	armed = false;
	if (write(2, text, sizeof(text) - 1) < 0 ||
	    write(2, name, strlen(name)) < 0)
		_exit(2);
	abort();
}

#if HOOKS

int __sanitizer_install_malloc_and_free_hooks(
	void (*allocated)(const volatile void *block, size_t size),
	void (*freed)(const volatile void *block));

static void allocated(const volatile void *block, size_t size)
{
	(void)block, (void)size;
	called("malloc");
}

static void freed(const volatile void *block)
{
	if (block)
		called("free");
}

static bool install(void)
{
	return __sanitizer_install_malloc_and_free_hooks(allocated, freed) > 0;
}

#else

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *block);

void *malloc(size_t size)
{
	called("malloc");
	return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	called("calloc");
	return __libc_calloc(n, size);
}

void *realloc(void *block, size_t size)
{
	called("realloc");
	return __libc_realloc(block, size);
}

void *memalign(size_t align, size_t size)
{
	called("memalign");
	return __libc_memalign(align, size);
}

void *aligned_alloc(size_t align, size_t size)
{
	called("aligned_alloc");
	return __libc_memalign(align, size);
}

int posix_memalign(void **block, size_t align, size_t size)
{
	called("posix_memalign");
	*block = __libc_memalign(align, size);
	return *block ? 0 : ENOMEM;
}

void free(void *block)
{
	if (block)
		called("free");
	__libc_free(block);
}

/* The next one of that name. */
static void *real(const char *name)
{
	void *function = dlsym(RTLD_NEXT, name);

	if (!function)
		abort();
	return function;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr,
		   void *(*run)(void *arg), void *arg)
{
	int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *),
		      void *);
	int error;

	excused++;
	*(void **)&create = real("pthread_create");
	error = create(thread, attr, run, arg);
	excused--;
	return error;
}

int pthread_join(pthread_t thread, void **result)
{
	int (*join)(pthread_t, void **);
	int error;

	excused++;
	*(void **)&join = real("pthread_join");
	error = join(thread, result);
	excused--;
	return error;
}

static bool install(void)
{
	return true;
}

#endif

/* --- what is called --- */

/* cmocka allocates to tell of a failure. */
#define expect(condition)                                                      \
	do {                                                                   \
		if (!(condition)) {                                            \
			armed = false;                                         \
			fail_msg("%s", #condition);                            \
		}                                                              \
	} while (0)

static struct test_messages messages;

enum { PAGES = 16384, CPUS = 4 };

static struct quire *create(enum quire_way way, bool offsets)
{
	static const uint8_t distances[] = { 10, 20, 20, 10 };
	struct quire_options options = QUIRE_OPTIONS_INIT;
	struct quire *q;

	options.size = PAGES * QUIRE_PAGE_SIZE;
	options.flags = offsets ? QUIRE_OFFSETS : 0;
	options.way = way;
	options.cpus = CPUS;
	options.backing[0] = QUIRE_BACKING_BASE;
	options.nodes = 2;
	options.distances = distances;
	options.zone_size[QUIRE_ZONE_MOVABLE] = 8 * MIB;
	options.min_free = 4 * MIB;
	options.watermark_scale = 500;
	options.decay_ms = 5;
	options.give_back = offsets ? QUIRE_GIVE_NONE : QUIRE_GIVE_DONTNEED;
	options.give_delay_ms = 10;
	options.report = test_catch;
	options.report_arg = &messages;
	q = quire_create(&options);
	armed = q != NULL;
	return q;
}

static void destroy(struct quire *q)
{
	expect(quire_drain_all(q) == 0);
	expect(quire_validate(q) == 0);
	expect(quire_destroy(q) == 0);
	armed = false;
}

static void nap_ms(unsigned ms)
{
	const struct timespec nap = { .tv_nsec = ms * 1000000L };

	nanosleep(&nap, NULL);
}

static struct quire_page *held[PAGES];
static size_t nr_held;

static void fill(struct quire *q, unsigned flags)
{
	struct quire_page *page;

	while (nr_held < PAGES && (page = quire_alloc_pages(q, 0, flags)))
		held[nr_held++] = page;
}

static void release(struct quire *q, size_t n)
{
	for (; n && nr_held; n--)
		expect(quire_free_pages(q, held[--nr_held], 0) == 0);
}

static void use_pages(struct quire *q, bool offsets)
{
	struct quire_policy policy = { .mode = QUIRE_POLICY_INTERLEAVE,
				       .nodes = 3 };
	struct quire_page *pages[100], *page;
	void *addr;

	for (unsigned order = 0; order <= 10; order++) {
		page = quire_alloc_pages(q, order, QUIRE_MOVABLE);
		expect(page != NULL);
		expect(quire_page_get(q, page) == 0);
		expect(quire_page_put(q, page) == 0);
		expect(quire_free_pages(q, page, order) == 0);
		page = quire_alloc_pages_with(q, order, 0, &policy, 0);
		expect(page != NULL);
		expect(quire_free_pages_nolock(q, page, order) == 0);
	}
	expect(quire_alloc_pages_bulk(q, 0, 0, 100, pages) == 100);
	expect(quire_free_pages_bulk(q, 0, 100, pages) == 100);
	page = quire_alloc_exact(q, 700, 0);
	expect(page != NULL);
	expect(quire_free_exact(q, page, 700) == 0);
	if (offsets)
		return;
	addr = quire_alloc_addr(q, 3, QUIRE_ZERO);
	expect(addr != NULL);
	expect(quire_free_unsized(q, addr) == 0);
}

static void use_cpus(struct quire *q, enum quire_way way)
{
	if (way != QUIRE_WAY_BOUND) {
		expect(quire_cpu_bind(q, 0) == -1);
		return;
	}
	for (unsigned n = 0; n < CPUS; n++) {
		expect(quire_cpu_bind(q, n) == 0);
		use_pages(q, true);
		expect(quire_cpu_unbind(q) == 0);
	}
	expect(quire_cpu_bind(q, 1) == 0);
}

static void use_misuse(struct quire *q)
{
	struct quire_page *page = quire_alloc_pages(q, 4, 0);

	messages.count = 0;
	expect(quire_destroy(q) == -1);
	expect(quire_free_pages(q, page, 3) == -1);
	expect(quire_free_pages(q, page, 4) == 0);
	expect(quire_free_pages(q, page, 4) == -1);
	expect(quire_alloc_pages(q, 99, 0) == NULL);
	expect(messages.count >= 4);
}

static void use_shortage(struct quire *q)
{
	fill(q, 0);
	expect(quire_alloc_pages(q, 0, 0) == NULL);
	expect(quire_alloc_pages(q, 0, QUIRE_NOLOCK) == NULL);
	expect(quire_alloc_pages_with(q, 0, QUIRE_WAIT, NULL, 30) == NULL);
	expect(errno == ETIMEDOUT);
	fill(q, QUIRE_ATOMIC | QUIRE_HIGH);
	fill(q, QUIRE_MEMALLOC);
	release(q, PAGES);
}

static void use_upkeep(struct quire *q)
{
	static const uint8_t distances[] = { 10, 40, 40, 10 };
	uint64_t runs[QUIRE_NR_ORDERS];
	struct quire_zone_info zone;
	struct quire_stat stat;
	struct quire_info info;

	expect(quire_set_distances(q, distances) == 0);
	expect(quire_distance(q, 0, 1) == 40);
	expect(quire_this_node(q) >= 0);
	expect(quire_drain_all(q) == 0);
	for (int i = 0; i < 5; i++) {
		nap_ms(6);
		expect(quire_maintain(q) >= 0);
	}
	(void)quire_give_back(q, UINT64_MAX);
	(void)quire_collapse(q);
	expect(quire_set_mobility(q, 4096, 512, QUIRE_TYPE_ISOLATED) == 0);
	expect(quire_set_mobility(q, 4096, 512, QUIRE_TYPE_MOVABLE) == 0);
	expect(quire_stat(q, &stat, sizeof(stat)) == 0);
	expect(quire_info(q, &info, sizeof(info)) == 0);
	expect(quire_zone_info(q, 0, &zone, sizeof(zone)) == 0);
	expect(quire_free_runs(q, runs) == 0);
	expect(quire_validate(q) == 0);
}

static uint64_t held_count(struct quire_shrinker *shrinker,
			   const struct quire_shrink *want)
{
	(void)shrinker, (void)want;
	return nr_held;
}

static uint64_t held_scan(struct quire_shrinker *shrinker,
			  const struct quire_shrink *want, uint64_t pages)
{
	uint64_t done = 0;

	(void)shrinker;
	for (; done < pages && nr_held; done++)
		quire_free_pages(want->q, held[--nr_held], 0);
	return done;
}

/* More of them than one chunk of small memory has entries. */
static void use_shrinkers(struct quire *q)
{
	enum { NR = 1500 };
	static struct quire_shrinker shrinkers[NR];
	struct quire_page *page;

	fill(q, 0);
	expect(nr_held > 0);
	for (int i = 0; i < NR; i++) {
		shrinkers[i] = (struct quire_shrinker){ .count = held_count,
							.scan = held_scan };
		expect(quire_shrinker_register(q, &shrinkers[i]) == 0);
	}
	page = quire_alloc_pages(q, 0, 0);
	expect(page != NULL);
	expect(quire_free_pages(q, page, 0) == 0);
	expect(quire_reclaim(q, 0, 10) > 0);
	expect(quire_maintain(q) >= 0);
	for (int i = 1; i < NR; i++)
		expect(quire_shrinker_unregister(q, &shrinkers[i]) == 0);
	release(q, PAGES);
	for (int i = 0; i < 3; i++) {
		excused += HOOKS;
		expect(quire_reclaim_start(q) == 0);
		excused -= HOOKS;
		expect(quire_reclaim_start(q) == -1);
		nap_ms(20);
		excused += HOOKS;
		expect(quire_reclaim_stop(q) == 0);
		excused -= HOOKS;
	}
	/* The rest is left to quire_destroy(). */
}

static void use_pools(struct quire *q)
{
	static const unsigned sizes[] = { 1, 100, 2000 };
	struct quire_mempool *pools[TEST_LENGTH(sizes)];
	struct quire_page *page;

	for (size_t i = 0; i < TEST_LENGTH(sizes); i++) {
		pools[i] = quire_mempool_create(q, 0, 0, sizes[i]);
		expect(pools[i] != NULL);
	}
	fill(q, 0);
	page = quire_mempool_alloc(pools[0], 0, 0);
	expect(page != NULL);
	expect(quire_mempool_alloc(pools[0], QUIRE_WAIT, 30) == NULL);
	expect(errno == ETIMEDOUT);
	expect(quire_mempool_destroy(pools[0]) == -1);
	expect(quire_mempool_free(pools[0], page) == 0);
	expect(quire_mempool_free(pools[0], page) == -1);
	release(q, PAGES);
	for (size_t i = 0; i < TEST_LENGTH(sizes); i++)
		expect(quire_mempool_destroy(pools[i]) == 0);
}

/* A thread's first calls, its first walk of the shrinkers among them. */
static void *use_from_thread(void *arg)
{
	struct quire *q = arg;

	ours = true;
	use_pages(q, true);
	(void)quire_reclaim(q, 0, 1);
	ours = false;
	return NULL;
}

static void use_threads(struct quire *q)
{
	pthread_t thread;

	excused += HOOKS;
	expect(pthread_create(&thread, NULL, use_from_thread, q) == 0);
	pthread_join(thread, NULL);
	excused -= HOOKS;
}

static void expect_status(pid_t pid, int wanted)
{
	int status;

	expect(pid > 0);
	expect(waitpid(pid, &status, 0) == pid);
	expect(WIFEXITED(status));
	expect(WEXITSTATUS(status) == wanted);
}

/* A child goes on in the same way, or is refused and gives up the tables. */
static void use_child(struct quire *q, bool offsets)
{
	struct quire_mempool *pool;
	pid_t pid;

	excused++;
	pid = fork();
	excused--;
	if (pid == 0) {
		pool = quire_mempool_create(q, 0, 0, 10);
		if (offsets)
			_exit(pool || quire_destroy(q) != 0);
		use_pages(q, false);
		_exit(!pool || quire_mempool_destroy(pool) != 0 ||
		      quire_maintain(q) < 0);
	}
	expect_status(pid, 0);
}

static void use_all(enum quire_way way, bool offsets)
{
	struct quire *q = create(way, offsets);

	if (!q)
		return;
	use_pages(q, offsets);
	use_cpus(q, way);
	use_misuse(q);
	use_upkeep(q);
	use_shortage(q);
	use_pools(q);
	use_shrinkers(q);
	use_threads(q);
	use_child(q, offsets);
	use_pages(q, offsets);
	destroy(q);
}

/* --- tests --- */

static int setup(void **state)
{
	(void)state;
	armed = false;
	return test_begin(&messages);
}

static int teardown(void **state)
{
	(void)state;
	armed = false;
	quire_debug_faults(0, 0);
	return 0;
}

static void test_ways(void **state)
{
	(void)state;
	for (int way = QUIRE_WAY_RSEQ; way <= QUIRE_WAY_BOUND; way++)
		use_all((enum quire_way)way, false);
}

static void test_offsets(void **state)
{
	(void)state;
	use_all(QUIRE_WAY_DEFAULT, true);
}

/* Failures of the system, drawn at random: neither do they. */
static void test_failures(void **state)
{
	static struct quire_shrinker shrinker = { .count = held_count,
						  .scan = held_scan };

	(void)state;
	for (uint64_t seed = 1; seed < 50; seed++) {
		struct quire *q = create(QUIRE_WAY_DEFAULT, false);
		struct quire_mempool *pool;

		quire_debug_faults(2, seed);
		pool = quire_mempool_create(q, 0, 0, 2000);
		if (quire_shrinker_register(q, &shrinker) == 0)
			(void)quire_reclaim(q, 0, 10);
		(void)quire_maintain(q);
		(void)quire_drain_all(q);
		quire_debug_faults(0, 0);
		if (pool)
			expect(quire_mempool_destroy(pool) == 0);
		destroy(q);
	}
}

/* --- the test can fail --- */

static void *(*volatile any_malloc)(size_t) = malloc;
static void (*volatile any_free)(void *) = free;

static void no_core(void)
{
	const struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
}

static void plant_malloc(void)
{
	no_core();
	armed = true;
	_exit(any_malloc(64) == NULL);
}

static void plant_free(void)
{
	void *block = any_malloc(64);

	no_core();
	armed = true;
	any_free(block);
}

static void plant_while_used(void)
{
	struct quire *q = create(QUIRE_WAY_DEFAULT, false);

	no_core();
	use_pages(q, false);
	_exit(any_malloc(64) == NULL);
}

static void test_planted(void **state)
{
	static const struct {
		void (*body)(void);
		const char *text;
	} planted[] = { { plant_malloc, "called: malloc" },
			{ plant_free, "called: free" },
			{ plant_while_used, "called: malloc" } };
	char text[4096];

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(planted); i++) {
		int status = test_in_child(planted[i].body, text, sizeof(text));

		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), SIGABRT);
		assert_non_null(strstr(text, planted[i].text));
	}
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_ways),
		CASE(test_offsets),
		CASE(test_failures),
		CASE(test_planted),
	};

	ours = true;
	if (!install())
		return 99;
	return cmocka_run_group_tests_name("no_malloc", tests, NULL, NULL);
}
