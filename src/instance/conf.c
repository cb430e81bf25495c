/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QUIRE_CONF: what the environment asks an allocator to be.
 *
 * QUIRE_CONF=key:value,key:value,... overrides the program's options, so that a
 * program can be tried with other backing or another way without a rebuild.
 * Pairs are applied in their order: of one key the last counts. One table has
 * all that is to be known of a key: its name, how a value is read and where it
 * goes, its limit, the regions that it fits, and its line of the manual.
 *
 * A pair with an unknown key or value, or a key that the region has no use for,
 * is named and skipped: a typing error in the environment must not stop a
 * program, nor pass unseen. options.c checks afterwards whether all options
 * make sense together, the program's and these.
 */
#include "instance/conf.h"

#include <string.h>

#include "boot/arena.h"
#include "platform/platform_process.h"

/* A piece of QUIRE_CONF. */
struct text {
	const char *start;
	size_t length;
};

static bool text_is(struct text text, const char *word)
{
	return strlen(word) == text.length &&
	       memcmp(text.start, word, text.length) == 0;
}

/* Cuts *rest at the first `separator`; false when nothing is left. */
static bool text_cut(struct text *rest, char separator, struct text *piece)
{
	const char *at;

	if (!rest->start)
		return false;
	*piece = *rest;
	at = memchr(rest->start, separator, rest->length);
	if (at) {
		piece->length = (size_t)(at - rest->start);
		rest->start = at + 1;
		rest->length -= piece->length + 1;
	} else {
		rest->start = NULL;
	}
	return true;
}

