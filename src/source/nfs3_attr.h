/* SPDX-License-Identifier: GPL-3.0-or-later */
/* NFSv3 attributes and status codes (RFC 1813 2.5, 2.6). */
#ifndef DMM_SOURCE_NFS3_ATTR_H
#define DMM_SOURCE_NFS3_ATTR_H

#include <nfsc/libnfs.h>
#include <nfsc/libnfs-raw-nfs.h>

#include "source.h"

/*
 * v3 seconds have 32 bits, and servers send the low half of what they store.
 * RFC 1813 calls them unsigned, so 1960 and 2096 look the same.  The rule here:
 * a window of 136 years that starts on 1935-12-22, so that files "before 1970"
 * and "after 2038" both arrive as they were meant:
 *   0 .. 3 * 2^30 - 1          1970-01-01 .. 2072-01-28
 *   3 * 2^30 .. 2^32 - 1       1935-12-22 .. 1969-12-31
 * Sources with times outside the window need version=4, which carries 64 bits.
 */
struct source_time nfs3_attr_time(uint32_t seconds, uint32_t nseconds);

/* 0 or -EPROTO. */
int nfs3_attr(const struct fattr3 *f, struct source_attr *a);

/* A handle of the protocol into one of ours: 0 or -EPROTO. */
int nfs3_attr_fh(const struct nfs_fh3 *from, struct source_fh *to);

/* nfsstat3 -> -errno. */
int nfs3_attr_error(uint32_t status);

#endif
