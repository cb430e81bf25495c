/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A trace made ready to be run.
 *
 * The order of the file is taken as the order of the events. Following it,
 * live.c knows at each free which allocation made the page, so that a free
 * can name it by number (its slot) and the threads that run the script need
 * no pfn of the trace and no lookup: a free waits for its slot, and slots are
 * only waited for by operations later in the file, so that the threads never
 * wait in a circle.
 *
 * What real traces do besides:
 *  - free pages allocated before the trace began: counted, not run;
 *  - free a block in parts: its allocation is changed into one of 2^order
 *    pages of their own, known when the trace is read to its end;
 *  - allocate a page that is live, because the free was lost or another CPU's
 *    clock is late: the older block is freed at that moment by the thread that
 *    allocates;
 *  - free more than one block by one event: each is freed.
 *
 * Rounds keep the threads together, or one could run its whole list before
 * another has begun and use many times the pages that the trace does. They
 * hold a power of two of events each; when there are too many, two and two
 * become one.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "script.h"

#include "live.h"
#include "progress.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_ROUND_EVENTS 256u

struct builder {
	struct script *script;
	struct live *live;
	uint32_t cpu_index[TRACE_MAX_CPUS]; /* + 1; 0: not met yet */
	uint8_t *parted;		    /* a bit for each slot */
	size_t parted_size;
	uint64_t first_ns, last_ns;
	uint64_t round_events; /* events in a full round */
	uint64_t given;	       /* pages allocated in this round */
	unsigned turn;	       /* CPU whose event it is, an index */
	bool no_memory;
};

/* ------------------------------------------------------------------ */
/* Lists                                                               */

bool script_list_add(struct script_list *list, script_op op)
{
	if (list->nr == list->max) {
		uint32_t max = list->max ? list->max * 2 : 256;
		script_op *ops =
			max > list->max ? realloc(list->ops, max * sizeof(*ops))
					: NULL;

		if (!ops)
			return false;
		list->ops = ops;
		list->max = max;
	}
	list->ops[list->nr++] = op;
	return true;
}

bool script_turn_add(struct script *s, unsigned cpu)
{
	if (s->nr_turns == s->max_turns) {
		uint32_t max = s->max_turns ? s->max_turns * 2 : 1024;
		uint16_t *turns =
			max > s->max_turns
				? realloc(s->turns, max * sizeof(*turns))
				: NULL;

		if (!turns)
			return false;
		s->turns = turns;
		s->max_turns = max;
	}
	s->turns[s->nr_turns++] = (uint16_t)cpu;
	return true;
}

static void list_add(struct builder *b, struct script_list *list, script_op op)
{
	struct script *s = b->script;

	if (!script_list_add(list, op) ||
	    (list != &s->tail && !script_turn_add(s, b->turn)))
		b->no_memory = true;
}

static struct script_cpu *cpu_get(struct builder *b, uint32_t number)
{
	struct script *s = b->script;
	struct script_cpu *cpus;
	uint32_t *cuts;

	if (b->cpu_index[number])
		return &s->cpus[b->cpu_index[number] - 1];
	cpus = realloc(s->cpus, (s->nr_cpus + 1) * sizeof(*cpus));
	if (!cpus)
		return NULL;
	s->cpus = cpus;
	/* Zero for the rounds before its first event. */
	cuts = calloc(SCRIPT_MAX_ROUNDS, sizeof(*cuts));
	if (!cuts)
		return NULL;
	cpus[s->nr_cpus] =
		(struct script_cpu){ .number = number, .cuts = cuts };
	b->cpu_index[number] = ++s->nr_cpus;
	return &cpus[s->nr_cpus - 1];
}

static void parted_set(struct builder *b, uint32_t slot)
{
	size_t size = b->parted_size;
	uint8_t *bits;

	if (slot / 8 >= size) {
		size = slot / 8 * 2 + 64;
		bits = realloc(b->parted, size);
		if (!bits) {
			b->no_memory = true;
			return;
		}
		memset(bits + b->parted_size, 0, size - b->parted_size);
		b->parted = bits;
		b->parted_size = size;
	}
	b->parted[slot / 8] |= (uint8_t)(1u << slot % 8);
}

static bool parted_get(const struct builder *b, uint32_t slot)
{
	return slot / 8 < b->parted_size &&
	       (b->parted[slot / 8] >> slot % 8 & 1);
}

/* ------------------------------------------------------------------ */
/* Events                                                              */

/* Frees [pfn, end), all live pages of block, which may be all of them. */
static void free_run(struct builder *b, struct script_list *list,
		     struct live_block *block, uint64_t pfn, uint64_t end)
{
	uint32_t offset = (uint32_t)(pfn - block->pfn);
	uint32_t n = (uint32_t)(end - pfn), done, order;

