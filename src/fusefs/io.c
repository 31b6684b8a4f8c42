/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Data: read, write, fsync, fallocate, copy_file_range, lseek.
 *
 * Passthrough reads and writes do not come here.  What comes is executed on the
 * target with a descriptor of our own.
 *
 * Rules kept, for incomplete files: a range is read only when it is
 * here; D3(b), it is changed only after it is durably recorded as resident; D6, times
 * are announced before and a data sync acts as a full one.
 *
 * Write-back of mmap pages (writepage) goes the same way and never waits for
 * the network: a page that is dirty was read first, so its range is here and only the
 * record can be missing.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/point.h"

#include "internal.h"
#include "kabi.h"
#include "open.h"

#define COPY_MAX ((size_t)16 << 20)	/* one request must not keep a reader for long */

/* A thread's reply buffer: made once, freed with the thread. */
static void buffer_free(void *p)
{
	munmap(p, FS_MAX_IO);
}

struct buffer_key {
	pthread_key_t key;
	int err;
};
static pthread_once_t buffer_once = PTHREAD_ONCE_INIT;
static struct buffer_key buffer_key;	/* written once */

static void buffer_init(void)
{
	buffer_key.err = pthread_key_create(&buffer_key.key, buffer_free);
}

static char *buffer(void)
{
	char *b;

	pthread_once(&buffer_once, buffer_init);
	if (buffer_key.err)
		return NULL;
	b = pthread_getspecific(buffer_key.key);
	if (b)
		return b;
	b = mmap(NULL, FS_MAX_IO, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (b == MAP_FAILED)
		return NULL;
	madvise(b, FS_MAX_IO, MADV_DONTFORK);
	if (pthread_setspecific(buffer_key.key, b)) {
		munmap(b, FS_MAX_IO);
		return NULL;
	}
	return b;
}

/* Is [off, off+*len), clipped to the file, readable? */
static int need_range(struct request *r, struct eobj *o, int fd, off_t off, size_t *len)
{
	struct stat st;
	uint64_t end;

	if (!o)
		return 0;
	if (fstat(fd, &st))
		return -errno;
	if (off >= st.st_size)
		return 0;
	end = (uint64_t)off + *len;
	if (end > (uint64_t)st.st_size)
		end = (uint64_t)st.st_size;
	*len = end - (uint64_t)off;
	return access_need_range(o, (uint64_t)off, *len, &r->wait);
}

/* Everything that must hold before [off, off+len) of a file is changed. */
static int need_change(struct request *r, struct eobj *o, int fd, off_t off, uint64_t len)
{
	int rc;

	if (!o)
		return 0;
	/* the range first: one commit then records both */
	rc = access_need_range_recorded(o, (uint64_t)off, len, &r->wait);
	if (!rc)
		rc = access_need_record(o, &r->wait);
	if (!rc)
		rc = access_times_taken(o, fd, NULL);
	return rc;
}

static void put_fd(int fd, bool own)
{
	if (own && fd >= 0)
		close(fd);
}

/* ---- READ ---- */

static int read_fd(struct request *r, int fd)
{
	struct eobj *o = request_object(r, 0, r->node);
	size_t want = r->size < FS_MAX_IO ? r->size : FS_MAX_IO, got = 0;
	char *b = buffer();
	uint64_t n;
	int rc;

	if (!b)
		return -ENOMEM;
	n = access_around_take(&r->wait, b);
	if (n) {
		fuse_reply_buf(r->req, b, n);
		return DONE;
	}
	rc = need_range(r, o, fd, r->off, &want);
	if (rc == -ENOSPC)	/* no room to land it: past the target */
		rc = access_read_around(o, (uint64_t)r->off, want, &r->wait);
	if (rc)
		return rc;
	while (got < want) {
		ssize_t k = pread(fd, b + got, want - got, r->off + (off_t)got);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0 && !got)
			return -errno;
		if (k <= 0)
			break;
		got += (size_t)k;
	}
	fuse_reply_buf(r->req, b, got);
	return DONE;
}

static int read_run(struct request *r)
{
	bool own;
	int fd = open_io_fd(r, r->node, false, &own), rc;

	rc = fd < 0 ? fd : read_fd(r, fd);
	put_fd(fd, own);
	return rc;
}

const struct op op_read = { .name = "read", .run = read_run, .interruptible = true };

/* ---- WRITE ---- */

static ssize_t write_all(struct request *r, int fd)
{
	size_t done = 0;

	while (done < r->size) {
		ssize_t k = pwrite(fd, (const char *)r->data + done, r->size - done, r->off + (off_t)done);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0 && !done)
			return -errno;
		if (k <= 0)
			break;
		done += (size_t)k;
	}
	return (ssize_t)done;
}

/* O_SYNC and O_DSYNC are the application's; our descriptor has neither. */
static int sync_as_opened(struct request *r, struct eobj *o, int fd)
{
	if (r->writepage || !(r->flags & O_DSYNC) || open_kind(r->fh) != OPEN_SLOW)
		return 0;
	if ((r->flags & O_SYNC) == O_SYNC || (o && access_fdatasync_is_fsync(o)))
		return fsync(fd) ? -errno : 0;
	return fdatasync(fd) ? -errno : 0;
}

