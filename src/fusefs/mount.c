/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Putting the mount over the target directory and taking it away.
 *
 * mount(2) directly: fusermount would neither copy the target's flags nor take a
 * descriptor opened before.  The mount goes over the very directory whose
 * descriptor the target holds, which is checked.
 *
 * Also here: mounts of dead workers, which answer every request with ENOTCONN.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "internal.h"
#include "mountinfo.h"

#ifndef ST_NOSYMFOLLOW
#define ST_NOSYMFOLLOW 0x2000
#endif
#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif

#define PROBE_MS 3000

static unsigned long copied_flags(int root_fd)
{
	static const struct {
		unsigned long st, ms;
	} map[] = {
		{ ST_RDONLY, MS_RDONLY }, { ST_NOSUID, MS_NOSUID }, { ST_NODEV, MS_NODEV },
		{ ST_NOEXEC, MS_NOEXEC }, { ST_SYNCHRONOUS, MS_SYNCHRONOUS }, { ST_NOATIME, MS_NOATIME },
		{ ST_NODIRATIME, MS_NODIRATIME }, { ST_RELATIME, MS_RELATIME },
		{ ST_NOSYMFOLLOW, MS_NOSYMFOLLOW },
	};
	struct statvfs v;
	unsigned long ms = 0;

	if (fstatvfs(root_fd, &v))
		return MS_NOSUID | MS_NODEV;
	for (size_t i = 0; i < sizeof map / sizeof map[0]; i++)
		if (v.f_flag & map[i].st)
			ms |= map[i].ms;
	if (!(ms & (MS_NOATIME | MS_RELATIME)))
		ms |= MS_STRICTATIME;
	return ms;
}

/* What mount(8) shows: printable, and short enough for one line. */
static void device_name(char *out, size_t n, const char *name)
{
	snprintf(out, n, "%s", name && *name ? name : "dmm");
	for (char *p = out; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
}

static int same_directory(struct fusefs *f, struct err *e)
{
	struct stat a, b;

	if (fstat(target_root_fd(f->target), &a))
		return err_sys(e, errno, "the target's descriptor");
	if (stat(f->mountpoint, &b))
		return err_sys(e, errno, "%s", f->mountpoint);
	if (a.st_dev != b.st_dev || a.st_ino != b.st_ino)
		return err_set(e, EBUSY, "%s: something else is mounted there or it was replaced", f->mountpoint);
	return 0;
}

int mount_over(struct fusefs *f, struct err *e)
{
	char opts[160], name[256];
	int r = same_directory(f, e);

	if (r)
		return r;
	device_name(name, sizeof name, f->fsname);
	snprintf(opts, sizeof opts,
		 "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions,max_read=%u",
		 f->dev_fd, FS_MAX_IO);
	if (mount(name, f->mountpoint, MOUNTINFO_TYPE, copied_flags(target_root_fd(f->target)), opts))
		return err_sys(e, errno, "mount a file system of type fuse over %s", f->mountpoint);
	f->mounted = true;
	return 0;
}

/* Only when what is on top there is ours. */
int mount_remove(struct fusefs *f, int flags)
{
	dev_t dev;
	int r = mountinfo_ours(f->mountpoint, &dev);

	if (r < 0)
		return r;
	if (!r || (f->st_dev && dev != f->st_dev))
		return -EBUSY;
	if (umount2(f->mountpoint, flags | UMOUNT_NOFOLLOW))
		return -errno;
	f->mounted = false;
	return 0;
}

/* statfs is never answered from a cache.  In a child, because a stopped worker would keep us. */
static int answers(const char *dir)
{
	pid_t pid = fork();
	struct pollfd p;
	int status = 0;

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		struct statfs s;

		_exit(statfs(dir, &s) && errno == ENOTCONN ? 2 : 1);
	}
	p = (struct pollfd){ .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };
	if (p.fd >= 0) {
		if (poll(&p, 1, PROBE_MS) == 0)
			kill(pid, SIGKILL);
		close(p.fd);
	}
	if (waitpid(pid, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;	/* killed: slow, but somebody is there */
}

int fusefs_probe_mount(const char *dir)
{
	_cleanup_free_ char *path = mountinfo_path(dir);
	dev_t dev;
	int r;

	if (!path)
		return -errno;
	r = mountinfo_ours(path, &dev);
	return r <= 0 ? r : answers(path);
}

int fusefs_clean_dead(const char *dir, struct err *e)
{
	int r;

	while ((r = fusefs_probe_mount(dir)) == 2) {
		if (umount2(dir, MNT_DETACH | UMOUNT_NOFOLLOW))
			return err_sys(e, errno, "unmount what a dead worker left at %s", dir);
		log_info("%s: removed the mount of a worker that is gone", dir);
	}
	return r < 0 ? err_sys(e, r, "look for mounts at %s", dir) : 0;
}
