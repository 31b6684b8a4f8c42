/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Fetching content: one struct fetch brings one chunk of one file.
 *
 * A chunk may be asked for twice, in the background and again on demand; whichever
 * answer comes first claims it (CONTENT_LANDING) and the other is dropped, so that a
 * late answer never lands on what an application has written since (D3b).
 *
 * Nothing lands while the object is frozen by a truncation: such answers are
 * kept aside as requests and asked for again.  Nothing lands at or above the limit.
 *
 * Every READ's attributes must match what the stub promised (D7).
 *
 * When the last chunk is here the object is finished (finish.c).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/point.h"
#include "internal.h"

static const uint64_t full_pause = CLOCK_SEC, change_pause = 5 * CLOCK_MS;

struct fetch {
	struct list link;		/* planned, or held while frozen */
	struct deferred again;
	struct eobj *o;
	uint32_t chunk;
	enum source_lane lane;
	bool claimed;
	unsigned stale;
	uint64_t off, end;
	struct checksum_stream *hash;	/* of a chunk that comes in pieces, up to off */
	bool refused;			/* by the target, for want of room */
	bool unhashed;
	bool unchecked;			/* an answer came without attributes (allowed in NFSv3) */
	struct resolve resolve;
	struct source_req req;
};

/* ---- planning ---- */

void fetch_plan(struct eobj *o, uint32_t chunk, enum source_lane lane, struct list *out)
{
	enum content_set asked = lane == SOURCE_DEMAND ? CONTENT_ASKED_DEMAND : CONTENT_ASKED;
	struct content *c = &o->content;
	struct fetch *f;

	if (is_here(o) || content_test(c, CONTENT_HERE, chunk) || content_test(c, CONTENT_LANDING, chunk) ||
	    content_test(c, CONTENT_ASKED_DEMAND, chunk) || content_test(c, asked, chunk) ||
	    o->failed || o->en->stopping)
		return;
	f = calloc(1, sizeof *f);
	if (!f)
		return;		/* asked for again by the next one who needs it */
	list_init(&f->link);
	list_init(&f->again.link);
	f->o = o;
	eobj_ref_locked(o);
	f->chunk = chunk;
	f->lane = lane;
	f->off = content_start(c, chunk);
	f->end = content_end(c, chunk);
	content_set_bit(c, asked, chunk);
	o->inflight++;
	if (lane == SOURCE_BACKGROUND)
		o->en->fetches_inflight++;
	list_append(out, &f->link);
}

void fetch_plan_all(struct eobj *o, enum source_lane lane, unsigned window, struct list *out)
{
	struct content *c = &o->content;

	for (uint32_t i = 0; i < c->count && o->inflight < window; i++)
		if (!content_test(c, CONTENT_HERE, i))
			fetch_plan(o, i, lane, out);
}

/* ---- the end of a fetch ---- */

static void fetch_free(struct fetch *f)
{
	struct eobj *o = f->o;
	struct engine *en = o->en;
	struct list more;
	int fd = -1;

	list_init(&more);
	pthread_mutex_lock(&en->mu);
	content_clear_bit(&o->content, f->lane == SOURCE_DEMAND ? CONTENT_ASKED_DEMAND : CONTENT_ASKED,
			  f->chunk);
	if (f->claimed)
		content_clear_bit(&o->content, CONTENT_LANDING, f->chunk);
	o->inflight--;
	if (f->lane == SOURCE_BACKGROUND) {
		en->fetches_inflight--;
		mover_kick(en);
	}
	if (o->want_all && !is_here(o))
		fetch_plan_all(o, SOURCE_DEMAND, 16, &more);
	if (!o->inflight) {
		fd = o->fd;
		o->fd = -1;
	}
	pthread_mutex_unlock(&en->mu);
	if (fd >= 0)
		close(fd);
	fetch_launch(&more);
	eobj_put(o);
	checksum_stream_free(f->hash);
	free(f);
}

static void chunk_here(struct fetch *f)
{
	struct eobj *o = f->o;
	struct engine *en = o->en;
	struct wakes k;
	bool whole;

	wakes_init(&k);
	pthread_mutex_lock(&en->mu);
	content_set_bit(&o->content, CONTENT_HERE, f->chunk);
	whole = !o->content.left;
	if (o->content.count > 1) {
		uint64_t n = content_end(&o->content, f->chunk) - content_start(&o->content, f->chunk);

		o->landed += n;
		en->landed_partial += n;
	}
	if (!whole) {
		wait_collect(o, &k);
		urgent_ask(o);
	}
	pthread_mutex_unlock(&en->mu);
	wakes_fire(&k);
	if (whole)
		finish_if_whole(o);
	else
		record_queue(en, RECORD_RANGES, o);
	fetch_free(f);
}

/* ---- landing ---- */

