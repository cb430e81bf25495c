/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How well an allocator keeps 2 MiB blocks whole while a script runs.
 *
 * The script is replayed on quire, every page checked as ever, and played by
 * each reference; all look at their memory after the same events. With L pages
 * live in B blocks, at best ceil(L / 512) blocks are in use and the others
 * wholly free: that is the ideal. Two figures come of it: the share of the
 * ideal that is wholly free, which is what a user of huge pages gets, and
 * blocks in use against the least possible, which does not depend on how much
 * larger the arena is.
 *
 * quire's samples are taken as it stands: pages in page lists are neither live
 * nor free and keep their blocks from being whole. References have no lists;
 * so quire is also looked at after a drain, at the end.
 *
 * An average is over the events of the trace: each sample counts with the
 * events since the one before it.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "fragmentation.h"

#include "script_repeat.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ */
/* Figures                                                             */

uint64_t fragmentation_blocks(const struct fragmentation *f)
{
	return f->replay.info.pages / SAMPLE_2M_PAGES;
}

uint64_t fragmentation_ideal(const struct fragmentation *f,
			     const struct fragmentation_point *p)
{
	uint64_t used = (p->live + SAMPLE_2M_PAGES - 1) / SAMPLE_2M_PAGES;

	return fragmentation_blocks(f) - used;
}

double fragmentation_share(const struct fragmentation *f,
			   const struct fragmentation_point *p)
{
	uint64_t ideal = fragmentation_ideal(f, p);

	return ideal ? (double)p->whole / (double)ideal : 1;
}

double fragmentation_used(const struct fragmentation *f,
			  const struct fragmentation_point *p)
{
	uint64_t blocks = fragmentation_blocks(f);
	uint64_t least = blocks - fragmentation_ideal(f, p);

	return least ? (double)(blocks - p->whole) / (double)least : 1;
}

struct fragmentation_measure
fragmentation_measure(const struct fragmentation *f,
		      const struct fragmentation_series *series, unsigned first,
		      unsigned end)
{
	struct fragmentation_measure m = { .share_worst = 1 };
	const struct sample *samples = f->replay.samples;
	uint64_t begin = first * f->counts.events, events = 0;
	unsigned i;

	for (i = 1; i < f->replay.nr_samples; i++) {
		const struct fragmentation_point *p = &series->points[i];
		uint64_t n = samples[i].events - samples[i - 1].events;

		if (samples[i].events <= begin ||
		    samples[i].events > end * f->counts.events)
			continue;
		m.share_end = fragmentation_share(f, p);
		m.used_end = fragmentation_used(f, p);
		m.share_average += m.share_end * (double)n;
		m.used_average += m.used_end * (double)n;
		if (m.share_end < m.share_worst)
			m.share_worst = m.share_end;
		events += n;
	}
	if (events) {
		m.share_average /= (double)events;
		m.used_average /= (double)events;
	}
	return m;
}

/* ------------------------------------------------------------------ */
/* Running                                                             */

/* The script as it is to be played: *made, if it is another one. */
static const struct script *prepare(const struct fragmentation_options *o,
				    const struct script *script,
				    struct script **made)
{
	*made = NULL;
	if (o->repeat > 1) {
		*made = script_repeat(script, o->repeat, o->burst, o->seed);
		if (!*made)
			return NULL;
		script = *made;
	}
	if (o->single) {
		struct script *merged = script_merge(script);

		script_delete(*made);
		*made = merged;
		script = merged;
	}
	return script;
}

/* Of the trace, not of several passes, which may differ a little. */
static uint64_t arena_size(const struct fragmentation_options *o,
			   const struct script *script)
{
	const uint64_t block = SAMPLE_2M_PAGES * QUIRE_PAGE_SIZE;
	uint64_t size;

	if (o->replay.size || !o->over_peak)
		return replay_size(&o->replay, script);
	size = script->counts.peak_pages * o->over_peak * QUIRE_PAGE_SIZE / 100;
	return (size + block - 1) / block * block;
}

