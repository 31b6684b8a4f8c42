/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rows, states and the ledger: what goes in comes out, and nothing moves that may not. */
#include "help.h"

static void test_round_trip(void **state)
{
	struct help *h = *state;
	struct catalog_row in, out;

	help_row(&in, 7, 1, "odd \xff\n name");
	in.priority = 200;
	in.flags = CATALOG_F_LINKS;
	in.nlink = 3;
	in.change = 0xfedcba9876543210ull;
	in.used = 512;
	in.atime = (struct catalog_time){ -5, 999999999 };
	in.mtime = (struct catalog_time){ INT64_MIN, 1 };
	in.ctime = (struct catalog_time){ INT64_MAX, 2 };
	in.handle_len = sizeof in.handle;
	memset(in.handle, 0xee, sizeof in.handle);
	help_add(h, &in);
	assert_int_equal(catalog_get(h->c, 7, &out), 0);
	help_row_equal(&in, &out);
	help_reopen(h);
	assert_int_equal(catalog_find(h->c, 1, in.name, in.name_len, &out), 0);
	help_row_equal(&in, &out);
	assert_int_equal(catalog_find(h->c, 2, in.name, in.name_len, &out), -ENOENT);
	assert_int_equal(catalog_get(h->c, 8, &out), -ENOENT);
}

/* Every field at its edges, each alone: the packing has a case for each. */
static void test_edges(void **state)
{
	struct help *h = *state;
	static const uint64_t edge[] = { 0, 1, 127, 128, 0xffffffff, INT64_MAX, UINT64_MAX };
	static const struct catalog_time t[] = {
		{ 0, 0 }, { 0, 1 }, { -1, 0 }, { -1, 999999999 }, { 9223372036, 854775807 },
		{ 9223372036, 854775808 }, { -9223372037, 145224192 }, { -9223372037, 145224191 },
		{ 4294967296, 5 }, { INT64_MAX, 999999999 }, { INT64_MIN, 0 },
	};
	struct catalog_counters before, after;
	struct catalog_row in, out;
	uint64_t oid = 100;
	char name[32];

	help_row(&in, 99, 1, "the first fixes the usual fsid");
	help_add(h, &in);
	assert_int_equal(catalog_begin(h->c), 0);
	for (unsigned i = 0; i < sizeof edge / sizeof *edge * 5 + sizeof t / sizeof *t * 3; i++, oid++) {
		unsigned n = sizeof edge / sizeof *edge, j = i - 5 * n;

		snprintf(name, sizeof name, "%u", i);
		help_row(&in, oid, 1, name);
		if (i < 5 * n)
			*(i < n ? &in.used : i < 2 * n ? &in.fsid : i < 3 * n ? &in.fileid :
			  i < 4 * n ? &in.change : &in.size) = edge[i % n] & (i < 4 * n ? UINT64_MAX : INT64_MAX);
		else
			*(j % 3 == 0 ? &in.atime : j % 3 == 1 ? &in.mtime : &in.ctime) = t[j / 3];
		in.nlink = (uint32_t)edge[i % n];
		assert_int_equal(catalog_add(h->c, &in), 0);
		assert_int_equal(catalog_get(h->c, oid, &out), 0);
		help_row_equal(&in, &out);
	}
	assert_int_equal(catalog_commit(h->c), 0);
	catalog_counters(h->c, &before);	/* the sum of sizes is beyond 2^63 */
	help_reopen(h);
	catalog_counters(h->c, &after);
	assert_memory_equal(&before, &after, sizeof before);
}

static void test_refused(void **state)
{
	struct help *h = *state;
	struct catalog_row row;

	help_row(&row, 7, 1, "a");
	assert_int_equal(catalog_add(h->c, &row), -EINVAL);	/* no transaction */
	assert_int_equal(catalog_begin(h->c), 0);
	assert_int_equal(catalog_begin(h->c), -EDEADLK);
	row.oid = 0;
	assert_int_equal(catalog_add(h->c, &row), -EINVAL);
	row.oid = CATALOG_OID_MAX + 1;
	assert_int_equal(catalog_add(h->c, &row), -EOVERFLOW);
	row.oid = 7;
	row.type = 9;
	assert_int_equal(catalog_add(h->c, &row), -EINVAL);
	row.type = CATALOG_REG;
	row.state = 5;
	assert_int_equal(catalog_add(h->c, &row), -EINVAL);
	row.state = 0;
	row.name[0] = '/';
	assert_int_equal(catalog_add(h->c, &row), -EINVAL);
	row.name[0] = 0;
	assert_int_equal(catalog_add(h->c, &row), -EINVAL);
	row.name_len = 256;
	assert_int_equal(catalog_add(h->c, &row), -EINVAL);
	row.name_len = 0;
	assert_int_equal(catalog_add(h->c, &row), -EINVAL);
	row.mtime.nsec = 1000000000;
	row.parent = 0;
	assert_int_equal(catalog_add(h->c, &row), -EINVAL);
	row.mtime.nsec = 0;
	assert_int_equal(catalog_add(h->c, &row), 0);	/* a root */
	assert_int_equal(catalog_commit(h->c), 0);
	assert_int_equal(catalog_commit(h->c), -EINVAL);
	help_check_ledger(h);
}

