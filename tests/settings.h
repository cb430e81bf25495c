/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What tests of options and of QUIRE_CONF share: good options, and whether they
 * are accepted.
 */
#ifndef QUIRE_TEST_SETTINGS_H
#define QUIRE_TEST_SETTINGS_H

#include "testing.h"

#include <errno.h>

#include "instance/options.h"
#include "platform/platform.h"

static struct test_messages messages = TEST_MESSAGES_INIT;
static struct settings settings;

static inline struct quire_options good(void)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;

	options.size = 64u << 20;
	options.report = test_catch;
	options.report_arg = &messages;
	return options;
}

static inline int begin(void **state)
{
	(void)state;
	return test_begin(&messages);
}

static inline int end(void **state)
{
	(void)state;
	return unsetenv("QUIRE_CONF");
}

static inline void accepts(const struct quire_options *options)
{
	if (options_read(&settings, options) != 0)
		fail_msg("refused: %s",
			 messages.count ? messages.text[0] : "no message");
}

static inline void refuses(const struct quire_options *options,
			   const char *part)
{
	messages.count = 0;
	errno = 0;
	assert_int_equal(options_read(&settings, options), -1);
	assert_int_equal(errno, EINVAL);
	if (part)
		assert_told(&messages, part);
}

static inline enum quire_way default_way(void)
{
	return platform_rseq_usable() ? QUIRE_WAY_RSEQ : QUIRE_WAY_TRYLOCK;
}

#endif
