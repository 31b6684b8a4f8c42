/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Stubs that a crash tore (D1): every state that target_stub_create() passes
 * through before it gives the real owner is made by hand, and must be replaced; after the
 * owner, it must be recognised by its mark and dressed again.
 */
#include "env.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "stub_help.h"

enum { BARE, MARKED, DRESSED, STEPS };

/* What is under the name if the power goes at this step. */
static void tear(struct env *e, const char *name, mode_t type, int step)
{
	const struct target_mark m = { .oid = 3, .limit = 5 };
	const struct timespec when = { 1000000000, 1 };
	_cleanup_close_ int fd = -1;

	env_object(e->root, name, type);
	if (!S_ISLNK(type))
		assert_int_equal(fchmodat(e->root, name, step == DRESSED ? 0755 : 0, 0), 0);
	assert_int_equal(fchownat(e->root, name, ENV_RESERVED, ENV_RESERVED, AT_SYMLINK_NOFOLLOW), 0);
	fd = env_path(e->root, name);
	if (step >= MARKED)
		assert_int_equal(target_mark_set(e->t, fd, &m), 0);
	if (step >= DRESSED)
		assert_int_equal(target_set_times(fd, &when, &when), 0);
}

static void test_replaced(void **state)
{
	struct env *e = *state;
	uint64_t oid = 100;

	for (unsigned i = 0; i < 7 * 7 * STEPS; i++, oid++) {
		struct target_attr a = stub_attr(env_types[i / 7 % 7] | 04751);
		struct stat st;

		tear(e, "x", env_types[i % 7], (int)i / 49);
		st = env_stat(e->root, "x");
		assert_true(target_is_torn(e->t, &st));
		stub_make(e, e->root, "x", &a, oid);
		stub_check(e, e->root, "x", &a, oid);
		assert_int_equal(env_entries(e->root), 1);
		assert_int_equal(unlinkat(e->root, "x", S_ISDIR(a.mode) ? AT_REMOVEDIR : 0), 0);
	}
}

