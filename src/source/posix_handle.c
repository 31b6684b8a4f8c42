/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Invariant: an entry of the table of file systems never changes once it is
 * visible, and is never removed while the source is open; so the lock covers
 * only the search and the appending, not the use of its descriptor.
 */
#include "posix_handle.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "posix_paths.h"

#define PATHS_BYTES (64u << 20)
#define FS_MAX 4096		/* mounts (or btrfs subvolumes) below one source */

enum kind { KIND_KERNEL = 1, KIND_PATH = 2 };

/* The bytes of struct source_fh. */
struct wire {
	uint8_t kind, type;	/* enum kind, enum source_type */
	uint8_t bytes;		/* of handle */
	uint8_t zero;
	int32_t handle_type;
	uint64_t dev;
	union {
		uint64_t ino;			/* KIND_PATH */
		uint8_t handle[SOURCE_FH_MAX - 16];	/* KIND_KERNEL */
	};
};
static_assert(sizeof(struct wire) == SOURCE_FH_MAX, "the wire form fills a source_fh");
#define WIRE_HEAD offsetof(struct wire, handle)

/* A file system, met at one of its objects: normally the root of a mount. */
struct fs {
	uint64_t dev;
	bool by_handle;		/* else by path, from the anchor */
	int fd;			/* by_handle: for open_by_handle_at(); else the anchor */
	uint64_t anchor_ino;
};

struct posix_handles {
	struct posix_paths *paths;
	pthread_mutex_t lock;
	struct fs *fs;
	size_t count;
};

union handle_buf {
	struct file_handle h;
	char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
};

int posix_handles_new(struct posix_handles **out)
{
	struct posix_handles *h = calloc(1, sizeof *h);

	if (!h)
		return -ENOMEM;
	h->paths = posix_paths_new(PATHS_BYTES);
	h->fs = calloc(FS_MAX, sizeof *h->fs);
	pthread_mutex_init(&h->lock, NULL);
	if (!h->paths || !h->fs) {
		posix_handles_free(h);
		return -ENOMEM;
	}
	*out = h;
	return 0;
}

