/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the files of this module share.
 *
 * A request is a self-contained record: everything its handler needs is in
 * it, so that the handler can be left when a condition does not hold yet and run again
 * from its start by another thread (engine/access.h, "Conditions").
 */
#ifndef DMM_FUSEFS_INTERNAL_H
#define DMM_FUSEFS_INTERNAL_H

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/list.h"
#include "engine/access.h"
#include "fusefs.h"
#include "ctime.h"
#include "node.h"

#define FS_FOREVER 1e9		/* seconds; "without limit of time" */
#define FS_MAX_IO (1u << 20)	/* the largest request (FACTS: 256 pages) */
#define FS_READERS 8
#define FS_RESUMERS 4
#define FS_SYNCERS 4
#define FS_OBJECTS 6

struct request;

/* What a handler returns besides -errno: the request has been answered; it is parked on the
 * engine; it waits for a lock. */
enum { DONE = 0, PARKED = ACCESS_PARKED, LOCK_WAIT = 2 };

struct op {
	const char *name;
	int (*run)(struct request *r);
	bool flushes;		/* may wait for a disk flush: runs on threads of its own */
	bool any_signal;	/* a waiter gives up on any signal, not only on a fatal one */
	bool interruptible;	/* a parked one may be answered EINTR */
	bool changes;		/* changes its node or nodes: their ctime is the application's (ctime.h) */
};

struct request {
	struct fusefs *f;
	fuse_req_t req;
	const struct op *op;
	struct access_wait wait;
	struct list link;	/* queue or list of the parked, under fusefs.park_lock */
	enum { RUNNING, WAITING, QUEUED } state;
	bool woken;		/* wake() came while the handler still ran */
	bool waited;		/* counted in fusefs.waited */
	bool interrupted;	/* a signal came; fatal or not */
	int wake_err;
	int doomed;		/* cannot be run again: answer this */
	uint64_t retry_at;	/* LOCK_WAIT: next try, clock_mono() */
	unsigned tries;

	uint64_t unique;	/* without KABI_UNIQUE_RESEND */
	bool resent;
	uid_t uid;
	gid_t gid;
	pid_t pid;
	mode_t umask;

	/* arguments */
	struct node *node, *node2;
	fuse_ino_t ino, ino2;
	uint64_t fh, fh2, owner;
	off_t off, off2;
	size_t size;
	mode_t mode;
	dev_t rdev;
	int flags;
	uint32_t kflags;	/* the kernel's flag word that libfuse does not pass on */
	bool has_fh, writepage, sleep, tmpfile;
	unsigned cmd;
	struct stat attr;
	struct flock lock;
	const char *name, *name2;
	const void *data;	/* of `size` bytes */
	void *copy;		/* owns name, name2 and data once parked */
	size_t copied;

	uint64_t changes;	/* fusefs.changes before the attributes were read */

	/* progress that survives a second run */
	bool truncated;
	bool intent;
	struct eobj *obj[FS_OBJECTS];
	bool have[FS_OBJECTS];
};

struct queue {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct list head;
	bool closed;
};

struct fusefs {
	struct target *target;
	struct engine *engine;
	char *mountpoint;
	char *fsname;
	struct fuse_session *se;
	int dev_fd;
	dev_t st_dev;		/* of the mounted file system */
	struct node_table *nodes;

	bool want_passthrough;
	atomic_bool passthrough;	/* the kernel has agreed */
	bool resend;
	bool setxattr_ext;
	uint64_t init_unique;
	uint32_t init_flags, init_flags2;	/* what the kernel offered */

	pthread_mutex_t park_lock;
	pthread_cond_t timer_cond;	/* with park_lock */
	bool timer_closed;
	struct list parked;		/* oldest first */
	struct list lock_waiters;
	uint64_t nparked;
	uint64_t source_timeout;
	uint64_t waited;		/* requests that have been parked and are not answered yet */
	size_t parked_bytes;
	struct queue resume, sync, notify;

	atomic_uint_fast64_t next_fh;
	atomic_uint_fast64_t open_slow, open_passthrough;
	atomic_uint_fast64_t changes;	/* times that DMM changed an inode beneath us */
	atomic_bool detaching, stopping, mounted;

	pthread_mutex_t life_lock;
	pthread_cond_t life_cond;
	bool inited;			/* FUSE_INIT has been answered */
	int init_err;
	unsigned readers_running;
	pthread_t *readers;
	unsigned nreaders;
	pthread_t resumer[FS_RESUMERS], syncer[FS_SYNCERS], timer, notifier;
	unsigned nresumers, nsyncers;
	bool have_timer, have_notifier;
};

