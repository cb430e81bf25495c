/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The counted program of tests/instructions.sh: a workload, prepared, then so
 * many operations of it.
 *
 *	instructions WORKLOAD OPS [EXTRA]	EXTRA: instructions planted
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

#include "allocator.h"
#include "debug.h"

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
	ARENA = 1 << 18,	/* pages; the mixed workload's is larger */
	BULK = ARENA / 10 * 9,	/* pages */
	MIXED_ARENA = 1 << 20,	/* pages */
	MIXED_SLOTS = 1 << 16,	/* blocks */
	MIXED_ORDERS = 1 << 10, /* what an order is drawn from */
	WARM = 1 << 15,
	STEPS = WARM + (1 << 16),
};

/* The next operation of refill and mixed; drawn before it is counted. */
struct step {
	uint32_t slot, order;
};

static struct quire *q;
static struct quire_page *held[BULK];
static uint8_t orders[BULK];
static struct step steps[STEPS];
static const struct step *next_step = steps;
static enum quire_way way; /* of the workload */

_Static_assert((int)MIXED_SLOTS <= (int)BULK && ARENA / 2 <= (int)BULK,
	       "held[] holds all");

static void fail(const char *what)
{
	perror(what);
	exit(2);
}

static void create(uint64_t pages)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;

	pretend();
	/* What is done by the clock is not to be counted. */
	options.decay_ms = UINT32_MAX;
	options.size = pages << QUIRE_PAGE_SHIFT;
	options.way = way;
	options.backing[0] = QUIRE_BACKING_BASE;
	options.cpus = CPUS;
	q = quire_create(&options);
	if (!q)
		fail("quire_create");
	if (way == QUIRE_WAY_BOUND && quire_cpu_bind(q, 0) != 0)
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

static void take_and_give(uint32_t n)
{
	while (n--)
		quire_free_pages(q, quire_alloc_pages(q, 0, 0), 0);
}

static void take_and_give_movable(uint32_t n)
{
	while (n--)
		quire_free_pages(q, quire_alloc_pages(q, 0, QUIRE_MOVABLE), 0);
}

static void take(uint32_t n)
{
	for (struct quire_page **page = held; n; n--)
		*page++ = quire_alloc_pages(q, 0, 0);
}

static void give(uint32_t n)
{
	for (struct quire_page **page = held; n; n--)
		quire_free_pages(q, *page++, 0);
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
	create(ARENA);
	take_and_give(1000);
	take_and_give_movable(1000);
}

/* Once all through: afterwards no page is touched for the first time. */
static void warm_bulk(void)
{
	create(ARENA);
	take(BULK);
	give(BULK);
}

static void warm_full(void)
{
	warm_bulk();
	take(BULK);
}

static void warm_shuffled(void)
{
	warm_full();
	for (uint32_t i = BULK; i > 1; i--) {
		uint32_t j = below(i);
		struct quire_page *page = held[i - 1];

		held[i - 1] = held[j];
		held[j] = page;
	}
}

static void warm_refill(void)
{
	create(ARENA);
	take(ARENA / 2);
	for (uint32_t i = 0; i < STEPS; i++)
		steps[i].slot = below(ARENA / 2);
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
	create(MIXED_ARENA);
	for (uint32_t i = 0; i < MIXED_SLOTS; i++) {
		orders[i] = (uint8_t)mixed_order();
		held[i] = quire_alloc_pages(q, orders[i], 0);
	}
	for (uint32_t i = 0; i < STEPS; i++)
		steps[i] = (struct step){ below(MIXED_SLOTS), mixed_order() };
	replace(WARM);
}

static const struct workload {
	const char *name;
	void (*warm)(void);
	void (*work)(uint32_t n);
	uint32_t most; /* operations */
	enum quire_way way;
} workloads[] = {
	{ "pair", warm_pair, take_and_give, UINT32_MAX, QUIRE_WAY_RSEQ },
	{ "pair-movable", warm_pair, take_and_give_movable, UINT32_MAX,
	  QUIRE_WAY_RSEQ },
	{ "pair-trylock", warm_pair, take_and_give, UINT32_MAX,
	  QUIRE_WAY_TRYLOCK },
	{ "pair-bound", warm_pair, take_and_give, UINT32_MAX, QUIRE_WAY_BOUND },
	{ "bulk-alloc", warm_bulk, take, BULK, QUIRE_WAY_RSEQ },
	{ "bulk-free", warm_full, give, BULK, QUIRE_WAY_RSEQ },
	{ "random-free", warm_shuffled, give, BULK, QUIRE_WAY_RSEQ },
	{ "refill", warm_refill, replace, STEPS - WARM, QUIRE_WAY_RSEQ },
	{ "mixed", warm_mixed, replace, STEPS - WARM, QUIRE_WAY_RSEQ },
};

static const struct workload *find(const char *name)
{
	for (size_t i = 0; i < sizeof(workloads) / sizeof(workloads[0]); i++)
		if (strcmp(workloads[i].name, name) == 0)
			return &workloads[i];
	return NULL;
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
static void check(const struct workload *workload)
{
	struct quire_stat stat;
	struct quire_info info;

	if (quire_info(q, &info, sizeof(info)) ||
	    quire_stat(q, &stat, sizeof(stat)))
		fail("quire_stat");
	if (info.way != workload->way || stat.failures || stat.refused) {
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
	const struct workload *workload;
	uint32_t ops;

	if (argc == 1) {
		puts("1..0 # SKIP it is tests/instructions.sh's to run");
		return 0;
	}
	if (strcmp(argv[1], "build") == 0)
		return tell_build();
	workload = find(argv[1]);
	ops = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
	if (!workload || argc < 3 || ops > workload->most) {
		fprintf(stderr, "usage: %s WORKLOAD OPS [EXTRA]\n", argv[0]);
		return 2;
	}
	way = workload->way;
	workload->warm();
	workload->work(ops);
	spend(argc > 3 ? strtoull(argv[3], NULL, 10) : 0);
	check(workload);
	return 0;
}

#endif
