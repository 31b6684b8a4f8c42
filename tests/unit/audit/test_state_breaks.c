/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What check-state must find: each thing is broken, one at a time, and must be reported by name; what the end left
 * behind; and one stub in a tree that is deep or wide, with few descriptors and little memory.
 */
#include "state_rig.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/creds.h"

struct break_ {
	void (*how)(struct world *w);
	uint64_t oid;
	const char *words;
};

static void stamp_ahead(struct world *w) { assert_int_equal(target_stamp_set(w->e->t, 8), 0); }
static void stamp_behind(struct world *w) { assert_int_equal(target_stamp_set(w->e->t, 5), 0); }
static void stamp_missing(struct world *w)
{
	target_root_restore(w->e->t, NULL);
	state_set_mark(w, w->e->root, ".", ROOT, 0, 0);
}

static void root_unmarked(struct world *w) { assert_int_equal(target_mark_remove(w->e->t, w->e->root), 0); }
static void root_other_mark(struct world *w) { state_set_mark(w, w->e->root, ".", LISTED, 0, 0); }
static void root_open(struct world *w) { assert_int_equal(fchmod(w->e->root, 0700), 0); }
static void root_reserved(struct world *w) { assert_int_equal(fchown(w->e->root, ENV_RESERVED, 0), 0); }
static void no_mark(struct world *w) { state_remove_mark(w, w->listed, "found"); }
static void no_mark_dir(struct world *w)
{
	state_remove_mark(w, w->e->root, "unlisted");
	unlinkat(w->unlisted, "stub", 0);
	unlinkat(w->unlisted, "torn", 0);
	unlinkat(w->unlisted, "torn directory", AT_REMOVEDIR);
	unlinkat(w->unlisted, "stub directory/stub in it", 0);
	unlinkat(w->unlisted, "stub directory", AT_REMOVEDIR);
}

static void gone(struct world *w) { assert_int_equal(unlinkat(w->listed, "found", 0), 0); }
static void wrong_size(struct world *w)
{
	int fd = openat(w->listed, "found", O_WRONLY);

	assert_int_equal(ftruncate(fd, 999999), 0);
	close(fd);
}

static void high_limit(struct world *w) { state_set_mark(w, w->listed, "found", FILE_FOUND, 1000001, 0); }
static void mark_on_done(struct world *w) { state_set_mark(w, w->done, "file", FILE_DONE, 1000000, 0); }
static void mark_of_name(struct world *w) { state_set_mark(w, w->done, "file", NAME, 1000000, 0); }
static void mark_of_root(struct world *w) { state_set_mark(w, w->done, "file", ROOT, 0, 0); }
static void mark_never_given(struct world *w) { state_set_mark(w, w->unlisted, "stub", NEVER, 1000000, 0); }
static void mark_copied(struct world *w) { state_set_mark(w, w->done, "application", FILE_FOUND, 1000000, 0); }
static void mark_without_row(struct world *w) { state_set_mark(w, w->done, "application", 77, 0, 0); }
static void stub_in_listed(struct world *w)
{
	struct target_handle h;

	state_stub(w, w->listed, "stub", S_IFREG | 0600, 78, &h);
}

static void stub_deep_in_done(struct world *w)
{
	struct target_handle h;
	int d = state_open_dir(w->done, "its directory");

	state_stub(w, d, "stub", S_IFREG | 0600, 78, &h);
	close(d);
}

static void torn_in_listed(struct world *w)
{
	creds_set_fs(ENV_RESERVED, ENV_RESERVED);
	assert_int_equal(mknodat(w->listed, "torn", S_IFREG, 0), 0);
	creds_set_fs(0, 0);
}

static void torn_elsewhere(struct world *w)
{
	creds_set_fs(ENV_RESERVED, ENV_RESERVED);
	assert_int_equal(mknodat(w->done, "no inode", S_IFREG, 0), 0);
	creds_set_fs(0, 0);
}

static void torn_row(struct world *w) { assert_int_equal(fchownat(w->unlisted, "../unlisted", ENV_RESERVED, 0, 0), 0); }
static void mark_swapped(struct world *w) { state_set_mark(w, w->listed, "link", LINK + 70, 0, 0); }
static void damaged_mark(struct world *w)
{
	int fd = openat(w->done, "application", O_RDONLY);

	assert_int_equal(target_mark_set(w->e->t, fd, &(struct target_mark){ .oid = 78, .flags = 8 }), 0);
	close(fd);
}

static void deleted_is_there(struct world *w)
{
	state_move(w, FILE_FOUND, CATALOG_DELETED);
	state_remove_mark(w, w->listed, "found");
}

static void in_holder_wrong(struct world *w)
{
	assert_int_equal(renameat(w->done, "application", w->e->root, TARGET_HOLDER_NAME "/what"), 0);
}

