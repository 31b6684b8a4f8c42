/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Names on their way to a person and back: bounded lists, command lines that can be copied, bytes in requests. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ask.h"
#include "ctl/names.h"
#include "ctl/news.h"

static char *printed(const struct names *n)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	names_print(n, f, "--json lists all");
	fclose(f);
	return text;
}

static void test_lists(void **state)
{
	struct names n = { .max = 2 };
	char *text;

	(void)state;
	text = printed(&n);
	assert_string_equal(text, "");
	free(text);
	names_add(&n, "a/b", "");
	names_add(&n, "bad\x1b[2J\nname", "Permission denied");
	text = printed(&n);
	assert_string_equal(text, "  a/b\n  bad\\x1b[2J\\x0aname: Permission denied\n");
	free(text);
	for (int i = 0; i < 1234; i++)
		names_add(&n, "more", "");
	assert_int_equal(n.kept, 2);
	text = printed(&n);
	assert_non_null(strstr(text, "\n  ... and 1,234 more (--json lists all)\n"));
	free(text);
	names_free(&n);
	assert_int_equal(n.all, 0);
}

/* Nothing is cut: a path may be as long as it likes. */
static void test_long_name(void **state)
{
	static char in[20001];
	char *out;

	(void)state;
	memset(in, '\x01', sizeof in - 1);
	out = names_text(in);
	assert_int_equal(strlen(out), 4 * (sizeof in - 1));
	free(out);
	memset(in, 'x', sizeof in - 1);
	out = names_text(in);
	assert_string_equal(out, in);
	free(out);
}

static void test_bytes(void **state)
{
	json_t *o;

	(void)state;
	o = ask_bytes("plain/*.iso");
	assert_string_equal(json_string_value(o), "plain/*.iso");
	json_decref(o);
	o = ask_bytes("a\\b\n\xff\xc3\xa9\x7f");
	assert_string_equal(json_string_value(o), "a\\x5cb\\x0a\\xff\\xc3\\xa9\\x7f");
	json_decref(o);
}

static const char *called(const char *state_dir, size_t room)
{
	static char buf[1100];
	struct view v;

	view_init(&v);
	snprintf(v.state, sizeof v.state, "%s", state_dir);
	return view_name(&v, buf, room);
}

static void test_command_lines(void **state)
{
	(void)state;
	assert_string_equal(called("/var/lib/dmm/srv-home-0123", 1100), "srv-home-0123");
	assert_string_equal(called("/var/lib/dmm/one/two", 1100), "/var/lib/dmm/one/two");
	assert_string_equal(called("/var/lib/dmm/", 1100), "/var/lib/dmm/");
	assert_string_equal(called("/srv/state", 1100), "/srv/state");
	assert_string_equal(called("/srv/my state; rm -rf $HOME", 1100), "'/srv/my state; rm -rf $HOME'");
	assert_string_equal(called("/srv/it's", 1100), "'/srv/it'\\''s'");
	assert_string_equal(called("", 1100), "STATE");
	for (size_t n = 8; n < 40; n++)
		assert_true(strlen(called("/srv/'''''''''''''''''''''''''''''''", n)) < n);
}

/* The user is told what to type. */
static void test_errors_left(void **state)
{
	json_t *starting = json_pack("{s:s, s:s, s:s, s:s, s:f}", "event", "starting", "source", "nfs://filer/home", "target", "/srv/home",
				     "state", "/var/lib/dmm/srv-home-0123", "seconds", 0.0);
	json_t *left = json_pack("{s:s, s:i, s:f}", "event", "errors-left", "quarantined", 3, "seconds", 1.0);
	struct view v;
	char line[2100];

	(void)state;
	view_init(&v);
	view_apply(&v, starting);
	assert_true(news_line(&v, left, line, sizeof line));
	assert_non_null(strstr(line, "`dmm report srv-home-0123`"));
	assert_non_null(strstr(line, "`dmm retry srv-home-0123 --all`"));
	assert_non_null(strstr(line, "`dmm retry srv-home-0123 --all --give-up`"));
	json_decref(starting);
	json_decref(left);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_long_name),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_command_lines),
		cmocka_unit_test(test_errors_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
