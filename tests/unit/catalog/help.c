/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "help.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

int help_open(struct help *h, bool create, bool *created, struct err *e)
{
	struct catalog_identity id = h->id;
	bool made;
	int r = catalog_open_with(h->dir, create, &h->hooks, &id, &h->c, created ? created : &made, e);

	if (!r)
		h->id = id;
	else
		h->c = NULL;
	return r;
}

int help_setup(void **state)
{
	struct help *h = calloc(1, sizeof *h);
	struct err e = { 0 };
	bool created;

	/* in memory if possible: these tests are about order and bookkeeping, not about the disk */
	snprintf(h->dir, sizeof h->dir, "%s/dmm-catalog-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	assert_non_null(mkdtemp(h->dir));
	catalog_default_hooks(&h->hooks);
	memset(h->id.migration, 0xa5, sizeof h->id.migration);
	h->id.reserved_id = 4000000001u;
	strcpy(h->id.source, "nfs://server/export");
	strcpy(h->id.target, "/srv/data");
	if (help_open(h, true, &created, &e))
		fail_msg("%s", e.text);
	assert_true(created);
	*state = h;
	return 0;
}

int help_teardown(void **state)
{
	struct help *h = *state;
	struct dirent *d;
	DIR *dir;

	catalog_close(h->c);
	dir = opendir(h->dir);
	while ((d = readdir(dir)))
		if (d->d_name[0] != '.')
			unlinkat(dirfd(dir), d->d_name, 0);
	closedir(dir);
	rmdir(h->dir);
	free(h);
	return 0;
}

void help_reopen(struct help *h)
{
	struct err e = { 0 };
	bool created = true;

	assert_int_equal(catalog_close(h->c), 0);
	if (help_open(h, false, &created, &e))
		fail_msg("%s", e.text);
	assert_false(created);
}

void help_sql(struct help *h, const char *sql)
{
	if (sqlite3_exec(h->c->db, sql, NULL, NULL, NULL))
		fail_msg("%s: %s", sql, sqlite3_errmsg(h->c->db));
}

int64_t help_value(struct help *h, const char *sql)
{
	sqlite3_stmt *s;
	int64_t v;

	if (sqlite3_prepare_v2(h->c->db, sql, -1, &s, NULL) || sqlite3_step(s) != SQLITE_ROW)
		fail_msg("%s: %s", sql, sqlite3_errmsg(h->c->db));
	v = sqlite3_column_int64(s, 0);
	sqlite3_finalize(s);
	return v;
}

void help_row(struct catalog_row *row, uint64_t oid, uint64_t parent, const char *name)
{
	*row = (struct catalog_row){
		.oid = oid, .parent = parent, .type = CATALOG_REG, .state = CATALOG_FOUND,
		.size = 12345 + oid, .used = (12345 + oid + 4095) & ~4095ull,
		.fsid = 0x1234567890abcdefull, .fileid = 1000000 + oid, .nlink = 1,
		.mtime = { 1700000000 + (int64_t)oid, 123456789 },
		.ctime = { 1710000000 + (int64_t)oid, 987654321 },
		.handle_len = 8,
	};
	memcpy(row->handle, &oid, 8);
	row->name_len = (uint16_t)strlen(name);
	strcpy(row->name, name);
}

void help_add(struct help *h, const struct catalog_row *row)
{
	assert_int_equal(catalog_begin(h->c), 0);
	assert_int_equal(catalog_add(h->c, row), 0);
	assert_int_equal(catalog_commit(h->c), 0);
}

static void time_equal(const struct catalog_time *a, const struct catalog_time *b)
{
	assert_int_equal(a->sec, b->sec);
	assert_int_equal(a->nsec, b->nsec);
}

void help_row_equal(const struct catalog_row *a, const struct catalog_row *b)
{
	assert_int_equal(a->oid, b->oid);
	assert_int_equal(a->parent, b->parent);
	assert_int_equal(a->type, b->type);
	assert_int_equal(a->state, b->state);
	assert_int_equal(a->flags, b->flags);
	assert_int_equal(a->priority, b->priority);
	assert_int_equal(a->link_oid, b->link_oid);
	assert_int_equal(a->size, b->size);
	assert_int_equal(a->used, b->used);
	assert_int_equal(a->fsid, b->fsid);
	assert_int_equal(a->fileid, b->fileid);
	assert_int_equal(a->change, b->change);
	assert_int_equal(a->nlink, b->nlink);
	time_equal(&a->atime, &b->atime);
	time_equal(&a->mtime, &b->mtime);
	time_equal(&a->ctime, &b->ctime);
	assert_int_equal(a->handle_len, b->handle_len);
	assert_memory_equal(a->handle, b->handle, a->handle_len);
	assert_int_equal(a->has_checksum, b->has_checksum);
	if (a->has_checksum)
		assert_memory_equal(a->checksum, b->checksum, sizeof a->checksum);
	assert_int_equal(a->name_len, b->name_len);
	assert_memory_equal(a->name, b->name, a->name_len + 1u);
}

static void check_state(struct help *h, const struct catalog_counters *k, int state)
{
	char sql[200];

	snprintf(sql, sizeof sql, "SELECT count(*) FROM object WHERE (attr>>8)&15=%d"
		 " AND (attr>>4)&15<>8", state);
	assert_int_equal(help_value(h, sql), k->objects[state]);
	snprintf(sql, sizeof sql, "SELECT coalesce(sum(size),0) FROM object WHERE (attr>>8)&15=%d"
		 " AND (attr>>4)&15=1", state);
	assert_int_equal(help_value(h, sql), k->bytes[state]);
	snprintf(sql, sizeof sql, "SELECT coalesce((SELECT objects FROM ledger WHERE state=%d),0)", state);
	assert_int_equal(help_value(h, sql), k->objects[state]);
	snprintf(sql, sizeof sql, "SELECT coalesce((SELECT bytes FROM ledger WHERE state=%d),0)", state);
	assert_int_equal(help_value(h, sql), k->bytes[state]);
}

void help_check_ledger(struct help *h)
{
	struct catalog_counters k;

	assert_int_equal(catalog_counters(h->c, &k), 0);
	for (int i = 0; i < CATALOG_STATE_COUNT; i++)
		check_state(h, &k, i);
	assert_int_equal(help_value(h, "SELECT count(*) FROM object WHERE (attr>>8)&15=0"
				    " AND (attr>>4)&15=2"), k.directories_unlisted);
	assert_int_equal(help_value(h, "SELECT value FROM number WHERE name='directories_unlisted'"),
			 k.directories_unlisted);
	assert_int_equal(help_value(h, "SELECT count(*) FROM object"),
			 help_value(h, "SELECT count(*) FROM name"));
}
