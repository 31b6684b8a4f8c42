/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The engine's own structures, shared by its files only.
 *
 * Locks.  en->mu guards every field of struct eobj and every table of
 * struct engine; it is held for memory operations only: never over I/O, a
 * flush, a source request or a catalog call.  Order: catalog transaction, then en->mu
 * (the committer looks at objects inside its transaction), hence no
 * catalog call is made while en->mu is held.  en->link_mu serialises the
 * admission of objects with several names, en->mark_mu the rewriting of marks; both are held over one
 * local metadata operation and are taken before en->mu.
 *
 * References.  An eobj lives while somebody holds a reference: the file
 * system (its node), a fetch, a listing, a queued record.  An object whose row is not
 * durable always has one from its queued record, so what is not in the table
 * is in the catalog durably.
 */
#ifndef DMM_ENGINE_INTERNAL_H
#define DMM_ENGINE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/checksum.h"
#include "base/list.h"
#include "base/point.h"
#include "engine/engine.h"

/* ---- content.c: which chunks of a file are where; pure ---- */

enum content_set {
	CONTENT_HERE,		/* on the target, readable */
	CONTENT_RECORDED,	/* and durably so in the catalog (D2) */
	CONTENT_LANDING,	/* one fetch is writing it; any other drops what it brings */
	CONTENT_ASKED,		/* requested on some lane */
	CONTENT_ASKED_DEMAND,	/* requested on the demand lane */
	CONTENT_HASHED,		/* its checksum is known */
	CONTENT_SETS
};

struct content {
	uint32_t count;		/* chunks below the promised size */
	uint8_t shift;		/* log2 of the chunk size */
	uint32_t left;		/* chunks not HERE */
	uint32_t unrecorded;	/* chunks not RECORDED */
	uint64_t size;
	uint64_t *set[CONTENT_SETS];
	uint64_t small[CONTENT_SETS];	/* storage for up to 64 chunks */
	uint8_t (*sums)[CHECKSUM_SIZE];	/* of HASHED chunks; NULL: none yet */
	uint8_t small_sum[1][CHECKSUM_SIZE];
};

int content_init(struct content *c, uint64_t size);
void content_free(struct content *c);
/* Remember the checksum of a chunk; without memory for it the file ends without one. */
void content_set_sum(struct content *c, uint32_t i, const uint8_t sum[CHECKSUM_SIZE]);
const uint8_t *content_sum(const struct content *c, uint32_t i);	/* NULL: not known */
bool content_test(const struct content *c, enum content_set s, uint32_t i);
void content_set_bit(struct content *c, enum content_set s, uint32_t i);	/* keeps left, unrecorded */
void content_clear_bit(struct content *c, enum content_set s, uint32_t i);
uint64_t content_start(const struct content *c, uint32_t i);
uint64_t content_end(const struct content *c, uint32_t i);	/* clipped to the size */
/* Chunks [first, last] that [off, off+len) touches; false: none. */
bool content_span(const struct content *c, uint64_t off, uint64_t len, uint32_t *first, uint32_t *last);
bool content_covers(const struct content *c, enum content_set s, uint64_t off, uint64_t len);
/* Chunks wholly at or above limit have no source bytes to wait for. */
void content_limit(struct content *c, uint64_t limit);
/* A resident range from the catalog. */
void content_mark_range(struct content *c, uint64_t start, uint64_t end);

/* ---- objects (eobj.c) ---- */

struct promise {		/* what the source said when the object was listed (D7) */
	uint64_t size, used, fsid, fileid, change;
	uint32_t nlink;
	struct source_time atime, mtime, ctime;
};

/* How far an object has come; only ever forwards (D4). */
enum eobj_stage {
	STAGE_OPEN,		/* content (or names, for a directory) is missing */
	STAGE_HERE,		/* all is on the target and metadata is back (D6) */
	STAGE_RECORDED,		/* and the catalog says so, durably */
	STAGE_CLEAN,		/* the mark is gone: nothing left to ask */
};

struct eobj {
	struct engine *en;
	struct eobj *hash_next, *link_next;
	unsigned refs;
	uint64_t oid, parent;
	uint8_t type;			/* enum catalog_type */
	struct target_handle th;
	struct promise promise;
	struct list waiters;		/* struct access_wait */
	struct list around;		/* struct access_wait: reading around the target (around.c) */

