/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "session.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "exits.h"
#include "reader.h"
#include "show.h"

struct session {
	const struct session_config *cfg;
	struct view view;
	struct reader reader;
	int signals;
	bool stop_asked, detached, leave;
	int final;		/* exit status that the final event means; -1: none came */
	char failure[1200];	/* the line for standard error */
};

static void taken_signals(sigset_t *set)
{
	static const int taken[] = { SIGINT, SIGTERM, SIGHUP, SIGUSR1 };

	sigemptyset(set);
	for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
		sigaddset(set, taken[i]);
}

void session_block_signals(void)
{
	sigset_t set;

	taken_signals(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static void command(struct session *s, const char *line)
{
	/* a few bytes into an empty socket; if it fails the worker is gone, and we shall see that */
	if (send(s->cfg->worker->fd, line, strlen(line), MSG_NOSIGNAL) < 0)
		return;
}

static void ask_stop(struct session *s, const char *again)
{
	if (s->detached) {
		s->leave = true;
		return;
	}
	if (!s->stop_asked)
		command(s, "stop\n");
	else if (again)
		fprintf(stderr, "dmm: %s\n", again);
	s->stop_asked = true;
}

static void take_signal(struct session *s)
{
	struct signalfd_siginfo si;

	if (read(s->signals, &si, sizeof si) != sizeof si)
		return;
	if (si.ssi_signo == SIGUSR1)
		command(s, "force-detach\n");
	else
		ask_stop(s, "still stopping: what has arrived is being recorded");
}

/* What this event means for the end of the session. */
static void judge(struct session *s, json_t *ev)
{
	const char *kind = view_string(ev, "event", "");

	if (!strcmp(kind, "finished")) {
		s->final = EXITS_DONE;
	} else if (!strcmp(kind, "stopped")) {
		s->final = EXITS_STOPPED;
		show_text(s->failure, sizeof s->failure, view_string(ev, "text", "stopped"), 1100);
	} else if (!strcmp(kind, "error")) {
		s->final = EXITS_FAILED;
		show_text(s->failure, sizeof s->failure, view_string(ev, "text", "failed"), 1100);
	} else if (!strcmp(kind, "detached")) {
		s->detached = true;
		s->leave = s->cfg->exit_when_detached || s->stop_asked;
	}
}

static void take_events(struct session *s)
{
	const char *line;
	json_t *ev;

	while ((ev = reader_next(&s->reader, &line))) {
		view_apply(&s->view, ev);
		judge(s, ev);
		s->cfg->display->event(s->cfg->display, &s->view, ev, line);
		json_decref(ev);
	}
	if (s->cfg->display->broken)
		ask_stop(s, NULL);
}

/* Until the worker closes its end, or may be left. */
static void follow(struct session *s)
{
	int r = 0;

	while (r != -EPIPE && !s->leave) {
		struct pollfd p[] = {
			{ .fd = s->signals, .events = POLLIN },
			{ .fd = s->cfg->worker->fd, .events = POLLIN },
		};

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return;
		if (p[0].revents)
			take_signal(s);
		if (p[1].revents) {
			r = reader_fill(&s->reader);
			take_events(s);
		}
	}
}

/* dmm's own event: the worker cannot tell this any more. */
static void tell_death(struct session *s, const struct spawn_end *end)
{
	char when[32];
	time_t now = time(NULL);
	struct tm tm;
	json_t *ev;
	char *line;

	gmtime_r(&now, &tm);
	strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S.000Z", &tm);
	ev = json_pack("{s:s, s:s, s:f, s:s, s:i, s:i}", "event", "worker-died", "time", when,
		       "seconds", s->view.seconds, "text", s->failure,
		       "signal", end->signal, "status", end->status);
	line = ev ? json_dumps(ev, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;

	if (line)
		s->cfg->display->event(s->cfg->display, &s->view, ev, line);
	free(line);
	json_decref(ev);
}

static int outcome(struct session *s)
{
	struct spawn_end end;

	spawn_wait(s->cfg->worker, &end);
	if (s->final >= 0 && end.status == s->final)
		return s->final;
	snprintf(s->failure, sizeof s->failure, "the worker (process %d) %s%s; "
		 "the same command continues", (int)s->cfg->worker->pid, end.text,
		 s->final >= 0 ? " after its last event" : "");
	tell_death(s, &end);
	return EXITS_WORKER_DIED;
}

int session_run(const struct session_config *cfg)
{
	struct session *s = calloc(1, sizeof *s);
	sigset_t set;
	int r;

	if (!s)
		return EXITS_FAILED;
	s->cfg = cfg;
	s->final = -1;
	taken_signals(&set);
	s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	view_init(&s->view);
	reader_init(&s->reader, cfg->worker->fd);
	follow(s);
	r = s->leave ? EXITS_DONE : outcome(s);
	if (r && s->failure[0])
		fprintf(stderr, "dmm: %s\n", s->failure);
	reader_free(&s->reader);
	close(s->signals);
	close(cfg->worker->fd);
	free(s);
	return r;
}
