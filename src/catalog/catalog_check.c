/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The catalog against itself: everything that can be derived from the rows is
 * derived anew and compared with what is stored.
 *
 *   SQLite's own check   pages, indices, types
 *   object               each row (catalog_check_row.c), and whatever it demands of other tables
 *   name, link, alias, intent, range, reason, finding
 *                        each entry has the row that it speaks of; with the above: one to one
 *   ledger, number       in the file and in memory, recounted
 *   meta                 the phase, and that nothing waits after the end
 *
 * A damaged page is a finding and not an error: what is behind it is not judged.  Nothing is
 * repaired.  The connection is held for the whole time; memory is constant.
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "check.h"

#define REPORTED 100	/* of one kind, at most */

void catalog_check_say(struct check *k, uint64_t oid, const char *fmt, ...)
{
	char text[CATALOG_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < ' ')
			*p = '?';
	k->problem(k->arg, oid, text);
}

/* A table that cannot be read is a finding; a disk or memory that fails is not. */
static int unreadable(struct check *k, const char *what, int r)
{
	if (r != -EUCLEAN)
		return r;
	catalog_check_say(k, 0, "%s cannot be read: %s", what, sqlite3_errmsg(k->c->db));
	return 0;
}

static int prepare(struct check *k, const char *sql, sqlite3_stmt **s)
{
	int rc;

	errno = 0;
	rc = sqlite3_prepare_v2(k->c->db, sql, -1, s, NULL);
	return rc == SQLITE_ERROR ? -EUCLEAN : catalog_stmt_errno(rc);
}

/* fn for each row of a query; its first non-zero return ends it. */
static int each(struct check *k, const char *what, const char *sql, int (*fn)(struct check *, sqlite3_stmt *))
{
	sqlite3_stmt *s = NULL;
	int r = prepare(k, sql, &s);

	while (!r && (r = catalog_stmt_step(k->c, s)) == 1)
		r = fn(k, s);
	sqlite3_finalize(s);
	return unreadable(k, what, r);
}

static int integrity(struct check *k, sqlite3_stmt *s)
{
	const char *text = (const char *)sqlite3_column_text(s, 0);

	if (text && strcmp(text, "ok"))
		catalog_check_say(k, 0, "database: %s", text);
	return 0;
}

/* ---- entries of the other tables ---- */

struct entry_check {
	const char *table, *sql;	/* selects the oids of which `text` is true */
	const char *text;
};

/* Slow, in the order of hashes: only when the number tells that there is one. */
static const struct entry_check stray_names = {
	"name", "SELECT oid FROM name WHERE NOT EXISTS(SELECT 1 FROM object o WHERE o.oid=name.oid)",
	"the name index has an entry without a row"
};

static const struct entry_check entries[] = {
	{ "name", "SELECT b.oid FROM name a CROSS JOIN name b ON b.key=a.key AND b.oid>a.oid"
	  " CROSS JOIN object o ON o.oid=a.oid CROSS JOIN object p ON p.oid=b.oid"
	  " WHERE o.parent=p.parent AND o.name=p.name", "another row claims the same name" },
	{ "alias", "SELECT row FROM alias WHERE NOT EXISTS(SELECT 1 FROM object o WHERE o.oid=alias.row"
	  " AND (o.attr>>4)&15=8)", "the list of further names has an entry that is no such row" },
	{ "intent", "SELECT oid FROM intent i WHERE NOT EXISTS(SELECT 1 FROM object o WHERE o.oid=i.oid"
	  " AND o.attr&1 AND o.attr<" ATTR_WAITING " AND (o.attr>>12)&255=i.priority)",
	  "the list of intents has an entry that its row does not know" },
	{ "intent", "SELECT oid FROM object o WHERE o.attr&1 AND o.attr<" ATTR_WAITING " AND NOT EXISTS"
	  "(SELECT 1 FROM intent i WHERE i.oid=o.oid AND i.priority=(o.attr>>12)&255)",
	  "the list of intents lacks the object" },
	{ "range", "SELECT DISTINCT oid FROM range WHERE NOT EXISTS(SELECT 1 FROM object o WHERE o.oid=range.oid"
	  " AND (o.attr>>4)&15=1 AND (o.attr>>8)&15 IN (0,2))",
	  "there are resident ranges, but the object is no file that waits for content" },
	{ "range", "SELECT r.oid FROM range r JOIN object o ON o.oid=r.oid WHERE r.start<0 OR r.stop<=r.start"
	  " OR r.stop>o.size OR typeof(r.start)<>'integer' OR typeof(r.stop)<>'integer'",
	  "a resident range is outside the file" },
	{ "range", "SELECT oid FROM (SELECT oid,start,lag(stop) OVER (PARTITION BY oid ORDER BY start) AS last"
	  " FROM range) WHERE last>=start", "two resident ranges overlap or touch" },
	{ "range", "SELECT oid FROM range WHERE sum IS NOT NULL AND (typeof(sum)<>'blob' OR length(sum)<>16)",
	  "the sum of a resident range is no checksum" },
	{ "reason", "SELECT oid FROM reason WHERE NOT EXISTS(SELECT 1 FROM object o WHERE o.oid=reason.oid)",
	  "there is a reason for an object without a row" },
	{ "finding", "SELECT oid FROM finding WHERE NOT EXISTS(SELECT 1 FROM object o WHERE o.oid=finding.oid)",
	  "there is a finding about an object without a row" },
};

