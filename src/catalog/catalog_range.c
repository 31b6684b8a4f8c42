/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Resident ranges of large files, [start, stop) in bytes, with the sum of the checksums of
 * their chunks.
 *
 * Invariants: the ranges of one object are disjoint and do not touch: adding
 * merges with every neighbour.  Only a regular file that waits for content has any: what is
 * added to another object is forgotten, because a record of its completion may have been faster.
 *
 * The sum is modulo 2^128, so that the order in which chunks arrive does not matter.  It is only
 * right if each chunk was counted exactly once: a range that is there already counts nothing,
 * and where two overlap otherwise the sum is not known any more.
 */
#include "internal.h"

#include <errno.h>
#include <string.h>

#include "base/checksum.h"

#define SUM_BYTES CHECKSUM_SIZE

struct range {
	int64_t start, stop;
	bool summed;
	uint8_t sum[SUM_BYTES];
};

static int put(struct catalog *c, uint64_t oid, const struct range *g)
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_RANGE_ADD);

	sqlite3_bind_int64(s, 1, (int64_t)oid);
	sqlite3_bind_int64(s, 2, g->start);
	sqlite3_bind_int64(s, 3, g->stop);
	sqlite3_bind_blob(s, 4, g->summed ? g->sum : NULL, SUM_BYTES, SQLITE_STATIC);
	return catalog_stmt_run(c, s);
}

static int del(struct catalog *c, uint64_t oid, int64_t start)
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_RANGE_DEL);

	sqlite3_bind_int64(s, 1, (int64_t)oid);
	sqlite3_bind_int64(s, 2, start);
	return catalog_stmt_run(c, s);
}

/* The columns start, stop, sum. */
static int read_range(sqlite3_stmt *s, struct range *g)
{
	*g = (struct range){ .start = catalog_stmt_int(s, 0), .stop = catalog_stmt_int(s, 1) };
	if (g->start < 0 || g->stop <= g->start)
		return -EUCLEAN;
	if (sqlite3_column_type(s, 2) == SQLITE_NULL)
		return 0;
	if (sqlite3_column_type(s, 2) != SQLITE_BLOB || sqlite3_column_bytes(s, 2) != SUM_BYTES)
		return -EUCLEAN;
	memcpy(g->sum, sqlite3_column_blob(s, 2), SUM_BYTES);
	g->summed = true;
	return 0;
}

/* The last range that starts at or before `upto`: 1, or 0 when there is none. */
static int touching(struct catalog *c, uint64_t oid, int64_t upto, struct range *g)
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_RANGE_TOUCHING);
	int r, bad;

	sqlite3_bind_int64(s, 1, (int64_t)oid);
	sqlite3_bind_int64(s, 2, upto);
	r = catalog_stmt_step(c, s);
	if (r == 1) {
		bad = read_range(s, g);
		catalog_stmt_done(s);
		r = bad ? bad : 1;
	}
	return r;
}

/* g grows by a range that touches or overlaps it. */
static void absorb(struct range *g, const struct range *other)
{
	bool apart = other->stop <= g->start || other->start >= g->stop;

	g->summed = g->summed && other->summed && apart;
	if (g->summed)
		checksum_add(g->sum, other->sum);
	g->start = other->start < g->start ? other->start : g->start;
	g->stop = other->stop > g->stop ? other->stop : g->stop;
}

static int merge(struct catalog *c, uint64_t oid, struct range *g)
{
	struct range other;
	int r;

	while ((r = touching(c, oid, g->stop, &other)) == 1 && other.stop >= g->start) {
		if (other.start <= g->start && other.stop >= g->stop)
			return 0;	/* there already */
		r = del(c, oid, other.start);
		if (r)
			return r;
		absorb(g, &other);
	}
	return r < 0 ? r : put(c, oid, g);
}

/* 1, or 0 when nothing can be resident in it any more. */
static int wants_ranges(struct catalog *c, uint64_t oid)
{
	uint32_t attr;
	uint64_t size;
	int r = catalog_state_look(c, oid, &attr, &size);

	if (r)
		return r;
	return catalog_codec_type(attr) == CATALOG_REG &&
	       (catalog_codec_state(attr) == CATALOG_FOUND || catalog_codec_state(attr) == CATALOG_QUARANTINED);
}

int catalog_range_add(struct catalog *c, uint64_t oid, uint64_t start, uint64_t end, const uint8_t sum[16])
{
	struct range g = { .start = (int64_t)start, .stop = (int64_t)end, .summed = sum };
	int r;

	if (!oid || oid > CATALOG_OID_MAX || start >= end || end > INT64_MAX)
		return -EINVAL;
	if (sum)
		memcpy(g.sum, sum, SUM_BYTES);
	r = catalog_commit_enter(c);
	if (r)
		return r;
	r = wants_ranges(c, oid);
	return catalog_commit_leave(c, r == 1 ? merge(c, oid, &g) : r);
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
	struct range *v;
	size_t n, room;
};

static int push(struct ranges *a, const struct range *g)
{
	if (a->n == a->room) {
		size_t room = a->room ? 2 * a->room : 64;
		void *v = reallocarray(a->v, room, sizeof *a->v);

		if (!v)
			return -ENOMEM;
		a->v = v;
		a->room = room;
	}
	a->v[a->n++] = *g;
	return 0;
}

static int collect(struct catalog *c, uint64_t oid, struct ranges *all)
{
	struct range g;
	sqlite3_stmt *s;
	int r;

	catalog_lock(c);
	s = catalog_stmt_of(c, STMT_RANGE_ALL);
	sqlite3_bind_int64(s, 1, (int64_t)oid);
	while ((r = catalog_stmt_step(c, s)) == 1) {
		r = read_range(s, &g);
		if (!r)
			r = push(all, &g);
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
		       int (*fn)(void *arg, uint64_t start, uint64_t end, const uint8_t *sum), void *arg)
{
	struct ranges all = { 0 };
	int r = collect(c, oid, &all);

	for (size_t i = 0; i < all.n && !r; i++)
		r = fn(arg, (uint64_t)all.v[i].start, (uint64_t)all.v[i].stop,
		       all.v[i].summed ? all.v[i].sum : NULL);
	free(all.v);
	return r;
}
