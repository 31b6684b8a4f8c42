/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From each row to its inode, by handle: rules S5 to S8 of state.c.
 *
 * An inode that is open somewhere but has no name counts as gone: that is what it will be.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "state.h"

enum { PAGE_ROWS = 64 };

static const char *path_of(struct state *s, uint64_t oid)
{
	if (audit_path(s->c, oid, s->path, sizeof s->path))
		strcpy(s->path, "?");
	return s->path;
}

#define SAY(s, row, fmt, ...) state_say(s, (row)->oid, "/%s (object %llu, %s): " fmt, path_of(s, (row)->oid), \
					(unsigned long long)(row)->oid, state_name((row)->state), ##__VA_ARGS__)

/* Its descriptor; -ESTALE: gone. */
static int open_inode(struct state *s, const struct catalog_row *row, struct stat *st)
{
	struct target_handle h;
	int fd;

	if (!state_handle(row, &h))
		return -ENODATA;
	fd = target_open_handle(s->t, &h, O_PATH);
	if (fd >= 0 && (fstat(fd, st) || !st->st_nlink)) {
		cleanup_close(&fd);
		return -ESTALE;
	}
	return fd;
}

static void missing(struct state *s, const struct catalog_row *row, bool suspect)
{
	if (row->state == CATALOG_CLEANING || suspect || row->flags & CATALOG_F_INTENT_DELETE)
		return;
	SAY(s, row, "its inode is gone from the target, expected it there: no delete was announced");
}

static void check_mark(struct state *s, const struct catalog_row *row, int fd, const struct stat *st, bool suspect)
{
	struct target_mark m;
	int r = target_mark_get(s->t, fd, &m);

	if (suspect)
		return;
	if (r == -ENODATA && row->state == CATALOG_FOUND) {
		SAY(s, row, "its inode carries no mark, expected its own");
	} else if (r && r != -ENODATA) {
		SAY(s, row, "its inode's mark cannot be read, or is damaged or of another migration: %s",
		    strerrordesc_np(-r));
	} else if (!r && m.oid != row->oid) {
		SAY(s, row, "its inode carries the mark of object %llu", (unsigned long long)m.oid);
	} else if (!r && row->state == CATALOG_FOUND && row->type == CATALOG_REG && !(m.flags & TARGET_MARK_TIMES) &&
		   (uint64_t)st->st_size != row->size) {
		SAY(s, row, "its stub has %llu bytes, expected %llu: no application has changed it",
		    (unsigned long long)st->st_size, (unsigned long long)row->size);
	}
}

static void check_waiting(struct state *s, const struct catalog_row *row)
{
	bool suspect = state_suspect(s, row);
	_cleanup_close_ int fd = -1;
	struct stat st;

	fd = open_inode(s, row, &st);
	if (fd == -ENODATA) {
		if (row->handle_len || !suspect)
			SAY(s, row, "the row has no handle of an inode");
	} else if (fd == -ESTALE) {
		missing(s, row, suspect);
	} else if (fd < 0) {
		SAY(s, row, "its inode cannot be opened: %s", strerrordesc_np(-fd));
	} else if (!state_same_type(row, st.st_mode)) {
		SAY(s, row, "its inode is of another type (mode %07o), expected type %u", st.st_mode, row->type);
	} else {
		if (target_is_torn(s->t, &st))
			SAY(s, row, "its inode belongs to the reserved owner, expected a stub that is finished");
		check_mark(s, row, fd, &st, suspect);
	}
}

static void check_deleted(struct state *s, const struct catalog_row *row)
{
	_cleanup_close_ int fd = -1;
	struct stat st;

	fd = open_inode(s, row, &st);
	if (fd >= 0)
		SAY(s, row, "its inode is on the target and has a name, expected it gone");
}

static void check_row(struct state *s, const struct catalog_row *row)
{
	s->out->rows++;
	if (row->type == CATALOG_HARDLINK || row->oid == CATALOG_ROOT_OID || s->phase == CATALOG_DETACHED)
		return;
	if (row->state <= CATALOG_QUARANTINED)
		check_waiting(s, row);
	else if (row->state == CATALOG_DELETED)
		check_deleted(s, row);
}

int state_rows(struct state *s)
{
	struct catalog_row *rows = calloc(PAGE_ROWS, sizeof *rows);
	uint64_t oid = 0, last;
	unsigned n = 0;
	int r;

	if (!rows)
		return -ENOMEM;
	do {
		last = oid;
		r = catalog_walk(s->c, &oid, rows, PAGE_ROWS, &n);
		for (unsigned i = 0; !r && i < n; i++)
			check_row(s, &rows[i]);
		if (r == -EUCLEAN)	/* told by catalog_check() */
			r = 0;
	} while (!r && oid != last);
	free(rows);
	return r;
}
