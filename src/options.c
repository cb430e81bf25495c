/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an allocator is asked to be.
 *
 * QUIRE_CONF=key:value,key:value,... overrides the program's options, so that a
 * program can be tried with other backing or another way without a rebuild. A
 * key or value that is not known is named and skipped: a typing error in the
 * environment must not stop a program, nor pass unseen.
 */
#include "options.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "arena.h"
#include "bits.h"
#include "pcp.h"
#include "platform/platform.h"

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
		       !text_is(word, arena_backing_name(backing)))
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

/* Keys that the region the program brought has no use for. */
static bool key_fits(const struct quire_options *options, struct text key)
{
	bool offsets = options->flags & QUIRE_OFFSETS;

	/* Only the caller knows the size of what the caller brings. */
	if (text_is(key, "size"))
		return !options->address && !offsets;
	if (text_is(key, "prefault") || text_is(key, "mlock") ||
	    text_is(key, "dontfork"))
		return !offsets;
	return true;
}

/* 1: set, 0: the value is not good, -1: no such key. */
static int set_key(struct settings *settings, struct text key,
		   struct text value)
{
	struct quire_options *options = &settings->options;

	if (text_is(key, "size"))
		return text_number(value, &options->size);
	if (text_is(key, "backing"))
		return set_backing(settings, value);
	if (text_is(key, "way"))
		return set_way(settings, value);
	if (text_is(key, "cpus"))
		return text_small(value, MAX_CPUS, &options->cpus);
	if (text_is(key, "decay_ms"))
		return text_small(value, UINT32_MAX, &options->decay_ms);
	if (text_is(key, "renew"))
		return text_small(value, QUIRE_RENEW_MAX, &options->renew);
	if (text_is(key, "prefault"))
		return text_flag(value, QUIRE_PREFAULT, &options->flags);
	if (text_is(key, "mlock"))
		return text_flag(value, QUIRE_MLOCK, &options->flags);
	if (text_is(key, "dontfork"))
		return text_flag(value, QUIRE_DONTFORK, &options->flags);
	if (text_is(key, "race"))
		return text_flag(value, QUIRE_CHECK_RACE, &options->flags);
	if (text_is(key, "lock_times"))
		return text_flag(value, QUIRE_LOCK_TIMES, &options->flags);
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

/* A mistake that makes the options unusable: told, with its values. */
#define refuse(to, ...)                                                        \
	do {                                                                   \
		report(to, __VA_ARGS__);                                       \
		errno = EINVAL;                                                \
		return -1;                                                     \
	} while (0)

static int check_zones(const struct quire_options *options,
		       const struct reporter *to)
{
	uint64_t below = 0;

	if (options->nr_zones > QUIRE_MAX_ZONES)
		refuse(to, "nr_zones %u: at most %d", options->nr_zones,
		       QUIRE_MAX_ZONES);
	for (unsigned i = 0; i + 1 < options->nr_zones; i++) {
		uint64_t size = options->zone_size[i];

		if (size == 0 || size % (UINT64_C(2) << 20))
			refuse(to,
			       "zone_size[%u] %llu: need a multiple of 2 MiB",
			       i, (unsigned long long)size);
		if (size >= options->size - below)
			refuse(to,
			       "zone_size[%u] %llu: zones below leave %llu of "
			       "%llu bytes, and the last zone needs some",
			       i, (unsigned long long)size,
			       (unsigned long long)(options->size - below),
			       (unsigned long long)options->size);
		below += size;
	}
	return 0;
}

static int check(const struct quire_options *options, const struct reporter *to)
{
	const unsigned known = QUIRE_OFFSETS | QUIRE_PREFAULT | QUIRE_MLOCK |
			       QUIRE_DONTFORK | QUIRE_ZEROED |
			       QUIRE_CHECK_RACE | QUIRE_LOCK_TIMES;

	if (options->flags & ~known)
		refuse(to, "option flags 0x%x: unknown bits 0x%x",
		       options->flags, options->flags & ~known);
	if (options->size == 0)
		refuse(to, "size 0: an allocator needs pages");
	if (options->flags & QUIRE_OFFSETS &&
	    options->flags & (QUIRE_PREFAULT | QUIRE_MLOCK | QUIRE_DONTFORK |
			      QUIRE_ZEROED))
		refuse(to,
		       "option flags 0x%x: a range of offsets has no "
		       "memory to prefault, lock, keep out or zero",
		       options->flags);
	if (options->flags & QUIRE_OFFSETS && options->address)
		refuse(to, "address %p given with QUIRE_OFFSETS",
		       options->address);
	if ((unsigned)options->way > QUIRE_WAY_BOUND)
		refuse(to, "way %u: unknown", (unsigned)options->way);
	for (int i = 0; i < NR_BACKINGS; i++) {
		if ((unsigned)options->backing[i] > QUIRE_BACKING_BASE)
			refuse(to, "backing[%d] %u: not one to ask for", i,
			       (unsigned)options->backing[i]);
		if (i && options->backing[i] && !options->backing[i - 1])
			refuse(to, "backing[%d] %s: behind an empty entry", i,
			       arena_backing_name(options->backing[i]));
	}
	if (options->cpus > MAX_CPUS)
		refuse(to, "cpus %u: at most %d", options->cpus, MAX_CPUS);
	if (options->renew > QUIRE_RENEW_MAX)
		refuse(to, "renew %u: at most %d of %d blocks", options->renew,
		       QUIRE_RENEW_MAX, QUIRE_RENEW_MAX);
	return check_zones(options, to);
}

/* The struct as the first version of the header had it. */
#define FIRST_SIZE (offsetof(struct quire_options, report_arg) + sizeof(void *))

int options_read(struct settings *settings, const struct quire_options *given)
{
	struct quire_options *options = &settings->options;
	size_t size = given ? given->struct_size : 0;
	struct reporter to = { NULL, NULL };
	const char *conf;

	/* Only ever appended to: a caller built with an older header knows a
	 * shorter struct, one with a newer header leaves what we do not know at
	 * 0, or it wants what we cannot do. */
	if (size < FIRST_SIZE)
		refuse(&to, "options %p, struct_size %zu: need at least %zu",
		       (const void *)given, size, FIRST_SIZE);
	for (size_t i = sizeof(*options); i < size; i++)
		if (((const char *)given)[i])
			refuse(&to,
			       "struct_size %zu: byte %zu is set, this library "
			       "knows %zu",
			       size, i, sizeof(*options));
	memset(settings, 0, sizeof(*settings));
	memcpy(options, given,
	       size < sizeof(*options) ? size : sizeof(*options));
	to = (struct reporter){ given->report, given->report_arg };
	conf = platform_env("QUIRE_CONF");
	if (conf)
		apply_conf(settings, conf, &to);
	if (options->nr_zones == 0)
		options->nr_zones = 1;
	if (options->decay_ms == 0)
		options->decay_ms = 1000;
	if (check(options, &to) != 0)
		return -1;
	if (options->way == QUIRE_WAY_DEFAULT)
		options->way = platform_rseq_usable() ? QUIRE_WAY_RSEQ
						      : QUIRE_WAY_TRYLOCK;
	if (options->cpus == 0)
		options->cpus = pcp_default_sets(options->way);
	return 0;
}
