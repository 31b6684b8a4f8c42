/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

#define COMMAND_MAX 256

struct channel {
	int fd;
	pthread_mutex_t lock;
	bool gone;		/* the reader has left */
	uint64_t dropped;
	char *out;		/* not handed over yet */
	size_t out_len, out_room;
	char in[COMMAND_MAX];	/* an unfinished command; one reading thread */
	size_t in_len;
	bool in_skip;		/* inside a line that is too long */
};

int channel_open(int fd, struct channel **out, struct err *e)
{
	struct channel *c;
	int type = 0;
	socklen_t len = sizeof type;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) || type != SOCK_STREAM)
		return err_set(e, EINVAL, "descriptor %d is not the socket of a display; "
			       "dmm-worker is started by dmm run", fd);
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) || fcntl(fd, F_SETFL, O_NONBLOCK))
		return err_sys(e, errno, "descriptor %d", fd);
	c = calloc(1, sizeof *c);
	if (!c)
		return err_sys(e, ENOMEM, "channel");
	c->fd = fd;
	pthread_mutex_init(&c->lock, NULL);
	*out = c;
	return 0;
}

void channel_close(struct channel *c)
{
	if (!c)
		return;
	close(c->fd);
	pthread_mutex_destroy(&c->lock);
	free(c->out);
	free(c);
}

int channel_fd(const struct channel *c)
{
	return c->fd;
}

/* What the reader has not taken yet, in memory and in the kernel. */
static size_t unread(struct channel *c)
{
	int queued = 0;

	if (ioctl(c->fd, SIOCOUTQ, &queued))
		queued = 0;
	return c->out_len + (size_t)queued;
}

static void push(struct channel *c)
{
	size_t done = 0;

	while (done < c->out_len && !c->gone) {
		ssize_t n = send(c->fd, c->out + done, c->out_len - done,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n > 0)
			done += (size_t)n;
		else if (n < 0 && errno == EINTR)
			continue;
		else if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
			c->gone = true;
		else
			break;
	}
	if (c->gone)
		done = c->out_len;
	if (done)
		memmove(c->out, c->out + done, c->out_len - done);
	c->out_len -= done;
}

static bool append(struct channel *c, const char *line, size_t n)
{
	if (c->out_len + n + 1 > c->out_room) {
		size_t room = (c->out_len + n + 1) * 2;
		char *p = realloc(c->out, room);

		if (!p)
			return false;
		c->out = p;
		c->out_room = room;
	}
	memcpy(c->out + c->out_len, line, n);
	c->out[c->out_len + n] = '\n';
	c->out_len += n + 1;
	return true;
}

bool channel_send(struct channel *c, enum channel_rank rank, const char *line, size_t n)
{
	bool ok;

	pthread_mutex_lock(&c->lock);
	push(c);
	ok = !c->gone;
	if (rank == CHANNEL_STATUS)
		ok = ok && unread(c) + n < CHANNEL_STATUS_ROOM;
	else if (rank == CHANNEL_NOTE)
		ok = ok && unread(c) + n < CHANNEL_NOTE_ROOM;
	ok = ok && append(c, line, n);
	if (ok)
		push(c);
	else
		c->dropped++;
	pthread_mutex_unlock(&c->lock);
	return ok;
}

bool channel_flush(struct channel *c, int timeout_ms)
{
	uint64_t deadline = clock_mono() + (uint64_t)timeout_ms * CLOCK_MS;

	for (;;) {
		struct pollfd p = { .fd = c->fd, .events = POLLOUT };
		uint64_t now = clock_mono();
		bool empty;

		pthread_mutex_lock(&c->lock);
		push(c);
		empty = !c->out_len;
		pthread_mutex_unlock(&c->lock);
		if (empty || now >= deadline)
			return empty;
		poll(&p, 1, (int)((deadline - now) / CLOCK_MS) + 1);
	}
}

uint64_t channel_dropped(struct channel *c)
{
	uint64_t n;

	pthread_mutex_lock(&c->lock);
	n = c->dropped;
	pthread_mutex_unlock(&c->lock);
	return n;
}

/* Take one line out of the input buffer. */
static bool next_line(struct channel *c, char *buf, size_t n)
{
	char *nl;

	while ((nl = memchr(c->in, '\n', c->in_len))) {
		size_t len = (size_t)(nl - c->in);
		bool fits = !c->in_skip && len < n;

		if (fits) {
			memcpy(buf, c->in, len);
			buf[len] = 0;
		}
		c->in_skip = false;
		c->in_len -= len + 1;
		memmove(c->in, nl + 1, c->in_len);
		if (fits)
			return true;
	}
	if (c->in_len == sizeof c->in) {
		c->in_skip = true;
		c->in_len = 0;
	}
	return false;
}

int channel_receive(struct channel *c, char *buf, size_t n)
{
	for (;;) {
		ssize_t r;

		if (next_line(c, buf, n))
			return 1;
		r = recv(c->fd, c->in + c->in_len, sizeof c->in - c->in_len, MSG_DONTWAIT);
		if (r > 0)
			c->in_len += (size_t)r;
		else if (r == 0)
			return -EPIPE;
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
			return 0;
		else if (errno != EINTR)
			return -EPIPE;
	}
}
