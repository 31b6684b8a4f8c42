/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gate.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/list.h"

struct gate {
	struct source source;		/* first: a struct source * is this */
	pthread_t thread;		/* answers what came too late */
	pthread_mutex_t lock;		/* everything below */
	pthread_cond_t changed;
	unsigned inside;		/* submitters that are below */
	bool shut, end;
	struct list late;		/* struct late, in req->hook */
	struct source_limits limits;	/* as they were when open */
	struct source_stats stats;
};

struct late {
	struct list link;
	struct source_req *req;
};
_Static_assert(sizeof(struct late) <= sizeof(((struct source_req *)0)->hook),
	       "a late request is kept in its hooks");

static void *answer_late(void *arg)
{
	struct gate *g = arg;
	struct source_req *req;
	struct list *l;

	pthread_mutex_lock(&g->lock);
	while (!g->end || !list_empty(&g->late)) {
		l = list_pop(&g->late);
		if (!l) {
			pthread_cond_wait(&g->changed, &g->lock);
			continue;
		}
		pthread_mutex_unlock(&g->lock);
		req = list_entry(l, struct late, link)->req;
		req->err = -ECANCELED;
		req->done(req);
		pthread_mutex_lock(&g->lock);
	}
	pthread_mutex_unlock(&g->lock);
	return NULL;
}

static void submit(struct source *s, struct source_req *req)
{
	struct gate *g = (struct gate *)s;
	struct late *late = (struct late *)(void *)req->hook;
	bool open;

	pthread_mutex_lock(&g->lock);
	open = !g->shut;
	if (open) {
		g->inside++;
	} else {
		late->req = req;
		list_append(&g->late, &late->link);
		pthread_cond_broadcast(&g->changed);
	}
	pthread_mutex_unlock(&g->lock);
	if (!open)
		return;
	source_submit(s->below, req);
	pthread_mutex_lock(&g->lock);
	if (!--g->inside && g->shut)
		pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

static void limits(struct source *s, struct source_limits *out)
{
	*out = ((struct gate *)s)->limits;
}

static void stats(struct source *s, struct source_stats *out)
{
	struct gate *g = (struct gate *)s;
	bool open;

	pthread_mutex_lock(&g->lock);
	open = !g->shut;
	if (open)
		g->inside++;
	else
		*out = g->stats;
	pthread_mutex_unlock(&g->lock);
	if (!open)
		return;
	source_stats(s->below, out);
	pthread_mutex_lock(&g->lock);
	g->stats = *out;
	if (!--g->inside && g->shut)
		pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

void gate_shut(struct source *s)
{
	struct gate *g = (struct gate *)s;
	bool was;

	pthread_mutex_lock(&g->lock);
	was = g->shut;
	g->shut = true;
	while (g->inside)
		pthread_cond_wait(&g->changed, &g->lock);
	pthread_mutex_unlock(&g->lock);
	if (was)
		return;
	source_close(s->below);
	s->below = NULL;
}

static void close_gate(struct source *s)
{
	struct gate *g = (struct gate *)s;

	gate_shut(s);
	pthread_mutex_lock(&g->lock);
	g->end = true;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
	pthread_join(g->thread, NULL);
	pthread_cond_destroy(&g->changed);
	pthread_mutex_destroy(&g->lock);
	free(g);
}

static const struct source_ops ops = {
	.name = "gate",
	.submit = submit,
	.limits = limits,
	.stats = stats,
	.close = close_gate,
};

struct source *gate_new(struct source *below)
{
	struct gate *g = calloc(1, sizeof *g);

	if (!g)
		return NULL;
	g->source.ops = &ops;
	g->source.below = below;
	g->source.root = below->root;
	g->source.root_attr = below->root_attr;
	list_init(&g->late);
	source_limits(below, &g->limits);
	source_stats(below, &g->stats);
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->changed, NULL);
	if (pthread_create(&g->thread, NULL, answer_late, g)) {
		free(g);
		return NULL;
	}
	return &g->source;
}
