/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * check-state on real file systems: a small migration is put together with the real modules, in every state at
 * once, as a killed worker leaves it.  It must pass; and so must what a kill leaves between two steps.  Then each
 * thing is broken, one at a time, and must be reported by name.
 */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../target/disk.h"
#include "../target/env.h"

#include "audit/audit.h"
#include "base/cleanup.h"
#include "base/creds.h"

enum {	/* oids */
	ROOT = 1, UNLISTED = 2, LISTED = 3, FILE_FOUND = 4, FILE_CLEAN = 5, FILE_PUT_ASIDE = 6, LINK = 7, FIFO = 8, DONE = 9,
	FILE_DONE = 10, DELETED = 11, DELETING = 12, HELD = 13, CHANGED = 14, FILE_AGAIN = 15, NAME = 16, EMPTY = 17,
	STUB = 40, STUB_DIR = 41, STUB_IN_IT = 42, SHADOW = 43, NEVER = 100,
};

struct world {
	struct env *e;
	struct catalog *c;
	char state[4300];
	int listed, unlisted, done;		/* directories */
	int held;
	struct audit_state told;
	unsigned n;
	char text[20000];
};

/* ---- making it ---- */

static struct target_attr attr_of(mode_t mode, uint64_t size)
{
	return (struct target_attr){ .mode = mode, .uid = 1000, .gid = 100, .size = S_ISREG(mode) ? size : 0,
		.atime = { 1000000000, 1 }, .mtime = { 1100000000, 2 }, .link = "elsewhere" };
}

static void set_handle(struct catalog_row *row, const struct target_handle *h)
{
	row->handle[0] = h->len;
	row->handle[1] = h->type;
	memcpy(row->handle + 2, h->data, h->len);
	row->handle_len = (uint8_t)(h->len + 2);
}

static uint8_t type_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return CATALOG_REG;
	case S_IFDIR:
		return CATALOG_DIR;
	case S_IFLNK:
		return CATALOG_LNK;
	default:
		return CATALOG_FIFO;
	}
}

static void add_row(struct world *w, const struct catalog_row *row)
{
	assert_int_equal(catalog_begin(w->c), 0);
	assert_int_equal(catalog_add(w->c, row), 0);
	if (row->state == CATALOG_QUARANTINED || row->state == CATALOG_SHADOWED)
		assert_int_equal(catalog_reason_set(w->c, row->oid, EIO, "because"), 0);
	assert_int_equal(catalog_commit(w->c), 0);
}

static void move(struct world *w, uint64_t oid, enum catalog_state to)
{
	assert_int_equal(catalog_begin(w->c), 0);
	assert_int_equal(catalog_transition(w->c, oid, ~0u, to, NULL), 0);
	assert_int_equal(catalog_commit(w->c), 0);
}

static void stub(struct world *w, int dir, const char *name, mode_t mode, uint64_t oid, struct target_handle *h)
{
	const struct target_attr a = attr_of(mode, 1000000);
	const struct target_mark m = { .oid = oid, .limit = a.size };

	assert_int_equal(target_stub_create(w->e->t, dir, name, &a, &m, h), 0);
	assert_int_equal(creds_set_fs(0, 0), 0);
}

static void object(struct world *w, int dir, uint64_t parent, const char *name, mode_t mode, uint64_t oid,
		   enum catalog_state state)
{
	struct catalog_row row = { .oid = oid, .parent = parent, .type = type_of(mode), .state = (uint8_t)state,
				   .size = S_ISREG(mode) ? 1000000 : 0, .fsid = 5, .fileid = oid, .nlink = 1 };
	struct target_handle h;

	stub(w, dir, name, mode, oid, &h);
	set_handle(&row, &h);
	row.name_len = (uint16_t)strlen(name);
	strcpy(row.name, name);
	add_row(w, &row);
}

static void remove_mark(struct world *w, int dir, const char *name)
{
	_cleanup_close_ int fd = env_path(dir, name);

	assert_int_equal(target_mark_remove(w->e->t, fd), 0);
}

static void set_mark(struct world *w, int dir, const char *name, uint64_t oid, uint64_t limit, uint32_t flags)
{
	_cleanup_close_ int fd = env_path(dir, name);
	const struct target_mark m = { .oid = oid, .limit = limit, .flags = flags, .app_mtime = { 1, 2 } };

	assert_int_equal(target_mark_set(w->e->t, fd, &m), 0);
}

