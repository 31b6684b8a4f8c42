/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The throttle decorator: a token bucket in bytes, with debt.
 *
 * A background READ may start while the bucket is not empty, and pays what it
 * asks for (the rest comes back when the answer is shorter); so the bucket may
 * go below zero by the requests in flight, and the rate holds on average.
 * Demand always passes and pays when answered; its debt is bounded, otherwise
 * a busy hour would stop the background for the next.  Requests other than
 * READ cost nothing, but count as in flight.
 *
 * Background requests that may not start stand in a queue; a thread starts
 * them.  The lock is never held while a request is submitted or finished.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "check.h"

#define BURST_NS (CLOCK_SEC / 10)	/* the full bucket, in time */
#define DEBT_NS CLOCK_SEC		/* the most that demand may owe */

struct throttle {
	struct source base;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_t thread;
	bool closing;
	uint64_t rate;		/* bytes/s, 0 = no limit */
	unsigned cap;		/* background in flight, 0 = no limit */
	int64_t tokens;		/* bytes */
	uint64_t filled;	/* when tokens were last counted */
	unsigned in_flight;	/* background */
	struct list queue;	/* of struct ticket */
};

struct ticket {
	struct list link;
	struct throttle *owner;
	struct source_req *req;
	void (*done)(struct source_req *req);
	void *user;
	uint32_t paid;
};

static int64_t bytes_in(const struct throttle *t, uint64_t ns)
{
	return (int64_t)((unsigned __int128)t->rate * ns / CLOCK_SEC);
}

static void fill(struct throttle *t)
{
	uint64_t now = clock_mono();
	int64_t burst = bytes_in(t, BURST_NS) + 1, more = bytes_in(t, now - t->filled);

	if (!t->rate) {
		t->filled = now;
		t->tokens = 1;
	} else if (more > 0) {	/* fractions of a byte are kept in the time */
		t->tokens = t->tokens + more < burst ? t->tokens + more : burst;
		t->filled = now;
	}
}

static bool may_start(struct throttle *t, const struct ticket *k)
{
	if (t->cap && t->in_flight >= t->cap)
		return false;
	return !t->rate || k->req->op != SOURCE_READ || t->tokens > 0;
}

static void pay(struct throttle *t, struct ticket *k)
{
	t->in_flight++;
	if (t->rate && k->req->op == SOURCE_READ) {
		k->paid = k->req->length;
		t->tokens -= k->paid;
	}
}

static void pass_up(struct ticket *k, int err)
{
	struct source_req *req = k->req;

	req->done = k->done;
	req->user = k->user;
	free(k);
	check_finish(req, err);
}

static void settle(struct throttle *t, struct ticket *k)
{
	const struct source_req *req = k->req;
	uint32_t got = !req->err && req->op == SOURCE_READ ? req->out_length : 0;

	if (!t->rate)
		return;
	fill(t);
	t->tokens += (int64_t)k->paid - got;
	if (req->lane == SOURCE_DEMAND && t->tokens < -bytes_in(t, DEBT_NS))
		t->tokens = -bytes_in(t, DEBT_NS);
}

static void answered(struct source_req *req)
{
	struct ticket *k = req->user;
	struct throttle *t = k->owner;

	pthread_mutex_lock(&t->lock);
	settle(t, k);
	if (req->lane == SOURCE_BACKGROUND)
		t->in_flight--;
	if (!list_empty(&t->queue))
		pthread_cond_signal(&t->wake);
	pthread_mutex_unlock(&t->lock);
	pass_up(k, req->err);
}

/* The first in the queue that may start; others than READ overtake waiting READs. */
static struct ticket *pick(struct throttle *t)
{
	struct list *l;

	fill(t);
	for (l = t->queue.next; l != &t->queue; l = l->next) {
		struct ticket *k = list_entry(l, struct ticket, link);

		if (may_start(t, k)) {
			list_remove(l);
			pay(t, k);
			return k;
		}
	}
	return NULL;
}

