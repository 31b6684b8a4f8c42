/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Events as JSON lines; doc/events.md says what they mean.
 *
 * Threads: any.  Ownership: `fields` (a JSON object, or NULL for none) is consumed, also on failure.
 */
#ifndef DMM_WORKER_EVENTS_H
#define DMM_WORKER_EVENTS_H

#include <jansson.h>
#include <stdint.h>

#include "channel.h"

struct events {
	struct channel *channel;
	uint64_t started;	/* clock_mono() */
};

/* Adds event, time and seconds in front.  A NULL `fields` where some were meant (out of
 * memory) costs the fields, not the event. */
void events_emit(struct events *ev, enum channel_rank rank, const char *kind, json_t *fields);

/* The line itself, with its newline; the caller frees it.  NULL: no memory.  fields stay the caller's. */
char *events_line(const char *kind, double seconds, json_t *fields);

/* A JSON string of any bytes (text_clean()). */
json_t *events_text(const char *bytes);

/* {"text": ...} of any bytes. */
json_t *events_fields_text(const char *bytes);

#endif
