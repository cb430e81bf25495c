/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * DPDK's mempool: objects of one size, a cache of up to 512 per registered
 * thread, all others in a stack behind them.
 *
 * An object here stands for a page: 8 bytes, 32 with the mempool's header, the
 * k-th for the k-th page of memory beside them. Objects that were the pages
 * would have their headers between them, 4,160 bytes or more from one to the
 * next, aligned to a cache line only. A get and a put cost the same: neither
 * looks at the object. Both are inline, as DPDK's users have them.
 *
 * The default is a ring, not a stack. On two CPUs it is no faster; it hands out
 * the page that was free for longest, so that touch pays for faults in all of
 * memory, and takes many times as long where more threads than CPUs meet in it.
 */
#include "adapters.h"

#include <errno.h>
#include <stdio.h>

#define NAME "dpdk-mempool"

#ifdef HAVE_DPDK

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_malloc.h>
#include <rte_mempool.h>

enum {
	OBJECT = 8,
	FLAGS = RTE_MEMPOOL_F_NO_CACHE_ALIGN | RTE_MEMPOOL_F_NO_SPREAD |
		RTE_MEMPOOL_F_NO_IOVA_CONTIG,
};

static struct rte_mempool *pool;
static char *pages, *objects;
static size_t pages_size, objects_size;
static char *first_object;
static size_t page_per_object; /* 4096 to an object's size with header */
static uint64_t heap_before;

/*
 * No hugepages, devices or other processes. The heap's megabytes are addresses
 * until they are used: by a pool 8 bytes per page and one MiB for caches.
 */
static void *eal_start(void *result)
{
	char lcores[32];
	char *argv[] = { "quire-bench", "--no-huge",	  "--no-shconf",
			 "--no-pci",	"--no-telemetry", "--iova-mode=va",
			 "-m",		"1024",		  "--log-level=error",
			 "--lcores",	lcores,		  NULL };
	int argc = sizeof(argv) / sizeof(argv[0]) - 1;

	snprintf(lcores, sizeof(lcores), "0@%d", sched_getcpu());
	*(int *)result = 0;
	if (rte_eal_init(argc, argv) < 0)
		*(int *)result = rte_errno ? rte_errno : ENODEV;
	return NULL;
}

/*
 * Once per process, and in a thread of its own: EAL ties the thread that
 * starts it to a CPU.
 */
static int eal_init(void)
{
	static int result = -1;
	pthread_t thread;

	if (result >= 0)
		return result;
	if (pthread_create(&thread, NULL, eal_start, &result) != 0)
		return EAGAIN;
	pthread_join(thread, NULL);
	return result;
}

static uint64_t heap_used(void)
{
	struct rte_malloc_socket_stats stats;
	uint64_t used = 0;

	for (unsigned i = 0; i < rte_socket_count(); i++)
		if (rte_malloc_get_socket_stats(rte_socket_id_by_idx(i),
						&stats) == 0)
			used += stats.heap_allocsz_bytes;
	return used;
}

static char *map(size_t bytes)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* What stays is EAL's: its heap never shrinks without hugepages. */
static void fini(void)
{
	/* Looks at the objects once more. */
	rte_mempool_free(pool);
	if (objects)
		munmap(objects, objects_size);
	if (pages)
		munmap(pages, pages_size);
	pool = NULL;
	objects = NULL;
	pages = NULL;
}

/* 0, or an errno. */
static int pool_init(unsigned n, unsigned threads)
{
	/* Caches hold 1.5 times their size: no more than a tenth of all. */
	unsigned cache =
		RTE_MIN(n / 16 / threads, (unsigned)RTE_MEMPOOL_CACHE_MAX_SIZE);
	struct rte_mempool_objsz size;
	int populated;

	rte_mempool_calc_obj_size(OBJECT, FLAGS, &size);
	objects_size = (size_t)n * size.total_size;
	objects = map(objects_size);
	if (!objects)
		return ENOMEM;
	pool = rte_mempool_create_empty("quire-bench", n, OBJECT, cache, 0,
					SOCKET_ID_ANY, FLAGS);
	if (!pool)
		return rte_errno;
	populated = rte_mempool_set_ops_byname(pool, "stack", NULL);
	if (populated == 0)
		populated = rte_mempool_populate_iova(
			pool, objects, RTE_BAD_IOVA, objects_size, NULL, NULL);
	if (populated < 0)
		return -populated;
	first_object = objects + size.header_size;
	page_per_object = 4096 / size.total_size;
	if ((unsigned)populated != n || 4096 % size.total_size != 0)
		return ENOTSUP;
	return 0;
}

static int init(uint64_t bytes, unsigned threads)
{
	int error;

	/* One is EAL's own. */
	if (threads > RTE_MAX_LCORE - 1) {
		fprintf(stderr, "%s: threads that DPDK can register: %d\n",
			NAME, RTE_MAX_LCORE - 1);
		errno = EUSERS;
		return -1;
	}
	error = eal_init();
	if (error != 0) {
		errno = error;
		return -1;
	}
	heap_before = heap_used();
	pages_size = bytes;
	pages = map(pages_size);
	error = pages ? pool_init((unsigned)(bytes >> 12), threads) : ENOMEM;
	if (error != 0) {
		fini();
		errno = error;
		return -1;
	}
	/* As quire's arena is by default. */
	madvise(pages, pages_size, MADV_HUGEPAGE);
	return 0;
}

/* Only a registered thread has a cache. */
static int thread_init(unsigned n)
{
	(void)n;
	if (rte_thread_register() == 0)
		return 0;
	errno = rte_errno;
	return -1;
}

static void thread_fini(void)
{
	rte_mempool_cache_flush(NULL, pool);
	rte_thread_unregister();
}

static void *alloc(unsigned order)
{
	void *object;

	(void)order;
	if (__builtin_expect(rte_mempool_get(pool, &object) != 0, 0))
		return NULL;
	return object;
}

static void free_page(void *object, unsigned order)
{
	(void)order;
	rte_mempool_put(pool, object);
}

static void *address(void *object)
{
	return pages +
	       (size_t)((char *)object - first_object) * page_per_object;
}

static uint64_t overhead(void)
{
	return heap_used() - heap_before + objects_size;
}

const struct quire_bench_adapter adapter_dpdk_mempool = {
	.struct_size = sizeof(struct quire_bench_adapter),
	.name = NAME,
	.flags = QUIRE_BENCH_BOUNDED,
	.max_order = 0,
	.init = init,
	.fini = fini,
	.thread_init = thread_init,
	.thread_fini = thread_fini,
	.alloc = alloc,
	.free = free_page,
	.address = address,
	.overhead = overhead,
};

#else

static int init(uint64_t bytes, unsigned threads)
{
	(void)bytes;
	(void)threads;
	fprintf(stderr, "%s: configure found no libdpdk\n", NAME);
	errno = ENOENT;
	return -1;
}

/* Enough to be asked for and named. */
const struct quire_bench_adapter adapter_dpdk_mempool = {
	.struct_size = sizeof(struct quire_bench_adapter),
	.name = NAME,
	.flags = QUIRE_BENCH_BOUNDED,
	.max_order = 0,
	.init = init,
};

#endif
