/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "events.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "text.h"

json_t *events_text(const char *bytes)
{
	char clean[4200];

	return json_string(text_clean(clean, sizeof clean, bytes));
}

json_t *events_fields_text(const char *bytes)
{
	return json_pack("{s:o}", "text", events_text(bytes));
}

static void now_iso(char *buf, size_t n)
{
	struct timespec ts;
	struct tm tm;
	char date[32];

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(buf, n, "%s.%03ldZ", date, ts.tv_nsec / 1000000);
}

char *events_line(const char *kind, double seconds, json_t *fields)
{
	char when[48], *line;
	json_t *o;
	size_t n;

	now_iso(when, sizeof when);
	o = json_pack("{s:s, s:s, s:f}", "event", kind, "time", when, "seconds", seconds);
	if (o && fields)
		json_object_update(o, fields);
	/* 12 digits: a double of milliseconds prints as it was meant */
	n = o ? json_dumpb(o, NULL, 0, JSON_COMPACT | JSON_REAL_PRECISION(12)) : 0;
	line = n ? malloc(n + 2) : NULL;
	if (line && json_dumpb(o, line, n, JSON_COMPACT | JSON_REAL_PRECISION(12)) == n)
		memcpy(line + n, "\n", 2);
	json_decref(o);
	return line;
}

void events_emit(struct events *ev, enum channel_rank rank, const char *kind, json_t *fields)
{
	double seconds = (double)((clock_mono() - ev->started) / CLOCK_MS) / 1000;
	char *line = events_line(kind, seconds, fields);

	if (line)
		channel_send(ev->channel, rank, line, strlen(line) - 1);	/* it adds the newline */
	free(line);
	json_decref(fields);
}
