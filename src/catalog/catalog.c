/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Opening and closing a catalog.
 *
 * Order at open: state directory, database file, SQLite with the exclusive lock, schema,
 * then our own descriptors for flushes (only once the lock is ours: see
 * catalog_dir.c), then a checkpoint.  That checkpoint makes durable whatever the WAL
 * of a killed worker holds before anybody reads it; also after a failed
 * flush, because it writes the pages anew.  Last the directory itself.
 *
 * Order at close: checkpoint, statements, connection, descriptors.  SQLite is told
 * not to checkpoint on close: it would do so without flushes.
 */
#include "internal.h"

#include <errno.h>
#include <string.h>

#include "base/point.h"

static const char settings[] =
	"PRAGMA locking_mode=EXCLUSIVE;"	/* before the first access: then there is no -shm file */
	"PRAGMA page_size=4096;"
	"PRAGMA auto_vacuum=INCREMENTAL;"
	"PRAGMA journal_mode=WAL;"
	"PRAGMA synchronous=OFF;"		/* catalog_checkpoint.c makes the flushes */
	"PRAGMA wal_autocheckpoint=0;"
	"PRAGMA trusted_schema=OFF;"
	"PRAGMA cell_size_check=ON;"
	"PRAGMA temp_store=MEMORY;"
	"PRAGMA cache_size=-16384;";

static int flush_file(void *arg, int fd)
{
	(void)arg;
	return fdatasync(fd) ? -errno : 0;
}

void catalog_default_hooks(struct catalog_hooks *h)
{
	*h = (struct catalog_hooks){
		.flush = flush_file,
		.schema = CATALOG_SCHEMA,
		.steps = catalog_schema_steps,
		.steps_n = CATALOG_SCHEMA - 1,
		.wal_max = MIB(64),
	};
}

void catalog_lock(struct catalog *c)
{
	pthread_mutex_lock(&c->conn);
}

void catalog_unlock(struct catalog *c)
{
	pthread_mutex_unlock(&c->conn);
}

/* After each commit that wrote: how long the WAL is. */
static int on_wal(void *arg, sqlite3 *db, const char *schema, int frames)
{
	struct catalog *c = arg;

	(void)db;
	(void)schema;
	c->wrote = true;
	atomic_store(&c->wal_bytes, 32 + (uint64_t)frames * (4096 + 24));
	return SQLITE_OK;
}

static struct catalog *new_catalog(const struct catalog_hooks *hooks)
{
	struct catalog *c = calloc(1, sizeof *c);
	pthread_mutexattr_t a;

	if (!c)
		return NULL;
	c->hooks = *hooks;
	c->dir_fd = c->db_fd = c->wal_fd = -1;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_settype(&a, PTHREAD_MUTEX_ERRORCHECK);
	pthread_mutex_init(&c->writer, &a);
	pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&c->conn, &a);
	pthread_mutexattr_destroy(&a);
	pthread_mutex_init(&c->published.m, NULL);
	catalog_flush_init(&c->flush);
	return c;
}

static void free_catalog(struct catalog *c)
{
	if (!c)
		return;
	catalog_stmt_finalize(c);
	sqlite3_close(c->db);		/* before db_fd */
	cleanup_close(&c->db_fd);
	cleanup_close(&c->wal_fd);
	cleanup_close(&c->dir_fd);
	free(c);
}

static int connect(struct catalog *c, const char *dir, struct err *e)
{
	char path[PATH_MAX + sizeof CATALOG_FILE];
	int rc;

	/* SQLite's count of its own memory costs a tenth of the time.  Refused, harmlessly, once SQLite runs. */
	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	snprintf(path, sizeof path, "%s/" CATALOG_FILE, dir);
	errno = 0;
	rc = sqlite3_open_v2(path, &c->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW |
			     SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
	if (rc != SQLITE_OK)
		return err_set(e, c->db ? catalog_stmt_errno(rc) : ENOMEM, "cannot open %s: %s", path,
			       sqlite3_errstr(rc));
	sqlite3_db_config(c->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	sqlite3_db_config(c->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	return catalog_schema_exec(c, settings, e);
}

static int limit_pages(struct catalog *c, struct err *e)
{
	char sql[64];

	if (!c->hooks.page_max)
		return 0;
	snprintf(sql, sizeof sql, "PRAGMA max_page_count=%d", c->hooks.page_max);
	return catalog_schema_exec(c, sql, e);
}

/* A full disk does not keep a migration from starting: then the WAL stays, made durable by step 1. */
static int first_checkpoint(struct catalog *c)
{
	int r = catalog_checkpoint(c);

	if (r != -ENOSPC)
		return r;
	catalog_ballast_release(c);
	r = catalog_checkpoint(c);
	return r == -ENOSPC ? 0 : r;
}

/* The lock is ours: descriptors for flushes, and everything durable that is there. */
static int settle(struct catalog *c, struct err *e)
{
	int r = catalog_dir_same_file(c->dir_fd, CATALOG_FILE, &c->db_fd, e);

	if (!r)
		r = catalog_dir_same_file(c->dir_fd, CATALOG_WAL, &c->wal_fd, e);
	if (r)
		return r;
	sqlite3_wal_hook(c->db, on_wal, c);
	r = first_checkpoint(c);
	if (!r && fsync(c->dir_fd))
		r = -errno;
	return r ? err_sys(e, r, "cannot make the catalog durable") : 0;
}

static int load(struct catalog *c, struct catalog_identity *id, struct err *e)
{
	int r = catalog_stmt_prepare(c, e);

	if (!r)
		r = catalog_schema_identity(c, id, e);
	if (r)
		return r;
	r = catalog_meta_load(c);
	if (r)
		return err_set(e, r, "the catalog is damaged: its ledger cannot be read");
	c->published.counters = c->now.counters;
	return 0;
}

int catalog_open_with(const char *dir, bool create, const struct catalog_hooks *hooks,
		      struct catalog_identity *id, struct catalog **out, bool *created, struct err *e)
{
	struct catalog *c = new_catalog(hooks);
	char path[PATH_MAX];
	struct err local;
	bool made;
	int r;

	if (!c)
		return err_set(e, ENOMEM, "no memory");
	e = e ? e : &local;
	r = catalog_dir_open(dir, create, path, &c->dir_fd, e);
	if (!r)
		r = catalog_dir_database(c->dir_fd, create, &made, e);
	if (!r)
		r = connect(c, path, e);
	if (!r)
		r = catalog_schema_setup(c, create, id, created, e);
	POINT("catalog.opened");
	if (!r)
		r = limit_pages(c, e);
	if (!r)
		r = settle(c, e);
	POINT("catalog.settled");
	if (!r)
		r = load(c, id, e);
	if (r) {
		free_catalog(c);
		err_wrap(e, "%s", dir);
		return r;
	}
	*out = c;
	return 0;
}

int catalog_open(const char *dir, bool create, struct catalog_identity *id, struct catalog **out,
		 bool *created, struct err *e)
{
	struct catalog_hooks hooks;

	catalog_default_hooks(&hooks);
	return catalog_open_with(dir, create, &hooks, id, out, created, e);
}

int catalog_close(struct catalog *c)
{
	int r;

	if (!c)
		return 0;
	r = catalog_flush_poisoned(c) ? -EIO : catalog_checkpoint(c);
	free_catalog(c);
	return r;
}