static void in_holder_no_row(struct world *w)
{
	assert_int_equal(renameat(w->done, "application", w->e->root, TARGET_HOLDER_NAME "/0000000000000050"), 0);
}

static void in_holder_other(struct world *w)
{
	assert_int_equal(renameat(w->done, "application", w->e->root, TARGET_HOLDER_NAME "/0000000000000004"), 0);
}

static void in_holder_shadow(struct world *w)
{
	assert_int_equal(renameat(w->done, "application", w->e->root, TARGET_HOLDER_NAME "/000000000000002b"), 0);
}

static void holder_marked(struct world *w) { state_set_mark(w, w->e->root, TARGET_HOLDER_NAME, 79, 0, 0); }

static void gone_but_open(struct world *w)
{
	w->held = openat(w->listed, "found", O_RDONLY | O_CLOEXEC);
	assert_int_equal(unlinkat(w->listed, "found", 0), 0);
}

static void bare_found(struct world *w)
{
	struct catalog_row row = { .oid = 79, .parent = LISTED, .type = CATALOG_REG, .fsid = 5, .fileid = 79, .nlink = 1,
				   .name_len = 1, .name = "b" };

	state_add_row(w, &row);
}

static void other_type(struct world *w)
{
	struct catalog_row row;

	assert_int_equal(catalog_get(w->c, FIFO, &row), 0);
	row.type = CATALOG_SOCK;
	assert_int_equal(catalog_begin(w->c), 0);
	assert_int_equal(catalog_set_promise(w->c, &row), 0);
	assert_int_equal(catalog_commit(w->c), 0);
}

static void other_root(struct world *w)
{
	struct catalog_row row;

	assert_int_equal(catalog_get(w->c, ROOT, &row), 0);
	row.handle[2] ^= 1;
	assert_int_equal(catalog_begin(w->c), 0);
	assert_int_equal(catalog_set_promise(w->c, &row), 0);
	assert_int_equal(catalog_commit(w->c), 0);
}

static void no_root_mode(struct world *w)
{
	assert_int_equal(catalog_begin(w->c), 0);
	assert_int_equal(catalog_meta_set(w->c, "root_mode", "x", 1), 0);
	assert_int_equal(catalog_commit(w->c), 0);
}

static void no_reason(struct world *w)
{
	assert_int_equal(catalog_begin(w->c), 0);
	assert_int_equal(catalog_reason_set(w->c, SHADOW, 0, NULL), 0);
	assert_int_equal(catalog_commit(w->c), 0);
}

static const struct break_ breaks[] = {
	{ stamp_ahead, 0, "stamp is 8, the catalog's 6" },
	{ stamp_behind, 0, "stamp is 5, the catalog's 6" },
	{ stamp_missing, 0, "root lacks the stamp: expected 6 or 7" },
	{ root_unmarked, ROOT, "expected the mark of object 1: there is none" },
	{ root_other_mark, ROOT, "carries the mark of object 3, expected object 1" },
	{ root_open, ROOT, "mode 0700, expected 0000" },
	{ root_reserved, ROOT, "belongs to the reserved owner" },
	{ other_root, ROOT, "another one than the migration's" },
	{ no_root_mode, ROOT, "lacks the mode of the root" },
	{ no_mark, FILE_FOUND, "/listed/found (object 4, found): its inode carries no mark" },
	{ no_mark_dir, UNLISTED, "/unlisted (object 2, found): its inode carries no mark" },
	{ gone, FILE_FOUND, "/listed/found (object 4, found): its inode is gone" },
	{ gone_but_open, FILE_FOUND, "/listed/found (object 4, found): its inode is gone" },
	{ wrong_size, FILE_FOUND, "has 999999 bytes, expected 1000000" },
	{ high_limit, FILE_FOUND, "target/listed/found: its mark takes the source's bytes up to 1000001" },
	{ mark_on_done, FILE_DONE, "target/done/file: carries the mark of object 10, which is migrated" },
	{ mark_of_name, NAME, "target/done/file: carries the mark of object 16, which cannot have one" },
	{ mark_of_root, ROOT, "target/done/file: carries the mark of object 1, which cannot have one" },
	{ mark_never_given, NEVER, "target/unlisted/stub: carries the mark of object 100, an oid that was never" },
	{ mark_copied, FILE_FOUND, "target/done/application: carries the mark of object 4, which is another inode" },
	{ mark_without_row, 77, "target/done/application: carries the mark of object 77, which has no row although" },
	{ stub_in_listed, 78, "target/listed/stub: carries the mark of object 78, which has no row although" },
	{ stub_deep_in_done, 78, "target/done/its directory/stub: carries the mark" },
	{ torn_in_listed, 0, "target/listed/torn: belongs to the reserved owner" },
	{ torn_elsewhere, 0, "target/done/no inode: belongs to the reserved owner" },
	{ damaged_mark, 0, "target/done/application: carries a mark that is damaged" },
	{ deleted_is_there, FILE_FOUND, "/listed/found (object 4, deleted): its inode is on the target" },
	{ in_holder_wrong, 0, "/what: does not belong into the holder" },
	{ in_holder_no_row, 80, "of an object that has no row" },
	{ in_holder_other, FILE_FOUND, "another inode under this object's oid" },
	{ in_holder_shadow, SHADOW, "another inode under this object's oid" },
	{ holder_marked, 79, "target/.dmm-holder: the holder of last names carries a mark" },
	{ bare_found, 79, "/listed/b (object 79, found): the row has no handle" },
	{ other_type, FIFO, "/listed/fifo (object 8, complete): its inode is of another type" },
	{ no_reason, SHADOW, "catalog: object 43 (/done/application): the object is shadowed without a reason" },
};

