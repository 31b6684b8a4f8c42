/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * check-state: does the catalog agree with itself, and with the target?
 *
 * A worker may be killed, and the power cut, at any instruction; whatever that leaves is right
 * and must pass (doc/crash-safety.md has the windows).  Everything else is a
 * problem.  The rules, and what a kill may leave between two steps:
 *
 *  S1 stamps       running: catalog <= target <= catalog + 1.  Detached: no mark, no stamp, no holder, nothing
 *                  of the reserved owner.  Detaching: steps between the two, in their order.
 *  S2 root         its handle is that of its row; while running it carries the mark of oid 1, and mode 0000 as soon as
 *                  anything else was recorded.
 *  S3 marks        name a row with this very handle that is found, cleaning or quarantined.  Or no row at all: a stub that is
 *                  not recorded yet, only in directories that are not listed.  Its oid was reserved.
 *  S4 torn stubs   (of the reserved owner) are only in directories that are not listed, or belong to an object that is
 *                  being accepted anew.
 *  S5 found        the inode is there, of the row's type, and carries the mark with its oid.  An unlink is preceded by its
 *                  intent, so a missing inode without one is a problem.  Without an application's change (the mark
 *                  tells) the size is the one promised.
 *  S6 cleaning     the inode may be gone (an application's delete of something complete leaves no record), and the mark
 *                  with it.  If both are there they are its own.
 *  S7 quarantined  the reason may be that the inode or its mark is not there; a retry may have been killed between any
 *                  two steps.  So only what is there is compared.  A found object that has a reason was quarantined
 *                  before, and nothing has been decided since.
 *  S8 terminal     no mark names the object.  Deleted: its inode has no name.
 *  S9 holder       entries are named by the oid of an object that has a row and is not deleted or given up, and are its inode.
 *
 * Each inode is looked at by handle or by one name in an open directory; no link is followed, nothing is changed.  Memory
 * grows with the depth of the tree only.
 *
 * What cannot be told and is not tried: whether bytes below a recorded range are the source's (that is
 * verify), and whether a name an application has moved or removed is where it should be.
 */
#include "state.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void state_say(struct state *s, uint64_t oid, const char *fmt, ...)
{
	char text[STATE_PATH + 512];
	struct audit_problem p = { .oid = oid, .text = text };
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 127)
			*c = '?';
	s->out->problems++;
	s->problem(s->arg, &p);
}

bool state_handle(const struct catalog_row *row, struct target_handle *h)
{
	memset(h, 0, sizeof *h);
	if (row->handle_len < 3 || row->handle[0] > TARGET_HANDLE_MAX || row->handle[0] + 2 != row->handle_len)
		return false;
	h->len = row->handle[0];
	h->type = row->handle[1];
	memcpy(h->data, row->handle + 2, h->len);
	return true;
}

bool state_same_type(const struct catalog_row *row, mode_t mode)
{
	static const mode_t type[] = {
		[CATALOG_REG] = S_IFREG, [CATALOG_DIR] = S_IFDIR, [CATALOG_LNK] = S_IFLNK, [CATALOG_BLK] = S_IFBLK,
		[CATALOG_CHR] = S_IFCHR, [CATALOG_FIFO] = S_IFIFO, [CATALOG_SOCK] = S_IFSOCK,
	};

	return row->type < sizeof type / sizeof *type && type[row->type] == (mode & S_IFMT);
}

bool state_suspect(struct state *s, const struct catalog_row *row)
{
	char text[8];
	int code;

	return row->state == CATALOG_QUARANTINED ||
	       (row->state == CATALOG_FOUND && !catalog_reason_get(s->c, row->oid, &code, text, sizeof text));
}

const char *state_name(enum catalog_state state)
{
	static const char *const names[CATALOG_STATE_COUNT] = {
		[CATALOG_FOUND] = "found", [CATALOG_CLEANING] = "complete", [CATALOG_QUARANTINED] = "quarantined",
		[CATALOG_MIGRATED] = "migrated", [CATALOG_OVERWRITTEN] = "overwritten",
		[CATALOG_DELETED] = "deleted", [CATALOG_SHADOWED] = "shadowed",
		[CATALOG_EXCLUDED] = "excluded", [CATALOG_FAILED] = "given up",
	};

	return (unsigned)state < CATALOG_STATE_COUNT && names[state] ? names[state] : "in no state";
}

/* What the catalog says of itself, with the path where there is one. */
static void on_catalog(void *arg, uint64_t oid, const char *text)
{
	struct state *s = arg;

	if (oid && !audit_path(s->c, oid, s->path, sizeof s->path))
		state_say(s, oid, "catalog: object %llu (/%s): %s", (unsigned long long)oid, s->path, text);
	else if (oid)
		state_say(s, oid, "catalog: object %llu: %s", (unsigned long long)oid, text);
	else
		state_say(s, 0, "catalog: %s", text);
}

/* ---- the root ---- */

