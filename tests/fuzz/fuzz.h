/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the fuzz targets share: reading an input byte by byte, and stopping with
 * the values when what is seen is not what was expected.
 *
 * QUIRE_FUZZ_PLANT=WORD makes an expectation wrong on purpose, so that a run
 * proves that the target can fail; each target names its words.
 */
#ifndef QUIRE_FUZZ_H
#define QUIRE_FUZZ_H

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One input; called by libFuzzer, AFL++'s driver, or main.c. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(condition, ...)                                             \
	do {                                                                   \
		if (!(condition))                                              \
			fuzz_fail(__FILE__, __LINE__, #condition,              \
				  __VA_ARGS__);                                \
	} while (0)

__attribute__((noreturn, format(printf, 4, 5))) static inline void
fuzz_fail(const char *file, int line, const char *condition, const char *format,
	  ...)
{
	__builtin_va_list args;

	fflush(stdout);
	fprintf(stderr, "%s:%d: %s does not hold: ", file, line, condition);
	__builtin_va_start(args, format);
	vfprintf(stderr, format, args);
	__builtin_va_end(args);
	fputc('\n', stderr);
	abort();
}

/* Whether this expectation is to be wrong. */
static inline bool fuzz_planted(const char *word)
{
	static const char *plant;

	if (!plant) {
		plant = getenv("QUIRE_FUZZ_PLANT");
		plant = plant ? plant : "";
	}
	return *plant && strcmp(plant, word) == 0;
}

/* What is left of an input; 0 behind its end. */
struct fuzz_input {
	const uint8_t *at, *end;
};

static inline uint8_t fuzz_byte(struct fuzz_input *in)
{
	return in->at < in->end ? *in->at++ : 0;
}

static inline uint16_t fuzz_word(struct fuzz_input *in)
{
	uint8_t low = fuzz_byte(in);

	return (uint16_t)(low | fuzz_byte(in) << 8);
}

#endif
