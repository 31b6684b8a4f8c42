/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * NFSv4.0: requests to compounds, replies to answers (RFC 7530).
 *
 * Stateless by choice: every compound begins with PUTFH of a handle, and READ
 * uses the anonymous stateid of all zeros (RFC 7530 9.1.4.3), so there is no
 * client id, no OPEN and no lease, and nothing to recover after a restart of
 * the server but its grace period, which is waited out here.  What this gives
 * up: volatile file handles are -ESTALE at the caller, who looks the path up.
 *
 * Attributes come in the same compound after the operation, so a READ's are
 * post-operation attributes as in v3, though not atomic with it.
 */
#include <errno.h>
#include <string.h>

#include <nfsc/libnfs-raw-nfs4.h>

#include "base/clock.h"
#include "check.h"
#include "nfs4_attr.h"
#include "nfs_conn.h"
#include "nfs_once.h"

#define LIST_REPLY (256u << 10)		/* READDIR maxcount */
#define GRACE_PAUSE (1 * CLOCK_SEC)
#define OPS_MAX 8
#define PATH_OPS 60			/* components sent in one compound; servers allow a bit more */

/* ---- building ---- */

struct compound {
	nfs_argop4 ops[OPS_MAX];
	unsigned count;
};

static nfs_argop4 *add(struct compound *c, nfs_opnum4 op)
{
	nfs_argop4 *a = &c->ops[c->count++];

	a->argop = op;
	return a;
}

static bitmap4 ask(const uint32_t *words)
{
	return (bitmap4){ .bitmap4_len = 2, .bitmap4_val = (uint32_t *)(uintptr_t)words };
}

static void add_putfh(struct compound *c, const struct source_fh *fh)
{
	add(c, OP_PUTFH)->nfs_argop4_u.opputfh.object =
		(nfs_fh4){ fh->len, (char *)(uintptr_t)fh->data };
}

static void add_getattr(struct compound *c, const uint32_t *words)
{
	add(c, OP_GETATTR)->nfs_argop4_u.opgetattr.attr_request = ask(words);
}

static void add_lookup(nfs_argop4 *a, const char *name, size_t len)
{
	a->argop = OP_LOOKUP;
	a->nfs_argop4_u.oplookup.objname = (component4){ (u_int)len, (char *)(uintptr_t)name };
}

static int queue(struct rpc_context *rpc, nfs_argop4 *ops, unsigned count, rpc_cb cb, void *arg)
{
	COMPOUND4args args = { .argarray = { count, ops } };

	return rpc_nfs4_compound_async(rpc, cb, &args, arg) ? -ENOMEM : 0;
}

/* ---- taking apart ---- */

/* The result of operation i, if it is what was asked for and went well. */
static const nfs_resop4 *result(const COMPOUND4res *res, unsigned i, nfs_opnum4 op)
{
	const nfs_resop4 *r;

	if (i >= res->resarray.resarray_len)
		return NULL;
	r = &res->resarray.resarray_val[i];
	if (r->resop != op)
		return NULL;
	/* every result begins with its status */
	return r->nfs_resop4_u.opgetattr.status == NFS4_OK ? r : NULL;
}

/* The head of each callback: false if the request has been dealt with. */
static bool reply_ok(struct source_req *req, int status, const void *data)
{
	const COMPOUND4res *res = data;

	if (!nfs_conn_reply(req, status, data))
		return false;
	if (res->status == NFS4_OK)
		return true;
	if (res->status == NFS4ERR_GRACE)
		nfs_conn_again(req, GRACE_PAUSE);
	else
		nfs_conn_finish(req, nfs4_attr_error((uint32_t)res->status));
	return false;
}

static int parse(const fattr4 *f, struct nfs_ids *ids, struct nfs4_attrs *out)
{
	return nfs4_attr_parse(f->attrmask.bitmap4_val, f->attrmask.bitmap4_len,
			       f->attr_vals.attrlist4_val, f->attr_vals.attrlist4_len, ids, out);
}

/* The object's attributes from the GETATTR at i into the reply. */
static int take_attr(struct source_req *req, const COMPOUND4res *res, unsigned i)
{
	const nfs_resop4 *g = result(res, i, OP_GETATTR);
	struct nfs4_attrs a;

	if (!g || parse(&g->nfs_resop4_u.opgetattr.GETATTR4res_u.resok4.obj_attributes,
			nfs_conn_ids(nfs_conn_of(req)), &a) || nfs4_attr_complete(&a))
		return -EPROTO;
	req->attr = a.attr;
	req->has_attr = true;
	return 0;
}

