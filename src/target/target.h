/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The target: a local file system on which objects arrive.
 *
 * This module knows how a stub looks, how identity travels with an inode
 * (D1), and how to reach an inode without a path.  It takes no decisions and
 * keeps no table of objects.
 *
 * Identity: struct target_handle, from name_to_handle_at(2): inode number
 * and generation, so a reused inode number is a different handle.  All access
 * goes through handles or through descriptors with *at() calls on a single
 * component; no path is ever resolved and no link followed.
 *
 * The mark is the xattr "trusted.dmm" of an inode that is not complete.
 *
 * Threads: every function may be called from any thread.  Functions that
 * create stubs switch the calling thread's fsuid/fsgid to the reserved id
 * and leave it so (D1); threads that create for applications set their own
 * with creds_set_fs() before each creation.
 *
 * Errors: 0 (or a descriptor) or -errno.
 */
#ifndef DMM_TARGET_TARGET_H
#define DMM_TARGET_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#include "base/err.h"

#define TARGET_XATTR "trusted.dmm"	/* and everything below "trusted.dmm.": never visible to applications */
#define TARGET_HOLDER_NAME ".dmm-holder" /* in the root: last names of hard-linked objects (D5); hidden, gone at detach */
#define TARGET_HANDLE_MAX 32		/* ext4 8, xfs 12, btrfs 20 bytes */

struct target_handle {
	uint8_t len;			/* of data; 0 = none */
	uint8_t type;			/* handle_type, fits a byte on all Linux file systems */
	uint8_t data[TARGET_HANDLE_MAX];	/* bytes beyond len are 0: comparable with memcmp */
};

static inline bool target_handle_equal(const struct target_handle *a, const struct target_handle *b)
{
	return !__builtin_memcmp(a, b, sizeof *a);
}

/* What an incomplete inode says about itself. */
enum {
	TARGET_MARK_TIMES = 1,		/* an application set the times (or changed the content): app_mtime is its mtime */
	TARGET_MARK_BY_HAND = 2,	/* with TIMES: exactly so, by utimens; else of its first write, and the inode may know a later one */
};
#define TARGET_NO_LIMIT UINT64_MAX	/* for a moment, while a retry changes the promised size */
struct target_mark {
	uint64_t oid;
	uint64_t limit;			/* source bytes are valid only below this offset (D3b) */
	uint32_t flags;
	struct timespec app_mtime;	/* with TARGET_MARK_TIMES */
};

struct target_id {
	uint8_t migration[16];		/* random, per migration */
	uint32_t reserved_id;		/* uid and gid of half-made stubs (D1) */
};

/* What a stub must look like; mode is the full st_mode with type. */
struct target_attr {
	uint32_t mode;
	uint32_t uid, gid;
	uint64_t size;			/* regular files: length with no data */
	dev_t rdev;
	struct timespec atime, mtime;
	const char *link;		/* symlinks */
};

struct target;

/* Open the backing directory before anything is mounted over it, and take the
 * one-writer lock (D9): -EBUSY if another worker has it. */
int target_open(const char *dir, struct target **out, struct err *e);
void target_close(struct target *t);
void target_set_id(struct target *t, const struct target_id *id);

int target_root_fd(const struct target *t);	/* O_RDONLY|O_DIRECTORY descriptor of the root, borrowed */
dev_t target_dev(const struct target *t);	/* st_dev of the backing file system */

/* Can this file system carry a migration?  trusted xattrs, handles, sparse files,
 * nanoseconds: tried out in an unlinked scratch file (O_TMPFILE).  One clear line if not.  Hard links are not
 * tried, that would take names: no Linux file system with handles and trusted xattrs lacks them. */
int target_probe(struct target *t, struct err *e);

/* Handles. */
int target_handle_of(int fd, struct target_handle *out);	/* any descriptor, O_PATH too */
int target_handle_at(int dirfd, const char *name, struct target_handle *out);	/* one component, links not followed */
int target_open_handle(const struct target *t, const struct target_handle *h, int flags); /* -> fd; -ESTALE when the inode is gone */

/* The mark.  fd may be O_PATH. -ENODATA: none.  -EUCLEAN: not ours (another migration) or damaged. */
int target_mark_get(const struct target *t, int fd, struct target_mark *out);
int target_mark_set(const struct target *t, int fd, const struct target_mark *m);
int target_mark_remove(const struct target *t, int fd);

/*
 * Create a stub in a directory, in the order of D1.  -EEXIST: the name is taken by
 * something that is finished.  A torn stub of ours found under
 * that name (target_is_torn()) is removed and made anew.
 * What it inherits from a default ACL of the directory is taken off again (D6).
 */
int target_stub_create(struct target *t, int dirfd, const char *name, const struct target_attr *a,
		       const struct target_mark *m, struct target_handle *out);

/* Is this a stub that is still being made, or was when the power went?  It has the reserved owner, which is
 * replaced last.  Nobody but the maker may look at it: treat the name as not there yet. */
bool target_is_torn(const struct target *t, const struct stat *st);
/* Remove a torn leftover for which there is no object (any more). */
int target_torn_remove(const struct target *t, int dirfd, const char *name);
/* Give an adopted stub (mark, but no row: D1) all its metadata again, its size included.
 * -ESTALE: it has another type than a says; nothing was changed. */
int target_stub_redo(struct target *t, int fd, const struct target_attr *a);

/* Give an existing inode a further name (hard link to be). */
int target_link(const struct target *t, const struct target_handle *inode, int dirfd, const char *name);

/* Put times back.  Both times; fd may be O_PATH. */
int target_set_times(int fd, const struct timespec *atime, const struct timespec *mtime);

/*
 * Write fetched bytes.  4 KiB-aligned blocks of zeros become (stay) holes: they are
 * not written when `fresh` says that the range has never been written, and punched otherwise.
 */
int target_land(int fd, const void *data, size_t n, uint64_t offset, bool fresh);

/* All that was finished before this call is durable after it returns 0.  -EIO: it is not, and never will be (D2). */
int target_sync_all(struct target *t);
/* The same for one inode: data and metadata.  Falls back to target_sync_all() for what cannot be opened.  Other errors than -EIO:
 * nothing was tried. */
int target_sync_one(struct target *t, const struct target_handle *h);

/* Holder of last names (D5).  Prepared before anything is mounted or made: a full disk must not stop a delete, and nobody else sets the
 * root's times meanwhile, which are put back. */
int target_holder_prepare(struct target *t);
int target_holder_hide(struct target *t, int dirfd, const char *name, uint64_t oid);	/* rename into the holder */
int target_holder_drop(struct target *t, uint64_t oid);	/* remove it from the holder; -ENOENT: was not there */
int target_holder_has(struct target *t, uint64_t oid);	/* 1, 0 or -errno */
int target_holder_remove_all(struct target *t);		/* at detach */

/* Root: guard (mode 0000, DESIGN §3) and group stamp (D2). */
int target_root_guard(struct target *t);
int target_root_restore(struct target *t, const struct target_attr *a);	/* mode, owner, times; mark and stamp removed */
int target_stamp_get(struct target *t, uint64_t *n);	/* -ENODATA: none */
int target_stamp_set(struct target *t, uint64_t n);

#endif
