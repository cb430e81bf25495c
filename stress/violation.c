/* SPDX-License-Identifier: BSD-2-Clause */
/* What went wrong: see violation.h. */
#include "violation.h"

#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TOLD = 20, TEXT = 512 };

static char context[TEXT / 2];
static _Atomic uint64_t count;
static _Thread_local unsigned expected;
static const char *tolerated; /* constant while threads run */

void violation_context(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(context, sizeof(context), format, args);
	va_end(args);
	atomic_store(&count, 0);
}

static void tell(const char *text)
{
	char line[2 * TEXT];
	int length = snprintf(line, sizeof(line), "quire-stress: %s: %s\n",
			      context, text);

	/* If the standard error is gone, the exit status still tells. */
	if (length > 0 && write(STDERR_FILENO, line, (size_t)length) < 0)
		return;
}

void violation(const char *format, ...)
{
	uint64_t nth = atomic_fetch_add(&count, 1);
	char text[TEXT];
	va_list args;

	if (nth > TOLD)
		return;
	if (nth == TOLD) {
		tell("and more");
		return;
	}
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	tell(text);
}

uint64_t violations(void)
{
	return atomic_load(&count);
}

static void crashed(int signal)
{
	violation("ended by signal %d", signal);
}

void violation_catch_crashes(void)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGABRT };
	struct sigaction act = { .sa_handler = crashed,
				 .sa_flags = (int)SA_RESETHAND };
	struct sigaction old;

	/* A sanitizer's handlers tell more. */
	for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (sigaction(signals[i], NULL, &old) == 0 &&
		    old.sa_handler == SIG_DFL)
			sigaction(signals[i], &act, NULL);
}

void violation_report(void *arg, const char *message)
{
	(void)arg;
	if (tolerated && strstr(message, tolerated))
		return;
	if (expected)
		expected--;
	else
		violation("reported: %s", message);
}

void violation_tolerate(const char *word)
{
	tolerated = word;
}

void violation_expect(unsigned reports)
{
	expected = reports;
}

unsigned violation_missing(void)
{
	unsigned missing = expected;

	expected = 0;
	return missing;
}
