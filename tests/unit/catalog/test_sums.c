/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sums of resident ranges, and the findings of a verification. */
#include "help.h"

#include <stdlib.h>

enum { OID = 7, CHUNKS = 60, CHUNK = 1000 };

typedef unsigned __int128 u128;

static void bytes_of(u128 v, uint8_t out[16])
{
	for (int i = 15; i >= 0; i--, v >>= 8)
		out[i] = (uint8_t)v;
}

/* Large, so that carries run through all bytes. */
static u128 sum_of_chunk(unsigned i)
{
	return ~(u128)0 - (u128)i * 0x123456789abcdefull * 0xfedcba987654321ull;
}

static int add(struct help *h, unsigned first, unsigned n, const u128 *sum)
{
	uint8_t b[16];

	if (sum)
		bytes_of(*sum, b);
	return catalog_range_add(h->c, OID, first * CHUNK, (first + n) * CHUNK, sum ? b : NULL);
}

static void add_chunk(struct help *h, unsigned i)
{
	u128 s = sum_of_chunk(i);

	assert_int_equal(add(h, i, 1, &s), 0);
}

/* "0-3=? 5-6=00..2a ": in chunks. */
struct seen {
	char text[4000];
};

static int see(void *arg, uint64_t start, uint64_t end, const uint8_t *sum)
{
	struct seen *s = arg;
	size_t n = strlen(s->text);

	n += (size_t)snprintf(s->text + n, sizeof s->text - n, "%lu-%lu=%s", (unsigned long)start / CHUNK,
			      (unsigned long)end / CHUNK, sum ? "" : "?");
	for (int i = 0; sum && i < 16; i++)
		n += (size_t)snprintf(s->text + n, sizeof s->text - n, "%02x", sum[i]);
	snprintf(s->text + n, sizeof s->text - n, " ");
	return 0;
}

static void print(char *text, size_t room, unsigned first, unsigned end, u128 sum)
{
	struct seen s = { "" };
	uint8_t b[16];

	bytes_of(sum, b);
	see(&s, first * CHUNK, end * CHUNK, b);
	snprintf(text, room, "%s", s.text);
}

static void expect(struct help *h, const char *want)
{
	struct seen s = { "" };

	assert_int_equal(catalog_range_each(h->c, OID, see, &s), 0);
	assert_string_equal(s.text, want);
}

static void file(struct help *h)
{
	struct catalog_row row;

	help_row(&row, OID, 1, "large");
	row.size = CHUNKS * CHUNK;
	help_add(h, &row);
}

/* Every chunk in any order, some twice, some as part of a record that comes a second time: exactly once each. */
static void test_once(void **state)
{
	struct help *h = *state;
	unsigned order[CHUNKS], seed = 99;
	char want[100];
	u128 all = 0;

	file(h);
	assert_int_equal(catalog_begin(h->c), 0);
	for (int round = 0; round < 5; round++) {
		all = 0;
		assert_int_equal(catalog_range_drop(h->c, OID), 0);
		for (unsigned i = 0; i < CHUNKS; i++) {
			order[i] = i;
			all += sum_of_chunk(i);
		}
		for (unsigned i = 0; i < CHUNKS; i++) {
			unsigned j, t = order[i];

			seed = seed * 1103515245 + 12345;
			j = seed / 65536 % CHUNKS;
			order[i] = order[j];
			order[j] = t;
		}
		for (unsigned i = 0; i < CHUNKS; i++) {
			add_chunk(h, order[i]);
			add_chunk(h, order[i / 2]);	/* again */
		}
		print(want, sizeof want, 0, CHUNKS, all);
		expect(h, want);
	}
	assert_int_equal(catalog_commit(h->c), 0);
	help_reopen(h);
	expect(h, want);
}

