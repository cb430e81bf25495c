/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages reach their reporter whole, assertions print values and abort. */
#include "testing.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/report.h"

struct caught {
	void *arg;
	char text[1024];
};

static void catch_one(void *arg, const char *message)
{
	struct caught *caught = arg;

	caught->arg = arg;
	snprintf(caught->text, sizeof(caught->text), "%s", message);
}

static void test_report(void **state)
{
	struct caught caught = { 0 };
	const struct reporter to = { catch_one, &caught };

	(void)state;
	report(&to, "order %u, pfn %u, %s", 3u, 17u, "live");
	assert_string_equal(caught.text, "order 3, pfn 17, live");
	assert_ptr_equal(caught.arg, &caught);
}

static void test_long_message(void **state)
{
	static char longer[2000];
	struct caught caught = { 0 };
	const struct reporter to = { catch_one, &caught };

	(void)state;
	memset(longer, 'x', sizeof(longer) - 1);
	report(&to, "%s", longer);
	assert_int_equal(strlen(caught.text), 511);
	assert_memory_equal(caught.text, longer, 511);
}

static void forget_errno(void *arg, const char *message)
{
	catch_one(arg, message);
	errno = 0;
}

/* A message is told between a failure and whoever looks at its errno. */
static void test_report_keeps_errno(void **state)
{
	struct caught caught = { 0 };
	const struct reporter to = { forget_errno, &caught };

	(void)state;
	errno = ENOMEM;
	report(&to, "errno %d", errno);
	assert_int_equal(errno, ENOMEM);
	assert_ptr_equal(caught.arg, &caught);
}

static void report_to_nobody(void)
{
	const struct reporter none = { NULL, NULL };

	report(NULL, "to %s", "nobody");
	report(&none, "to none");
}

static void test_stderr(void **state)
{
	char text[512];

	(void)state;
	assert_int_equal(test_in_child(report_to_nobody, text, sizeof(text)),
			 0);
	assert_string_equal(text, "quire: to nobody\nquire: to none\n");
}

static void fail_assertion(void)
{
	assert_failed("file.c", 12, "a == b", "a %d, b %d", 4, 5);
}

static void test_assert_failed(void **state)
{
	char text[512];
	int status = test_in_child(fail_assertion, text, sizeof(text));

	(void)state;
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_string_equal(
		text, "quire: file.c:12: a == b does not hold: a 4, b 5\n");
}

static bool asked;

static bool ask(bool answer)
{
	asked = true;
	return answer;
}

static void assert_wrongly(void)
{
	assert_debug(ask(false), "asked for %d", 42);
}

static void test_assert_debug(void **state)
{
	char text[512];
	int status = test_in_child(assert_wrongly, text, sizeof(text));

	(void)state;
	assert_debug(ask(true), "never printed");
	assert_int_equal(asked, config_debug);
	if (!config_debug) {
		assert_int_equal(status, 0);
		return;
	}
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_non_null(strstr(text, "ask(false) does not hold: asked for 42"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_report),
		cmocka_unit_test(test_long_message),
		cmocka_unit_test(test_report_keeps_errno),
		cmocka_unit_test(test_stderr),
		cmocka_unit_test(test_assert_failed),
		cmocka_unit_test(test_assert_debug),
	};

	return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
