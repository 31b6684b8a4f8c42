/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One migration, wired together from its parts, and taken apart again.
 *
 * Order (D9): the target's lock first, then the catalog, then the source, then
 * the engine; the guard before the mount, the mount before the engine's own
 * work.  Down: the mount, so that nobody asks; the source, so that nobody waits; the
 * engine, the catalog, and the lock last.
 * Nothing is changed anywhere before migration_mount() but for a dead mount
 * that is cleaned and, on a fresh start, the state directory, made when all checks have passed.
 *
 * Threads: the main thread only.
 */
#ifndef DMM_WORKER_MIGRATION_H
#define DMM_WORKER_MIGRATION_H

#include <limits.h>
#include <stdbool.h>

#include "catalog/catalog.h"
#include "control.h"
#include "engine/engine.h"
#include "events.h"
#include "fusefs/fusefs.h"
#include "monitor.h"
#include "options.h"
#include "source/source.h"
#include "target/target.h"
#include "verb.h"

struct migration {
	const struct options *options;
	struct events *events;
	struct monitor *monitor;

	char source_url[1024];		/* canonical */
	char local_source[PATH_MAX];	/* "" when remote */
	char target_path[PATH_MAX], state[PATH_MAX];
	bool continued;			/* it has been begun before */
	enum catalog_phase phase;	/* as found */

	struct target *target;
	struct catalog *catalog;
	struct source *source;		/* the top of the stack ... */
	struct source *fault, *opcount;	/* ... and two of its layers */
	struct engine *engine;
	bool engine_started;
	struct fusefs *fusefs;
	struct verb_context verbs;	/* what the control socket works on */
	struct control *control;
};

/* Names and everything that can be refused by looking at them.  Emits "starting". */
int migration_name(struct migration *m, struct err *e);
/* Locks, checks, catalog, source.  m->phase says whether there is anything left to do. */
int migration_open(struct migration *m, struct err *e);
/* Only the engine, which recovers; for what has to be finished without a mount. */
int migration_engine(struct migration *m, struct err *e);
/* Engine, guard, mount, and off it goes.  Emits "mounted". */
int migration_mount(struct migration *m, struct err *e);
/* Takes down whatever is up, once; harmless on what never came up. */
void migration_close(struct migration *m);

#endif
