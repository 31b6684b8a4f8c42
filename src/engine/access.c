/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The engine's answers to the file system (access.h).
 *
 * Each need is: decide under the lock, park if it does not hold, then start
 * what will make it hold.
 */
#include "engine/access.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/point.h"

#include "internal.h"

enum { WHOLE_WINDOW = 16, READ_AHEAD = 4 };

bool access_cancel(struct engine *en, struct access_wait *w)
{
	bool parked;

	pthread_mutex_lock(&en->mu);
	parked = w->owner;
	if (parked) {
		list_remove(&w->link);
		w->owner = NULL;
		w->around = NULL;	/* its bytes are thrown away when they come */
	}
	pthread_mutex_unlock(&en->mu);
	return parked;
}

bool access_source_silent(struct engine *en, const struct access_wait *w)
{
	struct source_stats s;

	if (!wait_is_for_source(w->cond))
		return false;
	source_stats(en->source, &s);
	return !s.connected;
}

/* A mark names an object, but only on the inode that the object is. */
static int attach_known(struct engine *en, const struct target_mark *m, const struct target_handle *h,
			struct eobj **out)
{
	int r = eobj_load(en, m->oid, m, out);
	bool same;

	if (r)
		return r;
	pthread_mutex_lock(&en->mu);
	same = target_handle_equal(&(*out)->th, h);
	pthread_mutex_unlock(&en->mu);
	if (same)
		return 0;
	eobj_put(*out);		/* a copy that carries somebody else's mark */
	*out = NULL;
	return -EUCLEAN;
}

int access_attach(struct engine *en, struct eobj *dir, const char *name, const struct target_mark *m,
		  const struct target_handle *h, struct eobj **out, struct access_wait *w)
{
	int r = attach_known(en, m, h, out);

	if (r != -ENOENT)
		return r;
	if (!dir || !name)
		return -ESTALE;
	r = name_need(dir, name, w);
	if (r)
		return r;
	/* decided: adopted between our two looks, or not this migration's doing */
	r = attach_known(en, m, h, out);
	return r == -ENOENT ? -EIO : r;
}

struct eobj *access_ref(struct eobj *o)
{
	if (o) {
		pthread_mutex_lock(&o->en->mu);
		eobj_ref_locked(o);
		pthread_mutex_unlock(&o->en->mu);
	}
	return o;
}

void access_put(struct eobj *o)
{
	eobj_put(o);
}

static bool reached(struct eobj *o, enum eobj_stage stage)
{
	bool v;

	pthread_mutex_lock(&o->en->mu);
	v = o->stage >= stage;
	pthread_mutex_unlock(&o->en->mu);
	return v;
}

bool access_complete(struct eobj *o)
{
	return !o || (o != o->en->root && reached(o, STAGE_CLEAN));
}

bool access_content_here(struct eobj *o)
{
	return !o || reached(o, STAGE_HERE);
}

bool access_content_recorded(struct eobj *o)
{
	return !o || reached(o, STAGE_RECORDED);
}

bool access_listed(struct eobj *dir)
{
	return !dir || reached(dir, STAGE_HERE);
}

int access_need_name(struct eobj *dir, const char *name, struct access_wait *w)
{
	return dir ? name_need(dir, name, w) : 0;
}

/* Park on o for a condition that the committer or the source will make true; mu held. */
static int park(struct eobj *o, struct access_wait *w, enum wait_cond cond, uint64_t off, uint64_t len)
{
	if (wait_holds(o, cond, off, len))
		return 0;
	if (wait_is_for_record(cond) && POINT_STEP("rule.change-waits") == POINT_SKIP)
		return 0;
	if (o->en->poisoned || o->en->stopping)
		return -EIO;
	wait_park(&o->waiters, w, cond, off, len);
	urgent_ask(o);
	return ACCESS_PARKED;
}

int access_need_listed(struct eobj *dir, struct access_wait *w)
{
	bool start = false;
	int r;

	if (!dir)
		return 0;
	pthread_mutex_lock(&dir->en->mu);
	if (dir->failed && !is_here(dir)) {
		r = -EIO;
	} else {
		r = park(dir, w, WAIT_LISTED, 0, 0);
		if (r == ACCESS_PARKED) {
			dir->demanded = true;
			start = !dir->listing;
			eobj_ref_locked(dir);	/* the waiter may be woken and gone before we start */
		}
	}
	pthread_mutex_unlock(&dir->en->mu);
	if (r == ACCESS_PARKED) {
		if (start)
			list_start(dir, SOURCE_DEMAND);
		eobj_put(dir);
	}
	return r;
}

