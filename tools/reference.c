/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Plain policies that play a script.
 *
 * One thread does all operations in the trace's order. What is allocated to be
 * freed in parts comes as one run, as from a kernel; an allocation that fails
 * is counted, and its frees are left out.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "reference.h"

#include "first_fit.h"
#include "lifo_buddy.h"
#include "progress.h"
#include "script_repeat.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>

/* ------------------------------------------------------------------ */
/* The policies                                                        */

static void *create_first_fit(uint32_t pages)
{
	return first_fit_new(pages);
}

static void destroy_first_fit(void *policy)
{
	first_fit_delete(policy);
}

static uint32_t alloc_first_fit(void *policy, unsigned order)
{
	return first_fit_alloc(policy, order);
}

static bool free_first_fit(void *policy, uint32_t page, unsigned order)
{
	return first_fit_free(policy, page, order);
}

static uint32_t whole_first_fit(const void *policy)
{
	return first_fit_whole(policy);
}

static void *create_lifo_buddy(uint32_t pages)
{
	return lifo_buddy_new(pages);
}

static void destroy_lifo_buddy(void *policy)
{
	lifo_buddy_delete(policy);
}

static uint32_t alloc_lifo_buddy(void *policy, unsigned order)
{
	return lifo_buddy_alloc(policy, order);
}

static bool free_lifo_buddy(void *policy, uint32_t page, unsigned order)
{
	return lifo_buddy_free(policy, page, order);
}

static uint32_t whole_lifo_buddy(const void *policy)
{
	return lifo_buddy_whole(policy);
}

_Static_assert(FIRST_FIT_NONE == REFERENCE_NONE &&
		       LIFO_BUDDY_NONE == REFERENCE_NONE,
	       "one value says that there is no page");

const struct reference references[NR_REFERENCES] = {
	[REFERENCE_FIRST_FIT] = { "first_fit", "first fit", create_first_fit,
				  destroy_first_fit, alloc_first_fit,
				  free_first_fit, whole_first_fit },
	[REFERENCE_LIFO_BUDDY] = { "lifo_buddy", "LIFO buddy",
				   create_lifo_buddy, destroy_lifo_buddy,
				   alloc_lifo_buddy, free_lifo_buddy,
				   whole_lifo_buddy },
};

/* ------------------------------------------------------------------ */
/* Playing                                                             */

struct run {
	const struct reference *reference;
	void *policy;
	uint32_t *slots; /* first page of each allocation */
	uint64_t live, failures;
	bool lost; /* the policy refused a free */
};

static void play(struct run *run, script_op op)
{
	unsigned order = script_op_order(op);
	uint32_t *slot = &run->slots[script_op_slot(op)];
	enum script_kind kind = script_op_kind(op);

	if (kind == SCRIPT_ALLOC || kind == SCRIPT_ALLOC_EXACT) {
		*slot = run->reference->alloc(run->policy, order);
		if (*slot == REFERENCE_NONE)
			run->failures++;
		else
			run->live += UINT64_C(1) << order;
		return;
	}
	if (*slot == REFERENCE_NONE)
		return;
	if (!run->reference->free(run->policy, *slot + script_op_offset(op),
				  order))
		run->lost = true;
	run->live -= UINT64_C(1) << order;
}

static void take_sample(const struct run *run, struct reference_sample *s)
{
	s->live = run->live;
	s->whole = run->reference->whole(run->policy);
}

/* Returns how many samples were taken. */
static unsigned play_all(struct run *run, const struct script *script,
			 struct script_walk *walk,
			 struct reference_sample *samples, unsigned nr_samples)
{
	unsigned nr = 0, round, cpu;
	script_op op;

	if (nr_samples && samples[0].events == 0)
		take_sample(run, &samples[nr++]);
	for (round = 0; round < script->nr_rounds; round++) {
		uint64_t events = script->rounds[round].events;

		while (!script_walk_at(walk, round) &&
		       script_walk_next(walk, &op, &cpu))
			play(run, op);
		if (nr < nr_samples && samples[nr].events == events)
			take_sample(run, &samples[nr++]);
		progress_bar(run->reference->name,
			     (double)events / (double)script->counts.events,
			     text_count(TEXT, events));
	}
	progress_clear();
	return nr;
}

bool reference_run(const struct reference *reference,
		   const struct script *script, uint32_t pages,
		   struct reference_sample *samples, unsigned nr_samples,
		   uint64_t *failures, char error[SCRIPT_ERROR_SIZE])
{
	struct run run = { .reference = reference };
	struct script_walk *walk = calloc(1, sizeof(*walk));
	unsigned nr = 0;
	bool ok;

	run.policy = reference->create(pages);
	run.slots = calloc((size_t)script->nr_slots + 1, sizeof(*run.slots));
	ok = run.policy && run.slots && walk;
	if (!ok) {
		snprintf(error, SCRIPT_ERROR_SIZE,
			 "no memory for %s over %s pages", reference->name,
			 text_count(TEXT, pages));
	} else {
		walk->script = script;
		nr = play_all(&run, script, walk, samples, nr_samples);
		ok = !run.lost && nr == nr_samples;
		if (!ok)
			snprintf(error, SCRIPT_ERROR_SIZE,
				 "%s %s: %u of %u samples, %llu pages live",
				 reference->name,
				 run.lost ? "refused a free" : "lost its place",
				 nr, nr_samples, (unsigned long long)run.live);
	}
	*failures = run.failures;
	if (run.policy)
		reference->destroy(run.policy);
	free(run.slots);
	free(walk);
	return ok;
}
