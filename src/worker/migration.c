/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "migration.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/point.h"
#include "faults.h"
#include "opcount.h"
#include "paths.h"
#include "preflight.h"
#include "probe.h"
#include "process.h"
#include "statedir.h"

#define RETRY_TRIES 5		/* of an object's error that may pass */
#define WAIT_FOR_SOURCE_MS 3000
#define CATALOG_TRIES 30
#define CATALOG_WAIT_MS 100

/*
 * Owners of half-made stubs (D1) are drawn from a range that no one hands
 * out: above what distributions, systemd (524288..1879048191) and container
 * managers use, and away from the 16- and 32-bit "nobody".
 */
#define RESERVED_ID_BASE 0xd0000000u
#define RESERVED_ID_MASK 0x0fffffffu

/* ---- names ---- */

static int name_source(struct migration *m, struct err *e)
{
	const char *local;
	int r = source_url_canonical(m->options->source, m->source_url, sizeof m->source_url, e);

	if (r)
		return r;
	local = source_url_local_path(m->source_url);
	if (local && paths_canonical(local, m->local_source, e))
		return err_wrap(e, "source");
	return 0;
}

static int name_state(struct migration *m, struct err *e)
{
	if (m->options->state) {
		int r = paths_canonical_new(m->options->state, m->state, e);

		if (r)
			return err_wrap(e, "state directory");
	} else {
		statedir_default(m->target_path, m->state);
	}
	return statedir_check(m->state, m->target_path,
			      m->local_source[0] ? m->local_source : NULL, e);
}

static int busy(struct migration *m, struct err *e)
{
	pid_t pid = process_worker_of(m->target_path);

	if (!pid)
		return err_set(e, EBUSY, "the target %s is already being migrated, or verified or checked",
			       m->target_path);
	return err_set(e, EBUSY, "the target %s is already being migrated by process %d",
		       m->target_path, (int)pid);
}

static int clean_dead_mount(struct migration *m, struct err *e)
{
	int r = fusefs_probe_mount(m->target_path);

	if (r < 0)
		return err_sys(e, r, "cannot tell what is mounted on %s", m->target_path);
	if (r == 1)
		return busy(m, e);
	if (r == 0)
		return 0;
	r = fusefs_clean_dead(m->target_path, e);
	if (!r)
		events_emit(m->events, CHANNEL_NOTE, "cleaned-dead-mount",
			    json_pack("{s:o}", "target", events_text(m->target_path)));
	return r;
}

int migration_name(struct migration *m, struct err *e)
{
	int r = preflight_host(e);

	if (!r)
		r = name_source(m, e);
	if (!r && paths_canonical(m->options->target, m->target_path, e))
		r = err_wrap(e, "target");
	if (!r)
		r = clean_dead_mount(m, e);
	if (!r)
		r = preflight_directory(m->target_path, e);
	if (!r)
		r = name_state(m, e);
	if (r)
		return r;
	events_emit(m->events, CHANNEL_FINAL, "starting",
		    json_pack("{s:i, s:s, s:o, s:o, s:o}", "pid", (int)getpid(),
			      "version", DMM_VERSION, "source", events_text(m->source_url),
			      "target", events_text(m->target_path),
			      "state", events_text(m->state)));
	return 0;
}

/* ---- catalog ---- */

static void use_id(struct migration *m, const struct catalog_identity *is)
{
	struct target_id id = { .reserved_id = is->reserved_id };

	memcpy(id.migration, is->migration, sizeof id.migration);
	target_set_id(m->target, &id);
}

static void serve(void *arg, struct reply *r, json_t *request)
{
	verb_serve(arg, r, request);
}

/* Questions are answered from here on.  Without the socket only those cannot be asked. */
static void open_control(struct migration *m)
{
	struct err e = { 0 };

	m->verbs.catalog = m->catalog;
	m->verbs.state = m->state;
	m->verbs.source = m->source_url;
	m->verbs.target_path = m->target_path;
	m->verbs.target = m->target;
	m->verbs.monitor = m->monitor;
	if (control_start(m->state, serve, &m->verbs, &m->control, &e))
		log_warn("dmm report and its like will not reach this worker: %s", e.text);
}

