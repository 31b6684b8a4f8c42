/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * check-state on real file systems: here what must pass, the states all at once, and what a kill leaves between two
 * steps, the first and the last ones, too; beside it test_state_breaks.c.
 */
#include "state_rig.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../target/disk.h"

#include "base/cleanup.h"
#include "base/creds.h"

static void test_right(void **state)
{
	struct world *w = state_make_full(*state);

	state_expect_none(w, "all states at once");
	assert_int_equal(w->told.rows, 18);
	assert_int_equal(w->told.inodes, 22);
	assert_int_equal(w->told.marks, 14);
	state_unmake(w);
}

static void unmake_deleting(struct world *w)
{
	assert_int_equal(unlinkat(w->listed, "deleting", 0), 0);
}

static void leave_clean_gone(struct world *w)
{
	assert_int_equal(unlinkat(w->listed, "clean", 0), 0);
	assert_int_equal(unlinkat(w->listed, "link", 0), 0);
}

static void leave_truncated(struct world *w)
{
	_cleanup_close_ int fd = openat(w->listed, "changed", O_WRONLY | O_CLOEXEC);

	assert_int_equal(ftruncate(fd, 500), 0);	/* the limit has not followed yet */
}

static void leave_aside_gone(struct world *w)
{
	assert_int_equal(unlinkat(w->listed, "aside", 0), 0);
	assert_int_equal(unlinkat(w->listed, "again", 0), 0);
}

static void leave_aside_unmarked(struct world *w)
{
	state_remove_mark(w, w->listed, "aside");
	state_remove_mark(w, w->listed, "again");
}

/* engine_retry(), killed before its record: another inode, and a torn one. */
static void leave_retry(struct world *w)
{
	struct target_handle h;

	leave_aside_gone(w);
	state_stub(w, w->listed, "aside", S_IFIFO | 0644, FILE_PUT_ASIDE, &h);
	assert_int_equal(creds_set_fs(ENV_RESERVED, ENV_RESERVED), 0);
	assert_int_equal(mknodat(w->listed, "no inode", S_IFREG, 0), 0);
	assert_int_equal(creds_set_fs(0, 0), 0);
}

static void leave_retry_reset(struct world *w)
{
	_cleanup_close_ int fd = openat(w->listed, "aside", O_WRONLY | O_CLOEXEC);

	assert_int_equal(ftruncate(fd, 2000000), 0);
	state_set_mark(w, w->listed, "aside", FILE_PUT_ASIDE, 2000000, 0);
}

/* Unlinked, but an application has it open: as good as gone. */
static void leave_open(struct world *w)
{
	w->held = openat(w->listed, "deleting", O_RDONLY | O_CLOEXEC);
	assert_true(w->held >= 0);
	assert_int_equal(unlinkat(w->listed, "deleting", 0), 0);
	state_move(w, DELETING, CATALOG_DELETED);
}

static void set_stamp(struct world *w, uint64_t n)
{
	assert_int_equal(catalog_begin(w->c), 0);
	assert_int_equal(catalog_meta_set(w->c, "stamp", &n, sizeof n), 0);
	assert_int_equal(catalog_commit(w->c), 0);
}

static void leave_stamp(struct world *w)
{
	set_stamp(w, 7);
}

static void leave_link_not_recorded(struct world *w)
{
	assert_int_equal(linkat(w->listed, "found", w->unlisted, "further name", 0), 0);
}

/* An application moves everything about. */
static void leave_moved(struct world *w)
{
	assert_int_equal(renameat(w->listed, "found", w->done, "moved"), 0);
	assert_int_equal(renameat(w->e->root, "unlisted", w->done, "directory"), 0);
	assert_int_equal(linkat(w->done, "file", w->e->root, "\x01\xff name\n", 0), 0);
}

static void leave_settled_holder(struct world *w)
{
	assert_int_equal(linkat(w->listed, "found", w->e->root, "x", 0), 0);
	state_move(w, HELD, CATALOG_CLEANING);
	state_move(w, HELD, CATALOG_MIGRATED);
	assert_int_equal(target_holder_drop(w->e->t, HELD), 0);
	assert_int_equal(renameat2(w->done, "file", w->e->root, TARGET_HOLDER_NAME "/000000000000000a", 0), 0);
}

