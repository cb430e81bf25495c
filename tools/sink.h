/* SPDX-License-Identifier: BSD-2-Clause */
/* A file that is compressed as it is written, and that is there whole or not
 * at all. */
#ifndef TOOLS_SINK_H
#define TOOLS_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sink;

#define SINK_ERROR_SIZE 256

/* By the end of path: .zst, .xz, .gz or .bz2; else plain. NULL with error. */
struct sink *sink_open(const char *path, char error[SINK_ERROR_SIZE]);
bool sink_write(struct sink *s, const void *data, size_t size);
/* Completes the file under its name; size gets its bytes. Frees the sink. */
bool sink_commit(struct sink *s, uint64_t *size, char error[SINK_ERROR_SIZE]);
/* Removes what was written. Frees the sink. */
void sink_abort(struct sink *s);
/* Why sink_write() failed. */
const char *sink_error(const struct sink *s);

#endif
