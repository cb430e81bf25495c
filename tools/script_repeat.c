/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Scripts made of a script.
 *
 * A trace begins with its own memory empty and ends with some of it live. To
 * play it again and again on one allocator, what a pass left (L pages) must go
 * some time: at once would be a rest that no machine has, never would fill the
 * arena. Here the next pass displaces it. Before a pass that has x pages live
 * allocates p more, leftovers are freed until there are at most L - (x + p):
 * live memory stands at L until the new pass reaches it and then follows the
 * trace. As every pass ends with L pages live of its own, no leftover gets
 * older than a pass, and an arena that was large enough stays so.
 *
 * Which leftover goes is drawn at random: nothing is known of their lifetimes
 * but that they outlived the trace, and an allocator should not be helped by
 * an order that it chose itself. They go in bursts, as a kernel reclaims; one
 * at a time, each would be the page that its CPU allocates next.
 *
 * The other thing that differs from pass to pass is who comes first: inside a
 * round the CPUs' lists are merged anew, in bursts, such that no free comes
 * before its allocation. One that cannot run passes its turn to the next CPU;
 * the one whose operation is first in the trace always can.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "script_repeat.h"

#include <stdlib.h>
#include <string.h>

/* A CPU goes on for 1 to this many operations. */
#define BURST 16u

/* ------------------------------------------------------------------ */
/* The trace's order                                                   */

bool script_walk_next(struct script_walk *walk, script_op *op, unsigned *cpu)
{
	const struct script *s = walk->script;

	if (walk->turn == s->nr_turns)
		return false;
	*cpu = s->turns[walk->turn++];
	*op = s->cpus[*cpu].list.ops[walk->done[*cpu]++];
	return true;
}

bool script_walk_at(const struct script_walk *walk, unsigned round)
{
	const struct script *s = walk->script;
	unsigned c;

	for (c = 0; c < s->nr_cpus; c++)
		if (walk->done[c] != s->cpus[c].cuts[round])
			return false;
	return true;
}

/* ------------------------------------------------------------------ */
/* A new script                                                        */

/* As s, n times, but without operations. */
static struct script *script_like(const struct script *s, unsigned nr_cpus,
				  unsigned n)
{
	struct script *to = calloc(1, sizeof(*to));
	unsigned c;

	if (!to)
		return NULL;
	to->counts = s->counts;
	to->nr_slots = s->nr_slots * n;
	to->rounds = calloc((size_t)s->nr_rounds * n, sizeof(*to->rounds));
	to->cpus = calloc(nr_cpus, sizeof(*to->cpus));
	for (c = 0; to->cpus && c < nr_cpus; c++) {
		to->cpus[c].number = s->cpus[c].number;
		to->cpus[c].cuts = calloc((size_t)s->nr_rounds * n,
					  sizeof(*to->cpus[c].cuts));
		if (!to->cpus[c].cuts)
			break;
		to->nr_cpus++;
	}
	if (to->rounds && to->nr_cpus == nr_cpus)
		return to;
	script_delete(to);
	return NULL;
}

static bool add(struct script *to, unsigned cpu, script_op op)
{
	return script_list_add(&to->cpus[cpu].list, op) &&
	       script_turn_add(to, cpu);
}

static bool copy_tail(struct script *to, const struct script_list *tail,
		      uint32_t first_slot)
{
	uint32_t i;

	for (i = 0; i < tail->nr; i++)
		if (!script_list_add(&to->tail, tail->ops[i] + first_slot))
			return false;
	return true;
}

struct script *script_merge(const struct script *s)
{
	struct script *to = script_like(s, 1, 1);
	struct script_walk *walk = calloc(1, sizeof(*walk));
	bool ok = to && walk && copy_tail(to, &s->tail, 0);
	unsigned r, cpu;
	script_op op;

