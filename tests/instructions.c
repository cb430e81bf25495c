/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The counted program of tests/instructions.sh: a workload, prepared, then so
 * many operations of it.
 *
 *	instructions WORKLOAD OPS [EXTRA]	EXTRA: instructions planted
 *	instructions list			each workload and its operations
 *	instructions build			what it was built by, and for
 *
 * The script runs it twice, with no operations and with many. All the rest is
 * the same in both, so the difference is what the operations cost: nothing has
 * to be told apart, and it comes out the same to the instruction.
 *
 * valgrind has no rseq, and its threads change CPUs. So the sequences run over
 * a pretend area that says CPU 0, as in tests/rseq.c; and what the library asks
 * of glibc, whether threads are registered, the CPU's number and the time, is
 * answered here. The clock stands still: nothing happens at times of its own.
 * There is one thread, so no sequence is interrupted by another. membarrier is
 * real.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/report.h"
#include "instance/allocator.h"
#include "platform/rseq.h"

#if !QUIRE_HAVE_RSEQ

int main(void)
{
	puts("1..0 # SKIP no rseq for this CPU or libc");
	return 0;
}

#else

#include <linux/membarrier.h>
#include <sched.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The linker takes these before glibc's. */
const unsigned int __rseq_size = sizeof(struct rseq);

int sched_getcpu(void)
{
	return 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	(void)clock;
	*now = (struct timespec){ .tv_sec = 1 };
	return 0;
}

static _Thread_local volatile struct {
	uint32_t start, cpu;
	uint64_t descriptor;
	uint64_t rest[2];
} __attribute__((aligned(32))) area;

static void pretend(void)
{
#if defined(__x86_64__)
	uintptr_t pointer;

	__asm__("movq %%fs:0, %0" : "=r"(pointer));
#else
	uintptr_t pointer = (uintptr_t)__builtin_thread_pointer();
#endif
	rseq_area = (ptrdiff_t)((uintptr_t)&area - pointer);
}

enum {
	CPUS = 2,
	GIB = 1 << 18, /* pages */
	/* Nine tenths of a GiB: 2 MiB blocks, and pages. */
	BULK_2M = GIB / 512 / 10 * 9,
	BULK = BULK_2M * 512,
	CALL = 64,		/* pages of a bulk call */
	MIXED_SLOTS = 1 << 16,	/* blocks */
	MIXED_ORDERS = 1 << 10, /* what an order is drawn from */
	WARM = 1 << 15,
	STEPS = WARM + (1 << 16),
	PAIRS = 20000,
};

struct workload {
	const char *name;
	void (*warm)(void);
	void (*work)(uint32_t n);
	uint32_t ops;	    /* counted */
	uint32_t pages;	    /* of the arena */
	enum quire_way way; /* default: rseq */
	unsigned order;	    /* of each allocation */
	unsigned nodes;	    /* default: one */
};

/* The next operation of refill and mixed; drawn before it is counted. */
struct step {
	uint32_t slot, order;
};

static struct quire *q;
static void *held[BULK];
static uint8_t orders[BULK];
static struct step steps[STEPS];
static const struct step *next_step = steps;
static const struct workload *workload;

_Static_assert((int)MIXED_SLOTS <= (int)BULK && GIB / 2 <= (int)BULK &&
		       BULK % CALL == 0,
	       "held[] holds all, in whole calls");

static void fail(const char *what)
{
	perror(what);
	exit(2);
}

static enum quire_way way(void)
{
	return workload->way ? workload->way : QUIRE_WAY_RSEQ;
}

static void create(void)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;

	pretend();
	/* What is done by the clock is not to be counted. */
	options.decay_ms = UINT32_MAX;
	options.size = (uint64_t)workload->pages << QUIRE_PAGE_SHIFT;
	options.way = way();
	options.backing[0] = QUIRE_BACKING_BASE;
	options.cpus = CPUS;
	options.nodes = workload->nodes;
	q = quire_create(&options);
	if (!q)
		fail("quire_create");
	if (way() == QUIRE_WAY_BOUND && quire_cpu_bind(q, 0) != 0)
		fail("quire_cpu_bind");
}

/* splitmix64, as in testing.h. */
static uint32_t below(uint32_t n)
{
	static uint64_t state = 1;
	uint64_t z = state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return (uint32_t)((z ^ (z >> 31)) % n);
}

/* --- what is counted --- */

static void pair(uint32_t n)
{
	while (n--)
		quire_free_pages(q, quire_alloc_pages(q, 0, 0), 0);
}

static void pair_movable(uint32_t n)
{
	while (n--)
		quire_free_pages(q, quire_alloc_pages(q, 0, QUIRE_MOVABLE), 0);
}

static void pair_addr(uint32_t n)
{
	while (n--)
		quire_free_addr(q, quire_alloc_addr(q, 0, 0), 0);
}

static void pair_nolock(uint32_t n)
{
	while (n--)
		quire_free_pages_nolock(
			q, quire_alloc_pages(q, 0, QUIRE_NOLOCK), 0);
}