/* No crash leaves this, so it is somebody's: never removed. */
static void test_directory_with_content(void **state)
{
	struct env *e = *state;
	struct target_attr a = stub_attr(S_IFDIR | 0755);
	struct target_mark m = { .oid = 1 };
	struct target_handle h;
	_cleanup_close_ int d = -1;

	tear(e, "x", S_IFDIR, BARE);
	d = openat(e->root, "x", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	env_file(d, "precious");
	assert_int_equal(target_stub_create(e->t, e->root, "x", &a, &m, &h), -ENOTEMPTY);
	assert_int_equal(target_torn_remove(e->t, e->root, "x"), -ENOTEMPTY);
	assert_true(env_exists(d, "precious"));
}

static void test_who_is_torn(void **state)
{
	struct env *e = *state;
	struct stat st = { .st_uid = ENV_RESERVED, .st_gid = 5 };
	struct target *other;

	assert_true(target_is_torn(e->t, &st));
	st.st_uid = ENV_RESERVED + 1;
	st.st_gid = ENV_RESERVED;	/* the group alone says nothing: it may be inherited */
	assert_false(target_is_torn(e->t, &st));
	target_close(e->t);
	e->t = NULL;
	assert_int_equal(target_open(e->dir, &other, NULL), 0);
	st.st_uid = ENV_RESERVED;
	assert_false(target_is_torn(other, &st));	/* no identity yet: nothing is ours */
	target_close(other);
}

static void test_remove(void **state)
{
	struct env *e = *state;
	struct target_attr a = stub_attr(S_IFREG | 0644);

	assert_int_equal(target_torn_remove(e->t, e->root, "x"), -ENOENT);
	for (unsigned i = 0; i < 7; i++) {
		tear(e, "x", env_types[i], BARE);
		assert_int_equal(target_torn_remove(e->t, e->root, "x"), 0);
		assert_false(env_exists(e->root, "x"));
		env_object(e->root, "app", env_types[i]);
		assert_int_equal(target_torn_remove(e->t, e->root, "app"), -EEXIST);
		assert_int_equal(unlinkat(e->root, "app", S_ISDIR(env_types[i]) ? AT_REMOVEDIR : 0), 0);
	}
	stub_make(e, e->root, "stub", &a, 9);
	assert_int_equal(target_torn_remove(e->t, e->root, "stub"), -EEXIST);
	assert_int_equal(env_entries(e->root), 1);
}

/* ---- redo ---- */

static int redo(struct env *e, const char *name, const struct target_attr *a)
{
	_cleanup_close_ int fd = env_path(e->root, name);

	return target_stub_redo(e->t, fd, a);
}

/* Adopted with metadata that is not the source's (any more), it is as if made now. */
static void test_redo(void **state)
{
	struct env *e = *state;
	static const uint64_t sizes[] = { 0, 1, 5000, 12345678901ull };

	for (unsigned i = 0; i < 7 * 4; i++) {
		struct target_attr a = stub_attr(env_types[i % 7] | 06755), old = stub_attr(env_types[i % 7] | 0);
		ino_t ino;

		old.uid = old.gid = 4294967290u;
		old.size = S_ISREG(old.mode) ? sizes[i / 7] : 0;
		old.mtime.tv_nsec = 0;
		stub_make(e, e->root, "x", &old, 8);
		ino = env_stat(e->root, "x").st_ino;
		for (unsigned k = 0; k < 4; k++) {
			struct target_mark m = { .oid = 8 };
			_cleanup_close_ int fd = env_path(e->root, "x");

			m.limit = a.size = S_ISREG(a.mode) ? sizes[k] : 0;
			assert_int_equal(redo(e, "x", &a), 0);
			assert_int_equal(target_mark_set(e->t, fd, &m), 0);
			stub_check(e, e->root, "x", &a, 8);
		}
		assert_true(env_stat(e->root, "x").st_ino == ino);
		assert_int_equal(unlinkat(e->root, "x", S_ISDIR(a.mode) ? AT_REMOVEDIR : 0), 0);
	}
}

/* The catalog or the source may be wrong about the type: nothing is opened, nothing changed. */
static void test_redo_of_another_type(void **state)
{
	struct env *e = *state;

	for (unsigned i = 0; i < 49; i++) {
		struct target_attr is = stub_attr(env_types[i % 7] | 0640), a = stub_attr(env_types[i / 7] | 0751);
		_cleanup_close_ int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
		char path[4300], buf[100];

		if (i % 7 == i / 7)
			continue;
		stub_make(e, e->root, "x", &is, 8);
		snprintf(path, sizeof path, "%s/x", e->dir);
		assert_true(inotify_add_watch(watch, path, IN_OPEN | IN_ATTRIB | IN_DONT_FOLLOW) >= 0);
		alarm(20);
		assert_int_equal(redo(e, "x", &a), -ESTALE);
		alarm(0);
		assert_int_equal(read(watch, buf, sizeof buf), -1);
		stub_check(e, e->root, "x", &is, 8);
		assert_int_equal(unlinkat(e->root, "x", S_ISDIR(is.mode) ? AT_REMOVEDIR : 0), 0);
	}
}

/* ---- threads ---- */

struct maker {
	struct env *e;
	unsigned first;
	int failed;
};

static void *make_many(void *arg)
{
	struct maker *mk = arg;
	struct target_attr a = stub_attr(S_IFREG | 0644);

	for (unsigned i = 0; i < 100; i++) {
		struct target_mark m = { .oid = mk->first + i };
		struct target_handle h;
		char name[16];

		a.mode = env_types[i % 7] | 0644;
		a.size = 0;
		a.link = "x";
		a.uid = mk->first + i;
		snprintf(name, sizeof name, "%u", mk->first + i);
		if (target_stub_create(mk->e->t, mk->e->root, name, &a, &m, &h))
			mk->failed++;
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct env *e = *state;
	struct maker mk[4];
	pthread_t th[4];

	for (unsigned i = 0; i < 4; i++) {
		mk[i] = (struct maker){ .e = e, .first = 1000 * (i + 1) };
		assert_int_equal(pthread_create(&th[i], NULL, make_many, &mk[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_join(th[i], NULL), 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(mk[i].failed, 0);
		for (unsigned k = mk[i].first; k < mk[i].first + 100; k++) {
			struct target_mark m;
			char name[16];
			int fd;

			snprintf(name, sizeof name, "%u", k);
			fd = env_path(e->root, name);
			assert_int_equal(target_mark_get(e->t, fd, &m), 0);
			assert_true(m.oid == k && env_stat(fd, "").st_uid == k);
			close(fd);
		}
	}
}

int test_torn(struct env *e)
{
	const struct CMUnitTest tests[] = {
		TEST(test_replaced, e), TEST(test_directory_with_content, e), TEST(test_who_is_torn, e),
		TEST(test_remove, e), TEST(test_redo, e), TEST(test_redo_of_another_type, e),
		TEST(test_threads, e),
	};

	return ENV_RUN(e, "torn stubs", tests);
}
