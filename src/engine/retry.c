/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Quarantined objects at a user's request (D7): the source's present version is accepted, or the object is given up.
 *
 * Accepting, for a file, in an order in which any crash leaves the object quarantined and ready for the next retry:
 *
 *	1  "a retry has begun" and no ranges, durably	nothing that was fetched counts, no start takes it up by itself
 *	2  the stub gets no limit in its mark, is emptied, gets the new size and times; flushed
 *	3  the new promise and FOUND, durably		from here on it is fetched like any other
 *
 * Where the stub is gone, or has another type than the source now, a new one is made under the object's source name, if that is free:
 * stub and directory flushed, then step 3.
 *
 * Two versions are never mixed: an object whose content an application has changed is refused.  Mode and owner stay as
 * they are on the target, where an application may have set them, unless the object was replaced by another one.
 *
 * These run in the caller's thread and block; one at a time.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/creds.h"
#include "base/log.h"
#include "base/point.h"
#include "ask.h"

#define STATE_BIT(s) (1u << (s))
#define INCOMPLETE_SUFFIX ".dmm-incomplete"

struct retry {
	struct engine *en;
	struct catalog_row row;
	struct eobj *o;			/* NULL: it never had a stub */
	struct source_fh fh;		/* what the source has now */
	struct source_attr attr;
	char link[SOURCE_LINK_MAX + 1];
	struct eobj *dir;		/* its source directory, and that opened */
	int dirfd;
	int code;			/* why it was quarantined */
	char reason[600];
	char text[400];			/* why not, or what has been done */
};

/* Leaves a line for the user; returns code. */
static int __attribute__((format(printf, 3, 4))) say(struct retry *t, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(t->text, sizeof t->text, fmt, ap);
	va_end(ap);
	return code;
}

static int failed(struct retry *t, int r, const char *what)
{
	return r ? say(t, r, "%s: %s", what, strerrordesc_np(-r)) : 0;
}

/* ---- looking ---- */

/* Nothing of the object is under way any more: what failed drains by itself. */
static int wait_until_quiet(struct retry *t)
{
	struct engine *en = t->en;

	for (int i = 0; i < 600; i++) {
		struct timespec ts = { .tv_nsec = 100 * CLOCK_MS };
		bool quiet, stop;

		pthread_mutex_lock(&en->mu);
		quiet = !t->o->inflight && !t->o->landing && !t->o->listing && !t->o->frozen && t->o->failed;
		stop = en->stopping || en->interrupted;
		pthread_mutex_unlock(&en->mu);
		if (quiet)
			return 0;
		if (stop)
			return say(t, -ECANCELED, "the worker is stopping");
		nanosleep(&ts, NULL);
	}
	return say(t, -EBUSY, "requests for it are still on their way; try again");
}

static int look(struct retry *t, uint64_t oid)
{
	int r = catalog_get(t->en->catalog, oid, &t->row);

	if (r == -ENOENT || (!r && t->row.type == CATALOG_HARDLINK))
		return say(t, -ENOENT, "there is no such object");
	if (r)
		return failed(t, r, "the catalog cannot be read");
	if (t->row.state != CATALOG_QUARANTINED)
		return say(t, -ESTALE, "it is not quarantined (any more)");
	r = catalog_reason_get(t->en->catalog, oid, &t->code, t->reason, sizeof t->reason);
	if (r && r != -ENOENT)
		return failed(t, r, "the catalog cannot be read");
	if (oid == CATALOG_ROOT_OID)
		return 0;
	r = eobj_load(t->en, t->row.parent, NULL, &t->dir);
	if (r)
		return failed(t, r, "its directory cannot be loaded");
	t->dirfd = target_open_handle(t->en->target, &t->dir->th, O_RDONLY | O_DIRECTORY | O_NOATIME);
	return 0;	/* without its directory it may still be accepted where it is */
}

