/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Extended attributes, POSIX ACLs among them.
 *
 * The kernel has checked permissions; the target's file system executes.  DMM's own
 * (TARGET_XATTR and everything below it) cannot be seen, set or
 * removed (D1).  A change to an incomplete object waits for its record (D3a).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/xattr.h>

#include "internal.h"
#include "kabi.h"

static bool ours(const char *name)
{
	size_t n = strlen(TARGET_XATTR);

	return !strncmp(name, TARGET_XATTR, n) && (!name[n] || name[n] == '.');
}

static int path_of(struct request *r, char path[32])
{
	int fd = attr_open_node(r->f, r->node, O_PATH);

	if (fd >= 0)
		attr_fd_path(path, fd);
	return fd;
}

static int set_run(struct request *r)
{
	struct eobj *o = request_object(r, 0, r->node);
	_cleanup_close_ int fd = -1;
	char path[32];
	int rc;

	if (!r->name)
		return -EINVAL;
	if (ours(r->name))
		return -EPERM;
	rc = access_need_record(o, &r->wait);
	if (rc)
		return rc;
	fd = path_of(r, path);
	if (fd < 0)
		return fd;
	if (setxattr(path, r->name, r->data, r->size, r->flags))
		return -errno;
	if (r->kflags & FUSE_SETXATTR_ACL_KILL_SGID && !strcmp(r->name, "system.posix_acl_access")) {
		struct stat st;

		if (!fstatat(fd, "", &st, AT_EMPTY_PATH) && st.st_mode & S_ISGID)
			chmod(path, st.st_mode & 07777 & ~(mode_t)S_ISGID);
	}
	fuse_reply_err(r->req, 0);
	return DONE;
}

static int remove_run(struct request *r)
{
	struct eobj *o = request_object(r, 0, r->node);
	_cleanup_close_ int fd = -1;
	char path[32];
	int rc;

	if (ours(r->name))
		return -EPERM;
	rc = access_need_record(o, &r->wait);
	if (rc)
		return rc;
	fd = path_of(r, path);
	if (fd < 0)
		return fd;
	if (removexattr(path, r->name))
		return -errno;
	fuse_reply_err(r->req, 0);
	return DONE;
}

static int get_run(struct request *r)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *buf = NULL;
	size_t room = r->size < XATTR_SIZE_MAX ? r->size : XATTR_SIZE_MAX;
	char path[32];
	ssize_t n;

	if (ours(r->name))
		return -ENODATA;
	fd = path_of(r, path);
	if (fd < 0)
		return fd;
	if (r->size && !(buf = malloc(room)))
		return -ENOMEM;
	n = getxattr(path, r->name, buf, room);
	if (n < 0)
		return -errno;
	if (r->size)
		fuse_reply_buf(r->req, buf, (size_t)n);
	else
		fuse_reply_xattr(r->req, (size_t)n);
	return DONE;
}

/* Take our names out of a list in place; returns the new length. */
static size_t filter(char *list, size_t n)
{
	size_t out = 0;

	for (size_t i = 0, len; i < n; i += len) {
		len = strnlen(list + i, n - i) + 1;
		if (i + len > n)
			break;
		if (ours(list + i))
			continue;
		memmove(list + out, list + i, len);
		out += len;
	}
	return out;
}

static int list_run(struct request *r)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *buf = malloc(XATTR_LIST_MAX);
	char path[32];
	ssize_t n;
	size_t len;

	fd = path_of(r, path);
	if (fd < 0)
		return fd;
	if (!buf)
		return -ENOMEM;
	n = listxattr(path, buf, XATTR_LIST_MAX);
	if (n < 0)
		return -errno;
	len = filter(buf, (size_t)n);
	if (!r->size)
		fuse_reply_xattr(r->req, len);
	else if (len > r->size)
		return -ERANGE;
	else
		fuse_reply_buf(r->req, buf, len);
	return DONE;
}

const struct op op_setxattr = { .name = "setxattr", .run = set_run, .interruptible = true, .changes = true };
const struct op op_removexattr = { .name = "removexattr", .run = remove_run, .interruptible = true, .changes = true };
const struct op op_getxattr = { .name = "getxattr", .run = get_run };
const struct op op_listxattr = { .name = "listxattr", .run = list_run };
