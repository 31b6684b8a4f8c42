/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The last steps of a migration.
 *
 * Order: nothing is left in the catalog (ledger balanced, marks removed and that flushed) ->
 * the holder is gone -> phase DETACHING, durable -> the root gets its mode and
 * times, its mark and stamp go, flushed -> (the caller unmounts) -> phase DETACHED.
 * A crash before DETACHING continues the migration; after it, a new worker
 * repeats from there without mounting, and each step may be repeated.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "engine/engine.h"
#include "internal.h"

static int set_phase(struct engine *en, enum catalog_phase phase)
{
	uint32_t value = phase;
	int r = catalog_begin(en->catalog);

	if (r)
		return r;
	r = catalog_meta_set(en->catalog, "phase", &value, sizeof value);
	if (r) {
		catalog_rollback(en->catalog);
		return r;
	}
	return catalog_commit(en->catalog);
}

static int plain_root(struct engine *en, struct err *e)
{
	struct target_attr a = { 0 };
	struct stat st;
	int fd = target_root_fd(en->target), r;

	if (fstat(fd, &st))
		return err_sys(e, errno, "the target directory cannot be read");
	a.mode = S_IFDIR | (en->root_mode & 07777);
	a.uid = st.st_uid;
	a.gid = st.st_gid;
	a.atime = st.st_atim;
	a.mtime = st.st_mtim;	/* put back when it was listed, and the application's since */
	r = target_holder_remove_all(en->target);
	if (r)
		return err_sys(e, r, "the hidden directory %s cannot be removed", TARGET_HOLDER_NAME);
	r = target_root_restore(en->target, &a);
	return r ? err_sys(e, r, "the target directory cannot get its own mode and owner back") : 0;
}

int engine_make_plain(struct engine *en, struct err *e)
{
	int r;

	if (engine_phase(en->catalog) == CATALOG_RUNNING) {
		if (!engine_nothing_left(en))
			return err_set(e, EBUSY, "something is still missing");
		r = set_phase(en, CATALOG_DETACHING);
		if (r)
			return err_sys(e, r, "the catalog cannot be written");
	}
	return plain_root(en, e);
}

int engine_record_detached(struct engine *en, struct err *e)
{
	int r = set_phase(en, CATALOG_DETACHED);

	return r ? err_sys(e, r, "the catalog cannot be written") : 0;
}
