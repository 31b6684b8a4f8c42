/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Stubs look exactly like what they stand for, wherever they are made. */
#include "env.h"

#include <endian.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "stub_help.h"

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

/* Modes, owners and times that something on the way could lose; the types take turns. */
static void make_all(struct env *e, int dirfd)
{
	static const mode_t modes[] = { 0, 07777, 04755, 02711, 01777, 06600, 0400 };
	static const uint32_t ids[] = { 0, 4294967290u, 1000, ENV_RESERVED + 1 };
	static const struct timespec times[] = {
		{ -315619200, 999999999 },	/* 1960-01-01 */
		{ 4102444800, 1 },		/* 2100-01-01 */
		{ 0, 0 }, { -1, 500000000 }, { 2147483647, 123456789 },
	};
	uint64_t oid = 1;

	for (unsigned i = 0; i < 7 * 7; i++, oid++) {
		struct target_attr a = stub_attr(env_types[i % 7] | modes[i / 7]);
		char name[16];

		a.uid = ids[i % 4];
		a.gid = ids[i / 4 % 4];
		a.atime = times[i % 5];
		a.mtime = times[i / 5 % 5];
		snprintf(name, sizeof name, "s%u", i);
		stub_make(e, dirfd, name, &a, oid);
		stub_check(e, dirfd, name, &a, oid);
	}
}

static void test_exact(void **state)
{
	struct env *e = *state;

	make_all(e, e->root);
	assert_int_equal(env_entries(e->root), 49);
}

/* There new objects inherit the group, and directories the bit. */
static void test_in_setgid_directory(void **state)
{
	struct env *e = *state;
	_cleanup_close_ int d = env_dir(e->root, "d");

	assert_int_equal(fchown(d, 5, 6) | fchmod(d, 02777), 0);
	env_file(d, "inherits");
	assert_int_equal(env_stat(d, "inherits").st_gid, 6);
	make_all(e, d);
}

/* user::rwx user:1000:rwx group::r-x mask::rwx other::r-- */
static void set_default_acl(int fd)
{
	const uint32_t acl[] = { htole32(2), htole32(7 << 16 | 1), UINT32_MAX,
		htole32(7 << 16 | 2), htole32(1000), htole32(5 << 16 | 4), UINT32_MAX,
		htole32(7 << 16 | 16), UINT32_MAX, htole32(4 << 16 | 32), UINT32_MAX };

	assert_int_equal(fsetxattr(fd, ACL_DEFAULT, acl, sizeof acl, 0), 0);
}

static ssize_t acl_of(int dirfd, const char *name, const char *which)
{
	_cleanup_close_ int fd = env_path(dirfd, name);
	char p[40];

	snprintf(p, sizeof p, "/proc/self/fd/%d", fd);
	return getxattr(p, which, NULL, 0) < 0 ? -errno : 1;
}

static void test_under_default_acl(void **state)
{
	struct env *e = *state;
	_cleanup_close_ int d = env_dir(e->root, "d");

	set_default_acl(d);
	env_file(d, "inherits");	/* else nothing below is a test */
	assert_int_equal(acl_of(d, "inherits", ACL_ACCESS), 1);
	make_all(e, d);
	for (unsigned i = 0; i < 49; i++) {
		char name[16];

		if (S_ISLNK(env_types[i % 7]))
			continue;
		snprintf(name, sizeof name, "s%u", i);
		assert_int_equal(acl_of(d, name, ACL_ACCESS), -ENODATA);
		if (S_ISDIR(env_types[i % 7]))
			assert_int_equal(acl_of(d, name, ACL_DEFAULT), -ENODATA);
	}
}

static void test_size_without_blocks(void **state)
{
	struct env *e = *state;
	static const uint64_t sizes[] = { 1, 4095, 4096, 1 << 20, (1ull << 32) + 1, (1ull << 40) + 7 };
	struct target_attr a = stub_attr(S_IFREG | 0644);

	for (unsigned i = 0; i < 6; i++) {
		char name[8];
		struct stat st;

		a.size = sizes[i];
		snprintf(name, sizeof name, "f%u", i);
		stub_make(e, e->root, name, &a, i + 1);
		assert_int_equal(target_sync_all(e->t), 0);
		st = env_stat(e->root, name);
		assert_true((uint64_t)st.st_size == a.size);
		assert_int_equal(st.st_blocks, 0);
	}
}

static void test_devices(void **state)
{
	struct env *e = *state;
	/* the last is the most that xfs holds */
	static const unsigned n[][2] = { { 0, 0 }, { 1, 3 }, { 255, 256 }, { 511, 262143 } };
	struct target_attr a = stub_attr(S_IFCHR | 0600);

	for (unsigned i = 0; i < 8; i++) {
		char name[8];
		struct stat st;

		a.mode = (i & 1 ? S_IFCHR : S_IFBLK) | 0600;
		a.rdev = makedev(n[i / 2][0], n[i / 2][1]);
		snprintf(name, sizeof name, "d%u", i);
		stub_make(e, e->root, name, &a, i + 1);
		st = env_stat(e->root, name);
		assert_true(major(st.st_rdev) == n[i / 2][0] && minor(st.st_rdev) == n[i / 2][1]);
		stub_check(e, e->root, name, &a, i + 1);
	}
}

