/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bytes as a page trace. Four bytes say how the rest comes to the reader:
 * plain, repeated, compressed, cut short or damaged. What trace.c makes of it
 * is compared with a reading line by line, each line in memory of its own size;
 * every event, printed and read again, must be the same; and the script made of
 * the trace must free each page that it allocates exactly once.
 *
 * A compressed trace that was cut short must not pass for a shorter one.
 *
 * QUIRE_FUZZ_PLANT: order, lines, lost, end, script.
 */
#include "fuzz.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../tools/script.h"
#include "../../tools/trace.h"

enum {
	MAX_LINE = 1 << 20, /* of trace.c */
	MAX_TEXT = MAX_LINE + (1 << 18),
	MAX_SCRIPT_PAGES = 1 << 18,
};

/* How the text becomes a file. */
enum form { PLAIN, REPEATED, GZIP, ZSTD, BZIP2 };
enum damage { WHOLE, CUT, CHANGED, NR_DAMAGES };

struct bytes {
	uint8_t *at;
	size_t size;
};

struct reading {
	struct trace_event *events;
	size_t nr, max;
	uint64_t lines, lost, total_lost;
	uint64_t pages; /* of all its blocks */
	bool good;
};

/* --- the reference --- */

static void reading_add(struct reading *r, const struct trace_event *event)
{
	if (r->nr == r->max) {
		r->max = r->max ? 2 * r->max : 64;
		r->events = realloc(r->events, r->max * sizeof(*event));
		if (!r->events)
			abort();
	}
	r->events[r->nr++] = *event;
	r->pages += UINT64_C(1) << event->order;
}

static bool same_event(const struct trace_event *a, const struct trace_event *b)
{
	return a->time_ns == b->time_ns && a->pfn == b->pfn &&
	       a->cpu == b->cpu && a->kind == b->kind && a->order == b->order &&
	       a->migratetype == b->migratetype && a->zero == b->zero;
}

#define EVENT_FORMAT                                                           \
	"kind %d cpu %u time %" PRIu64 " pfn 0x%" PRIx64                       \
	" order %u type %d zero %d"
#define EVENT_VALUES(e)                                                        \
	(int)(e)->kind, (e)->cpu, (e)->time_ns, (e)->pfn, (e)->order,          \
		(e)->migratetype, (e)->zero

static void check_event(const struct trace_event *e)
{
	FUZZ_CHECK(e->cpu < TRACE_MAX_CPUS && e->order <= TRACE_MAX_ORDER &&
			   e->pfn < TRACE_MAX_PFN &&
			   (unsigned)e->kind <= TRACE_ALLOC_FAILED &&
			   e->migratetype >= -1 && e->migratetype < 64,
		   EVENT_FORMAT, EVENT_VALUES(e));
}

/* Reads the line in memory of its own size, with event filled by fill. */
static enum trace_line parse(const char *line, size_t length, int fill,
			     struct trace_event *event, uint64_t *count,
			     char problem[TRACE_PROBLEM_SIZE])
{
	char *copy = malloc(length ? length : 1);
	enum trace_line kind;

	if (!copy)
		abort();
	memcpy(copy, line, length);
	memset(event, fill, sizeof(*event));
	memset(problem, 'x', TRACE_PROBLEM_SIZE);
	*count = (uint64_t)fill;
	kind = trace_line_parse(copy, length, event, count, problem);
	free(copy);
	return kind;
}

/* What is printed of an event is read as that event. */
static void check_again(const struct trace_event *e)
{
	char line[256], problem[TRACE_PROBLEM_SIZE], type[32] = "";
	struct trace_event again;
	uint64_t count;
	int n;

	if (e->migratetype >= 0)
		snprintf(type, sizeof(type), " migratetype=%d", e->migratetype);
	n = snprintf(line, sizeof(line),
		     "task-1 [%03u] ..... %" PRIu64 ": mm_page_%s: page=%s "
		     "pfn=0x%" PRIx64 " order=%u%s%s",
		     e->cpu, e->time_ns,
		     e->kind == TRACE_FREE ? "free" : "alloc",
		     e->kind == TRACE_ALLOC_FAILED ? "(null)" : "1", e->pfn,
		     e->order, type, e->zero ? " gfp_flags=__GFP_ZERO" : "");
	FUZZ_CHECK(parse(line, (size_t)n, 1, &again, &count, problem) ==
				   TRACE_LINE_EVENT &&
			   same_event(e, &again),
		   "\"%s\": " EVENT_FORMAT, line, EVENT_VALUES(&again));
}

