/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Resident ranges of large files, [start, stop) in bytes.
 *
 * Invariant: the ranges of one object are disjoint and do not touch; adding
 * merges with every neighbour.
 */
#include "internal.h"

#include <errno.h>

static int put(struct catalog *c, uint64_t oid, int64_t start, int64_t stop)
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_RANGE_ADD);

	sqlite3_bind_int64(s, 1, (int64_t)oid);
	sqlite3_bind_int64(s, 2, start);
	sqlite3_bind_int64(s, 3, stop);
	return catalog_stmt_run(c, s);
}

static int del(struct catalog *c, uint64_t oid, int64_t start)
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_RANGE_DEL);

	sqlite3_bind_int64(s, 1, (int64_t)oid);
	sqlite3_bind_int64(s, 2, start);
	return catalog_stmt_run(c, s);
}

/* The last range that starts at or before `upto`: 1, or 0 when there is none. */
static int touching(struct catalog *c, uint64_t oid, int64_t upto, int64_t *start, int64_t *stop)
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_RANGE_TOUCHING);
	int r;

	sqlite3_bind_int64(s, 1, (int64_t)oid);
	sqlite3_bind_int64(s, 2, upto);
	r = catalog_stmt_step(c, s);
	if (r == 1) {
		*start = catalog_stmt_int(s, 0);
		*stop = catalog_stmt_int(s, 1);
		catalog_stmt_done(s);
	}
	return r;
}

static int merge(struct catalog *c, uint64_t oid, int64_t start, int64_t stop)
{
	int64_t a, b;
	int r;

	while ((r = touching(c, oid, stop, &a, &b)) == 1 && b >= start) {
		if (a <= start && b >= stop)
			return 0;	/* there already */
		r = del(c, oid, a);
		if (r)
			return r;
		start = a < start ? a : start;
		stop = b > stop ? b : stop;
	}
	return r < 0 ? r : put(c, oid, start, stop);
}

int catalog_range_add(struct catalog *c, uint64_t oid, uint64_t start, uint64_t end)
{
	int r;

	if (!oid || oid > CATALOG_OID_MAX || start >= end || end > INT64_MAX)
		return -EINVAL;
	r = catalog_commit_enter(c);
	if (r)
		return r;
	return catalog_commit_leave(c, merge(c, oid, (int64_t)start, (int64_t)end));
}

int catalog_range_drop(struct catalog *c, uint64_t oid)
{
	sqlite3_stmt *s;
	int r = catalog_commit_enter(c);

	if (r)
		return r;
	s = catalog_stmt_of(c, STMT_RANGE_DROP);
	sqlite3_bind_int64(s, 1, (int64_t)oid);
	return catalog_commit_leave(c, catalog_stmt_run(c, s));
}

struct ranges {
	struct { uint64_t start, stop; } *v;
	size_t n, room;
};

static int push(struct ranges *a, uint64_t start, uint64_t stop)
{
	if (a->n == a->room) {
		size_t room = a->room ? 2 * a->room : 64;
		void *v = reallocarray(a->v, room, sizeof *a->v);

		if (!v)
			return -ENOMEM;
		a->v = v;
		a->room = room;
	}
	a->v[a->n].start = start;
	a->v[a->n++].stop = stop;
	return 0;
}

static int collect(struct catalog *c, uint64_t oid, struct ranges *all)
{
	sqlite3_stmt *s;
	int r;

	catalog_lock(c);
	s = catalog_stmt_of(c, STMT_RANGE_ALL);
	sqlite3_bind_int64(s, 1, (int64_t)oid);
	while ((r = catalog_stmt_step(c, s)) == 1) {
		r = push(all, (uint64_t)catalog_stmt_int(s, 0), (uint64_t)catalog_stmt_int(s, 1));
		if (r) {
			catalog_stmt_done(s);
			break;
		}
	}
	catalog_unlock(c);
	return r;
}

/* fn runs without the connection: it may call the catalog. */
int catalog_range_each(struct catalog *c, uint64_t oid,
		       int (*fn)(void *arg, uint64_t start, uint64_t end), void *arg)
{
	struct ranges all = { 0 };
	int r = collect(c, oid, &all);

	for (size_t i = 0; i < all.n && !r; i++)
		r = fn(arg, all.v[i].start, all.v[i].stop);
	free(all.v);
	return r;
}