static int take_fh(const COMPOUND4res *res, unsigned i, struct source_fh *out)
{
	const nfs_resop4 *g = result(res, i, OP_GETFH);
	const nfs_fh4 *fh;

	if (!g)
		return -EPROTO;
	fh = &g->nfs_resop4_u.opgetfh.GETFH4res_u.resok4.object;
	if (fh->nfs_fh4_len < 1 || fh->nfs_fh4_len > NFS4_FHSIZE)
		return -EPROTO;
	out->len = (uint16_t)fh->nfs_fh4_len;
	memcpy(out->data, fh->nfs_fh4_val, out->len);
	return 0;
}

/* ---- GETATTR: PUTFH GETATTR;  LOOKUP: PUTFH LOOKUP GETFH GETATTR ---- */

static void getattr_done(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct source_req *req = arg;

	(void)rpc;
	if (reply_ok(req, status, data))
		nfs_conn_finish(req, take_attr(req, data, 1));
}

static int send_getattr(struct rpc_context *rpc, struct source_req *req)
{
	struct compound c = { .count = 0 };

	add_putfh(&c, &req->fh);
	add_getattr(&c, nfs4_attr_object);
	return queue(rpc, c.ops, c.count, getattr_done, req);
}

static void lookup_done(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct source_req *req = arg;
	int r;

	(void)rpc;
	if (!reply_ok(req, status, data))
		return;
	r = take_fh(data, 2, &req->out_fh);
	nfs_conn_finish(req, r ? r : take_attr(req, data, 3));
}

static int send_lookup(struct rpc_context *rpc, struct source_req *req)
{
	struct compound c = { .count = 0 };

	add_putfh(&c, &req->fh);
	add_lookup(add(&c, OP_LOOKUP), req->name, strlen(req->name));
	add(&c, OP_GETFH);
	add_getattr(&c, nfs4_attr_object);
	return queue(rpc, c.ops, c.count, lookup_done, req);
}

/* ---- READDIR: PUTFH READDIR GETATTR ---- */

static int add_entry(struct nfs_conn *c, struct source_req *req, const entry4 *from)
{
	struct source_entry *e;
	struct nfs4_attrs a;
	int r = nfs_page_add(nfs_conn_page(c), req, from->name.utf8string_val,
			     from->name.utf8string_len, &e);

	if (r || !e || parse(&from->attrs, nfs_conn_ids(c), &a) || a.read_error)
		return r;	/* without attributes the caller looks the name up */
	e->has_fh = a.fh.len > 0;
	if (e->has_fh)
		e->fh = a.fh;
	e->has_attr = !nfs4_attr_complete(&a);
	if (e->has_attr)
		e->attr = a.attr;
	return 0;
}

static int take_list(struct nfs_conn *c, struct source_req *req, const COMPOUND4res *res)
{
	const nfs_resop4 *op = result(res, 1, OP_READDIR);
	const READDIR4resok *ok;
	const entry4 *from;
	int r = 0;

	if (!op)
		return -EPROTO;
	ok = &op->nfs_resop4_u.opreaddir.READDIR4res_u.resok4;
	nfs_page_reset(nfs_conn_page(c));
	memcpy(&req->out_verifier, ok->cookieverf, sizeof req->out_verifier);
	req->next_cookie = req->cookie;
	for (from = ok->reply.entries; from && !r; from = from->nextentry) {
		req->next_cookie = from->cookie;
		/* RFC 7530 16.24.4: 0, 1 and 2 are not the cookie of any entry */
		r = from->cookie > 2 ? add_entry(c, req, from) : -EPROTO;
	}
	req->eof = ok->reply.eof;
	/* a page that leads nowhere would be asked for again for ever */
	if (!r && !req->eof && (!ok->reply.entries || req->next_cookie == req->cookie))
		r = -EPROTO;
	nfs_page_seal(nfs_conn_page(c), req);
	return r;
}

static void readdir_done(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct source_req *req = arg;
	int r;

	(void)rpc;
	if (!reply_ok(req, status, data))
		return;
	r = take_list(nfs_conn_of(req), req, data);
	nfs_conn_finish(req, r ? r : take_attr(req, data, 2));
}