/* One line into r; false where it ends the reading. */
static bool read_line(struct reading *r, const char *line, size_t length)
{
	char problem[2][TRACE_PROBLEM_SIZE];
	struct trace_event e, twin;
	enum trace_line kind, again;
	uint64_t count, twin_count;

	r->lines++;
	kind = parse(line, length, 0, &e, &count, problem[0]);
	again = parse(line, length, 255, &twin, &twin_count, problem[1]);
	FUZZ_CHECK(kind == again, "%d, then %d: \"%.*s\"", (int)kind,
		   (int)again, (int)length, line);
	switch (kind) {
	case TRACE_LINE_EVENT:
		FUZZ_CHECK(same_event(&e, &twin), EVENT_FORMAT,
			   EVENT_VALUES(&twin));
		check_event(&e);
		check_again(&e);
		e.order += fuzz_planted("order");
		reading_add(r, &e);
		return true;
	case TRACE_LINE_LOST:
		FUZZ_CHECK(count == twin_count, "%" PRIu64, twin_count);
		r->lost += count + fuzz_planted("lost");
		return true;
	case TRACE_LINE_TOTAL:
		FUZZ_CHECK(count == twin_count, "%" PRIu64, twin_count);
		r->total_lost += count + fuzz_planted("lost");
		return true;
	case TRACE_LINE_BAD:
		FUZZ_CHECK(memchr(problem[0], 0, TRACE_PROBLEM_SIZE) &&
				   problem[0][0],
			   "no problem told: \"%.*s\"", (int)length, line);
		return false;
	case TRACE_LINE_OTHER:
		return true;
	}
	FUZZ_CHECK(false, "line is %d", (int)kind);
}

static bool is_recording(struct bytes text)
{
	return (text.size >= 8 && !memcmp(text.at, "PERFILE2", 8)) ||
	       (text.size >= 10 && !memcmp(text.at, "\x17\x08\x44tracing", 10));
}

/* The whole text, line by line. */
static void read_lines(struct reading *r, struct bytes text)
{
	const char *at = (const char *)text.at, *end = at + text.size;
	const char *zero = text.size ? memchr(at, 0, text.size) : NULL;

	if (text.size == 0 || is_recording(text))
		return;
	end = zero ? zero : end;
	while (at < end) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		size_t length;

		if (!newline || newline - at >= MAX_LINE)
			return;
		length = (size_t)(newline - at);
		if (length && at[length - 1] == '\r')
			length--;
		if (!read_line(r, at, length))
			return;
		at = newline + 1;
	}
	r->good = !zero;
}

/* --- the reader --- */

static void read_trace(struct reading *r, const char *path)
{
	struct trace *t = trace_open(path);
	enum trace_result result;
	struct trace_event e;

	if (!t)
		abort();
	while ((result = trace_next(t, &e)) == TRACE_EVENT) {
		double progress = trace_progress(t);

		FUZZ_CHECK(progress >= 0 && progress <= 1, "%g", progress);
		check_event(&e);
		reading_add(r, &e);
	}
	r->good = result == TRACE_END;
	r->lines = trace_lines(t);
	r->lost = trace_lost(t);
	FUZZ_CHECK(r->good == (trace_error(t)[0] == 0), "%d, error \"%s\"",
		   (int)result, trace_error(t));
	FUZZ_CHECK(r->good || strncmp(trace_error(t), path, strlen(path)) == 0,
		   "\"%s\" names no file", trace_error(t));
	FUZZ_CHECK(trace_next(t, &e) == result, "after %d", (int)result);
	trace_close(t);
}

