/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "process.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "paths.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57	/* linux/prctl.h, Linux 5.6 */
#endif

static int write_file(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
	size_t n = strlen(text);

	if (fd < 0)
		return -errno;
	return write(fd, text, n) == (ssize_t)n ? 0 : -EIO;
}

void process_settle(void)
{
	struct rlimit lim;

	if (!getrlimit(RLIMIT_NOFILE, &lim)) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
	if (write_file("/proc/self/oom_score_adj", "-900"))
		log_debug("the out-of-memory killer may choose this worker: not permitted to say otherwise");
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	/* We write what others have mapped: do not wait in memory reclaim for ourselves. */
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	umask(077);	/* threads that create for applications have a umask of their own */
	if (chdir("/"))
		log_debug("cannot leave the working directory");
}

void process_release_stderr(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return;
	dup2(fd, STDERR_FILENO);
	close(fd);
}

static ssize_t read_file(const char *path, char *buf, size_t n)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t r = fd < 0 ? -1 : read(fd, buf, n - 1);

	buf[r > 0 ? r : 0] = 0;
	return r;
}

void process_comm(pid_t pid, char buf[17])
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
	if (read_file(path, buf, 17) <= 0)
		strcpy(buf, "?");
	buf[strcspn(buf, "\n")] = 0;
}

/* Call fn for each process but this one until it says true. */
static pid_t each_process(bool (*fn)(pid_t pid, void *arg), void *arg)
{
	_cleanup_closedir_ DIR *d = opendir("/proc");
	struct dirent *de;

	while (d && (de = readdir(d))) {
		pid_t pid = isdigit((unsigned char)de->d_name[0]) ? (pid_t)atol(de->d_name) : 0;

		if (pid && pid != getpid() && fn(pid, arg))
			return pid;
	}
	return 0;
}

static bool is_worker_of(pid_t pid, void *arg)
{
	char path[64], comm[17], cmd[8192], canonical[PATH_MAX];
	const char *last = NULL;
	ssize_t n;

	process_comm(pid, comm);
	if (strcmp(comm, "dmm-worker"))
		return false;
	snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
	n = read_file(path, cmd, sizeof cmd);
	for (ssize_t i = 0; i < n; i += (ssize_t)strlen(cmd + i) + 1)
		last = cmd + i;
	return last && !paths_canonical(last, canonical, NULL) && !strcmp(canonical, arg);
}

pid_t process_worker_of(const char *target)
{
	char copy[PATH_MAX];

	snprintf(copy, sizeof copy, "%s", target);
	return each_process(is_worker_of, copy);
}

struct user_of_dir {
	struct statx dir;
	const char *how;
};

static bool same_dir(struct user_of_dir *u, const char *link, const char *how)
{
	struct statx st;

	if (statx(AT_FDCWD, link, AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, STATX_INO, &st))
		return false;
	u->how = how;
	return st.stx_ino == u->dir.stx_ino && st.stx_dev_major == u->dir.stx_dev_major &&
	       st.stx_dev_minor == u->dir.stx_dev_minor;
}

static bool uses_dir(pid_t pid, void *arg)
{
	struct user_of_dir *u = arg;
	_cleanup_closedir_ DIR *d = NULL;
	char path[320];
	struct dirent *de;

	snprintf(path, sizeof path, "/proc/%d/cwd", (int)pid);
	if (same_dir(u, path, "its working directory"))
		return true;
	snprintf(path, sizeof path, "/proc/%d/root", (int)pid);
	if (same_dir(u, path, "its root directory"))
		return true;
	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	d = opendir(path);
	while (d && (de = readdir(d))) {
		snprintf(path, sizeof path, "/proc/%d/fd/%s", (int)pid, de->d_name);
		if (de->d_name[0] != '.' && same_dir(u, path, "it open"))
			return true;
	}
	return false;
}

bool process_uses_dir(const char *dir, pid_t *pid, const char **how)
{
	struct user_of_dir u = { 0 };

	if (statx(AT_FDCWD, dir, 0, STATX_INO, &u.dir))
		return false;
	*pid = each_process(uses_dir, &u);
	*how = u.how;
	return *pid != 0;
}
