/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The catalog: what DMM knows durably about one migration (D2).
 *
 * The only user of SQLite.  One connection, exclusive locking mode, WAL
 * (FACTS: more connections can lose commits).  The connection is guarded by
 * one internal mutex; a call holds it for microseconds, because the disk
 * flush of a commit is not made under it:
 *
 *   catalog_begin()   take the connection for writing (blocks others briefly)
 *   catalog_...()     changes, idempotent and conditional on the prior state (D8)
 *   catalog_commit()  end the transaction, release the connection, then make it
 *                     durable (fdatasync of the WAL, shared between callers: one
 *                     flush serves every commit that ended before it began)
 *
 * so readers never wait for a flush.  Only when catalog_commit() has returned 0 may anyone
 * rely on the change.  If it fails, nothing of the transaction counts: the caller keeps its
 * items and tries again (-ENOSPC, -EIO); after a failed *flush* the catalog is
 * poisoned: every later commit fails with -EIO and the worker must end.
 *
 * Reads see the last transaction that ended, durable or not; callers that
 * need durability know it from their own commit.
 *
 * Threads: any.  Between begin and commit the caller's thread owns the connection;
 * read calls from that thread are allowed there.
 * Ownership: returned rows are copies in the caller's storage.
 * Errors: 0 or -errno; -ENOENT = no such row; -EINVAL = a value out of bounds, or a change outside a
 * transaction; -EUCLEAN = the file is damaged; -ENOSPC also for quotas and file size limits.  When SQLite
 * fails inside a transaction, everything after that in it fails with the same error, commit included.
 *
 * A full disk: the commit that meets it gives up the ballast and returns -ENOSPC; tried again, a small
 * one then succeeds.  Checkpoints take the ballast back when there is room.
 *
 * Budget: at most 120 bytes a row on disk with 20-byte names, all indices included.
 */
#ifndef DMM_CATALOG_CATALOG_H
#define DMM_CATALOG_CATALOG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define CATALOG_SCHEMA 2
#define CATALOG_ROOT_OID 1

/* Object states; doc/crash-safety.md draws them.  Terminal ones are the ledger's columns (D8). */
enum catalog_state {
	CATALOG_FOUND = 0,	/* stub is durable; content (or listing, for a directory) is missing */
	CATALOG_CLEANING = 1,	/* complete and durable; the mark may still be on the inode (D4) */
	CATALOG_QUARANTINED = 2, /* failed with a reason; waits for a retry */
	CATALOG_FIRST_TERMINAL = 8,
	CATALOG_MIGRATED = 8,
	CATALOG_OVERWRITTEN = 9, /* an application replaced (part of) the content before it arrived */
	CATALOG_DELETED = 10,	/* an application deleted it before it arrived */
	CATALOG_SHADOWED = 11,	/* an application's object had the name already */
	CATALOG_EXCLUDED = 12,
	CATALOG_FAILED = 13,	/* given up on */
	CATALOG_STATE_COUNT
};

enum catalog_type {	/* = DT_* >> 0 of <dirent.h> is not used: own, stable numbers */
	CATALOG_REG = 1, CATALOG_DIR, CATALOG_LNK, CATALOG_BLK, CATALOG_CHR, CATALOG_FIFO, CATALOG_SOCK,
	/* A further name of an object with several: only parent, name and link_oid count.  Not an
	 * object: not in the ledger. */
	CATALOG_HARDLINK = 8,
};

enum {	/* row flags */
	CATALOG_F_INTENT_DELETE = 1,	/* D5: an application is deleting the last name */
	CATALOG_F_MODIFIED = 2,	/* an application lowered the limit or wrote into it: ends as OVERWRITTEN, checksum void */
	CATALOG_F_LINKS = 4,		/* nlink > 1 on the source */
};

struct catalog_time {
	int64_t sec;
	uint32_t nsec;
};

struct catalog_row {
	uint64_t oid;		/* 0 never; unique for ever */
	uint64_t parent;	/* oid of the source directory; 0 for the root */
	uint8_t type, state, flags;
	uint8_t priority;	/* 0 first */
	uint64_t link_oid;	/* CATALOG_HARDLINK: the object */
	/* what the source promised (D7) */
	uint64_t size, used, fsid, fileid, change;
	uint32_t nlink;
	struct catalog_time atime, mtime, ctime;
	uint8_t handle[34];	/* struct target_handle of the stub, as stored; handle_len 0 = none */
	uint8_t handle_len;
	uint8_t checksum[16];	/* XXH3-128, canonical byte order; valid if has_checksum */
	bool has_checksum;
	uint16_t name_len;
	char name[256];		/* the server's spelling, NUL-terminated */
};

struct catalog_counters {
	uint64_t objects[CATALOG_STATE_COUNT], bytes[CATALOG_STATE_COUNT];	/* by state; bytes = source sizes of regular files */
	uint64_t directories_unlisted;	/* type DIR in state FOUND */
};

/* Identity of the migration, fixed when the catalog is made. */
struct catalog_identity {
	uint8_t migration[16];
	uint32_t reserved_id;
	char source[1024];	/* canonical URL */
	char target[4096];	/* absolute path */
};

