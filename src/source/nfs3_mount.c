/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where an NFSv3 export begins: ports, MOUNT, FSINFO (RFC 1813 appendix I, RFC 1833).
 *
 * The URL's path may be an export or a directory below one.  Some servers
 * MOUNT any directory, others only exports: the path is tried as a whole, then
 * shortened from the end; what was cut off is looked up by the caller.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-nfs.h>
#include <nfsc/libnfs-raw-portmap.h>

#include "nfs3_attr.h"
#include "nfs_once.h"

#define NFS_DEFAULT_PORT 2049	/* RFC 7530 3.1 */

struct port_call {
	struct nfs_once once;
	uint32_t port;
};

static void port_done(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct port_call *p = arg;

	(void)rpc;
	if (nfs_once_reply(&p->once, status, data))
		p->port = *(const uint32_t *)data;
}

/* Ask the portmapper; *out stays 0 if it does not know the program. */
static int ask_port(const struct url *u, int program, int version, uint16_t *out, struct err *e)
{
	struct port_call p;
	int r = nfs_once_connect(&p.once, u, PMAP_PORT, "the portmapper", e);

	if (r)
		return r;
	p.port = 0;
	r = nfs_once_wait(&p.once,
			  rpc_pmap2_getport_async(p.once.rpc, program, version, 6 /* IPPROTO_TCP */,
						  port_done, &p),
			  "the portmapper", e);
	nfs_once_close(&p.once);
	*out = p.port <= 65535 ? (uint16_t)p.port : 0;
	return r;
}

static int find_ports(struct nfs *n, uint16_t *mount, struct err *e)
{
	const struct url *u = &n->url;
	struct err ignored;
	int r;

	n->port = u->nfs_port;
	*mount = u->mount_port;
	if (!*mount) {
		r = ask_port(u, MOUNT_PROGRAM, MOUNT_V3, mount, e);
		if (r && !n->port)
			return r;
		if (!*mount && !n->port)
			return err_set(e, EPROTONOSUPPORT,
				       "the portmapper at %s knows no MOUNT v3 service: give mountport=",
				       u->host);
		if (!*mount)	/* servers in user space often have one port for all */
			*mount = n->port;
	}
	if (!n->port && !u->mount_port && ask_port(u, NFS_PROGRAM, NFS_V3, &n->port, &ignored))
		n->port = 0;
	if (!n->port)
		n->port = NFS_DEFAULT_PORT;
	return 0;
}

struct mount_call {
	struct nfs_once once;
	uint32_t status;
	struct source_fh fh;
};

static void mount_done(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct mount_call *m = arg;
	const mountres3 *res = data;

	(void)rpc;
	if (!nfs_once_reply(&m->once, status, data))
		return;
	m->status = (uint32_t)res->fhs_status;
	if (m->status == MNT3_OK) {
		const mountres3_ok *ok = &res->mountres3_u.mountinfo;
		nfs_fh3 fh = { .data = { ok->fhandle.fhandle3_len, ok->fhandle.fhandle3_val } };

		if (nfs3_attr_fh(&fh, &m->fh))
			m->status = MNT3ERR_SERVERFAULT;
	}
}

static int mount_error(const struct url *u, uint32_t status, struct err *e)
{
	switch (status) {
	case MNT3ERR_PERM:
	case MNT3ERR_ACCES:	/* servers also say this to hide what exists */
		return err_set(e, EACCES, "%s does not export %s to this host (no permission)", u->host,
			       u->path);
	case MNT3ERR_NOENT:
	case MNT3ERR_NOTDIR:
	case MNT3ERR_INVAL:
		return err_set(e, ENOENT, "%s does not export %s to this host", u->host, u->path);
	default:
		return err_set(e, EIO, "%s refuses to mount %s (status %u)", u->host, u->path, status);
	}
}

/* Cut the last component of path off and put it in front of rest.  False: nothing left to cut. */
static bool shorten(char *path, char *rest, size_t size)
{
	char *slash = strrchr(path, '/');
	size_t len = strlen(slash), old = strlen(rest);

	if (slash[1] == 0 || len + old >= size)
		return false;
	memmove(rest + len, rest, old + 1);
	memcpy(rest, slash, len);
	slash[slash == path] = 0;
	return true;
}

static int mount_path(struct nfs *n, uint16_t port, struct nfs_root *out, struct err *e)
{
	struct mount_call m = { .status = 0 };
	char path[sizeof n->url.path];
	uint32_t first = 0;
	int r = nfs_once_connect(&m.once, &n->url, port, "the MOUNT service", e);

	if (r)
		return r;
	strcpy(path, n->url.path);
	out->rest[0] = 0;
	do {
		r = nfs_once_wait(&m.once, rpc_mount3_mnt_async(m.once.rpc, mount_done, path, &m),
				  "the MOUNT service", e);
		if (!first)
			first = m.status;
	} while (!r && m.status != MNT3_OK && shorten(path, out->rest, sizeof out->rest) &&
		 path[1]);
	nfs_once_close(&m.once);
	if (r)
		return r;
	if (m.status != MNT3_OK)
		return mount_error(&n->url, first, e);
	out->fh = m.fh;
	return 0;
}

struct info_call {
	struct nfs_once once;
	uint32_t status, rtmax;
	bool nsec;
};

static void info_done(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct info_call *i = arg;
	const FSINFO3res *res = data;

	(void)rpc;
	if (!nfs_once_reply(&i->once, status, data))
		return;
	i->status = (uint32_t)res->status;
	if (res->status == NFS3_OK) {
		i->rtmax = res->FSINFO3res_u.resok.rtmax;
		i->nsec = res->FSINFO3res_u.resok.time_delta.seconds == 0;
	}
}

static int get_info(struct nfs *n, const struct source_fh *fh, struct err *e)
{
	FSINFO3args args = { .fsroot = { .data = { fh->len, (char *)(uintptr_t)fh->data } } };
	struct info_call i = { .status = 0 };
	int r = nfs_once_connect(&i.once, &n->url, n->port, "the NFS service", e);

	if (r)
		return r;
	r = nfs_once_wait(&i.once, rpc_nfs3_fsinfo_async(i.once.rpc, info_done, &args, &i),
			  "the NFS v3 service", e);
	nfs_once_close(&i.once);
	if (r)
		return r;
	if (i.status)
		return err_sys(e, nfs3_attr_error(i.status), "%s: FSINFO of %s", n->url.host, n->url.path);
	if (i.rtmax < 1)
		return err_set(e, EPROTO, "%s says that nothing can be read at a time", n->url.host);
	n->read_max = i.rtmax < NFS_READ_MAX ? i.rtmax : NFS_READ_MAX;
	n->time_nsec = i.nsec;
	return 0;
}

int nfs3_mount(struct nfs *n, struct nfs_root *out, struct err *e)
{
	uint16_t mount_port;
	int r = find_ports(n, &mount_port, e);

	if (!r)
		r = mount_path(n, mount_port, out, e);
	return r ? r : get_info(n, &out->fh, e);
}
