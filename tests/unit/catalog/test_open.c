/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Opening: what is refused and how clearly, upgrades, damage. */
#include "help.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void path_in(struct help *h, const char *name, char path[128])
{
	snprintf(path, 128, "%s/%s", h->dir, name);
}

static void closed(struct help *h)
{
	assert_int_equal(catalog_close(h->c), 0);
	h->c = NULL;
}

/* Opening fails with this code and one line that holds these words. */
static void refused(struct help *h, bool create, int code, const char *words)
{
	struct err e = { 0 };

	assert_int_equal(help_open(h, create, NULL, &e), -code);
	assert_int_equal(e.code, code);
	if (!strstr(e.text, words) || strchr(e.text, '\n'))
		fail_msg("not clear: %s", e.text);
}

static void overwrite(struct help *h, const char *name, off_t at, const void *data, size_t n)
{
	char path[128];
	int fd;

	path_in(h, name, path);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(pwrite(fd, data, n, at), n);
	close(fd);
}

static void foreign_sql(struct help *h, const char *sql)
{
	char path[128];
	sqlite3 *db;

	path_in(h, CATALOG_FILE, path);
	assert_int_equal(sqlite3_open(path, &db), 0);
	if (sqlite3_exec(db, sql, NULL, NULL, NULL))
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
	sqlite3_close(db);
}

static void test_identity(void **state)
{
	struct help *h = *state;
	struct catalog_identity kept = h->id;
	struct stat st;

	closed(h);
	memset(&h->id, 0, sizeof h->id);
	strcpy(h->id.source, "nfs://another/source");
	assert_int_equal(help_open(h, true, NULL, NULL), 0);	/* not created again: the caller compares */
	assert_memory_equal(h->id.migration, kept.migration, 16);
	assert_int_equal(h->id.reserved_id, kept.reserved_id);
	assert_string_equal(h->id.source, kept.source);
	assert_string_equal(h->id.target, kept.target);
	assert_int_equal(fstatat(h->c->dir_fd, "", &st, AT_EMPTY_PATH), 0);
	for (int i = 0; i < 3; i++) {
		static const char *const names[] = { CATALOG_FILE, CATALOG_WAL, CATALOG_BALLAST };

		assert_int_equal(fstatat(h->c->dir_fd, names[i], &st, AT_SYMLINK_NOFOLLOW), 0);
		assert_int_equal(st.st_mode, S_IFREG | 0600);
	}
	assert_int_equal(fstatat(h->c->dir_fd, "catalog.db-shm", &st, 0), -1);
}

