/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The target on real file systems: the same tests on ext4, xfs and btrfs.
 *
 * A child process does everything in a mount namespace of its own; the parent only
 * waits and removes the scratch directory (by then directories only), so that nothing remains even when a
 * sanitizer ends the child.
 */
#include "env.h"

#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "disk.h"

enum { SKIPPED = 77 };	/* what meson and automake understand */

static int all_on(const char *dir, const char *kind)
{
	struct env *e = calloc(1, sizeof *e);
	int failed;

	e->kind = kind;
	e->seed = 20081117;
	disk_mount(dir, kind, e->mount, sizeof e->mount);
	failed = test_open(e) + test_handle(e) + test_mark(e) + test_stub(e) + test_torn(e) +
		 test_land(e) + test_holder(e);
	disk_umount(e->mount);
	free(e);
	return failed;
}

static int child(const char *dir, pid_t parent)
{
	static const char *const kinds[] = { "ext4", "xfs", "btrfs" };
	int failed, r;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		return 1;
	r = disk_private(dir);
	if (r) {
		fprintf(stderr, "no private mount namespace: %s\n", strerror(-r));
		return 1;
	}
	failed = test_unsuitable(dir);
	for (unsigned i = 0; i < 3; i++)
		failed += all_on(dir, kinds[i]);
	return !!failed;
}

static int remove_one(const char *path, const struct stat *st, int what, struct FTW *ftw)
{
	(void)st, (void)what, (void)ftw;
	return remove(path);
}

int main(void)
{
	const char *tmp = getenv("TMPDIR");
	char dir[2048];
	pid_t parent, pid;
	int status;

	if (geteuid()) {
		fprintf(stderr, "skipped: file systems are mounted by root only\n");
		return SKIPPED;
	}
	snprintf(dir, sizeof dir, "%s/dmm-target-XXXXXX", tmp ? tmp : "/var/tmp");
	if (!mkdtemp(dir)) {
		perror(dir);
		return 1;
	}
	parent = getpid();
	pid = fork();
	if (!pid)
		exit(child(dir, parent));
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		status = 1;
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
