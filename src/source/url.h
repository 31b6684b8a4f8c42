/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The URL of a source, taken apart.  Grammar: source.h, source_open().
 *
 * Paths of nfs:// are percent-decoded (%00 is refused) and normalised: one
 * slash between components, no "." and "..".  Paths of file:// are taken
 * literally, because source_url_local_path() points into the URL.
 *
 * Ownership: plain storage of the caller.  Threads: no shared state.
 */
#ifndef DMM_SOURCE_URL_H
#define DMM_SOURCE_URL_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum url_scheme { URL_FILE, URL_NFS };

struct url {
	enum url_scheme scheme;
	char path[4096];	/* absolute; file: as given */
	/* nfs only */
	char host[256];		/* without brackets; lower case */
	uint16_t nfs_port, mount_port;	/* 0 = not given */
	unsigned version;	/* 3 (the default) or 4 */
	uint32_t uid, gid;	/* AUTH_SYS; default 0 */
};

/* 0, or -EINVAL with one line in e that quotes what is wrong. */
int url_parse(const char *text, struct url *out, struct err *e);

/* The one spelling of this URL; -ENAMETOOLONG. */
int url_format(const struct url *u, char *out, size_t out_size, struct err *e);

#endif