static void test_missing(void **state)
{
	struct help *h = *state;
	char keep[sizeof h->dir], sub[128];
	struct stat st;

	closed(h);
	strcpy(keep, h->dir);
	snprintf(sub, sizeof sub, "%s/sub", keep);
	strcpy(h->dir, sub);
	refused(h, false, ENOENT, "No such file");
	strcat(h->dir, "/sub");
	refused(h, true, ENOENT, "No such file");	/* one level only */
	strcpy(h->dir, sub);
	assert_int_equal(help_open(h, true, NULL, NULL), 0);
	assert_int_equal(stat(sub, &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0700);
	closed(h);
	assert_int_equal(unlinkat(AT_FDCWD, strcat(sub, "/" CATALOG_FILE), 0), 0);
	refused(h, false, ENOENT, "No such file");
	strcpy(strrchr(sub, '/'), "/" CATALOG_WAL);
	unlink(sub);
	strcpy(strrchr(sub, '/'), "/" CATALOG_BALLAST);
	unlink(sub);
	assert_int_equal(rmdir(h->dir), 0);
	strcpy(h->dir, keep);
}

static void test_directory_rights(void **state)
{
	struct help *h = *state;
	char keep[sizeof h->dir], path[128], link[128];

	closed(h);
	strcpy(keep, h->dir);
	chmod(h->dir, 0770);
	refused(h, true, EPERM, "written by other users");
	chmod(h->dir, 0700);
	path_in(h, "file", path);
	overwrite(h, "file", 0, "x", 1);
	strcpy(h->dir, path);
	refused(h, true, ENOTDIR, "Not a directory");
	strcpy(h->dir, keep);
	/* the database as a link to elsewhere is not followed */
	path_in(h, CATALOG_FILE, path);
	path_in(h, "moved", link);
	assert_int_equal(rename(path, link), 0);
	assert_int_equal(symlink(link, path), 0);
	refused(h, true, EINVAL, "not a regular file");
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	refused(h, true, EINVAL, "not a regular file");
	unlink(path);
	assert_int_equal(rename(link, path), 0);
	/* but the state directory may be reached through one */
	snprintf(link, sizeof link, "%s-link", keep);
	assert_int_equal(symlink(keep, link), 0);
	strcpy(h->dir, link);
	assert_int_equal(help_open(h, false, NULL, NULL), 0);
	closed(h);
	unlink(link);
	strcpy(h->dir, keep);
}

static void test_locked(void **state)
{
	struct help *h = *state, other = *h;
	struct err e = { 0 };
	int status;
	pid_t pid;

	assert_int_equal(help_open(&other, false, NULL, &e), -EBUSY);	/* same process */
	assert_non_null(strstr(e.text, "another process"));
	for (int i = 0; i < 2; i++) {		/* the attempt above has not cost us the lock */
		pid = fork();
		if (!pid)
			_exit(help_open(&other, i, NULL, &e) == -EBUSY ? 0 : 1);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
	assert_int_equal(catalog_checkpoint(h->c), 0);
	closed(h);
	assert_int_equal(help_open(h, false, NULL, NULL), 0);
}

static void test_not_a_catalog(void **state)
{
	struct help *h = *state;
	char text[8192], path[128];

	closed(h);
	memset(text, 'x', sizeof text);
	overwrite(h, CATALOG_FILE, 0, text, sizeof text);
	refused(h, true, EINVAL, "not a catalog");
	refused(h, false, EINVAL, "not a catalog");
	path_in(h, CATALOG_FILE, path);
	unlink(path);
	foreign_sql(h, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
	refused(h, true, EINVAL, "another program");
	unlink(path);
}

/* A creation that was cut off leaves an empty file, or one without tables. */
static void test_cut_off_creation(void **state)
{
	struct help *h = *state;
	struct err e = { 0 };
	char path[128];
	bool created = false;

	closed(h);
	path_in(h, CATALOG_FILE, path);
	assert_int_equal(truncate(path, 0), 0);
	refused(h, false, ENOENT, "no catalog");
	if (help_open(h, true, &created, &e))
		fail_msg("%s", e.text);
	assert_true(created);
	help_check_ledger(h);
	closed(h);
	unlink(path);
	foreign_sql(h, "PRAGMA page_size=4096; PRAGMA auto_vacuum=2; PRAGMA journal_mode=WAL");
	assert_int_equal(help_open(h, true, &created, &e), 0);
	assert_true(created);
}

static void test_newer(void **state)
{
	struct help *h = *state;
	struct catalog_row row;

	closed(h);
	h->hooks.schema = CATALOG_SCHEMA;
	foreign_sql(h, "PRAGMA user_version=99");
	refused(h, false, EPROTONOSUPPORT, "schema version 99");
	refused(h, true, EPROTONOSUPPORT, "newer program");
	foreign_sql(h, "PRAGMA user_version=0");
	refused(h, false, EPROTONOSUPPORT, "cannot upgrade");
	foreign_sql(h, "PRAGMA user_version=2");
	assert_int_equal(help_open(h, false, NULL, NULL), 0);
	assert_int_equal(catalog_get(h->c, 1, &row), -ENOENT);
}

/* This program plays a later one that knows two steps more. */
static void test_upgrade(void **state)
{
	struct help *h = *state;
	static struct catalog_step steps[] = {
		{ CATALOG_SCHEMA + 1, "CREATE TABLE two(b); INSERT INTO two SELECT a+1 FROM one" },
		{ CATALOG_SCHEMA, "CREATE TABLE one(a); INSERT INTO one VALUES(41)" },
	};
	static const char good[] = "CREATE TABLE two(b); INSERT INTO two SELECT a+1 FROM one";
	struct catalog_row row, out;
	struct err e = { 0 };

	help_row(&row, 7, 1, "kept");
	help_add(h, &row);
	closed(h);
	h->hooks.schema = CATALOG_SCHEMA + 2;
	h->hooks.steps = steps;
	h->hooks.steps_n = 2;
	/* the second step fails half way: the first stays, nothing of the second does */
	steps[0].sql = "CREATE TABLE two(b); INSERT INTO nowhere VALUES(1)";
	refused(h, false, EUCLEAN, "upgrade of the catalog from schema version 3: ");
	h->hooks.schema = CATALOG_SCHEMA + 1;
	assert_int_equal(help_open(h, false, NULL, &e), 0);
	assert_int_equal(help_value(h, "SELECT a FROM one"), 41);
	assert_int_equal(help_value(h, "SELECT count(*) FROM sqlite_schema WHERE name='two'"), 0);
	assert_int_equal(help_value(h, "PRAGMA user_version"), CATALOG_SCHEMA + 1);
	closed(h);
	/* the repaired program goes on from there, and does not repeat the first */
	h->hooks.schema = CATALOG_SCHEMA + 2;
	steps[0].sql = good;
	assert_int_equal(help_open(h, false, NULL, &e), 0);
	assert_int_equal(help_value(h, "SELECT b FROM two"), 42);
	assert_int_equal(help_value(h, "SELECT count(*) FROM one"), 1);
	assert_int_equal(help_value(h, "PRAGMA user_version"), CATALOG_SCHEMA + 2);
	assert_int_equal(catalog_get(h->c, 7, &out), 0);
	help_row_equal(&row, &out);
	help_check_ledger(h);
}

static void test_damaged(void **state)
{
	struct help *h = *state;
	char path[128];
	struct stat st;

	closed(h);
	foreign_sql(h, "DELETE FROM identity");
	refused(h, false, EUCLEAN, "which migration");
	foreign_sql(h, "INSERT INTO identity VALUES(1,x'00',1,'s','t')");
	refused(h, false, EUCLEAN, "which migration");
	foreign_sql(h, "UPDATE identity SET migration=zeroblob(16); UPDATE ledger SET objects=-1;"
		    "INSERT OR REPLACE INTO ledger VALUES(77,1,1)");
	refused(h, false, EUCLEAN, "ledger");
	foreign_sql(h, "DELETE FROM ledger; DELETE FROM number");
	refused(h, false, EUCLEAN, "ledger");
	foreign_sql(h, "INSERT INTO number VALUES('next_oid',2),('directories_unlisted',0);"
		    "DROP TABLE range");
	refused(h, false, EUCLEAN, "range");
	path_in(h, CATALOG_FILE, path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(truncate(path, st.st_size / 2), 0);
	refused(h, false, EUCLEAN, "damaged");
}

/* Rows that no program of ours wrote are errors, not crashes. */
static void test_hostile_rows(void **state)
{
	struct help *h = *state;
	static const char *const set[] = {
		"attr=0", "attr=-1", "attr=9223372036854775807", "attr='x'", "name=zeroblob(300)",
		"mtime='x'", "mtime=zeroblob(5)", "ctime=x'0000000000000000ffffffff'", "handle=zeroblob(35)",
		"attr=attr|8,checksum=x'01'", "attr=attr|8,checksum=NULL", "extra=x'ff'", "extra=x'00ff'",
		"extra=x'02ffffffffffffffffffffffffffff'", "extra=zeroblob(70000)", "extra=x'80'",
		"extra='text'",
	};
	struct catalog_row row, out;
	char sql[200];

	for (unsigned i = 0; i < sizeof set / sizeof *set; i++) {
		char name[8];

		snprintf(name, sizeof name, "%u", i);
		help_row(&row, 10 + i, 1, name);
		help_add(h, &row);
		snprintf(sql, sizeof sql, "UPDATE object SET %s WHERE oid=%u", set[i], 10 + i);
		help_sql(h, sql);
		assert_int_equal(catalog_get(h->c, 10 + i, &out), -EUCLEAN);
	}
}

static int no_flush(void *arg, int fd)
{
	(void)arg;
	(void)fd;
	return 0;
}

/* Bytes flipped anywhere in the file: any answer, but an answer. */
static void test_flipped(void **state)
{
	struct help *h = *state;
	struct catalog_row row, rows[8];
	char name[32], path[128], *image;
	unsigned seed = 7, n, opened = 0;
	struct stat st;
	int fd;

	for (uint64_t oid = 2; oid < 300; oid++) {
		snprintf(name, sizeof name, "%lu", (unsigned long)oid);
		help_row(&row, oid, oid / 10, name);
		help_add(h, &row);
	}
	closed(h);
	h->hooks.flush = no_flush;	/* for speed */
	path_in(h, CATALOG_FILE, path);
	fd = open(path, O_RDONLY);
	assert_int_equal(fstat(fd, &st), 0);
	image = malloc((size_t)st.st_size);
	assert_int_equal(read(fd, image, (size_t)st.st_size), st.st_size);
	close(fd);
	for (int round = 0; round < 90; round++) {
		struct err e = { 0 };

		assert_int_equal(truncate(path, 0), 0);
		overwrite(h, CATALOG_FILE, 0, image, (size_t)st.st_size);
		for (int i = 0; i < 8; i++) {
			off_t at;

			seed = seed * 1103515245 + 12345;
			at = (off_t)(seed >> 4) % (round % 3 ? st.st_size : 4096);
			overwrite(h, CATALOG_FILE, at, &seed, 1);
		}
		if (help_open(h, false, NULL, &e)) {
			assert_true(e.code > 0 && *e.text);
			continue;
		}
		opened++;
		for (uint64_t oid = 2; oid < 300; oid++) {
			struct catalog_pos pos = { 0, 0 };

			snprintf(name, sizeof name, "%lu", (unsigned long)oid);
			catalog_get(h->c, oid, &row);
			catalog_find(h->c, oid / 10, name, strlen(name), &row);
			catalog_list(h->c, oid % 5, &pos, rows, 8, &n);
			if (catalog_begin(h->c))
				continue;
			catalog_transition(h->c, oid, ~0u, CATALOG_MIGRATED, NULL);
			catalog_commit(h->c);
		}
		catalog_close(h->c);
		h->c = NULL;
	}
	assert_true(opened > 10);
	free(image);
}

#define T(name) cmocka_unit_test_setup_teardown(name, help_setup, help_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_identity), T(test_missing), T(test_directory_rights), T(test_locked),
		T(test_not_a_catalog), T(test_cut_off_creation), T(test_newer), T(test_upgrade),
		T(test_damaged), T(test_hostile_rows), T(test_flipped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
