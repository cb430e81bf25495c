/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Names of what quire.h numbers, for messages, reports and tools.
 *
 * A value without a name is "unknown": it may be a caller's mistake that is
 * about to be reported, or come from a newer header. QUIRE_CONF is read by the
 * same names.
 */
#include <stddef.h>

#include "quire/quire.h"
#include "config.h"

static const char *name(const char *const *names, size_t count, size_t value)
{
	return value < count ? names[value] : "unknown";
}

#define NAME(names, value)                                                     \
	name(names, sizeof(names) / sizeof((names)[0]), (size_t)(value))

const char *quire_version(void)
{
	return PACKAGE_VERSION;
}

const char *quire_backing_name(enum quire_backing backing)
{
	static const char *const names[] = { "default", "1g",	  "2m",	 "thp",
					     "base",	"caller", "none" };

	return NAME(names, backing);
}

const char *quire_way_name(enum quire_way way)
{
	static const char *const names[] = { "default", "rseq", "trylock",
					     "bound" };

	return NAME(names, way);
}

const char *quire_zone_name(enum quire_zone kind)
{
	static const char *const names[QUIRE_NR_ZONES] = { "DMA32", "NORMAL",
							   "MOVABLE",
							   "DEVICE" };

	return NAME(names, kind);
}

const char *quire_mobility_name(enum quire_mobility type)
{
	static const char *const names[QUIRE_NR_TYPES] = {
		"unmovable",  "movable", "reclaimable",
		"highatomic", "cma",	 "isolated"
	};

	return NAME(names, type);
}