static void compare(const struct reading *got, struct reading *want)
{
	if (want->total_lost > want->lost)
		want->lost = want->total_lost;
	if (fuzz_planted("end"))
		want->good = true;
	for (size_t i = 0; i < got->nr && i < want->nr; i++)
		FUZZ_CHECK(same_event(&got->events[i], &want->events[i]),
			   "event %zu: " EVENT_FORMAT ", not " EVENT_FORMAT, i,
			   EVENT_VALUES(&got->events[i]),
			   EVENT_VALUES(&want->events[i]));
	FUZZ_CHECK(got->nr == want->nr && got->good == want->good,
		   "%zu events and %s, not %zu and %s", got->nr,
		   got->good ? "the end" : "an error", want->nr,
		   want->good ? "the end" : "an error");
	FUZZ_CHECK(got->lost == want->lost, "%" PRIu64 " lost, not %" PRIu64,
		   got->lost, want->lost);
	/* A line too long or cut is counted by neither. */
	FUZZ_CHECK(got->lines == want->lines + fuzz_planted("lines"),
		   "%" PRIu64 " lines, not %" PRIu64, got->lines, want->lines);
}

/* --- the script --- */

struct slots {
	uint32_t *start; /* of a slot, in pages; last: the end */
	uint8_t *freed;	 /* a byte for each page */
	uint8_t *exact;	 /* of a slot: allocated as single pages */
};

static void run_allocs(const struct script *s, struct slots *slots)
{
	uint32_t *orders = calloc(s->nr_slots + 1u, sizeof(*orders));
	uint32_t pages = 0;

	if (!orders)
		abort();
	for (unsigned c = 0; c < s->nr_cpus; c++) {
		const struct script_list *list = &s->cpus[c].list;

		for (uint32_t i = 0; i < list->nr; i++) {
			enum script_kind kind = script_op_kind(list->ops[i]);
			uint32_t slot = script_op_slot(list->ops[i]);

			FUZZ_CHECK(slot < s->nr_slots, "slot %u of %u", slot,
				   s->nr_slots);
			if (kind != SCRIPT_ALLOC && kind != SCRIPT_ALLOC_EXACT)
				continue;
			FUZZ_CHECK(!orders[slot], "slot %u twice", slot);
			orders[slot] = 1 + script_op_order(list->ops[i]);
			slots->exact[slot] = kind == SCRIPT_ALLOC_EXACT;
		}
	}
	for (uint32_t slot = 0; slot < s->nr_slots; slot++) {
		FUZZ_CHECK(orders[slot], "slot %u is not allocated", slot);
		slots->start[slot] = pages;
		pages += UINT32_C(1) << (orders[slot] - 1);
	}
	slots->start[s->nr_slots] = pages;
	free(orders);
}

/* Returns how many pages it frees. */
static uint64_t run_frees(const struct script *s, struct slots *slots,
			  const struct script_list *list)
{
	uint64_t freed = 0;

	for (uint32_t i = 0; i < list->nr; i++) {
		enum script_kind kind = script_op_kind(list->ops[i]);
		uint32_t slot = script_op_slot(list->ops[i]), at, n;

		if (kind != SCRIPT_FREE && kind != SCRIPT_FREE_PART)
			continue;
		FUZZ_CHECK(slot < s->nr_slots, "slot %u", slot);
		at = slots->start[slot] + script_op_offset(list->ops[i]);
		n = UINT32_C(1) << script_op_order(list->ops[i]);
		FUZZ_CHECK(at + n <= slots->start[slot + 1],
			   "slot %u: %u pages at %u of %u", slot, n,
			   at - slots->start[slot],
			   slots->start[slot + 1] - slots->start[slot]);
		FUZZ_CHECK(slots->exact[slot] == (kind == SCRIPT_FREE_PART),
			   "slot %u", slot);
		for (uint32_t k = at; k < at + n; k++)
			FUZZ_CHECK(!slots->freed[k]++, "slot %u page %u twice",
				   slot, k - slots->start[slot]);
		freed += n;
	}
	return freed;
}

