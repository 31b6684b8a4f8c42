/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the files of the catalog share.  Nobody else includes this, except the
 * catalog's own tests, which replace the hooks.
 *
 * Locks, in the order in which they may be taken:
 *   writer   held from catalog_begin() to the end of the transaction, and by a
 *            checkpoint for all its steps: while it is held no frame is added to the WAL
 *   conn     held while SQLite is called; recursive, so that the owner of a
 *            transaction may read.  Never held over a disk flush.
 *   flush.m  the tickets; published.m the counters that everybody may see.  Leaves.
 */
#ifndef DMM_CATALOG_INTERNAL_H
#define DMM_CATALOG_INTERNAL_H

#include <limits.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/size.h"
#include "catalog/catalog.h"

#define CATALOG_APPLICATION_ID 0x444d4d63	/* "DMMc" */
#define CATALOG_FILE "catalog.db"
#define CATALOG_WAL "catalog.db-wal"
#define CATALOG_BALLAST "ballast"
#define CATALOG_BALLAST_SIZE MIB(1)
#define CATALOG_EVENTS_MAX 10000
#define CATALOG_OID_MAX ((1ull << 39) - 1)	/* parent and 24 bits of hash make one key */

/* One step of an upgrade: from this version to the next, in one transaction. */
struct catalog_step {
	int from;
	const char *sql;
};

/* What tests replace.  The defaults are in catalog.c. */
struct catalog_hooks {
	int (*flush)(void *arg, int fd);	/* make this file durable: 0 or -errno */
	void *arg;
	int schema;				/* the version this program writes */
	const struct catalog_step *steps;
	unsigned steps_n;
	uint64_t wal_max;			/* bytes of WAL that make a committer checkpoint */
	int page_max;				/* 0, or max_page_count: a small disk */
};

enum catalog_stmt {
	STMT_BEGIN, STMT_COMMIT, STMT_ROLLBACK,
	STMT_META_SET, STMT_META_GET,
	STMT_NUMBER_SET, STMT_NUMBER_GET,
	STMT_LEDGER_SET, STMT_LEDGER_GET,
	STMT_OBJECT_ADD, STMT_OBJECT_GET, STMT_OBJECT_ATTR, STMT_OBJECT_SET_ATTR,
	STMT_OBJECT_SET_CHECKSUM, STMT_OBJECT_SET_PROMISE, STMT_OBJECT_SET_CTIME, STMT_OBJECT_WALK,
	STMT_NAME_ADD, STMT_NAME_FIND,
	STMT_LINK_ADD, STMT_LINK_FIND, STMT_LINK_DEL, STMT_ALIAS_ADD, STMT_ALIAS_COUNT,
	STMT_LIST, STMT_LIST_NEXT, STMT_LIST_INTENTS, STMT_LIST_INTENTS_NEXT,
	STMT_INTENT_ADD, STMT_INTENT_DEL,
	STMT_RANGE_TOUCHING, STMT_RANGE_ADD, STMT_RANGE_DEL, STMT_RANGE_DROP, STMT_RANGE_ALL,
	STMT_REASON_SET, STMT_REASON_GET, STMT_REASON_DEL,
	STMT_EVENT_ADD, STMT_EVENT_TRIM, STMT_EVENT_LIST,
	STMT_FINDING_SET, STMT_FINDING_CLEAR, STMT_FINDING_NEXT,
	STMT_COUNT
};

/* What a transaction changes in memory; put back by a rollback. */
struct catalog_numbers {
	struct catalog_counters counters;
	uint64_t next_oid;
	uint64_t fsid;			/* the usual one (of the first row); not stored in rows */
	bool fsid_known;
};

struct catalog_flush {
	pthread_mutex_t m;
	pthread_cond_t cond;
	uint64_t durable;		/* every ticket up to this one is on the disk */
	bool running;			/* somebody flushes */
	_Atomic uint64_t ended;		/* tickets given out: commits that ended */
	_Atomic bool poisoned;
};

struct catalog {
	struct catalog_hooks hooks;
	sqlite3 *db;
	sqlite3_stmt *stmt[STMT_COUNT];
	int dir_fd, db_fd, wal_fd;	/* db_fd must not be closed before the connection: POSIX locks */
	bool ballast;

	pthread_mutex_t writer, conn;
	bool in_tx;			/* under conn */
	bool wrote;			/* this transaction added frames */
	int tx_err;			/* -errno: it can only be rolled back */
	struct catalog_numbers now, before;
	_Atomic uint64_t wal_bytes;

	struct catalog_flush flush;
	struct {
		pthread_mutex_t m;
		struct catalog_counters counters;
	} published;
};

/* The integer `attr` of a row: see doc/catalog.md.  All values take 3 bytes, so that no
 * transition makes a row grow. */
enum { ATTR_LIST_DIRS = 1, ATTR_LIST_CONTENT, ATTR_LIST_CLEANING, ATTR_LIST_QUARANTINED, ATTR_LIST_NONE = 7 };
enum { ATTR_FLAGS_MAX = 7, ATTR_HAS_CHECKSUM = 8 };
#define ATTR_WAITING "7340032"		/* ATTR_LIST_NONE << 20: waiting rows are below */

