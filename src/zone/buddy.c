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
 * the smallest maximal run that fits, the lowest of equals. Of single units it
 * first takes words that are partly free, as long as all of a word is wanted.
 */
#include "zone/buddy.h"

#include "base/report.h"

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

/* The same for a block in which no run is longer than order `most` - 1. */
static unsigned largest_up_to(const struct block *block, unsigned most)
{
	uint64_t words = free_words(block);
	unsigned largest = 0;

	if (words)
		return WORD_SHIFT + largest_run(words, 3);
	for (unsigned w = 0; w < BLOCK_WORDS && largest < most; w++) {
		unsigned here = largest_run(free_units(block, w), 5);

		if (here > largest)
			largest = here;
	}
	return largest;
}

unsigned buddy_largest_locked(const struct block *block)
{
	return largest_up_to(block, WORD_SHIFT);
}

/*
 * Takes blocks of 2^order from a word's free runs of order k, given by their
 * starts, lowest first, until *n are had.
 */
static void take_runs(struct block *block, unsigned word, uint64_t runs,
		      unsigned k, unsigned order, unsigned *n,
		      struct buddy_part *part)
{
	uint64_t starts = bits_fill(runs, k) & bits_aligned(order), units;
	unsigned there = bits_count(starts);

	if (there > *n) {
		starts = bits_first(starts, *n);
		there = *n;
	}
	units = bits_fill(starts, order);
	assert_debug(!(block->map[word] & units),
		     "word %u: map %016llx, taking %016llx", word,
		     (unsigned long long)block->map[word],
		     (unsigned long long)units);
	block->map[word] |= units;
	block->free = (uint16_t)(block->free - (there << order));
	*n -= there;
	*part = (struct buddy_part){ .starts = starts, .word = word };
}

/* From maximal runs of order k < 6; returns the parts. */
static unsigned take_from_words(struct block *block, unsigned k, unsigned order,
				unsigned *n, struct buddy_part *parts)
{
	unsigned nr = 0;

	for (unsigned w = 0; w < BLOCK_WORDS && *n; w++) {
		uint64_t bits = free_units(block, w), runs;

		if (bits == 0 || bits == ~UINT64_C(0))
			continue;
		runs = maximal_runs(bits, k);
		if (runs)
			take_runs(block, w, runs, k, order, n, &parts[nr++]);
	}
	return nr;
}

/* A run of whole words becomes a block of 2^order. */
static void take_words(struct block *block, unsigned word, unsigned order,
		       unsigned *n, struct buddy_part *part)
{
	unsigned words = 1u << (order - WORD_SHIFT);

	for (unsigned w = word; w < word + words; w++)
		block->map[w] = ~UINT64_C(0);
	block->free = (uint16_t)(block->free - (1u << order));
	--*n;
	*part = (struct buddy_part){ .starts = 1, .word = word };
}

/*
 * From maximal runs of whole words, order k = 6 to 9; returns the parts.
 * `words` may be older than what smaller k took: those are no runs of this
 * order.
 */
static unsigned take_whole_words(struct block *block, uint64_t words,
				 unsigned k, unsigned order, unsigned *n,
				 struct buddy_part *parts)
{
	uint64_t runs = maximal_runs(words, k - WORD_SHIFT);
	unsigned step = order < WORD_SHIFT ? 1 : 1u << (order - WORD_SHIFT);
	unsigned nr = 0;

	for (; runs; runs &= runs - 1) {
		unsigned first = bits_lowest(runs);
		unsigned end = first + (1u << (k - WORD_SHIFT));

		for (unsigned w = first; w < end && *n; w += step, nr++) {
			if (order < WORD_SHIFT)
				take_runs(block, w, 1, WORD_SHIFT, order, n,
					  &parts[nr]);
			else
				take_words(block, w, order, n, &parts[nr]);
		}
	}
	return nr;
}

/*
 * Units of words that are partly free, where all of the word's are wanted: a
 * batch of single pages seldom needs to look for runs. Returns the parts.
 */
static unsigned take_partial_words(struct block *block, unsigned *n,
				   struct buddy_part *parts)
{
	unsigned nr = 0;