	if (walk)
		walk->script = s;
	for (r = 0; ok && r < s->nr_rounds; r++) {
		while (ok && !script_walk_at(walk, r) &&
		       script_walk_next(walk, &op, &cpu))
			ok = add(to, 0, op);
		to->rounds[r] = s->rounds[r];
		to->cpus[0].cuts[r] = to->cpus[0].list.nr;
		to->nr_rounds++;
	}
	free(walk);
	if (ok)
		return to;
	script_delete(to);
	return NULL;
}

/* ------------------------------------------------------------------ */
/* Several times                                                       */

struct repeat {
	const struct script *from;
	struct script *to;
	uint64_t random, burst;
	unsigned pass;
	uint32_t *done;	  /* for each CPU, operations of this pass */
	bool *allocated;  /* for each slot of this pass */
	script_op *left;  /* frees what the last pass left; slots of from */
	uint32_t nr_left; /* operations of it that are to come */
	uint64_t left_pages, live, given;
};

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t draw(struct repeat *r, uint64_t below)
{
	uint64_t z = r->random += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (z ^ z >> 31) % below;
}

static script_op in_pass(const struct repeat *r, script_op op, unsigned pass)
{
	return op + (script_op)pass * r->from->nr_slots;
}

static bool is_alloc(script_op op)
{
	return script_op_kind(op) == SCRIPT_ALLOC ||
	       script_op_kind(op) == SCRIPT_ALLOC_EXACT;
}

/* One of the last pass's leftovers, at random, by this CPU. */
static bool free_left(struct repeat *r, unsigned cpu)
{
	uint32_t at = (uint32_t)draw(r, r->nr_left);
	script_op op = r->left[at];

	r->left[at] = r->left[--r->nr_left];
	r->left_pages -= UINT64_C(1) << script_op_order(op);
	return add(r->to, cpu, in_pass(r, op, r->pass - 1));
}

/* As many as must go, and a burst more. */
static bool free_burst(struct repeat *r, unsigned cpu)
{
	uint64_t stays = r->from->counts.live_pages;

	stays = stays > r->live + r->burst ? stays - r->live - r->burst : 0;
	while (r->nr_left && r->left_pages > stays)
		if (!free_left(r, cpu))
			return false;
	return true;
}

static bool play(struct repeat *r, unsigned cpu, script_op op)
{
	uint64_t pages = UINT64_C(1) << script_op_order(op), sum;
	struct script_counts *counts = &r->to->counts;

	if (!is_alloc(op)) {
		r->live -= pages;
		return add(r->to, cpu, in_pass(r, op, r->pass));
	}
	r->allocated[script_op_slot(op)] = true;
	r->live += pages;
	r->given += pages;
	if (r->live + r->left_pages > r->from->counts.live_pages &&
	    !free_burst(r, cpu))
		return false;
	sum = r->live + r->left_pages;
	if (sum > counts->peak_pages)
		counts->peak_pages = sum;
	return add(r->to, cpu, in_pass(r, op, r->pass));
}

/* The next operation of a CPU, if it has one in the round that can run. */
static bool runnable(const struct repeat *r, unsigned cpu, unsigned round,
		     script_op *op)
{
	const struct script_cpu *c = &r->from->cpus[cpu];

	if (r->done[cpu] == c->cuts[round])
		return false;
	*op = c->list.ops[r->done[cpu]];
	return is_alloc(*op) || r->allocated[script_op_slot(*op)];
}

/* One round in another order. */
static bool shuffle_round(struct repeat *r, unsigned round)
{
	unsigned nr = r->from->nr_cpus, cpu = 0, tried = 0, burst = 0;
	script_op op;

	while (tried < nr) {
		if (burst == 0) {
			cpu = (unsigned)draw(r, nr);
			burst = 1 + (unsigned)draw(r, BURST);
		}
		for (tried = 0; tried < nr; tried++, cpu = (cpu + 1) % nr)
			if (runnable(r, cpu, round, &op))
				break;
		if (tried == nr)
			break;
		r->done[cpu]++;
		burst--;
		if (!play(r, cpu, op))
			return false;
	}
	return true;
}

