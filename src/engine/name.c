/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One name of a directory that is not listed: asks the source for just that
 * name (DESIGN §4), makes its stub, and wakes whoever waits for it.
 *
 * "The source has no such name" is remembered for a few seconds, because the
 * kernel asks before it creates.  Not longer: the listing will know.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/point.h"
#include "internal.h"

static const uint64_t negative_life = 5 * CLOCK_SEC, full_pause = CLOCK_SEC;

struct name_op {
	struct name_op *next;		/* en->name_ops */
	struct deferred again;
	struct engine *en;
	struct eobj *dir;
	struct list waiters;
	struct resolve resolve;
	struct source_req req;
	struct source_attr attr;	/* while the link is being read */
	struct source_fh fh;
	unsigned stale;
	size_t len;
	char name[256];
};

static size_t op_bucket(uint64_t dir, const char *name, size_t len)
{
	return hash_bytes(name, len, dir) % 256;
}

static struct negative *negative_slot(struct engine *en, uint64_t dir, const char *name, size_t len)
{
	return &en->negatives[hash_bytes(name, len, dir) % NEGATIVES];
}

static bool known_negative(struct engine *en, uint64_t dir, const char *name, size_t len)
{
	struct negative *n = negative_slot(en, dir, name, len);

	return n->parent == dir && n->len == len && !memcmp(n->name, name, len) &&
	       n->until > clock_mono();
}

static void remember_negative(struct engine *en, uint64_t dir, const char *name, size_t len)
{
	struct negative *n = negative_slot(en, dir, name, len);

	n->parent = dir;
	n->until = clock_mono() + negative_life;
	n->len = (uint16_t)len;
	memcpy(n->name, name, len);
}

static struct name_op *find_op(struct engine *en, uint64_t dir, const char *name, size_t len)
{
	struct name_op *op = en->name_ops[op_bucket(dir, name, len)];

	while (op && (op->dir->oid != dir || op->len != len || memcmp(op->name, name, len)))
		op = op->next;
	return op;
}

static void finish(struct name_op *op, int err)
{
	struct engine *en = op->en;
	struct name_op **p;
	struct wakes k;

	if (err && err != -ENOENT && err != -ECANCELED)
		engine_say(en, "lookup-failed", LOG_LEVEL_WARN, op->dir->oid, "%s: the source cannot be asked for it: %s",
			   op->name, strerrordesc_np(-err));
	wakes_init(&k);
	pthread_mutex_lock(&en->mu);
	for (p = &en->name_ops[op_bucket(op->dir->oid, op->name, op->len)]; *p != op; p = &(*p)->next)
		;
	*p = op->next;
	if (err == -ENOENT)
		remember_negative(en, op->dir->oid, op->name, op->len);
	wait_drain(&op->waiters, err == -ENOENT ? 0 : err, &k);
	pthread_mutex_unlock(&en->mu);
	wakes_fire(&k);
	eobj_put(op->dir);
	free(op);
}

static void start(struct name_op *op);

static void run_again(struct deferred *d, bool cancelled)
{
	struct name_op *op = list_entry(d, struct name_op, again);

	if (cancelled)
		finish(op, -EIO);
	else
		start(op);
}

static void land(struct name_op *op, const char *link)
{
	_cleanup_close_ int fd = target_open_handle(op->en->target, &op->dir->th,
						    O_RDONLY | O_DIRECTORY | O_NOATIME);
	int r = fd;

	if (fd >= 0) {
		pthread_mutex_lock(&op->en->mu);
		op->dir->maybe_rows = true;	/* the listing, when it comes, must look */
		pthread_mutex_unlock(&op->en->mu);
		r = admit(op->en, op->dir, fd, op->name, &op->attr,
			  &op->fh, link);
	}
	if (room_is_passing(r)) {
		room_refused(op->en, ROOM_NAME, r);
		op->again.run = run_again;
		deferred_add(op->en, &op->again, full_pause);
		return;
	}
	finish(op, r == -ESTALE ? -ENOENT : r);
}

/* The source says no: a torn stub that nobody will dress stands in the way of rmdir. */
static void sweep_torn(struct name_op *op)
{
	_cleanup_close_ int fd = target_open_handle(op->en->target, &op->dir->th, O_PATH);

	if (fd >= 0)
		target_torn_remove(op->en->target, fd, op->name);
}

static void link_read(struct source_req *req)
{
	struct name_op *op = req->user;
	char link[SOURCE_LINK_MAX + 1];

	if (req->err || !req->out_length || req->out_length > SOURCE_LINK_MAX) {
		finish(op, req->err ? req->err : -EPROTO);
		return;
	}
	memcpy(link, req->data, req->out_length);
	link[req->out_length] = 0;
	land(op, link);
}