static int open_for_landing(struct eobj *o, int *out)
{
	struct engine *en = o->en;
	struct stat st;
	int fd;

	pthread_mutex_lock(&en->mu);
	fd = o->fd;
	pthread_mutex_unlock(&en->mu);
	if (fd < 0) {
		fd = target_open_handle(en->target, &o->th, O_WRONLY | O_NONBLOCK);
		if (fd < 0)
			return fd;
		if (fstat(fd, &st)) {
			int r = -errno;

			close(fd);
			return r;
		}
		pthread_mutex_lock(&en->mu);
		if (o->fd < 0) {
			o->fd = fd;
			/* only before the first byte can it be told that nothing was ever written */
			if (o->content.left == o->content.count && st.st_blocks)
				o->fresh = false;
		}
		if (o->fd != fd)
			close(fd);
		fd = o->fd;
		pthread_mutex_unlock(&en->mu);
	}
	*out = fd;
	return 0;
}

static bool same_time(const struct source_time *a, const struct source_time *b)
{
	return a->sec == b->sec && a->nsec == b->nsec;
}

/* D7 */
const char *fetch_difference(const struct promise *p, const struct source_attr *a)
{
	if (a->type != SOURCE_REG || a->fileid != p->fileid || a->fsid != p->fsid)
		return "it was replaced by another object on the source";
	if (a->size != p->size)
		return "its size changed on the source since it was listed";
	if (!same_time(&a->mtime, &p->mtime))
		return "its content changed on the source since it was listed (modification time)";
	if (!same_time(&a->ctime, &p->ctime) || a->change != p->change)
		return "it changed on the source since it was listed (change time)";
	return NULL;
}

enum verdict { LAND, DROP, HOLD, LATER, REST_IS_ABOVE_LIMIT };

/* Does a truncation wait for the landing to stop?  Then no new one begins, so that it gets its turn. */
static bool change_wanted(const struct eobj *o)
{
	for (const struct list *n = o->waiters.next; n != &o->waiters; n = n->next)
		if (list_entry(n, struct access_wait, link)->cond == WAIT_CHANGE)
			return true;
	return false;
}

/* May these bytes land?  On LAND the caller is counted in o->landing. */
static enum verdict enter_landing(struct fetch *f, uint64_t *limit)
{
	struct eobj *o = f->o;
	struct content *c = &o->content;
	enum verdict v = LAND;

	pthread_mutex_lock(&o->en->mu);
	*limit = o->limit;
	if (o->failed || is_here(o) || content_test(c, CONTENT_HERE, f->chunk) ||
	    (content_test(c, CONTENT_LANDING, f->chunk) && !f->claimed)) {
		v = DROP;
	} else if (o->frozen) {
		list_append(&o->held, &f->link);
		v = HOLD;
	} else if (change_wanted(o)) {
		v = LATER;
	} else if (f->off >= o->limit) {
		v = REST_IS_ABOVE_LIMIT;
	} else {
		content_set_bit(c, CONTENT_LANDING, f->chunk);
		f->claimed = true;
		o->landing++;
	}
	pthread_mutex_unlock(&o->en->mu);
	return v;
}

static void leave_landing(struct eobj *o)
{
	struct wakes k;

	wakes_init(&k);
	pthread_mutex_lock(&o->en->mu);
	if (!--o->landing)
		wait_collect(o, &k);
	pthread_mutex_unlock(&o->en->mu);
	wakes_fire(&k);
}

static void keep_sum(struct fetch *f, const uint8_t sum[CHECKSUM_SIZE])
{
	pthread_mutex_lock(&f->o->en->mu);
	content_set_sum(&f->o->content, f->chunk, sum);
	pthread_mutex_unlock(&f->o->en->mu);
}

/* n more bytes of the chunk have landed at f->off. */
static void hash_piece(struct fetch *f, const void *data, uint64_t n)
{
	struct content *c = &f->o->content;
	uint64_t start = content_start(c, f->chunk), seed = checksum_seed(c->count, f->chunk);
	uint8_t sum[CHECKSUM_SIZE];

	if (f->off == start && f->off + n == f->end) {
		checksum_of(data, n, seed, sum);
		keep_sum(f, sum);
		return;
	}
	if (f->off == start)
		f->hash = checksum_stream_new(seed);
	f->unhashed |= !f->hash;
	if (f->unhashed)
		return;
	checksum_stream_update(f->hash, data, n);
	if (f->off + n < f->end)
		return;
	checksum_stream_digest(f->hash, sum);
	keep_sum(f, sum);
}

static int land(struct fetch *f, const struct source_req *req, uint64_t limit)
{
	struct eobj *o = f->o;
	uint64_t n = req->out_length;
	int fd = -1, r;

	if (f->off + n > limit)
		n = limit - f->off;
	r = open_for_landing(o, &fd);
	if (!r)
		r = target_land(fd, req->data, n, f->off, o->fresh);
	if (!r) {
		hash_piece(f, req->data, n);
		f->off += n;
		pthread_mutex_lock(&o->en->mu);
		o->en->landed_total += n;
		if (f->lane == SOURCE_BACKGROUND)
			o->en->landed_background += n;
		pthread_mutex_unlock(&o->en->mu);
		if (f->refused)
			room_over(o->en);
		else
			room_found(o->en, ROOM_DATA);
		f->refused = false;
	}
	return r;
}

static void submit(struct fetch *f);

