/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The reader of page traces: what each program prints, task names made to
 * mislead it, files plain and compressed, and every kind of damage with the
 * message that names it.
 */
#include "testing.h"

#include <unistd.h>

#include "../tools/sink.h"
#include "../tools/trace.h"

/* ------------------------------------------------------------------ */
/* Lines                                                               */

#define PAGE "page=000000001b7a5916 "
#define ALLOC                                                                  \
	"mm_page_alloc: " PAGE "pfn=0x10341c order=3 migratetype=1 "           \
	"gfp_flags=GFP_HIGHUSER_MOVABLE|__GFP_ZERO|__GFP_COMP"
#define FREE "mm_page_free: " PAGE "pfn=0x10341c order=3"

struct good {
	const char *line;
	struct trace_event event;
};

/* A block of order 3 at 0x10341c, as most lines here say. */
#define EVENT(KIND, CPU, NS, TYPE, ZERO)                                       \
	{                                                                      \
		.time_ns = (NS), .pfn = 0x10341c, .cpu = (CPU),                \
		.kind = (KIND), .order = 3, .migratetype = (TYPE),             \
		.zero = (ZERO)                                                 \
	}

static void check_good(const struct good *good, size_t n)
{
	char problem[TRACE_PROBLEM_SIZE];
	struct trace_event e;
	uint64_t count;

	for (size_t i = 0; i < n; i++) {
		const struct trace_event *want = &good[i].event;

		problem[0] = 0;
		if (trace_line_parse(good[i].line, strlen(good[i].line), &e,
				     &count, problem) != TRACE_LINE_EVENT)
			fail_msg("\"%s\": %s", good[i].line, problem);
		assert_int_equal(e.kind, want->kind);
		assert_int_equal(e.cpu, want->cpu);
		assert_int_equal(e.time_ns, want->time_ns);
		assert_int_equal(e.pfn, want->pfn);
		assert_int_equal(e.order, want->order);
		assert_int_equal(e.migratetype, want->migratetype);
		assert_int_equal(e.zero, want->zero);
	}
}

static void test_formats(void **state)
{
	static const struct good good[] = {
		/* ftrace: trace, trace_pipe */
		{ "          rec.sh-19539   [000] .....  3587.440433: " ALLOC,
		  EVENT(TRACE_ALLOC, 0, 3587440433000, 1, true) },
		{ "          <idle>-0       [001] .Ns1.  3587.450980: " FREE,
		  EVENT(TRACE_FREE, 1, 3587450980000, -1, false) },
		/* ftrace with record-tgid */
		{ "    sh-4096    (   4096) [017] d..2. 0.614149: " ALLOC,
		  EVENT(TRACE_ALLOC, 17, 614149000, 1, true) },
		/* four flags, as before Linux 5.17; no space before them */
		{ "  sh-1 [003] .... 1.000001: " FREE,
		  EVENT(TRACE_FREE, 3, 1000001000, -1, false) },
		/* perf script, also with --ns, and with a period */
		{ "perf-exec  3953 [001]  1098.940766: kmem:" ALLOC,
		  EVENT(TRACE_ALLOC, 1, 1098940766000, 1, true) },
		{ "perf  3951 [001]  1098.940667910:  kmem:" FREE,
		  EVENT(TRACE_FREE, 1, 1098940667910, -1, false) },
		{ "perf  3951/3951  [001]  5.5:          1 kmem:" FREE,
		  EVENT(TRACE_FREE, 1, 5500000000, -1, false) },
		{ " 3951 [001]  5.5: kmem:" FREE,
		  EVENT(TRACE_FREE, 1, 5500000000, -1, false) },
		/* trace-cmd report, -t, -l, -R */
		{ "  bash-4872  [000]  1170.105954: mm_page_alloc:        "
		  "page=0x10341c pfn=0x10341c order=3 migratetype=0 "
		  "gfp_flags=GFP_KERNEL_ACCOUNT|__GFP_ZERO",
		  EVENT(TRACE_ALLOC, 0, 1170105954000, 0, true) },
		{ "  sh-4874  [001]  1170.106193123: mm_page_free:         "
		  "page=0x10341c pfn=0x10341c order=3",
		  EVENT(TRACE_FREE, 1, 1170106193123, -1, false) },
		{ "    bash-4872   11d..1.  1170.105954: " FREE,
		  EVENT(TRACE_FREE, 11, 1170105954000, -1, false) },
		{ "bash-4872  [001]  1170.596416: mm_page_free:  pfn=0x10341c "
		  "order=3",
		  EVENT(TRACE_FREE, 1, 1170596416000, -1, false) },
		/* decimal pfn, as before Linux 5.14 */
		{ "sh-1 [000] .... 7.0: mm_page_alloc: page=ffffea0000d07 "
		  "pfn=1061916 order=3 migratetype=2 gfp_flags=GFP_KERNEL",
		  EVENT(TRACE_ALLOC, 0, 7000000000, 2, false) },
		/* a clock without seconds (trace_clock counter) */
		{ "sh-1 [000] .... 12345: " FREE,
		  EVENT(TRACE_FREE, 0, 12345, -1, false) },
	};

	(void)state;
	check_good(good, TEST_LENGTH(good));
}

