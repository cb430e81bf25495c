/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A page trace, read as a stream of events.
 *
 * libarchive's raw format takes any file as an archive with one member, and
 * its filters recognise the compression. The text passes through one buffer:
 * [begin, end) holds bytes not yet read, lines are handed to the line parser
 * in place, and the part of a line at the buffer's end moves to its start
 * before the next fill. A line that does not fit is no line of a trace.
 *
 * Damage must not pass for a shorter trace: a compressed stream that ends
 * early is an error of libarchive's, a last line without its newline was cut,
 * a byte 0 is binary data, and a page event that cannot be read stops the
 * reading. Each is told with file, line and values.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "trace.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Holds thousands of lines, so that moving the rest of one costs nothing. */
#define BUFFER_SIZE ((size_t)1 << 20)
#define READ_SIZE ((size_t)128 << 10)

struct trace {
	struct archive *archive;
	char *path;
	char *buffer;
	size_t begin, end;
	int fd;
	bool eof;
	bool binary; /* the byte at end is 0 */
	uint64_t file_size;
	uint64_t bytes; /* of text, read so far */
	uint64_t line;	/* number of the last line read */
	uint64_t lost, total_lost;
	char error[512];
};

/* Sets the error, once: the first is the cause. */
__attribute__((format(printf, 3, 4))) static void
trace_fail(struct trace *t, uint64_t line, const char *format, ...)
{
	va_list args;
	int n;

	if (t->error[0])
		return;
	if (line)
		n = snprintf(t->error, sizeof(t->error),
			     "%.200s: line %llu: ", t->path,
			     (unsigned long long)line);
	else
		n = snprintf(t->error, sizeof(t->error), "%.200s: ", t->path);
	va_start(args, format);
	vsnprintf(t->error + n, sizeof(t->error) - (size_t)n, format, args);
	va_end(args);
}

/* ------------------------------------------------------------------ */
/* Opening                                                             */

static bool open_file(struct trace *t)
{
	struct stat st;

	t->fd = strcmp(t->path, "-") == 0 ? dup(STDIN_FILENO)
					  : open(t->path, O_RDONLY | O_CLOEXEC);
	if (t->fd < 0 || fstat(t->fd, &st) != 0) {
		trace_fail(t, 0, "cannot open: %s", strerror(errno));
		return false;
	}
	if (S_ISDIR(st.st_mode)) {
		trace_fail(t, 0, "is a directory, not a trace");
		return false;
	}
	if (S_ISREG(st.st_mode)) {
		t->file_size = (uint64_t)st.st_size;
		if (st.st_size == 0) {
			trace_fail(t, 0, "is empty (0 bytes)");
			return false;
		}
	}
	return true;
}

/* libarchive gave up; the text it gave before is whole lines and a part. */
static bool fail_damaged(struct trace *t)
{
	trace_fail(t, t->line + 1,
		   "cut short or damaged after %llu bytes of text: %s",
		   (unsigned long long)t->bytes,
		   archive_error_string(t->archive));
	return false;
}

static bool open_archive(struct trace *t)
{
	struct archive *a = t->archive = archive_read_new();
	struct archive_entry *entry;

	if (!a) {
		trace_fail(t, 0, "no memory for libarchive");
		return false;
	}
	/* ARCHIVE_WARN: done by an external program, which works too. */
	if (archive_read_support_filter_gzip(a) < ARCHIVE_WARN ||
	    archive_read_support_filter_bzip2(a) < ARCHIVE_WARN ||
	    archive_read_support_filter_xz(a) < ARCHIVE_WARN ||
	    archive_read_support_filter_zstd(a) < ARCHIVE_WARN ||
	    archive_read_support_format_raw(a) != ARCHIVE_OK ||
	    archive_read_support_format_empty(a) != ARCHIVE_OK) {
		trace_fail(t, 0, "cannot use libarchive: %s",
			   archive_error_string(a));
		return false;
	}
	if (archive_read_open_fd(a, t->fd, READ_SIZE) != ARCHIVE_OK)
		return fail_damaged(t);
	switch (archive_read_next_header(a, &entry)) {
	case ARCHIVE_OK:
	case ARCHIVE_WARN:
		return true;
	case ARCHIVE_EOF:
		trace_fail(t, 0, "is empty: no text in %llu bytes",
			   (unsigned long long)t->file_size);
		return false;
	default:
		return fail_damaged(t);
	}
}

struct trace *trace_open(const char *path)
{
	struct trace *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->fd = -1;
	t->path = strdup(path);
	t->buffer = malloc(BUFFER_SIZE);
	if (!t->path || !t->buffer) {
		trace_close(t);
		return NULL;
	}
	if (open_file(t))
		open_archive(t);
	return t;
}

void trace_close(struct trace *t)
{
	if (!t)
		return;
	if (t->archive)
		archive_read_free(t->archive);
	if (t->fd >= 0)
		close(t->fd);
	free(t->buffer);
	free(t->path);
	free(t);
}

