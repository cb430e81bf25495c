/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A tracing instance of one's own (Documentation/trace/ftrace.rst,
 * "Instances"): a folder made in instances/ is a set of ring buffers with
 * switches for events, which go with the folder. The instance bears the
 * process's number, so that several recordings can run side by side.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "tracefs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOUNT_POINT "/sys/kernel/tracing"

static const char *const roots[] = { MOUNT_POINT, "/sys/kernel/debug/tracing" };

static bool needs_root(const char *path, char *error)
{
	if (errno == EACCES || errno == EPERM || errno == EROFS)
		snprintf(error, TRACEFS_ERROR_SIZE,
			 "recording page events needs root: %s: %s", path,
			 strerror(errno));
	else
		snprintf(error, TRACEFS_ERROR_SIZE, "%s: %s", path,
			 strerror(errno));
	return false;
}

/* Where tracefs is mounted; NULL with error filled. */
static const char *find_root(char *error)
{
	char path[80];
	unsigned i;

	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/instances", roots[i]);
		if (access(path, F_OK) == 0)
			return roots[i];
		if (errno == EACCES || errno == EPERM) {
			needs_root(path, error);
			return NULL;
		}
	}
	if (mount("tracefs", MOUNT_POINT, "tracefs",
		  MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0)
		return MOUNT_POINT;
	if (errno == ENODEV || errno == ENOENT)
		snprintf(error, TRACEFS_ERROR_SIZE,
			 "this kernel has no tracefs (CONFIG_TRACING)");
	else
		needs_root("mounting tracefs on " MOUNT_POINT, error);
	return NULL;
}

static bool write_file(const struct tracefs *t, const char *name,
		       const char *value, char *error)
{
	char path[256];
	int fd;
	bool ok;

	snprintf(path, sizeof(path), "%s/%s", t->path, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return needs_root(path, error);
	ok = write(fd, value, strlen(value)) == (ssize_t)strlen(value);
	if (!ok)
		snprintf(error, TRACEFS_ERROR_SIZE, "writing %s to %.160s: %s",
			 value, path, strerror(errno));
	close(fd);
	return ok;
}

static bool set_up(struct tracefs *t, unsigned long kb, char *error)
{
	char value[32], path[256];

	snprintf(value, sizeof(value), "%lu", kb);
	/* mono: one clock for all CPUs, so that their order is that of time. */
	if (!write_file(t, "tracing_on", "0", error) ||
	    !write_file(t, "buffer_size_kb", value, error) ||
	    !write_file(t, "trace_clock", "mono", error) ||
	    !write_file(t, "events/kmem/mm_page_alloc/enable", "1", error) ||
	    !write_file(t, "events/kmem/mm_page_free/enable", "1", error))
		return false;
	snprintf(path, sizeof(path), "%s/trace_pipe", t->path);
	t->pipe = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return t->pipe >= 0 || needs_root(path, error);
}

bool tracefs_open(struct tracefs *t, unsigned long kb,
		  char error[TRACEFS_ERROR_SIZE])
{
	const char *root = find_root(error);

	t->pipe = -1;
	t->path[0] = 0;
	if (!root)
		return false;
	snprintf(t->path, sizeof(t->path), "%s/instances/quire-%ld", root,
		 (long)getpid());
	if (mkdir(t->path, 0700) != 0) {
		needs_root(t->path, error);
		t->path[0] = 0;
		return false;
	}
	if (set_up(t, kb, error))
		return true;
	tracefs_close(t);
	return false;
}

bool tracefs_switch(struct tracefs *t, bool on, char error[TRACEFS_ERROR_SIZE])
{
	return write_file(t, "tracing_on", on ? "1" : "0", error);
}

/* The number behind key in one CPU's stats. */
static uint64_t stat_value(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static uint64_t cpu_lost(const struct tracefs *t, const char *cpu)
{
	char path[512], text[1024];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/per_cpu/%s/stats", t->path, cpu);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	return stat_value(text, "\noverrun: ") +
	       stat_value(text, "\ncommit overrun: ") +
	       stat_value(text, "\ndropped events: ");
}

uint64_t tracefs_lost(const struct tracefs *t)
{
	struct dirent *entry;
	uint64_t lost = 0;
	char path[256];
	DIR *dir;

	snprintf(path, sizeof(path), "%s/per_cpu", t->path);
	dir = opendir(path);
	if (!dir)
		return 0;
	while ((entry = readdir(dir)) != NULL)
		if (strncmp(entry->d_name, "cpu", 3) == 0)
			lost += cpu_lost(t, entry->d_name);
	closedir(dir);
	return lost;
}

void tracefs_close(struct tracefs *t)
{
	if (t->pipe >= 0)
		close(t->pipe);
	t->pipe = -1;
	if (t->path[0] && rmdir(t->path) != 0)
		fprintf(stderr, "quire-record: cannot remove %s: %s\n", t->path,
			strerror(errno));
	t->path[0] = 0;
}
