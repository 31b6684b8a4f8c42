/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "opener.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

#define LOOK_MS 50

struct opener {
	pthread_mutex_t lock;
	pthread_cond_t change;
	bool done, left;	/* left: nobody waits any more */
	char url[1024];
	int result;
	struct err err;
	struct source *source;
};

static void opener_free(struct opener *o)
{
	pthread_mutex_destroy(&o->lock);
	pthread_cond_destroy(&o->change);
	free(o);
}

static void *open_it(void *arg)
{
	struct opener *o = arg;
	struct source *s = NULL;
	struct err e = { 0 };
	int r = source_open(o->url, &s, &e);
	bool left;

	pthread_mutex_lock(&o->lock);
	o->source = s;
	o->result = r;
	o->err = e;
	o->done = true;
	left = o->left;
	pthread_cond_signal(&o->change);
	pthread_mutex_unlock(&o->lock);
	if (!left)
		return NULL;
	if (!r)
		source_close(s);
	opener_free(o);
	return NULL;
}

/* True: it is done, and o is ours; false: withdrawn, and o is the thread's. */
static bool await(struct opener *o, struct reply *r)
{
	bool done;

	pthread_mutex_lock(&o->lock);
	while (!o->done && !reply_withdrawn(r)) {
		struct timespec until = clock_timespec(clock_mono() + LOOK_MS * CLOCK_MS);

		pthread_cond_clockwait(&o->change, &o->lock, CLOCK_MONOTONIC, &until);
	}
	done = o->done;
	o->left = !done;
	pthread_mutex_unlock(&o->lock);
	return done;
}

int opener_source(const char *url, struct reply *r, struct source **out, struct err *e)
{
	struct opener *o = calloc(1, sizeof *o);
	pthread_t thread;
	int result;

	if (!o)
		return err_sys(e, ENOMEM, "source");
	snprintf(o->url, sizeof o->url, "%s", url);
	pthread_mutex_init(&o->lock, NULL);
	pthread_cond_init(&o->change, NULL);
	result = pthread_create(&thread, NULL, open_it, o);
	if (result) {
		opener_free(o);
		return err_sys(e, result, "source");
	}
	if (!await(o, r)) {
		pthread_detach(thread);	/* it may have ended by now */
		return err_set(e, EINTR, "stopped while the source was being asked");
	}
	pthread_join(thread, NULL);
	result = o->result;
	*out = o->source;
	*e = o->err;
	opener_free(o);
	return result;
}
