/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The control socket: bad peers lose their connection and nothing else; and finding a migration by what users call it. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "worker/control.h"
#include "worker/find.h"
#include "worker/statedir.h"

struct rig {
	char base[64], dir[512];
	struct control *c;
	atomic_int calls, withdrawn;
	atomic_bool stalled;
};

/* "echo": answers; "hold": until withdrawn; "flood": lines until the reader is given up, "drown": the same with more patience. */
static void handle(void *arg, struct reply *r, json_t *request)
{
	struct rig *g = arg;
	struct err e = { 0 };
	char text[1000];

	atomic_fetch_add(&g->calls, 1);
	if (!strcmp(control_name(request), "hold")) {
		reply_send(r, "held", NULL);
		while (!reply_withdrawn(r))
			poll(NULL, 0, 5);
		atomic_fetch_add(&g->withdrawn, 1);
		reply_end(r, err_set(&e, EINTR, "withdrawn"), &e, NULL);
		return;
	}
	if (!strcmp(control_name(request), "flood") || !strcmp(control_name(request), "drown")) {
		memset(text, 'x', sizeof text - 1);
		text[sizeof text - 1] = 0;
		r->stall_ms = control_name(request)[0] == 'f' ? 300 : 10000;
		for (int i = 0; i < 100000 && reply_send(r, "line", json_pack("{s:s}", "text", text)); i++)
			;
		atomic_store(&g->stalled, r->gone);
	}
	reply_end(r, 0, NULL, json_pack("{s:O}", "echo", request));
}

static void start(struct rig *g)
{
	struct err e = { 0 };

	if (control_start(g->dir, handle, g, &g->c, &e))
		fail_msg("%s", e.text);
}

static int setup(void **state)
{
	struct rig *g = calloc(1, sizeof *g);

	strcpy(g->base, "/tmp/dmm-control-XXXXXX");
	assert_non_null(mkdtemp(g->base));
	/* longer than sun_path */
	snprintf(g->dir, sizeof g->dir, "%s/%0200d", g->base, 7);
	assert_int_equal(mkdir(g->dir, 0700), 0);
	start(g);
	*state = g;
	return 0;
}

static int teardown(void **state)
{
	struct rig *g = *state;
	char command[200];

	control_end(g->c);
	snprintf(command, sizeof command, "rm -rf %s", g->base);
	assert_int_equal(system(command), 0);
	free(g);
	return 0;
}

static int dial(struct rig *g)
{
	int fd = control_connect(g->dir);

	assert_true(fd >= 0);
	return fd;
}

static void say(int fd, const void *data, size_t n)
{
	send(fd, data, n, MSG_NOSIGNAL);	/* whoever is refused may be cut off while talking */
}

/* All that comes until the other end is closed, or for 5 s. */
static size_t hear(int fd, char *buf, size_t n)
{
	uint64_t end = clock_mono() + 5 * CLOCK_SEC;
	size_t have = 0;
	ssize_t did = 1;

	while (did > 0 && have < n - 1) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		assert_true(clock_mono() < end);
		if (poll(&p, 1, 100) == 1) {
			did = recv(fd, buf + have, n - 1 - have, 0);
			have += did > 0 ? (size_t)did : 0;
		}
	}
	buf[have] = 0;
	return have;
}

static void ask(struct rig *g, const char *request, char *answer, size_t n)
{
	int fd = dial(g);

	say(fd, request, strlen(request));
	hear(fd, answer, n);
	close(fd);
}

static void must_work(struct rig *g)
{
	char answer[4096];
	int before = atomic_load(&g->calls);

	ask(g, "{\"request\":\"echo\"}\n", answer, sizeof answer);
	assert_non_null(strstr(answer, "\"event\":\"done\""));
	assert_non_null(strstr(answer, "\"echo\":{\"request\":\"echo\"}"));
	assert_int_equal(atomic_load(&g->calls), before + 1);
}

