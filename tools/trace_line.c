/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One line of a page trace.
 *
 * Four programs print kmem:mm_page_alloc and kmem:mm_page_free:
 *
 *   ftrace     TASK-PID  [CPU] FLAGS SECONDS: EVENT: FIELDS
 *              TASK-PID (TGID) [CPU] FLAGS SECONDS: EVENT: FIELDS
 *   perf       TASK PID [CPU] SECONDS: kmem:EVENT: FIELDS
 *   trace-cmd  TASK-PID  [CPU] SECONDS: EVENT: FIELDS
 *              TASK-PID  CPU+FLAGS SECONDS: EVENT: FIELDS       (report -l)
 *
 * TASK is whatever a program called itself: it can hold spaces, brackets,
 * dashes, colons, even an event's name. So nothing is read from the left: the
 * event's name is found first, and seconds, flags and CPU are read backwards
 * from it; what does not have them before it was not the event but a part of
 * some name. FIELDS are key=value in any order; pfn is hexadecimal with 0x
 * since Linux 5.14, decimal before.
 *
 * Losses: ftrace's "CPU:1 [LOST 12 EVENTS]", trace-cmd's "CPU:1 [12 EVENTS
 * DROPPED]", perf's "PERF_RECORD_LOST lost 12" stand where events are missing;
 * quire-record's "# lost 12" closes a recording with the total.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "trace_line.h"

#include <stdio.h>
#include <string.h>

/* A stretch of the line. */
struct span {
	const char *at, *end;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

static bool span_starts(struct span s, const char *text)
{
	size_t n = strlen(text);

	return (size_t)(s.end - s.at) >= n && memcmp(s.at, text, n) == 0;
}

static struct span span_find(struct span s, const char *text)
{
	const char *hit =
		memmem(s.at, (size_t)(s.end - s.at), text, strlen(text));

	return (struct span){ hit ? hit : s.end, s.end };
}

/* Decimal digits at s->at; false if there is none or it exceeds 64 bits. */
static bool span_decimal(struct span *s, uint64_t *value)
{
	const char *p = s->at;
	uint64_t v = 0;

	for (; p < s->end && is_digit(*p); p++) {
		if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return false;
	}
	if (p == s->at)
		return false;
	s->at = p;
	*value = v;
	return true;
}

static bool span_hex(struct span *s, uint64_t *value)
{
	const char *p = s->at;
	uint64_t v = 0;

	for (; p < s->end; p++) {
		unsigned digit;

		if (is_digit(*p))
			digit = (unsigned)(*p - '0');
		else if (*p >= 'a' && *p <= 'f')
			digit = (unsigned)(*p - 'a') + 10;
		else if (*p >= 'A' && *p <= 'F')
			digit = (unsigned)(*p - 'A') + 10;
		else
			break;
		if (v >> 60)
			return false;
		v = v << 4 | digit;
	}
	if (p == s->at)
		return false;
	s->at = p;
	*value = v;
	return true;
}

/* ------------------------------------------------------------------ */
/* Backwards from the event's name                                     */

struct header {
	uint64_t time_ns;
	uint64_t cpu;
};

static const char *back_spaces(const char *from, const char *p)
{
	while (p > from && is_space(p[-1]))
		p--;
	return p;
}

/* The start of the word that ends at p. */
static const char *back_word(const char *from, const char *p)
{
	while (p > from && !is_space(p[-1]))
		p--;
	return p;
}

/*
 * "12.345678" is seconds; a clock without a point (counter, x86-tsc) is taken
 * as nanoseconds, for it only has to grow.
 */
static bool header_time(const char *at, const char *end, uint64_t *time_ns)
{
	struct span s = { at, end };
	uint64_t seconds, fraction = 0, scale = 1000000000;

	if (!span_decimal(&s, &seconds))
		return false;
	if (s.at == end) {
		*time_ns = seconds;
		return true;
	}
	if (*s.at++ != '.' || seconds > UINT64_MAX / scale - 1)
		return false;
	for (; s.at < end && is_digit(*s.at) && scale > 1; s.at++) {
		scale /= 10;
		fraction += (uint64_t)(*s.at - '0') * scale;
	}
	*time_ns = seconds * 1000000000 + fraction;
	return s.at == end;
}

static bool header_cpu(const char *from, const char *p, uint64_t *cpu)
{
	const char *word = back_word(from, p);
	struct span s = { word, p };

	/* Flags, unless the CPU stands here already. */
	if (p[-1] != ']') {
		if (span_decimal(&s, cpu) && p - s.at >= 4)
			return true; /* report -l: "0d..1." */
		p = back_spaces(from, word);
	}
	if (p == from || p[-1] != ']')
		return false;
	s.end = --p;
	while (p > from && is_digit(p[-1]))
		p--;
	s.at = p;
	return p > from && p[-1] == '[' && span_decimal(&s, cpu) &&
	       s.at == s.end;
}

/* Reads "[CPU] FLAGS SECONDS: " that ends where an event's name begins. */
static bool header_parse(const char *from, const char *name, struct header *h)
{
	const char *p = back_spaces(from, name), *word;

	if (p > from && is_digit(p[-1])) /* perf's period */
		p = back_spaces(from, back_word(from, p));
	if (p == from || p[-1] != ':')
		return false;
	word = back_word(from, --p);
	if (!header_time(word, p, &h->time_ns))
		return false;
	p = back_spaces(from, word);
	return p > from && header_cpu(from, p, &h->cpu);
}

/* Whether the line is an event of some other name. */
static bool line_is_event(struct span line)
{
	struct span s = line;
	struct header h;

	for (s = span_find(s, ": "); s.at < s.end; s = span_find(s, ": ")) {
		s.at += 2;
		if (header_parse(line.at, s.at, &h))
			return true;
	}
	return false;
}

/* ------------------------------------------------------------------ */
/* Fields                                                              */

struct fields {
	uint64_t pfn, order;
	int migratetype;
	bool has_pfn, has_order;
	bool null_page, null_pfn; /* printed for an allocation that failed */
	bool minus, bad_order;
	bool zero;
};

static struct span next_word(struct span *s)
{
	struct span word;

