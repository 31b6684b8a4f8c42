/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The backing root: opening and locking it (D9), handles, and flushing.
 *
 * The lock is a flock(2) on the descriptor of the root directory.  It belongs
 * to the open file description, like an OFD lock, and a directory cannot be
 * opened for writing, which an exclusive OFD lock would require.  The
 * descriptor is never passed on, so the lock dies with the worker.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/point.h"

int target_open(const char *dir, struct target **out, struct err *e)
{
	struct target *t = calloc(1, sizeof *t);
	struct stat st;

	if (!t)
		return err_sys(e, ENOMEM, "target");
	t->root = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (t->root < 0) {
		int r = err_sys(e, errno, "cannot open the target directory %s", dir);

		free(t);
		return r;
	}
	if (POINT_STEP("rule.one-writer") != POINT_SKIP && flock(t->root, LOCK_EX | LOCK_NB)) {
		int r = errno == EWOULDBLOCK
			? err_set(e, EBUSY, "another worker is migrating to %s", dir)
			: err_sys(e, errno, "cannot lock the target directory %s", dir);

		target_close(t);
		return r;
	}
	if (fstat(t->root, &st)) {
		int r = err_sys(e, errno, "cannot stat the target directory %s", dir);

		target_close(t);
		return r;
	}
	t->dev = st.st_dev;
	*out = t;
	return 0;
}

void target_close(struct target *t)
{
	if (!t)
		return;
	close(t->root);
	free(t);
}

void target_set_id(struct target *t, const struct target_id *id)
{
	t->id = *id;
	t->id_set = true;
}

int target_root_fd(const struct target *t)
{
	return t->root;
}

dev_t target_dev(const struct target *t)
{
	return t->dev;
}

struct target_proc_path target_proc_path(int fd)
{
	struct target_proc_path p;

	snprintf(p.text, sizeof p.text, "/proc/self/fd/%d", fd);
	return p;
}

ssize_t target_getxattr(int fd, const char *name, void *value, size_t n)
{
	ssize_t r = fgetxattr(fd, name, value, n);

	if (r < 0 && errno == EBADF)
		r = getxattr(target_proc_path(fd).text, name, value, n);
	return r < 0 ? -errno : r;
}

int target_setxattr(int fd, const char *name, const void *value, size_t n)
{
	int r = fsetxattr(fd, name, value, n, 0);

	if (r && errno == EBADF)
		r = setxattr(target_proc_path(fd).text, name, value, n, 0);
	return r ? -errno : 0;
}

int target_removexattr(int fd, const char *name)
{
	int r = fremovexattr(fd, name);

	if (r && errno == EBADF)
		r = removexattr(target_proc_path(fd).text, name);
	return r ? -errno : 0;
}

/* ---- handles ---- */

static int handle_at(int fd, const char *name, int flags, struct target_handle *out)
{
	union {
		struct file_handle h;
		unsigned char room[sizeof(struct file_handle) + TARGET_HANDLE_MAX];
	} u;
	int mount_id;

	memset(&u, 0, sizeof u);
	u.h.handle_bytes = TARGET_HANDLE_MAX;
	if (name_to_handle_at(fd, name, &u.h, &mount_id, flags))
		return -errno;
	memset(out, 0, sizeof *out);
	if (u.h.handle_type < 0 || u.h.handle_type > 255)
		return -EOVERFLOW;
	out->len = (uint8_t)u.h.handle_bytes;
	out->type = (uint8_t)u.h.handle_type;
	memcpy(out->data, u.h.f_handle, out->len);
	return 0;
}

int target_handle_of(int fd, struct target_handle *out)
{
	return handle_at(fd, "", AT_EMPTY_PATH, out);
}

int target_handle_at(int dirfd, const char *name, struct target_handle *out)
{
	return handle_at(dirfd, name, 0, out);
}

int target_open_handle(const struct target *t, const struct target_handle *h, int flags)
{
	union {
		struct file_handle h;
		unsigned char room[sizeof(struct file_handle) + TARGET_HANDLE_MAX];
	} u;
	int fd;

	if (!h->len || h->len > TARGET_HANDLE_MAX)
		return -ESTALE;
	memset(&u, 0, sizeof u);
	u.h.handle_bytes = h->len;
	u.h.handle_type = h->type;
	memcpy(u.h.f_handle, h->data, h->len);
	fd = open_by_handle_at(t->root, &u.h, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* ---- durability ---- */

int target_sync_all(struct target *t)
{
	int r = POINT_STEP("target.sync-all");

	if (r)
		return r == POINT_SKIP ? 0 : r;
	return syncfs(t->root) ? -EIO : 0;
}

int target_sync_one(struct target *t, const struct target_handle *h)
{
	_cleanup_close_ int path = target_open_handle(t, h, O_PATH);
	_cleanup_close_ int fd = -1;
	struct stat st;
	int r;

	if (path < 0)
		return path;
	r = POINT_STEP("target.sync-one");
	if (r)
		return r == POINT_SKIP ? 0 : r;
	if (fstat(path, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))	/* opening a device would act on the device */
		return target_sync_all(t);
	fd = target_open_handle(t, h, O_RDONLY | O_NONBLOCK | O_NOATIME);
	if (fd < 0)
		return fd;
	/* metadata too: fdatasync would leave the time of fetching on ext4 (D4, FACTS) */
	if (POINT_STEP("target.sync-metadata") == POINT_SKIP)
		return fdatasync(fd) ? -EIO : 0;
	return fsync(fd) ? -EIO : 0;	/* whatever the reason: what was to be written is lost (D2) */
}
