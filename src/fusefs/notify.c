/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Telling the kernel that something changed beneath it.
 *
 * The engine's threads only queue an inode; one thread of ours sends INVAL_INODE.
 * Names are invalidated only where DMM itself changed one, and then all at once by a new epoch, which takes no lock.  An older kernel
 * has none: there the one name is, which takes the parent's lock, for which a waiting application may keep this thread waiting.
 *
 * The kernel itself discards attributes that it received before an
 * invalidation of the same inode, but an inode that it does not know yet cannot be
 * invalidated.  So a reply that introduces an inode is followed by an
 * invalidation when anything at all changed since its attributes were read.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"
#include "kabi.h"

struct change {
	struct list link;
	fuse_ino_t ino;
	char name[];		/* "" = attributes of ino, else this name in it */
};

static void put(struct fusefs *f, fuse_ino_t ino, const char *name)
{
	struct change *c = malloc(sizeof *c + strlen(name) + 1);

	if (!c)
		return;
	c->ino = ino;
	strcpy(c->name, name);
	queue_put(&f->notify, &c->link);
}

void notify_again(struct fusefs *f, fuse_ino_t ino)
{
	put(f, ino, "");
}

void notify_renamed(void *arg, const struct target_handle *dir, const char *name)
{
	struct fusefs *f = arg;
	fuse_ino_t ino = node_find(f->nodes, dir);

	if (ino)
		put(f, ino, name);
}

/* Counted first: a lookup that misses the node here sees the count (attr_reply_entry()). */
void notify_changed(void *arg, const struct target_handle *h)
{
	struct fusefs *f = arg;
	fuse_ino_t ino;

	f->changes++;
	ino = node_find(f->nodes, h);
	if (ino)
		notify_again(f, ino);
}

/* Attributes only: cached data of an incomplete file does not exist. */
int notify_inval(struct fusefs *f, fuse_ino_t ino)
{
	return fuse_lowlevel_notify_inval_inode(f->se, ino, -1, 0);
}

int notify_epoch(struct fusefs *f)
{
	struct fuse_out_header h = { .len = sizeof h, .error = KABI_NOTIFY_INC_EPOCH };

	return write(f->dev_fd, &h, sizeof h) < 0 ? -errno : 0;
}

static void tell_name(struct fusefs *f, const struct change *c)
{
	fuse_lowlevel_notify_inval_inode(f->se, c->ino, 0, 0);	/* the cached listing, too */
	if (notify_epoch(f))
		fuse_lowlevel_notify_inval_entry(f->se, c->ino, c->name, strlen(c->name));
}

static void tell_attributes(struct fusefs *f, const struct change *c)
{
	struct node *n = node_by_id(f->nodes, c->ino);

	if (n)
		ctime_dmm_changed(f, n);
	notify_inval(f, c->ino);
}

static void *thread(void *arg)
{
	struct fusefs *f = arg;
	struct list *l;

	while ((l = queue_get(&f->notify))) {
		struct change *c = list_entry(l, struct change, link);

		if (*c->name)
			tell_name(f, c);
		else
			tell_attributes(f, c);
		free(c);
	}
	return NULL;
}

int notify_start(struct fusefs *f)
{
	int r = pthread_create(&f->notifier, NULL, thread, f);

	f->have_notifier = !r;
	return -r;
}

void notify_stop(struct fusefs *f)
{
	queue_close(&f->notify);
	if (f->have_notifier)
		pthread_join(f->notifier, NULL);
	f->have_notifier = false;
}
