/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * NFSv3: requests to calls, replies to answers (RFC 1813 chapter 3).
 *
 * Replies are trusted only after libnfs's decoder (bounded by nfs_zdr.c) and
 * the checks here.  A server may leave out attributes and handles nearly
 * everywhere: LOOKUP then asks with a GETATTR, READDIRPLUS with one LOOKUP for
 * each such entry, all sent at once; what even those do not say is delivered
 * without, and so is an entry that has vanished meanwhile.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "nfs3_attr.h"
#include "nfs_conn.h"

#define LIST_REPLY (256u << 10)	/* READDIRPLUS maxcount; larger brings nothing on loopback (measured) */

static nfs_fh3 handle(const struct source_fh *fh)
{
	return (nfs_fh3){ .data = { fh->len, (char *)(uintptr_t)fh->data } };
}

/* Post-op attributes into the reply; wrong ones count as none. */
static void take_attr(struct source_req *req, const post_op_attr *p)
{
	req->has_attr = p->attributes_follow &&
			nfs3_attr(&p->post_op_attr_u.attributes, &req->attr) == 0;
}

/* The head of each callback: false if the request has been dealt with. */
static bool reply_ok(struct source_req *req, int status, void *data)
{
	if (!nfs_conn_reply(req, status, data))
		return false;
	if (*(const nfsstat3 *)data == NFS3_OK)	/* every result starts with it */
		return true;
	nfs_conn_finish(req, nfs3_attr_error(*(const nfsstat3 *)data));
	return false;
}

/* ---- GETATTR, LOOKUP ---- */

static void getattr_done(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct source_req *req = arg;
	const GETATTR3res *res = data;
	int r;

	(void)rpc;
	if (!reply_ok(req, status, data))
		return;
	r = nfs3_attr(&res->GETATTR3res_u.resok.obj_attributes, &req->attr);
	req->has_attr = r == 0;
	nfs_conn_finish(req, r);
}

static int send_getattr(struct rpc_context *rpc, struct source_req *req, const struct source_fh *fh)
{
	GETATTR3args args = { .object = handle(fh) };

	return rpc_nfs3_getattr_async(rpc, getattr_done, &args, req) ? -ENOMEM : 0;
}

static void lookup_done(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct source_req *req = arg;
	const LOOKUP3res *res = data;
	int r;

	if (!reply_ok(req, status, data))
		return;
	take_attr(req, &res->LOOKUP3res_u.resok.obj_attributes);
	r = nfs3_attr_fh(&res->LOOKUP3res_u.resok.object, &req->out_fh);
	if (!r && !req->has_attr) {
		r = send_getattr(rpc, req, &req->out_fh);
		if (!r)
			return;
	}
	nfs_conn_finish(req, r);
}

static int send_lookup(struct rpc_context *rpc, struct source_req *req)
{
	LOOKUP3args args = { .what = { handle(&req->fh), (char *)(uintptr_t)req->name } };

	return rpc_nfs3_lookup_async(rpc, lookup_done, &args, req) ? -ENOMEM : 0;
}

/* ---- READDIR ---- */

/* A page whose gaps are being filled; the request waits for all of them. */
struct fill {
	struct source_req *req;
	struct nfs_page page;
	uint32_t waiting;
	bool lost;
	struct gap {
		struct fill *fill;
		uint32_t entry;
	} gaps[];
};

static void fill_step(struct fill *f)
{
	struct source_req *req = f->req;

	if (--f->waiting)
		return;
	if (f->lost)
		nfs_conn_again(req, 0);
	else
		nfs_conn_finish(req, 0);
	nfs_page_free(&f->page);
	free(f);
}

static void gap_done(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct gap *g = arg;
	struct fill *f = g->fill;
	struct source_entry *e = &f->page.entries[g->entry];
	const LOOKUP3res *res = data;
	int r = nfs_conn_part(nfs_conn_of(f->req), status, data);

	(void)rpc;
	if (r == NFS_CONN_LOST)
		f->lost = true;
	if (!r && res->status == NFS3_OK) {
		const LOOKUP3resok *ok = &res->LOOKUP3res_u.resok;

		e->has_fh = !nfs3_attr_fh(&ok->object, &e->fh);
		if (ok->obj_attributes.attributes_follow)
			e->has_attr = !nfs3_attr(&ok->obj_attributes.post_op_attr_u.attributes, &e->attr);
	}
	fill_step(f);
}

static bool is_gap(const struct source_entry *e)
{
	return !e->has_attr || !e->has_fh;
}

/* Takes the page over.  The extra count keeps the fill alive until all calls are queued. */
static void fill_gaps(struct nfs_conn *c, struct source_req *req, uint32_t gaps)
{
	struct nfs_page *page = nfs_conn_page(c);
	struct fill *f = malloc(sizeof *f + gaps * sizeof f->gaps[0]);
	uint32_t i, n = 0;

	if (!f) {
		nfs_conn_finish(req, -ENOMEM);
		return;
	}
	*f = (struct fill){ .req = req, .page = *page, .waiting = 1 };
	memset(page, 0, sizeof *page);
	for (i = 0; i < f->page.count; i++) {
		struct source_entry *e = &f->page.entries[i];
		LOOKUP3args args = { .what = { handle(&req->fh), (char *)(uintptr_t)e->name } };

		if (!is_gap(e))
			continue;
		f->gaps[n] = (struct gap){ f, i };
		if (!rpc_nfs3_lookup_async(nfs_conn_rpc(c), gap_done, &args, &f->gaps[n++]))
			f->waiting++;
	}
	fill_step(f);
}

