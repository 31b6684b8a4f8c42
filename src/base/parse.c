/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "parse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

/* Digits, and where they end. */
static int digits(const char *s, const char **end, uint64_t *out)
{
	char *stop;
	uint64_t n;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	errno = 0;
	n = strtoull(s, &stop, 10);
	if (errno)
		return -EINVAL;
	*end = stop;
	*out = n;
	return 0;
}

int parse_count(const char *s, uint64_t *out)
{
	const char *end;
	uint64_t n;

	if (digits(s, &end, &n) || *end)
		return -EINVAL;
	*out = n;
	return 0;
}

int parse_duration(const char *s, uint64_t *ns)
{
	const char *unit;
	uint64_t n, scale = 0;

	if (!digits(s, &unit, &n)) {
		if (!strcmp(unit, "ms"))
			scale = CLOCK_MS;
		else if (!strcmp(unit, "s"))
			scale = CLOCK_SEC;
		else if (!strcmp(unit, "min"))
			scale = 60 * CLOCK_SEC;
	}
	if (!scale || n > 86400 * CLOCK_SEC / scale)
		return -EINVAL;
	*ns = n * scale;
	return 0;
}

int parse_errno(const char *s, int *out)
{
	for (int i = 1; i < 4096; i++) {
		const char *name = strerrorname_np(i);

		if (name && !strcmp(name, s)) {
			*out = i;
			return 0;
		}
	}
	return -EINVAL;
}
