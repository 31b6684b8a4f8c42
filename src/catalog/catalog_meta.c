/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Small values, the phase, oids, and the copy of the ledger in the file.
 *
 * Oids are reserved in blocks by a commit of its own (D1): a crash loses the
 * rest of a block and never gives an oid out twice.
 *
 * Byte sums are modulo 2^64: a source of sparse files can promise more, and
 * what was added can still be subtracted.
 */
#include "internal.h"

#include <errno.h>
#include <string.h>

#include "base/point.h"

#define META_MAX 4096
#define PHASE "phase"

static int key_ok(const char *key)
{
	return *key && strlen(key) <= 64 ? 0 : -EINVAL;
}

int catalog_meta_set(struct catalog *c, const char *key, const void *value, size_t n)
{
	sqlite3_stmt *s;
	int r;

	if (key_ok(key) || n > META_MAX)
		return -EINVAL;
	r = catalog_commit_enter(c);
	if (r)
		return r;
	s = catalog_stmt_of(c, STMT_META_SET);
	sqlite3_bind_text(s, 1, key, -1, SQLITE_STATIC);
	sqlite3_bind_blob64(s, 2, n ? value : "", n, SQLITE_STATIC);
	return catalog_commit_leave(c, catalog_stmt_run(c, s));
}

int catalog_meta_get(struct catalog *c, const char *key, void *value, size_t *n)
{
	sqlite3_stmt *s;
	size_t len;
	int r;

	if (key_ok(key))
		return -EINVAL;
	catalog_lock(c);
	s = catalog_stmt_of(c, STMT_META_GET);
	sqlite3_bind_text(s, 1, key, -1, SQLITE_STATIC);
	r = catalog_stmt_step(c, s);
	if (r == 1) {
		const void *p = sqlite3_column_blob(s, 0);

		len = (size_t)sqlite3_column_bytes(s, 0);
		r = len > *n ? -ERANGE : 0;
		if (!r && len)
			memcpy(value, p, len);
		*n = len;
		catalog_stmt_done(s);
	} else if (!r)
		r = -ENOENT;
	catalog_unlock(c);
	return r;
}

int catalog_meta_number(struct catalog *c, const char *name, uint64_t value)
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_NUMBER_SET);

	sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
	sqlite3_bind_int64(s, 2, (int64_t)value);
	return catalog_stmt_run(c, s);
}

static int load_number(struct catalog *c, const char *name, uint64_t *value)
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_NUMBER_GET);
	int r;

	sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
	r = catalog_stmt_step(c, s);
	if (r != 1)
		return r ? r : -ENOENT;
	*value = (uint64_t)catalog_stmt_int(s, 0);
	catalog_stmt_done(s);
	return 0;
}

static int load_ledger(struct catalog *c)
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_LEDGER_GET);
	int r;

	while ((r = catalog_stmt_step(c, s)) == 1) {
		int64_t state = catalog_stmt_int(s, 0);
		int64_t objects = catalog_stmt_int(s, 1);

		if (state < 0 || state >= CATALOG_STATE_COUNT || objects < 0) {
			catalog_stmt_done(s);
			return -EUCLEAN;
		}
		c->now.counters.objects[state] = (uint64_t)objects;
		c->now.counters.bytes[state] = (uint64_t)catalog_stmt_int(s, 2);
	}
	return r;
}

/* At open: a dozen rows, whatever the size of the catalog. */
int catalog_meta_load(struct catalog *c)
{
	int r = load_ledger(c);

	if (!r)
		r = load_number(c, "next_oid", &c->now.next_oid);
	if (!r)
		r = load_number(c, "directories_unlisted", &c->now.counters.directories_unlisted);
	if (!r) {
		r = load_number(c, "fsid", &c->now.fsid);
		c->now.fsid_known = !r;
	}
	if (c->now.next_oid <= CATALOG_ROOT_OID)
		return -EUCLEAN;
	return r == -ENOENT ? 0 : r;
}

