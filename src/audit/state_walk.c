/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Through the target, once: every name below the root, from marks to rows.  Rules S3, S4, S8 and S9 of state.c.
 *
 * One level of the stack is one directory: its handle and the place reached in it.  Only the lowest
 * OPEN_LEVELS have their descriptor open; the others are opened by handle again when the walk comes back, so that a tree of any
 * depth needs few descriptors and no recursion.  What is on another file system is not the migration's.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "state.h"

enum { OPEN_LEVELS = 32 };

struct level {
	char *name;		/* "" for the root */
	struct target_handle h;
	DIR *d;			/* NULL: closed meanwhile */
	long at;		/* then: where to go on */
	bool listed;		/* every stub in it has its row */
	bool holder;
};

struct walk {
	struct state *s;
	struct level *v;
	size_t n, room;
};

/* What was found under a name. */
struct item {
	const char *name;
	int fd;			/* O_PATH */
	struct stat st;
	struct target_handle h;
	struct target_mark mark;
	int marked;		/* of target_mark_get() */
};

/* ---- saying where ---- */

static void path_of(const struct walk *w, const char *name, char *buf, size_t room)
{
	size_t at = room - 1;

	buf[at] = 0;
	for (size_t i = w->n; i <= w->n; i--) {		/* from the name upwards; the root has none */
		const char *part = i == w->n ? name : w->v[i].name;
		size_t len = strlen(part);

		if (!len)
			continue;
		if (len + 1 + 3 > at) {
			at -= 3;
			memcpy(buf + at, "...", 3);
			break;
		}
		at -= len;
		memcpy(buf + at, part, len);
		buf[--at] = '/';
	}
	memmove(buf, buf + at, room - at);
}

#define SAY(w, it, oid, fmt, ...) do {								\
	path_of(w, (it)->name, (w)->s->path, sizeof (w)->s->path);				\
	state_say((w)->s, oid, "target%s: " fmt, (w)->s->path, ##__VA_ARGS__);			\
} while (0)

static struct level *top(struct walk *w)
{
	return &w->v[w->n - 1];
}

/* ---- marks ---- */

/* A mark that names an object with a row. */
static void judge_known(struct walk *w, const struct item *it, const struct catalog_row *row)
{
	unsigned long long oid = row->oid;
	bool suspect = state_suspect(w->s, row);
	struct target_handle h;

	if (row->type == CATALOG_HARDLINK || row->oid == CATALOG_ROOT_OID) {
		SAY(w, it, row->oid, "carries the mark of object %llu, which cannot have one here", oid);
		return;
	}
	if (row->state > CATALOG_QUARANTINED) {
		SAY(w, it, row->oid, "carries the mark of object %llu, which is %s: expected none", oid, state_name(row->state));
		return;
	}
	if (suspect)
		return;		/* a retry may have made it anew, and not recorded that */
	if (!state_handle(row, &h) || !target_handle_equal(&h, &it->h))
		SAY(w, it, row->oid, "carries the mark of object %llu, which is another inode", oid);
	else if (row->type == CATALOG_REG && it->mark.limit > row->size && it->mark.limit != TARGET_NO_LIMIT)
		SAY(w, it, row->oid, "its mark takes the source's bytes up to %llu, but object %llu has only %llu",
		    (unsigned long long)it->mark.limit, oid, (unsigned long long)row->size);
}

static void judge_unknown(struct walk *w, const struct item *it)
{
	unsigned long long oid = it->mark.oid;

	if (it->mark.oid >= catalog_next_oid(w->s->c))
		SAY(w, it, it->mark.oid, "carries the mark of object %llu, an oid that was never given out", oid);
	else if (top(w)->holder)
		SAY(w, it, it->mark.oid, "carries the mark of object %llu, which has no row", oid);
	else if (top(w)->listed)
		SAY(w, it, it->mark.oid, "carries the mark of object %llu, which has no row although its directory is listed", oid);
}

/* Is everything on the target that the source has in this directory? */
static bool is_listed(const struct catalog_row *row)
{
	return row->state != CATALOG_FOUND && row->state != CATALOG_QUARANTINED;
}