static void test_task_names(void **state)
{
	static const char *const names[] = {
		"a [007] - 5",
		"we [003] b-1: x",
		"[999] 1.0: x",
		"mm_page_alloc:",
		"x: mm_page_free",
		"mm_page_free: ",
		"Web Content",
		"kworker/0:1-mm_",
		"CPU:1 [LOST 1 ",
		":4233",
		"",
		"\xc3\xa9t\xc3\xa9",
	};
	static const char *const forms[] = {
		"%16s-4046    [005] .....  1100.357918: %s",
		"%s  4046 [005]  1100.357918: kmem:%s",
		"%16s-4046  [005]  1100.357918: %s",
	};
	char line[512];

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(names); i++) {
		for (size_t k = 0; k < TEST_LENGTH(forms); k++) {
			struct good good = { line,
					     EVENT(TRACE_ALLOC, 5,
						   1100357918000, 1, true) };

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
			snprintf(line, sizeof(line), forms[k], names[i], ALLOC);
#pragma GCC diagnostic pop
			check_good(&good, 1);
		}
	}
}

static void test_failed_allocations(void **state)
{
	static const char *const fields[] = {
		"page=(null) pfn=0x0 order=4 migratetype=0 gfp_flags=X",
		"page=0000000000000000 pfn=0x0 order=-1 migratetype=0",
		"page=NULL pfn=0 order=0",
		"pfn=0xffffffffffffffff order=0",
		"pfn=-1 order=0",
	};
	char line[256], problem[TRACE_PROBLEM_SIZE];
	struct trace_event e;
	uint64_t count;

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(fields); i++) {
		snprintf(line, sizeof(line), "a-1 [000] 1.0: mm_page_alloc: %s",
			 fields[i]);
		assert_int_equal(trace_line_parse(line, strlen(line), &e,
						  &count, problem),
				 TRACE_LINE_EVENT);
		assert_int_equal(e.kind, TRACE_ALLOC_FAILED);
	}
}

static void test_other_lines(void **state)
{
	static const char *const others[] = {
		"",
		"# tracer: nop",
		"# entries-in-buffer/entries-written: 3559/4569   #P:2",
		"##### CPU 0 buffer started ####",
		"cpus=2",
		"a-1 [000] ..... 1.0: mm_page_alloc_extfrag: page=1 pfn=0x1",
		"a-1 [000] ..... 1.0: mm_page_free_batched: page=1 pfn=0x1",
		"a-1 [000] 1.0: sched_switch: prev_comm=mm_page_free: x=1",
		"mm_page_alloc:-7 [000] d..2. 1.0: sched_waking: comm=x pid=1",
		"\tffffffff8161deb4 free_unref_folios+0x454 (mm_page_free)",
		" => mm_page_alloc",
	};
	char problem[TRACE_PROBLEM_SIZE];
	struct trace_event e;
	uint64_t count;

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(others); i++)
		if (trace_line_parse(others[i], strlen(others[i]), &e, &count,
				     problem) != TRACE_LINE_OTHER)
			fail_msg("\"%s\" is taken for something", others[i]);
}

