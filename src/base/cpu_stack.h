/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A per-CPU stack of 32-bit items: the header, and the operations for a holder
 * of the lock that guards the CPU's set. platform/rseq.h has the same
 * operations as restartable sequences.
 *
 * One 8-byte word is both the count and a tally of pops, so that the one store
 * which commits a pop also counts it: allocations are counted for nothing.
 * Pushes are then known too: items in = items out + items there.
 *
 * Open: low 0, high the capacity in use. Closed: low UINT16_MAX, high 0, so
 * that neither `count > low` nor `count < high` holds; zero-filled memory
 * (low 0, high 0, count 0) is closed as well.
 */
#ifndef QUIRE_CPU_STACK_H
#define QUIRE_CPU_STACK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "platform/cc.h"
#include "platform/rseq.h"

/* (p) pcp lock, or a restartable sequence on the CPU; (c) constant once open */
struct cpu_stack {
	_Atomic uint64_t word; /* (p) pops in the upper 48 bits, count below */
	_Atomic uint16_t low;  /* (p) lock only: pops need count > low */
	_Atomic uint16_t high; /* (p) lock only: pushes need count < high */
	uint32_t slots;	       /* (c) where the items lie, bytes from the set */
};

_Static_assert(sizeof(struct cpu_stack) == 16, "rseq_*.h know the offsets");

/* Added to the word per item: a pop that hands out, and one that only moves. */
#define CPU_STACK_POPPED UINT64_C(0xffff)
#define CPU_STACK_MOVED (~UINT64_C(0))

static inline uint32_t cpu_stack_count(uint64_t word)
{
	return (uint16_t)word;
}

static inline uint64_t cpu_stack_pops(uint64_t word)
{
	return word >> 16;
}

static inline uint64_t cpu_stack_word(const struct cpu_stack *stack)
{
	return atomic_load_explicit(&stack->word, memory_order_relaxed);
}

static inline void cpu_stack_set_word(struct cpu_stack *stack, uint64_t word)
{
	atomic_store_explicit(&stack->word, word, memory_order_relaxed);
}

/* release: a sequence that finds the stack open finds its slots and word. */
static inline void cpu_stack_open(struct cpu_stack *stack, uint16_t high)
{
	atomic_store_explicit(&stack->low, 0, memory_order_release);
	atomic_store_explicit(&stack->high, high, memory_order_release);
}

static inline void cpu_stack_close(struct cpu_stack *stack)
{
	atomic_store_explicit(&stack->high, 0, memory_order_relaxed);
	atomic_store_explicit(&stack->low, UINT16_MAX, memory_order_relaxed);
}

static inline uint32_t *cpu_stack_items(char *set,
					const struct cpu_stack *stack)
{
	return (uint32_t *)(void *)(set + stack->slots);
}

/* The lock that guards the set is held, and it is not an rseq set: */

static inline bool cpu_stack_pop(char *set, struct cpu_stack *stack,
				 uint32_t *item)
{
	uint64_t word = cpu_stack_word(stack);
	uint32_t count = cpu_stack_count(word);

	if (count <= atomic_load_explicit(&stack->low, memory_order_relaxed))
		return false;
	*item = cpu_stack_items(set, stack)[count - 1];
	cpu_stack_set_word(stack, word + CPU_STACK_POPPED);
	return true;
}

static inline bool cpu_stack_push(char *set, struct cpu_stack *stack,
				  uint32_t item)
{
	uint64_t word = cpu_stack_word(stack);
	uint32_t count = cpu_stack_count(word);

	if (count >= atomic_load_explicit(&stack->high, memory_order_relaxed))
		return false;
	cpu_stack_items(set, stack)[count] = item;
	cpu_stack_set_word(stack, word + 1);
	return true;
}

static inline uint32_t cpu_stack_pop_batch(char *set, struct cpu_stack *stack,
					   uint32_t *items, uint32_t n,
					   uint64_t each)
{
	uint64_t word = cpu_stack_word(stack);
	uint32_t count = cpu_stack_count(word);
	const uint32_t *slots = cpu_stack_items(set, stack);

	if (count <= atomic_load_explicit(&stack->low, memory_order_relaxed))
		return 0;
	if (n > count)
		n = count;
	memcpy(items, slots + count - n, n * sizeof(*items));
	cpu_stack_set_word(stack, word + n * each);
	return n;
}

static inline bool cpu_stack_push_batch(char *set, struct cpu_stack *stack,
					const uint32_t *items, uint32_t n)
{
	uint64_t word = cpu_stack_word(stack);
	uint32_t count = cpu_stack_count(word);

	if (count + n >
	    atomic_load_explicit(&stack->high, memory_order_relaxed))
		return false;
	memcpy(cpu_stack_items(set, stack) + count, items, n * sizeof(*items));
	cpu_stack_set_word(stack, word + n);
	return true;
}

#endif