static void wait_for_change(struct throttle *t)
{
	struct timespec due;
	uint64_t ns;

	if (list_empty(&t->queue) || !t->rate || t->tokens > 0) {
		pthread_cond_wait(&t->wake, &t->lock);
		return;
	}
	ns = (uint64_t)((unsigned __int128)(1 - t->tokens) * CLOCK_SEC / t->rate) + 1;
	due = clock_timespec(t->filled + ns);
	pthread_cond_clockwait(&t->wake, &t->lock, CLOCK_MONOTONIC, &due);
}

static void *run(void *arg)
{
	struct throttle *t = arg;

	pthread_mutex_lock(&t->lock);
	while (!t->closing) {
		struct ticket *k = pick(t);

		if (k) {
			pthread_mutex_unlock(&t->lock);
			source_submit(t->base.below, k->req);
			pthread_mutex_lock(&t->lock);
		} else {
			wait_for_change(t);
		}
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

static void throttle_submit(struct source *s, struct source_req *req)
{
	struct throttle *t = (struct throttle *)s;
	struct ticket *k = malloc(sizeof *k);
	bool start = true;

	if (!k) {	/* then unthrottled: late is worse than early */
		source_submit(s->below, req);
		return;
	}
	*k = (struct ticket){ .owner = t, .req = req, .done = req->done, .user = req->user };
	req->done = answered;
	req->user = k;
	if (req->lane == SOURCE_BACKGROUND) {
		pthread_mutex_lock(&t->lock);
		fill(t);
		start = list_empty(&t->queue) && may_start(t, k);
		if (start) {
			pay(t, k);
		} else {
			list_append(&t->queue, &k->link);
			pthread_cond_signal(&t->wake);
		}
		pthread_mutex_unlock(&t->lock);
	}
	if (start)
		source_submit(s->below, req);
}

void source_throttle_set(struct source *s, uint64_t bytes_per_second, unsigned in_flight)
{
	struct throttle *t = (struct throttle *)s;

	pthread_mutex_lock(&t->lock);
	fill(t);
	t->rate = bytes_per_second;
	t->cap = in_flight;
	t->tokens = 1;		/* neither old savings nor old debts */
	pthread_cond_signal(&t->wake);
	pthread_mutex_unlock(&t->lock);
}

static void throttle_limits(struct source *s, struct source_limits *out)
{
	struct throttle *t = (struct throttle *)s;

	source_limits(s->below, out);
	pthread_mutex_lock(&t->lock);
	if (t->cap && t->cap < out->depth)
		out->depth = t->cap;
	pthread_mutex_unlock(&t->lock);
}

static void throttle_stats(struct source *s, struct source_stats *out)
{
	source_stats(s->below, out);
}

static void throttle_close(struct source *s)
{
	struct throttle *t = (struct throttle *)s;
	struct list queue, *l;

	list_init(&queue);
	pthread_mutex_lock(&t->lock);
	t->closing = true;
	pthread_cond_signal(&t->wake);
	pthread_mutex_unlock(&t->lock);
	pthread_join(t->thread, NULL);
	pthread_mutex_lock(&t->lock);
	list_splice(&queue, &t->queue);
	pthread_mutex_unlock(&t->lock);
	while ((l = list_pop(&queue)))
		pass_up(list_entry(l, struct ticket, link), -ECANCELED);
	source_close(s->below);
	pthread_cond_destroy(&t->wake);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static const struct source_ops throttle_ops = {
	.name = "throttle",
	.submit = throttle_submit,
	.limits = throttle_limits,
	.stats = throttle_stats,
	.close = throttle_close,
};

struct source *source_throttle(struct source *below)
{
	struct throttle *t = calloc(1, sizeof *t);

	if (!t) {
		source_close(below);
		return NULL;
	}
	t->base = (struct source){ &throttle_ops, below, below->root, below->root_attr };
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->wake, NULL);
	list_init(&t->queue);
	fill(t);
	if (pthread_create(&t->thread, NULL, run, t)) {
		free(t);
		source_close(below);
		return NULL;
	}
	return &t->base;
}
