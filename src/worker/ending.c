/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ending.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "process.h"

#define TRY_AGAIN_MS 1000
#define WAIT_MS 1000

/* Tells what is in the way, when it differs from what was told last. */
struct obstacle {
	char *told;
};

static void tell(struct migration *m, struct obstacle *o, uint64_t open_slow, json_t *holders)
{
	json_t *fields = json_pack("{s:I, s:O}", "open_slow", (json_int_t)open_slow,
				   "holders", holders);
	char *text = fields ? json_dumps(fields, JSON_COMPACT) : NULL;

	if (text && o->told && !strcmp(text, o->told)) {
		free(text);
		json_decref(fields);
		return;
	}
	free(o->told);
	o->told = text;
	events_emit(m->events, CHANNEL_NOTE, "detach-waiting", fields);
}

static bool in_the_way(struct migration *m, struct obstacle *o)
{
	struct fusefs_status s;
	unsigned inside;
	json_t *holders = status_holders(m->fusefs, &inside);
	bool blocked;

	fusefs_status(m->fusefs, &s);
	blocked = s.open_slow || (inside && !monitor_forced(m->monitor));
	if (blocked) {
		monitor_set_phase(m->monitor, MONITOR_DETACH_WAITING);
		tell(m, o, s.open_slow, holders);
	}
	json_decref(holders);
	return blocked;
}

static int wait_all_here(struct migration *m, struct err *e)
{
	struct engine_progress p;
	int r;

	do
		r = engine_wait(m->engine, WAIT_MS, e);
	while (!r && !monitor_stopping(m->monitor));
	if (monitor_stopping(m->monitor))
		return -EINTR;
	if (r < 0)
		return r;
	engine_progress(m->engine, &p);
	events_emit(m->events, CHANNEL_FINAL, "all-here",
		    json_pack("{s:I, s:I}", "found_objects", (json_int_t)p.found_objects,
			      "found_bytes", (json_int_t)p.found_bytes));
	return 0;
}

static int make_plain(struct migration *m, struct obstacle *o, struct err *e)
{
	for (;;) {
		int r;

		if (monitor_stopping(m->monitor))
			return -EINTR;
		if (!in_the_way(m, o)) {
			r = engine_make_plain(m->engine, e);
			if (r != -EAGAIN && r != -EBUSY)
				return r;
		}
		monitor_sleep(m->monitor, TRY_AGAIN_MS);
	}
}

static int detach(struct migration *m, struct obstacle *o, struct err *e)
{
	for (;;) {
		int r;

		if (monitor_stopping(m->monitor))
			return -EINTR;
		monitor_set_phase(m->monitor, MONITOR_DETACHING);
		r = fusefs_detach(m->fusefs, monitor_forced(m->monitor), e);
		if (r != -EBUSY)
			return r;
		in_the_way(m, o);
		monitor_sleep(m->monitor, TRY_AGAIN_MS);
	}
}

/* The mount is gone; whatever happens now, the target is complete and plain. */
static void serve_old_descriptors(struct migration *m)
{
	monitor_set_phase(m->monitor, MONITOR_DETACHED);
	events_emit(m->events, CHANNEL_FINAL, "detached",
		    json_pack("{s:i}", "pid", (int)getpid()));
	if (m->options->exit_when_detached)
		process_release_stderr();
	while (!fusefs_wait(m->fusefs, -1))
		;
}

int ending_run(struct migration *m, struct err *e)
{
	struct obstacle o = { 0 };
	int r = wait_all_here(m, e);

	if (!r)
		r = make_plain(m, &o, e);
	if (!r)
		r = detach(m, &o, e);
	free(o.told);
	if (r)
		return r;
	r = engine_record_detached(m->engine, e);
	serve_old_descriptors(m);
	return r;
}

int ending_finish(struct migration *m, struct err *e)
{
	int r;

	monitor_touch(m->monitor);
	r = migration_engine(m, e);
	if (!r)
		r = engine_make_plain(m->engine, e);
	if (!r)
		r = engine_record_detached(m->engine, e);
	if (!r) {
		monitor_set_phase(m->monitor, MONITOR_DETACHED);
		events_emit(m->events, CHANNEL_FINAL, "detached",
			    json_pack("{s:i}", "pid", (int)getpid()));
	}
	return r;
}
