/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The mark: what goes in comes out, and bytes that we did not write are never believed. */
#include "env.h"

#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { SHORT = 40, LONG = 52 };	/* doc/target-format.md */

static const struct target_mark plain = { .oid = 0x1122334455667788, .limit = 0x0102030405060708 };
static const struct target_mark timed = { .oid = UINT64_MAX, .limit = UINT64_MAX,
	.flags = TARGET_MARK_TIMES, .app_mtime = { -315619200, 999999999 } };

static void mark_equal(const struct target_mark *a, const struct target_mark *b)
{
	assert_true(a->oid == b->oid && a->limit == b->limit && a->flags == b->flags);
	assert_true(a->app_mtime.tv_sec == b->app_mtime.tv_sec);
	assert_int_equal(a->app_mtime.tv_nsec, b->app_mtime.tv_nsec);
}

static int get(struct env *e, struct target_mark *m)
{
	_cleanup_close_ int fd = env_path(e->root, "f");

	return target_mark_get(e->t, fd, m);
}

static void put_raw(struct env *e, const void *value, size_t n)
{
	char path[4300];

	snprintf(path, sizeof path, "%s/f", e->dir);
	assert_int_equal(lsetxattr(path, TARGET_XATTR, value, n, 0), 0);
}

static ssize_t get_raw(struct env *e, void *value, size_t n)
{
	char path[4300];

	snprintf(path, sizeof path, "%s/f", e->dir);
	return lgetxattr(path, TARGET_XATTR, value, n);
}

static void test_every_type(void **state)
{
	struct env *e = *state;
	struct target_mark m;

	for (unsigned i = 0; i < 7; i++) {
		int fd;

		env_object(e->root, "x", env_types[i]);
		fd = env_path(e->root, "x");
		assert_int_equal(target_mark_get(e->t, fd, &m), -ENODATA);
		assert_int_equal(target_mark_remove(e->t, fd), -ENODATA);
		assert_int_equal(target_mark_set(e->t, fd, &plain), 0);
		assert_int_equal(target_mark_get(e->t, fd, &m), 0);
		mark_equal(&m, &plain);
		assert_int_equal(target_mark_set(e->t, fd, &timed), 0);	/* grows ... */
		assert_int_equal(target_mark_get(e->t, fd, &m), 0);
		mark_equal(&m, &timed);
		if (S_ISREG(env_types[i]))
			assert_int_equal(env_stat(fd, "").st_blocks, 0);	/* it fits beside the inode */
		assert_int_equal(target_mark_set(e->t, fd, &plain), 0);	/* ... and shrinks */
		assert_int_equal(target_mark_get(e->t, fd, &m), 0);
		mark_equal(&m, &plain);
		assert_int_equal(target_mark_remove(e->t, fd), 0);
		assert_int_equal(target_mark_get(e->t, fd, &m), -ENODATA);
		close(fd);
		assert_int_equal(unlinkat(e->root, "x", S_ISDIR(env_types[i]) ? AT_REMOVEDIR : 0), 0);
	}
}

/* A symlink's mark is its own, never that of what it points to. */
static void test_symlink_not_followed(void **state)
{
	struct env *e = *state;
	struct target_mark m;
	_cleanup_close_ int fd = -1;

	env_file(e->root, "f");
	assert_int_equal(symlinkat("f", e->root, "l"), 0);
	fd = env_path(e->root, "l");
	assert_int_equal(target_mark_set(e->t, fd, &plain), 0);
	assert_int_equal(target_mark_get(e->t, fd, &m), 0);
	assert_int_equal(get(e, &m), -ENODATA);
}

/* The mark goes where the inode goes (D1). */
static void test_travels(void **state)
{
	struct env *e = *state;
	struct target_mark m;
	int fd;

	env_file(e->root, "a");
	fd = env_path(e->root, "a");
	assert_int_equal(target_mark_set(e->t, fd, &plain), 0);
	close(fd);
	assert_int_equal(linkat(e->root, "a", e->root, "b", 0), 0);
	assert_int_equal(unlinkat(e->root, "a", 0), 0);
	assert_int_equal(renameat(e->root, "b", e->root, "f"), 0);
	assert_int_equal(get(e, &m), 0);
	mark_equal(&m, &plain);
}

/* The layout of doc/target-format.md, byte by byte. */
static void test_layout(void **state)
{
	struct env *e = *state;
	static const unsigned char head[8] = { 1, 0, 0, 0, TARGET_MARK_TIMES },
		tail[28] = { 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 8, 7, 6, 5, 4, 3, 2, 1,
			     0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc9, 0x9a, 0x3b };
	struct target_mark in = plain, out;
	unsigned char d[64];
	int fd;

	env_file(e->root, "f");
	fd = env_path(e->root, "f");
	assert_int_equal(target_mark_set(e->t, fd, &in), 0);
	assert_int_equal(get_raw(e, d, sizeof d), SHORT);
	assert_memory_equal(d, "\1\0\0\0\0\0\0\0", 8);
	assert_memory_equal(d + 8, e->id.migration, 16);
	assert_memory_equal(d + 24, tail, 16);
	in.flags = TARGET_MARK_TIMES;
	in.app_mtime = (struct timespec){ -2, 999999999 };
	assert_int_equal(target_mark_set(e->t, fd, &in), 0);
	close(fd);
	assert_int_equal(get_raw(e, d, sizeof d), LONG);
	assert_memory_equal(d, head, 8);
	assert_memory_equal(d + 24, tail, 28);
	d[4] = TARGET_MARK_TIMES | TARGET_MARK_BY_HAND;
	put_raw(e, d, LONG);
	assert_int_equal(get(e, &out), 0);
	assert_int_equal(out.flags, TARGET_MARK_TIMES | TARGET_MARK_BY_HAND);
	d[4] = TARGET_MARK_BY_HAND;
	put_raw(e, d, LONG);
	assert_int_equal(get(e, &out), -EUCLEAN);
	d[4] = TARGET_MARK_TIMES;
	put_raw(e, d, LONG);	/* what another writer of the same layout leaves is read */
	assert_int_equal(get(e, &out), 0);
	mark_equal(&in, &out);
}

