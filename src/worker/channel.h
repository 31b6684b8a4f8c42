/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The worker's line to its display: lines of text out, short commands in.
 *
 * Invariant: sending never waits.  A display that is slow, stopped or gone
 * costs lines, never time.
 *
 * A line has a rank.  A status line is left out when the reader has much
 * unread; a note when it has a lot unread; a final line (a milestone, or
 * the last word) always goes into memory and from there to the reader, which works
 * because there are only a handful.  What was left out is counted.
 *
 * Ownership: channel_open() takes the descriptor (a stream socket).
 * Threads: any.
 */
#ifndef DMM_WORKER_CHANNEL_H
#define DMM_WORKER_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CHANNEL_STATUS_ROOM 65536u	/* bytes unread above which status lines are left out */
#define CHANNEL_NOTE_ROOM 262144u	/* the same for notes */

enum channel_rank { CHANNEL_STATUS, CHANNEL_NOTE, CHANNEL_FINAL };

struct channel;

int channel_open(int fd, struct channel **out, struct err *e);
void channel_close(struct channel *c);
int channel_fd(const struct channel *c);	/* for poll(POLLIN) */

/* A line without its newline.  False: left out (and counted), or nobody is there any more. */
bool channel_send(struct channel *c, enum channel_rank rank, const char *line, size_t n);
/* Try to hand over what is still in memory; wait for it up to timeout_ms (0: only try). */
bool channel_flush(struct channel *c, int timeout_ms);
uint64_t channel_dropped(struct channel *c);

/* Next command: 1 with a line in buf; 0 none yet; -EPIPE the other end is gone.
 * A line that does not fit into n bytes is dropped (a bad peer cannot grow us). */
int channel_receive(struct channel *c, char *buf, size_t n);

#endif
