/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The ledger of catalogs made by hand: every state and list, sums that do not balance, and rows that move
 * while they are counted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit/audit.h"

enum { ROOT = CATALOG_ROOT_OID, DIR_OID = 2, FIRST = 10 };

struct rig {
	char dir[64];
	struct catalog *c;
	struct audit_ledger ledger;
	unsigned told[AUDIT_LISTS];
	char last_path[4096], last_reason[700];
	int last_code;
	unsigned stop_after;		/* objects; 0: never */
	unsigned pages, stop_at_page;	/* 0: never */
	void (*meanwhile)(struct rig *g);	/* once, at the first object */
};

static void open_catalog(struct rig *g, bool create)
{
	struct catalog_identity id = { .migration = { 7 }, .reserved_id = 0xd0000001u };
	struct err e = { 0 };
	bool created;

	strcpy(id.source, "nfs://server/export");
	strcpy(id.target, "/srv/data");
	if (catalog_open(g->dir, create, &id, &g->c, &created, &e))
		fail_msg("%s", e.text);
}

static void add_in(struct rig *g, enum catalog_state state, uint64_t oid, uint64_t parent, const char *name, enum catalog_type type,
		   uint64_t size)
{
	struct catalog_row row = {
		.oid = oid, .parent = parent, .type = type, .state = state, .size = size, .fsid = 1, .fileid = 1000 + oid,
		.nlink = 1, .name_len = (uint16_t)strlen(name),
	};

	if (type == CATALOG_HARDLINK)
		row.link_oid = FIRST;
	strcpy(row.name, name);
	assert_int_equal(catalog_add(g->c, &row), 0);
}

static void add(struct rig *g, uint64_t oid, uint64_t parent, const char *name, enum catalog_type type, uint64_t size)
{
	add_in(g, CATALOG_FOUND, oid, parent, name, type, size);
}

/* By whatever legal steps lead there. */
static void move(struct rig *g, uint64_t oid, enum catalog_state to)
{
	enum catalog_state via = to == CATALOG_MIGRATED || to == CATALOG_OVERWRITTEN ? CATALOG_CLEANING
		: to == CATALOG_FAILED ? CATALOG_QUARANTINED : CATALOG_FOUND;
	unsigned all = ~0u;

	if (to == CATALOG_OVERWRITTEN)
		assert_int_equal(catalog_set_flags(g->c, oid, CATALOG_F_MODIFIED, 0), 0);
	if (via != CATALOG_FOUND)
		assert_int_equal(catalog_transition(g->c, oid, all, via, NULL), 0);
	assert_int_equal(catalog_transition(g->c, oid, all, to, NULL), 0);
}

static void begin(struct rig *g)
{
	assert_int_equal(catalog_begin(g->c), 0);
}

static void commit(struct rig *g)
{
	assert_int_equal(catalog_commit(g->c), 0);
}

/* One file in each state, sizes 1000 + state, and two directories; the root is a MIGRATED one. */
static const enum catalog_state states[] = {
	CATALOG_FOUND, CATALOG_CLEANING, CATALOG_QUARANTINED, CATALOG_MIGRATED, CATALOG_OVERWRITTEN, CATALOG_DELETED,
	CATALOG_SHADOWED, CATALOG_EXCLUDED, CATALOG_FAILED,
};

enum { STATES = sizeof states / sizeof states[0] };

static void fill(struct rig *g)
{
	static const uint8_t sum[16] = { 1 };
	char name[32];

	begin(g);
	add(g, ROOT, 0, "", CATALOG_DIR, 0);
	add(g, DIR_OID, ROOT, "dir", CATALOG_DIR, 4096);
	for (unsigned i = 0; i < STATES; i++) {
		snprintf(name, sizeof name, "file%u", states[i]);
		add_in(g, states[i] == CATALOG_SHADOWED ? CATALOG_SHADOWED : CATALOG_FOUND, FIRST + i, DIR_OID, name, CATALOG_REG,
		       1000 + states[i]);
	}
	add(g, FIRST + STATES, DIR_OID, "further name", CATALOG_HARDLINK, 0);
	assert_int_equal(catalog_set_checksum(g->c, FIRST + 3, sum), 0);
	for (unsigned i = 0; i < STATES; i++)
		if (states[i] != CATALOG_FOUND && states[i] != CATALOG_SHADOWED)	/* shadowed from the start */
			move(g, FIRST + i, states[i]);
	assert_int_equal(catalog_reason_set(g->c, FIRST + 2, EACCES, "it cannot be read"), 0);
	move(g, ROOT, CATALOG_MIGRATED);
	commit(g);
}

