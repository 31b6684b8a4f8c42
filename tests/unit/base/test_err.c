/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Errors: codes of either sign, context in front, never beyond the storage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

static void test_set(void **state)
{
	struct err e = { 0 };

	(void)state;
	assert_int_equal(err_set(&e, ENOENT, "no %s", "name"), -ENOENT);
	assert_int_equal(e.code, ENOENT);
	assert_string_equal(e.text, "no name");
	assert_int_equal(err_set(&e, -EIO, "%d%%", 5), -EIO);
	assert_int_equal(e.code, EIO);
	assert_string_equal(e.text, "5%");
	assert_int_equal(err_set(NULL, EIO, "nobody listens"), -EIO);
	assert_int_equal(err_set(NULL, -EIO, "nobody listens"), -EIO);
}

static void test_sys(void **state)
{
	struct err e = { 0 };

	(void)state;
	assert_int_equal(err_sys(&e, -ENOENT, "open %s", "f"), -ENOENT);
	assert_string_equal(e.text, "open f: No such file or directory");
	assert_int_equal(err_sys(NULL, ENOENT, "open"), -ENOENT);
}

static void test_wrap(void **state)
{
	struct err e = { 0 };

	(void)state;
	err_sys(&e, EACCES, "open f");
	assert_int_equal(err_wrap(&e, "reading %s", "the list"), -EACCES);
	assert_int_equal(err_wrap(&e, "start"), -EACCES);
	assert_string_equal(e.text, "start: reading the list: open f: Permission denied");
	assert_int_equal(err_wrap(NULL, "x"), -EIO);
}

/* Context of any length: cut, terminated, the code kept. */
static void test_long(void **state)
{
	struct { struct err e; char after[8]; } s = { .after = "intact" };
	char longer[2 * sizeof s.e.text];

	(void)state;
	memset(longer, 'x', sizeof longer - 1);
	longer[sizeof longer - 1] = 0;
	err_set(&s.e, EIO, "%s", longer);
	assert_int_equal(strlen(s.e.text), sizeof s.e.text - 1);
	err_sys(&s.e, EIO, "%s", longer);
	assert_int_equal(strlen(s.e.text), sizeof s.e.text - 1);
	err_wrap(&s.e, "%s", longer);
	assert_int_equal(strlen(s.e.text), sizeof s.e.text - 1);
	err_set(&s.e, EIO, "end");
	assert_int_equal(err_wrap(&s.e, "%.597s", longer), -EIO);
	assert_int_equal(strlen(s.e.text), sizeof s.e.text - 1);
	assert_string_equal(s.after, "intact");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_set), cmocka_unit_test(test_sys), cmocka_unit_test(test_wrap),
		cmocka_unit_test(test_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
