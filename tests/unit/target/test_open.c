/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Opening, the one-writer lock (D9), what can be a target, the root's own state, flushing. */
#include "env.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/creds.h"
#include "disk.h"

static int open_again(const char *dir, struct err *err)
{
	struct target *t = NULL;
	int r = target_open(dir, &t, err);

	target_close(t);
	return r;
}

static void test_lock(void **state)
{
	struct env *e = *state;
	struct err err = { 0 };
	struct stat st = env_stat(e->root, "");
	int status;
	pid_t pid;

	assert_true(fcntl(e->root, F_GETFD) & FD_CLOEXEC);
	assert_true(target_dev(e->t) == st.st_dev);
	assert_int_equal(open_again(e->dir, &err), -EBUSY);
	assert_int_equal(err.code, EBUSY);
	assert_non_null(strstr(err.text, e->dir));
	pid = fork();
	if (!pid)
		_exit(open_again(e->dir, NULL) == -EBUSY ? 42 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
	target_close(e->t);
	e->t = NULL;
	assert_int_equal(open_again(e->dir, &err), 0);
}

/* The lock dies with its worker, however that dies. */
static void test_lock_of_the_dead(void **state)
{
	struct env *e = *state;
	int p[2];
	char c;
	pid_t pid;
	int busy;

	target_close(e->t);
	e->t = NULL;
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	pid = fork();
	if (!pid) {
		struct target *t;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		c = target_open(e->dir, &t, NULL) ? 'n' : 'y';
		if (write(p[1], &c, 1) == 1)
			pause();
		_exit(1);
	}
	assert_int_equal(read(p[0], &c, 1), 1);
	busy = open_again(e->dir, NULL);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(c, 'y');
	assert_int_equal(busy, -EBUSY);
	assert_int_equal(open_again(e->dir, NULL), 0);
	close(p[0]);
	close(p[1]);
}

static void test_not_a_directory(void **state)
{
	struct env *e = *state;
	static const struct {
		const char *name;
		int err;
	} bad[] = { { "missing", -ENOENT }, { "file", -ENOTDIR }, { "link", -ENOTDIR } };

	env_file(e->root, "file");
	assert_int_equal(symlinkat(".", e->root, "link"), 0);
	for (unsigned i = 0; i < 3; i++) {
		char path[4300];
		struct err err = { 0 };

		snprintf(path, sizeof path, "%s/%s", e->dir, bad[i].name);
		assert_int_equal(open_again(path, &err), bad[i].err);
		assert_non_null(strstr(err.text, bad[i].name));
	}
}

static void test_probe(void **state)
{
	struct env *e = *state;
	struct stat before = env_stat(e->root, ""), after;
	struct err err = { 0 };

	assert_int_equal(target_probe(e->t, &err), 0);
	assert_int_equal(err.code, 0);
	after = env_stat(e->root, "");
	assert_int_equal(env_entries(e->root), 0);
	assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof after.st_mtim);
}

static void test_stamp(void **state)
{
	struct env *e = *state;
	static const uint64_t some[] = { 0, 1, 1ull << 40, UINT64_MAX };
	struct target_id other = e->id;
	uint64_t n = 99;

	assert_int_equal(target_stamp_get(e->t, &n), -ENODATA);
	assert_int_equal(n, 99);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(target_stamp_set(e->t, some[i]), 0);
		assert_int_equal(target_stamp_get(e->t, &n), 0);
		assert_true(n == some[i]);
	}
	other.migration[15] ^= 1;
	target_set_id(e->t, &other);
	assert_int_equal(target_stamp_get(e->t, &n), -EUCLEAN);
}

static void test_stamp_hostile(void **state)
{
	struct env *e = *state;
	unsigned char good[40], d[40];
	uint64_t n;

	assert_int_equal(target_stamp_set(e->t, 0x0807060504030201), 0);
	assert_int_equal(fgetxattr(e->root, "trusted.dmm.stamp", good, sizeof good), 32);
	assert_memory_equal(good, "\1\0\0\0\0\0\0\0", 8);	/* the layout of doc/target-format.md */
	assert_memory_equal(good + 8, e->id.migration, 16);
	assert_memory_equal(good + 24, "\1\2\3\4\5\6\7\10", 8);
	for (unsigned len = 0; len <= sizeof d; len++) {
		memcpy(d, good, sizeof d);
		assert_int_equal(fsetxattr(e->root, "trusted.dmm.stamp", d, len, 0), 0);
		assert_int_equal(target_stamp_get(e->t, &n), len == 32 ? 0 : -EUCLEAN);
	}
	for (unsigned i = 0; i < 24; i++) {
		memcpy(d, good, sizeof d);
		d[i] ^= 0x40;
		assert_int_equal(fsetxattr(e->root, "trusted.dmm.stamp", d, 32, 0), 0);
		assert_int_equal(target_stamp_get(e->t, &n), -EUCLEAN);
	}
}

