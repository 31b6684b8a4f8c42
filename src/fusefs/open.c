/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The mode of an open inode.  FACTS has the kernel's rules; they allow this:
 *
 *   inode is        open of a complete file        open of an incomplete file
 *   -------------   ----------------------------   -------------------------------------
 *   not open        PASSTHROUGH                    access_open_mode(): WHOLE holds the open
 *                                                  until the content is here (and durably
 *                                                  recorded, for writing), then PASSTHROUGH;
 *                                                  SLOW -> SLOW
 *   PASSTHROUGH     PASSTHROUGH                    as WHOLE: reads are native already
 *   SLOW            SLOW                           SLOW
 *   PLAIN           PLAIN                          as WHOLE, then PLAIN
 *
 *   PASSTHROUGH  the kernel reads and writes the backing file itself
 *   SLOW         direct I/O, mmap allowed: every range is asked for
 *   PLAIN        instead of PASSTHROUGH where the kernel or the target cannot do it
 *
 * Invariants, under node_lock():
 *   - at most one of the three counts is not 0: mixing them fails opens with EIO
 *     or, worse, lets mmap read holes;
 *   - one backing id per inode, made with its first PASSTHROUGH open and
 *     closed with the last: a second id fails with EIO;
 *   - whole content is a one-way condition, so an inode that is
 *     open in PASSTHROUGH can never need SLOW.
 *
 * The backing file is opened read-only whatever the application wants: the kernel
 * opens a file of its own per application open, with the application's flags, and
 * a writable one of ours would make an executable busy (ETXTBSY).  The id is
 * made without CAP_FSETID, because the kernel writes with the rights of its maker:
 * a write must clear setuid.  (It then does so for root's writes too, which POSIX allows.)
 */
#include "open.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/point.h"
#include "kabi.h"

static int without_fsetid(int dev_fd, struct kabi_backing_map *m)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct was[_LINUX_CAPABILITY_U32S_3], d[_LINUX_CAPABILITY_U32S_3];
	int id, e;

	if (syscall(SYS_capget, &h, was))
		return -errno;
	memcpy(d, was, sizeof d);
	d[CAP_FSETID / 32].effective &= ~(1u << (CAP_FSETID % 32));
	if (syscall(SYS_capset, &h, d))
		return -errno;
	id = ioctl(dev_fd, KABI_DEV_IOC_BACKING_OPEN, m);
	e = errno;
	if (syscall(SYS_capset, &h, was))
		return -errno;
	return id > 0 ? id : id < 0 ? -e : -EIO;
}

static int backing_open(struct fusefs *f, const struct node *n, int *id)
{
	_cleanup_close_ int fd = attr_open_node(f, n, O_RDONLY);
	struct kabi_backing_map m = { .fd = fd };

	if (fd < 0)
		return fd;
	*id = without_fsetid(f->dev_fd, &m);
	return *id < 0 ? *id : 0;
}

static void backing_close(struct fusefs *f, struct opens *o)
{
	uint32_t id = (uint32_t)o->backing_id;

	o->backing_id = 0;
	if (id)
		ioctl(f->dev_fd, KABI_DEV_IOC_BACKING_CLOSE, &id);
}

static void opens_free(struct fusefs *f, struct node *n)
{
	struct opens *o = n->opens;

	backing_close(f, o);
	if (o->rfd >= 0)
		close(o->rfd);
	if (o->wfd >= 0)
		close(o->wfd);
	pthread_mutex_destroy(&o->dir_lock);
	free(o);
	n->opens = NULL;
}

static bool unused(const struct opens *o)
{
	for (int k = 0; k <= OPEN_DIR; k++)
		if (o->count[k])
			return false;
	return true;
}

static int opens_get(struct node *n)
{
	struct opens *o = n->opens;

	if (o)
		return 0;
	o = calloc(1, sizeof *o);
	if (!o)
		return -ENOMEM;
	o->rfd = o->wfd = -1;
	pthread_mutex_init(&o->dir_lock, NULL);
	n->opens = o;
	return 0;
}

