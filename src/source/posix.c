/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The posix back end: an already mounted tree, by plain system calls.
 *
 * Each lane has a queue and threads of its own, so a demand request never
 * waits for a background one; a thread executes one request at a time with
 * blocking calls and answers from its own buffer.  Only regular files and
 * directories are ever opened for reading (the handle knows its type); all
 * else is looked at through O_PATH.
 *
 * A hanging file system below (a dead NFS mount) holds the threads, as it
 * holds any program; close() then waits too.
 */
#include "posix.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "backends.h"
#include "base/cleanup.h"
#include "check.h"

static const unsigned threads_of[2] = { [SOURCE_DEMAND] = 8, [SOURCE_BACKGROUND] = 4 };
#define THREADS 12

struct lane {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct list queue;
	bool closing;
};

struct posix;

struct worker {
	struct posix *p;
	enum source_lane lane;
	pthread_t thread;
	struct posix_buffer buffer;
};

struct posix {
	struct source base;
	int root_fd;
	struct posix_handles *handles;
	struct lane lanes[2];
	struct worker workers[THREADS];
	unsigned running;	/* how many of workers have a thread */
	_Atomic uint64_t requests[2], bytes[2];
};

static struct source_time when(const struct statx_timestamp *t)
{
	return (struct source_time){ t->tv_sec, t->tv_nsec };
}

static enum source_type type_of(unsigned mode)
{
	static const enum source_type types[16] = {
		[S_IFREG >> 12] = SOURCE_REG, [S_IFDIR >> 12] = SOURCE_DIR,
		[S_IFLNK >> 12] = SOURCE_LNK, [S_IFBLK >> 12] = SOURCE_BLK,
		[S_IFCHR >> 12] = SOURCE_CHR, [S_IFIFO >> 12] = SOURCE_FIFO,
		[S_IFSOCK >> 12] = SOURCE_SOCK,
	};

	return types[(mode & S_IFMT) >> 12];
}

void posix_attr(const struct statx *st, struct source_attr *a)
{
	*a = (struct source_attr){
		.type = type_of(st->stx_mode),
		.mode = st->stx_mode & 07777,
		.uid = st->stx_uid,
		.gid = st->stx_gid,
		.nlink = st->stx_nlink,
		.rdev_major = st->stx_rdev_major,
		.rdev_minor = st->stx_rdev_minor,
		.size = st->stx_size,
		.used = st->stx_blocks * 512,
		.fsid = (uint64_t)st->stx_dev_major << 32 | st->stx_dev_minor,
		.fileid = st->stx_ino,
		.atime = when(&st->stx_atime),
		.mtime = when(&st->stx_mtime),
		.ctime = when(&st->stx_ctime),
	};
}

/* Attributes of an open object into the reply. */
static int put_attr(struct source_req *req, int fd, struct statx *st)
{
	if (statx(fd, "", AT_EMPTY_PATH, POSIX_STATX, st))
		return -errno;
	posix_attr(st, &req->attr);
	req->has_attr = true;
	return check_attr(&req->attr);
}

static int do_getattr(struct worker *w, struct source_req *req)
{
	_cleanup_close_ int fd = posix_handle_open(w->p->handles, &req->fh, O_PATH);
	struct statx st;

	return fd < 0 ? fd : put_attr(req, fd, &st);
}