static void check_rounds(const struct script *s)
{
	FUZZ_CHECK(s->nr_rounds > 0 && s->nr_rounds < SCRIPT_MAX_ROUNDS &&
			   s->rounds[s->nr_rounds - 1].events ==
				   s->counts.events,
		   "%u rounds", s->nr_rounds);
	for (unsigned c = 0; c < s->nr_cpus; c++) {
		const uint32_t *cuts = s->cpus[c].cuts;

		for (unsigned r = 1; r < s->nr_rounds; r++)
			FUZZ_CHECK(cuts[r - 1] <= cuts[r], "round %u", r);
		FUZZ_CHECK(cuts[s->nr_rounds - 1] == s->cpus[c].list.nr,
			   "%u of %u", cuts[s->nr_rounds - 1],
			   s->cpus[c].list.nr);
	}
}

static void check_counts(const struct script *s, const struct reading *r)
{
	const struct script_counts *c = &s->counts;
	uint64_t allocs = 0, frees = 0;

	for (unsigned k = 0; k < SCRIPT_NR_ORDERS; k++) {
		allocs += c->order_allocs[k];
		frees += c->order_frees[k];
	}
	FUZZ_CHECK(c->events == r->nr && c->events == c->allocs + c->frees +
							      c->failed_allocs +
							      c->unknown_frees,
		   "%" PRIu64 " events: %" PRIu64 " %" PRIu64 " %" PRIu64
		   " %" PRIu64,
		   c->events, c->allocs, c->frees, c->failed_allocs,
		   c->unknown_frees);
	FUZZ_CHECK(allocs == c->allocs && frees == c->frees &&
			   s->nr_slots == allocs,
		   "%" PRIu64 " allocs, %" PRIu64 " frees, %u slots", allocs,
		   frees, s->nr_slots);
	FUZZ_CHECK(c->live_pages <= c->peak_pages &&
			   c->peak_pages <= c->worst_pages &&
			   c->lost_events == r->lost,
		   "%" PRIu64 " live, %" PRIu64 " peak, %" PRIu64 " worst",
		   c->live_pages, c->peak_pages, c->worst_pages);
}

/* Every page that it allocates is freed once. */
static void check_pages(const struct script *s)
{
	struct slots slots = {
		.start = calloc(s->nr_slots + 1u, sizeof(*slots.start)),
		.exact = calloc(s->nr_slots + 1u, 1),
	};
	uint64_t freed = 0, tail;
	uint32_t all;

	if (!slots.start || !slots.exact)
		abort();
	run_allocs(s, &slots);
	all = slots.start[s->nr_slots];
	slots.freed = calloc(all + 1u, 1);
	if (!slots.freed)
		abort();
	for (unsigned c = 0; c < s->nr_cpus; c++)
		freed += run_frees(s, &slots, &s->cpus[c].list);
	tail = run_frees(s, &slots, &s->tail);
	freed += tail + fuzz_planted("script");
	FUZZ_CHECK(freed == all && tail == s->counts.live_pages,
		   "%" PRIu64 " of %u pages freed, %" PRIu64
		   " of them last, not %" PRIu64,
		   freed, all, tail, s->counts.live_pages);
	free(slots.start);
	free(slots.exact);
	free(slots.freed);
}

static void check_script(const struct reading *r, const char *path)
{
	char error[SCRIPT_ERROR_SIZE];
	struct script *s = script_read(path, error);

	FUZZ_CHECK((s != NULL) == (r->good && r->nr > 0),
		   "%zu events, %s: script %s, \"%s\"", r->nr,
		   r->good ? "the end" : "an error", s ? "made" : "refused",
		   error);
	FUZZ_CHECK((s != NULL) == (error[0] == 0), "\"%s\"", error);
	if (!s)
		return;
	check_counts(s, r);
	check_rounds(s);
	check_pages(s);
	script_delete(s);
}

/* --- the file --- */

static struct bytes repeat(struct bytes text, unsigned times)
{
	struct bytes all = { NULL, 0 };
	size_t most = text.size ? MAX_TEXT / text.size : 0;

	times = times < most ? times : (unsigned)most;
	times = times ? times : 1;
	all.at = malloc(text.size * times + 1);
	if (!all.at)
		abort();
	for (; times > 0; times--) {
		memcpy(all.at + all.size, text.at, text.size);
		all.size += text.size;
	}
	return all;
}

