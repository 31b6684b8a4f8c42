/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The tables, their version, and the way from an older version to this one.
 * doc/catalog.md explains each column.
 *
 * A new catalog appears in one transaction: tables, identity, application id
 * and version together.  A file without any table is one whose creation was
 * cut off before that, and is created again.
 *
 * An upgrade is a walk through the table of steps; each step and the number
 * of the version it reaches are one transaction, so that a crash leaves a
 * catalog of some version and the next start goes on from there.  They are made durable by
 * the checkpoint of catalog_open(), before anything is read.
 */
#include "internal.h"

#include <errno.h>
#include <string.h>

#include "base/point.h"

static const char schema_sql[] =
	"CREATE TABLE identity(one INTEGER PRIMARY KEY CHECK(one=1), migration BLOB NOT NULL,"
	" reserved_id INTEGER NOT NULL, source TEXT NOT NULL, target TEXT NOT NULL);"
	"CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE number(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE ledger(state INTEGER PRIMARY KEY, objects INTEGER NOT NULL,"
	" bytes INTEGER NOT NULL);"
	"CREATE TABLE object(oid INTEGER PRIMARY KEY, parent INTEGER NOT NULL, name BLOB NOT NULL,"
	" attr INTEGER NOT NULL, size INTEGER NOT NULL, mtime, ctime, handle BLOB, checksum BLOB,"
	" extra BLOB);"
	"CREATE INDEX waiting ON object(attr>>12) WHERE attr<" ATTR_WAITING ";"
	"CREATE TABLE intent(priority INTEGER NOT NULL, oid INTEGER NOT NULL,"
	" PRIMARY KEY(priority,oid)) WITHOUT ROWID;"
	"CREATE TABLE name(key INTEGER NOT NULL, oid INTEGER NOT NULL, PRIMARY KEY(key,oid))"
	" WITHOUT ROWID;"
	"CREATE TABLE link(fsid INTEGER NOT NULL, fileid INTEGER NOT NULL, oid INTEGER NOT NULL,"
	" PRIMARY KEY(fsid,fileid)) WITHOUT ROWID;"
	"CREATE TABLE alias(oid INTEGER NOT NULL, row INTEGER NOT NULL, PRIMARY KEY(oid,row))"
	" WITHOUT ROWID;"
	"CREATE TABLE range(oid INTEGER NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL,"
	" sum BLOB, PRIMARY KEY(oid,start)) WITHOUT ROWID;"
	"CREATE TABLE reason(oid INTEGER PRIMARY KEY, code INTEGER NOT NULL, text TEXT NOT NULL);"
	"CREATE TABLE event(id INTEGER PRIMARY KEY, time INTEGER NOT NULL, oid INTEGER NOT NULL,"
	" kind TEXT NOT NULL, text TEXT NOT NULL);"
	"CREATE TABLE finding(oid INTEGER PRIMARY KEY, code INTEGER NOT NULL, text TEXT NOT NULL);"
	"INSERT INTO number VALUES('next_oid',2),('directories_unlisted',0);";

/*
 * 1 -> 2: sums of ranges, findings.  Version 1 left the ranges of objects behind that ended before they were complete:
 * from 2 on only files in FOUND (0) and QUARANTINED (2) have any.  It kept the source's ctime of complete objects (1, 8, 9);
 * the target's is not known.
 */
const struct catalog_step catalog_schema_steps[CATALOG_SCHEMA - 1] = {
	{ 1, "ALTER TABLE range ADD COLUMN sum BLOB;"
	     "DELETE FROM range WHERE NOT EXISTS"
	     " (SELECT 1 FROM object o WHERE o.oid=range.oid AND (o.attr>>8)&15 IN (0,2));"
	     "UPDATE object SET ctime=NULL WHERE (attr>>8)&15 IN (1,8,9) AND ctime IS NOT NULL;"
	     "CREATE TABLE finding(oid INTEGER PRIMARY KEY, code INTEGER NOT NULL, text TEXT NOT NULL);" },
};