static int check_entries(struct check *k, const struct entry_check *what)
{
	sqlite3_stmt *s = NULL;
	unsigned n = 0;
	int r = prepare(k, what->sql, &s);

	while (!r && (r = catalog_stmt_step(k->c, s)) == 1) {
		if (n++ < REPORTED)
			catalog_check_say(k, (uint64_t)catalog_stmt_int(s, 0), "%s", what->text);
		r = 0;
	}
	sqlite3_finalize(s);
	if (n > REPORTED)
		catalog_check_say(k, 0, "and %u times more: %s", n - REPORTED, what->text);
	return unreadable(k, what->table, r);
}

static int link_entry(struct check *k, sqlite3_stmt *s)
{
	uint64_t fsid = (uint64_t)catalog_stmt_int(s, 0), fileid = (uint64_t)catalog_stmt_int(s, 1);
	uint64_t oid = (uint64_t)catalog_stmt_int(s, 2);
	struct catalog_row row;
	int r = catalog_get(k->c, oid, &row);

	if (r && r != -ENOENT)
		return r == -EUCLEAN ? 0 : r;	/* said at the row */
	if (r || row.type == CATALOG_HARDLINK || !(row.flags & CATALOG_F_LINKS) ||
	    row.fsid != fsid || row.fileid != fileid)
		catalog_check_say(k, oid, "the link index knows the object under an identity that is not its own");
	return 0;
}

/* Each row has its entry (catalog_check_row.c); with the same number of both they are one to one. */
static int name_count(struct check *k, sqlite3_stmt *s)
{
	uint64_t n = (uint64_t)catalog_stmt_int(s, 0);

	if (n == k->rows)
		return 0;
	catalog_check_say(k, 0, "the name index has %llu entries for %llu rows", (unsigned long long)n,
			  (unsigned long long)k->rows);
	return check_entries(k, &stray_names);
}

static int alias_count(struct check *k, sqlite3_stmt *s)
{
	uint64_t n = (uint64_t)catalog_stmt_int(s, 0);

	if (n != k->hardlinks)
		catalog_check_say(k, 0, "the list of further names has %llu entries for %llu rows",
				  (unsigned long long)n, (unsigned long long)k->hardlinks);
	return 0;
}

/* ---- numbers ---- */

static void compare(struct check *k, const char *where, unsigned state, uint64_t objects, uint64_t bytes)
{
	const struct catalog_counters *n = &k->counted;

	if (objects != n->objects[state] || bytes != n->bytes[state])
		catalog_check_say(k, 0, "%s: state %u has %llu objects of %llu bytes, the rows add up to %llu of %llu",
				  where, state, (unsigned long long)objects, (unsigned long long)bytes,
				  (unsigned long long)n->objects[state], (unsigned long long)n->bytes[state]);
}

static int ledger_row(struct check *k, sqlite3_stmt *s)
{
	int64_t state = catalog_stmt_int(s, 0);

	if (state < 0 || state >= CATALOG_STATE_COUNT)
		catalog_check_say(k, 0, "ledger: there is no state %lld", (long long)state);
	else
		compare(k, "ledger", (unsigned)state, (uint64_t)catalog_stmt_int(s, 1), (uint64_t)catalog_stmt_int(s, 2));
	return 0;
}