static void test_names(void **state)
{
	struct env *e = *state;
	struct target_attr a = stub_attr(S_IFREG | 0644);
	char every[256], longest[256];
	unsigned n = 0;
	const char *names[] = { "new\nline", "\xff\xfe not utf-8 \x80", " ", "-rf", "...", "\\x2f",
				"a\033[31m", every, longest };

	for (unsigned c = 1; c < 256; c++)
		if (c != '/')
			every[n++] = (char)c;
	every[n] = '\0';
	memset(longest, '\xe9', 255);
	longest[255] = '\0';
	for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
		for (unsigned k = 0; k < 7; k++) {
			a.mode = env_types[k] | 0644;
			stub_make(e, e->root, names[i], &a, i * 7 + k + 1);
			stub_check(e, e->root, names[i], &a, i * 7 + k + 1);
			assert_int_equal(unlinkat(e->root, names[i],
						  S_ISDIR(a.mode) ? AT_REMOVEDIR : 0), 0);
		}
}

/* Names that are no names of their own: nothing is made, here or elsewhere. */
static void test_hostile_names(void **state)
{
	struct env *e = *state;
	_cleanup_close_ int d = env_dir(e->root, "d");
	char too_long[257];
	const struct {
		const char *name;
		int err;
	} bad[] = { { "", -ENOENT }, { ".", -EEXIST }, { "..", -EEXIST }, { too_long, -ENAMETOOLONG } };
	struct stat before = env_stat(e->root, ""), after;

	memset(too_long, 'x', 256);
	too_long[256] = '\0';
	for (unsigned i = 0; i < 4; i++)
		for (unsigned k = 0; k < 7; k++) {
			struct target_attr a = stub_attr(env_types[k] | 0644);
			struct target_mark m = { .oid = 1 };
			struct target_handle h;

			assert_int_equal(target_stub_create(e->t, d, bad[i].name, &a, &m, &h),
					 bad[i].err);
		}
	after = env_stat(e->root, "");
	assert_int_equal(env_entries(d), 0);
	assert_int_equal(env_entries(e->root), 1);
	assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof after.st_mtim);
	assert_true(before.st_mode == after.st_mode && before.st_uid == after.st_uid);
}

static int try(struct env *e, const struct target_attr *a)
{
	struct target_mark m = { .oid = 7 };
	struct target_handle h;

	return target_stub_create(e->t, e->root, "x", a, &m, &h);
}

/* What the file system cannot hold is an error, and nothing remains under the name. */
static void test_impossible(void **state)
{
	struct env *e = *state;
	struct target_attr a = stub_attr(S_IFREG | 0644);
	_cleanup_free_ char *text = malloc(5001);

	a.size = UINT64_MAX;
	assert_int_equal(try(e, &a), -EINVAL);
	assert_int_equal(env_entries(e->root), 0);
	a.size = INT64_MAX;
	if (!strcmp(e->kind, "ext4"))
		assert_int_equal(try(e, &a), -EFBIG);
	assert_int_equal(env_entries(e->root), 0);
	a = stub_attr(0644);			/* no type */
	assert_int_equal(try(e, &a), -EINVAL);
	a = stub_attr(S_IFMT | 0644);
	assert_int_equal(try(e, &a), -EINVAL);
	a = stub_attr(S_IFLNK | 0777);
	memset(text, 'x', 5000);
	text[5000] = '\0';
	a.link = text;
	assert_int_equal(try(e, &a), -ENAMETOOLONG);
	a.link = "";
	assert_int_equal(try(e, &a), -ENOENT);
	assert_int_equal(env_entries(e->root), 0);
	text[1000] = '\0';			/* xfs holds up to 1023 */
	a.link = text;
	assert_int_equal(try(e, &a), 0);
}

/* A finished name is left alone, whoever made it. */
static void test_taken(void **state)
{
	struct env *e = *state;
	struct target_mark m;

	for (unsigned i = 0; i < 7; i++) {
		struct target_attr ours = stub_attr(env_types[i] | 0640), a = stub_attr(S_IFREG | 0600);
		struct stat before[2];

		env_object(e->root, "app", env_types[i]);
		stub_make(e, e->root, "stub", &ours, 5);
		before[0] = env_stat(e->root, "app");
		before[1] = env_stat(e->root, "stub");
		for (unsigned k = 0; k < 7; k++) {
			struct target_handle h;

			m = (struct target_mark){ .oid = 6 };
			a.mode = env_types[k] | 0600;
			assert_int_equal(target_stub_create(e->t, e->root, "app", &a, &m, &h), -EEXIST);
			assert_int_equal(target_stub_create(e->t, e->root, "stub", &a, &m, &h), -EEXIST);
		}
		stub_check(e, e->root, "stub", &ours, 5);
		for (unsigned k = 0; k < 2; k++) {
			struct stat after = env_stat(e->root, k ? "stub" : "app");

			assert_true(before[k].st_ino == after.st_ino);
			assert_memory_equal(&before[k].st_ctim, &after.st_ctim, sizeof after.st_ctim);
		}
		assert_int_equal(unlinkat(e->root, "app", S_ISDIR(ours.mode) ? AT_REMOVEDIR : 0), 0);
		assert_int_equal(unlinkat(e->root, "stub", S_ISDIR(ours.mode) ? AT_REMOVEDIR : 0), 0);
	}
}

int test_stub(struct env *e)
{
	const struct CMUnitTest tests[] = {
		TEST(test_exact, e), TEST(test_in_setgid_directory, e), TEST(test_under_default_acl, e),
		TEST(test_size_without_blocks, e), TEST(test_devices, e), TEST(test_names, e),
		TEST(test_hostile_names, e), TEST(test_impossible, e), TEST(test_taken, e),
	};

	return ENV_RUN(e, "stubs", tests);
}
