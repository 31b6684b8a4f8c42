/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * catalog_check(): each kind of damage is done to a catalog in which nothing is wrong, and has to be
 * reported; and the catalog without it reports nothing.
 */
#include "help.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct damage {
	const char *sql;
	uint64_t oid;		/* the object that must be named */
	const char *text;	/* part of what must be said */
};

/* Bits of attr: list << 20, state << 8, type << 4. */
static const struct damage damages[] = {
	/* columns and values of a row */
	{ "UPDATE object SET attr=-1 WHERE oid=16", 16, "impossible" },
	{ "UPDATE object SET attr='x' WHERE oid=16", 16, "impossible" },
	{ "UPDATE object SET attr=attr|8388608 WHERE oid=40", 40, "impossible" },
	{ "UPDATE object SET size=-1 WHERE oid=16", 16, "impossible" },
	{ "UPDATE object SET attr=0 WHERE oid=16", 16, "does not decode" },
	{ "UPDATE object SET extra=x'ff' WHERE oid=16", 16, "does not decode" },
	{ "UPDATE object SET mtime='x' WHERE oid=16", 16, "does not decode" },
	{ "UPDATE object SET handle=zeroblob(35) WHERE oid=16", 16, "does not decode" },
	{ "UPDATE object SET checksum=x'00' WHERE oid=40", 40, "does not decode" },
	{ "UPDATE object SET name=x'612f62' WHERE oid=16", 16, "out of bounds" },
	{ "UPDATE object SET name=x'610062' WHERE oid=16", 16, "out of bounds" },
	{ "UPDATE object SET name=x'' WHERE oid=16", 16, "out of bounds" },
	{ "UPDATE object SET name=x'2e2e' WHERE oid=16", 16, "name is \"..\"" },
	{ "INSERT INTO object SELECT 1<<39,parent,x'7a',attr,size,mtime,ctime,handle,checksum,extra"
	  " FROM object WHERE oid=40", 1ull << 39, "out of bounds" },
	{ "INSERT INTO object SELECT -3,parent,x'7a',attr,size,mtime,ctime,handle,checksum,extra"
	  " FROM object WHERE oid=40", (uint64_t)-3, "out of bounds" },
	/* state, type, list */
	{ "UPDATE object SET attr=(attr&1048575)|(7<<20) WHERE oid=11", 11, "list 7" },
	{ "UPDATE object SET attr=(attr&1048575)|(1<<20) WHERE oid=40", 40, "list 1" },
	{ "UPDATE object SET attr=(attr&~3840)|(9<<8)|(7<<20) WHERE oid=2", 2, "type 2 cannot be overwritten" },
	{ "UPDATE object SET attr=attr|8,checksum=zeroblob(16) WHERE oid=42", 42, "no regular file" },
	{ "UPDATE object SET attr=attr|8,checksum=zeroblob(16) WHERE oid=41", 41, "has written" },
	{ "UPDATE object SET attr=attr|8,checksum=zeroblob(16) WHERE oid=11", 11, "the file is found" },
	/* parents */
	{ "UPDATE object SET parent=77 WHERE oid=16", 16, "object 77, has no row" },
	{ "UPDATE object SET parent=0 WHERE oid=16", 16, "object 0, has no row" },
	{ "UPDATE object SET parent=40 WHERE oid=16", 16, "object 40, is no directory" },
	{ "UPDATE object SET attr=(attr&~4080)|(11<<8)|(2<<4)|(7<<20) WHERE oid=17;"
	  "UPDATE object SET parent=17 WHERE oid=16", 16, "object 17, is shadowed" },
	{ "UPDATE object SET parent=60 WHERE oid=3", 3, "loop" },
	{ "UPDATE object SET parent=3 WHERE oid=3", 3, "loop" },
	{ "UPDATE object SET parent=2 WHERE oid=1", 1, "root" },
	{ "UPDATE object SET attr=(attr&~240)|(1<<4) WHERE oid=1", 1, "root" },
	{ "DELETE FROM object WHERE oid=1", 1, "the root has no row" },
	/* names */
	{ "DELETE FROM name WHERE oid=16", 16, "the name index lacks" },
	{ "UPDATE name SET key=key+1 WHERE oid=16", 16, "the name index lacks" },
	{ "UPDATE object SET name=x'7878' WHERE oid=16", 16, "the name index lacks" },
	{ "DELETE FROM object WHERE oid=40", 40, "an entry without a row" },
	{ "INSERT INTO name SELECT key+1,oid FROM name WHERE oid=16", 0, "entries for" },
	{ "UPDATE object SET (parent,name)=(SELECT parent,name FROM object WHERE oid=16) WHERE oid=18;"
	  "UPDATE name SET key=(SELECT key FROM name WHERE oid=16) WHERE oid=18", 18, "another row claims" },
	/* links */
	{ "DELETE FROM link", 20, "the link index lacks" },
	{ "UPDATE link SET oid=40", 40, "not its own" },
	{ "UPDATE link SET oid=4000", 4000, "not its own" },
	{ "UPDATE link SET fileid=1", 20, "not its own" },
	{ "UPDATE object SET attr=attr&~4 WHERE oid=20", 20, "not its own" },
	{ "DELETE FROM alias WHERE row=22", 22, "further names lacks" },
	{ "UPDATE alias SET oid=40 WHERE row=22", 22, "further names lacks" },
	{ "INSERT INTO alias VALUES(20,40)", 40, "no such row" },
	{ "INSERT INTO alias VALUES(40,22)", 0, "3 entries for 2" },
	{ "UPDATE object SET attr=(attr&~240)|(2<<4) WHERE oid=20", 22, "cannot have one" },
	{ "DELETE FROM object WHERE oid=20", 21, "cannot have one" },
	/* intents */
	{ "DELETE FROM intent", 30, "intents lacks" },
	{ "UPDATE intent SET priority=9", 30, "its row does not know" },
	{ "INSERT INTO intent VALUES(0,40)", 40, "its row does not know" },
	{ "INSERT INTO intent VALUES(0,44)", 44, "its row does not know" },
	/* ranges */
	{ "UPDATE range SET oid=40 WHERE oid=10", 40, "no file that waits" },
	{ "UPDATE range SET oid=3 WHERE oid=10", 3, "no file that waits" },
	{ "UPDATE range SET oid=4000 WHERE oid=10", 4000, "no file that waits" },
	{ "UPDATE range SET stop=12356 WHERE oid=10 AND start=5000", 10, "outside" },
	{ "UPDATE range SET start=-1 WHERE oid=10 AND start=0", 10, "outside" },
	{ "UPDATE range SET stop=0 WHERE oid=10 AND start=0", 10, "outside" },
	{ "UPDATE range SET stop='x' WHERE oid=10 AND start=0", 10, "outside" },
	{ "UPDATE range SET stop=5000 WHERE oid=10 AND start=0", 10, "overlap or touch" },
	{ "UPDATE range SET stop=5001 WHERE oid=10 AND start=0", 10, "overlap or touch" },
	{ "UPDATE range SET sum=x'00' WHERE oid=10 AND start=0", 10, "no checksum" },
	{ "UPDATE range SET sum='0123456789abcdef' WHERE oid=10 AND start=0", 10, "no checksum" },
	/* reasons and findings */
	{ "DELETE FROM reason WHERE oid=17", 17, "shadowed without a reason" },
	{ "DELETE FROM reason WHERE oid=45", 45, "failed without a reason" },
	{ "DELETE FROM reason WHERE oid=10", 10, "quarantined without a reason" },
	{ "INSERT INTO reason VALUES(4000,1,'x')", 4000, "a reason for an object without a row" },
	{ "INSERT INTO finding VALUES(4000,1,'x')", 4000, "a finding about an object without a row" },
	/* numbers */
	{ "UPDATE ledger SET objects=objects+1 WHERE state=8", 0, "ledger: state 8" },
	{ "UPDATE ledger SET bytes=bytes-1 WHERE state=0", 0, "ledger: state 0" },
	{ "DELETE FROM ledger WHERE state=8", 0, "counters: state 8" },
	{ "INSERT INTO ledger VALUES(5,1,0)", 0, "ledger: state 5" },
	{ "UPDATE object SET size=size+1 WHERE oid=18", 0, "ledger: state 12" },
	{ "UPDATE object SET attr=(attr&~3840)|(12<<8) WHERE oid=40", 0, "ledger: state 8" },
	{ "UPDATE number SET value=60 WHERE name='next_oid'", 0, "the next oid is 60" },
	{ "UPDATE number SET value=4 WHERE name='directories_unlisted'", 0, "4 directories to be listed" },
	{ "DELETE FROM number WHERE name='fsid'", 0, "fsid is missing" },
	/* the end */
	{ "INSERT INTO meta VALUES('phase',x'01000000')", 0, "still wait" },
	{ "INSERT INTO meta VALUES('phase',x'02000000')", 0, "still wait" },
	{ "INSERT INTO meta VALUES('phase',x'03000000')", 0, "no such phase" },
	{ "INSERT INTO meta VALUES('phase',x'00')", 0, "no such phase" },
	/* what SQLite itself finds */
	{ "PRAGMA writable_schema=1; UPDATE sqlite_schema SET sql=replace(sql,'attr>>12','attr>>11')"
	  " WHERE name='waiting'; PRAGMA writable_schema=0", 0, "database: " },
};

