/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Hostile text on a terminal, and the frame that is made of it. */
#include "unit.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "ctl/frame.h"
#include "ctl/news.h"
#include "ctl/show.h"

static const char *shown(const char *in, unsigned columns)
{
	static char out[200];

	return show_text(out, sizeof out, in, columns);
}

static void test_hostile_text(void **state)
{
	(void)state;
	assert_string_equal(shown("plain name", 80), "plain name");
	assert_string_equal(shown("a\x1b[2Jb\n\tc\x7f", 80), "a\\x1b[2Jb\\x0a\\x09c\\x7f");
	assert_string_equal(shown("\xff\xc3", 80), "\\xff\\xc3");
	assert_string_equal(shown("\xc2\x9b" "31m", 80), "\\xc2\\x9b31m");	/* C1 CSI */
	assert_string_equal(shown("a\xe2\x80\xae" "b", 80), "a\\xe2\\x80\\xae" "b");	/* U+202E */
	assert_string_equal(shown("caf\xc3\xa9", 80), "caf\xc3\xa9");
}

static void test_width(void **state)
{
	(void)state;
	assert_string_equal(shown("0123456789", 10), "0123456789");
	assert_string_equal(shown("0123456789x", 10), "0123456...");
	assert_string_equal(shown("\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2", 5), "\xe6\xbc\xa2...");
	assert_string_equal(shown("abc", 2), "..");
	assert_string_equal(shown("abc", 0), "");
}

static void test_small_buffer(void **state)
{
	char out[8];

	(void)state;
	for (size_t n = 1; n <= sizeof out; n++) {
		memset(out, 'Z', sizeof out);
		show_text(out, n, "\x01\x02\x03 and a long tail", 100);
		assert_true(strlen(out) < n);
	}
}

static void test_counts(void **state)
{
	char b[28];

	(void)state;
	assert_string_equal(show_count(b, sizeof b, 0), "0");
	assert_string_equal(show_count(b, sizeof b, 999), "999");
	assert_string_equal(show_count(b, sizeof b, 1000), "1,000");
	assert_string_equal(show_count(b, sizeof b, UINT64_MAX), "18,446,744,073,709,551,615");
}

static void apply(struct view *v, const char *json)
{
	json_t *o = json_loads(json, 0, NULL);

	assert_non_null(o);
	view_apply(v, o);
	json_decref(o);
}

static void hostile_view(struct view *v)
{
	char json[2000];

	view_init(v);
	apply(v, "{\"event\":\"starting\",\"seconds\":0.1,\"pid\":42,"
		 "\"source\":\"nfs://h/a\\u001b[2J\\nb\",\"target\":\"/t/\\u202ex\"}");
	for (int i = 1; i < 12; i++) {
		snprintf(json, sizeof json,
			 "{\"event\":\"status\",\"seconds\":%d,\"phase\":\"migrating\","
			 "\"found_objects\":%d,\"here_objects\":%d,\"found_bytes\":9000000000,"
			 "\"here_bytes\":%d000000,\"discovery_done\":true,\"quarantined\":3,"
			 "\"target_full\":true,\"catalog_full\":true,\"deleted\":5,\"source\":{\"connected\":false,"
			 "\"trouble\":\"refused\\u0007\"},\"stalled\":[{\"pid\":7,\"comm\":\"e\\u001bvil\","
			 "\"op\":\"read\",\"waiting\":12.5}]}", i, 1000000, i * 1000, i * 10);
		apply(v, json);
	}
}

static unsigned width_of(const char *s)
{
	wchar_t wide[FRAME_BYTES];
	size_t n = mbstowcs(wide, s, FRAME_BYTES);

	assert_true(n != (size_t)-1);
	return (unsigned)wcswidth(wide, n);	/* -1 for control characters: very wide */
}

static void test_frame_fits(void **state)
{
	struct frame *f = malloc(sizeof *f);
	struct view v;

	(void)state;
	assert_non_null(f);
	hostile_view(&v);
	for (unsigned columns = 1; columns < 300; columns++) {
		frame_compose(f, &v, columns);
		assert_true(f->n >= 8);
		for (unsigned i = 0; i < f->n; i++)
			assert_true(width_of(f->line[i]) <= columns);
	}
	frame_compose(f, &v, 120);
	assert_non_null(strstr(f->line[0], "nfs://h/a\\x1b[2J\\x0ab -> /t/\\xe2\\x80\\xaex"));
	free(f);
}

static void test_frame_says_what_matters(void **state)
{
	static const char *const wanted[] = { "1,000,000 found", "11,000 here", "989,000 left",
					      "SOURCE", "ERRORS   3", "dmm retry STATE --all", "TARGET   is full", "CATALOG  has no space",
					      "process 7 (e\\x1bvil): read for", "5 deleted" };
	struct frame *f = malloc(sizeof *f);
	struct view v;

	(void)state;
	assert_non_null(f);
	hostile_view(&v);
	frame_compose(f, &v, 120);
	for (size_t w = 0; w < sizeof wanted / sizeof wanted[0]; w++) {
		unsigned i = 0;

		while (i < f->n && !strstr(f->line[i], wanted[w]))
			i++;
		if (i == f->n)
			fail_msg("not shown: %s", wanted[w]);
	}
	free(f);
}

/* Events of the wrong shape change nothing and break nothing. */
static void test_wrong_shapes(void **state)
{
	struct view v;

	(void)state;
	view_init(&v);
	apply(&v, "{\"event\":\"status\",\"seconds\":\"soon\",\"found_objects\":-5,"
		  "\"here_objects\":1e30,\"source\":[],\"stalled\":{\"a\":1},\"phase\":7}");
	assert_int_equal(v.found_objects, 0);
	assert_int_equal(v.here_objects, 0);
	assert_string_equal(v.phase, "starting");
	apply(&v, "{\"event\":\"detach-waiting\",\"holders\":[1,2,{\"pid\":\"x\"}]}");
	apply(&v, "{\"event\":5}");
}

static void test_news(void **state)
{
	char line[300];
	struct view v;
	json_t *o = json_pack("{s:s, s:s, s:s}", "event", "quarantined", "level", "warn", "text",
			      "a\033]0;x\007 differs");

	(void)state;
	view_init(&v);
	assert_true(news_line(&v, o, line, sizeof line));
	assert_string_equal(line, "warn: a\\x1b]0;x\\x07 differs");
	json_decref(o);
	o = json_pack("{s:s}", "event", "status");
	assert_false(news_line(&v, o, line, sizeof line));
	json_decref(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hostile_text),
		cmocka_unit_test(test_width),
		cmocka_unit_test(test_small_buffer),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_frame_fits),
		cmocka_unit_test(test_frame_says_what_matters),
		cmocka_unit_test(test_wrong_shapes),
		cmocka_unit_test(test_news),
	};

	if (!setlocale(LC_CTYPE, "C.UTF-8"))
		return 77;	/* no UTF-8 here: skipped */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
