/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The state directory and its files: 0700 and 0600, made without following a
 * link, entries durable before anything relies on them.
 *
 * The database must never be opened and closed a second time in this process
 * while SQLite has it: closing any descriptor of a file drops all POSIX locks
 * of the process on it.  So an existing one is only looked at (fstatat), a new
 * one is made with O_EXCL before SQLite comes, and the one descriptor for
 * flushes (catalog_dir_same_file) is opened when the lock is ours and closed
 * after the connection.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* Make the entry of `dir` in its parent durable. */
static int sync_parent(int fd)
{
	_cleanup_close_ int up = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return up < 0 || fsync(up) ? -errno : 0;
}

int catalog_dir_open(const char *dir, bool create, char path[PATH_MAX], int *fd, struct err *e)
{
	struct stat st;
	bool made = false;
	int r;

	if (create && !mkdir(dir, 0700))
		made = true;
	else if (create && errno != EEXIST)
		return err_sys(e, errno, "cannot make the state directory %s", dir);
	if (!realpath(dir, path))
		return err_sys(e, errno, "state directory %s", dir);
	*fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*fd < 0 || fstat(*fd, &st))
		return err_sys(e, errno, "state directory %s", dir);
	if (st.st_uid != geteuid())
		return err_set(e, EPERM, "state directory %s belongs to another user", dir);
	if (st.st_mode & 022)
		return err_set(e, EPERM, "state directory %s can be written by other users", dir);
	r = made ? sync_parent(*fd) : 0;
	return r ? err_sys(e, r, "state directory %s", dir) : 0;
}

/* The database file exists afterwards, regular, ours and 0600. */
int catalog_dir_database(int dir_fd, bool create, bool *made, struct err *e)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	*made = false;
	if (!fstatat(dir_fd, CATALOG_FILE, &st, AT_SYMLINK_NOFOLLOW)) {
		if (!S_ISREG(st.st_mode) || st.st_uid != geteuid())
			return err_set(e, EINVAL, CATALOG_FILE " is not a catalog: not a regular file of this user");
		return 0;
	}
	if (errno != ENOENT || !create)
		return err_sys(e, errno, CATALOG_FILE);
	fd = openat(dir_fd, CATALOG_FILE, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || fchmod(fd, 0600))
		return err_sys(e, errno, "cannot make " CATALOG_FILE);
	*made = true;
	return 0;
}

/* A descriptor of our own on a file that SQLite has open. */
int catalog_dir_same_file(int dir_fd, const char *name, int *fd, struct err *e)
{
	struct stat st;

	*fd = openat(dir_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (*fd < 0)
		return err_sys(e, errno, "%s", name);
	if (fstat(*fd, &st) || !S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "%s is not a regular file", name);
	return 0;
}