static void test_ordinary(void **state)
{
	struct rig *g = *state;
	char path[600];
	struct stat st;

	must_work(g);
	snprintf(path, sizeof path, "%s/" CONTROL_SOCKET, g->dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode, S_IFSOCK | 0600);
	control_end(g->c);
	assert_int_equal(stat(path, &st), -1);
	assert_int_equal(control_connect(g->dir), -ENOENT);
	start(g);
	must_work(g);
}

/* What a killed worker leaves. */
static void test_stale(void **state)
{
	struct rig *g = *state;
	char path[600];
	int fd;

	control_end(g->c);
	g->c = NULL;
	snprintf(path, sizeof path, "%s/" CONTROL_SOCKET, g->dir);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(control_connect(g->dir), -ECONNREFUSED);
	start(g);
	must_work(g);
}

static void test_rubbish(void **state)
{
	static const char *const lines[] = {
		"\n", "rubbish\n", "[1,2]\n", "{}\n", "\"request\"\n", "{\"request\":7}\n", "{\"request\":\"a\",\"request\":\"b\"}\n",
		"{\"request\":\"echo\"\n", "{\"request\":\"\xff\xfe\"}\n", "\x00\x01\x02\n", "GET / HTTP/1.0\r\n\r\n",
	};
	static char deep[CONTROL_LINE_MAX];
	struct rig *g = *state;
	char answer[4096];

	for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
		ask(g, *lines[i] ? lines[i] : "x\n", answer, sizeof answer);
		assert_null(strstr(answer, "\"done\""));
	}
	memset(deep, '[', sizeof deep - 2);
	deep[sizeof deep - 2] = '\n';
	ask(g, deep, answer, sizeof answer);
	assert_null(strstr(answer, "\"done\""));
	assert_int_equal(atomic_load(&g->calls), 0);
	must_work(g);
}

/* 64 KiB and not one byte more, in one piece or in many. */
static void test_too_long(void **state)
{
	static char line[CONTROL_LINE_MAX + 4096];
	struct rig *g = *state;
	int n = snprintf(line, sizeof line, "{\"request\":\"echo\",\"x\":\"");
	char answer[200];
	int fd;

	memset(line + n, 'a', sizeof line - (size_t)n);
	memcpy(line + CONTROL_LINE_MAX - 3, "\"}\n", 4);
	ask(g, line, answer, sizeof answer);
	assert_int_equal(atomic_load(&g->calls), 1);
	fd = dial(g);
	for (int i = 0; i < CONTROL_LINE_MAX; i += 1024) {
			say(fd, line + i, 1024);
			poll(NULL, 0, 1);
		}
	hear(fd, answer, sizeof answer);
	close(fd);
	assert_int_equal(atomic_load(&g->calls), 2);
	memset(line + n, 'a', sizeof line - (size_t)n);
	memcpy(line + CONTROL_LINE_MAX - 2, "\"}\n", 4);
	ask(g, line, answer, sizeof answer);
	memset(line + n, 'a', sizeof line - (size_t)n);
	line[sizeof line - 1] = 0;
	ask(g, line, answer, sizeof answer);
	assert_int_equal(atomic_load(&g->calls), 2);
	must_work(g);
}

/* Leaves in the middle of a request, or before the answer. */
static void test_hasty(void **state)
{
	struct rig *g = *state;

	for (int i = 0; i < 100; i++) {
		int fd = dial(g);

		if (i % 2)
			say(fd, "{\"request\":\"echo\"}\n", i % 4 == 1 ? 9 : 19);
		close(fd);
	}
	for (int i = 0; i < 50; i++)	/* those that are being served go away by themselves */
		poll(NULL, 0, 2);
	must_work(g);
}

