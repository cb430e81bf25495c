/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * quire-record: records the page events of this machine into a compressed
 * trace for quire-replay.
 *
 * The kernel formats the events; this program copies its text from an
 * instance's trace_pipe into the file. It ends after a time, at the end of a
 * command, or by SIGINT, SIGTERM or SIGHUP, always in the same way: events
 * off, what is in the buffers read, the instance removed, the file closed and
 * named. A last line "# lost N" says how many events the buffers had no room
 * for.
 *
 * The recorder uses pages too: those of its own reading and writing are in the
 * recording, as everything is that the machine does.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "progress.h"
#include "sink.h"
#include "text.h"
#include "tracefs.h"

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXIT_BAD 2
#define TICK_MS 100
#define READ_SIZE ((size_t)64 << 10)

struct arguments {
	const char *output;
	double seconds; /* 0: until told */
	uint64_t buffer_kb;
	char **command; /* NULL: none */
};

struct recorder {
	const struct arguments *arguments;
	struct tracefs tracefs;
	struct sink *sink;
	pid_t child;	 /* 0: none, or over */
	bool child_runs; /* its command, not this program's code */
	int child_go;
	int child_status;
	uint64_t started_ns, shown_ns, shown_events;
	uint64_t events, lost;
	bool in_line, failed;
	char error[512];
};

static volatile sig_atomic_t stop_signal, child_over;

