/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include "ctl/args.h"

static const struct args_option table[] = {
	{ "state", "DIR", "" },
	{ "json", NULL, "" },
	{ 0 },
};

static int parse(struct args *a, struct err *e, const char *const *argv)
{
	int n = 0;

	while (argv[n])
		n++;
	return args_parse(table, n, (char **)(uintptr_t)argv, a, e);
}

#define PARSE(...) parse(&a, &e, (const char *const[]){ __VA_ARGS__, NULL })

static void test_forms(void **state)
{
	struct args a;
	struct err e;

	(void)state;
	assert_int_equal(PARSE("src", "--state", "/d", "tgt", "--json"), 0);
	assert_int_equal(a.operands, 2);
	assert_string_equal(a.operand[1], "tgt");
	assert_string_equal(args_get(&a, "state"), "/d");
	assert_non_null(args_get(&a, "json"));

	assert_int_equal(PARSE("--state=/x=y"), 0);
	assert_string_equal(args_get(&a, "state"), "/x=y");
	assert_null(args_get(&a, "json"));

	assert_int_equal(PARSE("--", "--json", "-"), 0);
	assert_int_equal(a.operands, 2);
	assert_null(args_get(&a, "json"));
	assert_int_equal(PARSE("-"), 0);
	assert_int_equal(a.operands, 1);
}

static void test_refusals(void **state)
{
	char *many[ARGS_OPERANDS_MAX + 1];
	struct args a;
	struct err e;

	(void)state;
	assert_int_equal(PARSE("--nonsense"), -EINVAL);
	assert_string_equal(e.text, "unknown option --nonsense");
	assert_int_equal(PARSE("--sta", "x"), -EINVAL);
	assert_int_equal(PARSE("-x"), -EINVAL);
	assert_int_equal(PARSE("--state"), -EINVAL);
	assert_string_equal(e.text, "--state wants a value: --state DIR");
	assert_int_equal(PARSE("--state="), -EINVAL);
	assert_int_equal(PARSE("--json=yes"), -EINVAL);
	assert_int_equal(PARSE("--json", "--json"), -EINVAL);
	for (unsigned i = 0; i <= ARGS_OPERANDS_MAX; i++)
		many[i] = (char *)"x";
	assert_int_equal(args_parse(table, ARGS_OPERANDS_MAX, many, &a, &e), 0);
	assert_int_equal(args_parse(table, ARGS_OPERANDS_MAX + 1, many, &a, &e), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),
		cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
