/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QUIRE_CONF: what the environment asks an allocator to be.
 */
#ifndef QUIRE_CONF_H
#define QUIRE_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/report.h"
#include "quire/quire.h"

/* What an allocator is asked to be, by its program and by the environment. */
struct settings {
	struct quire_options options;
	bool debug_memblock, debug_init;
	uint8_t distance[QUIRE_MAX_NODES * QUIRE_MAX_NODES]; /* row by row */
	unsigned nr_distances;			/* that QUIRE_CONF named */
	unsigned machine_node[QUIRE_MAX_NODES]; /* QUIRE_NUMA: whose they are */
};

/* Limits that programs and the environment share. */
enum {
	CONF_MAX_CPUS = UINT16_MAX - 1, /* a number and one more: 16 bits */
	/* low and high are then 30 % of the zone each above the one below */
	CONF_MAX_SCALE = 3000
};

/* policy:interleave names these nodes, before it is known how many there are.
 */
#define CONF_ALL_NODES UINT32_MAX

/* Overrides the program's options by what the environment names, and reports
 * what it skips. */
void conf_read(struct settings *settings, const struct reporter *to);

/* For the manual: the name of the i-th key, and in one line what it is for.
 * NULL: there are no more. */
const char *conf_key_name(size_t i);
const char *conf_key_help(size_t i);

#endif