	/* records (commit.c) */
	unsigned pending_rows;		/* rows of this object that are not durable */
	bool in_catalog;		/* its own row has been inserted (durable when pending_rows says so) */
	bool intent, intent_wanted;	/* D5 */
	struct list name_records;	/* struct record: ROW and LINK that are not durable */
	struct list urgent;		/* in en->urgent */
	bool urgent_queued;
	bool ranges_queued;

	struct list fresh_link;	/* in en->fresh_dirs or en->fresh_files: not in the catalog's lists yet */

	/* fate */
	bool deleted;			/* the last name is gone */
	int failed;			/* -errno: needs a retry */
	bool quarantined;		/* and that has been said and queued */
	enum eobj_stage stage;		/* changed by eobj_reach() only */
	bool mark_gone;			/* removed, perhaps not durably */
	struct timespec here_ctime;	/* regular files: ctime on the target when STAGE_HERE was reached; 0 = an earlier worker's */
	struct timespec clean_ctime;	/* and when the mark was removed, if nobody else had been there; 0 = not known */
	bool modified;			/* an application changed the content before it was finished */
	bool modified_recorded;		/* and the catalog says so, durably (D8) */

	/* names (D5) */
	uint32_t names_claimed;
	bool in_holder;

	/* directories */
	bool listing;
	bool names_closed;		/* the listing has decided all names */
	bool maybe_rows;		/* the catalog may know names in it */
	bool demanded;			/* somebody waits for the listing */
	bool old_life;			/* an earlier worker may have left torn stubs in it */

	/* regular files */
	struct content content;
	uint64_t limit;
	int fd;				/* for landing; -1 */
	bool fresh;			/* nothing was ever written into it */
	unsigned inflight;		/* fetches */
	unsigned landing;		/* target writes right now */
	bool frozen;			/* D3b: a truncation is going on */
	struct list held;		/* struct fetch that arrived while frozen */
	bool finishing;
	uint64_t landed;		/* bytes counted in en->landed_partial */
	bool want_all;			/* somebody waits for all of it */
	uint64_t next_sequential;	/* end of the last demanded range */
	uint32_t content_gen;		/* grows when all that was fetched is dropped (accept.c) */

	/* times (D6) */
	uint32_t mark_flags;
	struct timespec app_mtime;
	unsigned times_gen;
	uint32_t marked_flags;		/* those that are on the inode, too */
	bool mark_failed;		/* the mark could not be written: it says less than it must */

	uint16_t name_len;
	char name[];
};

struct engine;
static inline bool is_here(const struct eobj *o)
{
	return o->stage >= STAGE_HERE;
}

static inline bool is_recorded(const struct eobj *o)
{
	return o->stage >= STAGE_RECORDED;
}

static inline bool is_clean(const struct eobj *o)
{
	return o->stage >= STAGE_CLEAN;
}

void eobj_reach(struct eobj *o, enum eobj_stage stage);	/* mu held: the next stage, or the same */
void eobj_recorded(struct eobj *o);	/* mu held: at least STAGE_RECORDED; both committers may say so */
struct eobj *eobj_find(struct engine *en, uint64_t oid);	/* mu held; no reference added */
struct eobj *eobj_make(struct engine *en, const struct catalog_row *row);	/* not in the table yet, one reference */
struct eobj *eobj_insert(struct engine *en, struct eobj *o);	/* mu held; the object that is in the table now, with a reference */
void eobj_ref_locked(struct eobj *o);
void eobj_put(struct eobj *o);					/* mu not held */
/* Out of the table, though references remain: the next load reads the catalog. mu not held. */
void eobj_retire(struct eobj *o);
/* From memory or the catalog, with a reference. -ENOENT. mark may be NULL: read from the target. */
int eobj_load(struct engine *en, uint64_t oid, const struct target_mark *mark, struct eobj **out);
void eobj_to_row(const struct eobj *o, struct catalog_row *row);	/* mu held */
bool eobj_has_links(const struct eobj *o);
void eobj_mark(const struct eobj *o, struct target_mark *m);	/* mu held: what the mark must say */
/* Write what the mark must say now; one writer at a time, so that an older one never lands last. mu not held. */
int eobj_write_mark(struct engine *en, struct eobj *o, int fd);
struct timespec eobj_time(struct source_time t);
void eobj_promise(struct promise *p, const struct source_attr *a);
void eobj_promise_row(struct catalog_row *row, const struct source_attr *a);
void eobj_handle_row(struct catalog_row *row, const struct target_handle *h);

