/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Making stubs (D1).
 *
 * Order: create under the reserved owner with mode 0 -> inherited ACLs go -> mark -> size, mode,
 * times -> real owner last (and set-id bits once more: chown clears them).
 * Each step is journalled with the inode in this order, so that after a cut
 * an inode is either torn (reserved owner; removed and made again, it was
 * never shown to anyone), or it carries its mark.  A file without mark
 * and without the reserved owner is therefore the application's.
 *
 * Torn stubs are also what another thread sees of a stub in the making.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/creds.h"
#include "base/point.h"

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

bool target_is_torn(const struct target *t, const struct stat *st)
{
	return t->id_set && st->st_uid == t->id.reserved_id;
}

int target_set_times(int fd, const struct timespec *atime, const struct timespec *mtime)
{
	const struct timespec ts[2] = { *atime, *mtime };

	if (!futimens(fd, ts))
		return 0;
	if (errno == EBADF && !utimensat(AT_FDCWD, target_proc_path(fd).text, ts, 0))
		return 0;
	return -errno;
}

static int create_bare(struct target *t, int dirfd, const char *name, const struct target_attr *a)
{
	bool reserved = POINT_STEP("rule.reserved-owner") != POINT_SKIP;
	int r = reserved ? creds_set_fs(t->id.reserved_id, t->id.reserved_id) : creds_set_fs(0, 0);
	int fd;

	if (r)
		return r;
	if (!(a->mode & S_IFMT) || (S_ISLNK(a->mode) && !a->link))	/* mknod(2) would make a file of type 0 */
		return -EINVAL;
	switch (a->mode & S_IFMT) {
	case S_IFREG:
		fd = openat(dirfd, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0);
		return fd < 0 ? -errno : fd;
	case S_IFDIR:
		r = mkdirat(dirfd, name, 0);
		break;
	case S_IFLNK:
		r = symlinkat(a->link, dirfd, name);
		break;
	default:	/* fifo, socket, device */
		r = mknodat(dirfd, name, a->mode & S_IFMT, a->rdev);
	}
	if (r)
		return -errno;
	fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int set_mode(int fd, uint32_t mode)
{
	if (S_ISLNK(mode))
		return 0;
	if (!fchmod(fd, mode & 07777))
		return 0;
	if (errno == EBADF && !chmod(target_proc_path(fd).text, mode & 07777))
		return 0;
	return -errno;
}

static int dress(int fd, const struct target_attr *a)
{
	int r = set_mode(fd, a->mode & ~06000u);

	if (!r)
		r = target_set_times(fd, &a->atime, &a->mtime);
	POINT("stub.dressed");
	if (!r && fchownat(fd, "", a->uid, a->gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
		r = -errno;
	POINT("stub.owned");
	if (!r && (a->mode & 06000))
		r = set_mode(fd, a->mode);
	return r;
}

static int remove_name(int dirfd, const char *name, mode_t mode)
{
	return unlinkat(dirfd, name, S_ISDIR(mode) ? AT_REMOVEDIR : 0) ? -errno : 0;
}

int target_torn_remove(const struct target *t, int dirfd, const char *name)
{
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	if (!target_is_torn(t, &st))
		return -EEXIST;
	return remove_name(dirfd, name, st.st_mode);
}

/* D6: inherited ACLs are not the source's. */
static int remove_acl(int fd, const char *which)
{
	ssize_t n = target_getxattr(fd, which, NULL, 0);	/* looking is cheaper than removing nothing */

	if (n < 0)
		return n == -ENODATA || n == -ENOTSUP ? 0 : (int)n;
	return target_removexattr(fd, which);
}

/* After the creation, not before it: an application may set the directory's default ACL at any moment. */
static int remove_acls(int fd, mode_t mode)
{
	int r = S_ISLNK(mode) ? 0 : remove_acl(fd, ACL_ACCESS);

	return !r && S_ISDIR(mode) ? remove_acl(fd, ACL_DEFAULT) : r;
}

int target_stub_create(struct target *t, int dirfd, const char *name, const struct target_attr *a,
		       const struct target_mark *m, struct target_handle *out)
{
	_cleanup_close_ int fd = create_bare(t, dirfd, name, a);
	int r;

	if (fd == -EEXIST) {
		r = target_torn_remove(t, dirfd, name);
		if (r && r != -ENOENT)	/* gone meanwhile: as good as removed */
			return r;
		fd = create_bare(t, dirfd, name, a);
	}
	if (fd < 0)
		return fd;
	POINT("stub.created");
	/* ACLs first: beside one the mark would not fit into the inode (ext4), and its block would stay */
	r = remove_acls(fd, a->mode);
	if (!r)
		r = target_mark_set(t, fd, m);
	POINT("stub.marked");
	if (!r)
		r = target_handle_of(fd, out);
	if (!r && S_ISREG(a->mode) && a->size && ftruncate(fd, (off_t)a->size))
		r = -errno;
	if (!r)
		r = dress(fd, a);
	if (r)
		remove_name(dirfd, name, a->mode);
	return r;
}

int target_stub_redo(struct target *t, int fd, const struct target_attr *a)
{
	_cleanup_close_ int w = -1;
	struct stat st;

	(void)t;
	if (fstat(fd, &st))
		return -errno;
	if ((st.st_mode ^ a->mode) & S_IFMT)	/* not what the caller takes it for: never open a device or fifo */
		return -ESTALE;
	if (S_ISREG(a->mode)) {
		w = open(target_proc_path(fd).text, O_WRONLY | O_CLOEXEC);
		if (w < 0 || ((uint64_t)st.st_size != a->size && ftruncate(w, (off_t)a->size)))
			return -errno;
	}
	return dress(w >= 0 ? w : fd, a);
}

int target_link(const struct target *t, const struct target_handle *inode, int dirfd, const char *name)
{
	_cleanup_close_ int fd = target_open_handle(t, inode, O_PATH | O_NOFOLLOW);

	if (fd < 0)
		return fd;
	return linkat(fd, "", dirfd, name, AT_EMPTY_PATH) ? -errno : 0;
}
