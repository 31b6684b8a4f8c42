/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "size.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char units[] = "KMGTPE";

int size_parse(const char *s, uint64_t *out)
{
	char *end;
	double v, scale = 1;

	if (!isdigit((unsigned char)*s))
		return -EINVAL;
	errno = 0;
	v = strtod(s, &end);
	if (errno || !isfinite(v))
		return -ERANGE;
	for (const char *p = s; p < end; p++)
		if (!isdigit((unsigned char)*p) && *p != '.')	/* no 1e6, no 0x10 */
			return -EINVAL;
	if (*end) {
		const char *u = strchr(units, toupper((unsigned char)*end));

		if (u) {
			scale = ldexp(1, 10 * (int)(u - units + 1));
			end++;
			if (*end == 'i')
				end++;
		}
		if (*end == 'B')
			end++;
		if (*end)
			return -EINVAL;
	}
	v *= scale;
	if (v >= 9223372036854775808.0)	/* off_t */
		return -ERANGE;
	*out = (uint64_t)v;
	return 0;
}

char *size_format(char *buf, size_t n, uint64_t bytes)
{
	double v = (double)bytes;
	int u = -1;

	while (v >= 1024 && units[u + 1]) {
		v /= 1024;
		u++;
	}
	if (u < 0)
		snprintf(buf, n, "%llu B", (unsigned long long)bytes);
	else
		snprintf(buf, n, v < 10 ? "%.2f %ciB" : v < 100 ? "%.1f %ciB" : "%.0f %ciB",
			 v, units[u]);
	return buf;
}

char *size_format_seconds(char *buf, size_t n, uint64_t s)
{
	if (s < 60)
		snprintf(buf, n, "%u s", (unsigned)s);
	else if (s < 3600)
		snprintf(buf, n, "%u min %u s", (unsigned)(s / 60), (unsigned)(s % 60));
	else if (s < 86400)
		snprintf(buf, n, "%u h %u min", (unsigned)(s / 3600), (unsigned)(s / 60 % 60));
	else
		snprintf(buf, n, "%llu d %u h", (unsigned long long)(s / 86400),
			 (unsigned)(s / 3600 % 24));
	return buf;
}
