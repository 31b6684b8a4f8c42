/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Catalogs of older programs: made with the SQL that those programs had, opened by this one; and
 * killed at each step of an upgrade and of the making of a new catalog.
 */
#include "help.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/point.h"

/* As released.  Never change it. */
static const char schema_1[] =
	"CREATE TABLE identity(one INTEGER PRIMARY KEY CHECK(one=1), migration BLOB NOT NULL,"
	" reserved_id INTEGER NOT NULL, source TEXT NOT NULL, target TEXT NOT NULL);"
	"CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE number(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE ledger(state INTEGER PRIMARY KEY, objects INTEGER NOT NULL,"
	" bytes INTEGER NOT NULL);"
	"CREATE TABLE object(oid INTEGER PRIMARY KEY, parent INTEGER NOT NULL, name BLOB NOT NULL,"
	" attr INTEGER NOT NULL, size INTEGER NOT NULL, mtime, ctime, handle BLOB, checksum BLOB,"
	" extra BLOB);"
	"CREATE INDEX waiting ON object(attr>>12) WHERE attr<7340032;"
	"CREATE TABLE intent(priority INTEGER NOT NULL, oid INTEGER NOT NULL,"
	" PRIMARY KEY(priority,oid)) WITHOUT ROWID;"
	"CREATE TABLE name(key INTEGER NOT NULL, oid INTEGER NOT NULL, PRIMARY KEY(key,oid))"
	" WITHOUT ROWID;"
	"CREATE TABLE link(fsid INTEGER NOT NULL, fileid INTEGER NOT NULL, oid INTEGER NOT NULL,"
	" PRIMARY KEY(fsid,fileid)) WITHOUT ROWID;"
	"CREATE TABLE alias(oid INTEGER NOT NULL, row INTEGER NOT NULL, PRIMARY KEY(oid,row))"
	" WITHOUT ROWID;"
	"CREATE TABLE range(oid INTEGER NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL,"
	" PRIMARY KEY(oid,start)) WITHOUT ROWID;"
	"CREATE TABLE reason(oid INTEGER PRIMARY KEY, code INTEGER NOT NULL, text TEXT NOT NULL);"
	"CREATE TABLE event(id INTEGER PRIMARY KEY, time INTEGER NOT NULL, oid INTEGER NOT NULL,"
	" kind TEXT NOT NULL, text TEXT NOT NULL);";

static void run_sql(sqlite3 *db, const char *sql)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL))
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
}

/* The rows of this program's catalog, in one of schema 1; with ranges that version 1 forgot to drop. */
static void make_schema_1(struct help *h)
{
	static const char *const tables[] = {
		"identity", "meta", "number", "ledger", "object", "intent", "name", "link", "alias", "reason", "event",
	};
	char path[128], old[128], sql[300];
	sqlite3 *db;

	assert_int_equal(catalog_close(h->c), 0);
	h->c = NULL;
	snprintf(path, sizeof path, "%s/" CATALOG_FILE, h->dir);
	snprintf(old, sizeof old, "%s/old", h->dir);
	assert_int_equal(sqlite3_open(old, &db), 0);
	run_sql(db, "PRAGMA page_size=4096; PRAGMA auto_vacuum=2; PRAGMA journal_mode=WAL");
	run_sql(db, schema_1);
	snprintf(sql, sizeof sql, "ATTACH '%s' AS new", path);
	run_sql(db, sql);
	for (unsigned i = 0; i < sizeof tables / sizeof *tables; i++) {
		snprintf(sql, sizeof sql, "INSERT INTO main.%s SELECT * FROM new.%s", tables[i], tables[i]);
		run_sql(db, sql);
	}
	run_sql(db, "INSERT INTO main.range SELECT oid,start,stop FROM new.range;"
		    "INSERT INTO main.range VALUES(40,0,10),(44,5,9);"
		    "PRAGMA application_id=1145916771; PRAGMA user_version=1");
	assert_int_equal(sqlite3_close(db), 0);
	snprintf(sql, sizeof sql, "%s-wal", path);
	unlink(sql);
	assert_int_equal(rename(old, path), 0);
	snprintf(sql, sizeof sql, "%s-wal", old);
	unlink(sql);
	snprintf(sql, sizeof sql, "%s-shm", old);
	unlink(sql);
}

struct memory {
	struct catalog_row rows[40];
	struct catalog_counters counters;
	unsigned n;
	char ranges[400];
};

static int see(void *arg, uint64_t start, uint64_t end, const uint8_t *sum)
{
	struct memory *m = arg;
	size_t n = strlen(m->ranges);

	(void)sum;
	snprintf(m->ranges + n, sizeof m->ranges - n, "%lu-%lu ", (unsigned long)start, (unsigned long)end);
	return 0;
}

static void remember(struct help *h, struct memory *m)
{
	uint64_t oid = 0;

	memset(m, 0, sizeof *m);
	assert_int_equal(catalog_walk(h->c, &oid, m->rows, 40, &m->n), 0);
	assert_true(m->n > 20 && m->n < 40);
	catalog_counters(h->c, &m->counters);
	for (unsigned i = 0; i < m->n; i++)
		assert_int_equal(catalog_range_each(h->c, m->rows[i].oid, see, m), 0);
}