int access_need_record(struct eobj *o, struct access_wait *w)
{
	int r;

	if (!o)
		return 0;
	pthread_mutex_lock(&o->en->mu);
	r = park(o, w, WAIT_RECORD, 0, 0);
	pthread_mutex_unlock(&o->en->mu);
	return r;
}

static int need_all(struct eobj *o, enum wait_cond cond, struct access_wait *w)
{
	bool whole = false;
	struct list planned;
	int r;

	if (!o)
		return 0;
	list_init(&planned);
	pthread_mutex_lock(&o->en->mu);
	if (o->failed && !is_here(o)) {
		r = -EIO;
	} else {
		r = park(o, w, cond, 0, 0);
		if (r == ACCESS_PARKED && !is_here(o)) {
			o->want_all = true;
			fetch_plan_all(o, SOURCE_DEMAND, WHOLE_WINDOW, &planned);
			/* cut off in an earlier life between its last byte, or its truncation, and the end */
			whole = !o->content.left;
			if (whole)
				eobj_ref_locked(o);	/* the waiter may be woken and gone */
		}
	}
	pthread_mutex_unlock(&o->en->mu);
	fetch_launch(&planned);
	if (whole) {
		finish_if_whole(o);
		eobj_put(o);
	}
	return r;
}

int access_need_content(struct eobj *o, struct access_wait *w)
{
	return need_all(o, WAIT_CONTENT, w);
}

int access_need_content_recorded(struct eobj *o, struct access_wait *w)
{
	return need_all(o, WAIT_CONTENT_RECORDED, w);
}

/* What is asked for, and a little more when the reader goes through the file in order. */
static void plan_range(struct eobj *o, uint64_t off, uint64_t len, struct list *planned)
{
	struct content *c = &o->content;
	uint32_t first, last, ahead;

	if (!content_span(c, off, len, &first, &last))
		return;
	ahead = off && off == o->next_sequential ? READ_AHEAD : 0;
	o->next_sequential = off + len;
	for (uint32_t i = first; i < c->count && i <= last + ahead; i++)
		fetch_plan(o, i, SOURCE_DEMAND, planned);
}

static int need_range(struct eobj *o, uint64_t off, uint64_t len, enum wait_cond cond,
		      struct access_wait *w)
{
	struct list planned;
	int r;

	if (!o)
		return 0;
	list_init(&planned);
	pthread_mutex_lock(&o->en->mu);
	if (o->failed && !wait_holds(o, cond, off, len))
		r = -EIO;
	else if (o->en->room.full && !is_here(o) && !content_covers(&o->content, CONTENT_HERE, off, len))
		r = cond == WAIT_RANGE ? -ENOSPC : o->en->room.err;
	else
		r = park(o, w, cond, off, len);
	if (r == ACCESS_PARKED || (!r && !is_here(o) && off && off == o->next_sequential))
		plan_range(o, off, len, &planned);
	else if (!r)
		o->next_sequential = off + len;
	pthread_mutex_unlock(&o->en->mu);
	fetch_launch(&planned);
	return r;
}

int access_need_range(struct eobj *o, uint64_t off, uint64_t len, struct access_wait *w)
{
	return need_range(o, off, len, WAIT_RANGE, w);
}

int access_need_range_recorded(struct eobj *o, uint64_t off, uint64_t len, struct access_wait *w)
{
	return need_range(o, off, len, WAIT_RANGE_RECORDED, w);
}

int access_need_intent(struct eobj *victim, struct access_wait *w)
{
	int r;

	if (!victim)
		return 0;
	pthread_mutex_lock(&victim->en->mu);
	r = park(victim, w, WAIT_INTENT, 0, 0);
	pthread_mutex_unlock(&victim->en->mu);
	return r;
}

enum access_mode access_open_mode(struct eobj *o, bool exec)
{
	enum access_mode m = ACCESS_SLOW;

	if (!o || exec)
		return ACCESS_WHOLE;
	pthread_mutex_lock(&o->en->mu);
	if (is_here(o) || (o->limit <= o->en->cfg.whole_file_limit && !o->en->room.full))
		m = ACCESS_WHOLE;
	pthread_mutex_unlock(&o->en->mu);
	return m;
}

