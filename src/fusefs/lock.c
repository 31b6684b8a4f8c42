/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * flock and fcntl locks, on the backing file, so that they still exclude after
 * the mount is gone.
 *
 * One open description per (node, owner, kind); the lock on it is an OFD or flock
 * lock, which belongs to the description and goes away with it.
 *
 *   POSIX lock   owner = the process's files; ends with FLUSH(owner)
 *   OFD lock     owner = the open file;       ends with RELEASE of the file handle
 *   flock        owner = the open file;       ends with RELEASE of the file handle
 *
 * Invariant: a handler only ever tries.  A lock that is taken makes the
 * request wait (LOCK_WAIT): it is tried again when something is unlocked through us and, for
 * holders outside, after a growing delay.  Any signal ends the wait.
 *
 * Left out: deadlock detection (EDEADLK), which OFD locks do not have either,
 * and first-come order between waiters.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "internal.h"

struct lock_owner {
	struct lock_owner *next;
	uint64_t owner, fh;
	bool flock;
	int fd;
	pid_t pid;		/* who locked last; for F_GETLK */
};

static int open_description(struct request *r)
{
	int fd = attr_open_node(r->f, r->node, O_RDWR);

	return fd >= 0 ? fd : attr_open_node(r->f, r->node, O_RDONLY);
}

static struct lock_owner *find(struct node *n, uint64_t owner, bool is_flock)
{
	struct lock_owner *l = n->locks;

	while (l && (l->owner != owner || l->flock != is_flock))
		l = l->next;
	return l;
}

/* The owner's description, made at need.  A descriptor that lives as long as the owner's request. */
static int description(struct request *r, bool is_flock, bool make, int *fd)
{
	pthread_mutex_t *m = node_lock(r->f->nodes, r->node);
	struct lock_owner *l, *fresh = NULL;
	int rc = 0;

	*fd = -1;
	pthread_mutex_lock(m);
	l = find(r->node, r->owner, is_flock);
	pthread_mutex_unlock(m);
	if (!l && make) {
		fresh = calloc(1, sizeof *fresh);
		if (!fresh)
			return -ENOMEM;
		*fresh = (struct lock_owner){ .owner = r->owner, .fh = r->fh, .flock = is_flock };
		fresh->fd = open_description(r);
		if (fresh->fd < 0) {
			rc = fresh->fd;
			free(fresh);
			return rc;
		}
	}
	pthread_mutex_lock(m);
	l = find(r->node, r->owner, is_flock);
	if (!l && fresh) {
		l = steal_ptr(&fresh);
		l->next = r->node->locks;
		r->node->locks = l;
	}
	if (l) {
		l->pid = r->pid;
		*fd = fcntl(l->fd, F_DUPFD_CLOEXEC, 0);	/* the same description */
		if (*fd < 0)
			rc = -errno;
	}
	pthread_mutex_unlock(m);
	if (fresh) {
		close(fresh->fd);
		free(fresh);
	}
	return rc;
}

/* Remove what matches; true when something was locked perhaps. */
static bool drop(struct fusefs *f, struct node *n, bool by_fh, uint64_t key)
{
	pthread_mutex_t *m = node_lock(f->nodes, n);
	struct lock_owner *gone = NULL, **p, *l;
	bool any;

	pthread_mutex_lock(m);
	for (p = &n->locks; (l = *p);) {
		if (by_fh ? l->fh == key : l->owner == key && !l->flock) {
			*p = l->next;
			l->next = gone;
			gone = l;
		} else {
			p = &l->next;
		}
	}
	pthread_mutex_unlock(m);
	any = gone != NULL;
	while ((l = gone)) {
		gone = l->next;
		close(l->fd);
		free(l);
	}
	return any;
}

void lock_drop_owner(struct request *r, uint64_t owner)
{
	if (drop(r->f, r->node, false, owner))
		request_kick_locks(r->f, r->ino);
}

void lock_drop_fh(struct request *r, uint64_t fh)
{
	if (drop(r->f, r->node, true, fh))
		request_kick_locks(r->f, r->ino);
}

