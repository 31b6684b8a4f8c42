/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the mounted file system asks of the engine: the one narrow header.
 *
 * The file system executes every operation on the target itself.  Before it
 * acts it asks for conditions ("need"), and around acts that change an
 * incomplete object it tells the engine.  Objects that carry no mark on the
 * target (see target.h) are complete: for them fusefs holds no struct eobj and
 * asks nothing.  Everywhere below an eobj argument may be NULL, which means
 * "complete": conditions hold, notices are ignored.
 *
 * Conditions
 *   access_need_*() returns
 *     0              the condition holds now
 *     ACCESS_PARKED  it does not hold yet; w->wake(w, err) is called exactly once, from
 *                    a thread of the engine, perhaps before this call returns
 *     -errno         it can never hold (quarantined object: -EIO; see access_strerror)
 *   Conditions are monotonic: once true they stay true (except after a
 *   retry of a quarantined object).  So a handler is written as a list of
 *   needs followed by the act, and is run again from its start when woken with err 0.
 *   A wake with err < 0 fails the operation with that errno.
 *   The engine holds no lock while calling wake(); wake() must not block: it queues.
 *   access_cancel(w) returns true when w was still parked (wake() will then never be
 *   called) and false when wake() has been or is being called.
 *
 * Rules kept here: D3 (a change waits for the record), D5 (deletes), D6 (times).
 *
 * Threads: any function from any thread.  None of them blocks on the source or on a flush;
 * catalog queries of microseconds may happen.
 */
#ifndef DMM_ENGINE_ACCESS_H
#define DMM_ENGINE_ACCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/list.h"
#include "target/target.h"

#define ACCESS_PARKED 1

struct engine;
struct eobj;		/* an incomplete object that somebody looks at; reference counted */

struct access_wait {
	void (*wake)(struct access_wait *w, int err);
	struct list link;	/* the engine's while parked */
	void *owner;		/* the engine's while parked: where it is queued */
	uint64_t since;		/* clock_mono() when parked; set by the engine */
	uint8_t cond;		/* the engine's while parked: what is waited for */
	uint64_t off, len;
	struct around *around;	/* the engine's: bytes that go around the target; NULL at first */
	pid_t pid;		/* who waits (status lines); set by the caller */
};
bool access_cancel(struct engine *en, struct access_wait *w);
/* Does a parked w wait for the source, and does the source not answer at all? */
bool access_source_silent(struct engine *en, const struct access_wait *w);

/*
 * From an inode with a mark to its object.  dir/name: under which name it was
 * just found (NULL for the root and for reopening by handle: then -ESTALE when the
 * object is unknown).  A stub without a row is adopted here, which asks the source: may park.
 * On 0 *out carries a reference.  *out may be NULL with 0: complete meanwhile.
 */
int access_attach(struct engine *en, struct eobj *dir, const char *name, const struct target_mark *m,
		  const struct target_handle *h, struct eobj **out, struct access_wait *w);
struct eobj *access_ref(struct eobj *o);
void access_put(struct eobj *o);

/* True when nothing is left to ask or tell: the caller may drop its reference and forget the eobj.
 * One-way. */
bool access_complete(struct eobj *o);
/* True when all content is on the target (readable natively), durable or not. */
bool access_content_here(struct eobj *o);
/* Durably complete content (passthrough for writing is safe), though names may still be missing. */
bool access_content_recorded(struct eobj *o);

/* ---- conditions ---- */

/* The name is decided (a name that shows a torn stub, target_is_torn(), is not decided: treat it like ENOENT): it exists on the target now if the source has it and nobody claimed it
 * before; otherwise it does not.  For LOOKUP (after ENOENT on the target) and before creating. */
int access_need_name(struct eobj *dir, const char *name, struct access_wait *w);
/*
 * Before a name of o is removed or moved: when the source has several names of o, this one is claimed if it is one of them (D3a).  An earlier worker
 * may have linked it and been killed before its row was recorded; then nothing else would, and listing would bring it back.
 * access_need_record(o) after it waits for the row.
 */
int access_need_claim(struct eobj *dir, const char *name, struct eobj *o, struct access_wait *w);
/* Is the directory listed (a negative answer is then final and may be cached)? */
bool access_listed(struct eobj *dir);
/* All names of the directory are on the target: READDIR, RMDIR, rename over it. */
int access_need_listed(struct eobj *dir, struct access_wait *w);
/* The object's row is durable (D3a): before any change to the object or to one of its names; for a directory before adding
 * a name to it. */
