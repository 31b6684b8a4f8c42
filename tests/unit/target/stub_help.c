/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "stub_help.h"

#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"

struct target_attr stub_attr(mode_t mode)
{
	return (struct target_attr){ .mode = mode, .uid = 1000, .gid = 100,
		.size = S_ISREG(mode) ? 12345678901ull : 0,
		.rdev = S_ISCHR(mode) || S_ISBLK(mode) ? makedev(511, 7) : 0,
		.atime = { 1000000000, 123456789 }, .mtime = { 1100000000, 987654321 },
		.link = "../dangling/\xff\n target" };
}

void stub_make(struct env *e, int dirfd, const char *name, const struct target_attr *a,
	       uint64_t oid)
{
	const struct target_mark m = { .oid = oid, .limit = a->size };
	struct target_handle out, h;

	memset(&out, 0xee, sizeof out);
	assert_int_equal(target_stub_create(e->t, dirfd, name, a, &m, &out), 0);
	assert_int_equal(target_handle_at(dirfd, name, &h), 0);
	assert_true(target_handle_equal(&out, &h));
	if (S_ISREG(a->mode))
		assert_int_equal(env_stat(dirfd, name).st_blocks, 0);
}

static void check_link(int dirfd, const char *name, const char *text)
{
	char buf[5000];
	ssize_t n = readlinkat(dirfd, name, buf, sizeof buf);

	assert_int_equal(n, strlen(text));
	assert_memory_equal(buf, text, (size_t)n);
}

void stub_check(struct env *e, int dirfd, const char *name, const struct target_attr *a, uint64_t oid)
{
	struct stat st = env_stat(dirfd, name);
	_cleanup_close_ int fd = env_path(dirfd, name);
	struct target_mark m;

	assert_int_equal(st.st_mode, S_ISLNK(a->mode) ? S_IFLNK | 0777 : a->mode);
	assert_int_equal(st.st_uid, a->uid);
	assert_int_equal(st.st_gid, a->gid);
	assert_memory_equal(&st.st_atim, &a->atime, sizeof a->atime);
	assert_memory_equal(&st.st_mtim, &a->mtime, sizeof a->mtime);
	if (S_ISREG(a->mode))
		assert_true((uint64_t)st.st_size == a->size);
	if (S_ISLNK(a->mode))
		check_link(dirfd, name, a->link);
	if (S_ISCHR(a->mode) || S_ISBLK(a->mode))
		assert_true(st.st_rdev == a->rdev);
	assert_false(target_is_torn(e->t, &st));
	assert_int_equal(target_mark_get(e->t, fd, &m), 0);
	assert_true(m.oid == oid && m.limit == a->size && !m.flags);
}