static void test_lost(void **state)
{
	static const struct {
		const char *line;
		enum trace_line kind;
		uint64_t count;
	} lines[] = {
		{ "CPU:1 [LOST 3193 EVENTS]", TRACE_LINE_LOST, 3193 },
		{ "CPU:0 [17 EVENTS DROPPED]", TRACE_LINE_LOST, 17 },
		{ "CPU:0 [EVENTS DROPPED]", TRACE_LINE_LOST, 1 },
		{ "sh  4225 [001]  1.7: PERF_RECORD_LOST lost 383",
		  TRACE_LINE_LOST, 383 },
		{ "# lost 5534", TRACE_LINE_TOTAL, 5534 },
	};
	char problem[TRACE_PROBLEM_SIZE];
	struct trace_event e;
	uint64_t count;

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(lines); i++) {
		assert_int_equal(trace_line_parse(lines[i].line,
						  strlen(lines[i].line), &e,
						  &count, problem),
				 lines[i].kind);
		assert_int_equal(count, lines[i].count);
	}
}

static void test_bad_lines(void **state)
{
	static const struct {
		const char *line, *part;
	} bad[] = {
		{ "a-1 [4096] .... 1.0: " FREE, "CPU 4096" },
		{ "a-1 [99999999999999999999] .... 1.0: " FREE, "[CPU]" },
		{ "# entries-in-buffer/entries-written: 1/1   #P:4096",
		  "4096 CPUs" },
		{ "cpus=4096", "4096 CPUs" },
		{ "CPU:4096 [LOST 1 EVENTS]", "4097 CPUs" },
		{ "a-1 [0] 1.0: mm_page_free: pfn=0x1 order=19", "order 19" },
		{ "a-1 [0] 1.0: mm_page_free: pfn=0x1 order=-1", "order -1" },
		{ "a-1 [0] 1.0: mm_page_alloc: pfn=0x1 order=-1", "order -1" },
		{ "a-1 [0] 1.0: mm_page_free: pfn=0x1 order=x", "order=x" },
		{ "a-1 [0] 1.0: mm_page_free: pfn=0x1 order=", "order=" },
		{ "a-1 [0] 1.0: mm_page_free: pfn=0x1", "without order=" },
		{ "a-1 [0] 1.0: mm_page_free: order=1", "without pfn=" },
		{ "a-1 [0] 1.0: mm_page_alloc:", "without pfn=" },
		{ "a-1 [0] 1.0: mm_page_free: pfn=0xq order=0", "pfn=0xq" },
		{ "a-1 [0] 1.0: mm_page_free: pfn=12ab order=0", "pfn=12ab" },
		{ "a-1 [0] 1.0: mm_page_free: pfn=0x10000000000 order=0",
		  "pfn 0x10000000000" },
		{ "a-1 [0] 1.0: mm_page_free: pfn=0x1ffffffffffffffff order=0",
		  "pfn=0x1ffffffffffffffff" },
		{ "a-1 [x] 1.0: " FREE, "[CPU]" },
		{ "a-1 1.0: " FREE, "[CPU]" },
		{ "a-1 [0] soon: " FREE, "[CPU]" },
		{ FREE, "[CPU]" },
	};
	char problem[TRACE_PROBLEM_SIZE];
	struct trace_event e;
	uint64_t count;

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(bad); i++) {
		problem[0] = 0;
		if (trace_line_parse(bad[i].line, strlen(bad[i].line), &e,
				     &count, problem) != TRACE_LINE_BAD)
			fail_msg("\"%s\" is accepted", bad[i].line);
		if (!strstr(problem, bad[i].part))
			fail_msg("\"%s\": \"%s\" does not say \"%s\"",
				 bad[i].line, problem, bad[i].part);
	}
}

/* No line, whatever was cut from or changed in it, may be read past its end:
 * each lies alone in memory of its own size, which ASan watches. */
