/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Landing fetched bytes with their holes.
 *
 * Over a range that was never written, zeros need not be written at all: the
 * stub's hole reads the same.  Over a range that may hold bytes (a redo after
 * a crash) they are punched, and the rest is written.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/point.h"

enum { BLOCK = 4096 };

static bool is_zero(const unsigned char *p, size_t n)
{
	/* all equal to the first byte, and that is 0 */
	return !n || (!p[0] && !memcmp(p, p + 1, n - 1));
}

static int write_all(int fd, const unsigned char *p, size_t n, uint64_t off)
{
	while (n) {
		ssize_t w = pwrite(fd, p, n, (off_t)off);

		if (w < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		p += w;
		n -= (size_t)w;
		off += (uint64_t)w;
	}
	return 0;
}

/* Punching zeroes the parts of blocks at both ends itself; where it is not possible, zeros are written. */
static int put_zeros(int fd, const unsigned char *p, size_t n, uint64_t off, bool fresh)
{
	if (fresh || !fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)n))
		return 0;
	return write_all(fd, p, n, off);
}

/* Length of the piece at p up to the next block boundary of the file. */
static size_t piece(size_t left, uint64_t off)
{
	size_t n = BLOCK - off % BLOCK;

	return n < left ? n : left;
}

int target_land(int fd, const void *data, size_t n, uint64_t offset, bool fresh)
{
	const unsigned char *p = data;
	int r = POINT_FAIL("target.land");

	if (r)
		return r;
	while (n) {
		size_t run = piece(n, offset);
		bool zero = is_zero(p, run);

		while (run < n) {	/* extend by pieces of the same kind */
			size_t next = piece(n - run, offset + run);

			if (is_zero(p + run, next) != zero)
				break;
			run += next;
		}
		r = zero ? put_zeros(fd, p, run, offset, fresh) : write_all(fd, p, run, offset);
		if (r)
			return r;
		p += run;
		n -= run;
		offset += run;
		POINT("land.piece");
	}
	return 0;
}
