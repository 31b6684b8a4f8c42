/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Transactions: who owns the connection, and what a transaction changes in
 * memory (the ledger's counters, the next oid) along with the file.
 *
 *   catalog_begin   writer, conn locked; BEGIN; `before` = `now`
 *   changes         `now` and tables together
 *   catalog_commit  counters stored; COMMIT; published = now; ticket; unlocked; flush
 *   any failure     ROLLBACK; now = before
 *
 * Invariant (D8): at every end of a transaction `now` equals what the tables
 * say: number and ledger are written by the transaction that changed them.
 */
#include "internal.h"

#include <errno.h>
#include <string.h>

#include "base/point.h"

int catalog_begin(struct catalog *c)
{
	int r;

	if (pthread_mutex_lock(&c->writer))
		return -EDEADLK;	/* this thread owns a transaction already */
	if (catalog_flush_poisoned(c)) {
		pthread_mutex_unlock(&c->writer);
		return -EIO;
	}
	pthread_mutex_lock(&c->conn);
	r = catalog_stmt_run(c, catalog_stmt_of(c, STMT_BEGIN));
	if (r) {
		pthread_mutex_unlock(&c->conn);
		pthread_mutex_unlock(&c->writer);
		return r;
	}
	c->in_tx = true;
	c->wrote = false;
	c->tx_err = 0;
	c->before = c->now;
	return 0;
}

/* The thread that owns the transaction passes the recursive lock; any other thread waits and then finds none. */
int catalog_commit_enter(struct catalog *c)
{
	int r;

	pthread_mutex_lock(&c->conn);
	r = !c->in_tx ? -EINVAL : c->tx_err;
	if (r)
		pthread_mutex_unlock(&c->conn);
	return r;
}

int catalog_commit_leave(struct catalog *c, int r)
{
	pthread_mutex_unlock(&c->conn);
	return r;
}

static void undo(struct catalog *c)
{
	c->in_tx = false;
	if (!sqlite3_get_autocommit(c->db))
		catalog_stmt_run(c, catalog_stmt_of(c, STMT_ROLLBACK));
	c->now = c->before;
}

static void release(struct catalog *c)
{
	pthread_mutex_unlock(&c->conn);
	pthread_mutex_unlock(&c->writer);
}

static void publish(struct catalog *c)
{
	pthread_mutex_lock(&c->published.m);
	c->published.counters = c->now.counters;
	pthread_mutex_unlock(&c->published.m);
}

/* A full disk: what the ballast and the WAL take is free for the next try, so that deletes work. */
static void make_room(struct catalog *c)
{
	catalog_ballast_release(c);
	if (!pthread_mutex_lock(&c->writer)) {
		catalog_checkpoint_locked(c);
		pthread_mutex_unlock(&c->writer);
	}
}

/* Under both locks.  *ticket is what to wait for. */
static int end_transaction(struct catalog *c, uint64_t *ticket)
{
	int r = c->tx_err ? c->tx_err : catalog_flush_poisoned(c) ? -EIO : 0;

	if (!r && memcmp(&c->now, &c->before, sizeof c->now))
		r = catalog_meta_store(c);
	if (!r)
		r = catalog_stmt_run(c, catalog_stmt_of(c, STMT_COMMIT));
	if (r) {
		undo(c);
		return r;
	}
	c->in_tx = false;
	publish(c);
	*ticket = catalog_flush_ticket(c, c->wrote);
	return 0;
}

int catalog_commit(struct catalog *c)
{
	uint64_t ticket = 0;
	int r;

	pthread_mutex_lock(&c->conn);
	if (!c->in_tx) {
		pthread_mutex_unlock(&c->conn);
		return -EINVAL;
	}
	r = end_transaction(c, &ticket);
	pthread_mutex_unlock(&c->conn);
	release(c);
	if (r == -ENOSPC)
		make_room(c);
	if (r)
		return r;
	POINT("catalog.committed");
	r = catalog_flush_wait(c, ticket);
	if (!r && atomic_load(&c->wal_bytes) > c->hooks.wal_max)
		catalog_checkpoint(c);	/* the last resort; its failure does not undo this commit */
	return r;
}

/* A full disk may show before the commit: when a large transaction does not fit the cache. */
void catalog_rollback(struct catalog *c)
{
	int r;

	pthread_mutex_lock(&c->conn);
	if (!c->in_tx) {
		pthread_mutex_unlock(&c->conn);
		return;
	}
	r = c->tx_err;
	undo(c);
	pthread_mutex_unlock(&c->conn);
	release(c);
	if (r == -ENOSPC)
		make_room(c);
}

int catalog_counters(struct catalog *c, struct catalog_counters *out)
{
	pthread_mutex_lock(&c->published.m);
	*out = c->published.counters;
	pthread_mutex_unlock(&c->published.m);
	return 0;
}