static void pair_order(uint32_t n)
{
	const unsigned order = workload->order;

	while (n--)
		quire_free_pages(q, quire_alloc_pages(q, order, 0), order);
}

static void take(uint32_t n)
{
	for (void **page = held; n; n--)
		*page++ = quire_alloc_pages(q, 0, 0);
}

static void give(uint32_t n)
{
	for (void **page = held; n; n--)
		quire_free_pages(q, *page++, 0);
}

static void take_addr(uint32_t n)
{
	for (void **addr = held; n; n--)
		*addr++ = quire_alloc_addr(q, 0, 0);
}

static void give_addr(uint32_t n)
{
	for (void **addr = held; n; n--)
		quire_free_addr(q, *addr++, 0);
}

static void take_order(uint32_t n)
{
	const unsigned order = workload->order;

	for (void **page = held; n; n--)
		*page++ = quire_alloc_pages(q, order, 0);
}

static void give_order(uint32_t n)
{
	const unsigned order = workload->order;

	for (void **page = held; n; n--)
		quire_free_pages(q, *page++, order);
}

static void take_by_call(uint32_t n)
{
	for (uint32_t i = 0; i < n; i += CALL)
		quire_alloc_pages_bulk(q, 0, 0, CALL,
				       (struct quire_page **)&held[i]);
}

static void give_by_call(uint32_t n)
{
	for (uint32_t i = 0; i < n; i += CALL)
		quire_free_pages_bulk(q, 0, CALL,
				      (struct quire_page **)&held[i]);
}

static void replace(uint32_t n)
{
	for (const struct step *end = next_step + n; next_step < end;) {
		const struct step step = *next_step++;

		quire_free_pages(q, held[step.slot], orders[step.slot]);
		orders[step.slot] = (uint8_t)step.order;
		held[step.slot] = quire_alloc_pages(q, step.order, 0);
	}
}

/* --- and what comes before --- */

static void warm_pair(void)
{
	create();
	pair(1000);
	workload->work(1000);
}

/* Once all through: afterwards no page is touched for the first time. */
static void warm_bulk(void)
{
	create();
	take_order(workload->ops);
	give_order(workload->ops);
}

static void warm_full(void)
{
	warm_bulk();
	take_order(workload->ops);
}

static void warm_full_addr(void)
{
	warm_bulk();
	take_addr(workload->ops);
}

static void shuffle(void)
{
	for (uint32_t i = workload->ops; i > 1; i--) {
		uint32_t j = below(i);
		void *block = held[i - 1];

		held[i - 1] = held[j];
		held[j] = block;
	}
}

static void warm_shuffled(void)
{
	warm_full();
	shuffle();
}

static void warm_shuffled_addr(void)
{
	warm_full_addr();
	shuffle();
}

static void warm_refill(void)
{
	create();
	take(GIB / 2);
	for (uint32_t i = 0; i < STEPS; i++)
		steps[i].slot = below(GIB / 2);
	replace(WARM);
}

/* bench/workload-slots.c's: 80 % order 0, 15 % 1 to 3, 5 % 4 to 9. */
static uint32_t mixed_order(void)
{
	uint32_t i = below(MIXED_ORDERS), percent = i * 100 / MIXED_ORDERS;

	return percent < 80 ? 0 : percent < 95 ? 1 + i % 3 : 4 + i % 6;
}

static void warm_mixed(void)
{
	create();
	for (uint32_t i = 0; i < MIXED_SLOTS; i++) {
		orders[i] = (uint8_t)mixed_order();
		held[i] = quire_alloc_pages(q, orders[i], 0);
	}
	for (uint32_t i = 0; i < STEPS; i++)
		steps[i] = (struct step){ below(MIXED_SLOTS), mixed_order() };
	replace(WARM);
}

