/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The mover: everything that no application waits for.
 *
 * One thread takes work from the catalog in (priority, oid) order, keeps a bounded number
 * of listings and fetches in flight, and runs what was put off (deferred). The
 * catalog is the only queue: memory does not grow with what is left.
 * Discovery is held back while much content waits, so that handles are still cached when
 * their files' turn comes.
 *
 * A pass over a list that starts nothing makes the list idle until something has
 * been recorded since; so nothing spins while all that is left is in flight.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/point.h"
#include "internal.h"

enum { PAGE = 64, MAX_LISTS = 8, BACKLOG = 100000, MAX_FRESH = 8192 };
static const uint64_t rescan = CLOCK_SEC;

struct scan {			/* a walk along one work list */
	enum catalog_list which;
	struct catalog_pos pos;
	struct catalog_row rows[PAGE];
	unsigned n, at;
	unsigned started;	/* in this pass */
	uint64_t pass_commits;	/* en->commits when this pass began */
	uint64_t idle_commits, idle_until;
	bool idle;
};

struct mover {
	struct engine *en;
	struct scan dirs, content;
	struct eobj *big;	/* a file of several chunks that is not all asked for */
	uint32_t big_at;
};

void mover_kick(struct engine *en)
{
	pthread_cond_signal(&en->mover_cond);
}

void deferred_add(struct engine *en, struct deferred *d, uint64_t delay_ns)
{
	bool refuse;

	d->due = clock_mono() + delay_ns;
	list_init(&d->link);
	pthread_mutex_lock(&en->mu);
	refuse = en->stopping || !en->mover_running;
	if (!refuse) {
		list_append(&en->deferred, &d->link);
		mover_kick(en);
	}
	pthread_mutex_unlock(&en->mu);
	if (refuse)
		d->run(d, true);
}

/* mu held on entry and exit; returns when the next one is due (0: none). */
static uint64_t run_deferred(struct engine *en, bool all)
{
	uint64_t now = clock_mono(), next = 0;
	struct list due, *n;

	list_init(&due);
	for (struct list *l = en->deferred.next, *after; l != &en->deferred; l = after) {
		struct deferred *d = list_entry(l, struct deferred, link);

		after = l->next;
		if (all || d->due <= now) {
			list_remove(l);
			list_append(&due, l);
		} else if (!next || d->due < next) {
			next = d->due;
		}
	}
	if (list_empty(&due))
		return next;
	pthread_mutex_unlock(&en->mu);
	while ((n = list_pop(&due))) {
		struct deferred *d = list_entry(n, struct deferred, link);

		d->run(d, all);
	}
	pthread_mutex_lock(&en->mu);
	return clock_mono();
}

/* The next row of a list, or NULL when the list is idle.  mu not held. */
static const struct catalog_row *next_row(struct engine *en, struct scan *s)
{
	if (s->at < s->n)
		return &s->rows[s->at++];
	if (s->idle && s->idle_commits == atomic_load(&en->commits) && clock_mono() < s->idle_until)
		return NULL;
	s->idle = false;
	s->at = s->n = 0;
	if (catalog_list(en->catalog, s->which, &s->pos, s->rows, PAGE, &s->n))
		s->n = 0;
	if (s->n)
		return &s->rows[s->at++];
	if (!s->started) {	/* the whole pass had nothing for us */
		s->idle = true;
		s->idle_until = clock_mono() + rescan;
	}
	s->idle_commits = s->pass_commits;
	s->pass_commits = atomic_load(&en->commits);
	s->started = 0;
	memset(&s->pos, 0, sizeof s->pos);
	return NULL;
}

/* An object that was found in an impossible state when it was loaded. */
static bool unfit(struct engine *en, struct eobj *o)
{
	bool gone, failed, known;

	pthread_mutex_lock(&en->mu);
	gone = o->deleted;
	failed = o->failed && !gone;
	known = failed && o->quarantined;	/* recorded already, or a retry is about to take it up */
	pthread_mutex_unlock(&en->mu);
	if (gone)
		record_queue(en, RECORD_DELETED, o);
	else if (failed && !known)
		engine_quarantine(o, o->failed, "its stub on the target is gone or was tampered with: %s",
				  strerrordesc_np(-o->failed));
	return gone || failed;
}

