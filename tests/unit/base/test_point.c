/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Fault points: what rules are taken, and what armed points do. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/point.h"

static int plain(void)
{
	POINT("test.plain");
	return 0;
}

static int may_fail(void)
{
	return POINT_FAIL("test.fail");
}

static int may_skip(void)
{
	return POINT_STEP("test.step");
}

static int same_name_elsewhere(void)
{
	return POINT_FAIL("test.fail");
}

static void arm(const char *rules)
{
	struct err e = { 0 };

	if (point_set(rules, &e))
		fail_msg("%s", e.text);
}

static void refused(const char *rules, const char *why)
{
	struct err e = { 0 };

	assert_int_equal(point_set(rules, &e), -EINVAL);
	if (!strstr(e.text, why))
		fail_msg("\"%s\" does not contain \"%s\"", e.text, why);
}

static void count_one(void *arg, const struct point *p)
{
	*(int *)arg += !strncmp(p->name, "test.", 5);
}

static void lists_itself(void **state)
{
	int n = 0;

	(void)state;
	point_each(count_one, &n);
	assert_int_equal(n, 4);
}

static void bad_rules(void **state)
{
	(void)state;
	arm("test.fail error=EIO");
	refused("test.nothing kill", "no fault point \"test.nothing\"");
	refused("test.fail", "an action is missing");
	refused("test.fail die", "not an action");
	refused("test.fail error=EFOO", "not an action");
	refused("test.fail delay=5", "not an action");
	refused("test.fail kill times=0", "neither after=N nor times=N");
	refused("test.fail kill before=2", "neither after=N nor times=N");
	refused("test.plain error=EIO", "cannot fail");
	refused("test.fail skip", "cannot be skipped");
	assert_int_equal(may_fail(), -EIO);	/* the rules in force stay */
	arm("");
	assert_int_equal(may_fail(), 0);
}

static void fails_and_skips(void **state)
{
	(void)state;
	arm("test.fail error=ENOSPC after=1 times=2; \n test.step skip times=1; test.step error=EROFS");
	assert_int_equal(may_fail(), 0);
	assert_int_equal(may_fail(), -ENOSPC);
	assert_int_equal(same_name_elsewhere(), -ENOSPC);
	assert_int_equal(may_fail(), 0);
	assert_int_equal(may_skip(), POINT_SKIP);
	assert_int_equal(may_skip(), -EROFS);
	assert_int_equal(plain(), 0);
	arm("");
}

static void delays(void **state)
{
	uint64_t began = clock_mono();

	(void)state;
	arm("test.plain delay=30ms times=1");
	plain();
	assert_true(clock_mono() - began >= 30 * CLOCK_MS);
	arm("");
}

static int in_child(const char *rules, int options)
{
	int status = 0;
	pid_t pid = fork();

	if (!pid) {
		arm(rules);
		plain();
		_exit(7);
	}
	assert_int_equal(waitpid(pid, &status, options), pid);
	if (WIFSTOPPED(status)) {
		kill(pid, SIGCONT);
		waitpid(pid, NULL, 0);
	}
	return status;
}

static void kills_and_stops(void **state)
{
	int status = in_child("test.plain kill", 0);

	(void)state;
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	status = in_child("test.plain kill after=1", 0);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	status = in_child("test.plain stop", WUNTRACED);
	assert_true(WIFSTOPPED(status));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_itself), cmocka_unit_test(bad_rules), cmocka_unit_test(fails_and_skips),
		cmocka_unit_test(delays), cmocka_unit_test(kills_and_stops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