enum catalog_phase { CATALOG_RUNNING = 0, CATALOG_DETACHING = 1, CATALOG_DETACHED = 2 };

struct catalog;

/*
 * Open DIR/catalog.db; create it when missing and `create` is given (identity in *id is
 * stored; otherwise *id is filled from the catalog).  Checks the schema version
 * (newer: -EPROTONOSUPPORT and a clear line; older: upgraded step by step in one transaction
 * each), integrity of the essentials, and the exclusive lock (-EBUSY). -ENOENT: none there.
 * DIR itself is made (0700) with `create`, one level.  -EINVAL: there is something else under that
 * name; -EUCLEAN: damaged; -EPERM: DIR is another user's or writable by others.
 * *created tells which it was.  What a killed worker left in the WAL is durable when this returns.
 */
int catalog_open(const char *dir, bool create, struct catalog_identity *id, struct catalog **out,
		 bool *created, struct err *e);
int catalog_close(struct catalog *c);	/* checkpoints; 0 or -errno */

/* -EDEADLK: this thread has begun already; -EIO: poisoned. After an error nothing has begun. */
int catalog_begin(struct catalog *c);
int catalog_commit(struct catalog *c);
void catalog_rollback(struct catalog *c);

/* Reserve n oids durably (own commit); *first is the first of them. */
int catalog_reserve_oids(struct catalog *c, uint64_t n, uint64_t *first);
uint64_t catalog_next_oid(struct catalog *c);	/* the first that is not reserved */

/*
 * The phase of the migration, and the only function that changes it: RUNNING -> DETACHING -> DETACHED, each step
 * from exactly its predecessor (-ESTALE otherwise; repeating a step that was made is 0).  Own commit, durable.
 */
int catalog_set_phase(struct catalog *c, enum catalog_phase to);
enum catalog_phase catalog_phase(struct catalog *c);

/* Small values: "stamp", "root_mode" ...; blob of at most 4096 bytes. Inside begin/commit. */
int catalog_meta_set(struct catalog *c, const char *key, const void *value, size_t n);
int catalog_meta_get(struct catalog *c, const char *key, void *value, size_t *n);	/* *n: room in, length out */

/* --- rows.  All changes inside begin/commit. --- */

/* Claim (parent, name).  -EEXIST if that name or oid has a row already (nothing changed).
 * Counts the object in the ledger unless it is a HARDLINK; with CATALOG_F_LINKS enters (fsid, fileid) -> oid in the link index
 * (the newest wins).  A name is 1..255 bytes without NUL and '/' (empty only for parent 0); oids are below 2^39.
 * A row begins in FOUND, CLEANING, QUARANTINED, SHADOWED or EXCLUDED (-EINVAL otherwise; HARDLINK rows in any). */
int catalog_add(struct catalog *c, const struct catalog_row *row);

/*
 * The one function that changes the state of an object.  Moves it from one of the states in from_mask (bits 1 << state) to
 * `to`; -ESTALE when it is in another one (nothing changed), with *actual (may be NULL) telling it; -EINVAL when
 * catalog_may_move() forbids the step for its type.  Keeps the counters; a step out of FOUND and QUARANTINED drops the ranges.
 */
int catalog_transition(struct catalog *c, uint64_t oid, unsigned from_mask, enum catalog_state to,
		       enum catalog_state *actual);
/* The state machines of doc/crash-safety.md as a table: files (and everything else that is not a directory), and directories.
 * Staying is legal; HARDLINK rows are not objects and move nowhere. */
bool catalog_may_move(enum catalog_type type, enum catalog_state from, enum catalog_state to);
/* Setting CATALOG_F_MODIFIED voids the checksum; a later set_checksum then has no effect (D8). */
int catalog_set_checksum(struct catalog *c, uint64_t oid, const uint8_t checksum[16]);
int catalog_set_flags(struct catalog *c, uint64_t oid, unsigned set, unsigned clear);
int catalog_set_priority(struct catalog *c, uint64_t oid, uint8_t priority);
/* A new promise of the source (retry after quarantine): type, size, used, fsid, fileid, nlink, times, change, and the handle when
 * handle_len is not 0; the state is untouched.  Keeps counters, lists and the link index (CATALOG_F_LINKS is set by nlink > 1 and
 * stays).  -EINVAL: HARDLINK rows.  Ranges go with the type; those of a file that stays one are the caller's to drop. */
int catalog_set_promise(struct catalog *c, const struct catalog_row *row);
/* The ctime column of an object that is complete: its ctime on the target, as DMM left it (0, 0: unknown, an application may have been
 * there).  Before that the column holds the source's.  A change attribute that was the source's ctime in nanoseconds (as many servers make
 * it) is forgotten with it: 0 then.  -EINVAL: an object that is not CLEANING, MIGRATED or OVERWRITTEN. */
int catalog_set_ctime(struct catalog *c, uint64_t oid, struct catalog_time ctime);

