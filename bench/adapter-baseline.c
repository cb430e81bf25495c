/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * quire as it was at the baseline's commit. bench/baseline.sh compiles this
 * once for each way to be a CPU, -DBASELINE_WAY=rseq for example, against the
 * quire.h of that commit and today's quire/bench.h. It does what
 * adapter-quire.c did then, so that only the two libraries differ.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "quire/bench.h"
#include "quire/quire.h"

enum {
	rseq = QUIRE_WAY_RSEQ,
	trylock = QUIRE_WAY_TRYLOCK,
	bound = QUIRE_WAY_BOUND,
	way = BASELINE_WAY,
};

#define TEXT_OF(word) #word
#define NAME_OF(word) "baseline-" TEXT_OF(word)

static struct quire *quire;

/* Today's library exports the same names, and was loaded first. */
static int library_check(void)
{
	Dl_info info;

	if (dladdr((void *)(uintptr_t)quire_alloc_pages, &info) != 0 &&
	    strstr(info.dli_fname, "libquire-baseline.so"))
		return 0;
	fprintf(stderr, NAME_OF(BASELINE_WAY) ": calls another library\n");
	errno = ELIBACC;
	return -1;
}

static int init_with(unsigned flags, uint64_t bytes, unsigned threads)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;

	if (library_check() != 0)
		return -1;
	options.size = bytes;
	options.way = (enum quire_way)way;
	options.flags = flags;
	options.cpus = (int)way == (int)bound ? threads : 0;
	quire = quire_create(&options);
	return quire ? 0 : -1;
}

static int init(uint64_t bytes, unsigned threads)
{
	return init_with(0, bytes, threads);
}

static int init_timed(uint64_t bytes, unsigned threads)
{
	return init_with(QUIRE_LOCK_TIMES, bytes, threads);
}

static void fini(void)
{
	quire_destroy(quire);
	quire = NULL;
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

const struct quire_bench_adapter quire_bench_plugin = {
	.struct_size = sizeof(struct quire_bench_adapter),
	.name = NAME_OF(BASELINE_WAY),
	.flags = QUIRE_BENCH_BOUNDED | QUIRE_BENCH_CREATE,
	.max_order = QUIRE_BENCH_MAX_ORDER,
	.init = init,
	.fini = fini,
	.thread_init = (int)way == (int)bound ? bind : NULL,
	.thread_fini = (int)way == (int)bound ? unbind : NULL,
	.alloc = alloc,
	.free = free_block,
	.address = address,
	.drain = drain,
	.overhead = overhead,
	.parked = parked,
	.init_timed = (int)way == (int)rseq ? init_timed : NULL,
	.lock_holds = lock_holds,
};
