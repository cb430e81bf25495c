/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Members of a JSON object (RFC 8259), a line each.
 *
 * Written by hand: the only text from outside is a trace's path. Bytes of it
 * that are no ASCII are written as \u00XX, so that the output is valid UTF-8
 * whatever the path is.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "json.h"

#include <inttypes.h>

void json_put_string(FILE *out, const char *key, const char *s)
{
	fprintf(out, "  \"%s\": \"", key);
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			fprintf(out, "\\u%04x", c);
		else
			fputc(c, out);
	}
	fputs("\",\n", out);
}

void json_put_count(FILE *out, const char *key, uint64_t n)
{
	fprintf(out, "  \"%s\": %" PRIu64 ",\n", key, n);
}

void json_put_real(FILE *out, const char *key, double x)
{
	fprintf(out, "  \"%s\": %.6f,\n", key, x);
}
