/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A fuzz target as a plain program, for compilers without a fuzzer.
 *
 *	fuzz_alloc FILE|FOLDER...               runs each input once
 *	fuzz_alloc --seconds 5 --seed 1 [...]   then random ones, for 5 seconds
 *
 * Random inputs are bytes at random or, where inputs were named, also changed
 * copies of those. The same seed and files give the same inputs in the same
 * order. An input that stops the target, or runs longer than a minute, is
 * written to crash-SEED-NUMBER in the folder that --crashes names.
 */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_SIZE = 4096, MAX_FILE = 1 << 20, MAX_FILES = 4096, LIMIT_S = 60 };

struct file {
	uint8_t *data;
	size_t size;
};

static struct file files[MAX_FILES];
static size_t nr_files;

static uint64_t rng_state;

/* What runs now, for whoever writes it down. */
static const uint8_t *volatile now_data;
static volatile size_t now_size;
static char crash_name[512];

void __sanitizer_set_death_callback(void (*callback)(void))
	__attribute__((weak));

/* splitmix64 (Steele, Lea, Flood 2014) */
static uint64_t below(uint64_t n)
{
	uint64_t z = rng_state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return (z ^ (z >> 31)) % n;
}

/* --- what stopped the target --- */

static void save_input(void)
{
	const uint8_t *data = now_data;
	ssize_t done;
	int fd;

	now_data = NULL;
	if (!data || !crash_name[0])
		return;
	fd = open(crash_name, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	if (fd < 0)
		return;
	done = write(fd, data, now_size);
	close(fd);
	if (done >= 0) {
		done = write(2, "saved as ", 9);
		done = write(2, crash_name, strlen(crash_name));
		done = write(2, "\n", 1);
	}
	(void)done;
}

static void on_signal(int number)
{
	static const char slow[] = "this input ran longer than a minute\n";
	ssize_t done;

	if (number == SIGALRM) {
		done = write(2, slow, sizeof(slow) - 1);
		(void)done;
		number = SIGABRT;
	}
	save_input();
	signal(number, SIG_DFL);
	raise(number);
}

static void catch_signals(void)
{
	static const int numbers[] = { SIGABRT, SIGALRM, SIGBUS,
				       SIGFPE,	SIGILL,	 SIGSEGV };

	/* A sanitizer has handlers of its own for the others. */
	if (__sanitizer_set_death_callback)
		__sanitizer_set_death_callback(save_input);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (i < 2 || !__sanitizer_set_death_callback)
			signal(numbers[i], on_signal);
}

/* --- running --- */

/* In a block of its own size, so that a read behind its end is seen. */
static void run_input(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		abort();
	memcpy(copy, data, size);
	now_size = size;
	now_data = copy;
	alarm(LIMIT_S);
	LLVMFuzzerTestOneInput(copy, size);
	alarm(0);
	now_data = NULL;
	free(copy);
}

static void read_file(const char *path)
{
	struct file *file = &files[nr_files];
	FILE *stream = fopen(path, "rb");

	if (!stream || nr_files == MAX_FILES) {
		fprintf(stderr, "%s: %s\n", path,
			stream ? "too many files" : strerror(errno));
		exit(2);
	}
	file->data = malloc(MAX_FILE);
	if (!file->data)
		abort();
	file->size = fread(file->data, 1, MAX_FILE, stream);
	file->data = realloc(file->data, file->size ? file->size : 1);
	if (!file->data || ferror(stream)) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		exit(2);
	}
	fclose(stream);
	nr_files++;
	printf("# %s\n", path);
	fflush(stdout);
	run_input(file->data, file->size);
}

static int is_shown(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static void read_path(const char *path)
{
	struct dirent **entries;
	struct stat st;
	char name[4096];
	int n;

	if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
		read_file(path);
		return;
	}
	n = scandir(path, &entries, is_shown, alphasort);
	if (n < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		exit(2);
	}
	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
		read_file(name);
		free(entries[i]);
	}
	free(entries);
}