static void test_claim_once(void **state)
{
	struct help *h = *state;
	struct catalog_row row, out;

	help_row(&row, 7, 1, "a");
	help_add(h, &row);
	assert_int_equal(catalog_begin(h->c), 0);
	row.oid = 8;
	assert_int_equal(catalog_add(h->c, &row), -EEXIST);	/* the name */
	row.oid = 7;
	row.name[0] = 'b';
	assert_int_equal(catalog_add(h->c, &row), -EEXIST);	/* the oid */
	row.oid = 8;
	assert_int_equal(catalog_add(h->c, &row), 0);
	assert_int_equal(catalog_commit(h->c), 0);
	assert_int_equal(catalog_get(h->c, 8, &out), 0);
	help_row_equal(&row, &out);
	help_check_ledger(h);
}

/* Two names with one key: found by search, for 24 bits of hash collide soon. */
static void test_collisions(void **state)
{
	struct help *h = *state;
	struct catalog_row a, b, out;
	char name[16], first[16] = "";
	int64_t want = catalog_codec_name_key(1, "x", 1);

	help_row(&a, 7, 1, "x");
	help_add(h, &a);
	for (unsigned i = 0; !*first; i++) {
		int n = snprintf(name, sizeof name, "%u", i);

		if (catalog_codec_name_key(1, name, (size_t)n) == want)
			strcpy(first, name);
	}
	assert_int_equal(catalog_find(h->c, 1, first, strlen(first), &out), -ENOENT);
	help_row(&b, 8, 1, first);
	help_add(h, &b);
	assert_int_equal(catalog_find(h->c, 1, first, strlen(first), &out), 0);
	help_row_equal(&b, &out);
	assert_int_equal(catalog_find(h->c, 1, "x", 1, &out), 0);
	help_row_equal(&a, &out);
}

static void test_transitions(void **state)
{
	struct help *h = *state;
	enum catalog_state was = 99;
	struct catalog_row row, out;
	const unsigned found = 1u << CATALOG_FOUND, cleaning = 1u << CATALOG_CLEANING;

	help_row(&row, 7, 1, "a");
	help_add(h, &row);
	assert_int_equal(catalog_transition(h->c, 7, found, CATALOG_CLEANING, &was), -EINVAL);
	assert_int_equal(catalog_begin(h->c), 0);
	assert_int_equal(catalog_transition(h->c, 7, cleaning, CATALOG_MIGRATED, &was), -ESTALE);
	assert_int_equal(was, CATALOG_FOUND);
	assert_int_equal(catalog_transition(h->c, 7, found, 5, NULL), -EINVAL);
	assert_int_equal(catalog_transition(h->c, 99, found, CATALOG_CLEANING, NULL), -ENOENT);
	assert_int_equal(catalog_transition(h->c, 7, found | cleaning, CATALOG_CLEANING, NULL), 0);
	assert_int_equal(catalog_transition(h->c, 7, found | cleaning, CATALOG_CLEANING, NULL), 0);
	assert_int_equal(catalog_set_checksum(h->c, 7, (const uint8_t *)"0123456789abcdef"), 0);
	assert_int_equal(catalog_commit(h->c), 0);
	help_check_ledger(h);
	assert_int_equal(catalog_get(h->c, 7, &out), 0);
	assert_true(out.has_checksum);
	assert_memory_equal(out.checksum, "0123456789abcdef", 16);
	assert_int_equal(out.state, CATALOG_CLEANING);

	assert_int_equal(catalog_begin(h->c), 0);
	assert_int_equal(catalog_set_flags(h->c, 7, CATALOG_F_MODIFIED, 0), 0);
	assert_int_equal(catalog_set_flags(h->c, 7, 8, 0), -EINVAL);
	assert_int_equal(catalog_transition(h->c, 7, cleaning, CATALOG_OVERWRITTEN, NULL), 0);
	assert_int_equal(catalog_commit(h->c), 0);
	assert_int_equal(catalog_get(h->c, 7, &out), 0);
	assert_false(out.has_checksum);		/* D8: voided */
	assert_int_equal(out.state, CATALOG_OVERWRITTEN);
	help_check_ledger(h);
}

