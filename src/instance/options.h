/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an allocator is asked to be: options and QUIRE_CONF.
 */
#ifndef QUIRE_OPTIONS_H
#define QUIRE_OPTIONS_H

#include <stdbool.h>

#include "quire/quire.h"

struct settings {
	struct quire_options options;
	bool debug_memblock, debug_init;
	uint8_t distance[QUIRE_MAX_NODES * QUIRE_MAX_NODES]; /* row by row */
	unsigned nr_distances;			/* that QUIRE_CONF named */
	unsigned machine_node[QUIRE_MAX_NODES]; /* QUIRE_NUMA: whose they are */
};

/*
 * Copies the caller's options, of whatever size its header knew, applies
 * QUIRE_CONF and checks that what was asked makes sense together. EINVAL, with
 * a report, if not.
 */
int options_read(struct settings *settings, const struct quire_options *given);

#endif
