/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Conditions that parked operations wait for.
 *
 * A waiter sits in the list of its object with what it waits for.  Whoever changes the object
 * collects, under the lock, those whose condition now holds, and wakes them after
 * releasing it.  On a quarantined object whatever still needs the source fails.
 */
#include <errno.h>

#include "internal.h"

#include "base/clock.h"
#include "base/point.h"

void wakes_init(struct wakes *k)
{
	list_init(&k->ok);
	list_init(&k->bad);
	k->err = 0;
}

static void fire(struct list *l, int err)
{
	struct list *n;

	while ((n = list_pop(l))) {
		struct access_wait *w = list_entry(n, struct access_wait, link);

		w->wake(w, err);
	}
}

void wakes_fire(struct wakes *k)
{
	fire(&k->ok, 0);
	fire(&k->bad, k->err ? k->err : -EIO);
}

/*
 * Before the first change of a range: it is durably recorded (D3b), and so is that the content is not the
 * source's any more (D8): else a crash could leave the application's bytes under the source's checksum.
 */
static bool range_changeable(const struct eobj *o, uint64_t off, uint64_t len)
{
	bool voids = off < o->limit && len;

	if (is_recorded(o))
		return true;
	if (POINT_STEP("rule.content-recorded") == POINT_SKIP)
		return is_here(o) || content_covers(&o->content, CONTENT_HERE, off, len);
	return content_covers(&o->content, CONTENT_RECORDED, off, len) && (o->modified_recorded || !voids);
}

bool wait_holds(const struct eobj *o, enum wait_cond cond, uint64_t off, uint64_t len)
{
	switch (cond) {
	case WAIT_NAME:
		return false;	/* in a list of its own (name.c) */
	case WAIT_RECORD:
		return !o->pending_rows;
	case WAIT_LISTED:
	case WAIT_CONTENT:
		return is_here(o);
	case WAIT_CONTENT_RECORDED:
		return is_recorded(o) || (is_here(o) && POINT_STEP("rule.content-recorded") == POINT_SKIP);
	case WAIT_RANGE:
		return is_here(o) || content_covers(&o->content, CONTENT_HERE, off, len);
	case WAIT_RANGE_RECORDED:
		return range_changeable(o, off, len);
	case WAIT_INTENT:
		return (o->intent || is_recorded(o)) && !o->pending_rows;
	case WAIT_CHANGE:
		return !o->landing && !o->frozen;
	}
	return true;
}

bool wait_is_for_record(enum wait_cond cond)
{
	return cond == WAIT_RECORD || cond == WAIT_INTENT;
}

bool wait_is_for_source(enum wait_cond cond)
{
	return cond == WAIT_NAME || cond == WAIT_LISTED || cond == WAIT_CONTENT || cond == WAIT_CONTENT_RECORDED ||
	       cond == WAIT_RANGE || cond == WAIT_RANGE_RECORDED;
}

void wait_park(struct list *queue, struct access_wait *w, enum wait_cond cond, uint64_t off, uint64_t len)
{
	w->cond = (uint8_t)cond;
	w->off = off;
	w->len = len;
	w->since = clock_mono();
	w->owner = queue;
	list_append(queue, &w->link);
}

static void move(struct access_wait *w, struct list *to)
{
	list_remove(&w->link);
	w->owner = NULL;
	list_append(to, &w->link);
}

void wait_collect(struct eobj *o, struct wakes *k)
{
	for (struct list *n = o->waiters.next, *next; n != &o->waiters; n = next) {
		struct access_wait *w = list_entry(n, struct access_wait, link);

		next = n->next;
		if (wait_holds(o, w->cond, w->off, w->len)) {
			move(w, &k->ok);
		} else if (o->failed && wait_is_for_source(w->cond)) {
			k->err = -EIO;
			move(w, &k->bad);
		}
	}
}

void wait_drain(struct list *queue, int err, struct wakes *k)
{
	while (!list_empty(queue)) {
		struct access_wait *w = list_entry(queue->next, struct access_wait, link);

		move(w, err ? &k->bad : &k->ok);
	}
	if (err)
		k->err = err;
}

void wait_collect_readers(struct eobj *o, struct wakes *k)
{
	for (struct list *n = o->waiters.next, *next; n != &o->waiters; n = next) {
		struct access_wait *w = list_entry(n, struct access_wait, link);

		next = n->next;
		if (w->cond == WAIT_RANGE || w->cond == WAIT_CONTENT || w->cond == WAIT_RANGE_RECORDED ||
		    (w->cond == WAIT_CONTENT_RECORDED && !is_here(o)))
			move(w, &k->ok);
	}
}
