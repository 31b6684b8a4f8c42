/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "view.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"

#define RATE_TAU 5.0	/* seconds */

const char *view_string(json_t *event, const char *key, const char *otherwise)
{
	const char *s = json_string_value(json_object_get(event, key));

	return s ? s : otherwise;
}

double view_number(json_t *event, const char *key, double otherwise)
{
	json_t *n = json_object_get(event, key);

	return json_is_number(n) ? json_number_value(n) : otherwise;
}

static void take_text(json_t *o, const char *key, char *buf, size_t n)
{
	const char *s = view_string(o, key, NULL);

	if (s)
		snprintf(buf, n, "%s", s);
}

static void take_count(json_t *o, const char *key, uint64_t *v)
{
	json_t *n = json_object_get(o, key);

	if (json_is_integer(n) && json_integer_value(n) >= 0)
		*v = (uint64_t)json_integer_value(n);
}

static void take_bool(json_t *o, const char *key, bool *v)
{
	json_t *b = json_object_get(o, key);

	if (json_is_boolean(b))
		*v = json_is_true(b);
}

static void rate(struct view_rate *r, uint64_t now, double dt)
{
	if (r->begun && dt > 0) {
		double keep = exp(-dt / RATE_TAU);
		double seen = now > r->last ? (double)(now - r->last) / dt : 0;

		r->per_second = r->per_second * keep + seen * (1 - keep);
	}
	r->begun = true;
	r->last = now;
}

static void take_counts(struct view *v, json_t *o)
{
	take_text(o, "phase", v->phase, sizeof v->phase);
	take_count(o, "found_objects", &v->found_objects);
	take_count(o, "found_bytes", &v->found_bytes);
	take_count(o, "here_objects", &v->here_objects);
	take_count(o, "here_bytes", &v->here_bytes);
	take_count(o, "landed_bytes", &v->landed_bytes);
	take_count(o, "expected_objects", &v->expected_objects);
	take_count(o, "expected_bytes", &v->expected_bytes);
	take_count(o, "directories_left", &v->directories_left);
	take_count(o, "quarantined", &v->quarantined);
	take_count(o, "deleted", &v->deleted);
	take_count(o, "overwritten", &v->overwritten);
	take_count(o, "shadowed", &v->shadowed);
	take_count(o, "demand_requests", &v->demand_requests);
	take_count(o, "demand_bytes", &v->demand_bytes);
	take_count(o, "background_bytes", &v->background_bytes);
	take_count(o, "dropped_events", &v->dropped);
	take_bool(o, "discovery_done", &v->discovery_done);
	take_bool(o, "target_full", &v->target_full);
	take_bool(o, "catalog_full", &v->catalog_full);
}

static void take_source(struct view *v, json_t *source)
{
	bool was = v->source_connected;

	take_bool(source, "connected", &v->source_connected);
	take_text(source, "trouble", v->trouble, sizeof v->trouble);
	if (was && !v->source_connected)
		v->trouble_since = v->seconds;
}

static void take_stalled(struct view *v, json_t *list)
{
	size_t n = json_array_size(list);

	v->stalled_count = (unsigned)n;
	for (size_t i = 0; i < n && i < VIEW_STALLED_MAX; i++) {
		json_t *o = json_array_get(list, i);
		struct view_stalled *s = &v->stalled[i];

		s->pid = (int)view_number(o, "pid", 0);
		s->waiting = view_number(o, "waiting", 0);
		snprintf(s->comm, sizeof s->comm, "%s", view_string(o, "comm", "?"));
		snprintf(s->op, sizeof s->op, "%s", view_string(o, "op", "?"));
	}
}

static void estimate(struct view *v)
{
	struct eta_sample s = {
		.t = v->seconds,
		.found_objects = v->found_objects,
		.found_bytes = v->found_bytes,
		.here_objects = v->here_objects + v->quarantined,	/* nobody works on those */
		.here_bytes = v->here_bytes + v->landed_bytes,
		.expected_objects = v->expected_objects,
		.expected_bytes = v->expected_bytes,
		.discovery_done = v->discovery_done,
		.source_answers = v->source_connected,
		.target_full = v->target_full,
	};

	eta_add(&v->eta, &s);
}

static void take_status(struct view *v, json_t *o)
{
	double dt = v->seconds - v->status_t;

	take_counts(v, o);
	take_source(v, json_object_get(o, "source"));
	take_stalled(v, json_object_get(o, "stalled"));
	rate(&v->demand_rate, v->demand_bytes, dt);
	rate(&v->demand_request_rate, v->demand_requests, dt);
	rate(&v->background_rate, v->background_bytes, dt);
	rate(&v->object_rate, v->here_objects, dt);
	v->status_t = v->seconds;
	v->have_status = true;
	estimate(v);
}

