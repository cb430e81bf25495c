/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests share: cmocka, random numbers with a printed seed, settings
 * from the environment, and a catcher of reports.
 */
#ifndef QUIRE_TESTING_H
#define QUIRE_TESTING_H

/* CPU affinity and pipe2(); so this header comes first. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer) ||     \
	__has_feature(undefined_behavior_sanitizer)
#define TEST_SANITIZED 1
#endif
#endif
#ifndef TEST_SANITIZED
#define TEST_SANITIZED 0
#endif

#define TEST_LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* splitmix64 (Steele, Lea, Flood 2014): any seed will do. */
struct test_rng {
	uint64_t state;
};

static inline uint64_t test_random(struct test_rng *rng)
{
	uint64_t z = rng->state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* In [0, n); the bias of n far below 2^64 does not matter here. */
static inline uint64_t test_below(struct test_rng *rng, uint64_t n)
{
	return test_random(rng) % n;
}

static inline uint64_t test_setting(const char *name, uint64_t fallback)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : fallback;
}

/* The seed of a random test, told so that a failure can be had again. */
static inline struct test_rng test_seed(void)
{
	struct test_rng rng = { test_setting("QUIRE_TEST_SEED", 1) };

	printf("# QUIRE_TEST_SEED=%llu\n", (unsigned long long)rng.state);
	return rng;
}

enum { TEST_MESSAGES = 64, TEST_MESSAGE_MAX = 512 };

/* Catches reports: the first TEST_MESSAGES in full, the rest by number. */
struct test_messages {
	pthread_mutex_t lock;
	size_t count;
	char text[TEST_MESSAGES][TEST_MESSAGE_MAX];
};

#define TEST_MESSAGES_INIT                                                     \
	{                                                                      \
		.lock = PTHREAD_MUTEX_INITIALIZER                              \
	}

/* A report function; arg is a struct test_messages. */
static inline void test_catch(void *arg, const char *message)
{
	struct test_messages *messages = arg;

	pthread_mutex_lock(&messages->lock);
	if (messages->count < TEST_MESSAGES)
		snprintf(messages->text[messages->count], TEST_MESSAGE_MAX,
			 "%s", message);
	messages->count++;
	pthread_mutex_unlock(&messages->lock);
}

/* Nothing was caught yet. */
static inline void test_messages_init(struct test_messages *messages)
{
	memset(messages, 0, sizeof(*messages));
	pthread_mutex_init(&messages->lock, NULL);
}

/* How most tests begin: nothing caught, nothing asked by the environment. */
static inline int test_begin(struct test_messages *messages)
{
	test_messages_init(messages);
	return unsetenv("QUIRE_CONF");
}

static inline bool test_caught(const struct test_messages *messages,
			       const char *part)
{
	for (size_t i = 0; i < messages->count && i < TEST_MESSAGES; i++)
		if (strstr(messages->text[i], part))
			return true;
	return false;
}

/* One of the messages has this part. */
#define assert_told(messages, part)                                            \
	do {                                                                   \
		const struct test_messages *told_ = (messages);                \
		const char *part_ = (part);                                    \
                                                                               \
		if (!test_caught(told_, part_))                                \
			fail_msg("\"%s\" is not in %zu messages, the first "   \
				 "\"%s\"",                                     \
				 part_, told_->count,                          \
				 told_->count ? told_->text[0] : "");          \
	} while (0)

/* Runs body in a child; returns its wait status and what it wrote to stderr. */
static inline int test_in_child(void (*body)(void), char *text, size_t size)
{
	size_t length = 0;
	ssize_t got;
	int pipes[2], status;
	pid_t pid;

	assert_int_equal(pipe(pipes), 0);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		signal(SIGABRT, SIG_DFL);
		dup2(pipes[1], 2);
		body();
		_exit(0);
	}
	close(pipes[1]);
	while ((got = read(pipes[0], text + length, size - 1 - length)) > 0)
		length += (size_t)got;
	text[length] = '\0';
	close(pipes[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

enum { TEST_MAPS_MAX = 1 << 18 };

/* The map of the address space, but for what grows by itself. */
static inline void test_read_maps(char *maps)
{
	static char all[TEST_MAPS_MAX];
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	ssize_t got;
	char *next;

	assert_true(fd >= 0);
	while ((got = read(fd, all + length, TEST_MAPS_MAX - 1 - length)) > 0)
		length += (size_t)got;
	close(fd);
	assert_true(length < TEST_MAPS_MAX - 1);
	all[length] = '\0';
	*maps = '\0';
	for (char *line = all; *line; line = next) {
		next = strchr(line, '\n') + 1;
		next[-1] = '\0';
		if (!strstr(line, "[stack]") && !strstr(line, "[heap]"))
			maps = stpcpy(stpcpy(maps, line), "\n");
	}
}

#endif
