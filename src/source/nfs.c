/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The nfs back end: spreads requests over the connections of their lane.
 * Connections of one lane never carry requests of the other, so a megabyte
 * that the background asked for is never in front of a demand reply.
 */
#include "nfs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends.h"
#include "base/clock.h"
#include "base/log.h"
#include "check.h"
#include "nfs_conn.h"
#include "nfs_zdr.h"

#define DEPTH 128		/* useful requests in flight: 64 on each background connection */
#define OPEN_DEADLINE (30 * CLOCK_SEC)
#define TELL_AFTER (1 * CLOCK_SEC)	/* shorter troubles are not worth a status line */

static struct nfs *nfs_of(struct source *s)
{
	return (struct nfs *)s;
}

static void nfs_submit(struct source *s, struct source_req *req)
{
	struct nfs_conn **c = nfs_of(s)->conns[req->lane], *best = c[0];
	unsigned i;

	for (i = 1; i < NFS_CONNS; i++)
		if (nfs_conn_load(c[i]) < nfs_conn_load(best))
			best = c[i];
	nfs_conn_submit(best, req);
}

static void nfs_limits(struct source *s, struct source_limits *out)
{
	out->read_max = nfs_of(s)->read_max;
	out->depth = DEPTH;
	out->time_nsec = nfs_of(s)->time_nsec;
}

static void nfs_stats(struct source *s, struct source_stats *out)
{
	struct nfs *n = nfs_of(s);
	uint64_t t, longest = 0;
	char why[sizeof out->trouble];
	int lane, i;

	for (lane = 0; lane < 2; lane++) {
		out->requests[lane] = atomic_load(&n->requests[lane]);
		out->bytes[lane] = atomic_load(&n->bytes[lane]);
	}
	out->reconnects = atomic_load(&n->reconnects);
	out->retries = atomic_load(&n->retries);
	for (i = 0; i < 2 * NFS_CONNS; i++) {
		t = nfs_conn_trouble(n->conns[i & 1][i / 2], why, sizeof why);
		if (t > longest) {
			longest = t;
			snprintf(out->trouble, sizeof out->trouble, "%s", why);
		}
	}
	out->connected = longest < TELL_AFTER;
	if (out->connected)
		out->trouble[0] = 0;
}

static void close_nfs(struct source *s)
{
	struct nfs *n = nfs_of(s);
	int i;

	for (i = 0; i < 2 * NFS_CONNS; i++)
		nfs_conn_free(n->conns[i & 1][i / 2]);
	free(n);
}

static const struct source_ops nfs_ops = {
	.name = "nfs",
	.submit = nfs_submit,
	.limits = nfs_limits,
	.stats = nfs_stats,
	.close = close_nfs,
};

/* ---- opening ---- */

struct sync {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool done;
};

static void sync_done(struct source_req *req)
{
	struct sync *s = req->user;

	pthread_mutex_lock(&s->lock);
	s->done = true;
	pthread_cond_signal(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

/* One request of nfs_source_open(); gives up by closing the connections, which answers it. */
static int sync_request(struct nfs *n, struct source_req *req)
{
	struct sync s = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false };
	struct timespec end = clock_timespec(clock_mono() + OPEN_DEADLINE);
	int i, late = 0;

	req->done = sync_done;
	req->user = &s;
	source_submit(&n->base, req);
	pthread_mutex_lock(&s.lock);
	while (!s.done && !late)
		late = pthread_cond_clockwait(&s.wake, &s.lock, CLOCK_MONOTONIC, &end);
	pthread_mutex_unlock(&s.lock);
	if (!s.done) {
		for (i = 0; i < NFS_CONNS; i++) {
			nfs_conn_free(n->conns[req->lane][i]);
			n->conns[req->lane][i] = NULL;
		}
		return -ETIMEDOUT;
	}
	return req->err;
}

static int walk(struct nfs *n, struct nfs_root *root, struct err *e)
{
	struct source_req req = { .op = SOURCE_GETATTR, .lane = SOURCE_DEMAND, .fh = root->fh };
	char *rest = root->rest;
	int r = sync_request(n, &req);

	while (!r && *rest) {
		size_t len = strcspn(++rest, "/");
		char name[SOURCE_NAME_MAX + 1];

		if (len > SOURCE_NAME_MAX)
			return err_sys(e, ENAMETOOLONG, "%s", n->url.path);
		memcpy(name, rest, len);
		name[len] = 0;
		rest += len;
		req.op = SOURCE_LOOKUP;
		req.name = name;
		r = sync_request(n, &req);
		req.fh = req.out_fh;
	}
	if (r == -ENOENT || r == -ENOTDIR)
		return err_set(e, -r, "%s has no directory %s", n->url.host, n->url.path);
	if (r)
		return err_sys(e, r, "%s: looking up %s", n->url.host, n->url.path);
	if (req.attr.type != SOURCE_DIR)
		return err_set(e, ENOTDIR, "%s on %s is not a directory", n->url.path, n->url.host);
	n->base.root = req.fh;
	n->base.root_attr = req.attr;
	return 0;
}

static int start_connections(struct nfs *n, struct err *e)
{
	int i, r = 0;

	for (i = 0; !r && i < 2 * NFS_CONNS; i++)
		r = nfs_conn_new(n, &n->conns[i & 1][i / 2]);
	return r ? err_sys(e, r, "cannot start a connection") : 0;
}

/* libnfs 4 without bounds in its decoder is no good against servers that one does not trust. */
static void check_decoder(void)
{
#ifdef DMM_NFS_ZDR
	if (!nfs_zdr_active())
		log_warn("libnfs decodes replies without bounds: use trusted servers only");
#endif
}

int nfs_source_open(const struct url *u, struct source **out, struct err *e)
{
	struct nfs *n = calloc(1, sizeof *n);
	struct nfs_root root;
	int r;

	if (!n)
		return err_sys(e, ENOMEM, "cannot open");
	check_decoder();
	n->base.ops = &nfs_ops;
	n->url = *u;
	n->proto = u->version == 4 ? &nfs4_proto : &nfs3_proto;
	r = u->version == 4 ? nfs4_root(n, &root, e) : nfs3_mount(n, &root, e);
	if (!r)
		r = start_connections(n, e);
	if (!r)
		r = walk(n, &root, e);
	if (r) {
		close_nfs(&n->base);
		return r;
	}
	*out = &n->base;
	return 0;
}
