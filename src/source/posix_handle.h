/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Names of local objects that survive renames: struct source_fh <-> descriptor.
 *
 * A handle is one of two kinds, and says the object's type, so that nothing
 * is ever opened that must not be (fifos, devices):
 *   kernel  device number, kernel file handle (name_to_handle_at(2)); opened with
 *           open_by_handle_at(2) through a directory of the same file system.
 *   path    device and inode number, for file systems without handles or
 *           without the right to open them; a bounded table (posix_paths.h)
 *           remembers a path for each, and an evicted one is -ESTALE.
 * A file system's kind is decided when its first object is seen; its paths are
 * relative to that object, so that mounts below the root work in either kind.
 *
 * Threads: all functions may be called from any thread.
 */
#ifndef DMM_SOURCE_POSIX_HANDLE_H
#define DMM_SOURCE_POSIX_HANDLE_H

#include <sys/stat.h>

#include "source.h"

struct posix_handles;

int posix_handles_new(struct posix_handles **out);
void posix_handles_free(struct posix_handles *h);

/*
 * The handle of an object that is open as fd (O_PATH is enough).  dir and name
 * say where it was found: they feed the path table.  dir NULL: fd is the root.
 */
int posix_handle_make(struct posix_handles *h, int fd, const struct statx *st,
		      const struct source_fh *dir, const char *name, struct source_fh *out);

/* A new descriptor, or -errno.  flags: open(2)'s; O_CLOEXEC | O_NOFOLLOW are added. */
int posix_handle_open(struct posix_handles *h, const struct source_fh *fh, int flags);

/* What the handle says its object is; 0 if the handle is not one of ours. */
enum source_type posix_handle_type(const struct source_fh *fh);

#endif
