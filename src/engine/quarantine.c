/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quarantine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

int quarantine_say(struct quarantine *t, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(t->text, sizeof t->text, fmt, ap);
	va_end(ap);
	return code;
}

int quarantine_failed(struct quarantine *t, int r, const char *what)
{
	return r ? quarantine_say(t, r, "%s: %s", what, strerrordesc_np(-r)) : 0;
}

/* ---- looking ---- */

/* Nothing of the object is under way any more: what failed drains by itself. */
static int wait_until_quiet(struct quarantine *t)
{
	struct engine *en = t->en;

	for (int i = 0; i < 600; i++) {
		struct timespec ts = { .tv_nsec = 100 * CLOCK_MS };
		bool quiet, stop;

		pthread_mutex_lock(&en->mu);
		quiet = !t->o->inflight && !t->o->landing && !t->o->listing && !t->o->frozen && t->o->failed;
		stop = en->stopping || en->interrupted;
		pthread_mutex_unlock(&en->mu);
		if (quiet)
			return 0;
		if (stop)
			return quarantine_say(t, -ECANCELED, "the worker is stopping");
		nanosleep(&ts, NULL);
	}
	return quarantine_say(t, -EBUSY, "requests for it are still on their way; try again");
}

static int look(struct quarantine *t, uint64_t oid)
{
	int r = catalog_get(t->en->catalog, oid, &t->row);

	if (r == -ENOENT || (!r && t->row.type == CATALOG_HARDLINK))
		return quarantine_say(t, -ENOENT, "there is no such object");
	if (r)
		return quarantine_failed(t, r, "the catalog cannot be read");
	if (t->row.state != CATALOG_QUARANTINED)
		return quarantine_say(t, -ESTALE, "it is not quarantined (any more)");
	r = catalog_reason_get(t->en->catalog, oid, &t->code, t->reason, sizeof t->reason);
	if (r && r != -ENOENT)
		return quarantine_failed(t, r, "the catalog cannot be read");
	if (oid == CATALOG_ROOT_OID)
		return 0;
	r = eobj_load(t->en, t->row.parent, NULL, &t->dir);
	if (r)
		return quarantine_failed(t, r, "its directory cannot be loaded");
	t->dirfd = target_open_handle(t->en->target, &t->dir->th, O_RDONLY | O_DIRECTORY | O_NOATIME);
	return 0;	/* without its directory it may still be accepted where it is */
}

/* Its stub, as it is in memory. */
static int attach(struct quarantine *t)
{
	int r;

	if (!t->row.handle_len)
		return 0;
	r = eobj_load(t->en, t->row.oid, NULL, &t->o);
	return r ? quarantine_failed(t, r, "it cannot be loaded") : wait_until_quiet(t);
}

bool quarantine_stub_is_there(struct quarantine *t)
{
	_cleanup_close_ int fd = -1;
	struct target_mark m;

	if (!t->o)
		return false;
	fd = target_open_handle(t->en->target, &t->o->th, O_PATH);
	return fd >= 0 && !target_mark_get(t->en->target, fd, &m) && m.oid == t->row.oid;
}

/* A stub that a retry made and could not record. */
static bool carries_our_mark(struct quarantine *t)
{
	_cleanup_close_ int fd = openat(t->dirfd, t->row.name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct target_mark m;

	return fd >= 0 && !target_mark_get(t->en->target, fd, &m) && m.oid == t->row.oid;
}

int quarantine_at_its_name(struct quarantine *t)
{
	struct target_handle h;
	int r;

	if (t->dirfd < 0)
		return -ENOENT;
	if (!target_torn_remove(t->en->target, t->dirfd, t->row.name))	/* of a retry that was cut off */
		return 0;
	r = target_handle_at(t->dirfd, t->row.name, &h);
	if (r)
		return r == -ENOENT ? 0 : r;
	return (t->o && target_handle_equal(&h, &t->o->th)) || carries_our_mark(t) ? 1 : -EEXIST;
}

bool quarantine_touched(struct quarantine *t)
{
	bool m = false;

	if (t->o) {
		pthread_mutex_lock(&t->en->mu);
		m = t->o->modified;
		pthread_mutex_unlock(&t->en->mu);
	}
	return m;
}

/* ---- recording ---- */

int quarantine_commit(struct quarantine *t, int r)
{
	if (r) {
		catalog_rollback(t->en->catalog);
		return quarantine_failed(t, r, "the catalog cannot be written");
	}
	r = catalog_commit(t->en->catalog);
	return quarantine_failed(t, r, "the catalog cannot be written");
}

int quarantine_begun(struct quarantine *t, bool drop_ranges, const char *text)
{
	int r = catalog_begin(t->en->catalog);

	if (r)
		return quarantine_failed(t, r, "the catalog cannot be written");
	if (drop_ranges)
		r = catalog_range_drop(t->en->catalog, t->row.oid);
	if (!r)
		r = catalog_reason_set(t->en->catalog, t->row.oid, EINPROGRESS, text);
	return quarantine_commit(t, r);
}

/* ---- both ---- */

static void run(struct engine *en, uint64_t oid, int (*what)(struct quarantine *t), const char *event,
		engine_done_fn *done, void *arg)
{
	struct quarantine *t = calloc(1, sizeof *t);
	int r;

	if (!t) {
		done(arg, oid, -ENOMEM, "out of memory");
		return;
	}
	t->en = en;
	t->dirfd = -1;
	pthread_mutex_lock(&en->retry_mu);
	r = look(t, oid);
	if (!r)
		r = attach(t);
	if (!r)
		r = what(t);
	pthread_mutex_unlock(&en->retry_mu);
	if (!r)
		engine_say(en, event, LOG_LEVEL_INFO, oid, "%s%s%s", t->row.name_len ? t->row.name : "/",
			   *t->text ? ": " : "", t->text);
	done(arg, oid, r, t->text);
	if (t->dirfd >= 0)
		close(t->dirfd);
	eobj_put(t->dir);
	eobj_put(t->o);
	free(t);
}

void engine_retry(struct engine *en, uint64_t oid, engine_done_fn *done, void *arg)
{
	run(en, oid, accept_now, "retried", done, arg);
}

void engine_give_up(struct engine *en, uint64_t oid, engine_done_fn *done, void *arg)
{
	run(en, oid, give_up_now, "given-up", done, arg);
}
