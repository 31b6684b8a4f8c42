/* SPDX-License-Identifier: GPL-3.0-or-later */
/* See fake_access.h.  wake() is called without locks, as access.h demands. */
#include "fake_access.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

struct engine *fake_new(struct target *t)
{
	struct engine *en = calloc(1, sizeof *en);

	pthread_mutex_init(&en->lock, NULL);
	list_init(&en->waiters);
	en->target = t;
	return en;
}

void fake_free(struct engine *en)
{
	pthread_mutex_destroy(&en->lock);
	free(en);
}

struct eobj *fake_object(struct engine *en, uint64_t oid, unsigned gates)
{
	struct eobj *o = &en->obj[oid];

	o->en = en;
	o->oid = oid;
	o->gates = gates;
	return o;
}

/* A waiter's owner says what it waits for: object and gate. */
static void *ticket(struct eobj *o, unsigned gate)
{
	return (void *)((uintptr_t)o->oid << 16 | gate);
}

static int need(struct eobj *o, unsigned gate, struct access_wait *w)
{
	int r = 0;

	if (!o)
		return 0;
	pthread_mutex_lock(&o->en->lock);
	if (!(o->gates & gate)) {
		w->owner = ticket(o, gate);
		w->since = clock_mono();
		list_append(&o->en->waiters, &w->link);
		r = ACCESS_PARKED;
	}
	pthread_mutex_unlock(&o->en->lock);
	return r;
}

static void wake_all(struct eobj *o, unsigned gates, int err)
{
	struct engine *en = o->en;
	struct access_wait *w;

	do {
		w = NULL;
		pthread_mutex_lock(&en->lock);
		for (struct list *l = en->waiters.next; l != &en->waiters && !w; l = l->next) {
			struct access_wait *c = list_entry(l, struct access_wait, link);

			if ((uintptr_t)c->owner >> 16 == o->oid && (uintptr_t)c->owner & gates & 0xffff)
				w = c;
		}
		if (w)
			list_remove(&w->link);
		pthread_mutex_unlock(&en->lock);
		if (w)
			w->wake(w, err);
	} while (w);
}

void fake_open(struct eobj *o, unsigned gates)
{
	pthread_mutex_lock(&o->en->lock);
	o->gates |= gates;
	pthread_mutex_unlock(&o->en->lock);
	wake_all(o, gates, 0);
}

void fake_fail(struct eobj *o, unsigned gates, int err)
{
	wake_all(o, gates, err);
}

unsigned fake_waiting(struct engine *en)
{
	unsigned n = 0;

	pthread_mutex_lock(&en->lock);
	for (struct list *l = en->waiters.next; l != &en->waiters; l = l->next)
		n++;
	pthread_mutex_unlock(&en->lock);
	return n;
}

void fake_changed(struct engine *en, const struct target_handle *h)
{
	en->listener.changed(en->listener.arg, h);
}

unsigned fake_refs(struct engine *en)
{
	unsigned n = 0;

	for (int i = 0; i < FAKE_OBJECTS; i++)
		n += en->obj[i].refs;
	return n;
}

static void count(struct eobj *o, unsigned *c, unsigned n)
{
	pthread_mutex_lock(&o->en->lock);
	*c += n;
	pthread_mutex_unlock(&o->en->lock);
}

/* ---- access.h ---- */

bool access_source_silent(struct engine *en, const struct access_wait *w)
{
	(void)w;
	return en->silent;
}

int access_need_claim(struct eobj *dir, const char *name, struct eobj *o, struct access_wait *w)
{
	(void)dir, (void)name, (void)o, (void)w;
	return 0;
}

int access_read_around(struct eobj *o, uint64_t off, uint64_t len, struct access_wait *w)
{
	(void)o, (void)off, (void)len, (void)w;
	return -EIO;	/* never asked: no need of the fake says -ENOSPC */
}

uint64_t access_around_take(struct access_wait *w, void *buf)
{
	(void)w, (void)buf;
	return 0;
}

bool access_cancel(struct engine *en, struct access_wait *w)
{
	bool parked = false;

	pthread_mutex_lock(&en->lock);
	for (struct list *l = en->waiters.next; l != &en->waiters; l = l->next)
		if (l == &w->link) {
			parked = true;
			break;
		}
	if (parked)
		list_remove(&w->link);
	pthread_mutex_unlock(&en->lock);
	return parked;
}

int access_attach(struct engine *en, struct eobj *dir, const char *name, const struct target_mark *m,
		  const struct target_handle *h, struct eobj **out, struct access_wait *w)
{
	struct eobj *o = m->oid < FAKE_OBJECTS ? &en->obj[m->oid] : NULL;
	int r;

	(void)dir;
	(void)name;
	(void)h;
	if (!o || !o->en)
		return -ESTALE;
	r = need(o, GATE_ATTACH, w);
	if (!r)
		*out = access_ref(o);
	return r;
}

