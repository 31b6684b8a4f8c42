/* SPDX-License-Identifier: GPL-3.0-or-later */
/* check-state: the catalog against itself and against the target (audit_state()). */
#include <errno.h>

#include "audit/audit.h"
#include "base/cleanup.h"
#include "verb.h"

enum { PATH_ROOM = 16384 };

#define I(x) ((json_int_t)(x))

struct telling {
	struct verb_context *v;
	struct reply *reply;
	char path[PATH_ROOM];
};

static void on_problem(void *arg, const struct audit_problem *p)
{
	struct telling *t = arg;

	if (!p->oid || audit_path(t->v->catalog, p->oid, t->path, sizeof t->path))
		t->path[0] = 0;
	reply_send(t->reply, "problem", json_pack("{s:I, s:o, s:o}", "oid", I(p->oid), "path", reply_text(t->path),
						  "text", reply_text(p->text)));
}

int verb_check_state(struct verb_context *v, struct reply *r, json_t *request, json_t **done, struct err *e)
{
	_cleanup_free_ struct telling *t = calloc(1, sizeof *t);
	struct audit_state s = { 0 };
	int error;

	(void)request;
	(void)done;
	if (!t)
		return err_sys(e, ENOMEM, "check-state");
	t->v = v;
	t->reply = r;
	if (!v->target && catalog_phase(v->catalog) != CATALOG_DETACHED)
		return err_set(e, ENOENT, "the target %s cannot be opened", v->target_path);
	error = audit_state(v->catalog, v->target, on_problem, t, &s, e);
	if (!error)
		reply_send(r, "state", json_pack("{s:I, s:I, s:I, s:I}", "rows", I(s.rows), "inodes", I(s.inodes),
						 "marks", I(s.marks), "problems", I(s.problems)));
	return error;
}
