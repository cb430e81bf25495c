/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages and assertions.
 *
 * A reporter is where an allocator's messages go. assert_debug() checks what
 * must hold, in builds configured with --enable-debug, and prints the values
 * when it does not; its condition always compiles.
 */
#ifndef QUIRE_REPORT_H
#define QUIRE_REPORT_H

#include "platform/cc.h"

#ifdef QUIRE_DEBUG
enum { config_debug = 1 };
#else
enum { config_debug = 0 };
#endif

struct reporter {
	void (*report)(void *arg, const char *message); /* NULL: stderr */
	void *arg;
};

/* Formats one message (no newline) and hands it over; `to` may be NULL. */
void report(const struct reporter *to, const char *format, ...)
	printf_like(2, 3);
/* The same of a call that is refused, which returns what this does: -1, with
 * errno EINVAL. */
int report_invalid(const struct reporter *to, const char *format, ...)
	printf_like(2, 3);

_Noreturn void assert_failed(const char *file, int line, const char *condition,
			     const char *format, ...) printf_like(4, 5);

#define assert_debug(condition, ...)                                           \
	do {                                                                   \
		if (config_debug && unlikely(!(condition)))                    \
			assert_failed(__FILE__, __LINE__, #condition,          \
				      __VA_ARGS__);                            \
	} while (0)

#endif
