/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The line to the display: never waits, never loses a last word that anybody reads. */
#include "unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "worker/channel.h"
#include "worker/events.h"

struct ends {
	struct channel *c;
	int fd;		/* the display's */
};

static struct ends make(void)
{
	struct ends e;
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	assert_int_equal(channel_open(sv[0], &e.c, NULL), 0);
	e.fd = sv[1];
	return e;
}

static void test_not_a_socket(void **state)
{
	struct channel *c;
	struct err e;

	(void)state;
	assert_int_equal(channel_open(STDIN_FILENO, &c, &e), -EINVAL);
	assert_int_equal(channel_open(900, &c, &e), -EINVAL);
}

/* A display that reads nothing: bounded, counted, quick; the final line still comes, and comes last. */
static void test_stopped_reader(void **state)
{
	static char line[500], got[4 << 20];
	struct ends e = make();
	uint64_t began = clock_mono();
	size_t have = 0;
	unsigned sent = 0;
	ssize_t n;

	(void)state;
	memset(line, 's', sizeof line);
	for (int i = 0; i < 20000; i++)
		sent += channel_send(e.c, CHANNEL_STATUS, line, sizeof line);
	assert_true(sent > 10 && sent * sizeof line <= CHANNEL_STATUS_ROOM);
	assert_int_equal(channel_dropped(e.c), 20000 - sent);
	for (int i = 0; i < 20000; i++)
		sent += channel_send(e.c, CHANNEL_NOTE, line, sizeof line);
	assert_true(sent * sizeof line <= CHANNEL_NOTE_ROOM);
	for (int i = 0; i < 100; i++)
		assert_true(channel_send(e.c, CHANNEL_FINAL, line, sizeof line));
	assert_true(channel_send(e.c, CHANNEL_FINAL, "last", 4));
	assert_true(clock_mono() - began < 2 * CLOCK_SEC);

	for (;;) {	/* the reader wakes up */
		channel_flush(e.c, 0);
		n = recv(e.fd, got + have, sizeof got - have, MSG_DONTWAIT);
		if (n <= 0)
			break;
		have += (size_t)n;
	}
	assert_int_equal(have, (sent + 100) * (sizeof line + 1) + 5);
	assert_memory_equal(got + have - 6, "\nlast\n", 6);
	channel_close(e.c);
	close(e.fd);
}

static void *read_slowly(void *arg)
{
	char buf[1000];
	int fd = *(int *)arg;
	size_t *total = calloc(1, sizeof *total);
	ssize_t n;

	while ((n = read(fd, buf, sizeof buf)) > 0) {
		*total += (size_t)n;
		usleep(100);
	}
	return total;
}

static void test_flush_waits_for_a_slow_reader(void **state)
{
	static char line[1000];
	struct ends e = make();
	pthread_t t;
	void *total;

	(void)state;
	memset(line, 'f', sizeof line);
	for (int i = 0; i < 1000; i++)
		assert_true(channel_send(e.c, CHANNEL_FINAL, line, sizeof line));
	assert_false(channel_flush(e.c, 10));	/* nobody reads */
	pthread_create(&t, NULL, read_slowly, &e.fd);
	assert_true(channel_flush(e.c, 20000));
	channel_close(e.c);
	pthread_join(t, &total);
	assert_int_equal(*(size_t *)total, 1000 * (sizeof line + 1));
	free(total);
	close(e.fd);
}

static void test_reader_gone(void **state)
{
	struct ends e = make();
	char buf[32];

	(void)state;
	close(e.fd);
	channel_send(e.c, CHANNEL_FINAL, "x", 1);
	assert_false(channel_send(e.c, CHANNEL_FINAL, "x", 1));
	assert_true(channel_flush(e.c, 1000));	/* nothing to wait for */
	assert_int_equal(channel_receive(e.c, buf, sizeof buf), -EPIPE);
	channel_close(e.c);
}

static void feed(struct ends *e, const char *text)
{
	assert_int_equal(write(e->fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void test_commands(void **state)
{
	struct ends e = make();
	char buf[16], longer[2000];

	(void)state;
	assert_int_equal(channel_receive(e.c, buf, sizeof buf), 0);
	feed(&e, "st");
	assert_int_equal(channel_receive(e.c, buf, sizeof buf), 0);
	feed(&e, "op\nnext\n");
	assert_int_equal(channel_receive(e.c, buf, sizeof buf), 1);
	assert_string_equal(buf, "stop");
	assert_int_equal(channel_receive(e.c, buf, sizeof buf), 1);
	assert_string_equal(buf, "next");
	memset(longer, 'x', sizeof longer - 1);
	longer[sizeof longer - 1] = 0;
	feed(&e, longer);	/* dropped, however it is cut */
	assert_int_equal(channel_receive(e.c, buf, sizeof buf), 0);
	feed(&e, "tail\nafter\n0123456789abcdef\nend\n");
	assert_int_equal(channel_receive(e.c, buf, sizeof buf), 1);
	assert_string_equal(buf, "after");
	assert_int_equal(channel_receive(e.c, buf, sizeof buf), 1);
	assert_string_equal(buf, "end");
	close(e.fd);
	assert_int_equal(channel_receive(e.c, buf, sizeof buf), -EPIPE);
	channel_close(e.c);
}

static void test_event_lines(void **state)
{
	struct ends e = make();
	struct events ev = { .channel = e.c, .started = clock_mono() - 1500 * CLOCK_MS };
	char buf[2000];
	json_t *o;
	ssize_t n;

	(void)state;
	events_emit(&ev, CHANNEL_FINAL, "error", events_fields_text("bad \xff\n name"));
	n = read(e.fd, buf, sizeof buf);
	assert_true(n > 0 && buf[n - 1] == '\n');
	o = json_loadb(buf, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(o);
	assert_string_equal(json_string_value(json_object_get(o, "event")), "error");
	assert_string_equal(json_string_value(json_object_get(o, "text")), "bad \\xff\\x0a name");
	assert_true(json_real_value(json_object_get(o, "seconds")) >= 1.5);
	n = (ssize_t)strlen(json_string_value(json_object_get(o, "time")));
	assert_int_equal(n, strlen("2026-11-22T10:11:12.123Z"));
	json_decref(o);
	channel_close(e.c);
	close(e.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_not_a_socket),
		cmocka_unit_test(test_stopped_reader),
		cmocka_unit_test(test_flush_waits_for_a_slow_reader),
		cmocka_unit_test(test_reader_gone),
		cmocka_unit_test(test_commands),
		cmocka_unit_test(test_event_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