static int do_lookup(struct worker *w, struct source_req *req)
{
	_cleanup_close_ int dir = -1;
	_cleanup_close_ int fd = -1;
	struct statx st;
	int r;

	if (posix_handle_type(&req->fh) != SOURCE_DIR)
		return posix_handle_type(&req->fh) ? -ENOTDIR : -ESTALE;
	dir = posix_handle_open(w->p->handles, &req->fh, O_PATH | O_DIRECTORY);
	if (dir < 0)
		return dir;
	fd = openat(dir, req->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = put_attr(req, fd, &st);
	return r ? r : posix_handle_make(w->p->handles, fd, &st, &req->fh, req->name, &req->out_fh);
}

static int do_readdir(struct worker *w, struct source_req *req)
{
	if (posix_handle_type(&req->fh) != SOURCE_DIR)
		return posix_handle_type(&req->fh) ? -ENOTDIR : -ESTALE;
	return posix_list(w->p->handles, &w->buffer, req);
}

static int do_readlink(struct worker *w, struct source_req *req)
{
	_cleanup_close_ int fd = posix_handle_open(w->p->handles, &req->fh, O_PATH);
	struct statx st;
	ssize_t n;
	int r;

	if (fd < 0)
		return fd;
	r = put_attr(req, fd, &st);
	if (r)
		return r;
	if (req->attr.type != SOURCE_LNK)
		return -EINVAL;
	n = readlinkat(fd, "", w->buffer.data, SOURCE_LINK_MAX + 1);
	if (n < 0)
		return -errno;
	if (n == 0 || n > SOURCE_LINK_MAX)
		return -EPROTO;
	req->data = w->buffer.data;
	req->out_length = (uint32_t)n;
	return 0;
}

/* Until length, the end of the file or an error; an error after some bytes is a short read. */
static ssize_t read_some(int fd, char *buf, size_t length, uint64_t offset)
{
	size_t done = 0;

	while (done < length) {
		ssize_t n = pread(fd, buf + done, length - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && done == 0)
			return -errno;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static int do_read(struct worker *w, struct source_req *req)
{
	uint32_t length = req->length < POSIX_READ_MAX ? req->length : POSIX_READ_MAX;
	enum source_type type = posix_handle_type(&req->fh);
	_cleanup_close_ int fd = -1;
	struct statx st;
	ssize_t n;
	int r;

	if (!type)
		return -ESTALE;
	if (type != SOURCE_REG)
		return type == SOURCE_DIR ? -EISDIR : -EINVAL;
	fd = posix_handle_open(w->p->handles, &req->fh, O_RDONLY | O_NONBLOCK | O_NOATIME);
	if (fd < 0)
		return fd;
	n = read_some(fd, w->buffer.data, length, req->offset);
	if (n < 0)
		return (int)n;
	r = put_attr(req, fd, &st);
	if (r)
		return r;
	req->data = w->buffer.data;
	req->out_length = (uint32_t)n;
	req->eof = req->offset + (uint64_t)n >= req->attr.size;
	if (n == 0 && !req->eof)
		return -EIO;
	atomic_fetch_add(&w->p->bytes[req->lane], (uint64_t)n);
	return 0;
}

static int do_statfs(struct worker *w, struct source_req *req)
{
	_cleanup_close_ int fd = posix_handle_open(w->p->handles, &req->fh, O_PATH);
	struct statfs s;

	if (fd < 0)
		return fd;
	if (fstatfs(fd, &s))
		return -errno;
	req->fs = (struct source_fs){
		.bytes_used = (uint64_t)s.f_frsize * (s.f_blocks - s.f_bfree),
		.bytes_total = (uint64_t)s.f_frsize * s.f_blocks,
		.files_used = s.f_files - s.f_ffree,
	};
	return 0;
}

static int execute(struct worker *w, struct source_req *req)
{
	switch (req->op) {
	case SOURCE_GETATTR:
		return do_getattr(w, req);
	case SOURCE_LOOKUP:
		return do_lookup(w, req);
	case SOURCE_READDIR:
		return do_readdir(w, req);
	case SOURCE_READLINK:
		return do_readlink(w, req);
	case SOURCE_READ:
		return do_read(w, req);
	case SOURCE_STATFS:
		return do_statfs(w, req);
	}
	return -EINVAL;
}

/* The next request, or NULL: the thread shall end.  *closing: cancel, do not execute. */
static struct source_req *next(struct lane *l, bool *closing)
{
	struct list *n;

	pthread_mutex_lock(&l->lock);
	while (list_empty(&l->queue) && !l->closing)
		pthread_cond_wait(&l->wake, &l->lock);
	n = list_pop(&l->queue);
	*closing = l->closing;
	pthread_mutex_unlock(&l->lock);
	return n ? check_from_link(n) : NULL;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct source_req *req;
	bool closing;

	while ((req = next(&w->p->lanes[w->lane], &closing))) {
		int r = closing ? -ECANCELED : execute(w, req);

		atomic_fetch_add(&w->p->requests[w->lane], 1);
		check_finish(req, r);
	}
	return NULL;
}

static void posix_submit(struct source *s, struct source_req *req)
{
	struct lane *l = &((struct posix *)s)->lanes[req->lane];

	pthread_mutex_lock(&l->lock);
	list_append(&l->queue, check_link(req));
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->lock);
}

static void posix_limits(struct source *s, struct source_limits *out)
{
	(void)s;
	*out = (struct source_limits){
		.read_max = POSIX_READ_MAX,
		.depth = threads_of[SOURCE_BACKGROUND] * 2,
		.time_nsec = true,
	};
}

static void posix_stats(struct source *s, struct source_stats *out)
{
	struct posix *p = (struct posix *)s;
	int i;

	for (i = 0; i < 2; i++) {
		out->requests[i] = atomic_load(&p->requests[i]);
		out->bytes[i] = atomic_load(&p->bytes[i]);
	}
	out->connected = true;
}

static void posix_close(struct source *s)
{
	struct posix *p = (struct posix *)s;
	unsigned i;

	for (i = 0; i < 2; i++) {
		pthread_mutex_lock(&p->lanes[i].lock);
		p->lanes[i].closing = true;
		pthread_cond_broadcast(&p->lanes[i].wake);
		pthread_mutex_unlock(&p->lanes[i].lock);
	}
	for (i = 0; i < p->running; i++)
		pthread_join(p->workers[i].thread, NULL);
	for (i = 0; i < THREADS; i++) {
		free(p->workers[i].buffer.data);
		free(p->workers[i].buffer.entries);
	}
	posix_handles_free(p->handles);
	if (p->root_fd >= 0)
		close(p->root_fd);
	free(p);
}

static const struct source_ops posix_ops = {
	.name = "posix",
	.submit = posix_submit,
	.limits = posix_limits,
	.stats = posix_stats,
	.close = posix_close,
};

static int start_worker(struct posix *p, unsigned i)
{
	struct worker *w = &p->workers[i];
	int r;

	w->p = p;
	w->lane = i < threads_of[SOURCE_DEMAND] ? SOURCE_DEMAND : SOURCE_BACKGROUND;
	w->buffer.data = malloc(POSIX_READ_MAX);
	w->buffer.entries = calloc(POSIX_PAGE, sizeof *w->buffer.entries);
	if (!w->buffer.data || !w->buffer.entries)
		return -ENOMEM;
	r = pthread_create(&w->thread, NULL, work, w);
	if (!r)
		p->running++;
	return -r;
}

static int find_root(struct posix *p, const char *path, struct err *e)
{
	struct statx st;
	int r;

	p->root_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (p->root_fd < 0 || statx(p->root_fd, "", AT_EMPTY_PATH, POSIX_STATX, &st))
		return err_sys(e, errno, "cannot open the directory");
	posix_attr(&st, &p->base.root_attr);
	r = posix_handles_new(&p->handles);
	if (!r)
		r = posix_handle_make(p->handles, p->root_fd, &st, NULL, "", &p->base.root);
	if (r)
		return err_sys(e, r, "cannot identify the directory");
	return check_attr(&p->base.root_attr) ? err_set(e, EPROTO, "the directory has no sane attributes") : 0;
}

int posix_source_open(const struct url *u, struct source **out, struct err *e)
{
	struct posix *p = calloc(1, sizeof *p);
	unsigned i;
	int r;

	if (!p)
		return err_sys(e, ENOMEM, "cannot open");
	p->base.ops = &posix_ops;
	p->root_fd = -1;
	for (i = 0; i < 2; i++) {
		pthread_mutex_init(&p->lanes[i].lock, NULL);
		pthread_cond_init(&p->lanes[i].wake, NULL);
		list_init(&p->lanes[i].queue);
	}
	r = find_root(p, u->path, e);
	for (i = 0; !r && i < THREADS; i++) {
		r = start_worker(p, i);
		if (r)
			err_sys(e, r, "cannot start a thread");
	}
	if (r) {
		posix_close(&p->base);
		return r;
	}
	*out = &p->base;
	return 0;
}
