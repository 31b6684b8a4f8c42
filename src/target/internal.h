/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Shared by the files of this module only. */
#ifndef DMM_TARGET_INTERNAL_H
#define DMM_TARGET_INTERNAL_H

#include "target/target.h"

struct target {
	int root;		/* O_RDONLY|O_DIRECTORY, carries the one-writer lock (D9) */
	dev_t dev;
	struct target_id id;
	bool id_set;
};

/* "/proc/self/fd/N": the only way to an O_PATH descriptor's xattrs and mode. */
struct target_proc_path {
	char text[40];
};
struct target_proc_path target_proc_path(int fd);

/* xattr calls that accept O_PATH descriptors. Return as the system calls, or -errno. */
ssize_t target_getxattr(int fd, const char *name, void *value, size_t n);
int target_setxattr(int fd, const char *name, const void *value, size_t n);
int target_removexattr(int fd, const char *name);

#endif
