/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Looking back: what became of every object (the ledger, D8), whether the
 * target still holds what was migrated (verify), and whether catalog and
 * target agree with each other (check-state).
 *
 * Nothing here changes the target.  The engine is not needed: the jobs work on a catalog, and for
 * verify and check-state on the target's backing directory, by handles.
 *
 * Threads: a job runs in the caller's thread and calls back from it; a job on a live
 * migration takes the catalog's connection for a page of rows at a time only.
 * Errors: 0 or -errno with one clear line.  Findings are results, not errors.
 */
#ifndef DMM_AUDIT_AUDIT_H
#define DMM_AUDIT_AUDIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "catalog/catalog.h"
#include "source/source.h"
#include "target/target.h"

/* The path of an object on the source, relative to the source's root, from the names in the catalog ("" for the root).  Cut with "..." in
 * front when it does not fit.  -ENOENT, -EUCLEAN (a loop). */
int audit_path(struct catalog *c, uint64_t oid, char *buf, size_t n);

/* ---- the ledger (report.c) ---- */

enum audit_list {
	AUDIT_OVERWRITTEN, AUDIT_DELETED, AUDIT_SHADOWED, AUDIT_EXCLUDED,
	AUDIT_FAILED,		/* given up on */
	AUDIT_QUARANTINED,	/* waits for a retry */
	AUDIT_LISTS
};

struct audit_object {
	enum audit_list list;
	uint64_t oid, size;
	uint8_t type;			/* enum catalog_type */
	const char *path, *reason;	/* reason "" = none; both valid during the call only */
	int code;			/* errno of the reason, 0 = none */
};

struct audit_ledger {
	enum catalog_phase phase;
	struct catalog_counters counters;
	uint64_t found_objects, found_bytes;	/* sums over all states */
	uint64_t waiting_objects, waiting_bytes;	/* FOUND and QUARANTINED: not terminal; CLEANING counts as migrated or overwritten */
	uint64_t checksums;			/* regular files that carry one */
	bool balanced;		/* counted from the rows = what the ledger says, and nothing waits when DETACHED */
};

/* Every object of the lists to `each` (may be NULL), and the sums.  One pass over the rows in pages.  each returns non-zero to stop, and
 * stop (may be NULL), asked once a page, true: then -EINTR. */
int audit_report(struct catalog *c, struct audit_ledger *out, int (*each)(void *arg, const struct audit_object *o),
		 bool (*stop)(void *arg), void *arg, struct err *e);

/* ---- verify (verify.c) ---- */

enum audit_verdict {
	AUDIT_SAME,		/* the bytes on the disk are those that were migrated */
	AUDIT_CHANGED,		/* differs, and an application has changed it since (times or size say so) */
	AUDIT_SUSPECT,		/* differs; ctime moved, but size and mtime are as migrated */
	AUDIT_DAMAGED,		/* differs, and nothing has touched the inode since it was migrated (D8) */
	AUDIT_GONE,		/* the inode does not exist any more: deleted by an application */
	AUDIT_UNREADABLE,	/* the disk says EIO, or it cannot be opened */
	AUDIT_NO_CHECKSUM,	/* nothing to compare with: overwritten before it arrived, or migrated without one */
	AUDIT_SOURCE_CHANGED,	/* against the source: the source has another version now */
	AUDIT_WAITING,		/* not migrated yet */
	AUDIT_VERDICTS
};

struct audit_verify_config {
	struct catalog *catalog;
	struct target *target;
	struct source *source;		/* NULL: compare with the recorded checksums; else with the source's bytes again */
	uint64_t rate;			/* bytes/s read from the target, 0 = no limit */
	bool restart;			/* forget an earlier, unfinished verification */
	unsigned depth;			/* files in work at once; 0 = a default */
};

struct audit_verify_progress {
	uint64_t files[AUDIT_VERDICTS];	/* so far, over all resumed parts */
	uint64_t done_files, done_bytes, total_files, total_bytes;	/* objects of all types; bytes of regular files */
	bool resumed;			/* began where an earlier one stopped */
	bool finished;
};

struct audit_finding {
	uint64_t oid;
	enum audit_verdict verdict;	/* CHANGED, SUSPECT, DAMAGED, GONE, UNREADABLE, SOURCE_CHANGED */
	const char *path, *text;
};

struct audit_verify_calls {
	void (*finding)(void *arg, const struct audit_finding *f);
	void (*progress)(void *arg, const struct audit_verify_progress *p);	/* about once a second */
	bool (*stop)(void *arg);		/* asked often; true: end with -EINTR, to be resumed */
	void *arg;
};

/*
 * Reads from the disk, never from the page cache (O_DIRECT; where that is refused, cached pages are written back and dropped before
 * reading).  Position and counts are kept in the catalog, so that an interrupted verification goes on; findings
 * of earlier parts are told again.  Files are opened by handle, never by name, never written.
 */
int audit_verify(const struct audit_verify_config *cfg, const struct audit_verify_calls *calls,
		 struct audit_verify_progress *out, struct err *e);

/* ---- check-state (state.c) ---- */

struct audit_problem {
	uint64_t oid;		/* 0: not about one object */
	const char *text;	/* one line: what was expected, what is there */
};

struct audit_state {
	uint64_t rows, inodes, marks, problems;
};

/*
 * The catalog against itself (SQLite's own check, every index and counter against the rows, legal states, parents) and
 * against the target (every mark has its row and every row its inode and mark as the state demands; stamps; no torn stub, no holder,
 * no mark where there must be none).  The migration must not be running: the caller holds its locks.
 * target may be NULL when the phase is DETACHED and the directory is gone.
 */
int audit_state(struct catalog *c, struct target *t,
		void (*problem)(void *arg, const struct audit_problem *p), void *arg,
		struct audit_state *out, struct err *e);

#endif