static int add_filter(struct archive *a, enum form form)
{
	if (form == GZIP)
		return archive_write_add_filter_gzip(a);
	if (form == ZSTD)
		return archive_write_add_filter_zstd(a);
	return archive_write_add_filter_bzip2(a);
}

/* False where this libarchive cannot. */
static bool compress(struct bytes text, enum form form, struct bytes *out)
{
	struct archive *a = archive_write_new();
	struct archive_entry *entry = archive_entry_new();
	bool ok = a && entry;

	out->at = malloc(2 * text.size + 4096);
	out->size = 0;
	if (!out->at)
		abort();
	ok = ok && add_filter(a, form) == ARCHIVE_OK &&
	     archive_write_set_format_raw(a) == ARCHIVE_OK &&
	     archive_write_set_bytes_per_block(a, 0) == ARCHIVE_OK &&
	     archive_write_open_memory(a, out->at, 2 * text.size + 4096,
				       &out->size) == ARCHIVE_OK;
	if (ok) {
		archive_entry_set_filetype(entry, AE_IFREG);
		ok = archive_write_header(a, entry) == ARCHIVE_OK &&
		     archive_write_data(a, text.at, text.size) ==
			     (la_ssize_t)text.size &&
		     archive_write_close(a) == ARCHIVE_OK;
	}
	archive_entry_free(entry);
	archive_write_free(a);
	if (!ok)
		free(out->at);
	return ok;
}

static void do_damage(struct bytes *file, enum damage damage, unsigned where)
{
	if (!file->size)
		return;
	if (damage == CUT)
		file->size -= 1 + where % file->size;
	else if (damage == CHANGED)
		file->at[where % file->size] ^= (uint8_t)(1u << where % 8);
}

/* Whether libarchive may take this text for something compressed. */
static bool has_magic(struct bytes text)
{
	static const uint8_t magics[][2] = { { 0x1f, 0x8b },
					     { 'B', 'Z' },
					     { 0xfd, '7' },
					     { 0x28, 0xb5 },
					     { 0x2a, 0x4d } };

	for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++)
		if (text.size >= 3 && (!memcmp(text.at, magics[i], 2) ||
				       !memcmp(text.at + 1, magics[i], 2)))
			return true;
	return false;
}

static void check_file(struct bytes file, struct bytes text, bool exactly,
		       bool cut)
{
	struct reading got = { 0 }, want = { 0 };
	char path[64];
	int fd = memfd_create("trace", MFD_CLOEXEC);

	if (fd < 0 || write(fd, file.at, file.size) != (ssize_t)file.size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	read_trace(&got, path);
	if (exactly || cut)
		read_lines(&want, text);
	if (exactly)
		compare(&got, &want);
	/* What is not all must not end well. */
	if (cut && got.good)
		compare(&got, &want);
	if (got.pages <= MAX_SCRIPT_PAGES)
		check_script(&got, path);
	close(fd);
	free(got.events);
	free(want.events);
}

static enum form choose_form(uint8_t byte)
{
	static const enum form forms[] = { PLAIN, REPEATED, GZIP,  ZSTD,
					   BZIP2, PLAIN,    PLAIN, PLAIN };

	return forms[byte % 8];
}

/* Mostly few, for speed; else until lines come over the buffer's end. */
static unsigned times(unsigned value)
{
	return value < 0xff00 ? value % 64 : value;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, data + size };
	enum form form = choose_form(fuzz_byte(&in));
	enum damage damage = fuzz_byte(&in) % NR_DAMAGES;
	unsigned value = fuzz_word(&in);
	struct bytes rest = { (uint8_t *)(uintptr_t)in.at,
			      (size_t)(in.end - in.at) };
	struct bytes text = repeat(rest, form == REPEATED ? times(value) : 1);
	struct bytes file;
	bool packed = form > REPEATED && compress(text, form, &file);

	if (!packed)
		file = text;
	do_damage(&file, damage, value);
	if (!packed) /* damaged, it is another text */
		check_file(file, file, !has_magic(file), false);
	else
		check_file(file, text, damage == WHOLE && !has_magic(text),
			   damage == CUT && !has_magic(text));
	if (packed)
		free(file.at);
	free(text.at);
	return 0;
}
