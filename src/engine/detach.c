/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The last steps of a migration.
 *
 * Order: nothing is left in the catalog (ledger balanced, marks removed and that flushed) ->
 * the holder is gone -> phase DETACHING, durable -> the root gets its mode,
 * then its mark and stamp go, flushed -> (the caller unmounts) -> phase DETACHED.
 * A crash before DETACHING continues the migration; after it, a new worker
 * repeats from there without mounting, and each step may be repeated.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/point.h"
#include "engine/engine.h"
#include "internal.h"

/*
 * The root is still mounted over, and applications may change it at any moment.  Under mark_mu it gets its mode
 * and from then on is plain: their changes go to it directly (access_root_setattr()), and no group stamps it again.
 * The mark goes after the mode, so whoever finds no mark leaves the mode alone: it is the application's by now.
 */
static int open_root(struct engine *en)
{
	int fd = target_root_fd(en->target), r = 0;
	struct target_mark m;

	pthread_mutex_lock(&en->mark_mu);
	if (!target_mark_get(en->target, fd, &m) && fchmod(fd, en->root_mode & 07777))
		r = -errno;
	if (!r) {
		pthread_mutex_lock(&en->mu);
		en->plain = true;
		pthread_mutex_unlock(&en->mu);
	}
	pthread_mutex_unlock(&en->mark_mu);
	return r;
}

static int plain_root(struct engine *en, struct err *e)
{
	int r = target_holder_remove_all(en->target);

	if (r)
		return err_sys(e, r, "the hidden directory %s cannot be removed", TARGET_HOLDER_NAME);
	POINT("detach.holder-gone");
	r = open_root(en);
	POINT("detach.root-open");
	if (!r)
		r = target_root_restore(en->target, NULL);	/* owner and times are its own already */
	return r ? err_sys(e, r, "the target directory cannot get its own mode back") : 0;
}

int engine_make_plain(struct engine *en, struct err *e)
{
	int r;

	if (catalog_phase(en->catalog) == CATALOG_RUNNING) {
		if (!engine_nothing_left(en))
			return err_set(e, EBUSY, "something is still missing");
		r = catalog_set_phase(en->catalog, CATALOG_DETACHING);
		if (r)
			return err_sys(e, r, "the catalog cannot be written");
	}
	POINT("detach.begun");
	return plain_root(en, e);
}

int engine_record_detached(struct engine *en, struct err *e)
{
	int r;

	POINT("detach.unmounted");
	r = catalog_set_phase(en->catalog, CATALOG_DETACHED);
	POINT("detach.recorded");
	return r ? err_sys(e, r, "the catalog cannot be written") : 0;
}