void posix_handles_free(struct posix_handles *h)
{
	size_t i;

	if (!h)
		return;
	for (i = 0; i < h->count; i++)
		close(h->fs[i].fd);
	free(h->fs);
	posix_paths_free(h->paths);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

static uint64_t device(const struct statx *st)
{
	return makedev(st->stx_dev_major, st->stx_dev_minor);
}

static enum source_type type_of(const struct statx *st)
{
	switch (st->stx_mode & S_IFMT) {
	case S_IFREG:
		return SOURCE_REG;
	case S_IFDIR:
		return SOURCE_DIR;
	case S_IFLNK:
		return SOURCE_LNK;
	case S_IFBLK:
		return SOURCE_BLK;
	case S_IFCHR:
		return SOURCE_CHR;
	case S_IFIFO:
		return SOURCE_FIFO;
	default:
		return SOURCE_SOCK;
	}
}

static int read_wire(const struct source_fh *fh, struct wire *w)
{
	memset(w, 0, sizeof *w);
	if (fh->len <= WIRE_HEAD)
		return -ESTALE;
	memcpy(w, fh->data, fh->len);
	if (w->type < SOURCE_REG || w->type > SOURCE_SOCK)
		return -ESTALE;
	if (w->kind == KIND_KERNEL)
		return WIRE_HEAD + w->bytes == fh->len ? 0 : -ESTALE;
	return w->kind == KIND_PATH && fh->len == WIRE_HEAD + sizeof w->ino ? 0 : -ESTALE;
}

static bool find_fs(struct posix_handles *h, uint64_t dev, struct fs *out)
{
	bool found = false;
	size_t i;

	pthread_mutex_lock(&h->lock);
	for (i = 0; i < h->count && !found; i++) {
		if (h->fs[i].dev == dev) {
			*out = h->fs[i];
			found = true;
		}
	}
	pthread_mutex_unlock(&h->lock);
	return found;
}

/* Takes the descriptor in new; *new is what the table says afterwards. */
static int add_fs(struct posix_handles *h, struct fs *new)
{
	size_t i;

	pthread_mutex_lock(&h->lock);
	for (i = 0; i < h->count && h->fs[i].dev != new->dev; i++)
		;
	if (i < h->count || i == FS_MAX)
		close(new->fd);
	if (i == h->count && i < FS_MAX)
		h->fs[h->count++] = *new;
	if (i < h->count)
		*new = h->fs[i];
	pthread_mutex_unlock(&h->lock);
	return i < FS_MAX ? 0 : -EMFILE;
}

static int kernel_handle(int fd, union handle_buf *b)
{
	int mount_id;

	b->h.handle_bytes = SOURCE_FH_MAX - WIRE_HEAD;
	return name_to_handle_at(fd, "", &b->h, &mount_id, AT_EMPTY_PATH) ? -errno : 0;
}

/* Can objects of this file system be opened by handle, here, by us?  A descriptor or -1. */
static int try_handles(int fd)
{
	char self[40];
	union handle_buf b;
	int mount, probe;

	if (kernel_handle(fd, &b))
		return -1;
	snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
	mount = open(self, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (mount < 0)
		return -1;
	probe = open_by_handle_at(mount, &b.h, O_PATH | O_CLOEXEC);
	if (probe < 0) {
		close(mount);
		return -1;
	}
	close(probe);
	return mount;
}

/*
 * Only directories and files can serve as the descriptor of their file
 * system; a device node bound over a name has to do without a handle.
 */
static int meet_fs(struct posix_handles *h, int fd, const struct statx *st, enum source_type type,
		   struct fs *out)
{
	*out = (struct fs){ .dev = device(st), .anchor_ino = st->stx_ino };
	if (type != SOURCE_DIR && type != SOURCE_REG)
		return -EXDEV;
	out->fd = try_handles(fd);
	out->by_handle = out->fd >= 0;
	if (!out->by_handle) {
		if (type != SOURCE_DIR)
			return -EXDEV;
		out->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (out->fd < 0)
			return -errno;
	}
	return add_fs(h, out);
}

static int make_path(struct posix_handles *h, const struct fs *fs, const struct source_fh *dir,
		     const char *name, struct wire *w)
{
	_cleanup_free_ char *path = NULL;
	struct wire d;

	w->kind = KIND_PATH;
	if (w->ino == fs->anchor_ino)
		return posix_paths_put(h->paths, w->dev, w->ino, "", "");
	if (!dir || read_wire(dir, &d) || d.kind != KIND_PATH || d.dev != w->dev) {
		/* the same file system mounted a second time: known only if seen below the first */
		path = posix_paths_get(h->paths, w->dev, w->ino);
		return path ? 0 : -EXDEV;
	}
	path = posix_paths_get(h->paths, d.dev, d.ino);
	return path ? posix_paths_put(h->paths, w->dev, w->ino, path, name) : -ESTALE;
}

int posix_handle_make(struct posix_handles *h, int fd, const struct statx *st,
		      const struct source_fh *dir, const char *name, struct source_fh *out)
{
	struct wire w = { .type = (uint8_t)type_of(st), .dev = device(st) };
	size_t len = WIRE_HEAD + sizeof w.ino;
	union handle_buf b;
	struct fs fs;
	int r = 0;

	if (!find_fs(h, w.dev, &fs))
		r = meet_fs(h, fd, st, (enum source_type)w.type, &fs);
	if (!r && fs.by_handle) {
		r = kernel_handle(fd, &b);
		if (!r) {
			w.kind = KIND_KERNEL;
			w.handle_type = b.h.handle_type;
			w.bytes = (uint8_t)b.h.handle_bytes;
			memcpy(w.handle, b.h.f_handle, w.bytes);
			len = WIRE_HEAD + w.bytes;
		}
	} else if (!r) {
		w.ino = st->stx_ino;
		r = make_path(h, &fs, dir, name, &w);
	}
	if (r)
		return r;
	out->len = (uint16_t)len;
	memcpy(out->data, &w, len);
	return 0;
}

static int open_kernel(struct posix_handles *h, const struct wire *w, int flags)
{
	union handle_buf b;
	struct fs fs;
	int fd;

	if (!find_fs(h, w->dev, &fs) || !fs.by_handle)
		return -ESTALE;
	b.h.handle_type = w->handle_type;
	b.h.handle_bytes = w->bytes;
	memcpy(b.h.f_handle, w->handle, w->bytes);
	fd = open_by_handle_at(fs.fd, &b.h, flags | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == EPERM && flags & O_NOATIME)
		fd = open_by_handle_at(fs.fd, &b.h, (flags & ~O_NOATIME) | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

static int open_path(struct posix_handles *h, const struct wire *w, int flags)
{
	_cleanup_free_ char *path = posix_paths_get(h->paths, w->dev, w->ino);
	_cleanup_close_ int fd = -1;
	struct statx st;
	struct fs fs;
	int r;

	if (!path || !find_fs(h, w->dev, &fs) || fs.by_handle)
		return -ESTALE;
	fd = posix_paths_open(fs.fd, path, flags);
	if (fd == -EPERM && flags & O_NOATIME)
		fd = posix_paths_open(fs.fd, path, flags & ~O_NOATIME);
	if (fd < 0) {
		r = fd;
		fd = -1;
		return r == -ENOENT || r == -ENOTDIR || r == -ELOOP ? -ESTALE : r;
	}
	if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_INO, &st))
		return -errno;
	if (device(&st) != w->dev || st.stx_ino != w->ino)
		return -ESTALE;
	return steal_fd(&fd);
}

int posix_handle_open(struct posix_handles *h, const struct source_fh *fh, int flags)
{
	struct wire w;
	int r = read_wire(fh, &w);

	if (r)
		return r;
	return w.kind == KIND_KERNEL ? open_kernel(h, &w, flags) : open_path(h, &w, flags);
}

enum source_type posix_handle_type(const struct source_fh *fh)
{
	struct wire w;

	return read_wire(fh, &w) ? 0 : (enum source_type)w.type;
}
