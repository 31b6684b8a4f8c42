/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The group committer (D2).  The urgent one is urgent.c.
 *
 * Take what is queued; stamp the target root; syncfs; apply
 * everything in one transaction together with the stamp; commit durably; only
 * then set the flags that applications' changes wait for, and remove marks (D4).
 * Triggered by age, by number, and at once when the mover is idle.
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
#include "base/point.h"
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
	int r = 0;

	pthread_mutex_lock(&en->mark_mu);
	if (!en->plain)
		r = target_stamp_set(en->target, en->stamp + 1);	/* D2: target is at most one ahead */
	pthread_mutex_unlock(&en->mark_mu);
	POINT("group.stamped");
	if (room_is_passing(r)) {
		room_refused(en, ROOM_NAME, r);
		return r;
	}
	if (!r)
		r = target_sync_all(en->target);
	if (r && POINT_STEP("rule.failed-flush") == POINT_SKIP)
		r = target_sync_all(en->target);	/* succeeds, without the data */
	if (r)
		engine_poison(en, "the target could not be flushed to disk");
	return r;
}

static int record_group(struct engine *en, struct list *batch)
{
	uint64_t stamp = en->stamp + 1;
	int r;

	POINT("group.flushed");
	r = catalog_begin(en->catalog);

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
	POINT("group.applied");
	r = catalog_commit(en->catalog);
	POINT("group.committed");
	if (!r) {
		en->stamp = stamp;
		atomic_fetch_add(&en->commits, 1);
	}
	return r;
}

/*
 * The catalog takes commits again; but the background goes on only when the ballast is back, so that
 * applications' deletes still find room.
 */
static void catalog_room_again(struct engine *en)
{
	bool full;

	pthread_mutex_lock(&en->mu);
	full = en->room.catalog_full;
	pthread_mutex_unlock(&en->mu);
	if (full && !catalog_checkpoint(en->catalog) && catalog_has_ballast(en->catalog))
		room_catalog(en, 0);
}

/* Repeat while there is no room; true when it is recorded. */
bool commit_may_pass(int err)
{
	return err == -ENOSPC || err == -EDQUOT || err == -EROFS || err == -ENOMEM || err == -EBUSY;
}

bool commit_pause(struct engine *en)
{
	bool stop;

	pthread_mutex_lock(&en->mu);
	if (!en->committer_stop && !en->poisoned) {
		struct timespec ts = clock_timespec(clock_mono() + RETRY_MS * CLOCK_MS);

		pthread_cond_clockwait(&en->pause_cond, &en->mu, CLOCK_MONOTONIC, &ts);
	}
	stop = en->committer_stop || en->poisoned;
	pthread_mutex_unlock(&en->mu);
	return !stop;
}

