/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "reply.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "events.h"
#include "text.h"

#define SLICE_MS 100

void reply_init(struct reply *r, int fd)
{
	*r = (struct reply){ .fd = fd, .started = clock_mono(), .stall_ms = REPLY_STALL_MS };
}

json_t *reply_text(const char *bytes)
{
	size_t room = 4 * strlen(bytes) + 1;	/* \xNN for each byte */
	_cleanup_free_ char *clean = malloc(room);

	return clean ? json_string(text_clean(clean, room, bytes)) : NULL;
}

/* Wait until the socket takes more; false: it did not for too long, or nobody is there. */
static bool wait_room(struct reply *r)
{
	struct pollfd p = { .fd = r->fd, .events = POLLOUT };
	int n;

	for (unsigned waited = 0; ; waited += SLICE_MS) {
		bool haste = atomic_load(&r->cancelled) && r->stall_ms > REPLY_HASTE_MS;
		unsigned limit = haste ? REPLY_HASTE_MS : r->stall_ms;

		n = poll(&p, 1, waited < limit ? SLICE_MS : 0);
		if (n > 0)
			return !(p.revents & (POLLHUP | POLLERR | POLLNVAL));
		if (waited >= limit)
			return false;
	}
}

static void push(struct reply *r, const char *data, size_t n)
{
	while (n && !r->gone) {
		ssize_t did = send(r->fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (did >= 0) {
			data += did;
			n -= (size_t)did;
		} else if (errno == EAGAIN || errno == EWOULDBLOCK) {
			r->gone = !wait_room(r);
		} else if (errno != EINTR) {
			r->gone = true;
		}
	}
}

bool reply_send(struct reply *r, const char *kind, json_t *fields)
{
	double seconds = (double)((clock_mono() - r->started) / CLOCK_MS) / 1000;
	_cleanup_free_ char *line = r->gone ? NULL : events_line(kind, seconds, fields);

	json_decref(fields);
	if (!line)
		return false;
	push(r, line, strlen(line));
	return !r->gone;
}

void reply_end(struct reply *r, int error, const struct err *e, json_t *fields)
{
	int code = abs(error);
	const char *name = code ? strerrorname_np(code) : NULL;

	if (!error) {
		reply_send(r, "done", fields);
		return;
	}
	json_decref(fields);
	if (error == -EINTR)
		reply_send(r, "stopped", json_pack("{s:o}", "text", reply_text(e->text)));
	else
		reply_send(r, "error", json_pack("{s:o, s:i, s:s}", "text", reply_text(e->text), "code", code,
						 "errno", name ? name : ""));
}

bool reply_withdrawn(struct reply *r)
{
	struct pollfd p = { .fd = r->fd, .events = POLLRDHUP };

	if (r->gone || atomic_load(&r->cancelled))
		return true;
	return poll(&p, 1, 0) > 0;
}

bool reply_overdue(struct reply *r)
{
	uint64_t when = atomic_load(&r->cancelled);

	return when && clock_mono() - when >= REPLY_GRACE_MS * CLOCK_MS;
}

void reply_cancel(struct reply *r)
{
	atomic_store(&r->cancelled, clock_mono());
}