static void test_rollback(void **state)
{
	struct help *h = *state;
	struct catalog_counters before, after;
	struct catalog_row row, out;

	help_row(&row, 7, 1, "a");
	help_add(h, &row);
	catalog_counters(h->c, &before);
	assert_int_equal(catalog_begin(h->c), 0);
	row.oid = 8;
	row.name[0] = 'b';
	row.type = CATALOG_DIR;
	assert_int_equal(catalog_add(h->c, &row), 0);
	assert_int_equal(catalog_transition(h->c, 7, 1, CATALOG_DELETED, NULL), 0);
	assert_int_equal(catalog_get(h->c, 8, &out), 0);	/* its own changes */
	catalog_rollback(h->c);
	catalog_rollback(h->c);
	catalog_counters(h->c, &after);
	assert_memory_equal(&before, &after, sizeof before);
	assert_int_equal(catalog_get(h->c, 8, &out), -ENOENT);
	assert_int_equal(catalog_get(h->c, 7, &out), 0);
	assert_int_equal(out.state, CATALOG_FOUND);
	help_check_ledger(h);
}

static void test_promise(void **state)
{
	struct help *h = *state;
	struct catalog_row row, now, out;
	uint64_t oid = 0;

	help_row(&row, 7, 1, "a");
	row.flags = CATALOG_F_LINKS;
	row.nlink = 5;
	row.state = CATALOG_QUARANTINED;
	row.priority = 9;
	help_add(h, &row);
	now = row;
	now.size = 1ull << 40;
	now.used = 0;
	now.change = 17;
	now.fsid = 3;
	now.fileid = 4;
	now.nlink = 77;
	now.atime = (struct catalog_time){ 5, 6 };
	now.mtime = (struct catalog_time){ 7, 8 };
	now.ctime = (struct catalog_time){ 9, 10 };
	row = now;
	row.state = CATALOG_FOUND;	/* ignored, as are: */
	row.priority = 1;
	row.flags = CATALOG_F_MODIFIED;
	row.parent = 66;
	strcpy(row.name, "b");
	row.handle_len = 0;
	assert_int_equal(catalog_begin(h->c), 0);
	assert_int_equal(catalog_set_promise(h->c, &row), 0);
	row.oid = 55;
	assert_int_equal(catalog_set_promise(h->c, &row), -ENOENT);
	assert_int_equal(catalog_commit(h->c), 0);
	assert_int_equal(catalog_get(h->c, 7, &out), 0);
	help_row_equal(&now, &out);
	assert_int_equal(catalog_find_link(h->c, 3, 4, &oid), 0);
	assert_int_equal(oid, 7);
	help_row(&row, 7, 1, "a");
	assert_int_equal(catalog_find_link(h->c, row.fsid, row.fileid, &oid), -ENOENT);
	help_check_ledger(h);
	help_reopen(h);
	help_check_ledger(h);
}

