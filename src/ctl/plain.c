/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Log lines: what happens at once, the state at growing intervals, so that a
 * long migration leaves a short log and a short one is not silent.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "display.h"
#include "news.h"

#define FIRST_AFTER 5.0		/* seconds; then the interval is a tenth of the time that passed */
#define INTERVAL_MIN 5.0
#define INTERVAL_MAX 60.0

struct plain {
	struct display display;
	double next;
};

static void say(struct display *d, const char *text)
{
	char line[2200], when[16];
	time_t now = time(NULL);
	struct tm tm;
	int n;

	localtime_r(&now, &tm);
	strftime(when, sizeof when, "%H:%M:%S", &tm);
	n = snprintf(line, sizeof line, "%s %s\n", when, text);
	display_write(d, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

static void event(struct display *d, const struct view *v, json_t *ev, const char *json)
{
	struct plain *p = (struct plain *)d;
	char text[2100];

	(void)json;
	if (news_line(v, ev, text, sizeof text))
		say(d, text);
	if (v->seconds < p->next || !v->have_status || strcmp(v->phase, "detached") == 0)
		return;
	say(d, news_status(v, text, sizeof text));
	p->next = v->seconds / 10 < INTERVAL_MIN ? INTERVAL_MIN
		: v->seconds / 10 > INTERVAL_MAX ? INTERVAL_MAX : v->seconds / 10;
	p->next += v->seconds;
}

static void end(struct display *d)
{
	free(d);
}

struct display *display_plain(void)
{
	struct plain *p = calloc(1, sizeof *p);

	if (!p)
		return NULL;
	p->display = (struct display){ .event = event, .end = end };
	p->next = FIRST_AFTER;
	return &p->display;
}
