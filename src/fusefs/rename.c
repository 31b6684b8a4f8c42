/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * rename, with RENAME_NOREPLACE and RENAME_EXCHANGE.
 *
 * Identity travels with the inode (D1), so the move itself needs nothing of
 * DMM.  Rules kept: D3(a), records of what moves and of both directories are durable first, and
 * both names are decided; D5, the inode that loses its name is treated as
 * by unlink: when it must be hidden it goes into the holder first and the
 * move follows into a free name with NOREPLACE, so that nothing is replaced unseen.
 * A crash in between leaves the new name missing, never the old object lost.
 *
 * RENAME_WHITEOUT is refused: a whiteout is a device node that the source
 * does not have.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/point.h"

#include "internal.h"
#include "remove.h"

struct move {
	int pfd, npfd;
	struct eobj *dir, *ndir;
	struct victim from, to;		/* to.fd < 0: the new name is free */
	bool exchange;
};

enum { SLOT_DIR, SLOT_NDIR, SLOT_FROM, SLOT_TO };

static int open_both(struct request *r, struct move *m)
{
	int rc;

	m->dir = request_object(r, SLOT_DIR, r->node);
	m->ndir = request_object(r, SLOT_NDIR, r->node2);
	m->pfd = attr_open_node(r->f, r->node, O_PATH);
	if (m->pfd < 0)
		return m->pfd;
	m->npfd = attr_open_node(r->f, r->node2, O_PATH);
	if (m->npfd < 0)
		return m->npfd;
	rc = remove_open(r, SLOT_FROM, m->dir, m->pfd, r->name, &m->from);
	if (rc)
		return rc;
	rc = remove_open(r, SLOT_TO, m->ndir, m->npfd, r->name2, &m->to);
	return rc == -ENOENT && !m->exchange ? 0 : rc;
}

static int conditions(struct request *r, struct move *m)
{
	bool replaces = m->to.fd >= 0 && !m->exchange && !(r->flags & RENAME_NOREPLACE) &&
			S_ISDIR(m->from.st.st_mode) == S_ISDIR(m->to.st.st_mode);
	int rc = m->from.o ? access_need_record(m->from.o, &r->wait) : 0;

	/* what will be refused must not have changed anybody's times before (D6) */
	if (!rc && m->to.fd >= 0 && !m->exchange && r->flags & RENAME_NOREPLACE)
		rc = -EEXIST;
	if (!rc && replaces && S_ISDIR(m->to.st.st_mode))
		rc = remove_must_be_empty(r, &m->to);
	if (!rc && m->dir)
		rc = access_need_record(m->dir, &r->wait);
	if (!rc)
		rc = name_before_add(r, m->ndir, m->npfd, r->name2);
	if (!rc && m->exchange && m->to.o)
		rc = access_need_record(m->to.o, &r->wait);
	if (!rc && replaces)
		rc = remove_conditions(r, &m->to, S_ISDIR(m->to.st.st_mode));
	if (!rc && m->dir)
		rc = access_times_taken(m->dir, m->pfd, NULL);
	return rc;
}

static int act(struct request *r, struct move *m, bool replaces)
{
	unsigned flags = (unsigned)r->flags;
	int hidden = 0, rc;

	if (replaces && !S_ISDIR(m->from.st.st_mode))
		hidden = remove_hide(&m->to, m->npfd, r->name2);
	if (hidden < 0) {
		remove_done(r, &m->to, false, false);
		return hidden;
	}
	ctime_touched_handle(r->f, &m->from.handle);
	if (m->to.fd >= 0)
		ctime_touched_handle(r->f, &m->to.handle);
	if (hidden)
		flags |= RENAME_NOREPLACE;
	POINT("rename.ready");
	rc = renameat2(m->pfd, r->name, m->npfd, r->name2, flags) ? -errno : 0;
	POINT("rename.done");
	if (replaces)
		remove_done(r, &m->to, hidden || !rc, hidden);
	return rc;
}

static int move(struct request *r, struct move *m)
{
	bool same, replaces;
	int rc = open_both(r, m);

	if (rc)
		return rc;
	/* two names of one inode: rename(2) does nothing */
	same = m->to.fd >= 0 && target_handle_equal(&m->from.handle, &m->to.handle);
	rc = same ? 0 : conditions(r, m);
	if (rc)
		return rc;
	replaces = m->to.fd >= 0 && !same && !m->exchange && !(r->flags & RENAME_NOREPLACE) &&
		   S_ISDIR(m->from.st.st_mode) == S_ISDIR(m->to.st.st_mode);
	return act(r, m, replaces);
}

/* We look before the target's file system does; its own answer differs. */
static int not_empty(const struct fusefs *f)
{
	struct statfs s;

	return !fstatfs(target_root_fd(f->target), &s) && s.f_type == XFS_SUPER_MAGIC ? -EEXIST : -ENOTEMPTY;
}

static int rename_run(struct request *r)
{
	struct move m = { .pfd = -1, .npfd = -1, .from.fd = -1, .to.fd = -1 };
	int rc;

	if (r->flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	if (attr_hidden(r->f, r->ino2, r->name2))
		return -EPERM;
	if (attr_hidden(r->f, r->ino, r->name))
		return -ENOENT;
	m.exchange = r->flags & RENAME_EXCHANGE;
	rc = move(r, &m);
	if (rc == -ENOTEMPTY)
		rc = not_empty(r->f);
	cleanup_close(&m.pfd);
	cleanup_close(&m.npfd);
	cleanup_close(&m.from.fd);
	cleanup_close(&m.to.fd);
	if (rc)
		return rc;
	fuse_reply_err(r->req, 0);
	return DONE;
}

const struct op op_rename = { .name = "rename", .run = rename_run, .interruptible = true, .changes = true };
