/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The answer to one request: JSON lines as in doc/events.md, to whoever asked.
 *
 * Sending waits for the reader, in the thread of the request, but not for ever: a reader that takes
 * nothing for REPLY_STALL_MS is given up.  From then on (and when it has closed its end) lines
 * are dropped and reply_send() says so; the caller stops when it sees fit.
 *
 * The last line is "done", "stopped" or "error": reply_end().
 *
 * Ownership: the descriptor is borrowed.  Threads: one at a time, but for reply_cancel().
 */
#ifndef DMM_WORKER_REPLY_H
#define DMM_WORKER_REPLY_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define REPLY_STALL_MS 30000

struct reply {
	int fd;			/* a stream socket */
	uint64_t started;	/* clock_mono() */
	unsigned stall_ms;
	bool gone;
	atomic_bool cancelled;
};

void reply_init(struct reply *r, int fd);

/* fields (or NULL) are consumed, also on failure.  False: the reader is gone. */
bool reply_send(struct reply *r, const char *kind, json_t *fields);

/* error 0: "done" with the fields; -EINTR: "stopped"; else "error".  The text comes from e. */
void reply_end(struct reply *r, int error, const struct err *e, json_t *fields);

/* Has the request been withdrawn: by reply_cancel(), or because the other end was closed (for writing, at least)? */
bool reply_withdrawn(struct reply *r);
/* From any thread: nothing more is wanted. */
void reply_cancel(struct reply *r);

/* A JSON string of any bytes and length (text_clean()). */
json_t *reply_text(const char *bytes);

#endif