/* catalog.c */
int catalog_open_with(const char *dir, bool create, const struct catalog_hooks *hooks,
		      struct catalog_identity *id, struct catalog **out, bool *created, struct err *e);
void catalog_default_hooks(struct catalog_hooks *h);
void catalog_lock(struct catalog *c);		/* conn, for a read */
void catalog_unlock(struct catalog *c);

/* catalog_dir.c */
int catalog_dir_open(const char *dir, bool create, char path[PATH_MAX], int *fd, struct err *e);
int catalog_dir_database(int dir_fd, bool create, bool *created, struct err *e);
int catalog_dir_same_file(int dir_fd, const char *name, int *fd, struct err *e);

/* catalog_schema.c */
extern const struct catalog_step catalog_schema_steps[CATALOG_SCHEMA - 1];
int catalog_schema_setup(struct catalog *c, bool create, const struct catalog_identity *id,
			 bool *created, struct err *e);
int catalog_schema_identity(struct catalog *c, struct catalog_identity *id, struct err *e);
int catalog_schema_exec(struct catalog *c, const char *sql, struct err *e);

/* catalog_stmt.c */
int catalog_stmt_prepare(struct catalog *c, struct err *e);
void catalog_stmt_finalize(struct catalog *c);
int catalog_stmt_errno(int rc);
sqlite3_stmt *catalog_stmt_of(struct catalog *c, enum catalog_stmt which);
int catalog_stmt_step(struct catalog *c, sqlite3_stmt *s);	/* 1 a row (reset it yourself), 0 done (reset), -errno (reset) */
int catalog_stmt_run(struct catalog *c, sqlite3_stmt *s);	/* no row expected */
void catalog_stmt_done(sqlite3_stmt *s);
int64_t catalog_stmt_int(sqlite3_stmt *s, int col);

/* catalog_commit.c */
int catalog_commit_enter(struct catalog *c);	/* conn, if this thread owns a transaction that can go on */
int catalog_commit_leave(struct catalog *c, int r);

/* catalog_flush.c */
void catalog_flush_init(struct catalog_flush *f);
uint64_t catalog_flush_ticket(struct catalog *c, bool wrote);
int catalog_flush_wait(struct catalog *c, uint64_t ticket);
int catalog_flush_file(struct catalog *c, int fd);	/* poisons on failure */
bool catalog_flush_poisoned(struct catalog *c);
void catalog_flush_poison(struct catalog *c, int err, const char *what);

/* catalog_ballast.c */
void catalog_ballast_restore(struct catalog *c);
void catalog_ballast_release(struct catalog *c);

/* catalog_checkpoint.c */
int catalog_checkpoint_locked(struct catalog *c);	/* the caller has the writer lock, not conn */

/* catalog_codec.c */
int catalog_codec_check(const struct catalog_row *row);
bool catalog_codec_state_known(unsigned state);
bool catalog_codec_change_is_ctime(const struct catalog_row *row);
uint32_t catalog_codec_attr(const struct catalog_row *row);
uint32_t catalog_codec_relist(uint32_t attr);
unsigned catalog_codec_type(uint32_t attr);
unsigned catalog_codec_state(uint32_t attr);
unsigned catalog_codec_list(uint32_t attr);
unsigned catalog_codec_priority(uint32_t attr);
uint32_t catalog_codec_with_state(uint32_t attr, unsigned state);
uint32_t catalog_codec_with_priority(uint32_t attr, unsigned priority);
int64_t catalog_codec_name_key(uint64_t parent, const char *name, size_t n);
void catalog_codec_bind_time(sqlite3_stmt *s, int at, const struct catalog_time *t);
size_t catalog_codec_extra(const struct catalog *c, const struct catalog_row *row, uint8_t buf[80]);
int catalog_codec_row(const struct catalog *c, sqlite3_stmt *s, struct catalog_row *out);

/* catalog_meta.c */
int catalog_meta_load(struct catalog *c);
int catalog_meta_store(struct catalog *c);
int catalog_meta_number(struct catalog *c, const char *name, uint64_t value);

/* catalog_list.c */
int catalog_list_intent(struct catalog *c, uint64_t oid, uint32_t old_attr, uint32_t attr);

/* catalog_link.c */
int catalog_link_enter(struct catalog *c, const struct catalog_row *row);
int catalog_link_leave(struct catalog *c, const struct catalog_row *row);

/* catalog_state.c */
void catalog_state_book(struct catalog_counters *k, uint32_t attr, uint64_t size, bool in);
int catalog_state_look(struct catalog *c, uint64_t oid, uint32_t *attr, uint64_t *size);
int catalog_state_set_attr(struct catalog *c, uint64_t oid, uint32_t old, uint32_t attr);

/* catalog_log.c */
#define CATALOG_TEXT_MAX 600		/* a reason, an event, a finding */

#endif
