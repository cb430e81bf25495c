/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What went wrong. Any thread, any time, also in the child of a fork: nothing
 * here takes a lock.
 */
#ifndef STRESS_VIOLATION_H
#define STRESS_VIOLATION_H

#include <stdint.h>

/* What runs now, for the messages; not while anything runs. */
void violation_context(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

/* Counts, and tells the first few of a run on the standard error. */
void violation(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Since the context was set. */
uint64_t violations(void);

/* From now on a crash is told as well, with what ran, before it takes its
 * course. */
void violation_catch_crashes(void);

/*
 * The allocator's reports. Each is a violation, unless the calling thread
 * expects it: violation_expect() says how many are to come, violation_missing()
 * how many of them did not, and expects no more.
 */
void violation_report(void *arg, const char *message);
void violation_expect(unsigned reports);
unsigned violation_missing(void);
/* And those that have this word in them are none; NULL: no more. Not while
 * threads run. */
void violation_tolerate(const char *word);

#endif