	b->script->counts.live_pages -= n;
	if (n == 1u << block->order && !block->parted) {
		list_add(b, list,
			 script_op_make(SCRIPT_FREE, block->slot, 0,
					block->order));
		live_remove(b->live, block, pfn, n);
		return;
	}
	block->parted = true;
	parted_set(b, block->slot);
	for (done = 0; done < n; done += 1u << order) {
		order = 31u - (unsigned)__builtin_clz(n - done);
		list_add(b, list,
			 script_op_make(SCRIPT_FREE_PART, block->slot,
					offset + done, order));
	}
	live_remove(b->live, block, pfn, n);
}

/* The end of the run of block's live pages at pfn, at most end. */
static uint64_t run_end(struct builder *b, const struct live_block *block,
			uint64_t pfn, uint64_t end)
{
	uint64_t block_end = block->pfn + (1ull << block->order);

	end = end < block_end ? end : block_end;
	if (!block->parted)
		return end;
	while (pfn < end && live_find(b->live, pfn) == block)
		pfn++;
	return pfn;
}

static void free_block(struct builder *b, struct script_list *list,
		       struct live_block *block)
{
	uint64_t pfn = block->pfn, end = pfn + (1ull << block->order), stop;

	for (; pfn < end; pfn = stop) {
		stop = run_end(b, block, pfn, end);
		if (stop > pfn)
			free_run(b, list, block, pfn, stop);
		else
			stop++;
		if (block->pages == 0)
			break;
	}
}

static void on_alloc(struct builder *b, struct script_list *list,
		     const struct trace_event *e)
{
	struct script_counts *c = &b->script->counts;
	uint64_t pfn, pages = 1ull << e->order;
	struct live_block *block;
	bool again = false;
	script_op op;

	for (pfn = e->pfn; pfn < e->pfn + pages; pfn++) {
		block = live_find(b->live, pfn);
		if (block) {
			again = true;
			free_block(b, list, block);
		}
	}
	c->realloc_live += again;
	c->allocs++;
	c->order_allocs[e->order]++;
	op = script_op_make(SCRIPT_ALLOC, b->script->nr_slots, 0, e->order);
	if (e->zero)
		op |= SCRIPT_ZERO;
	/* Linux numbers the three as quire does; others are kept apart there
	 * for reasons that a trace does not tell. */
	if (e->migratetype > 0 && e->migratetype <= QUIRE_TYPE_RECLAIMABLE)
		op |= (script_op)e->migratetype << SCRIPT_TYPE_SHIFT;
	list_add(b, list, op);
	if (!live_add(b->live, e->pfn, e->order, b->script->nr_slots++))
		b->no_memory = true;
	b->given += pages;
	c->live_pages += pages;
	if (c->live_pages > c->peak_pages)
		c->peak_pages = c->live_pages;
}

static void on_free(struct builder *b, struct script_list *list,
		    const struct trace_event *e)
{
	struct script_counts *c = &b->script->counts;
	uint64_t pfn = e->pfn, end = pfn + (1ull << e->order), stop;
	unsigned runs = 0;
	bool split = false, unknown = false;

	for (; pfn < end; pfn = stop) {
		struct live_block *block = live_find(b->live, pfn);

		if (!block) {
			unknown = true;
			stop = pfn + 1;
			continue;
		}
		stop = run_end(b, block, pfn, end);
		runs++;
		free_run(b, list, block, pfn, stop);
		split |= block->parted;
	}
	if (runs == 0) {
		c->unknown_frees++;
		return;
	}
	c->frees++;
	c->order_frees[e->order]++;
	c->split_frees += split;
	c->wide_frees += runs > 1 || unknown;
}

/* ------------------------------------------------------------------ */
/* Rounds                                                              */

static void rounds_halve(struct builder *b)
{
	struct script *s = b->script;
	unsigned i, c;

	for (i = 0; i < SCRIPT_MAX_ROUNDS / 2; i++) {
		uint64_t given = s->rounds[2 * i].given;

		s->rounds[i] = s->rounds[2 * i + 1];
		s->rounds[i].given += given;
		for (c = 0; c < s->nr_cpus; c++)
			s->cpus[c].cuts[i] = s->cpus[c].cuts[2 * i + 1];
	}
	s->nr_rounds /= 2;
	b->round_events *= 2;
}

static void round_end(struct builder *b)
{
	struct script *s = b->script;
	unsigned c;

	s->rounds[s->nr_rounds] = (struct script_round){
		.time_ns = b->last_ns - b->first_ns,
		.events = s->counts.events,
		.live = s->counts.live_pages,
		.given = b->given,
	};
	for (c = 0; c < s->nr_cpus; c++)
		s->cpus[c].cuts[s->nr_rounds] = s->cpus[c].list.nr;
	b->given = 0;
	if (++s->nr_rounds == SCRIPT_MAX_ROUNDS)
		rounds_halve(b);
}