static void looked_up(struct source_req *req)
{
	struct name_op *op = req->user;

	if (req->err == -ESTALE && op->stale++ < STALE_TRIES) {
		fhcache_drop(op->en->fhs, op->dir->oid);
		op->again.run = run_again;
		deferred_add(op->en, &op->again, stale_pause(op->stale));
		return;
	}
	if (req->err) {
		if (req->err == -ENOENT)
			sweep_torn(op);
		finish(op, req->err);
		return;
	}
	op->attr = req->attr;
	op->fh = req->out_fh;
	if (req->attr.type != SOURCE_LNK) {
		land(op, NULL);
		return;
	}
	memset(req, 0, sizeof *req);
	req->op = SOURCE_READLINK;
	req->lane = SOURCE_DEMAND;
	req->fh = op->fh;
	req->name = op->name;
	req->done = link_read;
	req->user = op;
	source_submit(op->en->source, req);
}

static void resolved(struct resolve *r, int err)
{
	struct name_op *op = list_entry(r, struct name_op, resolve);

	if (err == -ESTALE && op->stale++ < STALE_TRIES) {
		op->again.run = run_again;
		deferred_add(op->en, &op->again, stale_pause(op->stale));
		return;
	}
	if (err) {
		finish(op, err == -ENOENT ? -EIO : err);
		return;
	}
	memset(&op->req, 0, sizeof op->req);
	op->req.op = SOURCE_LOOKUP;
	op->req.lane = SOURCE_DEMAND;
	op->req.fh = r->fh;
	op->req.name = op->name;
	op->req.done = looked_up;
	op->req.user = op;
	source_submit(op->en->source, &op->req);
}

static void start(struct name_op *op)
{
	int r = resolve_start(&op->resolve, op->en, op->dir->oid, SOURCE_DEMAND, resolved);

	if (r)
		resolved(&op->resolve, r < 0 ? r : 0);
}

static struct name_op *new_op(struct engine *en, struct eobj *dir, const char *name, size_t len)
{
	struct name_op *op = calloc(1, sizeof *op);
	size_t b = op_bucket(dir->oid, name, len);

	if (!op)
		return NULL;
	op->en = en;
	op->dir = dir;
	eobj_ref_locked(dir);
	list_init(&op->waiters);
	list_init(&op->again.link);
	op->len = len;
	memcpy(op->name, name, len);
	op->next = en->name_ops[b];
	en->name_ops[b] = op;
	return op;
}

/* Decided without the source? mu held. */
static bool decided(struct engine *en, struct eobj *dir, const char *name, size_t len)
{
	return is_here(dir) || dir->names_closed || record_find_name(en, dir->oid, name, len) ||
	       known_negative(en, dir->oid, name, len);
}

int name_need(struct eobj *dir, const char *name, struct access_wait *w)
{
	struct engine *en = dir->en;
	size_t len = strlen(name);
	struct catalog_row row;
	struct name_op *op;
	bool fresh = false, maybe_rows;
	int r = -ENOENT;

	if (len > SOURCE_NAME_MAX)
		return -ENAMETOOLONG;
	pthread_mutex_lock(&en->mu);
	if (decided(en, dir, name, len)) {
		pthread_mutex_unlock(&en->mu);
		return 0;
	}
	maybe_rows = dir->maybe_rows;
	pthread_mutex_unlock(&en->mu);
	if (maybe_rows)
		r = catalog_find(en->catalog, dir->oid, name, len, &row);
	if (r != -ENOENT)
		return r;
	pthread_mutex_lock(&en->mu);
	if (decided(en, dir, name, len) || en->stopping) {
		r = en->stopping ? -EIO : 0;
		pthread_mutex_unlock(&en->mu);
		return r;
	}
	op = find_op(en, dir->oid, name, len);
	if (!op) {
		op = new_op(en, dir, name, len);
		fresh = true;
	}
	if (op)
		wait_park(&op->waiters, w, WAIT_NAME, 0, 0);
	pthread_mutex_unlock(&en->mu);
	if (!op)
		return -ENOMEM;
	if (fresh)
		start(op);
	return ACCESS_PARKED;
}

int access_need_claim(struct eobj *dir, const char *name, struct eobj *o, struct access_wait *w)
{
	bool links;

	if (!dir || !o)
		return 0;
	pthread_mutex_lock(&o->en->mu);
	links = eobj_has_links(o);
	pthread_mutex_unlock(&o->en->mu);
	return links && POINT_STEP("rule.claim-links") != POINT_SKIP ? name_need(dir, name, w) : 0;
}
