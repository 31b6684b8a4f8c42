/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One row of the catalog: is it possible by itself, and do the tables that were
 * derived from it say the same?
 *
 * The row may hold anything: it is judged column by column before it is decoded, and only what
 * decoded is compared with other rows.  Every loop of parents has a row whose parent's oid is not
 * smaller than its own, so only such rows are followed upwards.
 */
#include <errno.h>
#include <string.h>

#include "check.h"

static const char *const state_names[CATALOG_STATE_COUNT] = {
	[CATALOG_FOUND] = "found", [CATALOG_CLEANING] = "cleaning", [CATALOG_QUARANTINED] = "quarantined",
	[CATALOG_MIGRATED] = "migrated", [CATALOG_OVERWRITTEN] = "overwritten", [CATALOG_DELETED] = "deleted",
	[CATALOG_SHADOWED] = "shadowed", [CATALOG_EXCLUDED] = "excluded", [CATALOG_FAILED] = "failed",
};

/* The integers that the rest relies on. False: nothing more can be said of this row. */
static bool check_columns(struct check *k, sqlite3_stmt *s)
{
	int64_t oid = catalog_stmt_int(s, 0), attr = catalog_stmt_int(s, 3), size = catalog_stmt_int(s, 4);

	if (oid <= 0 || oid > (int64_t)CATALOG_OID_MAX) {
		catalog_check_say(k, (uint64_t)oid, "the oid %lld is out of bounds", (long long)oid);
		return false;
	}
	if (sqlite3_column_type(s, 3) != SQLITE_INTEGER || attr < 0 || attr >= 1 << 23 || size < 0) {
		catalog_check_say(k, (uint64_t)oid, "attr %lld or size %lld of the row is impossible",
				  (long long)attr, (long long)size);
		return false;
	}
	return true;
}

static void check_values(struct check *k, const struct catalog_row *row, uint32_t attr)
{
	int r = catalog_codec_check(row);

	if (r)
		catalog_check_say(k, row->oid, "the row holds a value that is out of bounds");
	if (!strcmp(row->name, ".") || !strcmp(row->name, ".."))
		catalog_check_say(k, row->oid, "the row's name is \"%s\"", row->name);
	if (catalog_codec_relist(attr) != attr)
		catalog_check_say(k, row->oid, "the row is on list %u, its type and state belong on list %u",
				  catalog_codec_list(attr), catalog_codec_list(catalog_codec_relist(attr)));
}

static void check_state(struct check *k, const struct catalog_row *row)
{
	bool complete = row->state == CATALOG_CLEANING || row->state == CATALOG_MIGRATED ||
			row->state == CATALOG_OVERWRITTEN;

	if (row->type != CATALOG_HARDLINK && !catalog_may_move(row->type, row->state, row->state))
		catalog_check_say(k, row->oid, "an object of type %u cannot be %s", row->type,
				  state_names[row->state]);
	if (!row->has_checksum)
		return;
	if (row->type != CATALOG_REG)
		catalog_check_say(k, row->oid, "there is a checksum, but the object is no regular file");
	else if (row->flags & CATALOG_F_MODIFIED)
		catalog_check_say(k, row->oid, "there is a checksum, but an application has written into the file");
	else if (!complete)
		catalog_check_say(k, row->oid, "there is a checksum, but the file is %s", state_names[row->state]);
}

/* Upwards to the root, with a tortoise behind at half the speed. */
static int check_loop(struct check *k, uint64_t oid)
{
	struct catalog_row row;
	uint64_t slow = oid, fast = oid;
	int r = 0;

	for (uint64_t step = 1; !r && fast != CATALOG_ROOT_OID && fast; step++) {
		r = catalog_get(k->c, fast, &row);
		fast = row.parent;
		if (!r && step % 2 == 0) {
			r = catalog_get(k->c, slow, &row);
			slow = row.parent;
		}
		if (!r && fast == slow && fast) {
			catalog_check_say(k, oid, "its parents form a loop");
			return 0;
		}
	}
	return r == -ENOENT || r == -EUCLEAN ? 0 : r;	/* said at that row */
}

