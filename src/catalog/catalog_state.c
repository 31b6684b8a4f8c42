/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The state machine of an object (doc/crash-safety.md draws it): the only code that moves a
 * row from one state to another, and with it the ledger (D8).
 *
 * Which steps are legal is a table; move() checks every step against it.  Every change is
 * conditional on the prior state and leaves a row's size on disk as it is.
 *
 * Invariant kept here: resident ranges exist only while an object waits for content.  A step
 * out of FOUND and QUARANTINED drops them, and catalog_range_add() adds none afterwards.
 */
#include "internal.h"

#include <errno.h>

#define BIT(s) (1u << (s))
#define WAITING (BIT(CATALOG_FOUND) | BIT(CATALOG_QUARANTINED))

/* To which states an object may go, from each; staying is always legal.  Terminal states have no way out. */
static const uint16_t steps[CATALOG_STATE_COUNT] = {
	[CATALOG_FOUND] = BIT(CATALOG_CLEANING) | BIT(CATALOG_QUARANTINED) | BIT(CATALOG_DELETED) |
			  BIT(CATALOG_FAILED) | BIT(CATALOG_EXCLUDED),
	[CATALOG_QUARANTINED] = BIT(CATALOG_FOUND) | BIT(CATALOG_DELETED) | BIT(CATALOG_FAILED) |
				BIT(CATALOG_EXCLUDED),
	[CATALOG_CLEANING] = BIT(CATALOG_MIGRATED) | BIT(CATALOG_OVERWRITTEN),
};

bool catalog_may_move(enum catalog_type type, enum catalog_state from, enum catalog_state to)
{
	if (type < CATALOG_REG || type >= CATALOG_HARDLINK || !catalog_codec_state_known(from) ||
	    !catalog_codec_state_known(to))
		return false;	/* a HARDLINK is not an object */
	if (type == CATALOG_DIR && (from == CATALOG_OVERWRITTEN || to == CATALOG_OVERWRITTEN))
		return false;	/* it has no content to be overwritten */
	return from == to || steps[from] & BIT(to);
}

/* attr and size of an object; -ENOENT. */
int catalog_state_look(struct catalog *c, uint64_t oid, uint32_t *attr, uint64_t *size)
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
	return catalog_codec_state_known(catalog_codec_state(*attr)) ? 0 : -EUCLEAN;
}

int catalog_state_set_attr(struct catalog *c, uint64_t oid, uint32_t old, uint32_t attr)
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

void catalog_state_book(struct catalog_counters *k, uint32_t attr, uint64_t size, bool in)
{
	unsigned state = catalog_codec_state(attr), type = catalog_codec_type(attr);
	uint64_t one = in ? 1 : (uint64_t)-1;

	k->objects[state] += one;
	if (type == CATALOG_REG)
		k->bytes[state] += in ? size : -size;
	if (type == CATALOG_DIR && state == CATALOG_FOUND)
		k->directories_unlisted += one;
}

static int drop_ranges(struct catalog *c, uint64_t oid, uint32_t old, uint32_t attr)
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_RANGE_DROP);

	if (catalog_codec_type(old) != CATALOG_REG || !(WAITING & BIT(catalog_codec_state(old))) ||
	    WAITING & BIT(catalog_codec_state(attr)))
		return 0;
	sqlite3_bind_int64(s, 1, (int64_t)oid);
	return catalog_stmt_run(c, s);
}

static int move(struct catalog *c, uint64_t oid, unsigned from_mask, unsigned to,
		enum catalog_state *actual)
{
	uint32_t attr, next;
	uint64_t size;
	int r = catalog_state_look(c, oid, &attr, &size);

	if (r)
		return r;
	if (actual)
		*actual = catalog_codec_state(attr);
	if (catalog_codec_type(attr) == CATALOG_HARDLINK)
		return -EINVAL;		/* not an object */
	if (!(from_mask & BIT(catalog_codec_state(attr))))
		return -ESTALE;
	if (!catalog_may_move(catalog_codec_type(attr), catalog_codec_state(attr), to))
		return -EINVAL;
	next = catalog_codec_with_state(attr, to);
	if (next == attr)
		return 0;
	r = catalog_state_set_attr(c, oid, attr, next);
	if (!r)
		r = drop_ranges(c, oid, attr, next);
	if (r)
		return r;
	catalog_state_book(&c->now.counters, attr, size, false);
	catalog_state_book(&c->now.counters, next, size, true);
	return 0;
}

int catalog_transition(struct catalog *c, uint64_t oid, unsigned from_mask, enum catalog_state to,
		       enum catalog_state *actual)
{
	int r;

	if (!catalog_codec_state_known(to))
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
	int r = catalog_state_look(c, oid, &attr, &size);

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

/* The link index follows the flag. */
static int follow_links(struct catalog *c, uint64_t oid, uint32_t old, uint32_t attr)
{
	struct catalog_row row;
	int r;

	if (!((old ^ attr) & CATALOG_F_LINKS))
		return 0;
	r = catalog_get(c, oid, &row);
	if (r || row.type == CATALOG_HARDLINK)
		return r;
	return attr & CATALOG_F_LINKS ? catalog_link_enter(c, &row) : catalog_link_leave(c, &row);
}

static int set_flags(struct catalog *c, uint64_t oid, unsigned set, unsigned clear)
{
	uint32_t attr, next;
	uint64_t size;
	int r = catalog_state_look(c, oid, &attr, &size);

	if (r)
		return r;
	next = with_flags(attr, set, clear);
	r = catalog_state_set_attr(c, oid, attr, next);
	return r ? r : follow_links(c, oid, attr, next);
}

int catalog_set_flags(struct catalog *c, uint64_t oid, unsigned set, unsigned clear)
{
	int r;

	if ((set | clear) & ~(unsigned)ATTR_FLAGS_MAX)
		return -EINVAL;
	r = catalog_commit_enter(c);
	return r ? r : catalog_commit_leave(c, set_flags(c, oid, set, clear));
}

int catalog_set_priority(struct catalog *c, uint64_t oid, uint8_t priority)
{
	uint32_t attr;
	uint64_t size;
	int r = catalog_commit_enter(c);

	if (r)
		return r;
	r = catalog_state_look(c, oid, &attr, &size);
	if (!r)
		r = catalog_state_set_attr(c, oid, attr, catalog_codec_with_priority(attr, priority));
	return catalog_commit_leave(c, r);
}
