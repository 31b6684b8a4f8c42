/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fake.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/list.h"

unsigned fake_closed;

struct fake {
	struct source base;
	const struct fake_step *steps;
	unsigned count, seen, background, peak;
	bool closing;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	pthread_t thread;
	struct list queue;
};

/* A request in hand keeps its time in hook[2], its step in hook[3]. */
static struct source_req *from_link(struct list *l)
{
	return list_entry(l, struct source_req, hook);
}
static uint64_t due(struct source_req *req)
{
	return (uint64_t)(uintptr_t)req->hook[2];
}

static void fill_in(struct source_req *req, char *data)
{
	uint32_t i;

	req->has_attr = true;
	req->attr = (struct source_attr){ .type = SOURCE_REG, .mode = 0644, .nlink = 1,
					  .size = 1 << 20, .mtime = { 1000, 500 } };
	if (req->op == SOURCE_LOOKUP) {
		req->out_fh.len = 4;
		memcpy(req->out_fh.data, "fake", 4);
	}
	if (req->op == SOURCE_READ) {
		for (i = 0; i < req->length; i++)
			data[i] = fake_byte(req->offset + i);
		req->data = data;
		req->out_length = req->length;
		req->eof = req->offset + req->length >= req->attr.size;
	}
	if (req->op == SOURCE_READLINK) {
		req->data = "target";
		req->out_length = 6;
	}
}

static void answer(struct fake *f, struct source_req *req, char *data)
{
	const struct fake_step *step = req->hook[3];

	req->err = f->closing ? -ECANCELED : step ? step->err : 0;
	if (req->lane == SOURCE_BACKGROUND)
		f->background--;
	pthread_mutex_unlock(&f->lock);
	if (!req->err)
		fill_in(req, data);
	req->done(req);
	pthread_mutex_lock(&f->lock);
}

static struct source_req *first_due(struct fake *f)
{
	struct source_req *best = NULL;
	struct list *l;

	for (l = f->queue.next; l != &f->queue; l = l->next)
		if (!best || due(from_link(l)) < due(best))
			best = from_link(l);
	return best;
}

static void *run(void *arg)
{
	struct fake *f = arg;
	char *data = malloc(1 << 20);
	struct source_req *req;

	pthread_mutex_lock(&f->lock);
	while ((req = first_due(f)) || !f->closing) {
		if (!req) {
			pthread_cond_wait(&f->wake, &f->lock);
		} else if (!f->closing && due(req) > clock_mono()) {
			struct timespec t = clock_timespec(due(req));

			pthread_cond_clockwait(&f->wake, &f->lock, CLOCK_MONOTONIC, &t);
		} else {
			list_remove((struct list *)(void *)req->hook);
			answer(f, req, data);
		}
	}
	pthread_mutex_unlock(&f->lock);
	free(data);
	return NULL;
}

static void fake_submit(struct source *s, struct source_req *req)
{
	struct fake *f = (struct fake *)s;
	const struct fake_step *step = NULL;

	pthread_mutex_lock(&f->lock);
	if (f->count)
		step = &f->steps[f->seen < f->count ? f->seen : f->count - 1];
	f->seen++;
	if (req->lane == SOURCE_BACKGROUND && ++f->background > f->peak)
		f->peak = f->background;
	req->hook[2] = (void *)(uintptr_t)(clock_mono() + (step ? step->delay_ms * CLOCK_MS : 0));
	req->hook[3] = (void *)(uintptr_t)step;
	list_append(&f->queue, (struct list *)(void *)req->hook);
	pthread_cond_signal(&f->wake);
	pthread_mutex_unlock(&f->lock);
}

static void fake_limits(struct source *s, struct source_limits *out)
{
	(void)s;
	*out = (struct source_limits){ .read_max = 1 << 20, .depth = 64, .time_nsec = true };
}

static void fake_stats(struct source *s, struct source_stats *out)
{
	(void)s;
	out->connected = true;
}

static void fake_close(struct source *s)
{
	struct fake *f = (struct fake *)s;

	pthread_mutex_lock(&f->lock);
	f->closing = true;
	pthread_cond_signal(&f->wake);
	pthread_mutex_unlock(&f->lock);
	pthread_join(f->thread, NULL);
	fake_closed++;
	free(f);
}

static const struct source_ops fake_ops = {
	.name = "fake", .submit = fake_submit, .limits = fake_limits,
	.stats = fake_stats, .close = fake_close,
};

struct source *fake_new(const struct fake_step *steps, unsigned count)
{
	struct fake *f = calloc(1, sizeof *f);

	f->base.ops = &fake_ops;
	f->base.root.len = 4;
	f->steps = steps;
	f->count = count;
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->wake, NULL);
	list_init(&f->queue);
	pthread_create(&f->thread, NULL, run, f);
	return &f->base;
}

unsigned fake_seen(struct source *s)
{
	struct fake *f = (struct fake *)s;
	unsigned n;

	pthread_mutex_lock(&f->lock);
	n = f->seen;
	pthread_mutex_unlock(&f->lock);
	return n;
}

unsigned fake_peak(struct source *s)
{
	struct fake *f = (struct fake *)s;
	unsigned n;

	pthread_mutex_lock(&f->lock);
	n = f->peak;
	pthread_mutex_unlock(&f->lock);
	return n;
}
