/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The retry decorator.  A transport failure never gets here (the back end
 * waits it out); what is tried again are answers that another day may be
 * different.  While a request is below, its done and user are ours; they are
 * the submitter's again before done() is called.
 *
 * Invariant: after timers_stop() no request is parked and none will be.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "check.h"
#include "timers.h"

#define PAUSE_MIN (100 * CLOCK_MS)
#define PAUSE_MAX (10 * CLOCK_SEC)

struct retry {
	struct source base;
	unsigned tries;
	struct timers *timers;
	_Atomic uint64_t retries;
};

struct attempt {
	struct timers_item timer;
	struct retry *owner;
	struct source_req *req;
	void (*done)(struct source_req *req);
	void *user;
	unsigned tried;
	uint64_t pause;
};

static bool may_pass(int err)
{
	return err == -EIO || err == -EAGAIN || err == -ETIMEDOUT || err == -EPROTO || err == -ENOMEM;
}

static void pass_up(struct attempt *a, int err)
{
	struct source_req *req = a->req;

	req->done = a->done;
	req->user = a->user;
	free(a);
	check_finish(req, err);
}

static void again(struct timers_item *item, bool stopped)
{
	struct attempt *a = list_entry(item, struct attempt, timer);

	if (stopped)
		pass_up(a, -ECANCELED);
	else
		source_submit(a->owner->base.below, a->req);
}

static void answered(struct source_req *req)
{
	struct attempt *a = req->user;

	if (!may_pass(req->err) || ++a->tried >= a->owner->tries) {
		pass_up(a, req->err);
		return;
	}
	a->timer.due = clock_mono() + a->pause;
	a->pause = 4 * a->pause < PAUSE_MAX ? 4 * a->pause : PAUSE_MAX;
	atomic_fetch_add(&a->owner->retries, 1);
	if (!timers_add(a->owner->timers, &a->timer))
		pass_up(a, -ECANCELED);
}

static void retry_submit(struct source *s, struct source_req *req)
{
	struct attempt *a = malloc(sizeof *a);

	if (!a) {	/* then without a second try */
		source_submit(s->below, req);
		return;
	}
	*a = (struct attempt){
		.timer.fire = again, .owner = (struct retry *)s, .req = req,
		.done = req->done, .user = req->user, .pause = PAUSE_MIN,
	};
	req->done = answered;
	req->user = a;
	source_submit(s->below, req);
}

static void retry_limits(struct source *s, struct source_limits *out)
{
	source_limits(s->below, out);
}

static void retry_stats(struct source *s, struct source_stats *out)
{
	source_stats(s->below, out);
	out->retries += atomic_load(&((struct retry *)s)->retries);
}

static void retry_close(struct source *s)
{
	struct retry *r = (struct retry *)s;

	timers_stop(r->timers);
	source_close(s->below);
	timers_free(r->timers);
	free(r);
}

static const struct source_ops retry_ops = {
	.name = "retry",
	.submit = retry_submit,
	.limits = retry_limits,
	.stats = retry_stats,
	.close = retry_close,
};

struct source *source_retry(struct source *below, unsigned tries)
{
	struct retry *r = calloc(1, sizeof *r);

	if (r)
		r->timers = timers_new();
	if (!r || !r->timers) {
		free(r);
		source_close(below);
		return NULL;
	}
	r->base = (struct source){ &retry_ops, below, below->root, below->root_attr };
	r->tries = tries ? tries : 1;
	return &r->base;
}
