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

static void put(struct help *h, uint64_t oid, uint64_t parent, unsigned type, unsigned state, unsigned flags)
{
	struct catalog_row row;
	char name[24];

	snprintf(name, sizeof name, "object %lu", (unsigned long)oid);
	if (!parent)
		*name = 0;
	help_row(&row, oid, parent, name);
	row.type = (uint8_t)type;
	row.state = (uint8_t)state;
	row.flags = (uint8_t)flags;
	row.priority = oid % 3 ? 0 : 7;
	row.nlink = flags & CATALOG_F_LINKS ? 3 : 1;
	row.link_oid = type == CATALOG_HARDLINK ? 20 : 0;
	row.handle_len = type == CATALOG_HARDLINK ? 0 : 8;
	assert_int_equal(catalog_add(h->c, &row), 0);
	if (state == CATALOG_QUARANTINED || state == CATALOG_SHADOWED)
		assert_int_equal(catalog_reason_set(h->c, oid, EIO, "the server says no"), 0);
}

/* Objects 40 and up: as far as they can come. */
static void finish(struct help *h)
{
	static const unsigned ends[] = { CATALOG_MIGRATED, CATALOG_OVERWRITTEN };

	for (uint64_t oid = 40; oid < 44; oid++) {
		put(h, oid, 2, oid == 42 ? CATALOG_LNK : CATALOG_REG, CATALOG_FOUND,
		    oid == 41 ? CATALOG_F_MODIFIED : 0);
		assert_int_equal(catalog_transition(h->c, oid, 1, CATALOG_CLEANING, NULL), 0);
		if (oid != 42)
			assert_int_equal(catalog_set_checksum(h->c, oid, (const uint8_t *)"0123456789abcdef"), 0);
		assert_int_equal(catalog_transition(h->c, oid, 2, ends[oid == 41], NULL), 0);
		assert_int_equal(catalog_set_ctime(h->c, oid, (struct catalog_time){ 1800000000, 1 }), 0);
	}
	put(h, 44, 2, CATALOG_REG, CATALOG_FOUND, CATALOG_F_INTENT_DELETE);
	assert_int_equal(catalog_transition(h->c, 44, 1, CATALOG_DELETED, NULL), 0);
	put(h, 45, 2, CATALOG_DIR, CATALOG_QUARANTINED, 0);
	assert_int_equal(catalog_transition(h->c, 45, ~0u, CATALOG_FAILED, NULL), 0);
}

void help_fill(struct help *h)
{
	uint64_t first;

	assert_int_equal(catalog_reserve_oids(h->c, 100, &first), 0);
	assert_int_equal(catalog_begin(h->c), 0);
	put(h, 1, 0, CATALOG_DIR, CATALOG_FOUND, 0);
	put(h, 2, 1, CATALOG_DIR, CATALOG_CLEANING, 0);
	put(h, 3, 2, CATALOG_DIR, CATALOG_FOUND, 0);
	for (uint64_t oid = 10; oid < 16; oid++)
		put(h, oid, 1 + oid % 3, CATALOG_REG, oid % 2 ? CATALOG_FOUND : CATALOG_QUARANTINED, 0);
	put(h, 16, 1, CATALOG_LNK, CATALOG_CLEANING, 0);
	put(h, 17, 60, CATALOG_FIFO, CATALOG_SHADOWED, 0);
	put(h, 18, 1, CATALOG_REG, CATALOG_EXCLUDED, 0);
	put(h, 20, 2, CATALOG_REG, CATALOG_FOUND, CATALOG_F_LINKS);
	put(h, 21, 3, CATALOG_HARDLINK, CATALOG_MIGRATED, 0);
	put(h, 22, 3, CATALOG_HARDLINK, CATALOG_MIGRATED, 0);
	put(h, 30, 2, CATALOG_REG, CATALOG_FOUND, CATALOG_F_INTENT_DELETE);
	put(h, 60, 3, CATALOG_DIR, CATALOG_FOUND, 0);	/* younger than its child 17: legal */
	finish(h);
	for (uint64_t oid = 10; oid < 13; oid++) {
		assert_int_equal(catalog_range_add(h->c, oid, 0, 1000, (const uint8_t *)"fedcba9876543210"), 0);
		assert_int_equal(catalog_range_add(h->c, oid, 5000, 12345 + oid, NULL), 0);
	}
	assert_int_equal(catalog_finding_set(h->c, 40, 3, "damaged"), 0);
	assert_int_equal(catalog_event_add(h->c, 4711, "kind", "about nobody"), 0);
	assert_int_equal(catalog_commit(h->c), 0);
}

struct problems {
	char *text;
	size_t room;
	unsigned n;
};

static void problem(void *arg, uint64_t oid, const char *text)
{
	struct problems *p = arg;
	size_t at = strlen(p->text);

	assert_true(*text && !strchr(text, '\n'));
	snprintf(p->text + at, p->room - at, "%lu: %s\n", (unsigned long)oid, text);
	p->n++;
}

unsigned help_problems(struct help *h, char *text, size_t n)
{
	struct problems p = { text, n, 0 };

	*text = 0;
	assert_int_equal(catalog_check(h->c, problem, &p), 0);
	return p.n;
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
