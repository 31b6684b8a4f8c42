/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the files of the nfs back end share.
 *
 *   nfs.c        the source: connections of each lane, submit, stats, close
 *   nfs_open.c   what happens once: ports, MOUNT, limits, the way to the root
 *   nfs_conn.c   one connection: thread, queue, deadlines, reconnect, reissue
 *   nfs_once.c   a connection for one-time calls with a deadline
 *   nfs3.c nfs4.c        requests to calls and replies to answers
 *   nfs3_attr.c nfs4_attr.c   attributes of the two protocols
 *   nfs_page.c   entries of one READDIR reply
 *   nfs_zdr.c    bounds for libnfs's decoder
 *
 * Protocol numbers are those of RFC 1813 (v3), RFC 7530 (v4.0), RFC 5531 (RPC).
 */
#ifndef DMM_SOURCE_NFS_H
#define DMM_SOURCE_NFS_H

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#include <nfsc/libnfs.h>
#include <nfsc/libnfs-raw.h>

#include "source.h"
#include "url.h"

#define NFS_READ_MAX (1u << 20)	/* libnfs drops a connection that answers with more */
#define NFS_CONNS 2		/* connections a lane */

struct nfs_conn;

/* One protocol version.  Both functions run on the connection's thread. */
struct nfs_proto {
	/* Queue the call(s) of a request; 0, or -errno for the request (also without memory). */
	int (*send)(struct nfs_conn *c, struct rpc_context *rpc, struct source_req *req);
	/* An empty call that asks whether the service answers. */
	int (*probe)(struct rpc_context *rpc, rpc_cb cb, void *arg);
};

extern const struct nfs_proto nfs3_proto, nfs4_proto;

struct nfs {
	struct source base;
	struct url url;
	uint16_t port;		/* of the NFS service */
	const struct nfs_proto *proto;
	uint32_t read_max;
	bool time_nsec;
	struct nfs_conn *conns[2][NFS_CONNS];	/* by lane */
	_Atomic uint64_t requests[2], bytes[2], reconnects, retries;
};

/* A libnfs context for this server, not connected; NULL without memory. */
struct rpc_context *nfs_rpc_new(const struct url *u);

/*
 * Start connecting: the name is resolved here, the rest is asynchronous.
 * 0, or -errno and the reason in why.
 */
int nfs_connect(struct rpc_context *rpc, const char *host, uint16_t port, rpc_cb cb, void *arg,
		char *why, size_t size);

/* What rpc_service() should see: for a hangup it reports no reason, for an error it does. */
static inline int nfs_revents(int revents)
{
	return revents & POLLERR ? POLLERR : revents;
}

/* The parts of opening that depend on the version: nfs_open.c calls them once. */
struct nfs_root {
	struct source_fh fh;
	char rest[4096];	/* path below fh that is to be looked up */
};
int nfs3_mount(struct nfs *n, struct nfs_root *out, struct err *e);
int nfs4_root(struct nfs *n, struct nfs_root *out, struct err *e);

#endif
