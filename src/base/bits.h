/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bit arithmetic on 64-bit words.
 */
#ifndef QUIRE_BITS_H
#define QUIRE_BITS_H

#include <stdint.h>

#include "platform/cc.h"

#define WORD_BITS 64u
#define WORD_SHIFT 6u /* log2 of the bits in a word: the order of a word */

/* Position of the lowest set bit; word is not 0. */
static inline unsigned bits_lowest(uint64_t word)
{
	return (unsigned)__builtin_ctzll(word);
}

/* Of the highest one. */
static inline unsigned bits_highest(uint64_t word)
{
	return WORD_BITS - 1 - (unsigned)__builtin_clzll(word);
}

/*
 * Without an instruction for it the compiler would call a function: sums of
 * bits in fields of 2, 4 and 8 bits, then of all bytes by a multiplication
 * (Warren, Hacker's Delight, 5-1).
 */
static inline unsigned bits_count(uint64_t word)
{
	if (CC_HAS_POPCOUNT)
		return (unsigned)__builtin_popcountll(word);
	word -= word >> 1 & UINT64_C(0x5555555555555555);
	word = (word & UINT64_C(0x3333333333333333)) +
	       (word >> 2 & UINT64_C(0x3333333333333333));
	word = (word + (word >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	return (unsigned)(word * UINT64_C(0x0101010101010101) >> 56);
}

/* n set bits from position at; at + n <= 64, n > 0. */
static inline uint64_t bits_range(unsigned at, unsigned n)
{
	return (~UINT64_C(0) >> (WORD_BITS - n)) << at;
}

/* Bits whose position is a multiple of 2^order, order 0 to 6. */
static inline uint64_t bits_aligned(unsigned order)
{
	static const uint64_t aligned[] = {
		UINT64_C(0xffffffffffffffff), UINT64_C(0x5555555555555555),
		UINT64_C(0x1111111111111111), UINT64_C(0x0101010101010101),
		UINT64_C(0x0001000100010001), UINT64_C(0x0000000100000001),
		UINT64_C(0x0000000000000001),
	};

	return aligned[order];
}

/*
 * Given the starts of aligned runs of order k, those of order k + 1: both
 * halves are there, and the first half is aligned.
 */
static inline uint64_t bits_pair(uint64_t runs, unsigned k)
{
	return runs & (runs >> (1u << k)) & bits_aligned(k + 1);
}

/* Starts of the aligned runs of 2^order set bits, order 0 to 6. */
static inline uint64_t bits_runs(uint64_t word, unsigned order)
{
	for (unsigned k = 0; k < order; k++)
		word = bits_pair(word, k);
	return word;
}

/* From starts of aligned runs of order k, 0 to 6, all their bits. */
static inline uint64_t bits_fill(uint64_t starts, unsigned order)
{
	for (unsigned k = 0; k < order; k++)
		starts |= starts << (1u << k);
	return starts;
}

/* The lowest n set bits; there are at least n. */
static inline uint64_t bits_first(uint64_t word, unsigned n)
{
	uint64_t rest = word;

	if (word == ~UINT64_C(0))
		return n ? bits_range(0, n) : 0;
	while (n--)
		rest &= rest - 1;
	return word ^ rest;
}

/* Bit i of the result: byte i of the word is not 0. */
static inline uint64_t bits_of_bytes(uint64_t word)
{
	word |= word >> 4;
	word |= word >> 2;
	word |= word >> 1;
	word &= UINT64_C(0x0101010101010101);
	/* Each byte's bit is moved to its place in the highest byte. */
	return word * UINT64_C(0x0102040810204080) >> 56;
}

/* The reverse: byte i of the result is 0xff if bit i of 8 is set, else 0. */
static inline uint64_t bytes_of_bits(uint64_t bits)
{
	uint64_t word = bits * UINT64_C(0x0101010101010101) &
			UINT64_C(0x8040201008040201);

	/* Any bit of a byte carries into its highest one. */
	word = (word + UINT64_C(0x7f7f7f7f7f7f7f7f)) >> 7 &
	       UINT64_C(0x0101010101010101);
	return word * 0xff;
}

/* log2 rounded up; n > 0. */
static inline unsigned bits_order(uint64_t n)
{
	return n <= 1 ? 0 : WORD_BITS - (unsigned)__builtin_clzll(n - 1);
}

static inline uint64_t align_down(uint64_t value, uint64_t align)
{
	return value & ~(align - 1);
}

static inline uint64_t align_up(uint64_t value, uint64_t align)
{
	return align_down(value + align - 1, align);
}

#endif
