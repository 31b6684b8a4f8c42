/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Work lists, ranges, reasons, events, small values, oids. */
#include "help.h"

#include "base/point.h"

/* Objects of every state and type, priorities that differ, added out of order. */
static void fill(struct help *h)
{
	static const uint8_t states[] = { CATALOG_FOUND, CATALOG_CLEANING, CATALOG_QUARANTINED,
					  CATALOG_SHADOWED, CATALOG_EXCLUDED };
	struct catalog_row row;
	char name[16];

	assert_int_equal(catalog_begin(h->c), 0);
	for (uint64_t i = 0; i < 600; i++) {
		uint64_t oid = 2 + i * 7 % 600;

		snprintf(name, sizeof name, "%u", (unsigned)oid);
		help_row(&row, oid, 1, name);
		row.type = (uint8_t)(1 + oid % 8);
		row.link_oid = row.type == CATALOG_HARDLINK ? 2 : 0;
		row.state = row.type == CATALOG_HARDLINK ? CATALOG_MIGRATED : states[oid / 8 % 5];
		row.priority = (uint8_t)(oid % 3 * 100);
		row.flags = oid % 11 ? 0 : CATALOG_F_INTENT_DELETE;
		assert_int_equal(catalog_add(h->c, &row), 0);
	}
	assert_int_equal(catalog_commit(h->c), 0);
}

static bool belongs(const struct catalog_row *r, enum catalog_list which)
{
	if (r->type == CATALOG_HARDLINK || r->state >= CATALOG_FIRST_TERMINAL)
		return false;
	switch (which) {
	case CATALOG_LIST_DIRS:
		return r->state == CATALOG_FOUND && r->type == CATALOG_DIR;
	case CATALOG_LIST_CONTENT:
		return r->state == CATALOG_FOUND && r->type != CATALOG_DIR;
	case CATALOG_LIST_CLEANING:
		return r->state == CATALOG_CLEANING;
	case CATALOG_LIST_QUARANTINED:
		return r->state == CATALOG_QUARANTINED;
	default:
		return r->flags & CATALOG_F_INTENT_DELETE;
	}
}

/* Walks a list in pages and compares with what the rows say: same set, in order. */
static unsigned walk(struct help *h, enum catalog_list which, unsigned max)
{
	struct catalog_row rows[64], row;
	struct catalog_pos pos = { 0, 0 };
	unsigned n, total = 0, expected = 0;
	int64_t last = -1;

	for (;;) {
		assert_int_equal(catalog_list(h->c, which, &pos, rows, max, &n), 0);
		if (!n)
			break;
		assert_true(n <= max);
		for (unsigned i = 0; i < n; i++) {
			int64_t key = (int64_t)rows[i].priority << 40 | (int64_t)rows[i].oid;

			assert_true(key > last);
			assert_true(belongs(&rows[i], which));
			last = key;
		}
		assert_int_equal(pos.oid, rows[n - 1].oid);
		total += n;
	}
	for (uint64_t oid = 1; oid < 700; oid++)
		expected += !catalog_get(h->c, oid, &row) && belongs(&row, which);
	assert_int_equal(total, expected);
	return total;
}

static void test_lists(void **state)
{
	struct help *h = *state;

	fill(h);
	help_check_ledger(h);
	for (enum catalog_list l = CATALOG_LIST_DIRS; l <= CATALOG_LIST_INTENTS; l++) {
		assert_true(walk(h, l, 64) > 0);
		walk(h, l, 1);
		walk(h, l, 7);
	}
}

static void step(struct help *h, const struct catalog_row *row, enum catalog_state to)
{
	bool legal = catalog_may_move(row->type, row->state, to);

	assert_int_equal(catalog_transition(h->c, row->oid, 1u << row->state, to, NULL), legal ? 0 : -EINVAL);
}

