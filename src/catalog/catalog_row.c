/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Rows: claiming a name, and finding it again.
 *
 * A name is found through the table `name`, keyed (parent << 24 | 24 bits of the
 * name's hash, oid): the names of one directory lie together, so that a
 * listing touches few pages.  The name itself is compared in the row; a
 * directory of ten million entries has 0.6 wrong candidates a lookup.
 *
 * A regular file is inserted with 16 bytes of room for its checksum: rows
 * are appended to full pages, and a row that grew later would split them.
 */
#include "internal.h"

#include <errno.h>
#include <string.h>

static int exists(struct catalog *c, const struct catalog_row *row)
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_NAME_FIND);
	int r;

	sqlite3_bind_int64(s, 1, catalog_codec_name_key(row->parent, row->name, row->name_len));
	sqlite3_bind_int64(s, 2, (int64_t)row->parent);
	sqlite3_bind_blob(s, 3, row->name, row->name_len, SQLITE_STATIC);
	r = catalog_stmt_step(c, s);
	if (r == 1)
		catalog_stmt_done(s);
	return r == 1 ? -EEXIST : r;
}

static void bind_checksum(sqlite3_stmt *s, const struct catalog_row *row)
{
	static const uint8_t room[sizeof row->checksum];

	if (row->has_checksum)
		sqlite3_bind_blob(s, 9, row->checksum, sizeof row->checksum, SQLITE_STATIC);
	else if (row->type == CATALOG_REG)
		sqlite3_bind_blob(s, 9, room, sizeof room, SQLITE_STATIC);
	else
		sqlite3_bind_null(s, 9);
}

static int insert(struct catalog *c, const struct catalog_row *row)
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_OBJECT_ADD);
	uint8_t extra[80];
	size_t n = catalog_codec_extra(c, row, extra);

	sqlite3_bind_int64(s, 1, (int64_t)row->oid);
	sqlite3_bind_int64(s, 2, (int64_t)row->parent);
	sqlite3_bind_blob(s, 3, row->name, row->name_len, SQLITE_STATIC);
	sqlite3_bind_int64(s, 4, catalog_codec_attr(row));
	sqlite3_bind_int64(s, 5, (int64_t)row->size);
	catalog_codec_bind_time(s, 6, &row->mtime);
	catalog_codec_bind_time(s, 7, &row->ctime);
	sqlite3_bind_blob(s, 8, row->handle_len ? row->handle : NULL, row->handle_len, SQLITE_STATIC);
	bind_checksum(s, row);
	sqlite3_bind_blob(s, 10, n ? extra : NULL, (int)n, SQLITE_STATIC);
	return catalog_stmt_run(c, s);
}

static int insert_name(struct catalog *c, const struct catalog_row *row)
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_NAME_ADD);

	sqlite3_bind_int64(s, 1, catalog_codec_name_key(row->parent, row->name, row->name_len));
	sqlite3_bind_int64(s, 2, (int64_t)row->oid);
	return catalog_stmt_run(c, s);
}

static void count(struct catalog_counters *k, const struct catalog_row *row)
{
	if (row->type != CATALOG_HARDLINK)
		catalog_state_book(k, catalog_codec_attr(row), row->size, true);
}

static int add(struct catalog *c, const struct catalog_row *row)
{
	int r = exists(c, row);

	if (r)
		return r;
	if (!c->now.fsid_known) {
		c->now.fsid = row->fsid;
		c->now.fsid_known = true;
	}
	r = insert(c, row);	/* -EEXIST: the oid */
	if (!r)
		r = insert_name(c, row);
	if (!r)
		r = catalog_link_enter(c, row);
	if (!r)
		r = catalog_list_intent(c, row->oid, 0, catalog_codec_attr(row));
	if (!r)
		count(&c->now.counters, row);
	return r;
}

/* A row can only appear in these; a HARDLINK is not an object, its state means nothing. */
static bool may_begin(const struct catalog_row *row)
{
	return row->type == CATALOG_HARDLINK || row->state <= CATALOG_QUARANTINED ||
	       row->state == CATALOG_SHADOWED || row->state == CATALOG_EXCLUDED;
}

int catalog_add(struct catalog *c, const struct catalog_row *row)
{
	int r = catalog_codec_check(row);

	if (!r && !may_begin(row))
		r = -EINVAL;
	if (!r)
		r = catalog_commit_enter(c);
	if (r)
		return r;
	return catalog_commit_leave(c, add(c, row));
}

/* The one row of a statement that selects rows. */
static int one(struct catalog *c, sqlite3_stmt *s, struct catalog_row *out)
{
	int r = catalog_stmt_step(c, s);

	if (r != 1)
		return r ? r : -ENOENT;
	r = catalog_codec_row(c, s, out);
	catalog_stmt_done(s);
	return r;
}

int catalog_get(struct catalog *c, uint64_t oid, struct catalog_row *out)
{
	sqlite3_stmt *s;
	int r;

	catalog_lock(c);
	s = catalog_stmt_of(c, STMT_OBJECT_GET);
	sqlite3_bind_int64(s, 1, (int64_t)oid);
	r = one(c, s, out);
	catalog_unlock(c);
	return r;
}

int catalog_find(struct catalog *c, uint64_t parent, const char *name, size_t name_len,
		 struct catalog_row *out)
{
	sqlite3_stmt *s;
	int r;

	if (name_len >= sizeof out->name || parent > CATALOG_OID_MAX)
		return -ENOENT;
	catalog_lock(c);
	s = catalog_stmt_of(c, STMT_NAME_FIND);
	sqlite3_bind_int64(s, 1, catalog_codec_name_key(parent, name, name_len));
	sqlite3_bind_int64(s, 2, (int64_t)parent);
	sqlite3_bind_blob(s, 3, name_len ? name : "", (int)name_len, SQLITE_STATIC);
	r = one(c, s, out);
	catalog_unlock(c);
	return r;
}