static void set_flags(struct world *w, uint64_t oid, unsigned flags)
{
	assert_int_equal(catalog_begin(w->c), 0);
	assert_int_equal(catalog_set_flags(w->c, oid, flags, 0), 0);
	assert_int_equal(catalog_commit(w->c), 0);
}

static void set_stamp(struct world *w, uint64_t n)
{
	assert_int_equal(catalog_begin(w->c), 0);
	assert_int_equal(catalog_meta_set(w->c, "stamp", &n, sizeof n), 0);
	assert_int_equal(catalog_commit(w->c), 0);
}

static int open_dir(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* As engine.c begins a migration. */
static void begin(struct world *w)
{
	struct target_mark m = { .oid = ROOT };
	struct catalog_row row = { .oid = ROOT, .type = CATALOG_DIR, .fsid = 5, .fileid = ROOT, .nlink = 9 };
	struct target_handle h;
	uint32_t mode = 0755;
	uint64_t stamp = 6;

	assert_int_equal(target_mark_set(w->e->t, w->e->root, &m), 0);
	assert_int_equal(target_stamp_set(w->e->t, 7), 0);
	assert_int_equal(target_handle_of(w->e->root, &h), 0);
	set_handle(&row, &h);
	assert_int_equal(catalog_begin(w->c), 0);
	assert_int_equal(catalog_add(w->c, &row), 0);
	assert_int_equal(catalog_meta_set(w->c, "stamp", &stamp, sizeof stamp), 0);
	assert_int_equal(catalog_meta_set(w->c, "root_mode", &mode, sizeof mode), 0);
	assert_int_equal(catalog_commit(w->c), 0);
}

/* What is complete, and what applications have done. */
static void fill_done(struct world *w)
{
	object(w, w->e->root, ROOT, "done", S_IFDIR | 0755, DONE, CATALOG_CLEANING);
	w->done = open_dir(w->e->root, "done");
	object(w, w->done, DONE, "file", S_IFREG | 0644, FILE_DONE, CATALOG_CLEANING);
	remove_mark(w, w->done, "file");
	remove_mark(w, w->e->root, "done");
	move(w, FILE_DONE, CATALOG_MIGRATED);
	move(w, DONE, CATALOG_MIGRATED);
	env_file(w->done, "application");
	env_object(w->done, "its directory", S_IFDIR);
}

/* What is on its way, in a directory that is listed. */
static void fill_listed(struct world *w)
{
	int d;

	object(w, w->e->root, ROOT, "listed", S_IFDIR | 0755, LISTED, CATALOG_CLEANING);
	d = w->listed = open_dir(w->e->root, "listed");
	object(w, d, LISTED, "found", S_IFREG | 0644, FILE_FOUND, CATALOG_FOUND);
	object(w, d, LISTED, "clean", S_IFREG | 0644, FILE_CLEAN, CATALOG_CLEANING);
	object(w, d, LISTED, "aside", S_IFREG | 0644, FILE_PUT_ASIDE, CATALOG_QUARANTINED);
	object(w, d, LISTED, "link", S_IFLNK | 0777, LINK, CATALOG_CLEANING);
	object(w, d, LISTED, "fifo", S_IFIFO | 0644, FIFO, CATALOG_CLEANING);
	object(w, d, LISTED, "deleted", S_IFREG | 0644, DELETED, CATALOG_FOUND);
	object(w, d, LISTED, "deleting", S_IFREG | 0644, DELETING, CATALOG_FOUND);
	object(w, d, LISTED, "changed", S_IFREG | 0644, CHANGED, CATALOG_FOUND);
	object(w, d, LISTED, "again", S_IFREG | 0644, FILE_AGAIN, CATALOG_QUARANTINED);
	object(w, d, LISTED, "held", S_IFREG | 0644, HELD, CATALOG_FOUND);
	remove_mark(w, d, "clean");
	set_flags(w, DELETED, CATALOG_F_INTENT_DELETE);
	assert_int_equal(unlinkat(d, "deleted", 0), 0);
	move(w, DELETED, CATALOG_DELETED);
	set_flags(w, DELETING, CATALOG_F_INTENT_DELETE);
	set_mark(w, d, "changed", CHANGED, 1000, TARGET_MARK_TIMES);
	move(w, FILE_AGAIN, CATALOG_FOUND);		/* an earlier worker's reason is still there */
	assert_int_equal(target_holder_hide(w->e->t, d, "held", HELD), 0);
}

/* A stub's first moments, in a directory that is not listed. */
static void fill_unlisted(struct world *w)
{
	struct target_handle h;
	int d;

	object(w, w->e->root, ROOT, "unlisted", S_IFDIR | 0755, UNLISTED, CATALOG_FOUND);
	d = w->unlisted = open_dir(w->e->root, "unlisted");
	stub(w, d, "stub", S_IFREG | 0644, STUB, &h);
	stub(w, d, "stub directory", S_IFDIR | 0755, STUB_DIR, &h);
	d = open_dir(d, "stub directory");
	stub(w, d, "stub in it", S_IFREG | 0644, STUB_IN_IT, &h);
	close(d);
	assert_int_equal(creds_set_fs(ENV_RESERVED, ENV_RESERVED), 0);
	close(openat(w->unlisted, "torn", O_CREAT | O_EXCL | O_WRONLY, 0));
	assert_int_equal(mkdirat(w->unlisted, "torn directory", 0), 0);
	assert_int_equal(creds_set_fs(0, 0), 0);
	env_file(w->unlisted, "application");
}

static void fill_rows(struct world *w)
{
	struct catalog_row row = { .oid = NAME, .parent = LISTED, .type = CATALOG_HARDLINK, .link_oid = HELD,
				   .state = CATALOG_MIGRATED, .name_len = 4, .name = "name" };

	add_row(w, &row);
	row = (struct catalog_row){ .oid = SHADOW, .parent = DONE, .type = CATALOG_REG, .state = CATALOG_SHADOWED,
				    .fsid = 5, .fileid = SHADOW, .nlink = 1, .size = 5, .name_len = 11,
				    .name = "application" };
	add_row(w, &row);
	row = (struct catalog_row){ .oid = EMPTY, .parent = LISTED, .type = CATALOG_REG, .state = CATALOG_QUARANTINED,
				    .fsid = 5, .fileid = EMPTY, .nlink = 1, .name_len = 8, .name = "no inode" };
	add_row(w, &row);	/* never had a stub */
}

static struct world *make(struct env *e)
{
	struct world *w = calloc(1, sizeof *w);
	struct catalog_identity id = { .reserved_id = ENV_RESERVED, .source = "file:///source" };
	struct err err = { 0 };
	uint64_t first;
	bool created;

	w->e = e;
	w->listed = w->unlisted = w->done = w->held = -1;
	snprintf(w->state, sizeof w->state, "%s.state", e->dir);
	memcpy(id.migration, e->id.migration, sizeof id.migration);
	if (catalog_open(w->state, true, &id, &w->c, &created, &err))
		fail_msg("%s", err.text);
	assert_int_equal(catalog_reserve_oids(w->c, NEVER - 2, &first), 0);
	return w;
}

static struct world *make_full(struct env *e)
{
	struct world *w = make(e);

	begin(w);
	fill_done(w);
	fill_listed(w);
	fill_unlisted(w);
	fill_rows(w);
	move(w, ROOT, CATALOG_CLEANING);
	assert_int_equal(target_root_guard(e->t), 0);
	return w;
}

static int remove_one(const char *path, const struct stat *st, int what, struct FTW *ftw)
{
	(void)st, (void)what, (void)ftw;
	return remove(path);
}

static void unmake(struct world *w)
{
	catalog_close(w->c);
	nftw(w->state, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	close(w->listed);
	close(w->unlisted);
	close(w->done);
	close(w->held);
	assert_int_equal(fchmod(w->e->root, 0755), 0);
	free(w);
}

/* ---- asking ---- */

static void hear(void *arg, const struct audit_problem *p)
{
	struct world *w = arg;
	size_t n = strlen(w->text);

	assert_null(strchr(p->text, '\n'));
	snprintf(w->text + n, sizeof w->text - n, "%lu: %s\n", (unsigned long)p->oid, p->text);
	w->n++;
}

static void ask(struct world *w, struct target *t)
{
	struct err e = { 0 };

	w->n = 0;
	*w->text = 0;
	if (audit_state(w->c, t, hear, w, &w->told, &e))
		fail_msg("%s", e.text);
	assert_int_equal(w->told.problems, w->n);
}

static void expect_none(struct world *w, const char *when)
{
	ask(w, w->e->t);
	if (w->n)
		fail_msg("%s: %s", when, w->text);
}

/* Exactly one problem, with this oid and these words. */
static void expect(struct world *w, const char *when, uint64_t oid, const char *words)
{
	char prefix[32];

	ask(w, w->e->t);
	snprintf(prefix, sizeof prefix, "%lu: ", (unsigned long)oid);
	if (w->n != 1 || strncmp(w->text, prefix, strlen(prefix)) || !strstr(w->text, words))
		fail_msg("%s: expected \"%s%s\", but:\n%s", when, prefix, words, w->text);
}

/* ---- what must pass ---- */

static void test_right(void **state)
{
	struct world *w = make_full(*state);

	expect_none(w, "all states at once");
	assert_int_equal(w->told.rows, 18);
	assert_int_equal(w->told.inodes, 22);
	assert_int_equal(w->told.marks, 14);
	unmake(w);
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
	remove_mark(w, w->listed, "aside");
	remove_mark(w, w->listed, "again");
}

/* engine_retry(), killed before its record: another inode, and a torn one. */
static void leave_retry(struct world *w)
{
	struct target_handle h;

	leave_aside_gone(w);
	stub(w, w->listed, "aside", S_IFIFO | 0644, FILE_PUT_ASIDE, &h);
	assert_int_equal(creds_set_fs(ENV_RESERVED, ENV_RESERVED), 0);
	assert_int_equal(mknodat(w->listed, "no inode", S_IFREG, 0), 0);
	assert_int_equal(creds_set_fs(0, 0), 0);
}

static void leave_retry_reset(struct world *w)
{
	_cleanup_close_ int fd = openat(w->listed, "aside", O_WRONLY | O_CLOEXEC);

	assert_int_equal(ftruncate(fd, 2000000), 0);
	set_mark(w, w->listed, "aside", FILE_PUT_ASIDE, 2000000, 0);
}

/* Unlinked, but an application has it open: as good as gone. */
static void leave_open(struct world *w)
{
	w->held = openat(w->listed, "deleting", O_RDONLY | O_CLOEXEC);
	assert_true(w->held >= 0);
	assert_int_equal(unlinkat(w->listed, "deleting", 0), 0);
	move(w, DELETING, CATALOG_DELETED);
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
	move(w, HELD, CATALOG_CLEANING);
	move(w, HELD, CATALOG_MIGRATED);
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
		w = make_full(*state);
		windows[i].leave(w);
		expect_none(w, windows[i].when);
		unmake(w);
	}
}

/* Before the root has its row, step by step. */
static void test_beginning(void **state)
{
	struct env *e = *state;
	struct world *w = make(e);
	struct target_mark m = { .oid = ROOT };

	env_file(e->root, "application");
	expect_none(w, "nothing");
	assert_int_equal(target_mark_set(e->t, e->root, &m), 0);
	expect_none(w, "mark");
	assert_int_equal(target_stamp_set(e->t, 0), 0);
	expect_none(w, "stamp");
	begin(w);
	expect_none(w, "row, before the guard");
	assert_int_equal(target_root_guard(e->t), 0);
	expect_none(w, "guard");
	unmake(w);
}

/* The end, step by step as detach.c and target_root_restore() make it. */
static void test_end(void **state)
{
	struct env *e = *state;
	struct world *w = make(e);

	begin(w);
	fill_done(w);
	env_object(e->root, TARGET_HOLDER_NAME, S_IFDIR);
	assert_int_equal(target_root_guard(e->t), 0);
	move(w, ROOT, CATALOG_CLEANING);
	move(w, ROOT, CATALOG_MIGRATED);
	expect_none(w, "nothing left");
	assert_int_equal(catalog_set_phase(w->c, CATALOG_DETACHING), 0);
	expect_none(w, "detaching");
	assert_int_equal(target_holder_remove_all(e->t), 0);
	expect_none(w, "no holder");
	assert_int_equal(fchmod(e->root, 0750), 0);
	expect_none(w, "mode");
	assert_int_equal(target_mark_remove(e->t, e->root), 0);
	expect_none(w, "no mark");
	assert_int_equal(target_root_restore(e->t, NULL), 0);
	expect_none(w, "plain");
	assert_int_equal(catalog_set_phase(w->c, CATALOG_DETACHED), 0);
	expect_none(w, "detached");
	assert_int_equal(unlinkat(w->done, "file", 0), 0);
	env_object(e->root, "later", S_IFDIR);
	expect_none(w, "used");
	ask(w, NULL);
	assert_int_equal(w->n, 0);
	unmake(w);
}

/* ---- what must be found ---- */

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
	set_mark(w, w->e->root, ".", ROOT, 0, 0);
}