	while (s->at < s->end && is_space(*s->at))
		s->at++;
	word.at = s->at;
	while (s->at < s->end && !is_space(*s->at))
		s->at++;
	word.end = s->at;
	return word;
}

static bool field_pfn(struct span v, struct fields *f)
{
	struct span s = v;
	bool ok;

	if (span_starts(v, "-1")) {
		f->null_pfn = true;
		return v.end - v.at == 2;
	}
	if (span_starts(v, "0x")) {
		s.at += 2;
		ok = span_hex(&s, &f->pfn);
	} else {
		ok = span_decimal(&s, &f->pfn);
	}
	f->null_pfn = f->pfn == 0 || f->pfn == UINT64_MAX;
	return ok && s.at == s.end;
}

static bool field_order(struct span v, struct fields *f)
{
	if (v.at < v.end && *v.at == '-') {
		v.at++;
		f->minus = f->bad_order = true;
	}
	if (!span_decimal(&v, &f->order) || v.at != v.end)
		return false;
	if (f->order > TRACE_MAX_ORDER)
		f->bad_order = true;
	return true;
}

static void field_migratetype(struct span v, struct fields *f)
{
	uint64_t type;

	if (span_decimal(&v, &type) && type < 64)
		f->migratetype = (int)type;
}

/* Says in problem which field is wrong; false if one is. */
static bool fields_parse(struct span s, struct fields *f, char *problem)
{
	while (s.at < s.end) {
		struct span word = next_word(&s), value = word;

		if (span_starts(word, "pfn=")) {
			value.at += 4;
			f->has_pfn = field_pfn(value, f);
			if (f->has_pfn)
				continue;
		} else if (span_starts(word, "order=")) {
			value.at += 6;
			f->has_order = field_order(value, f);
			if (f->has_order)
				continue;
		} else {
			value.at += 5;
			if (span_starts(word, "page="))
				f->null_page = span_starts(value, "(null)") ||
					       span_starts(value, "(nil)") ||
					       span_starts(value, "NULL");
			else if (span_starts(word, "migratetype="))
				field_migratetype(
					(struct span){ word.at + 12, word.end },
					f);
			else if (span_starts(word, "gfp_flags="))
				f->zero = span_find(word, "GFP_ZERO").at <
					  word.end;
			continue;
		}
		snprintf(problem, TRACE_PROBLEM_SIZE,
			 "\"%.*s\" is not a number",
			 (int)(word.end - word.at > 60 ? 60
						       : word.end - word.at),
			 word.at);
		return false;
	}
	return true;
}

/* Whether what was read can be; else problem says what cannot. */
static bool event_check(const struct header *h, const struct fields *f,
			const struct trace_event *event, char *problem)
{
	bool failed = event->kind == TRACE_ALLOC_FAILED;

	if (!f->has_pfn || !f->has_order)
		snprintf(problem, TRACE_PROBLEM_SIZE, "a page event without %s",
			 f->has_pfn ? "order=" : "pfn=");
	else if (h->cpu >= TRACE_MAX_CPUS)
		snprintf(problem, TRACE_PROBLEM_SIZE,
			 "CPU %llu: numbers below %u are supported",
			 (unsigned long long)h->cpu, TRACE_MAX_CPUS);
	else if (f->bad_order && !failed)
		snprintf(problem, TRACE_PROBLEM_SIZE,
			 "order %s%llu is not in 0..%u", f->minus ? "-" : "",
			 (unsigned long long)f->order, TRACE_MAX_ORDER);
	else if (f->pfn >= TRACE_MAX_PFN - (1u << TRACE_MAX_ORDER) && !failed)
		snprintf(problem, TRACE_PROBLEM_SIZE,
			 "pfn 0x%llx is beyond any physical address",
			 (unsigned long long)f->pfn);
	else
		return true;
	return false;
}

static void event_fill(const struct header *h, const struct fields *f,
		       struct trace_event *event)
{
	bool failed = event->kind == TRACE_ALLOC_FAILED;

