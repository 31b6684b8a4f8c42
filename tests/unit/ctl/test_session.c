/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * dmm against workers that misbehave in every way: shell scripts in the worker's
 * place, which talk on descriptor 3.
 */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/exits.h"
#include "ctl/session.h"
#include "ctl/spawn.h"

struct recorder {
	struct display display;
	char kinds[400];	/* " starting finished" */
	pid_t kill_on;		/* event "go": send this process (0: none) */
	int kill_with;
};

static void record(struct display *d, const struct view *v, json_t *ev, const char *line)
{
	struct recorder *r = (struct recorder *)d;
	const char *kind = view_string(ev, "event", "");
	size_t used = strlen(r->kinds);

	(void)v;
	(void)line;
	snprintf(r->kinds + used, sizeof r->kinds - used, " %s", kind);
	if (!strcmp(kind, "go") && r->kill_on)
		kill(r->kill_on, r->kill_with);
	if (!strcmp(kind, "break"))
		d->broken = true;
}

static int run_script(struct recorder *r, const char *script, bool exit_when_detached)
{
	char *argv[] = { (char *)"sh", (char *)"-c", (char *)(uintptr_t)script, NULL };
	struct spawn w;
	struct session_config cfg = { .worker = &w, .display = &r->display,
				      .exit_when_detached = exit_when_detached };
	struct err e = { 0 };

	r->display.event = record;
	session_block_signals();
	assert_int_equal(spawn_worker("/bin/sh", argv, &w, &e), 0);
	return session_run(&cfg);
}

static void test_exit_statuses(void **state)
{
	struct recorder r = { 0 };

	(void)state;
	assert_int_equal(run_script(&r, "echo '{\"event\":\"finished\"}' >&3; exit 0", false),
			 EXITS_DONE);
	assert_string_equal(r.kinds, " finished");
	assert_int_equal(run_script(&r, "echo '{\"event\":\"stopped\"}' >&3; exit 3", false),
			 EXITS_STOPPED);
	assert_int_equal(run_script(&r, "echo '{\"event\":\"error\",\"text\":\"x\"}' >&3; exit 1",
				    false), EXITS_FAILED);
}

static void test_deaths(void **state)
{
	struct recorder r = { 0 };

	(void)state;
	assert_int_equal(run_script(&r, "kill -9 $$", false), EXITS_WORKER_DIED);
	assert_string_equal(r.kinds, " worker-died");
	assert_int_equal(run_script(&r, "exit 0", false), EXITS_WORKER_DIED);
	/* its last word and its end contradict each other: a leak found at exit, a crash at the end */
	assert_int_equal(run_script(&r, "echo '{\"event\":\"finished\"}' >&3; exit 23", false),
			 EXITS_WORKER_DIED);
}

static void test_garbage_is_left_out(void **state)
{
	struct recorder r = { 0 };

	(void)state;
	assert_int_equal(run_script(&r, "printf 'no json\\n[1]\\n{\"event\":7}\\n\\377\\n"
					"{\"event\":\"one\"}\\n{\"event\":\"fini' >&3; sleep 0.1;"
					"printf 'shed\"}\\n{\"event\":\"cut' >&3; exit 0", false),
			 EXITS_DONE);
	assert_string_equal(r.kinds, " one finished");
}

static void test_endless_line(void **state)
{
	struct recorder r = { 0 };

	(void)state;
	assert_int_equal(run_script(&r, "head -c 3000000 /dev/zero | tr '\\0' x >&3; echo >&3;"
					"echo '{\"event\":\"finished\"}' >&3", false), EXITS_DONE);
	assert_string_equal(r.kinds, " finished");
}

static void test_detached(void **state)
{
	struct recorder r = { 0 };

	(void)state;
	/* returns although the worker lives on */
	assert_int_equal(run_script(&r, "echo '{\"event\":\"detached\"}' >&3; sleep 2", true),
			 EXITS_DONE);
	assert_string_equal(r.kinds, " detached");
	memset(&r, 0, sizeof r);
	assert_int_equal(run_script(&r, "echo '{\"event\":\"detached\"}' >&3; sleep 0.2;"
					"echo '{\"event\":\"finished\"}' >&3", false), EXITS_DONE);
	assert_string_equal(r.kinds, " detached finished");
}

/* Reads one command and repeats it as an event. */
#define ECHO_COMMAND "echo '{\"event\":\"go\"}' >&3; read c <&3; echo \"{\\\"event\\\":\\\"got-$c\\\"}\" >&3;" \
	"echo '{\"event\":\"stopped\"}' >&3; exit 3"

static void test_signals(void **state)
{
	struct recorder r = { .kill_on = getpid(), .kill_with = SIGINT };

	(void)state;
	assert_int_equal(run_script(&r, ECHO_COMMAND, false), EXITS_STOPPED);
	assert_string_equal(r.kinds, " go got-stop stopped");
	r = (struct recorder){ .kill_on = getpid(), .kill_with = SIGUSR1 };
	assert_int_equal(run_script(&r, ECHO_COMMAND, false), EXITS_STOPPED);
	assert_string_equal(r.kinds, " go got-force-detach stopped");
}

static void test_broken_display_stops(void **state)
{
	struct recorder r = { 0 };

	(void)state;
	assert_int_equal(run_script(&r, "echo '{\"event\":\"break\"}' >&3; read c <&3;"
					"echo '{\"event\":\"stopped\"}' >&3; exit 3", false),
			 EXITS_STOPPED);
}

static void test_own_session(void **state)
{
	struct recorder r = { 0 };

	(void)state;
	/* stat: 5 is the process group, 6 the session.  Descriptors: ours and the shell's own 1x */
	fcntl(STDERR_FILENO, F_DUPFD, 40);	/* one that must not be passed on */
	assert_int_equal(run_script(&r, "set -- $(cat /proc/$$/stat); [ $5 = $$ ] && [ $6 = $$ ] &&"
					"[ -z \"$(ls /proc/$$/fd | grep -v '^1\\?[0-9]$')\" ] &&"
					"echo '{\"event\":\"finished\"}' >&3", false), EXITS_DONE);
}

static void test_cannot_execute(void **state)
{
	char path[] = "/tmp/dmm-test-XXXXXX";
	char *argv[] = { path, NULL };
	struct err e = { 0 };
	struct spawn w;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(spawn_worker(path, argv, &w, &e), -EACCES);
	assert_non_null(strstr(e.text, "cannot execute"));
	unlink(path);
	assert_int_equal(spawn_worker(path, argv, &w, &e), -ENOENT);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);	/* no zombie is left */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cannot_execute),
		cmocka_unit_test(test_exit_statuses),
		cmocka_unit_test(test_deaths),
		cmocka_unit_test(test_garbage_is_left_out),
		cmocka_unit_test(test_endless_line),
		cmocka_unit_test(test_detached),
		cmocka_unit_test(test_signals),
		cmocka_unit_test(test_broken_display_stops),
		cmocka_unit_test(test_own_session),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
