/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Folding the WAL into the database, with flushes of our own.
 *
 * SQLite would sync inside its checkpoint and, after a reset of the WAL,
 * inside the first commit: each time with the connection held, so that readers
 * would wait for the disk.  The connection therefore runs with synchronous=OFF
 * and this file makes the same order by itself, without conn:
 *
 *   1  fdatasync(WAL)     what is copied next is durable in the WAL
 *   2  checkpoint PASSIVE copies pages into the database; the WAL stays
 *   3  fdatasync(db)      the WAL is now redundant
 *   4  checkpoint TRUNCATE  nothing left to copy; the WAL becomes empty
 *   5  fsync(WAL)         its emptiness is durable
 *
 * The writer lock is held throughout: no frame is added between 1 and 5.
 * Step 5 replaces the sync of a new WAL header that synchronous=NORMAL makes: that one exists
 * because frames of a new round could reach the disk before the new header and
 * leave a valid beginning of the old round.  After 5 no old frame exists.
 *
 * A crash after 1 or 2: the WAL is whole and is replayed over the partly
 * written database.  After 3 or 4: the WAL is whole (replayed, same pages) or empty.
 * A failed flush poisons (catalog_flush.c); steps that merely fail for lack
 * of room leave WAL and database as after step 1.
 *
 * Left out on purpose: SQLite's own checkpoint on close and automatic ones.
 */
#include "internal.h"

#include <errno.h>
#include <sys/stat.h>

#include "base/point.h"

#define VACUUM_PAGES 512	/* given back at most, a checkpoint */

/* Give free pages at the end back to the file system, once they are worth it: lists shrink, files do not. */
static int vacuum(struct catalog *c)
{
	sqlite3_stmt *s = NULL;
	int64_t unused = 0, pages = 0;
	char sql[64];

	if (sqlite3_prepare_v2(c->db, "SELECT freelist_count,page_count FROM"
			       " pragma_freelist_count,pragma_page_count", -1, &s, NULL))
		return 0;
	if (sqlite3_step(s) == SQLITE_ROW) {
		unused = sqlite3_column_int64(s, 0);
		pages = sqlite3_column_int64(s, 1);
	}
	sqlite3_finalize(s);
	if (unused < 64 || unused < pages / 64)
		return 0;
	snprintf(sql, sizeof sql, "PRAGMA incremental_vacuum(%d)", VACUUM_PAGES);
	return catalog_stmt_errno(sqlite3_exec(c->db, sql, NULL, NULL, NULL));
}

static int fold(struct catalog *c, int mode)
{
	int frames = 0, copied = 0, rc;

	pthread_mutex_lock(&c->conn);
	errno = 0;
	rc = sqlite3_wal_checkpoint_v2(c->db, NULL, mode, &frames, &copied);
	pthread_mutex_unlock(&c->conn);
	if (rc)
		return catalog_stmt_errno(rc);
	return frames == copied ? 0 : -EBUSY;
}

int catalog_checkpoint_locked(struct catalog *c)
{
	int r;

	if (catalog_flush_poisoned(c))
		return -EIO;
	pthread_mutex_lock(&c->conn);
	vacuum(c);	/* an optimisation: what it could not do it does next time */
	pthread_mutex_unlock(&c->conn);
	r = catalog_flush_file(c, c->wal_fd);
	if (!r)
		r = fold(c, SQLITE_CHECKPOINT_PASSIVE);
	POINT("checkpoint.copied");
	if (!r)
		r = catalog_flush_file(c, c->db_fd);
	POINT("checkpoint.flushed");
	if (!r)
		r = fold(c, SQLITE_CHECKPOINT_TRUNCATE);
	POINT("checkpoint.truncated");
	if (!r)
		r = catalog_flush_file(c, c->wal_fd);
	if (!r)
		atomic_store(&c->wal_bytes, 0);
	return r;
}

int catalog_checkpoint(struct catalog *c)
{
	int r;

	if (pthread_mutex_lock(&c->writer))
		return -EDEADLK;
	r = catalog_checkpoint_locked(c);
	if (!r)
		catalog_ballast_restore(c);
	pthread_mutex_unlock(&c->writer);
	return r;
}

uint64_t catalog_wal_bytes(struct catalog *c)
{
	return atomic_load(&c->wal_bytes);
}

uint64_t catalog_disk_bytes(struct catalog *c)
{
	struct stat db, wal;

	if (fstat(c->db_fd, &db) || fstat(c->wal_fd, &wal))
		return 0;
	return (uint64_t)db.st_size + (uint64_t)wal.st_size;
}
