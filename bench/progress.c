/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What runs and how long is left, on stderr: in place on a terminal, else a
 * line every ten seconds. What is left is estimated by what the same workload
 * took with the same adapter, or with any.
 */
#include "bench.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { MAX_KINDS = 1024, LINE_SECONDS = 10 };

struct kind {
	const struct workload *workload;
	const struct quire_bench_adapter *adapter;
	unsigned planned, done;
	double seconds;
};

static struct kind kinds[MAX_KINDS];
static unsigned nr_kinds, total, count;
static struct kind *running;
static double started, last_line;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct kind *kind_of(const struct bench_case *c)
{
	for (unsigned i = 0; i < nr_kinds; i++)
		if (kinds[i].workload == c->workload &&
		    kinds[i].adapter == c->adapter)
			return &kinds[i];
	if (nr_kinds < MAX_KINDS - 1)
		nr_kinds++;
	kinds[nr_kinds - 1].workload = c->workload;
	kinds[nr_kinds - 1].adapter = c->adapter;
	return &kinds[nr_kinds - 1];
}

void progress_plan(const struct bench_case *c, unsigned n)
{
	kind_of(c)->planned += n;
	total += n;
}

/* Seconds of one measurement like this. */
static double expected(const struct kind *kind)
{
	double seconds = 0, done = 0;

	if (kind->done != 0)
		return kind->seconds / kind->done;
	for (unsigned i = 0; i < nr_kinds; i++) {
		if (kinds[i].workload != kind->workload)
			continue;
		seconds += kinds[i].seconds;
		done += kinds[i].done;
	}
	return done > 0 ? seconds / done : 0.3;
}

static void account(void)
{
	double t = now();

	if (running) {
		running->seconds += t - started;
		running->done++;
	}
	started = t;
}

void progress_next(const struct bench_case *c)
{
	int terminal = isatty(STDERR_FILENO);
	double left = 0;

	account();
	running = kind_of(c);
	count++;
	if (!terminal && last_line != 0 && started - last_line < LINE_SECONDS)
		return;
	last_line = started;
	for (unsigned i = 0; i < nr_kinds; i++)
		if (kinds[i].planned > kinds[i].done)
			left += (kinds[i].planned - kinds[i].done) *
				expected(&kinds[i]);
	fprintf(stderr,
		"%s%u of %u: %s, %s, %u thread%s; about %u min %02u s left%s",
		terminal ? "\r\033[K" : "", count, total, c->workload->name,
		c->adapter->name, c->threads, c->threads == 1 ? "" : "s",
		(unsigned)left / 60, (unsigned)left % 60, terminal ? "" : "\n");
	fflush(stderr);
}

void progress_end(void)
{
	account();
	running = NULL;
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
}
