/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The two hooks between libfuse and /dev/fuse.
 *
 * Every request passes session_io.read before libfuse sees it, every reply
 * session_io.writev after libfuse has built it.  That is how libfuse 3.14 learns of
 * what is younger than itself:
 *   - FUSE_INIT is answered with passthrough, resend, direct-I/O mmap, killpriv v2
 *     and extended setxattr, each only when the kernel offered it;
 *   - OPEN and CREATE replies get their flags and backing id;
 *   - TMPFILE, which has the form of CREATE, is handed to libfuse as CREATE;
 *   - flag words that libfuse drops are kept for the handler (struct raw);
 *   - the resend bit of an id is kept apart from the id.
 *
 * Invariant: what a thread keeps between the hooks belongs to the request that this
 * thread has read last and is copied into its record before the thread reads again; a
 * pending open reply is consumed by the very next reply of the same thread.
 *
 * The receive buffer is made resident before the kernel first writes to it (FACTS:
 * a fatal signal in between would fail that request) and stays out of forked children.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "base/log.h"
#include "internal.h"
#include "kabi.h"

/* The largest request and its headers; the kernel asks for no more than max_write allows. */
#define SESSION_BUFFER (FS_MAX_IO + (64u << 10))

struct raw {
	uint64_t unique;
	bool resent, tmpfile;
	uint32_t kflags;
	const char *xname, *xvalue;
	size_t xsize;
	uint32_t open_flags;	/* pending open reply */
	int backing_id;
	bool open_pending;
};

static __thread struct raw raw;