/* ---- session.c: the hooks around libfuse ---- */
extern const struct fuse_custom_io session_io;
void session_init(void *userdata, struct fuse_conn_info *c);
/* A receive buffer: resident, not inherited by children. */
void *session_buffer_new(void);
void session_buffer_free(void *p);
/* Facts about the request that this thread has just read. */
void session_raw(struct request *r);
const char *session_raw_setxattr(const char **value, size_t *size);
/* Turn this thread's next OPEN/CREATE reply into one with these flags and backing id. */
void session_reply_open(uint32_t open_flags, int backing_id);

/* ---- ops.c: libfuse's table ---- */
extern const struct fuse_lowlevel_ops ops_table;

/* ---- request.c ---- */
struct request *request_new(fuse_req_t req, const struct op *op, fuse_ino_t ino);
void request_start(struct request *r);
void request_discard(struct request *r);	/* already answered */
/* The running handler does not want to wait after all for what has just returned PARKED. */
void request_abandon(struct request *r);
struct eobj *request_object(struct request *r, unsigned slot, struct node *n);
int request_fs_start(struct fusefs *f);		/* threads */
void request_fs_stop(struct fusefs *f);		/* no request is left */
void request_fail_parked(struct fusefs *f);
bool request_drained(struct fusefs *f, unsigned timeout_ms);	/* every request that ever waited is answered */
void request_kick_locks(struct fusefs *f, fuse_ino_t ino);
unsigned request_stalled(struct fusefs *f, struct fusefs_stalled *out, unsigned max);

void queue_init(struct queue *q);
void queue_destroy(struct queue *q);
void queue_put(struct queue *q, struct list *l);
struct list *queue_get(struct queue *q);	/* NULL when closed and empty */
void queue_close(struct queue *q);

/* ---- attr.c: inodes, their objects and attributes ---- */
int attr_open_node(struct fusefs *f, const struct node *n, int flags);	/* descriptor; O_PATH for most */
double attr_timeout(struct fusefs *f, const struct node *n);
int attr_stat(struct request *r, struct node *n, int fd, struct eobj *o, struct stat *st);
/* Open a child beneath a directory without following links or crossing mounts. */
int attr_open_child(int dirfd, const char *name, int flags);
/* O_PATH descriptor of a child whose name is decided: asks the engine for a name that is not there,
 * or not finished.  0, PARKED or -errno. */
int attr_find_child(struct request *r, struct eobj *dir, int dirfd, const char *name, int *fd);
bool attr_hidden(const struct fusefs *f, fuse_ino_t dir, const char *name);
/* The object of an inode that has just been found.  Fills r->obj[slot].  0, PARKED or -errno. */
int attr_object_of(struct request *r, unsigned slot, struct eobj *dir, const char *name, int fd,
		   const struct target_handle *h);
/* Make the entry for an inode known to the kernel: interns the node, raises its count. */
int attr_entry(struct request *r, int fd, const struct target_handle *h, struct eobj *o,
	       struct fuse_entry_param *e);
void attr_reply_entry(struct request *r, const struct fuse_entry_param *e);
int attr_kill_suidgid(int fd);
void attr_fd_path(char buf[32], int fd);

/* ---- operations ---- */
extern const struct op op_lookup, op_getattr, op_setattr, op_readlink;
extern const struct op op_mknod, op_mkdir, op_symlink, op_link;
extern const struct op op_unlink, op_rmdir, op_rename;
extern const struct op op_open, op_create, op_release;
extern const struct op op_read, op_write, op_fsync, op_fallocate, op_copy, op_lseek;
extern const struct op op_opendir, op_readdir, op_readdirplus, op_releasedir, op_fsyncdir;
extern const struct op op_setxattr, op_getxattr, op_listxattr, op_removexattr;
extern const struct op op_getlk, op_setlk, op_flock, op_flush, op_ioctl, op_statfs;

/* ---- name.c ---- */
/* Conditions and notices before a name is added to a directory. */
int name_before_add(struct request *r, struct eobj *dir, int dirfd, const char *name);
int name_act_as_caller(struct request *r);
void name_act_as_root(void);

/* ---- lock.c ---- */
void lock_drop_owner(struct request *r, uint64_t owner);
void lock_drop_fh(struct request *r, uint64_t fh);
void lock_drop_all(struct fusefs *f);

/* ---- notify.c ---- */
void notify_changed(void *arg, const struct target_handle *h);
void notify_renamed(void *arg, const struct target_handle *dir, const char *name);	/* access_listener */
int notify_start(struct fusefs *f);
void notify_stop(struct fusefs *f);
int notify_inval(struct fusefs *f, fuse_ino_t ino);
/* Attributes of a node new to the kernel were read while something changed: look again. */
void notify_again(struct fusefs *f, fuse_ino_t ino);
int notify_epoch(struct fusefs *f);

/* ---- holders.c ---- */
/* Only working and root directories: who would notice a detach. */
unsigned holders_inside(struct fusefs *f, struct fusefs_holder *out, unsigned max);

/* ---- mount.c ---- */
int mount_over(struct fusefs *f, struct err *e);
int mount_remove(struct fusefs *f, int flags);

#endif