static int store_ledger(struct catalog *c, int state)
{
	sqlite3_stmt *s = catalog_stmt_of(c, STMT_LEDGER_SET);

	sqlite3_bind_int(s, 1, state);
	sqlite3_bind_int64(s, 2, (int64_t)c->now.counters.objects[state]);
	sqlite3_bind_int64(s, 3, (int64_t)c->now.counters.bytes[state]);
	return catalog_stmt_run(c, s);
}

/* What this transaction changed. */
int catalog_meta_store(struct catalog *c)
{
	const struct catalog_counters *n = &c->now.counters, *b = &c->before.counters;
	int r = 0;

	for (int i = 0; i < CATALOG_STATE_COUNT && !r; i++)
		if (n->objects[i] != b->objects[i] || n->bytes[i] != b->bytes[i])
			r = store_ledger(c, i);
	if (!r && n->directories_unlisted != b->directories_unlisted)
		r = catalog_meta_number(c, "directories_unlisted", n->directories_unlisted);
	if (!r && c->now.next_oid != c->before.next_oid)
		r = catalog_meta_number(c, "next_oid", c->now.next_oid);
	if (!r && c->now.fsid_known && !c->before.fsid_known)
		r = catalog_meta_number(c, "fsid", c->now.fsid);
	return r;
}

static int get_phase(struct catalog *c, uint32_t *phase)
{
	size_t n = sizeof *phase;
	int r = catalog_meta_get(c, PHASE, phase, &n);

	if (r == -ENOENT) {
		*phase = CATALOG_RUNNING;	/* of a catalog that was just made */
		return 0;
	}
	if (r == -ERANGE || (!r && (n != sizeof *phase || *phase > CATALOG_DETACHED)))
		return -EUCLEAN;
	return r;
}

enum catalog_phase catalog_phase(struct catalog *c)
{
	uint32_t phase;

	return get_phase(c, &phase) ? CATALOG_RUNNING : (enum catalog_phase)phase;
}

int catalog_set_phase(struct catalog *c, enum catalog_phase to)
{
	uint32_t now, value = to;
	int r;

	if (value > CATALOG_DETACHED)
		return -EINVAL;
	r = catalog_begin(c);
	if (r)
		return r;
	r = get_phase(c, &now);
	if (!r && now != value)
		r = now + 1 == value ? catalog_meta_set(c, PHASE, &value, sizeof value) : -ESTALE;
	if (r) {
		catalog_rollback(c);
		return r;
	}
	return catalog_commit(c);	/* a step that was made is durable too when this returns */
}

uint64_t catalog_next_oid(struct catalog *c)
{
	uint64_t next;

	catalog_lock(c);
	next = c->now.next_oid;
	catalog_unlock(c);
	return next;
}

/* A control: oids as they would be without D1's reservation, behind the last one that is recorded. */
static int oids_behind_the_last(struct catalog *c, uint64_t n, uint64_t *first)
{
	sqlite3_stmt *s = NULL;
	int r;

	catalog_lock(c);
	errno = 0;
	r = catalog_stmt_errno(sqlite3_prepare_v2(c->db, "SELECT max(oid) FROM object", -1, &s, NULL));
	if (!r && (r = catalog_stmt_step(c, s)) == 1) {
		uint64_t last = (uint64_t)catalog_stmt_int(s, 0);

		*first = c->now.next_oid > last ? c->now.next_oid : last + 1;
		c->now.next_oid = *first + n;	/* in memory only */
		r = 0;
	}
	sqlite3_finalize(s);
	catalog_unlock(c);
	return r;
}

int catalog_reserve_oids(struct catalog *c, uint64_t n, uint64_t *first)
{
	uint64_t got;
	int r;

	if (!n || n > CATALOG_OID_MAX)
		return -EINVAL;
	if (POINT_STEP("rule.oids-ahead") == POINT_SKIP)
		return oids_behind_the_last(c, n, first);
	r = catalog_begin(c);
	if (r)
		return r;
	got = c->now.next_oid;
	if (got + n - 1 > CATALOG_OID_MAX) {
		catalog_rollback(c);
		return -EOVERFLOW;
	}
	c->now.next_oid = got + n;
	r = catalog_commit(c);
	if (!r)
		*first = got;
	return r;
}
