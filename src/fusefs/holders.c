/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Who uses the mount: working and root directories, descriptors, mappings.
 *
 * Reads /proc only.  Device numbers are asked with AT_STATX_DONT_SYNC, which
 * sends nothing to a file system, so the question cannot hang on anybody's
 * dead server, ours included.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "internal.h"

struct scan {
	struct fusefs *f;
	struct fusefs_holder *out;
	unsigned n, max;
	pid_t pid;
	char comm[17];
};

static void report(struct scan *s, const char *what, const char *path)
{
	struct fusefs_holder *h = &s->out[s->n];

	if (s->n == s->max)
		return;
	memset(h, 0, sizeof *h);
	h->pid = s->pid;
	snprintf(h->comm, sizeof h->comm, "%s", s->comm);
	snprintf(h->what, sizeof h->what, "%s", what);
	snprintf(h->path, sizeof h->path, "%s", path);
	s->n++;
}

static bool on_mount(const struct scan *s, int dirfd, const char *link)
{
	struct statx x;

	return !statx(dirfd, link, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &x) &&
	       makedev(x.stx_dev_major, x.stx_dev_minor) == s->f->st_dev;
}

static void look(struct scan *s, int dirfd, const char *link, const char *what)
{
	char path[256];
	ssize_t n;

	if (!on_mount(s, dirfd, link))
		return;
	n = readlinkat(dirfd, link, path, sizeof path - 1);
	path[n < 0 ? 0 : n] = 0;
	report(s, what, path);
}

static void look_fds(struct scan *s, int procfd)
{
	int fd = openat(procfd, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;

	if (!d && fd >= 0)
		close(fd);
	while (d && (de = readdir(d)))
		if (isdigit((unsigned char)de->d_name[0]))
			look(s, dirfd(d), de->d_name, "fd");
}

/* One line per file: "START-END PERM OFFSET MAJ:MIN INODE PATH", several mappings each. */
static void look_maps(struct scan *s, int procfd)
{
	int fd = openat(procfd, "maps", O_RDONLY | O_CLOEXEC);
	_cleanup_fclose_ FILE *m = fd < 0 ? NULL : fdopen(fd, "r");
	_cleanup_free_ char *line = NULL;
	unsigned long long last = 0, ino;
	size_t cap = 0;

	if (!m && fd >= 0)
		close(fd);
	while (m && getline(&line, &cap, m) > 0) {
		unsigned major, minor;
		int at = 0;

		if (sscanf(line, "%*s %*s %*s %x:%x %llu %n", &major, &minor, &ino, &at) < 3 ||
		    makedev(major, minor) != s->f->st_dev || ino == last)
			continue;
		last = ino;
		line[strcspn(line, "\n")] = 0;
		report(s, "map", line + at);
	}
}

static void read_comm(struct scan *s, int procfd)
{
	_cleanup_close_ int fd = openat(procfd, "comm", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, s->comm, sizeof s->comm - 1);

	s->comm[n < 0 ? 0 : n] = 0;
	s->comm[strcspn(s->comm, "\n")] = 0;
}

static void look_at(struct scan *s, int procfd, bool all)
{
	read_comm(s, procfd);
	look(s, procfd, "cwd", "cwd");
	look(s, procfd, "root", "root");
	if (all) {
		look_fds(s, procfd);
		look_maps(s, procfd);
	}
}

static unsigned scan(struct fusefs *f, struct fusefs_holder *out, unsigned max, bool all)
{
	_cleanup_closedir_ DIR *d = opendir("/proc");
	struct scan s = { .f = f, .out = out, .max = max };
	struct dirent *de;

	while (d && s.n < max && (de = readdir(d))) {
		_cleanup_close_ int fd = -1;

		if (!isdigit((unsigned char)de->d_name[0]))
			continue;
		fd = openat(dirfd(d), de->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			continue;
		s.pid = (pid_t)atoi(de->d_name);
		look_at(&s, fd, all);
	}
	return s.n;
}

unsigned fusefs_holders(struct fusefs *f, struct fusefs_holder *out, unsigned max)
{
	return scan(f, out, max, true);
}

unsigned holders_inside(struct fusefs *f, struct fusefs_holder *out, unsigned max)
{
	return scan(f, out, max, false);
}
