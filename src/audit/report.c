/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The ledger (D8): the rows are counted again and compared with the catalog's own sums.
 *
 * On a migration that runs, rows change state while they are counted, and a page that has been
 * read is not read again.  What can be said all the same, and is exact when nothing moves:
 *
 *	no row ever goes away	-> all objects:     sums before <= counted <= sums after
 *	terminal is for ever	-> each such state: sums before <= counted <= sums after
 *
 * Sums are taken from memory as of the last transaction that ended, rows are read from it or from a
 * later one, so "before" is never too new and "after" never too old.  When the sums did not change
 * meanwhile, every state must agree exactly.
 */
#include "audit/audit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

enum { PAGE_ROWS = 256, PATH_ROOM = 16384, REASON_ROOM = 1024 };

struct pass {
	struct catalog *c;
	int (*each)(void *arg, const struct audit_object *o);
	bool (*stop)(void *arg);
	void *arg;
	struct catalog_counters counted;
	uint64_t checksums;
	struct catalog_row *rows;
	char *path, *reason;
};

static void count(struct pass *p, const struct catalog_row *row)
{
	p->counted.objects[row->state]++;
	if (row->type == CATALOG_REG) {
		p->counted.bytes[row->state] += row->size;
		p->checksums += row->has_checksum;
	}
	if (row->type == CATALOG_DIR && row->state == CATALOG_FOUND)
		p->counted.directories_unlisted++;
}

/* AUDIT_LISTS: in none. */
static enum audit_list list_of(const struct catalog_row *row)
{
	switch (row->state) {
	case CATALOG_CLEANING:		/* only the mark is still to go */
		return row->flags & CATALOG_F_MODIFIED ? AUDIT_OVERWRITTEN : AUDIT_LISTS;
	case CATALOG_OVERWRITTEN:
		return AUDIT_OVERWRITTEN;
	case CATALOG_DELETED:
		return AUDIT_DELETED;
	case CATALOG_SHADOWED:
		return AUDIT_SHADOWED;
	case CATALOG_EXCLUDED:
		return AUDIT_EXCLUDED;
	case CATALOG_FAILED:
		return AUDIT_FAILED;
	case CATALOG_QUARANTINED:
		return AUDIT_QUARANTINED;
	default:
		return AUDIT_LISTS;
	}
}

static int tell(struct pass *p, const struct catalog_row *row)
{
	struct audit_object o = {
		.list = list_of(row), .oid = row->oid, .type = row->type,
		.size = row->type == CATALOG_REG ? row->size : 0,
		.path = p->path, .reason = p->reason,
	};
	int r;

	if (!p->each || o.list == AUDIT_LISTS)
		return 0;
	r = audit_path(p->c, row->oid, p->path, PATH_ROOM);
	if (r == -ENOENT || r == -EUCLEAN)	/* damaged: a report is wanted all the more */
		snprintf(p->path, PATH_ROOM, "(lost)/%s", row->name);
	else if (r)
		return r;
	r = catalog_reason_get(p->c, row->oid, &o.code, p->reason, REASON_ROOM);
	if (r == -ENOENT) {
		o.code = 0;
		p->reason[0] = 0;
	} else if (r) {
		return r;
	}
	return p->each(p->arg, &o) ? -EINTR : 0;
}

static int walk(struct pass *p)
{
	uint64_t at = 0;
	unsigned n;
	int r;

	do {
		if (p->stop && p->stop(p->arg))
			return -EINTR;
		r = catalog_walk(p->c, &at, p->rows, PAGE_ROWS, &n);
		for (unsigned i = 0; !r && i < n; i++) {
			if (p->rows[i].type == CATALOG_HARDLINK)
				continue;
			if (p->rows[i].state >= CATALOG_STATE_COUNT)
				return -EUCLEAN;
			count(p, &p->rows[i]);
			r = tell(p, &p->rows[i]);
		}
	} while (!r && n);
	return r;
}

static void sum(const struct catalog_counters *k, uint64_t *objects, uint64_t *bytes)
{
	*objects = *bytes = 0;
	for (int i = 0; i < CATALOG_STATE_COUNT; i++) {
		*objects += k->objects[i];
		*bytes += k->bytes[i];
	}
}

static bool between(uint64_t low, uint64_t v, uint64_t high)
{
	return low <= v && v <= high;
}

static bool consistent(const struct catalog_counters *before, const struct catalog_counters *counted,
		       const struct catalog_counters *after)
{
	uint64_t objects[3], bytes;

	if (!memcmp(before, after, sizeof *before))
		return !memcmp(counted, after, sizeof *counted);
	sum(before, &objects[0], &bytes);
	sum(counted, &objects[1], &bytes);
	sum(after, &objects[2], &bytes);
	if (!between(objects[0], objects[1], objects[2]))
		return false;
	for (int i = CATALOG_FIRST_TERMINAL; i < CATALOG_STATE_COUNT; i++)
		if (!between(before->objects[i], counted->objects[i], after->objects[i]) ||
		    !between(before->bytes[i], counted->bytes[i], after->bytes[i]))
			return false;
	return true;
}

static void conclude(struct audit_ledger *out, const struct pass *p, const struct catalog_counters *before)
{
	const struct catalog_counters *k = &out->counters;

	sum(k, &out->found_objects, &out->found_bytes);
	out->waiting_objects = k->objects[CATALOG_FOUND] + k->objects[CATALOG_QUARANTINED];
	out->waiting_bytes = k->bytes[CATALOG_FOUND] + k->bytes[CATALOG_QUARANTINED];
	out->checksums = p->checksums;
	out->balanced = consistent(before, &p->counted, k);
	if (out->phase == CATALOG_DETACHED && out->waiting_objects + k->objects[CATALOG_CLEANING])
		out->balanced = false;
}

int audit_report(struct catalog *c, struct audit_ledger *out, int (*each)(void *arg, const struct audit_object *o),
		 bool (*stop)(void *arg), void *arg, struct err *e)
{
	_cleanup_free_ struct catalog_row *rows = calloc(PAGE_ROWS, sizeof *rows);
	_cleanup_free_ char *path = malloc(PATH_ROOM), *reason = malloc(REASON_ROOM);
	struct pass p = { .c = c, .each = each, .stop = stop, .arg = arg, .rows = rows, .path = path, .reason = reason };
	struct catalog_counters before = { 0 };
	int r;

	if (!rows || !path || !reason)
		return err_sys(e, ENOMEM, "report");
	*out = (struct audit_ledger){ 0 };
	r = catalog_counters(c, &before);
	if (!r)
		r = walk(&p);
	if (r == -EINTR)
		return err_set(e, EINTR, "the report was stopped");
	if (!r)
		r = catalog_counters(c, &out->counters);
	if (r)
		return err_sys(e, r, "the catalog cannot be read");
	out->phase = catalog_phase(c);
	conclude(out, &p, &before);
	return 0;
}
