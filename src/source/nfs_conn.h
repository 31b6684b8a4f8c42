/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One connection to an NFS server, with a thread of its own.
 *
 * Threads: new, submit, load, stats and free from any thread; the rest only
 * from callbacks on the connection's thread.
 */
#ifndef DMM_SOURCE_NFS_CONN_H
#define DMM_SOURCE_NFS_CONN_H

#include "nfs.h"
#include "nfs_ids.h"
#include "nfs_page.h"

int nfs_conn_new(struct nfs *n, struct nfs_conn **out);

/* Cancels what is left with -ECANCELED, ends the thread. */
void nfs_conn_free(struct nfs_conn *c);

void nfs_conn_submit(struct nfs_conn *c, struct source_req *req);

/* Requests in hand, for choosing a connection. */
unsigned nfs_conn_load(struct nfs_conn *c);

/* Nanoseconds for which it has been out of order, 0 if it is fine; why, in one line. */
uint64_t nfs_conn_trouble(struct nfs_conn *c, char *why, size_t size);

/*
 * First step of every reply callback.  True: the reply is there, decode it.
 * False: the request has been dealt with (put back for reissue, or failed).
 */
bool nfs_conn_reply(struct source_req *req, int status, const void *data);

/* The same for one of several calls of a request: 0, -errno, or NFS_CONN_LOST (reissue). */
#define NFS_CONN_LOST 1
int nfs_conn_part(struct nfs_conn *c, int status, const void *data);

/* Put a request back: it is sent again when there is a connection, not before delay_ns. */
void nfs_conn_again(struct source_req *req, uint64_t delay_ns);

/* Answer a request. */
void nfs_conn_finish(struct source_req *req, int err);

/* The connection that has a request in hand. */
static inline struct nfs_conn *nfs_conn_of(struct source_req *req)
{
	return req->hook[2];
}

struct rpc_context *nfs_conn_rpc(struct nfs_conn *c);
struct nfs *nfs_conn_source(struct nfs_conn *c);
/* Entries of the reply that is being decoded; emptied by whoever starts one. */
struct nfs_page *nfs_conn_page(struct nfs_conn *c);
struct nfs_ids *nfs_conn_ids(struct nfs_conn *c);

#endif
