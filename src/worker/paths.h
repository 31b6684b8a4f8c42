/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where directories lie relative to each other.
 *
 * Names are not enough (bind mounts, symlinks), inodes are not enough (what does not exist
 * yet has none): "inside" is asked both ways, by canonical path and by walking ".." upward
 * comparing device and inode.  Not seen: a bind mount of a subdirectory, entered from below.
 */
#ifndef DMM_WORKER_PATHS_H
#define DMM_WORKER_PATHS_H

#include <limits.h>
#include <stdbool.h>

#include "base/err.h"

/*
 * Absolute path without symlinks, "." and "..".  The last component may be a dead
 * mount (then only the directories above it are resolved).  -ENOENT, -ENOTDIR ...
 */
int paths_canonical(const char *path, char out[PATH_MAX], struct err *e);

/* The same for a directory that need not exist: what exists is resolved, the rest is appended;
 * ".." in the rest is refused. */
int paths_canonical_new(const char *path, char out[PATH_MAX], struct err *e);

/* Is `inner` the directory `outer` or inside it?  Both canonical; either may be missing. */
bool paths_inside(const char *inner, const char *outer);

#endif