static void test_lists_follow(void **state)
{
	struct help *h = *state;
	struct catalog_row row, got[2];
	struct catalog_pos pos = { 0, 0 };
	unsigned n;

	fill(h);
	assert_int_equal(catalog_begin(h->c), 0);
	for (uint64_t oid = 2; oid < 602; oid++) {
		assert_int_equal(catalog_get(h->c, oid, &row), 0);
		if (row.type == CATALOG_HARDLINK)
			continue;
		if (oid % 3 == 0)
			assert_int_equal(catalog_set_priority(h->c, oid, (uint8_t)(oid % 256)), 0);
		if (oid % 5 == 0)
			step(h, &row, row.state == CATALOG_QUARANTINED && oid % 2 ? CATALOG_FOUND : CATALOG_DELETED);
		if (oid % 7 == 0)
			assert_int_equal(catalog_set_flags(h->c, oid, CATALOG_F_INTENT_DELETE, 0), 0);
		if (oid % 9 == 0)
			assert_int_equal(catalog_set_flags(h->c, oid, 0, CATALOG_F_INTENT_DELETE), 0);
	}
	walk(h, CATALOG_LIST_INTENTS, 5);	/* the owner sees its own changes */
	assert_int_equal(catalog_commit(h->c), 0);
	for (enum catalog_list l = CATALOG_LIST_DIRS; l <= CATALOG_LIST_INTENTS; l++)
		walk(h, l, 13);
	help_check_ledger(h);
	assert_int_equal(catalog_list(h->c, 9, &pos, got, 2, &n), -EINVAL);
	pos = (struct catalog_pos){ 255, UINT64_MAX };
	assert_int_equal(catalog_list(h->c, CATALOG_LIST_CONTENT, &pos, got, 2, &n), 0);
	assert_int_equal(n, 0);
}

/* No statement of a running migration walks a table. */
static void test_plans(void **state)
{
	struct help *h = *state;
	char sql[2000];
	sqlite3_stmt *s;

	for (int i = 0; i < STMT_COUNT; i++) {
		if (i == STMT_LEDGER_GET)
			continue;	/* a dozen rows */
		snprintf(sql, sizeof sql, "EXPLAIN QUERY PLAN %s", sqlite3_sql(h->c->stmt[i]));
		if (sqlite3_prepare_v2(h->c->db, sql, -1, &s, NULL))
			fail_msg("%s: %s", sql, sqlite3_errmsg(h->c->db));
		while (sqlite3_step(s) == SQLITE_ROW) {
			const char *plan = (const char *)sqlite3_column_text(s, 3);

			if (strstr(plan, "SCAN") || strstr(plan, "TEMP B-TREE"))
				fail_msg("%s: %s", sqlite3_sql(h->c->stmt[i]), plan);
			if (i == STMT_LIST || i == STMT_LIST_NEXT)
				assert_non_null(strstr(plan, "INDEX waiting"));
		}
		sqlite3_finalize(s);
	}
}

struct seen {
	char text[400];
	struct catalog *c;
};

static int see(void *arg, uint64_t start, uint64_t end, const uint8_t *sum)
{
	(void)sum;
	struct seen *s = arg;
	size_t n = strlen(s->text);

	snprintf(s->text + n, sizeof s->text - n, "%lu-%lu ", (unsigned long)start, (unsigned long)end);
	return start == 999 ? -ECANCELED : 0;
}

static void ranges(struct help *h, uint64_t oid, const char *want)
{
	struct seen s = { .c = h->c };

	assert_int_equal(catalog_range_each(h->c, oid, see, &s), 0);
	assert_string_equal(s.text, want);
}

/* Two that wait for content. */
static void files(struct help *h)
{
	struct catalog_row row;

	help_row(&row, 7, 1, "a");
	help_add(h, &row);
	help_row(&row, 8, 1, "b");
	row.state = CATALOG_QUARANTINED;
	help_add(h, &row);
}