static void root_unmarked(struct world *w) { assert_int_equal(target_mark_remove(w->e->t, w->e->root), 0); }
static void root_other_mark(struct world *w) { set_mark(w, w->e->root, ".", LISTED, 0, 0); }
static void root_open(struct world *w) { assert_int_equal(fchmod(w->e->root, 0700), 0); }
static void root_reserved(struct world *w) { assert_int_equal(fchown(w->e->root, ENV_RESERVED, 0), 0); }
static void no_mark(struct world *w) { remove_mark(w, w->listed, "found"); }
static void no_mark_dir(struct world *w)
{
	remove_mark(w, w->e->root, "unlisted");
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

static void high_limit(struct world *w) { set_mark(w, w->listed, "found", FILE_FOUND, 1000001, 0); }
static void mark_on_done(struct world *w) { set_mark(w, w->done, "file", FILE_DONE, 1000000, 0); }
static void mark_of_name(struct world *w) { set_mark(w, w->done, "file", NAME, 1000000, 0); }
static void mark_of_root(struct world *w) { set_mark(w, w->done, "file", ROOT, 0, 0); }
static void mark_never_given(struct world *w) { set_mark(w, w->unlisted, "stub", NEVER, 1000000, 0); }
static void mark_copied(struct world *w) { set_mark(w, w->done, "application", FILE_FOUND, 1000000, 0); }
static void mark_without_row(struct world *w) { set_mark(w, w->done, "application", 77, 0, 0); }
static void stub_in_listed(struct world *w)
{
	struct target_handle h;

	stub(w, w->listed, "stub", S_IFREG | 0600, 78, &h);
}

static void stub_deep_in_done(struct world *w)
{
	struct target_handle h;
	int d = open_dir(w->done, "its directory");

	stub(w, d, "stub", S_IFREG | 0600, 78, &h);
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
static void mark_swapped(struct world *w) { set_mark(w, w->listed, "link", LINK + 70, 0, 0); }
static void damaged_mark(struct world *w)
{
	int fd = openat(w->done, "application", O_RDONLY);

	assert_int_equal(target_mark_set(w->e->t, fd, &(struct target_mark){ .oid = 78, .flags = 8 }), 0);
	close(fd);
}

static void deleted_is_there(struct world *w)
{
	move(w, FILE_FOUND, CATALOG_DELETED);
	remove_mark(w, w->listed, "found");
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

static void holder_marked(struct world *w) { set_mark(w, w->e->root, TARGET_HOLDER_NAME, 79, 0, 0); }

static void gone_but_open(struct world *w)
{
	w->held = openat(w->listed, "found", O_RDONLY | O_CLOEXEC);
	assert_int_equal(unlinkat(w->listed, "found", 0), 0);
}

static void bare_found(struct world *w)
{
	struct catalog_row row = { .oid = 79, .parent = LISTED, .type = CATALOG_REG, .fsid = 5, .fileid = 79, .nlink = 1,
				   .name_len = 1, .name = "b" };

	add_row(w, &row);
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
		w = make_full(*state);
		breaks[i].how(w);
		snprintf(when, sizeof when, "break %u", i);
		expect(w, when, breaks[i].oid, breaks[i].words);
		unmake(w);
	}
}

/* Two things at once are wrong in these. */
static void test_pairs(void **state)
{
	struct world *w = make_full(*state);

	mark_swapped(w);
	ask(w, w->e->t);
	assert_int_equal(w->n, 2);
	assert_non_null(strstr(w->text, "/listed/link (object 7, complete): its inode carries the mark of object 77"));
	assert_non_null(strstr(w->text, "target/listed/link: carries the mark of object 77, which has no row"));
	torn_row(w);
	ask(w, w->e->t);
	assert_int_equal(w->n, 4);
	assert_non_null(strstr(w->text, "/unlisted (object 2, found): its inode belongs to the reserved owner"));
	assert_non_null(strstr(w->text, "target/unlisted: belongs to the reserved owner"));
	unmake(w);
}

static void left_mark(struct world *w) { set_mark(w, w->done, "file", FILE_DONE, 0, 0); }
static void left_unknown(struct world *w) { set_mark(w, w->done, "its directory", 50, 0, 0); }
static void left_root_mark(struct world *w) { set_mark(w, w->e->root, ".", ROOT, 0, 0); }
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
		w = make(*state);
		begin(w);
		fill_done(w);
		move(w, ROOT, CATALOG_CLEANING);
		move(w, ROOT, CATALOG_MIGRATED);
		assert_int_equal(catalog_set_phase(w->c, CATALOG_DETACHING), 0);
		assert_int_equal(target_root_restore(w->e->t, NULL), 0);
		assert_int_equal(catalog_set_phase(w->c, CATALOG_DETACHED), 0);
		left[i].how(w);
		expect(w, "left", left[i].oid, left[i].words);
		unmake(w);
	}
}

