/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK 65536

void reader_init(struct reader *r, int fd)
{
	*r = (struct reader){ .fd = fd };
}

void reader_free(struct reader *r)
{
	free(r->buf);
	r->buf = NULL;
}

/* Lines before `scanned` have been handed out. */
static void compact(struct reader *r)
{
	if (!r->scanned)
		return;
	r->len -= r->scanned;
	memmove(r->buf, r->buf + r->scanned, r->len);
	r->scanned = 0;
}

static int make_room(struct reader *r)
{
	char *p;

	compact(r);
	if (r->len > READER_LINE_MAX) {
		r->len = 0;
		r->skipping = 1;
	}
	if (r->room - r->len >= CHUNK)
		return 0;
	p = realloc(r->buf, r->len + CHUNK);
	if (!p)
		return -ENOMEM;
	r->buf = p;
	r->room = r->len + CHUNK;
	return 0;
}

int reader_fill(struct reader *r)
{
	ssize_t n;

	if (make_room(r))
		return -EPIPE;
	do
		n = recv(r->fd, r->buf + r->len, r->room - r->len, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		r->len += (size_t)n;
	if (n > 0)
		return 1;
	return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? 0 : -EPIPE;
}

static json_t *parse(struct reader *r, const char *line, size_t n)
{
	json_t *o = json_loadb(line, n, JSON_REJECT_DUPLICATES, NULL);

	if (o && json_is_string(json_object_get(o, "event")))
		return o;
	json_decref(o);
	r->bad++;
	return NULL;
}

json_t *reader_next(struct reader *r, const char **line)
{
	for (;;) {
		char *start = r->buf + r->scanned;
		char *nl = r->len > r->scanned ? memchr(start, '\n', r->len - r->scanned) : NULL;
		json_t *o;

		if (!nl)
			return NULL;
		r->scanned += (size_t)(nl - start) + 1;
		*nl = 0;
		if (r->skipping) {
			r->skipping = 0;
			r->bad++;
			continue;
		}
		o = parse(r, start, (size_t)(nl - start));
		if (o) {
			*line = start;
			return o;
		}
	}
}
