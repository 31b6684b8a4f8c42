/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What is known about the running migration: the last status, rates and the
 * estimate, taken from the events.  Displays only read it.
 *
 * Invariant: a missing or wrong field of an event leaves the old value; nothing an
 * event says can fail here.
 */
#ifndef DMM_CTL_VIEW_H
#define DMM_CTL_VIEW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "eta.h"

#define VIEW_STALLED_MAX 3
#define VIEW_PATH 1024

struct view_rate {
	bool begun;
	uint64_t last;
	double per_second;	/* smoothed */
};

struct view_stalled {
	int pid;
	char comm[64], op[24];
	double waiting;		/* seconds */
};

struct view {
	char source[VIEW_PATH], target[VIEW_PATH], state[VIEW_PATH];
	int worker;			/* pid, 0 unknown */
	bool have_status;
	double seconds;			/* of the last event */
	char phase[24];
	uint64_t found_objects, found_bytes, here_objects, here_bytes, landed_bytes;
	uint64_t expected_objects, expected_bytes, directories_left;
	uint64_t quarantined, deleted, overwritten, shadowed;
	uint64_t demand_requests, demand_bytes, background_bytes, dropped;
	bool discovery_done, target_full, catalog_full, source_connected;
	char trouble[200];
	double trouble_since;
	unsigned stalled_count;		/* as many as the event named */
	struct view_stalled stalled[VIEW_STALLED_MAX];
	char obstacle[300];		/* what keeps the detach waiting */

	double status_t;		/* of the last status */
	struct view_rate demand_rate, demand_request_rate, background_rate, object_rate;
	struct eta eta;
};

void view_init(struct view *v);
void view_apply(struct view *v, json_t *event);

/* The strings and numbers of an event, with a default. */
const char *view_string(json_t *event, const char *key, const char *otherwise);
double view_number(json_t *event, const char *key, double otherwise);

/* "12 min 3 s to 40 min", "at least 5 min, at most 2 h", "not known yet" ...; returns buf. */
char *view_remaining(const struct view *v, char *buf, size_t n);

/* What the migration is called on a command line: its name below /var/lib/dmm or its state directory, quoted if need be; returns buf. */
char *view_name(const struct view *v, char *buf, size_t n);

#endif