/* ---- changes ---- */

int access_change_begin(struct eobj *o, struct access_wait *w)
{
	int r;

	if (!o)
		return 0;
	pthread_mutex_lock(&o->en->mu);
	r = park(o, w, WAIT_CHANGE, 0, 0);
	if (!r)
		o->frozen = true;
	pthread_mutex_unlock(&o->en->mu);
	return r;
}

int access_truncated(struct eobj *o, int fd, uint64_t new_size)
{
	bool lowered = false;

	if (!o)
		return 0;
	pthread_mutex_lock(&o->en->mu);
	if (new_size < o->limit && !is_recorded(o)) {
		o->limit = new_size;
		o->modified = true;
		lowered = true;
		content_limit(&o->content, new_size);
	}
	pthread_mutex_unlock(&o->en->mu);
	if (!lowered || POINT_STEP("truncate.limit") == POINT_SKIP)
		return 0;
	return eobj_write_mark(o->en, o, fd);
}

void access_change_end(struct eobj *o)
{
	struct list planned;
	struct wakes k;

	if (!o)
		return;
	list_init(&planned);
	wakes_init(&k);
	pthread_mutex_lock(&o->en->mu);
	o->frozen = false;
	eobj_ref_locked(o);
	fetch_unfreeze(o, &planned);
	wait_collect(o, &k);
	pthread_mutex_unlock(&o->en->mu);
	wakes_fire(&k);
	fetch_launch(&planned);
	finish_if_whole(o);
	eobj_put(o);
}

int access_times_taken(struct eobj *o, int fd, const struct timespec *mtime)
{
	bool rewrite;

	if (!o || POINT_STEP("rule.app-times") == POINT_SKIP)
		return 0;
	pthread_mutex_lock(&o->en->mu);
	if (is_recorded(o)) {
		pthread_mutex_unlock(&o->en->mu);
		return 0;
	}
	/* the mark need not follow each write, only the first and what was set by hand: see load_mark() */
	o->mark_flags |= TARGET_MARK_TIMES | TARGET_MARK_BY_HAND;
	if (!mtime)
		o->mark_flags &= ~(uint32_t)TARGET_MARK_BY_HAND;
	rewrite = mtime || o->marked_flags != o->mark_flags || o->mark_failed;
	if (mtime)
		o->app_mtime = *mtime;
	else
		clock_gettime(CLOCK_REALTIME, &o->app_mtime);
	o->times_gen++;
	pthread_mutex_unlock(&o->en->mu);
	return rewrite ? eobj_write_mark(o->en, o, fd) : 0;
}

void access_written(struct eobj *o, uint64_t off, uint64_t len)
{
	if (!o)
		return;
	pthread_mutex_lock(&o->en->mu);
	if (!is_recorded(o)) {
		clock_gettime(CLOCK_REALTIME, &o->app_mtime);
		o->times_gen++;
		o->modified |= off < o->limit && len;
	}
	pthread_mutex_unlock(&o->en->mu);
}

bool access_must_hide(struct eobj *o, uint64_t target_nlink)
{
	bool hide;

	if (!o || POINT_STEP("rule.hide-last-name") == POINT_SKIP)
		return false;
	pthread_mutex_lock(&o->en->mu);
	hide = eobj_has_links(o) && !o->in_holder && target_nlink == 1 && !o->en->links_swept &&
	       o->names_claimed < o->promise.nlink;
	pthread_mutex_unlock(&o->en->mu);
	return hide;
}

int access_hide(struct eobj *o, int dirfd, const char *name)
{
	int r = target_holder_hide(o->en->target, dirfd, name, o->oid);

	POINT("delete.hidden");
	if (r)
		return r;
	pthread_mutex_lock(&o->en->mu);
	o->in_holder = true;
	pthread_mutex_unlock(&o->en->mu);
	return 0;
}

void access_deleted(struct eobj *o, bool gone)
{
	bool clear = false, record = false;

	if (!o)
		return;
	pthread_mutex_lock(&o->en->mu);
	if (gone) {
		o->deleted = true;
		record = !is_recorded(o);
	} else if (o->intent) {
		o->intent = false;
		clear = true;
	}
	pthread_mutex_unlock(&o->en->mu);
	POINT("delete.done");
	if (record)
		record_queue(o->en, RECORD_DELETED, o);
	if (clear)
		record_queue(o->en, RECORD_INTENT_CLEAR, o);
}

