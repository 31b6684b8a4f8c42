/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A list of which the first so many are kept for showing, and the rest is counted. */
#ifndef DMM_CTL_NAMES_H
#define DMM_CTL_NAMES_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct names {
	unsigned max;
	unsigned kept;
	uint64_t all;
	char **lines;
};

/* How many lines of a list are shown: few on a terminal. */
unsigned names_limit(void);

/* Made harmless for a terminal. */
void names_add(struct names *n, const char *name, const char *why);
/* Each indented; then how many more there are and where they can be seen ("--json lists all"). */
void names_print(const struct names *n, FILE *to, const char *where);
void names_free(struct names *n);

/* One name or text, harmless, as long as it is; the caller frees it. */
char *names_text(const char *text);

#endif
