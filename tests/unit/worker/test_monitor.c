/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Who may stop a worker, when, and what it says.  Each worker is a child that only monitors. */
#include "unit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "worker/monitor.h"
#include "worker/options.h"

#define NEVER_ASKED 40
#define STOPPING 41
#define FORCED 42

enum start { UNTOUCHED, TOUCHED, DETACHED };

/* The child: reaches the state, says "ready", waits a while for somebody to ask for something. */
static void work(int fd, enum start start)
{
	struct events ev = { .started = clock_mono() };
	struct monitor *m;
	int r = NEVER_ASKED;

	monitor_block_signals();
	if (channel_open(fd, &ev.channel, NULL) || monitor_start(&ev, 100000, &m, NULL))
		_exit(1);
	if (start != UNTOUCHED)
		monitor_touch(m);
	if (start == DETACHED)
		monitor_set_phase(m, MONITOR_DETACHED);
	events_emit(&ev, CHANNEL_FINAL, "ready", NULL);
	for (int i = 0; i < 8 && r == NEVER_ASKED; i++) {
		monitor_sleep(m, 100);
		r = monitor_stopping(m) ? STOPPING : monitor_forced(m) ? FORCED : NEVER_ASKED;
	}
	monitor_end(m);
	channel_close(ev.channel);
	_exit(r);
}

struct child {
	pid_t pid;
	int fd;
	char said[4096];
};

/* Collect what it says until `word` comes (NULL: until it has ended). */
static void hear(struct child *c, const char *word)
{
	size_t used = strlen(c->said);
	ssize_t n;

	while (!word || !strstr(c->said, word)) {
		n = read(c->fd, c->said + used, sizeof c->said - 1 - used);
		if (n <= 0)
			break;
		used += (size_t)n;
		c->said[used] = 0;
	}
}

static struct child begin(enum start start)
{
	struct child c = { 0 };
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	c.fd = sv[0];
	c.pid = fork();
	if (!c.pid) {
		close(sv[0]);
		work(sv[1], start);
	}
	close(sv[1]);
	hear(&c, "ready");
	return c;
}

static int end(struct child *c)
{
	int status;

	hear(c, NULL);
	close(c->fd);
	assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void tell(struct child *c, const char *line)
{
	assert_int_equal(write(c->fd, line, strlen(line)), (ssize_t)strlen(line));
}

static void test_untouched(void **state)
{
	struct child c = begin(UNTOUCHED);

	(void)state;
	tell(&c, "stop\n");
	assert_int_equal(end(&c), WORKER_STOPPED);
	assert_non_null(strstr(c.said, "{\"event\":\"stopped\""));
	assert_non_null(strstr(c.said, "nothing was changed"));

	c = begin(UNTOUCHED);
	kill(c.pid, SIGTERM);
	assert_int_equal(end(&c), WORKER_STOPPED);
}

static void test_touched(void **state)
{
	struct child c = begin(TOUCHED);

	(void)state;
	tell(&c, "stop\n");
	assert_int_equal(end(&c), STOPPING);	/* the main thread takes it down in order */
	assert_non_null(strstr(c.said, "\"event\":\"stopping\""));
	assert_null(strstr(c.said, "\"event\":\"stopped\""));

	c = begin(TOUCHED);
	kill(c.pid, SIGINT);
	assert_int_equal(end(&c), STOPPING);

	c = begin(TOUCHED);	/* the display dies */
	shutdown(c.fd, SHUT_RDWR);
	assert_int_equal(end(&c), STOPPING);
}

static void test_detached(void **state)
{
	struct child c = begin(DETACHED);

	(void)state;
	tell(&c, "stop\n");
	kill(c.pid, SIGTERM);
	assert_int_equal(end(&c), NEVER_ASKED);
	c = begin(DETACHED);
	shutdown(c.fd, SHUT_RDWR);
	assert_int_equal(end(&c), NEVER_ASKED);
}

static void test_force(void **state)
{
	struct child c = begin(TOUCHED);

	(void)state;
	kill(c.pid, SIGUSR1);
	assert_int_equal(end(&c), FORCED);
	assert_non_null(strstr(c.said, "\"event\":\"detach-forced\""));
	c = begin(TOUCHED);
	tell(&c, "force-detach\n");
	assert_int_equal(end(&c), FORCED);
}

static void test_nonsense(void **state)
{
	struct child c = begin(TOUCHED);

	(void)state;
	tell(&c, "\n\nstopp\nSTOP\nstop now\n\x01\xff\n");
	kill(c.pid, SIGHUP);	/* nothing to read again */
	assert_int_equal(end(&c), NEVER_ASKED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_untouched),
		cmocka_unit_test(test_touched),
		cmocka_unit_test(test_detached),
		cmocka_unit_test(test_force),
		cmocka_unit_test(test_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
