/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SKIPPED = 77 };	/* for meson */

enum { MAX_ARGS = 8 };

struct kind {
	const char *name, *mkfs[MAX_ARGS], *type, *options;
	off_t size;
};
static const struct kind kinds[] = {
	{ "ext4", { "mkfs.ext4", "-q", "-F", "-b4096", "-I256" }, "ext4", "loop,noatime,noinit_itable", 256 << 20 },
	{ "xfs", { "mkfs.xfs", "-q", "-f" }, "xfs", "loop,noatime", 320 << 20 },
	{ "btrfs", { "mkfs.btrfs", "-q", "-f" }, "btrfs", "loop,noatime", 256 << 20 },
	{ "ext4-128", { "mkfs.ext4", "-q", "-F", "-I128" }, "ext4", "loop", 8 << 20 },
	{ "ext4-ro", { "mkfs.ext4", "-q", "-F", "-I256" }, "ext4", "loop,ro", 8 << 20 },
	{ "ramfs", { NULL }, "ramfs", "mode=0755", 0 },
};

/*
 * The images' file system must not be the one that the mount points are on: when the namespace
 * dies with everything in it, mounts stay connected to their parents, and an image whose
 * loop device is mounted above it would keep itself alive for ever.
 */
void disk_forget_mounts(void)
{
	FILE *f = fopen("/proc/self/mountinfo", "r");
	char line[8192], path[4096], type[64], source[1024];
	char **paths = calloc(4096, sizeof *paths);
	unsigned n = 0;

	while (f && paths && fgets(line, sizeof line, f)) {
		char *tail = strstr(line, " - ");

		if (tail && n < 4096 && sscanf(line, "%*s %*s %*s %*s %4095s", path) == 1 &&
		    sscanf(tail, " - %63s %1023s", type, source) == 2 &&
		    (!strncmp(type, "fuse", 4) || !strncmp(source, "/dev/loop", 9)))
			paths[n++] = strdup(path);
	}
	if (f)
		fclose(f);
	while (n) {
		umount2(paths[--n], MNT_DETACH);
		free(paths[n]);
	}
	free(paths);
}

int disk_private(const char *dir)
{
	char images[4096];

	snprintf(images, sizeof images, "%s/images", dir);
	if (mkdir(images, 0700) || unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -errno;
	disk_forget_mounts();
	return mount("dmm-test", images, "tmpfs", 0, "mode=0700") ? -errno : 0;
}

static void die(const char *what, const char *detail)
{
	fprintf(stderr, "the test's file systems cannot be made: %s: %s\n", what, detail);
	exit(1);
}

static void run(const char *const *fixed, const char *last)
{
	const char *argv[MAX_ARGS + 2];
	posix_spawn_file_actions_t quiet;
	unsigned n = 0;
	pid_t pid;
	int status, r;

	while (fixed[n] && n < MAX_ARGS) {
		argv[n] = fixed[n];
		n++;
	}
	argv[n++] = last;
	argv[n] = NULL;
	posix_spawn_file_actions_init(&quiet);
	posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
	r = posix_spawnp(&pid, argv[0], &quiet, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&quiet);
	if (r)
		die(argv[0], strerror(r));
	if (waitpid(pid, &status, 0) != pid || status)
		die(argv[0], "failed");
}

static const struct kind *find_kind(const char *name)
{
	for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (!strcmp(kinds[i].name, name))
			return &kinds[i];
	die(name, "unknown kind");
	return NULL;
}

static void make_image(const struct kind *k, const char *image)
{
	int fd = open(image, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, k->size))
		die(image, strerror(errno));
	close(fd);
	run(k->mkfs, image);
}

void disk_mount(const char *dir, const char *kind, char *path, unsigned n)
{
	const struct kind *k = find_kind(kind);
	char image[4096];

	snprintf(path, n, "%s/%s", dir, kind);
	snprintf(image, sizeof image, "%s/images/%s", dir, kind);
	if (mkdir(path, 0755))
		die(path, strerror(errno));
	if (k->size)
		make_image(k, image);
	run((const char *[]){ "mount", "-t", k->type, "-o", k->options,
			      k->size ? image : "none", NULL }, path);
	if (k->size)
		unlink(image);
}

void disk_umount(const char *path)
{
	if (umount2(path, 0) || rmdir(path))
		die(path, strerror(errno));
}

static int child(const char *dir, pid_t parent, int (*first)(const char *dir),
		 int (*all_on)(const char *dir, const char *kind))
{
	static const char *const everywhere[] = { "ext4", "xfs", "btrfs" };
	int failed, r;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		return 1;
	r = disk_private(dir);
	if (r) {
		fprintf(stderr, "no private mount namespace: %s\n", strerror(-r));
		return 1;
	}
	failed = first ? first(dir) : 0;
	for (unsigned i = 0; i < 3; i++)
		failed += all_on(dir, everywhere[i]);
	return !!failed;
}

static int remove_one(const char *path, const struct stat *st, int what, struct FTW *ftw)
{
	(void)st, (void)what, (void)ftw;
	return remove(path);
}

int disk_everywhere(const char *name, int (*first)(const char *dir), int (*all_on)(const char *dir, const char *kind))
{
	const char *tmp = getenv("TMPDIR");
	char dir[2048];
	pid_t parent, pid;
	int status;

	if (geteuid()) {
		fprintf(stderr, "skipped: file systems are mounted by root only\n");
		return SKIPPED;
	}
	snprintf(dir, sizeof dir, "%s/dmm-%s-XXXXXX", tmp ? tmp : "/var/tmp", name);
	if (!mkdtemp(dir)) {
		perror(dir);
		return 1;
	}
	parent = getpid();
	pid = fork();
	if (!pid)
		exit(child(dir, parent, first, all_on));
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		status = 1;
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
