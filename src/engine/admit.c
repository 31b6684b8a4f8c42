/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Admission: a name found on the source becomes a stub and a queued row.
 *
 * Both the listing and single lookups come here, perhaps for the same name at
 * the same time: a name is claimed in memory first, and the second comer waits for the
 * local work of the first.  A name that has a row, durable or queued, is never
 * touched again (D3a).
 *
 * What is already under that name on the target decides:
 *   a torn stub of ours            made anew (target_stub_create)
 *   a mark without a row           adopted, dressed again (D1)
 *   a mark with a row              a further name of that object, or known
 *   no mark                        the application's: the row says "shadowed"
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/point.h"
#include "internal.h"

struct admission {
	struct engine *en;
	struct eobj *dir;
	int dirfd;
	const char *name;
	size_t len;
	const struct source_attr *a;
	const struct source_fh *fh;
	const char *link;
	bool adopting;		/* the stub is an earlier worker's */
	int err;		/* why there can be no stub */
};

uint8_t admit_row_type(enum source_type t)
{
	static const uint8_t map[] = { [SOURCE_REG] = CATALOG_REG, [SOURCE_DIR] = CATALOG_DIR,
		[SOURCE_LNK] = CATALOG_LNK, [SOURCE_BLK] = CATALOG_BLK, [SOURCE_CHR] = CATALOG_CHR,
		[SOURCE_FIFO] = CATALOG_FIFO, [SOURCE_SOCK] = CATALOG_SOCK };

	return map[t];
}

static mode_t type_bits(enum source_type t)
{
	static const mode_t map[] = { [SOURCE_REG] = S_IFREG, [SOURCE_DIR] = S_IFDIR,
		[SOURCE_LNK] = S_IFLNK, [SOURCE_BLK] = S_IFBLK, [SOURCE_CHR] = S_IFCHR,
		[SOURCE_FIFO] = S_IFIFO, [SOURCE_SOCK] = S_IFSOCK };

	return map[t];
}

static void fill_row(const struct admission *ad, uint64_t oid, const struct target_handle *h,
		     struct catalog_row *row)
{
	const struct source_attr *a = ad->a;

	memset(row, 0, sizeof *row);
	row->oid = oid;
	row->parent = ad->dir->oid;
	row->type = admit_row_type(a->type);
	row->flags = a->type != SOURCE_DIR && a->nlink > 1 ? CATALOG_F_LINKS : 0;
	eobj_promise_row(row, a);
	if (h)
		eobj_handle_row(row, h);
	row->name_len = (uint16_t)ad->len;
	memcpy(row->name, ad->name, ad->len);
}

void admit_target_attr(const struct source_attr *a, const char *link, struct target_attr *t)
{
	*t = (struct target_attr){ .mode = type_bits(a->type) | (a->mode & 07777),
		.uid = a->uid, .gid = a->gid,
		.size = a->type == SOURCE_REG ? a->size : 0,
		.rdev = makedev(a->rdev_major, a->rdev_minor),
		.atime = eobj_time(a->atime), .mtime = eobj_time(a->mtime), .link = link };
}

/* A row without a stub: the name belongs to an application, or the target cannot hold the object. */
static int bare_row(const struct admission *ad, enum catalog_state state, int code, const char *reason)
{
	struct catalog_row row;
	uint64_t oid;
	int r = engine_new_oid(ad->en, &oid);

	if (r)
		return r;
	fill_row(ad, oid, NULL, &row);
	row.state = (uint8_t)state;
	engine_say(ad->en, state == CATALOG_SHADOWED ? "shadowed" : "quarantined", LOG_LEVEL_WARN,
		   oid, "%s: %s", ad->name, reason);
	return record_queue_bare(ad->en, &row, code, reason);
}

/* Content that needs no fetch is complete with its stub. */
static bool born_finished(const struct source_attr *a)
{
	return a->type != SOURCE_DIR && (a->type != SOURCE_REG || !a->size);
}