static void on_event(struct builder *b, const struct trace_event *e)
{
	struct script_counts *c = &b->script->counts;
	struct script_cpu *cpu = cpu_get(b, e->cpu);

	if (!cpu || b->script->nr_slots == UINT32_MAX) {
		b->no_memory = true;
		return;
	}
	if (c->events == 0)
		b->first_ns = b->last_ns = e->time_ns;
	else if (e->time_ns > b->last_ns)
		b->last_ns = e->time_ns;
	c->events++;
	b->turn = b->cpu_index[e->cpu] - 1;
	if (e->kind == TRACE_ALLOC)
		on_alloc(b, &cpu->list, e);
	else if (e->kind == TRACE_FREE)
		on_free(b, &cpu->list, e);
	else
		c->failed_allocs++;
	if (c->events % b->round_events == 0)
		round_end(b);
}

/* ------------------------------------------------------------------ */

static void tail_add(void *arg, struct live_block *block)
{
	struct builder *b = arg;

	free_block(b, &b->script->tail, block);
}

static void mark_parted(struct builder *b)
{
	const script_op exact = script_op_make(SCRIPT_ALLOC_EXACT, 0, 0, 0);
	unsigned c;
	uint32_t i;

	for (c = 0; c < b->script->nr_cpus; c++) {
		struct script_list *list = &b->script->cpus[c].list;

		for (i = 0; i < list->nr; i++)
			if (script_op_kind(list->ops[i]) == SCRIPT_ALLOC &&
			    parted_get(b, script_op_slot(list->ops[i])))
				list->ops[i] |= exact;
	}
}

static void finish(struct builder *b)
{
	struct script *s = b->script;
	uint64_t live = s->counts.live_pages, before = 0;
	unsigned i;

	if (s->nr_rounds == 0 ||
	    s->rounds[s->nr_rounds - 1].events != s->counts.events)
		round_end(b);
	s->counts.duration_ns = b->last_ns - b->first_ns;
	for (i = 0; i < s->nr_rounds; i++) {
		uint64_t worst = before + s->rounds[i].given;

		if (worst > s->counts.worst_pages)
			s->counts.worst_pages = worst;
		before = s->rounds[i].live;
	}
	live_each(b->live, tail_add, b);
	s->counts.live_pages = live;
	if (b->parted)
		mark_parted(b);
}

/* Feeds the whole trace to the builder; false with error filled. */
static bool read_events(struct builder *b, const char *path, char *error)
{
	const char *what = strrchr(path, '/');
	struct trace *t = trace_open(path);
	struct script_counts *c = &b->script->counts;
	enum trace_result result = TRACE_ERROR;
	struct trace_event e;

	if (!t) {
		b->no_memory = true;
		return false;
	}
	what = what ? what + 1 : path;
	while (!b->no_memory && (result = trace_next(t, &e)) == TRACE_EVENT) {
		on_event(b, &e);
		if (c->events % 16384 == 0)
			progress_bar(what, trace_progress(t),
				     text_count(TEXT, c->events));
	}
	progress_clear();
	if (result == TRACE_ERROR)
		snprintf(error, SCRIPT_ERROR_SIZE, "%s", trace_error(t));
	else if (c->events == 0)
		snprintf(error, SCRIPT_ERROR_SIZE,
			 "%s: no mm_page_alloc or mm_page_free event in "
			 "%llu lines",
			 path, (unsigned long long)trace_lines(t));
	c->lost_events = trace_lost(t);
	trace_close(t);
	return result == TRACE_END && c->events;
}

struct script *script_read(const char *path, char error[SCRIPT_ERROR_SIZE])
{
	struct script *s = calloc(1, sizeof(*s));
	struct builder b = { .script = s, .live = live_new() };
	bool ok = false;

	*error = 0;
	b.round_events = FIRST_ROUND_EVENTS;
	if (s)
		s->rounds = calloc(SCRIPT_MAX_ROUNDS, sizeof(*s->rounds));
	if (!s || !b.live || !s->rounds)
		b.no_memory = true;
	else
		ok = read_events(&b, path, error);
	if (ok)
		finish(&b);
	if (b.no_memory)
		snprintf(error, SCRIPT_ERROR_SIZE,
			 "%s: no memory for the events", path);
	live_delete(b.live);
	free(b.parted);
	if (!ok || b.no_memory) {
		script_delete(s);
		return NULL;
	}
	return s;
}

void script_delete(struct script *s)
{
	unsigned c;

	if (!s)
		return;
	for (c = 0; c < s->nr_cpus; c++) {
		free(s->cpus[c].list.ops);
		free(s->cpus[c].cuts);
	}
	free(s->cpus);
	free(s->rounds);
	free(s->tail.ops);
	free(s->turns);
	free(s);
}