static int setup(void **state)
{
	struct rig *g = calloc(1, sizeof *g);

	snprintf(g->dir, sizeof g->dir, "%s/dmm-report-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	assert_non_null(mkdtemp(g->dir));
	open_catalog(g, true);
	fill(g);
	*state = g;
	return 0;
}

static int teardown(void **state)
{
	struct rig *g = *state;
	DIR *d = opendir(g->dir);
	struct dirent *de;

	catalog_close(g->c);
	while ((de = readdir(d)))
		if (de->d_name[0] != '.')
			unlinkat(dirfd(d), de->d_name, 0);
	closedir(d);
	rmdir(g->dir);
	free(g);
	return 0;
}

static int each(void *arg, const struct audit_object *o)
{
	struct rig *g = arg;
	unsigned n = 0;

	assert_true(o->list < AUDIT_LISTS);
	g->told[o->list]++;
	snprintf(g->last_path, sizeof g->last_path, "%s", o->path);
	if (o->list == AUDIT_QUARANTINED) {
		snprintf(g->last_reason, sizeof g->last_reason, "%s", o->reason);
		g->last_code = o->code;
	}
	if (g->meanwhile)
		g->meanwhile(g);
	g->meanwhile = NULL;
	for (int i = 0; i < AUDIT_LISTS; i++)
		n += g->told[i];
	return g->stop_after && n >= g->stop_after;
}

static bool stop(void *arg)
{
	struct rig *g = arg;

	g->pages++;
	return g->stop_at_page && g->pages >= g->stop_at_page;
}

static void report(struct rig *g)
{
	struct err e = { 0 };

	if (audit_report(g->c, &g->ledger, each, stop, g, &e))
		fail_msg("%s", e.text);
}

static void test_every_state(void **state)
{
	struct rig *g = *state;

	report(g);
	assert_true(g->ledger.balanced);
	assert_int_equal(g->ledger.phase, CATALOG_RUNNING);
	assert_int_equal(g->ledger.found_objects, STATES + 2);		/* the further name is no object */
	assert_int_equal(g->ledger.found_bytes, 9 * 1000 + 0 + 1 + 2 + 8 + 9 + 10 + 11 + 12 + 13);
	assert_int_equal(g->ledger.waiting_objects, 3);			/* the file, the quarantined, the directory */
	assert_int_equal(g->ledger.waiting_bytes, 1000 + 1002);
	assert_int_equal(g->ledger.checksums, 1);
	for (int i = 0; i < AUDIT_LISTS; i++)
		assert_int_equal(g->told[i], 1);
	assert_string_equal(g->last_reason, "it cannot be read");
	assert_int_equal(g->last_code, EACCES);
	assert_string_equal(g->last_path, "dir/file13");
}

/* Complete, modified, and only the mark is still there: overwritten already. */
static void test_cleaning_modified(void **state)
{
	struct rig *g = *state;

	begin(g);
	assert_int_equal(catalog_set_flags(g->c, FIRST + 1, CATALOG_F_MODIFIED, 0), 0);
	commit(g);
	report(g);
	assert_int_equal(g->told[AUDIT_OVERWRITTEN], 2);
	assert_true(g->ledger.balanced);
}

static void test_stopped(void **state)
{
	struct rig *g = *state;
	struct err e = { 0 };

	g->stop_after = 2;
	assert_int_equal(audit_report(g->c, &g->ledger, each, stop, g, &e), -EINTR);
	assert_true(e.text[0]);
	assert_int_equal(audit_report(g->c, &g->ledger, NULL, NULL, NULL, &e), 0);
	assert_true(g->ledger.balanced);
	g->stop_after = 0;
	g->stop_at_page = g->pages + 2;	/* the second, where nothing is to be told any more */
	assert_int_equal(audit_report(g->c, &g->ledger, each, stop, g, &e), -EINTR);
}

/* Behind the catalog's back, while it is closed. */
static void tamper(struct rig *g, const char *sql)
{
	char path[128];
	sqlite3 *db;

	assert_int_equal(catalog_close(g->c), 0);
	snprintf(path, sizeof path, "%s/catalog.db", g->dir);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	if (sqlite3_exec(db, sql, NULL, NULL, NULL))
		fail_msg("%s", sqlite3_errmsg(db));
	sqlite3_close(db);
	open_catalog(g, false);
}

static void test_sums_are_wrong(void **state)
{
	static const char *const wrong[] = {
		"UPDATE ledger SET objects=objects+1 WHERE state=8",
		"UPDATE ledger SET bytes=bytes+1 WHERE state=9",
		"UPDATE ledger SET objects=objects-1 WHERE state=0",
		"UPDATE number SET value=value+1 WHERE name='directories_unlisted'",
	};
	static const char *const right[] = {
		"UPDATE ledger SET objects=objects-1 WHERE state=8",
		"UPDATE ledger SET bytes=bytes-1 WHERE state=9",
		"UPDATE ledger SET objects=objects+1 WHERE state=0",
		"UPDATE number SET value=value-1 WHERE name='directories_unlisted'",
	};
	struct rig *g = *state;

	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		tamper(g, wrong[i]);
		report(g);
		assert_false(g->ledger.balanced);
		tamper(g, right[i]);
		report(g);
		assert_true(g->ledger.balanced);
	}
}

