/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

struct connection {
	struct control *control;
	pthread_t thread;
	bool used, ended;	/* the control's lock */
	int fd;
	struct reply reply;
};

struct control {
	int dir, fd, wake;	/* the state directory (O_PATH), the listening socket, an eventfd */
	control_handler *handle;
	void *arg;
	pthread_t thread;
	pthread_mutex_t lock;
	struct connection connections[CONTROL_MAX];
};

/* ---- addresses ---- */

/* Any path fits into sun_path this way. */
static int open_state(const char *state, struct sockaddr_un *a)
{
	int dir = open(state, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return -errno;
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(a->sun_path, sizeof a->sun_path, "/proc/self/fd/%d/" CONTROL_SOCKET, dir);
	return dir;
}

int control_connect(const char *state)
{
	struct sockaddr_un a;
	_cleanup_close_ int dir = open_state(state, &a);
	int fd;

	if (dir < 0)
		return dir;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&a, sizeof a)) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd;
}

static int listen_at(struct control *c, const char *state, struct err *e)
{
	struct sockaddr_un a;

	c->dir = open_state(state, &a);
	if (c->dir < 0)
		return err_sys(e, c->dir, "%s", state);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd < 0)
		return err_sys(e, errno, "socket");
	if (unlinkat(c->dir, CONTROL_SOCKET, 0) && errno != ENOENT)
		return err_sys(e, errno, "%s/" CONTROL_SOCKET, state);
	if (bind(c->fd, (struct sockaddr *)&a, sizeof a) || fchmodat(c->dir, CONTROL_SOCKET, 0600, 0) ||
	    listen(c->fd, CONTROL_MAX))
		return err_sys(e, errno, "%s/" CONTROL_SOCKET, state);
	return 0;
}

/* ---- requests ---- */

static json_t *parse(const char *line, size_t n)
{
	json_t *o = json_loadb(line, n, JSON_REJECT_DUPLICATES, NULL);

	if (o && json_is_string(json_object_get(o, "request")))
		return o;
	json_decref(o);
	return NULL;
}

/* More bytes before the deadline: their number, or -errno. */
static ssize_t receive(int fd, char *buf, size_t n, uint64_t deadline)
{
	uint64_t now = clock_mono();
	struct pollfd p = { .fd = fd, .events = POLLIN };
	ssize_t did;

	if (now >= deadline)
		return -ETIMEDOUT;
	if (poll(&p, 1, (int)((deadline - now) / CLOCK_MS) + 1) <= 0)
		return -EAGAIN;
	did = recv(fd, buf, n, MSG_DONTWAIT);
	if (did > 0)
		return did;
	return did < 0 && (errno == EAGAIN || errno == EINTR) ? -EAGAIN : -EPIPE;
}

int control_read(int fd, int timeout_ms, json_t **out)
{
	uint64_t deadline = clock_mono() + (uint64_t)timeout_ms * CLOCK_MS;
	_cleanup_free_ char *buf = malloc(CONTROL_LINE_MAX);
	size_t have = 0;
	char *nl = NULL;

	if (!buf)
		return -ENOMEM;
	while (!nl) {
		ssize_t n = have < CONTROL_LINE_MAX ? receive(fd, buf + have, CONTROL_LINE_MAX - have, deadline)
						    : -EMSGSIZE;

		if (n == -EAGAIN)
			continue;
		if (n < 0)
			return (int)n;
		nl = memchr(buf + have, '\n', (size_t)n);
		have += (size_t)n;
	}
	*out = parse(buf, (size_t)(nl - buf));
	return *out ? 0 : -EBADMSG;
}

const char *control_name(json_t *request)
{
	return json_string_value(json_object_get(request, "request"));
}

/* ---- connections ---- */

static void refuse(struct reply *r, int code)
{
	struct err e = { 0 };

	if (code == -EMSGSIZE)
		err_set(&e, EMSGSIZE, "a request is one line of at most %d bytes", CONTROL_LINE_MAX);
	else if (code == -EBADMSG)
		err_set(&e, EBADMSG, "not a request: wants one JSON object with a string \"request\"");
	else
		return;		/* nobody there who could read it */
	reply_end(r, code, &e, NULL);
}