static int check_parent(struct check *k, const struct catalog_row *row)
{
	uint32_t attr = 0;
	uint64_t size;
	int r;

	if (row->oid == CATALOG_ROOT_OID && (row->parent || row->type != CATALOG_DIR))
		catalog_check_say(k, row->oid, "the root's row is not that of a root directory");
	if (row->oid == CATALOG_ROOT_OID)
		return 0;
	r = catalog_state_look(k->c, row->parent, &attr, &size);
	if (r == -ENOENT) {
		catalog_check_say(k, row->oid, "its parent, object %llu, has no row", (unsigned long long)row->parent);
		return 0;
	}
	if (r)
		return r == -EUCLEAN ? 0 : r;
	if (catalog_codec_type(attr) != CATALOG_DIR)
		catalog_check_say(k, row->oid, "its parent, object %llu, is no directory", (unsigned long long)row->parent);
	else if (catalog_codec_state(attr) == CATALOG_SHADOWED)
		catalog_check_say(k, row->oid, "its parent, object %llu, is shadowed: it was never listed",
				  (unsigned long long)row->parent);
	return row->parent >= row->oid ? check_loop(k, row->oid) : 0;
}

/* 1 the entry (a, b) is there, 0 it is not, -errno. */
static int entry(struct check *k, sqlite3_stmt *s, int64_t a, int64_t b)
{
	int r;

	sqlite3_bind_int64(s, 1, a);
	sqlite3_bind_int64(s, 2, b);
	r = catalog_stmt_step(k->c, s);
	if (r == 1)
		catalog_stmt_done(s);
	return r;
}

static int check_name(struct check *k, const struct catalog_row *row)
{
	int r = entry(k, k->name, catalog_codec_name_key(row->parent, row->name, row->name_len), (int64_t)row->oid);

	if (!r)
		catalog_check_say(k, row->oid, "the name index lacks the row's name");
	return r < 0 ? r : 0;
}

static int check_alias(struct check *k, const struct catalog_row *row)
{
	uint32_t attr = 0;
	uint64_t size;
	int r = catalog_state_look(k->c, row->link_oid, &attr, &size);

	if (r == -ENOENT || (!r && (catalog_codec_type(attr) == CATALOG_HARDLINK ||
				    catalog_codec_type(attr) == CATALOG_DIR)))
		catalog_check_say(k, row->oid, "a further name of object %llu, which cannot have one",
				  (unsigned long long)row->link_oid);
	if (r && r != -ENOENT && r != -EUCLEAN)
		return r;
	r = entry(k, k->alias, (int64_t)row->link_oid, (int64_t)row->oid);
	if (!r)
		catalog_check_say(k, row->oid, "the list of further names lacks it");
	return r < 0 ? r : 0;
}

static int check_links(struct check *k, const struct catalog_row *row)
{
	uint64_t oid;
	int r;

	if (row->type == CATALOG_HARDLINK)
		return check_alias(k, row);
	if (!(row->flags & CATALOG_F_LINKS))
		return 0;
	r = catalog_find_link(k->c, row->fsid, row->fileid, &oid);
	if (r == -ENOENT)
		catalog_check_say(k, row->oid, "the link index lacks the object, which has several names on the source");
	return r == -ENOENT ? 0 : r;
}

/* D8: what did not arrive says why. */
static int check_reason(struct check *k, const struct catalog_row *row)
{
	char text[8];
	int code, r;

	if (row->type == CATALOG_HARDLINK || (row->state != CATALOG_QUARANTINED &&
	    row->state != CATALOG_FAILED && row->state != CATALOG_SHADOWED))
		return 0;
	r = catalog_reason_get(k->c, row->oid, &code, text, sizeof text);
	if (r == -ENOENT)
		catalog_check_say(k, row->oid, "the object is %s without a reason", state_names[row->state]);
	return r == -ENOENT ? 0 : r;
}

static void count(struct check *k, uint64_t oid, uint32_t attr, uint64_t size)
{
	k->rows++;
	k->max_oid = oid > k->max_oid ? oid : k->max_oid;
	if (catalog_codec_type(attr) == CATALOG_HARDLINK)
		k->hardlinks++;
	else
		catalog_state_book(&k->counted, attr, size, true);
}

int catalog_check_row(struct check *k, sqlite3_stmt *s)
{
	static int (*const checks[])(struct check *, const struct catalog_row *) = {
		check_parent, check_name, check_links, check_reason,
	};
	struct catalog_row row;
	uint32_t attr;
	int r = 0;

	if (!check_columns(k, s)) {
		k->rows++;
		return 0;
	}
	attr = (uint32_t)catalog_stmt_int(s, 3);
	if (catalog_codec_row(k->c, s, &row)) {
		k->rows++;
		catalog_check_say(k, (uint64_t)catalog_stmt_int(s, 0), "the row does not decode");
		return 0;
	}
	count(k, row.oid, attr, row.size);
	check_values(k, &row, attr);
	check_state(k, &row);
	for (unsigned i = 0; !r && i < sizeof checks / sizeof *checks; i++)
		r = checks[i](k, &row);
	return r;
}