static int send_readdir(struct rpc_context *rpc, struct source_req *req)
{
	struct compound c = { .count = 0 };
	READDIR4args *a;

	add_putfh(&c, &req->fh);
	a = &add(&c, OP_READDIR)->nfs_argop4_u.opreaddir;
	a->cookie = req->cookie;
	memcpy(a->cookieverf, &req->verifier, sizeof a->cookieverf);
	a->dircount = LIST_REPLY;
	a->maxcount = LIST_REPLY;
	a->attr_request = ask(nfs4_attr_entry);
	add_getattr(&c, nfs4_attr_object);
	return queue(rpc, c.ops, c.count, readdir_done, req);
}

/* ---- READLINK and READ: PUTFH, the operation, GETATTR ---- */

static void readlink_done(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct source_req *req = arg;
	const nfs_resop4 *op;
	const linktext4 *link;

	(void)rpc;
	if (!reply_ok(req, status, data))
		return;
	op = result(data, 1, OP_READLINK);
	link = op ? &op->nfs_resop4_u.opreadlink.READLINK4res_u.resok4.link : NULL;
	if (!link || link->utf8string_len < 1 || link->utf8string_len > SOURCE_LINK_MAX ||
	    memchr(link->utf8string_val, 0, link->utf8string_len)) {
		nfs_conn_finish(req, -EPROTO);
		return;
	}
	req->data = link->utf8string_val;
	req->out_length = link->utf8string_len;
	nfs_conn_finish(req, take_attr(req, data, 2));
}

static int send_readlink(struct rpc_context *rpc, struct source_req *req)
{
	struct compound c = { .count = 0 };

	add_putfh(&c, &req->fh);
	add(&c, OP_READLINK);
	add_getattr(&c, nfs4_attr_object);
	return queue(rpc, c.ops, c.count, readlink_done, req);
}

static void read_done(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct source_req *req = arg;
	const nfs_resop4 *op;
	const READ4resok *ok;

	(void)rpc;
	if (!reply_ok(req, status, data))
		return;
	op = result(data, 1, OP_READ);
	ok = op ? &op->nfs_resop4_u.opread.READ4res_u.resok4 : NULL;
	if (!ok || ok->data.data_len > req->length || (ok->data.data_len == 0 && !ok->eof)) {
		nfs_conn_finish(req, -EPROTO);
		return;
	}
	req->data = ok->data.data_val;
	req->out_length = ok->data.data_len;
	req->eof = ok->eof;
	nfs_conn_finish(req, take_attr(req, data, 2));
}

static int send_read(struct nfs *n, struct rpc_context *rpc, struct source_req *req)
{
	struct compound c = { .count = 0 };
	READ4args *a;

	add_putfh(&c, &req->fh);
	a = &add(&c, OP_READ)->nfs_argop4_u.opread;
	memset(&a->stateid, 0, sizeof a->stateid);
	a->offset = req->offset;
	a->count = req->length < n->read_max ? req->length : n->read_max;
	add_getattr(&c, nfs4_attr_object);
	return queue(rpc, c.ops, c.count, read_done, req);
}

/* ---- STATFS: PUTFH GETATTR ---- */

static void statfs_done(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct source_req *req = arg;
	const nfs_resop4 *op;
	struct nfs4_attrs a;

	(void)rpc;
	if (!reply_ok(req, status, data))
		return;
	op = result(data, 1, OP_GETATTR);
	if (!op || parse(&op->nfs_resop4_u.opgetattr.GETATTR4res_u.resok4.obj_attributes,
			 nfs_conn_ids(nfs_conn_of(req)), &a)) {
		nfs_conn_finish(req, -EPROTO);
		return;
	}
	req->fs = (struct source_fs){
		.bytes_used = a.space_total > a.space_free ? a.space_total - a.space_free : 0,
		.bytes_total = a.space_total,
		.files_used = a.files_total > a.files_free ? a.files_total - a.files_free : 0,
	};
	nfs_conn_finish(req, 0);
}

static int send_statfs(struct rpc_context *rpc, struct source_req *req)
{
	struct compound c = { .count = 0 };

	add_putfh(&c, &req->fh);
	add_getattr(&c, nfs4_attr_fs);
	return queue(rpc, c.ops, c.count, statfs_done, req);
}

/* ---- the vtable ---- */

