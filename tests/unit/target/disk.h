/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * File systems on image files, mounted where nobody else sees them.
 *
 * Everything lives in a mount namespace of the test process: however it ends,
 * the kernel unmounts, and mount(8)'s loop devices detach themselves with the
 * last mount.  Images are unlinked as soon as they are mounted.
 *
 * Errors: a failing command ends the process with a message, not a test: it says
 * nothing about the code under test.
 */
#ifndef TESTS_TARGET_DISK_H
#define TESTS_TARGET_DISK_H

/* Enter a private mount namespace.  0 or -errno. */
int disk_private(void);

/*
 * Make and mount a file system under dir; path (of n bytes) becomes the mount point.
 * kind: "ext4", "xfs", "btrfs", "ext4-128" (inodes of 128 bytes), "ext4-ro"
 * (read-only), "ramfs".
 */
void disk_mount(const char *dir, const char *kind, char *path, unsigned n);
void disk_umount(const char *path);

#endif