	event->time_ns = h->time_ns;
	event->cpu = (uint32_t)h->cpu;
	event->pfn = failed ? 0 : f->pfn;
	event->order = f->bad_order ? 0 : (unsigned)f->order;
	event->migratetype = f->migratetype;
	event->zero = f->zero;
}

/* ------------------------------------------------------------------ */
/* Lines without an event                                              */

static enum trace_line check_cpus(uint64_t cpus, char *problem)
{
	if (cpus <= TRACE_MAX_CPUS)
		return TRACE_LINE_OTHER;
	snprintf(problem, TRACE_PROBLEM_SIZE,
		 "%llu CPUs: at most %u are supported",
		 (unsigned long long)cpus, TRACE_MAX_CPUS);
	return TRACE_LINE_BAD;
}

/* "CPU:1 [LOST 12 EVENTS]", "CPU:1 [12 EVENTS DROPPED]", "... [EVENTS ..." */
static enum trace_line line_dropped(struct span s, uint64_t *count,
				    char *problem)
{
	uint64_t cpu;

	s.at += 4;
	*count = 1;
	if (!span_decimal(&s, &cpu) || !span_starts(s, " ["))
		return TRACE_LINE_OTHER;
	s.at += 2;
	if (span_starts(s, "LOST "))
		s.at += 5;
	else if (span_find(s, "EVENTS DROPPED]").at == s.end)
		return TRACE_LINE_OTHER;
	span_decimal(&s, count);
	if (cpu >= TRACE_MAX_CPUS)
		return check_cpus(cpu + 1, problem);
	return TRACE_LINE_LOST;
}

static enum trace_line line_other(struct span s, uint64_t *count, char *problem)
{
	struct span at;
	uint64_t cpus;

	if (span_starts(s, "# lost ")) {
		s.at += 7;
		return span_decimal(&s, count) ? TRACE_LINE_TOTAL
					       : TRACE_LINE_OTHER;
	}
	if (span_starts(s, "#")) {
		at = span_find(s, "#P:");
		at.at += at.at < at.end ? 3 : 0;
		return span_decimal(&at, &cpus) ? check_cpus(cpus, problem)
						: TRACE_LINE_OTHER;
	}
	if (span_starts(s, "cpus=")) {
		s.at += 5;
		return span_decimal(&s, &cpus) ? check_cpus(cpus, problem)
					       : TRACE_LINE_OTHER;
	}
	if (span_starts(s, "CPU:"))
		return line_dropped(s, count, problem);
	at = span_find(s, "PERF_RECORD_LOST lost ");
	if (at.at == at.end)
		return TRACE_LINE_OTHER;
	at.at += strlen("PERF_RECORD_LOST lost ");
	return span_decimal(&at, count) ? TRACE_LINE_LOST : TRACE_LINE_OTHER;
}

/* ------------------------------------------------------------------ */

enum trace_line trace_line_parse(const char *line, size_t length,
				 struct trace_event *event, uint64_t *count,
				 char problem[TRACE_PROBLEM_SIZE])
{
	struct span whole = { line, line + length }, s = whole;
	bool named = false;

	if (length == 0 || *line == '#')
		return line_other(whole, count, problem);
	for (s = span_find(s, "mm_page_"); s.at < s.end;
	     s = span_find(s, "mm_page_")) {
		const char *name = s.at;
		struct fields f = { .migratetype = -1 };
		struct header h;

		s.at += strlen("mm_page_");
		if (span_starts(s, "alloc:"))
			event->kind = TRACE_ALLOC;
		else if (span_starts(s, "free:"))
			event->kind = TRACE_FREE;
		else
			continue;
		named = true;
		if (name - line >= 5 && memcmp(name - 5, "kmem:", 5) == 0)
			name -= 5;
		if (!header_parse(line, name, &h))
			continue;
		s.at += event->kind == TRACE_ALLOC ? 6 : 5;
		if (!fields_parse(s, &f, problem))
			return TRACE_LINE_BAD;
		if (event->kind == TRACE_ALLOC && (f.null_pfn || f.null_page))
			event->kind = TRACE_ALLOC_FAILED;
		if (!event_check(&h, &f, event, problem))
			return TRACE_LINE_BAD;
		event_fill(&h, &f, event);
		return TRACE_LINE_EVENT;
	}
	if (!named)
		return line_other(whole, count, problem);
	if (line_is_event(whole))
		return TRACE_LINE_OTHER;
	snprintf(problem, TRACE_PROBLEM_SIZE,
		 "a page event without \"[CPU] SECONDS:\" before it");
	return TRACE_LINE_BAD;
}
