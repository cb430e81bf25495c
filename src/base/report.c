/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages and assertions: see report.h.
 *
 * A message is formatted into a buffer on the stack and handed over whole, so
 * that lines of several threads do not mix and nothing is allocated while the
 * allocator is in trouble.
 */
#include "base/report.h"

#include <errno.h>
#include <stdarg.h>

#include "platform/platform.h"

enum { MESSAGE_MAX = 512 };

static void hand_over(const struct reporter *to, const char *format,
		      va_list args)
{
	char message[MESSAGE_MAX];
	int error = errno; /* the caller's, which its message goes with */

	platform_format(message, sizeof(message), format, args);
	if (to && to->report)
		to->report(to->arg, message);
	else
		platform_message(message);
	errno = error;
}

void report(const struct reporter *to, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	hand_over(to, format, args);
	va_end(args);
}

int report_invalid(const struct reporter *to, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	hand_over(to, format, args);
	va_end(args);
	errno = EINVAL;
	return -1;
}

void assert_failed(const char *file, int line, const char *condition,
		   const char *format, ...)
{
	char values[MESSAGE_MAX];
	va_list args;

	va_start(args, format);
	platform_format(values, sizeof(values), format, args);
	va_end(args);
	report(NULL, "%s:%d: %s does not hold: %s", file, line, condition,
	       values);
	platform_abort();
}
