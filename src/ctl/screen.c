/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The live display: a few lines that are redrawn in place, with news scrolling
 * by above them.
 *
 * No flicker: a frame is one write; each line is overwritten and its rest cleared,
 * nothing is cleared first.  ECMA-48 sequences only: CUU, EL, ED.
 * Invariant: the cursor rests at the start of the line below the last frame; `drawn` says
 * how many lines above it are ours.  Frames are never taller than the terminal, or the cursor could not come back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "display.h"
#include "frame.h"
#include "news.h"

#define OUT_BYTES (FRAME_LINES * (FRAME_BYTES + 8) + 4096)

struct screen {
	struct display display;
	unsigned drawn, columns;
	struct frame frame;
	char out[OUT_BYTES];
};

static void terminal_size(unsigned *columns, unsigned *rows)
{
	struct winsize w = { 0 };

	*columns = 80;
	*rows = 24;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w))
		return;
	if (w.ws_col)
		*columns = w.ws_col;
	if (w.ws_row)
		*rows = w.ws_row;
}

static size_t put(char *out, size_t used, const char *text, const char *after)
{
	int n = snprintf(out + used, OUT_BYTES - used, "%s%s", text, after);

	return used + (size_t)n < OUT_BYTES ? used + (size_t)n : OUT_BYTES - 1;
}

static void draw(struct screen *s, const struct view *v, const char *news)
{
	unsigned columns, rows, n;
	char up[16];
	size_t used = 0;

	terminal_size(&columns, &rows);
	if (s->drawn) {
		snprintf(up, sizeof up, "\x1b[%uA\r", s->drawn);
		used = put(s->out, used, up, "");
	}
	if (columns < s->columns)	/* narrower: the terminal has wrapped what stood there */
		used = put(s->out, used, "\x1b[J", "");
	s->columns = columns;
	if (news[0])
		used = put(s->out, used, news, "\x1b[K\n");
	/* one column is left free: writing the last one wraps on some terminals */
	frame_compose(&s->frame, v, columns > 1 ? columns - 1 : 1);
	n = s->frame.n < rows ? s->frame.n : rows - 1;
	for (unsigned i = 0; i < n; i++)
		used = put(s->out, used, s->frame.line[i], "\x1b[K\n");
	used = put(s->out, used, "\x1b[J", "");
	s->drawn = n;
	display_write(&s->display, s->out, used);
}

static void event(struct display *d, const struct view *v, json_t *ev, const char *json)
{
	struct screen *s = (struct screen *)d;
	char news[2100];
	bool told = news_line(v, ev, news, sizeof news);

	(void)json;
	if (!told && !s->drawn && !v->have_status)
		return;		/* refused at once: no empty frame above the error */
	draw(s, v, told ? news : "");
}

static void end(struct display *d)
{
	free(d);
}

struct display *display_screen(void)
{
	struct screen *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->display = (struct display){ .event = event, .end = end };
	return &s->display;
}
