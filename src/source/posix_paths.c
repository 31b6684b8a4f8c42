/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "posix_paths.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/list.h"

#define BUCKETS 65536		/* a quarter million paths of 200 bytes in 64 MiB: 4 a bucket */
#define PIECE (PATH_MAX - 1)

struct entry {
	struct list lru;
	struct entry *next;	/* in its bucket */
	uint64_t dev, ino;
	size_t bytes;		/* of this allocation */
	char path[];
};

struct posix_paths {
	pthread_mutex_t lock;
	struct list lru;	/* first = least recently used */
	size_t bytes, max_bytes;
	struct entry *bucket[BUCKETS];
};

struct posix_paths *posix_paths_new(size_t max_bytes)
{
	struct posix_paths *p = calloc(1, sizeof *p);

	if (!p)
		return NULL;
	pthread_mutex_init(&p->lock, NULL);
	list_init(&p->lru);
	p->max_bytes = max_bytes;
	return p;
}

static struct entry **find(struct posix_paths *p, uint64_t dev, uint64_t ino)
{
	struct entry **e = &p->bucket[hash_u64(hash_u64(dev) ^ ino) % BUCKETS];

	while (*e && ((*e)->dev != dev || (*e)->ino != ino))
		e = &(*e)->next;
	return e;
}

static void drop(struct posix_paths *p, struct entry **at)
{
	struct entry *e = *at;

	*at = e->next;
	list_remove(&e->lru);
	p->bytes -= e->bytes;
	free(e);
}

void posix_paths_free(struct posix_paths *p)
{
	if (!p)
		return;
	while (!list_empty(&p->lru)) {
		struct entry *e = list_entry(p->lru.next, struct entry, lru);

		drop(p, find(p, e->dev, e->ino));
	}
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static void insert(struct posix_paths *p, struct entry *e)
{
	struct entry **at;

	pthread_mutex_lock(&p->lock);
	at = find(p, e->dev, e->ino);
	if (*at)
		drop(p, at);
	e->next = *at;
	*at = e;
	list_append(&p->lru, &e->lru);
	p->bytes += e->bytes;
	while (p->bytes > p->max_bytes && p->lru.next != &e->lru) {
		struct entry *old = list_entry(p->lru.next, struct entry, lru);

		drop(p, find(p, old->dev, old->ino));
	}
	pthread_mutex_unlock(&p->lock);
}

int posix_paths_put(struct posix_paths *p, uint64_t dev, uint64_t ino,
		    const char *dir_path, const char *name)
{
	size_t d = strlen(dir_path), n = strlen(name), bytes = sizeof(struct entry) + d + n + 2;
	struct entry *e = malloc(bytes);

	if (!e)
		return -ENOMEM;
	e->dev = dev;
	e->ino = ino;
	e->bytes = bytes;
	memcpy(e->path, dir_path, d);
	if (d)
		e->path[d++] = '/';
	memcpy(e->path + d, name, n + 1);
	insert(p, e);
	return 0;
}

char *posix_paths_get(struct posix_paths *p, uint64_t dev, uint64_t ino)
{
	struct entry *e;
	char *copy = NULL;

	pthread_mutex_lock(&p->lock);
	e = *find(p, dev, ino);
	if (e) {
		list_remove(&e->lru);
		list_append(&p->lru, &e->lru);
		copy = strdup(e->path);
	}
	pthread_mutex_unlock(&p->lock);
	return copy;
}

static int open_piece(int dir, const char *piece, int flags)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC | O_NOFOLLOW),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	int fd;

	do
		fd = (int)syscall(SYS_openat2, dir, piece, &how, sizeof how);
	while (fd < 0 && (errno == EAGAIN || errno == EINTR));	/* a rename raced */
	return fd < 0 ? -errno : fd;
}

int posix_paths_open(int root_fd, const char *path, int flags)
{
	_cleanup_close_ int dir = -1;
	char piece[PATH_MAX];

	while (strlen(path) > PIECE) {
		size_t cut = PIECE;
		int fd;

		while (cut > 0 && path[cut] != '/')
			cut--;
		if (!cut)
			return -ENAMETOOLONG;
		memcpy(piece, path, cut);
		piece[cut] = 0;
		fd = open_piece(dir < 0 ? root_fd : dir, piece, O_PATH | O_DIRECTORY);
		if (fd < 0)
			return fd;
		if (dir >= 0)
			close(dir);
		dir = fd;
		path += cut + 1;
	}
	return open_piece(dir < 0 ? root_fd : dir, *path ? path : ".", flags);
}