static int new_object(const struct admission *ad, uint64_t oid, const struct target_handle *h,
		      const struct target_mark *m)
{
	struct catalog_row row;
	struct eobj *o, *there;
	int r;

	fill_row(ad, oid, h, &row);
	o = eobj_make(ad->en, &row);
	if (!o)
		return -ENOMEM;
	o->fresh = true;
	o->mark_flags = o->marked_flags = m->flags;
	o->app_mtime = m->app_mtime;
	if (m->limit < o->limit && o->type == CATALOG_REG) {
		o->limit = m->limit;
		o->modified = true;
		content_limit(&o->content, m->limit);
	}
	o->stage = born_finished(ad->a) ? STAGE_HERE : STAGE_OPEN;
	o->old_life = ad->adopting;
	o->maybe_rows = ad->adopting;
	o->pending_rows = 1;	/* not durable from its first moment in the table */
	pthread_mutex_lock(&ad->en->mu);
	there = eobj_insert(ad->en, o);
	pthread_mutex_unlock(&ad->en->mu);
	if (there != o) {
		eobj_put(there);
		eobj_put(o);	/* never in the table */
		return -EEXIST;
	}
	POINT("admit.stub");
	if (ad->fh && ad->fh->len)
		fhcache_put(ad->en->fhs, oid, ad->fh);
	r = record_queue_name(ad->en, RECORD_ROW, o, o->parent, o->name, o->name_len);
	pthread_mutex_lock(&ad->en->mu);
	o->pending_rows--;
	pthread_mutex_unlock(&ad->en->mu);
	if (!r && !is_here(o))
		mover_fresh(ad->en, o);
	eobj_put(o);
	return r;
}

/* ---- a further name of a known object ---- */

/*
 * An earlier worker made a stub of the same object under this name and was killed before its row was recorded; since then the
 * object has been found by another name.  Nobody can have changed the stub (D3a): it goes.
 */
static int remove_orphan(const struct admission *ad)
{
	_cleanup_close_ int fd = openat(ad->dirfd, ad->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct target_mark m;
	struct eobj *o;
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st))
		return -errno;
	if (S_ISDIR(st.st_mode) || target_mark_get(ad->en->target, fd, &m))
		return -EEXIST;
	r = eobj_load(ad->en, m.oid, &m, &o);
	if (!r)
		eobj_put(o);
	if (r != -ENOENT)
		return r ? r : -EEXIST;
	return unlinkat(ad->dirfd, ad->name, 0) ? -errno : 0;
}

static int link_name(const struct admission *ad, struct eobj *o)
{
	struct target_handle h;
	int r = target_link(ad->en->target, &o->th, ad->dirfd, ad->name);

	if (r == -EEXIST && !target_handle_at(ad->dirfd, ad->name, &h) && target_handle_equal(&h, &o->th))
		r = 0;
	if (r == -EEXIST && (!target_torn_remove(ad->en->target, ad->dirfd, ad->name) || !remove_orphan(ad)))
		r = target_link(ad->en->target, &o->th, ad->dirfd, ad->name);
	if (r && r != -EEXIST && r != -ESTALE && r != -ENOENT)
		return r;
	POINT("admit.linked");
	/* -EEXIST: an application has the name; -ESTALE: it deleted the object: claimed all the same */
	if (!r && o->in_holder && !target_holder_drop(ad->en->target, o->oid)) {
		pthread_mutex_lock(&ad->en->mu);
		o->in_holder = false;
		pthread_mutex_unlock(&ad->en->mu);
	}
	r = record_queue_name(ad->en, RECORD_LINK, o, ad->dir->oid, ad->name, ad->len);
	pthread_mutex_lock(&ad->en->mu);
	o->names_claimed++;
	pthread_mutex_unlock(&ad->en->mu);
	return r;
}

static bool same_source_object(const struct eobj *o, const struct source_attr *a)
{
	return o->promise.fsid == a->fsid && o->promise.fileid == a->fileid &&
	       o->type == admit_row_type(a->type);
}

/* ---- the name is taken on the target ---- */

static int make_stub(const struct admission *ad);

static int adopt(const struct admission *given, int fd, const struct target_mark *m)
{
	struct admission copy = *given, *ad = &copy;
	struct target_mark now = *m;
	struct target_attr t;
	struct target_handle h;
	int r;

	ad->adopting = true;
	admit_target_attr(ad->a, ad->link, &t);
	r = target_handle_of(fd, &h);
	if (POINT_STEP("rule.adopt") == POINT_SKIP)
		return unlinkat(ad->dirfd, ad->name, S_ISDIR(t.mode) ? AT_REMOVEDIR : 0) ? -errno : make_stub(ad);
	POINT("admit.adopting");
	if (!r)
		r = target_stub_redo(ad->en->target, fd, &t);
	if (!r && t.size < now.limit) {	/* it has shrunk on the source meanwhile; nobody had truncated it here (D3a) */
		now.limit = t.size;
		r = target_mark_set(ad->en->target, fd, &now);
	}
	if (!r)
		r = new_object(ad, m->oid, &h, &now);
	if (!r)
		engine_say(ad->en, "adopted", LOG_LEVEL_DEBUG, m->oid, "%s", ad->name);
	return r;
}

