/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * libfuse's operation table: each entry packs its arguments into a request
 * record and starts it.  Nothing is decided here.
 */
#include <errno.h>
#include <string.h>

#include "internal.h"

#define NEW(op, ino)                                              \
	struct request *r = request_new(req, &op, ino);           \
	if (!r)                                                   \
		return

static bool second_node(struct request *r, fuse_ino_t ino)
{
	r->ino2 = ino;
	r->node2 = node_by_id(r->f->nodes, ino);
	return r->node2 != NULL;
}

static void set_fi(struct request *r, const struct fuse_file_info *fi)
{
	r->has_fh = fi != NULL;
	if (!fi)
		return;
	r->fh = fi->fh;
	r->flags = fi->flags;
	r->owner = fi->lock_owner;
	r->writepage = fi->writepage;
}

static void ll_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	NEW(op_lookup, parent);
	r->name = name;
	request_start(r);
}

static void ll_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	struct fusefs *f = fuse_req_userdata(req);

	node_forget(f->nodes, ino, n);
	fuse_reply_none(req);
}

static void ll_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *v)
{
	struct fusefs *f = fuse_req_userdata(req);

	for (size_t i = 0; i < count; i++)
		node_forget(f->nodes, v[i].ino, v[i].nlookup);
	fuse_reply_none(req);
}

static void ll_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	NEW(op_getattr, ino);
	set_fi(r, fi);
	request_start(r);
}

static void ll_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int set, struct fuse_file_info *fi)
{
	NEW(op_setattr, ino);
	set_fi(r, fi);
	r->attr = *attr;
	r->flags = set;
	request_start(r);
}

static void ll_readlink(fuse_req_t req, fuse_ino_t ino)
{
	NEW(op_readlink, ino);
	request_start(r);
}

static void ll_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	NEW(op_mknod, parent);
	r->name = name;
	r->mode = mode;
	r->rdev = rdev;
	request_start(r);
}

static void ll_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	NEW(op_mkdir, parent);
	r->name = name;
	r->mode = mode;
	request_start(r);
}

static void ll_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name)
{
	NEW(op_symlink, parent);
	r->name = name;
	r->name2 = link;
	request_start(r);
}

static void ll_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	NEW(op_unlink, parent);
	r->name = name;
	request_start(r);
}

static void ll_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	NEW(op_rmdir, parent);
	r->name = name;
	request_start(r);
}

static void stale(struct request *r)
{
	fuse_reply_err(r->req, ESTALE);
	request_discard(r);
}

static void ll_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
		      const char *newname, unsigned flags)
{
	NEW(op_rename, parent);
	r->name = name;
	r->name2 = newname;
	r->flags = (int)flags;
	if (second_node(r, newparent))
		request_start(r);
	else
		stale(r);
}

static void ll_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
	NEW(op_link, newparent);
	r->name = newname;
	if (second_node(r, ino))
		request_start(r);
	else
		stale(r);
}

static void ll_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	NEW(op_open, ino);
	set_fi(r, fi);
	request_start(r);
}

static void ll_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	NEW(op_create, parent);
	set_fi(r, fi);
	r->name = name;
	r->mode = mode;
	request_start(r);
}

static void ll_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	NEW(op_read, ino);
	set_fi(r, fi);
	r->size = size;
	r->off = off;
	request_start(r);
}

static void ll_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	NEW(op_write, ino);
	set_fi(r, fi);
	r->data = buf;
	r->size = size;
	r->off = off;
	request_start(r);
}

static void ll_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	NEW(op_flush, ino);
	set_fi(r, fi);
	request_start(r);
}

static void ll_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	NEW(op_release, ino);
	set_fi(r, fi);
	request_start(r);
}

static void ll_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	NEW(op_fsync, ino);
	set_fi(r, fi);
	r->flags = datasync;
	request_start(r);
}

static void ll_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	NEW(op_opendir, ino);
	set_fi(r, fi);
	request_start(r);
}

static void ll_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	NEW(op_readdir, ino);
	set_fi(r, fi);
	r->size = size;
	r->off = off;
	request_start(r);
}

static void ll_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	NEW(op_readdirplus, ino);
	set_fi(r, fi);
	r->size = size;
	r->off = off;
	request_start(r);
}

