/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the benchmarks measure: an allocator of pages behind a table of
 * functions.
 *
 * Every peer is called alike: one indirect call into its adapter, which calls
 * the peer's shared library. Blocks are whatever pointer the peer deals in: the
 * workloads hand them back, compare them with NULL and do not look inside.
 */
#ifndef QUIRE_BENCH_ADAPTER_H
#define QUIRE_BENCH_ADAPTER_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { BENCH_MAX_ORDER = 9 };

struct bench_adapter {
	const char *name;
	/*
	 * Makes the allocator that the others use; called again only after
	 * fini. Returns 0, or -1 with errno set where this peer cannot be had.
	 */
	int (*init)(uint64_t bytes, unsigned threads);
	void (*fini)(void);
	/* Around a thread's calls, 0 <= n < threads; NULL: nothing to do. */
	int (*thread_init)(unsigned n);
	void (*thread_fini)(void);
	/* 2^order pages, NULL if there are none; back with the same order. */
	void *(*alloc)(unsigned order);
	void (*free)(void *block, unsigned order);
};

extern const struct bench_adapter adapter_quire_rseq;
extern const struct bench_adapter adapter_quire_trylock;
extern const struct bench_adapter adapter_quire_bound;
extern const struct bench_adapter adapter_tls_stack;

#ifdef __cplusplus
}
#endif

#endif
