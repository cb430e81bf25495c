/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The floor under every page allocator: per thread and order, an array of page
 * frame numbers; alloc pops one and free pushes one, without any check. A
 * shared library of its own, so that it is called as its peers are.
 */
#ifndef QUIRE_BENCH_TLS_STACK_H
#define QUIRE_BENCH_TLS_STACK_H

/* Gives the calling thread its own pages in every order. */
void tls_stack_fill(unsigned thread);
void *tls_stack_alloc(unsigned order);
void tls_stack_free(void *page, unsigned order);

#endif