static void test_ranges(void **state)
{
	struct help *h = *state;
	struct seen s = { .c = h->c };

	files(h);
	assert_int_equal(catalog_range_add(h->c, 7, 0, 1, NULL), -EINVAL);
	assert_int_equal(catalog_begin(h->c), 0);
	assert_int_equal(catalog_range_add(h->c, 9, 0, 1, NULL), -ENOENT);
	assert_int_equal(catalog_range_add(h->c, 7, 5, 5, NULL), -EINVAL);
	assert_int_equal(catalog_range_add(h->c, 7, 6, 5, NULL), -EINVAL);
	assert_int_equal(catalog_range_add(h->c, 7, 6, UINT64_MAX, NULL), -EINVAL);
	assert_int_equal(catalog_range_add(h->c, 7, 10, 20, NULL), 0);
	assert_int_equal(catalog_range_add(h->c, 7, 30, 40, NULL), 0);
	assert_int_equal(catalog_range_add(h->c, 8, 0, INT64_MAX, NULL), 0);
	ranges(h, 7, "10-20 30-40 ");
	assert_int_equal(catalog_range_add(h->c, 7, 12, 15, NULL), 0);
	assert_int_equal(catalog_range_add(h->c, 7, 40, 50, NULL), 0);
	assert_int_equal(catalog_range_add(h->c, 7, 0, 5, NULL), 0);
	ranges(h, 7, "0-5 10-20 30-50 ");
	assert_int_equal(catalog_range_add(h->c, 7, 5, 10, NULL), 0);
	ranges(h, 7, "0-20 30-50 ");
	assert_int_equal(catalog_range_add(h->c, 7, 60, 70, NULL), 0);
	assert_int_equal(catalog_range_add(h->c, 7, 15, 65, NULL), 0);
	ranges(h, 7, "0-70 ");
	assert_int_equal(catalog_range_add(h->c, 7, 999, 1000, NULL), 0);
	assert_int_equal(catalog_range_add(h->c, 7, 2000, 3000, NULL), 0);
	assert_int_equal(catalog_range_each(h->c, 7, see, &s), -ECANCELED);
	assert_string_equal(s.text, "0-70 999-1000 ");
	assert_int_equal(catalog_range_drop(h->c, 7), 0);
	assert_int_equal(catalog_range_drop(h->c, 7), 0);
	ranges(h, 7, "");
	assert_int_equal(catalog_commit(h->c), 0);
	help_reopen(h);
	ranges(h, 8, "0-9223372036854775807 ");
}

/* Random ranges against a bitmap. */
static void test_ranges_model(void **state)
{
	struct help *h = *state;
	bool model[200] = { false };
	unsigned seed = 12345;
	char want[4000];

	files(h);
	assert_int_equal(catalog_begin(h->c), 0);
	for (int i = 0; i < 400; i++) {
		unsigned a, b, n = 0;

		seed = seed * 1103515245 + 12345;
		a = seed >> 16 & 127;
		b = a + 1 + (seed >> 24) % 12;
		if (i % 25 == 0) {
			assert_int_equal(catalog_range_drop(h->c, 7), 0);
			memset(model, 0, sizeof model);
		}
		assert_int_equal(catalog_range_add(h->c, 7, a, b, NULL), 0);
		memset(model + a, 1, b - a);
		*want = 0;
		for (a = 0; a < 200; a = b + 1) {
			while (a < 200 && !model[a])
				a++;
			for (b = a; b < 200 && model[b]; b++)
				;
			if (b > a)
				n += (unsigned)snprintf(want + n, sizeof want - n, "%u-%u ", a, b);
		}
		ranges(h, 7, want);
	}
	assert_int_equal(catalog_commit(h->c), 0);
}

static void test_reasons(void **state)
{
	struct help *h = *state;
	char text[32], longer[2000];
	int code = 0;

	assert_int_equal(catalog_reason_get(h->c, 7, &code, text, sizeof text), -ENOENT);
	memset(longer, 'x', sizeof longer - 1);
	longer[sizeof longer - 1] = 0;
	assert_int_equal(catalog_begin(h->c), 0);
	assert_int_equal(catalog_reason_set(h->c, 7, 5, longer), 0);
	assert_int_equal(catalog_reason_set(h->c, 7, EIO, "the server says \xff no"), 0);
	assert_int_equal(catalog_reason_set(h->c, 8, 5, longer), 0);
	assert_int_equal(catalog_reason_set(h->c, 9, 5, longer), 0);
	assert_int_equal(catalog_reason_set(h->c, 9, 0, NULL), 0);
	assert_int_equal(catalog_commit(h->c), 0);
	assert_int_equal(catalog_reason_get(h->c, 7, &code, text, sizeof text), 0);
	assert_int_equal(code, EIO);
	assert_string_equal(text, "the server says \xff no");
	assert_int_equal(catalog_reason_get(h->c, 8, &code, text, sizeof text), 0);
	assert_int_equal(strlen(text), sizeof text - 1);
	assert_int_equal(catalog_reason_get(h->c, 9, &code, text, sizeof text), -ENOENT);
}

