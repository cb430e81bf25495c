/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an allocator is asked to be.
 *
 * QUIRE_CONF=key:value,key:value,... overrides the program's options, so that a
 * program can be tried with other backing or another way without a rebuild. A
 * key or value that is not known is named and skipped: a typing error in the
 * environment must not stop a program, nor pass unseen.
 */
#include "instance/options.h"

#include <stddef.h>
#include <string.h>

#include "base/bits.h"
#include "base/report.h"
#include "boot/arena.h"
#include "pcp/pcp.h"
#include "platform/platform.h"
#include "zone/node.h"

/* A CPU's number and one more fit 16 bits. */
enum { MAX_CPUS = UINT16_MAX - 1 };

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

static bool text_flag(struct text text, unsigned flag, unsigned *flags)
{
	if (text_is(text, "1"))
		*flags |= flag;
	else if (text_is(text, "0"))
		*flags &= ~flag;
	else
		return false;
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

static bool set_backing(struct settings *settings, struct text value)
{
	enum quire_backing list[NR_BACKINGS] = { QUIRE_BACKING_DEFAULT };
	struct text word;
	unsigned n = 0;

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

static bool set_way(struct settings *settings, struct text value)
{
	for (enum quire_way way = QUIRE_WAY_RSEQ; way <= QUIRE_WAY_BOUND; way++)
		if (text_is(value, quire_way_name(way))) {
			settings->options.way = way;
			return true;
		}
	return false;
}

static bool set_debug(struct settings *settings, struct text value)
{
	struct text word;

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

static bool set_distances(struct settings *settings, struct text value)
{
	uint8_t read[sizeof(settings->distance)];
	struct text word;
	unsigned n = 0;

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

static bool set_min_free(struct quire_options *options, struct text value)
{
	if (!text_is(value, "auto"))
		return text_number(value, &options->min_free);
	options->min_free = QUIRE_MIN_FREE_AUTO;
	return true;
}

/* Interleaving is over all nodes. */
static bool set_policy(struct quire_options *options, struct text value)
{
	struct quire_policy policy = { .mode = QUIRE_POLICY_LOCAL };

	if (text_is(value, "interleave")) {
		policy.mode = QUIRE_POLICY_INTERLEAVE;
		policy.nodes = UINT32_MAX;
	} else if (!text_is(value, "local")) {
		return false;
	}
	options->policy = policy;
	return true;
}

static bool set_give_back(struct quire_options *options, struct text value)
{
	static const char *const names[] = { "none", "dontneed", "free",
					     "remove" };

	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (text_is(value, names[i])) {
			options->give_back = (enum quire_give_back)i;
			return true;
		}
	return false;
}

/* Keys that the region the program brought has no use for. */
static bool key_fits(const struct quire_options *options, struct text key)
{
	bool offsets = options->flags & QUIRE_OFFSETS;

	/* Only the caller knows the size of what the caller brings. */
	if (text_is(key, "size"))
		return !options->address && !offsets;
	if (text_is(key, "prefault") || text_is(key, "mlock") ||
	    text_is(key, "dontfork") || text_is(key, "give_back"))
		return !offsets;
	return true;
}

enum key_kind { KEY_FLAG, KEY_SMALL, KEY_NUMBER };

#define ZONE_SIZE(kind)                                                        \
	(offsetof(struct quire_options, zone_size) + (kind) * sizeof(uint64_t))
#define AT(field) offsetof(struct quire_options, field)

/* Keys that are a number; of flags `most` is the flag. */
static const struct {
	const char *name;
	enum key_kind kind;
	size_t offset;
	unsigned most;
} keys[] = {
	{ "size", KEY_NUMBER, AT(size), 0 },
	{ "cpus", KEY_SMALL, AT(cpus), MAX_CPUS },
	{ "decay_ms", KEY_SMALL, AT(decay_ms), UINT32_MAX },
	{ "renew", KEY_SMALL, AT(renew), QUIRE_RENEW_MAX },
	{ "prefault", KEY_FLAG, 0, QUIRE_PREFAULT },
	{ "mlock", KEY_FLAG, 0, QUIRE_MLOCK },
	{ "dontfork", KEY_FLAG, 0, QUIRE_DONTFORK },
	{ "race", KEY_FLAG, 0, QUIRE_CHECK_RACE },
	{ "lock_times", KEY_FLAG, 0, QUIRE_LOCK_TIMES },
	{ "numa", KEY_FLAG, 0, QUIRE_NUMA },
	{ "pinned", KEY_FLAG, 0, QUIRE_PINNED },
	{ "nodes", KEY_SMALL, AT(nodes), QUIRE_MAX_NODES },
	{ "dma32", KEY_NUMBER, ZONE_SIZE(QUIRE_ZONE_DMA32), 0 },
	{ "movable", KEY_NUMBER, ZONE_SIZE(QUIRE_ZONE_MOVABLE), 0 },
	{ "device", KEY_NUMBER, ZONE_SIZE(QUIRE_ZONE_DEVICE), 0 },
	{ "cma", KEY_NUMBER, AT(cma_size), 0 },
	{ "watermark_scale", KEY_SMALL, AT(watermark_scale), 3000 },
	{ "wait_ms", KEY_SMALL, AT(wait_ms), UINT32_MAX },
	{ "give_delay_ms", KEY_SMALL, AT(give_delay_ms), UINT32_MAX },
	{ "give_rate", KEY_NUMBER, AT(give_rate), 0 },
	{ "give_floor", KEY_NUMBER, AT(give_floor), 0 },
};

/* 1: set, 0: the value is not good, -1: no such key. */
static int set_key(struct settings *settings, struct text key,
		   struct text value)
{
	struct quire_options *options = &settings->options;

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		char *at = (char *)options + keys[i].offset;

		if (!text_is(key, keys[i].name))
			continue;
		switch (keys[i].kind) {
		case KEY_FLAG:
			return text_flag(value, keys[i].most, &options->flags);
		case KEY_SMALL:
			return text_small(value, keys[i].most,
					  (unsigned *)(void *)at);
		default:
			return text_number(value, (uint64_t *)(void *)at);
		}
	}
	if (text_is(key, "backing"))
		return set_backing(settings, value);
	if (text_is(key, "way"))
		return set_way(settings, value);
	if (text_is(key, "distances"))
		return set_distances(settings, value);
	if (text_is(key, "min_free"))
		return set_min_free(options, value);
	if (text_is(key, "policy"))
		return set_policy(options, value);
	if (text_is(key, "give_back"))
		return set_give_back(options, value);
	if (text_is(key, "debug"))
		return set_debug(settings, value);
	return -1;
}

static void apply_conf(struct settings *settings, const char *conf,
		       const struct reporter *to)
{
	struct text rest = { conf, strlen(conf) }, pair;

	while (text_cut(&rest, ',', &pair)) {
		struct text value = pair, key;
		const char *wrong = "key that does not fit the region";

		if (pair.length == 0)
			continue;
		text_cut(&value, ':', &key);
		if (!value.start)
			value.length = 0;
		if (key_fits(&settings->options, key)) {
			int done = set_key(settings, key, value);

			if (done == 1)
				continue;
			wrong = done ? "unknown key" : "unknown value";
		}
		report(to, "QUIRE_CONF: %s in \"%.*s\", skipped", wrong,
		       (int)pair.length, pair.start);
	}
}

enum { PAGEBLOCK = 2 << 20 };

static int check_nodes(const struct quire_options *options,
		       const struct reporter *to)
{
	uint64_t sum = 0;
	unsigned sized = 0;

	if (options->nodes > QUIRE_MAX_NODES)
		return report_invalid(to, "nodes %u: at most %d",
				      options->nodes, QUIRE_MAX_NODES);
	for (unsigned i = 0; i < QUIRE_MAX_NODES; i++) {
		uint64_t size = options->node_size[i];

		if (size % PAGEBLOCK)
			return report_invalid(
				to,
				"node_size[%u] %llu: need a multiple of 2 MiB",
				i, (unsigned long long)size);
		if (size && i >= options->nodes)
			return report_invalid(
				to, "node_size[%u] %llu: there are %u nodes", i,
				(unsigned long long)size, options->nodes);
		if (size > UINT64_MAX / QUIRE_MAX_NODES)
			return report_invalid(to,
					      "node_size[%u] %llu: too large",
					      i, (unsigned long long)size);
		sum += size;
		sized += size != 0 && i + 1 < options->nodes;
	}
	if (options->nodes && options->node_size[options->nodes - 1])
		return report_invalid(
			to, "node_size[%u] %llu: the last node gets the rest",
			options->nodes - 1,
			(unsigned long long)
				options->node_size[options->nodes - 1]);
	if (sized && sized + 1 != options->nodes)
		return report_invalid(
			to,
			"node_size: %u of %u nodes have a size; all but the "
			"last need one, or none",
			sized, options->nodes);
	if (sum > options->size)
		return report_invalid(
			to, "node_size: %llu bytes in all, the region has %llu",
			(unsigned long long)sum,
			(unsigned long long)options->size);
	return 0;
}

static int check_zones(const struct quire_options *options,
		       const struct reporter *to)
{
	for (unsigned i = 0; i < QUIRE_NR_ZONES; i++) {
		uint64_t size = options->zone_size[i];

		if (size % PAGEBLOCK)
			return report_invalid(
				to,
				"zone_size[%s] %llu: need a multiple of 2 MiB",
				quire_zone_name(i), (unsigned long long)size);
		if (size > options->size)
			return report_invalid(
				to,
				"zone_size[%s] %llu: the region has %llu bytes",
				quire_zone_name(i), (unsigned long long)size,
				(unsigned long long)options->size);
	}
	if (options->zone_size[QUIRE_ZONE_NORMAL])
		return report_invalid(
			to,
			"zone_size[NORMAL] %llu: it gets what the others leave",
			(unsigned long long)
				options->zone_size[QUIRE_ZONE_NORMAL]);
	if (options->cma_size % PAGEBLOCK)
		return report_invalid(to,
				      "cma_size %llu: need a multiple of 2 MiB",
				      (unsigned long long)options->cma_size);
	return 0;
}

/* Low and high are then 30 % of the zone each above the one below. */
enum { SCALE_MAX = 3000 };

static int check_pressure(const struct quire_options *options,
			  const struct reporter *to)
{
	if (options->min_free != QUIRE_MIN_FREE_AUTO &&
	    options->min_free >= options->size)
		return report_invalid(
			to, "min_free %llu: the region has %llu bytes",
			(unsigned long long)options->min_free,
			(unsigned long long)options->size);
	if (options->watermark_scale > SCALE_MAX)
		return report_invalid(
			to, "watermark_scale %u: at most %d of 10,000",
			options->watermark_scale, SCALE_MAX);
	if ((unsigned)options->give_back > QUIRE_GIVE_REMOVE)
		return report_invalid(to, "give_back %u: unknown",
				      (unsigned)options->give_back);
	if (options->give_back &&
	    options->flags & (QUIRE_PINNED | QUIRE_MLOCK | QUIRE_OFFSETS))
		return report_invalid(
			to,
			"give_back %u with option flags 0x%x: memory that is "
			"pinned, locked or mapped nowhere does not go back",
			(unsigned)options->give_back, options->flags);
	if (options->give_back == QUIRE_GIVE_REMOVE && !options->address)
		return report_invalid(
			to,
			"give_back remove: needs a region of a shared file");
	return 0;
}

static int check(const struct quire_options *options, const struct reporter *to)
{
	const unsigned known = QUIRE_OFFSETS | QUIRE_PREFAULT | QUIRE_MLOCK |
			       QUIRE_DONTFORK | QUIRE_ZEROED |
			       QUIRE_CHECK_RACE | QUIRE_LOCK_TIMES |
			       QUIRE_NUMA | QUIRE_PINNED;

	if (options->flags & ~known)
		return report_invalid(to,
				      "option flags 0x%x: unknown bits 0x%x",
				      options->flags, options->flags & ~known);
	if (options->size == 0)
		return report_invalid(to, "size 0: an allocator needs pages");
	if (options->flags & QUIRE_OFFSETS &&
	    options->flags & (QUIRE_PREFAULT | QUIRE_MLOCK | QUIRE_DONTFORK |
			      QUIRE_ZEROED))
		return report_invalid(
			to,
			"option flags 0x%x: a range of offsets has no "
			"memory to prefault, lock, keep out or zero",
			options->flags);
	if (options->flags & QUIRE_OFFSETS && options->address)
		return report_invalid(to, "address %p given with QUIRE_OFFSETS",
				      options->address);
	if ((unsigned)options->way > QUIRE_WAY_BOUND)
		return report_invalid(to, "way %u: unknown",
				      (unsigned)options->way);
	for (int i = 0; i < NR_BACKINGS; i++) {
		if ((unsigned)options->backing[i] > QUIRE_BACKING_BASE)
			return report_invalid(
				to, "backing[%d] %u: not one to ask for", i,
				(unsigned)options->backing[i]);
		if (i && options->backing[i] && !options->backing[i - 1])
			return report_invalid(
				to, "backing[%d] %s: behind an empty entry", i,
				quire_backing_name(options->backing[i]));
	}
	if (options->cpus > MAX_CPUS)
		return report_invalid(to, "cpus %u: at most %d", options->cpus,
				      MAX_CPUS);
	if (options->renew > QUIRE_RENEW_MAX)
		return report_invalid(to, "renew %u: at most %d of %d blocks",
				      options->renew, QUIRE_RENEW_MAX,
				      QUIRE_RENEW_MAX);
	if (check_nodes(options, to) != 0 || check_zones(options, to) != 0)
		return -1;
	return check_pressure(options, to);
}

/* The struct as the first version of the header had it. */
#define FIRST_SIZE (offsetof(struct quire_options, report_arg) + sizeof(void *))

static void set_defaults(struct quire_options *options)
{
	if (options->decay_ms == 0)
		options->decay_ms = 1000;
	if (options->watermark_scale == 0)
		options->watermark_scale = 10;
	if (options->wait_ms == 0)
		options->wait_ms = 1000;
	if (options->give_delay_ms == 0)
		options->give_delay_ms = 10000;
	if (options->nodes == 0 && !(options->flags & QUIRE_NUMA))
		options->nodes = 1;
}

/* The machine's nodes that have memory; without a choice of `nodes` that is how
 * many there are. */
static int read_machine(struct settings *settings, const struct reporter *to)
{
	struct quire_options *options = &settings->options;
	unsigned found = 0;

	for (unsigned n = 0; n < platform_nr_nodes(); n++) {
		if (platform_node_bytes(n) == 0)
			continue;
		if (found < QUIRE_MAX_NODES)
			settings->machine_node[found] = n;
		found++;
	}
	if (found == 0)
		found = 1;
	if (options->nodes == 0)
		options->nodes = found;
	if (options->nodes > found || options->nodes > QUIRE_MAX_NODES)
		return report_invalid(
			to,
			"nodes %u with QUIRE_NUMA: the machine has %u, and "
			"at most %d can be used",
			options->nodes, found, QUIRE_MAX_NODES);
	return 0;
}

/* What the program says of its nodes is about as many as it asked for. */
static void forget_nodes(struct quire_options *options, unsigned given,
			 const struct reporter *to)
{
	if (options->nodes == given)
		return;
	if (options->distances || options->node_size[0])
		report(to,
		       "QUIRE_CONF: nodes %u instead of %u: the program's "
		       "distances and sizes of nodes do not count",
		       options->nodes, given);
	options->distances = NULL;
	memset(options->node_size, 0, sizeof(options->node_size));
}

static int read_distances(struct settings *settings, const struct reporter *to)
{
	const struct quire_options *options = &settings->options;
	const unsigned nr = options->nodes;
	uint8_t *d = settings->distance;

	if (settings->nr_distances && settings->nr_distances != nr * nr)
		return report_invalid(
			to, "QUIRE_CONF: %u distances for %u nodes, need %u",
			settings->nr_distances, nr, nr * nr);
	if (options->distances && !settings->nr_distances)
		memcpy(d, options->distances, (size_t)nr * nr);
	else if (options->flags & QUIRE_NUMA && !settings->nr_distances)
		for (unsigned i = 0; i < nr * nr; i++)
			d[i] = (uint8_t)platform_node_distance(
				settings->machine_node[i / nr],
				settings->machine_node[i % nr]);
	else if (!settings->nr_distances)
		node_default_distances(d, nr);
	return nodes_check_distances(d, nr, to);
}

int options_read(struct settings *settings, const struct quire_options *given)
{
	struct quire_options *options = &settings->options;
	size_t size = given ? given->struct_size : 0;
	struct reporter to = { NULL, NULL };
	const char *conf;
	unsigned nodes;

	/* Only ever appended to: a caller built with an older header knows a
	 * shorter struct, one with a newer header leaves what we do not know at
	 * 0, or it wants what we cannot do. */
	if (size < FIRST_SIZE)
		return report_invalid(
			&to, "options %p, struct_size %zu: need at least %zu",
			(const void *)given, size, FIRST_SIZE);
	for (size_t i = sizeof(*options); i < size; i++)
		if (((const char *)given)[i])
			return report_invalid(
				&to,
				"struct_size %zu: byte %zu is set, this "
				"library knows %zu",
				size, i, sizeof(*options));
	memset(settings, 0, sizeof(*settings));
	memcpy(options, given,
	       size < sizeof(*options) ? size : sizeof(*options));
	to = (struct reporter){ given->report, given->report_arg };
	nodes = options->nodes;
	conf = platform_env("QUIRE_CONF");
	if (conf)
		apply_conf(settings, conf, &to);
	forget_nodes(options, nodes, &to);
	if (options->distances && options->nodes == 0)
		return report_invalid(&to,
				      "distances given for no number of nodes");
	set_defaults(options);
	if (options->flags & QUIRE_NUMA && read_machine(settings, &to) != 0)
		return -1;
	if (check(options, &to) != 0)
		return -1;
	if (options->way == QUIRE_WAY_DEFAULT)
		options->way = platform_rseq_usable() ? QUIRE_WAY_RSEQ
						      : QUIRE_WAY_TRYLOCK;
	if (options->cpus == 0)
		options->cpus = pcp_default_sets(options->way);
	/* What QUIRE_CONF means by interleaving, before nodes are known. */
	if (options->policy.nodes == UINT32_MAX)
		options->policy.nodes = (UINT32_C(1) << options->nodes) - 1;
	return read_distances(settings, &to);
}