void mover_fresh(struct engine *en, struct eobj *o)
{
	bool dir = o->type == CATALOG_DIR;
	unsigned *count = dir ? &en->fresh_dir_count : &en->fresh_file_count;

	pthread_mutex_lock(&en->mu);
	if (*count < MAX_FRESH && !en->stopping && list_empty(&o->fresh_link)) {
		++*count;
		eobj_ref_locked(o);
		list_append(dir ? &en->fresh_dirs : &en->fresh_files, &o->fresh_link);
		mover_kick(en);
	}
	pthread_mutex_unlock(&en->mu);
}

/* With the list's reference. */
static struct eobj *take_fresh(struct engine *en, struct list *queue, unsigned *count)
{
	struct list *n;

	pthread_mutex_lock(&en->mu);
	n = list_pop(queue);
	if (n)
		--*count;
	pthread_mutex_unlock(&en->mu);
	return n ? list_entry(n, struct eobj, fresh_link) : NULL;
}

/* The next object of a list, NULL when there is none now.  *err: a row that could not be loaded was passed over. */
static struct eobj *next_object(struct engine *en, struct scan *s, struct list *fresh, unsigned *count,
				bool *err)
{
	struct eobj *o = take_fresh(en, fresh, count);
	const struct catalog_row *row;

	*err = false;
	if (o)
		return o;
	row = next_row(en, s);
	if (!row)
		return NULL;
	*err = eobj_load(en, row->oid, NULL, &o);
	return *err ? NULL : o;
}

static bool start_listing(struct mover *m)
{
	struct engine *en = m->en;
	bool busy, err;
	struct eobj *o = next_object(en, &m->dirs, &en->fresh_dirs, &en->fresh_dir_count, &err);

	if (!o)
		return err;
	pthread_mutex_lock(&en->mu);
	busy = o->listing || is_here(o) || o->failed || o->deleted;
	pthread_mutex_unlock(&en->mu);
	if (!busy) {
		m->dirs.started++;
		list_start(o, SOURCE_BACKGROUND);
	} else {
		unfit(en, o);
	}
	eobj_put(o);
	return true;
}

/* mu held.  While there is no room, what was put off is enough to find out when there is. */
static unsigned depth(const struct engine *en)
{
	return en->room.full ? 1 : en->depth;
}

/* Ask for more of the big file in hand; true when there is nothing more to ask. */
static bool push_big(struct mover *m)
{
	struct engine *en = m->en;
	struct list planned;
	bool done;

	list_init(&planned);
	pthread_mutex_lock(&en->mu);
	while (m->big_at < m->big->content.count && en->fetches_inflight < depth(en)) {
		fetch_plan(m->big, m->big_at, SOURCE_BACKGROUND, &planned);
		m->big_at++;
	}
	done = m->big_at >= m->big->content.count || m->big->failed || m->big->deleted;
	pthread_mutex_unlock(&en->mu);
	if (!list_empty(&planned))
		m->content.started++;
	fetch_launch(&planned);
	return done;
}

static bool start_fetch(struct mover *m)
{
	struct engine *en = m->en;
	struct eobj *o;
	bool whole, err;

	if (!m->big) {
		o = next_object(en, &m->content, &en->fresh_files, &en->fresh_file_count, &err);
		if (!o)
			return err;
		if (o->type != CATALOG_REG || unfit(en, o)) {
			eobj_put(o);
			return true;
		}
		pthread_mutex_lock(&en->mu);
		whole = !o->content.left || is_here(o);
		pthread_mutex_unlock(&en->mu);
		if (whole) {	/* truncated by an application before a crash */
			finish_if_whole(o);
			eobj_put(o);
			return true;
		}
		m->big = o;
		m->big_at = 0;
	}
	if (push_big(m)) {
		eobj_put(m->big);
		m->big = NULL;
	}
	return true;
}

/* mu held; the last thing to ask, because room_wait() gives turns. */
static bool paused(struct engine *en)
{
	return en->stopping || en->poisoned || en->hold || room_wait(en);
}

