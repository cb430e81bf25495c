/* SPDX-License-Identifier: BSD-2-Clause */
/* What the allocator under test must not do: counted, the first ones told. */
#ifndef TOOLS_VIOLATION_H
#define TOOLS_VIOLATION_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

struct violations {
	pthread_mutex_t lock; /* of the standard error */
	_Atomic uint64_t count;
};

#define VIOLATIONS_INIT                                                        \
	{                                                                      \
		.lock = PTHREAD_MUTEX_INITIALIZER                              \
	}

/* Any thread. The first ten are printed, one a line. */
__attribute__((format(printf, 2, 3))) void
violation_report(struct violations *v, const char *format, ...);

uint64_t violation_count(const struct violations *v);

#endif
