/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "news.h"

#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "show.h"

#define WIDE 10000u	/* log lines are not cut */

static void starting(const struct view *v, json_t *o, char *buf, size_t n)
{
	(void)o;
	snprintf(buf, n, "migrating %s to %s (worker: process %d)", v->source, v->target,
		 v->worker);
}

static void mounted(const struct view *v, json_t *o, char *buf, size_t n)
{
	snprintf(buf, n, "mounted after %.2f s%s: applications may use %s now", v->seconds,
		 json_is_true(json_object_get(o, "continued")) ? ", continuing" : "", v->target);
}

static void all_here(const struct view *v, json_t *o, char *buf, size_t n)
{
	char count[32], size[32];

	(void)v;
	snprintf(buf, n, "everything is here: %s objects, %s",
		 show_count(count, sizeof count, (uint64_t)view_number(o, "found_objects", 0)),
		 size_format(size, sizeof size, (uint64_t)view_number(o, "found_bytes", 0)));
}

static void waiting(const struct view *v, json_t *o, char *buf, size_t n)
{
	(void)o;
	snprintf(buf, n, "waiting to take the mount away: %s", v->obstacle);
}

static void detached(const struct view *v, json_t *o, char *buf, size_t n)
{
	(void)o;
	snprintf(buf, n, "the mount is gone, %s is a plain directory; process %d serves old "
		 "descriptors until the last one is closed", v->target, v->worker);
}

static void finished(const struct view *v, json_t *o, char *buf, size_t n)
{
	json_t *l = json_object_get(o, "ledger");

	(void)v;
	if (!l) {
		snprintf(buf, n, "finished");
		return;
	}
	snprintf(buf, n, "finished: %.0f objects on the source = %.0f migrated + %.0f overwritten "
		 "+ %.0f deleted + %.0f shadowed + %.0f excluded + %.0f failed",
		 view_number(l, "found", 0), view_number(l, "migrated", 0),
		 view_number(l, "overwritten", 0), view_number(l, "deleted", 0),
		 view_number(l, "shadowed", 0), view_number(l, "excluded", 0),
		 view_number(l, "failed", 0));
}

static void source_trouble(const struct view *v, json_t *o, char *buf, size_t n)
{
	(void)v;
	snprintf(buf, n, "the source does not answer: %s; waiting for it",
		 view_string(o, "text", "no reason known"));
}

static void source_back(const struct view *v, json_t *o, char *buf, size_t n)
{
	(void)v;
	snprintf(buf, n, "the source answers again, after %.1f s",
		 view_number(o, "down_seconds", 0));
}

static void errors_left(const struct view *v, json_t *o, char *buf, size_t n)
{
	char name[VIEW_PATH + 40];

	view_name(v, name, sizeof name);
	snprintf(buf, n, "everything else is here, but %.0f objects could not be fetched and keep the migration open; which and why: "
		 "`dmm report %s`; try them again: `dmm retry %s --all`; do without them: `dmm retry %s --all --give-up`",
		 view_number(o, "quarantined", 0), name, name, name);
}

static void cleaned(const struct view *v, json_t *o, char *buf, size_t n)
{
	(void)v;
	snprintf(buf, n, "cleaned a dead mount at %s", view_string(o, "target", "the target"));
}

static void already(const struct view *v, json_t *o, char *buf, size_t n)
{
	(void)o;
	snprintf(buf, n, "this migration is already finished; nothing to do for %s", v->target);
}

static void stopping(const struct view *v, json_t *o, char *buf, size_t n)
{
	(void)v;
	snprintf(buf, n, "stopping: %s", view_string(o, "text", ""));
}

static void forced(const struct view *v, json_t *o, char *buf, size_t n)
{
	(void)v;
	(void)o;
	snprintf(buf, n, "not waiting for working directories any more");
}

static void silent(const struct view *v, json_t *o, char *buf, size_t n)
{
	(void)v;
	(void)o;
	(void)n;
	buf[0] = 0;
}

static void other(const struct view *v, json_t *o, char *buf, size_t n)
{
	const char *level = view_string(o, "level", "info");

	(void)v;
	snprintf(buf, n, "%s%s%s", strcmp(level, "info") ? level : "",
		 strcmp(level, "info") ? ": " : "",
		 view_string(o, "text", view_string(o, "event", "")));
}

bool news_line(const struct view *v, json_t *event, char *buf, size_t n)
{
	static const struct {
		const char *kind;
		void (*tell)(const struct view *v, json_t *event, char *buf, size_t n);
	} table[] = {
		{ "starting", starting }, { "mounted", mounted }, { "all-here", all_here },
		{ "detach-waiting", waiting }, { "detached", detached }, { "finished", finished },
		{ "source-trouble", source_trouble }, { "source-back", source_back },
		{ "errors-left", errors_left }, { "cleaned-dead-mount", cleaned },
		{ "already-finished", already }, { "stopping", stopping },
		{ "detach-forced", forced }, { "status", silent }, { "error", silent },
		{ "stopped", silent }, { "worker-died", silent },
	};
	const char *kind = view_string(event, "event", "");
	char raw[4096] = "";
	size_t i;

	for (i = 0; i < sizeof table / sizeof table[0]; i++)
		if (!strcmp(kind, table[i].kind))
			break;
	if (i < sizeof table / sizeof table[0])
		table[i].tell(v, event, raw, sizeof raw);
	else
		other(v, event, raw, sizeof raw);
	show_text(buf, n, raw, WIDE);
	return buf[0];
}

char *news_status(const struct view *v, char *buf, size_t n)
{
	char found[32], here[32], found_size[32], here_size[32], demand[32], background[32];
	char left[160];

	snprintf(buf, n, "found %s objects (%s)%s, here %s (%s); demand %s, background %s; "
		 "errors %llu; left: %s%s%s",
		 show_count(found, sizeof found, v->found_objects),
		 size_format(found_size, sizeof found_size, v->found_bytes),
		 v->discovery_done ? "" : " so far",
		 show_count(here, sizeof here, v->here_objects),
		 size_format(here_size, sizeof here_size, v->here_bytes + v->landed_bytes),
		 show_rate(demand, sizeof demand, v->demand_rate.per_second),
		 show_rate(background, sizeof background, v->background_rate.per_second),
		 (unsigned long long)v->quarantined, view_remaining(v, left, sizeof left),
		 v->target_full ? "; THE TARGET IS FULL" : "", v->catalog_full ? "; NO SPACE FOR THE CATALOG" : "");
	return buf;
}
