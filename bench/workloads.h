/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is asked of an adapter. A workload runs in a thread that the adapter
 * knows, n times its operation, and returns how many allocations failed.
 */
#ifndef QUIRE_BENCH_WORKLOADS_H
#define QUIRE_BENCH_WORKLOADS_H

#include <stdint.h>

#include "adapter.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A block allocated and freed at once: what per-CPU lists are for. */
uint64_t workload_pair(const struct bench_adapter *adapter, unsigned order,
		       uint64_t n);

#ifdef __cplusplus
}
#endif

#endif
