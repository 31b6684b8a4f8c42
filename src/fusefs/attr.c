/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From an inode of the target to what the kernel is told about it.
 *
 * Invariants:
 *   - Every stat that leaves this module has passed access_overlay_stat(), so an
 *     incomplete object looks as it does on the source.
 *   - An inode's mark is read before its node may be taken for complete; a
 *     node once complete stays so (D4) and is never asked about again.
 *   - Attributes are cached for ever, except of inodes ever opened for writing
 *     in passthrough (FACTS: mmap writes) and during detach.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

#include "base/creds.h"
#include "base/log.h"
#include "internal.h"
#include "open.h"

int attr_open_node(struct fusefs *f, const struct node *n, int flags)
{
	int fd = target_open_handle(f->target, &n->handle, flags | O_CLOEXEC);

	return fd == -ESTALE ? -ENOENT : fd;	/* deleted, and only a cwd or O_PATH descriptor still names it */
}

void attr_fd_path(char buf[32], int fd)
{
	snprintf(buf, 32, "/proc/self/fd/%d", fd);
}

double attr_timeout(struct fusefs *f, const struct node *n)
{
	return f->detaching || n->flags & NODE_WRITTEN ? 0 : FS_FOREVER;
}

int attr_stat(struct request *r, struct node *n, int fd, struct eobj *o, struct stat *st)
{
	struct timespec real;

	if (fstatat(fd, "", st, AT_EMPTY_PATH))
		return -errno;
	real = st->st_ctim;
	if (o)
		access_overlay_stat(o, st);
	if (r->f->engine)
		ctime_show(r->f, n, o, &real, st);
	return 0;
}

int attr_open_child(int dirfd, const char *name, int flags)
{
	struct open_how how = { .flags = (uint64_t)(flags | O_NOFOLLOW | O_CLOEXEC),
				.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS };
	long fd = syscall(SYS_openat2, dirfd, name, &how, sizeof how);

	return fd < 0 ? -errno : (int)fd;
}

/* A stub in the making has the reserved owner and must not be seen by anyone: it is not there yet (D1). */
static bool torn(struct fusefs *f, int fd)
{
	struct stat st;

	return f->engine && !fstatat(fd, "", &st, AT_EMPTY_PATH) && target_is_torn(f->target, &st);
}

static int open_finished(struct request *r, int dirfd, const char *name, int *out)
{
	_cleanup_close_ int fd = attr_open_child(dirfd, name, O_PATH);

	if (fd < 0)
		return fd;
	if (torn(r->f, fd))
		return -ENOENT;
	*out = steal_fd(&fd);
	return 0;
}

int attr_find_child(struct request *r, struct eobj *dir, int dirfd, const char *name, int *fd)
{
	int rc = open_finished(r, dirfd, name, fd);

	if (rc != -ENOENT || !dir)
		return rc;
	rc = access_need_name(dir, name, &r->wait);
	return rc ? rc : open_finished(r, dirfd, name, fd);
}

bool attr_hidden(const struct fusefs *f, fuse_ino_t dir, const char *name)
{
	(void)f;
	return dir == FUSE_ROOT_ID && !strcmp(name, TARGET_HOLDER_NAME);
}

int attr_object_of(struct request *r, unsigned slot, struct eobj *dir, const char *name, int fd,
		   const struct target_handle *h)
{
	struct fusefs *f = r->f;
	struct target_mark m;
	struct node *n;
	int rc;

	if (!f->engine || r->have[slot])
		return 0;
	n = node_by_id(f->nodes, node_find(f->nodes, h));
	if (n) {
		struct eobj *o = node_object(f->nodes, n);

		if (o || n->flags & NODE_COMPLETE) {
			r->obj[slot] = o;
			r->have[slot] = true;
			return 0;
		}
	}
	rc = target_mark_get(f->target, fd, &m);
	if (rc == -ENODATA) {
		if (torn(f, fd))
			return -ENOENT;
		r->have[slot] = true;
		return 0;
	}
	if (rc < 0) {
		log_warn("an inode of the target carries a mark that cannot be used: %s", strerror(-rc));
		return -EIO;
	}
	rc = access_attach(f->engine, dir, dir ? name : NULL, &m, h, &r->obj[slot], &r->wait);
	if (!rc)
		r->have[slot] = true;
	return rc == -ESTALE ? -EIO : rc;
}

int attr_entry(struct request *r, int fd, const struct target_handle *h, struct eobj *o,
	       struct fuse_entry_param *e)
{
	struct fusefs *f = r->f;
	struct node *n;
	int rc;

	memset(e, 0, sizeof *e);
	r->changes = f->changes;
	rc = node_intern(f->nodes, h, &e->ino);
	if (rc)
		return rc;
	n = node_by_id(f->nodes, e->ino);
	rc = attr_stat(r, n, fd, o, &e->attr);
	if (rc) {
		node_forget(f->nodes, e->ino, 1);
		return rc;
	}
	if (f->engine)
		node_set_object(f->nodes, n, o ? access_ref(o) : NULL);
	e->generation = n->generation;
	e->attr_timeout = attr_timeout(f, n);
	e->entry_timeout = f->detaching ? 0 : FS_FOREVER;
	return 0;
}