int catalog_schema_exec(struct catalog *c, const char *sql, struct err *e)
{
	int rc;

	errno = 0;
	rc = sqlite3_exec(c->db, sql, NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		return 0;
	if ((rc & 0xff) == SQLITE_BUSY)
		return err_set(e, EBUSY, "another process works with this catalog");
	if ((rc & 0xff) == SQLITE_NOTADB)
		return err_set(e, EINVAL, CATALOG_FILE " is not a catalog");
	if ((rc & 0xff) == SQLITE_CORRUPT)
		return err_set(e, EUCLEAN, "the catalog is damaged: %s", sqlite3_errmsg(c->db));
	return err_set(e, rc == SQLITE_ERROR ? EUCLEAN : catalog_stmt_errno(rc),
		       "catalog: %s", sqlite3_errmsg(c->db));
}

static int value(struct catalog *c, const char *sql, int64_t *out, struct err *e)
{
	sqlite3_stmt *s = NULL;
	int rc = sqlite3_prepare_v2(c->db, sql, -1, &s, NULL);

	if (rc == SQLITE_OK) {
		rc = sqlite3_step(s);
		*out = sqlite3_column_int64(s, 0);
	}
	sqlite3_finalize(s);
	return rc == SQLITE_ROW ? 0 : catalog_schema_exec(c, sql, e) ? -e->code :
	       err_set(e, EUCLEAN, "the catalog is damaged: %s gives nothing", sql);
}

static int store_identity(struct catalog *c, const struct catalog_identity *id, struct err *e)
{
	sqlite3_stmt *s = NULL;
	int rc = sqlite3_prepare_v2(c->db, "INSERT INTO identity VALUES(1,?1,?2,?3,?4)", -1, &s, NULL);

	if (rc == SQLITE_OK) {
		sqlite3_bind_blob(s, 1, id->migration, sizeof id->migration, SQLITE_STATIC);
		sqlite3_bind_int64(s, 2, id->reserved_id);
		sqlite3_bind_text(s, 3, id->source, -1, SQLITE_STATIC);
		sqlite3_bind_text(s, 4, id->target, -1, SQLITE_STATIC);
		rc = sqlite3_step(s);
	}
	sqlite3_finalize(s);
	return rc == SQLITE_DONE ? 0 : err_set(e, catalog_stmt_errno(rc), "catalog: %s",
					       sqlite3_errmsg(c->db));
}

static int set_version(struct catalog *c, int version, struct err *e)
{
	char sql[96];

	snprintf(sql, sizeof sql, "PRAGMA application_id=%d; PRAGMA user_version=%d",
		 CATALOG_APPLICATION_ID, version);
	return catalog_schema_exec(c, sql, e);
}

/* sql, perhaps the identity, and the version, or nothing. */
static int transact(struct catalog *c, const char *sql, const struct catalog_identity *id,
		    int version, struct err *e)
{
	int r = catalog_schema_exec(c, "BEGIN IMMEDIATE", e);

	if (r)
		return r;
	r = catalog_schema_exec(c, sql, e);
	if (!r && id)
		r = store_identity(c, id, e);
	if (!r)
		r = set_version(c, version, e);
	POINT("catalog.schema");
	if (!r)
		r = catalog_schema_exec(c, "COMMIT", e);
	if (r && !sqlite3_get_autocommit(c->db))
		sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
	return r;
}

static const struct catalog_step *step_from(const struct catalog *c, int version)
{
	for (unsigned i = 0; i < c->hooks.steps_n; i++)
		if (c->hooks.steps[i].from == version)
			return &c->hooks.steps[i];
	return NULL;
}

static int upgrade(struct catalog *c, int version, struct err *e)
{
	int r;

	for (; version < c->hooks.schema; version++) {
		const struct catalog_step *step = step_from(c, version);

		if (!step)
			return err_set(e, EPROTONOSUPPORT, "the catalog has schema version %d, which"
				       " this program (version %d) cannot upgrade", version, c->hooks.schema);
		r = transact(c, step->sql, NULL, version + 1, e);
		if (r) {
			err_wrap(e, "upgrade of the catalog from schema version %d", version);
			return r;
		}
		log_info("catalog: upgraded from schema version %d to %d", version, version + 1);
		POINT("catalog.upgraded");
	}
	return 0;
}

int catalog_schema_setup(struct catalog *c, bool create, const struct catalog_identity *id,
			 bool *created, struct err *e)
{
	int64_t app, version, tables;
	int r = value(c, "SELECT count(*) FROM sqlite_schema", &tables, e);

	if (!r)
		r = value(c, "PRAGMA application_id", &app, e);
	if (!r)
		r = value(c, "PRAGMA user_version", &version, e);
	if (r)
		return r;
	*created = false;
	if (!tables && !app) {
		if (!create)
			return err_set(e, ENOENT, "there is no catalog");
		*created = true;
		return transact(c, schema_sql, id, c->hooks.schema, e);
	}
	if (app != CATALOG_APPLICATION_ID)
		return err_set(e, EINVAL, CATALOG_FILE " is not a catalog: a database of another program");
	if (version > c->hooks.schema)
		return err_set(e, EPROTONOSUPPORT, "the catalog has schema version %lld; this program"
			       " knows versions up to %d: use the newer program", (long long)version,
			       c->hooks.schema);
	return upgrade(c, (int)version, e);
}

static int copy_identity(sqlite3_stmt *s, struct catalog_identity *id)
{
	const void *migration = sqlite3_column_blob(s, 0);
	const char *source, *target;

	if (sqlite3_column_bytes(s, 0) != sizeof id->migration)
		return -EUCLEAN;
	memcpy(id->migration, migration, sizeof id->migration);
	id->reserved_id = (uint32_t)sqlite3_column_int64(s, 1);
	source = (const char *)sqlite3_column_text(s, 2);
	target = (const char *)sqlite3_column_text(s, 3);
	if (!source || !target || strlen(source) >= sizeof id->source ||
	    strlen(target) >= sizeof id->target)
		return -EUCLEAN;
	strcpy(id->source, source);
	strcpy(id->target, target);
	return 0;
}

int catalog_schema_identity(struct catalog *c, struct catalog_identity *id, struct err *e)
{
	sqlite3_stmt *s = NULL;
	int r = -EUCLEAN;

	memset(id, 0, sizeof *id);
	if (sqlite3_prepare_v2(c->db, "SELECT migration,reserved_id,source,target FROM identity", -1,
			       &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
		r = copy_identity(s, id);
	sqlite3_finalize(s);
	return r ? err_set(e, EUCLEAN, "the catalog is damaged: it does not say which migration it is of") : 0;
}
