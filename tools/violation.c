/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the allocator under test must not do.
 *
 * Ten are printed: the first is the cause, and a broken allocator makes
 * millions.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "violation.h"

#include "progress.h"

#include <stdarg.h>
#include <stdio.h>

#define PRINTED 10u

void violation_report(struct violations *v, const char *format, ...)
{
	uint64_t before =
		atomic_fetch_add_explicit(&v->count, 1, memory_order_relaxed);
	va_list args;

	if (before > PRINTED)
		return;
	pthread_mutex_lock(&v->lock);
	progress_clear();
	fputs("violation: ", stderr);
	if (before == PRINTED) {
		fputs("more follow and are only counted", stderr);
	} else {
		va_start(args, format);
		vfprintf(stderr, format, args);
		va_end(args);
	}
	fputc('\n', stderr);
	pthread_mutex_unlock(&v->lock);
}

uint64_t violation_count(const struct violations *v)
{
	return atomic_load_explicit(&v->count, memory_order_relaxed);
}
