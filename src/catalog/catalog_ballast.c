/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The ballast: 1 MiB of allocated blocks in the state directory that nobody
 * needs.  When a commit meets a full disk they are given back, so that the
 * small commits that let applications delete (D5) go on; a checkpoint
 * allocates them again when there is plenty of room.
 *
 * It is only ever an attempt: without a ballast the catalog works until the
 * disk is full.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define PLENTY (8 * CATALOG_BALLAST_SIZE)

static bool room(struct catalog *c)
{
	struct statvfs v;

	return !fstatvfs(c->dir_fd, &v) && (uint64_t)v.f_bavail * v.f_frsize >= PLENTY;
}

void catalog_ballast_restore(struct catalog *c)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	if (c->ballast || !room(c))
		return;
	fd = openat(c->dir_fd, CATALOG_BALLAST, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode))
		return;
	if (posix_fallocate(fd, 0, (off_t)CATALOG_BALLAST_SIZE) || fsync(fd)) {
		if (ftruncate(fd, 0))
			log_warn("catalog: cannot empty the ballast");
		return;
	}
	c->ballast = true;
}

void catalog_ballast_release(struct catalog *c)
{
	_cleanup_close_ int fd = openat(c->dir_fd, CATALOG_BALLAST, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || ftruncate(fd, 0) || fsync(fd))
		return;
	if (c->ballast)
		log_warn("catalog: the disk of the state directory is full; the ballast is given up");
	c->ballast = false;
}

bool catalog_has_room(struct catalog *c)
{
	return room(c);
}

bool catalog_has_ballast(struct catalog *c)
{
	bool has;

	if (pthread_mutex_lock(&c->writer))
		return false;
	has = c->ballast;
	pthread_mutex_unlock(&c->writer);
	return has;
}
