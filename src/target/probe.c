/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Trying out whether a file system can carry a migration, on an unnamed
 * scratch file, so that a refusal leaves nothing behind.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"

static int scratch(struct target *t)
{
	static const char name[] = ".dmm-probe";
	int fd = openat(t->root, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0)
		return fd;
	if (errno != EOPNOTSUPP && errno != EISDIR)
		return -errno;
	fd = openat(t->root, name, O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	unlinkat(t->root, name, 0);
	return fd;
}

static int probe_handle(struct target *t, int fd, struct err *e)
{
	struct target_handle h;
	_cleanup_close_ int again = -1;
	int r = target_handle_of(t->root, &h);

	(void)fd;
	if (!r)
		again = target_open_handle(t, &h, O_PATH);
	if (r || again < 0)
		return err_sys(e, r ? r : again,
			       "the target's file system does not offer file handles");
	return 0;
}

static int probe_times(int fd, struct err *e)
{
	const struct timespec odd = { .tv_sec = 1000000001, .tv_nsec = 123456789 };
	struct stat st;

	if (target_set_times(fd, &odd, &odd) || fstat(fd, &st))
		return err_sys(e, errno, "the target's file system does not keep times");
	if (st.st_mtim.tv_nsec != odd.tv_nsec)
		return err_set(e, ENOTSUP,
			       "the target's file system does not keep times to the nanosecond "
			       "(ext4 needs inodes of 256 bytes)");
	return 0;
}

int target_probe(struct target *t, struct err *e)
{
	_cleanup_close_ int fd = scratch(t);
	struct stat st;
	int r;

	if (fd < 0)
		return err_sys(e, fd, fd == -EROFS ? "the target's file system is mounted read-only"
						    : "cannot create files in the target directory");
	r = target_setxattr(fd, TARGET_XATTR, "probe", 5);
	if (r)
		return err_sys(e, r, "the target's file system does not keep trusted extended "
				     "attributes; use ext4, xfs or btrfs");
	if (ftruncate(fd, 1 << 24) || fstat(fd, &st))
		return err_sys(e, errno, "the target's file system does not allow sparse files");
	if (st.st_blocks > 4096)
		return err_set(e, ENOTSUP, "the target's file system does not keep holes sparse");
	r = probe_handle(t, fd, e);
	return r ? r : probe_times(fd, e);
}