static void test_slow_reader(void **state)
{
	struct rig *g = *state;
	int fd = dial(g);
	uint64_t began = clock_mono();

	say(fd, "{\"request\":\"flood\"}\n", 20);
	while (!atomic_load(&g->calls))
		poll(NULL, 0, 1);
	for (int i = 0; i < 20; i++)
		must_work(g);		/* others are served meanwhile */
	assert_true(clock_mono() - began < 250 * CLOCK_MS);
	while (!atomic_load(&g->stalled) && clock_mono() - began < 5 * CLOCK_SEC)
		poll(NULL, 0, 10);
	assert_true(atomic_load(&g->stalled));
	assert_true(clock_mono() - began >= 250 * CLOCK_MS);
	close(fd);
	must_work(g);
}

/* The end does not wait for a reader that does not read. */
static void test_end_with_slow_reader(void **state)
{
	struct rig *g = *state;
	int fd = dial(g);
	uint64_t began;

	say(fd, "{\"request\":\"drown\"}\n", 20);
	while (!atomic_load(&g->calls))
		poll(NULL, 0, 5);
	poll(NULL, 0, 200);		/* now it waits for the reader */
	began = clock_mono();
	control_end(g->c);
	g->c = NULL;
	assert_true(clock_mono() - began < 2 * CLOCK_SEC);
	close(fd);
}

static void test_many(void **state)
{
	struct rig *g = *state;
	int fd[CONTROL_MAX];
	char answer[4096];

	for (int i = 0; i < CONTROL_MAX; i++) {
		fd[i] = dial(g);
		say(fd[i], "{\"request\":\"hold\"}\n", 19);
		assert_int_equal(recv(fd[i], answer, 5, MSG_WAITALL), 5);
	}
	ask(g, "{\"request\":\"echo\"}\n", answer, sizeof answer);
	assert_non_null(strstr(answer, "EBUSY"));
	assert_int_equal(atomic_load(&g->calls), CONTROL_MAX);
	for (int i = 0; i < CONTROL_MAX; i++)
		close(fd[i]);
	while (atomic_load(&g->withdrawn) < CONTROL_MAX)
		poll(NULL, 0, 5);
	for (int i = 0; i < 50; i++)
		poll(NULL, 0, 2);
	for (int i = 0; i < 3 * CONTROL_MAX; i++)
		must_work(g);
}

static void test_withdrawn(void **state)
{
	struct rig *g = *state;
	char answer[4096];
	int fd = dial(g);

	say(fd, "{\"request\":\"hold\"}\n", 19);
	assert_int_equal(recv(fd, answer, 5, MSG_WAITALL), 5);
	assert_int_equal(atomic_load(&g->withdrawn), 0);
	shutdown(fd, SHUT_WR);
	hear(fd, answer, sizeof answer);
	assert_non_null(strstr(answer, "\"event\":\"stopped\""));
	close(fd);
	/* and by the worker's end */
	fd = dial(g);
	say(fd, "{\"request\":\"hold\"}\n", 19);
	assert_int_equal(recv(fd, answer, 5, MSG_WAITALL), 5);
	control_end(g->c);
	g->c = NULL;
	hear(fd, answer, sizeof answer);
	assert_non_null(strstr(answer, "\"event\":\"stopped\""));
	close(fd);
}

/* In the child: 0 refused with a line, 1 answered, 2 could not connect. */
static int as_nobody(const char *dir)
{
	char answer[4096];
	int fd;

	if (setgid(65534) || setuid(65534))
		return 3;
	fd = control_connect(dir);
	if (fd < 0)
		return 2;
	say(fd, "{\"request\":\"echo\"}\n", 19);
	hear(fd, answer, sizeof answer);
	return strstr(answer, "\"done\"") ? 1 : strstr(answer, "EPERM") ? 0 : 4;
}

static int other_user(struct rig *g)
{
	int status;
	pid_t pid = fork();

	if (!pid)
		_exit(as_nobody(g->dir));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WEXITSTATUS(status);
}

