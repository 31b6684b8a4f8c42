/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The table of objects in memory.
 *
 * An object is loaded from its row when somebody looks at it and forgotten with its last reference.
 * Loading reads the catalog without the lock; if an object left the same bucket meanwhile, what was
 * read may be older than what that object had recorded, so it is read again.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/point.h"
#include "internal.h"

static size_t bucket(uint64_t oid)
{
	return hash_u64(oid) % OBJ_BUCKETS;
}

struct eobj *eobj_find(struct engine *en, uint64_t oid)
{
	struct eobj *o = en->objects[bucket(oid)];

	while (o && o->oid != oid)
		o = o->hash_next;
	return o;
}

void eobj_ref_locked(struct eobj *o)
{
	o->refs++;
}

static void destroy(struct eobj *o)
{
	content_free(&o->content);
	if (o->fd >= 0)
		close(o->fd);
	free(o);
}

static void unhash(struct engine *en, struct eobj *o)
{
	struct eobj **p = &en->objects[bucket(o->oid)];

	while (*p && *p != o)
		p = &(*p)->hash_next;
	if (!*p)
		return;
	*p = o->hash_next;
	en->object_gen[bucket(o->oid)]++;
}

void eobj_put(struct eobj *o)
{
	struct engine *en;

	if (!o)
		return;
	en = o->en;
	pthread_mutex_lock(&en->mu);
	if (--o->refs) {
		pthread_mutex_unlock(&en->mu);
		return;
	}
	unhash(en, o);
	pthread_mutex_unlock(&en->mu);
	destroy(o);
}

void eobj_retire(struct eobj *o)
{
	pthread_mutex_lock(&o->en->mu);
	unhash(o->en, o);
	pthread_mutex_unlock(&o->en->mu);
}

bool eobj_has_links(const struct eobj *o)
{
	return o->type != CATALOG_DIR && o->promise.nlink > 1;
}

struct timespec eobj_time(struct source_time t)
{
	return (struct timespec){ .tv_sec = (time_t)t.sec, .tv_nsec = (long)t.nsec };
}

void eobj_promise(struct promise *p, const struct source_attr *a)
{
	p->size = a->size;
	p->used = a->used;
	p->fsid = a->fsid;
	p->fileid = a->fileid;
	p->change = a->change;
	p->nlink = a->nlink;
	p->atime = a->atime;
	p->mtime = a->mtime;
	p->ctime = a->ctime;
}

void eobj_mark(const struct eobj *o, struct target_mark *m)
{
	*m = (struct target_mark){ .oid = o->oid, .limit = o->limit, .flags = o->mark_flags,
				   .app_mtime = o->app_mtime };
}

static struct catalog_time to_row_time(struct source_time t)
{
	return (struct catalog_time){ .sec = t.sec, .nsec = t.nsec };
}

void eobj_promise_row(struct catalog_row *row, const struct source_attr *a)
{
	row->size = a->size;
	row->used = a->used;
	row->fsid = a->fsid;
	row->fileid = a->fileid;
	row->change = a->change;
	row->nlink = a->nlink;
	row->atime = to_row_time(a->atime);
	row->mtime = to_row_time(a->mtime);
	row->ctime = to_row_time(a->ctime);
}

void eobj_handle_row(struct catalog_row *row, const struct target_handle *h)
{
	row->handle[0] = h->len;
	row->handle[1] = h->type;
	memcpy(row->handle + 2, h->data, h->len);
	row->handle_len = (uint8_t)(h->len + 2);
}

static struct source_time from_row_time(struct catalog_time t)
{
	return (struct source_time){ .sec = t.sec, .nsec = t.nsec };
}

struct eobj *eobj_make(struct engine *en, const struct catalog_row *row)
{
	struct eobj *o = calloc(1, sizeof *o + row->name_len + 1u);

