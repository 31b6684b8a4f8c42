/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The worker's lines, taken apart and checked: JSON objects with a string "event".
 * A line that is none, or longer than READER_LINE_MAX, is counted and left out: a bad worker
 * spoils its own report, nothing else.
 */
#ifndef DMM_CTL_READER_H
#define DMM_CTL_READER_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#define READER_LINE_MAX (1u << 20)

struct reader {
	int fd;			/* borrowed */
	char *buf;
	size_t len, room, scanned;
	int skipping;		/* inside a line that is too long */
	uint64_t bad;		/* lines left out */
};

void reader_init(struct reader *r, int fd);
void reader_free(struct reader *r);

/* Read what is there once.  1 something, 0 nothing now, -EPIPE the end. */
int reader_fill(struct reader *r);

/* Next event, or NULL.  The caller releases it; *line is valid until the next call. */
json_t *reader_next(struct reader *r, const char **line);

#endif