/* A later migration to the same directory is none of ours. */
static void test_foreign(void **state)
{
	struct env *e = *state;
	struct world *w = make(e);
	struct target_id other = { .migration = "another one....", .reserved_id = ENV_RESERVED + 1 };

	begin(w);
	fill_done(w);
	move(w, ROOT, CATALOG_CLEANING);
	move(w, ROOT, CATALOG_MIGRATED);
	assert_int_equal(catalog_set_phase(w->c, CATALOG_DETACHING), 0);
	assert_int_equal(target_root_restore(e->t, NULL), 0);
	assert_int_equal(catalog_set_phase(w->c, CATALOG_DETACHED), 0);
	target_set_id(e->t, &other);
	left_root_mark(w);
	left_stamp(w);
	left_mark(w);
	left_holder(w);
	target_set_id(e->t, &e->id);
	expect_none(w, "another migration");
	unmake(w);
}

static void test_needs_target(void **state)
{
	struct world *w = make_full(*state);
	struct err e = { 0 };

	assert_int_equal(audit_state(w->c, NULL, hear, w, &w->told, &e), -EINVAL);
	assert_non_null(strstr(e.text, "has not ended"));
	unmake(w);
}

/* ---- sizes ---- */

static size_t used_before;
static size_t used_most;

static void hear_memory(void *arg, const struct audit_problem *p)
{
	size_t used = mallinfo2().uordblks + mallinfo2().hblkhd;

	used_most = used > used_most ? used : used_most;
	hear(arg, p);
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
	struct world *w = make_full(*state);
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
	stub(w, d, "stub", S_IFREG | 0600, 78, &h);
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
	unmake(w);
}