/* A file has become a directory and the other way round: bytes, lists and ranges follow. */
static void test_promise_of_another_type(void **state)
{
	struct help *h = *state;
	struct catalog_counters k;
	struct catalog_row row, out;
	struct catalog_pos pos = { 0 };
	unsigned n;

	help_row(&row, 7, 1, "a");
	row.flags = CATALOG_F_INTENT_DELETE;
	help_add(h, &row);
	assert_int_equal(catalog_begin(h->c), 0);
	assert_int_equal(catalog_range_add(h->c, 7, 0, 10, NULL), 0);
	row.type = CATALOG_DIR;
	row.nlink = 12;
	memset(row.handle, 0x77, sizeof row.handle);
	row.handle_len = sizeof row.handle;
	assert_int_equal(catalog_set_promise(h->c, &row), 0);
	assert_int_equal(catalog_commit(h->c), 0);
	assert_int_equal(catalog_list(h->c, CATALOG_LIST_CONTENT, &pos, &out, 1, &n), 0);
	assert_int_equal(n, 0);
	pos = (struct catalog_pos){ 0 };
	assert_int_equal(catalog_list(h->c, CATALOG_LIST_DIRS, &pos, &out, 1, &n), 0);
	assert_int_equal(n, 1);
	help_row_equal(&row, &out);	/* without CATALOG_F_LINKS: nlink of a directory is no number of names */
	assert_int_equal(help_value(h, "SELECT count(*) FROM range"), 0);
	catalog_counters(h->c, &k);
	assert_int_equal(k.bytes[CATALOG_FOUND], 0);
	assert_int_equal(k.directories_unlisted, 1);
	help_check_ledger(h);
	assert_int_equal(catalog_begin(h->c), 0);
	row.type = CATALOG_REG;
	assert_int_equal(catalog_set_promise(h->c, &row), 0);
	row.type = CATALOG_HARDLINK;
	row.link_oid = 3;
	assert_int_equal(catalog_set_promise(h->c, &row), -EINVAL);
	row.type = 9;
	assert_int_equal(catalog_set_promise(h->c, &row), -EINVAL);
	row.type = CATALOG_REG;
	row.handle_len = sizeof row.handle + 1;
	assert_int_equal(catalog_set_promise(h->c, &row), -EINVAL);
	assert_int_equal(catalog_commit(h->c), 0);
	assert_int_equal(catalog_get(h->c, 7, &out), 0);
	assert_int_equal(out.flags, CATALOG_F_INTENT_DELETE | CATALOG_F_LINKS);
	help_check_ledger(h);
	/* what is a HARDLINK or overwritten cannot get a promise that makes no sense for it */
	help_row(&row, 8, 1, "b");
	row.type = CATALOG_HARDLINK;
	row.link_oid = 7;
	help_add(h, &row);
	help_row(&row, 8, 1, "b");
	assert_int_equal(catalog_begin(h->c), 0);
	assert_int_equal(catalog_set_promise(h->c, &row), -EINVAL);
	assert_int_equal(catalog_transition(h->c, 7, 1, CATALOG_CLEANING, NULL), 0);
	assert_int_equal(catalog_transition(h->c, 7, 2, CATALOG_OVERWRITTEN, NULL), 0);
	row.oid = 7;
	row.type = CATALOG_DIR;
	assert_int_equal(catalog_set_promise(h->c, &row), -EINVAL);
	catalog_rollback(h->c);
	help_check_ledger(h);
}

static void test_ctime(void **state)
{
	static const struct catalog_time there = { 1800000000, 5 }, none;
	struct help *h = *state;
	struct catalog_row row, out;

	help_row(&row, 7, 1, "a");
	row.change = (uint64_t)row.ctime.sec * 1000000000 + row.ctime.nsec;
	help_add(h, &row);
	help_row(&row, 8, 1, "b");
	row.change = 4711;
	help_add(h, &row);
	assert_int_equal(catalog_begin(h->c), 0);
	assert_int_equal(catalog_set_ctime(h->c, 7, there), -EINVAL);
	assert_int_equal(catalog_set_ctime(h->c, 9, there), -ENOENT);
	for (uint64_t oid = 7; oid < 9; oid++) {
		assert_int_equal(catalog_transition(h->c, oid, 1, CATALOG_CLEANING, NULL), 0);
		assert_int_equal(catalog_set_ctime(h->c, oid, there), 0);
	}
	assert_int_equal(catalog_set_ctime(h->c, 7, (struct catalog_time){ 1, 1000000000 }), -EINVAL);
	assert_int_equal(catalog_commit(h->c), 0);
	assert_int_equal(catalog_get(h->c, 8, &out), 0);
	row.state = CATALOG_CLEANING;
	row.ctime = there;
	help_row_equal(&row, &out);	/* this change attribute is kept */
	help_row(&row, 7, 1, "a");
	row.state = CATALOG_CLEANING;
	row.ctime = there;
	assert_int_equal(catalog_get(h->c, 7, &out), 0);
	help_row_equal(&row, &out);	/* and this one was the ctime */
	assert_int_equal(catalog_begin(h->c), 0);
	assert_int_equal(catalog_set_ctime(h->c, 8, none), 0);
	assert_int_equal(catalog_commit(h->c), 0);
	assert_int_equal(catalog_get(h->c, 8, &out), 0);
	assert_int_equal(out.ctime.sec + out.ctime.nsec, 0);
	assert_int_equal(out.change, 4711);
}