static int nfs4_send(struct nfs_conn *c, struct rpc_context *rpc, struct source_req *req)
{
	switch (req->op) {
	case SOURCE_GETATTR:
		return send_getattr(rpc, req);
	case SOURCE_LOOKUP:
		return send_lookup(rpc, req);
	case SOURCE_READDIR:
		return send_readdir(rpc, req);
	case SOURCE_READLINK:
		return send_readlink(rpc, req);
	case SOURCE_READ:
		return send_read(nfs_conn_source(c), rpc, req);
	case SOURCE_STATFS:
		return send_statfs(rpc, req);
	}
	return -EINVAL;
}

static int nfs4_probe(struct rpc_context *rpc, rpc_cb cb, void *arg)
{
	return rpc_nfs4_null_async(rpc, cb, arg);
}

const struct nfs_proto nfs4_proto = {
	.send = nfs4_send,
	.probe = nfs4_probe,
};

/* ---- opening: PUTROOTFH LOOKUP* GETFH GETATTR ---- */

struct root_call {
	struct nfs_once once;
	uint32_t status;
	unsigned lookups;	/* operations before GETFH, without PUTROOTFH */
	struct source_fh fh;
	struct nfs4_attrs server;
	int err;
};

static void root_done(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct root_call *r = arg;
	const COMPOUND4res *res = data;
	const nfs_resop4 *g;
	struct nfs_ids *ids;

	(void)rpc;
	if (!nfs_once_reply(&r->once, status, data))
		return;
	r->status = (uint32_t)res->status;
	if (r->status)
		return;
	r->err = take_fh(res, 1 + r->lookups, &r->fh);
	g = result(res, 2 + r->lookups, OP_GETATTR);
	ids = nfs_ids_new();
	if (!r->err)
		r->err = !g || !ids ? -EPROTO :
			 parse(&g->nfs_resop4_u.opgetattr.GETATTR4res_u.resok4.obj_attributes, ids,
			       &r->server);
	nfs_ids_free(ids);
}

/* As many components as go into one compound; the others are left in rest. */
static unsigned split_path(const char *path, nfs_argop4 *ops, char *rest)
{
	unsigned n = 0;

	while (*path == '/' && path[1] && n < PATH_OPS) {
		size_t len = strcspn(++path, "/");

		add_lookup(&ops[n++], path, len);
		path += len;
	}
	strcpy(rest, path[0] == '/' && path[1] ? path : "");
	return n;
}

static int root_error(struct nfs *n, uint32_t status, struct err *e)
{
	const char *host = n->url.host, *path = n->url.path;
	int r = nfs4_attr_error(status);

	switch (r) {
	case -ENOENT:
	case -ENOTDIR:
		return err_set(e, -r, "%s does not export %s to this host", host, path);
	case -EACCES:
	case -EPERM:
		return err_set(e, -r, "%s gives no permission for %s", host, path);
	case -EPROTONOSUPPORT:
		return err_set(e, -r, "%s does not speak NFS version 4.0", host);
	default:
		return err_sys(e, r, "%s: looking up %s", host, path);
	}
}

int nfs4_root(struct nfs *n, struct nfs_root *out, struct err *e)
{
	nfs_argop4 ops[PATH_OPS + 3] = { { .argop = OP_PUTROOTFH } };
	struct root_call c = { .status = 0 };
	int r;

	n->port = n->url.nfs_port ? n->url.nfs_port : 2049;	/* RFC 7530 3.1 */
	r = nfs_once_connect(&c.once, &n->url, n->port, "the NFS service", e);
	if (r)
		return r;
	c.lookups = split_path(n->url.path, ops + 1, out->rest);
	ops[1 + c.lookups].argop = OP_GETFH;
	ops[2 + c.lookups].argop = OP_GETATTR;
	ops[2 + c.lookups].nfs_argop4_u.opgetattr.attr_request = ask(nfs4_attr_server);
	r = nfs_once_wait(&c.once, queue(c.once.rpc, ops, 3 + c.lookups, root_done, &c),
			  "the NFS v4 service", e);
	nfs_once_close(&c.once);
	if (r)
		return r;
	if (c.status)
		return root_error(n, c.status, e);
	if (c.err)
		return err_set(e, EPROTO, "%s: the answer makes no sense", n->url.host);
	out->fh = c.fh;
	n->read_max = c.server.max_read && c.server.max_read < NFS_READ_MAX ?
		      (uint32_t)c.server.max_read : NFS_READ_MAX;
	n->time_nsec = c.server.time_delta.sec == 0;
	return 0;
}