/* Memory does not grow with the names; and a directory with many subdirectories is gone on with where it was left. */
static void test_wide(void **state)
{
	struct world *w = make_full(*state);
	struct target_handle h;
	char name[32];

	for (int i = 0; i < 6000; i++) {
		snprintf(name, sizeof name, "%d", i);
		env_object(w->done, name, i % 3 ? S_IFREG : S_IFDIR);
	}
	stub(w, w->listed, "stub", S_IFREG | 0600, 78, &h);
	ask_few_descriptors(w);
	assert_int_equal(w->n, 1);
	assert_int_equal(w->told.inodes, 22 + 6000 + 1);
	unmake(w);
}

/* ---- running ---- */

static int all_on(const char *dir, const char *kind)
{
	struct env *e = calloc(1, sizeof *e);
	int failed;

	e->kind = kind;
	disk_mount(dir, kind, e->mount, sizeof e->mount);
	const struct CMUnitTest tests[] = {
		TEST(test_right, e), TEST(test_windows, e), TEST(test_beginning, e), TEST(test_end, e),
		TEST(test_breaks, e), TEST(test_pairs, e), TEST(test_left_behind, e), TEST(test_foreign, e),
		TEST(test_needs_target, e), TEST(test_deep, e), TEST(test_wide, e),
	};
	failed = ENV_RUN(e, "check-state", tests);
	disk_umount(e->mount);
	free(e);
	return failed;
}

int main(void)
{
	return disk_everywhere("state", NULL, all_on);
}