static void test_modulo(void **state)
{
	struct help *h = *state;
	u128 a = ~(u128)0, b = 1, c = (u128)0xff << 56;

	file(h);
	assert_int_equal(catalog_begin(h->c), 0);
	assert_int_equal(add(h, 0, 1, &a), 0);
	assert_int_equal(add(h, 1, 1, &b), 0);
	expect(h, "0-2=00000000000000000000000000000000 ");
	assert_int_equal(add(h, 3, 1, &c), 0);
	assert_int_equal(add(h, 4, 1, &c), 0);
	expect(h, "0-2=00000000000000000000000000000000 3-5=0000000000000001fe00000000000000 ");
	assert_int_equal(catalog_commit(h->c), 0);
}

static void test_not_known(void **state)
{
	struct help *h = *state;
	u128 one = 1;

	file(h);
	assert_int_equal(catalog_begin(h->c), 0);
	assert_int_equal(add(h, 0, 2, NULL), 0);
	assert_int_equal(add(h, 1, 1, &one), 0);		/* inside: nothing is learned */
	assert_int_equal(add(h, 4, 1, &one), 0);
	assert_int_equal(add(h, 4, 1, NULL), 0);		/* inside: nothing is forgotten */
	expect(h, "0-2=? 4-5=00000000000000000000000000000001 ");
	assert_int_equal(add(h, 2, 1, &one), 0);		/* a neighbour of something not known */
	expect(h, "0-3=? 4-5=00000000000000000000000000000001 ");
	assert_int_equal(add(h, 6, 2, &one), 0);
	assert_int_equal(add(h, 5, 1, &one), 0);		/* between two that are known */
	expect(h, "0-3=? 4-8=00000000000000000000000000000003 ");
	assert_int_equal(add(h, 7, 2, &one), 0);		/* overlaps at the end */
	expect(h, "0-3=? 4-9=? ");
	assert_int_equal(add(h, 11, 1, &one), 0);
	assert_int_equal(add(h, 10, 3, &one), 0);		/* around it */
	expect(h, "0-3=? 4-9=? 10-13=? ");
	assert_int_equal(add(h, 3, 1, &one), 0);
	expect(h, "0-9=? 10-13=? ");
	assert_int_equal(add(h, 15, 1, &one), 0);
	assert_int_equal(add(h, 14, 1, NULL), 0);
	expect(h, "0-9=? 10-13=? 14-16=? ");
	assert_int_equal(catalog_commit(h->c), 0);
}

/* Ranges go with the end of the waiting, and a record that comes late adds none. */
static void test_ranges_end(void **state)
{
	static const enum catalog_state ends[] = {
		CATALOG_CLEANING, CATALOG_DELETED, CATALOG_FAILED, CATALOG_EXCLUDED,
	};
	struct help *h = *state;
	struct catalog_row row;
	char name[8];

	assert_int_equal(catalog_begin(h->c), 0);
	for (uint64_t i = 0; i < 4; i++) {
		snprintf(name, sizeof name, "%lu", (unsigned long)i);
		help_row(&row, 20 + i, 1, name);
		assert_int_equal(catalog_add(h->c, &row), 0);
		assert_int_equal(catalog_range_add(h->c, 20 + i, 0, 9, NULL), 0);
		if (i)
			assert_int_equal(catalog_transition(h->c, 20 + i, 1, CATALOG_QUARANTINED, NULL), 0);
		assert_int_equal(help_value(h, "SELECT count(*) FROM range"), 1);	/* still waits */
		assert_int_equal(catalog_transition(h->c, 20 + i, ~0u, ends[i], NULL), 0);
		assert_int_equal(catalog_range_add(h->c, 20 + i, 0, 9, NULL), 0);
		assert_int_equal(help_value(h, "SELECT count(*) FROM range"), 0);
	}
	help_row(&row, 30, 1, "directory");
	row.type = CATALOG_DIR;
	assert_int_equal(catalog_add(h->c, &row), 0);
	assert_int_equal(catalog_range_add(h->c, 30, 0, 9, NULL), 0);
	assert_int_equal(help_value(h, "SELECT count(*) FROM range"), 0);
	assert_int_equal(catalog_commit(h->c), 0);
}

