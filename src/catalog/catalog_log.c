/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Why an object is where it is, what happened of note, and what a verification found.
 *
 * All are for people and take a bounded place: one reason an object, cut to
 * what struct err holds; the newest 10,000 events; one finding an object.
 */
#include "internal.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#define KIND_MAX 40

static void bind_cut(sqlite3_stmt *s, int at, const char *text, size_t max)
{
	sqlite3_bind_text(s, at, text, (int)strnlen(text, max), SQLITE_STATIC);
}

static int reason(struct catalog *c, uint64_t oid, int code, const char *text)
{
	sqlite3_stmt *s = catalog_stmt_of(c, text ? STMT_REASON_SET : STMT_REASON_DEL);

	sqlite3_bind_int64(s, 1, (int64_t)oid);
	if (text) {
		sqlite3_bind_int(s, 2, code);
		bind_cut(s, 3, text, CATALOG_TEXT_MAX);
	}
	return catalog_stmt_run(c, s);
}

int catalog_reason_set(struct catalog *c, uint64_t oid, int code, const char *text)
{
	int r = catalog_commit_enter(c);

	return r ? r : catalog_commit_leave(c, reason(c, oid, code, text));
}

static void copy_text(sqlite3_stmt *s, int col, char *to, size_t n)
{
	const char *p = (const char *)sqlite3_column_text(s, col);

	if (n)
		snprintf(to, n, "%s", p ? p : "");
}

int catalog_reason_get(struct catalog *c, uint64_t oid, int *code, char *text, size_t n)
{
	sqlite3_stmt *s;
	int r;

	catalog_lock(c);
	s = catalog_stmt_of(c, STMT_REASON_GET);
	sqlite3_bind_int64(s, 1, (int64_t)oid);
	r = catalog_stmt_step(c, s);
	if (r == 1) {
		*code = (int)catalog_stmt_int(s, 0);
		copy_text(s, 1, text, n);
		catalog_stmt_done(s);
		r = 0;
	} else if (!r)
		r = -ENOENT;
	catalog_unlock(c);
	return r;
}

static int trim(struct catalog *c)
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_EVENT_TRIM);

	sqlite3_bind_int64(s, 1, sqlite3_last_insert_rowid(c->db) - CATALOG_EVENTS_MAX);
	return catalog_stmt_run(c, s);
}

static int event(struct catalog *c, uint64_t oid, const char *kind, const char *text)
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_EVENT_ADD);
	int r;

	sqlite3_bind_int64(s, 1, (int64_t)time(NULL));
	sqlite3_bind_int64(s, 2, (int64_t)oid);
	bind_cut(s, 3, kind, KIND_MAX);
	bind_cut(s, 4, text, CATALOG_TEXT_MAX);
	r = catalog_stmt_run(c, s);
	return r ? r : trim(c);
}

int catalog_event_add(struct catalog *c, uint64_t oid, const char *kind, const char *text)
{
	int r = catalog_commit_enter(c);

	return r ? r : catalog_commit_leave(c, event(c, oid, kind, text));
}

int catalog_event_list(struct catalog *c, uint64_t *pos, struct catalog_event *out, unsigned max,
		       unsigned *n)
{
	sqlite3_stmt *s;
	int r;

	*n = 0;
	catalog_lock(c);
	s = catalog_stmt_of(c, STMT_EVENT_LIST);
	sqlite3_bind_int64(s, 1, *pos > INT64_MAX ? INT64_MAX : (int64_t)*pos);
	sqlite3_bind_int64(s, 2, max);
	while ((r = catalog_stmt_step(c, s)) == 1) {
		struct catalog_event *ev = &out[(*n)++];

		*pos = ev->id = (uint64_t)catalog_stmt_int(s, 0);
		ev->time = catalog_stmt_int(s, 1);
		ev->oid = (uint64_t)catalog_stmt_int(s, 2);
		copy_text(s, 3, ev->kind, sizeof ev->kind);
		copy_text(s, 4, ev->text, sizeof ev->text);
	}
	catalog_unlock(c);
	return r;
}

static int finding(struct catalog *c, uint64_t oid, int code, const char *text)
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_FINDING_SET);

	sqlite3_bind_int64(s, 1, (int64_t)oid);
	sqlite3_bind_int(s, 2, code);
	bind_cut(s, 3, text, CATALOG_TEXT_MAX);
	return catalog_stmt_run(c, s);
}

int catalog_finding_set(struct catalog *c, uint64_t oid, int code, const char *text)
{
	int r = oid && oid <= CATALOG_OID_MAX && text ? catalog_commit_enter(c) : -EINVAL;

	return r ? r : catalog_commit_leave(c, finding(c, oid, code, text));
}

int catalog_finding_clear(struct catalog *c)
{
	int r = catalog_commit_enter(c);

	return r ? r : catalog_commit_leave(c, catalog_stmt_run(c, catalog_stmt_of(c, STMT_FINDING_CLEAR)));
}

/* The next finding behind *oid: 1, or 0 when there is none. */
static int next_finding(struct catalog *c, uint64_t *oid, int *code, char *text, size_t n)
{
	sqlite3_stmt *s;
	int r;

	catalog_lock(c);
	s = catalog_stmt_of(c, STMT_FINDING_NEXT);
	sqlite3_bind_int64(s, 1, (int64_t)*oid);
	r = catalog_stmt_step(c, s);
	if (r == 1) {
		*oid = (uint64_t)catalog_stmt_int(s, 0);
		*code = (int)catalog_stmt_int(s, 1);
		copy_text(s, 2, text, n);
		catalog_stmt_done(s);
	}
	catalog_unlock(c);
	return r;
}

/* One at a time and without the connection: fn may call the catalog. */
int catalog_finding_each(struct catalog *c, int (*fn)(void *arg, uint64_t oid, int code, const char *text),
			 void *arg)
{
	char text[CATALOG_TEXT_MAX + 1];
	uint64_t oid = 0;
	int code, r;

	while ((r = next_finding(c, &oid, &code, text, sizeof text)) == 1) {
		r = fn(arg, oid, code, text);
		if (r)
			return r;
	}
	return r;
}
