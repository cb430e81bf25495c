/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A tracing instance of one's own: page events of the whole machine, recorded
 * apart from whoever else traces.
 */
#ifndef TOOLS_TRACEFS_H
#define TOOLS_TRACEFS_H

#include <stdbool.h>
#include <stdint.h>

#define TRACEFS_ERROR_SIZE 256

struct tracefs {
	char path[128]; /* of the instance; "": none */
	int pipe;	/* its trace_pipe, non-blocking; -1: closed */
};

/*
 * Makes the instance with buffers of kb KiB for each CPU, stopped. Mounts
 * tracefs where it is not and may be. False with error filled, and nothing
 * left behind.
 */
bool tracefs_open(struct tracefs *t, unsigned long kb,
		  char error[TRACEFS_ERROR_SIZE]);
/* Starts or stops the events. */
bool tracefs_switch(struct tracefs *t, bool on, char error[TRACEFS_ERROR_SIZE]);
/* Events that found no room, or were overwritten before they were read. */
uint64_t tracefs_lost(const struct tracefs *t);
/* Removes the instance. Any number of times. */
void tracefs_close(struct tracefs *t);

#endif