/* One byte changed; the result must be refused. */
static void refused(struct env *e, const unsigned char *good, size_t n, size_t at, uint8_t value)
{
	struct target_mark m;
	unsigned char d[LONG];

	memcpy(d, good, n);
	d[at] = value;
	put_raw(e, d, n);
	if (get(e, &m) != -EUCLEAN)
		fail_msg("byte %zu of %zu = %#x is believed", at, n, value);
}

static void test_hostile(void **state)
{
	struct env *e = *state;
	unsigned char s[LONG] = { 0 }, l[LONG], big[2000] = { 1 };
	struct target_mark m;
	struct target_id other = e->id;

	env_file(e->root, "f");
	{
		_cleanup_close_ int fd = env_path(e->root, "f");

		assert_int_equal(target_mark_set(e->t, fd, &plain), 0);
		assert_int_equal(get_raw(e, s, sizeof s), SHORT);
		assert_int_equal(target_mark_set(e->t, fd, &timed), 0);
		assert_int_equal(get_raw(e, l, sizeof l), LONG);
	}
	for (size_t n = 0; n < LONG; n++) {	/* every wrong length, flags of the other kind included */
		put_raw(e, l, n);
		assert_int_equal(get(e, &m), -EUCLEAN);
		put_raw(e, s, n);
		assert_int_equal(get(e, &m), n == SHORT ? 0 : -EUCLEAN);
	}
	put_raw(e, s, LONG);	/* long, but no times */
	assert_int_equal(get(e, &m), -EUCLEAN);
	put_raw(e, big, sizeof big);
	assert_int_equal(get(e, &m), -EUCLEAN);
	refused(e, s, SHORT, 0, 0);
	refused(e, s, SHORT, 0, 2);
	refused(e, s, SHORT, 1, 1);
	refused(e, s, SHORT, 3, 0x80);
	refused(e, s, SHORT, 4, 0x80);		/* a flag from the future */
	refused(e, s, SHORT, 7, 1);
	for (size_t i = 8; i < 24; i++)
		refused(e, s, SHORT, i, s[i] ^ 1);
	refused(e, l, LONG, 51, 0x7f);		/* nanoseconds */
	memcpy(l + 48, "\0\xca\x9a\x3b", 4);
	put_raw(e, l, LONG);
	assert_int_equal(get(e, &m), -EUCLEAN);
	memset(s + 24, 0, 8);			/* oid 0 */
	put_raw(e, s, SHORT);
	assert_int_equal(get(e, &m), -EUCLEAN);
	s[24] = 1;
	put_raw(e, s, SHORT);
	assert_int_equal(get(e, &m), 0);
	other.migration[0] ^= 1;
	target_set_id(e->t, &other);
	assert_int_equal(get(e, &m), -EUCLEAN);
}

/* Whatever is believed is exactly what would have been written for it. */
static void test_random(void **state)
{
	struct env *e = *state;
	unsigned char good[LONG], d[96], again[96];
	unsigned believed = 0;
	_cleanup_close_ int fd = -1;

	env_file(e->root, "f");
	fd = env_path(e->root, "f");
	for (unsigned i = 0; i < 4000; i++) {
		size_t n = i % 4 ? i % 8 < 4 ? SHORT : LONG : env_random(e) % sizeof d;
		struct target_mark m;
		int r;

		assert_int_equal(target_mark_set(e->t, fd, n == LONG ? &timed : &plain), 0);
		assert_true(get_raw(e, good, sizeof good) > 0);
		env_bytes(e, d, sizeof d);
		if (i % 4) {	/* else purely random */
			memcpy(d, good, n);
			for (unsigned j = 0; j < i % 4; j++)
				d[env_random(e) % n] = (unsigned char)env_random(e);
		}
		put_raw(e, d, n);
		r = get(e, &m);
		assert_true(!r || r == -EUCLEAN);
		if (r)
			continue;
		believed++;
		assert_int_equal(target_mark_set(e->t, fd, &m), 0);
		assert_int_equal(get_raw(e, again, sizeof again), n);
		assert_memory_equal(d, again, n);
	}
	assert_true(believed > 100);	/* both answers were tried */
	assert_true(believed < 3000);
}

int test_mark(struct env *e)
{
	const struct CMUnitTest tests[] = {
		TEST(test_every_type, e), TEST(test_symlink_not_followed, e), TEST(test_travels, e),
		TEST(test_layout, e), TEST(test_hostile, e), TEST(test_random, e),
	};

	return ENV_RUN(e, "marks", tests);
}
