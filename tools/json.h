/* SPDX-License-Identifier: BSD-2-Clause */
/* Members of a JSON object, each with a comma and a newline behind it. */
#ifndef TOOLS_JSON_H
#define TOOLS_JSON_H

#include <stdint.h>
#include <stdio.h>

void json_put_string(FILE *out, const char *key, const char *s);
void json_put_count(FILE *out, const char *key, uint64_t n);
void json_put_real(FILE *out, const char *key, double x);

#endif
