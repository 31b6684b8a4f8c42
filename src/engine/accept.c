/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Accepting the source's present version of a quarantined object.
 *
 * For a file, in an order in which any crash leaves the object quarantined and ready for the next retry:
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
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/creds.h"
#include "base/point.h"
#include "quarantine.h"

/*
 * From here on no application changes the content until let_go().  A write has announced itself before (modified), and without
 * a recorded chunk none can begin; truncations wait.
 */
static bool seize(struct quarantine *t)
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

static void let_go(struct quarantine *t)
{
	access_change_end(t->o);
}

/* ---- recording ---- */

static void promise_of(const struct quarantine *t, const struct target_handle *h, struct catalog_row *row)
{
	const struct source_attr *a = &t->attr;

	*row = t->row;
	row->type = admit_row_type(a->type);
	eobj_promise_row(row, a);
	eobj_handle_row(row, h);
}

static int record(struct quarantine *t, const struct target_handle *h)
{
	struct catalog *c = t->en->catalog;
	struct catalog_row row;
	bool fetches;
	int r = catalog_begin(c);

	if (r)
		return quarantine_failed(t, r, "the catalog cannot be written");
	promise_of(t, h, &row);
	fetches = row.type == CATALOG_DIR || row.type == CATALOG_REG;
	r = catalog_set_promise(c, &row);
	if (!r)
		r = catalog_transition(c, row.oid, STATE_BIT(CATALOG_QUARANTINED), CATALOG_FOUND, NULL);
	if (!r && !fetches)	/* complete with its stub */
		r = catalog_transition(c, row.oid, STATE_BIT(CATALOG_FOUND), CATALOG_CLEANING, NULL);
	if (!r)
		r = catalog_reason_set(c, row.oid, 0, NULL);
	r = quarantine_commit(t, r);
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

static void back_to_work(struct quarantine *t, struct eobj *o)
{
	fhcache_put(t->en->fhs, t->row.oid, &t->fh);
	if (o->type == CATALOG_REG)	/* of no bytes: whole already */
		finish_if_whole(o);
	mover_fresh(t->en, o);
}

/* The mark says the new size again; if that fails or is lost, no limit is as good. */
static void tell_limit(struct quarantine *t)
{
	_cleanup_close_ int fd = target_open_handle(t->en->target, &t->o->th, O_PATH);

	if (fd >= 0)
		eobj_write_mark(t->en, t->o, fd);
}

static int take_up(struct quarantine *t)
{
	int r = renew(t->o, &t->attr);

	if (r)
		return quarantine_failed(t, r, "it will be taken up at the next start");
	if (t->o->type == CATALOG_REG)
		tell_limit(t);
	engine_changed(t->en, &t->o->th);
	back_to_work(t, t->o);
	return 0;
}

/* Another inode: what is in memory of the old one is forgotten. */
static int take_up_new(struct quarantine *t)
{
	struct eobj *o;
	int r;

	if (t->o)
		eobj_retire(t->o);
	engine_renamed(t->en, &t->dir->th, t->row.name);
	r = eobj_load(t->en, t->row.oid, NULL, &o);
	if (r)
		return quarantine_failed(t, r, "it will be taken up at the next start");
	if (is_recorded(o))
		commit_clean(t->en, o);
	else
		back_to_work(t, o);
	eobj_put(o);
	return 0;
}

/* ---- accepting ---- */

/* Another object stands under the name: then mode and owner are new, too. */
static bool is_replaced(const struct quarantine *t)
{
	return t->attr.fileid != t->row.fileid || t->attr.fsid != t->row.fsid;
}

static int dress_anew(struct quarantine *t)
{
	_cleanup_close_ int fd = target_open_handle(t->en->target, &t->o->th, O_PATH);
	struct target_attr ta;
	int r = fd < 0 ? fd : 0;

	admit_target_attr(&t->attr, NULL, &ta);
	if (!r)
		r = target_stub_redo(t->en->target, fd, &ta);
	return quarantine_failed(t, r, "its stub cannot be given the new attributes");
}

/* The same stub, emptied, for another version. */
static int reset_file(struct quarantine *t)
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
	return quarantine_failed(t, r, "its stub cannot be reset");
}