/* Another process that only asks (job.h) gives it back soon. */
static int await_catalog(struct migration *m, struct catalog_identity *is, struct err *e)
{
	bool created;

	for (int tries = 0;; tries++) {
		int r = catalog_open(m->state, false, is, &m->catalog, &created, e);

		if (r != -EBUSY || tries == CATALOG_TRIES || process_worker_of(m->target_path))
			return r;
		monitor_sleep(m->monitor, CATALOG_WAIT_MS);
	}
}

static int open_catalog(struct migration *m, struct err *e)
{
	struct catalog_identity is = { 0 };
	struct catalog_row root;
	int r = await_catalog(m, &is, e);

	if (r == -EBUSY && process_worker_of(m->target_path))
		return busy(m, e);
	if (r)
		return r;
	r = preflight_identity(&is, m->source_url, m->target_path, m->state, e);
	if (r)
		return r;
	use_id(m, &is);
	m->phase = catalog_phase(m->catalog);
	r = catalog_get(m->catalog, CATALOG_ROOT_OID, &root);
	if (r && r != -ENOENT)
		return err_sys(e, r, "%s: the catalog cannot be read", m->state);
	m->continued = !r;	/* else the first start was cut off before it changed anything */
	r = m->continued ? 0 : preflight_fresh(m->target, m->target_path, true, e);
	if (!r)
		open_control(m);
	return r;
}

static int make_catalog(struct migration *m, struct err *e)
{
	struct catalog_identity is = { 0 };
	bool created;
	int r;

	if (getrandom(is.migration, sizeof is.migration, 0) != sizeof is.migration ||
	    getrandom(&is.reserved_id, sizeof is.reserved_id, 0) != sizeof is.reserved_id)
		return err_sys(e, errno, "random numbers");
	is.reserved_id = RESERVED_ID_BASE + (is.reserved_id & RESERVED_ID_MASK);
	snprintf(is.source, sizeof is.source, "%s", m->source_url);
	snprintf(is.target, sizeof is.target, "%s", m->target_path);
	r = statedir_make(m->state, e);
	POINT("start.state-made");
	if (!r)
		r = catalog_open(m->state, true, &is, &m->catalog, &created, e);
	if (r)
		return r;
	use_id(m, &is);
	open_control(m);
	return 0;
}

/* ---- source ---- */

/* The network may come up after us when a migration goes on at boot. */
static bool may_come_back(int r)
{
	return r == -ECONNREFUSED || r == -ETIMEDOUT || r == -EHOSTUNREACH || r == -EHOSTDOWN ||
	       r == -ENETUNREACH || r == -ENETDOWN || r == -ECONNRESET || r == -ECONNABORTED ||
	       r == -EPIPE || r == -EAGAIN || r == -ENOTCONN;
}

static int open_back_end(struct migration *m, struct source **out, struct err *e)
{
	bool told = false;

	for (;;) {
		int r = source_open(m->source_url, out, e);

		if (!r && told)
			events_emit(m->events, CHANNEL_NOTE, "source-back",
				    events_fields_text("the source answers"));
		if (!r || !m->continued || !may_come_back(r))
			return r;
		if (!told)
			events_emit(m->events, CHANNEL_NOTE, "source-trouble",
				    events_fields_text(e->text));
		told = true;
		monitor_sleep(m->monitor, WAIT_FOR_SOURCE_MS);
	}
}

static int open_source(struct migration *m, struct err *e)
{
	struct source *s;
	int r = open_back_end(m, &s, e);

	if (r)
		return r;
	m->source = s;
	r = m->continued ? 0 : probe_source(s, m->source_url, e);
	if (r)
		return r;
	if ((s = opcount_new(m->source)))
		m->opcount = m->source = s;
	if (s && (s = source_fault(m->source)))
		m->fault = m->source = s;
	if (s && (s = source_retry(m->source, RETRY_TRIES)))
		m->source = s;
	if (s && (s = source_throttle(m->source)))
		m->source = s;
	if (!s)
		return err_sys(e, ENOMEM, "source");
	return faults_source(m->fault, m->options->faults, e);
}

static void reload_faults(void *arg)
{
	struct migration *m = arg;
	struct err e = { 0 };

	if (faults_source(m->fault, m->options->faults, &e) || faults_points(m->options->points, &e))
		log_warn("%s", e.text);
}

/* ---- up ---- */