static void test_guard_and_restore(void **state)
{
	struct env *e = *state;
	const struct target_mark m = { .oid = 1 };
	const struct target_attr a = { .mode = S_IFDIR | 03751, .uid = 4294967290u, .gid = 77,
		.atime = { 4102444800, 1 }, .mtime = { -315619200, 999999999 } };
	struct target_mark got;
	struct stat st;
	uint64_t n;

	assert_int_equal(target_mark_set(e->t, e->root, &m), 0);
	assert_int_equal(target_stamp_set(e->t, 5), 0);
	assert_int_equal(target_root_guard(e->t), 0);
	assert_int_equal(env_stat(e->root, "").st_mode, S_IFDIR);
	env_file(e->root, "f");	/* the descriptor opened before still works */
	for (int again = 0; again < 2; again++) {	/* a crash in between repeats it */
		assert_int_equal(target_root_restore(e->t, &a), 0);
		st = env_stat(e->root, "");
		assert_int_equal(st.st_mode, a.mode);
		assert_int_equal(st.st_uid, a.uid);
		assert_int_equal(st.st_gid, a.gid);
		assert_memory_equal(&st.st_atim, &a.atime, sizeof a.atime);
		assert_memory_equal(&st.st_mtim, &a.mtime, sizeof a.mtime);
		assert_int_equal(target_mark_get(e->t, e->root, &got), -ENODATA);
		assert_int_equal(target_stamp_get(e->t, &n), -ENODATA);
	}
	assert_int_equal(target_stamp_set(e->t, 6), 0);
	assert_int_equal(target_root_restore(e->t, NULL), 0);	/* without attributes: only ours goes */
	assert_int_equal(target_stamp_get(e->t, &n), -ENODATA);
	assert_int_equal(env_stat(e->root, "").st_mode, a.mode);
}

/* Was the object opened since the watch was set? */
static bool was_opened(int watch)
{
	char buf[4096] __attribute__((aligned(8)));
	ssize_t n = read(watch, buf, sizeof buf);

	assert_true(n > 0 || errno == EAGAIN);
	return n > 0;
}

static int sync_type(struct env *e, mode_t type, bool *opened)
{
	_cleanup_close_ int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	struct target_handle h;
	char path[4300];
	int r;

	env_object(e->root, "x", type);
	assert_int_equal(target_handle_at(e->root, "x", &h), 0);
	snprintf(path, sizeof path, "%s/x", e->dir);
	assert_true(inotify_add_watch(watch, path, IN_OPEN | IN_DONT_FOLLOW) >= 0);
	alarm(20);	/* a hang ends the program */
	r = target_sync_one(e->t, &h);
	alarm(0);
	*opened = was_opened(watch);
	assert_int_equal(unlinkat(e->root, "x", S_ISDIR(type) ? AT_REMOVEDIR : 0), 0);
	return r;
}

/* Opening a fifo could wait for ever, and opening a device acts on the device. */
static void test_sync(void **state)
{
	struct env *e = *state;
	struct target_handle h;
	bool opened;

	assert_int_equal(target_sync_all(e->t), 0);
	for (unsigned i = 0; i < 7; i++) {
		bool plain = S_ISREG(env_types[i]) || S_ISDIR(env_types[i]);

		assert_int_equal(sync_type(e, env_types[i], &opened), 0);
		assert_int_equal(opened, plain);
	}
	env_file(e->root, "gone");
	assert_int_equal(target_handle_at(e->root, "gone", &h), 0);
	assert_int_equal(unlinkat(e->root, "gone", 0), 0);
	assert_int_equal(target_sync_one(e->t, &h), -ESTALE);
}

int test_open(struct env *e)
{
	const struct CMUnitTest tests[] = {
		TEST(test_lock, e), TEST(test_lock_of_the_dead, e), TEST(test_not_a_directory, e),
		TEST(test_probe, e), TEST(test_stamp, e), TEST(test_stamp_hostile, e),
		TEST(test_guard_and_restore, e), TEST(test_sync, e),
	};

	return ENV_RUN(e, "open", tests);
}

/* ---- what cannot be a target ---- */

static void refuses(const char *dir, const char *why)
{
	struct target *t = NULL;
	struct err err = { 0 };
	int r;

	assert_int_equal(target_open(dir, &t, &err), 0);
	r = target_probe(t, &err);
	target_close(t);
	assert_true(r < 0);
	assert_int_equal(err.code, -r);
	assert_null(strchr(err.text, '\n'));
	if (!strstr(err.text, why))
		fail_msg("%s is refused with \"%s\"", dir, err.text);
}

static void refuses_disk(const char *dir, const char *kind, const char *why, unsigned entries)
{
	char path[4096];
	int fd;

	disk_mount(dir, kind, path, sizeof path);
	refuses(path, why);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(env_entries(fd), entries);
	close(fd);
	disk_umount(path);
}

static void test_refused(void **state)
{
	refuses("/proc", "cannot create files");
	refuses("/sys", "cannot create files");
	refuses_disk(*state, "ramfs", "trusted extended attributes", 0);
	refuses_disk(*state, "ext4-128", "nanosecond", 1);	/* lost+found */
	refuses_disk(*state, "ext4-ro", "read-only", 1);
}

int test_unsuitable(const char *dir)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_prestate(test_refused, (void *)dir) };

	return cmocka_run_group_tests_name("unsuitable file systems", tests, NULL, NULL);
}