/* ------------------------------------------------------------------ */
/* Lines                                                               */

/* What begins like another file is that file, or what is left of it. */
static void check_magic(struct trace *t)
{
	size_t n = t->end - t->begin;

	if (n >= 8 && memcmp(t->buffer, "PERFILE2", 8) == 0)
		trace_fail(t, 0,
			   "is a perf.data file: replay the output of "
			   "\"perf script\"");
	if (n >= 10 && memcmp(t->buffer, "\x17\x08\x44tracing", 10) == 0)
		trace_fail(t, 0,
			   "is a trace.dat file: replay the output of "
			   "\"trace-cmd report\"");
	/* libarchive takes so little of a compressed file for text. */
	if ((n >= 3 && memcmp(t->buffer, "\x1f\x8b\x08", 3) == 0) ||
	    (n >= 10 && memcmp(t->buffer, "BZh", 3) == 0 &&
	     memcmp(t->buffer + 4, "1AY&SY", 6) == 0))
		trace_fail(t, 0,
			   "cut short or damaged: begins like a gzip or bzip2 "
			   "file, of which %zu bytes are not enough",
			   n);
}

/* Reads more text behind end; false at an error or the end of the file. */
static bool fill(struct trace *t)
{
	la_ssize_t n;
	const char *zero;

	memmove(t->buffer, t->buffer + t->begin, t->end - t->begin);
	t->end -= t->begin;
	t->begin = 0;
	n = archive_read_data(t->archive, t->buffer + t->end,
			      BUFFER_SIZE - t->end);
	if (n < 0)
		return fail_damaged(t);
	if (n == 0) {
		t->eof = true;
		return false;
	}
	if (t->bytes == 0) {
		t->end = (size_t)n;
		check_magic(t);
		t->end = 0;
	}
	zero = memchr(t->buffer + t->end, 0, (size_t)n);
	if (zero) {
		t->binary = t->eof = true;
		n = zero - (t->buffer + t->end);
	}
	t->end += (size_t)n;
	t->bytes += (uint64_t)n;
	return t->error[0] == 0;
}

/* The text ended at begin..end without a newline. */
static void check_end(struct trace *t)
{
	size_t rest = t->end - t->begin;

	if (t->binary)
		trace_fail(t, t->line + 1,
			   "binary data: byte 0x00 at offset %llu",
			   (unsigned long long)t->bytes);
	else if (rest)
		trace_fail(t, t->line + 1,
			   "cut short: the file ends after \"%.*s\", without a "
			   "newline",
			   rest > 60 ? 60 : (int)rest,
			   t->buffer + t->end - (rest > 60 ? 60 : rest));
	else if (t->bytes == 0)
		trace_fail(t, 0, "is empty: no text");
}

/* The next line without its end; false at an error or the end. */
static bool next_line(struct trace *t, const char **line, size_t *length)
{
	const char *at, *newline;
	size_t seen = 0;

	for (;;) {
		at = t->buffer + t->begin;
		newline = memchr(at + seen, '\n', t->end - t->begin - seen);
		if (newline)
			break;
		seen = t->end - t->begin;
		if (seen == BUFFER_SIZE) {
			trace_fail(t, t->line + 1,
				   "longer than %zu bytes: no trace",
				   BUFFER_SIZE);
			return false;
		}
		if (t->eof || !fill(t)) {
			if (t->eof)
				check_end(t);
			return false;
		}
	}
	t->begin = (size_t)(newline + 1 - t->buffer);
	t->line++;
	if (newline > at && newline[-1] == '\r')
		newline--;
	*line = at;
	*length = (size_t)(newline - at);
	return true;
}

enum trace_result trace_next(struct trace *t, struct trace_event *event)
{
	char problem[TRACE_PROBLEM_SIZE];
	const char *line;
	size_t length;
	uint64_t count;

	if (t->error[0])
		return TRACE_ERROR;
	while (next_line(t, &line, &length)) {
		switch (trace_line_parse(line, length, event, &count,
					 problem)) {
		case TRACE_LINE_EVENT:
			return TRACE_EVENT;
		case TRACE_LINE_LOST:
			t->lost += count;
			break;
		case TRACE_LINE_TOTAL:
			t->total_lost += count;
			break;
		case TRACE_LINE_BAD:
			trace_fail(t, t->line, "%s", problem);
			return TRACE_ERROR;
		case TRACE_LINE_OTHER:
			break;
		}
	}
	return t->error[0] ? TRACE_ERROR : TRACE_END;
}

const char *trace_error(const struct trace *t)
{
	return t->error;
}

uint64_t trace_lines(const struct trace *t)
{
	return t->line;
}

/* The total counts what the lines on the way count, and what no line told. */
uint64_t trace_lost(const struct trace *t)
{
	return t->lost > t->total_lost ? t->lost : t->total_lost;
}

double trace_progress(const struct trace *t)
{
	if (!t->file_size || !t->archive)
		return 0;
	return (double)archive_filter_bytes(t->archive, -1) /
	       (double)t->file_size;
}
