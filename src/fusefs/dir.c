/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Directories: opendir, readdir, readdirplus.
 *
 * A directory's positions are the target's own d_off values, so the only state
 * is one descriptor per open inode: readers that alternate seek it.  What the kernel
 * caches of a listing it throws away itself when a name changes through the
 * mount; DMM adds names only before the directory is listed, and until then
 * nothing is cached (CACHE_DIR).
 *
 * An entry that readdirplus cannot attach at once (its object must be adopted
 * first, which asks the source) is given without attributes; a lookup asks later.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "internal.h"
#include "kabi.h"
#include "open.h"

struct dent64 {			/* linux_dirent64 */
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

static int opendir_run(struct request *r)
{
	struct eobj *o = request_object(r, 0, r->node);
	struct fuse_file_info fi = { .flags = r->flags };
	enum open_kind kind = OPEN_DIR;
	uint32_t flags = 0;
	int id, rc;

	rc = open_grant(r->f, r->node, &kind, false, true, -1, &id, &fi.fh);
	if (rc)
		return rc;
	if (o)
		access_visited(o);
	if ((!o || access_listed(o)) && !r->f->detaching)
		flags = FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE;
	session_reply_open(flags, 0);
	if (fuse_reply_open(r->req, &fi) == -ENOENT)
		open_release(r->f, r->node, fi.fh);
	return DONE;
}

const struct op op_opendir = { .name = "opendir", .run = opendir_run };

/* Without a wait of its own request: -EAGAIN when it would park. */
static int attach_now(struct request *r, struct eobj *dir, int pfd, const char *name, struct fuse_entry_param *e)
{
	_cleanup_close_ int fd = attr_open_child(pfd, name, O_PATH);
	struct target_handle h;
	int rc = fd < 0 ? fd : target_handle_of(fd, &h);

	if (rc)
		return rc;
	r->have[1] = false;
	rc = attr_object_of(r, 1, dir, name, fd, &h);
	if (rc == PARKED)
		return -EAGAIN;
	if (!rc)
		rc = attr_entry(r, fd, &h, r->obj[1], e);
	access_put(r->obj[1]);
	r->obj[1] = NULL;
	r->have[1] = false;
	return rc;
}

struct filling {
	char *buf;
	size_t used, size;
	bool plus;
	bool parked;		/* r->wait is with the engine: no further attach */
	uint64_t changes;	/* fusefs.changes before the first attributes */
	fuse_ino_t *ino;	/* nodes that the reply introduces */
	size_t nino, max_ino;
};

/* Returns false when the entry does not fit. */
static bool add(struct request *r, struct filling *g, struct eobj *dir, int pfd, const struct dent64 *d)
{
	bool dots = !strcmp(d->name, ".") || !strcmp(d->name, "..");
	struct fuse_entry_param e = { .attr = { .st_ino = d->ino, .st_mode = (mode_t)d->type << 12 } };
	size_t room = g->size - g->used, n;

	if (!g->plus) {
		n = fuse_add_direntry(r->req, g->buf + g->used, room, d->name, &e.attr, d->off);
	} else {
		/* ask for the size before the lookup is counted */
		n = fuse_add_direntry_plus(r->req, NULL, 0, d->name, &e, d->off);
		if (n > room)
			return false;
		if (!dots && !g->parked) {
			int rc = attach_now(r, dir, pfd, d->name, &e);

			if (!rc && g->nino < g->max_ino)
				g->ino[g->nino++] = e.ino;
			if (rc == -EAGAIN)
				g->parked = true;
			if (rc)
				e = (struct fuse_entry_param){ .attr = { .st_ino = d->ino,
									 .st_mode = (mode_t)d->type << 12 } };
		}
		n = fuse_add_direntry_plus(r->req, g->buf + g->used, room, d->name, &e, d->off);
	}
	if (n > room)
		return false;
	g->used += n;
	return true;
}

static int fill(struct request *r, struct filling *g, struct eobj *dir, int fd)
{
	char raw[8192] __attribute__((aligned(8)));
	off_t pos = r->off;

	for (;;) {
		long n;

		if (lseek(fd, pos, SEEK_SET) < 0)
			return -errno;
		n = syscall(SYS_getdents64, fd, raw, sizeof raw);
		if (n < 0)
			return errno == ENOENT ? 0 : -errno;	/* deleted: empty */
		if (n == 0)
			return 0;
		for (long i = 0; i < n;) {
			const struct dent64 *d = (const void *)(raw + i);

			if (!attr_hidden(r->f, r->ino, d->name) && !add(r, g, dir, fd, d))
				return g->used ? 0 : -EINVAL;
			i += d->reclen;
			pos = d->off;
		}
		if (g->used > g->size / 2)
			return 0;
	}
}

static int readdir_locked(struct request *r, struct filling *g, struct eobj *dir)
{
	struct opens *o;
	int rc;

	pthread_mutex_lock(node_lock(r->f->nodes, r->node));
	o = r->node->opens;
	pthread_mutex_unlock(node_lock(r->f->nodes, r->node));
	if (!o || o->rfd < 0)
		return -EBADF;
	pthread_mutex_lock(&o->dir_lock);
	rc = fill(r, g, dir, o->rfd);
	pthread_mutex_unlock(&o->dir_lock);
	return rc;
}

static void reply(struct request *r, struct filling *g)
{
	bool gone = fuse_reply_buf(r->req, g->buf, g->used) == -ENOENT;

	for (size_t i = 0; i < g->nino; i++)
		if (gone)
			node_forget(r->f->nodes, g->ino[i], 1);
		else if (g->changes != r->f->changes)
			notify_again(r->f, g->ino[i]);
}

static int list(struct request *r, bool plus)
{
	struct eobj *dir = request_object(r, 0, r->node);
	struct filling g = { .size = r->size < FS_MAX_IO ? r->size : FS_MAX_IO, .plus = plus };
	_cleanup_free_ char *buf = NULL;
	_cleanup_free_ fuse_ino_t *ino = NULL;
	int rc = dir ? access_need_listed(dir, &r->wait) : 0;

	if (rc)
		return rc;
	g.changes = r->f->changes;
	g.max_ino = plus ? g.size / sizeof(struct fuse_direntplus) : 0;
	g.buf = buf = malloc(g.size);
	g.ino = ino = malloc((g.max_ino + 1) * sizeof *ino);
	if (!buf || !ino)
		return -ENOMEM;
	rc = readdir_locked(r, &g, dir);
	if (g.parked)
		request_abandon(r);
	if (rc)
		return rc;
	reply(r, &g);
	return DONE;
}

static int readdir_run(struct request *r)
{
	return list(r, false);
}

static int readdirplus_run(struct request *r)
{
	return list(r, true);
}

const struct op op_readdir = { .name = "readdir", .run = readdir_run, .interruptible = true };
const struct op op_readdirplus = { .name = "readdirplus", .run = readdirplus_run, .interruptible = true };
