/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From an oid to a source handle, walking down the source path.
 *
 * The path is the chain of (parent oid, server's name) in the catalog, not
 * where the object is on the target now: applications may have renamed it.
 * Starts at the nearest ancestor whose handle is known.  If a handle on the way has become stale
 * (-ESTALE) it is dropped and the caller may start over; the root's never is.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static int parent_of(struct engine *en, uint64_t oid, uint64_t *parent, char name[256])
{
	struct catalog_row row;
	struct eobj *o;
	int r;

	pthread_mutex_lock(&en->mu);
	o = eobj_find(en, oid);
	if (o) {
		*parent = o->parent;
		memcpy(name, o->name, o->name_len);
		name[o->name_len] = 0;
	}
	pthread_mutex_unlock(&en->mu);
	if (o)
		return 0;
	r = catalog_get(en->catalog, oid, &row);
	if (r)
		return r;
	*parent = row.parent;
	memcpy(name, row.name, sizeof row.name);
	return 0;
}

static int push(struct resolve *r, uint64_t oid)
{
	if (r->count == r->room) {
		size_t room = r->room ? r->room * 2 : 16;
		uint64_t *p = realloc(r->chain, room * sizeof *p);

		if (!p)
			return -ENOMEM;
		r->chain = p;
		r->room = room;
	}
	r->chain[r->count++] = oid;
	return 0;
}

/* Fill the chain with oid and its ancestors up to a known handle, nearest last -> at walks backwards. */
static int climb(struct resolve *r)
{
	uint64_t oid = r->oid, parent;
	int err;

	for (;;) {
		if (oid == CATALOG_ROOT_OID) {
			r->fh = r->en->source->root;
			return 0;
		}
		if (fhcache_get(r->en->fhs, oid, &r->fh))
			return 0;
		err = push(r, oid);
		if (!err)
			err = parent_of(r->en, oid, &parent, r->name);
		if (err)
			return err;
		oid = parent;
	}
}

static int step(struct resolve *r);

static void finish(struct resolve *r, int err)
{
	free(r->chain);
	r->chain = NULL;
	r->done(r, err);
}

static void looked_up(struct source_req *req)
{
	struct resolve *r = req->user;
	int err = req->err;

	if (err) {
		if (err == -ESTALE && r->at + 1 < r->count)
			fhcache_drop(r->en->fhs, r->chain[r->at + 1]);
		finish(r, err);
		return;
	}
	r->fh = req->out_fh;
	fhcache_put(r->en->fhs, r->chain[r->at], &r->fh);
	if (!r->at) {
		finish(r, 0);
		return;
	}
	r->at--;
	err = step(r);
	if (err)
		finish(r, err);
}

static int step(struct resolve *r)
{
	uint64_t parent;
	int err = parent_of(r->en, r->chain[r->at], &parent, r->name);

	if (err)
		return err;
	memset(&r->req, 0, sizeof r->req);
	r->req.op = SOURCE_LOOKUP;
	r->req.lane = r->lane;
	r->req.fh = r->fh;
	r->req.name = r->name;
	r->req.done = looked_up;
	r->req.user = r;
	source_submit(r->en->source, &r->req);
	return 0;
}

int resolve_start(struct resolve *r, struct engine *en, uint64_t oid, enum source_lane lane,
		  void (*done)(struct resolve *r, int err))
{
	int err;

	r->en = en;
	r->oid = oid;
	r->lane = lane;
	r->done = done;
	r->chain = NULL;
	r->count = r->room = 0;
	err = climb(r);
	if (!err && !r->count) {
		free(r->chain);
		return 1;
	}
	if (!err) {
		r->at = r->count - 1;
		err = step(r);
	}
	if (err) {
		free(r->chain);
		r->chain = NULL;
	}
	return err;
}
