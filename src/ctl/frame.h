/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the terminal shows, as lines of text of a given width; pure, so that it can be tested. */
#ifndef DMM_CTL_FRAME_H
#define DMM_CTL_FRAME_H

#include "view.h"

#define FRAME_LINES 18
#define FRAME_BYTES 640		/* of a line; 4 bytes for each of 159 columns and the end */

struct frame {
	unsigned n;
	char line[FRAME_LINES][FRAME_BYTES];
};

/* No line is wider than `columns`, none has control characters. */
void frame_compose(struct frame *f, const struct view *v, unsigned columns);

#endif
