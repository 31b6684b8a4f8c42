/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Life of an engine, and what all its parts share: events, oids, failures, progress.
 */
#include "engine/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/point.h"
#include "internal.h"

enum { OID_BLOCK = 1 << 16, READ_MAX = 1 << 20, DEFAULT_DEPTH = 64 };

/* ---- shared services ---- */

void engine_say(struct engine *en, const char *kind, int level, uint64_t oid, const char *fmt, ...)
{
	struct engine_event ev = { .kind = kind, .level = level, .oid = oid };
	char text[700];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	ev.text = text;
	if (en->event)
		en->event(en->event_arg, &ev);
}

void engine_changed(struct engine *en, const struct target_handle *h)
{
	struct access_listener l;

	pthread_mutex_lock(&en->mu);
	l = en->listener;
	pthread_mutex_unlock(&en->mu);
	if (l.changed)
		l.changed(l.arg, h);
}

void engine_renamed(struct engine *en, const struct target_handle *dir, const char *name)
{
	struct access_listener l;

	pthread_mutex_lock(&en->mu);
	l = en->listener;
	pthread_mutex_unlock(&en->mu);
	if (l.renamed)
		l.renamed(l.arg, dir, name);
}

void engine_poison(struct engine *en, const char *why)
{
	bool first;

	pthread_mutex_lock(&en->mu);
	first = !en->poisoned;
	en->poisoned = true;
	if (first)
		snprintf(en->poison_text, sizeof en->poison_text,
			 "%s; what was not recorded will be fetched again: start the same command again", why);
	pthread_cond_broadcast(&en->wait_cond);
	pthread_cond_broadcast(&en->commit_cond);
	pthread_cond_broadcast(&en->pause_cond);
	pthread_mutex_unlock(&en->mu);
	if (first)
		engine_say(en, "failed", LOG_LEVEL_ERROR, 0, "%s", en->poison_text);
}

void engine_quarantine(struct eobj *o, int code, const char *fmt, ...)
{
	char text[400];
	struct wakes k;
	bool first;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	wakes_init(&k);
	pthread_mutex_lock(&o->en->mu);
	first = !o->quarantined && !is_here(o);	/* what is all here cannot fail any more: a late second answer said so */
	if (first) {
		o->quarantined = true;
		o->failed = code ? code : -EIO;
		wait_collect(o, &k);
	}
	pthread_mutex_unlock(&o->en->mu);
	wakes_fire(&k);
	if (!first)
		return;
	record_queue_failure(o->en, o, abs(code), text);
}

int engine_new_oid(struct engine *en, uint64_t *oid)
{
	uint64_t first;
	int r = 0;

	pthread_mutex_lock(&en->oid_mu);
	if (en->oid_next == en->oid_end) {
		r = catalog_reserve_oids(en->catalog, OID_BLOCK, &first);
		if (r == -ENOSPC)	/* the ballast has been given up: a small commit fits now */
			r = catalog_reserve_oids(en->catalog, OID_BLOCK, &first);
		if (!r) {
			en->oid_next = first;
			en->oid_end = first + OID_BLOCK;
		}
	}
	if (!r)
		*oid = en->oid_next++;
	pthread_mutex_unlock(&en->oid_mu);
	if (r == -ENOSPC || r == -EDQUOT)
		room_catalog(en, r);
	return r;
}

/* ---- creation ---- */

static void init_sync(struct engine *en)
{
	pthread_mutex_init(&en->mu, NULL);
	pthread_mutex_init(&en->link_mu, NULL);
	pthread_mutex_init(&en->mark_mu, NULL);
	pthread_mutex_init(&en->retry_mu, NULL);
	pthread_mutex_init(&en->oid_mu, NULL);
	pthread_cond_init(&en->claim_cond, NULL);
	pthread_cond_init(&en->commit_cond, NULL);
	pthread_cond_init(&en->urgent_cond, NULL);
	pthread_cond_init(&en->pause_cond, NULL);
	pthread_cond_init(&en->mover_cond, NULL);
	pthread_cond_init(&en->wait_cond, NULL);
	list_init(&en->queue);
	list_init(&en->urgent);
	list_init(&en->deferred);
	list_init(&en->fresh_dirs);
	list_init(&en->fresh_files);
}

static void root_row(struct engine *en, const struct target_handle *h, struct catalog_row *row)
{
	const struct source_attr *a = &en->source->root_attr;

	memset(row, 0, sizeof *row);
	row->oid = CATALOG_ROOT_OID;
	row->type = CATALOG_DIR;
	eobj_promise_row(row, a);
	eobj_handle_row(row, h);
}

