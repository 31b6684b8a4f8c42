/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From an oid to a path on the source.
 *
 * Climbs by parent oid, writing names from the end of the buffer backwards.  A damaged catalog may hold a
 * loop: no path has more components than PATH_DEPTH.
 */
#include "audit/audit.h"

#include <errno.h>
#include <string.h>

enum { PATH_DEPTH = 100000 };

/* Put one component in front; false: no room. */
static bool prepend(char *buf, size_t *at, const char *name, size_t len, bool last)
{
	size_t need = len + !last;

	if (need > *at)
		return false;
	if (!last)
		buf[--*at] = '/';
	*at -= len;
	memcpy(buf + *at, name, len);
	return true;
}

static void cut_in_front(char *buf, size_t *at)
{
	static const char dots[] = "...";

	*at = *at > 3 ? *at - 3 : 0;
	memcpy(buf + *at, dots, 3);
}

int audit_path(struct catalog *c, uint64_t oid, char *buf, size_t n)
{
	struct catalog_row row;
	size_t at = n - 1;
	bool last = true;

	if (n < 8)
		return -EINVAL;
	buf[at] = 0;
	for (unsigned depth = 0;; depth++) {
		int r = depth < PATH_DEPTH ? catalog_get(c, oid, &row) : -EUCLEAN;

		if (r)
			return r;
		if (!row.parent)
			break;
		if (!prepend(buf, &at, row.name, row.name_len, last)) {
			cut_in_front(buf, &at);
			break;
		}
		last = false;
		oid = row.parent;
	}
	memmove(buf, buf + at, n - at);
	return 0;
}