/* A descriptor of our own, once per inode and direction. */
static int keep_fd(struct fusefs *f, struct node *n, bool write, int *fd)
{
	struct opens *o = n->opens;
	int *slot = write ? &o->wfd : &o->rfd;

	if (*slot >= 0)
		return 0;
	if (*fd >= 0 && write) {
		fcntl(*fd, F_SETFL, 0);		/* no O_APPEND: positions come from the kernel */
		*slot = steal_fd(fd);
		return 0;
	}
	*slot = attr_open_node(f, n, write ? O_RDWR : O_RDONLY);
	return *slot < 0 ? *slot : 0;
}

/* node_lock held, nothing of the inode is open in passthrough yet. */
static void first_passthrough(struct fusefs *f, struct node *n, enum open_kind *kind)
{
	int rc = backing_open(f, n, &n->opens->backing_id);

	if (!rc)
		return;
	n->opens->backing_id = 0;
	*kind = OPEN_PLAIN;
	log_debug("passthrough of one file is not possible: %s", strerror(-rc));
}

static int grant_locked(struct fusefs *f, struct node *n, enum open_kind *kind, bool write, bool whole, int *fd,
			int *backing_id)
{
	struct opens *o = n->opens;

	if (*kind != OPEN_DIR) {
		if (o->count[OPEN_SLOW])
			*kind = OPEN_SLOW;
		else if ((o->count[OPEN_PASSTHROUGH] || o->count[OPEN_PLAIN]) && !whole)
			return -EAGAIN;
		else if (o->count[OPEN_PASSTHROUGH])
			*kind = OPEN_PASSTHROUGH;
		else if (o->count[OPEN_PLAIN])
			*kind = OPEN_PLAIN;
		else if (*kind == OPEN_PASSTHROUGH)
			first_passthrough(f, n, kind);
	}
	*backing_id = o->backing_id;
	if (*kind == OPEN_PASSTHROUGH)
		return 0;
	if (*kind == OPEN_SLOW)
		n->flags |= NODE_SLOW;
	/* one descriptor serves both directions once somebody may write */
	if (o->wfd >= 0)
		return 0;
	return keep_fd(f, n, write, fd);
}

int open_grant(struct fusefs *f, struct node *n, enum open_kind *kind, bool write, bool whole, int fd,
	       int *backing_id, uint64_t *fh)
{
	pthread_mutex_t *m = node_lock(f->nodes, n);
	int rc;

	pthread_mutex_lock(m);
	rc = opens_get(n);
	if (!rc) {
		rc = grant_locked(f, n, kind, write, whole, &fd, backing_id);
		if (!rc) {
			n->opens->count[*kind]++;
			if (*kind == OPEN_PASSTHROUGH && write)
				n->flags |= NODE_WRITTEN;
		} else if (unused(n->opens)) {
			opens_free(f, n);
		}
	}
	pthread_mutex_unlock(m);
	if (rc)
		return rc;
	if (fd >= 0)
		close(fd);
	if (*kind == OPEN_SLOW)
		f->open_slow++;
	else if (*kind == OPEN_PASSTHROUGH)
		f->open_passthrough++;
	*fh = ++f->next_fh << 3 | *kind;
	return 0;
}

void open_release(struct fusefs *f, struct node *n, uint64_t fh)
{
	pthread_mutex_t *m = node_lock(f->nodes, n);
	enum open_kind k = open_kind(fh);
	bool known = false;

	pthread_mutex_lock(m);
	if (n->opens && k <= OPEN_DIR && n->opens->count[k]) {
		known = true;
		if (!--n->opens->count[k] && k == OPEN_PASSTHROUGH)
			backing_close(f, n->opens);
		if (unused(n->opens))
			opens_free(f, n);
	}
	pthread_mutex_unlock(m);
	if (known && k == OPEN_SLOW)
		f->open_slow--;
	else if (known && k == OPEN_PASSTHROUGH)
		f->open_passthrough--;
}

void open_close_all(struct fusefs *f)
{
	uint64_t end = node_limit(f->nodes);

	for (uint64_t i = 1; i < end; i++) {
		struct node *n = node_by_id(f->nodes, i);

		if (n && n->opens)
			opens_free(f, n);
	}
}