static void copy_file(const char *from, const char *to)
{
	char buf[1 << 16];
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ssize_t n;

	assert_true(in >= 0 && out >= 0);
	while ((n = read(in, buf, sizeof buf)) > 0)
		assert_int_equal(write(out, buf, (size_t)n), n);
	close(in);
	close(out);
}

static void damage(const char *path, const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), 0);
	sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 0, NULL);
	if (sqlite3_exec(db, sql, NULL, NULL, NULL))
		fail_msg("%s: %s", sql, sqlite3_errmsg(db));
	assert_true(sqlite3_total_changes(db) > 0);
	sqlite3_close(db);
}

static int no_flush(void *arg, int fd)
{
	(void)arg;
	(void)fd;
	return 0;
}

/* Is there a line about this object with these words? */
static bool said(char *text, uint64_t oid, const char *words)
{
	char prefix[32], *rest = NULL;

	snprintf(prefix, sizeof prefix, "%lu: ", (unsigned long)oid);
	text = strdupa(text);
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		if (!strncmp(line, prefix, strlen(prefix)) && strstr(line, words))
			return true;
	return false;
}

static void test_each_damage(void **state)
{
	struct help *h = *state;
	char path[128], good[128], text[20000];
	struct err e = { 0 };

	help_fill(h);
	assert_int_equal(catalog_close(h->c), 0);
	h->c = NULL;
	h->hooks.flush = no_flush;	/* for speed */
	snprintf(path, sizeof path, "%s/" CATALOG_FILE, h->dir);
	snprintf(good, sizeof good, "%s/good", h->dir);
	copy_file(path, good);
	for (unsigned i = 0; i < sizeof damages / sizeof *damages; i++) {
		const struct damage *d = &damages[i];

		copy_file(good, path);
		damage(path, d->sql);
		if (help_open(h, false, NULL, &e))
			fail_msg("%s: %s", d->sql, e.text);
		help_problems(h, text, sizeof text);
		if (!said(text, d->oid, d->text))
			fail_msg("%s: \"%s\" of object %lu was not said, but:\n%s", d->sql, d->text,
				 (unsigned long)d->oid, text);
		assert_int_equal(catalog_close(h->c), 0);
		h->c = NULL;
	}
}