static void test_windows(void **state)
{
	static const struct {
		const char *when;
		void (*leave)(struct world *w);
	} windows[] = {
		{ "unlink before its record", unmake_deleting }, { "complete, deleted", leave_clean_gone },
		{ "truncate before its limit", leave_truncated }, { "put aside: no inode", leave_aside_gone },
		{ "put aside: no mark", leave_aside_unmarked }, { "retry before its record", leave_retry },
		{ "retry before its promise", leave_retry_reset }, { "stamp committed", leave_stamp }, { "deleted while it is open", leave_open },
		{ "link before its record", leave_link_not_recorded }, { "moved", leave_moved },
		{ "complete in the holder", leave_settled_holder },
	};

	for (unsigned i = 0; i < sizeof windows / sizeof *windows; i++) {
		struct world *w;

		if (i && (env_teardown(state) || env_setup(state)))
			fail();
		w = state_make_full(*state);
		windows[i].leave(w);
		state_expect_none(w, windows[i].when);
		state_unmake(w);
	}
}

/* Before the root has its row, step by step. */
static void test_beginning(void **state)
{
	struct env *e = *state;
	struct world *w = state_make(e);
	struct target_mark m = { .oid = ROOT };

	env_file(e->root, "application");
	state_expect_none(w, "nothing");
	assert_int_equal(target_mark_set(e->t, e->root, &m), 0);
	state_expect_none(w, "mark");
	assert_int_equal(target_stamp_set(e->t, 0), 0);
	state_expect_none(w, "stamp");
	state_begin(w);
	state_expect_none(w, "row, before the guard");
	assert_int_equal(target_root_guard(e->t), 0);
	state_expect_none(w, "guard");
	state_unmake(w);
}

/* The end, step by step as detach.c and target_root_restore() make it. */
static void test_end(void **state)
{
	struct env *e = *state;
	struct world *w = state_make(e);

	state_begin(w);
	state_fill_done(w);
	env_object(e->root, TARGET_HOLDER_NAME, S_IFDIR);
	assert_int_equal(target_root_guard(e->t), 0);
	state_move(w, ROOT, CATALOG_CLEANING);
	state_move(w, ROOT, CATALOG_MIGRATED);
	state_expect_none(w, "nothing left");
	assert_int_equal(catalog_set_phase(w->c, CATALOG_DETACHING), 0);
	state_expect_none(w, "detaching");
	assert_int_equal(target_holder_remove_all(e->t), 0);
	state_expect_none(w, "no holder");
	assert_int_equal(fchmod(e->root, 0750), 0);
	state_expect_none(w, "mode");
	assert_int_equal(target_mark_remove(e->t, e->root), 0);
	state_expect_none(w, "no mark");
	assert_int_equal(target_root_restore(e->t, NULL), 0);
	state_expect_none(w, "plain");
	assert_int_equal(catalog_set_phase(w->c, CATALOG_DETACHED), 0);
	state_expect_none(w, "detached");
	assert_int_equal(unlinkat(w->done, "file", 0), 0);
	env_object(e->root, "later", S_IFDIR);
	state_expect_none(w, "used");
	state_ask(w, NULL);
	assert_int_equal(w->n, 0);
	state_unmake(w);
}

/* ---- */

static int all_on(const char *dir, const char *kind)
{
	struct env *e = calloc(1, sizeof *e);
	int failed;

	e->kind = kind;
	disk_mount(dir, kind, e->mount, sizeof e->mount);
	const struct CMUnitTest tests[] = {
		TEST(test_right, e), TEST(test_windows, e), TEST(test_beginning, e), TEST(test_end, e),
	};
	failed = ENV_RUN(e, "check-state", tests);
	failed += test_state_breaks(e);
	disk_umount(e->mount);
	free(e);
	return failed;
}

int main(void)
{
	return disk_everywhere("state", NULL, all_on);
}
