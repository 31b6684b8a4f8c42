/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The status event, from what the engine, the mount and the source report. */
#ifndef DMM_WORKER_STATUS_H
#define DMM_WORKER_STATUS_H

#include <jansson.h>
#include <stdbool.h>

#include "engine/engine.h"
#include "fusefs/fusefs.h"

/* What there is to look at; NULL: not yet, or no longer. */
struct status_view {
	struct engine *engine;
	struct fusefs *fusefs;
	struct source *opcount;		/* the counting decorator */
};

/* p: engine_progress() of the same moment. */
json_t *status_fields(const struct status_view *v, const struct engine_progress *p,
		      const char *phase, uint64_t dropped);

/* Nothing is left to be discovered.  (The engine says so only when it is also idle.) */
bool status_found_all(const struct engine_progress *p);

/* Everything but quarantined objects is here. */
bool status_only_errors_left(const struct engine_progress *p);

/* The holders of a detach-waiting event, those with a working or root directory inside first;
 * *inside says how many of these there are. */
json_t *status_holders(struct fusefs *f, unsigned *inside);

/* {migrated, ..., found} and the bytes found, for the finished event. */
json_t *status_ledger(struct catalog *c, uint64_t *found_bytes);

#endif
