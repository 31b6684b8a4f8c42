/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The holder keeps last names (D5) and leaves no trace. */
#include "env.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "stub_help.h"

static void set_root_mtime(struct env *e, struct timespec *mtime)
{
	*mtime = (struct timespec){ 1234567890, 987654321 };
	assert_int_equal(target_set_times(e->root, mtime, mtime), 0);
}

static void check_root_mtime(struct env *e, const struct timespec *mtime)
{
	struct stat st = env_stat(e->root, "");

	assert_memory_equal(&st.st_mtim, mtime, sizeof *mtime);
}

static void test_hide_and_drop(void **state)
{
	struct env *e = *state;
	const struct target_mark m = { .oid = 7 };
	_cleanup_close_ int d = env_dir(e->root, "d");
	struct target_handle h;
	struct target_mark got;
	struct timespec mtime;
	int fd;

	env_file(d, "f");
	fd = env_path(d, "f");
	assert_int_equal(target_mark_set(e->t, fd, &m), 0);
	assert_int_equal(target_handle_of(fd, &h), 0);
	close(fd);
	set_root_mtime(e, &mtime);
	assert_int_equal(target_holder_has(e->t, 7), 0);
	assert_int_equal(target_holder_drop(e->t, 7), -ENOENT);
	assert_int_equal(target_holder_hide(e->t, d, "f", 7), 0);
	check_root_mtime(e, &mtime);		/* D6 */
	assert_false(env_exists(d, "f"));
	assert_int_equal(target_holder_has(e->t, 7), 1);
	assert_int_equal(target_holder_has(e->t, 8), 0);
	fd = target_open_handle(e->t, &h, O_PATH);	/* the inode lives on, with its mark */
	assert_true(fd >= 0);
	assert_int_equal(env_stat(fd, "").st_nlink, 1);
	assert_int_equal(target_mark_get(e->t, fd, &got), 0);
	assert_true(got.oid == 7);
	close(fd);
	assert_int_equal(target_link(e->t, &h, d, "second name"), 0);
	assert_int_equal(target_holder_drop(e->t, 7), 0);
	assert_int_equal(target_holder_has(e->t, 7), 0);
	assert_int_equal(target_holder_drop(e->t, 7), -ENOENT);
	assert_int_equal(env_stat(d, "second name").st_nlink, 1);
	assert_int_equal(target_holder_remove_all(e->t), 0);
	check_root_mtime(e, &mtime);
	assert_int_equal(env_entries(e->root), 1);
}

static void test_last_name_goes(void **state)
{
	struct env *e = *state;
	_cleanup_close_ int d = env_dir(e->root, "d");
	struct target_handle h;

	env_file(d, "f");
	assert_int_equal(target_handle_at(d, "f", &h), 0);
	assert_int_equal(target_holder_hide(e->t, d, "f", UINT64_MAX), 0);
	assert_int_equal(target_holder_drop(e->t, UINT64_MAX), 0);
	assert_int_equal(target_open_handle(e->t, &h, O_PATH), -ESTALE);
}

static void test_refused(void **state)
{
	struct env *e = *state;
	_cleanup_close_ int d = env_dir(e->root, "d");

	assert_int_equal(target_holder_hide(e->t, d, "missing", 1), -ENOENT);
	assert_int_equal(target_holder_has(e->t, 1), 0);
	env_file(d, "a");
	env_file(d, "b");
	assert_int_equal(target_holder_hide(e->t, d, "a", 1), 0);
	assert_int_equal(target_holder_hide(e->t, d, "b", 1), -EEXIST);	/* never over another */
	assert_true(env_exists(d, "b"));
	assert_int_equal(target_holder_has(e->t, 1), 1);
	assert_int_equal(target_holder_has(e->t, 1ull << 63 | 1), 0);	/* every bit of the oid counts */
	assert_int_equal(target_holder_hide(e->t, d, "b", 1ull << 63 | 1), 0);
}

static void test_every_type(void **state)
{
	struct env *e = *state;
	_cleanup_close_ int d = env_dir(e->root, "d");

	for (unsigned i = 0; i < 7; i++) {
		if (S_ISDIR(env_types[i]))
			continue;
		env_object(d, "x", env_types[i]);
		assert_int_equal(target_holder_hide(e->t, d, "x", i + 1), 0);
		assert_int_equal(target_holder_has(e->t, i + 1), 1);
		assert_int_equal(target_holder_drop(e->t, i + 1), 0);
	}
}

/* Also in a thread that has just made stubs under the reserved id. */
static void test_private(void **state)
{
	struct env *e = *state;
	struct target_attr a = stub_attr(S_IFREG | 0644);
	struct stat st;

	stub_make(e, e->root, "f", &a, 3);
	assert_int_equal(target_holder_hide(e->t, e->root, "f", 3), 0);
	st = env_stat(e->root, TARGET_HOLDER_NAME);
	assert_true(S_ISDIR(st.st_mode));
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(st.st_uid, 0);
	assert_false(target_is_torn(e->t, &st));
}

/* Something else under the name is never followed and never removed. */
static void test_name_is_taken(void **state)
{
	struct env *e = *state;
	_cleanup_close_ int d = env_dir(e->root, "d");

	env_file(d, "f");
	env_file(d, "0000000000000001");
	assert_int_equal(symlinkat("d", e->root, TARGET_HOLDER_NAME), 0);
	assert_int_equal(target_holder_hide(e->t, d, "f", 2), -ENOTDIR);
	assert_int_equal(target_holder_has(e->t, 1), -ENOTDIR);
	assert_int_equal(target_holder_drop(e->t, 1), -ENOTDIR);
	assert_int_equal(target_holder_remove_all(e->t), -ENOTDIR);
	assert_int_equal(env_entries(d), 2);
}

static void test_remove_all(void **state)
{
	struct env *e = *state;
	enum { N = 1500 };
	struct timespec mtime;

	set_root_mtime(e, &mtime);
	assert_int_equal(target_holder_remove_all(e->t), 0);	/* there is none */
	check_root_mtime(e, &mtime);
	for (unsigned i = 0; i < N; i++) {
		env_file(e->root, "f");
		assert_int_equal(target_holder_hide(e->t, e->root, "f", i * 0x9e3779b97f4a7c15ull), 0);
	}
	set_root_mtime(e, &mtime);
	assert_int_equal(target_holder_remove_all(e->t), 0);
	check_root_mtime(e, &mtime);
	assert_int_equal(env_entries(e->root), 0);
	assert_int_equal(target_holder_remove_all(e->t), 0);
}

int test_holder(struct env *e)
{
	const struct CMUnitTest tests[] = {
		TEST(test_hide_and_drop, e), TEST(test_last_name_goes, e), TEST(test_refused, e),
		TEST(test_every_type, e), TEST(test_private, e), TEST(test_name_is_taken, e),
		TEST(test_remove_all, e),
	};

	return ENV_RUN(e, "holder", tests);
}