static int any_sum(void *arg, uint64_t start, uint64_t end, const uint8_t *sum)
{
	(void)arg;
	(void)start;
	(void)end;
	return sum != NULL;
}

static void compare(struct help *h, const struct memory *before)
{
	static struct memory after;
	char text[4000];

	assert_int_equal(help_value(h, "PRAGMA user_version"), 2);
	remember(h, &after);
	assert_int_equal(after.n, before->n);
	for (unsigned i = 0; i < before->n; i++) {
		struct catalog_row want = before->rows[i];

		if (want.state == CATALOG_CLEANING || want.state == CATALOG_MIGRATED || want.state == CATALOG_OVERWRITTEN)
			want.ctime = (struct catalog_time){ 0, 0 };	/* version 1 kept the source's */
		help_row_equal(&want, &after.rows[i]);
		assert_int_equal(catalog_range_each(h->c, before->rows[i].oid, any_sum, NULL), 0);
	}
	assert_memory_equal(&before->counters, &after.counters, sizeof after.counters);
	assert_string_equal(before->ranges, after.ranges);
	help_problems(h, text, sizeof text);
	assert_string_equal(text, "");
	help_check_ledger(h);
}

static void test_upgrade_1(void **state)
{
	struct help *h = *state;
	static struct memory before;
	struct err e = { 0 };
	char text[100];
	int code;

	help_fill(h);
	assert_int_equal(catalog_begin(h->c), 0);
	assert_int_equal(catalog_meta_set(h->c, "stamp", "12345678", 8), 0);
	assert_int_equal(catalog_finding_clear(h->c), 0);
	assert_int_equal(catalog_commit(h->c), 0);
	remember(h, &before);
	make_schema_1(h);
	if (help_open(h, false, NULL, &e))
		fail_msg("%s", e.text);
	compare(h, &before);
	assert_int_equal(catalog_reason_get(h->c, 17, &code, text, sizeof text), 0);
	assert_int_equal(help_value(h, "SELECT count(*) FROM event"), 1);
	assert_int_equal(help_value(h, "SELECT count(*) FROM meta WHERE key='stamp' AND value='12345678'"), 0);
	assert_int_equal(help_value(h, "SELECT count(*) FROM meta WHERE key='stamp' AND value=x'3132333435363738'"), 1);
	/* and it is a catalog of this version in every use */
	assert_int_equal(catalog_begin(h->c), 0);
	assert_int_equal(catalog_range_add(h->c, 13, 0, 10, (const uint8_t *)"0123456789abcdef"), 0);
	assert_int_equal(catalog_finding_set(h->c, 40, 1, "x"), 0);
	assert_int_equal(catalog_commit(h->c), 0);
	assert_int_equal(catalog_range_each(h->c, 13, any_sum, NULL), 1);
	help_reopen(h);
}

static const char *const kills[] = {
	"catalog.schema kill", "catalog.upgraded kill", "catalog.opened kill", "catalog.flush kill",
	"checkpoint.copied kill", "catalog.flush kill after=1", "checkpoint.flushed kill",
	"checkpoint.truncated kill", "catalog.flush kill after=2", "catalog.settled kill",
};
enum { KILLS = sizeof kills / sizeof *kills };

/* Opens in a child that dies by this rule; false: it did not come there. */
static bool killed(struct help *h, bool create, const char *rule)
{
	struct err e = { 0 };
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(point_set(rule, &e) ? 2 : help_open(h, create, NULL, &e) ? 1 : 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WIFSIGNALED(status) ? WTERMSIG(status) : status, WIFSIGNALED(status) ? SIGKILL : 0);
	return WIFSIGNALED(status);
}

static void test_upgrade_killed(void **state)
{
	struct help *h = *state;
	static struct memory before;
	unsigned n = 0;

	help_fill(h);
	remember(h, &before);
	for (unsigned i = 0; i < KILLS; i++) {
		make_schema_1(h);
		n += killed(h, false, kills[i]);
		killed(h, false, kills[i]);		/* and once more, from there */
		assert_int_equal(help_open(h, false, NULL, NULL), 0);
		compare(h, &before);
	}
	assert_int_equal(n, KILLS);
}

static void test_creation_killed(void **state)
{
	struct help *h = *state;
	char path[128], wal[140], text[1000];
	unsigned n = 0, made = 0;

	snprintf(path, sizeof path, "%s/" CATALOG_FILE, h->dir);
	snprintf(wal, sizeof wal, "%s-wal", path);
	for (unsigned i = 0; i < KILLS; i++) {
		bool created = false;

		assert_int_equal(catalog_close(h->c), 0);
		h->c = NULL;
		unlink(path);
		unlink(wal);
		n += killed(h, true, kills[i]);
		assert_int_equal(help_open(h, true, &created, NULL), 0);
		made += created;
		help_fill(h);
		help_problems(h, text, sizeof text);
		assert_string_equal(text, "");
	}
	assert_int_equal(n, KILLS - 1);		/* there is nothing to upgrade */
	assert_int_equal(made, 1);		/* only after a death inside the transaction there was nothing */
}

#define T(name) cmocka_unit_test_setup_teardown(name, help_setup, help_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_upgrade_1), T(test_upgrade_killed), T(test_creation_killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
