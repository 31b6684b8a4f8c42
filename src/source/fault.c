/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The fault decorator: a source that misbehaves to order.
 *
 * Faults are decided when a request is submitted.  A delayed request waits
 * on the timer thread, a stalled one in a list until the rules change (then
 * it meets the new rules); others are not held up by either.  Altered data
 * is a copy: the source's buffers are not ours to write to.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "check.h"
#include "fault_rules.h"
#include "timers.h"

struct fault {
	struct source base;
	pthread_mutex_t lock;	/* rules, stalled, closing */
	struct fault_rules *rules;
	struct list stalled;	/* of struct victim, by timer.link */
	bool closing;
	struct timers *timers;
};

struct victim {
	struct timers_item timer;
	struct fault *owner;
	struct source_req *req;
	void (*done)(struct source_req *req);
	void *user;
	struct fault_plan plan;
	char *copy;		/* of READ data */
};

static void pass_up(struct victim *v, int err)
{
	struct source_req *req = v->req;
	char *copy = v->copy;

	req->done = v->done;
	req->user = v->user;
	free(v);
	check_finish(req, err);
	free(copy);
}

static int flip_bit(struct victim *v)
{
	struct source_req *req = v->req;

	v->copy = malloc(req->out_length);
	if (!v->copy)
		return -ENOMEM;
	memcpy(v->copy, req->data, req->out_length);
	v->copy[req->out_length / 2] ^= 0x10;
	req->data = v->copy;
	return 0;
}

static void answered(struct source_req *req)
{
	struct victim *v = req->user;
	int err = req->err;

	if (!err && req->op == SOURCE_READ && v->plan.shorten && req->out_length > 1) {
		req->out_length /= 2;
		req->eof = false;
	}
	if (!err && req->op == SOURCE_READ && v->plan.flip && req->out_length)
		err = flip_bit(v);
	if (!err && req->has_attr && v->plan.touch)
		req->attr.mtime.nsec ^= 1;	/* 999999999 is odd: stays below a second */
	pass_up(v, err);
}

static void proceed(struct timers_item *item, bool stopped)
{
	struct victim *v = list_entry(item, struct victim, timer);

	if (stopped)
		pass_up(v, -ECANCELED);
	else if (v->plan.err)
		pass_up(v, v->plan.err);
	else
		source_submit(v->owner->base.below, v->req);
}

/* Meet the rules.  The request is ours: its done is answered(). */
static void start(struct victim *v)
{
	struct fault *f = v->owner;
	bool stalled, cancelled;

	pthread_mutex_lock(&f->lock);
	v->plan = fault_rules_apply(f->rules, v->req);
	cancelled = f->closing;
	stalled = v->plan.stall && !cancelled;
	if (stalled)
		list_append(&f->stalled, &v->timer.link);
	pthread_mutex_unlock(&f->lock);
	if (stalled)
		return;
	if (cancelled || v->plan.err || v->plan.delay_ns) {
		/* never answered from inside source_submit(): by the timer thread */
		v->timer.due = v->plan.delay_ns ? clock_mono() + v->plan.delay_ns : 0;
		if (!timers_add(f->timers, &v->timer))
			pass_up(v, -ECANCELED);
	} else {
		source_submit(f->base.below, v->req);
	}
}

static void fault_submit(struct source *s, struct source_req *req)
{
	struct victim *v = malloc(sizeof *v);

	if (!v) {
		source_submit(s->below, req);
		return;
	}
	*v = (struct victim){
		.timer.fire = proceed, .owner = (struct fault *)s, .req = req,
		.done = req->done, .user = req->user,
	};
	req->done = answered;
	req->user = v;
	start(v);
}

int source_fault_set(struct source *s, const char *text, struct err *e)
{
	struct fault *f = (struct fault *)s;
	struct fault_rules *rules = fault_rules_parse(text, e), *old;
	struct list stalled, *l;

	if (!rules)
		return e ? -e->code : -EINVAL;
	list_init(&stalled);
	pthread_mutex_lock(&f->lock);
	old = f->rules;
	f->rules = rules;
	list_splice(&stalled, &f->stalled);
	pthread_mutex_unlock(&f->lock);
	fault_rules_free(old);
	while ((l = list_pop(&stalled)))
		start(list_entry(l, struct victim, timer.link));
	return 0;
}

static void fault_limits(struct source *s, struct source_limits *out)
{
	source_limits(s->below, out);
}

static void fault_stats(struct source *s, struct source_stats *out)
{
	source_stats(s->below, out);
}

static void fault_close(struct source *s)
{
	struct fault *f = (struct fault *)s;
	struct list stalled, *l;

	list_init(&stalled);
	pthread_mutex_lock(&f->lock);
	f->closing = true;
	list_splice(&stalled, &f->stalled);
	pthread_mutex_unlock(&f->lock);
	timers_stop(f->timers);
	while ((l = list_pop(&stalled)))
		pass_up(list_entry(l, struct victim, timer.link), -ECANCELED);
	source_close(s->below);
	timers_free(f->timers);
	fault_rules_free(f->rules);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

static const struct source_ops fault_ops = {
	.name = "fault",
	.submit = fault_submit,
	.limits = fault_limits,
	.stats = fault_stats,
	.close = fault_close,
};

struct source *source_fault(struct source *below)
{
	struct fault *f = calloc(1, sizeof *f);

	if (f) {
		f->rules = fault_rules_parse("", NULL);
		f->timers = f->rules ? timers_new() : NULL;
	}
	if (!f || !f->timers) {
		if (f)
			fault_rules_free(f->rules);
		free(f);
		source_close(below);
		return NULL;
	}
	f->base = (struct source){ &fault_ops, below, below->root, below->root_attr };
	pthread_mutex_init(&f->lock, NULL);
	list_init(&f->stalled);
	return &f->base;
}
