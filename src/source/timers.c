/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A list sorted by time.  Adding searches from the end: most items of one
 * decorator have the same delay, so the place is found at once.
 */
#include "timers.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"

struct timers {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct list items;
	bool stopping;
	pthread_t thread;
};

static void *run(void *arg)
{
	struct timers *t = arg;

	pthread_mutex_lock(&t->lock);
	while (!t->stopping) {
		struct timers_item *first = list_entry(t->items.next, struct timers_item, link);
		struct timespec due;

		if (list_empty(&t->items)) {
			pthread_cond_wait(&t->wake, &t->lock);
		} else if (first->due > clock_mono()) {
			due = clock_timespec(first->due);
			pthread_cond_clockwait(&t->wake, &t->lock, CLOCK_MONOTONIC, &due);
		} else {
			list_remove(&first->link);
			pthread_mutex_unlock(&t->lock);
			first->fire(first, false);
			pthread_mutex_lock(&t->lock);
		}
	}
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

struct timers *timers_new(void)
{
	struct timers *t = calloc(1, sizeof *t);

	if (!t)
		return NULL;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->wake, NULL);
	list_init(&t->items);
	if (pthread_create(&t->thread, NULL, run, t)) {
		timers_free(t);
		return NULL;
	}
	return t;
}

bool timers_add(struct timers *t, struct timers_item *item)
{
	struct list *after;
	bool added = false;

	pthread_mutex_lock(&t->lock);
	if (!t->stopping) {
		after = t->items.prev;
		while (after != &t->items &&
		       list_entry(after, struct timers_item, link)->due > item->due)
			after = after->prev;
		list_prepend(after, &item->link);
		added = true;
		if (t->items.next == &item->link)
			pthread_cond_signal(&t->wake);
	}
	pthread_mutex_unlock(&t->lock);
	return added;
}

void timers_stop(struct timers *t)
{
	struct list *l;

	pthread_mutex_lock(&t->lock);
	t->stopping = true;
	pthread_cond_signal(&t->wake);
	pthread_mutex_unlock(&t->lock);
	pthread_join(t->thread, NULL);
	while ((l = list_pop(&t->items))) {
		struct timers_item *item = list_entry(l, struct timers_item, link);

		item->fire(item, true);
	}
}

void timers_free(struct timers *t)
{
	if (!t)
		return;
	pthread_cond_destroy(&t->wake);
	pthread_mutex_destroy(&t->lock);
	free(t);
}
