/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Objects with several names (D5): from the source's identity of a file to
 * its oid, and how many of its names have been claimed.  Only objects with
 * CATALOG_F_LINKS and HARDLINK rows are here; an ordinary object costs nothing.
 */
#include "internal.h"

#include <errno.h>

static int enter_identity(struct catalog *c, const struct catalog_row *row)
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_LINK_ADD);

	sqlite3_bind_int64(s, 1, (int64_t)row->fsid);
	sqlite3_bind_int64(s, 2, (int64_t)row->fileid);
	sqlite3_bind_int64(s, 3, (int64_t)row->oid);
	return catalog_stmt_run(c, s);
}

static int enter_alias(struct catalog *c, const struct catalog_row *row)
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_ALIAS_ADD);

	sqlite3_bind_int64(s, 1, (int64_t)row->link_oid);
	sqlite3_bind_int64(s, 2, (int64_t)row->oid);
	return catalog_stmt_run(c, s);
}

int catalog_link_enter(struct catalog *c, const struct catalog_row *row)
{
	if (row->type == CATALOG_HARDLINK)
		return enter_alias(c, row);
	return row->flags & CATALOG_F_LINKS ? enter_identity(c, row) : 0;
}

/* The object is not under this identity any more; an entry of another object stays. */
int catalog_link_leave(struct catalog *c, const struct catalog_row *row)
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_LINK_DEL);

	sqlite3_bind_int64(s, 1, (int64_t)row->fsid);
	sqlite3_bind_int64(s, 2, (int64_t)row->fileid);
	sqlite3_bind_int64(s, 3, (int64_t)row->oid);
	return catalog_stmt_run(c, s);
}

int catalog_find_link(struct catalog *c, uint64_t fsid, uint64_t fileid, uint64_t *oid)
{
	sqlite3_stmt *s;
	int r;

	catalog_lock(c);
	s = catalog_stmt_of(c, STMT_LINK_FIND);
	sqlite3_bind_int64(s, 1, (int64_t)fsid);
	sqlite3_bind_int64(s, 2, (int64_t)fileid);
	r = catalog_stmt_step(c, s);
	if (r == 1) {
		*oid = (uint64_t)catalog_stmt_int(s, 0);
		catalog_stmt_done(s);
		r = 0;
	} else if (!r)
		r = -ENOENT;
	catalog_unlock(c);
	return r;
}

static int own_row(struct catalog *c, uint64_t oid)
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_OBJECT_ATTR);
	int r;

	sqlite3_bind_int64(s, 1, (int64_t)oid);
	r = catalog_stmt_step(c, s);
	if (r == 1)
		catalog_stmt_done(s);
	return r < 0 ? r : r ? 0 : -ENOENT;
}

int catalog_count_names(struct catalog *c, uint64_t oid, uint32_t *n)
{
	sqlite3_stmt *s;
	int r;

	catalog_lock(c);
	r = own_row(c, oid);
	if (!r) {
		s = catalog_stmt_of(c, STMT_ALIAS_COUNT);
		sqlite3_bind_int64(s, 1, (int64_t)oid);
		r = catalog_stmt_step(c, s);
		if (r == 1) {
			*n = 1 + (uint32_t)catalog_stmt_int(s, 0);
			catalog_stmt_done(s);
			r = 0;
		}
	}
	catalog_unlock(c);
	return r;
}
