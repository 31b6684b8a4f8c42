/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * New names: mknod, mkdir, symlink, link.
 *
 * Rules kept: D3(a), a name is added to a directory only after the source
 * was asked for it and the directory's record is durable; D6, the directory's
 * times are the application's from then on.  What is created here is complete from the start:
 * it carries no mark.
 *
 * Created as the calling user (fsuid, fsgid) with the caller's umask, so that
 * owner, quota, setgid directories and default ACLs come out as natively.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/creds.h"
#include "base/point.h"
#include "internal.h"

int name_before_add(struct request *r, struct eobj *dir, int dirfd, const char *name)
{
	int rc;

	if (!dir)
		return 0;
	rc = POINT_STEP("rule.ask-before-adding") == POINT_SKIP ? 0 : access_need_name(dir, name, &r->wait);
	if (!rc)
		rc = access_need_record(dir, &r->wait);
	if (!rc)
		rc = access_times_taken(dir, dirfd, NULL);
	return rc;
}

int name_act_as_caller(struct request *r)
{
	int rc = creds_set_fs(r->uid, r->gid);

	if (!rc)
		umask(r->umask);
	return rc;
}

void name_act_as_root(void)
{
	creds_set_fs(0, 0);
	umask(0);
}

static int make(struct request *r, int pfd)
{
	int rc;

	if (r->name2)
		rc = symlinkat(r->name2, pfd, r->name);
	else if (S_ISDIR(r->mode))
		rc = mkdirat(pfd, r->name, r->mode & 07777);
	else
		rc = mknodat(pfd, r->name, r->mode, r->rdev);
	return rc ? -errno : 0;
}

static int reply_made(struct request *r, int pfd)
{
	_cleanup_close_ int fd = attr_open_child(pfd, r->name, O_PATH);
	struct target_handle h;
	struct fuse_entry_param e;
	int rc = fd < 0 ? fd : target_handle_of(fd, &h);

	if (!rc)
		rc = attr_entry(r, fd, &h, NULL, &e);
	if (!rc)
		attr_reply_entry(r, &e);
	return rc;
}

static int make_run(struct request *r)
{
	struct eobj *dir = request_object(r, 0, r->node);
	_cleanup_close_ int pfd = attr_open_node(r->f, r->node, O_PATH);
	int rc;

	if (pfd < 0)
		return pfd;
	if (attr_hidden(r->f, r->ino, r->name))
		return -EPERM;
	rc = name_before_add(r, dir, pfd, r->name);
	if (!rc)
		rc = name_act_as_caller(r);
	if (rc)
		return rc;
	rc = make(r, pfd);
	name_act_as_root();
	return rc ? rc : reply_made(r, pfd);
}

static int mkdir_run(struct request *r)
{
	r->mode = (r->mode & 07777) | S_IFDIR;
	return make_run(r);
}

const struct op op_mknod = { .name = "mknod", .run = make_run, .interruptible = true, .changes = true };
const struct op op_mkdir = { .name = "mkdir", .run = mkdir_run, .interruptible = true, .changes = true };
const struct op op_symlink = { .name = "symlink", .run = make_run, .interruptible = true, .changes = true };

/* node: the directory; node2: the inode that gets a further name */
static int link_run(struct request *r)
{
	struct eobj *dir = request_object(r, 0, r->node), *o = request_object(r, 1, r->node2);
	_cleanup_close_ int pfd = attr_open_node(r->f, r->node, O_PATH), fd = -1;
	struct fuse_entry_param e;
	int rc;

	if (pfd < 0)
		return pfd;
	if (attr_hidden(r->f, r->ino, r->name))
		return -EPERM;
	fd = attr_open_node(r->f, r->node2, O_PATH);
	if (fd < 0)
		return fd;
	rc = o ? access_need_record(o, &r->wait) : 0;
	if (!rc)
		rc = name_before_add(r, dir, pfd, r->name);
	if (rc)
		return rc;
	if (linkat(fd, "", pfd, r->name, AT_EMPTY_PATH))
		return -errno;
	rc = attr_entry(r, fd, &r->node2->handle, o, &e);
	if (!rc)
		attr_reply_entry(r, &e);
	return rc;
}

const struct op op_link = { .name = "link", .run = link_run, .interruptible = true, .changes = true };