void attr_reply_entry(struct request *r, const struct fuse_entry_param *e)
{
	if (fuse_reply_entry(r->req, e) == -ENOENT)
		node_forget(r->f->nodes, e->ino, 1);
	else if (r->changes != r->f->changes)
		notify_again(r->f, e->ino);
}

/* As the VFS does for a caller without CAP_FSETID. */
int attr_kill_suidgid(int fd)
{
	struct stat st;
	mode_t m;
	char p[32];

	if (fstatat(fd, "", &st, AT_EMPTY_PATH))
		return -errno;
	m = st.st_mode & 07777 & ~(mode_t)S_ISUID;
	if (m & S_IXGRP)
		m &= ~(mode_t)S_ISGID;
	if (m == (st.st_mode & 07777))
		return 0;
	attr_fd_path(p, fd);
	return chmod(p, m) ? -errno : 0;
}

/* ---- LOOKUP ---- */

static int lookup_negative(struct request *r, struct eobj *dir)
{
	struct fuse_entry_param e = { .entry_timeout = FS_FOREVER };

	if (r->f->detaching || (dir && !access_listed(dir)))
		return -ENOENT;		/* not to be cached */
	fuse_reply_entry(r->req, &e);
	return DONE;
}

/* ".": the node itself, "..": its parent; of nodes that an NFS server remembers. */
static int lookup_dots(struct request *r, int pfd, int *fd)
{
	static const struct open_how how = { .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
					     .resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS };
	bool up = r->name[1] && r->ino != FUSE_ROOT_ID;

	if (up) {
		*fd = (int)syscall(SYS_openat2, pfd, "..", &how, sizeof how);
		if (*fd >= 0)
			return 0;
		if (errno != EXDEV)
			return -errno;
		pfd = target_root_fd(r->f->target);	/* over the backing root lies our own mount */
	}
	*fd = fcntl(pfd, F_DUPFD_CLOEXEC, 0);	/* not only directories are asked for by "." */
	return *fd < 0 ? -errno : 0;
}

static int lookup_run(struct request *r)
{
	struct eobj *dir = request_object(r, 0, r->node);
	bool dots = !strcmp(r->name, ".") || !strcmp(r->name, "..");
	_cleanup_close_ int pfd = -1, fd = -1;
	struct target_handle h;
	struct fuse_entry_param e;
	int rc;

	if (attr_hidden(r->f, r->ino, r->name))
		return -ENOENT;
	pfd = attr_open_node(r->f, r->node, O_PATH);
	if (pfd < 0)
		return dots ? -ESTALE : pfd;
	rc = dots ? lookup_dots(r, pfd, &fd) : attr_find_child(r, dir, pfd, r->name, &fd);
	if (rc == -ENOENT)
		return lookup_negative(r, dir);
	if (!rc)
		rc = target_handle_of(fd, &h);
	if (!rc)
		rc = attr_object_of(r, 1, dots ? NULL : dir, r->name, fd, &h);
	if (!rc)
		rc = attr_entry(r, fd, &h, r->obj[1], &e);
	if (rc)
		return rc;
	attr_reply_entry(r, &e);
	return DONE;
}

const struct op op_lookup = { .name = "lookup", .run = lookup_run, .interruptible = true };

/* ---- GETATTR, READLINK, STATFS ---- */

static int getattr_run(struct request *r)
{
	struct eobj *o = request_object(r, 0, r->node);
	_cleanup_close_ int fd = attr_open_node(r->f, r->node, O_PATH);
	struct stat st;
	int rc = fd < 0 ? fd : attr_stat(r, r->node, fd, o, &st);

	if (rc)
		return rc;
	fuse_reply_attr(r->req, &st, attr_timeout(r->f, r->node));
	return DONE;
}

const struct op op_getattr = { .name = "getattr", .run = getattr_run };

static int readlink_run(struct request *r)
{
	_cleanup_close_ int fd = attr_open_node(r->f, r->node, O_PATH);
	char buf[4097];
	ssize_t n;

	if (fd < 0)
		return fd;
	n = readlinkat(fd, "", buf, sizeof buf - 1);
	if (n < 0)
		return -errno;
	buf[n] = 0;
	fuse_reply_readlink(r->req, buf);
	return DONE;
}

const struct op op_readlink = { .name = "readlink", .run = readlink_run };

static int statfs_run(struct request *r)
{
	struct statvfs v;

	if (fstatvfs(target_root_fd(r->f->target), &v))
		return -errno;
	fuse_reply_statfs(r->req, &v);
	return DONE;
}

const struct op op_statfs = { .name = "statfs", .run = statfs_run };