static void test_events(void **state)
{
	struct help *h = *state;
	static struct catalog_event ev[100];
	uint64_t pos = 0, first = 0;
	unsigned n, total = 0;
	char text[32];

	assert_int_equal(catalog_begin(h->c), 0);
	for (int i = 0; i < CATALOG_EVENTS_MAX + 500; i++) {
		snprintf(text, sizeof text, "event %d", i);
		assert_int_equal(catalog_event_add(h->c, (uint64_t)i, "shadowed", text), 0);
	}
	assert_int_equal(catalog_commit(h->c), 0);
	do {
		assert_int_equal(catalog_event_list(h->c, &pos, ev, 100, &n), 0);
		if (!total)
			first = ev[0].oid;
		for (unsigned i = 0; i < n; i++)
			assert_int_equal(ev[i].oid, first + total + i);
		total += n;
	} while (n);
	assert_int_equal(total, CATALOG_EVENTS_MAX);
	assert_int_equal(first, 500);	/* the oldest are gone */
	assert_string_equal(ev[99].text, "event 10499");
	assert_string_equal(ev[99].kind, "shadowed");
	assert_true(ev[99].time > 1700000000);
}

static void test_meta(void **state)
{
	struct help *h = *state;
	uint8_t in[4097], out[4096];
	size_t n = sizeof out;

	memset(in, 0x5a, sizeof in);
	assert_int_equal(catalog_meta_get(h->c, "phase", out, &n), -ENOENT);
	assert_int_equal(catalog_meta_set(h->c, "phase", in, 4), -EINVAL);
	assert_int_equal(catalog_begin(h->c), 0);
	assert_int_equal(catalog_meta_set(h->c, "phase", in, 4097), -EINVAL);
	assert_int_equal(catalog_meta_set(h->c, "", in, 4), -EINVAL);
	assert_int_equal(catalog_meta_set(h->c, "phase", in, 4096), 0);
	assert_int_equal(catalog_meta_set(h->c, "empty", NULL, 0), 0);
	assert_int_equal(catalog_commit(h->c), 0);
	help_reopen(h);
	assert_int_equal(catalog_meta_get(h->c, "phase", out, &n), 0);
	assert_int_equal(n, 4096);
	assert_memory_equal(in, out, 4096);
	n = 7;
	assert_int_equal(catalog_meta_get(h->c, "phase", out, &n), -ERANGE);
	assert_int_equal(n, 4096);
	assert_int_equal(catalog_meta_get(h->c, "empty", out, &n), 0);
	assert_int_equal(n, 0);
}

static void test_oids(void **state)
{
	struct help *h = *state;
	uint64_t a = 0, b = 0;

	assert_int_equal(catalog_reserve_oids(h->c, 0, &a), -EINVAL);
	assert_int_equal(catalog_reserve_oids(h->c, 1000, &a), 0);
	assert_int_equal(a, CATALOG_ROOT_OID + 1);
	assert_int_equal(catalog_reserve_oids(h->c, 1, &b), 0);
	assert_int_equal(b, a + 1000);
	help_reopen(h);
	assert_int_equal(catalog_reserve_oids(h->c, CATALOG_OID_MAX, &a), -EOVERFLOW);
	assert_int_equal(catalog_reserve_oids(h->c, 5, &a), 0);
	assert_int_equal(a, b + 1);
	assert_int_equal(catalog_begin(h->c), 0);
	assert_int_equal(catalog_reserve_oids(h->c, 5, &a), -EDEADLK);
	catalog_rollback(h->c);
}

/* What is given out twice when nothing is recorded in between: 0 with the rule (D1), what is reserved without it. */
static unsigned given_twice(struct help *h, const char *points)
{
	uint64_t before = 0, after = 0;
	struct err e = { 0 };

	assert_int_equal(point_set(points, &e), 0);
	assert_int_equal(catalog_reserve_oids(h->c, 100, &before), 0);
	assert_true(catalog_next_oid(h->c) == before + 100);
	help_reopen(h);
	assert_int_equal(catalog_reserve_oids(h->c, 100, &after), 0);
	point_set("", &e);
	return after < before + 100 ? (unsigned)(before + 100 - after) : 0;
}

static void test_oids_ahead(void **state)
{
	struct help *h = *state;
	struct catalog_row row;

	assert_int_equal(given_twice(h, ""), 0);
	assert_int_equal(given_twice(h, "rule.oids-ahead skip"), 100);
	help_row(&row, 5000, 1, "the last that is recorded");
	help_add(h, &row);
	assert_int_equal(given_twice(h, "rule.oids-ahead skip"), 100);
	assert_int_equal(catalog_next_oid(h->c), 5101);
}

#define T(name) cmocka_unit_test_setup_teardown(name, help_setup, help_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_lists), T(test_lists_follow), T(test_plans), T(test_ranges), T(test_ranges_model),
		T(test_reasons), T(test_events), T(test_meta), T(test_oids),
		T(test_oids_ahead),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
