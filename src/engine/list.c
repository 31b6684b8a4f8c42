/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Listing a directory: page by page, every entry admitted, then the directory
 * gets its times back and is finished.
 *
 * The directory must not have changed between the first page and the last (D7), else it is listed
 * again: names that were admitted already are passed over.  Symlinks need
 * their target before the stub can be made, entries without attributes a
 * LOOKUP: both go out together and are counted; the listing is finished when the
 * last page has come and none is outstanding.
 *
 * One reference to the operation per outstanding request; the last one
 * to leave decides.  A failure is remembered and stops further pages.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/point.h"
#include "internal.h"

enum { MAX_QUEUED = 40000, RELISTS = 5 };
static const uint64_t crowded_pause = 20 * CLOCK_MS, changed_pause = CLOCK_SEC;

struct list_op {
	struct deferred later;
	struct engine *en;
	struct eobj *dir;
	enum source_lane lane;
	struct resolve resolve;
	struct source_req req;
	int dirfd;
	struct source_attr first, last;
	bool has_first, eof;
	unsigned relists, stale;
	bool refused, was_refused;	/* for want of room: now, ever */
	unsigned refs;			/* outstanding requests; en->mu */
	int err;			/* the first that happened; en->mu */
};

struct entry_op {		/* an entry that needs one more answer */
	struct list_op *op;
	struct source_req req;
	struct source_attr attr;
	struct source_fh fh;
	char name[256];
};

static void start(struct list_op *op);
static void leave(struct list_op *op, int err);

static void end(struct list_op *op)
{
	struct engine *en = op->en;

	if (op->dirfd >= 0)
		close(op->dirfd);
	pthread_mutex_lock(&en->mu);
	op->dir->listing = false;
	if (op->lane == SOURCE_BACKGROUND)
		en->lists_inflight--;
	mover_kick(en);
	pthread_mutex_unlock(&en->mu);
	eobj_put(op->dir);
	free(op);
}

static void fail_all_waiters(struct list_op *op, int err)
{
	struct wakes k;

	wakes_init(&k);
	pthread_mutex_lock(&op->en->mu);
	wait_drain(&op->dir->waiters, err, &k);
	pthread_mutex_unlock(&op->en->mu);
	wakes_fire(&k);
}

static void run_again(struct deferred *d, bool cancelled)
{
	struct list_op *op = list_entry(d, struct list_op, later);
	uint64_t wait = !cancelled && op->refused ? room_put_off(op->en) : 0;

	if (cancelled) {
		fail_all_waiters(op, -EIO);
		end(op);
	} else if (wait) {
		deferred_add(op->en, &op->later, wait);
	} else {
		op->refused = false;
		start(op);
	}
}

static void again(struct list_op *op, uint64_t pause)
{
	if (op->dirfd >= 0)
		close(op->dirfd);
	op->dirfd = -1;
	op->has_first = op->eof = false;
	op->err = 0;
	pthread_mutex_lock(&op->en->mu);
	op->dir->maybe_rows = true;
	pthread_mutex_unlock(&op->en->mu);
	op->later.run = run_again;
	deferred_add(op->en, &op->later, pause);
}

/* It begins again at its first page: in its turn, when the target may take something. */
static void no_room(struct list_op *op, int err)
{
	op->refused = op->was_refused = true;
	room_refused(op->en, ROOM_NAME, err);
	again(op, CLOCK_SEC);
}

static bool same_directory(const struct source_attr *a, const struct source_attr *b)
{
	return a->mtime.sec == b->mtime.sec && a->mtime.nsec == b->mtime.nsec && a->change == b->change;
}