static void test_breaks(void **state)
{
	char when[16];

	for (unsigned i = 0; i < sizeof breaks / sizeof *breaks; i++) {
		struct world *w;

		if (i && (env_teardown(state) || env_setup(state)))
			fail();
		w = state_make_full(*state);
		breaks[i].how(w);
		snprintf(when, sizeof when, "break %u", i);
		state_expect(w, when, breaks[i].oid, breaks[i].words);
		state_unmake(w);
	}
}

/* Two things at once are wrong in these. */
static void test_pairs(void **state)
{
	struct world *w = state_make_full(*state);

	mark_swapped(w);
	state_ask(w, w->e->t);
	assert_int_equal(w->n, 2);
	assert_non_null(strstr(w->text, "/listed/link (object 7, complete): its inode carries the mark of object 77"));
	assert_non_null(strstr(w->text, "target/listed/link: carries the mark of object 77, which has no row"));
	torn_row(w);
	state_ask(w, w->e->t);
	assert_int_equal(w->n, 4);
	assert_non_null(strstr(w->text, "/unlisted (object 2, found): its inode belongs to the reserved owner"));
	assert_non_null(strstr(w->text, "target/unlisted: belongs to the reserved owner"));
	state_unmake(w);
}

static void left_mark(struct world *w) { state_set_mark(w, w->done, "file", FILE_DONE, 0, 0); }
static void left_unknown(struct world *w) { state_set_mark(w, w->done, "its directory", 50, 0, 0); }
static void left_root_mark(struct world *w) { state_set_mark(w, w->e->root, ".", ROOT, 0, 0); }
static void left_stamp(struct world *w) { assert_int_equal(target_stamp_set(w->e->t, 7), 0); }
static void left_holder(struct world *w) { env_object(w->e->root, TARGET_HOLDER_NAME, S_IFDIR); }
static void left_torn(struct world *w) { assert_int_equal(fchownat(w->done, "file", ENV_RESERVED, 0, 0), 0); }

static void test_left_behind(void **state)
{
	static const struct break_ left[] = {
		{ left_mark, FILE_DONE, "target/done/file: carries the mark of object 10, which is migrated" },
		{ left_unknown, 50, "which has no row although" },
		{ left_root_mark, ROOT, "carries a mark, expected none after the end" },
		{ left_stamp, ROOT, "carries a stamp, expected none after the end" },
		{ left_holder, 0, "target/.dmm-holder: the holder of last names is there" },
		{ left_torn, 0, "target/done/file: belongs to the reserved owner" },
	};

	for (unsigned i = 0; i < sizeof left / sizeof *left; i++) {
		struct world *w;

		if (i && (env_teardown(state) || env_setup(state)))
			fail();
		w = state_make(*state);
		state_begin(w);
		state_fill_done(w);
		state_move(w, ROOT, CATALOG_CLEANING);
		state_move(w, ROOT, CATALOG_MIGRATED);
		assert_int_equal(catalog_set_phase(w->c, CATALOG_DETACHING), 0);
		assert_int_equal(target_root_restore(w->e->t, NULL), 0);
		assert_int_equal(catalog_set_phase(w->c, CATALOG_DETACHED), 0);
		left[i].how(w);
		state_expect(w, "left", left[i].oid, left[i].words);
		state_unmake(w);
	}
}