static void check_stamp(struct state *s)
{
	uint64_t here = 0, there = 0;
	size_t n = sizeof here;
	int rc = catalog_meta_get(s->c, "stamp", &here, &n);
	int rt = target_stamp_get(s->t, &there);

	if (rc || n != sizeof here) {
		state_say(s, 0, "the catalog lacks the stamp of the last group");
		return;
	}
	if (rt == -ENODATA && s->phase != CATALOG_RUNNING)
		return;
	if (rt)
		state_say(s, 0, "the target's root lacks the stamp: expected %llu or %llu: %s", (unsigned long long)here,
			  (unsigned long long)here + 1, strerrordesc_np(-rt));
	else if (there < here || there > here + 1)
		state_say(s, 0, "the target's stamp is %llu, the catalog's %llu: expected the same or one more",
			  (unsigned long long)there, (unsigned long long)here);
}

static void check_root_mark(struct state *s)
{
	struct target_mark m;
	int r = target_mark_get(s->t, target_root_fd(s->t), &m);

	if (!r)
		s->out->marks++;
	if (r == -ENODATA && (s->phase != CATALOG_RUNNING || !s->begun))
		return;
	if (r)
		state_say(s, CATALOG_ROOT_OID, "the target's root: expected the mark of object 1: %s",
			  r == -ENODATA ? "there is none" : "it is damaged or of another migration");
	else if (m.oid != CATALOG_ROOT_OID)
		state_say(s, CATALOG_ROOT_OID, "the target's root carries the mark of object %llu, expected object 1",
			  (unsigned long long)m.oid);
}

static void check_root_row(struct state *s)
{
	struct target_handle h;
	struct stat st;
	uint32_t mode;
	size_t n = sizeof mode;

	if (!state_handle(&s->root, &h) || !target_handle_equal(&h, &s->root_handle))
		state_say(s, CATALOG_ROOT_OID, "the target directory is another one than the migration's: its handle differs");
	if (catalog_meta_get(s->c, "root_mode", &mode, &n) || n != sizeof mode)
		state_say(s, CATALOG_ROOT_OID, "the catalog lacks the mode of the root");
	if (fstat(target_root_fd(s->t), &st))
		return;
	if (s->phase == CATALOG_RUNNING && s->out->rows > 1 && st.st_mode & 07777)
		state_say(s, CATALOG_ROOT_OID, "the target's root has mode %04o, expected 0000 while the migration runs",
			  st.st_mode & 07777);
	if (target_is_torn(s->t, &st))
		state_say(s, CATALOG_ROOT_OID, "the target's root belongs to the reserved owner");
}

/* Nothing may be left; unless it is another migration's. */
static void check_plain_root(struct state *s)
{
	struct target_mark m;
	uint64_t stamp;
	int mark = target_mark_get(s->t, target_root_fd(s->t), &m);
	int r = target_stamp_get(s->t, &stamp);

	s->foreign = mark == -EUCLEAN && r == -EUCLEAN;
	if (s->foreign)
		return;
	if (mark != -ENODATA)
		state_say(s, CATALOG_ROOT_OID, "the target's root carries a mark, expected none after the end");
	if (r != -ENODATA)
		state_say(s, CATALOG_ROOT_OID, "the target's root carries a stamp, expected none after the end");
}

static void check_root(struct state *s)
{
	if (s->phase == CATALOG_DETACHED) {
		check_plain_root(s);
		return;
	}
	check_root_mark(s);
	if (s->begun) {
		check_root_row(s);
		check_stamp(s);
	}
}

/* ---- all ---- */

static int check_target(struct state *s, struct err *e)
{
	int r = target_handle_of(target_root_fd(s->t), &s->root_handle);

	if (r)
		return err_sys(e, r, "the target directory cannot be looked at");
	r = state_rows(s);
	if (r)
		return err_sys(e, r, "the catalog cannot be read");
	check_root(s);
	r = state_walk(s);
	return r ? err_sys(e, r, "the target directory cannot be read") : 0;
}

static int check(struct state *s, struct err *e)
{
	int r = catalog_check(s->c, on_catalog, s);

	if (r)
		return err_sys(e, r, "the catalog cannot be read");
	r = catalog_get(s->c, CATALOG_ROOT_OID, &s->root);
	if (r && r != -ENOENT && r != -EUCLEAN)
		return err_sys(e, r, "the catalog cannot be read");
	s->begun = !r;
	return s->t ? check_target(s, e) : 0;
}

int audit_state(struct catalog *c, struct target *t, void (*problem)(void *arg, const struct audit_problem *p),
		void *arg, struct audit_state *out, struct err *e)
{
	struct state *s = calloc(1, sizeof *s);
	int r;

	memset(out, 0, sizeof *out);
	if (!s)
		return err_sys(e, ENOMEM, "check-state");
	*s = (struct state){ .c = c, .t = t, .problem = problem, .arg = arg, .out = out, .phase = catalog_phase(c) };
	r = t || s->phase == CATALOG_DETACHED ? check(s, e) :
	    err_set(e, EINVAL, "the target directory is needed: the migration has not ended");
	free(s);
	return r;
}