static void *serve(void *arg)
{
	struct connection *n = arg;
	struct control *c = n->control;
	json_t *request = NULL;
	int r = control_read(n->fd, CONTROL_READ_MS, &request);

	if (r)
		refuse(&n->reply, r);
	else
		c->handle(c->arg, &n->reply, request);
	json_decref(request);
	pthread_mutex_lock(&c->lock);
	close(n->fd);
	n->ended = true;
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

static bool may_ask(int fd)
{
	struct ucred peer;
	socklen_t n = sizeof peer;

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) && (!peer.uid || peer.uid == geteuid());
}

/* Without waiting: the accepting thread serves everybody. */
static void turn_away(int fd, int code, const char *why)
{
	struct err e = { 0 };
	struct reply r;

	reply_init(&r, fd);
	r.stall_ms = 0;
	reply_end(&r, err_set(&e, code, "%s", why), &e, NULL);
	close(fd);
}

static struct connection *free_connection(struct control *c)
{
	struct connection *found = NULL;

	pthread_mutex_lock(&c->lock);
	for (int i = 0; i < CONTROL_MAX; i++) {
		struct connection *n = &c->connections[i];

		if (n->used && n->ended) {
			pthread_join(n->thread, NULL);	/* its last act was to say so */
			n->used = false;
		}
		if (!n->used)
			found = n;
	}
	pthread_mutex_unlock(&c->lock);
	return found;
}

static void take(struct control *c, int fd)
{
	struct connection *n;

	if (!may_ask(fd)) {
		turn_away(fd, EPERM, "only root may ask");
		return;
	}
	n = free_connection(c);
	if (!n) {
		turn_away(fd, EBUSY, "too many requests at once; try again");
		return;
	}
	n->control = c;
	n->fd = fd;
	n->ended = false;
	reply_init(&n->reply, fd);
	if (pthread_create(&n->thread, NULL, serve, n)) {
		turn_away(fd, ENOMEM, "no thread for this request");
		return;
	}
	pthread_mutex_lock(&c->lock);
	n->used = true;
	pthread_mutex_unlock(&c->lock);
}

static void *accept_all(void *arg)
{
	struct control *c = arg;

	for (;;) {
		struct pollfd p[] = { { .fd = c->wake, .events = POLLIN }, { .fd = c->fd, .events = POLLIN } };
		int fd;

		poll(p, 2, -1);
		if (p[0].revents)
			return NULL;
		fd = p[1].revents ? accept4(c->fd, NULL, NULL, SOCK_CLOEXEC) : -1;
		if (fd >= 0)
			take(c, fd);
		else if (p[1].revents && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			poll(p, 1, 100);	/* no descriptors, no memory: not in a busy loop */
	}
}

/* ---- up and down ---- */

static void free_control(struct control *c)
{
	cleanup_close(&c->fd);
	cleanup_close(&c->wake);
	cleanup_close(&c->dir);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

int control_start(const char *state, control_handler *handle, void *arg, struct control **out, struct err *e)
{
	struct control *c = calloc(1, sizeof *c);
	int r;

	if (!c)
		return err_sys(e, ENOMEM, "control");
	c->dir = c->fd = -1;
	c->handle = handle;
	c->arg = arg;
	pthread_mutex_init(&c->lock, NULL);
	c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = c->wake < 0 ? err_sys(e, errno, "eventfd") : listen_at(c, state, e);
	if (!r) {
		r = pthread_create(&c->thread, NULL, accept_all, c);
		r = r ? err_sys(e, r, "control") : 0;
	}
	if (r) {
		free_control(c);
		return r;
	}
	*out = c;
	return 0;
}

static void withdraw_all(struct control *c)
{
	pthread_mutex_lock(&c->lock);
	for (int i = 0; i < CONTROL_MAX; i++) {
		struct connection *n = &c->connections[i];

		if (!n->used || n->ended)
			continue;
		reply_cancel(&n->reply);
		shutdown(n->fd, SHUT_RD);	/* one that is still being read */
	}
	pthread_mutex_unlock(&c->lock);
	for (int i = 0; i < CONTROL_MAX; i++)
		if (c->connections[i].used)
			pthread_join(c->connections[i].thread, NULL);
}

void control_end(struct control *c)
{
	if (!c)
		return;
	eventfd_write(c->wake, 1);
	pthread_join(c->thread, NULL);
	unlinkat(c->dir, CONTROL_SOCKET, 0);
	withdraw_all(c);
	free_control(c);
}