static bool series_alloc(struct fragmentation *f, char *error)
{
	unsigned i;

	for (i = 0; i < NR_SERIES; i++) {
		struct fragmentation_series *s = &f->series[i];

		s->key = i ? references[i - SERIES_REFERENCE].key : "quire";
		s->name = i ? references[i - SERIES_REFERENCE].name : "quire";
		s->points = calloc(f->replay.nr_samples, sizeof(*s->points));
		if (!s->points) {
			snprintf(error, SCRIPT_ERROR_SIZE,
				 "no memory for %u samples",
				 f->replay.nr_samples);
			return false;
		}
	}
	return true;
}

static void keep_quire(struct fragmentation *f)
{
	struct fragmentation_series *s = &f->series[SERIES_QUIRE];
	unsigned i;

	for (i = 0; i < f->replay.nr_samples; i++)
		s->points[i] = (struct fragmentation_point){
			.live = f->replay.samples[i].live,
			.whole = f->replay.samples[i].free_2m,
		};
	s->failures = f->replay.failures;
	f->drained = (struct fragmentation_point){
		.live = f->replay.drained.live,
		.whole = f->replay.drained.free_2m,
	};
}

static bool run_references(struct fragmentation *f, const struct script *script,
			   char *error)
{
	unsigned nr = f->replay.nr_samples, r, i;
	struct reference_sample *samples = calloc(nr, sizeof(*samples));
	bool ok = samples != NULL;

	if (!ok)
		snprintf(error, SCRIPT_ERROR_SIZE, "no memory for %u samples",
			 nr);
	for (i = 0; ok && i < nr; i++)
		samples[i].events = f->replay.samples[i].events;
	for (r = 0; ok && r < NR_REFERENCES; r++) {
		struct fragmentation_series *s =
			&f->series[SERIES_REFERENCE + r];

		ok = reference_run(&references[r], script,
				   (uint32_t)f->replay.info.pages, samples, nr,
				   &s->failures, error);
		for (i = 0; ok && i < nr; i++)
			s->points[i] = (struct fragmentation_point){
				.live = samples[i].live,
				.whole = samples[i].whole,
			};
	}
	free(samples);
	return ok;
}

static bool run(struct fragmentation *f, const struct script *script,
		uint64_t size, char *error)
{
	struct replay_options options = f->options->replay;

	options.size = size;
	options.samples *= f->options->repeat;
	if (!replay_run(&options, script, &f->replay, error))
		return false;
	if (!series_alloc(f, error))
		return false;
	keep_quire(f);
	return run_references(f, script, error);
}

_Static_assert(REPLAY_ERROR_SIZE <= SCRIPT_ERROR_SIZE, "one buffer for both");

bool fragmentation_run(const struct fragmentation_options *options,
		       const char *trace, const struct script *script,
		       struct fragmentation *f, char error[SCRIPT_ERROR_SIZE])
{
	uint64_t size = arena_size(options, script);
	const struct script *played;
	struct script *made;
	bool ok = false;

	*f = (struct fragmentation){
		.trace = trace,
		.options = options,
		.counts = script->counts,
		.nr_cpus = script->nr_cpus,
	};
	if (size / QUIRE_PAGE_SIZE > INT32_MAX) {
		snprintf(error, SCRIPT_ERROR_SIZE,
			 "an arena of %s is larger than first fit can be "
			 "played on: 8 TiB",
			 text_bytes(TEXT, size));
		return false;
	}
	played = prepare(options, script, &made);
	if (played)
		ok = run(f, played, size, error);
	else
		snprintf(error, SCRIPT_ERROR_SIZE,
			 "no memory for %u passes over %s allocations",
			 options->repeat, text_count(TEXT, script->nr_slots));
	script_delete(made);
	return ok;
}

void fragmentation_fini(struct fragmentation *f)
{
	unsigned i;

	replay_result_fini(&f->replay);
	for (i = 0; i < NR_SERIES; i++)
		free(f->series[i].points);
}
