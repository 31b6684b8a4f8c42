/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One question about a migration: a worker process is started for it (dmm-worker --job), gets the request as
 * a line of JSON, and answers with event lines (doc/events.md, "Requests").
 *
 * Ctrl-C: a request that can be continued later is withdrawn, and ends with "stopped"; any other is cut off, nothing of
 * it needs an orderly end.
 */
#ifndef DMM_CTL_ASK_H
#define DMM_CTL_ASK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct ask {
	const char *what;	/* STATE|NAME as the user said it */
	json_t *request;	/* consumed */
	bool json;		/* print the lines as they are; event() sees them all the same */
	bool resumable;
	/* Each event, the final ones "done", "stopped" and "error" too. */
	void (*event)(void *arg, const char *kind, json_t *event);
	void *arg;
};

/* EXITS_DONE after "done", else FAILED, STOPPED or WORKER_DIED with the line on standard error. */
int ask_run(struct ask *a);

/* A JSON string of any bytes: what is not printable ASCII, and the backslash, become \xNN. */
json_t *ask_bytes(const char *bytes);

#endif