static void ll_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	NEW(op_releasedir, ino);
	set_fi(r, fi);
	request_start(r);
}

static void ll_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	NEW(op_fsyncdir, ino);
	set_fi(r, fi);
	r->flags = datasync;
	request_start(r);
}

static void ll_statfs(fuse_req_t req, fuse_ino_t ino)
{
	NEW(op_statfs, ino);
	request_start(r);
}

static void ll_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	NEW(op_setxattr, ino);
	(void)name;		/* libfuse 3.14 mistakes the short form of the header */
	(void)value;
	(void)size;
	r->name = session_raw_setxattr((const char **)&r->data, &r->size);
	r->flags = flags;
	request_start(r);
}

static void ll_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	NEW(op_getxattr, ino);
	r->name = name;
	r->size = size;
	request_start(r);
}

static void ll_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	NEW(op_listxattr, ino);
	r->size = size;
	request_start(r);
}

static void ll_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	NEW(op_removexattr, ino);
	r->name = name;
	request_start(r);
}

static void ll_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock)
{
	NEW(op_getlk, ino);
	set_fi(r, fi);
	r->lock = *lock;
	request_start(r);
}

static void ll_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock, int sleep)
{
	NEW(op_setlk, ino);
	set_fi(r, fi);
	r->lock = *lock;
	r->sleep = sleep;
	request_start(r);
}

static void ll_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int how)
{
	NEW(op_flock, ino);
	set_fi(r, fi);
	r->flags = how;
	request_start(r);
}

static void ll_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned cmd, void *arg, struct fuse_file_info *fi,
		     unsigned flags, const void *in, size_t in_size, size_t out_size)
{
	NEW(op_ioctl, ino);
	set_fi(r, fi);
	(void)arg;
	(void)flags;
	r->cmd = cmd;
	r->data = in_size ? in : NULL;
	r->size = in_size;
	r->off = (off_t)out_size;
	request_start(r);
}

static void ll_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
	NEW(op_fallocate, ino);
	set_fi(r, fi);
	r->mode = (mode_t)mode;
	r->off = off;
	r->off2 = len;
	request_start(r);
}

static void ll_copy_file_range(fuse_req_t req, fuse_ino_t in, off_t off_in, struct fuse_file_info *fi_in,
			       fuse_ino_t out, off_t off_out, struct fuse_file_info *fi_out, size_t len, int flags)
{
	NEW(op_copy, in);
	set_fi(r, fi_in);
	r->fh2 = fi_out->fh;
	r->off = off_in;
	r->off2 = off_out;
	r->size = len;
	r->flags = flags;
	if (second_node(r, out))
		request_start(r);
	else
		stale(r);
}

static void ll_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	NEW(op_lseek, ino);
	set_fi(r, fi);
	r->off = off;
	r->flags = whence;
	request_start(r);
}

const struct fuse_lowlevel_ops ops_table = {
	.init = session_init,
	.lookup = ll_lookup,
	.forget = ll_forget,
	.forget_multi = ll_forget_multi,
	.getattr = ll_getattr,
	.setattr = ll_setattr,
	.readlink = ll_readlink,
	.mknod = ll_mknod,
	.mkdir = ll_mkdir,
	.symlink = ll_symlink,
	.unlink = ll_unlink,
	.rmdir = ll_rmdir,
	.rename = ll_rename,
	.link = ll_link,
	.open = ll_open,
	.create = ll_create,
	.read = ll_read,
	.write = ll_write,
	.flush = ll_flush,
	.release = ll_release,
	.fsync = ll_fsync,
	.opendir = ll_opendir,
	.readdir = ll_readdir,
	.readdirplus = ll_readdirplus,
	.releasedir = ll_releasedir,
	.fsyncdir = ll_fsyncdir,
	.statfs = ll_statfs,
	.setxattr = ll_setxattr,
	.getxattr = ll_getxattr,
	.listxattr = ll_listxattr,
	.removexattr = ll_removexattr,
	.getlk = ll_getlk,
	.setlk = ll_setlk,
	.flock = ll_flock,
	.ioctl = ll_ioctl,
	.fallocate = ll_fallocate,
	.copy_file_range = ll_copy_file_range,
	.lseek = ll_lseek,
};