static int no_range(void *arg, uint64_t start, uint64_t end, const uint8_t *sum)
{
	(void)arg;
	(void)start;
	(void)end;
	(void)sum;
	return 0;
}

static void test_damaged_ranges(void **state)
{
	struct help *h = *state;
	static const char *const set[] = {
		"sum='text'", "sum=x'00'", "sum=zeroblob(17)", "sum=1", "stop=-5", "stop=0", "start=-3",
	};
	char sql[100];

	file(h);
	for (unsigned i = 0; i < sizeof set / sizeof *set; i++) {
		assert_int_equal(catalog_begin(h->c), 0);
		assert_int_equal(catalog_range_drop(h->c, OID), 0);
		add_chunk(h, 3);
		assert_int_equal(catalog_commit(h->c), 0);
		snprintf(sql, sizeof sql, "UPDATE range SET %s WHERE oid=7", set[i]);
		help_sql(h, sql);
		assert_int_equal(catalog_range_each(h->c, OID, no_range, NULL), -EUCLEAN);
		assert_int_equal(catalog_begin(h->c), 0);
		assert_int_equal(add(h, 4, 1, NULL), -EUCLEAN);
		catalog_rollback(h->c);
	}
}

struct findings {
	struct catalog *c;
	char text[3000];
};

static int find(void *arg, uint64_t oid, int code, const char *text)
{
	struct findings *f = arg;
	size_t n = strlen(f->text);
	struct catalog_row row;

	snprintf(f->text + n, sizeof f->text - n, "%lu:%d:%.20s(%zu) ", (unsigned long)oid, code, text, strlen(text));
	assert_int_equal(catalog_get(f->c, oid, &row), -ENOENT);	/* the catalog may be used */
	return oid == 99 ? -ECANCELED : 0;
}

static void findings(struct help *h, const char *want)
{
	struct findings f = { .c = h->c };

	assert_int_equal(catalog_finding_each(h->c, find, &f), 0);
	assert_string_equal(f.text, want);
}

static void test_findings(void **state)
{
	struct help *h = *state;
	struct findings f = { .c = h->c };
	char longer[1000];

	findings(h, "");
	assert_int_equal(catalog_finding_set(h->c, 5, 1, "x"), -EINVAL);	/* no transaction */
	assert_int_equal(catalog_finding_clear(h->c), -EINVAL);
	memset(longer, 'y', sizeof longer - 1);
	longer[sizeof longer - 1] = 0;
	assert_int_equal(catalog_begin(h->c), 0);
	assert_int_equal(catalog_finding_set(h->c, 0, 1, "x"), -EINVAL);
	assert_int_equal(catalog_finding_set(h->c, CATALOG_OID_MAX + 1, 1, "x"), -EINVAL);
	assert_int_equal(catalog_finding_set(h->c, 5, 1, NULL), -EINVAL);
	assert_int_equal(catalog_finding_set(h->c, 12, 3, "damaged"), 0);
	assert_int_equal(catalog_finding_set(h->c, 5, -1, longer), 0);
	assert_int_equal(catalog_finding_set(h->c, 12, 4, "gone"), 0);
	assert_int_equal(catalog_commit(h->c), 0);
	help_reopen(h);
	findings(h, "5:-1:yyyyyyyyyyyyyyyyyyyy(600) 12:4:gone(4) ");
	assert_int_equal(catalog_begin(h->c), 0);
	assert_int_equal(catalog_finding_set(h->c, 99, 1, ""), 0);
	assert_int_equal(catalog_finding_set(h->c, 100, 1, "never seen"), 0);
	f.c = h->c;
	assert_int_equal(catalog_finding_each(h->c, find, &f), -ECANCELED);
	assert_null(strstr(f.text, "100"));
	assert_int_equal(catalog_finding_clear(h->c), 0);
	assert_int_equal(catalog_commit(h->c), 0);
	findings(h, "");
}

#define T(name) cmocka_unit_test_setup_teardown(name, help_setup, help_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_once), T(test_modulo), T(test_not_known), T(test_ranges_end), T(test_damaged_ranges),
		T(test_findings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
