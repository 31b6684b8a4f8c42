/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The urgent committer (D3c): an application waits for the record of one object.
 *
 * Its rows and those of its not yet durable ancestors are flushed by fsync of just
 * these inodes and their directories, never by syncfs (other people's dirty pages),
 * and recorded in a commit of their own.  It works on copies of the records; the group
 * committer finds the originals recorded already and lets them pass.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/point.h"

#include "internal.h"

struct urgent_object {		/* one inode to flush and what becomes durable with it */
	struct eobj *o;
	struct record *complete, *ranges, *intent;	/* own copies, not queued */
	bool modify;
};

struct urgent {
	struct urgent_object *v;
	size_t n, room;
	struct list rows;		/* copies of ROW and LINK records, parents first */
	struct target_handle *dirs;
	size_t ndirs;
};

/* Can a commit now serve somebody who waits on o? */
static bool useful(const struct eobj *o)
{
	for (const struct list *n = o->waiters.next; n != &o->waiters; n = n->next) {
		const struct access_wait *w = list_entry(n, struct access_wait, link);

		switch (w->cond) {
		case WAIT_RECORD:
		case WAIT_INTENT:
			return true;
		case WAIT_CONTENT_RECORDED:
			if (is_here(o))
				return true;
			break;
		case WAIT_RANGE_RECORDED:
			if (content_covers(&o->content, CONTENT_HERE, w->off, w->len))
				return true;
			break;
		}
	}
	return false;
}

void urgent_ask(struct eobj *o)
{
	if (o->urgent_queued || list_empty(&o->waiters) || !useful(o))
		return;
	o->urgent_queued = true;
	eobj_ref_locked(o);
	list_append(&o->en->urgent, &o->urgent);
	pthread_cond_signal(&o->en->urgent_cond);
}

static bool urgent_has(const struct urgent *u, const struct eobj *o)
{
	for (size_t i = 0; i < u->n; i++)
		if (u->v[i].o == o)
			return true;
	return false;
}

static int urgent_push(struct urgent *u, struct eobj *o)
{
	if (u->n == u->room) {
		size_t room = u->room ? u->room * 2 : 16;
		void *p = realloc(u->v, room * sizeof *u->v);

		if (!p)
			return -ENOMEM;
		u->v = p;
		u->room = room;
	}
	u->v[u->n++] = (struct urgent_object){ .o = o };
	eobj_ref_locked(o);
	return 0;
}

static int copy_rows(struct urgent *u, struct eobj *o);

/* o and whatever its names hang on that is not durable, parents first; mu held. */
static int urgent_collect(struct engine *en, struct urgent *u, struct eobj *o)
{
	if (urgent_has(u, o))
		return 0;
	for (struct list *n = o->name_records.next; n != &o->name_records; n = n->next) {
		struct record *r = list_entry(n, struct record, of_object);
		struct eobj *dir = eobj_find(en, r->parent);
		int rc = dir && dir->pending_rows ? urgent_collect(en, u, dir) : 0;

		if (rc)
			return rc;
	}
	if (urgent_has(u, o))
		return 0;
	if (urgent_push(u, o))
		return -ENOMEM;
	return copy_rows(u, o);
}

static int copy_rows(struct urgent *u, struct eobj *o)
{
	for (struct list *n = o->name_records.next; n != &o->name_records; n = n->next) {
		struct record *r = list_entry(n, struct record, of_object);
		struct record *c;

		if (r->recorded)
			continue;
		c = record_new(r->kind, o, r->name, r->name_len);
		if (!c)
			return -ENOMEM;
		c->oid = r->oid;
		c->parent = r->parent;
		list_append(&u->rows, &c->link);
	}
	return 0;
}

static void copy_wanted(struct urgent_object *v)
{
	struct eobj *o = v->o;

	for (struct list *n = o->waiters.next; n != &o->waiters; n = n->next) {
		const struct access_wait *w = list_entry(n, struct access_wait, link);

		if (w->cond == WAIT_INTENT && !v->intent && !o->intent)
			v->intent = record_new(RECORD_INTENT_CLEAR, o, NULL, 0);
		if (w->cond == WAIT_CONTENT_RECORDED && is_here(o) && !v->complete)
			v->complete = record_new(RECORD_COMPLETE, o, NULL, 0);
		if (w->cond == WAIT_RANGE_RECORDED && !v->ranges && !is_here(o)) {
			bool queued = o->ranges_queued;

			v->ranges = record_new(RECORD_RANGES, o, NULL, 0);
			if (v->ranges)
				record_snapshot(v->ranges);
			o->ranges_queued = queued;
		}
		if (w->cond == WAIT_RANGE_RECORDED && is_here(o) && !v->complete)
			v->complete = record_new(RECORD_COMPLETE, o, NULL, 0);
		if (w->cond == WAIT_RANGE_RECORDED && !is_here(o) && !o->modified_recorded)
			v->modify = true;
	}
}

/* The directories in which the new names stand; fsync of the stub alone need not keep its name. */
static int flush_dirs(struct engine *en, struct urgent *u)
{
	uint64_t last = 0;

	for (struct list *n = u->rows.next; n != &u->rows; n = n->next) {
		struct record *r = list_entry(n, struct record, link);
		struct eobj *dir;
		int rc;

		if (!r->parent || r->parent == last)
			continue;
		last = r->parent;
		rc = eobj_load(en, r->parent, NULL, &dir);
		if (rc)
			return rc == -ENOENT ? 0 : rc;
		rc = target_sync_one(en->target, &dir->th);
		eobj_put(dir);
		if (rc && rc != -ESTALE)
			return rc;
	}
	return 0;
}

static int flush_urgent(struct engine *en, struct urgent *u)
{
	for (size_t i = 0; i < u->n; i++) {
		int r = POINT_STEP("rule.flush-stub") == POINT_SKIP ? 0 :
			target_sync_one(en->target, &u->v[i].o->th);

		if (r && r != -ESTALE)
			return r;
	}
	POINT("urgent.stub-flushed");
	return flush_dirs(en, u);
}

static int apply_urgent(struct engine *en, struct urgent *u)
{
	int r;

	POINT("urgent.flushed");
	r = catalog_begin(en->catalog);

	if (r)
		return r;
	for (struct list *n = u->rows.next; !r && n != &u->rows; n = n->next)
		r = record_apply(en, list_entry(n, struct record, link));
	for (size_t i = 0; !r && i < u->n; i++) {
		struct urgent_object *v = &u->v[i];

		if (v->complete)
			r = record_apply(en, v->complete);
		if (!r && v->ranges)
			r = record_apply(en, v->ranges);
		if (!r && v->modify)	/* D8: the application's bytes come after this */
			r = catalog_set_flags(en->catalog, v->o->oid, CATALOG_F_MODIFIED, 0);
		if (!r && v->intent)	/* D5: the intent comes before the delete */
			r = catalog_set_flags(en->catalog, v->o->oid, CATALOG_F_INTENT_DELETE, 0);
	}
	if (r) {
		catalog_rollback(en->catalog);
		return r;
	}
	POINT("urgent.applied");
	r = catalog_commit(en->catalog);
	POINT("urgent.committed");
	if (!r)
		atomic_fetch_add(&en->commits, 1);
	return r;
}

/* Tell the queued originals of the copied rows that they are done. */
static void settle_rows(struct urgent *u)
{
	for (struct list *n = u->rows.next; n != &u->rows; n = n->next) {
		struct record *c = list_entry(n, struct record, link);

		for (struct list *m = c->o->name_records.next; m != &c->o->name_records; m = m->next) {
			struct record *r = list_entry(m, struct record, of_object);

			if (r->oid != c->oid || r->recorded)
				continue;
			r->recorded = true;
			c->o->pending_rows--;
			if (r->kind == RECORD_ROW) {
				c->o->in_catalog = true;
				if (record_row_completes(c->o))
					eobj_recorded(c->o);
			}
		}
	}
}

static void settle_urgent(struct engine *en, struct urgent *u)
{
	struct wakes k;

	wakes_init(&k);
	pthread_mutex_lock(&en->mu);
	settle_rows(u);
	for (size_t i = 0; i < u->n; i++) {
		struct urgent_object *v = &u->v[i];

		if (v->complete)
			eobj_recorded(v->o);	/* its queued COMPLETE record removes the mark later */
		if (v->ranges)
			record_done(en, v->ranges, &k);
		if (v->modify)
			v->o->modified = v->o->modified_recorded = true;
		if (v->intent)
			v->o->intent = true;
		wait_collect(v->o, &k);
		urgent_ask(v->o);	/* who came while we were flushing */
	}
	pthread_mutex_unlock(&en->mu);
	wakes_fire(&k);
}

static void urgent_free(struct urgent *u)
{
	for (size_t i = 0; i < u->n; i++) {
		struct urgent_object *v = &u->v[i];

		if (v->complete)
			record_free(v->complete);
		if (v->ranges)
			record_free(v->ranges);
		if (v->intent)
			record_free(v->intent);
		eobj_put(v->o);
	}
	record_free_all(&u->rows);
	free(u->v);
}

static void fail_waiters(struct engine *en, struct urgent *u, int err)
{
	struct wakes k;

	wakes_init(&k);
	pthread_mutex_lock(&en->mu);
	for (size_t i = 0; i < u->n; i++)
		wait_drain(&u->v[i].o->waiters, err, &k);
	pthread_mutex_unlock(&en->mu);
	wakes_fire(&k);
}

/* The queue's own references; u holds others.  Leaves mu unlocked. */
static void drop_asked(struct engine *en, struct list *asked)
{
	struct eobj *v[64];
	size_t n;

	do {
		struct list *l;

		for (n = 0; n < 64 && (l = list_pop(asked)); n++)
			(v[n] = list_entry(l, struct eobj, urgent))->urgent_queued = false;
		pthread_mutex_unlock(&en->mu);
		for (size_t i = 0; i < n; i++)
			eobj_put(v[i]);
		pthread_mutex_lock(&en->mu);
	} while (n == 64);
	pthread_mutex_unlock(&en->mu);
}

/* Only a flush that was tried and failed poisons (D2); one that could not be begun is tried again. */
static int flush_patiently(struct engine *en, struct urgent *u)
{
	int r = flush_urgent(en, u);

	while (room_is_passing(r)) {
		room_refused(en, ROOM_NAME, r);
		if (!commit_pause(en))
			return -EIO;
		r = flush_urgent(en, u);
	}
	if (r)
		engine_poison(en, "an inode of the target could not be flushed to disk");
	return r;
}

/*
 * A full catalog is nobody's ENOSPC: who waits goes on waiting.  The first failure has given up the ballast, so
 * that the second try usually succeeds.
 */
static int persist_urgent(struct engine *en, struct urgent *u)
{
	int r = apply_urgent(en, u);

	if (r == -ENOSPC)
		r = apply_urgent(en, u);
	while (commit_may_pass(r)) {
		room_catalog(en, r);
		if (!commit_pause(en))
			return -EIO;
		r = apply_urgent(en, u);
	}
	if (r)
		engine_poison(en, "the catalog could not be written");
	return r;
}

/* mu held on entry and exit. */
static void urgent_once(struct engine *en)
{
	struct urgent u = { 0 };
	struct list *n, asked;
	int r = 0;

	list_init(&u.rows);
	list_init(&asked);
	while ((n = list_pop(&en->urgent))) {
		struct eobj *o = list_entry(n, struct eobj, urgent);

		if (!r)
			r = urgent_collect(en, &u, o);
		if (!urgent_has(&u, o) && !r)
			r = urgent_push(&u, o);
		list_append(&asked, &o->urgent);
	}
	for (size_t i = 0; i < u.n; i++)
		copy_wanted(&u.v[i]);
	drop_asked(en, &asked);
	if (!r)
		r = flush_patiently(en, &u);
	if (!r) {
		r = persist_urgent(en, &u);
		if (!r)
			settle_urgent(en, &u);
	}
	if (r)
		fail_waiters(en, &u, r);
	urgent_free(&u);
	pthread_mutex_lock(&en->mu);
}

void *urgent_main(void *arg)
{
	struct engine *en = arg;

	pthread_mutex_lock(&en->mu);
	for (;;) {
		while (list_empty(&en->urgent) && !en->committer_stop)
			pthread_cond_wait(&en->urgent_cond, &en->mu);
		if (list_empty(&en->urgent))
			break;
		urgent_once(en);
	}
	pthread_mutex_unlock(&en->mu);
	return NULL;
}