static int taken(const struct admission *ad)
{
	_cleanup_close_ int fd = openat(ad->dirfd, ad->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct target_mark m;
	struct eobj *o;
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st))
		return errno == ENOENT ? -EAGAIN : -errno;
	r = target_mark_get(ad->en->target, fd, &m);
	if (r == -ENODATA)
		return bare_row(ad, CATALOG_SHADOWED, EEXIST, "an application had created this name");
	if (r == -EUCLEAN)
		return bare_row(ad, CATALOG_QUARANTINED, EUCLEAN,
				"the name is taken by an object of another, unfinished migration");
	if (r)
		return r;
	r = eobj_load(ad->en, m.oid, &m, &o);
	if (r == -ENOENT) {
		if ((st.st_mode & S_IFMT) != type_bits(ad->a->type))
			return bare_row(ad, CATALOG_QUARANTINED, ESTALE,
					"the type changed on the source while it was being listed");
		return adopt(ad, fd, &m);
	}
	if (r)
		return r;
	if (same_source_object(o, ad->a))
		r = o->parent == ad->dir->oid && o->name_len == ad->len &&
		    !memcmp(o->name, ad->name, ad->len) ? 0 : link_name(ad, o);
	else
		r = bare_row(ad, CATALOG_SHADOWED, EEXIST, "another migrated object has been moved to this name");
	eobj_put(o);
	return r;
}

static int make_stub(const struct admission *ad)
{
	struct target_mark m = { .limit = ad->a->type == SOURCE_REG ? ad->a->size : 0 };
	struct target_attr t;
	struct target_handle h;
	int r;

	if (ad->dir == ad->en->root && !strcmp(ad->name, TARGET_HOLDER_NAME))
		return bare_row(ad, CATALOG_QUARANTINED, EEXIST, "this name is reserved while the migration runs");
	r = engine_new_oid(ad->en, &m.oid);
	if (r)
		return r;
	admit_target_attr(ad->a, ad->link, &t);
	r = target_stub_create(ad->en->target, ad->dirfd, ad->name, &t, &m, &h);
	if (r == -EEXIST)
		r = taken(ad);
	else if (!r)
		r = new_object(ad, m.oid, &h, &m);
	if (r && !room_is_passing(r) && r != -ESTALE && r != -ENOENT && r != -EAGAIN) {
		char why[120];

		snprintf(why, sizeof why, "the target cannot hold it: %s", strerrordesc_np(-r));
		r = bare_row(ad, CATALOG_QUARANTINED, -r, why);
	}
	return r;
}

/* ---- objects with several names ---- */

static int find_object(struct engine *en, const struct source_attr *a, struct eobj **out)
{
	struct eobj *o;
	uint64_t oid;
	int r;

	pthread_mutex_lock(&en->mu);
	for (o = en->links[hash_u64(a->fileid) % 1024]; o; o = o->link_next)
		if (o->promise.fsid == a->fsid && o->promise.fileid == a->fileid)
			break;
	if (o)
		eobj_ref_locked(o);
	pthread_mutex_unlock(&en->mu);
	*out = o;
	if (o)
		return 0;
	r = catalog_find_link(en->catalog, a->fsid, a->fileid, &oid);
	return r ? r : eobj_load(en, oid, NULL, out);
}

static int admit_linked(const struct admission *ad)
{
	struct engine *en = ad->en;
	struct eobj *o;
	int r;

	pthread_mutex_lock(&en->link_mu);
	r = find_object(en, ad->a, &o);
	if (r == -ENOENT) {
		r = make_stub(ad);
	} else if (!r) {
		r = same_source_object(o, ad->a)
			? link_name(ad, o)
			: bare_row(ad, CATALOG_QUARANTINED, ESTALE, "the object was replaced on the source");
		eobj_put(o);
	}
	pthread_mutex_unlock(&en->link_mu);
	return r;
}

/* ---- claims ---- */

static bool being_admitted(const struct engine *en, uint64_t parent, const char *name, size_t len)
{
	for (const struct claim *c = en->claims; c; c = c->next)
		if (c->parent == parent && c->len == len && !memcmp(c->name, name, len))
			return true;
	return false;
}

