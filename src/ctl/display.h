/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A way to show a running migration.  Three exist: frames on a terminal (screen.c), log
 * lines (plain.c) and the events themselves (json.c).
 *
 * Standard output carries the report, standard error the one line of a failure.
 * A write that fails makes broken() true; the session then stops the migration
 * cleanly instead of going on unseen.
 */
#ifndef DMM_CTL_DISPLAY_H
#define DMM_CTL_DISPLAY_H

#include <jansson.h>
#include <stdbool.h>

#include "view.h"

struct display {
	/* v has taken the event already; line: its JSON */
	void (*event)(struct display *d, const struct view *v, json_t *event, const char *line);
	void (*end)(struct display *d);
	bool broken;
};

struct display *display_screen(void);	/* needs a terminal on stdout */
struct display *display_plain(void);
struct display *display_json(void);
/* What suits standard output. */
struct display *display_choose(bool json);
/* Does it redraw a terminal?  (Then status events are worth having more often.) */
bool display_is_terminal(void);

/* All of it, or false.  For displays. */
bool display_write(struct display *d, const char *text, size_t n);

#endif
