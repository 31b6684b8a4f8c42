/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The few ioctls that mean something: inode flags and project attributes.
 *
 * Looking at them never fetches anything.  An incomplete object cannot be made
 * immutable or append-only: its content could not land any more.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

#include "internal.h"

#define FROZEN_FL (FS_IMMUTABLE_FL | FS_APPEND_FL)
#define FROZEN_XFL (FS_XFLAG_IMMUTABLE | FS_XFLAG_APPEND)

static int get(struct request *r, int fd, size_t n)
{
	struct fsxattr buf;

	memset(&buf, 0, sizeof buf);
	if ((size_t)r->off < n)
		return -EINVAL;
	if (ioctl(fd, r->cmd, &buf))
		return -errno;
	fuse_reply_ioctl(r->req, 0, &buf, n);
	return DONE;
}

static int set(struct request *r, int fd, size_t n)
{
	struct eobj *o = request_object(r, 0, r->node);
	struct fsxattr buf;
	uint32_t frozen = FROZEN_XFL;
	int rc;

	if (!r->data || r->size < n)
		return -EINVAL;
	memcpy(&buf, r->data, n);
	if (r->cmd == FS_IOC_SETFLAGS)
		frozen = FROZEN_FL;
	if (o && buf.fsx_xflags & frozen)	/* the flags of FS_IOC_SETFLAGS lie at the same place */
		return -EBUSY;
	rc = access_need_record(o, &r->wait);
	if (rc)
		return rc;
	if (ioctl(fd, r->cmd, &buf))
		return -errno;
	fuse_reply_ioctl(r->req, 0, NULL, 0);
	return DONE;
}

static int ioctl_run(struct request *r)
{
	_cleanup_close_ int fd = -1;
	bool known = r->cmd == FS_IOC_GETFLAGS || r->cmd == FS_IOC_SETFLAGS || r->cmd == FS_IOC_FSGETXATTR ||
		     r->cmd == FS_IOC_FSSETXATTR;

	if (!known)
		return -ENOTTY;
	fd = attr_open_node(r->f, r->node, O_RDONLY | O_NONBLOCK);
	if (fd < 0)
		return fd;
	switch (r->cmd) {
	case FS_IOC_GETFLAGS:
		return get(r, fd, sizeof(unsigned));
	case FS_IOC_FSGETXATTR:
		return get(r, fd, sizeof(struct fsxattr));
	case FS_IOC_SETFLAGS:
		return set(r, fd, sizeof(unsigned));
	default:
		return set(r, fd, sizeof(struct fsxattr));
	}
}

const struct op op_ioctl = { .name = "ioctl", .run = ioctl_run, .interruptible = true, .changes = true };