static void test_damaged_lines(void **state)
{
	static const char line[] =
		"we [3] b-1: x-4096 ( 4096) [001] d..1.  1100.614149: " ALLOC;
	struct test_rng rng = test_seed();
	uint64_t rounds = test_setting("QUIRE_TEST_ROUNDS", 20000);

	(void)state;
	for (uint64_t i = 0; i < rounds; i++) {
		size_t start = test_below(&rng, sizeof(line));
		size_t n = test_below(&rng, sizeof(line) - start);
		char problem[TRACE_PROBLEM_SIZE];
		char *copy = malloc(n + 1);
		struct trace_event e;
		uint64_t count;

		assert_non_null(copy);
		memcpy(copy, line + start, n);
		if (n && i % 2)
			copy[test_below(&rng, n)] =
				(char)(test_random(&rng) | 1);
		copy = realloc(copy, n ? n : 1);
		assert_non_null(copy);
		trace_line_parse(copy, n, &e, &count, problem);
		free(copy);
	}
}

/* ------------------------------------------------------------------ */
/* Files                                                               */

struct folder {
	char path[64];
	char file[128];
};

static int folder_make(void **state)
{
	struct folder *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	strcpy(f->path, "/tmp/quire-trace-XXXXXX");
	*state = f;
	return mkdtemp(f->path) ? 0 : -1;
}

static int folder_remove(void **state)
{
	struct folder *f = *state;

	unlink(f->file);
	rmdir(f->path);
	free(f);
	return 0;
}

static void file_name(struct folder *f, const char *name)
{
	if (f->file[0])
		unlink(f->file);
	snprintf(f->file, sizeof(f->file), "%s/%s", f->path, name);
}

static void file_write(struct folder *f, const char *name, const void *data,
		       size_t n)
{
	FILE *file;

	file_name(f, name);
	file = fopen(f->file, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, n, file), n);
	assert_int_equal(fclose(file), 0);
}

/* Reads to the end; the number of events, or -1 with the error. */
static long file_read(const char *path, char error[512], uint64_t *lost)
{
	struct trace *t = trace_open(path);
	enum trace_result result;
	struct trace_event e;
	long n = 0;

	assert_non_null(t);
	while ((result = trace_next(t, &e)) == TRACE_EVENT)
		n++;
	if (result == TRACE_ERROR) {
		/* It stays. */
		assert_int_equal(trace_next(t, &e), TRACE_ERROR);
		n = -1;
	}
	snprintf(error, 512, "%s", trace_error(t));
	if (lost)
		*lost = trace_lost(t);
	trace_close(t);
	return n;
}

static void check_error(struct folder *f, const char *part)
{
	char error[512];

	assert_int_equal(file_read(f->file, error, NULL), -1);
	if (!strstr(error, part) || !strstr(error, f->file))
		fail_msg("\"%s\" does not name the file and \"%s\"", error,
			 part);
}

/* n events with a page number that does not compress to nothing. */
static char *make_text(unsigned n, size_t *size)
{
	struct test_rng rng = { 7 };
	char *text = malloc(n * 160 + 1);
	size_t at = 0;

	assert_non_null(text);
	for (unsigned i = 0; i < n; i++)
		at += (size_t)sprintf(
			text + at,
			"sh-%u [%03u] ..... %u.%06u: "
			"mm_page_free: page=%016llx pfn=0x%llx "
			"order=0\n",
			i, i % 4, i / 1000, i % 1000000,
			(unsigned long long)test_random(&rng),
			(unsigned long long)test_below(&rng, 1u << 30));
	*size = at;
	return text;
}

static void compress_file(struct folder *f, const char *name, const char *text,
			  size_t size)
{
	char error[SINK_ERROR_SIZE];
	struct sink *sink;
	uint64_t bytes;

	file_name(f, name);
	sink = sink_open(f->file, error);
	if (!sink)
		fail_msg("%s", error);
	assert_true(sink_write(sink, text, size));
	assert_true(sink_commit(sink, &bytes, error));
	assert_true(bytes > 0);
}

static const char *const kinds[] = { "t.zst", "t.xz", "t.gz", "t.bz2", "t" };

static void test_compressed(void **state)
{
	struct folder *f = *state;
	char error[512];
	size_t size;
	char *text = make_text(20000, &size);

	for (size_t i = 0; i < TEST_LENGTH(kinds); i++) {
		compress_file(f, kinds[i], text, size);
		if (file_read(f->file, error, NULL) != 20000)
			fail_msg("%s: %s", kinds[i], error);
	}
	free(text);
}

