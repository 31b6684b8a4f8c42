/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Every statement that runs more than once, prepared when the catalog is
 * opened: a table or column that is missing shows there and not in the middle
 * of a migration.
 *
 * Errors: SQLite rolls a transaction back by itself on some failures (full
 * disk, I/O error).  Statements after that would each commit alone.  So any
 * failure of SQLite inside a transaction marks it (tx_err), and a marked
 * transaction accepts nothing more and can only be rolled back.  The exception
 * is a violated key (-EEXIST): that undoes its one statement only.
 */
#include "internal.h"

#include <errno.h>

#define OBJECT_COLUMNS "oid,parent,name,attr,size,mtime,ctime,handle,checksum,extra"

static const char *const text[STMT_COUNT] = {
	[STMT_BEGIN] = "BEGIN IMMEDIATE",
	[STMT_COMMIT] = "COMMIT",
	[STMT_ROLLBACK] = "ROLLBACK",
	[STMT_META_SET] = "INSERT INTO meta(key,value) VALUES(?1,?2)"
		" ON CONFLICT(key) DO UPDATE SET value=excluded.value",
	[STMT_META_GET] = "SELECT value FROM meta WHERE key=?1",
	[STMT_NUMBER_SET] = "INSERT INTO number(name,value) VALUES(?1,?2)"
		" ON CONFLICT(name) DO UPDATE SET value=excluded.value",
	[STMT_NUMBER_GET] = "SELECT value FROM number WHERE name=?1",
	[STMT_LEDGER_SET] = "INSERT INTO ledger(state,objects,bytes) VALUES(?1,?2,?3)"
		" ON CONFLICT(state) DO UPDATE SET objects=excluded.objects,bytes=excluded.bytes",
	[STMT_LEDGER_GET] = "SELECT state,objects,bytes FROM ledger",
	[STMT_OBJECT_ADD] = "INSERT INTO object(" OBJECT_COLUMNS ")"
		" VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)",
	[STMT_OBJECT_GET] = "SELECT " OBJECT_COLUMNS " FROM object WHERE oid=?1",
	[STMT_OBJECT_ATTR] = "SELECT attr,size FROM object WHERE oid=?1",
	[STMT_OBJECT_SET_ATTR] = "UPDATE object SET attr=?2 WHERE oid=?1",
	[STMT_OBJECT_SET_CHECKSUM] = "UPDATE object SET attr=?2,checksum=?3 WHERE oid=?1",
	[STMT_OBJECT_SET_PROMISE] = "UPDATE object SET size=?2,mtime=?3,ctime=?4,handle=?5,extra=?6"
		" WHERE oid=?1",
	[STMT_OBJECT_SET_CTIME] = "UPDATE object SET ctime=?2,extra=?3 WHERE oid=?1",
	[STMT_OBJECT_WALK] = "SELECT " OBJECT_COLUMNS " FROM object WHERE oid>?1 ORDER BY oid LIMIT ?2",
	[STMT_NAME_ADD] = "INSERT INTO name(key,oid) VALUES(?1,?2)",
	[STMT_NAME_FIND] = "SELECT o.oid,o.parent,o.name,o.attr,o.size,o.mtime,o.ctime,o.handle,"
		"o.checksum,o.extra FROM name n CROSS JOIN object o ON o.oid=n.oid"
		" WHERE n.key=?1 AND o.parent=?2 AND o.name=?3",
	[STMT_LINK_ADD] = "INSERT INTO link(fsid,fileid,oid) VALUES(?1,?2,?3)"
		" ON CONFLICT(fsid,fileid) DO UPDATE SET oid=excluded.oid",
	[STMT_LINK_FIND] = "SELECT oid FROM link WHERE fsid=?1 AND fileid=?2",
	[STMT_LINK_DEL] = "DELETE FROM link WHERE fsid=?1 AND fileid=?2 AND oid=?3",
	[STMT_ALIAS_ADD] = "INSERT INTO alias(oid,row) VALUES(?1,?2)",
	[STMT_ALIAS_COUNT] = "SELECT count(*) FROM alias WHERE oid=?1",
	[STMT_LIST] = "SELECT " OBJECT_COLUMNS " FROM object"
		" WHERE attr<" ATTR_WAITING " AND attr>>12=?1 AND oid>?2 ORDER BY oid LIMIT ?3",
	[STMT_LIST_NEXT] = "SELECT attr>>12 FROM object WHERE attr<" ATTR_WAITING
		" AND attr>>12>?1 ORDER BY attr>>12 LIMIT 1",
	[STMT_LIST_INTENTS] = "SELECT o.oid,o.parent,o.name,o.attr,o.size,o.mtime,o.ctime,o.handle,"
		"o.checksum,o.extra FROM intent i CROSS JOIN object o ON o.oid=i.oid"
		" WHERE i.priority=?1 AND i.oid>?2 ORDER BY i.oid LIMIT ?3",
	[STMT_LIST_INTENTS_NEXT] = "SELECT priority FROM intent WHERE priority>?1"
		" ORDER BY priority LIMIT 1",
	[STMT_INTENT_ADD] = "INSERT INTO intent(priority,oid) VALUES(?1,?2)",
	[STMT_INTENT_DEL] = "DELETE FROM intent WHERE priority=?1 AND oid=?2",
	[STMT_RANGE_TOUCHING] = "SELECT start,stop,sum FROM range WHERE oid=?1 AND start<=?2"
		" ORDER BY start DESC LIMIT 1",
	[STMT_RANGE_ADD] = "INSERT INTO range(oid,start,stop,sum) VALUES(?1,?2,?3,?4)",
	[STMT_RANGE_DEL] = "DELETE FROM range WHERE oid=?1 AND start=?2",
	[STMT_RANGE_DROP] = "DELETE FROM range WHERE oid=?1",
	[STMT_RANGE_ALL] = "SELECT start,stop,sum FROM range WHERE oid=?1 ORDER BY start",
	[STMT_REASON_SET] = "INSERT INTO reason(oid,code,text) VALUES(?1,?2,?3)"
		" ON CONFLICT(oid) DO UPDATE SET code=excluded.code,text=excluded.text",
	[STMT_REASON_GET] = "SELECT code,text FROM reason WHERE oid=?1",
	[STMT_REASON_DEL] = "DELETE FROM reason WHERE oid=?1",
	[STMT_EVENT_ADD] = "INSERT INTO event(time,oid,kind,text) VALUES(?1,?2,?3,?4)",
	[STMT_EVENT_TRIM] = "DELETE FROM event WHERE id<=?1",
	[STMT_EVENT_LIST] = "SELECT id,time,oid,kind,text FROM event WHERE id>?1 ORDER BY id LIMIT ?2",
	[STMT_FINDING_SET] = "INSERT INTO finding(oid,code,text) VALUES(?1,?2,?3)"
		" ON CONFLICT(oid) DO UPDATE SET code=excluded.code,text=excluded.text",
	[STMT_FINDING_CLEAR] = "DELETE FROM finding",
	[STMT_FINDING_NEXT] = "SELECT oid,code,text FROM finding WHERE oid>?1 ORDER BY oid LIMIT 1",
};