static bool may_list(struct engine *en)
{
	struct catalog_counters c;
	bool room;

	pthread_mutex_lock(&en->mu);
	room = en->lists_inflight < MAX_LISTS && !paused(en);
	pthread_mutex_unlock(&en->mu);
	if (!room)
		return false;
	catalog_counters(en->catalog, &c);
	return c.objects[CATALOG_FOUND] - c.directories_unlisted < BACKLOG;
}

static bool may_fetch(struct engine *en)
{
	bool room;

	pthread_mutex_lock(&en->mu);
	room = en->fetches_inflight < depth(en) && !paused(en);
	pthread_mutex_unlock(&en->mu);
	return room;
}

static void note_discovery(struct engine *en)
{
	struct catalog_counters c;
	bool over, first;

	catalog_counters(en->catalog, &c);
	if (POINT_STEP("rule.detach-waits") == POINT_SKIP)
		c.objects[CATALOG_QUARANTINED] = 0;
	pthread_mutex_lock(&en->mu);
	over = !en->discovery_done && clock_mono() >= en->sweep_after && !c.directories_unlisted && !c.objects[CATALOG_QUARANTINED] &&
	       !en->lists_inflight && !en->queued && !en->committing && is_recorded(en->root);
	first = over && !en->sweep_after;
	en->sweep_after = over ? clock_mono() + rescan : en->sweep_after;
	pthread_mutex_unlock(&en->mu);
	if (first)
		engine_say(en, "listing-complete", LOG_LEVEL_INFO, 0, "every directory of the source is listed");
	if (over && recover_sweep_links(en)) {
		pthread_mutex_lock(&en->mu);
		en->discovery_done = true;
		pthread_mutex_unlock(&en->mu);
	}
}

static void *mover_main(void *arg)
{
	struct mover *m = arg;
	struct engine *en = m->en;

	recover_cleaning(en);
	pthread_mutex_lock(&en->mu);
	while (!en->mover_quit) {
		uint64_t next = run_deferred(en, false), now;
		bool worked = false;

		pthread_mutex_unlock(&en->mu);
		if (may_list(en))
			worked |= start_listing(m);
		for (int i = 0; i < 32 && may_fetch(en) && start_fetch(m); i++)
			worked = true;
		if (!worked)
			note_discovery(en);
		room_tick(en);
		pthread_mutex_lock(&en->mu);
		now = clock_mono();
		if (!worked && !en->mover_quit && (!next || next > now)) {
			uint64_t until = now + 50 * CLOCK_MS;
			struct timespec ts = clock_timespec(next && next < until ? next : until);

			pthread_cond_clockwait(&en->mover_cond, &en->mu, CLOCK_MONOTONIC, &ts);
		}
	}
	pthread_mutex_unlock(&en->mu);
	if (m->big)
		eobj_put(m->big);
	free(m);
	return NULL;
}

int mover_start(struct engine *en)
{
	struct mover *m = calloc(1, sizeof *m);
	int r;

	if (!m)
		return -ENOMEM;
	m->en = en;
	m->dirs.which = CATALOG_LIST_DIRS;
	m->content.which = CATALOG_LIST_CONTENT;
	pthread_mutex_lock(&en->mu);
	en->mover_running = true;
	pthread_mutex_unlock(&en->mu);
	r = pthread_create(&en->mover_thread, NULL, mover_main, m);
	if (r) {
		en->mover_running = false;
		free(m);
	}
	return -r;
}

static void drop_fresh(struct engine *en, struct list *queue, unsigned *count)
{
	struct eobj *o;

	while ((o = take_fresh(en, queue, count)))
		eobj_put(o);
}

void mover_stop(struct engine *en)
{
	if (!en->mover_running)
		return;
	pthread_mutex_lock(&en->mu);
	en->mover_quit = true;
	mover_kick(en);
	pthread_mutex_unlock(&en->mu);
	pthread_join(en->mover_thread, NULL);
	pthread_mutex_lock(&en->mu);
	en->mover_running = false;
	run_deferred(en, true);
	pthread_mutex_unlock(&en->mu);
	drop_fresh(en, &en->fresh_dirs, &en->fresh_dir_count);
	drop_fresh(en, &en->fresh_files, &en->fresh_file_count);
}
