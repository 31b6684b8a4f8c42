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
#define REPLY_HASTE_MS 1000	/* the same once the request has been cancelled */
#define REPLY_GRACE_MS 5000	/* what is short and cannot be continued may be finished in this time */

struct reply {
	int fd;			/* a stream socket */
	uint64_t started;	/* clock_mono() */
	unsigned stall_ms;
	bool gone;
	_Atomic(uint64_t) cancelled;	/* when; 0: not */
};

void reply_init(struct reply *r, int fd);

/* fields (or NULL) are consumed, also on failure.  False: the reader is gone. */
bool reply_send(struct reply *r, const char *kind, json_t *fields);

/* error 0: "done" with the fields; -EINTR: "stopped"; else "error".  The text comes from e. */
void reply_end(struct reply *r, int error, const struct err *e, json_t *fields);

/* Has the request been withdrawn: by reply_cancel(), or because the other end was closed (for writing, at least)? */
bool reply_withdrawn(struct reply *r);
/* Was it cancelled REPLY_GRACE_MS ago? */
bool reply_overdue(struct reply *r);
/* From any thread: come to an end. */
void reply_cancel(struct reply *r);

/* A JSON string of any bytes and length (text_clean()). */
json_t *reply_text(const char *bytes);

#endif