/* A later migration to the same directory is none of ours. */
static void test_foreign(void **state)
{
	struct env *e = *state;
	struct world *w = state_make(e);
	struct target_id other = { .migration = "another one....", .reserved_id = ENV_RESERVED + 1 };

	state_begin(w);
	state_fill_done(w);
	state_move(w, ROOT, CATALOG_CLEANING);
	state_move(w, ROOT, CATALOG_MIGRATED);
	assert_int_equal(catalog_set_phase(w->c, CATALOG_DETACHING), 0);
	assert_int_equal(target_root_restore(e->t, NULL), 0);
	assert_int_equal(catalog_set_phase(w->c, CATALOG_DETACHED), 0);
	target_set_id(e->t, &other);
	left_root_mark(w);
	left_stamp(w);
	left_mark(w);
	left_holder(w);
	target_set_id(e->t, &e->id);
	state_expect_none(w, "another migration");
	state_unmake(w);
}

static void test_needs_target(void **state)
{
	struct world *w = state_make_full(*state);
	struct err e = { 0 };

	assert_int_equal(audit_state(w->c, NULL, state_hear, w, &w->told, &e), -EINVAL);
	assert_non_null(strstr(e.text, "has not ended"));
	state_unmake(w);
}

/* ---- sizes ---- */

static size_t used_before;
static size_t used_most;

static void hear_memory(void *arg, const struct audit_problem *p)
{
	size_t used = mallinfo2().uordblks + mallinfo2().hblkhd;

	used_most = used > used_most ? used : used_most;
	state_hear(arg, p);
}

static void ask_few_descriptors(struct world *w)
{
	struct rlimit old, few;
	struct err e = { 0 };

	getrlimit(RLIMIT_NOFILE, &old);
	few = (struct rlimit){ 80, old.rlim_max };
	setrlimit(RLIMIT_NOFILE, &few);
	w->n = 0;
	*w->text = 0;
	used_most = 0;
	used_before = mallinfo2().uordblks + mallinfo2().hblkhd;
	if (audit_state(w->c, w->e->t, hear_memory, w, &w->told, &e))
		fail_msg("%s", e.text);
	setrlimit(RLIMIT_NOFILE, &old);
	assert_true(used_most - used_before < 3 << 20);
}

/* 1,100 levels, each with files and a branch of two levels beside the next level, and a stub at the bottom. */
static void test_deep(void **state)
{
	struct world *w = state_make_full(*state);
	struct target_handle h;
	char name[32];
	int d = dup(w->done), next;

	for (int i = 0; i < 1100; i++) {
		env_file(d, "one");
		env_file(d, "two");
		assert_int_equal(mkdirat(d, "branch", 0755) || mkdirat(d, "branch/1", 0755) || mkdirat(d, "branch/2", 0755), 0);
		snprintf(name, sizeof name, "level %d", i);
		next = env_dir(d, name);
		env_file(d, "three");
		close(d);
		d = next;
	}
	state_stub(w, d, "stub", S_IFREG | 0600, 78, &h);
	ask_few_descriptors(w);
	assert_int_equal(w->n, 1);
	assert_non_null(strstr(w->text, "78: target.../level "));
	assert_non_null(strstr(w->text, "/level 1099/stub: carries the mark of object 78"));
	assert_int_equal(w->told.inodes, 22 + 7 * 1100 + 1);
	/* teardown walks with nftw, which needs short ways */
	for (int i = 1099; i >= 0; i--) {
		int up = openat(d, "..", O_RDONLY | O_DIRECTORY);

		unlinkat(d, "stub", 0);
		unlinkat(d, "one", 0);
		unlinkat(d, "two", 0);
		unlinkat(d, "three", 0);
		unlinkat(up, "branch/1", AT_REMOVEDIR);
		unlinkat(up, "branch/2", AT_REMOVEDIR);
		unlinkat(up, "branch", AT_REMOVEDIR);
		close(d);
		snprintf(name, sizeof name, "level %d", i);
		assert_int_equal(unlinkat(up, name, AT_REMOVEDIR), 0);
		d = up;
	}
	close(d);
	state_unmake(w);
}

/* Memory does not grow with the names; and a directory with many subdirectories is gone on with where it was left. */
static void test_wide(void **state)
{
	struct world *w = state_make_full(*state);
	struct target_handle h;
	char name[32];

	for (int i = 0; i < 6000; i++) {
		snprintf(name, sizeof name, "%d", i);
		env_object(w->done, name, i % 3 ? S_IFREG : S_IFDIR);
	}
	state_stub(w, w->listed, "stub", S_IFREG | 0600, 78, &h);
	ask_few_descriptors(w);
	assert_int_equal(w->n, 1);
	assert_int_equal(w->told.inodes, 22 + 6000 + 1);
	state_unmake(w);
}

/* ---- */

int test_state_breaks(struct env *e)
{
	const struct CMUnitTest tests[] = {
		TEST(test_breaks, e), TEST(test_pairs, e), TEST(test_left_behind, e), TEST(test_foreign, e),
		TEST(test_needs_target, e), TEST(test_deep, e), TEST(test_wide, e),
	};

	return ENV_RUN(e, "check-state, broken,", tests);
}