/* A name means the same work for good: other work has another name. */
static const struct workload workloads[] = {
	{ "pair", warm_pair, pair, PAIRS, .pages = GIB },
	{ "pair-addr", warm_pair, pair_addr, PAIRS, .pages = GIB },
	{ "pair-movable", warm_pair, pair_movable, PAIRS, .pages = GIB },
	{ "pair-nolock", warm_pair, pair_nolock, PAIRS, .pages = GIB },
	{ "pair-nodes", warm_pair, pair, PAIRS, .pages = GIB, .nodes = 2 },
	{ "pair-trylock", warm_pair, pair, PAIRS, .pages = GIB,
	  .way = QUIRE_WAY_TRYLOCK },
	{ "pair-bound", warm_pair, pair, PAIRS, .pages = GIB,
	  .way = QUIRE_WAY_BOUND },
	{ "pair-2m", warm_pair, pair_order, PAIRS, .pages = 4 * GIB,
	  .order = 9 },
	/* An arena too small for a list of this order. */
	{ "pair-small", warm_pair, pair_order, PAIRS, .pages = GIB / 16,
	  .order = 6 },
	{ "bulk-alloc", warm_bulk, take, BULK, .pages = GIB },
	{ "bulk-free", warm_full, give, BULK, .pages = GIB },
	{ "random-free", warm_shuffled, give, BULK, .pages = GIB },
	{ "bulk-alloc-addr", warm_bulk, take_addr, BULK, .pages = GIB },
	{ "bulk-free-addr", warm_full_addr, give_addr, BULK, .pages = GIB },
	{ "random-free-addr", warm_shuffled_addr, give_addr, BULK,
	  .pages = GIB },
	{ "bulk-alloc-2m", warm_bulk, take_order, 4 * BULK_2M, .pages = 4 * GIB,
	  .order = 9 },
	{ "bulk-free-2m", warm_full, give_order, 4 * BULK_2M, .pages = 4 * GIB,
	  .order = 9 },
	{ "bulk-alloc-trylock", warm_bulk, take, BULK, .pages = GIB,
	  .way = QUIRE_WAY_TRYLOCK },
	{ "bulk-free-trylock", warm_full, give, BULK, .pages = GIB,
	  .way = QUIRE_WAY_TRYLOCK },
	{ "bulk-alloc-nodes", warm_bulk, take, BULK / 2, .pages = GIB,
	  .nodes = 2 },
	{ "bulk-free-nodes", warm_full, give, BULK / 2, .pages = GIB,
	  .nodes = 2 },
	{ "call-alloc", warm_bulk, take_by_call, BULK, .pages = GIB },
	{ "call-free", warm_full, give_by_call, BULK, .pages = GIB },
	/* Lists of two: nearly each allocation finds an empty one. */
	{ "miss", warm_bulk, take_order, BULK_2M, .pages = GIB, .order = 9 },
	{ "refill", warm_refill, replace, STEPS - WARM, .pages = GIB },
	{ "mixed", warm_mixed, replace, STEPS - WARM, .pages = 4 * GIB },
	{ "mixed-nodes", warm_mixed, replace, STEPS - WARM, .pages = 4 * GIB,
	  .nodes = 2 },
};

enum { NR_WORKLOADS = sizeof(workloads) / sizeof(workloads[0]) };

static const struct workload *find(const char *name)
{
	for (size_t i = 0; i < NR_WORKLOADS; i++)
		if (strcmp(workloads[i].name, name) == 0)
			return &workloads[i];
	return NULL;
}

static int list(void)
{
	for (size_t i = 0; i < NR_WORKLOADS; i++)
		printf("%s\t%u\n", workloads[i].name, workloads[i].ops);
	return 0;
}

/* Two instructions a turn, whatever the compiler. */
static void spend(uint64_t extra)
{
	uint64_t turns = extra / 2;

	if (turns == 0)
		return;
#if defined(__x86_64__)
	__asm__ volatile("1: decq %0; jnz 1b" : "+r"(turns) : : "cc");
#else
	__asm__ volatile("1: subs %0, %0, #1; b.ne 1b" : "+r"(turns) : : "cc");
#endif
}

/* No failure may pass for speed, nor memory that ran out. */
static void check(void)
{
	struct quire_stat stat;
	struct quire_info info;

	if (quire_info(q, &info, sizeof(info)) ||
	    quire_stat(q, &stat, sizeof(stat)))
		fail("quire_stat");
	if (info.way != way() || stat.failures || stat.refused) {
		fprintf(stderr, "%s: way %s, %llu failures, %llu refused\n",
			workload->name, quire_way_name(info.way),
			(unsigned long long)stat.failures,
			(unsigned long long)stat.refused);
		exit(2);
	}
}

static bool can_fence(void)
{
	long known = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);

	return known > 0 &&
	       known & MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ;
}

/* The name of the record, or why there can be none. */
static int tell_build(void)
{
#if defined(__clang__)
	const char *compiler = "clang";
	const int major = __clang_major__;
#else
	const char *compiler = "gcc";
	const int major = __GNUC__;
#endif
#if defined(__x86_64__)
	const char *cpu = "x86_64";
#else
	const char *cpu = "aarch64";
#endif
#if defined(__OPTIMIZE__)
	const int optimised = 1;
#else
	const int optimised = 0;
#endif

	if (config_debug)
		puts("a debug build");
	else if (!optimised)
		puts("not an optimised build");
	else if (!can_fence())
		puts("the kernel's membarrier does not know rseq");
	else
		return printf("%s-%d\t%s\n", compiler, major, cpu) < 0;
	return 77;
}

int main(int argc, char **argv)
{
	uint32_t ops;

	if (argc == 1) {
		puts("1..0 # SKIP it is tests/instructions.sh's to run");
		return 0;
	}
	if (strcmp(argv[1], "build") == 0)
		return tell_build();
	if (strcmp(argv[1], "list") == 0)
		return list();
	workload = find(argv[1]);
	ops = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
	if (!workload || argc < 3 || ops > workload->ops) {
		fprintf(stderr, "usage: %s WORKLOAD OPS [EXTRA]\n", argv[0]);
		return 2;
	}
	workload->warm();
	workload->work(ops);
	spend(argc > 3 ? strtoull(argv[3], NULL, 10) : 0);
	check();
	return 0;
}

#endif