int migration_open(struct migration *m, struct err *e)
{
	const char *local = m->local_source[0] ? m->local_source : NULL;
	int r = preflight_apart(local, m->target_path, e);

	if (!r)
		r = target_open(m->target_path, &m->target, e);
	if (r == -EBUSY)
		return busy(m, e);
	if (r)
		return r;
	r = statedir_has_catalog(m->state) ? open_catalog(m, e) : -ENOENT;
	if (r == -ENOENT)	/* none, or one whose making was cut off: it is made (again) below */
		r = preflight_fresh(m->target, m->target_path, false, e);
	if (r || m->phase != CATALOG_RUNNING)
		return r;	/* what is left to do needs no source */
	r = open_source(m, e);
	if (!r && !m->catalog)
		r = make_catalog(m, e);
	return r;
}

static void on_engine_event(void *arg, const struct engine_event *ev)
{
	static const char *const level[] = { "error", "warn", "info", "debug" };
	struct migration *m = arg;

	if (ev->level > LOG_LEVEL_INFO) {
		log_debug("%s %llu: %s", ev->kind, (unsigned long long)ev->oid, ev->text);
		return;
	}
	events_emit(m->events, CHANNEL_NOTE, ev->kind,
		    json_pack("{s:s, s:I, s:o}", "level", level[ev->level & 3],
			      "oid", (json_int_t)ev->oid, "text", events_text(ev->text)));
}

int migration_engine(struct migration *m, struct err *e)
{
	struct engine_config cfg = {
		.catalog = m->catalog,
		.target = m->target,
		.source = m->source,
		.whole_file_limit = m->options->whole_file_limit,
		.hold_background = m->options->hold_background,
	};

	return engine_create(&cfg, on_engine_event, m, &m->engine, e);
}

/* The raw root is closed before the first stub can come, durably. */
static int guard_root(struct migration *m, struct err *e)
{
	int r = target_root_guard(m->target);

	if (!r && fsync(target_root_fd(m->target)))
		r = -errno;
	return r ? err_sys(e, r, "cannot close the raw target directory %s", m->target_path) : 0;
}

static int start_mount(struct migration *m, struct err *e)
{
	struct fusefs_config cfg = {
		.target = m->target,
		.engine = m->engine,
		.mountpoint = m->target_path,
		.fsname = m->source_url,
		.no_passthrough = m->options->no_passthrough,
		.source_timeout = m->options->source_timeout_ms * CLOCK_MS,
	};

	return fusefs_start(&cfg, &m->fusefs, e);
}

static void say_mounted(struct migration *m)
{
	struct fusefs_status s;

	fusefs_status(m->fusefs, &s);
	events_emit(m->events, CHANNEL_FINAL, "mounted",
		    json_pack("{s:o, s:b, s:b, s:b}", "target", events_text(m->target_path),
			      "continued", m->continued, "passthrough", s.passthrough,
			      "resend", s.resend));
	if (m->options->hold_background)
		events_emit(m->events, CHANNEL_NOTE, "background-held", NULL);
}

int migration_mount(struct migration *m, struct err *e)
{
	int r;

	monitor_touch(m->monitor);
	r = migration_engine(m, e);
	if (!r)
		r = guard_root(m, e);
	POINT("start.guarded");
	if (!r)
		r = start_mount(m, e);
	POINT("start.mounted");
	if (!r)
		r = engine_start(m->engine, e);
	m->engine_started = !r;
	if (r)
		return r;
	atomic_store(&m->verbs.engine, m->engine);
	say_mounted(m);
	monitor_set_phase(m->monitor, MONITOR_MIGRATING);
	monitor_on_reload(m->monitor, reload_faults, m);
	monitor_watch(m->monitor, &(struct status_view){ .engine = m->engine,
							 .fusefs = m->fusefs,
							 .opcount = m->opcount });
	return 0;
}

/* ---- down ---- */

void migration_close(struct migration *m)
{
	control_end(m->control);
	monitor_unwatch(m->monitor);
	if (m->fusefs)
		fusefs_stop(m->fusefs);
	if (m->engine_started)
		engine_quiesce(m->engine);
	source_close(m->source);
	if (m->engine_started)
		engine_stop(m->engine);
	if (m->fusefs)
		fusefs_free(m->fusefs);
	if (m->engine)
		engine_free(m->engine);
	if (m->catalog && catalog_close(m->catalog))
		log_warn("the catalog in %s could not be closed cleanly", m->state);
	target_close(m->target);
}
