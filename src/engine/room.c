/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * While the target or the catalog takes nothing more: no room, no inodes, quota, read-only.
 *
 * None of that is an object's fault, so none of it quarantines anything or ends the worker: the background
 * pauses, what was under way is put off and tried again, one piece at a time, after pauses that grow from
 * FIRST to LONGEST.  When a piece gets through, all goes on.  Each state is said once when it begins and once when it ends.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "internal.h"

static const uint64_t first_pause = CLOCK_SEC, longest_pause = 5 * CLOCK_SEC;
/* Nothing was refused for so long: what is still to come may need no room. */
static const uint64_t forgotten = 20 * CLOCK_SEC;
/* It has gone well for so long: it is over. */
static const uint64_t well = 2 * CLOCK_SEC;

bool room_is_passing(int err)
{
	return err == -ENOSPC || err == -EDQUOT || err == -EROFS || err == -ENOMEM ||
	       err == -EMFILE || err == -ENFILE;
}

static const char *advice(int err)
{
	switch (err) {
	case -ENOSPC:
	case -EDQUOT:
		return "free space (or inodes, or quota) there";
	case -EROFS:
		return "mount it read-write again";
	default:
		return "give this host more memory or descriptors";
	}
}

void room_refused(struct engine *en, enum room_of of, int err)
{
	struct room *m = &en->room;
	uint64_t now = clock_mono();
	bool first;

	pthread_mutex_lock(&en->mu);
	first = !m->told;
	if (first)
		m->pause = first_pause;
	else if (now >= m->until)
		m->pause = m->pause * 2 < longest_pause ? m->pause * 2 : longest_pause;
	if (!m->full || now >= m->until)
		m->until = now + m->pause;
	m->full = m->told = true;
	m->of = of;
	m->err = err;
	m->trying_until = 0;
	pthread_mutex_unlock(&en->mu);
	if (first)
		engine_say(en, err == -EROFS ? "target-read-only" : "target-full", LOG_LEVEL_WARN, 0,
			   "the target takes no more (%s); %s, it continues by itself",
			   strerrordesc_np(-err), advice(err));
}

void room_found(struct engine *en, enum room_of of)
{
	struct room *m = &en->room;
	uint64_t now = clock_mono();

	pthread_mutex_lock(&en->mu);
	/* what still fits beside what does not is no news */
	if (m->full && (m->of == of || m->err == -EROFS) && now > m->until) {
		m->full = false;
		m->found_at = now;
	}
	pthread_mutex_unlock(&en->mu);
}

void room_over(struct engine *en)
{
	pthread_mutex_lock(&en->mu);
	if (en->room.full)
		en->room.found_at = clock_mono();
	en->room.full = false;
	pthread_mutex_unlock(&en->mu);
}

void room_tick(struct engine *en)
{
	struct room *m = &en->room;
	uint64_t now = clock_mono();
	bool over;

	pthread_mutex_lock(&en->mu);
	if (m->full && now >= m->until + forgotten) {	/* what was refused may be gone, or need no room any more */
		m->full = false;
		m->found_at = now;
	}
	over = m->told && !m->full && now >= m->found_at + well;
	if (over)
		m->told = false;
	pthread_mutex_unlock(&en->mu);
	if (over)
		engine_say(en, "target-room", LOG_LEVEL_INFO, 0, "the target takes data again");
}

bool room_is_full(const struct engine *en)
{
	const struct room *m = &en->room;

	return m->catalog_full || m->full;
}

uint64_t room_wait(struct engine *en)
{
	struct room *m = &en->room;
	uint64_t now = clock_mono();

	if (m->catalog_full)
		return first_pause;
	if (!m->full)
		return 0;
	if (now < m->until)
		return m->until - now;
	if (now < m->trying_until)
		return m->trying_until - now;
	m->trying_until = now + first_pause;
	return 0;
}

uint64_t room_put_off(struct engine *en)
{
	uint64_t wait;

	pthread_mutex_lock(&en->mu);
	wait = en->room.catalog_full && !en->room.full ? 0 : room_wait(en);
	pthread_mutex_unlock(&en->mu);
	return wait;
}

void room_catalog(struct engine *en, int err)
{
	bool was;

	pthread_mutex_lock(&en->mu);
	was = en->room.catalog_full;
	en->room.catalog_full = err;
	pthread_mutex_unlock(&en->mu);
	if (err && !was)
		engine_say(en, "catalog-full", LOG_LEVEL_WARN, 0,
			   "no room to record progress (%s); free at least 8 MiB for the state directory, it continues by itself",
			   strerrordesc_np(-err));
	if (!err && was)
		engine_say(en, "catalog-room", LOG_LEVEL_INFO, 0, "progress is recorded again");
}
