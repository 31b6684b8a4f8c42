/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the source promised (D7), when it promises anew; and the ctime that an object
 * has on the target once it is complete.
 *
 * The two share a column: nobody compares with the source's ctime any more when the
 * object is complete, and a row has no room for both.  A change attribute that equals the source's ctime is stored as
 * "the same" (catalog_codec.c) and is forgotten with it.
 */
#include "internal.h"

#include <errno.h>
#include <string.h>

static int write_promise(struct catalog *c, const struct catalog_row *row)
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_OBJECT_SET_PROMISE);
	uint8_t extra[80];
	size_t n = catalog_codec_extra(c, row, extra);

	sqlite3_bind_int64(s, 1, (int64_t)row->oid);
	sqlite3_bind_int64(s, 2, (int64_t)row->size);
	catalog_codec_bind_time(s, 3, &row->mtime);
	catalog_codec_bind_time(s, 4, &row->ctime);
	sqlite3_bind_blob(s, 5, row->handle_len ? row->handle : NULL, row->handle_len, SQLITE_STATIC);
	sqlite3_bind_blob(s, 6, n ? extra : NULL, (int)n, SQLITE_STATIC);
	return catalog_stmt_run(c, s);
}

/* Once an object had several names it is treated so for ever: one of them may be in the holder (D5). */
static uint8_t flags_for(const struct catalog_row *row)
{
	return row->type != CATALOG_DIR && row->nlink > 1 ? row->flags | CATALOG_F_LINKS : row->flags;
}

/* row gets what p promises; the rest of it stays. */
static void take(struct catalog_row *row, const struct catalog_row *p)
{
	row->type = p->type;
	row->size = p->size;
	row->used = p->used;
	row->fsid = p->fsid;
	row->fileid = p->fileid;
	row->change = p->change;
	row->nlink = p->nlink;
	row->atime = p->atime;
	row->mtime = p->mtime;
	row->ctime = p->ctime;
	row->flags = flags_for(row);
	if (p->handle_len) {
		memcpy(row->handle, p->handle, sizeof row->handle);
		row->handle_len = p->handle_len;
	}
}

static int relink(struct catalog *c, const struct catalog_row *old, const struct catalog_row *row)
{
	int r = 0;

	if (old->flags & CATALOG_F_LINKS && (old->fsid != row->fsid || old->fileid != row->fileid))
		r = catalog_link_leave(c, old);
	return r ? r : catalog_link_enter(c, row);
}

/* Ranges of a file that stays one are the caller's business. */
static int drop_ranges(struct catalog *c, const struct catalog_row *old, const struct catalog_row *row)
{
	return old->type == CATALOG_REG && row->type != CATALOG_REG ? catalog_range_drop(c, row->oid) : 0;
}

static int replace(struct catalog *c, const struct catalog_row *old, const struct catalog_row *row)
{
	uint32_t was = catalog_codec_attr(old), attr = catalog_codec_attr(row);
	int r = catalog_state_set_attr(c, row->oid, was, attr);

	if (!r)
		r = write_promise(c, row);
	if (!r)
		r = relink(c, old, row);
	if (!r)
		r = drop_ranges(c, old, row);
	if (r)
		return r;
	catalog_state_book(&c->now.counters, was, old->size, false);
	catalog_state_book(&c->now.counters, attr, row->size, true);
	return 0;
}

static int set_promise(struct catalog *c, const struct catalog_row *p)
{
	struct catalog_row old, row;
	int r;

	if (p->type == CATALOG_HARDLINK || p->handle_len > sizeof p->handle)
		return -EINVAL;
	r = catalog_get(c, p->oid, &old);
	if (r)
		return r;
	if (old.type == CATALOG_HARDLINK)
		return -EINVAL;
	row = old;
	take(&row, p);
	r = catalog_codec_check(&row);
	if (!r && !catalog_may_move(row.type, row.state, row.state))
		r = -EINVAL;
	return r ? r : replace(c, &old, &row);
}

int catalog_set_promise(struct catalog *c, const struct catalog_row *row)
{
	int r = catalog_commit_enter(c);

	return r ? r : catalog_commit_leave(c, set_promise(c, row));
}

static bool complete(const struct catalog_row *row)
{
	return row->state == CATALOG_CLEANING || row->state == CATALOG_MIGRATED ||
	       row->state == CATALOG_OVERWRITTEN;
}

static int set_ctime(struct catalog *c, uint64_t oid, const struct catalog_time *ctime)
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_OBJECT_SET_CTIME);
	struct catalog_row row;
	uint8_t extra[80];
	size_t n;
	int r = catalog_get(c, oid, &row);

	if (r)
		return r;
	if (row.type == CATALOG_HARDLINK || !complete(&row))
		return -EINVAL;
	if (catalog_codec_change_is_ctime(&row))
		row.change = 0;
	row.ctime = *ctime;
	r = catalog_codec_check(&row);
	if (r)
		return r;
	n = catalog_codec_extra(c, &row, extra);
	sqlite3_bind_int64(s, 1, (int64_t)oid);
	catalog_codec_bind_time(s, 2, &row.ctime);
	sqlite3_bind_blob(s, 3, n ? extra : NULL, (int)n, SQLITE_STATIC);
	return catalog_stmt_run(c, s);
}

int catalog_set_ctime(struct catalog *c, uint64_t oid, struct catalog_time ctime)
{
	int r = catalog_commit_enter(c);

	return r ? r : catalog_commit_leave(c, set_ctime(c, oid, &ctime));
}