int open_io_fd(struct request *r, struct node *n, bool write, bool *own)
{
	pthread_mutex_t *m = node_lock(r->f->nodes, n);
	int fd = -1;

	pthread_mutex_lock(m);
	if (n->opens)
		fd = write || n->opens->rfd < 0 ? n->opens->wfd : n->opens->rfd;
	pthread_mutex_unlock(m);
	*own = fd < 0;
	return fd >= 0 ? fd : attr_open_node(r->f, n, write ? O_RDWR : O_RDONLY);
}

/* ---- OPEN ---- */

static int truncate_now(struct request *r, struct eobj *o)
{
	_cleanup_close_ int fd = attr_open_node(r->f, r->node, O_WRONLY);
	int rc = fd < 0 ? fd : 0;

	if (!rc && o)
		rc = access_times_taken(o, fd, NULL);
	ctime_touched(r->f, r->node);
	if (!rc && ftruncate(fd, 0))
		rc = -errno;
	POINT("truncate.done");
	if (!rc && o)
		rc = access_truncated(o, fd, 0);
	if (!rc && r->kflags & FUSE_OPEN_KILL_SUIDGID)
		rc = attr_kill_suidgid(fd);
	return rc;
}

/* O_TRUNC, once per request (D3b). */
static int open_truncate(struct request *r, struct eobj *o)
{
	int rc;

	if (r->truncated)
		return 0;
	rc = access_need_record(o, &r->wait);
	if (!rc && o)
		rc = access_change_begin(o, &r->wait);
	if (rc)
		return rc;
	rc = truncate_now(r, o);
	if (o)
		access_change_end(o);
	r->truncated = !rc;
	return rc;
}

/* Does the rule at the top of this file ask for the whole content? */
static bool wants_whole(struct request *r, struct eobj *o)
{
	pthread_mutex_t *m = node_lock(r->f->nodes, r->node);
	bool slow = false, native = false;

	pthread_mutex_lock(m);
	if (r->node->opens) {
		slow = r->node->opens->count[OPEN_SLOW];
		native = r->node->opens->count[OPEN_PASSTHROUGH] || r->node->opens->count[OPEN_PLAIN];
	}
	pthread_mutex_unlock(m);
	if (slow || native)
		return native;
	/* lsattr, file(1) and the like only look: O_NONBLOCK on a regular file says so */
	if ((r->flags & (O_ACCMODE | O_NONBLOCK)) == (O_RDONLY | O_NONBLOCK) && !access_content_here(o))
		return false;
	return access_open_mode(o, r->flags & KABI_OPEN_EXEC) == ACCESS_WHOLE;
}

static int open_conditions(struct request *r, struct eobj *o, bool write, bool *whole)
{
	int rc;

	*whole = !o || wants_whole(r, o);
	if (!o || !*whole)
		return 0;
	rc = write ? access_need_content_recorded(o, &r->wait) : access_need_content(o, &r->wait);
	return rc;
}

static uint32_t reply_flags(const struct node *n, enum open_kind k)
{
	if (k == OPEN_PASSTHROUGH)
		return KABI_FOPEN_PASSTHROUGH;	/* never with KEEP_CACHE: EIO */
	if (k == OPEN_SLOW)
		return FOPEN_DIRECT_IO;
	return n->flags & NODE_SLOW ? 0 : FOPEN_KEEP_CACHE;
}

static enum open_kind native_kind(const struct fusefs *f)
{
	return f->passthrough ? OPEN_PASSTHROUGH : OPEN_PLAIN;
}

/* Only now: cached attributes from before must not outlive the first write mapping. */
static void first_written(struct request *r, bool before)
{
	if (!before && r->node->flags & NODE_WRITTEN)
		notify_inval(r->f, r->ino);
}

