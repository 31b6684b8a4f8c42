/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What a new worker does about the past, and the settling of objects with several names.
 *
 * At once: stamps (D2), intents (D5), quarantined objects get another try.  In the
 * mover, because it may be long: marks of complete objects (D4).  None of
 * this walks the target: the catalog lists what is open.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/point.h"
#include "internal.h"

enum { PAGE = 64 };

static int check_stamps(struct engine *en, struct err *e)
{
	uint64_t there, here = 0;
	size_t n = sizeof here;
	int r = catalog_meta_get(en->catalog, "stamp", &here, &n);

	if (r && r != -ENOENT)
		return err_sys(e, r, "the catalog cannot be read");
	r = target_stamp_get(en->target, &there);
	if (r)
		return err_sys(e, r, "the target does not carry the stamp of this migration; was it replaced or restored from a copy?");
	if ((there < here || there > here + 1) && POINT_STEP("rule.stamps") != POINT_SKIP)
		return err_set(e, ESTALE,
			       "target and state directory do not belong together any more (stamps %llu and %llu): "
			       "one of them was restored from a copy",
			       (unsigned long long)there, (unsigned long long)here);
	en->stamp = here;	/* not `there`: a group that was never recorded must not widen the gap */
	return 0;
}

/* D5: the inode decides, found by its handle, never by its name. */
static int resolve_intent(struct engine *en, const struct catalog_row *row)
{
	struct target_handle h = { 0 };
	_cleanup_close_ int fd = -1;
	struct stat st;
	bool gone;
	int r;

	if (row->handle_len >= 2 && row->handle[0] <= TARGET_HANDLE_MAX) {
		h.len = row->handle[0];
		h.type = row->handle[1];
		memcpy(h.data, row->handle + 2, h.len);
	}
	fd = target_open_handle(en->target, &h, O_PATH);
	/* without a name it lives only until the application that holds it open lets go */
	gone = fd == -ESTALE || (fd >= 0 && !fstat(fd, &st) && !st.st_nlink);
	r = catalog_begin(en->catalog);
	if (r)
		return r;
	if (gone)
		r = catalog_transition(en->catalog, row->oid,
				       1u << CATALOG_FOUND | 1u << CATALOG_QUARANTINED,
				       CATALOG_DELETED, NULL);
	if (r == -ESTALE)
		r = 0;
	if (!r)
		r = catalog_set_flags(en->catalog, row->oid, 0, CATALOG_F_INTENT_DELETE);
	if (r) {
		catalog_rollback(en->catalog);
		return r;
	}
	return catalog_commit(en->catalog);
}

/* Every object is judged again under the source's present state. */
static int retry_quarantined(struct engine *en, const struct catalog_row *row)
{
	int r, code = 0;
	char text[8];

	if (!row->handle_len)
		return 0;	/* never got a stub: its directory would have to be listed again */
	r = catalog_reason_get(en->catalog, row->oid, &code, text, sizeof text);
	if (r && r != -ENOENT)
		return r;
	if (code == EINPROGRESS)	/* a retry was cut off: only another one knows what to do (accept.c) */
		return 0;
	r = catalog_begin(en->catalog);
	if (r)
		return r;
	r = catalog_transition(en->catalog, row->oid, 1u << CATALOG_QUARANTINED, CATALOG_FOUND, NULL);
	if (r) {
		catalog_rollback(en->catalog);
		return r;
	}
	return catalog_commit(en->catalog);
}

static int each(struct engine *en, enum catalog_list which,
		int (*fn)(struct engine *, const struct catalog_row *))
{
	struct catalog_row *rows = calloc(PAGE, sizeof *rows);
	struct catalog_pos pos = { 0 };
	unsigned n;
	int r;

	if (!rows)
		return -ENOMEM;
	do {
		r = catalog_list(en->catalog, which, &pos, rows, PAGE, &n);
		for (unsigned i = 0; !r && i < n; i++)
			r = fn(en, &rows[i]);
	} while (!r && n);
	free(rows);
	return r;
}

int recover_start(struct engine *en, struct err *e)
{
	int r = check_stamps(en, e);

	if (r)
		return r;
	r = each(en, CATALOG_LIST_INTENTS, resolve_intent);
	POINT("recover.intents-resolved");
	if (!r)
		r = each(en, CATALOG_LIST_QUARANTINED, retry_quarantined);
	return r ? err_sys(e, r, "recovery from the catalog failed") : 0;
}

static int clean_row(struct engine *en, const struct catalog_row *row)
{
	struct eobj *o;
	int r = eobj_load(en, row->oid, NULL, &o);

	if (r)
		return r == -ENOENT ? 0 : r;
	commit_clean(en, o);
	eobj_put(o);
	return 0;
}

void recover_cleaning(struct engine *en)
{
	if (each(en, CATALOG_LIST_CLEANING, clean_row))
		log_warn("the list of marks to be removed cannot be read");
}

/* ---- all directories are listed: no further name can appear ---- */

static int drop_last_name(struct engine *en, struct eobj *o)
{
	int r = catalog_begin(en->catalog);

	if (r)
		return r;
	r = catalog_set_flags(en->catalog, o->oid, CATALOG_F_INTENT_DELETE, 0);
	if (r) {
		catalog_rollback(en->catalog);
		return r;
	}
	r = catalog_commit(en->catalog);
	if (r)
		return r;
	POINT("links.intent");
	pthread_mutex_lock(&en->mu);
	o->intent = o->deleted = true;
	pthread_mutex_unlock(&en->mu);
	r = target_holder_drop(en->target, o->oid);
	return r ? r : record_queue(en, RECORD_DELETED, o);
}

static int settle_hidden(struct engine *en, const struct catalog_row *row)
{
	_cleanup_close_ int fd = -1;
	struct eobj *o;
	struct stat st;
	int r;

	if (!(row->flags & CATALOG_F_LINKS))
		return 0;
	r = eobj_load(en, row->oid, NULL, &o);
	if (r)
		return r == -ENOENT ? 0 : r;
	fd = target_open_handle(en->target, &o->th, O_PATH);
	if (o->in_holder && fd >= 0 && !fstat(fd, &st)) {
		r = st.st_nlink == 1 ? drop_last_name(en, o) : target_holder_drop(en->target, o->oid);
		pthread_mutex_lock(&en->mu);
		o->in_holder = r;
		pthread_mutex_unlock(&en->mu);
	}
	if (!r)
		commit_clean(en, o);
	eobj_put(o);
	return r;
}

bool recover_sweep_links(struct engine *en)
{
	pthread_mutex_lock(&en->mu);
	en->links_swept = true;
	pthread_mutex_unlock(&en->mu);
	if (each(en, CATALOG_LIST_CONTENT, settle_hidden) ||
	    each(en, CATALOG_LIST_CLEANING, settle_hidden))
		return false;	/* no room now: the mover comes again */
	return true;
}