static void run_again(struct deferred *d, bool cancelled)
{
	struct fetch *f = list_entry(d, struct fetch, again);

	uint64_t wait = cancelled ? 0 : room_put_off(f->o->en);

	if (cancelled)
		fetch_free(f);
	else if (wait)
		deferred_add(f->o->en, &f->again, wait);
	else
		submit(f);
}

/* Who reads can be served around the target; who writes gets the target's answer. */
static void let_readers_decide(struct eobj *o)
{
	struct wakes k;

	wakes_init(&k);
	pthread_mutex_lock(&o->en->mu);
	wait_collect_readers(o, &k);
	pthread_mutex_unlock(&o->en->mu);
	wakes_fire(&k);
}

static void target_refused(struct fetch *f, int r)
{
	struct eobj *o = f->o;

	if (room_is_passing(r)) {
		room_refused(o->en, ROOM_DATA, r);
		let_readers_decide(o);
		f->refused = true;
		f->again.run = run_again;
		deferred_add(o->en, &f->again, full_pause);
		return;
	}
	if (r == -ESTALE)	/* deleted under our hands; nobody can read it any more */
		fetch_free(f);
	else {
		engine_quarantine(o, r, "it cannot be written to the target: %s", strerrordesc_np(-r));
		fetch_free(f);
	}
}

static void arrived(struct source_req *req);

static void fetch_failed(struct fetch *f, int err)
{
	struct engine *en = f->o->en;

	if (err == -ECANCELED) {
		fetch_free(f);
	} else if (err == -ESTALE && f->stale++ < STALE_TRIES) {
		fhcache_drop(en->fhs, f->o->oid);
		f->again.run = run_again;
		deferred_add(en, &f->again, stale_pause(f->stale));
	} else {
		engine_quarantine(f->o, err, "%s: %s", err == -EISDIR ? "it is a directory on the source now"
				  : "it cannot be read from the source", strerrordesc_np(-err));
		fetch_free(f);
	}
}

static bool changed(struct fetch *f, const struct source_attr *a)
{
	const char *why = POINT_STEP("rule.check-source") == POINT_SKIP ? NULL : fetch_difference(&f->o->promise, a);

	if (why) {
		engine_quarantine(f->o, -ESTALE, "%s", why);
		fetch_free(f);
	}
	return why;
}

static void checked(struct source_req *req)
{
	struct fetch *f = req->user;

	if (req->err)
		fetch_failed(f, req->err);
	else if (!changed(f, &req->attr))
		chunk_here(f);
}

/* All bytes of the chunk have landed. */
static void chunk_landed(struct fetch *f)
{
	if (!f->unchecked) {
		chunk_here(f);
		return;
	}
	f->req.op = SOURCE_GETATTR;
	f->req.done = checked;
	source_submit(f->o->en->source, &f->req);
}

static void arrived(struct source_req *req)
{
	struct fetch *f = req->user;
	struct eobj *o = f->o;
	uint64_t limit;
	int r;

	if (req->err) {
		fetch_failed(f, req->err);
		return;
	}
	if (req->has_attr && changed(f, &req->attr))
		return;
	f->unchecked |= !req->has_attr;
	if (!req->out_length && f->off < f->end) {
		engine_quarantine(o, -ESTALE, "it ended early on the source");
		fetch_free(f);
		return;
	}
	switch (enter_landing(f, &limit)) {
	case DROP:
		fetch_free(f);
		return;
	case HOLD:
		return;
	case LATER:
		f->again.run = run_again;
		deferred_add(o->en, &f->again, change_pause);
		return;
	case REST_IS_ABOVE_LIMIT:
		chunk_here(f);
		return;
	case LAND:
		break;
	}
	r = land(f, req, limit);
	POINT("fetch.landed");
	leave_landing(o);
	if (r)
		target_refused(f, r);
	else if (f->off >= f->end || f->off >= limit)
		chunk_landed(f);
	else
		submit(f);
}

/* ---- going out ---- */

static void resolved(struct resolve *rs, int err)
{
	struct fetch *f = list_entry(rs, struct fetch, resolve);
	uint64_t n = f->end - f->off;

	if (err) {
		fetch_failed(f, err);
		return;
	}
	memset(&f->req, 0, sizeof f->req);
	f->req.op = SOURCE_READ;
	f->req.lane = f->lane;
	f->req.fh = rs->fh;
	f->req.name = f->o->name;
	f->req.offset = f->off;
	f->req.length = (uint32_t)(n < f->o->en->read_max ? n : f->o->en->read_max);
	f->req.done = arrived;
	f->req.user = f;
	source_submit(f->o->en->source, &f->req);
}

static void submit(struct fetch *f)
{
	int r = resolve_start(&f->resolve, f->o->en, f->o->oid, f->lane, resolved);

	if (r)
		resolved(&f->resolve, r < 0 ? r : 0);
}

void fetch_launch(struct list *planned)
{
	struct list *n;

	while ((n = list_pop(planned)))
		submit(list_entry(n, struct fetch, link));
}

void fetch_unfreeze(struct eobj *o, struct list *out)
{
	list_splice(out, &o->held);
}