	if (!o)
		return NULL;
	o->en = en;
	o->refs = 1;
	o->oid = row->oid;
	o->parent = row->parent;
	o->type = row->type;
	o->fd = -1;
	o->limit = row->size;
	o->names_claimed = 1;
	o->promise = (struct promise){ .size = row->size, .used = row->used, .fsid = row->fsid,
		.fileid = row->fileid, .change = row->change, .nlink = row->nlink,
		.atime = from_row_time(row->atime), .mtime = from_row_time(row->mtime),
		.ctime = from_row_time(row->ctime) };
	o->th.len = row->handle_len ? row->handle[0] : 0;
	if (row->handle_len >= 2 && o->th.len <= TARGET_HANDLE_MAX && o->th.len + 2 == row->handle_len) {
		o->th.type = row->handle[1];
		memcpy(o->th.data, row->handle + 2, o->th.len);
	} else {
		o->th.len = 0;
	}
	list_init(&o->waiters);
	list_init(&o->around);
	list_init(&o->name_records);
	list_init(&o->urgent);
	list_init(&o->fresh_link);
	list_init(&o->held);
	o->name_len = row->name_len;
	memcpy(o->name, row->name, row->name_len);
	if (row->type == CATALOG_REG && content_init(&o->content, row->size)) {
		free(o);
		return NULL;
	}
	o->stage = row->state >= CATALOG_FIRST_TERMINAL ? STAGE_CLEAN :
		   row->state == CATALOG_CLEANING ? STAGE_RECORDED : STAGE_OPEN;
	if (is_here(o) && o->type == CATALOG_REG)	/* nothing to fetch, ever again (D4) */
		content_limit(&o->content, 0);
	o->deleted = row->state == CATALOG_DELETED;
	o->quarantined = row->state == CATALOG_QUARANTINED;
	o->failed = o->quarantined ? -EIO : 0;
	o->intent = row->flags & CATALOG_F_INTENT_DELETE;
	o->modified = o->modified_recorded = row->flags & CATALOG_F_MODIFIED;
	return o;
}

struct eobj *eobj_insert(struct engine *en, struct eobj *o)
{
	struct eobj *there = eobj_find(en, o->oid);
	size_t b = bucket(o->oid);

	if (there) {
		there->refs++;
		return there;
	}
	o->hash_next = en->objects[b];
	en->objects[b] = o;
	return o;
}

void eobj_reach(struct eobj *o, enum eobj_stage stage)
{
	assert(stage >= o->stage && stage <= o->stage + 1);
	o->stage = stage;
}

void eobj_recorded(struct eobj *o)
{
	if (!is_recorded(o))
		eobj_reach(o, STAGE_RECORDED);
}

void eobj_to_row(const struct eobj *o, struct catalog_row *row)
{
	memset(row, 0, sizeof *row);
	row->oid = o->oid;
	row->parent = o->parent;
	row->type = o->type;
	row->state = is_here(o) ? CATALOG_CLEANING : CATALOG_FOUND;
	row->flags = (o->modified ? CATALOG_F_MODIFIED : 0) | (eobj_has_links(o) ? CATALOG_F_LINKS : 0);
	row->size = o->promise.size;
	row->used = o->promise.used;
	row->fsid = o->promise.fsid;
	row->fileid = o->promise.fileid;
	row->change = o->promise.change;
	row->nlink = o->promise.nlink;
	row->atime = to_row_time(o->promise.atime);
	row->mtime = to_row_time(o->promise.mtime);
	row->ctime = to_row_time(o->promise.ctime);
	if (o->th.len)
		eobj_handle_row(row, &o->th);
	if (o->type == CATALOG_REG && !o->promise.size) {
		checksum_of("", 0, 0, row->checksum);
		row->has_checksum = !o->modified;
	}
	row->name_len = o->name_len;
	memcpy(row->name, o->name, o->name_len);
}

int eobj_write_mark(struct engine *en, struct eobj *o, int fd)
{
	struct target_mark m;
	bool gone;
	int r = 0;

	pthread_mutex_lock(&en->mark_mu);
	pthread_mutex_lock(&en->mu);
	eobj_mark(o, &m);
	gone = o->mark_gone;
	pthread_mutex_unlock(&en->mu);
	if (!gone)
		r = target_mark_set(en->target, fd, &m);
	pthread_mutex_lock(&en->mu);
	o->mark_failed = r;
	if (!r)
		o->marked_flags = m.flags;
	pthread_mutex_unlock(&en->mu);
	pthread_mutex_unlock(&en->mark_mu);
	return r;
}

