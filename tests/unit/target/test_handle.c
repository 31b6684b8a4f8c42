/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Handles identify an inode, not a name and not an inode number. */
#include "env.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"

static void test_identity(void **state)
{
	struct env *e = *state;
	struct target_handle seen[7];

	for (unsigned i = 0; i < 7; i++) {
		static const uint8_t zero[TARGET_HANDLE_MAX];
		char name[8];
		struct target_handle h;
		struct stat a, b;
		int path, fd;

		snprintf(name, sizeof name, "x%u", i);
		env_object(e->root, name, env_types[i]);
		path = env_path(e->root, name);
		memset(&h, 0xff, sizeof h);
		assert_int_equal(target_handle_of(path, &h), 0);
		close(path);
		memset(&seen[i], 0xee, sizeof h);
		assert_int_equal(target_handle_at(e->root, name, &seen[i]), 0);
		assert_true(target_handle_equal(&h, &seen[i]));
		assert_true(h.len > 0 && h.len <= TARGET_HANDLE_MAX);
		assert_memory_equal(h.data + h.len, zero, sizeof zero - h.len);
		for (unsigned j = 0; j < i; j++)
			assert_false(target_handle_equal(&h, &seen[j]));
		fd = target_open_handle(e->t, &h, O_PATH | O_NOFOLLOW);
		assert_true(fd >= 0);
		assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		a = env_stat(e->root, name);
		b = env_stat(fd, "");
		assert_true(a.st_ino == b.st_ino && a.st_mode == b.st_mode);
		close(fd);
	}
}

static void test_names_do_not_matter(void **state)
{
	struct env *e = *state;
	_cleanup_close_ int sub = env_dir(e->root, "sub");
	struct target_handle h, again;

	env_file(e->root, "a");
	assert_int_equal(target_handle_at(e->root, "a", &h), 0);
	assert_int_equal(linkat(e->root, "a", sub, "b", 0), 0);
	assert_int_equal(target_handle_at(sub, "b", &again), 0);
	assert_true(target_handle_equal(&h, &again));
	assert_int_equal(unlinkat(e->root, "a", 0), 0);
	assert_int_equal(renameat(sub, "b", e->root, "c"), 0);
	assert_int_equal(target_handle_at(e->root, "c", &again), 0);
	assert_true(target_handle_equal(&h, &again));
}

static void test_stale(void **state)
{
	struct env *e = *state;
	struct target_handle h;
	int fd, again;

	env_file(e->root, "f");
	assert_int_equal(target_handle_at(e->root, "f", &h), 0);
	fd = openat(e->root, "f", O_RDWR | O_CLOEXEC);
	assert_int_equal(unlinkat(e->root, "f", 0), 0);
	again = target_open_handle(e->t, &h, O_RDONLY);	/* unlinked but open: still there */
	assert_true(again >= 0);
	close(again);
	close(fd);
	assert_int_equal(target_open_handle(e->t, &h, O_PATH), -ESTALE);
	assert_int_equal(target_open_handle(e->t, &h, O_RDONLY), -ESTALE);
	assert_int_equal(target_link(e->t, &h, e->root, "again"), -ESTALE);
	assert_false(env_exists(e->root, "again"));
}

/* ext4 and xfs soon give a freed inode number to another file; btrfs never does. */
static void test_reused_inode_number(void **state)
{
	struct env *e = *state;
	enum { N = 200 };
	struct target_handle h[N];
	ino_t ino[N];
	unsigned reused = 0;

	for (unsigned i = 0; i < N; i++) {
		env_file(e->root, "f");
		ino[i] = env_stat(e->root, "f").st_ino;
		assert_int_equal(target_handle_at(e->root, "f", &h[i]), 0);
		for (unsigned k = 0; k < i; k++) {
			reused += ino[k] == ino[i];
			assert_false(target_handle_equal(&h[k], &h[i]));
		}
		if (i)
			assert_int_equal(target_open_handle(e->t, &h[i - 1], O_PATH), -ESTALE);
		assert_int_equal(unlinkat(e->root, "f", 0), 0);
	}
	assert_int_equal(reused > 0, strcmp(e->kind, "btrfs") != 0);	/* else nothing was tested */
}

/* A handle comes from the catalog: bytes on a disk. */
static void test_hostile_handles(void **state)
{
	struct env *e = *state;
	struct target_handle good, h;

	env_file(e->root, "f");
	assert_int_equal(target_handle_at(e->root, "f", &good), 0);
	h = good;
	h.len = 0;
	assert_int_equal(target_open_handle(e->t, &h, O_PATH), -ESTALE);
	h.len = TARGET_HANDLE_MAX + 1;
	assert_int_equal(target_open_handle(e->t, &h, O_PATH), -ESTALE);
	h.len = 255;
	assert_int_equal(target_open_handle(e->t, &h, O_PATH), -ESTALE);
	for (unsigned i = 0; i < 1000; i++) {
		int fd;

		h = good;
		if (i % 2)
			env_bytes(e, &h, sizeof h);
		else
			env_bytes(e, h.data, h.len);
		fd = target_open_handle(e->t, &h, O_PATH);
		if (fd >= 0)	/* by chance, an inode that is there: then it says so itself */
			assert_int_equal(target_handle_of(fd, &h), 0);
		if (fd >= 0)
			close(fd);
	}
	h = good;
	h.data[h.len - 1] ^= 1;		/* the generation */
	assert_int_equal(target_open_handle(e->t, &h, O_PATH), -ESTALE);
}

static void test_link(void **state)
{
	struct env *e = *state;
	struct target_handle h, again;

	for (unsigned i = 0; i < 7; i++) {
		int r;

		env_object(e->root, "x", env_types[i]);
		assert_int_equal(target_handle_at(e->root, "x", &h), 0);
		r = target_link(e->t, &h, e->root, "y");
		if (S_ISDIR(env_types[i])) {
			assert_int_equal(r, -EPERM);
			assert_int_equal(unlinkat(e->root, "x", AT_REMOVEDIR), 0);
			continue;
		}
		assert_int_equal(r, 0);
		assert_int_equal(target_handle_at(e->root, "y", &again), 0);
		assert_true(target_handle_equal(&h, &again));
		assert_int_equal(env_stat(e->root, "x").st_nlink, 2);
		assert_int_equal(target_link(e->t, &h, e->root, "y"), -EEXIST);
		assert_int_equal(unlinkat(e->root, "x", 0), 0);
		assert_int_equal(unlinkat(e->root, "y", 0), 0);
	}
}

int test_handle(struct env *e)
{
	const struct CMUnitTest tests[] = {
		TEST(test_identity, e), TEST(test_names_do_not_matter, e), TEST(test_stale, e),
		TEST(test_reused_inode_number, e), TEST(test_hostile_handles, e), TEST(test_link, e),
	};

	return ENV_RUN(e, "handles", tests);
}