static void test_other_user(void **state)
{
	struct rig *g = *state;
	char path[600];

	if (geteuid())
		skip();
	snprintf(path, sizeof path, "%s/" CONTROL_SOCKET, g->dir);
	assert_int_equal(other_user(g), 2);		/* the directory is closed */
	assert_int_equal(chmod(g->base, 0755), 0);
	assert_int_equal(chmod(g->dir, 0755), 0);
	assert_int_equal(other_user(g), 2);		/* the socket is */
	assert_int_equal(chmod(path, 0666), 0);
	assert_int_equal(other_user(g), 0);		/* and whoever comes through is asked who he is */
	assert_int_equal(atomic_load(&g->calls), 0);
	must_work(g);
}

/* ---- find ---- */

static void touch(const char *fmt, const char *a, const char *b)
{
	char path[1200];
	int fd;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(path, sizeof path, fmt, a, b);
#pragma GCC diagnostic pop
	mkdir(path, 0700);
	strcat(path, "/catalog.db");
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
}

static void test_find(void **state)
{
	struct rig *g = *state;
	char found[PATH_MAX], path[1200];
	struct err e = { 0 };

	assert_int_equal(find_state("home", g->base, found, &e), -ENOENT);
	assert_non_null(strstr(e.text, "there is none"));
	touch("%s/%s", g->base, "home");
	touch("%s/%s", g->base, "other\n");
	assert_int_equal(find_state("home", g->base, found, &e), 0);
	snprintf(path, sizeof path, "%s/home", g->base);
	assert_string_equal(found, path);
	assert_int_equal(find_state(path, g->base, found, &e), 0);
	assert_string_equal(found, path);
	strcat(path, "/../home/");
	assert_int_equal(find_state(path, g->base, found, &e), 0);
	assert_int_equal(find_state("nothing", g->base, found, &e), -ENOENT);
	assert_non_null(strstr(e.text, "there are: home, other\\x0a"));
	assert_null(strchr(e.text, '\n'));
	/* no way out of the base by a name, and no surprise by an empty one */
	assert_int_equal(find_state("", g->base, found, &e), -ENOENT);
	assert_int_equal(find_state("..", g->base, found, &e), -ENOENT);
	assert_int_equal(find_state("\x1b[31m", g->base, found, &e), -ENOENT);
	assert_null(strchr(e.text, '\x1b'));
}

static void test_find_many(void **state)
{
	struct rig *g = *state;
	char found[PATH_MAX], name[64];
	struct err e = { 0 };

	for (int i = 0; i < 60; i++) {
		snprintf(name, sizeof name, "migration-%02d", i);
		touch("%s/%s", g->base, name);
	}
	assert_int_equal(find_state("nothing", g->base, found, &e), -ENOENT);
	assert_non_null(strstr(e.text, "migration-00, migration-01"));
	assert_non_null(strstr(e.text, " more"));
	assert_true(strlen(e.text) < sizeof e.text - 1);
}

/* By the target; its state lies where dmm run puts it, which is not below our base. */
static void test_find_target(void **state)
{
	struct rig *g = *state;
	char target[600], want[PATH_MAX], found[PATH_MAX], command[PATH_MAX + 32];
	struct err e = { 0 };

	if (geteuid())
		skip();
	snprintf(target, sizeof target, "%s/target", g->base);
	assert_int_equal(mkdir(target, 0700), 0);
	statedir_default(target, want);
	assert_int_equal(find_state(target, g->base, found, &e), -ENOENT);
	assert_int_equal(statedir_make(want, &e), 0);
	touch("%s%s", want, "");
	assert_int_equal(find_state(target, g->base, found, &e), 0);
	assert_string_equal(found, want);
	snprintf(command, sizeof command, "rm -rf '%s'", want);
	assert_int_equal(system(command), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_ordinary), T(test_stale), T(test_rubbish), T(test_too_long), T(test_hasty), T(test_slow_reader),
		T(test_end_with_slow_reader), T(test_many), T(test_withdrawn), T(test_other_user), T(test_find), T(test_find_many),
		T(test_find_target),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
