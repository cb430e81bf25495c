/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A file that is compressed as it is written, and that is there whole or not
 * at all: it is written as path.tmp, which gets its name when libarchive has
 * closed it well. The raw format is that of a single compressed file.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "sink.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct sink {
	struct archive *archive;
	char *path, *temporary;
	int fd;
};

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && strcmp(s + n - m, end) == 0;
}

static int add_filter(struct archive *a, const char *path)
{
	if (ends_with(path, ".zst"))
		return archive_write_add_filter_zstd(a);
	if (ends_with(path, ".xz"))
		return archive_write_add_filter_xz(a);
	if (ends_with(path, ".gz"))
		return archive_write_add_filter_gzip(a);
	if (ends_with(path, ".bz2"))
		return archive_write_add_filter_bzip2(a);
	return archive_write_add_filter_none(a);
}

static bool open_archive(struct sink *s)
{
	struct archive_entry *entry = archive_entry_new();
	struct archive *a = s->archive = archive_write_new();
	bool ok = a && entry && add_filter(a, s->path) >= ARCHIVE_WARN &&
		  archive_write_set_format_raw(a) == ARCHIVE_OK &&
		  archive_write_open_fd(a, s->fd) == ARCHIVE_OK;

	if (ok) {
		archive_entry_set_pathname(entry, "trace");
		archive_entry_set_filetype(entry, AE_IFREG);
		ok = archive_write_header(a, entry) == ARCHIVE_OK;
	}
	archive_entry_free(entry);
	return ok;
}

static bool fail(struct sink *s, char *error)
{
	snprintf(error, SINK_ERROR_SIZE, "cannot write %.100s: %s", s->path,
		 s->archive ? sink_error(s) : strerror(errno));
	sink_abort(s);
	return false;
}

struct sink *sink_open(const char *path, char error[SINK_ERROR_SIZE])
{
	struct sink *s = calloc(1, sizeof(*s));

	if (!s) {
		snprintf(error, SINK_ERROR_SIZE, "no memory");
		return NULL;
	}
	s->fd = -1;
	s->path = strdup(path);
	if (!s->path || asprintf(&s->temporary, "%s.tmp", path) < 0) {
		s->temporary = NULL;
		fail(s, error);
		return NULL;
	}
	s->fd = open(s->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
		     0666);
	if (s->fd < 0 || !open_archive(s)) {
		fail(s, error);
		return NULL;
	}
	return s;
}

bool sink_write(struct sink *s, const void *data, size_t size)
{
	return archive_write_data(s->archive, data, size) == (la_ssize_t)size;
}

const char *sink_error(const struct sink *s)
{
	const char *text = archive_error_string(s->archive);

	return text ? text : "unknown error";
}

static void sink_free(struct sink *s)
{
	if (s->archive)
		archive_write_free(s->archive);
	if (s->fd >= 0)
		close(s->fd);
	free(s->temporary);
	free(s->path);
	free(s);
}

bool sink_commit(struct sink *s, uint64_t *size, char error[SINK_ERROR_SIZE])
{
	struct stat st;
	bool ok = archive_write_close(s->archive) == ARCHIVE_OK;

	if (!ok)
		return fail(s, error);
	if (fstat(s->fd, &st) != 0 || rename(s->temporary, s->path) != 0) {
		archive_set_error(s->archive, errno, "%s", strerror(errno));
		return fail(s, error);
	}
	*size = (uint64_t)st.st_size;
	sink_free(s);
	return true;
}

void sink_abort(struct sink *s)
{
	if (s->fd >= 0)
		unlink(s->temporary);
	/* Not archive_write_fail(): it loses the filter's memory. */
	sink_free(s);
}
