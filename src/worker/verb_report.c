/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * report: what became of every object of the source (audit_report()).
 * quarantined: only those that wait for a retry, from their list; without a walk over all rows.
 *
 * A report is one pass over the rows: the objects come first, the sums after them.
 */
#include <errno.h>
#include <string.h>

#include "audit/audit.h"
#include "base/cleanup.h"
#include "verb.h"

enum { PAGE_ROWS = 128, PATH_ROOM = 16384, REASON_ROOM = 1024 };

#define I(x) ((json_int_t)(x))

static const char *const list_names[AUDIT_LISTS] = {
	[AUDIT_OVERWRITTEN] = "overwritten", [AUDIT_DELETED] = "deleted", [AUDIT_SHADOWED] = "shadowed",
	[AUDIT_EXCLUDED] = "excluded", [AUDIT_FAILED] = "failed", [AUDIT_QUARANTINED] = "quarantined",
};

static const char *type_name(int type)
{
	static const char *const names[] = {
		[CATALOG_REG] = "file", [CATALOG_DIR] = "directory", [CATALOG_LNK] = "symlink", [CATALOG_BLK] = "block device",
		[CATALOG_CHR] = "character device", [CATALOG_FIFO] = "fifo", [CATALOG_SOCK] = "socket",
	};

	return type > 0 && type < (int)(sizeof names / sizeof names[0]) ? names[type] : "?";
}

json_t *verb_object(const char *list, uint64_t oid, int type, uint64_t size, const char *path, const char *reason, int code)
{
	const char *name = code ? strerrorname_np(code) : NULL;

	return json_pack("{s:s, s:o, s:I, s:s, s:I, s:o, s:i, s:s}", "list", list, "path", reply_text(path), "oid", I(oid),
			 "type", type_name(type), "size", I(size), "reason", reply_text(reason), "code", code,
			 "errno", name ? name : "");
}

static int each(void *arg, const struct audit_object *o)
{
	struct reply *r = arg;

	return !reply_send(r, "object", verb_object(list_names[o->list], o->oid, o->type, o->size, o->path, o->reason, o->code));
}

static bool stop(void *arg)
{
	struct reply *r = arg;

	return r->gone || reply_overdue(r);
}

static json_t *states(const struct catalog_counters *k)
{
	static const struct {
		const char *name;
		int state;
	} table[] = {
		{ "found", CATALOG_FOUND }, { "cleaning", CATALOG_CLEANING }, { "quarantined", CATALOG_QUARANTINED },
		{ "migrated", CATALOG_MIGRATED }, { "overwritten", CATALOG_OVERWRITTEN }, { "deleted", CATALOG_DELETED },
		{ "shadowed", CATALOG_SHADOWED }, { "excluded", CATALOG_EXCLUDED }, { "failed", CATALOG_FAILED },
	};
	json_t *o = json_object();

	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
		json_object_set_new(o, table[i].name, json_pack("{s:I, s:I}", "objects", I(k->objects[table[i].state]),
								"bytes", I(k->bytes[table[i].state])));
	return o;
}

static json_t *ledger(struct verb_context *v, const struct audit_ledger *l)
{
	static const char *const phases[] = { "running", "detaching", "detached" };

	return json_pack("{s:s, s:b, s:o, s:o, s:o, s:I, s:I, s:o, s:I, s:I, s:I, s:I, s:b}",
			 "phase", phases[l->phase], "worker", v->monitor != NULL, "source", reply_text(v->source),
			 "target", reply_text(v->target_path), "state", reply_text(v->state),
			 "found_objects", I(l->found_objects), "found_bytes", I(l->found_bytes),
			 "states", states(&l->counters),
			 "waiting_objects", I(l->waiting_objects), "waiting_bytes", I(l->waiting_bytes),
			 "directories_unlisted", I(l->counters.directories_unlisted),
			 "checksums", I(l->checksums), "balanced", l->balanced);
}

int verb_report(struct verb_context *v, struct reply *r, json_t *request, json_t **done, struct err *e)
{
	struct audit_ledger l;
	int error = audit_report(v->catalog, &l, each, stop, r, e);

	(void)request;
	(void)done;
	if (!error)
		reply_send(r, "ledger", ledger(v, &l));
	return error;
}

struct buffers {
	struct catalog_row rows[PAGE_ROWS];
	char path[PATH_ROOM], reason[REASON_ROOM];
};

static int tell(struct verb_context *v, struct reply *r, struct buffers *b, const struct catalog_row *row)
{
	int code = 0, error = audit_path(v->catalog, row->oid, b->path, sizeof b->path);

	if (error)
		return error;
	if (catalog_reason_get(v->catalog, row->oid, &code, b->reason, sizeof b->reason))
		b->reason[0] = 0;
	return reply_send(r, "object", verb_object("quarantined", row->oid, row->type,
						   row->type == CATALOG_REG ? row->size : 0, b->path, b->reason, code)) ? 0 : -EPIPE;
}

int verb_quarantined(struct verb_context *v, struct reply *r, json_t *request, json_t **done, struct err *e)
{
	_cleanup_free_ struct buffers *b = calloc(1, sizeof *b);
	struct catalog_pos at = { 0 };
	uint64_t told = 0;
	unsigned n;
	int error = b ? 0 : -ENOMEM;

	(void)request;
	do {
		if (!error)
			error = catalog_list(v->catalog, CATALOG_LIST_QUARANTINED, &at, b->rows, PAGE_ROWS, &n);
		for (unsigned i = 0; !error && i < n; i++, told++)
			error = tell(v, r, b, &b->rows[i]);
	} while (!error && n);
	if (error)
		return err_sys(e, error, "the catalog cannot be read");
	*done = json_pack("{s:I}", "objects", I(told));
	return 0;
}
