/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Giving up a quarantined object (D8): its name goes from the target, or says that it is incomplete; never a plausible
 * file of zeros under its old name.
 *
 * "Begun" is recorded first, so that an object that has lost its name is not taken up by the next start; the reason of the
 * quarantine comes back with FAILED.  Giving up again goes on where it was cut off.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/point.h"
#include "quarantine.h"

#define INCOMPLETE_SUFFIX ".dmm-incomplete"

static int record_failed(struct quarantine *t)
{
	int r = catalog_begin(t->en->catalog);

	if (r)
		return quarantine_failed(t, r, "the catalog cannot be written");
	r = catalog_transition(t->en->catalog, t->row.oid, STATE_BIT(CATALOG_QUARANTINED), CATALOG_FAILED, NULL);
	if (!r)
		r = catalog_reason_set(t->en->catalog, t->row.oid, t->code, t->reason);
	r = quarantine_commit(t, r);
	POINT("give-up.recorded");
	if (!r && t->o) {
		pthread_mutex_lock(&t->en->mu);
		while (!is_clean(t->o))		/* nothing left to ask or to tell */
			eobj_reach(t->o, t->o->stage + 1);
		pthread_mutex_unlock(&t->en->mu);
	}
	return r;
}

static int unmark(struct quarantine *t)
{
	_cleanup_close_ int fd = target_open_handle(t->en->target, &t->o->th, O_PATH);
	int r = fd < 0 ? fd : 0;

	pthread_mutex_lock(&t->en->mark_mu);
	if (!r)
		r = target_mark_remove(t->en->target, fd);
	pthread_mutex_lock(&t->en->mu);
	t->o->mark_gone = true;
	pthread_mutex_unlock(&t->en->mu);
	pthread_mutex_unlock(&t->en->mark_mu);
	if (!r || r == -ENODATA)
		r = target_sync_one(t->en->target, &t->o->th);
	return quarantine_failed(t, r == -ESTALE ? 0 : r, "its mark cannot be removed");
}

static void incomplete_name(const struct quarantine *t, char name[256])
{
	snprintf(name, 256, "%.*s%s", (int)(256 - sizeof INCOMPLETE_SUFFIX), t->row.name, INCOMPLETE_SUFFIX);
}

/* By a give-up that was cut off after it. */
static bool is_renamed(struct quarantine *t)
{
	struct target_handle h;
	char name[256];

	incomplete_name(t, name);
	return t->o && t->dirfd >= 0 && !target_handle_at(t->dirfd, name, &h) && target_handle_equal(&h, &t->o->th);
}

/* D8: never a plausible file of zeros under its old name. */
static int rename_visibly(struct quarantine *t)
{
	char name[256];

	incomplete_name(t, name);
	if (renameat2(t->dirfd, t->row.name, t->dirfd, name, RENAME_NOREPLACE))
		return quarantine_failed(t, -errno, "it cannot be renamed to NAME" INCOMPLETE_SUFFIX);
	POINT("give-up.renamed");
	engine_renamed(t->en, &t->dir->th, t->row.name);
	engine_renamed(t->en, &t->dir->th, name);
	quarantine_say(t, 0, "renamed to %s", name);
	return quarantine_failed(t, target_sync_one(t->en->target, &t->dir->th), "its directory cannot be flushed");
}

/* A directory: what is in it is real. */
static int kept(struct quarantine *t)
{
	quarantine_say(t, 0, "it stays with what is in it");
	return unmark(t);
}

static int remove_name(struct quarantine *t)
{
	struct stat st;
	bool dir;

	if (fstatat(t->dirfd, t->row.name, &st, AT_SYMLINK_NOFOLLOW))
		return quarantine_failed(t, -errno, "its name on the target");
	dir = S_ISDIR(st.st_mode);
	if (!unlinkat(t->dirfd, t->row.name, dir ? AT_REMOVEDIR : 0)) {
		POINT("give-up.removed");
		engine_renamed(t->en, &t->dir->th, t->row.name);
		quarantine_say(t, 0, "removed from the target");
		if (t->o) {
			pthread_mutex_lock(&t->en->mu);
			t->o->deleted = true;
			pthread_mutex_unlock(&t->en->mu);
		}
		return quarantine_failed(t, target_sync_one(t->en->target, &t->dir->th), "its directory cannot be flushed");
	}
	if (dir && t->o && (errno == ENOTEMPTY || errno == EEXIST))
		return kept(t);
	return quarantine_failed(t, -errno, "it cannot be removed");
}

int give_up_now(struct quarantine *t)
{
	int there, r = 0;

	if (t->row.oid == CATALOG_ROOT_OID)
		return quarantine_say(t, -EBUSY, "the root of the migration cannot be given up");
	there = quarantine_at_its_name(t);
	if (there != 1 && quarantine_stub_is_there(t) && t->row.type != CATALOG_DIR && !is_renamed(t))
		return quarantine_say(t, -EBUSY, "an application has renamed it on the target; delete it there, and it is settled");
	r = quarantine_begun(t, false, "giving it up was interrupted; give it up again");
	if (!r && there == 1)
		r = quarantine_touched(t) ? rename_visibly(t) : remove_name(t);
	if (!r && quarantine_stub_is_there(t))
		r = unmark(t);
	return r ? r : record_failed(t);
}
