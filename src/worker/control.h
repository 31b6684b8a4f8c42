/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The control socket of a running worker: STATE/control.sock.
 *
 * One connection carries one request, a JSON object on one line, and its reply (reply.h).  The
 * protocol of the master will take its place; so this stays small: what the requests mean
 * is the handler's business (requests.h), here are only connections.
 *
 * Who may ask: root, and the worker's own user (SO_PEERCRED; the file is 0600).  A request that is too long,
 * too slow or no JSON object loses its connection and nothing else happens.  At most CONTROL_MAX
 * connections are served at once, each by a thread of its own; the next ones are refused.
 *
 * The socket is made by the holder of the catalog's lock, so one that is found there is stale.
 */
#ifndef DMM_WORKER_CONTROL_H
#define DMM_WORKER_CONTROL_H

#include <jansson.h>

#include "base/err.h"
#include "reply.h"

#define CONTROL_SOCKET "control.sock"
#define CONTROL_MAX 8
#define CONTROL_LINE_MAX 65536		/* bytes of a request, with its newline */
#define CONTROL_READ_MS 10000		/* for the whole request to come */

struct control;

/* Serves one request: ends with reply_end().  Called in the connection's thread. */
typedef void control_handler(void *arg, struct reply *r, json_t *request);

int control_start(const char *state, control_handler *handle, void *arg, struct control **out, struct err *e);
/* Requests are withdrawn and waited for, then the socket is gone. NULL is allowed. */
void control_end(struct control *c);

/* A connected socket, or -errno: -ENOENT and -ECONNREFUSED when no worker is there. */
int control_connect(const char *state);

/* Read a request within the time.  0 with *out (the caller's); -EPIPE: closed before the end of the line;
 * -ETIMEDOUT; -EMSGSIZE; -EBADMSG: not a JSON object with a string "request". */
int control_read(int fd, int timeout_ms, json_t **out);
/* The name of a request that control_read() has accepted. */
const char *control_name(json_t *request);

#endif