static int replace_content(struct quarantine *t)
{
	int r = quarantine_begun(t, true, "a retry was interrupted; retry it again");

	POINT("retry.begun");
	if (!r)
		r = reset_file(t);
	POINT("retry.reset");
	if (!r)
		r = record(t, &t->o->th);
	return r ? r : take_up(t);
}

static int accept_file(struct quarantine *t)
{
	int r;

	if (!seize(t))
		return quarantine_say(t, -EBUSY, "an application is changing it");
	r = replace_content(t);
	let_go(t);
	return r;
}

static int accept_directory(struct quarantine *t)
{
	int r = is_replaced(t) ? dress_anew(t) : 0;

	if (!r)
		r = record(t, &t->o->th);
	return r ? r : take_up(t);
}

static int remove_stub(struct quarantine *t)
{
	int flags = t->row.type == CATALOG_DIR ? AT_REMOVEDIR : 0;

	if (!unlinkat(t->dirfd, t->row.name, flags))
		return 0;
	if (errno == ENOTEMPTY || errno == EEXIST)
		return quarantine_say(t, -ENOTEMPTY, "it is another type on the source now, and the directory on the target is not empty; "
			      "move its content away, or give it up");
	return quarantine_failed(t, -errno, "its stub cannot be removed");
}

/* A stub of the source's present type under the object's name. */
static int new_stub(struct quarantine *t)
{
	struct target_mark m = { .oid = t->row.oid, .limit = t->attr.type == SOURCE_REG ? t->attr.size : 0 };
	const struct timespec omit = { .tv_nsec = UTIME_OMIT };
	struct target_attr ta;
	struct target_handle h;
	struct stat dir;
	int r = t->attr.type == SOURCE_LNK ? ask_link(t->en, &t->fh, t->link) : 0;

	if (r)
		return quarantine_failed(t, r, "the link cannot be read from the source");
	admit_target_attr(&t->attr, t->link, &ta);
	if (fstat(t->dirfd, &dir))
		return quarantine_failed(t, -errno, "its directory");
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
		return quarantine_failed(t, r, "the target cannot hold it");
	r = record(t, &h);
	return r ? r : take_up_new(t);
}

static int replace(struct quarantine *t)
{
	int there = quarantine_at_its_name(t), r = 0;

	if (t->dirfd < 0 || there == -ENOENT)
		return quarantine_say(t, -ENOENT, "its directory is not on the target any more; give it up");
	if (there == -EEXIST)
		return quarantine_say(t, -EEXIST, "an application has taken its name on the target; give it up, or rename what is there");
	if (there < 0)
		return quarantine_failed(t, there, "its name on the target");
	if (!there && quarantine_stub_is_there(t))
		return quarantine_say(t, -EBUSY, "it is another type on the source now, and an application has renamed it on the target; "
			      "delete it there, or give it up");
	if (there)
		r = remove_stub(t);
	return r ? r : new_stub(t);
}

int accept_now(struct quarantine *t)
{
	int r = ask_present(t->en, t->row.oid, &t->fh, &t->attr);

	if (r == -ENOENT || r == -ENOTDIR)
		return quarantine_say(t, -ENOENT, "the source has nothing under this name any more; give it up");
	if (r)
		return quarantine_failed(t, r, "the source cannot be asked for it");
	if (quarantine_touched(t))
		return quarantine_say(t, -EBUSY, "an application has changed it, and two versions are never mixed; "
			      "copy by hand what you need, then give it up");
	if (!quarantine_stub_is_there(t) || admit_row_type(t->attr.type) != t->row.type)
		return replace(t);
	if (t->row.type == CATALOG_REG)
		return accept_file(t);
	if (t->row.type == CATALOG_DIR)
		return accept_directory(t);
	return replace(t);
}
