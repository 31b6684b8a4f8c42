/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Reading around a target that has no room: the source's bytes go to the application without landing.
 *
 * Chunks that are here, and everything at or above the limit, are read from the target: they may hold an
 * application's bytes.  The source is checked as always (D7); nothing is recorded, nothing is kept.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "internal.h"

struct around {
	struct eobj *o;
	struct access_wait *w;
	uint64_t off, end;		/* what is wanted */
	uint64_t at, source_end;	/* up to at it is in buf; from source_end on the source has nothing */
	unsigned stale;
	struct deferred again;
	struct resolve resolve;
	struct source_req req;
	char buf[];
};

/* The waiter, unless it has given up meanwhile; a request that is gone must not be touched. */
static struct access_wait *take_waiter(struct around *a)
{
	struct access_wait *w = NULL;

	pthread_mutex_lock(&a->o->en->mu);
	for (struct list *n = a->o->around.next; n != &a->o->around && !w; n = n->next)
		if (list_entry(n, struct access_wait, link) == a->w && a->w->around == a)
			w = a->w;
	if (w) {
		list_remove(&w->link);
		w->owner = NULL;
	}
	pthread_mutex_unlock(&a->o->en->mu);
	return w;
}

static void end(struct around *a, int err)
{
	struct access_wait *w = take_waiter(a);

	if (err || !w) {
		if (w) {
			w->around = NULL;
			w->wake(w, err);
		}
		eobj_put(a->o);
		free(a);
		return;
	}
	w->wake(w, 0);		/* who is woken takes the bytes: access_around_take() */
}

/* What must come from the target goes over what has come from the source. */
static int overlay(struct around *a)
{
	struct eobj *o = a->o;
	struct engine *en = o->en;
	const struct content *c = &o->content;
	_cleanup_close_ int fd = target_open_handle(en->target, &o->th, O_RDONLY | O_NOATIME);
	uint64_t next;

	if (fd < 0)
		return fd;
	for (uint64_t at = a->off; at < a->end; at = next) {
		uint32_t i = (uint32_t)(at >> c->shift);
		bool here;

		pthread_mutex_lock(&en->mu);
		here = at >= c->size || at >= o->limit || content_test(c, CONTENT_HERE, i);
		next = at >= c->size ? a->end : content_end(c, i);
		if (at < o->limit && next > o->limit)
			next = o->limit;
		pthread_mutex_unlock(&en->mu);
		if (next > a->end)
			next = a->end;
		if (here && pread(fd, a->buf + (at - a->off), next - at, (off_t)at) < 0)
			return -errno;
	}
	return 0;
}

static void submit(struct around *a);

static void run_again(struct deferred *d, bool cancelled)
{
	struct around *a = list_entry(d, struct around, again);

	if (cancelled)
		end(a, -EIO);
	else
		submit(a);
}

static bool try_again(struct around *a, int err)
{
	if (err != -ESTALE || a->stale++ >= STALE_TRIES)
		return false;
	fhcache_drop(a->o->en->fhs, a->o->oid);
	a->again.run = run_again;
	deferred_add(a->o->en, &a->again, stale_pause(a->stale));
	return true;
}

static void ask(struct around *a);

static void arrived(struct source_req *req)
{
	struct around *a = req->user;
	const char *why = req->err || !req->has_attr ? NULL : fetch_difference(&a->o->promise, &req->attr);

	if (req->err && try_again(a, req->err))
		return;
	if (why)
		engine_quarantine(a->o, -ESTALE, "%s", why);
	if (req->err || why) {
		end(a, why ? -EIO : req->err);
		return;
	}
	if (!req->out_length)		/* shorter than promised: the fetch will say so */
		a->at = a->source_end;
	else
		memcpy(a->buf + (a->at - a->off), req->data, req->out_length);
	a->at += req->out_length;
	if (a->at < a->source_end)
		ask(a);
	else
		end(a, overlay(a));
}

static void ask(struct around *a)
{
	struct source_fh fh = a->resolve.fh;
	uint64_t n = a->source_end - a->at;

	memset(&a->req, 0, sizeof a->req);
	a->req.op = SOURCE_READ;
	a->req.lane = SOURCE_DEMAND;
	a->req.fh = fh;
	a->req.name = a->o->name;
	a->req.offset = a->at;
	a->req.length = (uint32_t)(n < a->o->en->read_max ? n : a->o->en->read_max);
	a->req.done = arrived;
	a->req.user = a;
	source_submit(a->o->en->source, &a->req);
}

static void resolved(struct resolve *r, int err)
{
	struct around *a = list_entry(r, struct around, resolve);

	if (!err)
		ask(a);
	else if (!try_again(a, err))
		end(a, err);
}

static void submit(struct around *a)
{
	int r = resolve_start(&a->resolve, a->o->en, a->o->oid, SOURCE_DEMAND, resolved);

	if (r)
		resolved(&a->resolve, r < 0 ? r : 0);
}

int access_read_around(struct eobj *o, uint64_t off, uint64_t len, struct access_wait *w)
{
	struct engine *en = o->en;
	struct around *a;

	a = calloc(1, sizeof *a + len);
	if (!a)
		return -ENOMEM;
	a->o = access_ref(o);
	a->w = w;
	a->off = a->at = off;
	a->end = off + len;
	a->source_end = a->end < o->content.size ? a->end : o->content.size;
	pthread_mutex_lock(&en->mu);
	w->around = a;
	wait_park(&o->around, w, WAIT_RANGE, off, len);
	pthread_mutex_unlock(&en->mu);
	submit(a);
	return ACCESS_PARKED;
}

uint64_t access_around_take(struct access_wait *w, void *buf)
{
	struct around *a = w->around;
	uint64_t n;

	if (!a)
		return 0;
	n = a->end - a->off;
	if (buf)
		memcpy(buf, a->buf, n);
	w->around = NULL;
	eobj_put(a->o);
	free(a);
	return n;
}
