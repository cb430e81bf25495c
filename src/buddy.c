/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The buddy system inside one block's bitmap.
 *
 * A free run of order k is 2^k clear bits that start at a multiple of 2^k. That
 * is the whole state: to split a run is to set some of its bits, to merge is to
 * clear bits beside clear bits. No run is named anywhere, so none can be named
 * wrongly. Knuth (TAOCP 1, 2.5 C) keeps a list and a tag per run instead; here
 * 512 units fit one cache line, and finding runs is arithmetic on eight words.
 *
 * Up to order 5 a run lies inside a word: its starts are found for all places
 * at once by and-ing the word of free units with itself shifted (bits_pair).
 * From order 6 on a run is words that are wholly clear: the same arithmetic on
 * a byte with one bit per word.
 *
 * A run is maximal if its buddy is not wholly free as well. buddy_take prefers
 * the smallest maximal run that fits, the lowest of equals.
 */
#include "buddy.h"

#include "debug.h"

static uint64_t free_units(const struct block *block, unsigned word)
{
	return ~block->map[word];
}

/* A bit per word of the map that is wholly free. */
static uint64_t free_words(const struct block *block)
{
	uint64_t words = 0;

	for (unsigned w = 0; w < BLOCK_WORDS; w++)
		words |= (uint64_t)(block->map[w] == 0) << w;
	return words;
}

/* Starts of the aligned runs of order k that are no half of a larger one. */
static uint64_t maximal_runs(uint64_t bits, unsigned k)
{
	uint64_t runs = bits_runs(bits, k);
	uint64_t whole = bits_pair(runs, k);

	return runs & ~(whole | whole << (1u << k));
}

/* Order + 1 of the largest run in a word's or byte's bits; 0: no bit. */
static unsigned largest_run(uint64_t bits, unsigned max_order)
{
	unsigned k = 0;

	if (bits == 0)
		return 0;
	while (k < max_order && (bits = bits_pair(bits, k)) != 0)
		k++;
	return k + 1;
}

unsigned buddy_largest_locked(const struct block *block)
{
	uint64_t words = free_words(block);
	unsigned largest = 0;

	if (words)
		return WORD_SHIFT + largest_run(words, 3);
	for (unsigned w = 0; w < BLOCK_WORDS; w++) {
		unsigned here = largest_run(free_units(block, w), 5);

		if (here > largest)
			largest = here;
	}
	return largest;
}

/* Sets the bits of [unit, unit + n), all clear before. */
static void set_units(struct block *block, unsigned unit, unsigned n)
{
	block->free = (uint16_t)(block->free - n);
	while (n) {
		unsigned at = unit % WORD_BITS;
		unsigned here = n < WORD_BITS - at ? n : WORD_BITS - at;
		uint64_t bits = bits_range(at, here);

		assert_debug(!(block->map[unit / WORD_BITS] & bits),
			     "unit %u: map %016llx, taking %016llx", unit,
			     (unsigned long long)block->map[unit / WORD_BITS],
			     (unsigned long long)bits);
		block->map[unit / WORD_BITS] |= bits;
		unit += here;
		n -= here;
	}
}

/*
 * Takes up to n runs of 2^order from the low end of the free run of 2^k units
 * at `start`; returns how many.
 */
static unsigned split(struct block *block, unsigned start, unsigned k,
		      unsigned order, unsigned n, uint16_t *units)
{
	unsigned there = 1u << (k - order);

	if (n > there)
		n = there;
	for (unsigned i = 0; i < n; i++)
		units[i] = (uint16_t)(start + (i << order));
	set_units(block, start, n << order);
	return n;
}

/* Splits the maximal runs of order k < 6 until n are taken. */
static unsigned take_from_words(struct block *block, unsigned k, unsigned order,
				unsigned n, uint16_t *units)
{
	unsigned taken = 0;

	for (unsigned w = 0; w < BLOCK_WORDS && taken < n; w++) {
		uint64_t bits = free_units(block, w);

		if (bits == 0 || bits == ~UINT64_C(0))
			continue;
		for (bits = maximal_runs(bits, k); bits && taken < n;
		     bits &= bits - 1)
			taken += split(block, w * WORD_BITS + bits_lowest(bits),
				       k, order, n - taken, units + taken);
	}
	return taken;
}

/* The same for runs of whole words, order k = 6 to 9. */
static unsigned take_whole_words(struct block *block, unsigned k,
				 unsigned order, unsigned n, uint16_t *units)
{
	uint64_t runs = maximal_runs(free_words(block), k - WORD_SHIFT);
	unsigned taken = 0;

	for (; runs && taken < n; runs &= runs - 1)
		taken += split(block, bits_lowest(runs) * WORD_BITS, k, order,
			       n - taken, units + taken);
	return taken;
}

unsigned buddy_take_locked(struct block *block, unsigned order, unsigned n,
			   uint16_t *units)
{
	unsigned taken = 0;

	for (unsigned k = order; k <= BLOCK_ORDER && taken < n; k++) {
		if (k < WORD_SHIFT)
			taken += take_from_words(block, k, order, n - taken,
						 units + taken);
		else
			taken += take_whole_words(block, k, order, n - taken,
						  units + taken);
	}
	return taken;
}

/* Order + 1 of the largest free run that holds a unit of this word. */
static unsigned largest_around(const struct block *block, unsigned word)
{
	uint64_t words = free_words(block);
	unsigned k = WORD_SHIFT;

	if (!(words >> word & 1))
		return largest_run(free_units(block, word), 5);
	while (k < BLOCK_ORDER) {
		unsigned span = 2u << (k - WORD_SHIFT); /* words */
		uint64_t need = bits_range(word & ~(span - 1), span);

		if ((words & need) != need)
			break;
		k++;
	}
	return k + 1;
}

unsigned buddy_give_word_locked(struct block *block, unsigned word,
				uint64_t units)
{
	assert_debug((block->map[word] & units) == units,
		     "word %u: map %016llx, giving %016llx", word,
		     (unsigned long long)block->map[word],
		     (unsigned long long)units);
	block->map[word] &= ~units;
	block->free = (uint16_t)(block->free + bits_count(units));
	return largest_around(block, word);
}

unsigned buddy_give_locked(struct block *block, unsigned unit, unsigned order)
{
	unsigned word = unit / WORD_BITS;

	if (order < WORD_SHIFT)
		return buddy_give_word_locked(
			block, word, bits_range(unit % WORD_BITS, 1u << order));
	for (unsigned w = word; w < word + (1u << (order - WORD_SHIFT)); w++) {
		assert_debug(block->map[w] == ~UINT64_C(0),
			     "word %u: map %016llx, giving all", w,
			     (unsigned long long)block->map[w]);
		block->map[w] = 0;
	}
	block->free = (uint16_t)(block->free + (1u << order));
	return largest_around(block, word);
}

void buddy_runs_locked(const struct block *block, uint64_t *runs)
{
	uint64_t words = free_words(block);

	for (unsigned k = WORD_SHIFT; k <= BLOCK_ORDER; k++)
		runs[k] += bits_count(maximal_runs(words, k - WORD_SHIFT));
	for (unsigned w = 0; w < BLOCK_WORDS; w++)
		for (unsigned k = 0; k < WORD_SHIFT && !(words >> w & 1); k++)
			runs[k] += bits_count(
				maximal_runs(free_units(block, w), k));
}
