/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is mounted at one directory, read from /proc/self/mountinfo. */
#ifndef DMM_FUSEFS_MOUNTINFO_H
#define DMM_FUSEFS_MOUNTINFO_H

#include <sys/types.h>

#define MOUNTINFO_TYPE "fuse.dmm"

/* The path as mountinfo spells it: absolute, no links.  Asks nothing of a file system mounted at dir.
 * malloc'ed, NULL with errno. */
char *mountinfo_path(const char *dir);
/* Is the topmost mount at this absolute path of our type?  1 with its device number, 0, or -errno. */
int mountinfo_ours(const char *dir, dev_t *dev);

#endif
