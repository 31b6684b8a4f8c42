/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The holder: a hidden directory in the root of the target in which an object
 * with undiscovered names keeps its last one (D5).
 *
 * A name goes there by rename, never by link + unlink: that lost the inode on
 * btrfs after an fsync of the directory (FACTS).  Entries are named by oid.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/creds.h"
#include "base/point.h"

struct entry_name {
	char text[20];
};

static struct entry_name entry_name(uint64_t oid)
{
	struct entry_name n;

	snprintf(n.text, sizeof n.text, "%016llx", (unsigned long long)oid);
	return n;
}

static int open_holder(const struct target *t)
{
	int fd = openat(t->root, TARGET_HOLDER_NAME, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* D6: that the holder comes and goes is not the application's doing. */
static int keep_mtime(const struct target *t, const struct stat *before)
{
	const struct timespec omit = { .tv_nsec = UTIME_OMIT };

	return target_set_times(t->root, &omit, &before->st_mtim);
}

static int make_holder(const struct target *t)
{
	int r = open_holder(t);
	struct stat st;

	if (r != -ENOENT)
		return r;
	r = creds_set_fs(0, 0);
	if (r)
		return r;
	if (fstat(t->root, &st))
		return -errno;
	if (!mkdirat(t->root, TARGET_HOLDER_NAME, 0700))
		keep_mtime(t, &st);	/* else only a wrong time: the name must still be kept */
	else if (errno != EEXIST)
		return -errno;
	return open_holder(t);
}

int target_holder_prepare(struct target *t)
{
	_cleanup_close_ int h = make_holder(t);

	return h < 0 ? h : 0;
}

int target_holder_hide(struct target *t, int dirfd, const char *name, uint64_t oid)
{
	_cleanup_close_ int h = make_holder(t);

	if (h < 0)
		return h;
	POINT("holder.made");
	if (POINT_STEP("rule.hide-by-rename") == POINT_SKIP)
		return linkat(dirfd, name, h, entry_name(oid).text, 0) || unlinkat(dirfd, name, 0) ? -errno : 0;
	return renameat2(dirfd, name, h, entry_name(oid).text, RENAME_NOREPLACE) ? -errno : 0;
}

int target_holder_drop(struct target *t, uint64_t oid)
{
	_cleanup_close_ int h = open_holder(t);

	if (h < 0)
		return h;
	return unlinkat(h, entry_name(oid).text, 0) ? -errno : 0;
}

int target_holder_has(struct target *t, uint64_t oid)
{
	_cleanup_close_ int h = open_holder(t);

	if (h < 0)
		return h == -ENOENT ? 0 : h;
	if (!faccessat(h, entry_name(oid).text, F_OK, AT_SYMLINK_NOFOLLOW))
		return 1;
	return errno == ENOENT ? 0 : -errno;
}

int target_holder_remove_all(struct target *t)
{
	int h = open_holder(t);
	_cleanup_closedir_ DIR *d = NULL;
	struct dirent *de;
	struct stat st;

	if (h < 0)
		return h == -ENOENT ? 0 : h;
	d = fdopendir(h);
	if (!d) {
		int r = -errno;

		close(h);
		return r;
	}
	while ((de = readdir(d)))
		if (strcmp(de->d_name, ".") && strcmp(de->d_name, "..") &&
		    unlinkat(dirfd(d), de->d_name, 0))
			return -errno;
	if (fstat(t->root, &st) || unlinkat(t->root, TARGET_HOLDER_NAME, AT_REMOVEDIR))
		return -errno;
	return keep_mtime(t, &st);
}