static bool claimed_in(const struct engine *en, uint64_t parent)
{
	for (const struct claim *c = en->claims; c; c = c->next)
		if (c->parent == parent)
			return true;
	return false;
}

void admit_close(struct engine *en, struct eobj *dir, bool closed)
{
	pthread_mutex_lock(&en->mu);
	dir->names_closed = closed;
	while (closed && claimed_in(en, dir->oid))
		pthread_cond_wait(&en->claim_cond, &en->mu);
	pthread_mutex_unlock(&en->mu);
}

static bool claim(struct engine *en, struct eobj *dir, struct claim *c, bool *maybe_rows)
{
	bool known;

	pthread_mutex_lock(&en->mu);
	while (being_admitted(en, c->parent, c->name, c->len))
		pthread_cond_wait(&en->claim_cond, &en->mu);
	/* a listing that has ended was the decision: nobody would look for a row that a kill prevents */
	known = is_here(dir) || dir->names_closed || record_find_name(en, c->parent, c->name, c->len);
	if (!known) {
		c->next = en->claims;
		en->claims = c;
	}
	*maybe_rows = dir->maybe_rows;
	pthread_mutex_unlock(&en->mu);
	return !known;
}

static void unclaim(struct engine *en, struct claim *c)
{
	struct claim **p;

	pthread_mutex_lock(&en->mu);
	for (p = &en->claims; *p != c; p = &(*p)->next)
		;
	*p = c->next;
	pthread_cond_broadcast(&en->claim_cond);
	pthread_mutex_unlock(&en->mu);
}

static void sweep_name(struct engine *en, struct eobj *dir, int dirfd, const char *name)
{
	struct claim c = { .parent = dir->oid, .name = name, .len = strlen(name) };
	bool maybe_rows;

	if (!claim(en, dir, &c, &maybe_rows))
		return;		/* admitted meanwhile: not torn any more */
	target_torn_remove(en->target, dirfd, name);
	unclaim(en, &c);
}

/* ".." of a first-level directory is the backing root, and over that lies our own mount: we would wait for ourselves. */
static bool is_dots(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

int admit_sweep(struct engine *en, struct eobj *dir, int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_NOATIME | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;
	struct stat st;

	if (!d) {
		int r = -errno;

		if (fd >= 0)
			close(fd);
		return r;
	}
	while ((errno = 0, de = readdir(d)))
		if (!is_dots(de->d_name) && !fstatat(dirfd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) &&
		    target_is_torn(en->target, &st))
			sweep_name(en, dir, dirfd, de->d_name);
	return -errno;
}

static int no_stub(const struct admission *ad)
{
	char why[120];

	snprintf(why, sizeof why, "it cannot be read from the source: %s", strerrordesc_np(-ad->err));
	return bare_row(ad, CATALOG_QUARANTINED, -ad->err, why);
}

static int with_stub(const struct admission *ad)
{
	return ad->a->type != SOURCE_DIR && ad->a->nlink > 1 ? admit_linked(ad) : make_stub(ad);
}

/* Unless the name has a row already, durable or queued. */
static int admit_once(const struct admission *ad, int (*what)(const struct admission *ad))
{
	struct claim c = { .parent = ad->dir->oid, .name = ad->name, .len = ad->len };
	struct catalog_row row;
	bool maybe_rows;
	int r = -ENOENT;

	if (!claim(ad->en, ad->dir, &c, &maybe_rows))
		return 0;
	if (maybe_rows)
		r = catalog_find(ad->en->catalog, ad->dir->oid, ad->name, ad->len, &row);
	if (r == -ENOENT)
		r = what(ad);
	unclaim(ad->en, &c);
	return r;
}

int admit(struct engine *en, struct eobj *dir, int dirfd, const char *name,
	  const struct source_attr *a, const struct source_fh *fh, const char *link)
{
	struct admission ad = { .en = en, .dir = dir, .dirfd = dirfd,
				.name = name, .len = strlen(name), .a = a, .fh = fh, .link = link };

	return admit_once(&ad, with_stub);
}

int admit_unreadable(struct engine *en, struct eobj *dir, int dirfd, const char *name,
		     const struct source_attr *a, int err)
{
	struct admission ad = { .en = en, .dir = dir, .dirfd = dirfd,
				.name = name, .len = strlen(name), .a = a, .err = err };

	return admit_once(&ad, no_stub);
}