static bool persist(struct engine *en, struct list *batch)
{
	bool refused = false;

	for (;;) {
		int r = flush_group(en);
		bool flushed = !r;

		if (flushed && refused)
			room_over(en);
		refused |= !flushed;
		if (!r)
			r = record_group(en, batch);
		if (!r)
			break;
		if (en->poisoned)
			return false;
		if (flushed && !commit_may_pass(r)) {
			engine_poison(en, "the catalog could not be written");
			return false;
		}
		if (flushed)
			room_catalog(en, r);
		/* what the ballast has given is for deletes, not for us */
		do
			if (!commit_pause(en))
				return false;
		while (flushed && (r == -ENOSPC || r == -EDQUOT) && !catalog_has_room(en->catalog));
	}
	catalog_room_again(en);
	return true;
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* Is the file as we left it?  A write shows in mtime, whoever sets that back shows in ctime. */
static bool untouched(const struct eobj *o, const struct stat *st)
{
	struct timespec mtime = eobj_time(o->promise.mtime);

	return o->type == CATALOG_REG && !(o->mark_flags & TARGET_MARK_TIMES) && !o->modified &&
	       (uint64_t)st->st_size == o->promise.size && same_time(&st->st_mtim, &mtime) &&
	       (!o->here_ctime.tv_sec || same_time(&st->st_ctim, &o->here_ctime));
}

/* Removing the mark moves ctime once more; from then on it tells verify whether anybody has been there (D8). */
static int remove_mark(struct engine *en, struct eobj *o, int fd)
{
	struct stat before, after;
	bool known = !fstat(fd, &before);
	int r;

	pthread_mutex_lock(&en->mu);
	known = known && untouched(o, &before);
	pthread_mutex_unlock(&en->mu);
	r = target_mark_remove(en->target, fd);
	if ((!r || r == -ENODATA) && known && !fstat(fd, &after) && after.st_size == before.st_size &&
	    same_time(&after.st_mtim, &before.st_mtim))
		o->clean_ctime = after.st_ctim;
	return r;
}

struct clean_op {
	struct deferred again;
	struct eobj *o;
};

static void clean_again(struct deferred *d, bool cancelled)
{
	struct clean_op *op = list_entry(d, struct clean_op, again);

	if (!cancelled) {	/* else the next worker finds it on the cleaning list */
		commit_clean(op->o->en, op->o);
		if (op->o->mark_gone)
			room_over(op->o->en);
	}
	eobj_put(op->o);
	free(op);
}

static void clean_later(struct engine *en, struct eobj *o, int err)
{
	struct clean_op *op = calloc(1, sizeof *op);

	if (room_is_passing(err))
		room_refused(en, ROOM_NAME, err);
	else
		log_warn("mark of object %llu: %s", (unsigned long long)o->oid, strerrordesc_np(-err));
	if (!op)
		return;
	op->o = access_ref(o);
	op->again.run = clean_again;
	deferred_add(en, &op->again, RETRY_MS * CLOCK_MS);
}

void commit_clean(struct engine *en, struct eobj *o)
{
	bool wait_for_names, root = false;
	int fd, r;

	pthread_mutex_lock(&en->mu);
	if (o == en->root && is_recorded(o) && !is_clean(o))
		root = true;		/* its mark stays until the very end */
	/* with the mark goes what tells that one of its names is not recorded yet */
	wait_for_names = !is_recorded(o) || is_clean(o) || root || o->mark_gone || o->pending_rows ||
			 (eobj_has_links(o) && o->names_claimed < o->promise.nlink && !en->links_swept);
	pthread_mutex_unlock(&en->mu);
	if (root)
		record_queue(en, RECORD_CLEANED, o);
	if (wait_for_names)
		return;
	POINT("clean.begin");
	fd = target_open_handle(en->target, &o->th, O_PATH);
	pthread_mutex_lock(&en->mark_mu);
	r = fd < 0 ? fd : remove_mark(en, o, fd);
	pthread_mutex_lock(&en->mu);
	o->mark_gone = !r || r == -ESTALE || r == -ENODATA;
	pthread_mutex_unlock(&en->mu);
	pthread_mutex_unlock(&en->mark_mu);
	if (fd >= 0)
		close(fd);
	if (r && r != -ESTALE && r != -ENODATA) {
		clean_later(en, o, r);
		return;
	}
	POINT("clean.unmarked");
	record_queue(en, RECORD_CLEANED, o);
	engine_changed(en, &o->th);
}

/* Only now can a retry find it. */
static void say_quarantined(struct engine *en, const struct record *r)
{
	if (r->kind == RECORD_QUARANTINE)
		engine_say(en, "quarantined", LOG_LEVEL_WARN, r->oid, "%s: %s", r->o->name_len ? r->o->name : "/",
			   r->reason ? r->reason : "out of memory");
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
	for (struct list *n = batch->next; n != batch; n = n->next)
		say_quarantined(en, list_entry(n, struct record, link));
	for (struct list *n = clean.next; n != &clean; n = n->next)
		commit_clean(en, list_entry(n, struct record, link)->o);
	list_splice(batch, &clean);
}

static void flush_only(struct engine *en)
{
	if (target_sync_all(en->target))
		engine_poison(en, "the target could not be flushed to disk");
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
	if (list_empty(&batch))
		flush_only(en);
	else if (persist(en, &batch))
		settle(en, &batch);
	if (list_empty(&batch))
		catalog_room_again(en);
	record_free_all(&batch);
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
	pthread_cond_broadcast(&en->pause_cond);
	pthread_mutex_unlock(&en->mu);
	pthread_join(en->urgent_thread, NULL);
	pthread_join(en->group_thread, NULL);
	en->committer_running = false;
	record_free_all(&en->queue);
}
