/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The group committer and the urgent committer (D2, D3c).
 *
 * Group: take what is queued; stamp the target root; syncfs; apply
 * everything in one transaction together with the stamp; commit durably; only
 * then set the flags that applications' changes wait for, and remove marks (D4).
 * Triggered by age, by number, and at once when the mover is idle.
 *
 * Urgent: an application waits for the record of one object.  Its rows
 * and those of its not yet durable ancestors are flushed by fsync of just
 * these inodes and their directories, never by syncfs (D3c: other people's dirty pages), and recorded in a
 * commit of their own.  It works on copies of the records; the group finds them
 * recorded already and lets them pass.
 *
 * A failed flush poisons the engine: nothing since the last good one counts, and a second
 * flush would succeed without the data (D2).  A failed commit for want of space is repeated.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "internal.h"

enum { GROUP_SIZE = 4000, RETRY_MS = 1000 };
/* doc/catalog.md: what a restart has to read; 8 MiB were 50 ms */
static const uint64_t wal_limit = 8 << 20;
static const uint64_t group_age = 2 * CLOCK_SEC, idle_age = 100 * CLOCK_MS;
/* syncfs(2) on the mount does not reach us (FACTS): what it promises is kept at most this late */
static const uint64_t flush_age = 5 * CLOCK_SEC;

void commit_kick(struct engine *en)
{
	if (en->queued == 1 || en->queued == GROUP_SIZE)
		pthread_cond_signal(&en->commit_cond);
}

/* ---- the group ---- */

static bool idle(const struct engine *en)
{
	return !en->lists_inflight && !en->fetches_inflight;
}

static void wait_for_group(struct engine *en)
{
	while (!en->committer_stop && !en->poisoned) {
		uint64_t now = clock_mono();
		struct timespec ts;

		if (en->queued >= GROUP_SIZE ||
		    (en->queued && now - en->queued_since >= (idle(en) ? idle_age : group_age)) ||
		    now - en->flushed_at >= flush_age)
			return;
		ts = clock_timespec(now + (en->queued ? idle_age : group_age));
		pthread_cond_clockwait(&en->commit_cond, &en->mu, CLOCK_MONOTONIC, &ts);
	}
}

static int flush_group(struct engine *en)
{
	int r = target_stamp_set(en->target, en->stamp + 1);	/* D2: target is at most one ahead */

	if (r == -ENOSPC || r == -EDQUOT)
		return r;
	if (!r)
		r = target_sync_all(en->target);
	if (r)
		engine_poison(en, "the target could not be flushed to disk");
	return r;
}

static int record_group(struct engine *en, struct list *batch)
{
	uint64_t stamp = en->stamp + 1;
	int r = catalog_begin(en->catalog);

	if (r)
		return r;
	for (struct list *n = batch->next; !r && n != batch; n = n->next) {
		struct record *rec = list_entry(n, struct record, link);

		r = record_apply(en, rec);
		if (r)
			log_warn("catalog: record of kind %d for object %llu: %s", (int)rec->kind,
				 (unsigned long long)rec->oid, strerrordesc_np(-r));
	}
	if (!r)
		r = catalog_meta_set(en->catalog, "stamp", &stamp, sizeof stamp);
	if (r) {
		catalog_rollback(en->catalog);
		return r;
	}
	r = catalog_commit(en->catalog);
	if (!r) {
		en->stamp = stamp;
		atomic_fetch_add(&en->commits, 1);
	}
	return r;
}

/* Repeat while there is no room; true when it is recorded. */
static bool persist(struct engine *en, struct list *batch)
{
	bool said = false;

	for (;;) {
		int r = flush_group(en);

		if (!r)
			r = record_group(en, batch);
		if (!r)
			break;
		if (en->poisoned)
			return false;
		if (r != -ENOSPC && r != -EDQUOT && r != -ENOMEM && r != -EBUSY) {
			engine_poison(en, "the catalog could not be written");
			return false;
		}
		if (!said)
			engine_say(en, "catalog-full", LOG_LEVEL_WARN, 0,
				   "no room to record progress (%s); free space for the state directory",
				   strerrordesc_np(-r));
		said = true;
		pthread_mutex_lock(&en->mu);
		if (!en->committer_stop) {
			struct timespec ts = clock_timespec(clock_mono() + RETRY_MS * CLOCK_MS);

			pthread_cond_clockwait(&en->commit_cond, &en->mu, CLOCK_MONOTONIC, &ts);
		}
		r = en->committer_stop;
		pthread_mutex_unlock(&en->mu);
		if (r)
			return false;
	}
	return true;
}

void commit_clean(struct engine *en, struct eobj *o)
{
	bool wait_for_names, root = false;
	int fd, r;

	pthread_mutex_lock(&en->mu);
	if (o == en->root && o->recorded && !o->cleaned)
		root = true;		/* its mark stays until the very end */
	wait_for_names = !o->recorded || o->cleaned || root || o->mark_gone ||
			 (eobj_has_links(o) && o->names_claimed < o->promise.nlink && !en->links_swept);
	pthread_mutex_unlock(&en->mu);
	if (root)
		record_queue(en, RECORD_CLEANED, o);
	if (wait_for_names)
		return;
	fd = target_open_handle(en->target, &o->th, O_PATH);
	pthread_mutex_lock(&en->mark_mu);
	r = fd < 0 ? fd : target_mark_remove(en->target, fd);
	pthread_mutex_lock(&en->mu);
	o->mark_gone = true;
	pthread_mutex_unlock(&en->mu);
	pthread_mutex_unlock(&en->mark_mu);
	if (fd >= 0)
		close(fd);
	if (r && r != -ESTALE && r != -ENODATA) {
		log_warn("mark of object %llu: %s", (unsigned long long)o->oid, strerrordesc_np(-r));
		return;		/* it stays on the cleaning list */
	}
	record_queue(en, RECORD_CLEANED, o);
	engine_changed(en, &o->th);
}

/* Everything in the batch is durable. */
static void settle(struct engine *en, struct list *batch)
{
	struct list clean;
	struct wakes k;

	list_init(&clean);
	wakes_init(&k);
	pthread_mutex_lock(&en->mu);
	for (struct list *n = batch->next, *next; n != batch; n = next) {
		struct record *rec = list_entry(n, struct record, link);

		next = n->next;
		if (record_done(en, rec, &k)) {
			list_remove(&rec->link);
			list_append(&clean, &rec->link);
		}
	}
	pthread_mutex_unlock(&en->mu);
	wakes_fire(&k);
	for (struct list *n = clean.next; n != &clean; n = n->next)
		commit_clean(en, list_entry(n, struct record, link)->o);
	list_splice(batch, &clean);
}

static void free_batch(struct list *batch)
{
	struct list *n;

	while ((n = list_pop(batch)))
		record_free(list_entry(n, struct record, link));
}

static void flush_only(struct engine *en)
{
	if (target_sync_all(en->target))
		engine_poison(en, "the target could not be flushed to disk");
}

/* D6: the flush that follows also keeps the times that applications' writes have set. */
static void refresh_marks(struct engine *en, struct list *batch)
{
	for (struct list *n = batch->next; n != batch; n = n->next) {
		struct record *r = list_entry(n, struct record, link);

		if (r->kind == RECORD_RANGES)
			eobj_refresh_mark(en, r->o);
	}
}

static void group_once(struct engine *en)
{
	struct list batch;

	list_init(&batch);
	list_splice(&batch, &en->queue);
	en->committing = en->queued;
	en->queued = 0;
	for (struct list *n = batch.next; n != &batch; n = n->next) {
		struct record *r = list_entry(n, struct record, link);

		if (r->kind == RECORD_RANGES)
			record_snapshot(r);
	}
	pthread_mutex_unlock(&en->mu);
	refresh_marks(en, &batch);
	if (list_empty(&batch))
		flush_only(en);
	else if (persist(en, &batch))
		settle(en, &batch);
	free_batch(&batch);
	if (!en->poisoned && catalog_wal_bytes(en->catalog) > wal_limit)
		catalog_checkpoint(en->catalog);
	pthread_mutex_lock(&en->mu);
	en->committing = 0;
	en->flushed_at = clock_mono();
	mover_kick(en);
	pthread_cond_broadcast(&en->wait_cond);
}

static void *group_main(void *arg)
{
	struct engine *en = arg;

	pthread_mutex_lock(&en->mu);
	while (!en->poisoned) {
		wait_for_group(en);
		if (en->committer_stop && !en->queued)
			break;
		if (!en->poisoned)
			group_once(en);
	}
	pthread_mutex_unlock(&en->mu);
	return NULL;
}

/* ---- the urgent ones ---- */

struct urgent_object {		/* one inode to flush and what becomes durable with it */
	struct eobj *o;
	struct record *complete, *ranges, *intent;	/* own copies, not queued */
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
			if (o->finished)
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

void commit_urgent(struct eobj *o)
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

static int copy_rows(struct engine *en, struct urgent *u, struct eobj *o);

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
	return copy_rows(en, u, o);
}

static int copy_rows(struct engine *en, struct urgent *u, struct eobj *o)
{
	(void)en;
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
		if (w->cond == WAIT_CONTENT_RECORDED && o->finished && !v->complete)
			v->complete = record_new(RECORD_COMPLETE, o, NULL, 0);
		if (w->cond == WAIT_RANGE_RECORDED && !v->ranges && !o->finished) {
			bool queued = o->ranges_queued;

			v->ranges = record_new(RECORD_RANGES, o, NULL, 0);
			if (v->ranges)
				record_snapshot(v->ranges);
			o->ranges_queued = queued;
		}
		if (w->cond == WAIT_RANGE_RECORDED && o->finished && !v->complete)
			v->complete = record_new(RECORD_COMPLETE, o, NULL, 0);
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
		int r = target_sync_one(en->target, &u->v[i].o->th);

		if (r && r != -ESTALE)
			return r;
	}
	return flush_dirs(en, u);
}

