/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A worker's blocks: taken and given back by every call quire has, each block
 * checked, stamped and counted.
 */
#ifndef STRESS_BLOCKS_H
#define STRESS_BLOCKS_H

#include "mode.h"

/* Each fills *block, which is empty; false: ENOMEM. */
bool block_take(struct worker *w, struct block *block, unsigned order,
		unsigned flags);
/* By a policy, or NULL; with QUIRE_WAIT for wait_ms. Or ETIMEDOUT. */
bool block_take_with(struct worker *w, struct block *block, unsigned order,
		     unsigned flags, struct quire_policy *policy,
		     unsigned wait_ms);
/* From a pool; false: none, with errno, which is nobody's failure. */
bool block_take_pool(struct worker *w, struct block *block,
		     struct quire_mempool *pool, unsigned order, unsigned flags,
		     unsigned wait_ms);
bool block_take_addr(struct worker *w, struct block *block, unsigned order,
		     unsigned flags);
bool block_take_exact(struct worker *w, struct block *block, uint32_t pages,
		      unsigned flags);
/* Fills the first of n empty blocks; returns how many. */
enum { BULK_MAX = 64 };
size_t block_take_bulk(struct worker *w, struct block **blocks, size_t n,
		       unsigned order, unsigned flags);

/* Gives back by a call picked by `pick`; any worker's block. */
void block_give(struct worker *w, struct block *block, uint64_t pick);
/* By quire_free_exact(): a run, or a block of order 0. */
void block_give_exact(struct worker *w, struct block *block);
void block_give_pool(struct worker *w, struct block *block,
		     struct quire_mempool *pool);
/* One block, from a signal handler. */
void block_give_nolock(struct worker *w, struct block *block);
/* Cuts the blocks from number `at` on off a run. */
struct block block_cut(struct worker *w, struct block *block, uint32_t at);
/* n blocks of one order. */
void block_give_bulk(struct worker *w, struct block **blocks, size_t n);

/* A block that another worker held becomes this one's. */
void block_adopt(struct worker *w, struct block *block);

/* One step: a slot drawn at random is filled, or what it holds given back. */
void blocks_step(struct worker *w);
/* The same with plain calls and small orders only: the fast path. */
void blocks_step_fast(struct worker *w);
/* A call that must be refused, on a block it holds; false: none there. */
bool blocks_misuse(struct worker *w);
void blocks_give_all(struct worker *w);

/* Flags of a mobility type and a zone. */
unsigned flags_of_type(const struct run *run, uint64_t pick);

#endif
