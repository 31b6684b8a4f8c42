/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ask.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum { TRIES = 3 };

/* Shared by the thread that waits and the source's callback; whoever leaves last frees it. */
struct question {
	pthread_mutex_t mu;
	pthread_cond_t cond;
	unsigned refs;
	bool answered;
	int err;
	struct engine *en;
	struct resolve resolve;
	struct source_req req;
	struct source_fh fh;
	struct source_attr attr;
	size_t link_len;
	char link[SOURCE_LINK_MAX + 1];
};

static struct question *question_new(struct engine *en)
{
	struct question *q = calloc(1, sizeof *q);

	if (!q)
		return NULL;
	pthread_mutex_init(&q->mu, NULL);
	pthread_cond_init(&q->cond, NULL);
	q->refs = 2;
	q->en = en;
	return q;
}

static void question_put(struct question *q)
{
	bool last;

	pthread_mutex_lock(&q->mu);
	last = !--q->refs;
	pthread_mutex_unlock(&q->mu);
	if (!last)
		return;
	pthread_cond_destroy(&q->cond);
	pthread_mutex_destroy(&q->mu);
	free(q);
}

static void answer(struct question *q, int err)
{
	pthread_mutex_lock(&q->mu);
	q->err = err;
	q->answered = true;
	pthread_cond_signal(&q->cond);
	pthread_mutex_unlock(&q->mu);
	question_put(q);
}

static bool given_up(struct engine *en)
{
	bool stop;

	pthread_mutex_lock(&en->mu);
	stop = en->stopping || en->interrupted || en->poisoned;
	pthread_mutex_unlock(&en->mu);
	return stop;
}

static int wait_for(struct question *q)
{
	int err;

	pthread_mutex_lock(&q->mu);
	while (!q->answered && !given_up(q->en)) {
		struct timespec until = clock_timespec(clock_mono() + 100 * CLOCK_MS);

		pthread_cond_clockwait(&q->cond, &q->mu, CLOCK_MONOTONIC, &until);
	}
	err = q->answered ? q->err : -ECANCELED;
	pthread_mutex_unlock(&q->mu);
	return err;
}

static void got_attr(struct source_req *req)
{
	struct question *q = req->user;

	if (!req->err)
		q->attr = req->attr;
	answer(q, req->err);
}

static void got_link(struct source_req *req)
{
	struct question *q = req->user;
	int err = req->err;

	if (!err && (!req->out_length || req->out_length > SOURCE_LINK_MAX))
		err = -EPROTO;
	if (!err) {
		memcpy(q->link, req->data, req->out_length);
		q->link_len = req->out_length;
	}
	answer(q, err);
}

static void submit(struct question *q, enum source_op op, void (*done)(struct source_req *))
{
	q->req.op = op;
	q->req.lane = SOURCE_DEMAND;
	q->req.fh = q->fh;
	q->req.done = done;
	q->req.user = q;
	source_submit(q->en->source, &q->req);
}

static void resolved(struct resolve *r, int err)
{
	struct question *q = list_entry(r, struct question, resolve);

	q->fh = r->fh;
	if (err)
		answer(q, err);
	else
		submit(q, SOURCE_GETATTR, got_attr);
}

static int ask_once(struct engine *en, uint64_t oid, struct source_fh *fh, struct source_attr *attr)
{
	struct question *q = question_new(en);
	int r;

	if (!q)
		return -ENOMEM;
	r = resolve_start(&q->resolve, en, oid, SOURCE_DEMAND, resolved);
	if (r)
		resolved(&q->resolve, r < 0 ? r : 0);
	r = wait_for(q);
	if (!r) {
		*fh = q->fh;
		*attr = q->attr;
	}
	question_put(q);
	return r;
}

int ask_present(struct engine *en, uint64_t oid, struct source_fh *fh, struct source_attr *attr)
{
	struct catalog_row row;
	int r = catalog_get(en->catalog, oid, &row);

	for (int i = 0; !r && i < TRIES; i++) {
		fhcache_drop(en->fhs, oid);
		if (i)		/* its directory's handle may be the stale one */
			fhcache_drop(en->fhs, row.parent);
		r = ask_once(en, oid, fh, attr);
		if (r != -ESTALE)
			return r;
		r = 0;
	}
	return r ? r : -ESTALE;
}

int ask_link(struct engine *en, const struct source_fh *fh, char link[SOURCE_LINK_MAX + 1])
{
	struct question *q = question_new(en);
	int r;

	if (!q)
		return -ENOMEM;
	q->fh = *fh;
	submit(q, SOURCE_READLINK, got_link);
	r = wait_for(q);
	if (!r) {
		memcpy(link, q->link, q->link_len);
		link[q->link_len] = 0;
	}
	question_put(q);
	return r;
}
