/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "names.h"

#include <stdlib.h>
#include <string.h>

#include "display.h"
#include "show.h"

#define ON_TERMINAL 20u
#define ELSEWHERE 10000u
#define WIDE 1000000u	/* columns: names are not cut */

unsigned names_limit(void)
{
	return display_is_terminal() ? ON_TERMINAL : ELSEWHERE;
}

char *names_text(const char *text)
{
	size_t room = 4 * strlen(text) + 5;
	char *out = malloc(room);

	return out ? show_text(out, room, text, WIDE) : NULL;
}

void names_add(struct names *n, const char *name, const char *why)
{
	size_t room = strlen(name) + strlen(why) + 4;
	char *raw, **more;

	n->all++;
	if (n->kept == n->max)
		return;
	more = realloc(n->lines, (n->kept + 1) * sizeof *more);
	raw = malloc(room);
	if (more)
		n->lines = more;
	if (more && raw) {
		snprintf(raw, room, "%s%s%s", name, *why ? ": " : "", why);
		more[n->kept] = names_text(raw);
		n->kept += more[n->kept] != NULL;
	}
	free(raw);
}

void names_print(const struct names *n, FILE *to, const char *where)
{
	char more[32];

	for (unsigned i = 0; i < n->kept; i++)
		fprintf(to, "  %s\n", n->lines[i]);
	if (n->all > n->kept)
		fprintf(to, "  ... and %s more (%s)\n", show_count(more, sizeof more, n->all - n->kept), where);
}

void names_free(struct names *n)
{
	for (unsigned i = 0; i < n->kept; i++)
		free(n->lines[i]);
	free(n->lines);
	*n = (struct names){ 0 };
}