/* D6: making the stubs has changed the directory's mtime. */
static int put_times_back(struct list_op *op)
{
	struct timespec ts[2] = { { .tv_nsec = UTIME_OMIT }, eobj_time(op->last.mtime) };
	struct engine *en = op->en;
	unsigned gen;
	bool taken;

	do {
		pthread_mutex_lock(&en->mu);
		op->dir->promise.mtime = op->last.mtime;
		gen = op->dir->times_gen;
		taken = op->dir->mark_flags & TARGET_MARK_TIMES;
		pthread_mutex_unlock(&en->mu);
		if (taken)
			return 0;
		if (futimens(op->dirfd, ts))
			return -errno;
		pthread_mutex_lock(&en->mu);
		taken = gen != op->dir->times_gen;
		pthread_mutex_unlock(&en->mu);
	} while (taken);
	return 0;
}

static void finished(struct list_op *op)
{
	struct engine *en = op->en;
	int r = op->dir->old_life ? admit_sweep(en, op->dir, op->dirfd) : 0;
	struct wakes k;

	POINT("list.all-admitted");
	admit_close(en, op->dir, true);
	if (!r)
		r = put_times_back(op);
	if (r)
		admit_close(en, op->dir, false);
	if (room_is_passing(r)) {
		no_room(op, r);
		return;
	}
	if (r) {
		engine_quarantine(op->dir, r, "the directory could not be finished on the target: %s",
				  strerrordesc_np(-r));
		end(op);
		return;
	}
	POINT("list.finished");
	if (op->was_refused)
		room_over(en);
	else
		room_found(en, ROOM_NAME);
	wakes_init(&k);
	pthread_mutex_lock(&en->mu);
	eobj_reach(op->dir, STAGE_HERE);
	pthread_mutex_unlock(&en->mu);
	record_queue(en, RECORD_LISTED, op->dir);
	pthread_mutex_lock(&en->mu);
	wait_collect(op->dir, &k);
	pthread_mutex_unlock(&en->mu);
	wakes_fire(&k);
	engine_changed(en, &op->dir->th);
	end(op);
}

/* Nothing is outstanding any more. */
static void decide(struct list_op *op)
{
	int err = op->err;

	if (!err && op->eof) {
		if (same_directory(&op->first, &op->last) || POINT_STEP("rule.same-directory") == POINT_SKIP) {
			finished(op);
		} else if (op->relists++ < RELISTS) {
			again(op, changed_pause);
		} else {
			engine_quarantine(op->dir, -ESTALE, "it keeps changing on the source while it is listed");
			end(op);
		}
	} else if (room_is_passing(err)) {
		no_room(op, err);
	} else if (err == -ECANCELED) {
		fail_all_waiters(op, -EIO);
		end(op);
	} else if (err == -ESTALE && op->stale++ < STALE_TRIES) {
		fhcache_drop(op->en->fhs, op->dir->oid);
		again(op, stale_pause(op->stale));
	} else {
		engine_quarantine(op->dir, err, "%s: %s", err == -ENOTDIR ? "it is no directory on the source any more"
				  : "it cannot be listed", strerrordesc_np(-err));
		end(op);
	}
}

static void enter(struct list_op *op)
{
	pthread_mutex_lock(&op->en->mu);
	op->refs++;
	pthread_mutex_unlock(&op->en->mu);
}

static void leave(struct list_op *op, int err)
{
	bool last;

	pthread_mutex_lock(&op->en->mu);
	if (err && !op->err)
		op->err = err;
	last = !--op->refs;
	pthread_mutex_unlock(&op->en->mu);
	if (last)
		decide(op);
}

/* ---- entries ---- */

static void entry_end(struct entry_op *eo, int err)
{
	struct list_op *op = eo->op;

	free(eo);
	/* what vanished or changed under our hands shows in the directory's mtime */
	leave(op, err == -ENOENT ? 0 : err);
}

/* D7: another symlink may have taken the name since it was listed. */
static bool is_another(const struct source_req *req, const struct source_attr *a)
{
	return req->has_attr && (req->attr.type != a->type || req->attr.fileid != a->fileid ||
				 req->attr.change != a->change || req->attr.mtime.sec != a->mtime.sec ||
				 req->attr.mtime.nsec != a->mtime.nsec);
}

