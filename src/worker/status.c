/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "status.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "events.h"
#include "opcount.h"
#include "process.h"

#define STALLED_MAX 8
#define HOLDERS_SEEN 1024
#define HOLDERS_TOLD 16

#define I(x) ((json_int_t)(x))

static json_t *lane_ops(const uint64_t counts[OPCOUNT_OPS])
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}",
			 "getattr", I(counts[SOURCE_GETATTR]), "lookup", I(counts[SOURCE_LOOKUP]),
			 "readdir", I(counts[SOURCE_READDIR]),
			 "readlink", I(counts[SOURCE_READLINK]), "read", I(counts[SOURCE_READ]),
			 "statfs", I(counts[SOURCE_STATFS]));
}

static json_t *source_fields(struct source *opcount, const struct source_stats *s)
{
	json_t *o = json_pack("{s:b, s:o, s:I, s:I, s:I, s:I, s:I, s:I}",
			      "connected", s->connected, "trouble", events_text(s->trouble),
			      "demand_requests", I(s->requests[SOURCE_DEMAND]),
			      "background_requests", I(s->requests[SOURCE_BACKGROUND]),
			      "demand_bytes", I(s->bytes[SOURCE_DEMAND]),
			      "background_bytes", I(s->bytes[SOURCE_BACKGROUND]),
			      "reconnects", I(s->reconnects), "retries", I(s->retries));
	uint64_t counts[2][OPCOUNT_OPS];

	if (!opcount || !o)
		return o;
	opcount_read(opcount, counts);
	json_object_set_new(o, "ops", json_pack("{s:o, s:o}",
						"demand", lane_ops(counts[SOURCE_DEMAND]),
						"background", lane_ops(counts[SOURCE_BACKGROUND])));
	return o;
}

static json_t *mount_fields(struct fusefs *f)
{
	struct fusefs_status s;

	fusefs_status(f, &s);
	return json_pack("{s:I, s:I, s:I, s:I, s:b, s:b}", "nodes", I(s.nodes),
			 "open_slow", I(s.open_slow), "open_passthrough", I(s.open_passthrough),
			 "parked", I(s.parked), "passthrough", s.passthrough, "resend", s.resend);
}

static json_t *stalled_fields(struct fusefs *f)
{
	struct fusefs_stalled s[STALLED_MAX];
	unsigned n = f ? fusefs_stalled(f, s, STALLED_MAX) : 0;
	uint64_t now = clock_mono();
	json_t *list = json_array();

	for (unsigned i = 0; i < n; i++) {
		uint64_t waiting = now > s[i].since ? now - s[i].since : 0;
		char comm[17];

		process_comm(s[i].pid, comm);
		json_array_append_new(list, json_pack("{s:i, s:o, s:s, s:f}", "pid", (int)s[i].pid,
						      "comm", events_text(comm), "op", s[i].op,
						      "waiting",
						      (double)(waiting / CLOCK_MS) / 1000));
	}
	return list;
}

static json_t *progress_fields(const struct engine_progress *p, const char *phase)
{
	json_t *o = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:I}",
			      "phase", phase,
			      "found_objects", I(p->found_objects), "found_bytes", I(p->found_bytes),
			      "here_objects", I(p->here_objects), "here_bytes", I(p->here_bytes),
			      "landed_bytes", I(p->landed_bytes),
			      "expected_objects", I(p->expected_objects),
			      "expected_bytes", I(p->expected_bytes),
			      "discovery_done", status_found_all(p),
			      "directories_left", I(p->directories_left));
	json_t *more = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:b, s:b}",
				 "quarantined", I(p->quarantined), "deleted", I(p->deleted),
				 "overwritten", I(p->overwritten), "shadowed", I(p->shadowed),
				 "demand_requests", I(p->demand_requests),
				 "demand_bytes", I(p->demand_bytes),
				 "background_bytes", I(p->background_bytes),
				 "target_full", p->target_full, "catalog_full", p->catalog_full, "all_here", p->all_here);

	json_object_update(o, more);
	json_decref(more);
	return o;
}

json_t *status_fields(const struct status_view *v, const struct engine_progress *p,
		      const char *phase, uint64_t dropped)
{
	json_t *o = progress_fields(p, phase);

	if (!o)
		return NULL;
	json_object_set_new(o, "source", source_fields(v->opcount, &p->source));
	if (v->fusefs)
		json_object_set_new(o, "mount", mount_fields(v->fusefs));
	json_object_set_new(o, "stalled", stalled_fields(v->fusefs));
	json_object_set_new(o, "dropped_events", json_integer(I(dropped)));
	return o;
}

/* A directory counts as listed in the commit that records the last of its names. */
bool status_found_all(const struct engine_progress *p)
{
	return p->discovery_done ||
	       (p->found_objects && !p->directories_left && !p->quarantined);
}

bool status_only_errors_left(const struct engine_progress *p)
{
	return p->quarantined && !p->directories_left && !p->all_here &&
	       p->here_objects + p->quarantined >= p->found_objects;
}

static bool sits_inside(const struct fusefs_holder *h)
{
	return !strcmp(h->what, "cwd") || !strcmp(h->what, "root");
}

static json_t *holder(const struct fusefs_holder *h)
{
	return json_pack("{s:i, s:o, s:s, s:o}", "pid", (int)h->pid, "comm", events_text(h->comm),
			 "what", h->what, "path", events_text(h->path));
}

json_t *status_holders(struct fusefs *f, unsigned *inside)
{
	struct fusefs_holder *h = calloc(HOLDERS_SEEN, sizeof *h);
	unsigned n = h ? fusefs_holders(f, h, HOLDERS_SEEN) : 0;
	json_t *list = json_array();

	*inside = 0;
	for (int first = 1; first >= 0; first--)	/* those that matter most first */
		for (unsigned i = 0; i < n; i++) {
			if (sits_inside(&h[i]) != first)
				continue;
			*inside += (unsigned)first;
			if (json_array_size(list) < HOLDERS_TOLD)
				json_array_append_new(list, holder(&h[i]));
		}
	free(h);
	return list;
}

json_t *status_ledger(struct catalog *c, uint64_t *found_bytes)
{
	struct catalog_counters n;
	uint64_t found = 0;

	*found_bytes = 0;
	if (catalog_counters(c, &n))
		return NULL;
	for (int i = 0; i < CATALOG_STATE_COUNT; i++) {
		found += n.objects[i];
		*found_bytes += n.bytes[i];
	}
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
			 "migrated", I(n.objects[CATALOG_MIGRATED]),
			 "overwritten", I(n.objects[CATALOG_OVERWRITTEN]),
			 "deleted", I(n.objects[CATALOG_DELETED]),
			 "shadowed", I(n.objects[CATALOG_SHADOWED]),
			 "excluded", I(n.objects[CATALOG_EXCLUDED]),
			 "failed", I(n.objects[CATALOG_FAILED]), "found", I(found));
}