int catalog_get(struct catalog *c, uint64_t oid, struct catalog_row *out);
int catalog_find(struct catalog *c, uint64_t parent, const char *name, size_t name_len, struct catalog_row *out);
int catalog_find_link(struct catalog *c, uint64_t fsid, uint64_t fileid, uint64_t *oid);
/* How many source names (its own row and HARDLINK rows) of this object have been claimed. */
int catalog_count_names(struct catalog *c, uint64_t oid, uint32_t *n);

/* Work lists, in (priority, oid) order, strictly after the given position; up to max rows. *n = 0: the end.
 * `which` selects what waits: unlisted directories; content; marks to be removed (CLEANING); quarantined; intents. */
enum catalog_list { CATALOG_LIST_DIRS, CATALOG_LIST_CONTENT, CATALOG_LIST_CLEANING, CATALOG_LIST_QUARANTINED, CATALOG_LIST_INTENTS };
struct catalog_pos {
	uint8_t priority;
	uint64_t oid;
};
int catalog_list(struct catalog *c, enum catalog_list which, struct catalog_pos *pos, struct catalog_row *rows,
		 unsigned max, unsigned *n);

/* All rows, HARDLINKs too, in the order of their oids, after *oid (0 starts); *oid moves on.  *n = 0: the end.
 * -EUCLEAN: row *oid cannot be read, and called again the walk goes on behind it; or, when *oid did not move, the table cannot. */
int catalog_walk(struct catalog *c, uint64_t *oid, struct catalog_row *rows, unsigned max, unsigned *n);

/* --- resident ranges of large files: [start, end) in bytes, durably on the target --- */
/*
 * sum: the sum modulo 2^128 (big-endian bytes) of the checksums of the chunks in the range, NULL = not known.  Merging neighbours adds
 * their sums (not known + anything = not known).  A range that lies wholly inside one that is there changes nothing, so adding chunk by chunk
 * counts each exactly once; one that overlaps partly makes the merged sum not known.  An object that waits for no content (any more) gets
 * none: 0, nothing changed.
 */
int catalog_range_add(struct catalog *c, uint64_t oid, uint64_t start, uint64_t end, const uint8_t sum[16]);
int catalog_range_drop(struct catalog *c, uint64_t oid);	/* complete or refetched */
/* sum is NULL when it is not known. */
int catalog_range_each(struct catalog *c, uint64_t oid,
		       int (*fn)(void *arg, uint64_t start, uint64_t end, const uint8_t *sum), void *arg);

/* From memory, as of the last transaction that ended; never waits.  bytes are modulo 2^64. */
int catalog_counters(struct catalog *c, struct catalog_counters *out);

/* --- why an object is quarantined, failed or shadowed; and the log of notable events --- */
/* text NULL forgets the reason; texts are cut at 600 bytes. */
int catalog_reason_set(struct catalog *c, uint64_t oid, int code, const char *text);
int catalog_reason_get(struct catalog *c, uint64_t oid, int *code, char *text, size_t n);
int catalog_event_add(struct catalog *c, uint64_t oid, const char *kind, const char *text);	/* bounded: the oldest go */

struct catalog_event {
	uint64_t id, oid;	/* id: increasing */
	int64_t time;		/* seconds since 1970 */
	char kind[48], text[640];
};
/* Events after *pos (an id; 0 starts), oldest first; *pos moves on.  *n = 0: no more. */
int catalog_event_list(struct catalog *c, uint64_t *pos, struct catalog_event *out, unsigned max,
		       unsigned *n);

/* What a verification has found, kept until the next one begins: one per object, the text cut at 600 bytes.  Inside begin/commit but for
 * each(), which calls fn without the connection, in the order of oids. */
int catalog_finding_set(struct catalog *c, uint64_t oid, int code, const char *text);
int catalog_finding_clear(struct catalog *c);	/* all */
int catalog_finding_each(struct catalog *c, int (*fn)(void *arg, uint64_t oid, int code, const char *text), void *arg);

/*
 * The catalog against itself: SQLite's integrity check; counters, ledger, lists, intents, names, links and aliases against the rows; ranges
 * disjoint, inside the size, and only on files that are not complete; states that exist for the type; every parent there and a directory.
 * problem() gets one line each.  0, or -errno when the check itself could not be made.  Takes long; nobody else may work on the catalog.
 */
int catalog_check(struct catalog *c, void (*problem)(void *arg, uint64_t oid, const char *text), void *arg);

/* Housekeeping that may take long; call from a thread that nobody waits for: folds the WAL into the database.
 * Others may read meanwhile (they wait for the copying, about 1 ms a MiB, not for the flushes); begin waits
 * for all of it.  Call it every 8 MiB of WAL or so (catalog_wal_bytes()); beyond 64 MiB a commit does it. */
int catalog_checkpoint(struct catalog *c);

/* After -ENOSPC: room for more than the small commits that the ballast is kept for?  (8 MiB: a group, and the ballast again.) */
bool catalog_has_room(struct catalog *c);
/* And is the ballast back?  Asked after a checkpoint. */
bool catalog_has_ballast(struct catalog *c);

/* Bytes in the WAL; never waits. */
uint64_t catalog_wal_bytes(struct catalog *c);

/* Bytes on disk (database and WAL). */
uint64_t catalog_disk_bytes(struct catalog *c);

#endif