/* ---- waiting (wait.c) ---- */

enum wait_cond {
	WAIT_NAME = 0, WAIT_RECORD, WAIT_LISTED, WAIT_CONTENT, WAIT_CONTENT_RECORDED, WAIT_RANGE,
	WAIT_RANGE_RECORDED, WAIT_INTENT, WAIT_CHANGE,
};
struct wakes {			/* collected under mu, fired without */
	struct list ok, bad;
	int err;
};
void wakes_init(struct wakes *k);
void wakes_fire(struct wakes *k);
bool wait_holds(const struct eobj *o, enum wait_cond cond, uint64_t off, uint64_t len);	/* mu held */
bool wait_is_for_source(enum wait_cond cond);
bool wait_is_for_record(enum wait_cond cond);	/* needs no bytes of the source, only the committer */
void wait_park(struct list *queue, struct access_wait *w, enum wait_cond cond, uint64_t off, uint64_t len);
void wait_collect(struct eobj *o, struct wakes *k);	/* mu held: whose condition holds or failed */
void wait_drain(struct list *queue, int err, struct wakes *k);	/* mu held: everybody */
/* mu held: who waits for content that cannot land now; they decide again. */
void wait_collect_readers(struct eobj *o, struct wakes *k);

/* ---- source handles (fhcache.c, resolve.c) ---- */

struct fhcache;
struct fhcache *fhcache_new(void);
void fhcache_free(struct fhcache *c);
bool fhcache_get(struct fhcache *c, uint64_t oid, struct source_fh *out);
void fhcache_put(struct fhcache *c, uint64_t oid, const struct source_fh *fh);
void fhcache_drop(struct fhcache *c, uint64_t oid);

struct resolve {
	struct engine *en;
	uint64_t oid;
	enum source_lane lane;
	struct source_fh fh;		/* the result */
	void (*done)(struct resolve *r, int err);
	/* own */
	struct source_req req;
	uint64_t *chain;		/* oids below the nearest known ancestor, top first */
	size_t count, at, room;
	char name[256];
};
/* 1: r->fh is valid now (done is not called); 0: done comes later; -errno. mu not held. */
int resolve_start(struct resolve *r, struct engine *en, uint64_t oid, enum source_lane lane,
		  void (*done)(struct resolve *r, int err));

/*
 * A stale handle is looked up again by its path.  A path that is gone says so at once (-ENOENT); one that
 * stays stale from the root downwards is a server that is not up again yet: NFS servers answer so for moments
 * after a restart.  Hence several tries, the first at once, then after growing pauses (13 s in all).
 */
enum { STALE_TRIES = 9 };
static inline uint64_t stale_pause(unsigned tried)	/* ns */
{
	return tried <= 1 ? 0 : 50000000ull << (tried - 2);
}

/* ---- later (mover.c) ---- */

struct deferred {
	struct list link;
	uint64_t due;			/* clock_mono() */
	void (*run)(struct deferred *d, bool cancelled);
};
void deferred_add(struct engine *en, struct deferred *d, uint64_t delay_ns);	/* mu not held */

/* ---- records (commit.c, urgent.c, record.c) ---- */

enum record_kind {
	RECORD_ROW,		/* a new object's row */
	RECORD_LINK,		/* a further name of an object */
	RECORD_BARE,		/* a row without a stub: shadowed, or refused by the target */
	RECORD_LISTED,		/* directory done */
	RECORD_COMPLETE,	/* content done */
	RECORD_RANGES,		/* part of a large file */
	RECORD_CLEANED,		/* the mark has been removed */
	RECORD_DELETED,
	RECORD_INTENT_CLEAR,
	RECORD_QUARANTINE,
	RECORD_ROOT_MODE,
};

struct record {
	struct list link;
	enum record_kind kind;
	struct eobj *o;			/* reference; NULL for BARE, ROOT_MODE */
	uint64_t oid;
	/* names in the making are found through these (LINK, BARE and ROW) */
	struct record *name_next;
	struct list of_object;		/* in o->name_records */
	bool named;			/* is in en->names */
	bool recorded;			/* the urgent committer was faster */
	uint64_t parent;
	struct catalog_row *row;	/* BARE */
	char *reason;			/* BARE, QUARANTINE */
	int code;
	uint64_t *here;			/* RANGES: chunks that were here before the flush began */
	uint32_t here_words, content_gen;
	uint16_t name_len;
	char name[];
};