static int write_fd(struct request *r, int fd)
{
	struct eobj *o = request_object(r, 0, r->node);
	ssize_t n;
	int rc = need_change(r, o, fd, r->off, r->size);

	if (rc)
		return rc;
	if (r->kflags & FUSE_WRITE_KILL_SUIDGID) {
		rc = attr_kill_suidgid(fd);
		if (rc)
			return rc;
	}
	POINT("write.ready");
	n = write_all(r, fd);
	POINT("write.done");
	if (n < 0)
		return (int)n;
	if (o)
		access_written(o, (uint64_t)r->off, (uint64_t)n);
	rc = sync_as_opened(r, o, fd);
	if (rc)
		return rc;
	fuse_reply_write(r->req, (size_t)n);
	return DONE;
}

static int write_run(struct request *r)
{
	bool own;
	int fd = open_io_fd(r, r->node, true, &own), rc;

	rc = fd < 0 ? fd : write_fd(r, fd);
	put_fd(fd, own);
	return rc;
}

const struct op op_write = { .name = "write", .run = write_run, .interruptible = true, .changes = true };

/* ---- FSYNC ---- */

static int sync_fd(int fd, bool data_only)
{
	int rc = POINT_STEP("mount.fsync");

	if (rc)
		return rc == POINT_SKIP ? 0 : rc;
	return (data_only ? fdatasync(fd) : fsync(fd)) ? -errno : 0;
}

static int fsync_run(struct request *r)
{
	struct eobj *o = request_object(r, 0, r->node);
	bool own;
	int fd = open_io_fd(r, r->node, false, &own), rc;

	if (fd < 0)
		return fd;
	rc = sync_fd(fd, r->flags && !(o && access_fdatasync_is_fsync(o)));
	put_fd(fd, own);
	if (!rc)
		fuse_reply_err(r->req, 0);
	return rc;
}

const struct op op_fsync = { .name = "fsync", .run = fsync_run, .flushes = true };
const struct op op_fsyncdir = { .name = "fsyncdir", .run = fsync_run, .flushes = true };

/* ---- FALLOCATE, COPY_FILE_RANGE, LSEEK ---- */

static int fallocate_run(struct request *r)
{
	struct eobj *o = request_object(r, 0, r->node);
	bool own;
	int fd = open_io_fd(r, r->node, true, &own), rc;

	if (fd < 0)
		return fd;
	rc = need_change(r, o, fd, r->off, (uint64_t)r->off2);
	if (!rc && fallocate(fd, (int)r->mode, r->off, r->off2))
		rc = -errno;
	if (!rc && r->uid)
		rc = attr_kill_suidgid(fd);
	if (!rc) {
		if (o)
			access_written(o, (uint64_t)r->off, (uint64_t)r->off2);
		fuse_reply_err(r->req, 0);
	}
	put_fd(fd, own);
	return rc;
}

const struct op op_fallocate = { .name = "fallocate", .run = fallocate_run, .interruptible = true, .changes = true };

static int copy_fds(struct request *r, int in, int out)
{
	struct eobj *oi = request_object(r, 0, r->node), *oo = request_object(r, 1, r->node2);
	size_t len = r->size < COPY_MAX ? r->size : COPY_MAX;
	off_t off_in = r->off, off_out = r->off2;
	ssize_t n;
	int rc = need_range(r, oi, in, r->off, &len);

	if (!rc)
		rc = need_change(r, oo, out, r->off2, len);
	if (rc)
		return rc;
	n = copy_file_range(in, &off_in, out, &off_out, len, 0);
	if (n < 0)
		return -errno;
	if (r->uid)
		rc = attr_kill_suidgid(out);
	if (rc)
		return rc;
	if (oo)
		access_written(oo, (uint64_t)r->off2, (uint64_t)n);
	fuse_reply_write(r->req, (size_t)n);
	return DONE;
}

static int copy_run(struct request *r)
{
	bool own_in, own_out = false;
	int in = open_io_fd(r, r->node, false, &own_in), out = -1, rc;

	if (in < 0)
		return in;
	out = open_io_fd(r, r->node2, true, &own_out);
	rc = out < 0 ? out : copy_fds(r, in, out);
	put_fd(in, own_in);
	put_fd(out, own_out);
	return rc;
}

const struct op op_copy = { .name = "copy_range", .run = copy_run, .interruptible = true, .changes = true };

/* What has not arrived yet is data (DESIGN §4). */
static off_t seek_incomplete(struct request *r, int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (r->off < 0 || r->off >= st.st_size)
		return -ENXIO;
	return r->flags == SEEK_HOLE ? st.st_size : r->off;
}

static int lseek_run(struct request *r)
{
	struct eobj *o = request_object(r, 0, r->node);
	_cleanup_close_ int fd = attr_open_node(r->f, r->node, O_RDONLY);	/* a position of its own */
	off_t off;

	if (fd < 0)
		return fd;
	if (o && (r->flags == SEEK_DATA || r->flags == SEEK_HOLE)) {
		off = seek_incomplete(r, fd);
		if (off < 0)
			return (int)off;
	} else {
		off = lseek(fd, r->off, r->flags);
		if (off < 0)
			return -errno;
	}
	fuse_reply_lseek(r->req, off);
	return DONE;
}

const struct op op_lseek = { .name = "lseek", .run = lseek_run };
