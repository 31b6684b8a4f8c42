/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * SETATTR: mode, owner, size and times.
 *
 * The kernel has checked permissions (default_permissions) and stripped what
 * the caller may not set; here the change is executed on the target as
 * root.  chown(2) of the target itself clears setuid, setgid and capabilities as
 * it does natively.
 *
 * An incomplete object changes only after its record is durable (D3a); its
 * truncation is bracketed so that no source byte lands in between (D3b); times
 * that an application sets are announced first (D6).  The root's real attributes live
 * in the catalog while the guard is on.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/point.h"

#include "internal.h"
#include "open.h"

#define TIMES (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME)

static int set_owner(struct request *r, int fd)
{
	uid_t u = r->flags & FUSE_SET_ATTR_UID ? r->attr.st_uid : (uid_t)-1;
	gid_t g = r->flags & FUSE_SET_ATTR_GID ? r->attr.st_gid : (gid_t)-1;

	return fchownat(fd, "", u, g, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

static int set_mode(struct request *r, int fd)
{
	char p[32];

	attr_fd_path(p, fd);
	return chmod(p, r->attr.st_mode & 07777) ? -errno : 0;
}

static int set_times(struct request *r, int fd)
{
	struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT } };

	if (r->flags & FUSE_SET_ATTR_ATIME_NOW)
		t[0].tv_nsec = UTIME_NOW;
	else if (r->flags & FUSE_SET_ATTR_ATIME)
		t[0] = r->attr.st_atim;
	if (r->flags & FUSE_SET_ATTR_MTIME_NOW)
		t[1].tv_nsec = UTIME_NOW;
	else if (r->flags & FUSE_SET_ATTR_MTIME)
		t[1] = r->attr.st_mtim;
	return utimensat(fd, "", t, AT_EMPTY_PATH) ? -errno : 0;
}

/* truncate(2) to the size that the file has changes nothing, not even times; ftruncate(2) does. */
static bool no_change(const struct request *r, int fd)
{
	struct stat st;

	return r->flags & FUSE_SET_ATTR_SIZE && !(r->flags & TIMES) && !r->has_fh && !fstat(fd, &st) &&
	       st.st_size == r->attr.st_size;
}

/* The object's mtime after this request, for the record kept with the inode. */
static int announce_times(struct request *r, int fd, struct eobj *o)
{
	struct stat st;
	int rc;

	if (no_change(r, fd))
		return 0;
	if (r->flags & (FUSE_SET_ATTR_SIZE | FUSE_SET_ATTR_MTIME_NOW))
		return access_times_taken(o, fd, NULL);
	if (r->flags & FUSE_SET_ATTR_MTIME)
		return access_times_taken(o, fd, &r->attr.st_mtim);
	rc = attr_stat(r, r->node, fd, o, &st);
	return rc ? rc : access_times_taken(o, fd, &st.st_mtim);
}

static int set_size(struct request *r, struct eobj *o)
{
	_cleanup_close_ int fd = -1;
	char path[32];
	int rc = 0;

	fd = attr_open_node(r->f, r->node, O_WRONLY);
	if (fd < 0)
		return fd;
	attr_fd_path(path, fd);
	if (r->has_fh ? ftruncate(fd, r->attr.st_size) : truncate(path, r->attr.st_size))
		return -errno;
	POINT("truncate.done");
	if (o)
		rc = access_truncated(o, fd, (uint64_t)r->attr.st_size);
	if (!rc && r->flags & FUSE_SET_ATTR_KILL_SUID)
		rc = attr_kill_suidgid(fd);
	return rc;
}

static int apply(struct request *r, int fd, struct eobj *o)
{
	int rc = 0;

	if (r->flags & FUSE_SET_ATTR_SIZE)
		rc = set_size(r, o);
	/* no bit at all: chown(-1, -1), which still clears setuid */
	if (!rc && (r->flags & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID) || !(r->flags & ~FUSE_SET_ATTR_CTIME)))
		rc = set_owner(r, fd);
	if (!rc && r->flags & FUSE_SET_ATTR_MODE)
		rc = set_mode(r, fd);
	if (!rc && r->flags & TIMES)
		rc = set_times(r, fd);
	return rc;
}

static int set_root(struct request *r, int fd, struct eobj *o)
{
	unsigned v = 0;
	struct stat st = r->attr;
	struct timespec now;
	int rc;

	clock_gettime(CLOCK_REALTIME, &now);
	if (r->flags & FUSE_SET_ATTR_MODE)
		v |= ACCESS_ROOT_MODE;
	if (r->flags & FUSE_SET_ATTR_UID)
		v |= ACCESS_ROOT_UID;
	if (r->flags & FUSE_SET_ATTR_GID)
		v |= ACCESS_ROOT_GID;
	if (r->flags & FUSE_SET_ATTR_ATIME)
		v |= ACCESS_ROOT_ATIME;
	if (r->flags & FUSE_SET_ATTR_MTIME)
		v |= ACCESS_ROOT_MTIME;
	if (r->flags & FUSE_SET_ATTR_ATIME_NOW)
		st.st_atim = now;
	if (r->flags & FUSE_SET_ATTR_MTIME_NOW)
		st.st_mtim = now;
	rc = v ? access_root_setattr(r->f->engine, v, &st, &r->wait) : 0;
	if (!rc)
		rc = attr_stat(r, r->node, fd, o, &st);
	if (rc)
		return rc;
	fuse_reply_attr(r->req, &st, attr_timeout(r->f, r->node));
	return DONE;
}

/* Conditions and notices of an incomplete object; *bracket: access_change_end() is due. */
static int before(struct request *r, int fd, struct eobj *o, bool *bracket)
{
	int rc = access_need_record(o, &r->wait);

	if (!rc && r->flags & FUSE_SET_ATTR_SIZE) {
		rc = access_change_begin(o, &r->wait);
		*bracket = !rc;
	}
	if (!rc && r->flags & (TIMES | FUSE_SET_ATTR_SIZE))
		rc = announce_times(r, fd, o);
	return rc;
}

static int setattr_run(struct request *r)
{
	struct eobj *o = request_object(r, 0, r->node);
	_cleanup_close_ int fd = attr_open_node(r->f, r->node, O_PATH);
	bool bracket = false;
	struct stat st;
	int rc = 0;

	if (fd < 0)
		return fd;
	if (o && r->ino == FUSE_ROOT_ID)
		return set_root(r, fd, o);
	if (o)
		rc = before(r, fd, o, &bracket);
	if (!rc)
		rc = apply(r, fd, o);
	if (bracket)
		access_change_end(o);
	if (!rc)
		rc = attr_stat(r, r->node, fd, o, &st);
	if (rc)
		return rc;
	fuse_reply_attr(r->req, &st, attr_timeout(r->f, r->node));
	return DONE;
}

const struct op op_setattr = { .name = "setattr", .run = setattr_run, .interruptible = true, .changes = true };
