/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The entries of one READDIR reply.
 *
 * Names are copied, so that the page outlives libnfs's receive buffer while
 * missing attributes are asked for.  A page is reused from reply to reply:
 * its memory grows to the largest reply and stays.
 *
 * Threads: one at a time.
 */
#ifndef DMM_SOURCE_NFS_PAGE_H
#define DMM_SOURCE_NFS_PAGE_H

#include <stddef.h>

#include "source.h"

struct nfs_page {
	struct source_entry *entries;
	uint32_t count, cap;
	char *names;		/* entries[i].name points here once nfs_page_seal() ran */
	size_t names_len, names_cap;
};

void nfs_page_reset(struct nfs_page *p);
void nfs_page_free(struct nfs_page *p);

/*
 * Append an entry after checking its name; "." and ".." are passed over
 * silently, a bad name is counted in req.  *out is the entry to fill in
 * (valid until the next append), or NULL if nothing was appended.
 */
int nfs_page_add(struct nfs_page *p, struct source_req *req, const char *name, size_t len,
		 struct source_entry **out);

/* Make the names point to their final place and the reply to the entries. */
void nfs_page_seal(struct nfs_page *p, struct source_req *req);

#endif