static void take_obstacle(struct view *v, json_t *o)
{
	json_t *list = json_object_get(o, "holders"), *h;
	size_t i, used = 0;
	double slow = view_number(o, "open_slow", 0);

	v->obstacle[0] = 0;
	if (slow > 0)
		used = (size_t)snprintf(v->obstacle, sizeof v->obstacle,
					"%.0f open file(s) that were opened before they were here; ",
					slow);
	json_array_foreach(list, i, h) {
		if (i == 3 || used >= sizeof v->obstacle)
			break;
		used += (size_t)snprintf(v->obstacle + used, sizeof v->obstacle - used,
					 "%s%.0f (%s) %s %s", i ? ", " : "",
					 view_number(h, "pid", 0), view_string(h, "comm", "?"),
					 view_string(h, "what", "?"), view_string(h, "path", ""));
	}
}

static void take_start(struct view *v, json_t *o)
{
	take_text(o, "source", v->source, sizeof v->source);
	take_text(o, "target", v->target, sizeof v->target);
	take_text(o, "state", v->state, sizeof v->state);
	v->worker = (int)view_number(o, "pid", 0);
}

/* Milestones say more about the phase than the status before them. */
static void take_milestone(struct view *v, json_t *o)
{
	take_text(o, "event", v->phase, sizeof v->phase);
}

static void take_mounted(struct view *v, json_t *o)
{
	(void)o;
	strcpy(v->phase, "migrating");
}

void view_init(struct view *v)
{
	memset(v, 0, sizeof *v);
	v->source_connected = true;
	strcpy(v->phase, "starting");
	eta_init(&v->eta);
}

void view_apply(struct view *v, json_t *event)
{
	static const struct {
		const char *kind;
		void (*take)(struct view *v, json_t *event);
	} table[] = {
		{ "starting", take_start },
		{ "mounted", take_mounted },
		{ "status", take_status },
		{ "detach-waiting", take_obstacle },
		{ "detached", take_milestone },
		{ "finished", take_milestone },
		{ "stopping", take_milestone },
		{ "stopped", take_milestone },
	};
	const char *kind = view_string(event, "event", "");

	v->seconds = view_number(event, "seconds", v->seconds);
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
		if (!strcmp(kind, table[i].kind))
			table[i].take(v, event);
}

char *view_name(const struct view *v, char *buf, size_t n)
{
	static const char base[] = "/var/lib/dmm/";
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+,:@%=";
	const char *name = v->state;
	bool below = !strncmp(name, base, sizeof base - 1) && name[sizeof base - 1] && !strchr(name + sizeof base - 1, '/');
	size_t used = 0;

	if (below)
		name += sizeof base - 1;
	if (!name[strspn(name, plain)]) {
		snprintf(buf, n, "%s", *name ? name : "STATE");
		return buf;
	}
	buf[used++] = '\'';
	for (; *name && used + 6 < n; name++) {
		if (*name == '\'')
			used += (size_t)snprintf(buf + used, n - used, "'\\'");
		buf[used++] = *name;
	}
	snprintf(buf + used, n - used, "'");
	return buf;
}

/* Two significant digits are more than anybody can know. */
static uint64_t coarse(double seconds)
{
	static const unsigned steps[] = { 1, 5, 10, 60, 300, 600, 3600 };
	unsigned step = 1;

	for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
		if (seconds >= 20.0 * steps[i])
			step = steps[i];
	return (uint64_t)(seconds / step + 0.5) * step;
}

char *view_remaining(const struct view *v, char *buf, size_t n)
{
	char low[40], high[40];
	struct eta_range r;

	if (!strcmp(v->phase, "errors-left")) {
		snprintf(buf, n, "only what could not be fetched");
		return buf;
	}
	eta_range(&v->eta, &r);
	if (!r.known) {
		snprintf(buf, n, "not known yet");
		return buf;
	}
	size_format_seconds(low, sizeof low, coarse(r.low));
	size_format_seconds(high, sizeof high, coarse(r.high));
	if (!r.bounded)
		snprintf(buf, n, "at least %s", low);
	else if (!v->discovery_done)
		snprintf(buf, n, "at least %s, at most %s", low, high);
	else if (!strcmp(low, high))
		snprintf(buf, n, "about %s", low);
	else
		snprintf(buf, n, "%s to %s", low, high);
	if (r.cause) {
		size_t used = strlen(buf);

		snprintf(buf + used, n - used, " (longer: %s)", r.cause);
	}
	return buf;
}
