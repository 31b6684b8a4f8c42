/* SPDX-License-Identifier: GPL-3.0-or-later */
/* See job.h. */
#include "job.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

static void *job_main(void *p)
{
	struct job *j = p;

	j->result = j->fn(j);
	return NULL;
}

void job_start(struct job *j)
{
	assert_int_equal(pthread_create(&j->t, NULL, job_main, j), 0);
}

int job_end(struct job *j)
{
	pthread_join(j->t, NULL);
	return j->result;
}

int job_read(struct job *j)
{
	return (int)rig_read(rig_path(j->r, j->name), j->buf, sizeof j->buf);
}
int job_open(struct job *j)
{
	int fd = open(rig_path(j->r, j->name), j->arg | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : fd;
}
int job_stat(struct job *j)
{
	struct stat st;

	return lstat(rig_path(j->r, j->name), &st) ? -errno : 0;
}
int job_unlink(struct job *j) { return unlink(rig_path(j->r, j->name)) ? -errno : 0; }
int job_rmdir(struct job *j) { return rmdir(rig_path(j->r, j->name)) ? -errno : 0; }
int job_rename(struct job *j) { return rename(rig_path(j->r, j->name), rig_path(j->r, j->name2)) ? -errno : 0; }
int job_link(struct job *j) { return link(rig_path(j->r, j->name), rig_path(j->r, j->name2)) ? -errno : 0; }
int job_chmod(struct job *j) { return chmod(rig_path(j->r, j->name), 0751) ? -errno : 0; }
int job_mkdir(struct job *j) { return mkdir(rig_path(j->r, j->name), 0700) ? -errno : 0; }
int job_truncate(struct job *j) { return truncate(rig_path(j->r, j->name), j->arg) ? -errno : 0; }
int job_setxattr(struct job *j) { return setxattr(rig_path(j->r, j->name), "user.t", "v", 1, 0) ? -errno : 0; }
int job_pread(struct job *j)
{
	ssize_t n = pread(j->arg, j->buf, 4, 0);

	return n < 0 ? -errno : (int)n;
}
int job_pwrite(struct job *j)
{
	ssize_t n = pwrite(j->arg, j->buf, 4, 0);

	return n < 0 ? -errno : (int)n;
}
int job_list(struct job *j)
{
	DIR *d = opendir(rig_path(j->r, j->name));
	int n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

bool job_exists_below(const struct rig *r, const char *name)
{
	return !faccessat(rig_backing(r), name, F_OK, AT_SYMLINK_NOFOLLOW);
}
