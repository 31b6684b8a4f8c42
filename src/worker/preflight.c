/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "preflight.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "paths.h"
#include "process.h"
#include "text.h"

/* Root of a container may lack what mounting needs; better known before than after. */
static bool may_mount(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	return syscall(SYS_capget, &head, data) ||
	       (data[0].effective & (1u << CAP_SYS_ADMIN));
}

int preflight_host(struct err *e)
{
	_cleanup_close_ int fd = -1;

	if (geteuid())
		return err_set(e, EPERM, "a migration must be run by root");
	if (!may_mount())
		return err_set(e, EPERM, "this root may not mount file systems (no CAP_SYS_ADMIN)");
	fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		return 0;
	if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
		return err_set(e, errno, "this kernel has no FUSE (no /dev/fuse); "
			       "try: modprobe fuse");
	return err_sys(e, errno, "/dev/fuse");
}

int preflight_directory(const char *target, struct err *e)
{
	struct stat st;

	if (stat(target, &st))
		return err_sys(e, errno, "target %s", target);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, ENOTDIR, "target %s is not a directory", target);
	return 0;
}

int preflight_apart(const char *local_source, const char *target, struct err *e)
{
	bool in, out;

	if (!local_source)
		return 0;
	in = paths_inside(target, local_source);
	out = paths_inside(local_source, target);
	if (in && out)
		return err_set(e, EINVAL, "source and target are the same directory, %s", target);
	if (in)
		return err_set(e, EINVAL, "the target %s is inside the source %s",
			       target, local_source);
	if (out)
		return err_set(e, EINVAL, "the source %s is inside the target %s",
			       local_source, target);
	return 0;
}

static int is_empty_dir(int at, const char *name, char *first, size_t n)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;

	if (!d) {
		int r = -errno;

		if (fd >= 0)
			close(fd);
		return r;
	}
	errno = 0;
	while ((de = readdir(d))) {
		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		if (!strcmp(de->d_name, "lost+found") && first) {
			struct stat st;
			int r = is_empty_dir(dirfd(d), de->d_name, NULL, 0);

			if (r == 1 && !fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) &&
			    !st.st_uid)
				continue;
		}
		if (first)
			text_clean(first, n, de->d_name);
		return 0;
	}
	return errno ? -errno : 1;
}

static int check_empty(struct target *t, const char *target, struct err *e)
{
	char first[300];
	int r = is_empty_dir(target_root_fd(t), ".", first, sizeof first);

	if (r < 0)
		return err_sys(e, r, "cannot list the target %s", target);
	return r ? 0 : err_set(e, ENOTEMPTY, "the target %s is not empty: it contains \"%s\"",
			       target, first);
}

static int check_unclaimed(struct target *t, const char *target, struct err *e)
{
	struct target_mark mark;
	uint64_t stamp;
	int r = target_stamp_get(t, &stamp), m = target_mark_get(t, target_root_fd(t), &mark);

	if (r == -ENODATA && m == -ENODATA)
		return 0;
	if ((r && r != -ENODATA && r != -ENOTSUP) || m == -ENOTSUP || r == -ENOTSUP)
		return err_sys(e, r && r != -ENODATA ? r : m, "the target's file system does not "
			       "keep trusted extended attributes; use ext4, xfs or btrfs");
	return err_set(e, EEXIST, "the target %s carries an unfinished migration whose state is "
		       "elsewhere; name its directory with --state", target);
}

static int check_unused(const char *target, struct err *e)
{
	const char *how;
	char comm[17], clean[80];
	pid_t pid;

	if (!process_uses_dir(target, &pid, &how))
		return 0;
	process_comm(pid, comm);
	return err_set(e, EBUSY, "the target %s is in use: process %d (%s) has %s",
		       target, (int)pid, text_clean(clean, sizeof clean, comm), how);
}

int preflight_fresh(struct target *t, const char *target, bool ours, struct err *e)
{
	int r = ours ? 0 : check_unclaimed(t, target, e);

	if (!r)
		r = check_empty(t, target, e);
	if (!r)
		r = check_unused(target, e);
	return r ? r : target_probe(t, e);
}

int preflight_identity(const struct catalog_identity *is, const char *source, const char *target,
		       const char *state, struct err *e)
{
	if (!strcmp(is->source, source) && !strcmp(is->target, target))
		return 0;
	return err_set(e, EEXIST, "%s holds the catalog of another migration: %.180s to %.180s",
		       state, is->source, is->target);
}