/* Pages of their own: MADV_DONTFORK on the heap's would leave holes in a child's heap. */
void *session_buffer_new(void)
{
	void *p = mmap(NULL, SESSION_BUFFER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
		       -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	madvise(p, SESSION_BUFFER, MADV_DONTFORK);
	return p;
}

void session_buffer_free(void *p)
{
	if (p)
		munmap(p, SESSION_BUFFER);
}

/* name, value and size of a SETXATTR, whichever of its two headers the kernel uses */
static void note_setxattr(struct fusefs *f, const char *arg, size_t n)
{
	const struct fuse_setxattr_in *in = (const void *)arg;
	size_t head = f->setxattr_ext ? 16 : 8, len;

	raw.xname = NULL;
	if (n < head + 2)
		return;
	len = strnlen(arg + head, n - head);
	if (head + len + 1 + in->size > n)
		return;
	raw.xname = arg + head;
	raw.xvalue = raw.xname + len + 1;
	raw.xsize = in->size;
	raw.kflags = f->setxattr_ext ? ((const uint32_t *)(const void *)arg)[2] : 0;
}

static void note_init(struct fusefs *f, const char *arg, size_t n)
{
	const uint32_t *w = (const void *)arg;

	f->init_unique = raw.unique;
	f->init_flags = n >= 16 ? w[3] : 0;
	f->init_flags2 = n >= 20 && f->init_flags & KABI_INIT_EXT ? w[4] : 0;
}

static void note(struct fusefs *f, struct fuse_in_header *h, size_t n)
{
	char *arg = (char *)(h + 1);
	size_t len = n - sizeof *h;

	raw.resent = (h->unique & KABI_UNIQUE_RESEND) != 0;
	raw.unique = h->unique & ~KABI_UNIQUE_RESEND;
	raw.kflags = 0;
	raw.tmpfile = h->opcode == FUSE_TMPFILE;
	switch (h->opcode) {
	case FUSE_TMPFILE:
		h->opcode = FUSE_CREATE;
		__attribute__((fallthrough));
	case FUSE_CREATE:
		if (len >= sizeof(struct fuse_create_in))
			raw.kflags = ((struct fuse_create_in *)(void *)arg)->open_flags;
		break;
	case FUSE_OPEN:
		if (len >= sizeof(struct fuse_open_in))
			raw.kflags = ((struct fuse_open_in *)(void *)arg)->open_flags;
		break;
	case FUSE_WRITE:
		if (len >= sizeof(struct fuse_write_in))
			raw.kflags = ((struct fuse_write_in *)(void *)arg)->write_flags;
		break;
	case FUSE_SETXATTR:
		note_setxattr(f, arg, len);
		break;
	case FUSE_INIT:
		note_init(f, arg, len);
		break;
	default:
		break;
	}
}

static ssize_t hook_read(int fd, void *buf, size_t n, void *userdata)
{
	ssize_t r;

	if (n > SESSION_BUFFER)
		n = SESSION_BUFFER;
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	r = read(fd, buf, n);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	if (r < 0 && (errno == ECONNABORTED || errno == ENOTCONN))
		errno = ENODEV;		/* libfuse ends the session quietly on this one */
	if (r >= (ssize_t)sizeof(struct fuse_in_header))
		note(userdata, buf, (size_t)r);
	return r;
}

static void complete_init(struct fusefs *f, struct iovec *v)
{
	uint32_t *o = v->iov_base;
	uint32_t want = KABI_DIRECT_IO_ALLOW_MMAP | KABI_HAS_RESEND;

	if (v->iov_len < sizeof(uint32_t) * (KABI_INIT_OUT_STACK + 1) || !(f->init_flags & KABI_INIT_EXT))
		return;
	if (f->want_passthrough)
		want |= KABI_PASSTHROUGH;
	want &= f->init_flags2;
	o[KABI_INIT_OUT_FLAGS] |= KABI_INIT_EXT |
		(f->init_flags & (KABI_HANDLE_KILLPRIV_V2 | KABI_SETXATTR_EXT));
	o[KABI_INIT_OUT_FLAGS2] |= want;
	o[KABI_INIT_OUT_STACK] = want & KABI_PASSTHROUGH ? 1 : 0;
	f->passthrough = (want & KABI_PASSTHROUGH) != 0;
	f->resend = (want & KABI_HAS_RESEND) != 0;
	f->setxattr_ext = (f->init_flags & KABI_SETXATTR_EXT) != 0;
}

static void complete_open(struct iovec *iov, int n)
{
	struct fuse_open_out *o;
	struct iovec *v = &iov[n - 1];

	raw.open_pending = false;
	if (n < 2 || v->iov_len < sizeof *o)
		return;		/* an error reply */
	o = (void *)((char *)v->iov_base + v->iov_len - sizeof *o);
	o->open_flags = raw.open_flags;
	o->padding = (uint32_t)raw.backing_id;
}

static ssize_t hook_writev(int fd, struct iovec *iov, int n, void *userdata)
{
	struct fusefs *f = userdata;
	struct fuse_out_header *h = iov[0].iov_base;
	bool init = f->init_unique && h->unique == f->init_unique;
	ssize_t r;

	if (init && n >= 2 && !h->error)
		complete_init(f, &iov[1]);
	else if (raw.open_pending && h->unique)
		complete_open(iov, n);
	r = writev(fd, iov, n);
	if (r < 0 && (errno == ENODEV || errno == ENOTCONN || errno == EPERM))
		errno = ENOENT;		/* the connection is gone: nobody waits for this reply */
	if (init) {
		int err = h->error ? h->error : r < 0 ? -errno : 0;

		f->init_unique = 0;
		pthread_mutex_lock(&f->life_lock);
		f->inited = true;
		f->init_err = err;
		pthread_cond_broadcast(&f->life_cond);
		pthread_mutex_unlock(&f->life_lock);
	}
	return r;
}

const struct fuse_custom_io session_io = { .read = hook_read, .writev = hook_writev };

void session_raw(struct request *r)
{
	r->unique = raw.unique;
	r->resent = raw.resent;
	r->kflags = raw.kflags;
	r->tmpfile = raw.tmpfile;
}

const char *session_raw_setxattr(const char **value, size_t *size)
{
	*value = raw.xvalue;
	*size = raw.xsize;
	return raw.xname;
}

void session_reply_open(uint32_t open_flags, int backing_id)
{
	raw.open_pending = true;
	raw.open_flags = open_flags;
	raw.backing_id = backing_id;
}

void session_init(void *userdata, struct fuse_conn_info *c)
{
	static const unsigned wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS |
		FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_DONT_MASK | FUSE_CAP_IOCTL_DIR |
		FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
		FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_POSIX_ACL | FUSE_CAP_CACHE_SYMLINKS;

	(void)userdata;
	c->want = wanted & c->capable;
	c->max_write = FS_MAX_IO;
	c->max_read = FS_MAX_IO;	/* as in the session's options: libfuse compares */
	c->max_background = 65535;	/* a hundred stalled readers must not delay a stat (DESIGN §4) */
	c->congestion_threshold = 65535;
}
