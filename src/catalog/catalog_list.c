/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What waits, in the order (priority, oid).
 *
 * The lists are one partial index over (list, priority, oid) of objects that
 * are not terminal: it shrinks as work is done, and a position is a key in it, so that
 * every page costs what it returns.  Intents are in a small table of their own, because
 * such an object is on another list as well, and few objects ever have one.
 *
 * A page is read priority by priority, each an equality on the index: a
 * comparison of (priority, oid) pairs would leave the choice of the plan to SQLite.
 */
#include "internal.h"

#include <errno.h>

static bool intends(uint32_t attr)
{
	return attr & CATALOG_F_INTENT_DELETE && catalog_codec_list(attr) != ATTR_LIST_NONE;
}

static int change_intent(struct catalog *c, enum catalog_stmt which, uint64_t oid, uint32_t attr)
{
	sqlite3_stmt *s = catalog_stmt_of(c, which);

	sqlite3_bind_int64(s, 1, catalog_codec_priority(attr));
	sqlite3_bind_int64(s, 2, (int64_t)oid);
	return catalog_stmt_run(c, s);
}

/* Keep the table of intents in step with a row; old_attr 0: it is new. */
int catalog_list_intent(struct catalog *c, uint64_t oid, uint32_t old_attr, uint32_t attr)
{
	int r = 0;

	if (!((old_attr | attr) & CATALOG_F_INTENT_DELETE))
		return 0;
	if (intends(old_attr))
		r = change_intent(c, STMT_INTENT_DEL, oid, old_attr);
	return !r && intends(attr) ? change_intent(c, STMT_INTENT_ADD, oid, attr) : r;
}

struct cursor {
	enum catalog_stmt rows, next;
	int base, last;		/* index keys of priority 0 and 255 */
};

static int cursor_of(enum catalog_list which, struct cursor *k)
{
	static const int list_of[] = {
		[CATALOG_LIST_DIRS] = ATTR_LIST_DIRS,
		[CATALOG_LIST_CONTENT] = ATTR_LIST_CONTENT,
		[CATALOG_LIST_CLEANING] = ATTR_LIST_CLEANING,
		[CATALOG_LIST_QUARANTINED] = ATTR_LIST_QUARANTINED,
	};

	if ((unsigned)which > CATALOG_LIST_INTENTS)
		return -EINVAL;
	if (which == CATALOG_LIST_INTENTS)
		*k = (struct cursor){ STMT_LIST_INTENTS, STMT_LIST_INTENTS_NEXT, 0, 255 };
	else
		*k = (struct cursor){ STMT_LIST, STMT_LIST_NEXT, list_of[which] << 8,
				      list_of[which] << 8 | 255 };
	return 0;
}

/* Rows of one priority behind pos. */
static int page(struct catalog *c, const struct cursor *k, struct catalog_pos *pos,
		struct catalog_row *rows, unsigned max, unsigned *n)
{
	sqlite3_stmt *s = catalog_stmt_of(c, k->rows);
	int r;

	sqlite3_bind_int(s, 1, k->base + pos->priority);
	sqlite3_bind_int64(s, 2, (int64_t)pos->oid);
	sqlite3_bind_int64(s, 3, max - *n);
	while ((r = catalog_stmt_step(c, s)) == 1) {
		r = catalog_codec_row(c, s, &rows[*n]);
		if (r) {
			catalog_stmt_done(s);
			return r;
		}
		pos->oid = rows[(*n)++].oid;
	}
	return r;
}

/* The next priority that has rows: 1, or 0 when there is none. */
static int next_priority(struct catalog *c, const struct cursor *k, struct catalog_pos *pos)
{
	sqlite3_stmt *s = catalog_stmt_of(c, k->next);
	int64_t key;
	int r;

	sqlite3_bind_int(s, 1, k->base + pos->priority);
	r = catalog_stmt_step(c, s);
	if (r != 1)
		return r;
	key = catalog_stmt_int(s, 0);
	catalog_stmt_done(s);
	if (key > k->last)
		return 0;
	*pos = (struct catalog_pos){ (uint8_t)(key - k->base), 0 };
	return 1;
}

/* Rows behind *oid, whatever their state. */
static int walk(struct catalog *c, uint64_t *oid, struct catalog_row *rows, unsigned max, unsigned *n)
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_OBJECT_WALK);
	int r;

	sqlite3_bind_int64(s, 1, (int64_t)*oid);
	sqlite3_bind_int64(s, 2, max);
	while ((r = catalog_stmt_step(c, s)) == 1) {
		r = catalog_codec_row(c, s, &rows[*n]);
		if (r && *n) {		/* alone on the next page */
			catalog_stmt_done(s);
			return 0;
		}
		*oid = (uint64_t)catalog_stmt_int(s, 0);
		if (r) {
			catalog_stmt_done(s);
			return r;
		}
		(*n)++;
	}
	return r;
}

int catalog_walk(struct catalog *c, uint64_t *oid, struct catalog_row *rows, unsigned max, unsigned *n)
{
	int r;

	*n = 0;
	if (!max || *oid > CATALOG_OID_MAX)
		return 0;
	catalog_lock(c);
	r = walk(c, oid, rows, max, n);
	catalog_unlock(c);
	return r;
}

int catalog_list(struct catalog *c, enum catalog_list which, struct catalog_pos *pos,
		 struct catalog_row *rows, unsigned max, unsigned *n)
{
	struct catalog_pos at = *pos;
	struct cursor k;
	int r = cursor_of(which, &k);

	*n = 0;
	if (r || !max)
		return r;
	if (at.oid > CATALOG_OID_MAX)
		at.oid = CATALOG_OID_MAX;
	catalog_lock(c);
	do
		r = page(c, &k, &at, rows, max, n);
	while (!r && *n < max && (r = next_priority(c, &k, &at)) == 1);
	catalog_unlock(c);
	if (!r && *n)
		*pos = (struct catalog_pos){ rows[*n - 1].priority, rows[*n - 1].oid };
	return r;
}