/* A row is gone, or in another state than it was brought to. */
static void test_rows_are_wrong(void **state)
{
	struct rig *g = *state;

	tamper(g, "UPDATE object SET attr=(attr & ~(15<<8)) | (10<<8) WHERE oid=13");	/* migrated -> deleted */
	report(g);
	assert_false(g->ledger.balanced);
	tamper(g, "UPDATE object SET attr=(attr & ~(15<<8)) | (8<<8) WHERE oid=13");
	report(g);
	assert_true(g->ledger.balanced);
	tamper(g, "DELETE FROM object WHERE oid=13");
	report(g);
	assert_false(g->ledger.balanced);
}

/* The first name that is told is the CLEANING (oid 11) or a later one: rows before it have been passed. */
static void some_move_on(struct rig *g)
{
	begin(g);
	move(g, FIRST, CATALOG_MIGRATED);		/* passed as FOUND */
	move(g, FIRST + 2, CATALOG_FAILED);		/* passed in the same page */
	add(g, 5, DIR_OID, "late and low", CATALOG_REG, 77);	/* its place has been passed */
	add(g, 500, DIR_OID, "late and high", CATALOG_REG, 78);
	move(g, 500, CATALOG_DELETED);
	commit(g);
}

static void test_moving(void **state)
{
	struct rig *g = *state;

	g->meanwhile = some_move_on;
	report(g);
	assert_true(g->ledger.balanced);
	assert_int_equal(g->ledger.found_objects, STATES + 4);
	assert_int_equal(g->ledger.counters.objects[CATALOG_FAILED], 2);
	report(g);
	assert_true(g->ledger.balanced);
}

static void one_moves_on(struct rig *g)
{
	begin(g);
	move(g, FIRST + 1, CATALOG_MIGRATED);
	commit(g);
}

/* That things move is no excuse for a row that is not there. */
static void test_moving_and_wrong(void **state)
{
	struct rig *g = *state;

	tamper(g, "UPDATE object SET attr=(attr & ~(15<<8)) | (10<<8) WHERE oid=13");
	g->meanwhile = some_move_on;
	report(g);
	assert_false(g->ledger.balanced);
	tamper(g, "UPDATE object SET attr=(attr & ~(15<<8)) | (8<<8) WHERE oid=13; UPDATE ledger SET objects=objects+40 WHERE state=0");
	g->meanwhile = one_moves_on;
	report(g);
	assert_false(g->ledger.balanced);
}

static void test_finished(void **state)
{
	struct rig *g = *state;

	assert_int_equal(catalog_set_phase(g->c, CATALOG_DETACHING), 0);
	assert_int_equal(catalog_set_phase(g->c, CATALOG_DETACHED), 0);
	report(g);
	assert_int_equal(g->ledger.phase, CATALOG_DETACHED);
	assert_false(g->ledger.balanced);	/* something waits */
	begin(g);
	move(g, FIRST, CATALOG_MIGRATED);
	move(g, FIRST + 2, CATALOG_FAILED);
	move(g, DIR_OID, CATALOG_MIGRATED);
	commit(g);
	report(g);
	assert_false(g->ledger.balanced);	/* one is not clean */
	begin(g);
	assert_int_equal(catalog_transition(g->c, FIRST + 1, ~0u, CATALOG_MIGRATED, NULL), 0);
	commit(g);
	report(g);
	assert_true(g->ledger.balanced);
	assert_int_equal(g->ledger.waiting_objects, 0);
}

/* More rows than a page, names that are no text, a parent that is lost. */
static void test_many_and_odd(void **state)
{
	struct rig *g = *state;
	char name[64];

	begin(g);
	for (unsigned i = 0; i < 3000; i++) {
		snprintf(name, sizeof name, "n\xff\n%u", i);
		add(g, 1000 + i, DIR_OID, name, CATALOG_REG, i);
		if (i % 3 == 0)
			move(g, 1000 + i, CATALOG_DELETED);
	}
	commit(g);
	report(g);
	assert_true(g->ledger.balanced);
	assert_int_equal(g->told[AUDIT_DELETED], 1001);
	assert_string_equal(g->last_path, "dir/n\xff\n2997");
	tamper(g, "UPDATE object SET parent=999 WHERE oid=3997");
	report(g);
	assert_string_equal(g->last_path, "(lost)/n\xff\n2997");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_every_state, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cleaning_modified, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stopped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sums_are_wrong, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rows_are_wrong, setup, teardown),
		cmocka_unit_test_setup_teardown(test_moving, setup, teardown),
		cmocka_unit_test_setup_teardown(test_moving_and_wrong, setup, teardown),
		cmocka_unit_test_setup_teardown(test_finished, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_and_odd, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