static int judge_mark(struct walk *w, const struct item *it, bool *listed)
{
	struct catalog_row row;
	int r;

	w->s->out->marks++;
	r = catalog_get(w->s->c, it->mark.oid, &row);
	if (r == -ENOENT)
		judge_unknown(w, it);
	if (r) {
		*listed = false;
		return r == -ENOENT || r == -EUCLEAN ? 0 : r;	/* a damaged row was told */
	}
	*listed = is_listed(&row);
	judge_known(w, it, &row);
	return 0;
}

/* ---- torn stubs ---- */

/* Of an object that was being made anew (engine_retry()) under this name of this directory? */
static bool is_claimed_by(struct walk *w, const struct item *it, const struct catalog_row *row)
{
	struct catalog_row dir;
	struct target_handle h;

	return row->name_len == strlen(it->name) && !memcmp(row->name, it->name, row->name_len) &&
	       !catalog_get(w->s->c, row->parent, &dir) && state_handle(&dir, &h) &&
	       target_handle_equal(&h, &top(w)->h);
}

static bool any_claims(struct walk *w, const struct item *it, enum catalog_list list)
{
	struct catalog_pos pos = { 0 };
	struct catalog_row row;
	unsigned n;

	while (!catalog_list(w->s->c, list, &pos, &row, 1, &n) && n)
		if (state_suspect(w->s, &row) && is_claimed_by(w, it, &row))
			return true;
	return false;
}

static void judge_torn(struct walk *w, const struct item *it)
{
	if (!top(w)->listed && !top(w)->holder)
		return;
	if (any_claims(w, it, CATALOG_LIST_QUARANTINED) || any_claims(w, it, CATALOG_LIST_CONTENT) ||
	    any_claims(w, it, CATALOG_LIST_DIRS))
		return;
	SAY(w, it, it->marked ? 0 : it->mark.oid,
	    "belongs to the reserved owner, a stub that was not finished, although its directory is listed");
}

/* ---- the holder ---- */

/* Its name is the oid in 16 digits. */
static uint64_t held_oid(const char *name)
{
	char again[20], *end;
	uint64_t oid = strtoull(name, &end, 16);

	snprintf(again, sizeof again, "%016llx", (unsigned long long)oid);
	return strcmp(name, again) ? 0 : oid;
}

static int judge_held(struct walk *w, const struct item *it)
{
	uint64_t oid = held_oid(it->name);
	struct catalog_row row;
	struct target_handle h;
	int r;

	if (!oid) {
		SAY(w, it, 0, "does not belong into the holder of last names");
		return 0;
	}
	r = catalog_get(w->s->c, oid, &row);
	if (r == -ENOENT)
		SAY(w, it, oid, "the holder keeps a last name of an object that has no row");
	if (r)
		return r == -ENOENT || r == -EUCLEAN ? 0 : r;
	if (!state_handle(&row, &h) || !target_handle_equal(&h, &it->h))
		SAY(w, it, oid, "the holder keeps another inode under this object's oid");
	else if (row.state > CATALOG_QUARANTINED && row.state != CATALOG_MIGRATED && row.state != CATALOG_OVERWRITTEN)
		SAY(w, it, oid, "the holder keeps a last name of an object that is %s", state_name(row.state));
	return 0;
}

/* ---- levels ---- */

static DIR *open_level(struct walk *w, const struct level *l)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int fd = target_open_handle(w->s->t, &l->h, flags | O_NOATIME);
	DIR *d;

	if (fd < 0) {
		errno = -fd;
		return NULL;
	}
	d = fdopendir(fd);
	if (!d)
		close(fd);
	return d;
}

/* It may be closed already: the walk has been up to its child and down again. */
static void close_level(struct level *l)
{
	if (!l->d)
		return;
	l->at = telldir(l->d);
	closedir(l->d);
	l->d = NULL;
}

