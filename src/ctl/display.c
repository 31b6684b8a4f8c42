/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "display.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool display_is_terminal(void)
{
	const char *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0;
}

struct display *display_choose(bool json)
{
	if (json)
		return display_json();
	return display_is_terminal() ? display_screen() : display_plain();
}

bool display_write(struct display *d, const char *text, size_t n)
{
	while (n && !d->broken) {
		ssize_t r = write(STDOUT_FILENO, text, n);

		if (r >= 0) {
			text += r;
			n -= (size_t)r;
		} else if (errno != EINTR) {
			d->broken = true;
		}
	}
	return !d->broken;
}