/* The first steps of a new migration; the row comes last, so that a crash before it starts over. */
static int found_migration(struct engine *en, struct err *e)
{
	const struct source_attr *a = &en->source->root_attr;
	struct target_mark m = { .oid = CATALOG_ROOT_OID };
	struct target_handle h;
	struct catalog_row row;
	uint64_t zero = 0;
	int fd = target_root_fd(en->target), r;

	r = target_handle_of(fd, &h);
	if (!r)
		r = target_mark_set(en->target, fd, &m);
	POINT("start.root-marked");
	if (!r)
		r = target_stamp_set(en->target, 0);
	if (!r && (fchown(fd, a->uid, a->gid) || fsync(fd)))
		r = -errno;
	if (r)
		return err_sys(e, r, "the target directory cannot be prepared");
	POINT("start.root-ready");
	root_row(en, &h, &row);
	en->root_mode = a->mode;
	r = catalog_begin(en->catalog);
	if (r)
		return err_sys(e, r, "the catalog cannot be written");
	r = catalog_add(en->catalog, &row);
	if (!r)
		r = catalog_meta_set(en->catalog, "stamp", &zero, sizeof zero);
	if (!r)
		r = catalog_meta_set(en->catalog, "root_mode", &en->root_mode, sizeof en->root_mode);
	if (r) {
		catalog_rollback(en->catalog);
		return err_sys(e, r, "the catalog cannot be written");
	}
	r = catalog_commit(en->catalog);
	return r ? err_sys(e, r, "the catalog cannot be written") : 0;
}

static int load_root(struct engine *en, struct err *e)
{
	struct catalog_row row;
	size_t n = sizeof en->root_mode;
	int r = catalog_get(en->catalog, CATALOG_ROOT_OID, &row);

	if (r == -ENOENT) {
		r = found_migration(en, e);
		if (r)
			return r;
	} else if (r) {
		return err_sys(e, r, "the catalog cannot be read");
	} else {
		r = catalog_meta_get(en->catalog, "root_mode", &en->root_mode, &n);
		if (r)
			return err_sys(e, r, "the catalog lacks the mode of the root directory");
		if (catalog_phase(en->catalog) == CATALOG_RUNNING) {
			r = recover_start(en, e);
			if (r)
				return r;
		}
	}
	if (catalog_phase(en->catalog) == CATALOG_RUNNING) {
		r = target_holder_prepare(en->target);
		if (r)
			return err_sys(e, r, "the target directory cannot be prepared");
	}
	r = eobj_load(en, CATALOG_ROOT_OID, NULL, &en->root);
	if (r)
		return err_sys(e, r, "the root directory of the migration cannot be loaded");
	if (en->root->failed && catalog_phase(en->catalog) == CATALOG_RUNNING)
		return err_set(e, EUCLEAN, "the target directory is not the one of this migration "
					   "(its mark is missing)");
	return 0;
}

int engine_create(const struct engine_config *cfg, engine_event_fn *event, void *event_arg,
		  struct engine **out, struct err *e)
{
	struct engine *en = calloc(1, sizeof *en);
	struct source_limits lim = { 0 };
	int r;

	if (!en)
		return err_sys(e, ENOMEM, "engine");
	init_sync(en);
	en->cfg = *cfg;
	en->catalog = cfg->catalog;
	en->target = cfg->target;
	en->source = cfg->source;
	en->event = event;
	en->event_arg = event_arg;
	en->hold = cfg->hold_background;
	en->fhs = fhcache_new();
	en->negatives = calloc(NEGATIVES, sizeof *en->negatives);
	if (en->source)
		source_limits(en->source, &lim);
	en->read_max = lim.read_max && lim.read_max < READ_MAX ? lim.read_max : READ_MAX;
	en->depth = cfg->background_depth ? cfg->background_depth : lim.depth ? lim.depth : DEFAULT_DEPTH;
	r = en->fhs && en->negatives ? load_root(en, e) : err_sys(e, ENOMEM, "engine");
	if (r) {
		engine_free(en);
		return r;
	}
	*out = en;
	return 0;
}

static void statfs_done(struct source_req *req)
{
	struct engine *en = req->user;

	if (!req->err) {
		pthread_mutex_lock(&en->mu);
		en->expected_bytes = req->fs.bytes_used;
		en->expected_objects = req->fs.files_used;
		pthread_mutex_unlock(&en->mu);
	}
	free(req);
}

static void ask_statfs(struct engine *en)
{
	struct source_req *req = calloc(1, sizeof *req);

	if (!req)
		return;
	req->op = SOURCE_STATFS;
	req->lane = SOURCE_DEMAND;
	req->fh = en->source->root;
	req->done = statfs_done;
	req->user = en;
	source_submit(en->source, req);
}