int access_need_record(struct eobj *o, struct access_wait *w);
/* All content is here: OPEN of a small file, OPEN for exec, O_RDONLY passthrough. */
int access_need_content(struct eobj *o, struct access_wait *w);
/* All content is here and durably recorded: OPEN for writing with passthrough. */
int access_need_content_recorded(struct eobj *o, struct access_wait *w);
/* [off, off+len) is readable on the target (beyond limit or size: holds).  -ENOSPC: it cannot land, the target has no room or is
 * read-only: access_read_around(). */
int access_need_range(struct eobj *o, uint64_t off, uint64_t len, struct access_wait *w);
/*
 * Brings the bytes of a range to the application without landing them.  Parks; when w is woken with 0 access_around_take() hands them out
 * (buf NULL: throws them away) and says how many there are, from off on; 0 when there is nothing to take.  Whoever drops
 * a request throws them away.
 */
int access_read_around(struct eobj *o, uint64_t off, uint64_t len, struct access_wait *w);
uint64_t access_around_take(struct access_wait *w, void *buf);
/* [off, off+len) is durably recorded: before the first write, punch ... (D3b).  -ENOSPC, -EROFS ...: what the target
 * says to us it would say to the write. */
int access_need_range_recorded(struct eobj *o, uint64_t off, uint64_t len, struct access_wait *w);
/* The intent to delete is durable (D5): before unlink/rmdir/rename-over of the victim, when victim_links (its names on the target,
 * holder included) is 1.  Includes access_need_record(). */
int access_need_intent(struct eobj *victim, struct access_wait *w);

/* How to open a regular file that is not complete. */
enum access_mode {
	ACCESS_WHOLE,	/* need_content (reading) or need_content_recorded (writing), then passthrough */
	ACCESS_SLOW,	/* ranges on demand, direct I/O */
};
enum access_mode access_open_mode(struct eobj *o, bool exec);

/* ---- changes ---- */

/*
 * Bracket a truncation of an incomplete regular file (D3b): after begin no fetched byte
 * lands until end.  need_record first.  Between them: ftruncate(2), then
 * access_truncated(), which lowers the limit durably-with-the-inode.
 */
int access_change_begin(struct eobj *o, struct access_wait *w);
int access_truncated(struct eobj *o, int fd, uint64_t new_size);
void access_change_end(struct eobj *o);

/* Before an application's change of content, size or mtime (not: of atime alone) of an incomplete object, and before adding or removing a name in a directory that is
 * not complete: from now on DMM does not put the times back (D6).  mtime NULL = "now". fd may be O_PATH. 0 or -errno. */
int access_times_taken(struct eobj *o, int fd, const struct timespec *mtime);
/* After an application wrote (slow mode): keeps mtime for the end. */
void access_written(struct eobj *o, uint64_t off, uint64_t len);

/* Unlinking one name of an incomplete object with several source names: must the name be moved to the holder instead of removed (D5)?
 * Called with the number of names the inode has on the target (st_nlink, holder included). */
bool access_must_hide(struct eobj *o, uint64_t target_nlink);
/* Do so: rename (dirfd, name) into the holder. */
int access_hide(struct eobj *o, int dirfd, const char *name);
/* After unlink/rmdir/rename-over: gone = the last name is gone.  !gone clears the intent (the act failed, or
 * other names remain). */
void access_deleted(struct eobj *o, bool gone);

/* Correct what the target says about an incomplete object: times that fetching disturbed (ctime: the source's, unless an
 * application has changed the content or the times), links that have
 * not been discovered, blocks that have not arrived, and for the root the mode behind the guard. */
void access_overlay_stat(struct eobj *o, struct stat *st);

/* chmod/chown/utimens of the root: its real attributes live in the catalog until detach.  valid: FUSE_SET_ATTR_* bits
 * are translated by the caller into these. Waits for durability through w like a need. */
enum { ACCESS_ROOT_MODE = 1, ACCESS_ROOT_UID = 2, ACCESS_ROOT_GID = 4, ACCESS_ROOT_ATIME = 8, ACCESS_ROOT_MTIME = 16 };
int access_root_setattr(struct engine *en, unsigned valid, const struct stat *st, struct access_wait *w);

/* fdatasync/O_DSYNC on an incomplete file must act as fsync (D6). */
bool access_fdatasync_is_fsync(struct eobj *o);

/* ---- hints ---- */
void access_visited(struct eobj *dir);	/* an application looks around here */

/* ---- the other direction ---- */
struct access_listener {
	/* DMM itself changed attributes or blocks of this inode: drop the kernel's copy.  Called without locks, from engine threads; must not
	 * block (queues). */
	void (*changed)(void *arg, const struct target_handle *h);
	/* DMM itself made, replaced or removed this name in a directory (retry, give-up).  As above. */
	void (*renamed)(void *arg, const struct target_handle *dir, const char *name);
	void *arg;
};
void access_listen(struct engine *en, const struct access_listener *l);

#endif
