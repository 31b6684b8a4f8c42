/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The mark on an incomplete inode, and the stamp on the root (D1, D2).
 *
 * Mark, little-endian: version 1, three zero bytes, flags (4), migration
 * (16), oid (8), limit (8) and, with TARGET_MARK_TIMES only, mtime seconds
 * (8) and nanoseconds (4).  40 bytes fit beside the inode on ext4 (256-byte
 * inodes), so a stub costs no extra block.
 *
 * Stamp: version 1, three zero bytes, zero (4), migration (16), number (8).
 *
 * Bytes on a disk are hostile input: lengths, versions, reserved bytes and flags are
 * checked, and anything unexpected is -EUCLEAN, never guessed.
 */
#include "internal.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/point.h"

#define STAMP_XATTR TARGET_XATTR ".stamp"
enum { VERSION = 1, FLAGS = TARGET_MARK_TIMES | TARGET_MARK_BY_HAND };

struct __attribute__((packed)) mark_disk {
	uint8_t version, zero[3];
	uint32_t flags;
	uint8_t migration[16];
	uint64_t oid, limit;
	int64_t sec;
	uint32_t nsec;
};
enum { MARK_SHORT = offsetof(struct mark_disk, sec), MARK_LONG = sizeof(struct mark_disk) };

struct __attribute__((packed)) stamp_disk {
	uint8_t version, zero[7];
	uint8_t migration[16];
	uint64_t n;
};

static bool all_zero(const uint8_t *p, size_t n)
{
	while (n && !*p)
		p++, n--;
	return !n;
}

int target_mark_get(const struct target *t, int fd, struct target_mark *out)
{
	struct mark_disk d;
	ssize_t n = target_getxattr(fd, TARGET_XATTR, &d, sizeof d);

	if (n < 0)
		return n == -ENOTSUP ? -ENODATA : n == -ERANGE ? -EUCLEAN : (int)n;
	if ((n != MARK_SHORT && n != MARK_LONG) || d.version != VERSION ||
	    !all_zero(d.zero, sizeof d.zero) || memcmp(d.migration, t->id.migration, sizeof d.migration))
		return -EUCLEAN;
	memset(out, 0, sizeof *out);
	out->oid = le64toh(d.oid);
	out->limit = le64toh(d.limit);
	out->flags = le32toh(d.flags);
	if (!out->oid || out->flags & ~FLAGS || !!(out->flags & TARGET_MARK_TIMES) != (n == MARK_LONG) ||
	    out->flags == TARGET_MARK_BY_HAND)
		return -EUCLEAN;
	if (n == MARK_LONG) {
		out->app_mtime.tv_sec = (time_t)le64toh((uint64_t)d.sec);
		out->app_mtime.tv_nsec = (long)le32toh(d.nsec);
		if (out->app_mtime.tv_nsec > 999999999)
			return -EUCLEAN;
	}
	return 0;
}

int target_mark_set(const struct target *t, int fd, const struct target_mark *m)
{
	struct mark_disk d = { .version = VERSION, .flags = htole32(m->flags),
			       .oid = htole64(m->oid), .limit = htole64(m->limit),
			       .sec = (int64_t)htole64((uint64_t)m->app_mtime.tv_sec),
			       .nsec = htole32((uint32_t)m->app_mtime.tv_nsec) };

	memcpy(d.migration, t->id.migration, sizeof d.migration);
	return target_setxattr(fd, TARGET_XATTR, &d,
			       m->flags & TARGET_MARK_TIMES ? MARK_LONG : MARK_SHORT);
}

int target_mark_remove(const struct target *t, int fd)
{
	(void)t;
	return target_removexattr(fd, TARGET_XATTR);
}

int target_stamp_get(struct target *t, uint64_t *n)
{
	struct stamp_disk d;
	ssize_t r = target_getxattr(t->root, STAMP_XATTR, &d, sizeof d);

	if (r < 0)
		return r == -ENOTSUP ? -ENODATA : r == -ERANGE ? -EUCLEAN : (int)r;
	if (r != (ssize_t)sizeof d || d.version != VERSION || !all_zero(d.zero, sizeof d.zero) ||
	    (t->id_set && memcmp(d.migration, t->id.migration, sizeof d.migration)))
		return -EUCLEAN;
	*n = le64toh(d.n);
	return 0;
}

int target_stamp_set(struct target *t, uint64_t n)
{
	struct stamp_disk d = { .version = VERSION, .n = htole64(n) };

	memcpy(d.migration, t->id.migration, sizeof d.migration);
	return target_setxattr(t->root, STAMP_XATTR, &d, sizeof d);
}

int target_root_restore(struct target *t, const struct target_attr *a)
{
	int r;

	if (a) {
		if (fchown(t->root, a->uid, a->gid) || fchmod(t->root, a->mode & 07777))
			return -errno;
		r = target_set_times(t->root, &a->atime, &a->mtime);
		if (r)
			return r;
	}
	r = target_removexattr(t->root, TARGET_XATTR);
	if (r && r != -ENODATA)
		return r;
	POINT("root.unmarked");
	r = target_removexattr(t->root, STAMP_XATTR);
	if (r && r != -ENODATA)
		return r;
	return target_sync_all(t);
}

int target_root_guard(struct target *t)
{
	POINT("root.unguarded");
	return fchmod(t->root, 0) || fsync(t->root) ? -errno : 0;
}
