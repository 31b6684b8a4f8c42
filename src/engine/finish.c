/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The end of a file's fetching: all its bytes are on the target.
 *
 * The times are put back (D6), then the object is here: readable natively, and queued to be recorded as
 * complete (D4).  It is also the end of a file that an application has truncated to what had arrived.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/point.h"
#include "internal.h"

static const uint64_t finish_pause = CLOCK_SEC;

static struct timespec wanted_mtime(const struct eobj *o)
{
	return o->mark_flags & TARGET_MARK_TIMES ? o->app_mtime : eobj_time(o->promise.mtime);
}

/* D6; repeated when an application sets the times meanwhile. */
static int put_mtime_back(struct eobj *o)
{
	struct engine *en = o->en;
	int fd = target_open_handle(en->target, &o->th, O_WRONLY | O_NONBLOCK);
	bool again;
	int r = 0;

	if (fd < 0)
		return fd;
	POINT("fetch.whole");
	do {
		struct timespec ts[2] = { { .tv_nsec = UTIME_OMIT } };
		struct stat st;
		unsigned gen;

		pthread_mutex_lock(&en->mu);
		ts[1] = wanted_mtime(o);
		gen = o->times_gen;
		pthread_mutex_unlock(&en->mu);
		if (POINT_STEP("rule.times-back") != POINT_SKIP && futimens(fd, ts))
			r = -errno;
		if (!r && fstat(fd, &st))
			r = -errno;
		pthread_mutex_lock(&en->mu);
		again = !r && gen != o->times_gen;
		if (!again && !r) {
			o->here_ctime = st.st_ctim;
			eobj_reach(o, STAGE_HERE);
		}
		pthread_mutex_unlock(&en->mu);
	} while (again);
	close(fd);
	return r;
}

struct finish_op {
	struct deferred again;
	struct eobj *o;
};

static void finish_again(struct deferred *d, bool cancelled)
{
	struct finish_op *op = list_entry(d, struct finish_op, again);

	pthread_mutex_lock(&op->o->en->mu);
	op->o->finishing = false;
	pthread_mutex_unlock(&op->o->en->mu);
	if (!cancelled)
		finish_if_whole(op->o);
	eobj_put(op->o);
	free(op);
}

/* All bytes are here, but the target does not take the times now. */
static void finish_later(struct eobj *o, int err)
{
	struct finish_op *op = calloc(1, sizeof *op);

	room_refused(o->en, ROOM_DATA, err);
	if (!op) {	/* whoever looks at it next tries again */
		pthread_mutex_lock(&o->en->mu);
		o->finishing = false;
		pthread_mutex_unlock(&o->en->mu);
		return;
	}
	op->o = access_ref(o);
	op->again.run = finish_again;
	deferred_add(o->en, &op->again, finish_pause);
}

void finish_if_whole(struct eobj *o)
{
	struct engine *en = o->en;
	struct wakes k;
	bool mine;
	int r;

	pthread_mutex_lock(&en->mu);
	mine = o->type == CATALOG_REG && !o->content.left && !is_here(o) && !o->finishing &&
	       !o->frozen && !o->failed;
	if (mine)
		o->finishing = true;
	pthread_mutex_unlock(&en->mu);
	if (!mine)
		return;
	r = put_mtime_back(o);
	if (room_is_passing(r)) {
		finish_later(o, r);
		return;
	}
	if (r && r != -ESTALE) {
		engine_quarantine(o, r, "its times could not be set: %s", strerrordesc_np(-r));
		return;
	}
	wakes_init(&k);
	pthread_mutex_lock(&en->mu);
	if (o->content.count > 1)
		en->landed_partial -= o->landed < en->landed_partial ? o->landed : en->landed_partial;
	pthread_mutex_unlock(&en->mu);
	POINT("fetch.finished");
	record_queue(en, RECORD_COMPLETE, o);
	pthread_mutex_lock(&en->mu);
	wait_collect(o, &k);
	urgent_ask(o);
	pthread_mutex_unlock(&en->mu);
	wakes_fire(&k);
	engine_changed(en, &o->th);
}