static void test_cut_short(void **state)
{
	struct folder *f = *state;
	size_t size;
	char *text = make_text(5000, &size);

	for (size_t i = 0; i < TEST_LENGTH(kinds); i++) {
		FILE *file;
		long end;

		compress_file(f, kinds[i], text, size);
		file = fopen(f->file, "r+");
		assert_non_null(file);
		fseek(file, 0, SEEK_END);
		end = ftell(file);
		fclose(file);
		for (end = end / 2; end > 0; end /= 4) {
			assert_int_equal(truncate(f->file, end), 0);
			check_error(f, "");
		}
	}
	file_write(f, "t", text, size - 1);
	check_error(f, "line 5000: cut short");
	compress_file(f, "t.gz", text, size - 5);
	check_error(f, "line 5000: cut short");
	free(text);
}

static void test_damaged_files(void **state)
{
	static const char line[] = "a-1 [000] 1.0: " FREE "\n";
	struct folder *f = *state;
	char text[600], error[512];
	uint64_t lost;

	file_name(f, "missing");
	check_error(f, "No such file");
	file_write(f, "empty", "", 0);
	check_error(f, "empty");
	compress_file(f, "empty.zst", "", 0);
	check_error(f, "empty");
	file_write(f, "binary", "\177ELF\2\1\1\0\0\0\n", 11);
	check_error(f, "line 1: binary data: byte 0x00 at offset 7");
	file_write(f, "perf.data", "PERFILE2\0\0", 10);
	check_error(f, "perf script");
	file_write(f, "trace.dat", "\x17\x08\x44tracing6\0", 12);
	check_error(f, "trace-cmd report");
	/* A newline of the checksum, and of the file's name. */
	file_write(f, "t.bz2", "BZh91AY&SY\n", 11);
	check_error(f, "cut short or damaged: begins like");
	file_write(f, "t.gz", "\x1f\x8b\x08\x08\1\1\1\1\2\3t\n", 12);
	check_error(f, "cut short or damaged: begins like");

	snprintf(text, sizeof(text), "# x\n%s%s%s", line, line,
		 "a-1 [4096] 1.0: " FREE "\n");
	file_write(f, "cpus", text, strlen(text));
	check_error(f, "line 4: CPU 4096");
	snprintf(text, sizeof(text),
		 "%s\n\n%sa-1 [0] 1.0: mm_page_free: "
		 "pfn=0x1 order=44\n%s",
		 line, line, line);
	file_write(f, "order", text, strlen(text));
	check_error(f, "line 5: order 44");

	snprintf(text, sizeof(text), "%s\r\nCPU:0 [LOST 7 EVENTS]\n# lost 9\n",
		 "a-1 [000] 1.0: " FREE);
	file_write(f, "crlf", text, strlen(text));
	assert_int_equal(file_read(f->file, error, &lost), 1);
	assert_int_equal(lost, 9);
	check_error(&(struct folder){ .file = "/tmp" }, "directory");
}

/* A line longer than the buffer, and lines that cross its end. */
static void test_long_lines(void **state)
{
	static const char line[] = "\na-1 [000] 1.0: " FREE "\n";
	struct folder *f = *state;
	size_t size = 3 << 20;
	char *text = malloc(size + sizeof(line)), error[512];

	assert_non_null(text);
	memset(text, 'x', size);
	file_write(f, "long", text, size);
	check_error(f, "line 1: longer than");
	for (size_t i = 1000; i < size; i += 1000)
		text[i] = '\n';
	memcpy(text + size - 10, line, sizeof(line));
	file_write(f, "lines", text, size - 10 + sizeof(line) - 1);
	assert_int_equal(file_read(f->file, error, NULL), 1);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_formats),
		cmocka_unit_test(test_task_names),
		cmocka_unit_test(test_failed_allocations),
		cmocka_unit_test(test_other_lines),
		cmocka_unit_test(test_lost),
		cmocka_unit_test(test_bad_lines),
		cmocka_unit_test(test_damaged_lines),
		cmocka_unit_test_setup_teardown(test_compressed, folder_make,
						folder_remove),
		cmocka_unit_test_setup_teardown(test_cut_short, folder_make,
						folder_remove),
		cmocka_unit_test_setup_teardown(test_damaged_files, folder_make,
						folder_remove),
		cmocka_unit_test_setup_teardown(test_long_lines, folder_make,
						folder_remove),
	};

	return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