/* All: mu not held.  They take a reference of their own. */
int record_queue(struct engine *en, enum record_kind kind, struct eobj *o);
int record_queue_name(struct engine *en, enum record_kind kind, struct eobj *o, uint64_t parent,
		      const char *name, size_t name_len);
int record_queue_bare(struct engine *en, const struct catalog_row *row, int code, const char *reason);
int record_queue_failure(struct engine *en, struct eobj *o, int code, const char *reason);
struct record *record_find_name(struct engine *en, uint64_t parent, const char *name, size_t len); /* mu held */
void record_free(struct record *r);
void record_free_all(struct list *records);	/* mu not held */
void record_snapshot(struct record *r);	/* RANGES, before the flush; mu held */
struct record *record_new(enum record_kind kind, struct eobj *o, const char *name, size_t name_len); /* mu held if o */
int record_apply(struct engine *en, struct record *r);	/* inside a transaction; mu not held */
/* Is an object with nothing to fetch complete once its row is durable?  mu held. */
bool record_row_completes(const struct eobj *o);
/* After the durable commit; mu held.  True: the mark is to be removed now. */
bool record_done(struct engine *en, struct record *r, struct wakes *k);

int commit_start(struct engine *en);
void commit_stop(struct engine *en);	/* everything queued is recorded first */
bool commit_may_pass(int err);		/* of the catalog: repeat until there is room */
bool commit_pause(struct engine *en);	/* before repeating; false: stop instead; mu not held */
void *urgent_main(void *arg);	/* a thread, started and ended by commit.c (urgent.c) */
void urgent_ask(struct eobj *o);	/* mu held: if a waiter of o can be served by a commit, start one */
void commit_kick(struct engine *en);	/* mu held: there is something to do */
/* Remove the mark and queue CLEANED, unless names are missing; mu not held. */
void commit_clean(struct engine *en, struct eobj *o);

/* ---- the works ---- */

int admit(struct engine *en, struct eobj *dir, int dirfd, const char *name,
	  const struct source_attr *a, const struct source_fh *fh, const char *link);
/* A name whose object the source does not give out (-errno): quarantined without a stub. */
int admit_unreadable(struct engine *en, struct eobj *dir, int dirfd, const char *name,
		     const struct source_attr *a, int err);
uint8_t admit_row_type(enum source_type t);	/* enum catalog_type */
void admit_target_attr(const struct source_attr *a, const char *link, struct target_attr *t);
/* Every name of the source has been admitted: no lookup adds one any more; waits for those that are at it. */
void admit_close(struct engine *en, struct eobj *dir, bool closed);
/* After a listing: remove torn stubs of an earlier life that the source does not name any more. */
int admit_sweep(struct engine *en, struct eobj *dir, int dirfd);

int name_need(struct eobj *dir, const char *name, struct access_wait *w);

void list_start(struct eobj *dir, enum source_lane lane);	/* mu not held; does nothing if listed or being listed */

/* ---- no room (room.c); mu not held unless noted ---- */

enum room_of { ROOM_NAME, ROOM_DATA };	/* names, marks, times; blocks: one may be gone while the other still fits */

struct room {
	bool full, catalog_full;
	bool told;			/* "full" has been said, its end has not */
	enum room_of of;		/* what was refused last */
	int err;			/* what the target says */
	uint64_t until, trying_until, pause, found_at;	/* clock_mono(), ns */
};
bool room_is_passing(int err);		/* of the target: nobody's fault, try again later */
void room_refused(struct engine *en, enum room_of of, int err);
void room_found(struct engine *en, enum room_of of);	/* such a thing went through */
void room_over(struct engine *en);		/* the very thing that had been refused went through */
void room_tick(struct engine *en);		/* now and then: says that it is over */
bool room_is_full(const struct engine *en);	/* mu held: for people */
/* May the background start something?  0 = yes (one thing at a time while it is full), else wait so long (ns); mu held. */
uint64_t room_wait(struct engine *en);
/* The same for what is under way and was refused. */
uint64_t room_put_off(struct engine *en);
void room_catalog(struct engine *en, int err);	/* of a commit: 0 = it went through and all is well */