static int add_entry(struct nfs_page *page, struct source_req *req, const entryplus3 *from)
{
	struct source_entry *e;
	int r = nfs_page_add(page, req, from->name, strlen(from->name), &e);

	if (r || !e)
		return r;
	if (from->name_attributes.attributes_follow)
		e->has_attr = !nfs3_attr(&from->name_attributes.post_op_attr_u.attributes, &e->attr);
	if (from->name_handle.handle_follows)
		e->has_fh = !nfs3_attr_fh(&from->name_handle.post_op_fh3_u.handle, &e->fh);
	return 0;
}

static int take_list(struct nfs_page *page, struct source_req *req, const READDIRPLUS3resok *ok)
{
	const entryplus3 *from;
	int r = 0;

	nfs_page_reset(page);
	take_attr(req, &ok->dir_attributes);
	memcpy(&req->out_verifier, ok->cookieverf, sizeof req->out_verifier);
	req->next_cookie = req->cookie;
	for (from = ok->reply.entries; from && !r; from = from->nextentry) {
		req->next_cookie = from->cookie;
		r = add_entry(page, req, from);
	}
	req->eof = ok->reply.eof;
	/* a page that leads nowhere would be asked for again for ever */
	if (!r && !req->eof && (!ok->reply.entries || req->next_cookie == req->cookie))
		r = -EPROTO;
	nfs_page_seal(page, req);
	return r;
}

static void readdir_done(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct source_req *req = arg;
	struct nfs_conn *c = nfs_conn_of(req);
	const READDIRPLUS3res *res = data;
	uint32_t i, gaps = 0;
	int r;

	(void)rpc;
	if (!reply_ok(req, status, data))
		return;
	r = take_list(nfs_conn_page(c), req, &res->READDIRPLUS3res_u.resok);
	for (i = 0; !r && i < req->entry_count; i++)
		gaps += is_gap(&req->entries[i]);
	if (gaps)
		fill_gaps(c, req, gaps);
	else
		nfs_conn_finish(req, r);
}

static int send_readdir(struct rpc_context *rpc, struct source_req *req)
{
	READDIRPLUS3args args = {
		.dir = handle(&req->fh),
		.cookie = req->cookie,
		.dircount = LIST_REPLY,
		.maxcount = LIST_REPLY,
	};

	memcpy(args.cookieverf, &req->verifier, sizeof args.cookieverf);
	return rpc_nfs3_readdirplus_async(rpc, readdir_done, &args, req) ? -ENOMEM : 0;
}

/* ---- READLINK, READ, STATFS ---- */

static void readlink_done(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct source_req *req = arg;
	const READLINK3res *res = data;
	const READLINK3resok *ok;
	size_t len;

	(void)rpc;
	if (!reply_ok(req, status, data))
		return;
	ok = &res->READLINK3res_u.resok;
	len = ok->data ? strlen(ok->data) : 0;
	if (len < 1 || len > SOURCE_LINK_MAX) {
		nfs_conn_finish(req, -EPROTO);
		return;
	}
	take_attr(req, &ok->symlink_attributes);
	req->data = ok->data;
	req->out_length = (uint32_t)len;
	nfs_conn_finish(req, 0);
}

static int send_readlink(struct rpc_context *rpc, struct source_req *req)
{
	READLINK3args args = { .symlink = handle(&req->fh) };

	return rpc_nfs3_readlink_async(rpc, readlink_done, &args, req) ? -ENOMEM : 0;
}

static void read_done(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct source_req *req = arg;
	const READ3res *res = data;
	const READ3resok *ok;
	bool sane;

	(void)rpc;
	if (!reply_ok(req, status, data))
		return;
	ok = &res->READ3res_u.resok;
	take_attr(req, &ok->file_attributes);
	sane = ok->count == ok->data.data_len && ok->count <= req->length &&
	       (ok->count > 0 || ok->eof);
	req->data = ok->data.data_val;
	req->out_length = sane ? ok->count : 0;
	req->eof = ok->eof;
	nfs_conn_finish(req, sane ? 0 : -EPROTO);
}

static int send_read(struct nfs *n, struct rpc_context *rpc, struct source_req *req)
{
	READ3args args = {
		.file = handle(&req->fh),
		.offset = req->offset,
		.count = req->length < n->read_max ? req->length : n->read_max,
	};

	return rpc_nfs3_read_async(rpc, read_done, &args, req) ? -ENOMEM : 0;
}

static void statfs_done(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct source_req *req = arg;
	const FSSTAT3res *res = data;
	const FSSTAT3resok *ok;

	(void)rpc;
	if (!reply_ok(req, status, data))
		return;
	ok = &res->FSSTAT3res_u.resok;
	req->fs = (struct source_fs){
		.bytes_used = ok->tbytes > ok->fbytes ? ok->tbytes - ok->fbytes : 0,
		.bytes_total = ok->tbytes,
		.files_used = ok->tfiles > ok->ffiles ? ok->tfiles - ok->ffiles : 0,
	};
	nfs_conn_finish(req, 0);
}

static int send_statfs(struct rpc_context *rpc, struct source_req *req)
{
	FSSTAT3args args = { .fsroot = handle(&req->fh) };

	return rpc_nfs3_fsstat_async(rpc, statfs_done, &args, req) ? -ENOMEM : 0;
}

/* ---- the vtable ---- */

static int nfs3_send(struct nfs_conn *c, struct rpc_context *rpc, struct source_req *req)
{
	if (req->fh.len > NFS3_FHSIZE)
		return -ESTALE;
	switch (req->op) {
	case SOURCE_GETATTR:
		return send_getattr(rpc, req, &req->fh);
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

static int nfs3_probe(struct rpc_context *rpc, rpc_cb cb, void *arg)
{
	return rpc_nfs3_null_async(rpc, cb, arg);
}

const struct nfs_proto nfs3_proto = {
	.send = nfs3_send,
	.probe = nfs3_probe,
};
