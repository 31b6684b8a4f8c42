/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What can be asked about a migration, and asked of one: the requests behind `dmm report`, `verify`,
 * `retry` and `check-state`, and a few for tests.  doc/events.md ("Requests") has their fields and answers.
 *
 * The same code answers in two places: in a running worker, for a connection of its control socket (control.h), and in a process
 * of its own (job.h) when no worker runs.  What a request needs and does not find is one clear line.
 *
 * Threads: requests of a running worker are served in several threads at once.
 */
#ifndef DMM_WORKER_VERB_H
#define DMM_WORKER_VERB_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "catalog/catalog.h"
#include "engine/engine.h"
#include "monitor.h"
#include "reply.h"
#include "target/target.h"

/* What there is to work on; all borrowed. */
struct verb_context {
	struct catalog *catalog;
	const char *state;		/* its directory */
	const char *source, *target_path;	/* of the migration, as in the catalog's identity */
	struct target *target;		/* NULL: not opened, or gone */
	struct monitor *monitor;	/* NULL: no worker runs */
	atomic_bool verifying;		/* its place is kept once */
	_Atomic(struct engine *) engine;	/* NULL: no worker runs, or it is still starting */
};

/* Does this request look at the target?  (Then a job opens it.) */
bool verb_wants_target(const char *name);

/* Carry one out and answer it to the end. */
void verb_serve(struct verb_context *v, struct reply *r, json_t *request);

/* ---- one function a verb; 0 with the fields of "done", or -errno and a line ---- */

typedef int verb_run(struct verb_context *v, struct reply *r, json_t *request, json_t **done, struct err *e);

verb_run verb_report, verb_quarantined, verb_verify, verb_retry, verb_check_state, verb_points, verb_status;

/* The event of an object of a report. */
json_t *verb_object(const char *list, uint64_t oid, int type, uint64_t size, const char *path, const char *reason, int code);

#endif
