/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "ask.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "exits.h"
#include "reader.h"
#include "show.h"
#include "spawn.h"
#include "view.h"

#define REQUEST_MAX 65536	/* what a worker reads */

struct talk {
	struct ask *ask;
	struct spawn worker;
	struct reader reader;
	int signals;
	bool interrupted, cut, broken;	/* broken: standard output */
	int final;			/* exit status that the final event means; -1: none came */
	char text[1200];		/* of it */
};

json_t *ask_bytes(const char *bytes)
{
	char *text = malloc(4 * strlen(bytes) + 1), *p = text;
	json_t *o;

	if (!text)
		return NULL;
	for (; *bytes; bytes++) {
		unsigned char c = (unsigned char)*bytes;

		if (c >= 0x20 && c < 0x7f && c != '\\')
			*p++ = (char)c;
		else
			p += sprintf(p, "\\x%02x", c);
	}
	*p = 0;
	o = json_string(text);
	free(text);
	return o;
}

static void taken_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGHUP);
}

static bool send_request(struct talk *t, struct err *e)
{
	_cleanup_free_ char *line = json_dumps(t->ask->request, JSON_COMPACT);
	size_t n = line ? strlen(line) : 0;

	if (!line || n + 1 > REQUEST_MAX) {
		err_set(e, line ? E2BIG : ENOMEM, line ? "too many names at once; use a pattern, or --all" : "out of memory");
		return false;
	}
	line[n] = '\n';		/* takes the place of the NUL */
	for (size_t at = 0; at <= n; ) {
		ssize_t did = send(t->worker.fd, line + at, n + 1 - at, MSG_NOSIGNAL);

		if (did < 0 && errno != EINTR)
			return true;	/* it has died; that is told by its end */
		at += did > 0 ? (size_t)did : 0;
	}
	return true;
}

static bool start(struct talk *t, struct err *e)
{
	char worker[PATH_MAX], fd[16];
	char *argv[] = {
		(char *)"dmm-worker", (char *)"--job", (char *)"--state", (char *)t->ask->what,
		(char *)"--channel-fd", fd, NULL,
	};

	snprintf(fd, sizeof fd, "%d", SPAWN_CHANNEL_FD);
	return !spawn_find_worker(worker, e) && !spawn_worker(worker, argv, &t->worker, e);
}

static void cut_off(struct talk *t)
{
	t->cut = true;
	kill(t->worker.pid, SIGTERM);	/* our child, not waited for yet */
}

static void interrupt(struct talk *t)
{
	if (!t->ask->resumable || t->broken) {
		cut_off(t);
	} else if (!t->interrupted) {
		shutdown(t->worker.fd, SHUT_WR);
	} else {
		fprintf(stderr, "dmm: still stopping\n");
	}
	t->interrupted = true;
}

static void judge(struct talk *t, const char *kind, json_t *event)
{
	if (!strcmp(kind, "done"))
		t->final = EXITS_DONE;
	else if (!strcmp(kind, "stopped"))
		t->final = EXITS_STOPPED;
	else if (!strcmp(kind, "error"))
		t->final = EXITS_FAILED;
	else
		return;
	show_text(t->text, sizeof t->text, view_string(event, "text", "failed"), 1100);
}

static void take_events(struct talk *t)
{
	const char *line;
	json_t *ev;

	while ((ev = reader_next(&t->reader, &line))) {
		const char *kind = view_string(ev, "event", "");

		judge(t, kind, ev);
		if (t->ask->json)
			printf("%s\n", line);
		if (t->ask->event)
			t->ask->event(t->ask->arg, kind, ev);
		json_decref(ev);
	}
	fflush(stdout);
	if (ferror(stdout) && !t->broken) {
		t->broken = true;
		interrupt(t);
	}
}

static void take_signal(struct talk *t)
{
	struct signalfd_siginfo si;

	if (read(t->signals, &si, sizeof si) == sizeof si)
		interrupt(t);
}

/* Until the worker closes its end, or is cut off. */
static void follow(struct talk *t)
{
	int r = 0;

	while (r != -EPIPE && !t->cut) {
		struct pollfd p[] = { { .fd = t->signals, .events = POLLIN }, { .fd = t->worker.fd, .events = POLLIN } };

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return;
		if (p[0].revents)
			take_signal(t);
		if (p[1].revents) {
			r = reader_fill(&t->reader);
			take_events(t);
		}
	}
}

static int outcome(struct talk *t)
{
	struct spawn_end end;

	spawn_wait(&t->worker, &end);
	if (t->broken) {
		fprintf(stderr, "dmm: standard output cannot be written to\n");
		return EXITS_FAILED;
	}
	if (t->cut) {
		fprintf(stderr, "dmm: stopped\n");
		return EXITS_STOPPED;
	}
	if (t->final > EXITS_DONE)
		fprintf(stderr, "dmm: %s\n", t->text);
	if (t->final >= 0)
		return t->final;
	fprintf(stderr, "dmm: no answer: the worker that was asked has ended before (process %d %s)\n",
		(int)t->worker.pid, end.text);
	return EXITS_WORKER_DIED;
}

int ask_run(struct ask *a)
{
	struct talk t = { .ask = a, .final = -1 };
	struct err e = { 0 };
	sigset_t set;
	bool ok;

	taken_signals(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	ok = start(&t, &e) && send_request(&t, &e);
	json_decref(a->request);
	if (!ok) {
		fprintf(stderr, "dmm: %s\n", e.text);
		return EXITS_FAILED;	/* a worker that was started sees the end of its channel */
	}
	t.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	reader_init(&t.reader, t.worker.fd);
	follow(&t);
	reader_free(&t.reader);
	close(t.worker.fd);
	close(t.signals);
	return outcome(&t);
}
