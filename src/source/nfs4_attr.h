/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * NFSv4.0 attributes: a bitmap and an opaque block that holds, in the order
 * of the bits, one XDR value each (RFC 7530 3.3.7, 5.8).  libnfs hands both
 * over undecoded, so this is the parser that faces the server; it reads no
 * byte outside the block, and refuses what it did not ask for, because a
 * value of unknown length cannot be passed over.
 *
 * Threads: reentrant (ids: one thread at a time).
 */
#ifndef DMM_SOURCE_NFS4_ATTR_H
#define DMM_SOURCE_NFS4_ATTR_H

#include <stddef.h>

#include "nfs_ids.h"
#include "source.h"

struct nfs4_attrs {
	uint64_t present;	/* bit n: attribute n was there */
	struct source_attr attr;
	struct source_fh fh;		/* FILEHANDLE */
	uint32_t read_error;		/* RDATTR_ERROR, a status of the protocol */
	uint64_t max_read;		/* MAXREAD */
	uint64_t space_total, space_free, files_total, files_free;
	struct source_time time_delta;
};

/* What to ask for: two words each. */
extern const uint32_t nfs4_attr_object[2];	/* all of source_attr */
extern const uint32_t nfs4_attr_entry[2];	/* the same, the handle and RDATTR_ERROR */
extern const uint32_t nfs4_attr_fs[2];		/* for STATFS */
extern const uint32_t nfs4_attr_server[2];	/* MAXREAD, TIME_DELTA */

/* 0 or -EPROTO.  mask: words in host order; block: len bytes as received. */
int nfs4_attr_parse(const uint32_t *mask, uint32_t words, const void *block, size_t len,
		    struct nfs_ids *ids, struct nfs4_attrs *out);

/* Is there enough for a struct source_attr, and is it sane?  Fills in what servers may omit. */
int nfs4_attr_complete(struct nfs4_attrs *a);

/* nfsstat4 -> -errno. */
int nfs4_attr_error(uint32_t status);

#endif