int catalog_stmt_prepare(struct catalog *c, struct err *e)
{
	for (int i = 0; i < STMT_COUNT; i++) {
		int rc = sqlite3_prepare_v3(c->db, text[i], -1, SQLITE_PREPARE_PERSISTENT,
					    &c->stmt[i], NULL);

		if (rc != SQLITE_OK)
			return err_set(e, rc == SQLITE_ERROR ? EUCLEAN : catalog_stmt_errno(rc),
				       "the catalog is damaged: %s", sqlite3_errmsg(c->db));
	}
	return 0;
}

void catalog_stmt_finalize(struct catalog *c)
{
	for (int i = 0; i < STMT_COUNT; i++) {
		sqlite3_finalize(c->stmt[i]);
		c->stmt[i] = NULL;
	}
}

/*
 * -errno for a result code.  Quota and file size limits count as a full disk; only errno tells
 * them from a failing one (sqlite3_system_errno() is not set by a failed COMMIT), so
 * callers clear it before they call SQLite.
 */
int catalog_stmt_errno(int rc)
{
	int sys = errno;

	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_IOERR:
		return sys == ENOSPC || sys == EDQUOT || sys == EFBIG ? -ENOSPC : -EIO;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_CORRUPT:
		return -EUCLEAN;
	case SQLITE_NOTADB:
		return -EINVAL;
	case SQLITE_CONSTRAINT:
		return -EEXIST;
	case SQLITE_READONLY:
	case SQLITE_PERM:
		return -EROFS;
	case SQLITE_CANTOPEN:
		return sys ? -sys : -EIO;
	default:
		return -EIO;
	}
}

sqlite3_stmt *catalog_stmt_of(struct catalog *c, enum catalog_stmt which)
{
	return c->stmt[which];
}

/* Bindings stay: whoever uses a statement binds all of its parameters. */
void catalog_stmt_done(sqlite3_stmt *s)
{
	sqlite3_reset(s);
}

int catalog_stmt_step(struct catalog *c, sqlite3_stmt *s)
{
	int rc, r;

	errno = 0;
	rc = sqlite3_step(s);
	if (rc == SQLITE_ROW)
		return 1;
	if (rc == SQLITE_DONE) {
		sqlite3_reset(s);
		return 0;
	}
	r = catalog_stmt_errno(rc);
	if (r && r != -EEXIST && c->in_tx && !c->tx_err)
		c->tx_err = r;
	catalog_stmt_done(s);
	return r;
}

int catalog_stmt_run(struct catalog *c, sqlite3_stmt *s)
{
	int r = catalog_stmt_step(c, s);

	if (r == 1) {
		catalog_stmt_done(s);
		r = 0;
	}
	return r;
}

int64_t catalog_stmt_int(sqlite3_stmt *s, int col)
{
	return sqlite3_column_int64(s, col);
}