static int push(struct walk *w, const char *name, const struct target_handle *h, bool listed, bool holder)
{
	struct level l = { .name = strdup(name), .h = *h, .listed = listed, .holder = holder };

	if (w->n == w->room) {
		size_t room = w->room ? 2 * w->room : 64;
		void *v = reallocarray(w->v, room, sizeof *w->v);

		if (v) {
			w->v = v;
			w->room = room;
		}
	}
	if (!l.name || w->n == w->room) {
		free(l.name);
		return -ENOMEM;
	}
	l.d = open_level(w, &l);
	if (!l.d) {
		struct item it = { .name = name };

		if (errno != ENOENT && errno != ESTALE)
			SAY(w, &it, 0, "the directory cannot be opened: %s", strerrordesc_np(errno));
		free(l.name);
		return 0;
	}
	w->v[w->n++] = l;
	if (w->n > OPEN_LEVELS)
		close_level(&w->v[w->n - 1 - OPEN_LEVELS]);
	return 0;
}

static void pop(struct walk *w)
{
	struct level *l = top(w);

	if (l->d)
		closedir(l->d);
	free(l->name);
	w->n--;
}

/* The walk has come back to a directory that was closed. */
static bool reopened(struct walk *w)
{
	struct item it = { .name = "" };

	top(w)->d = open_level(w, top(w));
	if (top(w)->d) {
		seekdir(top(w)->d, top(w)->at);
		return true;
	}
	SAY(w, &it, 0, "the directory cannot be opened again: %s", strerrordesc_np(errno));
	return false;
}

/* ---- one name ---- */

/* 0: looked at; 1: nothing to say about it. */
static int look(struct walk *w, struct item *it)
{
	int r = 0;

	it->fd = openat(dirfd(top(w)->d), it->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (it->fd < 0 || fstat(it->fd, &it->st))
		r = -errno;
	if (!r && it->st.st_dev != target_dev(w->s->t))
		return 1;
	if (!r)
		r = target_handle_of(it->fd, &it->h);
	if (!r)
		it->marked = target_mark_get(w->s->t, it->fd, &it->mark);
	if (r && r != -ENOENT)
		SAY(w, it, 0, "cannot be looked at: %s", strerrordesc_np(-r));
	return !!r;
}

static bool is_holder(struct walk *w, const struct item *it)
{
	return w->n == 1 && !strcmp(it->name, TARGET_HOLDER_NAME) && S_ISDIR(it->st.st_mode);
}

static int enter_holder(struct walk *w, const struct item *it)
{
	if (w->s->phase == CATALOG_DETACHED && !w->s->foreign)
		SAY(w, it, 0, "the holder of last names is there, expected none after the end");
	if (!it->marked)
		SAY(w, it, it->mark.oid, "the holder of last names carries a mark");
	return push(w, it->name, &it->h, true, true);
}

static int judge(struct walk *w, const struct item *it)
{
	bool listed = true;	/* without a mark: complete, or an application's */
	int r = 0;

	w->s->out->inodes++;
	if (is_holder(w, it))
		return enter_holder(w, it);
	if (!it->marked)
		r = judge_mark(w, it, &listed);
	else if (it->marked == -EUCLEAN && !w->s->foreign)
		SAY(w, it, 0, "carries a mark that is damaged or of another migration");
	else if (it->marked != -ENODATA && it->marked != -EUCLEAN)
		SAY(w, it, 0, "its mark cannot be read: %s", strerrordesc_np(-it->marked));
	if (!r && target_is_torn(w->s->t, &it->st))
		judge_torn(w, it);
	if (!r && top(w)->holder)
		r = judge_held(w, it);
	if (!r && S_ISDIR(it->st.st_mode))
		r = push(w, it->name, &it->h, listed, false);
	return r;
}

static int step(struct walk *w)
{
	struct item it = { .fd = -1 };
	struct dirent *de;
	int r;

	if (!top(w)->d && !reopened(w)) {
		pop(w);
		return 0;
	}
	errno = 0;
	de = readdir(top(w)->d);
	if (!de) {
		it.name = "";
		if (errno)
			SAY(w, &it, 0, "the directory cannot be read: %s", strerrordesc_np(errno));
		pop(w);
		return 0;
	}
	if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
		return 0;
	it.name = de->d_name;
	r = look(w, &it) ? 0 : judge(w, &it);
	cleanup_close(&it.fd);
	return r;
}

int state_walk(struct state *s)
{
	struct walk w = { .s = s };
	bool listed = !s->begun || is_listed(&s->root);
	int r = push(&w, "", &s->root_handle, listed, false);

	while (!r && w.n)
		r = step(&w);
	while (w.n)
		pop(&w);
	free(w.v);
	return r;
}