static int add_range(void *arg, uint64_t start, uint64_t end, const uint8_t *sum)
{
	(void)sum;
	content_mark_range(arg, start, end);
	return 0;
}

static bool is_later(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec > b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec > b->tv_nsec);
}

/* What the inode itself says; the mark may just have been read by the caller. */
static int load_mark(struct engine *en, struct eobj *o, const struct target_mark *given)
{
	_cleanup_close_ int fd = target_open_handle(en->target, &o->th, O_PATH);
	struct target_mark m;
	struct stat st;

	if (fd < 0)
		return fd;
	if (given) {
		m = *given;
	} else {
		int r = target_mark_get(en->target, fd, &m);

		if (r)
			return r;
	}
	if (m.oid != o->oid)
		return -EUCLEAN;
	o->mark_flags = m.flags;
	o->marked_flags = m.flags;
	o->app_mtime = m.app_mtime;
	if (o->type != CATALOG_REG)
		return 0;
	if (fstat(fd, &st))
		return -errno;
	/* D6: a later write than the first, or a landing: rather too new than older than what an application did */
	if (m.flags == TARGET_MARK_TIMES && is_later(&st.st_mtim, &m.app_mtime))
		o->app_mtime = st.st_mtim;
	/* D3b: killed between a truncation and its mark; what an interrupted retry does to the size means nothing */
	if (m.limit != TARGET_NO_LIMIT && (uint64_t)st.st_size < m.limit && POINT_STEP("rule.limit-is-size") != POINT_SKIP) {
		int r;

		m.limit = (uint64_t)st.st_size;
		r = target_mark_set(en->target, fd, &m);	/* before an application can make it longer again */
		if (r)
			return r;
	}
	if (m.limit < o->limit) {
		o->limit = m.limit;
		o->modified = true;
		content_limit(&o->content, m.limit);
	}
	return 0;
}

/* The parts of an object that are not in its row. */
static int complete_load(struct engine *en, struct eobj *o, const struct target_mark *mark)
{
	int r;

	o->in_catalog = true;
	o->maybe_rows = o->old_life = true;
	if (eobj_has_links(o) && !is_clean(o)) {
		r = catalog_count_names(en->catalog, o->oid, &o->names_claimed);
		if (r)
			return r;
		r = target_holder_has(en->target, o->oid);
		if (r < 0)
			return r;
		o->in_holder = r;
	}
	if (is_recorded(o))
		return 0;
	if (o->type == CATALOG_REG) {
		r = catalog_range_each(en->catalog, o->oid, add_range, &o->content);
		if (r)
			return r;
	}
	r = load_mark(en, o, mark);
	if (r == -ESTALE || r == -ENODATA || r == -EUCLEAN) {
		o->failed = r;	/* recorded by whoever needs it: see engine_quarantine() */
		o->deleted = r == -ESTALE && o->intent;
		r = 0;
	}
	return r;
}

int eobj_load(struct engine *en, uint64_t oid, const struct target_mark *mark, struct eobj **out)
{
	for (;;) {
		struct catalog_row row;
		struct eobj *o, *there;
		uint32_t gen;
		int r;

		pthread_mutex_lock(&en->mu);
		gen = en->object_gen[bucket(oid)];
		o = eobj_find(en, oid);
		if (o)
			eobj_ref_locked(o);
		pthread_mutex_unlock(&en->mu);
		if (o) {
			*out = o;
			return 0;
		}
		r = catalog_get(en->catalog, oid, &row);
		if (r)
			return r;
		if (row.type == CATALOG_HARDLINK)
			return -ENOENT;
		o = eobj_make(en, &row);
		if (!o)
			return -ENOMEM;
		r = complete_load(en, o, mark);
		if (r) {
			destroy(o);
			return r;
		}
		pthread_mutex_lock(&en->mu);
		there = gen == en->object_gen[bucket(oid)] ? eobj_insert(en, o) : NULL;
		pthread_mutex_unlock(&en->mu);
		if (there != o)
			destroy(o);
		if (there) {
			*out = there;
			return 0;
		}
	}
}
