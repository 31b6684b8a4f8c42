/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The place of an interrupted verification: catalog meta "verify", written in the transaction that records its findings.
 *
 * It is stored as it lies in memory, cut behind the last part; the catalog stays on its machine.  Whatever does not look like
 * one of this version is as good as none: the verification begins anew.
 */
#include <errno.h>
#include <stddef.h>

#include "verify.h"

enum { VERSION = 1 };

static size_t stored_size(unsigned nparts)
{
	return offsetof(struct verify_place, part) + nparts * sizeof(struct verify_part);
}

int verify_place_load(struct catalog *c, bool against_source, struct verify_place *p)
{
	size_t n = sizeof *p;
	int r = catalog_meta_get(c, "verify", p, &n);

	if (r == -ERANGE)
		return -ENOENT;
	if (r)
		return r;
	if (n < stored_size(0) || p->version != VERSION || p->nparts > VERIFY_DEPTH_MAX || n != stored_size(p->nparts) ||
	    p->finished || p->against_source != against_source)
		return -ENOENT;
	return 0;
}

int verify_place_store(struct catalog *c, const struct verify_place *p)
{
	struct verify_place copy = *p;

	copy.version = VERSION;
	return catalog_meta_set(c, "verify", &copy, stored_size(p->nparts));
}
