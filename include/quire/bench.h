/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An allocator of pages as quire's benchmarks see it: a table of functions.
 *
 * To have yours measured, define the table under the name below in a shared
 * library and give its folder: quire-bench --adapters FOLDER loads every .so
 * there. A whole adapter:
 *
 *	#include <quire/bench.h>
 *	#include <stdlib.h>
 *
 *	static int init(uint64_t bytes, unsigned threads)
 *	{
 *		(void)bytes, (void)threads;
 *		return 0;
 *	}
 *
 *	static void fini(void)
 *	{
 *	}
 *
 *	static void *alloc(unsigned order)
 *	{
 *		return aligned_alloc(4096, (size_t)4096 << order);
 *	}
 *
 *	static void free_block(void *block, unsigned order)
 *	{
 *		(void)order;
 *		free(block);
 *	}
 *
 *	const struct quire_bench_adapter quire_bench_plugin = {
 *		.struct_size = sizeof(struct quire_bench_adapter),
 *		.name = "example",
 *		.max_order = QUIRE_BENCH_MAX_ORDER,
 *		.init = init,
 *		.fini = fini,
 *		.alloc = alloc,
 *		.free = free_block,
 *	};
 *
 *	cc -shared -fPIC -O2 -o adapters/example.so example-adapter.c
 */
#ifndef QUIRE_BENCH_H
#define QUIRE_BENCH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Orders that the workloads ask for: 0 (4 KiB) to 9 (2 MiB). */
#define QUIRE_BENCH_MAX_ORDER 9

/* struct quire_bench_adapter.flags */
/* init's bytes are a hard limit: alloc gives all of it, then NULL. */
#define QUIRE_BENCH_BOUNDED (1u << 0)
/* A block must be freed by the thread that took it. */
#define QUIRE_BENCH_THREAD_LOCAL (1u << 1)
/* Cannot have a hundred thousand separate holes. */
#define QUIRE_BENCH_FEW_HOLES (1u << 2)
/* init over a TiB is worth timing: its cost hardly depends on the size. */
#define QUIRE_BENCH_CREATE (1u << 3)

/*
 * init and fini are called by one thread, while no other is inside a call;
 * the rest by all threads at once. Functions marked optional may be NULL.
 */
struct quire_bench_adapter {
	size_t struct_size; /* sizeof(struct quire_bench_adapter) */
	const char *name;   /* short; no spaces or slashes */
	unsigned flags;
	unsigned max_order; /* greater orders are not asked for */
	/*
	 * Makes an allocator of that many bytes (without QUIRE_BENCH_BOUNDED, a
	 * hint) for that many threads; called again only after fini. Returns 0,
	 * or -1 with errno set where it cannot be had. fini gives the memory
	 * back to the system: peers are measured in turn, in one process.
	 */
	int (*init)(uint64_t bytes, unsigned threads);
	void (*fini)(void);
	/* Optional: around a thread's calls, 0 <= n < threads; 0 or -1. */
	int (*thread_init)(unsigned n);
	void (*thread_fini)(void);
	/*
	 * 2^order pages of 4 KiB, aligned to 4 KiB or better; NULL if there are
	 * none. The result may be any pointer, a descriptor for example: the
	 * workloads give it back with the same order and do not look inside.
	 */
	void *(*alloc)(unsigned order);
	void (*free)(void *block, unsigned order);
	/* Optional: where a block's memory is; NULL: the block is its address.
	 */
	void *(*address)(void *block);
	/* Optional: takes pages back from all caches, other threads' too. */
	void (*drain)(void);
	/* Optional: bytes of tables held for the allocator now made. */
	uint64_t (*overhead)(void);
	/* Optional: free pages that caches hold now, asked between calls. */
	uint64_t (*parked)(void);
	/*
	 * Optional, both or none: init, in place of it where lock_holds will be
	 * asked; and how long the allocator's central lock was held since then,
	 * in ns: the 99.9th percentile and the longest. It returns 0, or -1 if
	 * that is not known.
	 */
	int (*init_timed)(uint64_t bytes, unsigned threads);
	int (*lock_holds)(double *p999_ns, double *max_ns);
};

#if defined(__GNUC__)
#define QUIRE_BENCH_EXPORT __attribute__((visibility("default")))
#else
#define QUIRE_BENCH_EXPORT
#endif

/* What a shared library in --adapters' folder defines. */
extern QUIRE_BENCH_EXPORT const struct quire_bench_adapter quire_bench_plugin;

#ifdef __cplusplus
}
#endif

#endif
