/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * (device, inode) -> path below the root, least recently used entries first out.
 *
 * For file systems whose objects cannot be opened by handle.  The bound is on
 * bytes; what was evicted is found again by LOOKUP from the root.
 *
 * Threads: any.
 */
#ifndef DMM_SOURCE_POSIX_PATHS_H
#define DMM_SOURCE_POSIX_PATHS_H

#include <stddef.h>
#include <stdint.h>

struct posix_paths;

struct posix_paths *posix_paths_new(size_t max_bytes);
void posix_paths_free(struct posix_paths *p);

/* Remember dir_path/name (dir_path "" is the root) for the object; replaces an older path. */
int posix_paths_put(struct posix_paths *p, uint64_t dev, uint64_t ino,
		    const char *dir_path, const char *name);

/* A copy of the path (free() it), or NULL: unknown or evicted. */
char *posix_paths_get(struct posix_paths *p, uint64_t dev, uint64_t ino);

/*
 * Open a path of any length below root_fd, following no symbolic link:
 * openat2(RESOLVE_BENEATH | NO_SYMLINKS | NO_MAGICLINKS) piece by piece, each
 * piece shorter than PATH_MAX.  Mount points are crossed.
 */
int posix_paths_open(int root_fd, const char *path, int flags);

#endif
