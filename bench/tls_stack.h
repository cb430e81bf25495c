/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The floor under every page allocator: per thread and order, an array of page
 * frame numbers; alloc pops one and free pushes one, without any check. A
 * shared library of its own, so that it is called as its peers are.
 */
#ifndef BENCH_TLS_STACK_H
#define BENCH_TLS_STACK_H

#include <stdint.h>

/* Memory for that many threads, each with its share in every order; 0 or -1. */
int tls_stack_init(uint64_t bytes, unsigned threads);
void tls_stack_fini(void);
/* Gives the calling thread its own pages; 0 or -1. */
int tls_stack_fill(unsigned thread);
void tls_stack_empty(void);
void *tls_stack_alloc(unsigned order);
void tls_stack_free(void *page, unsigned order);
void *tls_stack_address(const void *page);

#endif
