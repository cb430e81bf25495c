/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbers as people read and write them: pure functions, no locale. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *text_count(struct text *t, uint64_t n)
{
	char *p = t->at + sizeof(t->at);
	unsigned digits = 0;

	*--p = 0;
	do {
		if (digits && digits % 3 == 0)
			*--p = ',';
		*--p = (char)('0' + n % 10);
		n /= 10;
		digits++;
	} while (n);
	return p;
}

const char *text_bytes(struct text *t, uint64_t bytes)
{
	static const char *const unit[] = { "KiB", "MiB", "GiB", "TiB" };
	double value = (double)bytes / 1024;
	unsigned i = 0;

	/* "1466 MiB" rather than "1.4 GiB", but "2 MiB". */
	while (i < 3 &&
	       (value >= 10240 ||
		(value >= 1024 && bytes % (1024ull << 10 * (i + 1)) == 0))) {
		value /= 1024;
		i++;
	}
	snprintf(t->at, sizeof(t->at),
		 value == (double)(uint64_t)value ? "%.0f %s" : "%.1f %s",
		 value, unit[i]);
	return t->at;
}

bool text_parse_number(const char *s, uint64_t min, uint64_t max, uint64_t *n)
{
	char *end;
	unsigned long long v;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	v = strtoull(s, &end, 10);
	if (errno || *end || v < min || v > max)
		return false;
	*n = v;
	return true;
}

bool text_parse_size(const char *s, uint64_t *bytes)
{
	static const char units[] = "KMGT";
	const char *unit;
	unsigned long long v;
	char *end;

	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	v = strtoull(s, &end, 10);
	if (errno)
		return false;
	*bytes = v;
	if (*end == 0)
		return true;
	unit = strchr(units, *end & ~0x20);
	if (!unit || (end[1] && strcasecmp(end + 1, "iB") != 0 &&
		      strcasecmp(end + 1, "B") != 0))
		return false;
	return !__builtin_mul_overflow(v, 1ull << 10 * (unit - units + 1),
				       bytes);
}