static void test_nothing_wrong(void **state)
{
	struct help *h = *state;
	char text[4000];

	help_problems(h, text, sizeof text);
	assert_string_equal(text, "");		/* one that was just made */
	help_fill(h);
	help_problems(h, text, sizeof text);
	assert_string_equal(text, "");
	help_reopen(h);
	help_problems(h, text, sizeof text);
	assert_string_equal(text, "");
}

/* A migration that has ended, with nothing left. */
static void test_ended(void **state)
{
	struct help *h = *state;
	struct catalog_row row;
	char text[4000];
	uint64_t first;

	assert_int_equal(catalog_reserve_oids(h->c, 9, &first), 0);
	help_row(&row, 1, 0, "");
	row.type = CATALOG_DIR;
	help_add(h, &row);
	assert_int_equal(catalog_begin(h->c), 0);
	assert_int_equal(catalog_transition(h->c, 1, 1, CATALOG_CLEANING, NULL), 0);
	assert_int_equal(catalog_transition(h->c, 1, 2, CATALOG_MIGRATED, NULL), 0);
	assert_int_equal(catalog_commit(h->c), 0);
	for (int i = 1; i < 3; i++) {
		assert_int_equal(catalog_set_phase(h->c, i), 0);
		help_problems(h, text, sizeof text);
		assert_string_equal(text, "");
	}
}