	for (unsigned w = 0; w < BLOCK_WORDS; w++) {
		uint64_t units = free_units(block, w);
		unsigned there;

		if (units == 0 || units == ~UINT64_C(0))
			continue;
		there = bits_count(units);
		if (there > *n)
			continue;
		parts[nr++] = (struct buddy_part){ .starts = units, .word = w };
		block->map[w] = ~UINT64_C(0);
		block->free = (uint16_t)(block->free - there);
		*n -= there;
	}
	return nr;
}

unsigned buddy_take_locked(struct block *block, unsigned order, unsigned n,
			   struct buddy_part *parts, unsigned *nr)
{
	unsigned largest = block->largest, k = order;
	uint64_t words = free_words(block);
	bool partial;

	*nr = order == 0 ? take_partial_words(block, &n, parts) : 0;
	partial = *nr != 0;
	/* Nothing but whole words: no smaller run need be looked for. */
	if (k < WORD_SHIFT && block->free == bits_count(words) * WORD_BITS)
		k = WORD_SHIFT;
	for (; k < WORD_SHIFT && k < largest && n; k++)
		*nr += take_from_words(block, k, order, &n, parts + *nr);
	for (; k < largest && n; k++)
		*nr += take_whole_words(block, words, k, order, &n,
					parts + *nr);
	/* Runs of order k and more were not touched, but in partial words. */
	if (k < largest && !(partial && largest <= WORD_SHIFT))
		return largest;
	return block->free ? largest_up_to(block, largest) : 0;
}

unsigned buddy_take_unit_locked(struct block *block, unsigned unit)
{
	uint64_t bit = UINT64_C(1) << unit % WORD_BITS;

	assert_debug(!(block->map[unit / WORD_BITS] & bit),
		     "unit %u: map %016llx, taking it", unit,
		     (unsigned long long)block->map[unit / WORD_BITS]);
	block->map[unit / WORD_BITS] |= bit;
	block->free--;
	return buddy_largest_locked(block);
}

/* The block's largest, after these units of one word were freed. */
static unsigned largest_with(const struct block *block, unsigned word,
			     uint64_t units)
{
	uint64_t bits = free_units(block, word), words;
	unsigned k = block->largest;

	if (bits != ~UINT64_C(0)) {
		/* What is new can only count if it is larger: order k. */
		if (k >= WORD_SHIFT)
			return k;
		if ((units & (units - 1)) == 0) {
			unsigned run = 1u << k;
			unsigned first = bits_lowest(units) & ~(run - 1);

			if (~bits & bits_range(first, run))
				return k;
		}
		bits = bits_runs(bits, k);
		if (bits == 0)
			return k;
		while (k < WORD_SHIFT - 1 && (bits = bits_pair(bits, k)) != 0)
			k++;
		return k + 1;
	}
	words = free_words(block);
	for (k = WORD_SHIFT; k < BLOCK_ORDER; k++) {
		unsigned span = 2u << (k - WORD_SHIFT); /* words */
		uint64_t need = bits_range(word & ~(span - 1), span);

		if ((words & need) != need)
			break;
	}
	return k + 1 > block->largest ? k + 1 : block->largest;
}

unsigned buddy_give_word_locked(struct block *block, unsigned word,
				uint64_t units, unsigned n)
{
	assert_debug((block->map[word] & units) == units &&
			     bits_count(units) == n,
		     "word %u: map %016llx, giving %u: %016llx", word,
		     (unsigned long long)block->map[word], n,
		     (unsigned long long)units);
	block->map[word] &= ~units;
	block->free = (uint16_t)(block->free + n);
	return largest_with(block, word, units);
}

unsigned buddy_give_locked(struct block *block, unsigned unit, unsigned order)
{
	unsigned word = unit / WORD_BITS;

	if (order < WORD_SHIFT)
		return buddy_give_word_locked(
			block, word, bits_range(unit % WORD_BITS, 1u << order),
			1u << order);
	for (unsigned w = word; w < word + (1u << (order - WORD_SHIFT)); w++) {
		assert_debug(block->map[w] == ~UINT64_C(0),
			     "word %u: map %016llx, giving all", w,
			     (unsigned long long)block->map[w]);
		block->map[w] = 0;
	}
	block->free = (uint16_t)(block->free + (1u << order));
	return largest_with(block, word, ~UINT64_C(0));
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
