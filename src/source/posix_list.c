/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One page of a local directory.
 *
 * The cookie is the kernel's d_off, used on a fresh descriptor: file systems
 * that serve NFS keep it valid across descriptors.  Each entry is opened with
 * O_PATH, so that its attributes, type and handle are of one and the same
 * object whatever is renamed meanwhile.
 */
#include "posix.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "check.h"

#define NAMES_BYTES (256u << 10)	/* getdents64() buffer; names of the reply point into it */

/* Attributes and handle of one entry; what fails is left to the caller's LOOKUP. */
static bool fill(struct posix_handles *h, int dir, const struct source_fh *dir_fh,
		 struct source_entry *e)
{
	_cleanup_close_ int fd = openat(dir, e->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct statx st;

	if (fd < 0)
		return errno != ENOENT;
	if (statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, POSIX_STATX, &st))
		return true;
	posix_attr(&st, &e->attr);
	e->has_attr = check_attr(&e->attr) == 0;
	e->has_fh = !posix_handle_make(h, fd, &st, dir_fh, e->name, &e->fh);
	return true;
}

static void add(struct posix_handles *h, struct posix_buffer *b, int dir, struct source_req *req,
		const struct dirent64 *d, size_t len)
{
	struct source_entry *e = &b->entries[req->entry_count];

	if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
		return;
	if (!check_name(d->d_name, len)) {
		check_bad_entry(req, d->d_name, len);
		return;
	}
	e->name = d->d_name;
	e->name_len = (uint16_t)len;
	e->has_attr = e->has_fh = false;
	if (fill(h, dir, &req->fh, e))
		req->entry_count++;
}

int posix_list(struct posix_handles *h, struct posix_buffer *b, struct source_req *req)
{
	_cleanup_close_ int dir = posix_handle_open(h, &req->fh, O_RDONLY | O_DIRECTORY | O_NOATIME);
	struct statx st;
	ssize_t n, at;

	if (dir < 0)
		return dir;
	if (req->cookie && lseek(dir, (off_t)req->cookie, SEEK_SET) < 0)
		return -errno;
	n = getdents64(dir, b->data, NAMES_BYTES);
	if (n < 0)
		return -errno;
	req->eof = n == 0;
	req->next_cookie = req->cookie;
	req->entries = b->entries;
	for (at = 0; at < n && req->entry_count < POSIX_PAGE;) {
		const struct dirent64 *d = (const void *)(b->data + at);

		add(h, b, dir, req, d, strnlen(d->d_name, d->d_reclen - offsetof(struct dirent64, d_name)));
		req->next_cookie = (uint64_t)d->d_off;
		at += d->d_reclen;
	}
	if (statx(dir, "", AT_EMPTY_PATH, POSIX_STATX, &st))
		return -errno;
	posix_attr(&st, &req->attr);
	req->has_attr = check_attr(&req->attr) == 0;
	return 0;
}