int engine_start(struct engine *en, struct err *e)
{
	int r = commit_start(en);

	if (!r) {
		r = mover_start(en);
		if (r)
			commit_stop(en);
	}
	if (r)
		return err_sys(e, r, "cannot start threads");
	ask_statfs(en);
	return 0;
}

void engine_quiesce(struct engine *en)
{
	pthread_mutex_lock(&en->mu);
	en->stopping = true;
	pthread_mutex_unlock(&en->mu);
	mover_stop(en);
}

void engine_stop(struct engine *en)
{
	engine_quiesce(en);
	commit_stop(en);
}

void engine_free(struct engine *en)
{
	if (!en)
		return;
	if (en->root)
		eobj_put(en->root);
	fhcache_free(en->fhs);
	free(en->negatives);
	free(en);
}

void engine_hold(struct engine *en, bool hold)
{
	pthread_mutex_lock(&en->mu);
	en->hold = hold;
	mover_kick(en);
	pthread_mutex_unlock(&en->mu);
}

/* ---- progress and waiting ---- */

static void count(const struct catalog_counters *c, struct engine_progress *p)
{
	for (int s = 0; s < CATALOG_STATE_COUNT; s++) {
		p->found_objects += c->objects[s];
		p->found_bytes += c->bytes[s];
		if (s == CATALOG_FOUND || s == CATALOG_QUARANTINED)
			continue;
		p->here_objects += c->objects[s];
		p->here_bytes += c->bytes[s];
	}
	p->directories_left = c->directories_unlisted;
	p->quarantined = c->objects[CATALOG_QUARANTINED];
	p->deleted = c->objects[CATALOG_DELETED];
	p->overwritten = c->objects[CATALOG_OVERWRITTEN];
	p->shadowed = c->objects[CATALOG_SHADOWED];
}

void engine_progress(struct engine *en, struct engine_progress *out)
{
	struct catalog_counters c;

	memset(out, 0, sizeof *out);
	catalog_counters(en->catalog, &c);
	count(&c, out);
	source_stats(en->source, &out->source);
	pthread_mutex_lock(&en->mu);
	out->expected_objects = en->expected_objects;
	out->expected_bytes = en->expected_bytes;
	out->discovery_done = en->discovery_done;
	out->demand_requests = out->source.requests[SOURCE_DEMAND];
	out->background_bytes = en->landed_background;
	out->demand_bytes = en->landed_total - en->landed_background;
	out->landed_bytes = en->landed_partial;
	out->target_full = room_is_full(en);
	out->catalog_full = en->room.catalog_full;
	pthread_mutex_unlock(&en->mu);
	out->all_here = engine_nothing_left(en);
}

bool engine_nothing_left(struct engine *en)
{
	struct catalog_counters c;
	bool quiet;

	pthread_mutex_lock(&en->mu);
	quiet = !en->queued && !en->committing && !en->lists_inflight && !en->fetches_inflight &&
		en->discovery_done;
	pthread_mutex_unlock(&en->mu);
	if (!quiet)
		return false;
	catalog_counters(en->catalog, &c);
	if (POINT_STEP("rule.detach-waits") == POINT_SKIP)
		c.objects[CATALOG_QUARANTINED] = 0;
	return !c.objects[CATALOG_FOUND] && !c.objects[CATALOG_CLEANING] &&
	       !c.objects[CATALOG_QUARANTINED];
}

int engine_wait(struct engine *en, int timeout_ms, struct err *e)
{
	uint64_t until = clock_mono() + (uint64_t)timeout_ms * CLOCK_MS;

	for (;;) {
		uint64_t now = clock_mono(), tick = now + 100 * CLOCK_MS;
		struct timespec ts = clock_timespec(tick < until ? tick : until);
		bool interrupted, poisoned;

		if (engine_nothing_left(en))
			return 1;
		pthread_mutex_lock(&en->mu);
		if (!en->interrupted && !en->poisoned && now < until)
			pthread_cond_clockwait(&en->wait_cond, &en->mu, CLOCK_MONOTONIC, &ts);
		interrupted = en->interrupted;
		poisoned = en->poisoned;
		pthread_mutex_unlock(&en->mu);
		if (poisoned)
			return err_set(e, EIO, "%s", en->poison_text);
		if (interrupted)
			return -EINTR;
		if (now >= until)
			return 0;
	}
}

void engine_interrupt(struct engine *en)
{
	pthread_mutex_lock(&en->mu);
	en->interrupted = true;
	pthread_cond_broadcast(&en->wait_cond);
	pthread_mutex_unlock(&en->mu);
}
