/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages, assertions and failures on purpose: see debug.h.
 *
 * A message is formatted into a buffer on the stack and handed over whole, so
 * that lines of several threads do not mix and nothing is allocated while the
 * allocator is in trouble.
 */
#include "debug.h"

#include <errno.h>
#include <stdarg.h>

#include "platform/platform.h"

enum { MESSAGE_MAX = 512 };

void report(const struct reporter *to, const char *format, ...)
{
	char message[MESSAGE_MAX];
	int error = errno; /* the caller's, which its message goes with */
	va_list args;

	va_start(args, format);
	platform_format(message, sizeof(message), format, args);
	va_end(args);
	if (to && to->report)
		to->report(to->arg, message);
	else
		platform_message(message);
	errno = error;
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

struct fault faults[NR_FAULT_POINTS];
_Atomic bool faults_armed;

void fault_arm(enum fault_point point, int64_t skip, int64_t times)
{
	atomic_store(&faults[point].skip, skip);
	atomic_store(&faults[point].times, times);
	atomic_store(&faults_armed, true);
}

void fault_disarm_all(void)
{
	atomic_store(&faults_armed, false);
	for (int i = 0; i < NR_FAULT_POINTS; i++)
		atomic_store(&faults[i].times, 0);
}

bool fault_hit_armed(enum fault_point point)
{
	struct fault *f = &faults[point];

	if (atomic_load(&f->times) <= 0)
		return false;
	if (atomic_fetch_sub(&f->skip, 1) > 0)
		return false;
	return atomic_fetch_sub(&f->times, 1) > 0;
}
