/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A connection for the calls that opening a source needs once: portmapper,
 * MOUNT, FSINFO.  Blocking, each step with a deadline, no second attempt.
 *
 *   nfs_once_connect(); rpc_..._async(o.rpc, cb, args, &state); nfs_once_wait(); nfs_once_close()
 *
 * The callback calls nfs_once_reply() first, and copies what it needs.
 * The state given as private data starts with the struct nfs_once.
 *
 * Threads: the caller's.
 */
#ifndef DMM_SOURCE_NFS_ONCE_H
#define DMM_SOURCE_NFS_ONCE_H

#include "nfs.h"

struct nfs_once {
	struct rpc_context *rpc;
	const char *host;
	uint16_t port;
	bool answered, ok;
	char text[200];		/* why not ok */
};

/* Connects; what names the service in messages ("the NFS service"). */
int nfs_once_connect(struct nfs_once *o, const struct url *u, uint16_t port, const char *what,
		     struct err *e);
/* True: data is the reply. */
bool nfs_once_reply(struct nfs_once *o, int status, const void *data);
/* queued is what rpc_..._async() returned.  0, or -errno with a line in e. */
int nfs_once_wait(struct nfs_once *o, int queued, const char *what, struct err *e);
void nfs_once_close(struct nfs_once *o);

#endif
