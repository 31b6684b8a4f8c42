/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The engine: the migration itself.
 *
 * Knows which objects are where, fetches what applications wait for first and
 * everything else after, makes it durable in the order of D1-D6, and says
 * when nothing is left.  Applications reach it through access.h only.
 *
 * Threads: engine_start() starts the committer (group and urgent) and the
 * background mover; fetched data is landed on the source's threads.
 * All functions may be called from any thread unless noted.
 */
#ifndef DMM_ENGINE_ENGINE_H
#define DMM_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "catalog/catalog.h"
#include "engine/access.h"
#include "source/source.h"
#include "target/target.h"

struct engine_config {
	struct catalog *catalog;
	struct target *target;
	struct source *source;		/* with decorators; all three are borrowed and outlive the engine */
	uint64_t whole_file_limit;	/* bytes; larger files are fetched by range on demand */
	unsigned background_depth;	/* requests in flight; 0 = what the source suggests */
	bool hold_background;		/* tests: demand only until engine_hold(en, false) */
};

/* What happened, for event lines.  text: one line for people. */
struct engine_event {
	const char *kind;		/* "quarantined", "shadowed", "listing-complete", "target-full", ... */
	int level;			/* enum log_level */
	uint64_t oid;			/* 0 = the migration */
	const char *text;
};
typedef void engine_event_fn(void *arg, const struct engine_event *ev);

/* In phase DETACHING create an engine (source may be NULL), make plain, record: no mount.  In DETACHED nothing is left to do. */
/* Recovers first: cleaning list, intents, stamps.  New catalogs get their root row. */
int engine_create(const struct engine_config *cfg, engine_event_fn *event, void *event_arg,
		  struct engine **out, struct err *e);
int engine_start(struct engine *en, struct err *e);
/*
 * The end of a worker, in this order, after the mount is gone:
 *   engine_quiesce()  no new work: after it nothing is submitted to the source except from inside its callbacks
 *   source_close()    every request in flight is answered (-ECANCELED), no callback comes any more
 *   engine_stop()     what is finished is made durable and recorded; then all threads have ended
 */
void engine_quiesce(struct engine *en);
void engine_stop(struct engine *en);
void engine_free(struct engine *en);

void engine_hold(struct engine *en, bool hold);	/* background off/on */

struct engine_progress {
	uint64_t found_objects, found_bytes;	/* so far */
	uint64_t here_objects, here_bytes;	/* terminal or durably complete (bytes: of regular files) */
	uint64_t expected_objects, expected_bytes; /* an upper bound from the source's statfs, 0 = unknown */
	bool discovery_done;			/* found_* is final */
	uint64_t directories_left;
	uint64_t quarantined;
	uint64_t deleted, overwritten, shadowed;	/* by applications */
	uint64_t demand_requests, demand_bytes;	/* since this worker started; for rates */
	uint64_t background_bytes;
	uint64_t landed_bytes;			/* content of files not complete yet that is here, incl. not recorded */
	bool target_full, catalog_full;	/* the background pauses */
	bool all_here;		/* nothing is left: detach may begin */
	struct source_stats source;
};
void engine_progress(struct engine *en, struct engine_progress *out);

/* Waits until all_here, a stop (engine_interrupt()), a fatal failure or the timeout: 1 all here, 0 timeout, -EINTR, -EIO
 * (poisoned: unrecorded work is void, start again). */
int engine_wait(struct engine *en, int timeout_ms, struct err *e);
void engine_interrupt(struct engine *en);

/*
 * A quarantined object (D7).
 * engine_retry(): the source is asked again and its present version accepted: what had been fetched of the old one is dropped first.
 *   Refused (-EBUSY, text says what to do) where an application has changed the object: two versions are never mixed.
 * engine_give_up(): nothing more will come.  The object's name goes from the target, unless an application has changed the object: then
 *   it is renamed visibly (NAME.dmm-incomplete) and left to the user; a directory stays with what it has.  The ledger says "failed".
 * Both ask the source and flush in the caller's thread; done() is called exactly once before they return; err 0 or -errno, text one
 * line.  A retry is done when the object is back in work, not when it is here.  They must have returned before engine_stop();
 * engine_interrupt() and engine_quiesce() end their waiting for a silent source.
 */
typedef void engine_done_fn(void *arg, uint64_t oid, int err, const char *text);
void engine_retry(struct engine *en, uint64_t oid, engine_done_fn *done, void *arg);
void engine_give_up(struct engine *en, uint64_t oid, engine_done_fn *done, void *arg);

/* The end.  Verifies that nothing is left (marks removed and durable, holder empty), makes the root plain (mode, owner, times; mark and stamp gone,
 * synced), and records the phase.  Order in doc/crash-safety.md.  Then the caller calls fusefs_detach(). */
int engine_make_plain(struct engine *en, struct err *e);
int engine_record_detached(struct engine *en, struct err *e);

#endif
