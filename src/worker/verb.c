/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "verb.h"

#include <errno.h>
#include <string.h>

#include "base/point.h"
#include "control.h"

/* Where a verb can be carried out. */
enum { LIVE = 1, AT_REST = 2, WANTS_TARGET = 4 };

static const struct verb {
	const char *name;
	unsigned where;
	verb_run *run;
} verbs[] = {
	{ "report", LIVE | AT_REST, verb_report },
	{ "quarantined", LIVE | AT_REST, verb_quarantined },
	{ "verify", LIVE | AT_REST | WANTS_TARGET, verb_verify },
	{ "retry", LIVE, verb_retry },
	{ "check-state", AT_REST | WANTS_TARGET, verb_check_state },
	{ "points", LIVE, verb_points },
	{ "status", LIVE, verb_status },
};

static const struct verb *find(const char *name)
{
	for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
		if (!strcmp(verbs[i].name, name))
			return &verbs[i];
	return NULL;
}

bool verb_wants_target(const char *name)
{
	const struct verb *k = find(name);

	return k && k->where & WANTS_TARGET;
}

static int allowed(struct verb_context *v, const struct verb *k, struct err *e)
{
	if (!k)
		return err_set(e, ENOTSUP, "this worker does not know that request; dmm and dmm-worker are of different versions");
	if (v->monitor && !(k->where & LIVE))
		return err_set(e, EBUSY, "the migration to %s is running; stop it first", v->target_path);
	if (v->monitor || k->where & AT_REST)
		return 0;
	if (catalog_phase(v->catalog) != CATALOG_RUNNING)
		return err_set(e, ESRCH, "the migration to %s is finished; there is nothing left to do", v->target_path);
	return err_set(e, ESRCH, "the migration is not running; first start it: dmm run '%s' '%s'", v->source, v->target_path);
}

void verb_serve(struct verb_context *v, struct reply *r, json_t *request)
{
	const struct verb *k = find(control_name(request));
	struct err e = { 0 };
	json_t *done = NULL;
	int error = allowed(v, k, &e);

	if (!error)
		error = k->run(v, r, request, &done, &e);
	reply_end(r, error, &e, done);
}

int verb_points(struct verb_context *v, struct reply *r, json_t *request, json_t **done, struct err *e)
{
	const char *rules = json_string_value(json_object_get(request, "rules"));

	(void)v;
	(void)r;
	(void)done;
	return rules ? point_set(rules, e) : err_set(e, EINVAL, "points: \"rules\" is missing");
}

int verb_status(struct verb_context *v, struct reply *r, json_t *request, json_t **done, struct err *e)
{
	json_t *fields = monitor_status(v->monitor);

	(void)request;
	(void)done;
	if (!fields)
		return err_set(e, EAGAIN, "the migration is still starting");
	reply_send(r, "status", fields);
	return 0;
}
