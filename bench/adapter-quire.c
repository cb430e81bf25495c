/* SPDX-License-Identifier: BSD-2-Clause */
/* quire, in each of its three ways to be a CPU, and on base pages. */
#include "adapters.h"

#include <sys/prctl.h>

#include "quire/quire.h"

static struct quire *quire;

static int init(struct quire_options *options, uint64_t bytes)
{
	options->size = bytes;
	quire = quire_create(options);
	return quire ? 0 : -1;
}

static int init_way(enum quire_way way, unsigned flags, uint64_t bytes,
		    unsigned cpus)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;

	options.way = way;
	options.flags = flags;
	options.cpus = cpus;
	return init(&options, bytes);
}

static int init_rseq(uint64_t bytes, unsigned threads)
{
	(void)threads;
	return init_way(QUIRE_WAY_RSEQ, 0, bytes, 0);
}

static int init_rseq_timed(uint64_t bytes, unsigned threads)
{
	(void)threads;
	return init_way(QUIRE_WAY_RSEQ, QUIRE_LOCK_TIMES, bytes, 0);
}

static int init_trylock(uint64_t bytes, unsigned threads)
{
	(void)threads;
	return init_way(QUIRE_WAY_TRYLOCK, 0, bytes, 0);
}

static int init_bound(uint64_t bytes, unsigned threads)
{
	return init_way(QUIRE_WAY_BOUND, 0, bytes, threads);
}

static void fini(void)
{
	quire_destroy(quire);
	quire = NULL;
}

/* Arena and tables without hugepages: tables ask for them on their own. */
static int init_base(uint64_t bytes, unsigned threads)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;

	(void)threads;
	options.backing[0] = QUIRE_BACKING_BASE;
	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0)
		return -1;
	if (init(&options, bytes) == 0)
		return 0;
	prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
	return -1;
}

static void fini_base(void)
{
	fini();
	prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
}

static int bind(unsigned n)
{
	return quire_cpu_bind(quire, n);
}

static void unbind(void)
{
	quire_cpu_unbind(quire);
}

static void *alloc(unsigned order)
{
	return quire_alloc_pages(quire, order, 0);
}

static void free_block(void *block, unsigned order)
{
	quire_free_pages(quire, block, order);
}

static void *address(void *block)
{
	return quire_page_to_virt(quire, block);
}

static void drain(void)
{
	quire_drain_all(quire);
}

static uint64_t overhead(void)
{
	struct quire_info info;

	return quire_info(quire, &info, sizeof(info)) == 0 ? info.table_bytes
							   : 0;
}

static uint64_t parked(void)
{
	struct quire_stat stat;

	return quire_stat(quire, &stat, sizeof(stat)) == 0 ? stat.pages_parked
							   : 0;
}

static int lock_holds(double *p999_ns, double *max_ns)
{
	struct quire_stat stat;

	if (quire_stat(quire, &stat, sizeof(stat)) != 0 ||
	    stat.zone_hold_max_ns == 0)
		return -1;
	*p999_ns = (double)stat.zone_hold_p999_ns;
	*max_ns = (double)stat.zone_hold_max_ns;
	return 0;
}

#define QUIRE_ADAPTER(way_name, ...)                                           \
	{                                                                      \
		.struct_size = sizeof(struct quire_bench_adapter),             \
		.name = "quire-" way_name,                                     \
		.flags = QUIRE_BENCH_BOUNDED | QUIRE_BENCH_CREATE,             \
		.max_order = QUIRE_BENCH_MAX_ORDER, .alloc = alloc,            \
		.free = free_block, .address = address, .drain = drain,        \
		.overhead = overhead, .parked = parked,                        \
		.lock_holds = lock_holds, __VA_ARGS__                          \
	}

const struct quire_bench_adapter adapter_quire_rseq = QUIRE_ADAPTER(
	"rseq", .init = init_rseq, .fini = fini, .init_timed = init_rseq_timed);

const struct quire_bench_adapter adapter_quire_trylock =
	QUIRE_ADAPTER("trylock", .init = init_trylock, .fini = fini);

const struct quire_bench_adapter adapter_quire_bound =
	QUIRE_ADAPTER("bound", .init = init_bound, .fini = fini,
		      .thread_init = bind, .thread_fini = unbind);

const struct quire_bench_adapter adapter_quire_base =
	QUIRE_ADAPTER("base", .init = init_base, .fini = fini_base);
