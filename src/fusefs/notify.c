/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Telling the kernel that something changed beneath it.
 *
 * The engine's threads only queue an inode; one thread of ours sends INVAL_INODE.
 * Names are never invalidated: that would take the parent's lock, which a
 * waiting application may hold.
 *
 * The kernel itself discards attributes that it received before an
 * invalidation of the same inode, but an inode that it does not know yet cannot be
 * invalidated.  So a reply that introduces an inode is followed by an
 * invalidation when anything at all changed since its attributes were read.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "internal.h"
#include "kabi.h"

struct change {
	struct list link;
	fuse_ino_t ino;
};

void notify_again(struct fusefs *f, fuse_ino_t ino)
{
	struct change *c = malloc(sizeof *c);

	if (!c)
		return;
	c->ino = ino;
	queue_put(&f->notify, &c->link);
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

static void *thread(void *arg)
{
	struct fusefs *f = arg;
	struct list *l;
	struct node *n;

	while ((l = queue_get(&f->notify))) {
		struct change *c = list_entry(l, struct change, link);

		n = node_by_id(f->nodes, c->ino);
		if (n)
			ctime_dmm_changed(f, n);
		notify_inval(f, c->ino);
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