void lock_drop_all(struct fusefs *f)
{
	uint64_t end = node_limit(f->nodes);

	for (uint64_t i = 1; i < end; i++) {
		struct node *n = node_by_id(f->nodes, i);
		struct lock_owner *l;

		while (n && (l = n->locks)) {
			n->locks = l->next;
			close(l->fd);
			free(l);
		}
	}
}

static bool taken(int e)
{
	return e == EAGAIN || e == EACCES || e == EWOULDBLOCK;
}

static int setlk_run(struct request *r)
{
	bool unlock = r->lock.l_type == F_UNLCK;
	struct flock l = r->lock;
	_cleanup_close_ int fd = -1;
	int rc = description(r, false, !unlock, &fd);

	if (rc)
		return rc;
	l.l_pid = 0;		/* as F_OFD_* demands */
	if (fd >= 0 && fcntl(fd, F_OFD_SETLK, &l))
		return taken(errno) ? (r->sleep ? LOCK_WAIT : -EAGAIN) : -errno;
	if (unlock || l.l_type == F_RDLCK)	/* also a downgrade lets others in */
		request_kick_locks(r->f, r->ino);
	if (fuse_reply_err(r->req, 0) == -ENOENT && !unlock && fd >= 0) {
		l.l_type = F_UNLCK;	/* nobody knows of the lock */
		fcntl(fd, F_OFD_SETLK, &l);
	}
	return DONE;
}

static int flock_run(struct request *r)
{
	int how = r->flags & ~LOCK_NB;
	bool unlock = how == LOCK_UN;
	_cleanup_close_ int fd = -1;
	int rc = description(r, true, !unlock, &fd);

	if (rc)
		return rc;
	if (fd >= 0 && flock(fd, how | LOCK_NB))
		return taken(errno) ? (r->flags & LOCK_NB ? -EWOULDBLOCK : LOCK_WAIT) : -errno;
	if (unlock || how == LOCK_SH)
		request_kick_locks(r->f, r->ino);
	if (fuse_reply_err(r->req, 0) == -ENOENT && !unlock && fd >= 0)
		flock(fd, LOCK_UN);
	return DONE;
}

/* Whose lock is it?  The owner from whose description it is no conflict; 0: somebody outside. */
static pid_t holder_of(struct request *r, const struct flock *found)
{
	pthread_mutex_t *m = node_lock(r->f->nodes, r->node);
	pid_t pid = 0;

	pthread_mutex_lock(m);
	for (struct lock_owner *l = r->node->locks; l && !pid; l = l->next) {
		struct flock t = *found;

		if (l->flock || l->owner == r->owner)
			continue;
		t.l_type = F_WRLCK;
		t.l_pid = 0;
		if (!fcntl(l->fd, F_OFD_GETLK, &t) && t.l_type == F_UNLCK)
			pid = l->pid;
	}
	pthread_mutex_unlock(m);
	return pid;
}

static int getlk_run(struct request *r)
{
	struct flock l = r->lock;
	_cleanup_close_ int fd = -1;
	int rc = description(r, false, false, &fd);

	if (!rc && fd < 0)
		rc = (fd = open_description(r)) < 0 ? fd : 0;
	if (rc)
		return rc;
	l.l_pid = 0;
	if (fcntl(fd, F_OFD_GETLK, &l))
		return -errno;
	if (l.l_type != F_UNLCK)
		l.l_pid = l.l_pid > 0 ? l.l_pid : holder_of(r, &l);
	fuse_reply_lock(r->req, &l);
	return DONE;
}

static int flush_run(struct request *r)
{
	lock_drop_owner(r, r->owner);
	fuse_reply_err(r->req, 0);
	return DONE;
}

const struct op op_getlk = { .name = "getlk", .run = getlk_run };
const struct op op_setlk = { .name = "setlk", .run = setlk_run, .any_signal = true };
const struct op op_flock = { .name = "flock", .run = flock_run, .any_signal = true };
const struct op op_flush = { .name = "flush", .run = flush_run };