static int apply_urgent(struct engine *en, struct urgent *u)
{
	int r = catalog_begin(en->catalog);

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
		if (!r && v->intent)	/* D5: the intent comes before the delete */
			r = catalog_set_flags(en->catalog, v->o->oid, CATALOG_F_INTENT_DELETE, 0);
	}
	if (r) {
		catalog_rollback(en->catalog);
		return r;
	}
	r = catalog_commit(en->catalog);
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
				if (c->o->finished && c->o->type != CATALOG_DIR &&
				    (c->o->type != CATALOG_REG || !c->o->promise.size))
					c->o->recorded = true;
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
			v->o->recorded = true;	/* its queued COMPLETE record removes the mark later */
		if (v->ranges)
			record_done(en, v->ranges, &k);
		if (v->intent)
			v->o->intent = true;
		wait_collect(v->o, &k);
		commit_urgent(v->o);	/* who came while we were flushing */
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
	free_batch(&u->rows);
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
		r = flush_urgent(en, &u);
	if (r && r != -ENOMEM)
		engine_poison(en, "an inode of the target could not be flushed to disk");
	if (!r) {
		r = apply_urgent(en, &u);
		if (!r)
			settle_urgent(en, &u);
		else if (r == -EIO)
			engine_poison(en, "the catalog could not be written");
	}
	if (r)
		fail_waiters(en, &u, r);
	urgent_free(&u);
	pthread_mutex_lock(&en->mu);
}

static void *urgent_main(void *arg)
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

int commit_start(struct engine *en)
{
	int r = pthread_create(&en->group_thread, NULL, group_main, en);

	if (r)
		return -r;
	r = pthread_create(&en->urgent_thread, NULL, urgent_main, en);
	if (r) {
		pthread_mutex_lock(&en->mu);
		en->committer_stop = true;
		pthread_cond_broadcast(&en->commit_cond);
		pthread_mutex_unlock(&en->mu);
		pthread_join(en->group_thread, NULL);
		return -r;
	}
	en->committer_running = true;
	return 0;
}

void commit_stop(struct engine *en)
{
	if (!en->committer_running)
		return;
	pthread_mutex_lock(&en->mu);
	en->committer_stop = true;
	pthread_cond_broadcast(&en->commit_cond);
	pthread_cond_broadcast(&en->urgent_cond);
	pthread_mutex_unlock(&en->mu);
	pthread_join(en->urgent_thread, NULL);
	pthread_join(en->group_thread, NULL);
	en->committer_running = false;
	free_batch(&en->queue);
}