/* A state without a line in the ledger has nothing: memory was filled from it, so it shows here. */
static void check_memory(struct check *k)
{
	const struct catalog_counters *n = &k->c->now.counters;

	for (unsigned i = 0; i < CATALOG_STATE_COUNT; i++)
		compare(k, "counters", i, n->objects[i], n->bytes[i]);
	if (n->directories_unlisted != k->counted.directories_unlisted)
		catalog_check_say(k, 0, "counters: %llu directories to be listed, the rows say %llu",
				  (unsigned long long)n->directories_unlisted,
				  (unsigned long long)k->counted.directories_unlisted);
}

static int number_row(struct check *k, sqlite3_stmt *s)
{
	const char *name = (const char *)sqlite3_column_text(s, 0);
	uint64_t v = (uint64_t)catalog_stmt_int(s, 1);

	if (name && !strcmp(name, "next_oid") && (v <= k->max_oid || v > CATALOG_OID_MAX + 1))
		catalog_check_say(k, 0, "the next oid is %llu, but there is an object %llu", (unsigned long long)v,
				  (unsigned long long)k->max_oid);
	if (name && !strcmp(name, "directories_unlisted") && v != k->counted.directories_unlisted)
		catalog_check_say(k, 0, "number: %llu directories to be listed, the rows say %llu",
				  (unsigned long long)v, (unsigned long long)k->counted.directories_unlisted);
	return 0;
}

static int root(struct check *k, sqlite3_stmt *s)
{
	if (k->rows && !catalog_stmt_int(s, 0))
		catalog_check_say(k, CATALOG_ROOT_OID, "the root has no row");
	if (k->rows && !catalog_stmt_int(s, 1))
		catalog_check_say(k, 0, "number: the usual fsid is missing");
	return 0;
}

static int phase_row(struct check *k, sqlite3_stmt *s)
{
	const uint64_t *n = k->counted.objects;
	uint64_t waiting = n[CATALOG_FOUND] + n[CATALOG_QUARANTINED] + n[CATALOG_CLEANING];
	uint32_t phase = CATALOG_DETACHED + 1;

	if (sqlite3_column_bytes(s, 0) == sizeof phase)
		memcpy(&phase, sqlite3_column_blob(s, 0), sizeof phase);
	if (phase > CATALOG_DETACHED)
		catalog_check_say(k, 0, "there is no such phase of a migration");
	else if (phase != CATALOG_RUNNING && waiting)
		catalog_check_say(k, 0, "the migration has ended, but %llu objects still wait",
				  (unsigned long long)waiting);
	return 0;
}

static int check_numbers(struct check *k)
{
	int r = each(k, "ledger", "SELECT state,objects,bytes FROM ledger", ledger_row);

	check_memory(k);
	if (!r)
		r = each(k, "number", "SELECT name,value FROM number", number_row);
	if (!r)
		r = each(k, "object", "SELECT EXISTS(SELECT 1 FROM object WHERE oid=1),"
			 "EXISTS(SELECT 1 FROM number WHERE name='fsid')", root);
	return r ? r : each(k, "meta", "SELECT value FROM meta WHERE key='phase'", phase_row);
}

static int check_all(struct check *k)
{
	int r = each(k, "the database", "PRAGMA integrity_check(100)", integrity);

	if (!r)
		r = each(k, "object", "SELECT oid,parent,name,attr,size,mtime,ctime,handle,checksum,extra"
			 " FROM object ORDER BY oid", catalog_check_row);
	for (unsigned i = 0; !r && i < sizeof entries / sizeof *entries; i++)
		r = check_entries(k, &entries[i]);
	if (!r)
		r = each(k, "link", "SELECT fsid,fileid,oid FROM link", link_entry);
	if (!r)
		r = each(k, "name", "SELECT count(*) FROM name", name_count);
	if (!r)
		r = each(k, "alias", "SELECT count(*) FROM alias", alias_count);
	return r ? r : check_numbers(k);
}

int catalog_check(struct catalog *c, void (*problem)(void *arg, uint64_t oid, const char *text), void *arg)
{
	struct check k = { .c = c, .problem = problem, .arg = arg };
	int r;

	catalog_lock(c);
	r = prepare(&k, "SELECT 1 FROM name WHERE key=?1 AND oid=?2", &k.name);
	if (!r)
		r = prepare(&k, "SELECT 1 FROM alias WHERE oid=?1 AND row=?2", &k.alias);
	if (!r)
		r = check_all(&k);
	sqlite3_finalize(k.name);
	sqlite3_finalize(k.alias);
	catalog_unlock(c);
	return r;
}