static void link_read(struct source_req *req)
{
	struct entry_op *eo = req->user;
	char link[SOURCE_LINK_MAX + 1];
	int err = req->err;

	if (!err && is_another(req, &eo->attr))
		err = -ESTALE;		/* list again */
	if (!err && (!req->out_length || req->out_length > SOURCE_LINK_MAX))
		err = -EPROTO;
	if (!err) {
		memcpy(link, req->data, req->out_length);
		link[req->out_length] = 0;
		err = admit(eo->op->en, eo->op->dir, eo->op->dirfd, eo->name,
			    &eo->attr, &eo->fh, link);
	} else if (err != -ECANCELED && err != -ESTALE && err != -ENOENT)	/* it alone, not its directory */
		err = admit_unreadable(eo->op->en, eo->op->dir, eo->op->dirfd, eo->name, &eo->attr, err);
	entry_end(eo, err);
}

static void entry_submit(struct entry_op *eo, enum source_op what, const struct source_fh *fh,
			 void (*done)(struct source_req *))
{
	memset(&eo->req, 0, sizeof eo->req);
	eo->req.op = what;
	eo->req.lane = eo->op->lane;
	eo->req.fh = *fh;
	eo->req.name = eo->name;
	eo->req.done = done;
	eo->req.user = eo;
	source_submit(eo->op->en->source, &eo->req);
}

static void entry_looked_up(struct source_req *req)
{
	struct entry_op *eo = req->user;

	if (req->err) {
		entry_end(eo, req->err);
		return;
	}
	eo->attr = req->attr;
	eo->fh = req->out_fh;
	if (eo->attr.type == SOURCE_LNK)
		entry_submit(eo, SOURCE_READLINK, &eo->fh, link_read);
	else
		entry_end(eo, admit(eo->op->en, eo->op->dir, eo->op->dirfd,
				    eo->name, &eo->attr, &eo->fh, NULL));
}

static int entry_later(struct list_op *op, const struct source_entry *e, const struct source_fh *dirfh)
{
	struct entry_op *eo = calloc(1, sizeof *eo);

	if (!eo)
		return -ENOMEM;
	eo->op = op;
	memcpy(eo->name, e->name, e->name_len);
	enter(op);
	if (e->has_attr && e->has_fh) {
		eo->attr = e->attr;
		eo->fh = e->fh;
		entry_submit(eo, SOURCE_READLINK, &eo->fh, link_read);
	} else {
		entry_submit(eo, SOURCE_LOOKUP, dirfh, entry_looked_up);
	}
	return 0;
}

static bool name_queued(struct engine *en, uint64_t parent, const struct source_entry *e)
{
	bool found;

	pthread_mutex_lock(&en->mu);
	found = record_find_name(en, parent, e->name, e->name_len);
	pthread_mutex_unlock(&en->mu);
	return found;
}

static int take_entries(struct list_op *op, const struct source_req *req)
{
	for (uint32_t i = 0; i < req->entry_count; i++) {
		const struct source_entry *e = &req->entries[i];
		int r;

		if (e->has_attr && e->has_fh && e->attr.type != SOURCE_LNK)
			r = admit(op->en, op->dir, op->dirfd, e->name, &e->attr,
				  &e->fh, NULL);
		else if (name_queued(op->en, op->dir->oid, e))
			r = 0;
		else
			r = entry_later(op, e, &req->fh);
		if (r)
			return r;
	}
	return 0;
}

/* ---- pages ---- */

static void page(struct source_req *req);

