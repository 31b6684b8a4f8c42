/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "state_rig.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/creds.h"

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

void state_add_row(struct world *w, const struct catalog_row *row)
{
	assert_int_equal(catalog_begin(w->c), 0);
	assert_int_equal(catalog_add(w->c, row), 0);
	if (row->state == CATALOG_QUARANTINED || row->state == CATALOG_SHADOWED)
		assert_int_equal(catalog_reason_set(w->c, row->oid, EIO, "because"), 0);
	assert_int_equal(catalog_commit(w->c), 0);
}

void state_move(struct world *w, uint64_t oid, enum catalog_state to)
{
	assert_int_equal(catalog_begin(w->c), 0);
	assert_int_equal(catalog_transition(w->c, oid, ~0u, to, NULL), 0);
	assert_int_equal(catalog_commit(w->c), 0);
}

void state_stub(struct world *w, int dir, const char *name, mode_t mode, uint64_t oid, struct target_handle *h)
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

	state_stub(w, dir, name, mode, oid, &h);
	set_handle(&row, &h);
	row.name_len = (uint16_t)strlen(name);
	strcpy(row.name, name);
	state_add_row(w, &row);
}

void state_remove_mark(struct world *w, int dir, const char *name)
{
	_cleanup_close_ int fd = env_path(dir, name);

	assert_int_equal(target_mark_remove(w->e->t, fd), 0);
}

void state_set_mark(struct world *w, int dir, const char *name, uint64_t oid, uint64_t limit, uint32_t flags)
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

int state_open_dir(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

void state_begin(struct world *w)
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

void state_fill_done(struct world *w)
{
	object(w, w->e->root, ROOT, "done", S_IFDIR | 0755, DONE, CATALOG_CLEANING);
	w->done = state_open_dir(w->e->root, "done");
	object(w, w->done, DONE, "file", S_IFREG | 0644, FILE_DONE, CATALOG_CLEANING);
	state_remove_mark(w, w->done, "file");
	state_remove_mark(w, w->e->root, "done");
	state_move(w, FILE_DONE, CATALOG_MIGRATED);
	state_move(w, DONE, CATALOG_MIGRATED);
	env_file(w->done, "application");
	env_object(w->done, "its directory", S_IFDIR);
}

/* What is on its way, in a directory that is listed. */
static void fill_listed(struct world *w)
{
	int d;

	object(w, w->e->root, ROOT, "listed", S_IFDIR | 0755, LISTED, CATALOG_CLEANING);
	d = w->listed = state_open_dir(w->e->root, "listed");
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
	state_remove_mark(w, d, "clean");
	set_flags(w, DELETED, CATALOG_F_INTENT_DELETE);
	assert_int_equal(unlinkat(d, "deleted", 0), 0);
	state_move(w, DELETED, CATALOG_DELETED);
	set_flags(w, DELETING, CATALOG_F_INTENT_DELETE);
	state_set_mark(w, d, "changed", CHANGED, 1000, TARGET_MARK_TIMES);
	state_move(w, FILE_AGAIN, CATALOG_FOUND);		/* an earlier worker's reason is still there */
	assert_int_equal(target_holder_hide(w->e->t, d, "held", HELD), 0);
}

/* A stub's first moments, in a directory that is not listed. */
static void fill_unlisted(struct world *w)
{
	struct target_handle h;
	int d;

	object(w, w->e->root, ROOT, "unlisted", S_IFDIR | 0755, UNLISTED, CATALOG_FOUND);
	d = w->unlisted = state_open_dir(w->e->root, "unlisted");
	state_stub(w, d, "stub", S_IFREG | 0644, STUB, &h);
	state_stub(w, d, "stub directory", S_IFDIR | 0755, STUB_DIR, &h);
	d = state_open_dir(d, "stub directory");
	state_stub(w, d, "stub in it", S_IFREG | 0644, STUB_IN_IT, &h);
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

	state_add_row(w, &row);
	row = (struct catalog_row){ .oid = SHADOW, .parent = DONE, .type = CATALOG_REG, .state = CATALOG_SHADOWED,
				    .fsid = 5, .fileid = SHADOW, .nlink = 1, .size = 5, .name_len = 11,
				    .name = "application" };
	state_add_row(w, &row);
	row = (struct catalog_row){ .oid = EMPTY, .parent = LISTED, .type = CATALOG_REG, .state = CATALOG_QUARANTINED,
				    .fsid = 5, .fileid = EMPTY, .nlink = 1, .name_len = 8, .name = "no inode" };
	state_add_row(w, &row);	/* never had a stub */
}

struct world *state_make(struct env *e)
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

struct world *state_make_full(struct env *e)
{
	struct world *w = state_make(e);

	state_begin(w);
	state_fill_done(w);
	fill_listed(w);
	fill_unlisted(w);
	fill_rows(w);
	state_move(w, ROOT, CATALOG_CLEANING);
	assert_int_equal(target_root_guard(e->t), 0);
	return w;
}

static int remove_one(const char *path, const struct stat *st, int what, struct FTW *ftw)
{
	(void)st, (void)what, (void)ftw;
	return remove(path);
}

void state_unmake(struct world *w)
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

void state_hear(void *arg, const struct audit_problem *p)
{
	struct world *w = arg;
	size_t n = strlen(w->text);

	assert_null(strchr(p->text, '\n'));
	snprintf(w->text + n, sizeof w->text - n, "%lu: %s\n", (unsigned long)p->oid, p->text);
	w->n++;
}

void state_ask(struct world *w, struct target *t)
{
	struct err e = { 0 };

	w->n = 0;
	*w->text = 0;
	if (audit_state(w->c, t, state_hear, w, &w->told, &e))
		fail_msg("%s", e.text);
	assert_int_equal(w->told.problems, w->n);
}

void state_expect_none(struct world *w, const char *when)
{
	state_ask(w, w->e->t);
	if (w->n)
		fail_msg("%s: %s", when, w->text);
}

void state_expect(struct world *w, const char *when, uint64_t oid, const char *words)
{
	char prefix[32];

	state_ask(w, w->e->t);
	snprintf(prefix, sizeof prefix, "%lu: ", (unsigned long)oid);
	if (w->n != 1 || strncmp(w->text, prefix, strlen(prefix)) || !strstr(w->text, words))
		fail_msg("%s: expected \"%s%s\", but:\n%s", when, prefix, words, w->text);
}