/* Its stub, as it is in memory. */
static int attach(struct retry *t)
{
	int r;

	if (!t->row.handle_len)
		return 0;
	r = eobj_load(t->en, t->row.oid, NULL, &t->o);
	return r ? failed(t, r, "it cannot be loaded") : wait_until_quiet(t);
}

static bool stub_is_there(struct retry *t)
{
	_cleanup_close_ int fd = -1;
	struct target_mark m;

	if (!t->o)
		return false;
	fd = target_open_handle(t->en->target, &t->o->th, O_PATH);
	return fd >= 0 && !target_mark_get(t->en->target, fd, &m) && m.oid == t->row.oid;
}

/* A stub that a retry made and could not record. */
static bool carries_our_mark(struct retry *t)
{
	_cleanup_close_ int fd = openat(t->dirfd, t->row.name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct target_mark m;

	return fd >= 0 && !target_mark_get(t->en->target, fd, &m) && m.oid == t->row.oid;
}

/* Is the stub under its source name?  1, 0 = the name is free, -EEXIST = somebody else's, -errno */
static int at_its_name(struct retry *t)
{
	struct target_handle h;
	int r;

	if (t->dirfd < 0)
		return -ENOENT;
	if (!target_torn_remove(t->en->target, t->dirfd, t->row.name))	/* of a retry that was cut off */
		return 0;
	r = target_handle_at(t->dirfd, t->row.name, &h);
	if (r)
		return r == -ENOENT ? 0 : r;
	return (t->o && target_handle_equal(&h, &t->o->th)) || carries_our_mark(t) ? 1 : -EEXIST;
}

static bool touched(struct retry *t)
{
	bool m = false;

	if (t->o) {
		pthread_mutex_lock(&t->en->mu);
		m = t->o->modified;
		pthread_mutex_unlock(&t->en->mu);
	}
	return m;
}

/*
 * From here on no application changes the content until let_go().  A write has announced itself before (modified), and without
 * a recorded chunk none can begin; truncations wait.
 */
static bool seize(struct retry *t)
{
	struct eobj *o = t->o;
	bool mine;

	pthread_mutex_lock(&t->en->mu);
	mine = !o->modified && !o->frozen && !o->landing;
	if (mine) {
		o->frozen = true;
		o->content_gen++;	/* what is on its way into the catalog does not count either */
		for (uint32_t i = 0; i < o->content.count; i++) {
			content_clear_bit(&o->content, CONTENT_HERE, i);
			content_clear_bit(&o->content, CONTENT_RECORDED, i);
		}
	}
	pthread_mutex_unlock(&t->en->mu);
	return mine;
}

static void let_go(struct retry *t)
{
	access_change_end(t->o);
}

/* ---- recording ---- */

static int commit(struct retry *t, int r)
{
	if (r) {
		catalog_rollback(t->en->catalog);
		return failed(t, r, "the catalog cannot be written");
	}
	r = catalog_commit(t->en->catalog);
	return failed(t, r, "the catalog cannot be written");
}

/* From here on no start takes the object up by itself: see retry_quarantined(). */
static int record_begun(struct retry *t, bool drop_ranges, const char *text)
{
	int r = catalog_begin(t->en->catalog);

	if (r)
		return failed(t, r, "the catalog cannot be written");
	if (drop_ranges)
		r = catalog_range_drop(t->en->catalog, t->row.oid);
	if (!r)
		r = catalog_reason_set(t->en->catalog, t->row.oid, EINPROGRESS, text);
	return commit(t, r);
}

static struct catalog_time row_time(struct source_time s)
{
	return (struct catalog_time){ s.sec, s.nsec };
}

static void promise_of(const struct retry *t, const struct target_handle *h, struct catalog_row *row)
{
	const struct source_attr *a = &t->attr;

	*row = t->row;
	row->type = admit_row_type(a->type);
	row->size = a->size;
	row->used = a->used;
	row->fsid = a->fsid;
	row->fileid = a->fileid;
	row->change = a->change;
	row->nlink = a->nlink;
	row->atime = row_time(a->atime);
	row->mtime = row_time(a->mtime);
	row->ctime = row_time(a->ctime);
	row->handle[0] = h->len;
	row->handle[1] = h->type;
	memcpy(row->handle + 2, h->data, h->len);
	row->handle_len = (uint8_t)(h->len + 2);
}

static int record(struct retry *t, const struct target_handle *h)
{
	struct catalog *c = t->en->catalog;
	struct catalog_row row;
	bool fetches;
	int r = catalog_begin(c);

	if (r)
		return failed(t, r, "the catalog cannot be written");
	promise_of(t, h, &row);
	fetches = row.type == CATALOG_DIR || row.type == CATALOG_REG;
	r = catalog_set_promise(c, &row);
	if (!r)
		r = catalog_transition(c, row.oid, STATE_BIT(CATALOG_QUARANTINED), CATALOG_FOUND, NULL);
	if (!r && !fetches)	/* complete with its stub */
		r = catalog_transition(c, row.oid, STATE_BIT(CATALOG_FOUND), CATALOG_CLEANING, NULL);
	if (!r)
		r = catalog_reason_set(c, row.oid, 0, NULL);
	r = commit(t, r);
	POINT("retry.recorded");
	if (!r)
		t->row = row;
	return r;
}

/* The object as if it had just been found, on the same inode. */
static int renew(struct eobj *o, const struct source_attr *a)
{
	struct engine *en = o->en;
	int r = 0;

	pthread_mutex_lock(&en->mu);
	if (o->type == CATALOG_REG) {
		content_free(&o->content);
		r = content_init(&o->content, a->size);
		en->landed_partial -= o->landed < en->landed_partial ? o->landed : en->landed_partial;
		o->landed = 0;
		o->limit = a->size;
		o->fresh = true;
	}
	o->maybe_rows = o->old_life = o->type == CATALOG_DIR;
	eobj_promise(&o->promise, a);
	o->finishing = o->want_all = false;
	if (!r) {
		o->failed = 0;
		o->quarantined = false;
	}
	pthread_mutex_unlock(&en->mu);
	return r;
}

static int back_to_work(struct retry *t, struct eobj *o)
{
	fhcache_put(t->en->fhs, t->row.oid, &t->fh);
	if (o->type == CATALOG_REG)	/* of no bytes: whole already */
		fetch_finish_if_whole(o);
	mover_fresh(t->en, o);
	return 0;
}

/* The mark says the new size again; if that fails or is lost, no limit is as good. */
static void tell_limit(struct retry *t)
{
	_cleanup_close_ int fd = target_open_handle(t->en->target, &t->o->th, O_PATH);

	if (fd >= 0)
		eobj_write_mark(t->en, t->o, fd);
}

static int take_up(struct retry *t)
{
	int r = renew(t->o, &t->attr);

	if (r)
		return failed(t, r, "it will be taken up at the next start");
	if (t->o->type == CATALOG_REG)
		tell_limit(t);
	engine_changed(t->en, &t->o->th);
	return back_to_work(t, t->o);
}

/* Another inode: what is in memory of the old one is forgotten. */
static int take_up_new(struct retry *t)
{
	struct eobj *o;
	int r;

	if (t->o)
		eobj_retire(t->o);
	r = eobj_load(t->en, t->row.oid, NULL, &o);
	if (r)
		return failed(t, r, "it will be taken up at the next start");
	if (is_recorded(o))
		commit_clean(t->en, o);
	else
		back_to_work(t, o);
	eobj_put(o);
	return 0;
}

/* ---- accepting ---- */

/* Another object stands under the name: then mode and owner are new, too. */
static bool is_replaced(const struct retry *t)
{
	return t->attr.fileid != t->row.fileid || t->attr.fsid != t->row.fsid;
}

static int dress_anew(struct retry *t)
{
	_cleanup_close_ int fd = target_open_handle(t->en->target, &t->o->th, O_PATH);
	struct target_attr ta;
	int r = fd < 0 ? fd : 0;

	admit_target_attr(&t->attr, NULL, &ta);
	if (!r)
		r = target_stub_redo(t->en->target, fd, &ta);
	return failed(t, r, "its stub cannot be given the new attributes");
}

/* The same stub, emptied, for another version. */
static int reset_file(struct retry *t)
{
	struct engine *en = t->en;
	struct eobj *o = t->o;
	struct timespec ts[2] = { eobj_time(t->attr.atime), eobj_time(t->attr.mtime) };
	_cleanup_close_ int fd = target_open_handle(en->target, &o->th, O_WRONLY | O_NONBLOCK);
	int r = fd < 0 ? fd : 0;

	pthread_mutex_lock(&en->mu);
	o->limit = TARGET_NO_LIMIT;	/* a smaller one, or a smaller size, would mean that an application had truncated it */
	if (o->mark_flags & TARGET_MARK_TIMES)
		ts[0].tv_nsec = ts[1].tv_nsec = UTIME_OMIT;
	pthread_mutex_unlock(&en->mu);
	if (!r)
		r = eobj_write_mark(en, o, fd);
	if (!r && ftruncate(fd, 0))
		r = -errno;
	POINT("retry.emptied");
	if (!r && ftruncate(fd, (off_t)t->attr.size))
		r = -errno;
	if (!r && is_replaced(t))
		r = dress_anew(t);
	if (!r && futimens(fd, ts))
		r = -errno;
	if (!r)
		r = target_sync_one(en->target, &o->th);
	return failed(t, r, "its stub cannot be reset");
}

static int replace_content(struct retry *t)
{
	int r = record_begun(t, true, "a retry was interrupted; retry it again");

	POINT("retry.begun");
	if (!r)
		r = reset_file(t);
	POINT("retry.reset");
	if (!r)
		r = record(t, &t->o->th);
	return r ? r : take_up(t);
}

static int accept_file(struct retry *t)
{
	int r;

	if (!seize(t))
		return say(t, -EBUSY, "an application is changing it");
	r = replace_content(t);
	let_go(t);
	return r;
}

static int accept_directory(struct retry *t)
{
	int r = is_replaced(t) ? dress_anew(t) : 0;

	if (!r)
		r = record(t, &t->o->th);
	return r ? r : take_up(t);
}

static int remove_stub(struct retry *t)
{
	int flags = t->row.type == CATALOG_DIR ? AT_REMOVEDIR : 0;

	if (!unlinkat(t->dirfd, t->row.name, flags))
		return 0;
	if (errno == ENOTEMPTY || errno == EEXIST)
		return say(t, -ENOTEMPTY, "it is another type on the source now, and the directory on the target is not empty; "
			      "move its content away, or give it up");
	return failed(t, -errno, "its stub cannot be removed");
}

/* A stub of the source's present type under the object's name. */
static int new_stub(struct retry *t)
{
	struct target_mark m = { .oid = t->row.oid, .limit = t->attr.type == SOURCE_REG ? t->attr.size : 0 };
	const struct timespec omit = { .tv_nsec = UTIME_OMIT };
	struct target_attr ta;
	struct target_handle h;
	struct stat dir;
	int r = t->attr.type == SOURCE_LNK ? ask_link(t->en, &t->fh, t->link) : 0;

	if (r)
		return failed(t, r, "the link cannot be read from the source");
	admit_target_attr(&t->attr, t->link, &ta);
	if (fstat(t->dirfd, &dir))
		return failed(t, -errno, "its directory");
	r = target_stub_create(t->en->target, t->dirfd, t->row.name, &ta, &m, &h);
	creds_set_fs(0, 0);	/* the caller's thread goes on as it was */
	if (!r)		/* D6: that the stub comes late is not the application's doing */
		target_set_times(t->dirfd, &omit, &dir.st_mtim);
	POINT("retry.new-stub");
	if (!r)
		r = target_sync_one(t->en->target, &h);
	if (!r)
		r = target_sync_one(t->en->target, &t->dir->th);
	if (r)
		return failed(t, r, "the target cannot hold it");
	r = record(t, &h);
	return r ? r : take_up_new(t);
}

static int replace(struct retry *t)
{
	int there = at_its_name(t), r = 0;

	if (t->dirfd < 0 || there == -ENOENT)
		return say(t, -ENOENT, "its directory is not on the target any more; give it up");
	if (there == -EEXIST)
		return say(t, -EEXIST, "an application has taken its name on the target; give it up, or rename what is there");
	if (there < 0)
		return failed(t, there, "its name on the target");
	if (!there && stub_is_there(t))
		return say(t, -EBUSY, "it is another type on the source now, and an application has renamed it on the target; "
			      "delete it there, or give it up");
	if (there)
		r = remove_stub(t);
	return r ? r : new_stub(t);
}

static int accept_now(struct retry *t)
{
	int r = ask_present(t->en, t->row.oid, &t->fh, &t->attr);

	if (r == -ENOENT || r == -ENOTDIR)
		return say(t, -ENOENT, "the source has nothing under this name any more; give it up");
	if (r)
		return failed(t, r, "the source cannot be asked for it");
	if (touched(t))
		return say(t, -EBUSY, "an application has changed it, and two versions are never mixed; "
			      "copy by hand what you need, then give it up");
	if (!stub_is_there(t) || admit_row_type(t->attr.type) != t->row.type)
		return replace(t);
	if (t->row.type == CATALOG_REG)
		return accept_file(t);
	if (t->row.type == CATALOG_DIR)
		return accept_directory(t);
	return replace(t);
}

/* ---- giving up ---- */

static int record_failed(struct retry *t)
{
	int r = catalog_begin(t->en->catalog);

	if (r)
		return failed(t, r, "the catalog cannot be written");
	r = catalog_transition(t->en->catalog, t->row.oid, STATE_BIT(CATALOG_QUARANTINED), CATALOG_FAILED, NULL);
	if (!r)
		r = catalog_reason_set(t->en->catalog, t->row.oid, t->code, t->reason);
	r = commit(t, r);
	POINT("give-up.recorded");
	if (!r && t->o) {
		pthread_mutex_lock(&t->en->mu);
		while (!is_clean(t->o))		/* nothing left to ask or to tell */
			eobj_reach(t->o, t->o->stage + 1);
		pthread_mutex_unlock(&t->en->mu);
	}
	return r;
}

static int unmark(struct retry *t)
{
	_cleanup_close_ int fd = target_open_handle(t->en->target, &t->o->th, O_PATH);
	int r = fd < 0 ? fd : 0;

	pthread_mutex_lock(&t->en->mark_mu);
	if (!r)
		r = target_mark_remove(t->en->target, fd);
	pthread_mutex_lock(&t->en->mu);
	t->o->mark_gone = true;
	pthread_mutex_unlock(&t->en->mu);
	pthread_mutex_unlock(&t->en->mark_mu);
	if (!r || r == -ENODATA)
		r = target_sync_one(t->en->target, &t->o->th);
	return failed(t, r == -ESTALE ? 0 : r, "its mark cannot be removed");
}

static void incomplete_name(const struct retry *t, char name[256])
{
	snprintf(name, 256, "%.*s%s", (int)(256 - sizeof INCOMPLETE_SUFFIX), t->row.name, INCOMPLETE_SUFFIX);
}

/* By a give-up that was cut off after it. */
static bool is_renamed(struct retry *t)
{
	struct target_handle h;
	char name[256];

	incomplete_name(t, name);
	return t->o && t->dirfd >= 0 && !target_handle_at(t->dirfd, name, &h) && target_handle_equal(&h, &t->o->th);
}

/* D8: never a plausible file of zeros under its old name. */
static int rename_visibly(struct retry *t)
{
	char name[256];

	incomplete_name(t, name);
	if (renameat2(t->dirfd, t->row.name, t->dirfd, name, RENAME_NOREPLACE))
		return failed(t, -errno, "it cannot be renamed to NAME" INCOMPLETE_SUFFIX);
	POINT("give-up.renamed");
	say(t, 0, "renamed to %s", name);
	return failed(t, target_sync_one(t->en->target, &t->dir->th), "its directory cannot be flushed");
}

/* A directory: what is in it is real. */
static int kept(struct retry *t)
{
	say(t, 0, "it stays with what is in it");
	return unmark(t);
}

static int remove_name(struct retry *t)
{
	struct stat st;
	bool dir;

	if (fstatat(t->dirfd, t->row.name, &st, AT_SYMLINK_NOFOLLOW))
		return failed(t, -errno, "its name on the target");
	dir = S_ISDIR(st.st_mode);
	if (!unlinkat(t->dirfd, t->row.name, dir ? AT_REMOVEDIR : 0)) {
		POINT("give-up.removed");
		say(t, 0, "removed from the target");
		if (t->o) {
			pthread_mutex_lock(&t->en->mu);
			t->o->deleted = true;
			pthread_mutex_unlock(&t->en->mu);
		}
		return failed(t, target_sync_one(t->en->target, &t->dir->th), "its directory cannot be flushed");
	}
	if (dir && t->o && (errno == ENOTEMPTY || errno == EEXIST))
		return kept(t);
	return failed(t, -errno, "it cannot be removed");
}

static int give_up_now(struct retry *t)
{
	int there, r = 0;

	if (t->row.oid == CATALOG_ROOT_OID)
		return say(t, -EBUSY, "the root of the migration cannot be given up");
	there = at_its_name(t);
	if (there != 1 && stub_is_there(t) && t->row.type != CATALOG_DIR && !is_renamed(t))
		return say(t, -EBUSY, "an application has renamed it on the target; delete it there, and it is settled");
	r = record_begun(t, false, "giving it up was interrupted; give it up again");
	if (!r && there == 1)
		r = touched(t) ? rename_visibly(t) : remove_name(t);
	if (!r && stub_is_there(t))
		r = unmark(t);
	return r ? r : record_failed(t);
}

/* ---- both ---- */

static void run(struct engine *en, uint64_t oid, int (*what)(struct retry *t), const char *event,
		engine_done_fn *done, void *arg)
{
	struct retry *t = calloc(1, sizeof *t);
	int r;

	if (!t) {
		done(arg, oid, -ENOMEM, "out of memory");
		return;
	}
	t->en = en;
	t->dirfd = -1;
	pthread_mutex_lock(&en->retry_mu);
	r = look(t, oid);
	if (!r)
		r = attach(t);
	if (!r)
		r = what(t);
	pthread_mutex_unlock(&en->retry_mu);
	if (!r)
		engine_say(en, event, LOG_LEVEL_INFO, oid, "%s%s%s", t->row.name_len ? t->row.name : "/",
			   *t->text ? ": " : "", t->text);
	done(arg, oid, r, t->text);
	if (t->dirfd >= 0)
		close(t->dirfd);
	eobj_put(t->dir);
	eobj_put(t->o);
	free(t);
}

void engine_retry(struct engine *en, uint64_t oid, engine_done_fn *done, void *arg)
{
	run(en, oid, accept_now, "retried", done, arg);
}

void engine_give_up(struct engine *en, uint64_t oid, engine_done_fn *done, void *arg)
{
	run(en, oid, give_up_now, "given-up", done, arg);
}