static int open_run(struct request *r)
{
	struct eobj *o = request_object(r, 0, r->node);
	bool write = (r->flags & O_ACCMODE) != O_RDONLY, written = r->node->flags & NODE_WRITTEN, whole;
	struct fuse_file_info fi = { .flags = r->flags };
	enum open_kind kind;
	_cleanup_close_ int fd = -1;
	int rc, backing_id = 0;

	if (write) {	/* as the caller would be refused natively: read-only, immutable, busy */
		fd = attr_open_node(r->f, r->node, O_RDWR | (r->flags & O_APPEND));
		if (fd < 0)
			return fd;
	}
	if (r->flags & O_TRUNC) {
		rc = open_truncate(r, o);
		if (rc)
			return rc;
	}
	do {
		rc = open_conditions(r, o, write, &whole);
		if (rc)
			return rc;
		kind = whole ? native_kind(r->f) : OPEN_SLOW;
		rc = open_grant(r->f, r->node, &kind, write, whole, fd, &backing_id, &fi.fh);
	} while (rc == -EAGAIN);
	if (rc)
		return rc;
	fd = -1;
	first_written(r, written);
	session_reply_open(reply_flags(r->node, kind), kind == OPEN_PASSTHROUGH ? backing_id : 0);
	if (fuse_reply_open(r->req, &fi) == -ENOENT)
		open_release(r->f, r->node, fi.fh);
	return DONE;
}

const struct op op_open = { .name = "open", .run = open_run, .interruptible = true };

static int release_run(struct request *r)
{
	lock_drop_fh(r, r->fh);
	open_release(r->f, r->node, r->fh);
	fuse_reply_err(r->req, 0);
	return DONE;
}

const struct op op_release = { .name = "release", .run = release_run };
const struct op op_releasedir = { .name = "releasedir", .run = release_run };

/* ---- CREATE and TMPFILE ---- */

/* 0 and the descriptor, PARKED, or -errno */
static int create_file(struct request *r, struct eobj *dir, int pfd, int *out)
{
	int fd, rc;

	if (!r->tmpfile) {
		rc = name_before_add(r, dir, pfd, r->name);
		if (rc)
			return rc;
	}
	rc = name_act_as_caller(r);
	if (rc)
		return rc;
	fd = r->tmpfile ? openat(pfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC | (r->flags & O_EXCL), r->mode & 07777)
			: openat(pfd, r->name, O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC, r->mode & 07777);
	rc = fd < 0 ? -errno : 0;
	*out = fd;
	name_act_as_root();
	/* It exists after all: the kernel looks again, checks permissions and opens. */
	return rc == -EEXIST && !(r->flags & O_EXCL) ? -ESTALE : rc;
}

static int create_run(struct request *r)
{
	struct eobj *dir = request_object(r, 0, r->node);
	_cleanup_close_ int pfd = attr_open_node(r->f, r->node, O_PATH), fd = -1;
	struct fuse_file_info fi = { .flags = r->flags };
	struct fuse_entry_param e;
	struct target_handle h;
	enum open_kind kind = native_kind(r->f);
	bool write = (r->flags & O_ACCMODE) != O_RDONLY;
	struct node *n;
	int rc, backing_id = 0;

	if (pfd < 0)
		return pfd;
	if (!r->tmpfile && attr_hidden(r->f, r->ino, r->name))
		return -EPERM;
	rc = create_file(r, dir, pfd, &fd);
	if (rc)
		return rc;
	rc = target_handle_of(fd, &h);
	if (!rc)
		rc = attr_entry(r, fd, &h, NULL, &e);
	if (rc)
		return rc;
	n = node_by_id(r->f->nodes, e.ino);
	rc = open_grant(r->f, n, &kind, write, true, fd, &backing_id, &fi.fh);
	if (rc) {
		node_forget(r->f->nodes, e.ino, 1);
		return rc;
	}
	fd = -1;
	e.attr_timeout = attr_timeout(r->f, n);
	session_reply_open(reply_flags(n, kind), kind == OPEN_PASSTHROUGH ? backing_id : 0);
	if (fuse_reply_create(r->req, &e, &fi) == -ENOENT) {
		open_release(r->f, n, fi.fh);
		node_forget(r->f->nodes, e.ino, 1);
	}
	return DONE;
}

const struct op op_create = { .name = "create", .run = create_run, .interruptible = true, .changes = true };