/* ---- attributes ---- */

void access_overlay_stat(struct eobj *o, struct stat *st)
{
	struct engine *en;

	if (!o)
		return;
	en = o->en;
	pthread_mutex_lock(&en->mu);
	if (o == en->root && !en->plain)
		st->st_mode = (st->st_mode & S_IFMT) | (en->root_mode & 07777);
	if (o == en->root && !en->plain && st->st_nlink > 1)
		st->st_nlink--;		/* the holder; a file system that counts no directories says 1 */
	if (!is_clean(o) && !(o->mark_flags & TARGET_MARK_TIMES))
		st->st_ctim = eobj_time(o->promise.ctime);
	if (!is_here(o)) {
		if (!(o->mark_flags & TARGET_MARK_TIMES))
			st->st_mtim = eobj_time(o->promise.mtime);
		else if (o->type == CATALOG_REG)
			st->st_mtim = o->app_mtime;
		if (o->type == CATALOG_DIR && st->st_nlink < o->promise.nlink)
			st->st_nlink = o->promise.nlink;
		if (o->type == CATALOG_REG && o->limit == o->promise.size &&
		    (uint64_t)st->st_blocks < o->promise.used / 512)
			st->st_blocks = (blkcnt_t)(o->promise.used / 512);
	}
	if (eobj_has_links(o) && !is_clean(o)) {
		if (o->names_claimed < o->promise.nlink && !en->links_swept)
			st->st_nlink += o->promise.nlink - o->names_claimed;
		if (o->in_holder && st->st_nlink)
			st->st_nlink--;
	}
	pthread_mutex_unlock(&en->mu);
}

static int root_chmod(struct engine *en, uint32_t mode)
{
	bool plain;
	int r = 0;

	pthread_mutex_lock(&en->mark_mu);
	pthread_mutex_lock(&en->mu);
	plain = en->plain;
	en->root_mode = mode;
	pthread_mutex_unlock(&en->mu);
	if (plain)
		r = fchmod(target_root_fd(en->target), mode) ? -errno : 0;
	pthread_mutex_unlock(&en->mark_mu);
	return r ? r : record_queue(en, RECORD_ROOT_MODE, en->root);
}

int access_root_setattr(struct engine *en, unsigned valid, const struct stat *st, struct access_wait *w)
{
	int fd = target_root_fd(en->target);
	struct timespec ts[2] = { st->st_atim, st->st_mtim };
	int r = 0;

	(void)w;
	if (valid & (ACCESS_ROOT_UID | ACCESS_ROOT_GID))
		r = fchown(fd, valid & ACCESS_ROOT_UID ? st->st_uid : (uid_t)-1,
			   valid & ACCESS_ROOT_GID ? st->st_gid : (gid_t)-1) ? -errno : 0;
	if (!r && (valid & ACCESS_ROOT_MTIME))
		r = access_times_taken(en->root, fd, &st->st_mtim);
	if (!r && (valid & (ACCESS_ROOT_ATIME | ACCESS_ROOT_MTIME))) {
		if (!(valid & ACCESS_ROOT_ATIME))
			ts[0].tv_nsec = UTIME_OMIT;
		if (!(valid & ACCESS_ROOT_MTIME))
			ts[1].tv_nsec = UTIME_OMIT;
		r = futimens(fd, ts) ? -errno : 0;
	}
	if (!r && (valid & ACCESS_ROOT_MODE))
		r = root_chmod(en, st->st_mode & 07777);
	return r;
}

bool access_fdatasync_is_fsync(struct eobj *o)
{
	return o && !reached(o, STAGE_CLEAN) && POINT_STEP("rule.datasync-is-full") != POINT_SKIP;
}

void access_visited(struct eobj *dir)
{
	(void)dir;	/* the order of the background does not follow visits yet (doc/architecture.md, "Not built yet") */
}

void access_listen(struct engine *en, const struct access_listener *l)
{
	pthread_mutex_lock(&en->mu);
	en->listener = l ? *l : (struct access_listener){ 0 };
	pthread_mutex_unlock(&en->mu);
}
