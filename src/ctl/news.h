/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Events other than the status, as sentences. */
#ifndef DMM_CTL_NEWS_H
#define DMM_CTL_NEWS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "view.h"

/* A line for people, harmless on a terminal, without newline.  False: this event is none
 * (a status, a final failure that goes to standard error, or not important). */
bool news_line(const struct view *v, json_t *event, char *buf, size_t n);

/* "found 1,234 objects (1.20 GiB), here ..." from the last status. */
char *news_status(const struct view *v, char *buf, size_t n);

#endif
