/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbers as people read and write them. */
#ifndef TOOLS_TEXT_H
#define TOOLS_TEXT_H

#include <stdbool.h>
#include <stdint.h>

/* Room for a number in words: passed as a compound literal, TEXT. */
struct text {
	char at[40];
};
#define TEXT (&(struct text){ { 0 } })

/* "1,465,705" */
const char *text_count(struct text *t, uint64_t n);
/* "512 KiB", "1,484.9 MiB", "7.2 GiB" */
const char *text_bytes(struct text *t, uint64_t bytes);

/* "64M": K, M, G, T, optionally with iB; false if it is no size. */
bool text_parse_size(const char *s, uint64_t *bytes);
/* Decimal, within [min, max]. */
bool text_parse_number(const char *s, uint64_t min, uint64_t max, uint64_t *n);

#endif
