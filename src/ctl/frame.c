/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "frame.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "show.h"

struct page {
	struct frame *frame;
	unsigned columns;
};

static void add(struct page *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void add(struct page *p, const char *fmt, ...)
{
	char raw[2 * VIEW_PATH + 200];
	va_list ap;

	if (p->frame->n == FRAME_LINES)
		return;
	va_start(ap, fmt);
	vsnprintf(raw, sizeof raw, fmt, ap);
	va_end(ap);
	show_text(p->frame->line[p->frame->n++], FRAME_BYTES, raw, p->columns);
}

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static void add_bar(struct page *p, const struct view *v)
{
	uint64_t here = v->here_bytes + v->landed_bytes, found = v->found_bytes;
	unsigned room = p->columns > 70 ? 50 : p->columns > 30 ? p->columns - 20 : 10, full;
	double share = found ? (double)here / (double)found : 0;
	char bar[64];

	if (!v->discovery_done || !found)
		return;		/* a bar that could shrink would lie */
	if (share > 1)
		share = 1;
	full = (unsigned)(share * room);
	memset(bar, '#', full);
	memset(bar + full, '.', room - full);
	bar[room] = 0;
	add(p, "  [%s] %.1f %%", bar, 100 * share);
}

static void add_counts(struct page *p, const struct view *v)
{
	uint64_t here = v->here_bytes + v->landed_bytes;
	char a[32], b[32], c[32];

	add(p, "  objects  %14s found%s  %14s here  %14s left",
	    show_count(a, sizeof a, v->found_objects), v->discovery_done ? " " : "+",
	    show_count(b, sizeof b, v->here_objects),
	    show_count(c, sizeof c, minus(v->found_objects, v->here_objects)));
	add(p, "  data     %14s found%s  %14s here  %14s left",
	    size_format(a, sizeof a, v->found_bytes), v->discovery_done ? " " : "+",
	    size_format(b, sizeof b, here), size_format(c, sizeof c, minus(v->found_bytes, here)));
	if (!v->discovery_done)
		add(p, "           still listing the source: %s directories known to be left",
		    show_count(a, sizeof a, v->directories_left));
}

static void add_rates(struct page *p, const struct view *v)
{
	char demand[32], background[32];

	add(p, "  speed    demand %s, %.0f requests/s; background %s; %.0f objects/s",
	    show_rate(demand, sizeof demand, v->demand_rate.per_second),
	    v->demand_request_rate.per_second,
	    show_rate(background, sizeof background, v->background_rate.per_second),
	    v->object_rate.per_second);
}

static void add_source(struct page *p, const struct view *v)
{
	char since[40];

	if (v->source_connected)
		return;
	size_format_seconds(since, sizeof since, (uint64_t)(v->seconds - v->trouble_since));
	add(p, "  SOURCE   does not answer since %s: %s", since, v->trouble);
}

static void add_applications(struct page *p, const struct view *v)
{
	if (v->deleted || v->overwritten || v->shadowed)
		add(p, "  changed  by applications: %llu deleted, %llu overwritten, %llu shadowed",
		    (unsigned long long)v->deleted, (unsigned long long)v->overwritten,
		    (unsigned long long)v->shadowed);
	for (unsigned i = 0; i < v->stalled_count && i < VIEW_STALLED_MAX; i++)
		if (v->stalled[i].waiting >= 1)
			add(p, "  waiting  process %d (%s): %s for %.0f s", v->stalled[i].pid,
			    v->stalled[i].comm, v->stalled[i].op, v->stalled[i].waiting);
}

static void add_end(struct page *p, const struct view *v)
{
	char left[200], name[VIEW_PATH + 40];

	if (v->quarantined) {
		view_name(v, name, sizeof name);
		add(p, "  ERRORS   %llu objects could not be fetched: dmm report %s", (unsigned long long)v->quarantined, name);
		add(p, "           then dmm retry %s --all [--give-up]", name);
	}
	if (v->target_full)
		add(p, "  TARGET   is full: the background waits for space");
	if (v->catalog_full)
		add(p, "  CATALOG  has no space in %s: the background waits", v->state);
	if (!strcmp(v->phase, "detach-waiting"))
		add(p, "  detach   waits for %s", v->obstacle);
	else if (!strcmp(v->phase, "migrating") || !strcmp(v->phase, "starting"))
		add(p, "  left     %s", view_remaining(v, left, sizeof left));
}

void frame_compose(struct frame *f, const struct view *v, unsigned columns)
{
	struct page p = { .frame = f, .columns = columns };
	char since[40];

	f->n = 0;
	if (p.columns > FRAME_BYTES / 4 - 1)
		p.columns = FRAME_BYTES / 4 - 1;
	add(&p, "%s -> %s", v->source, v->target);
	size_format_seconds(since, sizeof since, (uint64_t)v->seconds);
	add(&p, "  %s, %s after the start", v->phase, since);
	if (!v->have_status)
		return;
	add_bar(&p, v);
	add_counts(&p, v);
	add_rates(&p, v);
	add_source(&p, v);
	add_applications(&p, v);
	add_end(&p, v);
}
