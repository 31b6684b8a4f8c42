/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How the inodes that are open are open.
 *
 * File handles given to the kernel carry no pointer: a number unique to the open, and in
 * the low bits how it was opened, so that they mean the same to a later worker.
 *
 * Threads: any; struct opens is under node_lock().
 */
#ifndef DMM_FUSEFS_OPEN_H
#define DMM_FUSEFS_OPEN_H

#include "internal.h"

enum open_kind { OPEN_NONE, OPEN_PASSTHROUGH, OPEN_SLOW, OPEN_PLAIN, OPEN_DIR };

struct opens {
	uint32_t count[OPEN_DIR + 1];
	int backing_id;		/* while count[OPEN_PASSTHROUGH] > 0 */
	int rfd, wfd;		/* for our own I/O; -1 none.  Keeps an unlinked inode alive. */
	pthread_mutex_t dir_lock;	/* position of rfd of a directory */
};

static inline enum open_kind open_kind(uint64_t fh)
{
	return (enum open_kind)(fh & 7);
}

/* A descriptor for I/O on behalf of an open file.  *own: the caller closes it. */
int open_io_fd(struct request *r, struct node *n, bool write, bool *own);

/* Count an open of this kind; fd (or -1) is consumed on success.  0 or -errno; -EAGAIN: the inode's mode has changed, decide anew. */
int open_grant(struct fusefs *f, struct node *n, enum open_kind *kind, bool write, bool whole, int fd,
	       int *backing_id, uint64_t *fh);
void open_release(struct fusefs *f, struct node *n, uint64_t fh);
void open_close_all(struct fusefs *f);	/* nobody is left */

#endif
