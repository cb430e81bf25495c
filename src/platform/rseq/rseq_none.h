/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where no restartable sequences are available: every operation takes the way
 * out, and platform_rseq_usable() says so beforehand.
 */
#ifndef QUIRE_RSEQ_NONE_H
#define QUIRE_RSEQ_NONE_H

static inline bool rseq_thread_registered(void)
{
	return false;
}

static always_inline bool rseq_pop(char *sets, uint32_t nr, size_t stack,
				   uint32_t *item)
{
	(void)sets, (void)nr, (void)stack, (void)item;
	return false;
}

static always_inline bool rseq_push(char *sets, uint32_t nr, size_t stack,
				    uint32_t item)
{
	(void)sets, (void)nr, (void)stack, (void)item;
	return false;
}

static inline uint32_t rseq_pop_batch(char *set, uint32_t cpu, size_t stack,
				      uint32_t *items, uint32_t n,
				      uint64_t each)
{
	(void)set, (void)cpu, (void)stack, (void)items, (void)n, (void)each;
	return 0;
}

static inline bool rseq_push_batch(char *set, uint32_t cpu, size_t stack,
				   const uint32_t *items, uint32_t n)
{
	(void)set, (void)cpu, (void)stack, (void)items, (void)n;
	return false;
}

#endif