/* The link index follows the flag. */
static void test_links_flag(void **state)
{
	struct help *h = *state;
	struct catalog_row row;
	uint64_t oid = 0;

	help_row(&row, 7, 1, "a");
	help_add(h, &row);
	assert_int_equal(catalog_begin(h->c), 0);
	assert_int_equal(catalog_set_flags(h->c, 7, CATALOG_F_LINKS, 0), 0);
	assert_int_equal(catalog_find_link(h->c, row.fsid, row.fileid, &oid), 0);
	assert_int_equal(oid, 7);
	assert_int_equal(catalog_set_flags(h->c, 7, 0, CATALOG_F_LINKS), 0);
	assert_int_equal(catalog_find_link(h->c, row.fsid, row.fileid, &oid), -ENOENT);
	assert_int_equal(catalog_commit(h->c), 0);
}

/* Rows in every type and state, damaged ones between them, page by page. */
static void test_walk(void **state)
{
	struct help *h = *state;
	struct catalog_row row, rows[7];
	uint64_t at = 0, seen = 0, bad = 0;
	char name[16];
	unsigned n;
	int r;

	assert_int_equal(catalog_walk(h->c, &at, rows, 7, &n), 0);
	assert_int_equal(n, 0);
	for (uint64_t oid = 3; oid < 60; oid += 2) {
		snprintf(name, sizeof name, "%lu", (unsigned long)oid);
		help_row(&row, oid, 1, name);
		row.type = (uint8_t)(1 + oid % 8);
		row.link_oid = row.type == CATALOG_HARDLINK ? 2 : 0;
		row.state = oid % 3 ? CATALOG_SHADOWED : CATALOG_FOUND;
		help_add(h, &row);
	}
	help_sql(h, "UPDATE object SET attr=0 WHERE oid IN (3,17,31,33,59)");
	for (;;) {
		r = catalog_walk(h->c, &at, rows, 7, &n);
		if (r == -EUCLEAN) {
			assert_int_equal(n, 0);
			bad += at;
			continue;
		}
		assert_int_equal(r, 0);
		if (!n)
			break;
		for (unsigned i = 0; i < n; i++) {
			assert_true(i ? rows[i].oid > rows[i - 1].oid : true);
			seen += rows[i].oid;
		}
		assert_int_equal(at, rows[n - 1].oid);
	}
	assert_int_equal(bad, 3 + 17 + 31 + 33 + 59);
	assert_int_equal(seen + bad, 29 * 31);	/* 3, 5 .. 59 */
	at = UINT64_MAX;
	assert_int_equal(catalog_walk(h->c, &at, rows, 7, &n), 0);
	assert_int_equal(n, 0);
}

static void test_hard_links(void **state)
{
	struct help *h = *state;
	struct catalog_row row, out;
	uint64_t oid = 0;
	uint32_t n = 0;

	help_row(&row, 7, 1, "a");
	row.flags = CATALOG_F_LINKS;
	row.nlink = 3;
	help_add(h, &row);
	assert_int_equal(catalog_find_link(h->c, row.fsid, row.fileid, &oid), 0);
	assert_int_equal(oid, 7);
	assert_int_equal(catalog_find_link(h->c, row.fsid, row.fileid + 1, &oid), -ENOENT);
	assert_int_equal(catalog_find_link(h->c, row.fsid + 1, row.fileid, &oid), -ENOENT);
	for (uint64_t i = 8; i < 10; i++) {
		char name[2] = { (char)('a' + i), 0 };

		help_row(&row, i, 1, name);
		row.type = CATALOG_HARDLINK;
		row.link_oid = 7;
		help_add(h, &row);
		assert_int_equal(catalog_get(h->c, i, &out), 0);
		help_row_equal(&row, &out);
	}
	assert_int_equal(catalog_count_names(h->c, 7, &n), 0);
	assert_int_equal(n, 3);
	assert_int_equal(catalog_count_names(h->c, 8, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(catalog_count_names(h->c, 70, &n), -ENOENT);
	assert_int_equal(catalog_begin(h->c), 0);
	assert_int_equal(catalog_transition(h->c, 8, 1, CATALOG_MIGRATED, NULL), -EINVAL);
	catalog_rollback(h->c);
	help_check_ledger(h);	/* aliases are not objects */
}

#define T(name) cmocka_unit_test_setup_teardown(name, help_setup, help_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_round_trip), T(test_edges), T(test_refused), T(test_claim_once), T(test_collisions),
		T(test_transitions), T(test_rollback), T(test_promise),
		T(test_promise_of_another_type), T(test_ctime), T(test_links_flag), T(test_walk), T(test_hard_links),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
