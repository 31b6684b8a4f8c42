/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * unlink and rmdir, and what rename does to the inode it replaces.
 *
 * Rules kept: D3(a), the record of the object is durable before its name goes;
 * D5, the intent is durable before the last name goes, an object that may have
 * undiscovered names on the source is renamed into the holder instead, and
 * emptiness of a directory is judged only after it is listed.  Every intent gets its result,
 * also when the act fails.
 */
#include "remove.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/point.h"

int remove_open(struct request *r, unsigned slot, struct eobj *dir, int pfd, const char *name, struct victim *v)
{
	int rc;

	memset(v, 0, sizeof *v);
	v->fd = -1;
	rc = attr_find_child(r, dir, pfd, name, &v->fd);
	if (rc)
		return rc;
	if (fstatat(v->fd, "", &v->st, AT_EMPTY_PATH))
		return -errno;
	rc = target_handle_of(v->fd, &v->handle);
	if (!rc)
		rc = attr_object_of(r, slot, dir, name, v->fd, &v->handle);
	if (!rc) {
		v->o = r->obj[slot];
		rc = access_need_claim(dir, name, v->o, &r->wait);
	}
	return rc;
}

/* Something besides "." and ".."? */
static int is_empty(const struct victim *v)
{
	int fd = openat(v->fd, ".", O_RDONLY | O_DIRECTORY | O_NOATIME | O_CLOEXEC);
	_cleanup_closedir_ DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;
	int rc = d ? 0 : -errno;

	if (!d && fd >= 0)
		close(fd);
	while (!rc && (de = readdir(d)))
		if (strcmp(de->d_name, ".") && strcmp(de->d_name, ".."))
			rc = -ENOTEMPTY;
	return rc;
}

/* An act that will fail must not have changed the parent's times before (D6). */
int remove_must_be_empty(struct request *r, struct victim *v)
{
	int rc = POINT_STEP("rule.emptiness") == POINT_SKIP ? 0 : access_need_listed(v->o, &r->wait);

	return rc ? rc : is_empty(v);
}

int remove_conditions(struct request *r, struct victim *v, bool dir)
{
	int rc = dir ? remove_must_be_empty(r, v) : 0;

	if (rc || !v->o)
		return rc;
	if (!dir && v->st.st_nlink > 1)
		return access_need_record(v->o, &r->wait);
	rc = access_need_intent(v->o, &r->wait);
	if (!rc)
		r->intent = true;
	return rc;
}

int remove_hide(struct victim *v, int pfd, const char *name)
{
	int rc;

	if (!v->o || S_ISDIR(v->st.st_mode) || !access_must_hide(v->o, v->st.st_nlink))
		return 0;
	rc = access_hide(v->o, pfd, name);
	return rc ? rc : 1;
}

void remove_done(struct request *r, struct victim *v, bool removed, bool hidden)
{
	bool last = S_ISDIR(v->st.st_mode) || v->st.st_nlink <= 1;

	if (v->o && (removed || r->intent))
		access_deleted(v->o, removed && last && !hidden);
	r->intent = false;
}

static int remove_run(struct request *r, bool dir)
{
	struct eobj *parent = request_object(r, 0, r->node);
	_cleanup_close_ int pfd = attr_open_node(r->f, r->node, O_PATH), vfd = -1;
	struct victim v;
	int rc, hidden = 0;

	if (pfd < 0)
		return pfd;
	if (attr_hidden(r->f, r->ino, r->name))
		return -ENOENT;
	rc = remove_open(r, 1, parent, pfd, r->name, &v);
	vfd = v.fd;
	if (!rc && dir != S_ISDIR(v.st.st_mode))
		rc = dir ? -ENOTDIR : -EISDIR;
	if (!rc)
		rc = remove_conditions(r, &v, dir);
	if (!rc && parent)
		rc = access_times_taken(parent, pfd, NULL);
	if (rc)
		return rc;
	ctime_touched_handle(r->f, &v.handle);	/* its other names' inode */
	if (!dir)
		hidden = remove_hide(&v, pfd, r->name);
	POINT("delete.ready");
	if (!hidden && unlinkat(pfd, r->name, dir ? AT_REMOVEDIR : 0))
		rc = -errno;
	if (hidden < 0)
		rc = hidden;
	POINT("delete.unlinked");
	remove_done(r, &v, !rc, hidden > 0);
	if (rc)
		return rc;
	fuse_reply_err(r->req, 0);
	return DONE;
}

static int unlink_run(struct request *r)
{
	return remove_run(r, false);
}

static int rmdir_run(struct request *r)
{
	return remove_run(r, true);
}

const struct op op_unlink = { .name = "unlink", .run = unlink_run, .interruptible = true, .changes = true };
const struct op op_rmdir = { .name = "rmdir", .run = rmdir_run, .interruptible = true, .changes = true };