static bool same_round(struct repeat *r, struct script_walk *walk,
		       unsigned round)
{
	unsigned cpu;
	script_op op;

	while (!script_walk_at(walk, round) &&
	       script_walk_next(walk, &op, &cpu))
		if (!play(r, cpu, op))
			return false;
	return true;
}

static void end_round(struct repeat *r, unsigned round)
{
	struct script *to = r->to;
	struct script_round *at = &to->rounds[to->nr_rounds];
	uint64_t before = to->nr_rounds ? at[-1].live : 0;
	unsigned c;

	*at = r->from->rounds[round];
	at->time_ns += r->pass * r->from->counts.duration_ns;
	at->events += r->pass * r->from->counts.events;
	at->live = r->live + r->left_pages;
	at->given = r->given;
	if (before + r->given > to->counts.worst_pages)
		to->counts.worst_pages = before + r->given;
	r->given = 0;
	for (c = 0; c < to->nr_cpus; c++)
		to->cpus[c].cuts[to->nr_rounds] = to->cpus[c].list.nr;
	to->nr_rounds++;
}

/* What the last pass left becomes old; a new one begins. */
static void begin_pass(struct repeat *r)
{
	const struct script *s = r->from;

	memset(r->done, 0, s->nr_cpus * sizeof(*r->done));
	memset(r->allocated, 0, s->nr_slots * sizeof(*r->allocated));
	if (r->pass && s->tail.nr)
		memcpy(r->left, s->tail.ops, s->tail.nr * sizeof(*s->tail.ops));
	r->nr_left = r->pass ? s->tail.nr : 0;
	r->left_pages = r->pass ? s->counts.live_pages : 0;
	r->live = 0;
}

static void multiply_counts(struct script_counts *c, unsigned n)
{
	uint64_t *const each[] = { &c->events,	      &c->allocs,
				   &c->frees,	      &c->failed_allocs,
				   &c->unknown_frees, &c->realloc_live,
				   &c->split_frees,   &c->wide_frees,
				   &c->lost_events,   &c->duration_ns };
	unsigned i;

	for (i = 0; i < sizeof(each) / sizeof(each[0]); i++)
		*each[i] *= n;
	for (i = 0; i < SCRIPT_NR_ORDERS; i++) {
		c->order_allocs[i] *= n;
		c->order_frees[i] *= n;
	}
}

static bool play_passes(struct repeat *r, unsigned n, struct script_walk *walk)
{
	unsigned round;

	for (r->pass = 0; r->pass < n; r->pass++) {
		begin_pass(r);
		for (round = 0; round < r->from->nr_rounds; round++) {
			if (r->pass ? !shuffle_round(r, round)
				    : !same_round(r, walk, round))
				return false;
			end_round(r, round);
		}
	}
	return copy_tail(r->to, &r->from->tail, (n - 1) * r->from->nr_slots);
}

struct script *script_repeat(const struct script *s, unsigned n, uint64_t burst,
			     uint64_t seed)
{
	struct repeat r = { .from = s, .random = seed, .burst = burst };
	struct script_walk *walk;
	bool ok;

	if ((uint64_t)s->nr_slots * n >= UINT32_MAX)
		return NULL;
	r.to = script_like(s, s->nr_cpus, n);
	r.done = calloc(s->nr_cpus, sizeof(*r.done));
	r.allocated = calloc(s->nr_slots + 1, sizeof(*r.allocated));
	r.left = calloc(s->tail.nr + 1, sizeof(*r.left));
	walk = calloc(1, sizeof(*walk));
	if (walk)
		walk->script = s;
	ok = r.to && r.done && r.allocated && r.left && walk &&
	     play_passes(&r, n, walk);
	free(r.done);
	free(r.allocated);
	free(r.left);
	free(walk);
	if (!ok) {
		script_delete(r.to);
		return NULL;
	}
	multiply_counts(&r.to->counts, n);
	return r.to;
}
