/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * File systems on image files, mounted where nobody else sees them.
 *
 * Everything lives in a mount namespace of the test process: however it ends,
 * the kernel unmounts, and mount(8)'s loop devices detach themselves with the
 * last mount.  Images live in memory (sparse, some 100 MB at most at a time), so that the
 * many flushes cost little and other users of the disk do not matter.
 *
 * Errors: a failing command ends the process with a message, not a test: it says
 * nothing about the code under test.
 */
#ifndef TESTS_TARGET_DISK_H
#define TESTS_TARGET_DISK_H

/*
 * A new namespace has copies of all mounts of this host.  Those of tests that run beside this one must not live as long
 * as this one: a migration ends when nothing has its mount any more.
 */
void disk_forget_mounts(void);

/* Enter a private mount namespace, with memory for the images in dir.  0 or -errno. */
int disk_private(const char *dir);

/*
 * Make and mount a file system under dir; path (of n bytes) becomes the mount point.
 * kind: "ext4", "xfs", "btrfs", "ext4-128" (inodes of 128 bytes), "ext4-ro"
 * (read-only), "ramfs".
 */
void disk_mount(const char *dir, const char *kind, char *path, unsigned n);
void disk_umount(const char *path);

/*
 * A whole test program: in a process and a namespace of its own, with a directory that goes at the end, first(dir) (may be NULL), then
 * all_on() for ext4, xfs and btrfs; both return how many tests failed.  Returns the program's exit status, 77 = skipped
 * when not root.
 */
int disk_everywhere(const char *name, int (*first)(const char *dir), int (*all_on)(const char *dir, const char *kind));

#endif
