/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The allocators that can be measured: those built in, and those of --adapters.
 * What an adapter is says quire/bench.h.
 *
 * Every peer is called alike: one indirect call into its adapter, which calls
 * the peer's shared library.
 */
#ifndef BENCH_ADAPTERS_H
#define BENCH_ADAPTERS_H

#include "quire/bench.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const struct quire_bench_adapter adapter_tls_stack;
extern const struct quire_bench_adapter adapter_quire_rseq;
extern const struct quire_bench_adapter adapter_quire_trylock;
extern const struct quire_bench_adapter adapter_quire_bound;
/* Only created: what that costs without hugepages. */
extern const struct quire_bench_adapter adapter_quire_base;
extern const struct quire_bench_adapter adapter_mutex_buddy;
extern const struct quire_bench_adapter adapter_dpdk_mempool;
extern const struct quire_bench_adapter adapter_mmap;
extern const struct quire_bench_adapter adapter_glibc;
extern const struct quire_bench_adapter adapter_jemalloc;
extern const struct quire_bench_adapter adapter_mimalloc;
extern const struct quire_bench_adapter adapter_tcmalloc;
extern const struct quire_bench_adapter adapter_tbbmalloc;

/* The i-th adapter, NULL after the last; the floor is the first. */
const struct quire_bench_adapter *adapter_at(unsigned i);

/* Of baseline-X that is quire-X, of any other adapter itself. */
const struct quire_bench_adapter *
adapter_today(const struct quire_bench_adapter *adapter);

/* Adds an adapter after the others. NULL, or why it cannot be used. */
const char *adapter_add(const struct quire_bench_adapter *adapter);

/*
 * Adds what the shared libraries in a folder define; each that cannot be used
 * is named on stderr. Returns how many there are, -1 if the folder cannot be
 * read.
 */
int adapters_load(const char *folder);

/* Tries whether it can be had here; says on stderr why it is skipped. */
int adapter_usable(const struct quire_bench_adapter *adapter);

#ifdef __cplusplus
}
#endif

#endif