struct eobj *access_ref(struct eobj *o)
{
	if (o)
		count(o, &o->refs, 1);
	return o;
}

void access_put(struct eobj *o)
{
	if (o)
		count(o, &o->refs, (unsigned)-1);
}

bool access_complete(struct eobj *o)
{
	return !o || o->complete;
}

bool access_content_here(struct eobj *o)
{
	return !o || o->gates & GATE_CONTENT;
}

bool access_content_recorded(struct eobj *o)
{
	return !o || o->gates & GATE_CONTENT_RECORDED;
}

int access_need_name(struct eobj *dir, const char *name, struct access_wait *w)
{
	(void)name;
	return need(dir, GATE_NAME, w);
}

bool access_listed(struct eobj *dir)
{
	return !dir || dir->listed;
}

int access_need_listed(struct eobj *dir, struct access_wait *w)
{
	return need(dir, GATE_LISTED, w);
}

int access_need_record(struct eobj *o, struct access_wait *w)
{
	int r = need(o, GATE_RECORD, w);

	if (o && !r)
		count(o, &o->records, 1);
	return r;
}

int access_need_content(struct eobj *o, struct access_wait *w)
{
	return need(o, GATE_CONTENT, w);
}

int access_need_content_recorded(struct eobj *o, struct access_wait *w)
{
	return need(o, GATE_CONTENT_RECORDED, w);
}

int access_need_range(struct eobj *o, uint64_t off, uint64_t len, struct access_wait *w)
{
	return !o || off + len <= o->range_here ? 0 : need(o, GATE_RANGE, w);
}

int access_need_range_recorded(struct eobj *o, uint64_t off, uint64_t len, struct access_wait *w)
{
	return !o || off + len <= o->range_here ? 0 : need(o, GATE_RANGE_RECORDED, w);
}

int access_need_intent(struct eobj *o, struct access_wait *w)
{
	int r = need(o, GATE_INTENT, w);

	if (o && !r)
		count(o, &o->intents, 1);
	return r;
}

enum access_mode access_open_mode(struct eobj *o, bool exec)
{
	if (exec)
		count(o, &o->exec_opens, 1);
	return o->slow && !exec ? ACCESS_SLOW : ACCESS_WHOLE;
}

int access_change_begin(struct eobj *o, struct access_wait *w)
{
	int r = need(o, GATE_CHANGE, w);

	if (!r)
		count(o, &o->change_begun, 1);
	return r;
}

int access_truncated(struct eobj *o, int fd, uint64_t new_size)
{
	(void)fd;
	(void)new_size;
	count(o, &o->truncated, 1);
	return 0;
}

void access_change_end(struct eobj *o)
{
	count(o, &o->change_ended, 1);
}

int access_times_taken(struct eobj *o, int fd, const struct timespec *mtime)
{
	(void)fd;
	(void)mtime;
	count(o, &o->times_taken, 1);
	return 0;
}

void access_written(struct eobj *o, uint64_t off, uint64_t len)
{
	(void)off;
	count(o, &o->written, 1);
	pthread_mutex_lock(&o->en->lock);
	o->written_bytes += len;
	pthread_mutex_unlock(&o->en->lock);
}

bool access_must_hide(struct eobj *o, uint64_t target_nlink)
{
	return o && o->hide && target_nlink == 1;
}

int access_hide(struct eobj *o, int dirfd, const char *name)
{
	int r = target_holder_hide(o->en->target, dirfd, name, o->oid);

	if (!r)
		count(o, &o->hidden, 1);
	return r;
}

void access_deleted(struct eobj *o, bool gone)
{
	if (!o)
		return;
	count(o, &o->deleted, 1);
	if (gone)
		count(o, &o->deleted_gone, 1);
}

void access_overlay_stat(struct eobj *o, struct stat *st)
{
	if (o && o->size)
		st->st_size = (off_t)o->size;
}

int access_root_setattr(struct engine *en, unsigned valid, const struct stat *st, struct access_wait *w)
{
	(void)valid;
	(void)st;
	(void)w;
	en->root_sets++;
	return 0;
}

bool access_fdatasync_is_fsync(struct eobj *o)
{
	return o != NULL;
}

void access_visited(struct eobj *dir)
{
	if (dir)
		count(dir, &dir->visited, 1);
}

void access_listen(struct engine *en, const struct access_listener *l)
{
	if (!en)
		return;
	pthread_mutex_lock(&en->lock);
	en->listener = l ? *l : (struct access_listener){ 0 };
	pthread_mutex_unlock(&en->lock);
}