static void on_signal(int signal)
{
	if (signal == SIGCHLD)
		child_over = 1;
	else
		stop_signal = signal;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static double elapsed(const struct recorder *r)
{
	return (double)(now_ns() - r->started_ns) / 1e9;
}

/* ------------------------------------------------------------------ */
/* Arguments                                                           */

enum { KEY_BUFFER = 256 };

static const struct argp_option option_table[] = {
	{ "output", 'o', "FILE", 0,
	  "Write to FILE (default pages.trace.zst), compressed by its end: "
	  ".zst, .xz, .gz, .bz2; else plain",
	  0 },
	{ "duration", 'd', "SECONDS", 0, "Stop after SECONDS", 0 },
	{ "buffer-kb", KEY_BUFFER, "N", 0,
	  "Kernel buffer for each CPU in KiB (default 16384); more where "
	  "events are lost",
	  0 },
	{ 0 },
};

static const char doc[] =
	"Records the page events of this machine (kmem:mm_page_alloc and "
	"kmem:mm_page_free, every process) from tracefs into a compressed "
	"trace for quire-replay: for some seconds, or while COMMAND runs, or "
	"until Ctrl-C. Needs root.\v"
	"The recording is made in a tracing instance of its own and disturbs "
	"no other. It holds the recorder's own pages too, and the names of the "
	"tasks that ran. A trace that is written slowly (.xz) on a busy "
	"machine loses events; their number stands in its last line.\n\n"
	"Exit status: 0, or 2 if nothing was recorded; then FILE is as it was.";

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct arguments *a = state->input;
	char *end;

	switch (key) {
	case 'o':
		a->output = arg;
		return 0;
	case 'd':
		a->seconds = strtod(arg, &end);
		if (end == arg || *end || !(a->seconds > 0 && a->seconds < 1e7))
			argp_error(state,
				   "--duration %s: it is a number of seconds, "
				   "more than 0",
				   arg);
		return 0;
	case KEY_BUFFER:
		if (!text_parse_number(arg, 4, 16u << 20, &a->buffer_kb))
			argp_error(state, "--buffer-kb %s: it is 4 to 16777216",
				   arg);
		return 0;
	case ARGP_KEY_ARGS:
		a->command = state->argv + state->next;
		state->next = state->argc;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* ------------------------------------------------------------------ */
/* The command                                                         */

/* In the child: waits for the start, so that the recording has all of it. */
static void child_main(char **command, int go, int told)
{
	char byte;

	if (read(go, &byte, 1) != 1)
		_exit(127);
	signal(SIGPIPE, SIG_DFL);
	execvp(command[0], command);
	/* told is closed by a successful exec. */
	byte = (char)errno;
	if (write(told, &byte, 1) < 0)
		_exit(126);
	_exit(127);
}

static bool child_start(struct recorder *r, int *told)
{
	int go[2], tell[2];

	if (pipe2(go, O_CLOEXEC) != 0 || pipe2(tell, O_CLOEXEC) != 0) {
		snprintf(r->error, sizeof(r->error), "no pipe: %s",
			 strerror(errno));
		return false;
	}
	r->child = fork();
	if (r->child == 0) {
		close(go[1]);
		child_main(r->arguments->command, go[0], tell[1]);
	}
	close(go[0]);
	close(tell[1]);
	r->child_go = go[1];
	*told = tell[0];
	if (r->child > 0)
		return true;
	r->child = 0;
	snprintf(r->error, sizeof(r->error), "cannot fork: %s",
		 strerror(errno));
	return false;
}

/* Lets the child run its command; false if that cannot be run. */
static bool child_release(struct recorder *r, int told)
{
	char byte = 0;
	bool ok = write(r->child_go, "g", 1) == 1 && read(told, &byte, 1) == 0;

	close(r->child_go);
	close(told);
	r->child_runs = ok;
	if (!ok)
		snprintf(r->error, sizeof(r->error), "cannot run %.100s: %s",
			 r->arguments->command[0], strerror(byte));
	return ok;
}

static void child_reap(struct recorder *r, int flags)
{
	if (r->child && waitpid(r->child, &r->child_status, flags) == r->child)
		r->child = 0;
}

/* Before its exec the child holds trace_pipe too, and an instance in use cannot
 * be removed. */
static void child_discard(struct recorder *r)
{
	if (!r->child || r->child_runs)
		return;
	kill(r->child, SIGKILL);
	while (waitpid(r->child, &r->child_status, 0) < 0 && errno == EINTR)
		;
	r->child = 0;
}

/* ------------------------------------------------------------------ */
/* Recording                                                           */

static void count_events(struct recorder *r, const char *text, size_t n)
{
	const char *end = text + n, *newline;

	while (text < end) {
		/* Any other line is an event: "CPU:0 [LOST 12 EVENTS]". */
		if (!r->in_line && *text != 'C' && *text != '#')
			r->events++;
		newline = memchr(text, '\n', (size_t)(end - text));
		r->in_line = !newline;
		text = newline ? newline + 1 : end;
	}
}

/* Copies what the buffers hold, at most a tick long; false at an error. */
static bool copy_events(struct recorder *r)
{
	static char text[READ_SIZE];
	uint64_t end = now_ns() + TICK_MS * 1000000ull;
	ssize_t n;

	do {
		n = read(r->tracefs.pipe, text, sizeof(text));
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return true;
		if (n < 0) {
			snprintf(r->error, sizeof(r->error),
				 "reading %s/trace_pipe: %s", r->tracefs.path,
				 strerror(errno));
			return false;
		}
		count_events(r, text, (size_t)n);
		if (n && !sink_write(r->sink, text, (size_t)n)) {
			snprintf(r->error, sizeof(r->error),
				 "cannot write %.100s: %s",
				 r->arguments->output, sink_error(r->sink));
			return false;
		}
	} while (n > 0 && now_ns() < end);
	return true;
}

static void show_rate(struct recorder *r)
{
	uint64_t now = now_ns(), span = now - r->shown_ns;
	char line[160];

	if (span < 500000000)
		return;
	snprintf(line, sizeof(line),
		 "recording  %.1f s  %s events  %s events/s  %s lost",
		 elapsed(r), text_count(TEXT, r->events),
		 text_count(TEXT, (r->events - r->shown_events) * 1000 /
					  (span / 1000000)),
		 text_count(TEXT, tracefs_lost(&r->tracefs)));
	progress_line(line);
	r->shown_ns = now;
	r->shown_events = r->events;
}

static bool is_over(struct recorder *r)
{
	double limit = r->arguments->seconds;

	if (child_over)
		child_reap(r, WNOHANG);
	return stop_signal || (limit > 0 && elapsed(r) >= limit) ||
	       (r->arguments->command && !r->child);
}

static bool record(struct recorder *r)
{
	struct pollfd pipe = { .fd = r->tracefs.pipe, .events = POLLIN };

	while (!is_over(r)) {
		if (poll(&pipe, 1, TICK_MS) > 0 && !copy_events(r))
			return false;
		show_rate(r);
	}
	return true;
}

/* The rest of the buffers, and the last line. */
static bool finish(struct recorder *r)
{
	uint64_t before;
	char line[64];
	int n;

	if (!tracefs_switch(&r->tracefs, false, r->error))
		return false;
	do {
		before = r->events;
		if (!copy_events(r))
			return false;
	} while (r->events != before);
	r->lost = tracefs_lost(&r->tracefs);
	n = snprintf(line, sizeof(line), "# lost %llu\n",
		     (unsigned long long)r->lost);
	if (!sink_write(r->sink, line, (size_t)n)) {
		snprintf(r->error, sizeof(r->error), "cannot write %.100s: %s",
			 r->arguments->output, sink_error(r->sink));
		return false;
	}
	if (r->events == 0)
		snprintf(r->error, sizeof(r->error),
			 "no page event happened in %.1f s", elapsed(r));
	return r->events != 0;
}

static bool write_header(struct recorder *r)
{
	struct utsname u;
	char line[512];
	int n;

	uname(&u);
	/* The version without what its builder added. */
	u.release[strcspn(u.release, "-")] = 0;
	n = snprintf(line, sizeof(line),
		     "# quire-record: kmem:mm_page_alloc, kmem:mm_page_free\n"
		     "# %.60s %.60s %.60s, %ld CPUs\n",
		     u.sysname, u.release, u.machine,
		     sysconf(_SC_NPROCESSORS_ONLN));
	return sink_write(r->sink, line, (size_t)n);
}

/* Between an instance and its removal. */
static bool session(struct recorder *r)
{
	int told = -1;

	if (r->arguments->command && !child_start(r, &told))
		return false;
	if (!write_header(r) || !tracefs_switch(&r->tracefs, true, r->error))
		return false;
	r->started_ns = r->shown_ns = now_ns();
	if (r->arguments->command && !child_release(r, told))
		return false;
	return record(r) && finish(r);
}

/* ------------------------------------------------------------------ */

static void catch_signals(void)
{
	static const int caught[] = { SIGINT, SIGTERM, SIGHUP, SIGCHLD };
	struct sigaction action = { .sa_handler = on_signal };
	unsigned i;

	for (i = 0; i < 4; i++)
		sigaction(caught[i], &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* A command outlives its recording, unless somebody wants both to end. */
static void leave_child(struct recorder *r)
{
	const char *name =
		r->arguments->command ? r->arguments->command[0] : "";

	child_reap(r, WNOHANG);
	if (r->child && (stop_signal || r->failed)) {
		kill(r->child, SIGTERM);
		child_reap(r, 0);
	}
	if (r->failed || !*name)
		return;
	if (r->child)
		fprintf(stderr, "quire-record: %s still runs, process %ld\n",
			name, (long)r->child);
	else if (WIFSIGNALED(r->child_status))
		fprintf(stderr, "quire-record: %s was ended by signal %d\n",
			name, WTERMSIG(r->child_status));
	else
		fprintf(stderr, "quire-record: %s exited with status %d\n",
			name, WEXITSTATUS(r->child_status));
}

static int conclude(struct recorder *r, double seconds)
{
	uint64_t size = 0;

	if (r->failed) {
		sink_abort(r->sink);
	} else if (!sink_commit(r->sink, &size, r->error)) {
		r->failed = true;
	}
	leave_child(r);
	if (r->failed) {
		fprintf(stderr, "quire-record: %s\n", r->error);
		return EXIT_BAD;
	}
	fprintf(stderr,
		"quire-record: %s events in %.1f s (%s a second), %s lost, "
		"%s in %s\n",
		text_count(TEXT, r->events), seconds,
		text_count(TEXT, (uint64_t)((double)r->events / seconds)),
		text_count(TEXT, r->lost), text_bytes(TEXT, size),
		r->arguments->output);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		option_table, parse_option, "[-- COMMAND [ARG...]]", doc, NULL,
		NULL,	      NULL
	};
	struct arguments a = { .output = "pages.trace.zst",
			       .buffer_kb = 16384 };
	struct recorder r = { .arguments = &a };
	double seconds;

	argp_err_exit_status = EXIT_BAD;
	argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &a);
	catch_signals();
	if (!tracefs_open(&r.tracefs, (unsigned long)a.buffer_kb, r.error)) {
		fprintf(stderr, "quire-record: %s\n", r.error);
		return EXIT_BAD;
	}
	r.sink = sink_open(a.output, r.error);
	if (!r.sink) {
		tracefs_close(&r.tracefs);
		fprintf(stderr, "quire-record: %s\n", r.error);
		return EXIT_BAD;
	}
	r.failed = !session(&r);
	child_discard(&r);
	seconds = elapsed(&r);
	progress_clear();
	tracefs_close(&r.tracefs);
	return conclude(&r, seconds);
}
