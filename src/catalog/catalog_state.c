/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The state machine of an object (doc/states.md): the only code that moves a
 * row from one state to another, and with it the ledger (D8).
 *
 * Every change is conditional on the prior state and leaves a row's size on disk as it
 * is, except set_promise.
 */
#include "internal.h"

#include <errno.h>

/* attr and size of an object; -ENOENT. */
static int look(struct catalog *c, uint64_t oid, uint32_t *attr, uint64_t *size)
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_OBJECT_ATTR);
	int r;

	sqlite3_bind_int64(s, 1, (int64_t)oid);
	r = catalog_stmt_step(c, s);
	if (r != 1)
		return r ? r : -ENOENT;
	*attr = (uint32_t)catalog_stmt_int(s, 0);
	*size = (uint64_t)catalog_stmt_int(s, 1);
	catalog_stmt_done(s);
	return catalog_codec_state(*attr) < CATALOG_STATE_COUNT ? 0 : -EUCLEAN;
}

static int set_attr(struct catalog *c, uint64_t oid, uint32_t old, uint32_t attr)
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_OBJECT_SET_ATTR);
	int r;

	if (attr == old)
		return 0;
	sqlite3_bind_int64(s, 1, (int64_t)oid);
	sqlite3_bind_int64(s, 2, attr);
	r = catalog_stmt_run(c, s);
	return r ? r : catalog_list_intent(c, oid, old, attr);
}

static void book(struct catalog_counters *k, uint32_t attr, uint64_t size, bool in)
{
	unsigned state = catalog_codec_state(attr), type = catalog_codec_type(attr);
	uint64_t one = in ? 1 : (uint64_t)-1;

	k->objects[state] += one;
	if (type == CATALOG_REG)
		k->bytes[state] += in ? size : -size;
	if (type == CATALOG_DIR && state == CATALOG_FOUND)
		k->directories_unlisted += one;
}

static int move(struct catalog *c, uint64_t oid, unsigned from_mask, unsigned to,
		enum catalog_state *actual)
{
	uint32_t attr, next;
	uint64_t size;
	int r = look(c, oid, &attr, &size);

	if (r)
		return r;
	if (actual)
		*actual = catalog_codec_state(attr);
	if (catalog_codec_type(attr) == CATALOG_HARDLINK)
		return -EINVAL;		/* not an object */
	if (!(from_mask & 1u << catalog_codec_state(attr)))
		return -ESTALE;
	next = catalog_codec_with_state(attr, to);
	if (next == attr)
		return 0;
	r = set_attr(c, oid, attr, next);
	if (r)
		return r;
	book(&c->now.counters, attr, size, false);
	book(&c->now.counters, next, size, true);
	return 0;
}

int catalog_transition(struct catalog *c, uint64_t oid, unsigned from_mask, enum catalog_state to,
		       enum catalog_state *actual)
{
	int r;

	if (to >= CATALOG_STATE_COUNT || (to > CATALOG_QUARANTINED && to < CATALOG_FIRST_TERMINAL))
		return -EINVAL;
	r = catalog_commit_enter(c);
	if (r)
		return r;
	return catalog_commit_leave(c, move(c, oid, from_mask, to, actual));
}

static int set_checksum(struct catalog *c, uint64_t oid, const uint8_t checksum[16])
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_OBJECT_SET_CHECKSUM);
	uint32_t attr;
	uint64_t size;
	int r = look(c, oid, &attr, &size);

	if (r || attr & CATALOG_F_MODIFIED)
		return r;	/* void anyhow */
	sqlite3_bind_int64(s, 1, (int64_t)oid);
	sqlite3_bind_int64(s, 2, attr | ATTR_HAS_CHECKSUM);
	sqlite3_bind_blob(s, 3, checksum, 16, SQLITE_STATIC);
	return catalog_stmt_run(c, s);
}

int catalog_set_checksum(struct catalog *c, uint64_t oid, const uint8_t checksum[16])
{
	int r = catalog_commit_enter(c);

	return r ? r : catalog_commit_leave(c, set_checksum(c, oid, checksum));
}

/* MODIFIED voids the checksum (D8): the bytes here are not the source's any more. */
static uint32_t with_flags(uint32_t attr, unsigned set, unsigned clear)
{
	attr = (attr & ~clear) | set;
	return attr & CATALOG_F_MODIFIED ? attr & ~(uint32_t)ATTR_HAS_CHECKSUM : attr;
}

int catalog_set_flags(struct catalog *c, uint64_t oid, unsigned set, unsigned clear)
{
	uint32_t attr;
	uint64_t size;
	int r;

	if ((set | clear) & ~(unsigned)ATTR_FLAGS_MAX)
		return -EINVAL;
	r = catalog_commit_enter(c);
	if (r)
		return r;
	r = look(c, oid, &attr, &size);
	if (!r)
		r = set_attr(c, oid, attr, with_flags(attr, set, clear));
	return catalog_commit_leave(c, r);
}

int catalog_set_priority(struct catalog *c, uint64_t oid, uint8_t priority)
{
	uint32_t attr;
	uint64_t size;
	int r = catalog_commit_enter(c);

	if (r)
		return r;
	r = look(c, oid, &attr, &size);
	if (!r)
		r = set_attr(c, oid, attr, catalog_codec_with_priority(attr, priority));
	return catalog_commit_leave(c, r);
}

static int write_promise(struct catalog *c, const struct catalog_row *row)
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_OBJECT_SET_PROMISE);
	uint8_t extra[80];
	size_t n = catalog_codec_extra(c, row, extra);

	sqlite3_bind_int64(s, 1, (int64_t)row->oid);
	sqlite3_bind_int64(s, 2, (int64_t)row->size);
	catalog_codec_bind_time(s, 3, &row->mtime);
	catalog_codec_bind_time(s, 4, &row->ctime);
	sqlite3_bind_blob(s, 5, n ? extra : NULL, (int)n, SQLITE_STATIC);
	return catalog_stmt_run(c, s);
}

static int set_promise(struct catalog *c, const struct catalog_row *p)
{
	struct catalog_row row;
	uint64_t old;
	int r = catalog_get(c, p->oid, &row);

	if (r)
		return r;
	if (row.type == CATALOG_HARDLINK)
		return -EINVAL;
	old = row.size;
	row.size = p->size;
	row.used = p->used;
	row.change = p->change;
	row.atime = p->atime;
	row.mtime = p->mtime;
	row.ctime = p->ctime;
	r = catalog_codec_check(&row);
	if (!r)
		r = write_promise(c, &row);
	if (!r && row.type == CATALOG_REG)
		c->now.counters.bytes[row.state] += row.size - old;
	return r;
}

int catalog_set_promise(struct catalog *c, const struct catalog_row *row)
{
	int r = catalog_commit_enter(c);

	return r ? r : catalog_commit_leave(c, set_promise(c, row));
}