/* Digits and an optional K, M, G or T. */
static bool text_number(struct text text, uint64_t *number)
{
	static const char suffixes[] = "KMGT";
	uint64_t value = 0;
	size_t i = 0;

	for (; i < text.length && text.start[i] >= '0' && text.start[i] <= '9';
	     i++) {
		unsigned digit = (unsigned)(text.start[i] - '0');

		if (value > (UINT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	if (i == 0)
		return false;
	if (i + 1 == text.length) {
		const char *suffix = strchr(suffixes, text.start[i] & ~0x20);
		unsigned shift =
			suffix ? (unsigned)(suffix - suffixes + 1) * 10 : 0;

		if (shift == 0 || shift > 40 ||
		    value << shift >> shift != value)
			return false;
		value <<= shift;
		i++;
	}
	if (i != text.length)
		return false;
	*number = value;
	return true;
}

static bool text_small(struct text text, unsigned most, unsigned *value)
{
	uint64_t number;

	if (!text_number(text, &number) || number > most)
		return false;
	*value = (unsigned)number;
	return true;
}

/* --- values --- */

/* Regions that have a use for a key. */
enum fits {
	FITS_ALL,
	FITS_MAPPED, /* not QUIRE_OFFSETS */
	/* Only the caller knows the size of what the caller brings. */
	FITS_RESERVED
};

struct key {
	const char *name;
	/* False: that is no value of the key. */
	bool (*read)(struct settings *settings, const struct key *key,
		     struct text value);
	size_t at; /* in struct settings; 0: read() knows its own place */
	/* The highest value of read_small(), the flag of read_flag(). */
	unsigned limit;
	enum fits fits;
	const char *help;
};

static void *place(struct settings *settings, const struct key *key)
{
	return (char *)settings + key->at;
}

static bool read_flag(struct settings *settings, const struct key *key,
		      struct text value)
{
	unsigned *flags = place(settings, key);

	if (text_is(value, "1"))
		*flags |= key->limit;
	else if (text_is(value, "0"))
		*flags &= ~key->limit;
	else
		return false;
	return true;
}

static bool read_small(struct settings *settings, const struct key *key,
		       struct text value)
{
	return text_small(value, key->limit, place(settings, key));
}

static bool read_size(struct settings *settings, const struct key *key,
		      struct text value)
{
	return text_number(value, place(settings, key));
}

static bool read_min_free(struct settings *settings, const struct key *key,
			  struct text value)
{
	if (!text_is(value, "auto"))
		return read_size(settings, key, value);
	settings->options.min_free = QUIRE_MIN_FREE_AUTO;
	return true;
}

static bool read_backing(struct settings *settings, const struct key *key,
			 struct text value)
{
	enum quire_backing list[NR_BACKINGS] = { QUIRE_BACKING_DEFAULT };
	struct text word;
	unsigned n = 0;

	(void)key;
	while (text_cut(&value, '+', &word)) {
		enum quire_backing backing = QUIRE_BACKING_1G;

		while (backing <= QUIRE_BACKING_BASE &&
		       !text_is(word, quire_backing_name(backing)))
			backing++;
		if (backing > QUIRE_BACKING_BASE || n == NR_BACKINGS)
			return false;
		list[n++] = backing;
	}
	memcpy(settings->options.backing, list, sizeof(list));
	return true;
}

static bool read_way(struct settings *settings, const struct key *key,
		     struct text value)
{
	(void)key;
	for (enum quire_way way = QUIRE_WAY_RSEQ; way <= QUIRE_WAY_BOUND; way++)
		if (text_is(value, quire_way_name(way))) {
			settings->options.way = way;
			return true;
		}
	return false;
}

static bool read_distances(struct settings *settings, const struct key *key,
			   struct text value)
{
	uint8_t read[sizeof(settings->distance)];
	struct text word;
	unsigned n = 0;

	(void)key;
	while (text_cut(&value, '+', &word)) {
		unsigned distance;

		if (n == sizeof(read) ||
		    !text_small(word, UINT8_MAX, &distance))
			return false;
		read[n++] = (uint8_t)distance;
	}
	memcpy(settings->distance, read, n);
	settings->nr_distances = n;
	return true;
}

/* Interleaving is over all nodes. */
static bool read_policy(struct settings *settings, const struct key *key,
			struct text value)
{
	struct quire_policy policy = { .mode = QUIRE_POLICY_LOCAL };

	(void)key;
	if (text_is(value, "interleave")) {
		policy.mode = QUIRE_POLICY_INTERLEAVE;
		policy.nodes = CONF_ALL_NODES;
	} else if (!text_is(value, "local")) {
		return false;
	}
	settings->options.policy = policy;
	return true;
}

static bool read_give_back(struct settings *settings, const struct key *key,
			   struct text value)
{
	static const char *const names[] = { "none", "dontneed", "free",
					     "remove" };

	(void)key;
	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (text_is(value, names[i])) {
			settings->options.give_back = (enum quire_give_back)i;
			return true;
		}
	return false;
}

static bool read_debug(struct settings *settings, const struct key *key,
		       struct text value)
{
	struct text word;

	(void)key;
	while (text_cut(&value, '+', &word)) {
		if (text_is(word, "memblock"))
			settings->debug_memblock = true;
		else if (text_is(word, "init"))
			settings->debug_init = true;
		else
			return false;
	}
	return true;
}

/* --- keys --- */

#define AT(field) offsetof(struct settings, options.field)
#define ZONE_AT(kind) (AT(zone_size) + (kind) * sizeof(uint64_t))

/* What is about one thing stands together. */
static const struct key keys[] = {
	{ "size", read_size, AT(size), 0, FITS_RESERVED,
	  "bytes of the region that quire reserves" },
	{ "backing", read_backing, 0, 0, FITS_ALL,
	  "what to try for them: 1g, 2m, thp, base, joined by +" },
	{ "prefault", read_flag, AT(flags), QUIRE_PREFAULT, FITS_MAPPED,
	  "1: every page is populated at creation" },
	{ "mlock", read_flag, AT(flags), QUIRE_MLOCK, FITS_MAPPED,
	  "1: the region is locked in memory" },
	{ "dontfork", read_flag, AT(flags), QUIRE_DONTFORK, FITS_MAPPED,
	  "1: the region is kept out of children" },
	{ "pinned", read_flag, AT(flags), QUIRE_PINNED, FITS_ALL,
	  "1: no memory ever goes back to the system" },
	{ "way", read_way, 0, 0, FITS_ALL,
	  "how threads find page lists: rseq, trylock, bound" },
	{ "cpus", read_small, AT(cpus), CONF_MAX_CPUS, FITS_ALL,
	  "number of page list sets" },
	{ "decay_ms", read_small, AT(decay_ms), UINT32_MAX, FITS_ALL,
	  "ms after which idle page lists are drained" },
	{ "renew", read_small, AT(renew), QUIRE_RENEW_MAX, FITS_ALL,
	  "of 64 freed blocks, those that pass their zone first" },
	{ "race", read_flag, AT(flags), QUIRE_CHECK_RACE, FITS_ALL,
	  "1: two racing frees of one page are caught" },
	{ "lock_times", read_flag, AT(flags), QUIRE_LOCK_TIMES, FITS_ALL,
	  "1: how long zone locks are held is measured" },
	{ "nodes", read_small, AT(nodes), QUIRE_MAX_NODES, FITS_ALL,
	  "number of nodes" },
	{ "numa", read_flag, AT(flags), QUIRE_NUMA, FITS_ALL,
	  "1: nodes are the machine's" },
	{ "distances", read_distances, 0, 0, FITS_ALL,
	  "of nodes, row by row, numbers joined by +" },
	{ "policy", read_policy, 0, 0, FITS_ALL,
	  "of calls that name none: local, interleave" },
	{ "dma32", read_size, ZONE_AT(QUIRE_ZONE_DMA32), 0, FITS_ALL,
	  "bytes of zone DMA32" },
	{ "movable", read_size, ZONE_AT(QUIRE_ZONE_MOVABLE), 0, FITS_ALL,
	  "bytes of zone MOVABLE" },
	{ "device", read_size, ZONE_AT(QUIRE_ZONE_DEVICE), 0, FITS_ALL,
	  "bytes of zone DEVICE" },
	{ "cma", read_size, AT(cma_size), 0, FITS_ALL,
	  "bytes of zone NORMAL that are CMA" },
	{ "min_free", read_min_free, AT(min_free), 0, FITS_ALL,
	  "bytes for urgent calls only, or auto" },
	{ "watermark_scale", read_small, AT(watermark_scale), CONF_MAX_SCALE,
	  FITS_ALL, "of 10,000 of a zone, from min to low and to high" },
	{ "wait_ms", read_small, AT(wait_ms), UINT32_MAX, FITS_ALL,
	  "ms that a call with QUIRE_WAIT waits at most" },
	{ "give_back", read_give_back, 0, 0, FITS_MAPPED,
	  "free memory to the system: none, dontneed, free, remove" },
	{ "give_delay_ms", read_small, AT(give_delay_ms), UINT32_MAX, FITS_ALL,
	  "ms unused after which a block goes back" },
	{ "give_rate", read_size, AT(give_rate), 0, FITS_ALL,
	  "bytes a second that go back at most; 0: any" },
	{ "give_floor", read_size, AT(give_floor), 0, FITS_ALL,
	  "bytes of free memory that stay" },
	{ "debug", read_debug, 0, 0, FITS_ALL,
	  "what tells of its steps: memblock, init, joined by +" },
};

enum { NR_KEYS = sizeof(keys) / sizeof(keys[0]) };

const char *conf_key_name(size_t i)
{
	return i < NR_KEYS ? keys[i].name : NULL;
}

const char *conf_key_help(size_t i)
{
	return i < NR_KEYS ? keys[i].help : NULL;
}

static const struct key *find_key(struct text name)
{
	for (size_t i = 0; i < NR_KEYS; i++)
		if (text_is(name, keys[i].name))
			return &keys[i];
	return NULL;
}

static bool key_fits(const struct key *key, const struct quire_options *options)
{
	bool mapped = !(options->flags & QUIRE_OFFSETS);

	switch (key->fits) {
	case FITS_MAPPED:
		return mapped;
	case FITS_RESERVED:
		return mapped && !options->address;
	default:
		return true;
	}
}

/* NULL, or why the pair is skipped. */
static const char *apply(struct settings *settings, struct text name,
			 struct text value)
{
	const struct key *key = find_key(name);

	if (!key)
		return "unknown key";
	if (!key_fits(key, &settings->options))
		return "key that does not fit the region";
	return key->read(settings, key, value) ? NULL : "unknown value";
}

void conf_read(struct settings *settings, const struct reporter *to)
{
	const char *conf = platform_env("QUIRE_CONF");
	struct text rest = { conf, conf ? strlen(conf) : 0 }, pair;

	while (text_cut(&rest, ',', &pair)) {
		struct text value = pair, name;
		const char *wrong;

		if (pair.length == 0)
			continue;
		text_cut(&value, ':', &name);
		if (!value.start)
			value.length = 0;
		wrong = apply(settings, name, value);
		if (wrong)
			report(to, "QUIRE_CONF: %s in \"%.*s\", skipped", wrong,
			       (int)pair.length, pair.start);
	}
}