/* --- random inputs --- */

static size_t random_bytes(uint8_t *data)
{
	size_t size = below(8) ? below(256) : below(MAX_SIZE);

	for (size_t i = 0; i < size; i++)
		data[i] = (uint8_t)below(256);
	return size;
}

/* One change: a byte, a number in it, a piece copied, moved or cut off. */
static size_t change(uint8_t *data, size_t size)
{
	size_t at = below(size), from = below(size);
	size_t n = 1 + below(size - (at > from ? at : from));

	switch (below(6)) {
	case 0:
		data[at] ^= (uint8_t)(1u << below(8));
		break;
	case 1:
		data[at] = (uint8_t)below(256);
		break;
	case 2:
		data[at] = (uint8_t)(data[at] + below(9) - 4);
		break;
	case 3:
		memmove(data + at, data + from, n);
		break;
	case 4:
		if (size + n > MAX_SIZE)
			return size;
		memmove(data + at + n, data + at, size - at);
		return size + n;
	default:
		memmove(data + at, data + at + n, size - at - n);
		return size > n ? size - n : size;
	}
	return size;
}

static size_t changed_file(uint8_t *data)
{
	const struct file *file = &files[below(nr_files)];
	const struct file *other = &files[below(nr_files)];
	size_t size = file->size < MAX_SIZE ? file->size : MAX_SIZE;

	memcpy(data, file->data, size);
	if (below(4) == 0 && other->size > 0) {
		size_t at = below(size + 1), from = below(other->size);
		size_t n = other->size - from;

		n = n < MAX_SIZE - at ? n : MAX_SIZE - at;
		memcpy(data + at, other->data + from, n);
		size = at + n;
	}
	for (uint64_t n = 1 + below(8); size > 0 && n > 0; n--)
		size = change(data, size);
	return size;
}

static double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void run_random(double seconds, uint64_t seed, const char *crashes)
{
	static uint8_t data[MAX_SIZE];
	double end = seconds_now() + seconds;
	uint64_t n = 0;

	rng_state = seed;
	for (; seconds_now() < end; n++) {
		size_t size = nr_files && below(3) ? changed_file(data)
						   : random_bytes(data);

		snprintf(crash_name, sizeof(crash_name),
			 "%s/crash-%" PRIu64 "-%" PRIu64, crashes, seed, n);
		run_input(data, size);
	}
	printf("# seed %" PRIu64 ": %" PRIu64 " random inputs\n", seed, n);
}

static int usage(const char *name)
{
	fprintf(stderr,
		"usage: %s [--seconds N] [--seed S] [--crashes FOLDER] "
		"[FILE|FOLDER]...\n",
		name);
	return 2;
}

int main(int argc, char **argv)
{
	uint64_t seed = (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid();
	const char *crashes = ".";
	double seconds = 0;
	int i = 1;

	for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
		if (strcmp(argv[i], "--seconds") == 0)
			seconds = strtod(argv[i + 1], NULL);
		else if (strcmp(argv[i], "--seed") == 0)
			seed = strtoull(argv[i + 1], NULL, 0);
		else if (strcmp(argv[i], "--crashes") == 0)
			crashes = argv[i + 1];
		else
			return usage(argv[0]);
	}
	if ((i == argc && seconds <= 0) ||
	    (i < argc && strncmp(argv[i], "--", 2) == 0))
		return usage(argv[0]);
	catch_signals();
	for (; i < argc; i++)
		read_path(argv[i]);
	printf("# %zu inputs replayed\n", nr_files);
	if (seconds > 0) {
		printf("# --seconds %g --seed %" PRIu64 "\n", seconds, seed);
		fflush(stdout);
		run_random(seconds, seed, crashes);
	}
	for (size_t k = 0; k < nr_files; k++)
		free(files[k].data);
	return 0;
}