static void submit_page(struct list_op *op, uint64_t cookie, uint64_t verifier)
{
	struct source_fh fh = op->resolve.fh;

	memset(&op->req, 0, sizeof op->req);
	op->req.op = SOURCE_READDIR;
	pthread_mutex_lock(&op->en->mu);
	op->req.lane = op->dir->demanded ? SOURCE_DEMAND : op->lane;
	pthread_mutex_unlock(&op->en->mu);
	op->req.fh = fh;
	op->req.name = op->dir->name_len ? op->dir->name : NULL;
	op->req.cookie = cookie;
	op->req.verifier = verifier;
	op->req.done = page;
	op->req.user = op;
	source_submit(op->en->source, &op->req);
}

static void next_page(struct deferred *d, bool cancelled)
{
	struct list_op *op = list_entry(d, struct list_op, later);

	if (cancelled)
		leave(op, -ECANCELED);
	else
		submit_page(op, op->req.next_cookie, op->req.out_verifier);
}

/*
 * D7: another directory under this name would give its names to the old one's attributes.  A mount point of the
 * server (another fsid) may show the covered directory's number in its parent's listing.
 */
static bool is_promised(const struct eobj *dir, const struct source_attr *a)
{
	const struct promise *p = &dir->promise;

	return a->type == SOURCE_DIR && (a->fsid != p->fsid || a->fileid == p->fileid);
}

static void page(struct source_req *req)
{
	struct list_op *op = req->user;
	struct engine *en = op->en;
	int r = req->err;
	bool stop, crowded;

	if (!r && req->has_attr) {
		op->last = req->attr;
		if (!op->has_first)
			op->first = req->attr;
		op->has_first = true;
		if (!is_promised(op->dir, &req->attr)) {
			engine_quarantine(op->dir, -ESTALE, "it was replaced by another object on the source");
			r = -ECANCELED;
		}
	}
	if (!r && req->bad_entries)
		engine_say(en, "bad-name", LOG_LEVEL_WARN, op->dir->oid,
			   "%u names from the source cannot exist on Linux and were left out, such as \"%s\"",
			   req->bad_entries, req->bad_name);
	if (!r)
		r = take_entries(op, req);
	POINT("list.page");
	pthread_mutex_lock(&en->mu);
	stop = r || op->err || req->eof;
	crowded = en->queued > MAX_QUEUED;
	pthread_mutex_unlock(&en->mu);
	if (!r && req->eof)
		op->eof = true;
	if (stop) {
		leave(op, r);
	} else if (crowded) {	/* let the committer catch up: memory does not grow with the directory */
		op->later.run = next_page;
		deferred_add(en, &op->later, crowded_pause);
	} else {
		submit_page(op, req->next_cookie, req->out_verifier);
	}
}

static void resolved(struct resolve *r, int err)
{
	struct list_op *op = list_entry(r, struct list_op, resolve);

	if (!err) {
		op->dirfd = target_open_handle(op->en->target, &op->dir->th,
					       O_RDONLY | O_DIRECTORY | O_NOATIME);
		if (op->dirfd < 0)
			err = op->dirfd;
	}
	if (err) {
		leave(op, err);
		return;
	}
	submit_page(op, 0, 0);
}

static void start(struct list_op *op)
{
	int r;

	op->refs = 1;
	r = resolve_start(&op->resolve, op->en, op->dir->oid, op->lane, resolved);
	if (r)
		resolved(&op->resolve, r < 0 ? r : 0);
}

void list_start(struct eobj *dir, enum source_lane lane)
{
	struct engine *en = dir->en;
	struct list_op *op = calloc(1, sizeof *op);

	if (!op)
		return;
	pthread_mutex_lock(&en->mu);
	if (is_here(dir) || dir->listing || dir->failed || dir->deleted || en->stopping) {
		pthread_mutex_unlock(&en->mu);
		free(op);
		return;
	}
	dir->listing = true;
	eobj_ref_locked(dir);
	if (lane == SOURCE_BACKGROUND)
		en->lists_inflight++;
	pthread_mutex_unlock(&en->mu);
	op->en = en;
	op->dir = dir;
	op->lane = lane;
	op->dirfd = -1;
	list_init(&op->later.link);
	start(op);
}
