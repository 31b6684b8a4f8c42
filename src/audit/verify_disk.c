/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A file's content as the disk has it.
 *
 * O_DIRECT: the kernel writes dirty pages back and then reads below the page cache.  That is not enough everywhere:
 * where O_DIRECT is refused, or the file system takes it and still goes through the cache (btrfs for compressed
 * extents; ext4 for journalled data, which statx tells as no alignment), what is cached is written back and dropped
 * first.  What btrfs keeps inline in its metadata (files below some 2 KiB) is read through its metadata cache, which
 * has checksums of its own.
 *
 * Holes are not read but summed up as zeros; where SEEK_DATA is not supported all is read.
 * Never written, and the access time stays (O_NOATIME).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "verify.h"

enum { BUFFER = 4 << 20, ALIGN = 1 << 16, PIECE_MIN = 1 << 16, BLOCK = 4096 };

struct verify_buffer {
	void *data;
};

struct verify_buffer *verify_buffer_new(void)
{
	struct verify_buffer *b = calloc(1, sizeof *b);

	if (b && !(b->data = aligned_alloc(ALIGN, BUFFER))) {
		free(b);
		b = NULL;
	}
	return b;
}

void verify_buffer_free(struct verify_buffer *b)
{
	if (b)
		free(b->data);
	free(b);
}

uint64_t verify_piece(const struct verify_job *j)
{
	uint64_t n = BUFFER;

	while (j->cfg->rate && n > PIECE_MIN && n > j->cfg->rate / 10)
		n /= 2;
	return n;
}

bool verify_disk_caches(const struct target *t)
{
	struct statfs fs;

	return fstatfs(target_root_fd(t), &fs) || fs.f_type == BTRFS_SUPER_MAGIC;
}

/* Does the file system say that it reads this file directly? */
static bool surely_direct(int fd)
{
	struct statx sx;

	return !statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) &&
	       (!(sx.stx_mask & STATX_DIOALIGN) || sx.stx_dio_offset_align);
}

static int drop_cached(int fd)
{
	if (fdatasync(fd))
		return -errno;
	return -posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

int verify_disk_look(const struct verify_job *j, const struct target_handle *h, uint64_t size, struct stat *st)
{
	_cleanup_close_ int fd = target_open_handle(j->cfg->target, h, O_PATH);

	if (fd < 0)
		return fd;
	if (fstat(fd, st))
		return -errno;
	if (!st->st_nlink)
		return -ESTALE;		/* deleted; somebody has it open still */
	if (!S_ISREG(st->st_mode))
		return -EMEDIUMTYPE;	/* never open what may be a device */
	return (uint64_t)st->st_size == size ? 0 : -EOVERFLOW;
}

static int open_for_reading(const struct verify_job *j, const struct target_handle *h)
{
	int flags = O_RDONLY | O_NOATIME | O_NONBLOCK | O_NOCTTY, r;
	_cleanup_close_ int fd = target_open_handle(j->cfg->target, h, flags | O_DIRECT);
	bool drop = j->drop_cache;

	if (fd == -EINVAL) {
		fd = target_open_handle(j->cfg->target, h, flags);
		drop = true;
	}
	if (fd < 0)
		return steal_fd(&fd);
	if (drop || !surely_direct(fd)) {
		r = drop_cached(fd);
		if (r)
			return r;
	}
	return steal_fd(&fd);
}

/* The next byte at or behind off that is no hole; beyond the end: none. */
static uint64_t next_data(int fd, uint64_t off)
{
	off_t at = lseek(fd, (off_t)off, SEEK_DATA);

	if (at >= 0)
		return (uint64_t)at;
	return errno == ENXIO ? UINT64_MAX : off;
}

/* n is a multiple of the alignment, only the end of the file may be short. */
static int read_piece(int fd, void *data, uint64_t n, uint64_t off, uint64_t want)
{
	uint64_t got = 0;

	for (;;) {
		ssize_t k = pread(fd, (char *)data + got, n - got, (off_t)(off + got));

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return -errno;
		if (got + (uint64_t)k >= want)
			return 0;
		if (k < BLOCK)
			return -EOVERFLOW;	/* truncated meanwhile */
		got += (uint64_t)k & ~(uint64_t)(BLOCK - 1);	/* again from there: the error, if there was one */
	}
}

static void note_part(struct verify_job *j, struct verify_item *item, const struct verify_sum *s, const struct stat *st)
{
	if (!item || !verify_sum_at_chunk(s) || s->pos >= s->size)
		return;
	pthread_mutex_lock(&j->mu);
	item->part = (struct verify_part){ .oid = item->row.oid, .pos = s->pos, .ctime_sec = st->st_ctim.tv_sec,
					   .ctime_nsec = (uint32_t)st->st_ctim.tv_nsec };
	__builtin_memcpy(item->part.sum, s->sum, CHECKSUM_SIZE);
	item->has_part = true;
	pthread_mutex_unlock(&j->mu);
}

/* Begin where an earlier verification has stopped, if nothing has touched the file since. */
static void take_part(struct verify_item *item, struct verify_sum *s, const struct stat *st)
{
	const struct verify_part *p = item ? &item->part : NULL;

	if (p && item->has_part && p->pos < s->size && !(p->pos & ((1ull << s->shift) - 1)) &&
	    p->ctime_sec == st->st_ctim.tv_sec && p->ctime_nsec == (uint32_t)st->st_ctim.tv_nsec)
		verify_sum_resume(s, p->pos, p->sum);
}

static int sum_all(struct verify_job *j, int fd, struct verify_item *item, const struct stat *st, struct verify_sum *s,
		   void *buffer)
{
	uint64_t data = 0, piece = verify_piece(j);

	while (s->pos < s->size) {
		uint64_t end = s->pos - s->pos % piece + piece, n;
		int r;

		if (atomic_load(&j->stop))
			return -EINTR;
		if (end > s->size)
			end = s->size;
		n = end - s->pos;
		if (data <= s->pos)
			data = next_data(fd, s->pos);
		if (data >= end) {
			verify_sum_zeros(s, n);
		} else {
			verify_rate(j, n);
			r = read_piece(fd, buffer, (n + ALIGN - 1) & ~(uint64_t)(ALIGN - 1), s->pos, n);
			if (r)
				return r;
			verify_sum_data(s, buffer, n);
		}
		note_part(j, item, s, st);
	}
	return 0;
}

int verify_disk_sum(struct verify_job *j, const struct target_handle *h, uint64_t size, struct verify_item *part_of,
		    struct verify_buffer *b, uint8_t out[CHECKSUM_SIZE], struct stat *st, uint64_t *at)
{
	_cleanup_close_ int fd = -1;
	struct verify_sum s;
	int r = verify_disk_look(j, h, size, st);

	*at = 0;
	if (r)
		return r;
	fd = open_for_reading(j, h);
	if (fd < 0)
		return fd;
	r = verify_sum_init(&s, size);
	if (r)
		return r;
	take_part(part_of, &s, st);
	r = sum_all(j, fd, part_of, st, &s, b->data);
	*at = s.pos;
	if (!r)
		verify_sum_end(&s, out);
	verify_sum_free(&s);
	if (fstat(fd, st))
		return -errno;
	if (!r && (uint64_t)st->st_size != size)
		return -EOVERFLOW;
	return r;
}
