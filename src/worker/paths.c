/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

/* Split off the last component; slashes at the end do not count. Modifies path. */
static char *split_last(char *path, char **dir)
{
	size_t n = strlen(path);
	char *slash;

	while (n > 1 && path[n - 1] == '/')
		path[--n] = 0;
	slash = strrchr(path, '/');
	if (!slash || !slash[1])
		return NULL;
	*slash = 0;
	*dir = slash == path ? (char *)"/" : path;
	return slash + 1;
}

static int join(const char *dir, const char *name, char out[PATH_MAX])
{
	int n = snprintf(out, PATH_MAX, "%s/%s", strcmp(dir, "/") ? dir : "", name);

	return n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* The mount there is dead: its own inode cannot be asked, the names above it can. */
static int canonical_parent(const char *path, char out[PATH_MAX])
{
	_cleanup_free_ char *copy = strdup(path);
	char *dir = NULL, *last, parent[PATH_MAX];

	if (!copy)
		return -ENOMEM;
	last = split_last(copy, &dir);
	if (!last || !strcmp(last, ".") || !strcmp(last, ".."))
		return -ENOTCONN;
	if (!realpath(dir, parent))
		return -errno;
	return join(parent, last, out);
}

int paths_canonical(const char *path, char out[PATH_MAX], struct err *e)
{
	int r = realpath(path, out) ? 0 : -errno;

	if (r == -ENOTCONN || r == -EIO || r == -ECONNABORTED)
		r = canonical_parent(path, out);
	return r ? err_sys(e, r, "%s", path) : 0;
}

int paths_canonical_new(const char *path, char out[PATH_MAX], struct err *e)
{
	_cleanup_free_ char *copy = NULL;
	char *dir = NULL, *last, parent[PATH_MAX];
	int r;

	if (realpath(path, out))
		return 0;
	r = -errno;
	copy = strdup(path);
	if (!copy)
		return err_sys(e, ENOMEM, "%s", path);
	last = split_last(copy, &dir);
	if (r != -ENOENT || !last || !strcmp(last, "..") || !strcmp(last, "."))
		return err_sys(e, r, "%s", path);
	r = paths_canonical_new(dir, parent, e);	/* depth: components of one path */
	if (r)
		return r;
	r = join(parent, last, out);
	return r ? err_sys(e, r, "%s", path) : 0;
}

static bool below_by_name(const char *inner, const char *outer)
{
	size_t n = strlen(outer);

	if (!strcmp(outer, "/"))
		return true;
	return !strncmp(inner, outer, n) && (!inner[n] || inner[n] == '/');
}

/* Open the directory, or the nearest one above it that exists. */
static int open_nearest(const char *path)
{
	char copy[PATH_MAX];
	char *slash;
	int fd;

	snprintf(copy, sizeof copy, "%s", path);
	for (;;) {
		fd = open(copy, O_PATH | O_DIRECTORY | O_CLOEXEC);
		slash = strrchr(copy, '/');
		if (fd >= 0 || !slash || slash == copy)
			return fd;
		*slash = 0;
	}
}

static bool below_by_inode(const char *inner, const struct stat *outer)
{
	_cleanup_close_ int fd = open_nearest(inner);
	struct stat st, last = { 0 };

	while (fd >= 0 && !fstat(fd, &st)) {
		int up;

		if (st.st_dev == outer->st_dev && st.st_ino == outer->st_ino)
			return true;
		if (st.st_dev == last.st_dev && st.st_ino == last.st_ino)
			return false;	/* ".." of the root is the root */
		last = st;
		up = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		close(fd);
		fd = up;
	}
	return false;
}

bool paths_inside(const char *inner, const char *outer)
{
	struct stat st;

	if (below_by_name(inner, outer))
		return true;
	return !stat(outer, &st) && below_by_inode(inner, &st);
}