struct fetch;
/* Plan under mu, launch without. */
void fetch_plan(struct eobj *o, uint32_t chunk, enum source_lane lane, struct list *out);
void fetch_plan_all(struct eobj *o, enum source_lane lane, unsigned window, struct list *out);
void fetch_launch(struct list *planned);
void fetch_unfreeze(struct eobj *o, struct list *out);	/* mu held */
void finish_if_whole(struct eobj *o);	/* finish.c; mu not held */
/* D7: how the source differs from what was promised, one line; NULL: not at all. */
const char *fetch_difference(const struct promise *p, const struct source_attr *a);

/* An object cannot be brought over: record why, fail who waits. */
void engine_quarantine(struct eobj *o, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void engine_say(struct engine *en, const char *kind, int level, uint64_t oid, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
void engine_poison(struct engine *en, const char *why);
void engine_changed(struct engine *en, const struct target_handle *h);	/* tell the listener */
void engine_renamed(struct engine *en, const struct target_handle *dir, const char *name);	/* the same about a name */
int engine_new_oid(struct engine *en, uint64_t *oid);
bool engine_nothing_left(struct engine *en);	/* mu not held */

/* A new object that needs work: taken up at once instead of after its row is durable.  Bounded; what does not fit
 * is found in the catalog. mu not held. */
void mover_fresh(struct engine *en, struct eobj *o);
int mover_start(struct engine *en);
void mover_stop(struct engine *en);
void mover_kick(struct engine *en);	/* mu held */

int recover_start(struct engine *en, struct err *e);
void recover_cleaning(struct engine *en);	/* marks of complete objects (D4) */
/* All directories are listed: settle objects with several names.  False: not all could be, come again. */
bool recover_sweep_links(struct engine *en);

enum { NAME_BUCKETS = 1 << 15, OBJ_BUCKETS = 1 << 16, NEGATIVES = 1024 };

struct negative {		/* "the source has no such name", for a few seconds */
	uint64_t parent, until;
	uint16_t len;
	char name[256];
};

struct claim {			/* a name being admitted right now */
	struct claim *next;
	uint64_t parent;
	const char *name;
	size_t len;
};

struct engine {
	struct engine_config cfg;
	struct catalog *catalog;
	struct target *target;
	struct source *source;
	engine_event_fn *event;
	void *event_arg;
	struct access_listener listener;
	struct fhcache *fhs;

	pthread_mutex_t mu, link_mu, mark_mu, retry_mu;
	struct eobj *objects[OBJ_BUCKETS];
	uint32_t object_gen[OBJ_BUCKETS];	/* grows when an object leaves the bucket */
	struct eobj *links[1024];	/* objects with several names whose row is not durable */
	struct record *names[NAME_BUCKETS];	/* names whose row is not durable */
	struct claim *claims;
	pthread_cond_t claim_cond;
	struct name_op *name_ops[256];
	struct negative *negatives;

	/* oids */
	pthread_mutex_t oid_mu;
	uint64_t oid_next, oid_end;

	/* committer */
	pthread_cond_t commit_cond, urgent_cond, pause_cond;
	struct list queue;		/* struct record, oldest first */
	unsigned queued;
	uint64_t queued_since, flushed_at;
	unsigned committing;		/* records in the group's hands */
	struct list urgent;		/* struct eobj */
	uint64_t stamp;
	bool committer_stop, poisoned;
	pthread_t group_thread, urgent_thread;
	bool committer_running;

	/* mover */
	pthread_cond_t mover_cond;
	pthread_t mover_thread;
	bool mover_running, mover_quit, hold;
	struct list deferred;
	unsigned lists_inflight, fetches_inflight;	/* background ones */
	unsigned depth;
	uint32_t read_max;
	struct list fresh_dirs, fresh_files;	/* struct eobj, oldest first */
	unsigned fresh_dir_count, fresh_file_count;
	bool links_swept, discovery_done;
	uint64_t sweep_after;		/* clock_mono(): not before; 0 = never tried */
	struct room room;
	atomic_ulong commits;		/* grows with every durable commit */

	/* the outside */
	pthread_cond_t wait_cond;
	bool interrupted, stopping;
	char poison_text[200];
	uint32_t root_mode;		/* behind the guard */
	bool plain;			/* mark_mu and mu: the root is the application's again (detach.c) */
	struct eobj *root;
	uint64_t expected_objects, expected_bytes;
	uint64_t landed_partial;	/* bytes here of files that are not finished */
	uint64_t landed_total, landed_background;
};

#endif
