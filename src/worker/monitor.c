/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "monitor.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "options.h"

#define LAST_WORDS_MS 5000	/* how long the last event may wait for its reader */

struct monitor {
	struct events *events;
	unsigned status_ms;
	int signals, wake;		/* signalfd; eventfd that ends the thread */
	pthread_t thread;
	bool display_gone;		/* the thread's own */
	bool was_connected, maybe_only_errors, only_errors;
	uint64_t trouble_since;

	pthread_mutex_t lock;		/* everything below */
	pthread_cond_t asked;
	struct status_view view;
	void (*reload)(void *arg);
	void *reload_arg;
	enum monitor_phase phase;
	bool touched, stop, force, released, end;
};

static void signal_set(sigset_t *set)
{
	static const int taken[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2 };

	sigemptyset(set);
	for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
		sigaddset(set, taken[i]);
}

void monitor_block_signals(void)
{
	sigset_t set;

	signal_set(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* ---- reporting; called with the lock held ---- */

static const char *phase_name(const struct monitor *m)
{
	static const char *const names[] = {
		"starting", "migrating", "detach-waiting", "detaching", "detached", "stopping",
	};

	if (m->phase == MONITOR_MIGRATING && m->only_errors)
		return "errors-left";
	return names[m->phase];
}

/* Trouble of the source is told when it begins and when it ends. */
static void report_source(struct monitor *m, const struct source_stats *s)
{
	uint64_t now = clock_mono();

	if (s->connected == m->was_connected)
		return;
	m->was_connected = s->connected;
	if (!s->connected) {
		m->trouble_since = now;
		events_emit(m->events, CHANNEL_NOTE, "source-trouble",
			    events_fields_text(s->trouble[0] ? s->trouble
							     : "the source does not answer"));
		return;
	}
	events_emit(m->events, CHANNEL_NOTE, "source-back",
		    json_pack("{s:s, s:f}", "text", "the source answers again", "down_seconds",
			      (double)((now - m->trouble_since) / CLOCK_MS) / 1000));
}

/* Twice in a row: between a directory's names and their counting it may look so for a moment. */
static void report_errors_left(struct monitor *m, const struct engine_progress *p)
{
	bool now = status_only_errors_left(p), only = now && m->maybe_only_errors;

	m->maybe_only_errors = now;
	if (only && !m->only_errors)
		events_emit(m->events, CHANNEL_NOTE, "errors-left",
			    json_pack("{s:I}", "quarantined", (json_int_t)p->quarantined));
	m->only_errors = only;
}

static void report(struct monitor *m)
{
	struct engine_progress p = { 0 };

	if (!m->view.engine)
		return;
	engine_progress(m->view.engine, &p);
	report_source(m, &p.source);
	report_errors_left(m, &p);
	events_emit(m->events, CHANNEL_STATUS, "status",
		    status_fields(&m->view, &p, phase_name(m),
				  channel_dropped(m->events->channel)));
}

/* ---- requests; called with the lock held ---- */

static void ask_stop(struct monitor *m, const char *by)
{
	if (m->stop || m->phase == MONITOR_DETACHED)
		return;
	m->stop = true;
	if (!m->touched) {
		events_emit(m->events, CHANNEL_FINAL, "stopped",
			    json_pack("{s:s, s:b}", "text", MONITOR_STOPPED_EARLY, "mounted", 0));
		channel_flush(m->events->channel, LAST_WORDS_MS);
		_exit(WORKER_STOPPED);
	}
	m->phase = MONITOR_STOPPING;
	pthread_cond_broadcast(&m->asked);
	events_emit(m->events, CHANNEL_NOTE, "stopping", events_fields_text(by));
	if (m->view.engine)
		engine_interrupt(m->view.engine);
}

static void ask_force(struct monitor *m)
{
	if (!m->force)
		events_emit(m->events, CHANNEL_NOTE, "detach-forced", NULL);
	m->force = true;
	pthread_cond_broadcast(&m->asked);
}

static void release(struct monitor *m)
{
	m->released = true;
	if (m->view.engine)
		engine_hold(m->view.engine, false);
	events_emit(m->events, CHANNEL_NOTE, "background-released", NULL);
}

static void take_signal(struct monitor *m)
{
	struct signalfd_siginfo si;
	char by[64];

	if (read(m->signals, &si, sizeof si) != sizeof si)
		return;
	switch (si.ssi_signo) {
	case SIGUSR1:
		ask_force(m);
		break;
	case SIGUSR2:
		release(m);
		break;
	case SIGHUP:
		if (m->reload)
			m->reload(m->reload_arg);
		break;
	default:
		snprintf(by, sizeof by, "signal %u from process %u", si.ssi_signo, si.ssi_pid);
		ask_stop(m, by);
	}
}

static void take_commands(struct monitor *m)
{
	char line[64];
	int r;

	while ((r = channel_receive(m->events->channel, line, sizeof line)) == 1) {
		if (!strcmp(line, "stop"))
			ask_stop(m, "asked by dmm");
		else if (!strcmp(line, "force-detach"))
			ask_force(m);
		/* anything else: a command of a newer dmm, of no meaning here */
	}
	if (r == -EPIPE) {
		m->display_gone = true;
		ask_stop(m, "dmm is gone");
	}
}

/* ---- the thread ---- */

static void *watch(void *arg)
{
	struct monitor *m = arg;
	uint64_t next = clock_mono();
	bool end = false;

	while (!end) {
		struct pollfd p[] = {
			{ .fd = m->signals, .events = POLLIN },
			{ .fd = m->wake, .events = POLLIN },
			{ .fd = m->display_gone ? -1 : channel_fd(m->events->channel),
			  .events = POLLIN },
		};
		uint64_t now = clock_mono();

		poll(p, 3, now >= next ? 0 : (int)((next - now) / CLOCK_MS) + 1);
		pthread_mutex_lock(&m->lock);
		if (p[0].revents)
			take_signal(m);
		if (p[2].revents)
			take_commands(m);
		if (clock_mono() >= next) {
			report(m);
			next = clock_mono() + m->status_ms * CLOCK_MS;
		}
		end = m->end;
		pthread_mutex_unlock(&m->lock);
		channel_flush(m->events->channel, 0);
	}
	return NULL;
}

int monitor_start(struct events *ev, unsigned status_ms, struct monitor **out, struct err *e)
{
	struct monitor *m = calloc(1, sizeof *m);
	sigset_t set;
	int r;

	if (!m)
		return err_sys(e, ENOMEM, "monitor");
	m->events = ev;
	m->status_ms = status_ms;
	m->was_connected = true;
	signal_set(&set);
	m->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	m->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->asked, NULL);
	r = m->signals < 0 || m->wake < 0 ? errno : pthread_create(&m->thread, NULL, watch, m);
	if (r) {
		close(m->signals);
		close(m->wake);
		free(m);
		return err_sys(e, r, "monitor");
	}
	*out = m;
	return 0;
}

void monitor_end(struct monitor *m)
{
	if (!m)
		return;
	pthread_mutex_lock(&m->lock);
	m->end = true;
	pthread_mutex_unlock(&m->lock);
	eventfd_write(m->wake, 1);
	pthread_join(m->thread, NULL);
	close(m->signals);
	close(m->wake);
	pthread_mutex_destroy(&m->lock);
	pthread_cond_destroy(&m->asked);
	free(m);
}

/* ---- for the main thread ---- */

void monitor_watch(struct monitor *m, const struct status_view *v)
{
	pthread_mutex_lock(&m->lock);
	m->view = *v;
	if (m->released && v->engine)
		engine_hold(v->engine, false);
	if (m->stop && v->engine)
		engine_interrupt(v->engine);
	pthread_mutex_unlock(&m->lock);
}

void monitor_unwatch(struct monitor *m)
{
	pthread_mutex_lock(&m->lock);
	m->view = (struct status_view){ 0 };
	m->reload = NULL;
	pthread_mutex_unlock(&m->lock);
}

void monitor_on_reload(struct monitor *m, void (*reload)(void *arg), void *arg)
{
	pthread_mutex_lock(&m->lock);
	m->reload = reload;
	m->reload_arg = arg;
	pthread_mutex_unlock(&m->lock);
}

void monitor_set_phase(struct monitor *m, enum monitor_phase phase)
{
	pthread_mutex_lock(&m->lock);
	if (m->phase != MONITOR_STOPPING || phase == MONITOR_DETACHED)
		m->phase = phase;
	pthread_mutex_unlock(&m->lock);
}

void monitor_touch(struct monitor *m)
{
	pthread_mutex_lock(&m->lock);
	m->touched = true;
	pthread_mutex_unlock(&m->lock);
}

json_t *monitor_status(struct monitor *m)
{
	struct engine_progress p = { 0 };
	json_t *fields = NULL;

	pthread_mutex_lock(&m->lock);
	if (m->view.engine) {
		engine_progress(m->view.engine, &p);
		fields = status_fields(&m->view, &p, phase_name(m), channel_dropped(m->events->channel));
	}
	pthread_mutex_unlock(&m->lock);
	return fields;
}

bool monitor_stopping(struct monitor *m)
{
	bool r;

	pthread_mutex_lock(&m->lock);
	r = m->stop;
	pthread_mutex_unlock(&m->lock);
	return r;
}

bool monitor_forced(struct monitor *m)
{
	bool r;

	pthread_mutex_lock(&m->lock);
	r = m->force;
	pthread_mutex_unlock(&m->lock);
	return r;
}

void monitor_sleep(struct monitor *m, unsigned ms)
{
	struct timespec until = clock_timespec(clock_mono() + ms * CLOCK_MS);

	pthread_mutex_lock(&m->lock);
	if (!m->stop)
		pthread_cond_clockwait(&m->asked, &m->lock, CLOCK_MONOTONIC, &until);
	pthread_mutex_unlock(&m->lock);
}
