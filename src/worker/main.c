/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * dmm-worker: carries out one migration and reports to the display that started it.
 *
 * Exit statuses: options.h.  The final event (doc/events.md) is sent when everything is
 * down, so whoever sees it may start the same command again.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "ending.h"
#include "faults.h"
#include "job.h"
#include "migration.h"
#include "process.h"

#define LAST_WORDS_MS 5000

struct logging {
	struct events *events;
	bool debug;		/* everything to stderr as well */
};

/* One write, and only if it cannot block: logging never holds up the migration. */
static void to_stderr(const char *level, const char *line)
{
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };
	char buf[1200];
	int n = snprintf(buf, sizeof buf, "dmm-worker: %s: %s\n", level, line);

	if (n >= (int)sizeof buf)
		n = sizeof buf - 1;
	if (poll(&p, 1, 0) == 1 && write(STDERR_FILENO, buf, (size_t)n) < 0)
		return;		/* nobody to tell */
}

static void log_line(void *arg, enum log_level level, const char *line)
{
	static const char *const names[] = { "error", "warn", "info", "debug" };
	struct logging *l = arg;

	if (level <= LOG_LEVEL_INFO)
		events_emit(l->events, CHANNEL_NOTE, "log",
			    json_pack("{s:s, s:o}", "level", names[level],
				      "text", events_text(line)));
	if (l->debug)
		to_stderr(names[level], line);
}

static void say_finished(struct migration *m)
{
	uint64_t bytes = 0;
	json_t *ledger = m->catalog ? status_ledger(m->catalog, &bytes) : NULL;

	events_emit(m->events, CHANNEL_FINAL, "finished",
		    json_pack("{s:o*, s:I}", "ledger", ledger, "found_bytes", (json_int_t)bytes));
}

static void say_error(struct migration *m, const struct err *e)
{
	const char *name = e->code ? strerrorname_np(e->code) : NULL;

	events_emit(m->events, CHANNEL_FINAL, "error",
		    json_pack("{s:o, s:i, s:s}", "text",
			      events_text(e->text[0] ? e->text : "failed without a reason"),
			      "code", e->code, "errno", name ? name : ""));
}

/* 0: done; -EINTR: stopped; other: failed. */
static int migrate(struct migration *m, struct err *e)
{
	int r = migration_name(m, e);

	if (!r)
		r = migration_open(m, e);
	if (r)
		return r;
	if (m->phase == CATALOG_DETACHED) {
		events_emit(m->events, CHANNEL_FINAL, "already-finished", NULL);
		return 0;
	}
	if (m->phase == CATALOG_DETACHING)
		return ending_finish(m, e);
	r = migration_mount(m, e);
	return r ? r : ending_run(m, e);
}

/* Everything between the first and the last event. */
static int report(struct migration *m)
{
	struct err e = { 0 };
	int r = migrate(m, &e);
	bool mounted = m->fusefs;

	if (!r)
		say_finished(m);	/* while the catalog is open */
	migration_close(m);
	if (!r)
		return WORKER_DONE;
	if (r == -EINTR && monitor_stopping(m->monitor)) {
		events_emit(m->events, CHANNEL_FINAL, "stopped",
			    json_pack("{s:s, s:b}", "text", MONITOR_STOPPED, "mounted", mounted));
		return WORKER_STOPPED;
	}
	say_error(m, &e);
	return WORKER_FAILED;
}

static int start(const struct options *o, struct err *e)
{
	struct events events = { .started = clock_mono() };
	struct logging logging = { .events = &events, .debug = o->debug };
	struct migration m = { .options = o, .events = &events };
	int r = channel_open(o->channel_fd, &events.channel, e);

	if (r)
		return r;
	log_set_level(o->debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	log_set_sink(log_line, &logging);
	process_settle();
	r = faults_points(o->points, e);
	if (!r)
		r = monitor_start(&events, o->status_ms, &m.monitor, e);
	if (!r) {
		r = report(&m);
		monitor_end(m.monitor);
	}
	channel_flush(events.channel, LAST_WORDS_MS);
	log_set_sink(NULL, NULL);
	channel_close(events.channel);
	return r;
}

int main(int argc, char **argv)
{
	struct options o;
	struct err e = { 0 };
	int r;

	monitor_block_signals();
	r = options_parse(&o, argc, argv, &e);
	if (!r && o.print_points) {
		faults_print_points();
		return WORKER_DONE;
	}
	if (!r)
		r = o.job ? job_run(&o) : start(&o, &e);
	if (r >= 0)
		return r;
	fprintf(stderr, "dmm-worker: %s\n", e.text);
	return WORKER_USAGE;
}
