/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Byte counts and durations, in and out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/size.h"

static void test_parse(void **state)
{
	static const struct { const char *s; uint64_t v; } good[] = {
		{ "0", 0 }, { "1", 1 }, { "4096", 4096 }, { "64K", 65536 }, { "64k", 65536 },
		{ "64KB", 65536 }, { "64KiB", 65536 }, { "1.5M", 1572864 }, { "2GiB", 2147483648u },
		{ "1T", 1ull << 40 }, { "3P", 3ull << 50 }, { "7E", 7ull << 60 }, { "10B", 10 },
		{ "0.5K", 512 }, { "1.", 1 },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof good / sizeof *good; i++) {
		uint64_t v = 99;

		assert_int_equal(size_parse(good[i].s, &v), 0);
		assert_int_equal(v, good[i].v);
	}
}

static void test_parse_refuses(void **state)
{
	static const struct { const char *s; int r; } bad[] = {
		{ "", -EINVAL }, { "K", -EINVAL }, { "-1", -EINVAL }, { "+1", -EINVAL }, { " 1", -EINVAL },
		{ "1 K", -EINVAL }, { "1KK", -EINVAL }, { "1Ki B", -EINVAL }, { "1X", -EINVAL },
		{ "1e3", -EINVAL }, { "0x10", -EINVAL }, { "inf", -EINVAL }, { "nan", -EINVAL },
		{ "1..2", -EINVAL }, { "1iB", -EINVAL }, { "8E", -ERANGE }, { "9223372036854775808", -ERANGE },
		{ "99999999999999999999999999", -ERANGE }, { "1\xff", -EINVAL },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		uint64_t v = 99;

		if (size_parse(bad[i].s, &v) != bad[i].r)
			fail_msg("\"%s\" gives %d", bad[i].s, size_parse(bad[i].s, &v));
		assert_int_equal(v, 99);	/* untouched */
	}
}

static void test_format(void **state)
{
	static const struct { uint64_t v; const char *s; } t[] = {
		{ 0, "0 B" }, { 1023, "1023 B" }, { 1024, "1.00 KiB" }, { 1536, "1.50 KiB" },
		{ 10 << 10, "10.0 KiB" }, { 100 << 10, "100 KiB" }, { 1ull << 30, "1.00 GiB" },
		{ UINT64_MAX, "16.0 EiB" },
	};
	char buf[32], small[4];

	(void)state;
	for (unsigned i = 0; i < sizeof t / sizeof *t; i++)
		assert_string_equal(size_format(buf, sizeof buf, t[i].v), t[i].s);
	assert_string_equal(size_format(small, sizeof small, 1024), "1.0");
}

static void test_seconds(void **state)
{
	static const struct { uint64_t v; const char *s; } t[] = {
		{ 0, "0 s" }, { 59, "59 s" }, { 60, "1 min 0 s" }, { 3599, "59 min 59 s" },
		{ 3600, "1 h 0 min" }, { 11520, "3 h 12 min" }, { 86399, "23 h 59 min" },
		{ 86400, "1 d 0 h" }, { 900000, "10 d 10 h" },
	};
	char buf[32];

	(void)state;
	for (unsigned i = 0; i < sizeof t / sizeof *t; i++)
		assert_string_equal(size_format_seconds(buf, sizeof buf, t[i].v), t[i].s);
	size_format_seconds(buf, sizeof buf, UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse), cmocka_unit_test(test_parse_refuses),
		cmocka_unit_test(test_format), cmocka_unit_test(test_seconds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
