/* SPDX-License-Identifier: BSD-2-Clause */
/* A schedule point changes nothing but who runs. */
#include "testing.h"

#include <errno.h>

#include "base/schedule.h"

static void test_schedule_points(void **state)
{
	(void)state;
	for (uint32_t one_in = 0; one_in < 4; one_in++) {
		schedule_arm(one_in, one_in);
		errno = 0;
		for (int i = 0; i < 200; i++)
			schedule_point();
		assert_int_equal(errno, 0);
		/* Asked for once more by a thread that saw it armed. */
		schedule_arm(0, 0);
		schedule_point_armed();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_schedule_points),
	};

	return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