/* Memory is compared, too. */
static void test_memory(void **state)
{
	struct help *h = *state;
	char text[4000];

	help_fill(h);
	h->c->now.counters.bytes[CATALOG_DELETED]++;
	h->c->now.counters.directories_unlisted++;
	assert_int_equal(help_problems(h, text, sizeof text), 2);
	assert_non_null(strstr(text, "0: counters: state 10 "));
	assert_non_null(strstr(text, "0: counters: 4 directories"));
}

/* Many of one kind: some, and how many more. */
static void test_bounded(void **state)
{
	struct help *h = *state;
	char text[40000];

	help_fill(h);
	help_sql(h, "WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i+1 FROM n WHERE i<1250)"
		 " INSERT INTO reason SELECT i,1,'x' FROM n");
	assert_int_equal(help_problems(h, text, sizeof text), 101);
	assert_non_null(strstr(text, "0: and 151 times more: "));
}

static void ignore(void *arg, uint64_t oid, const char *text)
{
	unsigned *n = arg;

	(void)oid;
	assert_true(*text && !strchr(text, '\n'));
	(*n)++;
}

/* Bytes flipped anywhere in the file: whatever is said, it ends. */
static void test_flipped(void **state)
{
	struct help *h = *state;
	char path[128], good[128];
	unsigned seed = 11, opened = 0, found = 0;

	help_fill(h);
	assert_int_equal(catalog_close(h->c), 0);
	h->c = NULL;
	h->hooks.flush = no_flush;
	snprintf(path, sizeof path, "%s/" CATALOG_FILE, h->dir);
	snprintf(good, sizeof good, "%s/good", h->dir);
	copy_file(path, good);
	for (int round = 0; round < 150; round++) {
		struct err e = { 0 };
		unsigned n = 0;
		int fd, r;
		off_t size;

		copy_file(good, path);
		fd = open(path, O_WRONLY);
		size = lseek(fd, 0, SEEK_END);
		for (int i = 0; i < 20; i++) {
			seed = seed * 1103515245 + 12345;
			/* not in the first page: the schema is there */
			assert_int_equal(pwrite(fd, &seed, 1, 4096 + (off_t)(seed >> 5) % (size - 4096)), 1);
		}
		close(fd);
		if (help_open(h, false, NULL, &e))
			continue;
		opened++;
		r = catalog_check(h->c, ignore, &n);
		assert_true(r == 0 || r == -EUCLEAN);
		found += n > 0;
		catalog_close(h->c);
		h->c = NULL;
	}
	assert_true(opened > 20 && found > 10);
}

#define T(name) cmocka_unit_test_setup_teardown(name, help_setup, help_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_nothing_wrong), T(test_ended), T(test_each_damage), T(test_memory), T(test_bounded),
		T(test_flipped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
